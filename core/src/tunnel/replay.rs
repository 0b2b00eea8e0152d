//! Recognising cells that were seen before.
//!
//! A repeated cell would leave every hop the same again, which shows an observer of two links
//! that they belong to one tunnel. As Java does, we look at IV XOR first block. But a cell that is
//! taken for a repetition by mistake is a lost packet to two destinations that never see why, and
//! the filters in use take one of 50,000 so: one in each 20 MB. This one keeps fingerprints of 32
//! bits: one of 100,000,000.

use crate::audit::Audit;
use crate::crypto::siphash::siphash24;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::codec::Reader;
use crate::wire::tunnel::{ID_LEN, IV_LEN};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use core::time::Duration;

/// Blocks of the first generation, 16 KiB; one that was full too early is followed by one of twice
/// the size. A router that carries little touches little: cells go to places by chance, and so the
/// memory of a large table is taken whole by a few hundred of them.
const FIRST_BLOCKS: usize = 256;
/// Cells for each block of a generation. A cell goes to the emptier one of two blocks: on average 8
/// places of 16 are taken in the end, and with the choice no block has been seen with more than 12.
const PER_BLOCK: usize = 8;
/// No tunnel lives longer.
const MAX_AGE: Duration = Duration::from_secs(660);

/// Fingerprints; 0 is an empty place. One cache line.
type Block = [u32; 16];

/// The cells of some time.
struct Generation {
    blocks: Box<[Block]>,
    count: usize,
    since: Instant,
    /// When the latest cell came.
    until: Instant,
}

/// Cells of the last [`MAX_AGE`], as far as memory allows: then the oldest are forgotten.
pub(crate) struct ReplayFilter {
    keys: (u64, u64),
    max_blocks: usize,
    /// The latest one last; none before the first cell.
    generations: VecDeque<Generation>,
}

impl ReplayFilter {
    /// Empty, under a secret key, so that nobody can make cells collide; 64 bytes a block. It
    /// remembers at least the latest `max_blocks` x 2 cells, and most of the time three times that.
    pub(crate) fn new(rng: &mut Rng, max_blocks: usize) -> Self {
        Self { keys: (rng.u64(), rng.u64()), max_blocks, generations: VecDeque::new() }
    }

    /// Blocks held, and those that may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let blocks = self.generations.iter().map(|g| g.blocks.len()).sum();
        audit.see("tunnels: blocks of cells seen", blocks, self.max_blocks);
    }

    /// Remembers a cell as it came in; false when it came before, or is no cell.
    pub(crate) fn is_new(&mut self, now: Instant, cell: &[u8]) -> bool {
        let Some(hash) = self.hash(cell) else { return false };
        let fingerprint = ((hash >> 32) as u32).max(1);
        self.turn(now);
        if self.generations.iter().any(|g| g.places(hash).any(|b| holds(b, fingerprint))) {
            return false;
        }
        if let Some(generation) = self.generations.back_mut() {
            generation.insert(now, hash, fingerprint);
        }
        true
    }

    /// Begins a generation when one is due, and forgets those that are too old or too many.
    fn turn(&mut self, now: Instant) {
        let blocks = match self.generations.back() {
            None => FIRST_BLOCKS,
            Some(g) if g.count >= g.blocks.len() * PER_BLOCK => g.blocks.len() * 2,
            Some(g) if now.saturating_since(g.since) > MAX_AGE => {
                (g.blocks.len() / 2).max(FIRST_BLOCKS)
            }
            Some(_) => return,
        };
        let blocks = blocks.min(self.max_blocks / 4).max(1);
        self.generations.retain(|g| now.saturating_since(g.until) <= MAX_AGE);
        let all = |generations: &VecDeque<Generation>| -> usize {
            generations.iter().map(|g| g.blocks.len()).sum()
        };
        while all(&self.generations) + blocks > self.max_blocks {
            self.generations.pop_front();
        }
        let blocks = vec![[0; 16]; blocks].into_boxed_slice();
        self.generations.push_back(Generation { blocks, count: 0, since: now, until: now });
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

impl Generation {
    fn indices(&self, hash: u64) -> [usize; 2] {
        [hash as u32 as usize, (hash >> 16) as u32 as usize].map(|n| n % self.blocks.len().max(1))
    }

    /// The two blocks that a cell may be in.
    fn places(&self, hash: u64) -> impl Iterator<Item = &Block> {
        self.indices(hash).into_iter().filter_map(|at| self.blocks.get(at))
    }

    fn insert(&mut self, now: Instant, hash: u64, fingerprint: u32) {
        let [one, two] = self.indices(hash);
        let free = |at: usize| self.blocks.get(at).map_or(0, empty_places);
        let at = if free(one) >= free(two) { one } else { two };
        if let Some(block) = self.blocks.get_mut(at) {
            // When all are taken, which does not happen, one of them is forgotten.
            let place = block.len().saturating_sub(empty_places(block)) % block.len();
            if let Some(place) = block.get_mut(place) {
                *place = fingerprint;
            }
        }
        self.count += 1;
        self.until = now;
    }
}

/// Looks at all places: without a way out in between, they are compared at once.
fn holds(block: &Block, fingerprint: u32) -> bool {
    block.iter().fold(false, |found, place| found | (*place == fingerprint))
}

/// Places are filled from the front.
fn empty_places(block: &Block) -> usize {
    block.iter().filter(|place| **place == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    fn cell(n: u64) -> Vec<u8> {
        let mut cell = vec![0; 1028];
        Rng::new(&Seed::from_number(n)).fill(&mut cell);
        cell
    }

    const MAX_BLOCKS: usize = 4 * FIRST_BLOCKS;
    const PER_GENERATION: usize = FIRST_BLOCKS * PER_BLOCK;

    fn filter() -> ReplayFilter {
        ReplayFilter::new(&mut Rng::new(&Seed::from_number(1)), MAX_BLOCKS)
    }

    #[test]
    fn every_repetition_is_seen_and_nothing_else() {
        let mut filter = filter();
        let mut rng = Rng::new(&Seed::from_number(2));
        let cells: Vec<[u8; 36]> = (0..PER_GENERATION).map(|_| rng.bytes()).collect();
        assert!(cells.iter().all(|c| filter.is_new(Instant::ZERO, &c[..])), "a false alarm");
        let blocks = filter.generations.iter().flat_map(|g| &g.blocks);
        let fullest = blocks.map(|b| 16 - empty_places(b)).max();
        assert!(fullest.is_some_and(|n| (8..14).contains(&n)), "{fullest:?}");
        assert!(cells.iter().all(|c| !filter.is_new(Instant::ZERO, &c[..])));
        // A generation later they are still known.
        (0..1000).for_each(|_| assert!(filter.is_new(Instant::ZERO, &rng.bytes::<36>())));
        assert!(cells.iter().all(|c| !filter.is_new(Instant::ZERO, &c[..])));
    }

    #[test]
    fn much_traffic_makes_it_grow_up_to_its_limit() {
        let small = |rng: &mut Rng| ReplayFilter::new(rng, 2 * FIRST_BLOCKS);
        let mut rng = Rng::new(&Seed::from_number(3));
        let mut filter = small(&mut rng);
        let remembered = 2 * 2 * FIRST_BLOCKS;
        let mut latest = VecDeque::new();
        for _ in 0..4 * PER_GENERATION {
            let cell = rng.bytes::<36>();
            assert!(filter.is_new(Instant::ZERO, &cell));
            latest.push_back(cell);
            if latest.len() > remembered {
                latest.pop_front();
            }
        }
        let blocks: usize = filter.generations.iter().map(|g| g.blocks.len()).sum();
        assert!(blocks <= 2 * FIRST_BLOCKS, "{blocks}");
        assert!(latest.iter().all(|c| !filter.is_new(Instant::ZERO, c)));
        let mut filter = ReplayFilter::new(&mut rng, 64 * FIRST_BLOCKS);
        for _ in 0..4 * PER_GENERATION {
            assert!(filter.is_new(Instant::ZERO, &rng.bytes::<36>()));
        }
        let sizes: Vec<usize> =
            filter.generations.iter().map(|g| g.blocks.len() / FIRST_BLOCKS).collect();
        assert_eq!(sizes, [1, 2, 4]);
    }

    #[test]
    fn old_cells_are_forgotten() {
        let mut filter = filter();
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        assert!(filter.is_new(at(0), &cell(1)));
        assert!(filter.is_new(at(600), &cell(3)));
        assert!(!filter.is_new(at(700), &cell(3)), "one generation back");
        assert!(filter.is_new(at(700), &cell(2)));
        assert!(filter.is_new(at(1400), &cell(1)));
    }

    #[test]
    fn at_any_pace_it_knows_what_came_lately() {
        for seed in 0..20 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let mut filter = filter();
            let mut seen: BTreeMap<u64, Instant> = BTreeMap::new();
            let mut now = Instant::ZERO;
            for _ in 0..300 {
                let n = rng.below(40);
                let is_new = filter.is_new(now, &cell(n));
                match seen.get(&n) {
                    None => assert!(is_new, "seed {seed}: a false alarm"),
                    Some(at) if now.saturating_since(*at) <= MAX_AGE => {
                        assert!(!is_new, "seed {seed}: a repetition");
                    }
                    Some(_) => {}
                }
                if is_new {
                    seen.insert(n, now);
                }
                now = now + Duration::from_millis(rng.below(60_000));
            }
        }
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
