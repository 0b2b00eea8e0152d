use super::*;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

fn collect(kind: Kind, bytes: &[u8]) -> Result<(Vec<u8>, usize), HttpError> {
    let mut buffer = HeadBuffer::new(kind);
    let taken = buffer.push(bytes)?;
    assert!(buffer.is_complete(), "head is complete");
    Ok((buffer.as_bytes().to_vec(), taken))
}

fn request(bytes: &str) -> Result<Framing, HttpError> {
    let (head, _) = collect(Kind::Request, bytes.as_bytes())?;
    request_framing(&parse_request(&head)?)
}

fn response(bytes: &str, to_head: bool) -> Result<(Framing, bool), HttpError> {
    let (head, _) = collect(Kind::Response, bytes.as_bytes())?;
    response_framing(&parse_response(&head)?, to_head)
}

#[test]
fn a_head_ends_at_its_empty_line_and_takes_nothing_after() {
    let text = b"\r\n\r\nGET /a HTTP/1.1\r\nHost: x.i2p\r\n\r\nBODY";
    for cut in 0..text.len() {
        let mut buffer = HeadBuffer::new(Kind::Request);
        let (a, b) = text.split_at(cut);
        let mut taken = buffer.push(a).unwrap();
        taken += buffer.push(b).unwrap();
        assert_eq!(taken, text.len() - 4, "cut at {cut}");
        assert_eq!(buffer.as_bytes(), b"GET /a HTTP/1.1\r\nHost: x.i2p\r\n\r\n");
        let head = parse_request(buffer.as_bytes()).unwrap();
        assert_eq!((head.method, head.target, head.version), ("GET", "/a", Version::Http11));
        assert_eq!(head.headers.len(), 1);
        buffer.clear();
        assert!(buffer.is_empty());
    }
}

#[test]
fn request_heads_with_two_readings_are_refused() {
    for (text, want) in [
        ("GET / HTTP/1.1\nHost: a\n\n", "line end"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "line end"),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "line end"),
        ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "line end"),
        ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", "byte"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "header name"),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "header name"),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "header name"),
        ("GET / HTTP/1.1\r\nHost\r\n\r\n", "header name"),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", "header name"),
        ("GET / HTTP/1.1\r\nX\u{b}: a\r\n\r\n", "header name"),
        ("GET / HTTP/1.1\r\nX: a\u{b}\r\n\r\n", "header value"),
        ("GET / HTTP/1.1\r\nX: a\u{7f}\r\n\r\n", "header value"),
        ("GET  / HTTP/1.1\r\n\r\n", "start line"),
        ("GET /  HTTP/1.1\r\n\r\n", "start line"),
        ("GET / HTTP/1.1 \r\n\r\n", "line end"),
        ("GET /\tHTTP/1.1\r\n\r\n", "start line"),
        ("GET /#x HTTP/1.1\r\n\r\n", "request target"),
        ("get / HTTP/1.1\r\n\r\n", "method"),
        ("GET /\r\n\r\n", "start line"),
    ] {
        let got = request(text);
        assert!(
            matches!(got, Err(HttpError::Malformed(_)) | Err(HttpError::Version)),
            "{text:?}: {got:?}, wanted {want}"
        );
    }
    assert_eq!(request("GET / HTTP/2.0\r\n\r\n"), Err(HttpError::Version));
    assert_eq!(request("GET / HTTP/1.2\r\n\r\n"), Err(HttpError::Version));
    assert_eq!(request("GET / HTTP/0.9\r\n\r\n"), Err(HttpError::Version));
}

#[test]
fn head_limits_hold_at_their_edges() {
    let head = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(n));
    assert_eq!(request(&head(MAX_REQUEST_HEADERS)), Ok(Framing::Empty));
    assert_eq!(request(&head(MAX_REQUEST_HEADERS + 1)), Err(HttpError::TooManyHeaders));
    let long = |n: usize| format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(n));
    let frame = long(0).len();
    assert_eq!(request(&long(MAX_HEAD - frame)), Ok(Framing::Empty));
    assert_eq!(request(&long(MAX_HEAD - frame + 1)), Err(HttpError::HeadTooLarge));
    let mut buffer = HeadBuffer::new(Kind::Request);
    assert_eq!(buffer.push(&b"\r\n".repeat(5)), Err(HttpError::Malformed("start line")));
}

#[test]
fn request_framing_is_unambiguous_or_refused() {
    let ok = |headers: &str| request(&format!("POST / HTTP/1.1\r\n{headers}\r\n"));
    assert_eq!(ok(""), Ok(Framing::Empty));
    assert_eq!(ok("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(ok("content-LENGTH:12\r\n"), Ok(Framing::Length(12)));
    assert_eq!(ok("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Content_Length: 5\r\n",
        "Content_length: 5\r\nContent-Length: 5\r\n",
    ] {
        assert!(
            matches!(ok(headers), Err(HttpError::Framing(_))),
            "{headers:?}: {:?}",
            ok(headers)
        );
    }
    assert_eq!(ok("Transfer-Encoding: gzip\r\n"), Err(HttpError::Coding));
    assert_eq!(ok("Transfer-Encoding:\r\n"), Err(HttpError::Coding));
    assert!(matches!(
        request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(HttpError::Framing(_))
    ));
}

#[test]
fn response_framing_follows_status_and_method() {
    let one = |status: &str, headers: &str| {
        response(&format!("HTTP/1.1 {status}\r\n{headers}\r\n"), false)
    };
    assert_eq!(one("200 OK", "Content-Length: 7\r\n"), Ok((Framing::Length(7), true)));
    assert_eq!(one("200", "Transfer-Encoding: chunked\r\n"), Ok((Framing::Chunked, true)));
    assert_eq!(one("200 OK", ""), Ok((Framing::UntilClose, false)));
    for status in ["100 Continue", "101 X", "103 Early Hints", "204 No Content", "304 Not Modified"]
    {
        assert_eq!(one(status, "Content-Length: 7\r\n"), Ok((Framing::Empty, true)), "{status}");
    }
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true);
    assert_eq!(head, Ok((Framing::Empty, true)));
    let old = response("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", false);
    assert_eq!(old, Ok((Framing::Length(7), false)));
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 7\r\n";
    assert_eq!(one("200 OK", both), Ok((Framing::Chunked, false)));
    let close = "Content-Length: 7\r\nConnection: foo, Close\r\n";
    assert_eq!(one("200 OK", close), Ok((Framing::Length(7), false)));
    let repeated = "Content-Length: 7\r\nContent-Length: 7\r\n";
    assert_eq!(one("200 OK", repeated), Ok((Framing::Length(7), true)));
    assert!(one("200 OK", "Content-Length: 7\r\nContent-Length: 8\r\n").is_err());
    assert!(one("200 OK", "Transfer-Encoding: gzip, chunked\r\n").is_err());
    assert!(one("200 OK", "Content-Length: 7, 7\r\n").is_err());
    assert!(one("99 X", "").is_err());
    assert!(one("600 X", "").is_err());
    assert!(one("2000 X", "").is_err());
}

#[test]
fn responses_of_old_servers_pass() {
    let text = "HTTP/1.0 200 OK\nServer : x\nX-Folded: a\n b\nContent-Length: 3\n\n";
    let (head, taken) = collect(Kind::Response, text.as_bytes()).unwrap();
    assert_eq!(taken, text.len());
    let head = parse_response(&head).unwrap();
    assert_eq!(head.headers.len(), 3);
    assert_eq!(head.headers[0].name, "Server");
    assert_eq!(head.headers[1].value, b"a\r\n b");
    assert_eq!(response_framing(&head, false), Ok((Framing::Length(3), false)));
    let mut leading = HeadBuffer::new(Kind::Response);
    assert!(leading.push(b"\r\nHTTP/1.1 200 OK\r\n\r\n").is_err());
}

/// Everything that a body yields, with the data pieces joined, whatever the cuts.
fn read(
    framing: Framing,
    kind: Kind,
    parts: &[&[u8]],
) -> Result<(Vec<u8>, Vec<u64>, usize, bool), HttpError> {
    let mut body = Body::new(framing, kind);
    let (mut bytes, mut chunks, mut taken) = (vec![], vec![], 0);
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() && !body.is_done() {
            let step = body.step(rest)?;
            taken += step.taken;
            rest = &rest[step.taken..];
            match step.piece {
                Piece::Data(d) => bytes.extend_from_slice(d),
                Piece::ChunkStart(n) => chunks.push(n),
                Piece::ChunkEnd | Piece::End => {}
                Piece::More => assert!(rest.is_empty(), "asks for more with bytes left"),
            }
        }
    }
    Ok((bytes, chunks, taken, body.is_done()))
}

#[test]
fn chunked_bodies_read_the_same_however_they_are_cut() {
    let text = b"5;x=\"y\"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nNEXT";
    let want = (b"hello0123456789".to_vec(), vec![5, 10], text.len() - 4, true);
    for i in 0..=text.len() {
        for j in i..=text.len() {
            let parts = [&text[..i], &text[i..j], &text[j..]];
            assert_eq!(read(Framing::Chunked, Kind::Request, &parts), Ok(want.clone()));
        }
    }
    for end in 0..text.len() - 4 {
        let (_, _, taken, done) = read(Framing::Chunked, Kind::Request, &[&text[..end]]).unwrap();
        assert_eq!((taken, done), (end, false), "no end before the last byte");
    }
}

#[test]
fn bad_chunks_are_refused() {
    let long_line = format!("5;{}\r\n", "x".repeat(300));
    let long_trailer = format!("0\r\n{}", "X: y\r\n".repeat(2000));
    for text in [
        "\r\n",
        "g\r\n",
        "0x5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "-5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "5\nhello\r\n",
        "5\r\nhello\n",
        "5\r\nhelloX\r\n",
        "5\r\nhello\rX",
        "5\rX",
        "5;a\nb\r\n",
        "5;\0\r\n",
        ";x\r\n",
        "5\r\nhello0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "1000000000000000\r\n",
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: y\rZ\r\n\r\n",
        long_line.as_str(),
        long_trailer.as_str(),
    ] {
        let got = read(Framing::Chunked, Kind::Request, &[text.as_bytes()]);
        assert_eq!(got, Err(HttpError::Chunk), "{text:?}");
        // The same verdict byte by byte, and it is final.
        let mut body = Body::new(Framing::Chunked, Kind::Request);
        let mut failed = false;
        for byte in text.as_bytes().chunks(1) {
            match body.step(byte) {
                Ok(step) => assert!(!failed && step.taken == 1),
                Err(e) => {
                    assert_eq!(e, HttpError::Chunk);
                    failed = true;
                }
            }
        }
        assert!(failed && body.handle_end().is_err(), "{text:?}");
    }
    let padded = read(Framing::Chunked, Kind::Response, &[b"5  \r\nhello\r\n0 \r\n\r\n"]).unwrap();
    assert_eq!((padded.0.as_slice(), padded.3), (&b"hello"[..], true));
}

#[test]
fn bodies_with_a_length_stop_there() {
    let (bytes, _, taken, done) = read(Framing::Length(3), Kind::Request, &[b"a", b"bcd"]).unwrap();
    assert_eq!((bytes.as_slice(), taken, done), (&b"abc"[..], 3, true));
    assert!(Body::new(Framing::Length(0), Kind::Request).is_done());
    assert!(Body::new(Framing::Empty, Kind::Request).is_done());
    let mut cut = Body::new(Framing::Length(3), Kind::Response);
    cut.step(b"ab").unwrap();
    assert_eq!(cut.handle_end(), Err(HttpError::Truncated));
    let mut open = Body::new(Framing::UntilClose, Kind::Response);
    open.step(b"ab").unwrap();
    assert!(open.is_until_close() && !open.is_done());
    assert_eq!(open.handle_end(), Ok(()));
    assert!(open.is_done());
}

#[test]
fn token_lists_span_lines_and_blanks() {
    let (bytes, _) = collect(
        Kind::Request,
        b"GET / HTTP/1.1\r\nConnection: a , ,b\r\nX: c\r\nCONNECTION: d\r\n\r\n",
    )
    .unwrap();
    let head = parse_request(&bytes).unwrap();
    let all: Vec<String> = tokens(&head.headers, "connection")
        .map(|t| String::from_utf8(t.to_vec()).unwrap())
        .collect();
    assert_eq!(all, ["a", "b", "d"]);
}
