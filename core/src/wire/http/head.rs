//! Message heads: collected line by line, then tokenised by `httparse`.

use super::{HttpError, Kind, MAX_HEAD, MAX_REQUEST_HEADERS, MAX_RESPONSE_HEADERS, Version};
use alloc::vec::Vec;

/// Longest method accepted.
const MAX_METHOD: usize = 24;

/// Collects a head from pieces cut anywhere and stops exactly behind its empty line.
///
/// The bytes after the head are never taken, so nobody has to give them back.
#[derive(Debug)]
pub struct HeadBuffer {
    bytes: Vec<u8>,
    kind: Kind,
    /// Bytes of the current line so far, its CR not counted.
    line: usize,
    /// The last byte was a CR.
    cr: bool,
    /// Empty lines skipped before a request line (RFC 9112, 2.2).
    skipped: u8,
    complete: bool,
}

impl HeadBuffer {
    /// Most empty lines tolerated before a request line.
    const MAX_SKIPPED: u8 = 4;

    /// Empty.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { bytes: Vec::new(), kind, line: 0, cr: false, skipped: 0, complete: false }
    }

    /// Takes bytes up to the end of the head and says how many. Once [`Self::is_complete`], takes
    /// none until [`Self::clear`].
    pub fn push(&mut self, input: &[u8]) -> Result<usize, HttpError> {
        let mut taken = 0;
        for &byte in input {
            if self.complete {
                break;
            }
            taken += 1;
            self.byte(byte)?;
        }
        Ok(taken)
    }

    /// The empty line was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// No byte of the head was seen yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.cr && self.skipped == 0
    }

    /// What was collected.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Ready for the next head; the memory of a large one is given back.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > 4096 {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.line = 0;
        self.cr = false;
        self.skipped = 0;
        self.complete = false;
    }

    fn byte(&mut self, byte: u8) -> Result<(), HttpError> {
        match byte {
            b'\n' => {
                if !self.cr && self.kind == Kind::Request {
                    return Err(HttpError::Malformed("line end"));
                }
                return self.end_line();
            }
            _ if self.cr => return Err(HttpError::Malformed("line end")),
            b'\r' => {
                self.cr = true;
                return Ok(());
            }
            0 => return Err(HttpError::Malformed("byte")),
            _ => {}
        }
        self.line += 1;
        self.put(byte)
    }

    fn end_line(&mut self) -> Result<(), HttpError> {
        let empty = self.line == 0;
        self.cr = false;
        self.line = 0;
        if empty && self.bytes.is_empty() {
            self.skipped = self.skipped.saturating_add(1);
            if self.kind == Kind::Request && self.skipped <= Self::MAX_SKIPPED {
                return Ok(());
            }
            return Err(HttpError::Malformed("start line"));
        }
        self.put(b'\r')?;
        self.put(b'\n')?;
        self.complete = empty;
        Ok(())
    }

    fn put(&mut self, byte: u8) -> Result<(), HttpError> {
        if self.bytes.len() >= MAX_HEAD {
            return Err(HttpError::HeadTooLarge);
        }
        self.bytes.push(byte);
        Ok(())
    }
}

/// One header line: the name is a token, the value has no blanks around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// As written.
    pub name: &'a str,
    /// As written; in a response it may hold folded line ends.
    pub value: &'a [u8],
}

impl Header<'_> {
    /// Whether this is the header `name`, whatever the case.
    #[must_use]
    pub const fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl core::fmt::Debug for Header<'_> {
    /// The name only: values are what users say.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name)
    }
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// Upper-case letters and `-`.
    pub method: &'a str,
    /// The request target as written: not empty, no blanks, no control characters.
    pub target: &'a str,
    /// Its version.
    pub version: Version,
    /// In order.
    pub headers: Vec<Header<'a>>,
}

/// A response's head.
#[derive(Debug)]
pub struct ResponseHead<'a> {
    /// Its version.
    pub version: Version,
    /// 100 to 599.
    pub status: u16,
    /// The reason phrase, often empty.
    pub reason: &'a str,
    /// In order.
    pub headers: Vec<Header<'a>>,
}

/// Parses a complete request head, as collected by [`HeadBuffer`].
pub fn parse_request(bytes: &[u8]) -> Result<RequestHead<'_>, HttpError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_REQUEST_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    let end = complete(parsed.parse(bytes))?;
    if end != bytes.len() {
        return Err(HttpError::Malformed("head"));
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(HttpError::Malformed("request line"));
    };
    // Methods are case-sensitive; a server that thinks otherwise would take `head` for HEAD and
    // frame its answer differently.
    if method.len() > MAX_METHOD || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
        return Err(HttpError::Malformed("method"));
    }
    if target.is_empty() || target.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'#') {
        return Err(HttpError::Malformed("request target"));
    }
    let headers = list(parsed.headers)?;
    Ok(RequestHead { method, target, version: version_of(version)?, headers })
}

/// Parses a complete response head, as collected by [`HeadBuffer`].
pub fn parse_response(bytes: &[u8]) -> Result<ResponseHead<'_>, HttpError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_RESPONSE_HEADERS];
    let mut parsed = httparse::Response::new(&mut slots);
    let end = complete(
        httparse::ParserConfig::default()
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .parse_response(&mut parsed, bytes),
    )?;
    if end != bytes.len() {
        return Err(HttpError::Malformed("head"));
    }
    let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
        return Err(HttpError::Malformed("status line"));
    };
    if !(100..=599).contains(&status) {
        return Err(HttpError::Malformed("status"));
    }
    let reason = parsed.reason.unwrap_or_default();
    let headers = list(parsed.headers)?;
    Ok(ResponseHead { version: version_of(version)?, status, reason, headers })
}

/// The non-empty members of every comma-separated list in the headers called `name`, trimmed.
pub fn tokens<'h, 'a>(headers: &'h [Header<'a>], name: &'h str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |h| h.is(name))
        .flat_map(|h| h.value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn complete(result: httparse::Result<usize>) -> Result<usize, HttpError> {
    match result {
        Ok(httparse::Status::Complete(n)) => Ok(n),
        Ok(httparse::Status::Partial) => Err(HttpError::Malformed("head")),
        Err(httparse::Error::TooManyHeaders) => Err(HttpError::TooManyHeaders),
        Err(httparse::Error::Version) => Err(HttpError::Version),
        Err(httparse::Error::HeaderName) => Err(HttpError::Malformed("header name")),
        Err(httparse::Error::HeaderValue) => Err(HttpError::Malformed("header value")),
        Err(httparse::Error::NewLine) => Err(HttpError::Malformed("line end")),
        Err(httparse::Error::Status | httparse::Error::Token) => {
            Err(HttpError::Malformed("start line"))
        }
    }
}

const fn version_of(minor: u8) -> Result<Version, HttpError> {
    match minor {
        0 => Ok(Version::Http10),
        1 => Ok(Version::Http11),
        _ => Err(HttpError::Version),
    }
}

/// Our view of the parsed lines. A name that differs from a framing header only by `_` would be
/// the same header to a CGI program, so it is refused.
fn list<'a>(parsed: &[httparse::Header<'a>]) -> Result<Vec<Header<'a>>, HttpError> {
    let mut headers = Vec::with_capacity(parsed.len());
    for h in parsed {
        let alike = |name: &str| {
            h.name.contains('_')
                && h.name.len() == name.len()
                && h.name.bytes().zip(name.bytes()).all(|(a, b)| {
                    let a = if a == b'_' { b'-' } else { a.to_ascii_lowercase() };
                    a == b
                })
        };
        if alike("content-length") || alike("transfer-encoding") {
            return Err(HttpError::Framing("header name with an underscore"));
        }
        headers.push(Header { name: h.name, value: h.value });
    }
    Ok(headers)
}
