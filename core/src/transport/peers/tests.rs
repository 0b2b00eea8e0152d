//! Two routers that connect to each other, over streams with latency.

use super::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::Seed;
use crate::wire::base64;
use crate::wire::i2np::MessageType;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{RouterAddress, Style};
use alloc::string::ToString;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const LATENCY: Duration = Duration::from_millis(20);

struct Side {
    peers: Peers,
    info: RouterInfo,
    /// The stream at the other side.
    far: BTreeMap<ConnId, ConnId>,
    accepted: u64,
    ups: usize,
    downs: usize,
    received: Vec<u32>,
}

enum What {
    Dialled(ConnId),
    Connected(ConnId),
    Bytes(ConnId, Vec<u8>),
    Gone(ConnId, bool),
}

struct Pair {
    now: Instant,
    sides: [Side; 2],
    events: BTreeMap<(Instant, u64), (usize, What)>,
    sequence: u64,
}

fn side(seed: u64) -> Side {
    let mut rng = Rng::new(&Seed::from_number(seed));
    let signing = SigningKey::generate(&mut rng);
    let key = PrivateKey::generate(&mut rng).public();
    let identity = Identity::new_router(key, &signing.public(), &mut rng);
    let static_key = loop {
        let key = PrivateKey::generate(&mut rng);
        if key.public().0[31] & 0x80 == 0 {
            break key;
        }
    };
    let iv = [seed as u8; 16];
    let mut options = Mapping::new();
    let address = [
        ("host", alloc::format!("11.{seed}.0.1")),
        ("port", "1".to_string()),
        ("i", base64::encode(&iv)),
        ("s", base64::encode(&static_key.public().0)),
        ("v", "2".to_string()),
    ];
    for (key, value) in &address {
        options.insert(key, value).unwrap();
    }
    let address = RouterAddress { cost: 3, style: Style::Ntcp2, options };
    let mut options = Mapping::new();
    for (key, value) in [("caps", "XR"), ("netId", "2"), ("router.version", "0.9.62")] {
        options.insert(key, value).unwrap();
    }
    let info = RouterInfo::build(&identity, UNIX, &[address], &options, &signing);
    let config = PeersConfig {
        local: Arc::new(ntcp2::Local::new(info.hash(), static_key, iv, 2)),
        allow_local: false,
        sessions: 100,
        bandwidth_in: 1 << 20,
        bandwidth_out: 1 << 20,
    };
    let mut peers = Peers::new(config, Opener::new(0), Instant::ZERO, rng.fork("peers"));
    peers.set_own(info.clone());
    Side { peers, info, far: BTreeMap::new(), accepted: 0, ups: 0, downs: 0, received: Vec::new() }
}

impl Pair {
    fn new(a: u64, b: u64) -> Self {
        let sides = [side(a), side(b)];
        Self { now: Instant::ZERO, sides, events: BTreeMap::new(), sequence: 0 }
    }

    fn send(&mut self, from: usize, id: u32) {
        let to = self.sides[1 - from].info.clone();
        let expires = UNIX + Duration::from_secs(10);
        let message = Message { kind: MessageType::DATA, id, expires, body: alloc::vec![1; 9] };
        let peers = &mut self.sides[from].peers;
        let sent = peers.send(self.now, &to.hash(), message, Priority::Own);
        if let Err(message) = sent {
            assert_eq!(peers.dial(self.now, &to), Ok(()));
            peers.send(self.now, &to.hash(), message, Priority::Own).unwrap();
        }
        self.drain(from);
    }

    fn run(&mut self, d: Duration) {
        let end = self.now + d;
        loop {
            let event = self.events.keys().next().copied().filter(|key| key.0 <= end);
            let timer = (0..2).filter_map(|n| Some((self.sides[n].peers.poll_timeout()?, n))).min();
            match (event, timer.filter(|(at, _)| *at <= end)) {
                (Some(key), timer) if timer.is_none_or(|(at, _)| key.0 <= at) => {
                    self.now = key.0;
                    let (n, what) = self.events.remove(&key).unwrap();
                    self.happen(n, what);
                }
                (_, Some((at, n))) => {
                    self.now = self.now.max(at);
                    self.sides[n].peers.handle_timeout(self.now);
                    self.drain(n);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn happen(&mut self, n: usize, what: What) {
        let now = self.now;
        let unix = UNIX + now.saturating_since(Instant::ZERO);
        let other = self.sides[1 - n].info.ntcp2().unwrap().host.unwrap();
        let side = &mut self.sides[n];
        match what {
            What::Dialled(far) => {
                side.accepted += 1;
                let conn = ConnId::accepted(side.accepted);
                side.far.insert(conn, far);
                side.peers.handle_accepted(now, conn, other);
                self.sides[1 - n].far.insert(far, conn);
                self.push(1 - n, What::Connected(far));
            }
            What::Connected(conn) => side.peers.handle_connected(conn),
            What::Bytes(conn, mut bytes) => {
                side.peers.handle_bytes(now, unix, conn, &mut bytes);
            }
            What::Gone(conn, dead) => side.peers.handle_gone(now, conn, dead),
        }
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        let (now, unix) = (self.now, UNIX + self.now.saturating_since(Instant::ZERO));
        while let Some(event) = self.sides[n].peers.poll_event() {
            match event {
                PeerEvent::Up { .. } => self.sides[n].ups += 1,
                PeerEvent::Down { .. } => self.sides[n].downs += 1,
                PeerEvent::Message { message, .. } => self.sides[n].received.push(message.id),
                PeerEvent::Unreachable { .. } | PeerEvent::Skewed { .. } => panic!("unreachable"),
                PeerEvent::RouterInfo { .. } => {}
            }
        }
        while let Some(action) = self.sides[n].peers.poll_action() {
            match action {
                PeerAction::Connect { conn, .. } => self.push(1 - n, What::Dialled(conn)),
                PeerAction::Close { conn, abort } => {
                    self.write(n, conn);
                    if let Some(far) = self.sides[n].far.get(&conn).copied() {
                        self.push(1 - n, What::Gone(far, abort));
                    }
                }
                PeerAction::Resume(_) => {}
            }
        }
        while let Some(conn) = self.sides[n].peers.poll_writable() {
            self.write(n, conn);
        }
        assert!(self.sides[n].peers.poll_timeout().is_none_or(|at| at > now), "{unix:?}");
    }

    fn write(&mut self, n: usize, conn: ConnId) {
        let unix = UNIX + self.now.saturating_since(Instant::ZERO);
        let mut out = Vec::new();
        while self.sides[n].peers.poll_conn(self.now, unix, conn, 10_000, &mut out) > 0 {}
        if let Some(far) = self.sides[n].far.get(&conn).copied()
            && !out.is_empty()
        {
            self.push(1 - n, What::Bytes(far, out));
        }
    }

    fn push(&mut self, n: usize, what: What) {
        self.sequence += 1;
        self.events.insert((self.now + LATENCY, self.sequence), (n, what));
    }

    fn sessions(&self) -> [usize; 2] {
        [0, 1].map(|n| {
            let counts = self.sides[n].peers.counts();
            counts.inbound + counts.outbound
        })
    }
}

#[test]
fn sessions_that_cross_leave_one_and_lose_no_message() {
    // Whose hash is the smaller one, and who dials first by how much.
    for (a, b) in [(1, 2), (2, 1)] {
        for lead in [0, 5, 15, 19] {
            let mut pair = Pair::new(a, b);
            pair.send(0, 1);
            pair.run(Duration::from_millis(lead));
            pair.send(1, 2);
            // Messages all the time, by both.
            for id in 3..103 {
                pair.run(Duration::from_millis(7));
                pair.send(id as usize % 2, id);
            }
            pair.run(Duration::from_secs(1));
            for n in 0..2 {
                let mut received = core::mem::take(&mut pair.sides[n].received);
                received.sort_unstable();
                let sent = core::iter::once(if n == 0 { 2 } else { 1 })
                    .chain((3..103).filter(|id| *id as usize % 2 != n));
                assert!(received.into_iter().eq(sent), "({a}, {b}) after {lead} ms, to {n}");
            }
            pair.run(RETIREMENT);
            assert_eq!(pair.sessions(), [1, 1], "({a}, {b}) after {lead} ms");
            assert!(pair.sides.iter().all(|s| s.downs == 0), "nobody noticed");
            // And the one that is left works.
            pair.send(0, 200);
            pair.send(1, 201);
            pair.run(Duration::from_secs(1));
            let received = pair.sides.each_ref().map(|s| s.received.clone());
            assert_eq!(received, [[201], [200]]);
        }
    }
}

#[test]
fn a_peer_that_came_back_takes_over_its_old_session() {
    let mut pair = Pair::new(3, 4);
    pair.send(0, 1);
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.sessions(), [1, 1]);
    // It lost its power: nobody told the other one.
    let far = core::mem::take(&mut pair.sides[1].far);
    let accepted = pair.sides[1].accepted;
    pair.sides[1] = Side { accepted, ..side(4) };
    for conn in far.values() {
        pair.sides[0].far.remove(conn);
    }
    pair.send(1, 2);
    pair.run(Duration::from_secs(1));
    pair.send(0, 3);
    pair.run(RETIREMENT);
    assert_eq!((pair.sides[0].received.as_slice(), pair.sides[0].downs), (&[2][..], 0));
    assert_eq!(pair.sides[1].received, [3]);
    assert_eq!(pair.sessions(), [1, 1]);
}
