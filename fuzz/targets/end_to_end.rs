//! What destinations say to each other.

use super::input::Input;
use super::test_destination;
use ramson_core::datagram;
use ramson_core::time::UnixTime;
use ramson_core::wire::datagram::{Datagram1, Datagram2, Datagram3};
use ramson_core::wire::payload::Protocol;
use ramson_core::wire::streaming::{Flags, HEADER_LEN, Nacks, Outgoing, Packet};

/// The frame of a packet, its options, and its signature.
pub fn streaming_packet(data: &[u8]) {
    let Ok(packet) = Packet::decode(data) else { return };
    assert!(data.len() >= HEADER_LEN && data.ends_with(packet.payload));
    let (us, _) = test_destination();
    if packet.flags.has(Flags::OFFLINE) && !packet.flags.has(Flags::FROM) {
        assert!(packet.options(None).is_err(), "an offline block of unknown length");
    }
    for known in [None, Some(us)] {
        let Ok(options) = packet.options(known) else { continue };
        let from = options.from.as_ref().unwrap_or(us);
        assert_eq!(options.signature.is_some(), packet.flags.has(Flags::SIGNATURE));
        let _ = packet.verify(&options, from.signing_key(), None, UnixTime::from_secs(1));
    }
    let nacks: Vec<u32> = packet.nacks().collect();
    assert!(nacks.len() <= 255);
    let recipient = packet.recipient();
    assert!(recipient.is_none() || nacks.len() == 8);
    // Without options it can be written again.
    let described = Flags::DELAY.with(Flags::FROM).with(Flags::MAX_SIZE).with(Flags::SIGNATURE);
    if packet.flags.0 & described.0 == 0 && packet.options(None).is_ok() {
        let mut out = Vec::new();
        Outgoing {
            send_stream: packet.send_stream,
            receive_stream: packet.receive_stream,
            sequence: packet.sequence,
            ack_through: packet.ack_through,
            nacks: match &recipient {
                Some(hash) => Nacks::Recipient(hash),
                None => Nacks::Missing(&nacks),
            },
            resend_delay: packet.resend_delay,
            flags: packet.flags,
            payload: [packet.payload, &[]],
            ..Outgoing::default()
        }
        .encode(&mut out);
        assert_eq!(out, data);
    }
}

/// The first byte is the protocol number.
pub fn datagrams(data: &[u8]) {
    let mut input = Input::new(data);
    let protocol = Protocol(input.u8());
    let bytes = input.rest();
    let (us, _) = test_destination();
    if let Ok(received) = datagram::receive(protocol, bytes, &us.hash(), UnixTime::from_secs(1)) {
        assert!(received.payload.len() <= bytes.len());
    }
    match protocol {
        Protocol::DATAGRAM => {
            let Ok(datagram) = Datagram1::decode(bytes) else { return };
            let mut out = Vec::new();
            datagram.encode(&mut out);
            assert_eq!(out, bytes);
        }
        Protocol::DATAGRAM2 => {
            let Ok(datagram) = Datagram2::decode(bytes) else { return };
            assert!(datagram.payload.len() + datagram.signature.len() <= bytes.len());
            let mut signed = Vec::new();
            let offline = datagram.offline.as_ref();
            Datagram2::encode_signed(&datagram.options, offline, datagram.payload, &mut signed);
            let whole = [datagram.from.as_bytes(), &signed, datagram.signature].concat();
            let again = Datagram2::decode(&whole).unwrap();
            assert_eq!((&again.from, again.payload), (&datagram.from, datagram.payload));
            assert_eq!(again.offline, datagram.offline);
        }
        Protocol::DATAGRAM3 => {
            let Ok(datagram) = Datagram3::decode(bytes) else { return };
            let mut out = Vec::new();
            datagram.encode(&mut out);
            let again = Datagram3::decode(&out).unwrap();
            assert_eq!((again.from, again.payload), (datagram.from, datagram.payload));
        }
        _ => {}
    }
}
