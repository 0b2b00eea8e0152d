//! What owners of streams say and are told.

use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use core::time::Duration;

/// A stream of this destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// The number under which the peer addresses the stream.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// Settings of [`Streams`](super::Streams).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamingConfig {
    /// Streams at the same time; more are refused.
    pub max_streams: usize,
    /// Bytes that a stream holds unread before it asks the peer to stop.
    pub receive_buffer: usize,
    /// Bytes that a stream holds until they are acknowledged.
    pub send_buffer: usize,
    /// Bytes that a stream takes ahead of what the window lets go.
    pub unsent_buffer: usize,
    /// Bytes that all streams hold. Above three quarters of it each may hold little; all of it
    /// used, what arrives is dropped and comes again.
    pub memory: usize,
    /// How long an answer to a SYN may take.
    pub connect_timeout: Duration,
    /// How long a peer may be silent before it is asked whether it is there.
    pub inactivity_timeout: Duration,
    /// Answer pings.
    pub answer_pings: bool,
}

impl Default for StreamingConfig {
    fn default() -> Self {
        Self {
            max_streams: 2048,
            receive_buffer: 256 * 1024,
            send_buffer: 1024 * 1024,
            unsent_buffer: 128 * 1024,
            memory: 64 * 1024 * 1024,
            // Routers take up to half a minute to notice that a tunnel died, twice if the next one did too.
            connect_timeout: Duration::from_secs(90),
            inactivity_timeout: Duration::from_secs(90),
            answer_pings: true,
        }
    }
}

/// Why a stream cannot be opened: nobody's fault but ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There are as many streams as there may be.
    #[error("too many streams")]
    TooManyStreams,
}

/// Why a stream ended other than by being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer does not want the stream.
    #[error("refused")]
    Refused,
    /// The peer did not answer.
    #[error("connecting timed out")]
    ConnectTimedOut,
    /// The peer gave the stream up.
    #[error("reset by the peer")]
    Reset,
    /// The peer does not answer any more.
    #[error("the peer is gone")]
    Lost,
    /// There is no way to the peer, says the owner.
    #[error("unreachable")]
    Unreachable,
    /// We gave the stream up.
    #[error("aborted")]
    Aborted,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The peer answered our SYN. What it sent with the answer is readable.
    Connected(StreamId),
    /// A peer opened a stream. Its reply waits some milliseconds for data to go with it.
    Incoming {
        /// The stream.
        id: StreamId,
        /// The peer; it has proven to be that destination.
        remote: Identity,
        /// Our port.
        local_port: u16,
        /// The peer's port.
        remote_port: u16,
    },
    /// There is data to read; said again when there is more after all was read.
    Readable(StreamId),
    /// There is room to write again: half of the buffer, after a write that left less.
    Writable(StreamId),
    /// The peer writes no more; what it wrote may still be unread. Many peers have then also
    /// stopped to read.
    RemoteClosed(StreamId),
    /// The stream is over and everything was read; its id is dead.
    Closed(StreamId, Result<(), StreamError>),
    /// Nothing gets through to a destination: it does not answer, or sends again what we have
    /// acknowledged. Its owner should try other tunnels, another lease or a new session, and say so
    /// with [`handle_rerouted`](super::Streams::handle_rerouted). Poll events before packets, so
    /// that what goes next takes the new way. Told at most once a second for a destination.
    Stalled {
        /// The destination.
        remote: Hash,
        /// How often in a row, whatever was tried in between: from 2 up, of a SYN from 1 up.
        timeouts: u32,
    },
    /// A ping was answered.
    Pong {
        /// Who was asked.
        remote: Hash,
        /// How long it took.
        rtt: Duration,
    },
}

impl StreamEvent {
    /// The stream that it is about.
    #[must_use]
    pub const fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Incoming { id, .. }
            | Self::Connected(id)
            | Self::Readable(id)
            | Self::Writable(id)
            | Self::RemoteClosed(id)
            | Self::Closed(id, _) => Some(*id),
            Self::Stalled { .. } | Self::Pong { .. } => None,
        }
    }
}

/// What a packet is, for whoever has to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// The first packet of our direction of a stream.
    Syn,
    /// That one again.
    SynAgain,
    /// Data, or the end of it.
    Data,
    /// Data that went before and did not arrive.
    DataAgain,
    /// Only an ack.
    Ack,
    /// The end of a stream that failed.
    Reset,
    /// A ping or pong.
    Echo,
}

impl PacketKind {
    /// True for the first packet of a stream's direction, which should come with our lease set.
    #[must_use]
    pub const fn is_syn(self) -> bool {
        matches!(self, Self::Syn | Self::SynAgain)
    }

    /// True for what was sent before and did not arrive.
    #[must_use]
    pub const fn is_again(self) -> bool {
        matches!(self, Self::SynAgain | Self::DataAgain)
    }
}

/// Where a packet goes; its bytes were appended to the buffer given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutPacket {
    /// The remote destination.
    pub to: Hash,
    /// Our port.
    pub from_port: u16,
    /// The remote's port.
    pub to_port: u16,
    /// The stream; `None` for what belongs to none.
    pub stream: Option<StreamId>,
    /// What it is.
    pub kind: PacketKind,
    /// Nothing was ever heard on this stream: the remote may know nothing of us, not even a
    /// session.
    pub first: bool,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStats {
    /// Packets made.
    pub packets_out: u64,
    /// Of those, data that went before.
    pub again_out: u64,
    /// Of those, pure acks.
    pub acks_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Of those, ones that were of no use: malformed, forged, unknown or out of place.
    pub ignored_in: u64,
    /// SYNs for which there was no room.
    pub dropped_syns: u64,
}

/// A stream's state, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The remote destination.
    pub remote: Hash,
    /// The peer opened it.
    pub incoming: bool,
    /// Both sides know each other.
    pub established: bool,
    /// The smoothed round trip to the remote.
    pub rtt: Option<Duration>,
    /// The window of all streams to the remote, in packets.
    pub window: u32,
    /// Packets under way on all streams to the remote.
    pub flying: u32,
    /// Packets of this stream that were sent again.
    pub resent: u64,
    /// Bytes of this stream that are not acknowledged.
    pub unacknowledged: usize,
}
