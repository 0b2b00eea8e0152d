//! The keys of the data phase.

use crate::crypto::Key32;
use crate::crypto::kdf::hkdf2;
use crate::crypto::noise::SymmetricState;

/// The keys of one direction.
pub struct DirectionKeys {
    /// Seals payloads.
    pub data: Key32,
    /// Hides the second half of headers.
    pub header: Key32,
}

/// The keys of a session, as one side has them.
pub struct DataKeys {
    /// For what it sends.
    pub send: DirectionKeys,
    /// For what it receives.
    pub receive: DirectionKeys,
}

impl DataKeys {
    /// Alice's, from the finished handshake ("KDF for data phase").
    #[must_use]
    pub fn for_initiator(noise: &SymmetricState) -> Self {
        let (alice, bob) = noise.split();
        Self { send: DirectionKeys::derive(&alice), receive: DirectionKeys::derive(&bob) }
    }

    /// Bob's.
    #[must_use]
    pub fn for_responder(noise: &SymmetricState) -> Self {
        let Self { send, receive } = Self::for_initiator(noise);
        Self { send: receive, receive: send }
    }
}

impl DirectionKeys {
    fn derive(key: &Key32) -> Self {
        let (data, header) = hkdf2(key.as_bytes(), b"", b"HKDFSSU2DataKeys");
        Self { data, header }
    }
}
