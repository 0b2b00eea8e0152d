//! Garlic for routers: one message, Noise_N, no session (specification `ecies-routers`).

use super::{
    Clove, DATE_TIME_BLOCK_LEN, OpenError, Payload, SealError, cloves_len, finish_body, new_body,
    open_body, pad, put_cloves,
};
use crate::crypto::aead::TAG_LEN;
use crate::crypto::noise::{Protocol, SymmetricState};
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::UnixTime;
use crate::wire::codec::DecodeError;
use crate::wire::garlic::Block;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Bytes of an ephemeral key.
const KEY_LEN: usize = 32;
/// What encryption adds to the payload.
const OVERHEAD: usize = KEY_LEN + TAG_LEN;

/// Encrypts `cloves` to the router whose identity holds `to`. The ephemeral key is a plain one:
/// routers do not use Elligator2.
pub fn seal(
    unix: UnixTime,
    to: &PublicKey,
    cloves: &[Clove],
    rng: &mut Rng,
) -> Result<Vec<u8>, SealError> {
    let capacity = OVERHEAD + DATE_TIME_BLOCK_LEN + cloves_len(cloves)? + 18;
    let mut body = new_body(capacity);
    let ephemeral = PrivateKey::generate(rng);
    let public = ephemeral.public();
    body.extend_from_slice(&public.0);
    let mut noise = SymmetricState::new(Protocol::Router, to);
    noise.mix_hash(&public.0);
    noise.mix_key(&ephemeral.diffie_hellman(to)?);
    let from = body.len();
    Block::DateTime(unix).encode(&mut body).map_err(SealError::TooLarge)?;
    put_cloves(cloves, &mut body)?;
    pad(rng, OVERHEAD, from, &mut body);
    noise.encrypt_and_hash(&mut body, from);
    finish_body(&mut body)?;
    Ok(body)
}

/// Opens garlic messages to our router.
pub struct Opener {
    key: Arc<PrivateKey>,
    /// After the name and our public key: the same for every message.
    start: SymmetricState,
}

impl Opener {
    /// With the key of our router identity.
    #[must_use]
    pub fn new(key: Arc<PrivateKey>) -> Self {
        let start = SymmetricState::new(Protocol::Router, &key.public());
        Self { key, start }
    }

    /// Decrypts `body` in place. Messages that carry a date are refused when it is older than
    /// [`MAX_AGE`](super::MAX_AGE) or further ahead than [`MAX_AHEAD`](super::MAX_AHEAD).
    pub fn open(&self, unix: UnixTime, body: &mut [u8]) -> Result<Vec<Clove>, OpenError> {
        let (ephemeral, sealed) =
            open_body(body)?.split_first_chunk_mut::<KEY_LEN>().ok_or(DecodeError::Truncated)?;
        let mut noise = self.start.duplicate();
        noise.mix_hash(ephemeral);
        noise.mix_key(&self.key.diffie_hellman(&PublicKey(*ephemeral))?);
        let payload = Payload::decode(noise.decrypt_and_hash(sealed)?)?;
        payload.check_date(unix)?;
        Ok(payload.cloves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::garlic::tests::clove;
    use crate::rng::Seed;
    use core::time::Duration;

    const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

    fn pair() -> (Rng, Opener, PublicKey) {
        let mut rng = Rng::new(&Seed::from_number(1));
        let key = Arc::new(PrivateKey::generate(&mut rng));
        let public = key.public();
        (rng, Opener::new(key), public)
    }

    #[test]
    fn what_is_sealed_opens() {
        let (mut rng, opener, public) = pair();
        for size in [0, 1, 500, 20_000] {
            let cloves = [clove(&alloc::vec![1; size]), clove(b"second")];
            let mut body = seal(NOW, &public, &cloves, &mut rng).unwrap();
            assert_eq!(opener.open(NOW, &mut body).unwrap(), cloves);
        }
    }

    // The steps of the specification, spelled out with primitives.
    #[test]
    fn the_key_schedule_is_that_of_the_specification() {
        use crate::crypto::{aead, hash::sha256_concat, kdf::hkdf2};
        let (mut rng, opener, public) = pair();
        let e = PrivateKey::generate(&mut rng);
        let ck = *b"Noise_N_25519_ChaChaPoly_SHA256\0";
        let h = sha256_concat(&[&sha256_concat(&[&ck]), &public.0]);
        let h = sha256_concat(&[&h, &e.public().0]);
        let (_, k) = hkdf2(&ck, e.diffie_hellman(&public).unwrap().as_bytes(), b"");
        let mut payload = Vec::new();
        Block::DateTime(NOW).encode(&mut payload).unwrap();
        clove(b"text").encode_block(&mut payload).unwrap();
        let tag = aead::seal(&k, 0, &h, &mut payload);
        let mut body = Vec::from(((32 + payload.len() + 16) as u32).to_be_bytes());
        body.extend(e.public().0);
        body.extend(payload);
        body.extend(tag);
        assert_eq!(opener.open(NOW, &mut body).unwrap(), [clove(b"text")]);
    }

    #[test]
    fn cuts_flips_and_trailing_bytes_are_refused() {
        let (mut rng, opener, public) = pair();
        let body = seal(NOW, &public, &[clove(b"text")], &mut rng).unwrap();
        for cut in 0..body.len() {
            assert!(opener.open(NOW, &mut body[..cut].to_vec()).is_err());
            let mut relabelled = body[..cut].to_vec();
            let length = (cut.saturating_sub(4) as u32).to_be_bytes();
            if let Some(prefix) = relabelled.first_chunk_mut() {
                *prefix = length;
            }
            assert!(opener.open(NOW, &mut relabelled).is_err());
        }
        for bit in 0..body.len() * 8 {
            let mut bad = body.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(opener.open(NOW, &mut bad).is_err());
        }
        let mut longer = body;
        longer.push(0);
        assert!(opener.open(NOW, &mut longer).is_err());
    }

    #[test]
    fn dates_are_checked() {
        let (mut rng, opener, public) = pair();
        for (sent, accepted) in [
            (NOW - Duration::from_secs(299), true),
            (NOW - Duration::from_secs(301), false),
            (NOW + Duration::from_secs(119), true),
            (NOW + Duration::from_secs(121), false),
        ] {
            let mut body = seal(sent, &public, &[], &mut rng).unwrap();
            assert_eq!(opener.open(NOW, &mut body).is_ok(), accepted);
        }
    }
}
