//! Two destinations against each other, over links of a test.

use super::own::LEASE_LOST;
use super::*;
use crate::keys::DestinationKeys;
use crate::rng::Seed;
use crate::wire::certificate::ELGAMAL;
use crate::wire::lease_set::{Contents, LeaseSet2};
use crate::wire::mapping::Mapping;
use crate::wire::payload::Protocol;
use alloc::collections::BTreeMap;

const LATENCY: Duration = Duration::from_millis(200);
const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const LEASE: Duration = Duration::from_secs(600);

pub(super) fn payload(data: &[u8]) -> Payload {
    Payload { from_port: 1, to_port: 2, protocol: Protocol::STREAMING, data: data.to_vec() }
}

fn via(n: u64) -> OutboundId {
    OutboundId::for_tests(n)
}

/// What one side did and heard.
struct Side {
    destination: Destination,
    hash: Hash,
    received: Vec<Vec<u8>>,
    sent: usize,
    lookups: Vec<(Instant, Hash)>,
    published: Vec<LeaseSet>,
    confirmed: Vec<(OutboundId, Instant)>,
    doubted: usize,
    resolved: Vec<Result<Hash, Unresolved>>,
    /// The router has no tunnel for it, whatever it believes.
    no_tunnels: bool,
    /// The router takes this tunnel instead.
    instead: Option<OutboundId>,
    /// What it sends is lost.
    loses: bool,
}

struct Pair {
    now: Instant,
    sides: [Side; 2],
    links: BTreeMap<(Instant, usize), (usize, Message)>,
    sequence: usize,
}

impl Pair {
    /// 0 is a client, 1 a server; both have tunnels.
    fn new() -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        let side = |n: u64| {
            let mut rng = Rng::new(&Seed::from_number(n));
            let keys = DestinationKeys::generate(&mut rng);
            let hash = keys.identity.hash();
            Side {
                destination: Destination::new(keys, n == 1, now, rng),
                hash,
                received: Vec::new(),
                sent: 0,
                lookups: Vec::new(),
                published: Vec::new(),
                confirmed: Vec::new(),
                doubted: 0,
                resolved: Vec::new(),
                no_tunnels: false,
                instead: None,
                loses: false,
            }
        };
        let mut pair = Self { now, sides: [side(0), side(1)], links: BTreeMap::new(), sequence: 0 };
        for side in 0..2 {
            pair.give_tunnels(side, 1);
        }
        pair
    }

    fn unix(&self) -> UnixTime {
        UNIX + self.now.saturating_since(Instant::ZERO)
    }

    fn give_tunnels(&mut self, side: usize, tunnel: u64) {
        let (now, unix) = (self.now, self.unix());
        let gateway = Hash([side as u8; 32]);
        let lease = Lease { gateway, tunnel: tunnel as u32, expires: unix + LEASE };
        let destination = &mut self.sides[side].destination;
        destination.handle_tunnels(now, unix, alloc::vec![lease], alloc::vec![via(tunnel)]);
        self.drain(side);
    }

    fn send(&mut self, from: usize, data: &[u8]) {
        let (now, unix, to) = (self.now, self.unix(), self.sides[1 - from].hash);
        self.sides[from].destination.send(now, unix, to, payload(data), true);
        self.drain(from);
    }

    fn drain(&mut self, n: usize) {
        let (now, unix) = (self.now, self.unix());
        let side = &mut self.sides[n];
        while let Some(action) = side.destination.poll_action() {
            match action {
                DestinationAction::Lookup(key) => side.lookups.push((now, key)),
                DestinationAction::Publish(set) => side.published.push(set),
                DestinationAction::Send { .. } if side.destination.outbound.is_empty() => {
                    panic!("sent without a tunnel")
                }
                DestinationAction::Send { parcel, .. } if side.no_tunnels => {
                    side.destination.handle_unsent(parcel);
                }
                DestinationAction::Send { via, parcel } => {
                    side.sent += 1;
                    if let Some(ack) = parcel.ack {
                        side.destination.handle_sent(ack, side.instead.unwrap_or(via));
                    }
                    if !side.loses {
                        assert!(parcel.message.expires > unix);
                        self.sequence += 1;
                        let to = usize::from(parcel.gateway.0[0]);
                        let at = (now + LATENCY, self.sequence);
                        self.links.insert(at, (to, parcel.message));
                    }
                }
                DestinationAction::Confirmed { via, sent } => side.confirmed.push((via, sent)),
                DestinationAction::Doubted => side.doubted += 1,
                DestinationAction::Received { payload, .. } => side.received.push(payload.data),
                DestinationAction::Resolved { result, .. } => {
                    side.resolved.push(result.map(|identity| identity.hash()));
                }
                DestinationAction::Message(_) => {}
            }
        }
    }

    /// Gives the client the lease set of the server.
    fn introduce(&mut self) {
        let set = self.sides[1].destination.lease_set().unwrap().clone();
        let (now, unix, to) = (self.now, self.unix(), self.sides[1].hash);
        self.sides[0].destination.resolve(now, unix, to);
        self.sides[0].destination.handle_lease_set(now, unix, set);
        self.drain(0);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let link = self.links.first_key_value().map(|((at, _), _)| *at);
            let timers = self.sides.iter().map(|s| s.destination.poll_timeout());
            let Some(at) = timers.fold(link, earliest).filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            let (now, unix) = (self.now, self.unix());
            while let Some(entry) = self.links.first_entry().filter(|e| e.key().0 <= now) {
                let (to, mut message) = entry.remove();
                self.sides[to].destination.handle_garlic(now, unix, &mut message.body);
                self.drain(to);
            }
            for n in 0..2 {
                if self.sides[n].destination.poll_timeout().is_some_and(|due| due <= now) {
                    self.sides[n].destination.handle_timeout(now, unix);
                    self.drain(n);
                }
            }
        }
        self.now = end;
    }

    /// A pair with a session that both have used.
    fn talking() -> Self {
        let mut pair = Self::new();
        pair.introduce();
        pair.send(0, b"hello");
        pair.run(Duration::from_secs(1));
        pair.send(1, b"hello yourself");
        pair.run(Duration::from_secs(1));
        pair.send(0, b"well then");
        pair.run(Duration::from_secs(3));
        assert_eq!(pair.sides[1].received, [b"hello".to_vec(), b"well then".to_vec()]);
        assert_eq!(pair.sides[0].received, [b"hello yourself".to_vec()]);
        pair
    }
}

#[test]
fn an_ack_confirms_the_tunnel_that_the_message_really_took() {
    for instead in [None, Some(via(9))] {
        let mut pair = Pair::talking();
        pair.sides[0].instead = instead;
        pair.sides[0].confirmed.clear();
        let sent = pair.now;
        for _ in 0..9 {
            pair.send(0, b"x");
        }
        pair.run(Duration::from_secs(3));
        let want = (instead.unwrap_or(via(1)), sent);
        assert_eq!(pair.sides[0].confirmed.first(), Some(&want));
    }
}

#[test]
fn nothing_is_confirmed_while_nothing_arrives() {
    let mut pair = Pair::talking();
    pair.sides[0].loses = true;
    pair.sides[0].confirmed.clear();
    for _ in 0..9 {
        pair.send(0, b"x");
    }
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.sides[0].confirmed, []);
}

#[test]
fn what_found_no_tunnel_goes_when_there_is_one() {
    let mut pair = Pair::talking();
    pair.sides[0].no_tunnels = true;
    pair.send(0, b"a");
    // Meanwhile known to be without tunnels.
    pair.send(0, b"b");
    pair.run(Duration::from_secs(2));
    let before = pair.sides[1].received.len();
    pair.sides[0].no_tunnels = false;
    pair.give_tunnels(0, 2);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sides[1].received[before..], [b"a".to_vec(), b"b".to_vec()]);
    // Too late for the one that was encrypted, not for the other.
    pair.sides[0].no_tunnels = true;
    pair.send(0, b"c");
    pair.send(0, b"d");
    pair.run(Duration::from_secs(30));
    pair.sides[0].no_tunnels = false;
    pair.give_tunnels(0, 3);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sides[1].received[before + 2..], [b"d".to_vec()]);
}

#[test]
fn a_lost_burst_does_not_cost_the_session() {
    let mut pair = Pair::talking();
    let sessions = pair.sides[0].destination.sessions.len();
    let hash = pair.sides[1].hash;
    pair.sides[0].loses = true;
    let before = pair.sides[0].sent;
    for n in 0..60 {
        pair.send(0, &[n]);
    }
    let burst = pair.sides[0].sent - before;
    assert!((15..=24).contains(&burst), "{burst} in a young session");
    assert!(pair.sides[0].destination.is_congested(&hash));
    pair.run(Duration::from_secs(1));
    pair.sides[0].loses = false;
    let before = pair.sides[1].received.len();
    pair.run(Duration::from_secs(8));
    // The rest arrived, in the same session.
    assert!(pair.sides[1].received.len() >= before + 60 - burst - 2);
    assert!(!pair.sides[0].destination.is_congested(&hash));
    assert_eq!(pair.sides[0].destination.sessions.len(), sessions);
}

#[test]
fn a_search_that_failed_is_repeated_while_something_waits() {
    let mut pair = Pair::new();
    let hash = pair.sides[1].hash;
    pair.send(0, b"an ack, say");
    for wait in [4, 8, 16, 16] {
        let (asked, key) = pair.sides[0].lookups.pop().unwrap();
        assert_eq!((asked, key), (pair.now, hash));
        let (now, unix) = (pair.now, pair.unix());
        let why = Unresolved::NotFound;
        pair.sides[0].destination.handle_lookup_failed(now, unix, hash, why);
        pair.drain(0);
        pair.run(Duration::from_secs(wait) - Duration::from_millis(1));
        assert_eq!(pair.sides[0].lookups, []);
        pair.run(Duration::from_millis(1));
    }
    pair.introduce();
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sides[1].received.len(), 1);
    // Nothing waits: nothing is asked.
    let (now, unix, nobody) = (pair.now, pair.unix(), Hash([7; 32]));
    pair.sides[0].destination.resolve(now, unix, nobody);
    pair.sides[0].destination.handle_lookup_failed(now, unix, nobody, Unresolved::NotFound);
    pair.drain(0);
    pair.sides[0].lookups.clear();
    pair.run(Duration::from_secs(100));
    assert_eq!(pair.sides[0].lookups, []);
}

#[test]
fn a_lease_set_that_is_of_no_use_says_why() {
    let mut pair = Pair::new();
    let mut rng = Rng::new(&Seed::from_number(9));
    let keys = DestinationKeys::generate(&mut rng);
    let hash = keys.identity.hash();
    let unix = pair.unix();
    let make = |age: u64, kind: u16, key: &[u8]| {
        let published = unix - Duration::from_secs(age);
        let expires = published + LEASE;
        let lease = Lease { gateway: hash, tunnel: 1, expires };
        let contents = Contents {
            published,
            expires,
            keys: &[(kind, key)],
            leases: &[lease],
            options: &Mapping::new(),
            unpublished: false,
        };
        LeaseSet2::build(&keys.identity, &contents, &keys.signing).unwrap()
    };
    for (set, want) in [
        (Some(make(595, X25519, &[9; 32])), Err(Unresolved::Expired)),
        (Some(make(60, ELGAMAL, &[9; 256])), Err(Unresolved::Unsupported)),
        // An older one changes nothing.
        (Some(make(61, X25519, &[9; 32])), Err(Unresolved::Unsupported)),
        (None, Err(Unresolved::Unsupported)),
        (Some(make(30, X25519, &[9; 32])), Ok(hash)),
        (None, Ok(hash)),
    ] {
        let now = pair.now;
        let destination = &mut pair.sides[0].destination;
        destination.resolve(now, unix, hash);
        match set {
            Some(set) => {
                destination.handle_lease_set(now, unix, set);
            }
            None => destination.handle_lookup_failed(now, unix, hash, Unresolved::NotFound),
        }
        pair.drain(0);
        assert_eq!(pair.sides[0].resolved.pop(), Some(want));
        assert!(pair.sides[0].resolved.is_empty());
    }
    let destination = &mut pair.sides[0].destination;
    destination.resolve(pair.now, unix, Hash([7; 32]));
    let why = Unresolved::NoTunnels;
    destination.handle_lookup_failed(pair.now, unix, Hash([7; 32]), why);
    pair.drain(0);
    assert_eq!(pair.sides[0].resolved, [Err(why)]);
}

#[test]
fn a_clients_lease_set_goes_to_those_it_talks_to_and_says_that_it_is_for_nobody_else() {
    let mut pair = Pair::talking();
    pair.give_tunnels(0, 2);
    pair.run(Duration::from_secs(10));
    let [client, server] = &mut pair.sides;
    assert!(client.published.is_empty());
    assert!(client.destination.lease_set().unwrap().is_unpublished());
    assert!(!server.published.is_empty());
    assert!(server.published.iter().all(|set| !set.is_unpublished()));
    // The server took it, from the new session.
    let known = server.destination.remotes.get_mut(&client.hash).unwrap();
    assert!(known.lease_set.as_ref().unwrap().is_unpublished());
}

#[test]
fn a_lease_set_from_the_future_keeps_no_true_one_out() {
    let mut pair = Pair::talking();
    let hours = Duration::from_secs(7200);
    let (now, unix, hash) = (pair.now, pair.unix(), pair.sides[1].hash);
    let known = |pair: &mut Pair| {
        let remote = pair.sides[0].destination.remotes.get_mut(&hash).unwrap();
        remote.lease_set.as_ref().unwrap().published()
    };
    let before = known(&mut pair);
    // The other side's clock is wrong for a while.
    let lease = |unix: UnixTime| Lease { gateway: hash, tunnel: 3, expires: unix + LEASE };
    let rebuild = |pair: &mut Pair, now: Instant, unix: UnixTime| {
        let other = &mut pair.sides[1].destination;
        other.handle_tunnels(now, unix, alloc::vec![lease(unix)], alloc::vec![via(1)]);
        other.handle_timeout(now + Duration::from_secs(2), unix + Duration::from_secs(2));
        other.lease_set().unwrap().clone()
    };
    let false_one = rebuild(&mut pair, now, unix + hours);
    pair.sides[0].destination.handle_lease_set(now, unix, false_one.clone());
    assert_eq!(known(&mut pair), before);
    // Our own clock is wrong, too, for a while.
    pair.sides[0].destination.handle_lease_set(now, unix + hours, false_one);
    assert!(known(&mut pair) > unix + hours);
    let true_one = rebuild(&mut pair, now + Duration::from_secs(10), unix);
    assert!(pair.sides[0].destination.handle_lease_set(now, unix, true_one.clone()));
    assert_eq!(known(&mut pair), true_one.published());
}

#[test]
fn lost_leases_are_told_and_those_that_are_kept_are_not() {
    let mut pair = Pair::talking();
    // Lease sets tell whole seconds.
    pair.run(Duration::from_millis(10_357));
    let lease = |pair: &Pair, tunnel| {
        let expires = pair.unix() + LEASE;
        Lease { gateway: Hash([0; 32]), tunnel, expires }
    };
    let change = |pair: &mut Pair, leases: &[Lease]| {
        let (now, unix, before) = (pair.now, pair.unix(), pair.sides[0].sent);
        let destination = &mut pair.sides[0].destination;
        destination.handle_tunnels(now, unix, leases.to_vec(), alloc::vec![via(1)]);
        pair.run(Duration::from_millis(5_111));
        pair.sides[0].sent - before
    };
    let leases = [2, 3].map(|tunnel| lease(&pair, tunnel));
    assert_eq!(change(&mut pair, &leases), 1, "the first one is lost");
    let more = [leases[0], leases[1], lease(&pair, 4)];
    assert_eq!(change(&mut pair, &more), 0, "one was added");
    assert_eq!(change(&mut pair, &more[1..]), 1, "one was lost");
    let (hash, known) = (pair.sides[0].hash, pair.sides[0].destination.lease_set_version());
    let remote = pair.sides[1].destination.remotes.get_mut(&hash).unwrap();
    assert_eq!(remote.lease_set.as_ref().map(LeaseSet::published), known);
    // It was about to end.
    pair.run(LEASE - LEASE_LOST - Duration::from_secs(5));
    pair.send(0, b"still here");
    pair.run(Duration::from_secs(3));
    let fresh = [lease(&pair, 5)];
    assert_eq!(change(&mut pair, &fresh), 0);
}

/// Which of our lease sets the other side has.
fn has(pair: &mut Pair, side: usize) -> UnixTime {
    let hash = pair.sides[1 - side].hash;
    let remote = pair.sides[side].destination.remotes.get_mut(&hash).unwrap();
    remote.lease_set.as_ref().unwrap().published()
}

#[test]
fn what_went_with_another_new_session_than_the_one_answered_is_sent_again() {
    let mut pair = Pair::new();
    pair.introduce();
    pair.send(0, b"a");
    pair.run(LATENCY);
    pair.send(1, b"answer");
    let answer = core::mem::take(&mut pair.links);
    // Before it comes, a newer lease set goes along with another new session, which is lost.
    pair.give_tunnels(0, 2);
    pair.run(Duration::from_secs(3));
    let newer = pair.sides[0].destination.lease_set_version().unwrap();
    assert!(has(&mut pair, 1) < newer);
    pair.sides[0].loses = true;
    pair.send(0, b"b");
    pair.sides[0].loses = false;
    for (_, message) in answer {
        pair.sequence += 1;
        pair.links.insert((pair.now, pair.sequence), message);
    }
    pair.run(Duration::from_secs(7));
    assert_eq!(pair.sides[0].received, [b"answer"]);
    pair.send(0, b"c");
    pair.run(Duration::from_secs(3));
    assert_eq!(has(&mut pair, 1), newer);
    let hash = pair.sides[1].hash;
    let remote = pair.sides[0].destination.remotes.get_mut(&hash).unwrap();
    assert_eq!(remote.lease_set_known, Some(newer), "once is enough");
}

/// A server whose lease set is newer than the one that its client knows, and a new session of the
/// client's that has just come.
fn asked() -> (Pair, UnixTime) {
    let mut pair = Pair::new();
    pair.introduce();
    pair.give_tunnels(1, 2);
    pair.run(Duration::from_secs(3));
    let newer = pair.sides[1].destination.lease_set_version().unwrap();
    pair.send(0, b"a");
    pair.run(LATENCY);
    assert!(has(&mut pair, 0) < newer);
    (pair, newer)
}

#[test]
fn every_reply_brings_the_lease_set() {
    let (mut pair, newer) = asked();
    pair.sides[1].loses = true;
    pair.send(1, b"lost");
    pair.sides[1].loses = false;
    pair.send(1, b"comes");
    pair.run(LATENCY);
    assert_eq!(pair.sides[0].received, [b"comes"]);
    assert_eq!(has(&mut pair, 0), newer);
}

#[test]
fn a_reply_without_a_lease_set_is_not_taken_for_one_with_it() {
    let (mut pair, newer) = asked();
    // What answers by itself brings none.
    while pair.links.is_empty() {
        pair.run(Duration::from_millis(10));
    }
    pair.sides[1].loses = true;
    pair.send(1, b"lost");
    pair.sides[1].loses = false;
    pair.run(Duration::from_secs(7));
    assert!(pair.sides[0].received.is_empty() && has(&mut pair, 0) < newer);
    pair.send(1, b"comes");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.sides[0].received, [b"comes"]);
    assert_eq!(has(&mut pair, 0), newer);
}

#[test]
fn a_remote_that_nothing_reaches_is_sought_anew_until_it_is_heard_of_or_given_up() {
    let lookups = |heard: bool| {
        let mut pair = Pair::talking();
        let to = pair.sides[1].hash;
        let (now, unix) = (pair.now, pair.unix());
        pair.sides[0].lookups.clear();
        pair.sides[0].destination.handle_stall(now, unix, to, 2, true);
        pair.drain(0);
        assert_eq!((pair.sides[0].lookups.len(), pair.sides[0].doubted), (1, 1));
        assert!(pair.sides[0].destination.lost().eq([to]));
        for _ in 0..12 {
            pair.run(Duration::from_secs(6));
            let (now, unix) = (pair.now, pair.unix());
            let destination = &mut pair.sides[0].destination;
            destination.handle_lookup_failed(now, unix, to, Unresolved::NotFound);
            pair.drain(0);
            if heard {
                pair.send(1, b"here I am");
            }
        }
        assert_eq!(pair.sides[0].destination.lost().count(), 0);
        pair.sides[0].lookups.len()
    };
    assert!((4..=6).contains(&lookups(false)), "{}", lookups(false));
    assert!(lookups(true) <= 2, "{}", lookups(true));
}
