//! The unprotected headers (specification `ssu2`, Packet Header).
//!
//! The bytes of a header are authenticated, those of unused flags too: whoever opens a packet takes
//! them from the packet, and does not write them again from what was decoded here.

use super::{LONG_HEADER_LEN, PacketType, SHORT_HEADER_LEN, VERSION};
use crate::wire::codec::{DecodeError, Put, Reader};
use alloc::vec::Vec;
use core::fmt;

/// The bit of a Data packet's first flag byte that asks for an acknowledgement at once.
const IMMEDIATE_ACK: u8 = 1;

/// One side's name for a session. Chosen by Alice for both sides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The ids of packets that belong to a peer test or a relay, and to no session, by its nonce: Alice's
    /// and Charlie's. What goes to Alice (messages 5 and 7, HolePunch) has hers as destination and his as
    /// source, what goes to Charlie (message 6, and the session after a relay) the other way round.
    #[must_use]
    pub const fn of_nonce(nonce: u32) -> (Self, Self) {
        let twice = (nonce as u64) << 32 | nonce as u64;
        (Self(twice), Self(!twice))
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which part of a SessionConfirmed a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    number: u8,
    total: u8,
}

impl Fragment {
    /// All of it.
    pub const WHOLE: Self = Self { number: 0, total: 1 };

    /// Part `number`, from 0 on, of `total`, at most 15. `None` when there is no such part.
    #[must_use]
    pub const fn new(number: u8, total: u8) -> Option<Self> {
        if number < total && total <= 15 { Some(Self { number, total }) } else { None }
    }

    /// Which part, from 0 on.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.number
    }

    /// Of how many.
    #[must_use]
    pub const fn total(self) -> u8 {
        self.total
    }
}

/// What a packet with a short header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortKind {
    /// SessionConfirmed, or a part of it.
    SessionConfirmed(Fragment),
    /// Data.
    Data {
        /// The sender waits for an acknowledgement.
        immediate_ack: bool,
    },
}

/// 16 bytes: `destination(8) number(4) type(1) flags(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortHeader {
    /// The receiver's id.
    pub destination: ConnectionId,
    /// The packet's number, which is the nonce of Data; 0 in SessionConfirmed.
    pub number: u32,
    /// What it is.
    pub kind: ShortKind,
}

impl ShortHeader {
    /// Appends [`SHORT_HEADER_LEN`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.destination.0);
        out.put_u32(self.number);
        let (kind, flags) = match self.kind {
            ShortKind::SessionConfirmed(Fragment { number, total }) => {
                (PacketType::SessionConfirmed, number << 4 | total)
            }
            ShortKind::Data { immediate_ack } => {
                (PacketType::Data, if immediate_ack { IMMEDIATE_ACK } else { 0 })
            }
        };
        out.put_u8(kind.code());
        out.put_u8(flags);
        out.put_u16(0);
    }
}

/// What a packet with a long header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LongKind {
    /// SessionRequest.
    SessionRequest,
    /// SessionCreated.
    SessionCreated,
    /// PeerTest.
    PeerTest,
    /// Retry.
    Retry,
    /// TokenRequest.
    TokenRequest,
    /// HolePunch.
    HolePunch,
}

impl From<LongKind> for PacketType {
    fn from(kind: LongKind) -> Self {
        match kind {
            LongKind::SessionRequest => Self::SessionRequest,
            LongKind::SessionCreated => Self::SessionCreated,
            LongKind::PeerTest => Self::PeerTest,
            LongKind::Retry => Self::Retry,
            LongKind::TokenRequest => Self::TokenRequest,
            LongKind::HolePunch => Self::HolePunch,
        }
    }
}

/// 32 bytes: `destination(8) number(4) type(1) version(1) network(1) flags(1) source(8) token(8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongHeader {
    /// The receiver's id.
    pub destination: ConnectionId,
    /// Random; the nonce of those packets that no handshake seals.
    pub number: u32,
    /// What it is.
    pub kind: LongKind,
    /// The sender's protocol version, [`VERSION`] or one that we do not know.
    pub version: u8,
    /// The sender's network id.
    pub net_id: u8,
    /// The sender's id.
    pub source: ConnectionId,
    /// What proves that the sender receives at its address; 0 where there is none.
    pub token: u64,
}

impl LongHeader {
    /// True when the sender speaks our version in our network. To be dropped without an answer otherwise.
    #[must_use]
    pub const fn is_ours(&self, net_id: u8) -> bool {
        self.version == VERSION && self.net_id == net_id
    }

    /// Appends [`LONG_HEADER_LEN`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(self.destination.0);
        out.put_u32(self.number);
        out.put_u8(PacketType::from(self.kind).code());
        out.put_u8(self.version);
        out.put_u8(self.net_id);
        out.put_u8(0);
        out.put_u64(self.source.0);
        out.put_u64(self.token);
    }
}

/// Either header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// 16 bytes.
    Short(ShortHeader),
    /// 32 bytes.
    Long(LongHeader),
}

impl Header {
    /// Decodes a header and leaves `r` behind it. Unused flags may hold anything.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let destination = ConnectionId(r.u64()?);
        let number = r.u32()?;
        let kind =
            PacketType::from_code(r.u8()?).ok_or(DecodeError::Invalid("SSU2 packet type"))?;
        let short = |kind| Self::Short(ShortHeader { destination, number, kind });
        let [first, second, third] = r.array()?;
        let kind = match kind {
            PacketType::SessionConfirmed => {
                let fragment = Fragment::new(first >> 4, first & 15)
                    .ok_or(DecodeError::Invalid("SSU2 fragment"))?;
                return Ok(short(ShortKind::SessionConfirmed(fragment)));
            }
            PacketType::Data => {
                return Ok(short(ShortKind::Data { immediate_ack: first & IMMEDIATE_ACK != 0 }));
            }
            PacketType::SessionRequest => LongKind::SessionRequest,
            PacketType::SessionCreated => LongKind::SessionCreated,
            PacketType::PeerTest => LongKind::PeerTest,
            PacketType::Retry => LongKind::Retry,
            PacketType::TokenRequest => LongKind::TokenRequest,
            PacketType::HolePunch => LongKind::HolePunch,
        };
        let (version, net_id, _flags) = (first, second, third);
        let source = ConnectionId(r.u64()?);
        let token = r.u64()?;
        Ok(Self::Long(LongHeader { destination, number, kind, version, net_id, source, token }))
    }

    /// Appends as many bytes as its type has.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Short(header) => header.encode(out),
            Self::Long(header) => header.encode(out),
        }
    }

    /// What the packet is.
    #[must_use]
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Short(ShortHeader { kind: ShortKind::SessionConfirmed(_), .. }) => {
                PacketType::SessionConfirmed
            }
            Self::Short(ShortHeader { kind: ShortKind::Data { .. }, .. }) => PacketType::Data,
            Self::Long(header) => header.kind.into(),
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        match self {
            Self::Short(_) => SHORT_HEADER_LEN,
            Self::Long(_) => LONG_HEADER_LEN,
        }
    }

    /// The receiver's id.
    #[must_use]
    pub const fn destination(&self) -> ConnectionId {
        match self {
            Self::Short(header) => header.destination,
            Self::Long(header) => header.destination,
        }
    }

    /// The packet's number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        match self {
            Self::Short(header) => header.number,
            Self::Long(header) => header.number,
        }
    }
}

#[cfg(test)]
pub(in crate::wire::ssu2) mod tests;
