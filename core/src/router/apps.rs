//! Applications: a destination, its streams, and the local connections that use them.

use super::input::{ConnError, ConnInput, Consumed, Listener};
use super::output::{Action, Wake};
use crate::client::address_book::AddressBook;
use crate::client::control::{Control, ControlRequest, InfoReport};
use crate::client::http_proxy::{self, HttpProxy};
use crate::client::http_server::HttpServer;
use crate::client::tunnel::client::{self, TunnelClient};
use crate::client::tunnel::server::TunnelServer;
use crate::client::{
    Connection, Failure, LocalFailure, NameAnswer, Request, Slot, StreamInput, Target,
};
use crate::config::{self, Config, ServerKind};
use crate::conn::{ConnId, Opener};
use crate::destination::{Destination, DestinationAction, Parcel, Unresolved};
use crate::keys::DestinationKeys;
use crate::rng::Rng;
use crate::streaming::{PacketKind, StreamError, StreamEvent, StreamId, StreamingConfig, Streams};
use crate::time::{Instant, UnixTime, earliest};
use crate::tunnel::{OutboundId, PoolId};
use crate::wire::hash::Hash;
use crate::wire::i2np::Message;
use crate::wire::identity::Identity;
use crate::wire::lease_set::{Lease, LeaseSet};
use crate::wire::payload::{Payload, Protocol};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Connections to the control socket at a time; beyond it new ones are closed.
const MAX_CONTROLS: usize = 16;
/// Local connections; beyond it new ones are closed.
const MAX_CONNS: usize = 512;
/// A stream is not opened for a destination that was not found by then.
const RESOLVE_TIMEOUT: core::time::Duration = core::time::Duration::from_secs(45);
/// The file name of the HTTP proxy's keys.
const PROXY_KEYS: &str = "http_proxy.dat";

/// What the applications want from the router.
pub(super) enum AppAction {
    /// Send a garlic message to a lease.
    Send { app: usize, via: OutboundId, parcel: Parcel },
    /// What left through this tunnel at that time arrived.
    Confirmed { via: OutboundId, sent: Instant },
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
    apps: Vec<App>,
    conns: BTreeMap<ConnId, Local>,
    controls: BTreeMap<ConnId, Control>,
    proxy: Arc<http_proxy::Shared>,
    timers: BTreeSet<(Instant, ConnId)>,
    book: AddressBook,
    writable: VecDeque<ConnId>,
    opener: Opener,
    actions: VecDeque<AppAction>,
    scratch: Vec<u8>,
}

/// One destination with its streams.
pub(super) struct App {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) destination: Destination,
    pub(super) shape: config::Tunnels,
    streams: Streams,
    /// Streams to open once their destination is resolved.
    opening: BTreeMap<Hash, Vec<Opening>>,
    by_stream: BTreeMap<StreamId, (ConnId, Slot)>,
    /// Destinations to resolve at the next turn.
    resolve: Vec<Hash>,
    /// Streams whose connection is gone.
    orphans: Vec<StreamId>,
    /// Destinations that nothing seems to reach, with the timeouts in a row.
    stalled: Vec<(Hash, u32)>,
    /// Destinations to which no packets are made at the moment.
    held: BTreeSet<Hash>,
}

/// What an application does.
pub(super) enum Kind {
    HttpProxy { listen: SocketAddr },
    Client { listen: SocketAddr, to: client::Destination },
    Server { target: SocketAddr, kind: ServerKind },
}

struct Opening {
    conn: ConnId,
    slot: Slot,
    port: u16,
    since: Instant,
}

/// One local connection and its machine.
struct Local {
    app: usize,
    machine: Connection,
    streams: BTreeMap<Slot, Side>,
    /// Waits for the local target.
    target: Option<SocketAddr>,
    timer: Option<Instant>,
    queued: bool,
    closing: bool,
}

/// A stream as seen from a machine.
#[derive(Default)]
struct Side {
    id: Option<StreamId>,
    /// Read from the stream and not taken by the machine.
    rest: Vec<u8>,
    remote_closed: bool,
    reported_closed: bool,
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
            let to = client::Destination::parse(&client.destination)
                .map_err(|e| alloc::format!("client {}: destination: {e}", client.name))?;
            let kind = Kind::Client { listen: client.listen, to };
            kinds.push((client.name.clone(), kind, client.tunnels));
        }
        for server in &config.servers {
            let kind = Kind::Server { target: server.target, kind: server.kind };
            kinds.push((server.name.clone(), kind, server.tunnels));
        }
        let mut apps = Vec::new();
        for ((name, kind, shape), key_name) in kinds.into_iter().zip(app_keys(config)) {
            let Some(keys) = keys.remove(&key_name) else {
                return Err(alloc::format!("{name}: the keys {key_name} are used twice"));
            };
            let publish = matches!(kind, Kind::Server { .. });
            let mut streams = Streams::new(
                keys.identity.clone(),
                keys.signing.clone(),
                StreamingConfig::default(),
                rng.fork("streams"),
            );
            if publish {
                streams.listen(0);
            }
            let destination = Destination::new(keys, publish, now, rng.fork("destination"));
            log::info!("{name}: {}", destination.identity().b32_address());
            apps.push(App {
                name,
                kind,
                destination,
                shape,
                streams,
                opening: BTreeMap::new(),
                by_stream: BTreeMap::new(),
                resolve: Vec::new(),
                orphans: Vec::new(),
                stalled: Vec::new(),
                held: BTreeSet::new(),
            });
        }
        Ok(Self {
            apps,
            conns: BTreeMap::new(),
            controls: BTreeMap::new(),
            proxy: Arc::new(http_proxy::Shared::new(rng)),
            timers: BTreeSet::new(),
            book,
            writable: VecDeque::new(),
            opener: Opener::new(1),
            actions: VecDeque::new(),
            scratch: Vec::new(),
        })
    }

    /// The pools that the applications need, with their shapes.
    pub(super) fn pools(&self) -> Vec<(PoolId, config::Tunnels)> {
        self.apps.iter().enumerate().map(|(i, a)| (pool_of(i), a.shape)).collect()
    }

    pub(super) fn all(&self) -> &[App] {
        &self.apps
    }

    /// Names in the address book.
    pub(super) fn names(&self) -> usize {
        self.book.len()
    }

    /// Local connections of an application.
    pub(super) fn connections(&self, app: usize) -> usize {
        self.conns.values().filter(|l| l.app == app).count()
    }

    pub(super) fn all_ready(&self) -> bool {
        self.apps.iter().all(|a| a.destination.is_ready())
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
        if let Some(app) = app_of(pool).and_then(|i| self.apps.get_mut(i)) {
            app.destination.handle_tunnels(now, unix, leases, outbound);
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
        if let Some(app) = app_of(pool).and_then(|i| self.apps.get_mut(i)) {
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
        if let Some(app) = self.apps.get_mut(app) {
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
        if let Some(app) = self.apps.get_mut(app) {
            app.destination.handle_lookup_failed(now, unix, key, why);
        }
    }

    /// The destination of an application.
    pub(super) fn destination(&mut self, app: usize) -> Option<&mut Destination> {
        self.apps.get_mut(app).map(|a| &mut a.destination)
    }

    /// A listener accepted a local connection.
    fn accept(&mut self, now: Instant, conn: ConnId, listener: Listener) {
        let app = match listener {
            Listener::HttpProxy => {
                self.apps.iter().position(|a| matches!(a.kind, Kind::HttpProxy { .. }))
            }
            Listener::Client(n) => self
                .apps
                .iter()
                .enumerate()
                .filter(|(_, a)| matches!(a.kind, Kind::Client { .. }))
                .nth(n.into())
                .map(|(i, _)| i),
            Listener::Ntcp2 | Listener::Control => None,
        };
        let machine = app.and_then(|i| self.apps.get(i)).and_then(|app| match &app.kind {
            Kind::HttpProxy { .. } => {
                let machine = HttpProxy::new(now, self.proxy.clone());
                Some(Connection::HttpProxy(Box::new(machine)))
            }
            Kind::Client { to, .. } => {
                let machine = TunnelClient::new(now, to.clone());
                Some(Connection::TunnelClient(Box::new(machine)))
            }
            Kind::Server { .. } => None,
        });
        match (app, machine) {
            (Some(app), Some(machine)) if self.conns.len() < MAX_CONNS => {
                self.conns.insert(conn, Local::new(app, machine));
            }
            _ => self.effect(Action::Close { conn, abort: true }),
        }
    }

    /// The owner connected to the control socket.
    pub(super) fn accept_control(&mut self, now: Instant, conn: ConnId) {
        if self.controls.len() >= MAX_CONTROLS {
            self.effect(Action::Close { conn, abort: true });
            return;
        }
        self.controls.insert(conn, Control::new(now));
    }

    /// Answers a request for a report.
    pub(super) fn report(&mut self, conn: ConnId, report: &InfoReport) {
        if let Some(control) = self.controls.get_mut(&conn) {
            control.handle_info(report);
            self.serve_control(conn);
        }
    }

    /// Something happened on a control connection; false when it is none.
    pub(super) fn handle_control(&mut self, conn: ConnId, input: &ConnInput<'_>) -> bool {
        let Some(control) = self.controls.get_mut(&conn) else { return false };
        match input {
            ConnInput::Bytes(bytes) => {
                let _all = control.handle_local(bytes);
            }
            ConnInput::ReadClosed => control.handle_local_closed(),
            ConnInput::Failed(_) => {
                self.controls.remove(&conn);
                return true;
            }
            ConnInput::Accepted { .. } | ConnInput::Connected => {}
        }
        self.serve_control(conn);
        true
    }

    fn serve_control(&mut self, conn: ConnId) {
        while let Some(request) = self.controls.get_mut(&conn).and_then(Control::poll_request) {
            match request {
                ControlRequest::Info => self.actions.push_back(AppAction::Report(conn)),
                ControlRequest::Close => {
                    self.controls.remove(&conn);
                    self.effect(Action::Close { conn, abort: false });
                    return;
                }
            }
        }
        if self.controls.get(&conn).is_some_and(Control::wants_write) {
            self.writable.push_back(conn);
        }
    }

    pub(super) fn handle_conn(
        &mut self,
        now: Instant,
        conn: ConnId,
        input: ConnInput<'_>,
    ) -> Consumed {
        let mut consumed = Consumed::default();
        if self.handle_control(conn, &input) {
            if let ConnInput::Bytes(bytes) = input {
                consumed.taken = bytes.len();
            }
            return consumed;
        }
        match input {
            ConnInput::Accepted { listener, .. } => self.accept(now, conn, listener),
            ConnInput::Connected => {
                if let Some(local) = self.conns.get_mut(&conn) {
                    local.machine.handle_local_connected(now);
                }
            }
            ConnInput::Bytes(bytes) => {
                if let Some(local) = self.conns.get_mut(&conn) {
                    let taken = local.machine.handle_local(now, bytes);
                    consumed = Consumed { taken: taken.taken, pause: taken.pause };
                } else {
                    consumed.taken = bytes.len();
                }
            }
            ConnInput::ReadClosed => {
                if let Some(local) = self.conns.get_mut(&conn) {
                    local.machine.handle_local_closed(now);
                }
            }
            ConnInput::Failed(e) => {
                if let Some(local) = self.conns.get_mut(&conn) {
                    let failure = match e {
                        ConnError::Refused => LocalFailure::Refused,
                        ConnError::TimedOut => LocalFailure::TimedOut,
                        ConnError::Reset => LocalFailure::Reset,
                        ConnError::Other => LocalFailure::Other,
                    };
                    local.machine.handle_local_failed(now, failure);
                    local.closing = true;
                }
            }
        }
        self.service(now, conn);
        consumed
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
        for app in &mut self.apps {
            app.destination.handle_timeout(now, unix);
            app.streams.handle_timeout(now);
            for openings in app.opening.values_mut() {
                openings.retain(|o| {
                    let late = now.saturating_since(o.since) >= RESOLVE_TIMEOUT;
                    if late {
                        let ready = app.destination.is_ready();
                        let why =
                            if ready { Failure::LeaseSetNotFound } else { Failure::NoTunnels };
                        failed.push((o.conn, o.slot, why));
                    }
                    !late
                });
            }
            app.opening.retain(|_, o| !o.is_empty());
        }
        for (conn, slot, why) in failed {
            self.fail_slot(now, conn, slot, why);
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
        for app in &self.apps {
            apps = earliest(apps, app.destination.poll_timeout());
            apps = earliest(apps, app.streams.poll_timeout());
            let opening = app.opening.values().flatten().map(|o| o.since + RESOLVE_TIMEOUT).min();
            apps = earliest(apps, opening);
        }
        let wake = if local < apps && local.is_some() { Wake::Client } else { Wake::Destination };
        (earliest(local, apps), wake)
    }

    /// Carries values between connections, streams and destinations until all are silent. Says
    /// whether there was anything.
    pub(super) fn settle(&mut self, now: Instant, unix: UnixTime) -> bool {
        let mut any = false;
        for index in 0..self.apps.len() {
            loop {
                let mut busy = false;
                while let Some(event) =
                    self.apps.get_mut(index).and_then(|a| a.streams.poll_event())
                {
                    busy = true;
                    self.handle_stream_event(now, index, event);
                }
                if let Some(app) = self.apps.get_mut(index) {
                    busy |= app.send_packets(now, unix);
                }
                while let Some(action) =
                    self.apps.get_mut(index).and_then(|a| a.destination.poll_action())
                {
                    busy = true;
                    self.handle_destination_action(now, unix, index, action);
                }
                any |= busy;
                if !busy {
                    break;
                }
            }
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
            DestinationAction::Message(message) => {
                self.actions.push_back(AppAction::Message { app: index, message });
            }
            DestinationAction::Received { from, payload } => {
                let Some(app) = self.apps.get_mut(index) else { return };
                if payload.protocol == Protocol::STREAMING {
                    let (to, of) = (payload.to_port, payload.from_port);
                    app.streams.handle_packet(now, unix, of, to, from, &payload.data);
                } else {
                    log::debug!("payload of protocol {:?} dropped", payload.protocol);
                }
            }
            DestinationAction::Resolved { hash, result } => {
                self.resolved(now, index, hash, &result);
            }
        }
    }

    /// A destination was found, or not: opens the streams that wait for it.
    fn resolved(
        &mut self,
        now: Instant,
        index: usize,
        hash: Hash,
        result: &Result<Identity, Unresolved>,
    ) {
        let Some(app) = self.apps.get_mut(index) else { return };
        let Some(openings) = app.opening.remove(&hash) else { return };
        for opening in openings {
            let result = match result {
                Err(Unresolved::NotFound) => Err(Failure::LeaseSetNotFound),
                Err(Unresolved::Expired) => Err(Failure::LeaseSetExpired),
                Err(Unresolved::Unsupported) => Err(Failure::Unsupported),
                Err(Unresolved::NoTunnels) => Err(Failure::NoTunnels),
                Ok(identity) => match self.apps.get_mut(index) {
                    None => Err(Failure::ShuttingDown),
                    Some(app) => {
                        app.streams.connect(now, identity.clone(), 0, opening.port).map_err(|e| {
                            log::debug!("no stream: {e}");
                            Failure::TooMany
                        })
                    }
                },
            };
            match result {
                Err(failure) => self.fail_slot(now, opening.conn, opening.slot, failure),
                Ok(id) => {
                    let known = self
                        .conns
                        .get_mut(&opening.conn)
                        .and_then(|l| l.streams.get_mut(&opening.slot))
                        .map(|side| side.id = Some(id))
                        .is_some();
                    let Some(app) = self.apps.get_mut(index) else { return };
                    if known {
                        app.by_stream.insert(id, (opening.conn, opening.slot));
                        self.service(now, opening.conn);
                    } else {
                        app.streams.reset(now, id);
                    }
                }
            }
        }
    }

    fn handle_stream_event(&mut self, now: Instant, index: usize, event: StreamEvent) {
        let Some(app) = self.apps.get_mut(index) else { return };
        match event {
            StreamEvent::Incoming { id, remote, local_port, .. } => {
                self.incoming(now, index, id, &remote, local_port);
            }
            StreamEvent::Connected(id) => {
                if let Some((conn, slot)) = app.by_stream.get(&id).copied() {
                    if let Some(local) = self.conns.get_mut(&conn) {
                        let _ = local.machine.handle_stream(now, slot, StreamInput::Opened);
                    }
                    self.service(now, conn);
                }
            }
            StreamEvent::Readable(id) | StreamEvent::Writable(id) => {
                if let Some((conn, _)) = app.by_stream.get(&id).copied() {
                    self.service(now, conn);
                }
            }
            StreamEvent::RemoteClosed(id) => {
                if let Some((conn, slot)) = app.by_stream.get(&id).copied() {
                    if let Some(side) =
                        self.conns.get_mut(&conn).and_then(|l| l.streams.get_mut(&slot))
                    {
                        side.remote_closed = true;
                    }
                    self.service(now, conn);
                }
            }
            StreamEvent::Closed(id, result) => {
                let Some((conn, slot)) = app.by_stream.remove(&id) else { return };
                let failure = match result {
                    Ok(()) => None,
                    Err(StreamError::Refused) => Some(Failure::Refused),
                    Err(StreamError::ConnectTimedOut | StreamError::Lost) => {
                        Some(Failure::TimedOut)
                    }
                    Err(StreamError::Unreachable) => Some(Failure::LeaseSetNotFound),
                    Err(StreamError::Reset | StreamError::Aborted) => Some(Failure::Reset),
                };
                match failure {
                    Some(failure) => self.fail_slot(now, conn, slot, failure),
                    None => self.end_slot(now, conn, slot),
                }
            }
            StreamEvent::Stalled { remote, timeouts } => {
                app.stalled.push((remote, timeouts));
            }
            StreamEvent::Pong { .. } => {}
        }
    }

    /// Somebody opened a stream to a server tunnel.
    fn incoming(&mut self, now: Instant, index: usize, id: StreamId, remote: &Identity, port: u16) {
        let full = self.conns.len() >= MAX_CONNS;
        let Some(app) = self.apps.get_mut(index) else { return };
        let Kind::Server { target, kind } = &app.kind else {
            app.streams.reset(now, id);
            return;
        };
        if full {
            app.streams.reset(now, id);
            return;
        }
        log::debug!("stream from {:?} to port {port}", remote.hash());
        let machine = match kind {
            ServerKind::Tcp => Connection::TunnelServer(Box::new(TunnelServer::new(now))),
            ServerKind::Http => {
                let host = Arc::from(app.destination.identity().b32_address());
                Connection::HttpServer(Box::new(HttpServer::new(now, remote, host)))
            }
        };
        let target = *target;
        let conn = self.opener.open();
        app.by_stream.insert(id, (conn, Slot::INCOMING));
        let mut local = Local::new(index, machine);
        local.target = Some(target);
        local.streams.insert(Slot::INCOMING, Side { id: Some(id), ..Side::default() });
        self.conns.insert(conn, local);
        self.service(now, conn);
    }
}

impl Apps {
    /// Drains one connection's machine: its requests, its bytes for streams, the streams' bytes for
    /// it.
    fn service(&mut self, now: Instant, conn: ConnId) {
        loop {
            let mut busy = false;
            while let Some(request) =
                self.conns.get_mut(&conn).and_then(|l| l.machine.poll_request())
            {
                busy = true;
                self.handle_request(now, conn, request);
            }
            busy |= self.pump(now, conn);
            if !busy {
                break;
            }
        }
        let Some(local) = self.conns.get_mut(&conn) else { return };
        let due = local.machine.poll_timeout();
        if local.timer != due {
            if let Some(old) = local.timer {
                self.timers.remove(&(old, conn));
            }
            if let Some(due) = due {
                self.timers.insert((due, conn));
            }
            local.timer = due;
        }
        // Some machines end without a word when there was no local side yet.
        if local.machine.is_done() {
            self.remove(conn);
            return;
        }
        if !local.queued {
            local.queued = true;
            self.writable.push_back(conn);
        }
    }

    /// Moves bytes between a machine and its streams; says whether any moved.
    fn pump(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(local) = self.conns.get_mut(&conn) else { return false };
        let Some(app) = self.apps.get_mut(local.app) else { return false };
        let mut moved = false;
        for (slot, side) in &mut local.streams {
            let Some(id) = side.id else { continue };
            let room = app.streams.writable(id);
            if room > 0 {
                self.scratch.clear();
                let n = local.machine.poll_stream(now, *slot, room, &mut self.scratch);
                if n > 0 {
                    app.streams.write(now, id, &self.scratch);
                    moved = true;
                }
            }
            loop {
                if side.rest.is_empty() {
                    let room = local.machine.stream_room(*slot).min(READ);
                    if room == 0 || app.streams.read(now, id, room, &mut side.rest) == 0 {
                        break;
                    }
                }
                let taken = local.machine.handle_stream(now, *slot, StreamInput::Data(&side.rest));
                side.rest.drain(..taken.min(side.rest.len()));
                if taken == 0 {
                    break;
                }
                moved = true;
            }
            if side.remote_closed
                && !side.reported_closed
                && side.rest.is_empty()
                && app.streams.readable(id) == 0
            {
                side.reported_closed = true;
                let _ = local.machine.handle_stream(now, *slot, StreamInput::RemoteClosed);
                moved = true;
            }
        }
        moved
    }

    fn handle_request(&mut self, now: Instant, conn: ConnId, request: Request) {
        match request {
            Request::Open { slot, target, port } => self.open(now, conn, slot, &target, port),
            Request::FinishStream { slot } => self.end_stream(now, conn, slot, End::Finish),
            Request::CloseStream { slot } => self.end_stream(now, conn, slot, End::Close),
            Request::ResetStream { slot } => self.end_stream(now, conn, slot, End::Reset),
            // The next pump offers again what was not taken.
            Request::ReadStream { .. } => {}
            Request::ConnectLocal => {
                if let Some(remote) = self.conns.get(&conn).and_then(|l| l.target) {
                    self.effect(Action::Connect { conn, remote, bind: None });
                }
            }
            Request::ReadLocal => self.effect(Action::Resume(conn)),
            Request::FinishLocal => self.effect(Action::ShutdownWrite(conn)),
            Request::CloseLocal { abort } => {
                self.effect(Action::Close { conn, abort });
                if let Some(local) = self.conns.get_mut(&conn) {
                    local.closing = true;
                }
                if abort {
                    self.remove(conn);
                }
            }
            Request::FindName { name } => {
                let answer = self.find_name(&name);
                if let Some(local) = self.conns.get_mut(&conn) {
                    local.machine.handle_name(now, answer);
                }
            }
            Request::LearnName { name, destination } => {
                let learned = self.book.learn(&name, destination).is_ok();
                if learned {
                    let value = Some(Arc::from(self.book.learned_file()));
                    let key = super::output::StoreKey::AddressBook;
                    self.effect(Action::Persist { key, value });
                }
                let answer = self.find_name(&name);
                if let Some(local) = self.conns.get_mut(&conn) {
                    local.machine.handle_name(now, answer);
                }
            }
        }
    }

    fn find_name(&self, name: &str) -> NameAnswer {
        self.book.lookup(name).map_or(NameAnswer::Unknown, |id| NameAnswer::Known(id.clone()))
    }

    /// Opens a stream for a machine, once the destination is found.
    fn open(&mut self, now: Instant, conn: ConnId, slot: Slot, target: &Target, port: u16) {
        let Some(local) = self.conns.get_mut(&conn) else { return };
        local.streams.insert(slot, Side::default());
        let index = local.app;
        let Some((hash, _)) = self.book.resolve(target) else {
            self.fail_slot(now, conn, slot, Failure::UnknownName);
            return;
        };
        let Some(app) = self.apps.get_mut(index) else { return };
        if hash == app.destination.identity().hash() {
            self.fail_slot(now, conn, slot, Failure::Refused);
            return;
        }
        let opening = Opening { conn, slot, port, since: now };
        app.opening.entry(hash).or_default().push(opening);
        app.resolve.push(hash);
    }

    fn end_stream(&mut self, now: Instant, conn: ConnId, slot: Slot, end: End) {
        self.pump(now, conn);
        let Some(local) = self.conns.get_mut(&conn) else { return };
        let Some(app) = self.apps.get_mut(local.app) else { return };
        let id = local.streams.get(&slot).and_then(|s| s.id);
        if end != End::Finish {
            local.streams.remove(&slot);
        }
        let Some(id) = id else { return };
        match end {
            End::Finish => app.streams.close(now, id),
            End::Close => {
                app.by_stream.remove(&id);
                app.streams.release(now, id);
            }
            End::Reset => {
                app.by_stream.remove(&id);
                app.streams.reset(now, id);
            }
        }
    }

    fn fail_slot(&mut self, now: Instant, conn: ConnId, slot: Slot, failure: Failure) {
        // What arrived before the end is given first.
        self.pump(now, conn);
        if let Some(local) = self.conns.get_mut(&conn) {
            if local.streams.remove(&slot).is_some() {
                let _ = local.machine.handle_stream(now, slot, StreamInput::Failed(failure));
            }
            self.service(now, conn);
        }
    }

    /// A stream ended well: everything was read.
    fn end_slot(&mut self, now: Instant, conn: ConnId, slot: Slot) {
        if let Some(side) = self.conns.get_mut(&conn).and_then(|l| l.streams.get_mut(&slot)) {
            side.remote_closed = true;
        }
        self.service(now, conn);
        if let Some(local) = self.conns.get_mut(&conn) {
            local.streams.remove(&slot);
        }
    }

    /// Forgets a connection; its streams end with it.
    fn remove(&mut self, conn: ConnId) {
        let Some(local) = self.conns.remove(&conn) else { return };
        if let Some(at) = local.timer {
            self.timers.remove(&(at, conn));
        }
        let Some(app) = self.apps.get_mut(local.app) else { return };
        for side in local.streams.values() {
            if let Some(id) = side.id {
                app.by_stream.remove(&id);
                app.orphans.push(id);
            }
        }
    }

    fn effect(&mut self, action: Action) {
        self.actions.push_back(AppAction::Effect(action));
    }
}

/// Read from a stream at a time.
const READ: usize = 32 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Finish,
    Close,
    Reset,
}

impl App {
    /// Bytes that its streams hold.
    pub(super) const fn memory(&self) -> usize {
        self.streams.memory()
    }

    /// Hands the streams' packets to the destination; says whether there were any.
    fn send_packets(&mut self, now: Instant, unix: UnixTime) -> bool {
        let mut any = false;
        self.hold_streams(now);
        for id in core::mem::take(&mut self.orphans) {
            self.streams.reset(now, id);
            any = true;
        }
        // Without tunnels the search would fail at once: it waits for them.
        if self.destination.is_ready() {
            for hash in core::mem::take(&mut self.resolve) {
                self.destination.resolve(now, unix, hash);
                any = true;
            }
        }
        let streams = &self.streams;
        self.destination.trim(|hash| streams.has_stream_with(hash));
        for (hash, timeouts) in core::mem::take(&mut self.stalled) {
            log::debug!("{}: nothing reaches {hash:?}, {timeouts} timeouts", self.name);
            self.destination.handle_stall(now, unix, hash, timeouts);
            self.streams.handle_rerouted(now, &hash);
            any = true;
        }
        let mut data = Vec::new();
        while let Some(packet) = self.streams.poll_packet(now, &mut data) {
            let payload = Payload {
                from_port: packet.from_port,
                to_port: packet.to_port,
                protocol: Protocol::STREAMING,
                data: core::mem::take(&mut data),
            };
            let expects_reply = match packet.kind {
                PacketKind::Syn
                | PacketKind::SynAgain
                | PacketKind::Data
                | PacketKind::DataAgain => true,
                PacketKind::Ack | PacketKind::Reset | PacketKind::Echo => false,
            };
            self.destination.send(now, unix, packet.to, payload, expects_reply);
            any = true;
            // One look at this remote, and not at all of them for each packet.
            if self.destination.is_congested(&packet.to) && self.held.insert(packet.to) {
                self.streams.hold(now, &packet.to, true);
            }
        }
        any
    }

    /// No packets are made for a remote while some wait for a lease set, a tunnel or a session:
    /// made later they say more, and none is dropped for want of room.
    fn hold_streams(&mut self, now: Instant) {
        let congested: BTreeSet<Hash> = self.destination.congested().collect();
        for hash in self.held.difference(&congested) {
            self.streams.hold(now, hash, false);
        }
        for hash in congested.difference(&self.held) {
            self.streams.hold(now, hash, true);
        }
        self.held = congested;
    }
}

impl Local {
    const fn new(app: usize, machine: Connection) -> Self {
        Self {
            app,
            machine,
            streams: BTreeMap::new(),
            target: None,
            timer: None,
            queued: false,
            closing: false,
        }
    }
}
