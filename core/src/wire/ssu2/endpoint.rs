//! Port and IP address, in blocks and in signed structures.

use crate::wire::codec::{DecodeError, Put, Reader};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Decodes a port and an address of 4 or 16 bytes, and nothing else.
pub(super) fn decode(mut r: Reader<'_>) -> Result<SocketAddr, DecodeError> {
    let port = r.u16()?;
    let ip = match r.remaining() {
        4 => IpAddr::from(r.array::<4>()?),
        16 => IpAddr::from(r.array::<16>()?),
        _ => return Err(DecodeError::Invalid("endpoint size")),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Bytes of [`put`].
pub(super) const fn len(endpoint: &SocketAddr) -> usize {
    match endpoint {
        SocketAddr::V4(_) => 6,
        SocketAddr::V6(_) => 18,
    }
}

/// Appends port and address.
pub(super) fn put(out: &mut Vec<u8>, endpoint: &SocketAddr) {
    out.put_u16(endpoint.port());
    match endpoint.ip() {
        IpAddr::V4(ip) => out.put(&ip.octets()),
        IpAddr::V6(ip) => out.put(&ip.octets()),
    }
}

/// Decodes a size byte and an endpoint; `None` when the size is 0.
pub(super) fn decode_sized(r: &mut Reader<'_>) -> Result<Option<SocketAddr>, DecodeError> {
    match r.u8()? {
        0 => Ok(None),
        size => decode(r.sub(size.into())?).map(Some),
    }
}

/// Bytes of [`put_sized`].
pub(super) fn sized_len(endpoint: Option<&SocketAddr>) -> usize {
    1 + endpoint.map_or(0, len)
}

/// Appends a size byte and the endpoint.
pub(super) fn put_sized(out: &mut Vec<u8>, endpoint: Option<&SocketAddr>) {
    // 0, 6 or 18.
    out.put_u8(endpoint.map_or(0, len) as u8);
    if let Some(endpoint) = endpoint {
        put(out, endpoint);
    }
}
