//! Ramson among real i2pd routers that speak nothing but SSU2.

use ramson_tests::http::{content, get_until, hex, serve};
use ramson_tests::i2pd::{self, Network, Transport, Tunnel};
use ramson_tests::namespace;
use ramson_tests::node::Node;
use sha2::{Digest, Sha256};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const ROUTERS: usize = 8;
const I2PD_PROXY: u16 = 4448;
const OUR_PROXY: &str = "127.0.0.1:4444";
const LEN: usize = 10 << 20;
const FETCHES: usize = 5;

#[test]
fn ramson_browses_and_hosts_over_ssu2_alone() {
    let name = "ramson_browses_and_hosts_over_ssu2_alone";
    namespace::run(name, &["i2pd"], &i2pd::addresses(ROUTERS, 1), || {
        let theirs = serve(TcpListener::bind("127.0.0.1:0").unwrap());
        let ours = serve(TcpListener::bind("127.0.0.1:0").unwrap());
        let tunnels = [(5, Tunnel::Site(theirs)), (6, Tunnel::Proxy(I2PD_PROXY))];
        let mut network = Network::start_over(Transport::Ssu2, name, ROUTERS, 3, &tunnels, &[]);
        let data = network.dir.join("ramson");
        let mut node = Node::start(
            EXE,
            &data,
            &network.config_of_ours(Transport::Ssu2, ROUTERS, OUR_PROXY, ours),
        );
        let proxy: SocketAddr = OUR_PROXY.parse().unwrap();
        let i2pd_proxy = SocketAddr::from(([127, 0, 0, 1], I2PD_PROXY));
        let long = Duration::from_secs(240);

        let site = network.site(5);
        network.reach_site(5, proxy, long);
        let our_site = Node::site(EXE, &data, Duration::from_secs(20));
        get_until(i2pd_proxy, &format!("http://{our_site}/10"), long);
        let digest = hex(&Sha256::digest(content(LEN)));
        for (proxy, host) in [(proxy, &site), (i2pd_proxy, &our_site)] {
            for n in 0..FETCHES {
                let a = get_until(proxy, &format!("http://{host}/{LEN}"), long);
                assert_eq!(a.body.len(), LEN, "{n}: {:?}", a.head);
                assert_eq!(hex(&Sha256::digest(&a.body)), digest, "{n}");
            }
        }
        // Not by another way.
        let info = Node::info(EXE, &data);
        let peers = &info["peers"];
        let up = peers["inbound"].as_u64().unwrap() + peers["outbound"].as_u64().unwrap();
        assert!(up > 0 && peers["ssu2"].as_u64() == Some(up), "{peers}");
        assert!(node.is_running());
    });
}
