//! The handshake between honest peers.

use super::fixture::{Alice, Filler, NET, Pair, Router, START};
use crate::rng::{Rng, Seed};
use crate::transport::ssu2::handshake::initiator::{MAX_RETRIES, Start};
use crate::transport::ssu2::{Answer, Asked, HandshakeError, Ids, source_matches};
use crate::wire::ssu2::{ConnectionId, Header, LongHeader, LongKind, Reason, protect};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU64;
use core::time::Duration;

#[test]
fn with_a_retry_both_sides_agree_and_know_each_other() {
    let mut pair = Pair::new(1);
    pair.run();
    let (alice, bob) = pair.done();
    assert_eq!(bob.info, Router::new(1).info());
    assert!(!bob.flood);
    assert!(source_matches(&bob.info, pair.alice_at.ip()));
    let (a, b) = (&alice.established, &bob.established);
    assert_eq!(a.told.address, Some(pair.alice_at));
    assert_eq!((a.remote, b.remote), (pair.bob.router.at, pair.alice_at));
    assert_eq!((a.mtu, b.mtu), (1280, 1400));
    assert_eq!(a.intro.as_bytes(), pair.bob.router.local.intro().as_bytes());
    assert_eq!(b.intro.as_bytes(), Router::new(1).local.intro().as_bytes());
    assert_eq!((a.skew, b.skew), (0, 0));
    assert_eq!(alice.confirmed.len(), 1);
    assert_eq!(pair.bob.growth.len(), 1);
}

#[test]
fn with_a_token_there_is_no_retry() {
    let mut pair = Pair::new(2);
    let (token, _) = pair.bob.tokens.for_later(pair.now, pair.alice_at, &mut pair.rng);
    pair.wait(Duration::from_secs(50 * 60));
    let request = pair.request(token);
    let created = pair.bob_gets(&request).pop().unwrap();
    let confirmed = pair.alice_gets(&created).pop().unwrap();
    pair.bob_gets(&confirmed);
    // The RouterInfo is 50 minutes old by then.
    pair.done();
    assert!(pair.bob.growth.is_empty());
}

#[test]
fn a_token_that_is_no_longer_good_costs_a_retry() {
    let mut pair = Pair::new(3);
    let request = pair.request(NonZeroU64::new(12345).unwrap());
    let retry = pair.bob_gets(&request).pop().unwrap();
    let again = pair.alice_gets(&retry).pop().unwrap();
    let open = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        let intro = pair.bob.router.local.intro();
        let to = protect::destination(&packet, intro).unwrap();
        let Header::Long(header) = protect::unprotect(&mut packet, to, intro).unwrap() else {
            panic!("a short header")
        };
        (header, packet[32..64].to_vec())
    };
    let ((before, x), (after, fresh)) = (open(&request), open(&again));
    assert_eq!((before.destination, before.source), (after.destination, after.source));
    assert_ne!(before.token, after.token);
    assert_ne!(x, fresh, "the ephemeral key is new");
    let created = pair.bob_gets(&again).pop().unwrap();
    let confirmed = pair.alice_gets(&created).pop().unwrap();
    pair.bob_gets(&confirmed);
    pair.done();
}

#[test]
fn what_was_sent_goes_again_byte_for_byte() {
    let mut pair = Pair::new(4);
    let ask = pair.ask();
    let Alice::AwaitRetry(state) = &mut pair.alice else { panic!() };
    assert_eq!(state.again(), ask);
    let retries = [pair.bob_gets(&ask), pair.bob_gets(&ask)].concat();
    let request = pair.alice_gets(&retries[0]).pop().unwrap();
    // The other one came because the question was repeated.
    assert!(pair.alice_gets(&retries[1]).is_empty());
    assert_eq!(pair.ignored, Some(HandshakeError::Repeated));
    let Alice::AwaitCreated(state) = &mut pair.alice else { panic!() };
    assert_eq!(state.again(), request);
    assert_eq!(state.packet(), request);
    // It is what there is when the request of the first one does not get through.
    let later = pair.alice_gets(&retries[1]).pop().unwrap();
    assert_ne!(request, later);
    assert!(pair.alice_gets(&retries[1]).is_empty());

    let created = pair.bob_gets(&later);
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.bob_gets(&later), created, "and no new state");
    let Alice::AwaitCreated(state) = &mut pair.alice else { panic!() };
    state.again();
    let confirmed = pair.alice_gets(&created[0]).pop().unwrap();
    pair.bob_gets(&confirmed);
    let (alice, bob) = pair.done();
    assert_eq!((alice.established.rtt, bob.established.rtt), (None, None));
    // The token was used.
    pair.bob_gets(&later);
    assert_eq!(pair.bob.growth.len(), 3);
}

#[test]
fn the_round_trip_is_measured_and_taken_off_the_skew() {
    let mut pair = Pair::new(5);
    let delay = Duration::from_secs(2);
    let mut packet = pair.ask();
    for step in 0..4 {
        pair.wait(delay);
        let out = if step % 2 == 0 { pair.bob_gets(&packet) } else { pair.alice_gets(&packet) };
        packet = out.into_iter().next().unwrap();
    }
    pair.wait(delay);
    pair.bob_gets(&packet);
    let (alice, bob) = pair.done();
    for side in [&alice.established, &bob.established] {
        assert_eq!((side.rtt, side.skew), (Some(delay * 2), 0));
    }
}

#[test]
fn clocks_within_a_minute_may_differ_and_both_learn_by_how_much() {
    for seconds in [0, 1, 30, 60] {
        let mut pair = Pair::new(6);
        pair.bob_clock = START + Duration::from_secs(seconds);
        pair.run();
        let (alice, bob) = pair.done();
        assert_eq!(alice.established.skew, seconds as i64);
        assert_eq!(bob.established.skew, -(seconds as i64));
    }
}

#[test]
fn an_introducer_is_asked_for_and_found() {
    for (asks, gives) in [(true, Some(7)), (true, None), (false, Some(7))] {
        let (alice, bob) = (Router::new(1), Router::new(2));
        let mut rng = Rng::new(&Seed::from_number(1));
        let ids = Ids::draw(&mut rng);
        let (local, remote, info) = (alice.local.clone(), bob.remote(), alice.info());
        let start = Start::new(local, remote, &info, ids, asks).unwrap();
        let mut pair = Pair::with(start, alice.at, bob, rng);
        pair.bob.relay_tag = gives;
        pair.run();
        let (alice, bob) = pair.done();
        assert_eq!(bob.established.told.relay_tag_request, asks);
        assert_eq!(alice.established.told.relay_tag, gives.filter(|_| asks));
    }
}

/// SessionConfirmed of a router with this RouterInfo, and how it goes on.
fn confirmed(filler: Filler, ipv6: bool) -> (Pair, Vec<Vec<u8>>) {
    let (mut alice, mut bob) = (Router::new(1), Router::new(2));
    if ipv6 {
        (alice, bob) = (alice.over_ipv6(), bob.over_ipv6());
    }
    let info = alice.filled(filler);
    let mut pair = Pair::of(&alice, &info, bob, 7);
    let created = pair.until_created();
    let packets = pair.alice_gets(&created);
    (pair, packets)
}

#[test]
fn a_router_info_of_any_size_gets_through_in_two_packets_at_most_and_any_order() {
    for ipv6 in [false, true] {
        let most = if ipv6 { 1232 } else { 1252 };
        for (filler, count) in [
            (Filler::None, 1),
            (Filler::Dull(400), 1),
            (Filler::Dull(3000), 1),
            (Filler::Random(400), 1),
            (Filler::Random(900), 2),
            (Filler::Random(2000), 2),
        ] {
            let (mut pair, packets) = confirmed(filler, ipv6);
            assert_eq!(packets.len(), count);
            assert!(packets.iter().all(|packet| (40..=most).contains(&packet.len())));
            for packet in &packets {
                pair.bob_gets(packet);
            }
            assert_eq!(pair.done().1.info.as_bytes().len(), {
                let alice = if ipv6 { Router::new(1).over_ipv6() } else { Router::new(1) };
                alice.filled(filler).as_bytes().len()
            });

            let (mut pair, mut packets) = confirmed(filler, ipv6);
            packets.reverse();
            for packet in &packets {
                pair.bob_gets(packet);
            }
            pair.done();
        }
    }
}

#[test]
fn the_last_packet_always_has_what_header_protection_needs() {
    let mut seen = 0;
    for len in 700..900 {
        let (mut pair, packets) = confirmed(Filler::Random(len), false);
        seen |= packets.len();
        for packet in packets.iter().rev() {
            pair.bob_gets(packet);
        }
        pair.done();
    }
    assert_eq!(seen, 3, "one packet and two");
}

#[test]
fn a_router_info_that_does_not_fit_two_packets_is_refused_before_anything_is_sent() {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let info = alice.filled(Filler::Random(3300));
    let ids = Ids::draw(&mut Rng::new(&Seed::from_number(1)));
    let start = Start::new(alice.local.clone(), bob.remote(), &info, ids, false);
    assert_eq!(start.err(), Some(HandshakeError::OwnRouterInfo));
}

#[test]
fn parts_that_come_twice_are_ignored() {
    let (mut pair, packets) = confirmed(Filler::Random(2000), false);
    for _ in 0..3 {
        pair.bob_gets(&packets[0]);
    }
    assert_eq!(pair.ignored, Some(HandshakeError::Repeated));
    pair.bob_gets(&packets[1]);
    pair.done();
}

#[test]
fn packets_are_small_and_their_lengths_vary() {
    let mut lens: [Vec<usize>; 4] = Default::default();
    for seed in 0..100 {
        let mut pair = Pair::new(seed);
        let ask = pair.ask();
        let retry = pair.bob_gets(&ask).pop().unwrap();
        let request = pair.alice_gets(&retry).pop().unwrap();
        let created = pair.bob_gets(&request).pop().unwrap();
        for (len, packet) in lens.iter_mut().zip([&ask, &retry, &request, &created]) {
            len.push(packet.len());
        }
    }
    for (lens, (least, most)) in lens.iter().zip([(56, 120), (56, 130), (88, 152), (88, 168)]) {
        assert!(lens.iter().all(|len| (least..=most).contains(len)), "{lens:?}");
        assert!(lens.iter().any(|len| *len != lens[0]));
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let created = |seed| Pair::new(seed).until_created();
    assert_eq!(created(3), created(3));
    assert_ne!(created(3), created(4));
}

#[test]
fn a_retry_is_hardly_longer_than_its_question() {
    let bob = Router::new(2);
    let (destination, source) = (ConnectionId(1), ConnectionId(2));
    let mut pair = Pair::new(1);
    for from in ["10.0.0.1:1", "[2001:db8::1]:1"] {
        let from: SocketAddr = from.parse().unwrap();
        for len in 56..200 {
            for answer in
                [Answer::Token(NonZeroU64::new(5).unwrap()), Answer::Refused(Reason::ClockSkew)]
            {
                let kind = LongKind::TokenRequest;
                let (version, net_id) = (2, NET);
                let header =
                    LongHeader { destination, number: 1, kind, version, net_id, source, token: 0 };
                let asked = Asked { header, len, from };
                let mut out = Vec::new();
                let local = &bob.local;
                let rng = &mut pair.rng;
                super::super::retry::retry(local, &asked, answer, START, rng, &mut out).unwrap();
                assert!(out.len() <= 3 * len, "three times what came is the limit");
                let least = if from.is_ipv4() { 76 } else { 88 };
                assert!(out.len() <= (len * 3 / 2).max(least), "{} for {len}", out.len());
            }
        }
    }
}

#[test]
fn no_more_than_three_retries_are_followed() {
    let mut pair = Pair::new(1);
    let mut packet = pair.ask();
    let mut followed = 0;
    for _ in 0..10 {
        // Each token is too old when it comes.
        pair.wait(Duration::from_secs(30));
        if let Alice::AwaitCreated(state) = &mut pair.alice {
            state.again();
        }
        let retry = pair.bob_gets(&packet).pop().unwrap();
        let Some(next) = pair.alice_gets(&retry).pop() else {
            assert_eq!(pair.ignored, Some(HandshakeError::Retries));
            break;
        };
        followed += 1;
        packet = next;
    }
    assert_eq!(followed, MAX_RETRIES);
    assert!(matches!(pair.alice, Alice::AwaitCreated(_)));
}
