//! Two routers that connect to each other, over streams with latency.

use super::room::MAX_PER_PLACE;
use super::session::{FAILED_LATELY, MANY_FAILED, RETIREMENT};
use super::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::Seed;
use crate::wire::base64;
use crate::wire::i2np::MessageType;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{Families, RouterAddress, Ssu2Address, Style};
use alloc::string::{String, ToString};
use core::net::IpAddr;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const LATENCY: Duration = Duration::from_millis(20);

struct Side {
    peers: Peers,
    info: RouterInfo,
    /// The stream at the other side.
    far: BTreeMap<ConnId, (usize, ConnId)>,
    accepted: u64,
    ups: usize,
    downs: usize,
    received: Vec<u32>,
    infos: Vec<(Instant, RouterInfo)>,
    unreachable: Vec<bool>,
    /// Where its streams come from, if not from the address that it publishes.
    from: Option<IpAddr>,
    /// Where its datagrams come from and go to; without SSU2, into the void.
    udp: Option<SocketAddr>,
    /// Streams to it are refused, datagrams to it are lost.
    deaf: (bool, bool),
}

enum What {
    /// By that one.
    Dialled(usize, ConnId),
    Connected(ConnId),
    Bytes(ConnId, Vec<u8>),
    Gone(ConnId, bool),
    Datagram(SocketAddr, Vec<u8>),
}

struct Pair {
    now: Instant,
    sides: Vec<Side>,
    events: BTreeMap<(Instant, u64), (usize, What)>,
    sequence: u64,
}

fn side(seed: u64) -> Side {
    side_with(seed, 100, 1 << 20, UNIX)
}

/// Transports that a side speaks.
#[derive(Clone, Copy)]
struct Speaks {
    ntcp2: bool,
    ssu2: bool,
}

const NTCP2: Speaks = Speaks { ntcp2: true, ssu2: false };
const SSU2: Speaks = Speaks { ntcp2: false, ssu2: true };
const BOTH: Speaks = Speaks { ntcp2: true, ssu2: true };

fn side_speaking(seed: u64, speaks: Speaks) -> Side {
    side_of(Some(alloc::format!("11.{seed}.0.1")), seed, 100, 1 << 20, UNIX, speaks)
}

fn side_with(seed: u64, sessions: usize, bandwidth_out: u64, published: UnixTime) -> Side {
    side_at(Some(alloc::format!("11.{seed}.0.1")), seed, sessions, bandwidth_out, published)
}

/// Without a host: somebody who cannot be dialled.
fn side_at(
    host: Option<String>,
    seed: u64,
    sessions: usize,
    bandwidth_out: u64,
    published: UnixTime,
) -> Side {
    side_of(host, seed, sessions, bandwidth_out, published, NTCP2)
}

fn side_of(
    host: Option<String>,
    seed: u64,
    sessions: usize,
    bandwidth_out: u64,
    published: UnixTime,
    speaks: Speaks,
) -> Side {
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
        ("host", host.clone().unwrap_or_default()),
        ("port", "1".to_string()),
        ("i", base64::encode(&iv)),
        ("s", base64::encode(&static_key.public().0)),
        ("v", "2".to_string()),
    ];
    let hidden = if host.is_none() { 3 } else { 0 };
    for (key, value) in address.iter().skip(hidden) {
        options.insert(key, value).unwrap();
    }
    let ntcp2 = RouterAddress { cost: 3, style: Style::Ntcp2, options };
    let ssu2_key = PrivateKey::generate(&mut rng);
    let intro = [seed as u8 ^ 0xff; 32];
    let mut address = Ssu2Address::new(ssu2_key.public(), intro);
    let udp = host.as_ref().map(|host| SocketAddr::new(host.parse().unwrap(), 2));
    address.host = udp;
    let ssu2 = RouterAddress { cost: 8, style: Style::Ssu2, options: address.options() };
    let spoken = [(speaks.ntcp2, ntcp2), (speaks.ssu2, ssu2)];
    let addresses: Vec<_> = spoken.into_iter().filter(|(is, _)| *is).map(|(_, a)| a).collect();
    let mut options = Mapping::new();
    for (key, value) in [("caps", "XR"), ("netId", "2"), ("router.version", "0.9.62")] {
        options.insert(key, value).unwrap();
    }
    let info = RouterInfo::build(&identity, published, &addresses, &options, &signing);
    let ssu2 = Families { v4: speaks.ssu2, v6: speaks.ssu2 };
    let config = PeersConfig {
        local: Arc::new(ntcp2::Local::new(info.hash(), static_key, iv, 2)),
        ssu2: speaks.ssu2.then(|| Ssu2Config {
            local: Arc::new(ssu2::Local::new(info.hash(), ssu2_key, intro, 2)),
            mtu: 1500,
        }),
        reach: Reach { allow_local: false, ntcp2: speaks.ntcp2, ssu2 },
        sessions,
        bandwidth_in: 1 << 20,
        bandwidth_out,
    };
    let mut peers = Peers::new(config, Opener::new(0), Instant::ZERO, rng.fork("peers"));
    peers.set_own(Instant::ZERO, info.clone());
    Side {
        peers,
        info,
        far: BTreeMap::new(),
        accepted: 0,
        ups: 0,
        downs: 0,
        received: Vec::new(),
        infos: Vec::new(),
        unreachable: Vec::new(),
        from: None,
        udp: udp.filter(|_| speaks.ssu2),
        deaf: (false, false),
    }
}

impl Pair {
    fn new(a: u64, b: u64) -> Self {
        Self::of(alloc::vec![side(a), side(b)])
    }

    fn of(sides: Vec<Side>) -> Self {
        Self { now: Instant::ZERO, sides, events: BTreeMap::new(), sequence: 0 }
    }

    fn send(&mut self, from: usize, id: u32) {
        self.send_to(from, 1 - from, id, 9);
    }

    fn send_to(&mut self, from: usize, to: usize, id: u32, len: usize) {
        let to = self.sides[to].info.clone();
        let expires = UNIX + self.now.saturating_since(Instant::ZERO) + Duration::from_secs(10);
        let message = Message { kind: MessageType::DATA, id, expires, body: alloc::vec![1; len] };
        let peers = &mut self.sides[from].peers;
        let sent = peers.send(self.now, &to.hash(), message, Priority::Own);
        if let Err(message) = sent {
            assert_eq!(peers.dial(self.now, UNIX, &to), Ok(()));
            peers.send(self.now, &to.hash(), message, Priority::Own).unwrap();
        }
        self.drain(from);
    }

    fn run(&mut self, d: Duration) {
        let end = self.now + d;
        loop {
            let event = self.events.keys().next().copied().filter(|key| key.0 <= end);
            let all = 0..self.sides.len();
            let timer = all.filter_map(|n| Some((self.sides[n].peers.poll_timeout()?, n))).min();
            match (event, timer.filter(|(at, _)| *at <= end)) {
                (Some(key), timer) if timer.is_none_or(|(at, _)| key.0 <= at) => {
                    self.now = key.0;
                    let (n, what) = self.events.remove(&key).unwrap();
                    self.happen(n, what);
                }
                (_, Some((at, n))) => {
                    self.now = self.now.max(at);
                    let unix = UNIX + self.now.saturating_since(Instant::ZERO);
                    self.sides[n].peers.handle_timeout(self.now, unix);
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
        let host = |(n, side): (usize, &Side)| {
            let behind_one_gate = SocketAddr::from(([99, 0, 0, n as u8], 1));
            let published = side.info.ntcp2().and_then(|a| a.host);
            let from = side.from.map(|ip| SocketAddr::new(ip, 1));
            from.or(published).unwrap_or(behind_one_gate)
        };
        let hosts: Vec<SocketAddr> = self.sides.iter().enumerate().map(host).collect();
        let side = &mut self.sides[n];
        match what {
            What::Dialled(from, far) => {
                side.accepted += 1;
                let conn = ConnId::accepted(side.accepted);
                side.far.insert(conn, (from, far));
                side.peers.handle_accepted(now, conn, hosts[from]);
                self.sides[from].far.insert(far, (n, conn));
                self.push(from, What::Connected(far));
            }
            What::Connected(conn) => side.peers.handle_connected(conn),
            What::Bytes(conn, mut bytes) => {
                side.peers.handle_bytes(now, unix, conn, &mut bytes);
            }
            What::Gone(conn, dead) => side.peers.handle_gone(now, unix, conn, dead),
            What::Datagram(from, mut bytes) => {
                side.peers.handle_datagram(now, unix, from, &mut bytes);
            }
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
                PeerEvent::Skewed { .. } => panic!("skewed"),
                PeerEvent::Unreachable { blame, .. } => self.sides[n].unreachable.push(blame),
                PeerEvent::RouterInfo { info, .. } => self.sides[n].infos.push((now, info)),
            }
        }
        while let Some(action) = self.sides[n].peers.poll_action() {
            match action {
                PeerAction::Connect { conn, remote } => {
                    let at =
                        |s: &Side| !s.deaf.0 && s.info.ntcp2().and_then(|a| a.host) == Some(remote);
                    match self.sides.iter().position(at) {
                        Some(to) => self.push(to, What::Dialled(n, conn)),
                        None => self.push(n, What::Gone(conn, true)),
                    }
                }
                PeerAction::Close { conn, abort } => {
                    self.write(n, conn);
                    if let Some((to, far)) = self.sides[n].far.get(&conn).copied() {
                        self.push(to, What::Gone(far, abort));
                    }
                }
                PeerAction::Resume(_) => {}
            }
        }
        while let Some(conn) = self.sides[n].peers.poll_writable() {
            self.write(n, conn);
        }
        let mut out = Vec::new();
        while let Some(train) = self.sides[n].peers.poll_transmit(now, unix, 16, &mut out) {
            assert_eq!(train.len, out.len());
            let to = self.sides.iter().position(|s| !s.deaf.1 && s.udp == Some(train.to));
            for packet in out.chunks(train.segment) {
                if let (Some(to), Some(from)) = (to, self.sides[n].udp) {
                    self.push(to, What::Datagram(from, packet.to_vec()));
                }
            }
            out.clear();
        }
        // What happens at this very moment comes before timers that are due.
        assert!(self.sides[n].peers.poll_timeout().is_none_or(|at| at >= now), "{unix:?}");
    }

    fn write(&mut self, n: usize, conn: ConnId) {
        let unix = UNIX + self.now.saturating_since(Instant::ZERO);
        let mut out = Vec::new();
        while self.sides[n].peers.poll_conn(self.now, unix, conn, 10_000, &mut out) > 0 {}
        if let Some((to, far)) = self.sides[n].far.get(&conn).copied()
            && !out.is_empty()
        {
            self.push(to, What::Bytes(far, out));
        }
    }

    fn push(&mut self, n: usize, what: What) {
        self.sequence += 1;
        self.events.insert((self.now + LATENCY, self.sequence), (n, what));
    }

    /// `n` loses its power and starts anew, as `side`; nobody tells the others.
    fn restart(&mut self, n: usize, side: Side) {
        let far = core::mem::take(&mut self.sides[n].far);
        let accepted = self.sides[n].accepted;
        self.sides[n] = Side { accepted, ..side };
        // Its handshakes are others than before.
        let rng = Rng::new(&Seed::from_number(1000 + self.sequence));
        let peers = &mut self.sides[n].peers;
        peers.ntcp2 = ntcp2::Endpoint::new(peers.config.local.clone(), rng);
        for (other, conn) in far.values() {
            self.sides[*other].far.remove(conn);
        }
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
            assert_eq!([0, 1].map(|n| pair.sides[n].received.clone()), [[201], [200]]);
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
    pair.restart(1, side(4));
    pair.send(1, 2);
    pair.run(Duration::from_secs(1));
    pair.send(0, 3);
    pair.run(RETIREMENT);
    assert_eq!((pair.sides[0].received.as_slice(), pair.sides[0].downs), (&[2][..], 0));
    assert_eq!(pair.sides[1].received, [3]);
    assert_eq!(pair.sessions(), [1, 1]);
}

#[test]
fn under_a_bandwidth_limit_sessions_take_turns_and_none_is_taken_for_dead() {
    let hub = side_with(10, 100, 60_000, UNIX);
    let mut pair = Pair::of(core::iter::once(hub).chain((11..17).map(side)).collect());
    // Six want 40 kB/s each of the 60 there are.
    let mut id = 0;
    for _ in 0..40 * 20 {
        for to in 1..7 {
            id += 1;
            pair.send_to(0, to, id, 2000);
        }
        pair.run(Duration::from_millis(50));
    }
    let got: Vec<usize> = pair.sides.iter().skip(1).map(|s| s.received.len()).collect();
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(*least * 10 >= *most * 9, "{got:?}");
    let bytes = got.iter().sum::<usize>() * 2000;
    assert!((40 * 54_000..40 * 63_000).contains(&bytes), "{bytes}");
    assert!(pair.sides.iter().all(|s| s.downs == 0));
}

#[test]
fn a_session_that_waits_long_for_its_turn_is_not_taken_for_dead() {
    // Each has its turn every 80 s.
    let hub = side_with(10, 100, 800, UNIX);
    let mut pair = Pair::of(core::iter::once(hub).chain((11..15).map(side)).collect());
    for second in 0..400 {
        for to in 1..5 {
            pair.send_to(0, to, second, 15_000);
        }
        pair.run(Duration::from_secs(1));
    }
    assert!(pair.sides.iter().all(|s| s.downs == 0));
}

#[test]
fn strangers_take_no_room_from_dialling() {
    let mut hub = side_with(20, 8, 1 << 20, UNIX);
    let now = Instant::ZERO;
    for n in 0..50_u8 {
        let remote = SocketAddr::from(([13, n, 0, 1], 1));
        hub.peers.handle_accepted(now, ConnId::accepted(n.into()), remote);
    }
    assert_eq!(hub.peers.counts().pending, 2, "a quarter of the sessions");
    for n in 21..29 {
        assert_eq!(hub.peers.dial(now, UNIX, &side(n).info), Ok(()));
    }
    assert_eq!(hub.peers.dial(now, UNIX, &side(30).info), Err(NotDialled::NoRoom));
}

#[test]
fn inbound_sessions_leave_room_to_dial_and_idle_ones_give_way() {
    let hub = side_with(80, 8, 1 << 20, UNIX);
    let mut pair = Pair::of(core::iter::once(hub).chain((81..95).map(side)).collect());
    let inbound = |pair: &Pair| pair.sides[0].peers.counts().inbound;
    let is_up = |pair: &Pair, n: usize| {
        let peer = pair.sides[n].info.hash();
        pair.sides[0].peers.is_connected(&peer)
    };
    for n in 1..9 {
        pair.send_to(n, 0, 1, 9);
        pair.run(Duration::from_secs(1));
    }
    assert_eq!(inbound(&pair), 6, "three quarters");
    for n in 9..11 {
        pair.send_to(0, n, 1, 9);
    }
    pair.run(Duration::from_secs(1));
    let counts = pair.sides[0].peers.counts();
    assert_eq!((counts.inbound, counts.outbound), (6, 2));
    // Two of them are used, one way or the other. The longest idle one is the third.
    for id in 2..42 {
        pair.send_to(1, 0, id, 9);
        pair.send_to(0, 2, id, 9);
        pair.run(Duration::from_secs(1));
    }
    pair.send_to(11, 0, 50, 9);
    pair.run(Duration::from_secs(1));
    assert_eq!((inbound(&pair), is_up(&pair, 3), is_up(&pair, 11)), (6, false, true));
    for n in 12..15 {
        pair.send_to(n, 0, 51, 9);
        pair.run(Duration::from_secs(1));
    }
    // All that are left are in use.
    assert!([1, 2, 11, 12, 13, 14].into_iter().all(|n| is_up(&pair, n)));
    pair.send_to(4, 0, 52, 9);
    pair.run(Duration::from_secs(1));
    assert_eq!((inbound(&pair), is_up(&pair, 4)), (6, false));
}

/// Who of 15 comes in to `hub` with room for many.
fn admitted(peers: Vec<Side>) -> usize {
    let hub = side_with(80, 100, 1 << 20, UNIX);
    let mut pair = Pair::of(core::iter::once(hub).chain(peers).collect());
    for n in 1..pair.sides.len() {
        pair.send_to(n, 0, 1, 9);
        pair.run(Duration::from_secs(1));
    }
    pair.sides[0].peers.counts().inbound
}

#[test]
fn peers_that_publish_no_address_take_little_room_from_one_place() {
    let hidden = |n| side_at(None, n, 100, 1 << 20, UNIX);
    let from = |n: u64, ip: String| Side { from: Some(ip.parse().unwrap()), ..hidden(n) };
    let v4 = (81..95).map(hidden).chain([side(96)]).collect();
    assert_eq!(admitted(v4), MAX_PER_PLACE + 1);
    let one_site = (81..95).map(|n| from(n, alloc::format!("2a00:1:2:{n}::1"))).collect();
    assert_eq!(admitted(one_site), MAX_PER_PLACE);
    let many_sites = (81..95).map(|n| from(n, alloc::format!("2a00:1:{n}::1"))).collect();
    assert_eq!(admitted(many_sites), 14);
}

#[test]
fn peers_that_publish_one_address_take_little_room() {
    let at = |host: &str| {
        (81..95).map(|n| side_at(Some(host.to_string()), n, 100, 1 << 20, UNIX)).collect()
    };
    assert_eq!(admitted(at("11.0.0.1")), MAX_PER_PLACE);
    assert_eq!(admitted(at("2a00:1:2:3::1")), MAX_PER_PLACE);
    let near = |n: u64| side_at(Some(alloc::format!("2a00:1:2:{n}::1")), n, 100, 1 << 20, UNIX);
    assert_eq!(admitted((81..95).map(near).collect()), 14);
}

#[test]
fn a_dead_session_does_not_keep_out_its_own_peer() {
    let sessions = |pair: &Pair| pair.sides[0].peers.counts().inbound;
    // Everything that peers may open is in use.
    let hub = side_with(80, 8, 1 << 20, UNIX);
    let mut full = Pair::of(core::iter::once(hub).chain((81..88).map(side)).collect());
    // And everything that one place may have.
    let hidden = |n| side_at(None, n, 100, 1 << 20, UNIX);
    let hub = side_with(80, 100, 1 << 20, UNIX);
    let mut crowd = Pair::of(core::iter::once(hub).chain((81..90).map(hidden)).collect());
    let in_full: (&mut Pair, &dyn Fn(u64) -> Side, usize) = (&mut full, &side, 6);
    let in_crowd: (&mut Pair, &dyn Fn(u64) -> Side, usize) = (&mut crowd, &hidden, MAX_PER_PLACE);
    for (pair, make, most) in [in_full, in_crowd] {
        for n in 1..=most {
            pair.send_to(n, 0, 1, 9);
            pair.run(Duration::from_millis(500));
        }
        assert_eq!(sessions(pair), most);
        // It comes back more often than old sessions take to end.
        for id in 2..12 {
            pair.restart(3, make(83));
            pair.send_to(3, 0, id, 9);
            pair.run(Duration::from_millis(500));
            assert_eq!(pair.sides[0].received.last(), Some(&id));
            assert_eq!(sessions(pair), most);
        }
        pair.send_to(0, 3, 20, 9);
        pair.run(RETIREMENT);
        assert_eq!((pair.sides[3].received.as_slice(), pair.sides[0].downs), (&[20][..], 0));
        // Another one does not come in.
        pair.send_to(most + 1, 0, 30, 9);
        pair.run(Duration::from_secs(1));
        assert_eq!((pair.sides[0].received.last(), sessions(pair)), (Some(&11), most));
    }
}

#[test]
fn failed_dials_are_forgotten_after_a_while_and_count_once_a_peer() {
    let mut pair = Pair::new(40, 41);
    let dial = |pair: &mut Pair, n| {
        pair.send(1, 1);
        pair.run(Duration::from_secs(1));
        let now = pair.now;
        pair.sides[0].peers.dial(now, UNIX, &side(n).info).unwrap();
        pair.drain(0);
        pair.run(Duration::from_secs(1));
        *pair.sides[0].unreachable.last().unwrap()
    };
    // One peer is dialled again and again.
    for _ in 0..20 {
        assert!(dial(&mut pair, 50));
        pair.run(REDIAL);
    }
    let blamed = (51..70).filter(|n| dial(&mut pair, *n)).count();
    assert_eq!(blamed, MANY_FAILED - 2);
    // Nothing is dialled for a while, so no dial succeeds either.
    pair.run(FAILED_LATELY);
    assert!(dial(&mut pair, 71));
}

#[test]
fn a_failed_dial_is_blamed_on_the_peer_only_while_others_are_heard() {
    let nobody = |n| side(n).info;
    let mut pair = Pair::new(40, 41);
    let dial = |pair: &mut Pair, n| {
        let now = pair.now;
        pair.sides[0].peers.dial(now, UNIX, &nobody(n)).unwrap();
        pair.drain(0);
        pair.run(Duration::from_secs(1));
    };
    // We are connected to nobody.
    dial(&mut pair, 50);
    assert_eq!(pair.sides[0].unreachable, [false]);
    let again = pair.sides[0].peers.dial(pair.now, UNIX, &nobody(50));
    assert_eq!(again, Err(NotDialled::FailedLately));
    pair.send(1, 1);
    pair.run(Duration::from_secs(1));
    dial(&mut pair, 51);
    assert_eq!(pair.sides[0].unreachable, [false, true]);
    // A session is up, but silent: as after a sleep, or when the line is cut.
    pair.run(Duration::from_secs(20));
    dial(&mut pair, 52);
    assert_eq!(pair.sides[0].unreachable, [false, true, false]);
    // All dials fail.
    for n in 53..65 {
        pair.send(1, n as u32);
        pair.run(Duration::from_secs(1));
        dial(&mut pair, n);
    }
    let blamed = pair.sides[0].unreachable.iter().filter(|blame| **blame).count();
    assert!((3..8).contains(&blamed), "{blamed}");
    assert_eq!(pair.sides[0].unreachable.last(), Some(&false));
}

#[test]
fn a_renewed_router_info_reaches_the_peers_of_open_sessions_within_its_time() {
    let mut pair = Pair::of((70..76).map(side).collect());
    for to in 1..6 {
        pair.send_to(0, to, 1, 9);
    }
    pair.run(Duration::from_secs(1));
    let renewed = side_with(70, 100, 1 << 20, UNIX + Duration::from_secs(1)).info;
    let now = pair.now;
    pair.sides[0].peers.set_own(now, renewed.clone());
    // Sessions that say nothing end.
    for _ in 0..INFORM_WITHIN.as_secs() {
        for to in 1..6 {
            pair.send_to(0, to, 1, 9);
        }
        pair.run(Duration::from_secs(1));
    }
    let mut times = BTreeSet::new();
    for side in pair.sides.iter().skip(1) {
        let [(at, info)] = side.infos.as_slice() else { panic!("{} times", side.infos.len()) };
        assert!(info.as_bytes() == renewed.as_bytes());
        times.insert(at.as_micros() / 1_000_000);
    }
    assert!(times.len() >= 4, "not all at once: {times:?}");
}

#[test]
fn two_sides_talk_over_what_both_speak() {
    for (a, b, over_ssu2) in
        [(SSU2, SSU2, 1), (BOTH, SSU2, 1), (SSU2, BOTH, 1), (BOTH, BOTH, 0), (NTCP2, BOTH, 0)]
    {
        let mut pair = Pair::of(alloc::vec![side_speaking(80, a), side_speaking(81, b)]);
        for id in 0..40 {
            pair.send_to(0, 1, id, 9000);
            pair.send_to(0, 1, 100 + id, 9);
        }
        pair.run(Duration::from_secs(2));
        pair.send(1, 900);
        pair.run(Duration::from_secs(1));
        let ids: BTreeSet<u32> = pair.sides[1].received.iter().copied().collect();
        assert_eq!(ids, (0..40).chain(100..140).collect());
        assert_eq!(pair.sides[0].received, [900]);
        assert_eq!(pair.sessions(), [1, 1]);
        let counts = pair.sides.iter().map(|s| s.peers.counts().ssu2);
        assert!(counts.eq([over_ssu2; 2]), "{over_ssu2}");
    }
    // Nothing in common.
    let mut pair = Pair::of(alloc::vec![side_speaking(80, NTCP2), side_speaking(81, SSU2)]);
    let (now, to) = (pair.now, pair.sides[1].info.clone());
    assert_eq!(pair.sides[0].peers.dial(now, UNIX, &to), Err(NotDialled::NoAddress));
}

#[test]
fn where_one_transport_fails_the_other_is_tried_and_nothing_that_waits_is_lost() {
    let mut pair = Pair::of(alloc::vec![side_speaking(82, BOTH), side_speaking(83, BOTH)]);
    pair.sides[1].deaf.0 = true;
    for id in 0..10 {
        pair.send_to(0, 1, id, 2000);
    }
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.sides[1].received, (0..10).collect::<Vec<_>>());
    assert_eq!((pair.sides[0].ups, pair.sides[0].unreachable.len()), (1, 0));
    // The other way round there is nothing left, and that is told once.
    let mut pair = Pair::of(alloc::vec![side_speaking(82, BOTH), side_speaking(83, BOTH)]);
    pair.sides[1].deaf = (true, true);
    pair.send(0, 1);
    pair.run(Duration::from_secs(30));
    assert_eq!((pair.sides[0].ups, pair.sides[0].unreachable.len()), (0, 1));
    assert_eq!(pair.sides[0].peers.counts(), Counts::default());
}

#[test]
fn sessions_of_two_transports_that_cross_leave_one() {
    // Each knows of the other what the other does not know of it.
    for seed in 84..90 {
        let mut pair =
            Pair::of(alloc::vec![side_speaking(seed, BOTH), side_speaking(seed + 10, BOTH)]);
        let only_ssu2 = side_speaking(seed + 10, SSU2).info;
        let now = pair.now;
        pair.sides[0].peers.dial(now, UNIX, &only_ssu2).unwrap();
        pair.drain(0);
        pair.send(1, 1);
        pair.send(0, 2);
        pair.run(Duration::from_secs(1));
        for id in 10..20 {
            pair.send((id % 2) as usize, id);
            pair.run(Duration::from_millis(200));
        }
        pair.run(RETIREMENT + Duration::from_secs(10));
        assert_eq!(pair.sessions(), [1, 1], "{seed}");
        assert_eq!(pair.sides[0].downs + pair.sides[1].downs, 0, "{seed}");
        let received = pair.sides.iter().map(|s| s.received.len());
        assert!(received.eq([6, 6]), "{seed}");
    }
}

#[test]
fn under_a_bandwidth_limit_datagrams_and_streams_take_turns() {
    let speaker = |seed, speaks| {
        side_of(Some(alloc::format!("11.{seed}.0.1")), seed, 100, 64 << 10, UNIX, speaks)
    };
    let mut pair = Pair::of(alloc::vec![
        speaker(100, BOTH),
        speaker(101, SSU2),
        speaker(102, NTCP2),
        speaker(103, SSU2),
    ]);
    // Three times what the limit allows; the burst at the beginning is whose it may be.
    let mut before = Vec::new();
    for round in 0..50 {
        for to in 1..4 {
            for id in 0..2 {
                pair.send_to(0, to, 2 * round + id, 6000);
            }
        }
        pair.run(Duration::from_millis(200));
        if round == 10 {
            before = pair.sides.iter().map(|s| s.received.len()).collect();
        }
    }
    let got: Vec<usize> =
        pair.sides.iter().zip(before).skip(1).map(|(s, n)| s.received.len() - n).collect();
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(*least >= 15 && *most <= least * 3 / 2, "{got:?}");
    let sent = pair.sides[0].peers.traffic().sent;
    assert!(sent < (64 << 10) * 10 + 96_000, "{sent}");
    assert!(pair.sides.iter().all(|s| s.downs == 0));
}

#[test]
fn a_goodbye_goes_over_both_transports() {
    let mut pair = Pair::of(alloc::vec![
        side_speaking(104, BOTH),
        side_speaking(105, SSU2),
        side_speaking(106, NTCP2),
    ]);
    pair.send_to(0, 1, 1, 9);
    pair.send_to(0, 2, 1, 9);
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.sides[0].peers.close_all(now, UNIX);
    pair.drain(0);
    pair.run(Duration::from_secs(1));
    assert_eq!((pair.sides[1].downs, pair.sides[2].downs), (1, 1));
    // Nobody gets in any more.
    pair.send_to(1, 0, 2, 9);
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.sides[0].received, []);
    assert_eq!(pair.sides[0].peers.counts(), Counts::default());
}

#[test]
fn a_session_that_waits_for_its_turn_says_goodbye_all_the_same() {
    let mut slow = side_of(Some(String::from("11.110.0.1")), 110, 100, 1 << 10, UNIX, SSU2);
    slow.udp = Some(SocketAddr::from(([11, 110, 0, 1], 2)));
    let mut pair = Pair::of(alloc::vec![slow, side_speaking(111, SSU2), side_speaking(112, SSU2)]);
    for to in 1..3 {
        for id in 0..40 {
            pair.send_to(0, to, id, 6000);
        }
    }
    pair.run(Duration::from_secs(1));
    let now = pair.now;
    pair.sides[0].peers.close_all(now, UNIX);
    pair.drain(0);
    pair.run(Duration::from_secs(5));
    assert_eq!((pair.sides[1].downs, pair.sides[2].downs), (1, 1));
    assert!(pair.sides[0].peers.ssu2.as_ref().unwrap().is_empty());
}

#[test]
fn junk_in_datagrams_holds_no_stream_back() {
    let mut pair = Pair::of(alloc::vec![side_speaking(113, BOTH), side_speaking(114, NTCP2)]);
    pair.send(1, 1);
    pair.run(Duration::from_secs(1));
    let (now, from) = (pair.now, SocketAddr::from(([99, 9, 9, 9], 9)));
    for n in 0..20_000_u32 {
        let mut junk = [n as u8; 1400];
        pair.sides[0].peers.handle_datagram(now, UNIX, from, &mut junk);
    }
    pair.drain(0);
    pair.send(1, 2);
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.sides[0].received, [1, 2]);
    let paused = pair.sides[0].peers.starved_reads.len();
    assert_eq!(paused, 0);
}

#[test]
fn a_router_is_dialled_at_one_address_of_a_kind() {
    let mut side = side_speaking(115, BOTH);
    let mut rng = Rng::new(&Seed::from_number(1));
    let signing = SigningKey::generate(&mut rng);
    let many: Vec<RouterAddress> = (0..5)
        .flat_map(|n| {
            let mut all = side.info.addresses().to_vec();
            for address in &mut all {
                address.options.insert("host", &alloc::format!("12.0.0.{n}")).unwrap();
            }
            all
        })
        .collect();
    let info = RouterInfo::build(side.info.identity(), UNIX, &many, side.info.options(), &signing);
    let routes = route::routes(&info, side.peers.config.reach);
    let kinds: Vec<bool> = routes.iter().map(|r| matches!(r, Route::Ntcp2(..))).collect();
    assert_eq!(kinds, [true, false]);
    side.peers.config.reach.ntcp2 = false;
    assert_eq!(route::routes(&info, side.peers.config.reach).len(), 1);
}

#[test]
fn what_was_to_be_told_while_a_session_was_set_up_is_told() {
    for speaks in [NTCP2, SSU2] {
        let mut pair =
            Pair::of(alloc::vec![side_speaking(116, speaks), side_speaking(117, speaks)]);
        pair.send(0, 1);
        // Not even the first answer is here.
        pair.run(LATENCY);
        let info = side_of(
            Some(String::from("11.116.0.1")),
            116,
            100,
            1 << 20,
            UNIX + Duration::from_secs(1),
            speaks,
        )
        .info;
        let now = pair.now;
        pair.sides[0].peers.set_own(now, info);
        for id in 0..INFORM_WITHIN.as_secs() as u32 {
            pair.send(0, 10 + id);
            pair.run(Duration::from_secs(1));
        }
        assert_eq!(pair.sides[1].infos.len(), 1);
    }
}

#[test]
fn an_address_of_another_transport_is_no_excuse_for_coming_in_numbers() {
    // They publish an address over NTCP2 that is not theirs, and come over SSU2, which they do not publish.
    let stranger = |n: u64| {
        let mut side = side_speaking(n, BOTH);
        side.udp = Some(SocketAddr::from(([77, 7, 7, n as u8], 2)));
        let (addresses, options) = (side.info.addresses().to_vec(), side.info.options().clone());
        let mut rng = Rng::new(&Seed::from_number(n));
        let signing = SigningKey::generate(&mut rng);
        let identity = side.info.identity().clone();
        let addresses: Vec<_> = addresses
            .into_iter()
            .map(|mut address| {
                if address.style == Style::Ssu2 {
                    let mut unpublished = address.ssu2().unwrap();
                    unpublished.host = None;
                    unpublished.caps.v4 = true;
                    address.options = unpublished.options();
                }
                address
            })
            .collect();
        side.info = RouterInfo::build(&identity, UNIX, &addresses, &options, &signing);
        side.peers.set_own(Instant::ZERO, side.info.clone());
        side
    };
    let mut sides = alloc::vec![side_speaking(118, SSU2)];
    sides.extend((130..145).map(stranger));
    let mut pair = Pair::of(sides);
    for n in 1..16 {
        pair.send_to(n, 0, n as u32, 9);
        pair.run(Duration::from_secs(1));
    }
    assert_eq!(pair.sides[0].peers.counts().inbound, MAX_PER_PLACE);
}
