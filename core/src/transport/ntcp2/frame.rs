//! Frames of the data phase: keys, length mask, sealing and opening in place.

use crate::crypto::Key32;
use crate::crypto::aead::{self, BadTag, TAG_LEN};
use crate::crypto::kdf::{hkdf1, hkdf2};
use crate::crypto::noise::SymmetricState;
use crate::crypto::siphash::siphash24;
use alloc::vec::Vec;
use zeroize::ZeroizeOnDrop;

/// Bytes of the masked length before each frame.
pub(super) const LENGTH_LEN: usize = 2;
/// Bytes of a frame besides its plaintext.
pub(super) const OVERHEAD: usize = LENGTH_LEN + TAG_LEN;

/// The sequence of masks over frame lengths ("SipHash obfuscated length").
#[derive(ZeroizeOnDrop)]
struct LengthMask {
    k1: u64,
    k2: u64,
    iv: u64,
}

impl LengthMask {
    /// From one direction's half of the derived keys.
    fn new(key: &Key32) -> Self {
        let [k1, k2, iv, _unused] = words(key.as_bytes());
        Self { k1, k2, iv }
    }

    /// The next mask.
    fn next(&mut self) -> u16 {
        self.iv = siphash24(self.k1, self.k2, &self.iv.to_le_bytes());
        self.iv as u16
    }
}

/// Cipher key, frame counter and mask of one direction.
struct Direction {
    key: Key32,
    frames: u64,
    mask: LengthMask,
}

/// Both directions, before either side takes its view.
pub(super) struct DataKeys {
    initiator: Direction,
    responder: Direction,
}

impl DataKeys {
    /// From the finished handshake ("Key Derivation Function (KDF) (for data phase)").
    pub(super) fn derive(noise: &SymmetricState) -> Self {
        let (key_ab, key_ba) = noise.split();
        let ask = hkdf1(noise.chaining_key(), b"", b"ask");
        let mut ikm = [0; 39];
        for (to, from) in ikm.iter_mut().zip(noise.handshake_hash().iter().chain(b"siphash")) {
            *to = *from;
        }
        let sip = hkdf1(ask.as_bytes(), &ikm, b"");
        let (sip_ab, sip_ba) = hkdf2(sip.as_bytes(), b"", b"");
        Self {
            initiator: Direction { key: key_ab, frames: 0, mask: LengthMask::new(&sip_ab) },
            responder: Direction { key: key_ba, frames: 0, mask: LengthMask::new(&sip_ba) },
        }
    }

    /// Alice's view.
    pub(super) fn for_initiator(self) -> (Sealer, Opener) {
        (Sealer(self.initiator), Opener(self.responder))
    }

    /// Bob's view.
    pub(super) fn for_responder(self) -> (Sealer, Opener) {
        (Sealer(self.responder), Opener(self.initiator))
    }
}

/// Makes frames.
pub(super) struct Sealer(Direction);

impl Sealer {
    /// Leaves room for the length; the plaintext is to be appended. Returns where the frame starts.
    pub(super) fn begin(out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_LEN]);
        start
    }

    /// Seals what was appended since `begin` returned `start`.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, start: usize) {
        let Some(text) = out.get_mut(start + LENGTH_LEN..) else { return };
        // Builders stop at MAX_PAYLOAD_LEN, so this fits.
        let len = (text.len() + TAG_LEN) as u16;
        let tag = aead::seal(&self.0.key, self.0.frames, b"", text);
        self.0.frames += 1;
        out.extend_from_slice(&tag);
        let masked = len ^ self.0.mask.next();
        if let Some(head) = out.get_mut(start..).and_then(|f| f.first_chunk_mut::<LENGTH_LEN>()) {
            *head = masked.to_be_bytes();
        }
    }

    /// Frames made.
    pub(super) const fn frames(&self) -> u64 {
        self.0.frames
    }
}

/// Opens frames.
pub(super) struct Opener(Direction);

impl Opener {
    /// Unmasks the next frame's length. Called once a frame, since it moves the mask on.
    pub(super) fn length(&mut self, masked: [u8; LENGTH_LEN]) -> u16 {
        u16::from_be_bytes(masked) ^ self.0.mask.next()
    }

    /// Opens a frame of that length, in place.
    pub(super) fn open<'a>(&mut self, frame: &'a mut [u8]) -> Result<&'a mut [u8], BadTag> {
        let text = aead::open(&self.0.key, self.0.frames, b"", frame)?;
        self.0.frames += 1;
        Ok(text)
    }

    /// Frames that authenticated.
    pub(super) const fn frames(&self) -> u64 {
        self.0.frames
    }
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::noise::Protocol;
    use crate::crypto::x25519::PublicKey;

    fn keys() -> DataKeys {
        let mut noise = SymmetricState::new(Protocol::Ntcp2, &PublicKey([7; 32]));
        noise.mix_key(&Key32::new([1; 32]));
        DataKeys::derive(&noise)
    }

    fn frame(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let start = Sealer::begin(&mut out);
        out.extend_from_slice(text);
        sealer.finish(&mut out, start);
        assert_eq!(&out[..start], b"before");
        out.split_off(start)
    }

    #[test]
    fn frames_open_in_order_in_both_directions() {
        let (mut a, mut a_in) = keys().for_initiator();
        let (mut b, mut b_in) = keys().for_responder();
        for n in 0..50_u8 {
            let text = alloc::vec![n; usize::from(n)];
            for (from, to) in [(&mut a, &mut b_in), (&mut b, &mut a_in)] {
                let mut sealed = frame(from, &text);
                let (head, body) = sealed.split_first_chunk_mut().unwrap();
                assert_eq!(usize::from(to.length(*head)), body.len());
                assert_eq!(to.open(body).unwrap(), text);
            }
        }
        assert_eq!((a.frames(), b_in.frames()), (50, 50));
    }

    #[test]
    fn masks_differ_by_direction_and_by_frame() {
        let (mut a, _) = keys().for_initiator();
        let (mut b, _) = keys().for_responder();
        let heads: Vec<_> = (0..8)
            .flat_map(|_| [frame(&mut a, b"")[..2].to_vec(), frame(&mut b, b"")[..2].to_vec()])
            .collect();
        let distinct: alloc::collections::BTreeSet<_> = heads.iter().collect();
        assert!(distinct.len() > 12);
    }

    #[test]
    fn a_forged_frame_is_not_counted() {
        let (mut a, _) = keys().for_initiator();
        let (_, mut b_in) = keys().for_responder();
        let mut sealed = frame(&mut a, b"text");
        sealed[4] ^= 1;
        assert_eq!(b_in.open(&mut sealed[2..]), Err(BadTag));
        assert_eq!(b_in.frames(), 0);
    }
}
