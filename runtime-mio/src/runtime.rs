//! One router with everything around it: store, listeners, threads, signals.

use crate::config::{Record, Settings};
use crate::data_dir::DataDir;
use crate::event_loop::{Acceptor, EventLoop, Host, LoopError, Udp};
use crate::record::{Recorded, Recording, Start};
use crate::store::reseed::{self, Reseed};
use crate::store::{NTCP2_PORT, SSU2_PORT, Store, StoreError, Writer};
use crate::{clock, control, jobs};
use log::{info, warn};
use mio::Waker;
use ramson_core::config::Config;
use ramson_core::crypto;
use ramson_core::keys::KeysError;
use ramson_core::rng::Seed;
use ramson_core::router::input::{Command, Listener, SocketId, Stored};
use ramson_core::router::output::{Event, StoreKey};
use ramson_core::router::{Router, StartError};
use ramson_core::time::Instant;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long a router may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(10);
/// More descriptors than this no router needs.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Why a router did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// It was built with the feature `stub-crypto`.
    #[error(
        "built with the feature stub-crypto, whose cryptography protects nothing: it can only simulate (ramson sim)"
    )]
    StubCrypto,
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(String),
    /// None of the configured files could be used, and no router is known.
    #[error("reseed.files: {0}; allowed: RouterInfo files, a folder of them or a zip of them")]
    Reseed(String),
    /// Keys that cannot be used. They are left as they are.
    #[error(
        "{file}: {reason}; it is left as it is: put back a copy, or move it away to become somebody new",
        file = file.display()
    )]
    Keys {
        /// Where they are.
        file: PathBuf,
        /// What is wrong with them.
        reason: KeysError,
    },
    /// A file of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {addr} for {key}: {error}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the configuration calls it.
        key: String,
        /// The operating system's words.
        error: io::Error,
    },
    /// The operating system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What.
        what: &'static str,
        /// Its words.
        error: io::Error,
    },
    /// The router cannot go on.
    #[error("{0}")]
    Running(String),
}

impl RuntimeError {
    /// Whether the user has a configuration, a file or an address to fix, rather than the machine.
    #[must_use]
    pub fn is_for_the_user(&self) -> bool {
        match self {
            Self::StubCrypto | Self::Config(_) | Self::Reseed(_) | Self::Keys { .. } => true,
            Self::Store(e) => e.is_for_the_user(),
            Self::Listen { error, .. } => crate::is_for_the_user(error),
            Self::System { .. } | Self::Running(_) => false,
        }
    }
}

/// A router that is ready to run.
pub struct Runtime {
    event_loop: EventLoop<Recorded<Router>, Outside>,
    commands: Sender<Command>,
    // Unlocked last, when nothing is written any more.
    dir: DataDir,
}

/// Sends commands to a running router from anywhere.
#[derive(Clone)]
pub struct Handle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Runtime {
    /// Loads what is stored, binds the listeners and makes the router. It does nothing yet.
    ///
    /// # Errors
    ///
    /// See [`RuntimeError`]; nothing is lost with any of them.
    pub fn start(settings: Settings, dir: DataDir) -> Result<Self, RuntimeError> {
        Self::start_with(settings, dir, jobs::default_threads())
    }

    /// As [`Self::start`], with this many threads for jobs.
    pub(crate) fn start_with(
        settings: Settings,
        dir: DataDir,
        job_threads: usize,
    ) -> Result<Self, RuntimeError> {
        refuse_stub(crypto::STUB)?;
        let store = Store::new(dir.path());
        let mut stored = store.load()?;
        add_reseed(&mut stored, &settings.reseed)?;
        let mut config = settings.router;
        limit_sessions(&mut config);
        let listeners = bind(&mut config, &store)?;
        let udp = bind_ssu2(&mut config, &store)?;

        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|e| system("no entropy", io::Error::other(e.to_string())))?;
        let (now, unix) = (clock::now(), clock::unix());
        let start = || Start::new(&config, &stored, &seed, now, unix);
        let recording = record(&settings.record, start, dir.path());
        let router = Router::new(Arc::new(config), stored, Seed::new(seed), now, unix);
        let router = recording
            .around(router, |router| *router.hash().as_bytes())
            .map_err(|e| start_error(e, &store, &settings.reseed))?;

        let (commands, receive) = channel();
        let host = Outside {
            writer: Writer::start(store.clone()).map_err(|e| system("start a thread", e))?,
            store,
            commands: receive,
            signals: None,
            deadline: None,
            on_event: Box::new(|_| {}),
        };
        let mut event_loop = EventLoop::new(router, host, job_threads)
            .map_err(|e| system("make the event loop", e))?;
        for (listener, acceptor) in listeners {
            event_loop.listen(listener, acceptor).map_err(|e| system("watch a listener", e))?;
        }
        if let Some((id, udp)) = udp {
            event_loop.serve(id, udp).map_err(|e| system("watch a socket", e))?;
        }
        Ok(Self { event_loop, commands, dir })
    }

    /// From now on SIGINT, SIGTERM and SIGHUP stop the router in good order, and a second one at
    /// once. A SIGHUP that is ignored, as under `nohup`, stays ignored; where that cannot be known,
    /// for want of a `/proc`, SIGHUP is left as it is. Writing to a closed pipe makes no signal in a
    /// Rust program.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn handle_signals(&mut self) -> Result<(), RuntimeError> {
        let fail = |e| system("handle signals", e);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = (ignores_hangup(&status) == Some(false)).then_some(SIGHUP);
        let mut signals =
            Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup)).map_err(fail)?;
        self.event_loop.watch(&mut signals).map_err(fail)?;
        self.event_loop.host().signals = Some(signals);
        Ok(())
    }

    /// Calls `f` for what the router tells.
    pub fn on_event(&mut self, f: impl FnMut(Event) + 'static) {
        self.event_loop.host().on_event = Box::new(f);
    }

    /// To command the router while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { commands: self.commands.clone(), waker: self.event_loop.waker() }
    }

    /// Opens the control socket and runs on this thread until a shutdown is done.
    ///
    /// # Errors
    ///
    /// The router or the machine under it failed.
    pub fn run(mut self) -> Result<(), RuntimeError> {
        // Last of all: who finds it may signal us.
        match control::listen(self.dir.path()) {
            Ok(acceptor) => self
                .event_loop
                .listen(Listener::Control, acceptor)
                .map_err(|e| system("watch the control socket", e))?,
            Err(e) => warn!("no control socket, so `ramson info` shows little: {e}"),
        }
        info!("running; data folder {}", self.dir.path().display());
        let (host, result) = self.event_loop.run();
        if host.deadline == Some(Instant::ZERO) {
            host.writer.abandon();
        }
        control::remove(self.dir.path());
        info!("stopped");
        result.map_err(|e| match e {
            LoopError::Poll(error) => system("poll", error),
            LoopError::Store(_) | LoopError::Panics(_) => RuntimeError::Running(e.to_string()),
        })
    }
}

impl Handle {
    /// Queues a command. A router that has ended hears nothing any more.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // The loop is gone if this fails.
            let _ = self.waker.wake();
        }
    }
}

/// The loop's surroundings.
struct Outside {
    store: Store,
    writer: Writer,
    commands: Receiver<Command>,
    signals: Option<Signals>,
    /// Set by the first shutdown, and to zero by a second signal.
    deadline: Option<Instant>,
    on_event: Box<dyn FnMut(Event)>,
}

impl Host for Outside {
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) -> Result<(), String> {
        match key {
            StoreKey::NetDb(_) | StoreKey::Profile(_) | StoreKey::RouterInfo => {
                self.writer.write(key, value);
                Ok(())
            }
            StoreKey::AddressBook => {
                if let Err(e) = self.store.write(&key, value.as_deref()) {
                    warn!("the address book is not saved: {e}");
                }
                Ok(())
            }
            // Without them on the disk the router would be somebody else after the next start.
            StoreKey::RouterKeys | StoreKey::DestinationKeys(_) => {
                self.store.write(&key, value.as_deref()).map_err(|e| e.to_string())
            }
            other => self.store.write(&other, value.as_deref()).map_err(|e| e.to_string()),
        }
    }

    fn notify(&mut self, event: Event) {
        match &event {
            Event::Ready => info!("ready: tunnels are up"),
            Event::Stopped => info!("said goodbye"),
            _ => {}
        }
        (self.on_event)(event);
    }

    fn woken(&mut self) -> Vec<Command> {
        let mut commands: Vec<Command> = self.commands.try_iter().collect();
        let signals = self.signals.as_mut().map_or(0, |signals| signals.pending().count());
        for _ in 0..signals {
            if self.deadline.is_some() {
                info!("stopping at once");
                self.deadline = Some(Instant::ZERO);
            } else {
                info!("stopping; a second signal stops at once");
                self.deadline = Some(clock::now() + GOODBYE);
                commands.push(Command::Shutdown);
            }
        }
        if self.deadline.is_none() && commands.iter().any(|c| matches!(c, Command::Shutdown)) {
            self.deadline = Some(clock::now() + GOODBYE);
        }
        commands
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Whether whoever started us wants us to outlive the terminal, from what `/proc` says of a process.
/// `None` where it does not say.
fn ignores_hangup(status: &str) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> (SIGHUP - 1) & 1 == 1)
}

fn system(what: &'static str, error: io::Error) -> RuntimeError {
    RuntimeError::System { what, error }
}

/// Nobody may take a build for simulations for a router.
pub(crate) const fn refuse_stub(stub: bool) -> Result<(), RuntimeError> {
    if stub { Err(RuntimeError::StubCrypto) } else { Ok(()) }
}

fn start_error(e: StartError, store: &Store, reseed: &[PathBuf]) -> RuntimeError {
    match e {
        StartError::Config(problem) => RuntimeError::Config(problem),
        StartError::Keys { key, reason } => RuntimeError::Keys { file: store.file(&key), reason },
        StartError::Reseed(report) => {
            let files: Vec<_> = reseed.iter().map(|p| p.display().to_string()).collect();
            RuntimeError::Reseed(format!("{}: nothing usable: {report}", files.join(", ")))
        }
        other => RuntimeError::Running(other.to_string()),
    }
}

/// Adds what the user gave for the first start. A router that knows others can do without.
fn add_reseed(stored: &mut Stored, files: &[PathBuf]) -> Result<(), RuntimeError> {
    let Reseed { router_infos, archives, problems } =
        reseed::read_all(files.iter().map(PathBuf::as_path));
    stored.reseed.extend(router_infos.into_iter().chain(archives));
    if stored.router_infos.is_empty() && stored.reseed.is_empty() && !files.is_empty() {
        return Err(RuntimeError::Reseed(problems.join("; ")));
    }
    for problem in problems {
        warn!("reseed.files: {problem}");
    }
    Ok(())
}

/// Begins to record, if that is wanted. Whatever stands in its way, the router can do without.
fn record<'a>(
    settings: &Record,
    start: impl FnOnce() -> Option<Start<'a>>,
    data: &Path,
) -> Recording {
    if !settings.enabled {
        return Recording::off();
    }
    match start() {
        Some(start) => Recording::begin(data, settings.limit, &start),
        None => {
            warn!("not recorded: no file can say this configuration");
            Recording::off()
        }
    }
}

/// Raises the soft limit of descriptors to the hard one, and keeps sessions to what that allows.
fn limit_sessions(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current.unwrap_or(MAX_DESCRIPTORS);
    let most = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if current < most {
        let mut raised = limit;
        raised.current = Some(most);
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => current = most,
            Err(e) => warn!("cannot raise the limit of {current} file descriptors: {e}"),
        }
    }
    if config.limits.fit_descriptors(current) {
        let sessions = config.limits.sessions;
        warn!("only {current} file descriptors: at most {sessions} sessions with other routers");
    }
}

/// Binds what the configuration asks for.
fn bind(config: &mut Config, store: &Store) -> Result<Vec<(Listener, Acceptor)>, RuntimeError> {
    let mut listeners = Vec::new();
    // Nobody can know the way to a router without address or port.
    let published = config.ntcp2.publish && config.ntcp2.host.is_some();
    if config.ntcp2.enabled && (published || config.ntcp2.port.is_some()) {
        let acceptor = bind_ntcp2(config, store)?;
        listeners.push((Listener::Ntcp2, acceptor));
    }
    if let Some(proxy) = &config.http_proxy {
        listeners.push((Listener::HttpProxy, tcp(proxy.listen, || "http_proxy.listen".into())?));
        info!("HTTP proxy on {}", proxy.listen);
        warn_if_open(proxy.listen, "http_proxy.listen");
    }
    for (i, client) in config.clients.iter().enumerate() {
        let acceptor = tcp(client.listen, || format!("client.listen of {}", client.name))?;
        warn_if_open(client.listen, &format!("client.listen of {}", client.name));
        let index = u16::try_from(i)
            .map_err(|_| RuntimeError::Config("more than 65536 client tunnels".into()))?;
        listeners.push((Listener::Client(index), acceptor));
    }
    Ok(listeners)
}

/// There is no password: the address is what keeps others out.
fn warn_if_open(listen: SocketAddr, key: &str) {
    if !listen.ip().to_canonical().is_loopback() {
        warn!("{key}: anybody who can reach {listen} can use it");
    }
}

/// Binds the port that is configured, else the one remembered, else any.
fn bind_ntcp2(config: &mut Config, store: &Store) -> Result<Acceptor, RuntimeError> {
    let ip = config.ntcp2_bind();
    let listen = |port| tcp(SocketAddr::new(ip, port), || "ntcp2.port".into());
    if let Some(port) = config.ntcp2.port {
        return listen(port);
    }
    let acceptor = at_any_port(store, NTCP2_PORT, None, listen, Acceptor::port)?;
    config.ntcp2.port = acceptor.port();
    Ok(acceptor)
}

/// Binds a port that nobody insisted on: the one remembered as `file`, else `wanted`, else any; and remembers it.
fn at_any_port<T>(
    store: &Store,
    file: &str,
    wanted: Option<u16>,
    listen: impl Fn(u16) -> Result<T, RuntimeError>,
    port: impl FnOnce(&T) -> Option<u16>,
) -> Result<T, RuntimeError> {
    let remembered = store.port(file);
    let bound = remembered.or(wanted).and_then(|port| match listen(port) {
        Ok(bound) => Some(bound),
        Err(e) => {
            warn!("{e}; choosing another port");
            None
        }
    });
    let bound = match bound {
        Some(bound) => bound,
        None => listen(0)?,
    };
    if let Some(port) = port(&bound).filter(|port| remembered != Some(*port)) {
        store.remember_port(file, port)?;
    }
    Ok(bound)
}

/// Binds the socket of SSU2, unless that is off: at the port that is configured, else the one remembered, else that
/// of NTCP2, so that there is one to forward, else any.
fn bind_ssu2(config: &mut Config, store: &Store) -> Result<Option<(SocketId, Udp)>, RuntimeError> {
    if !config.ssu2.enabled {
        config.ssu2.port = None;
        return Ok(None);
    }
    let ip = config.ssu2_bind();
    let id = if ip.is_ipv6() { SocketId::IPV6 } else { SocketId::IPV4 };
    let listen = |port| {
        let addr = SocketAddr::new(ip, port);
        Udp::bind(addr).map_err(|error| RuntimeError::Listen {
            addr,
            key: "ssu2.port".into(),
            error,
        })
    };
    if let Some(port) = config.ssu2.port {
        return Ok(Some((id, listen(port)?)));
    }
    let udp = at_any_port(store, SSU2_PORT, config.ntcp2.port, listen, Udp::port)?;
    config.ssu2.port = udp.port();
    Ok(Some((id, udp)))
}

fn tcp(addr: SocketAddr, key: impl FnOnce() -> String) -> Result<Acceptor, RuntimeError> {
    Acceptor::tcp(addr).map_err(|error| RuntimeError::Listen { addr, key: key(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use ramson_core::keys::RouterKeys;
    use ramson_core::rng::Rng;
    use ramson_core::time::UnixTime;
    use ramson_core::wire::mapping::Mapping;
    use ramson_core::wire::router_info::RouterInfo;
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn published() -> Config {
        let mut config = Config::default();
        config.ntcp2.host = Some(LOCAL);
        config.ntcp2.bind = Some(LOCAL);
        config
    }

    #[test]
    fn a_chosen_port_is_kept_over_starts() {
        let tmp = TestDir::new("runtime-port");
        let store = Store::new(tmp.path());
        let (mut first, mut second, mut third) = (published(), published(), published());
        drop(bind(&mut first, &store).unwrap());
        let chosen = first.ntcp2.port.unwrap();
        let listeners = bind(&mut second, &store).unwrap();
        assert_eq!(second.ntcp2.port, Some(chosen));
        // While somebody has it another is found, for nobody insisted on it.
        drop(bind(&mut third, &store).unwrap());
        assert_ne!(third.ntcp2.port, Some(chosen));
        drop(listeners);
    }

    #[test]
    fn a_port_in_use_is_named_with_its_key() {
        let tmp = TestDir::new("runtime-in-use");
        let store = Store::new(tmp.path());
        let taken = TcpListener::bind((LOCAL, 0)).unwrap();
        let mut config = published();
        config.ntcp2.port = Some(taken.local_addr().unwrap().port());
        let e = bind(&mut config, &store).err().unwrap();
        let message = e.to_string();
        let start = format!("cannot listen on {} for ntcp2.port: ", taken.local_addr().unwrap());
        assert!(message.starts_with(&start), "{message}");
        assert!(e.is_for_the_user());
    }

    #[test]
    fn a_build_for_simulations_does_not_run() {
        let e = refuse_stub(true).unwrap_err();
        assert!(e.is_for_the_user() && e.to_string().contains("stub-crypto"), "{e}");
        assert!(refuse_stub(crypto::STUB).is_ok(), "and the ordinary build is none");
    }

    #[test]
    fn a_hidden_router_does_not_listen() {
        let tmp = TestDir::new("runtime-hidden");
        let store = Store::new(tmp.path());
        let mut no_host = Config::default();
        let mut not_published = published();
        not_published.ntcp2.publish = false;
        for config in [&mut no_host, &mut not_published] {
            assert!(bind(config, &store).unwrap().is_empty());
            assert_eq!(config.ntcp2.port, None);
        }
    }

    #[test]
    fn ssu2_has_the_port_of_ntcp2_where_it_can_and_keeps_what_it_has() {
        let tmp = TestDir::new("runtime-ssu2");
        let store = Store::new(tmp.path());
        let mut config = published();
        let listeners = bind(&mut config, &store).unwrap();
        let (id, udp) = bind_ssu2(&mut config, &store).unwrap().unwrap();
        assert_eq!(id, SocketId::IPV4);
        assert_eq!((udp.port(), config.ssu2.port), (config.ntcp2.port, config.ntcp2.port));
        // While somebody has it another is found, and kept from then on.
        let mut second = config.clone();
        second.ssu2 = published().ssu2;
        let (_, other) = bind_ssu2(&mut second, &store).unwrap().unwrap();
        assert_ne!(second.ssu2.port, config.ssu2.port);
        drop((listeners, udp, other));
        let mut third = published();
        drop(bind_ssu2(&mut third, &store).unwrap());
        assert_eq!(third.ssu2.port, second.ssu2.port);

        let taken = std::net::UdpSocket::bind((LOCAL, 0)).unwrap();
        let mut config = published();
        config.ssu2.port = Some(taken.local_addr().unwrap().port());
        let e = bind_ssu2(&mut config, &store).err().unwrap();
        let start = format!("cannot listen on {} for ssu2.port: ", taken.local_addr().unwrap());
        assert!(e.to_string().starts_with(&start) && e.is_for_the_user(), "{e}");
        config.ssu2.enabled = false;
        assert!(bind_ssu2(&mut config, &store).unwrap().is_none());
        assert_eq!(config.ssu2.port, None, "nobody has that socket");
    }

    #[test]
    fn a_hangup_is_left_alone_unless_it_is_known_not_to_be_ignored() {
        for (status, want) in [
            ("Name:\tramson\nSigBlk:\t01\nSigIgn:\t0000000000001001\n", Some(true)),
            ("SigIgn:\t0000000000001000\n", Some(false)),
            ("SigIgn:\tnonsense\n", None),
            ("", None),
        ] {
            assert_eq!(ignores_hangup(status), want, "{status}");
        }
    }

    #[test]
    fn reseeding_fails_only_when_nothing_is_known() {
        let files = ["/nonexistent/netDb".into()];
        let mut stored = Stored::default();
        let e = add_reseed(&mut stored, &files).unwrap_err();
        assert!(e.is_for_the_user() && e.to_string().contains("/nonexistent/netDb"), "{e}");
        stored.router_infos.push(Arc::from(&b"known"[..]));
        add_reseed(&mut stored, &files).unwrap();
    }

    #[test]
    fn reseeding_with_what_no_router_can_use_fails() {
        let tmp = TestDir::new("runtime-reseed");
        let file = tmp.path().join("router.info");
        let keys = RouterKeys::generate(&mut Rng::new(&Seed::from_number(1)));
        // Of no network and long out of date.
        let info = RouterInfo::build(
            &keys.identity,
            UnixTime::from_secs(1),
            &[],
            &Mapping::new(),
            &keys.signing,
        );
        std::fs::write(&file, info.as_bytes()).unwrap();
        let mut settings = Settings { reseed: vec![file.clone()], ..Settings::default() };
        settings.router.http_proxy = None;
        let dir = DataDir::open(&tmp.path().join("data")).unwrap();
        let e = Runtime::start(settings, dir).err().unwrap();
        assert!(e.is_for_the_user());
        let want = format!(
            "reseed.files: {}: nothing usable: 0 routers used, 1 refused (",
            file.display()
        );
        assert!(e.to_string().starts_with(&want), "{e}");
    }
}
