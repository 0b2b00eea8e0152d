//! Whole networks of [`Tunnels`] in virtual time.

mod faults;
mod net;
mod trouble;

use super::select::Group;
use super::*;
use crate::wire::tunnel::Delivery;
use net::{Net, data, shape};

const EXPLORATORY: PoolId = PoolId::EXPLORATORY;
const CLIENT: PoolId = PoolId(7);

#[test]
fn tunnels_of_every_length_are_built_and_carry_messages_of_every_size() {
    for length in 0..=7 {
        let mut net = Net::new(u64::from(length), 12);
        let (a, b) = (net.hash(0), net.hash(1));
        for router in [a, b] {
            net.add_pool(router, EXPLORATORY, shape(length, 2));
        }
        net.run_secs(10);
        for router in [a, b] {
            let stats = net.stats(router, EXPLORATORY);
            assert_eq!((stats.inbound, stats.outbound), (2, 2), "length {length}: {stats:?}");
            assert_eq!((stats.rejected, stats.timed_out, stats.tests_failed), (0, 0, 0));
            assert!(length == 0 || stats.tests_passed >= 2, "length {length}: {stats:?}");
            for tunnel in net.tunnels(router).tunnels(net.now) {
                assert_eq!(tunnel.hops.len(), usize::from(length));
                assert_eq!(tunnel.health, Health::Tested);
            }
        }
        for size in [1, 100, 940, 980, 1000, 2000, 10_000, 30_000, 61 * 1024] {
            let (gateway, tunnel) = net.gateway(b, EXPLORATORY);
            let delivery = Delivery::Tunnel { gateway, tunnel };
            let message = data(size, net.unix());
            net.send(a, EXPLORATORY, delivery, message.clone());
            net.run_secs(1);
            let got = net.take_received(b);
            assert_eq!(got.len(), 1, "length {length}, size {size}");
            assert_eq!(got[0].0, Some(EXPLORATORY));
            assert_eq!(got[0].1.body, message.body);
            // And to the router itself.
            net.send(a, EXPLORATORY, Delivery::Router(b), message.clone());
            net.run_secs(1);
            let got = net.take_received(b);
            assert_eq!((got.len(), got[0].0), (1, None));
            assert_eq!(got[0].1.body, message.body);
        }
    }
}

#[test]
fn client_pools_wait_for_exploratory_tunnels_and_use_their_own_afterwards() {
    let mut net = Net::new(1, 10);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.add_pool(a, CLIENT, shape(3, 2));
    net.run_secs(10);
    for (pool, length) in [(CLIENT, 3), (EXPLORATORY, 2)] {
        let stats = net.stats(a, pool);
        assert_eq!((stats.inbound, stats.outbound), (2, 2), "{pool:?}: {stats:?}");
        let tunnels = net.tunnels(a).tunnels(net.now);
        let mine: Vec<_> = tunnels.iter().filter(|t| t.pool == pool).collect();
        assert!(mine.len() == 4 && mine.iter().all(|t| t.hops.len() == length));
    }
    // No reply of a client pool ever came directly to us: nothing but the exploratory
    // bootstrap shows that we are the creator.
    assert!(net.tunnels(a).inbound.values().all(|t| !t.hidden || t.pool == EXPLORATORY));
    let leases = net.tunnels(a).inbound_leases(net.now, net.unix(), CLIENT);
    assert_eq!(leases.len(), 2);
    assert!(leases.iter().all(|l| l.gateway != a && l.expires > net.unix()));
}

#[test]
fn two_other_routers_are_enough_where_the_endpoint_is_the_gateway() {
    let mut net = Net::new(3, 3);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(1, 2));
    net.add_pool(a, CLIENT, shape(2, 2));
    net.run_secs(30);
    for pool in [EXPLORATORY, CLIENT] {
        let stats = net.stats(a, pool);
        assert_eq!((stats.inbound, stats.outbound), (2, 2), "{stats:?}");
        assert_eq!((stats.timed_out, stats.tests_failed), (0, 0), "{stats:?}");
    }
}

#[test]
fn lengths_vary_as_configured() {
    let mut net = Net::new(4, 12);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, PoolConfig { variance: 2, ..shape(2, 16) });
    net.run_secs(30);
    let mut seen = [0; 8];
    for tunnel in net.tunnels(a).tunnels(net.now) {
        seen[tunnel.hops.len()] += 1;
    }
    assert_eq!(seen[..2], [0, 0]);
    assert!(seen[2] > 0 && seen[3] > 0 && seen[4] > 0, "{seen:?}");
    assert_eq!(seen[5..], [0, 0, 0]);
}

#[test]
fn hops_that_refuse_are_reported_and_worked_around() {
    let mut net = Net::new(5, 10);
    let a = net.hash(0);
    let refusing: Vec<Hash> = (6..10).map(|n| net.hash(n)).collect();
    for router in &refusing {
        let limits = TransitLimits { accept: false, ..TransitLimits::default() };
        net.tunnels_mut(*router).set_transit_limits(limits);
    }
    net.add_pool(a, EXPLORATORY, shape(3, 2));
    net.run_secs(40);
    let stats = net.stats(a, EXPLORATORY);
    assert_eq!((stats.inbound, stats.outbound), (2, 2), "{stats:?}");
    assert!(stats.rejected > 0 && stats.timed_out == 0, "{stats:?}");
    for (peer, outcome) in net.take_reports(a) {
        match outcome {
            Outcome::Rejected { code } => assert!(code == 30 && refusing.contains(&peer)),
            Outcome::Accepted { latency } => {
                assert!(!refusing.contains(&peer));
                assert!(latency > Duration::ZERO && latency < Duration::from_secs(1));
            }
            Outcome::TestPassed { .. } => assert!(!refusing.contains(&peer)),
            Outcome::BuildTimedOut { .. }
            | Outcome::TestLost { .. }
            | Outcome::TestFailed { .. } => {
                panic!("{outcome:?}")
            }
        }
    }
    let rejected: u64 = refusing.iter().map(|r| net.tunnels(*r).transit_stats().rejected).sum();
    assert!(rejected >= stats.rejected);
}

#[test]
fn what_is_counted_is_counted_by_direction() {
    let mut net = Net::new(5, 12);
    let a = net.hash(0);
    let sides = |net: &Net| {
        let tunnels = net.tunnels(a);
        let stats = |direction| tunnels.side_stats(net.now, EXPLORATORY, direction).unwrap();
        [Direction::Inbound, Direction::Outbound].map(stats)
    };
    net.add_pool(a, EXPLORATORY, PoolConfig { inbound_quantity: 4, ..shape(2, 1) });
    let building = sides(&net).map(|s| s.building);
    assert_eq!(building, [2, 1]);
    assert_eq!(net.stats(a, EXPLORATORY).building, 3);
    net.run_secs(10);
    assert_eq!(sides(&net).map(|s| (s.active, s.building, s.built)), [(4, 0, 4), (1, 0, 1)]);
    // The outbound one fails, and nobody takes part in another one.
    for router in net.routers() {
        let limits = TransitLimits { accept: false, ..TransitLimits::default() };
        net.tunnels_mut(router).set_transit_limits(limits);
    }
    let clock = Clock { now: net.now, unix: net.unix() };
    let tunnels = net.tunnels_mut(a);
    let only = *tunnels.outbound.keys().next().unwrap();
    tunnels.fail_outbound(clock, only, &[]);
    net.drain(a);
    net.run_secs(5);
    let [inbound, outbound] = sides(&net);
    assert_eq!((inbound.failed, outbound.failed), (0, 1));
    assert!(inbound.rejected == 0 && outbound.rejected > 0, "{inbound:?} {outbound:?}");
    assert_eq!((outbound.active, outbound.built), (0, 1));
}

#[test]
fn without_paths_builds_wait_longer_each_time_and_start_when_there_is_one() {
    let mut net = Net::new(6, 3);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 1));
    net.run_secs(120);
    let stats = net.stats(a, EXPLORATORY);
    assert_eq!((stats.inbound, stats.outbound, stats.built), (0, 0, 0));
    assert!((20..80).contains(&stats.no_path), "{stats:?}");
    net.add_router();
    net.run_secs(15);
    let stats = net.stats(a, EXPLORATORY);
    assert_eq!((stats.inbound, stats.outbound), (1, 1), "{stats:?}");
}

#[test]
fn pools_stay_full_for_an_hour_without_growing() {
    let mut net = Net::new(7, 10);
    for n in 0..3 {
        let router = net.hash(n);
        net.add_pool(router, EXPLORATORY, shape(2, 2));
        net.add_pool(router, CLIENT, shape(3, 2));
    }
    net.run_secs(60);
    let a = net.hash(0);
    for step in 0..720 {
        net.run_secs(5);
        for pool in [EXPLORATORY, CLIENT] {
            let (now, unix) = (net.now, net.unix());
            let stats = net.stats(a, pool);
            assert!(stats.inbound >= 2 && stats.outbound >= 2, "step {step}: {stats:?}");
            let leases = net.tunnels(a).inbound_leases(now, unix, pool);
            assert!((2..=4).contains(&leases.len()), "step {step}: {leases:?}");
            assert!(leases.iter().all(|l| l.expires > unix + Duration::from_secs(45)));
        }
        for router in net.routers() {
            let t = net.tunnels(router);
            assert!(t.inbound.len() + t.outbound.len() <= 20, "{}", t.inbound.len());
            assert!(t.builds.len() <= 6 && t.replies.len() <= 6 && t.reply_tags.len() <= 6);
            assert!(t.tests.len() <= 8 && t.actions.is_empty() && t.open.is_empty());
            assert!(t.transit_stats().tunnels < 120);
        }
    }
    let stats = net.stats(a, CLIENT);
    assert!((28..40).contains(&stats.built), "a tunnel lives about nine minutes: {stats:?}");
    assert_eq!((stats.timed_out, stats.failed, stats.tests_failed), (0, 0, 0), "{stats:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let digest = |seed| {
        let mut net = Net::new(seed, 8);
        net.loss_percent = 2;
        for n in 0..4 {
            let router = net.hash(n);
            net.add_pool(router, EXPLORATORY, shape(3, 2));
        }
        net.run_secs(120);
        net.digest()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn messages_sent_together_share_cells_and_a_lone_one_waits_for_nothing() {
    let mut net = Net::new(8, 6);
    let (a, b) = (net.hash(0), net.hash(1));
    net.add_pool(a, EXPLORATORY, shape(1, 1));
    net.run_secs(5);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let via = tunnels.pick_outbound(now, EXPLORATORY).unwrap();
    for _ in 0..8 {
        tunnels.send(now, unix, via, Delivery::Router(b), data(60, unix)).unwrap();
    }
    let mut sent = Vec::new();
    while let Some(action) = tunnels.poll_action() {
        sent.push(action);
    }
    assert!(matches!(&sent[..], [TunnelAction::Send { priority: Priority::Own, .. }]), "{sent:?}");
    tunnels.send(now, unix, via, Delivery::Router(b), data(60, unix)).unwrap();
    assert!(matches!(tunnels.poll_action(), Some(TunnelAction::Send { .. })));
    assert!(tunnels.poll_action().is_none());
}

#[test]
fn sends_that_cannot_be_give_the_message_back() {
    let mut net = Net::new(9, 6);
    let (a, b) = (net.hash(0), net.hash(1));
    net.add_pool(a, EXPLORATORY, shape(1, 1));
    net.run_secs(5);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let via = tunnels.pick_outbound(now, EXPLORATORY).unwrap();
    let large = data(64 * 1024 - 1, unix);
    let to = Delivery::Router(b);
    let refused = tunnels.send(now, unix, via, to, large.clone());
    assert_eq!(refused, Err(SendError::TooLarge(large)));
    tunnels.remove_pool(now, EXPLORATORY);
    let small = data(5, unix);
    let refused = tunnels.send(now, unix, via, to, small.clone());
    assert_eq!(refused, Err(SendError::NoTunnel(small)));
    assert!(tunnels.inbound.is_empty() && tunnels.builds.is_empty() && tunnels.tests.is_empty());
    assert_eq!(tunnels.pick_outbound(now, EXPLORATORY), None);
}

#[test]
fn what_is_not_for_tunnels_is_given_back() {
    let mut net = Net::new(10, 2);
    let (a, b) = (net.hash(0), net.hash(1));
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    for kind in [1, 2, 3, 10, 11, 20, 231] {
        let message = Message { kind: MessageType(kind), ..data(20, unix) };
        let back = tunnels.handle_message(now, unix, Some(b), message.clone());
        assert_eq!(back, Some(message));
    }
    for kind in [18, 19, 21, 22, 23, 24, 25, 26] {
        for len in [0, 3, 4, 20, 1028, 1029, 5000] {
            let message = Message { kind: MessageType(kind), ..data(len, unix) };
            assert_eq!(tunnels.handle_message(now, unix, Some(b), message), None);
        }
    }
    assert!(tunnels.poll_action().is_none());
}

#[test]
fn groups_of_hops_are_apart_where_that_is_asked_for() {
    let mut net = Net::new(11, 14);
    net.same_group = false;
    // Seven groups of two routers.
    net.groups = |n| Group::V4([10, (n / 2) as u8]);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(4, 4));
    net.run_secs(20);
    let tunnels = net.tunnels(a).tunnels(net.now);
    assert_eq!(tunnels.len(), 8);
    for tunnel in tunnels {
        let mut groups: Vec<usize> = tunnel.hops.iter().map(|h| net.index(*h) / 2).collect();
        groups.sort_unstable();
        groups.dedup();
        assert_eq!(groups.len(), 4);
    }
}

#[test]
fn our_own_endpoint_may_deliver_to_ourselves() {
    // With one other router, one-hop tunnels of both lead through each other.
    let mut net = Net::new(12, 2);
    let (a, b) = (net.hash(0), net.hash(1));
    for router in [a, b] {
        net.add_pool(router, EXPLORATORY, shape(1, 1));
    }
    net.run_secs(10);
    for (from, to) in [(a, b), (b, a)] {
        let message = data(3000, net.unix());
        net.send(from, EXPLORATORY, Delivery::Router(to), message.clone());
        let (gateway, tunnel) = net.gateway(to, EXPLORATORY);
        assert_eq!(gateway, from);
        net.send(from, EXPLORATORY, Delivery::Tunnel { gateway, tunnel }, message.clone());
        net.run_secs(1);
        let got = net.take_received(to);
        let pools: Vec<_> = got.iter().map(|(pool, _)| *pool).collect();
        assert!(pools.contains(&None) && pools.contains(&Some(EXPLORATORY)), "{pools:?}");
        assert!(got.iter().all(|(_, m)| m.body == message.body));
    }
}

#[test]
fn setting_the_wall_clock_moves_leases_and_no_timer() {
    let mut net = Net::new(13, 8);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.run_secs(100);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let before = tunnels.inbound_leases(now, unix, EXPLORATORY);
    let timer = tunnels.poll_timeout();
    for (set, back) in [(Duration::from_secs(3600), false), (Duration::from_secs(3600), true)] {
        let unix = if back { unix } else { unix + set };
        assert_eq!(tunnels.handle_message(now, unix, None, data(18, unix)).map(|m| m.id), Some(18));
        assert!(matches!(tunnels.poll_action(), Some(TunnelAction::PoolChanged(EXPLORATORY))));
        assert_eq!(tunnels.poll_timeout(), timer);
        let leases = tunnels.inbound_leases(now, unix, EXPLORATORY);
        let shift = if back { Duration::ZERO } else { set };
        let moved: Vec<_> = before.iter().map(|l| l.expires + shift).collect();
        assert_eq!(leases.iter().map(|l| l.expires).collect::<Vec<_>>(), moved);
    }
}
