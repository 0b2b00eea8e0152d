//! In place of Elligator2: a mask over the key, and chance in the two bits on top. Every key of the
//! stand-in for X25519 has an encoding.

use super::x25519;
use crate::crypto::Key32;
use crate::crypto::elligator2::{NotEncoded, RANDOM_BITS};
use crate::crypto::x25519::PublicKey;
use crate::rng::Rng;

/// Encodes `public`, or says `None` when it is none of the stand-in's. `random` fills the two bits
/// on top (bits 6 and 7).
#[must_use]
pub fn encode(public: &PublicKey, random: u8) -> Option<[u8; 32]> {
    let mut out = masked(public.0);
    let last = out.last_mut()?;
    (public.0.last()? & RANDOM_BITS == 0).then(|| *last |= random & RANDOM_BITS)?;
    Some(out)
}

/// Decodes an encoded public key. Encodings that differ in the two bits on top give the same key.
pub fn decode(encoded: &[u8; 32]) -> Result<PublicKey, NotEncoded> {
    Ok(PublicKey(masked(*encoded)))
}

/// A private key, its public key and what goes on the wire.
pub(in crate::crypto) fn pair(rng: &mut Rng) -> Option<(Key32, PublicKey, [u8; 32])> {
    let secret = rng.bytes::<32>();
    let [random] = rng.bytes::<1>();
    let public = PublicKey(x25519::public(&secret));
    encode(&public, random).map(|encoded| (Key32::new(secret), public, encoded))
}

fn masked(mut bytes: [u8; 32]) -> [u8; 32] {
    for b in &mut bytes {
        *b ^= 0xa5;
    }
    if let Some(last) = bytes.last_mut() {
        *last &= !RANDOM_BITS;
    }
    bytes
}
