//! Zip archives (PKWARE APPNOTE 6.3), as reseed bundles use them: stored and deflated entries, no
//! encryption, no parts, no 64-bit sizes.

use super::codec::{DecodeError, Reader};
use super::gzip;
use alloc::vec::Vec;

const LOCAL: [u8; 4] = *b"PK\x03\x04";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
/// Bytes of the end record without its comment.
const END_LEN: usize = 22;
/// The longest comment.
const MAX_COMMENT_LEN: usize = 65_535;

/// An archive: its directory is known to be well formed.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    bytes: &'a [u8],
    directory: &'a [u8],
    count: u16,
}

/// One entry of an archive, not decompressed yet.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its path, with `/` between the parts. Never to be used as a path of ours.
    pub name: &'a str,
    archive: &'a [u8],
    flags: u16,
    method: u16,
    crc: u32,
    compressed: usize,
    size: usize,
    offset: usize,
}

impl<'a> Archive<'a> {
    /// Finds and checks the directory; nothing is decompressed. Entries that share bytes, as bombs
    /// make them, are refused.
    pub fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (before, mut end) = find_end(bytes).ok_or(DecodeError::Invalid("zip end record"))?;
        let [disk, directory_disk] = [u16le(&mut end)?, u16le(&mut end)?];
        let [here, count] = [u16le(&mut end)?, u16le(&mut end)?];
        let size = u32le(&mut end)?;
        let offset = u32le(&mut end)?;
        if disk != 0 || directory_disk != 0 || here != count {
            return Err(DecodeError::Invalid("zip in parts"));
        }
        let (_, directory) = before.split_at_checked(offset).ok_or(DecodeError::Truncated)?;
        if directory.len() != size {
            return Err(DecodeError::Invalid("zip directory"));
        }
        let archive = Self { bytes, directory, count };
        let mut r = Reader::new(directory);
        let mut total = 0usize;
        for _ in 0..count {
            total = total.saturating_add(Record::decode(&mut r)?.compressed);
        }
        r.finish()?;
        if total > bytes.len() {
            return Err(DecodeError::Invalid("zip entries"));
        }
        Ok(archive)
    }

    /// How many entries there are, at most 65,535.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// True when there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries whose names are UTF-8, in the order of the directory.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let archive = self.bytes;
        let mut r = Reader::new(self.directory);
        // The directory was walked once, so it ends where it should.
        let records = core::iter::from_fn(move || Record::decode(&mut r).ok());
        records.filter_map(move |record| {
            Some(Entry {
                name: core::str::from_utf8(record.name).ok()?,
                archive,
                flags: record.flags,
                method: record.method,
                crc: record.crc,
                compressed: record.compressed,
                size: record.size,
                offset: record.offset,
            })
        })
    }
}

impl Entry<'_> {
    /// Its size, as the directory tells.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The content, at most `max` bytes; size and CRC are checked.
    pub fn read(&self, max: usize) -> Result<Vec<u8>, DecodeError> {
        const ENCRYPTED: u16 = 1;
        if self.flags & ENCRYPTED != 0 {
            return Err(DecodeError::Invalid("zip encryption"));
        }
        if self.size > max {
            return Err(DecodeError::TooLarge("zip entry"));
        }
        let (_, local) =
            self.archive.split_at_checked(self.offset).ok_or(DecodeError::Truncated)?;
        let mut r = Reader::new(local);
        if r.array()? != LOCAL {
            return Err(DecodeError::Invalid("zip entry"));
        }
        // Everything else stands in the directory too, and is reliable only there.
        r.take(22)?;
        let (name, extra) = (u16le(&mut r)?, u16le(&mut r)?);
        r.take(name.into())?;
        r.take(extra.into())?;
        let data = r.take(self.compressed)?;
        let content = match self.method {
            0 => data.to_vec(),
            8 => gzip::inflate(data, self.size)?,
            _ => return Err(DecodeError::Invalid("zip method")),
        };
        if content.len() != self.size {
            return Err(DecodeError::Invalid("zip size"));
        }
        if crc32fast::hash(&content) != self.crc {
            return Err(DecodeError::Invalid("zip CRC"));
        }
        Ok(content)
    }
}

/// A record of the directory.
struct Record<'a> {
    flags: u16,
    method: u16,
    crc: u32,
    compressed: usize,
    size: usize,
    name: &'a [u8],
    offset: usize,
}

impl<'a> Record<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if r.array()? != CENTRAL {
            return Err(DecodeError::Invalid("zip directory"));
        }
        // Versions.
        r.take(4)?;
        let (flags, method) = (u16le(r)?, u16le(r)?);
        // Time and date.
        r.take(4)?;
        let crc = u32::from_le_bytes(r.array()?);
        let (compressed, size) = (u32le(r)?, u32le(r)?);
        let (name, extra, comment) = (u16le(r)?, u16le(r)?, u16le(r)?);
        // Disk and attributes.
        r.take(8)?;
        let offset = u32le(r)?;
        let name = r.take(name.into())?;
        r.take(usize::from(extra) + usize::from(comment))?;
        Ok(Self { flags, method, crc, compressed, size, name, offset })
    }
}

/// What is before the end record, and the record after its mark. Its comment must end with the
/// archive.
fn find_end(bytes: &[u8]) -> Option<(&[u8], Reader<'_>)> {
    for comment in 0..=MAX_COMMENT_LEN {
        let at = bytes.len().checked_sub(END_LEN + comment)?;
        let (before, end) = bytes.split_at_checked(at)?;
        let (record, _) = end.split_first_chunk::<END_LEN>()?;
        let [m0, m1, m2, m3, .., low, high] = *record;
        if [m0, m1, m2, m3] == END && usize::from(u16::from_le_bytes([low, high])) == comment {
            let (_, fields) = end.split_first_chunk::<4>()?;
            return Some((before, Reader::new(fields)));
        }
    }
    None
}

fn u16le(r: &mut Reader<'_>) -> Result<u16, DecodeError> {
    r.array().map(u16::from_le_bytes)
}

/// A size or an offset.
fn u32le(r: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let value = r.array().map(u32::from_le_bytes)?;
    usize::try_from(value).map_err(|_| DecodeError::TooLarge("zip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's `zipfile`: `stored.dat` stored, `routerInfo-x.dat` deflated (1,000 times
    /// the letter A), `streamed.dat` deflated with its sizes after it, and a comment.
    const ARCHIVE: &[u8] = include_bytes!("../../../tests/vectors/python.zip");

    fn named<'a>(archive: &Archive<'a>, name: &str) -> Entry<'a> {
        archive.entries().find(|e| e.name == name).unwrap()
    }

    #[test]
    fn entries_are_listed_and_read() {
        let archive = Archive::new(ARCHIVE).unwrap();
        let names: Vec<_> = archive.entries().map(|e| e.name).collect();
        assert_eq!(names, ["stored.dat", "routerInfo-x.dat", "streamed.dat"]);
        assert_eq!((archive.len(), archive.is_empty()), (3, false));
        assert_eq!(named(&archive, "stored.dat").read(11).unwrap(), b"stored data");
        assert_eq!(named(&archive, "routerInfo-x.dat").read(1000).unwrap(), [b'A'; 1000]);
        assert_eq!(
            named(&archive, "streamed.dat").read(100).unwrap(),
            b"streamed streamed streamed"
        );
    }

    #[test]
    fn nothing_larger_than_asked_for_comes_out() {
        let archive = Archive::new(ARCHIVE).unwrap();
        for entry in archive.entries() {
            assert!(entry.read(entry.size()).is_ok());
            assert_eq!(entry.read(entry.size() - 1), Err(DecodeError::TooLarge("zip entry")));
        }
        // A directory that lies about the size.
        let mut lie = ARCHIVE.to_vec();
        let at = lie.windows(4).position(|w| w == 1000_u32.to_le_bytes()).unwrap();
        assert!(lie.windows(4).skip(at + 1).filter(|w| *w == 1000_u32.to_le_bytes()).count() == 1);
        let at = lie.windows(4).rposition(|w| w == 1000_u32.to_le_bytes()).unwrap();
        lie[at..at + 4].copy_from_slice(&10_u32.to_le_bytes());
        let archive = Archive::new(&lie).unwrap();
        let got = named(&archive, "routerInfo-x.dat").read(1 << 20);
        assert_eq!(got, Err(DecodeError::TooLarge("deflated content")));
    }

    #[test]
    fn every_cut_is_refused() {
        for cut in 0..ARCHIVE.len() {
            assert!(Archive::new(&ARCHIVE[..cut]).is_err(), "{cut}");
        }
        assert!(Archive::new(&[ARCHIVE, b"x"].concat()).is_err());
    }

    #[test]
    fn no_changed_byte_yields_other_content_or_panics() {
        let original = Archive::new(ARCHIVE).unwrap();
        let contents: Vec<_> = original.entries().map(|e| e.read(1000)).collect();
        for at in 0..ARCHIVE.len() {
            let mut bad = ARCHIVE.to_vec();
            bad[at] ^= 0xff;
            let Ok(archive) = Archive::new(&bad) else { continue };
            for content in archive.entries().filter_map(|e| e.read(1000).ok()) {
                assert!(contents.contains(&Ok(content)), "{at}");
            }
        }
    }

    #[test]
    fn entries_that_share_their_bytes_are_refused() {
        // The same record some times, all pointing to one entry.
        let archive = Archive::new(ARCHIVE).unwrap();
        let mut r = Reader::new(archive.directory);
        Record::decode(&mut r).unwrap();
        let first = &archive.directory[..archive.directory.len() - r.remaining()];
        let offset = ARCHIVE.len() - archive.directory.len() - END_LEN - 7;
        let build = |n: u16| {
            let mut bytes = ARCHIVE[..offset].to_vec();
            for _ in 0..n {
                bytes.extend_from_slice(first);
            }
            bytes.extend_from_slice(&END);
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&n.to_le_bytes());
            bytes.extend_from_slice(&n.to_le_bytes());
            bytes.extend_from_slice(&(u32::from(n) * first.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(offset as u32).to_le_bytes());
            bytes.extend_from_slice(&[0; 2]);
            // Each claims a quarter of the archive.
            let size = u32::try_from(bytes.len()).unwrap();
            for i in 0..usize::from(n) {
                let at = offset + i * first.len() + 20;
                bytes[at..at + 4].copy_from_slice(&(size / 4).to_le_bytes());
            }
            bytes
        };
        assert!(Archive::new(&build(3)).is_ok());
        let got = Archive::new(&build(5)).map(|_| ());
        assert_eq!(got, Err(DecodeError::Invalid("zip entries")));
    }

    #[test]
    fn an_empty_archive_has_no_entries() {
        let mut bytes = END.to_vec();
        bytes.resize(END_LEN, 0);
        let archive = Archive::new(&bytes).unwrap();
        assert!(archive.is_empty());
        assert_eq!(archive.entries().count(), 0);
    }
}
