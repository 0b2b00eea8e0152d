//! Sessions that come about, and that do not.

use super::super::*;
use super::net::*;

#[test]
fn strangers_meet_with_a_token_and_acquaintances_without() {
    let mut net = Net::new(1, 2, Link { delay: ms(50), ..Link::default() });
    net.seen();
    let id = net.connect(0, 1);
    net.send(0, id, 7, 500);
    net.run(ms(1_000));
    let (a, b) = (net.hosts[0].established(), net.hosts[1].established());
    assert_eq!(a, [(id, net.hosts[1].info.hash())]);
    assert_eq!(b[0].1, net.hosts[0].info.hash());
    assert_eq!(net.hosts[1].got(), [7]);
    // TokenRequest, Retry, SessionRequest, SessionCreated, SessionConfirmed, what waited, two acknowledgements or what
    // has one with it.
    let first = net.seen().len();
    assert!((7..=9).contains(&first), "{first}");
    let told = |event: &EndpointEvent| {
        matches!(event, EndpointEvent::Established { address: Some(at), skew: 0, .. }
            if *at == SocketAddr::from(([10, 0, 0, 1], 4_001)))
    };
    assert!(net.hosts[0].events.iter().any(|(_, event)| told(event)));

    let now = net.now;
    net.hosts[0].endpoint.close(now, id, Reason::Normal);
    net.run(ms(5_000));
    assert!(net.hosts.iter().all(|h| h.endpoint.is_empty()));
    net.seen();
    let again = net.connect(0, 1);
    net.run(ms(110));
    assert!(net.hosts[0].endpoint.session(again).is_some(), "one round trip, with the token");
    assert_eq!(net.hosts[1].endpoint.stats().retries, 1);
}

#[test]
fn sessions_come_about_over_bad_ways_and_carry_what_waited() {
    for seed in 0..60 {
        let link = Link { delay: ms(40), loss: 250, twice: 100, late: ms(200) };
        let mut net = Net::new(seed, 2, link);
        // In two packets of SessionConfirmed, every other time.
        net.hosts[0] = Host::new(seed, 1, if seed % 2 == 0 { 0 } else { 30 });
        let id = net.connect(0, 1);
        for n in 0..10 {
            net.send(0, id, n, 800);
        }
        net.run(ms(11_000));
        let up = net.hosts[0].established().len();
        if up == 0 {
            // It happens, and ends.
            net.run(ms(20_000));
            assert!(net.hosts.iter().all(|h| h.endpoint.is_empty()), "seed {seed}");
            continue;
        }
        net.run(ms(20_000));
        let mut got = net.hosts[1].got();
        got.sort_unstable();
        assert_eq!(got, (0..10).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(net.hosts[1].established().len(), 1, "seed {seed}");
    }
}

#[test]
fn two_that_dial_each_other_at_once_both_get_through() {
    for seed in 0..20 {
        let mut net = Net::new(seed, 2, Link { delay: ms(30), loss: 50, ..Link::default() });
        net.connect(0, 1);
        net.run(ms(seed));
        net.connect(1, 0);
        net.run(ms(8_000));
        for n in [0, 1] {
            assert_eq!(net.hosts[n].established().len(), 2, "seed {seed}");
        }
    }
}

#[test]
fn nobody_there_wrong_keys_and_a_wrong_clock_end_in_time() {
    // Nobody.
    let mut net = Net::new(1, 2, Link { delay: ms(30), ..Link::default() });
    net.hosts[0].endpoint.conns.clear();
    let mut remote = net.hosts[1].remote;
    remote.at = SocketAddr::from(([10, 0, 0, 77], 1));
    net.seen();
    let now = net.now;
    let id = net.hosts[0].endpoint.connect(now, UNIX, remote).unwrap();
    net.run(DIAL_TIMEOUT + ms(1));
    assert_eq!(net.hosts[0].events, [(id, EndpointEvent::TimedOut)]);
    assert!(net.hosts[0].endpoint.is_empty());
    // At 0, 1.25, 3.75 and 8.75 s.
    assert_eq!(net.seen().len(), 4);

    // Another static key, and another intro key.
    for wrong in [true, false] {
        let mut net = Net::new(2, 3, Link { delay: ms(30), ..Link::default() });
        let mut remote = net.hosts[1].remote;
        if wrong {
            remote.static_key = net.hosts[2].remote.static_key;
        } else {
            remote.intro = net.hosts[2].remote.intro;
        }
        let now = net.now;
        let id = net.hosts[0].endpoint.connect(now, UNIX, remote).unwrap();
        net.run(DIAL_TIMEOUT + ms(1));
        assert_eq!(net.hosts[0].events, [(id, EndpointEvent::TimedOut)]);
        assert!(net.hosts[1].events.is_empty() && net.hosts[1].endpoint.is_empty());
    }

    // A clock that is an hour ahead: both ways the reason is known.
    for late in [0, 1] {
        let mut net = Net::new(3, 2, Link { delay: ms(30), ..Link::default() });
        net.hosts[late].skew = Duration::from_hours(1);
        let id = net.connect(0, 1);
        net.run(ms(1_000));
        let skew = if late == 0 { -3600 } else { 3600 };
        let expected = EndpointEvent::Failed(HandshakeError::ClockSkew(skew));
        assert_eq!(net.hosts[0].events, [(id, expected)]);
    }
}

#[test]
fn a_router_that_says_it_is_elsewhere_is_sent_away() {
    let mut net = Net::new(1, 2, Link { delay: ms(30), ..Link::default() });
    net.hosts[0].at = SocketAddr::from(([10, 0, 0, 99], 4_001));
    let id = net.connect(0, 1);
    net.run(ms(5_000));
    assert!(net.hosts[1].events.is_empty() && net.hosts[1].endpoint.is_empty());
    let banned = SessionError::Terminated(Reason::Banned);
    let end = (id, EndpointEvent::Session(SessionEvent::Closed(Err(banned))));
    assert!(net.hosts[0].events.contains(&end), "{:?}", net.hosts[0].events);
}

use super::super::super::session::SessionError;

#[test]
fn a_dial_that_is_closed_says_nothing_more() {
    let mut net = Net::new(1, 2, Link { delay: ms(30), ..Link::default() });
    let id = net.connect(0, 1);
    let now = net.now;
    net.hosts[0].endpoint.close(now, id, Reason::Normal);
    net.run(ms(20_000));
    assert!(net.hosts.iter().all(|h| h.events.is_empty() && h.endpoint.is_empty()));
}

#[test]
fn who_names_the_address_of_another_keeps_nobody_from_reaching_that_one() {
    let mut net = Net::new(1, 3, Link { delay: ms(30), ..Link::default() });
    let now = net.now;
    // Two routers say that they are where the third is.
    let liar = Remote { at: net.hosts[1].remote.at, ..net.hosts[2].remote };
    let lied = net.hosts[0].endpoint.connect(now, UNIX, liar).unwrap();
    let id = net.connect(0, 1);
    let liar = Remote { hash: Hash([7; 32]), ..liar };
    net.hosts[0].endpoint.connect(now, UNIX, liar).unwrap();
    net.run(ms(5_000));
    assert!(net.hosts[0].endpoint.session(id).is_some());
    assert!(net.hosts[0].endpoint.session(lied).is_none());
    // Not in any number.
    let mut dial =
        |n| net.hosts[0].endpoint.connect(net.now, UNIX, Remote { hash: Hash([n; 32]), ..liar });
    assert!(dial(1).is_ok() && dial(2).is_ok());
    assert_eq!(dial(3), Err(NotConnected::Connecting));
}

/// All of a network with all others, and nobody's packets go to somebody else.
#[test]
fn many_sessions_at_one_socket_do_not_meet() {
    let mut net = Net::new(5, 8, Link { delay: ms(20), loss: 20, ..Link::default() });
    let mut ids = Vec::new();
    for a in 0..8 {
        for b in 0..8 {
            if a != b {
                ids.push((a, b, net.connect(a, b)));
            }
        }
    }
    net.run(ms(9_000));
    for (a, b, id) in &ids {
        net.send(*a, *id, (a * 8 + b) as u32, 1_500);
    }
    net.run(ms(5_000));
    for n in 0..8 {
        let mut got = net.hosts[n].got();
        got.sort_unstable();
        let expected: Vec<u32> = (0..8).filter(|a| *a != n).map(|a| (a * 8 + n) as u32).collect();
        assert_eq!(got, expected);
    }
}
