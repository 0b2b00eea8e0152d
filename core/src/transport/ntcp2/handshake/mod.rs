//! The handshake: one type a state, consumed by value ("Messages" in the specification).
//!
//! ```text
//! initiator::Start -request-> AwaitCreated -> AwaitPadding -confirm-> Done
//! responder::AwaitRequest -> AwaitPadding -created-> AwaitConfirmed -> Done, or Refused
//! ```
//!
//! The states know nothing of sockets, timers or partial messages: each takes exactly the bytes it
//! asked for.

pub(super) mod initiator;
pub(super) mod responder;

use super::super::checks::Unfit;
use super::frame::{Opener, Sealer};
use crate::crypto::aes::{BLOCK_LEN, Decryptor, Encryptor};
use crate::rng::Rng;
use crate::wire::codec::DecodeError;
use crate::wire::hash::Hash;
use crate::wire::ntcp2::Reason;
use core::time::Duration;

/// Bytes of messages 1 and 2 before their padding: obfuscated key, sealed options.
pub(super) const HEAD_LEN: usize = 64;
/// Bytes of the first part of message 3: the sealed static key.
pub(super) const STATIC_LEN: usize = 48;
/// Padding that we accept in messages 1 and 2. Others send at most 223 bytes; the specification
/// has no limit.
pub(super) const MAX_PADDING: usize = 4096;
/// The longest message 3 that we accept: a RouterInfo of 4 KiB with as much padding.
pub(super) const MAX_CONFIRMED: usize = 8192;
/// Padding that we send: never none, since some routers hash even empty padding; never more than
/// 223, which some refuse.
const SEND_PADDING: (u64, u64) = (1, 64);

/// What went wrong before the session was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Message 1 was seen before, or might have been: it is older than what is remembered.
    #[error("message 1 replayed")]
    Replay,
    /// An ephemeral key that no honest peer sends.
    #[error("ephemeral key refused")]
    EphemeralKey,
    /// Message 1 does not authenticate: a prober, or a peer with an old RouterInfo of ours.
    #[error("message 1 does not authenticate")]
    RequestTag,
    /// Message 1 asks for another protocol version.
    #[error("protocol version {0}")]
    Version(u8),
    /// Message 1 comes from another network.
    #[error("network id {0}")]
    NetId(u8),
    /// More padding than we accept.
    #[error("{0} bytes of padding")]
    Padding(u16),
    /// Message 1 announces a message 3 that is too short or too long.
    #[error("{0} bytes of message 3 announced")]
    ConfirmedLen(u16),
    /// Bytes follow a message whose sender has to wait for an answer.
    #[error("bytes after a handshake message")]
    Extra,
    /// The static key of the router that we connect to is not one. Its RouterInfo is bad.
    #[error("static key of the peer refused")]
    RemoteKey,
    /// Message 2 does not authenticate: the peer is not who we took it for, or its keys changed.
    #[error("message 2 does not authenticate")]
    CreatedTag,
    /// Message 3 does not authenticate.
    #[error("message 3 does not authenticate")]
    ConfirmedTag,
    /// The clocks differ by more than [`MAX_SKEW`](crate::transport::checks::MAX_SKEW): seconds that
    /// the peer's is ahead of ours. One peer's word, which somebody on the way may have altered.
    #[error("clock of the peer is {0} s ahead")]
    ClockSkew(i64),
    /// Message 3 has blocks that it must not have, or does not start with a RouterInfo.
    #[error("blocks of message 3")]
    Blocks,
    /// The RouterInfo of message 3 cannot be decoded.
    #[error("RouterInfo in message 3: {0}")]
    RouterInfo(DecodeError),
    /// The RouterInfo of message 3 is of another network, or does not say.
    #[error("RouterInfo of another network")]
    RouterInfoNetId,
    /// The RouterInfo of message 3 has a bad signature.
    #[error("RouterInfo signature")]
    Signature,
    /// The RouterInfo of message 3 is too old, or from the future.
    #[error("RouterInfo too old, or from the future")]
    Age,
    /// The RouterInfo of message 3 has no NTCP2 address with the key of the handshake.
    #[error("static key is not that of the RouterInfo")]
    StaticKey,
    /// The peer says that it is us.
    #[error("our own identity")]
    OwnIdentity,
}

impl HandshakeError {
    /// The reason that the peer is told; `None` when it gets no answer, as all who have not
    /// authenticated.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Replay
            | Self::EphemeralKey
            | Self::RequestTag
            | Self::Version(_)
            | Self::NetId(_)
            | Self::Padding(_)
            | Self::ConfirmedLen(_)
            | Self::Extra
            | Self::RemoteKey
            | Self::CreatedTag
            | Self::ConfirmedTag
            | Self::ClockSkew(_) => None,
            Self::Blocks
            | Self::RouterInfo(_)
            | Self::RouterInfoNetId
            | Self::Age
            | Self::OwnIdentity => Some(Reason::Message3),
            Self::Signature => Some(Reason::Signature),
            Self::StaticKey => Some(Reason::StaticKey),
        }
    }
}

impl From<Unfit> for HandshakeError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NetId => Self::RouterInfoNetId,
            Unfit::OwnIdentity => Self::OwnIdentity,
            Unfit::Age => Self::Age,
            Unfit::StaticKey => Self::StaticKey,
            Unfit::Signature => Self::Signature,
        }
    }
}

/// The AES layer over both ephemeral keys: one CBC stream under the responder's hash.
struct Obfuscation {
    encryptor: Encryptor,
    decryptor: Decryptor,
    iv: [u8; BLOCK_LEN],
}

impl Obfuscation {
    fn new(responder: &Hash, iv: &[u8; BLOCK_LEN]) -> Self {
        let key = responder.as_bytes();
        Self { encryptor: Encryptor::new(key), decryptor: Decryptor::new(key), iv: *iv }
    }

    fn hide(&mut self, key: &[u8; 32]) -> [u8; 32] {
        let mut hidden = *key;
        self.encryptor.cbc_encrypt(&self.iv, &mut hidden);
        self.advance(&hidden);
        hidden
    }

    fn reveal(&mut self, hidden: &[u8; 32]) -> [u8; 32] {
        let mut key = *hidden;
        self.decryptor.cbc_decrypt(&self.iv, &mut key);
        self.advance(hidden);
        key
    }

    fn advance(&mut self, hidden: &[u8; 32]) {
        if let Some(last) = hidden.last_chunk() {
            self.iv = *last;
        }
    }
}

/// What both sides have at the end.
pub(super) struct Established {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    /// Seconds that the peer's clock is ahead of ours, half a round trip taken off.
    pub(super) skew: i64,
    /// Between a message of ours and its answer.
    pub(super) rtt: Duration,
}

/// The length of the padding to send.
fn padding_len(rng: &mut Rng) -> u16 {
    let (least, most) = SEND_PADDING;
    rng.between(least, most) as u16
}
