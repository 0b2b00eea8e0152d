//! What the sites of tests serve.

/// Byte `i` of the test content; not periodic in any packet size.
#[must_use]
pub fn content_byte(i: usize) -> u8 {
    let x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x >> 56) as u8
}

/// The first `n` bytes of the test content.
#[must_use]
pub fn content(n: usize) -> Vec<u8> {
    (0..n).map(content_byte).collect()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
