//! Bodies: where each piece ends, without looking at or copying its bytes.

use super::{Framing, HttpError, Kind, MAX_CHUNK_LINE, MAX_TRAILER};

/// Reads one body, whatever its framing.
#[derive(Debug)]
pub struct Body {
    state: State,
    kind: Kind,
}

/// Where in the body we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    /// Bytes left of a body with a length.
    Length(u64),
    UntilClose,
    /// In a chunk-size line.
    Size {
        value: u64,
        digits: u8,
        part: SizePart,
        line: usize,
    },
    /// Bytes left of a chunk.
    Chunk(u64),
    /// After a chunk's data: its line end.
    ChunkEnd {
        cr: bool,
    },
    /// After the last chunk: trailer lines, then an empty one.
    Trailer {
        line: usize,
        cr: bool,
        total: usize,
    },
    Failed(HttpError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizePart {
    Digits,
    Blank,
    Extension,
    Cr,
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The input ran out first.
    More,
    /// Bytes of the body.
    Data(&'a [u8]),
    /// A chunk of so many bytes begins; never 0.
    ChunkStart(u64),
    /// The chunk's data is complete.
    ChunkEnd,
    /// The body is complete. For the chunked coding: the last chunk and its trailer were read.
    End,
}

/// One step through a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Bytes of the input that the step used up.
    pub taken: usize,
    /// What they were.
    pub piece: Piece<'a>,
}

impl Body {
    /// At the start of a body.
    #[must_use]
    pub const fn new(framing: Framing, kind: Kind) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(n) => State::Length(n),
            Framing::Chunked => State::SIZE,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, kind }
    }

    /// Nothing of the body is left to read.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Ends with the connection, and in no other way.
    #[must_use]
    pub const fn is_until_close(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// The connection ended: the end of a body without framing, an error inside any other.
    pub fn handle_end(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            State::Failed(error) => Err(error),
            State::Length(_)
            | State::Size { .. }
            | State::Chunk(_)
            | State::ChunkEnd { .. }
            | State::Trailer { .. } => {
                self.state = State::Failed(HttpError::Truncated);
                Err(HttpError::Truncated)
            }
        }
    }

    /// The next piece of `input`. After an error the body stays failed.
    pub fn step<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, HttpError> {
        let result = match self.state {
            State::Done => Ok(Step { taken: 0, piece: Piece::End }),
            State::Failed(error) => Err(error),
            State::UntilClose => Ok(data(input, input.len())),
            State::Length(left) => Ok(self.length(input, left)),
            State::Chunk(left) => Ok(self.chunk(input, left)),
            State::Size { .. } | State::ChunkEnd { .. } | State::Trailer { .. } => self.line(input),
        };
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    fn length<'a>(&mut self, input: &'a [u8], left: u64) -> Step<'a> {
        let step = data(input, clamp(left));
        let left = left.saturating_sub(step.taken as u64);
        self.state = if left == 0 { State::Done } else { State::Length(left) };
        step
    }

    fn chunk<'a>(&mut self, input: &'a [u8], left: u64) -> Step<'a> {
        let step = data(input, clamp(left));
        let left = left.saturating_sub(step.taken as u64);
        self.state = if left == 0 { State::ChunkEnd { cr: false } } else { State::Chunk(left) };
        step
    }

    /// Byte by byte, through the lines between chunks only.
    fn line<'a>(&mut self, input: &[u8]) -> Result<Step<'a>, HttpError> {
        let mut taken = 0;
        for &byte in input {
            taken += 1;
            let (state, piece) = match self.state {
                State::Size { value, digits, part, line } => {
                    size_byte(byte, value, digits, part, line, self.kind)?
                }
                State::ChunkEnd { cr } => chunk_end_byte(byte, cr)?,
                State::Trailer { line, cr, total } => trailer_byte(byte, line, cr, total)?,
                other @ (State::Done
                | State::Length(_)
                | State::UntilClose
                | State::Chunk(_)
                | State::Failed(_)) => (other, Some(Piece::More)),
            };
            self.state = state;
            if let Some(piece) = piece {
                return Ok(Step { taken, piece });
            }
        }
        Ok(Step { taken, piece: Piece::More })
    }
}

impl State {
    const SIZE: Self = Self::Size { value: 0, digits: 0, part: SizePart::Digits, line: 0 };
}

/// A step's outcome for one byte of a line: the new state and a piece that is now known.
type Next = (State, Option<Piece<'static>>);

fn size_byte(
    byte: u8,
    value: u64,
    digits: u8,
    part: SizePart,
    line: usize,
    kind: Kind,
) -> Result<Next, HttpError> {
    let line = line + 1;
    if line > MAX_CHUNK_LINE {
        return Err(HttpError::Chunk);
    }
    let go = |part| Ok((State::Size { value, digits, part, line }, None));
    match (part, byte) {
        (SizePart::Cr, b'\n') => Ok(match value {
            0 => (State::Trailer { line: 0, cr: false, total: 0 }, None),
            n => (State::Chunk(n), Some(Piece::ChunkStart(n))),
        }),
        (SizePart::Cr, _) => Err(HttpError::Chunk),
        (_, b'\r') if digits > 0 => go(SizePart::Cr),
        (SizePart::Digits, _) if byte.is_ascii_hexdigit() => {
            // 15 digits cannot overflow and are more than any file has.
            if digits >= 15 {
                return Err(HttpError::Chunk);
            }
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                _ => (byte | 0x20) - b'a' + 10,
            };
            let value = value << 4 | u64::from(digit);
            Ok((State::Size { value, digits: digits + 1, part, line }, None))
        }
        // Some old servers pad the size with blanks.
        (SizePart::Digits | SizePart::Blank, b' ' | b'\t')
            if digits > 0 && kind == Kind::Response =>
        {
            go(SizePart::Blank)
        }
        (SizePart::Digits | SizePart::Blank, b';') if digits > 0 => go(SizePart::Extension),
        // Extensions are read over, and never travel on.
        (SizePart::Extension, b'\t' | b' '..=b'~' | 0x80..) => go(SizePart::Extension),
        (SizePart::Digits | SizePart::Blank | SizePart::Extension, _) => Err(HttpError::Chunk),
    }
}

const fn chunk_end_byte(byte: u8, cr: bool) -> Result<Next, HttpError> {
    match (cr, byte) {
        (false, b'\r') => Ok((State::ChunkEnd { cr: true }, None)),
        (true, b'\n') => Ok((State::SIZE, Some(Piece::ChunkEnd))),
        (true | false, _) => Err(HttpError::Chunk),
    }
}

const fn trailer_byte(byte: u8, line: usize, cr: bool, total: usize) -> Result<Next, HttpError> {
    let total = total + 1;
    if total > MAX_TRAILER {
        return Err(HttpError::Chunk);
    }
    match (cr, byte) {
        (true, b'\n') if line == 0 => Ok((State::Done, Some(Piece::End))),
        (true, b'\n') => Ok((State::Trailer { line: 0, cr: false, total }, None)),
        (true, _) | (false, b'\n' | 0) => Err(HttpError::Chunk),
        (false, b'\r') => Ok((State::Trailer { line, cr: true, total }, None)),
        (false, _) => Ok((State::Trailer { line: line + 1, cr, total }, None)),
    }
}

/// At most `max` bytes of `input` as body data.
fn data(input: &[u8], max: usize) -> Step<'_> {
    let data = input.get(..max).unwrap_or(input);
    let piece = if data.is_empty() { Piece::More } else { Piece::Data(data) };
    Step { taken: data.len(), piece }
}

fn clamp(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
