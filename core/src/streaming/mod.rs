//! Streams of one local destination (specification `streaming`, documentation `api/streaming`).
//!
//! [`Streams`] is told of packets and time, and asked for packets, events and the next deadline.
//! Packets are made only when they are asked for, so that what goes out is the newest state.

mod api;
mod buffer;
mod conn;
mod echo;
mod graves;
mod incoming;
mod listener;
mod path;
mod recv;
mod send;
#[cfg(test)]
mod tests;

pub use api::{
    ConnectError, OutPacket, PacketKind, StreamError, StreamEvent, StreamId, StreamInfo,
    StreamStats, StreamingConfig,
};

use crate::audit::Audit;
use crate::crypto::sign::SigningKey;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use crate::wire::streaming::{Flags, Outgoing};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use conn::{Conn, Context, Polled};
use core::time::Duration;
use echo::Pings;
use graves::{Grave, Graves};
use listener::{Backlog, EarlyPackets, Listeners};
use path::{Gate, Path};
use send::Next;
use slab::Slab;

/// Packets outside of streams that wait to be sent; more are dropped.
const MAX_CONTROL: usize = 64;
/// Paths remembered beyond those in use, for the next stream to the same destination.
const MAX_IDLE_PATHS: usize = 256;
/// How long what was learned about a path that is not in use is believed.
const PATH_MEMORY: Duration = Duration::from_secs(300);
/// Refusals, pongs and the like in a second.
const CONTROL_RATE: u32 = 32;
/// What a stream may hold when memory is short, in bytes, each way.
const SCARCE_BUFFER: usize = 32 * 1024;
/// What other tunnels are given to show that they work: as long as the old ones would have been,
/// within these.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
const MAX_PATIENCE: Duration = Duration::from_secs(4);
/// What a stream that holds nothing may hold at least.
const LEAST_BUFFER: usize = 4096;
/// Deadlines are at least this far in the future.
const MIN_TIMER: Duration = Duration::from_micros(100);

/// What all streams know of this destination.
pub(crate) struct Local {
    identity: Identity,
    hash: Hash,
    key: Arc<SigningKey>,
    config: StreamingConfig,
}

/// Buffer sizes as they are at the moment.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    receive: usize,
    hard: usize,
    send: usize,
    unsent: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Stream(StreamId),
    Path(usize),
}

/// A budget per second for what strangers can make us send.
#[derive(Default)]
struct RateLimit {
    second: Instant,
    used: u32,
}

impl RateLimit {
    fn allows(&mut self, now: Instant) -> bool {
        if now.saturating_since(self.second) >= Duration::from_secs(1) {
            *self = Self { second: now, used: 0 };
        }
        self.used += 1;
        self.used <= CONTROL_RATE
    }
}

/// All streams of one local destination.
///
/// After each verb and `handle_*` drain [`Self::poll_event`], then [`Self::poll_packet`], and arm
/// a timer for [`Self::poll_timeout`]. [`Self::poll_packet`] may be left off while there is no room
/// for packets below; data then waits here.
pub struct Streams {
    local: Local,
    rng: Rng,
    conns: BTreeMap<StreamId, Box<Conn>>,
    /// Streams that peers opened, alive or not, by the peer's name for them.
    names: BTreeMap<(u32, Hash), StreamId>,
    graves: Graves,
    paths: Slab<Path>,
    path_of: BTreeMap<Hash, usize>,
    ready: VecDeque<StreamId>,
    timers: BTreeSet<(Instant, Timer)>,
    events: VecDeque<StreamEvent>,
    control: VecDeque<(OutPacket, Vec<u8>)>,
    listeners: Listeners,
    backlog: Backlog,
    early: EarlyPackets,
    pings: Pings,
    courtesy: RateLimit,
    memory: usize,
    stats: StreamStats,
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Streams>();

impl Streams {
    /// For the destination `local`, whose signing key is `signing`.
    #[must_use]
    pub fn new(
        local: Identity,
        signing: Arc<SigningKey>,
        config: StreamingConfig,
        rng: Rng,
    ) -> Self {
        let hash = local.hash();
        Self {
            local: Local { identity: local, hash, key: signing, config },
            rng,
            conns: BTreeMap::new(),
            names: BTreeMap::new(),
            graves: Graves::default(),
            paths: Slab::new(),
            path_of: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            events: VecDeque::new(),
            control: VecDeque::new(),
            listeners: Listeners::default(),
            backlog: Backlog::default(),
            early: EarlyPackets::default(),
            pings: Pings::default(),
            courtesy: RateLimit::default(),
            memory: 0,
            stats: StreamStats::default(),
        }
    }

    // Getters.

    /// Streams that are not over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Bytes held by all streams.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.memory
    }

    /// Totals since the start.
    #[must_use]
    pub const fn stats(&self) -> StreamStats {
        self.stats
    }

    /// What is held after a drain, and what may be. Packets that wait for their turn to be made are no
    /// queue: they are made when there is room below.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let (conns, paths) = (self.conns.len(), self.paths.len());
        audit.see("streams", conns, self.local.config.max_streams);
        audit.see("streams: by name", self.names.len(), conns + self.graves.len());
        audit.see("streams: paths", paths, conns + MAX_IDLE_PATHS);
        audit.see("streams: paths by remote", self.path_of.len(), paths);
        audit.see("streams: with something to send", self.ready.len(), conns + self.graves.len());
        audit.see("streams: timers", self.timers.len(), conns + paths);
        audit.see("streams: packets outside of them", self.control.len(), MAX_CONTROL);
        // All of it used, each may hold a little still.
        let memory = self.local.config.memory + conns * LEAST_BUFFER;
        audit.see("streams: bytes held", self.memory, memory);
        audit.drained("streams: events", self.events.len());
        self.graves.audit(audit);
        self.backlog.audit(audit);
        self.early.audit(audit);
        self.pings.audit(audit);
        for conn in self.conns.values() {
            conn.audit(audit);
        }
    }

    /// The state of a stream; `None` when it is over.
    #[must_use]
    pub fn info(&self, id: StreamId) -> Option<StreamInfo> {
        let conn = self.conns.get(&id)?;
        let path = self.paths.get(conn.path)?;
        Some(StreamInfo {
            remote: path.remote,
            incoming: conn.incoming,
            established: conn.is_established(),
            rtt: path.rtt.smoothed(),
            window: path.congestion.window(),
            flying: path.congestion.flying(),
            resent: conn.sender.resent(),
            unacknowledged: conn.sender.bytes(),
        })
    }

    /// The peer of a stream.
    #[must_use]
    pub fn remote(&self, id: StreamId) -> Option<&Identity> {
        self.conns.get(&id).map(|conn| &conn.remote)
    }

    /// Bytes that can be read now.
    #[must_use]
    pub fn readable(&self, id: StreamId) -> usize {
        self.conns.get(&id).map_or(0, |conn| conn.receiver.readable())
    }

    /// Bytes that can be written now.
    #[must_use]
    pub fn writable(&self, id: StreamId) -> usize {
        self.conns.get(&id).map_or(0, |conn| conn.room(self.limits()))
    }

    // Verbs.

    /// Opens a stream. The SYN goes out with the next [`Self::poll_packet`], together with what was
    /// written until then.
    pub fn connect(
        &mut self,
        now: Instant,
        remote: Identity,
        from_port: u16,
        to_port: u16,
    ) -> Result<StreamId, ConnectError> {
        if self.conns.len() >= self.local.config.max_streams {
            return Err(ConnectError::TooManyStreams);
        }
        let id = self.fresh_id();
        let path = self.path_for(now, remote.hash());
        let conn = Conn::connect(now, id, remote, (from_port, to_port), path);
        self.insert(id, conn);
        self.after(now, id);
        Ok(id)
    }

    /// Accepts streams to `port`; port 0 accepts those to ports that nobody listens at.
    pub fn listen(&mut self, port: u16) {
        self.listeners.open(port);
    }

    /// Accepts no more streams to `port`; those that are there stay.
    pub fn unlisten(&mut self, port: u16) {
        self.listeners.close(port);
    }

    /// Takes data to send; says how much. After a write that leaves little room
    /// [`StreamEvent::Writable`] follows.
    pub fn write(&mut self, now: Instant, id: StreamId, bytes: &[u8]) -> usize {
        let limits = self.limits();
        self.with(now, id, |conn, _| conn.write(bytes, limits)).unwrap_or(0)
    }

    /// Appends up to `max` bytes of what was received to `out`; says how many.
    pub fn read(&mut self, now: Instant, id: StreamId, max: usize, out: &mut Vec<u8>) -> usize {
        self.with(now, id, |conn, cx| conn.read(cx, max, out)).unwrap_or(0)
    }

    /// Ends our direction: what was written still goes, then the CLOSE. The other direction stays
    /// open, but many peers take a CLOSE for the end of both and drop what they have not sent: a
    /// client closes when it has its answer, not when it has asked.
    pub fn close(&mut self, now: Instant, id: StreamId) {
        self.with(now, id, |conn, cx| conn.close(cx));
    }

    /// Forgets a stream: what was written still goes, what comes is dropped, there are no more
    /// events and the id is dead.
    pub fn release(&mut self, now: Instant, id: StreamId) {
        self.events.retain(|event| event.stream() != Some(id));
        self.with(now, id, |conn, cx| conn.release(cx));
    }

    /// Gives a stream up: the peer is told that it failed, there are no more events and the id is
    /// dead.
    pub fn reset(&mut self, now: Instant, id: StreamId) {
        self.events.retain(|event| event.stream() != Some(id));
        self.with(now, id, |conn, cx| conn.reset(cx));
    }

    /// The same for all that are left, those that were released included.
    pub fn reset_all(&mut self, now: Instant) {
        let ids: Vec<StreamId> = self.conns.keys().copied().collect();
        for id in ids {
            self.reset(now, id);
        }
    }

    /// Makes no packets for `remote` while `held`, because there is no way to it yet. Connecting
    /// still has its time limit.
    pub fn hold(&mut self, now: Instant, remote: &Hash, held: bool) {
        let index = self.path_for(now, *remote);
        let Some(path) = self.paths.get_mut(index) else { return };
        path.held = held;
        if !held {
            let waiting = core::mem::take(&mut path.waiting);
            for id in waiting {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.waiting = false;
                }
                self.enqueue(id);
            }
        }
    }

    /// True while there is a stream with `remote`.
    #[must_use]
    pub fn has_stream_with(&self, remote: &Hash) -> bool {
        let path = self.path_of.get(remote).and_then(|index| self.paths.get(*index));
        path.is_some_and(|path| path.streams > 0)
    }

    /// Whether we turned to `remote` ourselves, or something of ours was acknowledged: not so of one
    /// that began a stream with us and fell silent.
    #[must_use]
    pub fn wants_to_reach(&self, remote: &Hash) -> bool {
        let Some(index) = self.path_of.get(remote).copied() else { return false };
        let answered = self.paths.get(index).is_some_and(|path| path.heard.is_some());
        answered || self.conns.values().any(|conn| conn.path == index && !conn.incoming)
    }

    // Inputs.

    /// The owner sends to `remote` over other tunnels, to another lease or in a new session, since
    /// the old way failed: what was learned about it is forgotten, and what is missing is asked for
    /// at once. A change of a way that works need not be told; the window adapts.
    pub fn handle_rerouted(&mut self, now: Instant, remote: &Hash) {
        let Some(index) = self.path_of.get(remote).copied() else { return };
        let Some(path) = self.paths.get_mut(index) else { return };
        let patience = path.rtt.timeout().clamp(MIN_PATIENCE, MAX_PATIENCE);
        path.rerouted();
        for id in self.streams_of(index) {
            self.with(now, id, |conn, cx| conn.rerouted(cx.now, patience));
        }
    }

    /// The owner has found that there is no way to `remote`: streams that are not connected fail.
    pub fn handle_unreachable(&mut self, now: Instant, remote: &Hash) {
        let Some(index) = self.path_of.get(remote).copied() else { return };
        for id in self.streams_of(index) {
            self.with(now, id, |conn, cx| {
                if !conn.is_established() {
                    conn.fail(cx, StreamError::Unreachable);
                }
            });
        }
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Stream(id) => {
                    if let Some(conn) = self.conns.get_mut(&id) {
                        conn.timer = None;
                    }
                    self.with(now, id, |conn, cx| conn.handle_timeout(cx));
                }
                Timer::Path(index) => {
                    if let Some(path) = self.paths.get_mut(index) {
                        path.timer = None;
                    }
                    self.wake(index);
                }
            }
        }
        self.forget_graves(now);
    }

    // Outputs.

    /// What happened, in order.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Appends the next packet that may go now to `out`.
    #[must_use]
    pub fn poll_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<OutPacket> {
        if let Some((packet, bytes)) = self.control.pop_front() {
            out.extend_from_slice(&bytes);
            self.stats.packets_out += 1;
            return Some(packet);
        }
        while let Some(id) = self.ready.pop_front() {
            let limits = self.limits();
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            conn.queued = false;
            let Some(path) = self.paths.get_mut(conn.path) else { continue };
            let events = &mut self.events;
            let mut cx = Context { now, local: &self.local, limits, path, events };
            match conn.poll(&mut cx, out) {
                Polled::Packet(kind) => {
                    let packet = OutPacket {
                        to: path.remote,
                        from_port: conn.local_port,
                        to_port: conn.remote_port,
                        stream: Some(id),
                        kind,
                        first: kind.is_syn() && !conn.is_established(),
                    };
                    let index = conn.path;
                    self.count(kind);
                    self.after(now, id);
                    self.wake(index);
                    return Some(packet);
                }
                Polled::Waits(gate) => {
                    if !conn.waiting {
                        conn.waiting = true;
                        path.waiting.push_back(id);
                    }
                    if let Gate::Until(at) = gate
                        && path.timer.is_none_or(|timer| at < timer)
                    {
                        let timer = Timer::Path(conn.path);
                        if let Some(old) = path.timer.replace(at) {
                            self.timers.remove(&(old, timer));
                        }
                        self.timers.insert((at, timer));
                    }
                }
                Polled::Nothing => {}
            }
        }
        None
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    // Helpers.

    fn limits(&self) -> Limits {
        let config = &self.local.config;
        let left = config.memory.saturating_sub(self.memory);
        if left >= config.memory / 4 {
            let StreamingConfig { receive_buffer, send_buffer, unsent_buffer, .. } = *config;
            let hard = recv::HARD_LIMIT.max(receive_buffer * 2);
            Limits { receive: receive_buffer, hard, send: send_buffer, unsent: unsent_buffer }
        } else {
            // Whoever reads goes on, if slowly.
            let hard = if left == 0 { LEAST_BUFFER } else { SCARCE_BUFFER * 2 };
            // Who holds nothing may always write a little: nothing would tell them later that they may.
            let send = SCARCE_BUFFER.min(left).max(LEAST_BUFFER);
            Limits { receive: SCARCE_BUFFER, hard, send, unsent: send }
        }
    }

    /// Calls `f` with a stream and does what follows from it.
    fn with<R>(
        &mut self,
        now: Instant,
        id: StreamId,
        f: impl FnOnce(&mut Conn, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let limits = self.limits();
        let conn = self.conns.get_mut(&id)?;
        let path = self.paths.get_mut(conn.path)?;
        let events = &mut self.events;
        let mut cx = Context { now, local: &self.local, limits, path, events };
        let result = f(conn, &mut cx);
        let index = conn.path;
        self.after(now, id);
        self.wake(index);
        Some(result)
    }

    /// Accounts for a stream that was called, queues it, arms its timer, or buries it.
    fn after(&mut self, now: Instant, id: StreamId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let bytes = conn.bytes();
        self.memory = self.memory.saturating_sub(conn.accounted) + bytes;
        conn.accounted = bytes;
        if conn.is_done() {
            self.bury(now, id);
            return;
        }
        let deadline = conn.deadline(&self.local);
        if let Some(at) = deadline
            && conn.timer.is_none_or(|timer| at < timer)
        {
            let at = at.max(now + MIN_TIMER);
            if let Some(old) = conn.timer.replace(at) {
                self.timers.remove(&(old, Timer::Stream(id)));
            }
            self.timers.insert((at, Timer::Stream(id)));
        }
        self.enqueue(id);
    }

    /// Queues a stream to be polled if it has something to send.
    fn enqueue(&mut self, id: StreamId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let wanted = match conn.wants() {
            Next::Idle => false,
            // It waits for its path, which will wake it.
            Next::Gated => !conn.waiting,
            Next::Free => true,
        };
        if wanted && !conn.queued {
            conn.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Lets one of the streams that wait for a path try again, if that has room: it wakes the next
    /// when it has sent.
    fn wake(&mut self, index: usize) {
        let Some(path) = self.paths.get_mut(index) else { return };
        if path.held || path.congestion.flying() >= path.congestion.window() {
            return;
        }
        while let Some(id) = path.waiting.pop_front() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            conn.waiting = false;
            if conn.wants() != Next::Idle {
                if !conn.queued {
                    conn.queued = true;
                    self.ready.push_back(id);
                }
                return;
            }
        }
    }

    fn bury(&mut self, now: Instant, id: StreamId) {
        let Some(mut conn) = self.conns.remove(&id) else { return };
        self.memory = self.memory.saturating_sub(conn.accounted);
        if let Some(at) = conn.timer {
            self.timers.remove(&(at, Timer::Stream(id)));
        }
        if !conn.proven {
            self.backlog.remove(id);
        }
        if conn.queued {
            self.ready.retain(|other| *other != id);
        }
        let limits = self.limits();
        let Some(path) = self.paths.get_mut(conn.path) else { return };
        path.streams = path.streams.saturating_sub(1);
        if conn.waiting {
            path.waiting.retain(|other| *other != id);
        }
        let remote = path.remote;
        let ports = (conn.local_port, conn.remote_port);
        let events = &mut self.events;
        let cx = Context { now, local: &self.local, limits, path, events };
        if let Some(bytes) = conn.last_ack(&cx) {
            self.control(remote, ports, Some(id), PacketKind::Ack, bytes);
        }
        if conn.was_never_answered() {
            // The peer may try again, and floods leave nothing behind.
            self.names.remove(&(conn.remote_id, remote));
            self.forget_paths();
            return;
        }
        let grave = Grave {
            remote,
            remote_id: conn.remote_id,
            ports,
            received: conn.receiver.in_order(),
            next_sequence: conn.sender.next_sequence(),
            reset: conn.was_reset(),
            incoming: conn.incoming,
        };
        self.graves.bury(now, id, grave);
        self.forget_graves(now);
        self.forget_paths();
    }

    fn forget_graves(&mut self, now: Instant) {
        while let Some(grave) = self.graves.forget_one(now) {
            if grave.incoming {
                self.names.remove(&(grave.remote_id, grave.remote));
            }
        }
    }

    /// Forgets the path that was not used for longest, if too many are not in use.
    fn forget_paths(&mut self) {
        if self.paths.len() <= self.conns.len() + MAX_IDLE_PATHS {
            return;
        }
        let idle = self.paths.iter().filter(|(_, path)| path.streams == 0);
        let Some((index, _)) = idle.min_by_key(|(_, path)| path.used) else { return };
        if let Some(path) = self.paths.try_remove(index) {
            self.path_of.remove(&path.remote);
            if let Some(at) = path.timer {
                self.timers.remove(&(at, Timer::Path(index)));
            }
        }
    }

    /// The path to `remote`, for one more stream.
    fn path_for(&mut self, now: Instant, remote: Hash) -> usize {
        if let Some(index) = self.path_of.get(&remote).copied() {
            let path = self
                .paths
                .get_mut(index)
                .filter(|path| path.streams == 0 && now.saturating_since(path.used) >= PATH_MEMORY);
            if let Some(path) = path {
                let held = path.held;
                *path = Path::new(now, remote);
                path.held = held;
            }
            return index;
        }
        let index = self.paths.insert(Path::new(now, remote));
        self.path_of.insert(remote, index);
        index
    }

    fn streams_of(&self, path: usize) -> Vec<StreamId> {
        self.conns.values().filter(|conn| conn.path == path).map(|conn| conn.id).collect()
    }

    fn fresh_id(&mut self) -> StreamId {
        loop {
            let id = StreamId(self.rng.nonzero_u32());
            if !self.conns.contains_key(&id) && self.graves.get(id).is_none() {
                return id;
            }
        }
    }

    /// Queues a packet that is no stream's to time.
    fn control(
        &mut self,
        to: Hash,
        (from_port, to_port): (u16, u16),
        stream: Option<StreamId>,
        kind: PacketKind,
        bytes: Vec<u8>,
    ) {
        if self.control.len() < MAX_CONTROL {
            let packet = OutPacket { to, from_port, to_port, stream, kind, first: false };
            self.control.push_back((packet, bytes));
        }
    }

    /// Tells a peer that a stream does not exist, now and then.
    fn refuse(
        &mut self,
        now: Instant,
        to: Hash,
        ports: (u16, u16),
        send_stream: u32,
        receive_stream: u32,
        sequence: u32,
    ) {
        if !self.courtesy.allows(now) {
            return;
        }
        let mut bytes = Vec::new();
        Outgoing {
            send_stream,
            receive_stream,
            sequence,
            flags: Flags::RESET.with(Flags::NO_ACK),
            from: Some(&self.local.identity),
            sign: Some(&self.local.key),
            ..Outgoing::default()
        }
        .encode(&mut bytes);
        self.control(to, ports, None, PacketKind::Reset, bytes);
    }

    const fn count(&mut self, kind: PacketKind) {
        self.stats.packets_out += 1;
        match kind {
            PacketKind::SynAgain | PacketKind::DataAgain => self.stats.again_out += 1,
            PacketKind::Ack => self.stats.acks_out += 1,
            PacketKind::Syn | PacketKind::Data | PacketKind::Reset | PacketKind::Echo => {}
        }
    }
}
