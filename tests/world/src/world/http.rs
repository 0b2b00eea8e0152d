//! The two HTTP ends of a world: the site behind a server tunnel and the browser at a proxy.

use crate::content::{content, hex};
use sha2::{Digest, Sha256};

/// A web server: `GET /<n>` answers n bytes of the test content, `GET /<n>/<s>` the same within s seconds,
/// `POST` the digest of its body.
#[derive(Default)]
pub(super) struct Site {
    request: Vec<u8>,
}

/// What a site sends back.
#[derive(Default)]
pub(super) struct Said {
    pub(super) now: Vec<u8>,
    /// What takes its time, and how much of it goes in a second.
    pub(super) slowly: Option<(Vec<u8>, usize)>,
}

impl Site {
    /// Takes bytes of a connection and says what to send back.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> Said {
        self.request.extend_from_slice(bytes);
        let mut said = Said::default();
        while let Some((head, body, used)) = message(&self.request, true) {
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
            let path = path.trim_start_matches('/');
            let (size, seconds) = path.split_once('/').unwrap_or((path, ""));
            let seconds = seconds.parse().ok().filter(|s| *s > 0);
            let answer = match method {
                "POST" => hex(&Sha256::digest(&body)).into_bytes(),
                _ => content(size.parse().unwrap_or(0)),
            };
            self.request.drain(..used);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            said.now.extend_from_slice(head.as_bytes());
            match seconds {
                Some(seconds) => {
                    let step = answer.len().div_ceil(seconds);
                    said.slowly = Some((answer, step));
                }
                None => said.now.extend(answer),
            }
        }
        said
    }
}

/// What a browser got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as it came.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// The first answer in `got` and its length, once it is whole.
pub(super) fn answer(got: &[u8], ended: bool) -> Option<(Answer, usize)> {
    let (head, body, used) = message(got, false).or_else(|| {
        // A body without a length ends with the stream.
        let (head, from) = head(got)?;
        let open =
            field(&head, "content-length").is_none() && field(&head, "transfer-encoding").is_none();
        (ended && open).then(|| (head, got[from..].to_vec(), got.len()))
    })?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Some((Answer { status, head, body }, used))
}

/// What came of the body of an answer that is not whole, once its head is.
pub(super) fn part(got: &[u8]) -> Option<Vec<u8>> {
    let (head, from) = head(got)?;
    // Pages of the proxy itself are not what was asked for.
    let ok = head.split(' ').nth(1) == Some("200");
    (ok && field(&head, "content-length").is_some()).then(|| got[from..].to_vec())
}

fn head(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), end))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (n, v) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then_some(v.trim())
    })
}

/// Head, body and length of the first message, once it is whole. A request without a length has no
/// body.
fn message(bytes: &[u8], request: bool) -> Option<(String, Vec<u8>, usize)> {
    let (head, from) = head(bytes)?;
    if field(&head, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        let (body, used) = chunks(&bytes[from..])?;
        return Some((head, body, from + used));
    }
    let length = match field(&head, "content-length") {
        Some(n) => n.parse().unwrap(),
        None if request => 0,
        None => return None,
    };
    let body = bytes.get(from..from + length)?.to_vec();
    Some((head, body, from + length))
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = bytes.get(at..)?;
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let data = rest.get(line + 2..line + 2 + size + 2)?;
        body.extend_from_slice(&data[..size]);
        at += line + size + 4;
        if size == 0 {
            return Some((body, at));
        }
    }
}
