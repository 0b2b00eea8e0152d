//! Ramson among real i2pd routers: fetches their site, hosts one for them, carries their tunnels.

use ramson_tests::http::{content, get_until, hex, request, serve};
use ramson_tests::i2pd::{self, Network, Transport, Tunnel, wait};
use ramson_tests::namespace;
use ramson_tests::node::Node;
use sha2::{Digest, Sha256};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const ROUTERS: usize = 8;
const I2PD_PROXY: u16 = 4448;
const OUR_PROXY: &str = "127.0.0.1:4444";

#[test]
fn ramson_browses_and_hosts_among_i2pd_routers() {
    let name = "ramson_browses_and_hosts_among_i2pd_routers";
    namespace::run(name, &["i2pd"], &i2pd::addresses(ROUTERS, 1), || {
        let theirs = serve(TcpListener::bind("127.0.0.1:0").unwrap());
        let ours = serve(TcpListener::bind("127.0.0.1:0").unwrap());
        let mut network = Network::start(
            name,
            ROUTERS,
            3,
            &[(5, Tunnel::Site(theirs)), (6, Tunnel::Proxy(I2PD_PROXY))],
            &[],
        );
        let data = network.dir.join("ramson");
        let mut node = Node::start(
            EXE,
            &data,
            &network.config_of_ours(Transport::Ntcp2, ROUTERS, OUR_PROXY, ours),
        );
        let proxy: SocketAddr = OUR_PROXY.parse().unwrap();
        let long = Duration::from_secs(240);

        let site = network.site(5);
        network.reach_site(5, proxy, long);
        let a = get_until(proxy, &format!("http://{site}/3000000"), long);
        assert_eq!(a.body.len(), 3_000_000, "{:?}", a.head);
        assert_eq!(hex(&Sha256::digest(&a.body)), hex(&Sha256::digest(content(3_000_000))));

        let i2pd_proxy = SocketAddr::from(([127, 0, 0, 1], I2PD_PROXY));
        let our_site = Node::site(EXE, &data, Duration::from_secs(20));
        get_until(i2pd_proxy, &format!("http://{our_site}/10"), long);
        let a = get_until(i2pd_proxy, &format!("http://{our_site}/3000000"), long);
        assert_eq!(a.body.len(), 3_000_000, "{:?}", a.head);
        assert_eq!(hex(&Sha256::digest(&a.body)), hex(&Sha256::digest(content(3_000_000))));

        // Uploads, both ways, and what a server learns of the sender.
        let body = content(20 << 20);
        let digest = hex(&Sha256::digest(&body));
        for (proxy, host) in [(proxy, &site), (i2pd_proxy, &our_site)] {
            let a = request(proxy, "POST", &format!("http://{host}/"), &body, long).unwrap();
            assert_eq!(String::from_utf8_lossy(&a.body), digest);
        }
        let a = get_until(i2pd_proxy, &format!("http://{our_site}/headers"), long);
        assert!(String::from_utf8_lossy(&a.body).to_ascii_lowercase().contains("x-i2p-destb32"));

        // The others take us as a hop.
        wait("transit tunnels", long, || {
            (Node::info(EXE, &data)["transit"]["tunnels"].as_u64()? > 0).then_some(())
        });
        assert!(node.is_running());
        network.kill(0);
        get_until(proxy, &format!("http://{site}/1000"), long);
    });
}
