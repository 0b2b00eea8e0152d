use super::*;
use crate::rng::{Rng, Seed};
use crate::wire::ssu2::header::tests::random;
use alloc::vec::Vec;

/// The first block of a ChaCha20 stream from `counter` on, straight from RFC 8439, section 2.3.
fn chacha20_block(key: &[u8; 32], counter: u32, nonce: &[u8; 12]) -> [u8; 64] {
    let mut start = [
        0x6170_7865_u32,
        0x3320_646e,
        0x7962_2d32,
        0x6b20_6574,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        counter,
        0,
        0,
        0,
    ];
    for (i, word) in key.chunks(4).enumerate() {
        start[4 + i] = u32::from_le_bytes(word.try_into().unwrap());
    }
    for (i, word) in nonce.chunks(4).enumerate() {
        start[13 + i] = u32::from_le_bytes(word.try_into().unwrap());
    }
    let mut s = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (to, from, with, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            s[to] = s[to].wrapping_add(s[from]);
            s[with] = (s[with] ^ s[to]).rotate_left(by);
        }
    };
    for _ in 0..10 {
        for column in 0..4 {
            quarter(column, column + 4, column + 8, column + 12);
        }
        for i in 0..4 {
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    let mut out = [0; 64];
    for (i, (word, first)) in s.iter().zip(start).enumerate() {
        out[4 * i..4 * i + 4].copy_from_slice(&word.wrapping_add(first).to_le_bytes());
    }
    out
}

/// What `protect` has to make, byte by byte from the specification.
fn expected(plain: &[u8], first: &[u8; 32], second: &[u8; 32]) -> Vec<u8> {
    let len = plain.len();
    let mut out = plain.to_vec();
    let one = chacha20_block(first, 1, plain[len - 24..len - 12].try_into().unwrap());
    let two = chacha20_block(second, 1, plain[len - 12..].try_into().unwrap());
    for i in 0..8 {
        out[i] ^= one[i];
        out[8 + i] ^= two[i];
    }
    let end = match plain[12] {
        0 | 1 => 64,
        7 | 9 | 10 | 11 => 32,
        _ => 16,
    };
    let stream = chacha20_block(second, 1, &[0; 12]);
    for i in 16..end {
        out[i] ^= stream[i - 16];
    }
    out
}

fn packet(rng: &mut Rng, header: &Header, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    let mut rest = alloc::vec![0; len - out.len()];
    rng.fill(&mut rest);
    out.extend(rest);
    out
}

#[test]
fn the_oracle_is_chacha20() {
    // RFC 8439, section 2.3.2.
    let key = core::array::from_fn(|i| i as u8);
    let block = chacha20_block(&key, 1, &[0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0]);
    assert_eq!(
        data_encoding::HEXLOWER.encode(&block),
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e\
         d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e"
    );
}

#[test]
fn packets_of_every_type_are_masked_as_the_specification_says_and_unmasked() {
    let mut rng = Rng::new(&Seed::from_number(2));
    let mut seen = alloc::collections::BTreeSet::new();
    for _ in 0..500 {
        let header = random(&mut rng);
        let kind = header.packet_type();
        seen.insert(kind);
        let len = kind.min_len() + rng.index(200);
        let plain = packet(&mut rng, &header, len);
        let keys: [[u8; 32]; 2] = [rng.bytes(), rng.bytes()];
        let (first, second) = (Key32::new(keys[0]), Key32::new(keys[1]));

        let mut wire = plain.clone();
        protect(&mut wire, &first, &second).unwrap();
        assert_eq!(wire, expected(&plain, &keys[0], &keys[1]), "{kind:?}");

        let id = destination(&wire, &first).unwrap();
        assert_eq!(id, header.destination());
        let before = wire.clone();
        assert_eq!(peek(&wire, id, &second), Ok(header));
        assert_eq!(wire, before, "looking changes nothing");
        assert_eq!(unprotect(&mut wire, id, &second), Ok(header));
        assert_eq!(wire, plain);
    }
    assert_eq!(seen.len(), PacketType::ALL.len());
}

#[test]
fn what_is_too_short_for_its_type_is_refused() {
    let mut rng = Rng::new(&Seed::from_number(3));
    let key = Key32::new([5; 32]);
    for _ in 0..50 {
        let header = random(&mut rng);
        let kind = header.packet_type();
        for len in header.encoded_len()..kind.min_len() {
            let mut short = packet(&mut rng, &header, len);
            let before = short.clone();
            assert_eq!(protect(&mut short, &key, &key), Err(DecodeError::Truncated));
            assert_eq!(short, before);
            // Masked all the same: the first 16 bytes only, whose samples lie behind them.
            if len >= MIN_PACKET_LEN {
                let mut wire = short.clone();
                wire[12] = PacketType::Data.code();
                let mut wire = expected(&wire, &[5; 32], &[5; 32]);
                wire[12] ^= PacketType::Data.code() ^ kind.code();
                let wire = &mut wire[..];
                let id = destination(wire, &key).unwrap();
                let before = wire.to_vec();
                assert_eq!(unprotect(wire, id, &key), Err(DecodeError::Truncated));
                assert_eq!(wire, before);
            }
        }
    }
    for len in 0..MIN_PACKET_LEN {
        let mut short = alloc::vec![0; len];
        assert_eq!(destination(&short, &key), Err(DecodeError::Truncated));
        assert_eq!(unprotect(&mut short, ConnectionId(0), &key), Err(DecodeError::Truncated));
        assert!(protect(&mut short, &key, &key).is_err());
    }
}

#[test]
fn a_wrong_key_is_seldom_a_header_and_changes_nothing_when_it_is_none() {
    let mut rng = Rng::new(&Seed::from_number(4));
    let (first, second) = (Key32::new(rng.bytes()), Key32::new(rng.bytes()));
    let mut accepted = 0;
    for _ in 0..2000 {
        let header = random(&mut rng);
        let mut wire = packet(&mut rng, &header, 100);
        protect(&mut wire, &first, &second).unwrap();
        let wrong = Key32::new(rng.bytes());
        assert_ne!(destination(&wire, &wrong).unwrap(), header.destination());
        let before = wire.clone();
        match unprotect(&mut wire, header.destination(), &wrong) {
            Ok(got) => {
                assert_ne!(got, header);
                accepted += 1;
            }
            Err(_) => assert_eq!(wire, before),
        }
    }
    // 8 types of 256; of SessionConfirmed about a half has no such part.
    assert!((30..100).contains(&accepted), "{accepted}");
}
