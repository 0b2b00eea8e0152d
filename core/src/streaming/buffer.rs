//! A queue of bytes that gives its memory back.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Memory that an empty queue keeps.
const KEEP: usize = 4096;

/// Bytes in, bytes out, and views of the middle.
#[derive(Default)]
pub(crate) struct ByteRing(VecDeque<u8>);

impl ByteRing {
    /// Bytes in it.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Moves up to `max` bytes to `out`; says how many.
    pub(crate) fn pop(&mut self, max: usize, out: &mut Vec<u8>) -> usize {
        let count = max.min(self.0.len());
        for piece in self.view(0, count) {
            out.extend_from_slice(piece);
        }
        self.drop_front(count);
        count
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn drop_front(&mut self, count: usize) {
        self.0.drain(..count.min(self.0.len()));
        if self.0.is_empty() && self.0.capacity() > KEEP {
            self.0 = VecDeque::new();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    /// The `len` bytes from `start` on, or as many of them as there are, in two pieces.
    pub(crate) fn view(&self, start: usize, len: usize) -> [&[u8]; 2] {
        let (a, b) = self.0.as_slices();
        let from_a = a.get(start..).unwrap_or_default();
        let from_a = from_a.get(..len).unwrap_or(from_a);
        let from_b = b.get(start.saturating_sub(a.len())..).unwrap_or_default();
        let from_b = from_b.get(..len - from_a.len()).unwrap_or(from_b);
        [from_a, from_b]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Rng, Seed};

    #[test]
    fn views_and_pops_agree_with_a_plain_vector() {
        let mut rng = Rng::new(&Seed::from_number(3));
        let (mut ring, mut model) = (ByteRing::default(), Vec::new());
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..rng.below(40)).map(|_| rng.u32() as u8).collect();
            ring.push(&bytes);
            model.extend_from_slice(&bytes);
            let (start, len) = (rng.index(60), rng.index(60));
            let want: Vec<u8> = model.iter().skip(start).take(len).copied().collect();
            assert_eq!(ring.view(start, len).concat(), want);
            let mut out = Vec::new();
            let count = ring.pop(rng.index(40), &mut out);
            assert_eq!(out, model.drain(..count).collect::<Vec<_>>());
            assert_eq!(ring.len(), model.len());
        }
    }
}
