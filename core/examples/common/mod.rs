//! What is the same in every loop on this machine: clocks, entropy, and a network to try it in.

pub(crate) mod apps;

use ramson_core::config::{Config, Floodfill, Tunnels};
use ramson_core::rng::Seed;
use ramson_core::time::{Instant, UnixTime};
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What may go wrong in an example.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Routers of the network.
pub(crate) const ROUTERS: usize = 3;
/// Long enough for everything here, on a slow machine too.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The clocks that a router is told.
#[derive(Clone, Copy)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Monotonic, from any zero. One that counts on while the machine sleeps is better.
    pub(crate) fn now(self) -> Instant {
        Instant::from_micros(self.0.elapsed().as_micros() as u64)
    }

    pub(crate) fn unix(self) -> UnixTime {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        UnixTime::from_millis(since.as_millis() as u64)
    }
}

/// Entropy for one router.
pub(crate) fn seed() -> Result<Seed, Failed> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| e.to_string())?;
    Ok(Seed::new(seed))
}

/// A router of a private network of very few, which listens on `port` of this machine. One in the
/// I2P network has `Config::default()`, and `Stored::reseed` to start from.
pub(crate) fn config(port: u16) -> Config {
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut config = Config::default();
    // No real network has this number.
    config.network.id = 99;
    config.network.allow_local = true;
    (config.ntcp2.host, config.ntcp2.bind, config.ntcp2.port) = (Some(ip), Some(ip), Some(port));
    config.netdb.floodfill = Floodfill::On;
    config.limits.share = 100;
    config.exploratory = tunnels();
    config
}

/// Tunnels of one hop: three routers have no more to give. The default is three hops.
pub(crate) fn tunnels() -> Tunnels {
    let mut tunnels = Tunnels::default();
    (tunnels.length, tunnels.quantity) = (1, 2);
    tunnels
}
