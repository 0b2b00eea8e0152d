//! Makers of RouterInfos and lease sets for the tests of this module.

use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PrivateKey;
use crate::rng::{Rng, Seed};
use crate::time::{Instant, UnixTime};
use crate::wire::base64;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use crate::wire::lease_set::{Contents, Lease, LeaseSet, LeaseSet2};
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{RouterAddress, RouterInfo, Style};
use alloc::string::{String, ToString};
use core::time::Duration;

/// Noon of some day.
pub(crate) const UNIX: UnixTime = UnixTime::from_secs(1_800_014_400);

/// The network of the tests.
pub(crate) const NET_ID: u8 = 99;

/// `ms` after the zero of the tests.
pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

/// Makes the RouterInfo of the router number `n`, the same one for the same settings.
#[derive(Clone)]
pub(crate) struct Maker {
    n: u64,
    caps: String,
    version: String,
    host: Option<String>,
    net_id: Option<u8>,
    published: UnixTime,
    forged: bool,
}

impl Maker {
    /// A reachable router of class O.
    pub(crate) fn new(n: u64) -> Self {
        Self {
            n,
            caps: "OR".into(),
            version: "0.9.62".into(),
            host: Some(alloc::format!("11.{}.{}.1", (n / 250) % 250, n % 250)),
            net_id: Some(NET_ID),
            published: UNIX,
            forged: false,
        }
    }

    /// A floodfill.
    pub(crate) fn floodfill(n: u64) -> Self {
        Self::new(n).caps("XfR")
    }

    pub(crate) fn caps(mut self, caps: &str) -> Self {
        self.caps = caps.into();
        self
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    pub(crate) fn host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(ToString::to_string);
        self
    }

    pub(crate) fn net_id(mut self, id: Option<u8>) -> Self {
        self.net_id = id;
        self
    }

    pub(crate) fn published(mut self, at: UnixTime) -> Self {
        self.published = at;
        self
    }

    /// Signed by somebody else.
    pub(crate) fn forged(mut self) -> Self {
        self.forged = true;
        self
    }

    fn identity(&self) -> (SigningKey, Identity) {
        let mut rng = Rng::new(&Seed::from_number(self.n));
        let key = SigningKey::generate(&mut rng);
        let identity =
            Identity::new_router(PrivateKey::generate(&mut rng).public(), &key.public(), &mut rng);
        (key, identity)
    }

    /// Its name.
    pub(crate) fn hash(&self) -> Hash {
        self.identity().1.hash()
    }

    pub(crate) fn build(&self) -> RouterInfo {
        let (mut key, identity) = self.identity();
        if self.forged {
            key = SigningKey::from_seed([1; 32]);
        }
        let mut address = Mapping::new();
        let mut put = |k, v: &str| address.insert(k, v).unwrap();
        put("s", &base64::encode(&[7; 32]));
        put("v", "2");
        if let Some(host) = &self.host {
            put("host", host);
            put("port", "4567");
            put("i", &base64::encode(&[8; 16]));
        }
        let mut options = Mapping::new();
        options.insert("caps", &self.caps).unwrap();
        options.insert("router.version", &self.version).unwrap();
        if let Some(id) = self.net_id {
            options.insert("netId", &id.to_string()).unwrap();
        }
        let address = RouterAddress { cost: 3, style: Style::Ntcp2, options: address };
        RouterInfo::build(&identity, self.published, &[address], &options, &key)
    }
}

/// The lease set of destination number `n`, made at `published` and good for ten minutes.
pub(crate) fn lease_set(n: u64, published: UnixTime) -> LeaseSet {
    lease_set_until(n, published, published + Duration::from_secs(600))
}

/// The lease set of destination number `n`.
pub(crate) fn lease_set_until(n: u64, published: UnixTime, expires: UnixTime) -> LeaseSet {
    let mut rng = Rng::new(&Seed::from_number(n + 1_000_000));
    let key = SigningKey::generate(&mut rng);
    let encryption = PrivateKey::generate(&mut rng).public();
    let destination = Identity::new_destination(encryption, &key.public(), &mut rng);
    let lease = Lease { gateway: Hash([3; 32]), tunnel: 7, expires };
    let contents = Contents {
        published,
        expires,
        keys: &[(4, &[9; 32])],
        leases: &[lease],
        options: &Mapping::new(),
        unpublished: false,
    };
    LeaseSet2::build(&destination, &contents, &key).unwrap()
}
