//! X25519 (RFC 7748).

use super::Key32;
use crate::rng::Rng;
use x25519_dalek::StaticSecret;

/// The other side's point has low order, so the shared secret would be known to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X25519 public key of low order")]
pub struct LowOrder;

/// A public key: 32 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A private key, wiped when dropped.
pub struct PrivateKey(StaticSecret);

impl PrivateKey {
    /// A new key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(StaticSecret::from(rng.bytes::<32>()))
    }

    /// From 32 stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Key32 {
        Key32::new(self.0.to_bytes())
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The shared secret with `remote`; a point of low order is refused.
    pub fn diffie_hellman(&self, remote: &PublicKey) -> Result<Key32, LowOrder> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(remote.0));
        if shared.was_contributory() { Ok(Key32::new(shared.to_bytes())) } else { Err(LowOrder) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER as HEX;

    fn bytes(hex: &str) -> [u8; 32] {
        HEX.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    // RFC 7748, section 5.2, first vector.
    #[test]
    fn rfc7748_vector() {
        let k = PrivateKey::from_bytes(bytes(
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        ));
        let u =
            PublicKey(bytes("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"));
        assert_eq!(
            HEX.encode(k.diffie_hellman(&u).unwrap().as_bytes()),
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
        );
    }

    #[test]
    fn both_sides_agree_and_low_order_points_are_refused() {
        let mut rng = Rng::new(&crate::rng::Seed::from_number(1));
        let (a, b) = (PrivateKey::generate(&mut rng), PrivateKey::generate(&mut rng));
        let ab = a.diffie_hellman(&b.public()).unwrap();
        let ba = b.diffie_hellman(&a.public()).unwrap();
        assert_eq!(ab.as_bytes(), ba.as_bytes());
        let mut one = [0; 32];
        one[0] = 1;
        for low in [[0; 32], one] {
            assert!(matches!(a.diffie_hellman(&PublicKey(low)), Err(LowOrder)));
        }
    }
}
