//! The network database with 6,000 routers.

use crate::harness::Bench;
use crate::primitives::rng;
use crate::transport::UNIX;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::netdb::{Context, LookupKind, NetDb, NetDbConfig};
use ramson_core::rng::Rng;
use ramson_core::time::Instant;
use ramson_core::wire::base64;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::identity::Identity;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{Reach, RouterAddress, RouterInfo, Style};
use std::time::Duration;

const ROUTERS: usize = 6000;

struct Full {
    netdb: NetDb,
    now: Instant,
    rng: Rng,
}

impl Full {
    fn new() -> Self {
        let mut rng = rng();
        let now = Instant::from_micros(1);
        let config = NetDbConfig { local: Hash([1; 32]), net_id: 2, reach: Reach::ntcp2(true) };
        let mut netdb = NetDb::new(now, config, rng.fork("netdb"));
        let signing = SigningKey::generate(&mut rng);
        for n in 0..ROUTERS {
            let _ = netdb.restore(now, UNIX, router(n, &signing, &mut rng));
        }
        assert!(netdb.counts().verified + netdb.counts().unverified > ROUTERS / 4);
        Self { netdb, now, rng }
    }
}

/// One in three is a floodfill.
fn router(n: usize, signing: &SigningKey, rng: &mut Rng) -> RouterInfo {
    let encryption = PrivateKey::from_bytes(rng.bytes()).public();
    let identity = Identity::new_router(encryption, &signing.public(), rng);
    let mut options = Mapping::new();
    let host = format!("10.{}.{}.1", n / 250 % 250, n % 250);
    let (s, i) = (base64::encode(&[7; 32]), base64::encode(&[8; 16]));
    for (key, value) in [("s", &*s), ("i", &*i), ("v", "2"), ("host", &host), ("port", "9")] {
        options.insert(key, value).unwrap();
    }
    let address = RouterAddress { cost: 3, style: Style::Ntcp2, options };
    let mut options = Mapping::new();
    let caps = if n.is_multiple_of(3) { "XfR" } else { "OR" };
    for (key, value) in [("caps", caps), ("netId", "2"), ("router.version", "0.9.62")] {
        options.insert(key, value).unwrap();
    }
    RouterInfo::build(&identity, UNIX, &[address], &options, signing)
}

pub(crate) fn add(bench: &mut Bench) {
    bench.add("netdb start a lookup among 6,000", 0, || {
        let mut full = Full::new();
        move || {
            let key = Hash(full.rng.bytes());
            full.now = full.now + Duration::from_millis(1);
            let (now, ctx) = (full.now, Context::ROUTER);
            let lookup = full.netdb.lookup(now, UNIX, ctx, key, LookupKind::RouterInfo);
            full.netdb.cancel_lookup(lookup);
            while full.netdb.poll_action().is_some() {}
        }
    });
    bench.add("netdb draw 50 candidates among 6,000", 0, || {
        let mut full = Full::new();
        move || full.netdb.draw_candidates(full.now, UNIX, 50, &[]).len()
    });
    bench.add("netdb all candidates among 6,000", 0, || {
        let full = Full::new();
        move || full.netdb.candidates(full.now, UNIX).count()
    });
}
