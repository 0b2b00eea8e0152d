//! Encrypting.

use super::super::{
    BLOCK_HEADER_LEN, Block, Clove, DATE_TIME_BLOCK_LEN, DecodeError, MAX_BODY_LEN, MAX_PADDING,
    SealError, cloves_len, finish_body, new_body, pad, put_cloves,
};
use super::handshake::{Initiator, NEW_SESSION_OVERHEAD, REPLY_OVERHEAD, seal_one_time};
use super::limits::{ONE_TIME_INTERVAL, open_interval};
use super::session::{MAX_REPLIES, Phase, Session};
use super::table::{Expected, Place};
use super::tagset::SESSION_TAG_LEN;
use super::{
    AckId, EncryptError, Kind, Outgoing, Readiness, Remote, SendInfo, SendOptions, SessionId,
    Sessions,
};
use crate::crypto::aead::TAG_LEN;
use crate::time::{Instant, UnixTime};
use crate::wire::garlic::MessageNumber;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What an existing session message adds to its payload.
const EXISTING_OVERHEAD: usize = SESSION_TAG_LEN + TAG_LEN;
/// Room for everything in a message but its cloves: encryption, two next keys, acks, padding.
const RESERVED: usize = 512;
/// Bytes of the largest padding block.
const PADDING_LEN: usize = BLOCK_HEADER_LEN + MAX_PADDING;

/// The way a message takes.
enum Route {
    Session(SessionId),
    Open,
    Wait(Instant),
}

impl Sessions {
    /// Whether and how a message to `remote` would go now.
    #[must_use]
    pub fn readiness(&self, now: Instant, remote: &Remote) -> Readiness {
        match self.route(now, remote) {
            Route::Wait(until) => Readiness::Wait(until),
            Route::Open => Readiness::Ready { kind: Kind::NewSession, room: 1 },
            Route::Session(id) => match self.sessions.get(&id).map(|session| &session.phase) {
                Some(Phase::Established(established)) => {
                    let set = &established.sending.set;
                    let flight = &established.flight;
                    match flight.room(now, set.id(), set.sent()) {
                        0 => Readiness::Full(flight.probe_at(now)),
                        room => Readiness::Ready { kind: Kind::Existing, room },
                    }
                }
                Some(Phase::Answering(answering)) => {
                    let room = MAX_REPLIES.saturating_sub(answering.responder.replies());
                    Readiness::Ready { kind: Kind::Reply, room }
                }
                Some(Phase::Opening(_)) | None => Readiness::Wait(now),
            },
        }
    }

    /// Encrypts `cloves` to `remote`, and gives the body of a Garlic message.
    ///
    /// Without a session one is opened; until the peer replies, further messages go as further
    /// new sessions, each of which the peer may answer, but not faster than every second.
    /// A session on which the peer has fallen silent is used on while new ones are tried.
    pub fn encrypt(
        &mut self,
        now: Instant,
        unix: UnixTime,
        remote: &Remote,
        cloves: &[Clove],
        options: SendOptions,
    ) -> Result<(Vec<u8>, SendInfo), EncryptError> {
        if cloves_len(cloves)? > MAX_BODY_LEN - RESERVED {
            return Err(SealError::TooLarge(DecodeError::TooLarge("garlic")).into());
        }
        if !options.bind {
            return self.encrypt_one_time(now, unix, remote, cloves);
        }
        match self.route(now, remote) {
            Route::Session(id) => Ok(self.encrypt_in(now, id, cloves, options)?),
            Route::Open => Ok(self.open_session(now, unix, remote, cloves)?),
            Route::Wait(until) => Err(EncryptError::Wait(until)),
        }
    }

    /// The next message that a session needs sent although there is no data for it. Send it as
    /// any other; if it cannot be sent, drop it.
    #[must_use]
    pub fn poll_outgoing(&mut self, now: Instant) -> Option<Outgoing> {
        while let Some(id) = self.due.pop_front() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.queued = false;
            // A message with data may have said it all in the meantime.
            if session.due().is_none_or(|at| at > now) {
                self.arm(id);
                continue;
            }
            session.clear_due();
            let (key, destination) = (session.remote, session.destination);
            let can_send = session.can_send(now);
            self.arm(id);
            let options = SendOptions { expects_reply: false, ..SendOptions::default() };
            if can_send
                && let Some(destination) = destination
                && let Ok((body, info)) = self.encrypt_in(now, id, &[], options)
            {
                return Some(Outgoing {
                    remote: Remote { destination, key },
                    session: id,
                    kind: info.kind,
                    body,
                });
            }
        }
        None
    }

    fn route(&self, now: Instant, remote: &Remote) -> Route {
        let Some(state) = self.remotes.get(remote) else { return Route::Open };
        let sessions = || {
            state.sessions.iter().filter_map(|id| self.sessions.get(id).map(|found| (found, *id)))
        };
        let best = sessions()
            .filter(|(session, _)| session.can_send(now))
            .max_by_key(|(session, id)| (session.heard, *id));
        let patience = sessions().filter_map(|(session, _)| session.patience()).max();
        let blocked = state.next_open(open_interval).max(patience).filter(|at| *at > now);
        match (best, blocked) {
            (Some((session, _)), None) if session.is_doubtful(now) => Route::Open,
            (Some((_, id)), _) => Route::Session(id),
            (None, None) => Route::Open,
            (None, Some(until)) => Route::Wait(until),
        }
    }

    fn open_session(
        &mut self,
        now: Instant,
        unix: UnixTime,
        remote: &Remote,
        cloves: &[Clove],
    ) -> Result<(Vec<u8>, SendInfo), SealError> {
        self.limit_remote(*remote, Session::is_opening);
        let capacity = NEW_SESSION_OVERHEAD + DATE_TIME_BLOCK_LEN + cloves_len(cloves)?;
        let mut body = new_body(capacity + PADDING_LEN);
        let pair = self.keys.take(&mut self.rng).ok_or(SealError::NoKey)?;
        self.schedule_refill(now);
        let mut written = Ok(());
        let initiator = Initiator::seal(&self.local, &remote.key, pair, &mut body, |out| {
            let from = out.len();
            written = put_dated(unix, cloves, out);
            pad(&mut self.rng, NEW_SESSION_OVERHEAD, from, out);
        })?;
        written?;
        finish_body(&mut body)?;
        let phase = Phase::Opening(Box::new(initiator));
        let id = self.insert(now, Session::new(now, remote.key, Some(remote.destination), phase));
        if let Some(Session { phase: Phase::Opening(initiator), .. }) = self.sessions.get_mut(&id) {
            initiator.replies.extend_replies(|tag, index| {
                let expected = Expected { session: id, place: Place::Reply, index };
                self.tags.insert(&tag, expected);
            });
        }
        let state = self.remotes.entry(*remote).or_default();
        state.sessions.insert(id);
        state.tries = state.tries.saturating_add(1);
        state.last_open = Some(now);
        log::debug!("opening ratchet session {id:?} to {remote:?}, try {}", state.tries);
        self.arm(id);
        self.limit_tags(now, id);
        Ok((body, SendInfo { kind: Kind::NewSession, session: Some(id), ack: None }))
    }

    fn encrypt_one_time(
        &mut self,
        now: Instant,
        unix: UnixTime,
        remote: &Remote,
        cloves: &[Clove],
    ) -> Result<(Vec<u8>, SendInfo), EncryptError> {
        if let Some(state) = self.remotes.get_mut(remote) {
            if let Some(until) = state.next_open(|_| ONE_TIME_INTERVAL).filter(|at| *at > now) {
                return Err(EncryptError::Wait(until));
            }
            state.last_open = Some(now);
        }
        let capacity = NEW_SESSION_OVERHEAD + DATE_TIME_BLOCK_LEN + cloves_len(cloves)?;
        let mut body = new_body(capacity + PADDING_LEN);
        let pair = self.keys.take(&mut self.rng).ok_or(SealError::NoKey)?;
        self.schedule_refill(now);
        let mut written = Ok(());
        seal_one_time(&remote.key, &pair, &mut body, |out| {
            let from = out.len();
            written = put_dated(unix, cloves, out);
            pad(&mut self.rng, NEW_SESSION_OVERHEAD, from, out);
        })?;
        written?;
        finish_body(&mut body)?;
        Ok((body, SendInfo { kind: Kind::OneTime, session: None, ack: None }))
    }

    /// Encrypts in a session that can send.
    fn encrypt_in(
        &mut self,
        now: Instant,
        id: SessionId,
        cloves: &[Clove],
        options: SendOptions,
    ) -> Result<(Vec<u8>, SendInfo), SealError> {
        match self.sessions.get(&id).map(|session| &session.phase) {
            Some(Phase::Established(_)) => self.encrypt_existing(now, id, cloves, options),
            Some(Phase::Answering(_)) => self.encrypt_reply(now, id, cloves),
            Some(Phase::Opening(_)) | None => Err(SealError::NoKey),
        }
    }

    fn encrypt_reply(
        &mut self,
        now: Instant,
        id: SessionId,
        cloves: &[Clove],
    ) -> Result<(Vec<u8>, SendInfo), SealError> {
        let mut body = new_body(REPLY_OVERHEAD + cloves_len(cloves)? + PADDING_LEN);
        let pair = self.keys.take(&mut self.rng).ok_or(SealError::NoKey)?;
        self.schedule_refill(now);
        let look = self.look();
        let Some(session) = self.sessions.get_mut(&id) else { return Err(SealError::NoKey) };
        let Phase::Answering(answering) = &mut session.phase else {
            return Err(SealError::NoKey);
        };
        let rng = &mut self.rng;
        let mut written = Ok(());
        let mut sets = answering.responder.seal_reply(&pair, &mut body, |out| {
            let from = out.len();
            written = put_cloves(cloves, out);
            pad(rng, REPLY_OVERHEAD, from, out);
        })?;
        written?;
        finish_body(&mut body)?;
        let candidate = u16::try_from(answering.candidates.len()).unwrap_or(u16::MAX);
        sets.receive.extend_candidate(look, |tag, index| {
            let place = Place::Candidate(candidate);
            self.tags.insert(&tag, Expected { session: id, place, index });
        });
        answering.candidates.push(sets);
        answering.reply_due = None;
        session.said = now;
        self.limit_tags(now, id);
        Ok((body, SendInfo { kind: Kind::Reply, session: Some(id), ack: None }))
    }

    fn encrypt_existing(
        &mut self,
        now: Instant,
        id: SessionId,
        cloves: &[Clove],
        options: SendOptions,
    ) -> Result<(Vec<u8>, SendInfo), SealError> {
        let mut body = new_body(RESERVED + cloves_len(cloves)?);
        let Some(session) = self.sessions.get_mut(&id) else { return Err(SealError::NoKey) };
        let Phase::Established(established) = &mut session.phase else {
            return Err(SealError::NoKey);
        };
        let rng = &mut self.rng;
        established.sending.start(self.next_key_at, rng);
        // A message without data asks for nothing, or two idle peers would never come to rest.
        let requests_ack = !cloves.is_empty() && (options.ack || established.flight.wants_ack(now));
        let mut tail = Vec::new();
        if requests_ack {
            tail.push(Block::AckRequest);
        }
        let acks = established.take_acks();
        if !acks.is_empty() {
            tail.push(Block::Ack(acks));
        }
        tail.extend(established.receiving.block().copied().map(Block::NextKey));
        tail.extend(established.sending.block().copied().map(Block::NextKey));
        let set = established.sending.set.id();
        let mut written = Ok(());
        let index = established.sending.set.seal(&mut body, |out| {
            let from = out.len();
            written = put_cloves(cloves, out).and_then(|()| put_blocks(&tail, out));
            pad(rng, EXISTING_OVERHEAD, from, out);
        });
        written?;
        let index = index.ok_or(SealError::NoKey)?;
        finish_body(&mut body)?;
        let number = MessageNumber { set, index };
        established.flight.sent(now, number, requests_ack, options.expects_reply);
        established.due = None;
        session.said = now;
        let ack = requests_ack.then_some(AckId { session: id, number });
        Ok((body, SendInfo { kind: Kind::Existing, session: Some(id), ack }))
    }
}

fn put_blocks(blocks: &[Block<'_>], out: &mut Vec<u8>) -> Result<(), SealError> {
    blocks.iter().try_for_each(|block| block.encode(out)).map_err(SealError::TooLarge)
}

/// A date and `cloves`: the payload of a new session.
fn put_dated(unix: UnixTime, cloves: &[Clove], out: &mut Vec<u8>) -> Result<(), SealError> {
    Block::DateTime(unix).encode(out).map_err(SealError::TooLarge)?;
    put_cloves(cloves, out)
}
