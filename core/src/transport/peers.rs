//! Who we are connected to: one session a peer, dialling, limits, and what each session says.

use super::bandwidth::{Bucket, Turns};
use super::ntcp2::{self, ReplayCache, Session, SessionError, SessionEvent};
use super::queue::Priority;
use super::{Peer, prefix};
use crate::audit::Audit;
use crate::conn::{ConnId, Opener};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType};
use crate::wire::ntcp2::Reason;
use crate::wire::router_info::{RouterInfo, is_public};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Inbound streams that have not proved who they are: at most so many, and at most this part of the
/// sessions allowed. They come on top of the sessions, so that strangers cannot keep us from dialling.
const MAX_UNPROVEN: usize = 1024;
const UNPROVEN_PART: usize = 4;
/// The same from one IPv4 address or IPv6 /64.
const MAX_UNPROVEN_PER_PREFIX: usize = 4;
/// A peer that we could not reach is not dialled again before this.
const REDIAL: Duration = Duration::from_secs(30);
/// Two sessions with one peer that come up within this have crossed: each of us dialled the other.
const CROSSING: Duration = Duration::from_secs(10);
/// A session that another one took over from is read this much longer, for what is on its way.
const RETIREMENT: Duration = Duration::from_secs(5);
/// Failures say something of others only while we hear somebody: this long ago at most.
const HEARD_LATELY: Duration = Duration::from_secs(10);
/// When dials of so many peers failed within this time and none did not, that says more of us than
/// of the peers.
const MANY_FAILED: usize = 8;
const FAILED_LATELY: Duration = Duration::from_secs(120);
/// Peers that came to us have so much of the sessions at most: the rest is left for dialling.
const INBOUND_PART: (usize, usize) = (3, 4);
/// When they have it, one that carried no message for so long gives way to a new one.
const IDLE: Duration = Duration::from_secs(30);
/// Sessions from one place, for peers that came to us. A place is an address that they publish, or
/// an IPv4 /24 or IPv6 /48 for those that publish none and could come in any number.
const MAX_PER_PLACE: usize = 8;
/// Our renewed RouterInfo is sent to all peers over this time; one with new addresses or
/// capabilities sooner.
const INFORM_WITHIN: Duration = Duration::from_secs(600);
const INFORM_SOON: Duration = Duration::from_secs(30);
/// Peers whose last dial failed that we remember; the oldest is forgotten.
const MAX_FAILED: usize = 1024;

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
    pub(crate) allow_local: bool,
    /// Sessions in all, dials included; beyond it none is dialled. Inbound ones have three quarters
    /// of it at most; strangers come on top, a quarter.
    pub(crate) sessions: usize,
    pub(crate) bandwidth_in: u64,
    pub(crate) bandwidth_out: u64,
}

/// All sessions. After each call drain `poll_action`, `poll_event`, `poll_writable` with
/// `poll_conn`, then re-arm `poll_timeout`.
pub(crate) struct Peers {
    config: PeersConfig,
    own: Option<RouterInfo>,
    links: BTreeMap<ConnId, Link>,
    by_peer: BTreeMap<Hash, ConnId>,
    failed: BTreeMap<Hash, Instant>,
    timers: BTreeSet<(Instant, ConnId)>,
    writable: VecDeque<ConnId>,
    actions: VecDeque<PeerAction>,
    events: VecDeque<PeerEvent>,
    replay: ReplayCache,
    inbound: Bucket,
    outbound: Turns<ConnId>,
    /// Streams whose reading waits for the bandwidth limit.
    starved_reads: BTreeSet<ConnId>,
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

/// Sessions at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Opened by peers.
    pub(crate) inbound: usize,
    /// Opened by us.
    pub(crate) outbound: usize,
    /// Being set up.
    pub(crate) pending: usize,
}

/// Bytes on the wire since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Received from peers.
    pub(crate) received: u64,
    /// Sent to peers.
    pub(crate) sent: u64,
    /// Bytes of the bodies of I2NP messages that were handed to sessions.
    pub(crate) messages: Kinds,
}

/// Bytes by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// Cells of tunnels, and what goes into their gateways.
    pub(crate) tunnels: u64,
    /// Tunnel builds and their answers.
    pub(crate) builds: u64,
    /// Stores, lookups and their answers.
    pub(crate) netdb: u64,
    /// Garlic and delivery status outside of tunnels, and all else.
    pub(crate) other: u64,
}

impl Kinds {
    const fn add(&mut self, kind: MessageType, bytes: usize) {
        let sum = match kind {
            MessageType::TUNNEL_DATA | MessageType::TUNNEL_GATEWAY => &mut self.tunnels,
            MessageType::DATABASE_STORE
            | MessageType::DATABASE_LOOKUP
            | MessageType::DATABASE_SEARCH_REPLY => &mut self.netdb,
            MessageType::TUNNEL_BUILD
            | MessageType::TUNNEL_BUILD_REPLY
            | MessageType::VARIABLE_TUNNEL_BUILD
            | MessageType::VARIABLE_TUNNEL_BUILD_REPLY
            | MessageType::SHORT_TUNNEL_BUILD
            | MessageType::OUTBOUND_TUNNEL_BUILD_REPLY => &mut self.builds,
            _ => &mut self.other,
        };
        *sum += bytes as u64;
    }
}

struct Link {
    session: Session,
    peer: Option<Hash>,
    remote: SocketAddr,
    inbound: bool,
    stage: Stage,
    up_at: Option<Instant>,
    /// When it carried a message.
    used: Instant,
    /// When it brought a message.
    heard: Instant,
    /// Where it came from, if it is up and inbound.
    place: Option<Place>,
    /// When it ends because another session took over.
    retire_at: Option<Instant>,
    /// When the peer gets our RouterInfo anew.
    inform_at: Option<Instant>,
    timer: Option<Instant>,
    queued: bool,
    /// In the queue of those who wait for the bandwidth limit.
    starved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// TCP is being set up.
    Dialling,
    /// NTCP2 is being set up.
    Greeting,
    /// In use.
    Up,
    /// Over, but the last bytes are not taken yet.
    Closing,
}

impl Peers {
    pub(crate) fn new(config: PeersConfig, opener: Opener, now: Instant, rng: Rng) -> Self {
        Self {
            inbound: Bucket::new(config.bandwidth_in, now),
            outbound: Turns::new(config.bandwidth_out, now),
            config,
            own: None,
            links: BTreeMap::new(),
            by_peer: BTreeMap::new(),
            failed: BTreeMap::new(),
            timers: BTreeSet::new(),
            writable: VecDeque::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            replay: ReplayCache::new(),
            starved_reads: BTreeSet::new(),
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
        self.by_peer.get(peer).and_then(|c| self.links.get(c)).is_some_and(|l| l.stage == Stage::Up)
    }

    /// True when a session with `peer` that we opened brought a message within this time. Whoever
    /// comes to us chose that, and could come in numbers.
    pub(crate) fn heard_within(&self, now: Instant, peer: &Hash, time: Duration) -> bool {
        let link = self.by_peer.get(peer).and_then(|conn| self.links.get(conn));
        link.is_some_and(|l| {
            l.stage == Stage::Up && !l.inbound && now.saturating_since(l.heard) <= time
        })
    }

    /// True when `conn` is one of ours.
    pub(crate) fn owns(&self, conn: ConnId) -> bool {
        self.links.contains_key(&conn)
    }

    /// Sessions by who opened them.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for link in self.links.values() {
            match (link.stage, link.inbound) {
                (Stage::Up, true) => counts.inbound += 1,
                (Stage::Up, false) => counts.outbound += 1,
                (Stage::Dialling | Stage::Greeting, _) => counts.pending += 1,
                (Stage::Closing, _) => {}
            }
        }
        counts
    }

    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let links = self.links.len();
        audit.see("peers: sessions", self.sessions(), self.config.sessions);
        audit.see("peers: sessions and strangers", links, self.config.sessions + self.strangers());
        audit.see("peers: by name", self.by_peer.len(), links);
        audit.see("peers: timers", self.timers.len(), links);
        audit.see("peers: writable", self.writable.len(), links);
        audit.see("peers: paused", self.starved_reads.len(), links);
        audit.see("peers: failed", self.failed.len(), MAX_FAILED);
        audit.see("peers: handshakes seen", self.replay.len(), ntcp2::REPLAY_CAPACITY);
        audit.drained("peers: actions", self.actions.len());
        audit.drained("peers: events", self.events.len());
        self.outbound.audit(audit, links);
        for link in self.links.values() {
            link.session.audit(audit);
        }
    }

    /// Those who come to us and have not proved who they are: so many at most.
    fn strangers(&self) -> usize {
        MAX_UNPROVEN.min((self.config.sessions / UNPROVEN_PART).max(1))
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
        self.own = Some(info);
        let conns: Vec<ConnId> = self.links.keys().copied().collect();
        for conn in conns {
            let delay = Duration::from_micros(self.rng.below(within.as_micros() as u64));
            if let Some(link) = self.links.get_mut(&conn) {
                link.inform_at = Some(now + delay);
                self.update(conn);
            }
        }
    }

    /// Sessions and dials: all but strangers.
    fn sessions(&self) -> usize {
        self.links.values().filter(|l| !l.is_stranger()).count()
    }

    /// A new inbound session may be had, if need be in place of an idle one, or of an old one of the
    /// peer, if it is one that came back.
    fn has_inbound_room(&self, now: Instant, from: IpAddr) -> bool {
        let from = from.to_canonical();
        let known = |l: &Link| l.place.is_some() && l.remote.ip().to_canonical() == from;
        self.has_free_inbound()
            || self.idle_inbound(now).is_some()
            || self.links.values().any(known)
    }

    fn has_free_inbound(&self) -> bool {
        let (part, of) = INBOUND_PART;
        let most = (self.config.sessions.saturating_mul(part) / of).max(1);
        let inbound = self.links.values().filter(|l| l.place.is_some()).count();
        inbound < most && self.sessions() < self.config.sessions
    }

    /// The inbound session that carried nothing for the longest time, if that is long.
    fn idle_inbound(&self, now: Instant) -> Option<ConnId> {
        self.links
            .iter()
            .filter(|(_, l)| l.place.is_some() && now.saturating_since(l.used) > IDLE)
            .min_by_key(|(_, l)| l.used)
            .map(|(conn, _)| *conn)
    }

    /// Makes room for the inbound session `new` of `peer`; says whether there is some. A peer that
    /// comes back is not kept out by its old session: that does not count, or, where nothing is
    /// free, ends at once, so that who comes back fast has not several.
    fn make_inbound_room(&mut self, now: Instant, place: Place, peer: Hash, new: ConnId) -> bool {
        let inbound = |c: &ConnId| self.links.get(c).is_some_and(|l| l.place.is_some());
        let old = self.by_peer.get(&peer).copied().filter(inbound);
        let here = self.links.iter().filter(|(_, l)| l.place == Some(place));
        let (mut others, mut all) = (0, 0);
        for (conn, _) in here {
            all += 1;
            others += usize::from(Some(*conn) != old);
        }
        let limited = !self.config.allow_local;
        if limited && others >= MAX_PER_PLACE {
            return false;
        }
        if self.has_free_inbound() && !(limited && all >= MAX_PER_PLACE) {
            return true;
        }
        // The old one no longer speaks for the peer, so that its end is not the peer's.
        let (victim, reason) = if let Some(old) = old {
            self.by_peer.insert(peer, new);
            (old, Reason::Normal)
        } else if let Some(idle) = self.idle_inbound(now) {
            (idle, Reason::Idle)
        } else {
            return false;
        };
        if let Some(link) = self.links.get_mut(&victim) {
            link.session.close(reason);
        }
        self.after(now, victim);
        true
    }

    /// A stream was accepted.
    pub(crate) fn handle_accepted(&mut self, now: Instant, conn: ConnId, remote: SocketAddr) {
        let unproven = self.links.values().filter(|l| l.is_stranger());
        let prefix = prefix(remote.ip());
        let (mut all, mut near) = (0, 0);
        for link in unproven {
            all += 1;
            near += usize::from(self::prefix(link.remote.ip()) == prefix);
        }
        let crowded = !self.config.allow_local && near >= MAX_UNPROVEN_PER_PREFIX;
        let most = self.strangers();
        if all >= most || crowded || self.closing || !self.has_inbound_room(now, remote.ip()) {
            self.actions.push_back(PeerAction::Close { conn, abort: true });
            return;
        }
        let session = Session::accept(now, self.config.local.clone(), self.rng.fork("inbound"));
        let link = Link::new(session, None, remote, Stage::Greeting, now);
        self.links.insert(conn, link);
        self.update(conn);
    }

    /// The stream that we asked for is open.
    pub(crate) fn handle_connected(&mut self, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn)
            && link.stage == Stage::Dialling
        {
            link.stage = Stage::Greeting;
            self.update(conn);
        }
    }

    /// Bytes arrived; says whether to stop reading.
    pub(crate) fn handle_bytes(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        bytes: &mut [u8],
    ) -> bool {
        self.bytes.received += bytes.len() as u64;
        let _ = self.inbound.available(now);
        self.inbound.take(bytes.len());
        let Some(link) = self.links.get_mut(&conn) else { return false };
        if link.stage == Stage::Up {
            self.heard = Some(now);
        }
        // An error is also the session's last event.
        let _reported = link.session.handle_bytes(now, unix, &mut self.replay, bytes);
        self.after(now, conn);
        let starved = self.links.contains_key(&conn) && self.inbound.available(now) == 0;
        if starved {
            self.starved_reads.insert(conn);
        }
        starved
    }

    /// The peer finished writing, or (`dead`) the stream is gone.
    pub(crate) fn handle_gone(&mut self, now: Instant, conn: ConnId, dead: bool) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.session.handle_disconnect();
        self.after(now, conn);
        if dead {
            self.remove(conn);
        }
    }

    /// Deadlines passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, conn)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            let Some(link) = self.links.get_mut(&conn) else { continue };
            link.timer = None;
            if link.starved {
                link.session.excuse(now);
            }
            link.session.handle_timeout(now);
            if link.inform_at.is_some_and(|at| at <= now) {
                link.inform_at = None;
                if let Some(own) = &self.own {
                    link.session.send_router_info(now, own, false);
                }
            }
            if link.retire_at.is_some_and(|at| at <= now) {
                link.retire_at = None;
                link.session.close(Reason::Normal);
            }
            self.after(now, conn);
        }
        if self.inbound.available(now) > 0 {
            for conn in core::mem::take(&mut self.starved_reads) {
                self.actions.push_back(PeerAction::Resume(conn));
            }
        }
        while let Some(conn) = self.outbound.poll_turn(now) {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            link.starved = false;
            link.session.excuse(now);
            self.update(conn);
        }
    }

    /// Dials the peer of `info`, unless a session is there or the last dial failed just now.
    pub(crate) fn dial(&mut self, now: Instant, info: &RouterInfo) -> Result<(), NotDialled> {
        let peer = info.hash();
        if self.by_peer.contains_key(&peer) {
            return Ok(());
        }
        if self.failed.get(&peer).is_some_and(|at| now.saturating_since(*at) < REDIAL) {
            return Err(NotDialled::FailedLately);
        }
        let Some(own) = self.own.clone() else { return Err(NotDialled::NoAddress) };
        let Some(address) = info.ntcp2() else { return Err(NotDialled::NoAddress) };
        let (Some(remote), Some(iv)) = (address.host, address.iv) else {
            return Err(NotDialled::NoAddress);
        };
        let routable = self.config.allow_local || is_public(remote.ip());
        if !routable || peer == *self.config.local.hash() {
            return Err(NotDialled::NoAddress);
        }
        if self.closing || self.sessions() >= self.config.sessions {
            return Err(NotDialled::NoRoom);
        }
        let to = ntcp2::Remote { hash: peer, static_key: address.static_key, iv };
        let rng = self.rng.fork("outbound");
        let session = Session::connect(now, self.config.local.clone(), own, to, rng);
        let conn = self.opener.open();
        self.by_peer.insert(peer, conn);
        self.links.insert(conn, Link::new(session, Some(peer), remote, Stage::Dialling, now));
        self.actions.push_back(PeerAction::Connect { conn, remote });
        self.update(conn);
        Ok(())
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
        let Some(conn) = self.by_peer.get(to).copied() else { return Err(message) };
        let Some(link) = self.links.get_mut(&conn) else { return Err(message) };
        link.used = now;
        let (kind, bytes) = (message.kind, message.body.len());
        match link.session.queue(now, message, priority) {
            Ok(()) => self.bytes.messages.add(kind, bytes),
            Err(full) => log::trace!("not queued to {to:?}: {full}"),
        }
        self.update(conn);
        Ok(())
    }

    /// Says goodbye to everybody, and talks to nobody from then on.
    pub(crate) fn close_all(&mut self, now: Instant) {
        self.closing = true;
        let conns: Vec<ConnId> = self.links.keys().copied().collect();
        for conn in conns {
            if let Some(link) = self.links.get_mut(&conn) {
                link.session.close(Reason::Shutdown);
                self.after(now, conn);
            }
        }
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

    pub(crate) fn poll_writable(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.writable.pop_front() {
            if let Some(link) = self.links.get_mut(&conn) {
                link.queued = false;
                if link.session.wants_write() {
                    return Some(conn);
                }
            }
        }
        None
    }

    pub(crate) fn poll_conn(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnId,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let Some(link) = self.links.get_mut(&conn) else { return 0 };
        let mut room = room;
        // Handshakes and goodbyes are not held back by what traffic used up.
        if link.stage == Stage::Up {
            let allowed = self.outbound.room(now, conn);
            if allowed == 0 {
                if link.session.wants_write() && !core::mem::replace(&mut link.starved, true) {
                    self.outbound.wait(conn);
                }
                return 0;
            }
            room = room.min(allowed);
        }
        let n = link.session.poll_write(now, unix, room, out);
        self.outbound.wrote(conn, n);
        self.bytes.sent += n as u64;
        if link.stage == Stage::Closing && n == 0 {
            self.remove(conn);
        } else {
            self.after(now, conn);
        }
        n
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let mut due = self.timers.first().map(|(at, _)| *at);
        if !self.starved_reads.is_empty() {
            due = earliest(due, Some(self.inbound.ready_at(1)));
        }
        earliest(due, self.outbound.poll_timeout())
    }

    /// Takes a session's events, then re-arms what its owner polls.
    fn after(&mut self, now: Instant, conn: ConnId) {
        while let Some(event) = self.links.get_mut(&conn).and_then(|l| l.session.poll_event()) {
            match event {
                SessionEvent::Established { peer, skew } => self.established(now, conn, peer, skew),
                SessionEvent::Message(message) => {
                    if let Some(link) = self.links.get_mut(&conn)
                        && let Some(from) = link.peer
                    {
                        link.used = now;
                        link.heard = now;
                        self.events.push_back(PeerEvent::Message { from, message });
                    }
                }
                SessionEvent::RouterInfo { info, .. } => {
                    if let Some(from) = self.links.get(&conn).and_then(|l| l.peer) {
                        self.events.push_back(PeerEvent::RouterInfo { from, info });
                    }
                }
                SessionEvent::Skew(_) => {}
                SessionEvent::Closed(result) => self.closed(now, conn, result),
            }
        }
        self.update(conn);
    }

    fn established(&mut self, now: Instant, conn: ConnId, peer: Peer, skew: i64) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let hash = peer.hash();
        if let Peer::Inbound { info, .. } = &peer
            && !self.config.allow_local
            && !ntcp2::source_matches(info, link.remote.ip())
        {
            link.session.close(Reason::Banned);
            return;
        }
        let place = match &peer {
            Peer::Inbound { info, .. } => Some(Place::of(link.remote.ip(), info)),
            Peer::Outbound(_) => None,
        };
        if let Some(place) = place
            && !self.make_inbound_room(now, place, hash, conn)
        {
            log::debug!("no room for a session with {hash:?}");
            if let Some(link) = self.links.get_mut(&conn) {
                link.session.close(Reason::Normal);
            }
            return;
        }
        let Some(link) = self.links.get_mut(&conn) else { return };
        link.stage = Stage::Up;
        link.up_at = Some(now);
        link.used = now;
        link.place = place;
        self.heard = Some(now);
        if !link.inbound {
            self.reached = Some(now);
        }
        link.peer = Some(hash);
        let dialled = !link.inbound;
        log::debug!("session with {hash:?} is up, clock differs by {skew} s");
        self.failed.remove(&hash);
        self.choose_session(now, hash, conn);
        let info = match peer {
            Peer::Inbound { info, .. } => Some(info),
            Peer::Outbound(_) => None,
        };
        self.events.push_back(PeerEvent::Up { peer: hash, info, dialled });
    }

    /// One session a peer: a newer one takes over, since a peer that dials has none. Sessions that
    /// crossed are the exception: both ends must keep the same one, which is that of the dialler
    /// with the smaller hash. The other one is read for a while, and takes over again if the peer
    /// decides otherwise.
    fn choose_session(&mut self, now: Instant, peer: Hash, new: ConnId) {
        let Some(old) = self.by_peer.insert(peer, new).filter(|old| *old != new) else { return };
        let Some(old_link) = self.links.get(&old) else { return };
        let Some(new_link) = self.links.get(&new) else { return };
        let Some(old_up) = old_link.up_at else {
            // It comes to this again when it is up; until then its messages wait for that.
            return;
        };
        let crossed =
            old_link.inbound != new_link.inbound && now.saturating_since(old_up) < CROSSING;
        // Ours is the better one when our hash is the smaller one.
        let keep_inbound = peer < *self.config.local.hash();
        let loser = if crossed && old_link.inbound == keep_inbound { new } else { old };
        if loser == new {
            self.by_peer.insert(peer, old);
        }
        if let Some(link) = self.links.get_mut(&loser) {
            link.retire_at = Some(now + RETIREMENT);
        }
        self.update(loser);
    }

    /// The session with `peer` is over; says whether another one takes over.
    fn fall_back(&mut self, peer: Hash) -> bool {
        let other = |l: &Link| l.peer == Some(peer) && l.stage == Stage::Up;
        let Some(conn) = self.links.iter().rev().find(|(_, l)| other(l)).map(|(c, _)| *c) else {
            return false;
        };
        if let Some(link) = self.links.get_mut(&conn) {
            link.retire_at = None;
        }
        self.by_peer.insert(peer, conn);
        self.update(conn);
        true
    }

    fn closed(&mut self, now: Instant, conn: ConnId, result: Result<Reason, SessionError>) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let was = core::mem::replace(&mut link.stage, Stage::Closing);
        link.place = None;
        let peer = link.peer.filter(|p| self.by_peer.get(p) == Some(&conn));
        if let Some(peer) = peer {
            self.by_peer.remove(&peer);
            match was {
                Stage::Up if self.fall_back(peer) => {}
                Stage::Up => self.events.push_back(PeerEvent::Down { peer }),
                Stage::Dialling | Stage::Greeting => {
                    self.remember_failure(now, peer);
                    let blame = !self.is_offline(now) && self.failed_in_row(now) < MANY_FAILED;
                    self.events.push_back(PeerEvent::Unreachable { peer, blame });
                }
                Stage::Closing => {}
            }
        }
        log::debug!("session with {peer:?} ended: {result:?}");
        let abort = match result {
            Ok(_) => false,
            Err(SessionError::Handshake(ntcp2::HandshakeError::ClockSkew(seconds))) => {
                self.events.push_back(PeerEvent::Skewed { peer, seconds });
                false
            }
            Err(e) => e.abort(),
        };
        let abort = abort || was == Stage::Dialling;
        self.actions.push_back(PeerAction::Close { conn, abort });
        if abort {
            self.remove(conn);
        }
    }

    /// Whether we seem to be off line: no session brought anything lately. Then what fails says
    /// nothing of others.
    pub(crate) fn is_offline(&self, now: Instant) -> bool {
        let lately = |at| now.saturating_since(at) < HEARD_LATELY;
        !(self.heard.is_some_and(lately) && self.links.values().any(|l| l.stage == Stage::Up))
    }

    /// Peers that we failed to reach lately, and since we reached one.
    fn failed_in_row(&self, now: Instant) -> usize {
        let counts = |at: Instant| {
            now.saturating_since(at) < FAILED_LATELY && self.reached.is_none_or(|r| r < at)
        };
        self.failed.values().filter(|at| counts(**at)).count()
    }

    fn remember_failure(&mut self, now: Instant, peer: Hash) {
        if self.failed.len() >= MAX_FAILED {
            let oldest = self.failed.iter().min_by_key(|(_, at)| **at).map(|(h, _)| *h);
            if let Some(oldest) = oldest {
                self.failed.remove(&oldest);
            }
        }
        self.failed.insert(peer, now);
    }

    /// The stream is gone: forgets it.
    fn remove(&mut self, conn: ConnId) {
        let Some(link) = self.links.remove(&conn) else { return };
        if let Some(at) = link.timer {
            self.timers.remove(&(at, conn));
        }
        self.starved_reads.remove(&conn);
        self.outbound.forget(conn);
    }

    /// Re-arms the timer of a session, and queues it for writing when it has something.
    fn update(&mut self, conn: ConnId) {
        let Some(link) = self.links.get_mut(&conn) else { return };
        let inform_at = link.inform_at.filter(|_| link.stage == Stage::Up);
        let due = earliest(earliest(link.session.poll_timeout(), link.retire_at), inform_at);
        if link.timer != due {
            if let Some(old) = link.timer {
                self.timers.remove(&(old, conn));
            }
            if let Some(due) = due {
                self.timers.insert((due, conn));
            }
            link.timer = due;
        }
        let wants = link.session.wants_write() && link.stage != Stage::Dialling;
        let held = link.starved && link.stage == Stage::Up;
        if wants && !link.queued && !held {
            link.queued = true;
            self.writable.push_back(conn);
        }
    }
}

impl Link {
    /// Somebody who came to us and has not proved who it is.
    fn is_stranger(&self) -> bool {
        self.inbound && self.stage == Stage::Greeting
    }

    const fn new(
        session: Session,
        peer: Option<Hash>,
        remote: SocketAddr,
        stage: Stage,
        now: Instant,
    ) -> Self {
        let inbound = peer.is_none();
        Self {
            session,
            peer,
            remote,
            inbound,
            stage,
            up_at: None,
            used: now,
            heard: now,
            place: None,
            retire_at: None,
            inform_at: None,
            timer: None,
            queued: false,
            starved: false,
        }
    }
}

/// Where an inbound session comes from, and whether its peer publishes that address.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    published: bool,
    prefix: u128,
}

impl Place {
    fn of(ip: IpAddr, info: &RouterInfo) -> Self {
        let ip = ip.to_canonical();
        let published = info
            .ntcp2_addresses()
            .filter_map(|address| address.host)
            .any(|host| host.is_ipv4() == ip.is_ipv4());
        let prefix = match ip {
            IpAddr::V4(v4) if !published => u128::from(u32::from(v4) >> 8 << 8),
            IpAddr::V6(v6) if !published => u128::from(v6) >> 80 << 80 | 1,
            IpAddr::V4(_) | IpAddr::V6(_) => prefix(ip),
        };
        Self { published, prefix }
    }
}

#[cfg(test)]
mod tests;
