//! A small network over loopback, in this process, for tests, examples and the documentation. Not
//! part of the interface.

use crate::{Destination, Memory, Router};
use ramson_core::config::{Config, Floodfill, Tunnels};
use ramson_core::router::input::Stored;
use ramson_core::router::output::StoreKey;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A network id that no real network has.
const NET_ID: u8 = 99;

/// Three routers, two of them with a destination that has tunnels.
pub struct Network {
    /// The router that `alice` is at.
    pub router: Router,
    /// The one that `bob` is at.
    pub other: Router,
    /// One that is there.
    pub third: Router,
    /// A destination.
    pub alice: Destination,
    /// Another one.
    pub bob: Destination,
    /// The shape that tunnels may have in so small a network.
    pub tunnels: Tunnels,
}

/// A router of such a network, and its store, with the RouterInfos of others.
///
/// # Errors
///
/// When it does not start.
pub async fn router(known: &[Arc<[u8]>]) -> Result<(Router, Memory), crate::Error> {
    router_with(known, |_| {}).await
}

/// As [`router`], with a configuration that `change` changed.
///
/// # Errors
///
/// When it does not start.
pub async fn router_with(
    known: &[Arc<[u8]>],
    change: impl FnOnce(&mut Config),
) -> Result<(Router, Memory), crate::Error> {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut config = Config::default();
    config.network.id = NET_ID;
    config.network.allow_local = true;
    config.ntcp2.host = Some(ip);
    config.ntcp2.bind = Some(ip);
    config.ssu2.bind = Some(ip);
    // They carry each other's bytes and nobody else's.
    config.limits.share = 100;
    (config.limits.bandwidth_in, config.limits.bandwidth_out) = (1 << 30, 1 << 30);
    config.netdb.floodfill = Floodfill::On;
    config.exploratory = tunnels();
    change(&mut config);
    let mut stored = Stored::default();
    stored.router_infos.extend(known.iter().cloned());
    let host = Memory::default();
    let builder = Router::builder().config(config).stored(stored);
    Ok((builder.host(host.clone()).spawn().await?, host))
}

/// Tunnels of one hop.
#[must_use]
pub fn tunnels() -> Tunnels {
    let mut tunnels = Tunnels::default();
    (tunnels.length, tunnels.length_variance, tunnels.quantity) = (1, 0, 2);
    tunnels
}

/// The network.
///
/// # Errors
///
/// Whatever keeps it from coming to be.
pub async fn network() -> Result<Network, Box<dyn std::error::Error>> {
    network_with(|_| {}).await
}

/// As [`network`], with configurations that `change` changed.
///
/// # Errors
///
/// Whatever keeps it from coming to be.
pub async fn network_with(
    change: impl Fn(&mut Config),
) -> Result<Network, Box<dyn std::error::Error>> {
    let mut known = Vec::new();
    let mut routers = Vec::new();
    for _ in 0..3 {
        let (router, store) = router_with(&known, &change).await?;
        // It is there once the router runs.
        router.report().await;
        known.extend(store.get(&StoreKey::RouterInfo));
        routers.push(router);
    }
    let [router, other, third] = routers.try_into().map_err(|_| "three routers")?;
    let tunnels = tunnels();
    let alice = router.destination("alice").tunnels(tunnels).open().await?;
    let bob = other.destination("bob").tunnels(tunnels).open().await?;
    alice.ready().await?;
    bob.ready().await?;
    Ok(Network { router, other, third, alice, bob, tunnels })
}
