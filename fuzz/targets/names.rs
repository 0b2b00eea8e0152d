//! Identities and what names are made of.

use super::input::Input;
use super::signature_type;
use ramson_core::crypto::sign::PublicKey;
use ramson_core::crypto::{elligator2, x25519};
use ramson_core::wire::base32::{self, B32};
use ramson_core::wire::base64;
use ramson_core::wire::certificate::Certificate;
use ramson_core::wire::codec::Reader;
use ramson_core::wire::identity::{Identity, MAX_IDENTITY_LEN};
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::offline::OfflineSignature;

/// An identity keeps its bytes, and its Base64 and its host name lead back to it.
pub fn identity(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(identity) = Identity::decode(&mut r) else {
        assert!(Identity::from_bytes(data).is_err());
        return;
    };
    let len = data.len() - r.remaining();
    assert!(len <= MAX_IDENTITY_LEN, "longer than we take");
    assert_eq!(identity.as_bytes(), &data[..len]);
    assert_eq!(Identity::from_bytes(data).is_ok(), r.is_empty(), "trailing bytes");
    assert_eq!(Identity::from_base64(&identity.to_base64()), Ok(identity.clone()));
    assert_eq!(
        base32::parse_host(&identity.b32_address()),
        Some(B32::Destination(identity.hash()))
    );
    let key = identity.signing_key();
    assert_eq!(Some(key.as_bytes().len()), key.kind().public_key_len());
    let _ = (identity.certificate(), identity.encryption_type(), identity.x25519_key());
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Identity::from_base64(text);
    }
}

/// A certificate takes exactly the bytes that its length says.
pub fn certificate(data: &[u8]) {
    let mut r = Reader::new(data);
    if Certificate::decode(&mut r).is_ok() {
        let len = usize::from(u16::from_be_bytes([data[1], data[2]]));
        assert_eq!(data.len() - r.remaining(), 3 + len);
    }
}

/// A mapping is written in one form only, whatever the order it came in.
pub fn mapping(data: &[u8]) {
    let mut r = Reader::new(data);
    let Ok(mapping) = Mapping::decode(&mut r) else { return };
    let mut canonical = Vec::new();
    mapping.encode(&mut canonical);
    assert!(canonical.len() <= data.len() - r.remaining());
    let again = Mapping::decode(&mut Reader::new(&canonical)).unwrap();
    assert!(again.is_canonical());
    if mapping.is_canonical() {
        assert_eq!(again, mapping);
        assert_eq!(canonical, data[..canonical.len()]);
    }
    for (key, _) in mapping.iter() {
        assert_eq!(again.get(key), mapping.get(key));
    }
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, canonical);
    // The input as strings to insert.
    let mut built = Mapping::new();
    for pair in data.chunks(7).take(64) {
        let text = String::from_utf8_lossy(pair);
        let (key, value) = text.split_at(text.floor_char_boundary(3));
        built.insert(key, value).unwrap();
        assert_eq!(built.get(key), Some(value));
        assert!(built.is_canonical());
    }
}

/// The first byte is the type of the key that signs.
pub fn offline(data: &[u8]) {
    let mut input = Input::new(data);
    let signer = signature_type(input.u8());
    let block = input.rest();
    let mut r = Reader::new(block);
    let Ok(offline) = OfflineSignature::decode(&mut r, signer) else { return };
    let mut out = Vec::new();
    offline.encode(&mut out);
    assert_eq!(out, block[..block.len() - r.remaining()]);
    assert_eq!(Some(offline.signature.len()), signer.signature_len());
    let _ = offline.verify(&offline.key);
}

/// Type, key, message and signature are all the attacker's.
pub fn signature(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = signature_type(input.u8());
    let cut = usize::from(input.u8());
    let Ok(key) = PublicKey::new(kind, input.bytes(kind.public_key_len().unwrap_or(0))) else {
        return;
    };
    let signature = input.bytes(key.signature_len());
    let message = input.rest();
    if signature.len() < key.signature_len() {
        assert!(key.verify(message, signature).is_err());
    } else if key.verify(message, signature).is_ok() {
        // Nothing else may verify with it.
        let cut = &message[..cut.min(message.len())];
        assert_eq!(key.verify(cut, signature).is_ok(), cut == message);
        assert!(key.verify(message, &signature[1..]).is_err());
    }
}

/// Keys that a peer hides in random bytes.
pub fn elligator2_key(data: &[u8]) {
    let encoded: [u8; 32] = Input::new(data).array();
    let Ok(public) = elligator2::decode(&encoded) else { return };
    let private = x25519::PrivateKey::from_bytes([7; 32]);
    let _ = private.diffie_hellman(&public);
    if let Some(again) = elligator2::encode(&public, 0) {
        assert_eq!(elligator2::decode(&again), Ok(public));
    }
}

/// Base32 in both directions, and host names.
pub fn base32_text(data: &[u8]) {
    assert_eq!(base32::decode(&base32::encode(data)).as_deref(), Some(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(bytes) = base32::decode(text) {
        assert_eq!(base32::encode(&bytes), text.to_ascii_lowercase());
    }
    match base32::parse_host(text) {
        Some(B32::Destination(hash)) => assert_eq!(base32::host(&hash), text.to_ascii_lowercase()),
        Some(B32::Blinded(bytes)) => {
            assert!((35..=160).contains(&bytes.len()));
            let name = base32::encode(&bytes) + base32::SUFFIX;
            assert_eq!(name, text.to_ascii_lowercase());
        }
        None => {}
    }
}

/// Base64 in both directions, and as the arrays of addresses.
pub fn base64_text(data: &[u8]) {
    assert_eq!(base64::decode(&base64::encode(data)).as_deref(), Some(data));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let decoded = base64::decode(text);
    if let Some(bytes) = &decoded {
        let canonical = base64::encode(bytes);
        assert_eq!(canonical.trim_end_matches('='), text.trim_end_matches('='));
    }
    assert_eq!(
        base64::decode_array::<32>(text).map(Vec::from),
        decoded.clone().filter(|b| b.len() == 32)
    );
    assert_eq!(base64::decode_array::<16>(text).map(Vec::from), decoded.filter(|b| b.len() == 16));
}
