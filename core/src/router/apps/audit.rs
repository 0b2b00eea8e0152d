//! What the applications hold, and what they may.

use super::Apps;
use super::accept::{MAX_INCOMING, share};
use super::app::App;
use super::control::MAX_CONTROLS;
use crate::audit::Audit;
use crate::client::MAX_CONNECTIONS;
use crate::client::address_book::MAX_NAMES;

impl Apps {
    /// What is held after a drain, and what may be.
    pub(in crate::router) fn audit(&self, audit: &mut Audit<'_>) {
        let apps = self.apps.len();
        let (conns, controls) = (self.conns.len(), self.controls.len());
        // One of each end: local programs, and the streams of others.
        let most = (share(MAX_CONNECTIONS, apps) + share(MAX_INCOMING, apps)) * apps;
        audit.see("apps: connections", conns, most);
        audit.see("apps: control connections", controls, MAX_CONTROLS);
        audit.see("apps: timers", self.timers.len(), conns);
        audit.see("apps: writable", self.writable.len(), conns + controls);
        audit.see("apps: names", self.book.len(), MAX_NAMES);
        audit.see("embedded: news", self.news.len(), self.embedded.len() + 2 * apps);
        audit.drained("apps: actions", self.actions.len());
        for app in self.apps.values() {
            app.audit(audit, conns + self.embedded.len());
        }
    }
}

impl App {
    /// `users` are the ends of all applications that may have streams.
    fn audit(&self, audit: &mut Audit<'_>, users: usize) {
        audit.see("app: searches", self.searches.len(), users);
        audit.see("app: users of streams", self.by_stream.len(), self.streams.len());
        audit.drained("app: streams without a user", self.orphans.len());
        audit.drained("app: remotes that stall", self.stalled.len());
        self.destination.audit(audit);
        self.streams.audit(audit);
        if let Some(embedded) = self.embedded() {
            embedded.inbox.audit(audit);
            embedded.outbox.audit(audit);
        }
    }
}
