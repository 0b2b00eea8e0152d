//! The blocks of a payload (specification `ssu2`, Noise Payload).

mod ack;
mod layout;
mod reason;
mod writer;

pub use ack::{Ack, AckRanges, AckSource, MAX_ACK_PAIRS};
pub use reason::Reason;
pub use writer::{WriteError, Writer};

use super::signed::{PeerTest, RelayIntro, RelayRequest, RelayResponse};
use crate::wire::codec::{DecodeError, Reader};
use core::net::SocketAddr;
use layout::{PADDING, TERMINATION};

/// What a peer wishes for padding and other traffic. Ratios are in sixteenths of the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Least padding that the sender sends.
    pub send_min: u8,
    /// Most padding that the sender sends.
    pub send_max: u8,
    /// Least padding that the sender wants.
    pub receive_min: u8,
    /// Most padding that the sender wants.
    pub receive_max: u8,
    /// Dummy traffic that the sender would send, bytes per second.
    pub send_dummy: u16,
    /// Dummy traffic that the sender wants, bytes per second.
    pub receive_dummy: u16,
    /// Delay between messages that the sender would insert, milliseconds.
    pub send_delay: u16,
    /// Delay between messages that the sender wants, milliseconds.
    pub receive_delay: u16,
}

/// One block of a payload, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Block<'a> {
    /// The sender's clock, seconds since the epoch, rounded to the nearest.
    DateTime(u32),
    /// Padding and traffic that the sender wishes for.
    Options(Options),
    /// A RouterInfo, the sender's or another router's; first in a SessionConfirmed.
    RouterInfo {
        /// The receiver, if a floodfill, is asked to flood it.
        flood: bool,
        /// Whether `bytes` are compressed with gzip.
        gzip: bool,
        /// The encoded RouterInfo.
        bytes: &'a [u8],
    },
    /// An I2NP message with the 9-byte header.
    Message(&'a [u8]),
    /// The start of an I2NP message: what comes after it in the follow-on fragments, in their order, makes
    /// these bytes a [`Message`](Self::Message).
    FirstFragment {
        /// The message's id, which the other fragments tell. It is in `bytes` too.
        message: u32,
        /// The 9-byte header and a part of the body that is not empty.
        bytes: &'a [u8],
    },
    /// Another part of an I2NP message.
    FollowOn {
        /// Which part, from 1 to 127; the first fragment is number 0.
        number: u8,
        /// Whether it is the last.
        last: bool,
        /// The message's id.
        message: u32,
        /// A part of the body that is not empty.
        bytes: &'a [u8],
    },
    /// The session is over. Only padding may follow.
    Termination {
        /// Valid Data packets that the sender had received.
        packets: u64,
        /// Why.
        reason: Reason,
    },
    /// Alice asks Bob for an introduction to Charlie.
    RelayRequest(RelayRequest<'a>),
    /// What became of it.
    RelayResponse(RelayResponse<'a>),
    /// Bob introduces Alice to Charlie.
    RelayIntro(RelayIntro<'a>),
    /// A step of a peer test.
    PeerTest(PeerTest<'a>),
    /// Packets that arrived.
    Ack(Ack<'a>),
    /// Where the receiver of this block is, as its sender sees it.
    Address(SocketAddr),
    /// The sender would have the receiver as introducer.
    RelayTagRequest,
    /// The answer: what the receiver may publish. Not zero.
    RelayTag(u32),
    /// For the next connection from the receiver's address.
    NewToken {
        /// Until when it is good, seconds since the epoch.
        expires: u32,
        /// The token.
        token: u64,
    },
    /// To be sent back from where it was received.
    PathChallenge(&'a [u8]),
    /// What a challenge held.
    PathResponse(&'a [u8]),
    /// The number of the first Data packet. Nobody sends it yet.
    FirstPacketNumber(u32),
    /// How the path looks to the sender.
    Congestion {
        /// The sender waits for an acknowledgement.
        immediate_ack: bool,
        /// A packet was marked as having met congestion.
        ecn: bool,
    },
    /// To be ignored; the last block of its payload.
    Padding(u16),
    /// A type that is reserved, experimental or not known to us: to be ignored.
    Unknown {
        /// Its number.
        kind: u8,
        /// Its content.
        data: &'a [u8],
    },
}

impl Block<'_> {
    /// Whether a packet with it is to be acknowledged.
    #[must_use]
    pub const fn elicits_ack(&self) -> bool {
        match self {
            Self::DateTime(_)
            | Self::Termination { .. }
            | Self::Ack(_)
            | Self::Address(_)
            | Self::Padding(_) => false,
            Self::Options(_)
            | Self::RouterInfo { .. }
            | Self::Message(_)
            | Self::FirstFragment { .. }
            | Self::FollowOn { .. }
            | Self::RelayRequest(_)
            | Self::RelayResponse(_)
            | Self::RelayIntro(_)
            | Self::PeerTest(_)
            | Self::RelayTagRequest
            | Self::RelayTag(_)
            | Self::NewToken { .. }
            | Self::PathChallenge(_)
            | Self::PathResponse(_)
            | Self::FirstPacketNumber(_)
            | Self::Congestion { .. }
            | Self::Unknown { .. } => true,
        }
    }
}

/// The blocks of a payload, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    rest: Reader<'a>,
    terminated: bool,
    done: bool,
}

impl<'a> Blocks<'a> {
    /// Over a whole payload.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: Reader::new(payload), terminated: false, done: false }
    }

    fn read(&mut self) -> Result<Block<'a>, DecodeError> {
        let kind = self.rest.u8()?;
        let size = self.rest.u16()?;
        let data = self.rest.take(size.into())?;
        // "Block Ordering Rules".
        if kind == PADDING {
            self.rest.clone().finish()?;
        } else if self.terminated {
            return Err(DecodeError::Invalid("block after Termination"));
        }
        self.terminated |= kind == TERMINATION;
        Block::decode(kind, data)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done || self.rest.is_empty() {
            return None;
        }
        let block = self.read();
        self.done = block.is_err();
        Some(block)
    }
}

#[cfg(test)]
mod tests;
