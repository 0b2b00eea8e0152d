use super::*;
use crate::client::Connection;
use crate::client::testing::{Rig, identity};
use crate::rng::Seed;
use crate::wire::identity::Identity;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;

mod bodies;
mod chance;
mod ends;
mod helpers;
mod requests;

fn proxy() -> Rig {
    let shared = Arc::new(Shared::new(&mut Rng::new(&Seed::from_number(1))));
    Rig::new(Connection::HttpProxy(Box::new(HttpProxy::new(Instant::ZERO, shared))))
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: wrong.example\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The status of the first response in `text`.
fn status(text: &str) -> u16 {
    let rest = text.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no response: {text:?}"));
    rest.get(..3).unwrap().parse().unwrap()
}

/// A page with that status arrived, the connection closes, no stream is left.
#[track_caller]
fn assert_refused(rig: &mut Rig, want: u16) -> String {
    let text = rig.heard();
    assert_eq!(status(&text), want, "{text}");
    assert!(text.contains("\r\nConnection: close\r\n") && text.contains("Cache-Control: no-store"));
    assert!(rig.local_finished || rig.local_closed == Some(false), "stays open");
    rig.hang_up();
    assert_eq!(rig.local_closed, Some(false));
    text
}

/// Header lines of the first head in `text`.
fn headers(text: &str) -> Vec<&str> {
    let (head, _) = text.split_once("\r\n\r\n").expect("a head");
    head.split("\r\n").skip(1).collect()
}
