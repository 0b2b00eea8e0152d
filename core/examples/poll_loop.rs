//! The router in a loop of your own: sockets of the standard library, `poll(2)`, one thread.
//!
//! ```text
//! cargo run -p ramson-core --example poll_loop
//! ```
//!
//! Three routers make a network on this machine. The program has a service at one of them and visits
//! it from another, through tunnels: all in one thread, without a port of the service's own. A
//! [`Node`] is what a program with one router needs.
//!
//! Left out, and to be seen in `runtime-mio`: what is persisted (here nothing outlives the program),
//! sockets that linger after their last bytes, local connections of proxies and tunnels, and fresh
//! entropy ([`Router::mix_entropy`]) after the machine slept.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]
#![expect(clippy::wildcard_enum_match_arm, reason = "an example picks what it is about")]

mod common;

use common::apps::{App, Service, Visitor};
use common::{Clock, Failed, LIMIT, ROUTERS, config, seed, tunnels};
use ramson_core::client::Target;
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnId, ConnInput, Listener, Remote, Stored,
};
use ramson_core::router::output::{Action, Event};
use ramson_core::time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are read, and asked of the router, at a time.
const CHUNK: usize = 64 << 10;
/// How often a router is told the wall clock.
const WALL_CLOCK: Duration = Duration::from_secs(60);

fn main() -> Result<(), Failed> {
    let clock = Clock::start();
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..ROUTERS {
        // Each knows those that were there before it.
        let mut stored = Stored::default();
        let infos = nodes.iter().map(|node| node.router.router_info().as_bytes());
        stored.router_infos.extend(infos.map(Arc::from));
        nodes.push(Node::start(clock, stored)?);
    }

    // Methods of a router are followed by a `drain`, as all that is said to it.
    let far = nodes.last_mut().ok_or("no router")?;
    let (service, address) = Service::open(&mut far.router, clock.now(), tunnels())?;
    far.app = App::Service(service);
    far.drain()?;
    run_until(&mut nodes, clock, |node| node.app.is_there())?;

    let near = nodes.first_mut().ok_or("no router")?;
    let to: Target = address.parse()?;
    let visitor = Visitor::open(&mut near.router, clock.now(), &to, tunnels())?;
    near.app = App::Visitor(visitor);
    near.drain()?;
    run_until(&mut nodes, clock, |node| node.app.is_there())?;
    if let Some(Node { app: App::Visitor(visitor), .. }) = nodes.first() {
        visitor.check()?;
        println!("{} bytes from {address}", visitor.got.len());
    }

    for node in &mut nodes {
        node.call(|router, now| router.handle_command(now, Command::Shutdown))?;
    }
    run_until(&mut nodes, clock, |node| node.stopped)?;
    println!("all stopped after {:?}", clock.now().saturating_since(Instant::ZERO));
    Ok(())
}

/// The loop: sleeps until a socket or a router has something, and lets all nodes do what they can.
fn run_until(nodes: &mut [Node], clock: Clock, done: fn(&Node) -> bool) -> Result<(), Failed> {
    let end = clock.now() + LIMIT;
    while !nodes.iter().all(done) {
        let now = clock.now();
        if now >= end {
            return Err("too late".into());
        }
        let sleep = nodes.iter().map(|node| node.sleep(now)).fold(WALL_CLOCK, Duration::min);
        let mut fds: Vec<PollFd<'_>> = nodes.iter().flat_map(Node::watched).collect();
        match poll(&mut fds, Some(&Timespec::try_from(sleep)?)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for node in &mut *nodes {
            node.turn()?;
        }
    }
    Ok(())
}

/// One router, with its sockets and the application that uses it.
struct Node {
    clock: Clock,
    router: Router,
    app: App,
    listener: TcpListener,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    /// When it was told the wall clock.
    told: Instant,
    stopped: bool,
}

/// One TCP stream of a router, to another router.
struct Conn {
    socket: TcpStream,
    connecting: bool,
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
    fn start(clock: Clock, stored: Stored) -> Result<Self, Failed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let config = Arc::new(config(listener.local_addr()?.port()));
        let now = clock.now();
        let mut node = Self {
            clock,
            router: Router::new(config, stored, seed()?, now, clock.unix())?,
            app: App::Bystander,
            listener,
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

    /// The sockets that may have something to do.
    fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        let conns = self.conns.values().filter_map(|conn| {
            let interest = conn.interest();
            // `poll` would tell of errors whether they are asked for or not, again and again.
            (!interest.is_empty()).then(|| PollFd::new(&conn.socket, interest))
        });
        conns.chain([PollFd::new(&self.listener, PollFlags::IN)])
    }

    /// How long nothing has to be done unless a socket says so.
    fn sleep(&self, now: Instant) -> Duration {
        if self.conns.values().any(|conn| !conn.paused && !conn.unread.is_empty()) {
            return Duration::ZERO;
        }
        let deadline = self.router.poll_timeout().map(|(at, _why)| at);
        deadline.map_or(WALL_CLOCK, |at| at.saturating_since(now))
    }

    /// Tries every socket, and looks at the clock.
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
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        socket.set_nonblocking(true)?;
        // The router fills its frames: to wait for more to send would only delay them.
        socket.set_nodelay(true)?;
        self.accepted += 1;
        let id = ConnId::accepted(self.accepted);
        self.conns.insert(id, Conn::new(socket, false));
        let (remote, listener) = (Remote::Ip(remote), Listener::Ntcp2);
        self.input(id, ConnInput::Accepted { remote, listener });
        Ok(())
    }

    /// Hands the router what a stream brings: that it is there, bytes, its end.
    fn read(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.connecting {
            match conn.is_connected() {
                Ok(false) => {}
                Ok(true) => {
                    conn.connecting = false;
                    self.input(id, ConnInput::Connected);
                }
                Err(e) => self.fail(id, &e),
            }
            return;
        }
        if conn.paused || conn.read_closed {
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
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
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
        while let Some(conn) = self.conns.get_mut(&id).filter(|conn| !conn.connecting) {
            match conn.flush() {
                Ok(()) if conn.unsent.is_empty() => {}
                // Full: `poll` will tell when there is room.
                Ok(()) => return,
                Err(e) => {
                    self.fail(id, &e);
                    return;
                }
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
            Action::Connect { conn, remote, bind } => match connect(remote, bind) {
                Ok(socket) => drop(self.conns.insert(conn, Conn::new(socket, true))),
                Err(e) => self.fail(conn, &e),
            },
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
            paused: false,
            read_closed: false,
            unread: Vec::new(),
            unsent: Vec::new(),
        }
    }

    fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::OUT, self.connecting || !self.unsent.is_empty());
        interest.set(PollFlags::IN, !(self.connecting || self.paused || self.read_closed));
        interest
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
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Begins to connect. The standard library could only wait for the end of it.
fn connect(remote: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(ip) = bind {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    match socket.connect(&remote.into()) {
        Err(e) if Errno::from_io_error(&e) != Some(Errno::INPROGRESS) => Err(e),
        Ok(()) | Err(_) => Ok(socket.into()),
    }
}

#[test]
fn it_ends_well() {
    main().unwrap();
}
