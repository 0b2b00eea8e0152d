//! Which packets of the peer arrived, and when to tell it (specification `ssu2`, "ACKs").

use crate::time::{Instant, earliest};
use core::ops::RangeInclusive;
use core::time::Duration;

/// How far behind the newest packet an older one may arrive; what is older counts as a duplicate, and its
/// content comes in a new packet. The specification asks for 512, and others send 256 ahead at most.
const WINDOW: u32 = 1024;
const WORDS: usize = WINDOW as usize / 64;
/// Ranges of packets that an acknowledgement names: as many as others write.
const MAX_RANGES: usize = 32;
/// How far down an acknowledgement looks for what is missing.
const REPORTED: u32 = 512;
/// Packets after which an acknowledgement goes at once.
const ACK_EVERY: u32 = 8;
/// Otherwise it waits for a sixth of the round trip, within these.
const ACK_DELAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(150));
/// When the peer asks for one at once it waits for a sixteenth, up to this.
const SOON: Duration = Duration::from_millis(5);

/// The packets that arrived.
#[derive(Debug)]
pub(super) struct Received {
    newest: Option<u32>,
    /// Packet n is bit n modulo [`WINDOW`]: one within the window below the newest.
    bits: [u64; WORDS],
    /// Packets that are to be acknowledged and were not.
    waiting: u32,
    ack_at: Option<Instant>,
    packets: u64,
}

impl Received {
    /// Nothing arrived yet.
    pub(super) const fn new() -> Self {
        Self { newest: None, bits: [0; WORDS], waiting: 0, ack_at: None, packets: 0 }
    }

    /// Packets that arrived.
    pub(super) const fn packets(&self) -> u64 {
        self.packets
    }

    /// The highest number that arrived.
    pub(super) const fn newest(&self) -> Option<u32> {
        self.newest
    }

    /// True when a packet arrived before, or is too old to tell.
    pub(super) fn is_known(&self, number: u32) -> bool {
        let Some(newest) = self.newest else { return false };
        match newest.checked_sub(number) {
            None => false,
            Some(age) => age >= WINDOW || self.bit(number),
        }
    }

    /// A packet arrived that was not known; says whether it came in its turn.
    pub(super) fn note(&mut self, number: u32) -> bool {
        self.packets += 1;
        let expected = self.newest.map_or(0, |newest| newest.saturating_add(1));
        if number >= expected {
            let passed = (number - expected).min(WINDOW);
            for n in 0..passed {
                self.set(number - 1 - n, false);
            }
            self.newest = Some(number);
        }
        self.set(number, true);
        number == expected
    }

    /// The packet that just arrived is to be acknowledged: `soon`, since the sender asks for that, or
    /// since something is missing or no longer is.
    pub(super) fn wants_ack(&mut self, now: Instant, soon: bool, rtt: Option<Duration>) {
        self.waiting += 1;
        let rtt = rtt.unwrap_or_default();
        let (least, most) = ACK_DELAY;
        let delay = if self.waiting >= ACK_EVERY {
            Duration::ZERO
        } else if soon {
            (rtt / 16).min(SOON)
        } else {
            (rtt / 6).clamp(least, most)
        };
        self.ack_at = earliest(self.ack_at, Some(now + delay));
    }

    /// An acknowledgement goes now, whatever arrived.
    pub(super) const fn ack_now(&mut self, now: Instant) {
        self.ack_at = Some(now);
    }

    /// When the acknowledgement has to go at the latest.
    pub(super) const fn ack_at(&self) -> Option<Instant> {
        self.ack_at
    }

    /// An acknowledgement goes.
    pub(super) const fn acked(&mut self) {
        self.waiting = 0;
        self.ack_at = None;
    }

    /// What arrived lately, from the newest down.
    pub(super) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u32>> {
        let newest = self.newest.map(u64::from);
        let lowest = newest.map_or(0, |newest| newest.saturating_sub(REPORTED.into()));
        let mut next = newest;
        core::iter::from_fn(move || {
            let mut high = next?;
            while !self.bit(high as u32) {
                high = high.checked_sub(1).filter(|n| *n >= lowest)?;
            }
            let mut low = high;
            while low > lowest && self.bit((low - 1) as u32) {
                low -= 1;
            }
            next = low.checked_sub(1).filter(|n| *n >= lowest);
            Some(low as u32..=high as u32)
        })
        .take(MAX_RANGES)
    }

    fn bit(&self, number: u32) -> bool {
        let at = (number % WINDOW) as usize;
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn set(&mut self, number: u32, arrived: bool) {
        let at = (number % WINDOW) as usize;
        if let Some(word) = self.bits.get_mut(at / 64) {
            *word = *word & !(1 << (at % 64)) | u64::from(arrived) << (at % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    #[test]
    fn it_knows_what_a_set_knows() {
        for seed in 0..50 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let mut received = Received::new();
            let mut model = BTreeSet::new();
            let mut top = 0_u32;
            for _ in 0..2_000 {
                let far = if rng.below(50) == 0 { 3_000 } else { 40 };
                let number = (top + rng.below(far) as u32).saturating_sub(rng.below(60) as u32);
                let newest = model.last().copied();
                let old = newest.is_some_and(|newest| number + WINDOW <= newest);
                assert_eq!(
                    received.is_known(number),
                    old || model.contains(&number),
                    "seed {seed}"
                );
                if !received.is_known(number) {
                    let turn = newest.map_or(0, |n| n + 1) == number;
                    assert_eq!(received.note(number), turn, "seed {seed}");
                    model.insert(number);
                }
                top = model.last().copied().unwrap_or(0);
                let said: Vec<u32> = received.ranges().flat_map(Iterator::rev).collect();
                let whole = model.iter().rev().copied();
                let known: Vec<u32> = whole.take_while(|n| n + REPORTED >= top).collect();
                assert!(known.starts_with(&said), "seed {seed}");
                assert!(received.ranges().count() == MAX_RANGES || said == known, "seed {seed}");
            }
        }
    }

    #[test]
    fn the_first_and_the_last_numbers_are_numbers_like_others() {
        let mut received = Received::new();
        assert!(received.ranges().next().is_none());
        assert!(received.note(0));
        assert!(!received.note(u32::MAX));
        assert!(received.is_known(0) && received.is_known(u32::MAX));
        assert!(!received.is_known(u32::MAX - 1));
        assert_eq!(received.ranges().collect::<Vec<_>>(), [u32::MAX..=u32::MAX]);
    }

    #[test]
    fn acknowledgements_wait_for_company_but_not_for_long() {
        let ms = Duration::from_millis;
        let now = Instant::ZERO + ms(1000);
        let mut received = Received::new();
        received.wants_ack(now, false, Some(ms(120)));
        assert_eq!(received.ack_at(), Some(now + ms(20)));
        received.wants_ack(now + ms(5), true, Some(ms(32)));
        assert_eq!(received.ack_at(), Some(now + ms(7)));
        received.acked();
        assert_eq!(received.ack_at(), None);
        for _ in 0..ACK_EVERY {
            received.wants_ack(now, false, Some(ms(5_000)));
        }
        assert_eq!(received.ack_at(), Some(now));
    }
}
