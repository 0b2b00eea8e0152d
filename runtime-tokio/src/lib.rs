//! The Ramson router on tokio: a library to have destinations, streams and datagrams in a program
//! without any other process, socket or protocol between it and its router.
//!
//! ```
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let net = ramson_tokio::testing::network().await?;
//! # let (router, tunnels) = (net.router, net.tunnels);
//! # let there = net.bob.identity().b32_address();
//! # let mut far = net.bob.listen(80).await?;
//! use tokio::io::AsyncWriteExt;
//!
//! let me = router.destination("me").tunnels(tunnels).open().await?;
//! let mut stream = me.connect(&format!("{there}:80")).await?;
//! stream.write_all(b"hello").await?;
//! stream.shutdown().await?;
//! # drop(stream);
//! # let mut heard = String::new();
//! # let mut far = far.accept().await.expect("a stream");
//! # tokio::io::AsyncReadExt::read_to_string(&mut far, &mut heard).await?;
//! # assert_eq!(heard, "hello");
//! # router.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! [`Router::builder`] starts a router, [`Router::destination`] opens a [`Destination`] at it, and that
//! connects and listens for [`Stream`]s, sends and receives datagrams, and finds names. Dropping any
//! future loses nothing. Several routers can run in one process, on a runtime of either flavour.
//! Nothing here decides anything about I2P: that is the business of `ramson-core`.
//!
//! [`run`] and [`Runtime`] drive the same router as a future of the caller's, for who does not want
//! a task spawned.
//!
//! The store belongs to the embedder: what the router wants kept goes to a [`Host`], and comes back
//! in [`Stored`] at the next start. Monotonic time is tokio's, so a test can pause it; it does not
//! count while the machine sleeps. After that the router has the right wall clock and fresh entropy
//! within a second.
//!
//! ```
//! use ramson_core::config::Config;
//! use ramson_core::router::input::Stored;
//! use ramson_core::router::output::{Event, StoreKey};
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//! use std::sync::mpsc::{Sender, channel};
//!
//! /// Sends what is to be kept to whoever keeps it.
//! struct Keep(Sender<(StoreKey, Option<Arc<[u8]>>)>);
//!
//! impl ramson_tokio::Host for Keep {
//!     fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) {
//!         let _ = self.0.send((key, value));
//!     }
//!     fn notify(&mut self, event: Event) {
//!         println!("{event:?}");
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), ramson_tokio::Error> {
//!     let (keep, kept) = channel();
//!     // A program would wait for a signal here. This one is told to stop right away.
//!     let shutdown = async {};
//!     ramson_tokio::run(Config::default(), Stored::default(), Keep(keep), shutdown).await?;
//!     let kept: BTreeMap<_, _> = kept.into_iter().collect();
//!     assert!(kept.contains_key(&StoreKey::RouterKeys));
//!     Ok(())
//! }
//! ```

mod clock;
mod conn;
mod destination;
mod driver;
mod guests;
mod inbox;
mod listen;
mod memory;
mod pipe;
mod request;
mod router;
mod stream;
#[doc(hidden)]
pub mod testing;
mod udp;

pub use destination::{
    Builder as DestinationBuilder, ConnectError, Destination, ListenError, OpenError, SendError,
};
pub use memory::Memory;
pub use ramson_core::client::{Failure, Target};
pub use ramson_core::datagram::Sender;
pub use ramson_core::router::embed::{AppDatagram, DatagramKind, IncomingLimits, Ports};
pub use ramson_core::wire::identity::Identity;
pub use router::{Builder, Router};
pub use stream::{Listener, Stream};

use clock::Clock;
use conn::Happened;
use driver::Driver;
use ramson_core::config::Config;
use ramson_core::crypto;
use ramson_core::rng::Seed;
use ramson_core::router::StartError;
use ramson_core::router::input::{self, Stored};
use ramson_core::router::output::{Event, StoreKey};
use request::Request;
use router::Phase;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::MissedTickBehavior;

/// The clocks are compared this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A shutdown that takes longer is cut short.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long the last bytes of closed streams may take after that. With the
/// steps of the router before it, a stop takes two seconds at most.
const LAST_FLUSH: Duration = Duration::from_millis(250);
/// Happenings of all connections that wait to be handled; connections wait when it is full.
const QUEUE: usize = 1024;
/// Requests of handles that are dealt with at once, before what came of them.
const BATCH: usize = 256;
/// Events that a slow listener may be behind.
const EVENTS: usize = 64;

/// Why a router did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `ramson-core` was built with the feature `stub-crypto`, whose cryptography protects nothing.
    StubCrypto,
    /// Configuration or stored state.
    Start(StartError),
    /// A listener could not be bound.
    Bind {
        /// Which.
        listener: input::Listener,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The socket of SSU2 could not be bound.
    BindSsu2 {
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
            Self::StubCrypto => f.write_str(
                "built with the feature stub-crypto, whose cryptography protects nothing: it can only simulate",
            ),
            Self::Start(e) => e.fmt(f),
            Self::Bind { listener, address, error } => {
                write!(f, "cannot listen on {address} for {listener:?}: {error}")
            }
            Self::BindSsu2 { address, error } => {
                write!(f, "cannot listen on {address} for ssu2.port: {error}")
            }
            Self::Entropy => f.write_str("the operating system gave no entropy"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Start(e) => Some(e),
            Self::Bind { error, .. } | Self::BindSsu2 { error, .. } => Some(error),
            Self::StubCrypto | Self::Entropy => None,
        }
    }
}

/// Nobody may take a build for simulations for a router.
const fn refuse_stub(stub: bool) -> Result<(), Error> {
    if stub { Err(Error::StubCrypto) } else { Ok(()) }
}

/// What a running router tells its embedder. Its calls come from the router's own future, which
/// waits for them.
pub trait Host {
    /// Keep `value` under `key`; `None` deletes it. Keys and the address book have to be durable
    /// when this returns.
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>);
    /// Something happened.
    fn notify(&mut self, event: Event);
}

/// Runs a router until `shutdown` completes, then says goodbye to its peers. When this returns, or
/// is dropped, its sockets are closed or about to be.
///
/// # Errors
///
/// See [`Error`]; nothing runs after any of them.
pub async fn run(
    config: Config,
    stored: Stored,
    host: impl Host,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    Runtime::start(config, stored, host).await?.run(shutdown).await;
    Ok(())
}

/// A router that is ready to run.
pub struct Runtime<H> {
    driver: Driver<H>,
    happened: mpsc::Receiver<Happened>,
    asked: mpsc::UnboundedReceiver<Request>,
    handle: Router,
}

impl<H: Host> Runtime<H> {
    /// Binds the listeners and makes the router. It does nothing yet, but the first connections to
    /// it wait.
    ///
    /// A published router without a port gets any free one, and another at the next start; SSU2 shares
    /// its number with NTCP2 where it can. There are no more sessions with other routers than the soft
    /// limit of descriptors allows.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn start(mut config: Config, stored: Stored, host: H) -> Result<Self, Error> {
        refuse_stub(crypto::STUB)?;
        let clock = Clock::start();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| Error::Entropy)?;
        limit_sessions(&mut config);
        let listeners = listen::bind(&mut config).await?;
        let udp = listen::bind_ssu2(&mut config)?;
        let (now, unix) = (clock.now(), clock.unix());
        let router =
            ramson_core::router::Router::new(Arc::new(config), stored, Seed::new(seed), now, unix)
                .map_err(Error::Start)?;
        let (sender, happened) = mpsc::channel(QUEUE);
        let (requests, asked) = mpsc::unbounded_channel();
        let (events, heard) = broadcast::channel(EVENTS);
        let (phase, seen) = watch::channel(Phase::Starting);
        let mut driver = Driver::new(router, clock, host, sender, events, phase);
        for (listener, socket) in listeners {
            driver.listen(listener, socket);
        }
        if let Some(udp) = udp {
            driver.serve(udp);
        }
        Ok(Self { driver, happened, asked, handle: Router::new(requests, seen, heard) })
    }

    /// The router, as it is before it runs.
    #[must_use]
    pub const fn router(&self) -> &ramson_core::router::Router {
        &self.driver.router
    }

    /// To use the router while it runs.
    #[must_use]
    pub fn handle(&self) -> Router {
        self.handle.clone()
    }

    /// Runs until `shutdown` completes, or a handle asks for it, and goodbyes are said.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { driver, happened, asked, handle } = self;
        drive(driver, happened, asked, shutdown).await;
        drop(handle);
    }

    /// Runs until a handle asks for the end, or there is no handle.
    pub(crate) async fn run_while_used(self) {
        let Self { driver, happened, asked, handle } = self;
        drop(handle);
        drive(driver, happened, asked, pending()).await;
    }
}

/// Keeps sessions to what the soft limit of descriptors allows; raising that is up to the program.
fn limit_sessions(config: &mut Config) {
    #[cfg(unix)]
    if let Some(descriptors) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current
        && config.limits.fit_descriptors(descriptors)
    {
        let sessions = config.limits.sessions;
        log::info!("{descriptors} file descriptors: at most {sessions} sessions with routers");
    }
    #[cfg(not(unix))]
    let _no_such_limit = config;
}

async fn drive<H: Host>(
    mut driver: Driver<H>,
    mut happened: mpsc::Receiver<Happened>,
    mut asked: mpsc::UnboundedReceiver<Request>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut stopping = None;
    let mut used = true;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let udp = driver.udp();
    driver.drain();
    while !driver.stopped {
        let deadline = driver.deadline();
        let full = driver.is_full();
        let mut stop = false;
        tokio::select! {
            Some(what) = happened.recv() => driver.handle(what),
            ready = udp::ready(udp.as_deref(), full) => driver.handle_datagrams(ready),
            () = tokio::time::sleep_until(deadline) => driver.handle_timeout(),
            _ = looks.tick() => driver.look_at_clocks(),
            request = asked.recv(), if used => match request {
                Some(request) => {
                    stop = driver.request(request);
                    for _ in 1..BATCH {
                        let Ok(request) = asked.try_recv() else { break };
                        stop |= driver.request(request);
                    }
                }
                None => {
                    used = false;
                    stop = true;
                }
            },
            () = &mut shutdown, if stopping.is_none() => stop = true,
            () = tokio::time::sleep_until(stopping.unwrap_or(deadline)), if stopping.is_some() => {
                break;
            }
        }
        if stop && stopping.is_none() {
            stopping = Some(tokio::time::Instant::now() + GOODBYE);
            driver.shut_down();
        }
        driver.drain();
        driver.reap();
    }
    // Who waits in the queues is not to wait for the end.
    drop((happened, asked, udp));
    driver.end(LAST_FLUSH).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_for_simulations_does_not_run() {
        assert!(refuse_stub(true).unwrap_err().to_string().contains("stub-crypto"));
        assert!(refuse_stub(crypto::STUB).is_ok(), "and the ordinary build is none");
    }
}
