//! KeysAndCert: router identities and destinations (specification `common-structures`).

use super::base32;
use super::base64;
use super::certificate::{Certificate, ELGAMAL, X25519};
use super::codec::{DecodeError, Put, Reader};
use super::hash::Hash;
use crate::crypto::sign::{PublicKey, SignatureType};
use crate::crypto::x25519;
use crate::rng::Rng;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// Bytes before the certificate.
const KEYS_LEN: usize = 384;
/// The field of the signing key, at the end of those.
const SIGNING_FIELD_LEN: usize = 128;
/// Bytes of an identity with Ed25519 and a key certificate.
pub const ED25519_IDENTITY_LEN: usize = KEYS_LEN + 7;
/// The longest identity we take; the largest keys need 775.
pub const MAX_IDENTITY_LEN: usize = 1024;

/// A router identity or a destination: the raw bytes, whose hash is its name, and the keys in it.
///
/// Cheap to clone. Old identities keep whatever padding they were made with.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    raw: Bytes,
    hash: Hash,
    signing: PublicKey,
    encryption: u16,
}

impl Identity {
    /// Decodes one identity and leaves `r` behind it.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut ahead = r.clone();
        let parsed = parse(&mut ahead)?;
        let raw = r.take(r.remaining() - ahead.remaining())?;
        Ok(Self::assemble(Bytes::copy_from_slice(raw), parsed))
    }

    /// As [`decode`](Self::decode), sharing `whole`, the buffer that `r` reads to the end.
    pub(crate) fn decode_shared(whole: &Bytes, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = whole.len().checked_sub(r.remaining()).ok_or(DecodeError::Truncated)?;
        let parsed = parse(r)?;
        let end = whole.len().checked_sub(r.remaining()).ok_or(DecodeError::Truncated)?;
        Ok(Self::assemble(whole.slice(start..end), parsed))
    }

    /// Decodes bytes that hold one identity and nothing else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let identity = Self::decode(&mut r)?;
        r.finish()?;
        Ok(identity)
    }

    /// A router identity: X25519 and `signing`, which must be Ed25519 for other routers to take it.
    #[must_use]
    pub fn new_router(encryption: x25519::PublicKey, signing: &PublicKey, rng: &mut Rng) -> Self {
        // 32 random bytes over and over: as unlike another identity as random padding, and gzip
        // takes them out again (specification `common-structures`, since 0.9.57).
        let pad = rng.bytes::<32>();
        let mut raw = Vec::with_capacity(ED25519_IDENTITY_LEN);
        raw.put(&encryption.0);
        let (head, excess) = signing
            .as_bytes()
            .split_at_checked(SIGNING_FIELD_LEN)
            .unwrap_or((signing.as_bytes(), &[]));
        raw.extend(pad.iter().cycle().take(KEYS_LEN - 32 - head.len()));
        raw.put(head);
        raw.put_u8(5);
        raw.put_u16(4 + excess.len() as u16);
        raw.put_u16(signing.kind().code());
        raw.put_u16(X25519);
        raw.put(excess);
        let parsed = Parsed { signing: signing.clone(), encryption: X25519 };
        Self::assemble(raw.into(), parsed)
    }

    /// A destination. Nobody encrypts to the key inside it, only to those of its lease set, but
    /// tools that read the type expect the key to be there.
    #[must_use]
    pub fn new_destination(
        encryption: x25519::PublicKey,
        signing: &PublicKey,
        rng: &mut Rng,
    ) -> Self {
        Self::new_router(encryption, signing, rng)
    }

    /// All its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.raw
    }

    /// Its name: the SHA-256 of all its bytes.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    /// The key that its signatures verify with.
    #[must_use]
    pub fn signing_key(&self) -> &PublicKey {
        &self.0.signing
    }

    /// The type of its encryption key ([`ELGAMAL`], [`X25519`], ..).
    #[must_use]
    pub fn encryption_type(&self) -> u16 {
        self.0.encryption
    }

    /// Its encryption key, when that is X25519.
    #[must_use]
    pub fn x25519_key(&self) -> Option<x25519::PublicKey> {
        if self.0.encryption != X25519 {
            return None;
        }
        self.as_bytes().first_chunk().map(|key| x25519::PublicKey(*key))
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> Certificate<'_> {
        // Decoded once before, so there is one.
        self.as_bytes()
            .get(KEYS_LEN..)
            .and_then(|cert| Certificate::decode(&mut Reader::new(cert)).ok())
            .unwrap_or(Certificate::Null)
    }

    /// All its bytes in I2P Base64.
    #[must_use]
    pub fn to_base64(&self) -> String {
        base64::encode(self.as_bytes())
    }

    /// Reads [`to_base64`](Self::to_base64).
    pub fn from_base64(text: &str) -> Result<Self, DecodeError> {
        if text.len() > MAX_IDENTITY_LEN * 4 / 3 + 4 {
            return Err(DecodeError::TooLarge("identity"));
        }
        Self::from_bytes(&base64::decode(text).ok_or(DecodeError::Invalid("Base64"))?)
    }

    /// `<52 characters>.b32.i2p`.
    #[must_use]
    pub fn b32_address(&self) -> String {
        base32::host(&self.0.hash)
    }

    fn assemble(raw: Bytes, Parsed { signing, encryption }: Parsed) -> Self {
        let hash = Hash::of(&raw);
        Self(Arc::new(Inner { raw, hash, signing, encryption }))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?}, {:?})", self.0.hash, self.0.signing.kind())
    }
}

struct Parsed {
    signing: PublicKey,
    encryption: u16,
}

fn parse(r: &mut Reader<'_>) -> Result<Parsed, DecodeError> {
    let keys = r.take(KEYS_LEN)?;
    let before = r.remaining();
    let certificate = Certificate::decode(r)?;
    if KEYS_LEN + before - r.remaining() > MAX_IDENTITY_LEN {
        return Err(DecodeError::TooLarge("identity"));
    }
    let (kind, encryption, excess) = match certificate {
        Certificate::Key(key) => (key.signing, key.encryption, key.excess),
        Certificate::Null
        | Certificate::Hashcash(_)
        | Certificate::Hidden
        | Certificate::Signed(_)
        | Certificate::Multiple(_) => (SignatureType::DsaSha1, ELGAMAL, [].as_slice()),
    };
    let len = kind.public_key_len().ok_or(DecodeError::Invalid("signature type"))?;
    // Right-aligned in its field; what has no room there is in the certificate.
    let inside = len.min(SIGNING_FIELD_LEN);
    if excess.len() != len - inside {
        return Err(DecodeError::Invalid("key certificate"));
    }
    let (_, head) = keys.split_at_checked(KEYS_LEN - inside).ok_or(DecodeError::Truncated)?;
    let signing = if excess.is_empty() {
        PublicKey::new(kind, head)
    } else {
        let mut key = head.to_vec();
        key.put(excess);
        PublicKey::new(kind, &key)
    };
    let signing = signing.map_err(|_| DecodeError::Invalid("signing key"))?;
    Ok(Parsed { signing, encryption })
}

#[cfg(test)]
mod tests;
