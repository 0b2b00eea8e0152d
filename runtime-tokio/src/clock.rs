//! The only place that reads clocks.

use ramson_core::time::{Instant, UnixTime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock is handed to the router again after this time, even when it did not step.
const WALL_INTERVAL: Duration = Duration::from_secs(60);
/// A change of the wall clock against the monotonic one that counts as a step. Slewing stays below.
const STEP_MILLIS: u64 = 250;
/// So much more time on the wall clock may mean that the machine slept, which tokio's clock does not
/// count.
const SLEEP: Duration = Duration::from_secs(1);

/// Monotonic time since the start, and the wall clock.
pub(crate) struct Clock {
    start: tokio::time::Instant,
    /// What the router knows.
    told: Reading,
    seen: Reading,
}

/// The clocks of one moment.
#[derive(Clone, Copy)]
struct Reading {
    now: Instant,
    wall: UnixTime,
}

/// What a look at the clocks brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The wall clock, when the router should hear of it.
    pub(crate) wall: Option<UnixTime>,
    /// The machine may have slept since the last look, and its entropy be a copy. A clock that was
    /// set looks the same, and fresh entropy does no harm.
    pub(crate) slept: bool,
}

impl Clock {
    /// Starts with the wall clock that the router is to be made with.
    pub(crate) fn start() -> Self {
        let reading = Reading { now: Instant::ZERO, wall: wall() };
        Self { start: tokio::time::Instant::now(), told: reading, seen: reading }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The wall clock as the router knows it.
    pub(crate) fn unix(&self) -> UnixTime {
        self.told.wall + self.now().saturating_since(self.told.now)
    }

    /// To be called each second or so.
    pub(crate) fn look(&mut self) -> Look {
        self.judge(Reading { now: self.now(), wall: wall() })
    }

    fn judge(&mut self, r: Reading) -> Look {
        let slept = r.wall > self.seen.wall + r.now.saturating_since(self.seen.now) + SLEEP;
        self.seen = r;
        let elapsed = r.now.saturating_since(self.told.now);
        let expected = self.told.wall + elapsed;
        let stepped = expected.as_millis().abs_diff(r.wall.as_millis()) > STEP_MILLIS;
        if !(stepped || elapsed >= WALL_INTERVAL) {
            return Look { wall: None, slept };
        }
        self.told = r;
        Look { wall: Some(r.wall), slept }
    }
}

#[expect(clippy::disallowed_methods, reason = "a runtime's clock is where time comes from")]
fn wall() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn clock() -> Clock {
        let reading = Reading { now: Instant::ZERO, wall: WALL };
        Clock { start: tokio::time::Instant::now(), told: reading, seen: reading }
    }

    /// So many milliseconds after the start, with the wall clock set by so many.
    fn at(ms: u64, set: i64) -> Reading {
        let wall = UnixTime::from_millis((WALL.as_millis() + ms).saturating_add_signed(set));
        Reading { now: Instant::ZERO + Duration::from_millis(ms), wall }
    }

    #[test]
    fn the_wall_clock_is_told_each_minute_only() {
        let mut clock = clock();
        assert_eq!(clock.judge(at(59_999, 0)), Look::default());
        let minute = at(60_000, 1);
        assert_eq!(clock.judge(minute), Look { wall: Some(minute.wall), slept: false });
        assert_eq!(clock.judge(at(60_001, 0)), Look::default());
    }

    #[test]
    fn a_step_of_the_wall_clock_either_way_is_told_at_once() {
        for (step, slept) in [(-3_600_000, false), (-300, false), (300, false), (57_600_000, true)]
        {
            let mut clock = clock();
            let r = at(1000, step);
            assert_eq!(clock.judge(r), Look { wall: Some(r.wall), slept }, "{step}");
            assert_eq!(clock.judge(at(2000, step)), Look::default(), "{step}");
        }
    }

    #[test]
    fn slewing_is_not_a_step() {
        let mut clock = clock();
        for second in 1..60_u32 {
            assert_eq!(clock.judge(at(u64::from(second) * 1000, second.into())), Look::default());
        }
    }

    #[tokio::test]
    async fn the_clocks_of_this_machine_agree_with_each_other() {
        let mut clock = Clock::start();
        assert_eq!(clock.look(), Look::default());
        // Any machine that builds this lives after 2025.
        assert!(clock.unix() > UnixTime::from_secs(1_735_689_600));
    }
}
