//! The parts of a SessionConfirmed in several packets (specification `ssu2`, Session Confirmed Fragmentation).

use crate::wire::router_info::MAX_ROUTER_INFO_LEN;
use crate::wire::ssu2::Fragment;
use alloc::vec::Vec;

/// Part of a sealed payload.
pub(super) struct Piece {
    pub(super) part: Fragment,
    pub(super) bytes: Vec<u8>,
}

/// Parts in the order in which they came, several of one number where they differ.
#[derive(Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Pieces {
    /// The most bytes of all of them: a RouterInfo as large as any, and other blocks. As many parts of the usual
    /// size are room for two forgeries beside a SessionConfirmed of two packets.
    pub(super) const MAX_KEPT: usize = MAX_ROUTER_INFO_LEN + 1024;
    /// The most parts of one SessionConfirmed: as many packets of the least MTU have room for that.
    pub(super) const MAX_TOTAL: usize = 5;
    /// The most parts that are kept, so that there are never more than 12 ways to put them together.
    const MAX_COUNT: usize = 8;

    /// Bytes of all of them.
    pub(super) fn kept(&self) -> usize {
        self.0.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Keeps a piece, and forgets the oldest ones when there is no room. Returns where it is; `None` when it is
    /// here already, or larger than all may be.
    pub(super) fn keep(&mut self, piece: Piece) -> Option<usize> {
        let same = |old: &Piece| old.part == piece.part && old.bytes == piece.bytes;
        if piece.bytes.len() > Self::MAX_KEPT || self.0.iter().any(same) {
            return None;
        }
        while self.0.len() >= Self::MAX_COUNT || self.kept() + piece.bytes.len() > Self::MAX_KEPT {
            self.0.remove(self.oldest(piece.part));
        }
        self.0.push(piece);
        Some(self.0.len() - 1)
    }

    /// The oldest one of those whose number has most, `new` included.
    fn oldest(&self, new: Fragment) -> usize {
        let rivals = |part: Fragment| {
            let kept = self.0.iter().filter(|piece| piece.part == part).count();
            kept + usize::from(part == new)
        };
        let most = self.0.iter().map(|piece| rivals(piece.part)).max();
        self.0.iter().position(|piece| Some(rivals(piece.part)) == most).unwrap_or(0)
    }

    /// What `open` makes of the first way to put all parts together, that of number `newest` among them, with
    /// which it does not give up.
    pub(super) fn assemble<T>(
        &self,
        newest: usize,
        mut open: impl FnMut(&mut [u8]) -> Option<T>,
    ) -> Option<T> {
        let newest = self.0.get(newest)?;
        let total = newest.part.total();
        let mut choices: Vec<Vec<&Piece>> = Vec::with_capacity(total.into());
        for number in 0..total {
            let fits = |piece: &&Piece| {
                let part = piece.part;
                (part.number(), part.total()) == (number, total) && part != newest.part
            };
            choices.push(if number == newest.part.number() {
                [newest].into()
            } else {
                // The newest first: it is the likeliest to be of the same try.
                self.0.iter().rev().filter(fits).collect()
            });
        }
        let ways = choices.iter().map(Vec::len).product::<usize>();
        for way in 0..ways {
            let mut left = way;
            let mut whole = Vec::with_capacity(Self::MAX_KEPT);
            for choice in &choices {
                // No number is without one, or there would be no way.
                let at = left % choice.len().max(1);
                left /= choice.len().max(1);
                whole.extend_from_slice(choice.get(at).map_or(&[], |piece| &piece.bytes));
            }
            if let Some(opened) = open(&mut whole) {
                return Some(opened);
            }
        }
        None
    }
}
