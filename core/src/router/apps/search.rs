//! A destination that streams wait for: searched for once we have tunnels, and again for a while
//! when it is not found, for it may have been published just now.

use crate::client::{Failure, Slot};
use crate::conn::ConnId;
use crate::time::{Instant, earliest};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a stream waits for our first tunnels.
pub(super) const TUNNEL_PATIENCE: Duration = Duration::from_secs(20);
/// How long after the first failure the search is repeated.
pub(super) const SEARCH_PATIENCE: Duration = Duration::from_secs(10);
/// How long after the first failure the search begins again: who looks for a service that was
/// started with it, or a moment before, is often a moment too early.
pub(super) const SHORT_PAUSE: Duration = Duration::from_millis(300);
/// The same after each other failure.
pub(super) const SEARCH_PAUSE: Duration = Duration::from_secs(2);
/// A stream is not opened to a destination that was not found by then.
pub(super) const RESOLVE_TIMEOUT: Duration = Duration::from_secs(45);

/// A stream that a machine wants.
pub(super) struct Opening {
    pub(super) conn: ConnId,
    pub(super) slot: Slot,
    pub(super) port: u16,
    pub(super) since: Instant,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// To begin when there are tunnels.
    #[default]
    Due,
    Running,
    /// Not found; begins again then.
    Paused(Instant),
}

/// The search for one destination, and who waits for it.
#[derive(Default)]
pub(super) struct Search {
    openings: Vec<Opening>,
    state: State,
    failed: Option<Instant>,
}

impl Search {
    pub(super) fn add(&mut self, opening: Opening) {
        self.openings.push(opening);
    }

    pub(super) fn into_openings(self) -> Vec<Opening> {
        self.openings
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.openings.is_empty()
    }

    /// True when the destination is to be looked for now.
    pub(super) fn begin(&mut self) -> bool {
        let due = self.state == State::Due;
        if due {
            self.state = State::Running;
        }
        due
    }

    /// It was not found. True when it is worth another try, in a moment.
    pub(super) fn fail(&mut self, now: Instant) -> bool {
        let pause = if self.failed.is_none() { SHORT_PAUSE } else { SEARCH_PAUSE };
        let first = *self.failed.get_or_insert(now);
        let again = now + pause;
        self.state = State::Paused(again);
        again < first + SEARCH_PATIENCE
    }

    /// Ends a pause that is over, and takes out those who waited too long.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<(Opening, Failure)> {
        if let State::Paused(until) = self.state
            && until <= now
        {
            self.state = State::Due;
        }
        let (patience, why) = self.patience();
        let late = |o: &mut Opening| now.saturating_since(o.since) >= patience;
        self.openings.extract_if(.., late).map(|o| (o, why)).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let pause = match self.state {
            State::Paused(until) => Some(until),
            State::Due | State::Running => None,
        };
        let (patience, _) = self.patience();
        earliest(pause, self.openings.iter().map(|o| o.since + patience).min())
    }

    const fn patience(&self) -> (Duration, Failure) {
        match self.state {
            State::Due if self.failed.is_none() => (TUNNEL_PATIENCE, Failure::NoTunnels),
            State::Due => (RESOLVE_TIMEOUT, Failure::NoTunnels),
            State::Running | State::Paused(_) => (RESOLVE_TIMEOUT, Failure::LeaseSetNotFound),
        }
    }
}
