use super::*;
use crate::rng::{Rng, Seed};
use alloc::string::String;
use alloc::vec::Vec;
use data_encoding::HEXLOWER as HEX;

/// One line of a vector file.
pub(super) struct Vector {
    pub(super) kind: SignatureType,
    pub(super) key: Vec<u8>,
    pub(super) message: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

pub(super) fn vectors() -> impl Iterator<Item = Vector> {
    let files = [
        include_str!("../../../../tests/vectors/signatures_rfc8032.txt"),
        include_str!("../../../../tests/vectors/signatures_reddsa.txt"),
        include_str!("../../../../tests/vectors/signatures_openssl.txt"),
    ];
    files.into_iter().flat_map(str::lines).filter(|l| !l.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [kind, key, message, signature] = fields[..] else { panic!("{line}") };
        let hex = |s: &str| if s == "-" { Vec::new() } else { HEX.decode(s.as_bytes()).unwrap() };
        Vector {
            kind: SignatureType::from_code(kind.parse().unwrap()),
            key: hex(key),
            message: hex(message),
            signature: hex(signature),
        }
    })
}

#[test]
fn published_and_foreign_signatures_verify_and_no_changed_one_does() {
    let mut seen = [0; 12];
    for Vector { kind, key, mut message, signature } in vectors() {
        seen[usize::from(kind.code())] += 1;
        let key = PublicKey::new(kind, &key).unwrap();
        assert_eq!(key.verify(&message, &signature), Ok(()), "{kind:?} {message:?}");
        for i in [0, signature.len() / 2 - 1, signature.len() / 2, signature.len() - 1] {
            let mut bad = signature.clone();
            bad[i] ^= 1;
            assert_eq!(key.verify(&message, &bad), Err(BadSignature::Mismatch), "{kind:?} {i}");
        }
        let mut long = signature.clone();
        long.push(0);
        let short = &signature[..signature.len() - 1];
        for bad in [&long, short, &[]] {
            assert_eq!(key.verify(&message, bad), Err(BadSignature::Mismatch));
        }
        message.push(0);
        assert_eq!(key.verify(&message, &signature), Err(BadSignature::Mismatch));
    }
    assert_eq!(seen, [8, 8, 8, 8, 0, 0, 0, 4, 0, 0, 0, 8]);
}

/// Big-endian `a + b`, without a carry out.
fn add(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut carry = 0;
    let mut sum: Vec<u8> = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        let s = u16::from(*a) + u16::from(*b) + carry;
        sum.insert(0, s as u8);
        carry = s >> 8;
    }
    (carry == 0).then_some(sum)
}

#[test]
fn numbers_outside_their_range_are_refused() {
    // The orders of the groups (FIPS 186-5; for DSA that of the specification).
    let orders = [
        (SignatureType::DsaSha1, "a5dfc28fef4ca1e286744cd8eed9d29d684046b7"),
        (
            SignatureType::EcdsaP256,
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
        ),
        (
            SignatureType::EcdsaP384,
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77a\
             ecec196accc52973",
        ),
        (
            SignatureType::EcdsaP521,
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf\
             2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
        ),
    ];
    let mut grown = 0;
    for Vector { kind, key, message, signature } in vectors() {
        let Some((_, order)) = orders.iter().find(|(k, _)| *k == kind) else { continue };
        let order = HEX.decode(order.as_bytes()).unwrap();
        let key = PublicKey::new(kind, &key).unwrap();
        let (r, s) = signature.split_at(signature.len() / 2);
        let zero = alloc::vec![0; r.len()];
        let bad = Err(BadSignature::Mismatch);
        for (r, s) in [(r, &zero[..]), (&zero, s), (&zero, &zero), (r, &order), (&order, s)] {
            assert_eq!(key.verify(&message, &[r, s].concat()), bad, "{kind:?}");
        }
        // The same number again, not reduced: one message must not have two encodings.
        if let Some(r) = add(r, &order) {
            assert_eq!(key.verify(&message, &[&r[..], s].concat()), bad, "{kind:?}");
            grown += 1;
        }
        if let Some(s) = add(s, &order) {
            assert_eq!(key.verify(&message, &[r, &s[..]].concat()), bad, "{kind:?}");
            grown += 1;
        }
    }
    assert!(grown > 4);
}

#[test]
fn a_point_off_its_curve_is_refused() {
    for Vector { kind, mut key, message, signature } in vectors() {
        if kind == SignatureType::DsaSha1 {
            continue;
        }
        let last = key.len() - 1;
        key[last] ^= 1;
        let changed = PublicKey::new(kind, &key).unwrap();
        assert_eq!(changed.verify(&message, &signature), Err(BadSignature::Mismatch));
        let zero = PublicKey::new(kind, &alloc::vec![0; key.len()]).unwrap();
        assert_eq!(zero.verify(&message, &signature), Err(BadSignature::Mismatch));
    }
}

#[test]
fn ours_sign_as_the_rfc_says() {
    // RFC 8032, section 7.1, TEST 2: its private key; signature and public key are in the file.
    let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let key = SigningKey::from_seed(HEX.decode(seed.as_bytes()).unwrap().try_into().unwrap());
    let test2 = vectors().nth(1).unwrap();
    assert_eq!(key.public().as_bytes(), test2.key);
    assert_eq!(key.sign(&test2.message).as_slice(), test2.signature);
    assert_eq!(HEX.encode(key.seed().as_bytes()), seed);
    let other = SigningKey::generate(&mut Rng::new(&Seed::from_number(1)));
    let signature = other.sign(b"x");
    assert_eq!(other.public().verify(b"x", &signature), Ok(()));
    assert_eq!(key.public().verify(b"x", &signature), Err(BadSignature::Mismatch));
}

#[test]
fn ed25519_with_s_not_reduced_is_refused() {
    // L, little-endian: S + L is the same scalar, and malleable signatures are no signatures.
    let l = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut l = HEX.decode(l.as_bytes()).unwrap();
    l.reverse();
    let Vector { kind, key, message, mut signature } = vectors().next().unwrap();
    signature[32..].reverse();
    let mut grown = add(&signature[32..], &l).unwrap();
    grown.reverse();
    signature.truncate(32);
    signature.extend(grown);
    let key = PublicKey::new(kind, &key).unwrap();
    assert_eq!(key.verify(&message, &signature), Err(BadSignature::Mismatch));
}

#[test]
fn ed25519_takes_keys_of_low_order_as_other_routers_do() {
    // With the neutral element as the key, `R = [S]B` verifies for every message: whoever publishes
    // such a key hurts only himself, but all routers must agree on what is valid.
    let mut key = [0; 32];
    key[0] = 1;
    let zero_s = [key, [0; 32]].concat();
    assert_eq!(PublicKey::ed25519(key).verify(b"anything", &zero_s), Ok(()));
}

#[test]
fn types_that_cannot_verify_say_so() {
    for code in [4, 5, 6, 8, 9, 10] {
        let kind = SignatureType::from_code(code);
        let key = alloc::vec![1; kind.public_key_len().unwrap()];
        let key = PublicKey::new(kind, &key).unwrap();
        let signature = alloc::vec![1; key.signature_len()];
        assert_eq!(key.verify(b"x", &signature), Err(BadSignature::Unsupported(kind)));
    }
    assert_eq!(PublicKey::new(SignatureType::from_code(12), &[]), Err(BadKey::UnknownType(12)));
    assert_eq!(PublicKey::new(SignatureType::Ed25519, &[0; 31]), Err(BadKey::Length));
}

#[test]
fn codes_and_debug() {
    for code in 0..20 {
        assert_eq!(SignatureType::from_code(code).code(), code);
    }
    let shown: String = alloc::format!("{:?}", PublicKey::ed25519([0xab; 32]));
    assert_eq!(shown, "Ed25519(abababab)");
}
