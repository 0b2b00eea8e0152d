use super::*;
use crate::network;
use crate::world::Dependence::{AddressAndPortDependent, EndpointIndependent};

const PORT: u16 = 700;
const SECOND: Duration = Duration::from_secs(1);

/// Machines without a router, and a socket of each.
fn machines(seed: u64, n: usize) -> (World, Vec<UdpId>) {
    let mut world = World::new(seed);
    let sockets = (0..n).map(|_| {
        let config = network::router(&world, network::tunnels(1, 1));
        let node = world.add_machine(config);
        world.bind_udp(node, PORT)
    });
    let sockets = sockets.collect();
    (world, sockets)
}

/// A router that has sockets for datagrams.
fn add_listener(world: &mut World) -> NodeId {
    let mut config = network::router(world, network::tunnels(1, 1));
    config.ssu2.port = Some(12_345);
    world.add_router(config)
}

fn socket(world: &World, id: usize) -> SocketAddr {
    SocketAddr::new(world.address(NodeId(id)), PORT)
}

fn router(world: &World, id: NodeId) -> SocketAddr {
    SocketAddr::new(world.address(id), 12_345)
}

/// Sends, and says whom the other side sees if it comes.
fn seen(world: &mut World, from: UdpId, to: SocketAddr, at: UdpId) -> Option<SocketAddr> {
    let before = world.udp(at).received.len();
    world.send_udp(from, to, b"hello");
    world.run_for(SECOND);
    world.udp(at).received.get(before).map(|(_, from, bytes)| {
        assert_eq!(bytes, b"hello");
        *from
    })
}

fn weather(change: impl Fn(&mut Weather)) -> Weather {
    let mut weather = Weather::FAIR;
    change(&mut weather);
    weather
}

#[test]
fn a_datagram_takes_its_time_and_says_who_sent_it() {
    let (mut world, sockets) = machines(1, 2);
    let mut took = Vec::new();
    for (from, to) in [(0, 1), (1, 0), (0, 1)] {
        let (at, source) = (world.now(), socket(&world, from));
        let target = socket(&world, to);
        assert_eq!(seen(&mut world, sockets[from], target, sockets[to]), Some(source));
        let (arrived, ..) = world.udp(sockets[to]).received.last().unwrap();
        took.push(arrived.saturating_since(at));
    }
    assert!(took.iter().all(|took| (5..63).contains(&took.as_millis())), "{took:?}");
    // As far there as back, but for what varies.
    assert!(took[0].abs_diff(took[1]) < Duration::from_millis(3), "{took:?}");
    assert_eq!(world.datagrams(), Datagrams { sent: 3, arrived: 3, ..Datagrams::default() });
}

#[test]
fn it_goes_by_ipv6_too_from_an_address_of_that_kind() {
    let (mut world, sockets) = machines(1, 2);
    let [near, far] = [0, 1].map(|n| SocketAddr::new(world.address_v6(NodeId(n)), PORT));
    assert_eq!(seen(&mut world, sockets[0], far, sockets[1]), Some(near));
    // The headers are longer.
    world.send_udp(sockets[0], far, &[0; 1453]);
    world.send_udp(sockets[0], socket(&world, 1), &[0; 1453]);
    world.run_for(SECOND);
    assert_eq!((world.datagrams().too_large, world.datagrams().arrived), (1, 2));
}

#[test]
fn where_nobody_listens_it_vanishes() {
    let (mut world, sockets) = machines(1, 2);
    let far = socket(&world, 1);
    let listener = add_listener(&mut world);
    let nobody: [SocketAddr; 4] = [
        "99.1.1.1:700".parse().unwrap(),
        "127.0.0.1:700".parse().unwrap(),
        SocketAddr::new(far.ip(), PORT + 1),
        // It speaks TCP there.
        SocketAddr::new(far.ip(), 12_345),
    ];
    for to in nobody {
        world.send_udp(sockets[0], to, b"x");
    }
    world.run_for(SECOND);
    assert_eq!(world.datagrams(), Datagrams { sent: 4, unheard: 4, ..Datagrams::default() });

    let to = router(&world, listener);
    let arrives = |world: &mut World| {
        let before = world.datagrams().arrived;
        world.send_udp(sockets[0], to, b"x");
        world.run_for(SECOND);
        world.datagrams().arrived > before
    };
    assert!(arrives(&mut world));
    world.crash(listener);
    assert!(!arrives(&mut world));
    world.start(listener);
    assert!(arrives(&mut world));
    world.lose_power(listener);
    assert!(!arrives(&mut world));
    world.lose_power(NodeId(1));
    assert_eq!(seen(&mut world, sockets[0], far, sockets[1]), None);
    world.start(listener);
    world.crash(listener);
    assert_eq!(world.datagrams().unheard, 7);
}

#[test]
fn partitions_and_links_that_are_down_let_nothing_through() {
    let (mut world, sockets) = machines(1, 2);
    let far = socket(&world, 1);
    let faults: [fn(&mut World, bool); 3] = [
        |world, on| world.set_side(NodeId(1), u32::from(on)),
        |world, on| world.set_link(NodeId(0), !on),
        |world, on| world.set_link(NodeId(1), !on),
    ];
    for fault in faults {
        fault(&mut world, true);
        assert_eq!(seen(&mut world, sockets[0], far, sockets[1]), None);
        fault(&mut world, false);
        assert!(seen(&mut world, sockets[0], far, sockets[1]).is_some());
        // What is under way when it begins.
        world.send_udp(sockets[0], far, b"x");
        fault(&mut world, true);
        world.run_for(SECOND);
        fault(&mut world, false);
        world.run_for(SECOND);
    }
    // What is sent into a link that is down does not wait there.
    world.set_link(NodeId(0), false);
    world.send_udp(sockets[0], far, b"x");
    world.set_link(NodeId(0), true);
    world.run_for(SECOND);
    let counted = Datagrams { sent: 10, arrived: 3, cut_off: 7, ..Datagrams::default() };
    assert_eq!(world.datagrams(), counted);
}

#[test]
fn a_kernel_keeps_some_for_a_process_that_stands_still() {
    for crashes in [false, true] {
        let (mut world, sockets) = machines(1, 1);
        let listener = add_listener(&mut world);
        let to = router(&world, listener);
        world.freeze(listener, SECOND * 5);
        for _ in 0..300 {
            world.send_udp(sockets[0], to, &[0; 1000]);
        }
        world.run_for(SECOND * 4);
        assert_eq!((world.datagrams().arrived, world.datagrams().overflowed), (0, 88));
        if crashes {
            world.crash(listener);
            world.start(listener);
        }
        world.run_for(SECOND * 2);
        let (arrived, unheard) = if crashes { (0, 212) } else { (212, 0) };
        assert_eq!((world.datagrams().arrived, world.datagrams().unheard), (arrived, unheard));
        world.send_udp(sockets[0], to, b"x");
        world.run_for(SECOND);
        assert_eq!(world.datagrams().arrived, arrived + 1);
    }
}

#[test]
fn the_weather_is_that_of_all_of_the_sender_and_of_the_receiver() {
    let wet = weather(|w| w.loss = 1.0);
    let set: [fn(&mut World, Weather); 3] = [
        |world, weather| world.set_weather(weather),
        |world, weather| world.set_weather_of(NodeId(0), weather),
        |world, weather| world.set_weather_of(NodeId(1), weather),
    ];
    for set in set {
        let (mut world, sockets) = machines(1, 3);
        let [far, other] = [socket(&world, 1), socket(&world, 2)];
        set(&mut world, wet);
        assert_eq!(seen(&mut world, sockets[0], far, sockets[1]), None);
        world.set_weather(Weather::FAIR);
        world.set_weather_of(NodeId(0), Weather::FAIR);
        assert!(seen(&mut world, sockets[0], other, sockets[2]).is_some());
    }
}

#[test]
fn each_kind_of_weather_is_counted() {
    let (mut world, sockets) = machines(1, 2);
    let far = socket(&world, 1);
    let mut send = |weather: Weather| {
        let before = world.datagrams();
        world.set_weather(weather);
        for _ in 0..1000 {
            world.send_udp(sockets[0], far, &[0; 1200]);
        }
        world.run_for(SECOND);
        let after = world.datagrams();
        let (lost, damaged) = (after.lost - before.lost, after.damaged - before.damaged);
        let (too_large, overflowed) =
            (after.too_large - before.too_large, after.overflowed - before.overflowed);
        [after.arrived - before.arrived, lost, damaged, too_large, overflowed]
    };
    assert_eq!(send(Weather::FAIR), [1000, 0, 0, 0, 0]);
    assert_eq!(send(weather(|w| w.loss = 1.0)), [0, 1000, 0, 0, 0]);
    assert_eq!(send(weather(|w| w.damage = 1.0)), [0, 0, 1000, 0, 0]);
    assert_eq!(send(weather(|w| w.mtu = Some(1227))), [0, 0, 0, 1000, 0]);
    assert_eq!(send(weather(|w| w.mtu = Some(1228))), [1000, 0, 0, 0, 0]);
    assert_eq!(send(weather(|w| w.duplicate = 1.0)), [2000, 0, 0, 0, 0]);
    // A tenth of a second each, with its headers: those that leave, and those that wait half a second.
    assert_eq!(send(weather(|w| w.rate = Some(12_280))), [6, 0, 0, 0, 994]);
}

#[test]
fn a_slow_line_is_slow_for_what_leaves_only() {
    let (mut world, sockets) = machines(1, 2);
    let slow = weather(|w| w.rate = Some(1000));
    world.set_weather_of(NodeId(1), slow);
    for _ in 0..100 {
        world.send_udp(sockets[0], socket(&world, 1), &[0; 1000]);
    }
    world.run_for(SECOND);
    assert_eq!(world.datagrams().arrived, 100);
    world.set_weather_of(NodeId(0), slow);
    world.send_udp(sockets[0], socket(&world, 1), &[0; 1000]);
    world.run_for(SECOND);
    assert_eq!(world.datagrams().arrived, 100);
    world.run_for(SECOND);
    assert_eq!(world.datagrams().arrived, 101);
}

#[test]
fn what_is_corrupt_arrives_and_looks_otherwise() {
    let (mut world, sockets) = machines(1, 2);
    world.set_weather(weather(|w| w.corrupt = 1.0));
    world.send_udp(sockets[0], socket(&world, 1), b"hello");
    world.run_for(SECOND);
    let (.., bytes) = &world.udp(sockets[1]).received[0];
    let bits: u32 = bytes.iter().zip(b"hello").map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((bytes.len(), bits), (5, 1));
}

#[test]
fn datagrams_keep_their_order_but_for_those_that_are_late() {
    let (mut world, sockets) = machines(1, 2);
    let order = |world: &mut World| -> Vec<u8> {
        let before = world.udp(sockets[1]).received.len();
        for n in 0..200 {
            world.send_udp(sockets[0], socket(world, 1), &[n]);
        }
        world.run_for(SECOND);
        world.udp(sockets[1]).received[before..].iter().map(|(.., bytes)| bytes[0]).collect()
    };
    assert_eq!(order(&mut world), (0..200).collect::<Vec<u8>>());
    world.set_weather(weather(|w| (w.late, w.late_by) = (0.2, Duration::from_millis(100))));
    let mut late = order(&mut world);
    assert!(!late.is_sorted());
    late.sort_unstable();
    assert_eq!(late, (0..200).collect::<Vec<u8>>());
}

fn transmit(socket: u16, remote: SocketAddr, len: usize, segment: Option<usize>) -> Transmit {
    Transmit { socket: SocketId(socket), remote, len, segment }
}

#[test]
fn a_train_is_taken_apart() {
    let (mut world, sockets) = machines(1, 1);
    let sender = add_listener(&mut world);
    let to = socket(&world, 0);
    let bytes: Vec<u8> = (0..250).collect();
    world.transmit_train(sender, &transmit(0, to, 250, Some(100)), &bytes);
    world.transmit_train(sender, &transmit(0, to, 250, None), &bytes);
    world.run_for(SECOND);
    let got: Vec<_> = world.udp(sockets[0]).received.iter().map(|(.., bytes)| &bytes[..]).collect();
    assert_eq!(got, [&bytes[..100], &bytes[100..200], &bytes[200..], &bytes[..]]);
    assert_eq!(world.udp(sockets[0]).received[0].1, router(&world, sender));
}

#[test]
fn what_comes_at_once_from_one_sender_is_handed_on_at_once() {
    let (mut world, _) = machines(1, 2);
    let [a, b] = [socket(&world, 0), socket(&world, 1)];
    let mut join = |sizes: &[usize], source: SocketAddr, later: Duration| {
        world.heap.clear();
        for (n, size) in sizes.iter().enumerate() {
            let packet =
                Packet { sender: NodeId(0), source, to: b, bytes: vec![n as u8 + 1; *size] };
            world.push(world.now + later, Happening::Packet(Box::new(packet)));
        }
        let mut bytes = vec![0; 100];
        let segment = world.join_train(NodeId(0), a, b, &mut bytes);
        let first: Vec<u8> = bytes.chunks(100).map(|chunk| chunk[0]).collect();
        (segment, bytes.len(), first)
    };
    let none = Duration::ZERO;
    assert_eq!(join(&[], a, none), (None, 100, vec![0]));
    assert_eq!(join(&[100, 100], a, none), (Some(100), 300, vec![0, 1, 2]));
    assert_eq!(join(&[100, 50, 100], a, none), (Some(100), 250, vec![0, 1, 2]));
    assert_eq!(join(&[50, 50], a, none), (Some(100), 150, vec![0, 1]));
    assert_eq!(join(&[101], a, none), (None, 100, vec![0]));
    assert_eq!(join(&[100], b, none), (None, 100, vec![0]), "another sender");
    assert_eq!(join(&[100], a, Duration::from_micros(1)), (None, 100, vec![0]), "later");
    let (segment, len, _) = join(&[100; 100], a, none);
    assert_eq!((segment, len), (Some(100), MAX_SEGMENTS * 100));
}

#[test]
fn all_of_a_train_reaches_a_router() {
    let mut world = World::new(1);
    let (sender, receiver) = (add_listener(&mut world), add_listener(&mut world));
    let to = router(&world, receiver);
    world.transmit_train(sender, &transmit(0, to, 2950, Some(100)), &[0; 2950]);
    let before = world.events();
    world.run_for(SECOND);
    let counted = Datagrams { sent: 30, arrived: 30, ..Datagrams::default() };
    assert_eq!(world.datagrams(), counted);
    assert!(world.events() - before >= 30, "each of them happened");
}

#[test]
#[should_panic(expected = "SocketId(1)")]
fn a_router_that_uses_the_wrong_socket_is_caught() {
    let mut world = World::new(1);
    let sender = add_listener(&mut world);
    let to = router(&world, sender);
    world.transmit_train(sender, &transmit(1, to, 10, None), &[0; 10]);
}

#[test]
#[should_panic(expected = "it has no socket")]
fn a_router_that_sends_without_a_socket_is_caught() {
    let (mut world, _) = machines(1, 1);
    let to = socket(&world, 0);
    world.transmit_train(NodeId(0), &transmit(0, to, 10, None), &[0; 10]);
}

#[test]
fn the_digest_is_of_datagrams_too() {
    let digest = |seed, bytes: &[u8], to| {
        let (mut world, sockets) = machines(seed, 2);
        if !bytes.is_empty() {
            world.send_udp(sockets[0], SocketAddr::new(socket(&world, 1).ip(), to), bytes);
        }
        world.run_for(SECOND);
        world.digest()
    };
    let one = digest(1, b"one", PORT);
    assert_eq!(one, digest(1, b"one", PORT));
    for other in [digest(1, b"two", PORT), digest(2, b"one", PORT), digest(1, b"one", PORT + 1)] {
        assert_ne!(one, other);
    }
    assert_eq!(digest(1, b"", PORT), digest(2, b"", PORT), "nothing arrived");
}

#[test]
fn datagrams_shift_nothing_of_tcp() {
    let opened = |datagrams: u32| {
        let (mut world, sockets) = machines(1, 1);
        let listener = add_listener(&mut world);
        world.set_weather(weather(|w| (w.loss, w.late) = (0.3, 0.3)));
        if datagrams > 0 {
            world.add_nat(NodeId(0), NatKind::default());
        }
        for _ in 0..datagrams {
            world.send_udp(sockets[0], router(&world, listener), b"x");
        }
        let raw = world.open_raw(NodeId(0), listener);
        assert!(world.run_until(SECOND, |world| world.raw(raw).opened));
        world.now()
    };
    assert_eq!(opened(0), opened(10));
}

#[test]
fn a_box_hides_the_address_and_lets_answers_in() {
    let (mut world, sockets) = machines(1, 3);
    let [inside, asked, other] = [sockets[0], sockets[1], sockets[2]];
    let public = socket(&world, 0);
    let kind = NatKind { filtering: AddressAndPortDependent, ..NatKind::default() };
    let nat = world.add_nat(NodeId(0), kind);
    assert_eq!(world.nat_of(NodeId(0)), Some(nat));
    assert_eq!(seen(&mut world, asked, public, inside), None);
    let target = socket(&world, 1);
    let source = seen(&mut world, inside, target, asked).unwrap();
    assert_eq!(source, public);
    assert_eq!(seen(&mut world, asked, source, inside), Some(target));
    assert_eq!(seen(&mut world, other, source, inside), None);
    world.run_for(SECOND * 110);
    assert_eq!(seen(&mut world, asked, source, inside), Some(target));
    world.run_for(SECOND * 10);
    assert_eq!(seen(&mut world, asked, source, inside), None, "it was asked too long ago");
    assert_eq!(world.datagrams().filtered, 3);
}

#[test]
fn those_behind_one_box_have_one_address_and_meet_only_over_a_hairpin() {
    for hairpin in [false, true] {
        let (mut world, sockets) = machines(1, 3);
        let nat = world.add_nat(NodeId(0), NatKind { hairpin, ..NatKind::default() });
        world.share_nat(NodeId(1), nat);
        let far = socket(&world, 2);
        let first = seen(&mut world, sockets[0], far, sockets[2]).unwrap();
        let second = seen(&mut world, sockets[1], far, sockets[2]).unwrap();
        assert_eq!(first.ip(), second.ip());
        assert_ne!(first, second);
        assert_eq!(seen(&mut world, sockets[2], first, sockets[0]), Some(far));
        assert_eq!(seen(&mut world, sockets[2], second, sockets[1]), Some(far));
        let met = seen(&mut world, sockets[0], second, sockets[1]);
        assert_eq!(met, hairpin.then_some(first));
        let own = SocketAddr::new(world.address(NodeId(1)), PORT);
        assert_eq!(seen(&mut world, sockets[2], own, sockets[1]), None, "nobody has it now");
    }
}

#[test]
fn a_box_that_forgets_lets_nothing_in_until_it_is_used() {
    for moves in [false, true] {
        let (mut world, sockets) = machines(1, 2);
        let (far, public) = (socket(&world, 1), world.address(NodeId(0)));
        let nat = world
            .add_nat(NodeId(0), NatKind { mapping: EndpointIndependent, ..NatKind::default() });
        let before = seen(&mut world, sockets[0], far, sockets[1]).unwrap();
        // In the middle of something.
        world.send_udp(sockets[1], before, b"hello");
        world.rebind_nat(nat, moves);
        world.run_for(SECOND);
        assert!(world.udp(sockets[0]).received.is_empty());
        assert_eq!(seen(&mut world, sockets[1], before, sockets[0]), None);
        let after = seen(&mut world, sockets[0], far, sockets[1]).unwrap();
        assert_eq!(seen(&mut world, sockets[1], after, sockets[0]), Some(far));
        assert_eq!(after.ip() != public, moves);
        assert_eq!(world.address_outside(NodeId(0)), after.ip());
    }
}

#[test]
fn a_box_that_moves_again_is_somewhere_else_again() {
    let (mut world, _) = machines(1, 1);
    let nat = world.add_nat(NodeId(0), NatKind::default());
    let mut all = std::collections::BTreeSet::from([world.address_outside(NodeId(0))]);
    for _ in 0..100 {
        world.rebind_nat(nat, true);
        assert!(all.insert(world.address_outside(NodeId(0))));
    }
    assert_eq!(world.places.len(), 2, "its own, and IPv6");
}

#[test]
fn a_firewall_lets_answers_in_and_nothing_else() {
    let (mut world, sockets) = machines(1, 3);
    let [own, asked, other] = [0, 1, 2].map(|n| socket(&world, n));
    assert!(seen(&mut world, sockets[2], own, sockets[0]).is_some());
    world.set_firewalled(NodeId(0), true);
    assert_eq!(seen(&mut world, sockets[2], own, sockets[0]), None);
    assert_eq!(seen(&mut world, sockets[0], asked, sockets[1]), Some(own));
    // A fault of what is firewalled already forgets nothing.
    world.set_firewalled(NodeId(0), true);
    assert_eq!(seen(&mut world, sockets[1], own, sockets[0]), Some(asked));
    assert_eq!(seen(&mut world, sockets[2], own, sockets[0]), None);
    world.set_firewalled(NodeId(0), false);
    assert_eq!(seen(&mut world, sockets[2], own, sockets[0]), Some(other));
}

#[test]
fn a_firewall_behind_a_box_filters_too() {
    let (mut world, sockets) = machines(1, 3);
    let [asked, own] = [socket(&world, 1), socket(&world, 0)];
    world.add_nat(NodeId(0), NatKind::default());
    world.set_firewalled(NodeId(0), true);
    assert_eq!(seen(&mut world, sockets[0], asked, sockets[1]), Some(own));
    assert_eq!(seen(&mut world, sockets[1], own, sockets[0]), Some(asked));
    assert_eq!(seen(&mut world, sockets[2], own, sockets[0]), None);
    world.set_firewalled(NodeId(0), false);
    assert!(seen(&mut world, sockets[2], own, sockets[0]).is_some());
}

#[test]
fn over_tcp_a_box_lets_nobody_in_and_everybody_out() {
    let mut world = World::new(1);
    let (hidden, open) = (add_listener(&mut world), add_listener(&mut world));
    let nat = world.add_nat(hidden, NatKind::default());
    let (inwards, outwards) = (world.open_raw(open, hidden), world.open_raw(hidden, open));
    world.run_for(SECOND);
    assert!(!world.raw(inwards).opened && world.raw(outwards).opened);
    assert_eq!(world.raw(outwards).ended, None);
    world.rebind_nat(nat, true);
    world.run_for(SECOND);
    assert!(world.raw(outwards).ended.is_some_and(|(_, reset)| reset), "its mapping is gone");
    let again = world.open_raw(hidden, open);
    world.run_for(SECOND);
    assert!(world.raw(again).opened);
    assert_eq!(world.address(hidden), "11.10.0.1".parse::<IpAddr>().unwrap());
    assert_ne!(world.address_outside(hidden), world.address(hidden));
}
