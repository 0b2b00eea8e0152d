//! The driver's side of destinations, streams and searches of this program.

use crate::destination::{Life, ListenError, Shared};
use crate::pipe::Pipe;
use crate::request::Request;
use crate::stream::Stream;
use ramson_core::client::Failure;
use ramson_core::router::Router;
use ramson_core::router::embed::{
    AppEvent, DestinationId, LookupHandle, NewDestination, OpenError, Ports, StreamHandle,
};
use ramson_core::time::Instant;
use ramson_core::wire::identity::Identity;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a destination that nobody holds any more may get rid of what its finished streams and its
/// datagrams have.
const LINGER: Duration = Duration::from_secs(30);

/// What this program has open. Whoever waits for something of it hears of its end.
#[derive(Default)]
pub(crate) struct Guests {
    destinations: BTreeMap<DestinationId, Guest>,
    pipes: BTreeMap<StreamHandle, Arc<Pipe>>,
    lookups: BTreeMap<LookupHandle, (DestinationId, Answer)>,
    /// Destinations that nobody holds, and until when they may last.
    lingering: BTreeMap<DestinationId, Instant>,
}

/// Who waits for a search.
type Answer = oneshot::Sender<Result<Identity, Failure>>;

struct Guest {
    shared: Weak<Shared>,
    listeners: BTreeMap<u16, mpsc::Sender<Stream>>,
}

impl Guests {
    /// Does what a handle asks; true when that is that the router stops.
    pub(crate) fn handle(&mut self, router: &mut Router, now: Instant, request: Request) -> bool {
        match request {
            Request::Shutdown => return true,
            Request::Report(answer) => {
                let _unwanted = answer.send(router.report(now));
            }
            Request::Open { new, shared, answer } => {
                let _unwanted = answer.send(self.open(router, now, *new, &shared));
            }
            Request::Close { id, linger: true } => {
                self.lingering.insert(id, now + LINGER);
                let _closed = self.tick(router, now);
            }
            Request::Close { id, linger: false } => self.close(router, now, id),
            Request::Listen { id, port, queue, answer } => {
                let _unwanted = answer.send(self.listen(router, id, port, queue));
            }
            Request::Unlisten { id, port } => {
                // Another one may have the port by now.
                if let Some(guest) = self.destinations.get_mut(&id)
                    && guest.listeners.get(&port).is_some_and(mpsc::Sender::is_closed)
                {
                    guest.listeners.remove(&port);
                    router.unlisten(id, port);
                }
            }
            Request::Connect { id, to, ports, pipe } => {
                self.prune(router, now);
                let handle = router.connect(now, id, &to, ports);
                pipe.begin(handle, None);
                self.pipes.insert(handle, pipe);
                self.pump(router, now, handle);
            }
            Request::Touched(pipe) => {
                if let Some(handle) = pipe.handle() {
                    self.pump(router, now, handle);
                }
            }
            Request::LookUp { id, to, answer } => {
                self.prune(router, now);
                let handle = router.look_up(now, id, &to);
                self.lookups.insert(handle, (id, answer));
            }
            Request::Send { id, to, ports, kind, payload, answer } => {
                let _unwanted =
                    answer.send(router.send_datagram(now, id, &to, ports, kind, &payload));
            }
        }
        false
    }

    pub(crate) fn event(&mut self, router: &mut Router, now: Instant, event: AppEvent) {
        match event {
            AppEvent::DestinationReady(id) => {
                if let Some(shared) = self.shared(id) {
                    shared.life.send_replace(Life::Ready);
                }
            }
            AppEvent::Incoming { destination, stream, remote, ports } => {
                self.incoming(router, now, destination, stream, remote, ports);
            }
            AppEvent::Connected(handle) => {
                if let Some(pipe) = self.pipes.get(&handle) {
                    pipe.connect(router.remote(handle).cloned());
                    self.pump(router, now, handle);
                }
            }
            AppEvent::Readable(handle) | AppEvent::Writable(handle) => {
                self.pump(router, now, handle);
            }
            AppEvent::RemoteClosed(handle) => {
                if let Some(pipe) = self.pipes.get(&handle) {
                    pipe.close_remote();
                }
            }
            AppEvent::Closed(handle, result) => {
                if let Some(pipe) = self.pipes.remove(&handle) {
                    pipe.end(result);
                }
            }
            AppEvent::Datagrams(id) => {
                let shared = self.shared(id);
                while let Some(datagram) = router.receive_datagram(id) {
                    if let Some(shared) = &shared {
                        shared.inbox.push(datagram);
                    }
                }
            }
            AppEvent::Found(handle, identity) => self.answer(handle, Ok(identity)),
            AppEvent::NotFound(handle, why) => self.answer(handle, Err(why)),
            other => log::error!("this runtime does not know {other:?}"),
        }
    }

    /// Closes destinations that have lingered enough; says whether there were any.
    pub(crate) fn tick(&mut self, router: &mut Router, now: Instant) -> bool {
        let over = |id: &DestinationId, until: &Instant| *until <= now || router.is_idle(*id);
        let done: Vec<DestinationId> = self
            .lingering
            .iter()
            .filter(|(id, until)| over(id, until))
            .map(|(id, _)| *id)
            .collect();
        for id in &done {
            self.close(router, now, *id);
        }
        !done.is_empty()
    }

    /// Gives up searches whose futures were dropped: they count in the destination's limits.
    fn prune(&mut self, router: &mut Router, now: Instant) {
        for (handle, _) in self.lookups.extract_if(.., |_, (_, answer)| answer.is_closed()) {
            router.cancel_lookup(now, handle);
        }
    }

    /// When [`Self::tick`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.lingering.values().min().copied()
    }

    fn shared(&self, id: DestinationId) -> Option<Arc<Shared>> {
        self.destinations.get(&id)?.shared.upgrade()
    }

    fn open(
        &mut self,
        router: &mut Router,
        now: Instant,
        new: NewDestination,
        shared: &Arc<Shared>,
    ) -> Result<(), OpenError> {
        let id = router.open_destination(now, new)?;
        if let (Some(identity), Some(keys)) = (router.destination(id), router.destination_keys(id))
        {
            shared.opened(id, identity.clone(), keys);
        }
        let guest = Guest { shared: Arc::downgrade(shared), listeners: BTreeMap::new() };
        self.destinations.insert(id, guest);
        Ok(())
    }

    fn listen(
        &mut self,
        router: &mut Router,
        id: DestinationId,
        port: u16,
        queue: mpsc::Sender<Stream>,
    ) -> Result<(), ListenError> {
        let guest = self.destinations.get_mut(&id).ok_or(ListenError::Closed)?;
        if guest.listeners.get(&port).is_some_and(|other| !other.is_closed()) {
            return Err(ListenError::InUse);
        }
        guest.listeners.insert(port, queue);
        router.listen(id, port);
        Ok(())
    }

    fn close(&mut self, router: &mut Router, now: Instant, id: DestinationId) {
        self.lingering.remove(&id);
        // Its listeners hear it by the end of their queues.
        let guest = self.destinations.remove(&id);
        if let Some(shared) = guest.and_then(|guest| guest.shared.upgrade()) {
            shared.life.send_replace(Life::Closed);
        }
        router.close_destination(now, id);
        // Who waits for one hears it by the end of its sender.
        self.lookups.retain(|_, (of, _)| *of != id);
        self.pipes.retain(|_, pipe| {
            let open = pipe.of() != id;
            if !open {
                pipe.end(Err(Failure::ShuttingDown));
            }
            open
        });
    }

    fn incoming(
        &mut self,
        router: &mut Router,
        now: Instant,
        id: DestinationId,
        handle: StreamHandle,
        remote: Identity,
        ports: Ports,
    ) {
        let guest = self.destinations.get(&id);
        let queue = guest.and_then(|g| g.listeners.get(&ports.local).or(g.listeners.get(&0)));
        let (Some(queue), Some(shared)) = (queue, self.shared(id)) else {
            router.reset(now, handle);
            return;
        };
        let pipe = Arc::new(Pipe::new(id));
        pipe.begin(handle, Some(remote.clone()));
        self.pipes.insert(handle, pipe.clone());
        // A stream that nobody takes, or for which there is no place, is dropped, and with it reset.
        let _nobody = queue.try_send(Stream::new(pipe, shared, remote, ports));
        self.pump(router, now, handle);
    }

    fn pump(&mut self, router: &mut Router, now: Instant, handle: StreamHandle) {
        let Some(pipe) = self.pipes.get(&handle) else { return };
        if !pipe.pump(router, now) {
            self.pipes.remove(&handle);
        }
    }

    fn answer(&mut self, handle: LookupHandle, result: Result<Identity, Failure>) {
        if let Some((_, answer)) = self.lookups.remove(&handle) {
            let _unwanted = answer.send(result);
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for pipe in self.pipes.values() {
            pipe.end(Err(Failure::ShuttingDown));
        }
    }
}
