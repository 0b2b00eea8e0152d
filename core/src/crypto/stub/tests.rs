//! What the stand-ins promise: nothing wrong goes unnoticed.

use super::{aead, aes, ed25519, elligator2, x25519};
use crate::crypto::Key32;
use crate::crypto::sign::BadSignature;
use crate::crypto::x25519::PublicKey;
use crate::rng::{Rng, Seed};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

/// Each with one bit changed.
fn one_bit_off<const N: usize>(of: [u8; N]) -> impl Iterator<Item = [u8; N]> {
    (0..N * 8).map(move |bit| {
        let mut changed = of;
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    })
}

fn rng() -> Rng {
    Rng::new(&Seed::from_number(1))
}

#[test]
fn secrets_agree_and_every_other_key_gives_another() {
    let mut rng = rng();
    let (a, b) = (rng.bytes(), rng.bytes());
    let (public_a, public_b) = (x25519::public(&a), x25519::public(&b));
    let secret = x25519::shared(&a, &public_b);
    assert_eq!(secret, x25519::shared(&b, &public_a));
    let mut seen = BTreeSet::from([secret, public_a, public_b, a, b]);
    assert_eq!(seen.len(), 5);
    for wrong in one_bit_off(a) {
        assert!(seen.insert(x25519::shared(&wrong, &public_b)));
    }
    for wrong in one_bit_off(public_b) {
        assert!(seen.insert(x25519::shared(&a, &wrong)));
    }
    for low in [0, 1] {
        let mut point = [0; 32];
        point[0] = low;
        assert_eq!(x25519::shared(&a, &point), [0; 32]);
    }
}

#[test]
fn encoded_keys_decode_and_changed_ones_are_others() {
    let mut rng = rng();
    let mut tops = BTreeSet::new();
    for _ in 0..50 {
        let (secret, public, encoded) = elligator2::pair(&mut rng).unwrap();
        assert_eq!(public.0, x25519::public(secret.as_bytes()));
        assert_ne!(public.0, encoded);
        assert_eq!(elligator2::decode(&encoded), Ok(public));
        tops.insert(encoded[31] >> 6);
        for (bit, wrong) in one_bit_off(encoded).enumerate() {
            assert_eq!(elligator2::decode(&wrong) == Ok(public), bit >= 254, "{bit}");
        }
    }
    assert_eq!(tops.len(), 4, "the two bits on top are chance");
    assert_eq!(elligator2::encode(&PublicKey([0xff; 32]), 0), None);
}

#[test]
fn signatures_hold_for_one_key_and_one_message() {
    let seed = rng().bytes();
    let signer = ed25519::Signer::from_seed(seed);
    let (key, message) = (signer.public(), *b"a RouterInfo, say");
    assert_eq!(signer.seed().as_bytes(), &seed);
    let signature = signer.sign(&message);
    assert_eq!(ed25519::verify(&key, &message, &signature), Ok(()));
    let wrong = Err(BadSignature::Mismatch);
    for other in one_bit_off(key) {
        assert_eq!(ed25519::verify(&other, &message, &signature), wrong);
    }
    for other in one_bit_off(message) {
        assert_eq!(ed25519::verify(&key, &other, &signature), wrong);
    }
    for other in one_bit_off(signature) {
        assert_eq!(ed25519::verify(&key, &message, &other), wrong);
    }
    assert_eq!(ed25519::verify(&key, &message[1..], &signature), wrong);
    assert_eq!(ed25519::verify(&key, &message, &signature[..63]), wrong);
    assert_eq!(ed25519::verify(&key, &[&message[..], &[0]].concat(), &signature), wrong);
    for seed in one_bit_off(seed) {
        assert_ne!(ed25519::Signer::from_seed(seed).sign(&message), signature);
    }
}

#[test]
fn what_is_sealed_opens_with_the_same_of_everything_only() {
    let (key, nonce, ad) = ([7; 32], [1; 12], *b"handshake hash");
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 64, 1040] {
        let text: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let mut sealed = text.clone();
        let tag = aead::seal_with_nonce(&Key32::new(key), &nonce, &ad, &mut sealed);
        assert!(len == 0 || sealed != text);
        sealed.extend_from_slice(&tag);
        let open = |key: [u8; 32], nonce: [u8; 12], ad: &[u8], sealed: &[u8]| {
            let mut buf = sealed.to_vec();
            aead::open_with_nonce(&Key32::new(key), &nonce, ad, &mut buf).map(|t| t.to_vec())
        };
        assert_eq!(open(key, nonce, &ad, &sealed), Ok(text));
        assert!(one_bit_off(key).all(|key| open(key, nonce, &ad, &sealed).is_err()));
        assert!(one_bit_off(nonce).all(|nonce| open(key, nonce, &ad, &sealed).is_err()));
        assert!(one_bit_off(ad).all(|ad| open(key, nonce, &ad, &sealed).is_err()));
        assert!(open(key, nonce, b"", &sealed).is_err());
        for bit in 0..sealed.len() * 8 {
            let mut wrong = sealed.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(open(key, nonce, &ad, &wrong).is_err(), "{len} bytes, bit {bit}");
        }
        for cut in 0..sealed.len() {
            assert!(open(key, nonce, &ad, &sealed[..cut]).is_err());
        }
        // Where the associated data ends matters.
        let moved = [&ad[..], &sealed[..1]].concat();
        assert!(open(key, nonce, &moved, &sealed[1..]).is_err());
    }
}

#[test]
fn layers_come_off_as_they_came_on() {
    let mut rng = rng();
    let (first, second): ([u8; 32], [u8; 32]) = (rng.bytes(), rng.bytes());
    let (iv, other_iv): ([u8; 16], [u8; 16]) = (rng.bytes(), rng.bytes());
    for blocks in 0..66 {
        // The last three bytes are no block.
        let plain: Vec<u8> = (0..blocks * 16 + 3).map(|i| i as u8).collect();
        let mut buf = plain.clone();
        aes::Encryptor::new(&first).cbc_encrypt(&iv, &mut buf);
        let mut lanes = [plain.clone(), [&plain[..], &[9; 16]].concat()];
        let [a, b] = &mut lanes;
        let key = aes::Encryptor::new(&first);
        aes::Encryptor::cbc_encrypt_lanes([(&key, &iv, &mut a[..]), (&key, &iv, &mut b[..])]);
        assert!(lanes[0] == buf && lanes[1].starts_with(&buf[..blocks * 16]));
        if blocks == 0 {
            assert_eq!(buf, plain);
            continue;
        }
        aes::Encryptor::new(&second).cbc_encrypt(&iv, &mut buf);
        let peel = |keys: [&[u8; 32]; 2], iv: &[u8; 16]| {
            let mut buf = buf.clone();
            keys.into_iter().for_each(|key| aes::Decryptor::new(key).cbc_decrypt(iv, &mut buf));
            buf
        };
        assert_eq!(peel([&second, &first], &iv), plain);
        assert_ne!(peel([&first, &second], &iv), plain);
        assert_ne!(peel([&second, &first], &other_iv), plain);
        for wrong in one_bit_off(first) {
            assert_ne!(peel([&second, &wrong], &iv), plain);
        }
    }
}

#[test]
fn to_encrypt_again_is_not_to_decrypt() {
    let key = aes::Encryptor::new(&[5; 32]);
    let (mut block, mut text) = ([6; 16], [6; 32]);
    for _ in 0..2 {
        key.encrypt_block(&mut block);
        key.cbc_encrypt(&[7; 16], &mut text);
        assert!(block != [6; 16] && text != [6; 32]);
    }
}

#[test]
fn blocks_come_back_with_their_key_only_and_no_two_are_alike() {
    let (key, block) = (rng().bytes(), [3; 16]);
    let encrypted = |key: &[u8; 32], mut block: [u8; 16]| {
        aes::Encryptor::new(key).encrypt_block(&mut block);
        block
    };
    let mut seen = BTreeSet::from([block, encrypted(&key, block)]);
    for changed in one_bit_off(block) {
        assert!(seen.insert(encrypted(&key, changed)));
    }
    for wrong in one_bit_off(key) {
        assert!(seen.insert(encrypted(&wrong, block)));
        let mut back = encrypted(&key, block);
        aes::Decryptor::new(&wrong).decrypt_block(&mut back);
        assert_ne!(back, block);
    }
    let mut back = encrypted(&key, block);
    aes::Decryptor::new(&key).decrypt_block(&mut back);
    assert_eq!(back, block);
}
