//! Gzip (RFC 1952) and raw deflate (RFC 1951), always bounded.

use super::codec::{DecodeError, Put, Reader};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// How hard to compress: RouterInfos are made rarely and sent often.
const LEVEL: u8 = 9;
/// The most that one stored deflate block holds.
const STORED_MAX: usize = u16::MAX as usize;

/// Decompresses one gzip member that fills `bytes`; header, CRC and size are checked. At most
/// `max` bytes come out, and more are never allocated.
pub fn gunzip(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    let mut r = Reader::new(bytes);
    Header::decode(&mut r)?;
    body(r.rest(), max)
}

/// Compresses into one gzip member with the header that hides the system it was made on
/// (specification `i2np`, DatabaseStore).
#[must_use]
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / 2 + 32);
    put_member(&Header::default(), &deflate(data), data, &mut out);
    out
}

/// Decompresses raw deflate data that fills `bytes` into at most `max` bytes.
pub fn inflate(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    // Deflate makes at most 1,032 bytes from one: the first guess is generous, then double.
    let mut size = bytes.len().saturating_mul(4).clamp(64, 1 << 16).min(max);
    loop {
        match inflate_sized(bytes, size) {
            Err(DecodeError::TooLarge(_)) if size < max => size = size.saturating_mul(4).min(max),
            other => return other,
        }
    }
}

/// Compresses into raw deflate data.
#[must_use]
pub fn deflate(data: &[u8]) -> Vec<u8> {
    compress_to_vec(data, LEVEL)
}

/// The fields of a gzip header that I2P gives meanings to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Modification time, as the four bytes it is.
    pub(crate) mtime: [u8; 4],
    /// Extra flags: 2 says "compressed hard".
    pub(crate) xfl: u8,
    /// Operating system: 255 says "unknown".
    pub(crate) os: u8,
}

impl Default for Header {
    fn default() -> Self {
        Self { mtime: [0; 4], xfl: 2, os: 0xff }
    }
}

impl Header {
    /// Reads the header with all its optional parts.
    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const HEADER_CRC: u8 = 2;
        const EXTRA: u8 = 4;
        const NAME: u8 = 8;
        const COMMENT: u8 = 16;
        if r.array()? != [0x1f, 0x8b, 8] {
            return Err(DecodeError::Invalid("gzip header"));
        }
        let flags = r.u8()?;
        let header = Self { mtime: r.array()?, xfl: r.u8()?, os: r.u8()? };
        if flags & !0x1f != 0 {
            return Err(DecodeError::Invalid("gzip flags"));
        }
        if flags & EXTRA != 0 {
            let len = u16::from_le_bytes(r.array()?);
            r.take(len.into())?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                while r.u8()? != 0 {}
            }
        }
        if flags & HEADER_CRC != 0 {
            r.u16()?;
        }
        Ok(header)
    }

    fn encode(self, out: &mut Vec<u8>) {
        out.put(&[0x1f, 0x8b, 8, 0]);
        out.put(&self.mtime);
        out.put(&[self.xfl, self.os]);
    }
}

/// What follows a gzip header: deflate data, CRC-32 and size.
pub(crate) fn body(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    let (deflated, trailer) = bytes.split_last_chunk::<8>().ok_or(DecodeError::Truncated)?;
    let [c0, c1, c2, c3, s0, s1, s2, s3] = *trailer;
    let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
    if size > max {
        return Err(DecodeError::TooLarge("gzip content"));
    }
    // The trailer tells the size, so that one allocation is enough; a lie ends as `TooLarge`.
    let out = match inflate_stored(deflated, size) {
        Some(out) => out,
        None => inflate_sized(deflated, size)?,
    };
    if out.len() != size {
        return Err(DecodeError::Invalid("gzip size"));
    }
    if crc32fast::hash(&out) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(DecodeError::Invalid("gzip CRC"));
    }
    Ok(out)
}

/// Appends a gzip member: `deflated` is the compressed form of `data`.
pub(crate) fn put_member(header: &Header, deflated: &[u8], data: &[u8], out: &mut Vec<u8>) {
    header.encode(out);
    out.put(deflated);
    put_trailer(data, out);
}

/// As [`put_member`], with `data` in stored blocks: costs five bytes and no time.
pub(crate) fn put_stored_member(header: &Header, data: &[u8], out: &mut Vec<u8>) {
    header.encode(out);
    let mut rest = data;
    loop {
        let (block, tail) = rest.split_at_checked(STORED_MAX).unwrap_or((rest, &[]));
        let len = block.len() as u16;
        out.put_u8(u8::from(tail.is_empty()));
        out.put(&len.to_le_bytes());
        out.put(&(!len).to_le_bytes());
        out.put(block);
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    put_trailer(data, out);
}

fn put_trailer(data: &[u8], out: &mut Vec<u8>) {
    out.put(&crc32fast::hash(data).to_le_bytes());
    out.put(&(data.len() as u32).to_le_bytes());
}

/// The content of `bytes` when all its blocks are stored and hold `size` bytes: most payloads are
/// such, and need no decoder with its tables. `None` when the decoder has to look at it.
fn inflate_stored(bytes: &[u8], size: usize) -> Option<Vec<u8>> {
    const FINAL: u8 = 1;
    const TYPE: u8 = 6;
    let mut r = Reader::new(bytes);
    let mut out = Vec::new();
    loop {
        let header = r.u8().ok()?;
        let len = u16::from_le_bytes(r.array().ok()?);
        let check = u16::from_le_bytes(r.array().ok()?);
        if header & TYPE != 0 || check != !len || out.len() + usize::from(len) > size {
            return None;
        }
        out.reserve_exact(size - out.len());
        out.put(r.take(len.into()).ok()?);
        if header & FINAL != 0 {
            return (r.is_empty() && out.len() == size).then_some(out);
        }
    }
}

/// Inflates into at most `size` bytes; [`DecodeError::TooLarge`] when there is more.
fn inflate_sized(bytes: &[u8], size: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; size];
    let mut state = Box::<DecompressorOxide>::default();
    let (status, read, written) =
        decompress(&mut state, bytes, &mut out, 0, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    match status {
        TINFLStatus::Done if read == bytes.len() => {
            out.truncate(written);
            Ok(out)
        }
        TINFLStatus::Done => Err(DecodeError::Trailing),
        TINFLStatus::HasMoreOutput => Err(DecodeError::TooLarge("deflated content")),
        TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
            Err(DecodeError::Truncated)
        }
        TINFLStatus::Failed | TINFLStatus::BadParam | TINFLStatus::Adler32Mismatch => {
            Err(DecodeError::Invalid("deflate"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `gzip -9 -n` of "hello hello hello hello\n", made with GNU gzip.
    const GNU: &[u8] = &[
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9,
        0x57, 0xc8, 0x40, 0x27, 0xb9, 0x00, 0x00, 0x88, 0x59, 0x0b, 0x18, 0x00, 0x00, 0x00,
    ];

    #[test]
    fn reads_what_gnu_gzip_writes() {
        assert_eq!(gunzip(GNU, 24).unwrap(), b"hello hello hello hello\n");
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| ((i * i) >> 4) as u8).collect()
    }

    #[test]
    fn round_trips_at_every_kind_of_size() {
        for len in [0, 1, 100, 4096, 65_535, 65_536, 200_000] {
            let data = pattern(len);
            assert_eq!(gunzip(&gzip(&data), len).unwrap(), data);
            assert_eq!(inflate(&deflate(&data), len).unwrap(), data);
            let mut stored = Vec::new();
            put_stored_member(&Header::default(), &data, &mut stored);
            assert_eq!(gunzip(&stored, len).unwrap(), data);
        }
    }

    #[test]
    fn stored_blocks_mixed_with_others_are_read() {
        // A stored block that is not the last one, then compressed ones.
        let data = b"stored, then compressed compressed compressed";
        let (head, tail) = data.split_at(8);
        let mut blocks = vec![0];
        blocks.put(&[8, 0, 0xf7, 0xff]);
        blocks.put(head);
        blocks.put(&deflate(tail));
        let mut member = Vec::new();
        put_member(&Header::default(), &blocks, data, &mut member);
        assert_eq!(gunzip(&member, data.len()).unwrap(), data);
    }

    #[test]
    fn the_header_tells_nothing_about_us() {
        assert_eq!(gzip(b"x")[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff]);
    }

    #[test]
    fn optional_header_parts_are_passed_over() {
        let plain = gzip(b"content");
        let mut full = plain[..10].to_vec();
        full[3] = 0x1f;
        full.extend_from_slice(b"\x03\x00abcname\0comment\0\x12\x34");
        full.extend_from_slice(&plain[10..]);
        assert_eq!(gunzip(&full, 7).unwrap(), b"content");
        for cut in 0..full.len() {
            assert!(gunzip(&full[..cut], 7).is_err(), "{cut}");
        }
        full[3] = 0x20;
        assert_eq!(gunzip(&full, 7), Err(DecodeError::Invalid("gzip flags")));
    }

    #[test]
    fn bombs_are_refused_before_they_grow() {
        let bomb = gzip(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2000);
        let too_large = |r: Result<Vec<u8>, _>| matches!(r, Err(DecodeError::TooLarge(_)));
        assert!(too_large(gunzip(&bomb, (1 << 20) - 1)));
        let raw = deflate(&vec![0; 1 << 20]);
        assert!(too_large(inflate(&raw, (1 << 20) - 1)));
        assert!(inflate(&raw, 1 << 20).is_ok());
        assert!(inflate(&raw, usize::MAX).is_ok());
        // A trailer that says less than there is.
        let mut lie = bomb.clone();
        let at = lie.len() - 4;
        lie[at..].copy_from_slice(&10_u32.to_le_bytes());
        assert!(too_large(gunzip(&lie, 1 << 21)));
        // And one that says more.
        lie[at..].copy_from_slice(&((1 << 20) + 1_u32).to_le_bytes());
        assert_eq!(gunzip(&lie, 1 << 21), Err(DecodeError::Invalid("gzip size")));
    }

    #[test]
    fn every_cut_and_trailing_byte_is_refused_and_no_change_yields_other_data() {
        for member in [gzip(b"hello hello hello"), {
            let mut stored = Vec::new();
            put_stored_member(&Header::default(), b"hello hello hello", &mut stored);
            stored
        }] {
            for cut in 0..member.len() {
                assert!(gunzip(&member[..cut], 100).is_err(), "{cut}");
            }
            assert!(gunzip(&[&member[..], &[0]].concat(), 100).is_err());
            for at in (0..3).chain(10..member.len()) {
                let mut bad = member.clone();
                bad[at] ^= 0x10;
                // Deflate has some bits that nobody reads.
                let got = gunzip(&bad, 100);
                assert!(got.is_err() || got == Ok(b"hello hello hello".to_vec()), "{at}");
            }
        }
        let raw = deflate(b"x");
        assert_eq!(inflate(&[&raw[..], &[0]].concat(), 10), Err(DecodeError::Trailing));
    }
}
