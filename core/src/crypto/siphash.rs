//! SipHash-2-4 with 64-bit output: the length mask of NTCP2.

use core::hash::Hasher;
use siphasher::sip::SipHasher24;

/// SipHash-2-4 of `data` under `(k1, k2)`.
#[must_use]
pub fn siphash24(k1: u64, k2: u64, data: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(k1, k2);
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    // The SipHash paper, appendix A.
    #[test]
    fn paper_vector() {
        let data: [u8; 15] = core::array::from_fn(|i| i as u8);
        let (k1, k2) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(super::siphash24(k1, k2, &data), 0xa129_ca61_49be_45e5);
    }
}
