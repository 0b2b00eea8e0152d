//! Destinations: lease sets, the routes between two of them, and end-to-end encryption.
//!
//! A [`Destination`] turns payloads into garlic messages for the other side's leases, and garlic
//! messages back into payloads. It owns the lease sets that it learned: two destinations of one
//! router share none, so that nobody can link them by what they know (CVE-2023-36325).

mod routes;

use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::garlic::ecies::{self, AckId, EncryptError, Kind, Readiness, SendOptions, Sessions};
use crate::keys::DestinationKeys;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::tunnel::OutboundId;
use crate::wire::garlic::{Clove, Delivery};
use crate::wire::hash::Hash;
use crate::wire::i2np::{DatabaseStore, Message, MessageType, StoreEntry, sized};
use crate::wire::identity::Identity;
use crate::wire::lease_set::{Contents, Lease, LeaseSet, LeaseSet2};
use crate::wire::mapping::Mapping;
use crate::wire::payload::Payload;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use routes::{Remote, Resolution, Waiting};

/// How long a message may take to the other side.
const MESSAGE_LIFETIME: Duration = Duration::from_secs(10);
/// A change of tunnels waits this long for others before the lease set is built anew.
const REBUILD_DELAY: Duration = Duration::from_millis(1500);
/// Lease sets are distinguished by their second of publication.
const REBUILD_INTERVAL: Duration = Duration::from_secs(2);
/// A lease set that was not confirmed goes along again after this.
const LEASE_SET_REPEAT: Duration = Duration::from_secs(6);
/// Remotes that we keep; the one unused for longest is dropped.
const MAX_REMOTES: usize = 4096;
/// Remotes unused for this long are forgotten.
const REMOTE_LIFETIME: Duration = Duration::from_secs(20 * 60);
/// Timeouts in a row after which a session is doubted.
const SUSPECT_AFTER: u32 = 3;
/// A lease that was to last longer than this and is no more was lost.
const LEASE_LOST: Duration = Duration::from_secs(60);
/// Remotes used within this are told of lost leases, ...
const ACTIVE: Duration = Duration::from_secs(60);
/// ... the latest so many.
const MAX_TOLD: usize = 16;
/// Confirmations of lease sets that are waited for; the oldest is forgotten.
const MAX_ACKS: usize = 1024;
/// Encryption type of our ratchet key in lease sets.
const X25519: u16 = 4;

/// What a destination wants done, or has to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum DestinationAction {
    /// Find the lease set with this key, then call `handle_lease_set` or `handle_lookup_failed`.
    Lookup(Hash),
    /// Our lease set is new: publish it, unless the destination is a client only.
    Publish(LeaseSet),
    /// Send a garlic message to a lease.
    Send {
        /// Our tunnel to use.
        via: OutboundId,
        /// The lease's gateway.
        gateway: Hash,
        /// The lease's tunnel.
        tunnel: u32,
        /// The garlic message.
        message: Message,
    },
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
        /// Its identity; `None` when its lease set was not found.
        identity: Option<Identity>,
    },
}

/// One local destination. After each call drain [`Self::poll_action`], then re-arm
/// [`Self::poll_timeout`].
pub struct Destination {
    keys: DestinationKeys,
    publish: bool,
    sessions: Sessions,
    remotes: BTreeMap<Hash, Remote>,
    leases: Vec<Lease>,
    outbound: Vec<OutboundId>,
    lease_set: Option<LeaseSet>,
    rebuild_at: Option<Instant>,
    rebuilt: Option<Instant>,
    /// Which of our lease sets each of these messages carried, and to whom.
    acks: BTreeMap<AckId, (Hash, UnixTime)>,
    /// When a session that must not be opened yet may be.
    retry_at: Option<Instant>,
    expire_at: Instant,
    actions: VecDeque<DestinationAction>,
    rng: Rng,
}

impl Destination {
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
            remotes: BTreeMap::new(),
            leases: Vec::new(),
            outbound: Vec::new(),
            lease_set: None,
            rebuild_at: None,
            rebuilt: None,
            acks: BTreeMap::new(),
            retry_at: None,
            expire_at: now + REMOTE_LIFETIME,
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
        self.remotes.iter().filter(|(_, r)| !r.waiting.is_empty()).map(|(hash, _)| *hash)
    }

    /// True while payloads for `to` wait.
    #[must_use]
    pub fn is_congested(&self, to: &Hash) -> bool {
        self.remotes.get(to).is_some_and(|r| !r.waiting.is_empty())
    }

    /// True when there are tunnels in both directions.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lease_set.is_some() && !self.leases.is_empty() && !self.outbound.is_empty()
    }

    /// Our tunnels changed: the leases of the inbound ones, and the outbound ones.
    pub fn handle_tunnels(
        &mut self,
        now: Instant,
        unix: UnixTime,
        leases: Vec<Lease>,
        outbound: Vec<OutboundId>,
    ) {
        self.outbound = outbound;
        if self.leases != leases {
            self.leases = leases;
            let first = self.lease_set.is_none();
            let delay = if first { Duration::ZERO } else { REBUILD_DELAY };
            self.rebuild_at.get_or_insert(now + delay);
        }
        self.rebuild_if_due(now, unix);
        self.send_waiting(now, unix);
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
                    from = self.handle_bundled(now, sender, &clove.message).or(from);
                }
                Delivery::Local => self.deliver(from, clove.message),
                Delivery::Destination(hash) if hash == self.keys.identity.hash() => {
                    self.deliver(from, clove.message);
                }
                Delivery::Tunnel { gateway, tunnel } => {
                    if let Some(via) = self.outbound.first() {
                        let message = clove.message;
                        let via = *via;
                        self.actions.push_back(DestinationAction::Send {
                            via,
                            gateway,
                            tunnel,
                            message,
                        });
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
        remote.resolution = Resolution::Idle;
        let had_one = remote.lease_set.is_some();
        let newer = remote.learn(lease_set) && had_one;
        self.resolved(hash);
        self.send_waiting_for(now, unix, hash);
        newer
    }

    /// The lease set that we looked for was not found.
    pub fn handle_lookup_failed(&mut self, now: Instant, hash: Hash) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        remote.resolution = Resolution::Failed(now);
        self.resolved(hash);
    }

    /// Deadlines passed.
    pub fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        self.sessions.handle_timeout(now);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.send_waiting(now, unix);
        }
        self.after_sessions(now, unix);
        self.rebuild_if_due(now, unix);
        if now >= self.expire_at {
            self.expire_at = now + REMOTE_LIFETIME / 4;
            self.remotes.retain(|_, r| now.saturating_since(r.last_used) < REMOTE_LIFETIME);
        }
    }

    /// Finds the identity behind `hash`; answered by [`DestinationAction::Resolved`].
    pub fn resolve(&mut self, now: Instant, unix: UnixTime, hash: Hash) {
        let remote = self.remote(now, hash);
        remote.wanted = true;
        if remote.lease_set.is_some() && !remote.needs_lookup(now, unix) {
            self.resolved(hash);
        } else {
            remote.resolution = Resolution::Running;
            self.actions.push_back(DestinationAction::Lookup(hash));
        }
    }

    /// Sends a payload to `to`, as soon as its lease set is known and we have a tunnel.
    /// `expects_reply`: the other side has a reason to answer soon.
    pub fn send(
        &mut self,
        now: Instant,
        unix: UnixTime,
        to: Hash,
        payload: Payload,
        expects_reply: bool,
    ) {
        let remote = self.remote(now, to);
        if remote.needs_lookup(now, unix) {
            remote.resolution = Resolution::Running;
            self.actions.push_back(DestinationAction::Lookup(to));
        }
        let message = Waiting { payload, expects_reply };
        // What waits already goes first.
        if !self.remote(now, to).waiting.is_empty() {
            self.remote(now, to).wait(message);
            self.send_waiting_for(now, unix, to);
        } else if let Err(message) = self.try_send(now, unix, to, message) {
            self.remote(now, to).wait(message);
        }
    }

    /// Nothing seems to reach `to`, for the `timeouts`th time in a row: the next message takes
    /// another way, and if that does not help, another session.
    pub fn handle_stall(&mut self, now: Instant, unix: UnixTime, to: Hash, timeouts: u32) {
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        remote.abandon_route();
        if timeouts >= SUSPECT_AFTER
            && let Some(key) = remote.key()
        {
            self.sessions.suspect(&ecies::Remote { destination: to, key });
        }
        if remote.needs_lookup(now, unix) || remote.wants_refresh(now, unix) {
            remote.resolution = Resolution::Running;
            self.actions.push_back(DestinationAction::Lookup(to));
        }
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
        earliest(due, earliest(self.retry_at, Some(self.expire_at)))
    }
}

impl Destination {
    fn remote(&mut self, now: Instant, hash: Hash) -> &mut Remote {
        if self.remotes.len() >= MAX_REMOTES && !self.remotes.contains_key(&hash) {
            let oldest = self.remotes.iter().min_by_key(|(_, r)| r.last_used).map(|(h, _)| *h);
            if let Some(oldest) = oldest {
                self.remotes.remove(&oldest);
            }
        }
        let remote = self.remotes.entry(hash).or_insert_with(|| Remote::new(now));
        remote.last_used = now;
        remote
    }

    fn resolved(&mut self, hash: Hash) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        if core::mem::take(&mut remote.wanted) {
            let identity = remote.lease_set.as_ref().and_then(LeaseSet::destination).cloned();
            self.actions.push_back(DestinationAction::Resolved { hash, identity });
        }
    }

    fn send_waiting(&mut self, now: Instant, unix: UnixTime) {
        let waiting: Vec<Hash> = self.congested().collect();
        for hash in waiting {
            self.send_waiting_for(now, unix, hash);
        }
    }

    fn send_waiting_for(&mut self, now: Instant, unix: UnixTime, hash: Hash) {
        while let Some(message) = self.remotes.get_mut(&hash).and_then(|r| r.waiting.pop_front()) {
            if let Err(message) = self.try_send(now, unix, hash, message) {
                if let Some(remote) = self.remotes.get_mut(&hash) {
                    remote.waiting.push_front(message);
                }
                return;
            }
        }
    }

    /// Sends, or gives the payload back when lease set, tunnel or session are not there yet.
    fn try_send(
        &mut self,
        now: Instant,
        unix: UnixTime,
        to: Hash,
        waiting: Waiting,
    ) -> Result<(), Waiting> {
        let Some(remote) = self.remotes.get_mut(&to) else { return Err(waiting) };
        let Some(key) = remote.key() else { return Err(waiting) };
        let Some(route) = remote.route(unix, &self.outbound, &mut self.rng) else {
            return Err(waiting);
        };
        let peer = ecies::Remote { destination: to, key };
        let kind = match self.sessions.readiness(now, &peer) {
            Readiness::Ready { kind, .. } => kind,
            Readiness::Wait(until) => {
                self.retry_at = earliest(self.retry_at, Some(until));
                return Err(waiting);
            }
        };
        let message = Message {
            kind: MessageType::DATA,
            id: self.rng.nonzero_u32(),
            expires: unix + MESSAGE_LIFETIME,
            body: data_body(&waiting.payload),
        };
        let bundle = self.bundle(now, unix, to, kind);
        let ack = bundle.is_some();
        let mut cloves = Vec::with_capacity(2);
        // The lease set goes first, so that the receiver can bind the session before the data.
        cloves.extend(bundle);
        cloves.push(Clove { delivery: Delivery::Destination(to), message });
        let options = SendOptions { bind: true, ack, expects_reply: waiting.expects_reply };
        match self.sessions.encrypt(now, unix, &peer, &cloves, options) {
            Ok((body, info)) => {
                self.expect_ack(info.ack.filter(|_| ack), to);
                self.emit(unix, route, body);
                Ok(())
            }
            Err(EncryptError::Wait(until)) => {
                self.retry_at = earliest(self.retry_at, Some(until));
                Err(waiting)
            }
            Err(e @ EncryptError::Seal(_)) => {
                log::debug!("payload to {to:?} dropped: {e}");
                Ok(())
            }
        }
    }

    fn emit(&mut self, unix: UnixTime, route: routes::Route, body: Vec<u8>) {
        let message = Message {
            kind: MessageType::GARLIC,
            id: self.rng.nonzero_u32(),
            expires: unix + MESSAGE_LIFETIME,
            body,
        };
        self.actions.push_back(DestinationAction::Send {
            via: route.via,
            gateway: route.lease.gateway,
            tunnel: route.lease.tunnel,
            message,
        });
    }

    /// Our lease set as a clove, when `to` does not have this one for sure and was not sent it just
    /// now.
    fn bundle(&mut self, now: Instant, unix: UnixTime, to: Hash, kind: Kind) -> Option<Clove> {
        let lease_set = self.lease_set.as_ref()?;
        let published = lease_set.published();
        let remote = self.remotes.get_mut(&to)?;
        let just_sent = remote.lease_set_sent.is_some_and(|(at, which)| {
            which == published && now.saturating_since(at) < LEASE_SET_REPEAT
        });
        let has_it = remote.lease_set_known == Some(published);
        if kind != Kind::NewSession && (has_it || just_sent) {
            return None;
        }
        remote.lease_set_sent = Some((now, published));
        let entry = StoreEntry::LeaseSet(lease_set.clone());
        let mut body = Vec::new();
        DatabaseStore { reply: None, entry }.encode(&mut body);
        let message = Message {
            kind: MessageType::DATABASE_STORE,
            id: self.rng.nonzero_u32(),
            expires: unix + MESSAGE_LIFETIME,
            body,
        };
        Some(Clove { delivery: Delivery::Local, message })
    }

    /// A lease set that came along with a message. It binds the session to its destination when the
    /// session's static key is the one that it lists.
    fn handle_bundled(
        &mut self,
        now: Instant,
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
        if hash == self.keys.identity.hash()
            || key != session_key.0
            || lease_set.verify().is_err()
            || !self.sessions.bind(now, session, hash)
        {
            log::debug!("bundled lease set does not belong to the session");
            return None;
        }
        let remote = self.remote(now, hash);
        remote.learn(lease_set);
        if remote.resolution == Resolution::Running {
            remote.resolution = Resolution::Idle;
        }
        self.resolved(hash);
        Some(hash)
    }

    fn deliver(&mut self, from: Option<Hash>, message: Message) {
        if message.kind != MessageType::DATA {
            self.actions.push_back(DestinationAction::Message(message));
            return;
        }
        let payload = sized::decode(&message.body).and_then(Payload::decode);
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
                    if let Some((to, published)) = self.acks.remove(&id)
                        && let Some(remote) = self.remotes.get_mut(&to)
                    {
                        remote.lease_set_known = Some(published);
                    }
                }
                ecies::Event::Established { remote, .. } => {
                    // What came with its first message has arrived.
                    if let Some(remote) = self.remotes.get_mut(&remote.destination) {
                        remote.lease_set_known = remote.lease_set_sent.map(|(_, which)| which);
                    }
                }
            }
        }
        while let Some(outgoing) = self.sessions.poll_outgoing(now) {
            let to = outgoing.remote.destination;
            let Some(remote) = self.remotes.get_mut(&to) else { continue };
            if let Some(route) = remote.route(unix, &self.outbound, &mut self.rng) {
                self.emit(unix, route, outgoing.body);
            }
        }
        self.send_waiting(now, unix);
    }

    /// Tunnels of ours are gone before their time: who talks to us learns it now. One who only
    /// sends has no message of ours to learn it from, and with all our leases gone would go on into
    /// the void.
    fn tell_remotes(&mut self, now: Instant, unix: UnixTime) {
        let mut active: Vec<(Instant, Hash)> = self
            .remotes
            .iter()
            .filter(|(_, r)| now.saturating_since(r.last_used) < ACTIVE)
            .map(|(hash, r)| (r.last_used, *hash))
            .collect();
        active.sort_unstable_by(|a, b| b.cmp(a));
        for (_, hash) in active.into_iter().take(MAX_TOLD) {
            self.send_lease_set(now, unix, hash);
        }
    }

    /// Our lease set alone, in a session that exists.
    fn send_lease_set(&mut self, now: Instant, unix: UnixTime, to: Hash) {
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        let Some(key) = remote.key() else { return };
        let Some(route) = remote.route(unix, &self.outbound, &mut self.rng) else { return };
        let peer = ecies::Remote { destination: to, key };
        let Readiness::Ready { kind: Kind::Existing, .. } = self.sessions.readiness(now, &peer)
        else {
            return;
        };
        let Some(clove) = self.bundle(now, unix, to, Kind::Existing) else { return };
        let options = SendOptions { bind: true, ack: true, expects_reply: false };
        match self.sessions.encrypt(now, unix, &peer, &[clove], options) {
            Ok((body, info)) => {
                self.expect_ack(info.ack, to);
                self.emit(unix, route, body);
            }
            Err(e) => log::debug!("lease set not sent to {to:?}: {e}"),
        }
    }

    /// Remembers which of our lease sets a message carried.
    fn expect_ack(&mut self, ack: Option<AckId>, to: Hash) {
        let published = self.lease_set.as_ref().map(LeaseSet::published);
        if let Some((id, published)) = ack.zip(published) {
            while self.acks.len() >= MAX_ACKS {
                self.acks.pop_first();
            }
            self.acks.insert(id, (to, published));
        }
    }

    fn rebuild_if_due(&mut self, now: Instant, unix: UnixTime) {
        let Some(due) = self.rebuild_at else { return };
        let earliest = self.rebuilt.map_or(now, |at| at + REBUILD_INTERVAL);
        if now < due || now < earliest {
            self.rebuild_at = Some(due.max(earliest));
            return;
        }
        self.rebuild_at = None;
        self.leases.retain(|l| l.expires > unix);
        let Some(end) = self.leases.iter().map(|l| l.expires).max() else { return };
        let key = self.sessions.public_key().0;
        let published = UnixTime::from_secs(unix.as_secs().into());
        let contents = Contents {
            published,
            expires: end,
            keys: &[(X25519, &key)],
            leases: &self.leases,
            options: &Mapping::new(),
            unpublished: !self.publish,
        };
        match LeaseSet2::build(&self.keys.identity, &contents, &self.keys.signing) {
            Ok(lease_set) => {
                self.rebuilt = Some(now);
                let old = self.lease_set.replace(lease_set.clone());
                let lost = |l: &&Lease| l.expires > unix + LEASE_LOST && !self.leases.contains(l);
                if old.is_some_and(|old| old.leases().iter().any(|l| lost(&l))) {
                    self.tell_remotes(now, unix);
                }
                if self.publish {
                    self.actions.push_back(DestinationAction::Publish(lease_set));
                }
            }
            Err(e) => log::error!("our lease set cannot be built: {e}"),
        }
    }
}

/// A Data message's body: length, then the payload behind its gzip header.
fn data_body(payload: &Payload) -> Vec<u8> {
    let mut content = Vec::with_capacity(payload.data.len() + 32);
    payload.encode(&mut content);
    let mut body = Vec::with_capacity(content.len() + 4);
    sized::encode(&content, &mut body);
    body
}
