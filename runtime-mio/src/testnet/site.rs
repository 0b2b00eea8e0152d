//! The example site: a page, and downloads of any length. An HTTP server for one host tunnel, not
//! for the world.

use super::content;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PAGE: &str = include_str!("page.html");
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;
/// The longest request head, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Bytes of a download that are written at once.
const CHUNK: usize = 32 << 10;
/// A visitor that does nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// The stack of a thread.
const STACK: usize = 128 << 10;

/// Listens on a free port of this machine and serves as long as the process runs.
pub(super) fn serve(routers: usize) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let open = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let guest = Guest(open.clone());
            if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                continue;
            }
            // Without a thread the visitor is turned away, as above the limit.
            let _ = spawn("ramson-guest", move || {
                // Who does not want the answer any more needs no word about it.
                let _ = answer(stream, routers);
                drop(guest);
            });
        }
    };
    spawn("ramson-site", accept)?;
    Ok(address)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).stack_size(STACK).spawn(work).map(drop)
}

/// Counted as long as it lives.
struct Guest(Arc<AtomicUsize>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Page { visitor: Option<String> },
    Download(u64),
    NotFound,
    NotAllowed,
}

/// One request, one answer.
fn answer(mut stream: TcpStream, routers: usize) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let head = read_head(&mut stream)?;
    let body_wanted = !head.starts_with("HEAD ");
    let (status, kind, len, page) = match parse(&head) {
        Request::Page { visitor } => {
            let page = page(visitor.as_deref(), routers);
            ("200 OK", "text/html; charset=utf-8", page.len() as u64, Some(page))
        }
        Request::Download(len) => ("200 OK", "application/octet-stream", len, None),
        Request::NotFound => problem("404 Not Found"),
        Request::NotAllowed => problem("405 Method Not Allowed"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )?;
    match page {
        _ if !body_wanted => Ok(()),
        Some(page) => stream.write_all(page.as_bytes()),
        None => download(&mut stream, len),
    }
}

fn problem(status: &'static str) -> (&'static str, &'static str, u64, Option<String>) {
    let text = format!("{status}\n");
    (status, "text/plain", text.len() as u64, Some(text))
}

fn download(stream: &mut TcpStream, len: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < len {
        let n = chunk.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        let Some(part) = chunk.get_mut(..n) else { break };
        content::fill(at, part);
        stream.write_all(part)?;
        at += n as u64;
    }
    Ok(())
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut buf = [0; 2048];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut buf)?;
        if n == 0 || head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(buf.get(..n).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn parse(head: &str) -> Request {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" && method != "HEAD" {
        return Request::NotAllowed;
    }
    let path = target.split('?').next().unwrap_or_default();
    if path == "/" || path == "/index.html" {
        let visitor = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-i2p-destb32").then(|| value.trim().to_owned())
        });
        return Request::Page { visitor };
    }
    let number = path.strip_prefix('/').and_then(|name| name.strip_suffix(".bin"));
    match number.filter(|n| n.bytes().all(|b| b.is_ascii_digit())).and_then(|n| n.parse().ok()) {
        Some(len) => Request::Download(len),
        None => Request::NotFound,
    }
}

fn page(visitor: Option<&str>, routers: usize) -> String {
    // Of an address only these are possible; whatever else came cannot become HTML.
    let visitor: String = visitor
        .unwrap_or("unknown")
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.' || *c == '-')
        .collect();
    PAGE.replace("{visitor}", &visitor).replace("{routers}", &routers.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_the_page_a_download_or_refused() {
        let visitor = Some("abc.b32.i2p".to_owned());
        for (head, want) in [
            ("GET / HTTP/1.1\r\nX-I2P-DestB32: abc.b32.i2p\r\n\r\n", Request::Page { visitor }),
            ("HEAD /index.html?x HTTP/1.1\r\n\r\n", Request::Page { visitor: None }),
            ("GET /1000.bin HTTP/1.1\r\n\r\n", Request::Download(1000)),
            ("GET /0.bin?again HTTP/1.1\r\n\r\n", Request::Download(0)),
            ("GET /.bin HTTP/1.1\r\n\r\n", Request::NotFound),
            ("GET /+1.bin HTTP/1.1\r\n\r\n", Request::NotFound),
            ("GET /99999999999999999999.bin HTTP/1.1\r\n\r\n", Request::NotFound),
            ("GET /favicon.ico HTTP/1.1\r\n\r\n", Request::NotFound),
            ("POST / HTTP/1.1\r\n\r\n", Request::NotAllowed),
            ("", Request::NotAllowed),
        ] {
            assert_eq!(parse(head), want, "{head:?}");
        }
    }

    #[test]
    fn the_page_is_complete_in_itself_and_takes_no_html_from_visitors() {
        let page = page(Some("<b>abc.b32.i2p</b>"), 12);
        assert!(page.contains("<code>babc.b32.i2pb</code>"), "{page}");
        assert!(page.contains("12 Ramson routers"), "{page}");
        for outside in ["src=", "http:", "https:", "<link", "<script", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(!page.contains("{visitor}") && !page.contains("{routers}"));
    }

    #[test]
    fn a_download_is_what_it_says() {
        let site = serve(3).unwrap();
        for (method, body_len) in [("GET", 100_000), ("HEAD", 0)] {
            let mut stream = TcpStream::connect(site).unwrap();
            write!(stream, "{method} /100000.bin HTTP/1.1\r\n\r\n").unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            let head = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            let text = String::from_utf8(got[..head].to_vec()).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
            assert!(text.contains("Content-Length: 100000\r\n"), "{text}");
            let mut want = vec![0; body_len];
            content::fill(0, &mut want);
            assert!(got[head..] == want, "{method}");
        }
    }
}
