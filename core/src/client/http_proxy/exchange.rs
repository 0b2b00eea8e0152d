//! The stream side: a request on its way, its answer, and what goes wrong in between.

use super::route::Forward;
use super::{HttpProxy, Phase, Upstream};
use crate::client::pages::{self, Problem};
use crate::client::pipe::Pipe;
use crate::client::relay::Relay;
use crate::client::{Failure, Request, Slot, Target};
use log::{debug, trace};

/// Answer to an expectation, once there is somebody to send the body to.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Answer to CONNECT.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

impl HttpProxy {
    /// Sends a judged request on its way.
    pub(super) fn forward(&mut self, forward: Forward) {
        let Forward { target, port, head, plan, expects, repeatable, helper: _ } = forward;
        let reuse = self.upstream.as_mut().filter(|up| {
            up.opened && up.port == port && up.target.host() == target.host() && !plan.upgrade
        });
        if let Some(up) = reuse {
            up.again = repeatable.then(|| head.clone());
        } else {
            self.open(target, port);
        }
        self.relay.start(plan, &head);
        let opened = self.upstream.as_ref().is_some_and(|up| up.opened);
        if expects && opened {
            self.relay.to_client.append(CONTINUE);
        }
        self.phase = Phase::Exchange { expects: expects && !opened };
    }

    /// A new stream, in place of the one there may be.
    pub(super) fn open(&mut self, target: Target, port: u16) {
        self.drop_upstream();
        let slot = Slot(self.next_slot);
        self.next_slot = self.next_slot.wrapping_add(1);
        self.requests.push(Request::Open { slot, target: target.clone(), port });
        self.upstream =
            Some(Upstream { slot, target, port, opened: false, closed: false, again: None });
    }

    pub(super) fn handle_opened(&mut self) {
        let Some(up) = &mut self.upstream else { return };
        if core::mem::replace(&mut up.opened, true) {
            return;
        }
        match &mut self.phase {
            Phase::Exchange { expects } => {
                // The client sends its body only now: had the stream failed, it would have been in
                // vain.
                if core::mem::take(expects) && !self.relay.started() {
                    self.relay.to_client.append(CONTINUE);
                }
            }
            Phase::Connecting => {
                self.relay.to_client.append(ESTABLISHED);
                self.begin_tunnel();
            }
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Tunnel(_)
            | Phase::Closing { .. }
            | Phase::Done => {}
        }
    }

    /// From now on bytes only: after CONNECT or an upgrade.
    pub(super) fn begin_tunnel(&mut self) {
        let Some(up) = &self.upstream else { return };
        let relay = core::mem::replace(&mut self.relay, Relay::new(false));
        let mut pipe = Pipe::new(up.slot, relay.to_server, relay.to_client);
        if self.local_closed {
            pipe.handle_local_closed();
        }
        self.phase = Phase::Tunnel(pipe);
    }

    pub(super) fn take_stream(&mut self, bytes: &[u8]) -> usize {
        match &mut self.phase {
            Phase::Exchange { .. } => {
                let result = self.relay.handle_server(bytes);
                if let (true, Some(up)) = (self.relay.heard(), &mut self.upstream) {
                    up.again = None;
                }
                match result {
                    Ok(n) if self.relay.upgraded() => {
                        self.begin_tunnel();
                        let rest = bytes.get(n..).unwrap_or_default();
                        n + if rest.is_empty() { 0 } else { self.take_stream(rest) }
                    }
                    Ok(n) => n,
                    Err(error) => {
                        debug!("answer of a site: {error}");
                        self.fail_exchange(Problem::BadAnswer);
                        bytes.len()
                    }
                }
            }
            Phase::Tunnel(pipe) => pipe.handle_stream(bytes),
            // Between requests a site has nothing to say.
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Connecting
            | Phase::Closing { .. }
            | Phase::Done => {
                self.reset_upstream();
                bytes.len()
            }
        }
    }

    pub(super) fn handle_remote_closed(&mut self) {
        if let Some(up) = &mut self.upstream {
            up.closed = true;
        }
        match &mut self.phase {
            Phase::Exchange { .. } => match self.relay.handle_server_closed() {
                Ok(()) => {}
                Err(_) if self.retry(true) => {}
                Err(_) if !self.relay.heard() => self.fail_exchange(Problem::ClosedEarly),
                Err(_) => self.fail_exchange(Problem::BadAnswer),
            },
            Phase::Tunnel(pipe) => pipe.handle_stream_closed(),
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Connecting
            | Phase::Closing { .. }
            | Phase::Done => self.drop_upstream(),
        }
    }

    pub(super) fn handle_stream_failed(&mut self, failure: Failure) {
        if matches!(self.phase, Phase::Exchange { .. })
            && !self.relay.response_done()
            && self.retry(false)
        {
            return;
        }
        match &mut self.phase {
            // It still has bytes for the client.
            Phase::Tunnel(pipe) => pipe.handle_stream_failed(),
            Phase::Exchange { .. } if self.relay.response_done() => {}
            Phase::Exchange { .. } | Phase::Connecting => {
                // The slot is dead: nothing is left to close.
                let host = self.upstream.take().map(|up| up.target.host());
                self.fail(Problem::Stream(failure), host.as_deref());
            }
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Closing { .. }
            | Phase::Done => {}
        }
        self.upstream = None;
        self.requests.forget_stream();
    }

    /// The stream was used before and died before it said anything about this request: the site
    /// had closed it. Sends the request again, once, on a new one. `alive`: the slot still is.
    pub(super) fn retry(&mut self, alive: bool) -> bool {
        if self.relay.heard() {
            return false;
        }
        let Some(mut up) = self.upstream.take() else { return false };
        let Some(head) = up.again.take() else {
            self.upstream = Some(up);
            return false;
        };
        trace!("a kept stream was closed: repeating the request");
        if alive {
            self.requests.push(Request::ResetStream { slot: up.slot });
        }
        self.requests.forget_stream();
        self.open(up.target, up.port);
        self.relay.to_server.append(&head);
        true
    }

    /// The exchange, or the opening of a tunnel, cannot go on.
    pub(super) fn fail_exchange(&mut self, problem: Problem) {
        let host = self.upstream.as_ref().map(|up| up.target.host());
        self.reset_upstream();
        self.fail(problem, host.as_deref());
    }

    /// A page if the client was told nothing yet; else an end that cannot be taken for a complete
    /// answer.
    pub(super) fn fail(&mut self, problem: Problem, host: Option<&str>) {
        let exchange = matches!(self.phase, Phase::Exchange { .. });
        if exchange && self.relay.started() {
            debug!("answer broken off: {problem:?}");
            let abort = self.relay.until_close();
            self.phase = Phase::Closing { linger: !self.relay.request_done(), abort, told: false };
            return;
        }
        let head_only = exchange && self.relay.to_head();
        match (problem, host) {
            (Problem::Stream(Failure::UnknownName), Some(name)) => {
                self.say(&pages::unknown_name(name, head_only));
            }
            (_, _) => self.refuse(problem, host, head_only),
        }
    }
}
