//! Everything a network needs before its first router starts: addresses, keys, names, and the
//! RouterInfos from which all know each other.

use super::{HOST, TestnetError};
use crate::clock;
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::store::Store;
use log::{LevelFilter, error};
use ramson_core::config::{Config, Floodfill, HttpProxy, Server, ServerKind};
use ramson_core::keys::{DestinationKeys, RouterKeys};
use ramson_core::rng::{Rng, Seed};
use ramson_core::router::Router;
use ramson_core::router::input::Stored;
use ramson_core::router::output::StoreKey;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Not the public network, which has 2.
const NETWORK_ID: u8 = 99;
/// The router with the proxy.
pub(super) const READER: usize = 0;
/// The router with the site.
pub(super) const AUTHOR: usize = 1;
/// One router of so many is a floodfill, but at least [`MIN_FLOODFILLS`] are.
const FLOODFILL_SHARE: usize = 3;
const MIN_FLOODFILLS: usize = 2;
/// Bytes per second: the machine is the limit.
const BANDWIDTH: u64 = 1 << 30;
const SITE_KEYS: &str = "site.dat";
/// The folder of RouterInfos that all start from.
const FIRST: &str = "first";

/// How long a folder is tried to be removed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A folder that is removed with all that is in it.
pub(super) struct Folder(PathBuf);

/// One router to be.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) folder: PathBuf,
}

impl Folder {
    /// A new one, for its owner only.
    pub(super) fn temporary() -> Result<Self, TestnetError> {
        let parent = std::env::temp_dir();
        let pid = std::process::id();
        for n in 0.. {
            let path = parent.join(format!("ramson-testnet-{pid}-{n}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                // Left by a process that was killed, whose number we got.
                Err(e) if e.kind() == ErrorKind::AlreadyExists && n < 100 => {}
                Err(error) => return Err(TestnetError::Folder { path, error }),
                Ok(()) => return Ok(Self(path)),
            }
        }
        Err(TestnetError::Folder { path: parent, error: ErrorKind::AlreadyExists.into() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it, which may be done twice. Routers that were stopped at once write for a moment yet,
    /// and make again what is gone.
    pub(super) fn remove(&self) -> Result<(), TestnetError> {
        let end = clock::now() + PATIENCE;
        loop {
            match std::fs::remove_dir_all(&self.0) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) if clock::now() >= end => {
                    return Err(TestnetError::Folder { path: self.0.clone(), error });
                }
                Err(_) => {}
            }
            // Looked at again, also after a success.
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = self.remove() {
            error!("{e}");
        }
    }
}

/// How many of `routers` are floodfills.
pub(super) fn floodfills(routers: usize) -> usize {
    (routers / FLOODFILL_SHARE).max(MIN_FLOODFILLS)
}

/// Plans `routers` routers in `root`; the site's content is at `site`.
pub(super) fn make(
    root: &Path,
    routers: usize,
    proxy: SocketAddr,
    site: SocketAddr,
) -> Result<Vec<Plan>, TestnetError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|e| TestnetError::system("no entropy", io::Error::other(e.to_string())))?;
    let mut rng = Rng::new(&Seed::new(seed));
    let addresses = free_addresses(routers)
        .map_err(|e| TestnetError::system("find addresses for the routers", e))?;
    let site_keys = DestinationKeys::generate(&mut rng.fork("site"));
    let hosts = format!("{HOST}={}\n", site_keys.identity.to_base64());
    let first = root.join(FIRST);
    write(&first, "", b"")?;

    let mut plans = Vec::with_capacity(routers);
    for (i, address) in addresses.into_iter().enumerate() {
        let folder = root.join(format!("router-{i:02}"));
        // Makes it with the right permissions.
        drop(DataDir::open(&folder)?);
        let store = Store::new(&folder);
        let keys = RouterKeys::generate(&mut rng.fork("router")).encode();
        store.write(&StoreKey::RouterKeys, Some(&keys))?;
        write(&folder, "hosts.txt", hosts.as_bytes())?;
        let mut config = config(address, i >= routers - floodfills(routers));
        let info = router_info(&config, &keys, Seed::new(rng.fork("first").bytes()))?;
        write(&first, &format!("routerInfo-{i:02}.dat"), &info)?;
        if i == READER {
            config.http_proxy = Some(HttpProxy::new(proxy));
        }
        if i == AUTHOR {
            store.write(&StoreKey::DestinationKeys(SITE_KEYS.into()), Some(&site_keys.encode()))?;
            let mut server = Server::new("site", site);
            server.kind = ServerKind::Http;
            config.servers.push(server);
        }
        let settings = Settings {
            router: config,
            reseed: vec![first.clone()],
            log_level: LevelFilter::Warn,
            ..Settings::default()
        };
        plans.push(Plan { settings, folder });
    }
    Ok(plans)
}

fn config(address: SocketAddr, floodfill: bool) -> Config {
    let mut config = Config::default();
    config.network.id = NETWORK_ID;
    config.network.allow_local = true;
    config.ntcp2.host = Some(address.ip());
    config.ntcp2.bind = Some(address.ip());
    config.ntcp2.port = Some(address.port());
    config.netdb.floodfill = if floodfill { Floodfill::On } else { Floodfill::Off };
    config.limits.bandwidth_in = BANDWIDTH;
    config.limits.bandwidth_out = BANDWIDTH;
    config.limits.share = 100;
    config
}

/// What a router with this configuration and these keys says of itself.
fn router_info(config: &Config, keys: &[u8], seed: Seed) -> Result<Arc<[u8]>, TestnetError> {
    let mut stored = Stored::default();
    stored.router_keys = Some(keys.to_vec());
    // It lives for this question only: that it knows nobody is not for the log.
    let level = log::max_level();
    log::set_max_level(LevelFilter::Off);
    let router = Router::new(Arc::new(config.clone()), stored, seed, clock::now(), clock::unix());
    log::set_max_level(level);
    let router = router.map_err(|e| TestnetError::Failed(e.to_string()))?;
    Ok(Arc::from(router.router_info().as_bytes()))
}

/// An address for each router, all free a moment ago: in a network of its own where all of 127/8 is
/// this machine, else at a port of its own.
fn free_addresses(routers: usize) -> io::Result<Vec<SocketAddr>> {
    // Held until all are chosen, so that none is chosen twice.
    let held = (10..)
        .take(routers)
        .map(|network| listen(Ipv4Addr::new(127, network, 0, 1)))
        .collect::<io::Result<Vec<_>>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

fn listen(ip: Ipv4Addr) -> io::Result<TcpListener> {
    let any_port = |ip: IpAddr| TcpListener::bind((ip, 0));
    match any_port(ip.into()) {
        Err(e) if e.kind() == ErrorKind::AddrNotAvailable => any_port(Ipv4Addr::LOCALHOST.into()),
        result => result,
    }
}

/// Writes a file; without a name, only makes the folder.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), TestnetError> {
    let path = folder.join(name);
    let written = if name.is_empty() {
        DirBuilder::new().mode(0o700).create(folder)
    } else {
        std::fs::write(&path, bytes)
    };
    written.map_err(|error| TestnetError::Folder { path, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::wire::router_info::RouterInfo;
    use std::collections::BTreeSet;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_third_of_the_routers_are_floodfills_and_at_least_two() {
        assert_eq!([6, 8, 9, 12, 100].map(floodfills), [2, 2, 3, 4, 33]);
    }

    #[test]
    fn where_a_loopback_address_is_missing_ports_tell_routers_apart() {
        let elsewhere = Ipv4Addr::new(203, 0, 113, 1);
        let held = [elsewhere, elsewhere].map(|ip| listen(ip).unwrap());
        let [a, b] = held.each_ref().map(|listener| listener.local_addr().unwrap());
        assert!(a.ip().is_loopback() && b.ip().is_loopback());
        assert_ne!(a.port(), b.port());
    }

    #[test]
    fn all_know_each_other_and_the_name_of_the_site() {
        let folder = Folder::temporary().unwrap();
        assert_eq!(std::fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        let any: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let plans = make(folder.path(), 5, any, any).unwrap();
        let mut hosts = BTreeSet::new();
        let mut names = BTreeSet::new();
        for (i, plan) in plans.iter().enumerate() {
            let router = &plan.settings.router;
            assert_ne!(router.network.id, 2);
            assert_eq!(router.http_proxy.is_some(), i == READER);
            assert_eq!(router.servers.len(), usize::from(i == AUTHOR));
            assert_eq!(router.netdb.floodfill == Floodfill::On, i >= 3);
            hosts.insert((router.ntcp2.host.unwrap(), router.ntcp2.port.unwrap()));
            names.insert(std::fs::read_to_string(plan.folder.join("hosts.txt")).unwrap());
            assert_eq!(plan.settings.reseed, [folder.path().join(FIRST)]);
        }
        assert_eq!(hosts.len(), 5);
        let keys = Store::new(&plans[AUTHOR].folder).load_keys().unwrap().destinations;
        let keys = DestinationKeys::decode(&keys[SITE_KEYS]).unwrap();
        assert_eq!(names, BTreeSet::from([format!("{HOST}={}\n", keys.identity.to_base64())]));
        let published: BTreeSet<_> = std::fs::read_dir(folder.path().join(FIRST))
            .unwrap()
            .map(|entry| {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                let host = RouterInfo::decode(&bytes).unwrap().ntcp2().unwrap().host.unwrap();
                (host.ip(), host.port())
            })
            .collect();
        assert_eq!(published, hosts);
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }
}
