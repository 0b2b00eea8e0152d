use super::*;
use crate::crypto::x25519;
use crate::rng::{Rng, Seed};

fn rng() -> Rng {
    Rng::new(&Seed::from_number(8))
}

fn destination(rng: &mut Rng) -> (Identity, SigningKey) {
    let key = SigningKey::generate(rng);
    let identity = Identity::new_destination(x25519::PublicKey(rng.bytes()), &key.public(), rng);
    (identity, key)
}

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A first SYN with every option that goes into one.
fn syn(from: &Identity, key: &SigningKey, to: &Hash) -> Vec<u8> {
    let mut out = Vec::new();
    Outgoing {
        receive_stream: 7,
        nacks: Nacks::Recipient(to),
        resend_delay: 2,
        flags: Flags::SYNCHRONIZE.with(Flags::NO_ACK),
        delay: Some(250),
        from: Some(from),
        max_size: Some(1812),
        sign: Some(key),
        payload: [b"GET ", b"/"],
        ..Outgoing::default()
    }
    .encode(&mut out);
    out
}

#[test]
fn a_syn_round_trips_and_verifies() {
    let rng = &mut rng();
    let (from, key) = destination(rng);
    let to = Hash::of(b"to");
    let bytes = syn(&from, &key, &to);
    let packet = Packet::decode(&bytes).unwrap();
    assert!(packet.is_syn() && !packet.is_pure_ack());
    assert_eq!(packet.flags.0, 0x001 | 0x400 | 0x040 | 0x020 | 0x080 | 0x008);
    assert_eq!((packet.send_stream, packet.receive_stream, packet.sequence), (0, 7, 0));
    assert_eq!(packet.recipient(), Some(to));
    assert_eq!(packet.resend_delay, 2);
    assert_eq!(packet.payload, b"GET /");
    let options = packet.options(None).unwrap();
    assert_eq!(options.delay, Some(250));
    assert_eq!(options.from.as_ref(), Some(&from));
    assert_eq!(options.max_size, Some(1812));
    packet.verify(&options, from.signing_key(), None, UNIX).unwrap();
}

/// The layout, by hand: what other routers read.
#[test]
fn options_stand_in_the_order_of_the_specification() {
    let rng = &mut rng();
    let (from, key) = destination(rng);
    let bytes = syn(&from, &key, &Hash::of(b"to"));
    let options = 17 + 32 + 1 + 2 + 2;
    assert_eq!(bytes[16], 8);
    assert_eq!(bytes[17..49], Hash::of(b"to").0);
    let size = 2 + from.as_bytes().len() + 2 + 64;
    assert_eq!(bytes[options - 2..options], (size as u16).to_be_bytes());
    assert_eq!(bytes[options..options + 2], 250u16.to_be_bytes());
    assert_eq!(&bytes[options + 2..options + 2 + from.as_bytes().len()], from.as_bytes());
    let max_size = options + 2 + from.as_bytes().len();
    assert_eq!(bytes[max_size..max_size + 2], 1812u16.to_be_bytes());
    assert_eq!(&bytes[options + size..], b"GET /");
}

#[test]
fn a_changed_bit_anywhere_fails_the_signature() {
    let rng = &mut rng();
    let (from, key) = destination(rng);
    let good = syn(&from, &key, &Hash::of(b"to"));
    for byte in (0..good.len()).step_by(7).chain(good.len() - 75..good.len()) {
        let mut bad = good.clone();
        bad[byte] ^= 0x10;
        let Ok(packet) = Packet::decode(&bad) else { continue };
        let Ok(options) = packet.options(None) else { continue };
        let verified = packet.verify(&options, from.signing_key(), None, UNIX);
        assert!(verified.is_err(), "byte {byte}");
    }
}

#[test]
fn every_cut_of_the_header_is_refused() {
    let rng = &mut rng();
    let (from, key) = destination(rng);
    let bytes = syn(&from, &key, &Hash::of(b"to"));
    let payload_at = bytes.len() - 5;
    for cut in 0..payload_at {
        assert_eq!(Packet::decode(&bytes[..cut]).unwrap_err(), DecodeError::Truncated, "{cut}");
    }
    // A cut payload is a shorter payload, and the signature knows.
    for cut in payload_at..bytes.len() {
        let packet = Packet::decode(&bytes[..cut]).unwrap();
        let options = packet.options(None).unwrap();
        assert!(packet.verify(&options, from.signing_key(), None, UNIX).is_err());
    }
}

#[test]
fn cut_options_are_refused_and_so_are_bytes_after_them() {
    let rng = &mut rng();
    let (from, _) = destination(rng);
    let mut whole = Vec::new();
    whole.put_u16(9);
    whole.put(from.as_bytes());
    whole.put_u16(1812);
    let packet = |options: &[u8]| {
        let mut bytes = alloc::vec![0; 18];
        bytes.put_u16(0x040 | 0x020 | 0x080);
        bytes.put_u16(options.len() as u16);
        bytes.put(options);
        Packet::decode(&bytes).unwrap().options(None).map(|o| (o.delay, o.max_size))
    };
    assert_eq!(packet(&whole), Ok((Some(9), Some(1812))));
    for cut in 0..whole.len() {
        assert!(packet(&whole[..cut]).is_err(), "{cut}");
    }
    whole.push(0);
    assert_eq!(packet(&whole), Err(DecodeError::Trailing));
}

#[test]
fn nacks_round_trip_up_to_255() {
    for count in [0u32, 1, 7, 8, 9, 255, 300] {
        let missing: Vec<u32> = (0..count).map(|n| n * 3).collect();
        let mut bytes = Vec::new();
        Outgoing { ack_through: 1000, nacks: Nacks::Missing(&missing), ..Outgoing::default() }
            .encode(&mut bytes);
        let packet = Packet::decode(&bytes).unwrap();
        assert!(packet.is_pure_ack());
        assert_eq!(packet.recipient(), None);
        assert!(packet.nacks().eq(missing.iter().copied().take(255)));
    }
}

#[test]
fn a_transient_key_signs_until_it_expires() {
    let rng = &mut rng();
    let (from, long_term) = destination(rng);
    let transient = SigningKey::generate(rng);
    let mut offline =
        OfflineSignature { expires: UNIX, key: transient.public(), signature: Vec::new() };
    let mut signed = Vec::new();
    offline.encode(&mut signed);
    offline.signature = long_term.sign(&signed).to_vec();

    // We never sign so ourselves: put the packet together by hand.
    let mut bytes = alloc::vec![0; 18];
    let flags = Flags::SYNCHRONIZE.with(Flags::FROM).with(Flags::OFFLINE).with(Flags::SIGNATURE);
    bytes.put_u16(flags.0);
    let mut options = from.as_bytes().to_vec();
    offline.encode(&mut options);
    options.put(&[0; 64]);
    bytes.put_u16(options.len() as u16);
    bytes.put(&options);
    let signature_at = bytes.len() - 64;
    bytes.put(b"data");
    let signature = transient.sign(&bytes);
    bytes[signature_at..signature_at + 64].copy_from_slice(&signature);

    let packet = Packet::decode(&bytes).unwrap();
    let options = packet.options(None).unwrap();
    assert_eq!(options.offline.as_ref(), Some(&offline));
    let verify = |unix| packet.verify(&options, from.signing_key(), None, unix);
    let before = UNIX - core::time::Duration::from_secs(1);
    assert_eq!(verify(before), Ok(()));
    assert_eq!(verify(UNIX), Err(BadSignature::Mismatch));

    // Later packets are signed by the same key without saying so again.
    let mut close = Vec::new();
    Outgoing { flags: Flags::CLOSE, sequence: 3, sign: Some(&transient), ..Outgoing::default() }
        .encode(&mut close);
    let packet = Packet::decode(&close).unwrap();
    let options = packet.options(Some(&from)).unwrap();
    let verify = |offline| packet.verify(&options, from.signing_key(), offline, before);
    assert_eq!(verify(Some(&offline)), Ok(()));
    assert_eq!(verify(None), Err(BadSignature::Mismatch));
}
