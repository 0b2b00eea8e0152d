//! SHA-256 hashes that name routers, destinations and netdb keys.

use core::fmt;

/// A 32-byte identifier: the SHA-256 of a router identity or of a destination.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zeros: never a real router or destination.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(crate::crypto::hash::sha256(data))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bitwise difference: smaller is closer (Kademlia).
    #[must_use]
    pub fn xor(&self, other: &Self) -> [u8; 32] {
        let mut d = self.0;
        for (a, b) in d.iter_mut().zip(other.0) {
            *a ^= b;
        }
        d
    }
}

impl fmt::Debug for Hash {
    /// The first four bytes: enough to follow one in a log, too little to be a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}
