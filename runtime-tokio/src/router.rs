//! A running router, as the program sees it that it runs in.

use crate::destination::Builder as DestinationBuilder;
use crate::memory::Memory;
use crate::request::Request;
use crate::{Error, Host, Runtime};
use ramson_core::client::control::InfoReport;
use ramson_core::config::Config;
use ramson_core::router::input::Stored;
use ramson_core::router::output::Event;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// How far a router has come. The end of the channel is the end of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopped,
}

/// A router in this process; clones are the same one. A router that was [spawned](Self::spawn) stops
/// when it is told to, or when the last handle of it, its destinations and streams is dropped.
///
/// ```
/// use ramson_tokio::{Memory, Router};
/// use ramson_core::router::output::StoreKey;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two in one process; each has its own configuration, keys and store.
/// let store = Memory::default();
/// let one = Router::builder().host(store.clone()).spawn().await?;
/// let two = Router::builder().spawn().await?;
/// one.ready().await;
/// let report = one.report().await.expect("it runs");
/// assert_ne!(report.hash, two.report().await.expect("it runs").hash);
///
/// one.shutdown().await;
/// assert!(one.report().await.is_none());
/// // The same router again, by what it had kept.
/// assert!(store.get(&StoreKey::RouterKeys).is_some());
/// let again = Router::builder().stored(store.stored()).spawn().await?;
/// assert_eq!(again.report().await.expect("it runs").hash, report.hash);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Router {
    requests: mpsc::UnboundedSender<Request>,
    phase: watch::Receiver<Phase>,
    events: Arc<broadcast::Receiver<Event>>,
}

impl Router {
    pub(crate) fn new(
        requests: mpsc::UnboundedSender<Request>,
        phase: watch::Receiver<Phase>,
        events: broadcast::Receiver<Event>,
    ) -> Self {
        Self { requests, phase, events: Arc::new(events) }
    }

    /// Everything that a router needs has a default: no reachable address, nothing stored, and a
    /// store in memory that is forgotten.
    pub fn builder() -> Builder<Memory> {
        Builder { config: Config::default(), stored: Stored::default(), host: Memory::default() }
    }

    /// Spawns a router with this configuration and the defaults of [`Self::builder`].
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn spawn(config: Config) -> Result<Self, Error> {
        Self::builder().config(config).spawn().await
    }

    /// A new destination, by a name for logs and reports; see [`Destination`](crate::Destination).
    pub fn destination(&self, name: &str) -> DestinationBuilder {
        DestinationBuilder::new(name, self.requests.clone())
    }

    /// What the router does at the moment; `None` when it has ended.
    pub async fn report(&self) -> Option<InfoReport> {
        let (answer, report) = oneshot::channel();
        self.requests.send(Request::Report(answer)).ok()?;
        report.await.ok()
    }

    /// Waits until all that is configured has tunnels, or the router has stopped. Destinations that are
    /// opened have a [`ready`](crate::Destination::ready) of their own.
    pub async fn ready(&self) {
        let mut phase = self.phase.clone();
        let _stopped = phase.wait_for(|phase| *phase >= Phase::Ready).await;
    }

    /// What happens from now on. A receiver that does not listen loses the oldest.
    ///
    /// ```
    /// use ramson_core::router::output::Event;
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let router = ramson_tokio::Router::builder().spawn().await?;
    /// router.ready().await;
    /// let mut events = router.events();
    /// router.shutdown().await;
    /// assert_eq!(events.recv().await?, Event::Stopped);
    /// assert!(events.recv().await.is_err(), "that was the last");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.resubscribe()
    }

    /// Stops the router in good order and waits for that: streams have a second to end, peers are
    /// told. It goes on if the future is dropped.
    pub async fn shutdown(&self) {
        let _stopped = self.requests.send(Request::Shutdown);
        self.stopped().await;
    }

    /// Waits until the router has stopped and its sockets are closed.
    pub async fn stopped(&self) {
        // The other end goes away with all that the router had.
        let mut phase = self.phase.clone();
        while phase.changed().await.is_ok() {}
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("phase", &*self.phase.borrow()).finish_non_exhaustive()
    }
}

/// What a router is to start from.
#[must_use = "nothing runs without `spawn`"]
pub struct Builder<H> {
    config: Config,
    stored: Stored,
    host: H,
}

impl<H: Host + Send + 'static> Builder<H> {
    /// How it is configured.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What an earlier run kept, and RouterInfos to start from.
    pub fn stored(mut self, stored: Stored) -> Self {
        self.stored = stored;
        self
    }

    /// Who keeps what is to be kept.
    pub fn host<N: Host + Send + 'static>(self, host: N) -> Builder<N> {
        Builder { config: self.config, stored: self.stored, host }
    }

    /// Binds the listeners and runs the router as a task of its own.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn spawn(self) -> Result<Router, Error> {
        let runtime = Runtime::start(self.config, self.stored, self.host).await?;
        let router = runtime.handle();
        tokio::spawn(runtime.run_while_used());
        Ok(router)
    }
}
