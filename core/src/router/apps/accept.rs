//! Local connections and streams from the network as they come.

use super::Apps;
use super::app::{App, Kind};
use super::connections::{Local, Side};
use super::embedded::Embedded;
use crate::client::http_proxy::HttpProxy;
use crate::client::http_server::HttpServer;
use crate::client::tunnel::Tunnel;
use crate::client::{Connection, Failure, LocalFailure, MAX_CONNECTIONS, Slot};
use crate::config::ServerKind;
use crate::conn::ConnId;
use crate::router::input::{ConnError, ConnInput, Consumed, Listener};
use crate::router::output::Action;
use crate::streaming::StreamId;
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::time::Duration;

/// Streams from the network at a time, over all server tunnels; each has an equal share of it, so
/// that a flood on one is not seen at another. The same holds for the connections of local
/// programs, [`MAX_CONNECTIONS`] in all.
pub(super) const MAX_INCOMING: usize = 512;
/// The least share of an application, however many there are.
const MIN_SHARE: usize = 32;
/// One remote destination may have this part of an application's share.
const REMOTE_PART: usize = 4;
/// How often it is told that connections are refused.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What an application had to refuse for want of room.
#[derive(Default)]
pub(in crate::router) struct Refusals {
    /// Connections and streams, since the start.
    pub(in crate::router) total: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn add(&mut self, now: Instant, name: &str) {
        self.total += 1;
        if self.told.is_none_or(|at| now.saturating_since(at) >= COMPLAIN) {
            self.told = Some(now);
            log::warn!("{name}: too many connections; refused so far: {}", self.total);
        }
    }
}

/// How many of `total` each of `apps` applications may have.
pub(super) fn share(total: usize, apps: usize) -> usize {
    (total / apps.max(1)).max(MIN_SHARE)
}

impl Apps {
    /// A listener accepted a local connection.
    fn accept(&mut self, now: Instant, conn: ConnId, listener: Listener) {
        let app = match listener {
            Listener::HttpProxy => {
                self.apps.iter().find(|(_, a)| matches!(a.kind, Kind::HttpProxy { .. }))
            }
            Listener::Client(n) => self
                .apps
                .iter()
                .filter(|(_, a)| matches!(a.kind, Kind::Client { .. }))
                .nth(n.into()),
            Listener::Ntcp2 | Listener::Control => None,
        };
        let app = app.map(|(i, _)| *i);
        let machine = app.and_then(|i| self.apps.get(&i)).and_then(|app| match &app.kind {
            Kind::HttpProxy { .. } => {
                let machine = HttpProxy::new(now, self.proxy.clone());
                Some(Connection::HttpProxy(Box::new(machine)))
            }
            Kind::Client { to, .. } => {
                let machine = Tunnel::client(now, to.clone());
                Some(Connection::Tunnel(Box::new(machine)))
            }
            Kind::Server { .. } | Kind::Embedded(_) => None,
        });
        match (app, machine) {
            (Some(app), Some(machine)) if self.has_room(now, app) => {
                self.conns.insert(conn, Local::new(app, machine));
            }
            _ => self.effect(Action::Close { conn, abort: true }),
        }
    }

    /// Whether one more connection of a local program may come; counts it when not.
    fn has_room(&mut self, now: Instant, index: usize) -> bool {
        let listening = |a: &&App| match a.kind {
            Kind::HttpProxy { .. } | Kind::Client { .. } => true,
            Kind::Server { .. } | Kind::Embedded(_) => false,
        };
        let share = share(MAX_CONNECTIONS, self.apps.values().filter(listening).count());
        let room = self.connections(index) < share;
        if !room && let Some(app) = self.apps.get_mut(&index) {
            app.refusals.add(now, &app.name);
        }
        room && !self.stopping
    }

    pub(in crate::router) fn handle_conn(
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

    /// Somebody opened a stream to one of our destinations.
    pub(super) fn incoming(
        &mut self,
        now: Instant,
        index: usize,
        id: StreamId,
        remote: &Identity,
        (port, remote_port): (u16, u16),
    ) {
        let share = share(MAX_INCOMING, self.apps.values().filter(|a| a.takes_share()).count());
        let near = remote.hash();
        let (all, of_near) = self.count_incoming(index, &near);
        let Some(app) = self.apps.get_mut(&index) else { return };
        if self.stopping {
            app.streams.reset(now, id);
            return;
        }
        let own = app.embedded().and_then(Embedded::limits);
        let limits = own.unwrap_or((share, share / REMOTE_PART));
        let full = all >= limits.0;
        if of_near >= limits.1 || (full && !self.give_way(now, index, of_near)) {
            if let Some(app) = self.apps.get_mut(&index) {
                app.refusals.add(now, &app.name);
                app.streams.reset(now, id);
            }
            return;
        }
        let Some(app) = self.apps.get_mut(&index) else { return };
        let (target, kind) = match &app.kind {
            Kind::Server { target, kind } => (*target, *kind),
            Kind::Embedded(_) => {
                self.take_in(index, id, remote, (port, remote_port));
                return;
            }
            Kind::HttpProxy { .. } | Kind::Client { .. } => {
                app.streams.reset(now, id);
                return;
            }
        };
        log::debug!("stream from {:?} to port {port}", remote.hash());
        let machine = match kind {
            ServerKind::Tcp => Connection::Tunnel(Box::new(Tunnel::server(now))),
            ServerKind::Http => {
                let host = Arc::from(app.destination.identity().b32_address());
                Connection::HttpServer(Box::new(HttpServer::new(now, remote, host)))
            }
        };
        let conn = self.opener.open();
        app.by_stream.insert(id, (conn, Slot::INCOMING));
        let mut local = Local::new(index, machine);
        local.target = Some(target);
        local.remote = Some(remote.hash());
        local.streams.insert(Slot::INCOMING, Side { id: Some(id), ..Side::default() });
        self.conns.insert(conn, local);
        self.service(now, conn);
    }

    /// Makes room for a remote that has `streams`: who has the most loses the latest one, unless that
    /// would leave it with no more than the other then has. So a flood takes no place from those who
    /// come with little, however many floods there are.
    fn give_way(&mut self, now: Instant, index: usize, streams: usize) -> bool {
        let incoming = || self.conns.iter().filter(|(_, l)| l.app == index);
        let mut counts = BTreeMap::<Hash, usize>::new();
        for remote in incoming().filter_map(|(_, l)| l.remote) {
            *counts.entry(remote).or_default() += 1;
        }
        let heaviest = counts.into_iter().max_by_key(|(_, count)| *count);
        let Some((remote, _)) = heaviest.filter(|(_, count)| *count > streams + 1) else {
            return false;
        };
        let latest = incoming().rfind(|(_, l)| l.remote == Some(remote));
        let Some((conn, local)) = latest else { return false };
        let (conn, id) = (*conn, local.streams.get(&Slot::INCOMING).and_then(|side| side.id));
        let Some(app) = self.apps.get_mut(&index) else { return false };
        app.refusals.add(now, &app.name);
        if let Some(id) = id {
            app.by_stream.remove(&id);
            app.streams.reset(now, id);
        }
        self.end_slot(now, conn, Slot::INCOMING, Some(Failure::Reset));
        true
    }

    /// Streams from the network that an application has: all, and those of one remote.
    fn count_incoming(&self, index: usize, near: &Hash) -> (usize, usize) {
        let local = self.conns.values().filter(|l| l.app == index).filter_map(|l| l.remote);
        let embedded = self.embedded.values().filter(|e| e.app == index).filter_map(|e| e.remote);
        local.chain(embedded).fold((0, 0), |(all, of_near), remote| {
            (all + 1, of_near + usize::from(remote == *near))
        })
    }
}
