//! The other destinations that we know, and what waits for them.

use super::routes::{Remote, Resolution, Waiting};
use crate::audit::Audit;
use crate::time::Instant;
use crate::wire::hash::Hash;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Remotes that we keep; [`Remotes::trim`] says who goes when there are more.
pub(super) const MAX_REMOTES: usize = 4096;
/// Between two trims there may be this many more. Strangers beyond are not taken in.
const MAX_EXCESS: usize = 1024;
/// Remotes unused for this long are forgotten.
pub(super) const LIFETIME: Duration = Duration::from_secs(20 * 60);
/// Payloads that wait for one remote; the oldest is dropped.
const MAX_WAITING: usize = 64;

/// All remotes. A remote has a queue exactly while something waits in it.
#[derive(Default)]
pub(super) struct Remotes {
    all: BTreeMap<Hash, Remote>,
    waiting: BTreeMap<Hash, VecDeque<Waiting>>,
}

impl Remotes {
    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("destination: remotes", self.all.len(), MAX_REMOTES + MAX_EXCESS);
        audit.see("destination: remotes waited for", self.waiting.len(), self.all.len());
        for queue in self.waiting.values() {
            audit.see("destination: payloads for one remote", queue.len(), MAX_WAITING);
        }
    }

    pub(super) fn get_mut(&mut self, hash: &Hash) -> Option<&mut Remote> {
        self.all.get_mut(hash)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Hash, &Remote)> {
        self.all.iter()
    }

    /// A remote that we want something from.
    pub(super) fn open(&mut self, now: Instant, hash: Hash) -> &mut Remote {
        if self.all.len() >= MAX_REMOTES + MAX_EXCESS && !self.all.contains_key(&hash) {
            // Only when nobody trims.
            self.drop_spare(1, |_| false);
        }
        let remote = self.all.entry(hash).or_insert_with(|| Remote::new(now));
        remote.last_used = now;
        remote.addressed = true;
        remote
    }

    /// A remote that turned to us; `None` when there is no room for another one.
    pub(super) fn admit(&mut self, now: Instant, hash: Hash) -> Option<&mut Remote> {
        if self.all.len() >= MAX_REMOTES + MAX_EXCESS && !self.all.contains_key(&hash) {
            return None;
        }
        let remote = self.all.entry(hash).or_insert_with(|| Remote::new(now));
        remote.last_used = now;
        Some(remote)
    }

    /// Forgets remotes when there are too many: none that is `in_use` or that something waits for,
    /// those that we never said anything to before others, and of each the one unused for longest.
    pub(super) fn trim(&mut self, in_use: impl Fn(&Hash) -> bool) {
        if self.all.len() > MAX_REMOTES {
            // Some more at once, since this looks at them all.
            self.drop_spare(self.all.len() - MAX_REMOTES / 16 * 15, in_use);
        }
    }

    /// Forgets remotes unused for long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.all.retain(|_, r| now.saturating_since(r.last_used) < LIFETIME);
        self.waiting.retain(|hash, _| self.all.contains_key(hash));
    }

    /// Those that payloads wait for.
    pub(super) fn congested(&self) -> impl Iterator<Item = Hash> {
        self.waiting.keys().copied()
    }

    pub(super) fn is_congested(&self, hash: &Hash) -> bool {
        self.waiting.contains_key(hash)
    }

    /// Keeps a payload until it can be sent, behind those that wait already.
    pub(super) fn wait(&mut self, hash: Hash, payload: Waiting) {
        let queue = self.waiting.entry(hash).or_default();
        if queue.len() >= MAX_WAITING {
            queue.pop_front();
        }
        queue.push_back(payload);
    }

    /// Puts back what [`Self::take_waiting`] gave.
    pub(super) fn wait_first(&mut self, hash: Hash, payload: Waiting) {
        self.waiting.entry(hash).or_default().push_front(payload);
    }

    /// The payload that waits for longest.
    pub(super) fn take_waiting(&mut self, hash: &Hash) -> Option<Waiting> {
        let queue = self.waiting.get_mut(hash)?;
        let payload = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(hash);
        }
        payload
    }

    fn drop_spare(&mut self, count: usize, in_use: impl Fn(&Hash) -> bool) {
        let spare = self.all.iter().filter(|(hash, r)| {
            let busy = r.wanted || r.resolution == Resolution::Running;
            !busy && !self.waiting.contains_key(hash) && !in_use(hash)
        });
        let mut spare: Vec<_> = spare.map(|(h, r)| (r.addressed, r.last_used, *h)).collect();
        spare.sort_unstable();
        for (_, _, hash) in spare.into_iter().take(count) {
            self.all.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    fn name(n: usize) -> Hash {
        Hash::of(&n.to_be_bytes())
    }

    fn known(remotes: &Remotes, n: usize) -> bool {
        remotes.all.contains_key(&name(n))
    }

    #[test]
    fn strangers_push_out_strangers_and_nobody_in_use() {
        let mut remotes = Remotes::default();
        // 0 has a stream, 1 was talked to, something waits for 2, 3 is being looked for: all of
        // them before any stranger came.
        remotes.admit(at(0), name(0)).unwrap();
        for n in 1..4 {
            remotes.open(at(0), name(n));
        }
        remotes.admit(at(0), name(4)).unwrap();
        let payload =
            || Waiting { payload: super::super::tests::payload(b"x"), expects_reply: true };
        remotes.wait(name(2), payload());
        remotes.get_mut(&name(3)).unwrap().resolution = Resolution::Running;
        for n in 0..3 * MAX_REMOTES {
            remotes.admit(at(1 + n as u64 / 100), name(100 + n)).unwrap();
            remotes.trim(|hash| *hash == name(0));
            assert!(remotes.all.len() <= MAX_REMOTES);
        }
        assert!((0..4).all(|n| known(&remotes, n)));
        assert!(!known(&remotes, 4) && !known(&remotes, 100));
        assert!(known(&remotes, 99 + 3 * MAX_REMOTES), "the latest");
    }

    #[test]
    fn without_a_trim_strangers_are_turned_away_and_our_own_wishes_are_not() {
        let mut remotes = Remotes::default();
        let taken = (0..10_000).filter(|n| remotes.admit(at(1), name(*n)).is_some()).count();
        assert_eq!(taken, MAX_REMOTES + MAX_EXCESS);
        assert!(remotes.admit(at(2), name(0)).is_some(), "known already");
        remotes.open(at(2), name(20_000));
        assert!(known(&remotes, 20_000) && remotes.all.len() == taken);
        remotes.expire(at(1) + LIFETIME);
        assert_eq!(remotes.all.len(), 2);
    }

    #[test]
    fn a_queue_is_bounded_and_there_while_something_waits() {
        let mut remotes = Remotes::default();
        remotes.open(at(0), name(1));
        for n in 0..=MAX_WAITING {
            let payload = super::super::tests::payload(&[n as u8]);
            remotes.wait(name(1), Waiting { payload, expects_reply: true });
        }
        assert!(remotes.congested().eq([name(1)]));
        let first = remotes.take_waiting(&name(1)).unwrap();
        assert_eq!(first.payload.data, [1], "the oldest was dropped");
        remotes.wait_first(name(1), first);
        for n in 1..=MAX_WAITING {
            assert_eq!(remotes.take_waiting(&name(1)).unwrap().payload.data, [n as u8]);
        }
        assert!(!remotes.is_congested(&name(1)) && remotes.take_waiting(&name(1)).is_none());
    }
}
