//! Primitives, with no knowledge of the protocol.
//!
//! Each primitive is a small module of plain functions: that is the seam behind which a provider
//! is chosen. ChaCha20-Poly1305 and ECDSA come from `ring` when that feature is on; the portable
//! pure-Rust code is always there for the AEAD, as the fallback and as the test oracle. With the
//! feature `stub-crypto` the expensive ones are stand-ins without any security ([`STUB`]).

pub mod aead;
#[cfg(not(feature = "stub-crypto"))]
pub mod aes;
pub mod chacha20;
pub mod elligator2;
pub mod hash;
pub mod kdf;
pub mod noise;
#[cfg(feature = "shadow")]
pub(crate) mod shadow;
pub mod sign;
pub mod siphash;
#[cfg(any(test, feature = "stub-crypto"))]
#[cfg_attr(
    not(feature = "stub-crypto"),
    expect(
        unreachable_pub,
        reason = "it has its tests in every build, and is public where it is used"
    )
)]
mod stub;
pub mod x25519;

#[cfg(feature = "stub-crypto")]
pub use stub::aes;

/// Whether this is a build for simulations only: its keys, signatures and ciphers protect nothing, and no
/// router of the network understands them. Whoever has sockets must refuse to start when it is true.
pub const STUB: bool = cfg!(feature = "stub-crypto");

/// A 32-byte symmetric key that is wiped when dropped.
#[derive(zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
pub struct Key32([u8; 32]);

impl Key32 {
    /// From its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A copy, said aloud: keys are not `Clone` so that each copy is a decision.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0)
    }
}
