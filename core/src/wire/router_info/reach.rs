//! What of a router's addresses we can connect to.

use super::{RouterInfo, is_public};
use core::net::{IpAddr, SocketAddr};

/// IPv4, IPv6, both or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Whether an address is of one of these.
    #[must_use]
    pub fn has(self, ip: IpAddr) -> bool {
        if ip.to_canonical().is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Which transports we speak, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Addresses that nobody can reach from the internet will do.
    pub allow_local: bool,
    /// NTCP2 is in use.
    pub ntcp2: bool,
    /// The families of the sockets of SSU2; none when it is not in use.
    pub ssu2: Families,
}

impl Reach {
    /// Over NTCP2 only.
    #[must_use]
    pub const fn ntcp2(allow_local: bool) -> Self {
        Self { allow_local, ntcp2: true, ssu2: Families { v4: false, v6: false } }
    }

    /// Whether anybody could send us to `at`.
    #[must_use]
    pub fn is_routable(self, at: SocketAddr) -> bool {
        self.allow_local || is_public(at.ip())
    }

    /// Whether we can connect to `at` over SSU2.
    #[must_use]
    pub fn over_ssu2(self, at: SocketAddr) -> bool {
        self.is_routable(at) && self.ssu2.has(at.ip())
    }

    /// Whether we can connect to `at` over NTCP2.
    #[must_use]
    pub fn over_ntcp2(self, at: SocketAddr) -> bool {
        self.ntcp2 && self.is_routable(at)
    }

    /// The address of a router that we would connect to first: that of NTCP2, and IPv4, which more routers can reach.
    #[must_use]
    pub fn host(self, info: &RouterInfo) -> Option<SocketAddr> {
        let ntcp2 = info.ntcp2_addresses().filter_map(|a| a.host).filter(|at| self.over_ntcp2(*at));
        let ssu2 = || info.ssu2_addresses().filter_map(|a| a.host).filter(|at| self.over_ssu2(*at));
        ntcp2.min_by_key(SocketAddr::is_ipv6).or_else(|| ssu2().min_by_key(SocketAddr::is_ipv6))
    }
}
