//! Configuration as a value. Runtimes parse it from files; every field has a default.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// Everything that a user can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The network.
    pub network: Network,
    /// The NTCP2 transport.
    pub ntcp2: Ntcp2,
    /// Limits on what we carry.
    pub limits: Limits,
    /// Exploratory tunnels.
    pub exploratory: Tunnels,
    /// Defaults for client tunnels.
    pub client: Tunnels,
    /// The HTTP proxy; `None` when it is off.
    pub http_proxy: Option<HttpProxy>,
    /// Server tunnels.
    pub servers: Vec<Server>,
    /// Client tunnels.
    pub clients: Vec<Client>,
}

/// Which network, and whether it may be a private one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Network {
    /// Network id; 2 is the public network.
    pub id: u8,
    /// For test networks: accept loopback and private addresses, lift the subnet rule for hops.
    pub allow_local: bool,
}

/// The NTCP2 transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ntcp2 {
    /// The address to publish; none means not reachable from outside.
    pub host: Option<IpAddr>,
    /// The port to publish and to listen on; `None` lets the operating system choose.
    pub port: Option<u16>,
    /// The address to listen on and to connect from; the unspecified address when `None`.
    pub bind: Option<IpAddr>,
    /// Publish the address, if there is a `host`.
    pub publish: bool,
}

/// Limits on what we carry, for ourselves and others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes per second from the network.
    pub bandwidth_in: u64,
    /// Bytes per second to the network.
    pub bandwidth_out: u64,
    /// Per cent of the bandwidth that others may use, 0 to 100.
    pub share: u8,
    /// Tunnels of others that we take part in.
    pub transit_tunnels: u32,
}

/// The shape of a pool of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tunnels {
    /// Hops, 0 to 7.
    pub length: u8,
    /// Up to this many hops more, chosen at random for each tunnel, 0 to 2.
    pub length_variance: u8,
    /// Tunnels in each direction, 1 to 16.
    pub quantity: u8,
}

/// The HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpProxy {
    /// Where browsers connect.
    pub listen: SocketAddr,
    /// Its tunnels.
    pub tunnels: Tunnels,
}

/// What a server tunnel speaks to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerKind {
    /// Bytes as they come.
    Tcp,
    /// HTTP: identifying request headers are replaced.
    Http,
}

/// A server tunnel: a destination that forwards its streams to a local target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// A name for logs and statistics, unique.
    pub name: Box<str>,
    /// Where streams go.
    pub target: SocketAddr,
    /// What is spoken there.
    pub kind: ServerKind,
    /// The name under which its keys are stored.
    pub keys: Box<str>,
    /// Its tunnels.
    pub tunnels: Tunnels,
}

/// A client tunnel: a local port whose connections go to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// A name for logs and statistics, unique.
    pub name: Box<str>,
    /// Where programs connect.
    pub listen: SocketAddr,
    /// Host name, `.b32.i2p` address or base64 destination, with an optional `:port`.
    pub destination: String,
    /// Its tunnels.
    pub tunnels: Tunnels,
}

impl Default for Network {
    fn default() -> Self {
        Self { id: 2, allow_local: false }
    }
}

impl Default for Limits {
    /// 1 MiB/s each way, of which others may use four fifths.
    fn default() -> Self {
        Self { bandwidth_in: 1 << 20, bandwidth_out: 1 << 20, share: 80, transit_tunnels: 5000 }
    }
}

impl Default for Tunnels {
    /// Three hops, two tunnels each way.
    fn default() -> Self {
        Self { length: 3, length_variance: 0, quantity: 2 }
    }
}
