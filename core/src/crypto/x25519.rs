//! X25519 (RFC 7748).

use super::Key32;
use crate::rng::Rng;
#[cfg(not(feature = "stub-crypto"))]
use curve as provider;

#[cfg(feature = "stub-crypto")]
use super::stub::x25519 as provider;

/// The other side's point has low order, so the shared secret would be known to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X25519 public key of low order")]
pub struct LowOrder;

/// A public key: 32 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A private key, wiped when dropped.
pub struct PrivateKey(Key32);

impl PrivateKey {
    /// A new key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(Key32::new(rng.bytes()))
    }

    /// From 32 stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Key32::new(bytes))
    }

    /// The bytes to store.
    #[must_use]
    pub const fn to_bytes(&self) -> Key32 {
        self.0.duplicate()
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(provider::public(self.0.as_bytes()))
    }

    /// The shared secret with `remote`; a point of low order is refused.
    pub fn diffie_hellman(&self, remote: &PublicKey) -> Result<Key32, LowOrder> {
        let shared = provider::shared(self.0.as_bytes(), &remote.0);
        // The identity: it is no secret then.
        if shared == [0; 32] { Err(LowOrder) } else { Ok(Key32::new(shared)) }
    }
}

#[cfg(not(feature = "stub-crypto"))]
mod curve {
    use curve25519_dalek::MontgomeryPoint;
    use x25519_dalek::{PublicKey, StaticSecret};

    pub(super) fn public(secret: &[u8; 32]) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
    }

    /// All zeros with a point of low order.
    pub(super) fn shared(secret: &[u8; 32], remote: &[u8; 32]) -> [u8; 32] {
        // On the Edwards form of the curve the same multiplication takes little more than half of the
        // time: it has vector code, and a table in place of a ladder. Half of all keys are not on the
        // curve but on its twist, which has no such form. Nobody honest has one of these, but
        // RFC 7748 knows no difference. Which way it goes tells of the public key only.
        match MontgomeryPoint(*remote).to_edwards(0) {
            Some(point) => point.mul_clamped(*secret).to_montgomery().to_bytes(),
            None => {
                let secret = StaticSecret::from(*secret);
                secret.diffie_hellman(&PublicKey::from(*remote)).to_bytes()
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "stub-crypto"))]
mod tests {
    use super::*;
    use curve25519_dalek::MontgomeryPoint;
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

    // RFC 7748, section 5.2: each result is the next private key, and the key before it the next
    // point; so the points are random, on the curve and on its twist.
    #[test]
    fn rfc7748_iterations() {
        let mut k = [0; 32];
        k[0] = 9;
        let mut u = k;
        for i in 1..=1000 {
            let next = PrivateKey::from_bytes(k).diffie_hellman(&PublicKey(u)).unwrap();
            (u, k) = (k, *next.as_bytes());
            if i == 1 {
                let want = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
                assert_eq!(HEX.encode(&k), want);
            }
        }
        let want = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
        assert_eq!(HEX.encode(&k), want);
    }

    #[test]
    fn any_32_bytes_give_what_the_ladder_gives() {
        let mut rng = Rng::new(&crate::rng::Seed::from_number(2));
        let mut edges = alloc::vec![[0xff; 32], [0; 32]];
        // Around p and 0, with and without the bit that is ignored; p is 2^255 - 19.
        for low in 0..=255 {
            for (middle, high) in [(0xff, 0x7f), (0xff, 0xff), (0, 0), (0, 0x80)] {
                let mut u = [middle; 32];
                (u[0], u[31]) = (low, high);
                edges.push(u);
            }
        }
        edges.extend((0..500).map(|_| rng.bytes::<32>()));
        let mut twisted = 0;
        for u in edges {
            let ours = PrivateKey::generate(&mut rng);
            let secret = x25519_dalek::StaticSecret::from(*ours.to_bytes().as_bytes());
            let want = secret.diffie_hellman(&x25519_dalek::PublicKey::from(u));
            twisted += usize::from(MontgomeryPoint(u).to_edwards(0).is_none());
            match ours.diffie_hellman(&PublicKey(u)) {
                Ok(got) => assert_eq!(got.as_bytes(), want.as_bytes(), "{u:?}"),
                Err(LowOrder) => assert!(!want.was_contributory(), "{u:?}"),
            }
        }
        assert!((500..1100).contains(&twisted), "{twisted} of 1526");
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
