//! One end of a stream, as a program has it: a TCP connection to a tunnel, or a stream of the library.

use crate::http::{content_byte, hex};
use ramson_tokio::{Failure, Stream};
use sha2::{Digest, Sha256};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes that are moved at once.
pub(super) const CHUNK: usize = 16 << 10;

pub(super) enum Socket {
    Tcp(TcpStream),
    Library(Stream),
    /// It did not come to be. Who connects to a tunnel hears that later, too.
    Failed(ErrorKind),
}

/// One end, and how far it has said and heard the test content.
pub(super) struct End {
    socket: Socket,
    said: usize,
    pub(super) heard: Heard,
}

/// What an end heard so far.
#[derive(Clone)]
pub(super) struct Heard {
    hash: Sha256,
    len: usize,
    right: bool,
}

/// How hearing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All that was wanted came.
    Enough,
    /// The other side ended its direction.
    End,
    Broken(ErrorKind),
}

impl From<Failure> for Socket {
    fn from(why: Failure) -> Self {
        Self::Failed(io::Error::from(ramson_tokio::ConnectError::from(why)).kind())
    }
}

impl Socket {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.write_all(bytes).await,
            Self::Library(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Failed(kind) => Err((*kind).into()),
        }
    }

    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buf).await,
            Self::Library(stream) => stream.read(buf).await,
            Self::Failed(kind) => Err((*kind).into()),
        }
    }
}

impl End {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, said: 0, heard: Heard::new() }
    }

    /// Says the next `size` bytes of the content.
    pub(super) async fn say(&mut self, size: usize) -> io::Result<()> {
        let end = self.said + size;
        while self.said < end {
            let next = end.min(self.said + CHUNK);
            let bytes: Vec<u8> = (self.said..next).map(content_byte).collect();
            self.socket.write(&bytes).await?;
            self.said = next;
        }
        Ok(())
    }

    /// Says something that is not counted, such as a head of HTTP.
    pub(super) async fn say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write(bytes).await
    }

    /// Hears on, `size` bytes at most.
    pub(super) async fn hear(&mut self, size: usize) -> Ended {
        let end = self.heard.len.saturating_add(size);
        let mut buf = [0; CHUNK];
        while self.heard.len < end {
            let room = CHUNK.min(end - self.heard.len);
            match self.socket.read(&mut buf[..room]).await {
                Ok(0) => return Ended::End,
                Ok(n) => self.heard.take(&buf[..n]),
                Err(e) => return Ended::Broken(e.kind()),
            }
        }
        Ended::Enough
    }

    /// Hears up to the next `CHUNK` bytes, as they are.
    pub(super) async fn hear_bytes(&mut self, out: &mut Vec<u8>) -> io::Result<usize> {
        let mut buf = [0; CHUNK];
        let n = self.socket.read(&mut buf).await?;
        out.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    /// Ends our direction.
    pub(super) async fn finish(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(tcp) => tcp.shutdown().await,
            Socket::Library(stream) => stream.shutdown().await,
            Socket::Failed(kind) => Err((*kind).into()),
        }
    }

    /// Breaks off.
    pub(super) fn reset(self) {
        if let Socket::Tcp(tcp) = &self.socket {
            let _dead = tcp.set_zero_linger();
        }
        // A stream of the library that is dropped like this is reset.
    }
}

impl Heard {
    pub(super) fn new() -> Self {
        Self { hash: Sha256::new(), len: 0, right: true }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        let from = self.len;
        self.right &= bytes.iter().zip(from..).all(|(byte, i)| *byte == content_byte(i));
        self.len += bytes.len();
        self.hash.update(bytes);
    }

    pub(super) const fn is_right(&self) -> bool {
        self.right
    }

    /// Length and hash.
    pub(super) fn told(&self) -> String {
        format!("{} bytes {}", self.len, hex(&self.hash.clone().finalize()[..16]))
    }

    /// How it ended. How much comes before a stream breaks is chance; that it is right is not.
    pub(super) fn told_end(&self, ended: Ended, own_router_down: bool) -> String {
        match ended {
            Ended::Enough => self.told(),
            Ended::End => format!("{}, end", self.told()),
            Ended::Broken(_) if !self.right => "wrong bytes".into(),
            Ended::Broken(kind) => word(kind, own_router_down),
        }
    }
}

/// What a program makes of an error. The library tells more than a socket can: that the stream was
/// refused rather than reset, that nobody was found, and that it was its own router that stopped.
pub(super) fn word(kind: ErrorKind, own_router_down: bool) -> String {
    match kind {
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionRefused
        | ErrorKind::BrokenPipe
        | ErrorKind::NotFound => "reset".into(),
        ErrorKind::ConnectionAborted if own_router_down => "reset".into(),
        other => format!("{other:?}"),
    }
}
