//! Reads the PNG files that a browser makes of a page, and checks them while it does.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use std::collections::BTreeMap;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Red, green, blue.
pub type Colour = [u8; 3];

/// A picture without its transparency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row from the top.
    pub pixels: Vec<Colour>,
}

impl Picture {
    /// Reads a whole file: 8 bits a channel, with or without transparency, not interlaced.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(file: &[u8]) -> Result<Self, String> {
        let mut rest = file.strip_prefix(SIGNATURE).ok_or("not a PNG file")?;
        let (mut header, mut packed) = (None, Vec::new());
        loop {
            let (kind, data, after) = chunk(rest)?;
            rest = after;
            match kind {
                b"IHDR" => header = Some(data),
                b"IDAT" => packed.extend_from_slice(data),
                b"IEND" => break,
                _ => {}
            }
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes after the end", rest.len()));
        }
        let header: &[u8; 13] = header.and_then(|h| h.try_into().ok()).ok_or("no header")?;
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let (width, height) = (number(0) as usize, number(4) as usize);
        let channels = match header[8..] {
            [8, 2, 0, 0, 0] => 3,
            [8, 6, 0, 0, 0] => 4,
            _ => return Err(format!("not the usual kind: {:?}", &header[8..])),
        };
        let row = width * channels;
        let limit = (row + 1) * height;
        let mut bytes = decompress_to_vec_zlib_with_limit(&packed, limit)
            .map_err(|e| format!("the pixels: {e}"))?;
        if bytes.len() != limit || limit == 0 {
            return Err(format!("{} bytes of pixels, not {limit}", bytes.len()));
        }
        let mut above = vec![0; row];
        let mut pixels = Vec::with_capacity(width * height);
        for line in bytes.chunks_exact_mut(row + 1) {
            let (filter, line) = line.split_first_mut().unwrap();
            unfilter(*filter, line, &above, channels)?;
            above.copy_from_slice(line);
            pixels.extend(line.chunks_exact(channels).map(|p| [p[0], p[1], p[2]]));
        }
        Ok(Self { width, height, pixels })
    }

    /// How many pixels have each colour.
    #[must_use]
    pub fn colours(&self) -> BTreeMap<Colour, usize> {
        let mut colours = BTreeMap::new();
        for pixel in &self.pixels {
            *colours.entry(*pixel).or_default() += 1;
        }
        colours
    }
}

type Chunk<'a> = (&'a [u8; 4], &'a [u8], &'a [u8]);

/// The next chunk: its kind, its data, and what follows.
fn chunk(bytes: &[u8]) -> Result<Chunk<'_>, String> {
    let cut = || "it ends in the middle".to_owned();
    let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let (kind, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let length = u32::from_be_bytes(*length) as usize;
    let (data, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
    // The checksum of the pixels, which is checked, is the one inside their stream.
    let (_, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    Ok((kind, data, rest))
}

/// Undoes the filter of a row (PNG specification, section 9).
fn unfilter(filter: u8, line: &mut [u8], above: &[u8], channels: usize) -> Result<(), String> {
    for i in 0..line.len() {
        let (left, corner) = match i.checked_sub(channels) {
            Some(at) => (line[at], above[at]),
            None => (0, 0),
        };
        let guess = match filter {
            0 => 0,
            1 => left,
            2 => above[i],
            3 => left.midpoint(above[i]),
            4 => paeth(left, above[i], corner),
            _ => return Err(format!("no filter has the number {filter}")),
        };
        line[i] = line[i].wrapping_add(guess);
    }
    Ok(())
}

fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let [a, b, c] = [left, above, corner].map(i32::from);
    let far = |x: i32| (a + b - c - x).abs();
    if far(a) <= far(b) && far(a) <= far(c) {
        left
    } else if far(b) <= far(c) {
        above
    } else {
        corner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::deflate::compress_to_vec_zlib;

    fn file(rows: &[u8]) -> Vec<u8> {
        let header = [0, 0, 0, 2, 0, 0, 0, 5, 8, 2, 0, 0, 0];
        let mut file = SIGNATURE.to_vec();
        for (kind, data) in
            [(b"IHDR", &header[..]), (b"IDAT", &compress_to_vec_zlib(rows, 6)), (b"IEND", &[])]
        {
            file.extend_from_slice(&(data.len() as u32).to_be_bytes());
            file.extend_from_slice(kind);
            file.extend_from_slice(data);
            file.extend_from_slice(&[0; 4]);
        }
        file
    }

    /// The same two pixels in each row, by each filter.
    const ROWS: [[u8; 7]; 5] = [
        [0, 1, 2, 3, 11, 22, 33],
        [1, 1, 2, 3, 10, 20, 30],
        [2, 0, 0, 0, 0, 0, 0],
        [3, 1, 1, 2, 5, 10, 15],
        [4, 0, 0, 0, 0, 0, 0],
    ];

    #[test]
    fn rows_of_all_filters_are_read() {
        let picture = Picture::decode(&file(&ROWS.concat())).unwrap();
        assert_eq!((picture.width, picture.height), (2, 5));
        assert_eq!(picture.pixels, [[1, 2, 3], [11, 22, 33]].repeat(5));
        assert_eq!(picture.colours(), BTreeMap::from([([1, 2, 3], 5), ([11, 22, 33], 5)]));
    }

    #[test]
    fn what_is_cut_or_wrong_is_refused() {
        let whole = file(&ROWS.concat());
        for n in 0..whole.len() {
            assert!(Picture::decode(&whole[..n]).is_err(), "{n}");
        }
        assert!(Picture::decode(&[&whole[..], &[0]].concat()).is_err());
        assert!(Picture::decode(&file(&ROWS[..4].concat())).is_err());
        let mut unknown = ROWS;
        unknown[2][0] = 5;
        assert!(Picture::decode(&file(&unknown.concat())).is_err());
    }
}
