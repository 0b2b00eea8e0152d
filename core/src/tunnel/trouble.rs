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
    until: Option<Instant>,
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
            self.until = Some(now + LASTS);
        }
    }

    /// Whether there is any.
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
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
            assert!(!trouble.is_on(at(n * 100 + 1)), "two of six");
        }
        trouble.failed(at(2000), 3);
        trouble.failed(at(2001), 3);
        assert!(trouble.is_on(at(2001)), "two of five");
        assert!(trouble.is_on(at(2180)) && !trouble.is_on(at(2181)));
    }
}
