//! An ordered map of routers from which a uniform draw is cheap.

use crate::rng::Rng;
use crate::wire::hash::Hash;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

/// A `BTreeMap` by router hash with a list of its keys beside it, so that picking a member at
/// random takes one draw. Drawing by a random place in the keyspace instead would favour routers
/// in sparse regions, and whoever chooses his hash could hide in a dense one.
pub(crate) struct Sampled<V> {
    map: BTreeMap<Hash, (usize, V)>,
    slots: Vec<Hash>,
}

impl<V> Sampled<V> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        Self { map: BTreeMap::new(), slots: Vec::new() }
    }

    /// Members.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The value of `hash`.
    pub(crate) fn get(&self, hash: &Hash) -> Option<&V> {
        self.map.get(hash).map(|(_, v)| v)
    }

    /// The value of `hash`, to change it.
    pub(crate) fn get_mut(&mut self, hash: &Hash) -> Option<&mut V> {
        self.map.get_mut(hash).map(|(_, v)| v)
    }

    /// True when `hash` is a member.
    pub(crate) fn contains(&self, hash: &Hash) -> bool {
        self.map.contains_key(hash)
    }

    /// Adds or replaces.
    pub(crate) fn insert(&mut self, hash: Hash, value: V) {
        if let Some((_, v)) = self.map.get_mut(&hash) {
            *v = value;
            return;
        }
        self.map.insert(hash, (self.slots.len(), value));
        self.slots.push(hash);
    }

    /// Removes and returns the value of `hash`.
    pub(crate) fn remove(&mut self, hash: &Hash) -> Option<V> {
        let (slot, value) = self.map.remove(hash)?;
        if slot < self.slots.len() {
            self.slots.swap_remove(slot);
        }
        if let Some(moved) = self.slots.get(slot)
            && let Some((s, _)) = self.map.get_mut(moved)
        {
            *s = slot;
        }
        Some(value)
    }

    /// A member drawn uniformly.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Option<Hash> {
        self.slots.get(rng.index(self.slots.len())).copied()
    }

    /// All members in the order of their hashes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Hash, &V)> {
        self.map.iter().map(|(h, (_, v))| (h, v))
    }

    /// Members after `cursor`, in the order of their hashes; from the start without one.
    pub(crate) fn after(&self, cursor: Option<Hash>) -> impl Iterator<Item = (&Hash, &V)> {
        let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.map.range((start, Bound::Unbounded)).map(|(h, (_, v))| (h, v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn slots_and_map_stay_in_step_through_random_changes() {
        let mut rng = Rng::new(&Seed::from_number(9));
        let mut sampled = Sampled::new();
        let mut model = BTreeMap::new();
        for step in 0..2000u32 {
            let hash = Hash([rng.below(40) as u8; 32]);
            if rng.below(2) == 0 {
                sampled.insert(hash, step);
                model.insert(hash, step);
            } else {
                assert_eq!(sampled.remove(&hash), model.remove(&hash));
            }
            assert_eq!(sampled.len(), model.len());
            assert!(sampled.iter().eq(model.iter()));
            for (i, h) in sampled.slots.iter().enumerate() {
                assert_eq!(sampled.map[h].0, i);
            }
            assert_eq!(sampled.draw(&mut rng).is_none(), model.is_empty());
        }
    }

    #[test]
    fn draws_are_uniform_even_when_the_hashes_are_not() {
        let mut rng = Rng::new(&Seed::from_number(4));
        let mut sampled = Sampled::new();
        for i in 0..10u8 {
            sampled.insert(Hash([i; 32]), ());
        }
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            counts[usize::from(sampled.draw(&mut rng).unwrap().0[0])] += 1;
        }
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }
}
