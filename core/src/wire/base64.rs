//! Base64 with the I2P alphabet: the standard one with `-` for `+` and `~` for `/`, padded.

use alloc::string::String;
use alloc::vec::Vec;
use data_encoding::{BASE64, BASE64_NOPAD};

/// Encodes with padding, which some routers require.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = BASE64.encode(bytes).into_bytes();
    for c in &mut text {
        *c = match *c {
            b'+' => b'-',
            b'/' => b'~',
            other => other,
        };
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Decodes; padding may be left out whole, since people cut it off when they copy addresses.
/// `None` for anything else that is not I2P Base64.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let body = unpadded(text)?;
    let mut standard = body.as_bytes().to_vec();
    to_standard(&mut standard)?;
    BASE64_NOPAD.decode(&standard).ok()
}

/// The most bytes that [`decode_array`] decodes.
const MAX_ARRAY: usize = 64;

/// Decodes exactly `N` bytes, at most 64, without an allocation: keys in addresses are read often.
#[must_use]
pub fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let body = unpadded(text)?;
    let (mut standard, mut out) = ([0; (MAX_ARRAY * 4).div_ceil(3)], [0; MAX_ARRAY]);
    let standard = standard.get_mut(..body.len())?;
    standard.copy_from_slice(body.as_bytes());
    to_standard(standard)?;
    let len = BASE64_NOPAD.decode_len(standard.len()).ok()?;
    let out = out.get_mut(..len)?;
    BASE64_NOPAD.decode_mut(standard, out).ok()?;
    <[u8; N]>::try_from(&*out).ok()
}

/// The text without its padding, which is whole or not there.
fn unpadded(text: &str) -> Option<&str> {
    match text.strip_suffix("==").or_else(|| text.strip_suffix('=')) {
        Some(body) if text.len().is_multiple_of(4) => Some(body),
        Some(_) => None,
        None => Some(text),
    }
}

/// Into the standard alphabet; `None` when a letter is not of ours.
fn to_standard(text: &mut [u8]) -> Option<()> {
    for c in text {
        *c = match *c {
            b'-' => b'+',
            b'~' => b'/',
            b'+' | b'/' | b'=' => return None,
            other => other,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_odd_letters_are_those_of_i2p() {
        assert_eq!(encode(&[0xfb, 0xff, 0xbe]), "-~--");
        assert_eq!(decode("-~--"), Some([0xfb, 0xff, 0xbe].to_vec()));
        assert_eq!(decode("+/++"), None);
        assert_eq!(encode(&[0; 16]).len(), 24);
        assert_eq!(encode(&[0; 32]).len(), 44);
    }

    #[test]
    fn padding_is_written_and_may_be_missing_but_not_wrong() {
        for len in 0..10 {
            let bytes: Vec<u8> = (0..len).collect();
            let text = encode(&bytes);
            assert_eq!(decode(&text), Some(bytes.clone()));
            assert_eq!(decode(text.trim_end_matches('=')), Some(bytes));
        }
        for bad in [
            "A", "A=", "AA=", "AAA==", "AA==AAAA", "AAAA=", "A===", "====", "AAAA====", "é", "AAB=",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
        assert_eq!(decode_array::<3>("AAAA"), Some([0; 3]));
        assert_eq!(decode_array::<4>("AAAA"), None);
        assert_eq!(decode_array(&encode(&[7; 32])), Some([7; 32]));
        assert_eq!(decode_array(&encode(&[7; 64])), Some([7; 64]));
        assert_eq!(decode_array::<65>(&encode(&[7; 65])), None);
        assert_eq!(decode_array::<3>(&encode(&[7; 300])), None);
        assert_eq!(decode_array::<3>("AA+A"), None);
    }
}
