//! Local connections: each has a machine, and bytes to move between that and its streams.

use super::Apps;
use super::app::App;
use super::streams::End;
use crate::client::{Connection, Failure, NameAnswer, Request, Slot, StreamInput};
use crate::conn::ConnId;
use crate::router::output::{Action, StoreKey};
use crate::streaming::StreamId;
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Read from a stream at a time.
const READ: usize = 32 * 1024;

/// One local connection and its machine.
pub(super) struct Local {
    pub(super) app: usize,
    pub(super) machine: Connection,
    pub(super) streams: BTreeMap<Slot, Side>,
    /// Waits for the local target.
    pub(super) target: Option<SocketAddr>,
    /// The destination that opened the stream of a server tunnel.
    pub(super) remote: Option<Hash>,
    pub(super) timer: Option<Instant>,
    pub(super) queued: bool,
    pub(super) closing: bool,
}

/// A stream as seen from a machine.
#[derive(Default)]
pub(super) struct Side {
    pub(super) id: Option<StreamId>,
    /// Read from the stream and not taken by the machine.
    pub(super) rest: Vec<u8>,
    pub(super) remote_closed: bool,
    pub(super) reported_closed: bool,
    /// The machine has sent everything, before the stream was there.
    pub(super) finished: bool,
    /// The stream is over, in good order or for a reason; told to the machine once it has taken
    /// what came before.
    pub(super) over: Option<Option<Failure>>,
}

impl Apps {
    /// Drains one connection's machine: its requests, its bytes for streams, the streams' bytes for
    /// it.
    pub(super) fn service(&mut self, now: Instant, conn: ConnId) {
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
    pub(super) fn pump(&mut self, now: Instant, conn: ConnId) -> bool {
        let Some(local) = self.conns.get_mut(&conn) else { return false };
        let Some(app) = self.apps.get_mut(&local.app) else { return false };
        let mut moved = false;
        let mut over = Vec::new();
        for (slot, side) in &mut local.streams {
            if let Some(id) = side.id {
                moved |= side.pump(now, *slot, id, &mut local.machine, app, &mut self.scratch);
            }
            if side.over.is_some() && side.rest.is_empty() {
                over.push(*slot);
            }
        }
        for slot in over {
            let failure = local.streams.remove(&slot).and_then(|side| side.over.flatten());
            if let Some(failure) = failure {
                let _ = local.machine.handle_stream(now, slot, StreamInput::Failed(failure));
            }
            moved = true;
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
                    let key = StoreKey::AddressBook;
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

    /// Forgets a connection; its streams end with it.
    pub(super) fn remove(&mut self, conn: ConnId) {
        let Some(local) = self.conns.remove(&conn) else { return };
        if let Some(at) = local.timer {
            self.timers.remove(&(at, conn));
        }
        let Some(app) = self.apps.get_mut(&local.app) else { return };
        for side in local.streams.values() {
            if let Some(id) = side.id {
                app.by_stream.remove(&id);
                app.orphans.push(id);
            }
        }
    }
}

impl Local {
    pub(super) const fn new(app: usize, machine: Connection) -> Self {
        Self {
            app,
            machine,
            streams: BTreeMap::new(),
            target: None,
            remote: None,
            timer: None,
            queued: false,
            closing: false,
        }
    }
}

impl Side {
    /// Moves bytes between the stream `id` and the machine; says whether any moved.
    fn pump(
        &mut self,
        now: Instant,
        slot: Slot,
        id: StreamId,
        machine: &mut Connection,
        app: &mut App,
        scratch: &mut Vec<u8>,
    ) -> bool {
        let mut moved = false;
        let room = app.streams.writable(id);
        if room > 0 {
            scratch.clear();
            if machine.poll_stream(now, slot, room, scratch) > 0 {
                app.streams.write(now, id, scratch);
                moved = true;
            }
        }
        loop {
            if self.rest.is_empty() {
                let room = machine.stream_room(slot).min(READ);
                if room == 0 || app.streams.read(now, id, room, &mut self.rest) == 0 {
                    break;
                }
            }
            let taken = machine.handle_stream(now, slot, StreamInput::Data(&self.rest));
            self.rest.drain(..taken.min(self.rest.len()));
            if taken == 0 {
                break;
            }
            moved = true;
        }
        let ended = self.remote_closed && !self.reported_closed;
        if ended && self.rest.is_empty() && app.streams.readable(id) == 0 {
            self.reported_closed = true;
            let _ = machine.handle_stream(now, slot, StreamInput::RemoteClosed);
            moved = true;
        }
        moved
    }
}
