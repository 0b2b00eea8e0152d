//! MetaLeaseSet: a list of other lease sets.

use super::STORE_META;
use super::header::{self, Header};
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// One lease set that a [`MetaLeaseSet`] points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaEntry {
    /// Where it is stored.
    pub key: Hash,
    /// Its store type, 0 when not told.
    pub kind: u8,
    /// Lower is preferred.
    pub cost: u8,
    /// When the entry is worthless.
    pub expires: UnixTime,
}

/// A list of other lease sets.
#[derive(Clone)]
pub struct MetaLeaseSet(Arc<Inner>);

struct Inner {
    destination: Identity,
    header: Header,
    options: Mapping,
    entries: Vec<MetaEntry>,
    revocations: Vec<Hash>,
}

impl MetaLeaseSet {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw = header::prefixed(STORE_META, bytes);
        let r = &mut Reader::new(&raw);
        r.u8()?;
        let destination = Identity::decode_shared(&raw, r)?;
        let header = Header::decode(&raw, r, destination.signing_key())?;
        let options = Mapping::decode_shared(&raw, r)?;
        let entries = (0..r.u8()?).map(|_| entry(r)).collect::<Result<_, _>>()?;
        let revocations = (0..r.u8()?).map(|_| r.array().map(Hash)).collect::<Result<_, _>>()?;
        header.finish(r)?;
        Ok(Self(Arc::new(Inner { destination, header, options, entries, revocations })))
    }

    pub(super) fn header(&self) -> &Header {
        &self.0.header
    }

    /// Whose it is.
    #[must_use]
    pub fn destination(&self) -> &Identity {
        &self.0.destination
    }

    /// The lease sets it points to.
    #[must_use]
    pub fn entries(&self) -> &[MetaEntry] {
        &self.0.entries
    }

    /// Lease sets that are no longer valid.
    #[must_use]
    pub fn revocations(&self) -> &[Hash] {
        &self.0.revocations
    }

    /// Its options.
    #[must_use]
    pub fn options(&self) -> &Mapping {
        &self.0.options
    }
}

impl fmt::Debug for MetaLeaseSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetaLeaseSet({:?}, {} entries)", self.0.destination.hash(), self.0.entries.len())
    }
}

/// Three bytes of flags, of which the last four bits are the type.
fn entry(r: &mut Reader<'_>) -> Result<MetaEntry, DecodeError> {
    let key = Hash(r.array()?);
    let [_, _, flags] = r.array()?;
    Ok(MetaEntry {
        key,
        kind: flags & 0x0f,
        cost: r.u8()?,
        expires: UnixTime::from_secs(r.u32()?.into()),
    })
}
