//! What both examples share: a program with a router in it. The loop around it is what they are
//! about.
//!
//! Three routers make a network of their own on this machine. At one there is a service that says
//! back what it hears, at another one who calls it; the third helps to carry.

use ramson_core::client::target::Target;
use ramson_core::config::{Config, Floodfill, Tunnels};
use ramson_core::rng::Seed;
use ramson_core::router::embed::{AppEvent, DestinationId, NewDestination, Ports, StreamHandle};
use ramson_core::router::input::Stored;
use ramson_core::router::{Router, StartError};
use ramson_core::time::{Instant, UnixTime};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What may go wrong in an example.
pub(crate) type Failed = Box<dyn std::error::Error + Send + Sync>;

/// More than the demonstration takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The port of the service.
const PORT: u16 = 7;
/// Bytes that are said and heard.
const LEN: usize = 300_000;

/// The clocks that the core is told. All else that it knows of the world are sockets.
#[derive(Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

#[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
impl Clock {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn unix() -> UnixTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::from_secs(0) + since
    }
}

/// What a router does besides routing.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// It helps to carry.
    Help,
    /// It says back what it hears.
    Echo,
    /// It calls that service.
    Call(Target),
}

/// A router that listens at `port`, and knows those whose RouterInfos are given.
pub(crate) fn router(clock: Clock, port: u16, known: &[Arc<[u8]>]) -> Result<Router, Failed> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut config = Config::default();
    // A number that no real network has, and addresses that real networks refuse.
    (config.network.id, config.network.allow_local) = (99, true);
    (config.ntcp2.host, config.ntcp2.port) = (Some(ip), Some(port));
    (config.limits.share, config.netdb.floodfill) = (100, Floodfill::On);
    config.exploratory = tunnels();
    let mut stored = Stored::default();
    stored.router_infos.extend(known.iter().cloned());
    // All its randomness comes from here: what is drawn twice makes the same router twice.
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| e.to_string())?;
    let router = Router::new(Arc::new(config), stored, Seed::new(seed), clock.now(), Clock::unix());
    Ok(router.map_err(|e: StartError| e.to_string())?)
}

/// Tunnels of one hop, for there are three routers.
fn tunnels() -> Tunnels {
    let mut tunnels = Tunnels::default();
    (tunnels.length, tunnels.quantity) = (1, 2);
    tunnels
}

/// The program: it is told what happened, and uses the router as it likes.
pub(crate) struct Program {
    role: Role,
    here: Option<DestinationId>,
    /// Of each stream, what is to be written yet.
    streams: BTreeMap<StreamHandle, Vec<u8>>,
    heard: Vec<u8>,
    /// How it ended.
    pub(crate) end: Option<Result<(), Failed>>,
}

impl Program {
    /// Opens its destination at `router`.
    pub(crate) fn start(router: &mut Router, now: Instant, role: Role) -> Result<Self, Failed> {
        let name = match &role {
            Role::Help => None,
            Role::Echo => Some("echo"),
            Role::Call(_) => Some("caller"),
        };
        let here = match name {
            Some(name) => {
                let mut new = NewDestination::new(name);
                new.tunnels = tunnels();
                Some(router.open_destination(now, new)?)
            }
            None => None,
        };
        let mut program =
            Self { role, here, streams: BTreeMap::new(), heard: Vec::new(), end: None };
        match (&program.role, here) {
            (Role::Echo, Some(here)) => router.listen(here, PORT),
            // Nothing is lost by asking before there are tunnels, or before the other is found.
            (Role::Call(address), Some(here)) => {
                let stream = router.connect(now, here, address, Ports::to(PORT));
                program.streams.insert(stream, text());
                program.write(router, now, stream);
            }
            (Role::Help | Role::Echo | Role::Call(_), _) => {}
        }
        Ok(program)
    }

    /// Its address.
    pub(crate) fn address(&self, router: &Router) -> Option<Target> {
        Some(Target::Hash(router.destination(self.here?)?.hash()))
    }

    pub(crate) fn handle(&mut self, router: &mut Router, now: Instant, event: AppEvent) {
        match event {
            AppEvent::Incoming { stream, .. } => {
                self.streams.insert(stream, Vec::new());
            }
            AppEvent::Readable(stream) => self.read(router, now, stream),
            AppEvent::Connected(stream) | AppEvent::Writable(stream) => {
                self.write(router, now, stream);
            }
            // Who says back ends when the other did; the caller has then heard all.
            AppEvent::RemoteClosed(stream) => match self.role {
                Role::Echo if self.streams.get(&stream).is_some_and(Vec::is_empty) => {
                    router.finish(now, stream);
                }
                Role::Call(_) if self.heard == text() => {}
                Role::Help | Role::Echo | Role::Call(_) => router.reset(now, stream),
            },
            AppEvent::Closed(stream, how) => {
                self.streams.remove(&stream);
                if let Role::Call(_) = self.role {
                    let right = self.heard == text();
                    self.end = Some(match how {
                        Ok(()) if right => Ok(()),
                        Ok(()) => Err("not what was said".into()),
                        Err(e) => Err(e.to_string().into()),
                    });
                }
            }
            AppEvent::DestinationReady(_)
            | AppEvent::Datagrams(_)
            | AppEvent::Found(..)
            | AppEvent::NotFound(..)
            | _ => {}
        }
    }

    fn read(&mut self, router: &mut Router, now: Instant, stream: StreamHandle) {
        let Some(unwritten) = self.streams.get_mut(&stream) else { return };
        match self.role {
            Role::Call(_) => {
                while router.read(now, stream, LEN, &mut self.heard) > 0 {}
                if self.heard.len() >= LEN {
                    router.finish(now, stream);
                }
            }
            Role::Echo | Role::Help => {
                // No more than can be written: who does not read stops the other side, and nothing
                // grows.
                if unwritten.is_empty() {
                    router.read(now, stream, 16 * 1024, unwritten);
                    self.write(router, now, stream);
                }
            }
        }
    }

    fn write(&mut self, router: &mut Router, now: Instant, stream: StreamHandle) {
        let Some(unwritten) = self.streams.get_mut(&stream) else { return };
        let taken = router.write(now, stream, unwritten);
        unwritten.drain(..taken);
        if unwritten.is_empty() && matches!(self.role, Role::Echo) {
            // More may have come in the meantime.
            let mut more = Vec::new();
            if router.read(now, stream, 16 * 1024, &mut more) > 0 {
                self.streams.insert(stream, more);
                self.write(router, now, stream);
            }
        }
    }
}

/// What the caller says.
fn text() -> Vec<u8> {
    (0..LEN).map(|i| (i * 31 / 7) as u8).collect()
}
