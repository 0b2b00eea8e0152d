//! Who we are connected to: one session a peer over either transport, dialling, limits, and what each
//! session says.

mod datagrams;
mod link;
mod room;
mod route;
mod session;
mod streams;
mod traffic;

pub(crate) use datagrams::Train;
pub(crate) use traffic::{Counts, Traffic};

use super::bandwidth::{Bucket, Turns};
use super::queue::{Full, Priority, SendQueue};
use super::{ntcp2, ssu2};
use crate::audit::Audit;
use crate::conn::{ConnId, Opener};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::hash::Hash;
use crate::wire::i2np::Message;
use crate::wire::router_info::{Reach, RouterInfo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use datagrams::Parcel;
use link::{Link, LinkId};
use route::Route;

/// A peer that we could not reach is not dialled again before this.
const REDIAL: Duration = Duration::from_secs(30);
/// Our renewed RouterInfo is sent to all peers over this time; one with new addresses or
/// capabilities sooner.
const INFORM_WITHIN: Duration = Duration::from_secs(600);
const INFORM_SOON: Duration = Duration::from_secs(30);

/// What the owner shall do with byte streams.
#[derive(Debug)]
pub(crate) enum PeerAction {
    /// Open a stream to `remote`.
    Connect { conn: ConnId, remote: SocketAddr },
    /// Close a stream, at once when `abort`.
    Close { conn: ConnId, abort: bool },
    /// Read a stream again that was paused.
    Resume(ConnId),
}

/// What sessions say.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A session is up. Inbound ones bring the peer's RouterInfo, verified.
    Up { peer: Hash, info: Option<RouterInfo>, dialled: bool },
    /// A session ended that was up.
    Down { peer: Hash },
    /// We could not reach a peer. `blame`: while we reached others, so that it is hardly our fault.
    Unreachable { peer: Hash, blame: bool },
    /// The peer's clock differs by this many seconds (theirs minus ours), too much for a session.
    Skewed { peer: Option<Hash>, seconds: i64 },
    /// An I2NP message.
    Message { from: Hash, message: Message },
    /// A RouterInfo, of the peer itself or of another router; not verified.
    RouterInfo { from: Hash, info: RouterInfo },
}

/// Why a peer is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDialled {
    /// It could not be reached a moment ago.
    FailedLately,
    /// It has no address that we may connect to.
    NoAddress,
    /// There are as many sessions as there may be.
    NoRoom,
}

/// How sessions are set up.
pub(crate) struct PeersConfig {
    pub(crate) local: Arc<ntcp2::Local>,
    /// SSU2, if there is a socket for it.
    pub(crate) ssu2: Option<Ssu2Config>,
    /// Whom we can connect to. A transport that does not connect does not listen either.
    pub(crate) reach: Reach,
    /// Sessions in all, dials included; beyond it none is dialled. Inbound ones have three quarters
    /// of it at most; strangers come on top, a quarter.
    pub(crate) sessions: usize,
    pub(crate) bandwidth_in: u64,
    pub(crate) bandwidth_out: u64,
}

/// How SSU2 is spoken.
pub(crate) struct Ssu2Config {
    pub(crate) local: Arc<ssu2::Local>,
    /// The largest packets that we take, in bytes with IP and UDP headers.
    pub(crate) mtu: u16,
}

/// Why we end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Normal,
    Idle,
    Shutdown,
    Banned,
}

impl Ending {
    const fn ntcp2(self) -> crate::wire::ntcp2::Reason {
        use crate::wire::ntcp2::Reason;
        match self {
            Self::Normal => Reason::Normal,
            Self::Idle => Reason::Idle,
            Self::Shutdown => Reason::Shutdown,
            Self::Banned => Reason::Banned,
        }
    }

    const fn ssu2(self) -> crate::wire::ssu2::Reason {
        use crate::wire::ssu2::Reason;
        match self {
            Self::Normal => Reason::Normal,
            Self::Idle => Reason::Idle,
            Self::Shutdown => Reason::Shutdown,
            Self::Banned => Reason::Banned,
        }
    }
}

/// All sessions. After each call drain `poll_action`, `poll_event`, `poll_writable` with `poll_conn`,
/// `poll_transmit`, then re-arm `poll_timeout`.
pub(crate) struct Peers {
    config: PeersConfig,
    own: Option<RouterInfo>,
    ntcp2: ntcp2::Endpoint,
    ssu2: Option<ssu2::Endpoint>,
    links: BTreeMap<LinkId, Link>,
    by_peer: BTreeMap<Hash, LinkId>,
    failed: BTreeMap<Hash, Instant>,
    timers: BTreeSet<(Instant, LinkId)>,
    actions: VecDeque<PeerAction>,
    events: VecDeque<PeerEvent>,
    inbound: Bucket,
    outbound: Turns<LinkId>,
    /// Streams whose reading waits for the bandwidth limit.
    starved_reads: BTreeSet<ConnId>,
    /// A datagram that did not fit the train before it.
    parcel: Option<Parcel>,
    /// When an established session brought something.
    heard: Option<Instant>,
    /// When a dial succeeded.
    reached: Option<Instant>,
    opener: Opener,
    /// Goodbye was said.
    closing: bool,
    bytes: Traffic,
    rng: Rng,
}

impl Peers {
    pub(crate) fn new(config: PeersConfig, opener: Opener, now: Instant, mut rng: Rng) -> Self {
        let ssu2 = config.ssu2.as_ref().map(|ssu2| {
            let rng = rng.fork("ssu2");
            let public = !config.reach.allow_local;
            ssu2::Endpoint::new(now, ssu2.local.clone(), ssu2.mtu, public, rng)
        });
        Self {
            inbound: Bucket::new(config.bandwidth_in, now),
            outbound: Turns::new(config.bandwidth_out, now),
            ntcp2: ntcp2::Endpoint::new(config.local.clone(), rng.fork("ntcp2")),
            ssu2,
            config,
            own: None,
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            failed: BTreeMap::new(),
            timers: BTreeSet::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            starved_reads: BTreeSet::new(),
            parcel: None,
            heard: None,
            reached: None,
            opener,
            closing: false,
            bytes: Traffic::default(),
            rng,
        }
    }

    /// True when a session with `peer` is up.
    pub(crate) fn is_connected(&self, peer: &Hash) -> bool {
        self.by_peer.get(peer).and_then(|id| self.links.get(id)).is_some_and(Link::is_up)
    }

    /// True when a session with `peer` that we opened brought a message within this time. Whoever
    /// comes to us chose that, and could come in numbers.
    pub(crate) fn heard_within(&self, now: Instant, peer: &Hash, time: Duration) -> bool {
        let link = self.by_peer.get(peer).and_then(|id| self.links.get(id));
        link.is_some_and(|l| l.is_up() && !l.inbound && now.saturating_since(l.heard) <= time)
    }

    /// Sessions by who opened them.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (id, link) in &self.links {
            match (link.is_up(), link.inbound) {
                (true, true) => counts.inbound += 1,
                (true, false) => counts.outbound += 1,
                (false, _) => counts.pending += 1,
            }
            counts.ssu2 += usize::from(link.is_up() && matches!(id, LinkId::Datagram(_)));
        }
        counts
    }

    /// What SSU2 did so far.
    pub(crate) fn ssu2_stats(&self) -> Option<ssu2::EndpointStats> {
        self.ssu2.as_ref().map(ssu2::Endpoint::stats)
    }

    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let links = self.links.len();
        audit.see("peers: sessions", self.sessions(), self.config.sessions);
        audit.see("peers: sessions and strangers", links, self.config.sessions + self.strangers());
        audit.see("peers: by name", self.by_peer.len(), links);
        audit.see("peers: timers", self.timers.len(), links);
        audit.see("peers: paused", self.starved_reads.len(), links);
        audit.see("peers: failed", self.failed.len(), session::MAX_FAILED);
        audit.drained("peers: actions", self.actions.len());
        audit.drained("peers: events", self.events.len());
        self.outbound.audit(audit, links);
        for link in self.links.values() {
            link.waiting.audit(audit);
        }
        self.ntcp2.audit(audit);
        if let Some(ssu2) = &self.ssu2 {
            ssu2.audit(audit.0);
        }
    }

    pub(crate) const fn traffic(&self) -> Traffic {
        self.bytes
    }

    /// Our RouterInfo, for handshakes from now on. Peers of sessions get it too, at times spread by
    /// chance: who works with us would else take us for one who is gone.
    pub(crate) fn set_own(&mut self, now: Instant, info: RouterInfo) {
        let same = |old: &RouterInfo| {
            old.addresses() == info.addresses() && old.options() == info.options()
        };
        let within = if self.own.as_ref().is_some_and(same) { INFORM_WITHIN } else { INFORM_SOON };
        if let Some(ssu2) = &mut self.ssu2 {
            ssu2.set_own(info.clone());
        }
        self.own = Some(info);
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            let delay = Duration::from_micros(self.rng.below(within.as_micros() as u64));
            if let Some(link) = self.links.get_mut(&id) {
                link.inform_at = Some(now + delay);
                self.update(id);
            }
        }
    }

    /// Deadlines passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        self.ntcp2.handle_timeout(now);
        if let Some(ssu2) = &mut self.ssu2 {
            ssu2.handle_timeout(now);
        }
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.timer = None;
            let inform = link.inform_at.take_if(|at| *at <= now).is_some();
            let retire = link.retire_at.take_if(|at| *at <= now).is_some();
            if inform {
                self.inform(now, unix, id);
            }
            if retire {
                self.close(now, id, Ending::Normal);
            }
            self.update(id);
        }
        if self.inbound.available(now) > 0 {
            for conn in core::mem::take(&mut self.starved_reads) {
                self.actions.push_back(PeerAction::Resume(conn));
            }
        }
        // Whoever waited for bandwidth longest may send, as far as it goes.
        while let Some(id) = self.outbound.poll_turn(now) {
            match id {
                LinkId::Stream(conn) => self.ntcp2.release(now, conn),
                LinkId::Datagram(id) => {
                    if let Some(ssu2) = &mut self.ssu2 {
                        ssu2.release(now, id);
                    }
                }
            }
        }
        self.drain(now, unix);
    }

    /// Sends our RouterInfo over a session.
    fn inform(&mut self, now: Instant, unix: UnixTime, id: LinkId) {
        let Some(own) = &self.own else { return };
        match id {
            LinkId::Stream(conn) => self.ntcp2.send_router_info(now, conn, own, false),
            LinkId::Datagram(id) => {
                if let Some(ssu2) = &mut self.ssu2 {
                    ssu2.send_router_info(now, unix, id, own, false);
                }
            }
        }
    }

    /// Dials the peer of `info`, unless a session is there or the last dial failed just now.
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        unix: UnixTime,
        info: &RouterInfo,
    ) -> Result<(), NotDialled> {
        let peer = info.hash();
        if self.by_peer.contains_key(&peer) {
            return Ok(());
        }
        if self.failed.get(&peer).is_some_and(|at| now.saturating_since(*at) < REDIAL) {
            return Err(NotDialled::FailedLately);
        }
        if self.own.is_none() || peer == *self.config.local.hash() {
            return Err(NotDialled::NoAddress);
        }
        let mut routes = route::routes(info, self.config.reach);
        if routes.is_empty() {
            return Err(NotDialled::NoAddress);
        }
        if self.closing || self.sessions() >= self.config.sessions {
            return Err(NotDialled::NoRoom);
        }
        let dialled = self.dial_next(now, unix, peer, &mut routes, SendQueue::default());
        if dialled { Ok(()) } else { Err(NotDialled::NoAddress) }
    }

    /// Goes the first of `routes` that can be begun, with the rest to be tried when that fails.
    fn dial_next(
        &mut self,
        now: Instant,
        unix: UnixTime,
        peer: Hash,
        routes: &mut VecDeque<Route>,
        waiting: SendQueue,
    ) -> bool {
        while let Some(route) = routes.pop_front() {
            let Some((id, remote)) = self.begin(now, unix, route) else { continue };
            let link = Link {
                routes: core::mem::take(routes),
                waiting,
                ..Link::new(Some(peer), remote, now)
            };
            self.links.insert(id, link);
            self.by_peer.insert(peer, id);
            return true;
        }
        false
    }

    /// Begins a handshake.
    fn begin(
        &mut self,
        now: Instant,
        unix: UnixTime,
        route: Route,
    ) -> Option<(LinkId, SocketAddr)> {
        match route {
            Route::Ntcp2(to, remote) => {
                let conn = self.opener.open();
                self.ntcp2.connect(now, conn, self.own.clone()?, to);
                self.actions.push_back(PeerAction::Connect { conn, remote });
                Some((LinkId::Stream(conn), remote))
            }
            Route::Ssu2(to) => match self.ssu2.as_mut()?.connect(now, unix, to) {
                Ok(id) => Some((LinkId::Datagram(id), to.at)),
                Err(error) => {
                    log::debug!("not dialled at {}: {error}", to.at);
                    None
                }
            },
        }
    }

    /// Queues a message for a peer with whom a session is up or being set up; gives it back when
    /// there is none.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        to: &Hash,
        message: Message,
        priority: Priority,
    ) -> Result<(), Message> {
        let Some(id) = self.by_peer.get(to).copied() else { return Err(message) };
        let Some(link) = self.links.get_mut(&id) else { return Err(message) };
        link.used = now;
        if link.is_up() {
            self.queue(now, id, message, priority);
        } else if let Err(full) = link.waiting.push(now, message, priority) {
            log::trace!("not queued to {to:?}: {full}");
        }
        Ok(())
    }

    /// A session brought a message.
    fn received(&mut self, now: Instant, id: LinkId, message: Message) {
        if let Some(link) = self.links.get_mut(&id)
            && let Some(from) = link.peer
        {
            link.used = now;
            link.heard = now;
            self.events.push_back(PeerEvent::Message { from, message });
        }
    }

    /// A session brought a RouterInfo.
    fn informed(&mut self, id: LinkId, info: RouterInfo) {
        if let Some(from) = self.links.get(&id).and_then(|link| link.peer) {
            self.events.push_back(PeerEvent::RouterInfo { from, info });
        }
    }

    /// Queues a message for a session that is up.
    fn queue(&mut self, now: Instant, id: LinkId, message: Message, priority: Priority) {
        let (kind, bytes) = (message.kind, message.body.len());
        let queued = match (id, &mut self.ssu2) {
            (LinkId::Stream(conn), _) => self.ntcp2.queue(now, conn, message, priority),
            (LinkId::Datagram(id), Some(ssu2)) => ssu2.queue(now, id, message, priority),
            (LinkId::Datagram(_), None) => Err(Full::Closed),
        };
        match queued {
            Ok(()) => self.bytes.messages.add(kind, bytes),
            Err(full) => log::trace!("not queued to {id:?}: {full}"),
        }
    }

    /// Ends a session; [`Self::drain`] hears of it.
    fn close(&mut self, now: Instant, id: LinkId, ending: Ending) {
        match id {
            LinkId::Stream(conn) => self.ntcp2.close(conn, ending.ntcp2()),
            LinkId::Datagram(conn) => {
                if let Some(ssu2) = &mut self.ssu2 {
                    ssu2.close(now, conn, ending.ssu2());
                }
            }
        }
    }

    /// Says goodbye to everybody, and talks to nobody from then on.
    pub(crate) fn close_all(&mut self, now: Instant, unix: UnixTime) {
        self.closing = true;
        let ids: Vec<(LinkId, bool)> = self.links.iter().map(|(id, l)| (*id, l.is_up())).collect();
        for (id, up) in ids {
            self.close(now, id, Ending::Shutdown);
            if !up && matches!(id, LinkId::Datagram(_)) {
                // A dial that is given up has no last word.
                self.closed(now, unix, id);
            }
        }
        self.drain(now, unix);
    }

    /// Nothing waits to be carried to others.
    pub(crate) fn is_silent(&self) -> bool {
        self.actions.is_empty() && self.events.is_empty()
    }

    pub(crate) fn poll_action(&mut self) -> Option<PeerAction> {
        self.actions.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let mut due = self.timers.first().map(|(at, _)| *at);
        if !self.starved_reads.is_empty() {
            due = earliest(due, Some(self.inbound.ready_at(1)));
        }
        due = earliest(due, self.ntcp2.poll_timeout());
        due = earliest(due, self.ssu2.as_ref().and_then(ssu2::Endpoint::poll_timeout));
        earliest(due, self.outbound.poll_timeout())
    }

    /// Takes what the transports say.
    fn drain(&mut self, now: Instant, unix: UnixTime) {
        // What one says may end a session of the other.
        while self.drain_streams(now, unix) || self.drain_datagrams(now, unix) {}
    }

    /// The session is over: forgets it.
    fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(&id)?;
        if let Some(at) = link.timer {
            self.timers.remove(&(at, id));
        }
        if let LinkId::Stream(conn) = id {
            self.starved_reads.remove(&conn);
        }
        self.outbound.forget(id);
        Some(link)
    }

    /// Re-arms the timer of a session.
    fn update(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let due = earliest(link.retire_at, link.inform_at.filter(|_| link.up_at.is_some()));
        if link.timer != due {
            if let Some(old) = link.timer {
                self.timers.remove(&(old, id));
            }
            if let Some(due) = due {
                self.timers.insert((due, id));
            }
            link.timer = due;
        }
    }
}

#[cfg(test)]
mod tests;
