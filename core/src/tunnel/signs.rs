//! When routers last gave a sign of life.

use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// Routers that are remembered; when full, old signs go, then any.
pub(crate) const MAX: usize = 1024;
/// Older signs mean nothing.
const KEPT: Duration = Duration::from_secs(120);

/// The latest sign of each router.
#[derive(Debug, Default)]
pub(crate) struct Signs(BTreeMap<Hash, Instant>);

impl Signs {
    pub(crate) fn see(&mut self, now: Instant, peer: Hash) {
        if self.0.len() >= MAX && !self.0.contains_key(&peer) {
            self.0.retain(|_, at| now.saturating_since(*at) < KEPT);
            if self.0.len() >= MAX {
                self.0.pop_first();
            }
        }
        self.0.insert(peer, now);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn last(&self, peer: &Hash) -> Option<Instant> {
        self.0.get(peer).copied()
    }

    /// Whether this one gave one within this time.
    pub(crate) fn is_within(&self, now: Instant, peer: &Hash, time: Duration) -> bool {
        self.last(peer).is_some_and(|at| now.saturating_since(at) <= time)
    }

    /// Those that did.
    pub(crate) fn within(&self, now: Instant, time: Duration) -> impl Iterator<Item = Hash> {
        let all = self.0.iter();
        all.filter(move |(_, at)| now.saturating_since(**at) <= time).map(|(peer, _)| *peer)
    }

    /// What a router did since says otherwise.
    pub(crate) fn forget(&mut self, peer: &Hash) {
        self.0.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_bounded_and_old_ones_go_first() {
        let mut signs = Signs::default();
        let (old, new) = (Instant::ZERO, Instant::ZERO + KEPT);
        let name = |n: usize| Hash::of(&n.to_be_bytes());
        (0..MAX - 1).for_each(|n| signs.see(old, name(n)));
        signs.see(new, name(MAX));
        assert_eq!(signs.0.len(), MAX);
        signs.see(new, name(MAX + 1));
        assert_eq!((signs.0.len(), signs.within(new, KEPT / 2).count()), (2, 2));
        (0..3 * MAX).for_each(|n| signs.see(new, name(n)));
        assert_eq!(signs.0.len(), MAX);
        assert_eq!(signs.last(&name(3 * MAX - 1)), Some(new));
    }
}
