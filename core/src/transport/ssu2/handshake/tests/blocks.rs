//! Which blocks each packet may have.

use super::craft;
use super::fixture::{Alice, Filler, NET, Pair, Router, START};
use crate::transport::ssu2::HandshakeError;
use crate::wire::codec::{DecodeError, Put};
use crate::wire::gzip;
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::{Block, Blocks, LongKind, Reason, Writer};
use alloc::vec::Vec;

pub(super) const DATE: u8 = 0;
pub(super) const PADDING: u8 = 254;

/// Blocks by number, so that there can be what no Writer writes.
pub(super) fn payload(blocks: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, data) in blocks {
        out.put_u8(*kind);
        out.put_u16(data.len() as u16);
        out.put(data);
    }
    out
}

pub(super) fn date() -> [u8; 4] {
    START.as_secs().to_be_bytes()
}

/// One block of each type, with content that can be decoded.
fn each_block() -> Vec<(u8, Vec<u8>)> {
    let ack = [0, 0, 0, 1, 0].to_vec();
    let message = [20, 0, 0, 0, 1, 0, 0, 0, 9].to_vec();
    let fragment = [message.clone(), [1].to_vec()].concat();
    // Those that are signed are not looked into any further.
    let signed_data = [2, 0, 0, 0, 9, 0, 0, 0, 9, 6, 0, 9, 10, 0, 0, 1];
    let test = [&[1, 0, 0][..], &signed_data, &[0; 64]].concat();
    let relay_terms = [0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 9, 2, 6, 0, 9, 10, 0, 0, 1];
    let relay_request =
        [&[0][..], &[0, 0, 0, 9, 0, 0, 0, 7], &[1; 32], &relay_terms[8..], &[0; 64]].concat();
    let relay_intro = [&[0][..], &[1; 32], &relay_request[1..]].concat();
    let relay_response = [&[0, 1][..], &[0, 0, 0, 9, 0, 0, 0, 9, 2, 0], &[0; 64]].concat();
    [
        (1, [0; 12].to_vec()),
        (3, message),
        (4, fragment),
        (5, [3, 0, 0, 0, 1, 9].to_vec()),
        (6, [0; 9].to_vec()),
        (7, relay_request),
        (8, relay_response),
        (9, relay_intro),
        (10, test),
        (12, ack),
        (13, [0, 9, 10, 0, 0, 1].to_vec()),
        (15, Vec::new()),
        (16, [0, 0, 0, 1].to_vec()),
        (17, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2].to_vec()),
        (18, [1; 8].to_vec()),
        (19, [1; 8].to_vec()),
        (20, [0, 0, 0, 1].to_vec()),
        (21, [0].to_vec()),
        (224, [1, 2, 3].to_vec()),
    ]
    .into()
}

#[test]
fn the_table_of_blocks_has_what_can_be_decoded() {
    for (kind, data) in each_block() {
        let text = payload(&[(kind, &data)]);
        let blocks: Vec<_> = Blocks::new(&text).collect();
        // The terms of relays are for the tests of their formats.
        if !(7..=10).contains(&kind) {
            assert!(matches!(&blocks[..], [Ok(_)]), "{kind}: {blocks:?}");
        }
    }
}

/// What becomes of a packet of `kind` with this payload.
fn verdict(kind: LongKind, text: &[u8]) -> Result<(), HandshakeError> {
    let mut pair = Pair::new(1);
    match kind {
        LongKind::TokenRequest => {
            let packet = craft::sealed(&pair.bob.router, &craft::header(kind, 1, 2, 0, NET), text);
            let answers = pair.bob_gets(&packet);
            assert_eq!(answers.is_empty(), pair.ignored.is_some());
        }
        LongKind::SessionRequest => {
            let token = pair.bob.tokens.for_retry(pair.now, pair.alice_at, &mut pair.rng);
            let header = craft::header(kind, 1, 2, token.get(), NET);
            let (_, packet) = craft::request(&pair.bob.router, &header, text);
            pair.bob_gets(&packet);
            assert_eq!(pair.bob.pending.is_none(), pair.ignored.is_some());
        }
        LongKind::Retry => {
            pair.ask();
            let Alice::AwaitRetry(state) = &pair.alice else { panic!() };
            let (ours, theirs) = (state.ids().ours().0, state.ids().theirs().0);
            let header = craft::header(kind, ours, theirs, 5, NET);
            let packet = craft::sealed(&pair.bob.router, &header, text);
            pair.alice_gets(&packet);
        }
        LongKind::SessionCreated => {
            let ask = pair.ask();
            let retry = pair.bob_gets(&ask).pop().unwrap();
            let request = pair.alice_gets(&retry).pop().unwrap();
            let packet = craft::created(&pair.bob.router, &request, NET, text);
            pair.alice_gets(&packet);
        }
        LongKind::PeerTest | LongKind::HolePunch => panic!("not of the handshake"),
    }
    pair.ignored.or(pair.alice_error()).map_or(Ok(()), Err)
}

#[test]
fn each_packet_has_the_blocks_that_it_may_have_and_no_others() {
    const HARMLESS: [u8; 4] = [1, 20, 21, 224];
    for (kind, allowed) in [
        (LongKind::TokenRequest, &[][..]),
        (LongKind::SessionRequest, &[15]),
        (LongKind::SessionCreated, &[13, 16, 17]),
        (LongKind::Retry, &[13]),
    ] {
        for (number, data) in each_block() {
            let text = payload(&[(DATE, &date()), (number, &data), (PADDING, &[0; 9])]);
            let result = verdict(kind, &text);
            let refusal = number == 6 && matches!(kind, LongKind::SessionCreated | LongKind::Retry);
            if allowed.contains(&number) || HARMLESS.contains(&number) {
                assert_eq!(result, Ok(()), "{kind:?} {number}");
            } else if refusal {
                assert_eq!(result, Err(HandshakeError::Refused(Reason::Normal)), "{kind:?}");
            } else {
                let blocks =
                    matches!(result, Err(HandshakeError::Blocks | HandshakeError::Payload(_)));
                assert!(blocks, "{kind:?} {number}: {result:?}");
            }
        }
        for (text, expected) in [
            // The time is missing, not the first, there twice.
            (payload(&[(PADDING, &[0; 9])]), HandshakeError::Blocks),
            (payload(&[(1, &[0; 12]), (DATE, &date())]), HandshakeError::Blocks),
            (payload(&[(DATE, &date()), (DATE, &date())]), HandshakeError::Blocks),
            // Not blocks.
            (
                [payload(&[(DATE, &date())]), [9, 9].to_vec()].concat(),
                HandshakeError::Payload(DecodeError::Truncated),
            ),
            (
                payload(&[(DATE, &date()), (PADDING, &[0; 9]), (1, &[0; 12])]),
                HandshakeError::Payload(DecodeError::Trailing),
            ),
        ] {
            assert_eq!(verdict(kind, &text), Err(expected), "{kind:?}");
        }
    }
}

/// What Bob makes of a SessionConfirmed with this payload, in parts after these many bytes.
pub(super) fn confirmed(text: &[u8], cuts: &[usize]) -> Pair {
    let alice = Router::new(1);
    let mut pair = Pair::new(1);
    let token = pair.bob.tokens.for_retry(pair.now, pair.alice_at, &mut pair.rng);
    let header = craft::header(LongKind::SessionRequest, 1, 2, token.get(), NET);
    let hello = payload(&[(DATE, &date()), (PADDING, &[0; 9])]);
    let (side, request) = craft::request(&pair.bob.router, &header, &hello);
    let created = pair.bob_gets(&request).pop().unwrap();
    for part in craft::confirmed(side, (&alice, &pair.bob.router), &created, text, cuts) {
        pair.bob_gets(&part);
    }
    pair
}

fn router_info(info: &RouterInfo) -> Vec<u8> {
    [&[0, 1][..], info.as_bytes()].concat()
}

#[test]
fn session_confirmed_has_the_blocks_that_it_may_have_and_no_others() {
    let info = router_info(&Router::new(1).info());
    for (number, data) in each_block() {
        let text = payload(&[(2, &info), (number, &data), (PADDING, &[0; 9])]);
        let pair = confirmed(&text, &[]);
        match number {
            1 | 3 | 4 | 5 | 13 | 15 | 17 | 20 | 21 | 224 => {
                let done = pair.bob.done.as_ref().unwrap();
                assert_eq!(done.blocks, payload(&[(number, &data), (PADDING, &[0; 9])]));
            }
            7 | 10 if pair.bob.done.is_some() => {}
            _ => assert!(
                matches!(
                    pair.bob.failed,
                    Some(HandshakeError::Blocks | HandshakeError::Payload(_))
                ),
                "{number}: {:?}",
                pair.bob.failed
            ),
        }
    }
    for text in [
        payload(&[(1, &[0; 12]), (2, &info)]),
        payload(&[(2, &info), (2, &info)]),
        payload(&[(PADDING, &[0; 9])]),
        Vec::new(),
    ] {
        assert_eq!(confirmed(&text, &[]).bob.failed, Some(HandshakeError::Blocks));
    }
}

#[test]
fn a_router_info_may_be_compressed_and_flooded_but_not_a_bomb() {
    let info = Router::new(1).filled(Filler::Dull(3000));
    let compressed = gzip::gzip(info.as_bytes());
    let mut text = Vec::new();
    let block = Block::RouterInfo { flood: true, gzip: true, bytes: &compressed };
    Writer::new(&mut text, 5000).put(&block).unwrap();
    let pair = confirmed(&text, &[]);
    let done = pair.bob.done.unwrap();
    assert_eq!((done.info, done.flood), (info, true));

    let bomb = gzip::gzip(&alloc::vec![0; 1_000_000]);
    let mut text = Vec::new();
    let block = Block::RouterInfo { flood: true, gzip: true, bytes: &bomb };
    Writer::new(&mut text, 5000).put(&block).unwrap();
    let error = HandshakeError::RouterInfo(DecodeError::TooLarge("gzip content"));
    assert_eq!(confirmed(&text, &[]).bob.failed, Some(error));
}

#[test]
fn session_confirmed_may_come_in_more_parts_than_we_make() {
    let info = router_info(&Router::new(1).filled(Filler::Random(3300)));
    let text = payload(&[(2, &info)]);
    for cuts in [&[1200, 1200, 1200][..], &[1000, 1000, 1000, 500], &[100]] {
        confirmed(&text, cuts).done_bob();
    }
    let pair = confirmed(&text, &[900, 900, 900, 500, 500]);
    assert!(pair.bob.done.is_none() && pair.bob.pending.is_some());
    // The largest one there can be, with as much as fits.
    let rest = alloc::vec![7; 900];
    let text = payload(&[(2, &info), (PADDING, &rest)]);
    confirmed(&text, &[1200, 1200, 1200, 1200]).done_bob();
}

impl Pair {
    fn done_bob(&self) {
        assert!(self.bob.done.is_some(), "{:?} {:?}", self.bob.failed, self.ignored);
    }
}
