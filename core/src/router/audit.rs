//! What all machines hold, and what they may.

use super::Router;
use super::lookups::Pending;
use crate::audit::{Audit, Bound};
use crate::netdb::{MAX_CONTEXTS, MAX_LOOKUPS};
use crate::tunnel::MAX_JOBS;

impl Router {
    /// Shows `see` every collection that peers, clients or time can fill, and the memory that is
    /// accounted for, each with its cap: [`Bound::holds`] must be true of all of them whenever all polls
    /// have said `None`. For simulators, fuzzers and tests; nothing depends on it.
    ///
    /// It changes and allocates nothing. Its time grows with the number of sessions, streams, tunnels and
    /// lookups.
    pub fn audit(&self, see: &mut dyn FnMut(Bound)) {
        let audit = &mut Audit(see);
        self.peers.audit(audit);
        self.netdb.audit(audit);
        self.tunnels.audit(audit);
        self.apps.audit(audit);
        Pending::audit(&self.pending, audit);
        audit.see("router: contexts with tags of answers", self.reply_tags.len(), MAX_CONTEXTS);
        for tags in self.reply_tags.values() {
            tags.audit(audit);
        }
        audit.see("router: lookups", self.lookups.len(), MAX_LOOKUPS);
        audit.see("router: jobs", self.jobs.len(), MAX_JOBS);
        audit.drained("router: actions", self.actions.len());
    }
}
