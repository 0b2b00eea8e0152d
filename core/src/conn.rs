//! Handles of byte streams that a runtime holds for the core.

/// A byte-stream handle, chosen by the side that opens the stream: a runtime numbers what it
/// accepts with [`ConnId::accepted`], the router what it asks to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// The `n`th stream that the runtime accepted.
    #[must_use]
    pub const fn accepted(n: u64) -> Self {
        Self(n << 1)
    }

    /// The `n`th stream that the router opens.
    pub(crate) const fn opened(n: u64) -> Self {
        Self(n << 1 | 1)
    }

    /// A number unique to the stream, for a runtime's tables and for the tokens of its poll.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The handle with this number. The router ignores what happens to streams that it does not know.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

/// Numbers the streams that the router opens. Each part that opens streams has a lane of its own,
/// so that they need not ask each other.
pub(crate) struct Opener {
    next: u64,
}

const LANES: u64 = 2;

impl Opener {
    /// Lane 0 is for peers, lane 1 for local targets.
    pub(crate) const fn new(lane: u64) -> Self {
        Self { next: lane % LANES }
    }

    pub(crate) const fn open(&mut self) -> ConnId {
        self.next += LANES;
        ConnId::opened(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_its_stream_whoever_opened_it() {
        let mut opener = Opener::new(1);
        let conns = [ConnId::accepted(0), ConnId::accepted(1), opener.open(), opener.open()];
        for (i, conn) in conns.iter().enumerate() {
            assert_eq!(ConnId::from_u64(conn.as_u64()), *conn);
            assert_eq!(conns.iter().position(|c| c.as_u64() == conn.as_u64()), Some(i));
        }
    }
}
