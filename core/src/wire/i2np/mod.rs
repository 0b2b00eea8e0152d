//! I2NP messages (specification `i2np`).

mod bodies;
mod lookup;
mod store;

pub use bodies::{DeliveryStatus, TunnelGateway, sized};
pub use lookup::{DatabaseLookup, DatabaseSearchReply, LookupType, MAX_EXCLUDED, ReplyEncryption};
pub use store::{DatabaseStore, STORE_ROUTER_INFO, StoreEntry, StoreReply};

use super::codec::{DecodeError, Put, Reader};
use crate::crypto::hash::sha256;
use crate::time::UnixTime;
use alloc::vec::Vec;

/// The type byte of an I2NP message; unknown ones are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(pub u8);

impl MessageType {
    /// DatabaseStore.
    pub const DATABASE_STORE: Self = Self(1);
    /// DatabaseLookup.
    pub const DATABASE_LOOKUP: Self = Self(2);
    /// DatabaseSearchReply.
    pub const DATABASE_SEARCH_REPLY: Self = Self(3);
    /// DeliveryStatus.
    pub const DELIVERY_STATUS: Self = Self(10);
    /// Garlic.
    pub const GARLIC: Self = Self(11);
    /// TunnelData.
    pub const TUNNEL_DATA: Self = Self(18);
    /// TunnelGateway.
    pub const TUNNEL_GATEWAY: Self = Self(19);
    /// Data.
    pub const DATA: Self = Self(20);
    /// TunnelBuild, eight long records.
    pub const TUNNEL_BUILD: Self = Self(21);
    /// TunnelBuildReply.
    pub const TUNNEL_BUILD_REPLY: Self = Self(22);
    /// VariableTunnelBuild, long records.
    pub const VARIABLE_TUNNEL_BUILD: Self = Self(23);
    /// VariableTunnelBuildReply.
    pub const VARIABLE_TUNNEL_BUILD_REPLY: Self = Self(24);
    /// ShortTunnelBuild.
    pub const SHORT_TUNNEL_BUILD: Self = Self(25);
    /// OutboundTunnelBuildReply.
    pub const OUTBOUND_TUNNEL_BUILD_REPLY: Self = Self(26);
}

/// Bytes of the header that NTCP2, SSU2 and garlic cloves carry.
pub const SHORT_HEADER_LEN: usize = 9;
/// Bytes of the header that tunnels carry.
pub const FULL_HEADER_LEN: usize = 16;
/// The largest body that every implementation takes.
pub const MAX_BODY_LEN: usize = 61 * 1024;

/// One I2NP message: header fields and the body, which is decoded only where it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the body is.
    pub kind: MessageType,
    /// Random id; fixed by the records for build messages.
    pub id: u32,
    /// When it is worthless.
    pub expires: UnixTime,
    /// The body.
    pub body: Vec<u8>,
}

impl Message {
    /// Decodes the 9-byte header form; the body is everything after it.
    pub fn decode_short(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let kind = MessageType(r.u8()?);
        let id = r.u32()?;
        let expires = UnixTime::from_secs(r.u32()?.into());
        let body = r.rest();
        if body.len() > u16::MAX.into() {
            return Err(DecodeError::TooLarge("I2NP body"));
        }
        Ok(Self { kind, id, expires, body: body.to_vec() })
    }

    /// Appends the 9-byte header form.
    pub fn encode_short(&self, out: &mut Vec<u8>) {
        out.put_u8(self.kind.0);
        out.put_u32(self.id);
        out.put_u32(self.expires.as_secs());
        out.put(&self.body);
    }

    /// Bytes of the 9-byte header form.
    #[must_use]
    pub const fn short_len(&self) -> usize {
        SHORT_HEADER_LEN + self.body.len()
    }

    /// Decodes the 16-byte header form. The checksum is not verified: the tunnel message or AEAD
    /// around it already covers every byte, and some routers leave it zero.
    pub fn decode_full(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let kind = MessageType(r.u8()?);
        let id = r.u32()?;
        let expires = UnixTime::from_millis(r.u64()?);
        let size = r.u16()?;
        let _checksum = r.u8()?;
        let body = r.take(size.into())?;
        r.finish()?;
        Ok(Self { kind, id, expires, body: body.to_vec() })
    }

    /// Appends the 16-byte header form, with a checksum made afresh (some routers verify it).
    /// Bodies over 65,535 bytes cannot be expressed and are refused.
    pub fn encode_full(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let size =
            u16::try_from(self.body.len()).map_err(|_| DecodeError::TooLarge("I2NP body"))?;
        let [checksum, ..] = sha256(&self.body);
        out.put_u8(self.kind.0);
        out.put_u32(self.id);
        out.put_u64(self.expires.as_millis());
        out.put_u16(size);
        out.put_u8(checksum);
        out.put(&self.body);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            kind: MessageType::DATA,
            id: 7,
            expires: UnixTime::from_secs(1_800_000_000),
            body: b"body".to_vec(),
        }
    }

    #[test]
    fn both_headers_round_trip_and_every_cut_is_refused() {
        let (mut short, mut full) = (Vec::new(), Vec::new());
        message().encode_short(&mut short);
        message().encode_full(&mut full).unwrap();
        assert_eq!(Message::decode_short(&short), Ok(message()));
        assert_eq!(Message::decode_full(&full), Ok(message()));
        for cut in 0..SHORT_HEADER_LEN {
            assert!(Message::decode_short(&short[..cut]).is_err());
        }
        for cut in 0..full.len() {
            assert!(Message::decode_full(&full[..cut]).is_err());
        }
        full.push(0);
        assert_eq!(Message::decode_full(&full), Err(DecodeError::Trailing));
    }
}
