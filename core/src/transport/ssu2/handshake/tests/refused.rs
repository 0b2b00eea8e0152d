//! Peers that are known, and wrong.

use super::blocks::{DATE, PADDING, confirmed, date, payload};
use super::craft;
use super::fixture::{Alice, Filler, NET, Pair, Router, START};
use crate::rng::{Rng, Seed};
use crate::time::UnixTime;
use crate::transport::checks::Unfit;
use crate::transport::ssu2::handshake::initiator::Start;
use crate::transport::ssu2::{Answer, Asked, HandshakeError, Ids};
use crate::wire::codec::DecodeError;
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::{LongKind, Reason};
use core::time::Duration;

#[test]
fn the_router_info_of_session_confirmed_is_checked() {
    let (alice, bob, other) = (Router::new(1), Router::new(2), Router::new(3));
    let mut forged = alice.info().as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let with =
        |published: UnixTime, net| alice.info_with(published, net, &alice.local, Filler::None);
    for (info, expected) in [
        (RouterInfo::decode(&forged).unwrap(), Unfit::Signature),
        (other.info(), Unfit::StaticKey),
        (alice.info_with(START, Some(NET), &other.local, Filler::None), Unfit::StaticKey),
        (with(START, Some(NET + 1)), Unfit::NetId),
        (with(START, None), Unfit::NetId),
        (with(START - minutes(91), Some(NET)), Unfit::Age),
        (with(START + minutes(3), Some(NET)), Unfit::Age),
        (bob.info(), Unfit::OwnIdentity),
    ] {
        let mut pair = Pair::of(&alice, &info, Router::new(2), 1);
        pair.run();
        assert_eq!(pair.bob.failed, Some(HandshakeError::Unfit(expected)));
        assert!(pair.bob.done.is_none() && pair.bob.pending.is_none());
    }
    for old in [START - minutes(89), START + minutes(1)] {
        let mut pair = Pair::of(&alice, &with(old, Some(NET)), Router::new(2), 1);
        pair.run();
        pair.done();
    }
    let garbage = confirmed(&payload(&[(2, &[0, 1, 2, 3])]), &[]);
    let error = Some(HandshakeError::RouterInfo(DecodeError::Truncated));
    assert_eq!(garbage.bob.failed, error);
}

#[test]
fn whoever_has_other_keys_is_not_taken_for_the_peer() {
    let (alice, bob, mallory) = (Router::new(1), Router::new(2), Router::new(3));
    let (mut with_static, mut with_intro) = (bob.remote(), bob.remote());
    with_static.static_key = *mallory.local.static_public();
    with_intro.intro = *mallory.local.intro().as_bytes();
    for (remote, retries) in [(with_static, 1), (with_intro, 0)] {
        let mut rng = Rng::new(&Seed::from_number(1));
        let ids = Ids::draw(&mut rng);
        let start = Start::new(alice.local.clone(), remote, &alice.info(), ids, false).unwrap();
        let mut pair = Pair::with(start, alice.at, Router::new(2), rng);
        pair.run();
        assert!(pair.bob.pending.is_none() && pair.bob.done.is_none());
        assert_eq!(pair.bob.growth.len(), retries, "a Retry needs no static key");
        assert!(pair.alice_error().is_none());
    }
}

#[test]
fn a_peer_with_a_static_key_of_low_order_is_refused_before_a_request_is_made() {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let mut remote = bob.remote();
    remote.static_key.0 = [0; 32];
    let mut rng = Rng::new(&Seed::from_number(1));
    let ids = Ids::draw(&mut rng);
    let start = Start::new(alice.local.clone(), remote, &alice.info(), ids, false).unwrap();
    let mut pair = Pair::with(start, alice.at, Router::new(2), rng);
    let ask = pair.ask();
    let retry = pair.bob_gets(&ask).pop().unwrap();
    assert!(pair.alice_gets(&retry).is_empty());
    assert_eq!(pair.alice_error(), Some(HandshakeError::RemoteKey));
}

#[test]
fn other_networks_and_versions_get_no_answer() {
    let alice = Router::on_net(1, NET + 1);
    let mut pair = Pair::of(&alice, &alice.info(), Router::new(2), 1);
    let ask = pair.ask();
    assert!(pair.bob_gets(&ask).is_empty());
    assert_eq!(pair.ignored, Some(HandshakeError::Unexpected));

    let mut pair = Pair::new(1);
    let hello = payload(&[(DATE, &date()), (PADDING, &[0; 9])]);
    let token = pair.bob.tokens.for_retry(pair.now, pair.alice_at, &mut pair.rng);
    for kind in [LongKind::TokenRequest, LongKind::SessionRequest] {
        for token in [token.get(), 5] {
            let good = craft::header(kind, 1, 2, token, NET);
            let (mut net, mut version, mut same) = (good, good, good);
            net.net_id = NET + 1;
            version.version = 3;
            same.source = same.destination;
            for header in [net, version, same] {
                let packet = if kind == LongKind::TokenRequest {
                    craft::sealed(&pair.bob.router, &header, &hello)
                } else {
                    craft::request(&pair.bob.router, &header, &hello).1
                };
                assert!(pair.bob_gets(&packet).is_empty(), "{header:?}");
                assert_eq!(pair.ignored, Some(HandshakeError::Unexpected));
            }
        }
    }
    let asked = Asked {
        header: craft::header(LongKind::Retry, 1, 2, 0, NET),
        len: 100,
        from: pair.alice_at,
    };
    assert!(pair.retry(&asked, Answer::Token(token)).is_empty(), "no answer to an answer");

    // Bob's answers from another network are nobody's.
    let ask = pair.ask();
    let retry = pair.bob_gets(&ask).pop().unwrap();
    let request = pair.alice_gets(&retry).pop().unwrap();
    let packet = craft::created(&pair.bob.router, &request, NET + 1, &hello);
    pair.alice_gets(&packet);
    assert_eq!(pair.ignored, Some(HandshakeError::Unexpected));
}

#[test]
fn a_token_of_another_packet_is_no_proof() {
    use crate::transport::ssu2::responder::Request;
    let mut pair = Pair::new(1);
    let token = pair.bob.tokens.for_retry(pair.now, pair.alice_at, &mut pair.rng);
    let proof = pair.bob.tokens.check(pair.now, pair.alice_at, token.get()).unwrap();
    let header = craft::header(LongKind::SessionRequest, 1, 2, 5, NET);
    let local = pair.bob.router.local.clone();
    let mut packet = [0; 100];
    let request = Request::open(local, &mut pair.bob.tokens, proof, &header, &mut packet, START);
    assert_eq!(request.err(), Some(HandshakeError::Proof));
}

#[test]
fn a_skewed_initiator_learns_the_time_from_the_refusal() {
    for seconds in [61, 3600, 1 << 30] {
        for ahead in [false, true] {
            let mut pair = Pair::new(1);
            let late = START + Duration::from_secs(seconds);
            *if ahead { &mut pair.bob_clock } else { &mut pair.alice_clock } = late;
            pair.run();
            let skew = if ahead { seconds as i64 } else { -(seconds as i64) };
            assert_eq!(pair.alice_error(), Some(HandshakeError::ClockSkew(skew)));
            assert!(pair.bob.pending.is_none());

            // With a token at once it is no different.
            let mut pair = Pair::new(1);
            *if ahead { &mut pair.bob_clock } else { &mut pair.alice_clock } = late;
            let (token, _) = pair.bob.tokens.for_later(pair.now, pair.alice_at, &mut pair.rng);
            let request = pair.request(token);
            let retry = pair.bob_gets(&request).pop().unwrap();
            assert!(pair.bob.pending.is_none());
            pair.alice_gets(&retry);
            assert_eq!(pair.alice_error(), Some(HandshakeError::ClockSkew(skew)));
        }
    }
}

#[test]
fn a_skewed_responder_is_found_out_by_what_it_creates() {
    let mut pair = Pair::new(1);
    let ask = pair.ask();
    let retry = pair.bob_gets(&ask).pop().unwrap();
    let request = pair.alice_gets(&retry).pop().unwrap();
    let late = (START.as_secs() + 100).to_be_bytes();
    let packet =
        craft::created(&pair.bob.router, &request, NET, &payload(&[(DATE, &late), (1, &[0; 12])]));
    pair.alice_gets(&packet);
    assert_eq!(pair.alice_error(), Some(HandshakeError::ClockSkew(100)));
}

#[test]
fn a_refusal_is_told() {
    for reason in [Reason::Banned, Reason::Limits] {
        let mut pair = Pair::new(1);
        pair.ask();
        let Alice::AwaitRetry(state) = &pair.alice else { panic!() };
        let (ours, theirs) = (state.ids().ours().0, state.ids().theirs().0);
        let header = craft::header(LongKind::TokenRequest, theirs, ours, 0, NET);
        let asked = Asked { header, len: 60, from: pair.alice_at };
        let refusal = pair.retry(&asked, Answer::Refused(reason)).pop().unwrap();
        pair.alice_gets(&refusal);
        assert_eq!(pair.alice_error(), Some(HandshakeError::Refused(reason)));
    }
}

#[test]
fn a_retry_with_neither_token_nor_refusal_is_ignored() {
    let mut pair = Pair::new(1);
    pair.ask();
    let Alice::AwaitRetry(state) = &pair.alice else { panic!() };
    let (ours, theirs) = (state.ids().ours().0, state.ids().theirs().0);
    let header = craft::header(LongKind::Retry, ours, theirs, 0, NET);
    let hello = payload(&[(DATE, &date()), (PADDING, &[0; 9])]);
    let packet = craft::sealed(&pair.bob.router, &header, &hello);
    assert!(pair.alice_gets(&packet).is_empty());
    assert_eq!(pair.ignored, Some(HandshakeError::Unexpected));
    assert!(matches!(pair.alice, Alice::AwaitRetry(_)));
}
