//! TCP between the nodes: bytes in order, late, in pieces; a window; FIN and RST.

use super::http::Site;
use super::weather::{Congestion, Stall, Stalled};
use super::{BrowserId, Happening, NodeId, RawId, World};
use ramson_core::router::input::{ConnError, ConnId, ConnInput, Listener, Remote};
use ramson_core::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes sent that the other side has not read.
const WINDOW: usize = 256 * 1024;
/// A runtime asks for at most so much at once.
const CHUNK: usize = 256 * 1024;
/// As a runtime: calls for the last words of a stream.
const MAX_LAST_CALLS: usize = 64;
/// The way to a process of the same machine.
const LOCAL_LATENCY: Duration = Duration::from_micros(100);

/// How often a site sends a little of what it sends slowly.
const TRICKLE: Duration = Duration::from_secs(1);

/// One end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EndId(pub(super) u64);

/// Who holds an end.
pub(super) enum Owner {
    Machine(ConnId),
    Browser(BrowserId),
    Site(Site),
    Raw(RawId),
    /// Nobody any more: what still comes is dropped.
    Gone,
}

pub(super) struct End {
    owner: Owner,
    node: NodeId,
    far: Option<EndId>,
    latency: Duration,
    connected: bool,
    inbox: VecDeque<u8>,
    paused: bool,
    fin: Fin,
    /// To be sent, by whoever is no machine.
    outbox: VecDeque<u8>,
    unread_by_far: usize,
    last_arrival: Instant,
    wants_write: bool,
    /// FIN follows what there is to send.
    ending: bool,
    ended: bool,
    pub(super) congestion: Congestion,
    pub(super) stall: Stall,
    /// Bytes of the site that leave one by one, and how many each time.
    trickle: (VecDeque<u8>, usize),
}

/// The other side's FIN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fin {
    No,
    Received,
    Told,
}

impl End {
    fn new(owner: Owner, node: NodeId, latency: Duration) -> Self {
        Self {
            owner,
            node,
            far: None,
            latency,
            connected: false,
            inbox: VecDeque::new(),
            paused: false,
            fin: Fin::No,
            outbox: VecDeque::new(),
            unread_by_far: 0,
            last_arrival: Instant::ZERO,
            wants_write: false,
            ending: false,
            ended: false,
            congestion: Congestion::default(),
            stall: Stall::default(),
            trickle: Default::default(),
        }
    }

    pub(super) const fn far(&self) -> Option<EndId> {
        self.far
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    pub(super) const fn latency(&self) -> Duration {
        self.latency
    }

    /// Something is under way still.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.last_arrival > now
    }

    pub(super) const fn is_machines(&self) -> bool {
        matches!(self.owner, Owner::Machine(_))
    }

    const fn conn(&self) -> Option<ConnId> {
        match &self.owner {
            Owner::Machine(conn) => Some(*conn),
            Owner::Browser(_) | Owner::Site(_) | Owner::Raw(_) | Owner::Gone => None,
        }
    }
}

impl World {
    /// A router asked for a stream to `remote`.
    pub(super) fn dial(&mut self, node: NodeId, conn: ConnId, remote: SocketAddr) {
        if remote.ip().is_loopback() {
            let near = self.new_end(Owner::Machine(conn), node, LOCAL_LATENCY);
            let far = self.new_end(Owner::Site(Site::default()), node, LOCAL_LATENCY);
            self.nodes[node.0].conns.insert(conn, near);
            self.join(near, far);
            self.push(self.now + LOCAL_LATENCY, Happening::Connected(near));
            return;
        }
        self.dialled += 1;
        let latency = self.chance.latency();
        let end = self.new_end(Owner::Machine(conn), node, latency);
        self.nodes[node.0].conns.insert(conn, end);
        let at = self.now + latency;
        match self.addresses.get(&remote).copied() {
            Some(to) => self.push(at, Happening::Syn { from: end, to, tries: 0 }),
            None => self.push(at + latency, Happening::Refused(end)),
        }
    }

    /// A browser connects to a listener.
    pub(super) fn dial_local(
        &mut self,
        node: NodeId,
        browser: BrowserId,
        listener: Listener,
    ) -> EndId {
        let near = self.new_end(Owner::Browser(browser), node, LOCAL_LATENCY);
        let conn = self.nodes[node.0].next_accepted();
        let far = self.new_end(Owner::Machine(conn), node, LOCAL_LATENCY);
        self.nodes[node.0].conns.insert(conn, far);
        self.join(near, far);
        for end in [near, far] {
            self.ends.get_mut(&end).unwrap().connected = true;
        }
        let remote = Remote::Ip(SocketAddr::from(([127, 0, 0, 1], 40_000)));
        self.input(node, conn, ConnInput::Accepted { remote, listener });
        near
    }

    pub(super) fn handle_syn(&mut self, from: EndId, to: NodeId, tries: u32) {
        let Some(dialler) = self.ends.get(&from) else { return };
        let (latency, source) = (dialler.latency, self.address_outside(dialler.node));
        let node = &self.nodes[to.0];
        if node.dark || node.firewalled || node.nat.is_some() {
            return;
        }
        if !self.passes(dialler.node, to) {
            self.lost_syn(from, to, tries);
            return;
        }
        let at = self.now + latency;
        let node = &self.nodes[to.0];
        if node.router.is_none() || !node.config.ntcp2.enabled {
            self.push(at, Happening::Refused(from));
            return;
        }
        let conn = self.nodes[to.0].next_accepted();
        let end = self.new_end(Owner::Machine(conn), to, latency);
        self.nodes[to.0].conns.insert(conn, end);
        self.join(from, end);
        let accepted = self.ends.get_mut(&end).unwrap();
        accepted.connected = true;
        accepted.last_arrival = at;
        self.push(at, Happening::Connected(from));
        let port = 32_768 + (self.ends.made() % 20_000) as u16;
        let remote = Remote::Ip(SocketAddr::new(source, port));
        self.input(to, conn, ConnInput::Accepted { remote, listener: Listener::Ntcp2 });
    }

    pub(super) fn handle_connected(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        end.connected = true;
        if let Owner::Raw(raw) = end.owner {
            self.raws[raw.0].opened = true;
        }
        if let Some(far) = end.far.and_then(|far| self.ends.get_mut(&far)) {
            far.connected = true;
        }
        self.tell(id, ConnInput::Connected);
        self.pump(id);
    }

    pub(super) fn handle_refused(&mut self, id: EndId) {
        self.fail(id, ConnError::Refused);
    }

    pub(super) fn handle_reset(&mut self, id: EndId) {
        // One that is lost is not sent again; who sends on learns it then.
        if !self.is_reached(id) {
            return;
        }
        self.fail(id, ConnError::Reset);
    }

    fn fail(&mut self, id: EndId, error: ConnError) {
        let Some(end) = self.ends.remove(&id) else { return };
        match end.owner {
            Owner::Machine(conn) => {
                self.nodes[end.node.0].conns.remove(&conn);
                self.input(end.node, conn, ConnInput::Failed(error));
            }
            Owner::Browser(browser) => {
                self.browsers[browser.0].end(true);
                self.news.push_back(browser);
            }
            Owner::Raw(raw) => self.raws[raw.0].ended = Some((self.now, true)),
            Owner::Site(_) | Owner::Gone => {}
        }
    }

    /// Bytes came to the link of a node.
    pub(super) fn handle_arrival(&mut self, from: EndId, to: EndId, bytes: Vec<u8>) {
        if let Some(Stalled::Bytes { from, bytes }) = self.stall(to, Stalled::Bytes { from, bytes })
        {
            self.handle_bytes(from, to, bytes);
        }
    }

    pub(super) fn handle_bytes(&mut self, from: EndId, to: EndId, bytes: Vec<u8>) {
        self.trace(to, &bytes);
        let n = bytes.len();
        let Some(end) = self.ends.get_mut(&to) else {
            // Nobody holds it: a live kernel says so.
            if self.ends.contains(&from) && !self.was_dark(to) {
                let at = self.now + self.ends[&from].latency;
                self.push(at, Happening::Reset(from));
            }
            return;
        };
        match &mut end.owner {
            Owner::Machine(_) => {
                end.inbox.extend(bytes);
                self.offer(to);
                return;
            }
            Owner::Browser(browser) => {
                if self.browsers[browser.0].handle(&bytes) {
                    self.news.push_back(*browser);
                }
            }
            Owner::Site(site) => {
                let said = site.handle(&bytes);
                end.outbox.extend(said.now);
                if let Some((slowly, step)) = said.slowly {
                    let idle = end.trickle.0.is_empty();
                    end.trickle.0.extend(slowly);
                    end.trickle.1 = step;
                    if idle {
                        self.push(self.now + TRICKLE, Happening::Trickle(to));
                    }
                }
            }
            Owner::Raw(raw) => self.raws[raw.0].received += n,
            Owner::Gone => {}
        }
        self.consumed(to, n);
        self.pump(to);
    }

    pub(super) fn handle_fin(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        end.fin = Fin::Received;
        match &end.owner {
            Owner::Machine(_) => self.offer(id),
            Owner::Browser(browser) => {
                self.browsers[browser.0].end(false);
                self.news.push_back(*browser);
                self.finish(id);
            }
            Owner::Raw(raw) => {
                self.raws[raw.0].ended = Some((self.now, false));
                self.finish(id);
            }
            Owner::Site(_) => self.finish(id),
            Owner::Gone => {
                self.ends.remove(&id);
            }
        }
    }

    /// A site sends a little more of what it sends slowly.
    pub(super) fn handle_trickle(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        let step = end.trickle.1.min(end.trickle.0.len());
        end.outbox.extend(end.trickle.0.drain(..step));
        if !end.trickle.0.is_empty() {
            self.push(self.now + TRICKLE, Happening::Trickle(id));
        }
        self.pump(id);
    }

    /// There is room in the window again.
    pub(super) fn handle_writable(&mut self, id: EndId) {
        self.pump(id);
        if let Some(end) = self.ends.get(&id) {
            self.drain(end.node);
        }
    }

    /// The router takes input again.
    pub(super) fn handle_readable(&mut self, id: EndId) {
        self.offer(id);
    }

    /// Hands what arrived to a router, in pieces of any size, until it takes no more; then the end
    /// of the stream.
    fn offer(&mut self, id: EndId) {
        loop {
            let Some(end) = self.ends.get_mut(&id) else { return };
            let (node, Some(conn)) = (end.node, end.conn()) else { return };
            if end.paused || end.inbox.is_empty() {
                break;
            }
            let most = end.inbox.len().min(CHUNK);
            let size = self.chance.piece(most);
            let mut bytes = first_of(&end.inbox, size);
            self.enter(node);
            let consumed =
                self.nodes[node.0].handle_conn(self.now, conn, ConnInput::Bytes(&mut bytes));
            let end = self.ends.get_mut(&id).unwrap();
            end.inbox.drain(..consumed.taken);
            if end.inbox.is_empty() {
                // Most ends are idle most of the time, and there are very many.
                end.inbox = VecDeque::new();
            }
            // A rest counts as pause.
            end.paused = consumed.pause || consumed.taken < size;
            self.consumed(id, consumed.taken);
            self.drain(node);
        }
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.fin == Fin::Received && end.inbox.is_empty() {
            end.fin = Fin::Told;
            self.tell(id, ConnInput::ReadClosed);
        }
    }

    pub(super) fn resume(&mut self, node: NodeId, conn: ConnId) {
        if let Some(id) = self.nodes[node.0].conns.get(&conn).copied()
            && let Some(end) = self.ends.get_mut(&id)
        {
            end.paused = false;
            self.push(self.now, Happening::Readable(id));
        }
    }

    pub(super) fn writable(&mut self, node: NodeId, conn: ConnId) {
        if let Some(id) = self.nodes[node.0].conns.get(&conn).copied() {
            self.pump(id);
        }
    }

    /// Sends what the owner of an end has, as far as the window goes.
    pub(super) fn pump(&mut self, id: EndId) {
        loop {
            let Some(end) = self.ends.get_mut(&id) else { return };
            let window = WINDOW.min(end.congestion.window());
            let room = window.saturating_sub(end.unread_by_far).min(CHUNK);
            end.wants_write = !end.connected || room == 0;
            if end.wants_write || end.ended {
                return;
            }
            let mut bytes = Vec::new();
            match end.conn() {
                Some(conn) => {
                    let (node, room) = (end.node, self.chance.piece(room));
                    self.enter(node);
                    self.nodes[node.0].poll_conn(self.now, conn, room, &mut bytes);
                }
                None => bytes.extend(end.outbox.drain(..end.outbox.len().min(room))),
            }
            if bytes.is_empty() {
                break;
            }
            self.transmit(id, &bytes);
        }
        if self.ends.get(&id).is_some_and(|e| e.ending) {
            self.send_fin(id);
        }
    }

    /// FIN after what is to be sent; keep reading.
    pub(super) fn shut_down_write(&mut self, node: NodeId, conn: ConnId) {
        if let Some(id) = self.nodes[node.0].conns.get(&conn).copied()
            && let Some(end) = self.ends.get_mut(&id)
        {
            end.ending = true;
            self.pump(id);
        }
    }

    /// The router is done with a stream.
    pub(super) fn close(&mut self, node: NodeId, conn: ConnId, abort: bool) {
        let Some(id) = self.nodes[node.0].conns.remove(&conn) else { return };
        let Some(end) = self.ends.get(&id) else { return };
        if abort || !end.connected {
            self.cut(id, true);
            return;
        }
        for call in 0.. {
            assert!(call < MAX_LAST_CALLS, "a closed stream goes on for ever");
            let mut bytes = Vec::new();
            if self.nodes[node.0].poll_conn(self.now, conn, CHUNK, &mut bytes) == 0 {
                break;
            }
            self.transmit(id, &bytes);
        }
        let end = self.ends.get_mut(&id).unwrap();
        let unread = std::mem::take(&mut end.inbox).len();
        self.consumed(id, unread);
        self.finish(id);
    }

    /// Sends FIN behind everything; the end is nobody's from now on.
    fn finish(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        let rest: Vec<u8> = end.outbox.drain(..).collect();
        self.transmit(id, &rest);
        self.send_fin(id);
        let end = self.ends.get_mut(&id).unwrap();
        end.owner = Owner::Gone;
        if end.fin != Fin::No {
            self.ends.remove(&id);
        }
    }

    /// An end vanishes; the other one learns of it if `reset`.
    pub(super) fn cut(&mut self, id: EndId, reset: bool) {
        let Some(end) = self.ends.remove(&id) else { return };
        if let Some(far) = end.far.filter(|_| reset) {
            let at = end.last_arrival.max(self.now + end.latency);
            self.push(at, Happening::Reset(far));
        }
    }

    /// All ends of a node's machine vanish.
    pub(super) fn cut_all(&mut self, node: NodeId, reset: bool) {
        for (_, id) in std::mem::take(&mut self.nodes[node.0].conns) {
            let local = self.ends.get(&id).is_some_and(|e| e.latency == LOCAL_LATENCY);
            self.cut(id, reset || local);
        }
    }

    /// All ends of a node's machine to others are reset; those are not told.
    pub(super) fn reset_outgoing(&mut self, node: NodeId) {
        let raws = self.raws.iter().map(|raw| raw.end);
        let raws = raws.filter(|id| self.ends.get(id).is_some_and(|end| end.node == node));
        let ends = self.nodes[node.0].conns.values().copied().chain(raws);
        let far = |id: &EndId| self.ends.get(id).is_some_and(|end| end.latency != LOCAL_LATENCY);
        for id in ends.filter(far).collect::<Vec<_>>() {
            self.push(self.now, Happening::Reset(id));
        }
    }

    fn send_fin(&mut self, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.ended {
            return;
        }
        end.ended = true;
        end.last_arrival = end.last_arrival.max(self.now + end.latency);
        let (far, at) = (end.far, end.last_arrival);
        if let Some(far) = far {
            self.push(at, Happening::Fin(far));
        }
    }

    /// Cuts bytes into pieces that arrive one after the other.
    fn transmit(&mut self, from: EndId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(self.chance.piece(rest.len()));
            rest = tail;
            let jitter = self.chance.jitter();
            let mut bytes = piece.to_vec();
            let end = &self.ends[&from];
            let local = end.latency == LOCAL_LATENCY;
            let storm = if local { Duration::ZERO } else { self.storm(from, end.node, &mut bytes) };
            let end = self.ends.get_mut(&from).unwrap();
            end.unread_by_far += piece.len();
            end.last_arrival = end.last_arrival.max(self.now + end.latency + jitter + storm);
            let at = end.last_arrival;
            let to = end.far.unwrap();
            self.push(at, Happening::Bytes { from, to, bytes });
        }
    }

    /// The owner of an end took bytes: the other one has room again.
    fn consumed(&mut self, id: EndId, n: usize) {
        let Some(far) = self.ends.get(&id).and_then(|e| e.far) else { return };
        if let Some(end) = self.ends.get_mut(&far) {
            end.unread_by_far -= n;
            end.congestion.acknowledged(n);
            if end.wants_write && n > 0 {
                end.wants_write = false;
                let at = self.now + end.latency;
                self.push(at, Happening::Writable(far));
            }
        }
    }

    /// Tells the machine that owns an end, if one does.
    fn tell(&mut self, id: EndId, input: ConnInput<'_>) {
        let Some(end) = self.ends.get(&id) else { return };
        if let (node, Some(conn)) = (end.node, end.conn()) {
            self.input(node, conn, input);
        }
    }

    /// Queues bytes of a browser.
    pub(super) fn send_local(&mut self, id: EndId, bytes: &[u8]) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.outbox.extend(bytes);
            self.pump(id);
        }
    }

    /// A browser goes away.
    pub(super) fn leave(&mut self, id: EndId) {
        self.finish(id);
    }

    fn was_dark(&self, id: EndId) -> bool {
        self.ends.home(&id).is_some_and(|node| self.nodes[node.0].dark)
    }

    pub(super) fn new_end(&mut self, owner: Owner, node: NodeId, latency: Duration) -> EndId {
        self.ends.add(End::new(owner, node, latency))
    }

    fn join(&mut self, a: EndId, b: EndId) {
        for (one, other) in [(a, b), (b, a)] {
            self.ends.get_mut(&one).unwrap().far = Some(other);
        }
    }
}

/// A copy of the first `n` bytes.
fn first_of(queue: &VecDeque<u8>, n: usize) -> Vec<u8> {
    let (front, back) = queue.as_slices();
    let mut bytes = Vec::with_capacity(n);
    for part in [front, back] {
        bytes.extend_from_slice(&part[..part.len().min(n - bytes.len())]);
    }
    bytes
}
