//! The core in an event loop of one's own, on mio: three routers in one thread, and a service that
//! one of them calls.
//!
//! The bundled program does the same with more care: it reads streams in turns, spreads work over
//! threads, and stores what a router wants kept.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

mod common;

use common::{Clock, Failed, PATIENCE, Program, Role};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnId, ConnInput, Listener, Remote,
};
use ramson_core::router::output::{Action, Event};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that a read or a write moves at most.
const CHUNK: usize = 64 * 1024;

/// A stream. Sockets report a direction once, when it gets ready: until they refuse, it stays so.
struct Conn {
    socket: TcpStream,
    token: Token,
    connecting: bool,
    readable: bool,
    writable: bool,
    /// The router wants no more for now.
    paused: bool,
    /// What was read and not taken.
    rest: Vec<u8>,
    /// What was made and not written.
    out: VecDeque<u8>,
    /// FIN follows what is in `out`.
    ending: bool,
    /// The router has closed it: it is here until `out` is written.
    closed: bool,
}

struct Node {
    router: Router,
    program: Program,
    listener: TcpListener,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    stopped: bool,
}

/// Which node and stream an event is about; `None`: its listener.
type Tokens = BTreeMap<Token, (usize, Option<ConnId>)>;

/// The poll and its tokens, which all nodes share.
struct Shared {
    registry: Registry,
    tokens: Tokens,
    next: usize,
    clock: Clock,
    buf: Vec<u8>,
}

impl Shared {
    fn token(&mut self, node: usize, conn: Option<ConnId>) -> Token {
        let token = Token(self.next);
        self.next += 1;
        self.tokens.insert(token, (node, conn));
        token
    }
}

impl Node {
    fn insert(
        &mut self,
        shared: &mut Shared,
        index: usize,
        id: ConnId,
        mut socket: TcpStream,
        connecting: bool,
    ) -> io::Result<()> {
        let token = shared.token(index, Some(id));
        shared.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        let conn = Conn {
            socket,
            token,
            connecting,
            readable: false,
            writable: false,
            paused: false,
            rest: Vec::new(),
            out: VecDeque::new(),
            ending: false,
            closed: false,
        };
        self.conns.insert(id, conn);
        Ok(())
    }

    fn remove(&mut self, shared: &mut Shared, id: ConnId) {
        if let Some(conn) = self.conns.remove(&id) {
            shared.tokens.remove(&conn.token);
        }
    }

    /// Takes what waits at the listener.
    fn accept(&mut self, shared: &mut Shared, index: usize) {
        while let Ok((socket, remote)) = self.listener.accept() {
            let id = ConnId::accepted(self.accepted);
            self.accepted += 1;
            if self.insert(shared, index, id, socket, false).is_ok() {
                let input =
                    ConnInput::Accepted { remote: Remote::Ip(remote), listener: Listener::Ntcp2 };
                let _nothing_taken = self.router.handle_conn(shared.clock.now(), id, input);
            }
        }
    }

    /// What the poll says of a stream.
    fn ready(&mut self, shared: &mut Shared, id: ConnId, readable: bool, writable: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.readable |= readable;
        conn.writable |= writable;
        if conn.connecting && writable {
            // That a dial is over, either way, shows as room to write.
            let failed = !matches!(conn.socket.take_error(), Ok(None))
                || conn.socket.peer_addr().is_err()
                || conn.socket.set_nodelay(true).is_err();
            if failed {
                return self.fail(shared, id, ConnError::Refused);
            }
            conn.connecting = false;
            let _nothing_taken =
                self.router.handle_conn(shared.clock.now(), id, ConnInput::Connected);
        }
        self.write(shared, id);
        self.read(shared, id);
    }

    /// Offers what a stream has until it has no more, or the router wants no more.
    fn read(&mut self, shared: &mut Shared, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(&id)
            && !conn.paused
            && !conn.connecting
            && !conn.closed
        {
            if conn.rest.is_empty() {
                if !conn.readable {
                    return;
                }
                match conn.socket.read(&mut shared.buf) {
                    Ok(0) => {
                        conn.readable = false;
                        let now = shared.clock.now();
                        let _nothing_taken =
                            self.router.handle_conn(now, id, ConnInput::ReadClosed);
                        return;
                    }
                    Ok(n) => conn.rest.extend_from_slice(shared.buf.get(..n).unwrap_or_default()),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        conn.readable = false;
                        return;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return self.fail(shared, id, ConnError::Reset),
                }
            }
            let mut bytes = std::mem::take(&mut conn.rest);
            let input = ConnInput::Bytes(&mut bytes);
            let consumed = self.router.handle_conn(shared.clock.now(), id, input);
            bytes.drain(..consumed.taken.min(bytes.len()));
            if let Some(conn) = self.conns.get_mut(&id) {
                // `Action::Resume` ends the pause.
                conn.paused = consumed.pause || !bytes.is_empty();
                conn.rest = bytes;
            }
        }
    }

    /// Writes what the router has for a stream, as long as the socket takes it.
    fn write(&mut self, shared: &mut Shared, id: ConnId) {
        while let Some(conn) = self.conns.get_mut(&id).filter(|c| c.writable && !c.connecting) {
            if conn.out.is_empty() && !conn.ending {
                let mut bytes = Vec::new();
                self.router.poll_conn(shared.clock.now(), id, CHUNK, &mut bytes);
                conn.out.extend(bytes);
            }
            if conn.out.is_empty() {
                if conn.ending {
                    let _was_gone = conn.socket.shutdown(Shutdown::Write);
                }
                if conn.closed {
                    self.remove(shared, id);
                }
                return;
            }
            match conn.socket.write(conn.out.as_slices().0) {
                Ok(n) => drop(conn.out.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => conn.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.fail(shared, id, ConnError::Reset),
            }
        }
    }

    /// A stream is dead; the router is told, unless it closed it.
    fn fail(&mut self, shared: &mut Shared, id: ConnId, error: ConnError) {
        let closed = self.conns.get(&id).is_none_or(|c| c.closed);
        self.remove(shared, id);
        if !closed {
            let now = shared.clock.now();
            let _nothing_taken = self.router.handle_conn(now, id, ConnInput::Failed(error));
        }
    }

    /// Does all that the router wants done, then what the program does with what happened.
    fn drain(&mut self, shared: &mut Shared, index: usize) {
        loop {
            let mut busy = false;
            while let Some(action) = self.router.poll_action() {
                busy = true;
                self.act(shared, index, action);
            }
            while let Some(id) = self.router.poll_writable() {
                busy = true;
                self.write(shared, id);
            }
            while let Some(event) = self.router.poll_app_event() {
                busy = true;
                self.program.handle(&mut self.router, shared.clock.now(), event);
            }
            if !busy {
                return;
            }
        }
    }

    fn act(&mut self, shared: &mut Shared, index: usize, action: Action) {
        match action {
            Action::Connect { conn, remote, .. } => {
                let dialled = TcpStream::connect(remote)
                    .and_then(|socket| self.insert(shared, index, conn, socket, true));
                if dialled.is_err() {
                    self.fail(shared, conn, ConnError::Other);
                }
            }
            Action::Resume(id) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.paused = false;
                    self.read(shared, id);
                }
            }
            Action::ShutdownWrite(id) => self.end(shared, id, false),
            Action::Close { conn, abort } => {
                if abort {
                    self.remove(shared, conn);
                } else {
                    self.end(shared, conn, true);
                }
            }
            Action::Run { id, job } => {
                let done = Completion::Job(job.run());
                self.router.handle_completion(shared.clock.now(), id, done);
            }
            Action::Notify(event) => self.stopped |= event == Event::Stopped,
            // A router that is to be the same next time keeps these. Others are new each time.
            Action::Persist { .. } => {}
            other => println!("this loop cannot do {other:?}"),
        }
    }

    /// The last bytes, and FIN; then the end, if the router has `closed` the stream.
    fn end(&mut self, shared: &mut Shared, id: ConnId, closed: bool) {
        let mut bytes = Vec::new();
        // The handle is dead once this says 0, so all of it is taken now.
        while self.router.poll_conn(shared.clock.now(), id, CHUNK, &mut bytes) > 0 {}
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.out.extend(bytes);
            (conn.ending, conn.closed) = (true, closed);
            self.write(shared, id);
        }
    }
}

fn main() -> Result<(), Failed> {
    let mut poll = Poll::new()?;
    let clock = Clock::start();
    let mut shared = Shared {
        registry: poll.registry().try_clone()?,
        tokens: Tokens::new(),
        next: 0,
        clock,
        buf: vec![0; CHUNK],
    };
    let mut nodes: Vec<Node> = Vec::new();
    let mut known: Vec<Arc<[u8]>> = Vec::new();
    let mut role = Role::Help;
    for index in 0..3 {
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let mut router = common::router(clock, listener.local_addr()?.port(), &known)?;
        known.push(router.router_info().as_bytes().into());
        let program = Program::start(&mut router, clock.now(), role.clone())?;
        role = match program.address(&router) {
            Some(address) => Role::Call(address),
            None => Role::Echo,
        };
        let token = shared.token(index, None);
        shared.registry.register(&mut listener, token, Interest::READABLE)?;
        let (conns, accepted, stopped) = (BTreeMap::new(), 0, false);
        nodes.push(Node { router, program, listener, conns, accepted, stopped });
    }
    let mut events = Events::with_capacity(256);
    let mut end = None;
    while nodes.iter().any(|node| !node.stopped) {
        let now = clock.now();
        for (index, node) in nodes.iter_mut().enumerate() {
            if node.router.poll_timeout().is_some_and(|(at, _why)| at <= now) {
                node.router.handle_timeout(now);
            }
            node.drain(&mut shared, index);
        }
        if let Some(ended) = nodes.iter_mut().find_map(|node| node.program.end.take()) {
            end = Some(ended);
            nodes.iter_mut().for_each(|n| n.router.handle_command(now, Command::Shutdown));
            continue;
        }
        if now.saturating_since(ramson_core::time::Instant::ZERO) > PATIENCE {
            return Err("nothing was heard".into());
        }
        let due = nodes.iter().filter_map(|node| node.router.poll_timeout()).map(|(at, _)| at);
        let sleep = due.min().map_or(Duration::MAX, |at| at.saturating_since(clock.now()));
        poll.poll(&mut events, Some(sleep.min(Duration::from_secs(1))))?;
        for event in &events {
            let Some(&(index, id)) = shared.tokens.get(&event.token()) else { continue };
            let Some(node) = nodes.get_mut(index) else { continue };
            match id {
                None => node.accept(&mut shared, index),
                Some(id) => {
                    let readable = event.is_readable() || event.is_error();
                    node.ready(&mut shared, id, readable, event.is_writable());
                }
            }
        }
    }
    end.ok_or("stopped too early")??;
    println!("every byte came back");
    Ok(())
}

#[test]
fn what_is_said_comes_back() {
    main().unwrap();
}
