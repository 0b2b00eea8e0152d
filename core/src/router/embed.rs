//! Destinations of the program that the router is part of: no socket and no protocol stands between
//! an application and its streams and datagrams.
//!
//! ```text
//! open_destination -> DestinationReady        close_destination
//! connect          -> Connected               listen -> Incoming
//! write, finish    <- Writable                read   <- Readable, RemoteClosed
//! reset, release      Closed                  send_datagram, receive_datagram <- Datagrams
//! look_up          -> Found or NotFound
//! ```
//!
//! All of them are methods of [`Router`]; what they lead to comes from [`Router::poll_app_event`].
//! Handles are never used twice in one run, and a verb with one that is dead does nothing; what is
//! asked of a destination that is closed fails with [`Failure::ShuttingDown`].
//!
//! `examples/poll_loop.rs` of this crate is a whole program: a loop, a service and its visitor.
//!
//! What the router holds for its embedder is bounded: streams and lookups by
//! [`StreamingConfig::max_streams`] and [`NewDestination::incoming`], bytes by the streams' buffers,
//! datagrams by number and size, the oldest being dropped. A stream counts until its last event was
//! taken.

use super::apps::Waiting;
use super::{Router, Stopping, paths};
use crate::client::{Failure, Target};
use crate::config::Tunnels;
use crate::conn::ConnId;
use crate::datagram::{DatagramError, Sender};
use crate::garlic::reply::ReplyTags;
use crate::keys::{DestinationKeys, KeysError};
use crate::netdb::Context;
use crate::router::apps::pool_of;
use crate::router::lookups::Purpose;
use crate::streaming::StreamingConfig;
use crate::time::Instant;
use crate::wire::identity::Identity;
use crate::wire::payload::Protocol;
use alloc::boxed::Box;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// A destination that the embedder opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(pub(super) usize);

/// A stream of the embedder, from the moment it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamHandle(pub(super) ConnId);

/// A search for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupHandle(pub(super) ConnId);

/// What a new destination is to be.
#[non_exhaustive]
pub struct NewDestination {
    /// A name for logs and reports.
    pub name: Box<str>,
    /// Its keys, as [`DestinationKeys::encode`] or another router's key file has them; `None` makes
    /// new ones. The router does not store them: see [`Router::destination_keys`].
    pub keys: Option<Zeroizing<Vec<u8>>>,
    /// The shape of its tunnels.
    pub tunnels: Tunnels,
    /// Tell the network how to reach it. One that is not told of can connect, and be answered.
    pub publish: bool,
    /// Sizes of its streams, and how many it may open.
    pub streaming: StreamingConfig,
    /// How many streams others may have open to it. `None` gives it an equal share, as every
    /// service of this router has.
    pub incoming: Option<IncomingLimits>,
}

impl NewDestination {
    /// A published destination with new keys and the usual tunnels.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            keys: None,
            tunnels: Tunnels::default(),
            publish: true,
            streaming: StreamingConfig::default(),
            incoming: None,
        }
    }

    /// Takes keys that were kept.
    pub fn set_keys(&mut self, bytes: &[u8]) {
        self.keys = Some(Zeroizing::new(bytes.to_vec()));
    }
}

/// Streams from the network that a destination takes; more are reset at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingLimits {
    /// From all remotes.
    pub all: usize,
    /// From one remote destination.
    pub one_remote: usize,
}

/// Why a destination is not opened: always for a reason of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The keys cannot be used.
    #[error("keys: {0}")]
    Keys(#[from] KeysError),
    /// This router has that destination already.
    #[error("the destination is open already")]
    InUse,
    /// There are as many as there may be, see [`MAX_CONTEXTS`](crate::netdb::MAX_CONTEXTS).
    #[error("too many destinations")]
    TooMany,
    /// The shape of the tunnels is outside of what [`Tunnels`] allows.
    #[error("tunnels of that shape cannot be built")]
    Shape,
    /// The router is stopping.
    #[error("shutting down")]
    ShuttingDown,
}

/// The ports of a stream or a datagram; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Ours.
    pub local: u16,
    /// The remote's.
    pub remote: u16,
}

impl Ports {
    /// Ours unnamed.
    #[must_use]
    pub const fn to(remote: u16) -> Self {
        Self { local: 0, remote }
    }
}

/// Kinds of datagrams (specification `datagrams`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatagramKind {
    /// Signed for its recipient, who can answer; not a replay of what somebody else was sent.
    #[default]
    Datagram2,
    /// Signed, for recipients that know no other kind.
    Datagram1,
    /// Names its sender by hash, unsigned.
    Datagram3,
    /// Nothing but the payload.
    Raw,
}

impl DatagramKind {
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Datagram2 => Protocol::DATAGRAM2,
            Self::Datagram1 => Protocol::DATAGRAM,
            Self::Datagram3 => Protocol::DATAGRAM3,
            Self::Raw => Protocol::RAW,
        }
    }

    pub(super) const fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::DATAGRAM2 => Some(Self::Datagram2),
            Protocol::DATAGRAM => Some(Self::Datagram1),
            Protocol::DATAGRAM3 => Some(Self::Datagram3),
            Protocol::RAW => Some(Self::Raw),
            Protocol(_) => None,
        }
    }
}

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDatagram {
    /// Which kind.
    pub kind: DatagramKind,
    /// Who sent it, as far as its kind tells.
    pub from: Sender,
    /// The ports.
    pub ports: Ports,
    /// The data.
    pub payload: Vec<u8>,
}

/// Why a datagram is not sent. One that is accepted may still not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Our caller's fault: too large.
    #[error(transparent)]
    Datagram(#[from] DatagramError),
    /// The name is not in the address book.
    #[error("unknown name")]
    UnknownName,
    /// The destination that it was to leave from is closed, or the router is stopping.
    #[error("closed")]
    Closed,
}

/// What the embedder is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppEvent {
    /// A destination has its first tunnels. What was asked for earlier begins now.
    DestinationReady(DestinationId),
    /// A remote opened a stream to a port that listens. It can be read and written at once.
    Incoming {
        /// Our destination.
        destination: DestinationId,
        /// The stream.
        stream: StreamHandle,
        /// The remote, proven by its signature.
        remote: Identity,
        /// The ports.
        ports: Ports,
    },
    /// The remote answered: the stream can be read and written.
    Connected(StreamHandle),
    /// There is data to read; told again when there is more after all was read.
    Readable(StreamHandle),
    /// There is room to write again, after a write that was not taken whole.
    Writable(StreamHandle),
    /// The remote writes no more, and all that it wrote was read.
    RemoteClosed(StreamHandle),
    /// The stream is over and all was read; the handle is dead. An error says why it ended before
    /// both sides had finished, or why it never came to be.
    Closed(StreamHandle, Result<(), Failure>),
    /// Datagrams wait; told again when there are more after all were taken.
    Datagrams(DestinationId),
    /// A destination was found; the handle is dead.
    Found(LookupHandle, Identity),
    /// A destination was not found; the handle is dead.
    NotFound(LookupHandle, Failure),
}

/// The embedder's destinations, streams and datagrams; see [the module](self).
impl Router {
    /// Opens a destination. [`AppEvent::DestinationReady`] follows when it has tunnels; streams and
    /// searches that are asked for earlier wait 20 s for that.
    pub fn open_destination(
        &mut self,
        now: Instant,
        new: NewDestination,
    ) -> Result<DestinationId, OpenError> {
        let shape = new.tunnels;
        if shape.length_variance > Tunnels::MAX_LENGTH_VARIANCE
            || shape.length.saturating_add(shape.length_variance) > Tunnels::MAX_LENGTH
            || !(1..=Tunnels::MAX_QUANTITY).contains(&shape.quantity)
        {
            return Err(OpenError::Shape);
        }
        if self.stopping != Stopping::No {
            return Err(OpenError::ShuttingDown);
        }
        let keys = match &new.keys {
            Some(bytes) => DestinationKeys::decode(bytes)?,
            None => DestinationKeys::generate(&mut self.rng.fork("destination keys")),
        };
        let hash = keys.identity.hash();
        if self.apps.all().any(|(_, app)| app.destination.identity().hash() == hash) {
            return Err(OpenError::InUse);
        }
        let pool = pool_of(self.apps.next());
        self.netdb.add_context(Context(pool.0)).map_err(|_| OpenError::TooMany)?;
        self.reply_tags.insert(pool.0, ReplyTags::new());
        log::debug!("{}: {}", new.name, keys.identity.b32_address());
        let app = self.apps.open_embedded(now, new, keys, &mut self.rng);
        let unix = self.clock.unix(now);
        self.tunnels.add_pool(now, unix, pool, paths::pool(&shape));
        self.settle(now);
        Ok(DestinationId(app))
    }

    /// Closes a destination with all that is open there: its streams are reset, and no events come
    /// any more. What should still be sent is finished first, and its end waited for.
    pub fn close_destination(&mut self, now: Instant, id: DestinationId) {
        if !self.apps.is_open(id) {
            return;
        }
        // The remotes are told while there are tunnels.
        self.apps.abandon(now, id);
        self.settle(now);
        let pool = pool_of(id.0);
        self.apps.remove_embedded(id);
        self.tunnels.remove_pool(now, pool);
        self.netdb.remove_context(Context(pool.0));
        self.reply_tags.remove(&pool.0);
        self.lookups.retain(|_, purpose| match purpose {
            Purpose::LeaseSet { app, .. } => *app != id.0,
            Purpose::Router(_) => true,
        });
        self.settle(now);
    }

    /// Who a destination is; `None` when it is closed.
    #[must_use]
    pub fn destination(&self, id: DestinationId) -> Option<&Identity> {
        self.apps.identity(id)
    }

    /// The keys of a destination, to be kept by whoever wants it to be the same next time.
    #[must_use]
    pub fn destination_keys(&self, id: DestinationId) -> Option<&Zeroizing<Vec<u8>>> {
        self.apps.keys(id)
    }

    /// Whether a destination has tunnels in both directions at the moment.
    #[must_use]
    pub fn is_destination_ready(&self, id: DestinationId) -> bool {
        self.apps.is_ready(id)
    }

    /// Accepts streams to `port` from now on; port 0 accepts those to ports that nobody listens at.
    pub fn listen(&mut self, id: DestinationId, port: u16) {
        self.apps.listen(id, port, true);
    }

    /// Accepts no more streams to `port`; those that are there stay.
    pub fn unlisten(&mut self, id: DestinationId, port: u16) {
        self.apps.listen(id, port, false);
    }

    /// Opens a stream. [`AppEvent::Connected`] follows, or [`AppEvent::Closed`]: at once when the
    /// name is unknown, else within the time that a search and a connect may take. What is written
    /// before, a few kilobytes, travels with the first packet.
    pub fn connect(
        &mut self,
        now: Instant,
        from: DestinationId,
        to: &Target,
        ports: Ports,
    ) -> StreamHandle {
        let conn = self.apps.want(now, from, to, Waiting::Stream(ports));
        self.settle(now);
        StreamHandle(conn)
    }

    /// Finds the destination behind a name or an address: names in the address book, `.b32.i2p`
    /// addresses by their lease set. [`AppEvent::Found`] or [`AppEvent::NotFound`] follows.
    pub fn look_up(&mut self, now: Instant, from: DestinationId, name: &Target) -> LookupHandle {
        let conn = self.apps.want(now, from, name, Waiting::Lookup);
        self.settle(now);
        LookupHandle(conn)
    }

    /// The remote of a stream; `None` before it is connected and after it is over.
    #[must_use]
    pub fn remote(&self, stream: StreamHandle) -> Option<&Identity> {
        self.apps.remote(stream.0)
    }

    /// Whether a destination has nothing left to do: no stream, not even one that was released, and
    /// nothing that waits to be sent. Closing it loses nothing then.
    #[must_use]
    pub fn is_idle(&self, id: DestinationId) -> bool {
        self.apps.is_idle(id)
    }

    /// Takes data to send; says how much. When that is not all, [`AppEvent::Writable`] follows.
    pub fn write(&mut self, now: Instant, stream: StreamHandle, bytes: &[u8]) -> usize {
        let taken = self.apps.write(now, stream.0, bytes);
        self.settle(now);
        taken
    }

    /// Appends at most `max` bytes that arrived to `out`; says how many. Reading makes room for
    /// more: who does not read stops the remote.
    pub fn read(
        &mut self,
        now: Instant,
        stream: StreamHandle,
        max: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let read = self.apps.read(now, stream.0, max, out);
        self.settle(now);
        read
    }

    /// Ends our direction after what was written. Many programs take that for the end of both: who
    /// wants an answer finishes when it has come.
    pub fn finish(&mut self, now: Instant, stream: StreamHandle) {
        self.apps.finish(now, stream.0);
        self.settle(now);
    }

    /// Gives a stream up: the remote is told that it failed. No event follows.
    pub fn reset(&mut self, now: Instant, stream: StreamHandle) {
        self.apps.drop_embedded(now, stream.0, false);
        self.settle(now);
    }

    /// Leaves a stream: what was written still goes, what comes is dropped. No event follows.
    pub fn release(&mut self, now: Instant, stream: StreamHandle) {
        self.apps.drop_embedded(now, stream.0, true);
        self.settle(now);
    }

    /// Gives a search up. No event follows.
    pub fn cancel_lookup(&mut self, now: Instant, lookup: LookupHandle) {
        self.apps.drop_embedded(now, lookup.0, false);
    }

    /// Sends a datagram once the recipient's lease set is known. Some wait for that, the oldest are
    /// dropped; nothing says whether one arrives.
    pub fn send_datagram(
        &mut self,
        now: Instant,
        from: DestinationId,
        to: &Target,
        ports: Ports,
        kind: DatagramKind,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let sent = self.apps.send_datagram(now, from, to, ports, kind, payload);
        self.settle(now);
        sent
    }

    /// The datagram that came first of those that wait.
    pub fn receive_datagram(&mut self, id: DestinationId) -> Option<AppDatagram> {
        self.apps.receive_datagram(id)
    }

    /// Datagrams of a destination that were dropped for want of room, in both directions.
    #[must_use]
    pub fn dropped_datagrams(&self, id: DestinationId) -> u64 {
        self.apps.dropped_datagrams(id)
    }

    /// What happened to the embedder's destinations; drained after [`Self::poll_conn`].
    #[must_use]
    pub fn poll_app_event(&mut self) -> Option<AppEvent> {
        self.apps.poll_app_event()
    }
}
