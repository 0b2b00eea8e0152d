//! In place of Ed25519: a signature is the digest of the public key and the message.

use super::mix::Mix;
use crate::crypto::Key32;
use crate::crypto::sign::BadSignature;

/// A key to sign with.
pub(in crate::crypto) struct Signer {
    seed: Key32,
    public: [u8; 32],
}

impl Signer {
    pub(in crate::crypto) fn from_seed(seed: [u8; 32]) -> Self {
        Self { public: Mix::new(3).bytes(&seed).out(), seed: Key32::new(seed) }
    }

    pub(in crate::crypto) const fn seed(&self) -> Key32 {
        self.seed.duplicate()
    }

    pub(in crate::crypto) const fn public(&self) -> [u8; 32] {
        self.public
    }

    pub(in crate::crypto) fn sign(&self, message: &[u8]) -> [u8; 64] {
        signature(&self.public, message)
    }
}

pub(in crate::crypto) fn verify(
    key: &[u8],
    message: &[u8],
    signed: &[u8],
) -> Result<(), BadSignature> {
    if signature(key, message) == *signed { Ok(()) } else { Err(BadSignature::Mismatch) }
}

fn signature(key: &[u8], message: &[u8]) -> [u8; 64] {
    Mix::new(4).bytes(key).bytes(message).out()
}
