//! HTTP/1.1 messages (RFC 9112) as two parties must agree on them: heads, framing, bodies.
//!
//! Whatever two parsers could read differently is an error here, so that what leaves us has one
//! reading only. `httparse` tokenises a head; everything that decides where a message ends is
//! judged in this module.
//!
//! Requests are held to the letter. Responses get the few tolerances that old servers need (a
//! bare LF as line end, folded lines, blanks after a chunk size): a response is written anew before
//! it travels on, so nobody behind us sees the oddity.

mod body;
mod framing;
mod head;

pub use body::{Body, Piece, Step};
pub use framing::{Framing, request_framing, response_framing};
pub use head::{
    HeadBuffer, Header, RequestHead, ResponseHead, parse_request, parse_response, tokens,
};

/// Longest head accepted, start line and empty line included.
pub const MAX_HEAD: usize = 32 * 1024;
/// Most header lines of a request.
pub const MAX_REQUEST_HEADERS: usize = 60;
/// Most header lines of a response: some sites send long policies in many lines.
pub const MAX_RESPONSE_HEADERS: usize = 128;
/// Longest chunk-size line, extension included.
pub const MAX_CHUNK_LINE: usize = 256;
/// Most bytes of trailer after the last chunk; they are read and dropped.
pub const MAX_TRAILER: usize = 8 * 1024;

/// Who wrote a message: how strict we are with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client; held to the letter.
    Request,
    /// A server; written anew, so harmless oddities pass.
    Response,
}

/// The protocol version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Why a message is refused. Always its sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The head is longer than [`MAX_HEAD`].
    #[error("head too large")]
    HeadTooLarge,
    /// More header lines than accepted.
    #[error("too many header lines")]
    TooManyHeaders,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("unsupported version")]
    Version,
    /// The head breaks the grammar; says where.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Two readers could disagree about where the message ends; says why.
    #[error("ambiguous framing: {0}")]
    Framing(&'static str),
    /// A transfer coding other than `chunked`.
    #[error("unsupported transfer coding")]
    Coding,
    /// A chunk breaks the grammar.
    #[error("malformed chunk")]
    Chunk,
    /// The connection ended inside the message.
    #[error("message cut short")]
    Truncated,
}

#[cfg(test)]
mod tests;
