//! A GET through the proxy, and how long it took.

use crate::clock;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// An answer that stands still for so long failed. A proxy gives up sooner.
const PATIENCE: Duration = Duration::from_secs(90);

/// An answer whose body was handed on.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// From the connect to the first byte.
    pub(super) first_byte: Duration,
    /// From the connect to the last.
    pub(super) total: Duration,
}

/// Fetches `path` of the example site; `body` gets the body piece by piece.
pub(super) fn get(
    proxy: SocketAddr,
    path: &str,
    mut body: impl FnMut(&[u8]),
) -> io::Result<Answer> {
    let start = clock::now();
    let elapsed = || clock::now().saturating_since(start);
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let host = super::HOST;
    let request = format!(
        "GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ramson-testnet\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;

    let mut buf = vec![0; CHUNK];
    let mut head = Vec::new();
    let mut first_byte = None;
    let end = loop {
        let n = read(&mut stream, &mut buf)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        first_byte.get_or_insert_with(elapsed);
        head.extend_from_slice(buf.get(..n).unwrap_or_default());
        if let Some(at) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if head.len() > MAX_HEAD {
            return Err(invalid("the head of the answer is too long"));
        }
    };
    let rest = head.split_off(end.min(head.len()));
    let (status, len) = parse(&String::from_utf8_lossy(&head))?;
    let mut got = rest.len() as u64;
    body(&rest);
    while len.is_none_or(|len| got < len) {
        let n = read(&mut stream, &mut buf)?;
        if n == 0 {
            break;
        }
        got += n as u64;
        body(buf.get(..n).unwrap_or_default());
    }
    if let Some(len) = len
        && got != len
    {
        return Err(invalid(&format!("{got} of {len} bytes came")));
    }
    Ok(Answer { status, first_byte: first_byte.unwrap_or_default(), total: elapsed() })
}

fn read(stream: &mut TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buf) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // What a timeout of a blocking socket is called differs.
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            result => return result,
        }
    }
}

/// Status code and length of the body.
fn parse(head: &str) -> io::Result<(u16, Option<u64>)> {
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default();
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid("not an HTTP answer"))?;
    let len = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    Ok((status, len))
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A proxy that gives each request the next of these answers.
    fn proxy(answers: Vec<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1000];
                let n = stream.read(&mut request).unwrap();
                assert!(request[..n].starts_with(b"GET http://example.i2p/x HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn an_answer_ends_with_its_length_or_with_the_stream() {
        let proxy = proxy(vec![
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 504 Gateway Timeout\r\n\r\nsorry",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200",
        ]);
        let get = || {
            let mut got = String::new();
            get(proxy, "/x", |piece| got.push_str(str::from_utf8(piece).unwrap()))
                .map(|answer| (answer.status, got))
                .map_err(|e| e.kind())
        };
        assert_eq!(get(), Ok((200, "hello".into())));
        assert_eq!(get(), Ok((504, "sorry".into())));
        for kind in [ErrorKind::InvalidData, ErrorKind::InvalidData, ErrorKind::UnexpectedEof] {
            assert_eq!(get(), Err(kind));
        }
    }
}
