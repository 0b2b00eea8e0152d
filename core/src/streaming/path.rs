//! What the streams to one remote destination share: round trip, order, window and pace.

use super::StreamId;
use crate::flow::congestion::Congestion;
use crate::flow::pacer::Pacer;
use crate::flow::reordering::Reordering;
use crate::flow::rtt::Rtt;
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::collections::VecDeque;
use core::time::Duration;

/// A path is said to stall at most this often.
const STALL_INTERVAL: Duration = Duration::from_millis(1000);

/// Whether a packet may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Now.
    Open,
    /// When something was acknowledged or lost.
    Full,
    /// At this time.
    Until(Instant),
}

/// The shared state.
pub(crate) struct Path {
    /// The remote destination.
    pub(crate) remote: Hash,
    /// Its distance.
    pub(crate) rtt: Rtt,
    /// How well it keeps the order.
    pub(crate) reordering: Reordering,
    /// The window.
    pub(crate) congestion: Congestion,
    /// Streams that wait for the window or the pacer.
    pub(crate) waiting: VecDeque<StreamId>,
    /// The deadline registered for the pacer.
    pub(crate) timer: Option<Instant>,
    /// Streams that use it.
    pub(crate) streams: u32,
    /// Nothing may be sent, for the owner does not know how to reach the remote yet.
    pub(crate) held: bool,
    /// When it was used last.
    pub(crate) used: Instant,
    /// When something was acknowledged last, on any stream.
    pub(crate) heard: Option<Instant>,
    pacer: Pacer,
    stalled: Option<Instant>,
    /// Timeouts since anything was acknowledged, and the last one.
    silences: u32,
    silent_at: Instant,
}

impl Path {
    /// Nothing known yet.
    pub(crate) fn new(now: Instant, remote: Hash) -> Self {
        Self {
            remote,
            rtt: Rtt::default(),
            reordering: Reordering::default(),
            congestion: Congestion::default(),
            waiting: VecDeque::new(),
            timer: None,
            streams: 0,
            held: false,
            used: now,
            heard: None,
            pacer: Pacer::new(now),
            stalled: None,
            silences: 0,
            silent_at: now,
        }
    }

    /// Whether a packet of data may go.
    pub(crate) fn gate(&mut self, now: Instant) -> Gate {
        self.congestion.restart(now.saturating_since(self.used));
        if !self.congestion.may_send() {
            return Gate::Full;
        }
        match self.pacer.gate(now, &self.rtt, &self.congestion) {
            None => Gate::Open,
            Some(at) => Gate::Until(at),
        }
    }

    /// A packet goes, whether the gate was asked or not.
    pub(crate) fn sent(&mut self, now: Instant) -> u64 {
        self.used = now;
        self.pacer.sent(now, &self.rtt, &self.congestion);
        self.congestion.sent()
    }

    /// The owner has chosen other tunnels: start over, carefully.
    pub(crate) fn rerouted(&mut self) {
        self.rtt.forget();
        self.reordering = Reordering::default();
        self.congestion.rerouted();
        self.silences = 0;
    }

    /// Something was acknowledged.
    pub(crate) const fn alive(&mut self, now: Instant) {
        self.silences = 0;
        self.heard = Some(now);
    }

    /// A stream heard nothing for too long. Streams that time out together count once.
    pub(crate) fn timed_out(&mut self, now: Instant) {
        if self.silences == 0 || now.saturating_since(self.silent_at) >= self.rtt.timeout() {
            self.silences += 1;
            self.silent_at = now;
            self.congestion.timed_out(self.silences);
        }
    }

    /// Asks whether to tell the owner that nothing gets through.
    pub(crate) fn stall(&mut self, now: Instant) -> bool {
        let tell = self.stalled.is_none_or(|t| now.saturating_since(t) >= STALL_INTERVAL);
        if tell {
            self.stalled = Some(now);
        }
        tell
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::pacer::{MAX_BURST, QUANTUM};

    #[test]
    fn what_is_not_gated_delays_the_rest_by_a_round_trip_at_most() {
        let mut path = Path::new(Instant::ZERO, Hash::ZERO);
        let rtt = Duration::from_millis(60);
        path.rtt.sample(Instant::ZERO, rtt);
        for _ in 0..1000 {
            path.sent(Instant::ZERO);
        }
        path.congestion.released(1000);
        match path.gate(Instant::ZERO) {
            Gate::Until(at) => assert!(at <= Instant::ZERO + rtt, "{at:?}"),
            gate @ (Gate::Open | Gate::Full) => assert_eq!(gate, Gate::Open),
        }
    }

    #[test]
    fn a_window_goes_out_over_a_round_trip_and_not_at_once() {
        let mut path = Path::new(Instant::ZERO, Hash::ZERO);
        let rtt = Duration::from_millis(100);
        path.rtt.sample(Instant::ZERO, rtt);
        while path.congestion.window() < 100 {
            assert!(path.congestion.may_send() || path.congestion.flying() > 0);
            let mark = path.congestion.sent();
            while path.congestion.may_send() {
                path.congestion.sent();
            }
            let flying = path.congestion.flying();
            path.congestion.acked(Instant::ZERO, &mut path.rtt, flying, flying, mark, None);
        }
        let (mut now, mut sent, mut at_once) = (Instant::ZERO, 0, 0);
        loop {
            match path.gate(now) {
                Gate::Open => {
                    path.sent(now);
                    sent += 1;
                    at_once += 1;
                    assert!(at_once <= MAX_BURST + 1);
                }
                Gate::Until(later) => {
                    assert!(later > now && at_once >= QUANTUM);
                    (now, at_once) = (later, 0);
                }
                Gate::Full => break,
            }
        }
        assert_eq!(sent, path.congestion.window());
        let took = now.saturating_since(Instant::ZERO);
        assert!((rtt / 4..rtt).contains(&took), "{took:?}");
    }
}
