//! A machine that dies in the middle of a write: at each step of each write of a router's life, its
//! router starts again, and is the same.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, measures how long a start takes"
)]

use ramson_core::config::{Config, HttpProxy, Server};
use ramson_core::keys::{DestinationKeys, RouterKeys};
use ramson_core::router::StartError;
use ramson_core::router::output::StoreKey;
use ramson_core::wire::hash::Hash;
use ramson_world::{NodeId, World};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Cuts in a run of the ordinary tests; `RAMSON_TEST_CUTS` asks for more.
const CUTS: usize = 400;
/// How long a start may take.
const START: Duration = Duration::from_secs(5);

/// Three destinations.
fn config(world: &World) -> Config {
    let mut config = Config::default();
    config.network.id = 99;
    config.ntcp2.host = Some(world.next_address());
    config.ntcp2.port = Some(12_345);
    config.http_proxy = Some(HttpProxy::new(HttpProxy::DEFAULT_LISTEN));
    for name in ["site", "mail"] {
        config.servers.push(Server::new(name, SocketAddr::from(([127, 0, 0, 1], 80))));
    }
    config
}

/// In the order in which they are written.
fn keys() -> [StoreKey; 4] {
    let destination = |name: &str| StoreKey::DestinationKeys(name.into());
    let [proxy, mail, site] = ["http_proxy.dat", "mail.dat", "site.dat"].map(destination);
    [StoreKey::RouterKeys, proxy, mail, site]
}

/// RouterInfos of routers that are never there.
fn strangers() -> Vec<Arc<[u8]>> {
    let mut world = World::new(1);
    let info = |world: &mut World| {
        let id = world.add_router(config(world));
        Arc::from(world.stored(id, &StoreKey::RouterInfo).unwrap())
    };
    (0..12).map(|_| info(&mut world)).collect()
}

/// A router at one of its moments.
struct Life {
    world: World,
    id: NodeId,
}

impl Life {
    /// A machine without a router yet, and with the RouterInfos that its owner put there.
    fn new(seed: u64, known: &[Arc<[u8]>]) -> Self {
        let mut world = World::new(seed);
        // The strangers have the first addresses.
        for _ in 0..12 {
            let id = world.add_machine(config(&world));
            world.lose_power(id);
        }
        let id = world.add_machine(config(&world));
        world.set_known(id, known.to_vec());
        Self { world, id }
    }

    /// First start, some minutes, a stop, another start. Ends early when the machine dies.
    fn live(&mut self) -> Result<(), StartError> {
        for seconds in [70, 40] {
            self.world.try_start(self.id)?;
            self.world.run_for(Duration::from_secs(seconds));
            if self.world.router(self.id).is_none() {
                return Ok(());
            }
            self.world.shut_down(self.id);
            self.world.run_for(Duration::from_secs(3));
            if self.world.router(self.id).is_none() {
                return Ok(());
            }
            self.world.crash(self.id);
        }
        Ok(())
    }

    /// Who the disk says that we are, by the names of the keys that are there.
    fn identities(&self) -> BTreeMap<StoreKey, Hash> {
        let identity = |key: &StoreKey| {
            let bytes = self.world.stored(self.id, key)?;
            Some(if *key == StoreKey::RouterKeys {
                RouterKeys::decode(bytes).ok()?.identity.hash()
            } else {
                DestinationKeys::decode(bytes).ok()?.identity.hash()
            })
        };
        keys().into_iter().filter_map(|key| Some((key.clone(), identity(&key)?))).collect()
    }
}

/// Lets the machine die at a step of the life of a seed, and starts it again. Gives how many of its keys
/// had been written whole by then.
fn cut(seed: u64, known: &[Arc<[u8]>], step: u64, slowest: &mut Duration) -> usize {
    let mut life = Life::new(seed, known);
    life.world.cut_power_at(life.id, step, false);
    life.live().unwrap();
    assert!(life.world.router(life.id).is_none(), "seed {seed}: step {step} is never reached");
    // Each write of keys has five steps, and they are the first of all.
    let promised = keys().len().min(step as usize / 5);
    let before = life.identities();
    assert!(before.len() >= promised, "seed {seed}, step {step}: keys that were synced are gone");
    let start = Instant::now();
    life.world.start(life.id);
    *slowest = start.elapsed().max(*slowest);
    let after = life.identities();
    assert_eq!(after.len(), keys().len());
    for (key, hash) in &before {
        assert_eq!(after.get(key), Some(hash), "seed {seed}, step {step}: {key:?} is another");
    }
    let router = life.world.router(life.id).unwrap();
    assert_eq!(Some(&router.hash()), after.get(&StoreKey::RouterKeys));
    promised
}

#[test]
fn a_cut_at_each_step_of_each_write_loses_no_identity() {
    let cuts = std::env::var("RAMSON_TEST_CUTS").map_or(CUTS, |n| n.parse().unwrap());
    let known = strangers();
    let (mut done, mut late, mut slowest) = (0, 0, Duration::ZERO);
    for seed in 1.. {
        let mut whole = Life::new(seed, &known);
        whole.live().unwrap();
        let steps = whole.world.write_steps(whole.id);
        assert!(steps > 50, "keys, RouterInfos and profiles are written: {steps}");
        for step in 0..steps {
            late += usize::from(cut(seed, &known, step, &mut slowest) == keys().len());
            done += 1;
            if done == cuts {
                println!("{done} cuts, {late} with all keys; slowest start {slowest:?}");
                assert!(late > 0 && late < done && slowest < START);
                return;
            }
        }
    }
}

#[test]
fn keys_that_a_lying_disk_tore_are_refused_and_not_replaced() {
    let known = strangers();
    let mut refused = 0;
    for seed in 1..=10 {
        for (n, key) in keys().into_iter().enumerate() {
            let mut life = Life::new(seed, &known);
            // The step in which it gets its name.
            life.world.cut_power_at(life.id, n as u64 * 5 + 3, true);
            life.live().unwrap();
            let Some(torn) = life.world.stored(life.id, &key).map(<[u8]>::to_vec) else { continue };
            match life.world.try_start(life.id) {
                Err(StartError::Keys { key: named, reason }) => {
                    assert_eq!(named, key, "{reason}");
                    refused += 1;
                }
                other => panic!("seed {seed}, {key:?}: {other:?}"),
            }
            assert_eq!(life.world.stored(life.id, &key), Some(&*torn), "left as it is");
        }
    }
    assert!(refused > 10, "{refused}");
}
