//! The socket for datagrams: trains of them in one call, where the kernel can.

use crate::listen::Warnings;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use ramson_core::router::input::{Datagram, SocketId};
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use std::future::pending;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// Reads in a turn: what a flood brings beyond that waits, and with it nobody else.
pub(crate) const MAX_READS: usize = 4;
/// What one read takes: so many trains, each as long as a datagram can be.
const BATCH: usize = 8;
const MAX_TRAIN: usize = 64 << 10;
/// Datagrams of one train that we send.
const MAX_SEGMENTS: usize = 32;
/// What the kernel holds for us between two turns, if it lets us: a quarter of a second at 16 MiB/s.
const BUFFER: usize = 4 << 20;

/// A socket that is bound.
pub(crate) struct Udp {
    id: SocketId,
    socket: Arc<UdpSocket>,
    state: UdpSocketState,
    /// Where datagrams are read to.
    intake: Box<[u8]>,
    metas: [RecvMeta; BATCH],
    /// The train to send.
    train: Vec<u8>,
    /// Set while the kernel has not taken it; until it does the router is not asked for more.
    unsent: Option<Whither>,
    warnings: Warnings,
}

/// Where a train goes, and how long its datagrams are.
#[derive(Clone, Copy)]
struct Whither {
    to: SocketAddr,
    segment: Option<usize>,
}

impl Udp {
    /// Binds `addr`, for its own family only.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(addr))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&socket).into())?;
        // Smaller ones work as well, and lose more in a flood.
        let all = SockRef::from(&socket);
        let sizes = [all.set_recv_buffer_size(BUFFER), all.set_send_buffer_size(BUFFER)];
        if sizes.iter().any(Result::is_err) {
            log::debug!("the buffers of the UDP socket stay as they are");
        }
        Ok(Self {
            id: if addr.is_ipv6() { SocketId::IPV6 } else { SocketId::IPV4 },
            socket: Arc::new(socket),
            state,
            intake: vec![0; BATCH * MAX_TRAIN].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH],
            train: Vec::new(),
            unsent: None,
            warnings: Warnings::default(),
        })
    }

    /// The address that it got.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// To wait for it with [`ready`].
    pub(crate) fn socket(&self) -> Arc<UdpSocket> {
        self.socket.clone()
    }

    /// Whether a train waits for the kernel.
    pub(crate) const fn is_full(&self) -> bool {
        self.unsent.is_some()
    }

    /// One read, each of its trains given to `take`; false when there is nothing more.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the kinds of errors are the system's, and open"
    )]
    pub(crate) fn receive(&mut self, mut take: impl FnMut(Datagram<'_>)) -> bool {
        let Self { id, socket, state, intake, metas, warnings, .. } = self;
        let mut slices = intake.chunks_mut(MAX_TRAIN).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let read = socket.try_io(Interest::READABLE, || {
            let read = state.recv((&**socket).into(), &mut slices, metas);
            let Err(e) = &read else { return read };
            match e.kind() {
                ErrorKind::WouldBlock => read,
                // What an ICMP message says of a datagram of ours: anybody can send these.
                ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::Interrupted => {
                    log::debug!("UDP: {e}");
                    Ok(0)
                }
                _ => {
                    if warnings.is_due(Instant::now()) {
                        log::warn!("UDP: cannot receive: {e}");
                    }
                    // Tokio is not to say at once that there is something to read.
                    Err(ErrorKind::WouldBlock.into())
                }
            }
        });
        let Ok(trains) = read else { return false };
        for (bytes, meta) in intake.chunks_mut(MAX_TRAIN).zip(metas).take(trains) {
            let Some(payload) = bytes.get_mut(..meta.len).filter(|p| !p.is_empty()) else {
                continue;
            };
            let segment = (meta.stride < payload.len()).then_some(meta.stride);
            take(Datagram { socket: *id, remote: meta.addr, payload, segment });
        }
        true
    }

    /// Sends what waited and then what `more` appends, until that has nothing or the kernel takes no
    /// more; true when there was some.
    pub(crate) fn send(
        &mut self,
        mut more: impl FnMut(usize, &mut Vec<u8>) -> Option<ramson_core::router::output::Transmit>,
    ) -> bool {
        let mut any = false;
        loop {
            let whither = if let Some(whither) = self.unsent.take() {
                whither
            } else {
                self.train.clear();
                // The kernel may turn out not to be able to cut trains.
                let segments = self.state.max_gso_segments().clamp(1, MAX_SEGMENTS);
                let Some(made) = more(segments, &mut self.train) else { return any };
                any = true;
                if made.socket != self.id {
                    log::debug!("no socket for {}", made.remote);
                    continue;
                }
                Whither { to: made.remote, segment: made.segment }
            };
            if !self.try_send(whither) {
                self.unsent = Some(whither);
                return any;
            }
        }
    }

    /// False when the kernel takes nothing at the moment.
    fn try_send(&self, Whither { to, segment }: Whither) -> bool {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: &self.train,
            segment_size: segment,
            src_ip: None,
        };
        let send = || self.state.try_send((&*self.socket).into(), &transmit);
        match self.socket.try_io(Interest::WRITABLE, send) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) => {
                // No route, refused, too large: as if it was lost on the way, which the router knows how to take.
                log::debug!("datagram to {to} not sent: {e}");
                true
            }
        }
    }
}

/// Waits until there is something to read or, if `full`, room to write; for ever without a socket.
pub(crate) async fn ready(socket: Option<&UdpSocket>, full: bool) -> Ready {
    let Some(socket) = socket else { return pending().await };
    let interest = if full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
    match socket.ready(interest).await {
        Ok(ready) => ready,
        // Tokio itself shuts down.
        Err(_) => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramson_core::router::output;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::time::timeout;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    async fn until_ready(udp: &Udp) -> Ready {
        let wait = ready(Some(&udp.socket), udp.is_full());
        timeout(Duration::from_secs(10), wait).await.unwrap()
    }

    /// A train to `remote`: datagrams of 100 bytes.
    fn transmit(remote: SocketAddr, datagrams: u8, buf: &mut Vec<u8>) -> output::Transmit {
        for n in 0..datagrams {
            buf.extend([n; 100]);
        }
        let (len, segment) = (buf.len(), (datagrams > 1).then_some(100));
        output::Transmit { socket: SocketId::IPV4, remote, len, segment }
    }

    #[tokio::test]
    async fn a_train_arrives_as_its_datagrams_after_waiting_for_the_kernel() {
        let (mut from, mut to) = (Udp::bind(loopback()).unwrap(), Udp::bind(loopback()).unwrap());
        let there = to.local_addr().unwrap();
        // Tokio has not heard yet that there is room, and so the kernel is full.
        let mut asked = 0;
        assert!(from.send(|most, buf| {
            asked += 1;
            Some(transmit(there, u8::try_from(most.min(3)).unwrap(), buf))
        }));
        assert!(from.is_full() && asked == 1, "and nobody asks for more: {asked}");
        let first = from.train.len() / 100;
        assert!(until_ready(&from).await.is_writable());
        let mut more = Some(());
        from.send(|_, buf| more.take().map(|()| transmit(there, 1, buf)));
        assert!(!from.is_full() && more.is_none());

        let mut heard = Vec::new();
        while heard.len() < first + 1 {
            until_ready(&to).await;
            to.receive(|datagram| {
                assert_eq!(datagram.remote, from.socket.local_addr().unwrap());
                let size = datagram.segment.unwrap_or(usize::MAX);
                heard.extend(datagram.payload.chunks(size).map(|d| (d.len(), d[0])));
            });
        }
        let want: Vec<_> = (0..first).map(|n| (100, u8::try_from(n).unwrap())).collect();
        assert_eq!(heard, [&want[..], &[(100, 0)]].concat());
        assert!(!to.receive(|_| unreachable!()));
    }

    #[tokio::test]
    async fn nobody_there_is_no_reason_to_stop() {
        let (mut from, mut to) = (Udp::bind(loopback()).unwrap(), Udp::bind(loopback()).unwrap());
        let gone = Udp::bind(loopback()).unwrap().local_addr().unwrap();
        from.socket.writable().await.unwrap();
        // The second may hear what became of the first.
        let mut tries =
            [gone, gone, to.local_addr().unwrap(), to.local_addr().unwrap()].into_iter();
        from.send(|_, buf| tries.next().map(|to| transmit(to, 1, buf)));
        assert!(!from.is_full() && tries.next().is_none());
        until_ready(&to).await;
        assert!(to.receive(|datagram| assert_eq!(datagram.payload.len() % 100, 0)));

        to.socket.writable().await.unwrap();
        let mut back = Some(from.local_addr().unwrap());
        to.send(|_, buf| back.take().map(|to| transmit(to, 1, buf)));
        let mut heard = 0;
        while heard == 0 {
            until_ready(&from).await;
            from.receive(|_| heard += 1);
        }
    }

    #[tokio::test]
    async fn what_has_no_socket_is_lost_and_does_not_keep_the_rest() {
        let mut from = Udp::bind(loopback()).unwrap();
        from.socket.writable().await.unwrap();
        let mut tries = 2;
        assert!(from.send(|_, buf| {
            tries -= 1;
            let mut made = transmit(loopback(), 1, buf);
            made.socket = SocketId::IPV6;
            (tries >= 0).then_some(made)
        }));
        assert!(tries < 0 && !from.is_full());
    }
}
