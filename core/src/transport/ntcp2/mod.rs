//! NTCP2: Noise XK over TCP (specification `ntcp2`).
//!
//! A [`Session`] is one TCP stream, from its first byte in either role to its last. It knows no
//! addresses: whoever owns it dials, counts streams per prefix, and checks with [`source_matches`]
//! where a peer connects from. Messages that come out are not looked into: an owner drops those
//! whose expiration is more than 60 s past or 3 minutes ahead.

pub mod endpoint;
mod frame;
pub mod handshake;
mod link;
pub mod replay;
pub mod session;

pub use endpoint::{Close, Endpoint};
pub use handshake::HandshakeError;
pub use replay::{CAPACITY as REPLAY_CAPACITY, ReplayCache};
pub use session::{Session, SessionError, SessionEvent, Stats};

use super::checks;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::wire::hash::Hash;
use crate::wire::router_info::RouterInfo;
use core::net::IpAddr;

/// What all sessions of a router share; fixed while it runs.
pub struct Local {
    hash: Hash,
    static_key: PrivateKey,
    static_public: PublicKey,
    iv: [u8; 16],
    net_id: u8,
}

impl Local {
    /// `hash` is the router's; `static_key` and `iv` are those of its NTCP2 address, published as
    /// `s` and `i`.
    #[must_use]
    pub fn new(hash: Hash, static_key: PrivateKey, iv: [u8; 16], net_id: u8) -> Self {
        let static_public = static_key.public();
        Self { hash, static_key, static_public, iv, net_id }
    }

    /// The router's hash.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The key to publish as `s`.
    #[must_use]
    pub const fn static_public(&self) -> &PublicKey {
        &self.static_public
    }

    /// What to publish as `i`.
    #[must_use]
    pub const fn iv(&self) -> &[u8; 16] {
        &self.iv
    }

    /// The network.
    #[must_use]
    pub const fn net_id(&self) -> u8 {
        self.net_id
    }

    const fn static_key(&self) -> &PrivateKey {
        &self.static_key
    }
}

/// Whom to connect to: a router's hash, and `s` and `i` of its NTCP2 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The router.
    pub hash: Hash,
    /// `s`.
    pub static_key: PublicKey,
    /// `i`.
    pub iv: [u8; 16],
}

/// Whether a router may connect from `source`: if it publishes NTCP2 addresses of that family, from
/// one of these, or for IPv6 from the same /64. Others close with [`Reason::Banned`] otherwise.
///
/// [`Reason::Banned`]: crate::wire::ntcp2::Reason::Banned
#[must_use]
pub fn source_matches(info: &RouterInfo, source: IpAddr) -> bool {
    let published = info.ntcp2_addresses().filter_map(|address| Some(address.host?.ip()));
    checks::may_come_from(published, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;
    use crate::rng::{Rng, Seed};
    use crate::time::UnixTime;
    use crate::wire::base64;
    use crate::wire::identity::Identity;
    use crate::wire::mapping::Mapping;
    use crate::wire::router_info::{RouterAddress, Style};

    fn info(hosts: &[&str]) -> RouterInfo {
        let mut rng = Rng::new(&Seed::from_number(1));
        let signing = SigningKey::generate(&mut rng);
        let key = PrivateKey::generate(&mut rng).public();
        let identity = Identity::new_router(key, &signing.public(), &mut rng);
        let addresses = hosts.iter().map(|host| {
            let mut options = Mapping::new();
            options.insert("s", &base64::encode(&key.0)).unwrap();
            options.insert("v", "2").unwrap();
            if !host.is_empty() {
                options.insert("host", host).unwrap();
                options.insert("port", "1").unwrap();
                options.insert("i", &base64::encode(&[0; 16])).unwrap();
            }
            RouterAddress { cost: 3, style: Style::Ntcp2, options }
        });
        let addresses: alloc::vec::Vec<_> = addresses.collect();
        RouterInfo::build(&identity, UnixTime::default(), &addresses, &Mapping::new(), &signing)
    }

    #[test]
    fn a_published_router_connects_from_where_it_says() {
        for (hosts, source, expected) in [
            (&["1.2.3.4"][..], "1.2.3.4", true),
            (&["1.2.3.4"], "::ffff:1.2.3.4", true),
            (&["1.2.3.4"], "1.2.3.5", false),
            (&["1.2.3.4"], "2001:db8::1", true),
            (&["1.2.3.4", "5.6.7.8"], "5.6.7.8", true),
            (&["2001:db8:0:7::1"], "2001:db8:0:7:ffff::9", true),
            (&["2001:db8:0:7::1"], "2001:db8:0:8::1", false),
            (&[""], "1.2.3.4", true),
            (&["", "1.2.3.4"], "9.9.9.9", false),
        ] {
            assert_eq!(source_matches(&info(hosts), source.parse().unwrap()), expected, "{source}");
        }
    }
}
