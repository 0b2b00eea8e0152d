//! A fast mixing function: any difference in what goes in changes all that comes out, if nobody chose
//! it on purpose.

/// Odd numbers without a pattern: binary digits of pi.
const PI: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// Both halves of a product, which depend on all bits of both factors.
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// What was put in so far.
#[derive(Clone, Copy)]
pub(super) struct Mix {
    a: u64,
    b: u64,
}

impl Mix {
    /// What is mixed for one purpose never agrees with what is mixed for another.
    pub(super) const fn new(purpose: u8) -> Self {
        let [a, b, ..] = PI;
        Self { a: a ^ purpose as u64, b }
    }

    /// Puts in bytes; where they end matters too.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let (chunks, rest) = bytes.as_chunks::<16>();
        for chunk in chunks {
            self = self.block(*chunk);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            self = self.block(last);
        }
        self.words(bytes.len() as u64, PI[2])
    }

    fn block(self, block: [u8; 16]) -> Self {
        let whole = u128::from_le_bytes(block);
        self.words(whole as u64, (whole >> 64) as u64)
    }

    fn words(self, x: u64, y: u64) -> Self {
        // Each word meets one half of what is there; a rotation keeps their order known.
        let mixed = fold(self.a ^ x, self.b ^ y ^ PI[3]);
        Self { a: mixed ^ self.b.rotate_left(23), b: mixed.rotate_left(31) ^ self.a ^ x }
    }

    /// `N` bytes that depend on all that was put in.
    pub(super) fn out<const N: usize>(self) -> [u8; N] {
        let mut out = [0; N];
        for (n, chunk) in (1u64..).zip(out.chunks_mut(8)) {
            let word =
                fold(self.a ^ n.wrapping_mul(PI[0]), self.b ^ PI[1]) ^ self.a.rotate_left(17);
            let word = fold(word ^ PI[2], n ^ PI[3]);
            for (to, from) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *to = from;
            }
        }
        out
    }
}
