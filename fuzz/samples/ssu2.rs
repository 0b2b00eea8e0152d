//! SSU2 packets, payloads and signed blocks.

use super::{Samples, UNIX, hash, i2np_message, router_info};
use crate::targets::{ssu2_header_keys, test_destination};
use ramson_core::wire::i2np::MessageType;
use ramson_core::wire::ssu2::{
    Block, Code, ConnectionId, Fragment, Header, LongHeader, LongKind, Options, PacketType,
    PeerTest, PeerTestStep, PeerTestTerms, Reason, RelayIntro, RelayRequest, RelayRequestTerms,
    RelayResponse, RelayResponseTerms, ShortHeader, ShortKind, Writer, protect,
};

pub(super) fn all(s: &mut Samples) {
    payloads(s);
    packets(s);
    signed(s);
}

fn payload(blocks: &[Block<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, 1440);
    for block in blocks {
        writer.put(block).unwrap();
    }
    out
}

fn payloads(s: &mut Samples) {
    let now = Block::DateTime(UNIX.as_secs());
    let end = Block::Termination { packets: 3, reason: Reason::Idle };
    let info = router_info();
    let (mut short, mut long) = (Vec::new(), Vec::new());
    i2np_message(MessageType::TUNNEL_DATA, 40).encode_short(&mut short);
    i2np_message(MessageType::GARLIC, 90).encode_short(&mut long);
    let (start, rest) = long.split_at(50);
    let four = "192.0.2.1:4567".parse().unwrap();
    let six = "[2001:db8::1]:4567".parse().unwrap();
    for (name, blocks) in [
        ("handshake", &[now, Block::Options(Options::default()), Block::Address(four)][..]),
        ("confirmed", &[Block::RouterInfo { flood: false, gzip: false, bytes: info.as_bytes() }]),
        (
            "tokens",
            &[
                now,
                Block::Address(six),
                Block::RelayTagRequest,
                Block::RelayTag(7),
                Block::NewToken { expires: UNIX.as_secs(), token: 9 },
            ],
        ),
        ("message", &[Block::Message(&short), Block::Padding(5)]),
        ("first-fragment", &[Block::FirstFragment { message: 0x0102_0304, bytes: start }]),
        (
            "follow-on",
            &[
                Block::FollowOn { number: 2, last: true, message: 1, bytes: &rest[30..] },
                Block::FollowOn { number: 1, last: false, message: 1, bytes: &rest[..30] },
            ],
        ),
        ("path", &[Block::PathChallenge(&[1; 8]), Block::PathResponse(&[2; 8])]),
        (
            "unused",
            &[
                Block::FirstPacketNumber(1),
                Block::Congestion { immediate_ack: true, ecn: true },
                Block::Unknown { kind: 11, data: &[1, 2] },
            ],
        ),
        ("end", &[end, Block::Padding(0)]),
    ] {
        s.add("ssu2_blocks", name, payload(blocks));
    }
    for (name, ranges) in [
        ("ack", &[8..=10, 5..=6, 0..=2][..]),
        ("ack-long", &[100_000..=100_700, 99_000..=99_001, 90_000..=98_000]),
        ("ack-top", &[u32::MAX - 3..=u32::MAX, 5..=900]),
    ] {
        s.encoded("ssu2_blocks", name, |out| {
            Writer::new(out, 300).ack(ranges.iter().cloned(), 64).unwrap();
        });
    }
    s.add("ssu2_blocks", "ack-below-zero", [12, 0, 9, 0, 0, 0, 9, 2, 255, 0, 3, 255]);
    s.add("ssu2_blocks", "ack-of-nothing", [12, 0, 9, 0, 0, 0, 9, 2, 0, 0, 2, 1]);
    s.add("ssu2_blocks", "ack-odd", [12, 0, 6, 0, 0, 0, 9, 2, 1]);
    s.add("ssu2_blocks", "after-the-end", [payload(&[end]), payload(&[now])].concat());
    s.add("ssu2_blocks", "after-padding", [254, 0, 0, 254, 0, 0]);
    s.add("ssu2_blocks", "too-long", [3, 0xff, 0xff, 1]);
    s.add("ssu2_blocks", "more-options", [&[1, 0, 14][..], &[1; 14]].concat());
    s.add("ssu2_blocks", "text-of-the-end", [6, 0, 11, 0, 0, 0, 0, 0, 0, 0, 1, 7, b'h', b'i']);
}

fn packets(s: &mut Samples) {
    let (first, second) = ssu2_header_keys();
    let destination = ConnectionId(0x0102_0304_0506_0708);
    let long = |kind| {
        let source = ConnectionId(0x1112_1314_1516_1718);
        let (number, token) = (0x2122_2324, 0x3132_3334_3536_3738);
        Header::Long(LongHeader { destination, number, kind, version: 2, net_id: 2, source, token })
    };
    let short = |number, kind| Header::Short(ShortHeader { destination, number, kind });
    let part = |n, of| ShortKind::SessionConfirmed(Fragment::new(n, of).unwrap());
    for (name, header) in [
        ("session-request", long(LongKind::SessionRequest)),
        ("session-created", long(LongKind::SessionCreated)),
        ("session-confirmed", short(0, part(0, 1))),
        ("session-confirmed-part", short(0, part(1, 2))),
        ("data", short(7, ShortKind::Data { immediate_ack: true })),
        ("peer-test", long(LongKind::PeerTest)),
        ("retry", long(LongKind::Retry)),
        ("token-request", long(LongKind::TokenRequest)),
        ("hole-punch", long(LongKind::HolePunch)),
    ] {
        let mut packet = Vec::new();
        header.encode(&mut packet);
        let kind = header.packet_type();
        // In place of keys and tag; the payload is as if it were opened.
        let confirmed = kind == PacketType::SessionConfirmed;
        let key = kind.protected_len() - packet.len() + if confirmed { 48 } else { 0 };
        packet.extend((0..key).map(|n| n as u8));
        packet.extend(payload(&[Block::DateTime(UNIX.as_secs()), Block::Padding(9)]));
        packet.extend((0..16).map(|n| 0xf0 | n));
        s.add("ssu2_packet", name, [&[0][..], &packet].concat());
        protect::protect(&mut packet, &first, &second).unwrap();
        s.add("ssu2_packet", format!("{name}-masked"), [&[1][..], &packet].concat());
    }
    s.add("ssu2_packet", "unknown-type", [&[0; 13][..], &[3], &[0; 60]].concat());
    s.add("ssu2_packet", "noise", [&[1][..], &[0x77; 100]].concat());
}

fn signed(s: &mut Samples) {
    let key = &test_destination().1;
    let (bob, charlie, alice) = (hash(1), hash(2), hash(3));
    let four = "192.0.2.1:4567".parse().unwrap();
    let six = "[2001:db8::1]:4567".parse().unwrap();
    let mut add = |name: &str, block: Block<'_>| {
        let mode = block.kind() - 7;
        let content = payload(&[block]).split_off(3);
        s.add("ssu2_signed", name, [&[mode][..], &content].concat());
        s.add("ssu2_signed", format!("{name}-anew"), [&[mode | 0x80][..], &content].concat());
    };
    let (nonce, timestamp, version) = (7, UNIX.as_secs(), 2);
    for (name, at) in [("ipv4", four), ("ipv6", six)] {
        let terms = RelayRequestTerms { nonce, tag: 9, timestamp, version, alice: at };
        let signature = &terms.sign(&bob, &charlie, key)[..];
        let request = RelayRequest { terms, signature };
        add(&format!("request-{name}"), Block::RelayRequest(request));
        add(&format!("intro-{name}"), Block::RelayIntro(RelayIntro { alice, request }));
        let terms = RelayResponseTerms { nonce, timestamp, version, charlie: Some(at) };
        let signature = &terms.sign(&bob, key)[..];
        let (code, token) = (Code::ACCEPT, Some(5));
        let response = RelayResponse { code, terms, signature, token };
        add(&format!("response-{name}"), Block::RelayResponse(response));
    }
    let terms = RelayResponseTerms { nonce, timestamp, version, charlie: None };
    let signature = &terms.sign(&bob, key)[..];
    let refused = RelayResponse { code: Code::BOB_TAG, terms, signature, token: None };
    add("response-refused", Block::RelayResponse(refused));
    let terms = PeerTestTerms { version, nonce, timestamp, alice: Some(four) };
    let by_alice = &terms.sign_as_alice(&bob, key)[..];
    let by_charlie = &terms.sign_as_charlie(&bob, &alice, key)[..];
    for (step, code, signature) in [
        (PeerTestStep::AliceToBob, Code::ACCEPT, by_alice),
        (PeerTestStep::BobToCharlie(alice), Code::ACCEPT, by_alice),
        (PeerTestStep::CharlieToBob, Code::CHARLIE_LIMIT, by_charlie),
        (PeerTestStep::BobToAlice(charlie), Code::CHARLIE_LIMIT, by_charlie),
        (PeerTestStep::CharlieToAlice, Code::ACCEPT, by_charlie),
        (PeerTestStep::AliceToCharlie, Code::ACCEPT, &[]),
        (PeerTestStep::CharlieToAliceAgain, Code::ACCEPT, &[]),
    ] {
        let test = PeerTest { step, code, terms, signature };
        add(&format!("test-{}", step.number()), Block::PeerTest(test));
    }
}
