//! ECDSA on the NIST curves (FIPS 186-5). Keys are `X || Y` and signatures `R || S`, each half
//! padded on the left, as I2P carries them.

#[cfg(not(feature = "ring"))]
pub(super) use portable::{verify_p256, verify_p384};
#[cfg(feature = "ring")]
pub(super) use ring_provider::{verify_p256, verify_p384};

pub(super) use portable::verify_p521;

/// The pure-Rust provider: the fallback where there is no C compiler, the oracle in tests, and the
/// only one for P-521.
mod portable {
    use crate::crypto::sign::BadSignature;
    use p256::ecdsa::signature::Verifier;

    /// One function per curve: the crates share no object-safe trait that would save this.
    macro_rules! verify {
        ($name:ident, $curve:ident, $field:literal, $doc:literal) => {
            #[doc = $doc]
            pub(in crate::crypto::sign) fn $name(
                key: &[u8],
                message: &[u8],
                signature: &[u8],
            ) -> Result<(), BadSignature> {
                let point = super::sec1::<{ 1 + 2 * $field }>(key)?;
                let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(&point);
                let key = key.map_err(|_| BadSignature::Mismatch)?;
                let signature = $curve::ecdsa::Signature::from_slice(signature);
                let signature = signature.map_err(|_| BadSignature::Mismatch)?;
                key.verify(message, &signature).map_err(|_| BadSignature::Mismatch)
            }
        };
    }

    #[cfg(any(test, not(feature = "ring")))]
    verify!(verify_p256, p256, 32, "P-256 with SHA-256.");
    #[cfg(any(test, not(feature = "ring")))]
    verify!(verify_p384, p384, 48, "P-384 with SHA-384.");
    verify!(verify_p521, p521, 66, "P-521 with SHA-512.");
}

#[cfg(feature = "ring")]
mod ring_provider {
    use crate::crypto::sign::BadSignature;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm,
        UnparsedPublicKey,
    };

    /// P-256 with SHA-256.
    pub(in crate::crypto::sign) fn verify_p256(
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        verify(&ECDSA_P256_SHA256_FIXED, &super::sec1::<65>(key)?, message, signature)
    }

    /// P-384 with SHA-384.
    pub(in crate::crypto::sign) fn verify_p384(
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        verify(&ECDSA_P384_SHA384_FIXED, &super::sec1::<97>(key)?, message, signature)
    }

    fn verify(
        algorithm: &'static EcdsaVerificationAlgorithm,
        point: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let key = UnparsedPublicKey::new(algorithm, point);
        key.verify(message, signature).map_err(|_| BadSignature::Mismatch)
    }
}

/// The uncompressed SEC1 form: a 4 before the two coordinates.
fn sec1<const N: usize>(key: &[u8]) -> Result<[u8; N], super::BadSignature> {
    let mut point = [4; N];
    let (_, coordinates) = point.split_first_mut().ok_or(super::BadSignature::Mismatch)?;
    if coordinates.len() != key.len() {
        return Err(super::BadSignature::Mismatch);
    }
    coordinates.copy_from_slice(key);
    Ok(point)
}

#[cfg(test)]
#[cfg(not(feature = "stub-crypto"))]
mod tests {
    use super::super::tests::{Vector, vectors};
    use super::*;
    use crate::crypto::sign::SignatureType;

    #[test]
    fn providers_agree() {
        let mut seen = 0;
        for Vector { kind, key, message, mut signature } in vectors() {
            type Verify = fn(&[u8], &[u8], &[u8]) -> Result<(), crate::crypto::sign::BadSignature>;
            let (a, b): (Verify, Verify) = if kind == SignatureType::EcdsaP256 {
                (verify_p256, portable::verify_p256)
            } else if kind == SignatureType::EcdsaP384 {
                (verify_p384, portable::verify_p384)
            } else {
                continue;
            };
            seen += 1;
            assert_eq!(a(&key, &message, &signature), b(&key, &message, &signature));
            signature[0] ^= 1;
            assert_eq!(a(&key, &message, &signature), b(&key, &message, &signature));
        }
        assert!(seen >= 2);
    }
}
