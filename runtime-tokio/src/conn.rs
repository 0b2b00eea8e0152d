//! One TCP stream: a task that reads, a task that writes.

use ramson_core::conn::ConnId;
use ramson_core::router::input::Listener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Bytes taken from the router at a time.
pub(crate) const ROOM: usize = 256 << 10;
/// Bytes read at a time.
const READ: usize = 64 << 10;
/// A closed stream whose peer takes nothing for so long is given up.
const FLUSH: Duration = Duration::from_secs(30);
/// How long, and how many bytes, a closed stream is read on. Closing a socket with unread bytes
/// makes the kernel send RST, and that can destroy what the peer has not read yet.
const LINGER: Duration = Duration::from_secs(5);
const MAX_DISCARD: usize = 4 << 20;

/// What a connection or a listener has to say.
pub(crate) enum Happened {
    Accepted {
        listener: Listener,
        stream: TcpStream,
        remote: SocketAddr,
    },
    Dialled {
        conn: ConnId,
        result: io::Result<TcpStream>,
    },
    Bytes {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    ReadClosed {
        conn: ConnId,
    },
    /// Reading failed: the stream is gone.
    Failed {
        conn: ConnId,
        error: io::Error,
    },
    /// The peer takes no more. It may have said why before.
    WriteFailed {
        conn: ConnId,
    },
    Written {
        conn: ConnId,
    },
}

/// The driver's side of a connection. Its tasks end soon after it is dropped.
pub(crate) struct Conn {
    /// Read and not taken by the router yet; at most one read.
    pub(crate) backlog: Vec<u8>,
    /// The router wants no more for now.
    pub(crate) paused: bool,
    /// The peer finished writing, and the router knows.
    pub(crate) ended: bool,
    /// The writer has not taken the last bytes yet, or there is none yet.
    pub(crate) writing: bool,
    /// Nobody takes what the router writes.
    pub(crate) broken: bool,
    /// The reader may read, and has not said what.
    reading: bool,
    tasks: Option<Tasks>,
}

/// To steer the tasks of an open connection.
struct Tasks {
    /// One permit for each read.
    gate: Arc<Semaphore>,
    /// Tells the reader to read on a while for nobody; dropped, to end.
    linger: oneshot::Sender<()>,
    /// Closed after [`Order::Finish`].
    queue: Option<mpsc::UnboundedSender<Order>>,
    /// Tells the writer to send RST.
    abort: Arc<Notify>,
}

/// What a writer is to do. One that is left without [`Self::Finish`] ends with RST.
enum Order {
    Write(Vec<u8>),
    /// FIN: that was all.
    Finish,
}

impl Conn {
    /// A connection that is not there yet.
    pub(crate) const fn dialling() -> Self {
        Self {
            backlog: Vec::new(),
            paused: false,
            ended: false,
            writing: true,
            broken: false,
            reading: false,
            tasks: None,
        }
    }

    /// An open connection, which begins to read.
    pub(crate) fn open(
        id: ConnId,
        stream: TcpStream,
        happened: &mpsc::Sender<Happened>,
        readers: &mut JoinSet<()>,
        writers: &mut JoinSet<()>,
    ) -> Self {
        // Frames are filled before they are written, so Nagle would only delay them.
        let _slower = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let write = Writer::new(write);
        let gate = Arc::new(Semaphore::new(1));
        let abort = Arc::new(Notify::new());
        let (linger, closed) = oneshot::channel();
        let (queue, bytes) = mpsc::unbounded_channel();
        readers.spawn(reading(id, read, gate.clone(), closed, happened.clone()));
        writers.spawn(writing(id, write, bytes, abort.clone(), happened.clone()));
        let tasks = Tasks { gate, linger, queue: Some(queue), abort };
        Self { writing: false, reading: true, tasks: Some(tasks), ..Self::dialling() }
    }

    /// What the reader was allowed to read is here.
    pub(crate) fn arrived(&mut self, bytes: Vec<u8>) {
        self.reading = false;
        if self.backlog.is_empty() {
            self.backlog = bytes;
        } else {
            self.backlog.extend_from_slice(&bytes);
        }
    }

    /// Lets the reader read once more, unless it does already.
    pub(crate) fn read_on(&mut self) {
        if let Some(tasks) = &self.tasks
            && !self.reading
            && !self.ended
        {
            self.reading = true;
            tasks.gate.add_permits(1);
        }
    }

    /// Queues bytes; bounded by the caller, who asks the router again only after `Written`, or
    /// takes the last bytes of a stream.
    pub(crate) fn write(&mut self, bytes: Vec<u8>) {
        if let Some(queue) = self.tasks.as_ref().and_then(|t| t.queue.as_ref()) {
            // A writer that is gone has said so.
            let _gone = queue.send(Order::Write(bytes));
            self.writing = true;
        }
    }

    /// Closes the writing side after what is queued.
    pub(crate) fn finish(&mut self) {
        if let Some(queue) = self.tasks.as_mut().and_then(|t| t.queue.take()) {
            let _gone = queue.send(Order::Finish);
        }
    }

    /// Closes with FIN after what is queued.
    pub(crate) fn close(mut self) {
        self.finish();
        if let Some(tasks) = self.tasks.take() {
            let _gone = tasks.linger.send(());
        }
    }

    /// Closes with RST at once.
    pub(crate) fn abort(self) {
        if let Some(tasks) = &self.tasks {
            tasks.abort.notify_one();
        }
    }
}

async fn reading(
    conn: ConnId,
    mut stream: OwnedReadHalf,
    gate: Arc<Semaphore>,
    mut closed: oneshot::Receiver<()>,
    happened: mpsc::Sender<Happened>,
) {
    let mut buffer = vec![0; READ];
    let linger = loop {
        let read = async {
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            let read = stream.read(&mut buffer).await;
            // Peers that leave Nagle's algorithm on write no more until they hear of this, and the kernel
            // would tell them 40 ms later.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            let _slower = stream.as_ref().set_quickack(true);
            read
        };
        let result = tokio::select! {
            biased;
            linger = &mut closed => break linger.is_ok(),
            result = read => result,
        };
        let what = match result {
            Ok(0) => Happened::ReadClosed { conn },
            Ok(n) => Happened::Bytes { conn, bytes: buffer.get(..n).unwrap_or_default().to_vec() },
            Err(error) => Happened::Failed { conn, error },
        };
        let more = matches!(what, Happened::Bytes { .. });
        if happened.send(what).await.is_err() || !more {
            return;
        }
    };
    if linger {
        let discard = async {
            let mut discarded = 0;
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                discarded += n;
                if discarded > MAX_DISCARD {
                    return;
                }
            }
        };
        let _given_up = timeout(LINGER, discard).await;
    }
}

/// The writing half. Until it is finished its socket ends with RST however it ends, be it that its
/// task is cut: a FIN would make half an answer look like the whole.
struct Writer(Option<OwnedWriteHalf>);

impl Writer {
    fn new(half: OwnedWriteHalf) -> Self {
        // A socket that refuses this is dead already.
        let _dead = half.as_ref().set_zero_linger();
        Self(Some(half))
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Some(half) => half.write(bytes).await,
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends FIN.
    async fn finish(mut self) {
        if let Some(mut half) = self.0.take() {
            #[expect(deprecated, reason = "this only lifts what `new` set, and cannot block")]
            let _dead = half.as_ref().set_linger(None);
            let _best_effort = half.shutdown().await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(half) = self.0.take() {
            // Without the FIN that dropping it would send.
            half.forget();
        }
    }
}

async fn writing(
    conn: ConnId,
    mut stream: Writer,
    mut queue: mpsc::UnboundedReceiver<Order>,
    abort: Arc<Notify>,
    happened: mpsc::Sender<Happened>,
) {
    let finished = tokio::select! {
        biased;
        () = abort.notified() => return,
        finished = write_all(conn, &mut stream, &mut queue, &happened) => finished,
    };
    if finished {
        stream.finish().await;
    } else {
        drop(stream);
        let _stopped = happened.send(Happened::WriteFailed { conn }).await;
    }
}

/// Writes until it is to finish; `false` when the peer does not take it all, or nobody says that it
/// was all.
async fn write_all(
    conn: ConnId,
    stream: &mut Writer,
    queue: &mut mpsc::UnboundedReceiver<Order>,
    happened: &mpsc::Sender<Happened>,
) -> bool {
    while let Some(order) = queue.recv().await {
        let Order::Write(bytes) = order else { return true };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match timeout(FLUSH, stream.write(rest)).await {
                Ok(Ok(n @ 1..)) => rest = rest.get(n..).unwrap_or_default(),
                Ok(Ok(0) | Err(_)) => return false,
                // An open stream may wait as long as the router likes.
                Err(_) if queue.is_closed() => return false,
                Err(_) => {}
            }
        }
        if queue.is_empty() {
            // When nobody hears it, what is queued later still says how this ends.
            let _stopped = happened.send(Happened::Written { conn }).await;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    struct Pair {
        conn: Conn,
        peer: TcpStream,
        happened: mpsc::Receiver<Happened>,
        tasks: [JoinSet<()>; 2],
    }

    const ID: ConnId = ConnId::accepted(1);
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn pair() -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (sender, happened) = mpsc::channel(16);
        let mut tasks = [JoinSet::new(), JoinSet::new()];
        let [readers, writers] = &mut tasks;
        let conn = Conn::open(ID, stream, &sender, readers, writers);
        Pair { conn, peer, happened, tasks }
    }

    async fn end(tasks: [JoinSet<()>; 2]) {
        for mut tasks in tasks {
            while timeout(PATIENCE, tasks.join_next()).await.unwrap().is_some() {}
        }
    }

    #[tokio::test]
    async fn one_permission_is_one_read() {
        let Pair { mut conn, mut peer, mut happened, tasks } = pair().await;
        for part in 0..3_u8 {
            // Asked again while the reader reads: nothing more than that read may come.
            conn.read_on();
            peer.write_all(&[part; 10]).await.unwrap();
            let Some(Happened::Bytes { bytes, .. }) = happened.recv().await else { panic!() };
            assert_eq!(bytes, [part; 10]);
            peer.write_all(&[part; 5]).await.unwrap();
            let more = timeout(Duration::from_millis(30), happened.recv()).await;
            assert!(more.is_err(), "read without permission");
            conn.arrived(bytes);
            conn.read_on();
            let Some(Happened::Bytes { bytes, .. }) = happened.recv().await else { panic!() };
            conn.arrived(bytes);
            assert_eq!(conn.backlog.len(), 15);
            conn.backlog.clear();
        }
        drop((conn, peer));
        end(tasks).await;
    }

    #[tokio::test]
    async fn last_words_reach_a_peer_that_still_talks() {
        let Pair { mut conn, mut peer, happened, tasks } = pair().await;
        // Nobody will read this.
        peer.write_all(&[1; 200_000]).await.unwrap();
        conn.write(vec![2; 3 << 20]);
        conn.close();
        drop(happened);
        let mut heard = Vec::new();
        let (mut read, mut write) = peer.split();
        let listen = async { timeout(PATIENCE, read.read_to_end(&mut heard)).await.unwrap() };
        let (heard_all, told_all) = tokio::join!(listen, write.write_all(&[3; 1 << 20]));
        heard_all.unwrap();
        told_all.unwrap();
        assert_eq!(heard.len(), 3 << 20);
        drop(peer);
        end(tasks).await;
    }

    #[tokio::test]
    async fn an_abort_does_not_wait_for_a_peer_that_takes_nothing() {
        let Pair { mut conn, mut peer, happened, tasks } = pair().await;
        conn.write(vec![2; 64 << 20]);
        tokio::time::sleep(Duration::from_millis(50)).await;
        conn.abort();
        end(tasks).await;
        let mut heard = Vec::new();
        let e = peer.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::ConnectionReset);
        drop(happened);
    }

    /// How a peer sees the end of a stream that it begins to read only now.
    async fn end_of(mut peer: TcpStream) -> Result<usize, io::ErrorKind> {
        let mut heard = Vec::new();
        let read = timeout(PATIENCE, peer.read_to_end(&mut heard)).await.unwrap();
        read.map_err(|e| e.kind())
    }

    #[tokio::test]
    async fn a_writer_that_is_cut_resets() {
        let Pair { mut conn, peer, happened, tasks } = pair().await;
        // More than two kernels hold for a stream.
        conn.write(vec![2; 64 << 20]);
        conn.close();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let [mut readers, mut writers] = tasks;
        writers.shutdown().await;
        readers.shutdown().await;
        assert_eq!(end_of(peer).await, Err(io::ErrorKind::ConnectionReset));
        drop(happened);
    }

    #[tokio::test]
    async fn a_connection_that_nobody_closed_is_reset() {
        let Pair { mut conn, peer, mut happened, tasks } = pair().await;
        conn.write(vec![2; 10]);
        while !matches!(happened.recv().await, Some(Happened::Written { .. })) {}
        drop(conn);
        end(tasks).await;
        assert_eq!(end_of(peer).await, Err(io::ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_ends_in_good_order_though_nobody_listens_any_more() {
        let Pair { mut conn, peer, happened, tasks } = pair().await;
        drop(happened);
        conn.write(vec![2; 10]);
        tokio::time::sleep(Duration::from_millis(20)).await;
        conn.write(vec![2; 10]);
        conn.close();
        assert_eq!(end_of(peer).await, Ok(20));
        end(tasks).await;
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_told_to_the_writer_once() {
        let Pair { mut conn, peer, mut happened, tasks } = pair().await;
        peer.set_zero_linger().unwrap();
        drop(peer);
        conn.write(vec![2; 1 << 20]);
        let (mut broken, mut over) = (0, 0);
        while broken + over < 2 {
            match timeout(PATIENCE, happened.recv()).await.unwrap().unwrap() {
                Happened::WriteFailed { .. } => broken += 1,
                Happened::Failed { .. } | Happened::ReadClosed { .. } => over += 1,
                Happened::Accepted { .. }
                | Happened::Dialled { .. }
                | Happened::Bytes { .. }
                | Happened::Written { .. } => {}
            }
        }
        assert_eq!((broken, over), (1, 1));
        drop(conn);
        end(tasks).await;
    }
}
