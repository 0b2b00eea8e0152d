//! Ways to a router: which transport, to which of its addresses.

use super::super::{ntcp2, ssu2};
use crate::wire::router_info::{RouterInfo, is_public};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// One for each transport and family. Whoever publishes more does not send us around the internet.
const MAX_ROUTES: usize = 4;

/// A way to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Ntcp2(ntcp2::Remote, SocketAddr),
    Ssu2(ssu2::Remote),
}

/// Which ways we can go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// NTCP2 is in use.
    pub(super) ntcp2: bool,
    /// The families of the sockets of SSU2.
    pub(super) ssu2: Families,
    /// Addresses that nobody can reach from the internet will do.
    pub(super) allow_local: bool,
}

/// IPv4, IPv6, both or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Families {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Families {
    /// Whether an address is of one of these.
    pub(crate) fn has(self, ip: IpAddr) -> bool {
        if ip.to_canonical().is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// The ways to the router of `info`, the best first: NTCP2 takes less work for a byte, IPv4 works in more places.
pub(super) fn routes(info: &RouterInfo, means: Means) -> VecDeque<Route> {
    let hash = info.hash();
    let routable = |at: SocketAddr| means.allow_local || is_public(at.ip());
    let streams = info.ntcp2_addresses().filter(|_| means.ntcp2).filter_map(|address| {
        let at = address.host.filter(|at| routable(*at))?;
        let remote = ntcp2::Remote { hash, static_key: address.static_key, iv: address.iv? };
        Some(Route::Ntcp2(remote, at))
    });
    let datagrams = info.ssu2_addresses().filter_map(|address| {
        let at = address.host.filter(|at| routable(*at) && means.ssu2.has(at.ip()))?;
        let (static_key, intro, mtu) = (address.static_key, address.intro_key, address.mtu);
        Some(Route::Ssu2(ssu2::Remote { hash, static_key, intro, at, mtu }))
    });
    let mut routes: Vec<Route> = streams.chain(datagrams).collect();
    routes.sort_by_key(|route| match route {
        Route::Ntcp2(_, at) => (0, at.is_ipv6()),
        Route::Ssu2(remote) => (1, remote.at.is_ipv6()),
    });
    routes.truncate(MAX_ROUTES);
    routes.into()
}
