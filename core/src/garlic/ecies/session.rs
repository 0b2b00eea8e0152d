//! One session: its phases, and when it next needs attention.

use super::flight::Flight;
use super::handshake::{Initiator, Responder, Sets};
use super::ratchet::{Receiving, Sending};
use super::tagset::SessionTag;
use crate::crypto::x25519::PublicKey;
use crate::time::{Instant, earliest};
use crate::wire::garlic::MessageNumber;
use crate::wire::hash::Hash;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// A new session of ours waits this long for a reply; late replies are read as long, too.
const OPENING_LIFETIME: Duration = Duration::from_secs(3 * 60);
/// A new session of a peer that the owner has not bound to a destination.
const UNBOUND_LIFETIME: Duration = Duration::from_secs(30);
/// A new session of a peer that we may answer or have answered.
const ANSWERING_LIFETIME: Duration = Duration::from_secs(3 * 60);
/// Without a message from us for this long a session does not send: the peer forgets its tags
/// after ten minutes.
const SEND_LIFETIME: Duration = Duration::from_secs(8 * 60);
/// Without any message either way for this long a session ends.
const RECEIVE_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// Replies to one new session at most: as many tags as every sender keeps ready.
pub(super) const MAX_REPLIES: u32 = 12;
/// How long to wait for the peer to use the last of them.
const REPLY_PATIENCE: Duration = Duration::from_secs(5);
/// Acks kept for the peer at most; the oldest are dropped.
const MAX_ACKS: usize = 64;

/// A new session message of a peer.
pub(super) struct Answering {
    pub(super) responder: Responder,
    /// The sets of each reply, of which the peer picks one by using it.
    pub(super) candidates: Vec<Sets>,
    /// When to reply even if there is nothing to say.
    pub(super) reply_due: Option<Instant>,
}

/// Both sides have the sets.
pub(super) struct Established {
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    /// Reads replies that come after the first one.
    pub(super) late: Option<Initiator>,
    pub(super) flight: Flight,
    /// Acks to send.
    acks: VecDeque<MessageNumber>,
    /// When to send something even if there is nothing to say.
    pub(super) due: Option<Instant>,
}

impl Established {
    pub(super) fn new(sets: Sets, late: Option<Initiator>) -> Self {
        Self {
            sending: Sending::new(sets.send),
            receiving: Receiving::new(sets.receive),
            late,
            flight: Flight::default(),
            acks: VecDeque::new(),
            due: None,
        }
    }

    /// The peer asked for an Ack.
    pub(super) fn push_ack(&mut self, number: MessageNumber) {
        if self.acks.len() >= MAX_ACKS {
            self.acks.pop_front();
        }
        self.acks.push_back(number);
    }

    /// The Acks to put into the message at hand.
    pub(super) fn take_acks(&mut self) -> Vec<MessageNumber> {
        self.acks.drain(..).collect()
    }

    /// Something must be said by `at`.
    pub(super) fn say_by(&mut self, at: Instant) {
        self.due = earliest(self.due, Some(at));
    }
}

/// How far a session is.
pub(super) enum Phase {
    /// Our new session message is under way.
    Opening(Box<Initiator>),
    /// A peer's new session message has come.
    Answering(Box<Answering>),
    /// Existing session messages go both ways.
    Established(Box<Established>),
}

/// One session.
pub(super) struct Session {
    /// The peer's static key.
    pub(super) remote: PublicKey,
    /// The peer, as far as the owner has verified it.
    pub(super) destination: Option<Hash>,
    pub(super) created: Instant,
    /// When the peer last said something here; its new session message counts.
    pub(super) heard: Instant,
    /// When we last said something here, or could at first.
    pub(super) said: Instant,
    pub(super) phase: Phase,
    /// The entry in the owner's timer list.
    pub(super) armed: Option<Instant>,
    /// True while the session waits in the owner's list of those that have something to say.
    pub(super) queued: bool,
}

impl Session {
    pub(super) const fn new(
        now: Instant,
        remote: PublicKey,
        destination: Option<Hash>,
        phase: Phase,
    ) -> Self {
        Self {
            remote,
            destination,
            created: now,
            heard: now,
            said: now,
            phase,
            armed: None,
            queued: false,
        }
    }

    pub(super) const fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening(_))
    }

    pub(super) const fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(_))
    }

    /// When a message last went either way.
    pub(super) fn used(&self) -> Instant {
        self.heard.max(self.said)
    }

    /// With all replies made, when to stop waiting for the peer to use one of them.
    pub(super) fn patience(&self) -> Option<Instant> {
        let waits = self.is_answering() && self.replies() >= MAX_REPLIES;
        waits.then(|| self.said + REPLY_PATIENCE)
    }

    fn replies(&self) -> u32 {
        match &self.phase {
            Phase::Answering(answering) => answering.responder.replies(),
            Phase::Opening(_) | Phase::Established(_) => 0,
        }
    }

    /// True if a message to the peer can go on this session.
    pub(super) fn can_send(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Opening(_) => false,
            Phase::Answering(_) => self.replies() < MAX_REPLIES && self.expires() > now,
            Phase::Established(established) => {
                !established.sending.set.is_exhausted() && self.said + SEND_LIFETIME > now
            }
        }
    }

    /// True if the peer seems to have lost the session, or never had it.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Opening(_) => true,
            Phase::Answering(_) => false,
            Phase::Established(established) => established.flight.is_doubtful(now),
        }
    }

    /// When the session ends if nothing happens.
    pub(super) fn expires(&self) -> Instant {
        match &self.phase {
            Phase::Opening(_) => self.created + OPENING_LIFETIME,
            Phase::Answering(_) if self.destination.is_none() => self.created + UNBOUND_LIFETIME,
            Phase::Answering(_) => self.created + ANSWERING_LIFETIME,
            Phase::Established(_) => self.used() + RECEIVE_LIFETIME,
        }
    }

    /// When late replies are no longer read.
    pub(super) fn late_until(&self) -> Instant {
        self.created + OPENING_LIFETIME
    }

    /// When something must be said even if there is nothing to say.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            _ if self.queued || self.destination.is_none() => None,
            Phase::Opening(_) => None,
            Phase::Answering(answering) => answering.reply_due,
            Phase::Established(established) => established.due,
        }
    }

    /// There is nothing that must be said.
    pub(super) fn clear_due(&mut self) {
        match &mut self.phase {
            Phase::Opening(_) => {}
            Phase::Answering(answering) => answering.reply_due = None,
            Phase::Established(established) => established.due = None,
        }
    }

    /// When the owner must look at the session.
    pub(super) fn deadline(&self) -> Instant {
        let mut at = earliest(Some(self.expires()), self.due());
        if let Phase::Established(established) = &self.phase {
            at = earliest(at, established.receiving.poll_timeout());
            at = earliest(at, established.late.as_ref().map(|_| self.late_until()));
        }
        at.unwrap_or(self.created)
    }

    /// Takes all tags out of the owner's table.
    pub(super) fn clear(&mut self, mut remove: impl FnMut(&SessionTag)) {
        match &mut self.phase {
            Phase::Opening(initiator) => initiator.replies.clear(remove),
            Phase::Answering(answering) => {
                for candidate in &mut answering.candidates {
                    candidate.receive.clear(&mut remove);
                }
            }
            Phase::Established(established) => {
                established.receiving.clear(&mut remove);
                if let Some(late) = &mut established.late {
                    late.replies.clear(remove);
                }
            }
        }
    }
}
