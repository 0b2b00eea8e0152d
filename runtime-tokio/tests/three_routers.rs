//! Three routers in one process, over loopback, build tunnels through each other.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "the other stored values are not needed here")]

use ramson_core::config::{Config, HttpProxy};
use ramson_core::router::input::Stored;
use ramson_core::router::output::{Event, StoreKey};
use ramson_tokio::{Error, Host, run};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

type Store = Arc<Mutex<BTreeMap<StoreKey, Arc<[u8]>>>>;

/// Keeps what is to be kept, and calls when the router is ready.
struct Keeper {
    store: Store,
    ready: Arc<Notify>,
    stopped: Arc<Notify>,
}

impl Host for Keeper {
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) {
        let mut store = self.store.lock().unwrap();
        match value {
            Some(value) => store.insert(key, value),
            None => store.remove(&key),
        };
    }

    fn notify(&mut self, event: Event) {
        if event == Event::Ready {
            self.ready.notify_one();
        } else if event == Event::Stopped {
            self.stopped.notify_one();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn config(port: u16) -> Config {
    let mut config = Config::default();
    config.network.id = 99;
    config.network.allow_local = true;
    config.ntcp2.host = Some(Ipv4Addr::LOCALHOST.into());
    config.ntcp2.bind = Some(Ipv4Addr::LOCALHOST.into());
    config.ntcp2.port = Some(port);
    config.ntcp2.publish = true;
    config.exploratory.length = 1;
    config
}

fn stored(own: &Store, all: &[Store]) -> Stored {
    let mut stored = Stored::default();
    for (key, value) in own.lock().unwrap().iter() {
        match key {
            StoreKey::RouterKeys => stored.router_keys = Some(value.to_vec()),
            StoreKey::DestinationKeys(name) => {
                stored.destinations.insert(name.clone(), value.to_vec());
            }
            _ => {}
        }
    }
    let infos = all.iter().filter_map(|s| s.lock().unwrap().get(&StoreKey::RouterInfo).cloned());
    stored.router_infos.extend(infos);
    stored
}

#[tokio::test]
async fn tunnels_are_built_and_a_shutdown_is_clean() {
    let stores: Vec<Store> = (0..3).map(|_| Store::default()).collect();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    // The first start makes keys and RouterInfos; it is ended at once.
    for (store, port) in stores.iter().zip(&ports) {
        let (ready, stopped) = (Arc::default(), Arc::default());
        let keeper = Keeper { store: store.clone(), ready, stopped };
        run(config(*port), Stored::default(), keeper, async {}).await.unwrap();
        assert!(store.lock().unwrap().contains_key(&StoreKey::RouterKeys));
    }
    let (ready, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let end = Arc::new(Notify::new());
    let mut routers = Vec::new();
    for (i, (store, port)) in stores.iter().zip(&ports).enumerate() {
        let mut config = config(*port);
        let mut keeper =
            Keeper { store: store.clone(), ready: Arc::default(), stopped: Arc::default() };
        if i == 0 {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let mut proxy = HttpProxy::new(listen);
            proxy.tunnels.length = 1;
            config.http_proxy = Some(proxy);
            keeper.ready = ready.clone();
            keeper.stopped = stopped.clone();
        }
        let end = end.clone();
        routers.push(run(config, stored(store, &stores), keeper, async move {
            end.notified().await;
        }));
    }
    let mut routers = routers.into_iter();
    let (a, b, c) = (routers.next().unwrap(), routers.next().unwrap(), routers.next().unwrap());
    let control = async {
        // Ready means that the proxy has tunnels both ways, through the two others.
        tokio::time::timeout(Duration::from_secs(60), ready.notified()).await.unwrap();
        end.notify_waiters();
        tokio::time::timeout(Duration::from_secs(20), stopped.notified()).await.unwrap();
    };
    let (a, b, c, ()) = tokio::join!(a, b, c, control);
    for result in [a, b, c] {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let keeper = Keeper { store: Store::default(), ready: Arc::default(), stopped: Arc::default() };
    let result = run(config(port), Stored::default(), keeper, async {}).await;
    assert!(matches!(&result, Err(Error::Bind { address, .. }) if address.port() == port));
    assert!(result.unwrap_err().to_string().contains(&port.to_string()));
}
