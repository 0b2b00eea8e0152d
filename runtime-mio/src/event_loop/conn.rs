//! One byte stream: its socket, what the socket said last, and the bytes between it and the router.

use mio::event::{Event, Source};
use mio::net::{TcpStream, UnixStream};
use ramson_core::router::input::{ConnError, ConnId};
use ramson_core::time::Instant;
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// The least and the most that is read or asked of the router at once. Streams that take all of it
/// are given more; those that do not need not hold much here.
const MIN_CHUNK: usize = 16 << 10;
pub(super) const MAX_CHUNK: usize = 256 << 10;
const START_CHUNK: usize = 64 << 10;

/// A stream of either kind.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The connect is under way.
    Connecting,
    /// The router knows it.
    Open,
    /// The router is done with it; what it left is being sent.
    Flushing,
    /// All is sent, with FIN. Closing now would make the kernel send RST for what the peer still
    /// sends, and that can destroy what it has not read yet.
    Lingering,
}

/// What the router asked for on the writing side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteSide {
    Open,
    /// FIN as soon as everything is sent.
    Ending,
    /// FIN is sent.
    Ended,
    /// The peer refused: what is there to read is read, then the error will show.
    Broken,
}

/// What the peer did on the reading side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadSide {
    Open,
    /// It ended, and the router knows.
    Ended,
}

/// Outcome of one read.
pub(super) enum Got {
    Bytes(usize),
    Nothing,
    End,
    Failed(ConnError),
}

/// Outcome of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    Blocked,
    Broken,
}

/// One byte stream.
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) socket: Socket,
    pub(super) phase: Phase,
    pub(super) read: ReadSide,
    pub(super) write: WriteSide,
    /// The socket may have bytes, or an end, to read.
    pub(super) readable: bool,
    /// The socket may take bytes.
    pub(super) writable: bool,
    /// The router wants no more input now.
    pub(super) paused: bool,
    /// The router has bytes to send.
    pub(super) wants_write: bool,
    /// In the queue of streams to be read.
    pub(super) in_read_queue: bool,
    /// In the queue of streams to be written.
    pub(super) in_write_queue: bool,
    /// Bytes read that the router did not take; at most one read.
    pub(super) unread: Vec<u8>,
    /// When to give up flushing or lingering, the key of the timer.
    pub(super) deadline: Option<Instant>,
    /// Bytes were sent since the deadline was set.
    pub(super) progress: bool,
    /// Bytes dropped since the router closed it.
    pub(super) discarded: usize,
    /// The end of the stream was announced: a short read does not mean that nothing is left.
    end_announced: bool,
    /// Bytes of the router that the socket did not take, from `out_pos`; at most one chunk, more
    /// only after the router closed the stream.
    out: Vec<u8>,
    out_pos: usize,
    read_size: usize,
    room: usize,
    /// Bytes were read, and nothing was written since that would carry the acknowledgement.
    unacknowledged: bool,
}

impl Conn {
    pub(super) fn new(id: ConnId, socket: Socket, phase: Phase) -> Self {
        Self {
            id,
            socket,
            phase,
            read: ReadSide::Open,
            write: WriteSide::Open,
            readable: false,
            // A new socket takes bytes at once; a connecting one says so when it is connected.
            writable: phase == Phase::Open,
            paused: false,
            wants_write: false,
            in_read_queue: false,
            in_write_queue: false,
            unread: Vec::new(),
            deadline: None,
            progress: false,
            discarded: 0,
            end_announced: false,
            out: Vec::new(),
            out_pos: 0,
            read_size: START_CHUNK,
            room: START_CHUNK,
            unacknowledged: false,
        }
    }

    /// Takes over what the poll reports.
    pub(super) fn note(&mut self, event: &Event) {
        let broken = event.is_error();
        self.readable |= event.is_readable() || event.is_read_closed() || broken;
        self.writable |= event.is_writable() || event.is_write_closed() || broken;
        self.end_announced |= event.is_read_closed() || broken;
        if broken && self.read == ReadSide::Ended && self.phase == Phase::Open {
            // No read will find it.
            self.break_write();
        }
    }

    /// Whether a call for its reading side would do anything.
    pub(super) fn has_input(&self) -> bool {
        match self.phase {
            Phase::Connecting => self.writable,
            Phase::Open if !self.unread.is_empty() => !self.paused,
            Phase::Open if self.read == ReadSide::Ended => self.write == WriteSide::Broken,
            Phase::Open => !self.paused && self.readable,
            Phase::Flushing | Phase::Lingering => self.may_read(),
        }
    }

    /// Whether a call for its writing side would do anything.
    pub(super) fn has_output(&self) -> bool {
        let wanted = self.unsent() > 0
            || self.wants_write
            || self.write == WriteSide::Ending
            || self.phase == Phase::Flushing;
        self.writable && wanted && self.phase != Phase::Connecting
    }

    fn may_read(&self) -> bool {
        self.readable && self.read == ReadSide::Open
    }

    /// Bytes that wait for the socket.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() - self.out_pos
    }

    /// How much to ask the router for.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Reads once into `buf`.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> Got {
        let size = self.read_size.min(buf.len());
        let Some(buf) = buf.get_mut(..size) else { return Got::Nothing };
        match self.socket.read(buf) {
            Ok(0) => {
                self.readable = false;
                Got::End
            }
            Ok(n) => {
                self.unacknowledged = true;
                if n < size && SHORT_READ_MEANS_EMPTY && !self.end_announced {
                    self.readable = false;
                }
                if n == size {
                    self.read_size = (self.read_size * 2).min(MAX_CHUNK);
                }
                Got::Bytes(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Got::Nothing
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Got::Nothing,
            Err(e) => Got::Failed(conn_error(&e)),
        }
    }

    /// Tells the peer that its bytes are here, unless something written since the read did. i2pd leaves
    /// Nagle's algorithm on: what it writes next waits for that, and the kernel would keep it back for
    /// 40 ms, in the hope of an answer to send it with.
    pub(super) fn acknowledge(&mut self) {
        if std::mem::take(&mut self.unacknowledged)
            && let Socket::Tcp(tcp) = &self.socket
        {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let _ = SockRef::from(tcp).set_tcp_quickack(true);
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            let _ = tcp;
        }
    }

    /// Keeps what the router did not take, and reads less next time.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.unread.extend_from_slice(rest);
        if !rest.is_empty() {
            self.read_size = MIN_CHUNK;
        }
    }

    /// Appends the router's last words, to be sent behind what waits.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) -> Sent {
        while let Some(rest) = self.out.get(self.out_pos..).filter(|r| !r.is_empty()) {
            match self.socket.write(rest) {
                Ok(n) => {
                    self.out_pos += n;
                    self.progress = true;
                    self.unacknowledged = false;
                }
                Err(e) => match self.write_failed(&e) {
                    Some(sent) => return sent,
                    None => continue,
                },
            }
        }
        // Not kept: a thousand idle streams would hold a thousand buffers.
        self.out = Vec::new();
        self.out_pos = 0;
        Sent::All
    }

    /// Sends `bytes` and keeps what the socket does not take. Only when nothing waits.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Sent {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(n) => {
                    rest = rest.get(n..).unwrap_or_default();
                    self.unacknowledged = false;
                }
                Err(e) => match self.write_failed(&e) {
                    Some(sent) => {
                        if sent == Sent::Blocked {
                            self.out.extend_from_slice(rest);
                            self.room = (self.room / 2).max(MIN_CHUNK);
                        }
                        return sent;
                    }
                    None => continue,
                },
            }
        }
        self.room = (self.room * 2).min(MAX_CHUNK);
        Sent::All
    }

    /// `None` to try again.
    fn write_failed(&mut self, e: &io::Error) -> Option<Sent> {
        if e.kind() == ErrorKind::Interrupted {
            return None;
        }
        if e.kind() == ErrorKind::WouldBlock {
            self.writable = false;
            return Some(Sent::Blocked);
        }
        self.break_write();
        Some(Sent::Broken)
    }

    /// The peer takes no more. It may have said why before: reading goes on and finds the error
    /// behind that.
    fn break_write(&mut self) {
        self.write = WriteSide::Broken;
        self.wants_write = false;
        self.out = Vec::new();
        self.out_pos = 0;
        self.readable = true;
        self.end_announced = true;
    }

    /// Sends FIN. From now on the socket may be dropped without breaking what was sent.
    pub(super) fn end_write(&mut self) {
        self.socket.set_linger(None);
        match self.socket.shutdown(Shutdown::Write) {
            Ok(()) => self.write = WriteSide::Ended,
            Err(_) => self.break_write(),
        }
    }

    /// Whether a connect under way is done: `Ok(false)` when not yet.
    pub(super) fn connected(&self) -> Result<bool, ConnError> {
        let Socket::Tcp(tcp) = &self.socket else { return Ok(true) };
        if let Some(e) = tcp.take_error().unwrap_or_else(Some) {
            return Err(conn_error(&e));
        }
        match tcp.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(conn_error(&e)),
        }
    }
}

/// On these systems a read that brings less than was asked has emptied the socket, and the next
/// bytes make a new event; only an end that was there before makes none.
const SHORT_READ_MEANS_EMPTY: bool = cfg!(any(target_os = "linux", target_os = "android"));

impl Socket {
    /// Makes the kernel drop what is unsent and send RST when the socket is dropped, as
    /// [`super::listen::tune`] does for every new one.
    pub(super) fn set_abort(&self) {
        self.set_linger(Some(Duration::ZERO));
    }

    fn set_linger(&self, linger: Option<Duration>) {
        match self {
            // A socket that refuses this is dead already.
            Self::Tcp(tcp) => drop(socket2::SockRef::from(tcp).set_linger(linger)),
            // It has no RST; what is said on one shows its own end.
            Self::Unix(_) => {}
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Unix(unix) => unix,
        }
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buf),
            Self::Unix(unix) => unix.read(buf),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
        }
        .and_then(|n| if n == 0 { Err(ErrorKind::WriteZero.into()) } else { Ok(n) })
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.shutdown(how),
            Self::Unix(unix) => unix.shutdown(how),
        }
    }
}

/// In the core's words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system has many words for few cases")]
pub(super) fn conn_error(e: &io::Error) -> ConnError {
    match e.kind() {
        ErrorKind::ConnectionRefused => ConnError::Refused,
        ErrorKind::TimedOut => ConnError::TimedOut,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            ConnError::Reset
        }
        _ => ConnError::Other,
    }
}
