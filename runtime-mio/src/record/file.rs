//! The file: a head, then blocks of items.
//!
//! ```text
//! head     "ramson\0R", then the number of the format in four bytes
//! block    length of the items   4 bytes
//!          checksum of the items 4 bytes
//!          checksum of these two 4 bytes
//!          items
//! ```
//!
//! Numbers are little-endian, checksums CRC-32. Each continues from the checksum before it, so that
//! a block in another place than it was written in is damage too. A block whose length is right and
//! whose end is missing was being written when the process was killed.

use super::codec::{Decoder, Malformed};
use super::item::{Item, Program};
use std::io::{self, Read};

const MAGIC: &[u8; 8] = b"ramson\0R";
/// The format of this file's items.
const FORMAT: u32 = 1;
/// Bytes of the head of the file.
pub(super) const FILE_HEAD: usize = 12;
/// Bytes of the head of a block.
pub(super) const BLOCK_HEAD: usize = 12;
/// The longest block, in bytes: what the recorder has in memory at most, and one item more.
pub(super) const MAX_BLOCK: usize = 64 << 20;

/// Why a recording cannot be played, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    #[error("not a recording of ramson")]
    Foreign,
    #[error("a recording in format {0}; this program plays format {FORMAT}")]
    Format(u32),
    #[error("recorded by ramson {0}; this is ramson {version}, and only the same version can play it", version = super::VERSION)]
    Version(String),
    #[error(
        "recorded by another build of ramson {version}, whose configuration has other keys; only that can play it",
        version = super::VERSION
    )]
    Build,
    #[error("ends before the start of the router was recorded")]
    NoStart,
    #[error("damaged at byte {offset}: {problem}")]
    Damaged { offset: u64, problem: &'static str },
}

/// Frames blocks.
pub(super) struct Framer {
    checksum: u32,
}

impl Framer {
    /// The head of a file.
    pub(super) fn start() -> (Self, [u8; FILE_HEAD]) {
        let [m0, m1, m2, m3, m4, m5, m6, m7] = *MAGIC;
        let [f0, f1, f2, f3] = FORMAT.to_le_bytes();
        (Self { checksum: 0 }, [m0, m1, m2, m3, m4, m5, m6, m7, f0, f1, f2, f3])
    }

    /// The head of a block with these items. `None` when they are too long for one.
    pub(super) fn head(&mut self, items: &[u8]) -> Option<[u8; BLOCK_HEAD]> {
        let len = u32::try_from(items.len()).ok().filter(|_| items.len() <= MAX_BLOCK)?;
        let checksum = continued(self.checksum, items);
        let [l0, l1, l2, l3] = len.to_le_bytes();
        let [c0, c1, c2, c3] = checksum.to_le_bytes();
        self.checksum = continued(checksum, &[l0, l1, l2, l3, c0, c1, c2, c3]);
        let [h0, h1, h2, h3] = self.checksum.to_le_bytes();
        Some([l0, l1, l2, l3, c0, c1, c2, c3, h0, h1, h2, h3])
    }
}

fn continued(checksum: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(checksum);
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads items. Memory: the longest block.
pub(super) struct Items<R> {
    from: R,
    /// Bytes read of it.
    offset: u64,
    checksum: u32,
    block: Vec<u8>,
    /// Where the items of `block` begin in the file.
    block_at: u64,
    /// Bytes of `block` that were taken.
    taken: usize,
    /// The time of the last item.
    last: u64,
    torn: Option<u64>,
}

impl<R: Read> Items<R> {
    /// Reads the head and the first item. Another format or version is refused.
    pub(super) fn open(from: R) -> Result<(Self, u64), RecordingError> {
        let mut items = Self {
            from,
            offset: 0,
            checksum: 0,
            block: Vec::new(),
            block_at: 0,
            taken: 0,
            last: 0,
            torn: None,
        };
        let head = items.read(FILE_HEAD)?;
        let Some((magic, format)) = head.split_first_chunk::<8>() else {
            return Err(RecordingError::Foreign);
        };
        if magic != MAGIC {
            return Err(RecordingError::Foreign);
        }
        let format = format.try_into().map(u32::from_le_bytes);
        match format {
            Ok(FORMAT) => {}
            Ok(other) => return Err(RecordingError::Format(other)),
            Err(_) => return Err(RecordingError::NoStart),
        }
        let build = match items.next()? {
            Some(Item::Program(Program { version, .. })) if version != super::VERSION => {
                return Err(RecordingError::Version(version.chars().take(64).collect()));
            }
            Some(Item::Program(Program { config, .. })) if config != super::config_format() => {
                return Err(RecordingError::Build);
            }
            Some(Item::Program(Program { build, .. })) => build,
            None => return Err(RecordingError::NoStart),
            Some(_) => return Err(items.damaged("it does not say who recorded")),
        };
        Ok((items, build))
    }

    /// The next item. `None` at the end of the file, torn or not.
    pub(super) fn next(&mut self) -> Result<Option<Item<'_>>, RecordingError> {
        if self.taken == self.block.len() && !self.next_block()? {
            return Ok(None);
        }
        let rest = self.block.get(self.taken..).unwrap_or_default();
        let mut decoder = Decoder::new(rest);
        let at = self.block_at + self.taken as u64;
        let item = Item::decode(&mut decoder, &mut self.last)
            .map_err(|Malformed(problem)| RecordingError::Damaged { offset: at, problem })?;
        self.taken += rest.len() - decoder.left();
        Ok(Some(item))
    }

    /// Where the file ends within a block, if it does.
    pub(super) const fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// That the item that was read last is wrong where it is.
    pub(super) const fn damaged(&self, problem: &'static str) -> RecordingError {
        RecordingError::Damaged { offset: self.block_at + self.taken as u64, problem }
    }

    /// Reads one block. `false` at the end.
    fn next_block(&mut self) -> Result<bool, RecordingError> {
        let start = self.offset;
        let damaged = |problem| RecordingError::Damaged { offset: start, problem };
        let head = self.read(BLOCK_HEAD)?;
        let Ok(head) = <[u8; BLOCK_HEAD]>::try_from(head) else {
            self.torn = (self.offset > start).then_some(start);
            return Ok(false);
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3, h0, h1, h2, h3] = head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        let head_checksum = continued(checksum, &[l0, l1, l2, l3, c0, c1, c2, c3]);
        if head_checksum != u32::from_le_bytes([h0, h1, h2, h3]) {
            return Err(damaged("the checksum of a block's length is wrong"));
        }
        if len > MAX_BLOCK {
            return Err(damaged("a block is too long"));
        }
        let before = self.checksum;
        self.block_at = self.offset;
        let items = self.read(len)?;
        if items.len() < len {
            self.torn = Some(start);
            return Ok(false);
        }
        if continued(before, &items) != checksum {
            return Err(damaged("the checksum of a block is wrong"));
        }
        if items.is_empty() {
            return Err(damaged("a block is empty"));
        }
        (self.checksum, self.block, self.taken) = (head_checksum, items, 0);
        Ok(true)
    }

    /// As many bytes, fewer only at the end; no more memory than there are.
    fn read(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let n = self.from.by_ref().take(len as u64).read_to_end(&mut bytes)?;
        self.offset += n as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::item::{Call, End, Outcome};
    use ramson_core::time::{Instant, UnixTime};

    fn program() -> Item<'static> {
        Item::Program(Program {
            version: crate::record::VERSION,
            config: crate::record::config_format(),
            build: 7,
        })
    }

    /// A file with each of these blocks.
    fn file(blocks: &[&[Item<'_>]]) -> Vec<u8> {
        let (mut framer, head) = Framer::start();
        let mut out = head.to_vec();
        let mut last = 0;
        for block in blocks {
            let mut items = Vec::new();
            for item in *block {
                item.encode(&mut items, &mut last).unwrap();
            }
            out.extend(framer.head(&items).unwrap());
            out.extend(items);
        }
        out
    }

    fn sample() -> Vec<u8> {
        let now = Instant::from_micros(1 << 40);
        let start = Call::Start { seed: &[7; 32], now, unix: UnixTime::from_secs(1 << 30) };
        file(&[
            &[program()],
            &[Item::Config { toml: "x", sessions: 3 }, Item::Call(start)],
            &[Item::Outcome(Outcome::Started([3; 32])), Item::Call(Call::PollAction)],
            &[Item::Outcome(Outcome::Action(None)), Item::End(End::Stopped)],
        ])
    }

    /// All items as text, and how it ends.
    fn read(bytes: &[u8]) -> (Vec<String>, Result<Option<u64>, RecordingError>) {
        let mut list = Vec::new();
        let mut items = match Items::open(bytes) {
            Ok((items, build)) => {
                assert_eq!(build, 7);
                items
            }
            Err(e) => return (list, Err(e)),
        };
        loop {
            match items.next() {
                Ok(Some(item)) => list.push(format!("{item:?}")),
                Ok(None) => break,
                Err(e) => return (list, Err(e)),
            }
        }
        (list, Ok(items.torn()))
    }

    #[test]
    fn what_was_written_is_read() {
        let (items, end) = read(&sample());
        assert_eq!(items.len(), 6);
        assert!(matches!(end, Ok(None)), "{end:?}");
    }

    #[test]
    fn a_cut_anywhere_leaves_what_came_before() {
        let whole = sample();
        let (all, _) = read(&whole);
        for len in 0..whole.len() {
            let (items, end) = read(&whole[..len]);
            assert_eq!(items, all[..items.len()], "{len}");
            match end {
                Ok(torn) => assert!(torn.is_none_or(|at| at < len as u64), "{len}"),
                Err(e) => {
                    let early = matches!(e, RecordingError::Foreign | RecordingError::NoStart);
                    assert!(early && items.is_empty(), "{len}: {e}");
                }
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_where_it_is() {
        let whole = sample();
        let (all, _) = read(&whole);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let (items, end) = read(&flipped);
                assert_eq!(items, all[..items.len()], "{at}.{bit}");
                let e = end.unwrap_err();
                match e {
                    RecordingError::Damaged { offset, .. } => {
                        assert!((FILE_HEAD as u64..=at as u64).contains(&offset), "{at}: {offset}");
                    }
                    RecordingError::Foreign => assert!(at < 8),
                    RecordingError::Format(_) => assert!((8..12).contains(&at)),
                    RecordingError::Io(_)
                    | RecordingError::Version(_)
                    | RecordingError::Build
                    | RecordingError::NoStart => panic!("{at}.{bit}: {e}"),
                }
            }
        }
    }

    #[test]
    fn blocks_that_changed_places_or_are_missing_are_damage() {
        let block = |text| [Item::Config { toml: text, sessions: 1 }];
        let whole = file(&[&[program()], &block("a"), &block("b"), &block("c")]);
        let len = BLOCK_HEAD + 4;
        let blocks = whole.len() - 3 * len;
        let (head, tail) = whole.split_at(blocks);
        let [a, b, c] = [&tail[..len], &tail[len..2 * len], &tail[2 * len..]];
        for order in [[b, a, c], [a, c, b], [a, a, b]] {
            assert!(read(&[head, &order.concat()].concat()).1.is_err());
        }
        assert!(read(&[head, a, c].concat()).1.is_err());
        assert_eq!(read(&[head, a, b, c].concat()).0.len(), 3);
    }

    #[test]
    fn other_formats_versions_and_configurations_are_refused() {
        let refused = |bytes: &[u8]| read(bytes).1.unwrap_err().to_string();
        let mut format = sample();
        format[8] = 2;
        assert_eq!(refused(&format), "a recording in format 2; this program plays format 1");
        let by = |version, config| {
            refused(&file(&[&[Item::Program(Program { version, config, build: 0 })]]))
        };
        let version = crate::record::VERSION;
        assert!(by("0.0.9", 0).starts_with("recorded by ramson 0.0.9; this is ramson "));
        assert!(by(version, 1).starts_with("recorded by another build of ramson "));
        assert_eq!(refused(b"PK\x03\x04 and more"), "not a recording of ramson");
        assert_eq!(refused(b""), "not a recording of ramson");
        let no_program = file(&[&[Item::End(End::Stopped)]]);
        assert!(refused(&no_program).contains("does not say who recorded"));
    }

    #[test]
    fn a_length_that_is_not_there_takes_no_memory() {
        let (_, head) = Framer::start();
        let len = (MAX_BLOCK as u32).to_le_bytes();
        let first = [&len[..], &[0; 4]].concat();
        let check = continued(0, &first).to_le_bytes();
        let short = [&head[..], &first, &check, b"abc"].concat();
        let (_, end) = read(&short);
        assert!(matches!(end, Err(RecordingError::NoStart)), "{end:?}");
        let len = (MAX_BLOCK as u32 + 1).to_le_bytes();
        let first = [&len[..], &[0; 4]].concat();
        let check = continued(0, &first).to_le_bytes();
        let long = [&head[..], &first, &check, b"abc"].concat();
        assert!(read(&long).1.unwrap_err().to_string().contains("too long"));
    }
}
