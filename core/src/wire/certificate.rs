//! Certificates of identities (specification `common-structures`, Certificate).

use super::codec::{DecodeError, Reader};
use crate::crypto::sign::SignatureType;

/// Encryption type 0: ElGamal, 256 bytes.
pub const ELGAMAL: u16 = 0;
/// Encryption type 4: X25519, 32 bytes.
pub const X25519: u16 = 4;

/// What follows the 384 key bytes of an identity. Payloads of the historical kinds have no use
/// any more and are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate<'a> {
    /// No payload: a DSA and ElGamal identity.
    Null,
    /// Proof of work, never enforced.
    Hashcash(&'a [u8]),
    /// The router does not want to be published.
    Hidden,
    /// A DSA signature, with or without the hash of who made it.
    Signed(&'a [u8]),
    /// Several certificates one after the other.
    Multiple(&'a [u8]),
    /// The types of the keys.
    Key(KeyCertificate<'a>),
}

/// The payload of a key certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCertificate<'a> {
    /// Type of the signing key.
    pub signing: SignatureType,
    /// Type of the encryption key.
    pub encryption: u16,
    /// The part of the signing key that has no room in the 384 bytes.
    pub excess: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Decodes type, length and payload.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u8()?;
        let len = r.u16()?;
        let payload = r.take(len.into())?;
        Ok(match kind {
            0 if payload.is_empty() => Self::Null,
            1 => Self::Hashcash(payload),
            2 if payload.is_empty() => Self::Hidden,
            3 if payload.len() == 40 || payload.len() == 72 => Self::Signed(payload),
            4 => {
                check_sequence(payload)?;
                Self::Multiple(payload)
            }
            5 => {
                let mut p = Reader::new(payload);
                let signing = SignatureType::from_code(p.u16()?);
                let encryption = p.u16()?;
                Self::Key(KeyCertificate { signing, encryption, excess: p.rest() })
            }
            _ => return Err(DecodeError::Invalid("certificate")),
        })
    }
}

/// That `payload` is a sequence of certificates. They are not looked into: nesting could be deep.
fn check_sequence(payload: &[u8]) -> Result<(), DecodeError> {
    let mut r = Reader::new(payload);
    while !r.is_empty() {
        r.u8()?;
        let len = r.u16()?;
        r.take(len.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Certificate<'_>, DecodeError> {
        let mut r = Reader::new(bytes);
        let certificate = Certificate::decode(&mut r)?;
        r.finish().map(|()| certificate)
    }

    #[test]
    fn every_kind_is_read_and_every_cut_refused() {
        let signed = [&[3, 0, 40][..], &[9; 40]].concat();
        let countersigned = [&[3, 0, 72][..], &[9; 72]].concat();
        let key =
            KeyCertificate { signing: SignatureType::EcdsaP521, encryption: 4, excess: b"abcd" };
        let cases: [(&[u8], Certificate<'_>); 8] = [
            (b"\0\0\0", Certificate::Null),
            (b"\x01\0\x051:2:x", Certificate::Hashcash(b"1:2:x")),
            (b"\x02\0\0", Certificate::Hidden),
            (&signed, Certificate::Signed(&[9; 40])),
            (&countersigned, Certificate::Signed(&[9; 72])),
            (b"\x04\0\0", Certificate::Multiple(b"")),
            (b"\x04\0\x07\0\0\0\x01\0\x01x", Certificate::Multiple(b"\0\0\0\x01\0\x01x")),
            (b"\x05\0\x08\0\x03\0\x04abcd", Certificate::Key(key)),
        ];
        for (bytes, want) in cases {
            assert_eq!(decode(bytes), Ok(want));
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Err(DecodeError::Truncated));
            }
            assert_eq!(decode(&[bytes, b"\0"].concat()), Err(DecodeError::Trailing));
        }
    }

    #[test]
    fn lengths_that_a_kind_cannot_have_are_refused() {
        let bad: [&[u8]; 7] = [
            b"\0\0\x01x",
            b"\x02\0\x01x",
            b"\x03\0\x01x",
            b"\x04\0\x01x",
            b"\x04\0\x04\0\0\x02x",
            b"\x05\0\x03\0\x03\0",
            b"\x06\0\0",
        ];
        for bytes in bad {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
