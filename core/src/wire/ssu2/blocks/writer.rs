//! Writing a payload within the room of a packet.

use super::layout::MESSAGE;
use super::{Ack, AckSource, Block};
use crate::wire::codec::Put;
use crate::wire::i2np::Message;
use crate::wire::ssu2::BLOCK_HEADER_LEN;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Why a block was not written. Nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// It is longer than the room that is left: it goes into another packet.
    #[error("no room for the block")]
    NoRoom,
    /// Our own fault: something after Padding, or anything but that after Termination.
    #[error("nothing may follow the last block")]
    Order,
}

/// Appends blocks to a payload as long as they fit.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    limit: usize,
    terminated: bool,
    padded: bool,
}

impl<'a> Writer<'a> {
    /// Appends to `out` at most `limit` bytes: the [longest payload](crate::wire::ssu2::PacketType::max_payload)
    /// of a packet, or more where the payload is cut afterwards. Never more than 65,535.
    #[must_use]
    pub fn new(out: &'a mut Vec<u8>, limit: usize) -> Self {
        let start = out.len();
        let limit = limit.min(u16::MAX.into());
        Self { out, start, limit, terminated: false, padded: false }
    }

    /// Bytes of the payload so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.out.len() - self.start
    }

    /// Bytes that are left for whole blocks.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit - self.written()
    }

    /// Appends `block`.
    pub fn put(&mut self, block: &Block<'_>) -> Result<(), WriteError> {
        let padding = matches!(block, Block::Padding(_));
        if self.padded || self.terminated && !padding {
            return Err(WriteError::Order);
        }
        self.begin(block.kind(), block.encoded_len())?;
        block.encode(self.out);
        self.padded = padding;
        self.terminated |= matches!(block, Block::Termination { .. });
        Ok(())
    }

    /// Appends an I2NP block, without an encoded copy of the message.
    pub fn message(&mut self, message: &Message) -> Result<(), WriteError> {
        if self.padded || self.terminated {
            return Err(WriteError::Order);
        }
        self.begin(MESSAGE, BLOCK_HEADER_LEN + message.short_len())?;
        message.encode_short(self.out);
        Ok(())
    }

    /// Appends an Ack block with as many of `ranges`, which go from the highest down, as `most` pairs and the
    /// room can say. Without a range there is no block.
    pub fn ack(
        &mut self,
        ranges: impl IntoIterator<Item = RangeInclusive<u32>>,
        most: usize,
    ) -> Result<(), WriteError> {
        let pairs = self.room().saturating_sub(BLOCK_HEADER_LEN + Ack::MIN_LEN) / 2;
        match AckSource::new(ranges, most.min(pairs)) {
            Some(source) => self.put(&Block::Ack(source.ack())),
            None => Ok(()),
        }
    }

    /// Appends Padding so that the payload has `len` bytes, or, where less than a block is missing to that, up to
    /// two more, as far as there is room. Ends the payload unless nothing was missing.
    pub fn pad_to(&mut self, len: usize) -> Result<(), WriteError> {
        match len.saturating_sub(self.written()) {
            0 => Ok(()),
            // Both fit 16 bits: `limit` does.
            missing => {
                let most = self.room().saturating_sub(BLOCK_HEADER_LEN);
                let padding = missing.saturating_sub(BLOCK_HEADER_LEN).min(most);
                self.put(&Block::Padding(padding as u16))
            }
        }
    }

    /// Appends type and size of a block of `len` bytes, if it fits.
    fn begin(&mut self, kind: u8, len: usize) -> Result<(), WriteError> {
        if len > self.room() {
            return Err(WriteError::NoRoom);
        }
        self.out.put_u8(kind);
        // Within the limit, which fits.
        self.out.put_u16((len - BLOCK_HEADER_LEN) as u16);
        Ok(())
    }
}
