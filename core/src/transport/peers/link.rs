//! What is known of one session, whatever carries it.

use super::route::Route;
use crate::conn::ConnId;
use crate::time::Instant;
use crate::transport::prefix;
use crate::transport::queue::SendQueue;
use crate::wire::hash::Hash;
use crate::wire::router_info::RouterInfo;
use crate::wire::ssu2::ConnectionId;
use alloc::collections::VecDeque;
use core::net::{IpAddr, SocketAddr};

/// Which session: one over a byte stream, or one of the datagram sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkId {
    /// NTCP2.
    Stream(ConnId),
    /// SSU2.
    Datagram(ConnectionId),
}

/// A session, from its first byte to its goodbye.
pub(super) struct Link {
    pub(super) peer: Option<Hash>,
    pub(super) remote: SocketAddr,
    pub(super) inbound: bool,
    /// When its handshake was done.
    pub(super) up_at: Option<Instant>,
    /// When it carried a message.
    pub(super) used: Instant,
    /// When it brought a message.
    pub(super) heard: Instant,
    /// Where it came from, if it is up and inbound.
    pub(super) place: Option<Place>,
    /// When it ends because another session took over.
    pub(super) retire_at: Option<Instant>,
    /// When the peer gets our RouterInfo anew.
    pub(super) inform_at: Option<Instant>,
    pub(super) timer: Option<Instant>,
    /// What is tried when it does not come about.
    pub(super) routes: VecDeque<Route>,
    /// What is to be sent when it, or what is tried after it, is up.
    pub(super) waiting: SendQueue,
}

impl Link {
    pub(super) fn new(peer: Option<Hash>, remote: SocketAddr, now: Instant) -> Self {
        Self {
            peer,
            remote,
            inbound: peer.is_none(),
            up_at: None,
            used: now,
            heard: now,
            place: None,
            retire_at: None,
            inform_at: None,
            timer: None,
            routes: VecDeque::new(),
            waiting: SendQueue::default(),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up_at.is_some()
    }

    /// Somebody who came to us and has not proved who it is.
    pub(super) const fn is_stranger(&self) -> bool {
        self.inbound && !self.is_up()
    }
}

/// Where an inbound session comes from, and whether its peer publishes that address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    published: bool,
    prefix: u128,
}

impl Place {
    pub(super) fn of(ip: IpAddr, info: &RouterInfo) -> Self {
        let ip = ip.to_canonical();
        let ntcp2 = info.ntcp2_addresses().filter_map(|address| address.host);
        let ssu2 = info.ssu2_addresses().filter_map(|address| address.host);
        let published = ntcp2.chain(ssu2).any(|host| self::prefix(host.ip()) == self::prefix(ip));
        let prefix = match ip {
            IpAddr::V4(v4) if !published => u128::from(u32::from(v4) >> 8 << 8),
            IpAddr::V6(v6) if !published => u128::from(v6) >> 80 << 80 | 1,
            IpAddr::V4(_) | IpAddr::V6(_) => prefix(ip),
        };
        Self { published, prefix }
    }
}
