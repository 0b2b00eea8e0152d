//! What LeaseSet2, EncryptedLeaseSet and MetaLeaseSet have in common.

use crate::crypto::sign::{BadSignature, PublicKey};
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::offline::OfflineSignature;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// Flag: a transient key signs.
pub(super) const OFFLINE: u16 = 1;
/// Flag: not for floodfills.
pub(super) const UNPUBLISHED: u16 = 2;
/// Flag: published only in encrypted form.
pub(super) const PUBLISHED_ENCRYPTED: u16 = 4;

/// Dates, flags and the offline block, with the bytes of the whole.
pub(super) struct Header {
    /// With the store type before it, as it is signed.
    raw: Bytes,
    long_term: PublicKey,
    pub(super) published: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) flags: u16,
    pub(super) offline: Option<OfflineSignature>,
}

impl Header {
    /// `long_term` is the key that signs, or the one that vouches for the transient key.
    pub(super) fn decode(
        raw: &Bytes,
        r: &mut Reader<'_>,
        long_term: &PublicKey,
    ) -> Result<Self, DecodeError> {
        let published = UnixTime::from_secs(r.u32()?.into());
        let expires = published + Duration::from_secs(r.u16()?.into());
        let flags = r.u16()?;
        let offline = if flags & OFFLINE == 0 {
            None
        } else {
            Some(OfflineSignature::decode(r, long_term.kind())?)
        };
        let (raw, long_term) = (raw.clone(), long_term.clone());
        Ok(Self { raw, long_term, published, expires, flags, offline })
    }

    /// Reads the signature, after which nothing may follow.
    pub(super) fn finish(&self, r: &mut Reader<'_>) -> Result<(), DecodeError> {
        r.take(self.signer().signature_len())?;
        r.clone().finish()
    }

    /// All bytes, without the store type.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.raw.split_first().map_or(&[], |(_, bytes)| bytes)
    }

    /// Verifies the signature, and that of the transient key when there is one.
    pub(super) fn verify(&self) -> Result<(), BadSignature> {
        if let Some(offline) = &self.offline {
            offline.verify(&self.long_term)?;
        }
        let key = self.signer();
        let split = self.raw.len().saturating_sub(key.signature_len());
        let (signed, signature) = self.raw.split_at_checked(split).ok_or(BadSignature::Mismatch)?;
        key.verify(signed, signature)
    }

    /// The key that signs the whole.
    fn signer(&self) -> &PublicKey {
        self.offline.as_ref().map_or(&self.long_term, |o| &o.key)
    }
}

/// The store type and the structure in one buffer, as the signature covers them.
pub(super) fn prefixed(store_type: u8, bytes: &[u8]) -> Bytes {
    let mut raw = Vec::with_capacity(bytes.len() + 1);
    raw.push(store_type);
    raw.extend_from_slice(bytes);
    raw.into()
}
