//! ChaCha20 without authentication (RFC 8439, section 2.4).

use super::Key32;
use ::chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher, StreamCipherSeek},
};

/// Applies the key stream from block **1** on, where every bare use of ChaCha20 in I2P starts
/// (SSU2 header masks, the other records of a short tunnel build).
pub fn apply(key: &Key32, nonce: &[u8; 12], buf: &mut [u8]) {
    let mut cipher = ChaCha20::new(key.as_bytes().into(), nonce.into());
    cipher.seek(64u32);
    cipher.apply_keystream(buf);
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8439, section 2.4.2.
    #[test]
    fn rfc8439_vector() {
        let key: [u8; 32] = core::array::from_fn(|i| i as u8);
        let nonce = [0, 0, 0, 0, 0, 0, 0, 0x4a, 0, 0, 0, 0];
        let mut buf = *b"Ladies and Gentlemen of the clas";
        apply(&Key32::new(key), &nonce, &mut buf);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&buf),
            "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
        );
    }
}
