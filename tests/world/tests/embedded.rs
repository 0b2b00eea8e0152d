//! A program with a router inside: destinations, streams and datagrams without a socket between.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use ramson_core::client::target::parse_host;
use ramson_core::client::{Failure, Target};
use ramson_core::datagram::Sender;
use ramson_core::router::Router;
use ramson_core::router::embed::{
    AppDatagram, AppEvent, DatagramKind, DestinationId, IncomingLimits, NewDestination, OpenError,
    Ports, SendError, StreamHandle,
};
use ramson_core::router::output::Event;
use ramson_core::time::Instant;
use ramson_core::wire::identity::Identity;
use ramson_world::content::content;
use ramson_world::{NodeId, Shape, SmallWorld};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 7;

/// A program that uses one destination of the router inside it.
#[derive(Clone)]
struct Program {
    node: NodeId,
    id: DestinationId,
    identity: Identity,
}

impl Program {
    fn target(&self) -> Target {
        parse_host(&self.identity.b32_address()).unwrap()
    }
}

struct Pair {
    small: SmallWorld,
    alice: Program,
    bob: Program,
}

fn open(small: &mut SmallWorld, node: NodeId, new: NewDestination) -> Program {
    small.world.embedder(node, |router, now| {
        let id = router.open_destination(now, new).unwrap();
        let identity = router.destination(id).unwrap().clone();
        Program { node, id, identity }
    })
}

/// A destination with tunnels of the length that the world has.
fn new(name: &str, length: u8) -> NewDestination {
    let mut new = NewDestination::new(name);
    new.tunnels.length = length;
    new.tunnels.quantity = 2;
    new
}

impl Pair {
    /// Two programs on two routers; bob listens.
    fn new(seed: u64) -> Self {
        let shape = Shape { length: 2, ..Shape::default() };
        let mut small = SmallWorld::new(seed, shape);
        let (a, b) = (small.others[0], small.others[1]);
        let alice = open(&mut small, a, new("alice", 2));
        let bob = open(&mut small, b, new("bob", 2));
        let mut pair = Self { small, alice, bob };
        pair.embed(|pair| pair.bob.clone(), |router, _, bob| router.listen(bob.id, PORT));
        let (a, b) = (pair.alice.clone(), pair.bob.clone());
        pair.expect(&a, |e| *e == AppEvent::DestinationReady(a.id));
        pair.expect(&b, |e| *e == AppEvent::DestinationReady(b.id));
        pair
    }

    fn embed<R>(
        &mut self,
        who: impl FnOnce(&Self) -> Program,
        f: impl FnOnce(&mut Router, Instant, &Program) -> R,
    ) -> R {
        let who = who(self);
        self.small.world.embedder(who.node, |router, now| f(router, now, &who))
    }

    fn alice<R>(&mut self, f: impl FnOnce(&mut Router, Instant, &Program) -> R) -> R {
        self.embed(|pair| pair.alice.clone(), f)
    }

    fn bob<R>(&mut self, f: impl FnOnce(&mut Router, Instant, &Program) -> R) -> R {
        self.embed(|pair| pair.bob.clone(), f)
    }

    /// Waits for an event; what comes before it is taken too.
    fn expect(&mut self, who: &Program, wanted: impl Fn(&AppEvent) -> bool) -> AppEvent {
        let node = who.node;
        let came = self.small.world.run_until(LIMIT, |w| w.told(node).iter().any(&wanted));
        let told = self.small.world.told(node);
        assert!(came, "not told within {LIMIT:?}; but: {told:?}");
        loop {
            let event = self.small.world.take_told(node).unwrap();
            if wanted(&event) {
                return event;
            }
        }
    }

    /// A stream from alice to bob, seen from both.
    fn stream(&mut self) -> (StreamHandle, StreamHandle) {
        let (alice, bob) = (self.alice.clone(), self.bob.clone());
        let to = bob.target();
        let ports = Ports { local: 3, remote: PORT };
        let near = self.alice(|router, now, me| router.connect(now, me.id, &to, ports));
        let event = self.expect(&bob, |e| matches!(e, AppEvent::Incoming { .. }));
        let AppEvent::Incoming { destination, stream: far, remote, ports } = event else {
            panic!("{event:?}")
        };
        assert_eq!((destination, remote), (bob.id, alice.identity.clone()));
        assert_eq!(ports, Ports { local: PORT, remote: 3 });
        self.expect(&alice, |e| *e == AppEvent::Connected(near));
        (near, far)
    }

    /// Writes all of `bytes`, as there is room, while the other side reads; returns what it got.
    fn carry(
        &mut self,
        from: &Program,
        write: StreamHandle,
        to: &Program,
        read: StreamHandle,
        bytes: &[u8],
    ) -> Vec<u8> {
        self.carry_on(from, write, to, read, bytes, 0)
    }

    /// As [`Self::carry`], when some was written already.
    fn carry_on(
        &mut self,
        from: &Program,
        write: StreamHandle,
        to: &Program,
        read: StreamHandle,
        bytes: &[u8],
        mut sent: usize,
    ) -> Vec<u8> {
        let mut got = Vec::new();
        let end = self.small.world.now() + 10 * LIMIT;
        while got.len() < bytes.len() {
            assert!(self.small.world.now() < end, "{} of {} bytes", got.len(), bytes.len());
            let rest = &bytes[sent..];
            sent += self.small.world.embedder(from.node, |r, now| r.write(now, write, rest));
            self.small.world.embedder(to.node, |r, now| r.read(now, read, 1 << 20, &mut got));
            let (from, to) = (from.node, to.node);
            while self.small.world.take_told(from).is_some() {}
            while self.small.world.take_told(to).is_some() {}
            self.small.world.run_until(Duration::from_secs(5), |w| {
                w.told(from).contains(&AppEvent::Writable(write))
                    || w.told(to).contains(&AppEvent::Readable(read))
            });
        }
        got
    }
}

#[test]
fn a_stream_carries_both_ways_with_backpressure_and_each_side_ends_its_own() {
    let mut pair = Pair::new(1);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    let (near, far) = pair.stream();
    // More than all buffers hold.
    let bytes = content(3_000_000);
    let at_once = pair.alice(|router, now, _| router.write(now, near, &bytes));
    assert!(at_once > 0 && at_once < bytes.len(), "{at_once}");
    assert!(pair.carry_on(&alice, near, &bob, far, &bytes, at_once) == bytes);
    pair.alice(|router, now, _| router.finish(now, near));
    pair.expect(&bob, |e| *e == AppEvent::RemoteClosed(far));
    assert_eq!(pair.alice(|router, now, _| router.write(now, near, b"late")), 0);
    // The other direction is open still.
    assert!(pair.carry(&bob, far, &alice, near, b"answer") == b"answer");
    pair.bob(|router, now, _| router.finish(now, far));
    pair.expect(&alice, |e| *e == AppEvent::RemoteClosed(near));
    pair.expect(&alice, |e| *e == AppEvent::Closed(near, Ok(())));
    pair.expect(&bob, |e| *e == AppEvent::Closed(far, Ok(())));
    let report = pair.small.world.router(alice.node).unwrap().report(pair.small.world.now());
    let service = report.services.iter().find(|s| s.name == "alice").unwrap();
    assert_eq!((service.kind.as_str(), service.connections, service.ready), ("embedded", 0, true));
    assert!(report.pools.iter().any(|p| p.name == "alice" && p.inbound.active > 0));
}

#[test]
fn what_is_written_before_the_stream_is_there_goes_with_its_first_packet() {
    let mut pair = Pair::new(2);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    let to = bob.target();
    let near = pair.alice(|router, now, me| {
        let near = router.connect(now, me.id, &to, Ports::to(PORT));
        assert_eq!(router.write(now, near, b"hello"), 5);
        assert_eq!(router.write(now, near, &[1; 10_000]), 4091);
        router.finish(now, near);
        near
    });
    let event = pair.expect(&bob, |e| matches!(e, AppEvent::Incoming { .. }));
    let AppEvent::Incoming { stream: far, .. } = event else { panic!("{event:?}") };
    let mut got = Vec::new();
    pair.bob(|router, now, _| router.read(now, far, 100, &mut got));
    assert!(got.starts_with(b"hello"), "it came with the stream");
    while got.len() < 4096 {
        pair.small.world.run_for(Duration::from_millis(100));
        pair.bob(|router, now, _| router.read(now, far, 10_000, &mut got));
    }
    pair.expect(&bob, |e| *e == AppEvent::RemoteClosed(far));
    pair.bob(|router, now, _| router.release(now, far));
    pair.expect(&alice, |e| *e == AppEvent::Closed(near, Ok(())));
}

#[test]
fn a_reset_is_seen_and_ports_that_do_not_listen_refuse() {
    let mut pair = Pair::new(3);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    let (near, far) = pair.stream();
    pair.bob(|router, now, _| router.reset(now, far));
    pair.expect(&alice, |e| *e == AppEvent::Closed(near, Err(Failure::Reset)));
    let to = bob.target();
    let refused = pair.alice(|router, now, me| router.connect(now, me.id, &to, Ports::to(9)));
    pair.expect(&alice, |e| *e == AppEvent::Closed(refused, Err(Failure::Refused)));
    let unknown = Target::Name("nobody.i2p".into());
    let lost = pair.alice(|router, now, me| router.connect(now, me.id, &unknown, Ports::to(9)));
    pair.expect(&alice, |e| *e == AppEvent::Closed(lost, Err(Failure::UnknownName)));
    let own = alice.target();
    let own = pair.alice(|router, now, me| router.connect(now, me.id, &own, Ports::to(9)));
    pair.expect(&alice, |e| *e == AppEvent::Closed(own, Err(Failure::Refused)));
    pair.bob(|router, _, me| router.unlisten(me.id, PORT));
    let again = pair.alice(|router, now, me| router.connect(now, me.id, &to, Ports::to(PORT)));
    pair.expect(&alice, |e| *e == AppEvent::Closed(again, Err(Failure::Refused)));
}

#[test]
fn a_destination_takes_as_many_streams_as_its_limits_say() {
    let mut pair = Pair::new(4);
    let mut few = new("few", 2);
    few.incoming = Some(IncomingLimits { all: 10, one_remote: 2 });
    let node = pair.bob.node;
    let few = open(&mut pair.small, node, few);
    pair.small.world.embedder(node, |router, _| router.listen(few.id, 0));
    let (alice, to) = (pair.alice.clone(), few.target());
    let mut open = || {
        let s = pair.alice(|router, now, me| router.connect(now, me.id, &to, Ports::to(1)));
        pair.expect(&alice, |e| *e == AppEvent::Connected(s));
        s
    };
    let [_, _, third] = [open(), open(), open()];
    pair.expect(&alice, |e| *e == AppEvent::Closed(third, Err(Failure::Reset)));
    assert!(pair.small.world.told(alice.node).is_empty());
    let report = pair.small.world.router(node).unwrap().report(pair.small.world.now());
    let service = report.services.iter().find(|s| s.name == "few").unwrap();
    assert_eq!((service.connections, service.refused), (2, 1));
}

#[test]
fn datagrams_of_all_kinds_arrive_with_their_ports_and_senders() {
    let mut pair = Pair::new(5);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    let to = bob.target();
    let signed = Sender::Verified(alice.identity.clone());
    for (kind, from) in [
        (DatagramKind::Datagram2, signed.clone()),
        (DatagramKind::Datagram1, signed),
        (DatagramKind::Datagram3, Sender::Claimed(alice.identity.hash())),
        (DatagramKind::Raw, Sender::Unknown),
    ] {
        let ports = Ports { local: 5, remote: 6 };
        pair.alice(|router, now, me| {
            router.send_datagram(now, me.id, &to, ports, kind, b"ping").unwrap();
        });
        pair.expect(&bob, |e| *e == AppEvent::Datagrams(bob.id));
        let got = pair.bob(|router, _, me| router.receive_datagram(me.id)).unwrap();
        let ports = Ports { local: 6, remote: 5 };
        assert_eq!(got, AppDatagram { kind, from, ports, payload: b"ping".to_vec() });
        assert!(pair.bob(|router, _, me| router.receive_datagram(me.id)).is_none());
    }
    // To nobody: some wait, the rest makes room.
    let nobody = parse_host(&format!("{}.b32.i2p", "a".repeat(52))).unwrap();
    let dropped = pair.alice(|router, now, me| {
        for _ in 0..300 {
            let sent =
                router.send_datagram(now, me.id, &nobody, Ports::to(1), DatagramKind::Raw, b"x");
            assert_eq!(sent, Ok(()));
        }
        router.dropped_datagrams(me.id)
    });
    assert!((40..50).contains(&dropped), "{dropped}");
    let large = pair.alice(|router, now, me| {
        let payload = [0; 32 * 1024];
        router.send_datagram(now, me.id, &to, Ports::to(1), DatagramKind::Raw, &payload)
    });
    assert!(matches!(large, Err(SendError::Datagram(_))), "{large:?}");
}

#[test]
fn names_are_found_by_book_or_lease_set_or_not() {
    let mut pair = Pair::new(6);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    for to in [bob.target(), parse_host(&bob.identity.to_base64()).unwrap()] {
        let lookup = pair.alice(|router, now, me| router.look_up(now, me.id, &to));
        pair.expect(&alice, |e| *e == AppEvent::Found(lookup, bob.identity.clone()));
    }
    let nobody = parse_host(&format!("{}.b32.i2p", "a".repeat(52))).unwrap();
    for (to, why) in [
        (Target::Name("nobody.i2p".into()), Failure::UnknownName),
        (nobody, Failure::LeaseSetNotFound),
    ] {
        let lookup = pair.alice(|router, now, me| router.look_up(now, me.id, &to));
        pair.expect(&alice, |e| *e == AppEvent::NotFound(lookup, why));
    }
}

#[test]
fn a_closed_destination_takes_everything_with_it_and_can_be_opened_again() {
    let mut pair = Pair::new(7);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    let (near, far) = pair.stream();
    let before = pair.small.world.router(bob.node).unwrap().report(pair.small.world.now());
    let keys = pair.bob(|router, now, me| {
        let keys = router.destination_keys(me.id).unwrap().clone();
        let mut again = NewDestination::new("again");
        again.keys = Some(keys.clone());
        assert_eq!(router.open_destination(now, again), Err(OpenError::InUse));
        router.close_destination(now, me.id);
        assert!(router.destination(me.id).is_none());
        assert_eq!(router.write(now, far, b"x"), 0);
        keys
    });
    pair.expect(&alice, |e| *e == AppEvent::Closed(near, Err(Failure::Reset)));
    let after = pair.small.world.router(bob.node).unwrap().report(pair.small.world.now());
    assert_eq!((before.pools.len(), after.pools.len()), (2, 1));
    assert_eq!((before.services.len(), after.services.len()), (1, 0));
    assert!(pair.small.world.told(bob.node).is_empty());
    // The same destination, under another handle.
    let mut again = new("again", 2);
    again.keys = Some(keys);
    let again = open(&mut pair.small, bob.node, again);
    assert!(again.identity == bob.identity && again.id != bob.id);
    pair.small.world.embedder(again.node, |router, _| router.listen(again.id, 0));
    pair.expect(&again, |e| *e == AppEvent::DestinationReady(again.id));
    // Who still has the old lease set finds the way by and by.
    let to = again.target();
    let near = pair.alice(|router, now, me| router.connect(now, me.id, &to, Ports::to(1)));
    pair.expect(&alice, |e| *e == AppEvent::Connected(near));
}

#[test]
fn destinations_come_and_go_without_leaving_anything() {
    let mut pair = Pair::new(8);
    let node = pair.alice.node;
    let mut last = None;
    for n in 0..300 {
        let program = open(&mut pair.small, node, new(&format!("d{n}"), 1));
        assert!(Some(program.id) > last, "never used again");
        last = Some(program.id);
        pair.small.world.run_for(Duration::from_millis(20));
        pair.small.world.embedder(node, |router, now| router.close_destination(now, program.id));
    }
    let report = pair.small.world.router(node).unwrap().report(pair.small.world.now());
    assert_eq!((report.pools.len(), report.services.len()), (2, 1));
    // As many as there are contexts for, less the router's own and alice.
    let opened = pair.small.world.embedder(node, |router, now| {
        (0..200).take_while(|_| router.open_destination(now, new("many", 1)).is_ok()).count()
    });
    assert_eq!(opened, ramson_core::netdb::MAX_CONTEXTS - 2);
    let (stream, far) = pair.stream();
    let bob = pair.bob.clone();
    let alice = pair.alice.clone();
    assert!(pair.carry(&alice, stream, &bob, far, b"still works") == b"still works");
}

#[test]
fn a_shutdown_gives_streams_a_moment_and_says_so() {
    let mut pair = Pair::new(9);
    let (alice, bob) = (pair.alice.clone(), pair.bob.clone());
    let (near, far) = pair.stream();
    let start = pair.small.world.now();
    pair.small.world.shut_down(bob.node);
    pair.bob(|router, now, me| {
        assert_eq!(router.open_destination(now, new("late", 1)), Err(OpenError::ShuttingDown));
        assert_eq!(router.write(now, far, b"last words"), 10);
        let to = Target::Name("nobody.i2p".into());
        router.connect(now, me.id, &to, Ports::default());
    });
    pair.expect(&bob, |e| *e == AppEvent::Closed(far, Err(Failure::ShuttingDown)));
    let node = bob.node;
    let stopped = pair
        .small
        .world
        .run_until(Duration::from_secs(2), |w| w.happened(node).contains(&Event::Stopped));
    assert!(stopped && pair.small.world.now().saturating_since(start) <= Duration::from_secs(2));
    let mut got = Vec::new();
    pair.alice(|router, now, _| router.read(now, near, 100, &mut got));
    assert_eq!(got, b"last words");
    pair.expect(&alice, |e| *e == AppEvent::Closed(near, Err(Failure::Reset)));
}
