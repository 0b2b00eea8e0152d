//! The maps between the curve and strings of random bytes.

use super::{NotEncoded, RANDOM_BITS};
use crate::crypto::{Key32, x25519::PublicKey};
use crate::rng::Rng;
use curve25519_dalek::{constants::EIGHT_TORSION, edwards::EdwardsPoint};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroize;

#[cfg(not(target_pointer_width = "64"))]
use fiat_crypto::curve25519_32 as fiat;
#[cfg(target_pointer_width = "64")]
use fiat_crypto::curve25519_64 as fiat;

/// The curve's coefficient.
const A: Field = Field::small(486_662);

/// Encodes `public`, or says `None` for the half of all keys that have no encoding. `random`
/// chooses between the two encodings (bit 0) and fills the two bits on top (bits 6 and 7).
#[must_use]
pub fn encode(public: &PublicKey, random: u8) -> Option<[u8; 32]> {
    let x = Field::from_bytes(&public.0);
    let xa = x.add(&A);
    // With u = 2 and d = -u x (x + A) the two encodings are x / sqrt(d) and (x + A) / sqrt(d), and
    // they exist if d is a square.
    let d = x.mul(&xa).double().neg();
    let inverse_root = d.inverse_sqrt()?;
    let numerator = Field::select(&x, &xa, Choice::from(random & 1));
    let mut r = numerator.mul(&inverse_root);
    r = Field::select(&r, &r.neg(), r.is_high());
    let mut out = r.to_bytes();
    if let Some(last) = out.last_mut() {
        *last |= random & RANDOM_BITS;
    }
    Some(out)
}

/// Decodes an encoded public key. Two different encodings give the same key.
pub fn decode(encoded: &[u8; 32]) -> Result<PublicKey, NotEncoded> {
    let mut bytes = *encoded;
    if let Some(last) = bytes.last_mut() {
        *last &= !RANDOM_BITS;
    }
    let r = Field::from_bytes(&bytes);
    if bool::from(r.is_high()) {
        return Err(NotEncoded);
    }
    // v = -A / (1 + u r^2); the denominator is never zero, since -1/2 is no square.
    let v = A.neg().mul(&r.square().double().add(&Field::ONE).invert());
    // The curve has a point over v if v^3 + A v^2 + v is a square, and one over -v - A otherwise.
    let t = v.square().mul(&v.add(&A)).add(&v);
    let x = Field::select(&v.neg().sub(&A), &v, t.is_square());
    Ok(PublicKey(x.to_bytes()))
}

/// One try for a key pair, its public key as the receiver decodes it and what goes on the wire; every
/// other one fails.
pub(super) fn pair(rng: &mut Rng) -> Option<(Key32, PublicKey, [u8; 32])> {
    let mut secret = rng.bytes::<32>();
    let [torsion, random] = rng.bytes::<2>();
    let small = EIGHT_TORSION.get(usize::from(torsion % 8))?;
    let point = EdwardsPoint::mul_base_clamped(secret) + small;
    let public = PublicKey(point.to_montgomery().to_bytes());
    let pair = encode(&public, random).map(|encoded| (Key32::new(secret), public, encoded));
    secret.zeroize();
    pair
}

/// An element of the field of 2^255 - 19 elements, always reduced enough to multiply.
#[derive(Clone, Copy)]
struct Field(fiat::fiat_25519_tight_field_element);

impl Field {
    const ZERO: Self = Self::small(0);
    const ONE: Self = Self::small(1);
    /// A square root of -1: 2^((p - 1) / 4).
    const ROOT_OF_MINUS_ONE: Self = Self::from_bytes(&[
        0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43,
        0x2f, 0xa7, 0xd7, 0xfb, 0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24,
        0x83, 0x2b,
    ]);

    const fn small(v: u32) -> Self {
        let [a, b, c, d] = v.to_le_bytes();
        let mut bytes = [0; 32];
        bytes.split_at_mut(4).0.copy_from_slice(&[a, b, c, d]);
        Self::from_bytes(&bytes)
    }

    /// Little-endian; bit 255 is ignored, as X25519 does.
    const fn from_bytes(bytes: &[u8; 32]) -> Self {
        let mut masked = *bytes;
        if let Some(last) = masked.last_mut() {
            *last &= 0x7f;
        }
        let mut out = fiat::fiat_25519_tight_field_element([0; _]);
        fiat::fiat_25519_from_bytes(&mut out, &masked);
        Self(out)
    }

    /// Canonical, little-endian.
    fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        fiat::fiat_25519_to_bytes(&mut out, &self.0);
        out
    }

    fn relax(&self) -> fiat::fiat_25519_loose_field_element {
        let mut out = fiat::fiat_25519_loose_field_element([0; _]);
        fiat::fiat_25519_relax(&mut out, &self.0);
        out
    }

    fn carry(loose: &fiat::fiat_25519_loose_field_element) -> Self {
        let mut out = Self::ZERO;
        fiat::fiat_25519_carry(&mut out.0, loose);
        out
    }

    fn add(&self, other: &Self) -> Self {
        let mut sum = fiat::fiat_25519_loose_field_element([0; _]);
        fiat::fiat_25519_add(&mut sum, &self.0, &other.0);
        Self::carry(&sum)
    }

    fn sub(&self, other: &Self) -> Self {
        let mut difference = fiat::fiat_25519_loose_field_element([0; _]);
        fiat::fiat_25519_sub(&mut difference, &self.0, &other.0);
        Self::carry(&difference)
    }

    fn neg(&self) -> Self {
        let mut opposite = fiat::fiat_25519_loose_field_element([0; _]);
        fiat::fiat_25519_opp(&mut opposite, &self.0);
        Self::carry(&opposite)
    }

    fn double(&self) -> Self {
        self.add(self)
    }

    fn mul(&self, other: &Self) -> Self {
        let mut out = Self::ZERO;
        fiat::fiat_25519_carry_mul(&mut out.0, &self.relax(), &other.relax());
        out
    }

    fn square(&self) -> Self {
        let mut out = Self::ZERO;
        fiat::fiat_25519_carry_square(&mut out.0, &self.relax());
        out
    }

    /// `self^(2^n)`.
    fn square_n(&self, n: usize) -> Self {
        (0..n).fold(*self, |x, _| x.square())
    }

    /// `self^(2^250 - 1)` and `self^11`, from which the three powers below are a step away.
    fn power_2_250_1(&self) -> (Self, Self) {
        let x2 = self.square();
        let x9 = x2.square_n(2).mul(self);
        let x11 = x9.mul(&x2);
        let ones5 = x11.square().mul(&x9);
        let ones10 = ones5.square_n(5).mul(&ones5);
        let ones20 = ones10.square_n(10).mul(&ones10);
        let ones40 = ones20.square_n(20).mul(&ones20);
        let ones50 = ones40.square_n(10).mul(&ones10);
        let ones100 = ones50.square_n(50).mul(&ones50);
        let ones200 = ones100.square_n(100).mul(&ones100);
        (ones200.square_n(50).mul(&ones50), x11)
    }

    /// `self^(p - 2)` = `self^(2^255 - 21)`: the inverse, and 0 for 0.
    fn invert(&self) -> Self {
        let (ones250, x11) = self.power_2_250_1();
        ones250.square_n(5).mul(&x11)
    }

    /// True if `self` is a square other than 0, by `self^((p - 1) / 2)` = `self^(2^254 - 10)`.
    fn is_square(&self) -> Choice {
        let (ones250, _) = self.power_2_250_1();
        // 2^254 - 10 = (2^250 - 1) 2^4 + 6.
        let x2 = self.square();
        ones250.square_n(4).mul(&x2.square().mul(&x2)).equals(&Self::ONE)
    }

    /// `1 / sqrt(self)`, or `None` if that does not exist.
    fn inverse_sqrt(&self) -> Option<Self> {
        // r = x^3 (x^7)^((p - 5) / 8) has r^2 x in {1, -1} if x is a square; (p - 5) / 8 is
        // 2^252 - 3.
        let x3 = self.square().mul(self);
        let x7 = x3.square().mul(self);
        let (ones250, _) = x7.power_2_250_1();
        let r = x3.mul(&ones250.square_n(2).mul(&x7));
        let check = r.square().mul(self);
        let turned = r.mul(&Self::ROOT_OF_MINUS_ONE);
        let minus = check.equals(&Self::ONE.neg());
        let exists = check.equals(&Self::ONE) | minus;
        bool::from(exists).then(|| Self::select(&r, &turned, minus))
    }

    /// True above `(p - 1) / 2`: exactly then is the double, once reduced, odd.
    fn is_high(&self) -> Choice {
        Choice::from(self.double().to_bytes().first().copied().unwrap_or_default() & 1)
    }

    fn equals(&self, other: &Self) -> Choice {
        self.to_bytes().ct_eq(&other.to_bytes())
    }

    /// `a`, or `b` if `choice`.
    fn select(a: &Self, b: &Self, choice: Choice) -> Self {
        let mut out = *a;
        for (x, y) in out.0.0.iter_mut().zip(b.0.0) {
            x.conditional_assign(&y, choice);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::x25519::PrivateKey;
    use crate::rng::Seed;
    use curve25519_dalek::{montgomery::MontgomeryPoint, traits::IsIdentity};
    use data_encoding::HEXLOWER as HEX;

    fn bytes(hex: &str) -> [u8; 32] {
        HEX.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    // The known answers of i2pd's tests/test-elligator.cpp.
    #[test]
    fn known_encodings() {
        // There the key has bit 255 set and means it as part of the number; this is the same
        // number reduced by p.
        let key =
            PublicKey(bytes("46951964003c940878063ccfd0348af42150ca16d2646f2c5856e8338377d800"));
        for (random, want) in [
            (0, "2820b6b241e0f68a6c4a7fee3d978228ef3ae45533cd410aa91a415331d8612d"),
            (1, "3cfb87c46c0b4575ca8175e0ed1c0ae9dae79db78df86997c4847b9f20b27718"),
        ] {
            assert_eq!(HEX.encode(&encode(&key, random).unwrap()), want);
        }
        let none =
            PublicKey(bytes("e6f66fdf6e230c603c5e6e59a254ea1476a13eb9511b9549846781e12e52230a"));
        assert_eq!(encode(&none, 0), None);
    }

    // The known answers of i2pd's tests/test-elligator.cpp.
    #[test]
    fn known_decodings() {
        for (encoded, key) in [
            (
                "e73507d38bae63992b3f57aac48c0abc14509589288457995a2b4ca3490aa207",
                "1e8afffed6bf53fe271ad572473262ded8faec68e5e67ef45ebb82eeba52604f",
            ),
            (
                "95a16019041dbefed9832048ede11928d90365f24a38aa7aef1b97e23954101b",
                "794f05ba3e3a72958022468c88981e0be5782be1e1145ce2c3c6fde16ded5363",
            ),
            (
                "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff3f",
                "9cdb525555555555555555555555555555555555555555555555555555555555",
            ),
        ] {
            for top in [0, 0x40, 0x80, 0xc0] {
                let mut encoded = bytes(encoded);
                encoded[31] |= top;
                assert_eq!(HEX.encode(&decode(&encoded).unwrap().0), key);
            }
        }
    }

    #[test]
    fn what_no_encoder_makes_is_refused() {
        // (p - 1) / 2 = 2^254 - 10 is the last one, and a known answer above.
        for low in 0xf7..=0xff {
            let mut encoded = [0xff; 32];
            encoded[0] = low;
            encoded[31] = 0x3f;
            assert_eq!(decode(&encoded), Err(NotEncoded));
        }
    }

    #[test]
    fn both_encodings_of_a_key_decode_to_it_and_half_the_keys_have_some() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut encodable = 0;
        for _ in 0..500 {
            let key = PrivateKey::generate(&mut rng).public();
            let Some(low) = encode(&key, 0) else {
                assert_eq!(encode(&key, 0xff), None);
                continue;
            };
            encodable += 1;
            let high = encode(&key, 0xff).unwrap();
            assert_eq!(low[31] & RANDOM_BITS, 0);
            assert_eq!(high[31] & RANDOM_BITS, RANDOM_BITS);
            assert_ne!(low, high);
            assert_eq!(decode(&low), Ok(key));
            assert_eq!(decode(&high), Ok(key));
        }
        assert!((200..300).contains(&encodable), "{encodable}");
    }

    #[test]
    fn every_byte_string_decodes_to_a_key_that_encodes_to_it() {
        let mut rng = Rng::new(&Seed::from_number(2));
        for _ in 0..500 {
            let mut encoded = rng.bytes::<32>();
            let key = decode(&encoded).unwrap();
            encoded[31] &= !RANDOM_BITS;
            assert!([0, 1].iter().any(|&y| encode(&key, y) == Some(encoded)));
        }
    }

    #[test]
    fn points_without_a_partner_have_no_encoding() {
        let minus_a = PublicKey(A.neg().to_bytes());
        for key in [PublicKey([0; 32]), minus_a] {
            assert_eq!(encode(&key, 0), None);
        }
    }

    #[test]
    fn pairs_do_not_stay_in_the_subgroup() {
        let mut rng = Rng::new(&Seed::from_number(3));
        let mut outside = 0;
        for _ in 0..40 {
            let (_, public, _) = (0..256).find_map(|_| pair(&mut rng)).unwrap();
            let point = MontgomeryPoint(public.0).to_edwards(0).unwrap();
            assert!(!point.is_identity());
            outside += u32::from(!point.is_torsion_free());
        }
        // Seven of eight are expected.
        assert!(outside > 25, "{outside}");
    }
}
