//! Streams: opened for machines, and what they say.

use super::Apps;
use super::connections::Side;
use super::search::Opening;
use crate::client::{Failure, Slot, StreamInput, Target};
use crate::conn::ConnId;
use crate::destination::Unresolved;
use crate::streaming::{StreamError, StreamEvent};
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;

impl Apps {
    /// Opens a stream for a machine, once the destination is found.
    pub(super) fn open(
        &mut self,
        now: Instant,
        conn: ConnId,
        slot: Slot,
        target: &Target,
        port: u16,
    ) {
        let Some(local) = self.conns.get_mut(&conn) else { return };
        local.streams.insert(slot, Side::default());
        let index = local.app;
        let fail = |side: &mut Side, why| side.over = Some(Some(why));
        let Some(side) = local.streams.get_mut(&slot) else { return };
        let Some((hash, _)) = self.book.resolve(target) else {
            return fail(side, Failure::UnknownName);
        };
        let Some(app) = self.apps.get_mut(&index) else { return };
        if hash == app.destination.identity().hash() {
            return fail(side, Failure::Refused);
        }
        if self.stopping {
            return fail(side, Failure::ShuttingDown);
        }
        if self.alone {
            return fail(side, Failure::NoRouters);
        }
        app.searches.entry(hash).or_default().add(Opening { conn, slot, port, since: now });
    }

    /// A destination was found, or not: opens the streams that wait for it, or searches again.
    pub(super) fn resolved(
        &mut self,
        now: Instant,
        index: usize,
        hash: Hash,
        result: &Result<Identity, Unresolved>,
    ) {
        let Some(app) = self.apps.get_mut(&index) else { return };
        let again = match result {
            Err(Unresolved::NotFound | Unresolved::Expired | Unresolved::NoTunnels) => true,
            Err(Unresolved::Unsupported) | Ok(_) => false,
        };
        if again && app.searches.get_mut(&hash).is_some_and(|search| search.fail(now)) {
            return;
        }
        let Some(search) = app.searches.remove(&hash) else { return };
        for opening in search.into_openings() {
            let why = match result {
                Ok(identity) => {
                    self.connect(now, index, &opening, identity);
                    continue;
                }
                Err(Unresolved::NotFound) => Failure::LeaseSetNotFound,
                Err(Unresolved::Expired) => Failure::LeaseSetExpired,
                Err(Unresolved::Unsupported) => Failure::Unsupported,
                Err(Unresolved::NoTunnels) => Failure::NoTunnels,
            };
            self.fail_slot(now, opening.conn, opening.slot, why);
        }
    }

    fn connect(&mut self, now: Instant, index: usize, opening: &Opening, to: &Identity) {
        let (conn, slot) = (opening.conn, opening.slot);
        if self.embedded.contains_key(&conn) {
            self.connect_embedded(now, conn, opening.port, to);
            return;
        }
        let Some(app) = self.apps.get_mut(&index) else { return };
        let local = self.conns.get_mut(&conn);
        let Some(side) = local.and_then(|l| l.streams.get_mut(&slot)) else { return };
        let id = match app.streams.connect(now, to.clone(), 0, opening.port) {
            Ok(id) => id,
            Err(e) => {
                log::debug!("no stream: {e}");
                self.fail_slot(now, conn, slot, Failure::TooMany);
                return;
            }
        };
        side.id = Some(id);
        let finished = side.finished;
        app.by_stream.insert(id, (conn, slot));
        self.service(now, conn);
        // The machine said so because it had nothing left.
        if finished && let Some(app) = self.apps.get_mut(&index) {
            app.streams.close(now, id);
        }
    }

    pub(super) fn handle_stream_event(&mut self, now: Instant, index: usize, event: StreamEvent) {
        if let Some(conn) = self.embedded_of(index, &event) {
            self.handle_embedded(conn, &event);
            return;
        }
        let Some(app) = self.apps.get_mut(&index) else { return };
        match event {
            StreamEvent::Incoming { id, remote, local_port, remote_port } => {
                self.incoming(now, index, id, &remote, (local_port, remote_port));
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
                self.end_slot(now, conn, slot, result.err().map(failure));
            }
            StreamEvent::Stalled { remote, timeouts } => {
                app.stalled.push((remote, timeouts));
            }
            StreamEvent::Pong { .. } => {}
        }
    }

    pub(super) fn end_stream(&mut self, now: Instant, conn: ConnId, slot: Slot, end: End) {
        self.pump(now, conn);
        let Some(local) = self.conns.get_mut(&conn) else { return };
        let Some(app) = self.apps.get_mut(&local.app) else { return };
        let Some(side) = local.streams.get_mut(&slot) else { return };
        let id = side.id;
        match end {
            End::Finish => side.finished = true,
            End::Close | End::Reset => {
                local.streams.remove(&slot);
            }
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

    pub(super) fn fail_slot(&mut self, now: Instant, conn: ConnId, slot: Slot, why: Failure) {
        self.end_slot(now, conn, slot, Some(why));
    }

    /// A stream is over. What came before is given to the machine first, however slowly it takes
    /// that.
    pub(super) fn end_slot(
        &mut self,
        now: Instant,
        conn: ConnId,
        slot: Slot,
        why: Option<Failure>,
    ) {
        if self.embedded.contains_key(&conn) {
            self.end_embedded(conn, why.map_or(Ok(()), Err));
            return;
        }
        if let Some(side) = self.conns.get_mut(&conn).and_then(|l| l.streams.get_mut(&slot)) {
            side.remote_closed |= why.is_none();
            side.over = Some(why);
        }
        self.service(now, conn);
    }
}

/// What the end of a stream means to who uses it.
pub(super) const fn failure(error: StreamError) -> Failure {
    match error {
        StreamError::Refused => Failure::Refused,
        StreamError::ConnectTimedOut | StreamError::Lost => Failure::TimedOut,
        StreamError::Unreachable => Failure::LeaseSetNotFound,
        StreamError::Reset | StreamError::Aborted => Failure::Reset,
    }
}

#[derive(Clone, Copy)]
pub(super) enum End {
    Finish,
    Close,
    Reset,
}
