use super::*;
use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
use ramson_core::rng::Seed;

const LIFETIME: Duration = Duration::from_secs(120);
const MILLI: Duration = Duration::from_millis(1);

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn nat(kind: NatKind) -> Nat {
    Nat::new(kind, end("11.1.0.1:0").ip(), Rng::new(&Seed::from_number(1)))
}

fn kind(mapping: Dependence, filtering: Dependence) -> NatKind {
    NatKind { mapping, filtering, ..NatKind::default() }
}

fn inside() -> SocketAddr {
    end("10.0.0.1:5000")
}

/// The one that is asked, another port of its machine, another machine.
fn far() -> [SocketAddr; 3] {
    [end("12.1.0.1:700"), end("12.1.0.1:701"), end("12.2.0.1:700")]
}

#[test]
fn nine_kinds_map_as_they_should() {
    for filtering in Dependence::ALL {
        for (mapping, same) in [
            (EndpointIndependent, [true, true, true]),
            (AddressDependent, [true, true, false]),
            (AddressAndPortDependent, [true, false, false]),
        ] {
            let mut nat = nat(kind(mapping, filtering));
            let [first, ..] = far().map(|to| nat.outbound(at(1), inside(), to).unwrap());
            let seen = far().map(|to| nat.outbound(at(2), inside(), to).unwrap() == first);
            assert_eq!(seen, same, "{mapping:?} {filtering:?}");
        }
    }
}

#[test]
fn nine_kinds_filter_as_they_should() {
    for mapping in Dependence::ALL {
        for (filtering, let_in) in [
            (EndpointIndependent, [true, true, true]),
            (AddressDependent, [true, true, false]),
            (AddressAndPortDependent, [true, false, false]),
        ] {
            let mut nat = nat(kind(mapping, filtering));
            let external = nat.outbound(at(1), inside(), far()[0]).unwrap();
            let seen = far().map(|from| nat.inbound(at(1), from, external) == Some(inside()));
            assert_eq!(seen, let_in, "{mapping:?} {filtering:?}");
            let other = SocketAddr::new(external.ip(), external.port() + 1);
            assert_eq!(nat.inbound(at(1), far()[0], other), None, "nobody has that port");
        }
    }
}

#[test]
fn who_was_asked_is_let_in_where_it_was_asked_from() {
    let mut nat = nat(kind(AddressAndPortDependent, AddressAndPortDependent));
    let external = far().map(|to| nat.outbound(at(1), inside(), to).unwrap());
    for (n, from) in far().into_iter().enumerate() {
        let seen = external.map(|to| nat.inbound(at(1), from, to).is_some());
        assert_eq!(seen, [0, 1, 2].map(|m| m == n));
    }
}

#[test]
fn a_mapping_lives_as_long_as_it_is_used_from_inside() {
    for mapping in Dependence::ALL {
        let mut nat = nat(kind(mapping, EndpointIndependent));
        let to = far()[0];
        let external = nat.outbound(at(0), inside(), to).unwrap();
        assert_eq!(nat.outbound(at(119), inside(), to), Some(external));
        let last = at(119) + LIFETIME - MILLI;
        // What comes in does not keep it.
        for second in 119..238 {
            assert_eq!(nat.inbound(at(second), to, external), Some(inside()));
        }
        assert_eq!(nat.inbound(last, to, external), Some(inside()));
        assert_eq!(nat.inbound(last + MILLI, to, external), None);
    }
}

#[test]
fn a_mapping_that_died_is_not_the_one_that_follows() {
    let mut nat = nat(NatKind { preserves_ports: false, ..NatKind::default() });
    let first = nat.outbound(at(0), inside(), far()[0]).unwrap();
    let second = nat.outbound(at(120), inside(), far()[0]).unwrap();
    assert_ne!(first, second);
    assert_eq!(nat.inbound(at(120), far()[0], first), None);
    assert_eq!(nat.inbound(at(120), far()[0], second), Some(inside()));
}

#[test]
fn another_far_end_does_not_keep_the_door_open_for_the_first() {
    let mut nat = nat(kind(EndpointIndependent, AddressDependent));
    let external = nat.outbound(at(0), inside(), far()[0]).unwrap();
    assert_eq!(nat.outbound(at(100), inside(), far()[2]), Some(external));
    assert_eq!(nat.inbound(at(121), far()[2], external), Some(inside()));
    assert_eq!(nat.inbound(at(121), far()[0], external), None);
}

#[test]
fn the_lifetime_is_as_configured() {
    let mut nat = nat(NatKind { lifetime: Duration::from_secs(30), ..NatKind::default() });
    let external = nat.outbound(at(0), inside(), far()[0]).unwrap();
    assert_eq!(nat.inbound(at(29), far()[0], external), Some(inside()));
    assert_eq!(nat.inbound(at(30), far()[0], external), None);
}

#[test]
fn a_port_is_kept_if_it_is_free() {
    let mut keeps = nat(NatKind::default());
    let first = keeps.outbound(at(0), inside(), far()[0]).unwrap();
    assert_eq!(first, end("11.1.0.1:5000"));
    let twin = end("10.0.0.2:5000");
    let second = keeps.outbound(at(0), twin, far()[0]).unwrap();
    assert_ne!(second, first);
    assert_eq!(keeps.inbound(at(1), far()[0], first), Some(inside()));
    assert_eq!(keeps.inbound(at(1), far()[0], second), Some(twin));

    let mut draws = nat(NatKind { preserves_ports: false, ..NatKind::default() });
    let drawn: Vec<u16> = (1..=20)
        .map(|n| draws.outbound(at(0), SocketAddr::new(inside().ip(), n), far()[0]).unwrap().port())
        .collect();
    assert!(drawn.iter().all(|port| *port >= 1024));
    assert!(drawn.windows(2).any(|pair| pair[1] < pair[0]), "drawn, not counted: {drawn:?}");
}

#[test]
fn who_takes_the_port_of_the_dead_keeps_it_when_the_dead_return() {
    let mut nat = nat(NatKind::default());
    let external = nat.outbound(at(10), inside(), far()[0]).unwrap();
    let twin = end("10.0.0.2:5000");
    // What is dead is dropped now, and not again when the first one dies.
    assert!(nat.outbound(at(120), end("10.0.0.3:9"), far()[0]).is_some());
    assert_eq!(nat.outbound(at(131), twin, far()[0]), Some(external));
    assert_eq!(nat.mappings.len(), nat.taken.len());
    let again = nat.outbound(at(132), inside(), far()[0]).unwrap();
    assert_ne!(again, external);
    assert_eq!(nat.inbound(at(132), far()[0], external), Some(twin));
    assert_eq!(nat.inbound(at(132), far()[0], again), Some(inside()));
}

#[test]
fn when_all_ports_are_taken_nobody_new_comes_through() {
    let mut nat = nat(NatKind::default());
    let from = |port| SocketAddr::new(inside().ip(), port);
    for port in 1024..=65_535 {
        assert!(nat.outbound(at(1), from(port), far()[0]).is_some());
    }
    let twin = end("10.0.0.2:5000");
    assert_eq!(nat.outbound(at(1), twin, far()[0]), None);
    assert!(nat.outbound(at(1), inside(), far()[0]).is_some(), "who has one keeps it");
    assert!(nat.outbound(at(200), twin, far()[0]).is_some(), "they are free again");
}

#[test]
fn rebinding_forgets_all() {
    for address in [None, Some(end("11.1.128.1:0").ip())] {
        let mut nat = nat(NatKind::default());
        let before = nat.outbound(at(0), inside(), far()[0]).unwrap();
        nat.rebind(address);
        assert_eq!(nat.inbound(at(1), far()[0], before), None);
        let after = nat.outbound(at(1), inside(), far()[0]).unwrap();
        assert_eq!(after.ip(), address.unwrap_or(before.ip()));
        assert_eq!(nat.inbound(at(1), far()[0], after), Some(inside()));
        assert_eq!(nat.inbound(at(1), far()[0], before).is_some(), address.is_none());
    }
}

#[test]
fn what_is_dead_is_not_kept() {
    let mut nat = nat(kind(AddressAndPortDependent, AddressAndPortDependent));
    for n in 0..1000 {
        let to = SocketAddr::new(far()[0].ip(), n as u16 + 1);
        nat.outbound(at(n * 10), inside(), to).unwrap();
        assert!(nat.mappings.len() <= 25 && nat.taken.len() <= 25);
    }
}

#[test]
fn a_firewall_translates_nothing_and_lets_answers_in() {
    let mut nat = Nat::firewall(Rng::new(&Seed::from_number(1)));
    let [asked, other_port, other] = far();
    assert_eq!(nat.inbound(at(0), asked, inside()), None);
    assert_eq!(nat.outbound(at(0), inside(), asked), Some(inside()));
    assert_eq!(nat.outbound(at(0), inside(), other), Some(inside()));
    assert_eq!(nat.inbound(at(1), asked, inside()), Some(inside()));
    assert_eq!(nat.inbound(at(1), other_port, inside()), None);
    assert_eq!(nat.inbound(at(120), asked, inside()), None);
    nat.rebind(Some(asked.ip()));
    assert_eq!(nat.outbound(at(120), inside(), asked), Some(inside()));
}
