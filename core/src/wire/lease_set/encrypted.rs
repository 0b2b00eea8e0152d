//! The outside of an EncryptedLeaseSet (specification `encryptedleaseset`).

use super::STORE_ENCRYPTED;
use super::header::{self, Header};
use crate::crypto::hash::sha256_concat;
use crate::crypto::sign::{BadSignature, PublicKey, SignatureType};
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::hash::Hash;
use crate::wire::offline::OfflineSignature;
use alloc::sync::Arc;
use bytes::Bytes;
use core::fmt;

/// A blinded and encrypted lease set.
#[derive(Clone)]
pub struct EncryptedLeaseSet(Arc<Inner>);

struct Inner {
    /// With the store type before it, as it is signed.
    raw: Bytes,
    blinded: PublicKey,
    key: Hash,
    header: Header,
    data: Bytes,
}

impl EncryptedLeaseSet {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw = header::prefixed(STORE_ENCRYPTED, bytes);
        let r = &mut Reader::new(&raw);
        r.u8()?;
        let kind = r.u16()?;
        let signing = SignatureType::from_code(kind);
        let len = signing.public_key_len().ok_or(DecodeError::Invalid("signature type"))?;
        let blinded = r.take(len)?;
        let key = Hash(sha256_concat(&[&kind.to_be_bytes(), blinded]));
        let blinded =
            PublicKey::new(signing, blinded).map_err(|_| DecodeError::Invalid("blinded key"))?;
        let header = Header::decode(r, &blinded)?;
        let len = r.u16()?;
        let data = raw.slice_ref(r.take(len.into())?);
        r.take(header.signer(&blinded).signature_len())?;
        r.clone().finish()?;
        Ok(Self(Arc::new(Inner { blinded, key, header, data, raw })))
    }

    /// Verifies the outer signature by the blinded key, and that of the transient key when there
    /// is one.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.0.header.verify(&self.0.blinded, &self.0.raw)
    }

    /// All its bytes, without the store type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.raw.split_first().map_or(&[], |(_, bytes)| bytes)
    }

    /// The key it is stored under: SHA-256 of the blinded key's type and bytes.
    #[must_use]
    pub fn key(&self) -> Hash {
        self.0.key
    }

    /// The blinded key of the day.
    #[must_use]
    pub fn blinded_key(&self) -> &PublicKey {
        &self.0.blinded
    }

    /// The encrypted content.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.0.data
    }

    /// When it was made, to the second.
    #[must_use]
    pub fn published(&self) -> UnixTime {
        self.0.header.published
    }

    /// When it is worthless, to the second.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.0.header.expires
    }

    /// The transient key's block, when it is signed by one.
    #[must_use]
    pub fn offline(&self) -> Option<&OfflineSignature> {
        self.0.header.offline.as_ref()
    }

    /// True when its owner does not want it stored at floodfills.
    #[must_use]
    pub fn is_unpublished(&self) -> bool {
        self.0.header.flags & header::UNPUBLISHED != 0
    }
}

impl PartialEq for EncryptedLeaseSet {
    fn eq(&self, other: &Self) -> bool {
        self.0.raw == other.0.raw
    }
}

impl Eq for EncryptedLeaseSet {}

impl fmt::Debug for EncryptedLeaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedLeaseSet({:?})", self.0.key)
    }
}
