//! One-time tags and keys that we handed out for a reply: encrypted netdb answers and tunnel build
//! replies (specifications `i2np`, "DatabaseLookup", and `ecies-routers`, "Reply encryption").

use super::{
    Clove, OpenError, Payload, SealError, cloves_len, finish_body, new_body, open_body, pad,
    put_cloves,
};
use crate::audit::Audit;
use crate::crypto::Key32;
use crate::crypto::aead::{self, TAG_LEN};
use crate::rng::Rng;
use crate::time::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Bytes of a tag.
pub const REPLY_TAG_LEN: usize = 8;

/// A tag in front of an encrypted reply, by which it is recognised.
pub type ReplyTag = [u8; REPLY_TAG_LEN];

/// Encrypts a reply under the key and tag that its receiver supplied. i2pd reads one clove, which
/// must come first: no date here.
pub fn seal(
    tag: &ReplyTag,
    key: &Key32,
    cloves: &[Clove],
    rng: &mut Rng,
) -> Result<Vec<u8>, SealError> {
    let mut body = new_body(REPLY_TAG_LEN + cloves_len(cloves)? + 18 + TAG_LEN);
    body.extend_from_slice(tag);
    let from = body.len();
    put_cloves(cloves, &mut body)?;
    pad(rng, REPLY_TAG_LEN + TAG_LEN, from, &mut body);
    if let Some(payload) = body.get_mut(from..) {
        let mac = aead::seal(key, 0, tag, payload);
        body.extend_from_slice(&mac);
    }
    finish_body(&mut body)?;
    Ok(body)
}

/// Tags that we wait for. One set for the router and one for each destination: a tag handed out
/// by one must not be recognised by another.
#[derive(Default)]
pub struct ReplyTags {
    tags: BTreeMap<ReplyTag, Key32>,
    /// In the order of insertion, which is the order of expiry. May name tags that are used up.
    order: VecDeque<(Instant, ReplyTag)>,
}

impl ReplyTags {
    /// Tags kept at most; the oldest goes when there are more.
    pub const CAPACITY: usize = 1024;
    /// How long a tag is kept.
    pub const LIFETIME: Duration = Duration::from_secs(3 * 60);

    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("garlic: tags of answers", self.tags.len(), Self::CAPACITY);
        audit.see("garlic: ends of tags of answers", self.order.len(), Self::CAPACITY);
    }

    /// Waits for a reply under `tag`.
    pub fn insert(&mut self, now: Instant, tag: ReplyTag, key: Key32) {
        self.handle_timeout(now);
        while self.order.len() >= Self::CAPACITY {
            self.forget_oldest();
        }
        if self.tags.insert(tag, key).is_none() {
            self.order.push_back((now + Self::LIFETIME, tag));
        }
    }

    /// Decrypts `body` in place if it starts with one of our tags, which is then used up; `None`
    /// if it does not. A forged body leaves the tag for the real one.
    pub fn open(&mut self, now: Instant, body: &mut [u8]) -> Option<Result<Vec<Clove>, OpenError>> {
        self.handle_timeout(now);
        let (tag, sealed) = open_body(body).ok()?.split_first_chunk_mut::<REPLY_TAG_LEN>()?;
        let key = self.tags.get(tag)?;
        let payload = match aead::open(key, 0, tag, sealed) {
            Ok(payload) => payload,
            Err(bad) => return Some(Err(bad.into())),
        };
        self.tags.remove(tag);
        Some(Payload::decode(payload).map(|payload| payload.cloves))
    }

    /// Tags waited for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tags.len()
    }

    /// True if none is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Forgets expired tags.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            self.forget_oldest();
        }
    }

    /// When the next tag expires. Tags are also dropped on use, so a late call does no harm.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.order.front().map(|(expires, _)| *expires)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, tag)) = self.order.pop_front() {
            self.tags.remove(&tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::garlic::tests::clove;
    use crate::rng::Seed;

    fn key(n: u8) -> Key32 {
        Key32::new([n; 32])
    }

    fn sealed(tag: ReplyTag, n: u8) -> Vec<u8> {
        let mut rng = Rng::new(&Seed::from_number(n.into()));
        seal(&tag, &key(n), &[clove(b"reply")], &mut rng).unwrap()
    }

    #[test]
    fn a_reply_opens_once() {
        let mut tags = ReplyTags::new();
        tags.insert(Instant::ZERO, [1; 8], key(1));
        tags.insert(Instant::ZERO, [2; 8], key(2));
        for n in [2, 1] {
            let body = sealed([n; 8], n);
            let opened = tags.open(Instant::ZERO, &mut body.clone());
            assert_eq!(opened, Some(Ok(alloc::vec![clove(b"reply")])));
            assert_eq!(tags.open(Instant::ZERO, &mut body.clone()), None);
        }
        assert!(tags.is_empty());
    }

    #[test]
    fn a_forged_reply_does_not_use_up_the_tag() {
        let mut tags = ReplyTags::new();
        tags.insert(Instant::ZERO, [1; 8], key(1));
        let body = sealed([1; 8], 1);
        for cut in 0..body.len() {
            assert!(!matches!(tags.open(Instant::ZERO, &mut body[..cut].to_vec()), Some(Ok(_))));
        }
        for bit in 0..body.len() * 8 {
            let mut bad = body.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(tags.open(Instant::ZERO, &mut bad), Some(Ok(_))));
        }
        assert!(matches!(tags.open(Instant::ZERO, &mut body.clone()), Some(Ok(_))));
    }

    #[test]
    fn tags_expire_and_are_bounded() {
        let mut tags = ReplyTags::new();
        let tag = |n: usize| (n as u64).to_be_bytes();
        for n in 0..ReplyTags::CAPACITY + 10 {
            tags.insert(Instant::from_micros(n as u64), tag(n), key(1));
        }
        assert_eq!(tags.len(), ReplyTags::CAPACITY);
        assert_eq!(tags.open(Instant::ZERO, &mut sealed(tag(9), 1)), None);
        assert!(tags.open(Instant::ZERO, &mut sealed(tag(10), 1)).is_some());
        let end = Instant::from_micros(11) + ReplyTags::LIFETIME;
        assert_eq!(tags.poll_timeout(), Some(Instant::from_micros(10) + ReplyTags::LIFETIME));
        assert_eq!(tags.open(end, &mut sealed(tag(11), 1)), None);
        tags.handle_timeout(end + ReplyTags::LIFETIME);
        assert!(tags.is_empty());
        assert_eq!(tags.poll_timeout(), None);
    }

    #[test]
    fn an_i2pd_style_reply_with_padding_and_no_date_opens() {
        let mut tags = ReplyTags::new();
        tags.insert(Instant::ZERO, [3; 8], key(3));
        let mut payload = Vec::new();
        clove(b"reply").encode_block(&mut payload).unwrap();
        payload.extend([254, 0, 2, 0, 0]);
        let mac = aead::seal(&key(3), 0, &[3; 8], &mut payload);
        let mut body = Vec::from(((8 + payload.len() + 16) as u32).to_be_bytes());
        body.extend([3; 8]);
        body.extend(payload);
        body.extend(mac);
        assert!(matches!(tags.open(Instant::ZERO, &mut body), Some(Ok(_))));
    }
}
