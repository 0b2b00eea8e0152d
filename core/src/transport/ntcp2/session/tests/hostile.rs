//! Probers, replays, damaged and made-up bytes.

use super::fixture::{End, NET, Pair, Router, START, message};
use crate::crypto::aes::Encryptor;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::PrivateKey;
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::transport::ntcp2::handshake::{HandshakeError, MAX_CONFIRMED, MAX_PADDING};
use crate::transport::ntcp2::session::HANDSHAKE_TIMEOUT;
use crate::transport::ntcp2::{SessionError, SessionEvent};
use crate::transport::queue::Priority;
use crate::wire::ntcp2::{Reason, RequestOptions};
use alloc::vec::Vec;
use core::time::Duration;

/// Message 1 made by hand, with any options.
fn request(bob: &Router, options: RequestOptions) -> Vec<u8> {
    request_with(bob, options, 0)
}

/// As [`request`], with these bits flipped in the last byte of the ephemeral key.
fn request_with(bob: &Router, options: RequestOptions, flip: u8) -> Vec<u8> {
    let mut rng = Rng::new(&Seed::from_number(77));
    let ephemeral = PrivateKey::generate(&mut rng);
    let mut noise = SymmetricState::new(Protocol::Ntcp2, bob.local.static_public());
    let mut x = ephemeral.public().0;
    x[31] ^= flip;
    noise.mix_hash(&x);
    noise.mix_key(&ephemeral.diffie_hellman(bob.local.static_public()).unwrap());
    Encryptor::new(bob.local.hash().as_bytes()).cbc_encrypt(bob.local.iv(), &mut x);
    let mut out = x.to_vec();
    options.encode(&mut out);
    noise.encrypt_and_hash(&mut out, 32);
    out.resize(out.len() + usize::from(options.padding), 7);
    out
}

fn options() -> RequestOptions {
    let timestamp = START.as_secs();
    RequestOptions { net_id: NET, version: 2, padding: 3, confirmed: 700, timestamp }
}

/// Feeds Bob bytes that he must not answer; returns how long and how many bytes he waited.
fn probed(bob: &mut End, bytes: &[u8], expected: HandshakeError) -> (Duration, usize) {
    let start = Instant::from_micros(1000);
    bob.give(start, &bytes[..64]).unwrap();
    assert!(bob.events.is_empty(), "nothing is told before the end");
    assert_eq!(bob.take(start, 1 << 16), []);
    let until = bob.session.poll_timeout().unwrap();
    assert!(until <= Instant::ZERO + HANDSHAKE_TIMEOUT);
    let mut more = 0;
    while bob.events.is_empty() && more < 5000 {
        let _end = bob.give(start, &[0]);
        more += 1;
    }
    let error = SessionError::Handshake(expected);
    assert_eq!(bob.events, [SessionEvent::Closed(Err(error))]);
    assert!(error.abort());
    assert_eq!(bob.take(start, 1 << 16), []);
    (until.saturating_since(start), more)
}

#[test]
fn all_that_is_wrong_with_message_one_looks_the_same() {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let good = End::new(alice.connect(&bob, 1)).take(Instant::ZERO, 1 << 16);
    let mut bad_tag = good.clone();
    bad_tag[40] ^= 1;
    let mut waits = Vec::new();
    for seed in 0..20 {
        let cases = [
            (Rng::new(&Seed::from_number(seed)).bytes::<64>().to_vec(), None),
            (bad_tag.clone(), Some(HandshakeError::RequestTag)),
            (good.clone(), Some(HandshakeError::Replay)),
            (
                request(&bob, RequestOptions { net_id: NET + 1, ..options() }),
                Some(HandshakeError::NetId(NET + 1)),
            ),
            (
                request(&bob, RequestOptions { version: 3, ..options() }),
                Some(HandshakeError::Version(3)),
            ),
            (
                request(&bob, RequestOptions { confirmed: 15, ..options() }),
                Some(HandshakeError::ConfirmedLen(15)),
            ),
        ];
        for (bytes, expected) in cases {
            let mut end = End::new(bob.accept(seed));
            if expected == Some(HandshakeError::Replay) {
                let mut first = End::new(bob.accept(seed));
                first.give(Instant::ZERO, &good).unwrap();
                end.replay = first.replay;
            }
            let expected = expected.unwrap_or_else(|| {
                // Half of all random keys have the top bit set.
                let mut copy = End::new(bob.accept(seed));
                copy.give(Instant::ZERO, &bytes).unwrap();
                copy.timeout(Instant::ZERO + HANDSHAKE_TIMEOUT);
                match copy.error() {
                    Some(SessionError::Handshake(error)) => error,
                    other => panic!("{other:?}"),
                }
            });
            waits.push(probed(&mut end, &bytes, expected));
        }
    }
    let spread = |f: fn(&(Duration, usize)) -> u128| {
        let all = || waits.iter().map(f);
        all().max().unwrap() - all().min().unwrap()
    };
    assert!(spread(|w| w.0.as_millis()) > 5_000, "the time varies");
    assert!(spread(|w| w.1 as u128) > 500, "the bytes vary");
}

#[test]
fn ephemeral_keys_that_no_honest_peer_sends_are_refused() {
    let bob = Router::new(2);
    // X25519 ignores the top bit, so that all but the key itself is right.
    let top_bit = request_with(&bob, options(), 0x80);
    probed(&mut End::new(bob.accept(1)), &top_bit, HandshakeError::EphemeralKey);
    let mut zero = [0; 32];
    Encryptor::new(bob.local.hash().as_bytes()).cbc_encrypt(bob.local.iv(), &mut zero);
    let zero = [zero, [1; 32]].concat();
    probed(&mut End::new(bob.accept(1)), &zero, HandshakeError::EphemeralKey);
}

#[test]
fn a_prober_that_stays_silent_is_closed_in_time() {
    let bob = Router::new(2);
    let mut end = End::new(bob.accept(1));
    end.give(Instant::ZERO, &[9; 64]).unwrap();
    let until = end.session.poll_timeout().unwrap();
    end.timeout(until);
    assert!(end.error().is_some_and(SessionError::abort));
    assert_eq!(end.give(until, b"late"), Ok(()));
    assert_eq!(end.events.len(), 1);
}

#[test]
fn a_replay_is_never_answered() {
    let (alice, bob) = (Router::new(1), Router::new(2));
    for skew in [60, 0, 61, 3600] {
        for ahead in [true, false] {
            let mut early = End::new(alice.connect(&bob, 1));
            let skew = Duration::from_secs(skew);
            early.clock = if ahead { START + skew } else { START - skew };
            let one = early.take(Instant::ZERO, 1 << 16);
            let mut first = End::new(bob.accept(1));
            first.give(Instant::ZERO, &one).ok();
            assert!(first.session.wants_write(), "{skew:?} ahead: the time is told once");
            let mut replay = first.replay;
            for seconds in [0, 1, 60, 120, 131, 190, 3600, 3700, 86_400, 100 * 86_400] {
                let now = Instant::ZERO + Duration::from_secs(seconds);
                // Others come meanwhile.
                let mut other = End::new(bob.accept(2));
                other.replay = replay;
                let mut someone = End::new(alice.connect(&bob, 100 + seconds));
                other.give(now, &someone.take(now, 999)).unwrap();
                assert!(other.session.wants_write(), "{:?}", other.error());
                let mut again = End::new(bob.accept(3));
                again.replay = other.replay;
                again.give(now, &one).unwrap();
                assert!(!again.session.wants_write(), "{skew:?} ahead, after {seconds} s");
                replay = again.replay;
            }
        }
    }
}

#[test]
fn padding_and_message_three_have_limits() {
    let bob = Router::new(2);
    let max = MAX_PADDING as u16;
    for (padding, fits) in [(0, true), (223, true), (max, true), (max + 1, false)] {
        let mut end = End::new(bob.accept(1));
        end.give(Instant::ZERO, &request(&bob, RequestOptions { padding, ..options() }))
            .or_else(|error| if fits { Err(error) } else { Ok(()) })
            .unwrap();
        assert_eq!(end.session.wants_write(), fits, "{padding} bytes of padding");
    }
    let max = (MAX_CONFIRMED - 48) as u16;
    for (confirmed, fits) in [(19, false), (20, true), (max, true), (max + 1, false)] {
        let mut end = End::new(bob.accept(1));
        end.give(Instant::ZERO, &request(&bob, RequestOptions { confirmed, ..options() })).unwrap();
        assert_eq!(end.session.wants_write(), fits, "{confirmed} bytes of message 3");
    }
}

#[test]
fn bytes_after_messages_one_and_two_are_refused() {
    let mut pair = Pair::new(1);
    let mut one = pair.a.take(pair.now, 1 << 16);
    let mut other = Pair::new(1);
    pair.b.give(pair.now, &one).unwrap();
    one.push(0);
    other.b.give(pair.now, &one).unwrap();
    assert!(!other.b.session.wants_write());
    let mut two = pair.b.take(pair.now, 1 << 16);
    two.push(0);
    assert_eq!(pair.a.give(pair.now, &two), Err(HandshakeError::Extra.into()));
    assert!(!pair.a.session.wants_write());
    // Before message 1 is written nothing can be expected at all.
    let mut early = Pair::new(1);
    assert_eq!(early.a.give(pair.now, &[0]), Err(HandshakeError::Extra.into()));
}

#[test]
fn every_flipped_bit_of_messages_one_and_two_ends_the_handshake() {
    let lens = {
        let mut pair = Pair::new(1);
        let one = pair.a.take(pair.now, 1 << 16);
        pair.b.give(pair.now, &one).unwrap();
        [one.len(), pair.b.take(pair.now, 1 << 16).len()]
    };
    for bit in 0..lens[0] * 8 {
        let mut pair = Pair::new(1);
        let mut one = pair.a.take(pair.now, 1 << 16);
        one[bit / 8] ^= 1 << (bit % 8);
        pair.b.give(pair.now, &one).unwrap();
        let two = pair.b.take(pair.now, 1 << 16);
        if bit < 64 * 8 {
            assert!(two.is_empty(), "bit {bit}");
        } else {
            // Padding is authenticated by the next message.
            let error = pair.a.give(pair.now, &two).unwrap_err();
            assert_eq!(error, HandshakeError::CreatedTag.into());
        }
        assert!(!pair.a.session.wants_write());
    }
    for bit in 0..lens[1] * 8 {
        let mut pair = Pair::new(1);
        let one = pair.a.take(pair.now, 1 << 16);
        pair.b.give(pair.now, &one).unwrap();
        let mut two = pair.b.take(pair.now, 1 << 16);
        two[bit / 8] ^= 1 << (bit % 8);
        let given = pair.a.give(pair.now, &two);
        if bit < 64 * 8 {
            // In the sealed timestamp it may look like a clock far off; refused all the same.
            assert!(given.is_err(), "bit {bit}");
            assert!(!pair.a.session.wants_write());
        } else {
            let three = pair.a.take(pair.now, 1 << 16);
            let error = pair.b.give(pair.now, &three).unwrap_err();
            assert_eq!(error, HandshakeError::ConfirmedTag.into());
            assert!(!pair.b.session.wants_write());
        }
    }
}

#[test]
fn every_damaged_byte_of_message_three_ends_the_handshake_without_an_answer() {
    let mut len = 1;
    let mut at = 0;
    while at < len {
        let mut pair = Pair::new(1);
        let one = pair.a.take(pair.now, 1 << 16);
        pair.b.give(pair.now, &one).unwrap();
        let two = pair.b.take(pair.now, 1 << 16);
        pair.a.give(pair.now, &two).unwrap();
        let mut three = pair.a.take(pair.now, 1 << 16);
        len = three.len();
        three[at] ^= 1 << (at % 8);
        assert_eq!(pair.b.give(pair.now, &three), Err(HandshakeError::ConfirmedTag.into()));
        assert!(!pair.b.session.wants_write());
        at += 1;
    }
}

#[test]
fn a_forged_frame_ends_the_session_and_the_peer_is_told_after_a_while() {
    let len = {
        let mut pair = Pair::established(1);
        pair.a.session.queue(pair.now, message(1, 100), Priority::Own).unwrap();
        pair.a.take(pair.now, 1 << 16).len()
    };
    for at in 0..len {
        let mut pair = Pair::established(1);
        pair.a.session.queue(pair.now, message(1, 100), Priority::Own).unwrap();
        let mut frame = pair.a.take(pair.now, 1 << 16);
        frame[at] ^= 0x10;
        pair.b.give(pair.now, &frame).unwrap();
        assert!(pair.b.events.is_empty(), "nothing of it is believed");
        if at < 2 {
            // The length came out larger or smaller; whatever follows, it does not authenticate.
            let mut rng = Rng::new(&Seed::from_number(1));
            let mut junk = alloc::vec![0; 65_536];
            rng.fill(&mut junk);
            let _end = pair.b.give(pair.now, &junk);
        }
        if pair.b.events.is_empty() {
            assert!(!pair.b.session.wants_write());
            assert!(pair.b.session.queue(pair.now, message(2, 10), Priority::Control).is_err());
            let until = pair.b.session.poll_timeout().unwrap();
            assert!(until <= pair.now + Duration::from_secs(2));
            pair.b.timeout(until);
        }
        let error = pair.b.error().unwrap();
        assert!(matches!(error, SessionError::FrameTag | SessionError::FrameLength(_)));
        assert!(!error.abort());
        let goodbye = pair.b.take(pair.now, 1 << 16);
        let told = SessionError::Terminated(Reason::FrameTag);
        assert_eq!(pair.a.give(pair.now, &goodbye), Err(told));
    }
}

#[test]
fn frames_cannot_be_replayed_reordered_or_reflected() {
    let frames = |pair: &mut Pair| -> Vec<Vec<u8>> {
        let frame = |id| {
            pair.a.session.queue(pair.now, message(id, 50), Priority::Own).unwrap();
            pair.a.take(pair.now, 1 << 16)
        };
        (1..3).map(frame).collect()
    };
    for order in [&[0, 0][..], &[1, 0]] {
        let mut pair = Pair::established(1);
        let frames = frames(&mut pair);
        for index in order {
            let _end = pair.b.give(pair.now, &frames[*index]);
        }
        pair.b.timeout(pair.now + Duration::from_secs(200));
        assert!(pair.b.messages().len() < 2);
    }
    let mut pair = Pair::established(1);
    let frames = frames(&mut pair);
    let _end = pair.a.give(pair.now, &frames.concat());
    assert!(pair.a.messages().is_empty());
}

#[test]
fn arbitrary_bytes_and_calls_in_any_state_do_no_harm() {
    for seed in 0..400 {
        let mut rng = Rng::new(&Seed::from_number(seed)).fork("fuzz");
        let mut pair = Pair::new(seed);
        for _ in 0..30 {
            pair.wait(Duration::from_millis(rng.below(2000)));
            let room = rng.below(3000) as usize;
            let (from, to) = if rng.below(2) == 0 {
                (&mut pair.a, &mut pair.b)
            } else {
                (&mut pair.b, &mut pair.a)
            };
            let mut bytes = from.take(pair.now, room.max(1));
            match rng.below(12) {
                0 if !bytes.is_empty() => {
                    let at = rng.index(bytes.len());
                    bytes[at] ^= 1 << rng.below(8);
                }
                1 => bytes.truncate(rng.index(bytes.len() + 1)),
                2 => {
                    let mut junk = alloc::vec![0; rng.below(2000) as usize];
                    rng.fill(&mut junk);
                    bytes.extend_from_slice(&junk);
                }
                3 => to.timeout(pair.now),
                4 => to.session.close(Reason::Normal),
                5 => to.session.handle_disconnect(),
                _ => {
                    let len = rng.below(3000) as usize;
                    let _full = to.session.queue(pair.now, message(1, len), Priority::Transit);
                }
            }
            let _end = to.give(pair.now, &bytes);
        }
        for end in [&pair.a, &pair.b] {
            let ends = end.events.iter().filter(|e| matches!(e, SessionEvent::Closed(_))).count();
            assert_eq!(ends, usize::from(end.session.is_closed()), "seed {seed}");
        }
    }
}
