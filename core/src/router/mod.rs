//! The facade: one router, no I/O, no threads, no clock, no ambient randomness.
//!
//! The router owns the machines and carries values between them: what one of them says becomes
//! input of another. Nothing of I2P is decided here that a machine could decide.

mod apps;
mod audit;
pub mod conduct;
mod dispatch;
pub mod embed;
pub mod input;
pub mod job;
mod lookups;
pub mod output;
mod paths;
mod publish;
mod report;

use crate::client::address_book::AddressBook;
use crate::config::{Config, Floodfill, Ssu2};
use crate::conn::{ConnId, Opener};
use crate::crypto::x25519::PrivateKey;
use crate::garlic::{self, reply::ReplyTags};
use crate::keys::{DestinationKeys, KeysError, RouterKeys};
use crate::netdb::reseed::Report;
use crate::netdb::{Context, LookupId, NetDb, NetDbConfig};
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::transport::peers::{PeerAction, Peers, PeersConfig, Ssu2Config, Train};
use crate::transport::{ntcp2, ssu2};
use crate::tunnel::{PoolId, TunnelConfig, Tunnels};
use crate::wire::hash::Hash;
use crate::wire::router_info::RouterInfo;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use apps::{AppAction, Apps, Kind};
use core::time::Duration;
use input::{
    Command, Completion, ConnInput, Consumed, Datagram, EffectId, Listener, Remote, SocketId,
    Stored,
};
use job::Jobs;
use lookups::{Pending, Purpose};
use output::{Action, Event, StoreKey, Transmit, Wake};

/// A step of the wall clock that peers would notice.
const CLOCK_STEP: Duration = Duration::from_secs(10);
/// How long a shutdown waits for streams and local connections to end by themselves.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// How long it then waits for what the ends of streams left to be sent.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a shutdown waits for goodbyes to be written.
const GOODBYE: Duration = Duration::from_millis(500);

/// What in the configuration or the stored state keeps the router from starting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// A key file is damaged; it is never replaced silently.
    #[error("{key:?}: {reason}")]
    Keys {
        /// Which keys, as they are persisted.
        key: StoreKey,
        /// What is wrong.
        reason: KeysError,
    },
    /// Files for reseeding were given, and nobody is known with them or without.
    #[error("reseed: nothing usable: {0}")]
    Reseed(Report),
}

/// The router. After each `handle_*` drain, until all say `None`: [`Self::poll_action`],
/// [`Self::poll_transmit`], [`Self::poll_writable`] with [`Self::poll_conn`],
/// [`Self::poll_app_event`]; then arm a timer for [`Self::poll_timeout`]. The verbs of an embedder's
/// own destinations, in [`embed`], are followed by the same.
pub struct Router {
    config: Arc<Config>,
    keys: RouterKeys,
    info: RouterInfo,
    started: Instant,
    clock: Clock,
    peers: Peers,
    netdb: NetDb,
    tunnels: Tunnels,
    garlic: garlic::router::Opener,
    /// One-time tags of answers, by the context that asked: contexts do not mix.
    reply_tags: BTreeMap<u32, ReplyTags>,
    apps: Apps,
    lookups: BTreeMap<LookupId, Purpose>,
    pending: BTreeMap<Hash, Pending>,
    jobs: Jobs,
    actions: VecDeque<Action>,
    stopping: Stopping,
    ready: bool,
    /// Our services were named to the user.
    introduced: bool,
    /// What was stored, when next to nothing of it could be used: with a wrong clock all of it is from
    /// the future, or long past.
    held_back: Vec<Arc<[u8]>>,
    rng: Rng,
    conduct: Option<Box<dyn conduct::Conduct>>,
}

/// How far a shutdown has come. With streams open it takes until each of these instants at most.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// Streams and local connections end.
    Farewell(Instant),
    /// Their last packets leave.
    LastWords(Instant),
    /// Sessions end.
    Goodbye(Instant),
    Done,
}

impl Stopping {
    const fn is_goodbye(self) -> bool {
        matches!(self, Self::Goodbye(_) | Self::Done)
    }

    const fn deadline(self) -> Option<Instant> {
        match self {
            Self::No | Self::Done => None,
            Self::Farewell(at) | Self::LastWords(at) | Self::Goodbye(at) => Some(at),
        }
    }
}

/// The wall clock as an offset from the monotonic one.
#[derive(Clone, Copy)]
struct Clock {
    at: Instant,
    unix: UnixTime,
}

impl Clock {
    fn unix(self, now: Instant) -> UnixTime {
        self.unix + now.saturating_since(self.at)
    }
}

impl Router {
    /// A router with `unix` as the wall clock at `now`. Keys that are not stored are made, and
    /// persisted by the first actions.
    pub fn new(
        config: Arc<Config>,
        stored: Stored,
        seed: Seed,
        now: Instant,
        unix: UnixTime,
    ) -> Result<Self, StartError> {
        config.timing.check().map_err(StartError::Config)?;
        let mut rng = Rng::new(&seed);
        let mut actions = VecDeque::new();
        let keys = router_keys(stored.router_keys.as_deref(), &mut rng, &mut actions)?;
        let hash = keys.identity.hash();
        let reach = publish::reach(&config);
        let peers_config = PeersConfig {
            local: Arc::new(ntcp2_local(&config, &keys)),
            ssu2: ssu2_config(&config, &keys)?,
            reach,
            sessions: config.limits.sessions as usize,
            bandwidth_in: config.limits.bandwidth_in,
            bandwidth_out: config.limits.bandwidth_out,
        };
        let mut peers = Peers::new(peers_config, Opener::new(0), now, rng.fork("peers"));

        let netdb_config = NetDbConfig { local: hash, net_id: config.network.id, reach };
        let mut netdb = NetDb::new(now, netdb_config, rng.fork("netdb"));
        lookups::load(&mut netdb, now, unix, &stored).map_err(StartError::Reseed)?;
        let held_back = if netdb.needs_reseed() {
            [&stored.router_infos[..], &stored.reseed].concat()
        } else {
            Vec::new()
        };
        netdb.set_role(now, role(&config)?);
        let info = own_info(&config, &keys, &netdb, unix);
        persist(&mut actions, StoreKey::RouterInfo, info.as_bytes());
        peers.set_own(now, info.clone());
        let transit = paths::transit_limits(&config);
        let tunnel_config = TunnelConfig { local: hash, transit, timing: config.timing };
        let mut tunnels = Tunnels::new(tunnel_config, keys.encryption.clone(), rng.fork("tunnels"));
        tunnels.add_pool(now, unix, PoolId::EXPLORATORY, paths::pool(&config.exploratory));

        let mut destinations = BTreeMap::new();
        for name in apps::key_names(&config) {
            let stored = stored.destinations.get(&name).map(Vec::as_slice);
            let keys = destination_keys(&name, stored, &mut rng, &mut actions)?;
            destinations.insert(name, keys);
        }
        let book = address_book(&stored);
        let apps =
            Apps::new(&config, destinations, book, now, &mut rng).map_err(StartError::Config)?;
        let mut reply_tags = BTreeMap::from([(0, ReplyTags::new())]);
        for (pool, shape) in apps.pools() {
            tunnels.add_pool(now, unix, pool, paths::pool(&shape));
            netdb
                .add_context(Context(pool.0))
                .map_err(|e| StartError::Config(format!("too many tunnels configured: {e}")))?;
            reply_tags.insert(pool.0, ReplyTags::new());
        }
        let garlic = garlic::router::Opener::new(keys.encryption.clone());
        let mut router = Self {
            config,
            keys,
            info,
            started: now,
            clock: Clock { at: now, unix },
            peers,
            netdb,
            tunnels,
            garlic,
            reply_tags,
            apps,
            lookups: BTreeMap::new(),
            pending: BTreeMap::new(),
            jobs: Jobs::default(),
            actions,
            stopping: Stopping::No,
            ready: false,
            introduced: false,
            held_back,
            rng,
            conduct: None,
        };
        router.publish_info(now);
        router.settle(now);
        Ok(router)
    }

    /// Our hash: the name under which the network knows this router.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.info.hash()
    }

    /// What it takes for the wall clock.
    #[must_use]
    pub fn unix(&self, now: Instant) -> UnixTime {
        self.clock.unix(now)
    }

    /// What SSU2 did so far, if it is spoken.
    #[must_use]
    pub fn ssu2_stats(&self) -> Option<ssu2::EndpointStats> {
        self.peers.ssu2_stats()
    }

    /// Our RouterInfo as published last.
    #[must_use]
    pub const fn router_info(&self) -> &RouterInfo {
        &self.info
    }

    /// A received datagram, or a coalesced train of them.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        let unix = self.clock.unix(now);
        let Datagram { remote, payload, segment, .. } = datagram;
        for packet in payload.chunks_mut(segment.unwrap_or(usize::MAX).max(1)) {
            self.peers.handle_datagram(now, unix, remote, packet);
        }
        self.settle(now);
    }

    /// Something happened on a byte stream.
    pub fn handle_conn(&mut self, now: Instant, conn: ConnId, input: ConnInput<'_>) -> Consumed {
        let unix = self.clock.unix(now);
        let consumed = match input {
            ConnInput::Accepted { remote, listener: Listener::Ntcp2 } => {
                match remote {
                    Remote::Ip(remote) if self.stopping == Stopping::No => {
                        self.peers.handle_accepted(now, conn, remote);
                    }
                    Remote::Ip(_) | Remote::Local => {
                        self.actions.push_back(Action::Close { conn, abort: true });
                    }
                }
                Consumed::default()
            }
            ConnInput::Connected if self.peers.owns(conn) => {
                self.peers.handle_connected(conn);
                Consumed::default()
            }
            ConnInput::Bytes(bytes) if self.peers.owns(conn) => {
                let taken = bytes.len();
                let pause = self.peers.handle_bytes(now, unix, conn, bytes);
                Consumed { taken, pause }
            }
            ConnInput::ReadClosed if self.peers.owns(conn) => {
                self.peers.handle_gone(now, unix, conn, false);
                Consumed::default()
            }
            ConnInput::Failed(_) if self.peers.owns(conn) => {
                self.peers.handle_gone(now, unix, conn, true);
                Consumed::default()
            }
            ConnInput::Accepted { listener: Listener::Control, .. } => {
                self.apps.accept_control(now, conn);
                Consumed::default()
            }
            input @ (ConnInput::Accepted { .. }
            | ConnInput::Connected
            | ConnInput::Bytes(_)
            | ConnInput::ReadClosed
            | ConnInput::Failed(_)) => self.apps.handle_conn(now, conn, input),
        };
        self.settle(now);
        consumed
    }

    /// An effect finished.
    pub fn handle_completion(&mut self, now: Instant, id: EffectId, completion: Completion) {
        match completion {
            Completion::Job(done) => {
                if self.jobs.finish(id) {
                    self.handle_done(now, done);
                }
            }
            Completion::JobFailed => {
                if self.jobs.finish(id) {
                    self.handle_job_failed(now);
                }
            }
        }
        self.settle(now);
    }

    /// The embedder wants something.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Shutdown => {
                if self.stopping == Stopping::No {
                    let unix = self.clock.unix(now);
                    self.netdb.save(now, unix);
                    // With no stream open there are no last words.
                    self.stopping = if self.apps.is_quiet() {
                        Stopping::LastWords(now)
                    } else {
                        Stopping::Farewell(now + FAREWELL)
                    };
                    self.apps.shut_down(now);
                }
            }
        }
        self.settle(now);
    }

    /// The wall clock was read again: once a minute, and after it stepped.
    pub fn handle_wall_clock(&mut self, now: Instant, unix: UnixTime) {
        let before = self.clock.unix(now).as_millis();
        self.clock = Clock { at: now, unix };
        // Peers refuse a RouterInfo from the future, and an old one.
        if before.abs_diff(unix.as_millis()) > CLOCK_STEP.as_millis() as u64 {
            log::warn!("the wall clock was set: our RouterInfo is signed anew");
            lookups::load_again(&mut self.netdb, now, unix, &mut self.held_back);
            self.republish(now);
            self.settle(now);
        }
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        let unix = self.clock.unix(now);
        self.peers.handle_timeout(now, unix);
        self.netdb.handle_timeout(now, unix);
        self.tunnels.handle_timeout(now, unix);
        self.apps.handle_timeout(now, unix);
        self.expire_pending(now);
        self.settle(now);
    }

    /// Fresh entropy, after a resume or a fork of the machine. It reaches every machine with its
    /// next draw; keys made in store are made anew.
    pub fn mix_entropy(&mut self, seed: Seed) {
        self.rng.mix(&seed);
    }

    /// The next rare effect.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Appends up to `max_segments` datagrams for one remote to `buf`, all of one length but the last.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let unix = self.clock.unix(now);
        let Train { to, len, segment } = self.peers.poll_transmit(now, unix, max_segments, buf)?;
        // A session may end with what it sends.
        if !self.peers.is_silent() {
            self.settle(now);
        }
        let socket = if to.is_ipv4() { SocketId::IPV4 } else { SocketId::IPV6 };
        Some(Transmit { socket, remote: to, len, segment: (len > segment).then_some(segment) })
    }

    /// The next stream that has bytes to write. Follow with [`Self::poll_conn`] until that says 0;
    /// a runtime whose socket is full goes on when the socket is writable.
    #[must_use]
    pub fn poll_writable(&mut self) -> Option<ConnId> {
        self.peers.poll_writable().or_else(|| self.apps.poll_writable())
    }

    /// Appends at most `room` bytes for `conn` to `buf` and says how many; 0 when there is nothing
    /// to write. Frames and encrypts only now, so that priorities hold until the last moment.
    pub fn poll_conn(
        &mut self,
        now: Instant,
        conn: ConnId,
        room: usize,
        buf: &mut Vec<u8>,
    ) -> usize {
        if self.peers.owns(conn) {
            let unix = self.clock.unix(now);
            let n = self.peers.poll_conn(now, unix, conn, room, buf);
            // A session may end with what it writes.
            if !self.peers.is_silent() {
                self.settle(now);
            }
            return n;
        }
        let n = self.apps.poll_conn(now, conn, room, buf);
        if n > 0 || !self.apps.is_silent() || self.stopping != Stopping::No {
            // Room in a pipe lets the stream behind it go on.
            self.settle(now);
        }
        n
    }

    /// When to call [`Self::handle_timeout`] at the latest, and why. `None`: nothing pending.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Wake)> {
        let (apps, apps_wake) = self.apps.poll_timeout();
        [
            (self.peers.poll_timeout(), Wake::Session),
            (self.tunnels.poll_timeout(), Wake::Tunnel),
            (self.netdb.poll_timeout(), Wake::NetDb),
            (apps, apps_wake),
            (self.pending_deadline(), Wake::Router),
            (self.stopping.deadline(), Wake::Router),
        ]
        .into_iter()
        .filter_map(|(at, wake)| at.map(|at| (at, wake)))
        .min()
    }

    /// Carries values between the machines until none has anything to say.
    fn settle(&mut self, now: Instant) {
        self.introduce();
        self.carry(now);
        while self.advance_stop(now) {
            self.carry(now);
        }
        self.apps.set_alone(self.netdb.is_empty());
        while let Some(action) = self.peers.poll_action() {
            self.actions.push_back(match action {
                PeerAction::Connect { conn, remote } => {
                    Action::Connect { conn, remote, bind: self.config.ntcp2.bind }
                }
                PeerAction::Close { conn, abort } => Action::Close { conn, abort },
                PeerAction::Resume(conn) => Action::Resume(conn),
            });
        }
        if !self.ready && self.apps.all_ready() {
            self.ready = true;
            self.actions.push_back(Action::Notify(Event::Ready));
        }
    }

    /// Takes the next step of a shutdown, if it is time for that.
    fn advance_stop(&mut self, now: Instant) -> bool {
        match self.stopping {
            Stopping::Farewell(at) if at <= now || self.apps.is_quiet() => {
                self.apps.break_off(now);
                self.stopping = Stopping::LastWords(now + LAST_WORDS);
                true
            }
            Stopping::LastWords(at) if at <= now => {
                self.apps.close_all();
                self.peers.close_all(now, self.clock.unix(now));
                self.stopping = Stopping::Goodbye(now + GOODBYE);
                true
            }
            Stopping::Goodbye(at) if at <= now => {
                self.stopping = Stopping::Done;
                self.actions.push_back(Action::Notify(Event::Stopped));
                false
            }
            Stopping::No
            | Stopping::Farewell(_)
            | Stopping::LastWords(_)
            | Stopping::Goodbye(_)
            | Stopping::Done => false,
        }
    }

    /// Names our services to the user, and to who debugs their addresses too: together they would
    /// tell whose they are. With the first input, for by then all that the making of the router
    /// asked for is done: an address whose keys were not stored would be lost with the next start.
    fn introduce(&mut self) {
        if self.introduced || !self.actions.is_empty() {
            return;
        }
        self.introduced = true;
        for (_, app) in self.apps.all() {
            if let Kind::Server { .. } = app.kind {
                log::info!("site {}", app.name);
            }
            log::debug!("{}: {}", app.name, app.destination.identity().b32_address());
        }
    }

    fn carry(&mut self, now: Instant) {
        loop {
            let mut busy = false;
            while let Some(event) = self.peers.poll_event() {
                busy = true;
                self.handle_peer_event(now, event);
            }
            while let Some(action) = self.netdb.poll_action() {
                busy = true;
                self.handle_netdb_action(now, action);
            }
            while let Some(action) = self.tunnels.poll_action() {
                busy = true;
                self.handle_tunnel_action(now, action);
            }
            let unix = self.clock.unix(now);
            busy |= self.apps.settle(now, unix);
            while let Some(action) = self.apps.poll_action() {
                busy = true;
                self.handle_app_action(now, action);
            }
            if !busy {
                break;
            }
        }
    }

    fn handle_app_action(&mut self, now: Instant, action: AppAction) {
        let unix = self.clock.unix(now);
        match action {
            AppAction::Send { app, via, parcel } => self.send_parcel(now, app, via, parcel),
            AppAction::Confirmed { via, sent } => self.tunnels.confirm(via, sent),
            AppAction::Doubted { app } => self.tunnels.doubt(now, unix, apps::pool_of(app)),
            AppAction::Lookup { app, key } => self.look_up_lease_set(now, app, key),
            AppAction::Publish { app, lease_set } => {
                let ctx = Context(apps::pool_of(app).0);
                if let Err(e) = self.netdb.publish_lease_set(now, unix, ctx, lease_set) {
                    log::warn!("a lease set cannot be published: {e}");
                }
            }
            AppAction::Message { app, message } => {
                self.handle_end_to_end(now, apps::pool_of(app), &message);
            }
            AppAction::Report(conn) => {
                let report = self.report(now);
                self.apps.report(conn, &report);
            }
            AppAction::Effect(action) => self.actions.push_back(action),
        }
    }

    /// Signs our RouterInfo anew and tells the network.
    fn republish(&mut self, now: Instant) {
        let unix = self.clock.unix(now);
        self.info = own_info(&self.config, &self.keys, &self.netdb, unix);
        persist(&mut self.actions, StoreKey::RouterInfo, self.info.as_bytes());
        self.peers.set_own(now, self.info.clone());
        self.publish_info(now);
    }

    fn publish_info(&mut self, now: Instant) {
        let unix = self.clock.unix(now);
        if let Err(e) = self.netdb.publish_router(now, unix, self.info.clone()) {
            log::error!("our RouterInfo cannot be published: {e}");
        }
    }
}

fn ntcp2_local(config: &Config, keys: &RouterKeys) -> ntcp2::Local {
    let static_key = copy(&keys.ntcp2);
    ntcp2::Local::new(keys.identity.hash(), static_key, keys.ntcp2_iv, config.network.id)
}

/// SSU2, if it is in use and there is a socket for it.
fn ssu2_config(config: &Config, keys: &RouterKeys) -> Result<Option<Ssu2Config>, StartError> {
    let mtu = config.ssu2.mtu;
    if !(Ssu2::MIN_MTU..=Ssu2::MAX_MTU).contains(&mtu) {
        let (least, most) = (Ssu2::MIN_MTU, Ssu2::MAX_MTU);
        return Err(StartError::Config(format!("ssu2.mtu: {mtu} is not within {least} to {most}")));
    }
    if !publish::has_ssu2(config) {
        return Ok(None);
    }
    let hash = keys.identity.hash();
    let local = ssu2::Local::new(hash, copy(&keys.ssu2), keys.ssu2_intro, config.network.id);
    Ok(Some(Ssu2Config { local: Arc::new(local), mtu }))
}

fn copy(key: &PrivateKey) -> PrivateKey {
    PrivateKey::from_bytes(*key.to_bytes().as_bytes())
}

/// Whether we are a floodfill, as configured.
fn role(config: &Config) -> Result<Floodfill, StartError> {
    let mode = config.netdb.floodfill;
    if mode == Floodfill::On && !publish::is_published(config) {
        let problem = "a floodfill needs a published address, with host and port";
        return Err(StartError::Config(problem.into()));
    }
    Ok(mode)
}

/// Our RouterInfo, made now.
fn own_info(config: &Config, keys: &RouterKeys, netdb: &NetDb, unix: UnixTime) -> RouterInfo {
    let statistics = netdb.floodfill_stats().map(|stats| {
        let counts = netdb.counts();
        publish::Statistics { routers: counts.verified + counts.unverified, lease_sets: stats.kept }
    });
    publish::router_info(config, keys, statistics, unix)
}

fn persist(actions: &mut VecDeque<Action>, key: StoreKey, value: &[u8]) {
    actions.push_back(Action::Persist { key, value: Some(Arc::from(value)) });
}

/// The user's own names go before those learned from links.
fn address_book(stored: &Stored) -> AddressBook {
    let mut book = AddressBook::new();
    let own = stored.hosts.iter().map(|file| (file, false));
    for (file, learned) in own.chain(stored.learned_hosts.iter().map(|file| (file, true))) {
        let import = if learned { book.import_learned(file) } else { book.import(file) };
        let name = if learned { "hosts-learned.txt" } else { "hosts.txt" };
        log::info!("{name}: {} names, {} lines skipped", import.added, import.skipped);
        for finding in &import.findings {
            log::warn!("{name}:{}: {}", finding.line, finding.error);
        }
    }
    book
}

fn router_keys(
    stored: Option<&[u8]>,
    rng: &mut Rng,
    actions: &mut VecDeque<Action>,
) -> Result<RouterKeys, StartError> {
    if let Some(bytes) = stored {
        return RouterKeys::decode(bytes)
            .map_err(|reason| StartError::Keys { key: StoreKey::RouterKeys, reason });
    }
    let keys = RouterKeys::generate(&mut rng.fork("router keys"));
    persist(actions, StoreKey::RouterKeys, &keys.encode());
    Ok(keys)
}

fn destination_keys(
    name: &str,
    stored: Option<&[u8]>,
    rng: &mut Rng,
    actions: &mut VecDeque<Action>,
) -> Result<DestinationKeys, StartError> {
    if let Some(bytes) = stored {
        return DestinationKeys::decode(bytes).map_err(|reason| StartError::Keys {
            key: StoreKey::DestinationKeys(Box::from(name)),
            reason,
        });
    }
    let keys = DestinationKeys::generate(&mut rng.fork("destination keys"));
    persist(actions, StoreKey::DestinationKeys(Box::from(name)), &keys.encode());
    Ok(keys)
}

// What a user may set is what the protocol has.
const _: () = {
    use crate::wire::ssu2::{MAX_MTU, MIN_MTU};
    assert!(Ssu2::MIN_MTU == MIN_MTU && Ssu2::MAX_MTU == MAX_MTU);
};

const fn assert_send<T: Send + 'static>() {}
const _: () = {
    assert_send::<Router>();
    assert_send::<job::Job>();
    assert_send::<job::Done>();
};
