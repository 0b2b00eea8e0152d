//! The data phase.

use super::fixture::{End, Pair, Router, START, message};
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::transport::ntcp2::frame::{Opener, Sealer};
use crate::transport::ntcp2::handshake::initiator::Start;
use crate::transport::ntcp2::session::{IDLE_JITTER, IDLE_TIMEOUT, STALL_TIMEOUT};
use crate::transport::ntcp2::{SessionError, SessionEvent};
use crate::transport::queue::{Full, Priority};
use crate::wire::i2np::{MAX_BODY_LEN, Message};
use crate::wire::ntcp2::{self, Block, Blocks, Reason};
use alloc::vec::Vec;
use core::time::Duration;

/// An established session of Bob's, with Alice's keys in our hands.
fn with_keys() -> (End, Sealer, Opener) {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let mut end = End::new(bob.accept(1));
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut out = Vec::new();
    let start = Start::new(alice.local.clone(), bob.remote(), alice.info());
    let Ok(state) = start.request(Instant::ZERO, START, &mut rng, &mut out) else { panic!() };
    end.give(Instant::ZERO, &out).unwrap();
    let mut two = end.take(Instant::ZERO, 1 << 16);
    let (head, padding) = two.split_first_chunk_mut().unwrap();
    let Ok(state) = state.handle_head(Instant::ZERO, START, head) else { panic!() };
    let mut three = Vec::new();
    let Ok((keys, _)) = state.confirm(padding, &mut three) else { panic!() };
    end.give(Instant::ZERO, &three).unwrap();
    end.events.clear();
    (end, keys.sealer, keys.opener)
}

fn seal(sealer: &mut Sealer, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = Sealer::begin(&mut out);
    out.extend_from_slice(payload);
    sealer.finish(&mut out, start);
    out
}

/// The plaintexts of all frames in `bytes`.
fn open(opener: &mut Opener, mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    while let Some((masked, rest)) = bytes.split_first_chunk() {
        let (frame, rest) = rest.split_at(opener.length(*masked).into());
        bytes = rest;
        texts.push(opener.open(&mut frame.to_vec()).unwrap().to_vec());
    }
    texts
}

#[test]
fn messages_arrive_whole_and_in_order_however_the_stream_is_cut() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        let mut rng = Rng::new(&Seed::from_number(seed)).fork("cuts");
        let mut sent = [Vec::new(), Vec::new()];
        for id in 0..30 {
            let len = match rng.below(10) {
                0 => rng.below(MAX_BODY_LEN as u64 + 1),
                1 => 0,
                _ => rng.below(2000),
            } as usize;
            for (end, sent) in [&mut pair.a, &mut pair.b].into_iter().zip(&mut sent) {
                end.session.queue(pair.now, message(id, len), Priority::Own).unwrap();
                sent.push(message(id, len));
            }
            if id % 10 == 9 {
                let most = [3, 300, 20_000][id as usize / 10];
                pair.pump_cut(|_| rng.between(1, most) as usize);
            }
        }
        assert_eq!(pair.b.messages(), sent[0], "seed {seed}");
        assert_eq!(pair.a.messages(), sent[1], "seed {seed}");
        assert_eq!(pair.b.session.stats().messages_in, 30);
    }
}

#[test]
fn messages_go_with_the_last_handshake_message() {
    let mut pair = Pair::new(1);
    pair.a.session.queue(pair.now, message(1, 10), Priority::Own).unwrap();
    let one = pair.a.take(pair.now, 1 << 16);
    pair.b.give(pair.now, &one).unwrap();
    let two = pair.b.take(pair.now, 1 << 16);
    pair.a.give(pair.now, &two).unwrap();
    let three = pair.a.take(pair.now, 1 << 16);
    pair.b.give(pair.now, &three).unwrap();
    assert_eq!(pair.b.messages(), [message(1, 10)]);
}

#[test]
fn a_slow_handshake_costs_no_message() {
    let mut pair = Pair::new(1);
    pair.a.session.queue(pair.now, message(1, 10), Priority::Own).unwrap();
    let one = pair.a.take(pair.now, 1 << 16);
    pair.wait(Duration::from_secs(4));
    pair.b.give(pair.now, &one).unwrap();
    pair.wait(Duration::from_secs(4));
    pair.pump();
    assert_eq!(pair.b.messages(), [message(1, 10)]);
}

#[test]
fn the_largest_body_passes_and_a_larger_one_is_refused() {
    let mut pair = Pair::established(1);
    let largest = message(1, MAX_BODY_LEN);
    pair.a.session.queue(pair.now, largest.clone(), Priority::Own).unwrap();
    let larger = message(2, MAX_BODY_LEN + 1);
    assert_eq!(pair.a.session.queue(pair.now, larger, Priority::Own), Err(Full::TooLarge));
    pair.pump_cut(|_| 1000);
    assert_eq!(pair.b.messages(), [largest]);
}

#[test]
fn many_messages_share_a_frame_and_a_call_makes_many_frames() {
    let mut pair = Pair::established(1);
    for id in 0..200 {
        pair.a.session.queue(pair.now, message(id, 1028), Priority::Transit).unwrap();
    }
    let mut out = Vec::new();
    let before = pair.a.session.stats().frames_out;
    pair.a.session.poll_write(pair.now, START, 256 * 1024, &mut out);
    assert!(out.len() > 200 * 1040);
    assert_eq!(pair.a.session.stats().frames_out - before, 14, "15 cells in each but the last");
    pair.b.give(pair.now, &out).unwrap();
    assert_eq!(pair.b.messages().len(), 200);
}

#[test]
fn a_frame_is_made_to_fit_the_room() {
    let mut pair = Pair::established(1);
    for id in 0..50 {
        pair.a.session.queue(pair.now, message(id, 1028), Priority::Own).unwrap();
    }
    let mut out = Vec::new();
    let written = pair.a.session.poll_write(pair.now, START, 5000, &mut out);
    assert!((4000..=5000).contains(&written));
    // A message of more weight that comes now goes first: only what was written is settled.
    pair.a.session.queue(pair.now, message(99, 10), Priority::Control).unwrap();
    out.extend(pair.a.take(pair.now, 5000));
    pair.b.give(pair.now, &out).unwrap();
    let ids: Vec<u32> = pair.b.messages().iter().map(|m| m.id).collect();
    assert_eq!(ids[4], 99);
    assert_eq!(ids.len(), 51);
}

#[test]
fn the_smallest_room_gets_all_through() {
    for room in [1, 2, 17, 100] {
        let mut pair = Pair::established(1);
        pair.a.session.queue(pair.now, message(1, 3000), Priority::Own).unwrap();
        pair.a.session.queue(pair.now, message(2, 3000), Priority::Own).unwrap();
        let out = pair.a.take(pair.now, room);
        pair.b.give(pair.now, &out).unwrap();
        assert_eq!(pair.b.messages(), [message(1, 3000), message(2, 3000)]);
        assert!(!pair.a.session.wants_write());
    }
}

#[test]
fn no_room_writes_nothing() {
    let mut pair = Pair::established(1);
    pair.a.session.queue(pair.now, message(1, 10), Priority::Own).unwrap();
    assert_eq!(pair.a.session.poll_write(pair.now, START, 0, &mut Vec::new()), 0);
    assert!(pair.a.session.wants_write());
}

#[test]
fn frames_carry_up_to_six_per_cent_of_padding_unless_the_peer_wants_none() {
    let (mut bob, mut sealer, mut opener) = with_keys();
    let padding = |bob: &mut End, opener: &mut Opener| -> Vec<(usize, usize)> {
        let mut seen = Vec::new();
        for id in 0..300 {
            let len = [10, 1000, 15_000][id as usize % 3];
            bob.session.queue(Instant::ZERO, message(id, len), Priority::Own).unwrap();
            let texts = open(opener, &bob.take(Instant::ZERO, 1 << 20));
            assert_eq!(texts.len(), 1);
            let pad = Blocks::new(&texts[0]).find_map(|b| {
                let Ok(Block::Padding(len)) = b else { return None };
                Some(usize::from(len))
            });
            seen.push((len + 12, pad.unwrap_or(usize::MAX)));
        }
        seen
    };
    let seen = padding(&mut bob, &mut opener);
    for (payload, pad) in &seen {
        assert!(*pad <= (*payload).max(256) * 6 / 100);
    }
    for payload in [22, 1012, 15_012] {
        let pads = || seen.iter().filter(|s| s.0 == payload).map(|s| s.1);
        assert!(pads().max() > pads().min(), "it varies");
    }
    bob.give(Instant::ZERO, &seal(&mut sealer, &[1, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
        .unwrap();
    assert!(padding(&mut bob, &mut opener).iter().all(|s| s.1 == usize::MAX));
}

#[test]
fn unknown_blocks_are_skipped_and_a_bad_one_costs_only_the_rest_of_its_frame() {
    let (mut bob, mut sealer, _) = with_keys();
    let mut payload = alloc::vec![200, 0, 3, 1, 2, 3];
    ntcp2::put_message(&mut payload, &message(1, 20)).unwrap();
    payload.extend_from_slice(&[255, 0, 0]);
    // An I2NP block too short for its header; then one that runs over the end.
    payload.extend_from_slice(&[3, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    payload.extend_from_slice(&[2, 0, 2, 0, 9]);
    ntcp2::put_message(&mut payload, &message(2, 20)).unwrap();
    payload.extend_from_slice(&[3, 0xff, 0xff, 1]);
    bob.give(Instant::ZERO, &seal(&mut sealer, &payload)).unwrap();
    bob.give(Instant::ZERO, &seal(&mut sealer, b"")).unwrap();
    let mut next = Vec::new();
    ntcp2::put_padding(&mut next, 5);
    ntcp2::put_message(&mut next, &message(3, 20)).unwrap();
    bob.give(Instant::ZERO, &seal(&mut sealer, &next)).unwrap();
    let mut last = Vec::new();
    ntcp2::put_message(&mut last, &message(4, 20)).unwrap();
    bob.give(Instant::ZERO, &seal(&mut sealer, &last)).unwrap();
    assert_eq!(bob.messages(), [message(1, 20), message(2, 20), message(4, 20)]);
    assert_eq!(bob.session.stats().malformed, 4);
    assert_eq!(bob.session.stats().frames_in, 4);
}

#[test]
fn frames_of_less_than_a_tag_are_refused() {
    let (mut bob, mut sealer, _) = with_keys();
    let mut frame = seal(&mut sealer, b"");
    // 16 becomes 0, whatever the mask.
    frame[1] ^= 16;
    bob.give(Instant::ZERO, &frame).unwrap();
    bob.timeout(Instant::ZERO + Duration::from_secs(2));
    assert_eq!(bob.error(), Some(SessionError::FrameLength(0)));
}

#[test]
fn a_termination_ends_the_session_after_what_came_before_it() {
    let (mut bob, mut sealer, _) = with_keys();
    let mut payload = Vec::new();
    ntcp2::put_message(&mut payload, &message(1, 20)).unwrap();
    ntcp2::put_termination(&mut payload, 7, Reason::Other(99));
    ntcp2::put_padding(&mut payload, 3);
    let mut bytes = seal(&mut sealer, &payload);
    bytes.extend(seal(&mut sealer, &payload));
    let error = SessionError::Terminated(Reason::Other(99));
    assert_eq!(bob.give(Instant::ZERO, &bytes), Err(error));
    assert_eq!(
        bob.events,
        [SessionEvent::Message(message(1, 20)), SessionEvent::Closed(Err(error))]
    );
    assert!(bob.session.is_closed() && !bob.session.wants_write() && !error.abort());
}

#[test]
fn closing_tells_the_peer_why_and_drops_what_waits() {
    let mut pair = Pair::established(1);
    pair.a.session.queue(pair.now, message(1, 5000), Priority::Own).unwrap();
    // The rest of a frame that was begun still goes.
    let unix = pair.a.unix(pair.now);
    let mut out = Vec::new();
    pair.a.session.poll_write(pair.now, unix, 1000, &mut out);
    pair.a.session.queue(pair.now, message(2, 10), Priority::Own).unwrap();
    pair.a.session.close(Reason::Shutdown);
    pair.a.session.close(Reason::Normal);
    assert_eq!(pair.a.session.queue(pair.now, message(3, 1), Priority::Own), Err(Full::Closed));
    out.extend(pair.a.take(pair.now, 1000));
    assert_eq!(pair.a.events, [SessionEvent::Closed(Ok(Reason::Shutdown))]);
    let told = SessionError::Terminated(Reason::Shutdown);
    assert_eq!(pair.b.give(pair.now, &out), Err(told));
    assert_eq!(pair.b.messages(), [message(1, 5000)]);
    assert_eq!(pair.a.session.stats().dropped, 1);
}

#[test]
fn silence_ends_a_session_after_two_minutes() {
    let mut seen = Vec::new();
    for seed in 0..20 {
        let mut pair = Pair::established(seed);
        let until = pair.a.session.poll_timeout().unwrap();
        let idle = until.saturating_since(pair.now);
        assert!((IDLE_TIMEOUT - IDLE_JITTER..=IDLE_TIMEOUT + IDLE_JITTER).contains(&idle));
        seen.push(idle);
        pair.now = until - Duration::from_micros(1);
        pair.a.timeout(pair.now);
        assert!(pair.a.events.is_empty());
        pair.now = until;
        pair.a.timeout(pair.now);
        pair.pump();
        assert_eq!(pair.a.events, [SessionEvent::Closed(Ok(Reason::Idle))]);
        assert_eq!(pair.b.error(), Some(SessionError::Terminated(Reason::Idle)));
    }
    assert!(seen.iter().max() > seen.iter().min());
}

#[test]
fn traffic_in_either_direction_keeps_a_session() {
    for sender_is_a in [true, false] {
        let mut pair = Pair::established(1);
        for id in 0..10 {
            pair.wait(Duration::from_secs(100));
            pair.a.timeout(pair.now);
            pair.b.timeout(pair.now);
            let end = if sender_is_a { &mut pair.a } else { &mut pair.b };
            let fresh = Message { expires: end.unix(pair.now), ..message(id, 10) };
            end.session.queue(pair.now, fresh, Priority::Own).unwrap();
            pair.pump();
        }
        assert!(pair.a.session.is_established() && pair.b.session.is_established());
    }
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut pair = Pair::established(1);
    pair.a.session.queue(pair.now, message(1, 10), Priority::Control).unwrap();
    let until = pair.now + STALL_TIMEOUT;
    assert_eq!(pair.a.session.poll_timeout(), Some(until));
    pair.a.timeout(until - Duration::from_micros(1));
    assert!(pair.a.session.is_established());
    pair.a.timeout(until);
    assert_eq!(pair.a.error(), Some(SessionError::Stalled));
    assert!(SessionError::Stalled.abort() && !pair.a.session.wants_write());

    // Each byte taken counts as life.
    let mut slow = Pair::established(1);
    slow.a.session.queue(slow.now, message(1, 100), Priority::Control).unwrap();
    for _ in 0..3 {
        let unix = slow.a.unix(slow.now);
        slow.a.session.poll_write(slow.now, unix, 1, &mut Vec::new());
        slow.wait(STALL_TIMEOUT - Duration::from_secs(1));
        slow.a.timeout(slow.now);
    }
    assert!(slow.a.session.is_established() && slow.a.session.wants_write());
}

#[test]
fn router_infos_and_the_time_are_passed_on() {
    let mut pair = Pair::established(1);
    let (first, newer) = (Router::new(1).info(), Router::new(3).info());
    pair.a.clock = START + Duration::from_secs(40);
    pair.a.session.queue(pair.now, message(1, 10), Priority::Control).unwrap();
    pair.a.session.send_router_info(pair.now, &first, false);
    pair.a.session.send_router_info(pair.now, &newer, true);
    pair.pump();
    assert_eq!(
        pair.b.events,
        [
            SessionEvent::Skew(40),
            SessionEvent::RouterInfo { info: newer, flood: true },
            SessionEvent::Message(message(1, 10)),
        ]
    );
}

#[test]
fn what_waited_too_long_is_not_sent() {
    let mut pair = Pair::established(1);
    pair.a.session.queue(pair.now, message(1, 10), Priority::Own).unwrap();
    pair.a.session.queue(pair.now, message(2, 10), Priority::Control).unwrap();
    pair.wait(Duration::from_secs(3));
    pair.pump();
    assert_eq!(pair.b.messages(), [message(2, 10)]);
    assert_eq!(pair.a.session.stats().dropped, 1);
}
