//! Bounds of collections, for whoever checks that the machines keep them.
//!
//! Every collection that others can fill has a cap. A machine with such collections has a method
//! `audit` that names each of them with what it holds and what it may hold. That neither changes nor
//! allocates anything, and looks at no entry that has no bounds of its own.

use core::fmt;

/// A collection, or memory that is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The machine and what of it.
    pub name: &'static str,
    /// What is held: entries, or bytes where the name says so.
    pub len: usize,
    /// What may be held.
    pub cap: usize,
}

impl Bound {
    /// True when no more is held than may be.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.len <= self.cap
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}", self.name, self.len, self.cap)
    }
}

/// Takes what the machines say of themselves.
pub(crate) struct Audit<'a>(pub(crate) &'a mut dyn FnMut(Bound));

impl Audit<'_> {
    /// A collection that holds `len` and may hold `cap`.
    pub(crate) fn see(&mut self, name: &'static str, len: usize, cap: usize) {
        (self.0)(Bound { name, len, cap });
    }

    /// A queue that whoever drains the machine leaves empty.
    pub(crate) fn drained(&mut self, name: &'static str, len: usize) {
        self.see(name, len, 0);
    }
}
