//! The loop with real loopback sockets and a machine that is told by each test how to answer.
#![expect(clippy::wildcard_enum_match_arm, reason = "each test is about some inputs")]

use super::*;
use crate::test_dir::TestDir;
use ramson_core::router::input::{ConnInput, Consumed, Datagram, Remote};
use ramson_core::router::output::Transmit;
use ramson_core::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the machine was told, without borrowed bytes.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Accepted(ConnId, Listener, Remote),
    Connected(ConnId),
    Bytes(ConnId, Vec<u8>),
    ReadClosed(ConnId),
    Failed(ConnId, ConnError),
    Command,
    Timeout(Instant),
    Datagrams(SocketId, SocketAddr, Vec<Vec<u8>>),
}

/// Bytes on their way out, and actions.
#[derive(Default)]
struct Desk {
    actions: VecDeque<Action>,
    out: BTreeMap<ConnId, Vec<u8>>,
    named: VecDeque<ConnId>,
    /// Trains, with the length of their datagrams.
    datagrams: VecDeque<(SocketId, SocketAddr, Vec<u8>, Option<usize>)>,
    paused: BTreeSet<ConnId>,
    ended: BTreeSet<ConnId>,
    timeout: Option<Instant>,
    /// Bytes that are held for a stream; its reading side waits when they are there.
    limit: usize,
}

impl Desk {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        self.out.entry(conn).or_default().extend_from_slice(bytes);
        self.named.push_back(conn);
    }

    fn close(&mut self, conn: ConnId, abort: bool) {
        self.actions.push_back(Action::Close { conn, abort });
    }

    fn connect(&mut self, n: u64, remote: SocketAddr, bind: Option<IpAddr>) {
        self.actions.push_back(Action::Connect { conn: outgoing(n), remote, bind });
    }

    /// Sends back what it is given, as fast as it is taken.
    fn echo(&mut self, told: &Told) -> Consumed {
        match told {
            Told::Bytes(conn, bytes) => {
                let held = self.out.get(conn).map_or(0, Vec::len);
                let taken = bytes.len().min(self.limit.saturating_sub(held));
                self.write(*conn, &bytes[..taken]);
                let pause = taken < bytes.len();
                if pause {
                    self.paused.insert(*conn);
                }
                Consumed { taken, pause }
            }
            Told::ReadClosed(conn) => {
                self.actions.push_back(Action::ShutdownWrite(*conn));
                self.ended.insert(*conn);
                Consumed::default()
            }
            _ => Consumed::default(),
        }
    }
}

/// A handle for a stream that the machine opens.
fn outgoing(n: u64) -> ConnId {
    ConnId::accepted((1 << 40) + n)
}

type Answer = Box<dyn FnMut(&mut Desk, &Told) -> Consumed + Send>;

struct Fake {
    desk: Desk,
    answer: Answer,
    told: Sender<Told>,
}

impl Fake {
    fn tell(&mut self, told: Told) -> Consumed {
        let consumed = (self.answer)(&mut self.desk, &told);
        // A test that saw enough has hung up.
        let _ = self.told.send(told);
        consumed
    }
}

impl Machine for Fake {
    fn handle_datagram(&mut self, _: Instant, datagram: Datagram<'_>) {
        let Datagram { socket, remote, payload, segment } = datagram;
        let packets = payload.chunks(segment.unwrap_or(payload.len())).map(<[u8]>::to_vec);
        let _ = self.tell(Told::Datagrams(socket, remote, packets.collect()));
    }

    fn handle_conn(&mut self, _: Instant, conn: ConnId, input: ConnInput<'_>) -> Consumed {
        self.tell(match input {
            ConnInput::Accepted { remote, listener } => Told::Accepted(conn, listener, remote),
            ConnInput::Connected => Told::Connected(conn),
            ConnInput::Bytes(bytes) => Told::Bytes(conn, bytes.to_vec()),
            ConnInput::ReadClosed => Told::ReadClosed(conn),
            ConnInput::Failed(e) => Told::Failed(conn, e),
        })
    }

    fn handle_completion(&mut self, _: Instant, _: EffectId, _: Completion) {}

    fn handle_command(&mut self, _: Instant, _: Command) {
        let _ = self.tell(Told::Command);
    }

    fn handle_wall_clock(&mut self, _: Instant, _: UnixTime) {}

    fn handle_timeout(&mut self, now: Instant) {
        self.desk.timeout = None;
        let _ = self.tell(Told::Timeout(now));
    }

    fn mix_entropy(&mut self, _: Seed) {}

    fn poll_action(&mut self) -> Option<Action> {
        self.desk.actions.pop_front()
    }

    fn poll_transmit(&mut self, _: Instant, _: usize, buf: &mut Vec<u8>) -> Option<Transmit> {
        let (socket, remote, bytes, segment) = self.desk.datagrams.pop_front()?;
        buf.extend_from_slice(&bytes);
        Some(Transmit { socket, remote, len: bytes.len(), segment })
    }

    fn poll_writable(&mut self) -> Option<ConnId> {
        self.desk.named.pop_front()
    }

    fn poll_conn(&mut self, _: Instant, conn: ConnId, room: usize, buf: &mut Vec<u8>) -> usize {
        let Some(out) = self.desk.out.get_mut(&conn) else { return 0 };
        let n = room.min(out.len());
        buf.extend(out.drain(..n));
        if out.len() < self.desk.limit / 2 && self.desk.paused.remove(&conn) {
            self.desk.actions.push_back(Action::Resume(conn));
        }
        n
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.desk.timeout
    }
}

/// What the host of the loop saw, and when it has to end.
#[derive(Default)]
struct Ledger {
    commands: Vec<Command>,
    events: Vec<Event>,
    deadline: Option<Instant>,
    disk_full: bool,
}

struct FakeHost(Arc<Mutex<Ledger>>);

impl Host for FakeHost {
    fn persist(&mut self, _: StoreKey, _: Option<Arc<[u8]>>) -> Result<(), String> {
        if self.0.lock().unwrap().disk_full { Err("disk full".into()) } else { Ok(()) }
    }

    fn notify(&mut self, event: Event) {
        self.0.lock().unwrap().events.push(event);
    }

    fn woken(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.0.lock().unwrap().commands)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.lock().unwrap().deadline
    }
}

/// A loop on a thread of its own, with an NTCP2 listener.
struct Rig {
    addr: SocketAddr,
    told: Receiver<Told>,
    ledger: Arc<Mutex<Ledger>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<Result<(), LoopError>>>,
}

impl Rig {
    fn new(answer: impl FnMut(&mut Desk, &Told) -> Consumed + Send + 'static) -> Self {
        Self::with(Desk { limit: usize::MAX, ..Desk::default() }, answer, |_| {})
    }

    fn with(
        desk: Desk,
        answer: impl FnMut(&mut Desk, &Told) -> Consumed + Send + 'static,
        prepare: impl FnOnce(&mut EventLoop<Fake, FakeHost>),
    ) -> Self {
        let (told, receive) = channel();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let fake = Fake { desk, answer: Box::new(answer), told };
        let mut event_loop = EventLoop::new(fake, FakeHost(ledger.clone()), 1).unwrap();
        let acceptor = Acceptor::tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = ([127, 0, 0, 1], acceptor.port().unwrap()).into();
        event_loop.listen(Listener::Ntcp2, acceptor).unwrap();
        prepare(&mut event_loop);
        let waker = event_loop.waker();
        let thread = std::thread::spawn(|| event_loop.run().1);
        Self { addr, told: receive, ledger, waker, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.addr).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp
    }

    fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    /// Waits for something that `f` picks.
    fn wait_for<T>(&self, mut f: impl FnMut(Told) -> Option<T>) -> T {
        loop {
            if let Some(t) = f(self.next()) {
                return t;
            }
        }
    }

    fn command(&self) {
        self.ledger.lock().unwrap().commands.push(Command::Shutdown);
        self.waker.wake().unwrap();
    }

    fn join(&mut self) -> Result<(), LoopError> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.ledger.lock().unwrap().deadline = Some(Instant::ZERO);
            self.waker.wake().unwrap();
            let result = thread.join();
            if !std::thread::panicking() {
                result.unwrap().unwrap();
            }
        }
    }
}

/// Bytes that show any loss, duplicate or swap.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn bytes_pass_unchanged_under_backpressure_and_both_sides_end() {
    let desk = Desk { limit: 10_000, ..Desk::default() };
    let rig = Rig::with(desk, Desk::echo, |_| {});
    let data = pattern(6 << 20);
    let mut tcp = rig.connect();
    let writer = std::thread::spawn({
        let (mut tcp, data) = (tcp.try_clone().unwrap(), data.clone());
        move || {
            for chunk in data.chunks(70_001) {
                tcp.write_all(chunk).unwrap();
            }
            tcp.shutdown(Shutdown::Write).unwrap();
        }
    });
    let mut got = Vec::new();
    tcp.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == data, "{} bytes of {}", got.len(), data.len());
    let id = ConnId::accepted(0);
    let local = tcp.local_addr().unwrap();
    assert_eq!(rig.next(), Told::Accepted(id, Listener::Ntcp2, Remote::Ip(local)));
}

#[test]
fn a_flood_on_one_stream_leaves_room_for_another() {
    let rig = Rig::new(|desk, told| match told {
        // Swallows everything but answers what is short.
        Told::Bytes(conn, bytes) => {
            if bytes.len() < 100 {
                desk.write(*conn, bytes);
            }
            Consumed { taken: bytes.len(), pause: false }
        }
        _ => Consumed::default(),
    });
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (mut tcp, stop) = (rig.connect(), stop.clone());
        move || {
            let block = vec![0; 1 << 20];
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                tcp.write_all(&block).unwrap();
            }
        }
    });
    let mut tcp = rig.connect();
    tcp.set_nodelay(true).unwrap();
    for i in 0..50_u8 {
        tcp.write_all(&[i; 10]).unwrap();
        let mut answer = [0; 10];
        tcp.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [i; 10]);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
}

#[test]
fn a_closed_stream_delivers_its_last_words_to_a_peer_that_still_sends() {
    let last = pattern(900_000);
    let rig = Rig::new({
        let last = last.clone();
        move |desk, told| match told {
            Told::Bytes(conn, bytes) => {
                desk.write(*conn, &last);
                desk.close(*conn, false);
                Consumed { taken: bytes.len(), pause: false }
            }
            _ => Consumed::default(),
        }
    });
    let mut tcp = rig.connect();
    tcp.write_all(b"x").unwrap();
    rig.wait_for(|t| matches!(t, Told::Bytes(..)).then_some(()));
    // A kernel that closed with this unread would send RST and drop what it had to deliver.
    tcp.write_all(&vec![1; 500_000]).unwrap();
    let mut got = Vec::new();
    tcp.read_to_end(&mut got).unwrap();
    assert!(got == last, "{} bytes", got.len());
}

#[test]
fn an_aborted_stream_is_reset() {
    let rig = Rig::new(|desk, told| match told {
        Told::Bytes(conn, bytes) => {
            desk.write(*conn, b"never seen");
            desk.close(*conn, true);
            Consumed { taken: bytes.len(), pause: false }
        }
        _ => Consumed::default(),
    });
    let mut tcp = rig.connect();
    tcp.write_all(b"x").unwrap();
    let e = tcp.read(&mut [0; 10]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_is_told_even_after_the_peer_had_ended() {
    let rig = Rig::new(|_, told| match told {
        Told::Bytes(_, bytes) => Consumed { taken: bytes.len(), pause: false },
        _ => Consumed::default(),
    });
    for half_close in [false, true] {
        let tcp = rig.connect();
        let id = rig.wait_for(|t| match t {
            Told::Accepted(id, ..) => Some(id),
            _ => None,
        });
        if half_close {
            tcp.shutdown(Shutdown::Write).unwrap();
            assert_eq!(rig.next(), Told::ReadClosed(id));
        }
        socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
        drop(tcp);
        assert_eq!(rig.next(), Told::Failed(id, ConnError::Reset), "{half_close}");
    }
}

#[test]
fn what_a_peer_said_before_it_broke_is_heard_first() {
    let rig = Rig::new(|desk, told| match told {
        Told::Bytes(conn, bytes) => {
            // More than fits, so that writing finds the peer gone.
            desk.write(*conn, &vec![0; 64 << 20]);
            Consumed { taken: bytes.len(), pause: false }
        }
        _ => Consumed::default(),
    });
    let mut tcp = rig.connect();
    tcp.write_all(b"go").unwrap();
    tcp.read_exact(&mut [0; 1000]).unwrap();
    tcp.write_all(b"enough").unwrap();
    drop(tcp);
    let mut heard = Vec::new();
    let failed = rig.wait_for(|t| match t {
        Told::Bytes(_, b) => {
            heard.extend(b);
            None
        }
        Told::Failed(_, e) => Some(e),
        _ => None,
    });
    assert_eq!((&heard[..], failed), (&b"goenough"[..], ConnError::Reset));
}

#[test]
fn a_paused_stream_is_not_read_until_resumed() {
    let rig = Rig::new(|desk, told| match told {
        Told::Bytes(conn, bytes) if bytes == b"resume the first" => {
            desk.actions.push_back(Action::Resume(ConnId::accepted(0)));
            desk.write(*conn, b"done");
            Consumed { taken: bytes.len(), pause: false }
        }
        Told::Bytes(_, bytes) => Consumed { taken: 2.min(bytes.len()), pause: true },
        _ => Consumed::default(),
    });
    let mut first = rig.connect();
    rig.next();
    let id = ConnId::accepted(0);
    first.write_all(b"abcdef").unwrap();
    assert_eq!(rig.next(), Told::Bytes(id, b"abcdef".into()));
    first.write_all(b"ghi").unwrap();
    let mut second = rig.connect();
    assert!(matches!(rig.next(), Told::Accepted(..)));
    let mut resume = |want: &[u8]| {
        second.write_all(b"resume the first").unwrap();
        assert!(matches!(rig.next(), Told::Bytes(other, _) if other != id));
        second.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(rig.next(), Told::Bytes(id, want.into()));
    };
    // The rest first, then what came meanwhile.
    resume(b"cdef");
    resume(b"ef");
    resume(b"ghi");
    resume(b"i");
}

#[test]
fn connects_are_answered_and_leave_from_the_address_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = listener.local_addr().unwrap();
    // Nobody listens where a listener was a moment ago.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let rig = Rig::new(move |desk, told| {
        match told {
            Told::Command => {
                desk.connect(1, remote, Some([127, 0, 0, 2].into()));
                desk.connect(2, closed, None);
            }
            Told::Connected(conn) => desk.write(*conn, b"hello"),
            _ => {}
        }
        Consumed::default()
    });
    rig.command();
    let (mut tcp, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 2]));
    let mut hello = [0; 5];
    tcp.read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    let mut told = [rig.next(), rig.next(), rig.next()];
    told.sort_by_key(|t| format!("{t:?}"));
    let want = [
        Told::Command,
        Told::Connected(outgoing(1)),
        Told::Failed(outgoing(2), ConnError::Refused),
    ];
    assert_eq!(told, want);
}

#[test]
fn connects_that_fail_at_once_may_go_on_for_ever() {
    let mut n = 0;
    let rig = Rig::new(move |desk, told| {
        if matches!(told, Told::Command | Told::Failed(..)) {
            // Not an address of this machine, so this fails before anything is sent.
            desk.connect(n, ([127, 0, 0, 1], 1).into(), Some([192, 0, 2, 1].into()));
            n += 1;
        }
        Consumed::default()
    });
    rig.command();
    let last = outgoing(20_000);
    rig.wait_for(|t| matches!(t, Told::Failed(id, ConnError::Other) if id == last).then_some(()));
}

#[test]
fn a_panic_costs_one_stream() {
    let rig = Rig::new(|desk, told| {
        if matches!(told, Told::Bytes(_, bytes) if bytes == b"panic") {
            std::panic::resume_unwind(Box::new("without the noise of panic!"));
        }
        desk.echo(told)
    });
    let mut good = rig.connect();
    let mut bad = rig.connect();
    bad.write_all(b"panic").unwrap();
    assert!(bad.read(&mut [0; 1]).is_err());
    good.write_all(b"fine").unwrap();
    let mut answer = [0; 4];
    good.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"fine");
}

#[test]
fn endless_panics_end_the_loop() {
    let mut rig = Rig::new(|desk, told| {
        desk.timeout = Some(Instant::ZERO);
        if matches!(told, Told::Timeout(_)) {
            std::panic::resume_unwind(Box::new("without the noise of panic!"));
        }
        Consumed::default()
    });
    rig.command();
    assert!(matches!(rig.join(), Err(LoopError::Panics(MAX_PANICS))));
}

#[test]
fn a_shutdown_sends_the_last_bytes_and_ends_the_loop() {
    let last = pattern(400_000);
    let mut rig = Rig::new({
        let last = last.clone();
        move |desk, told| {
            if *told == Told::Command {
                desk.write(ConnId::accepted(0), &last);
                desk.close(ConnId::accepted(0), false);
                desk.actions.push_back(Action::Notify(Event::Stopped));
            }
            Consumed::default()
        }
    });
    let mut tcp = rig.connect();
    rig.next();
    rig.command();
    let mut got = Vec::new();
    tcp.read_to_end(&mut got).unwrap();
    assert!(got == last, "{} bytes", got.len());
    rig.join().unwrap();
    assert_eq!(rig.ledger.lock().unwrap().events, [Event::Stopped]);
}

/// How a peer sees the end of a stream that it begins to read only now.
fn end_of(mut tcp: TcpStream) -> Result<usize, ErrorKind> {
    let mut got = Vec::new();
    tcp.read_to_end(&mut got).map_err(|e| e.kind())
}

/// More than two kernels hold for a stream.
const TOO_MUCH: usize = 64 << 20;

#[test]
fn what_the_end_of_the_loop_cuts_short_is_reset() {
    let first = ConnId::accepted(0);
    // The router had more to say, or had not said that this was all.
    for (len, closed) in [(TOO_MUCH, true), (TOO_MUCH, false), (4, false)] {
        let mut rig = Rig::new(move |desk, told| {
            if *told == Told::Command {
                desk.write(first, &vec![0; len]);
                if closed {
                    desk.close(first, false);
                }
                desk.actions.push_back(Action::Notify(Event::Stopped));
            }
            Consumed::default()
        });
        let tcp = rig.connect();
        rig.next();
        rig.command();
        rig.join().unwrap();
        assert_eq!(end_of(tcp), Err(ErrorKind::ConnectionReset), "{len} {closed}");
    }
}

#[test]
fn a_reader_that_takes_nothing_is_reset_when_its_time_is_up() {
    let (told, _receive) = channel();
    let id = ConnId::accepted(0);
    let answer = move |desk: &mut Desk, told: &Told| {
        if matches!(told, Told::Accepted(..)) {
            desk.write(id, &vec![0; TOO_MUCH]);
            desk.close(id, false);
        }
        Consumed::default()
    };
    let desk = Desk { limit: usize::MAX, ..Desk::default() };
    let fake = Fake { desk, answer: Box::new(answer), told };
    let mut event_loop = EventLoop::new(fake, FakeHost(Arc::default()), 1).unwrap();
    let acceptor = Acceptor::tcp(([127, 0, 0, 1], 0).into()).unwrap();
    let addr: SocketAddr = ([127, 0, 0, 1], acceptor.port().unwrap()).into();
    event_loop.listen(Listener::Ntcp2, acceptor).unwrap();
    let tcp = TcpStream::connect(addr).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut events = Events::with_capacity(MAX_EVENTS);
    while !event_loop.conns.get(0).is_some_and(|c| c.phase == Phase::Flushing && !c.writable) {
        event_loop.turn(&mut events).unwrap();
    }
    // What the kernel took was progress; after that there is none.
    event_loop.expired(clock::now(), 0);
    assert_eq!(event_loop.conns.len(), 1);
    event_loop.expired(clock::now(), 0);
    assert!(event_loop.conns.is_empty());
    assert_eq!(end_of(tcp), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_machine_that_does_not_stop_is_left_at_the_deadline() {
    let mut rig = Rig::new(|_, _| Consumed::default());
    let start = clock::now();
    rig.ledger.lock().unwrap().deadline = Some(start + Duration::from_millis(100));
    rig.waker.wake().unwrap();
    rig.join().unwrap();
    let took = clock::now().saturating_since(start);
    assert!((Duration::from_millis(100)..MAX_SLEEP).contains(&took), "{took:?}");
}

#[test]
fn a_store_that_cannot_keep_keys_ends_the_loop() {
    let mut rig = Rig::new(|desk, _| {
        let key = StoreKey::RouterKeys;
        desk.actions.push_back(Action::Persist { key, value: Some(Arc::from(&b"x"[..])) });
        Consumed::default()
    });
    rig.ledger.lock().unwrap().disk_full = true;
    rig.command();
    assert_eq!(rig.join().unwrap_err().to_string(), "disk full");
}

#[test]
fn timers_fire_once_and_not_early() {
    let delay = Duration::from_millis(40);
    let rig = Rig::new(move |desk, told| {
        if *told == Told::Command {
            desk.timeout = Some(clock::now() + delay);
        }
        Consumed::default()
    });
    let start = clock::now();
    rig.command();
    assert_eq!(rig.next(), Told::Command);
    let Told::Timeout(at) = rig.next() else { panic!("not a timeout") };
    let took = at.saturating_since(start);
    assert!((delay..MAX_SLEEP).contains(&took), "{took:?}");
    assert!(rig.told.recv_timeout(delay).is_err());
}

#[test]
fn the_control_socket_is_local_and_private() {
    use std::os::unix::fs::MetadataExt;
    let tmp = TestDir::new("loop-control");
    let path = tmp.path().join("control.sock");
    // Left by a killed router.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let desk = Desk { limit: usize::MAX, ..Desk::default() };
    let rig = Rig::with(desk, Desk::echo, |event_loop| {
        event_loop.listen(Listener::Control, Acceptor::unix(&path).unwrap()).unwrap();
    });
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.write_all(b"info\n").unwrap();
    unix.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "info\n");
    let id = ConnId::accepted(0);
    assert_eq!(rig.next(), Told::Accepted(id, Listener::Control, Remote::Local));
}

#[test]
fn hundreds_of_streams_at_once() {
    let rig = Rig::new(Desk::echo);
    let mut streams: Vec<TcpStream> = (0..300).map(|_| rig.connect()).collect();
    for (i, tcp) in streams.iter_mut().enumerate() {
        tcp.write_all(&pattern(i * 10 + 1)).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
    }
    for (i, tcp) in streams.iter_mut().enumerate() {
        let mut got = Vec::new();
        tcp.read_to_end(&mut got).unwrap();
        assert!(got == pattern(i * 10 + 1), "{i}");
    }
}

/// A rig that echoes datagrams, and the address of its socket.
fn echoing() -> (Rig, SocketAddr) {
    let udp = Udp::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let at = ([127, 0, 0, 1], udp.port().unwrap()).into();
    let answer = |desk: &mut Desk, told: &Told| {
        if let Told::Datagrams(socket, from, packets) = told {
            for packet in packets {
                desk.datagrams.push_back((*socket, *from, packet.clone(), None));
            }
        }
        desk.echo(told)
    };
    let desk = Desk { limit: usize::MAX, ..Desk::default() };
    let rig = Rig::with(desk, answer, |l| l.serve(SocketId::IPV4, udp).unwrap());
    (rig, at)
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn datagrams_arrive_whole_with_their_sender_and_answers_leave_from_the_same_socket() {
    let (rig, at) = echoing();
    let (a, b) = (client(), client());
    let mut buf = [0; 2000];
    for (n, len) in [1, 40, 1200, 1472].into_iter().enumerate() {
        for (i, socket) in [&a, &b].into_iter().enumerate() {
            let packet = vec![(n * 2 + i) as u8; len];
            socket.send_to(&packet, at).unwrap();
            let from = socket.local_addr().unwrap();
            let told = Told::Datagrams(SocketId::IPV4, from, vec![packet.clone()]);
            assert_eq!(rig.next(), told);
            let (n, from) = socket.recv_from(&mut buf).unwrap();
            assert_eq!((&buf[..n], from), (&packet[..], at));
        }
    }
}

#[test]
fn a_train_arrives_as_its_datagrams() {
    let udp = Udp::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let to = client();
    let at = to.local_addr().unwrap();
    let bytes = pattern(20 * 1400 + 77);
    let train = (SocketId::IPV4, at, bytes.clone(), Some(1400));
    let desk = Desk { datagrams: [train].into(), ..Desk::default() };
    let _rig =
        Rig::with(desk, |_, _| Consumed::default(), |l| l.serve(SocketId::IPV4, udp).unwrap());
    let mut got = Vec::new();
    let mut buf = [0; 2000];
    for _ in 0..21 {
        let n = to.recv(&mut buf).unwrap();
        assert!(n == 1400 || n == 77);
        got.extend_from_slice(&buf[..n]);
    }
    assert!(got == bytes);
}

#[test]
fn what_the_kernel_does_not_take_waits_for_it() {
    // The smallest buffer, and a reader that comes late.
    let udp = Udp::bind(([127, 0, 0, 1], 0).into()).unwrap();
    udp.shrink_send_buffer();
    let to = client();
    socket2::SockRef::from(&to).set_recv_buffer_size(8 << 20).unwrap();
    let at = to.local_addr().unwrap();
    let train = |n: u8| (SocketId::IPV4, at, vec![n; 1400], None);
    let desk = Desk { datagrams: (0..200).map(train).collect(), ..Desk::default() };
    let _rig =
        Rig::with(desk, |_, _| Consumed::default(), |l| l.serve(SocketId::IPV4, udp).unwrap());
    let mut buf = [0; 2000];
    for n in 0..100_u8 {
        assert_eq!(to.recv(&mut buf).unwrap(), 1400);
        assert_eq!(buf[0], n);
    }
}

#[test]
fn nobody_there_does_not_end_the_socket() {
    let (rig, at) = echoing();
    // Whoever sent this is gone when the answer comes.
    for _ in 0..5 {
        let gone = client();
        gone.send_to(b"gone", at).unwrap();
        drop(gone);
        assert!(matches!(rig.next(), Told::Datagrams(..)));
    }
    let here = client();
    here.send_to(b"here", at).unwrap();
    let mut buf = [0; 10];
    assert_eq!(here.recv(&mut buf).unwrap(), 4);
}

#[test]
fn a_flood_of_datagrams_leaves_room_for_streams_and_timers() {
    let udp = Udp::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let at: SocketAddr = ([127, 0, 0, 1], udp.port().unwrap()).into();
    let desk = Desk {
        limit: usize::MAX,
        timeout: Some(clock::now() + Duration::from_millis(300)),
        ..Desk::default()
    };
    let rig = Rig::with(desk, Desk::echo, |l| l.serve(SocketId::IPV4, udp).unwrap());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (socket, stop) = (client(), stop.clone());
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // A full buffer is what a flood is about.
                let _ = socket.send_to(&[0; 1200], at);
            }
        }
    });
    let mut tcp = rig.connect();
    tcp.set_nodelay(true).unwrap();
    for i in 0..50_u8 {
        tcp.write_all(&[i; 10]).unwrap();
        let mut answer = [0; 10];
        tcp.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [i; 10]);
    }
    rig.wait_for(|told| matches!(told, Told::Timeout(_)).then_some(()));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
}
