//! RouterInfo and router addresses (specification `common-structures`).

mod address;
mod caps;
mod public;
mod reach;
mod ssu2;

pub use address::{Ntcp2Address, RouterAddress, Style};
pub use caps::{Bandwidth, Caps, Congestion};
pub use public::is_public;
pub use reach::{Families, Reach};
pub use ssu2::{Introducer, MAX_INTRODUCERS, Ssu2Address, Ssu2Caps};

use super::codec::{DecodeError, Put, Reader};
use super::hash::Hash;
use super::identity::Identity;
use super::mapping::Mapping;
use super::ssu2::Family;
use crate::crypto::sign::{BadSignature, SigningKey};
use crate::time::UnixTime;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// The largest RouterInfo we take. One implementation takes 4,096 bytes, another 3,072; ours stay
/// far below both.
pub const MAX_ROUTER_INFO_LEN: usize = 4096;
/// The most addresses we take, as other implementations do.
pub const MAX_ADDRESSES: usize = 16;

/// What a router publishes about itself.
///
/// Keeps the bytes it was decoded from, since those are what is signed, passed on and stored; the
/// parts share them. Cheap to clone.
#[derive(Clone)]
pub struct RouterInfo(Arc<Inner>);

struct Inner {
    raw: Bytes,
    identity: Identity,
    published: UnixTime,
    addresses: Vec<RouterAddress>,
    options: Mapping,
    /// The signature was found good once. The bytes never change, so it stays so.
    verified: AtomicBool,
}

impl RouterInfo {
    /// Decodes the structure; the signature is for [`verify`](Self::verify).
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ROUTER_INFO_LEN {
            return Err(DecodeError::TooLarge("RouterInfo"));
        }
        Self::parse(Bytes::copy_from_slice(bytes))
    }

    /// As [`decode`](Self::decode), of bytes that can be kept without copying.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ROUTER_INFO_LEN {
            return Err(DecodeError::TooLarge("RouterInfo"));
        }
        Self::parse(bytes.into())
    }

    fn parse(raw: Bytes) -> Result<Self, DecodeError> {
        let r = &mut Reader::new(&raw);
        let identity = Identity::decode_shared(&raw, r)?;
        let published = UnixTime::from_millis(r.u64()?);
        let count = usize::from(r.u8()?);
        if count > MAX_ADDRESSES {
            return Err(DecodeError::TooLarge("address count"));
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            addresses.push(RouterAddress::decode_shared(&raw, r)?);
        }
        // Peers: never used, always zero in what is published today.
        let peers = usize::from(r.u8()?);
        r.take(peers * 32)?;
        let options = Mapping::decode_shared(&raw, r)?;
        r.take(identity.signing_key().signature_len())?;
        r.clone().finish()?;
        Ok(Self(Arc::new(Inner {
            identity,
            published,
            addresses,
            options,
            raw,
            verified: AtomicBool::new(false),
        })))
    }

    /// Makes and signs one. Options are written sorted, the only form that every implementation
    /// verifies.
    #[must_use]
    pub fn build(
        identity: &Identity,
        published: UnixTime,
        addresses: &[RouterAddress],
        options: &Mapping,
        key: &SigningKey,
    ) -> Self {
        let mut raw = Vec::with_capacity(1024);
        raw.put(identity.as_bytes());
        raw.put_u64(published.as_millis());
        let addresses = addresses.get(..MAX_ADDRESSES).unwrap_or(addresses);
        raw.put_u8(addresses.len() as u8);
        for address in addresses {
            address.encode(&mut raw);
        }
        raw.put_u8(0);
        options.encode(&mut raw);
        let signature = key.sign(&raw);
        raw.put(&signature);
        Self(Arc::new(Inner {
            raw: raw.into(),
            identity: identity.clone(),
            published,
            addresses: addresses.to_vec(),
            options: options.clone(),
            verified: AtomicBool::new(false),
        }))
    }

    /// Verifies the signature over the bytes as they were received. That it is good is remembered, also by
    /// the clones: what a handshake verified costs nothing more where it is kept.
    pub fn verify(&self) -> Result<(), BadSignature> {
        if self.0.verified.load(Ordering::Relaxed) {
            return Ok(());
        }
        let key = self.0.identity.signing_key();
        let split = self.0.raw.len().saturating_sub(key.signature_len());
        let (signed, signature) =
            self.0.raw.split_at_checked(split).ok_or(BadSignature::Mismatch)?;
        key.verify(signed, signature)?;
        self.0.verified.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// All its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.raw
    }

    /// The router's name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.0.identity.hash()
    }

    /// Whose it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// When it was made.
    #[must_use]
    pub fn published(&self) -> UnixTime {
        self.0.published
    }

    /// How to reach the router.
    #[must_use]
    pub fn addresses(&self) -> &[RouterAddress] {
        &self.0.addresses
    }

    /// Everything else it says of itself.
    #[must_use]
    pub fn options(&self) -> &Mapping {
        &self.0.options
    }

    /// Its capabilities; without any when it tells none.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.0.options.get("caps").map(Caps::parse).unwrap_or_default()
    }

    /// The network it belongs to.
    #[must_use]
    pub fn net_id(&self) -> Option<u8> {
        self.0.options.get("netId")?.parse().ok()
    }

    /// The I2P version whose features it has.
    #[must_use]
    pub fn version(&self) -> Option<(u8, u8, u8)> {
        let mut parts = self.0.options.get("router.version")?.split('.');
        let mut part = || parts.next()?.parse().ok();
        let version = (part()?, part()?, part()?);
        // A fourth part would be a private build number; it says nothing about features.
        Some(version)
    }

    /// The usable NTCP2 addresses, in the order they are listed.
    pub fn ntcp2_addresses(&self) -> impl Iterator<Item = Ntcp2Address> {
        self.0.addresses.iter().filter_map(RouterAddress::ntcp2)
    }

    /// The NTCP2 address to use: one that can be connected to before one that only tells the
    /// static key, IPv4 before IPv6, then the first listed.
    #[must_use]
    pub fn ntcp2(&self) -> Option<Ntcp2Address> {
        self.ntcp2_addresses().min_by_key(|a| match a.host {
            Some(host) if host.is_ipv4() => 0,
            Some(_) => 1,
            None => 2,
        })
    }

    /// The usable SSU2 addresses, in the order they are listed.
    pub fn ssu2_addresses(&self) -> impl Iterator<Item = Ssu2Address> {
        self.0.addresses.iter().filter_map(RouterAddress::ssu2)
    }

    /// The SSU2 address to use: one that can be connected to before one with introducers before one that only
    /// tells the keys, IPv4 before IPv6, then the first listed.
    #[must_use]
    pub fn ssu2(&self) -> Option<Ssu2Address> {
        self.ssu2_addresses().min_by_key(|a| match a.host {
            Some(host) if host.is_ipv4() => 0,
            Some(_) => 1,
            None if a.reaches(Family::V4) => 2,
            None if a.reaches(Family::V6) => 3,
            None => 4,
        })
    }
}

impl PartialEq for RouterInfo {
    fn eq(&self, other: &Self) -> bool {
        self.0.raw == other.0.raw
    }
}

impl Eq for RouterInfo {}

impl fmt::Debug for RouterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RouterInfo({:?}, {})", self.hash(), self.published().as_millis())
    }
}

#[cfg(test)]
mod tests;
