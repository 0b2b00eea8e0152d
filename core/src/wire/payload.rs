//! The gzip container around what applications send (documentation `protocol/i2cp`): ports and
//! protocol sit in header fields that gzip does not need.

use super::codec::{DecodeError, Reader};
use super::gzip;
use alloc::vec::Vec;

/// The most that a payload may inflate to.
pub const MAX_PAYLOAD_LEN: usize = 64 * 1024;

/// What the data of a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Streaming packets.
    pub const STREAMING: Self = Self(6);
    /// Repliable datagrams, first kind.
    pub const DATAGRAM: Self = Self(17);
    /// Raw datagrams.
    pub const RAW: Self = Self(18);
    /// Repliable datagrams, second kind.
    pub const DATAGRAM2: Self = Self(19);
    /// Datagrams with only the sender's hash.
    pub const DATAGRAM3: Self = Self(20);
}

/// What one application sends another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The sender's port; 0 when it has none.
    pub from_port: u16,
    /// The receiver's port; 0 when it has none.
    pub to_port: u16,
    /// What the data is.
    pub protocol: Protocol,
    /// The data.
    pub data: Vec<u8>,
}

impl Payload {
    /// Decodes one gzip member that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let header = gzip::Header::decode(&mut r)?;
        let mut ports = Reader::new(&header.mtime);
        let (from_port, to_port) = (ports.u16()?, ports.u16()?);
        let data = gzip::body(r.rest(), MAX_PAYLOAD_LEN)?;
        Ok(Self { from_port, to_port, protocol: Protocol(header.os), data })
    }

    /// Appends it with the data stored as it is: what is worth compressing was compressed by
    /// the application.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_stored(self.from_port, self.to_port, self.protocol, &self.data, out);
    }

    /// Appends it with the data compressed.
    pub fn encode_compressed(&self, out: &mut Vec<u8>) {
        let header = header(self.from_port, self.to_port, self.protocol);
        gzip::put_member(&header, &gzip::deflate(&self.data), &self.data, out);
    }
}

/// As [`Payload::encode`], without the struct.
pub fn encode_stored(
    from_port: u16,
    to_port: u16,
    protocol: Protocol,
    data: &[u8],
    out: &mut Vec<u8>,
) {
    gzip::put_stored_member(&header(from_port, to_port, protocol), data, out);
}

fn header(from_port: u16, to_port: u16, protocol: Protocol) -> gzip::Header {
    let [a, b] = from_port.to_be_bytes();
    let [c, d] = to_port.to_be_bytes();
    gzip::Header { mtime: [a, b, c, d], xfl: 2, os: protocol.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn payload(data: Vec<u8>) -> Payload {
        Payload { from_port: 0x1234, to_port: 80, protocol: Protocol::STREAMING, data }
    }

    #[test]
    fn ports_and_protocol_lie_in_unused_header_fields() {
        let mut bytes = Vec::new();
        payload(b"data".to_vec()).encode(&mut bytes);
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0x12, 0x34, 0, 80, 2, 6]);
        // One final stored block, as other routers write it.
        assert_eq!(bytes[10..19], [1, 4, 0, 0xfb, 0xff, b'd', b'a', b't', b'a']);
    }

    #[test]
    fn both_forms_round_trip() {
        for len in [0, 1, 1812, 65_535, MAX_PAYLOAD_LEN] {
            let payload = payload(vec![7; len]);
            let (mut stored, mut compressed) = (Vec::new(), Vec::new());
            payload.encode(&mut stored);
            payload.encode_compressed(&mut compressed);
            assert_eq!(Payload::decode(&stored).unwrap(), payload);
            assert_eq!(Payload::decode(&compressed).unwrap(), payload);
            assert!(len < 100 || compressed.len() < stored.len() / 10);
        }
    }

    #[test]
    fn too_much_data_every_cut_and_every_trailing_byte_is_refused() {
        let mut bytes = Vec::new();
        payload(vec![7; MAX_PAYLOAD_LEN + 1]).encode_compressed(&mut bytes);
        assert_eq!(Payload::decode(&bytes), Err(DecodeError::TooLarge("gzip content")));
        bytes.clear();
        payload(b"data".to_vec()).encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(Payload::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        bytes.push(0);
        assert!(Payload::decode(&bytes).is_err());
    }
}
