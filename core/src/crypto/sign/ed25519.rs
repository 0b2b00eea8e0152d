//! Ed25519 (RFC 8032), and RedDSA verification, which is the same equation.

use super::PublicKey;
use crate::crypto::Key32;
use crate::rng::Rng;
#[cfg(not(feature = "stub-crypto"))]
use curve as provider;

#[cfg(feature = "stub-crypto")]
use crate::crypto::stub::ed25519 as provider;

pub(super) use provider::verify;

/// An Ed25519 signing key of ours, wiped when dropped.
pub struct SigningKey(provider::Signer);

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_seed(rng.bytes())
    }

    /// From its 32-byte seed (the RFC's private key).
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(provider::Signer::from_seed(seed))
    }

    /// The seed, to store.
    #[must_use]
    pub fn seed(&self) -> Key32 {
        self.0.seed()
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::ed25519(self.0.public())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message)
    }
}

#[cfg(not(feature = "stub-crypto"))]
mod curve {
    use crate::crypto::Key32;
    use crate::crypto::sign::BadSignature;
    use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier, VerifyingKey};
    use zeroize::Zeroize;

    pub(in crate::crypto) struct Signer(SigningKey);

    impl Signer {
        pub(in crate::crypto) fn from_seed(mut seed: [u8; 32]) -> Self {
            let key = SigningKey::from_bytes(&seed);
            seed.zeroize();
            Self(key)
        }

        pub(in crate::crypto) fn seed(&self) -> Key32 {
            Key32::new(self.0.to_bytes())
        }

        pub(in crate::crypto) fn public(&self) -> [u8; 32] {
            self.0.verifying_key().to_bytes()
        }

        pub(in crate::crypto) fn sign(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign(message).to_bytes()
        }
    }

    /// Verifies without the cofactor, with `S` reduced and `R` compared as bytes: what the other
    /// routers do. The stricter rule that also refuses keys of low order would split the network's view
    /// of which RouterInfos are valid.
    pub(in crate::crypto) fn verify(
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let key = VerifyingKey::try_from(key).map_err(|_| BadSignature::Mismatch)?;
        let signature = Signature::from_slice(signature).map_err(|_| BadSignature::Mismatch)?;
        key.verify(message, &signature).map_err(|_| BadSignature::Mismatch)
    }
}
