//! The end: nothing new is taken, what is under way may finish for a moment, the rest is broken off.

use super::Apps;
use crate::client::{Failure, Slot};
use crate::conn::ConnId;
use crate::router::output::Action;
use crate::time::Instant;
use alloc::vec::Vec;

impl Apps {
    /// Nothing is left to be finished.
    pub(in crate::router) fn is_quiet(&self) -> bool {
        self.conns.is_empty() && self.apps.values().all(|a| a.streams.is_empty())
    }

    /// From now on nothing new is taken; machines come to an end by themselves, if they
    /// can.
    pub(in crate::router) fn shut_down(&mut self, now: Instant) {
        self.stopping = true;
        let waiting: Vec<(ConnId, Slot)> = self
            .apps
            .values_mut()
            .flat_map(|a| core::mem::take(&mut a.searches))
            .flat_map(|(_, search)| search.into_openings())
            .map(|o| (o.conn, o.slot))
            .collect();
        for (conn, slot) in waiting {
            self.fail_slot(now, conn, slot, Failure::ShuttingDown);
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            if let Some(local) = self.conns.get_mut(&conn) {
                local.machine.shut_down(now);
                self.service(now, conn);
            }
        }
    }

    /// Breaks off what did not come to an end by itself; the machines may still say why.
    pub(in crate::router) fn break_off(&mut self, now: Instant) {
        // All of them: what was released nobody holds here any more, but its remote does.
        for app in self.apps.values_mut() {
            app.by_stream.clear();
            app.streams.reset_all(now);
        }
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            let Some(local) = self.conns.get_mut(&conn) else { continue };
            for side in local.streams.values_mut() {
                side.rest.clear();
                side.over = Some(Some(Failure::ShuttingDown));
            }
            self.service(now, conn);
        }
        self.break_off_embedded();
    }

    /// Closes local connections that are left, at once.
    pub(in crate::router) fn close_all(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.effect(Action::Close { conn, abort: true });
            self.remove(conn);
        }
    }
}
