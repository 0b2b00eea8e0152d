//! A bounded byte queue.

use alloc::vec::Vec;

/// Bytes on their way, at most `cap` of them, save for a head or page that is put in whole.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    cap: usize,
}

impl Buffer {
    pub(crate) const fn new(cap: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, cap }
    }

    /// Bytes waiting.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len().saturating_sub(self.start)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that [`Self::push`] would take.
    pub(crate) const fn free(&self) -> usize {
        self.cap.saturating_sub(self.len())
    }

    /// Half of it is free: worth waking a paused writer.
    pub(crate) const fn is_roomy(&self) -> bool {
        self.free() >= self.cap / 2
    }

    /// Bytes worth fetching for it: 0 rather than a few.
    pub(crate) const fn room(&self) -> usize {
        if self.is_roomy() { self.free() } else { 0 }
    }

    /// Takes what there is room for.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.get(..self.free()).unwrap_or(bytes);
        self.append(taken);
        taken.len()
    }

    /// Takes all, whatever the cap: for heads, chunk lines and pages, whose size is bounded.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Moves at most `room` bytes to `out` and says how many.
    pub(crate) fn take(&mut self, room: usize, out: &mut Vec<u8>) -> usize {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let part = rest.get(..room).unwrap_or(rest);
        out.extend_from_slice(part);
        let n = part.len();
        self.start += n;
        if self.is_empty() {
            self.clear();
        }
        n
    }

    /// Empty again.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Gives the memory of an empty buffer back: an idle connection should cost little.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_the_cap_holds() {
        let mut buffer = Buffer::new(10);
        let (mut next_in, mut next_out, mut out) = (0u8, 0u8, Vec::new());
        for round in 0..1000usize {
            let wish: Vec<u8> = (0..round % 7).map(|i| next_in.wrapping_add(i as u8)).collect();
            let taken = buffer.push(&wish);
            next_in = next_in.wrapping_add(taken as u8);
            assert!(buffer.len() <= 10);
            assert!(taken == wish.len() || buffer.free() == 0);
            out.clear();
            let n = buffer.take(round % 5, &mut out);
            assert_eq!(n, out.len());
            for b in &out {
                assert_eq!(*b, next_out);
                next_out = next_out.wrapping_add(1);
            }
        }
        buffer.append(&[0; 30]);
        assert_eq!((buffer.free(), buffer.push(&[1])), (0, 0));
    }
}
