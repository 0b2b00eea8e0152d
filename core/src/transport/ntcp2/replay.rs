//! Memory of first messages, so that a recorded one cannot be played again.

use super::super::checks::MAX_SKEW;
use crate::time::UnixTime;
use alloc::collections::BTreeSet;

/// Messages remembered at most, in about 1.7 MiB (51 bytes each): those of nine hours if one comes each second.
pub const CAPACITY: usize = 32_768;

/// The part of them that may be of clocks that are too far ahead: these stay for as long as that.
const AHEAD_PART: usize = 8;

/// Messages 1 that authenticated, by their ephemeral keys as they were on the wire.
///
/// One for all sessions of a router. It is asked before any key exchange, and told only what
/// authenticated, so that garbage cannot push out what matters.
///
/// A message from a clock that is wrong is answered too, so that whoever sent it learns the time ("Clock Skew
/// Guidelines" of `ntcp2`). So no time stamp is old enough to be refused for itself, and nothing is forgotten
/// for its age. When it is full, the message with the oldest time stamp goes, and from then on none is answered
/// that is as old: **whatever was here before is either known or too old**, however late it comes again, and
/// wherever our own clock was set meanwhile. To make that a time within which honest clocks lie takes
/// hundreds of valid messages a second.
///
/// The exception is what is too far ahead to be accepted. Time stamps of next year could fill it for a year, so
/// they have a part of it, in which the farthest ahead makes room. Only who makes thousands of
/// valid messages gets that far, and has the router's keys without any replay.
#[derive(Debug)]
pub struct ReplayCache {
    seen: BTreeSet<u64>,
    /// The same, by time stamp.
    order: BTreeSet<(u32, u64)>,
    /// The newest time stamp that was forgotten.
    forgotten: Option<u32>,
    capacity: usize,
}

/// Proof that a message 1 is not known.
#[derive(Debug)]
pub(super) struct Unseen([u8; 32]);

impl Unseen {
    /// The encrypted ephemeral key.
    pub(super) const fn key(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Default for ReplayCache {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplayCache {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { seen: BTreeSet::new(), order: BTreeSet::new(), forgotten: None, capacity: CAPACITY }
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
        (!self.seen.contains(&print(encrypted))).then_some(Unseen(*encrypted))
    }

    /// Remembers a message that authenticated, with its time stamp. False if it must not be answered, for it may
    /// be one that was forgotten.
    #[must_use]
    pub(super) fn insert(&mut self, unix: UnixTime, timestamp: u32, message: Unseen) -> bool {
        if self.forgotten.is_some_and(|forgotten| timestamp <= forgotten) {
            return false;
        }
        let print = print(message.key());
        let ahead = (unix + MAX_SKEW).as_secs_rounded().saturating_add(1);
        if timestamp >= ahead {
            let last = self.capacity / AHEAD_PART - 1;
            let full = self.order.range((ahead, 0)..).nth(last).is_some();
            if full && let Some(farthest) = self.order.last().copied() {
                if (timestamp, print) >= farthest {
                    return false;
                }
                self.order.remove(&farthest);
                self.seen.remove(&farthest.1);
            }
        }
        if !self.seen.insert(print) {
            return false;
        }
        self.order.insert((timestamp, print));
        if self.order.len() > self.capacity
            && let Some((timestamp, oldest)) = self.order.pop_first()
        {
            self.seen.remove(&oldest);
            self.forgotten = Some(timestamp);
            return oldest != print;
        }
        true
    }
}

/// A part of a key will do: the rest is as random, and whoever has the same part is taken for a replay.
fn print(encrypted: &[u8; 32]) -> u64 {
    encrypted.first_chunk().map_or(0, |part| u64::from_le_bytes(*part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};
    use alloc::collections::BTreeMap;

    const START: u32 = 1_700_000_000;

    fn key(n: u64) -> [u8; 32] {
        crate::crypto::hash::sha256(&n.to_be_bytes())
    }

    fn unix(seconds: u32) -> UnixTime {
        UnixTime::from_secs(seconds.into())
    }

    fn small(capacity: usize) -> ReplayCache {
        ReplayCache { capacity, ..ReplayCache::new() }
    }

    /// Whether the message would be answered.
    fn take(cache: &mut ReplayCache, now: u32, timestamp: u32, n: u64) -> bool {
        cache.check(&key(n)).is_some_and(|unseen| cache.insert(unix(now), timestamp, unseen))
    }

    #[test]
    fn a_message_is_never_new_again() {
        let mut cache = ReplayCache::new();
        for (n, skew) in [0, 60, -60, 61, -61, 57_600, -57_600].into_iter().enumerate() {
            let timestamp = START.saturating_add_signed(skew);
            assert!(take(&mut cache, START, timestamp, n as u64), "{skew} s ahead");
            for later in [0, 1, 130, 131, 3600, 57_600, 10_000_000] {
                assert!(!take(&mut cache, START + later, timestamp, n as u64), "{skew} s ahead");
            }
        }
        assert_eq!(cache.len(), 7);
    }

    #[test]
    fn when_full_the_oldest_is_forgotten_and_none_as_old_is_taken() {
        let mut cache = ReplayCache::new();
        for n in 0..CAPACITY as u32 + 10 {
            assert!(take(&mut cache, START + n, START + n, n.into()));
            assert!(cache.len() <= CAPACITY);
        }
        assert_eq!((cache.seen.len(), cache.order.len()), (CAPACITY, CAPACITY));
        let now = START + CAPACITY as u32;
        assert!(cache.check(&key(9)).is_some() && cache.check(&key(10)).is_none());
        assert!(!take(&mut cache, now, START + 9, 9), "a replay");
        assert!(!take(&mut cache, now, START + 9, 1_000_000), "it might be one");
        assert!(take(&mut cache, now, START + 11, 1_000_001));
    }

    #[test]
    fn clocks_far_ahead_push_out_each_other_only() {
        let mut cache = small(64);
        assert!(take(&mut cache, START, START, 0));
        for n in 1..1000 {
            let _taken = take(&mut cache, START, START + 61 + (n * 7919 % 1009) as u32, n);
            assert!(cache.len() <= 1 + 64 / AHEAD_PART);
        }
        assert_eq!((cache.len(), cache.forgotten), (1 + 64 / AHEAD_PART, None));
        assert!(!take(&mut cache, START, START + 100_000, 5000), "farther ahead than all");
        assert!(take(&mut cache, START, START + 61, 5001), "nearer than all");
        assert!(!take(&mut cache, START, START, 0));
        assert!(take(&mut cache, START, START - 3600, 5002), "and one that is late");
    }

    /// Any clocks of peers, and of our own: what was answered once is not answered again.
    #[test]
    fn at_any_pace_and_by_any_clock_nothing_is_answered_twice() {
        let (mut again, mut refused) = (0, 0);
        for seed in 0..100 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let mut cache = small(16 + rng.index(100));
            let mut model: BTreeMap<u64, u32> = BTreeMap::new();
            let (mut time, mut set, pace) = (0, 0, 1 + rng.below(100));
            for n in 0..1000 {
                let now = START + time + set;
                if rng.below(3) > 0 {
                    let skew = if rng.below(4) == 0 { rng.below(4000) } else { rng.below(120) };
                    let late = rng.below(2) * skew;
                    let timestamp = now + rng.below(60) as u32 - late as u32;
                    if take(&mut cache, now, timestamp, n) {
                        model.insert(n, timestamp);
                    } else {
                        refused += 1;
                    }
                } else if n > 0 {
                    let old = rng.below(n);
                    if let Some(timestamp) = model.get(&old) {
                        assert!(!take(&mut cache, now, *timestamp, old), "seed {seed}");
                        again += 1;
                    }
                }
                assert_eq!(cache.seen.len(), cache.order.len());
                assert!(cache.len() <= cache.capacity);
                time += rng.below(pace) as u32;
                if rng.below(100) == 0 {
                    set = rng.below(3600) as u32;
                }
            }
            let until = START + time + set + 120;
            for (old, timestamp) in model {
                assert!(!take(&mut cache, until, timestamp, old), "seed {seed}");
            }
        }
        assert!(again > 5000 && refused > 1000, "{again} again, {refused} refused");
    }
}
