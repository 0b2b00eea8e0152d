//! The router in the middle of all tunnels of two real ones, which are i2pd, and so are the other
//! hops: one has a site, the other a proxy, and something is fetched again and again.

use crate::middle::{EXE, Kind, config, data, read_info};
use ramson_tests::http::{get_until, request, serve};
use ramson_tests::i2pd::{self, Network, Transport, Tunnel};
use ramson_tests::node::{self, Node};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// The i2pd in the middle, and where ours listens instead.
const MIDDLE: usize = 4;
const ROUTERS: usize = 5;
const PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4448);
const LONG: Duration = Duration::from_secs(240);
const MEASURE: Duration = Duration::from_secs(20);
const SIZE: usize = 5_000_000;

/// The addresses of all.
pub(crate) fn addresses() -> Vec<Ipv4Addr> {
    i2pd::addresses(ROUTERS, 1)
}

/// What the router in the middle did: bytes of cells a second, and microseconds of CPU a KiB of them.
pub(crate) struct Measured {
    pub(crate) bytes_per_second: f64,
    pub(crate) micros: f64,
    pub(crate) fetched_per_second: f64,
}

pub(crate) fn measure(kind: Kind, transport: Transport) -> Measured {
    let ours = i2pd::address(ROUTERS);
    let folder = data();
    let _ = std::fs::remove_dir_all(&folder);
    // Ours is started twice, as the others are: the first time to make its keys.
    let extra = match kind {
        Kind::I2pd => Vec::new(),
        Kind::Ramson => {
            let _node = Node::start(EXE, &folder, &config(transport, ours, None));
            vec![read_info(&folder.join("router.info"))]
        }
    };
    let infos: Vec<Vec<u8>> = extra.iter().map(|info| info.as_bytes().to_vec()).collect();
    let mut network = Network::start_over(transport, "relay", ROUTERS, 2, &[], &infos);
    let node = extra
        .first()
        .map(|_| Node::start(EXE, &folder, &config(transport, ours, Some(&network.net_db()))));
    let middle = extra.first().map_or_else(|| network.hash(MIDDLE), |info| info.hash());
    let site = serve(TcpListener::bind("127.0.0.1:0").unwrap());
    let path = [network.hash(0), middle, network.hash(1)];
    network.set_tunnels(3, &[(3, Tunnel::Site(site))], &path);
    network.set_tunnels(2, &[(2, Tunnel::Proxy(PROXY.port()))], &path);
    network.reach_site(3, PROXY, LONG);
    let url = format!("http://{}/{SIZE}", network.site(3));
    get_until(PROXY, &url, LONG);

    let state = |network: &Network| match &node {
        Some(node) => {
            let info = Node::info(EXE, &folder);
            (node.usage().1, info["transit"]["messages"].as_f64().unwrap() * 1028.0)
        }
        None => {
            let pid = network.pid(MIDDLE).expect("runs");
            (node::usage(pid).1, network.relayed(MIDDLE))
        }
    };
    let before = state(&network);
    let start = Instant::now();
    let mut fetched = 0;
    while start.elapsed() < MEASURE {
        let answer = request(PROXY, "GET", &url, &[], LONG);
        fetched += answer.map_or(0, |a| a.body.len());
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = state(&network);
    let relayed = after.1 - before.1;
    drop(node);
    let _ = std::fs::remove_dir_all(&folder);
    Measured {
        bytes_per_second: relayed / seconds,
        micros: (after.0 - before.0) * 1e6 / (relayed / 1024.0),
        fetched_per_second: fetched as f64 / seconds,
    }
}
