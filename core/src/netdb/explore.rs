//! When to look for routers that we do not know yet (netdb documentation, "Exploration").

use super::choose::Choice;
use super::lookup::{Limits, Lookup, Start};
use super::routing_key::RoutingKey;
use super::search::{Active, Purpose};
use super::{Context, NetDb, Timer};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::LookupType;
use core::time::Duration;

/// Rounds without news after which the period grows no further.
const MAX_QUIET: u32 = 4;
/// The longest period.
const MAX_PERIOD: Duration = Duration::from_secs(240);

/// Routers that we heard of and have not fetched yet.
pub(crate) const MAX_WANTED: usize = 128;
/// Of these, fetched at once.
const MAX_WANTED_AT_ONCE: usize = 8;
/// A known router that is named by others is fetched again when its RouterInfo is older.
const REFRESH_AFTER: Duration = Duration::from_secs(3 * 3600);

/// The schedule: fast while few routers are known, slower with every round that brought no news.
pub(crate) struct Explorer {
    quiet: u32,
    /// Routers known at the last round.
    known: usize,
}

impl Explorer {
    pub(crate) const fn new() -> Self {
        Self { quiet: 0, known: 0 }
    }

    /// A round starts while `known` routers are known: how many random keys to ask for, and when
    /// the next round is due.
    pub(crate) fn round(&mut self, now: Instant, known: usize, rng: &mut Rng) -> (usize, Instant) {
        // Fewer than one in a hundred new since the last round is no news.
        let news = known.saturating_sub(self.known) > self.known / 100;
        self.quiet = if news { 0 } else { (self.quiet + 1).min(MAX_QUIET) };
        self.known = known;
        let (keys, period) = match known {
            0..30 => (2, 10),
            30..100 => (2, 20),
            100..500 => (2, 45),
            500..2000 => (1, 80),
            _ => (1, 160),
        };
        let period = (Duration::from_secs(period) * (1 << self.quiet)).min(MAX_PERIOD);
        // A quarter more or less, so that nobody can tell our rounds by their rhythm.
        let jitter = u64::try_from(period.as_millis() / 2).unwrap_or(0);
        let period = period * 3 / 4 + Duration::from_millis(rng.below(jitter + 1));
        (keys, now + period)
    }
}

impl NetDb {
    /// Asks for routers near some random keys now, and plans the next round. Nothing happens while
    /// no floodfill is known.
    pub fn explore(&mut self, now: Instant, unix: UnixTime) {
        let mut next = now + Duration::from_secs(10);
        if self.routers.counts().2 > 0 {
            let keys;
            (keys, next) = self.explorer.round(now, self.routers.len(), &mut self.rng);
            for _ in 0..keys {
                let key = Hash(self.rng.bytes());
                let target = RoutingKey::new(&key, unix);
                let ctx = Context::ROUTER;
                let count = 2;
                let choice = Choice { ctx, target, floor: 0, direct: false, exclude: &[], count };
                let floodfills = self.choose(now, &choice);
                let limits =
                    Limits { total: Duration::from_secs(10), per_path: 1, stagger: Duration::ZERO };
                let machine = Lookup::new(now, limits, [Start { target, floor: 0, floodfills }]);
                let (kind, purpose) = (LookupType::Exploration, Purpose::Explore);
                let active = Active::new(ctx, key, kind, purpose, machine);
                if let Some(id) = self.start(active) {
                    self.drive_lookup(now, unix, id);
                }
            }
        }
        self.timers.set(Timer::Explore, Some(next));
    }

    /// Fetches some of the routers that we heard of.
    pub(super) fn fetch_wanted(&mut self, now: Instant, unix: UnixTime) {
        let mut under_way = self.lookups.values().filter(|l| l.purpose == Purpose::Wanted).count();
        while under_way < MAX_WANTED_AT_ONCE
            && let Some((router, named_by)) = self.wanted.pop_first()
        {
            if self.start_fetch(now, unix, Context::ROUTER, router, named_by, Purpose::Wanted) {
                under_way += 1;
            }
        }
    }

    /// Somebody named a router to us.
    pub(super) fn want(&mut self, unix: UnixTime, router: Hash, named_by: Hash) {
        let known = self
            .router(&router)
            .is_some_and(|info| unix.saturating_since(info.published()) < REFRESH_AFTER);
        let room = self.wanted.len() < MAX_WANTED;
        if !known && room && router != self.config.local && router != Hash::ZERO {
            self.wanted.entry(router).or_insert(named_by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn rounds_are_fast_while_there_is_news_and_slow_down_without() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut explorer = Explorer::new();
        let now = Instant::ZERO;
        let mut wait = |explorer: &mut Explorer, known| {
            explorer.round(now, known, &mut rng).1.saturating_since(now).as_millis()
        };
        for known in [5, 10, 20] {
            assert!((7_500..=12_500).contains(&wait(&mut explorer, known)));
        }
        let mut last = 0;
        for _ in 0..10 {
            last = wait(&mut explorer, 20);
        }
        assert!((120_000..=200_000).contains(&last), "{last}");
        assert!((7_500..=12_500).contains(&wait(&mut explorer, 25)), "news again");
        for known in [3000, 3001, 3002, 3003] {
            last = wait(&mut explorer, known);
        }
        assert!((180_000..=300_000).contains(&last), "{last}");
    }
}
