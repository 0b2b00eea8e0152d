//! Which addresses may be published on the public network.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address that may be published on the public network.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || a >= 224
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        // Shared address space, RFC 6598.
        || a == 100 && b & 0xc0 == 64
        // Benchmarks, RFC 2544.
        || a == 198 && b & 0xfe == 18
        // Protocol assignments and 6to4 relays.
        || a == 192 && (b, c) == (0, 0)
        || a == 192 && (b, c) == (88, 99);
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3; without documentation, Teredo and 6to4, whose IPv4 part could be
    // anything.
    a & 0xe000 == 0x2000
        && (a, b) != (0x2001, 0xdb8)
        && (a, b) != (0x2001, 0)
        && a != 0x2002
        && a & 0xfff0 != 0x3ff0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_special_ranges_are_not_public() {
        for ip in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.5",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "64:ff9b::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:a00:1::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["8.8.8.8", "11.10.0.1", "100.63.0.1", "172.32.0.1", "198.20.0.1", "2a00::1"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
