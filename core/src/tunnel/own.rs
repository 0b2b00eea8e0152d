//! Our own tunnels, once built, and what we know about how well each works.

use super::build::request::AskedHop;
use super::endpoint::Endpoint;
use super::fragment::Caps;
use super::gateway::Gateway;
use super::layer::Unlayer;
use super::verdict::{Evidence, Loss, Sign};
use super::{Direction, PoolId};
use crate::config::Timing;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use alloc::vec::Vec;
use core::time::Duration;

/// How long hops keep a tunnel, from the request on (specification `tunnel-creation-ecies`).
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
/// Our end of an inbound tunnel listens this much longer, for what is under way.
pub(crate) const GRACE: Duration = Duration::from_secs(60);
/// Inbound tunnels of a pool come in so many generations at most: one that is given up listens for
/// [`GRACE`] still, and none is given up before two tests of a second each were lost.
pub(crate) const INBOUND_GENERATIONS: usize = 1 + GRACE.as_secs() as usize / 2;
/// An outbound tunnel takes no new messages this long before its end.
const LAST_USE: Duration = Duration::from_secs(15);
/// Replacements are built between these ages, spread so that the tunnels of a pool do not all
/// end together. Late enough for few builds, early enough for several failed ones.
const RENEW_AGE_SECS: (u64, u64) = (500, 540);
/// Failed tests in a row after which a tunnel is given up.
pub(crate) const MAX_FAILURES: u8 = 2;

/// Lost tests among the latest eight that count after which a tunnel is given up, whatever came
/// through it in between: a hop that drops half of everything must not live on the other half.
const MAX_LOST: u32 = 5;

/// So many confirmations say more than a test.
const MIN_CONFIRMED: u32 = 4;

/// How far one of our tunnels can be trusted, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The latest test came back.
    Tested,
    /// Built, not tested yet.
    New,
    /// The latest test did not come back; another is under way.
    Suspect,
    /// Given up. Not used for anything any more.
    Failed,
}

/// Age and health of a tunnel.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) created: Instant,
    /// When hops forget it: the end of a lease.
    pub(crate) ends: UnixTime,
    pub(crate) renew_at: Instant,
    /// When we forget it.
    pub(crate) over_at: Instant,
    pub(crate) next_test: Instant,
    /// Tests are between these apart.
    test_every: (Duration, Duration),
    pub(crate) passed_at: Option<Instant>,
    /// Tests in a row that did not come back and that nothing excuses.
    pub(crate) failures: u8,
    /// A build that used it was not answered, and nothing came through it since: while it cannot be
    /// tested, others are used for builds.
    pub(crate) doubted: bool,
    /// For good: what still comes through it, late answers to tests among it, changes nothing.
    pub(crate) given_up: bool,
    /// The latest test did not come back, whatever excuses it.
    pub(crate) missed: bool,
    /// Lost tests in a row that do not count.
    pub(crate) spared: u8,
    /// When the latest test that was lost had left.
    lost_sent: Option<Instant>,
    /// The latest eight tests that count, lost ones as 1.
    lost: u8,
    /// Round trip of tests, through this tunnel and one of the other direction.
    pub(crate) rtt: Option<Duration>,
}

impl Life {
    /// Of a tunnel that was asked for at `asked`.
    pub(crate) fn new(
        asked: Instant,
        asked_unix: UnixTime,
        way: Direction,
        timing: &Timing,
        rng: &mut Rng,
    ) -> Self {
        let (min, max) = RENEW_AGE_SECS;
        let over_at = match way {
            Direction::Inbound => asked + LIFETIME + GRACE,
            Direction::Outbound => asked + LIFETIME,
        };
        Self {
            created: asked,
            ends: asked_unix + LIFETIME,
            renew_at: asked + Duration::from_millis(rng.between(min * 1000, max * 1000)),
            over_at,
            // At once.
            next_test: asked,
            test_every: timing.test_every,
            passed_at: None,
            failures: 0,
            doubted: false,
            given_up: false,
            missed: false,
            spared: 0,
            lost_sent: None,
            lost: 0,
            rtt: None,
        }
    }

    pub(crate) const fn health(&self) -> Health {
        if self.given_up {
            return Health::Failed;
        }
        match (self.failures, self.passed_at) {
            (0, Some(_)) => Health::Tested,
            (0, None) => Health::New,
            (1, _) => Health::Suspect,
            (MAX_FAILURES.., _) => Health::Failed,
        }
    }

    /// Works as far as we know, and is long from its end.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.health() != Health::Failed && now < self.renew_at
    }

    /// May still take messages.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        self.health() != Health::Failed && now < self.created + (LIFETIME - LAST_USE)
    }

    /// A test came back.
    pub(crate) fn pass(&mut self, now: Instant, rtt: Duration, rng: &mut Rng) {
        self.failures = 0;
        self.doubted = false;
        self.missed = false;
        self.spared = 0;
        self.lost <<= 1;
        self.passed_at = Some(now);
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 3 + rtt) / 4));
        self.delay_test(now, rng);
    }

    /// What left through it at this time is known to have arrived.
    pub(crate) fn confirm(&mut self, sent: Instant) {
        self.doubted = false;
        // What left before the lost test proves nothing about the time since.
        if Some(sent) > self.lost_sent && self.failures < MAX_FAILURES {
            self.failures = 0;
        }
    }

    /// A test that left at this time did not come back. Another one is due at once.
    pub(crate) fn lose(&mut self, now: Instant, sent: Instant, loss: Loss) {
        self.missed = true;
        self.next_test = now;
        if loss == Loss::Spared {
            self.spared = self.spared.saturating_add(1);
            return;
        }
        self.lost_sent = self.lost_sent.max(Some(sent));
        self.lost = self.lost << 1 | 1;
        if self.lost.count_ones() >= MAX_LOST {
            self.failures = MAX_FAILURES;
        } else if loss == Loss::Blamed {
            self.failures = self.failures.saturating_add(1);
        }
    }

    const fn evidence(&self, sign: Sign) -> Evidence {
        let doubt = if self.failures == 0 { self.missed as u8 } else { self.failures };
        Evidence { sign, doubt, spared: self.spared }
    }

    /// Order of preference as the other tunnel of a test: above all one whose latest test came
    /// back; then, for a `suspect`, one that is known to work, else one that is due itself.
    pub(crate) fn partner_rank(&self, now: Instant, suspect: bool) -> (bool, Health, bool) {
        let health = if suspect { self.health() } else { Health::New };
        (self.missed, health, !suspect && self.next_test > now)
    }

    /// The next test is due after the usual time.
    pub(crate) fn delay_test(&mut self, now: Instant, rng: &mut Rng) {
        let (min, max) = self.test_every;
        let wait = rng.between(min.as_millis() as u64, max.as_millis() as u64);
        self.next_test = now + Duration::from_millis(wait);
    }

    /// Order of preference for sending: health, then nearness, then freshness.
    pub(crate) fn rank(&self, now: Instant, best: Option<Duration>) -> (Health, bool, bool) {
        let slow = match (self.rtt, best) {
            // Within twice the best round trip, and some noise, tunnels are alike: the load
            // spreads over them.
            (Some(rtt), Some(best)) => rtt > best * 2 + Duration::from_millis(50),
            (None, _) | (_, None) => false,
        };
        (self.health(), slow, now >= self.renew_at)
    }
}

/// Messages through a tunnel that somebody is to confirm, lately, and those that were confirmed.
#[derive(Debug, Default)]
pub(crate) struct Confirmations {
    expected: u32,
    seen: u32,
    /// What left earlier does not count any more.
    since: Option<Instant>,
}

impl Confirmations {
    pub(crate) const fn expect(&mut self) {
        self.expected = self.expected.saturating_add(1);
    }

    /// What left at this time was confirmed.
    pub(crate) fn see(&mut self, sent: Instant) {
        if Some(sent) > self.since {
            self.seen = self.seen.saturating_add(1);
        }
    }

    /// They excused a test that left at this time: the next one takes new ones.
    pub(crate) const fn spend(&mut self, sent: Instant) {
        *self = Self { expected: 0, seen: 0, since: Some(sent) };
    }

    /// True when the tunnel carries what it is given: tests that are lost all the same came too
    /// late, behind our own traffic. Half of it would not do.
    pub(crate) const fn prove(&self) -> bool {
        self.seen >= MIN_CONFIRMED && self.seen * 4 >= self.expected * 3
    }

    /// A test is over; what was before counts half.
    pub(crate) const fn age(&mut self) {
        self.expected /= 2;
        self.seen /= 2;
    }
}

/// A tunnel of ours that messages leave through.
pub(crate) struct Outbound {
    pub(crate) pool: PoolId,
    pub(crate) life: Life,
    /// Empty: messages leave directly.
    pub(crate) hops: Vec<Hash>,
    /// The id under which the first hop receives.
    pub(crate) first_tunnel: u32,
    pub(crate) gateway: Gateway,
    /// When the latest message left that somebody confirmed: as good as a test.
    pub(crate) heard: Option<Instant>,
    pub(crate) confirmations: Confirmations,
    /// Last hop first, which is the order of undoing.
    layers: Vec<Unlayer>,
}

impl Outbound {
    pub(crate) fn new(pool: PoolId, life: Life, asked: &[AskedHop]) -> Self {
        Self {
            pool,
            life,
            hops: asked.iter().map(|h| h.hash).collect(),
            first_tunnel: asked.first().map_or(0, |h| h.receive),
            gateway: Gateway::default(),
            heard: None,
            confirmations: Confirmations::default(),
            layers: layers(asked),
        }
    }

    /// About a lost test that left at this time.
    pub(crate) fn evidence(&self, sent: Instant) -> Evidence {
        self.life.evidence(if self.life.passed_at > Some(sent) {
            Sign::Works
        } else if self.confirmations.prove() {
            Sign::Proof
        } else if self.heard > Some(sent) {
            Sign::Confirmed
        } else {
            Sign::Nothing
        })
    }

    /// Prepares a cell so that the hops' encryption leaves it plain at the endpoint.
    pub(crate) fn wrap(&self, cell: &mut [u8]) {
        for layer in &self.layers {
            layer.decrypt(cell);
        }
        if let Some(id) = cell.first_chunk_mut() {
            *id = self.first_tunnel.to_be_bytes();
        }
    }
}

/// A tunnel of ours that messages arrive through.
pub(crate) struct Inbound {
    pub(crate) pool: PoolId,
    pub(crate) life: Life,
    /// Empty: messages arrive directly.
    pub(crate) hops: Vec<Hash>,
    /// The id that the gateway knows.
    pub(crate) gateway_tunnel: u32,
    pub(crate) endpoint: Endpoint,
    /// When something came through it: a sign of life as good as a test.
    pub(crate) heard: Option<Instant>,
    /// Only a return path for replies to our first builds: no lease, no test.
    pub(crate) hidden: bool,
    /// Tests of scouts that came through it, or were to.
    pub(crate) served: u8,
    layers: Vec<Unlayer>,
}

impl Inbound {
    /// `receive` is our own id, which without hops is the gateway's too.
    pub(crate) fn new(pool: PoolId, life: Life, asked: &[AskedHop], receive: u32) -> Self {
        Self {
            pool,
            life,
            hops: asked.iter().map(|h| h.hash).collect(),
            gateway_tunnel: asked.first().map_or(receive, |h| h.receive),
            endpoint: Endpoint::new(Caps::OWN),
            heard: None,
            hidden: false,
            served: 0,
            layers: layers(asked),
        }
    }

    /// About a lost test that left at this time.
    pub(crate) fn evidence(&self, sent: Instant) -> Evidence {
        let works = self.heard.max(self.life.passed_at) > Some(sent);
        self.life.evidence(if works { Sign::Works } else { Sign::Nothing })
    }

    /// The router that takes messages for this tunnel.
    pub(crate) fn gateway(&self, local: Hash) -> Hash {
        self.hops.first().copied().unwrap_or(local)
    }

    /// Undoes what the hops did to a cell.
    pub(crate) fn unwrap(&self, cell: &mut [u8]) {
        for layer in &self.layers {
            layer.decrypt(cell);
        }
    }
}

fn layers(asked: &[AskedHop]) -> Vec<Unlayer> {
    asked.iter().rev().map(|h| Unlayer::new(&h.keys.layer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn only_what_left_after_a_lost_test_excuses_a_tunnel() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let unix = UnixTime::from_secs(1_800_000_000);
        let timing = Timing::default();
        let mut life = Life::new(at(0), unix, Direction::Outbound, &timing, &mut rng);
        life.pass(at(1), Duration::from_millis(300), &mut rng);
        life.lose(at(10), at(10), Loss::Blamed);
        life.confirm(at(9));
        assert_eq!(life.health(), Health::Suspect, "it may have broken since");
        life.confirm(at(11));
        assert_eq!(life.health(), Health::Tested);
        // Not even what is confirmed lets a tunnel live that loses most of its tests.
        for n in 2..6 {
            life.lose(at(10 * n), at(10 * n), Loss::Blamed);
            life.confirm(at(10 * n + 1));
            assert_eq!(life.health() == Health::Failed, n == 5, "{n}");
        }
    }
}
