//! The network database's wishes as messages, and what waits for its answers.

use super::input::Stored;
use super::output::{Action, StoreKey};
use super::{Router, apps, persist, publish};
use crate::audit::Audit;
use crate::crypto::Key32;
use crate::crypto::x25519::PublicKey;
use crate::destination::{Parcel, Unresolved};
use crate::garlic;
use crate::netdb::reseed::{Refusal, Report};
use crate::netdb::{
    Answer, Context, Fitness, LookupFailure, LookupId, LookupKind, NetDb, NetDbAction, StoreError,
    Unsent,
};
use crate::time::{Instant, UnixTime};
use crate::transport::queue::Priority;
use crate::tunnel::{OutboundId, PoolId, SendError};
use crate::wire::garlic::{Clove, Delivery};
use crate::wire::hash::Hash;
use crate::wire::i2np::{
    DatabaseLookup, DatabaseStore, DeliveryStatus, LookupType, Message, MessageType,
    ReplyEncryption, StoreEntry, StoreReply, TunnelGateway,
};
use crate::wire::router_info::RouterInfo;
use crate::wire::tunnel::Delivery as TunnelDelivery;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// How long a message may take.
pub(super) const LIFETIME: Duration = Duration::from_secs(10);
/// Routers for whose RouterInfo messages wait.
const MAX_PENDING: usize = 256;
/// Messages that wait for one router; the oldest is dropped.
const MAX_PENDING_MESSAGES: usize = 16;
/// Bytes of all that waits for RouterInfos.
const MAX_PENDING_BYTES: usize = 2 << 20;
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

/// What became of a message for a router that we do not know.
pub(super) enum Added {
    /// It waits as the first one: the router must be looked up.
    First,
    /// It waits with others.
    Another,
    /// It is dropped.
    NoRoom,
}

/// How a question left.
enum Way {
    /// Through tunnels.
    Tunnels,
    /// Over a session, which may still be dialled.
    Direct,
}

impl Pending {
    /// What is held, and what may be.
    pub(super) fn audit(all: &BTreeMap<Hash, Self>, audit: &mut Audit<'_>) {
        audit.see("router: unknown routers with messages", all.len(), MAX_PENDING);
        for pending in all.values() {
            let messages = pending.messages.len();
            audit.see("router: messages for an unknown one", messages, MAX_PENDING_MESSAGES);
        }
        let waiting = all.values().flat_map(|p| &p.messages);
        let bytes = waiting.map(|(message, _)| message.body.len()).sum();
        audit.see("router: bytes for unknown routers", bytes, MAX_PENDING_BYTES);
    }

    /// Adds a message.
    pub(super) fn add(
        all: &mut BTreeMap<Hash, Self>,
        now: Instant,
        to: Hash,
        message: Message,
        priority: Priority,
    ) -> Added {
        let waiting = all.values().flat_map(|p| &p.messages);
        let bytes: usize = waiting.map(|(message, _)| message.body.len()).sum();
        if bytes + message.body.len() > MAX_PENDING_BYTES {
            log::debug!("message for unknown router {to:?} dropped: too much waits");
            return Added::NoRoom;
        }
        if let Some(pending) = all.get_mut(&to) {
            if pending.messages.len() >= MAX_PENDING_MESSAGES {
                pending.messages.pop_front();
            }
            pending.messages.push_back((message, priority));
            return Added::Another;
        }
        if all.len() >= MAX_PENDING {
            log::debug!("message for unknown router {to:?} dropped: too many wait");
            return Added::NoRoom;
        }
        let messages = VecDeque::from([(message, priority)]);
        all.insert(to, Self { messages, since: now });
        Added::First
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
                match self.query(now, ctx, &floodfill, key, kind, exclude, direct) {
                    Ok(Way::Direct) => self.netdb.handle_query_direct(lookup, &to),
                    Ok(Way::Tunnels) => {}
                    Err(why) => self.netdb.handle_query_unsent(now, unix, lookup, &to, why),
                }
            }
            NetDbAction::Store { ctx, floodfill, entry, token } => {
                if let Err(why) = self.store(now, ctx, &floodfill, entry, token) {
                    self.netdb.handle_store_unsent(now, unix, token, why);
                }
            }
            NetDbAction::Found { lookup, entry, .. } => self.found(now, lookup, entry),
            NetDbAction::NotFound { lookup, reason, .. } => self.not_found(now, lookup, reason),
            NetDbAction::Reply { to, tunnel, encryption, answer } => {
                self.reply(now, to, tunnel, encryption, answer);
            }
            NetDbAction::Confirm { to, tunnel, token } => {
                let mut body = Vec::new();
                DeliveryStatus { id: token, time: unix }.encode(&mut body);
                let message = self.message(unix, MessageType::DELIVERY_STATUS, body);
                self.send_back(now, to, tunnel, message);
            }
            NetDbAction::Flood { to, entry } => {
                let mut body = Vec::new();
                DatabaseStore { reply: None, entry }.encode(&mut body);
                let message = self.message(unix, MessageType::DATABASE_STORE, body);
                if !self.send_to(now, to, message, Priority::Control) {
                    self.netdb.handle_flood_unsent(now, unix, to);
                }
            }
            NetDbAction::Assess => {
                let fitness = self.fitness();
                self.netdb.handle_fitness(now, &fitness);
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

    /// What decides whether we are fit to be a floodfill.
    fn fitness(&self) -> Fitness {
        let peers = self.peers.counts();
        Fitness {
            published: publish::is_published(&self.config),
            inbound: peers.inbound,
            bandwidth: publish::bandwidth(&self.config),
            peers: peers.inbound + peers.outbound,
            transit: self.tunnels.transit_stats().tunnels,
        }
    }

    /// Asks a floodfill: through tunnels with an encrypted answer, or, when asked to or while the
    /// router has none, directly.
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
    ) -> Result<Way, Unsent> {
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
            None => return Err(Unsent::NoTunnel),
        };
        let lookup = DatabaseLookup { key, from, reply_tunnel, kind, exclude, encryption };
        let mut body = Vec::new();
        lookup.encode(&mut body);
        let message = self.message(unix, MessageType::DATABASE_LOOKUP, body);
        match tunnels {
            Some((via, _)) => {
                self.send_wrapped(now, pool, via, floodfill, message).map(|()| Way::Tunnels)
            }
            None => self.send_control(now, floodfill.hash(), message).map(|()| Way::Direct),
        }
    }

    /// Stores an entry at a floodfill: RouterInfos directly, lease sets through the tunnels of
    /// their destination, so that the floodfill does not learn where it is.
    fn store(
        &mut self,
        now: Instant,
        ctx: Context,
        floodfill: &RouterInfo,
        entry: StoreEntry,
        token: u32,
    ) -> Result<(), Unsent> {
        let unix = self.clock.unix(now);
        let pool = PoolId(ctx.0);
        let (reply, via) = match &entry {
            StoreEntry::RouterInfo(_) => {
                (StoreReply { token, tunnel: None, gateway: self.hash() }, None)
            }
            StoreEntry::LeaseSet(_) => {
                let back = self.tunnels.inbound_gateway(now, pool);
                let (gateway, tunnel) = back.ok_or(Unsent::NoTunnel)?;
                let via = self.tunnels.pick_outbound(now, pool).ok_or(Unsent::NoTunnel)?;
                (StoreReply { token, tunnel: Some(tunnel), gateway }, Some(via))
            }
        };
        let mut body = Vec::new();
        DatabaseStore { reply: Some(reply), entry }.encode(&mut body);
        let message = self.message(unix, MessageType::DATABASE_STORE, body);
        match via {
            None => self.send_control(now, floodfill.hash(), message),
            Some(via) => self.send_wrapped(now, pool, via, floodfill, message),
        }
    }

    fn send_control(&mut self, now: Instant, to: Hash, message: Message) -> Result<(), Unsent> {
        let sent = self.send_to(now, to, message, Priority::Control);
        if sent { Ok(()) } else { Err(Unsent::Unreachable) }
    }

    /// Encrypts a message for a router and sends it through one of our outbound tunnels.
    fn send_wrapped(
        &mut self,
        now: Instant,
        pool: PoolId,
        via: OutboundId,
        to: &RouterInfo,
        message: Message,
    ) -> Result<(), Unsent> {
        let key = to.identity().x25519_key().ok_or(Unsent::Unreachable)?;
        let message = self.wrap(now, &key, message).ok_or(Unsent::Unreachable)?;
        let delivery = TunnelDelivery::Router(to.hash());
        match self.send_through(now, pool, via, delivery, message) {
            Ok(_) => Ok(()),
            Err(SendError::NoTunnel(_)) => Err(Unsent::NoTunnel),
            Err(_) => Err(Unsent::Unreachable),
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

    /// A destination's message to another one: the destination stays on its tunnel until that is
    /// under suspicion.
    pub(super) fn send_parcel(
        &mut self,
        now: Instant,
        app: usize,
        via: OutboundId,
        parcel: Parcel,
    ) {
        let pool = apps::pool_of(app);
        let via = if self.tunnels.is_good(now, via) {
            via
        } else {
            self.tunnels.pick_other_outbound(now, pool, via).unwrap_or(via)
        };
        let Parcel { gateway, tunnel, message, ack } = parcel;
        let delivery = TunnelDelivery::Tunnel { gateway, tunnel };
        let result = self.send_through(now, pool, via, delivery, message);
        let Some(destination) = self.apps.destination(app) else { return };
        match (result, ack) {
            (Ok(via), Some(ack)) => {
                destination.handle_sent(ack, via);
                self.tunnels.expect(via);
            }
            (Ok(_), None) => {}
            (Err(SendError::NoTunnel(message)), ack) => {
                destination.handle_unsent(Parcel { gateway, tunnel, message, ack });
            }
            (Err(e), _) => log::debug!("not sent through a tunnel: {e}"),
        }
    }

    /// Sends through `via`, or, if that is gone, another tunnel of its pool. Says which it was.
    fn send_through(
        &mut self,
        now: Instant,
        pool: PoolId,
        via: OutboundId,
        delivery: TunnelDelivery,
        message: Message,
    ) -> Result<OutboundId, SendError> {
        let unix = self.clock.unix(now);
        match self.tunnels.send(now, unix, via, delivery, message) {
            Ok(()) => Ok(via),
            Err(SendError::NoTunnel(message)) => match self.tunnels.pick_outbound(now, pool) {
                Some(via) => self.tunnels.send(now, unix, via, delivery, message).map(|()| via),
                None => Err(SendError::NoTunnel(message)),
            },
            Err(e) => Err(e),
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
        self.send_back(now, to, tunnel, message);
    }

    /// Sends an answer to a router, or into the tunnel that begins there. To a gateway that we have no
    /// session with it goes through a tunnel of ours: we dial and look for nobody because a stranger
    /// named him.
    fn send_back(&mut self, now: Instant, to: Hash, tunnel: Option<u32>, message: Message) {
        let unix = self.clock.unix(now);
        let Some(tunnel) = tunnel else {
            let _sent = self.send_to(now, to, message, Priority::Control);
            return;
        };
        if to != self.hash()
            && !self.peers.is_connected(&to)
            && let Some(via) = self.tunnels.pick_outbound(now, PoolId::EXPLORATORY)
        {
            let delivery = TunnelDelivery::Tunnel { gateway: to, tunnel };
            if let Err(e) = self.send_through(now, PoolId::EXPLORATORY, via, delivery, message) {
                log::debug!("answer not sent: {e}");
            }
            return;
        }
        let mut body = Vec::new();
        if TunnelGateway::encode(tunnel, &message, &mut body).is_ok() {
            let message = self.message(unix, MessageType::TUNNEL_GATEWAY, body);
            let _sent = self.send_to(now, to, message, Priority::Control);
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

    fn not_found(&mut self, now: Instant, lookup: LookupId, reason: LookupFailure) {
        let unix = self.clock.unix(now);
        match self.lookups.remove(&lookup) {
            Some(Purpose::Router(hash)) => {
                self.pending.remove(&hash);
            }
            Some(Purpose::LeaseSet { app, key }) => {
                let why = match reason {
                    LookupFailure::Refused(StoreError::Expired | StoreError::TooOld) => {
                        Unresolved::Expired
                    }
                    LookupFailure::NoTunnel => Unresolved::NoTunnels,
                    LookupFailure::Refused(_)
                    | LookupFailure::NoFloodfill
                    | LookupFailure::NotStored
                    | LookupFailure::TimedOut
                    | LookupFailure::Cached
                    | LookupFailure::Busy => Unresolved::NotFound,
                };
                self.apps.handle_lookup_failed(now, unix, app, key, why);
            }
            None => {}
        }
    }

    /// Sends what waited for a router that we know now.
    pub(super) fn send_pending(&mut self, now: Instant, to: Hash) {
        if let Some(pending) = self.pending.remove(&to) {
            for (message, priority) in pending.messages {
                let _sent = self.send_to(now, to, message, priority);
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

/// Fills the network database with what was stored and what was given for a start. An error when
/// something was given and nobody can be asked: what became of the files.
pub(super) fn load(
    netdb: &mut NetDb,
    now: Instant,
    unix: UnixTime,
    stored: &Stored,
) -> Result<(), Report> {
    let mut report = load_files(netdb, now, unix, &stored.router_infos);
    let given = load_files(netdb, now, unix, &stored.reseed);
    // What is from the future was made by somebody whose clock is right: then ours is not, and all of it
    // will be of use when it is set.
    let from_future =
        |report: &Report| report.refused.contains_key(&Refusal::Store(StoreError::Future));
    let wrong_clock = from_future(&report) || from_future(&given);
    if !stored.reseed.is_empty() && report.used + given.used == 0 && !wrong_clock {
        return Err(given);
    }
    report.add(&given);
    log::info!("known at the start: {report}");
    if netdb.needs_reseed() {
        log::warn!(
            "too few routers are known to join the network: give RouterInfo files to start from"
        );
    }
    for (router, bytes) in &stored.profiles {
        if let Err(e) = netdb.restore_profile(now, unix, *router, bytes) {
            log::debug!("profile of {router:?} dropped: {e}");
        }
    }
    Ok(())
}

/// Offers what was held back once more, now that the wall clock is another one.
pub(super) fn load_again(
    netdb: &mut NetDb,
    now: Instant,
    unix: UnixTime,
    held_back: &mut Vec<Arc<[u8]>>,
) {
    if !held_back.is_empty() && netdb.needs_reseed() {
        let report = load_files(netdb, now, unix, held_back);
        log::info!("known with the new wall clock: {report}");
    }
    if !netdb.needs_reseed() {
        *held_back = Vec::new();
    }
}

fn load_files(netdb: &mut NetDb, now: Instant, unix: UnixTime, files: &[Arc<[u8]>]) -> Report {
    let mut report = Report::default();
    for file in files {
        match netdb.reseed(now, unix, file) {
            Ok(one) => report.add(&one),
            Err(e) => log::warn!("reseed file damaged: {e}"),
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rng::Seed;
    use crate::router::{Router, StartError};
    use alloc::vec;

    const UNIX: UnixTime = UnixTime::from_secs(1_750_000_000);

    fn start(router_infos: &[&Arc<[u8]>], reseed: &[&Arc<[u8]>]) -> Result<Router, StartError> {
        start_at(UNIX, router_infos, reseed)
    }

    fn start_at(
        unix: UnixTime,
        router_infos: &[&Arc<[u8]>],
        reseed: &[&Arc<[u8]>],
    ) -> Result<Router, StartError> {
        let mut config = Config::default();
        config.network.allow_local = true;
        config.ntcp2.host = Some([127, 0, 0, 1].into());
        config.ntcp2.port = Some(1234);
        let stored = Stored {
            router_infos: router_infos.iter().copied().cloned().collect(),
            reseed: reseed.iter().copied().cloned().collect(),
            ..Stored::default()
        };
        let seed = Seed::from_number(reseed.len() as u64 ^ unix.as_millis());
        Router::new(Arc::new(config), stored, seed, Instant::ZERO, unix)
    }

    #[test]
    fn a_router_that_started_with_a_wrong_clock_knows_the_network_once_it_is_right() {
        let other: Arc<[u8]> = start(&[], &[]).unwrap().router_info().as_bytes().into();
        let known = |router: &Router, now| router.report(now).netdb.routers;
        // A machine without a battery for its clock begins long ago.
        let wrong = UnixTime::from_secs(86_400);
        let junk: Arc<[u8]> = Arc::from(&b"junk"[..]);
        for (stored, given) in [(vec![&other, &junk], vec![]), (vec![], vec![&junk, &other])] {
            let mut router = start_at(wrong, &stored, &given).unwrap();
            let now = Instant::ZERO + core::time::Duration::from_secs(20);
            assert_eq!(known(&router, now), 0);
            router.handle_wall_clock(now, UNIX);
            assert_eq!(known(&router, now), 1);
        }
    }

    #[test]
    fn a_router_that_was_given_only_what_is_of_no_use_does_not_start() {
        let good: Arc<[u8]> = start(&[], &[]).unwrap().router_info().as_bytes().into();
        let junk: Arc<[u8]> = Arc::from(&b"junk"[..]);
        let Err(StartError::Reseed(report)) = start(&[&junk], &[&junk, &junk]) else {
            panic!("started");
        };
        let want = "0 routers used, 2 refused (not a RouterInfo)";
        assert_eq!(alloc::format!("{report}"), want);
        // One who can be asked is enough, wherever it is from; and nothing need be given.
        for (known, given) in
            [(vec![&good], vec![&junk]), (vec![], vec![&junk, &good]), (vec![&junk], vec![])]
        {
            assert!(start(&known, &given).is_ok(), "{} {}", known.len(), given.len());
        }
    }
}
