//! Ed25519 (RFC 8032), and RedDSA verification, which is the same equation.

use super::{BadSignature, PublicKey};
use crate::crypto::Key32;
use crate::rng::Rng;
use ed25519_dalek::{Signature, Signer, Verifier, VerifyingKey};
use zeroize::Zeroize;

/// An Ed25519 signing key of ours, wiped when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_seed(rng.bytes())
    }

    /// From its 32-byte seed (the RFC's private key).
    #[must_use]
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        seed.zeroize();
        Self(key)
    }

    /// The seed, to store.
    #[must_use]
    pub fn seed(&self) -> Key32 {
        Key32::new(self.0.to_bytes())
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::ed25519(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// Verifies without the cofactor, with `S` reduced and `R` compared as bytes: what the other
/// routers do. The stricter rule that also refuses keys of low order would split the network's view
/// of which RouterInfos are valid.
pub(super) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let key = VerifyingKey::try_from(key).map_err(|_| BadSignature::Mismatch)?;
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature::Mismatch)?;
    key.verify(message, &signature).map_err(|_| BadSignature::Mismatch)
}
