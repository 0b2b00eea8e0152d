//! Closed CPU work that a runtime may run on any thread, in any order.

use super::Router;
use super::input::EffectId;
use crate::time::Instant;
use crate::tunnel::{BuildJob, BuildJobDone};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::fmt;

/// Pure, `Send` work: same input, same output, no clock, no randomness.
pub struct Job(Work);

enum Work {
    Build(Box<BuildJob>),
}

/// The outcome of a [`Job`].
pub struct Done(Outcome);

enum Outcome {
    Build(Box<BuildJobDone>),
}

impl Job {
    pub(super) fn build(job: BuildJob) -> Self {
        Self(Work::Build(Box::new(job)))
    }

    /// Runs it here.
    #[must_use]
    pub fn run(self) -> Done {
        match self.0 {
            Work::Build(job) => Done(Outcome::Build(Box::new(job.run()))),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Work::Build(_) => f.write_str("Job(open a build record)"),
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Outcome::Build(_) => f.write_str("Done(open a build record)"),
        }
    }
}

/// The jobs under way.
#[derive(Default)]
pub(super) struct Jobs {
    next: u64,
    running: BTreeSet<EffectId>,
}

impl Jobs {
    pub(super) fn start(&mut self) -> EffectId {
        self.next += 1;
        let id = EffectId(self.next);
        self.running.insert(id);
        id
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// True when `id` was under way: a runtime answers each job once.
    pub(super) fn finish(&mut self, id: EffectId) -> bool {
        self.running.remove(&id)
    }
}

impl Router {
    pub(super) fn handle_done(&mut self, now: Instant, done: Done) {
        let unix = self.clock.unix(now);
        match done.0 {
            Outcome::Build(done) => self.tunnels.handle_job(now, unix, *done),
        }
    }

    /// A job was lost with its thread. All are of one kind: their requests are not answered.
    pub(super) fn handle_job_failed(&mut self, now: Instant) {
        let unix = self.clock.unix(now);
        self.tunnels.handle_job_failed(now, unix);
    }
}
