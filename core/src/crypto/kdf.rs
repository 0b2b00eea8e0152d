//! HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869).

use super::Key32;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

/// HMAC-SHA256 of the concatenation of `parts`.
#[must_use]
pub fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A 32-byte key is shorter than the block, so padding it to the block never fails.
    let mut block = [0; 64];
    if let Some(head) = block.first_chunk_mut::<32>() {
        *head = *key;
    }
    let mut mac = Hmac::<Sha256>::new((&block).into());
    block.zeroize();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// HKDF with two outputs of 32 bytes: what I2P writes as `HKDF(salt, ikm, info, 64)`.
/// An empty `ikm` is the specifications' ZEROLEN.
#[must_use]
pub fn hkdf2(salt: &[u8; 32], ikm: &[u8], info: &[u8]) -> (Key32, Key32) {
    let mut prk = hmac_sha256(salt, &[ikm]);
    let first = hmac_sha256(&prk, &[info, &[1]]);
    let second = hmac_sha256(&prk, &[&first, info, &[2]]);
    prk.zeroize();
    (Key32::new(first), Key32::new(second))
}

/// HKDF with one output of 32 bytes: `HKDF(salt, ikm, info, 32)`.
#[must_use]
pub fn hkdf1(salt: &[u8; 32], ikm: &[u8], info: &[u8]) -> Key32 {
    let mut prk = hmac_sha256(salt, &[ikm]);
    let first = hmac_sha256(&prk, &[info, &[1]]);
    prk.zeroize();
    Key32::new(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER as HEX;

    // RFC 4231, test case 2, with the key padded as HMAC itself pads it.
    #[test]
    fn rfc4231_vector() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            HEX.encode(&hmac_sha256(&key, &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    // RFC 5869, test case 1: a 13-byte salt padded with zeros is the same HMAC key.
    #[test]
    fn rfc5869_vector() {
        let mut salt = [0; 32];
        for (i, b) in salt.iter_mut().take(13).enumerate() {
            *b = i as u8;
        }
        let info: [u8; 10] = core::array::from_fn(|i| 0xf0 + i as u8);
        let (a, b) = hkdf2(&salt, &[0x0b; 22], &info);
        assert_eq!(
            HEX.encode(a.as_bytes()),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        );
        assert!(HEX.encode(b.as_bytes()).starts_with("34007208d5b887185865"));
        assert_eq!(hkdf1(&salt, &[0x0b; 22], &info).as_bytes(), a.as_bytes());
    }
}
