//! Round-trip time of a path (RFC 6298, with Karn's rule kept by the caller).

use crate::time::Instant;
use core::time::Duration;

/// The retransmission timeout is never shorter: other routers delay acks by up to 200 ms while
/// they have no measurement of their own.
const MIN_TIMEOUT: Duration = Duration::from_millis(250);
/// The retransmission timeout is never longer, before back-off.
const MAX_TIMEOUT: Duration = Duration::from_secs(20);
/// The retransmission timeout before the first sample.
const INITIAL_TIMEOUT: Duration = Duration::from_millis(1500);
/// Added to the timeout at least, for clocks and event loops.
const GRANULARITY: Duration = Duration::from_millis(10);
/// Samples above this are not believed.
const MAX_SAMPLE: Duration = Duration::from_secs(60);
/// A minimum is forgotten after one to two of these: paths change with their tunnels.
const MIN_EPOCH: Duration = Duration::from_secs(30);

/// The estimate, and the recent minimum, which is the path with empty queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    variation: Duration,
    latest: Duration,
    epoch: Instant,
    min_now: Option<Duration>,
    min_before: Option<Duration>,
}

impl Rtt {
    /// A round trip took `sample`; only of packets that were sent once.
    pub(crate) fn sample(&mut self, now: Instant, sample: Duration) {
        let sample = sample.clamp(Duration::from_micros(1), MAX_SAMPLE);
        self.latest = sample;
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                let error = smoothed.abs_diff(sample);
                self.variation = (self.variation * 3 + error) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
        if now.saturating_since(self.epoch) >= MIN_EPOCH {
            self.epoch = now;
            self.min_before = self.min_now.take();
        }
        self.min_now = Some(self.min_now.map_or(sample, |min| min.min(sample)));
    }

    /// The shortest round trip is this one now, whatever was seen before.
    pub(crate) const fn replace_min(&mut self, now: Instant, shortest: Duration) {
        self.epoch = now;
        self.min_before = None;
        self.min_now = Some(shortest);
    }

    /// The path is another one now: what was measured says little about it.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The smoothed round trip.
    pub(crate) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// The longer of the smoothed and the last round trip.
    pub(crate) fn pessimistic(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| smoothed.max(self.latest))
    }

    /// The shortest recent round trip.
    pub(crate) fn min(&self) -> Option<Duration> {
        match (self.min_now, self.min_before) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, None) => a,
            (None, b) => b,
        }
    }

    /// How long to wait for an ack before sending again, before back-off.
    pub(crate) fn timeout(&self) -> Duration {
        self.smoothed.map_or(INITIAL_TIMEOUT, |smoothed| {
            let slack = (self.variation * 4).max(GRANULARITY);
            (smoothed + slack).clamp(MIN_TIMEOUT, MAX_TIMEOUT)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn at(n: u64) -> Instant {
        Instant::ZERO + ms(n)
    }

    #[test]
    fn timeout_follows_the_samples_within_its_bounds() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(), INITIAL_TIMEOUT);
        for _ in 0..50 {
            rtt.sample(at(0), ms(10));
        }
        assert_eq!(rtt.timeout(), MIN_TIMEOUT);
        rtt.sample(at(0), ms(800));
        assert!(rtt.timeout() > ms(700));
        for _ in 0..100 {
            rtt.sample(at(0), Duration::from_secs(1000));
        }
        assert_eq!(rtt.timeout(), MAX_TIMEOUT);
    }

    #[test]
    fn a_minimum_is_remembered_for_a_while_only() {
        let mut rtt = Rtt::default();
        rtt.sample(at(30_000), ms(10));
        rtt.sample(at(31_000), ms(50));
        assert_eq!(rtt.min(), Some(ms(10)));
        rtt.sample(at(61_000), ms(50));
        assert_eq!(rtt.min(), Some(ms(10)));
        rtt.sample(at(92_000), ms(40));
        assert_eq!(rtt.min(), Some(ms(40)));
        rtt.forget();
        assert_eq!((rtt.min(), rtt.smoothed()), (None, None));
    }
}
