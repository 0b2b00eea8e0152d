//! What browsers, servers and people say.

use super::input::Input;
use ramson_core::client::Target;
use ramson_core::client::address_book::{AddressBook, MAX_FINDINGS, MAX_NAMES, check_name};
use ramson_core::client::control::{Control, ControlRequest, InfoReport};
use ramson_core::client::target::{parse_authority, parse_host};
use ramson_core::time::Instant;
use ramson_core::wire::http::{
    Body, Framing, HeadBuffer, HttpError, Kind, MAX_HEAD, MAX_REQUEST_HEADERS,
    MAX_RESPONSE_HEADERS, Piece, parse_request, parse_response, request_framing, response_framing,
    tokens,
};

/// The first byte chooses request or response, and how the rest is cut into pieces.
pub fn http_head(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    let kind = if mode & 1 == 0 { Kind::Request } else { Kind::Response };
    let bytes = input.rest();
    let whole = collect(kind, bytes, bytes.len());
    assert_eq!(collect(kind, bytes, usize::from(mode >> 1) + 1), whole, "pieces matter");
    let Ok(Some((head, _taken))) = whole else { return };
    assert!(head.len() <= MAX_HEAD && head.ends_with(b"\r\n\r\n"));
    match kind {
        Kind::Request => {
            let Ok(request) = parse_request(&head) else { return };
            assert!(request.headers.len() <= MAX_REQUEST_HEADERS);
            let all = tokens(&request.headers, "connection").all(|t| !t.is_empty());
            assert!(all && !request.target.is_empty());
            if let Ok(framing) = request_framing(&request) {
                assert_ne!(framing, Framing::UntilClose);
                let lengths = request.headers.iter().filter(|h| h.is("content-length")).count();
                let codings = request.headers.iter().filter(|h| h.is("transfer-encoding")).count();
                assert!(lengths + codings <= 1, "ambiguous");
            }
        }
        Kind::Response => {
            let Ok(response) = parse_response(&head) else { return };
            assert!(response.headers.len() <= MAX_RESPONSE_HEADERS);
            for to_head in [false, true] {
                if let Ok((framing, persistent)) = response_framing(&response, to_head) {
                    assert!(!persistent || framing != Framing::UntilClose);
                }
            }
        }
    }
}

type Collected = Result<Option<(Vec<u8>, usize)>, HttpError>;

fn collect(kind: Kind, bytes: &[u8], piece: usize) -> Collected {
    let mut buffer = HeadBuffer::new(kind);
    let mut taken = 0;
    for part in bytes.chunks(piece.max(1)) {
        taken += buffer.push(part)?;
        if buffer.is_complete() {
            assert_eq!(buffer.push(b"x"), Ok(0));
            return Ok(Some((buffer.as_bytes().to_vec(), taken)));
        }
    }
    Ok(None)
}

/// The first byte chooses the framing, and how the rest is cut into pieces.
pub fn http_body(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    let kind = if mode & 1 == 0 { Kind::Request } else { Kind::Response };
    let framing = match mode >> 1 & 3 {
        0 | 1 => Framing::Chunked,
        2 => Framing::Length(input.u8().into()),
        _ => Framing::UntilClose,
    };
    let bytes = input.rest();
    let whole = read(framing, kind, bytes, bytes.len());
    assert_eq!(read(framing, kind, bytes, usize::from(mode >> 3) + 1), whole, "pieces matter");
    if let (Ok((content, used, true)), Framing::Length(n)) = (&whole, framing) {
        assert_eq!((content.len() as u64, *used as u64), (n, n));
    }
}

/// Content, bytes used, and whether it ended.
fn read(
    framing: Framing,
    kind: Kind,
    bytes: &[u8],
    piece: usize,
) -> Result<(Vec<u8>, usize, bool), HttpError> {
    let mut body = Body::new(framing, kind);
    let (mut content, mut used) = (Vec::new(), 0);
    for part in bytes.chunks(piece.max(1)) {
        let mut rest = part;
        while !body.is_done() {
            let step = body.step(rest)?;
            rest = &rest[step.taken..];
            used += step.taken;
            match step.piece {
                Piece::More => {
                    assert!(rest.is_empty());
                    break;
                }
                Piece::Data(data) => content.extend_from_slice(data),
                Piece::ChunkStart(n) => assert_ne!(n, 0),
                Piece::ChunkEnd => {}
                Piece::End => assert!(body.is_done()),
            }
        }
    }
    let done = body.is_done();
    assert_eq!(body.handle_end().is_ok(), done || framing == Framing::UntilClose);
    Ok((content, used, done))
}

/// A `hosts.txt`. What was learned is written and read again.
pub fn hosts_file(data: &[u8]) {
    let mut book = AddressBook::new();
    let import = book.import_learned(data);
    assert_eq!(import.added, book.len());
    assert!(import.findings.len() <= MAX_FINDINGS.min(import.skipped));
    let lines = data.split(|b| *b == b'\n').count();
    assert!(import.added + import.known + import.skipped <= lines && book.len() <= MAX_NAMES);
    let file = book.learned_file();
    let mut again = AddressBook::new();
    let second = again.import_learned(&file);
    assert_eq!((second.added, second.skipped), (book.len(), 0));
    assert_eq!(again.learned_file(), file);
    // A second reading finds nothing new.
    assert_eq!(book.import(data).added, 0);
}

/// What stands where a browser names a site.
pub fn host_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = check_name(text);
    if let Ok((target, port)) = parse_authority(text) {
        assert_ne!(port, Some(0));
        let again = parse_host(&target.host());
        match &target {
            Target::Name(name) => assert_eq!(check_name(name), Ok(())),
            Target::Hash(_) => {}
            // A server is told the short form.
            Target::Destination(id) => return assert_eq!(again, Ok(Target::Hash(id.hash()))),
        }
        assert_eq!(again, Ok(target));
    }
}

/// The control socket: the first byte says in which pieces the request comes. The answer is one
/// line of text.
pub fn control_request(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = usize::from(input.u8()) + 1;
    let mut control = Control::new(Instant::ZERO);
    let (mut out, mut infos, mut closed) = (Vec::new(), 0, false);
    let mut drain = |control: &mut Control| {
        for _ in 0..3 {
            while let Some(request) = control.poll_request() {
                assert!(!closed);
                match request {
                    ControlRequest::Info => {
                        infos += 1;
                        control.handle_info(&InfoReport::default());
                    }
                    ControlRequest::Close => closed = true,
                }
            }
            while control.poll_local(100, &mut out) > 0 {}
        }
    };
    for bytes in input.rest().chunks(piece) {
        assert_eq!(control.handle_local(bytes).taken, bytes.len());
        drain(&mut control);
    }
    control.handle_local_closed();
    drain(&mut control);
    assert!(closed && infos <= 1 && control.poll_timeout().is_none());
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), usize::from(!out.is_empty()));
    assert!(out.is_empty() || std::str::from_utf8(&out).is_ok_and(|text| text.starts_with('{')));
}
