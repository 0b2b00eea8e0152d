//! One SSU2 session after its handshake: the data phase.

mod event;
mod flight;
mod frame;
mod reassembly;
mod received;
mod recent;
mod route;

pub use event::{SessionError, SessionEvent, Stats};

use super::super::queue::{Full, Priority, SendQueue};
use super::keys::DataKeys;
use crate::audit::{Audit, Bound};
use crate::crypto::Key32;
use crate::crypto::aead::{self, TAG_LEN};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry};
use crate::wire::router_info::{MAX_ROUTER_INFO_LEN, RouterInfo};
use crate::wire::ssu2::{
    BLOCK_HEADER_LEN, Block, Blocks, ConnectionId, Family, Header, MIN_MTU, PacketType, Reason,
    SHORT_HEADER_LEN, ShortHeader, ShortKind, Writer, protect,
};
use crate::wire::{codec::DecodeError, gzip};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;
use flight::Flight;
use frame::{Frame, Part};
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
/// Large packets lost in a row, or silences, after which the path is taken for one of [`MIN_MTU`].
const BLACK_HOLE: u32 = 8;
const BLACK_HOLE_SILENCES: u32 = 2;

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

    /// A datagram arrived whose [destination](protect::destination) is [`Self::id`]. It is opened in place. What does
    /// not authenticate changes nothing but a counter.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        packet: &mut [u8],
    ) {
        self.stats.packets_in += 1;
        self.stats.bytes_in += packet.len() as u64;
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
        if self.received.ranges().next().is_some_and(|newest| *newest.end() == number) {
            self.route.handle_source(now, from, &mut self.rng);
        }
        match self.handle_blocks(now, unix, from, payload) {
            Ok(Blocked { elicits, soon }) => {
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
        let dark =
            self.flight.large_lost() >= BLACK_HOLE || self.flight.silences() >= BLACK_HOLE_SILENCES;
        if dark && self.mtu > MIN_MTU {
            debug!("ssu2: large packets do not arrive");
            self.mtu = MIN_MTU;
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

    fn transmit(&mut self, now: Instant, unix: UnixTime, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let remote = self.route.remote();
        match &mut self.state {
            State::Confirming(confirming) if now >= confirming.next => {
                let datagram = confirming.datagrams.get(confirming.at)?;
                out.extend_from_slice(datagram);
                confirming.at += 1;
                if confirming.at == confirming.datagrams.len() {
                    confirming.at = 0;
                    confirming.next = now + confirming.again;
                    confirming.again *= 2;
                }
                return Some(remote);
            }
            State::Closing { reason, left, next, .. } => {
                if *left == 0 || now < *next {
                    return None;
                }
                *left -= 1;
                *next = now + GOODBYE_AGAIN;
                let (packets, reason) = (self.received.packets(), *reason);
                self.write(now, out, |writer| {
                    let _fits = writer.put(&Block::Termination { packets, reason });
                })?;
                return Some(remote);
            }
            State::Closed => return None,
            State::Confirming(_) | State::Confirmed { .. } | State::Open => {}
        }
        if let Some((to, data)) = self.route.answer() {
            self.write(now, out, |writer| {
                let _fits = writer.put(&Block::PathResponse(&data));
            })?;
            return Some(to);
        }
        if let Some((to, challenge)) = self.route.challenge(now) {
            self.write(now, out, |writer| {
                let _fits = writer.put(&Block::PathChallenge(&challenge));
            })?;
            return Some(to);
        }
        if self.transmit_data(now, unix, out) {
            return Some(remote);
        }
        if self.is_open() && self.received.ack_at().is_some_and(|at| at <= now) {
            let ranges: Vec<_> = self.received.ranges().collect();
            self.received.acked();
            self.write(now, out, |writer| {
                let _fits = writer.ack(ranges, MAX_ACK_PAIRS);
            })?;
            return Some(remote);
        }
        None
    }

    /// Appends a packet with what has to arrive, if there is something and it may go.
    fn transmit_data(&mut self, now: Instant, unix: UnixTime, out: &mut Vec<u8>) -> bool {
        self.paced = None;
        if !self.has_data(now, unix) {
            return false;
        }
        match self.flight.gate(now) {
            Some(at) if at <= now => {}
            later => {
                self.paced = later;
                return false;
            }
        }
        let Some((start, number)) = self.begin(now, out) else { return false };
        let payload = out.len();
        let limit = self.payload(self.mtu);
        let mut frames = Vec::new();
        let mut writer = Writer::new(out, limit);
        if self.received.ack_at().is_some() {
            let _fits = writer.ack(self.received.ranges(), ACK_PAIRS);
            self.received.acked();
        }
        while let Some(frame) = self.next_frame(now, unix, &mut writer) {
            frames.push(frame);
        }
        let sent = frames.len() as u64;
        let large = out.len() - start + TAG_LEN > self.family().packet_len(MIN_MTU);
        self.active = now;
        self.flight.note(now, frames, large);
        self.stats.messages_out += sent;
        self.finish(start, payload, limit, number, out);
        true
    }

    /// Whether something waits that has to arrive. Drops what is too old.
    fn has_data(&mut self, now: Instant, unix: UnixTime) -> bool {
        while self
            .flight
            .again()
            .is_some_and(|f| f.expires().is_some_and(|at| at + MAX_LATE < unix))
        {
            let _late = self.flight.take_again();
            self.stats.dropped += 1;
        }
        self.flight.has_again()
            || !self.first.is_empty()
            || !self.parts.is_empty()
            || self.queue.peek_len(now, unix).is_some()
    }

    /// Writes the next thing that fits, and gives it out.
    fn next_frame(
        &mut self,
        now: Instant,
        unix: UnixTime,
        writer: &mut Writer<'_>,
    ) -> Option<Frame> {
        let whole = self.payload(self.mtu) - ACK_ROOM;
        while let Some(frame) = self.flight.again() {
            if frame.put(writer).is_ok() {
                return self.flight.take_again();
            }
            // What was cut for longer packets than there may be now is lost with its message.
            let hopeless = writer.room() >= whole;
            if !hopeless {
                return None;
            }
            let _too_long = self.flight.take_again();
            self.stats.dropped += 1;
        }
        if let Some(frame) = self.first.front() {
            frame.put(writer).ok()?;
            return self.first.pop_front();
        }
        loop {
            if let Some(part) = self.parts.front() {
                let frame = Frame::Part(part.clone());
                match frame.put(writer) {
                    Ok(()) => {
                        self.parts.pop_front();
                        return Some(frame);
                    }
                    Err(_) if writer.room() >= whole => {
                        self.parts.clear();
                        self.stats.dropped += 1;
                    }
                    Err(_) => return None,
                }
            }
            let len = self.queue.peek_len(now, unix)?;
            if len <= whole && len > writer.room() {
                return None;
            }
            let message = self.queue.pop()?;
            if len <= whole {
                let frame = Frame::Message(message);
                return frame.put(writer).ok().map(|()| frame);
            }
            self.parts = Part::cut(&message, whole).into();
            if self.parts.is_empty() {
                self.stats.dropped += 1;
            }
        }
    }

    /// Appends a packet of one block that nobody waits for.
    fn write(
        &mut self,
        now: Instant,
        out: &mut Vec<u8>,
        blocks: impl FnOnce(&mut Writer<'_>),
    ) -> Option<()> {
        let (start, number) = self.begin(now, out)?;
        let payload = out.len();
        let limit = self.payload(MIN_MTU);
        blocks(&mut Writer::new(out, limit));
        self.flight.note(now, Vec::new(), false);
        self.finish(start, payload, limit, number, out);
        Some(())
    }

    /// Appends the header of the next packet; says where it starts, and its number.
    fn begin(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<(usize, u32)> {
        let number = self.flight.next_number();
        if number == u32::MAX {
            // A nonce is never used twice.
            self.end(now, SessionError::Numbers);
            self.state = State::Closed;
            return None;
        }
        let start = out.len();
        let kind = ShortKind::Data { immediate_ack: false };
        ShortHeader { destination: self.theirs, number, kind }.encode(out);
        Some((start, number))
    }

    /// Pads, seals and protects what was appended since `start`.
    fn finish(
        &mut self,
        start: usize,
        payload: usize,
        limit: usize,
        number: u32,
        out: &mut Vec<u8>,
    ) {
        let len = out.len() - payload;
        let padding = self.rng.below(PADDING) as usize;
        if len + BLOCK_HEADER_LEN + padding <= limit {
            let mut block = Vec::new();
            let _fits = Writer::new(&mut block, limit - len).put(&Block::Padding(padding as u16));
            out.append(&mut block);
        }
        let Some((header, text)) =
            out.get_mut(start..).and_then(|p| p.split_at_mut_checked(SHORT_HEADER_LEN))
        else {
            return;
        };
        let tag = aead::seal(&self.keys.send.data, number.into(), header, text);
        out.extend_from_slice(&tag);
        if let Some(packet) = out.get_mut(start..) {
            // It is long enough: the padding or what it has no room beside.
            let _protected = protect::protect(packet, &self.intro, &self.keys.send.header);
        }
    }

    /// Removes the protection of a packet and opens it; gives its number, and whether it asks for an
    /// acknowledgement.
    fn open(&mut self, now: Instant, packet: &mut [u8]) -> Option<(u32, bool)> {
        let header = protect::unprotect(packet, self.ours, &self.keys.receive.header);
        let Ok(Header::Short(ShortHeader {
            number, kind: ShortKind::Data { immediate_ack }, ..
        })) = header
        else {
            self.handle_other(now, packet, header);
            return None;
        };
        if self.received.is_known(number) {
            self.stats.repeated += 1;
            return None;
        }
        let (header, sealed) = packet.split_at_mut_checked(SHORT_HEADER_LEN)?;
        if aead::open(&self.keys.receive.data, number.into(), header, sealed).is_err() {
            self.stats.forged += 1;
            return None;
        }
        Some((number, immediate_ack))
    }

    /// A packet that is none of the data phase. SessionConfirmed that comes again says that our acknowledgement
    /// was lost; whoever forges that gets a packet now and then, to where the peer is.
    fn handle_other(&mut self, now: Instant, packet: &[u8], header: Result<Header, DecodeError>) {
        let again = match &self.state {
            State::Confirmed { header, .. } => {
                let kind = protect::peek(packet, self.ours, header).map(|h| h.packet_type());
                kind == Ok(PacketType::SessionConfirmed)
            }
            State::Confirming(_) | State::Open | State::Closing { .. } | State::Closed => false,
        };
        if again {
            self.stats.repeated += 1;
            self.received.wants_ack(now, true, None);
        } else {
            trace!("ssu2: not a data packet: {header:?}");
            self.stats.forged += 1;
        }
    }

    /// All blocks of a packet.
    fn handle_blocks(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        payload: &[u8],
    ) -> Result<Blocked, SessionError> {
        let mut blocked = Blocked::default();
        for block in Blocks::new(payload) {
            let block = block.map_err(|error| {
                debug!("ssu2: block: {error}");
                SessionError::Payload
            })?;
            blocked.elicits |= block.elicits_ack();
            match block {
                Block::Message(bytes) => self.handle_message(now, bytes),
                Block::FirstFragment { message, bytes } => {
                    self.handle_part(now, message, 0, false, bytes);
                }
                Block::FollowOn { number, last, message, bytes } => {
                    self.handle_part(now, message, number, last, bytes);
                }
                Block::Ack(ack) => {
                    let news = self.flight.handle_ack(now, &ack).map_err(|_| SessionError::Ack)?;
                    if news {
                        self.active = now;
                    }
                }
                Block::RouterInfo { flood, gzip, bytes } => {
                    self.handle_router_info(flood, gzip, bytes);
                }
                Block::DateTime(seconds) => {
                    let skew = i64::from(seconds) - i64::from(unix.as_secs_rounded());
                    self.tell(SessionEvent::Skew(skew));
                }
                Block::Address(address) => self.tell(SessionEvent::Address(address)),
                Block::NewToken { expires, token } => {
                    self.tell(SessionEvent::NewToken { token, expires });
                }
                Block::PathChallenge(data) => self.route.handle_challenge(from, data),
                Block::PathResponse(data) => {
                    if self.route.handle_response(from, data) {
                        self.flight.moved(now);
                        self.mtu = MIN_MTU;
                        self.tell(SessionEvent::Moved(from));
                    }
                }
                Block::Termination { reason, .. } => return Err(SessionError::Terminated(reason)),
                Block::Congestion { immediate_ack, .. } => blocked.soon |= immediate_ack,
                // Introductions and peer tests go over the owner's head for now.
                _ => {}
            }
        }
        Ok(blocked)
    }

    fn handle_part(&mut self, now: Instant, message: u32, number: u8, last: bool, bytes: &[u8]) {
        if let Some(whole) = self.reassembly.handle(now, message, number, last, bytes) {
            self.handle_message(now, &whole);
        }
    }

    fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let Ok(message) = Message::decode_short(bytes) else {
            self.stats.malformed += 1;
            return;
        };
        if self.recent.is_new(now, message.id) {
            self.stats.messages_in += 1;
            self.tell(SessionEvent::Message(message));
        } else {
            self.stats.repeated_messages += 1;
        }
    }

    fn handle_router_info(&mut self, flood: bool, gzipped: bool, bytes: &[u8]) {
        let decoded = if gzipped {
            gzip::gunzip(bytes, MAX_ROUTER_INFO_LEN).and_then(|bytes| RouterInfo::decode(&bytes))
        } else {
            RouterInfo::decode(bytes)
        };
        match decoded {
            Ok(info) => self.tell(SessionEvent::RouterInfo { info, flood }),
            Err(_) => self.stats.malformed += 1,
        }
    }

    /// A packet came while we say goodbye. Only the peer's own goodbye matters.
    fn handle_late(&mut self, now: Instant, payload: &[u8]) {
        let ends = |b: Result<Block<'_>, _>| matches!(b, Ok(Block::Termination { .. }));
        let State::Closing { reason, left, next, .. } = &mut self.state else { return };
        if Blocks::new(payload).any(ends) {
            if *reason == Reason::TerminationReceived {
                // It has not heard ours.
                *next = now.max(*next);
            } else {
                *left = 0;
                self.state = State::Closed;
            }
        }
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

/// What a packet's blocks ask for.
#[derive(Clone, Copy, Debug, Default)]
struct Blocked {
    elicits: bool,
    soon: bool,
}

#[cfg(test)]
mod tests;
