//! Spreads a window over the round trip.

use super::congestion::Congestion;
use super::rtt::Rtt;
use crate::time::Instant;
use core::time::Duration;

/// Packets that may go at once, at least and at most.
pub(crate) const MIN_BURST: u32 = 10;
pub(crate) const MAX_BURST: u32 = 32;
/// A pacer that holds packets back does so until this many may go.
pub(crate) const QUANTUM: u32 = 4;

/// When the next packet would go if all went evenly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    due: Instant,
}

impl Pacer {
    /// Nothing went yet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// When a packet may go; `None`: now.
    pub(crate) fn gate(&self, now: Instant, rtt: &Rtt, congestion: &Congestion) -> Option<Instant> {
        let interval = interval(rtt, congestion);
        let burst = (congestion.window() / 4).clamp(MIN_BURST, MAX_BURST);
        (self.due > now + interval * burst).then(|| self.due - interval * (burst - QUANTUM))
    }

    /// A packet goes, whether the gate was asked or not.
    pub(crate) fn sent(&mut self, now: Instant, rtt: &Rtt, congestion: &Congestion) {
        let interval = interval(rtt, congestion);
        // What goes without being asked for, as the SYNs of many streams at once, must not keep the
        // others from going for longer than a round trip.
        let latest = now + rtt.smoothed().unwrap_or_default();
        self.due = (self.due.max(now) + interval).min(latest.max(now + interval));
    }
}

/// Time between packets: a little faster than the window drains, so that the window and not the
/// pacer is what limits.
fn interval(rtt: &Rtt, congestion: &Congestion) -> Duration {
    let Some(rtt) = rtt.smoothed() else { return Duration::ZERO };
    let even = rtt / congestion.window().max(1);
    if congestion.in_slow_start() { even / 2 } else { even * 4 / 5 }
}
