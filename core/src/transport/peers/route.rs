//! Ways to a router: which transport, to which of its addresses.

use super::super::{ntcp2, ssu2};
use crate::wire::router_info::{Reach, RouterInfo};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// A way to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Ntcp2(ntcp2::Remote, SocketAddr),
    Ssu2(ssu2::Remote),
}

/// The ways to the router of `info`, one for each transport and family, the best first: NTCP2 takes less work for
/// a byte, IPv4 works in more places.
pub(super) fn routes(info: &RouterInfo, reach: Reach) -> VecDeque<Route> {
    let hash = info.hash();
    let streams = info.ntcp2_addresses().filter_map(|address| {
        let at = address.host.filter(|at| reach.over_ntcp2(*at))?;
        let remote = ntcp2::Remote { hash, static_key: address.static_key, iv: address.iv? };
        Some(Route::Ntcp2(remote, at))
    });
    let datagrams = info.ssu2_addresses().filter_map(|address| {
        let at = address.host.filter(|at| reach.over_ssu2(*at))?;
        let (static_key, intro, mtu) = (address.static_key, address.intro_key, address.mtu);
        Some(Route::Ssu2(ssu2::Remote { hash, static_key, intro, at, mtu }))
    });
    let mut routes: Vec<Route> = streams.chain(datagrams).collect();
    let kind = |route: &Route| match route {
        Route::Ntcp2(_, at) => (0, at.is_ipv6()),
        Route::Ssu2(remote) => (1, remote.at.is_ipv6()),
    };
    routes.sort_by_key(kind);
    // Whoever publishes more does not send us around the internet.
    routes.dedup_by_key(|route| kind(route));
    routes.into()
}
