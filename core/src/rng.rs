//! Randomness as a value: ChaCha20 from a seed, forked once per machine.

use alloc::sync::Arc;
use chacha20::ChaCha20Rng;
use core::convert::Infallible;
use core::sync::atomic::{AtomicU32, Ordering};
use rand_core::{SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 bytes of entropy: from the operating system in a runtime, from a number in a test.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// From 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, as secret as the keys that are made of them: for a recording, which is nothing
    /// without them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A seed for tests and simulations: the number's digest.
    #[must_use]
    pub fn from_number(n: u64) -> Self {
        Self(Sha256::digest(n.to_be_bytes()).into())
    }
}

/// A deterministic random stream.
///
/// Each machine gets a [fork](Self::fork) of its own, so that one machine's draws never shift
/// another's. All forks have one thing in common: fresh entropy that is [mixed](Self::mix) into one
/// of them reaches each with its next draw, so that no machine can be forgotten.
pub struct Rng {
    stream: ChaCha20Rng,
    fresh: Arc<Fresh>,
    /// The epoch of `fresh` that `stream` is from.
    seen: u32,
}

/// The entropy mixed in last. Atomic only so that a router may move between threads.
#[derive(Default)]
struct Fresh {
    epoch: AtomicU32,
    words: [AtomicU32; 8],
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.words.iter_mut().for_each(|word| word.get_mut().zeroize());
    }
}

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self { stream: ChaCha20Rng::from_seed(seed.0), fresh: Arc::default(), seen: 0 }
    }

    /// An independent stream, determined by this stream's position and `label`.
    #[must_use]
    pub fn fork(&mut self, label: &'static str) -> Self {
        let mut seed = self.bytes::<32>();
        let mut hash = Sha256::new();
        hash.update(seed);
        hash.update(label.as_bytes());
        seed.zeroize();
        let mut forked: [u8; 32] = hash.finalize().into();
        let stream = ChaCha20Rng::from_seed(forked);
        forked.zeroize();
        Self { stream, fresh: self.fresh.clone(), seen: self.seen }
    }

    /// Mixes in fresh entropy, here and in all forks, whoever was forked from whom: each new stream
    /// depends on both its old one and `seed`.
    pub fn mix(&mut self, seed: &Seed) {
        let mut mixed = digest(&self.bytes(), &seed.0);
        let (words, _) = mixed.as_chunks();
        for (word, bytes) in self.fresh.words.iter().zip(words) {
            word.store(u32::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        mixed.zeroize();
        self.fresh.epoch.fetch_add(1, Ordering::Release);
    }

    /// How often fresh entropy was mixed in: what was drawn in store before is stale.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.fresh.epoch.load(Ordering::Acquire)
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        let Ok(()) = self.stream().try_fill_bytes(out);
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// 32 random bits.
    #[must_use]
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// 32 random bits, never zero: what tunnel and message ids need.
    #[must_use]
    pub fn nonzero_u32(&mut self) -> u32 {
        loop {
            let v = self.u32();
            if v != 0 {
                return v;
            }
        }
    }

    /// 64 random bits.
    #[must_use]
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// Uniform in `0..n`; 0 when `n` is 0.
    #[must_use]
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // Rejection keeps it uniform; the zone is never smaller than half of the range.
        let zone = u64::MAX - (u64::MAX % n);
        loop {
            let v = self.u64();
            if v < zone {
                return v % n;
            }
        }
    }

    /// Uniform in `lo..=hi`; `lo` when the range is empty.
    #[must_use]
    pub fn between(&mut self, lo: u64, hi: u64) -> u64 {
        lo.saturating_add(self.below(hi.saturating_sub(lo).saturating_add(1)))
    }

    /// An index below `len`; 0 when `len` is 0.
    #[must_use]
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index(i + 1));
        }
    }

    /// The stream, with the entropy that was mixed in since the latest draw.
    fn stream(&mut self) -> &mut ChaCha20Rng {
        let epoch = self.epoch();
        if epoch != self.seen {
            self.seen = epoch;
            let mut fresh = [0; 32];
            let (words, _) = fresh.as_chunks_mut();
            for (bytes, word) in words.iter_mut().zip(&self.fresh.words) {
                *bytes = word.load(Ordering::Relaxed).to_le_bytes();
            }
            let mut old = [0; 32];
            let Ok(()) = self.stream.try_fill_bytes(&mut old);
            let mut mixed = digest(&old, &fresh);
            self.stream = ChaCha20Rng::from_seed(mixed);
            for secret in [&mut old, &mut fresh, &mut mixed] {
                secret.zeroize();
            }
        }
        &mut self.stream
    }
}

fn digest(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(a);
    hash.update(b);
    hash.finalize().into()
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.stream().try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.stream().try_next_u64()
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.stream().try_fill_bytes(dst)
    }
}

impl TryCryptoRng for Rng {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_repeatable_and_differ_by_label() {
        let draw = |label| Rng::new(&Seed::from_number(7)).fork(label).u64();
        assert_eq!(draw("a"), draw("a"));
        assert_ne!(draw("a"), draw("b"));
    }

    #[test]
    fn fresh_entropy_reaches_every_fork_and_nobody_else() {
        let draws = |entropy: Option<u64>| {
            let mut root = Rng::new(&Seed::from_number(7));
            let mut child = root.fork("child");
            let mut grandchild = child.fork("grandchild");
            let mut idle = root.fork("idle");
            let stranger = Rng::new(&Seed::from_number(7)).u64();
            let _ = (child.u64(), grandchild.u64());
            if let Some(n) = entropy {
                root.mix(&Seed::from_number(n));
            }
            let late = child.fork("late").u64();
            [root.u64(), child.u64(), grandchild.u64(), idle.u64(), late, stranger]
        };
        let (none, one, again, other) =
            (draws(None), draws(Some(1)), draws(Some(1)), draws(Some(2)));
        assert_eq!(one, again);
        for i in 0..5 {
            assert!(none[i] != one[i] && one[i] != other[i] && none[i] != other[i], "{i}");
            assert!((i + 1..5).all(|j| one[i] != one[j]), "and no two are alike");
        }
        assert_eq!(none[5], one[5]);
    }

    #[test]
    fn ranges_hold_at_their_edges() {
        let mut rng = Rng::new(&Seed::from_number(1));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.between(5, 5), 5);
        for _ in 0..1000 {
            assert!((3..=6).contains(&rng.between(3, 6)));
        }
    }
}
