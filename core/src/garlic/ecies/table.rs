//! Tables that peers fill: hashed with a secret, never iterated, bounded.

use super::SessionId;
use super::tagset::SessionTag;
use crate::audit::Audit;
use crate::rng::Rng;
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::hash::{BuildHasher, Hasher};
use hashbrown::{HashMap, HashSet};

/// What an expected tag belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A reply to a new session of ours.
    Reply,
    /// The first message on the sets of our reply with this number.
    Candidate(u16),
    /// A message of the set with this id.
    Set(u16),
}

/// An expected tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) session: SessionId,
    pub(super) place: Place,
    pub(super) index: u16,
}

/// The expected tags of one destination.
pub(super) struct TagTable(HashMap<u64, Expected, Keyed>);

impl TagTable {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self(HashMap::with_hasher(Keyed::new(rng)))
    }

    pub(super) fn insert(&mut self, tag: &SessionTag, expected: Expected) {
        // Two equal tags of 64 bits do not happen by chance; the first one stays.
        self.0.entry(u64::from_le_bytes(*tag)).or_insert(expected);
    }

    pub(super) fn get(&self, tag: &SessionTag) -> Option<Expected> {
        self.0.get(&u64::from_le_bytes(*tag)).copied()
    }

    /// Removes `tag`, if it is one of `session`.
    pub(super) fn remove(&mut self, tag: &SessionTag, session: SessionId) {
        let tag = u64::from_le_bytes(*tag);
        if self.0.get(&tag).is_some_and(|expected| expected.session == session) {
            self.0.remove(&tag);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Numbers seen lately: the oldest go when time or capacity is up.
pub(super) struct Seen {
    set: HashSet<u64, Keyed>,
    order: VecDeque<(Instant, u64)>,
    capacity: usize,
}

impl Seen {
    pub(super) fn new(capacity: usize, rng: &mut Rng) -> Self {
        Self { set: HashSet::with_hasher(Keyed::new(rng)), order: VecDeque::new(), capacity }
    }

    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("ratchet: seen lately", self.set.len(), self.capacity);
        audit.see("ratchet: ends of what was seen lately", self.order.len(), self.capacity);
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.set.contains(&number)
    }

    pub(super) fn insert(&mut self, expires: Instant, number: u64) {
        if self.order.len() >= self.capacity {
            self.forget_oldest();
        }
        if self.set.insert(number) {
            self.order.push_back((expires, number));
        }
    }

    /// Forgets what has expired.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, number)) = self.order.pop_front() {
            self.set.remove(&number);
        }
    }
}

/// A hash for numbers that are random, or that an attacker chose: folded multiplication by a
/// secret.
#[derive(Clone)]
struct Keyed {
    mask: u64,
    factor: u64,
}

impl Keyed {
    fn new(rng: &mut Rng) -> Self {
        Self { mask: rng.u64(), factor: rng.u64() | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { key: self.clone(), state: 0 }
    }
}

struct KeyedHasher {
    key: Keyed,
    state: u64,
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, v: u64) {
        let product = u128::from(self.state ^ v ^ self.key.mask) * u128::from(self.key.factor);
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn seen_numbers_are_bounded_and_expire() {
        let mut seen = Seen::new(3, &mut Rng::new(&Seed::from_number(1)));
        for n in 1..=4 {
            seen.insert(Instant::from_micros(n * 10), n);
        }
        assert!(!seen.contains(1));
        assert!([2, 3, 4].iter().all(|n| seen.contains(*n)));
        seen.expire(Instant::from_micros(30));
        assert_eq!([2, 3, 4].map(|n| seen.contains(n)), [false, false, true]);
    }

    #[test]
    fn seen_numbers_are_those_of_a_plain_list() {
        for seed in 0..200 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let capacity = 1 + rng.index(40);
            let mut seen = Seen::new(capacity, &mut rng.fork("table"));
            let mut model: VecDeque<(u64, u64)> = VecDeque::new();
            let mut now = 0;
            for _ in 0..500 {
                let number = rng.below(60);
                let known = model.iter().any(|(_, n)| *n == number);
                assert_eq!(seen.contains(number), known, "seed {seed}");
                if !known {
                    seen.insert(Instant::from_micros(now + 100), number);
                    model.push_back((now + 100, number));
                    model.drain(..model.len().saturating_sub(capacity));
                }
                now += rng.below(10);
                if rng.below(4) == 0 {
                    seen.expire(Instant::from_micros(now));
                    model.retain(|(expires, _)| *expires > now);
                }
                assert_eq!((seen.set.len(), seen.order.len()), (model.len(), model.len()));
            }
        }
    }

    #[test]
    fn a_tag_is_removed_only_by_its_own_session() {
        let mut table = TagTable::new(&mut Rng::new(&Seed::from_number(1)));
        let expected = Expected { session: SessionId(1), place: Place::Reply, index: 0 };
        table.insert(&[1; 8], expected);
        table.insert(&[1; 8], Expected { session: SessionId(2), ..expected });
        table.remove(&[1; 8], SessionId(2));
        assert_eq!(table.get(&[1; 8]), Some(expected));
        table.remove(&[1; 8], SessionId(1));
        assert_eq!(table.len(), 0);
    }
}
