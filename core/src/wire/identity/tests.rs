use super::*;
use crate::crypto::sign::SigningKey;
use crate::rng::Seed;

/// Destinations of every type, made by i2pd.
const DESTINATIONS: &str = include_str!("../../../../tests/vectors/i2pd/destinations.txt");

fn ours() -> (Identity, x25519::PublicKey, PublicKey) {
    let mut rng = Rng::new(&Seed::from_number(2));
    let signing = SigningKey::generate(&mut rng).public();
    let encryption = x25519::PrivateKey::generate(&mut rng).public();
    (Identity::new_router(encryption, &signing, &mut rng), encryption, signing)
}

#[test]
fn what_is_made_decodes_to_the_same_keys() {
    let (identity, encryption, signing) = ours();
    let bytes = identity.as_bytes();
    assert_eq!(bytes.len(), ED25519_IDENTITY_LEN);
    assert_eq!(&bytes[384..], b"\x05\x00\x04\x00\x07\x00\x04");
    let read = Identity::from_bytes(bytes).unwrap();
    for i in [&identity, &read] {
        assert_eq!(i.hash(), Hash::of(bytes));
        assert_eq!(*i.signing_key(), signing);
        assert_eq!(i.encryption_type(), X25519);
        assert_eq!(i.x25519_key(), Some(encryption));
        assert_eq!(i.as_bytes(), bytes);
    }
    assert_eq!(identity, read);
}

#[test]
fn padding_repeats_so_that_it_compresses() {
    let (identity, ..) = ours();
    let padding = &identity.as_bytes()[32..352];
    assert!(padding.chunks(32).all(|block| *block == padding[..32]));
    assert_ne!(padding[..32], [0; 32]);
}

#[test]
fn destinations_of_another_router_are_read_as_it_made_them() {
    let mut seen = 0;
    for line in DESTINATIONS.lines().filter(|l| !l.starts_with('#')) {
        let mut fields = line.split(' ').skip(1);
        let kind = match fields.next().unwrap() {
            "dsa" => SignatureType::DsaSha1,
            "p256" => SignatureType::EcdsaP256,
            "p384" => SignatureType::EcdsaP384,
            "p521" => SignatureType::EcdsaP521,
            "ed" => SignatureType::Ed25519,
            "red" => SignatureType::RedDsa,
            other => panic!("{other}"),
        };
        let text = fields.next().unwrap();
        let destination = Identity::from_base64(text).unwrap();
        assert_eq!(destination.signing_key().kind(), kind);
        assert_eq!(destination.encryption_type(), ELGAMAL);
        assert_eq!(destination.x25519_key(), None);
        assert_eq!(destination.to_base64(), text);
        let host = destination.b32_address();
        assert_eq!(base32::parse_host(&host), Some(base32::B32::Destination(destination.hash())));
        seen += 1;
    }
    assert_eq!(seen, 12);
}

#[test]
fn keys_lie_where_the_specification_puts_them() {
    let field: Vec<u8> = (0..KEYS_LEN).map(|i| i as u8 ^ (i >> 8) as u8).collect();
    for (code, excess) in [(0, 0), (1, 0), (2, 0), (3, 4), (4, 128), (7, 0), (10, 0), (11, 0)] {
        let kind = SignatureType::from_code(code);
        let len = kind.public_key_len().unwrap();
        let mut bytes = field.clone();
        bytes.put_u8(5);
        bytes.put_u16(4 + excess as u16);
        bytes.put_u16(code);
        bytes.put_u16(ELGAMAL);
        bytes.resize(bytes.len() + excess, 0xee);
        let identity = Identity::from_bytes(&bytes).unwrap();
        let inside = len - excess;
        assert_eq!(identity.signing_key().as_bytes()[..inside], field[KEYS_LEN - inside..]);
        assert!(identity.signing_key().as_bytes()[inside..].iter().all(|b| *b == 0xee));
        // One byte of key too many or too few in the certificate.
        for wrong in [1, -1_isize] {
            let mut bad = bytes.clone();
            let Some(len) = bad.len().checked_add_signed(wrong).filter(|l| *l >= 391) else {
                continue;
            };
            bad.resize(len, 0);
            bad[386] = bad[386].wrapping_add_signed(wrong as i8);
            assert_eq!(Identity::from_bytes(&bad), Err(DecodeError::Invalid("key certificate")));
        }
    }
}

#[test]
fn every_cut_and_every_trailing_byte_is_refused() {
    let p521 = DESTINATIONS.lines().find_map(|l| l.split_once(" p521 ")).unwrap().1;
    for identity in [ours().0, Identity::from_base64(p521).unwrap()] {
        let bytes = identity.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(Identity::from_bytes(&bytes[..cut]), Err(DecodeError::Truncated));
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(Identity::from_bytes(&longer), Err(DecodeError::Trailing));
        // Inside another structure, what follows is left alone.
        let mut r = Reader::new(&longer);
        assert_eq!(Identity::decode(&mut r), Ok(identity));
        assert_eq!(r.rest(), [0]);
    }
}

#[test]
fn historical_certificates_are_kept() {
    let keys = [7; KEYS_LEN];
    let certificates: [&[u8]; 3] = [b"\x01\0\x03a:b", b"\x02\0\0", b"\x04\0\x03\0\0\0"];
    for certificate in certificates {
        let bytes = [&keys, certificate].concat();
        let identity = Identity::from_bytes(&bytes).unwrap();
        assert_eq!(identity.as_bytes(), bytes);
        assert_eq!(identity.signing_key().kind(), SignatureType::DsaSha1);
        assert_eq!(Ok(identity.certificate()), Certificate::decode(&mut Reader::new(certificate)));
    }
    assert_eq!(
        Identity::from_bytes(&[&keys[..], b"\x05\0\x04\0\x63\0\0"].concat()),
        Err(DecodeError::Invalid("signature type"))
    );
    let huge = [&keys[..], b"\x01\x03\0", &[0; 0x300]].concat();
    assert_eq!(Identity::from_bytes(&huge), Err(DecodeError::TooLarge("identity")));
}

#[test]
fn text_that_is_no_identity_is_refused() {
    for bad in ["", "AAAA", "!", &"A".repeat(2000)] {
        assert!(Identity::from_base64(bad).is_err());
    }
}
