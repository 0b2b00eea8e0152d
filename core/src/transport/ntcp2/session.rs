//! One NTCP2 session.

mod event;
mod inbox;
mod negotiation;

pub use event::{SessionError, SessionEvent, Stats};

use super::super::Peer;
use super::super::queue::{Full, Priority};
use super::frame::OVERHEAD;
use super::handshake::{Established, initiator, responder};
use super::link::{FrameError, Link, Waiting};
use super::replay::ReplayCache;
use super::{Local, Remote};
use crate::audit::Audit;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::hash::Hash;
use crate::wire::i2np::Message;
use crate::wire::ntcp2::Reason;
use crate::wire::router_info::RouterInfo;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;
use inbox::{Inbox, Outcome};
use log::{debug, trace};
use negotiation::{Context, Negotiation, Step};

/// The whole handshake, however it comes in pieces.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that neither sends nor receives a frame ends after this long, give or take
/// [`IDLE_JITTER`].
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// See [`IDLE_TIMEOUT`].
pub const IDLE_JITTER: Duration = Duration::from_secs(5);
/// A session whose stream takes no byte for this long, while some wait, is dead.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Events that wait to be polled; messages beyond are dropped. No honest read holds so many.
pub const MAX_EVENTS: usize = 8192;

/// What of a handshake message may wait for the rest of it.
const MAX_INTAKE: usize = 8192;
/// A frame with its length.
const MAX_FRAME: usize = 2 + u16::MAX as usize;

/// Bytes that a peer may send after something that does not authenticate before we close.
const DRAIN_BYTES: u64 = 1024;
/// How long we wait for these: in the handshake, and (shorter, since peers are told) later.
const DRAIN_HANDSHAKE: (u64, u64) = (500, 9_500);
const DRAIN_DATA: (u64, u64) = (100, 2_000);

/// One TCP stream with another router.
///
/// After each `handle_*` or verb: [`Self::poll_event`] until `None`, [`Self::poll_write`] while
/// [`Self::wants_write`] and the stream takes bytes, then [`Self::poll_timeout`]. Each handshake
/// message is one write if the room allows it (4.3 KiB for message 3).
///
/// The session ends with [`SessionEvent::Closed`]; afterwards nothing has an effect.
pub struct Session {
    rng: Rng,
    state: State,
    /// The start of a handshake message that is not whole yet: at most 8 KiB.
    intake: Vec<u8>,
    /// Bytes made and not taken: a handshake message, the rest of a frame.
    pending: Vec<u8>,
    pending_from: usize,
    waiting: Waiting,
    events: VecDeque<SessionEvent>,
    peer: Option<Hash>,
    rtt: Option<Duration>,
    /// When the handshake, and later the silence, has lasted too long.
    deadline: Instant,
    idle: Duration,
    /// Since when bytes wait without any taken.
    stalled: Option<Instant>,
    stats: Stats,
}

enum State {
    Handshake(Negotiation),
    Established(Box<Link>),
    Draining(Drain),
    Closed,
}

/// A refused peer that is read from a little longer, so that it does not learn at which byte, and
/// hence at which check, it failed ("AEAD Error Handling").
struct Drain {
    bytes: usize,
    until: Instant,
    error: SessionError,
    /// Set in the data phase, where the peer is told afterwards.
    link: Option<Box<Link>>,
}

impl Session {
    /// A session on a stream that we opened to `remote`. `our_info` is what the peer will get.
    #[must_use]
    pub fn connect(
        now: Instant,
        local: Arc<Local>,
        our_info: RouterInfo,
        remote: Remote,
        rng: Rng,
    ) -> Self {
        let start = initiator::Start::new(local, remote, our_info);
        let mut session = Self::new(now, Negotiation::Start(Box::new(start)), rng);
        session.peer = Some(remote.hash);
        session
    }

    /// A session on a stream that somebody opened to us.
    #[must_use]
    pub fn accept(now: Instant, local: Arc<Local>, rng: Rng) -> Self {
        Self::new(now, Negotiation::AwaitRequest(responder::AwaitRequest::new(local)), rng)
    }

    fn new(now: Instant, state: Negotiation, mut rng: Rng) -> Self {
        let jitter = Duration::from_millis(rng.below(2 * IDLE_JITTER.as_millis() as u64 + 1));
        Self {
            rng,
            state: State::Handshake(state),
            intake: Vec::new(),
            pending: Vec::new(),
            pending_from: 0,
            waiting: Waiting::default(),
            events: VecDeque::new(),
            peer: None,
            rtt: None,
            deadline: now + HANDSHAKE_TIMEOUT,
            idle: IDLE_TIMEOUT - IDLE_JITTER + jitter,
            stalled: None,
            stats: Stats::default(),
        }
    }

    /// The router at the other end: from the start when we connected, else once it proved it.
    #[must_use]
    pub const fn peer(&self) -> Option<Hash> {
        self.peer
    }

    /// True from the end of the handshake to the end of the session.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// True when the session is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The round trip that the handshake measured.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Messages and bytes that wait to be sent.
    #[must_use]
    pub const fn queued(&self) -> (usize, usize) {
        (self.waiting.queue.len(), self.waiting.queue.bytes())
    }

    /// What it did so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        Stats { dropped: self.waiting.queue.dropped(), ..self.stats }
    }

    /// Bytes arrived; frames are opened in place. All are taken. An error is the end of the
    /// session, and also its last event.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        unix: UnixTime,
        replay: &mut ReplayCache,
        mut buf: &mut [u8],
    ) -> Result<(), SessionError> {
        self.stats.bytes_in += buf.len() as u64;
        while !buf.is_empty() {
            match &mut self.state {
                State::Handshake(_) => self.handle_handshake(now, unix, replay, &mut buf)?,
                State::Established(_) => self.handle_frames(now, unix, &mut buf)?,
                State::Draining(drain) => {
                    let Some(left) = drain.bytes.checked_sub(buf.len()) else {
                        return self.finish_drain();
                    };
                    drain.bytes = left;
                    return Ok(());
                }
                State::Closed => return Ok(()),
            }
        }
        Ok(())
    }

    /// The stream ended, or was reset.
    pub fn handle_disconnect(&mut self) {
        match &self.state {
            State::Handshake(_) | State::Established(_) => {
                self.end(Err(SessionError::Disconnected), None);
            }
            State::Draining(drain) => self.end(Err(drain.error), None),
            State::Closed => {}
        }
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Handshake(_) => {
                if now >= self.deadline {
                    self.end(Err(SessionError::HandshakeTimeout), None);
                }
            }
            State::Established(_) => {
                if self.stalled.is_some_and(|since| now >= since + STALL_TIMEOUT) {
                    self.end(Err(SessionError::Stalled), None);
                } else if now >= self.deadline {
                    self.end(Ok(Reason::Idle), Some(Reason::Idle));
                }
            }
            State::Draining(drain) => {
                if now >= drain.until {
                    let _reported = self.finish_drain();
                }
            }
            State::Closed => {}
        }
    }

    /// Queues a message; before the end of the handshake it waits for that. When the queue is full
    /// the oldest message of the lowest priority is dropped.
    pub fn queue(
        &mut self,
        now: Instant,
        message: Message,
        priority: Priority,
    ) -> Result<(), Full> {
        if matches!(self.state, State::Closed | State::Draining(_)) {
            return Err(Full::Closed);
        }
        self.waiting.queue.push(now, message, priority)?;
        self.stalled.get_or_insert(now);
        Ok(())
    }

    /// Sends our RouterInfo, with the time, ahead of all messages. `flood`: the peer is a floodfill
    /// and asked to flood it. One that still waits is replaced.
    pub fn send_router_info(&mut self, now: Instant, info: &RouterInfo, flood: bool) {
        if !matches!(self.state, State::Closed | State::Draining(_)) {
            self.waiting.router_info = Some((info.clone(), flood));
            self.stalled.get_or_insert(now);
        }
    }

    /// Nothing was asked of the session for a while: that what waits still does is no fault of the
    /// peer.
    pub fn excuse(&mut self, now: Instant) {
        if self.stalled.is_some() {
            self.stalled = Some(now);
        }
    }

    /// Ends the session; what waits is dropped, the peer is told `reason`.
    pub fn close(&mut self, reason: Reason) {
        match &self.state {
            State::Handshake(_) | State::Established(_) => self.end(Ok(reason), Some(reason)),
            State::Draining(drain) => self.end(Err(drain.error), None),
            State::Closed => {}
        }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        self.waiting.queue.audit(audit);
        audit.see("session: events", self.events.len(), MAX_EVENTS);
        audit.see("session: bytes of a handshake", self.intake.len(), MAX_INTAKE);
        audit.see("session: bytes of a frame", self.pending.len(), MAX_FRAME);
    }

    /// True when [`Self::poll_write`] has something, or will find that it is too old.
    #[must_use]
    pub const fn wants_write(&self) -> bool {
        self.pending_from < self.pending.len()
            || match &self.state {
                State::Handshake(state) => matches!(state, Negotiation::Start(_)),
                State::Established(_) => !self.waiting.is_empty(),
                State::Draining(_) | State::Closed => false,
            }
    }

    /// Appends at most `room` bytes to `out` and says how many. Frames are filled now, so that
    /// priorities hold to the last moment; a frame larger than the room is continued by the next
    /// call, but only if nothing else fits.
    pub fn poll_write(
        &mut self,
        now: Instant,
        unix: UnixTime,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let start = out.len();
        self.start(now, unix);
        self.take_pending(room, out);
        while self.pending.is_empty()
            && let Some(left) = room.checked_sub(out.len() - start).filter(|left| *left > 0)
            && self.fill_frame(now, unix, left, out.len() > start, out)
        {
            if let Some(over) = (out.len() - start).checked_sub(room).filter(|over| *over > 0) {
                self.pending = out.split_off(out.len() - over);
            }
        }
        let written = out.len() - start;
        self.stats.bytes_out += written as u64;
        if !self.wants_write() {
            self.stalled = None;
        } else if written > 0 {
            self.stalled = Some(now);
        }
        written
    }

    /// The next event.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake(_) => Some(self.deadline),
            State::Established(_) => {
                earliest(Some(self.deadline), self.stalled.map(|since| since + STALL_TIMEOUT))
            }
            State::Draining(drain) => Some(drain.until),
            State::Closed => None,
        }
    }

    /// Makes message 1, if that is what comes next.
    fn start(&mut self, now: Instant, unix: UnixTime) {
        if !matches!(self.state, State::Handshake(Negotiation::Start(_))) {
            return;
        }
        let State::Handshake(Negotiation::Start(start)) =
            mem::replace(&mut self.state, State::Closed)
        else {
            return;
        };
        match start.request(now, unix, &mut self.rng, &mut self.pending) {
            Ok(next) => self.state = State::Handshake(Negotiation::AwaitCreated(Box::new(next))),
            Err(error) => self.end(Err(error.into()), None),
        }
    }

    /// Moves the start of `pending` to `out`.
    fn take_pending(&mut self, room: usize, out: &mut Vec<u8>) {
        let rest = self.pending.get(self.pending_from..).unwrap_or_default();
        let taken = rest.get(..room).unwrap_or(rest);
        out.extend_from_slice(taken);
        self.pending_from += taken.len();
        if self.pending_from >= self.pending.len() {
            self.pending = Vec::new();
            self.pending_from = 0;
        }
    }

    /// Appends a frame, if there is one to send and it either fits or has `out` for itself.
    fn fill_frame(
        &mut self,
        now: Instant,
        unix: UnixTime,
        room: usize,
        must_fit: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let State::Established(link) = &mut self.state else { return false };
        let Some(first) = self.waiting.first_len(now, unix) else { return false };
        if must_fit && first + OVERHEAD > room {
            return false;
        }
        let Some(messages) = link.fill(now, unix, &mut self.waiting, &mut self.rng, room, out)
        else {
            return false;
        };
        self.stats.messages_out += messages;
        self.stats.frames_out = link.frames().1;
        self.deadline = now + self.idle;
        true
    }

    /// Collects the next handshake message, and takes the step when it is whole.
    fn handle_handshake(
        &mut self,
        now: Instant,
        unix: UnixTime,
        replay: &mut ReplayCache,
        buf: &mut &mut [u8],
    ) -> Result<(), SessionError> {
        let State::Handshake(state) = &self.state else { return Ok(()) };
        let bytes = mem::take(buf);
        let need = state.message_len().unwrap_or(0);
        let missing = need.saturating_sub(self.intake.len()).min(bytes.len());
        if let Some((head, rest)) = bytes.split_at_mut_checked(missing) {
            self.intake.extend_from_slice(head);
            *buf = rest;
        }
        if self.intake.len() < need {
            return Ok(());
        }
        let mut message = mem::take(&mut self.intake);
        let mut rest = message.as_mut_slice();
        // A second time for a message without padding: it is whole already.
        while let State::Handshake(state) = &self.state
            && state.message_len().is_none_or(|len| len == rest.len())
        {
            let State::Handshake(state) = mem::replace(&mut self.state, State::Closed) else {
                break;
            };
            let (rng, out, more) = (&mut self.rng, &mut self.pending, !buf.is_empty());
            let step = state.step(&mut Context { now, unix, replay, rng, out, more }, rest);
            rest = &mut [];
            match step {
                Step::Next(next) => self.state = State::Handshake(next),
                Step::Done(established, peer) => self.establish(now, established, peer),
                Step::Probed(error) => self.drain(now, error.into(), DRAIN_HANDSHAKE, None),
                Step::Failed(error) => return self.fail(error.into(), None),
                Step::Refused(Established { sealer, opener, .. }, error) => {
                    self.state = State::Established(Box::new(Link::new(sealer, opener)));
                    return self.fail(error.into(), error.reason());
                }
            }
        }
        Ok(())
    }

    fn establish(&mut self, now: Instant, established: Established, peer: Peer) {
        let Established { sealer, opener, skew, rtt } = established;
        debug!("ntcp2: session with {:?} established", peer.hash());
        self.state = State::Established(Box::new(Link::new(sealer, opener)));
        self.peer = Some(peer.hash());
        self.rtt = Some(rtt);
        self.deadline = now + self.idle;
        self.waiting.queue.set_ready(now);
        self.stalled = self.wants_write().then_some(now);
        self.events.push_back(SessionEvent::Established { peer, skew });
    }

    /// Takes all whole frames of `buf`.
    fn handle_frames(
        &mut self,
        now: Instant,
        unix: UnixTime,
        buf: &mut &mut [u8],
    ) -> Result<(), SessionError> {
        let State::Established(link) = &mut self.state else { return Ok(()) };
        let mut inbox = Inbox { events: &mut self.events, stats: &mut self.stats };
        let error = loop {
            let outcome = match link.next_frame(buf) {
                Ok(Some(text)) => inbox.handle_blocks(unix, text),
                Ok(None) => return Ok(()),
                Err(FrameError::Tag) => break SessionError::FrameTag,
                Err(FrameError::Length(len)) => break SessionError::FrameLength(len),
            };
            inbox.stats.frames_in = link.frames().0;
            self.deadline = now + self.idle;
            match outcome {
                Outcome::Continue => {}
                Outcome::Options(options) => link.set_options(options),
                Outcome::Terminated(reason) => {
                    return self.fail(SessionError::Terminated(reason), None);
                }
            }
        };
        if let State::Established(link) = mem::replace(&mut self.state, State::Closed) {
            self.drain(now, error, DRAIN_DATA, Some(link));
        }
        Ok(())
    }

    /// Refuses the peer, but goes on reading for a while.
    fn drain(
        &mut self,
        now: Instant,
        error: SessionError,
        (least, most): (u64, u64),
        link: Option<Box<Link>>,
    ) {
        trace!("ntcp2: {error}");
        let wait = Duration::from_millis(self.rng.between(least, most));
        let bytes = self.rng.below(DRAIN_BYTES) as usize;
        let until = if link.is_some() { now + wait } else { self.deadline.min(now + wait) };
        self.waiting.clear();
        self.state = State::Draining(Drain { bytes, until, error, link });
    }

    fn finish_drain(&mut self) -> Result<(), SessionError> {
        let State::Draining(Drain { error, link, .. }) =
            mem::replace(&mut self.state, State::Closed)
        else {
            return Ok(());
        };
        let tell = link.is_some().then_some(Reason::FrameTag);
        if let Some(link) = link {
            self.state = State::Established(link);
        }
        self.fail(error, tell)
    }

    fn fail(&mut self, error: SessionError, tell: Option<Reason>) -> Result<(), SessionError> {
        self.end(Err(error), tell);
        Err(error)
    }

    /// The end: says goodbye if there is a way and a reason to.
    fn end(&mut self, outcome: Result<Reason, SessionError>, tell: Option<Reason>) {
        debug!("ntcp2: session with {:?} ends: {outcome:?}", self.peer);
        let state = mem::replace(&mut self.state, State::Closed);
        if let (State::Established(mut link), Some(reason)) = (state, tell) {
            link.terminate(reason, &mut self.rng, &mut self.pending);
        }
        if outcome.is_err_and(SessionError::abort) {
            self.pending = Vec::new();
            self.pending_from = 0;
        }
        self.waiting.clear();
        self.intake = Vec::new();
        self.stalled = None;
        self.events.push_back(SessionEvent::Closed(outcome));
    }
}

const fn assert_send<T: Send + 'static>() {}
const _: () = assert_send::<Session>();

#[cfg(test)]
mod tests;
