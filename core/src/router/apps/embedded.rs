//! The embedder's destinations and streams: what is open, and what it has not been told yet.

use super::Apps;
use super::app::{App, Kind};
use super::datagrams::{Inbox, Outbox};
use super::search::Opening;
use super::streams::failure;
use crate::client::{Failure, Slot, Target};
use crate::conn::ConnId;
use crate::datagram::Signer;
use crate::keys::DestinationKeys;
use crate::rng::Rng;
use crate::router::embed::{
    AppEvent, DestinationId, IncomingLimits, LookupHandle, NewDestination, Ports, StreamHandle,
};
use crate::streaming::{StreamEvent, StreamId};
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use alloc::boxed::Box;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Bytes that a stream takes before it is open: what fits into its first packets.
const EARLY: usize = 4096;

/// What a destination of the embedder has besides its streams.
pub(in crate::router) struct Embedded {
    keys: Zeroizing<Vec<u8>>,
    max_open: usize,
    incoming: Option<IncomingLimits>,
    told_ready: bool,
    /// That there are datagrams is in the queue of news.
    pub(super) telling_datagrams: bool,
    pub(super) signer: Signer,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
}

impl Embedded {
    pub(super) const fn takes_share(&self) -> bool {
        self.incoming.is_none()
    }

    /// Streams from all remotes and from one, when it has limits of its own.
    pub(super) fn limits(&self) -> Option<(usize, usize)> {
        self.incoming.map(|limits| (limits.all, limits.one_remote))
    }

    pub(super) fn memory(&self) -> usize {
        self.inbox.bytes() + self.outbox.bytes()
    }
}

/// What the embedder waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::router) enum Waiting {
    Stream(Ports),
    Lookup,
}

/// Something that the embedder has open.
pub(super) struct Entry {
    pub(super) app: usize,
    /// Who opened the stream, when it was not us.
    pub(super) remote: Option<Hash>,
    what: Waiting,
    id: Option<StreamId>,
    /// Written before the stream was there.
    early: Vec<u8>,
    /// Not all was taken.
    wants_room: bool,
    finished: bool,
    remote_closed: bool,
    told_remote_closed: bool,
    untold: Untold,
    /// It is in the queue of news.
    queued: bool,
}

/// What is to be told of an entry, in this order.
#[derive(Default)]
struct Untold {
    incoming: Option<(Identity, Ports)>,
    connected: bool,
    readable: bool,
    writable: bool,
    remote_closed: bool,
    found: Option<Identity>,
    closed: Option<Result<(), Failure>>,
}

/// What the embedder is to be told about.
pub(super) enum News {
    Ready(usize),
    Datagrams(usize),
    Of(ConnId),
}

impl Entry {
    fn new(app: usize, what: Waiting) -> Self {
        Self {
            app,
            remote: None,
            what,
            id: None,
            early: Vec::new(),
            wants_room: false,
            finished: false,
            remote_closed: false,
            told_remote_closed: false,
            untold: Untold::default(),
            queued: false,
        }
    }

    fn next_event(&mut self, conn: ConnId) -> Option<AppEvent> {
        let (stream, untold) = (StreamHandle(conn), &mut self.untold);
        if let Some((remote, ports)) = untold.incoming.take() {
            let destination = DestinationId(self.app);
            return Some(AppEvent::Incoming { destination, stream, remote, ports });
        }
        if core::mem::take(&mut untold.connected) {
            return Some(AppEvent::Connected(stream));
        }
        if core::mem::take(&mut untold.readable) {
            return Some(AppEvent::Readable(stream));
        }
        if core::mem::take(&mut untold.writable) {
            return Some(AppEvent::Writable(stream));
        }
        if core::mem::take(&mut untold.remote_closed) {
            return Some(AppEvent::RemoteClosed(stream));
        }
        if let Some(identity) = untold.found.take() {
            return Some(AppEvent::Found(LookupHandle(conn), identity));
        }
        let result = untold.closed.take()?;
        Some(match (self.what, result) {
            (Waiting::Lookup, Err(why)) => AppEvent::NotFound(LookupHandle(conn), why),
            (Waiting::Lookup | Waiting::Stream(_), result) => AppEvent::Closed(stream, result),
        })
    }

    /// The end of the remote's direction is told once all before it was read.
    fn note_remote_closed(&mut self, readable: usize) {
        if self.remote_closed && readable == 0 && !self.told_remote_closed {
            self.told_remote_closed = true;
            self.untold.remote_closed = true;
        }
    }
}

const fn is_last(event: &AppEvent) -> bool {
    matches!(event, AppEvent::Closed(..) | AppEvent::Found(..) | AppEvent::NotFound(..))
}

/// Destinations.
impl Apps {
    /// The number that the next application will have.
    pub(in crate::router) const fn next(&self) -> usize {
        self.next
    }

    pub(in crate::router) fn open_embedded(
        &mut self,
        now: Instant,
        new: NewDestination,
        keys: DestinationKeys,
        rng: &mut Rng,
    ) -> usize {
        let embedded = Embedded {
            keys: keys.encode(),
            max_open: new.streaming.max_streams,
            incoming: new.incoming,
            told_ready: false,
            telling_datagrams: false,
            signer: Signer::new(keys.identity.clone(), keys.signing.clone()),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
        };
        let kind = Kind::Embedded(Box::new(embedded));
        let NewDestination { name, publish, tunnels, streaming, .. } = new;
        let app = App::new(name, kind, keys, publish, tunnels, streaming, now, rng);
        let index = self.next;
        self.next += 1;
        self.apps.insert(index, app);
        index
    }

    /// Resets all streams of a destination.
    pub(in crate::router) fn abandon(&mut self, now: Instant, id: DestinationId) {
        let Some(app) = self.apps.get_mut(&id.0) else { return };
        // Those that were released too: their remotes would wait for what does not come any more.
        app.by_stream.clear();
        app.streams.reset_all(now);
        self.embedded.retain(|_, entry| entry.app != id.0);
    }

    pub(in crate::router) fn remove_embedded(&mut self, id: DestinationId) {
        self.apps.remove(&id.0);
    }

    fn own(&self, id: DestinationId) -> Option<&App> {
        self.apps.get(&id.0).filter(|app| app.is_embedded())
    }

    pub(super) fn own_mut(&mut self, id: DestinationId) -> Option<&mut App> {
        self.apps.get_mut(&id.0).filter(|app| app.is_embedded())
    }

    pub(in crate::router) fn is_open(&self, id: DestinationId) -> bool {
        self.own(id).is_some()
    }

    pub(in crate::router) fn identity(&self, id: DestinationId) -> Option<&Identity> {
        self.own(id).map(|app| app.destination.identity())
    }

    pub(in crate::router) fn keys(&self, id: DestinationId) -> Option<&Zeroizing<Vec<u8>>> {
        self.own(id).and_then(App::embedded).map(|embedded| &embedded.keys)
    }

    pub(in crate::router) fn is_ready(&self, id: DestinationId) -> bool {
        self.own(id).is_some_and(|app| app.destination.is_ready())
    }

    pub(in crate::router) fn dropped_datagrams(&self, id: DestinationId) -> u64 {
        let embedded = self.own(id).and_then(App::embedded);
        embedded.map_or(0, |embedded| embedded.inbox.dropped() + embedded.outbox.dropped())
    }

    pub(in crate::router) fn listen(&mut self, id: DestinationId, port: u16, open: bool) {
        let Some(app) = self.own_mut(id) else { return };
        if open {
            app.streams.listen(port);
        } else {
            app.streams.unlisten(port);
        }
    }

    /// Tells that a destination has its first tunnels.
    pub(super) fn note_ready(&mut self, index: usize) {
        let Some(app) = self.apps.get_mut(&index) else { return };
        let ready = app.destination.is_ready();
        if let Some(embedded) = app.embedded_mut()
            && ready
            && !embedded.told_ready
        {
            embedded.told_ready = true;
            self.news.push_back(News::Ready(index));
        }
    }

    pub(in crate::router) fn poll_app_event(&mut self) -> Option<AppEvent> {
        loop {
            match *self.news.front()? {
                News::Ready(app) => {
                    self.news.pop_front();
                    if self.apps.contains_key(&app) {
                        return Some(AppEvent::DestinationReady(DestinationId(app)));
                    }
                }
                News::Datagrams(app) => {
                    self.news.pop_front();
                    if let Some(embedded) = self.apps.get_mut(&app).and_then(App::embedded_mut) {
                        embedded.telling_datagrams = false;
                        return Some(AppEvent::Datagrams(DestinationId(app)));
                    }
                }
                News::Of(conn) => {
                    let entry = self.embedded.get_mut(&conn);
                    if let Some(event) = entry.and_then(|e| e.next_event(conn)) {
                        if is_last(&event) {
                            self.embedded.remove(&conn);
                        }
                        return Some(event);
                    }
                    self.news.pop_front();
                    if let Some(entry) = self.embedded.get_mut(&conn) {
                        entry.queued = false;
                    }
                }
            }
        }
    }
}

/// Streams and lookups.
impl Apps {
    /// Begins a search, for a stream or for itself.
    pub(in crate::router) fn want(
        &mut self,
        now: Instant,
        from: DestinationId,
        to: &Target,
        what: Waiting,
    ) -> ConnId {
        let conn = self.opener.open();
        let open = self.embedded.values().filter(|e| e.app == from.0 && e.remote.is_none()).count();
        self.embedded.insert(conn, Entry::new(from.0, what));
        let resolved = self.book.resolve(to);
        let (stopping, alone) = (self.stopping, self.alone);
        let app = self.own_mut(from);
        let max_open = app.as_ref().and_then(|app| app.embedded()).map_or(0, |e| e.max_open);
        let why = match (resolved, app, what) {
            (_, None, _) => Failure::ShuttingDown,
            (None, _, _) => Failure::UnknownName,
            (Some((_, Some(identity))), _, Waiting::Lookup) => {
                self.tell(conn, |untold| untold.found = Some(identity));
                return conn;
            }
            (Some(_), _, _) if stopping => Failure::ShuttingDown,
            (Some(_), _, _) if alone => Failure::NoRouters,
            (Some(_), _, _) if open >= max_open => Failure::TooMany,
            (Some((hash, _)), Some(app), Waiting::Stream(_))
                if hash == app.destination.identity().hash() =>
            {
                Failure::Refused
            }
            (Some((hash, _)), Some(app), _) => {
                let port = match what {
                    Waiting::Stream(ports) => ports.remote,
                    Waiting::Lookup => 0,
                };
                let opening = Opening { conn, slot: Slot::INCOMING, port, since: now };
                app.searches.entry(hash).or_default().add(opening);
                return conn;
            }
        };
        self.end_embedded(conn, Err(why));
        conn
    }

    /// The search is over: the stream can be opened.
    pub(super) fn connect_embedded(
        &mut self,
        now: Instant,
        conn: ConnId,
        port: u16,
        to: &Identity,
    ) {
        let Some(entry) = self.embedded.get_mut(&conn) else { return };
        let Waiting::Stream(ports) = entry.what else {
            self.tell(conn, |untold| untold.found = Some(to.clone()));
            return;
        };
        let Some(app) = self.apps.get_mut(&entry.app) else { return };
        let id = match app.streams.connect(now, to.clone(), ports.local, port) {
            Ok(id) => id,
            Err(e) => {
                log::debug!("no stream: {e}");
                self.end_embedded(conn, Err(Failure::TooMany));
                return;
            }
        };
        entry.id = Some(id);
        app.by_stream.insert(id, (conn, Slot::INCOMING));
        // Less than a stream that has sent nothing takes.
        let early = core::mem::take(&mut entry.early);
        app.streams.write(now, id, &early);
        if entry.finished {
            app.streams.close(now, id);
        } else if core::mem::take(&mut entry.wants_room) {
            self.tell(conn, |untold| untold.writable = true);
        }
    }

    /// A stream from the network that there is room for.
    pub(super) fn take_in(
        &mut self,
        index: usize,
        id: StreamId,
        remote: &Identity,
        (local, port): (u16, u16),
    ) {
        let Some(app) = self.apps.get_mut(&index) else { return };
        let ports = Ports { local, remote: port };
        let conn = self.opener.open();
        app.by_stream.insert(id, (conn, Slot::INCOMING));
        let mut entry = Entry::new(index, Waiting::Stream(ports));
        entry.remote = Some(remote.hash());
        entry.id = Some(id);
        self.embedded.insert(conn, entry);
        self.tell(conn, |untold| untold.incoming = Some((remote.clone(), ports)));
    }

    /// The embedder's stream that an event is about.
    pub(super) fn embedded_of(&self, index: usize, event: &StreamEvent) -> Option<ConnId> {
        let app = self.apps.get(&index).filter(|app| app.is_embedded())?;
        app.by_stream.get(&event.stream()?).map(|(conn, _)| *conn)
    }

    pub(super) fn handle_embedded(&mut self, conn: ConnId, event: &StreamEvent) {
        let Some(entry) = self.embedded.get_mut(&conn) else { return };
        match event {
            StreamEvent::Connected(_) => self.tell(conn, |untold| untold.connected = true),
            StreamEvent::Readable(_) => self.tell(conn, |untold| untold.readable = true),
            StreamEvent::Writable(_) => {
                if core::mem::take(&mut entry.wants_room) {
                    self.tell(conn, |untold| untold.writable = true);
                }
            }
            StreamEvent::RemoteClosed(id) => {
                let app = self.apps.get(&entry.app);
                entry.remote_closed = true;
                entry.note_remote_closed(app.map_or(0, |app| app.streams.readable(*id)));
                self.tell(conn, |_| ());
            }
            StreamEvent::Closed(id, result) => {
                if let Some(app) = self.apps.get_mut(&entry.app) {
                    app.by_stream.remove(id);
                }
                self.end_embedded(conn, result.map_err(failure));
            }
            StreamEvent::Incoming { .. }
            | StreamEvent::Stalled { .. }
            | StreamEvent::Pong { .. } => {}
        }
    }

    /// A stream is over, and all that came was read; or a search is.
    pub(super) fn end_embedded(&mut self, conn: ConnId, result: Result<(), Failure>) {
        let Some(entry) = self.embedded.get_mut(&conn) else { return };
        entry.id = None;
        entry.finished = true;
        if result.is_ok() {
            entry.remote_closed = true;
            entry.note_remote_closed(0);
        }
        self.tell(conn, |untold| untold.closed = Some(result));
    }

    pub(in crate::router) fn remote(&self, conn: ConnId) -> Option<&Identity> {
        let entry = self.embedded.get(&conn)?;
        self.apps.get(&entry.app)?.streams.remote(entry.id?)
    }

    pub(in crate::router) fn is_idle(&self, id: DestinationId) -> bool {
        self.own(id).is_none_or(|app| {
            let unsent = app.embedded().map_or(0, |embedded| embedded.outbox.bytes());
            app.streams.is_empty() && unsent == 0 && app.destination.congested().next().is_none()
        })
    }

    pub(in crate::router) fn write(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(entry) = self.embedded.get_mut(&conn) else { return 0 };
        if entry.finished {
            return 0;
        }
        let taken = match entry.id {
            Some(id) => {
                self.apps.get_mut(&entry.app).map_or(0, |a| a.streams.write(now, id, bytes))
            }
            None => {
                let room = EARLY.saturating_sub(entry.early.len());
                let taken = bytes.get(..room).unwrap_or(bytes);
                entry.early.extend_from_slice(taken);
                taken.len()
            }
        };
        entry.wants_room |= taken < bytes.len();
        taken
    }

    pub(in crate::router) fn read(
        &mut self,
        now: Instant,
        conn: ConnId,
        max: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let Some(entry) = self.embedded.get_mut(&conn) else { return 0 };
        let Some(app) = self.apps.get_mut(&entry.app) else { return 0 };
        let Some(id) = entry.id else { return 0 };
        let read = app.streams.read(now, id, max, out);
        let readable = app.streams.readable(id);
        if readable == 0 {
            entry.untold.readable = false;
        }
        entry.note_remote_closed(readable);
        self.tell(conn, |_| ());
        read
    }

    pub(in crate::router) fn finish(&mut self, now: Instant, conn: ConnId) {
        let Some(entry) = self.embedded.get_mut(&conn) else { return };
        entry.finished = true;
        if let Some((app, id)) = self.apps.get_mut(&entry.app).zip(entry.id) {
            app.streams.close(now, id);
        }
    }

    /// Forgets what the embedder no longer wants.
    pub(in crate::router) fn drop_embedded(&mut self, now: Instant, conn: ConnId, gently: bool) {
        let Some(entry) = self.embedded.remove(&conn) else { return };
        let Some((app, id)) = self.apps.get_mut(&entry.app).zip(entry.id) else { return };
        app.by_stream.remove(&id);
        if gently {
            app.streams.release(now, id);
        } else {
            app.streams.reset(now, id);
        }
    }

    /// The router stops, and all streams were reset: tells those who have not heard of an end.
    pub(super) fn break_off_embedded(&mut self) {
        let open = |e: &Entry| e.untold.closed.is_none() && e.untold.found.is_none();
        let conns: Vec<ConnId> =
            self.embedded.iter().filter(|(_, e)| open(e)).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.end_embedded(conn, Err(Failure::ShuttingDown));
        }
    }

    /// Notes what is to be told, and that there is something.
    fn tell(&mut self, conn: ConnId, what: impl FnOnce(&mut Untold)) {
        let Some(entry) = self.embedded.get_mut(&conn) else { return };
        what(&mut entry.untold);
        if !entry.queued {
            entry.queued = true;
            self.news.push_back(News::Of(conn));
        }
    }
}

#[cfg(test)]
mod tests;
