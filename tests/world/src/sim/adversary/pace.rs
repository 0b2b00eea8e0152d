//! Keeping to a rate.

use std::time::Duration;

/// How many of something are due each turn.
pub(super) struct Pace {
    rate: u32,
    /// Tenths of one that were not due yet.
    rest: u32,
}

impl Pace {
    /// From one turn to the next.
    pub(super) const TURN: Duration = Duration::from_millis(100);

    /// So many a second.
    pub(super) const fn new(rate: u32) -> Self {
        Self { rate, rest: 0 }
    }

    /// How many this turn.
    pub(super) const fn due(&mut self) -> u32 {
        let owed = self.rate + self.rest;
        self.rest = owed % 10;
        owed / 10
    }
}
