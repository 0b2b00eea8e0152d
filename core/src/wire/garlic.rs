//! Garlic cloves and the payload blocks of ECIES garlic messages (specifications `ecies`,
//! section 5, and `i2np`, "Garlic Clove Delivery Instructions").

use super::codec::{DecodeError, Put, Reader};
use super::hash::Hash;
use super::i2np::Message;
use crate::crypto::x25519::PublicKey;
use crate::time::UnixTime;
use alloc::vec::Vec;

/// Bytes of a block's type and length.
pub const BLOCK_HEADER_LEN: usize = 3;
/// Bytes of a DateTime block with its header.
pub const DATE_TIME_BLOCK_LEN: usize = BLOCK_HEADER_LEN + 4;
/// The largest key id of a DH ratchet.
pub const MAX_KEY_ID: u16 = 32_767;

const DATE_TIME: u8 = 0;
const TERMINATION: u8 = 4;
const OPTIONS: u8 = 5;
const MESSAGE_NUMBER: u8 = 6;
const NEXT_KEY: u8 = 7;
const ACK: u8 = 8;
const ACK_REQUEST: u8 = 9;
const CLOVE: u8 = 11;
const PADDING: u8 = 254;

/// Where a clove goes once the garlic message around it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To whoever opened it.
    Local,
    /// To a destination of the router that opened it.
    Destination(Hash),
    /// To another router.
    Router(Hash),
    /// Into a tunnel.
    Tunnel {
        /// The tunnel's inbound gateway.
        gateway: Hash,
        /// The tunnel's id there, never 0.
        tunnel: u32,
    },
}

impl Delivery {
    /// Decodes the flag byte and, unlike in tunnel messages, the hash **before** the tunnel id.
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = r.u8()?;
        // Bits 7 and 4 would announce a session key and a delay, which nobody ever sent; the low
        // bits are reserved and ignored.
        if flags & 0b1001_0000 != 0 {
            return Err(DecodeError::Invalid("clove flags"));
        }
        match flags >> 5 {
            0 => Ok(Self::Local),
            1 => Ok(Self::Destination(Hash(r.array()?))),
            2 => Ok(Self::Router(Hash(r.array()?))),
            _ => {
                let gateway = Hash(r.array()?);
                match r.u32()? {
                    0 => Err(DecodeError::Invalid("clove tunnel id")),
                    tunnel => Ok(Self::Tunnel { gateway, tunnel }),
                }
            }
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Local => out.put_u8(0),
            Self::Destination(hash) => {
                out.put_u8(1 << 5);
                out.put(hash.as_bytes());
            }
            Self::Router(hash) => {
                out.put_u8(2 << 5);
                out.put(hash.as_bytes());
            }
            Self::Tunnel { gateway, tunnel } => {
                out.put_u8(3 << 5);
                out.put(gateway.as_bytes());
                out.put_u32(*tunnel);
            }
        }
    }

    /// Bytes of the encoding.
    const fn encoded_len(&self) -> usize {
        match self {
            Self::Local => 1,
            Self::Destination(_) | Self::Router(_) => 33,
            Self::Tunnel { .. } => 37,
        }
    }
}

/// One message inside a garlic message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clove {
    /// Where it goes.
    pub delivery: Delivery,
    /// The message.
    pub message: Message,
}

impl Clove {
    /// Decodes a clove block's data.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let delivery = Delivery::decode(&mut r)?;
        Ok(Self { delivery, message: Message::decode_short(r.rest())? })
    }

    /// Appends the whole block, header included.
    pub fn encode_block(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        put_header(CLOVE, self.block_len() - BLOCK_HEADER_LEN, out)?;
        self.delivery.encode(out);
        self.message.encode_short(out);
        Ok(())
    }

    /// Bytes of the whole block.
    #[must_use]
    pub const fn block_len(&self) -> usize {
        BLOCK_HEADER_LEN + self.delivery.encoded_len() + self.message.short_len()
    }
}

/// A step of the DH ratchet (specification `ecies`, "Next DH Ratchet Public Key").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextKey {
    /// Which key of its owner, from 0 on; at most [`MAX_KEY_ID`].
    pub id: u16,
    /// The key, unless its owner keeps using the one sent before.
    pub key: Option<PublicKey>,
    /// From the receiver of the tags (an answer) rather than from their sender.
    pub reverse: bool,
    /// The sender asks the receiver for a new key too.
    pub request_reverse: bool,
}

impl NextKey {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let flags = r.u8()?;
        let id = r.u16()?;
        if id > MAX_KEY_ID {
            return Err(DecodeError::Invalid("key id"));
        }
        let key = if flags & 1 != 0 { Some(PublicKey(r.array()?)) } else { None };
        r.finish()?;
        Ok(Self { id, key, reverse: flags & 2 != 0, request_reverse: flags & 4 != 0 })
    }

    fn encode_block(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        put_header(NEXT_KEY, self.block_len() - BLOCK_HEADER_LEN, out)?;
        out.put_u8(
            u8::from(self.key.is_some())
                | u8::from(self.reverse) << 1
                | u8::from(self.request_reverse) << 2,
        );
        out.put_u16(self.id);
        if let Some(key) = &self.key {
            out.put(&key.0);
        }
        Ok(())
    }

    /// Bytes of the whole block.
    #[must_use]
    pub const fn block_len(&self) -> usize {
        BLOCK_HEADER_LEN + if self.key.is_some() { 35 } else { 3 }
    }
}

/// Names one message of one direction of a session: what an Ack acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageNumber {
    /// The tag set.
    pub set: u16,
    /// The message's index in it.
    pub index: u16,
}

/// One block of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// When the message was made, in whole seconds.
    DateTime(UnixTime),
    /// The session ends.
    Termination {
        /// Why; 0 is normal.
        reason: u8,
        /// Unspecified.
        data: &'a [u8],
    },
    /// Session options, which no implementation acts on.
    Options(&'a [u8]),
    /// Index of the last message sent in the previous tag set.
    PreviousNumber(u16),
    /// A step of the DH ratchet.
    NextKey(NextKey),
    /// Messages that asked for it have arrived.
    Ack(Vec<MessageNumber>),
    /// Asks for an Ack of this message.
    AckRequest,
    /// A message.
    Clove(Clove),
    /// Zeros, that many.
    Padding(usize),
    /// A type from the future, to be ignored.
    Unknown {
        /// Its type.
        kind: u8,
        /// Its data.
        data: &'a [u8],
    },
}

impl<'a> Block<'a> {
    /// Decodes the next block.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u8()?;
        let len = r.u16()?;
        let data = r.take(len.into())?;
        let mut r = Reader::new(data);
        let block = match kind {
            DATE_TIME => Self::DateTime(UnixTime::from_secs(r.u32()?.into())),
            TERMINATION => Self::Termination { reason: r.u8()?, data: r.rest() },
            OPTIONS => Self::Options(r.rest()),
            MESSAGE_NUMBER => Self::PreviousNumber(r.u16()?),
            NEXT_KEY => Self::NextKey(NextKey::decode(r.rest())?),
            ACK => {
                let mut acks = Vec::with_capacity(r.remaining() / 4);
                while !r.is_empty() {
                    acks.push(MessageNumber { set: r.u16()?, index: r.u16()? });
                }
                Self::Ack(acks)
            }
            ACK_REQUEST => {
                let _flags = r.u8()?;
                Self::AckRequest
            }
            CLOVE => Self::Clove(Clove::decode(r.rest())?),
            PADDING => Self::Padding(r.rest().len()),
            kind => Self::Unknown { kind, data: r.rest() },
        };
        r.finish()?;
        Ok(block)
    }

    /// Appends the block with its header.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match self {
            Self::DateTime(time) => {
                put_header(DATE_TIME, 4, out)?;
                out.put_u32(time.as_secs());
            }
            Self::Termination { reason, data } => {
                put_header(TERMINATION, 1 + data.len(), out)?;
                out.put_u8(*reason);
                out.put(data);
            }
            Self::Options(data) => {
                put_header(OPTIONS, data.len(), out)?;
                out.put(data);
            }
            Self::PreviousNumber(index) => {
                put_header(MESSAGE_NUMBER, 2, out)?;
                out.put_u16(*index);
            }
            Self::NextKey(next) => next.encode_block(out)?,
            Self::Ack(acks) => {
                put_header(ACK, acks.len().saturating_mul(4), out)?;
                for ack in acks {
                    out.put_u16(ack.set);
                    out.put_u16(ack.index);
                }
            }
            Self::AckRequest => {
                put_header(ACK_REQUEST, 1, out)?;
                out.put_u8(0);
            }
            Self::Clove(clove) => clove.encode_block(out)?,
            Self::Padding(len) => {
                put_header(PADDING, *len, out)?;
                out.resize(out.len() + len, 0);
            }
            Self::Unknown { kind, data } => {
                put_header(*kind, data.len(), out)?;
                out.put(data);
            }
        }
        Ok(())
    }
}

fn put_header(kind: u8, len: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let len = u16::try_from(len).map_err(|_| DecodeError::TooLarge("garlic block"))?;
    out.put_u8(kind);
    out.put_u16(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::i2np::MessageType;
    use alloc::vec;

    fn clove(delivery: Delivery) -> Clove {
        let expires = UnixTime::from_secs(1_800_000_000);
        let message = Message { kind: MessageType::DATA, id: 9, expires, body: b"body".to_vec() };
        Clove { delivery, message }
    }

    fn next_key(key: Option<PublicKey>, reverse: bool, request_reverse: bool) -> NextKey {
        NextKey { id: 3, key, reverse, request_reverse }
    }

    fn all_kinds() -> Vec<Block<'static>> {
        let key = Some(PublicKey([7; 32]));
        let number = |set, index| MessageNumber { set, index };
        vec![
            Block::DateTime(UnixTime::from_secs(1_700_000_000)),
            Block::Termination { reason: 1, data: b"why" },
            Block::Termination { reason: 0, data: b"" },
            Block::Options(&[0; 21]),
            Block::PreviousNumber(4095),
            Block::NextKey(next_key(key, false, true)),
            Block::NextKey(next_key(None, true, false)),
            Block::Ack(vec![number(0, 5), number(1, 65_534)]),
            Block::AckRequest,
            Block::Clove(clove(Delivery::Local)),
            Block::Clove(clove(Delivery::Destination(Hash([1; 32])))),
            Block::Clove(clove(Delivery::Router(Hash([2; 32])))),
            Block::Clove(clove(Delivery::Tunnel { gateway: Hash([3; 32]), tunnel: 4 })),
            Block::Padding(15),
            Block::Padding(0),
            Block::Unknown { kind: 224, data: b"experiment" },
        ]
    }

    #[test]
    fn every_block_round_trips_and_every_cut_is_refused() {
        for block in all_kinds() {
            let mut bytes = Vec::new();
            block.encode(&mut bytes).unwrap();
            let mut r = Reader::new(&bytes);
            assert_eq!(Block::decode(&mut r).as_ref(), Ok(&block));
            assert!(r.is_empty());
            for cut in 0..bytes.len() {
                assert!(Block::decode(&mut Reader::new(&bytes[..cut])).is_err(), "{block:?}");
            }
        }
    }

    #[test]
    fn blocks_of_fixed_size_refuse_trailing_bytes_and_missing_ones() {
        let key = Some(PublicKey([7; 32]));
        for block in [
            Block::DateTime(UnixTime::from_secs(1)),
            Block::PreviousNumber(1),
            Block::NextKey(next_key(key, false, false)),
            Block::NextKey(next_key(None, false, false)),
            Block::AckRequest,
            Block::Ack(vec![MessageNumber { set: 1, index: 1 }]),
        ] {
            let mut bytes = Vec::new();
            block.encode(&mut bytes).unwrap();
            let mut longer = bytes.clone();
            longer.push(0);
            longer[2] += 1;
            assert!(Block::decode(&mut Reader::new(&longer)).is_err(), "{block:?}");
            bytes.pop();
            bytes[2] -= 1;
            assert!(Block::decode(&mut Reader::new(&bytes)).is_err(), "{block:?}");
        }
    }

    // Hash first, tunnel id second: the other way round than in tunnel messages.
    #[test]
    fn clove_layout() {
        let mut bytes = Vec::new();
        let delivery = Delivery::Tunnel { gateway: Hash([3; 32]), tunnel: 0x0102_0304 };
        clove(delivery).encode_block(&mut bytes).unwrap();
        let mut want = vec![11, 0, 37 + 9 + 4, 0x60];
        want.extend([3; 32]);
        want.extend([1, 2, 3, 4]);
        want.extend([20, 0, 0, 0, 9, 0x6b, 0x49, 0xd2, 0x00]);
        want.extend(b"body");
        assert_eq!(bytes, want);
        assert_eq!(bytes.len(), clove(delivery).block_len());
    }

    #[test]
    fn impossible_fields_are_refused() {
        for flags in [0x80, 0x10] {
            let mut bytes = vec![flags];
            bytes.extend([0; 9]);
            assert_eq!(Clove::decode(&bytes), Err(DecodeError::Invalid("clove flags")));
        }
        let mut zero_tunnel = vec![0x60];
        zero_tunnel.extend([0; 36 + 9]);
        assert_eq!(Clove::decode(&zero_tunnel), Err(DecodeError::Invalid("clove tunnel id")));
        assert_eq!(NextKey::decode(&[0, 0x80, 0]), Err(DecodeError::Invalid("key id")));
    }

    #[test]
    fn what_no_block_can_hold_is_refused() {
        let mut big = clove(Delivery::Local);
        big.message.body = vec![0; 65_535 - 9];
        assert!(big.encode_block(&mut Vec::new()).is_err());
        big.message.body.pop();
        assert!(big.encode_block(&mut Vec::new()).is_ok());
    }
}
