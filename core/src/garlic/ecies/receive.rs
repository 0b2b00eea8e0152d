//! Decrypting.

use super::super::{MAX_AGE, MAX_AHEAD, OpenError, Payload, open_body};
use super::handshake::{KEY_LEN, Responder, Sets};
use super::limits::ANSWER_DELAY;
use super::session::{Answering, Established, Phase, Session};
use super::table::{Expected, Place};
use super::tagset::{ReceiveSet, SESSION_TAG_LEN, SessionTag};
use super::{AckId, Event, Kind, Received, Remote, SessionId, Sessions};
use crate::crypto::elligator2;
use crate::time::{Instant, UnixTime};
use crate::wire::codec::DecodeError;
use crate::wire::garlic::{DATE_TIME_BLOCK_LEN, MessageNumber};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The shortest new session message.
const MIN_NEW_SESSION_LEN: usize = KEY_LEN + 48 + DATE_TIME_BLOCK_LEN + 16;

impl Sessions {
    /// Decrypts the body of a Garlic message in place. Nothing that is forged, cut or repeated
    /// changes any session.
    pub fn handle(
        &mut self,
        now: Instant,
        unix: UnixTime,
        body: &mut [u8],
    ) -> Result<Received, OpenError> {
        let data = open_body(body)?;
        let (tag, _) = data.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let tag: SessionTag = *tag;
        if let Some(expected) = self.tags.get(&tag) {
            let sealed = data.get_mut(SESSION_TAG_LEN..).ok_or(DecodeError::Truncated)?;
            return match expected.place {
                Place::Reply => self.handle_reply(now, expected, &tag, sealed),
                Place::Candidate(candidate) => {
                    self.handle_first(now, expected, candidate, &tag, sealed)
                }
                Place::Set(set) => self.handle_existing(now, expected, set, &tag, sealed),
            };
        }
        if self.used_tags.contains(u64::from_le_bytes(tag)) {
            return Err(OpenError::Replayed);
        }
        self.handle_new_session(now, unix, data)
    }

    fn handle_new_session(
        &mut self,
        now: Instant,
        unix: UnixTime,
        data: &mut [u8],
    ) -> Result<Received, OpenError> {
        if data.len() < MIN_NEW_SESSION_LEN {
            return Err(OpenError::Undecryptable);
        }
        let (encoded, rest) =
            data.split_first_chunk_mut::<KEY_LEN>().ok_or(OpenError::Undecryptable)?;
        let ephemeral = elligator2::decode(encoded).map_err(|_| OpenError::Undecryptable)?;
        // By the decoded key: it has several encodings.
        let [a, b, c, d, e, f, g, h, ..] = ephemeral.0;
        let fingerprint = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if self.replays.contains(fingerprint) {
            return Err(OpenError::Replayed);
        }
        if !self.admission.take(now) {
            return Err(OpenError::Throttled);
        }
        let (responder, payload) = Responder::open(&self.local, ephemeral, rest)?;
        self.replays.insert(now + MAX_AGE + MAX_AHEAD, fingerprint);
        let payload = Payload::decode(payload)?;
        payload.sent.ok_or(OpenError::NoDate)?;
        payload.check_date(unix)?;
        let cloves = payload.cloves;
        let Some(responder) = responder else {
            return Ok(Received {
                kind: Kind::OneTime,
                session: None,
                remote_key: None,
                destination: None,
                cloves,
            });
        };
        let remote = *responder.remote();
        let answering = Answering { responder, candidates: Vec::new(), reply_due: None };
        let phase = Phase::Answering(Box::new(answering));
        let id = self.insert(now, Session::new(now, remote, None, phase));
        self.arm(id);
        Ok(Received {
            kind: Kind::NewSession,
            session: Some(id),
            remote_key: Some(remote),
            destination: None,
            cloves,
        })
    }

    /// A reply to a new session of ours: the first one, or a later one, of which only the
    /// contents matter.
    fn handle_reply(
        &mut self,
        now: Instant,
        expected: Expected,
        tag: &SessionTag,
        sealed: &mut [u8],
    ) -> Result<Received, OpenError> {
        let id = expected.session;
        let look = self.look();
        let other = self.sound_session(now, id);
        let session = self.sessions.get_mut(&id).ok_or(OpenError::Undecryptable)?;
        let initiator = match &mut session.phase {
            Phase::Opening(initiator) => &mut **initiator,
            Phase::Established(established) => {
                established.late.as_mut().ok_or(OpenError::Undecryptable)?
            }
            Phase::Answering(_) => return Err(OpenError::Undecryptable),
        };
        let (mut sets, payload) = initiator.open_reply(&self.local, tag, sealed)?;
        // Everything is authentic: from here on the reply counts.
        initiator.replies.mark_received(expected.index);
        self.tags.remove(tag, id);
        initiator.replies.extend_replies(|tag, index| {
            self.tags.insert(&tag, Expected { session: id, place: Place::Reply, index });
        });
        let key = session.remote;
        let destination = session.destination;
        // While another session with the peer is in use, the peer may have forgotten this one.
        let establishes = session.is_opening() && other.is_none();
        if establishes {
            sets.receive.extend(look, |tag, index| {
                let place = Place::Set(0);
                self.tags.insert(&tag, Expected { session: id, place, index });
            });
            session.establish(sets);
            session.heard = now;
            session.said = now;
        }
        // The peer must see an existing session message before it can send any.
        let speaker = other.filter(|_| !establishes).unwrap_or(id);
        if let Some(Session { phase: Phase::Established(established), .. }) =
            self.sessions.get_mut(&speaker)
        {
            established.say_by(now + ANSWER_DELAY);
            self.arm(speaker);
        }
        if let Some(destination) = destination.filter(|_| establishes) {
            self.established(id, Remote { destination, key });
        }
        self.finish(now, id, tag);
        Ok(Received {
            kind: Kind::Reply,
            session: Some(id),
            remote_key: Some(key),
            destination,
            cloves: Payload::decode(payload)?.cloves,
        })
    }

    /// The first message on the sets of one of our replies: the peer has picked that one.
    fn handle_first(
        &mut self,
        now: Instant,
        expected: Expected,
        candidate: u16,
        tag: &SessionTag,
        sealed: &mut [u8],
    ) -> Result<Received, OpenError> {
        let id = expected.session;
        let session = self.sessions.get_mut(&id).ok_or(OpenError::Undecryptable)?;
        let Phase::Answering(answering) = &mut session.phase else {
            return Err(OpenError::Undecryptable);
        };
        let sets =
            answering.candidates.get_mut(usize::from(candidate)).ok_or(OpenError::Undecryptable)?;
        let payload = sets.receive.open(expected.index, tag, sealed)?;
        let chosen = answering.candidates.swap_remove(candidate.into());
        let tags = &mut self.tags;
        for other in &mut answering.candidates {
            other.receive.clear(|tag| tags.remove(tag, id));
        }
        // The chosen set's tags move to their new place.
        tags.remove(tag, id);
        chosen.receive.for_each_tag(|tag, index| {
            tags.remove(tag, id);
            tags.insert(tag, Expected { session: id, place: Place::Set(0), index });
        });
        session.phase = Phase::Established(Box::new(Established::new(chosen, None)));
        self.answering.remove(&id);
        session.heard = now;
        session.said = now;
        if let Some(destination) = session.destination {
            let remote = Remote { destination, key: session.remote };
            self.established(id, remote);
        }
        let number = MessageNumber { set: 0, index: expected.index };
        self.handle_payload(now, id, number, tag, payload)
    }

    fn handle_existing(
        &mut self,
        now: Instant,
        expected: Expected,
        set: u16,
        tag: &SessionTag,
        sealed: &mut [u8],
    ) -> Result<Received, OpenError> {
        let id = expected.session;
        let session = self.sessions.get_mut(&id).ok_or(OpenError::Undecryptable)?;
        let Phase::Established(established) = &mut session.phase else {
            return Err(OpenError::Undecryptable);
        };
        let payload = established.receiving.open(now, set, expected.index, tag, sealed)?;
        let number = MessageNumber { set, index: expected.index };
        self.handle_payload(now, id, number, tag, payload)
    }

    /// A decrypted existing session message.
    fn handle_payload(
        &mut self,
        now: Instant,
        id: SessionId,
        number: MessageNumber,
        tag: &SessionTag,
        payload: &[u8],
    ) -> Result<Received, OpenError> {
        let look = self.look();
        let session = self.sessions.get_mut(&id).ok_or(OpenError::Undecryptable)?;
        session.heard = now;
        let (key, destination) = (session.remote, session.destination);
        let Phase::Established(established) = &mut session.phase else {
            return Err(OpenError::Undecryptable);
        };
        established.flight.heard(now);
        self.tags.remove(tag, id);
        if let Some(set) = established.receiving.set(number.set) {
            let place = Place::Set(number.set);
            set.extend(look, |tag, index| {
                self.tags.insert(&tag, Expected { session: id, place, index });
            });
            set.trim(|tag| self.tags.remove(tag, id));
        }
        let decoded = Payload::decode(payload);
        let mut acked = Vec::new();
        let mut terminated = false;
        if let Ok(payload) = &decoded {
            terminated = payload.terminated;
            if payload.ack_requested {
                established.push_ack(number);
                established.say_by(now + ANSWER_DELAY);
            }
            let acks = payload.acks.iter().copied();
            acked.extend(acks.filter(|ack| established.flight.acked(*ack)));
            for next in &payload.next_keys {
                if next.reverse {
                    if established.sending.handle_reverse(next) {
                        let set = established.sending.set.id();
                        log::debug!("ratchet session {id:?} sends on set {set}");
                    }
                    continue;
                }
                let tags = &mut self.tags;
                let drop = |mut set: ReceiveSet| set.clear(|tag| tags.remove(tag, id));
                let receiving = &mut established.receiving;
                if receiving.handle_forward(number.set, next, &mut self.rng, drop)
                    && let Some(set) = receiving.newest()
                {
                    let place = Place::Set(set.id());
                    set.extend(look, |tag, index| {
                        self.tags.insert(&tag, Expected { session: id, place, index });
                    });
                }
                // New or repeated: the peer waits for the answer.
                if receiving.block().is_some() {
                    established.say_by(now + ANSWER_DELAY);
                }
            }
        }
        self.finish(now, id, tag);
        for number in acked {
            self.push_event(Event::Acked(AckId { session: id, number }));
        }
        if terminated {
            self.remove(id);
        }
        Ok(Received {
            kind: Kind::Existing,
            session: Some(id),
            remote_key: Some(key),
            destination,
            cloves: decoded?.cloves,
        })
    }

    /// The peer has shown that it has the session.
    fn established(&mut self, id: SessionId, remote: Remote) {
        log::debug!("ratchet session {id:?} with {remote:?} is established");
        self.limit_remote(remote, |session| matches!(session.phase, Phase::Established(_)));
        self.push_event(Event::Established { session: id, remote });
    }

    /// What follows every message under a tag: the tag is remembered, the peer is alive, and
    /// limits and timers hold.
    fn finish(&mut self, now: Instant, id: SessionId, tag: &SessionTag) {
        self.used_tags.insert(now + MAX_AGE, u64::from_le_bytes(*tag));
        if let Some(session) = self.sessions.get(&id)
            && let Some(destination) = session.destination
            && let Some(state) = self.remotes.get_mut(&Remote { destination, key: session.remote })
        {
            state.tries = 0;
        }
        self.arm(id);
        self.limit_tags(now, id);
    }

    /// Another session on which the peer of session `id` can be reached.
    fn sound_session(&self, now: Instant, id: SessionId) -> Option<SessionId> {
        let session = self.sessions.get(&id)?;
        let remote = Remote { destination: session.destination?, key: session.remote };
        let ids = self.remotes.get(&remote).into_iter().flat_map(|state| &state.sessions);
        ids.copied().find(|other| {
            *other != id
                && self.sessions.get(other).is_some_and(|other| {
                    let established = matches!(other.phase, Phase::Established(_));
                    established && other.can_send(now) && !other.is_doubtful(now)
                })
        })
    }
}

impl Session {
    /// Our new session was answered.
    fn establish(&mut self, sets: Sets) {
        // The old phase is taken out to keep the handshake for replies that come late.
        let placeholder = Phase::Established(Box::new(Established::new(sets, None)));
        if let Phase::Opening(initiator) = core::mem::replace(&mut self.phase, placeholder)
            && let Phase::Established(established) = &mut self.phase
        {
            established.late = Some(*initiator);
        }
    }
}
