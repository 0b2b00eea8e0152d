//! `ramson testnet`: a whole anonymous network in one process, for a newcomer to try and for
//! developers to measure. Ordinary routers, each with a loopback address, a thread and a temporary
//! data folder of its own.

mod bench;
mod content;
mod display;
mod fetch;
mod options;
mod plan;
#[cfg(test)]
mod recorded;
mod routers;
mod site;
mod status;

pub(crate) use options::{ABOUT, Options};

use crate::data_dir::DataDirError;
use crate::store::StoreError;
use crate::{RuntimeError, clock};
use bench::Bench;
use display::{Display, Intro};
use log::LevelFilter;
use plan::Folder;
use ramson_core::time::Instant;
use routers::Routers;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use status::Status;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// The name of the example site.
const HOST: &str = "example.i2p";
/// Hops of every tunnel; the default of the core.
const HOPS: u8 = 3;
/// How long the routers may take to say goodbye: a little more than each allows itself.
const GOODBYE: Duration = Duration::from_secs(12);
/// The longest wait when nothing is to be waited for.
const LONG: Duration = Duration::from_hours(1);

/// Why there is no network, or why it was not right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestnetError {
    #[error("cannot listen on {addr}: {error}; choose another address with --proxy ADDR")]
    Proxy { addr: SocketAddr, error: io::Error },
    #[error("{path}: {error}", path = path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("router {number}: {error}")]
    Router { number: usize, error: RuntimeError },
    #[error("{what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error("{0}")]
    Failed(String),
}

impl TestnetError {
    fn system(what: &'static str, error: io::Error) -> Self {
        Self::System { what, error }
    }

    /// Whether the user has something to fix, rather than the machine.
    pub(crate) fn is_for_the_user(&self) -> bool {
        match self {
            Self::Proxy { error, .. } | Self::Folder { error, .. } => crate::is_for_the_user(error),
            Self::DataDir(e) => e.is_for_the_user(),
            Self::Store(e) => e.is_for_the_user(),
            Self::Router { error, .. } => error.is_for_the_user(),
            Self::System { .. } | Self::Failed(_) => false,
        }
    }
}

/// What threads tell the one that waits.
enum Notice {
    Status(Status),
    /// A router ended.
    Ended(usize),
    /// The site answered through the network.
    Open {
        first_byte: Duration,
    },
    /// The measurement goes on with this.
    Progress(String),
    Measured(Box<Bench>),
    Signal,
}

/// Runs a network as the options say, until it is told to stop.
///
/// # Errors
///
/// It did not start, did not stay, or what was measured was wrong.
pub(crate) fn run(options: &Options) -> Result<(), TestnetError> {
    let start = clock::now();
    let (say, notices) = channel();
    // First, so that a signal at any later time leaves nothing behind.
    tell_signals(say.clone()).map_err(|e| TestnetError::system("handle signals", e))?;
    let proxy = free_proxy(options.proxy)?;
    let routers = usize::from(options.routers);
    let site = site::serve(routers).map_err(|e| TestnetError::system("serve the site", e))?;
    let folder = Folder::temporary()?;
    let plans = plan::make(folder.path(), routers, proxy, site)?;
    let intro = Intro { routers, proxy, folder: folder.path().into(), bench: options.bench };
    let mut display = Display::begin(intro, options.json);
    let folders = routers::folders(&plans);
    let routers = Routers::start(plans, &say)?;
    status::watch(start, folders, say.clone())
        .map_err(|e| TestnetError::system("start a thread", e))?;

    let end = options.duration.map(|d| start + d);
    let mut testnet = Testnet {
        start,
        proxy,
        bench: options.bench,
        routers,
        display: &mut display,
        ready: false,
    };
    let watched = testnet.watch(&say, &notices, end);
    let stopped = testnet.stop(&notices);
    let ready = testnet.ready;
    let result = watched.and(stopped).and(folder.remove());
    let problem = result.as_ref().err().map(ToString::to_string);
    display.end(clock::now().saturating_since(start), ready, problem);
    result
}

/// A network that runs.
struct Testnet<'d> {
    start: Instant,
    proxy: SocketAddr,
    bench: Option<u64>,
    routers: Routers,
    display: &'d mut Display,
    ready: bool,
}

impl Testnet<'_> {
    /// Shows what happens until it is time to stop.
    fn watch(
        &mut self,
        say: &Sender<Notice>,
        notices: &Receiver<Notice>,
        end: Option<Instant>,
    ) -> Result<(), TestnetError> {
        while !self.display.is_closed() {
            let wait = end.map_or(LONG, |end| end.saturating_since(clock::now()));
            match notices.recv_timeout(wait) {
                Ok(Notice::Status(status)) => {
                    if status.is_ready() && !self.ready {
                        self.ready = true;
                        self.display.ready(&status);
                        self.fetch(say.clone(), status.routers)
                            .map_err(|e| TestnetError::system("start a thread", e))?;
                    }
                    self.display.status(&status);
                }
                Ok(Notice::Ended(i)) => {
                    self.routers.ended(i)?;
                    return Err(TestnetError::Failed(format!("router {i} stopped by itself")));
                }
                Ok(Notice::Open { first_byte }) => self.display.open(self.elapsed(), first_byte),
                Ok(Notice::Progress(what)) => self.display.doing(self.elapsed(), &what),
                Ok(Notice::Measured(bench)) => {
                    self.display.bench(&bench);
                    return if bench.is_right() {
                        Ok(())
                    } else {
                        Err(TestnetError::Failed("the downloads were not right".into()))
                    };
                }
                Err(RecvTimeoutError::Timeout) if end.is_none() => {}
                Ok(Notice::Signal) | Err(_) => break,
            }
        }
        match self.bench {
            Some(_) => Err(TestnetError::Failed("stopped before all was measured".into())),
            None => Ok(()),
        }
    }

    /// Measures, or sees whether the site is there.
    fn fetch(&self, say: Sender<Notice>, routers: u64) -> io::Result<()> {
        let proxy = self.proxy;
        match self.bench {
            Some(size) => bench::spawn(say, move |say| {
                let progress = |what| {
                    // Nobody listens after a stop.
                    let _ = say.send(Notice::Progress(what));
                };
                Notice::Measured(Box::new(Bench::run(proxy, size, routers, progress)))
            }),
            None => bench::spawn(say, move |_| Notice::Open { first_byte: bench::visit(proxy) }),
        }
    }

    /// Lets all routers say goodbye; a signal ends the waiting for that.
    fn stop(&mut self, notices: &Receiver<Notice>) -> Result<(), TestnetError> {
        self.display.doing(self.elapsed(), "stopping");
        self.routers.shut_down();
        let end = clock::now() + GOODBYE;
        let mut result = Ok(());
        while self.routers.running() > 0 {
            match notices.recv_timeout(end.saturating_since(clock::now())) {
                Ok(Notice::Ended(i)) => result = result.and(self.routers.ended(i)),
                Ok(Notice::Signal) => {
                    // That their folders go away under them is no news.
                    log::set_max_level(LevelFilter::Error);
                    break;
                }
                Ok(_) => {}
                Err(_) => {
                    let problem = format!("{} routers did not stop", self.routers.running());
                    result = result.and(Err(TestnetError::Failed(problem)));
                    break;
                }
            }
        }
        result
    }

    fn elapsed(&self) -> Duration {
        clock::now().saturating_since(self.start)
    }
}

/// Has signals told. A hangup is one where there is a terminal to hang up; elsewhere it may be
/// ignored on purpose, as under `nohup`.
fn tell_signals(say: Sender<Notice>) -> io::Result<()> {
    let hangup = io::stdout().is_terminal().then_some(SIGHUP);
    let mut signals = Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
    let work = move || {
        for _ in signals.forever() {
            if say.send(Notice::Signal).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("ramson-signals".into()).spawn(work).map(drop)
}

/// The address of the proxy, with a port, if it can be listened on.
fn free_proxy(addr: SocketAddr) -> Result<SocketAddr, TestnetError> {
    TcpListener::bind(addr)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| TestnetError::Proxy { addr, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::config::Tunnels;

    #[test]
    fn a_proxy_address_that_is_taken_is_for_the_user_to_change() {
        let any = free_proxy("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(any.port(), 0);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let holder = TcpListener::bind(taken).unwrap();
        let e = free_proxy(taken).unwrap_err();
        assert!(e.is_for_the_user());
        let start = format!("cannot listen on {taken}: ");
        assert!(e.to_string().starts_with(&start) && e.to_string().contains("--proxy"), "{e}");
        drop(holder);
    }

    #[test]
    fn the_number_of_hops_is_the_one_that_is_told() {
        assert_eq!(Tunnels::default().length, HOPS);
        assert_eq!(Tunnels::default().length_variance, 0);
    }
}
