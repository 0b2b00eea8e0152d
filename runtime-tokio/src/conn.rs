//! One TCP stream: a task that reads, a task that writes.

use ramson_core::conn::ConnId;
use ramson_core::router::input::Listener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// Bytes taken from the router at a time.
pub(crate) const ROOM: usize = 256 * 1024;
const READ: usize = 64 * 1024;

/// What a connection or a listener has to say.
pub(crate) enum Happened {
    Accepted { listener: Listener, stream: TcpStream, remote: SocketAddr },
    Dialled { conn: ConnId, result: io::Result<TcpStream> },
    Bytes { conn: ConnId, bytes: Vec<u8> },
    ReadClosed { conn: ConnId },
    Failed { conn: ConnId, error: io::Error },
    Written { conn: ConnId },
}

enum Write {
    Bytes(Vec<u8>),
    Reset,
}

/// The driver's side of a connection.
pub(crate) struct Conn {
    /// Read and not taken by the router yet.
    pub(crate) backlog: Vec<u8>,
    /// The writer has not taken the last bytes yet.
    pub(crate) writing: bool,
    /// One permit for each read.
    gate: Arc<Semaphore>,
    writer: Option<mpsc::UnboundedSender<Write>>,
    reader: Option<AbortHandle>,
}

impl Conn {
    /// A connection that is not there yet.
    pub(crate) fn dialling() -> Self {
        Self {
            backlog: Vec::new(),
            writing: true,
            gate: Arc::new(Semaphore::new(0)),
            writer: None,
            reader: None,
        }
    }

    pub(crate) fn start(id: ConnId, stream: TcpStream, happened: mpsc::Sender<Happened>) -> Self {
        let _best_effort = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let gate = Arc::new(Semaphore::new(1));
        let (writer, queue) = mpsc::unbounded_channel();
        let reader = tokio::spawn(reading(id, read, gate.clone(), happened.clone()));
        tokio::spawn(writing(id, write, queue, happened));
        Self {
            backlog: Vec::new(),
            writing: false,
            gate,
            writer: Some(writer),
            reader: Some(reader.abort_handle()),
        }
    }

    /// Lets the reader read once more.
    pub(crate) fn read_on(&self) {
        if self.gate.available_permits() == 0 {
            self.gate.add_permits(1);
        }
    }

    /// Queues bytes; bounded by the caller, who asks the router again only after `Written`, or
    /// takes the last bytes of a stream.
    pub(crate) fn write(&mut self, bytes: Vec<u8>) {
        self.writing = true;
        if let Some(writer) = &self.writer {
            let _gone = writer.send(Write::Bytes(bytes));
        }
    }

    /// Closes the writing side after what is queued: the writer ends, and with it sends FIN, when
    /// its queue is closed.
    pub(crate) fn finish(&mut self) {
        self.writer = None;
    }

    /// Closes with RST.
    pub(crate) fn abort(&self) {
        if let Some(writer) = &self.writer {
            let _gone = writer.send(Write::Reset);
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

async fn reading(
    conn: ConnId,
    mut stream: OwnedReadHalf,
    gate: Arc<Semaphore>,
    happened: mpsc::Sender<Happened>,
) {
    let mut buffer = vec![0; READ];
    loop {
        match gate.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return,
        }
        let what = match stream.read(&mut buffer).await {
            Ok(0) => Happened::ReadClosed { conn },
            Ok(n) => Happened::Bytes { conn, bytes: buffer.get(..n).unwrap_or_default().to_vec() },
            Err(error) => Happened::Failed { conn, error },
        };
        let more = matches!(what, Happened::Bytes { .. });
        if happened.send(what).await.is_err() || !more {
            return;
        }
    }
}

async fn writing(
    conn: ConnId,
    mut stream: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Write>,
    happened: mpsc::Sender<Happened>,
) {
    while let Some(write) = queue.recv().await {
        match write {
            Write::Bytes(bytes) => {
                if let Err(error) = stream.write_all(&bytes).await {
                    let _ = happened.send(Happened::Failed { conn, error }).await;
                    return;
                }
                if queue.is_empty() && happened.send(Happened::Written { conn }).await.is_err() {
                    return;
                }
            }
            Write::Reset => {
                let _best_effort = stream.as_ref().set_zero_linger();
                return;
            }
        }
    }
    let _best_effort = stream.shutdown().await;
}
