//! The loop: one thread, one poll, and the router in the middle.
//!
//! A turn is: due timers, what the poll reported, then what the router wants done. Sockets are
//! edge-triggered, so what a turn does not finish (each stream gets one read and one chunk of
//! writing) stays in a queue, and the next turn does not sleep. Actions are drained after each
//! input; bytes are asked for after each `FLUSH_EVERY` bytes of input and at the end of the
//! turn, so that one write carries the answers to many messages.

mod conn;
mod input;
mod listen;
mod output;
mod udp;

pub(crate) use listen::Acceptor;
pub(crate) use udp::Udp;

use crate::clock;
use crate::jobs::Pool;
use crate::machine::Machine;
use conn::{Conn, MAX_CHUNK, Phase, Socket, WriteSide};
use listen::Listening;
use log::{debug, error, warn};
use mio::event::Source;
use mio::{Events, Interest, Poll, Token, Waker};
use ramson_core::rng::Seed;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnId, EffectId, Listener, SocketId,
};
use ramson_core::router::job::Done;
use ramson_core::router::output::{Action, Event, StoreKey};
use ramson_core::time::Instant;
use rustix::io::Errno;
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use udp::{Intake, Port};

/// Events taken from the kernel at once.
const MAX_EVENTS: usize = 1024;
/// Calls of `handle_timeout` in a turn.
const MAX_TIMEOUTS: usize = 16;
/// The longest sleep. The poll's own clock stops while the machine sleeps, so a deadline may be
/// this late after a resume.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// The shortest sleep while the kernel takes no datagrams: what is due may be just these.
const BLOCKED_SLEEP: Duration = Duration::from_millis(1);
/// How often the wall clock is compared.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a listener waits for descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);
/// How long a closed stream may make no progress with its last bytes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the last bytes of all streams may take when the router has stopped. With the
/// steps of the router before it, a stop takes two seconds at most.
const LAST_FLUSH: Duration = Duration::from_millis(250);
/// Panics of the router that are survived within [`PANIC_WINDOW`].
const MAX_PANICS: u32 = 50;
const PANIC_WINDOW: Duration = Duration::from_mins(1);

const WAKER: Token = Token(0);
/// For whoever runs the loop, to watch something of its own.
pub(crate) const OUTSIDE: Token = Token(1);
/// Sockets for datagrams: one a family.
const FIRST_PORT: usize = 2;
const MAX_PORTS: usize = 2;
const FIRST_LISTENER: usize = FIRST_PORT + MAX_PORTS;
/// Above all listeners: client tunnels are numbered with 16 bits.
const FIRST_CONN: usize = 1 << 17;

/// What the loop does not do itself.
pub(crate) trait Host {
    /// Stores or deletes a value; see [`Action::Persist`]. An error ends the loop.
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) -> Result<(), String>;
    /// The router tells something.
    fn notify(&mut self, event: Event);
    /// The poll reported [`OUTSIDE`], or the waker was used. May return commands.
    fn woken(&mut self) -> Vec<Command>;
    /// When the loop has to end, whether the router is ready for that or not.
    fn deadline(&self) -> Option<Instant>;
}

/// Why the loop ended other than by a shutdown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoopError {
    #[error("poll: {0}")]
    Poll(io::Error),
    #[error("{0}")]
    Store(String),
    #[error("the router panicked {0} times in a minute; this is a bug")]
    Panics(u32),
}

/// The loop around one machine.
pub(crate) struct EventLoop<M, H> {
    machine: M,
    host: H,
    poll: Poll,
    waker: Arc<Waker>,
    listeners: Vec<Listening>,
    ports: Vec<Port>,
    /// There once there is a port.
    intake: Option<Intake>,
    conns: Slab<Conn>,
    by_id: HashMap<ConnId, usize>,
    accepted: u64,
    /// Streams with something to read, or whose rest the router wants now.
    read_queue: VecDeque<usize>,
    /// Streams that were read in this turn.
    just_read: Vec<usize>,
    /// Streams with something to write and room for it.
    write_queue: VecDeque<usize>,
    /// Deadlines of closed streams.
    deadlines: BTreeSet<(Instant, usize)>,
    lingering: usize,
    jobs: Pool<EffectId, Done>,
    read_buf: Box<[u8]>,
    write_buf: Vec<u8>,
    /// Input since the router was asked for output.
    unflushed: usize,
    watch: clock::Watch,
    looked: Instant,
    /// A job was run in this turn.
    worked: bool,
    accept_again: Option<Instant>,
    complained: Option<Instant>,
    panics: u32,
    panics_since: Instant,
    /// Connects that failed at once. The router hears of them from [`Self::drain`], not while it
    /// is asked for actions: it may well try the next, and the next.
    failed_connects: VecDeque<(ConnId, ConnError)>,
    failure: Option<LoopError>,
    /// The router is done; the time until which its last bytes may take.
    stopped: Option<Instant>,
}

impl<M: Machine, H: Host> EventLoop<M, H> {
    /// A loop without listeners. The machine was made with the clocks of this moment.
    pub(crate) fn new(machine: M, host: H, threads: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Self {
            machine,
            host,
            jobs: Pool::start(threads, &waker)?,
            poll,
            waker,
            listeners: Vec::new(),
            ports: Vec::new(),
            intake: None,
            conns: Slab::new(),
            by_id: HashMap::new(),
            accepted: 0,
            read_queue: VecDeque::new(),
            just_read: Vec::new(),
            write_queue: VecDeque::new(),
            deadlines: BTreeSet::new(),
            lingering: 0,
            read_buf: vec![0; MAX_CHUNK].into_boxed_slice(),
            write_buf: Vec::with_capacity(MAX_CHUNK),
            unflushed: 0,
            watch: clock::Watch::new(),
            looked: clock::now(),
            worked: false,
            accept_again: None,
            complained: None,
            panics: 0,
            panics_since: Instant::ZERO,
            failed_connects: VecDeque::new(),
            failure: None,
            stopped: None,
        })
    }

    /// Adds a listener.
    pub(crate) fn listen(&mut self, listener: Listener, mut acceptor: Acceptor) -> io::Result<()> {
        let token = Token(FIRST_LISTENER + self.listeners.len());
        self.poll.registry().register(acceptor.source(), token, Interest::READABLE)?;
        self.listeners.push(Listening { listener, acceptor, ready: true, paused: false });
        Ok(())
    }

    /// Adds a socket for datagrams.
    pub(crate) fn serve(&mut self, id: SocketId, udp: Udp) -> io::Result<()> {
        let token = Token(FIRST_PORT + self.ports.len());
        let mut port = Port::new(id, udp);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(port.source(), token, both)?;
        self.ports.push(port);
        self.intake.get_or_insert_with(Intake::new);
        Ok(())
    }

    /// Watches something for the host, under [`OUTSIDE`].
    pub(crate) fn watch(&mut self, source: &mut dyn Source) -> io::Result<()> {
        self.poll.registry().register(source, OUTSIDE, Interest::READABLE)
    }

    /// What runs around it.
    pub(crate) fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// Wakes the loop from other threads.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Runs until the router says [`Event::Stopped`] and what it said last is sent, or until the
    /// host says to stop.
    pub(crate) fn run(mut self) -> (H, Result<(), LoopError>) {
        let mut events = Events::with_capacity(MAX_EVENTS);
        // What the machine wants from its making.
        self.drain();
        while !self.finished() {
            if let Err(e) = self.turn(&mut events) {
                return (self.host, Err(e));
            }
        }
        let result = self.failure.take().map_or(Ok(()), Err);
        (self.host, result)
    }

    fn finished(&self) -> bool {
        let now = clock::now();
        self.failure.is_some()
            || self.host.deadline().is_some_and(|at| at <= now)
            || self.stopped.is_some_and(|at| {
                at <= now || !self.conns.iter().any(|(_, c)| c.phase == Phase::Flushing)
            })
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), LoopError> {
        match self.poll.poll(events, Some(self.sleep())) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(LoopError::Poll(e)),
        }
        self.worked = false;
        let mut woken = false;
        for event in events.iter() {
            match event.token() {
                // One event may stand for several results, commands and signals.
                WAKER | OUTSIDE => woken = true,
                Token(n) if n < FIRST_LISTENER => {
                    if let Some(port) = self.ports.get_mut(n - FIRST_PORT) {
                        port.readable |= event.is_readable() || event.is_error();
                        if event.is_writable() {
                            port.flush();
                        }
                    }
                }
                Token(n) if n < FIRST_CONN => {
                    if let Some(l) = self.listeners.get_mut(n - FIRST_LISTENER) {
                        l.ready = true;
                    }
                }
                Token(n) => {
                    if let Some(conn) = self.conns.get_mut(n - FIRST_CONN) {
                        conn.note(event);
                        self.enqueue(n - FIRST_CONN);
                    }
                }
            }
        }
        if woken {
            self.completions();
            self.commands();
        }
        self.timers();
        self.accept_all();
        self.receive_all();
        for _ in 0..self.read_queue.len() {
            let Some(index) = self.read_queue.pop_front() else { break };
            self.read(index);
            self.just_read.push(index);
        }
        self.drain();
        for index in self.just_read.drain(..) {
            if let Some(conn) = self.conns.get_mut(index) {
                conn.acknowledge();
            }
        }
        Ok(())
    }

    /// How long nothing has to be done unless the kernel says so.
    fn sleep(&self) -> Duration {
        let busy = !self.read_queue.is_empty()
            || !self.write_queue.is_empty()
            || !self.failed_connects.is_empty()
            || self.listeners.iter().any(|l| l.ready && !l.paused)
            || self.ports.iter().any(|port| port.readable);
        if busy {
            return Duration::ZERO;
        }
        let now = clock::now();
        [
            self.machine.poll_timeout(),
            self.deadlines.first().map(|(at, _)| *at),
            self.accept_again,
            self.host.deadline(),
            self.stopped,
        ]
        .into_iter()
        .flatten()
        .map(|at| at.saturating_since(now))
        .fold(MAX_SLEEP, Duration::min)
        .max(if self.is_blocked() { BLOCKED_SLEEP } else { Duration::ZERO })
    }

    fn commands(&mut self) {
        for command in self.host.woken() {
            self.call(|m| m.handle_command(clock::now(), command));
            self.actions();
        }
    }

    fn completions(&mut self) {
        while let Some((id, done)) = self.jobs.poll() {
            let completion = done.map_or(Completion::JobFailed, Completion::Job);
            self.call(|m| m.handle_completion(clock::now(), id, completion));
            self.actions();
        }
    }

    fn timers(&mut self) {
        let now = clock::now();
        if now.saturating_since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.look();
        }
        for _ in 0..MAX_TIMEOUTS {
            let now = clock::now();
            let due = self.machine.poll_timeout().is_some_and(|at| at <= now);
            if !due || self.failure.is_some() {
                break;
            }
            self.call(|m| m.handle_timeout(now));
            self.actions();
        }
        while let Some(&(at, index)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.expired(now, index);
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            for listener in &mut self.listeners {
                listener.paused = false;
            }
        }
    }

    fn look(&mut self) {
        let look = self.watch.look();
        if let Some(unix) = look.wall {
            self.call(|m| m.handle_wall_clock(clock::now(), unix));
        }
        if look.slept {
            // The machine may have been copied while it slept.
            let mut seed = [0; 32];
            match getrandom::fill(&mut seed) {
                Ok(()) => drop(self.call(|m| m.mix_entropy(Seed::new(seed)))),
                Err(e) => warn!("no fresh entropy after the machine slept: {e}"),
            }
        }
        self.actions();
    }

    /// The time of a closed stream is up.
    fn expired(&mut self, now: Instant, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        conn.deadline = None;
        if conn.phase == Phase::Flushing && conn.progress {
            self.set_deadline(index, now + FLUSH_TIMEOUT);
        } else {
            self.remove(index);
        }
    }

    fn set_deadline(&mut self, index: usize, at: Instant) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        if let Some(old) = conn.deadline.replace(at) {
            self.deadlines.remove(&(old, index));
        }
        conn.progress = false;
        self.deadlines.insert((at, index));
    }

    /// Takes a stream into the tables and the poll. Both directions are watched from the start:
    /// edge-triggered, a direction only reports after it refused, so that costs nothing.
    fn insert(&mut self, mut conn: Conn) -> io::Result<usize> {
        let id = conn.id;
        let entry = self.conns.vacant_entry();
        let index = entry.key();
        self.poll.registry().register(
            conn.socket.source(),
            Token(FIRST_CONN + index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        entry.insert(conn);
        self.by_id.insert(id, index);
        Ok(index)
    }

    /// Forgets a stream; its socket closes.
    fn remove(&mut self, index: usize) {
        let Some(mut conn) = self.conns.try_remove(index) else { return };
        self.by_id.remove(&conn.id);
        if let Some(at) = conn.deadline {
            self.deadlines.remove(&(at, index));
        }
        if conn.phase == Phase::Lingering {
            self.lingering -= 1;
        }
        // Dropping the socket deregisters it too, unless a copy of it lives elsewhere.
        let _ = self.poll.registry().deregister(conn.socket.source());
    }

    /// Puts a stream where it has something to do.
    fn enqueue(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.has_input() && !conn.in_read_queue {
            conn.in_read_queue = true;
            self.read_queue.push_back(index);
        }
        if conn.has_output() && !conn.in_write_queue {
            conn.in_write_queue = true;
            self.write_queue.push_back(index);
        }
    }

    /// Calls the machine; `None` when that panicked.
    fn call<R>(&mut self, f: impl FnOnce(&mut M) -> R) -> Option<R> {
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut self.machine)));
        if result.is_err() {
            let now = clock::now();
            if now.saturating_since(self.panics_since) > PANIC_WINDOW {
                (self.panics, self.panics_since) = (0, now);
            }
            self.panics += 1;
            error!("the router panicked; one stream or timer is given up for it");
            if self.panics >= MAX_PANICS {
                self.failure = Some(LoopError::Panics(self.panics));
            }
        }
        result.ok()
    }

    /// Does what the router wants done. `true` when there was something.
    fn actions(&mut self) -> bool {
        let mut any = false;
        while self.failure.is_none()
            && let Some(Some(action)) = self.call(M::poll_action)
        {
            any = true;
            self.act(action);
        }
        any
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, remote, bind } => self.connect(conn, remote, bind),
            Action::Resume(id) => {
                self.with(id, |conn| conn.paused = false);
            }
            Action::ShutdownWrite(id) => self.with(id, |conn| {
                if conn.write == WriteSide::Open {
                    conn.write = WriteSide::Ending;
                }
            }),
            Action::Close { conn, abort } => self.close(conn, abort),
            Action::Persist { key, value } => {
                if let Err(e) = self.host.persist(key, value) {
                    self.failure = Some(LoopError::Store(e));
                }
            }
            // To wake a thread, and to be woken by it, costs half of what a job does: the first of a
            // turn is done here, if no stream waits to be read. In a flood the threads have the others.
            Action::Run { id, job } if !self.worked && self.read_queue.is_empty() => {
                self.worked = true;
                let done = catch_unwind(AssertUnwindSafe(|| job.run()));
                if done.is_err() {
                    error!("a job panicked");
                }
                let completion = done.map_or(Completion::JobFailed, Completion::Job);
                self.call(|m| m.handle_completion(clock::now(), id, completion));
            }
            Action::Run { id, job } => self.jobs.spawn(id, move || job.run()),
            Action::Notify(event) => {
                if event == Event::Stopped {
                    self.stopped = Some(clock::now() + LAST_FLUSH);
                }
                self.host.notify(event);
            }
            other => error!("this runtime cannot do {other:?}"),
        }
    }

    fn with(&mut self, id: ConnId, f: impl FnOnce(&mut Conn)) {
        // The stream may have failed while the action was on its way.
        let Some(&index) = self.by_id.get(&id) else { return };
        if let Some(conn) = self.conns.get_mut(index) {
            f(conn);
            self.enqueue(index);
        }
    }

    fn connect(&mut self, id: ConnId, remote: SocketAddr, bind: Option<IpAddr>) {
        let started = start_connect(remote, bind)
            .and_then(|socket| self.insert(Conn::new(id, Socket::Tcp(socket), Phase::Connecting)));
        if let Err(e) = started {
            debug!("connect: {e}");
            self.failed_connects.push_back((id, conn::conn_error(&e)));
        }
    }
}

/// Begins a connect that the poll will report on.
fn start_connect(remote: SocketAddr, bind: Option<IpAddr>) -> io::Result<mio::net::TcpStream> {
    use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
    let socket =
        socket2::Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    listen::tune(&SockRef::from(&socket));
    if let Some(ip) = bind {
        socket.bind(&SockAddr::from(SocketAddr::new(ip, 0)))?;
    }
    match socket.connect(&SockAddr::from(remote)) {
        Ok(()) => {}
        Err(e) if Errno::from_io_error(&e) == Some(Errno::INPROGRESS) => {}
        Err(e) => return Err(e),
    }
    Ok(mio::net::TcpStream::from_std(socket.into()))
}

#[cfg(test)]
mod tests;
