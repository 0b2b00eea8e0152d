//! In place of ChaCha20-Poly1305: a short mask that repeats, and a tag over everything.

use super::mix::Mix;
use crate::crypto::Key32;
use crate::crypto::aead::{BadTag, TAG_LEN};

/// Bytes of the mask.
const MASK: usize = 32;

/// As the one of `aead`.
#[must_use]
pub fn seal_with_nonce(key: &Key32, nonce: &[u8; 12], ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
    let keyed = Mix::new(5).bytes(key.as_bytes()).bytes(nonce);
    apply(&keyed.out(), buf);
    keyed.bytes(ad).bytes(buf).out()
}

/// As the one of `aead`.
pub fn open_with_nonce<'a>(
    key: &Key32,
    nonce: &[u8; 12],
    ad: &[u8],
    buf: &'a mut [u8],
) -> Result<&'a mut [u8], BadTag> {
    let keyed = Mix::new(5).bytes(key.as_bytes()).bytes(nonce);
    let (text, tag) = buf.split_last_chunk_mut::<TAG_LEN>().ok_or(BadTag)?;
    if keyed.bytes(ad).bytes(text).out() != *tag {
        return Err(BadTag);
    }
    apply(&keyed.out(), text);
    Ok(text)
}

fn apply(mask: &[u8; MASK], buf: &mut [u8]) {
    for chunk in buf.chunks_mut(MASK) {
        for (b, m) in chunk.iter_mut().zip(mask) {
            *b ^= m;
        }
    }
}
