//! I2NP messages that come in fragments.

use crate::audit::Audit;
use crate::time::Instant;
use crate::wire::i2np::{MAX_BODY_LEN, SHORT_HEADER_LEN};
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::time::Duration;

/// Messages of one session that are not whole; for another one the oldest goes.
pub(super) const MAX_MESSAGES: usize = 16;
/// Bytes of them.
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// Fragments of one message: as others.
const MAX_FRAGMENTS: u8 = 64;
/// A message that is not whole after this is dropped.
const LIFETIME: Duration = Duration::from_secs(30);
/// No message is longer.
const MAX_MESSAGE: usize = SHORT_HEADER_LEN + MAX_BODY_LEN;

/// The messages that are not whole, by their ids.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    messages: BTreeMap<u32, Partial>,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Partial {
    since: Instant,
    parts: BTreeMap<u8, Vec<u8>>,
    /// The number of the last part.
    last: Option<u8>,
    bytes: usize,
}

impl Reassembly {
    /// Bytes that wait for more.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that were never whole.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What is held, and what may be.
    pub(super) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("ssu2: messages in parts", self.messages.len(), MAX_MESSAGES);
        audit.see("ssu2: bytes of parts", self.bytes, MAX_BYTES);
    }

    /// A part arrived, number 0 with the message's header; gives the message out when it is whole. Of two parts
    /// with one number the first counts: a session is one peer's, who can only harm itself.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        message: u32,
        number: u8,
        last: bool,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        if number >= MAX_FRAGMENTS {
            return None;
        }
        let expired = |p: &Partial| now.saturating_since(p.since) >= LIFETIME;
        if self.messages.get(&message).is_some_and(expired) {
            self.drop_message(message);
        }
        if !self.messages.contains_key(&message) && self.messages.len() >= MAX_MESSAGES {
            self.drop_oldest(Some(message));
        }
        let partial = self.messages.entry(message).or_insert_with(|| Partial {
            since: now,
            parts: BTreeMap::new(),
            last: None,
            bytes: 0,
        });
        let beyond = partial.last.is_some_and(|last| number > last)
            || last && partial.parts.last_key_value().is_some_and(|(highest, _)| *highest > number);
        if beyond || partial.bytes + bytes.len() > MAX_MESSAGE {
            self.drop_message(message);
            return None;
        }
        if let Entry::Vacant(free) = partial.parts.entry(number) {
            free.insert(bytes.to_vec());
            partial.bytes += bytes.len();
            self.bytes += bytes.len();
        }
        if last {
            partial.last = Some(number);
        }
        if partial.last.is_some_and(|last| partial.parts.len() == usize::from(last) + 1) {
            let whole = self.messages.remove(&message)?;
            self.bytes -= whole.bytes;
            return Some(whole.parts.into_values().flatten().collect());
        }
        while self.bytes > MAX_BYTES && self.drop_oldest(Some(message)) {}
        None
    }

    /// Drops what is too old.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while self.deadline().is_some_and(|at| at <= now) && self.drop_oldest(None) {}
    }

    /// When something will be too old.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.messages.values().map(|p| p.since + LIFETIME).min()
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self { dropped: self.dropped, ..Self::default() };
    }

    /// Drops the message that began first, `but` only if there is no other.
    fn drop_oldest(&mut self, but: Option<u32>) -> bool {
        let oldest = self.messages.iter().min_by_key(|(id, p)| (Some(**id) == but, p.since));
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        self.drop_message(id);
        true
    }

    fn drop_message(&mut self, id: u32) {
        if let Some(partial) = self.messages.remove(&id) {
            self.bytes -= partial.bytes;
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};

    const NOW: Instant = Instant::ZERO;

    fn text(id: u32, len: usize) -> Vec<u8> {
        (0..len).map(|n| (n as u32 ^ id) as u8).collect()
    }

    #[test]
    fn parts_in_any_order_and_twice_make_the_message_once() {
        for seed in 0..100 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let mut reassembly = Reassembly::default();
            let mut parts = Vec::new();
            let messages: Vec<Vec<u8>> =
                (0..8).map(|id| text(id, 2 + rng.below(20_000) as usize)).collect();
            for (id, message) in (0..).zip(&messages) {
                let size = (message.len() / 2).min(400 + rng.below(900) as usize).max(1);
                let count = message.len().div_ceil(size);
                for (number, part) in message.chunks(size).enumerate() {
                    parts.push((id, number as u8, number + 1 == count, part));
                }
            }
            rng.shuffle(&mut parts);
            let mut whole = BTreeMap::new();
            for (id, number, last, part) in parts {
                let made = reassembly.handle(NOW, id, number, last, part);
                if !whole.contains_key(&id) && made.is_none() && number == 0 {
                    let twice = reassembly.handle(NOW, id, number, last, part);
                    assert_eq!(twice, None, "seed {seed}");
                }
                if let Some(made) = made {
                    assert_eq!(whole.insert(id, made), None, "seed {seed}");
                }
            }
            assert!(whole.values().eq(messages.iter()), "seed {seed}");
            assert_eq!((reassembly.bytes(), reassembly.dropped()), (0, 0), "seed {seed}");
        }
    }

    #[test]
    fn a_flood_of_beginnings_stays_within_its_bounds() {
        let mut reassembly = Reassembly::default();
        for id in 0..1_000 {
            for number in 0..40 {
                assert_eq!(reassembly.handle(NOW, id, number, false, &[7; 1_200]), None);
                assert!(reassembly.bytes() <= MAX_BYTES);
                assert!(reassembly.messages.len() <= MAX_MESSAGES);
            }
        }
        let held: usize = reassembly.messages.values().map(|p| p.bytes).sum();
        assert_eq!(held, reassembly.bytes());
    }

    #[test]
    fn what_is_never_whole_is_dropped_in_time() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.handle(NOW, 1, 0, false, b"a"), None);
        assert_eq!(reassembly.deadline(), Some(NOW + LIFETIME));
        assert_eq!(reassembly.handle(NOW + LIFETIME, 1, 1, true, b"b"), None);
        assert_eq!(reassembly.bytes(), 1);
        reassembly.handle_timeout(NOW + LIFETIME * 2);
        assert_eq!((reassembly.bytes(), reassembly.deadline()), (0, None));
    }

    #[test]
    fn parts_that_cannot_be_take_their_message_with_them() {
        let mut reassembly = Reassembly::default();
        // Two last ones, one behind the last, too long a message, too many parts.
        assert_eq!(reassembly.handle(NOW, 1, 3, true, b"x"), None);
        assert_eq!(reassembly.handle(NOW, 1, 4, false, b"x"), None);
        assert_eq!(reassembly.handle(NOW, 2, 3, false, b"x"), None);
        assert_eq!(reassembly.handle(NOW, 2, 2, true, b"x"), None);
        for number in 0..60 {
            assert_eq!(reassembly.handle(NOW, 3, number, false, &[0; 1_100]), None);
        }
        assert_eq!(reassembly.handle(NOW, 4, MAX_FRAGMENTS, false, b"x"), None);
        assert!(reassembly.messages.len() <= 1 && reassembly.bytes() < MAX_MESSAGE);
        assert!(reassembly.dropped() >= 3);
    }
}
