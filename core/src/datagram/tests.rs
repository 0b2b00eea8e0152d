use super::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::x25519;
use crate::rng::{Rng, Seed};
use crate::wire::codec::Put;
use crate::wire::datagram::Datagram2;
use crate::wire::offline::OfflineSignature;
use alloc::sync::Arc;
use alloc::vec::Vec;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const SIGNED: [Protocol; 2] = [Protocol::DATAGRAM, Protocol::DATAGRAM2];
const ALL: [Protocol; 4] =
    [Protocol::DATAGRAM, Protocol::DATAGRAM2, Protocol::DATAGRAM3, Protocol::RAW];

fn to() -> Hash {
    Hash::of(b"to")
}

fn sender() -> (Identity, Arc<SigningKey>) {
    let mut rng = Rng::new(&Seed::from_number(4));
    let key = SigningKey::generate(&mut rng);
    let identity =
        Identity::new_destination(x25519::PublicKey(rng.bytes()), &key.public(), &mut rng);
    (identity, Arc::new(key))
}

fn options() -> Mapping {
    let mut options = Mapping::new();
    options.insert("k", "v").unwrap();
    options
}

fn datagram(protocol: Protocol, options: &Mapping, payload: &[u8]) -> Vec<u8> {
    let (identity, key) = sender();
    let mut out = Vec::new();
    Signer::new(identity, key).encode(protocol, &to(), options, payload, &mut out).unwrap();
    out
}

#[test]
fn every_kind_round_trips() {
    let (identity, _) = sender();
    for protocol in ALL {
        for mapping in [Mapping::new(), options()] {
            for payload in [b"".as_slice(), b"payload"] {
                let bytes = datagram(protocol, &mapping, payload);
                let received = receive(protocol, &bytes, &to(), UNIX).unwrap();
                assert_eq!(received.payload, payload);
                let (from, has_options) = match protocol {
                    Protocol::DATAGRAM => (Sender::Verified(identity.clone()), false),
                    Protocol::DATAGRAM2 => (Sender::Verified(identity.clone()), true),
                    Protocol::DATAGRAM3 => (Sender::Claimed(identity.hash()), true),
                    _ => (Sender::Unknown, false),
                };
                assert_eq!(received.from, from);
                assert_eq!(received.options.get("k"), mapping.get("k").filter(|_| has_options));
            }
        }
    }
}

#[test]
fn every_cut_and_every_changed_byte_of_a_signed_one_is_refused() {
    for protocol in SIGNED {
        let good = datagram(protocol, &options(), b"payload");
        for cut in 0..good.len() {
            assert!(receive(protocol, &good[..cut], &to(), UNIX).is_err(), "{protocol:?} {cut}");
        }
        // `from` itself is not signed: another one has another hash, and its key must fit.
        for byte in (352..384).chain(391..good.len()) {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            assert!(receive(protocol, &bad, &to(), UNIX).is_err(), "{protocol:?} {byte}");
        }
        let mut long = good;
        long.push(0);
        let error = receive(protocol, &long, &to(), UNIX).unwrap_err();
        assert_eq!(error, DatagramError::BadSignature);
    }
}

#[test]
fn cuts_of_the_unsigned_header_are_refused() {
    let good = datagram(Protocol::DATAGRAM3, &options(), b"");
    for cut in 0..good.len() {
        assert!(receive(Protocol::DATAGRAM3, &good[..cut], &to(), UNIX).is_err(), "{cut}");
    }
}

#[test]
fn the_second_kind_cannot_be_replayed_to_somebody_else() {
    let bytes = datagram(Protocol::DATAGRAM2, &Mapping::new(), b"pay 5");
    let error = receive(Protocol::DATAGRAM2, &bytes, &Hash::of(b"other"), UNIX).unwrap_err();
    assert_eq!(error, DatagramError::BadSignature);
    // The kinds differ in their version and must not be taken for each other.
    assert!(receive(Protocol::DATAGRAM, &bytes, &to(), UNIX).is_err());
    let third = datagram(Protocol::DATAGRAM3, &Mapping::new(), b"x");
    assert!(receive(Protocol::DATAGRAM2, &third, &to(), UNIX).is_err());
}

#[test]
fn a_transient_key_signs_until_it_expires() {
    let (identity, long_term) = sender();
    let transient = SigningKey::from_seed([9; 32]);
    let mut offline =
        OfflineSignature { expires: UNIX, key: transient.public(), signature: Vec::new() };
    let mut block = Vec::new();
    offline.encode(&mut block);
    offline.signature = long_term.sign(&block).to_vec();

    let mut signed = to().as_bytes().to_vec();
    Datagram2::encode_signed(&options(), Some(&offline), b"payload", &mut signed);
    let mut bytes = identity.as_bytes().to_vec();
    bytes.put(&signed[32..]);
    bytes.put(&transient.sign(&signed));

    let before = UNIX - core::time::Duration::from_secs(1);
    let received = receive(Protocol::DATAGRAM2, &bytes, &to(), before).unwrap();
    assert_eq!((received.from, received.payload), (Sender::Verified(identity), &b"payload"[..]));
    let late = receive(Protocol::DATAGRAM2, &bytes, &to(), UNIX).unwrap_err();
    assert_eq!(late, DatagramError::Expired);
    for cut in 0..bytes.len() {
        assert!(receive(Protocol::DATAGRAM2, &bytes[..cut], &to(), before).is_err(), "{cut}");
    }
}

#[test]
fn what_is_too_large_or_no_datagram_is_not_sent() {
    let (identity, key) = sender();
    let signer = Signer::new(identity, key);
    let mut out = Vec::new();
    let large = alloc::vec![0; MAX_PAYLOAD_LEN + 1];
    let mapping = Mapping::new();
    let result = signer.encode(Protocol::RAW, &to(), &mapping, &large, &mut out);
    assert_eq!(result, Err(DatagramError::TooLarge));
    let result = signer.encode(Protocol::STREAMING, &to(), &mapping, b"", &mut out);
    assert_eq!(result, Err(DatagramError::NotADatagram(Protocol::STREAMING)));
    assert!(out.is_empty());
}
