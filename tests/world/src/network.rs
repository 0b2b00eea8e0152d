//! A ready-made network: floodfills, routers, one with an HTTP proxy and one with a site.

use crate::content::content;
use crate::world::{NodeId, World};
use ramson_core::config::{Config, Floodfill, HttpProxy, Server, ServerKind, Tunnels};
use ramson_core::keys::DestinationKeys;
use ramson_core::router::output::{Event, StoreKey};
use ramson_core::wire::identity::Identity;
use std::net::SocketAddr;
use std::time::Duration;

/// Not the public network, which has 2.
const NET_ID: u8 = 99;
const SITE: &str = "site";

/// What the next router of a world begins with.
pub(crate) fn router(world: &World, tunnels: Tunnels) -> Config {
    let mut config = Config::default();
    config.network.id = NET_ID;
    config.ntcp2.host = Some(world.next_address());
    config.ntcp2.port = Some(12_345);
    config.exploratory = tunnels;
    config
}

/// It has a site, ...
pub(crate) fn add_site(config: &mut Config, tunnels: Tunnels) {
    let mut site = Server::new(SITE, SocketAddr::from(([127, 0, 0, 1], 80)));
    (site.kind, site.tunnels) = (ServerKind::Http, tunnels);
    config.servers.push(site);
}

/// ... or a proxy to read others'.
pub(crate) fn add_proxy(config: &mut Config, tunnels: Tunnels) {
    let mut proxy = HttpProxy::new(HttpProxy::DEFAULT_LISTEN);
    proxy.tunnels = tunnels;
    config.http_proxy = Some(proxy);
}

/// Hops, and tunnels each way.
pub(crate) fn tunnels(length: u8, quantity: u8) -> Tunnels {
    let mut tunnels = Tunnels::default();
    (tunnels.length, tunnels.quantity) = (length, quantity);
    tunnels
}

/// The nodes that have a site.
pub(crate) fn hosts(world: &World) -> impl Iterator<Item = NodeId> {
    world.nodes().filter(|id| world.stored(*id, &site_key()).is_some())
}

/// The destination of a node's site.
///
/// # Panics
/// When it never had one.
pub(crate) fn site(world: &World, host: NodeId) -> Identity {
    let stored = world.stored(host, &site_key()).unwrap();
    DestinationKeys::decode(stored).unwrap().identity
}

fn site_key() -> StoreKey {
    StoreKey::DestinationKeys(format!("{SITE}.dat").into())
}

/// Where the site of a node is.
///
/// # Panics
/// When it never had one.
pub(crate) fn site_url(world: &World, host: NodeId) -> String {
    format!("http://{}", site(world, host).b32_address())
}

/// How large, and how long the tunnels.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Routers in all.
    pub routers: usize,
    /// Floodfills besides.
    pub floodfills: usize,
    /// Hops of every tunnel.
    pub length: u8,
    /// Tunnels of each destination in each direction.
    pub quantity: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self { routers: 8, floodfills: 2, length: 3, quantity: 2 }
    }
}

/// A world with everything that a fetch needs.
pub struct SmallWorld {
    /// The world.
    pub world: World,
    /// The floodfills.
    pub floodfills: Vec<NodeId>,
    /// The router with the proxy.
    pub reader: NodeId,
    /// The router with the site.
    pub host: NodeId,
    /// All other routers.
    pub others: Vec<NodeId>,
}

impl SmallWorld {
    /// Builds it; everybody knows everybody.
    #[must_use]
    pub fn new(seed: u64, shape: Shape) -> Self {
        Self::with_neighbours(seed, shape, 1)
    }

    /// The same, with so many routers in each /16.
    #[must_use]
    pub fn with_neighbours(seed: u64, shape: Shape, neighbours: usize) -> Self {
        let mut world = World::new(seed);
        world.set_neighbours(neighbours);
        let tunnels = tunnels(shape.length, shape.quantity);
        let mut floodfills = Vec::new();
        for _ in 0..shape.floodfills {
            let mut config = router(&world, tunnels);
            config.netdb.floodfill = Floodfill::On;
            floodfills.push(world.add_router(config));
        }
        let mut routers = Vec::new();
        for n in 0..shape.routers {
            let mut config = router(&world, tunnels);
            match n {
                0 => add_proxy(&mut config, tunnels),
                1 => add_site(&mut config, tunnels),
                _ => {}
            }
            routers.push(world.add_router(config));
        }
        let everybody: Vec<NodeId> = floodfills.iter().chain(&routers).copied().collect();
        world.introduce(&everybody);
        let (reader, host) = (routers[0], routers[1]);
        Self { world, floodfills, reader, host, others: routers.split_off(2) }
    }

    /// Runs until reader and host have their tunnels and every floodfill the site's lease set.
    ///
    /// # Panics
    /// When they do not within `limit` of virtual time.
    pub fn wait_ready(&mut self, limit: Duration) {
        let (reader, host) = (self.reader, self.host);
        let ready = |w: &World, id| w.happened(id).contains(&Event::Ready);
        let floodfills = self.floodfills.clone();
        let published = |w: &World, id: &NodeId| w.floodfill(*id).is_some_and(|f| f.kept > 0);
        let up = self.world.run_until(limit, |w| {
            ready(w, reader) && ready(w, host) && floodfills.iter().all(|id| published(w, id))
        });
        assert!(up, "not ready within {limit:?}");
    }

    /// The name of the site.
    #[must_use]
    pub fn site(&self) -> String {
        site_url(&self.world, self.host).trim_start_matches("http://").to_owned()
    }

    /// Fetches `n` bytes of the site and compares them.
    pub fn fetch(&mut self, n: usize, limit: Duration) -> Result<(), String> {
        let url = format!("http://{}/{n}", self.site());
        let answer = self.world.fetch(self.reader, &url, limit)?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        // Whatever happens to the network: what comes is what was sent.
        assert!(answer.body == content(n), "{} wrong bytes for {n}", answer.body.len());
        Ok(())
    }

    /// Fetches again and again until one succeeds, at most for `limit`; says how many failed.
    pub fn fetch_until(&mut self, n: usize, limit: Duration) -> Result<usize, String> {
        let end = self.world.now() + limit;
        for failed in 0.. {
            let left = end.saturating_since(self.world.now());
            match self.fetch(n, left) {
                Ok(()) => return Ok(failed),
                Err(e) if self.world.now() >= end => return Err(e),
                Err(_) => self.world.run_for(Duration::from_secs(1)),
            }
        }
        Ok(0)
    }
}

/// The scenario of the program `small-world`: tunnels, then a page every ten seconds for two
/// minutes, one of them large, while a router in the middle crashes and comes back. One line that
/// tells all, and the number of fetches that failed.
#[must_use]
pub fn small_world(seed: u64, shape: Shape) -> (String, usize) {
    let mut small = SmallWorld::new(seed, shape);
    small.wait_ready(Duration::from_secs(120));
    let (mut fetched, mut failed) = (0, 0);
    for round in 0..12 {
        let hop = small.others[0];
        match round {
            4 => small.world.crash(hop),
            8 => small.world.start(hop),
            _ => {}
        }
        let size = if round == 2 { 300_000 } else { 2_000 };
        let limit = Duration::from_secs(60);
        match small.fetch_until(size, limit) {
            Ok(_) => fetched += 1,
            Err(_) => failed += 1,
        }
        small.world.run_for(Duration::from_secs(10));
    }
    let world = &small.world;
    let line = format!(
        "seed {seed}: {} routers, {} events, {} ms, {fetched} fetches, {failed} failed, digest {}",
        shape.routers,
        world.events(),
        world.now().as_micros() / 1000,
        world.digest(),
    );
    (line, failed)
}
