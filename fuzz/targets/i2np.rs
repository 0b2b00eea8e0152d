//! I2NP headers and the small bodies.

use ramson_core::wire::i2np::{DeliveryStatus, Message, TunnelGateway, sized};

/// Both header forms, and the conversion between them.
pub fn message(data: &[u8]) {
    if let Ok(message) = Message::decode_short(data) {
        let mut out = Vec::new();
        message.encode_short(&mut out);
        assert_eq!(out, data);
        assert_eq!(message.short_len(), data.len());
        let mut full = Vec::new();
        message.encode_full(&mut full).unwrap();
        assert_eq!(Message::decode_full(&full), Ok(message));
    }
    if let Ok(message) = Message::decode_full(data) {
        let mut out = Vec::new();
        message.encode_full(&mut out).unwrap();
        assert_eq!(Message::decode_full(&out), Ok(message));
        // All but the checksum, which is not looked at.
        assert_eq!((&out[..15], &out[16..]), (&data[..15], &data[16..]));
    }
}

/// DeliveryStatus.
pub fn delivery_status(data: &[u8]) {
    let Ok(status) = DeliveryStatus::decode(data) else { return };
    let mut out = Vec::new();
    status.encode(&mut out);
    assert_eq!(out, data);
}

/// TunnelGateway and the message inside.
pub fn tunnel_gateway(data: &[u8]) {
    let Ok(gateway) = TunnelGateway::decode(data) else { return };
    assert_eq!(&data[6..], gateway.data);
    let Ok(message) = gateway.message() else { return };
    let mut out = Vec::new();
    TunnelGateway::encode(gateway.tunnel, &message, &mut out).unwrap();
    let again = TunnelGateway::decode(&out).unwrap();
    assert_eq!((again.tunnel, again.message()), (gateway.tunnel, Ok(message)));
}

/// The length before Data and Garlic.
pub fn sized_body(data: &[u8]) {
    let shared = sized::decode(data).map(<[u8]>::to_vec);
    let mut copy = data.to_vec();
    assert_eq!(sized::decode_mut(&mut copy).map(|c| c.to_vec()), shared);
    if let Ok(content) = shared {
        let mut out = Vec::new();
        sized::encode(&content, &mut out);
        assert_eq!(out, data);
    }
}
