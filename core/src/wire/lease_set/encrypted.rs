//! The outside of an EncryptedLeaseSet (specification `encryptedleaseset`).

use super::STORE_ENCRYPTED;
use super::header::{self, Header};
use crate::crypto::hash::sha256_concat;
use crate::crypto::sign::{PublicKey, SignatureType};
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::hash::Hash;
use alloc::sync::Arc;
use bytes::Bytes;
use core::fmt;

/// A blinded and encrypted lease set.
#[derive(Clone)]
pub struct EncryptedLeaseSet(Arc<Inner>);

struct Inner {
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
        let header = Header::decode(&raw, r, &blinded)?;
        let len = r.u16()?;
        let data = raw.slice_ref(r.take(len.into())?);
        header.finish(r)?;
        Ok(Self(Arc::new(Inner { blinded, key, header, data })))
    }

    pub(super) fn header(&self) -> &Header {
        &self.0.header
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
}

impl fmt::Debug for EncryptedLeaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedLeaseSet({:?})", self.0.key)
    }
}
