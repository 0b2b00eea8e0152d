//! The sockets for datagrams: trains of them in one call, where the kernel can.

use super::{EventLoop, Host};
use crate::clock;
use crate::machine::Machine;
use log::{debug, warn};
use mio::net::UdpSocket;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use ramson_core::router::input::{Datagram, SocketId};
use ramson_core::router::output;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;

/// Reads of one socket in a turn: what a flood brings beyond that waits, and with it nobody else.
const MAX_READS: usize = 4;
/// What one read takes: so many trains, each as long as a datagram can be.
const BATCH: usize = 8;
const MAX_TRAIN: usize = 64 << 10;
/// Datagrams of one train that we send.
const MAX_SEGMENTS: usize = 32;
/// What the kernel holds for us between two turns, if it lets us: a quarter of a second at 16 MiB/s.
const BUFFER: usize = 4 << 20;

/// A socket that is bound.
pub(crate) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
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
        let socket = UdpSocket::from_std(socket.into());
        let state = UdpSocketState::new((&socket).into())?;
        // Smaller ones work as well, and lose more in a flood.
        let all = SockRef::from(&socket);
        let sizes = [all.set_recv_buffer_size(BUFFER), all.set_send_buffer_size(BUFFER)];
        if sizes.iter().any(Result::is_err) {
            debug!("the buffers of the UDP socket stay as they are");
        }
        Ok(Self { socket, state })
    }

    /// As little as the kernel allows.
    #[cfg(test)]
    pub(super) fn shrink_send_buffer(&self) {
        SockRef::from(&self.socket).set_send_buffer_size(1).unwrap();
    }

    /// The port that it got.
    pub(crate) fn port(&self) -> Option<u16> {
        self.socket.local_addr().ok().map(|addr| addr.port())
    }
}

/// A socket of the loop.
pub(super) struct Port {
    id: SocketId,
    udp: Udp,
    /// Datagrams may wait.
    pub(super) readable: bool,
    /// A train that the kernel did not take; until it does the router is not asked for more.
    pub(super) unsent: Option<Train>,
}

/// Datagrams for one address.
pub(super) struct Train {
    to: SocketAddr,
    bytes: Vec<u8>,
    segment: Option<usize>,
}

impl Port {
    pub(super) const fn new(id: SocketId, udp: Udp) -> Self {
        Self { id, udp, readable: true, unsent: None }
    }

    pub(super) const fn source(&mut self) -> &mut UdpSocket {
        &mut self.udp.socket
    }

    /// False when the kernel takes nothing at the moment.
    fn send(&self, to: SocketAddr, bytes: &[u8], segment: Option<usize>) -> bool {
        if to.port() == 0 {
            // Nobody is there, and what the kernel says to it looks as if it could not send trains.
            return true;
        }
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: segment,
            src_ip: None,
        };
        match self.udp.state.try_send((&self.udp.socket).into(), &transmit) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => false,
            Err(e) => {
                // No route, refused, too large: as if it was lost on the way, which the router knows how to take.
                debug!("datagram to {to} not sent: {e}");
                true
            }
        }
    }

    /// Sends what waits; false when it still does.
    pub(super) fn flush(&mut self) -> bool {
        let Some(Train { to, bytes, segment }) = self.unsent.take() else { return true };
        let sent = self.send(to, &bytes, segment);
        if !sent {
            self.unsent = Some(Train { to, bytes, segment });
        }
        sent
    }
}

/// Where datagrams are read to.
pub(super) struct Intake {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH],
}

impl Intake {
    pub(super) fn new() -> Self {
        let bytes = vec![0; BATCH * MAX_TRAIN].into_boxed_slice();
        Self { bytes, metas: [RecvMeta::default(); BATCH] }
    }
}

impl<M: Machine, H: Host> EventLoop<M, H> {
    /// Takes what waits at the sockets.
    pub(super) fn receive_all(&mut self) {
        let Some(mut intake) = self.intake.take() else { return };
        for index in 0..self.ports.len() {
            for _ in 0..MAX_READS {
                if !self.receive(index, &mut intake) {
                    break;
                }
            }
        }
        self.intake = Some(intake);
    }

    /// One read; false when there is nothing more.
    fn receive(&mut self, index: usize, intake: &mut Intake) -> bool {
        let Some(port) = self.ports.get_mut(index).filter(|port| port.readable) else {
            return false;
        };
        let id = port.id;
        let mut slices = intake.bytes.chunks_mut(MAX_TRAIN).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let read = port.udp.state.recv((&port.udp.socket).into(), &mut slices, &mut intake.metas);
        let trains = match read {
            Ok(trains) => trains,
            Err(e) => {
                // What an ICMP message says of a datagram of ours is no reason to stop: anybody can send these.
                let goes_on = [
                    ErrorKind::ConnectionRefused,
                    ErrorKind::ConnectionReset,
                    ErrorKind::Interrupted,
                ]
                .contains(&e.kind());
                if !goes_on && e.kind() != ErrorKind::WouldBlock {
                    warn!("UDP: cannot receive: {e}");
                }
                port.readable = goes_on;
                return port.readable;
            }
        };
        for (bytes, meta) in intake.bytes.chunks_mut(MAX_TRAIN).zip(intake.metas).take(trains) {
            let Some(payload) = bytes.get_mut(..meta.len).filter(|p| !p.is_empty()) else {
                continue;
            };
            self.unflushed += payload.len();
            let segment = (meta.stride < payload.len()).then_some(meta.stride);
            let datagram = Datagram { socket: id, remote: meta.addr, payload, segment };
            self.call(|m| m.handle_datagram(clock::now(), datagram));
            self.actions();
        }
        self.flush_if_due();
        true
    }

    /// The kernel did not take all datagrams.
    pub(super) fn is_blocked(&self) -> bool {
        self.ports.iter().any(|port| port.unsent.is_some())
    }

    /// Asks the router for datagrams and sends them; `true` when there were some.
    pub(super) fn send_datagrams(&mut self) -> bool {
        let mut any = false;
        let mut buf = std::mem::take(&mut self.write_buf);
        while !self.is_blocked() {
            buf.clear();
            // The kernel may turn out not to be able to cut trains.
            let most = self.ports.iter().map(|port| port.udp.state.max_gso_segments()).min();
            let most = most.unwrap_or(1).clamp(1, MAX_SEGMENTS);
            let made = self.call(|m| m.poll_transmit(clock::now(), most, &mut buf));
            let Some(Some(output::Transmit { socket, remote, segment, .. })) = made else { break };
            any = true;
            let Some(port) = self.ports.iter_mut().find(|port| port.id == socket) else {
                debug!("no socket for {remote}");
                continue;
            };
            if !port.send(remote, &buf, segment) {
                port.unsent = Some(Train { to: remote, bytes: buf.clone(), segment });
            }
        }
        self.write_buf = buf;
        any
    }
}
