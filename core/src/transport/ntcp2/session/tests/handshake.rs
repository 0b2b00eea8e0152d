//! The handshake between honest peers, and what it refuses.

use super::fixture::{End, NET, Pair, Router, START};
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::transport::Peer;
use crate::transport::ntcp2::handshake::HandshakeError;
use crate::transport::ntcp2::session::HANDSHAKE_TIMEOUT;
use crate::transport::ntcp2::{Session, SessionError, SessionEvent};
use crate::wire::ntcp2::Reason;
use crate::wire::router_info::RouterInfo;
use alloc::vec::Vec;
use core::time::Duration;

fn skew_of(end: &End) -> Option<i64> {
    end.events.iter().find_map(|event| {
        let SessionEvent::Established { skew, .. } = event else { return None };
        Some(*skew)
    })
}

#[test]
fn both_roles_agree_and_know_each_other() {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let mut pair = Pair::of(alice.connect(&bob, 1), bob.accept(1));
    assert_eq!(pair.a.session.peer(), Some(*bob.local.hash()));
    assert_eq!(pair.b.session.peer(), None);
    pair.pump();
    let outbound = Peer::Outbound(*bob.local.hash());
    let inbound = Peer::Inbound { info: alice.info(), flood: false };
    assert_eq!(pair.a.events, [SessionEvent::Established { peer: outbound, skew: 0 }]);
    assert_eq!(pair.b.events, [SessionEvent::Established { peer: inbound, skew: 0 }]);
    assert_eq!(pair.b.session.peer(), Some(*alice.local.hash()));
}

#[test]
fn each_message_is_one_write_with_a_little_padding() {
    let mut lens = Vec::new();
    for seed in 0..200 {
        let mut pair = Pair::new(seed);
        let mut out = Vec::new();
        pair.a.session.poll_write(pair.now, START, 1 << 16, &mut out);
        assert!((65..=128).contains(&out.len()));
        pair.b.give(pair.now, &out).unwrap();
        lens.push(out.len());
        out.clear();
        pair.b.session.poll_write(pair.now, START, 1 << 16, &mut out);
        assert!((65..=128).contains(&out.len()));
        lens.push(out.len());
        pair.a.give(pair.now, &out).unwrap();
        out.clear();
        pair.a.session.poll_write(pair.now, START, 1 << 16, &mut out);
        pair.b.give(pair.now, &out).unwrap();
        assert!(pair.b.session.is_established());
    }
    assert!(lens.contains(&65) && lens.contains(&128), "the padding varies");
}

#[test]
fn every_cut_of_every_handshake_message_is_the_same_to_the_peer() {
    let mut whole = Pair::new(5);
    let mut messages = Vec::new();
    whole.pump_cut(|bytes| {
        messages.push(bytes.len());
        bytes.len()
    });
    assert_eq!(messages.len(), 3);
    for (index, len) in messages.iter().enumerate() {
        for at in 1..*len {
            let mut pair = Pair::new(5);
            let mut seen = 0;
            pair.pump_cut(|rest| {
                let first = rest.len() == messages[seen.min(2)];
                let cut = if seen == index && first { at } else { rest.len() };
                seen += usize::from(cut == rest.len());
                cut
            });
            assert_eq!(pair.a.events, whole.a.events, "message {index} cut at {at}");
            assert_eq!(pair.b.events, whole.b.events, "message {index} cut at {at}");
        }
    }
    let mut bytewise = Pair::new(5);
    bytewise.pump_cut(|_| 1);
    assert_eq!(bytewise.b.events, whole.b.events);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut pair = Pair::new(seed);
        let one = pair.a.take(pair.now, 1 << 16);
        pair.b.give(pair.now, &one).unwrap();
        let two = pair.b.take(pair.now, 1 << 16);
        pair.a.give(pair.now, &two).unwrap();
        (one, two, pair.a.take(pair.now, 1 << 16))
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn the_round_trip_is_measured_and_taken_off_the_skew() {
    let mut pair = Pair::new(1);
    let delay = Duration::from_secs(2);
    let one = pair.a.take(pair.now, 1 << 16);
    pair.wait(delay);
    pair.b.give(pair.now, &one).unwrap();
    let two = pair.b.take(pair.now, 1 << 16);
    pair.wait(delay);
    pair.a.give(pair.now, &two).unwrap();
    let three = pair.a.take(pair.now, 1 << 16);
    pair.wait(delay);
    pair.b.give(pair.now, &three).unwrap();
    assert_eq!(pair.a.session.rtt(), Some(delay * 2));
    assert_eq!(pair.b.session.rtt(), Some(delay * 2));
    assert_eq!((skew_of(&pair.a), skew_of(&pair.b)), (Some(0), Some(0)));
}

#[test]
fn clocks_within_a_minute_may_differ_and_both_learn_by_how_much() {
    for seconds in [0, 1, 30, 60] {
        let mut pair = Pair::new(1);
        pair.b.clock = START + Duration::from_secs(seconds);
        pair.pump();
        assert_eq!(skew_of(&pair.a), Some(seconds as i64));
        assert_eq!(skew_of(&pair.b), Some(-(seconds as i64)));
    }
}

#[test]
fn a_skewed_initiator_learns_the_time_before_it_is_refused() {
    for seconds in [61, 3600, 1 << 30] {
        for ahead in [false, true] {
            let mut pair = Pair::new(1);
            let late = START + Duration::from_secs(seconds);
            *if ahead { &mut pair.b.clock } else { &mut pair.a.clock } = late;
            pair.pump();
            let skew = if ahead { seconds as i64 } else { -(seconds as i64) };
            let error = |skew| SessionError::Handshake(HandshakeError::ClockSkew(skew));
            assert_eq!(pair.a.error(), Some(error(skew)));
            assert_eq!(pair.b.error(), Some(error(-skew)));
            assert!(!error(-skew).abort(), "message 2 has to arrive");
        }
    }
}

// i2pd answers a skewed message 1 without its padding in the hash.
#[test]
fn the_time_is_learnt_from_a_message_two_whose_hash_left_the_padding_out() {
    for (clock, expected) in [
        (START + Duration::from_secs(500), HandshakeError::ClockSkew(500)),
        (START, HandshakeError::CreatedTag),
    ] {
        let mut pair = Pair::new(1);
        pair.b.clock = clock;
        let mut one = pair.a.take(pair.now, 1 << 16);
        *one.last_mut().unwrap() ^= 1;
        let _skewed = pair.b.give(pair.now, &one);
        let two = pair.b.take(pair.now, 1 << 16);
        assert_eq!(pair.a.give(pair.now, &two), Err(expected.into()));
    }
}

#[test]
fn the_time_limit_is_for_the_whole_handshake() {
    for alice in [true, false] {
        let mut pair = Pair::new(1);
        let one = pair.a.take(pair.now, 1 << 16);
        let bytes = if alice {
            pair.b.give(pair.now, &one).unwrap();
            pair.b.take(pair.now, 1 << 16)
        } else {
            one
        };
        let end = if alice { &mut pair.a } else { &mut pair.b };
        assert_eq!(end.session.poll_timeout(), Some(Instant::ZERO + HANDSHAKE_TIMEOUT));
        for (second, byte) in (1..10).zip(bytes) {
            let now = Instant::ZERO + Duration::from_secs(second);
            end.give(now, &[byte]).unwrap();
            end.timeout(now);
        }
        assert!(end.events.is_empty());
        end.timeout(Instant::ZERO + HANDSHAKE_TIMEOUT);
        assert_eq!(end.error(), Some(SessionError::HandshakeTimeout));
        assert!(SessionError::HandshakeTimeout.abort());
        assert_eq!(end.session.poll_timeout(), None);
    }
}

#[test]
fn whoever_has_other_keys_is_not_taken_for_the_peer() {
    let (alice, bob, mallory) = (Router::new(1), Router::new(2), Router::new(3));
    // Mallory at Bob's address cannot read message 1.
    let mut pair = Pair::of(alice.connect(&bob, 1), mallory.accept(1));
    pair.pump();
    assert!(pair.b.events.is_empty() && !pair.b.session.wants_write());
    // Not even with Bob's hash and IV, which all know.
    let (mut with_static, mut with_iv, mut with_hash) = (bob.remote(), bob.remote(), bob.remote());
    with_static.static_key = *mallory.local.static_public();
    with_iv.iv = *mallory.local.iv();
    with_hash.hash = *mallory.local.hash();
    for remote in [with_static, with_iv, with_hash] {
        let rng = Rng::new(&Seed::from_number(1));
        let a = Session::connect(Instant::ZERO, alice.local.clone(), alice.info(), remote, rng);
        let mut pair = Pair::of(a, bob.accept(1));
        pair.pump();
        assert!(pair.b.events.is_empty() && !pair.b.session.wants_write());
        assert!(pair.b.replay.is_empty(), "what does not authenticate is not remembered");
    }
}

#[test]
fn a_peer_with_a_static_key_of_low_order_is_refused_before_a_byte_is_sent() {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let mut remote = bob.remote();
    remote.static_key.0 = [0; 32];
    let rng = Rng::new(&Seed::from_number(1));
    let session = Session::connect(Instant::ZERO, alice.local.clone(), alice.info(), remote, rng);
    let mut end = End::new(session);
    assert_eq!(end.take(Instant::ZERO, 1 << 16), []);
    assert_eq!(end.error(), Some(HandshakeError::RemoteKey.into()));
}

#[test]
fn the_router_info_of_message_three_is_checked_and_the_peer_told() {
    let (alice, bob, other) = (Router::new(1), Router::new(2), Router::new(3));
    let mut forged = alice.info().as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let with = |published, net| alice.info_with(published, net, &alice.local);
    for (info, expected) in [
        (RouterInfo::decode(&forged).unwrap(), HandshakeError::Signature),
        (other.info_with(START, Some(NET), &other.local), HandshakeError::StaticKey),
        (alice.info_with(START, Some(NET), &other.local), HandshakeError::StaticKey),
        (with(START, Some(NET + 1)), HandshakeError::RouterInfoNetId),
        (with(START, None), HandshakeError::RouterInfoNetId),
        (with(START - minutes(91), Some(NET)), HandshakeError::Age),
        (with(START + minutes(3), Some(NET)), HandshakeError::Age),
        (bob.info(), HandshakeError::OwnIdentity),
    ] {
        let rng = Rng::new(&Seed::from_number(1));
        let a = Session::connect(Instant::ZERO, alice.local.clone(), info, bob.remote(), rng);
        let mut pair = Pair::of(a, bob.accept(1));
        pair.pump();
        let error = SessionError::Handshake(expected);
        assert_eq!(pair.b.events, [SessionEvent::Closed(Err(error))]);
        assert!(!error.abort());
        let reason = expected.reason().unwrap();
        assert_eq!(pair.a.error(), Some(SessionError::Terminated(reason)));
    }
    assert_eq!(HandshakeError::Signature.reason(), Some(Reason::Signature));
    for old in [START - minutes(89), START + minutes(1)] {
        let rng = Rng::new(&Seed::from_number(1));
        let info = with(old, Some(NET));
        let a = Session::connect(Instant::ZERO, alice.local.clone(), info, bob.remote(), rng);
        let mut pair = Pair::of(a, bob.accept(1));
        pair.pump();
        assert!(pair.b.session.is_established());
    }
}

#[test]
fn a_stream_that_ends_early_is_reported_once() {
    let mut pair = Pair::new(1);
    pair.b.session.handle_disconnect();
    pair.b.session.handle_disconnect();
    pair.b.timeout(pair.now + HANDSHAKE_TIMEOUT);
    assert_eq!(pair.b.events, [SessionEvent::Closed(Err(SessionError::Disconnected))]);
}
