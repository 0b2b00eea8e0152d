//! A pool: the tunnels of one owner, how many there should be, and when to build the next one.

use super::{Direction, OutboundId};
use crate::audit::Audit;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Builds under way in one pool.
pub(crate) const MAX_BUILDS: usize = 3;
/// Hops that a tunnel may have.
pub(crate) const MAX_LENGTH: u8 = 7;
/// Tunnels of one direction that a pool may ask for.
const MAX_QUANTITY: u8 = 16;
/// Tunnels of one direction that a pool holds at most, beyond twice those it wants.
pub(crate) const MAX_SURPLUS: usize = 4;
/// Routers that are remembered as involved in failures; the oldest makes room.
const MAX_AVOIDED: usize = 24;
/// For how long.
const AVOID_FOR: Duration = Duration::from_secs(60);
/// Waits after one, two, ... failed builds in a row, in milliseconds.
const BACK_OFF_MS: [u64; 6] = [100, 400, 1000, 2000, 4000, 8000];

/// The shape of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Hops of inbound tunnels, 0 to 7.
    pub inbound_length: u8,
    /// Hops of outbound tunnels, 0 to 7.
    pub outbound_length: u8,
    /// Up to this many hops more, drawn for each tunnel.
    pub variance: u8,
    /// Inbound tunnels, 1 to 16.
    pub inbound_quantity: u8,
    /// Outbound tunnels, 1 to 16.
    pub outbound_quantity: u8,
}

impl PoolConfig {
    /// Tunnels of one direction.
    #[must_use]
    pub fn quantity(&self, direction: Direction) -> usize {
        let quantity = match direction {
            Direction::Inbound => self.inbound_quantity,
            Direction::Outbound => self.outbound_quantity,
        };
        quantity.clamp(1, MAX_QUANTITY).into()
    }

    /// Draws the length of the next tunnel.
    pub(crate) fn draw_length(&self, direction: Direction, rng: &mut Rng) -> usize {
        let base = match direction {
            Direction::Inbound => self.inbound_length,
            Direction::Outbound => self.outbound_length,
        };
        let extra = rng.between(0, self.variance.into()) as u8;
        base.saturating_add(extra).min(MAX_LENGTH).into()
    }
}

/// Counters of one direction of a pool since it was added, and what it has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideStats {
    /// Usable tunnels.
    pub active: usize,
    /// Builds under way.
    pub building: usize,
    /// Builds that every hop accepted.
    pub built: u64,
    /// Builds that a hop refused.
    pub rejected: u64,
    /// Builds without an answer, or whose first router could not be reached.
    pub timed_out: u64,
    /// Times that there was no path to ask.
    pub no_path: u64,
    /// Tunnels given up for failed tests.
    pub failed: u64,
}

/// The same of both directions together, and tests, which take a tunnel of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Usable inbound tunnels.
    pub inbound: usize,
    /// Usable outbound tunnels.
    pub outbound: usize,
    /// Builds under way.
    pub building: usize,
    /// Builds that every hop accepted.
    pub built: u64,
    /// Builds that a hop refused.
    pub rejected: u64,
    /// Builds without an answer, or whose first router could not be reached.
    pub timed_out: u64,
    /// Times that there was no path to ask.
    pub no_path: u64,
    /// Tests that came back.
    pub tests_passed: u64,
    /// Tests that did not.
    pub tests_failed: u64,
    /// Tunnels given up for failed tests.
    pub failed: u64,
}

/// Why a router is avoided for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// It refused, or was in a build without an answer.
    Build,
    /// It was in a tunnel that failed its tests, which says more: some routers accept and drop.
    Test,
}

/// One direction of a pool.
#[derive(Default)]
pub(crate) struct Side {
    /// Without what it has now.
    pub(crate) stats: SideStats,
    failures: usize,
    retry_at: Option<Instant>,
}

impl Side {
    /// True when a build may start.
    pub(crate) fn may_build(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// When it may, if it may not now.
    pub(crate) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|at| *at > now)
    }

    /// A build worked.
    pub(crate) const fn succeed(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// A build failed: the next one waits, longer each time.
    pub(crate) fn fail(&mut self, now: Instant, rng: &mut Rng) {
        let wait = BACK_OFF_MS.get(self.failures).or(BACK_OFF_MS.last()).copied().unwrap_or(0);
        self.failures = (self.failures + 1).min(BACK_OFF_MS.len());
        let wait = wait + rng.below(wait / 2 + 1);
        let at = now + Duration::from_millis(wait);
        self.retry_at = Some(self.retry_at.map_or(at, |old| old.max(at)));
    }

    /// No build before this.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.retry_at = self.retry_at.max(Some(until));
    }

    /// Something changed for the better: try now.
    pub(crate) const fn hurry(&mut self) {
        self.retry_at = None;
    }
}

/// The tunnels of one owner.
pub(crate) struct Pool {
    pub(crate) config: PoolConfig,
    /// Ids under which we receive.
    pub(crate) inbound: Vec<u32>,
    pub(crate) outbound: Vec<OutboundId>,
    pub(crate) tests_passed: u64,
    pub(crate) tests_failed: u64,
    /// When its tunnels were tested last since nothing seemed to get through.
    pub(crate) doubted: Option<Instant>,
    inbound_side: Side,
    outbound_side: Side,
    avoid: VecDeque<(Instant, Hash, Doubt)>,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Self {
        Self {
            config,
            inbound: Vec::new(),
            outbound: Vec::new(),
            tests_passed: 0,
            tests_failed: 0,
            doubted: None,
            inbound_side: Side::default(),
            outbound_side: Side::default(),
            avoid: VecDeque::new(),
        }
    }

    pub(crate) const fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Inbound => &self.inbound_side,
            Direction::Outbound => &self.outbound_side,
        }
    }

    pub(crate) const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Inbound => &mut self.inbound_side,
            Direction::Outbound => &mut self.outbound_side,
        }
    }

    /// Tunnels that one direction can have: whole builds may be under way when it is full.
    pub(crate) fn most(&self, direction: Direction) -> usize {
        self.config.quantity(direction) * 2 + MAX_SURPLUS + MAX_BUILDS
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("tunnels: inbound of a pool", self.inbound.len(), self.most(Direction::Inbound));
        audit.see(
            "tunnels: outbound of a pool",
            self.outbound.len(),
            self.most(Direction::Outbound),
        );
        audit.see("tunnels: avoided of a pool", self.avoid.len(), MAX_AVOIDED);
    }

    /// Remembers routers that may be the reason of a failure.
    pub(crate) fn avoid(&mut self, now: Instant, why: Doubt, hops: impl IntoIterator<Item = Hash>) {
        for hash in hops {
            self.avoid.retain(|(_, h, _)| *h != hash);
            if self.avoid.len() >= MAX_AVOIDED {
                self.avoid.pop_front();
            }
            self.avoid.push_back((now, hash, why));
        }
    }

    /// A router did well in a test, or, as far as `Doubt::Build` goes, in a build.
    pub(crate) fn clear_name(&mut self, peer: Hash, of: Doubt) {
        self.avoid.retain(|(_, h, why)| *h != peer || *why > of);
    }

    /// The routers that were lately part of a failure.
    pub(crate) fn avoided(&mut self, now: Instant) -> Vec<Hash> {
        self.avoid.retain(|(since, ..)| now.saturating_since(*since) < AVOID_FOR);
        self.avoid.iter().map(|(_, hash, _)| *hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn waits_grow_to_a_bound_and_a_success_ends_them() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut side = Side::default();
        let now = Instant::from_micros(5);
        assert!(side.may_build(now));
        let mut last = Duration::ZERO;
        for n in 0..20 {
            side.retry_at = None;
            side.fail(now, &mut rng);
            let wait = side.retry_at(now).unwrap().saturating_since(now);
            assert!(!side.may_build(now) && wait <= Duration::from_secs(12));
            assert!(n >= 6 || wait > last, "{n}: {wait:?}");
            last = wait;
        }
        side.succeed();
        assert!(side.may_build(now));
    }

    #[test]
    fn avoided_routers_are_few_and_forgotten() {
        let mut pool = Pool::new(PoolConfig {
            inbound_length: 3,
            outbound_length: 3,
            variance: 0,
            inbound_quantity: 2,
            outbound_quantity: 2,
        });
        let hash = |n: u8| Hash([n; 32]);
        pool.avoid(Instant::ZERO, Doubt::Build, (0..100).map(hash));
        assert_eq!(pool.avoided(Instant::ZERO).len(), MAX_AVOIDED);
        pool.avoid(Instant::from_micros(1), Doubt::Test, [hash(98), hash(99)]);
        pool.clear_name(hash(99), Doubt::Build);
        pool.clear_name(hash(98), Doubt::Test);
        assert_eq!(pool.avoided(Instant::ZERO + AVOID_FOR), [hash(99)]);
    }

    #[test]
    fn lengths_vary_upwards_within_the_limit() {
        let config = PoolConfig {
            inbound_length: 6,
            outbound_length: 2,
            variance: 2,
            inbound_quantity: 0,
            outbound_quantity: 99,
        };
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut seen = [false; 10];
        for _ in 0..100 {
            seen[config.draw_length(Direction::Outbound, &mut rng)] = true;
            assert!((6..=7).contains(&config.draw_length(Direction::Inbound, &mut rng)));
        }
        assert_eq!(seen[..6], [false, false, true, true, true, false]);
        assert_eq!(config.quantity(Direction::Inbound), 1);
        assert_eq!(config.quantity(Direction::Outbound), 16);
    }
}
