//! Small blocking HTTP ends for tests: a server of generated files and a proxy client.

pub use ramson_world::content::{content, content_byte, hex};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Serves `GET /<n>` with `n` bytes of content, `GET /headers` with the request's own headers, and
/// `POST` with the hexadecimal SHA-256 of the body. Runs until the process ends.
pub fn serve(listener: TcpListener) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || drop(answer_all(stream)));
        }
    });
    address
}

fn answer_all(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some(head) = read_head(&mut reader)? else { return Ok(()) };
        let mut words = head[0].split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let body = read_body(&mut reader, &head)?;
        let answer = match (method, path) {
            ("POST", _) => hex(&Sha256::digest(&body)).into_bytes(),
            (_, "/headers") => head.join("\n").into_bytes(),
            _ => content(path.trim_start_matches('/').parse().unwrap_or(0)),
        };
        // One write: i2pd 2.45.1 takes each piece of a head that it reads as whole lines.
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        writer.write_all(&[head.as_bytes(), &answer].concat())?;
    }
}

/// The lines of a message head, or `None` at the end of the stream.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((!lines.is_empty()).then_some(lines));
        }
        lines.push(line.to_owned());
    }
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter().skip(1).find_map(|l| {
        let (n, v) = l.split_once(':')?;
        n.eq_ignore_ascii_case(name).then_some(v.trim())
    })
}

fn read_body(reader: &mut impl BufRead, head: &[String]) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(head, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let n = usize::from_str_radix(line.trim(), 16)
                .map_err(|_| std::io::Error::other("bad chunk"))?;
            let mut chunk = vec![0; n + 2];
            reader.read_exact(&mut chunk)?;
            if n == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..n]);
        }
    }
    match header(head, "content-length").and_then(|v| v.parse().ok()) {
        Some(n) => {
            body.resize(n, 0);
            reader.read_exact(&mut body)?;
        }
        None if head[0].starts_with("HTTP/") => {
            reader.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

/// What came back, and how fast.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines.
    pub head: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Until the first byte.
    pub first_byte: Duration,
    /// Until the last.
    pub total: Duration,
}

/// One request through an HTTP proxy, on a connection of its own.
pub fn request(
    proxy: SocketAddr,
    method: &str,
    url: &str,
    body: &[u8],
    timeout: Duration,
) -> std::io::Result<Answer> {
    let start = Instant::now();
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or("");
    let mut head = format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    reader.fill_buf()?;
    let first_byte = start.elapsed();
    let head = read_head(&mut reader)?.ok_or_else(|| std::io::Error::other("no answer"))?;
    let status = head[0].split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = read_body(&mut reader, &head)?;
    Ok(Answer { status, head, body, first_byte, total: start.elapsed() })
}

/// `GET url` again and again until it is answered with 200, for at most `limit`.
pub fn get_until(proxy: SocketAddr, url: &str, limit: Duration) -> Answer {
    match try_until(proxy, url, limit) {
        Ok(answer) => answer,
        Err(last) => panic!("{url} through {proxy} failed for {limit:?}: {last}"),
    }
}

/// The same; an error is what came last.
pub fn try_until(proxy: SocketAddr, url: &str, limit: Duration) -> Result<Answer, String> {
    let start = Instant::now();
    let mut last = String::new();
    while start.elapsed() < limit {
        match request(proxy, "GET", url, &[], Duration::from_secs(60)) {
            Ok(a) if a.status == 200 => return Ok(a),
            Ok(a) => last = format!("status {}", a.status),
            Err(e) => last = e.to_string(),
        }
        std::thread::park_timeout(Duration::from_millis(300));
    }
    Err(last)
}
