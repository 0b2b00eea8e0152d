//! Where a key lives today, and who is near it (netdb documentation, "Kademlia Closeness Metric").
//!
//! Only the key that is searched for or stored is transformed, router hashes are compared as they
//! are; messages always carry the real key.

use crate::crypto::hash::sha256_concat;
use crate::time::UnixTime;
use crate::wire::hash::Hash;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

/// Milliseconds of a UTC day.
const DAY_MS: u64 = 86_400_000;

/// A leaf of the walk is sorted as a whole once it holds no more routers than this.
const LEAF: usize = 8;

/// `SHA256(key || "YYYYMMDD")`: the place of a key in the keyspace for one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoutingKey(Hash);

/// The bitwise difference between a routing key and a router hash; smaller is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance([u8; 32]);

impl RoutingKey {
    /// The place of `key` on the day of `unix`.
    #[must_use]
    pub fn new(key: &Hash, unix: UnixTime) -> Self {
        Self(Hash(sha256_concat(&[key.as_bytes(), &unix.yyyymmdd()])))
    }

    /// How far a router is from here.
    #[must_use]
    pub fn distance(&self, router: &Hash) -> Distance {
        Distance(self.0.xor(router))
    }
}

impl Distance {
    /// The share of the keyspace that is nearer than this, in units of 2^-64.
    pub(crate) const fn share(&self) -> u64 {
        match self.0.first_chunk::<8>() {
            Some(head) => u64::from_be_bytes(*head),
            None => u64::MAX,
        }
    }
}

/// Time until routing keys turn: more than zero, at most a day.
#[must_use]
pub const fn until_midnight(unix: UnixTime) -> Duration {
    Duration::from_millis(DAY_MS - unix.as_millis() % DAY_MS)
}

/// Time since routing keys turned, less than a day.
#[must_use]
pub const fn since_midnight(unix: UnixTime) -> Duration {
    Duration::from_millis(unix.as_millis() % DAY_MS)
}

/// The members of `set` in order of their distance from `target`, found lazily: the first few of
/// many cost a handful of range queries, whatever the size of the set.
pub(crate) fn closest<'a>(set: &'a BTreeSet<Hash>, target: &RoutingKey) -> Closest<'a> {
    let whole = Span { low: Hash([0; 32]), high: Hash([0xff; 32]), bit: 0 };
    Closest { set, target: *target, spans: alloc::vec![whole], leaf: Vec::new() }
}

/// All hashes that share their first `bit` bits.
struct Span {
    low: Hash,
    high: Hash,
    bit: usize,
}

/// The iterator of [`closest`]: a walk over the implicit binary trie of an ordered set, nearer half
/// first.
pub(crate) struct Closest<'a> {
    set: &'a BTreeSet<Hash>,
    target: RoutingKey,
    /// Spans still to visit, the nearest last.
    spans: Vec<Span>,
    /// Hashes of the nearest span, the nearest last.
    leaf: Vec<Hash>,
}

impl Iterator for Closest<'_> {
    type Item = Hash;

    fn next(&mut self) -> Option<Hash> {
        loop {
            if let Some(hash) = self.leaf.pop() {
                return Some(hash);
            }
            let span = self.spans.pop()?;
            self.leaf.extend(self.set.range(span.low..=span.high).take(LEAF + 1));
            if self.leaf.len() > LEAF
                && let Some((near, far)) = span.split(&self.target)
            {
                self.leaf.clear();
                self.spans.push(far);
                self.spans.push(near);
                continue;
            }
            self.leaf.sort_by_key(|h| core::cmp::Reverse(self.target.distance(h)));
        }
    }
}

impl Span {
    /// The half on the target's side of the next bit, then the other. `None` for a single hash.
    fn split(&self, target: &RoutingKey) -> Option<(Self, Self)> {
        let (byte, mask) = (self.bit / 8, 0x80u8 >> (self.bit % 8));
        let (mut zero_high, mut one_low) = (self.high, self.low);
        *zero_high.0.get_mut(byte)? &= !mask;
        *one_low.0.get_mut(byte)? |= mask;
        let bit = self.bit + 1;
        let zero = Self { low: self.low, high: zero_high, bit };
        let one = Self { low: one_low, high: self.high, bit };
        let ones_nearer = target.0.as_bytes().get(byte)? & mask != 0;
        Some(if ones_nearer { (one, zero) } else { (zero, one) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};

    // Computed with sha256sum over the 32 bytes followed by the ASCII date.
    #[test]
    fn a_known_routing_key() {
        let key = Hash([1; 32]);
        let unix = UnixTime::from_secs(1_735_689_599);
        let got = data_encoding::HEXLOWER.encode(RoutingKey::new(&key, unix).0.as_bytes());
        assert_eq!(got, "ec055da6fdfd9701628e62d42e287f6808823ff4945d2d06e9e5d14bb489c5b9");
    }

    #[test]
    fn keys_turn_at_utc_midnight_and_not_before() {
        let key = Hash([7; 32]);
        let midnight = UnixTime::from_secs(1_735_689_600);
        let before = UnixTime::from_millis(midnight.as_millis() - 1);
        let next = UnixTime::from_millis(midnight.as_millis() + DAY_MS - 1);
        assert_ne!(RoutingKey::new(&key, before), RoutingKey::new(&key, midnight));
        assert_eq!(RoutingKey::new(&key, midnight), RoutingKey::new(&key, next));
        assert_eq!(until_midnight(before), Duration::from_millis(1));
        assert_eq!(until_midnight(midnight), Duration::from_millis(DAY_MS));
        assert_eq!(since_midnight(midnight), Duration::ZERO);
        assert_eq!(since_midnight(before), Duration::from_millis(DAY_MS - 1));
    }

    #[test]
    fn the_walk_gives_every_member_nearest_first() {
        let mut rng = Rng::new(&Seed::from_number(3));
        for size in [0usize, 1, 2, 8, 9, 10, 100, 1000] {
            let mut set: BTreeSet<Hash> = (0..size).map(|_| Hash(rng.bytes())).collect();
            let target = RoutingKey(Hash(rng.bytes()));
            // A cluster of routers that differ in their last bits only.
            for i in 0..20u8 {
                let mut near = target.0;
                near.0[31] ^= i;
                set.insert(near);
            }
            let mut want: Vec<Hash> = set.iter().copied().collect();
            want.sort_by_key(|h| target.distance(h));
            let got: Vec<Hash> = closest(&set, &target).collect();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn the_share_of_a_distance_is_its_leading_bits() {
        let mut d = [0; 32];
        d[0] = 0x80;
        assert_eq!(Distance(d).share(), 1 << 63);
        assert_eq!(Distance([0xff; 32]).share(), u64::MAX);
    }
}
