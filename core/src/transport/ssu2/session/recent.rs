//! Messages that came lately: a peer sends again what it takes for lost, and that may have come all the same.

use crate::time::Instant;
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;

/// Messages that are remembered; the oldest is forgotten for a new one.
pub(super) const CAPACITY: usize = 2048;
/// How long: a peer that hears nothing sends again what it has for about half of this. Others remember for 10 s.
const LIFETIME: Duration = Duration::from_secs(60);

/// The ids of those messages.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: BTreeSet<u32>,
    order: VecDeque<(Instant, u32)>,
}

impl Recent {
    /// Messages that are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// True when a message with this id came lately.
    pub(super) fn is_known(&mut self, now: Instant, id: u32) -> bool {
        self.forget_old(now);
        self.ids.contains(&id)
    }

    /// True when this message is the first with its id.
    pub(super) fn is_new(&mut self, now: Instant, id: u32) -> bool {
        self.forget_old(now);
        let new = self.ids.insert(id);
        if new {
            self.order.push_back((now, id));
        }
        new
    }

    /// Forgets what is old, and the oldest if there is no room for another.
    fn forget_old(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(at, _)| {
            self.order.len() >= CAPACITY || now.saturating_since(*at) >= LIFETIME
        }) {
            if let Some((_, old)) = self.order.pop_front() {
                self.ids.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once_in_a_while() {
        let mut recent = Recent::default();
        let now = Instant::ZERO;
        assert!(recent.is_new(now, 1));
        assert!(!recent.is_new(now + LIFETIME / 2, 1));
        assert!(recent.is_known(now, 1) && !recent.is_known(now, 2));
        assert!(recent.is_new(now + LIFETIME, 1));
        for id in 2..10_000 {
            assert!(recent.is_new(now + LIFETIME, id));
            assert!(recent.len() <= CAPACITY);
        }
        assert!(recent.is_new(now + LIFETIME, 1));
        assert_eq!(recent.ids.len(), recent.len());
    }
}
