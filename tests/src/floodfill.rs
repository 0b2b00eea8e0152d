//! A floodfill for simulated networks, made of the core's public parts: it keeps what is stored,
//! floods it to the other floodfills, and answers. It takes no part in tunnels, and says so.
//!
//! It speaks the same interface as the router, so that a [`World`](crate::world::World) runs both.

use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::garlic;
use ramson_core::keys::RouterKeys;
use ramson_core::netdb::routing_key::RoutingKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::router::input::{ConnId, ConnInput, Consumed};
use ramson_core::router::output::{Action, StoreKey};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::transport::ntcp2::{
    Local, Peer, Priority, Remote, ReplayCache, Session, SessionEvent,
};
use ramson_core::wire::base64;
use ramson_core::wire::garlic::{Clove, Delivery};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, LookupType, Message,
    MessageType, ReplyEncryption, StoreEntry, StoreReply, TunnelGateway,
};
use ramson_core::wire::lease_set::LeaseSet;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Style};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a message may take.
const LIFETIME: Duration = Duration::from_secs(10);
/// Routers named in an answer.
const NAMED: usize = 3;
const NAMED_EXPLORING: usize = 12;

/// What a floodfill did, for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries stored, copies from other floodfills included.
    pub stored: u64,
    /// Entries refused: signature wrong, or not readable.
    pub refused: u64,
    /// Lookups answered with the entry.
    pub found: u64,
    /// Lookups answered with names of others.
    pub not_found: u64,
    /// Answers that went out encrypted to a tunnel.
    pub encrypted: u64,
}

/// The floodfill. After each `handle_*` drain [`Self::poll_action`], [`Self::poll_writable`] with
/// [`Self::poll_conn`], then arm [`Self::poll_timeout`].
pub struct Floodfill {
    info: RouterInfo,
    local: Arc<Local>,
    opener: garlic::router::Opener,
    infos: BTreeMap<Hash, RouterInfo>,
    lease_sets: BTreeMap<Hash, LeaseSet>,
    links: BTreeMap<ConnId, Link>,
    by_peer: BTreeMap<Hash, ConnId>,
    replay: ReplayCache,
    actions: VecDeque<Action>,
    writable: VecDeque<ConnId>,
    opened: u64,
    tally: Tally,
    rng: Rng,
}

struct Link {
    session: Session,
    connected: bool,
    closing: bool,
}

/// The moment that a call happens at.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    unix: UnixTime,
}

impl Floodfill {
    /// A floodfill that is reached at `address`, with the keys that it persisted earlier, if any.
    ///
    /// # Panics
    /// When the stored keys are damaged.
    #[must_use]
    pub fn new(
        address: SocketAddr,
        net_id: u8,
        stored: Option<&[u8]>,
        known: &[Arc<[u8]>],
        seed: &Seed,
        unix: UnixTime,
    ) -> Self {
        let mut rng = Rng::new(seed);
        let mut actions = VecDeque::new();
        let keys = match stored {
            Some(bytes) => RouterKeys::decode(bytes).unwrap(),
            None => RouterKeys::generate(&mut rng),
        };
        let info = router_info(&keys, address, net_id, unix);
        for (key, value) in [
            (StoreKey::RouterKeys, keys.encode().to_vec()),
            (StoreKey::RouterInfo, info.as_bytes().to_vec()),
        ] {
            actions.push_back(Action::Persist { key, value: Some(Arc::from(value)) });
        }
        let static_key = PrivateKey::from_bytes(*keys.ntcp2.to_bytes().as_bytes());
        let local = Arc::new(Local::new(info.hash(), static_key, keys.ntcp2_iv, net_id));
        let known = known.iter().map(|bytes| RouterInfo::decode(bytes).unwrap());
        let infos = known.filter(|i| i.hash() != info.hash()).map(|i| (i.hash(), i)).collect();
        Self {
            opener: garlic::router::Opener::new(keys.encryption.clone()),
            info,
            local,
            infos,
            lease_sets: BTreeMap::new(),
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            replay: ReplayCache::new(),
            actions,
            writable: VecDeque::new(),
            opened: 0,
            tally: Tally::default(),
            rng,
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// RouterInfos and lease sets that it holds.
    #[must_use]
    pub fn holds(&self) -> (usize, usize) {
        (self.infos.len(), self.lease_sets.len())
    }

    /// Something happened on a byte stream.
    pub fn handle_conn(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        input: ConnInput<'_>,
    ) -> Consumed {
        let at = Moment { now, unix };
        let mut consumed = Consumed::default();
        match input {
            ConnInput::Accepted { .. } => {
                let session = Session::accept(now, self.local.clone(), self.rng.fork("inbound"));
                self.links.insert(conn, Link { session, connected: true, closing: false });
            }
            ConnInput::Connected => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.connected = true;
                }
            }
            ConnInput::Bytes(bytes) => {
                consumed.taken = bytes.len();
                if let Some(link) = self.links.get_mut(&conn) {
                    // An error is also the session's last event.
                    let _reported = link.session.handle_bytes(now, unix, &mut self.replay, bytes);
                }
            }
            ConnInput::ReadClosed | ConnInput::Failed(_) => {
                if let Some(link) = self.links.get_mut(&conn) {
                    link.session.handle_disconnect();
                }
            }
        }
        self.after(at, conn);
        consumed
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        let due = |l: &Link| l.session.poll_timeout().is_some_and(|t| t <= now);
        let late: Vec<ConnId> =
            self.links.iter().filter(|(_, l)| due(l)).map(|(conn, _)| *conn).collect();
        for conn in late {
            if let Some(link) = self.links.get_mut(&conn) {
                link.session.handle_timeout(now);
            }
            self.after(Moment { now, unix }, conn);
        }
    }

    /// The next rare effect.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next stream that has bytes to write.
    #[must_use]
    pub fn poll_writable(&mut self) -> Option<ConnId> {
        self.writable.pop_front()
    }

    /// Appends at most `room` bytes for `conn`.
    pub fn poll_conn(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let Some(link) = self.links.get_mut(&conn) else { return 0 };
        let n = link.session.poll_write(now, unix, room, out);
        if link.closing && n == 0 {
            self.links.remove(&conn);
        }
        n
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.links.values().filter_map(|l| l.session.poll_timeout()).min()
    }

    fn after(&mut self, at: Moment, conn: ConnId) {
        while let Some(event) = self.links.get_mut(&conn).and_then(|l| l.session.poll_event()) {
            let from = self.links.get(&conn).and_then(|l| l.session.peer());
            match event {
                SessionEvent::Established { peer, .. } => {
                    self.by_peer.insert(peer.hash(), conn);
                    if let Peer::Inbound { info, .. } = peer {
                        self.keep(StoreEntry::RouterInfo(info));
                    }
                }
                SessionEvent::Message(message) => self.handle_message(at, from, message),
                SessionEvent::RouterInfo { info, .. } => {
                    self.keep(StoreEntry::RouterInfo(info));
                }
                SessionEvent::Skew(_) => {}
                SessionEvent::Closed(result) => {
                    if let Some(peer) = from.filter(|p| self.by_peer.get(p) == Some(&conn)) {
                        self.by_peer.remove(&peer);
                    }
                    let dialling = self.links.get(&conn).is_some_and(|l| !l.connected);
                    let abort = dialling || result.is_err_and(|e| e.abort());
                    self.actions.push_back(Action::Close { conn, abort });
                    if abort {
                        self.links.remove(&conn);
                    } else if let Some(link) = self.links.get_mut(&conn) {
                        link.closing = true;
                    }
                }
            }
        }
        if self.links.get(&conn).is_some_and(|l| l.connected && l.session.wants_write()) {
            self.writable.push_back(conn);
        }
    }

    fn handle_message(&mut self, at: Moment, from: Option<Hash>, mut message: Message) {
        match message.kind {
            MessageType::DATABASE_STORE => self.handle_store(at, from, &message.body),
            MessageType::DATABASE_LOOKUP => match DatabaseLookup::decode(&message.body) {
                Ok(lookup) => self.handle_lookup(at, lookup),
                Err(e) => log::warn!("lookup dropped: {e}"),
            },
            MessageType::GARLIC => match self.opener.open(at.unix, &mut message.body) {
                Ok(cloves) => {
                    for clove in cloves {
                        if clove.delivery == Delivery::Local
                            && clove.message.kind != MessageType::GARLIC
                        {
                            self.handle_message(at, None, clove.message);
                        }
                    }
                }
                Err(e) => log::warn!("garlic dropped: {e}"),
            },
            kind => log::debug!("message of type {} ignored", kind.0),
        }
    }

    fn handle_store(&mut self, at: Moment, from: Option<Hash>, body: &[u8]) {
        let store = match DatabaseStore::decode(body) {
            Ok(store) => store,
            Err(e) => {
                log::warn!("store dropped: {e}");
                self.tally.refused += 1;
                return;
            }
        };
        if !self.keep(store.entry.clone()) {
            return;
        }
        let Some(StoreReply { token, tunnel, gateway }) = store.reply else { return };
        let mut body = Vec::new();
        DeliveryStatus { id: token, time: at.unix }.encode(&mut body);
        let status = self.message(at, MessageType::DELIVERY_STATUS, body);
        self.answer(at, gateway, tunnel, status);
        // A copy for each of the others; copies carry no token and go no further.
        let mut copy = Vec::new();
        DatabaseStore { reply: None, entry: store.entry }.encode(&mut copy);
        for other in self.floodfills() {
            if Some(other) != from {
                let message = self.message(at, MessageType::DATABASE_STORE, copy.clone());
                self.send(at, other, message);
            }
        }
    }

    /// Keeps an entry if it is genuine; one that is older than what is there changes nothing.
    fn keep(&mut self, entry: StoreEntry) -> bool {
        let genuine = match &entry {
            StoreEntry::RouterInfo(info) => info.verify().is_ok(),
            StoreEntry::LeaseSet(set) => set.verify().is_ok(),
        };
        if !genuine {
            self.tally.refused += 1;
            return false;
        }
        self.tally.stored += 1;
        match entry {
            StoreEntry::RouterInfo(info) => {
                let old = self.infos.get(&info.hash());
                if info.hash() != self.info.hash()
                    && old.is_none_or(|o| o.published() < info.published())
                {
                    self.infos.insert(info.hash(), info);
                }
            }
            StoreEntry::LeaseSet(set) => {
                let old = self.lease_sets.get(&set.key());
                if old.is_none_or(|o| o.published() < set.published()) {
                    self.lease_sets.insert(set.key(), set);
                }
            }
        }
        true
    }

    fn handle_lookup(&mut self, at: Moment, lookup: DatabaseLookup) {
        let key = lookup.key;
        let info = || self.infos.get(&key).cloned().map(StoreEntry::RouterInfo);
        let lease_set = || {
            let live = self.lease_sets.get(&key).filter(|s| s.expires() > at.unix);
            live.cloned().map(StoreEntry::LeaseSet)
        };
        let entry = match lookup.kind {
            LookupType::RouterInfo => info(),
            LookupType::LeaseSet => lease_set(),
            LookupType::Any => info().or_else(lease_set),
            LookupType::Exploration => None,
        };
        let mut body = Vec::new();
        let kind = match entry {
            Some(entry) => {
                self.tally.found += 1;
                DatabaseStore { reply: None, entry }.encode(&mut body);
                MessageType::DATABASE_STORE
            }
            None => {
                self.tally.not_found += 1;
                let peers = self.near(at, &lookup);
                DatabaseSearchReply { key, peers, from: self.info.hash() }.encode(&mut body);
                MessageType::DATABASE_SEARCH_REPLY
            }
        };
        let mut message = self.message(at, kind, body);
        if let ReplyEncryption::Ecies { key, tag } = &lookup.encryption {
            let clove = Clove { delivery: Delivery::Local, message };
            let body = garlic::reply::seal(tag, key, &[clove], &mut self.rng).unwrap();
            message = self.message(at, MessageType::GARLIC, body);
            self.tally.encrypted += 1;
        }
        self.answer(at, lookup.from, lookup.reply_tunnel, message);
    }

    /// Floodfills near the key; for an exploration other routers.
    fn near(&self, at: Moment, lookup: &DatabaseLookup) -> Vec<Hash> {
        let exploring = lookup.kind == LookupType::Exploration;
        let target = RoutingKey::new(&lookup.key, at.unix);
        let fits = |i: &&RouterInfo| i.caps().floodfill != exploring;
        let mut peers: Vec<Hash> = self.infos.values().filter(fits).map(RouterInfo::hash).collect();
        peers.retain(|p| !lookup.exclude.contains(p) && *p != lookup.key);
        peers.sort_by_key(|p| target.distance(p));
        peers.truncate(if exploring { NAMED_EXPLORING } else { NAMED });
        peers
    }

    fn floodfills(&self) -> Vec<Hash> {
        self.infos.values().filter(|i| i.caps().floodfill).map(RouterInfo::hash).collect()
    }

    /// To a router, or into a tunnel that begins there.
    fn answer(&mut self, at: Moment, to: Hash, tunnel: Option<u32>, message: Message) {
        let Some(tunnel) = tunnel else {
            self.send(at, to, message);
            return;
        };
        let mut body = Vec::new();
        TunnelGateway::encode(tunnel, &message, &mut body).unwrap();
        let message = self.message(at, MessageType::TUNNEL_GATEWAY, body);
        self.send(at, to, message);
    }

    fn send(&mut self, at: Moment, to: Hash, message: Message) {
        let conn = match self.by_peer.get(&to) {
            Some(conn) => *conn,
            None => {
                let Some(conn) = self.dial(at, to) else {
                    log::warn!("message for {to:?} dropped: unknown or not reachable");
                    return;
                };
                conn
            }
        };
        if let Some(link) = self.links.get_mut(&conn) {
            if let Err(e) = link.session.queue(at.now, message, Priority::Control) {
                log::debug!("message for {to:?} dropped: {e}");
            }
            if link.connected {
                self.writable.push_back(conn);
            }
        }
    }

    fn dial(&mut self, at: Moment, to: Hash) -> Option<ConnId> {
        let address = self.infos.get(&to)?.ntcp2()?;
        let (host, iv) = address.host.zip(address.iv)?;
        let remote = Remote { hash: to, static_key: address.static_key, iv };
        let rng = self.rng.fork("outbound");
        let session = Session::connect(at.now, self.local.clone(), self.info.clone(), remote, rng);
        // Far from the numbers that a runtime gives to what it accepts.
        self.opened += 1;
        let conn = ConnId::accepted(1 << 40 | self.opened);
        self.links.insert(conn, Link { session, connected: false, closing: false });
        self.by_peer.insert(to, conn);
        self.actions.push_back(Action::Connect { conn, remote: host, bind: None });
        Some(conn)
    }

    fn message(&mut self, at: Moment, kind: MessageType, body: Vec<u8>) -> Message {
        Message { kind, id: self.rng.nonzero_u32(), expires: at.unix + LIFETIME, body }
    }
}

/// Fast, reachable, floodfill, and refuses all tunnels.
fn router_info(keys: &RouterKeys, address: SocketAddr, net_id: u8, unix: UnixTime) -> RouterInfo {
    let mapping = |pairs: &[(&str, &str)]| {
        let mut mapping = Mapping::new();
        for (key, value) in pairs {
            mapping.insert(key, value).unwrap();
        }
        mapping
    };
    let options =
        mapping(&[("caps", "XfRG"), ("netId", &net_id.to_string()), ("router.version", "0.9.62")]);
    let ntcp2 = mapping(&[
        ("host", &address.ip().to_string()),
        ("port", &address.port().to_string()),
        ("i", &base64::encode(&keys.ntcp2_iv)),
        ("s", &base64::encode(&keys.ntcp2.public().0)),
        ("v", "2"),
    ]);
    let address = RouterAddress { cost: 3, style: Style::Ntcp2, options: ntcp2 };
    RouterInfo::build(&keys.identity, unix, &[address], &options, &keys.signing)
}
