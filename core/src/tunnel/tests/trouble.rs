//! When tunnels break in numbers.

use super::net::{Net, data, shape};
use super::{CLIENT, EXPLORATORY};
use crate::time::UnixTime;
use crate::tunnel::own::Outbound;
use crate::tunnel::select::Candidate;
use crate::tunnel::{Clock, Direction, Health, PoolId, Tunnels};
use crate::wire::hash::Hash;
use crate::wire::tunnel::Delivery;
use alloc::collections::BTreeSet;
use core::time::Duration;

/// Of a network of forty-eight, thirty-three drop all that passes.
fn mostly_useless(seed: u64) -> (Net, Hash, BTreeSet<Hash>) {
    let mut net = Net::new(seed, 48);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 2));
    net.add_pool(a, CLIENT, shape(3, 2));
    net.run_secs(30);
    let useless: BTreeSet<Hash> = (15..48).map(|n| net.hash(n)).collect();
    net.droppers.extend(useless.iter().map(|hash| (*hash, 100)));
    (net, a, useless)
}

#[test]
fn where_seven_in_ten_drop_everything_scouts_find_those_who_carry() {
    for seed in 0..4 {
        let (mut net, a, useless) = mostly_useless(600 + seed);
        net.run_secs(180);
        assert!(net.tunnels(a).pools.contains_key(&PoolId::SCOUTS), "seed {seed}");
        let scout = |net: &Net| {
            let mut scouts = net.tunnels(a).inbound.values();
            let good = scouts.find(|t| t.pool == PoolId::SCOUTS && t.life.passed_at.is_some())?;
            Some((good.hops[0], good.gateway_tunnel))
        };
        let tested = |net: &Net| {
            let mut outbound = net.tunnels(a).outbound.iter();
            let good = |t: &Outbound| t.pool == CLIENT && t.life.health() == Health::Tested;
            outbound.find(|(_, t)| good(t)).map(|(id, _)| *id)
        };
        // What comes through a scout and is no test is for nobody.
        while scout(&net).is_none() || tested(&net).is_none() {
            net.run_secs(1);
        }
        let ((gateway, tunnel), via) = (scout(&net).unwrap(), tested(&net).unwrap());
        let (now, unix) = (net.now, net.unix());
        for (target, came) in [((gateway, tunnel), 0), (net.gateway(a, CLIENT), 1)] {
            let delivery = Delivery::Tunnel { gateway: target.0, tunnel: target.1 };
            net.tunnels_mut(a).send(now, unix, via, delivery, data(50, unix)).unwrap();
            net.drain(a);
            net.run_until(now + Duration::from_secs(1 + came as u64));
            assert_eq!(net.take_received(a).len(), came, "seed {seed}");
        }
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
                && tunnels.in_trouble_for(net.now).is_none()
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
fn what_carried_before_the_trouble_keeps_no_scout_at_home() {
    let mut net = Net::new(630, 60);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 4));
    net.add_pool(a, CLIENT, shape(3, 4));
    net.run_secs(120);
    assert!(net.tunnels(a).carried.within(net.now, Duration::from_secs(60)).count() >= 24);
    for n in 20..60 {
        let victim = net.hash(n);
        net.dead.insert(victim);
    }
    // Two tests of each tunnel.
    for _ in 0..40 {
        net.run_secs(1);
        if net.tunnels(a).pools.contains_key(&PoolId::SCOUTS) {
            let before = net.tunnels(a).builds.values().any(|b| b.pool == PoolId::SCOUTS);
            net.run_secs(2);
            assert!(before || net.stats(a, PoolId::SCOUTS).built > 0);
            return;
        }
    }
    panic!("two thirds died, and nobody scouts");
}

#[test]
fn nobody_is_favoured_into_more_than_a_third_and_who_fails_is_favoured_no_more() {
    let (mut net, a, _) = mostly_useless(640);
    net.run_secs(180);
    let now = net.now;
    let hash = net.tunnels(a).carriers(now)[0];
    let ordinary = net.candidate(net.index(hash));
    let tunnels = net.tunnels_mut(a);
    let weight = |tunnels: &Tunnels, pool, lively, share| {
        let mut candidate = Candidate { share, ..ordinary.clone() };
        tunnels.favour(now, pool, lively, &mut candidate);
        candidate.weight
    };
    assert_eq!(weight(tunnels, CLIENT, false, 100), 2560);
    assert_eq!(weight(tunnels, CLIENT, true, 100), 2560, "not both");
    assert_eq!(weight(tunnels, CLIENT, true, 400), 10);
    assert_eq!(weight(tunnels, PoolId::SCOUTS, false, 0), 1);
    let clock = Clock { now, unix: UnixTime::from_secs(1_800_000_000) };
    let via = tunnels.outbound.iter().find(|(_, t)| t.pool == CLIENT).map(|(id, _)| *id).unwrap();
    tunnels.fail_outbound(clock, via, &[hash]);
    assert!(!tunnels.carriers(now).contains(&hash));
    assert_eq!(weight(tunnels, CLIENT, true, 100), 160);
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
        let tests = net.tunnels(a).tests.values().filter(|t| t.pool == CLIENT).count();
        assert!(tests <= 4, "seed {seed}: {tests} tests");
        net.drain(a);
        net.run_secs(6);
        assert!(net.stats(a, CLIENT).failed > failed, "seed {seed}");
    }
}
