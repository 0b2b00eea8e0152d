//! Connections to the control socket.

use super::{AppAction, Apps};
use crate::client::control::{Control, ControlRequest, InfoReport};
use crate::conn::ConnId;
use crate::router::input::ConnInput;
use crate::router::output::Action;
use crate::time::Instant;

/// Connections to the control socket at a time; beyond it new ones are closed.
pub(super) const MAX_CONTROLS: usize = 16;

impl Apps {
    /// The owner connected to the control socket.
    pub(in crate::router) fn accept_control(&mut self, now: Instant, conn: ConnId) {
        if self.controls.len() >= MAX_CONTROLS {
            self.effect(Action::Close { conn, abort: true });
            return;
        }
        self.controls.insert(conn, Control::new(now));
    }

    /// Answers a request for a report.
    pub(in crate::router) fn report(&mut self, conn: ConnId, report: &InfoReport) {
        if let Some(control) = self.controls.get_mut(&conn) {
            control.handle_info(report);
            self.serve_control(conn);
        }
    }

    /// Something happened on a control connection; false when it is none.
    pub(super) fn handle_control(&mut self, conn: ConnId, input: &ConnInput<'_>) -> bool {
        let Some(control) = self.controls.get_mut(&conn) else { return false };
        match input {
            ConnInput::Bytes(bytes) => {
                let _all = control.handle_local(bytes);
            }
            ConnInput::ReadClosed => control.handle_local_closed(),
            ConnInput::Failed(_) => {
                self.controls.remove(&conn);
                return true;
            }
            ConnInput::Accepted { .. } | ConnInput::Connected => {}
        }
        self.serve_control(conn);
        true
    }

    pub(super) fn serve_control(&mut self, conn: ConnId) {
        while let Some(request) = self.controls.get_mut(&conn).and_then(Control::poll_request) {
            match request {
                ControlRequest::Info => self.actions.push_back(AppAction::Report(conn)),
                ControlRequest::Close => {
                    self.controls.remove(&conn);
                    self.effect(Action::Close { conn, abort: false });
                    return;
                }
            }
        }
        if self.controls.get(&conn).is_some_and(Control::wants_write) {
            self.writable.push_back(conn);
        }
    }
}
