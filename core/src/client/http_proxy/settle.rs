//! What follows from what happened: an exchange is over, a close is due, a deadline moves.

use super::{
    ANSWER_TIMEOUT, CONNECT_TIMEOUT, FLUSH_TIMEOUT, HEAD_TIMEOUT, HttpProxy, IDLE_TIMEOUT,
    LINGER_TIMEOUT, Phase, STALL_TIMEOUT,
};
use crate::client::Request;
use crate::time::Instant;
use core::time::Duration;

/// Why the deadline is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Idle,
    Head,
    Connect,
    Answer,
    Stall,
    Flush,
    Linger,
    Never,
}

impl Timer {
    const fn duration(self) -> Duration {
        match self {
            Self::Idle => IDLE_TIMEOUT,
            Self::Head => HEAD_TIMEOUT,
            Self::Connect => CONNECT_TIMEOUT,
            Self::Answer => ANSWER_TIMEOUT,
            Self::Stall | Self::Never => STALL_TIMEOUT,
            Self::Flush => FLUSH_TIMEOUT,
            Self::Linger => LINGER_TIMEOUT,
        }
    }

    /// Starts again when bytes move. The others bound a whole step, however slowly it moves.
    const fn is_inactivity(self) -> bool {
        match self {
            Self::Answer | Self::Stall | Self::Flush => true,
            Self::Idle | Self::Head | Self::Connect | Self::Linger | Self::Never => false,
        }
    }
}

impl HttpProxy {
    /// Draws the conclusions of what happened, and sets the timer. `moved`: bytes did.
    pub(super) fn settle(&mut self, now: Instant, moved: bool) {
        self.settle_exchange();
        self.settle_end();
        if self.has_local_room() {
            self.requests.resume_local();
        }
        if let Some(slot) = self.upstream.as_ref().map(|up| up.slot)
            && !matches!(self.phase, Phase::Tunnel(_))
            && self.relay.to_client.is_roomy()
        {
            self.requests.resume_stream(slot);
        }
        let timer = self.wanted_timer();
        if timer != self.timer.0 || (moved && timer.is_inactivity()) {
            self.timer = (timer, now + timer.duration());
        }
    }

    /// Ends an exchange that is complete, or that has its answer and nobody to send the rest to.
    pub(super) fn settle_exchange(&mut self) {
        if !matches!(self.phase, Phase::Exchange { .. }) || !self.relay.response_done() {
            return;
        }
        let request_done = self.relay.request_done();
        let sent = request_done && self.relay.to_server.is_empty();
        if !sent && self.upstream.as_ref().is_some_and(|up| !up.closed) {
            return;
        }
        if !sent {
            self.reset_upstream();
        } else if !self.relay.server_keeps() {
            self.drop_upstream();
        }
        if self.relay.client_keeps() && !self.local_closed && !self.stopping {
            self.phase = Phase::Head;
        } else {
            let linger = !request_done || self.requests.is_local_paused();
            self.phase = Phase::Closing { linger, abort: false, told: false };
        }
    }

    /// Closes what is to be closed once its last bytes are gone.
    pub(super) fn settle_end(&mut self) {
        match &mut self.phase {
            Phase::Tunnel(pipe) => {
                if pipe.settle(&mut self.requests) {
                    self.upstream = None;
                    self.phase = Phase::Done;
                }
            }
            Phase::Closing { linger, abort, told } if self.relay.to_client.is_empty() => {
                let ends = self.local_closed || self.stopping || self.requests.is_closed();
                if *linger && !*abort && !ends {
                    if !core::mem::replace(told, true) {
                        self.requests.push(Request::FinishLocal);
                    }
                    return;
                }
                let abort = *abort;
                self.drop_upstream();
                self.requests.close_local(abort);
                self.phase = Phase::Done;
            }
            // An idle connection should cost little.
            Phase::Head if self.head.is_empty() => {
                self.relay.to_server.release();
                self.relay.to_client.release();
            }
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Exchange { .. }
            | Phase::Connecting
            | Phase::Closing { .. }
            | Phase::Done => {}
        }
    }

    pub(super) fn wanted_timer(&self) -> Timer {
        match &self.phase {
            Phase::Head if self.head.is_empty() => Timer::Idle,
            Phase::Head | Phase::Naming(_) | Phase::Form { .. } | Phase::Learning { .. } => {
                Timer::Head
            }
            Phase::Exchange { .. } if self.upstream.as_ref().is_some_and(|up| !up.opened) => {
                Timer::Connect
            }
            Phase::Exchange { .. } if !self.relay.started() => Timer::Answer,
            Phase::Exchange { .. } => Timer::Stall,
            Phase::Connecting => Timer::Connect,
            Phase::Tunnel(pipe) if pipe.is_half_closed() => Timer::Stall,
            Phase::Closing { told: true, .. } => Timer::Linger,
            Phase::Closing { .. } => Timer::Flush,
            Phase::Tunnel(_) | Phase::Done => Timer::Never,
        }
    }
}
