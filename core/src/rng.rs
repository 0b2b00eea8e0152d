//! Randomness as a value: ChaCha20 from a seed, forked once per machine.

use chacha20::ChaCha20Rng;
use core::convert::Infallible;
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

    /// A seed for tests and simulations: the number's digest.
    #[must_use]
    pub fn from_number(n: u64) -> Self {
        Self(Sha256::digest(n.to_be_bytes()).into())
    }
}

/// A deterministic random stream.
///
/// Each machine gets a [fork](Self::fork) of its own, so that one machine's draws never shift
/// another's.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self(ChaCha20Rng::from_seed(seed.0))
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
        let rng = ChaCha20Rng::from_seed(forked);
        forked.zeroize();
        Self(rng)
    }

    /// Mixes in fresh entropy: the new stream depends on both the old one and `seed`.
    pub fn mix(&mut self, seed: &Seed) {
        let mut hash = Sha256::new();
        hash.update(self.bytes::<32>());
        hash.update(seed.0);
        let mut mixed: [u8; 32] = hash.finalize().into();
        self.0 = ChaCha20Rng::from_seed(mixed);
        mixed.zeroize();
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        let Ok(()) = self.0.try_fill_bytes(out);
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
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(dst)
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
