//! What `[limits] bandwidth_in` and `bandwidth_out` mean: a token bucket, and turns for those who
//! share it.

use crate::audit::Audit;
use crate::time::{Instant, earliest};
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// What one may send in its turn: a frame.
pub(crate) const QUANTUM: usize = 16 * 1024;
/// How long a turn lasts. Who cannot write, since its socket is full, queues again when it can.
const TURN: Duration = Duration::from_millis(100);

/// Bytes per second with a burst of a quarter of a second, or more where a single large read or
/// write needs it.
pub(crate) struct Bucket {
    rate: u64,
    /// Bytes times a million, so that slow rates lose nothing between close instants. Negative
    /// after a burst that was larger than what was left, by a burst at most.
    level: i128,
    filled: Instant,
}

const MICRO: i128 = 1_000_000;
const MIN_BURST: u64 = 64 * 1024;

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        let mut bucket = Self { rate, level: 0, filled: now };
        bucket.level = bucket.burst();
        bucket
    }

    /// Bytes that may pass now.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_since(self.filled).as_micros();
        self.filled = self.filled.max(now);
        let gained = i128::try_from(elapsed).unwrap_or(0).saturating_mul(self.rate.into());
        self.level = self.level.saturating_add(gained).min(self.burst());
        usize::try_from(self.level.max(0) / MICRO).unwrap_or(usize::MAX)
    }

    /// `n` bytes passed.
    pub(crate) fn take(&mut self, n: usize) {
        let level = self.level.saturating_sub((n as i128).saturating_mul(MICRO));
        // What nobody could hold back is not made up for longer than that.
        self.level = level.max(-self.burst());
    }

    /// When `n` bytes may pass again.
    pub(crate) fn ready_at(&self, n: usize) -> Instant {
        let need = (n as i128).saturating_mul(MICRO).min(self.burst()) - self.level;
        let rate = i128::from(self.rate.max(1));
        let micros = u64::try_from((need.max(0) + rate - 1) / rate).unwrap_or(u64::MAX);
        self.filled + Duration::from_micros(micros)
    }

    /// Bytes it holds when full.
    fn capacity(&self) -> usize {
        usize::try_from((self.rate / 4).max(MIN_BURST)).unwrap_or(usize::MAX)
    }

    fn burst(&self) -> i128 {
        (self.capacity() as i128).saturating_mul(MICRO)
    }
}

/// A bucket whose users take turns while it does not suffice for all.
pub(crate) struct Turns<K> {
    bucket: Bucket,
    queue: VecDeque<K>,
    /// Turns that are not over.
    grants: BTreeMap<K, Grant>,
    /// Bytes of all grants: not written yet, and not free for others.
    granted: usize,
}

struct Grant {
    left: usize,
    until: Instant,
}

impl<K: Copy + Ord> Turns<K> {
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        Self {
            bucket: Bucket::new(rate, now),
            queue: VecDeque::new(),
            grants: BTreeMap::new(),
            granted: 0,
        }
    }

    /// Bytes that `user` may write now; 0 when it has to wait for its turn.
    pub(crate) fn room(&mut self, now: Instant, user: K) -> usize {
        if let Some(grant) = self.grants.get(&user) {
            return grant.left;
        }
        let free = self.free(now);
        if free > 0 && self.queue.is_empty() { free.max(QUANTUM) } else { 0 }
    }

    /// `user` waits for a turn; to be said once until [`Self::poll_turn`] names it.
    pub(crate) fn wait(&mut self, user: K) {
        self.queue.push_back(user);
    }

    /// `user` wrote so much: nothing ends its turn.
    pub(crate) fn wrote(&mut self, user: K, n: usize) {
        self.bucket.take(n);
        if let Some(grant) = self.grants.get_mut(&user) {
            let part = n.min(grant.left);
            grant.left -= part;
            self.granted -= part;
            if n == 0 || grant.left == 0 {
                self.end(user);
            }
        }
    }

    /// What is held by so many `users`, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>, users: usize) {
        audit.see("peers: waiting for bandwidth", self.queue.len(), users);
        audit.see("peers: with bandwidth granted", self.grants.len(), users);
    }

    /// `user` is gone.
    pub(crate) fn forget(&mut self, user: K) {
        self.end(user);
        self.queue.retain(|waiting| *waiting != user);
    }

    /// Whose turn it is, if anybody's.
    pub(crate) fn poll_turn(&mut self, now: Instant) -> Option<K> {
        while let Some(late) = self.grants.iter().find(|(_, g)| g.until <= now).map(|(u, _)| *u) {
            self.end(late);
        }
        if self.free(now) == 0 {
            return None;
        }
        let user = self.queue.pop_front()?;
        self.end(user);
        self.grants.insert(user, Grant { left: QUANTUM, until: now + TURN });
        self.granted += QUANTUM;
        Some(user)
    }

    /// When to ask [`Self::poll_turn`] at the latest.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.queue.is_empty() {
            return None;
        }
        let over = self.grants.values().map(|g| g.until).min();
        // A bucket that is full with less is not ready: a turn has to end first.
        let full = self.granted >= self.bucket.capacity();
        earliest(over, (!full).then(|| self.bucket.ready_at(self.granted + 1)))
    }

    /// What nobody was granted.
    fn free(&mut self, now: Instant) -> usize {
        self.bucket.available(now).saturating_sub(self.granted)
    }

    fn end(&mut self, user: K) {
        if let Some(grant) = self.grants.remove(&user) {
            self.granted -= grant.left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Takes all there is at once, and queues `users`.
    fn exhausted(rate: u64, users: u32) -> Turns<u32> {
        let mut turns = Turns::new(rate, Instant::ZERO);
        let all = turns.room(Instant::ZERO, 1000);
        turns.wrote(1000, all);
        for user in 0..users {
            assert_eq!(turns.room(Instant::ZERO, user), 0);
            turns.wait(user);
        }
        turns
    }

    fn granted(turns: &mut Turns<u32>, now: Instant) -> usize {
        core::iter::from_fn(|| turns.poll_turn(now)).count()
    }

    #[test]
    fn what_is_granted_is_not_granted_again_before_it_is_written() {
        let mut turns = exhausted(1_000_000, 16);
        let now = turns.poll_timeout().unwrap();
        // However often it is asked.
        assert_eq!((0..16).map(|_| granted(&mut turns, now)).sum::<usize>(), 1);
        let next = turns.poll_timeout().unwrap();
        assert!(next > now + 16 * MILLISECOND, "{next:?}");
        turns.wrote(0, QUANTUM);
        assert_eq!(turns.poll_timeout(), Some(next));
        assert_eq!(granted(&mut turns, next), 1);
    }

    #[test]
    fn all_have_turns_at_the_rate() {
        let mut turns = exhausted(1_000_000, 16);
        let mut written = [0; 16];
        let mut now = Instant::ZERO;
        while now < Instant::from_micros(10_000_000) {
            now = turns.poll_timeout().unwrap();
            while let Some(user) = turns.poll_turn(now) {
                let n = turns.room(now, user);
                turns.wrote(user, n);
                written[user as usize] += n;
                turns.wait(user);
            }
        }
        let all: usize = written.iter().sum();
        assert!((9_900_000..10_100_000).contains(&all), "{all}");
        assert!(written.iter().all(|n| n.abs_diff(all / 16) <= QUANTUM), "{written:?}");
    }

    #[test]
    fn a_turn_that_is_not_used_goes_to_others() {
        // More than the bucket holds is granted to sockets that are full.
        let mut turns = exhausted(100_000, 20);
        let mut now = Instant::ZERO;
        let (mut wakes, mut stuck) = (0, 0);
        while stuck < 10 {
            now = turns.poll_timeout().unwrap().max(now);
            wakes += 1;
            stuck += granted(&mut turns, now);
        }
        assert!(wakes <= 20, "{wakes}");
        let late = now + TURN;
        assert_eq!(turns.room(now, 9), QUANTUM);
        let user = turns.poll_turn(late).unwrap();
        assert_eq!((turns.room(late, 9), turns.room(late, user)), (0, QUANTUM));
        // One that has nothing to write, or is gone.
        let others = granted(&mut turns, late);
        turns.wrote(user, 0);
        assert_eq!(granted(&mut turns, late), 1, "after {others}");
        let next = turns.queue[0];
        turns.forget(next);
        assert!(!turns.queue.contains(&next) && turns.granted <= turns.bucket.capacity() + QUANTUM);
        for user in 0..20 {
            turns.forget(user);
        }
        assert_eq!((turns.granted, turns.poll_timeout()), (0, None));
        assert!(turns.room(late, 1) > 0);
    }

    #[test]
    fn passes_the_rate_over_time_and_not_more() {
        let mut now = Instant::ZERO;
        let mut bucket = Bucket::new(1_000_000, now);
        let mut passed = 0;
        for _ in 0..10_000 {
            now = now + Duration::from_millis(1);
            let n = bucket.available(now).min(3000);
            bucket.take(n);
            passed += n;
        }
        assert!((10_000_000..=10_250_001).contains(&passed), "{passed}");
    }

    #[test]
    fn says_when_it_is_ready_again() {
        let mut bucket = Bucket::new(100_000, Instant::ZERO);
        let burst = bucket.available(Instant::ZERO);
        bucket.take(burst + 50_000);
        assert_eq!(bucket.available(Instant::ZERO), 0);
        let ready = bucket.ready_at(1000);
        assert_eq!(ready, Instant::from_micros(510_000));
        assert_eq!(bucket.available(ready), 1000);
    }
}
