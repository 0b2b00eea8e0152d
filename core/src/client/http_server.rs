//! An HTTP server tunnel: one machine for each incoming I2P stream.
//!
//! Every request of a kept stream is judged and written anew: what the visitor claims about itself
//! (`X-I2P-*`, `X-Forwarded-*`, in any spelling) is dropped, and what the network proved
//! (`X-I2P-DestHash`, `-DestB64`, `-DestB32`) is added. Responses lose what would tell the machine
//! apart. The local server is contacted only once there is a valid request.

use super::pages::{self, Problem};
use super::pipe::Pipe;
use super::relay::{Plan, Relay};
use super::requests::Requests;
use super::sanitize::{self, Connection, Rewrite};
use super::{BUFFER, Consumed, LocalFailure, Request, Slot, StreamInput};
use crate::time::Instant;
use crate::wire::base64;
use crate::wire::http::{
    Framing, HeadBuffer, Kind, RequestHead, Version, parse_request, request_framing,
};
use crate::wire::identity::Identity;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use log::{debug, trace};

/// A request's head has to arrive within this time; over I2P a lost packet costs seconds.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stream may stay open between requests.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the local server may take to accept.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the local server may be silent before its answer begins.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an exchange, or a half-closed tunnel, may stand still.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1800);
/// How long the visitor may take to read our last bytes.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

const SLOT: Slot = Slot::INCOMING;

/// One incoming stream of an HTTP server tunnel. See [the module's parent](super) for how to drive
/// it; its stream is [`Slot::INCOMING`] and open from the start.
pub struct HttpServer {
    /// The header lines that name the visitor.
    identity: Vec<u8>,
    /// What an HTTP/1.0 request without `Host` is taken to ask for.
    host: Arc<str>,
    phase: Phase,
    local: Local,
    head: HeadBuffer,
    relay: Relay,
    requests: Requests,
    stream_closed: bool,
    /// The stream is not to be closed any more: it broke, or its close was asked for.
    stream_gone: bool,
    /// No request is taken any more.
    stopping: bool,
    timer: (Timer, Instant),
}

enum Phase {
    Head,
    /// `expects`: the visitor waits for `100 Continue`.
    Exchange {
        expects: bool,
    },
    Tunnel(Pipe),
    Closing {
        abort: bool,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    /// Not needed yet.
    None,
    Connecting,
    Open,
    /// Finished sending.
    Closed,
    /// Broke, or never was.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Idle,
    Head,
    Connect,
    Answer,
    Stall,
    Flush,
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
        }
    }

    /// Starts again when bytes move.
    const fn is_inactivity(self) -> bool {
        match self {
            Self::Answer | Self::Stall | Self::Flush => true,
            Self::Idle | Self::Head | Self::Connect | Self::Never => false,
        }
    }
}

/// A judged request.
struct Judged {
    head: Vec<u8>,
    plan: Plan,
    expects: bool,
}

impl HttpServer {
    /// For a stream that `remote` opened; `host` is our own `.b32.i2p` address.
    #[must_use]
    pub fn new(now: Instant, remote: &Identity, host: Arc<str>) -> Self {
        let identity = format!(
            "X-I2P-DestHash: {}\r\nX-I2P-DestB64: {}\r\nX-I2P-DestB32: {}\r\n",
            base64::encode(remote.hash().as_bytes()),
            remote.to_base64(),
            remote.b32_address(),
        );
        Self {
            identity: identity.into_bytes(),
            host,
            phase: Phase::Head,
            local: Local::None,
            head: HeadBuffer::new(Kind::Request),
            relay: Relay::new(true),
            requests: Requests::default(),
            stream_closed: false,
            stream_gone: false,
            stopping: false,
            timer: (Timer::Head, now + HEAD_TIMEOUT),
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
            _ if slot != SLOT => return 0,
            Phase::Exchange { .. } if self.relay.request_done() => 0,
            Phase::Exchange { .. } => self.relay.to_server.room(),
            Phase::Tunnel(pipe) => pipe.stream_room(),
            Phase::Head | Phase::Closing { .. } | Phase::Done => BUFFER,
        };
        if room == 0 {
            self.requests.pause_stream();
        }
        room
    }

    /// Bytes from the local server.
    pub fn handle_local(&mut self, now: Instant, bytes: &[u8]) -> Consumed {
        let taken = self.take_local(bytes);
        let full = match &self.phase {
            Phase::Exchange { .. } => self.relay.to_client.free() == 0,
            Phase::Tunnel(pipe) => pipe.local_room() == 0,
            Phase::Head | Phase::Closing { .. } | Phase::Done => false,
        };
        let pause = taken < bytes.len() || full;
        if pause {
            self.requests.pause_local();
        }
        self.settle(now, true);
        Consumed { taken, pause }
    }

    /// The connect that [`Request::ConnectLocal`] asked for is done.
    pub fn handle_local_connected(&mut self, now: Instant) {
        if self.local == Local::Connecting {
            self.local = Local::Open;
            if let Phase::Exchange { expects } = &mut self.phase
                && core::mem::take(expects)
            {
                self.relay.to_client.append(CONTINUE);
            }
        }
        self.settle(now, true);
    }

    /// The local server finished sending.
    pub fn handle_local_closed(&mut self, now: Instant) {
        self.local = Local::Closed;
        match &mut self.phase {
            Phase::Head => self.close(false),
            Phase::Exchange { .. } => {
                if self.relay.handle_server_closed().is_err() {
                    self.fail(Problem::TargetBad);
                }
            }
            Phase::Tunnel(pipe) => pipe.handle_local_closed(),
            Phase::Closing { .. } | Phase::Done => {}
        }
        self.settle(now, true);
    }

    /// The connection to the local server broke, or never came to be.
    pub fn handle_local_failed(&mut self, now: Instant, failure: LocalFailure) {
        let was = core::mem::replace(&mut self.local, Local::Failed);
        self.requests.local_gone();
        match &self.phase {
            Phase::Exchange { .. } if self.relay.response_done() => {}
            Phase::Exchange { .. } => self.fail(match (was, failure) {
                (Local::Connecting, LocalFailure::TimedOut) => Problem::TargetSlow,
                (Local::Connecting, _) => Problem::TargetDown,
                (_, _) => Problem::TargetBad,
            }),
            Phase::Tunnel(_) => self.close(true),
            Phase::Head => self.close(false),
            Phase::Closing { .. } | Phase::Done => {}
        }
        self.settle(now, true);
    }

    /// What happened on the stream; for `Data`, how many bytes were taken.
    pub fn handle_stream(&mut self, now: Instant, slot: Slot, input: StreamInput<'_>) -> usize {
        let mut taken = 0;
        match input {
            StreamInput::Data(bytes) if slot != SLOT => return bytes.len(),
            _ if slot != SLOT => return 0,
            StreamInput::Opened => {}
            StreamInput::Data(bytes) => {
                while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                    let n = self.take_stream(rest);
                    taken += n;
                    if n == 0 {
                        self.requests.pause_stream();
                        break;
                    }
                }
            }
            StreamInput::RemoteClosed => self.handle_stream_closed(),
            StreamInput::Failed(failure) => {
                trace!("visitor: {failure}");
                self.stream_gone = true;
                self.relay.to_client.clear();
                self.phase = Phase::Closing { abort: true };
            }
        }
        self.settle(now, true);
        taken
    }

    /// The router stops: nothing new is begun, and what is under way may end by itself.
    pub fn shut_down(&mut self, now: Instant) {
        self.stopping = true;
        match &self.phase {
            Phase::Head => self.close(false),
            Phase::Tunnel(_) | Phase::Exchange { .. } | Phase::Closing { .. } | Phase::Done => {}
        }
        self.settle(now, true);
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (timer, deadline) = self.timer;
        if timer == Timer::Never || now < deadline {
            return;
        }
        match timer {
            Timer::Idle => self.close(false),
            Timer::Head if self.head.is_empty() => self.close(false),
            Timer::Head => self.refuse(Problem::SlowRequest, false),
            Timer::Connect => self.fail(Problem::TargetSlow),
            Timer::Answer if self.relay.request_done() => self.fail(Problem::TargetSlow),
            Timer::Answer => self.fail(Problem::SlowRequest),
            Timer::Stall | Timer::Flush => {
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

    /// Appends at most `room` bytes for the stream and says how many.
    pub fn poll_stream(
        &mut self,
        now: Instant,
        slot: Slot,
        room: usize,
        out: &mut Vec<u8>,
    ) -> usize {
        let n = match &mut self.phase {
            _ if slot != SLOT => 0,
            Phase::Tunnel(pipe) => pipe.poll_stream(room, out),
            Phase::Head | Phase::Exchange { .. } | Phase::Closing { .. } => {
                self.relay.to_client.take(room, out)
            }
            Phase::Done => 0,
        };
        if n > 0 {
            self.settle(now, true);
        }
        n
    }

    /// Appends at most `room` bytes for the local server and says how many; none before it is
    /// connected.
    pub fn poll_local(&mut self, now: Instant, room: usize, out: &mut Vec<u8>) -> usize {
        let n = match (&mut self.phase, self.local) {
            (_, Local::None | Local::Connecting | Local::Failed) => 0,
            (Phase::Tunnel(pipe), Local::Open | Local::Closed) => pipe.poll_local(room, out),
            (
                Phase::Head | Phase::Exchange { .. } | Phase::Closing { .. } | Phase::Done,
                Local::Open | Local::Closed,
            ) => self.relay.to_server.take(room, out),
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

    fn take_stream(&mut self, bytes: &[u8]) -> usize {
        match &mut self.phase {
            Phase::Head => match self.head.push(bytes) {
                Ok(n) => {
                    if self.head.is_complete() {
                        self.handle_head();
                    }
                    n
                }
                Err(error) => {
                    self.refuse(error.into(), false);
                    bytes.len()
                }
            },
            Phase::Exchange { .. } => match self.relay.handle_client(bytes) {
                Ok(n) => n,
                Err(error) => {
                    self.fail(error.into());
                    bytes.len()
                }
            },
            Phase::Tunnel(pipe) => pipe.handle_stream(bytes),
            Phase::Closing { .. } | Phase::Done => bytes.len(),
        }
    }

    fn handle_head(&mut self) {
        let judged = judge(self.head.as_bytes(), &self.identity, &self.host);
        self.head.clear();
        match judged {
            Ok(Judged { head, plan, expects }) => {
                self.relay.start(plan, &head);
                if self.local == Local::None {
                    self.local = Local::Connecting;
                    self.requests.push(Request::ConnectLocal);
                } else if expects {
                    self.relay.to_client.append(CONTINUE);
                }
                self.phase = Phase::Exchange { expects: expects && self.local != Local::Open };
            }
            Err((problem, head_only)) => self.refuse(problem, head_only),
        }
    }

    fn handle_stream_closed(&mut self) {
        self.stream_closed = true;
        match &mut self.phase {
            Phase::Head => self.close(false),
            Phase::Exchange { .. } if !self.relay.request_done() => self.close(true),
            Phase::Tunnel(pipe) => pipe.handle_stream_closed(),
            // It may well want the answer.
            Phase::Exchange { .. } | Phase::Closing { .. } | Phase::Done => {}
        }
    }

    fn take_local(&mut self, bytes: &[u8]) -> usize {
        match &mut self.phase {
            Phase::Exchange { .. } => match self.relay.handle_server(bytes) {
                Ok(n) if self.relay.upgraded() => {
                    let relay = core::mem::replace(&mut self.relay, Relay::new(true));
                    let mut pipe = Pipe::new(SLOT, relay.to_client, relay.to_server);
                    if self.stream_closed {
                        pipe.handle_stream_closed();
                    }
                    let rest = bytes.get(n..).unwrap_or_default();
                    let more = pipe.handle_local(rest);
                    self.phase = Phase::Tunnel(pipe);
                    n + more
                }
                Ok(n) => n,
                Err(error) => {
                    debug!("answer of the local server: {error}");
                    self.fail(Problem::TargetBad);
                    bytes.len()
                }
            },
            Phase::Tunnel(pipe) => pipe.handle_local(bytes),
            Phase::Head => {
                debug!("the local server speaks without being asked");
                self.close(false);
                bytes.len()
            }
            Phase::Closing { .. } | Phase::Done => bytes.len(),
        }
    }

    /// A page if the visitor was told nothing yet, else an end that cannot be taken for a complete
    /// answer.
    fn fail(&mut self, problem: Problem) {
        if self.relay.started() {
            self.close(true);
        } else {
            self.refuse(problem, self.relay.to_head());
        }
    }

    fn refuse(&mut self, problem: Problem, head_only: bool) {
        debug!("request to our site refused: {problem:?}");
        self.relay.to_client.append(&pages::site_problem(problem, head_only));
        self.close(false);
    }

    fn close(&mut self, abort: bool) {
        self.relay.to_server.clear();
        self.phase = Phase::Closing { abort };
    }

    fn settle(&mut self, now: Instant, moved: bool) {
        if matches!(self.phase, Phase::Exchange { .. }) && self.relay.response_done() {
            let local_gone = matches!(self.local, Local::Closed | Local::Failed);
            let sent = self.relay.request_done() && self.relay.to_server.is_empty();
            let ends = self.stream_closed || self.stopping;
            if self.relay.client_keeps() && self.relay.server_keeps() && !ends {
                self.phase = Phase::Head;
            } else if sent || local_gone {
                self.close(false);
            }
        }
        self.settle_end();
        match &self.phase {
            Phase::Exchange { .. } => {
                if self.relay.to_client.is_roomy() {
                    self.requests.resume_local();
                }
                if !self.relay.request_done() && self.relay.to_server.is_roomy() {
                    self.requests.resume_stream(SLOT);
                }
            }
            Phase::Head | Phase::Closing { .. } => {
                self.requests.resume_local();
                self.requests.resume_stream(SLOT);
            }
            Phase::Tunnel(_) | Phase::Done => {}
        }
        let timer = self.wanted_timer();
        if timer != self.timer.0 || (moved && timer.is_inactivity()) {
            self.timer = (timer, now + timer.duration());
        }
    }

    fn settle_end(&mut self) {
        match &mut self.phase {
            Phase::Tunnel(pipe) => {
                if pipe.settle(&mut self.requests) {
                    self.phase = Phase::Done;
                }
            }
            Phase::Closing { abort } if self.relay.to_client.is_empty() => {
                let abort = *abort;
                if !core::mem::replace(&mut self.stream_gone, true) {
                    self.requests.push(if abort {
                        Request::ResetStream { slot: SLOT }
                    } else {
                        Request::CloseStream { slot: SLOT }
                    });
                }
                if self.local == Local::None {
                    self.requests.local_gone();
                }
                self.requests.close_local(abort);
                self.phase = Phase::Done;
            }
            Phase::Head if self.head.is_empty() => {
                self.relay.to_server.release();
                self.relay.to_client.release();
            }
            Phase::Head | Phase::Exchange { .. } | Phase::Closing { .. } | Phase::Done => {}
        }
    }

    fn wanted_timer(&self) -> Timer {
        match &self.phase {
            Phase::Head if self.head.is_empty() && self.local != Local::None => Timer::Idle,
            Phase::Head => Timer::Head,
            Phase::Exchange { .. } if self.local == Local::Connecting => Timer::Connect,
            Phase::Exchange { .. } if !self.relay.started() => Timer::Answer,
            Phase::Exchange { .. } => Timer::Stall,
            Phase::Tunnel(pipe) if pipe.is_half_closed() => Timer::Stall,
            Phase::Closing { .. } => Timer::Flush,
            Phase::Tunnel(_) | Phase::Done => Timer::Never,
        }
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Judges a complete head, and writes the one that the local server gets.
fn judge(bytes: &[u8], identity: &[u8], own: &str) -> Result<Judged, (Problem, bool)> {
    let head = parse_request(bytes).map_err(|e| (e.into(), false))?;
    judge_head(&head, identity, own).map_err(|problem| (problem, head.method == "HEAD"))
}

fn judge_head(head: &RequestHead<'_>, identity: &[u8], own: &str) -> Result<Judged, Problem> {
    let framing = request_framing(head)?;
    let host = sanitize::only_host(&head.headers).map_err(Problem::BadRequest)?;
    let expects = sanitize::expects_continue(head).map_err(|()| Problem::Expectation)?;
    let host = match host {
        Some(value) => host_value(value).ok_or(Problem::BadRequest("Host"))?,
        None if head.version == Version::Http10 => own.to_string(),
        None => return Err(Problem::BadRequest("Host is missing")),
    };
    let (target, host) = origin_form(head, host)?;
    let upgrade = sanitize::wants_upgrade(head, framing);
    let keep = sanitize::wants_keep(head);
    let connection = match (upgrade, keep) {
        (true, _) => Connection::Upgrade,
        (false, true) => Connection::Keep,
        (false, false) => Connection::Close,
    };
    let ours = Rewrite { target: &target, host: &host, framing, connection };
    Ok(Judged {
        head: sanitize::site_request(head, identity, &ours),
        plan: Plan {
            framing,
            to_head: head.method == "HEAD",
            upgrade,
            old_client: head.version == Version::Http10,
            keep,
        },
        expects: expects && !matches!(framing, Framing::Empty | Framing::Length(0)),
    })
}

/// The target as a site sees it, and the host that goes with it: an absolute target decides over
/// `Host` (RFC 9112, 3.2.2).
fn origin_form(head: &RequestHead<'_>, host: String) -> Result<(String, String), Problem> {
    let bad = Problem::BadRequest("request target");
    if head.method == "CONNECT" {
        return Err(Problem::BadRequest("CONNECT"));
    }
    if head.target.starts_with('/') || (head.target == "*" && head.method == "OPTIONS") {
        return Ok((head.target.to_string(), host));
    }
    let (scheme, rest) = head.target.split_once("://").ok_or(bad)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(bad)?;
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(bad);
    }
    let host = host_value(authority.as_bytes()).ok_or(bad)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((format!("{slash}{path}"), host))
}

/// A host and port without anything that could end it for another reader.
fn host_value(value: &[u8]) -> Option<String> {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b".-_:~=[]".contains(b);
    if value.is_empty() || value.len() > 1500 || !value.iter().all(allowed) {
        return None;
    }
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests;
