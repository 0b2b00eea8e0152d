//! Answering other routers' lookups (notes 7.5). Every router does so for RouterInfos, when asked
//! over a session; a floodfill also for lease sets that were published to it, and for those who
//! hide behind a tunnel or explore.

use super::choose::Choice;
use super::store::Bucket;
use super::{Context, NetDb, NetDbAction};
use crate::audit::Audit;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, LookupType, ReplyEncryption, StoreEntry,
};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::routing_key::RoutingKey;

/// Routers whose lookups are counted at once: more than are answered in one window of two minutes.
/// Who does not fit in is not answered.
pub const MAX_THROTTLED_SOURCES: usize = 2_500;
/// Lookups that one router may send us in [`WINDOW`], and how many it may when we are a floodfill.
const PER_SOURCE: u32 = 14;
const PER_SOURCE_OF_FLOODFILL: u32 = 240;
const WINDOW: Duration = Duration::from_secs(120);
/// Between two looks for sources whose window is over.
const SWEEP: Duration = Duration::from_secs(1);
/// Lookups of all routers together: so many a second, and so many at once.
const ALL: (u64, u64) = (20, 60);
const ALL_OF_FLOODFILL: (u64, u64) = (200, 400);
/// Floodfills named to who asks for something that we do not have.
const NAMED: usize = 3;
/// Routers named to who explores: as many as are looked at elsewhere, and as fit into one cell.
const NAMED_TO_EXPLORERS: usize = 12;

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Here it is.
    Store(DatabaseStore),
    /// Ask these.
    SearchReply(DatabaseSearchReply),
}

/// Counts requests by the router that sends them.
pub(crate) struct Throttle {
    sources: BTreeMap<Hash, (Instant, u32)>,
    per_source: u32,
    all: Bucket,
    swept: Instant,
}

impl Throttle {
    /// At most `per_source` of one router in two minutes; `all` a second and at once.
    pub(crate) const fn new(now: Instant, per_source: u32, all: (u64, u64)) -> Self {
        let all = Bucket::new(now, all.0, all.1);
        Self { sources: BTreeMap::new(), per_source, all, swept: now }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("netdb: counted sources", self.sources.len(), MAX_THROTTLED_SOURCES);
    }

    /// For lookups.
    pub(crate) const fn of_lookups(now: Instant, floodfill: bool) -> Self {
        if floodfill {
            Self::new(now, PER_SOURCE_OF_FLOODFILL, ALL_OF_FLOODFILL)
        } else {
            Self::new(now, PER_SOURCE, ALL)
        }
    }

    /// True when another request of `source` may be served.
    pub(crate) fn admit(&mut self, now: Instant, source: Hash) -> bool {
        if self.is_full(now, &source) || !self.has_room(now, &source) || !self.all.take(now) {
            return false;
        }
        self.count(now, source);
        true
    }

    /// As [`admit`](Self::admit), for sources that anybody can invent: many of them shut nobody out.
    pub(crate) fn admit_claimed(&mut self, now: Instant, source: Hash) -> bool {
        if !self.has_room(now, &source) || !self.all.take(now) {
            return false;
        }
        if !self.is_full(now, &source) {
            self.count(now, source);
        }
        true
    }

    fn has_room(&self, now: Instant, source: &Hash) -> bool {
        self.sources.get(source).is_none_or(|(since, count)| {
            *count < self.per_source || now.saturating_since(*since) >= WINDOW
        })
    }

    fn count(&mut self, now: Instant, source: Hash) {
        let (since, count) = self.sources.entry(source).or_insert((now, 0));
        if now.saturating_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }

    /// No room to count a source that is not known yet.
    fn is_full(&mut self, now: Instant, source: &Hash) -> bool {
        if self.sources.len() < MAX_THROTTLED_SOURCES || self.sources.contains_key(source) {
            return false;
        }
        // It looks at all of them, so not for each request of a flood.
        if now.saturating_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sources.retain(|_, (since, _)| now.saturating_since(*since) < WINDOW);
        }
        self.sources.len() >= MAX_THROTTLED_SOURCES
    }
}

impl NetDb {
    /// A lookup arrived: over a session of `from`, or, with `None`, from somebody unknown, whom
    /// only a floodfill answers.
    pub fn handle_lookup(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: Option<Hash>,
        lookup: DatabaseLookup,
    ) {
        let DatabaseLookup { key, from: to, reply_tunnel, kind, exclude, encryption } = lookup;
        let answered = self.is_floodfill() || from.is_some() && kind == LookupType::RouterInfo;
        if !answered || key == Hash::ZERO {
            return;
        }
        // Without a tunnel the answer goes back to who asked: we connect to nobody on request.
        if reply_tunnel.is_none() && (from != Some(to) || to == self.config.local) {
            return;
        }
        // Encryption is defined for replies through tunnels only.
        let encryption = match (reply_tunnel, encryption) {
            (None, _) => ReplyEncryption::None,
            (Some(_), ReplyEncryption::ElGamal { .. }) => return,
            (Some(_), encryption) => encryption,
        };
        // Who hides is counted by where his answers go, and not together with those who do not.
        let admitted = match (from, &mut self.role.floodfill) {
            (Some(from), _) => self.throttle.admit(now, from),
            (None, Some(floodfill)) => floodfill.lookups.admit_claimed(now, to),
            (None, None) => false,
        };
        if !admitted {
            log::debug!("netdb: too many lookups of {from:?}");
            return;
        }
        let answer = match self.published_entry(unix, &key, kind) {
            Some(entry) => Answer::Store(DatabaseStore { reply: None, entry }),
            None => {
                let mut peers = self.refer(now, unix, &key, kind, &exclude);
                peers.retain(|peer| Some(*peer) != from);
                Answer::SearchReply(DatabaseSearchReply { key, peers, from: self.config.local })
            }
        };
        if let Some(floodfill) = &mut self.role.floodfill {
            match answer {
                Answer::Store(_) => floodfill.stats.found += 1,
                Answer::SearchReply(_) => floodfill.stats.referred += 1,
            }
        }
        self.push(NetDbAction::Reply { to, tunnel: reply_tunnel, encryption, answer });
    }

    /// What was published under `key`. What our destinations were told is nobody's business.
    fn published_entry(&self, unix: UnixTime, key: &Hash, kind: LookupType) -> Option<StoreEntry> {
        let info = || {
            let own = self.own.as_ref().filter(|_| *key == self.config.local);
            own.or_else(|| self.router(key)).cloned().map(StoreEntry::RouterInfo)
        };
        let lease_set = || {
            let floodfill = self.role.floodfill.as_ref()?;
            floodfill.lease_set(key, unix).cloned().map(StoreEntry::LeaseSet)
        };
        match kind {
            LookupType::RouterInfo => info(),
            LookupType::LeaseSet => lease_set(),
            LookupType::Any => lease_set().or_else(info),
            LookupType::Exploration => None,
        }
    }

    /// Whom to name instead: floodfills near the key, or, to explorers, other routers near it.
    fn refer(
        &self,
        now: Instant,
        unix: UnixTime,
        key: &Hash,
        kind: LookupType,
        exclude: &[Hash],
    ) -> Vec<Hash> {
        let target = RoutingKey::new(key, unix);
        if kind == LookupType::Exploration {
            let near = self.routers.ordinary_near(&target).filter(|h| !exclude.contains(h));
            return near.take(NAMED_TO_EXPLORERS).collect();
        }
        let (ctx, floor, direct, count) = (Context::ROUTER, 0, false, NAMED);
        self.choose(now, &Choice { ctx, target, floor, direct, exclude, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdb::testing::at;

    #[test]
    fn one_router_gets_fourteen_answers_in_two_minutes() {
        let mut throttle = Throttle::of_lookups(at(0), false);
        let source = Hash([1; 32]);
        let admitted = (0..60u64).filter(|n| throttle.admit(at(n * 1000), source)).count();
        assert_eq!(admitted, 14);
        assert!(throttle.admit(at(60_000), Hash([2; 32])), "others are not affected");
        assert!(throttle.admit(at(120_000), source));
    }

    #[test]
    fn invented_sources_shut_nobody_out() {
        let mut throttle = Throttle::of_lookups(at(0), true);
        for n in 0..3_000u64 {
            throttle.admit_claimed(at(n * 10), Hash::of(&n.to_be_bytes()));
        }
        assert_eq!(throttle.sources.len(), MAX_THROTTLED_SOURCES);
        let honest = Hash([1; 32]);
        assert!(throttle.admit_claimed(at(31_000), honest));
        assert!(!throttle.admit(at(31_000), honest), "where sources are proven it is full");
        // Once there is room again, everybody is counted again.
        let later = (0..400u64).map(|n| at(300_000 + n * 10));
        let admitted = later.filter(|at| throttle.admit_claimed(*at, honest)).count();
        assert_eq!(admitted, PER_SOURCE_OF_FLOODFILL as usize);
    }

    #[test]
    fn all_together_get_twenty_a_second_and_the_table_is_bounded() {
        let mut throttle = Throttle::of_lookups(at(0), false);
        let mut admitted = 0;
        for n in 0..10_000u64 {
            admitted += usize::from(throttle.admit(at(n), Hash::of(&n.to_be_bytes())));
            assert!(throttle.sources.len() <= MAX_THROTTLED_SOURCES);
        }
        assert!((255..=265).contains(&admitted), "{admitted}");
        for n in 0..200_000u64 {
            throttle.admit(at(20_000 + n * 20), Hash::of(&n.to_le_bytes()));
            assert!(throttle.sources.len() <= MAX_THROTTLED_SOURCES);
        }
    }
}
