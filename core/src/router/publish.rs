//! Our own RouterInfo: what it says, and when it says something new.

use crate::config::Config;
use crate::keys::RouterKeys;
use crate::time::UnixTime;
use crate::wire::base64;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{
    Bandwidth, Families, Reach, RouterAddress, RouterInfo, Ssu2Address, Ssu2Caps, Style,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// The API version whose features we implement; peers choose by it.
const API_VERSION: &str = "0.9.62";
/// Cost of a published address, and of one that only says how we connect.
const COST_PUBLISHED: u8 = 3;
const COST_UNPUBLISHED: u8 = 14;
/// SSU2 after NTCP2, for those who choose by it.
const COST_SSU2_PUBLISHED: u8 = 8;

/// Where we can be reached over NTCP2; `None` when nowhere, or not to be told.
fn ntcp2_host(config: &Config) -> Option<SocketAddr> {
    let ntcp2 = &config.ntcp2;
    let host = ntcp2.host.filter(|_| ntcp2.enabled && ntcp2.publish)?;
    Some(SocketAddr::new(host, ntcp2.port.filter(|p| *p != 0)?))
}

/// The same for SSU2.
fn ssu2_host(config: &Config) -> Option<SocketAddr> {
    let ssu2 = &config.ssu2;
    let host = ssu2.host.or(config.ntcp2.host).filter(|_| ssu2.enabled && ssu2.publish)?;
    // Nobody is at an address of another family than the socket's.
    let host = Some(host).filter(|host| ssu2_families(config).has(*host))?;
    Some(SocketAddr::new(host, ssu2.port.filter(|p| *p != 0)?))
}

/// Whether others can connect to us, as configured.
pub(super) fn is_published(config: &Config) -> bool {
    ntcp2_host(config).or(ssu2_host(config)).is_some()
}

/// The families of the sockets of SSU2.
fn ssu2_families(config: &Config) -> Families {
    let v6 = config.ssu2_bind().is_ipv6();
    Families { v4: !v6, v6 }
}

/// The bandwidth that we share.
pub(super) fn bandwidth(config: &Config) -> Bandwidth {
    let limits = &config.limits;
    let rate = limits.bandwidth_in.min(limits.bandwidth_out) / 1024;
    let shared = rate.saturating_mul(limits.share.into()) / 100;
    Bandwidth::of_share(u32::try_from(shared).unwrap_or(u32::MAX))
}

/// The capabilities string: bandwidth class, floodfill, reachability.
pub(super) fn caps(config: &Config, floodfill: bool) -> String {
    let class = bandwidth(config).letter();
    let floodfill = if floodfill { "f" } else { "" };
    let reachable = if is_published(config) { 'R' } else { 'U' };
    format!("{class}{floodfill}{reachable}")
}

/// What a floodfill says of its part of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statistics {
    pub(super) routers: usize,
    pub(super) lease_sets: usize,
}

/// Whom we can connect to.
pub(super) fn reach(config: &Config) -> Reach {
    let ssu2 = if has_ssu2(config) { ssu2_families(config) } else { Families::default() };
    Reach { allow_local: config.network.allow_local, ntcp2: config.ntcp2.enabled, ssu2 }
}

/// SSU2 is in use, and there is a socket for it.
pub(super) const fn has_ssu2(config: &Config) -> bool {
    config.ssu2.enabled && config.ssu2.port.is_some()
}

/// Builds and signs it.
pub(super) fn router_info(
    config: &Config,
    keys: &RouterKeys,
    floodfill: Option<Statistics>,
    unix: UnixTime,
) -> RouterInfo {
    let mut options = Mapping::new();
    let net_id = config.network.id.to_string();
    put(&mut options, "caps", &caps(config, floodfill.is_some()));
    put(&mut options, "netId", &net_id);
    put(&mut options, "router.version", API_VERSION);
    if let Some(Statistics { routers, lease_sets }) = floodfill {
        put(&mut options, "netdb.knownRouters", &routers.to_string());
        put(&mut options, "netdb.knownLeaseSets", &lease_sets.to_string());
    }

    let addresses: Vec<RouterAddress> =
        ntcp2_address(config, keys).into_iter().chain(ssu2_address(config, keys)).collect();
    RouterInfo::build(&keys.identity, unix, &addresses, &options, &keys.signing)
}

fn ntcp2_address(config: &Config, keys: &RouterKeys) -> Option<RouterAddress> {
    if !config.ntcp2.enabled {
        return None;
    }
    let mut options = Mapping::new();
    put(&mut options, "s", &base64::encode(&keys.ntcp2.public().0));
    put(&mut options, "v", "2");
    let cost = match ntcp2_host(config) {
        Some(at) => {
            put(&mut options, "host", &at.ip().to_string());
            put(&mut options, "port", &at.port().to_string());
            put(&mut options, "i", &base64::encode(&keys.ntcp2_iv));
            COST_PUBLISHED
        }
        None => {
            put(&mut options, "caps", "4");
            COST_UNPUBLISHED
        }
    };
    Some(RouterAddress { cost, style: Style::Ntcp2, options })
}

fn ssu2_address(config: &Config, keys: &RouterKeys) -> Option<RouterAddress> {
    if !has_ssu2(config) {
        return None;
    }
    let mut address = Ssu2Address::new(keys.ssu2.public(), keys.ssu2_intro);
    address.mtu = config.ssu2.mtu;
    address.host = ssu2_host(config);
    let cost = if address.host.is_some() {
        COST_SSU2_PUBLISHED
    } else {
        let Families { v4, v6 } = ssu2_families(config);
        address.caps = Ssu2Caps { v4, v6, ..Ssu2Caps::default() };
        COST_UNPUBLISHED
    };
    Some(RouterAddress { cost, style: Style::Ssu2, options: address.options() })
}

fn put(mapping: &mut Mapping, key: &str, value: &str) {
    // Strings of a few bytes always fit.
    let _fits = mapping.insert(key, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};

    #[test]
    fn says_what_the_configuration_allows() {
        let keys = RouterKeys::generate(&mut Rng::new(&Seed::from_number(5)));
        let mut config = Config::default();
        config.network.id = 99;
        config.limits.bandwidth_in = 100 * 1024;
        config.limits.share = 80;
        let unix = UnixTime::from_secs(1_800_000_000);
        let hidden = router_info(&config, &keys, None, unix);
        assert!(hidden.verify().is_ok());
        assert_eq!(hidden.options().get("caps"), Some("NU"));
        assert_eq!(hidden.net_id(), Some(99));
        assert!(hidden.ntcp2().is_none_or(|a| a.host.is_none()));

        config.limits.bandwidth_in = 1 << 30;
        config.limits.bandwidth_out = 1 << 30;
        config.ntcp2.host = Some([11, 1, 0, 1].into());
        config.ntcp2.port = Some(4567);
        config.ntcp2.publish = true;
        let open = router_info(&config, &keys, None, unix);
        assert_eq!(open.options().get("caps"), Some("XR"));
        let address = open.ntcp2().unwrap();
        assert_eq!(address.host, Some(([11, 1, 0, 1], 4567).into()));
        assert_eq!(address.static_key, keys.ntcp2.public());
        assert_eq!(address.iv, Some(keys.ntcp2_iv));
        assert!(open.as_bytes().len() < 1100);

        let statistics = Some(Statistics { routers: 6000, lease_sets: 5000 });
        let floodfill = router_info(&config, &keys, statistics, unix);
        assert_eq!(floodfill.options().get("caps"), Some("XfR"));
        assert_eq!(floodfill.options().get("netdb.knownRouters"), Some("6000"));
        assert_eq!(floodfill.options().get("netdb.knownLeaseSets"), Some("5000"));
        assert!(floodfill.verify().is_ok() && floodfill.as_bytes().len() < 1100);
    }
}
