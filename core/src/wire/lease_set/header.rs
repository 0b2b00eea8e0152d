//! What LeaseSet2, EncryptedLeaseSet and MetaLeaseSet have in common.

use crate::crypto::sign::{BadSignature, PublicKey};
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::offline::OfflineSignature;
use core::time::Duration;

/// Flag: a transient key signs.
pub(super) const OFFLINE: u16 = 1;
/// Flag: not for floodfills.
pub(super) const UNPUBLISHED: u16 = 2;
/// Flag: published only in encrypted form.
pub(super) const PUBLISHED_ENCRYPTED: u16 = 4;

/// Dates, flags and the offline block.
pub(super) struct Header {
    pub(super) published: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) flags: u16,
    pub(super) offline: Option<OfflineSignature>,
}

impl Header {
    /// `signer` is the long-term key.
    pub(super) fn decode(r: &mut Reader<'_>, signer: &PublicKey) -> Result<Self, DecodeError> {
        let published = UnixTime::from_secs(r.u32()?.into());
        let expires = published + Duration::from_secs(r.u16()?.into());
        let flags = r.u16()?;
        let offline = if flags & OFFLINE == 0 {
            None
        } else {
            Some(OfflineSignature::decode(r, signer.kind())?)
        };
        Ok(Self { published, expires, flags, offline })
    }

    /// The key that signs the whole.
    pub(super) fn signer<'a>(&'a self, long_term: &'a PublicKey) -> &'a PublicKey {
        self.offline.as_ref().map_or(long_term, |o| &o.key)
    }

    /// Verifies `prefixed`: the store type, the structure and its signature.
    pub(super) fn verify(
        &self,
        long_term: &PublicKey,
        prefixed: &[u8],
    ) -> Result<(), BadSignature> {
        if let Some(offline) = &self.offline {
            offline.verify(long_term)?;
        }
        let key = self.signer(long_term);
        let split = prefixed.len().saturating_sub(key.signature_len());
        let (signed, signature) = prefixed.split_at_checked(split).ok_or(BadSignature::Mismatch)?;
        key.verify(signed, signature)
    }
}

/// The store type and the structure in one buffer, as the signature covers them.
pub(super) fn prefixed(store_type: u8, bytes: &[u8]) -> bytes::Bytes {
    let mut raw = alloc::vec::Vec::with_capacity(bytes.len() + 1);
    raw.push(store_type);
    raw.extend_from_slice(bytes);
    raw.into()
}
