//! Acknowledgements (specification `ssu2`, Ack).

use crate::wire::codec::{DecodeError, Put, Reader};
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use core::ops::RangeInclusive;

/// The most pairs that we write. Other routers write 32 at most.
pub const MAX_ACK_PAIRS: usize = 64;

/// Which packets arrived, in the form of the wire: the highest, how many more directly below it, and then
/// pairs of how many did not and how many did.
///
/// Every number from 0 to 255 counts as itself, so that longer runs need pairs with a zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The highest packet that arrived.
    pub through: u32,
    /// How many more did, directly below it.
    pub more: u8,
    /// Missing, then arrived, downwards.
    pub pairs: &'a [[u8; 2]],
}

impl<'a> Ack<'a> {
    /// Bytes without pairs.
    pub(super) const MIN_LEN: usize = 5;

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let through = r.u32()?;
        let more = r.u8()?;
        let (pairs, odd) = r.rest().as_chunks();
        if !odd.is_empty() {
            return Err(DecodeError::Truncated);
        }
        Ok(Self { through, more, pairs })
    }

    pub(super) const fn encoded_len(&self) -> usize {
        Self::MIN_LEN + 2 * self.pairs.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.through);
        out.put_u8(self.more);
        out.put(self.pairs.as_flattened());
    }

    /// The packets that arrived.
    #[must_use]
    pub const fn ranges(&self) -> AckRanges<'a> {
        let low = self.through.saturating_sub(self.more as u32);
        AckRanges { next: Some((low, self.through)), pairs: self.pairs }
    }
}

/// Ranges of packets, from the highest down; none touches or overlaps another. There are at most one more than pairs.
///
/// What would be below packet 0 is left out: some routers count that far.
#[derive(Clone, Debug)]
pub struct AckRanges<'a> {
    next: Option<(u32, u32)>,
    pairs: &'a [[u8; 2]],
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut low, high) = self.next.take()?;
        let mut missing = 0_u32;
        while let Some(([lost, more], rest)) = self.pairs.split_first() {
            self.pairs = rest;
            // 256 for each pair at most, and a block has 32,765 of them.
            missing += u32::from(*lost);
            match (*more, missing) {
                (0, _) => {}
                (more, 0) => low = low.saturating_sub(more.into()),
                (more, _) => {
                    self.next = low
                        .checked_sub(missing + 1)
                        .map(|top| (top.saturating_sub(u32::from(more) - 1), top));
                    break;
                }
            }
        }
        Some(low..=high)
    }
}

/// What an [`Ack`] to be sent borrows.
#[derive(Clone, Debug)]
pub struct AckSource {
    through: u32,
    more: u8,
    pairs: ArrayVec<[u8; 2], MAX_ACK_PAIRS>,
}

impl AckSource {
    /// From ranges that go from the highest down. What needs more than `most` pairs, or more than
    /// [`MAX_ACK_PAIRS`], is left out, the lowest first. A range that is empty or not below the one before it is
    /// passed over. `None` without a range.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u32>>, most: usize) -> Option<Self> {
        let most = most.min(MAX_ACK_PAIRS);
        let mut ranges = ranges.into_iter().filter(|r| !r.is_empty());
        let first = ranges.next()?;
        let through = *first.end();
        let below = through - first.start();
        let more = below.min(255);
        let mut made = Self { through, more: more as u8, pairs: ArrayVec::new() };
        if !made.push(0, below - more, most) {
            return Some(made);
        }
        let mut low = *first.start();
        for range in ranges {
            let Some(missing) = low.checked_sub(*range.end()).and_then(|n| n.checked_sub(1)) else {
                continue;
            };
            low = *range.start();
            // `low` is above `end`, so `end - start` is less than the largest number.
            if !made.push(missing, range.end() - low + 1, most) {
                break;
            }
        }
        Some(made)
    }

    /// The block's content.
    #[must_use]
    pub fn ack(&self) -> Ack<'_> {
        Ack { through: self.through, more: self.more, pairs: &self.pairs }
    }

    /// Says that `missing` packets did not arrive and `arrived` below them did. False when not all of it fits;
    /// the end is then never a pair that says nothing of what arrived.
    fn push(&mut self, missing: u32, arrived: u32, most: usize) -> bool {
        let (mut missing, mut arrived) = (missing, arrived);
        let room = most.saturating_sub(self.pairs.len());
        // All but the last of the pairs for what is missing say nothing else.
        if arrived != 0 && missing.div_ceil(255).max(1) as usize > room {
            return false;
        }
        while arrived != 0 {
            let lost = missing.min(255);
            missing -= lost;
            let got = if missing == 0 { arrived.min(255) } else { 0 };
            arrived -= got;
            if self.pairs.len() >= most || self.pairs.try_push([lost as u8, got as u8]).is_err() {
                return false;
            }
        }
        true
    }
}
