//! Configuration as a value. Runtimes parse it from files; every field has a default.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

/// Everything that a user can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The network.
    pub network: Network,
    /// The NTCP2 transport.
    pub ntcp2: Ntcp2,
    /// The SSU2 transport.
    pub ssu2: Ssu2,
    /// The network database.
    pub netdb: NetDb,
    /// Limits on what we carry.
    pub limits: Limits,
    /// When builds and tests of tunnels are given up. Not for users to set.
    pub timing: Timing,
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ntcp2 {
    /// Whether it is used at all.
    pub enabled: bool,
    /// The address to publish; none means not reachable from outside.
    pub host: Option<IpAddr>,
    /// The port to publish and to listen on. A runtime fills in the one it bound before it starts
    /// the router; `None` then means that nobody listens.
    pub port: Option<u16>,
    /// The address to listen on and to connect from; the unspecified address when `None`.
    pub bind: Option<IpAddr>,
    /// Publish the address, if there is a `host`.
    pub publish: bool,
}

/// The SSU2 transport.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ssu2 {
    /// Whether it is used at all.
    pub enabled: bool,
    /// The address to publish; that of NTCP2 when `None`.
    pub host: Option<IpAddr>,
    /// The port to publish, and of the socket that we send from too. A runtime fills in the one it bound before
    /// it starts the router; `None` then means that there is no socket, and no SSU2.
    pub port: Option<u16>,
    /// The address of the socket; when `None`, see [`Config::ssu2_bind`].
    pub bind: Option<IpAddr>,
    /// Publish the address, if there is a host.
    pub publish: bool,
    /// The largest packets that we take, in bytes with IP and UDP headers: [`Self::MIN_MTU`] to
    /// [`Self::MAX_MTU`].
    pub mtu: u16,
}

/// The network database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetDb {
    /// Whether we keep entries of others and answer for them.
    pub floodfill: Floodfill,
}

/// Whether a router is a floodfill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Floodfill {
    /// As soon as it has shown that it is fit, and as long as it is.
    #[default]
    Auto,
    /// Always. Needs a published address.
    On,
    /// Never.
    Off,
}

/// Limits on what we carry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes per second from the network that the router plans with.
    pub bandwidth_in: u64,
    /// Bytes per second to the network that the router plans with.
    pub bandwidth_out: u64,
    /// Per cent of the bandwidth that others may use, 0 to 100.
    pub share: u8,
    /// Tunnels of others that we take part in, 0 to [`Self::MAX_TRANSIT_TUNNELS`].
    pub transit_tunnels: u32,
    /// Sessions with other routers at once. Not for users to set: a runtime lowers it to what its
    /// file descriptors allow.
    pub sessions: u32,
}

/// The shape of a pool of tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tunnels {
    /// Hops, 0 to [`Self::MAX_LENGTH`].
    pub length: u8,
    /// Up to this many hops more, chosen at random for each tunnel, 0 to
    /// [`Self::MAX_LENGTH_VARIANCE`]; with `length` not above [`Self::MAX_LENGTH`].
    pub length_variance: u8,
    /// Tunnels in each direction, 1 to [`Self::MAX_QUANTITY`].
    pub quantity: u8,
}

/// When builds and tests of our tunnels are given up, and how often they are tested. The defaults are
/// measured, and whoever changes them stands out among all other Ramson routers: this is for
/// simulations and for embedders of networks of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// A build without an answer is given up after five times what builds took lately and a second, but
    /// neither before the first of these nor after the second. 1 second to 1 minute.
    pub build_timeout: (Duration, Duration),
    /// After this another build starts beside one whose tunnel is missed. Up to 1 minute; from the
    /// timeout on none does.
    pub hedge_after: Duration,
    /// Tests of a tunnel are between these apart. 1 second to 5 minutes.
    pub test_every: (Duration, Duration),
    /// How long the first test of a tunnel may take. 1 second to 1 minute.
    pub first_test_timeout: Duration,
    /// A later one may take four times the known round trip and a second, but neither less than the
    /// first of these nor more than the second. 1 second to 1 minute.
    pub test_timeout: (Duration, Duration),
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
    /// The name under which its keys are stored; a file name, so that keys of other routers can be
    /// put in place.
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

impl Config {
    /// The address of the listener of NTCP2: where nothing is said, the unspecified address of the family that is
    /// published, IPv4 without one.
    #[must_use]
    pub fn ntcp2_bind(&self) -> IpAddr {
        self.ntcp2.bind.unwrap_or(unspecified(self.ntcp2.host))
    }

    /// The address of the socket of SSU2: where nothing else is said it is beside the listener of NTCP2, else at the
    /// unspecified address of the family that is published, IPv4 without one.
    #[must_use]
    pub fn ssu2_bind(&self) -> IpAddr {
        let beside = self.ntcp2.bind.filter(|ip| self.ssu2.host.is_none() && !ip.is_unspecified());
        let host = self.ssu2.host.or(self.ntcp2.host);
        self.ssu2.bind.or(beside).unwrap_or(unspecified(host))
    }
}

/// All addresses of the family of `host`.
const fn unspecified(host: Option<IpAddr>) -> IpAddr {
    match host {
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V4(_)) | None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

impl Limits {
    /// The most tunnels of others that can be asked for.
    pub const MAX_TRANSIT_TUNNELS: u32 = 50_000;

    /// For a runtime: keeps sessions, and the quarter of strangers that may come on top of them, to four
    /// fifths of the file descriptors that there are. The rest is for local programs, files and
    /// listeners. True when that lowered [`Self::sessions`].
    pub fn fit_descriptors(&mut self, descriptors: u64) -> bool {
        let sessions = u32::try_from(descriptors.saturating_mul(16) / 25).unwrap_or(u32::MAX);
        let too_many = sessions < self.sessions;
        if too_many {
            self.sessions = sessions;
        }
        too_many
    }
}

impl Ssu2 {
    /// What every path of the internet has to carry.
    pub const MIN_MTU: u16 = 1280;
    /// What Ethernet carries.
    pub const MAX_MTU: u16 = 1500;
}

impl Timing {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_secs(60);
        let bounds = [
            ("build_timeout", self.build_timeout, MINUTE),
            ("test_every", self.test_every, 5 * MINUTE),
            ("first_test_timeout", (self.first_test_timeout, self.first_test_timeout), MINUTE),
            ("test_timeout", self.test_timeout, MINUTE),
        ];
        for (name, (least, most), max) in bounds {
            if least > most {
                return Err(format!(
                    "timing.{name}: the least, {least:?}, is above the most, {most:?}"
                ));
            }
            if least < SECOND || most > max {
                return Err(format!(
                    "timing.{name}: {least:?} to {most:?} is not within 1s to {max:?}"
                ));
            }
        }
        if self.hedge_after > MINUTE {
            return Err(format!("timing.hedge_after: {:?} is above {MINUTE:?}", self.hedge_after));
        }
        Ok(())
    }
}

impl Default for Timing {
    /// i2pd's hops answer within a second; the rest is the network.
    fn default() -> Self {
        Self {
            build_timeout: (Duration::from_secs(3), Duration::from_secs(10)),
            hedge_after: Duration::from_millis(2500),
            test_every: (Duration::from_secs(10), Duration::from_secs(15)),
            first_test_timeout: Duration::from_secs(6),
            test_timeout: (Duration::from_millis(2500), Duration::from_secs(8)),
        }
    }
}

impl Tunnels {
    /// The most hops of a tunnel: a build message has eight records, one of them to spare.
    pub const MAX_LENGTH: u8 = 7;
    /// The most random extra hops.
    pub const MAX_LENGTH_VARIANCE: u8 = 2;
    /// The most tunnels in one direction: as many leases as a LeaseSet2 holds.
    pub const MAX_QUANTITY: u8 = 16;
}

impl HttpProxy {
    /// Where to listen when nothing is said: port 4444 of this machine only.
    pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4444);
    /// The name under which its keys are stored.
    pub const KEYS: &str = "http_proxy.dat";

    /// A proxy at `listen`, with default tunnels.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, tunnels: Tunnels::default() }
    }
}

impl Server {
    /// A TCP server tunnel with default tunnels; its keys are stored as `NAME.dat`.
    #[must_use]
    pub fn new(name: &str, target: SocketAddr) -> Self {
        Self {
            name: name.into(),
            target,
            kind: ServerKind::Tcp,
            keys: format!("{name}.dat").into(),
            tunnels: Tunnels::default(),
        }
    }
}

impl Client {
    /// A client tunnel with default tunnels.
    #[must_use]
    pub fn new(name: &str, listen: SocketAddr, destination: &str) -> Self {
        Self {
            name: name.into(),
            listen,
            destination: destination.into(),
            tunnels: Tunnels::default(),
        }
    }

    /// The name under which its keys are stored.
    #[must_use]
    pub fn keys(&self) -> String {
        format!("client-{}.dat", self.name)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { id: 2, allow_local: false }
    }
}

impl Default for Ntcp2 {
    /// Published as soon as a host is set.
    fn default() -> Self {
        Self { enabled: true, host: None, port: None, bind: None, publish: true }
    }
}

impl Default for Ssu2 {
    /// Published as soon as a host is set, here or for NTCP2.
    fn default() -> Self {
        Self {
            enabled: true,
            host: None,
            port: None,
            bind: None,
            publish: true,
            mtu: Self::MAX_MTU,
        }
    }
}

impl Default for Limits {
    /// 16 MiB/s each way, so that own downloads are seldom held back, of which others may use a
    /// tenth.
    fn default() -> Self {
        Self {
            bandwidth_in: 16 << 20,
            bandwidth_out: 16 << 20,
            share: 10,
            transit_tunnels: 5000,
            sessions: 2000,
        }
    }
}

impl Default for Tunnels {
    /// Three hops, two tunnels each way.
    fn default() -> Self {
        Self { length: 3, length_variance: 0, quantity: 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_is_within_bounds_or_refused_by_name() {
        assert_eq!(Timing::default().check(), Ok(()));
        let check = |change: fn(&mut Timing)| {
            let mut timing = Timing::default();
            change(&mut timing);
            timing.check()
        };
        assert_eq!(
            check(|t| t.build_timeout = (Duration::from_secs(60), Duration::from_secs(60))),
            Ok(())
        );
        for (refused, name) in [
            (check(|t| t.build_timeout.0 = Duration::from_secs(11)), "build_timeout: the least"),
            (check(|t| t.build_timeout.1 = Duration::from_secs(61)), "build_timeout"),
            (check(|t| t.hedge_after = Duration::from_secs(61)), "hedge_after"),
            (check(|t| t.test_every = (Duration::ZERO, Duration::from_secs(15))), "test_every"),
            (check(|t| t.test_every.1 = Duration::from_secs(301)), "test_every"),
            (check(|t| t.first_test_timeout = Duration::from_millis(999)), "first_test_timeout"),
            (
                check(|t| t.test_timeout = (Duration::from_secs(9), Duration::from_secs(8))),
                "test_timeout",
            ),
        ] {
            assert!(refused.as_ref().is_err_and(|e| e.contains(name)), "{name}: {refused:?}");
        }
    }

    #[test]
    fn the_socket_of_ssu2_is_beside_the_listener_of_ntcp2() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut config = Config::default();
        assert_eq!(config.ssu2_bind(), ip("0.0.0.0"));
        config.ntcp2.host = Some(ip("2001:db8::1"));
        assert_eq!(config.ssu2_bind(), ip("::"));
        config.ntcp2.bind = Some(ip("10.0.0.1"));
        assert_eq!(config.ssu2_bind(), ip("10.0.0.1"));
        // A listener there takes IPv4 too; a socket for datagrams has one family.
        config.ntcp2.bind = Some(ip("::"));
        config.ntcp2.host = Some(ip("192.0.2.1"));
        assert_eq!(config.ssu2_bind(), ip("0.0.0.0"));
        config.ssu2.host = Some(ip("2001:db8::2"));
        assert_eq!(config.ssu2_bind(), ip("::"));
        config.ssu2.bind = Some(ip("10.0.0.2"));
        assert_eq!(config.ssu2_bind(), ip("10.0.0.2"));
    }

    #[test]
    fn sessions_leave_descriptors_for_the_rest() {
        let mut limits = Limits::default();
        assert!(!limits.fit_descriptors(u64::MAX) && !limits.fit_descriptors(4096));
        assert_eq!(limits, Limits::default());
        assert!(limits.fit_descriptors(1000));
        // 640, and 160 strangers.
        assert_eq!(limits.sessions, 640);
        assert!(!limits.fit_descriptors(2000), "never raised");
    }
}
