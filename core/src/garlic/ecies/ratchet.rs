//! The DH ratchet, one machine for each direction (specification `ecies`, section 4a).
//!
//! Set `n` follows from a key of the tags' sender and one of their receiver, whose ids add up to
//! `n - 1`: set 1 takes a new key from both, even sets a new one from the sender, odd sets a new
//! one from the receiver. The sender repeats its block until it is answered; the receiver repeats
//! its answer until a tag of the new set arrives.

use super::tagset::{ReceiveSet, SendSet, SessionTag};
use crate::crypto::Key32;
use crate::crypto::aead::BadTag;
use crate::crypto::kdf::hkdf1;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::garlic::NextKey;
use arrayvec::ArrayVec;
use core::time::Duration;

/// A set is kept this long after the next one came into use.
pub(super) const OLD_SET_LIFETIME: Duration = Duration::from_secs(3 * 60);
/// Receive sets kept at once: the one in use, the next one, and one that is about to go.
pub(super) const MAX_RECEIVE_SETS: usize = 3;

/// Ids of the sender's and of the receiver's key that lead to set `set`, which is not 0.
const fn key_ids(set: u16) -> (u16, u16) {
    (set / 2, set.saturating_sub(1) / 2)
}

/// `tagsetKey` of the DH ratchet.
pub(super) fn tagset_key(ours: &PrivateKey, theirs: &PublicKey) -> Option<Key32> {
    let shared = ours.diffie_hellman(theirs).ok()?;
    Some(hkdf1(shared.as_bytes(), b"", b"XDHRatchetTagSet"))
}

/// The direction in which we send.
pub(super) struct Sending {
    pub(super) set: SendSet,
    /// Our newest key.
    own: Option<PrivateKey>,
    /// The receiver's newest key.
    remote: Option<PublicKey>,
    /// What we repeat until it is answered.
    step: Option<NextKey>,
}

impl Sending {
    pub(super) const fn new(set: SendSet) -> Self {
        Self { set, own: None, remote: None, step: None }
    }

    /// Starts a step towards the next set once `threshold` messages went out, unless one is under
    /// way.
    pub(super) fn start(&mut self, threshold: u32, rng: &mut Rng) {
        if self.step.is_some() || self.set.sent() < threshold {
            return;
        }
        let Some(next) = self.set.id().checked_add(1) else { return };
        let (id, _) = key_ids(next);
        let odd = next % 2 == 1;
        let fresh = next == 1 || !odd;
        if fresh {
            self.own = Some(PrivateKey::generate(rng));
        }
        let key = self.own.as_ref().filter(|_| fresh).map(PrivateKey::public);
        self.step = Some(NextKey { id, key, reverse: false, request_reverse: odd });
    }

    /// The block to send with every message until it is answered.
    pub(super) const fn block(&self) -> Option<&NextKey> {
        self.step.as_ref()
    }

    /// An answer. One that fits starts the next set at once; others are late repetitions.
    pub(super) fn handle_reverse(&mut self, answer: &NextKey) -> bool {
        let Some(next) = self.set.id().checked_add(1).filter(|_| self.step.is_some()) else {
            return false;
        };
        let odd = next % 2 == 1;
        if answer.id != key_ids(next).1 || answer.key.is_some() != odd {
            return false;
        }
        let remote = if odd { answer.key } else { self.remote };
        let (Some(own), Some(remote)) = (&self.own, remote) else { return false };
        let Some(key) = tagset_key(own, &remote) else { return false };
        self.set = SendSet::new(next, self.set.root(), &key);
        self.remote = Some(remote);
        self.step = None;
        true
    }
}

/// A receive set and, once the next one is in use, its end.
struct Aging {
    set: ReceiveSet,
    expires: Option<Instant>,
}

/// The direction in which we receive.
pub(super) struct Receiving {
    /// Oldest first; never empty.
    sets: ArrayVec<Aging, MAX_RECEIVE_SETS>,
    /// Our newest key.
    own: Option<PrivateKey>,
    /// The sender's newest key.
    remote: Option<PublicKey>,
    /// What we repeat until a tag of the newest set arrives.
    answer: Option<NextKey>,
}

impl Receiving {
    pub(super) fn new(set: ReceiveSet) -> Self {
        let mut sets = ArrayVec::new();
        sets.push(Aging { set, expires: None });
        Self { sets, own: None, remote: None, answer: None }
    }

    /// The block to send with every message until the sender uses the new set.
    pub(super) const fn block(&self) -> Option<&NextKey> {
        self.answer.as_ref()
    }

    /// The newest set.
    pub(super) fn newest(&mut self) -> Option<&mut ReceiveSet> {
        self.sets.last_mut().map(|aging| &mut aging.set)
    }

    /// All sets, oldest first.
    #[cfg(test)]
    pub(super) fn sets(&self) -> impl Iterator<Item = &ReceiveSet> {
        self.sets.iter().map(|aging| &aging.set)
    }

    pub(super) fn set(&mut self, id: u16) -> Option<&mut ReceiveSet> {
        self.sets.iter_mut().map(|aging| &mut aging.set).find(|set| set.id() == id)
    }

    /// Decrypts message `index` of set `id`.
    pub(super) fn open<'a>(
        &mut self,
        now: Instant,
        id: u16,
        index: u16,
        tag: &SessionTag,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], BadTag> {
        let text = self.set(id).ok_or(BadTag)?.open(index, tag, sealed)?;
        let newest = self.sets.last().map(|aging| aging.set.id());
        if newest == Some(id) && self.sets.len() > 1 {
            // The sender has our answer. Only now can the old sets be counted out: as long as the
            // answer is under way the sender keeps using them.
            self.answer = None;
            for old in self.sets.iter_mut().rev().skip(1) {
                old.expires.get_or_insert(now + OLD_SET_LIFETIME);
            }
        }
        Ok(text)
    }

    /// The sender's block, in a message of set `via`. True when a new set was made, whose tags
    /// the caller must add; sets that are dropped for it go to `drop`.
    pub(super) fn handle_forward(
        &mut self,
        via: u16,
        step: &NextKey,
        rng: &mut Rng,
        mut drop: impl FnMut(ReceiveSet),
    ) -> bool {
        let Some(newest) = self.sets.last() else { return false };
        let Some(next) = newest.set.id().checked_add(1) else { return false };
        let odd = next % 2 == 1;
        let fresh = next == 1 || !odd;
        // A step that is not the next one repeats what was answered already.
        if via != newest.set.id()
            || step.id != key_ids(next).0
            || step.request_reverse != odd
            || step.key.is_some() != fresh
        {
            return false;
        }
        let remote = if fresh { step.key } else { self.remote };
        let Some(remote) = remote else { return false };
        let new_own = odd.then(|| PrivateKey::generate(rng));
        let Some(own) = new_own.as_ref().or(self.own.as_ref()) else { return false };
        let Some(key) = tagset_key(own, &remote) else { return false };
        let set = ReceiveSet::new(next, newest.set.root(), &key);
        let key = new_own.as_ref().map(PrivateKey::public);
        self.answer =
            Some(NextKey { id: key_ids(next).1, key, reverse: true, request_reverse: false });
        self.remote = Some(remote);
        if new_own.is_some() {
            self.own = new_own;
        }
        if self.sets.is_full() {
            drop(self.sets.remove(0).set);
        }
        self.sets.push(Aging { set, expires: None });
        true
    }

    /// Gives expired sets to `drop`.
    pub(super) fn expire(&mut self, now: Instant, mut drop: impl FnMut(ReceiveSet)) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            drop(self.sets.remove(0).set);
        }
    }

    /// When the oldest set expires.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sets.first().and_then(|aging| aging.expires)
    }

    /// Forgets all tags; `remove` takes them out of the table.
    pub(super) fn clear(&mut self, mut remove: impl FnMut(&SessionTag)) {
        for aging in &mut self.sets {
            aging.set.clear(&mut remove);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::garlic::ecies::tagset::Look;
    use crate::rng::Seed;
    use alloc::vec::Vec;

    fn pair() -> (Rng, Sending, Receiving) {
        let k = Key32::new([2; 32]);
        let sending = Sending::new(SendSet::new(0, &[1; 32], &k));
        let receiving = Receiving::new(ReceiveSet::new(0, &[1; 32], &k));
        (Rng::new(&Seed::from_number(1)), sending, receiving)
    }

    /// Sends one message and lets it arrive, with the sender's block in it.
    fn pass(now: Instant, rng: &mut Rng, sending: &mut Sending, receiving: &mut Receiving) {
        let mut message = Vec::new();
        let block = sending.block().copied();
        let set = sending.set.id();
        let index = sending.set.seal(&mut message, |_| ()).unwrap();
        receiving.set(set).unwrap().extend(Look::Far, |_, _| ());
        let (tag, sealed) = message.split_first_chunk_mut().unwrap();
        receiving.open(now, set, index, tag, sealed).unwrap();
        if let Some(block) = block {
            receiving.handle_forward(set, &block, rng, |_| ());
        }
    }

    // The table of the specification: sender key id, receiver key id, and whose key is new.
    #[test]
    fn key_ids_and_flags_progress_as_in_the_specification() {
        let (mut rng, mut sending, mut receiving) = pair();
        let rows = [
            (0, true, true, 0, true),
            (1, true, false, 0, false),
            (1, false, true, 1, true),
            (2, true, false, 1, false),
            (2, false, true, 2, true),
            (3, true, false, 2, false),
        ];
        for (n, (own, new, request, remote, new_remote)) in rows.into_iter().enumerate() {
            assert!(sending.block().is_none());
            pass(Instant::ZERO, &mut rng, &mut sending, &mut receiving);
            assert!(receiving.block().is_none());
            sending.start(1, &mut rng);
            let block = *sending.block().unwrap();
            assert_eq!((block.id, block.key.is_some(), block.request_reverse), (own, new, request));
            assert!(!block.reverse);
            pass(Instant::ZERO, &mut rng, &mut sending, &mut receiving);
            let answer = *receiving.block().unwrap();
            assert_eq!((answer.id, answer.key.is_some()), (remote, new_remote));
            assert!(answer.reverse && !answer.request_reverse);
            assert!(sending.handle_reverse(&answer));
            assert!(!sending.handle_reverse(&answer), "only once");
            assert_eq!(usize::from(sending.set.id()), n + 1);
        }
    }

    #[test]
    fn repeated_and_late_blocks_change_nothing() {
        let (mut rng, mut sending, mut receiving) = pair();
        let mut answers = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..8 {
            pass(Instant::ZERO, &mut rng, &mut sending, &mut receiving);
            sending.start(1, &mut rng);
            for old in &answers {
                assert!(!sending.handle_reverse(old));
            }
            steps.push((sending.set.id(), *sending.block().unwrap()));
            pass(Instant::ZERO, &mut rng, &mut sending, &mut receiving);
            let answer = *receiving.block().unwrap();
            for (via, step) in &steps {
                assert!(!receiving.handle_forward(*via, step, &mut rng, |_| panic!("drop")));
            }
            assert_eq!(receiving.block(), Some(&answer));
            assert!(sending.handle_reverse(&answer));
            answers.push(answer);
            receiving.expire(Instant::from_micros(u64::MAX), |_| ());
        }
    }

    #[test]
    fn the_old_set_lives_until_some_time_after_the_new_one_is_used() {
        let (mut rng, mut sending, mut receiving) = pair();
        pass(Instant::ZERO, &mut rng, &mut sending, &mut receiving);
        sending.start(1, &mut rng);
        // The answer takes an hour, during which the old set goes on.
        for s in 0..60 {
            let now = Instant::ZERO + Duration::from_secs(60 * s);
            receiving.expire(now, |_| panic!("too early"));
            pass(now, &mut rng, &mut sending, &mut receiving);
            assert_eq!(receiving.poll_timeout(), None);
        }
        let answer = *receiving.block().unwrap();
        assert!(sending.handle_reverse(&answer));
        let now = Instant::ZERO + Duration::from_secs(3600);
        pass(now, &mut rng, &mut sending, &mut receiving);
        assert_eq!(receiving.poll_timeout(), Some(now + OLD_SET_LIFETIME));
        pass(now + Duration::from_secs(9), &mut rng, &mut sending, &mut receiving);
        assert_eq!(receiving.poll_timeout(), Some(now + OLD_SET_LIFETIME));
        let mut dropped = Vec::new();
        receiving.expire(now + OLD_SET_LIFETIME, |set| dropped.push(set.id()));
        assert_eq!(dropped, [0]);
        assert_eq!(receiving.poll_timeout(), None);
    }

    #[test]
    fn steps_that_do_not_fit_are_ignored() {
        let (mut rng, mut sending, mut receiving) = pair();
        pass(Instant::ZERO, &mut rng, &mut sending, &mut receiving);
        sending.start(1, &mut rng);
        let good = *sending.block().unwrap();
        for bad in [
            NextKey { id: 1, ..good },
            NextKey { request_reverse: false, ..good },
            NextKey { key: None, ..good },
            NextKey { key: Some(PublicKey([0; 32])), ..good },
        ] {
            assert!(!receiving.handle_forward(0, &bad, &mut rng, |_| ()));
            assert!(receiving.block().is_none());
        }
        assert!(!receiving.handle_forward(1, &good, &mut rng, |_| ()));
        assert!(receiving.handle_forward(0, &good, &mut rng, |_| ()));
        let answer = *receiving.block().unwrap();
        for bad in [
            NextKey { id: 1, ..answer },
            NextKey { key: None, ..answer },
            NextKey { key: Some(PublicKey([0; 32])), ..answer },
        ] {
            assert!(!sending.handle_reverse(&bad));
        }
        assert!(sending.handle_reverse(&answer));
    }
}
