//! Pages that we answer with ourselves: what went wrong and what to do about it.
//!
//! Plain HTML, no script, nothing fetched from anywhere, every foreign word escaped.

use super::Failure;
use super::target::TargetError;
use crate::wire::http::HttpError;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Longest foreign text shown, in characters.
const MAX_SHOWN: usize = 200;

/// The usual jump services, by address, so that the address book need not know them.
const JUMP_SERVICES: [(&str, &str); 4] = [
    ("reg.i2p", "shx5vqsw7usdaunyzr2qmes2fq37oumybpudrd4jjj4e4vk4uusa.b32.i2p/jump/"),
    (
        "identiguy.i2p",
        "3mzmrus2oron5fxptw7hw2puho3bnqmw2hqy7nw64dsrrjwdilva.b32.i2p/cgi-bin/query?hostname=",
    ),
    (
        "stats.i2p",
        "7tbay5p4kzeekxvyvbf6v7eauazemsnnl2aoyqhg5jzpr5eke7tq.b32.i2p/cgi-bin/jump.cgi?a=",
    ),
    (
        "notbob.i2p",
        "nytzrhrjjfsutowojvxi7hphesskpqqr65wpistz6wa7cpajhp7a.b32.i2p/cgi-bin/jump.cgi?q=",
    ),
];

/// Something that went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The request is malformed; says how.
    BadRequest(&'static str),
    /// The head is too long or has too many lines.
    HeadTooLarge,
    /// The head did not arrive in time.
    SlowRequest,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A transfer coding that we do not speak.
    Coding,
    /// An `Expect` other than `100-continue`.
    Expectation,
    /// A body for our own pages that is too long.
    BodyTooLarge,
    /// A scheme other than `http`.
    Scheme,
    /// Outside I2P.
    NotI2p,
    /// A request to the proxy as if it were a site.
    NotASite,
    /// No such page of our own.
    NoSuchPage,
    /// The host is no valid address; says why.
    BadAddress(&'static str),
    /// A b33 address.
    Blinded,
    /// An address helper that cannot be used; says why.
    BadHelper(&'static str),
    /// A confirmation whose token does not fit.
    BadToken,
    /// The address book took nothing.
    BookFull,
    /// The I2P stream failed before an answer came.
    Stream(Failure),
    /// Connected, but no answer for long.
    NoAnswer,
    /// The answer is no valid HTTP.
    BadAnswer,
    /// The stream ended before an answer.
    ClosedEarly,
    /// The router does not answer the machine.
    Internal,
    /// Server tunnel: nobody listens at the target.
    TargetDown,
    /// Server tunnel: the target does not answer.
    TargetSlow,
    /// Server tunnel: what the target says is no HTTP.
    TargetBad,
}

/// The text of a page.
struct Text {
    status: u16,
    title: &'static str,
    what: &'static str,
    advice: &'static str,
}

impl Problem {
    /// The status of its page.
    #[cfg(test)]
    pub(crate) const fn status(self) -> u16 {
        self.text().status
    }

    #[rustfmt::skip]
    const fn text(self) -> Text {
        let (status, title, what, advice) = match self {
            Self::BadRequest(_) => (400, "Bad request", "The request could not be understood in exactly one way, so it was not sent.", "If a web browser shows this, try again; if it comes back, another program between the browser and this proxy may be changing requests."),
            Self::HeadTooLarge => (431, "Request too large", "The headers of this request are larger than this proxy takes.", "Delete the cookies of this site and try again."),
            Self::SlowRequest => (408, "Request timed out", "The request did not arrive completely in time.", "Try again."),
            Self::Version => (505, "HTTP version not supported", "This proxy speaks HTTP/1.1.", "Set up the program to use a plain HTTP/1.1 proxy."),
            Self::Coding => (501, "Transfer coding not supported", "The request uses a transfer coding other than chunked.", "Send the request without it."),
            Self::Expectation => (417, "Expectation failed", "The request expects something that this proxy does not know.", "Send the request without its Expect header."),
            Self::BodyTooLarge => (413, "Form too large", "The form sent to this proxy is larger than it takes.", "Go back and try again."),
            Self::Scheme => (400, "Scheme not supported", "This proxy fetches http:// addresses.", "For https:// sites in I2P the browser has to use this proxy as its HTTPS proxy too, so that it sends CONNECT."),
            Self::NotI2p => (403, "Not an I2P address", "This proxy reaches sites inside I2P only: addresses that end in .i2p. Nothing was looked up or contacted.", "Set the browser to use this proxy for .i2p addresses only, or use another browser profile for the rest of the web."),
            Self::NotASite => (400, "This is a proxy", "The request was sent to this proxy as if it were the site itself.", "Enter this address and port as the HTTP proxy in the browser's settings, then open the .i2p address."),
            Self::NoSuchPage => (404, "No such page", "This proxy has no page at that address.", "Open http://proxy.i2p/ for the status page."),
            Self::BadAddress(_) => (400, "Not a valid address", "The host of this address cannot be an I2P address.", "Check that the address was copied completely."),
            Self::Blinded => (501, "Address not supported yet", "This is the address of an encrypted lease set (b33). This router does not support them yet.", "Ask the site for a .b32.i2p address with 52 characters, if it has one."),
            Self::BadHelper(_) => (400, "Address helper not usable", "The link carries an address helper that cannot be used. It was not applied.", "Open the site without the helper, or get the link again."),
            Self::BadToken => (403, "Confirmation not valid", "This confirmation did not come from a page that this proxy made recently. Nothing was changed.", "Open the link with the address helper again and confirm on the page that appears."),
            Self::BookFull => (503, "Address book not changed", "The address could not be added: the address book is full or knows another destination under this name.", "Open the site by its .b32.i2p address, or edit the hosts.txt file."),
            Self::Stream(failure) => return stream_text(failure),
            Self::NoAnswer => (504, "The site does not answer", "The site was reached but sent no answer for several minutes.", "Try again later."),
            Self::BadAnswer => (502, "Answer not understood", "What the site sent is not a valid HTTP answer.", "The port may belong to another kind of service. Tell the owner of the site, if this comes back."),
            Self::ClosedEarly => (502, "The site sent nothing", "The site closed the connection without an answer.", "Try again."),
            Self::Internal => (500, "Router error", "The router did not finish the request.", "Try again. If this comes back, look at the router's log."),
            Self::TargetDown => (503, "Site not running", "The site's web server is not running at the moment.", "Try again later."),
            Self::TargetSlow => (504, "Site does not answer", "The site's web server does not answer.", "Try again later."),
            Self::TargetBad => (502, "Site sent no valid answer", "The site's web server sent something that is not a valid HTTP answer.", "Try again later."),
        };
        Text { status, title, what, advice }
    }

    /// What is known beyond the kind.
    const fn detail(self) -> Option<&'static str> {
        match self {
            Self::BadRequest(why) | Self::BadAddress(why) | Self::BadHelper(why) => Some(why),
            Self::HeadTooLarge
            | Self::SlowRequest
            | Self::Version
            | Self::Coding
            | Self::Expectation
            | Self::BodyTooLarge
            | Self::Scheme
            | Self::NotI2p
            | Self::NotASite
            | Self::NoSuchPage
            | Self::Blinded
            | Self::BadToken
            | Self::BookFull
            | Self::Stream(_)
            | Self::NoAnswer
            | Self::BadAnswer
            | Self::ClosedEarly
            | Self::Internal
            | Self::TargetDown
            | Self::TargetSlow
            | Self::TargetBad => None,
        }
    }
}

#[rustfmt::skip]
const fn stream_text(failure: Failure) -> Text {
    let (status, title, what, advice) = match failure {
        Failure::UnknownName => (502, "Name not in the address book", "No destination is known under this name. Names are never looked up outside this router.", "Use the site's .b32.i2p address, follow a link with an address helper, or add a line name.i2p=destination to hosts.txt."),
        Failure::LeaseSetNotFound => (504, "Site not found in the network", "No router of the network knows a way to this destination at the moment.", "The site may be off line: try again later. If this router has just started, wait a minute."),
        Failure::LeaseSetExpired => (504, "Site gone from the network", "All that the network knows of this destination is out of date.", "The site was on line a while ago: try again later. If this happens with every site, this computer's clock may be wrong."),
        Failure::Unsupported => (502, "Encryption not supported", "The destination offers no encryption or signature type that this router speaks.", "Ask the owner of the site to use ECIES-X25519 (type 4)."),
        Failure::NoTunnels => (503, "No tunnels yet", "This router has no tunnels at the moment. After a start it needs a minute or two to build them.", "Wait a little and reload. If it lasts, check the router's connection to the Internet and its reseed files."),
        Failure::NoRouters => (503, "No router known", "This router knows no other router, so it cannot join the network. It asks no server on the Internet for a first list.", "Give it RouterInfo files to start from: single ones, a folder or a zip of them, from somebody who runs a router. Then start it again."),
        Failure::TimedOut => (504, "The site does not respond", "The destination is known, but no connection could be made in time.", "The site may be off line or overloaded: try again in a minute."),
        Failure::Refused => (502, "Connection refused", "The destination refused the connection.", "The service may be stopped, or not be on this port."),
        Failure::Reset => (502, "Connection broken", "The connection to the site broke before an answer came.", "Try again."),
        Failure::TooMany => (503, "Too many connections", "This router has as many connections open as it allows.", "Close some tabs or downloads and try again."),
        Failure::ShuttingDown => (503, "Router stopping", "This router is shutting down.", "Start it again."),
    };
    Text { status, title, what, advice }
}

impl From<HttpError> for Problem {
    /// For a request.
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::HeadTooLarge | HttpError::TooManyHeaders => Self::HeadTooLarge,
            HttpError::Version => Self::Version,
            HttpError::Coding => Self::Coding,
            HttpError::Malformed(what) | HttpError::Framing(what) => Self::BadRequest(what),
            HttpError::Chunk => Self::BadRequest("a chunk of the body is malformed"),
            HttpError::Truncated => Self::BadRequest("the request ended too early"),
        }
    }
}

impl From<TargetError> for Problem {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::NotI2p => Self::NotI2p,
            TargetError::Malformed(why) => Self::BadAddress(why),
            TargetError::Blinded => Self::Blinded,
        }
    }
}

/// The whole response of the proxy for a problem with a request to `host`.
pub(crate) fn problem(problem: Problem, host: Option<&str>, head_only: bool) -> Vec<u8> {
    let (status, title, body) = describe(problem, host);
    page(status, title, &body, head_only)
}

/// As [`problem`], for a name that is not known: with links to those who may know it. They answer
/// with an address helper, which is asked about before it counts.
pub(crate) fn unknown_name(name: &str, head_only: bool) -> Vec<u8> {
    let (status, title, mut body) = describe(Problem::Stream(Failure::UnknownName), Some(name));
    body.push_str("<p>Sites in I2P that may know it:</p>\n<ul>");
    let name = escape(name);
    for (service, url) in JUMP_SERVICES {
        body.push_str(&format!("<li><a href=\"http://{url}{name}\">{service}</a></li>\n"));
    }
    body.push_str("</ul>\n");
    page(status, title, &body, head_only)
}

/// As [`problem`], for a visitor of our site: says nothing about what runs here.
pub(crate) fn site_problem(problem: Problem, head_only: bool) -> Vec<u8> {
    let (status, title, body) = describe(problem, None);
    document(status, title, &body, head_only)
}

fn describe(problem: Problem, host: Option<&str>) -> (u16, &'static str, String) {
    let Text { status, title, what, advice } = problem.text();
    let mut body = String::new();
    if let Some(host) = host {
        body.push_str(&format!("<p><code>{}</code></p>\n", escape(host)));
    }
    body.push_str(&format!("<p>{}</p>\n", escape(what)));
    if let Some(detail) = problem.detail() {
        body.push_str(&format!("<p>Reason: {}.</p>\n", escape(detail)));
    }
    body.push_str(&format!("<p><b>What to do:</b> {}</p>\n", escape(advice)));
    (status, title, body)
}

/// A whole response of the proxy with the given content, which is HTML.
pub(crate) fn page(status: u16, title: &str, content: &str, head_only: bool) -> Vec<u8> {
    let content = format!("{content}<hr><p><small>Ramson, I2P router</small></p>");
    document(status, title, &content, head_only)
}

fn document(status: u16, title: &str, content: &str, head_only: bool) -> Vec<u8> {
    let title = escape(title);
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>body{{font-family:sans-serif;line-height:1.5;max-width:44em;\
         margin:3em auto;padding:0 1em}}code{{overflow-wrap:anywhere}}</style></head>\n\
         <body><h1>{title}</h1>\n{content}</body></html>\n"
    );
    let retry = if status == 503 { "Retry-After: 15\r\n" } else { "" };
    let mut out = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{retry}Content-Security-Policy: default-src 'none'; style-src \
         'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'\r\nX-Content-Type-Options: \
         nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n",
        reason(status),
        body.len(),
    );
    if !head_only {
        out.push_str(&body);
    }
    out.into_bytes()
}

/// A redirect after a form; `location` has no characters that end a header.
pub(crate) fn see_other(location: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 303 See Other\r\nLocation: {location}\r\nContent-Length: 0\r\nCache-Control: \
         no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// Safe inside an element or a quoted attribute, and never long.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, c) in text.chars().enumerate() {
        if n == MAX_SHOWN {
            out.push('\u{2026}');
            break;
        }
        push_escaped(c, &mut out);
    }
    out
}

/// As [`escape`], of any length: for values that a form sends back.
pub(crate) fn escape_whole(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(c, &mut out));
    out
}

fn push_escaped(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        // Neither control characters nor those that turn the reading direction around.
        c if c.is_control() => out.push('\u{fffd}'),
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            out.push('\u{fffd}');
        }
        c => out.push(c),
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_harmless() {
        let evil = "<script>alert(1)</script>\"'&\u{202e}\r\nSet-Cookie: a=b";
        let page = problem(Problem::NotI2p, Some(evil), false);
        let text = String::from_utf8(page).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("Set-Cookie"));
        assert!(!body.contains("<script") && !body.contains('\u{202e}') && !body.contains('\r'));
        assert!(body.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
        assert!(escape(&"x".repeat(5000)).len() < 300);
    }

    #[test]
    fn jump_services_are_given_by_valid_addresses() {
        for (name, url) in JUMP_SERVICES {
            let host = url.split('/').next().unwrap();
            assert!(crate::wire::base32::parse_host(host).is_some(), "{name}");
        }
    }

    #[test]
    fn every_problem_has_a_page_that_is_complete_and_not_kept() {
        let mut titles = alloc::collections::BTreeSet::new();
        for p in [
            Problem::BadRequest("x"),
            Problem::HeadTooLarge,
            Problem::SlowRequest,
            Problem::Version,
            Problem::Coding,
            Problem::Expectation,
            Problem::BodyTooLarge,
            Problem::Scheme,
            Problem::NotI2p,
            Problem::NotASite,
            Problem::NoSuchPage,
            Problem::BadAddress("x"),
            Problem::Blinded,
            Problem::BadHelper("x"),
            Problem::BadToken,
            Problem::BookFull,
            Problem::Stream(Failure::UnknownName),
            Problem::Stream(Failure::LeaseSetNotFound),
            Problem::Stream(Failure::LeaseSetExpired),
            Problem::Stream(Failure::Unsupported),
            Problem::Stream(Failure::NoTunnels),
            Problem::Stream(Failure::NoRouters),
            Problem::Stream(Failure::TimedOut),
            Problem::Stream(Failure::Refused),
            Problem::Stream(Failure::Reset),
            Problem::Stream(Failure::TooMany),
            Problem::Stream(Failure::ShuttingDown),
            Problem::NoAnswer,
            Problem::BadAnswer,
            Problem::ClosedEarly,
            Problem::Internal,
            Problem::TargetDown,
            Problem::TargetSlow,
            Problem::TargetBad,
        ] {
            assert!(titles.insert(p.text().title), "{p:?} shares its page with another");
            let text = String::from_utf8(problem(p, Some("a.i2p"), false)).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let status = p.status();
            assert!((400..600).contains(&status), "{p:?}");
            assert!(!reason(status).is_empty(), "{status}");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{p:?}");
            for line in ["Connection: close", "Cache-Control: no-store"] {
                assert!(head.contains(line), "{p:?}");
            }
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
            assert!(body.contains("What to do"), "{p:?}");
            let head_only = problem(p, Some("a.i2p"), true);
            assert_eq!(head_only, [head.as_bytes(), b"\r\n\r\n"].concat());
        }
    }
}
