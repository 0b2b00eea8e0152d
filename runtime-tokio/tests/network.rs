//! Several routers on one tokio runtime, connected over loopback.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use ramson_core::client::control::InfoReport;
use ramson_core::config::{Config, HttpProxy, Server};
use ramson_core::router::StartError;
use ramson_core::router::input::{Listener, Stored};
use ramson_core::router::output::{Event, StoreKey};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::router_info::RouterInfo;
use ramson_tokio::{Error, Host, Router, Runtime};
use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// A store in memory, and what was told.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    values: BTreeMap<StoreKey, Arc<[u8]>>,
    events: Vec<Event>,
}

impl Host for Memory {
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) {
        let mut kept = self.0.lock().unwrap();
        match value {
            Some(value) => kept.values.insert(key, value),
            None => kept.values.remove(&key),
        };
    }

    fn notify(&mut self, event: Event) {
        self.0.lock().unwrap().events.push(event);
    }
}

impl Memory {
    fn value(&self, key: &StoreKey) -> Option<Arc<[u8]>> {
        self.0.lock().unwrap().values.get(key).cloned()
    }

    fn told(&self, event: &Event) -> bool {
        self.0.lock().unwrap().events.contains(event)
    }

    fn is_empty(&self) -> bool {
        self.0.lock().unwrap().values.is_empty()
    }

    /// What an embedder hands over at the next start.
    fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        for (key, value) in &self.0.lock().unwrap().values {
            stored.put(key, value);
        }
        stored
    }

    fn info(&self) -> RouterInfo {
        RouterInfo::decode(&self.value(&StoreKey::RouterInfo).unwrap()).unwrap()
    }
}

/// A router at 127.0.0.`last` with a site, all of its tunnels of one hop.
fn config(last: u8) -> Config {
    let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let mut config = Config::default();
    config.network.id = 99;
    config.network.allow_local = true;
    config.ntcp2.host = Some(ip);
    config.ntcp2.bind = Some(ip);
    config.ntcp2.port = Some(free(ip).port());
    config.ssu2.bind = Some(ip);
    config.exploratory.length = 1;
    let mut site = Server::new("site", SocketAddr::new(ip, 9));
    site.tunnels.length = 1;
    config.servers.push(site);
    config
}

fn free(ip: IpAddr) -> SocketAddr {
    StdListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

async fn until<T>(limit: Duration, mut f: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(found) = f().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

/// Tunnels of a pool that are up, inbound and outbound.
fn active(report: &InfoReport, pool: &str) -> (u64, u64) {
    let pool = report.pools.iter().find(|p| p.name == pool).unwrap();
    (pool.inbound.active, pool.outbound.active)
}

async fn report(handle: &Router) -> InfoReport {
    handle.report().await.unwrap()
}

#[tokio::test]
async fn routers_that_know_each_other_connect_and_build_tunnels() {
    let configs: Vec<Config> = (1..=4).map(config).collect();
    let hosts: Vec<Memory> = configs.iter().map(|_| Memory::default()).collect();
    // The first run makes keys and RouterInfos.
    for (config, host) in configs.iter().zip(&hosts) {
        let (config, host) = (config.clone(), host.clone());
        ramson_tokio::run(config, Stored::default(), host.clone(), ready(())).await.unwrap();
        assert!(host.told(&Event::Stopped));
        assert!(host.value(&StoreKey::DestinationKeys("site.dat".into())).is_some());
    }
    let infos: Vec<RouterInfo> = hosts.iter().map(Memory::info).collect();
    let hashes: Vec<Hash> = infos.iter().map(RouterInfo::hash).collect();

    let mut running = JoinSet::new();
    let mut handles = Vec::new();
    let mut stops = Vec::new();
    for ((config, host), hash) in configs.iter().zip(&hosts).zip(&hashes) {
        let mut stored = host.stored();
        stored.router_infos.extend(infos.iter().map(|i| Arc::from(i.as_bytes())));
        let runtime = Runtime::start(config.clone(), stored, host.clone()).await.unwrap();
        assert_eq!(runtime.router().hash(), *hash, "the keys came back");
        handles.push(runtime.handle());
        let (stop, stopped) = oneshot::channel::<()>();
        stops.push(stop);
        running.spawn(runtime.run(async {
            let _ = stopped.await;
        }));
    }
    for (handle, host) in handles.iter().zip(&hosts) {
        let up = until(Duration::from_secs(40), async || {
            let report = report(handle).await;
            let (inbound, outbound) = active(&report, "exploratory");
            let connected = report.peers.inbound + report.peers.outbound >= 2;
            let up = inbound >= 1 && outbound >= 1 && active(&report, "site") != (0, 0);
            (connected && up && host.told(&Event::Ready)).then_some(())
        });
        if up.await.is_none() {
            unreachable!("no tunnels: {:?}", report(handle).await);
        }
    }
    let mut transit = 0;
    for handle in &handles {
        let report = report(handle).await;
        assert!(report.bytes_received > 0 && report.bytes_sent > 0);
        transit += report.transit.accepted;
    }
    assert!(transit >= 8, "the tunnels go through each other: {transit}");

    let begun = Instant::now();
    for stop in stops {
        stop.send(()).unwrap();
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for ((config, host), handle) in configs.iter().zip(&hosts).zip(&handles) {
        assert!(handle.report().await.is_none());
        let stored = host.stored();
        assert!(stored.router_infos.len() >= 3, "{} kept", stored.router_infos.len());
        // Its port is free again.
        let address = SocketAddr::new(config.ntcp2.host.unwrap(), config.ntcp2.port.unwrap());
        let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
    }
}

#[tokio::test]
async fn a_published_router_without_a_port_gets_one() {
    let host = Memory::default();
    let mut config = config(1);
    config.ntcp2.port = None;
    ramson_tokio::run(config, Stored::default(), host.clone(), ready(())).await.unwrap();
    let address = host.info().ntcp2().unwrap().host.unwrap();
    assert!(address.ip().is_loopback() && address.port() != 0, "{address}");
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_is_named() {
    let taken = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(1);
    config.http_proxy = Some(HttpProxy::new(address));
    let host = Memory::default();
    let result = ramson_tokio::run(config, Stored::default(), host.clone(), pending()).await;
    let e = result.unwrap_err();
    let named = |e: &Error| matches!(e, Error::Bind { listener: Listener::HttpProxy, address: a, .. } if *a == address);
    assert!(named(&e), "{e}");
    let start = format!("cannot listen on {address} for HttpProxy: ");
    assert!(e.to_string().starts_with(&start), "{e}");
    assert!(host.is_empty(), "nobody was made");
}

#[tokio::test]
async fn a_port_of_ssu2_in_use_is_named_with_its_key() {
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(1);
    config.ssu2.port = Some(address.port());
    let host = Memory::default();
    let result = ramson_tokio::run(config, Stored::default(), host.clone(), pending()).await;
    let e = result.unwrap_err();
    assert!(matches!(&e, Error::BindSsu2 { address: a, .. } if *a == address), "{e}");
    let start = format!("cannot listen on {address} for ssu2.port: ");
    assert!(e.to_string().starts_with(&start), "{e}");
    assert!(host.is_empty(), "nobody was made");
}

#[tokio::test]
async fn damaged_keys_are_an_error_and_are_not_replaced() {
    let host = Memory::default();
    let mut stored = Stored::default();
    stored.router_keys = Some(vec![1; 500]);
    let result = ramson_tokio::run(config(1), stored, host.clone(), pending()).await;
    let e = result.unwrap_err();
    let about_keys =
        |e: &Error| matches!(e, Error::Start(StartError::Keys { key: StoreKey::RouterKeys, .. }));
    assert!(about_keys(&e), "{e}");
    assert!(host.is_empty());
}

/// A running router with a proxy, and what stops it.
async fn with_proxy() -> (SocketAddr, JoinHandle<()>, oneshot::Sender<()>) {
    let address = free(Ipv4Addr::LOCALHOST.into());
    let mut config = Config::default();
    config.http_proxy = Some(HttpProxy::new(address));
    let runtime = Runtime::start(config, Stored::default(), Memory::default()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = tokio::spawn(runtime.run(async {
        let _ = stopped.await;
    }));
    (address, router, stop)
}

#[tokio::test]
async fn the_proxys_last_words_reach_even_one_who_still_talks() {
    let (address, router, stop) = with_proxy().await;
    for upload in [0, 3 << 20] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST http://nobody.i2p/ HTTP/1.1\r\nHost: nobody.i2p\r\nContent-Length: {upload}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let body = vec![b'x'; upload];
        let mut page = Vec::new();
        let talk = async {
            // The proxy may have had enough.
            let _ = write.write_all(&body).await;
        };
        let listen = async { timeout(Duration::from_secs(10), read.read_to_end(&mut page)).await };
        let ((), heard) = tokio::join!(talk, listen);
        heard.unwrap().unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.starts_with("HTTP/1.1 "), "{page}");
        assert!(page.contains("nobody.i2p") && page.trim_end().ends_with("</html>"), "{page}");
    }
    stop.send(()).unwrap();
    timeout(Duration::from_secs(3), router).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_router_that_is_dropped_leaves_nothing_behind() {
    let (address, router, _stop) = with_proxy().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET ").await.unwrap();
    router.abort();
    assert!(router.await.unwrap_err().is_cancelled());
    let free =
        until(Duration::from_secs(5), async || tokio::net::TcpListener::bind(address).await.ok());
    assert!(free.await.is_some());
    // Its connections are closed too, and do not look as if all had been said.
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(rest.is_empty());
}

#[tokio::test]
async fn its_future_can_move_between_threads() {
    fn send(future: impl Future<Output = Result<(), Error>> + Send) -> impl Future {
        future
    }
    let run = ramson_tokio::run(Config::default(), Stored::default(), Memory::default(), ready(()));
    send(run).await;
}
