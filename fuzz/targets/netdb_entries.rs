//! Signed entries for the network database, made once: signatures are slow.

use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::UnixTime;
use ramson_core::wire::base64;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::StoreEntry;
use ramson_core::wire::identity::Identity;
use ramson_core::wire::lease_set::{Contents, Lease, LeaseSet, LeaseSet2};
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Style};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

pub(super) const NET_ID: u8 = 99;
/// Two and a half minutes before midnight.
pub(super) const BASE: UnixTime = UnixTime::from_secs(1_800_057_450);

const ROUTERS: u64 = 12;
const FLOODFILLS: u64 = 8;
const DESTINATIONS: u64 = 5;
/// More floodfills than a small network has.
const CROWD: u64 = 100;

/// When the versions of an entry are made, in seconds from [`BASE`], and what is wrong with them.
const VERSIONS: [(i64, Fault); 8] = [
    (-3600, Fault::None),
    (-60, Fault::None),
    (0, Fault::None),
    (0, Fault::Other),
    (60, Fault::None),
    (100_000, Fault::None),
    (30, Fault::Forged),
    (90, Fault::Unwanted),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It says something else than the one of the same time.
    Other,
    /// Somebody else signed it.
    Forged,
    /// A RouterInfo of another network, or a lease set that is not to be published.
    Unwanted,
}

pub(super) struct Entries {
    pub(super) local: Hash,
    /// Our own RouterInfo, later ones last.
    pub(super) own: Vec<RouterInfo>,
    pub(super) routers: Vec<Vec<RouterInfo>>,
    pub(super) sets: Vec<Vec<LeaseSet>>,
    pub(super) crowd: Vec<RouterInfo>,
    /// The bytes of those that may be believed.
    genuine: BTreeSet<Vec<u8>>,
}

pub(super) static ENTRIES: LazyLock<Entries> = LazyLock::new(Entries::new);

impl Entries {
    fn new() -> Self {
        let mut genuine = BTreeSet::new();
        let mut version = |n: u64, v: usize, caps: &str| {
            let info = router_info(n, VERSIONS[v], caps);
            if matches!(VERSIONS[v].1, Fault::None | Fault::Other) {
                genuine.insert(info.as_bytes().to_vec());
            }
            info
        };
        let caps = |n| if n < FLOODFILLS { "XfR" } else { "OR" };
        let all = 0..VERSIONS.len();
        let routers =
            (0..ROUTERS).map(|n| all.clone().map(|v| version(n, v, caps(n))).collect()).collect();
        let crowd = (0..CROWD).map(|n| version(1000 + n, 1, "XfR")).collect();
        let own: Vec<_> = [0, 1, 2, 4].into_iter().map(|v| version(999, v, "XR")).collect();
        let sets: Vec<Vec<LeaseSet>> = (0..DESTINATIONS)
            .map(|n| VERSIONS.iter().map(|version| lease_set(n, *version)).collect())
            .collect();
        for set in sets.iter().flat_map(|versions| versions.iter().zip(VERSIONS)) {
            if set.1.1 != Fault::Forged {
                genuine.insert(set.0.as_bytes().to_vec());
            }
        }
        Self { local: own[0].hash(), own, routers, sets, crowd, genuine }
    }

    pub(super) fn is_genuine(&self, bytes: &[u8]) -> bool {
        self.genuine.contains(bytes)
    }

    /// A RouterInfo: the first byte says whose, the second which version.
    pub(super) fn router(&self, who: u8, version: u8) -> &RouterInfo {
        let versions = &self.routers[usize::from(who) % self.routers.len()];
        &versions[usize::from(version) % versions.len()]
    }

    pub(super) fn set(&self, who: u8, version: u8) -> &LeaseSet {
        let versions = &self.sets[usize::from(who) % self.sets.len()];
        &versions[usize::from(version) % versions.len()]
    }

    pub(super) fn entry(&self, who: u8, version: u8) -> StoreEntry {
        if who & 0x80 == 0 {
            StoreEntry::RouterInfo(self.router(who, version).clone())
        } else {
            StoreEntry::LeaseSet(self.set(who & 0x7f, version).clone())
        }
    }

    /// The hash of a router or a destination, our own, and some that nobody has.
    pub(super) fn hash(&self, who: u8) -> Hash {
        match who {
            0x7e => self.local,
            0x7f => Hash::ZERO,
            0x40..0x7e => Hash([who; 32]),
            _ => self.entry(who, 0).key(),
        }
    }
}

fn moment(seconds: i64) -> UnixTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { BASE - by } else { BASE + by }
}

fn signer(n: u64, fault: Fault) -> (SigningKey, Rng) {
    let mut rng = Rng::new(&Seed::from_number(n));
    let key = SigningKey::generate(&mut rng);
    (if fault == Fault::Forged { SigningKey::from_seed([1; 32]) } else { key }, rng)
}

fn router_info(n: u64, (at, fault): (i64, Fault), caps: &str) -> RouterInfo {
    let (key, mut rng) = signer(n, fault);
    let public = signer(n, Fault::None).0.public();
    let identity = Identity::new_router(PrivateKey::generate(&mut rng).public(), &public, &mut rng);
    let mut options = Mapping::new();
    let (s, i) = (base64::encode(&[7; 32]), base64::encode(&[8; 16]));
    let host = format!("11.{}.{}.1", n / 250, n % 250);
    for (k, v) in [("s", &*s), ("i", &*i), ("v", "2"), ("host", &*host), ("port", "9")] {
        options.insert(k, v).unwrap();
    }
    let address = RouterAddress { cost: 3, style: Style::Ntcp2, options };
    let net = if fault == Fault::Unwanted { "2" } else { "99" };
    let version = if fault == Fault::Other { "0.9.64" } else { "0.9.65" };
    let mut options = Mapping::new();
    for (k, v) in [("caps", caps), ("netId", net), ("router.version", version)] {
        options.insert(k, v).unwrap();
    }
    RouterInfo::build(&identity, moment(at), &[address], &options, &key)
}

fn lease_set(n: u64, (at, fault): (i64, Fault)) -> LeaseSet {
    let (key, mut rng) = signer(n + 1_000_000, Fault::None);
    let encryption = PrivateKey::generate(&mut rng).public();
    let destination = Identity::new_destination(encryption, &key.public(), &mut rng);
    let published = moment(at);
    let expires = published + Duration::from_secs(600);
    let tunnel = if fault == Fault::Other { 8 } else { 7 };
    let contents = Contents {
        published,
        expires,
        keys: &[(4, &[9; 32])],
        leases: &[Lease { gateway: Hash([3; 32]), tunnel, expires }],
        options: &Mapping::new(),
        unpublished: fault == Fault::Unwanted,
    };
    let set = LeaseSet2::build(&destination, &contents, &key).unwrap();
    if fault != Fault::Forged {
        return set;
    }
    let mut bytes = set.as_bytes().to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    LeaseSet::decode(set.store_type(), &bytes).unwrap()
}
