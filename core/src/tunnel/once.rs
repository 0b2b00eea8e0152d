//! Garlic under a key for one message, recognised by its tag: the reply of an outbound endpoint,
//! and our own tests (specification `ecies-routers`, "Reply encryption").

use crate::crypto::Key32;
use crate::crypto::aead::{self, TAG_LEN};
use crate::rng::Rng;
use crate::time::UnixTime;
use crate::wire::codec::{DecodeError, Reader};
use crate::wire::garlic::{Block, Clove, Delivery};
use crate::wire::i2np::{Message, MessageType, sized};
use alloc::vec::Vec;

/// Bytes of a tag.
const ONCE_TAG_LEN: usize = 8;
/// Zeros at the end, up to this many, so that sizes tell less.
const MAX_PADDING: u64 = 15;

/// A tag with its key.
pub(crate) struct Once {
    pub(crate) tag: [u8; ONCE_TAG_LEN],
    pub(crate) key: Key32,
}

impl Once {
    /// New ones.
    pub(crate) fn generate(rng: &mut Rng) -> Self {
        Self { tag: rng.bytes(), key: Key32::new(rng.bytes()) }
    }

    /// Wraps `message`, for whoever knows the key. No date: i2pd puts none either.
    pub(crate) fn seal(
        &self,
        message: Message,
        id: u32,
        expires: UnixTime,
        rng: &mut Rng,
    ) -> Result<Message, DecodeError> {
        let clove = Clove { delivery: Delivery::Local, message };
        let mut content = Vec::with_capacity(ONCE_TAG_LEN + clove.block_len() + 18 + TAG_LEN);
        content.extend_from_slice(&self.tag);
        clove.encode_block(&mut content)?;
        Block::Padding(rng.between(0, MAX_PADDING) as usize).encode(&mut content)?;
        if let Some(text) = content.get_mut(ONCE_TAG_LEN..) {
            let mac = aead::seal(&self.key, 0, &self.tag, text);
            content.extend_from_slice(&mac);
        }
        let mut body = Vec::with_capacity(4 + content.len());
        sized::encode(&content, &mut body);
        Ok(Message { kind: MessageType::GARLIC, id, expires, body })
    }
}

/// The tag of a garlic body.
pub(crate) fn tag(body: &[u8]) -> Option<[u8; ONCE_TAG_LEN]> {
    Reader::new(sized::decode(body).ok()?).array().ok()
}

/// Opens a garlic body in place and gives the message inside; `None` when it is not what the
/// owner of the key made, or holds no message for us.
pub(crate) fn open(key: &Key32, body: &mut [u8]) -> Option<Message> {
    let (tag, sealed) = sized::decode_mut(body).ok()?.split_first_chunk_mut::<ONCE_TAG_LEN>()?;
    let mut r = Reader::new(aead::open(key, 0, tag, sealed).ok()?);
    while !r.is_empty() {
        if let Block::Clove(clove) = Block::decode(&mut r).ok()? {
            return (clove.delivery == Delivery::Local).then_some(clove.message);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn message() -> Message {
        let expires = UnixTime::from_secs(1_800_000_000);
        Message { kind: MessageType(26), id: 5, expires, body: b"records".to_vec() }
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_only() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let once = Once::generate(&mut rng);
        let sealed = once.seal(message(), 9, message().expires, &mut rng).unwrap();
        assert_eq!((sealed.kind, sealed.id), (MessageType::GARLIC, 9));
        assert_eq!(tag(&sealed.body), Some(once.tag));
        assert_eq!(open(&once.key, &mut sealed.body.clone()), Some(message()));
        let other = Once::generate(&mut rng);
        assert_eq!(open(&other.key, &mut sealed.body.clone()), None);
        for at in 0..sealed.body.len() {
            let mut bad = sealed.body.clone();
            bad[at] ^= 1;
            assert_eq!(open(&once.key, &mut bad), None, "flip at {at}");
            assert_eq!(open(&once.key, &mut sealed.body.clone()[..at]), None, "cut at {at}");
        }
    }

    /// Laid out as i2pd lays it out: length, tag, then clove block and padding block under
    /// ChaCha20-Poly1305 with nonce 0 and the tag as associated data.
    #[test]
    fn the_layout_is_what_others_send() {
        let key = Key32::new([7; 32]);
        let tag_bytes = *b"tagtagta";
        let mut text = alloc::vec![11, 0, 17, 0, 26, 0, 0, 0, 5];
        text.extend_from_slice(&1_800_000_000u32.to_be_bytes());
        text.extend_from_slice(b"records");
        text.extend_from_slice(&[254, 0, 2, 0, 0]);
        let mac = aead::seal(&key, 0, &tag_bytes, &mut text);
        let mut body = ((8 + text.len() + 16) as u32).to_be_bytes().to_vec();
        body.extend_from_slice(&tag_bytes);
        body.extend_from_slice(&text);
        body.extend_from_slice(&mac);
        assert_eq!(tag(&body), Some(tag_bytes));
        assert_eq!(open(&key, &mut body), Some(message()));
    }
}
