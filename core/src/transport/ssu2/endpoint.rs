//! All SSU2 sessions of a router: which packet belongs to which, handshakes, tokens and their limits.

mod conn;
mod greeting;
mod strangers;

use super::handshake::initiator::Start;
use super::handshake::{HandshakeError, Ids};
use super::session::{Session, SessionError, SessionEvent};
use super::{Local, ReceivedTokens, Remote, Tokens};
use crate::audit::{Audit, Bound};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::transport::Peer;
use crate::transport::bandwidth::Bucket;
use crate::transport::queue::{Full, Priority};
use crate::wire::i2np::Message;
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::{ConnectionId, MAX_PACKET_LEN, MIN_PACKET_LEN, Reason, protect};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use conn::{Conn, Resend, Stage};
use core::net::SocketAddr;
use core::time::Duration;

/// Handshakes that others began and that are not done: in all, and of one IPv4 address or IPv6 /64. For another one
/// the oldest of whoever has most goes.
pub const MAX_GREETING: usize = 512;
/// See [`MAX_GREETING`].
pub const MAX_GREETING_PER_PREFIX: usize = 4;
/// Handshakes of ours with one address: several routers may say that they are there.
const MAX_DIALS_PER_ADDRESS: usize = 4;
/// How long such a handshake may take, and one of ours.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(8);
/// See [`GREETING_TIMEOUT`].
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of answers without a state that may go in a second: about two thousand.
const ANSWERS: u64 = 256 * 1024;
/// Answers that wait to be sent; what asks for more is dropped.
const MAX_ANSWERS: usize = 64;
/// Handshakes of others that are looked into in a second: each costs two key exchanges. With fewer than the log of
/// used tokens has places for while they are good, it is never full.
const REQUESTS: u64 = 500;
/// What one costs in the bucket, whose burst is a quarter of a second's.
const REQUEST: usize = 1024;
/// Bytes of messages that are not whole, in all sessions; whoever has most loses them.
const MAX_PARTS: usize = 16 * 1024 * 1024;
/// Sessions that say goodbye at a time; the oldest goes.
const MAX_PARTING: usize = 256;

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointEvent {
    /// Its handshake is done.
    Established {
        /// With whom.
        peer: Peer,
        /// Seconds that the peer's clock is ahead of ours.
        skew: i64,
        /// Where the peer sees us.
        address: Option<SocketAddr>,
    },
    /// The handshake came to nothing; the last event.
    Failed(HandshakeError),
    /// It took too long; the last event.
    TimedOut,
    /// What the session says; [`SessionEvent::Closed`] is the last event.
    Session(SessionEvent),
}

/// Who sends a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nobody who has a session: an answer to a stranger.
    Answer,
    /// This session.
    Session(ConnectionId),
}

/// What an endpoint did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointStats {
    /// Datagrams that belong to nothing.
    pub strays: u64,
    /// Retries sent, with a token or a refusal.
    pub retries: u64,
    /// Answers that were not sent, for there are so many.
    pub withheld: u64,
    /// Handshakes that gave way to others.
    pub crowded_out: u64,
    /// Handshakes, of either side, that came to nothing.
    pub failed: u64,
    /// Sessions that ended, and neither side wanted it.
    pub broken: u64,
}

/// One UDP socket's sessions.
///
/// After each `handle_*` or verb: [`Self::poll_event`] until `None`, [`Self::poll_transmit`] until `None`, then
/// [`Self::poll_timeout`]. A session is known by the id in the headers of packets to us.
pub struct Endpoint {
    local: Arc<Local>,
    mtu: u16,
    public: bool,
    own: Option<RouterInfo>,
    conns: BTreeMap<ConnectionId, Conn>,
    /// Handshakes that we began: what answers them is masked with the peer's key, so the address tells which
    /// one to try.
    dials: BTreeSet<(SocketAddr, ConnectionId)>,
    timers: BTreeSet<(Instant, ConnectionId)>,
    ready: VecDeque<ConnectionId>,
    answers: VecDeque<(SocketAddr, Vec<u8>)>,
    may_answer: Bucket,
    may_greet: Bucket,
    parts: usize,
    tokens: Tokens,
    received: ReceivedTokens,
    events: VecDeque<(ConnectionId, EndpointEvent)>,
    stats: EndpointStats,
    /// The wall clock, as it was told last.
    unix: UnixTime,
    rng: Rng,
}

/// Why there is no session with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotConnected {
    /// Our own RouterInfo is not there yet.
    #[error("no RouterInfo of our own")]
    NoRouterInfo,
    /// As many handshakes with that address are under way as may be.
    #[error("already connecting to that address")]
    Connecting,
    /// The handshake cannot begin.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl Endpoint {
    /// `mtu`: the largest packets that we take, in bytes with IP and UDP headers. `public`: on the
    /// internet, where peers have to come from where they say that they are, and few at a time from one place.
    #[must_use]
    pub fn new(now: Instant, local: Arc<Local>, mtu: u16, public: bool, mut rng: Rng) -> Self {
        Self {
            local,
            mtu,
            public,
            own: None,
            conns: BTreeMap::new(),
            dials: BTreeSet::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            answers: VecDeque::new(),
            may_answer: Bucket::new(ANSWERS, now),
            may_greet: Bucket::new(REQUESTS * REQUEST as u64, now),
            parts: 0,
            tokens: Tokens::new(&mut rng),
            received: ReceivedTokens::new(),
            events: VecDeque::new(),
            stats: EndpointStats::default(),
            unix: UnixTime::default(),
            rng,
        }
    }

    /// Our RouterInfo, for handshakes from now on.
    pub fn set_own(&mut self, info: RouterInfo) {
        self.own = Some(info);
    }

    /// What it did so far.
    #[must_use]
    pub const fn stats(&self) -> EndpointStats {
        self.stats
    }

    /// A session, if it is up.
    #[must_use]
    pub fn session(&self, id: ConnectionId) -> Option<&Session> {
        match &self.conns.get(&id)?.stage {
            Stage::Up(session) => Some(session),
            Stage::Asking(_) | Stage::Requesting(_) | Stage::Greeting(_) | Stage::Over => None,
        }
    }

    /// Sessions, handshakes among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// True when there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// What is held, and what may be: sessions and dials are for the owner to limit.
    pub fn audit(&self, see: &mut dyn FnMut(Bound)) {
        let (mut greeting, mut parting) = (0, 0);
        for conn in self.conns.values() {
            match &conn.stage {
                Stage::Greeting(_) => greeting += 1,
                Stage::Up(session) => {
                    session.audit(see);
                    parting += usize::from(!session.is_open());
                }
                Stage::Asking(_) | Stage::Requesting(_) | Stage::Over => {}
            }
        }
        let audit = &mut Audit(see);
        let conns = self.conns.len();
        audit.see("ssu2: handshakes of others", greeting, MAX_GREETING);
        audit.see("ssu2: sessions that end", parting, MAX_PARTING);
        audit.see("ssu2: dials", self.dials.len(), conns);
        audit.see("ssu2: timers", self.timers.len(), conns);
        audit.see("ssu2: ready", self.ready.len(), conns);
        audit.see("ssu2: answers", self.answers.len(), MAX_ANSWERS);
        audit.see("ssu2: bytes of parts in all", self.parts, MAX_PARTS);
        self.tokens.audit(audit);
        self.received.audit(audit);
    }

    /// Connects to a peer. The id is the session's from now on, whatever comes of it.
    pub fn connect(
        &mut self,
        now: Instant,
        unix: UnixTime,
        remote: Remote,
    ) -> Result<ConnectionId, NotConnected> {
        let own = self.own.as_ref().ok_or(NotConnected::NoRouterInfo)?;
        let remote = Remote { at: canonical(remote.at), ..remote };
        // Who names another router's address keeps nobody from reaching that one.
        if self.dials_at(remote.at).count() >= MAX_DIALS_PER_ADDRESS {
            return Err(NotConnected::Connecting);
        }
        let ids = loop {
            let ids = Ids::draw(&mut self.rng);
            if !self.conns.contains_key(&ids.ours()) {
                break ids;
            }
        };
        let start = Start::new(self.local.clone(), remote, own, ids, false)?;
        let stage = match self.received.take(now, remote.at) {
            Some(token) => {
                Stage::Requesting(Box::new(start.request(token, now, unix, &mut self.rng)?))
            }
            None => Stage::Asking(Box::new(start.ask_token(now, unix, &mut self.rng)?)),
        };
        let id = ids.ours();
        let resend = Resend::new(now, DIAL_TIMEOUT);
        self.conns.insert(id, Conn::new(remote.at, Some(remote.hash), stage, resend));
        self.dials.insert((remote.at, id));
        self.unix = unix;
        self.after(now, id);
        Ok(id)
    }

    /// A datagram arrived. It is opened in place. What belongs to nobody and does not begin a handshake is dropped.
    /// True when it is of a session that is up.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        packet: &mut [u8],
    ) -> bool {
        self.unix = unix;
        let from = canonical(from);
        if !(MIN_PACKET_LEN..=MAX_PACKET_LEN).contains(&packet.len()) {
            self.stats.strays += 1;
            return false;
        }
        let Ok(id) = protect::destination(packet, self.local.intro()) else { return false };
        if self.conns.contains_key(&id) {
            return self.handle_known(now, unix, id, from, packet);
        }
        let is_for = |dial: &ConnectionId| {
            let key = self.conns.get(dial).and_then(Conn::first_key);
            key.is_some_and(|key| protect::destination(packet, key) == Ok(*dial))
        };
        let dial = self.dials_at(from).find(is_for);
        if let Some(dial) = dial {
            return self.handle_known(now, unix, dial, from, packet);
        }
        self.handle_stranger(now, unix, id, from, packet);
        false
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        // What is due may stay so until it is polled for packets.
        let later = self.timers.split_off(&(now + Duration::from_micros(1), ConnectionId(0)));
        for (_, id) in core::mem::replace(&mut self.timers, later) {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            conn.timer = None;
            match &mut conn.stage {
                Stage::Up(session) => session.handle_timeout(now),
                Stage::Asking(_) | Stage::Requesting(_) | Stage::Greeting(_) => {
                    if now >= conn.resend.until() {
                        self.fail(id, EndpointEvent::TimedOut);
                    }
                }
                Stage::Over => {}
            }
            self.after(now, id);
        }
    }

    /// Queues a message for a session, which may still be in its handshake.
    pub fn queue(
        &mut self,
        now: Instant,
        id: ConnectionId,
        message: Message,
        priority: Priority,
    ) -> Result<(), Full> {
        let conn = self.conns.get_mut(&id).ok_or(Full::Closed)?;
        match &mut conn.stage {
            Stage::Up(session) => session.queue(now, message, priority)?,
            Stage::Asking(_) | Stage::Requesting(_) | Stage::Greeting(_) => {
                return conn.queue.push(now, message, priority);
            }
            Stage::Over => return Err(Full::Closed),
        }
        self.after(now, id);
        Ok(())
    }

    /// Sends our RouterInfo over a session that is up.
    pub fn send_router_info(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: ConnectionId,
        info: &RouterInfo,
        flood: bool,
    ) {
        if let Some(Stage::Up(session)) = self.conns.get_mut(&id).map(|c| &mut c.stage) {
            session.send_router_info(now, unix, info, flood);
            self.after(now, id);
        }
    }

    /// Ends a session; the peer is told `reason` if it is up.
    pub fn close(&mut self, now: Instant, id: ConnectionId, reason: Reason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        match &mut conn.stage {
            Stage::Up(session) => session.close(now, reason),
            Stage::Asking(_) | Stage::Requesting(_) | Stage::Greeting(_) | Stage::Over => {
                conn.stage = Stage::Over;
            }
        }
        self.after(now, id);
    }

    /// The next event, and whose it is.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<(ConnectionId, EndpointEvent)> {
        self.events.pop_front()
    }

    /// Appends the next datagram to `out` and says where it goes.
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        while let Some(sender) = self.next_sender() {
            if let Some(to) = self.transmit(now, unix, sender, out) {
                return Some(to);
            }
        }
        None
    }

    /// Who sends next, if [`Self::transmit`] finds that it has something.
    #[must_use]
    pub fn next_sender(&self) -> Option<Sender> {
        if !self.answers.is_empty() {
            return Some(Sender::Answer);
        }
        self.ready.front().map(|id| Sender::Session(*id))
    }

    /// Appends the next datagram of `sender` to `out` and says where it goes. A session that has one lets the others
    /// go before it next time.
    #[must_use]
    pub fn transmit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        sender: Sender,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let id = match sender {
            Sender::Answer => {
                let (to, packet) = self.answers.pop_front()?;
                out.extend_from_slice(&packet);
                return Some(to);
            }
            Sender::Session(id) => id,
        };
        let conn = self.conns.get_mut(&id)?;
        let to = conn.poll_transmit(now, unix, out);
        if self.ready.front() == Some(&id) {
            self.ready.rotate_left(1);
        }
        if to.is_none() {
            self.unready(id);
            self.take_events(now, id);
        }
        to
    }

    /// A session is not asked for datagrams until [`Self::release`]. False when it is not asked anyway.
    pub fn hold(&mut self, now: Instant, id: ConnectionId) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        let first = conn.ready && !core::mem::replace(&mut conn.held, true);
        self.unready(id);
        self.take_events(now, id);
        first
    }

    /// See [`Self::hold`].
    pub fn release(&mut self, now: Instant, id: ConnectionId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.held = false;
            self.after(now, id);
        }
    }

    /// It is not among those that may have something to send.
    fn unready(&mut self, id: ConnectionId) {
        if let Some(conn) = self.conns.get_mut(&id)
            && core::mem::replace(&mut conn.ready, false)
        {
            // Whoever was asked just now is at one end or the other.
            if self.ready.front() == Some(&id) {
                self.ready.pop_front();
            } else if self.ready.back() == Some(&id) {
                self.ready.pop_back();
            } else {
                self.ready.retain(|other| *other != id);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// A session may have something to say, to its owner or to its peer.
    fn after(&mut self, now: Instant, id: ConnectionId) {
        self.take_events(now, id);
        if let Some(conn) = self.conns.get_mut(&id)
            && !conn.is_held()
            && !core::mem::replace(&mut conn.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Takes a session's events, forgets it when it is over, and sets its timer.
    fn take_events(&mut self, now: Instant, id: ConnectionId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let mut parting = false;
        let over = match &mut conn.stage {
            Stage::Up(session) => {
                while let Some(event) = session.poll_event() {
                    if let SessionEvent::NewToken { token, expires } = event {
                        self.received.insert(now, self.unix, session.remote(), expires, token);
                    } else {
                        parting |= matches!(event, SessionEvent::Closed(_));
                        if let SessionEvent::Closed(Err(error)) = event
                            && !matches!(error, SessionError::Terminated(_))
                        {
                            self.stats.broken += 1;
                        }
                        self.events.push_back((id, EndpointEvent::Session(event)));
                    }
                }
                let parts = session.reassembly_bytes();
                self.parts = self.parts + parts - core::mem::replace(&mut conn.parts, parts);
                session.is_closed()
            }
            Stage::Over => true,
            Stage::Asking(_) | Stage::Requesting(_) | Stage::Greeting(_) => false,
        };
        if over {
            return self.remove(id);
        }
        // What is held has its deadlines when it is released.
        let due = conn.deadline().filter(|_| !conn.is_held());
        if conn.timer != due {
            if let Some(old) = conn.timer {
                self.timers.remove(&(old, id));
            }
            if let Some(due) = due {
                self.timers.insert((due, id));
            }
            conn.timer = due;
        }
        if parting {
            self.limit_parting(id);
        }
        while self.parts > MAX_PARTS {
            let most = self.conns.values_mut().max_by_key(|conn| conn.parts);
            let Some(conn) = most else { break };
            if let Stage::Up(session) = &mut conn.stage {
                session.forget_parts();
            }
            self.parts -= core::mem::take(&mut conn.parts);
        }
    }

    /// Goodbyes are said for a while, but not by any number of sessions.
    fn limit_parting(&mut self, but: ConnectionId) {
        let parting = |c: &Conn| matches!(&c.stage, Stage::Up(session) if !session.is_open());
        if self.conns.values().filter(|c| parting(c)).count() <= MAX_PARTING {
            return;
        }
        let oldest = self
            .conns
            .iter()
            .filter(|(id, c)| **id != but && parting(c))
            .min_by_key(|(_, c)| c.timer)
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.remove(id);
        }
    }

    /// The handshake that we began with the peer at `remote` is over, if it is this one.
    fn forget_dial(&mut self, id: ConnectionId, remote: SocketAddr) {
        self.dials.remove(&(remote, id));
    }

    /// Handshakes that we began with whoever is at `remote`.
    fn dials_at(&self, remote: SocketAddr) -> impl Iterator<Item = ConnectionId> {
        let all = (remote, ConnectionId(0))..=(remote, ConnectionId(u64::MAX));
        self.dials.range(all).map(|(_, id)| *id)
    }

    fn remove(&mut self, id: ConnectionId) {
        let Some(conn) = self.conns.remove(&id) else { return };
        self.parts -= conn.parts;
        if let Some(at) = conn.timer {
            self.timers.remove(&(at, id));
        }
        if conn.ready {
            self.ready.retain(|other| *other != id);
        }
        self.forget_dial(id, conn.remote);
    }
}

/// Sockets of both families tell an IPv4 address in an IPv6 one.
fn canonical(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

#[cfg(test)]
mod tests;
