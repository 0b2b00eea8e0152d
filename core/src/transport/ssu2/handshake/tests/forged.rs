//! What anybody can send changes nothing.

use super::fixture::{Alice, Filler, Pair, Router};
use crate::rng::{Rng, Seed};
use crate::transport::ssu2::HandshakeError;
use alloc::vec::Vec;

/// `packet` with one byte changed, for each byte and several changes.
fn damaged(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let masks = [0x01, 0x80, 0xff];
    (0..packet.len()).map(move |at| {
        let mut copy = packet.to_vec();
        copy[at] ^= masks[at % masks.len()];
        copy
    })
}

/// `packet` cut short or made longer.
fn cut(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let longer = [packet, &[0]].concat();
    (0..packet.len()).map(|len| packet[..len].to_vec()).chain([longer])
}

fn forgeries(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    damaged(packet).chain(cut(packet))
}

#[test]
fn damaged_packets_of_a_handshake_change_nothing_and_the_true_ones_succeed() {
    let mut pair = Pair::new(1);
    let ask = pair.ask();
    for forged in forgeries(&ask) {
        // Whoever changes the type makes a request whose token is not good.
        for answer in pair.bob_gets(&forged) {
            assert!(pair.alice_gets(&answer).is_empty());
        }
        assert!(pair.bob.pending.is_none());
    }
    let retry = pair.bob_gets(&ask).pop().unwrap();
    for forged in forgeries(&retry) {
        assert!(pair.alice_gets(&forged).is_empty());
        assert!(matches!(pair.alice, Alice::AwaitRetry(_)));
        assert!(pair.ignored.is_some());
    }
    let request = pair.alice_gets(&retry).pop().unwrap();
    for forged in forgeries(&request) {
        for answer in pair.bob_gets(&forged) {
            assert!(pair.alice_gets(&answer).is_empty());
        }
        assert!(pair.bob.pending.is_none());
    }
    let created = pair.bob_gets(&request).pop().unwrap();
    for forged in forgeries(&created) {
        assert!(pair.alice_gets(&forged).is_empty());
        assert!(matches!(pair.alice, Alice::AwaitCreated(_)));
        assert!(pair.ignored.is_some());
    }
    let confirmed = pair.alice_gets(&created).pop().unwrap();
    for forged in forgeries(&confirmed) {
        pair.bob_gets(&forged);
        assert!(pair.bob.pending.is_some());
    }
    pair.bob_gets(&confirmed);
    pair.done();
}

#[test]
fn damaged_parts_of_session_confirmed_change_nothing_and_the_true_ones_succeed() {
    for reversed in [false, true] {
        let alice = Router::new(1);
        let info = alice.filled(Filler::Random(2000));
        let mut pair = Pair::of(&alice, &info, Router::new(2), 2);
        let created = pair.until_created();
        let mut parts = pair.alice_gets(&created);
        assert_eq!(parts.len(), 2);
        if reversed {
            parts.reverse();
        }
        for part in &parts {
            for (at, forged) in forgeries(part).enumerate() {
                // The unused flags of the second header have no meaning, and nothing authenticates them.
                if at == 14 || at == 15 {
                    continue;
                }
                pair.bob_gets(&forged);
                assert!(pair.bob.pending.is_some());
            }
            pair.bob_gets(part);
        }
        pair.done();
    }
}

#[test]
fn parts_among_ten_times_as_many_forged_ones_get_through_when_they_come_again() {
    let mut rng = Rng::new(&Seed::from_number(3));
    let mut tries = Vec::new();
    for seed in 0..40 {
        let alice = Router::new(1);
        let info = alice.filled(Filler::Random(2000));
        let mut pair = Pair::of(&alice, &info, Router::new(2), seed);
        let created = pair.until_created();
        let parts = pair.alice_gets(&created);
        let mut count = 0;
        while pair.bob.done.is_none() {
            count += 1;
            assert!(count < 100, "seed {seed}");
            let mut packets = parts.clone();
            for part in &parts {
                for _ in 0..10 {
                    // The ends are what masks the header: without them it would be known for a forgery.
                    let mut copy = part.clone();
                    let at = 64 + rng.index(copy.len() - 64 - 24);
                    copy[at] ^= 1;
                    packets.push(copy);
                }
            }
            rng.shuffle(&mut packets);
            for packet in &packets {
                pair.bob_gets(packet);
            }
        }
        tries.push(count);
        pair.done();
    }
    tries.sort_unstable();
    assert!(tries[tries.len() / 2] <= 5, "{tries:?}");
}

#[test]
fn noise_of_any_length_changes_nothing() {
    let mut rng = Rng::new(&Seed::from_number(4));
    let mut pair = Pair::new(5);
    let mut noise = |pair: &mut Pair| {
        for len in (0..1500).step_by(7) {
            let mut packet = alloc::vec![0; len];
            rng.fill(&mut packet);
            assert!(pair.bob_gets(&packet).is_empty() && pair.alice_gets(&packet).is_empty());
        }
    };
    let ask = pair.ask();
    noise(&mut pair);
    let retry = pair.bob_gets(&ask).pop().unwrap();
    let request = pair.alice_gets(&retry).pop().unwrap();
    noise(&mut pair);
    let created = pair.bob_gets(&request).pop().unwrap();
    noise(&mut pair);
    let confirmed = pair.alice_gets(&created).pop().unwrap();
    pair.bob_gets(&confirmed);
    pair.done();
}

#[test]
fn packets_of_another_attempt_change_nothing() {
    let mut other = Pair::new(7);
    let ask = other.ask();
    let retry = other.bob_gets(&ask).pop().unwrap();
    let request = other.alice_gets(&retry).pop().unwrap();
    let created = other.bob_gets(&request).pop().unwrap();
    let confirmed = other.alice_gets(&created).pop().unwrap();

    let mut pair = Pair::new(8);
    let mine = pair.until_created();
    for packet in [&retry, &created] {
        assert!(pair.alice_gets(packet).is_empty());
        assert_eq!(pair.ignored, Some(HandshakeError::Unexpected));
    }
    pair.bob_gets(&confirmed);
    let mine = pair.alice_gets(&mine).pop().unwrap();
    pair.bob_gets(&mine);
    pair.done();
}

#[test]
fn a_recorded_request_makes_no_second_session() {
    let mut pair = Pair::new(9);
    let ask = pair.ask();
    let retry = pair.bob_gets(&ask).pop().unwrap();
    let request = pair.alice_gets(&retry).pop().unwrap();
    let created = pair.bob_gets(&request).pop().unwrap();
    let confirmed = pair.alice_gets(&created).pop().unwrap();
    pair.bob_gets(&confirmed);
    pair.done();
    // From the same address: a Retry, and for no attempt of Alice's.
    assert_eq!(pair.bob_gets(&request).len(), 1);
    assert!(pair.bob.pending.is_none());
    // From another one the token is not good at all.
    pair.alice_at.set_port(9);
    assert_eq!(pair.bob_gets(&request).len(), 1);
    assert!(pair.bob.pending.is_none());
}
