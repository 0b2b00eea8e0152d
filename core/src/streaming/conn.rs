//! One stream: handshake, acks, choking and close around a [`Sender`] and a [`Receiver`].

use super::path::{Gate, Path};
use super::recv::{Accepted, Receiver};
use super::send::{Chunk, Next, Sender};
use super::{Limits, Local, PacketKind, StreamError, StreamEvent, StreamId};
use crate::audit::Audit;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::codec::DecodeError;
use crate::wire::identity::Identity;
use crate::wire::offline::OfflineSignature;
use crate::wire::streaming::{Flags, MAX_DELAY, MAX_NACKS, Nacks, Options, Outgoing, Packet};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::time::Duration;

/// What we take in one packet: two tunnel messages with everything around it (specification
/// `streaming`, MTU; proposal 155).
pub(crate) const MTU: u16 = 1812;
/// What everybody takes, until the peer says.
const DEFAULT_MTU: u16 = 1730;
/// A peer that takes less is not believed.
const MIN_MTU: u16 = 512;
/// What we say when we cannot take more data. Not 61000, by which other routers recognise an
/// implementation with a small window.
const CHOKE: u16 = 60_001;
/// The delay by which that implementation is known, and what it buffers.
const SMALL_CHOKE: u16 = 61_000;
const SMALL_SPAN: u32 = 120;
/// How long the reply to a SYN waits for data to go with it.
const REPLY_DELAY: Duration = Duration::from_millis(10);
/// Packets in order that are acknowledged at once: first while the sender's window is small, then
/// when acks cost more than they speed up.
const ACK_EVERY_FIRST: u32 = 2;
const ACK_EVERY: u32 = 4;
const FIRST_PACKETS: u32 = 32;
/// How long an ack waits: an eighth of the round trip, within these. Peers derive their
/// retransmission timeout from what they see, some without any slack.
const MIN_ACK_DELAY: Duration = Duration::from_millis(2);
const MAX_ACK_DELAY: Duration = Duration::from_millis(25);
/// Acks for packets out of order, at most one in this time.
const GAP_ACK_DELAY: Duration = Duration::from_millis(1);
/// How often to say that we can take data again, and the time after the first.
const UNCHOKES: u8 = 5;
const UNCHOKE_DELAY: Duration = Duration::from_millis(200);
/// A sender that does not understand chokes is given a packet's room this often, or it gives the
/// stream up; so many times.
const OVERFLOW_INTERVAL: Duration = Duration::from_secs(10);
const OVERFLOW_LIMIT: usize = 256 * MTU as usize;
/// With data outstanding and nothing heard for this long, the peer is gone.
const DEAD_AFTER: Duration = Duration::from_secs(120);
/// A peer that closed answers nothing more, if it is one of those. Give up after so many timeouts
/// with only our CLOSE left, or so long with data left; a CLOSE that is never answered takes longer.
const LAST_ACK_TIMEOUTS: u32 = 2;
const CLOSED_SILENCE: Duration = Duration::from_secs(5);
const CLOSE_SILENCE: Duration = Duration::from_secs(30);
/// What we left may go on for so long before we say that nobody listens.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a peer may take to close what our side has left.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an incoming stream may take to show that it got our reply.
pub(crate) const UNPROVEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Packets in flight above which the last one asks for an ack at once.
const BULK: usize = 4;
/// Timeouts in a row after which the owner is told. The first of a SYN says as much, for it comes
/// late.
const STALL_TIMEOUTS: u32 = 2;
const SYN_STALL_TIMEOUTS: u32 = 1;
/// Packets that come again count once in this time, or in two round trips.
const REPEAT_INTERVAL: Duration = Duration::from_millis(40);

/// Why a packet was not used; for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ignored {
    /// It does not decode.
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    /// It is signed by nobody, or wrongly.
    #[error("not authentic")]
    NotAuthentic,
    /// It comes from somebody else.
    #[error("from a stranger")]
    Stranger,
    /// It does not fit the state of the stream.
    #[error("out of place")]
    OutOfPlace,
}

/// What is known of a packet's maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing.
    Nobody,
    /// It came over the remote's own ratchet session, whose key its lease set vouches for: that is
    /// as good as a signature, where there is none.
    Session,
    /// The signature was verified already.
    Verified,
}

/// What a stream works with while it is called.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) local: &'a Local,
    pub(crate) limits: Limits,
    pub(crate) path: &'a mut Path,
    pub(crate) events: &'a mut VecDeque<StreamEvent>,
}

/// What came of asking for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// One was appended.
    Packet(PacketKind),
    /// There is one, when the path lets it pass.
    Waits(Gate),
    /// There is none.
    Nothing,
}

/// Acks that are owed.
#[derive(Default)]
struct Acks {
    /// Packets in order since the last ack.
    owed: u32,
    /// Packets received in all.
    received: u32,
    /// Owed now.
    now: bool,
    /// Owed then.
    at: Option<Instant>,
    /// The last one.
    sent: Option<Instant>,
}

/// One stream.
pub(crate) struct Conn {
    pub(crate) id: StreamId,
    /// The peer's name for the stream; 0 until known.
    pub(crate) remote_id: u32,
    pub(crate) remote: Identity,
    offline: Option<OfflineSignature>,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    pub(crate) path: usize,
    pub(crate) incoming: bool,
    /// The peer's SYN was verified.
    established: bool,
    /// The peer has shown that it knows our name for the stream.
    pub(crate) proven: bool,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    acks: Acks,
    pub(crate) opened: Instant,
    heard: Instant,
    /// The first timeout since.
    silent_since: Option<Instant>,
    /// Timeouts since anything of ours was acknowledged.
    unanswered: u32,
    /// What the peer sent again although we had acknowledged it, since it sent anything new.
    repeats: u32,
    repeated: Option<Instant>,
    reply_at: Option<Instant>,
    choking: bool,
    unchokes: u8,
    unchoke_at: Option<Instant>,
    overflow: usize,
    overflow_at: Option<Instant>,
    resetting: bool,
    released: Option<Instant>,
    /// It is over; the stream stays only until its data is read.
    outcome: Option<Result<(), StreamError>>,
    told_readable: bool,
    told_closed: bool,
    wants_room: bool,
    /// Its place in the queue of streams to poll, and its registered deadline.
    pub(crate) queued: bool,
    pub(crate) waiting: bool,
    pub(crate) timer: Option<Instant>,
    /// Bytes counted for it.
    pub(crate) accounted: usize,
}

impl Conn {
    /// A stream that we open.
    pub(crate) fn connect(
        now: Instant,
        id: StreamId,
        remote: Identity,
        (local_port, remote_port): (u16, u16),
        path: usize,
    ) -> Self {
        Self {
            id,
            remote_id: 0,
            remote,
            offline: None,
            local_port,
            remote_port,
            path,
            incoming: false,
            established: false,
            proven: true,
            sender: Sender::new(DEFAULT_MTU.into(), false),
            receiver: Receiver::default(),
            acks: Acks::default(),
            opened: now,
            heard: now,
            silent_since: None,
            unanswered: 0,
            repeats: 0,
            repeated: None,
            reply_at: None,
            choking: false,
            unchokes: 0,
            unchoke_at: None,
            overflow: 0,
            overflow_at: None,
            resetting: false,
            released: None,
            outcome: None,
            told_readable: false,
            told_closed: false,
            wants_room: false,
            queued: false,
            waiting: false,
            timer: None,
            accounted: 0,
        }
    }

    /// A stream that the peer opened with a SYN that was verified.
    pub(crate) fn accept(
        now: Instant,
        id: StreamId,
        remote: Identity,
        ports: (u16, u16),
        path: usize,
        syn: &Packet<'_>,
        options: Options<'_>,
    ) -> Self {
        let mut conn = Self::connect(now, id, remote, ports, path);
        conn.incoming = true;
        conn.established = true;
        conn.proven = false;
        conn.remote_id = syn.receive_stream;
        conn.offline = options.offline;
        conn.sender = Sender::new(mtu(options.max_size), true);
        conn.reply_at = Some(now + REPLY_DELAY);
        conn
    }

    /// True once both sides know each other.
    pub(crate) const fn is_established(&self) -> bool {
        self.established
    }

    /// True when the stream is to be dropped: it is over and the owner knows or does not care.
    pub(crate) fn is_done(&self) -> bool {
        self.outcome.is_some() && (self.told_closed || self.released.is_some())
    }

    /// True when it ended by a RESET of ours.
    pub(crate) fn was_reset(&self) -> bool {
        self.outcome == Some(Err(StreamError::Aborted))
    }

    /// True when the peer opened it and was not heard from again.
    pub(crate) fn was_never_answered(&self) -> bool {
        !self.proven && self.outcome == Some(Err(StreamError::Lost))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.sender.bytes() + self.receiver.bytes()
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        self.sender.audit(audit);
        self.receiver.audit(audit);
    }

    /// What [`Self::poll`] has to do.
    pub(crate) fn wants(&self) -> Next {
        if self.outcome.is_some() {
            return Next::Idle;
        }
        if self.resetting || (self.acks.now && self.may_ack()) {
            return Next::Free;
        }
        self.sender.next()
    }

    const fn may_ack(&self) -> bool {
        // The reply to a SYN acknowledges it; before that we have nothing to say.
        self.remote_id != 0 && (!self.incoming || self.reply_at.is_none())
    }

    // Verbs of the owner.

    /// Takes data to send; says how much.
    pub(crate) fn write(&mut self, bytes: &[u8], limits: Limits) -> usize {
        let room = self.room(limits);
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.sender.write(taken);
        // Also for those who ask for the room first, and write no more than that.
        self.wants_room = self.room(limits) < limits.unsent / 2;
        taken.len()
    }

    /// Bytes that [`Self::write`] would take.
    pub(crate) fn room(&self, limits: Limits) -> usize {
        if self.sender.is_closing() || self.outcome.is_some() {
            return 0;
        }
        let held = limits.send.saturating_sub(self.sender.bytes());
        held.min(limits.unsent.saturating_sub(self.sender.unsent()))
    }

    /// Gives data to the reader.
    pub(crate) fn read(&mut self, cx: &mut Context<'_>, max: usize, out: &mut Vec<u8>) -> usize {
        let count = self.receiver.read(max, out);
        if self.receiver.readable() == 0 {
            self.told_readable = false;
        }
        self.update_choke(cx);
        self.tell_closed(cx);
        count
    }

    /// No more data from us.
    pub(crate) fn close(&mut self, cx: &mut Context<'_>) {
        self.sender.close();
        self.check_done(cx);
    }

    /// The owner forgets the stream: what was written still goes, what comes is dropped.
    pub(crate) fn release(&mut self, cx: &mut Context<'_>) {
        if self.released.is_some() {
            return;
        }
        self.released = Some(cx.now);
        self.receiver.discard();
        self.choking = false;
        self.sender.close();
        if !self.established && !self.sender.syn_sent() {
            self.outcome = Some(Err(StreamError::Aborted));
        }
        self.check_done(cx);
    }

    /// The owner forgets the stream, and the peer is to know that it failed.
    pub(crate) fn reset(&mut self, cx: &mut Context<'_>) {
        self.released = Some(cx.now);
        self.receiver.discard();
        if self.outcome.is_some() || !self.established {
            // There is nobody to tell; who answers our SYN yet is told then.
            self.finish(cx, Err(StreamError::Aborted));
        } else {
            self.resetting = true;
        }
    }

    /// The path cannot be had.
    pub(crate) fn fail(&mut self, cx: &mut Context<'_>, error: StreamError) {
        self.finish(cx, Err(error));
    }

    // Inputs.

    /// A packet for this stream.
    pub(crate) fn handle_packet(
        &mut self,
        cx: &mut Context<'_>,
        unix: UnixTime,
        packet: &Packet<'_>,
        trust: Trust,
    ) -> Result<(), Ignored> {
        let options = packet.options(Some(&self.remote))?;
        if options.from.as_ref().is_some_and(|from| *from != self.remote) {
            return Err(Ignored::Stranger);
        }
        let has = |flag| packet.flags.has(flag);
        if has(Flags::SYNCHRONIZE) || has(Flags::CLOSE) || has(Flags::RESET) {
            authenticate(packet, &options, &self.remote, self.offline.as_ref(), trust, unix)?;
        }
        if self.outcome.is_some() {
            return Err(Ignored::OutOfPlace);
        }
        let names_us = packet.send_stream == self.id.0;
        if has(Flags::RESET) {
            let name = packet.receive_stream;
            if !names_us || (name != 0 && self.remote_id != 0 && name != self.remote_id) {
                return Err(Ignored::Stranger);
            }
            let error = if self.established { StreamError::Reset } else { StreamError::Refused };
            self.finish(cx, Err(error));
            return Ok(());
        }
        if has(Flags::SYNCHRONIZE) {
            self.handle_syn(cx, packet, &options)?;
        } else if self.remote_id == 0 && packet.receive_stream != 0 {
            // Data that overtook the SYN. It is not delivered before that came and was verified.
            self.remote_id = packet.receive_stream;
        } else if packet.receive_stream != self.remote_id && packet.receive_stream != 0 {
            return Err(Ignored::Stranger);
        }
        self.heard = cx.now;
        self.silent_since = None;
        self.proven |= names_us;
        // A bare ack of our SYN answers one that came again. Its reply may be lost for good, so we go
        // on asking until we have it.
        if self.established {
            self.handle_acks(cx, packet, options.delay);
        }
        if packet.is_pure_ack() {
            self.acks.now |= options.delay == Some(0) && self.acks.received > 0;
        } else {
            self.handle_data(cx, packet);
            self.acks.now |= options.delay == Some(0);
        }
        self.check_done(cx);
        Ok(())
    }

    fn handle_syn(
        &mut self,
        cx: &mut Context<'_>,
        packet: &Packet<'_>,
        options: &Options<'_>,
    ) -> Result<(), Ignored> {
        if packet.receive_stream == 0 || packet.sequence != 0 {
            return Err(Ignored::OutOfPlace);
        }
        if self.established {
            if packet.receive_stream != self.remote_id {
                return Err(Ignored::Stranger);
            }
            // The peer sends its SYN again: it has not got our reply.
            let quiet = self
                .sender
                .oldest_sent()
                .is_some_and(|sent| cx.now.saturating_since(sent) >= cx.path.rtt.timeout());
            if self.incoming && !self.proven && quiet {
                self.sender.probe();
            }
            return Ok(());
        }
        if self.remote_id != 0 && self.remote_id != packet.receive_stream {
            // A peer that forgot the stream, and took our SYN anew, has two for it: what came before
            // this answer belongs to the other one.
            self.receiver.forget();
        }
        self.established = true;
        self.remote_id = packet.receive_stream;
        self.offline.clone_from(&options.offline);
        self.sender.establish(mtu(options.max_size));
        if self.released.is_none() {
            cx.events.push_back(StreamEvent::Connected(self.id));
        }
        Ok(())
    }

    fn handle_acks(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>, delay: Option<u16>) {
        let mut acked = 0;
        if !packet.flags.has(Flags::NO_ACK) {
            let mut nacks = ArrayVec::<u32, MAX_NACKS>::new();
            if packet.recipient().is_none() {
                nacks.extend(packet.nacks().take(MAX_NACKS));
            }
            if !nacks.is_sorted() {
                nacks.sort_unstable();
            }
            let outcome = self.sender.handle_ack(cx.now, cx.path, packet.ack_through, &nacks);
            acked = outcome.acked;
            if outcome.invalid {
                log::trace!("stream {:?}: ack of what was never sent", self.id);
            }
        }
        if acked > 0 {
            self.unanswered = 0;
            cx.path.alive(cx.now);
        }
        match delay {
            Some(delay) if delay > MAX_DELAY => {
                let cap = (delay == SMALL_CHOKE).then_some(SMALL_SPAN);
                self.sender.choke(cx.now, cx.path, cap);
            }
            Some(_) => self.sender.unchoke(cx.now, cx.path),
            // Who only once asked to stop shows by taking data that it can.
            None if acked > 0 => self.sender.unchoke(cx.now, cx.path),
            None => {}
        }
        self.tell_room(cx);
    }

    fn handle_data(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>) {
        let left = self.released.is_some_and(|at| cx.now.saturating_since(at) >= RELEASE_PATIENCE);
        if left && self.sender.is_finished() && !packet.payload.is_empty() {
            self.resetting = true;
        }
        let close = packet.flags.has(Flags::CLOSE);
        let limit = cx.limits.hard + self.overflow;
        let accepted = self.receiver.accept(packet.sequence, packet.payload, close, limit);
        log::trace!("stream {:?}: packet {} is {accepted:?}", self.id, packet.sequence);
        match accepted {
            Accepted::InOrder(count) => {
                self.repeats = 0;
                self.acks.owed += count;
                self.acks.received = self.acks.received.saturating_add(count);
                self.unchokes = 0;
                self.unchoke_at = None;
                let few = self.acks.received < FIRST_PACKETS;
                let every = if few { ACK_EVERY_FIRST } else { ACK_EVERY };
                let last = self.receiver.is_closed();
                // The answer to our SYN gives the peer its first measurement.
                let first = packet.is_syn() && !self.incoming;
                let often = count > 1 || self.acks.owed >= every;
                if often || first || last || self.choking {
                    self.acks.now = true;
                } else {
                    let rtt = cx.path.rtt.smoothed().unwrap_or(MAX_ACK_DELAY);
                    let delay = (rtt / 8).clamp(MIN_ACK_DELAY, MAX_ACK_DELAY);
                    self.acks.at = earliest(self.acks.at, Some(cx.now + delay));
                }
                self.tell_readable(cx);
            }
            Accepted::Early => {
                self.repeats = 0;
                let soonest = self.acks.sent.map(|sent| sent + GAP_ACK_DELAY);
                match soonest.filter(|at| *at > cx.now) {
                    Some(at) => self.acks.at = earliest(self.acks.at, Some(at)),
                    None => self.acks.now = true,
                }
            }
            Accepted::Duplicate => {
                self.acks.now = true;
                self.note_repeat(cx, packet);
            }
            Accepted::Refused => {
                self.acks.now = true;
                let last = self.overflow_at.get_or_insert(cx.now);
                let next = self.receiver.in_order().map_or(0, |n| n.saturating_add(1));
                if packet.sequence == next
                    && cx.now.saturating_since(*last) >= OVERFLOW_INTERVAL
                    && self.overflow < OVERFLOW_LIMIT
                {
                    *last = cx.now;
                    self.overflow += usize::from(MTU);
                }
            }
        }
        self.update_choke(cx);
    }

    /// The peer sent something again that we have. Once may be a late ack of ours, or the line; if
    /// nothing new comes in between, our acks do not get through.
    fn note_repeat(&mut self, cx: &mut Context<'_>, packet: &Packet<'_>) {
        if packet.is_syn() || self.acks.sent.is_none() {
            return;
        }
        let interval = (cx.path.rtt.smoothed().unwrap_or_default() * 2).max(REPEAT_INTERVAL);
        if self.repeated.is_none_or(|at| cx.now.saturating_since(at) >= interval) {
            self.repeated = Some(cx.now);
            self.repeats = self.repeats.saturating_add(1);
            if self.repeats >= STALL_TIMEOUTS {
                tell_stalled(cx, self.repeats);
            }
        }
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.outcome.is_some() {
            return;
        }
        if due(self.acks.at) {
            self.acks.at = None;
            self.acks.now = true;
        }
        if due(self.reply_at) {
            self.reply_at = None;
            self.sender.let_syn_go();
        }
        if due(self.unchoke_at) {
            self.unchoke_at = None;
            self.acks.now = true;
        }
        if self.sender.handle_timeout(now, cx.path) {
            self.silent_since.get_or_insert(now);
            self.unanswered = self.unanswered.saturating_add(1);
            if self.proven && self.established {
                cx.path.timed_out(now);
            }
            // A peer that asked us to stop and answers our probes is not lost, and one that has
            // closed need not answer.
            let quiet = now.saturating_since(self.heard) >= cx.path.rtt.timeout();
            let excused = (self.sender.is_choked() && !quiet)
                || (self.receiver.is_closed() && self.sender.only_close_left());
            let enough = if self.established { STALL_TIMEOUTS } else { SYN_STALL_TIMEOUTS };
            if self.unanswered >= enough && !excused {
                tell_stalled(cx, self.unanswered);
            }
        }
        if due(self.idle_deadline(cx.local)) {
            if self.sender.is_finished() {
                self.finish(cx, Err(StreamError::Lost));
            } else {
                self.sender.send_empty();
            }
        }
        self.check_done(cx);
        if self.outcome.is_some() {
            return;
        }
        let since = |start: Instant| now.saturating_since(start);
        let waited = since(self.opened);
        let dead = self.silent_since.is_some_and(|at| since(at) >= DEAD_AFTER);
        if !self.established && waited >= cx.local.config.connect_timeout {
            self.finish(cx, Err(StreamError::ConnectTimedOut));
        } else if (!self.proven && waited >= UNPROVEN_TIMEOUT) || (self.established && dead) {
            self.finish(cx, Err(StreamError::Lost));
        } else if self.released.is_some_and(|at| since(at) >= RELEASE_TIMEOUT)
            && !self.resetting
            && (self.sender.only_close_left() || since(self.heard) >= RELEASE_TIMEOUT)
        {
            if self.established {
                self.resetting = true;
            } else {
                self.finish(cx, Err(StreamError::Aborted));
            }
        }
    }

    fn idle_deadline(&self, local: &Local) -> Option<Instant> {
        let idle = self.established && self.sender.outstanding() == 0 && !self.sender.is_choked();
        // After our CLOSE there is nothing to send that would be answered.
        let patience = if self.sender.is_finished() { 2 } else { 1 };
        idle.then(|| self.heard + local.config.inactivity_timeout * patience)
    }

    /// The next deadline.
    pub(crate) fn deadline(&self, local: &Local) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let connect = (!self.established).then(|| self.opened + local.config.connect_timeout);
        let unproven = (!self.proven).then(|| self.opened + UNPROVEN_TIMEOUT);
        let released = self.released.map(|at| {
            let at = at + RELEASE_TIMEOUT;
            if self.sender.only_close_left() { at } else { at.max(self.heard + RELEASE_TIMEOUT) }
        });
        let released = released.filter(|_| !self.resetting);
        // An empty packet that is already due waits for the path, not for time.
        let idle = self.idle_deadline(local).filter(|_| self.sender.next() == Next::Idle);
        [self.acks.at, self.reply_at, self.unchoke_at, connect, unproven, released, idle]
            .into_iter()
            .fold(self.sender.deadline(), earliest)
    }

    // Output.

    /// Appends the next packet to `out`, if there is one and it may go.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Polled {
        if cx.path.held {
            return Polled::Waits(Gate::Full);
        }
        if self.resetting {
            return self.poll_reset(cx, out);
        }
        if self.outcome.is_some() {
            return Polled::Nothing;
        }
        let gate = match self.sender.next() {
            Next::Idle => None,
            Next::Free => Some(Gate::Open),
            Next::Gated => Some(cx.path.gate(cx.now)),
        };
        if gate == Some(Gate::Open)
            && let Some(chunk) = self.sender.take(cx.now, cx.path)
        {
            self.encode_chunk(cx, &chunk, out);
            self.tell_room(cx);
            return Polled::Packet(match (chunk.sequence, chunk.again) {
                (0, false) => PacketKind::Syn,
                (0, true) => PacketKind::SynAgain,
                (_, false) => PacketKind::Data,
                (_, true) => PacketKind::DataAgain,
            });
        }
        if self.acks.now && self.may_ack() && self.encode_ack(cx, out) {
            return Polled::Packet(PacketKind::Ack);
        }
        gate.filter(|gate| *gate != Gate::Open).map_or(Polled::Nothing, Polled::Waits)
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Polled {
        if !self.sender.syn_sent() {
            // Some peers obey a RESET only in its place in the sequence, after a SYN.
            self.sender.let_syn_go();
            if let Some(chunk) = self.sender.take(cx.now, cx.path) {
                self.encode_chunk(cx, &chunk, out);
                return Polled::Packet(PacketKind::Syn);
            }
        }
        self.resetting = false;
        Outgoing {
            flags: Flags::RESET,
            sequence: self.sender.next_sequence(),
            sign: Some(&cx.local.key),
            ..self.header()
        }
        .encode(out);
        self.finish(cx, Err(StreamError::Aborted));
        Polled::Packet(PacketKind::Reset)
    }

    fn header(&self) -> Outgoing<'static> {
        let in_order = self.receiver.in_order();
        let no_ack = if in_order.is_none() { Flags::NO_ACK } else { Flags::default() };
        Outgoing {
            send_stream: self.remote_id,
            receive_stream: self.id.0,
            ack_through: in_order.unwrap_or(0),
            flags: no_ack,
            ..Outgoing::default()
        }
    }

    /// What to say about choking; an unchoke is said several times.
    fn delay(&mut self, now: Instant) -> Option<u16> {
        if self.choking {
            return Some(CHOKE);
        }
        let left = self.unchokes.checked_sub(1)?;
        self.unchokes = left;
        if left > 0 {
            self.unchoke_at = Some(now + UNCHOKE_DELAY * (1 << (UNCHOKES - left)));
        }
        Some(0)
    }

    fn encode_chunk(&mut self, cx: &Context<'_>, chunk: &Chunk, out: &mut Vec<u8>) {
        let choke = self.delay(cx.now);
        let bulk_tail = chunk.tail && self.sender.outstanding() > BULK;
        let syn = chunk.sequence == 0;
        let header = self.header();
        let mut flags = header.flags;
        for (set, flag) in [(syn, Flags::SYNCHRONIZE), (chunk.close, Flags::CLOSE)] {
            if set {
                flags = flags.with(flag);
            }
        }
        // Until the peer has answered, its name for the stream may be a guess.
        let first = syn && !self.established;
        let recipient = self.remote.hash();
        let missing: &[u32] = &[];
        Outgoing {
            send_stream: if first { 0 } else { header.send_stream },
            sequence: chunk.sequence,
            ack_through: if first { 0 } else { header.ack_through },
            nacks: if first { Nacks::Recipient(&recipient) } else { Nacks::Missing(missing) },
            resend_delay: u8::try_from(cx.path.rtt.timeout().as_secs()).unwrap_or(u8::MAX),
            flags: if first { flags.with(Flags::NO_ACK) } else { flags },
            delay: choke.or_else(|| bulk_tail.then_some(0)),
            from: syn.then_some(&cx.local.identity),
            max_size: syn.then_some(MTU),
            sign: (syn || chunk.close).then_some(&*cx.local.key),
            payload: self.sender.payload(chunk),
            ..header
        }
        .encode(out);
        self.reply_at = None;
        if !first && !self.receiver.has_gap() {
            self.acked(cx.now);
        }
    }

    /// Appends a pure ack, if there is anything to acknowledge.
    pub(crate) fn encode_ack(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> bool {
        self.acks.now = false;
        let Some((ack_through, nacks)) = self.receiver.ack() else { return false };
        let delay = self.delay(cx.now);
        log::trace!(
            "stream {:?}: ack {ack_through}, {} missing, delay {delay:?}",
            self.id,
            nacks.len()
        );
        Outgoing {
            ack_through,
            nacks: Nacks::Missing(&nacks),
            flags: Flags::default(),
            delay,
            ..self.header()
        }
        .encode(out);
        self.acked(cx.now);
        true
    }

    /// An ack that is owed although the stream is over; `None` when there is none.
    pub(crate) fn last_ack(&mut self, cx: &Context<'_>) -> Option<Vec<u8>> {
        let owed = self.acks.now || self.acks.at.is_some() || self.acks.owed > 0;
        if !owed || !self.may_ack() || self.was_reset() {
            return None;
        }
        let mut out = Vec::new();
        self.encode_ack(cx, &mut out).then_some(out)
    }

    fn acked(&mut self, now: Instant) {
        self.acks.now = false;
        self.acks.at = None;
        self.acks.owed = 0;
        self.acks.sent = Some(now);
    }

    // Consequences.

    /// The owner has chosen other tunnels.
    pub(crate) fn rerouted(&mut self, now: Instant, patience: Duration) {
        self.sender.rerouted(now + patience);
    }

    fn update_choke(&mut self, cx: &Context<'_>) {
        let unread = self.receiver.readable();
        if !self.choking && unread >= cx.limits.receive {
            self.choking = true;
            self.acks.now = true;
        } else if self.choking && unread <= cx.limits.receive / 2 {
            self.choking = false;
            self.unchokes = UNCHOKES;
            self.acks.now = true;
            self.overflow = 0;
            self.overflow_at = None;
        }
    }

    fn tell_readable(&mut self, cx: &mut Context<'_>) {
        if self.receiver.readable() > 0 && !self.told_readable {
            self.told_readable = true;
            cx.events.push_back(StreamEvent::Readable(self.id));
        }
        if self.receiver.is_closed() && self.released.is_none() {
            // Accepted once only: nothing comes into order after it.
            cx.events.push_back(StreamEvent::RemoteClosed(self.id));
        }
    }

    fn tell_room(&mut self, cx: &mut Context<'_>) {
        if self.wants_room && self.room(cx.limits) >= cx.limits.unsent / 2 {
            self.wants_room = false;
            cx.events.push_back(StreamEvent::Writable(self.id));
        }
    }

    fn check_done(&mut self, cx: &mut Context<'_>) {
        if self.outcome.is_some() || self.resetting {
            return;
        }
        let timeouts = self.sender.timeouts();
        let only_close = self.sender.only_close_left();
        let silent =
            |long| self.silent_since.is_some_and(|since| cx.now.saturating_since(since) >= long);
        if self.receiver.is_closed() {
            if self.sender.is_finished() || (only_close && timeouts >= LAST_ACK_TIMEOUTS) {
                self.finish(cx, Ok(()));
            } else if silent(CLOSED_SILENCE) {
                self.finish(cx, Err(StreamError::Reset));
            }
        } else if only_close && silent(CLOSE_SILENCE) {
            self.finish(cx, Err(StreamError::Lost));
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>, outcome: Result<(), StreamError>) {
        if self.outcome.is_none() {
            self.sender.abandon(cx.path);
            self.outcome = Some(outcome);
            self.resetting = false;
        }
        self.tell_closed(cx);
    }

    /// The end is told when everything before it was read.
    fn tell_closed(&mut self, cx: &mut Context<'_>) {
        if self.told_closed || self.released.is_some() || self.receiver.readable() > 0 {
            return;
        }
        if let Some(outcome) = self.outcome {
            self.told_closed = true;
            cx.events.push_back(StreamEvent::Closed(self.id, outcome));
        }
    }
}

fn tell_stalled(cx: &mut Context<'_>, timeouts: u32) {
    if cx.path.stall(cx.now) {
        let remote = cx.path.remote;
        cx.events.push_back(StreamEvent::Stalled { remote, timeouts });
    }
}

/// Checks that the remote made the packet.
pub(crate) fn authenticate(
    packet: &Packet<'_>,
    options: &Options<'_>,
    remote: &Identity,
    offline: Option<&OfflineSignature>,
    trust: Trust,
    unix: UnixTime,
) -> Result<(), Ignored> {
    match trust {
        Trust::Verified => return Ok(()),
        Trust::Session if options.signature.is_none() => return Ok(()),
        Trust::Session | Trust::Nobody => {}
    }
    packet.verify(options, remote.signing_key(), offline, unix).map_err(|_| Ignored::NotAuthentic)
}

/// What the peer takes in one packet.
fn mtu(said: Option<u16>) -> usize {
    said.unwrap_or(DEFAULT_MTU).clamp(MIN_MTU, MTU).into()
}
