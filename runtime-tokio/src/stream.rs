//! Streams and those who wait for them.

use crate::destination::Shared;
use crate::pipe::Pipe;
use crate::request::Request;
use ramson_core::client::Failure;
use ramson_core::router::embed::Ports;
use ramson_core::wire::identity::Identity;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// A stream to another destination, to be read and written as a TCP stream; [`tokio::io::split`]
/// makes two halves of it.
///
/// `shutdown` ends our direction and leaves the other open. A stream that is dropped without it is
/// reset: the remote does not take half of what was to be said for the whole. One that is dropped
/// after it is left in good order: what was written still goes. To know that all arrived, wait for
/// [`Self::closed`].
///
/// Writing is done when the bytes are in the stream's buffer, and `flush` when the router has them.
/// No future of a stream loses bytes when it is dropped.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let net = ramson_tokio::testing::network().await?;
/// # let (alice, bob) = (net.alice, net.bob);
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut listener = bob.listen(7).await?;
/// let address = format!("{}:7", bob.identity().b32_address());
/// let (mut near, far) = tokio::try_join!(alice.connect(&address), async {
///     Ok(listener.accept().await.expect("the router runs"))
/// })?;
/// assert_eq!(far.remote(), alice.identity());
///
/// near.write_all(b"hello").await?;
/// near.shutdown().await?;
///
/// let (mut read, mut write) = tokio::io::split(far);
/// let mut heard = String::new();
/// read.read_to_string(&mut heard).await?;
/// assert_eq!(heard, "hello");
/// write.write_all(b"good bye").await?;
/// write.shutdown().await?;
///
/// let mut answer = Vec::new();
/// near.read_to_end(&mut answer).await?;
/// assert_eq!(answer, b"good bye");
/// near.closed().await?;
/// # Ok(()) }
/// ```
#[must_use = "a stream that is dropped is reset"]
pub struct Stream {
    pipe: Arc<Pipe>,
    /// Keeps the destination open.
    shared: Arc<Shared>,
    remote: Identity,
    ports: Ports,
}

/// A stream that is to be, given up when it is dropped.
pub(crate) struct Connecting {
    pipe: Option<Arc<Pipe>>,
    shared: Arc<Shared>,
}

impl Connecting {
    pub(crate) fn new(pipe: Arc<Pipe>, shared: Arc<Shared>) -> Self {
        Self { pipe: Some(pipe), shared }
    }

    pub(crate) async fn done(mut self, ports: Ports) -> Result<Stream, Failure> {
        let pipe = self.pipe.clone().ok_or(Failure::ShuttingDown)?;
        let connected = poll_fn(|cx| pipe.poll_connected(cx));
        tokio::select! {
            biased;
            result = connected => result?,
            () = self.shared.requests.closed() => return Err(Failure::ShuttingDown),
        }
        let remote = pipe.remote().ok_or(Failure::Reset)?;
        self.pipe = None;
        Ok(Stream::new(pipe, self.shared.clone(), remote, ports))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(pipe) = &self.pipe {
            pipe.leave(&self.shared.requests);
        }
    }
}

impl Stream {
    pub(crate) const fn new(
        pipe: Arc<Pipe>,
        shared: Arc<Shared>,
        remote: Identity,
        ports: Ports,
    ) -> Self {
        Self { pipe, shared, remote, ports }
    }

    /// Somebody takes it from the queue; false when it has failed in the meantime.
    fn is_taken_alive(&self) -> bool {
        self.pipe.accept()
    }

    /// The other side, which has proven to be that destination.
    #[must_use]
    pub const fn remote(&self) -> &Identity {
        &self.remote
    }

    /// The ports.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Waits until both sides have ended their directions and all arrived. What still comes is
    /// thrown away, so read first what is of interest. Without a `shutdown` before it, it waits for
    /// an error.
    ///
    /// # Errors
    ///
    /// Why the stream ended otherwise.
    pub async fn closed(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| self.pipe.poll_over(cx, &self.shared.requests)).await
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pipe.poll_read(cx, &self.shared.requests, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pipe.poll_write(cx, &self.shared.requests, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_finish(cx, &self.shared.requests)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.pipe.leave(&self.shared.requests);
    }
}

impl fmt::Debug for Stream {
    /// Without the remote: who logs a stream should not name people by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// Takes the streams that others open to a port, until it is dropped.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let net = ramson_tokio::testing::network().await?;
/// # let (alice, bob) = (net.alice, net.bob);
/// // Port 0 takes what is for no other listener.
/// let mut rest = bob.listen(0).await?;
/// let mut seven = bob.listen(7).await?;
/// assert!(bob.listen(7).await.is_err(), "one listener a port");
///
/// let address = bob.identity().b32_address();
/// let _one = alice.connect(&format!("{address}:7")).await?;
/// let _two = alice.connect(&format!("{address}:8")).await?;
/// assert_eq!(seven.accept().await.expect("a stream").ports().local, 7);
/// assert_eq!(rest.accept().await.expect("a stream").ports().local, 8);
/// # Ok(()) }
/// ```
pub struct Listener {
    shared: Arc<Shared>,
    port: u16,
    queue: mpsc::Receiver<Stream>,
}

impl Listener {
    pub(crate) const fn new(shared: Arc<Shared>, port: u16, queue: mpsc::Receiver<Stream>) -> Self {
        Self { shared, port, queue }
    }

    /// The port; 0 stands for all that nobody else listens to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The next stream; `None` when the destination is closed or the router has stopped. As many wait to
    /// be accepted as the destination's limits allow, and more are reset; those that failed in the
    /// meantime are passed over. Dropping the future loses none.
    pub async fn accept(&mut self) -> Option<Stream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`Self::accept`], for who polls.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stream>> {
        loop {
            match ready!(self.queue.poll_recv(cx)) {
                Some(stream) if !stream.is_taken_alive() => {}
                taken => return Poll::Ready(taken),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // The driver recognises a port that nobody listens to by the end of the queue.
        self.queue.close();
        if let Some(id) = self.shared.id() {
            let _stopped = self.shared.requests.send(Request::Unlisten { id, port: self.port });
        }
    }
}
