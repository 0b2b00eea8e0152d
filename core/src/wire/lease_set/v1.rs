//! The first kind of lease set.

use super::{Lease, MAX_LEASES};
use crate::crypto::sign::BadSignature;
use crate::time::UnixTime;
use crate::wire::certificate::ELGAMAL;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// Bytes of its ElGamal key.
const KEY_LEN: usize = 256;

/// A LeaseSet of the first kind.
#[derive(Clone)]
pub struct LeaseSet1(Arc<Inner>);

struct Inner {
    raw: Bytes,
    destination: Identity,
    key: Bytes,
    leases: Vec<Lease>,
}

impl LeaseSet1 {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw = Bytes::copy_from_slice(bytes);
        let r = &mut Reader::new(&raw);
        let destination = Identity::decode_shared(&raw, r)?;
        let key = raw.slice_ref(r.take(KEY_LEN)?);
        // A key to revoke with, which nobody ever used.
        let signing = destination.signing_key();
        r.take(signing.as_bytes().len())?;
        let count = usize::from(r.u8()?);
        if count > MAX_LEASES {
            return Err(DecodeError::TooLarge("lease count"));
        }
        let mut leases = Vec::with_capacity(count);
        for _ in 0..count {
            leases.push(Lease {
                gateway: Hash(r.array()?),
                tunnel: r.u32()?,
                expires: UnixTime::from_millis(r.u64()?),
            });
        }
        r.take(signing.signature_len())?;
        r.clone().finish()?;
        Ok(Self(Arc::new(Inner { destination, key, leases, raw })))
    }

    /// Verifies the destination's signature.
    pub fn verify(&self) -> Result<(), BadSignature> {
        let key = self.0.destination.signing_key();
        let split = self.0.raw.len().saturating_sub(key.signature_len());
        let (signed, signature) =
            self.0.raw.split_at_checked(split).ok_or(BadSignature::Mismatch)?;
        key.verify(signed, signature)
    }

    /// All its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.raw
    }

    /// Whose it is.
    #[must_use]
    pub fn destination(&self) -> &Identity {
        &self.0.destination
    }

    /// Its leases.
    #[must_use]
    pub fn leases(&self) -> &[Lease] {
        &self.0.leases
    }

    /// The end of its earliest lease.
    #[must_use]
    pub fn published(&self) -> UnixTime {
        self.0.leases.iter().map(|l| l.expires).min().unwrap_or_default()
    }

    /// The end of its latest lease.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.0.leases.iter().map(|l| l.expires).max().unwrap_or_default()
    }

    /// Its key, which is always ElGamal.
    #[must_use]
    pub fn encryption_key(&self, kind: u16) -> Option<&[u8]> {
        (kind == ELGAMAL).then_some(&self.0.key)
    }
}

impl fmt::Debug for LeaseSet1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseSet1({:?}, {} leases)", self.destination().hash(), self.leases().len())
    }
}
