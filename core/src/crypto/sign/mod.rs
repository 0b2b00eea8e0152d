//! Signatures: every type that a peer may carry can be verified; ours are Ed25519.
//!
//! Types and lengths: specification `common-structures`, Key Certificates.

mod dsa;
mod ecdsa;
mod ed25519;
mod key;

pub use ed25519::SigningKey;
pub use key::{BadKey, PublicKey};

/// The kind of a signing key, as certificates number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureType {
    /// DSA with SHA-1 over the fixed 1024-bit group; the type of identities without key certificate.
    DsaSha1,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521,
    /// RSA, 2048 bits, SHA-256 (signed files only).
    Rsa2048,
    /// RSA, 3072 bits, SHA-384 (signed files only).
    Rsa3072,
    /// RSA, 4096 bits, SHA-512 (signed files only).
    Rsa4096,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// Ed25519ph (signed files only).
    Ed25519ph,
    /// GOST R 34.10, 256 bits; one implementation has it.
    Gost256,
    /// GOST R 34.10, 512 bits; one implementation has it.
    Gost512,
    /// RedDSA on Ed25519 (specification `encryptedleaseset`).
    RedDsa,
    /// A number we do not know.
    Unknown(u16),
}

impl SignatureType {
    /// From the number in a certificate.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::DsaSha1,
            1 => Self::EcdsaP256,
            2 => Self::EcdsaP384,
            3 => Self::EcdsaP521,
            4 => Self::Rsa2048,
            5 => Self::Rsa3072,
            6 => Self::Rsa4096,
            7 => Self::Ed25519,
            8 => Self::Ed25519ph,
            9 => Self::Gost256,
            10 => Self::Gost512,
            11 => Self::RedDsa,
            other => Self::Unknown(other),
        }
    }

    /// The number in a certificate.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::DsaSha1 => 0,
            Self::EcdsaP256 => 1,
            Self::EcdsaP384 => 2,
            Self::EcdsaP521 => 3,
            Self::Rsa2048 => 4,
            Self::Rsa3072 => 5,
            Self::Rsa4096 => 6,
            Self::Ed25519 => 7,
            Self::Ed25519ph => 8,
            Self::Gost256 => 9,
            Self::Gost512 => 10,
            Self::RedDsa => 11,
            Self::Unknown(code) => code,
        }
    }

    /// Bytes of a public key; `None` when the type is unknown.
    #[must_use]
    pub const fn public_key_len(self) -> Option<usize> {
        match self {
            Self::DsaSha1 | Self::Gost512 => Some(128),
            Self::EcdsaP256 | Self::Gost256 => Some(64),
            Self::EcdsaP384 => Some(96),
            Self::EcdsaP521 => Some(132),
            Self::Rsa2048 => Some(256),
            Self::Rsa3072 => Some(384),
            Self::Rsa4096 => Some(512),
            Self::Ed25519 | Self::Ed25519ph | Self::RedDsa => Some(32),
            Self::Unknown(_) => None,
        }
    }

    /// Bytes of a signature; `None` when the type is unknown.
    #[must_use]
    pub const fn signature_len(self) -> Option<usize> {
        match self {
            Self::DsaSha1 => Some(40),
            Self::EcdsaP256 | Self::Gost256 | Self::Ed25519 | Self::Ed25519ph | Self::RedDsa => {
                Some(64)
            }
            Self::EcdsaP384 => Some(96),
            Self::Gost512 => Some(128),
            Self::EcdsaP521 => Some(132),
            Self::Rsa2048 => Some(256),
            Self::Rsa3072 => Some(384),
            Self::Rsa4096 => Some(512),
            Self::Unknown(_) => None,
        }
    }
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSignature {
    /// The signer's fault: it does not verify under this key.
    #[error("signature does not verify")]
    Mismatch,
    /// Nobody's fault: we cannot verify this type.
    #[error("signature type {} cannot be verified", .0.code())]
    Unsupported(SignatureType),
}

#[cfg(test)]
#[cfg(not(feature = "stub-crypto"))]
mod tests;
