//! DatabaseStore.

use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::gzip;
use crate::wire::hash::Hash;
use crate::wire::lease_set::LeaseSet;
use crate::wire::router_info::{MAX_ROUTER_INFO_LEN, RouterInfo};
use alloc::vec::Vec;

/// Store type of a RouterInfo.
pub const STORE_ROUTER_INFO: u8 = 0;

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEntry {
    /// A RouterInfo, gzipped on the way.
    RouterInfo(RouterInfo),
    /// A lease set of any kind.
    LeaseSet(LeaseSet),
}

impl StoreEntry {
    /// The key it is stored under, which is not the routing key.
    #[must_use]
    pub fn key(&self) -> Hash {
        match self {
            Self::RouterInfo(info) => info.hash(),
            Self::LeaseSet(set) => set.key(),
        }
    }
}

/// Where the sender wants a DeliveryStatus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreReply {
    /// The message id that the DeliveryStatus shall carry; not zero.
    pub token: u32,
    /// The reply tunnel at the gateway; `None` for the router `gateway` itself.
    pub tunnel: Option<u32>,
    /// Where the reply goes.
    pub gateway: Hash,
}

/// A RouterInfo or lease set for the network database. Signatures are not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseStore {
    /// `None`: no answer wanted, as in flooded copies and in answers to lookups.
    pub reply: Option<StoreReply>,
    /// What is stored; its key is that of the message.
    pub entry: StoreEntry,
}

impl DatabaseStore {
    /// Decodes a body. An entry that is not that of the message's key is refused.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let key = Hash(r.array()?);
        let kind = r.u8()?;
        let reply = match r.u32()? {
            0 => None,
            token => {
                let tunnel = r.u32()?;
                Some(StoreReply {
                    token,
                    tunnel: (tunnel != 0).then_some(tunnel),
                    gateway: Hash(r.array()?),
                })
            }
        };
        let entry = if kind == STORE_ROUTER_INFO {
            let len = r.u16()?;
            let gzipped = r.take(len.into())?;
            r.finish()?;
            let raw = gzip::gunzip(gzipped, MAX_ROUTER_INFO_LEN)?;
            StoreEntry::RouterInfo(RouterInfo::from_vec(raw)?)
        } else {
            StoreEntry::LeaseSet(LeaseSet::decode(kind, r.rest())?)
        };
        if entry.key() != key {
            return Err(DecodeError::Invalid("store key"));
        }
        Ok(Self { reply, entry })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put(self.entry.key().as_bytes());
        out.put_u8(match &self.entry {
            StoreEntry::RouterInfo(_) => STORE_ROUTER_INFO,
            StoreEntry::LeaseSet(set) => set.store_type(),
        });
        match self.reply {
            Some(reply) if reply.token != 0 => {
                out.put_u32(reply.token);
                out.put_u32(reply.tunnel.unwrap_or(0));
                out.put(reply.gateway.as_bytes());
            }
            Some(_) | None => out.put_u32(0),
        }
        match &self.entry {
            StoreEntry::RouterInfo(info) => {
                // At most 4 KiB before it is compressed.
                let gzipped = gzip::gzip(info.as_bytes());
                out.put_u16(gzipped.len() as u16);
                out.put(&gzipped);
            }
            StoreEntry::LeaseSet(set) => out.put(set.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;
    use crate::crypto::x25519;
    use crate::rng::{Rng, Seed};
    use crate::time::UnixTime;
    use crate::wire::identity::Identity;
    use crate::wire::lease_set::{Contents, LeaseSet2};
    use crate::wire::mapping::Mapping;

    const I2PD: &[u8] = include_bytes!("../../../../tests/vectors/i2pd/router-2.45.1.info");

    fn router_info() -> StoreEntry {
        StoreEntry::RouterInfo(RouterInfo::decode(I2PD).unwrap())
    }

    fn lease_set() -> StoreEntry {
        let mut rng = Rng::new(&Seed::from_number(1));
        let key = SigningKey::generate(&mut rng);
        let encryption = x25519::PublicKey([9; 32]);
        let destination = Identity::new_destination(encryption, &key.public(), &mut rng);
        let contents = Contents {
            published: UnixTime::from_secs(1000),
            expires: UnixTime::from_secs(1600),
            keys: &[(4, &encryption.0)],
            leases: &[],
            options: &Mapping::new(),
            unpublished: false,
        };
        StoreEntry::LeaseSet(LeaseSet2::build(&destination, &contents, &key).unwrap())
    }

    const REPLIES: [Option<StoreReply>; 3] = [
        None,
        Some(StoreReply { token: 5, tunnel: None, gateway: Hash([1; 32]) }),
        Some(StoreReply { token: 5, tunnel: Some(6), gateway: Hash([1; 32]) }),
    ];

    fn encoded(store: &DatabaseStore) -> Vec<u8> {
        let mut body = Vec::new();
        store.encode(&mut body);
        body
    }

    #[test]
    fn both_kinds_round_trip_with_and_without_reply() {
        for entry in [router_info(), lease_set()] {
            for reply in REPLIES {
                let store = DatabaseStore { reply, entry: entry.clone() };
                let body = encoded(&store);
                assert_eq!(body[..32], store.entry.key().0);
                assert_eq!(body[33..37], reply.map_or(0, |r| r.token).to_be_bytes());
                assert_eq!(DatabaseStore::decode(&body), Ok(store));
                for cut in 0..body.len() {
                    assert!(DatabaseStore::decode(&body[..cut]).is_err(), "{cut}");
                }
                let longer = [&body[..], &[0]].concat();
                assert_eq!(DatabaseStore::decode(&longer), Err(DecodeError::Trailing));
            }
        }
    }

    #[test]
    fn an_entry_under_another_key_is_refused() {
        for entry in [router_info(), lease_set()] {
            let mut body = encoded(&DatabaseStore { reply: None, entry });
            body[0] ^= 1;
            assert_eq!(DatabaseStore::decode(&body), Err(DecodeError::Invalid("store key")));
        }
    }

    #[test]
    fn a_stored_router_info_is_read_and_a_bomb_is_not() {
        // Another router stores instead of compressing.
        let header = gzip::Header { mtime: [0; 4], xfl: 0, os: 255 };
        let body = |raw: &[u8]| {
            let mut member = Vec::new();
            gzip::put_stored_member(&header, raw, &mut member);
            let mut body = router_info().key().0.to_vec();
            body.put(&[0, 0, 0, 0, 0]);
            body.put_u16(member.len() as u16);
            body.put(&member);
            body
        };
        let store = DatabaseStore::decode(&body(I2PD)).unwrap();
        assert_eq!(store.entry, router_info());
        let too_large = DatabaseStore::decode(&body(&[0; MAX_ROUTER_INFO_LEN + 1]));
        assert_eq!(too_large, Err(DecodeError::TooLarge("gzip content")));
    }

    #[test]
    fn unknown_store_types_are_refused() {
        let mut body = encoded(&DatabaseStore { reply: None, entry: lease_set() });
        for kind in [2, 4, 6, 8, 255] {
            body[32] = kind;
            assert_eq!(DatabaseStore::decode(&body), Err(DecodeError::Invalid("store type")));
        }
    }
}
