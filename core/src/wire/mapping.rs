//! Mapping: sorted pairs of short strings (specification `common-structures`, Mapping).

use super::codec::{DecodeError, Put, Reader};
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;

/// Why a pair cannot be added: our own caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingError {
    /// A key or value is longer than 255 bytes.
    #[error("a mapping's string is longer than 255 bytes")]
    StringTooLong,
    /// All pairs together would exceed 65,535 bytes.
    #[error("mapping too large")]
    TooLarge,
}

/// Pairs of strings of at most 255 bytes each.
///
/// Held in their encoded form, so that the mapping of a received RouterInfo shares its bytes; a
/// lookup scans, which for the dozen pairs of real mappings is faster than a tree.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The pairs without the leading size; checked to be well formed.
    pairs: Bytes,
}

impl Mapping {
    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self { pairs: Bytes::new() }
    }

    /// The value of `key`, the first one when a peer repeats it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// True when there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs in the order they were received, or sorted when made by [`insert`](Self::insert).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut r = Reader::new(&self.pairs);
        core::iter::from_fn(move || pair(&mut r).ok())
    }

    /// Adds a pair or replaces the value of its key. The pairs are sorted afterwards.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), MappingError> {
        if key.len() > 255 || value.len() > 255 {
            return Err(MappingError::StringTooLong);
        }
        let mut sorted = self.canonical();
        match sorted.binary_search_by(|(k, _)| before(k, key)) {
            Ok(at) => {
                if let Some(slot) = sorted.get_mut(at) {
                    slot.1 = value;
                }
            }
            Err(at) => sorted.insert(at, (key, value)),
        }
        let mut pairs = Vec::with_capacity(self.pairs.len() + key.len() + value.len() + 4);
        put_pairs(&sorted, &mut pairs);
        if pairs.len() > usize::from(u16::MAX) {
            return Err(MappingError::TooLarge);
        }
        self.pairs = pairs.into();
        Ok(())
    }

    /// Decodes the size and the pairs; any order is accepted.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = r.u16()?;
        let pairs = r.take(size.into())?;
        check(pairs)?;
        Ok(Self { pairs: Bytes::copy_from_slice(pairs) })
    }

    /// As [`decode`](Self::decode), sharing `whole`, the buffer that `r` reads to the end.
    pub(crate) fn decode_shared(whole: &Bytes, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = r.u16()?;
        let start = whole.len().checked_sub(r.remaining()).ok_or(DecodeError::Truncated)?;
        let pairs = r.take(size.into())?;
        check(pairs)?;
        Ok(Self { pairs: whole.slice(start..start + pairs.len()) })
    }

    /// Appends the size and the pairs in canonical form: sorted, no key twice. Some routers verify
    /// signatures over what they serialise again, so nothing else may be signed.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let sorted = self.canonical();
        let size: usize = sorted.iter().map(|(k, v)| k.len() + v.len() + 4).sum();
        // `size` fits: it is at most that of pairs which were read from, or checked for, 16 bits.
        out.put_u16(u16::try_from(size).unwrap_or(u16::MAX));
        put_pairs(&sorted, out);
    }

    /// True when the pairs are sorted and no key is repeated.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        self.iter().is_sorted_by(|(a, _), (b, _)| before(a, b).is_lt())
    }

    /// The pairs sorted by key, the first of each.
    fn canonical(&self) -> Vec<(&str, &str)> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| before(a, b));
        sorted.dedup_by(|(a, _), (b, _)| a == b);
        sorted
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The order of keys: by UTF-16 code units, as the reference implementation compares strings.
fn before(a: &str, b: &str) -> core::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// The next `len key = len value ;`.
fn pair<'a>(r: &mut Reader<'a>) -> Result<(&'a str, &'a str), DecodeError> {
    let key = string(r)?;
    if r.u8()? != b'=' {
        return Err(DecodeError::Invalid("mapping"));
    }
    let value = string(r)?;
    if r.u8()? != b';' {
        return Err(DecodeError::Invalid("mapping"));
    }
    Ok((key, value))
}

/// A length byte and that many bytes of UTF-8.
pub(crate) fn string<'a>(r: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let len = r.u8()?;
    core::str::from_utf8(r.take(len.into())?).map_err(|_| DecodeError::Invalid("string"))
}

/// That `pairs` is a sequence of whole pairs.
fn check(pairs: &[u8]) -> Result<(), DecodeError> {
    let mut r = Reader::new(pairs);
    while !r.is_empty() {
        pair(&mut r)?;
    }
    Ok(())
}

/// Appends the pairs; their strings are known to be short.
fn put_pairs(pairs: &[(&str, &str)], out: &mut Vec<u8>) {
    for (key, value) in pairs {
        out.put_u8(key.len() as u8);
        out.put(key.as_bytes());
        out.put_u8(b'=');
        out.put_u8(value.len() as u8);
        out.put(value.as_bytes());
        out.put_u8(b';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(m: &Mapping) -> Vec<u8> {
        let mut out = Vec::new();
        m.encode(&mut out);
        out
    }

    fn sample() -> Mapping {
        let mut m = Mapping::new();
        for (k, v) in [("v", "2"), ("host", "127.0.0.1"), ("s", ""), ("host", "::1"), ("i", "x")] {
            m.insert(k, v).unwrap();
        }
        m
    }

    #[test]
    fn inserted_pairs_are_sorted_and_replace() {
        let m = sample();
        let pairs: Vec<_> = m.iter().collect();
        assert_eq!(pairs, [("host", "::1"), ("i", "x"), ("s", ""), ("v", "2")]);
        assert_eq!((m.get("host"), m.get("none")), (Some("::1"), None));
        assert_eq!(&encoded(&m)[..14], b"\x00\x1c\x04host=\x03::1;\x01");
    }

    #[test]
    fn round_trips_and_every_cut_is_refused() {
        let bytes = encoded(&sample());
        let mut r = Reader::new(&bytes);
        assert_eq!(Mapping::decode(&mut r).unwrap(), sample());
        assert!(r.is_empty());
        for cut in 0..bytes.len() {
            assert!(Mapping::decode(&mut Reader::new(&bytes[..cut])).is_err(), "{cut}");
        }
        // A size that ends between two pairs is another mapping; inside one it is none.
        for size in 0..bytes.len() - 2 {
            let mut other = bytes.clone();
            other[1] = size as u8;
            let got = Mapping::decode(&mut Reader::new(&other));
            assert_eq!(got.is_ok(), [0, 11, 17, 22].contains(&size), "{size}");
        }
    }

    #[test]
    fn disorder_and_repetition_are_read_but_never_written() {
        let wire = b"\x00\x12\x01b=\x011;\x01a=\x012;\x01b=\x013;";
        let m = Mapping::decode(&mut Reader::new(wire)).unwrap();
        assert_eq!((m.get("a"), m.get("b")), (Some("2"), Some("1")));
        assert!(!m.is_canonical());
        assert_eq!(encoded(&m), b"\x00\x0c\x01a=\x012;\x01b=\x011;");
        assert!(Mapping::decode(&mut Reader::new(&encoded(&m))).unwrap().is_canonical());
    }

    #[test]
    fn keys_sort_by_utf16_units() {
        // U+FF5E sorts before U+10000 in UTF-8 and after it in UTF-16.
        let mut m = Mapping::new();
        m.insert("\u{ff5e}", "").unwrap();
        m.insert("\u{10000}", "").unwrap();
        m.insert("\u{ff5e}", "again").unwrap();
        let keys: Vec<_> = m.iter().collect();
        assert_eq!(keys, [("\u{10000}", ""), ("\u{ff5e}", "again")]);
        assert!(m.is_canonical());
    }

    #[test]
    fn strings_that_do_not_fit_are_refused() {
        let long = "a".repeat(256);
        let mut m = Mapping::new();
        assert_eq!(m.insert(&long, ""), Err(MappingError::StringTooLong));
        assert_eq!(m.insert("", &long), Err(MappingError::StringTooLong));
        let value = &"a".repeat(255);
        for i in 0..250 {
            m.insert(&alloc::format!("{i:03}"), value).unwrap();
        }
        assert_eq!(m.insert("full", value), Err(MappingError::TooLarge));
    }
}
