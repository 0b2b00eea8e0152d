//! Base32 (RFC 4648, lower case, no padding) and the host names made of it.

use super::hash::Hash;
use alloc::string::String;
use alloc::vec::Vec;
use data_encoding::BASE32_NOPAD_NOCASE;

/// What follows the Base32 part of a host name.
pub const SUFFIX: &str = ".b32.i2p";
/// Characters of a 32-byte hash.
pub const HASH_LEN: usize = 52;

/// Encodes in lower case.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = BASE32_NOPAD_NOCASE.encode(bytes);
    text.make_ascii_lowercase();
    text
}

/// Decodes either case; `None` when it is not Base32.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok()
}

/// `<52 characters>.b32.i2p`.
#[must_use]
pub fn host(hash: &Hash) -> String {
    let mut name = encode(hash.as_bytes());
    name.push_str(SUFFIX);
    name
}

/// What a `.b32.i2p` name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum B32 {
    /// The hash of a destination.
    Destination(Hash),
    /// The blinded form for encrypted lease sets (specification `b32encrypted`), as its bytes.
    Blinded(Vec<u8>),
}

/// Reads a host name that ends in `.b32.i2p`, in any case; `None` when it is not such a name.
///
/// The length decides: 52 characters are a hash, 56 or more the blinded form, which must never be
/// taken for a hash.
#[must_use]
pub fn parse_host(name: &str) -> Option<B32> {
    let split = name.len().checked_sub(SUFFIX.len())?;
    let (label, suffix) = name.split_at_checked(split)?;
    if !suffix.eq_ignore_ascii_case(SUFFIX) || label.len() > 255 {
        return None;
    }
    let bytes = decode(label)?;
    match <[u8; 32]>::try_from(bytes) {
        Ok(hash) => Some(B32::Destination(Hash(hash))),
        Err(bytes) if bytes.len() >= 35 => Some(B32::Blinded(bytes)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case() {
        let hash = Hash::of(b"x");
        let name = host(&hash);
        assert_eq!(name.len(), HASH_LEN + SUFFIX.len());
        assert_eq!(name, name.to_ascii_lowercase());
        assert_eq!(parse_host(&name), Some(B32::Destination(hash)));
        assert_eq!(parse_host(&name.to_ascii_uppercase()), Some(B32::Destination(hash)));
    }

    #[test]
    fn length_decides_between_hash_and_blinded() {
        let blinded = encode(&[7; 35]) + SUFFIX;
        assert_eq!(blinded.len(), 56 + SUFFIX.len());
        assert_eq!(parse_host(&blinded), Some(B32::Blinded([7; 35].to_vec())));
        for bad in ["", ".b32.i2p", "aaaa.b32.i2p", "example.i2p", "b32.i2p", "é.b32.i2p"] {
            assert_eq!(parse_host(bad), None, "{bad}");
        }
        // 33 and 34 bytes are neither.
        assert_eq!(parse_host(&(encode(&[7; 33]) + SUFFIX)), None);
        assert_eq!(parse_host(&(encode(&[7; 34]) + SUFFIX)), None);
    }

    // RFC 4648, section 10.
    #[test]
    fn rfc4648_vectors() {
        for (plain, text) in [("", ""), ("f", "my"), ("foob", "mzxw6yq"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
    }
}
