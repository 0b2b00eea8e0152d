//! The HTTP proxy: one machine for each connection of a browser.
//!
//! Every request of a kept connection is judged, cleaned and routed on its own. A stream is used
//! again only for the same target, and only when the framing of the exchange before left no doubt
//! about where it ended. Nothing is ever looked up in DNS, and nothing but I2P is ever contacted.

mod exchange;
mod helper;
mod route;
mod settle;

use self::helper::Helper;
use self::route::{Forward, OwnPage, Refusal, Route};
use self::settle::Timer;
use super::pages::{self, Problem};
use super::pipe::Pipe;
use super::relay::Relay;
use super::requests::Requests;
use super::{
    BUFFER, Consumed, Failure, LocalFailure, NameAnswer, Request, Slot, StreamInput, Target,
};
use crate::crypto::Key32;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::hash::Hash;
use crate::wire::http::{Body, Framing, HeadBuffer, Kind, Piece};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use log::{debug, trace};

/// A request's head, and the body of a form for ourselves, have to arrive within this time.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may stay open between requests, and before the first one.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a stream may take to connect; streaming itself gives up earlier.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a site may be silent before its answer begins.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an exchange, or a tunnel with one side closed, may stand still.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1800);
/// How long a client may take to read our last bytes.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// How long we read on after our last bytes, so that a client still sending gets to see them
/// rather than a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// What all connections of one proxy share.
pub struct Shared {
    /// Makes the tokens of confirmation pages.
    key: Key32,
}

impl Shared {
    /// With a fresh key.
    #[must_use]
    pub fn new(rng: &mut Rng) -> Self {
        Self { key: Key32::new(rng.bytes()) }
    }
}

/// One connection of a browser. See [the module's parent](super) for how to drive it.
pub struct HttpProxy {
    shared: Arc<Shared>,
    phase: Phase,
    head: HeadBuffer,
    relay: Relay,
    upstream: Option<Upstream>,
    next_slot: u32,
    requests: Requests,
    /// The client finished sending.
    local_closed: bool,
    /// No request is taken any more.
    stopping: bool,
    timer: (Timer, Instant),
}

/// What the connection is doing.
enum Phase {
    /// Waiting for a request, or in the middle of its head.
    Head,
    /// Asking the address book about the name of an address helper.
    Naming(Box<Forward>),
    /// Reading a form for ourselves.
    Form { body: Body, bytes: Vec<u8> },
    /// Waiting for the address book to take a name.
    Learning { destination: Hash, location: String },
    /// A request is on its way, or its answer. `expects`: the client waits for `100 Continue`.
    Exchange { expects: bool },
    /// CONNECT: the stream is not there yet.
    Connecting,
    /// Bytes both ways.
    Tunnel(Pipe),
    /// The last bytes are on their way to the client. `linger`: it may still be sending.
    Closing { linger: bool, abort: bool, told: bool },
    /// Nothing will happen any more.
    Done,
}

/// The I2P stream of the current or the last exchange.
struct Upstream {
    slot: Slot,
    target: Target,
    port: u16,
    opened: bool,
    /// The site finished sending.
    closed: bool,
    /// The head to send again on a new stream, should this one, which was used before, turn out to
    /// be closed.
    again: Option<Vec<u8>>,
}

impl HttpProxy {
    /// For a connection that was just accepted.
    #[must_use]
    pub fn new(now: Instant, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            phase: Phase::Head,
            head: HeadBuffer::new(Kind::Request),
            relay: Relay::new(false),
            upstream: None,
            next_slot: 0,
            requests: Requests::default(),
            local_closed: false,
            stopping: false,
            timer: (Timer::Idle, now + IDLE_TIMEOUT),
        }
    }

    /// Nothing will happen any more, once `poll_request` is empty.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    /// Bytes of the stream worth offering now. When 0, [`Request::ReadStream`] follows once there
    /// is room.
    #[must_use]
    pub fn stream_room(&mut self, slot: Slot) -> usize {
        let room = match &self.phase {
            _ if !self.is_current(slot) => return 0,
            Phase::Exchange { .. } => self.relay.to_client.room(),
            Phase::Tunnel(pipe) => pipe.stream_room(),
            // Taken too, to be thrown away.
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Connecting
            | Phase::Closing { .. }
            | Phase::Done => BUFFER,
        };
        if room == 0 {
            self.requests.pause_stream();
        }
        room
    }

    /// Bytes from the client.
    pub fn handle_local(&mut self, now: Instant, bytes: &[u8]) -> Consumed {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let n = self.take_local(now, rest);
            taken += n;
            if n == 0 {
                break;
            }
        }
        let pause = taken < bytes.len() || self.is_full();
        if pause {
            self.requests.pause_local();
        }
        self.settle(now, taken > 0);
        Consumed { taken, pause }
    }

    /// The client finished sending.
    pub fn handle_local_closed(&mut self, now: Instant) {
        self.local_closed = true;
        match &mut self.phase {
            Phase::Head if !self.head.is_empty() => {
                self.refuse(Problem::BadRequest("the request ended too early"), None, false);
            }
            Phase::Head | Phase::Form { .. } => self.close(false),
            Phase::Exchange { .. } if !self.relay.request_done() => {
                self.reset_upstream();
                self.close(true);
            }
            Phase::Tunnel(pipe) => pipe.handle_local_closed(),
            Phase::Connecting => {
                self.reset_upstream();
                self.close(true);
            }
            // A client may finish sending after its request and still want the answer.
            Phase::Exchange { .. }
            | Phase::Naming(_)
            | Phase::Learning { .. }
            | Phase::Closing { .. }
            | Phase::Done => {}
        }
        self.settle(now, true);
    }

    /// The client's connection broke; there is nothing left to close on that side.
    pub fn handle_local_failed(&mut self, now: Instant, failure: LocalFailure) {
        trace!("proxy client: {failure}");
        self.requests.local_gone();
        self.reset_upstream();
        self.phase = Phase::Done;
        self.settle(now, false);
    }

    /// What happened on the stream `slot`; for `Data`, how many bytes were taken.
    pub fn handle_stream(&mut self, now: Instant, slot: Slot, input: StreamInput<'_>) -> usize {
        let taken = match input {
            _ if !self.is_current(slot) => match input {
                StreamInput::Data(bytes) => bytes.len(),
                StreamInput::Opened | StreamInput::RemoteClosed | StreamInput::Failed(_) => 0,
            },
            StreamInput::Opened => {
                self.handle_opened();
                0
            }
            StreamInput::Data(bytes) => {
                self.handle_opened();
                let taken = self.take_stream(bytes);
                if taken < bytes.len() {
                    self.requests.pause_stream();
                }
                taken
            }
            StreamInput::RemoteClosed => {
                self.handle_opened();
                self.handle_remote_closed();
                0
            }
            StreamInput::Failed(failure) => {
                self.handle_stream_failed(failure);
                0
            }
        };
        self.settle(now, true);
        taken
    }

    /// The answer to the last [`Request::FindName`] or [`Request::LearnName`].
    pub fn handle_name(&mut self, now: Instant, answer: NameAnswer) {
        match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Naming(forward) => self.handle_found(now, *forward, answer),
            Phase::Learning { destination, location } => match answer {
                NameAnswer::Known(known) if known.hash() == destination => {
                    self.say(&pages::see_other(&location));
                }
                // Another connection may have been faster.
                NameAnswer::Known(_) | NameAnswer::Unknown => {
                    self.refuse(Problem::BookFull, None, false);
                }
            },
            other @ (Phase::Head
            | Phase::Form { .. }
            | Phase::Exchange { .. }
            | Phase::Connecting
            | Phase::Tunnel(_)
            | Phase::Closing { .. }
            | Phase::Done) => self.phase = other,
        }
        self.settle(now, true);
    }

    /// The router stops: nothing new is begun, and what is under way may end by itself.
    pub fn shut_down(&mut self, now: Instant) {
        self.stopping = true;
        let opened = self.upstream.as_ref().is_some_and(|up| up.opened);
        match &self.phase {
            Phase::Head => self.close(false),
            Phase::Exchange { .. } if opened => {}
            Phase::Exchange { .. } | Phase::Connecting => {
                self.fail_exchange(Problem::Stream(Failure::ShuttingDown));
            }
            Phase::Naming(_) | Phase::Form { .. } | Phase::Learning { .. } => {
                self.refuse(Problem::Stream(Failure::ShuttingDown), None, false);
            }
            Phase::Tunnel(_) | Phase::Closing { .. } | Phase::Done => {}
        }
        self.settle(now, true);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (timer, deadline) = self.timer;
        if timer == Timer::Never || now < deadline {
            return;
        }
        let waits = matches!(self.phase, Phase::Naming(_) | Phase::Learning { .. });
        match timer {
            Timer::Idle | Timer::Linger => self.close(false),
            Timer::Head if waits => self.refuse(Problem::Internal, None, false),
            Timer::Head => self.refuse(Problem::SlowRequest, None, false),
            Timer::Connect => self.fail_exchange(Problem::Stream(Failure::TimedOut)),
            Timer::Answer if self.relay.request_done() => self.fail_exchange(Problem::NoAnswer),
            Timer::Answer => self.fail_exchange(Problem::SlowRequest),
            Timer::Stall | Timer::Flush => {
                self.reset_upstream();
                self.relay.to_client.clear();
                self.close(true);
            }
            Timer::Never => {}
        }
        self.settle(now, true);
    }

    /// The next thing to do.
    #[must_use]
    pub fn poll_request(&mut self) -> Option<Request> {
        self.requests.poll()
    }

    /// Appends at most `room` bytes for the stream `slot` and says how many.
    pub fn poll_stream(
        &mut self,
        now: Instant,
        slot: Slot,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        if !self.is_current(slot) {
            return 0;
        }
        let n = match &mut self.phase {
            Phase::Tunnel(pipe) => pipe.poll_stream(room, out),
            Phase::Exchange { .. } | Phase::Head | Phase::Closing { .. } => {
                self.relay.to_server.take(room, out)
            }
            Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Connecting
            | Phase::Done => 0,
        };
        if n > 0 {
            self.settle(now, true);
        }
        n
    }

    /// Appends at most `room` bytes for the client and says how many.
    pub fn poll_local(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> usize {
        let n = match &mut self.phase {
            Phase::Tunnel(pipe) => pipe.poll_local(room, out),
            Phase::Done => 0,
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Exchange { .. }
            | Phase::Connecting
            | Phase::Closing { .. } => self.relay.to_client.take(room, out),
        };
        if n > 0 {
            self.settle(now, true);
        }
        n
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.timer.0 != Timer::Never).then_some(self.timer.1)
    }

    fn is_current(&self, slot: Slot) -> bool {
        self.upstream.as_ref().is_some_and(|up| up.slot == slot)
    }

    /// All bytes of the client were taken, but more would not be. Where a request is complete, we
    /// read on regardless: that is how the client's end shows.
    const fn is_full(&self) -> bool {
        match &self.phase {
            Phase::Exchange { .. } => {
                !self.relay.request_done() && self.relay.to_server.free() == 0
            }
            Phase::Tunnel(pipe) => pipe.local_room() == 0,
            Phase::Head
            | Phase::Naming(_)
            | Phase::Form { .. }
            | Phase::Learning { .. }
            | Phase::Connecting
            | Phase::Closing { .. }
            | Phase::Done => false,
        }
    }

    /// A client that was told to wait can go on.
    const fn has_local_room(&self) -> bool {
        match &self.phase {
            Phase::Head | Phase::Form { .. } | Phase::Closing { .. } | Phase::Done => true,
            Phase::Exchange { .. } => !self.relay.request_done() && self.relay.to_server.is_roomy(),
            // A pipe looks after itself.
            Phase::Naming(_) | Phase::Learning { .. } | Phase::Connecting | Phase::Tunnel(_) => {
                false
            }
        }
    }

    fn take_local(&mut self, now: Instant, bytes: &[u8]) -> usize {
        match &mut self.phase {
            Phase::Head => match self.head.push(bytes) {
                Ok(n) => {
                    if self.head.is_complete() {
                        self.handle_head();
                    }
                    n
                }
                Err(error) => {
                    self.refuse(error.into(), None, false);
                    bytes.len()
                }
            },
            Phase::Form { body, bytes: form } => {
                let Ok(step) = body.step(bytes) else { return bytes.len() };
                if let Piece::Data(data) = step.piece {
                    form.extend_from_slice(data);
                }
                if body.is_done() {
                    let form = core::mem::take(form);
                    self.handle_form(now, &form);
                }
                step.taken
            }
            Phase::Exchange { .. } => match self.relay.handle_client(bytes) {
                Ok(n) => n,
                Err(error) => {
                    self.fail_exchange(error.into());
                    bytes.len()
                }
            },
            Phase::Tunnel(pipe) => pipe.handle_local(bytes),
            // Nobody wants it any more.
            Phase::Closing { .. } | Phase::Done => bytes.len(),
            Phase::Naming(_) | Phase::Learning { .. } | Phase::Connecting => 0,
        }
    }

    fn handle_head(&mut self) {
        let route = route::judge(self.head.as_bytes());
        self.head.clear();
        match route {
            Err(Refusal { problem, host, head_only }) => {
                self.refuse(problem, host.as_deref(), head_only);
            }
            Ok(Route::Own { page: OwnPage::Status, head_only }) => {
                let content = route::status_content();
                self.say(&pages::page(200, "Ramson HTTP proxy", &content, head_only));
            }
            Ok(Route::Own { page: OwnPage::Confirm { body }, .. }) => {
                let body = Body::new(Framing::Length(body), Kind::Request);
                if body.is_done() {
                    self.refuse(Problem::BadToken, None, false);
                } else {
                    self.phase = Phase::Form { body, bytes: Vec::new() };
                }
            }
            Ok(Route::Tunnel { target, port }) => {
                self.open(target, port);
                self.phase = Phase::Connecting;
            }
            Ok(Route::Forward(forward)) => match &forward.helper {
                Some(Helper { name, .. }) => {
                    self.requests.push(Request::FindName { name: name.clone() });
                    self.phase = Phase::Naming(Box::new(forward));
                }
                None => self.forward(forward),
            },
        }
    }

    /// A helper's name was looked up.
    fn handle_found(&mut self, now: Instant, forward: Forward, answer: NameAnswer) {
        let Some(helper) = &forward.helper else { return self.forward(forward) };
        let head_only = forward.plan.to_head;
        match answer {
            NameAnswer::Known(known) if known.hash() == helper.address.hash() => {
                self.forward(forward);
            }
            NameAnswer::Known(known) => {
                let page = helper::conflict_page(helper, &known, head_only);
                self.say(&page);
            }
            NameAnswer::Unknown => {
                let page = helper::confirm_page(&self.shared.key, now, helper, head_only);
                self.say(&page);
            }
        }
    }

    fn handle_form(&mut self, now: Instant, form: &[u8]) {
        match helper::confirmed(&self.shared.key, now, form) {
            Some(helper::Confirmed { name, destination, location }) => {
                let hash = destination.hash();
                self.requests.push(Request::LearnName { name, destination });
                self.phase = Phase::Learning { destination: hash, location };
            }
            None => self.refuse(Problem::BadToken, None, false),
        }
    }

    /// Answers with a page about a problem, and closes.
    fn refuse(&mut self, problem: Problem, host: Option<&str>, head_only: bool) {
        debug!("proxy request refused: {problem:?}");
        self.say(&pages::problem(problem, host, head_only));
    }

    /// Answers with a whole response of our own, and closes: what the client sends now may be the
    /// body of the request that was answered.
    fn say(&mut self, response: &[u8]) {
        self.relay.to_client.append(response);
        self.phase = Phase::Closing { linger: true, abort: false, told: false };
    }

    /// Closes once the client has read what there is.
    fn close(&mut self, abort: bool) {
        self.phase = Phase::Closing { linger: false, abort, told: false };
    }

    /// Done with the stream, in good order.
    fn drop_upstream(&mut self) {
        if let Some(up) = self.upstream.take() {
            self.requests.push(Request::CloseStream { slot: up.slot });
            self.requests.forget_stream();
        }
        self.relay.to_server.clear();
    }

    /// Done with the stream, in the middle of something.
    fn reset_upstream(&mut self) {
        if let Some(up) = self.upstream.take() {
            self.requests.push(Request::ResetStream { slot: up.slot });
            self.requests.forget_stream();
        }
        self.relay.to_server.clear();
    }
}

#[cfg(test)]
mod tests;
