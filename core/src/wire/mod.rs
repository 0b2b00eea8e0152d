//! Pure formats: no state, no time, no randomness.
//!
//! Every format decodes from one [`codec::Reader`], refuses trailing bytes, and encodes by
//! appending to a `Vec<u8>`.

pub mod base32;
pub mod base64;
pub mod certificate;
pub mod codec;
pub mod datagram;
pub mod garlic;
pub mod gzip;
pub mod hash;
pub mod http;
pub mod i2np;
pub mod identity;
pub mod lease_set;
pub mod mapping;
pub mod ntcp2;
pub mod offline;
pub mod payload;
pub mod router_info;
pub mod ssu2;
pub mod streaming;
pub mod tunnel;
pub mod zip;
