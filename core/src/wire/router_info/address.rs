//! One way to reach a router.

use crate::crypto::x25519;
use crate::wire::base64;
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::mapping::{self, Mapping};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};

/// The transport of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Style {
    /// NTCP2.
    Ntcp2,
    /// SSU2.
    Ssu2,
    /// Any other, as it is written; at most 255 bytes.
    Other(String),
}

impl Style {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ntcp2 => "NTCP2",
            Self::Ssu2 => "SSU2",
            Self::Other(name) => name,
        }
    }

    /// From how it is written.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name {
            "NTCP2" => Self::Ntcp2,
            "SSU2" => Self::Ssu2,
            other => Self::Other(other.into()),
        }
    }
}

/// A router address. Its options are not checked when it is decoded: what we cannot use may be
/// usable to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAddress {
    /// Lower is preferred.
    pub cost: u8,
    /// The transport.
    pub style: Style,
    /// Its options.
    pub options: Mapping,
}

/// The parts of an address that NTCP2 needs (specification `ntcp2`, Published Addresses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ntcp2Address {
    /// Where it listens; `None` when the router cannot be connected to.
    pub host: Option<SocketAddr>,
    /// The static key that its handshakes use.
    pub static_key: x25519::PublicKey,
    /// The key material that hides the first message; present whenever `host` is.
    pub iv: Option<[u8; 16]>,
}

impl RouterAddress {
    pub(super) fn decode_shared(whole: &Bytes, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let cost = r.u8()?;
        // An expiry that was never used; written as zero.
        r.u64()?;
        let style = Style::parse(mapping::string(r)?);
        let options = Mapping::decode_shared(whole, r)?;
        Ok(Self { cost, style, options })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.cost);
        out.put_u64(0);
        let style = self.style.as_str().as_bytes();
        let style = style.get(..255).unwrap_or(style);
        out.put_u8(style.len() as u8);
        out.put(style);
        self.options.encode(out);
    }

    /// The published IP address and port, when both are valid. Names are never resolved.
    #[must_use]
    pub fn host(&self) -> Option<SocketAddr> {
        let host: IpAddr = self.options.get("host")?.parse().ok()?;
        let port: u16 = self.options.get("port")?.parse().ok()?;
        (port != 0).then_some(SocketAddr::new(host, port))
    }

    /// What NTCP2 needs, when this is a usable NTCP2 address.
    #[must_use]
    pub fn ntcp2(&self) -> Option<Ntcp2Address> {
        // Routers of the transition wrote version 2 into addresses of the old style.
        let style = self.style.as_str();
        if style != "NTCP2" && style != "NTCP" {
            return None;
        }
        let static_key = self.static_key()?;
        let iv = self.options.get("i").and_then(base64::decode_array);
        let host = self.host().filter(|_| iv.is_some());
        Some(Ntcp2Address { host, static_key, iv })
    }

    /// The static key, when the transport's version is 2, as it is for both.
    pub(super) fn static_key(&self) -> Option<x25519::PublicKey> {
        // A list of versions is foreseen: `2` alone or first.
        let version = self.options.get("v")?;
        if version != "2" && !version.starts_with("2,") {
            return None;
        }
        let key = x25519::PublicKey(base64::decode_array(self.options.get("s")?)?);
        // A key is below 2^255; other routers drop the address when the top bit is set.
        if key.0.last().is_some_and(|top| top & 0x80 != 0) {
            return None;
        }
        Some(key)
    }
}
