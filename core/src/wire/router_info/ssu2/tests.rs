use super::*;
use crate::rng::{Rng, Seed};
use crate::wire::router_info::{RouterInfo, Style};
use alloc::vec::Vec;

const I2PD: &[&[u8]] = &[
    include_bytes!("../../../../../tests/vectors/i2pd/router-2.45.1.info"),
    include_bytes!("../../../../../tests/vectors/i2pd/router-2.59.0.info"),
];

fn address(options: Mapping) -> RouterAddress {
    RouterAddress { cost: 8, style: Style::Ssu2, options }
}

fn parsed(address: &Ssu2Address) -> Option<Ssu2Address> {
    self::address(address.options()).ssu2()
}

fn keys() -> Ssu2Address {
    Ssu2Address::new(x25519::PublicKey([1; 32]), [2; 32])
}

fn random(rng: &mut Rng) -> Ssu2Address {
    let mut key = rng.bytes::<32>();
    key[31] &= 0x7f;
    let mut a = Ssu2Address::new(x25519::PublicKey(key), rng.bytes());
    let port = rng.between(1, 65_535) as u16;
    a.host = match rng.below(3) {
        0 => None,
        1 => Some(SocketAddr::new(rng.bytes::<4>().into(), port)),
        _ => Some(SocketAddr::new(rng.bytes::<16>().into(), port)),
    };
    a.mtu = rng.between(MIN_MTU.into(), MAX_MTU.into()) as u16;
    let letters: [bool; 4] = core::array::from_fn(|_| rng.below(2) == 0);
    let [peer_test, introducer, v4, v6] = letters;
    a.caps = Ssu2Caps { peer_test, introducer, v4, v6 };
    for _ in 0..rng.below(4) {
        a.introducers.push(Introducer {
            router: Hash(rng.bytes()),
            tag: rng.nonzero_u32(),
            expires: (rng.below(2) == 0).then(|| rng.u32()),
        });
    }
    a
}

#[test]
fn what_is_written_is_read_again() {
    let mut rng = Rng::new(&Seed::from_number(1));
    for _ in 0..500 {
        let a = random(&mut rng);
        assert!(a.options().is_canonical());
        assert_eq!(parsed(&a).as_ref(), Some(&a));
    }
}

#[test]
fn both_shapes_have_the_options_of_the_specification_in_their_order() {
    let published = Ssu2Address {
        host: Some("192.0.2.1:4567".parse().unwrap()),
        mtu: 1420,
        caps: Ssu2Caps { peer_test: true, introducer: true, ..Ssu2Caps::default() },
        ..keys()
    };
    let options = published.options();
    let s = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let i = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    assert_eq!(
        options.iter().collect::<Vec<_>>(),
        [
            ("caps", "BC"),
            ("host", "192.0.2.1"),
            ("i", i),
            ("mtu", "1420"),
            ("port", "4567"),
            ("s", s),
            ("v", "2")
        ]
    );
    assert!(published.reaches(Family::V4) && !published.reaches(Family::V6));

    let mut firewalled = keys();
    firewalled.caps.v4 = true;
    assert!(!firewalled.reaches(Family::V4), "nobody introduces");
    let introducer = |n, expires| Introducer { router: Hash([n; 32]), tag: n.into(), expires };
    firewalled.introducers.push(introducer(1, Some(1_800_000_000)));
    firewalled.introducers.push(introducer(2, None));
    let options = firewalled.options();
    assert_eq!(
        options.iter().collect::<Vec<_>>(),
        [
            ("caps", "4"),
            ("i", i),
            ("iexp0", "1800000000"),
            ("ih0", s),
            ("ih1", i),
            ("itag0", "1"),
            ("itag1", "2"),
            ("s", s),
            ("v", "2")
        ]
    );
    assert!(firewalled.reaches(Family::V4) && !firewalled.reaches(Family::V6));
    assert_eq!(keys().options().iter().count(), 3);
}

#[test]
fn addresses_we_cannot_use_say_so() {
    let published = Ssu2Address { host: Some("192.0.2.1:4567".parse().unwrap()), ..keys() };
    let with = |key: &str, value: &str| {
        let mut options = published.options();
        options.insert(key, value).unwrap();
        address(options).ssu2()
    };
    let zeros = base64::encode(&[0; 16]);
    for (key, value) in [
        ("v", "3"),
        ("v", ""),
        ("v", "23"),
        ("s", "AAAA"),
        ("s", &base64::encode(&[0xff; 32])),
        ("i", "AAAA"),
        ("i", &zeros),
        ("i", ""),
        ("mtu", "1279"),
        ("mtu", "0"),
        ("mtu", "-1"),
        ("mtu", "large"),
        ("mtu", "65536"),
    ] {
        assert_eq!(with(key, value), None, "{key}={value}");
    }
    assert!(with("v", "2,3").is_some());
    for (value, mtu) in [("1280", 1280), ("1500", 1500), ("9000", 1500)] {
        assert_eq!(with("mtu", value).unwrap().mtu, mtu);
    }
    for (key, value) in [("host", "example.org"), ("host", ""), ("port", "0"), ("port", "65536")] {
        assert_eq!(with(key, value).unwrap().host, None, "{key}={value}");
    }
    assert_eq!(with("caps", "?B46z").unwrap().caps.letters(), "B46");
    for missing in ["i", "s", "v"] {
        let mut options = Mapping::new();
        for (key, value) in published.options().iter().filter(|(key, _)| *key != missing) {
            options.insert(key, value).unwrap();
        }
        assert_eq!(address(options).ssu2(), None, "without {missing}");
    }
    let style = |style: Style| RouterAddress { style, ..address(published.options()) }.ssu2();
    assert_eq!(style(Style::Ntcp2), None);
    assert_eq!(style(Style::Other("SSU3".into())), None);
    assert_eq!(style(Style::Other("SSU".into())), Some(published.clone()));
}

#[test]
fn introducers_that_cannot_be_read_are_left_out() {
    let mut firewalled = keys();
    for n in 1..4 {
        let router = Hash([n; 32]);
        firewalled.introducers.push(Introducer { router, tag: n.into(), expires: Some(9) });
    }
    let tags = |key: &str, value: &str| -> Vec<u32> {
        let mut options = firewalled.options();
        options.insert(key, value).unwrap();
        address(options).ssu2().unwrap().introducers.iter().map(|i| i.tag).collect()
    };
    assert_eq!(tags("x", ""), [1, 2, 3]);
    for (key, value) in [
        ("ih1", "AAAA"),
        ("ih1", ""),
        ("itag1", "0"),
        ("itag1", "4294967296"),
        ("itag1", "x"),
        ("iexp1", "soon"),
        ("iexp1", "4294967296"),
    ] {
        assert_eq!(tags(key, value), [1, 3], "{key}={value}");
    }
    // A fourth is none.
    assert_eq!(tags("ih3", &base64::encode(&[9; 32])), [1, 2, 3]);
}

#[test]
fn those_of_another_router_are_read_and_written_as_it_does() {
    for bytes in I2PD {
        let info = RouterInfo::decode(bytes).unwrap();
        let ssu2 = info.ssu2().unwrap();
        assert_eq!(ssu2.host, Some("198.18.0.1:12345".parse().unwrap()));
        assert!(ssu2.caps.peer_test && ssu2.mtu == MAX_MTU && ssu2.introducers.is_empty());
        assert_eq!(info.ssu2_addresses().count(), 1);
        assert_eq!(info.addresses()[1].options, ssu2.options());
    }
}
