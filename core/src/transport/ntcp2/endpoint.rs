//! All NTCP2 sessions of a router: their streams, their timers, and which of them has something to write.

use super::session::{Session, SessionEvent};
use super::{Local, REPLAY_CAPACITY, Remote, ReplayCache, SessionError};
use crate::audit::Audit;
use crate::conn::ConnId;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::transport::queue::{Full, Priority};
use crate::wire::i2np::Message;
use crate::wire::ntcp2::Reason;
use crate::wire::router_info::RouterInfo;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A stream to be closed, at once when `abort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Which.
    pub conn: ConnId,
    /// Drop what is unsent, and reset it.
    pub abort: bool,
}

/// All streams with other routers.
///
/// After each `handle_*` or verb: [`Self::poll_event`] and [`Self::poll_close`] until `None`,
/// [`Self::poll_writable`] with [`Self::poll_write`], then [`Self::poll_timeout`].
pub struct Endpoint {
    local: Arc<Local>,
    conns: BTreeMap<ConnId, Conn>,
    timers: BTreeSet<(Instant, ConnId)>,
    writable: VecDeque<ConnId>,
    events: VecDeque<(ConnId, SessionEvent)>,
    closes: VecDeque<Close>,
    replay: ReplayCache,
    rng: Rng,
}

struct Conn {
    session: Session,
    /// TCP is set up.
    open: bool,
    /// The session is over; its last bytes are not taken yet.
    closing: bool,
    timer: Option<Instant>,
    /// In the queue of those who want to write.
    queued: bool,
    /// Not to be asked for bytes.
    held: bool,
}

impl Endpoint {
    /// No streams.
    #[must_use]
    pub const fn new(local: Arc<Local>, rng: Rng) -> Self {
        Self {
            local,
            conns: BTreeMap::new(),
            timers: BTreeSet::new(),
            writable: VecDeque::new(),
            events: VecDeque::new(),
            closes: VecDeque::new(),
            replay: ReplayCache::new(),
            rng,
        }
    }

    /// True when `conn` is one of ours.
    #[must_use]
    pub fn owns(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// Streams, those that say their last bytes among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let conns = self.conns.len();
        audit.see("ntcp2: timers", self.timers.len(), conns);
        audit.see("ntcp2: writable", self.writable.len(), conns);
        audit.see("ntcp2: handshakes seen", self.replay.len(), REPLAY_CAPACITY);
        audit.drained("ntcp2: events", self.events.len());
        audit.drained("ntcp2: streams to close", self.closes.len());
        for conn in self.conns.values() {
            conn.session.audit(audit);
        }
    }

    /// A session on `conn`, which the owner opens to `remote`. `own` is what the peer will get.
    pub fn connect(&mut self, now: Instant, conn: ConnId, own: RouterInfo, remote: Remote) {
        let rng = self.rng.fork("outbound");
        let session = Session::connect(now, self.local.clone(), own, remote, rng);
        self.insert(conn, session, false);
    }

    /// A session on `conn`, which somebody opened to us.
    pub fn accept(&mut self, now: Instant, conn: ConnId) {
        let session = Session::accept(now, self.local.clone(), self.rng.fork("inbound"));
        self.insert(conn, session, true);
    }

    fn insert(&mut self, conn: ConnId, session: Session, open: bool) {
        let fresh = Conn { session, open, closing: false, timer: None, queued: false, held: false };
        self.conns.insert(conn, fresh);
        self.update(conn);
    }

    /// The stream that we asked for is open.
    pub fn handle_connected(&mut self, conn: ConnId) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.open = true;
            self.update(conn);
        }
    }

    /// Bytes arrived.
    pub fn handle_bytes(&mut self, now: Instant, unix: UnixTime, conn: ConnId, bytes: &mut [u8]) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        // An error is also the session's last event.
        let _reported = c.session.handle_bytes(now, unix, &mut self.replay, bytes);
        self.after(conn);
    }

    /// The peer finished writing, or (`dead`) the stream is gone.
    pub fn handle_gone(&mut self, conn: ConnId, dead: bool) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.session.handle_disconnect();
        self.after(conn);
        if dead {
            self.remove(conn);
        }
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, conn)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(c) = self.conns.get_mut(&conn) else { continue };
            c.timer = None;
            if c.held {
                c.session.excuse(now);
            }
            c.session.handle_timeout(now);
            self.after(conn);
        }
    }

    /// Queues a message; before the end of the handshake it waits for that.
    pub fn queue(
        &mut self,
        now: Instant,
        conn: ConnId,
        message: Message,
        priority: Priority,
    ) -> Result<(), Full> {
        let c = self.conns.get_mut(&conn).ok_or(Full::Closed)?;
        let queued = c.session.queue(now, message, priority);
        self.update(conn);
        queued
    }

    /// Sends our RouterInfo over a session.
    pub fn send_router_info(&mut self, now: Instant, conn: ConnId, info: &RouterInfo, flood: bool) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.session.send_router_info(now, info, flood);
            self.update(conn);
        }
    }

    /// Ends a session; the peer is told `reason`.
    pub fn close(&mut self, conn: ConnId, reason: Reason) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.session.close(reason);
            self.after(conn);
        }
    }

    /// A stream that wants to write is not asked for bytes until [`Self::release`]. False when it does not want to,
    /// or is held already.
    pub fn hold(&mut self, conn: ConnId) -> bool {
        let wants =
            |c: &mut Conn| c.session.wants_write() && !core::mem::replace(&mut c.held, true);
        self.conns.get_mut(&conn).is_some_and(wants)
    }

    /// See [`Self::hold`]. That bytes waited meanwhile is no fault of the peer.
    pub fn release(&mut self, now: Instant, conn: ConnId) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.held = false;
            c.session.excuse(now);
            self.update(conn);
        }
    }

    /// The next event, and whose it is.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<(ConnId, SessionEvent)> {
        self.events.pop_front()
    }

    /// The next stream to close. One that is not to be reset is asked for its last bytes with
    /// [`Self::poll_write`] until it has none.
    #[must_use]
    pub fn poll_close(&mut self) -> Option<Close> {
        self.closes.pop_front()
    }

    /// The next stream that has bytes to write.
    #[must_use]
    pub fn poll_writable(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.writable.pop_front() {
            if let Some(c) = self.conns.get_mut(&conn) {
                c.queued = false;
                if c.session.wants_write() {
                    return Some(conn);
                }
            }
        }
        None
    }

    /// Appends at most `room` bytes to `out` and says how many.
    pub fn poll_write(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let Some(c) = self.conns.get_mut(&conn) else { return 0 };
        let n = c.session.poll_write(now, unix, room, out);
        if c.closing && n == 0 {
            self.remove(conn);
        } else {
            self.after(conn);
        }
        n
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes a session's events, then re-arms what the owner polls.
    fn after(&mut self, conn: ConnId) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let mut abort = false;
        while let Some(event) = c.session.poll_event() {
            if let SessionEvent::Closed(result) = &event {
                c.closing = true;
                abort = !c.open || result.is_err_and(SessionError::abort);
                self.closes.push_back(Close { conn, abort });
            }
            self.events.push_back((conn, event));
        }
        if abort {
            self.remove(conn);
        } else {
            self.update(conn);
        }
    }

    /// Re-arms the timer of a session, and queues it for writing when it has something.
    fn update(&mut self, conn: ConnId) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let due = c.session.poll_timeout();
        if c.timer != due {
            if let Some(old) = c.timer {
                self.timers.remove(&(old, conn));
            }
            if let Some(due) = due {
                self.timers.insert((due, conn));
            }
            c.timer = due;
        }
        // What ends is not held back by what traffic used up.
        let may = c.open && (c.closing || !c.held);
        if may && c.session.wants_write() && !core::mem::replace(&mut c.queued, true) {
            self.writable.push_back(conn);
        }
    }

    /// The stream is gone: forgets it.
    fn remove(&mut self, conn: ConnId) {
        if let Some(c) = self.conns.remove(&conn)
            && let Some(at) = c.timer
        {
            self.timers.remove(&(at, conn));
        }
    }
}
