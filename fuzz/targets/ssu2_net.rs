//! Three SSU2 endpoints, and everything that can happen to datagrams between them.

use super::input::Input;
use super::transport::UNIX;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::Instant;
use ramson_core::transport::queue::{Full, Priority};
use ramson_core::transport::ssu2::{
    Endpoint, EndpointEvent, Local, NotConnected, Remote, SessionEvent,
};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{MAX_BODY_LEN, Message, MessageType};
use ramson_core::wire::identity::Identity;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Ssu2Address, Style};
use ramson_core::wire::ssu2::{ConnectionId, MAX_MTU, MAX_PACKET_LEN, MIN_PACKET_LEN, Reason};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const NET: u8 = 2;
/// Datagrams under way; the oldest are lost.
const MAX_FLYING: usize = 1000;
/// Datagrams that one operation delivers at most.
const MAX_DELIVERED: usize = 300;
/// When nobody remembers what happened to him: handshakes, goodbyes and silent sessions are over.
const LONG: Duration = Duration::from_secs(300);

/// What does not change from input to input.
struct Router {
    local: Arc<Local>,
    info: RouterInfo,
    remote: Remote,
}

fn routers() -> &'static [Router; 3] {
    static ROUTERS: OnceLock<[Router; 3]> = OnceLock::new();
    ROUTERS.get_or_init(|| [1, 2, 3].map(Router::new))
}

impl Router {
    fn new(n: u8) -> Self {
        let mut rng = Rng::new(&Seed::from_number(n.into()));
        let signing = SigningKey::generate(&mut rng);
        let key = PrivateKey::generate(&mut rng);
        let (static_key, intro) = (key.public(), rng.bytes());
        let identity = Identity::new_router(static_key, &signing.public(), &mut rng);
        let at = SocketAddr::from(([10, 0, 0, n], 4000));
        let mut address = Ssu2Address::new(static_key, intro);
        address.host = Some(at);
        let address = RouterAddress { cost: 8, style: Style::Ssu2, options: address.options() };
        let mut options = Mapping::new();
        for (name, value) in [("caps", "LR"), ("netId", "2"), ("router.version", "0.9.66")] {
            options.insert(name, value).unwrap();
        }
        // The third does not fit one SessionConfirmed.
        for n in 0..if n == 3 { 24 } else { 0 } {
            let value: String = (0..40).map(|_| char::from(b'a' + rng.below(26) as u8)).collect();
            options.insert(&format!("x{n:02}"), &value).unwrap();
        }
        let info = RouterInfo::build(&identity, UNIX, &[address], &options, &signing);
        let hash = info.hash();
        let local = Arc::new(Local::new(hash, key, intro, NET));
        Self { local, info, remote: Remote { hash, static_key, intro, at, mtu: MAX_MTU } }
    }
}

/// A session as its owner knows it.
#[derive(Debug)]
struct Known {
    peer: Hash,
    up: bool,
    over: bool,
}

struct Host {
    endpoint: Endpoint,
    at: SocketAddr,
    known: BTreeMap<ConnectionId, Known>,
}

/// A message that was queued.
struct Sent {
    from: Hash,
    to: Hash,
    message: Message,
    came: bool,
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct Net {
    now: Instant,
    hosts: Vec<Host>,
    flying: VecDeque<Packet>,
    sent: Vec<Sent>,
    /// Bytes from addresses where nobody is, and to them.
    nowhere: BTreeMap<(usize, SocketAddr), (usize, usize)>,
}

/// An address that nobody ever has.
fn nowhere(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, n % 4], 9))
}

fn is_nowhere(at: SocketAddr) -> bool {
    (0..4).any(|n| nowhere(n) == at)
}

impl Net {
    /// Bit n of `mode`: host n wants peers to come from where they say they are.
    fn new(mode: u8) -> Self {
        let mut rng = Rng::new(&Seed::from_number(mode.into()));
        let now = Instant::ZERO + Duration::from_secs(1);
        let mut hosts = Vec::new();
        for (n, router) in routers().iter().enumerate() {
            let strict = mode >> n & 1 != 0;
            let rng = rng.fork("endpoint");
            let mut endpoint = Endpoint::new(now, router.local.clone(), MAX_MTU, strict, rng);
            endpoint.set_own(router.info.clone());
            hosts.push(Host { endpoint, at: router.remote.at, known: BTreeMap::new() });
        }
        let flying = VecDeque::new();
        Self { now, hosts, flying, sent: Vec::new(), nowhere: BTreeMap::new() }
    }

    fn event(&mut self, n: usize, id: ConnectionId, event: EndpointEvent) {
        let own = routers()[n].remote.hash;
        let known = &mut self.hosts[n].known;
        let failed = matches!(event, EndpointEvent::Failed(_) | EndpointEvent::TimedOut);
        match event {
            EndpointEvent::Established { peer, .. } => {
                let hash = peer.hash();
                assert!(routers().iter().any(|r| r.remote.hash == hash) && hash != own);
                let known = known.entry(id).or_insert(Known { peer: hash, up: false, over: false });
                assert!(known.peer == hash && !known.up && !known.over, "{known:?}");
                known.up = true;
            }
            EndpointEvent::Failed(_) | EndpointEvent::TimedOut => {
                let known = known.get_mut(&id).unwrap();
                assert!(failed && !known.up && !known.over, "{known:?}");
                known.over = true;
            }
            EndpointEvent::Session(event) => {
                let known = known.get_mut(&id).unwrap();
                assert!(known.up && !known.over, "{event:?} of {known:?}");
                match event {
                    SessionEvent::Closed(_) => known.over = true,
                    SessionEvent::Message(message) => {
                        let sent = &mut self.sent[message.id as usize];
                        assert_eq!((sent.from, sent.to), (known.peer, own));
                        assert!(sent.message == message && !sent.came, "not as sent, or twice");
                        sent.came = true;
                    }
                    SessionEvent::RouterInfo { info, .. } => assert_eq!(info.hash(), known.peer),
                    _ => {}
                }
            }
        }
    }

    /// Whatever a host has to say, as its owner does after each call.
    fn drain(&mut self, n: usize) {
        let now = self.now;
        for round in 0.. {
            assert!(round < 20_000, "host {n} has no end");
            while let Some((id, event)) = self.hosts[n].endpoint.poll_event() {
                self.event(n, id, event);
            }
            let host = &mut self.hosts[n];
            let mut bytes = vec![0xaa];
            let Some(to) = host.endpoint.poll_transmit(now, UNIX, &mut bytes) else {
                assert_eq!(bytes, [0xaa]);
                break;
            };
            assert_eq!(bytes.remove(0), 0xaa);
            assert!((MIN_PACKET_LEN..=MAX_PACKET_LEN).contains(&bytes.len()));
            if is_nowhere(to) {
                let (came, went) = self.nowhere.entry((n, to)).or_default();
                *went += bytes.len();
                assert!(*went <= 3 * *came, "{went} bytes for {came}");
            }
            self.flying.push_back(Packet { from: host.at, to, bytes });
            if self.flying.len() > MAX_FLYING {
                self.flying.pop_front();
            }
        }
        let host = &mut self.hosts[n];
        while let Some((id, event)) = host.endpoint.poll_event() {
            self.event(n, id, event);
        }
        let host = &self.hosts[n];
        assert!(host.endpoint.poll_timeout().is_some() || host.endpoint.is_empty());
        host.endpoint.audit(&mut |bound| assert!(bound.holds(), "{bound}"));
    }

    fn connect(&mut self, from: usize, to: usize) -> Option<ConnectionId> {
        let remote = routers()[to].remote;
        let host = &mut self.hosts[from];
        let id = match host.endpoint.connect(self.now, UNIX, remote) {
            Ok(id) => id,
            Err(error) => {
                assert_eq!(error, NotConnected::Connecting);
                return None;
            }
        };
        let known = Known { peer: remote.hash, up: false, over: false };
        assert!(host.known.insert(id, known).is_none_or(|known| known.over), "an id twice");
        self.drain(from);
        Some(id)
    }

    /// The `pick`th session that a host had.
    fn id(&self, n: usize, pick: u8) -> Option<ConnectionId> {
        let known = &self.hosts[n].known;
        let pick = usize::from(pick).checked_rem(known.len())?;
        known.keys().nth(pick).copied()
    }

    fn queue(&mut self, n: usize, id: ConnectionId, len: usize, priority: u8) {
        let priority =
            [Priority::Own, Priority::Control, Priority::Transit][usize::from(priority) % 3];
        let number = self.sent.len() as u32;
        let expires = UNIX + Duration::from_secs(1_000_000);
        let mut body: Vec<u8> = (0..len).map(|at| (at as u32 ^ number) as u8).collect();
        body.extend(number.to_be_bytes());
        let message = Message { kind: MessageType::DATA, id: number, expires, body };
        let (host, len) = (&mut self.hosts[n], message.body.len());
        let to = host.known[&id].peer;
        match host.endpoint.queue(self.now, id, message.clone(), priority) {
            Ok(()) => {
                assert!(len <= MAX_BODY_LEN && !host.known[&id].over);
                let from = routers()[n].remote.hash;
                self.sent.push(Sent { from, to, message, came: false });
            }
            Err(Full::TooLarge) => assert!(len > MAX_BODY_LEN),
            Err(Full::Queue) => assert!(priority < Priority::Control),
            Err(_) => assert!(host.known[&id].over),
        }
        self.drain(n);
    }

    /// A datagram arrives where it goes, if anybody is there.
    fn deliver(&mut self, packet: Packet) {
        let Packet { from, to, mut bytes } = packet;
        let Some(n) = self.hosts.iter().position(|host| host.at == to) else { return };
        self.handle(n, from, &mut bytes);
    }

    fn handle(&mut self, n: usize, from: SocketAddr, bytes: &mut [u8]) {
        if is_nowhere(from) {
            self.nowhere.entry((n, from)).or_default().0 += bytes.len();
        }
        self.hosts[n].endpoint.handle_datagram(self.now, UNIX, from, bytes);
        self.drain(n);
    }

    fn deliver_all(&mut self) {
        for _ in 0..MAX_DELIVERED {
            let Some(packet) = self.flying.pop_front() else { break };
            self.deliver(packet);
        }
    }

    fn flying(&mut self, pick: u8) -> Option<usize> {
        usize::from(pick).checked_rem(self.flying.len())
    }

    fn due(&self) -> Option<Instant> {
        self.hosts.iter().filter_map(|host| host.endpoint.poll_timeout()).min()
    }

    /// Time passes. With `well` what is under way arrives at once.
    fn pass(&mut self, time: Duration, well: bool) {
        let end = self.now + time;
        while let Some(due) = self.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            for n in 0..self.hosts.len() {
                if self.hosts[n].endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.hosts[n].endpoint.handle_timeout(self.now);
                    self.drain(n);
                    let next = self.hosts[n].endpoint.poll_timeout();
                    assert!(next.is_none_or(|at| at > self.now), "due for ever");
                }
            }
            while well && !self.flying.is_empty() {
                self.deliver_all();
            }
        }
        self.now = self.now.max(end);
    }

    fn close(&mut self, n: usize, id: ConnectionId, reason: u8) {
        let host = &mut self.hosts[n];
        let up = host.endpoint.session(id).is_some();
        host.endpoint.close(self.now, id, Reason::from_code(reason));
        // A handshake ends without a word.
        host.known.get_mut(&id).unwrap().over |= !up;
        self.drain(n);
        assert!(self.hosts[n].known[&id].over);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let n = usize::from(op >> 4) % 3;
        match op & 0x0f {
            0 => {
                let to = usize::from(input.u8()) % 3;
                if to != n {
                    self.connect(n, to);
                }
            }
            1 => {
                let (pick, len, priority) = (input.u8(), input.u16(), input.u8());
                if let Some(id) = self.id(n, pick) {
                    self.queue(n, id, len.into(), priority);
                }
            }
            2 => self.deliver_all(),
            3 => {
                let pick = input.u8();
                if let Some(packet) = self.flying(pick).and_then(|at| self.flying.remove(at)) {
                    self.deliver(packet);
                }
            }
            4 => {
                let pick = input.u8();
                if let Some(at) = self.flying(pick) {
                    self.flying.remove(at);
                }
            }
            5 => {
                let pick = input.u8();
                if let Some(packet) = self.flying(pick).map(|at| &self.flying[at]) {
                    let Packet { from, to, bytes } = packet;
                    let again = Packet { from: *from, to: *to, bytes: bytes.clone() };
                    self.flying.push_back(again);
                }
            }
            6 => {
                let (pick, by) = (input.u8(), input.u8());
                if let (Some(a), Some(b)) = (self.flying(pick), self.flying(by)) {
                    self.flying.swap(a, b);
                }
            }
            7 => {
                let (pick, at, with) = (input.u8(), input.u16(), input.u8());
                if let Some(packet) = self.flying(pick).map(|at| &mut self.flying[at]) {
                    let at = usize::from(at) % packet.bytes.len();
                    packet.bytes[at] ^= with;
                }
            }
            8 => {
                let (pick, other) = (input.u8(), input.u8());
                let elsewhere = match other & 3 {
                    3 => nowhere(other >> 2),
                    host => self.hosts[usize::from(host)].at,
                };
                if let Some(packet) = self.flying(pick).map(|at| &mut self.flying[at]) {
                    if other & 0x80 == 0 {
                        packet.from = elsewhere;
                    } else {
                        packet.to = elsewhere;
                    }
                }
            }
            9 => self.pass(Duration::from_millis(input.u16().into()), false),
            10 => self.pass(Duration::from_millis(input.u16().into()), true),
            11 => {
                let (pick, reason) = (input.u8(), input.u8());
                if let Some(id) = self.id(n, pick) {
                    self.close(n, id, reason);
                }
            }
            12 => {
                let port = 4000 + u16::from(input.u8() & 7);
                self.hosts[n].at.set_port(port);
            }
            13 => {
                let (from, len) = (input.u8(), input.u8());
                let mut bytes = input.bytes(len.into()).to_vec();
                let from = if from & 4 == 0 { nowhere(from) } else { self.hosts[n].at };
                if !bytes.is_empty() {
                    self.handle(n, from, &mut bytes);
                }
            }
            14 => {
                let (pick, len) = (input.u8(), input.u16());
                if let Some(packet) = self.flying(pick).map(|at| &mut self.flying[at]) {
                    packet.bytes.resize(usize::from(len % 1600).max(1), 0);
                }
            }
            _ => {
                let (pick, what) = (input.u8(), input.u8());
                let Some(id) = self.id(n, pick) else { return };
                let (now, endpoint) = (self.now, &mut self.hosts[n].endpoint);
                let info = &routers()[n].info;
                match what & 1 {
                    0 => endpoint.send_router_info(now, UNIX, id, info, what & 2 != 0),
                    // For as long as it has something to send.
                    _ => {
                        endpoint.hold(now, id);
                        endpoint.release(now, id);
                    }
                }
                self.drain(n);
            }
        }
    }
}

/// The first byte is a seed, and who is strict about where peers come from. Then operations: connect, queue, close, move
/// to another port; datagrams are delivered, lost, doubled, swapped, damaged, cut, sent to or said to be from somewhere
/// else; time passes.
///
/// What comes was sent, on a session with who sent it, and comes once; nothing comes before a session is up and after
/// it is over; bounds hold; addresses where nobody is get three times what came from there at most; and when all is
/// over, whoever connects is connected.
pub fn ssu2_endpoint_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mut net = Net::new(input.u8());
    for _ in 0..150 {
        if input.is_empty() {
            break;
        }
        net.step(&mut input);
    }
    for (host, router) in net.hosts.iter_mut().zip(routers()) {
        host.at = router.remote.at;
    }
    net.flying.clear();
    net.pass(LONG, true);
    for host in &net.hosts {
        assert!(host.endpoint.is_empty(), "a session that nobody uses");
        assert!(host.known.values().all(|known| known.over), "it ended without a word");
    }
    let id = net.connect(0, 1).unwrap();
    net.pass(Duration::from_millis(1500), true);
    net.deliver_all();
    assert!(net.hosts[0].known[&id].up, "no session");
    net.queue(0, id, 3000, 0);
    net.pass(Duration::from_millis(1500), true);
    assert!(net.sent.last().is_some_and(|sent| sent.came));
}
