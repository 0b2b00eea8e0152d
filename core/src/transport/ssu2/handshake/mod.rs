//! The handshake: one type a state, consumed by value (specification `ssu2`, Session Request to Session Confirmed).
//!
//! ```text
//! initiator::Start -ask_token-> AwaitRetry --> AwaitCreated --> Done
//!                  -request---------------------^   ^ Retry
//! retry::ask, retry::answer                 without a state
//! responder::Request -create-> AwaitConfirmed --> Done
//! ```
//!
//! The states know nothing of sockets and timers. Each takes one whole datagram, and keeps what it sent so that
//! the same bytes can go again.
//!
//! # Forgeries
//!
//! Anybody can send anything to a UDP port. A packet moves a state only when it authenticated; all else gives the
//! state back as it was, in [`Outcome::Ignored`]. What that is worth differs by packet. SessionCreated and
//! SessionConfirmed are sealed with keys of the handshake. A Retry, as the protocol has it, is sealed with a key that
//! Bob publishes, and so only as good as the two random ids in it: who cannot see our packets cannot forge it.
//! Who can see them makes us try useless tokens, [three](initiator::MAX_RETRIES) at most, or takes a refusal of
//! its own for Bob's. The parts of a SessionConfirmed that came in several have no tags of their own either;
//! [`responder::AwaitConfirmed`] says what is done about it.

mod confirm;
pub mod initiator;
mod payload;
mod pieces;
pub mod responder;
pub mod retry;

pub use payload::Told;

use super::DataKeys;
use crate::crypto::Key32;
use crate::crypto::kdf::hkdf1;
use crate::crypto::noise::SymmetricState;
use crate::rng::Rng;
use crate::time::Instant;
use crate::transport::checks::Unfit;
use crate::wire::codec::DecodeError;
use crate::wire::ssu2::{
    BLOCK_HEADER_LEN, ConnectionId, Family, LongHeader, LongKind, MIN_MTU, Reason, VERSION,
    WriteError, Writer,
};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// The MTU that the packets of the handshake keep to: no path is known yet.
const HANDSHAKE_MTU: u16 = MIN_MTU;
/// The most padding that we send in a packet, in bytes.
const MAX_PADDING: u64 = 64;

/// What went wrong before the session was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Not the packet that is waited for: of another type, other ids, another version or network. Anybody's.
    #[error("not the packet that is waited for")]
    Unexpected,
    /// It does not authenticate: forged, damaged, or made for keys that we do not have.
    #[error("does not authenticate")]
    Tag,
    /// The same came before.
    #[error("came before")]
    Repeated,
    /// Blocks that a packet of this type must not have, or without those that it must have.
    #[error("blocks of the payload")]
    Blocks,
    /// Blocks that cannot be decoded.
    #[error("payload: {0}")]
    Payload(DecodeError),
    /// An ephemeral key that no honest peer sends.
    #[error("ephemeral key refused")]
    EphemeralKey,
    /// Our own fault: the token of the proof is not that of the request.
    #[error("proof of another token")]
    Proof,
    /// The static key of the router that we connect to is not one. Its RouterInfo is bad.
    #[error("static key of the peer refused")]
    RemoteKey,
    /// The peer will not have us, and says why. When only a Retry said so, somebody on the way may have.
    #[error("refused by the peer: {0:?}")]
    Refused(Reason),
    /// More Retries than any honest peer needs.
    #[error("too many Retries")]
    Retries,
    /// The clocks differ by more than [`MAX_SKEW`](crate::transport::checks::MAX_SKEW): seconds that the peer's
    /// is ahead of ours. One peer's word, and when only a Retry said so that of somebody on the way, perhaps.
    #[error("clock of the peer is {0} s ahead")]
    ClockSkew(i64),
    /// The RouterInfo of SessionConfirmed cannot be decoded.
    #[error("RouterInfo in SessionConfirmed: {0}")]
    RouterInfo(DecodeError),
    /// The RouterInfo of SessionConfirmed is not good enough.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Our own RouterInfo does not fit a SessionConfirmed of two packets.
    #[error("own RouterInfo too large")]
    OwnRouterInfo,
}

impl HandshakeError {
    /// The reason to tell in a Retry with a refusal, where the specification has one; `None` when there is no
    /// answer.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::ClockSkew(_) => Some(Reason::ClockSkew),
            Self::Unexpected
            | Self::Tag
            | Self::Repeated
            | Self::Blocks
            | Self::Payload(_)
            | Self::EphemeralKey
            | Self::Proof
            | Self::RemoteKey
            | Self::Refused(_)
            | Self::Retries
            | Self::RouterInfo(_)
            | Self::Unfit(_)
            | Self::OwnRouterInfo => None,
        }
    }
}

/// What a packet did to the state `S`.
#[must_use]
pub enum Outcome<S, N> {
    /// Nothing: it was forged, damaged, or not for this state, which is as it was.
    Ignored(S, HandshakeError),
    /// It is what was waited for.
    Next(N),
    /// The handshake is over: what came is the peer's, and is wrong or a refusal.
    Failed(HandshakeError),
}

/// The two ids of a session. Alice chooses both, and they stay the same in all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    ours: ConnectionId,
    theirs: ConnectionId,
}

impl Ids {
    /// The id that the peer sends to, and ours to it; `None` when they are the same, which others refuse.
    #[must_use]
    pub fn new(ours: ConnectionId, theirs: ConnectionId) -> Option<Self> {
        (ours != theirs).then_some(Self { ours, theirs })
    }

    /// Random ones, for who connects.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        loop {
            if let Some(ids) = Self::new(ConnectionId(rng.u64()), ConnectionId(rng.u64())) {
                return ids;
            }
        }
    }

    /// What the peer sends to.
    #[must_use]
    pub const fn ours(&self) -> ConnectionId {
        self.ours
    }

    /// What we send to.
    #[must_use]
    pub const fn theirs(&self) -> ConnectionId {
        self.theirs
    }
}

/// What both sides have at the end.
pub struct Established {
    /// The ids.
    pub ids: Ids,
    /// Our view of the keys.
    pub keys: DataKeys,
    /// The peer's intro key, `i` of its address.
    pub intro: Key32,
    /// Where the peer is.
    pub remote: SocketAddr,
    /// The largest packets that the peer takes, in bytes with IP and UDP headers.
    pub mtu: u16,
    /// Seconds that the peer's clock is ahead of ours, half a round trip taken off.
    pub skew: i64,
    /// Between a packet of ours and its answer. `None` when all were sent more than once.
    pub rtt: Option<Duration>,
    /// What the peer said besides.
    pub told: Told,
}

/// A packet that was sent, and may go again.
struct Sent {
    packet: Vec<u8>,
    /// When it went; `None` when it went more than once, so that nobody knows which one is answered.
    at: Option<Instant>,
}

impl Sent {
    const fn new(packet: Vec<u8>, now: Instant) -> Self {
        Self { packet, at: Some(now) }
    }

    fn packet(&self) -> &[u8] {
        &self.packet
    }

    fn again(&mut self) -> &[u8] {
        self.at = None;
        &self.packet
    }

    fn rtt(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| now.saturating_since(at))
    }
}

/// The second header key of SessionCreated, from the state after SessionRequest.
fn created_key(noise: &SymmetricState) -> Key32 {
    hkdf1(noise.chaining_key(), b"", b"SessCreateHeader")
}

/// The second header key of SessionConfirmed, from the state after SessionCreated.
fn confirmed_key(noise: &SymmetricState) -> Key32 {
    hkdf1(noise.chaining_key(), b"", b"SessionConfirmed")
}

/// Whether a long header is of our version and network, and has two ids.
fn acceptable(header: &LongHeader, net_id: u8) -> bool {
    header.is_ours(net_id) && header.source != header.destination
}

/// A long header of ours, with a random number.
fn long_header(kind: LongKind, ids: Ids, token: u64, net_id: u8, rng: &mut Rng) -> LongHeader {
    LongHeader {
        destination: ids.theirs,
        number: rng.u32(),
        kind,
        version: VERSION,
        net_id,
        source: ids.ours,
        token,
    }
}

/// Appends a little padding, `most` bytes with its block header at most; nothing when there is no room.
fn pad(writer: &mut Writer<'_>, most: usize, rng: &mut Rng) -> Result<(), WriteError> {
    let most = most.min(writer.room()).min(MAX_PADDING as usize) as u64;
    let least = (BLOCK_HEADER_LEN as u64).min(most);
    let len = writer.written().saturating_add(rng.between(least, most) as usize);
    if most < BLOCK_HEADER_LEN as u64 { Ok(()) } else { writer.pad_to(len) }
}

/// The MTU's share of a packet to or from `at`.
fn packet_len(at: SocketAddr) -> usize {
    family(at).packet_len(HANDSHAKE_MTU)
}

fn family(at: SocketAddr) -> Family {
    Family::of(at.ip().to_canonical())
}

#[cfg(test)]
mod tests;
