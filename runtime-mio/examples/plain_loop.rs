//! The core in a program of threads that block: nothing but the standard library.
//!
//! One thread owns the router, and sleeps until a message comes or the router's deadline. Each
//! stream has two more, which do nothing but read and write: they tell the first what happened.
//! Run without arguments: three routers in three such loops, and a service that one calls.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

mod common;

use common::{Clock, Failed, PATIENCE, Program, Role};
use ramson_core::client::target::Target;
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnId, ConnInput, Listener, Remote,
};
use ramson_core::router::output::{Action, Event};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Bytes that a read or a write moves at most.
const CHUNK: usize = 64 * 1024;
/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(10);

/// What the loop is told.
enum Told {
    Accepted(TcpStream, SocketAddr),
    Dialled(ConnId, Result<TcpStream, ConnError>),
    Read(ConnId, Vec<u8>),
    ReadClosed(ConnId),
    Written(ConnId),
    Failed(ConnId),
    Stop,
}

/// A stream, as the loop knows it.
struct Conn {
    socket: TcpStream,
    /// To the thread that writes, which has one piece at a time. Dropped to end with FIN.
    writer: Option<Sender<Vec<u8>>>,
    writing: bool,
    /// To the thread that reads: go on. It waits after each piece, so that nothing piles up here.
    go_on: Sender<()>,
    /// What the router did not take yet.
    rest: Vec<u8>,
}

struct Loop {
    router: Router,
    program: Program,
    clock: Clock,
    told: Receiver<Told>,
    tell: Sender<Told>,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    stopped: bool,
}

impl Loop {
    /// Sleeps, and does what is to be done, until the router has stopped.
    fn run(mut self, result: &Sender<Result<(), Failed>>) {
        self.drain();
        while !self.stopped {
            let now = self.clock.now();
            let due = self.router.poll_timeout().map_or(now + PATIENCE, |(at, _why)| at);
            match self.told.recv_timeout(due.saturating_since(now)) {
                Ok(told) => self.handle(told),
                Err(RecvTimeoutError::Timeout) => self.router.handle_timeout(self.clock.now()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.drain();
            if let Some(end) = self.program.end.take() {
                let _nobody_waits = result.send(end);
            }
        }
    }

    fn handle(&mut self, told: Told) {
        let now = self.clock.now();
        match told {
            Told::Accepted(socket, remote) => {
                let id = ConnId::accepted(self.accepted);
                self.accepted += 1;
                let (remote, listener) = (Remote::Ip(remote), Listener::Ntcp2);
                if self.open(id, socket) {
                    let input = ConnInput::Accepted { remote, listener };
                    let _nothing_taken = self.router.handle_conn(now, id, input);
                }
            }
            Told::Dialled(id, Ok(socket)) => {
                if self.open(id, socket) {
                    let _nothing_taken = self.router.handle_conn(now, id, ConnInput::Connected);
                    self.write(id);
                } else {
                    self.fail(id, ConnError::Other);
                }
            }
            Told::Dialled(id, Err(e)) => self.fail(id, e),
            Told::Read(id, bytes) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.rest = bytes;
                    self.offer(id);
                }
            }
            Told::ReadClosed(id) => {
                let _nothing_taken = self.router.handle_conn(now, id, ConnInput::ReadClosed);
            }
            Told::Written(id) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.writing = false;
                    self.write(id);
                }
            }
            Told::Failed(id) => {
                if self.conns.remove(&id).is_some() {
                    self.fail(id, ConnError::Reset);
                }
            }
            Told::Stop => self.router.handle_command(now, Command::Shutdown),
        }
    }

    /// Does all that the router wants done, then what the program does with what happened.
    fn drain(&mut self) {
        loop {
            let mut busy = false;
            while let Some(action) = self.router.poll_action() {
                busy = true;
                self.act(action);
            }
            while let Some(id) = self.router.poll_writable() {
                busy = true;
                self.write(id);
            }
            while let Some(event) = self.router.poll_app_event() {
                busy = true;
                self.program.handle(&mut self.router, self.clock.now(), event);
            }
            if !busy {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, remote, .. } => {
                let tell = self.tell.clone();
                thread::spawn(move || {
                    let dialled = TcpStream::connect_timeout(&remote, DIAL);
                    let told = Told::Dialled(conn, dialled.map_err(|_| ConnError::Refused));
                    let _loop_is_gone = tell.send(told);
                });
            }
            Action::Resume(id) => self.offer(id),
            Action::ShutdownWrite(id) => self.end(id),
            Action::Close { conn: id, abort } => {
                if !abort {
                    self.end(id);
                }
                // Dropped, its threads end: the writer after what it has, the reader at once.
                if let Some(conn) = self.conns.remove(&id) {
                    let how = if abort { Shutdown::Both } else { Shutdown::Read };
                    let _was_gone = conn.socket.shutdown(how);
                }
            }
            Action::Run { id, job } => {
                let done = Completion::Job(job.run());
                self.router.handle_completion(self.clock.now(), id, done);
            }
            Action::Notify(event) => self.stopped |= event == Event::Stopped,
            // A router that is to be the same next time keeps these. Others are new each time.
            Action::Persist { .. } => {}
            other => println!("this loop cannot do {other:?}"),
        }
    }

    /// Begins to read and write a stream.
    fn open(&mut self, id: ConnId, socket: TcpStream) -> bool {
        // What waits for more to go with it is late: the router gathers by itself.
        let nodelay = socket.set_nodelay(true);
        let (Ok(()), Ok(mut from), Ok(mut to)) = (nodelay, socket.try_clone(), socket.try_clone())
        else {
            return false;
        };
        let (go_on, may_read) = channel();
        let (writer, pieces) = channel::<Vec<u8>>();
        let tell = self.tell.clone();
        thread::spawn(move || {
            let mut buf = vec![0; CHUNK];
            loop {
                let told = match from.read(&mut buf) {
                    Ok(0) => Told::ReadClosed(id),
                    Ok(n) => Told::Read(id, buf.get(..n).unwrap_or_default().to_vec()),
                    Err(_) => Told::Failed(id),
                };
                let more = matches!(told, Told::Read(..));
                if tell.send(told).is_err() || !more || may_read.recv().is_err() {
                    return;
                }
            }
        });
        let tell = self.tell.clone();
        thread::spawn(move || {
            for piece in pieces {
                let written = to.write_all(&piece).is_ok();
                let told = if written { Told::Written(id) } else { Told::Failed(id) };
                if tell.send(told).is_err() || !written {
                    return;
                }
            }
            let _was_gone = to.shutdown(Shutdown::Write);
        });
        let (writer, writing, rest) = (Some(writer), false, Vec::new());
        self.conns.insert(id, Conn { socket, writer, writing, go_on, rest });
        true
    }

    /// Gives the router what a stream brought, and lets it read on when all of that was taken.
    fn offer(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let mut bytes = std::mem::take(&mut conn.rest);
        let input = ConnInput::Bytes(&mut bytes);
        let consumed = self.router.handle_conn(self.clock.now(), id, input);
        bytes.drain(..consumed.taken.min(bytes.len()));
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.rest = bytes;
            // Otherwise `Action::Resume` follows.
            if conn.rest.is_empty() && !consumed.pause {
                let _reader_ended = conn.go_on.send(());
            }
        }
    }

    /// Hands on what the router has for a stream, unless its writer is busy.
    fn write(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.writing) else { return };
        let mut bytes = Vec::new();
        if self.router.poll_conn(self.clock.now(), id, CHUNK, &mut bytes) > 0
            && let Some(writer) = &conn.writer
        {
            conn.writing = writer.send(bytes).is_ok();
        }
    }

    /// The last bytes, and FIN.
    fn end(&mut self, id: ConnId) {
        let mut bytes = Vec::new();
        while self.router.poll_conn(self.clock.now(), id, CHUNK, &mut bytes) > 0 {}
        if let Some(conn) = self.conns.get_mut(&id)
            && let Some(writer) = conn.writer.take()
        {
            let _writer_ended = writer.send(bytes);
        }
    }

    fn fail(&mut self, id: ConnId, error: ConnError) {
        let _nothing_taken =
            self.router.handle_conn(self.clock.now(), id, ConnInput::Failed(error));
    }
}

/// A router in a thread of its own.
struct Running {
    info: Arc<[u8]>,
    address: Option<Target>,
    tell: Sender<Told>,
    thread: thread::JoinHandle<()>,
}

fn start(
    role: Role,
    known: &[Arc<[u8]>],
    result: &Sender<Result<(), Failed>>,
) -> Result<Running, Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let clock = Clock::start();
    let mut router = common::router(clock, listener.local_addr()?.port(), known)?;
    let info: Arc<[u8]> = router.router_info().as_bytes().into();
    let program = Program::start(&mut router, clock.now(), role)?;
    let address = program.address(&router);
    let (tell, told) = channel();
    let (accepts, result) = (tell.clone(), result.clone());
    // Ends with the program: a thread that waits in accept has nothing to lose.
    thread::spawn(move || {
        while let Ok((socket, remote)) = listener.accept() {
            if accepts.send(Told::Accepted(socket, remote)).is_err() {
                return;
            }
        }
    });
    let (conns, accepted, stopped) = (BTreeMap::new(), 0, false);
    let tell_loop = tell.clone();
    let turns = Loop { router, program, clock, told, tell: tell_loop, conns, accepted, stopped };
    let thread = thread::spawn(move || turns.run(&result));
    Ok(Running { info, address, tell, thread })
}

fn main() -> Result<(), Failed> {
    let (result, ended) = channel();
    let mut running = vec![start(Role::Help, &[], &result)?];
    let mut known: Vec<Arc<[u8]>> = running.iter().map(|r| r.info.clone()).collect();
    let echo = start(Role::Echo, &known, &result)?;
    known.push(echo.info.clone());
    let address = echo.address.clone().ok_or("no destination")?;
    running.push(echo);
    running.push(start(Role::Call(address), &known, &result)?);
    let end = ended.recv_timeout(PATIENCE).map_err(|_| "nothing was heard")?;
    for router in running {
        let _it_failed = router.tell.send(Told::Stop);
        router.thread.join().map_err(|_| "a loop panicked")?;
    }
    end?;
    println!("every byte came back");
    Ok(())
}

#[test]
fn what_is_said_comes_back() {
    main().unwrap();
}
