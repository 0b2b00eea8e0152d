//! Keeping pools full: what to build and when, what to give up, and the next deadline.

use super::builds::{Build, Failure};
use super::own::{GRACE, Life};
use super::pool::{Doubt, MAX_BUILDS, MAX_SURPLUS, Pool};
use super::{
    BuildId, Clock, Direction, Health, OutboundId, Outcome, PoolConfig, PoolId, TunnelAction,
    Tunnels,
};
use crate::time::{Instant, UnixTime, earliest};
use crate::wire::hash::Hash;
use alloc::vec::Vec;
use core::time::Duration;

/// A tunnel that brought or carried something so lately is not doubted.
const HEARD_LATELY: Duration = Duration::from_secs(2);
/// A pool is doubted so often at most: about as often as its tunnels are tested anyway.
const DOUBT_AGAIN: Duration = Duration::from_secs(10);

impl Tunnels {
    /// Adds a pool, or changes the shape of one; its tunnels are built from now on.
    ///
    /// Add [`PoolId::EXPLORATORY`] first: as long as there is none, others build their first
    /// tunnels with replies that come straight to us.
    pub fn add_pool(&mut self, now: Instant, unix: UnixTime, id: PoolId, config: PoolConfig) {
        let clock = self.clock(now, unix);
        self.pools.entry(id).or_insert_with(|| Pool::new(config)).config = config;
        self.maintain(clock, id);
        self.drain_loopback(clock);
        self.update_deadline(now);
    }

    /// Removes a pool with its tunnels.
    pub fn remove_pool(&mut self, now: Instant, id: PoolId) {
        let Some(pool) = self.pools.remove(&id) else { return };
        for outbound in pool.outbound {
            self.outbound.remove(&outbound);
        }
        for (_, mut tunnel) in self.inbound.extract_if(.., |_, t| t.pool == id) {
            tunnel.endpoint.clear(&mut self.budget);
        }
        let builds: Vec<BuildId> =
            self.builds.iter().filter(|(_, b)| b.pool == id).map(|(id, _)| *id).collect();
        for build in builds {
            self.take_build(build);
        }
        self.drop_tests(id);
        self.changed.remove(&id);
        self.update_deadline(now);
    }

    /// Starts what a pool lacks.
    pub(crate) fn maintain(&mut self, clock: Clock, id: PoolId) {
        let now = clock.now;
        if id == PoolId::SCOUTS && self.knows_enough(now) {
            return;
        }
        loop {
            let Some(pool) = self.pools.get(&id) else { return };
            let mine = || self.builds.values().filter(|b| b.pool == id);
            if mine().count() >= MAX_BUILDS {
                return;
            }
            let have = |d: Direction| {
                self.count(id, d, |life| life.is_fresh(now))
                    + mine().filter(|b| b.direction == d && b.counts()).count()
            };
            let wanted = |d: Direction| {
                let quantity = pool.config.quantity(d);
                pool.side(d).may_build(now)
                    && have(d) < quantity
                    && self.count(id, d, |_| true) < quantity * 2 + MAX_SURPLUS
                    && self.can_build(now, id, d)
            };
            // The direction that has less; outbound first, since it can carry inbound requests.
            let next = [Direction::Outbound, Direction::Inbound]
                .into_iter()
                .filter(|d| wanted(*d))
                .min_by_key(|d| have(*d));
            let Some(direction) = next else { return };
            self.start_build(clock, id, direction);
        }
    }

    /// Tunnels of a pool that are not given up and of which `which` holds.
    pub(crate) fn count(
        &self,
        pool: PoolId,
        direction: Direction,
        which: impl Fn(&Life) -> bool,
    ) -> usize {
        let Some(p) = self.pools.get(&pool) else { return 0 };
        match direction {
            Direction::Inbound => {
                let lives = p.inbound.iter().filter_map(|id| Some(&self.inbound.get(id)?.life));
                lives.filter(|life| which(life)).count()
            }
            Direction::Outbound => {
                let lives = p.outbound.iter().filter_map(|id| Some(&self.outbound.get(id)?.life));
                lives.filter(|life| which(life)).count()
            }
        }
    }

    /// Whether there is a way for the request or the reply: a tunnel of the other direction.
    fn can_build(&self, now: Instant, pool: PoolId, direction: Direction) -> bool {
        let other = match direction {
            Direction::Inbound => Direction::Outbound,
            Direction::Outbound => Direction::Inbound,
        };
        let no_hops = self.pools.get(&pool).is_some_and(|p| match direction {
            Direction::Inbound => p.config.inbound_length == 0,
            Direction::Outbound => p.config.outbound_length == 0,
        });
        no_hops
            || self.may_bootstrap(pool)
            || [pool, PoolId::EXPLORATORY]
                .into_iter()
                .any(|owner| self.count(owner, other, |life| life.is_usable(now)) > 0)
    }

    fn start_build(&mut self, clock: Clock, pool: PoolId, direction: Direction) {
        let Some(p) = self.pools.get_mut(&pool) else { return };
        let length = p.config.draw_length(direction, &mut self.rng);
        let avoid = p.avoided(clock.now);
        let build = BuildId(self.take_id());
        let hedge_at = Some(clock.now + self.timing.hedge_after);
        let deadline = clock.now + self.timing.build_timeout.1;
        self.builds
            .insert(build, Build { pool, direction, length, deadline, hedge_at, sent: None });
        if length == 0 {
            self.establish(clock, build);
        } else {
            let need = TunnelAction::NeedPath { build, pool, direction, length, avoid };
            self.actions.push_back(need);
        }
    }

    /// Builds that take too long.
    pub(crate) fn expire_builds(&mut self, clock: Clock) {
        let over: Vec<(BuildId, Failure)> = self
            .builds
            .iter()
            .filter(|(_, b)| b.deadline <= clock.now)
            .map(|(id, b)| {
                (*id, if b.sent.is_some() { Failure::TimedOut } else { Failure::NoPath })
            })
            .collect();
        for (id, failure) in over {
            self.build_failed(clock, id, failure);
        }
        let slow: Vec<(BuildId, PoolId, Direction)> = self
            .builds
            .iter()
            .filter(|(_, b)| b.hedge_at.is_some_and(|at| at <= clock.now))
            .map(|(id, b)| (*id, b.pool, b.direction))
            .collect();
        for (id, pool, direction) in slow {
            // Where old tunnels still serve there is time to wait.
            let missed = self.pools.get(&pool).is_some_and(|p| {
                let usable = self.count(pool, direction, |life| life.is_usable(clock.now));
                usable < p.config.quantity(direction)
            });
            if let Some(build) = self.builds.get_mut(&id) {
                build.hedge_at = (!missed).then(|| clock.now + self.timing.hedge_after);
            }
        }
    }

    /// A connection to `peer` could not be made: what goes through it first does not work.
    /// `blame`: for all we know that is the peer's fault.
    pub fn handle_unreachable(&mut self, now: Instant, unix: UnixTime, peer: Hash, blame: bool) {
        let clock = self.clock(now, unix);
        let builds: Vec<BuildId> = self
            .builds
            .iter()
            .filter(|(_, b)| b.sent.as_ref().is_some_and(|s| s.direct_to == Some(peer)))
            .map(|(id, _)| *id)
            .collect();
        for id in builds {
            self.build_failed(clock, id, Failure::Unreachable);
        }
        let dead: Vec<OutboundId> = self
            .outbound
            .iter()
            .filter(|(_, t)| t.hops.first() == Some(&peer))
            .map(|(id, _)| *id)
            .collect();
        let blamed: &[Hash] = if blame { &[peer] } else { &[] };
        for id in dead {
            self.fail_outbound(clock, id, blamed);
        }
        self.test_soon(clock, peer);
    }

    /// The session with `peer` ended. Perhaps it only was idle: tunnels through it are tested.
    pub fn handle_disconnected(&mut self, now: Instant, unix: UnixTime, peer: Hash) {
        let clock = self.clock(now, unix);
        self.test_soon(clock, peer);
    }

    fn test_soon(&mut self, clock: Clock, peer: Hash) {
        for t in self.outbound.values_mut().filter(|t| t.hops.contains(&peer)) {
            t.life.next_test = clock.now;
        }
        for t in self.inbound.values_mut().filter(|t| t.hops.contains(&peer)) {
            t.life.next_test = clock.now;
        }
        let pools: Vec<PoolId> = self.pools.keys().copied().collect();
        for pool in pools {
            self.start_tests(clock, pool);
        }
        self.drain_loopback(clock);
        self.update_deadline(clock.now);
    }

    /// Signs of life of routers, in a build or in a test.
    pub(crate) fn seen_alive(
        &mut self,
        now: Instant,
        doubt: Doubt,
        peers: impl Iterator<Item = Hash>,
    ) {
        for peer in peers {
            self.alive.see(now, peer);
            if doubt == Doubt::Test {
                self.carried.see(now, peer);
            }
            for pool in self.pools.values_mut() {
                pool.clear_name(peer, doubt);
            }
        }
    }

    /// A message went through `via` that somebody is to confirm: see [`Self::confirm`].
    pub fn expect(&mut self, via: OutboundId) {
        if let Some(tunnel) = self.outbound.get_mut(&via) {
            tunnel.confirmations.expect();
        }
    }

    /// A message that left through `via` at the time `sent` is known to have arrived: as good as a
    /// test of that time.
    pub fn confirm(&mut self, via: OutboundId, sent: Instant) {
        if let Some(tunnel) = self.outbound.get_mut(&via) {
            tunnel.heard = tunnel.heard.max(Some(sent));
            tunnel.life.confirm(sent);
            tunnel.confirmations.see(sent);
        }
    }

    /// Gives up an outbound tunnel; `blamed` are the routers that may be the reason.
    pub(crate) fn fail_outbound(&mut self, clock: Clock, id: OutboundId, blamed: &[Hash]) {
        let Some(tunnel) = self.outbound.remove(&id) else { return };
        if let Some(pool) = self.pools.get_mut(&tunnel.pool) {
            pool.outbound.retain(|t| *t != id);
        }
        self.tunnel_failed(clock, tunnel.pool, Direction::Outbound, blamed);
    }

    /// Gives up an inbound tunnel. It still takes what comes for a while.
    pub(crate) fn fail_inbound(&mut self, clock: Clock, id: u32, blamed: &[Hash]) {
        let Some(tunnel) = self.inbound.get_mut(&id).filter(|t| !t.life.given_up) else { return };
        tunnel.life.given_up = true;
        tunnel.life.over_at = tunnel.life.over_at.min(clock.now + GRACE);
        let pool_id = tunnel.pool;
        if let Some(pool) = self.pools.get_mut(&pool_id) {
            pool.inbound.retain(|t| *t != id);
        }
        self.tunnel_failed(clock, pool_id, Direction::Inbound, blamed);
    }

    fn tunnel_failed(&mut self, clock: Clock, pool: PoolId, direction: Direction, blamed: &[Hash]) {
        log::debug!("{direction:?} tunnel of {pool:?} failed");
        if pool != PoolId::SCOUTS {
            let left = self.own_tunnels(clock.now);
            self.trouble.failed(clock.now, left);
        }
        let hops = u8::try_from(blamed.len()).unwrap_or(u8::MAX);
        for peer in blamed {
            self.carried.forget(peer);
            self.report(*peer, Outcome::TestFailed { hops });
        }
        if let Some(p) = self.pools.get_mut(&pool) {
            p.avoid(clock.now, Doubt::Test, blamed.iter().copied());
            let side = p.side_mut(direction);
            side.stats.failed += 1;
            side.hurry();
        }
        self.changed.insert(pool);
        self.maintain(clock, pool);
    }

    /// Our own tunnels that take messages as far as we know.
    fn own_tunnels(&self, now: Instant) -> usize {
        let pools = self.pools.keys().filter(|id| **id != PoolId::SCOUTS);
        let sides = [Direction::Inbound, Direction::Outbound];
        let usable = |life: &Life| life.is_usable(now);
        pools.map(|id| sides.map(|d| self.count(*id, d, usable)).iter().sum::<usize>()).sum()
    }

    /// Nothing seems to get through from or to the owner of a pool: its tunnels are tested now, but
    /// for those of which we heard a moment ago.
    pub fn doubt(&mut self, now: Instant, unix: UnixTime, pool: PoolId) {
        let clock = self.clock(now, unix);
        let Some(p) = self.pools.get_mut(&pool) else { return };
        if p.doubted.is_some_and(|at| now.saturating_since(at) < DOUBT_AGAIN) {
            return;
        }
        p.doubted = Some(now);
        let tests = &self.tests;
        let doubtful = |heard: Option<Instant>, life: &Life| {
            heard.max(life.passed_at).is_none_or(|at| now.saturating_since(at) >= HEARD_LATELY)
        };
        for (id, t) in self.outbound.iter_mut().filter(|(_, t)| t.pool == pool) {
            if doubtful(t.heard, &t.life) && !tests.values().any(|test| test.outbound == *id) {
                t.life.next_test = t.life.next_test.min(now);
            }
        }
        for (id, t) in self.inbound.iter_mut().filter(|(_, t)| t.pool == pool) {
            if doubtful(t.heard, &t.life) && !tests.values().any(|test| test.inbound == *id) {
                t.life.next_test = t.life.next_test.min(now);
            }
        }
        self.start_tests(clock, pool);
        self.drain_loopback(clock);
        self.update_deadline(now);
    }

    /// Our own tunnels that are over.
    pub(crate) fn expire_own(&mut self, clock: Clock) {
        let now = clock.now;
        for (id, mut tunnel) in self.inbound.extract_if(.., |_, t| t.life.over_at <= now) {
            tunnel.endpoint.clear(&mut self.budget);
            if let Some(pool) = self.pools.get_mut(&tunnel.pool)
                && pool.inbound.contains(&id)
            {
                pool.inbound.retain(|t| *t != id);
                self.changed.insert(tunnel.pool);
            }
        }
        for (id, tunnel) in self.outbound.extract_if(.., |_, t| t.life.over_at <= now) {
            if let Some(pool) = self.pools.get_mut(&tunnel.pool) {
                pool.outbound.retain(|t| *t != id);
                self.changed.insert(tunnel.pool);
            }
        }
        for tunnel in self.inbound.values_mut() {
            tunnel.endpoint.expire(now, &mut self.budget);
        }
    }

    /// Finds the next deadline, after anything with a time changed. Not on the path of a cell.
    pub(crate) fn update_deadline(&mut self, now: Instant) {
        let builds = self.builds.values().flat_map(|b| [Some(b.deadline), b.hedge_at]);
        let tests = self.tests.values().map(|t| Some(t.deadline));
        let inbound = self.inbound.values().map(|t| life_deadline(now, &t.life, t.hidden));
        let outbound = self.outbound.values().map(|t| life_deadline(now, &t.life, false));
        let sides = self.pools.values().flat_map(|p| {
            [Direction::Inbound, Direction::Outbound].map(|d| p.side(d).retry_at(now))
        });
        self.deadline = builds
            .chain(tests)
            .chain(inbound)
            .chain(outbound)
            .chain(sides)
            .chain([self.transit.poll_timeout()])
            .fold(None, earliest);
    }
}

/// When something is due for a tunnel. What is past already was seen to, or waits for something
/// else.
fn life_deadline(now: Instant, life: &Life, hidden: bool) -> Option<Instant> {
    let active = !hidden && life.health() != Health::Failed && life.is_usable(now);
    let test = active.then_some(life.next_test);
    let renew = (active && life.renew_at > now).then_some(life.renew_at);
    earliest(Some(life.over_at), earliest(test, renew))
}
