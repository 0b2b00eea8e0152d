//! The parts of an address that SSU2 needs (specification `ssu2`, Published Router Info).

use super::RouterAddress;
use crate::crypto::x25519;
use crate::wire::base64;
use crate::wire::hash::Hash;
use crate::wire::mapping::Mapping;
use crate::wire::ssu2::{Family, MAX_MTU, MIN_MTU};
use alloc::string::{String, ToString};
use arrayvec::ArrayVec;
use core::net::SocketAddr;

/// The most introducers of one address.
pub const MAX_INTRODUCERS: usize = 3;
/// The options of each: hash, tag, expiry.
const INTRODUCERS: [[&str; 3]; MAX_INTRODUCERS] =
    [["ih0", "itag0", "iexp0"], ["ih1", "itag1", "iexp1"], ["ih2", "itag2", "iexp2"]];

/// What the `caps` of an SSU2 address say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssu2Caps {
    /// `B`: takes part in peer tests as Bob and Charlie.
    pub peer_test: bool,
    /// `C`: introduces others.
    pub introducer: bool,
    /// `4`: speaks IPv4. Only in an address without a host, which shows it otherwise.
    pub v4: bool,
    /// `6`: speaks IPv6. Only in an address without a host.
    pub v6: bool,
}

impl Ssu2Caps {
    fn parse(letters: &str) -> Self {
        let has = |letter| letters.contains(letter);
        Self { peer_test: has('B'), introducer: has('C'), v4: has('4'), v6: has('6') }
    }

    fn letters(self) -> String {
        let all = [(self.peer_test, 'B'), (self.introducer, 'C'), (self.v4, '4'), (self.v6, '6')];
        all.iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect()
    }
}

/// Who introduces to a router that cannot be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introducer {
    /// `ih`: the introducer, whose own RouterInfo tells how to reach it.
    pub router: Hash,
    /// `itag`: what it calls the router. Not zero.
    pub tag: u32,
    /// `iexp`: until when, seconds since the epoch.
    pub expires: Option<u32>,
}

/// The parts of an address that SSU2 needs.
///
/// Published, it has a host. Firewalled, it has none, but introducers and the families that it speaks; without
/// introducers, whose router only connects to others, it is there for its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssu2Address {
    /// Where it listens; `None` when the router cannot be connected to without an introduction.
    pub host: Option<SocketAddr>,
    /// `s`: the static key that its handshakes use.
    pub static_key: x25519::PublicKey,
    /// `i`: the key that masks the headers of what is sent to it. Everybody knows it.
    pub intro_key: [u8; 32],
    /// The largest packets it takes, in bytes with IP and UDP headers, from 1280 to 1500.
    pub mtu: u16,
    /// What else it does.
    pub caps: Ssu2Caps,
    /// Who introduces to it.
    pub introducers: ArrayVec<Introducer, MAX_INTRODUCERS>,
}

impl Ssu2Address {
    /// One without a host, introducers and capabilities, for the largest packets.
    #[must_use]
    pub const fn new(static_key: x25519::PublicKey, intro_key: [u8; 32]) -> Self {
        let caps = Ssu2Caps { peer_test: false, introducer: false, v4: false, v6: false };
        let introducers = ArrayVec::new_const();
        Self { host: None, static_key, intro_key, mtu: MAX_MTU, caps, introducers }
    }

    /// Whether the router can be reached over `family`, directly or through an introducer.
    #[must_use]
    pub fn reaches(&self, family: Family) -> bool {
        match (self.host, family) {
            (Some(host), _) => Family::of(host.ip()) == family,
            (None, Family::V4) => self.caps.v4 && !self.introducers.is_empty(),
            (None, Family::V6) => self.caps.v6 && !self.introducers.is_empty(),
        }
    }

    /// The options of a router address that says this. What is as it is without an option has none.
    #[must_use]
    pub fn options(&self) -> Mapping {
        let mut options = Mapping::new();
        let mut put = |key: &str, value: &str| {
            // All of it together is below a kilobyte.
            let _fits = options.insert(key, value);
        };
        let caps = self.caps.letters();
        if !caps.is_empty() {
            put("caps", &caps);
        }
        if let Some(host) = self.host {
            put("host", &host.ip().to_string());
            put("port", &host.port().to_string());
        }
        put("i", &base64::encode(&self.intro_key));
        for ([hash, tag, expiry], introducer) in INTRODUCERS.iter().zip(&self.introducers) {
            put(hash, &base64::encode(introducer.router.as_bytes()));
            put(tag, &introducer.tag.to_string());
            if let Some(expires) = introducer.expires {
                put(expiry, &expires.to_string());
            }
        }
        if self.mtu != MAX_MTU {
            put("mtu", &self.mtu.to_string());
        }
        put("s", &base64::encode(&self.static_key.0));
        put("v", "2");
        options
    }
}

impl RouterAddress {
    /// What SSU2 needs, when this is a usable SSU2 address.
    ///
    /// An introducer that cannot be read is left out; an MTU below the least makes all of it useless, as the
    /// specification has it.
    #[must_use]
    pub fn ssu2(&self) -> Option<Ssu2Address> {
        // Routers of the transition wrote version 2 into addresses of the old style.
        let style = self.style.as_str();
        if style != "SSU2" && style != "SSU" {
            return None;
        }
        let static_key = self.static_key()?;
        let intro_key = base64::decode_array(self.options.get("i")?)?;
        let mtu = match self.options.get("mtu") {
            Some(mtu) => mtu.parse::<u16>().ok().filter(|mtu| *mtu >= MIN_MTU)?.min(MAX_MTU),
            None => MAX_MTU,
        };
        let caps = self.options.get("caps").map(Ssu2Caps::parse).unwrap_or_default();
        let introducers = INTRODUCERS.into_iter().filter_map(|of| self.introducer(of)).collect();
        Some(Ssu2Address { host: self.host(), static_key, intro_key, mtu, caps, introducers })
    }

    fn introducer(&self, [hash, tag, expiry]: [&str; 3]) -> Option<Introducer> {
        let router = Hash(base64::decode_array(self.options.get(hash)?)?);
        let tag = self.options.get(tag)?.parse().ok().filter(|tag| *tag != 0)?;
        let expires = match self.options.get(expiry) {
            Some(expires) => Some(expires.parse().ok()?),
            None => None,
        };
        Some(Introducer { router, tag, expires })
    }
}

#[cfg(test)]
mod tests;
