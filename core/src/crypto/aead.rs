//! ChaCha20-Poly1305 (RFC 8439) with the counter nonces of I2P: 4 zero bytes, then 64 bits
//! little-endian.

use super::Key32;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// The tag did not verify. The buffer's content is undefined afterwards: drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication tag does not verify")]
pub struct BadTag;

/// The 12-byte nonce of message `n`.
#[must_use]
pub fn nonce(n: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    if let Some(counter) = nonce.last_chunk_mut::<8>() {
        *counter = n.to_le_bytes();
    }
    nonce
}

/// Encrypts `buf` in place and returns the tag, which the caller appends.
#[must_use]
pub fn seal(key: &Key32, n: u64, ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
    #[cfg(feature = "shadow")]
    super::shadow::note(key, n, ad, buf);
    seal_with_nonce(key, &nonce(n), ad, buf)
}

/// Decrypts `buf`, ciphertext followed by its tag, in place and returns the plaintext.
pub fn open<'a>(key: &Key32, n: u64, ad: &[u8], buf: &'a mut [u8]) -> Result<&'a mut [u8], BadTag> {
    open_with_nonce(key, &nonce(n), ad, buf)
}

#[cfg(feature = "stub-crypto")]
pub use super::stub::aead::{open_with_nonce, seal_with_nonce};
#[cfg(not(any(feature = "ring", feature = "stub-crypto")))]
pub use portable::{open_with_nonce, seal_with_nonce};
#[cfg(all(feature = "ring", not(feature = "stub-crypto")))]
pub use ring_provider::{open_with_nonce, seal_with_nonce};

/// The pure-Rust provider: the fallback where there is no C compiler, and the oracle in tests.
pub mod portable {
    use super::{BadTag, Key32, TAG_LEN};
    use chacha20poly1305::{
        ChaCha20Poly1305, KeyInit,
        aead::{AeadInOut, inout::InOutBuf},
    };

    /// As [`super::seal`], with the whole 12-byte nonce.
    #[must_use]
    pub fn seal_with_nonce(
        key: &Key32,
        nonce: &[u8; 12],
        ad: &[u8],
        buf: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
        // Only inputs of 256 GiB fail.
        match cipher.encrypt_inout_detached(nonce.into(), ad, InOutBuf::from(buf)) {
            Ok(tag) => tag.into(),
            Err(_) => [0; TAG_LEN],
        }
    }

    /// As [`super::open`], with the whole 12-byte nonce.
    pub fn open_with_nonce<'a>(
        key: &Key32,
        nonce: &[u8; 12],
        ad: &[u8],
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], BadTag> {
        let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
        let (text, tag) = buf.split_last_chunk_mut::<TAG_LEN>().ok_or(BadTag)?;
        cipher
            .decrypt_inout_detached(nonce.into(), ad, InOutBuf::from(&mut *text), (&*tag).into())
            .map_err(|_| BadTag)?;
        Ok(text)
    }
}

#[cfg(all(feature = "ring", not(feature = "stub-crypto")))]
mod ring_provider {
    use super::{BadTag, Key32, TAG_LEN};
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    fn cipher(key: &Key32) -> Option<LessSafeKey> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).ok()?;
        Some(LessSafeKey::new(key))
    }

    /// As [`super::seal`], with the whole 12-byte nonce.
    #[must_use]
    pub fn seal_with_nonce(
        key: &Key32,
        nonce: &[u8; 12],
        ad: &[u8],
        buf: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let mut out = [0; TAG_LEN];
        // Neither step can fail: the key has the right length and no input reaches 256 GiB.
        if let Some(tag) = cipher(key).and_then(|c| {
            let nonce = Nonce::assume_unique_for_key(*nonce);
            c.seal_in_place_separate_tag(nonce, Aad::from(ad), buf).ok()
        }) {
            out.copy_from_slice(tag.as_ref());
        }
        out
    }

    /// As [`super::open`], with the whole 12-byte nonce.
    pub fn open_with_nonce<'a>(
        key: &Key32,
        nonce: &[u8; 12],
        ad: &[u8],
        buf: &'a mut [u8],
    ) -> Result<&'a mut [u8], BadTag> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        cipher(key).ok_or(BadTag)?.open_in_place(nonce, Aad::from(ad), buf).map_err(|_| BadTag)
    }
}

#[cfg(test)]
#[cfg(not(feature = "stub-crypto"))]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use data_encoding::HEXLOWER_PERMISSIVE as HEX;

    // RFC 8439, section 2.8.2.
    #[test]
    fn rfc8439_vector() {
        let key: [u8; 32] = core::array::from_fn(|i| 0x80 + i as u8);
        let key = Key32::new(key);
        let nonce = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
        let ad = HEX.decode(b"50515253c0c1c2c3c4c5c6c7").unwrap();
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        for seal in [seal_with_nonce, portable::seal_with_nonce] {
            let mut buf = text.to_vec();
            let tag = seal(&key, &nonce, &ad, &mut buf);
            assert_eq!(HEX.encode(&tag), "1ae10b594f09e26a7e902ecbd0600691");
            assert!(buf.starts_with(&[0xd3, 0x1a, 0x8d, 0x34]));
            buf.extend_from_slice(&tag);
            for open in [open_with_nonce, portable::open_with_nonce] {
                let mut copy = buf.clone();
                assert_eq!(open(&key, &nonce, &ad, &mut copy).unwrap(), text);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_by_both_providers() {
        let key = Key32::new([9; 32]);
        let mut sealed = b"hello".to_vec();
        let tag = seal(&key, 3, b"ad", &mut sealed);
        sealed.extend_from_slice(&tag);
        for bit in 0..sealed.len() * 8 {
            let mut bad: Vec<u8> = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, 3, b"ad", &mut bad.clone()).is_err());
            assert!(portable::open_with_nonce(&key, &nonce(3), b"ad", &mut bad).is_err());
        }
        for cut in 0..TAG_LEN {
            assert!(open(&key, 3, b"ad", &mut sealed[..cut].to_vec()).is_err());
        }
        assert!(open(&key, 4, b"ad", &mut sealed.clone()).is_err());
        assert!(open(&key, 3, b"", &mut sealed).is_err());
    }
}
