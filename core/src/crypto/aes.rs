//! AES-256: single blocks and CBC without padding (FIPS 197, SP 800-38A).

use ::aes::{
    Aes256Dec, Aes256Enc, Block,
    cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit},
};

/// Bytes of a block and of an IV.
pub const BLOCK_LEN: usize = 16;

/// A key expanded to encrypt: 240 bytes, wiped when dropped.
pub struct Encryptor(Aes256Enc);

/// A key expanded to decrypt: 240 bytes, wiped when dropped.
pub struct Decryptor(Aes256Dec);

impl Encryptor {
    /// Expands `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Enc::new(key.into()))
    }

    /// ECB of one block.
    pub fn encrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        self.0.encrypt_block(block.into());
    }

    /// CBC over whole blocks, in place. A partial block at the end is left as it is.
    pub fn cbc_encrypt(&self, iv: &[u8; BLOCK_LEN], buf: &mut [u8]) {
        let mut previous = *iv;
        for block in buf.as_chunks_mut::<BLOCK_LEN>().0 {
            for (b, p) in block.iter_mut().zip(previous) {
                *b ^= p;
            }
            self.encrypt_block(block);
            previous = *block;
        }
    }

    /// As [`cbc_encrypt`](Self::cbc_encrypt) for several messages under keys of their own, as long as
    /// the shortest. In CBC each block waits for the one before it; what the others do in the
    /// meantime costs next to nothing.
    pub fn cbc_encrypt_lanes<const N: usize>(lanes: [(&Self, &[u8; BLOCK_LEN], &mut [u8]); N]) {
        let mut lanes = lanes.map(|(aes, iv, buf)| (aes, *iv, buf.as_chunks_mut().0.iter_mut()));
        loop {
            for (aes, previous, blocks) in &mut lanes {
                let Some(block) = blocks.next() else { return };
                for (b, p) in block.iter_mut().zip(*previous) {
                    *b ^= p;
                }
                aes.encrypt_block(block);
                *previous = *block;
            }
        }
    }
}

impl Decryptor {
    /// Expands `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Dec::new(key.into()))
    }

    /// ECB of one block, backwards.
    pub fn decrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        self.0.decrypt_block(block.into());
    }

    /// CBC over whole blocks, in place. A partial block at the end is left as it is.
    pub fn cbc_decrypt(&self, iv: &[u8; BLOCK_LEN], buf: &mut [u8]) {
        // Decryption has no chain between the block operations, so eight at a time keep the
        // pipeline full.
        const LANES: usize = 8;
        let mut previous = *iv;
        let (blocks, _) = buf.as_chunks_mut::<BLOCK_LEN>();
        for group in blocks.chunks_mut(LANES) {
            let mut plain = [Block::default(); LANES];
            for (p, c) in plain.iter_mut().zip(group.iter()) {
                *p = (*c).into();
            }
            if let Some(used) = plain.get_mut(..group.len()) {
                self.0.decrypt_blocks(used);
            }
            for (c, p) in group.iter_mut().zip(plain) {
                let cipher = *c;
                for ((out, p), x) in c.iter_mut().zip(p).zip(previous) {
                    *out = p ^ x;
                }
                previous = cipher;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER as HEX;

    // SP 800-38A, F.2.5.
    #[test]
    fn nist_cbc_vector() {
        let key: [u8; 32] = HEX
            .decode(b"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
            .unwrap()
            .try_into()
            .unwrap();
        let iv: [u8; 16] = core::array::from_fn(|i| i as u8);
        let plain = HEX
            .decode(b"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e5130c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710")
            .unwrap();
        let mut buf = plain.clone();
        Encryptor::new(&key).cbc_encrypt(&iv, &mut buf);
        assert_eq!(
            HEX.encode(&buf),
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"
        );
        Decryptor::new(&key).cbc_decrypt(&iv, &mut buf);
        assert_eq!(buf, plain);
    }

    #[test]
    fn lanes_do_what_each_would_do_alone() {
        let keys: [Encryptor; 3] = core::array::from_fn(|i| Encryptor::new(&[i as u8; 32]));
        let plain: alloc::vec::Vec<u8> = (0..1008).map(|i| i as u8).collect();
        let mut bufs: [_; 3] = core::array::from_fn(|_| plain.clone());
        let ivs = [[1; 16], [2; 16], [2; 16]];
        let [a, b, c] = &mut bufs;
        Encryptor::cbc_encrypt_lanes([
            (&keys[0], &ivs[0], a),
            (&keys[1], &ivs[1], b),
            (&keys[2], &ivs[2], c),
        ]);
        for ((aes, iv), got) in keys.iter().zip(&ivs).zip(bufs) {
            let mut want = plain.clone();
            aes.cbc_encrypt(iv, &mut want);
            assert!(got == want);
        }
    }

    #[test]
    fn cbc_round_trips_at_every_number_of_blocks() {
        let (encryptor, decryptor) = (Encryptor::new(&[3; 32]), Decryptor::new(&[3; 32]));
        for blocks in 0..20 {
            let plain: alloc::vec::Vec<u8> = (0..blocks * 16).map(|i| i as u8).collect();
            let mut buf = plain.clone();
            encryptor.cbc_encrypt(&[5; 16], &mut buf);
            assert!(blocks == 0 || buf != plain);
            decryptor.cbc_decrypt(&[5; 16], &mut buf);
            assert_eq!(buf, plain);
        }
    }
}
