//! What a runtime hands to the router.

use super::output::StoreKey;
pub use crate::conn::ConnId;
use crate::wire::hash::Hash;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Handle for an effect that is answered later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub(crate) u64);

impl EffectId {
    /// A number unique to the effect in one run of the router; the same in a second run with the same
    /// inputs.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Handle of a local UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u16);

impl SocketId {
    /// SSU2's socket for IPv4.
    pub const IPV4: Self = Self(0);
    /// SSU2's socket for IPv6.
    pub const IPV6: Self = Self(1);
}

/// A local listener that the runtime bound because the configuration asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Listener {
    /// Other routers.
    Ntcp2,
    /// The HTTP proxy.
    HttpProxy,
    /// The client tunnel with this index in the configuration.
    Client(u16),
    /// The control socket, reachable by the owner of the data folder only.
    Control,
}

/// Where an accepted stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// An IP address.
    Ip(SocketAddr),
    /// A process of this machine, over a local socket.
    Local,
}

/// One received UDP payload; `segment` is the size of each datagram when the kernel coalesced
/// several of them.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The socket that received it.
    pub socket: SocketId,
    /// The sender.
    pub remote: SocketAddr,
    /// The bytes, decrypted in place.
    pub payload: &'a mut [u8],
    /// Size of each datagram in a coalesced train.
    pub segment: Option<usize>,
}

/// What happened on a byte stream.
#[derive(Debug)]
pub enum ConnInput<'a> {
    /// A listener accepted it.
    Accepted {
        /// The other end.
        remote: Remote,
        /// Who accepted.
        listener: Listener,
    },
    /// The connect that [`Action::Connect`](super::output::Action::Connect) asked for is done.
    Connected,
    /// Bytes arrived; they may be decrypted in place.
    Bytes(&'a mut [u8]),
    /// The peer finished writing.
    ReadClosed,
    /// The stream is gone, or never came to be. The handle is dead.
    Failed(ConnError),
}

/// Why a stream failed, in the core's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// No answer in time.
    #[error("timed out")]
    TimedOut,
    /// The peer reset it.
    #[error("connection reset")]
    Reset,
    /// No route, no permission, no descriptor, and the like.
    #[error("connection failed")]
    Other,
}

/// How far the router took the bytes it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Consumed {
    /// Bytes taken. The runtime keeps the rest and offers it again after a `Resume`; a rest counts
    /// as `pause`.
    pub taken: usize,
    /// Stop reading this stream until [`Action::Resume`](super::output::Action::Resume).
    pub pause: bool,
}

/// Answers to effects.
#[derive(Debug)]
#[non_exhaustive]
pub enum Completion {
    /// From [`Job::run`](super::job::Job::run).
    Job(super::job::Done),
    /// The job panicked. Whatever waits for it is given up; the panic itself was logged.
    JobFailed,
}

/// What the embedder wants.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Stop taking part, say goodbye to peers, flush. [`Event::Stopped`](super::output::Event)
    /// follows.
    Shutdown,
}

/// What the runtime found in its store at start. Absent keys are made and persisted.
#[derive(Default)]
#[non_exhaustive]
pub struct Stored {
    /// The router's keys, as persisted earlier.
    pub router_keys: Option<Vec<u8>>,
    /// Destination keys by the name under which they are persisted.
    pub destinations: BTreeMap<Box<str>, Vec<u8>>,
    /// RouterInfos from the store; each is checked before use.
    pub router_infos: Vec<Arc<[u8]>>,
    /// Files that the user gave for a first start: RouterInfos, and zip archives of them, unopened.
    /// When none of them can be used, and nothing in the store, the router does not start.
    pub reseed: Vec<Arc<[u8]>>,
    /// Peer profiles by router hash.
    pub profiles: BTreeMap<Hash, Vec<u8>>,
    /// Address book files, later ones do not override earlier ones.
    pub hosts: Vec<Vec<u8>>,
    /// What was persisted as [`StoreKey::AddressBook`].
    pub learned_hosts: Option<Vec<u8>>,
}

impl Stored {
    /// Takes over what was persisted as `key`.
    pub fn put(&mut self, key: &StoreKey, value: &Arc<[u8]>) {
        match key {
            StoreKey::RouterKeys => self.router_keys = Some(value.to_vec()),
            StoreKey::DestinationKeys(name) => {
                self.destinations.insert(name.clone(), value.to_vec());
            }
            StoreKey::NetDb(_) => self.router_infos.push(value.clone()),
            StoreKey::Profile(hash) => {
                self.profiles.insert(*hash, value.to_vec());
            }
            StoreKey::AddressBook => self.learned_hosts = Some(value.to_vec()),
            // Our own RouterInfo is for others.
            StoreKey::RouterInfo => {}
        }
    }
}
