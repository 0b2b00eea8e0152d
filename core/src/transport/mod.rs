//! Transports: sessions with other routers.

mod bandwidth;
pub mod checks;
pub mod ntcp2;
pub mod peers;
pub mod queue;
pub mod ssu2;

use crate::wire::hash::Hash;
use crate::wire::router_info::RouterInfo;
use core::net::IpAddr;

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It connected to us and proved to be this router. Everything of the RouterInfo is checked
    /// except where it connects from ([`ntcp2::source_matches`], [`ssu2::source_matches`]).
    Inbound {
        /// Its RouterInfo, signature verified.
        info: RouterInfo,
        /// It asks a floodfill to flood it.
        flood: bool,
    },
    /// We connected to it, and it proved to be the router we meant.
    Outbound(Hash),
}

impl Peer {
    /// The router.
    #[must_use]
    pub fn hash(&self) -> Hash {
        match self {
            Self::Inbound { info, .. } => info.hash(),
            Self::Outbound(hash) => *hash,
        }
    }
}

/// What counts as one address: an IPv4 address, an IPv6 /64.
fn prefix(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6) >> 64 << 64 | 1,
    }
}
