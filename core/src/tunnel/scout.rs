//! Scouts: tunnels of one hop that carry nothing but tests.
//!
//! Where most routers are useless, the tests of ordinary tunnels tell nothing: with seven in ten that
//! drop what they are given, one test in 1,400 comes back over three hops each way, and a lost one
//! blames six. Over one hop each way it is one in eleven, and one in three once a good hop is known.
//! So while our tunnels break in numbers, single hops are tried one after the other, and whoever
//! carried a test goes first when paths are chosen. Only tests go through a scout: no tunnel that is
//! used gets shorter.

use super::pool::Doubt;
use super::test::Test;
use super::{Clock, Direction, Outcome, PoolConfig, PoolId, Tunnels};
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
/// How much more those are chosen: paths of three of the others hardly ever work.
const FACTOR: u32 = 256;
/// After a hop did well the next one is tried after this.
const PAUSE: Duration = Duration::from_secs(1);
/// Tests in a row that the reference may lose: most of those tried through it are useless.
const MAX_LOST: u8 = 8;

impl Tunnels {
    /// The weight of a candidate for a pool, of which this is the ordinary one: in trouble those that
    /// carried a test lately go first, but for scouts, which look for others.
    #[must_use]
    pub fn favoured(&self, now: Instant, pool: PoolId, peer: &Hash, weight: u32) -> u32 {
        let fresh = |at| now.saturating_since(at) < FRESH && Some(at) >= self.trouble_since(now);
        let trouble = self.trouble_since(now).is_some();
        match pool {
            _ if !trouble || !self.carried.last(peer).is_some_and(fresh) => weight,
            PoolId::SCOUTS => (weight / FACTOR).max(1),
            _ => weight.saturating_mul(FACTOR),
        }
    }

    /// Sends scouts out while there is trouble, and calls them back.
    pub(crate) fn tend_scouts(&mut self, clock: Clock) {
        let (out, wanted) =
            (self.pools.contains_key(&PoolId::SCOUTS), self.trouble_since(clock.now).is_some());
        if wanted && !out && self.pools.contains_key(&PoolId::EXPLORATORY) {
            log::debug!("our tunnels break in numbers: single hops are tried");
            self.add_pool(clock.now, clock.unix, PoolId::SCOUTS, SHAPE);
        } else if !wanted && out {
            self.remove_pool(clock.now, PoolId::SCOUTS);
        }
    }

    /// True when no scout is needed although there is trouble.
    pub(crate) fn knows_enough(&self, now: Instant) -> bool {
        self.carried.within(now, FRESH) >= ENOUGH
    }

    /// A scout's test came back: its hop is a good one, and the next one is tried.
    pub(crate) fn scout_passed(&mut self, clock: Clock, test: &Test) {
        self.outbound.remove(&test.outbound);
        if let Some(pool) = self.pools.get_mut(&PoolId::SCOUTS) {
            pool.outbound.retain(|id| *id != test.outbound);
            pool.side_mut(Direction::Outbound).pause(clock.now + PAUSE);
        }
        if let Some(reference) = self.inbound.get_mut(&test.inbound) {
            reference.life.spared = 0;
        }
    }

    /// A scout's test was lost. With a reference that is known to work it was the other hop.
    pub(crate) fn scout_lost(&mut self, clock: Clock, test: &Test) {
        let mut blamed: Vec<Hash> = Vec::new();
        if let Some(tried) = self.outbound.get(&test.outbound) {
            blamed.extend(tried.hops.iter().copied());
        }
        let mut give_up = false;
        if let Some(reference) = self.inbound.get_mut(&test.inbound) {
            reference.life.spared = reference.life.spared.saturating_add(1);
            let proven = reference.life.passed_at.is_some();
            give_up = !proven || reference.life.spared >= MAX_LOST;
            if give_up {
                blamed.extend(reference.hops.iter().copied());
            }
        }
        let hops = u8::try_from(blamed.len()).unwrap_or(u8::MAX);
        for peer in &blamed {
            self.report(*peer, Outcome::TestLost { hops });
        }
        if let Some(pool) = self.pools.get_mut(&PoolId::SCOUTS) {
            pool.avoid(clock.now, Doubt::Test, blamed);
        }
        self.fail_outbound(clock, test.outbound, &[]);
        if give_up {
            self.fail_inbound(clock, test.inbound, &[]);
        }
    }
}
