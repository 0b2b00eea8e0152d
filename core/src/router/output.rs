//! What the router wants done.

use super::input::{ConnId, EffectId, SocketId};
use super::job::Job;
use crate::wire::hash::Hash;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};

/// Rare effects, in order. Hot bytes never pass here.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Open a TCP stream. Answered by `Connected` or `Failed`.
    Connect {
        /// The handle it will have.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
        /// The local address to bind, when the peer checks it against what we publish.
        bind: Option<IpAddr>,
    },
    /// Read this stream again, offering first what was not taken.
    Resume(ConnId),
    /// Finish writing: send FIN after what [`Router::poll_conn`](super::Router::poll_conn) gives,
    /// keep reading.
    ShutdownWrite(ConnId),
    /// Close the stream. No input follows for this handle.
    Close {
        /// Which.
        conn: ConnId,
        /// Drop unsent bytes and send RST. Otherwise the runtime takes at once what
        /// [`Router::poll_conn`](super::Router::poll_conn) still gives, until it says 0, sends that
        /// in its own time, and closes with FIN; the handle is dead after the 0.
        abort: bool,
    },
    /// Put into or delete from the store, atomically. Keys and the address book are durable before
    /// anything that follows happens; the rest is written soon, and may be lost with the power.
    Persist {
        /// What it is.
        key: StoreKey,
        /// The bytes; `None` deletes.
        value: Option<Arc<[u8]>>,
    },
    /// Pure CPU work that may run anywhere, in any order.
    Run {
        /// To be given to `handle_completion`.
        id: EffectId,
        /// The work.
        job: Job,
    },
    /// Tell the embedder.
    Notify(Event),
}

/// Names of stored values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StoreKey {
    /// The router's keys.
    RouterKeys,
    /// Our own RouterInfo as last published, for other programs to pick up.
    RouterInfo,
    /// A destination's keys.
    DestinationKeys(Box<str>),
    /// A peer's RouterInfo.
    NetDb(Hash),
    /// A peer's profile.
    Profile(Hash),
    /// The names that the user took over from links, in the format of `hosts.txt`.
    AddressBook,
}

/// Something to send in datagrams; the bytes were appended to the buffer given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// The socket to use.
    pub socket: SocketId,
    /// Where to.
    pub remote: SocketAddr,
    /// Bytes appended.
    pub len: usize,
    /// Size of each datagram, the last may be shorter.
    pub segment: Option<usize>,
}

/// Why the router wants to wake: for logs and tests only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Wake {
    /// Output is queued.
    Queued,
    /// A transport session.
    Session,
    /// Tunnels.
    Tunnel,
    /// The network database.
    NetDb,
    /// A destination's ratchets or streams.
    Destination,
    /// A client connection.
    Client,
    /// The router's own housekeeping.
    Router,
}

/// Facts for the embedder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first tunnels of every configured destination are up.
    Ready,
    /// The shutdown that was asked for is done; drop the router.
    Stopped,
}
