//! The bytes of items: numbers of variable length, texts and bytes with their length before them.

use std::net::{IpAddr, SocketAddr};

/// Why bytes are no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

const SHORT: Malformed = Malformed("an item is cut off");

/// Appends seven bits a byte, the lowest first.
pub(super) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A time as its distance from another, which it may be before: small numbers are short.
pub(super) fn put_time(out: &mut Vec<u8>, last: &mut u64, time: u64) {
    let distance = time.wrapping_sub(*last).cast_signed();
    put_number(out, (distance << 1 ^ distance >> 63).cast_unsigned());
    *last = time;
}

pub(super) fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => put_bytes(out, &ip.octets()),
        IpAddr::V6(ip) => put_bytes(out, &ip.octets()),
    }
    put_number(out, address.port().into());
    if let SocketAddr::V6(address) = address {
        put_number(out, address.flowinfo().into());
        put_number(out, address.scope_id().into());
    }
}

/// Takes items apart; nothing here allocates.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            n |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Malformed("a number is too large"))
    }

    /// A number that fits its place.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed("a number is too large"))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither yes nor no")),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*array)
    }

    /// As [`Self::array`], where it lies.
    pub(super) fn seed(&mut self) -> Result<&'a [u8; 32], Malformed> {
        let (seed, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(seed)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.small()?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(super) fn time(&mut self, last: &mut u64) -> Result<u64, Malformed> {
        let n = self.number()?;
        let distance = (n >> 1) ^ (n & 1).wrapping_neg();
        *last = last.wrapping_add(distance);
        Ok(*last)
    }

    pub(super) fn address(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = self.bytes()?;
        let port = self.small()?;
        if let Ok(ip) = <[u8; 4]>::try_from(ip) {
            return Ok(SocketAddr::new(ip.into(), port));
        }
        let ip: [u8; 16] = ip.try_into().map_err(|_| Malformed("an address of no kind"))?;
        let (flow, scope) = (self.small()?, self.small()?);
        Ok(std::net::SocketAddrV6::new(ip.into(), port, flow, scope).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_come_back() {
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        for n in numbers {
            let mut out = Vec::new();
            put_number(&mut out, n);
            assert_eq!(Decoder::new(&out).number(), Ok(n));
            for last in numbers {
                let (mut out, mut written, mut read) = (Vec::new(), last, last);
                put_time(&mut out, &mut written, n);
                assert_eq!(Decoder::new(&out).time(&mut read), Ok(n), "{last}");
                assert_eq!((written, read), (n, n));
            }
        }
        let mut out = Vec::new();
        put_time(&mut out, &mut 1_000_000, 1_000_060);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn numbers_that_no_64_bits_hold_are_refused() {
        for long in [
            &[0xff; 10][..],
            &[0x80; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert!(Decoder::new(long).number().is_err(), "{long:x?}");
        }
        assert_eq!(Decoder::new(&[0x80, 0x80]).number(), Err(SHORT));
    }

    #[test]
    fn addresses_come_back() {
        for text in ["127.0.0.1:80", "[2001:db8::1]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut out = Vec::new();
            put_address(&mut out, address);
            assert_eq!(Decoder::new(&out).address(), Ok(address));
        }
    }
}
