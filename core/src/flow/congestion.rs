//! How many packets may be under way to one remote: a destination, through tunnels, or a router, over UDP.
//!
//! All streams to a destination take the same tunnels, so they share one window, as the control
//! block sharing of the specification (`docs/api/streaming`) intends.
//!
//! The signal is delay: the window times the part of the round trip that exceeds the empty path's
//! is the number of packets that wait in queues, and that number is kept within a band. Every ten
//! seconds the queue is drained for a round trip to see how long the empty path is now. A queue
//! that overflows is dear: other routers close a whole transport session when more than 500
//! messages (two a packet) wait for it. Loss alone is a weak signal here, since a participant that
//! drops does so whatever our rate is; it counts when it comes with a queue, or when it is heavy.

use super::rtt::Rtt;
use crate::time::Instant;
use core::time::Duration;

/// The first window, in packets: a fresh ratchet must not have more than some 20 messages under
/// way, or a burst of loss is fatal for it.
pub(crate) const INITIAL_WINDOW: u32 = 10;
/// Never more packets under way to one destination: a hop that has them all queued holds 480
/// messages, and does not close the session for it.
pub(crate) const MAX_WINDOW: u32 = 240;
/// The window that is left by reductions; timeouts go lower.
const MIN_WINDOW: u32 = 16;
/// The window after timeouts in a row.
const COLLAPSED_WINDOW: u32 = 4;
/// The window after a pause.
const RESTART_WINDOW: u32 = 32;
/// Slow start ends with more packets than this in queues.
const SLOW_START_QUEUE: u32 = 24;
/// The window grows with fewer packets than this in queues.
const LOW_QUEUE: u32 = 32;
/// The window shrinks with more packets than this in queues.
const HIGH_QUEUE: u32 = 64;
/// Round-trip samples that slow start wants before it believes in a queue.
const SLOW_START_SAMPLES: u32 = 8;
/// Loss that is tolerated when there is no queue, in 1/256: an eighth.
const TOLERATED_LOSS: u32 = 32;
/// The window grows with no more loss than this, in 1/256: a 32nd. A line that drops what it cannot
/// queue is then found by its loss.
const GROWTH_LOSS: u32 = 8;
/// Loss that is tolerated when there is a queue, in 1/256: a 64th.
const TOLERATED_LOSS_QUEUED: u32 = 4;

/// A pause after which the window is taken back part of the way, and all of it.
const SHORT_PAUSE: Duration = Duration::from_secs(2);
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// How often the queue is drained to see the empty path.
const DRAIN_INTERVAL: Duration = Duration::from_secs(10);
/// The least time between two drains.
const MIN_DRAIN_INTERVAL: Duration = Duration::from_secs(2);
/// Rounds in a row with too much in queues, or with more than three quarters of the trip spent
/// there, after which that is doubted: perhaps the path itself is longer than it was.
const DOUBTFUL_ROUNDS: u32 = 4;
const DOUBTFUL_SHARE: u32 = 4;

/// A drain under way.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// The window afterwards.
    window: u32,
    /// The queue is empty by now: this round measures.
    measuring: bool,
}

/// The window and what it learned in the round under way.
#[derive(Clone, Debug)]
pub(crate) struct Congestion {
    window: u32,
    slow_start: bool,
    flying: u32,
    delivered: u64,
    round: Round,
    drain: Option<Drain>,
    drained: Instant,
    /// Rounds in a row with too much in queues.
    crowded: u32,
    /// Somebody had to wait for the window in the round before.
    was_limited: bool,
}

/// One round trip's worth of packets.
#[derive(Clone, Debug, Default)]
struct Round {
    /// Ends when a packet is acknowledged that was sent with this many delivered.
    start: u64,
    acked: u32,
    lost: u32,
    samples: u32,
    shortest: Option<Duration>,
    /// The most packets under way.
    peak: u32,
    /// Somebody had to wait for the window.
    limited: bool,
}

impl Default for Congestion {
    fn default() -> Self {
        Self {
            window: INITIAL_WINDOW,
            slow_start: true,
            flying: 0,
            delivered: 0,
            round: Round::default(),
            drain: None,
            drained: Instant::ZERO,
            crowded: 0,
            was_limited: false,
        }
    }
}

impl Congestion {
    /// The window in packets.
    pub(crate) const fn window(&self) -> u32 {
        self.window
    }

    /// Packets under way.
    pub(crate) const fn flying(&self) -> u32 {
        self.flying
    }

    /// True while the window doubles each round.
    pub(crate) const fn in_slow_start(&self) -> bool {
        self.slow_start
    }

    /// True when another packet may go; a refusal counts as a reason to grow.
    pub(crate) const fn may_send(&mut self) -> bool {
        let room = self.flying < self.window;
        self.round.limited |= !room;
        room
    }

    /// A packet goes; the mark is to be given back when it is acknowledged.
    pub(crate) fn sent(&mut self) -> u64 {
        self.flying += 1;
        self.round.peak = self.round.peak.max(self.flying);
        self.delivered
    }

    /// Packets that were under way are lost.
    pub(crate) const fn lost(&mut self, count: u32) {
        self.flying = self.flying.saturating_sub(count);
        self.round.lost = self.round.lost.saturating_add(count);
    }

    /// Packets that were under way are nobody's business any more.
    pub(crate) const fn released(&mut self, count: u32) {
        self.flying = self.flying.saturating_sub(count);
    }

    /// Packets arrived: `acked` in all, of which `landed` counted as under way; `mark` is the
    /// newest one's, `sample` the round trip if it is one.
    pub(crate) fn acked(
        &mut self,
        now: Instant,
        rtt: &mut Rtt,
        acked: u32,
        landed: u32,
        mark: u64,
        sample: Option<Duration>,
    ) {
        self.flying = self.flying.saturating_sub(landed);
        self.delivered += u64::from(acked);
        self.round.acked = self.round.acked.saturating_add(acked);
        if let Some(sample) = sample {
            self.round.samples += 1;
            self.round.shortest = Some(self.round.shortest.map_or(sample, |s| s.min(sample)));
        }
        if self.slow_start && (self.round.limited || self.was_limited) {
            self.window = (self.window + acked).min(MAX_WINDOW);
            let queue = self.queue(rtt);
            if queue > SLOW_START_QUEUE && self.round.samples >= SLOW_START_SAMPLES {
                self.slow_start = false;
                // What slow start overshot by waits in the queue: take most of that back.
                self.shrink_to(self.window - (queue - SLOW_START_QUEUE).min(self.window / 2));
            }
        }
        if mark >= self.round.start && acked > 0 {
            self.end_round(now, rtt);
        }
    }

    /// Timeouts in a row without a sign of life.
    pub(crate) fn timed_out(&mut self, in_a_row: u32) {
        // The first is a lost tail as often as not, and what was lost with it is counted as loss.
        if in_a_row >= 2 {
            self.drain = None;
        }
        if in_a_row == 2 {
            self.slow_start = true;
            self.window = self.window.min(INITIAL_WINDOW);
        } else if in_a_row > 2 {
            self.window = COLLAPSED_WINDOW.min(self.window);
        }
    }

    /// The way is another one: nothing is known of it.
    pub(crate) const fn rerouted(&mut self) {
        self.window = INITIAL_WINDOW;
        self.slow_start = true;
        self.drain = None;
    }

    /// Nothing was sent for this long: if that is a while, what was learned may be old.
    pub(crate) fn restart(&mut self, pause: Duration) {
        if self.flying > 0 || pause < SHORT_PAUSE {
            return;
        }
        if let Some(drain) = self.drain.take() {
            self.window = drain.window;
        }
        if pause >= LONG_PAUSE {
            self.window = self.window.min(INITIAL_WINDOW);
            self.slow_start = true;
        } else {
            self.window = self.window.min(RESTART_WINDOW);
        }
        self.round = Round { start: self.delivered, ..Round::default() };
    }

    /// Packets that wait in queues, as the shortest round trip of this round shows.
    fn queue(&self, rtt: &Rtt) -> u32 {
        let (Some(now), Some(empty)) = (self.round.shortest, rtt.min()) else { return 0 };
        let waiting = now.saturating_sub(empty).as_micros() as u64;
        let total = (now.as_micros() as u64).max(1);
        (u64::from(self.round.peak) * waiting / total) as u32
    }

    fn end_round(&mut self, now: Instant, rtt: &mut Rtt) {
        let queue = self.queue(rtt);
        let lost = self.round.lost;
        let loss = lost * 256 / (lost + self.round.acked).max(1);
        let limited = self.round.limited;
        if let Some(drain) = self.drain {
            self.end_drain_round(now, rtt, drain, loss);
        } else if queue >= LOW_QUEUE && loss > TOLERATED_LOSS_QUEUED {
            self.slow_start = false;
            self.shrink_to(self.window - self.window / 4);
        } else if loss > TOLERATED_LOSS {
            // In proportion, so that a participant who drops much leaves us something.
            self.slow_start = false;
            let excess = (loss - TOLERATED_LOSS).min(128);
            self.shrink_to(self.window - self.window * excess / 256);
        } else if !self.slow_start && limited {
            if loss > GROWTH_LOSS {
                // A little: of what a lossy participant leaves us, some rounds see less.
                self.shrink_to(self.window - self.window / 64);
            } else if queue < LOW_QUEUE {
                self.window = (self.window + (self.window / 8).max(1)).min(MAX_WINDOW);
            } else if queue > HIGH_QUEUE {
                self.shrink_to(self.window - (queue - HIGH_QUEUE).div_ceil(2).min(self.window / 4));
            }
            let stretched = self.round.shortest > rtt.min().map(|min| min * DOUBTFUL_SHARE);
            let crowded = queue > HIGH_QUEUE || stretched;
            self.crowded = if crowded { self.crowded + 1 } else { 0 };
            let since = now.saturating_since(self.drained);
            let doubtful = self.crowded >= DOUBTFUL_ROUNDS && since >= MIN_DRAIN_INTERVAL;
            if since >= DRAIN_INTERVAL || doubtful {
                self.drained = now;
                if queue > 0 {
                    self.drain = Some(Drain { window: self.window, measuring: false });
                    self.shrink_to(self.window.saturating_sub(queue + queue / 4));
                }
            }
        }
        self.was_limited = limited;
        let peak = self.flying;
        self.round = Round { start: self.delivered, peak, ..Round::default() };
    }

    fn end_drain_round(&mut self, now: Instant, rtt: &mut Rtt, drain: Drain, loss: u32) {
        if loss > TOLERATED_LOSS {
            // There is worse than a queue: stay small.
            self.drain = None;
        } else if !drain.measuring {
            self.drain = Some(Drain { measuring: true, ..drain });
        } else if let Some(shortest) = self.round.shortest {
            // A path that is another one now has room that was never looked for.
            self.slow_start = rtt.min().is_some_and(|before| shortest > before * 2);
            rtt.replace_min(now, shortest);
            self.drain = None;
            self.drained = now;
            self.crowded = 0;
            self.window = drain.window;
        }
    }

    fn shrink_to(&mut self, window: u32) {
        self.window = window.max(MIN_WINDOW.min(self.window));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};

    /// A bottleneck that takes one packet per `gap`, `base` long; runs rounds and says the window.
    fn run(rounds: u32, base: Duration, gap: Duration, permille: u64) -> Congestion {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut congestion = Congestion::default();
        let mut rtt = Rtt::default();
        let mut now = Instant::ZERO;
        for _ in 0..rounds {
            let mut marks = alloc::vec::Vec::new();
            while congestion.may_send() {
                marks.push(congestion.sent());
            }
            let count = marks.len() as u32;
            let trip = base.max(gap * count);
            let lost = (0..count).filter(|_| rng.below(1000) < permille).count() as u32;
            congestion.lost(lost);
            for mark in marks.iter().skip(lost as usize) {
                rtt.sample(now, trip);
                congestion.acked(now, &mut rtt, 1, 1, *mark, Some(trip));
            }
            now = now + trip;
        }
        congestion
    }

    #[test]
    fn the_window_doubles_until_a_queue_builds_and_stays_in_the_band() {
        let (base, gap) = (Duration::from_millis(20), Duration::from_micros(500));
        // 40 packets fill the pipe.
        let congestion = run(60, base, gap, 0);
        let queue = congestion.window() - 40;
        assert!((LOW_QUEUE - 10..=HIGH_QUEUE + 10).contains(&queue), "{queue}");
        assert!(!congestion.in_slow_start());
    }

    #[test]
    fn the_window_has_a_cap() {
        let congestion = run(40, Duration::from_millis(500), Duration::ZERO, 0);
        assert_eq!(congestion.window(), MAX_WINDOW);
    }

    #[test]
    fn light_loss_without_a_queue_does_not_hold_it_back() {
        let (base, gap) = (Duration::from_millis(50), Duration::from_micros(500));
        let congestion = run(60, base, gap, 50);
        // One that halves for each loss would have five.
        assert!(congestion.window() >= 40, "{}", congestion.window());
        // A third lost is too much, whatever the delay.
        let congestion = run(60, base, gap, 333);
        assert!(congestion.window() <= MIN_WINDOW);
    }

    #[test]
    fn timeouts_in_a_row_collapse_it() {
        let mut congestion = run(20, Duration::from_millis(50), Duration::ZERO, 0);
        congestion.timed_out(1);
        assert_eq!(congestion.window(), MAX_WINDOW);
        congestion.timed_out(2);
        assert_eq!(congestion.window(), INITIAL_WINDOW);
        congestion.timed_out(3);
        assert_eq!(congestion.window(), COLLAPSED_WINDOW);
    }

    #[test]
    fn who_does_not_use_the_window_does_not_widen_it() {
        let mut congestion = Congestion::default();
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            let mark = congestion.sent();
            congestion.acked(Instant::ZERO, &mut rtt, 1, 1, mark, None);
        }
        assert_eq!(congestion.window(), INITIAL_WINDOW);
    }
}
