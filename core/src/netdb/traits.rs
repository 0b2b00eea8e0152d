//! What a RouterInfo lets us use its router for (notes 1.5 and 5.5), worked out once when it is
//! stored.

use super::profile::Standing;
use crate::crypto::x25519;
use crate::time::UnixTime;
use crate::wire::hash::Hash;
use crate::wire::router_info::{Bandwidth, Congestion, Reach, RouterInfo};
use core::net::SocketAddr;
use core::time::Duration;

/// Hops must know short build records, which came with this version.
pub const MIN_HOP_VERSION: (u8, u8, u8) = (0, 9, 51);
/// Floodfills must answer an ECIES router through a tunnel with an encrypted reply. i2pd 2.45.1,
/// which publishes 0.9.57, does.
pub const MIN_FLOODFILL_VERSION: (u8, u8, u8) = (0, 9, 51);
/// High congestion counts for this long after publication, then as medium.
const CONGESTION_COUNTS: Duration = Duration::from_secs(15 * 60);

/// A router that may be a hop of our tunnels.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The whole RouterInfo.
    pub info: &'a RouterInfo,
    /// Its name.
    pub hash: Hash,
    /// What build records for it are encrypted to.
    pub key: x25519::PublicKey,
    /// Where we would connect to it; the address family and the subnet decide whom it may stand beside.
    pub host: SocketAddr,
    /// The bandwidth that it claims; never below [`Bandwidth::L`].
    pub bandwidth: Bandwidth,
    /// It says that it is loaded: prefer others.
    pub congested: bool,
    /// May be the inbound gateway, whom strangers must be able to reach.
    pub gateway: bool,
    /// Keeps a part of the network database.
    pub floodfill: bool,
    /// We have seen it at work ourselves, or trust who named it.
    pub verified: bool,
    /// What we measured.
    pub standing: Standing,
}

/// The facts that decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) key: Option<x25519::PublicKey>,
    /// An address that we can connect to.
    pub(crate) host: Option<SocketAddr>,
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) congestion: Option<Congestion>,
    /// May be asked and stored to.
    pub(crate) floodfill: bool,
    /// May be a hop, congestion aside.
    pub(crate) hop: bool,
    pub(crate) gateway: bool,
}

impl Traits {
    /// Of `info`, for who reaches so far.
    pub(crate) fn of(info: &RouterInfo, reach: Reach) -> Self {
        let caps = info.caps();
        let host = reach.host(info);
        let hosts = info.addresses().iter().filter_map(|a| a.host());
        let reachable = hosts.into_iter().any(|host| reach.is_routable(host));
        let key = info.identity().x25519_key();
        let since = |min| key.is_some() && !caps.hidden && info.version().is_some_and(|v| v >= min);
        Self {
            key,
            host,
            bandwidth: caps.bandwidth,
            congestion: caps.congestion,
            floodfill: caps.floodfill
                && !caps.unreachable
                && reachable
                && since(MIN_FLOODFILL_VERSION),
            hop: since(MIN_HOP_VERSION)
                && host.is_some()
                && caps.bandwidth.is_some_and(|b| b > Bandwidth::K)
                && caps.congestion != Some(Congestion::RejectsAll),
            gateway: host.is_some() && !caps.hidden && !caps.unreachable,
        }
    }

    /// The candidate for hops, if it is one now.
    pub(crate) fn candidate<'a>(
        &self,
        info: &'a RouterInfo,
        unix: UnixTime,
        verified: bool,
        standing: Standing,
    ) -> Option<Candidate<'a>> {
        let fresh = unix.saturating_since(info.published()) < CONGESTION_COUNTS;
        if !self.hop || self.congestion == Some(Congestion::High) && fresh {
            return None;
        }
        Some(Candidate {
            info,
            hash: info.hash(),
            key: self.key?,
            host: self.host?,
            bandwidth: self.bandwidth?,
            congested: self.congestion.is_some(),
            gateway: self.gateway,
            floodfill: self.floodfill,
            verified,
            standing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Maker, UNIX};
    use super::*;
    use crate::netdb::profile::Profile;
    use crate::time::Instant;

    fn candidate(maker: &Maker, unix: UnixTime) -> Option<(bool, bool)> {
        let info = maker.build();
        let standing = Profile::new(Instant::ZERO).standing(Instant::ZERO);
        Traits::of(&info, Reach::ntcp2(false))
            .candidate(&info, unix, true, standing)
            .map(|c| (c.gateway, c.congested))
    }

    #[test]
    fn the_rules_for_hops() {
        // caps, then: gateway and congested, or not a hop at all.
        for (caps, want) in [
            ("LR", Some((true, false))),
            ("XfR", Some((true, false))),
            ("PO", Some((true, false))),
            ("L", Some((true, false))),
            ("LU", Some((false, false))),
            ("OH", None),
            ("K", None),
            ("KR", None),
            ("R", None),
            ("fR", None),
            ("", None),
            ("ORD", Some((true, true))),
            ("ORE", None),
            ("ORG", None),
        ] {
            assert_eq!(candidate(&Maker::new(1).caps(caps), UNIX), want, "caps {caps:?}");
        }
        let later = UNIX + Duration::from_secs(16 * 60);
        assert_eq!(candidate(&Maker::new(1).caps("ORE"), later), Some((true, true)));
        assert_eq!(candidate(&Maker::new(1).caps("ORG"), later), None);
        for (version, want) in
            [("0.9.57", true), ("0.9.51", true), ("0.9.50", false), ("0.9", false), ("1.0.0", true)]
        {
            assert_eq!(
                candidate(&Maker::new(1).version(version), UNIX).is_some(),
                want,
                "{version}"
            );
        }
        assert!(candidate(&Maker::new(1).host(None), UNIX).is_none(), "cannot be reached");
        assert!(candidate(&Maker::new(1).host(Some("10.0.0.1")), UNIX).is_none(), "private");
        let local = Maker::new(1).host(Some("127.0.0.1")).build();
        assert!(
            Traits::of(&local, Reach::ntcp2(true)).hop
                && !Traits::of(&local, Reach::ntcp2(false)).hop
        );
    }

    #[test]
    fn the_rules_for_floodfills() {
        let floodfill = |m: Maker| Traits::of(&m.build(), Reach::ntcp2(false)).floodfill;
        assert!(floodfill(Maker::new(1).caps("XfR")));
        assert!(floodfill(Maker::new(1).caps("Lf").version("0.9.57")));
        assert!(!floodfill(Maker::new(1).caps("XR")));
        assert!(!floodfill(Maker::new(1).caps("XfU")));
        assert!(!floodfill(Maker::new(1).caps("XfH")));
        assert!(!floodfill(Maker::new(1).caps("XfR").version("0.9.40")));
        assert!(!floodfill(Maker::new(1).caps("XfR").host(None)));
    }
}
