//! Closed CPU work that a runtime may run on any thread, in any order.

/// Pure, `Send` work: same input, same output, no clock, no randomness.
#[derive(Debug)]
pub struct Job {
    work: Work,
}

#[derive(Debug)]
enum Work {}

/// The outcome of a [`Job`].
#[derive(Debug)]
pub struct Done {
    _private: (),
}

impl Job {
    /// Runs it here.
    #[must_use]
    pub fn run(self) -> Done {
        match self.work {}
    }
}
