//! DatabaseLookup and DatabaseSearchReply.

use crate::crypto::Key32;
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::hash::Hash;
use alloc::vec::Vec;

/// The most routers a lookup may exclude.
pub const MAX_EXCLUDED: usize = 512;

/// What a lookup asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupType {
    /// Anything; deprecated, and not answered by all.
    Any,
    /// A lease set of any kind.
    LeaseSet,
    /// A RouterInfo.
    RouterInfo,
    /// Routers near the key that are not floodfills.
    Exploration,
}

/// How the answer shall be encrypted.
pub enum ReplyEncryption {
    /// Not at all.
    None,
    /// As an existing-session message with this key and tag, once.
    Ecies {
        /// The key.
        key: Key32,
        /// The tag.
        tag: [u8; 8],
    },
    /// With AES, as requesters of the ElGamal time want it.
    ElGamal {
        /// The key.
        key: Key32,
        /// 1 to 32 tags.
        tags: Vec<[u8; 32]>,
    },
}

/// A question to the network database.
pub struct DatabaseLookup {
    /// What is looked for: a hash, not the routing key.
    pub key: Hash,
    /// Where the answer goes: a router, or the gateway of `reply_tunnel`.
    pub from: Hash,
    /// The tunnel at `from`, when the answer goes to one.
    pub reply_tunnel: Option<u32>,
    /// What is asked for.
    pub kind: LookupType,
    /// Routers not to be named in the answer.
    pub exclude: Vec<Hash>,
    /// How the answer shall be encrypted.
    pub encryption: ReplyEncryption,
}

const TO_TUNNEL: u8 = 1;
const ENCRYPTED: u8 = 2;
const ECIES: u8 = 16;

impl DatabaseLookup {
    /// Decodes a body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let key = Hash(r.array()?);
        let from = Hash(r.array()?);
        let flags = r.u8()?;
        let reply_tunnel = if flags & TO_TUNNEL == 0 { None } else { Some(r.u32()?) };
        let kind = match (flags >> 2) & 3 {
            0 => LookupType::Any,
            1 => LookupType::LeaseSet,
            2 => LookupType::RouterInfo,
            _ => LookupType::Exploration,
        };
        let count = usize::from(r.u16()?);
        if count > MAX_EXCLUDED {
            return Err(DecodeError::TooLarge("excluded count"));
        }
        let (excluded, []) = r.take(count * 32)?.as_chunks::<32>() else {
            return Err(DecodeError::Truncated);
        };
        let exclude = excluded.iter().copied().map(Hash).collect();
        // Both bits together are not defined yet; the one in use decides.
        let encryption = if flags & ECIES != 0 {
            let key = Key32::new(r.array()?);
            if r.u8()? != 1 {
                return Err(DecodeError::Invalid("reply tag count"));
            }
            ReplyEncryption::Ecies { key, tag: r.array()? }
        } else if flags & ENCRYPTED != 0 {
            let key = Key32::new(r.array()?);
            let count = r.u8()?;
            if !(1..=32).contains(&count) {
                return Err(DecodeError::Invalid("reply tag count"));
            }
            let tags = (0..count).map(|_| r.array()).collect::<Result<_, _>>()?;
            ReplyEncryption::ElGamal { key, tags }
        } else {
            ReplyEncryption::None
        };
        r.finish()?;
        Ok(Self { key, from, reply_tunnel, kind, exclude, encryption })
    }

    /// Appends the body; only the first [`MAX_EXCLUDED`] hashes and 32 tags are written.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(self.key.as_bytes());
        out.put(self.from.as_bytes());
        let kind = match self.kind {
            LookupType::Any => 0,
            LookupType::LeaseSet => 1,
            LookupType::RouterInfo => 2,
            LookupType::Exploration => 3,
        };
        let encryption = match self.encryption {
            ReplyEncryption::None => 0,
            ReplyEncryption::Ecies { .. } => ECIES,
            ReplyEncryption::ElGamal { .. } => ENCRYPTED,
        };
        let to_tunnel = if self.reply_tunnel.is_some() { TO_TUNNEL } else { 0 };
        out.put_u8(kind << 2 | encryption | to_tunnel);
        if let Some(tunnel) = self.reply_tunnel {
            out.put_u32(tunnel);
        }
        let exclude = self.exclude.get(..MAX_EXCLUDED).unwrap_or(&self.exclude);
        out.put_u16(exclude.len() as u16);
        for hash in exclude {
            out.put(hash.as_bytes());
        }
        match &self.encryption {
            ReplyEncryption::None => {}
            ReplyEncryption::Ecies { key, tag } => {
                out.put(key.as_bytes());
                out.put_u8(1);
                out.put(tag);
            }
            ReplyEncryption::ElGamal { key, tags } => {
                let tags = tags.get(..32).unwrap_or(tags);
                out.put(key.as_bytes());
                out.put_u8(tags.len() as u8);
                for tag in tags {
                    out.put(tag);
                }
            }
        }
    }
}

/// The answer of a router that does not have what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSearchReply {
    /// What was asked for.
    pub key: Hash,
    /// Routers that may know more; at most 255.
    pub peers: Vec<Hash>,
    /// Who answers; nothing proves it.
    pub from: Hash,
}

impl DatabaseSearchReply {
    /// Decodes a body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let key = Hash(r.array()?);
        let peers = (0..r.u8()?).map(|_| r.array().map(Hash)).collect::<Result<_, _>>()?;
        let from = Hash(r.array()?);
        r.finish()?;
        Ok(Self { key, peers, from })
    }

    /// Appends the body; only the first 255 peers are written.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(self.key.as_bytes());
        let peers = self.peers.get(..255).unwrap_or(&self.peers);
        out.put_u8(peers.len() as u8);
        for peer in peers {
            out.put(peer.as_bytes());
        }
        out.put(self.from.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(encryption: ReplyEncryption, reply_tunnel: Option<u32>) -> DatabaseLookup {
        DatabaseLookup {
            key: Hash([1; 32]),
            from: Hash([2; 32]),
            reply_tunnel,
            kind: LookupType::LeaseSet,
            exclude: [Hash([3; 32]), Hash([4; 32])].to_vec(),
            encryption,
        }
    }

    fn encoded(lookup: &DatabaseLookup) -> Vec<u8> {
        let mut body = Vec::new();
        lookup.encode(&mut body);
        body
    }

    fn ecies() -> ReplyEncryption {
        ReplyEncryption::Ecies { key: Key32::new([5; 32]), tag: [6; 8] }
    }

    fn elgamal(n: usize) -> ReplyEncryption {
        ReplyEncryption::ElGamal { key: Key32::new([5; 32]), tags: alloc::vec![[7; 32]; n] }
    }

    #[test]
    fn the_layout_is_that_of_the_specification() {
        let body = encoded(&lookup(ecies(), Some(0x0a0b_0c0d)));
        assert_eq!(body[..64], [[1; 32], [2; 32]].concat());
        // ECIES alone, without the older encryption bit; lease set; to a tunnel.
        assert_eq!(body[64], 0b1_0101);
        assert_eq!(body[65..71], [0x0a, 0x0b, 0x0c, 0x0d, 0, 2]);
        assert_eq!(body[71 + 64..71 + 64 + 32], [5; 32]);
        assert_eq!(body[71 + 64 + 32..], [1, 6, 6, 6, 6, 6, 6, 6, 6]);
        let body = encoded(&lookup(ReplyEncryption::None, None));
        assert_eq!((body[64], body.len()), (0b100, 64 + 1 + 2 + 64));
    }

    #[test]
    fn every_form_round_trips_and_every_cut_is_refused() {
        for encryption in [ReplyEncryption::None, ecies(), elgamal(1), elgamal(32)] {
            for tunnel in [None, Some(9)] {
                let body = encoded(&lookup(encryption_like(&encryption), tunnel));
                let read = DatabaseLookup::decode(&body).unwrap();
                assert_eq!(encoded(&read), body);
                assert_eq!((read.reply_tunnel, read.kind), (tunnel, LookupType::LeaseSet));
                for cut in 0..body.len() {
                    assert!(DatabaseLookup::decode(&body[..cut]).is_err(), "{cut}");
                }
                let longer = [&body[..], &[0]].concat();
                assert!(matches!(DatabaseLookup::decode(&longer), Err(DecodeError::Trailing)));
            }
        }
    }

    #[test]
    fn every_type_has_its_bits() {
        for (kind, bits) in [
            (LookupType::Any, 0),
            (LookupType::LeaseSet, 1),
            (LookupType::RouterInfo, 2),
            (LookupType::Exploration, 3),
        ] {
            let body = encoded(&DatabaseLookup { kind, ..lookup(ReplyEncryption::None, None) });
            assert_eq!(body[64], bits << 2);
            assert_eq!(DatabaseLookup::decode(&body).unwrap().kind, kind);
            // Bits that are not defined yet are passed over.
            let mut future = body.clone();
            future[64] |= 0xe0;
            assert_eq!(DatabaseLookup::decode(&future).unwrap().kind, kind);
        }
    }

    #[test]
    fn counts_outside_their_range_are_refused() {
        let mut body = encoded(&lookup(ReplyEncryption::None, None));
        body[65..67].copy_from_slice(&513_u16.to_be_bytes());
        body.resize(67 + 513 * 32, 0);
        let got = DatabaseLookup::decode(&body).map(|_| ());
        assert_eq!(got, Err(DecodeError::TooLarge("excluded count")));
        for (encryption, size) in [(ecies(), 8), (elgamal(1), 32)] {
            for count in [0, 33] {
                let mut body = encoded(&lookup(encryption_like(&encryption), None));
                let at = body.len() - size - 1;
                body[at] = count;
                body.resize(at + 1 + usize::from(count) * size, 0);
                let got = DatabaseLookup::decode(&body).map(|_| ());
                assert_eq!(got, Err(DecodeError::Invalid("reply tag count")));
            }
        }
        // Ours are cut off rather than written wrong.
        let many = alloc::vec![Hash::ZERO; 600];
        let body = encoded(&DatabaseLookup { exclude: many, ..lookup(elgamal(40), None) });
        let read = DatabaseLookup::decode(&body).unwrap();
        assert_eq!(read.exclude.len(), MAX_EXCLUDED);
    }

    fn encryption_like(other: &ReplyEncryption) -> ReplyEncryption {
        match other {
            ReplyEncryption::None => ReplyEncryption::None,
            ReplyEncryption::Ecies { .. } => ecies(),
            ReplyEncryption::ElGamal { tags, .. } => elgamal(tags.len()),
        }
    }

    #[test]
    fn search_reply_round_trips_and_every_cut_is_refused() {
        for n in [0, 3, 255] {
            let peers = (0..n).map(|i| Hash([i; 32])).collect();
            let reply = DatabaseSearchReply { key: Hash([8; 32]), peers, from: Hash([9; 32]) };
            let mut body = Vec::new();
            reply.encode(&mut body);
            assert_eq!(body.len(), 65 + 32 * usize::from(n));
            assert_eq!(DatabaseSearchReply::decode(&body), Ok(reply));
            for cut in 0..body.len() {
                let got = DatabaseSearchReply::decode(&body[..cut]);
                assert_eq!(got, Err(DecodeError::Truncated));
            }
            body.push(0);
            assert_eq!(DatabaseSearchReply::decode(&body), Err(DecodeError::Trailing));
        }
    }
}
