//! Which header lines travel on, and how a head is written anew.
//!
//! Heads are never patched in place: the start line, `Host`, `Connection` and the framing headers
//! are ours, the other lines are copied when a rule lets them pass.

use super::target::{Target, host_header, parse_authority};
use crate::wire::http::{Framing, Header, RequestHead, ResponseHead, Version, tokens};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The `User-Agent` of everybody in I2P.
const USER_AGENT: &str = "MYOB/6.66 (AN/ON)";

/// What becomes of `Connection` in the head we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Not mentioned: HTTP/1.1 stays open.
    Keep,
    /// `close`.
    Close,
    /// `Upgrade`, to WebSocket.
    Upgrade,
}

/// Our side of a request's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewrite<'a> {
    /// Origin form, or `*`.
    pub(crate) target: &'a str,
    /// The value of `Host`.
    pub(crate) host: &'a str,
    pub(crate) framing: Framing,
    pub(crate) connection: Connection,
}

/// Hop by hop (RFC 9110, 7.6.1), and what we write ourselves.
const HOP: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Lines with which a proxy of someone's would name a client.
const FORWARDED: &[&str] = &[
    "cf-connecting-ip",
    "client-ip",
    "forwarded",
    "proxy",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
];
const FORWARDED_PREFIXES: &[&str] = &["proxy-", "x-forwarded", "x-i2p"];

/// Lines that tell browsers apart.
const TRAITS: &[&str] = &[
    "alt-used",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "ect",
    "from",
    "priority",
    "rtt",
    "save-data",
    "sec-gpc",
    "user-agent",
    "viewport-width",
    "width",
    "x-accept-encoding",
    "x-uidh",
    "x-wap-profile",
];

/// Lines of a response that a hidden site should not show (its clock, its software, its other
/// addresses).
const SITE_TRAITS: &[&str] =
    &["alt-svc", "date", "server", "via", "x-aspnet-version", "x-powered-by", "x-runtime"];

/// A browser's request on its way to `to`, without what identifies the browser.
pub(crate) fn proxy_request(
    head: &RequestHead<'_>,
    to: (&Target, u16),
    ours: &Rewrite<'_>,
) -> Vec<u8> {
    let mut out = start(head.method, ours);
    put_line(&mut out, "User-Agent", USER_AGENT.as_bytes());
    for h in &head.headers {
        let name = canonical(h.name);
        if is_hop(&name, &head.headers) || is_forwarded(&name) || is_trait(&name) {
            continue;
        }
        match name.as_str() {
            "referer" => {
                if let Some(value) = same_site(h.value, to) {
                    put_line(&mut out, h.name, value.as_bytes());
                }
            }
            // Dropping it would make a request from another site look like the site's own.
            "origin" => {
                let value = same_site(h.value, to);
                put_line(&mut out, h.name, value.as_deref().unwrap_or("null").as_bytes());
            }
            "x-requested-with" if !contains(h.value, b"httprequest") => {}
            // These two schemes carry the names of the machine and its domain.
            "authorization"
                if starts_with(h.value, b"ntlm") || starts_with(h.value, b"negotiate") => {}
            _ => put_line(&mut out, h.name, h.value),
        }
    }
    end(out, ours.connection, ours.framing)
}

/// A visitor's request on its way to our local server, with `identity` in place of what the
/// visitor says about itself.
pub(crate) fn site_request(head: &RequestHead<'_>, identity: &[u8], ours: &Rewrite<'_>) -> Vec<u8> {
    let mut out = start(head.method, ours);
    for h in &head.headers {
        let name = canonical(h.name);
        if !is_hop(&name, &head.headers) && !is_forwarded(&name) {
            put_line(&mut out, h.name, h.value);
        }
    }
    out.extend_from_slice(identity);
    end(out, ours.connection, ours.framing)
}

/// A response's head; `site`: it leaves our own hidden site. `length` is written for
/// [`Framing::Empty`] too, where it tells what a GET would bring.
pub(crate) fn response(
    head: &ResponseHead<'_>,
    site: bool,
    connection: Connection,
    framing: Framing,
    length: Option<u64>,
) -> Vec<u8> {
    let reason =
        if head.reason.bytes().all(|b| matches!(b, b' '..=b'~')) { head.reason } else { "" };
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", head.status).into_bytes();
    for h in &head.headers {
        let name = canonical(h.name);
        let drop = is_hop(&name, &head.headers)
            || name.starts_with("proxy-")
            || name == "alt-svc"
            || (site && (SITE_TRAITS.contains(&name.as_str()) || name == "proxy"));
        if !drop {
            put_line(&mut out, h.name, h.value);
        }
    }
    let framing = match (framing, length) {
        (Framing::Empty, Some(n)) => Framing::Length(n),
        (framing, _) => framing,
    };
    end(out, connection, framing)
}

/// Whether a request asks for an upgrade that we can follow: to WebSocket, without a body. Any
/// other (`h2c`) would hide further requests from us.
pub(crate) fn wants_upgrade(head: &RequestHead<'_>, framing: Framing) -> bool {
    let mut kinds = tokens(&head.headers, "upgrade");
    head.version == Version::Http11
        && head.method == "GET"
        && framing == Framing::Empty
        && tokens(&head.headers, "connection").any(|t| t.eq_ignore_ascii_case(b"upgrade"))
        && kinds.next().is_some_and(|t| t.eq_ignore_ascii_case(b"websocket"))
        && kinds.next().is_none()
}

/// Whether the client lets the connection stay open.
pub(crate) fn wants_keep(head: &RequestHead<'_>) -> bool {
    let closes = |name| tokens(&head.headers, name).any(|t| t.eq_ignore_ascii_case(b"close"));
    head.version == Version::Http11 && !closes("connection") && !closes("proxy-connection")
}

/// The value of the only `Host` line; an error when there are several.
pub(crate) fn only_host<'a>(headers: &[Header<'a>]) -> Result<Option<&'a [u8]>, &'static str> {
    let mut lines = headers.iter().filter(|h| h.is("host"));
    let first = lines.next().map(|h| h.value);
    if lines.next().is_some() { Err("several Host lines") } else { Ok(first) }
}

/// Whether a client waits for `100 Continue`; an error for any other expectation.
pub(crate) fn expects_continue(head: &RequestHead<'_>) -> Result<bool, ()> {
    let mut expects = false;
    for h in head.headers.iter().filter(|h| h.is("expect")) {
        if !h.value.eq_ignore_ascii_case(b"100-continue") {
            return Err(());
        }
        expects = true;
    }
    Ok(expects && head.version == Version::Http11)
}

fn start(method: &str, ours: &Rewrite<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    for part in [method, " ", ours.target, " HTTP/1.1\r\nHost: ", ours.host, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    out
}

fn end(mut out: Vec<u8>, connection: Connection, framing: Framing) -> Vec<u8> {
    match connection {
        Connection::Keep => {}
        Connection::Close => put_line(&mut out, "Connection", b"close"),
        Connection::Upgrade => {
            put_line(&mut out, "Connection", b"Upgrade");
            put_line(&mut out, "Upgrade", b"websocket");
        }
    }
    match framing {
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(n) => put_line(&mut out, "Content-Length", format!("{n}").as_bytes()),
        Framing::Chunked => put_line(&mut out, "Transfer-Encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A line; the line ends of a folded value become blanks.
fn put_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    out.extend_from_slice(b"\r\n");
}

/// Lower case, and `-` for `_`: the way a CGI program would see the name.
fn canonical(name: &str) -> String {
    name.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Ends at this hop, by its name or because `Connection` says so.
fn is_hop(name: &str, headers: &[Header<'_>]) -> bool {
    HOP.contains(&name)
        || tokens(headers, "connection").any(|t| t.eq_ignore_ascii_case(name.as_bytes()))
}

fn is_forwarded(name: &str) -> bool {
    FORWARDED.contains(&name) || FORWARDED_PREFIXES.iter().any(|p| name.starts_with(p))
}

fn is_trait(name: &str) -> bool {
    TRAITS.contains(&name)
        || name.starts_with("sec-ch-")
        || (name.starts_with("accept") && name != "accept-encoding")
}

/// The address in `value`, written our way, when it lies on the site that the request goes to.
fn same_site(value: &[u8], (target, port): (&Target, u16)) -> Option<String> {
    let text = core::str::from_utf8(value).ok().filter(|t| !t.contains("i2paddresshelper"))?;
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (host, its_port) = parse_authority(authority).ok()?;
    let same = scheme.eq_ignore_ascii_case("http")
        && host.host() == target.host()
        && its_port.unwrap_or(80) == port;
    same.then(|| format!("http://{}{path}", host_header(target, port)))
}

fn starts_with(value: &[u8], lower: &[u8]) -> bool {
    value.get(..lower.len()).is_some_and(|v| v.eq_ignore_ascii_case(lower))
}

fn contains(value: &[u8], lower: &[u8]) -> bool {
    value.windows(lower.len()).any(|w| w.eq_ignore_ascii_case(lower))
}
