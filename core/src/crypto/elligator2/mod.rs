//! Elligator2 over Curve25519: X25519 public keys that look like random bytes (specification
//! `ecies`, section 2a; Bernstein, Hamburg, Krasnova, Lange, 2013, section 5.5).
//!
//! An encoded key is 254 bits of a field element and two random bits on top. About half of all
//! public keys can be encoded, so key pairs are tried until one can, and [`KeyQueue`] holds some
//! in store.
//!
//! Ephemeral keys made here carry a random point of small order. Every X25519 scalar is a
//! multiple of eight, so no shared secret changes; but without it each decoded key would lie in
//! the prime-order subgroup, and an observer who decodes the first 32 bytes of a few messages and
//! multiplies by the group order would tell new sessions from random bytes after all.

use super::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use alloc::collections::VecDeque;
#[cfg(not(feature = "stub-crypto"))]
use curve as provider;

#[cfg(feature = "stub-crypto")]
use super::stub::elligator2 as provider;

#[cfg(not(feature = "stub-crypto"))]
mod curve;

pub use provider::{decode, encode};

/// The bytes are no encoding that an encoder makes: the field element is above `(p - 1) / 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Elligator2 encoding")]
pub struct NotEncoded;

/// The two bits on top of byte 31 that are random on the wire and ignored by the decoder.
pub(super) const RANDOM_BITS: u8 = 0xc0;

/// An ephemeral key pair whose public key has an encoding.
pub struct KeyPair {
    /// The private key.
    pub private: PrivateKey,
    /// The public key as the receiver decodes it. It is the private key's public key plus a point
    /// of small order, so hash and send this one, never [`PrivateKey::public`].
    pub public: PublicKey,
    /// What goes on the wire.
    pub encoded: [u8; 32],
}

impl KeyPair {
    /// A new pair. `None` only if 256 keys in a row had no encoding, which does not happen.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Option<Self> {
        (0..256).find_map(|_| Self::attempt(rng))
    }

    /// One try; every other one fails.
    fn attempt(rng: &mut Rng) -> Option<Self> {
        let (secret, public, encoded) = provider::pair(rng)?;
        Some(Self { private: PrivateKey::from_bytes(*secret.as_bytes()), public, encoded })
    }
}

/// Key pairs in store, so that opening or answering a session need not search for one.
#[derive(Default)]
pub struct KeyQueue {
    pairs: VecDeque<KeyPair>,
    /// Of the entropy that the pairs were made from.
    epoch: u32,
}

impl KeyQueue {
    /// Pairs kept at most.
    pub const CAPACITY: usize = 16;

    /// A pair from the store, or a new one when it is empty.
    #[must_use]
    pub fn take(&mut self, rng: &mut Rng) -> Option<KeyPair> {
        self.drop_stale(rng);
        self.pairs.pop_front().or_else(|| KeyPair::generate(rng))
    }

    /// True when there is room for more.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.pairs.len() < Self::CAPACITY
    }

    /// Makes up to `tries` attempts, of which about half add a pair, while there is room.
    pub fn refill(&mut self, rng: &mut Rng, tries: usize) {
        self.drop_stale(rng);
        for _ in 0..tries {
            if !self.wants_more() {
                return;
            }
            self.pairs.extend(KeyPair::attempt(rng));
        }
    }

    /// After fresh entropy was mixed in there may be a copy of us somewhere, with these pairs.
    fn drop_stale(&mut self, rng: &Rng) {
        if self.epoch != rng.epoch() {
            self.epoch = rng.epoch();
            self.pairs.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn pairs_agree_on_secrets() {
        let mut rng = Rng::new(&Seed::from_number(3));
        let mut queue = KeyQueue::default();
        for _ in 0..40 {
            let pair = queue.take(&mut rng).unwrap();
            assert_eq!(decode(&pair.encoded), Ok(pair.public));
            let other = PrivateKey::generate(&mut rng);
            let ours = pair.private.diffie_hellman(&other.public()).unwrap();
            let theirs = other.diffie_hellman(&pair.public).unwrap();
            assert_eq!(ours.as_bytes(), theirs.as_bytes());
        }
    }

    #[test]
    fn the_queue_stops_at_its_capacity() {
        let mut rng = Rng::new(&Seed::from_number(4));
        let mut queue = KeyQueue::default();
        queue.refill(&mut rng, 200);
        assert!(!queue.wants_more());
        assert_eq!(queue.pairs.len(), KeyQueue::CAPACITY);
        assert!(queue.take(&mut rng).is_some());
        assert!(queue.wants_more());
    }

    #[test]
    fn pairs_that_a_copy_of_us_may_have_are_not_used() {
        let drawn = |entropy: bool| {
            let mut rng = Rng::new(&Seed::from_number(4));
            let mut queue = KeyQueue::default();
            queue.refill(&mut rng, 200);
            if entropy {
                rng.mix(&Seed::from_number(5));
            }
            queue.take(&mut rng).unwrap().encoded
        };
        assert_eq!(drawn(false), drawn(false));
        assert_ne!(drawn(false), drawn(true));
    }
}
