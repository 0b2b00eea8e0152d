//! The lease sets that a floodfill keeps: those that were published to it, and nothing that the
//! router or its destinations heard of otherwise.

use crate::audit::Audit;
use crate::netdb::context::is_current;
use crate::netdb::routing_key::{Distance, RoutingKey};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::lease_set::LeaseSet;
use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

/// Lease sets that a floodfill keeps. When full, the one farthest from us goes: it has others
/// that are nearer.
pub const MAX_KEPT: usize = 5_000;
/// One key is passed on so often in [`FLOOD_WINDOW`].
const FLOODS: u8 = 3;
const FLOOD_WINDOW: Duration = Duration::from_secs(90);

struct Record {
    set: LeaseSet,
    distance: Distance,
    floods: Floods,
}

/// How often something was passed on lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floods {
    since: Instant,
    count: u8,
}

impl Floods {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// True when it may be passed on once more.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            *self = Self::new(now);
        }
        let more = self.count < FLOODS;
        self.count += u8::from(more);
        more
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_since(self.since) >= FLOOD_WINDOW
    }
}

/// The store.
pub(super) struct Kept {
    local: Hash,
    sets: BTreeMap<Hash, Record>,
    /// The same, by their distance from us on `day`.
    by_distance: BTreeSet<(Distance, Hash)>,
    day: [u8; 8],
}

impl Kept {
    pub(super) const fn new(local: Hash) -> Self {
        Self { local, sets: BTreeMap::new(), by_distance: BTreeSet::new(), day: [0; 8] }
    }

    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("floodfill: lease sets", self.sets.len(), MAX_KEPT);
        audit.see("floodfill: lease sets by distance", self.by_distance.len(), self.sets.len());
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// What was published under `key`, unless it is over.
    pub(super) fn get(&self, key: &Hash, unix: UnixTime) -> Option<&LeaseSet> {
        self.sets.get(key).map(|r| &r.set).filter(|set| is_current(set, unix))
    }

    /// True when there is room for `key`, or it is nearer than another one.
    pub(super) fn has_room(&self, key: &Hash, unix: UnixTime) -> bool {
        self.sets.len() < MAX_KEPT
            || self.sets.contains_key(key)
            || self.by_distance.last().is_some_and(|(farthest, _)| {
                RoutingKey::new(key, unix).distance(&self.local) < *farthest
            })
    }

    /// Keeps a set whose signature is good; [`has_room`](Self::has_room) was asked.
    pub(super) fn insert(&mut self, now: Instant, unix: UnixTime, set: LeaseSet) {
        self.turn(unix);
        let key = set.key();
        if let Some(record) = self.sets.get_mut(&key) {
            record.set = set;
            return;
        }
        if self.sets.len() >= MAX_KEPT
            && let Some((_, farthest)) = self.by_distance.pop_last()
        {
            self.sets.remove(&farthest);
        }
        let distance = RoutingKey::new(&key, unix).distance(&self.local);
        self.by_distance.insert((distance, key));
        self.sets.insert(key, Record { set, distance, floods: Floods::new(now) });
    }

    /// True when `key` may be passed on once more.
    pub(super) fn may_flood(&mut self, now: Instant, key: &Hash) -> bool {
        self.sets.get_mut(key).is_some_and(|r| r.floods.take(now))
    }

    /// Forgets what is over.
    pub(super) fn sweep(&mut self, unix: UnixTime) {
        self.turn(unix);
        let by_distance = &mut self.by_distance;
        self.sets.retain(|key, record| {
            let stays = is_current(&record.set, unix);
            if !stays {
                by_distance.remove(&(record.distance, *key));
            }
            stays
        });
    }

    /// Keys move at midnight.
    pub(super) fn turn(&mut self, unix: UnixTime) {
        let day = unix.yyyymmdd();
        if day == self.day {
            return;
        }
        self.day = day;
        self.by_distance.clear();
        for (key, record) in &mut self.sets {
            record.distance = RoutingKey::new(key, unix).distance(&self.local);
            self.by_distance.insert((record.distance, *key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdb::testing::{UNIX, at, lease_set};

    #[test]
    fn when_full_the_farthest_goes_and_one_that_is_farther_is_not_taken() {
        let local = Hash([5; 32]);
        let mut kept = Kept::new(local);
        let distance = |key: &Hash| RoutingKey::new(key, UNIX).distance(&local);
        // Makers are slow, so the store is filled with copies of one set under invented keys.
        let one = lease_set(1, UNIX);
        for n in 0..MAX_KEPT as u64 {
            let key = Hash::of(&n.to_be_bytes());
            let floods = Floods::new(at(0));
            let record = Record { set: one.clone(), distance: distance(&key), floods };
            kept.by_distance.insert((record.distance, key));
            kept.sets.insert(key, record);
        }
        kept.day = UNIX.yyyymmdd();
        let (mut taken, mut refused) = (0, 0);
        for n in 2..60 {
            let set = lease_set(n, UNIX);
            let (farthest, victim) = *kept.by_distance.last().unwrap();
            if kept.has_room(&set.key(), UNIX) {
                assert!(distance(&set.key()) < farthest);
                kept.insert(at(0), UNIX, set.clone());
                assert_eq!(kept.get(&set.key(), UNIX), Some(&set));
                assert!(kept.get(&victim, UNIX).is_none());
                taken += 1;
            } else {
                refused += 1;
            }
            assert_eq!((kept.len(), kept.by_distance.len()), (MAX_KEPT, MAX_KEPT));
        }
        assert!(taken > 0, "{taken} {refused}");
        let far = (0u64..).map(|n| Hash::of(&n.to_le_bytes()));
        let far = far.take(100_000).max_by_key(|key| distance(key)).unwrap();
        assert!(!kept.has_room(&far, UNIX));
        kept.sweep(UNIX + Duration::from_secs(601));
        assert_eq!((kept.len(), kept.by_distance.len()), (0, 0));
    }

    #[test]
    fn distances_follow_the_day() {
        let local = Hash([5; 32]);
        let mut kept = Kept::new(local);
        let set = lease_set(1, UNIX);
        kept.insert(at(0), UNIX, set.clone());
        let later = UNIX + Duration::from_secs(86_400);
        let next = lease_set(2, later);
        kept.insert(at(86_400_000), later, next.clone());
        for set in [set, next] {
            let distance = RoutingKey::new(&set.key(), later).distance(&local);
            assert!(kept.by_distance.contains(&(distance, set.key())));
        }
    }

    #[test]
    fn one_key_is_passed_on_three_times_in_ninety_seconds() {
        let mut kept = Kept::new(Hash([5; 32]));
        let set = lease_set(1, UNIX);
        kept.insert(at(0), UNIX, set.clone());
        let mut count = |from: u64, to| {
            (from..to).filter(|ms| kept.may_flood(at(ms * 1000), &set.key())).count()
        };
        assert_eq!(count(0, 90), 3);
        assert_eq!(count(90, 180), 3);
        assert!(!kept.may_flood(at(0), &Hash([1; 32])), "unknown");
    }
}
