//! Applications: a destination, its streams, and the local connections that use them.

mod accept;
mod app;
mod audit;
mod connections;
mod control;
mod datagrams;
mod embedded;
mod search;
mod stop;
mod streams;
#[cfg(test)]
mod tests;

use crate::client::address_book::AddressBook;
use crate::client::control::Control;
use crate::client::http_proxy;
use crate::client::tunnel;
use crate::config;
use crate::config::Config;
use crate::conn::{ConnId, Opener};
use crate::destination::{Destination, DestinationAction, Parcel, Unresolved};
use crate::keys::DestinationKeys;
use crate::rng::Rng;
use crate::router::output::{Action, Wake};
use crate::streaming::StreamingConfig;
use crate::time::{Instant, UnixTime, earliest};
use crate::tunnel::{OutboundId, PoolId};
use crate::wire::hash::Hash;
use crate::wire::i2np::Message;
use crate::wire::lease_set::{Lease, LeaseSet};
use crate::wire::payload::Protocol;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
pub(in crate::router) use app::{App, Kind};
use connections::Local;
pub(in crate::router) use embedded::Waiting;
use embedded::{Entry, News};
use search::Search;

/// The file name of the HTTP proxy's keys.
const PROXY_KEYS: &str = "http_proxy.dat";

/// What the applications want from the router.
pub(super) enum AppAction {
    /// Send a garlic message to a lease.
    Send { app: usize, via: OutboundId, parcel: Parcel },
    /// What left through this tunnel at that time arrived.
    Confirmed { via: OutboundId, sent: Instant },
    /// Nothing seems to get through from or to an application.
    Doubted { app: usize },
    /// Find a lease set.
    Lookup { app: usize, key: Hash },
    /// Publish a lease set.
    Publish { app: usize, lease_set: LeaseSet },
    /// A message for the router came end to end.
    Message { app: usize, message: Message },
    /// The owner asks for a report over this control connection.
    Report(ConnId),
    /// Something for the runtime.
    Effect(Action),
}

/// All applications.
pub(super) struct Apps {
    /// By number, which is never used again in one run: pools and contexts have it too.
    apps: BTreeMap<usize, App>,
    next: usize,
    conns: BTreeMap<ConnId, Local>,
    controls: BTreeMap<ConnId, Control>,
    /// Streams and lookups of the embedder.
    embedded: BTreeMap<ConnId, Entry>,
    /// What the embedder is to be told, and about what.
    news: VecDeque<News>,
    proxy: Arc<http_proxy::Shared>,
    timers: BTreeSet<(Instant, ConnId)>,
    book: AddressBook,
    writable: VecDeque<ConnId>,
    opener: Opener,
    actions: VecDeque<AppAction>,
    scratch: Vec<u8>,
    stopping: bool,
    /// No other router is known.
    alone: bool,
}

/// The pool of an application's tunnels; pool 0 is the router's own.
pub(super) const fn pool_of(app: usize) -> PoolId {
    PoolId(app as u32 + 1)
}

fn app_of(pool: PoolId) -> Option<usize> {
    (pool.0 as usize).checked_sub(1)
}

/// The names under which the destinations' keys are stored, one an application, in their order.
fn app_keys(config: &Config) -> Vec<Box<str>> {
    let proxy = config.http_proxy.iter().map(|_| Box::from(PROXY_KEYS));
    let clients = config.clients.iter().map(|c| alloc::format!("client-{}.dat", c.name).into());
    let servers = config.servers.iter().map(|s| s.keys.clone());
    proxy.chain(clients).chain(servers).collect()
}

/// The names of all keys that the configuration needs.
pub(super) fn key_names(config: &Config) -> BTreeSet<Box<str>> {
    app_keys(config).into_iter().collect()
}

impl Apps {
    pub(super) fn new(
        config: &Config,
        mut keys: BTreeMap<Box<str>, DestinationKeys>,
        book: AddressBook,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Self, String> {
        let mut kinds = Vec::new();
        if let Some(proxy) = &config.http_proxy {
            let kind = Kind::HttpProxy { listen: proxy.listen };
            kinds.push((Box::from("http_proxy"), kind, proxy.tunnels));
        }
        for client in &config.clients {
            let to = tunnel::Destination::parse(&client.destination)
                .map_err(|e| alloc::format!("client {}: destination: {e}", client.name))?;
            let kind = Kind::Client { listen: client.listen, to };
            kinds.push((client.name.clone(), kind, client.tunnels));
        }
        for server in &config.servers {
            let kind = Kind::Server { target: server.target, kind: server.kind };
            kinds.push((server.name.clone(), kind, server.tunnels));
        }
        let mut apps = BTreeMap::new();
        for ((name, kind, shape), key_name) in kinds.into_iter().zip(app_keys(config)) {
            let Some(keys) = keys.remove(&key_name) else {
                return Err(alloc::format!("{name}: the keys {key_name} are used twice"));
            };
            let publish = matches!(kind, Kind::Server { .. });
            let streaming = StreamingConfig::default();
            let mut app = App::new(name, kind, keys, publish, shape, streaming, now, rng);
            if publish {
                app.streams.listen(0);
            }
            apps.insert(apps.len(), app);
        }
        Ok(Self {
            next: apps.len(),
            apps,
            conns: BTreeMap::new(),
            controls: BTreeMap::new(),
            embedded: BTreeMap::new(),
            news: VecDeque::new(),
            proxy: Arc::new(http_proxy::Shared::new(rng)),
            timers: BTreeSet::new(),
            book,
            writable: VecDeque::new(),
            opener: Opener::new(1),
            actions: VecDeque::new(),
            scratch: Vec::new(),
            stopping: false,
            alone: false,
        })
    }

    /// The pools that the applications need, with their shapes.
    pub(super) fn pools(&self) -> Vec<(PoolId, config::Tunnels)> {
        self.apps.iter().map(|(i, a)| (pool_of(*i), a.shape)).collect()
    }

    /// All applications by their numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = (usize, &App)> {
        self.apps.iter().map(|(i, app)| (*i, app))
    }

    /// Names in the address book.
    pub(super) fn names(&self) -> usize {
        self.book.len()
    }

    /// Local connections of an application, or what the embedder has open.
    pub(super) fn connections(&self, app: usize) -> usize {
        let local = self.conns.values().filter(|l| l.app == app).count();
        local + self.embedded.values().filter(|e| e.app == app).count()
    }

    /// Whether no other router is known: then nothing can be reached, and nothing is worth waiting
    /// for.
    pub(super) const fn set_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// All configured destinations have tunnels.
    pub(super) fn all_ready(&self) -> bool {
        self.apps.values().all(|a| a.destination.is_ready() || a.is_embedded())
    }

    /// The tunnels of a pool changed.
    pub(super) fn handle_tunnels(
        &mut self,
        now: Instant,
        unix: UnixTime,
        pool: PoolId,
        leases: Vec<Lease>,
        outbound: Vec<OutboundId>,
    ) {
        if let Some(app) = app_of(pool).and_then(|i| self.apps.get_mut(&i))
            && app.destination.handle_tunnels(now, unix, leases, outbound)
        {
            // New ways for what did not get through: now, not at the next timeout.
            for hash in app.destination.lost().collect::<Vec<_>>() {
                app.streams.handle_rerouted(now, &hash);
            }
        }
    }

    /// A garlic message arrived through a tunnel of a pool.
    pub(super) fn handle_garlic(
        &mut self,
        now: Instant,
        unix: UnixTime,
        pool: PoolId,
        content: &mut [u8],
    ) {
        if let Some(app) = app_of(pool).and_then(|i| self.apps.get_mut(&i)) {
            app.destination.handle_garlic(now, unix, content);
        }
    }

    pub(super) fn handle_lease_set(
        &mut self,
        now: Instant,
        unix: UnixTime,
        app: usize,
        lease_set: LeaseSet,
    ) {
        if let Some(app) = self.apps.get_mut(&app) {
            let hash = lease_set.key();
            if app.destination.handle_lease_set(now, unix, lease_set) {
                app.streams.handle_rerouted(now, &hash);
            }
        }
    }

    pub(super) fn handle_lookup_failed(
        &mut self,
        now: Instant,
        unix: UnixTime,
        app: usize,
        key: Hash,
        why: Unresolved,
    ) {
        if let Some(app) = self.apps.get_mut(&app) {
            app.destination.handle_lookup_failed(now, unix, key, why);
        }
    }

    /// The destination of an application.
    pub(super) fn destination(&mut self, app: usize) -> Option<&mut Destination> {
        self.apps.get_mut(&app).map(|a| &mut a.destination)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        while let Some((at, conn)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(local) = self.conns.get_mut(&conn) {
                local.timer = None;
                local.machine.handle_timeout(now);
                self.service(now, conn);
            }
        }
        let mut failed = Vec::new();
        for app in self.apps.values_mut() {
            app.destination.handle_timeout(now, unix);
            app.streams.handle_timeout(now);
            for search in app.searches.values_mut() {
                failed.extend(search.handle_timeout(now));
            }
            app.searches.retain(|_, search| !search.is_empty());
        }
        for (opening, why) in failed {
            self.fail_slot(now, opening.conn, opening.slot, why);
        }
        let late: Vec<ConnId> = self
            .controls
            .iter_mut()
            .filter(|(_, c)| c.poll_timeout().is_some_and(|at| at <= now))
            .map(|(conn, control)| {
                control.handle_timeout(now);
                *conn
            })
            .collect();
        for conn in late {
            self.serve_control(conn);
        }
    }

    /// Nothing waits to be carried to others.
    pub(super) fn is_silent(&self) -> bool {
        self.actions.is_empty() && self.apps.values().all(|a| a.orphans.is_empty())
    }

    pub(super) fn poll_action(&mut self) -> Option<AppAction> {
        self.actions.pop_front()
    }

    pub(super) fn poll_writable(&mut self) -> Option<ConnId> {
        let conn = self.writable.pop_front()?;
        if let Some(local) = self.conns.get_mut(&conn) {
            local.queued = false;
        }
        Some(conn)
    }

    pub(super) fn poll_conn(
        &mut self,
        now: Instant,
        conn: ConnId,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        if let Some(control) = self.controls.get_mut(&conn) {
            let n = control.poll_local(room, out);
            self.serve_control(conn);
            return n;
        }
        let Some(local) = self.conns.get_mut(&conn) else { return 0 };
        let n = local.machine.poll_local(now, room, out);
        if n > 0 {
            self.service(now, conn);
        } else if local.closing {
            self.remove(conn);
        }
        n
    }

    pub(super) fn poll_timeout(&self) -> (Option<Instant>, Wake) {
        let control = self.controls.values().filter_map(Control::poll_timeout).min();
        let local = earliest(self.timers.first().map(|(at, _)| *at), control);
        let mut apps = None;
        for app in self.apps.values() {
            apps = earliest(apps, app.destination.poll_timeout());
            apps = earliest(apps, app.streams.poll_timeout());
            let search = app.searches.values().filter_map(Search::poll_timeout).min();
            apps = earliest(apps, search);
        }
        let wake = if local < apps && local.is_some() { Wake::Client } else { Wake::Destination };
        (earliest(local, apps), wake)
    }

    /// Carries values between connections, streams and destinations until all are silent. Says
    /// whether there was anything.
    pub(super) fn settle(&mut self, now: Instant, unix: UnixTime) -> bool {
        let mut any = false;
        let mut next = self.apps.keys().next().copied();
        while let Some(index) = next {
            loop {
                let mut busy = false;
                while let Some(event) =
                    self.apps.get_mut(&index).and_then(|a| a.streams.poll_event())
                {
                    busy = true;
                    self.handle_stream_event(now, index, event);
                }
                if let Some(app) = self.apps.get_mut(&index) {
                    busy |= app.send_packets(now, unix);
                }
                while let Some(action) =
                    self.apps.get_mut(&index).and_then(|a| a.destination.poll_action())
                {
                    busy = true;
                    self.handle_destination_action(now, unix, index, action);
                }
                any |= busy;
                if !busy {
                    break;
                }
            }
            self.note_ready(index);
            next = self.apps.range(index + 1..).next().map(|(i, _)| *i);
        }
        any
    }

    fn handle_destination_action(
        &mut self,
        now: Instant,
        unix: UnixTime,
        index: usize,
        action: DestinationAction,
    ) {
        match action {
            DestinationAction::Lookup(key) => {
                self.actions.push_back(AppAction::Lookup { app: index, key });
            }
            DestinationAction::Publish(lease_set) => {
                self.actions.push_back(AppAction::Publish { app: index, lease_set });
            }
            DestinationAction::Send { via, parcel } => {
                self.actions.push_back(AppAction::Send { app: index, via, parcel });
            }
            DestinationAction::Confirmed { via, sent } => {
                self.actions.push_back(AppAction::Confirmed { via, sent });
            }
            DestinationAction::Doubted => {
                self.actions.push_back(AppAction::Doubted { app: index });
            }
            DestinationAction::Message(message) => {
                self.actions.push_back(AppAction::Message { app: index, message });
            }
            DestinationAction::Received { from, payload } => {
                let Some(app) = self.apps.get_mut(&index) else { return };
                if payload.protocol == Protocol::STREAMING {
                    let (to, of) = (payload.to_port, payload.from_port);
                    app.streams.handle_packet(now, unix, of, to, from, &payload.data);
                } else {
                    self.handle_datagram(unix, index, &payload);
                }
            }
            DestinationAction::Resolved { hash, result } => {
                self.resolved(now, index, hash, &result);
            }
        }
    }

    fn effect(&mut self, action: Action) {
        self.actions.push_back(AppAction::Effect(action));
    }
}
