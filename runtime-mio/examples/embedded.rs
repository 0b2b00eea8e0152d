//! The router in a mio loop of your own, beside whatever else your program does there.
//!
//! ```text
//! cargo run -p ramson-mio --example embedded
//! ```
//!
//! [`ramson_mio::Runtime`] is not used: it is a program of its own. This is for programs that have a
//! loop, and want their router in it. (`core/examples/poll_loop.rs` is the same without mio.)
//!
//! Three routers make a network on this machine. The program has a service at one of them and visits
//! it from another, through tunnels: all in one thread, without a port of the service's own. A
//! [`Node`] is what a program with one router needs.
//!
//! Left out, and to be seen in `src/event_loop`: what is persisted (here nothing outlives the program),
//! sockets that linger after their last bytes, local connections of proxies and tunnels, and fresh
//! entropy ([`Router::mix_entropy`]) after the machine slept.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an example picks what it is about")]

#[path = "../../core/examples/common/mod.rs"]
mod common;

use common::apps::{App, Service, Visitor};
use common::{Clock, Failed, LIMIT, ROUTERS, config, seed, tunnels};
use mio::event::Event as Ready;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use ramson_core::client::Target;
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnId, ConnInput, Listener, Remote, Stored,
};
use ramson_core::router::output::{Action, Event};
use ramson_core::time::Instant;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are read, and asked of the router, at a time.
const CHUNK: usize = 64 << 10;
/// How often a router is told the wall clock.
const WALL_CLOCK: Duration = Duration::from_secs(60);
/// The number of a node's listener. Those of streams are greater: nothing is accepted as the 0th.
const LISTENER: usize = 0;

fn main() -> Result<(), Failed> {
    let clock = Clock::start();
    let mut poll = Poll::new()?;
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..ROUTERS {
        // Each knows those that were there before it.
        let mut stored = Stored::default();
        let infos = nodes.iter().map(|node| node.router.router_info().as_bytes());
        stored.router_infos.extend(infos.map(Arc::from));
        nodes.push(Node::start(number, poll.registry(), clock, stored)?);
    }

    // Methods of a router are followed by a `drain`, as all that is said to it.
    let far = nodes.last_mut().ok_or("no router")?;
    let (service, address) = Service::open(&mut far.router, clock.now(), tunnels())?;
    far.app = App::Service(service);
    far.drain()?;
    run_until(&mut poll, &mut nodes, clock, |node| node.app.is_there())?;

    let near = nodes.first_mut().ok_or("no router")?;
    let to: Target = address.parse()?;
    let visitor = Visitor::open(&mut near.router, clock.now(), &to, tunnels())?;
    near.app = App::Visitor(visitor);
    near.drain()?;
    run_until(&mut poll, &mut nodes, clock, |node| node.app.is_there())?;
    if let Some(Node { app: App::Visitor(visitor), .. }) = nodes.first() {
        visitor.check()?;
        println!("{} bytes from {address}", visitor.got.len());
    }

    for node in &mut nodes {
        node.call(|router, now| router.handle_command(now, Command::Shutdown))?;
    }
    run_until(&mut poll, &mut nodes, clock, |node| node.stopped)?;
    println!("all stopped after {:?}", clock.now().saturating_since(Instant::ZERO));
    Ok(())
}

/// The loop: sleeps until a socket or a router has something, and lets all nodes do what they can.
fn run_until(
    poll: &mut Poll,
    nodes: &mut [Node],
    clock: Clock,
    done: fn(&Node) -> bool,
) -> Result<(), Failed> {
    let end = clock.now() + LIMIT;
    let mut events = Events::with_capacity(256);
    while !nodes.iter().all(done) {
        let now = clock.now();
        if now >= end {
            return Err("too late".into());
        }
        let sleep = nodes.iter().map(|node| node.sleep(now)).fold(WALL_CLOCK, Duration::min);
        match poll.poll(&mut events, Some(sleep)) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e.into()),
            Ok(()) | Err(_) => {}
        }
        for event in &events {
            let Token(n) = event.token();
            if let Some(node) = nodes.get_mut(n % ROUTERS) {
                node.note(n / ROUTERS, event);
            }
        }
        for node in &mut *nodes {
            node.turn()?;
        }
    }
    Ok(())
}

/// One router, with its sockets and the application that uses it.
struct Node {
    /// Tells its tokens from those of others.
    number: usize,
    registry: Registry,
    clock: Clock,
    router: Router,
    app: App,
    listener: TcpListener,
    /// The listener may have something.
    acceptable: bool,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    /// When it was told the wall clock.
    told: Instant,
    stopped: bool,
}

/// One TCP stream of a router, to another router. mio tells once that a socket has something or has
/// room; it is remembered until the socket says that it has not.
struct Conn {
    socket: TcpStream,
    connecting: bool,
    readable: bool,
    writable: bool,
    /// The router wants no more for now.
    paused: bool,
    /// The peer writes no more.
    read_closed: bool,
    /// Read, and not taken by the router yet.
    unread: Vec<u8>,
    /// From the router, and not taken by the socket yet.
    unsent: Vec<u8>,
}

impl Node {
    fn start(
        number: usize,
        registry: &Registry,
        clock: Clock,
        stored: Stored,
    ) -> Result<Self, Failed> {
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let config = Arc::new(config(listener.local_addr()?.port()));
        let token = Token(LISTENER * ROUTERS + number);
        registry.register(&mut listener, token, Interest::READABLE)?;
        let now = clock.now();
        let mut node = Self {
            number,
            registry: registry.try_clone()?,
            clock,
            router: Router::new(config, stored, seed()?, now, clock.unix())?,
            app: App::Bystander,
            listener,
            acceptable: false,
            conns: BTreeMap::new(),
            accepted: 0,
            told: now,
            stopped: false,
        };
        node.drain()?;
        Ok(node)
    }

    /// Calls a method of the router, and does what comes of it.
    fn call<R>(&mut self, f: impl FnOnce(&mut Router, Instant) -> R) -> Result<R, Failed> {
        let result = f(&mut self.router, self.clock.now());
        self.drain()?;
        Ok(result)
    }

    /// Remembers what mio says of a socket.
    fn note(&mut self, number: usize, event: &Ready) {
        if number == LISTENER {
            self.acceptable = true;
        } else if let Some(conn) = self.conns.get_mut(&ConnId::from_u64(number as u64)) {
            conn.readable |= event.is_readable() || event.is_read_closed();
            conn.writable |= event.is_writable() || event.is_write_closed();
        }
    }

    /// How long nothing has to be done unless a socket says so.
    fn sleep(&self, now: Instant) -> Duration {
        if self.acceptable || self.conns.values().any(Conn::has_input) {
            return Duration::ZERO;
        }
        let deadline = self.router.poll_timeout().map(|(at, _why)| at);
        deadline.map_or(WALL_CLOCK, |at| at.saturating_since(now))
    }

    /// Does what there is to do, and looks at the clock.
    fn turn(&mut self) -> Result<(), Failed> {
        self.accept()?;
        self.drain()?;
        for id in self.conns.keys().copied().collect::<Vec<_>>() {
            self.read(id);
            self.drain()?;
            self.write(id);
            self.drain()?;
        }
        let now = self.clock.now();
        if now.saturating_since(self.told) >= WALL_CLOCK {
            self.told = now;
            let unix = self.clock.unix();
            self.call(|router, now| router.handle_wall_clock(now, unix))?;
        }
        if self.router.poll_timeout().is_some_and(|(at, _why)| at <= now) {
            self.call(|router, now| router.handle_timeout(now))?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Failed> {
        let (socket, remote) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.acceptable = false;
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        };
        // The router fills its frames: to wait for more to send would only delay them.
        socket.set_nodelay(true)?;
        self.accepted += 1;
        let id = ConnId::accepted(self.accepted);
        self.insert(id, socket, false)?;
        let (remote, listener) = (Remote::Ip(remote), Listener::Ntcp2);
        self.input(id, ConnInput::Accepted { remote, listener });
        Ok(())
    }

    /// Takes a stream into the table and the poll.
    fn insert(&mut self, id: ConnId, mut socket: TcpStream, connecting: bool) -> io::Result<()> {
        let token = Token(id.as_u64() as usize * ROUTERS + self.number);
        self.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.conns.insert(id, Conn::new(socket, connecting));
        Ok(())
    }

    /// Hands the router what a stream brings: that it is there, bytes, its end.
    fn read(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.has_input()) else { return };
        if conn.connecting {
            match conn.is_connected() {
                // Another event follows.
                Ok(false) => conn.writable = false,
                Ok(true) => {
                    conn.connecting = false;
                    self.input(id, ConnInput::Connected);
                }
                Err(e) => self.fail(id, &e),
            }
            return;
        }
        let mut bytes = std::mem::take(&mut conn.unread);
        if bytes.is_empty() {
            bytes.resize(CHUNK, 0);
            match conn.socket.read(&mut bytes) {
                Ok(0) => {
                    conn.read_closed = true;
                    self.input(id, ConnInput::ReadClosed);
                    return;
                }
                Ok(n) => bytes.truncate(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    conn.readable = false;
                    return;
                }
                Err(e) => {
                    self.fail(id, &e);
                    return;
                }
            }
        }
        let now = self.clock.now();
        let consumed = self.router.handle_conn(now, id, ConnInput::Bytes(&mut bytes));
        bytes.drain(..consumed.taken);
        // What it did not take it is offered again after a `Resume`.
        conn.paused = consumed.pause || !bytes.is_empty();
        conn.unread = bytes;
    }

    /// Sends what the router has for a stream, as far as the socket takes it.
    fn write(&mut self, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.has_room()) {
            if let Err(e) = conn.flush() {
                self.fail(id, &e);
                return;
            }
            if !conn.unsent.is_empty() {
                return;
            }
            if self.router.poll_conn(self.clock.now(), id, CHUNK, &mut conn.unsent) == 0 {
                return;
            }
        }
    }

    fn input(&mut self, id: ConnId, input: ConnInput<'_>) {
        let _no_bytes = self.router.handle_conn(self.clock.now(), id, input);
    }

    /// A stream is gone.
    fn fail(&mut self, id: ConnId, e: &io::Error) {
        self.conns.remove(&id);
        let error = match e.kind() {
            ErrorKind::ConnectionRefused => ConnError::Refused,
            ErrorKind::TimedOut => ConnError::TimedOut,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => ConnError::Reset,
            _ => ConnError::Other,
        };
        self.input(id, ConnInput::Failed(error));
    }

    /// Does everything that the router wants done. To be called after whatever was said to it.
    fn drain(&mut self) -> Result<(), Failed> {
        loop {
            let mut busy = false;
            while let Some(action) = self.router.poll_action() {
                busy = true;
                self.act(action)?;
            }
            while let Some(id) = self.router.poll_writable() {
                busy = true;
                self.write(id);
            }
            while let Some(event) = self.router.poll_app_event() {
                busy = true;
                self.app.handle(&mut self.router, self.clock.now(), event);
            }
            if !busy {
                return Ok(());
            }
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Failed> {
        match action {
            Action::Connect { conn, remote, bind } => {
                let connecting = connect(remote, bind);
                if let Err(e) = connecting.and_then(|socket| self.insert(conn, socket, true)) {
                    self.fail(conn, &e);
                }
            }
            Action::Resume(id) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.paused = false;
                }
            }
            Action::Close { conn: id, abort } => {
                if !abort {
                    // Its last words.
                    self.write(id);
                }
                // The poll forgets a socket that is closed.
                self.conns.remove(&id);
            }
            // Work that may run on any thread; here it has this one.
            Action::Run { id, job } => {
                let done = Completion::Job(job.run());
                self.router.handle_completion(self.clock.now(), id, done);
            }
            // Nothing of a demonstration is kept. Who keeps things writes keys before all that follows.
            Action::Persist { .. } => {}
            Action::Notify(event) => self.stopped |= event == Event::Stopped,
            other => return Err(format!("this loop cannot do {other:?}").into()),
        }
        Ok(())
    }
}

impl Conn {
    const fn new(socket: TcpStream, connecting: bool) -> Self {
        Self {
            socket,
            connecting,
            readable: false,
            // A connecting one says so when it is connected.
            writable: !connecting,
            paused: false,
            read_closed: false,
            unread: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// Whether there may be something for the router.
    const fn has_input(&self) -> bool {
        if self.connecting {
            return self.writable;
        }
        !self.paused && !self.read_closed && (self.readable || !self.unread.is_empty())
    }

    /// Whether the socket may take something.
    const fn has_room(&self) -> bool {
        self.writable && !self.connecting
    }

    fn is_connected(&self) -> io::Result<bool> {
        if let Some(e) = self.socket.take_error()? {
            return Err(e);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes what there is, until the socket is full.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.writable = false;
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Begins to connect, from `bind` if that is said: `TcpStream::connect` could not.
fn connect(remote: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(ip) = bind {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    match socket.connect(&remote.into()) {
        Err(e) if Errno::from_io_error(&e) != Some(Errno::INPROGRESS) => Err(e),
        Ok(()) | Err(_) => Ok(TcpStream::from_std(socket.into())),
    }
}

#[test]
fn it_ends_well() {
    main().unwrap();
}
