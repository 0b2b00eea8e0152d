//! Listeners: bound once, accepting in turns, pausing when descriptors run out.

use super::conn::Socket;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use ramson_core::router::input::{Listener, Remote};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Bytes that the kernel takes beyond what the network takes: enough to keep it busy until the next
/// turn, and no more, so that a slow peer's bytes wait in the router, where priorities hold.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NOT_SENT: u32 = 256 << 10;
/// Streams that the kernel holds for us between two turns.
const BACKLOG: i32 = 1024;
/// No descriptor or no memory just now.
const EXHAUSTED: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];

/// A bound socket of either kind.
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// One listener of the loop.
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) acceptor: Acceptor,
    /// Streams may wait.
    pub(super) ready: bool,
    /// No descriptors: a timer will set `ready`.
    pub(super) paused: bool,
}

/// Outcome of one accept.
pub(super) enum Accepted {
    Stream(Socket, Remote),
    /// That one was gone already.
    Gone,
    Nothing,
    /// Out of descriptors or memory: waiting helps, trying again at once does not.
    Exhausted(io::Error),
}

/// Prepares a TCP stream. Where this fails the stream is slower, or dead, which reading will show.
///
/// Until its writing side was ended in good order it ends with RST however it ends, be it that the
/// process dies: a FIN would make half an answer look like the whole.
pub(super) fn tune(socket: &SockRef<'_>) {
    let _ = socket.set_linger(Some(Duration::ZERO));
    // Frames are filled before they are written, so Nagle would only delay them.
    let _ = socket.set_tcp_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_notsent_lowat(NOT_SENT);
}

impl Acceptor {
    /// Listens on a TCP address. A port that a former router used can be bound at once.
    pub(crate) fn tcp(addr: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            // IPv4 peers come as mapped addresses and are shown as what they are.
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(addr))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(socket.into())))
    }

    /// Listens on a socket file for its owner only; a file that a former router left is replaced.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener))
    }

    /// The TCP port that it got.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok().map(|a| a.port()),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Unix(unix) => unix,
        }
    }

    pub(super) fn accept(&self) -> Accepted {
        let accepted = match self {
            Self::Tcp(tcp) => tcp.accept().map(|(stream, addr)| {
                tune(&SockRef::from(&stream));
                let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
                (Socket::Tcp(stream), Remote::Ip(addr))
            }),
            Self::Unix(unix) => {
                unix.accept().map(|(stream, _)| (Socket::Unix(stream), Remote::Local))
            }
        };
        match accepted {
            Ok((socket, remote)) => Accepted::Stream(socket, remote),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Accepted::Nothing,
            Err(e) if Errno::from_io_error(&e).is_some_and(|e| EXHAUSTED.contains(&e)) => {
                Accepted::Exhausted(e)
            }
            Err(_) => Accepted::Gone,
        }
    }
}
