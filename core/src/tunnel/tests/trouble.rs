//! When tunnels break in numbers.

use super::net::{Net, shape};
use super::{CLIENT, EXPLORATORY};
use crate::tunnel::{Direction, Health, PoolId};
use crate::wire::hash::Hash;
use alloc::collections::BTreeSet;

/// Of a network of thirty, twenty-one drop all that passes.
fn mostly_useless(seed: u64) -> (Net, Hash, BTreeSet<Hash>) {
    let mut net = Net::new(seed, 30);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 2));
    net.add_pool(a, CLIENT, shape(3, 2));
    net.run_secs(30);
    let useless: BTreeSet<Hash> = (9..30).map(|n| net.hash(n)).collect();
    net.droppers.extend(useless.iter().map(|hash| (*hash, 100)));
    (net, a, useless)
}

#[test]
fn where_seven_in_ten_drop_everything_scouts_find_those_who_carry() {
    for seed in 0..4 {
        let (mut net, a, useless) = mostly_useless(600 + seed);
        net.run_secs(180);
        assert!(net.tunnels(a).pools.contains_key(&PoolId::SCOUTS), "seed {seed}");
        let mut works = 0;
        for _ in 0..60 {
            net.run_secs(10);
            let tunnels = net.tunnels(a).tunnels(net.now);
            let good = |direction| {
                tunnels.iter().any(|t| {
                    t.pool == CLIENT
                        && t.direction == direction
                        && t.health == Health::Tested
                        && !t.hops.iter().any(|hop| useless.contains(hop))
                })
            };
            works += u32::from(good(Direction::Inbound) && good(Direction::Outbound));
            for tunnel in &tunnels {
                let length = if tunnel.pool == PoolId::SCOUTS { 1 } else { 3 };
                assert_eq!(tunnel.hops.len(), length, "no tunnel that is used gets shorter");
            }
        }
        assert!(works >= 54, "seed {seed}: {works} of 60");
        // When all is well again nobody scouts.
        net.droppers.clear();
        net.run_secs(900);
        let tunnels = net.tunnels(a);
        assert!(
            !tunnels.pools.contains_key(&PoolId::SCOUTS)
                && tunnels.trouble_since(net.now).is_none()
        );
        assert!(tunnels.tunnels(net.now).iter().all(|t| t.pool != PoolId::SCOUTS));
    }
}

#[test]
fn scouts_stay_home_while_all_is_well_and_a_hop_dies_now_and_then() {
    let mut net = Net::new(610, 30);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 2));
    net.add_pool(a, CLIENT, shape(3, 4));
    net.run_secs(60);
    for n in 1..4 {
        let victim = net.hash(n);
        net.dead.insert(victim);
        for _ in 0..60 {
            net.run_secs(5);
            assert!(!net.tunnels(a).pools.contains_key(&PoolId::SCOUTS), "hop {n}");
        }
    }
}

#[test]
fn a_pool_in_doubt_is_tested_at_once() {
    for seed in 0..4 {
        let mut net = Net::new(620 + seed, 12);
        let a = net.hash(0);
        net.add_pool(a, EXPLORATORY, shape(2, 2));
        net.add_pool(a, CLIENT, shape(3, 2));
        // Between two tests.
        net.run_secs(33);
        let tunnels = net.tunnels(a).tunnels(net.now);
        let victim = tunnels.iter().find(|t| t.pool == CLIENT).unwrap().hops[1];
        net.dead.insert(victim);
        net.run_secs(3);
        let failed = net.stats(a, CLIENT).failed;
        let (now, unix) = (net.now, net.unix());
        net.tunnels_mut(a).doubt(now, unix, CLIENT);
        net.tunnels_mut(a).doubt(now, unix, CLIENT);
        // A test under way is not repeated.
        let tests = net.tunnels(a).tests.values().filter(|t| t.outbound_pool() == CLIENT).count();
        assert!(tests <= 4, "seed {seed}: {tests} tests");
        net.drain(a);
        net.run_secs(6);
        assert!(net.stats(a, CLIENT).failed > failed, "seed {seed}");
    }
}
