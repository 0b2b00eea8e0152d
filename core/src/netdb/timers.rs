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

    /// How many are set.
    pub(crate) fn len(&self) -> usize {
        self.order.len().max(self.due.len())
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
    use crate::rng::{Rng, Seed};

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

    /// A few thousand operations by chance, beside a plain map in which the earliest is looked for.
    #[test]
    fn any_operations_do_what_a_plain_map_does() {
        let at = Instant::from_micros;
        for seed in 0..20 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let (mut timers, mut model) = (Timers::new(), BTreeMap::<u64, Instant>::new());
            let mut now = 0;
            let mut fired = 0;
            for step in 0..2000 {
                let timer = rng.below(40);
                match rng.below(8) {
                    0 => {
                        timers.set(timer, None);
                        model.remove(&timer);
                    }
                    1..=4 => {
                        // Into the past too, and on the instant of others.
                        let due = at((now + rng.below(30)).saturating_sub(5));
                        timers.set(timer, Some(due));
                        model.insert(timer, due);
                    }
                    _ => {
                        now += rng.below(10);
                        while let Some(timer) = timers.pop(at(now)) {
                            let earliest = model.iter().map(|(t, due)| (*due, *t)).min();
                            let (due, expected) = earliest.unwrap();
                            assert!(due <= at(now), "seed {seed}, step {step}: too early");
                            assert_eq!(timer, expected, "seed {seed}, step {step}");
                            model.remove(&timer);
                            fired += 1;
                        }
                        assert!(model.values().all(|due| *due > at(now)), "seed {seed}: forgotten");
                    }
                }
                assert_eq!(
                    timers.next(),
                    model.values().copied().min(),
                    "seed {seed}, step {step}"
                );
                assert_eq!(timers.len(), model.len(), "seed {seed}, step {step}");
            }
            assert!(fired > 200, "seed {seed}: {fired}");
        }
    }
}
