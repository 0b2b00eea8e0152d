//! Long-term keys and the formats they are stored in.

use crate::crypto::hash::sha256;
use crate::crypto::kdf::{hkdf1, hkdf2};
use crate::crypto::sign::{SignatureType, SigningKey};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::wire::codec::{DecodeError, Put, Reader};
use crate::wire::identity::Identity;
use alloc::sync::Arc;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Why stored keys cannot be used. They are never replaced: the owner decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// Not the format.
    #[error("damaged or not a key file: {0}")]
    Format(#[from] DecodeError),
    /// The checksum at the end does not fit.
    #[error("damaged: the checksum does not fit")]
    Checksum,
    /// The private keys are those of another identity.
    #[error("damaged: private and public keys do not belong together")]
    Mismatch,
    /// The bytes between an identity's keys are no longer what they were made as.
    #[error("damaged: the padding of the identity was changed")]
    Padding,
    /// A valid identity of a kind that we do not sign with.
    #[error("signature type {0} is not supported for own keys, only Ed25519 (7)")]
    Unsupported(u16),
}

const ROUTER_MAGIC: &[u8; 8] = b"ramsonrk";
const ROUTER_VERSION: u8 = 1;

/// The router's keys: its identity's, and those of its transports.
pub struct RouterKeys {
    /// The identity that RouterInfos carry.
    pub identity: Identity,
    /// Signs our RouterInfo.
    pub signing: Arc<SigningKey>,
    /// Opens build records and garlic for the router.
    pub encryption: Arc<PrivateKey>,
    /// NTCP2's static key, `s`.
    pub ntcp2: PrivateKey,
    /// NTCP2's address obfuscation, `i`.
    pub ntcp2_iv: [u8; 16],
    /// SSU2's static key, `s`. It and the next one follow from NTCP2's, so that a file from before SSU2 has them
    /// too, and the same after each start.
    pub ssu2: PrivateKey,
    /// SSU2's introduction key, `i`.
    pub ssu2_intro: [u8; 32],
}

impl RouterKeys {
    /// New keys.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        let signing = SigningKey::generate(rng);
        let encryption = PrivateKey::generate(rng);
        let identity = Identity::new_router(encryption.public(), &signing.public(), rng);
        let ntcp2 = static_key(rng);
        let (ssu2, ssu2_intro) = ssu2_keys(&ntcp2);
        Self {
            identity,
            signing: Arc::new(signing),
            encryption: Arc::new(encryption),
            ntcp2,
            ntcp2_iv: rng.bytes(),
            ssu2,
            ssu2_intro,
        }
    }

    /// The bytes to store: magic, version, identity, four keys, and a SHA-256 over all of it.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(600));
        out.put(ROUTER_MAGIC);
        out.put_u8(ROUTER_VERSION);
        out.put(self.identity.as_bytes());
        out.put(self.signing.seed().as_bytes());
        out.put(self.encryption.to_bytes().as_bytes());
        out.put(self.ntcp2.to_bytes().as_bytes());
        out.put(&self.ntcp2_iv);
        let sum = sha256(&out);
        out.put(&sum);
        out
    }

    /// From stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeysError> {
        let (body, sum) = bytes.split_last_chunk::<32>().ok_or(DecodeError::Truncated)?;
        let mut r = Reader::new(body);
        if r.array::<8>()? != *ROUTER_MAGIC {
            return Err(DecodeError::Invalid("magic").into());
        }
        if sha256(body) != *sum {
            return Err(KeysError::Checksum);
        }
        if r.u8()? != ROUTER_VERSION {
            return Err(DecodeError::Invalid("version").into());
        }
        let identity = Identity::decode(&mut r)?;
        let signing = SigningKey::from_seed(r.array()?);
        let encryption = PrivateKey::from_bytes(r.array()?);
        let ntcp2 = PrivateKey::from_bytes(r.array()?);
        let ntcp2_iv = r.array()?;
        r.finish()?;
        if identity.signing_key() != &signing.public()
            || identity.x25519_key() != Some(encryption.public())
        {
            return Err(KeysError::Mismatch);
        }
        let (ssu2, ssu2_intro) = ssu2_keys(&ntcp2);
        Ok(Self {
            identity,
            signing: Arc::new(signing),
            encryption: Arc::new(encryption),
            ntcp2,
            ntcp2_iv,
            ssu2,
            ssu2_intro,
        })
    }
}

/// What SSU2 needs, from the private key of NTCP2.
fn ssu2_keys(ntcp2: &PrivateKey) -> (PrivateKey, [u8; 32]) {
    let secret = ntcp2.to_bytes();
    let (mut seed, intro) = hkdf2(&[0; 32], secret.as_bytes(), b"ramson ssu2");
    loop {
        let key = PrivateKey::from_bytes(*seed.as_bytes());
        if has_clear_top_bit(&key.public()) {
            return (key, *intro.as_bytes());
        }
        seed = hkdf1(&[0; 32], seed.as_bytes(), b"ramson ssu2 again");
    }
}

const fn has_clear_top_bit(PublicKey([.., last]): &PublicKey) -> bool {
    *last & 0x80 == 0
}

/// A transport key whose public form has a clear top bit: some routers refuse others.
fn static_key(rng: &mut Rng) -> PrivateKey {
    loop {
        let key = PrivateKey::generate(rng);
        if has_clear_top_bit(&key.public()) {
            return key;
        }
    }
}

/// A destination's keys, in the private-key file format that I2P routers share: destination,
/// encryption private key, signing private key.
pub struct DestinationKeys {
    /// The destination.
    pub identity: Identity,
    /// Signs lease sets and streams.
    pub signing: Arc<SigningKey>,
    /// The private half of the identity's own encryption key, which nothing uses: it is kept because
    /// the file format has it. `None` where that field is an ElGamal key.
    encryption: Option<PrivateKey>,
}

impl DestinationKeys {
    /// New keys.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        let signing = SigningKey::generate(rng);
        let encryption = PrivateKey::generate(rng);
        Self {
            identity: Identity::new_destination(encryption.public(), &signing.public(), rng),
            signing: Arc::new(signing),
            encryption: Some(encryption),
        }
    }

    /// The bytes to store. Keys that came with an ElGamal field keep its place, zeroed: nothing
    /// uses it.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(720));
        out.put(self.identity.as_bytes());
        match &self.encryption {
            Some(key) => out.put(key.to_bytes().as_bytes()),
            None => out.put(&[0; ELGAMAL_PRIVATE_LEN]),
        }
        out.put(self.signing.seed().as_bytes());
        out
    }

    /// From stored bytes; also reads the files of other routers with Ed25519 destinations.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeysError> {
        let mut r = Reader::new(bytes);
        let identity = Identity::decode(&mut r)?;
        let kind = identity.signing_key().kind();
        if kind != SignatureType::Ed25519 {
            return Err(KeysError::Unsupported(kind.code()));
        }
        let encryption = match identity.x25519_key() {
            Some(public) => {
                let key = PrivateKey::from_bytes(r.array()?);
                if key.public() != public && !has_padding_for_a_key(&identity) {
                    return Err(KeysError::Mismatch);
                }
                Some(key)
            }
            None => {
                let _elgamal = r.take(ELGAMAL_PRIVATE_LEN)?;
                None
            }
        };
        let signing = SigningKey::from_seed(r.array()?);
        r.finish()?;
        if identity.signing_key() != &signing.public() {
            return Err(KeysError::Mismatch);
        }
        if padding_is_damaged(&identity) {
            return Err(KeysError::Padding);
        }
        Ok(Self { identity, signing: Arc::new(signing), encryption })
    }
}

/// Whether the place of the encryption key has only the padding that follows it: i2pd makes such
/// destinations, since nobody encrypts to that key.
fn has_padding_for_a_key(identity: &Identity) -> bool {
    let (key, next) = (identity.as_bytes().get(..32), identity.as_bytes().get(32..64));
    key.is_some() && key == next
}

/// Whether the padding of an Ed25519 identity, 32 bytes over and over in all that routers make today,
/// repeats for the most part but not everywhere. The file has no checksum, and with other padding it
/// would be another destination. Padding made otherwise does not repeat at all.
fn padding_is_damaged(identity: &Identity) -> bool {
    // Beside an X25519 key in the field of the encryption key; beside the signing key in the other.
    let encryption = identity.x25519_key().map(|_| 32..256);
    encryption.into_iter().chain(core::iter::once(256..384 - 32)).any(|place| {
        let field = identity.as_bytes().get(place).unwrap_or_default();
        let pairs = || field.iter().zip(field.iter().skip(32));
        let repeated = pairs().filter(|(a, b)| a == b).count();
        (pairs().count() / 2..pairs().count()).contains(&repeated)
    })
}

const ELGAMAL_PRIVATE_LEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn router_keys_round_trip_and_any_damage_is_noticed() {
        let keys = RouterKeys::generate(&mut Rng::new(&Seed::from_number(1)));
        let bytes = keys.encode();
        let read = RouterKeys::decode(&bytes).unwrap();
        assert_eq!(read.identity.hash(), keys.identity.hash());
        assert_eq!(read.ntcp2.public(), keys.ntcp2.public());
        for i in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[i] ^= 4;
            assert!(RouterKeys::decode(&bad).is_err(), "byte {i}");
            assert!(RouterKeys::decode(&bytes[..i]).is_err(), "cut {i}");
        }
    }

    #[test]
    fn keys_of_ssu2_are_others_and_stay_the_same() {
        for seed in 0..20 {
            let keys = RouterKeys::generate(&mut Rng::new(&Seed::from_number(seed)));
            let read = RouterKeys::decode(&keys.encode()).unwrap();
            let public = keys.ssu2.public();
            assert_eq!((read.ssu2.public(), read.ssu2_intro), (public, keys.ssu2_intro));
            assert!(public != keys.ntcp2.public() && has_clear_top_bit(&public));
            assert_ne!(keys.ssu2_intro, *keys.ssu2.to_bytes().as_bytes());
        }
    }

    #[test]
    fn destination_keys_round_trip_and_damage_to_keys_is_noticed() {
        let keys = DestinationKeys::generate(&mut Rng::new(&Seed::from_number(2)));
        let bytes = keys.encode();
        let read = DestinationKeys::decode(&bytes).unwrap();
        assert_eq!(read.identity.hash(), keys.identity.hash());
        assert_eq!(*read.encode(), *bytes);
        for cut in 0..bytes.len() {
            assert!(DestinationKeys::decode(&bytes[..cut]).is_err(), "cut {cut}");
        }
        let mut long = bytes.to_vec();
        long.push(0);
        assert!(DestinationKeys::decode(&long).is_err());
        for i in 0..bytes.len() {
            // The private key is clamped, which makes some bits of it mean nothing.
            let clamped = i == 391 || i == 391 + 31;
            let mut bad = bytes.to_vec();
            bad[i] ^= 8;
            let result = DestinationKeys::decode(&bad);
            assert!(result.is_err() || clamped, "byte {i}");
        }
        let mut torn = bytes.to_vec();
        torn[40..72].fill(0);
        assert_eq!(DestinationKeys::decode(&torn).err(), Some(KeysError::Padding));
    }

    #[test]
    fn padding_of_any_making_is_taken() {
        let keys = DestinationKeys::generate(&mut Rng::new(&Seed::from_number(3)));
        let mut rng = Rng::new(&Seed::from_number(4));
        let with = |fill: &mut dyn FnMut(usize) -> u8| {
            let mut bytes = keys.encode().to_vec();
            for (i, byte) in bytes[32..352].iter_mut().enumerate() {
                *byte = fill(i);
            }
            DestinationKeys::decode(&bytes).map(|k| k.identity.hash())
        };
        let random = with(&mut |_| rng.bytes::<1>()[0]).unwrap();
        let zero = with(&mut |_| 0).unwrap();
        // One pattern in each field.
        let two = with(&mut |i| if i < 224 { i as u8 % 32 } else { 200 + i as u8 % 32 }).unwrap();
        assert!(random != zero && zero != two);
        let mut bytes = keys.encode().to_vec();
        let padding = bytes[32..64].to_vec();
        bytes[..32].copy_from_slice(&padding);
        let read = DestinationKeys::decode(&bytes).unwrap();
        assert_eq!(*read.encode(), *bytes);
    }
}
