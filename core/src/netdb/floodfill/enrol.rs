//! When a router makes itself a floodfill, and when it gives that up (netdb documentation,
//! "Floodfill Router Opt-in"; notes 7.6).

use crate::time::Instant;
use crate::wire::router_info::Bandwidth;
use core::time::Duration;

/// Up for this long.
const UPTIME: Duration = Duration::from_secs(2 * 3600);
/// Routers known: who knows few cannot name the right ones.
const ROUTERS: usize = 400;
/// Sessions with others.
const PEERS: usize = 50;
/// Of these, so many that others opened.
const INBOUND: usize = 10;
/// Tunnels of others: who carries none is hardly reachable.
const TRANSIT: usize = 25;
/// At least this bandwidth is shared.
const BANDWIDTH: Bandwidth = Bandwidth::N;
/// A floodfill stays one while it has this share of what makes one, per cent.
const STAYS: usize = 60;
/// It changes its mind at most this often: each time its part of the database moves.
const PAUSE: Duration = Duration::from_secs(30 * 60);

/// What of a router decides; the netdb knows the rest itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// It publishes an address.
    pub published: bool,
    /// Sessions that others opened: what it publishes is true.
    pub inbound: usize,
    /// The bandwidth that it shares.
    pub bandwidth: Bandwidth,
    /// Sessions with other routers.
    pub peers: usize,
    /// Tunnels of others that it takes part in.
    pub transit: usize,
}

/// The decision, over time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Enrolment {
    started: Instant,
    is_floodfill: bool,
    changed: Option<Instant>,
}

impl Enrolment {
    pub(super) const fn new(now: Instant) -> Self {
        Self { started: now, is_floodfill: false, changed: None }
    }

    /// Decides anew; `routers` are known.
    pub(super) fn decide(&mut self, now: Instant, routers: usize, fitness: &Fitness) -> bool {
        if self.changed.is_some_and(|at| now.saturating_since(at) < PAUSE) {
            return self.is_floodfill;
        }
        let share = if self.is_floodfill { STAYS } else { 100 };
        let enough = |have: usize, need: usize| have * 100 >= need * share;
        let fit = fitness.published
            && enough(fitness.inbound, INBOUND)
            && fitness.bandwidth >= BANDWIDTH
            && now.saturating_since(self.started) >= UPTIME
            && enough(routers, ROUTERS)
            && enough(fitness.peers, PEERS)
            && enough(fitness.transit, TRANSIT);
        if fit != self.is_floodfill {
            self.is_floodfill = fit;
            self.changed = Some(now);
        }
        self.is_floodfill
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdb::testing::at;

    const HOUR: u64 = 3_600_000;
    const FIT: Fitness =
        Fitness { published: true, inbound: 10, bandwidth: Bandwidth::N, peers: 50, transit: 25 };

    #[test]
    fn only_who_has_all_that_it_takes_becomes_one() {
        let decide =
            |ms, routers, fitness: &Fitness| Enrolment::new(at(0)).decide(at(ms), routers, fitness);
        assert!(decide(2 * HOUR, 400, &FIT));
        assert!(!decide(2 * HOUR - 1, 400, &FIT));
        assert!(!decide(2 * HOUR, 399, &FIT));
        for unfit in [
            Fitness { published: false, ..FIT },
            Fitness { inbound: 9, ..FIT },
            Fitness { bandwidth: Bandwidth::M, ..FIT },
            Fitness { peers: 49, ..FIT },
            Fitness { transit: 24, ..FIT },
        ] {
            assert!(!decide(2 * HOUR, 400, &unfit), "{unfit:?}");
        }
    }

    #[test]
    fn it_stays_one_for_a_while_and_while_it_has_most_of_it() {
        let mut enrolment = Enrolment::new(at(0));
        assert!(enrolment.decide(at(2 * HOUR), 400, &FIT));
        let poor = Fitness { peers: 29, ..FIT };
        assert!(enrolment.decide(at(2 * HOUR + 1000), 400, &poor), "not at once");
        let less = Fitness { peers: 30, transit: 15, ..FIT };
        assert!(enrolment.decide(at(3 * HOUR), 240, &less));
        assert!(!enrolment.decide(at(3 * HOUR), 240, &poor));
        assert!(!enrolment.decide(at(3 * HOUR + 1000), 400, &FIT), "not at once");
        assert!(enrolment.decide(at(4 * HOUR), 400, &FIT));
    }
}
