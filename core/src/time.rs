//! Time as values: a monotonic instant and the wall clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic time in microseconds; the runtime chooses the zero. Never read from the OS here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The runtime's zero.
    pub const ZERO: Self = Self(0);

    /// From microseconds since the runtime's zero.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the runtime's zero.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Microseconds of `d`, saturating.
const fn micros(d: Duration) -> u64 {
    let us = d.as_micros();
    if us > u64::MAX as u128 { u64::MAX } else { us as u64 }
}

/// Milliseconds of `d`, saturating.
const fn millis(d: Duration) -> u64 {
    micros(d) / 1000
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturating.
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(micros(d)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturating at zero.
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(micros(d)))
    }
}

/// The earlier of two optional deadlines.
#[must_use]
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}

/// Wall time: milliseconds since 1970-01-01 UTC (the I2P `Date`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        let s = self.0 / 1000;
        if s > u32::MAX as u64 { u32::MAX } else { s as u32 }
    }

    /// Seconds rounded to the nearest, as handshakes carry them.
    #[must_use]
    pub const fn as_secs_rounded(self) -> u32 {
        let s = self.0.saturating_add(500) / 1000;
        if s > u32::MAX as u64 { u32::MAX } else { s as u32 }
    }

    /// Time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The UTC date as the eight ASCII digits `YYYYMMDD` that routing keys and blinding use.
    #[must_use]
    pub fn yyyymmdd(self) -> [u8; 8] {
        // Civil-from-days on the proleptic Gregorian calendar, era of 400 years.
        let days = self.0 / 86_400_000 + 719_468;
        let era = days / 146_097;
        let doe = days % 146_097;
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + u64::from(month <= 2);
        let digit = |v: u64, div: u64| b'0' + ((v / div) % 10) as u8;
        [
            digit(year, 1000),
            digit(year, 100),
            digit(year, 10),
            digit(year, 1),
            digit(month, 10),
            digit(month, 1),
            digit(day, 10),
            digit(day, 1),
        ]
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    /// Saturating.
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(millis(d)))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;

    /// Saturating at zero.
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(millis(d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (secs, want) in [
            (0, b"19700101"),
            (951_782_400, b"20000229"),
            (951_868_800, b"20000301"),
            (1_735_689_599, b"20241231"),
            (1_735_689_600, b"20250101"),
            (4_107_542_400, b"21000301"),
        ] {
            assert_eq!(&UnixTime::from_secs(secs).yyyymmdd(), want);
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::from_micros(u64::MAX) + Duration::MAX, Instant::from_micros(u64::MAX));
        assert_eq!(UnixTime::from_millis(1499).as_secs_rounded(), 1);
        assert_eq!(UnixTime::from_millis(1500).as_secs_rounded(), 2);
    }
}
