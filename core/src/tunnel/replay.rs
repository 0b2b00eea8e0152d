//! Recognising cells that were seen before.
//!
//! A repeated cell would leave every hop the same again, which shows an observer of two links
//! that they belong to one tunnel. As Java does, we look at IV XOR first block. But a cell that is
//! taken for a repetition by mistake is a lost packet to two destinations that never see why, and
//! the filters in use take one of 50,000 so: one in each 20 MB. This one keeps fingerprints of 32
//! bits: one of 100,000,000.

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
/// A cell goes to the emptier one of two blocks. On average 8 places of 16 are taken in the end,
/// and with the choice no block has been seen with more than 12.
const BLOCKS: usize = 8192;
/// No tunnel lives longer.
const MAX_AGE: Duration = Duration::from_secs(660);

/// Fingerprints; 0 is an empty place. One cache line.
type Block = [u32; 16];

/// Two generations of 512 KiB, allocated when the first cell comes.
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
        let (one, two) = (hash as usize % BLOCKS, (hash >> 13) as usize % BLOCKS);
        let fingerprint = ((hash >> 32) as u32).max(1);
        let current = self.current.get_or_insert_with(|| vec![[0; 16]; BLOCKS].into_boxed_slice());
        for generation in self.previous.iter().chain([&*current]) {
            let has = |at| generation.get::<usize>(at).is_some_and(|b| b.contains(&fingerprint));
            if has(one) || has(two) {
                return false;
            }
        }
        let free = |at| current.get::<usize>(at).map_or(0, empty_places);
        let at = if free(one) >= free(two) { one } else { two };
        if let Some(block) = current.get_mut(at) {
            // When all are taken, which does not happen, one of them is forgotten.
            let place = 16_usize.saturating_sub(empty_places(block)) % 16;
            if let Some(place) = block.get_mut(place) {
                *place = fingerprint;
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

/// Places are filled from the front.
fn empty_places(block: &Block) -> usize {
    block.iter().filter(|place| **place == 0).count()
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
    fn every_repetition_within_a_generation_is_seen_and_no_others_are() {
        let mut filter = filter();
        let mut rng = Rng::new(&Seed::from_number(2));
        let mut cells: Vec<[u8; 36]> = (0..PER_GENERATION).map(|_| rng.bytes()).collect();
        assert!(cells.iter().all(|c| filter.is_new(Instant::ZERO, &c[..])), "a false alarm");
        let fullest = filter.current.iter().flatten().map(|b| 16 - empty_places(b)).max();
        assert!(fullest.is_some_and(|n| (8..14).contains(&n)), "{fullest:?}");
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
