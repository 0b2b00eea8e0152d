use super::*;
use crate::rng::{Rng, Seed};
use crate::time::UnixTime;
use crate::wire::i2np::{Message, MessageType};
use crate::wire::ssu2::signed::tests as signed;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

fn encoded(blocks: &[Block<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, usize::MAX);
    for block in blocks {
        writer.put(block).unwrap();
    }
    out
}

fn decoded(payload: &[u8]) -> Vec<Result<Block<'_>, DecodeError>> {
    Blocks::new(payload).collect()
}

#[test]
fn bytes_stand_where_the_layouts_say() {
    let options = Options {
        send_min: 1,
        send_max: 2,
        receive_min: 3,
        receive_max: 4,
        send_dummy: 0x0506,
        receive_dummy: 0x0708,
        send_delay: 0x090a,
        receive_delay: 0x0b0c,
    };
    let ack = Ack { through: 10, more: 2, pairs: &[[1, 2], [2, 3]] };
    let six = "[2001:db8::1]:4660".parse().unwrap();
    for (block, bytes) in [
        (Block::DateTime(0x0102_0304), &[0, 0, 4, 1, 2, 3, 4][..]),
        (Block::Options(options), &[1, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        (
            Block::RouterInfo { flood: false, gzip: false, bytes: b"ri" },
            &[2, 0, 4, 0, 1, b'r', b'i'],
        ),
        (Block::RouterInfo { flood: true, gzip: false, bytes: b"" }, &[2, 0, 2, 1, 1]),
        (Block::RouterInfo { flood: true, gzip: true, bytes: b"" }, &[2, 0, 2, 3, 1]),
        (Block::Message(&[20, 1, 2, 3, 4, 5, 6, 7, 8]), &[3, 0, 9, 20, 1, 2, 3, 4, 5, 6, 7, 8]),
        (
            Block::FirstFragment {
                message: 0x0102_0304,
                bytes: &[20, 1, 2, 3, 4, 5, 6, 7, 8, b'x'],
            },
            &[4, 0, 10, 20, 1, 2, 3, 4, 5, 6, 7, 8, b'x'],
        ),
        (
            Block::FollowOn { number: 1, last: false, message: 0x0102_0304, bytes: b"x" },
            &[5, 0, 6, 2, 1, 2, 3, 4, b'x'],
        ),
        (
            Block::FollowOn { number: 127, last: true, message: 0x0102_0304, bytes: b"xy" },
            &[5, 0, 7, 255, 1, 2, 3, 4, b'x', b'y'],
        ),
        (
            Block::Termination { packets: 0x0102_0304_0506_0708, reason: Reason::Replaced },
            &[6, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 22],
        ),
        (Block::Ack(ack), &[12, 0, 9, 0, 0, 0, 10, 2, 1, 2, 2, 3]),
        (Block::Address("192.0.2.1:4660".parse().unwrap()), &[13, 0, 6, 0x12, 0x34, 192, 0, 2, 1]),
        (
            Block::Address(six),
            &[13, 0, 18, 0x12, 0x34, 32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
        (Block::RelayTagRequest, &[15, 0, 0]),
        (Block::RelayTag(0x0102_0304), &[16, 0, 4, 1, 2, 3, 4]),
        (
            Block::NewToken { expires: 0x0102_0304, token: 0x0506_0708_090a_0b0c },
            &[17, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        ),
        (Block::PathChallenge(&[7; 8]), &[18, 0, 8, 7, 7, 7, 7, 7, 7, 7, 7]),
        (Block::PathResponse(&[]), &[19, 0, 0]),
        (Block::FirstPacketNumber(0x0102_0304), &[20, 0, 4, 1, 2, 3, 4]),
        (Block::Congestion { immediate_ack: true, ecn: false }, &[21, 0, 1, 1]),
        (Block::Congestion { immediate_ack: false, ecn: true }, &[21, 0, 1, 2]),
        (Block::Padding(0), &[254, 0, 0]),
        (Block::Padding(3), &[254, 0, 3, 0, 0, 0]),
        // Reserved ones.
        (Block::Unknown { kind: 11, data: &[1] }, &[11, 0, 1, 1]),
        (Block::Unknown { kind: 14, data: &[] }, &[14, 0, 0]),
        (Block::Unknown { kind: 255, data: &[] }, &[255, 0, 0]),
    ] {
        assert_eq!(encoded(&[block]), bytes);
        assert_eq!(block.encoded_len(), bytes.len());
        assert_eq!(decoded(bytes), [Ok(block)]);
    }
}

/// A block of any type with random fields, its parts in `keep`.
fn random<'a>(rng: &mut Rng, keep: &'a mut Vec<u8>, pairs: &'a mut Vec<[u8; 2]>) -> Block<'a> {
    let kind = rng.below(20);
    if kind < 4 {
        return signed::random(rng, keep);
    }
    *keep = alloc::vec![0; 10 + rng.index(100)];
    rng.fill(keep);
    let (keep, pairs) = (&keep[..], &mut *pairs);
    let message = u32::from_be_bytes(keep[1..5].try_into().unwrap());
    match kind {
        4 => Block::DateTime(rng.u32()),
        5 => {
            let [send_min, send_max, receive_min, receive_max] = rng.bytes();
            let [send_dummy, receive_dummy] = [rng.u32() as u16, rng.u32() as u16];
            let [send_delay, receive_delay] = [rng.u32() as u16, rng.u32() as u16];
            Block::Options(Options {
                send_min,
                send_max,
                receive_min,
                receive_max,
                send_dummy,
                receive_dummy,
                send_delay,
                receive_delay,
            })
        }
        6 => {
            let [flood, gzip] = [rng.below(2) == 0, rng.below(2) == 0];
            Block::RouterInfo { flood, gzip, bytes: keep }
        }
        7 => Block::Message(keep),
        8 => Block::FirstFragment { message, bytes: keep },
        9 => {
            let number = rng.between(1, 127) as u8;
            Block::FollowOn { number, last: rng.below(2) == 0, message: rng.u32(), bytes: keep }
        }
        10 => {
            pairs.resize_with(rng.index(40), || rng.bytes());
            Block::Ack(Ack { through: rng.u32(), more: rng.u32() as u8, pairs })
        }
        11 => Block::Address(signed::random_endpoint(rng)),
        12 => Block::RelayTagRequest,
        13 => Block::RelayTag(rng.nonzero_u32()),
        14 => Block::NewToken { expires: rng.u32(), token: rng.u64() },
        15 => Block::PathChallenge(keep),
        16 => Block::PathResponse(keep),
        17 => Block::FirstPacketNumber(rng.u32()),
        18 => Block::Congestion { immediate_ack: rng.below(2) == 0, ecn: rng.below(2) == 0 },
        _ => Block::Unknown { kind: rng.between(22, 253) as u8, data: keep },
    }
}

#[test]
fn payloads_of_random_blocks_round_trip_and_every_cut_gives_whole_blocks() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut kinds = alloc::collections::BTreeSet::new();
    for _ in 0..300 {
        let mut keeps: Vec<(Vec<u8>, Vec<[u8; 2]>)> = Vec::new();
        keeps.resize_with(rng.index(6), Default::default);
        let mut blocks: Vec<_> =
            keeps.iter_mut().map(|(keep, pairs)| random(&mut rng, keep, pairs)).collect();
        if rng.below(3) == 0 {
            let reason = Reason::from_code(rng.u32() as u8);
            blocks.push(Block::Termination { packets: rng.u64(), reason });
        }
        if rng.below(2) == 0 {
            blocks.push(Block::Padding(rng.below(40) as u16));
        }
        kinds.extend(blocks.iter().map(Block::kind));
        let payload = encoded(&blocks);
        let all: Vec<_> = blocks.iter().copied().map(Ok).collect();
        assert_eq!(decoded(&payload), all);
        assert_eq!(payload.len(), blocks.iter().map(Block::encoded_len).sum::<usize>());
        for cut in 0..payload.len() {
            let got = decoded(&payload[..cut]);
            let good = got.iter().take_while(|b| b.is_ok()).count();
            assert_eq!(got[..good], all[..good]);
            assert!(got[good..].iter().all(|b| *b == Err(DecodeError::Truncated)));
            assert!(got.len() - good <= 1, "only the last may be an error");
        }
    }
    assert!((0..22).all(|kind| kinds.contains(&kind) || kind == 11 || kind == 14), "{kinds:?}");
}

#[test]
fn contents_of_every_length_are_accepted_only_as_the_layout_has_them() {
    // Type, valid content, least length, whether more may follow.
    let ack = [0, 0, 0, 10, 2, 1, 2, 2, 3];
    for (kind, content, least, open) in [
        (0, &[1; 4][..], 4, false),
        (1, &[1; 12], 12, true),
        (2, &[1; 4], 2, true),
        (3, &[1; 12], 9, true),
        (4, &[1; 12], 10, true),
        (5, &[2; 12], 6, true),
        (6, &[1; 9], 9, true),
        (16, &[1; 4], 4, false),
        (17, &[1; 12], 12, false),
        (18, &[1; 8], 0, true),
        (19, &[1; 8], 0, true),
        (20, &[1; 4], 4, false),
        (21, &[1; 1], 1, true),
        (99, &[1; 3], 0, true),
        (254, &[1; 3], 0, true),
    ] {
        for len in 0..40 {
            let mut payload = alloc::vec![kind, 0, len];
            payload.extend(content.iter().chain(&[1; 40]).take(len.into()));
            let ok = decoded(&payload)[0].is_ok();
            let len = usize::from(len);
            assert_eq!(ok, len >= least && (open || len == least), "{kind} {len}");
        }
    }
    for len in 0..40 {
        let content = [&ack[..], &[1; 40]].concat();
        for (kind, fits) in
            [(12, len >= 5 && len % 2 == 1), (13, len == 6 || len == 18), (15, len == 0)]
        {
            let payload = [&[kind, 0, len], &content[..len.into()]].concat();
            assert_eq!(decoded(&payload)[0].is_ok(), fits, "{kind} {len}");
        }
    }
}

#[test]
fn hostile_payloads_are_refused() {
    for (what, payload, error) in [
        ("type only", &[0][..], DecodeError::Truncated),
        ("half a size", &[0, 0], DecodeError::Truncated),
        ("size above the rest", &[99, 0, 1], DecodeError::Truncated),
        ("the largest size", &[254, 0xff, 0xff, 0], DecodeError::Truncated),
        (
            "a part of a RouterInfo",
            &[2, 0, 3, 0, 0x12, 9],
            DecodeError::Invalid("RouterInfo fragment"),
        ),
        ("none of a RouterInfo", &[2, 0, 3, 0, 0, 9], DecodeError::Invalid("RouterInfo fragment")),
        (
            "follow-on number 0",
            &[5, 0, 6, 1, 0, 0, 0, 1, 9],
            DecodeError::Invalid("fragment number"),
        ),
        ("empty follow-on", &[5, 0, 5, 2, 0, 0, 0, 1], DecodeError::Truncated),
        ("relay tag 0", &[16, 0, 4, 0, 0, 0, 0], DecodeError::Invalid("relay tag")),
        ("endpoint of 5 bytes", &[13, 0, 5, 1, 1, 1, 1, 1], DecodeError::Invalid("endpoint size")),
        ("half a pair", &[12, 0, 6, 0, 0, 0, 1, 0, 0], DecodeError::Truncated),
        ("after padding", &[254, 0, 0, 254, 0, 0], DecodeError::Trailing),
        (
            "two terminations",
            &[6, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            DecodeError::Invalid("block after Termination"),
        ),
        (
            "unknown after termination",
            &[6, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0],
            DecodeError::Invalid("block after Termination"),
        ),
    ] {
        let got = decoded(payload);
        assert_eq!(got.last(), Some(&Err(error)), "{what}");
        assert_eq!(got.iter().filter(|b| b.is_err()).count(), 1);
    }
    assert_eq!(decoded(&[]), []);
}

#[test]
fn reasons_keep_their_codes() {
    for code in 0..=u8::MAX {
        let reason = Reason::from_code(code);
        assert_eq!(reason.code(), code);
        assert_eq!(matches!(reason, Reason::Other(_)), code > 22);
    }
    assert_eq!(Reason::from_code(17), Reason::Banned);
}

#[test]
fn what_carries_nothing_new_is_not_acknowledged() {
    let ack = Ack { through: 1, more: 0, pairs: &[] };
    for block in [
        Block::DateTime(1),
        Block::Ack(ack),
        Block::Address("192.0.2.1:1".parse().unwrap()),
        Block::Padding(9),
        Block::Termination { packets: 1, reason: Reason::Normal },
    ] {
        assert!(!block.elicits_ack());
    }
    assert!(Block::Message(&[0; 9]).elicits_ack() && Block::RelayTagRequest.elicits_ack());
}

#[test]
fn a_writer_keeps_to_its_room_and_to_the_order() {
    let mut out = b"header".to_vec();
    let mut writer = Writer::new(&mut out, 20);
    writer.put(&Block::DateTime(1)).unwrap();
    assert_eq!((writer.written(), writer.room()), (7, 13));
    let message = Message {
        kind: MessageType::DATA,
        id: 7,
        expires: UnixTime::from_secs(9),
        body: b"xy".to_vec(),
    };
    assert_eq!(writer.message(&message), Err(WriteError::NoRoom));
    assert_eq!(writer.put(&Block::PathChallenge(&[0; 11])), Err(WriteError::NoRoom));
    assert_eq!(writer.put(&Block::Options(Options::default())), Err(WriteError::NoRoom));
    assert_eq!(writer.written(), 7);
    writer.message(&Message { body: b"x".to_vec(), ..message.clone() }).unwrap();
    assert_eq!(writer.room(), 0);
    assert_eq!(writer.put(&Block::Padding(0)), Err(WriteError::NoRoom));
    assert_eq!(writer.pad_to(20), Ok(()));
    assert_eq!(out.len(), 26);
    assert_eq!(out[13..], [3, 0, 10, 20, 0, 0, 0, 7, 0, 0, 0, 9, b'x']);

    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, 100);
    writer.put(&Block::Termination { packets: 0, reason: Reason::Normal }).unwrap();
    assert_eq!(writer.put(&Block::DateTime(1)), Err(WriteError::Order));
    assert_eq!(writer.message(&message), Err(WriteError::Order));
    assert_eq!(writer.ack([1..=1], 9), Err(WriteError::Order));
    writer.put(&Block::Padding(2)).unwrap();
    assert_eq!(writer.put(&Block::Padding(0)), Err(WriteError::Order));
    assert_eq!(writer.pad_to(50), Err(WriteError::Order));
    assert_eq!(decoded(&out).len(), 2);

    // More than a block's size can say.
    let huge = alloc::vec![0; 65_533];
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, usize::MAX);
    assert_eq!(writer.put(&Block::PathChallenge(&huge)), Err(WriteError::NoRoom));
    writer.put(&Block::PathChallenge(&huge[1..])).unwrap();
    assert_eq!(
        (out.len(), decoded(&out)),
        (65_535, alloc::vec![Ok(Block::PathChallenge(&huge[1..]))])
    );
}

#[test]
fn padding_fills_up_to_what_was_asked_within_the_room() {
    // Written before, asked for, room in all, then there.
    for (before, len, limit, then) in [
        (0, 8, 100, Ok(8)),
        (7, 8, 100, Ok(10)),
        (7, 9, 100, Ok(10)),
        (7, 10, 100, Ok(10)),
        (7, 11, 100, Ok(11)),
        (8, 8, 100, Ok(8)),
        (9, 8, 100, Ok(9)),
        (7, 50, 20, Ok(20)),
        (7, 8, 9, Err(WriteError::NoRoom)),
    ] {
        let mut out = alloc::vec![];
        let mut writer = Writer::new(&mut out, limit);
        if before > 0 {
            writer.put(&Block::Unknown { kind: 99, data: &alloc::vec![0; before - 3] }).unwrap();
        }
        assert_eq!(writer.pad_to(len).map(|()| writer.written()), then, "{before} {len} {limit}");
        assert!(decoded(&out).iter().all(Result::is_ok));
    }
}

fn ranges(through: u32, more: u8, pairs: &[[u8; 2]]) -> Vec<RangeInclusive<u32>> {
    Ack { through, more, pairs }.ranges().collect()
}

#[test]
fn acknowledged_ranges_are_those_of_the_specification() {
    assert_eq!(ranges(10, 0, &[]), [10..=10]);
    assert_eq!(ranges(10, 2, &[]), [8..=10]);
    assert_eq!(ranges(10, 2, &[[1, 2], [2, 3]]), [8..=10, 5..=6, 0..=2]);
    // Long runs.
    assert_eq!(ranges(1000, 255, &[[0, 255], [0, 10]]), [480..=1000]);
    assert_eq!(ranges(1000, 0, &[[255, 0], [255, 0], [1, 2]]), [1000..=1000, 487..=488]);
    assert_eq!(ranges(1000, 0, &[[255, 0], [0, 1], [3, 0]]), [1000..=1000, 744..=744]);
    assert_eq!(ranges(1000, 0, &[[0, 0], [0, 0]]), [1000..=1000]);
    // Below zero there is nothing.
    assert_eq!(ranges(3, 200, &[]), [0..=3]);
    assert_eq!(ranges(3, 3, &[[0, 9], [1, 9], [0, 9]]), [0..=3]);
    assert_eq!(ranges(5, 0, &[[2, 99], [1, 1]]), [5..=5, 0..=2]);
    assert_eq!(ranges(5, 0, &[[4, 1]]), [5..=5, 0..=0]);
    assert_eq!(ranges(5, 0, &[[5, 1]]), [5..=5]);
    assert_eq!(ranges(5, 0, &[[255, 0], [255, 0], [0, 9]]), [5..=5]);
    let many = alloc::vec![[255, 0]; 32_765];
    assert_eq!(ranges(u32::MAX, 0, &many), [u32::MAX..=u32::MAX]);
}

#[test]
fn ranges_of_any_pairs_are_what_counting_gives() {
    let mut rng = Rng::new(&Seed::from_number(9));
    for _ in 0..1000 {
        let pick = |rng: &mut Rng| [0, 1, 2, 3, 254, 255][rng.index(6)];
        let through = rng.below(3000) as u32;
        let more = pick(&mut rng);
        let pairs: Vec<[u8; 2]> =
            (0..rng.index(20)).map(|_| [pick(&mut rng), pick(&mut rng)]).collect();
        let mut expected = Vec::new();
        let mut at = i64::from(through);
        let mut count = |at: &mut i64, n: u8| {
            for _ in 0..n {
                expected.push(*at);
                *at -= 1;
            }
        };
        count(&mut at, 1);
        count(&mut at, more);
        for [lost, more] in &pairs {
            at -= i64::from(*lost);
            count(&mut at, *more);
        }
        expected.retain(|n| *n >= 0);
        let got = ranges(through, more, &pairs);
        let numbers: Vec<i64> = got.iter().flat_map(|r| r.clone().rev()).map(i64::from).collect();
        assert_eq!(numbers, expected);
        assert!(got.len() <= pairs.len() + 1);
        assert!(got.windows(2).all(|w| w[1].end() + 1 < *w[0].start()), "apart and downwards");
    }
}

#[test]
fn ranges_are_written_in_the_fewest_pairs() {
    for (ranges, through, more, pairs) in [
        (&[10..=10][..], 10, 0, &[][..]),
        (&[8..=10, 5..=6, 0..=2], 10, 2, &[[1, 2], [2, 3]]),
        (&[0..=255], 255, 255, &[]),
        (&[0..=256], 256, 255, &[[0, 1]]),
        (&[0..=1000], 1000, 255, &[[0, 255], [0, 255], [0, 235]]),
        (&[1000..=1000, 744..=744], 1000, 0, &[[255, 1]]),
        (&[1000..=1000, 743..=743], 1000, 0, &[[255, 0], [1, 1]]),
        (&[1000..=1000, 487..=488], 1000, 0, &[[255, 0], [255, 0], [1, 2]]),
        (&[2000..=2000, 1000..=1998], 2000, 0, &[[1, 255], [0, 255], [0, 255], [0, 234]]),
        (&[u32::MAX..=u32::MAX, 5..=u32::MAX - 1], u32::MAX, 0, &[[0, 255]; 64]),
    ] {
        let source = AckSource::new(ranges.iter().cloned(), usize::MAX).unwrap();
        assert_eq!(source.ack(), Ack { through, more, pairs });
    }
    // Too far down to say.
    let far = AckSource::new([u32::MAX..=u32::MAX, 0..=0], usize::MAX).unwrap();
    assert_eq!(far.ack(), Ack { through: u32::MAX, more: 0, pairs: &[] });
    // What is no range below the one before is passed over.
    #[expect(clippy::reversed_empty_ranges, reason = "an empty range is what this is about")]
    let strange =
        [9..=3, 10..=10, 10..=20, 9..=11, 7..=8, 7..=8, 6..=5, u32::MAX..=u32::MAX, 4..=4];
    let strange = AckSource::new(strange, usize::MAX).unwrap();
    assert_eq!(strange.ack(), Ack { through: 10, more: 0, pairs: &[[1, 2], [2, 1]] });
    assert!(AckSource::new([], 9).is_none());
}

#[test]
fn what_does_not_fit_an_acknowledgement_is_the_lowest() {
    let mut rng = Rng::new(&Seed::from_number(10));
    for _ in 0..500 {
        // Runs of random length, from the highest down.
        let mut wanted = Vec::new();
        let mut top = rng.between(0, 20_000) as u32;
        for _ in 0..rng.between(1, 100) {
            let (run, hole) = ([2, 600][rng.index(2)], [2, 900][rng.index(2)]);
            let start = top.saturating_sub(rng.below(run) as u32);
            wanted.push(start..=top);
            let gap = 2 + rng.below(hole) as u32;
            match start.checked_sub(gap) {
                Some(next) => top = next,
                None => break,
            }
        }
        let all: Vec<u32> = wanted.iter().flat_map(|r| r.clone().rev()).collect();
        let most = rng.index(80);
        let room = rng.index(200);
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, room);
        let written = writer.ack(wanted.iter().cloned(), most);
        assert_eq!(written.is_ok(), room >= 8);
        let [Ok(Block::Ack(ack))] = decoded(&out)[..] else {
            assert!(room < 8);
            continue;
        };
        let pairs = most.min(MAX_ACK_PAIRS).min((room - 8) / 2);
        assert!(out.len() <= room && ack.pairs.len() <= pairs);
        assert!(ack.pairs.last().is_none_or(|[_, more]| *more != 0), "no end without a packet");
        let told: Vec<u32> = ack.ranges().flat_map(Iterator::rev).collect();
        assert_eq!(told, all[..told.len()]);
        // Something is missing only when the pairs are used up, or the next gap needs more of them.
        if let Some(next) = all.get(told.len()) {
            let gap = told[told.len() - 1] - next - 1;
            let needs = gap.div_ceil(255).max(1) as usize;
            assert!(ack.pairs.len() + needs > pairs, "{ack:?} {wanted:?} {pairs}");
        }
    }
    let mut out = Vec::new();
    assert_eq!(Writer::new(&mut out, 0).ack([], 9), Ok(()));
    assert_eq!(out, []);
}
