//! What SSU2's datagrams bring, and those to send.

use super::link::{Link, LinkId};
use super::{Ending, PeerEvent, Peers};
use crate::time::{Instant, UnixTime};
use crate::transport::Peer;
use crate::transport::ssu2::endpoint::Sender;
use crate::transport::ssu2::{EndpointEvent, HandshakeError, SessionEvent};
use crate::wire::ssu2::ConnectionId;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Datagrams shorter than this go alone: what follows is most often longer, and a train has one length.
const MIN_TRAIN: usize = 1200;

/// A datagram and where it goes.
pub(super) struct Parcel {
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Datagrams for one address that were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Train {
    pub(crate) to: SocketAddr,
    /// Bytes in all.
    pub(crate) len: usize,
    /// Bytes of each; the last one may have less.
    pub(crate) segment: usize,
}

impl Peers {
    /// A datagram arrived.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: SocketAddr,
        packet: &mut [u8],
    ) {
        let Some(ssu2) = &mut self.ssu2 else { return };
        self.bytes.received += packet.len() as u64;
        if ssu2.handle_datagram(now, unix, from, packet) {
            self.heard = Some(now);
            // Nobody can be kept from sending datagrams; streams give way to those of peers, not to anybody's.
            let _ = self.inbound.available(now);
            self.inbound.take(packet.len());
        }
        self.drain(now, unix);
    }

    /// Appends up to `max` datagrams for one address to `out`, all of one length but the last.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        unix: UnixTime,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Option<Train> {
        if let Some(Parcel { to, bytes }) = self.parcel.take() {
            out.extend_from_slice(&bytes);
            return Some(Train { to, len: bytes.len(), segment: bytes.len() });
        }
        let train = self.make_train(now, unix, max, out);
        self.drain(now, unix);
        train
    }

    fn make_train(
        &mut self,
        now: Instant,
        unix: UnixTime,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Option<Train> {
        let start = out.len();
        let (sender, to) = self.next_datagram(now, unix, out)?;
        let segment = out.len() - start;
        let mut last = segment;
        let mut count = 1;
        while sender != Sender::Answer && last == segment && segment >= MIN_TRAIN && count < max {
            let end = out.len();
            let Some(next) = self.datagram_of(now, unix, sender, out) else { break };
            last = out.len() - end;
            count += 1;
            if next != to || last > segment {
                self.parcel = Some(Parcel { to: next, bytes: out.split_off(end) });
                break;
            }
        }
        Some(Train { to, len: out.len() - start, segment })
    }

    /// The next datagram of whoever's turn it is.
    fn next_datagram(
        &mut self,
        now: Instant,
        unix: UnixTime,
        out: &mut Vec<u8>,
    ) -> Option<(Sender, SocketAddr)> {
        while let Some(sender) = self.ssu2.as_mut()?.next_sender() {
            if let Some(to) = self.datagram_of(now, unix, sender, out) {
                return Some((sender, to));
            }
        }
        None
    }

    /// The next datagram of `sender`, if it has one and the bandwidth allows it.
    fn datagram_of(
        &mut self,
        now: Instant,
        unix: UnixTime,
        sender: Sender,
        out: &mut Vec<u8>,
    ) -> Option<SocketAddr> {
        let ssu2 = self.ssu2.as_mut()?;
        // Handshakes, answers and goodbyes are not held back by what traffic used up.
        if let Sender::Session(conn) = sender
            && let id = LinkId::Datagram(conn)
            && self.links.get(&id).is_some_and(Link::is_up)
            && self.outbound.room(now, id) == 0
        {
            if ssu2.hold(now, conn) {
                self.outbound.wait(id);
            }
            return None;
        }
        let start = out.len();
        let to = ssu2.transmit(now, unix, sender, out);
        let n = out.len() - start;
        if let Sender::Session(conn) = sender {
            self.outbound.wrote(LinkId::Datagram(conn), n);
        }
        self.bytes.sent += n as u64;
        to
    }

    /// Takes what SSU2 says; false when that is nothing.
    pub(super) fn drain_datagrams(&mut self, now: Instant, unix: UnixTime) -> bool {
        let mut any = false;
        while let Some((id, event)) = self.ssu2.as_mut().and_then(|ssu2| ssu2.poll_event()) {
            any = true;
            self.handle_datagram_event(now, unix, id, event);
        }
        any
    }

    fn handle_datagram_event(
        &mut self,
        now: Instant,
        unix: UnixTime,
        conn: ConnectionId,
        event: EndpointEvent,
    ) {
        let id = LinkId::Datagram(conn);
        match event {
            EndpointEvent::Established { peer, skew, .. } => {
                if let Peer::Inbound { .. } = peer {
                    let remote = self.ssu2.as_ref().and_then(|ssu2| ssu2.session(conn));
                    let Some(remote) = remote.map(|session| session.remote()) else { return };
                    self.links.insert(id, Link::new(None, remote, now));
                    if self.closing {
                        return self.close(now, id, Ending::Shutdown);
                    }
                }
                self.established(now, id, peer, skew);
            }
            EndpointEvent::Failed(error) => {
                let peer = self.links.get(&id).and_then(|link| link.peer);
                log::debug!("no session with {peer:?} over SSU2: {error}");
                self.closed(now, unix, id);
                if let HandshakeError::ClockSkew(seconds) = error {
                    self.events.push_back(PeerEvent::Skewed { peer, seconds });
                }
            }
            EndpointEvent::TimedOut => {
                log::debug!("no session over SSU2: no answer");
                self.closed(now, unix, id);
            }
            EndpointEvent::Session(SessionEvent::Message(message)) => {
                self.received(now, id, message);
            }
            EndpointEvent::Session(SessionEvent::RouterInfo { info, .. }) => {
                self.informed(id, info)
            }
            EndpointEvent::Session(SessionEvent::Moved(remote)) => {
                if let Some(link) = self.links.get_mut(&id) {
                    log::debug!("{:?} moved from {} to {remote}", link.peer, link.remote);
                    link.remote = remote;
                }
            }
            EndpointEvent::Session(SessionEvent::Closed(result)) => {
                let peer = self.links.get(&id).and_then(|link| link.peer);
                log::debug!("session with {peer:?} over SSU2 ended: {result:?}");
                self.closed(now, unix, id);
            }
            EndpointEvent::Session(
                SessionEvent::Skew(_) | SessionEvent::Address(_) | SessionEvent::NewToken { .. },
            ) => {}
        }
    }
}
