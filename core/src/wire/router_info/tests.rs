use super::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::{Rng, Seed};
use crate::wire::base64;
use alloc::vec;
use core::net::SocketAddr;

struct Fixture {
    key: SigningKey,
    transport: crate::crypto::x25519::PublicKey,
    identity: Identity,
}

fn fixture() -> Fixture {
    let mut rng = Rng::new(&Seed::from_number(3));
    let key = SigningKey::generate(&mut rng);
    let transport = PrivateKey::generate(&mut rng).public();
    let encryption = PrivateKey::generate(&mut rng).public();
    let identity = Identity::new_router(encryption, &key.public(), &mut rng);
    Fixture { key, transport, identity }
}

fn mapping(pairs: &[(&str, &str)]) -> Mapping {
    let mut m = Mapping::new();
    for (k, v) in pairs {
        m.insert(k, v).unwrap();
    }
    m
}

fn options() -> Mapping {
    mapping(&[("router.version", "0.9.64"), ("netId", "2"), ("caps", "XfR")])
}

fn ntcp2(f: &Fixture, extra: &[(&str, &str)]) -> RouterAddress {
    let s = base64::encode(&f.transport.0);
    let mut options = mapping(&[("v", "2"), ("s", &s)]);
    for (k, v) in extra {
        options.insert(k, v).unwrap();
    }
    RouterAddress { cost: 3, style: Style::Ntcp2, options }
}

fn info(f: &Fixture, addresses: &[RouterAddress]) -> RouterInfo {
    let published = UnixTime::from_millis(1_800_000_000_123);
    RouterInfo::build(&f.identity, published, addresses, &options(), &f.key)
}

const IV: &str = "AAECAwQFBgcICQoLDA0ODw==";

#[test]
fn what_is_built_decodes_verifies_and_says_the_same() {
    let f = fixture();
    let address = ntcp2(&f, &[("host", "192.0.2.1"), ("port", "4567"), ("i", IV)]);
    let built = info(&f, &[address]);
    let read = RouterInfo::decode(built.as_bytes()).unwrap();
    for info in [&built, &read] {
        info.verify().unwrap();
        assert_eq!(info.hash(), f.identity.hash());
        assert_eq!(info.published().as_millis(), 1_800_000_000_123);
        assert_eq!(info.version(), Some((0, 9, 64)));
        assert_eq!(info.net_id(), Some(2));
        assert_eq!(info.caps(), Caps::parse("XfR"));
        assert!(info.options().is_canonical());
        let to = info.ntcp2().unwrap();
        assert_eq!(to.host, Some("192.0.2.1:4567".parse::<SocketAddr>().unwrap()));
        assert_eq!(to.static_key, f.transport);
        assert_eq!(to.iv.map(|iv| iv[15]), Some(15));
    }
    assert_eq!(built, read);
    assert_eq!(built.addresses(), read.addresses());
}

const I2PD: [&[u8]; 2] = [
    include_bytes!("../../../../tests/vectors/i2pd/router-2.45.1.info"),
    include_bytes!("../../../../tests/vectors/i2pd/router-2.59.0.info"),
];

#[test]
fn those_of_another_router_verify_and_are_canonical() {
    for (bytes, version) in I2PD.iter().zip([(0, 9, 57), (0, 9, 68)]) {
        let info = RouterInfo::decode(bytes).unwrap();
        info.verify().unwrap();
        assert_eq!(info.as_bytes(), *bytes);
        assert_eq!(info.version(), Some(version));
        assert_eq!(info.net_id(), Some(99));
        assert!(info.caps().floodfill && !info.caps().unreachable);
        assert_eq!(info.caps().bandwidth, Some(Bandwidth::P));
        assert!(info.identity().x25519_key().is_some());
        let styles: Vec<_> = info.addresses().iter().map(|a| a.style.clone()).collect();
        assert_eq!(styles, [Style::Ntcp2, Style::Ssu2]);
        let to = info.ntcp2().unwrap();
        assert_eq!(to.host, Some("198.18.0.1:12345".parse().unwrap()));
        assert!(to.iv.is_some());
        // What we would write for the same content is the same, up to the signature.
        let f = fixture();
        let ours = RouterInfo::build(
            info.identity(),
            info.published(),
            info.addresses(),
            info.options(),
            &f.key,
        );
        assert_eq!(ours.as_bytes()[..bytes.len() - 64], bytes[..bytes.len() - 64]);
    }
}

#[test]
fn any_changed_byte_breaks_it_or_its_signature() {
    let bytes = I2PD[0];
    for at in 0..bytes.len() {
        let mut bad = bytes.to_vec();
        bad[at] ^= 0x10;
        let accepted = RouterInfo::decode(&bad).is_ok_and(|info| info.verify().is_ok());
        assert!(!accepted, "{at}");
    }
}

#[test]
fn every_cut_and_every_trailing_byte_is_refused() {
    for bytes in I2PD {
        for cut in 0..bytes.len() {
            assert!(RouterInfo::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(RouterInfo::decode(&longer), Err(DecodeError::Trailing));
    }
    let huge = vec![0; MAX_ROUTER_INFO_LEN + 1];
    assert_eq!(RouterInfo::decode(&huge), Err(DecodeError::TooLarge("RouterInfo")));
    assert_eq!(RouterInfo::from_vec(huge), Err(DecodeError::TooLarge("RouterInfo")));
}

#[test]
fn old_peer_hashes_and_foreign_styles_are_passed_over() {
    let f = fixture();
    let style = Style::Other("NEW".into());
    let strange = RouterAddress { cost: 9, style, options: mapping(&[("a", "b")]) };
    let built = info(&f, core::slice::from_ref(&strange));
    assert_eq!(built.ntcp2(), None);
    // One hash between the addresses and the options.
    let options_len = {
        let mut o = Vec::new();
        options().encode(&mut o);
        o.len()
    };
    let mut bytes = built.as_bytes().to_vec();
    let at = bytes.len() - 64 - options_len;
    bytes[at - 1] = 1;
    bytes.splice(at..at, [0xaa; 32]);
    let read = RouterInfo::decode(&bytes).unwrap();
    assert_eq!(read.addresses(), [strange]);
    assert_eq!(*read.options(), options());
}

#[test]
fn the_most_useful_ntcp2_address_is_chosen() {
    let f = fixture();
    let v6 = ntcp2(&f, &[("host", "2001:db8::1"), ("port", "1"), ("i", IV)]);
    let v4 = ntcp2(&f, &[("host", "192.0.2.9"), ("port", "2"), ("i", IV)]);
    let hidden = ntcp2(&f, &[("caps", "4")]);
    let no_iv = ntcp2(&f, &[("host", "192.0.2.8"), ("port", "2")]);
    let host = |a: &[RouterAddress]| info(&f, a).ntcp2().map(|a| a.host.map(|h| h.port()));
    assert_eq!(host(&[hidden.clone(), v6.clone(), v4.clone()]), Some(Some(2)));
    assert_eq!(host(&[hidden.clone(), v6.clone()]), Some(Some(1)));
    assert_eq!(host(&[hidden, no_iv]), Some(None));
    assert_eq!(host(&[]), None);
}

#[test]
fn addresses_we_cannot_use_say_so() {
    let f = fixture();
    let published = [("host", "192.0.2.1"), ("port", "4567"), ("i", IV)];
    let with = |k: &str, v: &str| {
        let mut a = ntcp2(&f, &published);
        a.options.insert(k, v).unwrap();
        a.ntcp2()
    };
    let usable = |k, v| with(k, v).is_some_and(|a| a.host.is_some());
    assert!(usable("v", "2") && usable("v", "2,3"));
    assert!(with("v", "3").is_none() && with("v", "23").is_none() && with("v", "").is_none());
    assert!(with("s", "AAAA").is_none() && with("s", "").is_none());
    // The top bit of a key is never set.
    assert!(with("s", &base64::encode(&[0xff; 32])).is_none());
    for (k, v) in [
        ("host", "example.org"),
        ("host", ""),
        ("host", "192.0.2.1:1"),
        ("port", "0"),
        ("port", "65536"),
        ("port", "-1"),
        ("i", "AAAA"),
    ] {
        assert!(with(k, v).is_some() && !usable(k, v), "{k}={v}");
    }
    let mut ssu = ntcp2(&f, &published);
    ssu.style = Style::Ssu2;
    assert_eq!(ssu.ntcp2(), None);
}

#[test]
fn capabilities_are_read_leniently_and_written_in_order() {
    for (text, written) in [
        ("", ""),
        ("XfR", "XfR"),
        ("fR", "fR"),
        ("RfX", "XfR"),
        ("POfU", "PfU"),
        ("XO", "X"),
        ("LUG", "LUG"),
        ("DEL", "LE"),
        ("KH?z", "KH"),
    ] {
        assert_eq!(alloc::format!("{}", Caps::parse(text)), written, "{text}");
    }
    for (share, letter) in
        [(0, 'K'), (11, 'K'), (12, 'L'), (48, 'M'), (64, 'N'), (128, 'O'), (256, 'P'), (2000, 'X')]
    {
        assert_eq!(Bandwidth::of_share(share).letter(), letter);
    }
}

#[test]
fn versions_and_network_ids() {
    let f = fixture();
    let with = |k: &str, v: &str| {
        let mut o = options();
        o.insert(k, v).unwrap();
        RouterInfo::build(&f.identity, UnixTime::default(), &[], &o, &f.key)
    };
    assert_eq!(with("router.version", "0.9.68").version(), Some((0, 9, 68)));
    assert_eq!(with("router.version", "1.2.3-4").version(), None);
    assert_eq!(with("router.version", "0.9").version(), None);
    assert_eq!(with("router.version", "0.9.999").version(), None);
    assert_eq!(with("netId", "256").net_id(), None);
    assert_eq!(with("netId", "").net_id(), None);
}

#[test]
fn what_is_verified_on_other_threads_may_go_there() {
    fn check<T: Send + Sync + 'static>() {}
    check::<RouterInfo>();
    check::<crate::wire::lease_set::LeaseSet>();
    check::<Identity>();
}

#[test]
fn the_most_useful_ssu2_address_is_chosen() {
    let f = fixture();
    let address = |change: fn(&mut Ssu2Address)| {
        let mut a = Ssu2Address::new(f.transport, [7; 32]);
        change(&mut a);
        RouterAddress { cost: 8, style: Style::Ssu2, options: a.options() }
    };
    let introducer = Introducer { router: Hash([1; 32]), tag: 1, expires: None };
    let hidden = address(|a| a.caps.v4 = true);
    let mut introduced = Ssu2Address::new(f.transport, [7; 32]);
    introduced.caps.v6 = true;
    introduced.introducers.push(introducer);
    let v6 = address(|a| a.host = Some("[2001:db8::1]:1".parse().unwrap()));
    let v4 = address(|a| a.host = Some("192.0.2.9:2".parse().unwrap()));
    let introduced = RouterAddress { options: introduced.options(), ..hidden.clone() };
    let all = [ntcp2(&f, &[]), hidden, introduced, v6, v4];
    for n in 1..all.len() {
        let best = info(&f, &all[..=n]).ssu2();
        assert_eq!(best, all[n].ssu2(), "{n}");
    }
    assert_eq!(info(&f, &all).ssu2_addresses().count(), 4);
    assert_eq!(info(&f, &all[..1]).ssu2(), None);
}

#[test]
fn a_good_signature_is_remembered_and_a_bad_one_is_not() {
    let remembered = |info: &RouterInfo| info.0.verified.load(Ordering::Relaxed);
    let mut bytes = I2PD[0].to_vec();
    let good = RouterInfo::decode(&bytes).unwrap();
    let clone = good.clone();
    assert!(!remembered(&clone));
    good.verify().unwrap();
    assert!(remembered(&clone));
    assert!(!remembered(&RouterInfo::decode(&bytes).unwrap()), "it goes with what was verified");
    *bytes.last_mut().unwrap() ^= 1;
    let forged = RouterInfo::decode(&bytes).unwrap();
    for _ in 0..2 {
        assert!(forged.verify().is_err());
        assert!(!remembered(&forged));
    }
}
