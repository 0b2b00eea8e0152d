//! Destinations: lease sets, the routes between two of them, and end-to-end encryption.
//!
//! A [`Destination`] turns payloads into garlic messages for the other side's leases, and garlic
//! messages back into payloads. It owns the lease sets that it learned: two destinations of one
//! router share none, so that nobody can link them by what they know (CVE-2023-36325).

mod acks;
mod own;
mod remotes;
mod routes;
mod send;
#[cfg(test)]
mod tests;

use crate::audit::Audit;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::garlic::ecies::{self, Kind, Sessions};
use crate::keys::DestinationKeys;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::tunnel::OutboundId;
use crate::wire::garlic::Delivery;
use crate::wire::hash::Hash;
use crate::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry, sized};
use crate::wire::identity::Identity;
use crate::wire::lease_set::{Lease, LeaseSet};
use crate::wire::payload::Payload;
use acks::Acks;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use remotes::Remotes;
pub use routes::Unresolved;
use routes::{REFRESH_AGAIN, Resolution};
pub use send::Parcel;

/// How long a message may take to the other side.
const MESSAGE_LIFETIME: Duration = Duration::from_secs(10);
/// A remote that nothing reached is sought anew for this long after that was said last.
const SEEK_FOR: Duration = Duration::from_secs(30);
/// Remotes that are sought anew; when full, no other one is.
const MAX_LOST: usize = 16;
/// Of these so many at a time.
const SOUGHT_AT_ONCE: usize = 4;
/// Timeouts in a row after which a session is doubted.
const SUSPECT_AFTER: u32 = 3;
/// Encryption type of our ratchet key in lease sets.
const X25519: u16 = 4;

/// What a destination wants done, or has to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum DestinationAction {
    /// Find the lease set with this key, then call `handle_lease_set` or `handle_lookup_failed`.
    Lookup(Hash),
    /// Our lease set is new: publish it. Never for a destination that is a client only.
    Publish(LeaseSet),
    /// Send a garlic message to a lease, then call `handle_sent`, or `handle_unsent`.
    Send {
        /// Our tunnel to use; another one if that is gone or in doubt.
        via: OutboundId,
        /// What goes where.
        parcel: Parcel,
    },
    /// The other side received what left through `via` at the time `sent`: the tunnel works.
    Confirmed {
        /// Which tunnel.
        via: OutboundId,
        /// When the message left.
        sent: Instant,
    },
    /// Nothing seems to get through to somebody: our tunnels may be the reason.
    Doubted,
    /// A payload arrived.
    Received {
        /// The sender, when the session is bound to one.
        from: Option<Hash>,
        /// Ports, protocol and data.
        payload: Payload,
    },
    /// An I2NP message for the router arrived end to end, such as a tunnel test's reply.
    Message(Message),
    /// The answer to [`Destination::resolve`].
    Resolved {
        /// Which destination.
        hash: Hash,
        /// Its identity, or why it cannot be reached.
        result: Result<Identity, Unresolved>,
    },
}

/// One local destination. After each call drain [`Self::poll_action`], then re-arm
/// [`Self::poll_timeout`]; now and then [`Self::trim`].
pub struct Destination {
    keys: DestinationKeys,
    publish: bool,
    sessions: Sessions,
    remotes: Remotes,
    leases: Vec<Lease>,
    outbound: Vec<OutboundId>,
    lease_set: Option<LeaseSet>,
    rebuild_at: Option<Instant>,
    rebuilt: Option<Instant>,
    acks: Acks,
    /// Remotes that nothing reaches: when that was said last, and the timeouts until then.
    lost: BTreeMap<Hash, (Instant, u32)>,
    /// When to look whether some of them are to be sought anew.
    seek_at: Option<Instant>,
    /// What found no tunnel.
    unsent: VecDeque<Parcel>,
    /// When to try again what waits for a session, for room in one, or for another lookup.
    retry_at: Option<Instant>,
    expire_at: Instant,
    actions: VecDeque<DestinationAction>,
    rng: Rng,
}

impl Destination {
    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        self.sessions.audit(audit);
        self.remotes.audit(audit);
        self.acks.audit(audit);
        audit.see("destination: without a tunnel", self.unsent.len(), send::MAX_UNSENT);
        audit.see("destination: remotes that nothing reaches", self.lost.len(), MAX_LOST);
        audit.drained("destination: actions", self.actions.len());
    }

    /// A destination with `keys`. A client-only one (`publish` false) gives its lease set to those
    /// it talks to and to nobody else.
    #[must_use]
    pub fn new(keys: DestinationKeys, publish: bool, now: Instant, mut rng: Rng) -> Self {
        // The ratchet's key is a new one at each start. Some routers ignore a new session for a key
        // with which they have one already, and so would not hear us for two minutes after a
        // restart; and what was recorded earlier can no longer be decrypted.
        let encryption = Arc::new(PrivateKey::generate(&mut rng));
        let sessions = Sessions::new(encryption, rng.fork("sessions"));
        Self {
            keys,
            publish,
            sessions,
            remotes: Remotes::default(),
            leases: Vec::new(),
            outbound: Vec::new(),
            lease_set: None,
            rebuild_at: None,
            rebuilt: None,
            acks: Acks::default(),
            lost: BTreeMap::new(),
            seek_at: None,
            unsent: VecDeque::new(),
            retry_at: None,
            expire_at: now + remotes::LIFETIME,
            actions: VecDeque::new(),
            rng,
        }
    }

    /// Who we are.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.keys.identity
    }

    /// Our lease set as built last.
    #[must_use]
    pub const fn lease_set(&self) -> Option<&LeaseSet> {
        self.lease_set.as_ref()
    }

    /// Remotes for which payloads wait: more would wait too.
    pub fn congested(&self) -> impl Iterator<Item = Hash> {
        self.remotes.congested()
    }

    /// True while payloads for `to` wait.
    #[must_use]
    pub fn is_congested(&self, to: &Hash) -> bool {
        self.remotes.is_congested(to)
    }

    /// True when there are tunnels in both directions.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lease_set.is_some() && !self.leases.is_empty() && !self.outbound.is_empty()
    }

    /// A garlic message arrived through one of our inbound tunnels.
    pub fn handle_garlic(&mut self, now: Instant, unix: UnixTime, body: &mut [u8]) {
        let received = match self.sessions.handle(now, unix, body) {
            Ok(received) => received,
            Err(e) => {
                log::debug!("garlic message dropped: {e}");
                return;
            }
        };
        let mut from = received.destination;
        for clove in received.cloves {
            match clove.delivery {
                Delivery::Local if clove.message.kind == MessageType::DATABASE_STORE => {
                    let sender = received.session.zip(received.remote_key);
                    from = self.handle_bundled(now, unix, sender, &clove.message).or(from);
                }
                Delivery::Local => self.deliver(from, clove.message),
                Delivery::Destination(hash) if hash == self.keys.identity.hash() => {
                    self.deliver(from, clove.message);
                }
                Delivery::Tunnel { gateway, tunnel } => {
                    if let Some(via) = self.outbound.first().copied() {
                        let parcel = Parcel { gateway, tunnel, message: clove.message, ack: None };
                        self.actions.push_back(DestinationAction::Send { via, parcel });
                    }
                }
                Delivery::Destination(_) | Delivery::Router(_) => {
                    log::debug!("clove for somebody else dropped");
                }
            }
        }
        self.after_sessions(now, unix);
    }

    /// A lease set that we looked for. Its signature was verified. Says whether it is a newer one
    /// than we had: another way for what was lost.
    pub fn handle_lease_set(&mut self, now: Instant, unix: UnixTime, lease_set: LeaseSet) -> bool {
        let hash = lease_set.key();
        let Some(remote) = self.remotes.get_mut(&hash) else { return false };
        let had_one = remote.lease_set.is_some();
        let newer = remote.learn(unix, lease_set) && had_one;
        self.looked_up(now, unix, hash, Unresolved::NotFound);
        newer
    }

    /// The lease set that we looked for was not found.
    pub fn handle_lookup_failed(
        &mut self,
        now: Instant,
        unix: UnixTime,
        hash: Hash,
        why: Unresolved,
    ) {
        self.looked_up(now, unix, hash, why);
    }

    /// Deadlines passed.
    pub fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        self.sessions.handle_timeout(now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        self.after_sessions(now, unix);
        self.rebuild_if_due(now, unix);
        if self.seek_at.is_some_and(|at| at <= now) {
            self.seek(now, unix);
        }
        if now >= self.expire_at {
            self.expire_at = now + remotes::LIFETIME / 4;
            self.remotes.expire(now);
        }
    }

    /// Nothing seems to reach `to`, for the `timeouts`th time in a row: the next message takes
    /// another way, and if that does not help, another session. `sought`: we want to reach it, or it
    /// answered before. Of a stranger that turned to us and fell silent nothing more is done.
    pub fn handle_stall(
        &mut self,
        now: Instant,
        unix: UnixTime,
        to: Hash,
        timeouts: u32,
        sought: bool,
    ) {
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        remote.abandon_route();
        if timeouts >= SUSPECT_AFTER
            && let Some(key) = remote.key()
        {
            self.sessions.suspect(&ecies::Remote { destination: to, key });
        }
        if sought {
            self.actions.push_back(DestinationAction::Doubted);
            if self.lost.len() < MAX_LOST || self.lost.contains_key(&to) {
                self.lost.insert(to, (now, timeouts));
                self.seek_at = earliest(self.seek_at, Some(now + REFRESH_AGAIN));
            }
        }
        let timeouts = if sought { timeouts } else { 0 };
        if remote.wants_refresh(now, unix, timeouts) {
            self.look_up(to);
        } else {
            self.look_up_if_needed(now, unix, to);
        }
    }

    /// Remotes that nothing reached lately.
    pub fn lost(&self) -> impl Iterator<Item = Hash> {
        self.lost.keys().copied()
    }

    /// Finds the identity behind `hash`; answered by [`DestinationAction::Resolved`].
    pub fn resolve(&mut self, now: Instant, unix: UnixTime, hash: Hash) {
        let remote = self.remotes.open(now, hash);
        remote.wanted = true;
        if remote.reachable(unix).is_ok() && !remote.lacks_lease_set(unix) {
            self.resolved(unix, hash, Unresolved::NotFound);
        } else if remote.resolution != Resolution::Running {
            self.look_up(hash);
        }
    }

    /// Forgets remotes if there are many, but none that is `in_use`.
    pub fn trim(&mut self, in_use: impl Fn(&Hash) -> bool) {
        self.remotes.trim(in_use);
    }

    /// What is to be done.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<DestinationAction> {
        self.actions.pop_front()
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = earliest(self.sessions.poll_timeout(), self.rebuild_at);
        earliest(due, earliest(self.retry_at, earliest(self.seek_at, Some(self.expire_at))))
    }
}

impl Destination {
    /// A search ended; `why` is the reason when nothing at all is known.
    fn looked_up(&mut self, now: Instant, unix: UnixTime, hash: Hash, why: Unresolved) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        let enough = !remote.lacks_lease_set(unix);
        remote.looked_up(now, enough);
        self.resolved(unix, hash, why);
        self.send_waiting_for(now, unix, hash);
    }

    /// Whom nothing reaches may have moved: whoever waits for the next timeout of a stream, up to eight
    /// seconds each time, learns that late.
    fn seek(&mut self, now: Instant, unix: UnixTime) {
        self.lost.retain(|_, (at, _)| now.saturating_since(*at) < SEEK_FOR);
        let mut sought = 0;
        for (hash, (_, timeouts)) in self.lost.clone() {
            let Some(remote) = self.remotes.get_mut(&hash) else { continue };
            if sought < SOUGHT_AT_ONCE && remote.wants_refresh(now, unix, timeouts) {
                sought += 1;
                self.look_up(hash);
            }
        }
        self.seek_at = (!self.lost.is_empty()).then(|| now + REFRESH_AGAIN);
    }

    /// Tells who waits for the identity behind `hash`.
    fn resolved(&mut self, unix: UnixTime, hash: Hash, why: Unresolved) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        if !core::mem::take(&mut remote.wanted) {
            return;
        }
        let result = match remote.reachable(unix) {
            Ok(set) => set.destination().cloned().ok_or(Unresolved::Unsupported),
            Err(Unresolved::NotFound) => Err(why),
            Err(known) => Err(known),
        };
        self.actions.push_back(DestinationAction::Resolved { hash, result });
    }

    /// A lease set that came along with a message. It binds the session to its destination when the
    /// session's static key is the one that it lists.
    fn handle_bundled(
        &mut self,
        now: Instant,
        unix: UnixTime,
        sender: Option<(ecies::SessionId, PublicKey)>,
        message: &Message,
    ) -> Option<Hash> {
        let (session, session_key) = sender?;
        let StoreEntry::LeaseSet(lease_set) = DatabaseStore::decode(&message.body).ok()?.entry
        else {
            return None;
        };
        let hash = lease_set.key();
        let key = lease_set.encryption_key(X25519)?;
        if hash == self.keys.identity.hash() || key != session_key.0 || lease_set.verify().is_err()
        {
            log::debug!("bundled lease set does not belong to the session");
            return None;
        }
        let Some(remote) = self.remotes.admit(now, hash) else {
            log::debug!("too many remotes: a stranger's lease set dropped");
            return None;
        };
        if !self.sessions.bind(now, session, hash) {
            log::debug!("the session belongs to another destination");
            return None;
        }
        remote.learn(unix, lease_set);
        if remote.reachable(unix).is_ok() {
            if !remote.lacks_lease_set(unix) {
                remote.looked_up(now, true);
            }
            self.resolved(unix, hash, Unresolved::NotFound);
        }
        Some(hash)
    }

    fn deliver(&mut self, from: Option<Hash>, message: Message) {
        if message.kind != MessageType::DATA {
            self.actions.push_back(DestinationAction::Message(message));
            return;
        }
        let payload = sized::decode(&message.body).and_then(Payload::decode);
        if let Some(from) = from {
            self.lost.remove(&from);
        }
        match payload {
            Ok(payload) => {
                self.actions.push_back(DestinationAction::Received { from, payload });
            }
            Err(e) => log::debug!("payload dropped: {e}"),
        }
    }

    /// Sends what the ratchets want sent, and takes note of what they learned.
    fn after_sessions(&mut self, now: Instant, unix: UnixTime) {
        while let Some(event) = self.sessions.poll_event() {
            match event {
                ecies::Event::Acked(id) => {
                    let Some(sent) = self.acks.take(id) else { continue };
                    self.lost.remove(&sent.to);
                    if let Some(remote) = self.remotes.get_mut(&sent.to)
                        && sent.lease_set.is_some()
                    {
                        remote.lease_set_known = sent.lease_set;
                    }
                    if let Some(via) = sent.via {
                        let sent = sent.at;
                        self.actions.push_back(DestinationAction::Confirmed { via, sent });
                    }
                }
                ecies::Event::Established { session, remote } => {
                    // What came with its first message has arrived.
                    if let Some(remote) = self.remotes.get_mut(&remote.destination) {
                        remote.established(session);
                    }
                }
            }
        }
        while let Some(outgoing) = self.sessions.poll_outgoing(now) {
            let to = outgoing.remote.destination;
            let Some(remote) = self.remotes.get_mut(&to) else { continue };
            if outgoing.kind == Kind::Reply {
                remote.begin(outgoing.session, None);
            }
            if let Some(route) = remote.route(unix, &self.outbound, &mut self.rng) {
                self.emit(unix, route, outgoing.body, None);
            }
        }
        self.send_waiting(now, unix);
    }
}
