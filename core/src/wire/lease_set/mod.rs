//! Lease sets of all kinds (specification `common-structures`).

mod encrypted;
mod header;
mod meta;
mod v1;
mod v2;

pub use encrypted::EncryptedLeaseSet;
pub use meta::{MetaEntry, MetaLeaseSet};
pub use v1::LeaseSet1;
pub use v2::{BuildError, Contents, LeaseSet2};

use super::codec::{DecodeError, Reader};
use super::hash::Hash;
use super::identity::Identity;
use super::offline::OfflineSignature;
use crate::crypto::sign::BadSignature;
use crate::time::UnixTime;
use header::Header;

/// Type of a LeaseSet in a DatabaseStore.
pub const STORE_LEASE_SET: u8 = 1;
/// Type of a LeaseSet2 in a DatabaseStore.
pub const STORE_LEASE_SET_2: u8 = 3;
/// Type of an EncryptedLeaseSet in a DatabaseStore.
pub const STORE_ENCRYPTED: u8 = 5;
/// Type of a MetaLeaseSet in a DatabaseStore.
pub const STORE_META: u8 = 7;
/// The largest lease set we take.
pub const MAX_LEASE_SET_LEN: usize = 8192;
/// The most leases of one set.
pub const MAX_LEASES: usize = 16;
/// The most encryption keys of one set that we take.
pub const MAX_KEYS: usize = 16;

/// A tunnel's entrance, for some minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The router that takes messages for the tunnel.
    pub gateway: Hash,
    /// The tunnel's id there.
    pub tunnel: u32,
    /// When it ends.
    pub expires: UnixTime,
}

/// A lease set of any kind. Cheap to clone; keeps the bytes it was decoded from.
#[derive(Clone, Debug)]
pub enum LeaseSet {
    /// The first kind: one ElGamal key.
    V1(LeaseSet1),
    /// LeaseSet2.
    V2(LeaseSet2),
    /// Blinded and encrypted: only its outside is visible.
    Encrypted(EncryptedLeaseSet),
    /// Points to other lease sets.
    Meta(MetaLeaseSet),
}

impl LeaseSet {
    /// Decodes the structure of the kind that a DatabaseStore names; the signature is for
    /// [`verify`](Self::verify).
    pub fn decode(store_type: u8, bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_LEASE_SET_LEN {
            return Err(DecodeError::TooLarge("lease set"));
        }
        match store_type {
            STORE_LEASE_SET => LeaseSet1::decode(bytes).map(Self::V1),
            STORE_LEASE_SET_2 => LeaseSet2::decode(bytes).map(Self::V2),
            STORE_ENCRYPTED => EncryptedLeaseSet::decode(bytes).map(Self::Encrypted),
            STORE_META => MetaLeaseSet::decode(bytes).map(Self::Meta),
            _ => Err(DecodeError::Invalid("store type")),
        }
    }

    /// Verifies the signature, and that of the transient key when there is one. Expiries are for
    /// the caller, who has a clock.
    pub fn verify(&self) -> Result<(), BadSignature> {
        match self.shared() {
            Shared::First(set) => set.verify(),
            Shared::Header(header) => header.verify(),
        }
    }

    /// The type that a DatabaseStore names it by.
    #[must_use]
    pub const fn store_type(&self) -> u8 {
        match self {
            Self::V1(_) => STORE_LEASE_SET,
            Self::V2(_) => STORE_LEASE_SET_2,
            Self::Encrypted(_) => STORE_ENCRYPTED,
            Self::Meta(_) => STORE_META,
        }
    }

    /// All its bytes, without the store type.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.shared() {
            Shared::First(set) => set.as_bytes(),
            Shared::Header(header) => header.as_bytes(),
        }
    }

    /// The key it is stored under: the destination's hash, or that of the blinded key.
    #[must_use]
    pub fn key(&self) -> Hash {
        match self {
            Self::V1(set) => set.destination().hash(),
            Self::V2(set) => set.destination().hash(),
            Self::Encrypted(set) => set.key(),
            Self::Meta(set) => set.destination().hash(),
        }
    }

    /// Whose it is; an encrypted one does not tell.
    #[must_use]
    pub fn destination(&self) -> Option<&Identity> {
        match self {
            Self::V1(set) => Some(set.destination()),
            Self::V2(set) => Some(set.destination()),
            Self::Encrypted(_) => None,
            Self::Meta(set) => Some(set.destination()),
        }
    }

    /// The visible leases.
    #[must_use]
    pub fn leases(&self) -> &[Lease] {
        match self {
            Self::V1(set) => set.leases(),
            Self::V2(set) => set.leases(),
            Self::Encrypted(_) | Self::Meta(_) => &[],
        }
    }

    /// When it was made: what is newer replaces what is older. The first kind does not tell; for
    /// it this is the end of its earliest lease, as other routers count.
    #[must_use]
    pub fn published(&self) -> UnixTime {
        match self.shared() {
            Shared::First(set) => set.published(),
            Shared::Header(header) => header.published,
        }
    }

    /// When it is worthless.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        match self.shared() {
            Shared::First(set) => set.expires(),
            Shared::Header(header) => header.expires,
        }
    }

    /// The encryption key of a type.
    #[must_use]
    pub fn encryption_key(&self, kind: u16) -> Option<&[u8]> {
        match self {
            Self::V1(set) => set.encryption_key(kind),
            Self::V2(set) => set.encryption_key(kind),
            Self::Encrypted(_) | Self::Meta(_) => None,
        }
    }

    /// The transient key's block, when it is signed by one.
    #[must_use]
    pub fn offline(&self) -> Option<&OfflineSignature> {
        match self.shared() {
            Shared::First(_) => None,
            Shared::Header(header) => header.offline.as_ref(),
        }
    }

    /// True when its owner does not want it stored at floodfills.
    #[must_use]
    pub fn is_unpublished(&self) -> bool {
        match self.shared() {
            Shared::First(_) => false,
            Shared::Header(header) => header.flags & header::UNPUBLISHED != 0,
        }
    }

    /// What the kinds after the first have in common.
    fn shared(&self) -> Shared<'_> {
        match self {
            Self::V1(set) => Shared::First(set),
            Self::V2(set) => Shared::Header(set.header()),
            Self::Encrypted(set) => Shared::Header(set.header()),
            Self::Meta(set) => Shared::Header(set.header()),
        }
    }
}

impl PartialEq for LeaseSet {
    fn eq(&self, other: &Self) -> bool {
        self.store_type() == other.store_type() && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for LeaseSet {}

/// Where a lease set keeps its dates and bytes.
enum Shared<'a> {
    First(&'a LeaseSet1),
    Header(&'a Header),
}

/// Reads `gateway, tunnel, end` with the end in seconds.
fn lease2(r: &mut Reader<'_>) -> Result<Lease, DecodeError> {
    Ok(Lease {
        gateway: Hash(r.array()?),
        tunnel: r.u32()?,
        expires: UnixTime::from_secs(r.u32()?.into()),
    })
}

#[cfg(test)]
mod tests;
