//! Destinations: opened, used, closed.

use crate::inbox::Inbox;
use crate::pipe::Pipe;
use crate::request::Request;
use crate::stream::{Connecting, Listener, Stream};
use ramson_core::client::target::{TargetError, parse_authority, parse_host};
use ramson_core::client::{Failure, Target};
use ramson_core::config::Tunnels;
use ramson_core::router::embed::{
    self, AppDatagram, DatagramKind, DestinationId, IncomingLimits, NewDestination, Ports,
};
use ramson_core::streaming::StreamingConfig;
use ramson_core::wire::identity::Identity;
use std::fmt;
use std::sync::{Arc, OnceLock};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use zeroize::Zeroizing;

/// Why a destination was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The router has reasons of its own.
    #[error(transparent)]
    Refused(#[from] embed::OpenError),
    /// The router has stopped.
    #[error("the router has stopped")]
    Stopped,
}

/// Why nobody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another listener has the port.
    #[error("somebody listens to that port")]
    InUse,
    /// The destination is closed or the router has stopped.
    #[error("closed")]
    Closed,
}

/// Why there is no stream, or nobody was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The caller's fault: that is no address.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What kept it from coming to be. [`Failure::ShuttingDown`]: the destination is closed or the
    /// router is stopping.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<ConnectError> for std::io::Error {
    fn from(e: ConnectError) -> Self {
        match e {
            ConnectError::Target(e) => Self::new(std::io::ErrorKind::InvalidInput, e),
            ConnectError::Failed(why) => crate::pipe::error(why),
        }
    }
}

/// Why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The caller's fault: that is no address.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What the router says.
    #[error(transparent)]
    Refused(#[from] embed::SendError),
}

/// What a new destination is to be; made by [`Router::destination`](crate::Router::destination).
#[must_use = "nothing is opened without `open`"]
pub struct Builder {
    new: NewDestination,
    requests: mpsc::UnboundedSender<Request>,
}

impl Builder {
    pub(crate) fn new(name: &str, requests: mpsc::UnboundedSender<Request>) -> Self {
        Self { new: NewDestination::new(name), requests }
    }

    /// Keys that were kept, in the format of [`Destination::keys`]. Without them it gets new ones.
    pub fn keys(mut self, bytes: &[u8]) -> Self {
        self.new.set_keys(bytes);
        self
    }

    /// Tells nobody how to reach it: it can connect, and be answered.
    pub const fn client_only(mut self) -> Self {
        self.new.publish = false;
        self
    }

    /// The shape of its tunnels: the shorter, the faster, and the less anonymous.
    pub const fn tunnels(mut self, tunnels: Tunnels) -> Self {
        self.new.tunnels = tunnels;
        self
    }

    /// Sizes of its streams' buffers, and how many there may be.
    pub const fn streaming(mut self, config: StreamingConfig) -> Self {
        self.new.streaming = config;
        self
    }

    /// How many streams others may have open to it, instead of an equal share with the router's other
    /// services.
    pub const fn incoming(mut self, limits: IncomingLimits) -> Self {
        self.new.incoming = Some(limits);
        self
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(self) -> Result<Destination, OpenError> {
        let (life, _) = watch::channel(Life::Opening);
        let shared = Arc::new(Shared {
            requests: self.requests,
            opened: OnceLock::new(),
            life,
            inbox: Inbox::default(),
            backlog: self.new.incoming.map_or(BACKLOG, |limits| limits.all).max(1),
        });
        let (answer, opened) = oneshot::channel();
        let request = Request::Open { new: Box::new(self.new), shared: shared.clone(), answer };
        shared.requests.send(request).map_err(|_| OpenError::Stopped)?;
        opened.await.map_err(|_| OpenError::Stopped)??;
        let opened = shared.opened.get().ok_or(OpenError::Stopped)?;
        let (id, identity) = (opened.id, opened.identity.clone());
        Ok(Destination { shared, id, identity })
    }
}

/// A destination in the network. Clones are the same one. It is closed with [`Self::close`], or when
/// the last clone, stream and listener of it is dropped: what was finished or sent before still goes.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let net = ramson_tokio::testing::network().await?;
/// # let (router, tunnels) = (net.router, net.tunnels);
/// let first = router.destination("mine").tunnels(tunnels).open().await?;
/// first.ready().await?;
/// let (name, keys) = (first.identity().b32_address(), first.keys().to_vec());
/// first.close();
///
/// // With its keys it is the same again.
/// let again = router.destination("mine").tunnels(tunnels).keys(&keys).open().await?;
/// assert_eq!(again.identity().b32_address(), name);
/// let services = router.report().await.expect("it runs").services;
/// assert!(services.iter().any(|s| s.name == "mine"));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Destination {
    shared: Arc<Shared>,
    id: DestinationId,
    identity: Identity,
}

impl Destination {
    /// Who it is; [`Identity::b32_address`] is what others connect to.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its private keys, for who wants it to be the same next time. Keep them as such.
    #[must_use]
    pub fn keys(&self) -> &[u8] {
        self.shared.opened.get().map_or(&[], |opened| &opened.keys)
    }

    /// Waits for its first tunnels. What is asked for earlier waits too, but for no longer than 20 s: in
    /// a new router on a large network wait here first.
    ///
    /// # Errors
    ///
    /// It is closed, or the router has stopped.
    pub async fn ready(&self) -> Result<(), Failure> {
        let mut life = self.shared.life.subscribe();
        tokio::select! {
            biased;
            () = self.shared.closed() => Err(Failure::ShuttingDown),
            _ = life.wait_for(|life| *life == Life::Ready) => Ok(()),
        }
    }

    /// Takes streams to `port` from now on; port 0 takes those to ports without a listener.
    ///
    /// # Errors
    ///
    /// See [`ListenError`].
    pub async fn listen(&self, port: u16) -> Result<Listener, ListenError> {
        let (queue, streams) = mpsc::channel(self.shared.backlog);
        let (answer, free) = oneshot::channel();
        let request = Request::Listen { id: self.id, port, queue, answer };
        self.shared.requests.send(request).map_err(|_| ListenError::Closed)?;
        // Should this future be dropped, the listener is too, and gives the port back.
        let listener = Listener::new(self.shared.clone(), port, streams);
        free.await.map_err(|_| ListenError::Closed)??;
        Ok(listener)
    }

    /// Opens a stream to a name of the address book, a `.b32.i2p` address or a base64 destination,
    /// with or without `:port`. A destination that is not found is searched for again for a while:
    /// it may have come up just now.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let alice = ramson_tokio::testing::network().await?.alice;
    /// use ramson_tokio::{ConnectError, Failure};
    ///
    /// let nobody = alice.connect("nobody.i2p:80").await;
    /// assert_eq!(nobody.err(), Some(ConnectError::Failed(Failure::UnknownName)));
    /// let outside = alice.connect("example.org").await;
    /// assert!(matches!(outside, Err(ConnectError::Target(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(&self, address: &str) -> Result<Stream, ConnectError> {
        let (target, port) = parse_authority(address)?;
        Ok(self.connect_to(target, Ports::to(port.unwrap_or(0))).await?)
    }

    /// As [`Self::connect`], from a port of ours too.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let net = ramson_tokio::testing::network().await?;
    /// # let (alice, bob) = (net.alice, net.bob);
    /// use ramson_tokio::{Ports, Target};
    ///
    /// let mut listener = bob.listen(7).await?;
    /// let target = Target::Destination(bob.identity().clone());
    /// let near = alice.connect_to(target, Ports { local: 3, remote: 7 }).await?;
    /// let far = listener.accept().await.expect("the router runs");
    /// assert_eq!(far.ports(), Ports { local: 7, remote: 3 });
    /// # drop(near);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn connect_to(&self, target: Target, ports: Ports) -> Result<Stream, Failure> {
        let pipe = Arc::new(Pipe::new(self.id));
        let request = Request::Connect { id: self.id, to: target, ports, pipe: pipe.clone() };
        self.shared.requests.send(request).map_err(|_| Failure::ShuttingDown)?;
        Connecting::new(pipe, self.shared.clone()).done(ports).await
    }

    /// Finds the destination behind a name or an address.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let net = ramson_tokio::testing::network().await?;
    /// # let (alice, bob) = (net.alice, net.bob);
    /// let found = alice.look_up(&bob.identity().b32_address()).await?;
    /// assert_eq!(&found, bob.identity());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn look_up(&self, name: &str) -> Result<Identity, ConnectError> {
        let to = parse_host(name)?;
        let (answer, found) = oneshot::channel();
        let request = Request::LookUp { id: self.id, to, answer };
        self.shared.requests.send(request).map_err(|_| Failure::ShuttingDown)?;
        Ok(found.await.map_err(|_| Failure::ShuttingDown)??)
    }

    /// Sends a signed datagram to an address with or without `:port`. It is kept for a moment while
    /// its recipient is being found; nobody hears whether it arrives.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub async fn send(&self, address: &str, payload: &[u8]) -> Result<(), SendError> {
        let (target, port) = parse_authority(address)?;
        let ports = Ports::to(port.unwrap_or(0));
        self.send_to(target, ports, DatagramKind::default(), payload.to_vec()).await
    }

    /// As [`Self::send`], of any kind and from a port of ours.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let net = ramson_tokio::testing::network().await?;
    /// # let (alice, bob) = (net.alice, net.bob);
    /// use ramson_tokio::{DatagramKind, Ports, Sender, Target};
    ///
    /// let target = Target::Hash(bob.identity().hash());
    /// let ports = Ports { local: 5, remote: 6 };
    /// alice.send_to(target, ports, DatagramKind::Raw, b"who am I?".to_vec()).await?;
    /// let raw = bob.receive().await?;
    /// assert_eq!((raw.kind, raw.from), (DatagramKind::Raw, Sender::Unknown));
    /// assert_eq!(raw.ports, Ports { local: 6, remote: 5 });
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub async fn send_to(
        &self,
        target: Target,
        ports: Ports,
        kind: DatagramKind,
        payload: Vec<u8>,
    ) -> Result<(), SendError> {
        let (answer, sent) = oneshot::channel();
        let request = Request::Send { id: self.id, to: target, ports, kind, payload, answer };
        let closed = embed::SendError::Closed;
        self.shared.requests.send(request).map_err(|_| closed)?;
        Ok(sent.await.map_err(|_| closed)??)
    }

    /// The next datagram that came. Some wait to be taken, the oldest make room for new ones.
    /// Dropping the future loses none.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let net = ramson_tokio::testing::network().await?;
    /// # let (alice, bob) = (net.alice, net.bob);
    /// use ramson_tokio::Sender;
    ///
    /// alice.send(&format!("{}:9", bob.identity().b32_address()), b"ping").await?;
    /// let ping = bob.receive().await.expect("the router runs");
    /// assert_eq!((ping.ports.local, ping.payload.as_slice()), (9, &b"ping"[..]));
    /// assert_eq!(ping.from, Sender::Verified(alice.identity().clone()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// It is closed, or the router has stopped.
    pub async fn receive(&self) -> Result<AppDatagram, Failure> {
        tokio::select! {
            biased;
            datagram = self.shared.inbox.pop() => Ok(datagram),
            () = self.shared.closed() => Err(Failure::ShuttingDown),
        }
    }

    /// Closes it now: its streams are reset, its tunnels given up. Clones are closed too.
    pub fn close(self) {
        let _stopped = self.shared.requests.send(Request::Close { id: self.id, linger: false });
    }
}

impl fmt::Debug for Destination {
    /// Without its identity, as for streams.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination").field("id", &self.id).finish_non_exhaustive()
    }
}

/// As many as one application may have open at all, unless it has limits of its own.
const BACKLOG: usize = 512;

/// What a destination's handles share with the driver.
pub(crate) struct Shared {
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    opened: OnceLock<Opened>,
    pub(crate) life: watch::Sender<Life>,
    pub(crate) inbox: Inbox,
    /// Streams that wait at each listener to be accepted.
    pub(crate) backlog: usize,
}

/// How far a destination has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Opening,
    Ready,
    Closed,
}

struct Opened {
    id: DestinationId,
    identity: Identity,
    keys: Zeroizing<Vec<u8>>,
}

impl Shared {
    pub(crate) fn opened(&self, id: DestinationId, identity: Identity, keys: &Zeroizing<Vec<u8>>) {
        let _once = self.opened.set(Opened { id, identity, keys: keys.clone() });
    }

    /// Waits until nothing can come of it any more.
    pub(crate) async fn closed(&self) {
        let mut life = self.life.subscribe();
        tokio::select! {
            biased;
            _ = life.wait_for(|life| *life == Life::Closed) => {}
            () = self.requests.closed() => {}
        }
    }

    pub(crate) fn id(&self) -> Option<DestinationId> {
        self.opened.get().map(|opened| opened.id)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(id) = self.id() {
            let _stopped = self.requests.send(Request::Close { id, linger: true });
        }
    }
}
