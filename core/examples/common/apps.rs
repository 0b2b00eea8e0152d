//! Two applications. None of this knows which loop it runs in: `poll_loop` here, `embedded` of
//! `runtime-mio` and the network in WebAssembly of `tests/wasm` have the same.
#![expect(clippy::wildcard_enum_match_arm, reason = "each wants to know of some events only")]

use ramson_core::client::{Failure, Target};
use ramson_core::config::Tunnels;
use ramson_core::router::Router;
use ramson_core::router::embed::{AppEvent, NewDestination, OpenError, Ports, StreamHandle};
use ramson_core::time::Instant;
use std::collections::BTreeMap;

/// How far the service is asked to count: about 290 kB, more than one write takes.
const UP_TO: u32 = 50_000;
/// The port that the service listens at.
const PORT: u16 = 13;
/// The longest request.
const MAX_REQUEST: usize = 16;
/// The longest answer that a visitor wants.
const MAX_ANSWER: usize = 1 << 20;

/// An application, inside the program that its router is inside of.
pub(crate) enum App {
    /// Its router helps the others.
    Bystander,
    Service(Service),
    Visitor(Visitor),
}

impl App {
    /// Whether it has got where it wants to be: the service has tunnels, the visitor its answer.
    pub(crate) const fn is_there(&self) -> bool {
        match self {
            Self::Bystander => true,
            Self::Service(service) => service.ready,
            Self::Visitor(visitor) => visitor.ended.is_some(),
        }
    }

    /// Something happened to what it opened. Whoever calls this drains the router afterwards: the
    /// application calls verbs.
    pub(crate) fn handle(&mut self, router: &mut Router, now: Instant, event: AppEvent) {
        match self {
            Self::Bystander => {}
            Self::Service(service) => service.handle(router, now, event),
            Self::Visitor(visitor) => visitor.handle(router, now, event),
        }
    }
}

/// Counts as far as a visitor asks for: `3\n` is answered with `1\n2\n3\n`.
pub(crate) struct Service {
    ready: bool,
    visits: BTreeMap<StreamHandle, Visit>,
}

#[derive(Default)]
struct Visit {
    request: Vec<u8>,
    /// Not taken by the router yet; `None` until there is a request.
    answer: Option<Vec<u8>>,
}

impl Service {
    /// Opens its destination; says its address too.
    pub(crate) fn open(
        router: &mut Router,
        now: Instant,
        tunnels: Tunnels,
    ) -> Result<(Self, String), OpenError> {
        let mut new = NewDestination::new("counter");
        new.tunnels = tunnels;
        // A service that keeps its address keeps `Router::destination_keys`, and sets them here.
        let id = router.open_destination(now, new)?;
        router.listen(id, PORT);
        let address = router.destination(id).map(|me| me.b32_address()).unwrap_or_default();
        Ok((Self { ready: false, visits: BTreeMap::new() }, address))
    }

    fn handle(&mut self, router: &mut Router, now: Instant, event: AppEvent) {
        match event {
            AppEvent::DestinationReady(_) => self.ready = true,
            AppEvent::Incoming { stream, .. } => {
                self.visits.insert(stream, Visit::default());
                self.go_on(router, now, stream);
            }
            AppEvent::Readable(stream) | AppEvent::Writable(stream) => {
                self.go_on(router, now, stream);
            }
            // Before it has asked for anything: it never will.
            AppEvent::RemoteClosed(stream)
                if self.visits.get(&stream).is_some_and(|visit| visit.answer.is_none()) =>
            {
                self.visits.remove(&stream);
                router.reset(now, stream);
            }
            AppEvent::Closed(stream, _) => drop(self.visits.remove(&stream)),
            _ => {}
        }
    }

    /// Reads a request, writes the answer: as far as both go at the moment.
    fn go_on(&mut self, router: &mut Router, now: Instant, stream: StreamHandle) {
        let Some(visit) = self.visits.get_mut(&stream) else { return };
        if visit.answer.is_none() {
            router.read(now, stream, MAX_REQUEST, &mut visit.request);
            if visit.request.ends_with(b"\n") {
                visit.answer = parse(&visit.request).map(count);
            }
            if visit.answer.is_none() && visit.request.len() >= MAX_REQUEST {
                self.visits.remove(&stream);
                router.reset(now, stream);
                return;
            }
        }
        if let Some(rest) = &mut visit.answer {
            let taken = router.write(now, stream, rest);
            rest.drain(..taken);
            // Else `Writable` comes when there is room.
            if rest.is_empty() {
                router.finish(now, stream);
            }
        }
    }
}

/// Asks the service once.
pub(crate) struct Visitor {
    stream: StreamHandle,
    pub(crate) got: Vec<u8>,
    /// How the stream ended.
    pub(crate) ended: Option<Result<(), Failure>>,
}

impl Visitor {
    /// Opens a destination, and a stream from there. All of that may be asked for at once: it begins
    /// when there are tunnels.
    pub(crate) fn open(
        router: &mut Router,
        now: Instant,
        service: &Target,
        tunnels: Tunnels,
    ) -> Result<Self, OpenError> {
        let mut new = NewDestination::new("visitor");
        new.tunnels = tunnels;
        // Nobody needs to find it: who is asked can answer.
        new.publish = false;
        let id = router.open_destination(now, new)?;
        let stream = router.connect(now, id, service, Ports::to(PORT));
        // So little has room before the stream is connected, and goes with its first packet.
        router.write(now, stream, format!("{UP_TO}\n").as_bytes());
        Ok(Self { stream, got: Vec::new(), ended: None })
    }

    fn handle(&mut self, router: &mut Router, now: Instant, event: AppEvent) {
        match event {
            AppEvent::Readable(stream) if stream == self.stream => {
                // It is told once that there is something: all of it is read.
                while router.read(now, stream, MAX_ANSWER, &mut self.got) > 0 {
                    if self.got.len() > MAX_ANSWER {
                        router.reset(now, stream);
                        self.ended = Some(Err(Failure::Reset));
                        return;
                    }
                }
            }
            AppEvent::RemoteClosed(stream) => router.finish(now, stream),
            AppEvent::Closed(stream, result) if stream == self.stream => self.ended = Some(result),
            _ => {}
        }
    }

    /// Whether it got what it asked for.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.ended {
            Some(Ok(())) if self.got == count(UP_TO) => Ok(()),
            Some(Ok(())) => Err(format!("{} bytes, and not the right ones", self.got.len())),
            Some(Err(failure)) => Err(format!("the visit failed: {failure:?}")),
            None => Err("the visit has not ended".into()),
        }
    }
}

fn parse(request: &[u8]) -> Option<u32> {
    std::str::from_utf8(request).ok()?.trim_end().parse().ok().filter(|n| *n <= UP_TO)
}

fn count(up_to: u32) -> Vec<u8> {
    (1..=up_to).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}
