//! One SSU2 session after its handshake: the data phase.

mod event;
mod flight;
mod frame;
mod incoming;
mod outgoing;
mod reassembly;
mod received;
mod recent;
mod route;

pub use event::{SessionError, SessionEvent, Stats};

use super::super::queue::{Full, Priority, SendQueue};
use super::keys::DataKeys;
use crate::audit::{Audit, Bound};
use crate::crypto::Key32;
use crate::crypto::aead::TAG_LEN;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry};
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::{
    BLOCK_HEADER_LEN, ConnectionId, Family, MIN_MTU, PacketType, Reason, SHORT_HEADER_LEN,
};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;
use flight::Flight;
use frame::{Frame, Part};
use incoming::Blocked;
use log::{debug, trace};
use reassembly::Reassembly;
use received::Received;
use recent::Recent;
use route::Route;

/// A session that neither sends nor receives anything but acknowledgements ends after this long, give or
/// take [`IDLE_JITTER`].
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// See [`IDLE_TIMEOUT`].
pub const IDLE_JITTER: Duration = Duration::from_secs(5);
/// Events that wait to be polled; messages beyond are dropped.
pub const MAX_EVENTS: usize = 1024;

/// Bytes that data packets leave for acknowledgements, and the pairs of ranges that these may then have.
const ACK_ROOM: usize = BLOCK_HEADER_LEN + 5 + 2 * ACK_PAIRS;
const ACK_PAIRS: usize = 8;
/// As many as others write, in packets that have room.
const MAX_ACK_PAIRS: usize = 31;
/// Padding of a packet that has room for it, in bytes.
const PADDING: u64 = 32;
/// What goes before messages: one RouterInfo, one token; a newer one replaces one that waits.
const MAX_FIRST: usize = 2;
/// A message that is so much past its expiration is not sent again.
const MAX_LATE: Duration = Duration::from_secs(60);
/// Between two tries of SessionConfirmed, doubled each time, and how long in all.
const CONFIRM_AGAIN: Duration = Duration::from_millis(1000);
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long SessionConfirmed that comes again is recognised.
const CONFIRMED_MEMORY: Duration = Duration::from_secs(30);
/// Goodbyes, the time between them, and how long the peer's is waited for.
const GOODBYES: u8 = 3;
const GOODBYE_AGAIN: Duration = Duration::from_millis(500);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);
/// After large packets did not arrive they are tried again: the path may be another one.
const LARGE_AGAIN: Duration = Duration::from_secs(300);
/// Frames of a packet at most.
const MAX_FRAMES: usize = 64;

/// Which side of the handshake we were.
pub enum Role {
    /// Alice. SessionConfirmed, in one packet or several, has not been sent yet.
    Initiator(Vec<Vec<u8>>),
    /// Bob. The key that hides the second half of SessionConfirmed's header: it may come again.
    Responder(Key32),
}

/// What a handshake comes to.
pub struct Opening {
    /// The id that the peer sends to, and ours to it.
    pub ours: ConnectionId,
    /// See `ours`.
    pub theirs: ConnectionId,
    /// The keys.
    pub keys: DataKeys,
    /// The peer's intro key, `i` of its address.
    pub intro: Key32,
    /// Where the peer is.
    pub remote: SocketAddr,
    /// The largest packets that both take, in bytes with IP and UDP headers.
    pub mtu: u16,
    /// The round trip, if the handshake measured it.
    pub rtt: Option<Duration>,
    /// Our side.
    pub role: Role,
}

/// The data phase of a session.
///
/// After each `handle_*` or verb: [`Self::poll_event`] until `None`, [`Self::poll_transmit`] until `None`, then
/// [`Self::poll_timeout`]. A session ends with [`SessionEvent::Closed`]; its owner keeps it until
/// [`Self::is_closed`], to say goodbye.
pub struct Session {
    rng: Rng,
    ours: ConnectionId,
    theirs: ConnectionId,
    keys: DataKeys,
    intro: Key32,
    route: Route,
    mtu: u16,
    /// What `mtu` was at first, and since when it is less.
    largest: u16,
    shrunk: Option<Instant>,
    received: Received,
    flight: Flight,
    queue: SendQueue,
    /// What goes before messages.
    first: VecDeque<Frame>,
    /// What is left of a message that goes in parts.
    parts: VecDeque<Part>,
    reassembly: Reassembly,
    recent: Recent,
    events: VecDeque<SessionEvent>,
    state: State,
    /// When a packet that waits may go.
    paced: Option<Instant>,
    idle: Duration,
    active: Instant,
    stats: Stats,
}

enum State {
    /// SessionConfirmed may have to go again: nothing of the peer came since.
    Confirming(Box<Confirming>),
    /// Bob's side, while SessionConfirmed may come again.
    Confirmed {
        header: Key32,
        until: Instant,
    },
    Open,
    /// Saying goodbye.
    Closing {
        reason: Reason,
        left: u8,
        next: Instant,
        until: Instant,
    },
    Closed,
}

struct Confirming {
    datagrams: Vec<Vec<u8>>,
    /// The next one to go.
    at: usize,
    next: Instant,
    again: Duration,
    until: Instant,
}

impl Session {
    /// The handshake is done.
    #[must_use]
    pub fn new(now: Instant, opening: Opening, mut rng: Rng) -> Self {
        let Opening { ours, theirs, keys, intro, remote, mtu, rtt, role } = opening;
        let jitter = Duration::from_millis(rng.below(2 * IDLE_JITTER.as_millis() as u64 + 1));
        let mut received = Received::new();
        // SessionConfirmed is packet 0 of Alice.
        let (state, first) = match role {
            Role::Initiator(datagrams) => {
                let (next, again, until) = (now, CONFIRM_AGAIN, now + CONFIRM_TIMEOUT);
                (
                    State::Confirming(Box::new(Confirming {
                        datagrams,
                        at: 0,
                        next,
                        again,
                        until,
                    })),
                    1,
                )
            }
            Role::Responder(header) => {
                received.note(0);
                // Others take the session for established only then.
                received.ack_now(now);
                (State::Confirmed { header, until: now + CONFIRMED_MEMORY }, 0)
            }
        };
        let mut flight = Flight::new(now, first);
        if let Some(rtt) = rtt {
            flight.sample(now, rtt);
        }
        let mut queue = SendQueue::default();
        queue.set_ready(now);
        Self {
            rng,
            ours,
            theirs,
            keys,
            intro,
            route: Route::new(remote),
            mtu: mtu.max(MIN_MTU),
            largest: mtu.max(MIN_MTU),
            shrunk: None,
            received,
            flight,
            queue,
            first: VecDeque::new(),
            parts: VecDeque::new(),
            reassembly: Reassembly::default(),
            recent: Recent::default(),
            events: VecDeque::new(),
            state,
            paced: None,
            idle: IDLE_TIMEOUT - IDLE_JITTER + jitter,
            active: now,
            stats: Stats::default(),
        }
    }

    /// What waited for the end of the handshake. Its age counts from now on.
    pub(super) fn adopt(&mut self, now: Instant, mut queue: SendQueue) {
        queue.set_ready(now);
        self.queue = queue;
    }

    /// The blocks that followed the RouterInfo in SessionConfirmed.
    pub(super) fn handle_confirmed(&mut self, now: Instant, unix: UnixTime, blocks: &[u8]) {
        let from = self.route.remote();
        if let Err(error) = self.handle_blocks(now, unix, from, blocks) {
            self.end(now, error);
        }
    }

    /// Ends a session that its owner never heard of.
    pub(super) fn refuse(&mut self, now: Instant, reason: Reason) {
        self.say_goodbye(now, reason, 1);
    }

    /// The id in the headers of packets to us.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.ours
    }

    /// Where packets go.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        self.route.remote()
    }

    /// The smoothed round trip.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.flight.rtt()
    }

    /// True until it ends.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Confirming(_) | State::Confirmed { .. } | State::Open)
    }

    /// True when nothing is left to be said.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Messages and bytes that wait to be sent.
    #[must_use]
    pub const fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    /// Bytes of messages that are not whole.
    #[must_use]
    pub const fn reassembly_bytes(&self) -> usize {
        self.reassembly.bytes()
    }

    /// Drops the messages that are not whole.
    pub(super) fn forget_parts(&mut self) {
        self.reassembly.clear();
    }

    /// Packets of the peer that were new and authentic.
    #[must_use]
    pub const fn heard(&self) -> u64 {
        let Stats { packets_in, forged, repeated, .. } = self.stats;
        packets_in.saturating_sub(forged).saturating_sub(repeated)
    }

    /// What it did so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        let (lost, spurious) = self.flight.losses();
        let dropped = self.stats.dropped + self.queue.dropped() + self.reassembly.dropped();
        Stats { lost, spurious, dropped, ..self.stats }
    }

    /// What is held, and what may be.
    pub fn audit(&self, see: &mut dyn FnMut(Bound)) {
        let audit = &mut Audit(see);
        self.queue.audit(audit);
        self.flight.audit(audit);
        self.reassembly.audit(audit);
        audit.see("ssu2: messages seen", self.recent.len(), recent::CAPACITY);
        audit.see("ssu2: answers", self.route.answers(), route::MAX_ANSWERS);
        audit.see("ssu2: what goes first", self.first.len(), MAX_FIRST);
        audit.see("ssu2: events", self.events.len(), MAX_EVENTS + 1);
    }

    /// A datagram arrived whose [destination](crate::wire::ssu2::protect::destination) is [`Self::id`]. It is opened in place. What does
    /// not authenticate changes nothing but a counter.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        packet: &mut [u8],
    ) {
        let packet_len = packet.len();
        self.stats.packets_in += 1;
        self.stats.bytes_in += packet_len as u64;
        if self.is_closed() {
            return;
        }
        let Some((number, immediate)) = self.open(now, packet) else { return };
        let sealed = packet.len() - TAG_LEN;
        let Some(payload) = packet.get(SHORT_HEADER_LEN..sealed) else { return };
        let in_turn = self.received.note(number);
        if !self.is_open() {
            return self.handle_late(now, payload);
        }
        if matches!(self.state, State::Confirming(_)) {
            self.state = State::Open;
        }
        if self.received.newest() == Some(number) {
            self.route.handle_source(now, from, packet_len, &mut self.rng);
        }
        match self.handle_blocks(now, unix, from, payload) {
            Ok(Blocked { elicits, soon, .. }) => {
                if elicits {
                    self.active = now;
                    let soon = soon || immediate || !in_turn;
                    self.received.wants_ack(now, soon, self.flight.rtt());
                }
            }
            Err(error) => self.end(now, error),
        }
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Confirming(confirming) if now >= confirming.until => {
                return self.end(now, SessionError::Silent);
            }
            State::Confirmed { until, .. } if now >= *until => self.state = State::Open,
            State::Closing { until, .. } => {
                if now >= *until {
                    self.state = State::Closed;
                }
                return;
            }
            State::Closed => return,
            State::Confirming(_) | State::Confirmed { .. } | State::Open => {}
        }
        if self.flight.deadline().is_some_and(|at| at <= now) && !self.flight.handle_timeout(now) {
            return self.end(now, SessionError::Silent);
        }
        if self.mtu > MIN_MTU && self.flight.swallows_large(now) {
            debug!("ssu2: large packets do not arrive");
            self.mtu = MIN_MTU;
            self.shrunk = Some(now);
        }
        self.reassembly.handle_timeout(now);
        if now >= self.active + self.idle {
            self.close(now, Reason::Idle);
        }
    }

    /// Queues a message. When the queue is full the oldest message of the lowest priority is dropped.
    pub fn queue(
        &mut self,
        now: Instant,
        message: Message,
        priority: Priority,
    ) -> Result<(), Full> {
        if !self.is_open() {
            return Err(Full::Closed);
        }
        self.queue.push(now, message, priority)
    }

    /// Sends our RouterInfo ahead of all messages. `flood`: the peer is a floodfill and asked to flood it.
    pub fn send_router_info(
        &mut self,
        now: Instant,
        unix: UnixTime,
        info: &RouterInfo,
        flood: bool,
    ) {
        let room = self.payload(MIN_MTU).saturating_sub(ACK_ROOM + BLOCK_HEADER_LEN + 2);
        if info.as_bytes().len() <= room {
            self.put_first(Frame::RouterInfo(info.clone(), flood));
        } else if self.is_open() {
            // The block cannot be cut, a message can.
            let entry = StoreEntry::RouterInfo(info.clone());
            let mut body = Vec::new();
            DatabaseStore { reply: None, entry }.encode(&mut body);
            let (kind, id) = (MessageType::DATABASE_STORE, self.rng.u32());
            let expires = unix + Duration::from_secs(60);
            let message = Message { kind, id, expires, body };
            if let Err(full) = self.queue.push(now, message, Priority::Control) {
                trace!("ssu2: RouterInfo not queued: {full}");
            }
        }
    }

    /// Gives the peer a token for its next session, good until `expires` (seconds since the epoch).
    pub fn send_token(&mut self, token: u64, expires: u32) {
        self.put_first(Frame::NewToken(token, expires));
    }

    /// Ends the session; what waits is dropped, the peer is told `reason`.
    pub fn close(&mut self, now: Instant, reason: Reason) {
        if self.is_open() {
            self.events.push_back(SessionEvent::Closed(Ok(reason)));
            self.say_goodbye(now, reason, GOODBYES);
        }
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Appends the next datagram to `out` and says where it goes.
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let start = out.len();
        let to = self.transmit(now, unix, out)?;
        self.stats.packets_out += 1;
        self.stats.bytes_out += (out.len() - start) as u64;
        Some(to)
    }

    /// When to call [`Self::handle_timeout`] at the latest, and then [`Self::poll_transmit`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Confirming(confirming) => Some(confirming.next.min(confirming.until)),
            State::Confirmed { until, .. } => Some(*until),
            State::Open => None,
            State::Closing { left, next, until, .. } => {
                return Some(if *left > 0 { *next } else { *until });
            }
            State::Closed => return None,
        };
        let parts = [
            Some(self.active + self.idle),
            self.received.ack_at(),
            self.flight.deadline(),
            self.paced,
            self.route.deadline(),
            self.reassembly.deadline(),
        ];
        parts.into_iter().fold(state, earliest)
    }

    fn tell(&mut self, event: SessionEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    fn put_first(&mut self, frame: Frame) {
        if !self.is_open() {
            return;
        }
        self.first.retain(|old| mem::discriminant(old) != mem::discriminant(&frame));
        self.first.push_back(frame);
    }

    /// It ends otherwise than we want.
    fn end(&mut self, now: Instant, error: SessionError) {
        if !self.is_open() {
            return;
        }
        self.events.push_back(SessionEvent::Closed(Err(error)));
        match error.reason() {
            Some(reason) => self.say_goodbye(now, reason, 1),
            None => self.state = State::Closed,
        }
    }

    fn say_goodbye(&mut self, now: Instant, reason: Reason, goodbyes: u8) {
        let until = now + GOODBYE_TIMEOUT;
        self.state = State::Closing { reason, left: goodbyes, next: now, until };
        self.flight.clear();
        self.queue.clear();
        self.first.clear();
        self.parts.clear();
        self.reassembly.clear();
        self.paced = None;
    }

    const fn family(&self) -> Family {
        Family::of(self.route.remote().ip())
    }

    /// Bytes of the longest payload.
    const fn payload(&self, mtu: u16) -> usize {
        PacketType::Data.max_payload(mtu, self.family())
    }
}

#[cfg(test)]
mod tests;
