//! What is random in a world: a stream for each concern, so that more of one shifts no other.

use ramson_core::rng::{Rng, Seed};
use std::time::Duration;

/// One way between two nodes, and how much it varies, in microseconds.
const LATENCY: (u64, u64) = (5_000, 60_000);
const JITTER: u64 = 3_000;
/// How long a job takes to come back, in microseconds.
const JOB: u64 = 2_000;

pub(super) struct Chance {
    pub(super) seeds: Rng,
    pub(super) weather: Rng,
    delays: Rng,
    pieces: Rng,
    jobs: Rng,
    pub(super) datagrams: Rng,
    pub(super) nats: Rng,
}

impl Chance {
    pub(super) fn new(seed: &Seed) -> Self {
        let mut rng = Rng::new(seed);
        Self {
            seeds: rng.fork("seeds"),
            delays: rng.fork("delays"),
            pieces: rng.fork("pieces"),
            jobs: rng.fork("jobs"),
            weather: rng.fork("weather"),
            datagrams: rng.fork("datagrams"),
            nats: rng.fork("nats"),
        }
    }

    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_micros(self.delays.between(LATENCY.0, LATENCY.1))
    }

    /// One way between two places, for datagrams.
    pub(super) fn distance(&mut self) -> Duration {
        Duration::from_micros(self.datagrams.between(LATENCY.0, LATENCY.1))
    }

    /// How much of it varies.
    pub(super) fn flutter(&mut self) -> Duration {
        Duration::from_micros(self.datagrams.below(JITTER))
    }

    pub(super) fn jitter(&mut self) -> Duration {
        Duration::from_micros(self.delays.below(JITTER))
    }

    pub(super) fn job(&mut self) -> Duration {
        Duration::from_micros(self.jobs.below(JOB))
    }

    /// How many of `most` bytes go together: mostly all, sometimes some, seldom very few.
    pub(super) fn piece(&mut self, most: usize) -> usize {
        let limit = match self.pieces.below(32) {
            0..=1 => most,
            2 => most.min(20),
            _ => return most,
        };
        self.pieces.between(1, limit as u64) as usize
    }
}

/// True in `share` of all cases.
pub(crate) fn one_of(rng: &mut Rng, share: f64) -> bool {
    const WHOLE: f64 = 1_000_000_000.0;
    share > 0.0 && rng.below(WHOLE as u64) < (share * WHOLE) as u64
}
