//! From [`Settings`] to a TOML text.

use super::Settings;
use ramson_core::config::{Floodfill, ServerKind, Tunnels};
use std::fmt::{Display, Write as _};

/// What a server tunnel can look like. A line is an example when nothing follows its `#`.
const SERVER: &str = r#"
# A site or service of yours, under an address of its own; kind "http" replaces request headers
# that would say something false to the server, "tcp" passes all bytes.
#[[server]]
#name = "site"
#target = "127.0.0.1:8080"
#kind = "http"
#keys = "site.dat"  # in the folder keys/; NAME.dat when absent
#length = 3  # hops; that of tunnels.client when absent, and so is the quantity
#quantity = 2  # tunnels in each direction
"#;
/// What a client tunnel can look like.
const CLIENT: &str = r#"
# A local port that leads to one destination.
#[[client]]
#name = "git"
#listen = "127.0.0.1:9418"
#destination = "example.i2p:9418"
#length = 3  # hops; that of tunnels.client when absent, and so is the quantity
#quantity = 2  # tunnels in each direction
"#;

/// The whole configuration; see [`Settings::to_toml`].
pub(super) fn to_toml(settings: &Settings) -> String {
    let router = &settings.router;
    let mut out = Printer(String::new());

    out.section("[network]");
    out.noted("id", router.network.id, "2 is the public network");
    out.noted("allow_local", router.network.allow_local, "private addresses, for test networks");

    out.section("[ntcp2]  # over TCP");
    out.noted("enabled", router.ntcp2.enabled, "whether it is used at all");
    let host = router.ntcp2.host.map(quoted);
    out.optional("host", host, "\"203.0.113.7\"", "the address to publish; none when absent");
    out.optional("port", router.ntcp2.port, "14567", "chosen once and remembered when absent");
    out.optional("bind", router.ntcp2.bind.map(quoted), "\"0.0.0.0\"", "any address when absent");
    out.noted("publish", router.ntcp2.publish, "the address, if there is a host");

    out.section("[ssu2]  # over UDP");
    out.noted("enabled", router.ssu2.enabled, "whether it is used at all");
    let host = router.ssu2.host.map(quoted);
    out.optional("host", host, "\"203.0.113.7\"", "that of ntcp2 when absent");
    let note = "that of ntcp2, or chosen once and remembered, when absent";
    out.optional("port", router.ssu2.port, "14567", note);
    out.optional("bind", router.ssu2.bind.map(quoted), "\"0.0.0.0\"", "that of ntcp2 when absent");
    out.noted("publish", router.ssu2.publish, "the address, if there is a host");
    out.noted("mtu", router.ssu2.mtu, "bytes of the largest packets to us, 1280 to 1500");

    out.section("[netdb]");
    let floodfill = match router.netdb.floodfill {
        Floodfill::On => "on",
        Floodfill::Off => "off",
        Floodfill::Auto | _ => "auto",
    };
    let note = "keep and give out entries of others: \"on\", \"off\", \"auto\" when fit";
    out.noted("floodfill", quoted(floodfill), note);

    out.section("[reseed]");
    let files: Vec<String> = settings.reseed.iter().map(|p| quoted(p.display())).collect();
    let note = "RouterInfo files, folders or zips of them, for the first start";
    out.noted("files", format_args!("[{}]", files.join(", ")), note);

    out.section("[limits]");
    let rate = "bytes per second, or a text such as \"512 KiB\"";
    out.noted("bandwidth_in", router.limits.bandwidth_in, rate);
    out.noted("bandwidth_out", router.limits.bandwidth_out, rate);
    out.noted("share", router.limits.share, "per cent of it that others may use");
    out.noted("transit_tunnels", router.limits.transit_tunnels, "tunnels of others, at most");

    out.section("[tunnels.exploratory]");
    out.noted("length", router.exploratory.length, "hops");
    out.noted("quantity", router.exploratory.quantity, "tunnels in each direction");
    let variance = "up to so many hops more, at random";
    out.noted("length_variance", router.exploratory.length_variance, variance);
    out.section(
        "[tunnels.client]  # of the proxy, servers and clients that say nothing themselves",
    );
    out.length_and_quantity(router.client);
    out.value("length_variance", router.client.length_variance);

    out.section("[http_proxy]");
    match &router.http_proxy {
        Some(proxy) => {
            out.noted("listen", quoted(proxy.listen), "or \"off\" for no proxy");
            out.length_and_quantity(proxy.tunnels);
        }
        None => out.noted("listen", quoted("off"), "or an address such as \"127.0.0.1:4444\""),
    }
    if router.servers.is_empty() {
        out.0.push_str(SERVER);
    }
    for server in &router.servers {
        out.section("[[server]]");
        out.value("name", quoted(&server.name));
        out.value("target", quoted(server.target));
        let kind = if server.kind == ServerKind::Http { "http" } else { "tcp" };
        out.noted("kind", quoted(kind), "\"tcp\" or \"http\"");
        out.value("keys", quoted(&server.keys));
        out.length_and_quantity(server.tunnels);
    }
    if router.clients.is_empty() {
        out.0.push_str(CLIENT);
    }
    for client in &router.clients {
        out.section("[[client]]");
        out.value("name", quoted(&client.name));
        out.value("listen", quoted(client.listen));
        out.value("destination", quoted(&client.destination));
        out.length_and_quantity(client.tunnels);
    }
    out.section("[record]  # what the router is told, for `ramson replay`: with keys and traffic");
    out.noted("enabled", settings.record.enabled, "a recording for each run, in recordings/");
    let note = "bytes of all together, or a text such as \"256 MiB\"; the oldest make room";
    out.noted("limit", settings.record.limit, note);
    out.section("[log]");
    let level = quoted(settings.log_level.as_str().to_ascii_lowercase());
    out.noted("level", level, "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"");
    out.0
}

struct Printer(String);

// Writing to a String cannot fail.
impl Printer {
    fn section(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}{header}");
    }

    fn value(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    /// A value with what it means behind it.
    fn noted(&mut self, key: &str, value: impl Display, note: &str) {
        let _ = writeln!(self.0, "{key} = {value}  # {note}");
    }

    /// An absent value becomes a comment with an example.
    fn optional(&mut self, key: &str, value: Option<impl Display>, example: &str, note: &str) {
        match value {
            Some(value) => self.noted(key, value, note),
            None => {
                let _ = writeln!(self.0, "#{key} = {example}  # {note}");
            }
        }
    }

    fn length_and_quantity(&mut self, tunnels: Tunnels) {
        self.value("length", tunnels.length);
        self.value("quantity", tunnels.quantity);
    }
}

/// A TOML string.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}
