//! Putting fragments together again, in any order, within caps.

use crate::audit::Audit;
use crate::time::Instant;
use crate::wire::tunnel::{CELL_LEN, Delivery, MAX_FRAGMENT_NUMBER};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// How long the fragments of a message may take. Gateways send them together, so what is not
/// there after this was lost; Java waits 45 s, i2pd 8 s.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// What one endpoint holds; the oldest makes room.
#[derive(Clone, Copy)]
pub(crate) struct Caps {
    messages: usize,
    bytes: usize,
}

impl Caps {
    /// At the end of somebody else's tunnel. Reorder among 2 KiB messages needs more than a
    /// handful of them at once.
    pub(crate) const TRANSIT: Self = Self { messages: 64, bytes: 256 * 1024 };
    /// At the end of one of ours: some tenths of a second of a fast download.
    pub(crate) const OWN: Self = Self { messages: 256, bytes: 1024 * 1024 };
}

/// Bytes of one message at most.
const MAX_MESSAGE: usize = (MAX_FRAGMENT_NUMBER as usize + 1) * CELL_LEN;
/// Bytes of unfinished messages at all endpoints; what does not fit is dropped.
pub(crate) const MAX_BYTES_IN_ALL: usize = 16 * 1024 * 1024;

/// Bytes that all endpoints of a router hold together.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: usize,
}

impl Budget {
    fn take(&mut self, bytes: usize) -> bool {
        let used = self.used.saturating_add(bytes);
        if used > MAX_BYTES_IN_ALL {
            return false;
        }
        self.used = used;
        true
    }

    const fn give_back(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Bytes held.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }
}

/// A fragment of a message that has several.
pub(crate) struct Piece<'a> {
    /// Which message.
    pub(crate) message: u32,
    /// 0 is the first, which alone says where the message goes.
    pub(crate) number: u8,
    /// Of the first.
    pub(crate) delivery: Option<Delivery>,
    /// None comes after it.
    pub(crate) last: bool,
    /// Its bytes.
    pub(crate) data: &'a [u8],
}

/// The unfinished messages of one endpoint.
pub(crate) struct Reassembly {
    messages: BTreeMap<u32, Unfinished>,
    held: usize,
    caps: Caps,
    /// No message is over before.
    next_expiry: Instant,
}

struct Unfinished {
    since: Instant,
    delivery: Option<Delivery>,
    /// Fragments 0 to `next` - 1.
    bytes: Vec<u8>,
    next: u8,
    /// Fragments that came before their turn.
    ahead: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
    held: usize,
}

impl Reassembly {
    pub(crate) const fn new(caps: Caps) -> Self {
        Self { messages: BTreeMap::new(), held: 0, caps, next_expiry: Instant::ZERO }
    }

    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("tunnels: unfinished messages of one", self.messages.len(), self.caps.messages);
        // The message at hand may be larger than all of it.
        let bytes = self.caps.bytes.max(MAX_MESSAGE);
        audit.see("tunnels: bytes of unfinished messages of one", self.held, bytes);
    }

    /// Takes a fragment; gives the message when it is whole.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        piece: &Piece<'_>,
        budget: &mut Budget,
    ) -> Option<(Delivery, Vec<u8>)> {
        if piece.data.is_empty() {
            return None;
        }
        self.expire(now, budget);
        if !self.messages.contains_key(&piece.message) {
            while self.messages.len() >= self.caps.messages {
                self.drop_oldest(None, budget);
            }
        }
        while self.held + piece.data.len() > self.caps.bytes && self.messages.len() > 1 {
            self.drop_oldest(Some(piece.message), budget);
        }
        let message = self.messages.entry(piece.message).or_insert_with(|| Unfinished::new(now));
        let verdict = if message.wants(piece) && budget.take(piece.data.len()) {
            self.held += piece.data.len();
            message.add(piece)
        } else if message.contradicts(piece) || budget.used() >= MAX_BYTES_IN_ALL {
            Verdict::Hopeless
        } else {
            Verdict::Waiting
        };
        match verdict {
            Verdict::Waiting => {
                if message.held == 0 {
                    self.messages.remove(&piece.message);
                }
                None
            }
            Verdict::Hopeless => {
                self.remove(piece.message, budget);
                None
            }
            Verdict::Whole => {
                let message = self.remove(piece.message, budget)?;
                Some((message.delivery?, message.bytes))
            }
        }
    }

    /// Gives up what waits for too long.
    pub(crate) fn expire(&mut self, now: Instant, budget: &mut Budget) {
        while now >= self.next_expiry {
            let Some((since, _)) = self.oldest(None) else { return };
            self.next_expiry = since + TIMEOUT;
            if now >= self.next_expiry {
                self.drop_oldest(None, budget);
            }
        }
    }

    /// Gives up everything: the tunnel is gone.
    pub(crate) fn clear(&mut self, budget: &mut Budget) {
        budget.give_back(self.held);
        self.held = 0;
        self.messages.clear();
    }

    fn oldest(&self, except: Option<u32>) -> Option<(Instant, u32)> {
        self.messages
            .iter()
            .filter(|(id, _)| Some(**id) != except)
            .map(|(id, m)| (m.since, *id))
            .min()
    }

    fn drop_oldest(&mut self, except: Option<u32>, budget: &mut Budget) {
        if let Some((_, id)) = self.oldest(except) {
            self.remove(id, budget);
        }
    }

    fn remove(&mut self, id: u32, budget: &mut Budget) -> Option<Unfinished> {
        let message = self.messages.remove(&id)?;
        self.held = self.held.saturating_sub(message.held);
        budget.give_back(message.held);
        Some(message)
    }
}

enum Verdict {
    Waiting,
    Whole,
    Hopeless,
}

impl Unfinished {
    const fn new(since: Instant) -> Self {
        Self {
            since,
            delivery: None,
            bytes: Vec::new(),
            next: 0,
            ahead: BTreeMap::new(),
            last: None,
            held: 0,
        }
    }

    /// Not a duplicate, and not beyond the end.
    fn wants(&self, piece: &Piece<'_>) -> bool {
        piece.number >= self.next
            && !self.ahead.contains_key(&piece.number)
            && !self.contradicts(piece)
    }

    /// Two ends, or something after the end.
    fn contradicts(&self, piece: &Piece<'_>) -> bool {
        self.last.is_some_and(|last| piece.number > last || (piece.last && piece.number != last))
            || (piece.last && self.ahead.keys().next_back().is_some_and(|n| *n > piece.number))
    }

    fn add(&mut self, piece: &Piece<'_>) -> Verdict {
        self.held += piece.data.len();
        if piece.number == 0 {
            self.delivery = piece.delivery;
        }
        if piece.last {
            self.last = Some(piece.number);
        }
        if piece.number != self.next {
            self.ahead.insert(piece.number, piece.data.to_vec());
            return Verdict::Waiting;
        }
        self.bytes.extend_from_slice(piece.data);
        self.next += 1;
        while let Some(data) = self.ahead.remove(&self.next) {
            self.bytes.extend_from_slice(&data);
            self.next += 1;
        }
        if self.last.is_some_and(|last| self.next > last) {
            Verdict::Whole
        } else if self.next > MAX_FRAGMENT_NUMBER {
            Verdict::Hopeless
        } else {
            Verdict::Waiting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};
    use alloc::vec;

    const fn piece<'a>(message: u32, number: u8, last: bool, data: &'a [u8]) -> Piece<'a> {
        let delivery = if number == 0 { Some(Delivery::Local) } else { None };
        Piece { message, number, delivery, last, data }
    }

    #[test]
    fn any_order_and_duplicates_give_the_message_once() {
        for seed in 0..50 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let count = rng.between(2, 64) as u8;
            let mut order: Vec<u8> = (0..count).chain(0..count / 2).collect();
            rng.shuffle(&mut order);
            let (mut r, mut budget) = (Reassembly::new(Caps::TRANSIT), Budget::default());
            let mut whole = Vec::new();
            for n in order {
                let data = [n; 3];
                let p = piece(5, n, n + 1 == count, &data);
                whole.extend(r.add(Instant::ZERO, &p, &mut budget));
                if !whole.is_empty() {
                    break;
                }
            }
            let want: Vec<u8> = (0..count).flat_map(|n| [n; 3]).collect();
            assert_eq!(whole, [(Delivery::Local, want)], "seed {seed}");
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn contradictory_ends_drop_the_message() {
        let (mut r, mut budget) = (Reassembly::new(Caps::TRANSIT), Budget::default());
        for (a, b) in [((3, true), (4, false)), ((3, true), (2, true)), ((4, false), (3, true))] {
            assert!(r.add(Instant::ZERO, &piece(1, a.0, a.1, b"x"), &mut budget).is_none());
            assert_eq!(budget.used(), 1);
            assert!(r.add(Instant::ZERO, &piece(1, b.0, b.1, b"x"), &mut budget).is_none());
            assert_eq!((budget.used(), r.messages.len()), (0, 0));
        }
    }

    #[test]
    fn the_oldest_makes_room_and_time_ends_the_wait() {
        let (mut r, mut budget) = (Reassembly::new(Caps::TRANSIT), Budget::default());
        let at = |s: u64| Instant::ZERO + Duration::from_secs(s);
        for id in 0..100 {
            r.add(at(u64::from(id) / 10), &piece(id, 0, false, &[0; 100]), &mut budget);
            assert!(r.messages.len() <= Caps::TRANSIT.messages);
        }
        assert_eq!(r.messages.keys().next(), Some(&36));
        assert_eq!(budget.used(), 6400);
        r.expire(at(5) + TIMEOUT, &mut budget);
        assert_eq!(r.messages.keys().next(), Some(&60));
        r.clear(&mut budget);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_stay_within_the_caps_whatever_comes() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut budget = Budget::default();
        let mut all: Vec<Reassembly> = (0..80).map(|_| Reassembly::new(Caps::TRANSIT)).collect();
        let data = vec![0; 1000];
        for step in 0..60_000u64 {
            let r = rng.index(all.len());
            let p = piece(rng.u32() % 16, 1 + rng.index(62) as u8, false, &data);
            let now = Instant::ZERO + Duration::from_millis(step / 100);
            assert!(all[r].add(now, &p, &mut budget).is_none());
            assert!(all[r].held <= Caps::TRANSIT.bytes && budget.used() <= MAX_BYTES_IN_ALL);
        }
        assert!(budget.used() > MAX_BYTES_IN_ALL - Caps::TRANSIT.bytes, "the test reached the cap");
        assert_eq!(budget.used(), all.iter().map(|r| r.held).sum::<usize>());
        for r in &all {
            assert_eq!(r.held, r.messages.values().map(|m| m.held).sum::<usize>());
        }
    }
}
