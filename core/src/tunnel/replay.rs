//! Recognising cells that were seen before.
//!
//! A repeated cell would leave every hop the same again, which shows an observer of two links
//! that they belong to one tunnel. Java remembers IV XOR first block in a Bloom filter; so do we,
//! with two generations so that the filter never fills up.

use crate::crypto::siphash::siphash24;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::codec::Reader;
use crate::wire::tunnel::{ID_LEN, IV_LEN};
use alloc::boxed::Box;
use alloc::vec;
use core::time::Duration;

/// Cells that a generation remembers: the filter knows at least this many of the latest ones.
const PER_GENERATION: u32 = 65_536;
/// 512 bits each, 32 bits a cell: about one cell in 100,000 is taken for a repetition.
const BLOCKS: usize = 4096;
/// No tunnel lives longer.
const MAX_AGE: Duration = Duration::from_secs(660);

type Block = [u64; 8];

/// Two Bloom filters of 256 KiB, allocated when the first cell comes.
pub(crate) struct ReplayFilter {
    keys: (u64, u64),
    current: Option<Box<[Block]>>,
    previous: Option<Box<[Block]>>,
    count: u32,
    since: Instant,
}

impl ReplayFilter {
    /// Empty, under a secret key, so that nobody can make cells collide.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            keys: (rng.u64(), rng.u64()),
            current: None,
            previous: None,
            count: 0,
            since: Instant::ZERO,
        }
    }

    /// Remembers a cell as it came in; false when it came before, or is no cell.
    pub(crate) fn is_new(&mut self, now: Instant, cell: &[u8]) -> bool {
        let Some(hash) = self.hash(cell) else { return false };
        if self.count >= PER_GENERATION || now.saturating_since(self.since) > MAX_AGE {
            self.previous = if self.count == 0 { None } else { self.current.take() };
            self.current = None;
            self.count = 0;
            self.since = now;
        }
        let at = (hash >> 48) as usize % BLOCKS;
        // Seven positions of nine bits each, from bits that did not choose the block.
        let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash.rotate_left(29);
        let bits = |n: usize| {
            let position = (spread >> (9 * n)) & 511;
            ((position >> 6) as usize, 1u64 << (position & 63))
        };
        let has = |block: Option<&Block>| {
            block.is_some_and(|b| {
                (0..7).all(|n| {
                    let (word, bit) = bits(n);
                    b.get(word).is_some_and(|w| w & bit != 0)
                })
            })
        };
        if has(self.previous.as_ref().and_then(|p| p.get(at))) {
            return false;
        }
        let current = self.current.get_or_insert_with(|| vec![[0; 8]; BLOCKS].into_boxed_slice());
        if has(current.get(at)) {
            return false;
        }
        if let Some(block) = current.get_mut(at) {
            for n in 0..7 {
                let (word, bit) = bits(n);
                if let Some(w) = block.get_mut(word) {
                    *w |= bit;
                }
            }
        }
        self.count += 1;
        true
    }

    fn hash(&self, cell: &[u8]) -> Option<u64> {
        let mut r = Reader::new(cell);
        let id = r.array::<ID_LEN>().ok()?;
        let iv = r.array::<IV_LEN>().ok()?;
        let first = r.array::<IV_LEN>().ok()?;
        let mut input = [0; ID_LEN + IV_LEN];
        let (head, tail) = input.split_first_chunk_mut::<ID_LEN>()?;
        *head = id;
        for ((out, a), b) in tail.iter_mut().zip(iv).zip(first) {
            *out = a ^ b;
        }
        Some(siphash24(self.keys.0, self.keys.1, &input))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use alloc::vec::Vec;

    fn cell(n: u64) -> Vec<u8> {
        let mut cell = vec![0; 1028];
        Rng::new(&Seed::from_number(n)).fill(&mut cell);
        cell
    }

    fn filter() -> ReplayFilter {
        ReplayFilter::new(&mut Rng::new(&Seed::from_number(1)))
    }

    #[test]
    fn every_repetition_within_a_generation_is_seen_and_few_others_are() {
        let mut filter = filter();
        let mut rng = Rng::new(&Seed::from_number(2));
        let mut cells: Vec<[u8; 36]> = (0..PER_GENERATION).map(|_| rng.bytes()).collect();
        let taken = cells.iter().filter(|c| !filter.is_new(Instant::ZERO, &c[..])).count();
        assert!(taken < 10, "{taken} false alarms");
        assert!(cells.iter().all(|c| !filter.is_new(Instant::ZERO, &c[..])));
        // A generation later they are still known.
        let more: Vec<[u8; 36]> = (0..1000).map(|_| rng.bytes()).collect();
        for c in &more {
            filter.is_new(Instant::ZERO, &c[..]);
        }
        assert!(cells.iter_mut().all(|c| !filter.is_new(Instant::ZERO, &c[..])));
    }

    #[test]
    fn old_cells_are_forgotten() {
        let mut filter = filter();
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        assert!(filter.is_new(at(0), &cell(1)));
        assert!(!filter.is_new(at(600), &cell(1)));
        assert!(!filter.is_new(at(700), &cell(1)), "one generation back");
        assert!(filter.is_new(at(700), &cell(2)));
        assert!(filter.is_new(at(1400), &cell(1)));
    }

    #[test]
    fn tunnel_ids_tell_cells_apart_and_scraps_are_no_cells() {
        let mut filter = filter();
        let mut other = cell(1);
        other[0] ^= 1;
        assert!(filter.is_new(Instant::ZERO, &cell(1)) && filter.is_new(Instant::ZERO, &other));
        assert!(!filter.is_new(Instant::ZERO, &[1; 35]));
    }
}
