//! The RouterInfos that we know: which are let in, which are kept, which are forgotten
//! (notes 7.4; budgets of 6,000 verified and 2,000 unverified).
//!
//! A router is *verified* once we saw it at work ourselves, or when it was named by a source that
//! the user trusts. All others share a smaller place, so that whoever invents routers can only
//! push out what nobody has met yet.

use super::profile::Profiles;
use super::routing_key::{Closest, RoutingKey, closest};
use super::sampled::Sampled;
use super::traits::Traits;
use crate::audit::Audit;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::router_info::{Reach, RouterInfo};
use alloc::collections::BTreeSet;
use core::time::Duration;

/// Routers that we saw at work.
pub const MAX_VERIFIED: usize = 6_000;
/// Routers that we only heard of.
pub const MAX_UNVERIFIED: usize = 2_000;
/// Entries that are compared when one must go.
const EVICTION_SAMPLE: usize = 16;
/// A network of this size or smaller is kept whole.
pub const SMALL_NETWORK: usize = 90;
/// Nothing expires before we had the time to hear of newer versions.
const EXPIRY_STARTS_AFTER: Duration = Duration::from_secs(3600);
/// The age that a RouterInfo may reach in a network just above [`SMALL_NETWORK`].
const MAX_AGE: Duration = Duration::from_secs(27 * 3600);
/// The age that it may always reach.
const MIN_MAX_AGE: Duration = Duration::from_secs(90 * 60);
/// The age that it may reach at a floodfill.
const MAX_AGE_OF_FLOODFILL: Duration = Duration::from_secs(3600);
/// Nothing older is ever taken, however small the network.
pub const OLDEST_ACCEPTED: Duration = Duration::from_secs(30 * 86_400);
/// Clocks may differ by this much before a RouterInfo counts as made in the future.
pub const MAX_AHEAD: Duration = Duration::from_secs(120);
/// Entries looked at in one sweep for expiry.
const SWEEP: usize = 256;
/// A stored copy is renewed once it is this much older than what we hold.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Where a RouterInfo came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Our own store, written earlier.
    Saved,
    /// A file or zip that the user trusts.
    Reseed,
    /// Its own router, over a session.
    Itself,
    /// Anybody else.
    Others,
}

/// Why an entry is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It is our own; nobody needs to tell us.
    #[error("our own entry")]
    Own,
    /// Nobody asked for it.
    #[error("not asked for")]
    Unwanted,
    /// More new routers at once than we want to check.
    #[error("too many new routers at once")]
    Throttled,
    /// What we have is newer, or another one of the same time.
    #[error("not newer than what is known")]
    Older,
    /// It names no network, or another one. Its router's fault, or that of who sends it.
    #[error("of another network")]
    WrongNetwork,
    /// Made in the future: its router's clock is wrong, or ours.
    #[error("made in the future")]
    Future,
    /// Too old to be of use.
    #[error("too old")]
    TooOld,
    /// A lease set without a lease that is still good.
    #[error("expired")]
    Expired,
    /// Forged or damaged. The sender's fault.
    #[error("signature does not verify")]
    BadSignature,
    /// A floodfill that is full keeps those nearest to it.
    #[error("others are nearer")]
    TooFar,
    /// Too many destinations.
    #[error("no room for another context")]
    Full,
}

/// What became of an entry that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was not known.
    New,
    /// It replaced an older one.
    Newer,
    /// It is known already in this version.
    Known,
}

/// A RouterInfo and what we worked out about it.
pub(crate) struct Record {
    pub(crate) info: RouterInfo,
    pub(crate) traits: Traits,
    /// The version that the embedder's store holds.
    saved: Option<UnixTime>,
}

/// The store of RouterInfos.
pub(crate) struct Routers {
    local: Hash,
    net_id: u8,
    reach: Reach,
    started: Instant,
    verified: Sampled<Record>,
    unverified: Sampled<Record>,
    floodfills: BTreeSet<Hash>,
    /// Those that others may use as hops and that are no floodfills.
    ordinary: BTreeSet<Hash>,
    /// We are a floodfill ourselves.
    serving: bool,
    /// Verified entries whose stored copy is missing or outdated.
    unsaved: BTreeSet<Hash>,
    /// Entries with a stored copy that are gone from here.
    forgotten: BTreeSet<Hash>,
    sweep: Option<Hash>,
}

impl Routers {
    pub(crate) const fn new(local: Hash, net_id: u8, reach: Reach, now: Instant) -> Self {
        Self {
            local,
            net_id,
            reach,
            started: now,
            verified: Sampled::new(),
            unverified: Sampled::new(),
            floodfills: BTreeSet::new(),
            ordinary: BTreeSet::new(),
            serving: false,
            unsaved: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            sweep: None,
        }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("netdb: verified routers", self.verified.len(), MAX_VERIFIED);
        audit.see("netdb: unverified routers", self.unverified.len(), MAX_UNVERIFIED);
        audit.see("netdb: floodfills", self.floodfills.len(), self.len());
        audit.see("netdb: ordinary routers", self.ordinary.len(), self.len());
        audit.see("netdb: routers to write", self.unsaved.len(), self.verified.len());
        audit.see("netdb: routers to delete", self.forgotten.len(), MAX_VERIFIED);
    }

    /// Routers in both tiers.
    pub(crate) fn len(&self) -> usize {
        self.verified.len() + self.unverified.len()
    }

    /// Verified and unverified routers, and floodfills among them.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.verified.len(), self.unverified.len(), self.floodfills.len())
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<&Record> {
        self.find(hash).map(|(record, _)| record)
    }

    /// The same, with whether it is verified.
    pub(crate) fn find(&self, hash: &Hash) -> Option<(&Record, bool)> {
        let verified = self.verified.get(hash).map(|r| (r, true));
        verified.or_else(|| self.unverified.get(hash).map(|r| (r, false)))
    }

    /// All records, those of each tier in the order of their hashes; true for verified ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Record, bool)> {
        let verified = self.verified.iter().map(|(_, r)| (r, true));
        verified.chain(self.unverified.iter().map(|(_, r)| (r, false)))
    }

    /// A record drawn uniformly from both tiers.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Option<(&Record, bool)> {
        let index = rng.index(self.len());
        if index < self.verified.len() {
            self.verified.draw(rng).and_then(|h| self.verified.get(&h)).map(|r| (r, true))
        } else {
            self.unverified.draw(rng).and_then(|h| self.unverified.get(&h)).map(|r| (r, false))
        }
    }

    /// Floodfills, nearest first.
    pub(crate) fn floodfills_near(&self, target: &RoutingKey) -> Closest<'_> {
        closest(&self.floodfills, target)
    }

    /// Routers that are no floodfills, nearest first: to name to those who explore.
    pub(crate) fn ordinary_near(&self, target: &RoutingKey) -> Closest<'_> {
        closest(&self.ordinary, target)
    }

    /// Floodfills give out what they have, so they keep nothing that is old.
    pub(crate) const fn set_floodfill(&mut self, serving: bool) {
        self.serving = serving;
    }

    /// Where the floodfills nearest to a key stand too thick to be there by chance: the distance of
    /// the first one behind the crowd, as a share of the keyspace in 2^-64. `None` where all is as
    /// it should be.
    ///
    /// With hashes spread evenly one floodfill is expected in the share `1 / n` next to a key; six
    /// or more are there by chance once in 1,700 keys. Somebody who wants to hide a key must
    /// gather his floodfills there, so lookups and stores also go to the nearest ones outside. The
    /// crowd ends with the first gap of half the usual width: what there is of it depends little on
    /// how many floodfills the one or the other router knows.
    pub(crate) fn crowd(&self, target: &RoutingKey) -> Option<u64> {
        const FEWEST_KNOWN: usize = 40;
        const CROWD: usize = 6;
        const MAX_CROWD: usize = 64;
        let known = self.floodfills.len();
        if known < FEWEST_KNOWN {
            return None;
        }
        let usual = u64::MAX / known as u64;
        let near = self.floodfills_near(target).map(|hash| target.distance(&hash).share());
        let mut near = near.skip(CROWD - 1);
        let mut last = near.next()?;
        if last >= usual {
            return None;
        }
        for share in near.take(MAX_CROWD) {
            let gap = share.saturating_sub(last);
            last = share;
            if gap > usual / 2 {
                break;
            }
        }
        Some(last)
    }

    /// The cheap checks, before the signature. `Known` needs no further one.
    pub(crate) fn check(
        &self,
        now: Instant,
        unix: UnixTime,
        info: &RouterInfo,
        source: Source,
    ) -> Result<Stored, StoreError> {
        if info.hash() == self.local {
            return Err(StoreError::Own);
        }
        self.check_fresh(now, unix, info, source)?;
        super::compare_router(self.get(&info.hash()).map(|r| &r.info), info, unix)
    }

    /// The checks that do not depend on what is stored.
    pub(crate) fn check_fresh(
        &self,
        now: Instant,
        unix: UnixTime,
        info: &RouterInfo,
        source: Source,
    ) -> Result<(), StoreError> {
        if info.net_id() != Some(self.net_id) {
            return Err(StoreError::WrongNetwork);
        }
        if info.published() > unix + MAX_AHEAD {
            return Err(StoreError::Future);
        }
        let oldest = match source {
            // A test network's files may lie around for long.
            Source::Reseed if self.reach.allow_local => Duration::MAX,
            Source::Saved | Source::Reseed => OLDEST_ACCEPTED,
            Source::Itself | Source::Others => self.max_age(now).unwrap_or(OLDEST_ACCEPTED),
        };
        if unix.saturating_since(info.published()) > oldest {
            return Err(StoreError::TooOld);
        }
        Ok(())
    }

    /// Stores what passed [`check`](Self::check) and whose signature is good.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        info: RouterInfo,
        source: Source,
        profiles: &Profiles,
        rng: &mut Rng,
    ) {
        let hash = info.hash();
        let traits = Traits::of(&info, self.reach);
        for (set, member) in [
            (&mut self.floodfills, traits.floodfill),
            (&mut self.ordinary, traits.hop && !traits.floodfill),
        ] {
            if member {
                set.insert(hash);
            } else {
                set.remove(&hash);
            }
        }
        let trusted = source != Source::Others;
        let saved = (source == Source::Saved).then(|| info.published());
        if let Some(record) = self.verified.get_mut(&hash) {
            record.info = info;
            record.traits = traits;
            record.saved = saved.or(record.saved);
            self.note_unsaved(hash);
            return;
        }
        let record = Record { info, traits, saved };
        if trusted {
            self.unverified.remove(&hash);
            self.insert_verified(now, hash, record, profiles, rng);
        } else {
            if !self.unverified.contains(&hash)
                && self.unverified.len() >= MAX_UNVERIFIED
                && let Some(victim) = self.unverified.draw(rng)
            {
                self.remove(&victim);
            }
            self.unverified.insert(hash, record);
        }
    }

    /// We saw it at work.
    pub(crate) fn promote(
        &mut self,
        now: Instant,
        hash: &Hash,
        profiles: &Profiles,
        rng: &mut Rng,
    ) {
        if let Some(record) = self.unverified.remove(hash) {
            self.insert_verified(now, *hash, record, profiles, rng);
        }
    }

    /// Removes it from both tiers.
    pub(crate) fn remove(&mut self, hash: &Hash) {
        self.floodfills.remove(hash);
        self.ordinary.remove(hash);
        self.unsaved.remove(hash);
        let record = self.verified.remove(hash).or_else(|| self.unverified.remove(hash));
        if record.is_some_and(|r| r.saved.is_some()) {
            self.forgotten.insert(*hash);
        }
    }

    /// Looks at some entries, a few hundred at a time in turn, and forgets the expired ones.
    pub(crate) fn sweep(&mut self, now: Instant, unix: UnixTime) {
        let Some(max_age) = self.max_age(now) else { return };
        let mut expired = alloc::vec::Vec::new();
        let (mut seen, mut last) = (0, None);
        let merged = self.verified.after(self.sweep).take(SWEEP);
        let merged = merged.chain(self.unverified.after(self.sweep).take(SWEEP));
        let mut batch: alloc::vec::Vec<_> = merged.map(|(h, r)| (*h, r.info.published())).collect();
        batch.sort_unstable();
        for (hash, published) in batch.into_iter().take(SWEEP) {
            seen += 1;
            last = Some(hash);
            if unix.saturating_since(published) > max_age {
                expired.push(hash);
            }
        }
        self.sweep = if seen < SWEEP { None } else { last };
        for hash in expired {
            if self.len() <= SMALL_NETWORK {
                break;
            }
            self.remove(&hash);
        }
    }

    /// How old a RouterInfo may be now; `None` while everything is kept. 27 hours in a small
    /// network, falling towards 90 minutes as the network grows.
    pub(crate) fn max_age(&self, now: Instant) -> Option<Duration> {
        let known = self.len();
        if known <= SMALL_NETWORK || now.saturating_since(self.started) < EXPIRY_STARTS_AFTER {
            return None;
        }
        if self.serving {
            return Some(MAX_AGE_OF_FLOODFILL);
        }
        let range = MAX_AGE.saturating_sub(MIN_MAX_AGE).as_secs();
        let share = range * SMALL_NETWORK as u64 / known as u64;
        Some(MIN_MAX_AGE + Duration::from_secs(share))
    }

    /// The next entry to write to the embedder's store.
    pub(crate) fn next_unsaved(&mut self) -> Option<RouterInfo> {
        while let Some(hash) = self.unsaved.pop_first() {
            if let Some(record) = self.verified.get_mut(&hash) {
                record.saved = Some(record.info.published());
                return Some(record.info.clone());
            }
        }
        None
    }

    /// The next entry to delete from the embedder's store.
    pub(crate) fn next_forgotten(&mut self) -> Option<Hash> {
        self.forgotten.pop_first()
    }

    fn insert_verified(
        &mut self,
        now: Instant,
        hash: Hash,
        mut record: Record,
        profiles: &Profiles,
        rng: &mut Rng,
    ) {
        if self.verified.len() >= MAX_VERIFIED
            && let Some(victim) = self.victim(now, profiles, rng)
        {
            self.remove(&victim);
        }
        if self.forgotten.remove(&hash) {
            // There is a copy still, of whatever version: it has to go if this entry does.
            record.saved.get_or_insert_default();
        }
        self.verified.insert(hash, record);
        self.note_unsaved(hash);
    }

    /// Of a few drawn at random: not useful lately, then old, then far from us.
    fn victim(&self, now: Instant, profiles: &Profiles, rng: &mut Rng) -> Option<Hash> {
        (0..EVICTION_SAMPLE)
            .filter_map(|_| self.verified.draw(rng))
            .filter_map(|hash| {
                let record = self.verified.get(&hash)?;
                let useful = profiles
                    .get(&hash)
                    .is_some_and(|p| p.last_good().is_some() && !p.standing(now).cooling);
                // Three hours are one age: finer steps would hide the distance.
                let age = u64::MAX - record.info.published().as_millis() / (3 * 3_600_000);
                Some((!useful, age, self.local.xor(&hash), hash))
            })
            .max()
            .map(|(.., hash)| hash)
    }

    fn note_unsaved(&mut self, hash: Hash) {
        if let Some(record) = self.verified.get(&hash) {
            let published = record.info.published();
            let fresh = |s: UnixTime| published.saturating_since(s) < SAVE_AGAIN_AFTER;
            if !record.saved.is_some_and(fresh) {
                self.unsaved.insert(hash);
            }
        }
    }
}

/// So many tokens a second, and so many at once.
pub(crate) struct Bucket {
    rate: u64,
    burst: u64,
    /// In millionths.
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    pub(crate) const fn new(now: Instant, rate: u64, burst: u64) -> Self {
        Self { rate, burst, tokens: burst * 1_000_000, filled: now }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_since(self.filled);
        let new = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(new).min(self.burst * 1_000_000);
        self.filled = self.filled.max(now);
        match self.tokens.checked_sub(1_000_000) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
