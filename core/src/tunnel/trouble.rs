//! Whether our tunnels break in numbers: many routers went away at once, or many are useless.
//!
//! In ordinary times every router has its chance as a hop. In trouble that costs users too much:
//! then those go first of which there are fresh signs that they are up and carry what they are
//! given.

use crate::time::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Tunnels given up within this are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// Fewer are nothing, ...
const MIN_FAILED: usize = 2;
/// ... and when it was so many, the oldest makes room.
const MAX_FAILED: usize = 64;
/// Trouble lasts at least this long after the last time that it was seen.
const LASTS: Duration = Duration::from_secs(180);

/// What broke lately.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    failed: VecDeque<Instant>,
    /// From the first tunnel that was given up in it, until when.
    span: Option<(Instant, Instant)>,
}

impl Trouble {
    /// A tunnel was given up; `left` are those that work as far as we know.
    pub(crate) fn failed(&mut self, now: Instant, left: usize) {
        self.failed.retain(|at| now.saturating_since(*at) < WINDOW);
        if self.failed.len() >= MAX_FAILED {
            self.failed.pop_front();
        }
        self.failed.push_back(now);
        // More than a third of what there was.
        if self.failed.len() >= MIN_FAILED && self.failed.len() * 2 > left {
            let first = self.failed.front().copied().unwrap_or(now);
            self.span = Some((self.since(now).unwrap_or(first), now + LASTS));
        }
    }

    /// When it began, if there is any.
    pub(crate) fn since(&self, now: Instant) -> Option<Instant> {
        self.span.filter(|(_, until)| now < *until).map(|(since, _)| since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn many_at_once_are_trouble_and_some_now_and_then_are_not() {
        let mut trouble = Trouble::default();
        for n in 0..20 {
            trouble.failed(at(n * 100), 0);
            trouble.failed(at(n * 100 + 1), 4);
            assert_eq!(trouble.since(at(n * 100 + 1)), None, "two of six");
        }
        trouble.failed(at(2000), 3);
        trouble.failed(at(2001), 3);
        assert_eq!(trouble.since(at(2180)), Some(at(2000)), "two of five");
        trouble.failed(at(2100), 0);
        trouble.failed(at(2101), 0);
        assert_eq!(trouble.since(at(2280)), Some(at(2000)), "it goes on");
        assert_eq!(trouble.since(at(2281)), None);
    }
}
