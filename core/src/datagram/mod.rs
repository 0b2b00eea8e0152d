//! Datagrams of a destination (specification `datagrams`): encoded and signed to be sent, decoded
//! and verified when received. There is no state: a datagram arrives or does not.

mod raw;
mod repliable;
#[cfg(test)]
mod tests;

pub use repliable::Signer;

use crate::time::UnixTime;
use crate::wire::codec::DecodeError;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::payload::Protocol;

/// The most payload that one datagram may carry, in bytes: other routers take no longer ones.
/// Above some 10 KiB few arrive, since each kilobyte is a tunnel message that may be lost.
pub const MAX_PAYLOAD_LEN: usize = 31 * 1024;

/// Who sent a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Signed by this destination.
    Verified(Identity),
    /// Nobody signed it; the destination with this hash is said to have sent it.
    Claimed(Hash),
    /// The datagram does not say.
    Unknown,
}

/// A received datagram.
#[derive(Clone, Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: Sender,
    /// For applications; empty in kinds that have none.
    pub options: Mapping,
    /// The data.
    pub payload: &'a [u8],
}

/// Why a datagram is not delivered or not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// The sender's fault: the bytes are no datagram of that kind.
    #[error("malformed datagram: {0}")]
    Malformed(#[from] DecodeError),
    /// The sender's fault, or a replay of what was sent to somebody else.
    #[error("the datagram's signature does not verify")]
    BadSignature,
    /// The sender's fault: the transient key that signed is past its time.
    #[error("the datagram's transient key has expired")]
    Expired,
    /// Our caller's fault: more than [`MAX_PAYLOAD_LEN`] bytes.
    #[error("datagram too large")]
    TooLarge,
    /// Our caller's fault, or the sender's: the protocol number is none of a datagram.
    #[error("protocol {} is not a datagram", .0.0)]
    NotADatagram(Protocol),
}

/// Decodes a received datagram and verifies it if its kind is signed; `local` is the destination
/// that it came to.
pub fn receive<'a>(
    protocol: Protocol,
    bytes: &'a [u8],
    local: &Hash,
    unix: UnixTime,
) -> Result<Received<'a>, DatagramError> {
    match protocol {
        Protocol::DATAGRAM => repliable::receive_1(bytes),
        Protocol::DATAGRAM2 => repliable::receive_2(bytes, local, unix),
        Protocol::DATAGRAM3 => raw::receive_3(bytes),
        Protocol::RAW => Ok(raw::receive(bytes)),
        other => Err(DatagramError::NotADatagram(other)),
    }
}
