//! The small bodies: DeliveryStatus, TunnelGateway, Data and the length before garlic.

use super::Message;
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Put, Reader};
use alloc::vec::Vec;

/// Says that a message arrived; also sent through our own tunnels to test them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// The message's id, or the token of a store.
    pub id: u32,
    /// When it arrived.
    pub time: UnixTime,
}

impl DeliveryStatus {
    /// Decodes a body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let status = Self { id: r.u32()?, time: UnixTime::from_millis(r.u64()?) };
        r.finish()?;
        Ok(status)
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.id);
        out.put_u64(self.time.as_millis());
    }
}

/// A message for a tunnel, on its way to the tunnel's gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelGateway<'a> {
    /// The tunnel's id at the gateway.
    pub tunnel: u32,
    /// The message with its 16-byte header.
    pub data: &'a [u8],
}

impl<'a> TunnelGateway<'a> {
    /// Decodes a body; the message inside stays bytes, since a gateway only passes it on.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let tunnel = r.u32()?;
        let len = r.u16()?;
        let data = r.take(len.into())?;
        r.finish()?;
        Ok(Self { tunnel, data })
    }

    /// The message inside.
    pub fn message(&self) -> Result<Message, DecodeError> {
        Message::decode_full(self.data)
    }

    /// Appends the body that carries `message` to `tunnel`. Messages that do not fit into 65,535
    /// bytes are refused, and `out` is as it was.
    pub fn encode(tunnel: u32, message: &Message, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let len = u16::try_from(message.body.len() + super::FULL_HEADER_LEN)
            .map_err(|_| DecodeError::TooLarge("I2NP body"))?;
        out.put_u32(tunnel);
        out.put_u16(len);
        message.encode_full(out)
    }
}

/// The body of Data and of Garlic: a length in four bytes, then the content.
pub mod sized {
    use super::{DecodeError, Put, Reader, Vec};

    /// The content of a body.
    pub fn decode(body: &[u8]) -> Result<&[u8], DecodeError> {
        let mut r = Reader::new(body);
        let len = usize::try_from(r.u32()?).map_err(|_| DecodeError::TooLarge("length"))?;
        let content = r.take(len)?;
        r.finish()?;
        Ok(content)
    }

    /// As [`decode`], to decrypt in place.
    pub fn decode_mut(body: &mut [u8]) -> Result<&mut [u8], DecodeError> {
        let (len, content) = body.split_first_chunk_mut::<4>().ok_or(DecodeError::Truncated)?;
        match content.len().cmp(&(u32::from_be_bytes(*len) as usize)) {
            core::cmp::Ordering::Less => Err(DecodeError::Truncated),
            core::cmp::Ordering::Equal => Ok(content),
            core::cmp::Ordering::Greater => Err(DecodeError::Trailing),
        }
    }

    /// Appends the body.
    pub fn encode(content: &[u8], out: &mut Vec<u8>) {
        // Bodies are limited to 64 KiB long before this.
        out.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
        out.put(content);
    }
}

#[cfg(test)]
mod tests {
    use super::super::MessageType;
    use super::*;

    #[test]
    fn delivery_status_round_trips_and_every_cut_is_refused() {
        let status = DeliveryStatus { id: 0x0102_0304, time: UnixTime::from_millis(5) };
        let mut body = Vec::new();
        status.encode(&mut body);
        assert_eq!(body, [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(DeliveryStatus::decode(&body), Ok(status));
        for cut in 0..body.len() {
            assert_eq!(DeliveryStatus::decode(&body[..cut]), Err(DecodeError::Truncated));
        }
        body.push(0);
        assert_eq!(DeliveryStatus::decode(&body), Err(DecodeError::Trailing));
    }

    #[test]
    fn tunnel_gateway_carries_a_whole_message() {
        let expires = UnixTime::from_secs(9);
        let message = Message { kind: MessageType::DATA, id: 7, expires, body: b"body".to_vec() };
        let mut body = Vec::new();
        TunnelGateway::encode(42, &message, &mut body).unwrap();
        let gateway = TunnelGateway::decode(&body).unwrap();
        assert_eq!((gateway.tunnel, gateway.data.len()), (42, 20));
        assert_eq!(gateway.message(), Ok(message.clone()));
        for cut in 0..body.len() {
            assert_eq!(TunnelGateway::decode(&body[..cut]), Err(DecodeError::Truncated));
        }
        body.push(0);
        assert_eq!(TunnelGateway::decode(&body), Err(DecodeError::Trailing));
        let huge = Message { body: alloc::vec![0; 65_520], ..message };
        body.clear();
        let refused = TunnelGateway::encode(42, &huge, &mut body);
        assert_eq!((refused, body.len()), (Err(DecodeError::TooLarge("I2NP body")), 0));
    }

    #[test]
    fn sized_bodies_round_trip_and_every_cut_is_refused() {
        let mut body = Vec::new();
        sized::encode(b"content", &mut body);
        assert_eq!(body[..5], [0, 0, 0, 7, b'c']);
        assert_eq!(sized::decode(&body), Ok(b"content".as_slice()));
        assert_eq!(sized::decode_mut(&mut body.clone()).unwrap(), b"content");
        for cut in 0..body.len() {
            assert_eq!(sized::decode(&body[..cut]), Err(DecodeError::Truncated));
            assert_eq!(sized::decode_mut(&mut body[..cut].to_vec()), Err(DecodeError::Truncated));
        }
        body.push(0);
        assert_eq!(sized::decode(&body), Err(DecodeError::Trailing));
        assert_eq!(sized::decode_mut(&mut body), Err(DecodeError::Trailing));
    }
}
