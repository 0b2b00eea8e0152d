//! What a session tells its owner.

use crate::wire::i2np::Message;
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::Reason;
use core::net::SocketAddr;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// An I2NP message.
    Message(Message),
    /// A RouterInfo, the peer's or another's. Its signature is **not** verified.
    RouterInfo {
        /// The RouterInfo.
        info: RouterInfo,
        /// A floodfill is asked to flood it.
        flood: bool,
    },
    /// The peer told its clock: seconds that it is ahead of ours.
    Skew(i64),
    /// Where the peer sees us.
    Address(SocketAddr),
    /// For our next session with the peer from the address that we have now.
    NewToken {
        /// The token.
        token: u64,
        /// Until when it is good, seconds since the epoch.
        expires: u32,
    },
    /// The peer is now here.
    Moved(SocketAddr),
    /// The last event. `Ok`: we closed, with this reason. Packets may still be to be sent.
    Closed(Result<Reason, SessionError>),
}

/// Why a session ended that we did not want to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer acknowledges nothing.
    #[error("peer is silent")]
    Silent,
    /// The peer ended it, for this reason.
    #[error("peer closed: {0:?}")]
    Terminated(Reason),
    /// The peer sent blocks that cannot be read.
    #[error("unreadable blocks")]
    Payload,
    /// The peer acknowledged what was never sent.
    #[error("acknowledgement of what was never sent")]
    Ack,
    /// All packet numbers are used.
    #[error("packet numbers used up")]
    Numbers,
}

impl SessionError {
    /// What the peer is told.
    pub(super) const fn reason(self) -> Option<Reason> {
        match self {
            Self::Silent => Some(Reason::Timeout),
            Self::Terminated(_) => Some(Reason::TerminationReceived),
            Self::Payload | Self::Ack => Some(Reason::Payload),
            Self::Numbers => Some(Reason::Normal),
        }
    }
}

/// What a session did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets received, duplicates and forgeries too.
    pub packets_in: u64,
    /// Packets made.
    pub packets_out: u64,
    /// Bytes of them, without UDP and IP.
    pub bytes_in: u64,
    /// Bytes of them, without UDP and IP.
    pub bytes_out: u64,
    /// Packets that did not authenticate, or were no data packets.
    pub forged: u64,
    /// Packets that came twice, or too late to tell.
    pub repeated: u64,
    /// Messages that came twice.
    pub repeated_messages: u64,
    /// Messages and RouterInfos that cannot be decoded.
    pub malformed: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Messages and parts of them that were given up, of ours and of the peer's.
    pub dropped: u64,
    /// Packets that counted as lost, and ...
    pub lost: u64,
    /// ... those of them that arrived all the same.
    pub spurious: u64,
}
