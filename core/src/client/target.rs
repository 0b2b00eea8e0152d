//! Whom a connection is for: host names, `.b32.i2p` addresses and base64 destinations.
//!
//! Nothing here ever asks DNS, and nothing that is not in I2P gets past [`parse_host`]: a name has
//! to end in `.i2p`, so every spelling of a local or clearnet address is refused alike.

use super::address_book::check_name;
use crate::wire::base32::{self, B32};
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use core::str::FromStr;

/// The shortest base64 of a destination: 387 bytes.
const MIN_BASE64: usize = 516;

/// Whom to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A destination given in full.
    Destination(Identity),
    /// The hash of a destination.
    Hash(Hash),
    /// A name for the address book: valid, in lower case, ending in `.i2p`.
    Name(Box<str>),
}

impl Target {
    /// How the target is called in a `Host` header: the name, or the `.b32.i2p` address.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Destination(identity) => identity.b32_address(),
            Self::Hash(hash) => base32::host(hash),
            Self::Name(name) => name.to_string(),
        }
    }

    /// The host, and the I2P port where there is one: 0 is none.
    #[must_use]
    pub fn authority(&self, port: u16) -> String {
        if port == 0 { self.host() } else { format!("{}:{port}", self.host()) }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// As [`parse_host`].
    fn from_str(host: &str) -> Result<Self, TargetError> {
        parse_host(host)
    }
}

/// Why a host is no target. Always the fault of whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Outside I2P.
    #[error("not an I2P address")]
    NotI2p,
    /// Breaks the grammar; says how.
    #[error("{0}")]
    Malformed(&'static str),
    /// A b33 address, of an encrypted lease set.
    #[error("addresses of encrypted lease sets are not supported yet")]
    Blinded,
}

/// Reads a host, without port: a name, an address, or a destination with or without `.i2p`.
pub fn parse_host(host: &str) -> Result<Target, TargetError> {
    if host.is_empty() {
        return Err(TargetError::Malformed("the host is missing"));
    }
    if let Some(text) = base64_part(host) {
        return Identity::from_base64(text)
            .map(Target::Destination)
            .map_err(|_| TargetError::Malformed("the base64 destination is not valid"));
    }
    let mut name = host.to_ascii_lowercase();
    // The root dot of DNS, and the alternative root of RFC 9476.
    if name.ends_with('.') {
        name.pop();
    }
    if name.ends_with(".i2p.alt") {
        name.truncate(name.len() - ".alt".len());
    }
    if !name.ends_with(".i2p") {
        return Err(TargetError::NotI2p);
    }
    if name.ends_with(base32::SUFFIX) {
        return match base32::parse_host(&name) {
            Some(B32::Destination(hash)) => Ok(Target::Hash(hash)),
            Some(B32::Blinded(_)) => Err(TargetError::Blinded),
            None => Err(TargetError::Malformed(
                "a .b32.i2p address has 52 characters from a-z and 2-7 before .b32.i2p",
            )),
        };
    }
    check_name(&name).map_err(|e| TargetError::Malformed(e.reason()))?;
    Ok(Target::Name(name.into()))
}

/// Reads `host` or `host:port`. Refuses user names, port 0, and anything that is not a plain
/// decimal port.
pub fn parse_authority(authority: &str) -> Result<(Target, Option<u16>), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::Malformed("user names in addresses are not supported"));
    }
    if authority.starts_with('[') {
        return Err(TargetError::NotI2p);
    }
    let Some((host, port)) = authority.split_once(':') else {
        return Ok((parse_host(authority)?, None));
    };
    let target = parse_host(host)?;
    let digits = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok((target, Some(port))),
        Ok(_) | Err(_) => Err(TargetError::Malformed("the port is not a number from 1 to 65535")),
    }
}

/// `host`, or `host:port` when the port is not the default of HTTP.
pub(crate) fn host_header(target: &Target, port: u16) -> String {
    if port == 80 { target.host() } else { format!("{}:{port}", target.host()) }
}

/// The base64 of a host that can only be a destination: too long for a name.
fn base64_part(host: &str) -> Option<&str> {
    let text = match host.len().checked_sub(4).and_then(|at| host.split_at_checked(at)) {
        Some((text, suffix)) if suffix.eq_ignore_ascii_case(".i2p") => text,
        Some(_) | None => host,
    };
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'~' | b'=');
    (text.len() >= MIN_BASE64 && text.bytes().all(base64)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::identity;

    #[test]
    fn every_way_to_name_a_destination() {
        let id = identity(1);
        let b32 = id.b32_address();
        let b64 = id.to_base64();
        let name = Target::Name("ex-1.example.i2p".into());
        for (text, want) in [
            ("ex-1.example.i2p", name.clone()),
            ("EX-1.Example.I2P", name.clone()),
            ("ex-1.example.i2p.", name.clone()),
            ("ex-1.example.i2p.alt", name),
            (b32.as_str(), Target::Hash(id.hash())),
            (b32.to_ascii_uppercase().as_str(), Target::Hash(id.hash())),
            (format!("{b32}.alt").as_str(), Target::Hash(id.hash())),
            (b64.as_str(), Target::Destination(id.clone())),
            (format!("{b64}.i2p").as_str(), Target::Destination(id.clone())),
            (format!("{b64}.I2P").as_str(), Target::Destination(id.clone())),
        ] {
            assert_eq!(parse_host(text).as_ref(), Ok(&want), "{text}");
            assert_eq!(text.parse().as_ref(), Ok(&want), "{text}");
            assert_eq!(parse_authority(&format!("{text}:81")), Ok((want, Some(81))), "{text}");
        }
        assert_eq!(parse_host(&b64).unwrap().host(), b32);
        assert_eq!(parse_host(&b64).unwrap().authority(7), format!("{b32}:7"));
        assert_eq!(Target::Name("a.i2p".into()).authority(0), "a.i2p");
        assert_eq!(host_header(&Target::Name("a.i2p".into()), 80), "a.i2p");
        assert_eq!(host_header(&Target::Name("a.i2p".into()), 8080), "a.i2p:8080");
    }

    #[test]
    fn nothing_outside_i2p_in_any_spelling() {
        for text in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "localhost.localdomain",
            "127.0.0.1",
            "127.1",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "172.16.0.1",
            "example.com",
            "i2p",
            "example.i2p.com",
            "example.i2p.alt.com",
            "localhost%2ei2p",
            "example.i2p\u{ff0e}com",
            "xn--fsq.com",
            "\u{2460}27.0.0.1",
            "fe80::1%25lo",
        ] {
            assert_eq!(parse_host(text), Err(TargetError::NotI2p), "{text}");
        }
        for text in ["[::1]", "[::1]:80", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[a.i2p]"] {
            assert_eq!(parse_authority(text), Err(TargetError::NotI2p), "{text}");
        }
        assert!(parse_authority("::1").is_err());
        assert!(parse_authority("localhost:80").is_err());
    }

    #[test]
    fn malformed_hosts_are_refused_and_say_why() {
        let blinded = format!("{}.b32.i2p", "a".repeat(56));
        assert_eq!(parse_host(&blinded), Err(TargetError::Blinded));
        let id = identity(1);
        let mut bad64 = id.to_base64();
        bad64.truncate(520);
        let www = format!("www.{}", id.b32_address());
        for text in [
            "",
            ".i2p",
            "-a.i2p",
            "a..i2p",
            "a b.i2p",
            "a_b.i2p",
            "a%41.i2p",
            "\u{e4}.i2p",
            "aaaa.b32.i2p",
            ".b32.i2p",
            "b32.i2p.b32.i2p",
            www.as_str(),
            bad64.as_str(),
        ] {
            assert!(matches!(parse_host(text), Err(TargetError::Malformed(_))), "{text}");
        }
        for text in [
            "a.i2p:",
            "a.i2p:0",
            "a.i2p:65536",
            "a.i2p:+80",
            "a.i2p: 80",
            "a.i2p:80:80",
            "a.i2p:8o",
            "user@a.i2p",
            "user:pw@a.i2p:80",
            "a.i2p:80@localhost",
        ] {
            assert!(matches!(parse_authority(text), Err(TargetError::Malformed(_))), "{text}");
        }
        // A last letter whose unused bits are set names no hash: one spelling only.
        let mut odd = id.b32_address();
        odd.replace_range(51..52, "b");
        assert!(parse_host(&odd).is_err());
    }
}
