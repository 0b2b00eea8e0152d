//! The Ramson router on tokio.
//!
//! [`run`] drives one [`Router`] as a future: it binds the listeners that the configuration asks
//! for, dials, reads and writes, and ends when it is told to. Nothing here decides anything about
//! I2P. Several routers can run in one process.
//!
//! The store belongs to the embedder: what the router wants kept goes to a closure, and comes back
//! in [`Stored`] at the next start. Monotonic time is tokio's, so a test can pause it; it does not
//! count while the machine sleeps.

mod clock;
mod conn;

use clock::Clock;
use conn::{Conn, Happened};
use ramson_core::config::Config;
use ramson_core::conn::ConnId;
use ramson_core::rng::Seed;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnInput, Listener, Remote, Stored,
};
use ramson_core::router::output::{Action, Event, StoreKey};
use ramson_core::router::{Router, StartError};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

/// The wall clock is read this often.
const WALL_CLOCK: Duration = Duration::from_secs(60);
/// A shutdown that takes longer is cut short.
const GOODBYE: Duration = Duration::from_secs(10);
/// Happenings of all connections that wait to be handled; connections wait when it is full.
const QUEUE: usize = 1024;

/// Why a router did not run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Configuration or stored state.
    Start(StartError),
    /// A listener could not be bound.
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The operating system gave no entropy.
    Entropy,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(e) => e.fmt(f),
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Entropy => f.write_str("the operating system gave no entropy"),
        }
    }
}

impl std::error::Error for Error {}

/// What a running router tells its embedder.
pub trait Host {
    /// Keep `value` under `key`, durably; `None` deletes it.
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>);
    /// Something happened.
    fn notify(&mut self, event: Event);
}

/// Runs a router until `shutdown` completes, then says goodbye to its peers.
pub async fn run(
    config: Config,
    stored: Stored,
    host: impl Host,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let clock = Clock::start();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| Error::Entropy)?;
    let (happened, mut queue) = mpsc::channel(QUEUE);
    let listeners = bind(&config).await?;
    let config = Arc::new(config);
    let router = Router::new(config, stored, Seed::new(seed), clock.now(), clock.unix())
        .map_err(Error::Start)?;
    let mut driver = Driver {
        router,
        clock,
        conns: BTreeMap::new(),
        accepted: 0,
        happened,
        host,
        stopped: false,
    };
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|(listener, socket)| tokio::spawn(accept(listener, socket, driver.happened.clone())))
        .collect();
    let mut shutdown = pin!(shutdown);
    let mut stopping = None;
    let mut wall = tokio::time::interval(WALL_CLOCK);
    driver.drain();
    while !driver.stopped {
        let deadline = driver.deadline();
        tokio::select! {
            Some(what) = queue.recv() => driver.handle(what),
            () = tokio::time::sleep_until(deadline) => {
                let now = driver.clock.now();
                driver.router.handle_timeout(now);
            }
            _ = wall.tick() => {
                let (now, unix) = (driver.clock.now(), driver.clock.unix());
                driver.router.handle_wall_clock(now, unix);
            }
            () = &mut shutdown, if stopping.is_none() => {
                stopping = Some(tokio::time::Instant::now() + GOODBYE);
                let now = driver.clock.now();
                driver.router.handle_command(now, Command::Shutdown);
            }
            () = tokio::time::sleep_until(stopping.unwrap_or(deadline)), if stopping.is_some() => {
                break;
            }
        }
        driver.drain();
    }
    for task in accepting {
        task.abort();
        // The listener is closed when the task is gone, and not before.
        let _aborted = task.await;
    }
    Ok(())
}

async fn bind(config: &Config) -> Result<Vec<(Listener, TcpListener)>, Error> {
    let mut wanted = Vec::new();
    if let Some(port) = config.ntcp2.port {
        let ip = config.ntcp2.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        wanted.push((Listener::Ntcp2, SocketAddr::new(ip, port)));
    }
    if let Some(proxy) = &config.http_proxy {
        wanted.push((Listener::HttpProxy, proxy.listen));
    }
    for (i, client) in config.clients.iter().enumerate() {
        let index = u16::try_from(i).unwrap_or(u16::MAX);
        wanted.push((Listener::Client(index), client.listen));
    }
    let mut bound = Vec::new();
    for (listener, address) in wanted {
        let socket =
            TcpListener::bind(address).await.map_err(|error| Error::Bind { address, error })?;
        bound.push((listener, socket));
    }
    Ok(bound)
}

async fn accept(listener: Listener, socket: TcpListener, happened: mpsc::Sender<Happened>) {
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                if happened.send(Happened::Accepted { listener, stream, remote }).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                // Out of descriptors: others must close first.
                log::warn!("cannot accept: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One router and its connections.
struct Driver<H> {
    router: Router,
    clock: Clock,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    happened: mpsc::Sender<Happened>,
    host: H,
    stopped: bool,
}

impl<H: Host> Driver<H> {
    fn deadline(&self) -> tokio::time::Instant {
        let far = Duration::from_secs(3600);
        let at = self.router.poll_timeout().map(|(at, _)| at);
        let wait = at.map_or(far, |at| at.saturating_since(self.clock.now()));
        tokio::time::Instant::now() + wait.min(far)
    }

    fn handle(&mut self, what: Happened) {
        let now = self.clock.now();
        match what {
            Happened::Accepted { listener, stream, remote } => {
                self.accepted += 1;
                let id = ConnId::accepted(self.accepted);
                self.conns.insert(id, Conn::start(id, stream, self.happened.clone()));
                let input = ConnInput::Accepted { remote: Remote::Ip(remote), listener };
                let _ = self.router.handle_conn(now, id, input);
            }
            Happened::Dialled { conn, result } => {
                let Some(entry) = self.conns.get_mut(&conn) else { return };
                let input = match result {
                    Ok(stream) => {
                        *entry = Conn::start(conn, stream, self.happened.clone());
                        ConnInput::Connected
                    }
                    Err(e) => {
                        self.conns.remove(&conn);
                        ConnInput::Failed(error(&e))
                    }
                };
                let _ = self.router.handle_conn(now, conn, input);
            }
            Happened::Bytes { conn, bytes } => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.backlog = bytes;
                    self.offer(conn);
                }
            }
            Happened::ReadClosed { conn } => {
                if self.conns.contains_key(&conn) {
                    let _ = self.router.handle_conn(now, conn, ConnInput::ReadClosed);
                }
            }
            Happened::Failed { conn, error } => {
                if self.conns.remove(&conn).is_some() {
                    let _ =
                        self.router.handle_conn(now, conn, ConnInput::Failed(self::error(&error)));
                }
            }
            Happened::Written { conn } => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.writing = false;
                    self.write(conn);
                }
            }
        }
    }

    /// Gives the router what a connection read, and lets it read on when all was taken.
    fn offer(&mut self, conn: ConnId) {
        let now = self.clock.now();
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        let consumed = self.router.handle_conn(now, conn, ConnInput::Bytes(&mut entry.backlog));
        entry.backlog.drain(..consumed.taken.min(entry.backlog.len()));
        if entry.backlog.is_empty() && !consumed.pause {
            entry.read_on();
        }
    }

    /// Hands the writer of a connection what the router has for it.
    fn write(&mut self, conn: ConnId) {
        let now = self.clock.now();
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        if entry.writing {
            return;
        }
        let mut bytes = Vec::new();
        if self.router.poll_conn(now, conn, conn::ROOM, &mut bytes) > 0 {
            entry.write(bytes);
        }
    }

    fn drain(&mut self) {
        loop {
            let mut busy = false;
            while let Some(action) = self.router.poll_action() {
                busy = true;
                self.act(action);
            }
            while let Some(conn) = self.router.poll_writable() {
                busy = true;
                self.write(conn);
            }
            if !busy {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { conn, remote, bind } => {
                self.conns.insert(conn, Conn::dialling());
                let happened = self.happened.clone();
                tokio::spawn(async move {
                    let result = dial(remote, bind).await;
                    let _ = happened.send(Happened::Dialled { conn, result }).await;
                });
            }
            Action::Resume(conn) => {
                let Some(entry) = self.conns.get_mut(&conn) else { return };
                if entry.backlog.is_empty() {
                    entry.read_on();
                } else {
                    self.offer(conn);
                }
            }
            Action::ShutdownWrite(conn) => {
                self.take_all(conn);
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.finish();
                }
            }
            Action::Close { conn, abort } => {
                if abort {
                    if let Some(entry) = self.conns.remove(&conn) {
                        entry.abort();
                    }
                } else {
                    self.take_all(conn);
                    if let Some(mut entry) = self.conns.remove(&conn) {
                        entry.finish();
                    }
                }
            }
            Action::Persist { key, value } => self.host.persist(key, value),
            Action::Run { id, job } => {
                let now = self.clock.now();
                self.router.handle_completion(now, id, Completion::Job(job.run()));
            }
            Action::Notify(Event::Stopped) => {
                self.stopped = true;
                self.host.notify(Event::Stopped);
            }
            Action::Notify(event) => self.host.notify(event),
            _ => {}
        }
    }

    /// Queues everything that the router still has for a connection.
    fn take_all(&mut self, conn: ConnId) {
        let now = self.clock.now();
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        loop {
            let mut bytes = Vec::new();
            if self.router.poll_conn(now, conn, conn::ROOM, &mut bytes) == 0 {
                return;
            }
            entry.write(bytes);
        }
    }
}

async fn dial(remote: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(ip) = bind.filter(|ip| ip.is_ipv4() == remote.is_ipv4()) {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.connect(remote).await
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of errors are the system's, and open"
)]
fn error(e: &io::Error) -> ConnError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => ConnError::Refused,
        io::ErrorKind::TimedOut => ConnError::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ConnError::Reset,
        _ => ConnError::Other,
    }
}
