//! What the site's downloads are made of: every byte known by its place, so that who gets them can
//! check each without a copy, and with no period that would hide a piece in the wrong place.

/// Bytes made at once.
const WORD: u64 = 8;

/// Fills `out` with what stands from `offset` on.
pub(super) fn fill(offset: u64, out: &mut [u8]) {
    let mut at = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let skip = usize::try_from(at % WORD).unwrap_or(0);
        let word = word(at / WORD);
        let have = word.get(skip..).unwrap_or_default();
        let n = have.len().min(rest.len());
        let (now, later) = rest.split_at_mut(n);
        now.copy_from_slice(have.get(..n).unwrap_or_default());
        at += n as u64;
        rest = later;
    }
}

/// Compares what arrives, piece by piece, with what it should be.
pub(super) struct Checker {
    got: u64,
    right: bool,
    scratch: Vec<u8>,
}

impl Checker {
    pub(super) fn new() -> Self {
        Self { got: 0, right: true, scratch: Vec::new() }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.scratch.resize(bytes.len(), 0);
        fill(self.got, &mut self.scratch);
        self.right &= self.scratch == bytes;
        self.got += bytes.len() as u64;
    }

    /// Whether it was exactly the first `len` bytes.
    pub(super) fn is_right(&self, len: u64) -> bool {
        self.right && self.got == len
    }
}

/// Eight bytes of `SplitMix64`.
fn word(n: u64) -> [u8; 8] {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_the_whole_is() {
        let mut whole = vec![0; 1000];
        fill(0, &mut whole);
        for (from, to) in [(0, 1), (0, 8), (3, 3), (5, 9), (7, 999), (992, 1000)] {
            let mut piece = vec![0; to - from];
            fill(from as u64, &mut piece);
            assert_eq!(piece, whole[from..to], "{from}..{to}");
        }
    }

    #[test]
    fn one_wrong_missing_or_additional_byte_shows() {
        let mut whole = vec![0; 100];
        fill(0, &mut whole);
        let is_right = |pieces: &[&[u8]], len| {
            let mut checker = Checker::new();
            pieces.iter().for_each(|piece| checker.take(piece));
            checker.is_right(len)
        };
        assert!(is_right(&[&whole[..37], &[], &whole[37..]], 100));
        assert!(!is_right(&[&whole[..99]], 100));
        assert!(!is_right(&[&whole], 99));
        assert!(!is_right(&[&whole[50..], &whole[..50]], 100));
        whole[71] ^= 1;
        assert!(!is_right(&[&whole], 100));
    }
}
