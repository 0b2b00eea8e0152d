use super::*;
use crate::rng::{Rng, Seed};

fn encoded(header: &Header) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    out
}

/// A header of any kind, with random fields.
pub(in crate::wire::ssu2) fn random(rng: &mut Rng) -> Header {
    let (destination, number) = (ConnectionId(rng.u64()), rng.u32());
    let short = |kind| Header::Short(ShortHeader { destination, number, kind });
    let kind = match PacketType::ALL[rng.index(PacketType::ALL.len())] {
        PacketType::SessionConfirmed => {
            let total = rng.between(1, 15) as u8;
            let number = rng.below(total.into()) as u8;
            return short(ShortKind::SessionConfirmed(Fragment::new(number, total).unwrap()));
        }
        PacketType::Data => return short(ShortKind::Data { immediate_ack: rng.below(2) == 0 }),
        PacketType::SessionRequest => LongKind::SessionRequest,
        PacketType::SessionCreated => LongKind::SessionCreated,
        PacketType::PeerTest => LongKind::PeerTest,
        PacketType::Retry => LongKind::Retry,
        PacketType::TokenRequest => LongKind::TokenRequest,
        PacketType::HolePunch => LongKind::HolePunch,
    };
    Header::Long(LongHeader {
        destination,
        number,
        kind,
        version: if rng.below(2) == 0 { VERSION } else { rng.u32() as u8 },
        net_id: rng.u32() as u8,
        source: ConnectionId(rng.u64()),
        token: rng.u64(),
    })
}

#[test]
fn fields_stand_where_the_layout_says() {
    let destination = ConnectionId(0x0102_0304_0506_0708);
    let number = 0x090a_0b0c;
    let long = Header::Long(LongHeader {
        destination,
        number,
        kind: LongKind::Retry,
        version: 2,
        net_id: 99,
        source: ConnectionId(0x1112_1314_1516_1718),
        token: 0x191a_1b1c_1d1e_1f20,
    });
    assert_eq!(
        encoded(&long),
        [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 9, 2, 99, 0, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
            0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20
        ]
    );
    let data = ShortKind::Data { immediate_ack: true };
    let data = Header::Short(ShortHeader { destination, number, kind: data });
    assert_eq!(encoded(&data), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 6, 1, 0, 0]);
    // The second part of two.
    let part = ShortKind::SessionConfirmed(Fragment::new(1, 2).unwrap());
    let part = Header::Short(ShortHeader { destination, number: 0, kind: part });
    assert_eq!(encoded(&part), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 2, 0x12, 0, 0]);
    let whole = ShortKind::SessionConfirmed(Fragment::WHOLE);
    let whole = Header::Short(ShortHeader { destination, number: 0, kind: whole });
    assert_eq!(encoded(&whole)[12..], [2, 1, 0, 0]);
}

#[test]
fn every_kind_round_trips_and_every_cut_is_refused() {
    let mut rng = Rng::new(&Seed::from_number(1));
    for _ in 0..500 {
        let header = random(&mut rng);
        let mut bytes = encoded(&header);
        assert_eq!(bytes.len(), header.encoded_len());
        assert_eq!(bytes.len(), header.packet_type().header_len());
        for cut in 0..bytes.len() {
            let mut r = Reader::new(&bytes[..cut]);
            assert_eq!(Header::decode(&mut r), Err(DecodeError::Truncated));
        }
        bytes.push(7);
        let mut r = Reader::new(&bytes);
        assert_eq!(Header::decode(&mut r), Ok(header));
        assert_eq!(r.rest(), [7]);
        assert_eq!(bytes[..8], header.destination().0.to_be_bytes());
        assert_eq!(bytes[8..12], header.number().to_be_bytes());
        assert_eq!(bytes[12], header.packet_type().code());
    }
}

#[test]
fn unused_flags_are_passed_over_and_unknown_types_refused() {
    let mut bytes = [0; 32];
    for kind in 0..=u8::MAX {
        bytes[12] = kind;
        bytes[13] = 0x01;
        let got = Header::decode(&mut Reader::new(&bytes));
        assert_eq!(got.is_ok(), PacketType::from_code(kind).is_some(), "{kind}");
    }
    bytes[12] = PacketType::Data.code();
    bytes[13..16].copy_from_slice(&[0xfe, 0xff, 0xff]);
    let Ok(Header::Short(data)) = Header::decode(&mut Reader::new(&bytes)) else { panic!() };
    assert_eq!(data.kind, ShortKind::Data { immediate_ack: false });
    bytes[12] = PacketType::Retry.code();
    let Ok(Header::Long(retry)) = Header::decode(&mut Reader::new(&bytes)) else { panic!() };
    assert_eq!((retry.version, retry.net_id), (0xfe, 0xff));
    assert!(!retry.is_ours(0xff));
    assert!(LongHeader { version: 2, ..retry }.is_ours(0xff));
    assert!(!LongHeader { version: 2, ..retry }.is_ours(2));
}

#[test]
fn there_is_no_part_that_the_total_does_not_have() {
    for info in 0..=u8::MAX {
        let (number, total) = (info >> 4, info & 15);
        let mut bytes = [0; 16];
        bytes[12..14].copy_from_slice(&[2, info]);
        let got = Header::decode(&mut Reader::new(&bytes));
        assert_eq!(got.is_ok(), number < total, "{info:02x}");
        let fragment = Fragment::new(number, total);
        assert_eq!(fragment.is_some(), number < total);
        assert!(fragment.is_none_or(|f| (f.number(), f.total()) == (number, total)));
    }
    assert_eq!(Fragment::new(0, 16), None);
}

#[test]
fn ids_of_a_nonce_are_each_others_inverse() {
    let (alice, charlie) = ConnectionId::of_nonce(0x0102_0304);
    assert_eq!(alice.0.to_be_bytes(), [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(charlie.0, 0xfefd_fcfb_fefd_fcfb);
    assert_eq!(alloc::format!("{alice:?}"), "0102030401020304");
}
