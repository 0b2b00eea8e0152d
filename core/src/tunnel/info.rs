//! Choosing among our tunnels, and telling about them.

use super::own::Life;
use super::{
    Direction, Health, OutboundId, PoolId, PoolStats, SideStats, TransitLimits, TransitStats,
    Tunnels,
};
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::lease_set::Lease;
use alloc::vec::Vec;
use core::time::Duration;

/// Leases in a lease set.
const MAX_LEASES: usize = 16;
/// A lease that ends sooner is not worth giving out.
const MIN_LEASE: Duration = Duration::from_secs(45);

/// One of our tunnels, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelInfo {
    /// Whose.
    pub pool: PoolId,
    /// Which way.
    pub direction: Direction,
    /// Its hops, in the direction of the messages.
    pub hops: Vec<Hash>,
    /// Since the request.
    pub age: Duration,
    /// How far it can be trusted.
    pub health: Health,
    /// Round trip of tests through it.
    pub rtt: Option<Duration>,
}

impl Tunnels {
    /// A tunnel to send through: one that passed its tests before one that did not yet, near ones
    /// before slow ones, and among equals any, so that the load spreads. `None`: there is none.
    pub fn pick_outbound(&mut self, now: Instant, pool: PoolId) -> Option<OutboundId> {
        self.ranked_outbound(now, pool).into_iter().next()
    }

    /// As [`Self::pick_outbound`], but another one than `not` if there is one.
    pub fn pick_other_outbound(
        &mut self,
        now: Instant,
        pool: PoolId,
        not: OutboundId,
    ) -> Option<OutboundId> {
        let ranked = self.ranked_outbound(now, pool);
        ranked.iter().find(|id| **id != not).or(ranked.first()).copied()
    }

    /// True while messages may be sent through it and it is not under suspicion.
    #[must_use]
    pub fn is_good(&self, now: Instant, via: OutboundId) -> bool {
        self.outbound.get(&via).is_some_and(|t| t.life.is_usable(now) && t.life.failures == 0)
    }

    /// All usable outbound tunnels of a pool, best first.
    pub fn ranked_outbound(&mut self, now: Instant, pool: PoolId) -> Vec<OutboundId> {
        let Some(pool) = self.pools.get(&pool) else { return Vec::new() };
        let lives: Vec<(OutboundId, &Life)> = pool
            .outbound
            .iter()
            .filter_map(|id| Some((*id, &self.outbound.get(id)?.life)))
            .collect();
        let mut ranked = rank(now, &lives);
        // Chance among equals: shuffle, then a sort that keeps the order of equals.
        self.rng.shuffle(&mut ranked);
        ranked.sort_by_key(|(_, key)| *key);
        ranked.into_iter().map(|(id, _)| id).collect()
    }

    /// All usable inbound tunnels of a pool, best first.
    pub(crate) fn ranked_inbound(&mut self, now: Instant, pool: PoolId) -> Vec<u32> {
        let Some(pool) = self.pools.get(&pool) else { return Vec::new() };
        let lives: Vec<(u32, &Life)> =
            pool.inbound.iter().filter_map(|id| Some((*id, &self.inbound.get(id)?.life))).collect();
        let mut ranked = rank(now, &lives);
        self.rng.shuffle(&mut ranked);
        ranked.sort_by_key(|(_, key)| *key);
        ranked.into_iter().map(|(id, _)| id).collect()
    }

    /// Gateway and tunnel id of a good inbound tunnel: where replies to us go.
    pub fn inbound_gateway(&mut self, now: Instant, pool: PoolId) -> Option<(Hash, u32)> {
        let id = self.ranked_inbound(now, pool).into_iter().next()?;
        let tunnel = self.inbound.get(&id)?;
        Some((tunnel.gateway(self.local), tunnel.gateway_tunnel))
    }

    /// The leases that a pool can give out, those that last longest first. Tunnels about to be
    /// replaced are left out once there are enough new ones.
    #[must_use]
    pub fn inbound_leases(&self, now: Instant, unix: UnixTime, pool: PoolId) -> Vec<Lease> {
        let Some(p) = self.pools.get(&pool) else { return Vec::new() };
        let quantity = p.config.quantity(Direction::Inbound);
        let enough = self.count(pool, Direction::Inbound, |life| life.is_fresh(now)) >= quantity;
        let mut leases: Vec<Lease> = p
            .inbound
            .iter()
            .filter_map(|id| self.inbound.get(id))
            .filter(|t| t.life.health() != Health::Failed && t.life.ends > unix + MIN_LEASE)
            .filter(|t| !enough || t.life.is_fresh(now))
            .map(|t| Lease {
                gateway: t.gateway(self.local),
                tunnel: t.gateway_tunnel,
                expires: t.life.ends,
            })
            .collect();
        leases.sort_by_key(|lease| core::cmp::Reverse(lease.expires));
        leases.truncate(MAX_LEASES);
        leases
    }

    /// Counters of one direction of a pool.
    #[must_use]
    pub fn side_stats(
        &self,
        now: Instant,
        pool: PoolId,
        direction: Direction,
    ) -> Option<SideStats> {
        let p = self.pools.get(&pool)?;
        let ours = self.builds.values().filter(|b| b.pool == pool && b.direction == direction);
        Some(SideStats {
            active: self.count(pool, direction, |life| life.is_usable(now)),
            building: ours.count(),
            ..p.side(direction).stats
        })
    }

    /// Counters of a pool.
    #[must_use]
    pub fn pool_stats(&self, now: Instant, pool: PoolId) -> Option<PoolStats> {
        let p = self.pools.get(&pool)?;
        let inbound = self.side_stats(now, pool, Direction::Inbound)?;
        let outbound = self.side_stats(now, pool, Direction::Outbound)?;
        Some(PoolStats {
            inbound: inbound.active,
            outbound: outbound.active,
            building: inbound.building + outbound.building,
            built: inbound.built + outbound.built,
            rejected: inbound.rejected + outbound.rejected,
            timed_out: inbound.timed_out + outbound.timed_out,
            no_path: inbound.no_path + outbound.no_path,
            tests_passed: p.tests_passed,
            tests_failed: p.tests_failed,
            failed: inbound.failed + outbound.failed,
        })
    }

    /// Tunnels built, for all pools that there are.
    #[must_use]
    pub fn built(&self) -> u64 {
        let sides = [Direction::Inbound, Direction::Outbound];
        self.pools.values().flat_map(|p| sides.map(|d| p.side(d).stats.built)).sum()
    }

    /// Counters of what we carry for others.
    #[must_use]
    pub const fn transit_stats(&self) -> TransitStats {
        self.transit.stats
    }

    /// Changes what we are willing to carry.
    pub const fn set_transit_limits(&mut self, limits: TransitLimits) {
        self.transit.limits = limits;
    }

    /// All our tunnels.
    #[must_use]
    pub fn tunnels(&self, now: Instant) -> Vec<TunnelInfo> {
        let info = |pool, direction, hops: &[Hash], life: &Life| TunnelInfo {
            pool,
            direction,
            hops: hops.to_vec(),
            age: now.saturating_since(life.created),
            health: life.health(),
            rtt: life.rtt,
        };
        let inbound = self
            .inbound
            .values()
            .filter(|t| !t.hidden)
            .map(|t| info(t.pool, Direction::Inbound, &t.hops, &t.life));
        let outbound =
            self.outbound.values().map(|t| info(t.pool, Direction::Outbound, &t.hops, &t.life));
        inbound.chain(outbound).collect()
    }

    /// In how many of our tunnels a router is, and how many there are: for the share of a
    /// [`Candidate`](super::select::Candidate).
    #[must_use]
    pub fn hop_counts(&self) -> (alloc::collections::BTreeMap<Hash, usize>, usize) {
        let mut counts = alloc::collections::BTreeMap::new();
        let inbound = self.inbound.values().map(|t| &t.hops);
        let outbound = self.outbound.values().map(|t| &t.hops);
        let mut all = 0;
        for hops in inbound.chain(outbound).filter(|hops| !hops.is_empty()) {
            all += 1;
            for hash in hops {
                *counts.entry(*hash).or_insert(0) += 1;
            }
        }
        (counts, all)
    }

    /// For how long our tunnels have been breaking in numbers. Then signs of life count, not from before.
    #[must_use]
    pub fn in_trouble_for(&self, now: Instant) -> Option<Duration> {
        self.trouble.since(now).map(|since| now.saturating_since(since))
    }

    /// Whether a router did its part in a build or a test within this time.
    #[must_use]
    pub fn alive_within(&self, now: Instant, peer: &Hash, time: Duration) -> bool {
        self.alive.is_within(now, peer, time)
    }

    /// Bytes of messages that wait for fragments.
    #[must_use]
    pub const fn reassembly_bytes(&self) -> usize {
        self.budget.used()
    }
}

type Rank = (Health, bool, bool);

fn rank<T: Copy>(now: Instant, lives: &[(T, &Life)]) -> Vec<(T, Rank)> {
    let usable = || lives.iter().filter(|(_, life)| life.is_usable(now));
    let best = usable().filter_map(|(_, life)| life.rtt).min();
    usable().map(|(id, life)| (*id, life.rank(now, best))).collect()
}
