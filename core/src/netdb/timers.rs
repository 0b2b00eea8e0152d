//! One deadline for each of many named timers.

use crate::time::Instant;
use alloc::collections::{BTreeMap, BTreeSet};

/// Timers by name; the earliest is found without looking at the others.
pub(crate) struct Timers<K> {
    order: BTreeSet<(Instant, K)>,
    due: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Timers<K> {
    /// None set.
    pub(crate) const fn new() -> Self {
        Self { order: BTreeSet::new(), due: BTreeMap::new() }
    }

    /// Sets, moves or (with `None`) stops a timer.
    pub(crate) fn set(&mut self, timer: K, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.due.insert(timer, at),
            None => self.due.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    /// Stops and returns the earliest timer that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.due.remove(&timer);
        Some(timer)
    }

    /// When the earliest timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_move_stop_and_fire_in_order() {
        let at = Instant::from_micros;
        let mut timers = Timers::new();
        timers.set('a', Some(at(5)));
        timers.set('b', Some(at(3)));
        timers.set('c', Some(at(4)));
        timers.set('b', Some(at(9)));
        timers.set('c', None);
        timers.set('z', None);
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop(at(4)), None);
        assert_eq!(timers.pop(at(9)), Some('a'));
        timers.set('a', Some(at(9)));
        assert_eq!(timers.pop(at(9)), Some('a'));
        assert_eq!(timers.pop(at(9)), Some('b'));
        assert_eq!((timers.pop(at(99)), timers.next()), (None, None));
        assert!(timers.due.is_empty());
    }
}
