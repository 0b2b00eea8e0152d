//! What the tests of this module share: destinations, and an owner that drives a machine and
//! checks that both keep to the rules.

use super::{BUFFER, Connection, LocalFailure, NameAnswer, Request, Slot, StreamInput, Target};
use crate::crypto::{sign, x25519};
use crate::rng::{Rng, Seed};
use crate::time::Instant;
use crate::wire::http::MAX_HEAD;
use crate::wire::identity::Identity;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// The `n`th destination.
pub(crate) fn identity(n: u64) -> Identity {
    let mut rng = Rng::new(&Seed::from_number(n));
    let signing = sign::SigningKey::generate(&mut rng).public();
    Identity::new_destination(x25519::PublicKey(rng.bytes()), &signing, &mut rng)
}

/// The owner's side of an I2P stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// What the machine sent.
    pub(crate) sent: Vec<u8>,
    /// It said that nothing follows.
    pub(crate) finished: bool,
    /// `Some(true)` after a reset.
    pub(crate) closed: Option<bool>,
    /// Bytes of the remote that were not taken yet.
    held: Vec<u8>,
    /// The remote finishes after those.
    remote_closed: bool,
    paused: bool,
    failed: bool,
}

impl Stream {
    /// Nobody closed it yet.
    pub(crate) const fn is_alive(&self) -> bool {
        self.closed.is_none() && !self.failed
    }
}

/// Drives one machine. Bytes are offered `cut` at a time, and `room` bytes are asked for.
pub(crate) struct Rig {
    pub(crate) machine: Connection,
    pub(crate) now: Instant,
    pub(crate) cut: usize,
    pub(crate) room: usize,
    /// Nobody reads the local side when false.
    pub(crate) local_reads: bool,
    /// Nobody reads the streams when false.
    pub(crate) streams_read: bool,
    /// What the local side received.
    pub(crate) local: Vec<u8>,
    pub(crate) local_finished: bool,
    /// `Some(true)` after an abort.
    pub(crate) local_closed: Option<bool>,
    pub(crate) connects: usize,
    pub(crate) streams: BTreeMap<Slot, Stream>,
    pub(crate) opened: Vec<(Slot, Target, u16)>,
    pub(crate) names: Vec<Request>,
    local_held: Vec<u8>,
    local_eof: bool,
    local_paused: bool,
}

impl Rig {
    pub(crate) fn new(machine: Connection) -> Self {
        Self {
            machine,
            now: Instant::ZERO,
            cut: usize::MAX,
            room: usize::MAX,
            local_reads: true,
            streams_read: true,
            local: Vec::new(),
            local_finished: false,
            local_closed: None,
            connects: 0,
            streams: BTreeMap::new(),
            opened: Vec::new(),
            names: Vec::new(),
            local_held: Vec::new(),
            local_eof: false,
            local_paused: false,
        }
    }

    /// With an incoming stream.
    pub(crate) fn with_stream(machine: Connection) -> Self {
        let mut rig = Self::new(machine);
        rig.streams.insert(Slot::INCOMING, Stream::default());
        rig.drain();
        rig
    }

    /// The local side sends.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.local_held.extend_from_slice(bytes.as_ref());
        self.drain();
        self
    }

    /// The local side finishes sending.
    pub(crate) fn hang_up(&mut self) -> &mut Self {
        self.local_eof = true;
        self.drain();
        self
    }

    pub(crate) fn connected(&mut self) -> &mut Self {
        self.machine.handle_local_connected(self.now);
        self.drain();
        self
    }

    pub(crate) fn local_fails(&mut self, failure: LocalFailure) -> &mut Self {
        self.local_closed = Some(true);
        self.machine.handle_local_failed(self.now, failure);
        self.drain();
        self
    }

    /// The router stops.
    pub(crate) fn shuts_down(&mut self) -> &mut Self {
        self.machine.shut_down(self.now);
        self.drain();
        self
    }

    pub(crate) fn opens(&mut self, slot: u32) -> &mut Self {
        self.input(slot, StreamInput::Opened)
    }

    /// The remote of a stream sends.
    pub(crate) fn hears(&mut self, slot: u32, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream(slot).held.extend_from_slice(bytes.as_ref());
        self.drain();
        self
    }

    /// The remote of a stream finishes sending.
    pub(crate) fn remote_closes(&mut self, slot: u32) -> &mut Self {
        self.stream(slot).remote_closed = true;
        self.drain();
        self
    }

    pub(crate) fn fails(&mut self, slot: u32, failure: super::Failure) -> &mut Self {
        self.stream(slot).failed = true;
        self.input(slot, StreamInput::Failed(failure))
    }

    pub(crate) fn answers(&mut self, answer: NameAnswer) -> &mut Self {
        self.machine.handle_name(self.now, answer);
        self.drain();
        self
    }

    /// Lets time pass, waking the machine exactly when it wants to be woken.
    pub(crate) fn passes(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.machine.handle_timeout(self.now);
            self.drain();
            assert!(
                self.machine.poll_timeout().is_none_or(|next| next > self.now),
                "a deadline in the past"
            );
        }
        self.now = end;
        self
    }

    pub(crate) fn stream(&mut self, slot: u32) -> &mut Stream {
        self.streams.get_mut(&Slot(slot)).expect("no such stream")
    }

    /// What was sent on a stream, as text.
    pub(crate) fn sent(&self, slot: u32) -> String {
        String::from_utf8_lossy(&self.streams[&Slot(slot)].sent).into_owned()
    }

    /// What the local side received so far, as text; the next call begins after it.
    pub(crate) fn heard(&mut self) -> String {
        let local = core::mem::take(&mut self.local);
        String::from_utf8_lossy(&local).into_owned()
    }

    fn input(&mut self, slot: u32, input: StreamInput<'_>) -> &mut Self {
        self.machine.handle_stream(self.now, Slot(slot), input);
        self.drain();
        self
    }

    /// Goes on until nobody has anything to do.
    pub(crate) fn drain(&mut self) {
        let mut out = Vec::new();
        loop {
            while let Some(request) = self.machine.poll_request() {
                self.request(request);
            }
            let mut moved = self.offer_local();
            let slots: Vec<Slot> = self.streams.keys().copied().collect();
            for slot in slots {
                moved |= self.offer_stream(slot);
                if !self.streams_read {
                    continue;
                }
                out.clear();
                let n = self.machine.poll_stream(self.now, slot, self.room, &mut out);
                assert!(n == out.len() && n <= self.room);
                let stream = &self.streams[&slot];
                let silent = stream.finished || stream.closed.is_some() || stream.failed;
                assert!(n == 0 || !silent, "bytes for a stream that is finished");
                self.streams.get_mut(&slot).expect("there").sent.extend_from_slice(&out);
                moved |= n > 0;
            }
            if self.local_reads {
                out.clear();
                let n = self.machine.poll_local(self.now, self.room, &mut out);
                assert!(n == out.len() && n <= self.room);
                assert!(
                    n == 0 || !(self.local_finished || self.local_closed.is_some()),
                    "bytes for a local side that is finished"
                );
                self.local.extend_from_slice(&out);
                moved |= n > 0;
            }
            if let Some(request) = self.machine.poll_request() {
                self.request(request);
                moved = true;
            }
            if !moved {
                break;
            }
        }
        if self.local_closed.is_some() {
            assert!(self.machine.is_done() && self.machine.poll_timeout().is_none());
            for (slot, stream) in &self.streams {
                assert!(stream.closed.is_some() || stream.failed, "{slot:?} is left open");
            }
        }
    }

    fn request(&mut self, request: Request) {
        assert!(
            self.local_closed.is_none()
                || matches!(request, Request::CloseStream { .. } | Request::ResetStream { .. }),
            "{request:?} after the end"
        );
        match request {
            Request::Open { slot, target, port } => {
                assert!(self.streams.insert(slot, Stream::default()).is_none());
                self.opened.push((slot, target, port));
            }
            Request::FinishStream { slot } => {
                let stream = self.alive(slot);
                assert!(!core::mem::replace(&mut stream.finished, true));
            }
            Request::CloseStream { slot } => self.alive(slot).closed = Some(false),
            Request::ResetStream { slot } => self.alive(slot).closed = Some(true),
            Request::ReadStream { slot } => {
                let stream = self.alive(slot);
                assert!(core::mem::take(&mut stream.paused), "resumed, but not paused");
            }
            Request::ConnectLocal => self.connects += 1,
            Request::ReadLocal => {
                assert!(core::mem::take(&mut self.local_paused), "resumed, but not paused");
            }
            Request::FinishLocal => {
                assert!(!core::mem::replace(&mut self.local_finished, true));
            }
            Request::CloseLocal { abort } => self.local_closed = Some(abort),
            Request::FindName { .. } | Request::LearnName { .. } => self.names.push(request),
        }
    }

    fn alive(&mut self, slot: Slot) -> &mut Stream {
        let stream = self.streams.get_mut(&slot).expect("a stream that was opened");
        assert!(stream.closed.is_none() && !stream.failed, "{slot:?} is dead");
        stream
    }

    fn offer_local(&mut self) -> bool {
        if self.local_paused || self.local_closed.is_some() {
            return false;
        }
        if self.local_held.is_empty() {
            if core::mem::take(&mut self.local_eof) {
                self.machine.handle_local_closed(self.now);
                return true;
            }
            return false;
        }
        let n = self.local_held.len().min(self.cut);
        let consumed = self.machine.handle_local(self.now, &self.local_held[..n]);
        assert!(consumed.taken <= n);
        assert!(consumed.pause || consumed.taken == n, "neither taken nor paused");
        self.local_paused = consumed.pause;
        self.local_held.drain(..consumed.taken);
        true
    }

    fn offer_stream(&mut self, slot: Slot) -> bool {
        let stream = self.streams.get_mut(&slot).expect("there");
        if stream.paused || stream.closed.is_some() || stream.failed {
            return false;
        }
        if stream.held.is_empty() {
            if core::mem::take(&mut stream.remote_closed) {
                self.machine.handle_stream(self.now, slot, StreamInput::RemoteClosed);
                return true;
            }
            return false;
        }
        let room = self.machine.stream_room(slot);
        assert!(room <= BUFFER + MAX_HEAD);
        let n = stream.held.len().min(self.cut).min(room);
        let part: Vec<u8> = stream.held.drain(..n).collect();
        let taken = match n {
            0 => 0,
            _ => self.machine.handle_stream(self.now, slot, StreamInput::Data(&part)),
        };
        assert!(taken <= n);
        let stream = self.streams.get_mut(&slot).expect("there");
        stream.held.splice(..0, part[taken..].iter().copied());
        stream.paused = taken < n || room == 0;
        true
    }
}
