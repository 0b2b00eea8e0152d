//! What a session tells its owner.

use super::super::HandshakeError;
use crate::transport::Peer;
use crate::wire::i2np::Message;
use crate::wire::ntcp2::Reason;
use crate::wire::router_info::RouterInfo;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The handshake is done.
    Established {
        /// With whom.
        peer: Peer,
        /// Seconds that the peer's clock is ahead of ours.
        skew: i64,
    },
    /// An I2NP message.
    Message(Message),
    /// A RouterInfo, the peer's or another's. Its signature is **not** verified.
    RouterInfo {
        /// The RouterInfo.
        info: RouterInfo,
        /// A floodfill is asked to flood it.
        flood: bool,
    },
    /// The peer told its clock again: seconds that it is ahead of ours.
    Skew(i64),
    /// The last event. `Ok`: we closed, with this reason. Ask [`poll_write`](super::Session::poll_write) once more,
    /// then close the stream; drop unsent bytes and reset it if [`SessionError::abort`] says so.
    Closed(Result<Reason, SessionError>),
}

/// Why a session ended that we did not want to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No session came about.
    #[error("handshake: {0}")]
    Handshake(#[from] HandshakeError),
    /// The handshake took longer than [`HANDSHAKE_TIMEOUT`](super::HANDSHAKE_TIMEOUT).
    #[error("handshake timed out")]
    HandshakeTimeout,
    /// The peer's stream took nothing for [`STALL_TIMEOUT`](super::STALL_TIMEOUT).
    #[error("peer takes no bytes")]
    Stalled,
    /// A frame did not authenticate: the peer, or the way to it, damages bytes.
    #[error("frame does not authenticate")]
    FrameTag,
    /// A frame too short to exist: as [`Self::FrameTag`].
    #[error("frame of {0} bytes")]
    FrameLength(u16),
    /// The peer ended it, for this reason.
    #[error("terminated by the peer: {0:?}")]
    Terminated(Reason),
    /// The stream ended without a word.
    #[error("disconnected")]
    Disconnected,
}

impl SessionError {
    /// Close the stream with RST, dropping what is unsent: nothing that we could say would be
    /// understood, or it tells a prober something.
    #[must_use]
    pub const fn abort(self) -> bool {
        match self {
            // A skewed initiator is to read our clock in message 2.
            Self::Handshake(HandshakeError::ClockSkew(_)) => false,
            Self::Handshake(error) => error.reason().is_none(),
            Self::HandshakeTimeout | Self::Stalled | Self::Disconnected => true,
            Self::FrameTag | Self::FrameLength(_) | Self::Terminated(_) => false,
        }
    }
}

/// Counters of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes given to [`handle_bytes`](super::Session::handle_bytes).
    pub bytes_in: u64,
    /// Bytes appended by [`poll_write`](super::Session::poll_write).
    pub bytes_out: u64,
    /// Valid frames received.
    pub frames_in: u64,
    /// Frames made.
    pub frames_out: u64,
    /// I2NP messages received.
    pub messages_in: u64,
    /// I2NP messages put into frames.
    pub messages_out: u64,
    /// Messages dropped unsent, for age or want of room.
    pub dropped: u64,
    /// Blocks that could not be read; the rest of their frame was ignored.
    pub malformed: u64,
}
