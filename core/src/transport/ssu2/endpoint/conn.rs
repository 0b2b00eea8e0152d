//! One session of an endpoint, from its first packet.

use super::super::handshake::{initiator, responder};
use super::super::session::Session;
use crate::crypto::Key32;
use crate::time::{Instant, UnixTime};
use crate::transport::queue::SendQueue;
use crate::wire::hash::Hash;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Until a packet of a handshake goes again; doubled each time.
const AGAIN: Duration = Duration::from_millis(1250);
/// A peer that repeats itself gets our answer again so many times, and with so much time between: whoever recorded
/// what it sent can repeat it too.
const REPEATS: u8 = 4;
const REPEAT_AFTER: Duration = Duration::from_millis(250);

/// How far it is.
pub(super) enum Stage {
    /// A TokenRequest was sent.
    Asking(Box<initiator::AwaitRetry>),
    /// A SessionRequest was sent.
    Requesting(Box<initiator::AwaitCreated>),
    /// A SessionCreated was sent.
    Greeting(Box<responder::AwaitConfirmed>),
    /// It is up, or says goodbye.
    Up(Box<Session>),
    /// To be forgotten.
    Over,
}

/// When a packet of the handshake goes, and goes again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resend {
    next: Instant,
    wait: Duration,
    until: Instant,
    /// When it went last.
    sent: Option<Instant>,
    repeats: u8,
}

/// A session.
pub(super) struct Conn {
    /// Where the peer is while the handshake lasts.
    pub(super) remote: SocketAddr,
    /// Whom we connect to; `None` when the other side began.
    pub(super) peer: Option<Hash>,
    pub(super) stage: Stage,
    pub(super) resend: Resend,
    /// What waits for the end of the handshake.
    pub(super) queue: SendQueue,
    pub(super) timer: Option<Instant>,
    pub(super) ready: bool,
    /// Not to be asked for datagrams.
    pub(super) held: bool,
    /// Bytes of messages that are not whole, as they were counted last.
    pub(super) parts: usize,
}

impl Resend {
    /// At once, until `timeout` is over.
    pub(super) fn new(now: Instant, timeout: Duration) -> Self {
        Self { next: now, wait: AGAIN, until: now + timeout, sent: None, repeats: 0 }
    }

    /// There is another packet to send.
    pub(super) const fn restart(&mut self, now: Instant) {
        (self.next, self.wait, self.sent) = (now, AGAIN, None);
    }

    /// The peer seems not to have got it.
    pub(super) fn repeat(&mut self, now: Instant) {
        let due = |at| now.saturating_since(at) >= REPEAT_AFTER;
        if self.repeats < REPEATS && self.sent.is_some_and(due) {
            self.repeats += 1;
            self.next = self.next.min(now);
        }
    }

    /// When the handshake has lasted too long.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// Whether the packet goes now, and whether it went before.
    fn take(&mut self, now: Instant) -> Option<bool> {
        if now < self.next {
            return None;
        }
        self.next = now + self.wait;
        self.wait = (self.wait * 2).min(self.until.saturating_since(now).max(AGAIN));
        Some(self.sent.replace(now).is_some())
    }
}

impl Conn {
    pub(super) fn new(
        remote: SocketAddr,
        peer: Option<Hash>,
        stage: Stage,
        resend: Resend,
    ) -> Self {
        let queue = SendQueue::default();
        Self {
            remote,
            peer,
            stage,
            resend,
            queue,
            timer: None,
            ready: false,
            held: false,
            parts: 0,
        }
    }

    /// What masks the ids in the peer's packets of a handshake that we began.
    pub(super) fn first_key(&self) -> Option<&Key32> {
        match &self.stage {
            Stage::Asking(state) => Some(state.intro()),
            Stage::Requesting(state) => Some(state.intro()),
            Stage::Greeting(_) | Stage::Up(_) | Stage::Over => None,
        }
    }

    /// Appends the next datagram and says where it goes.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        if let Stage::Up(session) = &mut self.stage {
            return session.poll_transmit(now, unix, out);
        }
        let again = self.resend.take(now)?;
        let packet = match (&mut self.stage, again) {
            (Stage::Asking(state), false) => state.packet(),
            (Stage::Asking(state), true) => state.again(),
            (Stage::Requesting(state), false) => state.packet(),
            (Stage::Requesting(state), true) => state.again(),
            (Stage::Greeting(state), false) => state.packet(),
            (Stage::Greeting(state), true) => state.again(),
            (Stage::Up(_) | Stage::Over, _) => return None,
        };
        out.extend_from_slice(packet);
        Some(self.remote)
    }

    /// Whether it is not to be asked for datagrams. What ends is not held back.
    pub(super) fn is_held(&self) -> bool {
        self.held && !matches!(&self.stage, Stage::Up(session) if !session.is_open())
    }

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Up(session) => session.poll_timeout(),
            Stage::Asking(_) | Stage::Requesting(_) | Stage::Greeting(_) => {
                Some(self.resend.next.min(self.resend.until))
            }
            Stage::Over => None,
        }
    }
}
