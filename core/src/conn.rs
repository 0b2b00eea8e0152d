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

    /// A number unique to the stream, for a runtime's tables.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
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
