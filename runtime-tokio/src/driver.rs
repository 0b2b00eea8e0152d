//! One router and its connections: what happened goes in, what is to be done comes out.

use crate::Host;
use crate::clock::Clock;
use crate::conn::{self, Conn, Happened};
use crate::guests::Guests;
use crate::request::Request;
use crate::router::Phase;
use crate::udp::{self, Udp};
use ramson_core::conn::ConnId;
use ramson_core::rng::Seed;
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnError, ConnInput, Consumed, Listener, Remote,
};
use ramson_core::router::output::{Action, Event};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Ready;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

/// Sleep at most so long.
const FAR: Duration = Duration::from_secs(3600);

pub(crate) struct Driver<H> {
    pub(crate) router: Router,
    pub(crate) stopped: bool,
    clock: Clock,
    conns: BTreeMap<ConnId, Conn>,
    accepted: u64,
    udp: Option<Udp>,
    happened: mpsc::Sender<Happened>,
    host: H,
    guests: Guests,
    events: broadcast::Sender<Event>,
    phase: watch::Sender<Phase>,
    /// Tasks that write; those of closed connections have last words to send.
    writers: JoinSet<()>,
    /// All other tasks, which end with the router.
    others: JoinSet<()>,
}

impl<H: Host> Driver<H> {
    pub(crate) fn new(
        router: Router,
        clock: Clock,
        host: H,
        happened: mpsc::Sender<Happened>,
        events: broadcast::Sender<Event>,
        phase: watch::Sender<Phase>,
    ) -> Self {
        Self {
            router,
            stopped: false,
            clock,
            conns: BTreeMap::new(),
            accepted: 0,
            udp: None,
            happened,
            host,
            guests: Guests::default(),
            events,
            phase,
            writers: JoinSet::new(),
            others: JoinSet::new(),
        }
    }

    pub(crate) fn listen(&mut self, listener: Listener, socket: tokio::net::TcpListener) {
        self.others.spawn(crate::listen::accept(listener, socket, self.happened.clone()));
    }

    /// Adds the socket for datagrams.
    pub(crate) fn serve(&mut self, udp: Udp) {
        self.udp = Some(udp);
    }

    /// That socket, to wait for it.
    pub(crate) fn udp(&self) -> Option<Arc<UdpSocket>> {
        self.udp.as_ref().map(Udp::socket)
    }

    /// Whether datagrams wait for room in it.
    pub(crate) fn is_full(&self) -> bool {
        self.udp.as_ref().is_some_and(Udp::is_full)
    }

    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        let due = self.router.poll_timeout().map(|(at, _)| at);
        let at = due.into_iter().chain(self.guests.deadline()).min();
        let wait = at.map_or(FAR, |at| at.saturating_since(self.clock.now()));
        tokio::time::Instant::now() + wait.min(FAR)
    }

    pub(crate) fn handle_timeout(&mut self) {
        self.router.handle_timeout(self.clock.now());
    }

    /// Looks whether the wall clock was set, or the machine slept.
    pub(crate) fn look_at_clocks(&mut self) {
        let look = self.clock.look();
        if let Some(unix) = look.wall {
            self.router.handle_wall_clock(self.clock.now(), unix);
        }
        if look.slept {
            // The machine may have been copied while it slept.
            let mut seed = [0; 32];
            match getrandom::fill(&mut seed) {
                Ok(()) => self.router.mix_entropy(Seed::new(seed)),
                Err(e) => log::warn!("no fresh entropy after the machine slept: {e}"),
            }
        }
    }

    pub(crate) fn shut_down(&mut self) {
        self.router.handle_command(self.clock.now(), Command::Shutdown);
    }

    /// Does what a handle asks; true when that is to stop.
    pub(crate) fn request(&mut self, request: Request) -> bool {
        self.guests.handle(&mut self.router, self.clock.now(), request)
    }

    /// Forgets the tasks that are done.
    pub(crate) fn reap(&mut self) {
        while self.writers.try_join_next().is_some() {}
        while self.others.try_join_next().is_some() {}
    }

    /// Lets the last words be sent, then ends every task, and with it every socket. Connections that
    /// the router did not close end with RST: nobody said that what they brought was all.
    pub(crate) async fn end(mut self, patience: Duration) {
        self.guests = Guests::default();
        for conn in std::mem::take(&mut self.conns).into_values() {
            conn.abort();
        }
        let last_words = async {
            while let Some(udp) = self.udp.as_ref().filter(|udp| udp.is_full()) {
                if udp.socket().writable().await.is_err() {
                    break;
                }
                self.send_datagrams();
            }
            while self.writers.join_next().await.is_some() {}
        };
        let _given_up = tokio::time::timeout(patience, last_words).await;
        self.writers.shutdown().await;
        self.others.shutdown().await;
    }

    pub(crate) fn handle(&mut self, what: Happened) {
        match what {
            Happened::Accepted { listener, stream, remote } => {
                self.accepted += 1;
                let conn = ConnId::accepted(self.accepted);
                self.open(conn, stream);
                let _ =
                    self.input(conn, ConnInput::Accepted { remote: Remote::Ip(remote), listener });
            }
            Happened::Dialled { conn, result } => {
                if self.conns.contains_key(&conn) {
                    match result {
                        Ok(stream) => {
                            self.open(conn, stream);
                            let _ = self.input(conn, ConnInput::Connected);
                            self.write(conn);
                        }
                        Err(e) => self.fail(conn, error(&e)),
                    }
                }
            }
            Happened::Bytes { conn, bytes } => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.arrived(bytes);
                    self.offer(conn);
                }
            }
            Happened::ReadClosed { conn } => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.ended = true;
                    if entry.broken {
                        self.fail(conn, ConnError::Reset);
                    } else {
                        let _ = self.input(conn, ConnInput::ReadClosed);
                    }
                }
            }
            Happened::Failed { conn, error } => self.fail(conn, self::error(&error)),
            Happened::WriteFailed { conn } => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.broken = true;
                    entry.writing = false;
                    if entry.ended {
                        self.fail(conn, ConnError::Reset);
                    } else {
                        self.write(conn);
                    }
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

    fn open(&mut self, id: ConnId, stream: TcpStream) {
        let conn = Conn::open(id, stream, &self.happened, &mut self.others, &mut self.writers);
        self.conns.insert(id, conn);
    }

    fn input(&mut self, conn: ConnId, input: ConnInput<'_>) -> Consumed {
        let consumed = self.router.handle_conn(self.clock.now(), conn, input);
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.paused |= consumed.pause;
        }
        consumed
    }

    /// A stream is dead.
    fn fail(&mut self, conn: ConnId, error: ConnError) {
        if self.conns.remove(&conn).is_some() {
            let _ = self.router.handle_conn(self.clock.now(), conn, ConnInput::Failed(error));
        }
    }

    /// Gives the router what a connection read, and lets it read on when all was taken.
    fn offer(&mut self, conn: ConnId) {
        let Some(entry) = self.conns.get_mut(&conn).filter(|c| !c.paused) else { return };
        let mut backlog = std::mem::take(&mut entry.backlog);
        let taken = if backlog.is_empty() {
            0
        } else {
            self.input(conn, ConnInput::Bytes(&mut backlog)).taken
        };
        let Some(entry) = self.conns.get_mut(&conn) else { return };
        backlog.drain(..taken.min(backlog.len()));
        entry.backlog = backlog;
        // A rest counts as a pause.
        entry.paused |= !entry.backlog.is_empty();
        if !entry.paused {
            entry.read_on();
        }
    }

    /// Hands the writer of a connection what the router has for it.
    fn write(&mut self, conn: ConnId) {
        while let Some(entry) = self.conns.get_mut(&conn).filter(|c| !c.writing) {
            let mut bytes = Vec::new();
            if self.router.poll_conn(self.clock.now(), conn, conn::ROOM, &mut bytes) == 0 {
                return;
            }
            if !entry.broken {
                entry.write(bytes);
            }
        }
    }

    /// Takes what waits at the socket for datagrams, but not more than is fair. What there is to send
    /// goes out with all else.
    pub(crate) fn handle_datagrams(&mut self, ready: Ready) {
        let reads = if ready.is_readable() { udp::MAX_READS } else { 0 };
        for _ in 0..reads {
            let Some(udp) = &mut self.udp else { return };
            let (router, clock) = (&mut self.router, &self.clock);
            if !udp.receive(|datagram| router.handle_datagram(clock.now(), datagram)) {
                return;
            }
            self.drain();
        }
    }

    /// Sends what the router has, as far as there is room; true when there was some.
    fn send_datagrams(&mut self) -> bool {
        let Some(udp) = &mut self.udp else { return false };
        let (router, clock) = (&mut self.router, &self.clock);
        udp.send(|segments, buf| router.poll_transmit(clock.now(), segments, buf))
    }

    /// Does all that the router wants done.
    pub(crate) fn drain(&mut self) {
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
            busy |= self.send_datagrams();
            while let Some(event) = self.router.poll_app_event() {
                busy = true;
                self.guests.event(&mut self.router, self.clock.now(), event);
            }
            busy |= self.guests.tick(&mut self.router, self.clock.now());
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
                self.others.spawn(async move {
                    let result = dial(remote, bind).await;
                    let _stopped = happened.send(Happened::Dialled { conn, result }).await;
                });
            }
            Action::Resume(conn) => {
                if let Some(entry) = self.conns.get_mut(&conn) {
                    entry.paused = false;
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
                if !abort {
                    self.take_all(conn);
                }
                if let Some(entry) = self.conns.remove(&conn) {
                    if abort { entry.abort() } else { entry.close() }
                }
            }
            Action::Persist { key, value } => self.host.persist(key, value),
            Action::Run { id, job } => {
                let done = Completion::Job(job.run());
                self.router.handle_completion(self.clock.now(), id, done);
            }
            Action::Notify(event) => {
                self.stopped |= event == Event::Stopped;
                match event {
                    Event::Ready => drop(self.phase.send_replace(Phase::Ready)),
                    Event::Stopped => drop(self.phase.send_replace(Phase::Stopped)),
                    _ => {}
                }
                let _nobody_listens = self.events.send(event.clone());
                self.host.notify(event);
            }
            other => log::error!("this runtime cannot do {other:?}"),
        }
    }

    /// Queues everything that the router still has for a connection.
    fn take_all(&mut self, conn: ConnId) {
        // Asked even when nobody wants it any more: the router counts on it.
        loop {
            let mut bytes = Vec::new();
            if self.router.poll_conn(self.clock.now(), conn, conn::ROOM, &mut bytes) == 0 {
                return;
            }
            if let Some(entry) = self.conns.get_mut(&conn).filter(|c| !c.broken) {
                entry.write(bytes);
            }
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
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ConnError::Reset,
        _ => ConnError::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::config::Config;
    use ramson_core::router::input::Stored;
    use ramson_core::router::output::StoreKey;
    use tokio::io::AsyncReadExt;

    struct Nobody;

    impl Host for Nobody {
        fn persist(&mut self, _: StoreKey, _: Option<Arc<[u8]>>) {}
        fn notify(&mut self, _: Event) {}
    }

    #[tokio::test]
    async fn at_the_end_only_what_the_router_closed_ends_in_good_order() {
        let clock = Clock::start();
        let (now, unix) = (clock.now(), clock.unix());
        let seed = Seed::from_number(1);
        let router = Router::new(Arc::new(Config::default()), Stored::default(), seed, now, unix);
        let (happened, _queue) = mpsc::channel(16);
        let (events, phase) = (broadcast::channel(1).0, watch::channel(Phase::Starting).0);
        let mut driver = Driver::new(router.unwrap(), clock, Nobody, happened, events, phase);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peers = Vec::new();
        for n in 0..2 {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let conn = ConnId::accepted(n);
            driver.open(conn, listener.accept().await.unwrap().0);
            driver.conns.get_mut(&conn).unwrap().write(b"part".to_vec());
        }
        driver.act(Action::Close { conn: ConnId::accepted(0), abort: false });
        driver.end(Duration::from_secs(10)).await;
        let mut ends = Vec::new();
        for peer in &mut peers {
            ends.push(peer.read_to_end(&mut Vec::new()).await.map_err(|e| e.kind()));
        }
        assert_eq!(ends, [Ok(4), Err(io::ErrorKind::ConnectionReset)]);
    }
}
