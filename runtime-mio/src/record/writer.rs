//! Writes blocks to the file of a recording, and makes room for them.

use super::Start;
use super::file::{BLOCK_HEAD, FILE_HEAD, Framer};
use super::folder::Older;
use super::item::Item;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};

/// Items of the start that are put into one block, in bytes.
const BLOCK: usize = 1 << 20;

pub(super) struct Writer {
    file: File,
    framer: Framer,
    older: Older,
    len: u64,
    limit: u64,
}

impl Writer {
    /// Bytes that [`Self::start`] writes at most.
    pub(super) fn start_len(start: &Start<'_>) -> u64 {
        let (mut item_bytes, mut last, mut len) = (Vec::new(), 0, FILE_HEAD as u64);
        let Ok(()) = start.each(|item| {
            item_bytes.clear();
            encode(&item, &mut item_bytes, &mut last);
            len += (item_bytes.len() + BLOCK_HEAD) as u64;
            Ok::<_, Infallible>(())
        });
        len
    }

    /// Writes how a router starts, and gives the time of that. `limit`: bytes of this file and the
    /// older ones, which make room for it.
    pub(super) fn start(
        file: File,
        older: Older,
        limit: u64,
        start: &Start<'_>,
    ) -> io::Result<(Self, u64)> {
        let (framer, head) = Framer::start();
        let mut writer = Self { file, framer, older, len: 0, limit };
        writer.append(&[&head])?;
        let (mut items, mut last) = (Vec::new(), 0);
        start.each(|item| {
            encode(&item, &mut items, &mut last);
            // The first says who recorded, and is read before all else.
            if items.len() >= BLOCK || matches!(item, Item::Program(_)) {
                writer.block(&items)?;
                items.clear();
            }
            Ok::<_, io::Error>(())
        })?;
        if !items.is_empty() {
            writer.block(&items)?;
        }
        Ok((writer, last))
    }

    /// Bytes of the file.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that this one may have; the other half is for those before.
    pub(super) const fn limit(&self) -> u64 {
        self.limit / 2
    }

    /// Appends items as a block; there must be some.
    pub(super) fn block(&mut self, items: &[u8]) -> io::Result<()> {
        let head =
            self.framer.head(items).ok_or_else(|| io::Error::other("a block is too long"))?;
        self.append(&[&head, items])
    }

    /// All of it, or the file is as before.
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.older.shrink(self.limit.saturating_sub(self.len.saturating_add(len)))?;
        let written = parts.iter().try_for_each(|part| self.file.write_all(part));
        match written {
            Ok(()) => self.len += len,
            // Otherwise its end is torn, which does no harm either.
            Err(_) => drop(self.file.set_len(self.len)),
        }
        written
    }
}

/// Of inputs some may be unknown to a recording; a start has none of these.
fn encode(item: &Item<'_>, out: &mut Vec<u8>, last: &mut u64) {
    let known = item.encode(out, last);
    debug_assert!(known.is_some(), "the start of a router has an item that cannot be written");
}
