//! SSU2 packets: headers, their protection, blocks, and what is signed inside blocks (specification `ssu2`).
//!
//! A packet is one UDP datagram: a header, in some types a key, then a sealed payload of blocks with its tag.
//! What the keys are and which nonce seals the payload is the transport's matter; here are only layouts, and
//! [`protect`], the masks that make headers look like noise.

mod blocks;
mod endpoint;
mod header;
pub mod protect;
mod signed;

pub use blocks::{
    Ack, AckRanges, AckSource, Block, Blocks, MAX_ACK_PAIRS, Options, Reason, WriteError, Writer,
};
pub use header::{ConnectionId, Fragment, Header, LongHeader, LongKind, ShortHeader, ShortKind};
pub use signed::{
    Code, PeerTest, PeerTestStep, PeerTestTerms, RelayIntro, RelayRequest, RelayRequestTerms,
    RelayResponse, RelayResponseTerms,
};

use crate::crypto::aead::TAG_LEN;
use core::net::IpAddr;

/// The protocol version in long headers and in signed structures.
pub const VERSION: u8 = 2;
/// Bytes of the header of SessionConfirmed and Data packets.
pub const SHORT_HEADER_LEN: usize = 16;
/// Bytes of all other headers.
pub const LONG_HEADER_LEN: usize = 32;
/// Bytes of the ephemeral key after the header of SessionRequest and SessionCreated.
pub const KEY_LEN: usize = 32;
/// Bytes of the sealed static key at the start of SessionConfirmed.
pub const SEALED_KEY_LEN: usize = KEY_LEN + TAG_LEN;
/// Bytes of a block's type and size.
pub const BLOCK_HEADER_LEN: usize = 3;
/// The shortest payload: header protection takes its samples from the last 24 bytes of a packet, and the tag
/// has 16 of them.
pub const MIN_PAYLOAD_LEN: usize = protect::SAMPLES_LEN - TAG_LEN;
/// The shortest packet, in bytes of the datagram.
pub const MIN_PACKET_LEN: usize = SHORT_HEADER_LEN + protect::SAMPLES_LEN;
/// The longest packet, in bytes of the datagram: the largest MTU over IPv4.
pub const MAX_PACKET_LEN: usize = Family::V4.packet_len(MAX_MTU);
/// The least MTU, in bytes with IP and UDP headers, of an address that may be published.
pub const MIN_MTU: u16 = 1280;
/// The largest MTU, and what an address has that tells none.
pub const MAX_MTU: u16 = 1500;

/// The version of IP, which decides what the headers around a packet take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bytes of the IP header, without options, and of the UDP header.
    #[must_use]
    pub const fn overhead(self) -> usize {
        match self {
            Self::V4 => 28,
            Self::V6 => 48,
        }
    }

    /// Bytes of the longest packet within `mtu`.
    #[must_use]
    pub const fn packet_len(self, mtu: u16) -> usize {
        (mtu as usize).saturating_sub(self.overhead())
    }
}

/// What a packet is, as byte 12 of its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketType {
    /// 0: the first message of the handshake.
    SessionRequest,
    /// 1: its answer.
    SessionCreated,
    /// 2: the third message of the handshake, in one packet or several.
    SessionConfirmed,
    /// 6: anything within a session.
    Data,
    /// 7: a peer test outside a session.
    PeerTest,
    /// 9: a token, or a refusal.
    Retry,
    /// 10: asks for a token.
    TokenRequest,
    /// 11: opens a firewall for whom an introducer told of.
    HolePunch,
}

impl PacketType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SessionRequest,
        Self::SessionCreated,
        Self::SessionConfirmed,
        Self::Data,
        Self::PeerTest,
        Self::Retry,
        Self::TokenRequest,
        Self::HolePunch,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::SessionRequest => 0,
            Self::SessionCreated => 1,
            Self::SessionConfirmed => 2,
            Self::Data => 6,
            Self::PeerTest => 7,
            Self::Retry => 9,
            Self::TokenRequest => 10,
            Self::HolePunch => 11,
        }
    }

    /// From the number on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SessionRequest,
            1 => Self::SessionCreated,
            2 => Self::SessionConfirmed,
            6 => Self::Data,
            7 => Self::PeerTest,
            9 => Self::Retry,
            10 => Self::TokenRequest,
            11 => Self::HolePunch,
            _ => return None,
        })
    }

    /// Bytes of its header.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::SessionConfirmed | Self::Data => SHORT_HEADER_LEN,
            Self::SessionRequest
            | Self::SessionCreated
            | Self::PeerTest
            | Self::Retry
            | Self::TokenRequest
            | Self::HolePunch => LONG_HEADER_LEN,
        }
    }

    /// Bytes at the start that header protection covers: the header, and the ephemeral key where one follows it.
    #[must_use]
    pub const fn protected_len(self) -> usize {
        match self {
            Self::SessionRequest | Self::SessionCreated => LONG_HEADER_LEN + KEY_LEN,
            Self::SessionConfirmed
            | Self::Data
            | Self::PeerTest
            | Self::Retry
            | Self::TokenRequest
            | Self::HolePunch => self.header_len(),
        }
    }

    /// Bytes of a whole packet that are not payload: header, keys, tags. The later packets of a
    /// SessionConfirmed in several have the header only.
    #[must_use]
    pub const fn overhead(self) -> usize {
        let key = match self {
            Self::SessionConfirmed => SEALED_KEY_LEN,
            Self::SessionRequest
            | Self::SessionCreated
            | Self::Data
            | Self::PeerTest
            | Self::Retry
            | Self::TokenRequest
            | Self::HolePunch => 0,
        };
        self.protected_len() + key + TAG_LEN
    }

    /// Bytes of the shortest packet, so that the samples of header protection never lie in what it covers. The
    /// last packet of a SessionConfirmed in several is as short as Data can be.
    #[must_use]
    pub const fn min_len(self) -> usize {
        self.protected_len() + protect::SAMPLES_LEN
    }

    /// Bytes of the longest payload within `mtu`.
    #[must_use]
    pub const fn max_payload(self, mtu: u16, family: Family) -> usize {
        family.packet_len(mtu).saturating_sub(self.overhead())
    }
}

#[cfg(test)]
mod tests;
