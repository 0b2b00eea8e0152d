//! The only place that reads clocks.

use ramson_core::time::{Instant, UnixTime};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// Counts on while the machine sleeps.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STEADY: ClockId = ClockId::Boottime;
/// On other systems the monotonic clock is the best there is; on Apple's it counts through sleep.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STEADY: ClockId = ClockId::Monotonic;

/// The wall clock is handed to the router again after this time, even when it did not step.
const WALL_INTERVAL: Duration = Duration::from_mins(1);
/// A change of the wall clock against the steady one that counts as a step. Slewing stays below.
const STEP_MILLIS: u64 = 250;
/// A growth of the steady clock against the running one that counts as a sleep of the machine.
const SLEEP: Duration = Duration::from_secs(1);

/// Monotonic time, counted through suspend.
#[must_use]
pub fn now() -> Instant {
    Instant::from_micros(micros(clock_gettime(STEADY)))
}

/// The wall clock.
#[must_use]
pub fn unix() -> UnixTime {
    UnixTime::from_millis(micros(clock_gettime(ClockId::Realtime)) / 1000)
}

/// The processors' time that this process has used.
pub(crate) fn cpu() -> Duration {
    Duration::from_micros(micros(clock_gettime(ClockId::ProcessCPUTime)))
}

/// Microseconds, zero for times before the clock's zero.
fn micros(t: Timespec) -> u64 {
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    secs.saturating_mul(1_000_000).saturating_add(nanos / 1000)
}

/// The clocks of one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    steady: Instant,
    running: Instant,
    wall: UnixTime,
}

impl Reading {
    fn take() -> Self {
        Self {
            steady: now(),
            running: Instant::from_micros(micros(clock_gettime(ClockId::Monotonic))),
            wall: unix(),
        }
    }
}

/// What a look at the clocks brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The wall clock, when the router should hear of it.
    pub(crate) wall: Option<UnixTime>,
    /// The machine slept since the last look: its entropy may be a copy.
    pub(crate) slept: bool,
}

/// Decides when the router has to hear of the wall clock again.
#[derive(Debug)]
pub(crate) struct Watch {
    told: Reading,
    seen: Reading,
}

impl Watch {
    /// Starts with the wall clock that the router was made with, now.
    pub(crate) fn new() -> Self {
        let reading = Reading::take();
        Self { told: reading, seen: reading }
    }

    /// To be called once a turn of the loop: three clock reads, no more.
    pub(crate) fn look(&mut self) -> Look {
        self.judge(Reading::take())
    }

    fn judge(&mut self, r: Reading) -> Look {
        let slept = r.steady.saturating_since(self.seen.steady)
            > r.running.saturating_since(self.seen.running) + SLEEP;
        self.seen = r;
        let elapsed = r.steady.saturating_since(self.told.steady);
        let expected = self.told.wall + elapsed;
        let stepped = expected.as_millis().abs_diff(r.wall.as_millis()) > STEP_MILLIS;
        if !(slept || stepped || elapsed >= WALL_INTERVAL) {
            return Look { wall: None, slept };
        }
        self.told = r;
        Look { wall: Some(r.wall), slept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Reading = Reading {
        steady: Instant::from_micros(5_000_000),
        running: Instant::from_micros(5_000_000),
        wall: UnixTime::from_secs(1_800_000_000),
    };

    /// The clocks `ms` later, with nothing special in between.
    fn later(r: Reading, ms: u64) -> Reading {
        let d = Duration::from_millis(ms);
        Reading { steady: r.steady + d, running: r.running + d, wall: r.wall + d }
    }

    #[test]
    fn the_clocks_of_this_machine_agree_with_each_other() {
        let (a, b) = (now(), now());
        assert!(a <= b);
        assert!(b.saturating_since(a) < Duration::from_secs(5));
        // Any machine that builds this lives after 2025.
        assert!(unix() > UnixTime::from_secs(1_735_689_600));
        assert!(cpu() > Duration::ZERO);
    }

    #[test]
    fn the_wall_clock_is_told_each_minute_only() {
        let mut watch = Watch { told: START, seen: START };
        assert_eq!(watch.judge(later(START, 59_999)), Look::default());
        let minute = later(START, 60_000);
        assert_eq!(watch.judge(minute), Look { wall: Some(minute.wall), slept: false });
        assert_eq!(watch.judge(later(START, 60_001)), Look::default());
    }

    #[test]
    fn a_step_of_the_wall_clock_either_way_is_told_at_once() {
        for step in [-3_600_000_i64, -300, 300, 57_600_000] {
            let mut watch = Watch { told: START, seen: START };
            let mut r = later(START, 10);
            r.wall = UnixTime::from_millis(r.wall.as_millis().saturating_add_signed(step));
            assert_eq!(watch.judge(r), Look { wall: Some(r.wall), slept: false }, "{step}");
            assert_eq!(watch.judge(later(r, 10)), Look::default(), "{step}");
        }
    }

    #[test]
    fn slewing_is_not_a_step() {
        let mut watch = Watch { told: START, seen: START };
        let mut r = later(START, 1000);
        r.wall = r.wall + Duration::from_millis(1);
        assert_eq!(watch.judge(r), Look::default());
    }

    #[test]
    fn sleep_shows_as_a_gap_between_the_monotonic_clocks() {
        let mut watch = Watch { told: START, seen: START };
        let mut r = later(START, 10);
        r.steady = r.steady + Duration::from_secs(30);
        r.wall = r.wall + Duration::from_secs(30);
        assert_eq!(watch.judge(r), Look { wall: Some(r.wall), slept: true });
        assert!(!watch.judge(later(r, 10)).slept);
    }
}
