use super::*;
use crate::crypto::sign::{SignatureType, SigningKey};
use crate::crypto::x25519::PrivateKey;
use crate::rng::{Rng, Seed};
use crate::wire::certificate::{ELGAMAL, X25519};
use crate::wire::codec::Put;
use crate::wire::mapping::Mapping;
use alloc::vec::Vec;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn ours() -> (SigningKey, Identity) {
    let mut rng = Rng::new(&Seed::from_number(5));
    let key = SigningKey::generate(&mut rng);
    let encryption = PrivateKey::generate(&mut rng).public();
    let destination = Identity::new_destination(encryption, &key.public(), &mut rng);
    (key, destination)
}

fn leases(n: u8) -> Vec<Lease> {
    (0..n)
        .map(|i| Lease {
            gateway: Hash([i; 32]),
            tunnel: u32::from(i) + 1,
            expires: UnixTime::from_secs(1_800_000_500 + u64::from(i)),
        })
        .collect()
}

fn build(n: u8) -> LeaseSet {
    let (key, destination) = ours();
    let expires = UnixTime::from_secs(1_800_000_600);
    let keys: [(u16, &[u8]); 2] = [(X25519, &[9; 32]), (77, &[1, 2, 3])];
    let contents = Contents {
        published: NOW,
        expires,
        keys: &keys,
        leases: &leases(n),
        options: &Mapping::new(),
        unpublished: false,
    };
    LeaseSet2::build(&destination, &contents, &key).unwrap()
}

#[test]
fn what_is_built_decodes_verifies_and_says_the_same() {
    let (_, destination) = ours();
    for n in [0, 1, 16] {
        let built = build(n);
        let read = LeaseSet::decode(STORE_LEASE_SET_2, built.as_bytes()).unwrap();
        assert_eq!(built, read);
        read.verify().unwrap();
        assert_eq!(read.key(), destination.hash());
        assert_eq!(read.destination(), Some(&destination));
        assert_eq!(read.leases(), leases(n));
        assert_eq!(read.published(), NOW);
        assert_eq!(read.expires(), UnixTime::from_secs(1_800_000_600));
        assert_eq!(read.encryption_key(X25519), Some([9; 32].as_slice()));
        assert_eq!(read.encryption_key(77), Some([1, 2, 3].as_slice()));
        assert_eq!(read.encryption_key(ELGAMAL), None);
        assert_eq!((read.offline(), read.is_unpublished()), (None, false));
        // The same bytes under another store type are another message.
        assert!(LeaseSet::decode(STORE_META, built.as_bytes()).is_err());
    }
}

/// Signs `body` (without store type) the way all kinds after the first are signed.
fn signed(store_type: u8, mut body: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    let mut covered = alloc::vec![store_type];
    covered.put(&body);
    body.put(&key.sign(&covered));
    body
}

/// A transient key and the block that makes it valid for `long_term`.
fn transient(long_term: &SigningKey) -> (SigningKey, OfflineSignature) {
    let key = SigningKey::from_seed([8; 32]);
    let mut block = OfflineSignature {
        expires: UnixTime::from_secs(1_800_100_000),
        key: key.public(),
        signature: Vec::new(),
    };
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    block.signature = long_term.sign(&bytes).to_vec();
    (key, block)
}

/// Dates and flags, then the offline block when there is one.
fn put_header(out: &mut Vec<u8>, flags: u16, offline: Option<&OfflineSignature>) {
    out.put_u32(NOW.as_secs());
    out.put_u16(600);
    out.put_u16(flags | u16::from(offline.is_some()));
    if let Some(offline) = offline {
        offline.encode(out);
    }
}

fn v1() -> Vec<u8> {
    let (key, destination) = ours();
    let mut out = destination.as_bytes().to_vec();
    out.put(&[5; 256]);
    out.put(&[6; 32]);
    out.put_u8(2);
    for lease in leases(2) {
        out.put(&lease.gateway.0);
        out.put_u32(lease.tunnel);
        out.put_u64(lease.expires.as_millis());
    }
    let signature = key.sign(&out);
    out.put(&signature);
    out
}

fn v2_offline() -> Vec<u8> {
    let (key, destination) = ours();
    let (transient, block) = transient(&key);
    let mut out = destination.as_bytes().to_vec();
    put_header(&mut out, 2, Some(&block));
    let mut options = Mapping::new();
    options.insert("_http._tcp", "0 86400 80").unwrap();
    options.encode(&mut out);
    out.put(&[1, 0, 4, 0, 32]);
    out.put(&[9; 32]);
    out.put_u8(1);
    out.put(&[3; 32]);
    out.put_u32(77);
    out.put_u32(1_800_000_599);
    signed(STORE_LEASE_SET_2, out, &transient)
}

fn encrypted(offline: bool) -> Vec<u8> {
    let blinded = SigningKey::from_seed([4; 32]);
    let (transient, block) = transient(&blinded);
    let mut out = Vec::new();
    out.put_u16(11);
    out.put(blinded.public().as_bytes());
    // A blinded key signs as RedDSA; for the block's signature the equation is the same.
    put_header(&mut out, 0, offline.then_some(&block));
    out.put_u16(5);
    out.put(b"inner");
    signed(STORE_ENCRYPTED, out, if offline { &transient } else { &blinded })
}

fn meta() -> Vec<u8> {
    let (key, destination) = ours();
    let mut out = destination.as_bytes().to_vec();
    put_header(&mut out, 0, None);
    Mapping::new().encode(&mut out);
    out.put_u8(2);
    for i in 1..=2 {
        out.put(&[i; 32]);
        out.put(&[0, 0, 3]);
        out.put_u8(i);
        out.put_u32(1_800_001_000);
    }
    out.put_u8(1);
    out.put(&[9; 32]);
    signed(STORE_META, out, &key)
}

fn all() -> [(u8, Vec<u8>); 6] {
    [
        (STORE_LEASE_SET, v1()),
        (STORE_LEASE_SET_2, build(3).as_bytes().to_vec()),
        (STORE_LEASE_SET_2, v2_offline()),
        (STORE_ENCRYPTED, encrypted(false)),
        (STORE_ENCRYPTED, encrypted(true)),
        (STORE_META, meta()),
    ]
}

#[test]
fn every_kind_is_kept_byte_for_byte_and_verifies() {
    for (kind, bytes) in all() {
        let set = LeaseSet::decode(kind, &bytes).unwrap();
        assert_eq!(set.verify(), Ok(()), "{kind}");
        assert_eq!(set.store_type(), kind);
        assert_eq!(set.as_bytes(), bytes);
        assert_eq!(set.clone(), set);
    }
}

#[test]
fn every_cut_and_every_trailing_byte_is_refused() {
    for (kind, bytes) in all() {
        for cut in 0..bytes.len() {
            assert!(LeaseSet::decode(kind, &bytes[..cut]).is_err(), "{kind} {cut}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(LeaseSet::decode(kind, &longer), Err(DecodeError::Trailing), "{kind}");
    }
    let huge = alloc::vec![0; MAX_LEASE_SET_LEN + 1];
    assert_eq!(LeaseSet::decode(3, &huge), Err(DecodeError::TooLarge("lease set")));
    assert_eq!(LeaseSet::decode(0, &[]), Err(DecodeError::Invalid("store type")));
}

#[test]
fn any_changed_byte_breaks_it_or_its_signature() {
    for (kind, bytes) in all() {
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x20;
            let accepted = LeaseSet::decode(kind, &bad).is_ok_and(|set| set.verify().is_ok());
            assert!(!accepted, "{kind} {at}");
        }
    }
}

#[test]
fn the_first_kind_says_what_is_in_it() {
    let (_, destination) = ours();
    let set = LeaseSet::decode(STORE_LEASE_SET, &v1()).unwrap();
    assert_eq!(set.key(), destination.hash());
    assert_eq!(set.leases(), leases(2));
    assert_eq!(set.encryption_key(ELGAMAL), Some([5; 256].as_slice()));
    assert_eq!(set.encryption_key(X25519), None);
    // It tells no date: the earliest end orders versions, the latest ends it.
    assert_eq!(set.published(), leases(2)[0].expires);
    assert_eq!(set.expires(), leases(2)[1].expires);
}

#[test]
fn a_transient_key_signs_when_the_destination_signed_it() {
    let set = LeaseSet::decode(STORE_LEASE_SET_2, &v2_offline()).unwrap();
    let LeaseSet::V2(v2) = &set else { panic!("{set:?}") };
    assert_eq!(v2.options().get("_http._tcp"), Some("0 86400 80"));
    assert!(set.is_unpublished() && !v2.is_published_encrypted());
    let offline = set.offline().unwrap();
    assert_eq!(offline.expires, UnixTime::from_secs(1_800_100_000));
    assert_eq!(offline.verify(set.destination().unwrap().signing_key()), Ok(()));
    // Signed by the transient key, but that by somebody else.
    let (_, destination) = ours();
    let mut bytes = v2_offline();
    let at = destination.as_bytes().len() + 8 + 4 + 2 + 32;
    let stranger = SigningKey::from_seed([1; 32]);
    let (transient, block) = transient(&stranger);
    bytes[at..at + 64].copy_from_slice(&block.signature);
    bytes.truncate(bytes.len() - 64);
    let bytes = signed(STORE_LEASE_SET_2, bytes, &transient);
    let forged = LeaseSet::decode(STORE_LEASE_SET_2, &bytes).unwrap();
    assert_eq!(forged.verify(), Err(BadSignature::Mismatch));
}

#[test]
fn an_encrypted_one_shows_only_its_outside() {
    let blinded = SigningKey::from_seed([4; 32]).public();
    let bytes = encrypted(false);
    let set = LeaseSet::decode(STORE_ENCRYPTED, &bytes).unwrap();
    assert_eq!(set.key(), Hash::of(&bytes[..34]));
    assert_eq!((set.destination(), set.leases()), (None, [].as_slice()));
    assert_eq!(set.published(), NOW);
    assert_eq!(set.expires(), UnixTime::from_secs(1_800_000_600));
    let LeaseSet::Encrypted(set) = set else { panic!("{set:?}") };
    assert_eq!(set.data(), b"inner");
    assert_eq!(set.blinded_key().kind(), SignatureType::RedDsa);
    assert_eq!(set.blinded_key().as_bytes(), blinded.as_bytes());
}

#[test]
fn a_meta_one_lists_others() {
    let set = LeaseSet::decode(STORE_META, &meta()).unwrap();
    assert_eq!((set.leases(), set.encryption_key(X25519)), ([].as_slice(), None));
    let LeaseSet::Meta(set) = set else { panic!("{set:?}") };
    let entry = MetaEntry {
        key: Hash([2; 32]),
        kind: STORE_LEASE_SET_2,
        cost: 2,
        expires: UnixTime::from_secs(1_800_001_000),
    };
    assert_eq!((set.entries().len(), set.entries()[1]), (2, entry));
    assert_eq!(set.revocations(), [Hash([9; 32])]);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let (key, destination) = ours();
    let good: [(u16, &[u8]); 1] = [(X25519, &[9; 32])];
    let later = |s: u64| UnixTime::from_secs(1_800_000_000 + s);
    let make = |expires, keys: &[(u16, &[u8])], leases: &[Lease], key: &SigningKey| {
        let options = &Mapping::new();
        let contents =
            Contents { published: NOW, expires, keys, leases, options, unpublished: true };
        LeaseSet2::build(&destination, &contents, key)
    };
    let made = make(later(65_535), &good, &[], &key).unwrap();
    assert!(made.is_unpublished() && made.verify().is_ok());
    assert_eq!(make(later(65_536), &good, &[], &key), Err(BuildError::Expiry));
    let past = NOW - core::time::Duration::from_secs(1);
    assert_eq!(make(past, &good, &[], &key), Err(BuildError::Expiry));
    assert_eq!(make(later(600), &[], &[], &key), Err(BuildError::Keys));
    assert_eq!(make(later(600), &good, &leases(17), &key), Err(BuildError::Leases));
    let stranger = SigningKey::from_seed([1; 32]);
    assert_eq!(make(later(600), &good, &[], &stranger), Err(BuildError::Key));
}

#[test]
fn counts_over_the_limits_are_refused() {
    let bytes = build(16).as_bytes().to_vec();
    let at = bytes.len() - 64 - 16 * 40 - 1;
    assert_eq!(bytes[at], 16);
    let mut bad = bytes.clone();
    bad[at] = 17;
    assert_eq!(LeaseSet::decode(3, &bad), Err(DecodeError::TooLarge("lease count")));
    let (_, destination) = ours();
    bad[destination.as_bytes().len() + 8 + 2] = 17;
    assert_eq!(LeaseSet::decode(3, &bad), Err(DecodeError::TooLarge("encryption key count")));
}
