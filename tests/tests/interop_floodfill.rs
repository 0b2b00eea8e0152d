//! Half i2pd, half Ramson, and all floodfills are Ramson: each kind publishes to them and finds there
//! what the other kind published.

use ramson_tests::http::{content, get_until, request, serve};
use ramson_tests::i2pd::{self, Network, Tunnel, wait};
use ramson_tests::namespace;
use ramson_tests::node::Node;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
/// Routers of each kind.
const EACH: usize = 6;
const FETCHES: usize = 20;
const THEIR_PROXY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4448);
const OUR_PROXY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4444);

/// The configuration of Ramson router `i`: the first has the proxy, the second the site.
fn config(i: usize, reseed: Option<&Path>, site: SocketAddr) -> String {
    let address = i2pd::address(EACH + i);
    let mut text = format!(
        "[network]\nid = {}\nallow_local = true\n\
         [ntcp2]\nhost = \"{address}\"\nport = 30000\nbind = \"{address}\"\n\
         [netdb]\nfloodfill = \"on\"\n\
         [limits]\nbandwidth_in = 100000000\nbandwidth_out = 100000000\nshare = 100\n\
         [log]\nlevel = \"debug\"\n",
        i2pd::NET_ID,
    );
    if let Some(folder) = reseed {
        let _ = write!(text, "[reseed]\nfiles = [\"{}\"]\n", folder.display());
    }
    let listen = if i == 0 { OUR_PROXY.to_string() } else { "off".into() };
    let _ = write!(text, "[http_proxy]\nlisten = \"{listen}\"\n");
    if i == 1 {
        let _ = write!(text, "[[server]]\nname = \"site\"\ntarget = \"{site}\"\nkind = \"http\"\n");
    }
    text
}

#[test]
fn i2pd_and_ramson_find_each_other_at_ramson_floodfills() {
    let name = "i2pd_and_ramson_find_each_other_at_ramson_floodfills";
    namespace::run(name, &["i2pd"], &i2pd::addresses(EACH, EACH), || {
        let site = serve(TcpListener::bind("127.0.0.1:0").unwrap());
        let long = Duration::from_secs(240);
        let data = |i: usize| -> PathBuf {
            std::env::temp_dir().join(format!("ramson-{name}-{}-{i}", std::process::id()))
        };
        // The first start makes keys and RouterInfos.
        let infos: Vec<Vec<u8>> = (0..EACH)
            .map(|i| {
                let _node = Node::start(EXE, &data(i), &config(i, None, site));
                wait("router.info", long, || {
                    std::fs::read(data(i).join("router.info")).ok().filter(|b| b.len() > 400)
                })
            })
            .collect();
        let tunnels = [(1, Tunnel::Site(site)), (2, Tunnel::Proxy(THEIR_PROXY.port()))];
        let mut network = Network::start(name, EACH, 0, &tunnels, &infos);
        let net_db = network.net_db();
        let nodes: Vec<Node> = (0..EACH)
            .map(|i| Node::start(EXE, &data(i), &config(i, Some(&net_db), site)))
            .collect();

        let our_site = Node::site(EXE, &data(1), long);
        let their_site = network.site(1);
        network.reach_site(1, OUR_PROXY, long);
        for host in [&our_site, &their_site] {
            for proxy in [OUR_PROXY, THEIR_PROXY] {
                get_until(proxy, &format!("http://{host}/10"), long);
                for n in 0..FETCHES {
                    let size = 1_000 + n * 3_001;
                    let url = format!("http://{host}/{size}");
                    let answer = request(proxy, "GET", &url, &[], long).unwrap();
                    assert!(answer.body == content(size), "{proxy} {url}: {:?}", answer.head);
                }
            }
        }
        let served = |key: &str| -> u64 {
            (0..EACH)
                .filter_map(|i| Node::info(EXE, &data(i))["netdb"]["floodfill"][key].as_u64())
                .sum()
        };
        assert!(served("kept") > 0 && served("flooded") > 0 && served("found") > 0);
        drop(nodes);
        for i in 0..EACH {
            let _ = std::fs::remove_dir_all(data(i));
        }
    });
}
