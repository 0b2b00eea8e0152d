//! A token bucket: what `[limits] bandwidth_in` and `bandwidth_out` mean.

use crate::time::Instant;
use core::time::Duration;

/// Bytes per second with a burst of a quarter of a second, or more where a single large read or
/// write needs it.
pub(crate) struct Bucket {
    rate: u64,
    /// Bytes times a million, so that slow rates lose nothing between close instants. Negative
    /// after a burst that was larger than what was left.
    level: i128,
    filled: Instant,
}

const MICRO: i128 = 1_000_000;
const MIN_BURST: u64 = 64 * 1024;

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        let mut bucket = Self { rate, level: 0, filled: now };
        bucket.level = bucket.burst();
        bucket
    }

    /// Bytes that may pass now.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_since(self.filled).as_micros();
        self.filled = self.filled.max(now);
        let gained = i128::try_from(elapsed).unwrap_or(0).saturating_mul(self.rate.into());
        self.level = self.level.saturating_add(gained).min(self.burst());
        usize::try_from(self.level.max(0) / MICRO).unwrap_or(usize::MAX)
    }

    /// `n` bytes passed.
    pub(crate) fn take(&mut self, n: usize) {
        self.level = self.level.saturating_sub((n as i128).saturating_mul(MICRO));
    }

    /// When `n` bytes may pass again.
    pub(crate) fn ready_at(&self, n: usize) -> Instant {
        let need = (n as i128).saturating_mul(MICRO).min(self.burst()) - self.level;
        let rate = i128::from(self.rate.max(1));
        let micros = u64::try_from((need.max(0) + rate - 1) / rate).unwrap_or(u64::MAX);
        self.filled + Duration::from_micros(micros)
    }

    fn burst(&self) -> i128 {
        i128::from((self.rate / 4).max(MIN_BURST)).saturating_mul(MICRO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_the_rate_over_time_and_not_more() {
        let mut now = Instant::ZERO;
        let mut bucket = Bucket::new(1_000_000, now);
        let mut passed = 0;
        for _ in 0..10_000 {
            now = now + Duration::from_millis(1);
            let n = bucket.available(now).min(3000);
            bucket.take(n);
            passed += n;
        }
        assert!((10_000_000..=10_250_001).contains(&passed), "{passed}");
    }

    #[test]
    fn says_when_it_is_ready_again() {
        let mut bucket = Bucket::new(100_000, Instant::ZERO);
        let burst = bucket.available(Instant::ZERO);
        bucket.take(burst + 50_000);
        assert_eq!(bucket.available(Instant::ZERO), 0);
        let ready = bucket.ready_at(1000);
        assert_eq!(ready, Instant::from_micros(510_000));
        assert_eq!(bucket.available(ready), 1000);
    }
}
