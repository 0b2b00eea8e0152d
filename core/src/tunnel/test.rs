//! Tests of our tunnels: a message to ourselves, out through one and in through another.
//!
//! Garlic-wrapped under a key for one message, so that neither the outbound endpoint nor the
//! inbound gateway sees what it is, and bound to the pool whose tunnels it tests.

use super::once::{self, Once};
use super::own::{Health, Life};
use super::pool::Doubt;
use super::verdict::{Evidence, Loss, verdict};
use super::{Clock, OutboundId, Outcome, PoolId, Tunnels};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::i2np::{DeliveryStatus, Message, MessageType};
use crate::wire::tunnel::Delivery;
use alloc::vec::Vec;
use core::time::Duration;

/// Tests under way, in all pools; when full, a due test waits.
pub(crate) const MAX_TESTS: usize = 1024;
/// A due test without a partner looks for one again after this.
const NO_PARTNER: Duration = Duration::from_secs(1);

/// A test under way.
pub(crate) struct Test {
    pub(crate) pool: PoolId,
    pub(crate) outbound: OutboundId,
    pub(crate) inbound: u32,
    id: u32,
    key: Once,
    sent: Instant,
    pub(crate) deadline: Instant,
}

#[cfg(test)]
impl Test {
    pub(crate) const fn key_for_tests(&self) -> &Once {
        &self.key
    }
}

impl Tunnels {
    /// Starts what tests are due in a pool.
    pub(crate) fn start_tests(&mut self, clock: Clock, pool: PoolId) {
        let Some((inbound, outbound)) =
            self.pools.get(&pool).map(|p| (p.inbound.clone(), p.outbound.clone()))
        else {
            return;
        };
        let now = clock.now;
        // A tunnel that is due brings along one that is due too, so pairs change by chance.
        for id in outbound {
            let due = self
                .outbound
                .get(&id)
                .is_some_and(|t| t.life.next_test <= now && t.life.is_usable(now));
            if due {
                let suspect = self.outbound.get(&id).is_some_and(|t| t.life.missed);
                match self.partner_inbound(now, &inbound, suspect) {
                    Some(partner) => self.start_test(clock, pool, id, partner),
                    None => self.postpone_outbound(now, id),
                }
            }
        }
        for id in inbound {
            let due = self
                .inbound
                .get(&id)
                .is_some_and(|t| t.life.next_test <= now && t.life.is_usable(now) && !t.hidden);
            if due {
                let suspect = self.inbound.get(&id).is_some_and(|t| t.life.missed);
                match self.partner_outbound(now, pool, suspect) {
                    Some(partner) => self.start_test(clock, pool, partner, id),
                    None => self.postpone_inbound(now, id),
                }
            }
        }
    }

    fn partner_inbound(&mut self, now: Instant, ids: &[u32], suspect: bool) -> Option<u32> {
        let lives = ids.iter().filter_map(|id| Some((*id, &self.inbound.get(id)?.life)));
        partner(now, lives, suspect, &mut self.rng)
    }

    fn partner_outbound(
        &mut self,
        now: Instant,
        pool: PoolId,
        suspect: bool,
    ) -> Option<OutboundId> {
        let ids = self.pools.get(&pool)?.outbound.iter();
        let lives = ids.filter_map(|id| Some((*id, &self.outbound.get(id)?.life)));
        partner(now, lives, suspect, &mut self.rng)
    }

    fn postpone_outbound(&mut self, now: Instant, id: OutboundId) {
        if let Some(t) = self.outbound.get_mut(&id) {
            t.life.next_test = now + NO_PARTNER;
        }
    }

    fn postpone_inbound(&mut self, now: Instant, id: u32) {
        if let Some(t) = self.inbound.get_mut(&id) {
            t.life.next_test = now + NO_PARTNER;
        }
    }

    fn start_test(&mut self, clock: Clock, pool: PoolId, outbound: OutboundId, inbound: u32) {
        let now = clock.now;
        let (Some(o), Some(i)) = (self.outbound.get_mut(&outbound), self.inbound.get_mut(&inbound))
        else {
            return;
        };
        o.life.delay_test(now, &mut self.rng);
        i.life.delay_test(now, &mut self.rng);
        if o.hops.is_empty() && i.hops.is_empty() {
            // Nothing to test between us and ourselves.
            o.life.pass(now, Duration::ZERO, &mut self.rng);
            i.life.pass(now, Duration::ZERO, &mut self.rng);
            return;
        }
        if self.tests.len() >= MAX_TESTS {
            return;
        }
        let known = o.life.rtt.max(i.life.rtt);
        let (least, most) = self.timing.test_timeout;
        let first = match pool {
            PoolId::SCOUTS => least,
            _ => self.timing.first_test_timeout,
        };
        let timeout =
            known.map_or(first, |rtt| (rtt * 4 + Duration::from_secs(1)).min(most).max(least));
        let delivery =
            Delivery::Tunnel { gateway: i.gateway(self.local), tunnel: i.gateway_tunnel };
        let key = Once::generate(&mut self.rng);
        let id = self.rng.u32();
        let mut body = Vec::new();
        DeliveryStatus { id, time: clock.unix }.encode(&mut body);
        let expires = clock.expires();
        let status =
            Message { kind: MessageType::DELIVERY_STATUS, id: self.rng.u32(), expires, body };
        let message_id = self.rng.u32();
        let Ok(message) = key.seal(status, message_id, expires, &mut self.rng) else { return };
        let tag = key.tag;
        let deadline = now + timeout;
        let test = Test { pool, outbound, inbound, id, key, sent: now, deadline };
        self.tests.insert(tag, test);
        // Cannot fail: the tunnel is there and the message is small.
        let _ = self.send_alone(clock, outbound, delivery, &message);
    }

    /// A garlic message of `pool`: takes it if it is one of our tests.
    pub(crate) fn take_test(&mut self, clock: Clock, pool: PoolId, body: &mut [u8]) -> bool {
        let Some(tag) = once::tag(body) else { return false };
        // The pool must be the right one: else whoever knows the tag could ask through another
        // destination's tunnel whether both are ours.
        let Some(test) = self.tests.get(&tag).filter(|t| t.pool == pool) else { return false };
        let genuine = once::open(&test.key.key, body)
            .filter(|m| m.kind == MessageType::DELIVERY_STATUS)
            .and_then(|m| DeliveryStatus::decode(&m.body).ok())
            .is_some_and(|status| status.id == test.id);
        if genuine && let Some(test) = self.tests.remove(&tag) {
            self.test_passed(clock, &test);
        }
        genuine
    }

    fn test_passed(&mut self, clock: Clock, test: &Test) {
        let rtt = clock.now.saturating_since(test.sent);
        if let Some(pool) = self.pools.get_mut(&test.pool) {
            pool.tests_passed += 1;
        }
        let mut hops = Vec::new();
        if let Some(t) = self.outbound.get_mut(&test.outbound) {
            t.life.pass(clock.now, rtt, &mut self.rng);
            t.confirmations.age();
            hops.extend(t.hops.iter().copied());
        }
        if let Some(t) = self.inbound.get_mut(&test.inbound) {
            t.life.pass(clock.now, rtt, &mut self.rng);
            hops.extend(t.hops.iter().copied());
        }
        if test.pool == PoolId::SCOUTS {
            self.scout_passed(clock, test, hops);
            return;
        }
        hops.sort_unstable();
        hops.dedup();
        self.seen_alive(clock.now, Doubt::Test, hops.iter().copied());
        for peer in hops {
            self.report(peer, Outcome::TestPassed { latency: rtt });
        }
    }

    /// Gives up tests that did not come back.
    pub(crate) fn expire_tests(&mut self, clock: Clock) {
        let over: Vec<[u8; 8]> = self
            .tests
            .iter()
            .filter(|(_, t)| t.deadline <= clock.now)
            .map(|(tag, _)| *tag)
            .collect();
        for tag in over {
            if let Some(test) = self.tests.remove(&tag) {
                self.test_failed(clock, &test);
            }
        }
    }

    fn test_failed(&mut self, clock: Clock, test: &Test) {
        if let Some(pool) = self.pools.get_mut(&test.pool) {
            pool.tests_failed += 1;
        }
        if test.pool == PoolId::SCOUTS {
            self.scout_lost(clock, test);
            return;
        }
        let outbound = self.outbound.get(&test.outbound).map(|t| t.evidence(test.sent));
        let inbound = self.inbound.get(&test.inbound).map(|t| t.evidence(test.sent));
        let (of_outbound, of_inbound) =
            verdict(outbound.unwrap_or(Evidence::GONE), inbound.unwrap_or(Evidence::GONE));
        let mut hops = Vec::new();
        if let Some(t) = self.outbound.get_mut(&test.outbound) {
            t.life.lose(clock.now, test.sent, of_outbound);
            if of_outbound == Loss::Spared {
                t.confirmations.spend(test.sent);
            } else {
                t.confirmations.age();
            }
            hops.extend(t.hops.iter().copied().filter(|_| of_outbound == Loss::Blamed));
        }
        if let Some(t) = self.inbound.get_mut(&test.inbound) {
            t.life.lose(clock.now, test.sent, of_inbound);
            hops.extend(t.hops.iter().copied().filter(|_| of_inbound == Loss::Blamed));
        }
        hops.sort_unstable();
        hops.dedup();
        let count = u8::try_from(hops.len()).unwrap_or(u8::MAX);
        for peer in hops {
            self.report(peer, Outcome::TestLost { hops: count });
        }
        if let Some(t) = self.outbound.get(&test.outbound)
            && t.life.health() == Health::Failed
        {
            let hops = t.hops.clone();
            self.fail_outbound(clock, test.outbound, &hops);
        }
        if let Some(t) = self.inbound.get(&test.inbound)
            && t.life.health() == Health::Failed
        {
            let hops = t.hops.clone();
            self.fail_inbound(clock, test.inbound, &hops);
        }
    }

    /// Forgets tests whose tunnels are gone.
    pub(crate) fn drop_tests(&mut self, pool: PoolId) {
        self.tests.retain(|_, t| t.pool != pool);
    }
}

/// One of the best partners, by chance.
fn partner<'a, T: Copy>(
    now: Instant,
    lives: impl Iterator<Item = (T, &'a Life)>,
    suspect: bool,
    rng: &mut Rng,
) -> Option<T> {
    let ranked: Vec<_> = lives
        .filter(|(_, life)| life.is_usable(now))
        .map(|(id, life)| (id, life.partner_rank(now, suspect)))
        .collect();
    let best = ranked.iter().map(|(_, rank)| *rank).min()?;
    let best: Vec<T> = ranked.iter().filter(|(_, r)| *r == best).map(|(id, _)| *id).collect();
    best.get(rng.index(best.len())).copied()
}
