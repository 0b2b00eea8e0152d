//! The receiving half of a stream: order, duplicates, what to acknowledge.

use super::buffer::ByteRing;
use crate::audit::Audit;
use crate::flow::congestion::MAX_WINDOW;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use arrayvec::ArrayVec;

/// How far ahead of the first missing packet another one is kept. Other routers' windows go up to
/// 512 packets.
pub(crate) const MAX_AHEAD: u32 = 512;
/// NACKs in an ack: as many as still fit, with everything around them, into one tunnel message.
pub(crate) const ACK_NACKS: usize = 200;
/// The most bytes that wait for their turn or for the reader. More than the buffer that we choke
/// at, since what is under way then arrives all the same.
pub(crate) const HARD_LIMIT: usize = 1 << 20;

const _: () = assert!(MAX_AHEAD >= MAX_WINDOW);

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was the next one; the count is that of packets that came into order with it.
    InOrder(u32),
    /// Kept until those before it arrive.
    Early,
    /// Seen before, or after the end.
    Duplicate,
    /// No room for it.
    Refused,
}

struct Segment {
    payload: Box<[u8]>,
    close: bool,
}

/// Packets received, by sequence number.
#[derive(Default)]
pub(crate) struct Receiver {
    /// The first sequence number that is missing; 0 before the SYN.
    next: u32,
    ready: ByteRing,
    /// From `next` on; the last is always there.
    ahead: VecDeque<Option<Segment>>,
    ahead_bytes: usize,
    /// The CLOSE came into order: nothing follows.
    closed: bool,
    /// Nobody will read: keep the order, drop the bytes.
    discard: bool,
}

impl Receiver {
    /// What is held, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        audit.see("streams: packets before their turn", self.ahead.len(), MAX_AHEAD as usize);
    }

    /// Takes packet `sequence`, unless more than `limit` bytes would be held.
    pub(crate) fn accept(
        &mut self,
        sequence: u32,
        payload: &[u8],
        close: bool,
        limit: usize,
    ) -> Accepted {
        let Some(ahead) = sequence.checked_sub(self.next) else { return Accepted::Duplicate };
        if self.closed {
            return Accepted::Duplicate;
        }
        if ahead >= MAX_AHEAD || self.bytes() + payload.len() > limit {
            return Accepted::Refused;
        }
        if ahead == 0 {
            self.deliver(payload, close);
            let mut count = 1;
            self.ahead.pop_front();
            while let Some(Some(_)) = self.ahead.front() {
                if let Some(Some(segment)) = self.ahead.pop_front() {
                    self.ahead_bytes = self.ahead_bytes.saturating_sub(segment.payload.len());
                    self.deliver(&segment.payload, segment.close);
                    count += 1;
                }
            }
            if self.closed {
                // What claims to come after the end is not kept.
                self.ahead.clear();
                self.ahead_bytes = 0;
            }
            return Accepted::InOrder(count);
        }
        let index = ahead as usize;
        if self.ahead.len() <= index {
            self.ahead.resize_with(index + 1, || None);
        }
        match self.ahead.get_mut(index) {
            Some(slot @ None) => {
                self.ahead_bytes += payload.len();
                *slot = Some(Segment { payload: payload.into(), close });
                Accepted::Early
            }
            Some(Some(_)) | None => Accepted::Duplicate,
        }
    }

    /// Drops what came before the SYN.
    pub(crate) fn forget(&mut self) {
        self.ahead.clear();
        self.ahead_bytes = 0;
    }

    fn deliver(&mut self, payload: &[u8], close: bool) {
        self.next = self.next.saturating_add(1);
        // A second CLOSE cannot follow: nothing is accepted after the first.
        if !self.discard && !self.closed {
            self.ready.push(payload);
        }
        self.closed |= close;
    }

    /// Everything up to here has arrived; `None` before the SYN.
    pub(crate) const fn in_order(&self) -> Option<u32> {
        self.next.checked_sub(1)
    }

    /// True when later packets have arrived than the first missing one.
    pub(crate) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// What to acknowledge: the highest packet, and those before it that are missing. `None` when
    /// nothing has arrived.
    pub(crate) fn ack(&self) -> Option<(u32, ArrayVec<u32, ACK_NACKS>)> {
        let mut nacks = ArrayVec::new();
        for (slot, sequence) in self.ahead.iter().zip(self.next..) {
            if slot.is_none() && nacks.try_push(sequence).is_err() {
                // Acknowledge only as far as the NACKs reach.
                return Some((sequence.checked_sub(1)?, nacks));
            }
        }
        let end = self.next.checked_add(self.ahead.len() as u32)?;
        Some((end.checked_sub(1)?, nacks))
    }

    /// Bytes for the reader.
    pub(crate) fn readable(&self) -> usize {
        self.ready.len()
    }

    /// All bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.ready.len() + self.ahead_bytes
    }

    /// Moves up to `max` bytes to `out`; says how many.
    pub(crate) fn read(&mut self, max: usize, out: &mut alloc::vec::Vec<u8>) -> usize {
        self.ready.pop(max, out)
    }

    /// True when the remote's CLOSE has come into order.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Drops what is there and what will come.
    pub(crate) fn discard(&mut self) {
        self.discard = true;
        self.ready.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    fn all(receiver: &mut Receiver) -> Vec<u8> {
        let mut out = Vec::new();
        receiver.read(usize::MAX, &mut out);
        out
    }

    fn nacks(receiver: &Receiver) -> (u32, Vec<u32>) {
        let (through, nacks) = receiver.ack().unwrap();
        (through, nacks.to_vec())
    }

    #[test]
    fn any_order_with_duplicates_gives_the_bytes_once() {
        for seed in 0..20 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let mut order: Vec<u32> = (0..200).chain(0..200).collect();
            rng.shuffle(&mut order);
            let mut receiver = Receiver::default();
            let mut got = Vec::new();
            for sequence in order {
                receiver.accept(sequence, &sequence.to_be_bytes(), sequence == 199, HARD_LIMIT);
                receiver.read(rng.index(50), &mut got);
            }
            got.extend(all(&mut receiver));
            let want: Vec<u8> = (0..200u32).flat_map(u32::to_be_bytes).collect();
            assert_eq!(got, want);
            assert!(receiver.is_closed() && !receiver.has_gap() && receiver.bytes() == 0);
        }
    }

    #[test]
    fn acks_name_what_is_missing() {
        let mut receiver = Receiver::default();
        assert!(receiver.ack().is_none());
        assert_eq!(receiver.accept(2, b"c", false, HARD_LIMIT), Accepted::Early);
        assert_eq!(nacks(&receiver), (2, [0, 1].into()));
        assert_eq!(receiver.in_order(), None);
        assert_eq!(receiver.accept(0, b"a", false, HARD_LIMIT), Accepted::InOrder(1));
        assert_eq!(receiver.accept(5, b"f", false, HARD_LIMIT), Accepted::Early);
        assert_eq!(receiver.accept(5, b"f", false, HARD_LIMIT), Accepted::Duplicate);
        assert_eq!(nacks(&receiver), (5, [1, 3, 4].into()));
        assert_eq!(receiver.accept(1, b"b", false, HARD_LIMIT), Accepted::InOrder(2));
        assert_eq!(nacks(&receiver), (5, [3, 4].into()));
        assert_eq!(receiver.in_order(), Some(2));
        assert_eq!(all(&mut receiver), b"abc");
    }

    #[test]
    fn more_missing_than_nacks_is_acknowledged_only_so_far() {
        let mut receiver = Receiver::default();
        receiver.accept(0, b"", false, HARD_LIMIT);
        receiver.accept(300, b"x", false, HARD_LIMIT);
        let (through, nacks) = nacks(&receiver);
        assert_eq!((through, nacks.len()), (200, ACK_NACKS));
        assert!(nacks.iter().copied().eq(1..=200));
    }

    #[test]
    fn what_is_too_far_ahead_or_too_much_is_refused() {
        let mut receiver = Receiver::default();
        assert_eq!(receiver.accept(MAX_AHEAD, b"", false, HARD_LIMIT), Accepted::Refused);
        let large = alloc::vec![0; HARD_LIMIT / 2];
        assert_eq!(receiver.accept(0, &large, false, HARD_LIMIT), Accepted::InOrder(1));
        assert_eq!(receiver.accept(2, &large, false, HARD_LIMIT), Accepted::Early);
        assert_eq!(receiver.accept(1, b"x", false, HARD_LIMIT), Accepted::Refused);
        assert_eq!(receiver.bytes(), HARD_LIMIT);
        all(&mut receiver);
        assert_eq!(receiver.accept(1, b"x", false, HARD_LIMIT), Accepted::InOrder(2));
    }

    #[test]
    fn any_packets_are_taken_and_acknowledged_as_a_plain_map_says() {
        for seed in 0..200 {
            let mut rng = Rng::new(&Seed::from_number(seed));
            let (spread, limit) = (1 + rng.index(400) as u32, 2_000 + rng.index(60_000));
            let mut receiver = Receiver::default();
            // What was taken; how many are in order; whether these end the stream.
            let mut taken: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let (mut next, mut end, mut got, mut want) = (0, None, Vec::new(), Vec::new());
            let mut closes: Vec<u32> = Vec::new();
            for _ in 0..600 {
                let sequence = (next + rng.index(spread as usize) as u32).saturating_sub(3);
                let (len, close) = (rng.index(300), rng.below(2_000) == 0);
                let payload = alloc::vec![sequence as u8 ^ len as u8; len];
                let ahead: usize = taken.range(next..).map(|(_, p)| p.len()).sum();
                let held = want.len() - got.len() + ahead;
                assert_eq!(receiver.bytes(), held, "seed {seed}");
                let expected = if sequence < next || end.is_some() {
                    Accepted::Duplicate
                } else if sequence >= next + MAX_AHEAD || held + len > limit {
                    Accepted::Refused
                } else if taken.keys().any(|taken| *taken == sequence) {
                    Accepted::Duplicate
                } else {
                    taken.insert(sequence, payload.clone());
                    closes.extend(close.then_some(sequence));
                    let first = next;
                    while let Some(bytes) = taken.get(&next).filter(|_| end.is_none()) {
                        want.extend_from_slice(bytes);
                        end = closes.contains(&next).then_some(next);
                        next += 1;
                    }
                    // What claims to come after the end is forgotten, and counts as taken.
                    let mut count = next - first;
                    if end.is_some() {
                        count +=
                            taken.range(next..).zip(next..).take_while(|(t, n)| t.0 == n).count()
                                as u32;
                    }
                    if next > first { Accepted::InOrder(count) } else { Accepted::Early }
                };
                let accepted = receiver.accept(sequence, &payload, close, limit);
                assert_eq!(accepted, expected, "seed {seed}");
                receiver.read(rng.index(400), &mut got);
                assert!(want.starts_with(&got));
                assert_eq!(
                    (receiver.readable(), receiver.is_closed()),
                    (want.len() - got.len(), end.is_some())
                );
                if end.is_some() {
                    break;
                }
                let highest = taken.keys().next_back().copied();
                let missing = (next..highest.unwrap_or(0)).filter(|n| !taken.contains_key(n));
                let missing: Vec<u32> = missing.take(ACK_NACKS + 1).collect();
                let acked = receiver.ack().map(|(through, nacks)| (through, nacks.to_vec()));
                let expected = match missing.split_at_checked(ACK_NACKS) {
                    Some((nacks, [over, ..])) => Some((over - 1, nacks.to_vec())),
                    _ => highest.map(|highest| (highest, missing.clone())),
                };
                assert_eq!(acked, expected, "seed {seed}");
            }
        }
    }

    #[test]
    fn nothing_is_accepted_after_the_end() {
        let mut receiver = Receiver::default();
        receiver.accept(2, b"late", false, HARD_LIMIT);
        receiver.accept(0, b"a", false, HARD_LIMIT);
        assert_eq!(receiver.accept(1, b"b", true, HARD_LIMIT), Accepted::InOrder(2));
        assert_eq!(receiver.accept(3, b"", false, HARD_LIMIT), Accepted::Duplicate);
        assert_eq!(all(&mut receiver), b"ab");
    }
}
