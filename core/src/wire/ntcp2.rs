//! NTCP2 handshake options and data-phase blocks (specification `ntcp2`, sections
//! "SessionRequest", "SessionCreated" and "Unencrypted data").

use super::codec::{DecodeError, Put, Reader};
use super::i2np::Message;
use alloc::vec::Vec;

/// Bytes of the options in messages 1 and 2, without their tag.
pub const OPTIONS_LEN: usize = 16;
/// The protocol version that message 1 carries.
pub const VERSION: u8 = 2;
/// Bytes of a block's type and size.
pub const BLOCK_HEADER_LEN: usize = 3;
/// The largest plaintext of one frame.
pub const MAX_PAYLOAD_LEN: usize = 65_519;

const DATE_TIME: u8 = 0;
const OPTIONS: u8 = 1;
const ROUTER_INFO: u8 = 2;
const MESSAGE: u8 = 3;
const TERMINATION: u8 = 4;
const PADDING: u8 = 254;

/// The options of message 1 (SessionRequest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    /// Network id; 0 means that the sender does not say.
    pub net_id: u8,
    /// Protocol version.
    pub version: u8,
    /// Bytes of padding after the options.
    pub padding: u16,
    /// Bytes of the second part of message 3, with its tag.
    pub confirmed: u16,
    /// The sender's clock, seconds since the epoch.
    pub timestamp: u32,
}

impl RequestOptions {
    /// Decodes; reserved bytes may hold anything, for the sake of later versions.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let net_id = r.u8()?;
        let version = r.u8()?;
        let padding = r.u16()?;
        let confirmed = r.u16()?;
        let _reserved = r.u16()?;
        let timestamp = r.u32()?;
        let _reserved = r.u32()?;
        r.finish()?;
        Ok(Self { net_id, version, padding, confirmed, timestamp })
    }

    /// Appends [`OPTIONS_LEN`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.net_id);
        out.put_u8(self.version);
        out.put_u16(self.padding);
        out.put_u16(self.confirmed);
        out.put_u16(0);
        out.put_u32(self.timestamp);
        out.put_u32(0);
    }
}

/// The options of message 2 (SessionCreated).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedOptions {
    /// Bytes of padding after the options.
    pub padding: u16,
    /// The sender's clock, seconds since the epoch.
    pub timestamp: u32,
}

impl CreatedOptions {
    /// Decodes; reserved bytes may hold anything.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let _reserved = r.u16()?;
        let padding = r.u16()?;
        let _reserved = r.u32()?;
        let timestamp = r.u32()?;
        let _reserved = r.u32()?;
        r.finish()?;
        Ok(Self { padding, timestamp })
    }

    /// Appends [`OPTIONS_LEN`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(0);
        out.put_u16(self.padding);
        out.put_u32(0);
        out.put_u32(self.timestamp);
        out.put_u32(0);
    }
}

/// Why a session ends, as a Termination block says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// 0: normal close, or unspecified.
    Normal,
    /// 1: a Termination was received.
    TerminationReceived,
    /// 2: nothing was sent or received for too long.
    Idle,
    /// 3: the router shuts down.
    Shutdown,
    /// 4: a frame of the data phase did not authenticate.
    FrameTag,
    /// 5: options that do not fit together.
    Options,
    /// 6: a signature type that is not supported.
    SignatureType,
    /// 7: the clocks differ too much.
    ClockSkew,
    /// 8: padding outside what was agreed.
    Padding,
    /// 9: frames cut wrongly.
    Framing,
    /// 10: blocks that cannot be read.
    Payload,
    /// 11: message 1 was wrong.
    Message1,
    /// 12: message 2 was wrong.
    Message2,
    /// 13: message 3 was wrong.
    Message3,
    /// 14: the rest of a frame did not come in time.
    IntraFrameTimeout,
    /// 15: the RouterInfo's signature does not verify.
    Signature,
    /// 16: the static key is missing from the RouterInfo or another one.
    StaticKey,
    /// 17: banned.
    Banned,
    /// A code that the specification does not name.
    Other(u8),
}

impl Reason {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::TerminationReceived => 1,
            Self::Idle => 2,
            Self::Shutdown => 3,
            Self::FrameTag => 4,
            Self::Options => 5,
            Self::SignatureType => 6,
            Self::ClockSkew => 7,
            Self::Padding => 8,
            Self::Framing => 9,
            Self::Payload => 10,
            Self::Message1 => 11,
            Self::Message2 => 12,
            Self::Message3 => 13,
            Self::IntraFrameTimeout => 14,
            Self::Signature => 15,
            Self::StaticKey => 16,
            Self::Banned => 17,
            Self::Other(code) => code,
        }
    }

    /// From the code on the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Normal,
            1 => Self::TerminationReceived,
            2 => Self::Idle,
            3 => Self::Shutdown,
            4 => Self::FrameTag,
            5 => Self::Options,
            6 => Self::SignatureType,
            7 => Self::ClockSkew,
            8 => Self::Padding,
            9 => Self::Framing,
            10 => Self::Payload,
            11 => Self::Message1,
            12 => Self::Message2,
            13 => Self::Message3,
            14 => Self::IntraFrameTimeout,
            15 => Self::Signature,
            16 => Self::StaticKey,
            17 => Self::Banned,
            _ => Self::Other(code),
        }
    }
}

/// One block of a frame, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Block<'a> {
    /// The sender's clock, seconds since the epoch.
    DateTime(u32),
    /// Padding and traffic that the sender wishes for.
    Options(PaddingOptions),
    /// A RouterInfo, the sender's or another router's.
    RouterInfo {
        /// The receiver, if a floodfill, is asked to flood it.
        flood: bool,
        /// The encoded RouterInfo, not compressed.
        bytes: &'a [u8],
    },
    /// An I2NP message with the 9-byte header.
    Message(&'a [u8]),
    /// The session is over. Only padding may follow.
    Termination {
        /// Valid frames that the sender had received.
        frames: u64,
        /// Why.
        reason: Reason,
    },
    /// To be ignored; the last block of its frame.
    Padding(u16),
    /// A type that we do not know: to be ignored.
    Unknown(u8),
}

/// What a peer asks for in an Options block. Ratios are in sixteenths of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaddingOptions {
    /// Least padding that the sender sends.
    pub send_min: u8,
    /// Most padding that the sender sends.
    pub send_max: u8,
    /// Least padding that the sender wants.
    pub receive_min: u8,
    /// Most padding that the sender wants.
    pub receive_max: u8,
}

impl<'a> Block<'a> {
    /// Decodes a block's content; what follows the fields that we know is left to later versions
    /// where the specification says so.
    fn decode(kind: u8, data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        Ok(match kind {
            DATE_TIME => {
                let seconds = r.u32()?;
                r.finish()?;
                Self::DateTime(seconds)
            }
            OPTIONS => {
                let [send_min, send_max, receive_min, receive_max] = r.array()?;
                let _dummy_and_delay = r.u64()?;
                Self::Options(PaddingOptions { send_min, send_max, receive_min, receive_max })
            }
            ROUTER_INFO => Self::RouterInfo { flood: r.u8()? & 1 != 0, bytes: r.rest() },
            MESSAGE => Self::Message(r.rest()),
            TERMINATION => {
                Self::Termination { frames: r.u64()?, reason: Reason::from_code(r.u8()?) }
            }
            PADDING => Self::Padding(data.len().min(u16::MAX.into()) as u16),
            _ => Self::Unknown(kind),
        })
    }
}

/// The blocks of a frame's plaintext, in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    rest: Reader<'a>,
    terminated: bool,
    done: bool,
}

impl<'a> Blocks<'a> {
    /// Over a whole plaintext.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: Reader::new(payload), terminated: false, done: false }
    }

    fn read(&mut self) -> Result<Block<'a>, DecodeError> {
        let kind = self.rest.u8()?;
        let size = self.rest.u16()?;
        let block = Block::decode(kind, self.rest.take(size.into())?)?;
        // "Block Ordering Rules".
        if kind == PADDING {
            self.rest.clone().finish()?;
        } else if self.terminated {
            return Err(DecodeError::Invalid("block after Termination"));
        }
        self.terminated |= kind == TERMINATION;
        Ok(block)
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

/// Appends a DateTime block.
pub fn put_date_time(out: &mut Vec<u8>, seconds: u32) {
    out.put_u8(DATE_TIME);
    out.put_u16(4);
    out.put_u32(seconds);
}

/// Appends a RouterInfo block.
pub fn put_router_info(out: &mut Vec<u8>, flood: bool, bytes: &[u8]) -> Result<(), DecodeError> {
    put_header(out, ROUTER_INFO, bytes.len() + 1)?;
    out.put_u8(flood.into());
    out.put(bytes);
    Ok(())
}

/// Appends an I2NP block.
pub fn put_message(out: &mut Vec<u8>, message: &Message) -> Result<(), DecodeError> {
    put_header(out, MESSAGE, message.short_len())?;
    message.encode_short(out);
    Ok(())
}

/// Bytes of the I2NP block of `message`.
#[must_use]
pub const fn message_block_len(message: &Message) -> usize {
    BLOCK_HEADER_LEN + message.short_len()
}

/// Appends a Termination block.
pub fn put_termination(out: &mut Vec<u8>, frames: u64, reason: Reason) {
    out.put_u8(TERMINATION);
    out.put_u16(9);
    out.put_u64(frames);
    out.put_u8(reason.code());
}

/// Appends a Padding block of `len` zeros: they are encrypted, so their value is nobody's matter.
pub fn put_padding(out: &mut Vec<u8>, len: u16) {
    out.put_u8(PADDING);
    out.put_u16(len);
    out.resize(out.len() + usize::from(len), 0);
}

fn put_header(out: &mut Vec<u8>, kind: u8, len: usize) -> Result<(), DecodeError> {
    if len > MAX_PAYLOAD_LEN - BLOCK_HEADER_LEN {
        return Err(DecodeError::TooLarge("NTCP2 block"));
    }
    out.put_u8(kind);
    out.put_u16(len as u16);
    Ok(())
}

#[cfg(test)]
mod tests;
