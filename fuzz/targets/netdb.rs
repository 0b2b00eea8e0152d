//! What the network database holds, and what is said about it.

use super::input::Input;
use ramson_core::netdb::{Context, NetDb, NetDbConfig};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::codec::Reader;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{DatabaseLookup, DatabaseSearchReply, DatabaseStore, MAX_EXCLUDED};
use ramson_core::wire::lease_set::{LeaseSet, MAX_KEYS, MAX_LEASE_SET_LEN, MAX_LEASES};
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{
    Caps, MAX_ADDRESSES, MAX_ROUTER_INFO_LEN, Reach, RouterAddress, RouterInfo, Style,
};
use ramson_core::wire::ssu2::{MAX_MTU, MIN_MTU};

/// A RouterInfo keeps its bytes and holds its limits; all its views can be looked at.
pub fn router_info(data: &[u8]) {
    let Ok(info) = RouterInfo::decode(data) else {
        assert!(RouterInfo::from_vec(data.to_vec()).is_err());
        return;
    };
    assert!(data.len() <= MAX_ROUTER_INFO_LEN && info.addresses().len() <= MAX_ADDRESSES);
    assert_eq!(info.as_bytes(), data);
    assert_eq!(RouterInfo::from_vec(data.to_vec()).as_ref(), Ok(&info));
    let _ = info.verify();
    look_at(info.options());
    for address in info.addresses() {
        look_at(&address.options);
        let _ = address.host();
    }
    for address in info.ntcp2_addresses() {
        assert!(address.host.is_none() || address.iv.is_some());
        assert!(address.static_key.0[31] < 0x80);
    }
    assert_eq!(info.ntcp2().is_some(), info.ntcp2_addresses().next().is_some());
    for address in info.ssu2_addresses() {
        assert!((MIN_MTU..=MAX_MTU).contains(&address.mtu) && address.static_key.0[31] < 0x80);
        let (cost, style) = (8, Style::Ssu2);
        let written = RouterAddress { cost, style, options: address.options() };
        assert_eq!(written.ssu2(), Some(address));
    }
    assert_eq!(info.ssu2().is_some(), info.ssu2_addresses().next().is_some());
    let caps = info.caps();
    assert_eq!(Caps::parse(&caps.to_string()), caps);
    let _ = (info.net_id(), info.version());
}

fn look_at(mapping: &Mapping) {
    let mut out = Vec::new();
    mapping.encode(&mut out);
    assert!(Mapping::decode(&mut Reader::new(&out)).unwrap().is_canonical());
}

/// The first byte is the store type.
pub fn lease_set(data: &[u8]) {
    let mut input = Input::new(data);
    let store_type = input.u8();
    let bytes = input.rest();
    let Ok(set) = LeaseSet::decode(store_type, bytes) else { return };
    assert!(bytes.len() <= MAX_LEASE_SET_LEN && set.leases().len() <= MAX_LEASES);
    assert_eq!((set.store_type(), set.as_bytes()), (store_type, bytes));
    assert_eq!(LeaseSet::decode(store_type, set.as_bytes()).as_ref(), Ok(&set));
    assert!(set.published() <= set.expires());
    match &set {
        LeaseSet::V1(_) | LeaseSet::V2(_) | LeaseSet::Meta(_) => {
            assert_eq!(set.destination().map(|d| d.hash()), Some(set.key()));
        }
        LeaseSet::Encrypted(encrypted) => {
            assert!(set.destination().is_none() && encrypted.data().len() <= bytes.len());
        }
    }
    if let LeaseSet::V2(v2) = &set {
        assert!(v2.encryption_keys().count() <= MAX_KEYS);
        look_at(v2.options());
    }
    let _ = (set.verify(), set.offline(), set.is_unpublished());
    for kind in 0..8 {
        let _ = set.encryption_key(kind);
    }
}

/// What decodes decodes again to the same, whatever the compression was.
pub fn database_store(data: &[u8]) {
    let Ok(store) = DatabaseStore::decode(data) else { return };
    let mut out = Vec::new();
    store.encode(&mut out);
    assert_eq!(DatabaseStore::decode(&out).as_ref(), Ok(&store));
}

/// A lookup takes the same form again, but for bits that mean nothing.
pub fn database_lookup(data: &[u8]) {
    let Ok(lookup) = DatabaseLookup::decode(data) else { return };
    assert!(lookup.exclude.len() <= MAX_EXCLUDED);
    let mut out = Vec::new();
    lookup.encode(&mut out);
    let meaningless = data.iter().zip(&out).filter(|(a, b)| a != b).count();
    assert!(out.len() == data.len() && meaningless <= 1);
    let mut twice = Vec::new();
    DatabaseLookup::decode(&out).map_err(|_| ()).unwrap().encode(&mut twice);
    assert_eq!(twice, out);
}

/// A search reply is written as it was read.
pub fn database_search_reply(data: &[u8]) {
    let Ok(reply) = DatabaseSearchReply::decode(data) else { return };
    let mut out = Vec::new();
    reply.encode(&mut out);
    assert_eq!(out, data);
}

/// A profile from a damaged store is refused, or taken and written again.
pub fn profile(data: &[u8]) {
    let mut input = Input::new(data);
    let now = Instant::from_micros(u64::from(input.u32()) * 1_000_000);
    let unix = UnixTime::from_secs(input.u32().into());
    let config = NetDbConfig { local: Hash([9; 32]), net_id: 2, reach: Reach::ntcp2(true) };
    let mut netdb = NetDb::new(now, config, Rng::new(&Seed::from_number(1)));
    let router = Hash([1; 32]);
    let taken = netdb.restore_profile(now, unix, router, input.rest()).is_ok();
    assert_eq!(netdb.counts().profiles, usize::from(taken));
    assert_eq!(netdb.profile(&router).is_some(), taken);
    netdb.remove_context(Context(1));
    netdb.handle_timeout(now, unix);
}
