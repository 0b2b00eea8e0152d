//! Who is on the way, and peers that misbehave.

use super::super::*;
use super::net::*;
use crate::crypto::aead;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::wire::ssu2::{Block, ShortHeader, ShortKind, Writer, protect};

/// Row F23 of the reliability budget: ten forged packets for each true one.
#[test]
fn forged_packets_change_nothing() {
    for seed in 0..10 {
        let mut net = Net::new(seed, Link { delay: ms(10), ..Link::default() });
        net.tap = Some(Default::default());
        let mut rng = Rng::new(&crate::rng::Seed::from_number(seed));
        for id in 0..100 {
            net.send((id % 2) as usize, id, 200 + 11 * id as usize);
            net.run(ms(5));
            for side in [0, 1] {
                let seen = mem::take(&mut net.tap.as_mut().unwrap()[side]);
                for packet in seen.iter().rev().take(2) {
                    for n in 0..10 {
                        let mut forged = packet.clone();
                        match n {
                            0..5 => {
                                let at = rng.index(forged.len());
                                forged[at] ^= 1 << rng.below(8);
                            }
                            5 => forged.truncate(rng.index(forged.len())),
                            6 => forged.push(0),
                            7 => rng.fill(&mut forged),
                            8 => rng.fill(&mut forged[..16]),
                            _ => {}
                        }
                        let from = if n % 2 == 0 { net.places[1 - side] } else { place(66, n) };
                        let now = net.now;
                        net.sessions[side].handle_packet(now, UNIX, from, &mut forged);
                        net.drain(side);
                    }
                }
            }
        }
        net.run(ms(5_000));
        for side in [0, 1] {
            assert_eq!(net.got(side).len(), 50, "seed {seed}");
            assert_eq!(net.ended(side), None, "seed {seed}");
            assert_eq!(net.sessions[side].remote(), net.places[1 - side], "seed {seed}");
            let stats = net.sessions[side].stats();
            assert!(stats.forged > 100 && stats.repeated > 10, "seed {seed}: {stats:?}");
        }
    }
}

/// A packet of Alice with this payload.
fn packet(net: &Net, number: u32, payload: &[u8]) -> Vec<u8> {
    let kind = ShortKind::Data { immediate_ack: false };
    let mut out = Vec::new();
    let alice = &net.sessions[0];
    ShortHeader { destination: alice.theirs, number, kind }.encode(&mut out);
    let mut text = payload.to_vec();
    let tag = aead::seal(&alice.keys.send.data, number.into(), &out, &mut text);
    out.extend(text);
    out.extend(tag);
    protect::protect(&mut out, &alice.intro, &alice.keys.send.header).unwrap();
    out
}

#[test]
fn who_acknowledges_what_was_never_sent_is_sent_away() {
    for through in [5, 1_000_000, u32::MAX] {
        let mut net = Net::new(1, Link { delay: ms(10), ..Link::default() });
        net.run(ms(500));
        let mut payload = Vec::new();
        let block =
            Block::Ack(crate::wire::ssu2::Ack { through, more: 255, pairs: &[[255, 255]; 60] });
        Writer::new(&mut payload, 1_000).put(&block).unwrap();
        let mut forged = packet(&net, 100, &payload);
        let (now, from) = (net.now, net.places[0]);
        net.sessions[1].handle_packet(now, UNIX, from, &mut forged);
        net.drain(1);
        assert_eq!(net.ended(1), Some(Err(SessionError::Ack)), "{through}");
    }
}

#[test]
fn blocks_that_cannot_be_read_end_the_session_and_others_are_passed_over() {
    for (payload, end) in [
        (&[3, 0, 20, 1, 2, 3, 4, 5][..], Some(Err(SessionError::Payload))),
        (&[12, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some(Err(SessionError::Payload))),
        (&[200, 0, 5, 1, 2, 3, 4, 5], None),
        (&[3, 0, 5, 1, 2, 3, 4, 5], Some(Err(SessionError::Payload))),
    ] {
        let mut net = Net::new(1, Link { delay: ms(10), ..Link::default() });
        net.run(ms(500));
        let mut wrong = packet(&net, 100, payload);
        let (now, from) = (net.now, net.places[0]);
        net.sessions[1].handle_packet(now, UNIX, from, &mut wrong);
        net.drain(1);
        assert_eq!(net.ended(1), end, "{payload:?}");
    }
}

/// Invariant 7: where nobody has shown that the peer is, at most three bytes go for each that came from there.
#[test]
fn addresses_that_are_not_the_peers_draw_few_bytes() {
    for len in [0, 1, 8, 64] {
        let mut net = Net::new(1, Link { delay: ms(10), ..Link::default() });
        net.run(ms(500));
        let (mut number, mut came, mut went) = (100, 0, 0);
        for round in 0..200 {
            let challenge = [7; 64];
            let mut payload = Vec::new();
            let mut writer = Writer::new(&mut payload, 1_000);
            for _ in 0..4 {
                writer.put(&Block::PathChallenge(&challenge[..len])).unwrap();
            }
            let mut packet = packet(&net, number, &payload);
            number += 1;
            came += packet.len();
            let (now, from) = (net.now, place(66, round / 50));
            net.sessions[1].handle_packet(now, UNIX, from, &mut packet);
            let mut out = Vec::new();
            while let Some(to) = net.sessions[1].poll_transmit(now, UNIX, &mut out) {
                assert!(out.len() >= 40, "{len}");
                if to.ip() == from.ip() {
                    went += out.len();
                }
                out.clear();
            }
            net.run(ms(50));
        }
        assert!(went > 0 && went <= came * 3, "{len}: {went} for {came}");
    }
}

/// Every kind of block with random content, from a peer that has the keys.
#[test]
fn a_peer_can_say_anything() {
    for seed in 0..300 {
        let mut rng = Rng::new(&crate::rng::Seed::from_number(seed));
        let mut net = Net::new(seed, Link { delay: ms(10), ..Link::default() });
        net.run(ms(100));
        let mut number = 50;
        for _ in 0..40 {
            let mut payload = Vec::new();
            for _ in 0..1 + rng.below(4) {
                let len = rng.below(60) as usize;
                payload.extend([rng.below(24) as u8, 0, len as u8]);
                let mut data = alloc::vec![0; len];
                rng.fill(&mut data);
                if let Some(first) = data.first_mut().filter(|_| len > 0) {
                    *first %= 3;
                }
                payload.extend(data);
            }
            payload.resize(payload.len().max(8), 0);
            let mut packet = packet(&net, number, &payload);
            number += rng.below(40) as u32;
            let (now, from) = (net.now, place(rng.below(4) as u8, 1));
            net.sessions[1].handle_packet(now, UNIX, from, &mut packet);
            net.drain(1);
            net.run(ms(rng.below(300)));
        }
        net.run(ms(200_000));
        assert!(net.sessions.iter().all(Session::is_closed), "seed {seed}");
    }
}

#[test]
fn numbers_are_never_used_twice() {
    let mut net = Net::new(1, Link { delay: ms(10), ..Link::default() });
    net.run(ms(100));
    net.sessions[0].flight = Flight::new(net.now, u32::MAX - 9);
    net.links[1].loss = 400;
    net.tap = Some(Default::default());
    for id in 0..10 {
        let _closed = net.sessions[0].queue(net.now, message(id, 1_000), Priority::Own);
        net.run(ms(100));
    }
    assert_eq!(net.ended(0), Some(Err(SessionError::Numbers)));
    let alice = &net.sessions[0];
    let mut numbers: Vec<u32> = Vec::new();
    for packet in &net.tap.as_ref().unwrap()[1] {
        let header = protect::peek(packet, alice.theirs, &alice.keys.send.header).unwrap();
        numbers.push(header.number());
    }
    assert!(numbers.len() == 9 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let mut noise = SymmetricState::new(Protocol::Ssu2, &crate::crypto::x25519::PublicKey([1; 32]));
    noise.mix_key(&key(1));
    let (alice, bob) = (DataKeys::for_initiator(&noise), DataKeys::for_responder(&noise));
    assert_eq!(alice.send.data.as_bytes(), bob.receive.data.as_bytes());
    assert_ne!(alice.send.data.as_bytes(), alice.receive.data.as_bytes());
}
