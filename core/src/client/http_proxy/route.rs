//! What a request to the proxy wants: judged from its head alone.

use super::helper::{self, Helper};
use crate::client::address_book::PROXY_NAME;
use crate::client::pages::Problem;
use crate::client::relay::Plan;
use crate::client::sanitize::{self, Connection, Rewrite};
use crate::client::target::{Target, host_header, parse_authority};
use crate::wire::http::{Framing, RequestHead, parse_request, request_framing};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

/// A request that may go on.
#[derive(Debug)]
pub(super) enum Route {
    /// To a site.
    Forward(Forward),
    /// CONNECT.
    Tunnel { target: Target, port: u16 },
    /// For our own pages.
    Own { page: OwnPage, head_only: bool },
}

/// A request for a site, ready to be sent.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) target: Target,
    pub(super) port: u16,
    /// The cleaned head.
    pub(super) head: Vec<u8>,
    pub(super) plan: Plan,
    /// The client waits for `100 Continue`.
    pub(super) expects: bool,
    /// Can be sent twice without harm, and has no body.
    pub(super) repeatable: bool,
    /// The address helper that came with it; not part of the head any more.
    pub(super) helper: Option<Helper>,
}

/// Pages of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnPage {
    /// How to use the proxy.
    Status,
    /// The form of the confirmation page, with a body of so many bytes.
    Confirm { body: u64 },
}

/// A request that goes no further.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) problem: Problem,
    /// The host as the client wrote it.
    pub(super) host: Option<String>,
    pub(super) head_only: bool,
}

/// The path of the confirmation form.
pub(super) const CONFIRM_PATH: &str = "/addresshelper";
/// Longest form taken.
pub(super) const MAX_FORM: u64 = 8 * 1024;

/// Judges a complete head.
pub(super) fn judge(bytes: &[u8]) -> Result<Route, Refusal> {
    let head = parse_request(bytes).map_err(|e| Refusal {
        problem: e.into(),
        host: None,
        head_only: false,
    })?;
    let head_only = head.method == "HEAD";
    let mut host = None;
    judge_head(&head, &mut host).map_err(|problem| Refusal { problem, host, head_only })
}

fn judge_head(head: &RequestHead<'_>, shown: &mut Option<String>) -> Result<Route, Problem> {
    let framing = request_framing(head)?;
    // Host itself is not used: the target says where the request goes, and we write Host anew.
    sanitize::only_host(&head.headers).map_err(Problem::BadRequest)?;
    let expects = sanitize::expects_continue(head).map_err(|()| Problem::Expectation)?;
    let head_only = head.method == "HEAD";
    if head.method == "CONNECT" {
        *shown = Some(head.target.to_string());
        if !matches!(framing, Framing::Empty | Framing::Length(0)) {
            return Err(Problem::BadRequest("CONNECT with a body"));
        }
        let (target, port) = parse_authority(head.target)?;
        let port = port.ok_or(Problem::BadRequest("CONNECT without a port"))?;
        return Ok(Route::Tunnel { target, port });
    }
    if head.target == "/" {
        return Ok(Route::Own { page: OwnPage::Status, head_only });
    }
    if head.target == "*" || head.target.starts_with('/') {
        return Err(Problem::NotASite);
    }
    let (authority, path) = split_absolute(head)?;
    *shown = Some(authority.to_string());
    if authority.strip_suffix(":80").unwrap_or(authority).eq_ignore_ascii_case(PROXY_NAME) {
        return own(head, framing, &path, head_only);
    }
    let (target, port) = parse_authority(authority)?;
    let port = port.unwrap_or(80);
    let (path, helper) = helper::extract(&path, &target, port)?;
    let upgrade = sanitize::wants_upgrade(head, framing);
    let keep = sanitize::wants_keep(head);
    let connection = match (upgrade, keep) {
        (true, _) => Connection::Upgrade,
        (false, true) => Connection::Keep,
        (false, false) => Connection::Close,
    };
    let host = host_header(&target, port);
    let ours = Rewrite { target: &path, host: &host, framing, connection };
    Ok(Route::Forward(Forward {
        head: sanitize::proxy_request(head, (&target, port), &ours),
        plan: Plan {
            framing,
            to_head: head_only,
            upgrade,
            old_client: head.version == crate::wire::http::Version::Http10,
            keep,
        },
        expects: expects && !matches!(framing, Framing::Empty | Framing::Length(0)),
        repeatable: matches!(head.method, "GET" | "HEAD" | "OPTIONS") && framing == Framing::Empty,
        target,
        port,
        helper,
    }))
}

/// The authority and the path with query, `/` at least.
fn split_absolute<'a>(head: &RequestHead<'a>) -> Result<(&'a str, String), Problem> {
    let (scheme, rest) =
        head.target.split_once("://").ok_or(Problem::BadRequest("request target"))?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(Problem::Scheme);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) =
        rest.split_at_checked(end).ok_or(Problem::BadRequest("request target"))?;
    Ok((authority, origin_form(path, head.method)))
}

/// The request target for the site. Bytes outside ASCII, which some programs send as they are, are
/// percent-encoded.
fn origin_form(path: &str, method: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    if path.is_empty() && method == "OPTIONS" {
        return "*".to_string();
    }
    if !path.starts_with('/') {
        out.push('/');
    }
    for c in path.chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for b in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a string does not fail.
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

fn own(
    head: &RequestHead<'_>,
    framing: Framing,
    path: &str,
    head_only: bool,
) -> Result<Route, Problem> {
    let (page, _) = path.split_once('?').unwrap_or((path, ""));
    match (page, head.method) {
        ("/", "GET" | "HEAD") => Ok(Route::Own { page: OwnPage::Status, head_only }),
        (CONFIRM_PATH, "POST") => match framing {
            Framing::Length(body) if body <= MAX_FORM => {
                Ok(Route::Own { page: OwnPage::Confirm { body }, head_only })
            }
            Framing::Length(_) | Framing::Chunked => Err(Problem::BodyTooLarge),
            Framing::Empty | Framing::UntilClose => Err(Problem::BadToken),
        },
        (_, _) => Err(Problem::NoSuchPage),
    }
}

/// The content of the status page.
pub(super) fn status_content() -> String {
    format!(
        "<p>This is the HTTP proxy of a Ramson I2P router, and it is running.</p>\n\
         <p>To browse I2P, set this address and port as the HTTP proxy of a browser, for \
         <code>http</code> and <code>https</code>, then open any <code>.i2p</code> address.</p>\n\
         <ul><li>Addresses of the form <code>&lt;52 characters&gt;.b32.i2p</code> always work.</li>\
         <li>Names such as <code>example.i2p</code> work when they are in the address book \
         (<code>hosts.txt</code>).</li>\n<li>Addresses outside I2P are refused; no name is ever \
         looked up in DNS.</li></ul>\n\
         <p>With the proxy set, this page is at <code>http://{PROXY_NAME}/</code>.</p>\n"
    )
}
