//! In place of AES-256: four rounds over the halves of a block, and a mask of key and IV over whole messages.
//! To encrypt twice is not to decrypt, and layers come off in no other order than they came on.

use super::mix::{Mix, fold};

/// Bytes of a block and of an IV.
pub const BLOCK_LEN: usize = 16;

/// Words of the mask over a message.
const MASK: usize = 4;

/// A key to encrypt with.
pub struct Encryptor(Keys);

/// A key to decrypt with.
pub struct Decryptor(Keys);

#[derive(zeroize::ZeroizeOnDrop)]
struct Keys([u64; 4]);

impl Keys {
    fn new(key: &[u8; 32]) -> Self {
        Self(words(&Mix::new(6).bytes(key).out()))
    }

    /// What lies over a message that begins with `iv`, and what is added to it.
    fn mask(&self, iv: &[u8; BLOCK_LEN]) -> [(u64, u64); MASK] {
        let [a, b, c, d] = self.0;
        let iv = u128::from_le_bytes(*iv);
        let (x, y) = (fold(iv as u64 ^ a, b) ^ c, fold((iv >> 64) as u64 ^ b, d) ^ a);
        let (x, y) = (fold(x ^ d, y ^ c), x.rotate_left(32) ^ y);
        core::array::from_fn(|n| (fold(x ^ n as u64, y ^ a), fold(y ^ n as u64, x ^ b)))
    }
}

impl Encryptor {
    /// From a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Keys::new(key))
    }

    /// One block.
    pub fn encrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        let whole = u128::from_le_bytes(*block);
        let (mut left, mut right) = (whole as u64, (whole >> 64) as u64);
        for key in self.0.0 {
            (left, right) = (right, left ^ round(right, key));
        }
        *block = (u128::from(right) << 64 | u128::from(left)).to_le_bytes();
    }

    /// Whole blocks, in place. A partial block at the end is left as it is.
    pub fn cbc_encrypt(&self, iv: &[u8; BLOCK_LEN], buf: &mut [u8]) {
        let mask = self.0.mask(iv);
        each_word(buf, &mask, |word, over, more| (word ^ over).rotate_left(13).wrapping_add(more));
    }

    /// As [`cbc_encrypt`](Self::cbc_encrypt) for several messages under keys of their own, as long as
    /// the shortest.
    pub fn cbc_encrypt_lanes<const N: usize>(lanes: [(&Self, &[u8; BLOCK_LEN], &mut [u8]); N]) {
        let shortest = lanes.iter().map(|(.., buf)| buf.len()).min().unwrap_or(0);
        for (aes, iv, buf) in lanes {
            aes.cbc_encrypt(iv, buf.get_mut(..shortest).unwrap_or_default());
        }
    }
}

impl Decryptor {
    /// From a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Keys::new(key))
    }

    /// One block, backwards.
    pub fn decrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        let whole = u128::from_le_bytes(*block);
        let (mut left, mut right) = (whole as u64, (whole >> 64) as u64);
        for key in self.0.0.into_iter().rev() {
            (left, right) = (right ^ round(left, key), left);
        }
        *block = (u128::from(right) << 64 | u128::from(left)).to_le_bytes();
    }

    /// Whole blocks, in place. A partial block at the end is left as it is.
    pub fn cbc_decrypt(&self, iv: &[u8; BLOCK_LEN], buf: &mut [u8]) {
        let mask = self.0.mask(iv);
        each_word(buf, &mask, |word, over, more| word.wrapping_sub(more).rotate_right(13) ^ over);
    }
}

fn round(half: u64, key: u64) -> u64 {
    fold(half ^ key, key.rotate_left(32) | 1)
}

/// Changes the words of all whole blocks, each with its part of the mask.
fn each_word(buf: &mut [u8], mask: &[(u64, u64); MASK], change: impl Fn(u64, u64, u64) -> u64) {
    for blocks in buf.as_chunks_mut::<BLOCK_LEN>().0.chunks_mut(MASK / 2) {
        let words = blocks.as_flattened_mut().as_chunks_mut::<8>().0;
        for (word, (over, more)) in words.iter_mut().zip(mask) {
            *word = change(u64::from_le_bytes(*word), *over, *more).to_le_bytes();
        }
    }
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut out = [0; 4];
    for (word, bytes) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    out
}
