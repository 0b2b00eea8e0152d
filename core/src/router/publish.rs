//! Our own RouterInfo: what it says, and when it says something new.

use crate::config::Config;
use crate::keys::RouterKeys;
use crate::time::UnixTime;
use crate::wire::base64;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::{Bandwidth, RouterAddress, RouterInfo, Style};
use alloc::format;
use alloc::string::{String, ToString};
use core::net::IpAddr;

/// The API version whose features we implement; peers choose by it.
const API_VERSION: &str = "0.9.62";
/// Cost of a published address, and of one that only says how we connect.
const COST_PUBLISHED: u8 = 3;
const COST_UNPUBLISHED: u8 = 14;

/// Where we can be reached over NTCP2; `None` when nowhere, or not to be told.
pub(super) fn published_host(config: &Config) -> Option<(IpAddr, u16)> {
    let host = config.ntcp2.host.filter(|_| config.ntcp2.publish)?;
    Some((host, config.ntcp2.port.filter(|p| *p != 0)?))
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
    let reachable = if published_host(config).is_some() { 'R' } else { 'U' };
    format!("{class}{floodfill}{reachable}")
}

/// What a floodfill says of its part of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statistics {
    pub(super) routers: usize,
    pub(super) lease_sets: usize,
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

    let mut ntcp2 = Mapping::new();
    put(&mut ntcp2, "s", &base64::encode(&keys.ntcp2.public().0));
    put(&mut ntcp2, "v", "2");
    let cost = match published_host(config) {
        Some((host, port)) => {
            put(&mut ntcp2, "host", &host.to_string());
            put(&mut ntcp2, "port", &port.to_string());
            put(&mut ntcp2, "i", &base64::encode(&keys.ntcp2_iv));
            COST_PUBLISHED
        }
        None => {
            put(&mut ntcp2, "caps", "4");
            COST_UNPUBLISHED
        }
    };
    let address = RouterAddress { cost, style: Style::Ntcp2, options: ntcp2 };
    RouterInfo::build(&keys.identity, unix, &[address], &options, &keys.signing)
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
