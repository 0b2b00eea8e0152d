//! What the end of a tunnel has to do, in the plainest way.

use ramson_core::crypto::Key32;
use ramson_core::crypto::aes::{Decryptor, Encryptor};
use ramson_core::time::Instant;
use ramson_core::wire::tunnel::{Delivery, ID_LEN, IV_LEN, Instructions};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the fragments of a message may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// The keys of a hop, both ways.
pub(super) struct Layer {
    data: (Encryptor, Decryptor),
    iv: (Encryptor, Decryptor),
}

impl Layer {
    pub(super) fn new(data: &Key32, iv: &Key32) -> Self {
        let both = |k: &Key32| (Encryptor::new(k.as_bytes()), Decryptor::new(k.as_bytes()));
        Self { data: both(data), iv: both(iv) }
    }

    pub(super) fn apply(&self, cell: &mut [u8], encrypt: bool) {
        let (iv, data) = cell[ID_LEN..].split_first_chunk_mut::<IV_LEN>().unwrap();
        if encrypt {
            self.iv.0.encrypt_block(iv);
            self.data.0.cbc_encrypt(iv, data);
            self.iv.0.encrypt_block(iv);
        } else {
            self.iv.1.decrypt_block(iv);
            self.data.1.cbc_decrypt(iv, data);
            self.iv.1.decrypt_block(iv);
        }
    }
}

/// The fragments of one message that came.
pub(super) struct Unfinished {
    since: Instant,
    delivery: Option<Delivery>,
    parts: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
}

impl Unfinished {
    fn held(&self) -> usize {
        self.parts.values().map(Vec::len).sum()
    }

    /// How many are there without a gap.
    fn next(&self) -> u8 {
        (0..64).find(|n| !self.parts.contains_key(n)).unwrap_or(64)
    }

    fn contradicts(&self, number: u8, last: bool) -> bool {
        let next = self.next();
        let ahead = self.parts.keys().next_back().filter(|n| **n > next);
        self.last.is_some_and(|end| number > end || last && number != end)
            || last && ahead.is_some_and(|ahead| *ahead > number)
    }
}

/// What an endpoint has to do, in the plainest way.
pub(super) struct Model {
    messages: BTreeMap<u32, Unfinished>,
    max_messages: usize,
    max_bytes: usize,
}

impl Model {
    pub(super) const fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { messages: BTreeMap::new(), max_messages, max_bytes }
    }

    pub(super) fn is_within_caps(&self) -> bool {
        self.held() <= self.max_bytes && self.messages.len() <= self.max_messages
    }

    pub(super) fn held(&self) -> usize {
        self.messages.values().map(Unfinished::held).sum()
    }

    pub(super) fn live(&self, now: Instant) -> usize {
        let live = self.messages.values().filter(|m| now < m.since + TIMEOUT);
        live.map(Unfinished::held).sum()
    }

    fn drop_oldest(&mut self, except: Option<u32>) {
        let others = self.messages.iter().filter(|(id, _)| Some(**id) != except);
        let oldest = others.map(|(id, m)| (m.since, *id)).min();
        oldest.and_then(|(_, id)| self.messages.remove(&id));
    }

    pub(super) fn add(
        &mut self,
        now: Instant,
        what: Instructions,
        data: &[u8],
    ) -> Option<(Delivery, Vec<u8>)> {
        let (id, number, delivery, last) = match what {
            Instructions::First { delivery, fragmented: None } => {
                return Some((delivery, data.to_vec()));
            }
            Instructions::First { delivery, fragmented: Some(id) } => {
                (id, 0, Some(delivery), false)
            }
            Instructions::FollowOn { message, number, last } => (message, number, None, last),
        };
        if data.is_empty() {
            return None;
        }
        self.messages.retain(|_, m| now < m.since + TIMEOUT);
        if !self.messages.contains_key(&id) && self.messages.len() >= self.max_messages {
            self.drop_oldest(None);
        }
        while self.held() + data.len() > self.max_bytes && self.messages.len() > 1 {
            self.drop_oldest(Some(id));
        }
        let new = || Unfinished { since: now, delivery: None, parts: BTreeMap::new(), last: None };
        let message = self.messages.entry(id).or_insert_with(new);
        if message.contradicts(number, last) {
            self.messages.remove(&id);
            return None;
        }
        if message.parts.contains_key(&number) {
            return None;
        }
        message.parts.insert(number, data.to_vec());
        message.delivery = message.delivery.or(delivery);
        if last {
            message.last = Some(number);
        }
        let whole = message.last.is_some_and(|last| message.next() > last);
        if !whole && message.next() < 64 {
            return None;
        }
        let message = self.messages.remove(&id).filter(|_| whole)?;
        Some((message.delivery?, message.parts.into_values().flatten().collect()))
    }
}
