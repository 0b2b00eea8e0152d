//! Everything compressed. Nothing larger than asked for may come out.

use super::input::Input;
use ramson_core::wire::codec::DecodeError;
use ramson_core::wire::gzip;
use ramson_core::wire::payload::{MAX_PAYLOAD_LEN, Payload};
use ramson_core::wire::zip::Archive;

/// The first two bytes are the limit.
pub fn gunzip(data: &[u8]) {
    let mut input = Input::new(data);
    let max = usize::from(input.u16());
    let bytes = input.rest();
    if let Ok(out) = gzip::gunzip(bytes, max) {
        assert!(out.len() <= max);
        if let Some(less) = out.len().checked_sub(1) {
            assert_eq!(gzip::gunzip(bytes, less), Err(DecodeError::TooLarge("gzip content")));
        }
        assert_eq!(gzip::gunzip(&gzip::gzip(&out), max), Ok(out));
    }
}

/// The first two bytes are the limit.
pub fn inflate(data: &[u8]) {
    let mut input = Input::new(data);
    let max = usize::from(input.u16());
    let bytes = input.rest();
    if let Ok(out) = gzip::inflate(bytes, max) {
        assert!(out.len() <= max);
        assert_eq!(gzip::inflate(bytes, max + 1000).as_ref(), Ok(&out));
        if let Some(less) = out.len().checked_sub(1) {
            assert!(gzip::inflate(bytes, less).is_err());
        }
    }
    let deflated = gzip::deflate(bytes);
    assert_eq!(gzip::inflate(&deflated, bytes.len()).as_deref(), Ok(bytes));
}

/// Entries of an archive, each read with a limit.
pub fn zip_archive(data: &[u8]) {
    const MAX: usize = 4096;
    let Ok(archive) = Archive::new(data) else { return };
    let (mut total, mut entries) = (0, 0);
    for entry in archive.entries() {
        entries += 1;
        if let Ok(content) = entry.read(MAX) {
            assert!(content.len() == entry.size() && content.len() <= MAX);
            total += content.len();
        }
    }
    assert!(entries <= archive.len());
    // Deflate yields at most 1,032 for one, and no two entries share their bytes.
    assert!(total <= data.len() * 1032);
}

/// The gzip container of the client protocols.
pub fn payload(data: &[u8]) {
    let Ok(payload) = Payload::decode(data) else { return };
    assert!(payload.data.len() <= MAX_PAYLOAD_LEN);
    let mut stored = Vec::new();
    payload.encode(&mut stored);
    assert_eq!(Payload::decode(&stored).as_ref(), Ok(&payload));
    let mut compressed = Vec::new();
    payload.encode_compressed(&mut compressed);
    assert_eq!(Payload::decode(&compressed), Ok(payload));
}
