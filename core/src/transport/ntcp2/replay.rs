//! Memory of first messages, so that a recorded one cannot be played again.

use super::super::checks::MAX_SKEW;
use crate::time::Instant;
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

/// Messages remembered at most, about 1.5 MiB. When full the oldest is forgotten: to get there a
/// peer has to make that many valid messages, a key exchange each, within [`LIFETIME`].
pub const CAPACITY: usize = 16_384;

/// How long a message is remembered. One from a clock that is [`MAX_SKEW`] ahead stays acceptable
/// for twice that ("SessionRequest", notes); the rest is for rounding.
pub const LIFETIME: Duration = Duration::from_secs(2 * MAX_SKEW.as_secs() + 10);

/// Ephemeral keys seen in message 1, as they were on the wire.
///
/// One for all sessions of a router. It is asked before any key exchange, and told only what
/// authenticated, so that garbage cannot push out what matters.
#[derive(Debug, Default)]
pub struct ReplayCache {
    seen: BTreeSet<[u8; 32]>,
    order: VecDeque<(Instant, [u8; 32])>,
}

/// Proof that a message 1 was not seen before.
#[derive(Debug)]
pub(super) struct Unseen([u8; 32]);

impl Unseen {
    /// The encrypted ephemeral key.
    pub(super) const fn key(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ReplayCache {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: BTreeSet::new(), order: VecDeque::new() }
    }

    /// Messages remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// True when none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// `None` when this encrypted ephemeral key is known.
    pub(super) fn check(&self, encrypted: &[u8; 32]) -> Option<Unseen> {
        (!self.seen.contains(encrypted)).then_some(Unseen(*encrypted))
    }

    /// Remembers a message that authenticated, and forgets what is too old.
    pub(super) fn insert(&mut self, now: Instant, message: Unseen) {
        // Two for one: the backlog shrinks whenever there is one, and a call stays short.
        for _ in 0..2 {
            let Some((at, _)) = self.order.front() else { break };
            if now.saturating_since(*at) <= LIFETIME && self.order.len() < CAPACITY {
                break;
            }
            if let Some((_, old)) = self.order.pop_front() {
                self.seen.remove(&old);
            }
        }
        if self.seen.insert(message.0) {
            self.order.push_back((now, message.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};
    use alloc::collections::BTreeMap;

    fn key(n: u64) -> [u8; 32] {
        crate::crypto::hash::sha256(&n.to_be_bytes())
    }

    fn insert(cache: &mut ReplayCache, now: Instant, n: u64) {
        let unseen = cache.check(&key(n)).unwrap();
        cache.insert(now, unseen);
    }

    #[test]
    fn a_message_is_known_for_its_lifetime_and_forgotten_later() {
        let mut cache = ReplayCache::new();
        let start = Instant::from_micros(1);
        insert(&mut cache, start, 0);
        insert(&mut cache, start + LIFETIME, 1);
        assert!(cache.check(&key(0)).is_none());
        insert(&mut cache, start + LIFETIME + Duration::from_micros(1), 2);
        assert!(cache.check(&key(0)).is_some());
        assert!(cache.check(&key(1)).is_none());
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn when_full_the_oldest_is_forgotten() {
        let mut cache = ReplayCache::new();
        for n in 0..=CAPACITY as u64 {
            insert(&mut cache, Instant::ZERO, n);
            assert!(cache.len() <= CAPACITY);
        }
        assert!(cache.check(&key(0)).is_some());
        assert!(cache.check(&key(1)).is_none());
        assert!(cache.check(&key(CAPACITY as u64)).is_none());
        assert_eq!(cache.seen.len(), cache.order.len());
    }

    #[test]
    fn at_any_pace_it_knows_what_came_within_its_lifetime() {
        for seed in 0..100 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let mut cache = ReplayCache::new();
            // When each was let in last.
            let mut model: BTreeMap<u64, Instant> = BTreeMap::new();
            let (mut now, pace) = (Instant::ZERO, 1 + rng.below(5_000));
            for _ in 0..500 {
                let n = rng.below(200);
                let known = cache.check(&key(n)).is_none();
                match model.get(&n) {
                    None => assert!(!known, "seed {seed}: it never came"),
                    Some(at) if now.saturating_since(*at) <= LIFETIME => {
                        assert!(known, "seed {seed}: it came before");
                    }
                    Some(_) => {}
                }
                if !known {
                    insert(&mut cache, now, n);
                    model.insert(n, now);
                }
                now = now + Duration::from_millis(rng.below(pace));
                assert_eq!(cache.seen.len(), cache.order.len());
            }
            // Two go for one that comes: nothing that is over stays for long.
            for n in 1000..1200 {
                insert(&mut cache, now, n);
            }
            let young = |at: &Instant| now.saturating_since(*at) <= LIFETIME;
            assert_eq!(cache.len(), 200 + model.values().filter(|at| young(at)).count());
        }
    }
}
