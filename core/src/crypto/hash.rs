//! SHA-256 and SHA-512 (FIPS 180-4).

use sha2::{Digest, Sha256, Sha512};

/// SHA-256 of `data`.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// SHA-256 of the concatenation of `parts`.
#[must_use]
pub fn sha256_concat(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-512 of the concatenation of `parts`.
#[must_use]
pub fn sha512_concat(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    // FIPS 180-4 examples.
    #[test]
    fn abc() {
        let hex = |b: &[u8]| data_encoding::HEXLOWER.encode(b);
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&super::sha256(b"abc")), want);
        assert_eq!(hex(&super::sha256_concat(&[b"a", b"", b"bc"])), want);
        assert!(hex(&super::sha512_concat(&[b"ab", b"c"])).starts_with("ddaf35a193617aba"));
    }
}
