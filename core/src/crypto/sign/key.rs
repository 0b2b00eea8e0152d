//! Public keys of every type.

use super::{BadSignature, SignatureType, dsa, ecdsa, ed25519};
use alloc::sync::Arc;
use core::fmt;

/// Bytes that cannot be a public key of the type: the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadKey {
    /// The type's number is not known, so neither is the key's length.
    #[error("signature type {0} is unknown")]
    UnknownType(u16),
    /// The key is not as long as its type says.
    #[error("wrong length of a signing key")]
    Length,
}

/// Almost every key has 32 bytes and needs no allocation; the rest are shared.
#[derive(Clone)]
enum Bytes {
    Short([u8; 32]),
    Long(Arc<[u8]>),
}

/// A public key for verifying: its type and its bytes, as certificates carry them.
#[derive(Clone)]
pub struct PublicKey {
    kind: SignatureType,
    bytes: Bytes,
}

impl PublicKey {
    /// From the bytes that an identity or an offline block carries. Only the length is checked: a
    /// key that is no valid point fails when it verifies.
    pub fn new(kind: SignatureType, bytes: &[u8]) -> Result<Self, BadKey> {
        let want = kind.public_key_len().ok_or(BadKey::UnknownType(kind.code()))?;
        if bytes.len() != want {
            return Err(BadKey::Length);
        }
        let bytes = match <[u8; 32]>::try_from(bytes) {
            Ok(short) => Bytes::Short(short),
            Err(_) => Bytes::Long(Arc::from(bytes)),
        };
        Ok(Self { kind, bytes })
    }

    /// An Ed25519 key.
    #[must_use]
    pub const fn ed25519(bytes: [u8; 32]) -> Self {
        Self { kind: SignatureType::Ed25519, bytes: Bytes::Short(bytes) }
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> SignatureType {
        self.kind
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Short(b) => b,
            Bytes::Long(b) => b,
        }
    }

    /// Bytes of a signature by this key.
    #[must_use]
    pub fn signature_len(&self) -> usize {
        // The constructors admit no unknown type.
        self.kind.signature_len().unwrap_or(0)
    }

    /// Verifies `signature` over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        match self.kind {
            // RedDSA verifies by the same equation (specification `encryptedleaseset`; the hash with
            // a prefix that `red25519` describes is used by nobody).
            SignatureType::Ed25519 | SignatureType::RedDsa => {
                ed25519::verify(self.as_bytes(), message, signature)
            }
            SignatureType::DsaSha1 => dsa::verify(self.as_bytes(), message, signature),
            SignatureType::EcdsaP256 => ecdsa::verify_p256(self.as_bytes(), message, signature),
            SignatureType::EcdsaP384 => ecdsa::verify_p384(self.as_bytes(), message, signature),
            SignatureType::EcdsaP521 => ecdsa::verify_p521(self.as_bytes(), message, signature),
            SignatureType::Rsa2048
            | SignatureType::Rsa3072
            | SignatureType::Rsa4096
            | SignatureType::Ed25519ph
            | SignatureType::Gost256
            | SignatureType::Gost512
            | SignatureType::Unknown(_) => Err(BadSignature::Unsupported(self.kind)),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(", self.kind)?;
        for b in self.as_bytes().iter().take(4) {
            write!(f, "{b:02x}")?;
        }
        f.write_str(")")
    }
}
