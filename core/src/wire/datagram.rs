//! Repliable datagrams (specification `datagrams`). Raw ones have no format.
//!
//! ```text
//! 1: from signature payload
//! 2: from flags(2) [options] [offline signature] payload signature
//! 3: hash of from(32) flags(2) [options] payload
//! ```

use super::codec::{DecodeError, Put, Reader};
use super::hash::Hash;
use super::identity::Identity;
use super::mapping::Mapping;
use super::offline::OfflineSignature;
use crate::crypto::sign::PublicKey;
use alloc::vec::Vec;

/// The low bits of the flags, which repeat the kind.
const VERSION_MASK: u16 = 0x0f;
/// The version of the second kind.
const VERSION_2: u16 = 2;
/// The version of the third kind.
const VERSION_3: u16 = 3;
/// A mapping follows the flags.
const OPTIONS: u16 = 0x10;
/// An offline signature follows the options.
const OFFLINE: u16 = 0x20;

/// The first kind; the signature covers the payload alone.
#[derive(Clone, Debug)]
pub struct Datagram1<'a> {
    /// Who signed it.
    pub from: Identity,
    /// By `from`, over the payload (over its SHA-256 if the key is DSA), not verified.
    pub signature: &'a [u8],
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Datagram1<'a> {
    /// Decodes a whole datagram.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let from = Identity::decode(&mut r)?;
        let signature = r.take(signature_len(from.signing_key())?)?;
        Ok(Self { from, signature, payload: r.rest() })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(self.from.as_bytes());
        out.put(self.signature);
        out.put(self.payload);
    }
}

/// The second kind; the signature covers the recipient's hash and everything after `from`.
#[derive(Clone, Debug)]
pub struct Datagram2<'a> {
    /// Who signed it, or whose transient key did.
    pub from: Identity,
    /// For applications.
    pub options: Mapping,
    /// The key that signs in place of that of `from`.
    pub offline: Option<OfflineSignature>,
    /// The data.
    pub payload: &'a [u8],
    /// Over the recipient's hash and `signed`, not verified.
    pub signature: &'a [u8],
    /// The bytes that are signed after the recipient's hash.
    pub signed: &'a [u8],
}

impl<'a> Datagram2<'a> {
    /// Decodes a whole datagram.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let from = Identity::decode(&mut r)?;
        let after_from = r.clone().rest();
        let flags = version(&mut r, VERSION_2)?;
        let options = options(&mut r, flags)?;
        let offline = (flags & OFFLINE != 0)
            .then(|| OfflineSignature::decode(&mut r, from.signing_key().kind()))
            .transpose()?;
        let key = offline.as_ref().map_or(from.signing_key(), |o| &o.key);
        let signature_len = signature_len(key)?;
        let payload_len = r.remaining().checked_sub(signature_len).ok_or(DecodeError::Truncated)?;
        let payload = r.take(payload_len)?;
        let signature = r.rest();
        let (signed, _) = after_from
            .split_at_checked(after_from.len() - signature_len)
            .ok_or(DecodeError::Truncated)?;
        Ok(Self { from, options, offline, payload, signature, signed })
    }

    /// Appends what is signed after the recipient's hash.
    pub fn encode_signed(
        options: &Mapping,
        offline: Option<&OfflineSignature>,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let offline_flag = if offline.is_some() { OFFLINE } else { 0 };
        put_flags(VERSION_2 | offline_flag, options, out);
        if let Some(offline) = offline {
            offline.encode(out);
        }
        out.put(payload);
    }
}

/// The third kind, which nobody signed: `from` is a claim.
#[derive(Clone, Debug)]
pub struct Datagram3<'a> {
    /// Who says to have sent it.
    pub from: Hash,
    /// For applications.
    pub options: Mapping,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Datagram3<'a> {
    /// Decodes a whole datagram.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let from = Hash(r.array()?);
        let flags = version(&mut r, VERSION_3)?;
        let options = options(&mut r, flags)?;
        Ok(Self { from, options, payload: r.rest() })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(self.from.as_bytes());
        put_flags(VERSION_3, &self.options, out);
        out.put(self.payload);
    }
}

fn signature_len(key: &PublicKey) -> Result<usize, DecodeError> {
    key.kind().signature_len().ok_or(DecodeError::Invalid("signature type"))
}

/// The flags, if they name version `want`; unused bits are for later and ignored.
fn version(r: &mut Reader<'_>, want: u16) -> Result<u16, DecodeError> {
    let flags = r.u16()?;
    if flags & VERSION_MASK == want { Ok(flags) } else { Err(DecodeError::Invalid("version")) }
}

fn options(r: &mut Reader<'_>, flags: u16) -> Result<Mapping, DecodeError> {
    if flags & OPTIONS == 0 { Ok(Mapping::new()) } else { Mapping::decode(r) }
}

fn put_flags(flags: u16, options: &Mapping, out: &mut Vec<u8>) {
    if options.is_empty() {
        out.put_u16(flags);
    } else {
        out.put_u16(flags | OPTIONS);
        options.encode(out);
    }
}
