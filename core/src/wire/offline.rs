//! Offline signatures: a transient key, signed by the long-term one
//! (specification `common-structures`, OfflineSignature).

use super::codec::{DecodeError, Put, Reader};
use crate::crypto::sign::{BadSignature, PublicKey, SignatureType};
use crate::time::UnixTime;
use alloc::vec::Vec;

/// A transient key and the long-term key's signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineSignature {
    /// When the transient key must no longer be used.
    pub expires: UnixTime,
    /// The transient key.
    pub key: PublicKey,
    /// By the long-term key, over expiry, type and transient key.
    pub signature: Vec<u8>,
}

impl OfflineSignature {
    /// Decodes the block; the length of the signature follows from `signer`, the long-term key's
    /// type.
    pub fn decode(r: &mut Reader<'_>, signer: SignatureType) -> Result<Self, DecodeError> {
        let expires = UnixTime::from_secs(r.u32()?.into());
        let kind = SignatureType::from_code(r.u16()?);
        let len = kind.public_key_len().ok_or(DecodeError::Invalid("signature type"))?;
        let key = PublicKey::new(kind, r.take(len)?)
            .map_err(|_| DecodeError::Invalid("transient key"))?;
        let len = signer.signature_len().ok_or(DecodeError::Invalid("signature type"))?;
        let signature = r.take(len)?.to_vec();
        Ok(Self { expires, key, signature })
    }

    /// Appends the block.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.put_signed(out);
        out.put(&self.signature);
    }

    /// Verifies that `long_term` signed the transient key. The expiry is for the caller, who has a
    /// clock.
    pub fn verify(&self, long_term: &PublicKey) -> Result<(), BadSignature> {
        let mut signed = Vec::new();
        self.put_signed(&mut signed);
        long_term.verify(&signed, &self.signature)
    }

    fn put_signed(&self, out: &mut Vec<u8>) {
        out.put_u32(self.expires.as_secs());
        out.put_u16(self.key.kind().code());
        out.put(self.key.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::sign::SigningKey;

    fn block() -> (PublicKey, OfflineSignature) {
        let (long_term, transient) =
            (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
        let mut block = OfflineSignature {
            expires: UnixTime::from_secs(1_900_000_000),
            key: transient.public(),
            signature: Vec::new(),
        };
        let mut signed = Vec::new();
        block.encode(&mut signed);
        block.signature = long_term.sign(&signed).to_vec();
        (long_term.public(), block)
    }

    #[test]
    fn round_trips_and_every_cut_is_refused() {
        let (key, block) = block();
        let mut bytes = Vec::new();
        block.encode(&mut bytes);
        assert_eq!(bytes.len(), 4 + 2 + 32 + 64);
        let mut r = Reader::new(&bytes);
        assert_eq!(OfflineSignature::decode(&mut r, key.kind()), Ok(block));
        assert!(r.is_empty());
        for cut in 0..bytes.len() {
            let got = OfflineSignature::decode(&mut Reader::new(&bytes[..cut]), key.kind());
            assert_eq!(got, Err(DecodeError::Truncated));
        }
        bytes[5] = 99;
        let got = OfflineSignature::decode(&mut Reader::new(&bytes), key.kind());
        assert_eq!(got, Err(DecodeError::Invalid("signature type")));
    }

    #[test]
    fn covers_expiry_and_key() {
        let (key, block) = block();
        assert_eq!(block.verify(&key), Ok(()));
        let expires = UnixTime::from_secs(1_900_000_001);
        let later = OfflineSignature { expires, ..block.clone() };
        assert_eq!(later.verify(&key), Err(BadSignature::Mismatch));
        let other = OfflineSignature { key: key.clone(), ..block.clone() };
        assert_eq!(other.verify(&key), Err(BadSignature::Mismatch));
        assert_eq!(block.verify(&block.key), Err(BadSignature::Mismatch));
    }
}
