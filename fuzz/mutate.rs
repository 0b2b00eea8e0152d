//! Seeded mutations: the same seed yields the same inputs.

use ramson_core::rng::{Rng, Seed};

/// Inputs never grow beyond this.
pub const MAX_LEN: usize = 16 * 1024;

/// Bytes that often stand at a limit.
const EDGES: [u8; 9] = [0, 1, 2, 0x1f, 0x20, 0x7f, 0x80, 0xfe, 0xff];

/// Makes new inputs out of old ones.
pub struct Mutator(Rng);

impl Mutator {
    /// Draws everything from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rng::new(&Seed::from_number(seed)))
    }

    /// One of `corpus`, changed in one to eight places, or for an empty corpus random bytes.
    pub fn next<T: AsRef<[u8]>>(&mut self, corpus: &[T]) -> Vec<u8> {
        let mut input = match corpus.get(self.0.index(corpus.len())) {
            Some(sample) => sample.as_ref().to_vec(),
            None => self.random(64),
        };
        for _ in 0..1 << self.0.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(MAX_LEN);
        input
    }

    fn change<T: AsRef<[u8]>>(&mut self, input: &mut Vec<u8>, corpus: &[T]) {
        let at = self.0.index(input.len());
        let edge = EDGES[self.0.index(EDGES.len())];
        match self.0.below(12) {
            0 | 1 => input.iter_mut().skip(at).take(1).for_each(|b| *b = edge),
            2 | 3 => {
                let bit = 1 << self.0.below(8);
                input.iter_mut().skip(at).take(1).for_each(|b| *b ^= bit);
            }
            4 => {
                let step = if edge & 1 == 0 { 1 } else { 0xff };
                input.iter_mut().skip(at).take(1).for_each(|b| *b = b.wrapping_add(step));
            }
            5 => input.truncate(at),
            6 => {
                let extra = self.random(16);
                input.splice(at..at, extra);
            }
            7 => {
                let end = (at + 1 + self.0.index(8)).min(input.len());
                input.drain(at..end);
            }
            8 => {
                // A piece once more, elsewhere.
                let end = (at + 1 + self.0.index(64)).min(input.len());
                let piece = input[at..end].to_vec();
                let to = self.0.index(input.len() + 1);
                input.splice(to..to, piece);
            }
            9 => {
                if let Some(other) = corpus.get(self.0.index(corpus.len())) {
                    let other = other.as_ref();
                    let from = self.0.index(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
            10 => {
                // A count or length of two bytes.
                let value = [0u16, 1, 0xff, 0x100, 0x7fff, 0x8000, 0xffff][self.0.index(7)];
                let value = value.wrapping_add(input.len() as u16 & self.0.u32() as u16);
                for (byte, new) in input.iter_mut().skip(at).zip(value.to_be_bytes()) {
                    *byte = new;
                }
            }
            _ => {
                let end = (at + 1 + self.0.index(32)).min(input.len());
                if let Some(piece) = input.get_mut(at..end) {
                    self.0.fill(piece);
                }
            }
        }
    }

    fn random(&mut self, max: usize) -> Vec<u8> {
        let mut bytes = vec![0; 1 + self.0.index(max)];
        self.0.fill(&mut bytes);
        bytes
    }
}
