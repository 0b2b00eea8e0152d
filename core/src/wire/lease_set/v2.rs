//! LeaseSet2.

use super::header::{self, Header};
use super::{Lease, LeaseSet, MAX_KEYS, MAX_LEASES, STORE_LEASE_SET_2, lease2};
use crate::crypto::sign::SigningKey;
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
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

/// What a LeaseSet2 of ours says.
#[derive(Clone, Copy)]
pub struct Contents<'a> {
    /// Now, to the second.
    pub published: UnixTime,
    /// When all leases are over, to the second.
    pub expires: UnixTime,
    /// Encryption keys with their types, in order of preference.
    pub keys: &'a [(u16, &'a [u8])],
    /// The entrances of our tunnels.
    pub leases: &'a [Lease],
    /// Service records and the like.
    pub options: &'a Mapping,
    /// For those that it is given to, and not for floodfills.
    pub unpublished: bool,
}

/// A LeaseSet2: the destination's encryption keys and leases.
#[derive(Clone)]
pub struct LeaseSet2(Arc<Inner>);

struct Inner {
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
        let header = Header::decode(&raw, r, destination.signing_key())?;
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
        header.finish(r)?;
        Ok(Self(Arc::new(Inner { destination, header, options, keys, leases })))
    }

    /// Makes and signs one. Two sets of one destination must differ in the second of their
    /// publication, or the later one is taken for the earlier.
    pub fn build(
        destination: &Identity,
        contents: &Contents<'_>,
        key: &SigningKey,
    ) -> Result<LeaseSet, BuildError> {
        let Contents { published, expires, keys, leases, options, unpublished } = *contents;
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
        raw.put_u16(if unpublished { header::UNPUBLISHED } else { 0 });
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

    pub(super) fn header(&self) -> &Header {
        &self.0.header
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

    /// True when it came out of, or goes into, an encrypted one: its destination must not be told
    /// to floodfills.
    #[must_use]
    pub fn is_published_encrypted(&self) -> bool {
        self.0.header.flags & header::PUBLISHED_ENCRYPTED != 0
    }
}

impl fmt::Debug for LeaseSet2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseSet2({:?}, {} leases)", self.destination().hash(), self.leases().len())
    }
}
