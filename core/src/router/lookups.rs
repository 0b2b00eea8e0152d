//! The network database's wishes as messages, and what waits for its answers.

use super::input::Stored;
use super::output::{Action, StoreKey};
use super::{Router, apps, persist};
use crate::crypto::Key32;
use crate::crypto::x25519::PublicKey;
use crate::garlic;
use crate::netdb::reseed::Report;
use crate::netdb::{Answer, Context, LookupId, LookupKind, NetDb, NetDbAction};
use crate::time::{Instant, UnixTime};
use crate::transport::ntcp2::Priority;
use crate::tunnel::{OutboundId, PoolId};
use crate::wire::garlic::{Clove, Delivery};
use crate::wire::hash::Hash;
use crate::wire::i2np::{
    DatabaseLookup, DatabaseStore, LookupType, Message, MessageType, ReplyEncryption, StoreEntry,
    StoreReply, TunnelGateway,
};
use crate::wire::router_info::RouterInfo;
use crate::wire::tunnel::Delivery as TunnelDelivery;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a message may take.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);
/// Routers for whose RouterInfo messages wait.
const MAX_PENDING: usize = 256;
/// Messages that wait for one router; the oldest is dropped.
const MAX_PENDING_MESSAGES: usize = 16;
/// A message does not wait longer than this for a RouterInfo.
const PENDING_LIFETIME: Duration = Duration::from_secs(15);

/// What a lookup was for.
pub(super) enum Purpose {
    /// Messages wait for this router.
    Router(Hash),
    /// An application wants this lease set.
    LeaseSet { app: usize, key: Hash },
}

/// Messages for a router that we do not know yet.
pub(super) struct Pending {
    messages: VecDeque<(Message, Priority)>,
    since: Instant,
}

impl Pending {
    /// Adds a message; says whether the router must be looked up.
    pub(super) fn add(
        all: &mut BTreeMap<Hash, Self>,
        now: Instant,
        to: Hash,
        message: Message,
        priority: Priority,
    ) -> bool {
        if let Some(pending) = all.get_mut(&to) {
            if pending.messages.len() >= MAX_PENDING_MESSAGES {
                pending.messages.pop_front();
            }
            pending.messages.push_back((message, priority));
            return false;
        }
        if all.len() >= MAX_PENDING {
            log::debug!("message for unknown router {to:?} dropped: too many wait");
            return false;
        }
        let messages = VecDeque::from([(message, priority)]);
        all.insert(to, Self { messages, since: now });
        true
    }
}

impl Router {
    /// Looks for the RouterInfo of a router that messages wait for.
    pub(super) fn look_up_router(&mut self, now: Instant, key: Hash) {
        let unix = self.clock.unix(now);
        let id = self.netdb.lookup(now, unix, Context::ROUTER, key, LookupKind::RouterInfo);
        self.lookups.insert(id, Purpose::Router(key));
    }

    /// Looks for a lease set for an application.
    pub(super) fn look_up_lease_set(&mut self, now: Instant, app: usize, key: Hash) {
        let unix = self.clock.unix(now);
        let context = Context(apps::pool_of(app).0);
        let id = self.netdb.lookup(now, unix, context, key, LookupKind::LeaseSet);
        self.lookups.insert(id, Purpose::LeaseSet { app, key });
    }

    pub(super) fn handle_netdb_action(&mut self, now: Instant, action: NetDbAction) {
        let unix = self.clock.unix(now);
        match action {
            NetDbAction::Query { ctx, lookup, floodfill, key, kind, exclude, direct } => {
                let to = floodfill.hash();
                if !self.query(now, ctx, &floodfill, key, kind, exclude, direct) {
                    self.netdb.handle_query_unsent(now, unix, lookup, &to);
                }
            }
            NetDbAction::Store { ctx, floodfill, entry, token } => {
                if !self.store(now, ctx, &floodfill, entry, token) {
                    self.netdb.handle_store_unsent(now, unix, token);
                }
            }
            NetDbAction::Found { lookup, entry, .. } => self.found(now, lookup, entry),
            NetDbAction::NotFound { lookup, .. } => self.not_found(now, lookup),
            NetDbAction::Reply { to, tunnel, encryption, answer } => {
                self.reply(now, to, tunnel, encryption, answer);
            }
            NetDbAction::Renew => self.republish(now),
            NetDbAction::Persist(info) => {
                persist(&mut self.actions, StoreKey::NetDb(info.hash()), info.as_bytes());
            }
            NetDbAction::Forget(hash) => {
                self.actions.push_back(Action::Persist { key: StoreKey::NetDb(hash), value: None });
            }
            NetDbAction::PersistProfile { router, bytes } => {
                persist(&mut self.actions, StoreKey::Profile(router), &bytes);
            }
            NetDbAction::ForgetProfile(hash) => {
                self.actions
                    .push_back(Action::Persist { key: StoreKey::Profile(hash), value: None });
            }
        }
    }

    /// Asks a floodfill: through tunnels with an encrypted answer, or, when asked to or while the
    /// router has none, directly. Says whether it could.
    #[expect(clippy::too_many_arguments, reason = "the fields of one action")]
    fn query(
        &mut self,
        now: Instant,
        ctx: Context,
        floodfill: &RouterInfo,
        key: Hash,
        kind: LookupType,
        exclude: Vec<Hash>,
        direct: bool,
    ) -> bool {
        let unix = self.clock.unix(now);
        let pool = PoolId(ctx.0);
        let via = self.tunnels.pick_outbound(now, pool);
        let back = self.tunnels.inbound_gateway(now, pool);
        let tunnels = via.zip(back).filter(|_| !direct);
        let own = ctx == Context::ROUTER;
        let (from, reply_tunnel, encryption) = match tunnels {
            Some((_, (gateway, tunnel))) => {
                let (key, tag) = (self.rng.bytes(), self.rng.bytes());
                if let Some(tags) = self.reply_tags.get_mut(&ctx.0) {
                    tags.insert(now, tag, Key32::new(key));
                }
                (gateway, Some(tunnel), ReplyEncryption::Ecies { key: Key32::new(key), tag })
            }
            None if own => (self.hash(), None, ReplyEncryption::None),
            None => return false,
        };
        let lookup = DatabaseLookup { key, from, reply_tunnel, kind, exclude, encryption };
        let mut body = Vec::new();
        lookup.encode(&mut body);
        let message = self.message(unix, MessageType::DATABASE_LOOKUP, body);
        match tunnels {
            Some((via, _)) => self.send_wrapped(now, via, floodfill, message),
            None => self.send_to(now, floodfill.hash(), message, Priority::Control),
        }
        true
    }

    /// Stores an entry at a floodfill: RouterInfos directly, lease sets through the tunnels of
    /// their destination, so that the floodfill does not learn where it is. Says whether it could.
    fn store(
        &mut self,
        now: Instant,
        ctx: Context,
        floodfill: &RouterInfo,
        entry: StoreEntry,
        token: u32,
    ) -> bool {
        let unix = self.clock.unix(now);
        let pool = PoolId(ctx.0);
        let (reply, via) = match &entry {
            StoreEntry::RouterInfo(_) => {
                (StoreReply { token, tunnel: None, gateway: self.hash() }, None)
            }
            StoreEntry::LeaseSet(_) => {
                let back = self.tunnels.inbound_gateway(now, pool);
                let Some((gateway, tunnel)) = back else { return false };
                let Some(via) = self.tunnels.pick_outbound(now, pool) else { return false };
                (StoreReply { token, tunnel: Some(tunnel), gateway }, Some(via))
            }
        };
        let mut body = Vec::new();
        DatabaseStore { reply: Some(reply), entry }.encode(&mut body);
        let message = self.message(unix, MessageType::DATABASE_STORE, body);
        match via {
            None => self.send_to(now, floodfill.hash(), message, Priority::Control),
            Some(via) => self.send_wrapped(now, via, floodfill, message),
        }
        true
    }

    /// Encrypts a message for a router and sends it through one of our outbound tunnels.
    pub(super) fn send_wrapped(
        &mut self,
        now: Instant,
        via: OutboundId,
        to: &RouterInfo,
        message: Message,
    ) {
        let Some(key) = to.identity().x25519_key() else { return };
        if let Some(message) = self.wrap(now, &key, message) {
            self.send_through(now, via, TunnelDelivery::Router(to.hash()), message);
        }
    }

    /// A message in garlic for the router with this key.
    pub(super) fn wrap(
        &mut self,
        now: Instant,
        key: &PublicKey,
        message: Message,
    ) -> Option<Message> {
        let unix = self.clock.unix(now);
        let clove = Clove { delivery: Delivery::Local, message };
        match garlic::router::seal(unix, key, &[clove], &mut self.rng) {
            Ok(body) => Some(self.message(unix, MessageType::GARLIC, body)),
            Err(e) => {
                log::debug!("message for a router not encrypted: {e}");
                None
            }
        }
    }

    pub(super) fn send_through(
        &mut self,
        now: Instant,
        via: OutboundId,
        delivery: TunnelDelivery,
        message: Message,
    ) {
        let unix = self.clock.unix(now);
        if let Err(e) = self.tunnels.send(now, unix, via, delivery, message) {
            log::debug!("not sent through a tunnel: {e}");
        }
    }

    pub(super) fn message(&mut self, unix: UnixTime, kind: MessageType, body: Vec<u8>) -> Message {
        Message { kind, id: self.rng.nonzero_u32(), expires: unix + LIFETIME, body }
    }

    /// Answers a question of another router.
    fn reply(
        &mut self,
        now: Instant,
        to: Hash,
        tunnel: Option<u32>,
        encryption: ReplyEncryption,
        answer: Answer,
    ) {
        let unix = self.clock.unix(now);
        let mut body = Vec::new();
        let kind = match &answer {
            Answer::Store(store) => {
                store.encode(&mut body);
                MessageType::DATABASE_STORE
            }
            Answer::SearchReply(reply) => {
                reply.encode(&mut body);
                MessageType::DATABASE_SEARCH_REPLY
            }
        };
        let mut message = self.message(unix, kind, body);
        if let ReplyEncryption::Ecies { key, tag } = &encryption {
            let clove = Clove { delivery: Delivery::Local, message };
            match garlic::reply::seal(tag, key, &[clove], &mut self.rng) {
                Ok(body) => message = self.message(unix, MessageType::GARLIC, body),
                Err(e) => {
                    log::debug!("answer not encrypted: {e}");
                    return;
                }
            }
        }
        let Some(tunnel) = tunnel else {
            self.send_to(now, to, message, Priority::Control);
            return;
        };
        let mut body = Vec::new();
        if TunnelGateway::encode(tunnel, &message, &mut body).is_ok() {
            let message = self.message(unix, MessageType::TUNNEL_GATEWAY, body);
            self.send_to(now, to, message, Priority::Control);
        }
    }

    fn found(&mut self, now: Instant, lookup: LookupId, entry: StoreEntry) {
        let unix = self.clock.unix(now);
        match (self.lookups.remove(&lookup), entry) {
            (Some(Purpose::Router(hash)), _) => self.send_pending(now, hash),
            (Some(Purpose::LeaseSet { app, .. }), StoreEntry::LeaseSet(lease_set)) => {
                self.apps.handle_lease_set(now, unix, app, lease_set);
            }
            (Some(Purpose::LeaseSet { .. }) | None, _) => {}
        }
    }

    fn not_found(&mut self, now: Instant, lookup: LookupId) {
        match self.lookups.remove(&lookup) {
            Some(Purpose::Router(hash)) => {
                self.pending.remove(&hash);
            }
            Some(Purpose::LeaseSet { app, key }) => {
                self.apps.handle_lookup_failed(now, app, key);
            }
            None => {}
        }
    }

    /// Sends what waited for a router that we know now.
    pub(super) fn send_pending(&mut self, now: Instant, to: Hash) {
        if let Some(pending) = self.pending.remove(&to) {
            for (message, priority) in pending.messages {
                self.send_to(now, to, message, priority);
            }
        }
    }

    pub(super) fn expire_pending(&mut self, now: Instant) {
        self.pending.retain(|_, p| now.saturating_since(p.since) < PENDING_LIFETIME);
    }

    pub(super) fn pending_deadline(&self) -> Option<Instant> {
        self.pending.values().map(|p| p.since + PENDING_LIFETIME).min()
    }
}

/// Fills the network database with what was stored and what was given for a start.
pub(super) fn load(netdb: &mut NetDb, now: Instant, unix: UnixTime, stored: &Stored) {
    let mut report = Report::default();
    let files = stored.router_infos.iter().map(AsRef::as_ref);
    for file in files.chain(stored.reseed_archives.iter().map(Vec::as_slice)) {
        match netdb.reseed(now, unix, file) {
            Ok(one) => report.add(&one),
            Err(e) => log::warn!("reseed file damaged: {e}"),
        }
    }
    log::info!("known at the start: {report}");
    if netdb.needs_reseed() {
        log::warn!("too few routers are known to join the network: see [reseed] files");
    }
    for (router, bytes) in &stored.profiles {
        if let Err(e) = netdb.restore_profile(now, unix, *router, bytes) {
            log::debug!("profile of {router:?} dropped: {e}");
        }
    }
}
