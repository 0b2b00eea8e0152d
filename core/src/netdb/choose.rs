//! Whom to ask and whom to store to: floodfills near a key, and the two paths of a lookup.

use super::context::nearest;
use super::lookup::Start;
use super::routing_key::{RoutingKey, since_midnight};
use super::{Context, NetDb};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::LookupType;
use alloc::vec::Vec;
use core::time::Duration;

/// Floodfills that a path begins with.
const STARTERS: usize = 8;
/// Nearest floodfills that are looked at when some are to be chosen.
const MAX_WALK: usize = 96;
/// For this long after midnight what was stored before may still be found at the floodfills of
/// the day before only: a lease set's life, and the time until every router has published.
const OLD_LEASE_SETS: Duration = Duration::from_secs(11 * 60);
const OLD_ROUTER_INFOS: Duration = Duration::from_secs(60 * 60);
/// A floodfill whose answers are good this seldom, per mille, is passed over.
const BAD_ANSWERS: u32 = 250;

/// Which floodfills to choose.
pub(crate) struct Choice<'a> {
    pub(crate) ctx: Context,
    pub(crate) target: RoutingKey,
    /// Nobody nearer than this, as in [`Start::floor`].
    pub(crate) floor: u64,
    /// Only those that we can connect to ourselves.
    pub(crate) direct: bool,
    pub(crate) exclude: &'a [Hash],
    pub(crate) count: usize,
}

impl NetDb {
    /// The nearest floodfills of a choice, nearest first. Those that failed us lately come after all
    /// others, if there are too few of these.
    pub(super) fn choose(&self, now: Instant, choice: &Choice<'_>) -> Vec<Hash> {
        let (mut good, mut poor) = (Vec::new(), Vec::new());
        let state = self.contexts.get(&choice.ctx);
        let near = self.routers.floodfills_near(&choice.target);
        let near = near.map(|hash| (choice.target.distance(&hash), hash));
        let far_enough = near.skip_while(|(d, _)| d.share() < choice.floor).take(MAX_WALK);
        let private = state.into_iter().flat_map(|s| s.private_floodfills(&choice.target));
        let private = private.filter(|(d, _)| !choice.direct && d.share() >= choice.floor);
        for (distance, hash) in far_enough {
            if good.len() >= choice.count {
                break;
            }
            if choice.exclude.contains(&hash) || hash == self.config.local {
                continue;
            }
            if choice.direct && self.routers.get(&hash).is_none_or(|r| r.traits.host.is_none()) {
                continue;
            }
            let profile = self.profiles.get(&hash);
            let bad = choice.ctx == Context::ROUTER
                && profile.is_some_and(|p| p.answers(now) < BAD_ANSWERS);
            if bad
                || profile.is_some_and(|p| p.gone(now))
                || state.is_some_and(|s| s.shuns(now, &hash))
            {
                poor.push((distance, hash));
            } else {
                good.push((distance, hash));
            }
        }
        let usable = |hash: &Hash| {
            !choice.exclude.contains(hash) && !state.is_some_and(|s| s.shuns(now, hash))
        };
        good.extend(private.filter(|(_, hash)| usable(hash)));
        let mut chosen: Vec<Hash> = nearest(good, choice.count).collect();
        chosen.extend(nearest(poor, choice.count.saturating_sub(chosen.len())));
        chosen
    }

    /// Two disjoint paths: the nearest floodfills dealt out in turn; or on the second path those of
    /// the day before, soon after midnight; or those outside of a suspicious crowd.
    pub(super) fn paths(
        &self,
        now: Instant,
        unix: UnixTime,
        ctx: Context,
        key: &Hash,
        kind: LookupType,
    ) -> [Start; 2] {
        let target = RoutingKey::new(key, unix);
        let choose = |target: RoutingKey, floor, exclude: &[Hash], count| {
            self.choose(now, &Choice { ctx, target, floor, direct: false, exclude, count })
        };
        let passed = since_midnight(unix);
        let old = match kind {
            LookupType::LeaseSet => OLD_LEASE_SETS,
            LookupType::Any | LookupType::RouterInfo | LookupType::Exploration => OLD_ROUTER_INFOS,
        };
        let near = choose(target, 0, &[], 2 * STARTERS);
        let (second, floor, others) = if passed < old {
            let yesterday = RoutingKey::new(key, unix - passed - Duration::from_millis(1));
            (yesterday, 0, choose(yesterday, 0, &[], STARTERS))
        } else if let Some(zone) = self.routers.crowd(&target) {
            (target, zone, choose(target, zone, &[], STARTERS))
        } else {
            let odd = near.iter().skip(1).step_by(2).copied().collect();
            (target, 0, odd)
        };
        // The nearest one of all belongs to the first path in any case.
        let others: Vec<Hash> = others.into_iter().filter(|h| Some(h) != near.first()).collect();
        let first = near.into_iter().filter(|h| !others.contains(h)).collect();
        [
            Start { target, floor: 0, floodfills: first },
            Start { target: second, floor, floodfills: others },
        ]
    }
}
