//! What one destination, or the router itself, knows and experienced.
//!
//! Contexts share no lease sets, lookups, failures or routers heard of: whoever answers one of
//! our destinations in a way of his own must not find that answer again at another one or at the
//! router (CVE-2023-36325).

use super::routing_key::{Distance, RoutingKey};
use super::store::StoreError;
use super::traits::Traits;
use crate::audit::Audit;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::lease_set::LeaseSet;
use crate::wire::router_info::RouterInfo;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// Lease sets of one context.
pub const MAX_LEASE_SETS: usize = 300;
/// Floodfills that only one context heard of.
pub(crate) const MAX_PRIVATE_ROUTERS: usize = 64;
/// Keys that could not be found, remembered.
const MAX_FAILED_KEYS: usize = 128;
/// Floodfills that did not serve us, remembered.
const MAX_STRIKES: usize = 256;
/// A lease set may end, and be stamped, this far ahead: leases last ten minutes, clocks differ.
const MAX_LEASE_AHEAD: Duration = Duration::from_secs(16 * 60);
/// A set of lease sets may last longer: 65,535 seconds and a little.
const MAX_META_AHEAD: Duration = Duration::from_secs(18 * 3600 + 15 * 60 + 16 * 60);
/// This many failures in [`FAILURES_COUNT`], and the next lookup is answered at once.
const FAILURES_CACHED_AFTER: u8 = 4;
const FAILURES_COUNT: Duration = Duration::from_secs(120);
/// How long it is answered at once: short, since a site that just started is looked for in vain at
/// first, and whoever wants it tries again.
const FAILURE_CACHED: Duration = Duration::from_secs(5);
/// A floodfill with this many strikes in a row is passed over.
const STRIKES_OUT: u8 = 2;
/// For this long, doubled with each further strike up to 16 minutes.
const STRIKE_PAUSE: Duration = Duration::from_secs(60);

/// The state of one context.
pub(crate) struct ContextState {
    lease_sets: BTreeMap<Hash, LeaseRecord>,
    routers: BTreeMap<Hash, PrivateRouter>,
    failed: BTreeMap<Hash, Failed>,
    strikes: BTreeMap<Hash, Strikes>,
    pub(crate) rtt: Rtt,
    /// Lookups under way that callers asked for.
    pub(crate) lookups: usize,
}

impl ContextState {
    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("netdb: lease sets of a context", self.lease_sets.len(), MAX_LEASE_SETS);
        audit.see("netdb: routers of a context", self.routers.len(), MAX_PRIVATE_ROUTERS);
        audit.see("netdb: keys not found", self.failed.len(), MAX_FAILED_KEYS);
        audit.see("netdb: floodfills with strikes", self.strikes.len(), MAX_STRIKES);
    }
}

struct LeaseRecord {
    set: LeaseSet,
    /// We looked for it, rather than being sent it.
    asked: bool,
    used: Instant,
}

struct PrivateRouter {
    info: RouterInfo,
    floodfill: bool,
    heard: Instant,
}

struct Failed {
    first: Instant,
    times: u8,
    until: Option<Instant>,
}

struct Strikes {
    in_a_row: u8,
    until: Instant,
}

/// How long answers take: smoothed time and deviation, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: u32,
    deviation: u32,
}

impl ContextState {
    pub(crate) const fn new() -> Self {
        Self {
            lease_sets: BTreeMap::new(),
            routers: BTreeMap::new(),
            failed: BTreeMap::new(),
            strikes: BTreeMap::new(),
            rtt: Rtt { smoothed: 0, deviation: 0 },
            lookups: 0,
        }
    }

    /// The lease set of `key`, unless it is over.
    pub(crate) fn lease_set(&self, key: &Hash, unix: UnixTime) -> Option<&LeaseSet> {
        self.lease_sets.get(key).map(|r| &r.set).filter(|set| is_current(set, unix))
    }

    /// As [`lease_set`](Self::lease_set), and remembers that it is in use.
    pub(crate) fn use_lease_set(
        &mut self,
        now: Instant,
        key: &Hash,
        unix: UnixTime,
    ) -> Option<LeaseSet> {
        let record = self.lease_sets.get_mut(key)?;
        record.used = now;
        Some(record.set.clone()).filter(|set| is_current(set, unix))
    }

    pub(crate) fn lease_sets(&self) -> usize {
        self.lease_sets.len()
    }

    /// Stores a lease set whose signature is good. When full, those that are over go first, then
    /// those we were sent, then those we asked for; of each the one unused for longest.
    pub(crate) fn insert_lease_set(
        &mut self,
        now: Instant,
        unix: UnixTime,
        set: LeaseSet,
        asked: bool,
    ) {
        let key = set.key();
        if let Some(record) = self.lease_sets.get_mut(&key) {
            record.set = set;
            record.asked |= asked;
            return;
        }
        if self.lease_sets.len() >= MAX_LEASE_SETS {
            let victim = self
                .lease_sets
                .iter()
                .min_by_key(|(_, r)| (r.set.expires() > unix, r.asked, r.used))
                .map(|(key, _)| *key);
            if let Some(victim) = victim {
                self.lease_sets.remove(&victim);
            }
        }
        self.lease_sets.insert(key, LeaseRecord { set, asked, used: now });
    }

    /// A floodfill or other router that only this context heard of.
    pub(crate) fn router(&self, hash: &Hash) -> Option<&RouterInfo> {
        self.routers.get(hash).map(|r| &r.info)
    }

    /// Remembers a router for this context alone; the one heard of first goes when full.
    pub(crate) fn insert_router(&mut self, now: Instant, info: RouterInfo, traits: &Traits) {
        let hash = info.hash();
        if !self.routers.contains_key(&hash) && self.routers.len() >= MAX_PRIVATE_ROUTERS {
            let oldest = self.routers.iter().min_by_key(|(_, r)| r.heard).map(|(h, _)| *h);
            if let Some(oldest) = oldest {
                self.routers.remove(&oldest);
            }
        }
        let router = PrivateRouter { info, floodfill: traits.floodfill, heard: now };
        self.routers.insert(hash, router);
    }

    /// The floodfills that only this context heard of, with their distances.
    pub(crate) fn private_floodfills(
        &self,
        target: &RoutingKey,
    ) -> impl Iterator<Item = (Distance, Hash)> {
        let floodfills = self.routers.iter().filter(|(_, r)| r.floodfill);
        floodfills.map(|(hash, _)| (target.distance(hash), *hash))
    }

    /// True when lookups of `key` failed so often lately that another one is pointless.
    pub(crate) fn failed_lately(&self, now: Instant, key: &Hash) -> bool {
        self.failed.get(key).and_then(|f| f.until).is_some_and(|until| until > now)
    }

    /// A lookup of `key` found nothing, though floodfills answered.
    pub(crate) fn note_failed(&mut self, now: Instant, key: Hash) {
        if !self.failed.contains_key(&key) && self.failed.len() >= MAX_FAILED_KEYS {
            let oldest = self.failed.iter().min_by_key(|(_, f)| f.first).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.failed.remove(&oldest);
            }
        }
        let failed = self.failed.entry(key).or_insert(Failed { first: now, times: 0, until: None });
        if now.saturating_since(failed.first) > FAILURES_COUNT {
            *failed = Failed { first: now, times: 0, until: None };
        }
        failed.times = failed.times.saturating_add(1);
        if failed.times >= FAILURES_CACHED_AFTER {
            *failed = Failed { first: now, times: 0, until: Some(now + FAILURE_CACHED) };
        }
    }

    /// It is there after all.
    pub(crate) fn note_found(&mut self, key: &Hash) {
        self.failed.remove(key);
    }

    /// A floodfill answered, or confirmed a store.
    pub(crate) fn note_served(&mut self, floodfill: &Hash) {
        self.strikes.remove(floodfill);
    }

    /// A floodfill did not answer, or answered badly.
    pub(crate) fn note_strike(&mut self, now: Instant, floodfill: Hash) {
        if !self.strikes.contains_key(&floodfill) && self.strikes.len() >= MAX_STRIKES {
            let oldest = self.strikes.iter().min_by_key(|(_, s)| s.until).map(|(h, _)| *h);
            if let Some(oldest) = oldest {
                self.strikes.remove(&oldest);
            }
        }
        let strikes = self.strikes.entry(floodfill).or_insert(Strikes { in_a_row: 0, until: now });
        strikes.in_a_row = strikes.in_a_row.saturating_add(1);
        if let Some(over) = strikes.in_a_row.checked_sub(STRIKES_OUT) {
            strikes.until = now + STRIKE_PAUSE * (1 << over.min(4));
        }
    }

    /// True for a floodfill that is to be passed over for now.
    pub(crate) fn shuns(&self, now: Instant, floodfill: &Hash) -> bool {
        self.strikes.get(floodfill).is_some_and(|s| s.until > now)
    }

    /// Forgets lease sets that are over.
    pub(crate) fn sweep(&mut self, unix: UnixTime) {
        self.lease_sets.retain(|_, r| is_current(&r.set, unix));
    }
}

/// Not over; nor from the future, as it may be after our clock was put back.
pub(crate) fn is_current(set: &LeaseSet, unix: UnixTime) -> bool {
    set.expires() > unix && set.published() <= unix + max_ahead(set)
}

const fn max_ahead(set: &LeaseSet) -> Duration {
    match set {
        LeaseSet::V1(_) | LeaseSet::V2(_) | LeaseSet::Encrypted(_) => MAX_LEASE_AHEAD,
        LeaseSet::Meta(_) => MAX_META_AHEAD,
    }
}

/// The checks of a lease set that need no signature.
pub(crate) fn check_lease_set(set: &LeaseSet, unix: UnixTime) -> Result<(), StoreError> {
    let ahead = max_ahead(set);
    let latest = set.leases().iter().map(|l| l.expires).max().unwrap_or_default();
    if set.expires().max(set.published()).max(latest) > unix + ahead {
        return Err(StoreError::Future);
    }
    let leases = match set {
        LeaseSet::V1(_) | LeaseSet::V2(_) => latest > unix,
        LeaseSet::Encrypted(_) | LeaseSet::Meta(_) => true,
    };
    if set.expires() <= unix || !leases {
        return Err(StoreError::Expired);
    }
    Ok(())
}

impl Rtt {
    /// A measured answer (RFC 6298).
    pub(crate) fn sample(&mut self, latency: Duration) {
        let ms = u32::try_from(latency.as_millis()).unwrap_or(u32::MAX).clamp(1, 60_000);
        if self.smoothed == 0 {
            (self.smoothed, self.deviation) = (ms, ms / 2);
        } else {
            self.deviation = (self.deviation * 3 + self.smoothed.abs_diff(ms)) / 4;
            self.smoothed = (self.smoothed * 7 + ms) / 8;
        }
    }

    /// How long to wait for an answer.
    pub(crate) fn timeout(self) -> Duration {
        const FIRST: Duration = Duration::from_millis(2000);
        const LEAST: Duration = Duration::from_millis(1500);
        const MOST: Duration = Duration::from_millis(4000);
        if self.smoothed == 0 {
            return FIRST;
        }
        let wait = u64::from(self.smoothed) + 4 * u64::from(self.deviation);
        Duration::from_millis(wait).clamp(LEAST, MOST)
    }

    /// How long a second path waits for the first to be answered.
    pub(crate) fn stagger(self) -> Duration {
        const FIRST: Duration = Duration::from_millis(600);
        if self.smoothed == 0 {
            return FIRST;
        }
        let wait = u64::from(self.smoothed) + u64::from(self.deviation);
        Duration::from_millis(wait).clamp(Duration::from_millis(250), Duration::from_millis(1000))
    }
}

/// The nearest of `floodfills`, by distance, at most `n`, without duplicates.
pub(crate) fn nearest(
    mut floodfills: Vec<(Distance, Hash)>,
    n: usize,
) -> impl Iterator<Item = Hash> {
    floodfills.sort_unstable();
    floodfills.dedup();
    floodfills.into_iter().take(n).map(|(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdb::testing::{Maker, UNIX, at, lease_set, lease_set_until};
    use crate::wire::router_info::Reach;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn lease_sets_are_bounded_and_what_we_asked_for_stays_longest() {
        let mut ctx = ContextState::new();
        let asked = lease_set(0, UNIX);
        ctx.insert_lease_set(at(0), UNIX, asked.clone(), true);
        for n in 1..=MAX_LEASE_SETS as u64 + 40 {
            ctx.insert_lease_set(at(n), UNIX, lease_set(n, UNIX), false);
            assert!(ctx.lease_sets() <= MAX_LEASE_SETS);
        }
        assert_eq!(ctx.lease_set(&asked.key(), UNIX), Some(&asked));
        assert!(ctx.lease_set(&lease_set(1, UNIX).key(), UNIX).is_none(), "the oldest went");
        // Even what we asked for goes once it is over.
        let later = UNIX + secs(601);
        ctx.insert_lease_set(at(9999), later, lease_set(999, later), false);
        assert_eq!(ctx.lease_sets(), MAX_LEASE_SETS);
        ctx.sweep(later);
        assert_eq!(ctx.lease_sets(), 1);
    }

    #[test]
    fn an_expired_lease_set_is_not_given_out() {
        let mut ctx = ContextState::new();
        let set = lease_set(1, UNIX);
        ctx.insert_lease_set(at(0), UNIX, set.clone(), true);
        assert!(ctx.use_lease_set(at(0), &set.key(), UNIX + secs(599)).is_some());
        assert!(ctx.use_lease_set(at(0), &set.key(), UNIX + secs(600)).is_none());
    }

    #[test]
    fn lease_sets_of_the_future_and_of_the_past_are_refused() {
        let check = |set: &LeaseSet, unix| check_lease_set(set, unix);
        let set = lease_set_until(1, UNIX, UNIX + secs(600));
        assert_eq!(check(&set, UNIX), Ok(()));
        assert_eq!(check(&set, UNIX + secs(600)), Err(StoreError::Expired));
        assert_eq!(check(&set, UNIX - secs(360)), Ok(()));
        assert_eq!(check(&set, UNIX - secs(361)), Err(StoreError::Future));
    }

    #[test]
    fn a_key_that_keeps_failing_is_answered_at_once_for_a_while() {
        let mut ctx = ContextState::new();
        let key = Hash([1; 32]);
        for n in 0..3 {
            ctx.note_failed(at(n * 1000), key);
            assert!(!ctx.failed_lately(at(n * 1000), &key));
        }
        ctx.note_failed(at(3000), key);
        assert!(ctx.failed_lately(at(3000), &key));
        assert!(!ctx.failed_lately(at(23_000), &key));
        // Failures far apart are not the same trouble.
        let slow = Hash([2; 32]);
        for n in 0..9 {
            ctx.note_failed(at(n * 121_000), slow);
            assert!(!ctx.failed_lately(at(n * 121_000), &slow));
        }
        ctx.note_failed(at(0), key);
        ctx.note_found(&key);
        assert!(!ctx.failed.contains_key(&key));
        for n in 0..1000u32 {
            ctx.note_failed(at(n.into()), Hash::of(&n.to_be_bytes()));
        }
        assert_eq!(ctx.failed.len(), MAX_FAILED_KEYS);
    }

    #[test]
    fn silent_floodfills_are_passed_over_for_a_while() {
        let mut ctx = ContextState::new();
        let f = Hash([1; 32]);
        ctx.note_strike(at(0), f);
        assert!(!ctx.shuns(at(0), &f), "one message may get lost");
        ctx.note_strike(at(0), f);
        assert!(ctx.shuns(at(0), &f) && !ctx.shuns(at(60_000), &f));
        ctx.note_strike(at(60_000), f);
        assert!(ctx.shuns(at(179_000), &f));
        for _ in 0..300 {
            ctx.note_strike(at(0), f);
        }
        assert!(!ctx.shuns(at(16 * 60_000), &f));
        ctx.note_served(&f);
        assert!(!ctx.shuns(at(0), &f));
        for n in 0..1000u32 {
            ctx.note_strike(at(0), Hash::of(&n.to_be_bytes()));
        }
        assert_eq!(ctx.strikes.len(), MAX_STRIKES);
    }

    #[test]
    fn private_routers_are_bounded() {
        let mut ctx = ContextState::new();
        for n in 0..MAX_PRIVATE_ROUTERS as u64 + 5 {
            let info = Maker::floodfill(n).build();
            let traits = Traits::of(&info, Reach::ntcp2(false));
            ctx.insert_router(at(n), info, &traits);
        }
        assert_eq!(ctx.routers.len(), MAX_PRIVATE_ROUTERS);
        assert!(ctx.router(&Maker::floodfill(0).hash()).is_none());
        let target = RoutingKey::new(&Hash([1; 32]), UNIX);
        let near: Vec<Hash> = nearest(ctx.private_floodfills(&target).collect(), 3).collect();
        assert_eq!(near.len(), 3);
        assert!(near.is_sorted_by_key(|h| target.distance(h)));
    }

    #[test]
    fn timeouts_follow_what_is_measured_within_bounds() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), secs(2));
        for _ in 0..50 {
            rtt.sample(Duration::from_millis(20));
        }
        assert_eq!(rtt.timeout(), Duration::from_millis(1500));
        assert_eq!(rtt.stagger(), Duration::from_millis(250));
        for _ in 0..50 {
            rtt.sample(secs(3));
        }
        assert!(rtt.timeout() >= secs(3) && rtt.timeout() <= secs(4));
        for _ in 0..50 {
            rtt.sample(secs(50));
        }
        assert_eq!(rtt.timeout(), secs(4));
    }
}
