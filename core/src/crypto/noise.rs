//! The symmetric state of the Noise protocols that I2P uses (Noise specification, section 5.2,
//! with the names and prologue rules of the I2P specifications).
//!
//! The handshakes themselves differ from plain Noise (obfuscated keys, hashed padding, early
//! headers), so each lives with its transport and drives this state step by step.

use super::{
    Key32,
    aead::{self, BadTag, TAG_LEN},
    hash::{sha256, sha256_concat},
    kdf::hkdf2,
    x25519::PublicKey,
};
use alloc::vec::Vec;
use zeroize::Zeroize;

/// Which Noise handshake starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// NTCP2, `XK` with AES-obfuscated ephemerals.
    Ntcp2,
    /// SSU2, `XK` with ChaCha-obfuscated headers.
    Ssu2,
    /// ECIES-X25519-AEAD-Ratchet, `IK` with Elligator2 ephemerals.
    Ratchet,
    /// Garlic messages to routers and tunnel build records, `N`.
    Router,
}

impl Protocol {
    /// The protocol name's initial hash: padded when it fits 32 bytes, hashed otherwise.
    fn initial(self) -> [u8; 32] {
        match self {
            Self::Ntcp2 => sha256(b"Noise_XKaesobfse+hs2+hs3_25519_ChaChaPoly_SHA256"),
            Self::Ssu2 => sha256(b"Noise_XKchaobfse+hs1+hs2+hs3_25519_ChaChaPoly_SHA256"),
            Self::Ratchet => sha256(b"Noise_IKelg2+hs2_25519_ChaChaPoly_SHA256"),
            // 31 bytes: padded with one zero, not hashed.
            Self::Router => *b"Noise_N_25519_ChaChaPoly_SHA256\0",
        }
    }
}

/// Chaining key, handshake hash, and the current cipher key with its nonce.
#[derive(zeroize::ZeroizeOnDrop)]
pub struct SymmetricState {
    ck: [u8; 32],
    h: [u8; 32],
    k: [u8; 32],
    n: u64,
}

impl SymmetricState {
    /// After the name, the empty prologue and the responder's static key.
    #[must_use]
    pub fn new(protocol: Protocol, responder: &PublicKey) -> Self {
        let ck = protocol.initial();
        let h = sha256_concat(&[&sha256(&ck), &responder.0]);
        Self { ck, h, k: [0; 32], n: 0 }
    }

    /// A copy, said aloud: several replies can start from one saved state.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self { ck: self.ck, h: self.h, k: self.k, n: self.n }
    }

    /// `MixHash`.
    pub fn mix_hash(&mut self, data: &[u8]) {
        self.h = sha256_concat(&[&self.h, data]);
    }

    /// `MixKey`: the cipher key is new and its nonce starts at 0.
    pub fn mix_key(&mut self, shared: &Key32) {
        let (ck, k) = hkdf2(&self.ck, shared.as_bytes(), b"");
        self.ck = *ck.as_bytes();
        self.k = *k.as_bytes();
        self.n = 0;
    }

    /// `EncryptAndHash` of `out[from..]`, in place, with the tag appended.
    pub fn encrypt_and_hash(&mut self, out: &mut Vec<u8>, from: usize) {
        let key = Key32::new(self.k);
        let Some(text) = out.get_mut(from..) else { return };
        let tag = aead::seal(&key, self.n, &self.h, text);
        out.extend_from_slice(&tag);
        self.n += 1;
        self.h = match out.get(from..) {
            Some(sealed) => sha256_concat(&[&self.h, sealed]),
            None => self.h,
        };
    }

    /// `DecryptAndHash`: `buf` is ciphertext and tag, decrypted in place. On failure the state is
    /// as before, so a forged message cannot end a handshake, but `buf` is garbage.
    pub fn decrypt_and_hash<'a>(&mut self, buf: &'a mut [u8]) -> Result<&'a mut [u8], BadTag> {
        if buf.len() < TAG_LEN {
            return Err(BadTag);
        }
        let next = sha256_concat(&[&self.h, buf]);
        let text = aead::open(&Key32::new(self.k), self.n, &self.h, buf)?;
        self.n += 1;
        self.h = next;
        Ok(text)
    }

    /// `Split`: the keys of the initiator's and of the responder's direction.
    #[must_use]
    pub fn split(&self) -> (Key32, Key32) {
        hkdf2(&self.ck, b"", b"")
    }

    /// The chaining key, from which the protocols derive further keys.
    #[must_use]
    pub const fn chaining_key(&self) -> &[u8; 32] {
        &self.ck
    }

    /// The handshake hash.
    #[must_use]
    pub const fn handshake_hash(&self) -> &[u8; 32] {
        &self.h
    }

    /// The current cipher key, for the steps that use it outside `EncryptAndHash`.
    #[must_use]
    pub const fn cipher_key(&self) -> Key32 {
        Key32::new(self.k)
    }
}

impl Zeroize for SymmetricState {
    fn zeroize(&mut self) {
        self.ck.zeroize();
        self.h.zeroize();
        self.k.zeroize();
        self.n.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER as HEX;

    // Computed from the names in the specifications; the same as other routers start from.
    #[test]
    fn start_values() {
        for (protocol, ck, h) in [
            (
                Protocol::Ntcp2,
                "72e842c545e18080d39c4493bb91d7edf228981771218c1f624e206f28d32f71",
                "49ff483fc404b9b26b11943672ff05b561270331ba89b8fc3315938757dd3d1e",
            ),
            (
                Protocol::Ssu2,
                "b13722817423a8fdf42df2e60ed1edf41b93071db1ec24a367f784ec270d8132",
                "dc85e6af7b02650cf1f90d71fbc6d453a7cf6dbfbd525ea5b5791c47b35ebc33",
            ),
            (
                Protocol::Ratchet,
                "4caf11ef2c8e36564c53e88885064dbaacbe0054ad178f8079a646827e6ee40c",
                "9ccf852cc93bb9504441e950e01d52322e0d47add1e9a555f755b569ae183b5c",
            ),
            (
                Protocol::Router,
                "4e6f6973655f4e5f32353531395f436861436861506f6c795f53484132353600",
                "694d52445a27d9adfad29c7632395dc1e4354c69b4f92eac8a1ee46a9ed21554",
            ),
        ] {
            assert_eq!(HEX.encode(&protocol.initial()), ck);
            assert_eq!(HEX.encode(&sha256(&protocol.initial())), h);
        }
    }

    #[test]
    fn a_forged_message_leaves_the_state_as_it_was() {
        let key = PublicKey([5; 32]);
        let mut alice = SymmetricState::new(Protocol::Router, &key);
        let mut bob = SymmetricState::new(Protocol::Router, &key);
        for s in [&mut alice, &mut bob] {
            s.mix_key(&Key32::new([1; 32]));
        }
        let mut sealed = b"head|text".to_vec();
        alice.encrypt_and_hash(&mut sealed, 5);
        let mut forged = sealed[5..].to_vec();
        forged[0] ^= 1;
        assert_eq!(bob.decrypt_and_hash(&mut forged), Err(BadTag));
        assert_eq!(bob.decrypt_and_hash(&mut sealed[5..]).unwrap(), b"text");
        assert_eq!(alice.handshake_hash(), bob.handshake_hash());
        assert_eq!(alice.split().0.as_bytes(), bob.split().0.as_bytes());
    }
}
