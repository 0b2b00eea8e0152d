//! LeaseSet2.

use super::header::{self, Header};
use super::{Lease, LeaseSet, MAX_KEYS, MAX_LEASES, STORE_LEASE_SET_2, lease2};
use crate::crypto::sign::{BadSignature, SigningKey};
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::offline::OfflineSignature;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// Why a lease set cannot be made: our own caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not one key, or more than fit.
    #[error("a lease set needs 1 to {MAX_KEYS} encryption keys")]
    Keys,
    /// More leases than fit.
    #[error("a lease set holds at most {MAX_LEASES} leases")]
    Leases,
    /// It would expire before or more than 65,535 s after its publication.
    #[error("a lease set's expiry is at most 65,535 s after its publication")]
    Expiry,
    /// The signing key is not the destination's.
    #[error("the signing key is not that of the destination")]
    Key,
}

/// A LeaseSet2: the destination's encryption keys and leases.
#[derive(Clone)]
pub struct LeaseSet2(Arc<Inner>);

struct Inner {
    /// With the store type before it, as it is signed.
    raw: Bytes,
    destination: Identity,
    header: Header,
    options: Mapping,
    keys: Vec<(u16, Bytes)>,
    leases: Vec<Lease>,
}

impl LeaseSet2 {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(header::prefixed(STORE_LEASE_SET_2, bytes))
    }

    fn parse(raw: Bytes) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(&raw);
        r.u8()?;
        let destination = Identity::decode_shared(&raw, r)?;
        let header = Header::decode(r, destination.signing_key())?;
        let options = Mapping::decode_shared(&raw, r)?;
        let count = usize::from(r.u8()?);
        if count > MAX_KEYS {
            return Err(DecodeError::TooLarge("encryption key count"));
        }
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = r.u16()?;
            let len = r.u16()?;
            keys.push((kind, raw.slice_ref(r.take(len.into())?)));
        }
        let count = usize::from(r.u8()?);
        if count > MAX_LEASES {
            return Err(DecodeError::TooLarge("lease count"));
        }
        let mut leases = Vec::with_capacity(count);
        for _ in 0..count {
            leases.push(lease2(r)?);
        }
        r.take(header.signer(destination.signing_key()).signature_len())?;
        r.clone().finish()?;
        Ok(Self(Arc::new(Inner { destination, header, options, keys, leases, raw })))
    }

    /// Makes and signs one. Two sets of one destination must differ in the second of their
    /// publication, or the later one is taken for the earlier. Keys go in order of preference.
    pub fn build(
        destination: &Identity,
        published: UnixTime,
        expires: UnixTime,
        keys: &[(u16, &[u8])],
        leases: &[Lease],
        options: &Mapping,
        key: &SigningKey,
    ) -> Result<LeaseSet, BuildError> {
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(BuildError::Keys);
        }
        if leases.len() > MAX_LEASES {
            return Err(BuildError::Leases);
        }
        if *destination.signing_key() != key.public() {
            return Err(BuildError::Key);
        }
        let lifetime = expires.as_secs().checked_sub(published.as_secs());
        let lifetime = lifetime.and_then(|s| u16::try_from(s).ok()).ok_or(BuildError::Expiry)?;
        let mut raw = Vec::with_capacity(1024);
        raw.put_u8(STORE_LEASE_SET_2);
        raw.put(destination.as_bytes());
        raw.put_u32(published.as_secs());
        raw.put_u16(lifetime);
        raw.put_u16(0);
        options.encode(&mut raw);
        raw.put_u8(keys.len() as u8);
        for (kind, bytes) in keys {
            raw.put_u16(*kind);
            raw.put_u16(u16::try_from(bytes.len()).map_err(|_| BuildError::Keys)?);
            raw.put(bytes);
        }
        raw.put_u8(leases.len() as u8);
        for lease in leases {
            raw.put(lease.gateway.as_bytes());
            raw.put_u32(lease.tunnel);
            raw.put_u32(lease.expires.as_secs());
        }
        let signature = key.sign(&raw);
        raw.put(&signature);
        // Only sizes could fail to decode, and those were checked.
        Self::parse(raw.into()).map(LeaseSet::V2).map_err(|_| BuildError::Keys)
    }

    /// Verifies the signature, and that of the transient key when there is one.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.0.header.verify(self.0.destination.signing_key(), &self.0.raw)
    }

    /// All its bytes, without the store type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.raw.split_first().map_or(&[], |(_, bytes)| bytes)
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

    /// Service records and the like.
    #[must_use]
    pub fn options(&self) -> &Mapping {
        &self.0.options
    }

    /// The encryption keys with their types, best first; unknown types are kept.
    pub fn encryption_keys(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.0.keys.iter().map(|(kind, key)| (*kind, key.as_ref()))
    }

    /// The first encryption key of a type.
    #[must_use]
    pub fn encryption_key(&self, kind: u16) -> Option<&[u8]> {
        self.encryption_keys().find(|(k, _)| *k == kind).map(|(_, key)| key)
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

    /// True when it came out of, or goes into, an encrypted one: its destination must not be told
    /// to floodfills.
    #[must_use]
    pub fn is_published_encrypted(&self) -> bool {
        self.0.header.flags & header::PUBLISHED_ENCRYPTED != 0
    }
}

impl PartialEq for LeaseSet2 {
    fn eq(&self, other: &Self) -> bool {
        self.0.raw == other.0.raw
    }
}

impl Eq for LeaseSet2 {}

impl fmt::Debug for LeaseSet2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseSet2({:?}, {} leases)", self.destination().hash(), self.leases().len())
    }
}
