use super::*;

#[test]
fn codes_are_those_of_the_specification() {
    let codes: alloc::vec::Vec<_> = PacketType::ALL.iter().map(|t| t.code()).collect();
    assert_eq!(codes, [0, 1, 2, 6, 7, 9, 10, 11]);
    for code in 0..=u8::MAX {
        let kind = PacketType::from_code(code);
        assert_eq!(kind.is_some(), codes.contains(&code), "{code}");
        assert!(kind.is_none_or(|kind| kind.code() == code));
    }
}

#[test]
fn sizes_are_those_of_the_specification() {
    use Family::{V4, V6};
    use PacketType as T;
    for (kind, header, protected, min) in [
        (T::SessionRequest, 32, 64, 88),
        (T::SessionCreated, 32, 64, 88),
        (T::SessionConfirmed, 16, 16, 40),
        (T::Data, 16, 16, 40),
        (T::PeerTest, 32, 32, 56),
        (T::Retry, 32, 32, 56),
        (T::TokenRequest, 32, 32, 56),
        (T::HolePunch, 32, 32, 56),
    ] {
        assert_eq!(
            (kind.header_len(), kind.protected_len(), kind.min_len()),
            (header, protected, min)
        );
    }
    // "Max I2NP Message Size", and the payloads of the handshake.
    for (kind, mtu, family, payload) in [
        (T::Data, 1500, V4, 1440),
        (T::Data, 1280, V4, 1220),
        (T::Data, 1500, V6, 1420),
        (T::Data, 1280, V6, 1200),
        (T::SessionRequest, 1500, V4, 1500 - 108),
        (T::SessionCreated, 1280, V6, 1280 - 128),
        (T::SessionConfirmed, 1500, V6, 1372),
        (T::SessionConfirmed, 1280, V4, 1280 - 108),
        (T::Retry, 1280, V4, 1280 - 76),
        (T::HolePunch, 1280, V6, 1280 - 96),
        (T::Data, 0, V6, 0),
    ] {
        assert_eq!(kind.max_payload(mtu, family), payload, "{kind:?} {mtu} {family:?}");
    }
    assert_eq!((MIN_PACKET_LEN, MAX_PACKET_LEN, MIN_PAYLOAD_LEN), (40, 1472, 8));
    assert_eq!((V4.packet_len(MIN_MTU), V6.packet_len(MAX_MTU)), (1252, 1452));
    assert_eq!(Family::of([192, 0, 2, 1].into()), V4);
    assert_eq!(Family::of([0_u16; 8].into()), V6);
}
