//! Scouts: tunnels of one hop that carry nothing but tests.
//!
//! Where most routers are useless, the tests of ordinary tunnels tell nothing: with seven in ten that
//! drop what they are given, one test in 1,400 comes back over three hops each way, and a lost one
//! blames six. Over one hop each way it is one in eleven, and one in three once a good hop is known.
//! So while our tunnels break in numbers, single hops are tried one after the other, and whoever
//! carried a test goes first when paths are chosen. Only tests go through a scout: no tunnel that is
//! used gets shorter.

use super::pool::Doubt;
use super::select::{Candidate, MAX_SHARE};
use super::test::Test;
use super::{Clock, Direction, PoolConfig, PoolId, Tunnels};
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::vec::Vec;
use core::time::Duration;

/// One reference and two that are tried through it.
const SHAPE: PoolConfig = PoolConfig {
    inbound_length: 1,
    outbound_length: 1,
    variance: 0,
    inbound_quantity: 1,
    outbound_quantity: 2,
};
/// Hops that carried a test within [`FRESH`]: when we know so many there is no need to scout.
const ENOUGH: usize = 24;
const FRESH: Duration = Duration::from_secs(120);
/// How much more those are chosen that carried a test: paths of three of the others hardly ever work.
const CARRIED_FACTOR: u32 = 256;
/// The same of those of which we had a sign of life else.
const LIVELY_FACTOR: u32 = 16;
/// After a hop did well the next one is tried after this.
const PAUSE: Duration = Duration::from_secs(1);
/// A reference serves for so many tests: it sees who is tried, and could choose who does well.
const MAX_SERVED: u8 = 8;

impl Tunnels {
    /// Makes of a candidate's ordinary weight what it is in trouble: those that carried a test since
    /// it began go first, then those that are `lively`. Scouts look for others than the first. Who is
    /// in a third of our tunnels is favoured no more: whatever it does must not meet all of them.
    pub fn favour(&self, now: Instant, pool: PoolId, lively: bool, candidate: &mut Candidate) {
        let Some(time) = self.in_trouble_for(now) else { return };
        let carried = self.carried.is_within(now, &candidate.hash, time.min(FRESH));
        candidate.weight = match (carried, pool) {
            (true, PoolId::SCOUTS) => (candidate.weight / CARRIED_FACTOR).max(1),
            _ if candidate.share > MAX_SHARE => return,
            (true, _) => candidate.weight.saturating_mul(CARRIED_FACTOR),
            (false, _) if lively => candidate.weight.saturating_mul(LIVELY_FACTOR),
            (false, _) => return,
        };
    }

    /// Routers that carried a test since the trouble began, if there is any.
    #[must_use]
    pub fn carriers(&self, now: Instant) -> Vec<Hash> {
        let time = self.in_trouble_for(now);
        time.map(|t| self.carried.within(now, t.min(FRESH)).collect()).unwrap_or_default()
    }

    /// Sends scouts out while there is trouble, and calls them back.
    pub(crate) fn tend_scouts(&mut self, clock: Clock) {
        let (out, wanted) =
            (self.pools.contains_key(&PoolId::SCOUTS), self.in_trouble_for(clock.now).is_some());
        if wanted && !out && self.pools.contains_key(&PoolId::EXPLORATORY) {
            log::debug!("our tunnels break in numbers: single hops are tried");
            self.add_pool(clock.now, clock.unix, PoolId::SCOUTS, SHAPE);
        } else if !wanted && out {
            self.remove_pool(clock.now, PoolId::SCOUTS);
        }
    }

    /// True when no scout is needed although there is trouble.
    pub(crate) fn knows_enough(&self, now: Instant) -> bool {
        self.carriers(now).len() >= ENOUGH
    }

    /// A scout's test came back: its hops are good ones, and the next one is tried. Profiles hear
    /// nothing of scouts: hops can tell them from tunnels that are used.
    pub(crate) fn scout_passed(&mut self, clock: Clock, test: &Test, hops: Vec<Hash>) {
        for peer in hops {
            self.alive.see(clock.now, peer);
            self.carried.see(clock.now, peer);
        }
        self.outbound.remove(&test.outbound);
        if let Some(pool) = self.pools.get_mut(&PoolId::SCOUTS) {
            pool.outbound.retain(|id| *id != test.outbound);
            pool.side_mut(Direction::Outbound).pause(clock.now + PAUSE);
        }
        self.reference_served(clock, test.inbound, true);
    }

    /// A scout's test was lost: others are tried, and another reference unless this one ever worked.
    pub(crate) fn scout_lost(&mut self, clock: Clock, test: &Test) {
        let tried = self.outbound.get(&test.outbound).map(|t| t.hops.clone());
        if let (Some(pool), Some(tried)) = (self.pools.get_mut(&PoolId::SCOUTS), tried) {
            pool.avoid(clock.now, Doubt::Test, tried);
        }
        self.fail_outbound(clock, test.outbound, &[]);
        self.reference_served(clock, test.inbound, false);
    }

    fn reference_served(&mut self, clock: Clock, id: u32, passed: bool) {
        let Some(reference) = self.inbound.get_mut(&id) else { return };
        reference.served = reference.served.saturating_add(1);
        let proven = passed || reference.life.passed_at.is_some();
        if !proven || reference.served >= MAX_SERVED {
            let hops = reference.hops.clone();
            if let Some(pool) = self.pools.get_mut(&PoolId::SCOUTS) {
                pool.avoid(clock.now, Doubt::Test, hops);
            }
            self.fail_inbound(clock, id, &[]);
        }
    }
}
