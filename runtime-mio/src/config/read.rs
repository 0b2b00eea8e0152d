//! From a TOML text to [`Settings`].

use super::value::{Document, Section, parse_addr, shorten};
use super::{ConfigErrors, Record, Settings};
use crate::store::ROUTER_KEYS;
use log::LevelFilter;
use ramson_core::client::tunnel::Destination;
use ramson_core::config::{
    Client, Config, Floodfill, HttpProxy, Limits, NetDb, Network, Ntcp2, Server, ServerKind, Ssu2,
    Tunnels,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Bytes per second that make sense as a limit: a tunnel message each second, to 10 GiB/s.
const RATE: RangeInclusive<u64> = 1024..=10 << 30;
/// Bytes of recordings that make sense: below, hardly the start of a router has room.
const RECORDINGS: RangeInclusive<u64> = 1 << 20..=1 << 40;
/// The longest name of a tunnel or a key file.
const MAX_NAME: usize = 64;

const NAME: &str = "1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'";
const KEYS: &str = "a file name of 1 to 64 letters, digits, '-', '_' and '.', not beginning with '.', and not router.keys";
const ADDRESS: &str = "an address with a port, such as \"127.0.0.1:4444\"";
const PROXY_ADDRESS: &str =
    "an address with a port, such as \"127.0.0.1:4444\", or \"off\" for no proxy";
const DESTINATION: &str = "a name such as \"example.i2p\", a whole \".b32.i2p\" address or a base64 destination, with a \":port\" if need be";
const LEVEL: &str = "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
const KIND: &str = "\"tcp\" or \"http\"";
const FLOODFILL: &str = "\"auto\", \"on\" or \"off\"";

/// Reads `text`; see [`Settings::parse`].
pub(super) fn parse(text: &str, file: &Path) -> Result<Settings, ConfigErrors> {
    let mut doc = Document::new(text, file);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        doc.syntax(error);
    }
    if !errors.is_empty() {
        // What was recovered would only bring errors that follow from the first.
        return doc.finish(Settings::default());
    }
    let mut root = Section::new("", table);
    let mut settings = Settings::default();
    let router = &mut settings.router;

    let section = root.section(&mut doc, "network", "network");
    network(&mut doc, section, &mut router.network);
    let section = root.section(&mut doc, "ntcp2", "ntcp2");
    ntcp2(&mut doc, section, &router.network, &mut router.ntcp2);
    let section = root.section(&mut doc, "ssu2", "ssu2");
    ssu2(&mut doc, section, &router.network, &mut router.ssu2);
    let section = root.section(&mut doc, "netdb", "netdb");
    netdb(&mut doc, section, &mut router.netdb);
    let section = root.section(&mut doc, "reseed", "reseed");
    settings.reseed = reseed(&mut doc, section, file);
    let section = root.section(&mut doc, "limits", "limits");
    limits(&mut doc, section, &mut router.limits);
    let mut section = root.section(&mut doc, "tunnels", "tunnels");
    let part = section.section(&mut doc, "exploratory", "tunnels.exploratory");
    pool(&mut doc, part, &mut router.exploratory);
    let part = section.section(&mut doc, "client", "tunnels.client");
    pool(&mut doc, part, &mut router.client);
    section.finish(&mut doc);
    let section = root.section(&mut doc, "http_proxy", "http_proxy");
    router.http_proxy = http_proxy(&mut doc, section, router.client);
    let mut taken = Taken::default();
    if let Some(proxy) = &router.http_proxy {
        taken.listen.insert(proxy.listen, "http_proxy".into());
    }
    taken.keys.insert(HttpProxy::KEYS.into(), "http_proxy".into());
    let servers = root.sections(&mut doc, "server");
    for section in root.sections(&mut doc, "client") {
        client(&mut doc, section, router, &mut taken);
    }
    for section in servers {
        server(&mut doc, section, router, &mut taken);
    }
    let section = root.section(&mut doc, "record", "record");
    record(&mut doc, section, &mut settings.record);
    let mut section = root.section(&mut doc, "log", "log");
    if let Some((level, _)) = section.text(&mut doc, "level", LEVEL, level) {
        settings.log_level = level;
    }
    section.finish(&mut doc);
    root.finish(&mut doc);
    doc.finish(settings)
}

/// What only one tunnel can have.
#[derive(Default)]
struct Taken {
    names: BTreeSet<String>,
    keys: BTreeMap<String, String>,
    listen: BTreeMap<SocketAddr, String>,
}

fn network(doc: &mut Document<'_>, mut section: Section<'_>, network: &mut Network) {
    if let Some(id) = number(doc, &mut section, "id", 1..=255) {
        network.id = id;
    }
    if let Some(allow) = section.bool(doc, "allow_local") {
        network.allow_local = allow;
    }
    section.finish(doc);
}

fn ntcp2(doc: &mut Document<'_>, mut section: Section<'_>, network: &Network, ntcp2: &mut Ntcp2) {
    if let Some(enabled) = section.bool(doc, "enabled") {
        ntcp2.enabled = enabled;
    }
    ntcp2.host = host(doc, &mut section, network);
    ntcp2.port = port(doc, &mut section);
    ntcp2.bind = bind(doc, &mut section);
    if let Some(publish) = section.bool(doc, "publish") {
        ntcp2.publish = publish;
    }
    section.finish(doc);
}

fn ssu2(doc: &mut Document<'_>, mut section: Section<'_>, network: &Network, ssu2: &mut Ssu2) {
    if let Some(enabled) = section.bool(doc, "enabled") {
        ssu2.enabled = enabled;
    }
    ssu2.host = host(doc, &mut section, network);
    ssu2.port = port(doc, &mut section);
    ssu2.bind = bind(doc, &mut section);
    if let Some(publish) = section.bool(doc, "publish") {
        ssu2.publish = publish;
    }
    let range = Ssu2::MIN_MTU.into()..=Ssu2::MAX_MTU.into();
    if let Some(mtu) = number(doc, &mut section, "mtu", range) {
        ssu2.mtu = mtu;
    }
    section.finish(doc);
}

/// The address that a transport publishes.
fn host(doc: &mut Document<'_>, section: &mut Section<'_>, network: &Network) -> Option<IpAddr> {
    let (host, span) = section.ip(doc, "host")?;
    if host.is_unspecified() || host.is_multicast() {
        let problem = format_args!("{host} is nobody's address; allowed: this machine's");
        doc.refuse(&span, &section.key("host"), problem);
    } else if is_local(host) && !network.allow_local {
        let problem = format_args!(
            "{host} cannot be reached from the internet; allowed: a public address, or any with network.allow_local = true"
        );
        doc.refuse(&span, &section.key("host"), problem);
    }
    Some(host)
}

fn port(doc: &mut Document<'_>, section: &mut Section<'_>) -> Option<u16> {
    number(doc, section, "port", 1..=65535)
}

/// The address that a transport's socket has.
fn bind(doc: &mut Document<'_>, section: &mut Section<'_>) -> Option<IpAddr> {
    let (bind, span) = section.ip(doc, "bind")?;
    if bind.is_multicast() {
        doc.refuse(&span, &section.key("bind"), "allowed: an address of this machine");
    }
    Some(bind)
}

fn netdb(doc: &mut Document<'_>, mut section: Section<'_>, netdb: &mut NetDb) {
    if let Some((mode, _)) = section.text(doc, "floodfill", FLOODFILL, floodfill) {
        netdb.floodfill = mode;
    }
    section.finish(doc);
}

fn record(doc: &mut Document<'_>, mut section: Section<'_>, record: &mut Record) {
    if let Some(enabled) = section.bool(doc, "enabled") {
        record.enabled = enabled;
    }
    if let Some(limit) = section.size(doc, "limit", RECORDINGS) {
        record.limit = limit;
    }
    section.finish(doc);
}

/// Not reachable over the internet.
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn reseed(doc: &mut Document<'_>, mut section: Section<'_>, file: &Path) -> Vec<PathBuf> {
    let texts = section.texts(doc, "files");
    section.finish(doc);
    let base = file.parent().unwrap_or(Path::new(""));
    texts
        .iter()
        .map(|text| {
            let path = base.join(text);
            // Only a current directory that is gone makes this fail; then opening it will say so.
            std::path::absolute(&path).unwrap_or(path)
        })
        .collect()
}

fn limits(doc: &mut Document<'_>, mut section: Section<'_>, limits: &mut Limits) {
    if let Some(rate) = section.rate(doc, "bandwidth_in", RATE) {
        limits.bandwidth_in = rate;
    }
    if let Some(rate) = section.rate(doc, "bandwidth_out", RATE) {
        limits.bandwidth_out = rate;
    }
    if let Some(share) = section.per_cent(doc, "share") {
        limits.share = share;
    }
    let range = 0..=Limits::MAX_TRANSIT_TUNNELS.into();
    if let Some(n) = number(doc, &mut section, "transit_tunnels", range) {
        limits.transit_tunnels = n;
    }
    section.finish(doc);
}

fn pool(doc: &mut Document<'_>, mut section: Section<'_>, tunnels: &mut Tunnels) {
    length_and_quantity(doc, &mut section, tunnels);
    let range = 0..=Tunnels::MAX_LENGTH_VARIANCE.into();
    if let Some(n) = number(doc, &mut section, "length_variance", range) {
        tunnels.length_variance = n;
    }
    let spare = Tunnels::MAX_LENGTH - tunnels.length;
    if tunnels.length_variance > spare {
        let problem = format_args!(
            "length and length_variance together; allowed: up to {}",
            Tunnels::MAX_LENGTH
        );
        doc.refuse(section.span(), &section.key("length"), problem);
    }
    section.finish(doc);
}

fn length_and_quantity(doc: &mut Document<'_>, section: &mut Section<'_>, tunnels: &mut Tunnels) {
    if let Some(n) = number(doc, section, "length", 0..=Tunnels::MAX_LENGTH.into()) {
        tunnels.length = n;
    }
    if let Some(n) = number(doc, section, "quantity", 1..=Tunnels::MAX_QUANTITY.into()) {
        tunnels.quantity = n;
    }
}

/// The shape of a single tunnel's pools: that of client tunnels where it says nothing itself.
fn own_tunnels(doc: &mut Document<'_>, section: &mut Section<'_>, client: Tunnels) -> Tunnels {
    let mut tunnels = client;
    length_and_quantity(doc, section, &mut tunnels);
    tunnels.length_variance = tunnels.length_variance.min(Tunnels::MAX_LENGTH - tunnels.length);
    tunnels
}

fn http_proxy(
    doc: &mut Document<'_>,
    mut section: Section<'_>,
    client: Tunnels,
) -> Option<HttpProxy> {
    let mut proxy = HttpProxy::new(HttpProxy::DEFAULT_LISTEN);
    let listen = section.text(doc, "listen", PROXY_ADDRESS, |s| match s {
        "off" => Some(None),
        _ => listen_addr(s).map(Some),
    });
    proxy.tunnels = own_tunnels(doc, &mut section, client);
    section.finish(doc);
    match listen {
        Some((None, _)) => None,
        Some((Some(listen), _)) => {
            proxy.listen = listen;
            Some(proxy)
        }
        None => Some(proxy),
    }
}

fn server(
    doc: &mut Document<'_>,
    mut section: Section<'_>,
    router: &mut Config,
    taken: &mut Taken,
) {
    let own_name = section.text(doc, "name", NAME, name);
    let target = section.required_text(doc, "target", ADDRESS, listen_addr);
    let kind = section.text(doc, "kind", KIND, |s| match s {
        "tcp" => Some(ServerKind::Tcp),
        "http" => Some(ServerKind::Http),
        _ => None,
    });
    let keys = section.text(doc, "keys", KEYS, |s| name(s).filter(|n| n != ROUTER_KEYS));
    let tunnels = own_tunnels(doc, &mut section, router.client);
    let span = section.span().clone();
    section.finish(doc);
    let Some((target, _)) = target else { return };
    let (name, name_span) = own_name.unwrap_or_else(|| (name_of(target), span));
    let mut server = Server::new(&name, target);
    let keys_span = match keys {
        Some((keys, span)) => {
            server.keys = keys.into();
            span
        }
        None => name_span.clone(),
    };
    unique_name(doc, "server.name", &name, &name_span, taken);
    if let Some(other) = taken.keys.insert(server.keys.to_string(), format!("server {name:?}")) {
        let problem = format_args!(
            "{:?} has the keys of {other} already; allowed: a name of its own",
            server.keys
        );
        doc.refuse(&keys_span, "server.keys", problem);
    }
    server.tunnels = tunnels;
    if let Some((kind, _)) = kind {
        server.kind = kind;
    }
    router.servers.push(server);
}

fn client(
    doc: &mut Document<'_>,
    mut section: Section<'_>,
    router: &mut Config,
    taken: &mut Taken,
) {
    let name = section.text(doc, "name", NAME, name);
    let listen = section.required_text(doc, "listen", ADDRESS, listen_addr);
    let destination =
        section.required_text(doc, "destination", DESTINATION, |s| Some(String::from(s)));
    let tunnels = own_tunnels(doc, &mut section, router.client);
    let span = section.span().clone();
    section.finish(doc);
    // Whether it exists is found out when it is used.
    if let Some((text, span)) = &destination
        && let Err(e) = Destination::parse(text)
    {
        let problem = format_args!("\"{}\": {e}; allowed: {DESTINATION}", shorten(text));
        doc.refuse(span, "client.destination", problem);
    }
    let (Some((listen, listen_span)), Some((destination, _))) = (listen, destination) else {
        return;
    };
    let (name, name_span) = name.unwrap_or_else(|| (name_of(listen), span));
    unique_name(doc, "client.name", &name, &name_span, taken);
    if let Some(other) = taken.listen.insert(listen, format!("client {name:?}")) {
        let problem =
            format_args!("{listen} is taken by {other} already; allowed: a port of its own");
        doc.refuse(&listen_span, "client.listen", problem);
    }
    let mut client = Client::new(&name, listen, &destination);
    client.tunnels = tunnels;
    taken.keys.insert(client.keys(), format!("client {name:?}"));
    router.clients.push(client);
}

fn unique_name(
    doc: &mut Document<'_>,
    key: &str,
    name: &str,
    span: &Range<usize>,
    taken: &mut Taken,
) {
    if !taken.names.insert(name.into()) {
        let problem =
            format_args!("{name:?} is the name of another tunnel already; allowed: a new name");
        doc.refuse(span, key, problem);
    }
}

/// A number that fits its place, because `range` does.
fn number<T: TryFrom<u64>>(
    doc: &mut Document<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Option<T> {
    section.number(doc, key, range).and_then(|n| T::try_from(n).ok())
}

/// An address that one can listen on and connect to: port 0 is neither.
fn listen_addr(text: &str) -> Option<SocketAddr> {
    parse_addr(text).filter(|addr| addr.port() != 0)
}

/// A name for files, logs and tables.
fn name(text: &str) -> Option<String> {
    let good = !text.is_empty()
        && text.len() <= MAX_NAME
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    good.then(|| text.into())
}

/// The name of a tunnel without one. From its address rather than its place in the file, so that
/// it keeps its keys when others come before it.
fn name_of(addr: SocketAddr) -> String {
    let text: String = addr.to_string().chars().map(|c| if c == ':' { '-' } else { c }).collect();
    text.chars().filter(|c| !"[]%".contains(*c)).collect()
}

fn floodfill(text: &str) -> Option<Floodfill> {
    match text {
        "auto" => Some(Floodfill::Auto),
        "on" => Some(Floodfill::On),
        "off" => Some(Floodfill::Off),
        _ => None,
    }
}

fn level(text: &str) -> Option<LevelFilter> {
    match text {
        "off" => Some(LevelFilter::Off),
        "error" => Some(LevelFilter::Error),
        "warn" => Some(LevelFilter::Warn),
        "info" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        "trace" => Some(LevelFilter::Trace),
        _ => None,
    }
}
