//! The machines of the client protocols between a hostile local side and a hostile stream.

use super::input::Input;
use super::test_destination;
use ramson_core::client::http_proxy::{HttpProxy, Shared};
use ramson_core::client::http_server::HttpServer;
use ramson_core::client::tunnel::{Destination, Tunnel};
use ramson_core::client::{
    BUFFER, Connection, Failure, LocalFailure, NameAnswer, Request, Slot, StreamInput,
};
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::Instant;
use ramson_core::wire::http::MAX_HEAD;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes in all that may wait in a machine for one side. A response that needs a new head, an
/// error page, may come on top of the buffer and a head.
const MAX_WAITING: usize = BUFFER + 2 * MAX_HEAD;

/// A machine, and what its owner has to know.
struct Owner {
    connection: Connection,
    now: Instant,
    /// Streams that live, and the bytes that were not taken from each.
    streams: BTreeMap<Slot, Vec<u8>>,
    last_slot: Option<Slot>,
    local_rest: Vec<u8>,
    local_open: bool,
    connecting: bool,
    naming: bool,
    closed: bool,
}

impl Owner {
    fn new(kind: u8) -> Self {
        let now = Instant::from_micros(1);
        let (us, _) = test_destination();
        let connection = match kind & 3 {
            0 => {
                let shared = Arc::new(Shared::new(&mut Rng::new(&Seed::from_number(1))));
                Connection::HttpProxy(Box::new(HttpProxy::new(now, shared)))
            }
            1 => {
                let host = us.b32_address().into();
                Connection::HttpServer(Box::new(HttpServer::new(now, us, host)))
            }
            2 => {
                let to = Destination::parse(&us.b32_address()).unwrap();
                Connection::Tunnel(Box::new(Tunnel::client(now, to)))
            }
            _ => Connection::Tunnel(Box::new(Tunnel::server(now))),
        };
        let serves = kind & 1 != 0;
        let mut owner = Self {
            connection,
            now,
            streams: BTreeMap::new(),
            last_slot: None,
            local_rest: Vec::new(),
            local_open: !serves,
            connecting: false,
            naming: false,
            closed: false,
        };
        if serves {
            owner.streams.insert(Slot::INCOMING, Vec::new());
            owner.last_slot = Some(Slot::INCOMING);
        }
        owner.requests();
        owner
    }

    fn requests(&mut self) {
        while let Some(request) = self.connection.poll_request() {
            assert!(!self.closed, "a request after the end");
            match request {
                Request::Open { slot, .. } => {
                    assert!(self.last_slot.is_none_or(|last| last < slot), "a slot used twice");
                    self.last_slot = Some(slot);
                    self.streams.insert(slot, Vec::new());
                }
                Request::FinishStream { slot } => assert!(self.streams.contains_key(&slot)),
                Request::CloseStream { slot } | Request::ResetStream { slot } => {
                    assert!(self.streams.remove(&slot).is_some(), "not open");
                }
                Request::ReadStream { slot } => {
                    let rest = std::mem::take(self.streams.get_mut(&slot).unwrap());
                    self.stream(slot, &rest);
                }
                Request::ConnectLocal => {
                    assert!(!self.local_open && !self.connecting);
                    self.connecting = true;
                }
                Request::ReadLocal => {
                    let rest = std::mem::take(&mut self.local_rest);
                    self.local(&rest);
                }
                Request::FinishLocal => assert!(self.local_open),
                Request::CloseLocal { .. } => {
                    self.closed = true;
                    self.local_open = false;
                }
                Request::FindName { .. } | Request::LearnName { .. } => self.naming = true,
            }
        }
    }

    fn local(&mut self, bytes: &[u8]) {
        self.local_rest.extend_from_slice(bytes);
        if !self.local_open {
            return;
        }
        let consumed = self.connection.handle_local(self.now, &self.local_rest);
        assert!(consumed.taken == self.local_rest.len() || consumed.pause, "left without a pause");
        self.local_rest.drain(..consumed.taken);
    }

    fn stream(&mut self, slot: Slot, bytes: &[u8]) {
        let Some(rest) = self.streams.get_mut(&slot) else { return };
        rest.extend_from_slice(bytes);
        let taken = self.connection.handle_stream(self.now, slot, StreamInput::Data(rest));
        rest.drain(..taken);
    }

    fn timeout(&mut self) -> bool {
        let Some(at) = self.connection.poll_timeout() else { return false };
        self.now = self.now.max(at);
        self.connection.handle_timeout(self.now);
        true
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let live = std::num::NonZero::new(self.streams.len())
            .and_then(|n| self.streams.keys().nth(usize::from(op >> 4) % n).copied());
        let mut out = Vec::new();
        match op & 0x0f {
            0..=2 => {
                let len = usize::from(input.u16()) % 2048;
                self.local(input.bytes(len));
            }
            3 | 4 => {
                let len = usize::from(input.u16()) % 2048;
                let bytes = input.bytes(len);
                if let Some(slot) = live {
                    self.stream(slot, bytes);
                }
            }
            5 => {
                if let Some(slot) = live {
                    self.connection.handle_stream(self.now, slot, StreamInput::Opened);
                }
            }
            6 => {
                if let Some(slot) = live
                    && self.streams[&slot].is_empty()
                {
                    self.connection.handle_stream(self.now, slot, StreamInput::RemoteClosed);
                }
            }
            7 => {
                if let Some(slot) = live {
                    self.streams.remove(&slot);
                    let all = [
                        Failure::UnknownName,
                        Failure::LeaseSetNotFound,
                        Failure::Unsupported,
                        Failure::NoTunnels,
                        Failure::NoRouters,
                        Failure::TimedOut,
                        Failure::Refused,
                        Failure::Reset,
                        Failure::TooMany,
                        Failure::ShuttingDown,
                    ];
                    let failure = all[usize::from(input.u8()) % all.len()];
                    self.connection.handle_stream(self.now, slot, StreamInput::Failed(failure));
                }
            }
            8 if self.local_open && self.local_rest.is_empty() => {
                self.connection.handle_local_closed(self.now);
            }
            9 if self.local_open || self.connecting => {
                (self.local_open, self.connecting) = (false, false);
                let all = [
                    LocalFailure::Refused,
                    LocalFailure::TimedOut,
                    LocalFailure::Reset,
                    LocalFailure::Other,
                ];
                self.connection.handle_local_failed(self.now, all[usize::from(op >> 4) & 3]);
            }
            10 => {
                let room = usize::from(input.u16());
                let given = self.connection.poll_local(self.now, room, &mut out);
                assert!(given == out.len() && given <= room);
            }
            11 => {
                let room = usize::from(input.u16());
                if let Some(slot) = live {
                    let given = self.connection.poll_stream(self.now, slot, room, &mut out);
                    assert!(given == out.len() && given <= room);
                }
            }
            12 if self.naming => {
                self.naming = false;
                let known = NameAnswer::Known(test_destination().0.clone());
                let answer = if op & 0x10 == 0 { NameAnswer::Unknown } else { known };
                self.connection.handle_name(self.now, answer);
            }
            13 if self.connecting => {
                (self.connecting, self.local_open) = (false, true);
                self.connection.handle_local_connected(self.now);
            }
            14 => self.now = self.now + Duration::from_millis(input.u16().into()),
            15 => {
                self.timeout();
            }
            _ => {}
        }
        self.requests();
    }

    /// All that waits for either side.
    fn drain(&mut self) {
        let slots: Vec<Slot> = self.streams.keys().copied().collect();
        for slot in slots {
            let mut out = Vec::new();
            let given = self.connection.poll_stream(self.now, slot, usize::MAX, &mut out);
            assert!(given == out.len() && given <= MAX_WAITING, "{given} bytes waited");
            self.requests();
        }
        if self.local_open {
            let mut out = Vec::new();
            let given = self.connection.poll_local(self.now, usize::MAX, &mut out);
            assert!(given == out.len() && given <= MAX_WAITING, "{given} bytes waited");
            self.requests();
        }
    }
}

/// The first byte chooses the machine. Then operations: bytes of either side in any pieces,
/// closes, failures, names, time. The machine keeps to its contract, holds a bounded number of
/// bytes, and is over a while after both sides are gone.
pub fn client_connection(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    let mut owner = Owner::new(mode);
    for _ in 0..300 {
        if input.is_empty() || owner.closed {
            break;
        }
        owner.step(&mut input);
        if mode & 0x80 == 0 {
            owner.drain();
        }
    }
    owner.drain();
    // Both sides go. A tunnel may be silent for ever until then.
    while let Some((slot, _)) = owner.streams.pop_first() {
        let input = StreamInput::Failed(Failure::Reset);
        owner.connection.handle_stream(owner.now, slot, input);
        owner.requests();
    }
    if owner.local_open || owner.connecting {
        (owner.local_open, owner.connecting) = (false, false);
        owner.connection.handle_local_failed(owner.now, LocalFailure::Reset);
    }
    owner.requests();
    for _ in 0..100 {
        if owner.connection.is_done() || owner.closed || !owner.timeout() {
            break;
        }
        owner.requests();
        owner.drain();
    }
    assert!(owner.connection.is_done() || owner.closed, "it never ends");
}
