//! Where a message ends (RFC 9112, 6.3), and nothing that two readers could take differently.

use super::{Header, HttpError, RequestHead, ResponseHead, Version, tokens};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// Whatever comes until the connection ends; responses only.
    UntilClose,
}

/// The framing of a request's body.
///
/// Refused: `Content-Length` together with `Transfer-Encoding`, either of them twice, a length
/// that is not plain digits, any coding but a single `chunked`, any coding in HTTP/1.0.
pub fn request_framing(head: &RequestHead<'_>) -> Result<Framing, HttpError> {
    let length = content_length(&head.headers, false)?;
    match (transfer_coding(&head.headers)?, length) {
        (None, None) => Ok(Framing::Empty),
        (None, Some(n)) => Ok(Framing::Length(n)),
        (Some(_), Some(_)) => Err(HttpError::Framing("length and transfer coding")),
        (Some(()), None) if head.version == Version::Http10 => {
            Err(HttpError::Framing("transfer coding in HTTP/1.0"))
        }
        (Some(()), None) => Ok(Framing::Chunked),
    }
}

/// The framing of the body of a response to a request that was HEAD or not, and whether the
/// connection may carry another response after it.
///
/// A coding wins over a length as RFC 9112, 6.3 has it, but such a connection is not used again.
pub fn response_framing(
    head: &ResponseHead<'_>,
    to_head: bool,
) -> Result<(Framing, bool), HttpError> {
    let length = content_length(&head.headers, true)?;
    let coding = transfer_coding(&head.headers)?;
    let persistent = head.version == Version::Http11
        && !tokens(&head.headers, "connection").any(|t| t.eq_ignore_ascii_case(b"close"));
    if to_head || head.status < 200 || head.status == 204 || head.status == 304 {
        return Ok((Framing::Empty, persistent));
    }
    Ok(match (coding, length) {
        (Some(()), length) => (Framing::Chunked, persistent && length.is_none()),
        (None, Some(n)) => (Framing::Length(n), persistent),
        (None, None) => (Framing::UntilClose, false),
    })
}

/// The one length. Servers may repeat an equal value (`repeats`), clients may not.
fn content_length(headers: &[Header<'_>], repeats: bool) -> Result<Option<u64>, HttpError> {
    let mut found = None;
    for h in headers.iter().filter(|h| h.is("content-length")) {
        let value = digits(h.value).ok_or(HttpError::Framing("length"))?;
        match found {
            None => found = Some(value),
            Some(earlier) if repeats && earlier == value => {}
            Some(_) => return Err(HttpError::Framing("several lengths")),
        }
    }
    Ok(found)
}

/// `Some` for exactly one `chunked`, `None` for no coding at all.
fn transfer_coding(headers: &[Header<'_>]) -> Result<Option<()>, HttpError> {
    let mut lines = headers.iter().filter(|h| h.is("transfer-encoding"));
    let Some(first) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(HttpError::Framing("several transfer codings"));
    }
    if first.value.eq_ignore_ascii_case(b"chunked") {
        Ok(Some(()))
    } else if first.value.to_ascii_lowercase().windows(7).any(|w| w == b"chunked") {
        Err(HttpError::Framing("transfer coding"))
    } else {
        Err(HttpError::Coding)
    }
}

/// Plain digits that fit: no sign, no blank, no list.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then_some(u64::from(b.wrapping_sub(b'0')))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}
