//! What the owner of the sessions says and hears.

use super::super::SealError;
#[cfg(doc)]
use super::Sessions;
use crate::crypto::x25519::PublicKey;
use crate::time::Instant;
use crate::wire::garlic::{Clove, MessageNumber};
use crate::wire::hash::Hash;
use alloc::vec::Vec;
use core::fmt;

/// Names a session of one [`Sessions`]; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(super) u64);

/// Whom to encrypt to: a destination and the X25519 key in its verified LeaseSet. Sessions belong
/// to the pair: what one destination sends can never use up the session with another one that
/// lists the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remote {
    /// The destination's hash.
    pub destination: Hash,
    /// Its encryption key of type 4.
    pub key: PublicKey,
}

impl fmt::Debug for Remote {
    /// The destination: its key would say no more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.destination.fmt(f)
    }
}

/// How a message is, or will be, encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new session. Put our LeaseSet in front: the receiver needs it to reply.
    NewSession,
    /// A reply to a new session of the peer.
    Reply,
    /// An existing session.
    Existing,
    /// A single message that cannot be answered.
    OneTime,
}

/// Names a message whose receipt was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AckId {
    pub(super) session: SessionId,
    pub(super) number: MessageNumber,
}

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// Let the receiver answer. `false` makes a one-time message, without any trace of us.
    pub bind: bool,
    /// Ask for an Ack; it comes as [`Event::Acked`]. New sessions and replies cannot ask: there
    /// [`Event::Established`] of the session says as much.
    pub ack: bool,
    /// The peer has a reason to answer this soon. Answers that stay away make the session
    /// doubtful, so say `false` for acknowledgements and the like.
    pub expects_reply: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { bind: true, ack: false, expects_reply: true }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendInfo {
    /// How it was encrypted.
    pub kind: Kind,
    /// In which session; `None` for a one-time message.
    pub session: Option<SessionId>,
    /// What [`Event::Acked`] will say, if an Ack was asked for: because of the options, or by
    /// ourselves.
    pub ack: Option<AckId>,
}

/// Whether a message can go now, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// `encrypt` will work.
    Ready {
        /// How the next message will be encrypted.
        kind: Kind,
        /// How many messages should go now at most, one at the least. For a new session 1; for
        /// replies as many as the peer can read; for an existing session what the peer's tag
        /// window surely takes.
        room: u32,
    },
    /// Perhaps the peer does not know the tags of more messages yet in its existing session:
    /// `encrypt` would work, but if all that is under way is lost the session is lost with it.
    /// Better wait until then, or until the peer is heard from.
    Full(Instant),
    /// `encrypt` will refuse until then, unless the peer is heard from earlier.
    Wait(Instant),
}

/// Why nothing was encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// New sessions with this peer must not come faster. Try again at this time, or when
    /// [`Event::Established`] names the peer.
    #[error("waiting for the peer's reply")]
    Wait(Instant),
    /// The caller's or the peer's fault.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A decrypted message.
#[derive(Debug, PartialEq, Eq)]
pub struct Received {
    /// How it was encrypted.
    pub kind: Kind,
    /// In which session; `None` for a one-time message.
    pub session: Option<SessionId>,
    /// The sender's static key, which the sender has proved to own. Compare it with the key in
    /// the LeaseSet that the cloves bring before calling [`Sessions::bind`].
    pub remote_key: Option<PublicKey>,
    /// The sender, if the session is bound.
    pub destination: Option<Hash>,
    /// The messages, in order.
    pub cloves: Vec<Clove>,
}

/// A message without data that a session needs sent: an answer, an Ack, a step of the ratchet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// To whom.
    pub remote: Remote,
    /// In which session.
    pub session: SessionId,
    /// How it was encrypted.
    pub kind: Kind,
    /// The body of a Garlic message.
    pub body: Vec<u8>,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer has shown that it has the session: what was sent in its first message arrived,
    /// and messages can follow freely.
    Established {
        /// Which.
        session: SessionId,
        /// With whom.
        remote: Remote,
    },
    /// The peer has received this message.
    Acked(AckId),
}
