//! Tag sets: the session tag ratchet and the symmetric key ratchet of one direction
//! (specification `ecies`, sections 4a to 4c).

use crate::crypto::Key32;
use crate::crypto::aead::{self, BadTag, TAG_LEN};
use crate::crypto::kdf::hkdf2;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Bytes of a session tag.
pub(super) const SESSION_TAG_LEN: usize = 8;
/// Tags kept ready beyond the highest received one, at most: what i2pd, whose streams have up to
/// 512 packets under way, keeps too. Memory is bounded by the total, see [`Look`].
const MAX_LOOK_AHEAD: u32 = 800;
/// The same when a destination's tags use half of their memory; the specification's maximum.
const MAX_LOOK_AHEAD_UNDER_PRESSURE: u32 = 160;
/// Look-ahead of a fresh session, above the 24 that senders may count on.
const MIN_LOOK_AHEAD: u32 = 32;
/// The same while it is not known whether the peer will use the set at all.
const CANDIDATE_LOOK_AHEAD: u32 = 24;
const CANDIDATE_LOOK_AHEAD_UNDER_PRESSURE: u32 = 12;
/// Look-ahead of a fresh set after a DH ratchet: what every sender may count on.
const MIN_LOOK_AHEAD_LATER: u32 = 160;
/// Tags of messages that are missing are kept this far behind the highest received one.
const LOOK_BEHIND: u32 = 800;
/// Reply tags kept ready beyond the highest received one.
const REPLY_LOOK_AHEAD: u32 = 12;
/// Messages that one set can send. One less than the specification allows: i2pd uses no more.
pub(super) const MAX_MESSAGES: u32 = 65_534;

/// How far a receiver looks ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// As far as is useful.
    Far,
    /// As far as is needed, because memory is short.
    Near,
}

/// A tag as it stands in front of a message.
pub(super) type SessionTag = [u8; SESSION_TAG_LEN];

/// `DH_INITIALIZE`: the next root key and the two chains of a set.
struct Chains {
    root: Key32,
    tags: TagChain,
    keys: KeyChain,
}

fn dh_initialize(root: &[u8; 32], k: &Key32) -> Chains {
    let (next_root, ck) = hkdf2(root, k.as_bytes(), b"KDFDHRatchetStep");
    let (tag_ck, key_ck) = hkdf2(ck.as_bytes(), b"", b"TagAndKeyGenKeys");
    let (tag_ck, constant) = hkdf2(tag_ck.as_bytes(), b"", b"STInitialization");
    Chains {
        root: next_root,
        tags: TagChain { ck: tag_ck, constant, next: 0 },
        keys: KeyChain { ck: key_ck, next: 0 },
    }
}

struct TagChain {
    ck: Key32,
    constant: Key32,
    /// Index of the tag to come.
    next: u32,
}

impl TagChain {
    /// The next tag and its index; `None` when the set is used up.
    fn step(&mut self) -> Option<(u16, SessionTag)> {
        let index = u16::try_from(self.next).ok().filter(|_| self.next < MAX_MESSAGES)?;
        let (ck, out) = hkdf2(self.ck.as_bytes(), self.constant.as_bytes(), b"SessionTagKeyGen");
        let tag = *out.as_bytes().first_chunk()?;
        self.ck = ck;
        self.next += 1;
        Some((index, tag))
    }
}

struct KeyChain {
    ck: Key32,
    /// Index of the key to come.
    next: u32,
}

impl KeyChain {
    fn step(&mut self) -> Key32 {
        let (ck, key) = hkdf2(self.ck.as_bytes(), b"", b"SymmetricRatchet");
        self.ck = ck;
        self.next += 1;
        key
    }
}

/// The set of the direction in which we send.
pub(super) struct SendSet {
    id: u16,
    chains: Chains,
}

impl SendSet {
    /// `DH_INITIALIZE(root, k)`.
    pub(super) fn new(id: u16, root: &[u8; 32], k: &Key32) -> Self {
        Self { id, chains: dh_initialize(root, k) }
    }

    /// The tag set id that Acks name.
    pub(super) const fn id(&self) -> u16 {
        self.id
    }

    /// What the set after the next DH ratchet starts from.
    pub(super) const fn root(&self) -> &[u8; 32] {
        self.chains.root.as_bytes()
    }

    /// Messages sent so far, and the next message's index.
    pub(super) const fn sent(&self) -> u32 {
        self.chains.tags.next
    }

    /// True when no message can be sent any more.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.sent() >= MAX_MESSAGES
    }

    /// Uses up the next tag alone, for a reply, which has a key of its own.
    pub(super) fn next_tag(&mut self) -> Option<SessionTag> {
        self.chains.tags.step().map(|(_, tag)| tag)
    }

    /// Appends the tag to `out`, then what `payload` appends, encrypted. Gives the message's
    /// index, or `None`, with nothing appended, when the set is used up.
    pub(super) fn seal(
        &mut self,
        out: &mut Vec<u8>,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> Option<u16> {
        let (index, tag) = self.chains.tags.step()?;
        let key = self.chains.keys.step();
        out.extend_from_slice(&tag);
        let from = out.len();
        payload(out);
        #[cfg(feature = "shadow")]
        crate::crypto::shadow::note_tag(tag, out.get(from..).unwrap_or_default());
        let mac = match out.get_mut(from..) {
            Some(text) => aead::seal(&key, index.into(), &tag, text),
            None => [0; TAG_LEN],
        };
        out.extend_from_slice(&mac);
        Some(index)
    }
}

/// The set of the direction in which we receive, with a window of tags around the highest
/// received one. The tags also stand in the owner's table, which [`extend`](Self::extend),
/// [`trim`](Self::trim) and [`clear`](Self::clear) keep in step.
pub(super) struct ReceiveSet {
    id: u16,
    chains: Chains,
    /// Index of the window's first tag.
    base: u32,
    /// Tags not received yet; `None` where the message came.
    window: VecDeque<Option<SessionTag>>,
    /// Keys of missing messages that are behind the key chain.
    skipped: BTreeMap<u16, Key32>,
    highest: Option<u16>,
}

impl ReceiveSet {
    /// `DH_INITIALIZE(root, k)`, without any tag yet.
    pub(super) fn new(id: u16, root: &[u8; 32], k: &Key32) -> Self {
        Self {
            id,
            chains: dh_initialize(root, k),
            base: 0,
            window: VecDeque::new(),
            skipped: BTreeMap::new(),
            highest: None,
        }
    }

    /// The tag set id that Acks name.
    pub(super) const fn id(&self) -> u16 {
        self.id
    }

    /// What the set after the next DH ratchet starts from.
    pub(super) const fn root(&self) -> &[u8; 32] {
        self.chains.root.as_bytes()
    }

    /// Makes the tags that may come now; `add` puts them into the table.
    pub(super) fn extend(&mut self, look: Look, add: impl FnMut(SessionTag, u16)) {
        let received = self.highest.map_or(0, |h| u32::from(h) + 1);
        let least = if self.id == 0 { MIN_LOOK_AHEAD } else { MIN_LOOK_AHEAD_LATER };
        let most = match look {
            Look::Far => MAX_LOOK_AHEAD,
            Look::Near => MAX_LOOK_AHEAD_UNDER_PRESSURE,
        };
        self.extend_to(received + (least + received / 2).min(most), add);
    }

    /// As [`extend`](Self::extend), for a set that the peer may never use.
    pub(super) fn extend_candidate(&mut self, look: Look, add: impl FnMut(SessionTag, u16)) {
        let end = match look {
            Look::Far => CANDIDATE_LOOK_AHEAD,
            Look::Near => CANDIDATE_LOOK_AHEAD_UNDER_PRESSURE,
        };
        self.extend_to(end, add);
    }

    /// As [`extend`](Self::extend), for the tags of replies to a new session.
    pub(super) fn extend_replies(&mut self, add: impl FnMut(SessionTag, u16)) {
        let received = self.highest.map_or(0, |h| u32::from(h) + 1);
        self.extend_to(received + REPLY_LOOK_AHEAD, add);
    }

    fn extend_to(&mut self, end: u32, mut add: impl FnMut(SessionTag, u16)) {
        while self.chains.tags.next < end {
            let Some((index, tag)) = self.chains.tags.step() else { return };
            self.window.push_back(Some(tag));
            add(tag, index);
        }
    }

    /// Decrypts message `index`, whose `tag` the table has led to. On failure nothing changes.
    pub(super) fn open<'a>(
        &mut self,
        index: u16,
        tag: &SessionTag,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], BadTag> {
        let key = self.key(index).ok_or(BadTag)?;
        match aead::open(&key, index.into(), tag, sealed) {
            Ok(text) => {
                self.mark_received(index);
                Ok(text)
            }
            Err(bad) => {
                self.skipped.insert(index, key);
                Err(bad)
            }
        }
    }

    /// Message `index` has come: its tag is used up.
    pub(super) fn mark_received(&mut self, index: u16) {
        self.highest = self.highest.max(Some(index));
        if let Some(slot) = self.slot_mut(index) {
            *slot = None;
        }
        while let Some(None) = self.window.front() {
            self.window.pop_front();
            self.base += 1;
        }
    }

    /// Forgets tags that are too far behind; `remove` takes them out of the table.
    pub(super) fn trim(&mut self, mut remove: impl FnMut(&SessionTag)) {
        let end = self.highest.map_or(0, u32::from).saturating_sub(LOOK_BEHIND);
        while self.base < end {
            let Some(slot) = self.window.pop_front() else { return };
            if let (Some(tag), Ok(index)) = (slot, u16::try_from(self.base)) {
                remove(&tag);
                self.skipped.remove(&index);
            }
            self.base += 1;
        }
    }

    /// Forgets all tags; `remove` takes them out of the table.
    pub(super) fn clear(&mut self, remove: impl FnMut(&SessionTag)) {
        self.window.iter().flatten().for_each(remove);
        self.window.clear();
        self.skipped.clear();
        self.base = self.chains.tags.next;
    }

    /// Shows `f` every tag that may come.
    pub(super) fn for_each_tag(&self, mut f: impl FnMut(&SessionTag, u16)) {
        for (index, slot) in (self.base..).zip(&self.window) {
            if let (Some(tag), Ok(index)) = (slot, u16::try_from(index)) {
                f(tag, index);
            }
        }
    }

    fn slot_mut(&mut self, index: u16) -> Option<&mut Option<SessionTag>> {
        let place = u32::from(index).checked_sub(self.base)?;
        self.window.get_mut(usize::try_from(place).ok()?)
    }

    /// The key of a message that has not come yet. The chain never runs past the window, which
    /// bounds the keys kept on the way.
    fn key(&mut self, index: u16) -> Option<Key32> {
        if !matches!(self.slot_mut(index), Some(Some(_))) {
            return None;
        }
        while self.chains.keys.next <= index.into() {
            let at = u16::try_from(self.chains.keys.next).ok()?;
            let key = self.chains.keys.step();
            if at == index {
                return Some(key);
            }
            if matches!(self.slot_mut(at), Some(Some(_))) {
                self.skipped.insert(at, key);
            }
        }
        self.skipped.remove(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};
    use alloc::collections::BTreeSet;
    use data_encoding::HEXLOWER as HEX;

    fn pair(id: u16) -> (SendSet, ReceiveSet) {
        let k = Key32::new([2; 32]);
        (SendSet::new(id, &[1; 32], &k), ReceiveSet::new(id, &[1; 32], &k))
    }

    /// A receiver with its table.
    struct Receiver {
        set: ReceiveSet,
        table: BTreeMap<SessionTag, u16>,
    }

    impl Receiver {
        fn new(set: ReceiveSet, look: Look) -> Self {
            let mut receiver = Self { set, table: BTreeMap::new() };
            receiver.extend(look);
            receiver
        }

        fn extend(&mut self, look: Look) {
            self.set.extend(look, |tag, index| {
                assert_eq!(self.table.insert(tag, index), None);
            });
            self.set.trim(|tag| {
                self.table.remove(tag).unwrap();
            });
        }

        /// The table and the window never drift apart.
        fn check(&self) {
            let window: BTreeSet<_> = self.set.window.iter().flatten().copied().collect();
            assert!(window.iter().eq(self.table.keys()));
            assert!(self.set.skipped.len() <= self.table.len());
        }

        fn handle(&mut self, mut message: Vec<u8>, look: Look) -> Option<Vec<u8>> {
            let (tag, sealed) = message.split_first_chunk_mut().unwrap();
            let index = *self.table.get(tag)?;
            let text = self.set.open(index, tag, sealed).ok()?.to_vec();
            self.table.remove(tag);
            self.extend(look);
            Some(text)
        }
    }

    fn seal(set: &mut SendSet, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        set.seal(&mut out, |out| out.extend_from_slice(text)).unwrap();
        out
    }

    // The chains of the specification, spelled out with HKDF alone.
    #[test]
    fn the_key_schedule_is_that_of_the_specification() {
        let kd = |salt: &Key32, ikm: &[u8], info: &[u8]| hkdf2(salt.as_bytes(), ikm, info);
        let (root, ck) = kd(&Key32::new([1; 32]), &[2; 32], b"KDFDHRatchetStep");
        let (tag_ck, key_ck) = kd(&ck, b"", b"TagAndKeyGenKeys");
        let (tag_ck, constant) = kd(&tag_ck, b"", b"STInitialization");
        let (tag_ck, tag0) = kd(&tag_ck, constant.as_bytes(), b"SessionTagKeyGen");
        let (_, tag1) = kd(&tag_ck, constant.as_bytes(), b"SessionTagKeyGen");
        let (key_ck, key0) = kd(&key_ck, b"", b"SymmetricRatchet");
        let (_, key1) = kd(&key_ck, b"", b"SymmetricRatchet");

        // Computed apart, from RFC 5869 alone.
        assert_eq!(HEX.encode(&tag0.as_bytes()[..8]), "d7fe52d2da20603b");

        let (mut send, receive) = pair(0);
        assert_eq!(send.root(), root.as_bytes());
        assert_eq!(receive.root(), root.as_bytes());
        for (n, tag, key) in [(0, tag0, key0), (1, tag1, key1)] {
            let mut message = seal(&mut send, b"text");
            let (head, sealed) = message.split_at_mut(8);
            assert_eq!(head, &tag.as_bytes()[..8]);
            assert_eq!(aead::open(&key, n, head, sealed).unwrap(), b"text");
        }
    }

    #[test]
    fn messages_arrive_in_any_order_once() {
        let (mut send, receive) = pair(0);
        let mut receiver = Receiver::new(receive, Look::Far);
        let messages: Vec<_> = (0..30_u8).map(|n| seal(&mut send, &[n])).collect();
        for n in (0..30).rev() {
            assert_eq!(receiver.handle(messages[n].clone(), Look::Far), Some([n as u8].to_vec()));
            receiver.check();
            assert_eq!(receiver.handle(messages[n].clone(), Look::Far), None);
        }
        assert!(receiver.set.skipped.is_empty());
        assert_eq!(receiver.set.base, 30);
    }

    #[test]
    fn a_forged_message_does_not_use_up_the_tag() {
        let (mut send, receive) = pair(0);
        let mut receiver = Receiver::new(receive, Look::Far);
        seal(&mut send, b"lost");
        let message = seal(&mut send, b"text");
        for bit in 64..message.len() * 8 {
            let mut bad = message.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(receiver.handle(bad, Look::Far), None);
        }
        assert_eq!(receiver.handle(message, Look::Far).as_deref(), Some(&b"text"[..]));
    }

    #[test]
    fn the_window_grows_with_use_and_holds_its_caps() {
        for (look, most) in [(Look::Far, 800), (Look::Near, 160)] {
            let (mut send, receive) = pair(0);
            let mut receiver = Receiver::new(receive, look);
            assert_eq!(receiver.table.len(), 32);
            for _ in 0..4000 {
                let message = seal(&mut send, b"");
                assert!(receiver.handle(message, look).is_some());
                assert!(receiver.table.len() <= most);
            }
            receiver.check();
            assert_eq!(receiver.table.len(), most);
        }
        let (_, receive) = pair(1);
        assert_eq!(Receiver::new(receive, Look::Far).table.len(), 160);
    }

    #[test]
    fn bursts_within_the_window_are_survived_and_missing_tags_forgotten() {
        let (mut send, receive) = pair(0);
        let mut receiver = Receiver::new(receive, Look::Far);
        let mut late = Vec::new();
        for round in 0..40_u32 {
            // Loses as many in a row as the window allows, then receives one.
            let burst = (32 + send.sent() / 2).min(800) - 1;
            for _ in 0..burst {
                late.push((send.sent(), seal(&mut send, b"late")));
            }
            let message = seal(&mut send, b"on time");
            assert!(receiver.handle(message, Look::Far).is_some(), "round {round}");
            assert!(receiver.table.len() <= 1601);
            receiver.check();
        }
        let highest = send.sent() - 1;
        for (index, message) in late {
            let expected = index + 800 >= highest;
            assert_eq!(receiver.handle(message, Look::Far).is_some(), expected, "{index}");
        }
        assert!(receiver.set.skipped.is_empty());
    }

    /// Lost, late, twice, forged: what opens is what two numbers and a set of those that came say.
    #[test]
    fn the_window_takes_what_a_plain_model_says() {
        for seed in 0..100 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let id = rng.below(2) as u16;
            let least = if id == 0 { 32 } else { 160 };
            let (mut send, receive) = pair(id);
            let mut receiver = Receiver::new(receive, Look::Far);
            let mut messages: Vec<Vec<u8>> = Vec::new();
            let (mut came, mut highest, mut end) = (BTreeSet::new(), None, least);
            for _ in 0..600 {
                for _ in 0..rng.below(12) {
                    messages.push(seal(&mut send, &(messages.len() as u32).to_be_bytes()));
                }
                // Mostly one of the latest, now and then any.
                let back = if rng.below(8) == 0 { messages.len() } else { 500 };
                let Some(latest) = messages.len().checked_sub(1) else { continue };
                let index = latest - rng.index(back.min(messages.len()));
                let mut message = messages[index].clone();
                let look = if rng.below(3) == 0 { Look::Near } else { Look::Far };
                let forged = rng.below(10) == 0;
                if forged {
                    let at = 8 + rng.index(message.len() - 8);
                    message[at] ^= 1;
                }
                let behind = highest.is_some_and(|highest: usize| index + 800 < highest);
                let takes = !forged && !behind && (index as u32) < end && !came.contains(&index);
                let text = receiver.handle(message, look);
                let expected = takes.then(|| (index as u32).to_be_bytes().to_vec());
                assert_eq!(text, expected, "seed {seed}, message {index}");
                if takes {
                    came.insert(index);
                    highest = highest.max(Some(index));
                    let received = highest.map_or(0, |highest| highest as u32 + 1);
                    let most = if look == Look::Far { 800 } else { 160 };
                    end = end.max(received + (least + received / 2).min(most));
                }
            }
            receiver.check();
            assert!(came.len() > 100, "seed {seed}: {}", came.len());
        }
    }

    #[test]
    fn a_set_ends() {
        let (mut send, receive) = pair(0);
        let mut receiver = Receiver::new(receive, Look::Far);
        for _ in 0..MAX_MESSAGES {
            let message = seal(&mut send, b"");
            assert!(receiver.handle(message, Look::Far).is_some());
        }
        assert!(send.is_exhausted());
        let mut out = Vec::new();
        assert_eq!(send.seal(&mut out, |_| ()), None);
        assert!(out.is_empty());
        assert!(receiver.table.is_empty());
        receiver.set.clear(|_| panic!("nothing is left"));
    }
}
