//! Messages into cells: packing, fragmenting, padding.
//!
//! A message stays in the open cell until the next one fills it or [`Gateway::flush`] closes it,
//! so messages that are queued together share cells and nothing waits for a timer.

use crate::rng::Rng;
use crate::wire::tunnel::{
    CELL_LEN, CHECKSUM_LEN, Delivery, FOLLOW_ON_LEN, ID_LEN, IV_LEN, Instructions,
    MAX_FRAGMENT_NUMBER, MAX_PAYLOAD_LEN, payload_checksum,
};
use alloc::vec::Vec;

/// Where the payload starts when there is no padding.
const PAYLOAD_AT: usize = CELL_LEN - MAX_PAYLOAD_LEN;
/// What a follow-on fragment carries at most.
const FOLLOW_ON_ROOM: usize = MAX_PAYLOAD_LEN - FOLLOW_ON_LEN;

/// The message needs more than 64 fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// One end of a tunnel where messages become cells.
#[derive(Default)]
pub(crate) struct Gateway {
    /// The open cell: room for the head, then the payload so far. Empty when none is open.
    cell: Vec<u8>,
}

impl Gateway {
    /// True when a cell is open, so that a flush is due.
    pub(crate) const fn is_open(&self) -> bool {
        !self.cell.is_empty()
    }

    /// Appends a message with its 16-byte header; full cells, not encrypted yet, go to `cells`.
    ///
    /// All fragments of a message follow each other without a gap: i2pd's endpoint throws an
    /// unfinished message away when another one's fragment comes between.
    pub(crate) fn push(
        &mut self,
        delivery: Delivery,
        message: &[u8],
        rng: &mut Rng,
        cells: &mut Vec<Vec<u8>>,
    ) -> Result<(), TooLarge> {
        let whole = Instructions::First { delivery, fragmented: None };
        let first_of_many = Instructions::First { delivery, fragmented: Some(0) }.encoded_len();
        if whole.encoded_len() + message.len() > self.room() {
            let fresh = follow_ons(message.len(), MAX_PAYLOAD_LEN, first_of_many);
            let fresh = if whole.encoded_len() + message.len() <= MAX_PAYLOAD_LEN {
                Some(0)
            } else {
                fresh
            };
            let max = usize::from(MAX_FRAGMENT_NUMBER);
            let fresh = fresh.filter(|n| *n <= max).ok_or(TooLarge)?;
            // Splitting is worth it when it saves a cell, and only then: a message in two cells
            // is lost twice as often.
            let split = follow_ons(message.len(), self.room(), first_of_many);
            if split.is_none_or(|n| n > fresh || n > max) {
                cells.extend(self.flush(rng));
            }
        }
        if whole.encoded_len() + message.len() <= self.room() {
            whole.encode(len16(message), self.open());
            self.open().extend_from_slice(message);
        } else {
            let id = rng.nonzero_u32();
            let (head, mut rest) =
                message.split_at_checked(self.room() - first_of_many).ok_or(TooLarge)?;
            let first = Instructions::First { delivery, fragmented: Some(id) };
            first.encode(len16(head), self.open());
            self.open().extend_from_slice(head);
            let mut number = 0;
            while !rest.is_empty() {
                cells.extend(self.flush(rng));
                number += 1;
                let (data, after) = rest.split_at_checked(FOLLOW_ON_ROOM).unwrap_or((rest, &[]));
                let last = after.is_empty();
                let follow_on = Instructions::FollowOn { message: id, number, last };
                follow_on.encode(len16(data), self.open());
                self.open().extend_from_slice(data);
                rest = after;
            }
        }
        if self.room() == 0 {
            cells.extend(self.flush(rng));
        }
        Ok(())
    }

    /// Closes the open cell: pads it, gives it an IV and a checksum.
    pub(crate) fn flush(&mut self, rng: &mut Rng) -> Option<Vec<u8>> {
        if self.cell.is_empty() {
            return None;
        }
        let mut cell = core::mem::take(&mut self.cell);
        let padding = CELL_LEN.saturating_sub(cell.len());
        cell.resize(CELL_LEN, 0);
        // The payload moves to the end; what it leaves and the zero before it become padding.
        cell.get_mut(PAYLOAD_AT..)?.rotate_right(padding);
        let (_id, rest) = cell.split_first_chunk_mut::<ID_LEN>()?;
        let (iv, rest) = rest.split_first_chunk_mut::<IV_LEN>()?;
        let (checksum, rest) = rest.split_first_chunk_mut::<CHECKSUM_LEN>()?;
        let (filler, rest) = rest.split_at_mut_checked(padding)?;
        let (_zero, payload) = rest.split_first()?;
        rng.fill(iv);
        *checksum = payload_checksum(payload, iv);
        rng.fill(filler);
        for byte in filler {
            *byte = if *byte == 0 { 0x5a } else { *byte };
        }
        Some(cell)
    }

    /// Bytes left in the open cell, or in a new one.
    fn room(&self) -> usize {
        if self.cell.is_empty() { MAX_PAYLOAD_LEN } else { CELL_LEN - self.cell.len() }
    }

    fn open(&mut self) -> &mut Vec<u8> {
        if self.cell.is_empty() {
            self.cell.reserve_exact(CELL_LEN);
            self.cell.resize(PAYLOAD_AT, 0);
        }
        &mut self.cell
    }
}

/// Follow-on fragments that a message needs when its first fragment gets `room` bytes with its
/// instructions; `None` when not even one byte of it fits there.
fn follow_ons(len: usize, room: usize, instructions: usize) -> Option<usize> {
    let first = room.checked_sub(instructions).filter(|n| *n > 0)?;
    Some(len.saturating_sub(first).div_ceil(FOLLOW_ON_ROOM))
}

/// Fragments never exceed a cell.
const fn len16(data: &[u8]) -> u16 {
    data.len() as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::time::Instant;
    use crate::tunnel::endpoint::test_messages;
    use crate::wire::hash::Hash;
    use crate::wire::tunnel::{Fragments, open_payload};

    fn rng() -> Rng {
        Rng::new(&Seed::from_number(4))
    }

    fn deliveries() -> [Delivery; 3] {
        let hash = Hash([1; 32]);
        [Delivery::Local, Delivery::Tunnel { gateway: hash, tunnel: 2 }, Delivery::Router(hash)]
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + len) as u8).collect()
    }

    #[test]
    fn every_size_up_to_the_limit_arrives() {
        let mut rng = rng();
        for delivery in deliveries() {
            let sizes = (1..2100).chain((0..30).map(|i| 62_000 + i * 16)).chain([61 * 1024 + 16]);
            for size in sizes.step_by(3) {
                let (mut gateway, mut cells) = (Gateway::default(), Vec::new());
                gateway.push(delivery, &bytes(size), &mut rng, &mut cells).unwrap();
                cells.extend(gateway.flush(&mut rng));
                assert_eq!(test_messages(Instant::ZERO, &cells), [(delivery, bytes(size))]);
            }
        }
    }

    #[test]
    fn what_needs_65_fragments_is_refused_and_leaves_no_trace() {
        let (mut rng, mut cells) = (rng(), Vec::new());
        let mut gateway = Gateway::default();
        for (delivery, max) in deliveries().into_iter().zip([996, 960, 964]) {
            let max = max + 63 * 996;
            assert_eq!(
                gateway.push(delivery, &bytes(max + 1), &mut rng, &mut cells),
                Err(TooLarge)
            );
            assert!(!gateway.is_open() && cells.is_empty());
            gateway.push(delivery, &bytes(max), &mut rng, &mut cells).unwrap();
            cells.extend(gateway.flush(&mut rng));
            assert_eq!(test_messages(Instant::ZERO, &cells), [(delivery, bytes(max))]);
            cells.clear();
        }
    }

    #[test]
    fn messages_queued_together_share_cells() {
        let (mut rng, mut cells) = (rng(), Vec::new());
        let mut gateway = Gateway::default();
        for _ in 0..10 {
            gateway.push(Delivery::Local, &bytes(90), &mut rng, &mut cells).unwrap();
        }
        assert!(cells.is_empty() && gateway.is_open());
        cells.extend(gateway.flush(&mut rng));
        assert_eq!(test_messages(Instant::ZERO, &cells).len(), 10);
        assert_eq!((cells.len(), gateway.flush(&mut rng)), (1, None));
    }

    #[test]
    fn a_message_is_split_only_where_that_saves_a_cell() {
        let cells_for = |sizes: &[usize]| {
            let (mut rng, mut cells, mut gateway) = (rng(), Vec::new(), Gateway::default());
            for size in sizes {
                gateway.push(Delivery::Local, &bytes(*size), &mut rng, &mut cells).unwrap();
            }
            cells.extend(gateway.flush(&mut rng));
            assert_eq!(test_messages(Instant::ZERO, &cells).len(), sizes.len());
            cells
        };
        let fragments = |cell: &Vec<u8>| Fragments::new(open_payload(cell).unwrap()).count();
        // 500 + 600 does not fit one cell; two cells either way, so the second stays whole.
        let cells = cells_for(&[500, 600]);
        assert_eq!(cells.iter().map(fragments).collect::<Vec<_>>(), [1, 1]);
        // 500 + 1400: three cells when the long one starts afresh, two when it is split.
        assert_eq!(cells_for(&[500, 1400]).len(), 2);
        // Two cells each either way: whole messages rather than three cells for one.
        assert_eq!(cells_for(&[1900; 50]).len(), 100);
    }

    #[test]
    fn random_mixes_arrive_whole_and_in_order() {
        let mut rng = rng();
        for _ in 0..200 {
            let (mut gateway, mut cells, mut want) = (Gateway::default(), Vec::new(), Vec::new());
            for _ in 0..rng.between(1, 20) {
                let limit = [100, 1100, 5000][rng.index(3)];
                let size = rng.between(1, limit) as usize;
                let delivery = deliveries()[rng.index(3)];
                gateway.push(delivery, &bytes(size), &mut rng, &mut cells).unwrap();
                want.push((delivery, bytes(size)));
                if rng.below(4) == 0 {
                    cells.extend(gateway.flush(&mut rng));
                }
            }
            cells.extend(gateway.flush(&mut rng));
            assert!(cells.iter().all(|c| c.len() == CELL_LEN && c.capacity() == CELL_LEN));
            assert_eq!(test_messages(Instant::ZERO, &cells), want);
        }
    }

    #[test]
    fn padding_has_no_zero_and_cells_differ() {
        let (mut rng, mut gateway) = (rng(), Gateway::default());
        let mut cells = Vec::new();
        for _ in 0..2 {
            gateway.push(Delivery::Local, b"x", &mut rng, &mut cells).unwrap();
            cells.extend(gateway.flush(&mut rng));
        }
        for cell in &cells {
            let zero = cell[24..].iter().position(|b| *b == 0).unwrap();
            assert_eq!(24 + zero + 1 + 4, CELL_LEN);
        }
        assert_ne!(cells[0][4..20], cells[1][4..20]);
        assert_ne!(cells[0][24..900], cells[1][24..900]);
    }
}
