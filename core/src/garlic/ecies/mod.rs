//! ECIES-X25519-AEAD-Ratchet: the sessions of one destination (specification `ecies`).

mod flight;
mod handshake;
mod limits;
mod ratchet;
mod receive;
mod send;
mod session;
mod table;
mod tagset;
#[cfg(test)]
mod tests;
mod types;
#[cfg(test)]
mod vectors;

use crate::audit::Audit;
use crate::crypto::elligator2::KeyQueue;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::{Instant, earliest};
use crate::wire::hash::Hash;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use handshake::Local;
use limits::{
    ANSWER_DELAY, ANSWER_GRACE, Admission, MAX_EVENTS, MAX_TIMERS_PER_CALL, MAX_USED_TAGS,
    NEXT_KEY_AT, REFILL_INTERVAL, REFILL_TRIES, TAG_COST,
};
pub use limits::{
    MAX_ANSWERING, MAX_REPLAY_ENTRIES, MAX_SESSIONS, MAX_SESSIONS_PER_REMOTE, MAX_TAG_MEMORY,
    MAX_TAGS, MAX_UNBOUND,
};
use session::{Phase, Session};
use table::{Seen, TagTable};
use tagset::Look;
pub use types::{
    AckId, EncryptError, Event, Kind, Outgoing, Readiness, Received, Remote, SendInfo, SendOptions,
    SessionId,
};

/// All sessions of one destination.
///
/// After each `handle_*` or verb drain [`poll_event`](Self::poll_event), then
/// [`poll_outgoing`](Self::poll_outgoing), then arm a timer for
/// [`poll_timeout`](Self::poll_timeout).
///
/// A new session from a peer is known by the peer's static key alone. The owner verifies the
/// LeaseSet among the cloves, compares its key, and calls [`bind`](Self::bind); only then can the
/// peer be answered. Of several sessions with a peer, messages go on the one on which the peer
/// was heard last.
pub struct Sessions {
    local: Local,
    rng: Rng,
    keys: KeyQueue,
    sessions: BTreeMap<SessionId, Session>,
    next_id: u64,
    tags: TagTable,
    remotes: BTreeMap<Remote, RemoteState>,
    /// Sessions in the phase `Answering`, and those of them that are not bound.
    answering: BTreeSet<SessionId>,
    unbound: BTreeSet<SessionId>,
    timers: BTreeSet<(Instant, SessionId)>,
    /// Sessions that have something to say.
    due: VecDeque<SessionId>,
    events: VecDeque<Event>,
    /// Ephemeral keys of peers' new sessions.
    replays: Seen,
    /// Tags that were used up lately.
    used_tags: Seen,
    admission: Admission,
    refill_at: Option<Instant>,
    max_tags: usize,
    next_key_at: u32,
}

/// What we know of a peer beyond its sessions.
#[derive(Default)]
struct RemoteState {
    sessions: BTreeSet<SessionId>,
    /// New sessions since the peer was last heard.
    tries: usize,
    last_open: Option<Instant>,
}

impl RemoteState {
    /// When the next new session may be opened.
    fn next_open(&self, interval: impl FnOnce(usize) -> Duration) -> Option<Instant> {
        self.last_open.map(|at| at + interval(self.tries))
    }
}

impl Sessions {
    /// None yet. `key` is the one that our LeaseSet lists under encryption type 4.
    #[must_use]
    pub fn new(key: Arc<PrivateKey>, mut rng: Rng) -> Self {
        let mut secrets = rng.fork("tables");
        Self {
            local: Local::new(key),
            keys: KeyQueue::default(),
            sessions: BTreeMap::new(),
            next_id: 0,
            tags: TagTable::new(&mut secrets),
            remotes: BTreeMap::new(),
            answering: BTreeSet::new(),
            unbound: BTreeSet::new(),
            timers: BTreeSet::new(),
            due: VecDeque::new(),
            events: VecDeque::new(),
            replays: Seen::new(MAX_REPLAY_ENTRIES, &mut secrets),
            used_tags: Seen::new(MAX_USED_TAGS, &mut secrets),
            admission: Admission::default(),
            refill_at: None,
            max_tags: MAX_TAGS,
            next_key_at: NEXT_KEY_AT,
            rng,
        }
    }

    /// Our static public key.
    #[must_use]
    pub const fn public_key(&self) -> &PublicKey {
        self.local.public()
    }

    /// Sessions in all phases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// True if there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Tags that wait for messages; each takes about a hundred bytes.
    #[must_use]
    pub fn tag_count(&self) -> usize {
        self.tags.len()
    }

    /// With whom a session is, once it is bound.
    #[must_use]
    pub fn remote(&self, session: SessionId) -> Option<Remote> {
        let session = self.sessions.get(&session)?;
        Some(Remote { destination: session.destination?, key: session.remote })
    }

    /// Bounds the memory of the tags to `bytes`, at most [`MAX_TAG_MEMORY`]: the share of this
    /// destination when a router has many. A lower bound takes effect as messages come.
    pub fn limit_tag_memory(&mut self, bytes: usize) {
        self.max_tags = bytes.min(MAX_TAG_MEMORY) / TAG_COST;
    }

    /// Says that `session`, which a peer opened, is one with `destination`: the owner has found
    /// the session's remote key in that destination's verified LeaseSet. From now on the peer can
    /// be answered. False if the session is gone or bound to another destination.
    pub fn bind(&mut self, now: Instant, session: SessionId, destination: Hash) -> bool {
        let Some(found) = self.sessions.get_mut(&session) else { return false };
        if let Some(bound) = found.destination {
            return bound == destination;
        }
        found.destination = Some(destination);
        let remote = Remote { destination, key: found.remote };
        if let Phase::Answering(answering) = &mut found.phase {
            answering.reply_due = Some(now + ANSWER_DELAY);
        }
        self.unbound.remove(&session);
        self.limit_remote(remote, Session::is_answering);
        self.remotes.entry(remote).or_default().sessions.insert(session);
        self.arm(session);
        true
    }

    /// The owner doubts that the peer still hears us (retransmissions go unanswered, say): a new
    /// session will be tried soon, unless the peer is heard from first.
    pub fn suspect(&mut self, remote: &Remote) {
        let ids = self.remotes.get(remote).into_iter().flat_map(|state| &state.sessions);
        for id in ids {
            if let Some(Session { phase: Phase::Established(established), .. }) =
                self.sessions.get_mut(id)
            {
                established.flight.suspect();
            }
        }
    }

    /// What happened since the last call.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Time passed. Does a bounded amount of work; if more is left,
    /// [`poll_timeout`](Self::poll_timeout) stays at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.replays.expire(now);
        self.used_tags.expire(now);
        if self.refill_at.is_some_and(|at| at <= now) {
            self.keys.refill(&mut self.rng, REFILL_TRIES);
            self.refill_at = self.keys.wants_more().then(|| now + REFILL_INTERVAL);
        }
        for _ in 0..MAX_TIMERS_PER_CALL {
            let Some(&(at, id)) = self.timers.first() else { return };
            if at > now {
                return;
            }
            self.timers.remove(&(at, id));
            self.look_after(now, id);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.timers.first().map(|(at, _)| *at), self.refill_at)
    }

    /// A session's timer fired.
    fn look_after(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.armed = None;
        if session.expires() <= now {
            log::debug!("ratchet session {id:?} expired");
            return self.remove(id);
        }
        let late_is_over = session.late_until() <= now;
        if session.due().is_some_and(|at| at <= now) {
            session.queued = true;
            self.due.push_back(id);
        }
        if let Phase::Established(established) = &mut session.phase {
            let tags = &mut self.tags;
            established.receiving.expire(now, |mut set| set.clear(|tag| tags.remove(tag, id)));
            if late_is_over && let Some(mut late) = established.late.take() {
                late.replies.clear(|tag| tags.remove(tag, id));
            }
        }
        self.arm(id);
    }

    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let sessions = self.sessions.len();
        audit.see("ratchet: sessions", sessions, MAX_SESSIONS);
        audit.see("ratchet: sessions that answer", self.answering.len(), MAX_ANSWERING);
        audit.see("ratchet: sessions of nobody", self.unbound.len(), MAX_UNBOUND);
        audit.see("ratchet: timers", self.timers.len(), sessions);
        audit.see("ratchet: tags", self.tags.len(), self.max_tags);
        audit.drained("ratchet: sessions that are due", self.due.len());
        audit.drained("ratchet: events", self.events.len());
        self.replays.audit(audit);
        self.used_tags.audit(audit);
        for remote in self.remotes.values() {
            // In each of two phases.
            let most = 2 * MAX_SESSIONS_PER_REMOTE;
            audit.see("ratchet: sessions with one peer", remote.sessions.len(), most);
        }
    }

    /// Makes sure that the session's timer fires in time; an earlier one may fire in vain.
    fn arm(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let deadline = session.deadline();
        if session.armed.is_some_and(|at| at <= deadline) {
            return;
        }
        if let Some(at) = session.armed.replace(deadline) {
            self.timers.remove(&(at, id));
        }
        self.timers.insert((deadline, id));
    }

    /// Adds a session, making room for it.
    fn insert(&mut self, now: Instant, session: Session) -> SessionId {
        let answering = session.is_answering();
        let crowd = if !answering {
            None
        } else if self.unbound.len() >= MAX_UNBOUND {
            self.unbound.first()
        } else if self.answering.len() >= MAX_ANSWERING {
            self.answering.first()
        } else {
            None
        };
        if let Some(&oldest) = crowd {
            self.remove(oldest);
        }
        while self.sessions.len() >= MAX_SESSIONS && self.evict(now, None) {}
        let id = SessionId(self.next_id);
        self.next_id += 1;
        if answering {
            self.answering.insert(id);
            self.unbound.insert(id);
        }
        self.sessions.insert(id, session);
        id
    }

    /// Drops sessions until the tags fit, but not `keep`.
    fn limit_tags(&mut self, now: Instant, keep: SessionId) {
        while self.tags.len() > self.max_tags && self.evict(now, Some(keep)) {}
    }

    /// Drops the session that is missed least, but not `keep`: one that its peer opened and had
    /// time to go on with, but did not, or one of too many of those; or else the one idle for
    /// longest.
    fn evict(&mut self, now: Instant, keep: Option<SessionId>) -> bool {
        let others = self.sessions.iter().filter(|(id, _)| Some(**id) != keep);
        let crowded = self.answering.len() > MAX_ANSWERING / 2;
        let abandoned = self.answering.iter().find(|id| Some(**id) != keep).copied().filter(|id| {
            crowded
                || self
                    .sessions
                    .get(id)
                    .is_some_and(|session| now.saturating_since(session.created) >= ANSWER_GRACE)
        });
        let victim = abandoned.or_else(|| {
            others
                .min_by_key(|(id, session)| (session.is_answering(), session.used(), **id))
                .map(|(id, _)| *id)
        });
        if let Some(id) = victim {
            log::debug!("dropping ratchet session {id:?} to make room");
            self.remove(id);
        }
        victim.is_some()
    }

    /// Leaves room for one more session with `remote` in the phase that `phase` tells.
    fn limit_remote(&mut self, remote: Remote, phase: impl Fn(&Session) -> bool) {
        let Some(state) = self.remotes.get(&remote) else { return };
        let mut same: Vec<_> = state
            .sessions
            .iter()
            .filter_map(|id| self.sessions.get(id).map(|session| (session, *id)))
            .filter(|(session, _)| phase(session))
            .map(|(session, id)| (session.used(), id))
            .collect();
        same.sort_unstable();
        let surplus = (same.len() + 1).saturating_sub(MAX_SESSIONS_PER_REMOTE);
        for (_, id) in same.into_iter().take(surplus) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: SessionId) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        let tags = &mut self.tags;
        session.clear(|tag| tags.remove(tag, id));
        if let Some(at) = session.armed {
            self.timers.remove(&(at, id));
        }
        self.answering.remove(&id);
        self.unbound.remove(&id);
        if let Some(destination) = session.destination {
            let remote = Remote { destination, key: session.remote };
            if let Some(state) = self.remotes.get_mut(&remote) {
                state.sessions.remove(&id);
                if state.sessions.is_empty() {
                    self.remotes.remove(&remote);
                }
            }
        }
    }

    /// How far receive sets look ahead at the present use of memory.
    fn look(&self) -> Look {
        if self.tags.len() > self.max_tags / 2 { Look::Near } else { Look::Far }
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The key queue was drawn from.
    fn schedule_refill(&mut self, now: Instant) {
        if self.keys.wants_more() {
            self.refill_at.get_or_insert(now + REFILL_INTERVAL);
        }
    }
}

const fn assert_send<T: Send + 'static>() {}
const _: () = assert_send::<Sessions>();
