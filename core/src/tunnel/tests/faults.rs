//! What the network does to tunnels: vanishing hops, loss, reorder, repetition, forgery.

use super::*;
use crate::tunnel::own::MAX_FAILURES;
use alloc::vec;

/// Runs until no tunnel of `router` that may be used has `gone` in it and all pools are full;
/// gives the seconds that took.
fn healed(net: &mut Net, router: Hash, gone: Hash, pools: &[PoolId], limit: u64) -> u64 {
    for seconds in 0..limit {
        let now = net.now;
        let full = pools.iter().all(|pool| {
            let stats = net.stats(router, *pool);
            stats.inbound >= 2 && stats.outbound >= 2
        });
        let clean = net
            .tunnels(router)
            .tunnels(now)
            .iter()
            .filter(|t| t.health != Health::Failed)
            .all(|t| !t.hops.contains(&gone));
        if full && clean {
            return seconds;
        }
        net.run_secs(1);
    }
    panic!("not healed: {:?}", net.tunnels(router).tunnels(net.now));
}

#[test]
fn a_hop_that_vanishes_is_replaced_within_35_seconds() {
    for seed in 0..6 {
        let mut net = Net::new(100 + seed, 10);
        let a = net.hash(0);
        net.add_pool(a, EXPLORATORY, shape(2, 2));
        net.add_pool(a, CLIENT, shape(3, 2));
        net.run_secs(30);
        // A router from the middle of a client tunnel, so that no connection of ours breaks.
        let tunnels = net.tunnels(a).tunnels(net.now);
        let victim = tunnels.iter().find(|t| t.pool == CLIENT).unwrap().hops[1];
        net.dead.insert(victim);
        let before = net.changes(a);
        let seconds = healed(&mut net, a, victim, &[EXPLORATORY, CLIENT], 120);
        assert!(seconds <= 35, "seed {seed}: {seconds} s");
        assert!(net.changes(a) > before);
        let reports = net.take_reports(a);
        assert!(reports.contains(&(victim, Outcome::TestFailed { hops: 3 })));
    }
}

#[test]
fn a_first_hop_that_cannot_be_reached_is_given_up_at_once() {
    let mut net = Net::new(200, 10);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 2));
    net.run_secs(20);
    let tunnels = net.tunnels(a).tunnels(net.now);
    let victim = tunnels.iter().find(|t| t.direction == Direction::Outbound).unwrap().hops[0];
    net.dead.insert(victim);
    let (now, unix) = (net.now, net.unix());
    net.tunnels_mut(a).handle_unreachable(now, unix, victim, true);
    let left = net.tunnels(a).tunnels(now);
    assert!(
        left.iter().filter(|t| t.direction == Direction::Outbound).all(|t| t.hops[0] != victim)
    );
    net.drain(a);
    // The others that it is in are tested at once: one test and its repetition.
    let seconds = healed(&mut net, a, victim, &[EXPLORATORY], 60);
    assert!(seconds <= 12, "{seconds} s");
}

#[test]
fn a_disconnected_peer_is_found_out_by_tests_at_once() {
    let mut net = Net::new(201, 10);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(3, 2));
    net.run_secs(20);
    let victim = net.tunnels(a).tunnels(net.now)[0].hops[2];
    let (now, unix) = (net.now, net.unix());
    // Only idle: nothing happens but tests that pass.
    net.tunnels_mut(a).handle_disconnected(now, unix, victim);
    net.drain(a);
    net.run_secs(5);
    assert_eq!(net.stats(a, EXPLORATORY).failed, 0);
    net.dead.insert(victim);
    let (now, unix) = (net.now, net.unix());
    net.tunnels_mut(a).handle_disconnected(now, unix, victim);
    net.drain(a);
    let seconds = healed(&mut net, a, victim, &[EXPLORATORY], 60);
    assert!(seconds <= 12, "{seconds} s");
}

#[test]
fn a_hop_that_takes_part_but_drops_cells_is_found_out() {
    for percent in [100, 60] {
        let mut net = Net::new(300 + percent, 10);
        let a = net.hash(0);
        let dropper = net.hash(4);
        net.droppers.insert(dropper, percent);
        net.add_pool(a, EXPLORATORY, shape(2, 3));
        let mut used = 0;
        let mut lost = BTreeMap::<Hash, u32>::new();
        for _ in 0..120 {
            net.run_secs(5);
            let tunnels = net.tunnels(a).tunnels(net.now);
            let bad =
                tunnels.iter().any(|t| t.health == Health::Tested && t.hops.contains(&dropper));
            used += u32::from(bad);
            for (peer, outcome) in net.take_reports(a) {
                if matches!(outcome, Outcome::TestLost { .. }) {
                    *lost.entry(peer).or_default() += 1;
                }
            }
        }
        // Nobody remembers the router for longer than a minute here: that is the profiles' part,
        // for which the reports single it out.
        assert!(used < if percent == 100 { 6 } else { 90 }, "{percent} %: {used} of 120");
        let worst = lost.values().max().unwrap();
        assert_eq!(lost.get(&dropper), Some(worst), "{lost:?}");
    }
}

#[test]
fn half_of_the_network_dies_and_pools_recover_with_few_builds_under_way() {
    let mut net = Net::new(400, 24);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.add_pool(a, CLIENT, shape(3, 2));
    net.run_secs(30);
    for n in 12..24 {
        let hash = net.hash(n);
        net.dead.insert(hash);
    }
    // `drain` asserts that there are never more than three builds a pool.
    let dead: Vec<Hash> = net.dead.iter().copied().collect();
    for seconds in 0.. {
        assert!(seconds <= 120, "not healed");
        let tunnels = net.tunnels(a).tunnels(net.now);
        let good = |pool, direction| {
            tunnels
                .iter()
                .filter(|t| t.pool == pool && t.direction == direction)
                .filter(|t| !t.hops.iter().any(|h| dead.contains(h)))
                .count()
        };
        let full = [EXPLORATORY, CLIENT].into_iter().all(|pool| {
            good(pool, Direction::Inbound) >= 1 && good(pool, Direction::Outbound) >= 1
        });
        if full {
            break;
        }
        net.run_secs(1);
    }
}

#[test]
fn nothing_arrives_damaged_or_twice_under_loss_reorder_and_duplication() {
    let mut net = Net::new(500, 8);
    let (a, b) = (net.hash(0), net.hash(1));
    for router in [a, b] {
        net.add_pool(router, EXPLORATORY, shape(3, 2));
    }
    net.run_secs(20);
    for (loss, jitter, duplicate, least) in
        [(0, 400, false, 200), (0, 0, true, 200), (2, 0, false, 120), (5, 100, true, 60)]
    {
        net.loss_percent = loss;
        net.jitter = Duration::from_millis(jitter);
        net.duplicate = duplicate;
        let mut arrived = 0;
        for n in 0..200 {
            net.run_until(net.now + Duration::from_millis(10));
            let (gateway, tunnel) = net.gateway(b, EXPLORATORY);
            let message = Message { id: n, ..data(1 + n as usize * 25, net.unix()) };
            net.send(a, EXPLORATORY, Delivery::Tunnel { gateway, tunnel }, message);
        }
        net.run_secs(5);
        let mut seen = BTreeSet::new();
        for (pool, message) in net.take_received(b) {
            assert_eq!(pool, Some(EXPLORATORY));
            let want = data(1 + message.id as usize * 25, net.unix());
            assert_eq!(message.body, want.body, "exactly what was sent");
            assert!(seen.insert(message.id), "message {} twice", message.id);
            arrived += 1;
        }
        assert!(arrived >= least, "{loss} % loss: {arrived} of 200");
    }
}

#[test]
fn a_repeated_cell_is_not_forwarded() {
    let mut net = Net::new(600, 4);
    let (a, b) = (net.hash(0), net.hash(1));
    net.add_pool(a, EXPLORATORY, shape(2, 1));
    net.run_secs(5);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let via = tunnels.pick_outbound(now, EXPLORATORY).unwrap();
    tunnels.send(now, unix, via, Delivery::Router(b), data(9, unix)).unwrap();
    let Some(TunnelAction::Send { to, message, .. }) = tunnels.poll_action() else { panic!() };
    net.run_secs(1);
    let cells = net.cells;
    for _ in 0..5 {
        net.inject(a, to, Message { id: net.cells as u32, ..message.clone() });
    }
    let dropped = net.tunnels(to).transit_stats().dropped_cells;
    assert_eq!(dropped, 4);
    net.run_secs(1);
    assert!(net.cells >= cells + 5);
    assert!(net.take_received(b).len() <= 1);
}

#[test]
fn replies_and_tests_count_only_where_they_are_expected() {
    let mut net = Net::new(700, 8);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(1, 1));
    net.run_secs(5);
    net.add_pool(a, CLIENT, shape(1, 1));
    // The replies and tests on their way to one pool arrive through another one's tunnel.
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let outbound: Vec<u32> = tunnels
        .replies
        .iter()
        .filter(|(_, id)| tunnels.builds[id].direction == Direction::Outbound)
        .map(|(reply, _)| *reply)
        .collect();
    assert!(!outbound.is_empty());
    for id in outbound {
        let kind = MessageType::OUTBOUND_TUNNEL_BUILD_REPLY;
        let mut reply = Message { kind, id, ..data(1 + 4 * 218, unix) };
        reply.body[0] = 4;
        // Directly, and through a pool that has nothing to do with it: not even looked at.
        assert_eq!(tunnels.handle_message(now, unix, None, reply.clone()), None);
        tunnels.handle_outbound_reply(Clock { now, unix }, CLIENT, reply);
    }
    for tag in tunnels.reply_tags.keys() {
        assert!(tunnels.reply_build(CLIENT, *tag).is_none());
        assert!(tunnels.reply_build(EXPLORATORY, *tag).is_some());
    }
    net.run_secs(5);
    assert_eq!(net.stats(a, CLIENT).outbound, 1);
    // A test of one pool, through the other.
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    for t in tunnels.outbound.values_mut().filter(|t| t.pool == CLIENT) {
        t.life.next_test = now;
    }
    tunnels.start_tests(Clock { now, unix }, CLIENT);
    let test = tunnels.tests.values().next().unwrap();
    let status = data(12, unix);
    let sealed = test.key_for_tests().seal(
        status,
        1,
        unix,
        &mut Rng::new(&crate::rng::Seed::from_number(1)),
    );
    let mut body = sealed.unwrap().body;
    assert!(!tunnels.take_test(Clock { now, unix }, EXPLORATORY, &mut body));
    assert!(!tunnels.tests.is_empty());
}

#[test]
fn requests_are_throttled_before_any_work_and_late_ones_are_not_answered() {
    let mut net = Net::new(800, 3);
    let (a, b) = (net.hash(0), net.hash(1));
    let limits = TransitLimits { requests_per_hop: 25, ..TransitLimits::default() };
    net.tunnels_mut(a).set_transit_limits(limits);
    let (now, unix) = (net.now, net.unix());
    let mut body = vec![0; 1 + 4 * 218];
    body[0] = 4;
    body[1..17].copy_from_slice(&a.as_bytes()[..16]);
    let kind = MessageType::SHORT_TUNNEL_BUILD;
    let request = |id| Message { kind, id, expires: unix, body: body.clone() };
    let tunnels = net.tunnels_mut(a);
    let mut jobs = Vec::new();
    for id in 0..40 {
        tunnels.handle_message(now, unix, Some(b), request(id));
        while let Some(action) = tunnels.poll_action() {
            let TunnelAction::Job(job) = action else { panic!("{action:?}") };
            jobs.push(job);
        }
    }
    assert_eq!(jobs.len(), 25);
    assert_eq!(tunnels.transit_stats().dropped, 15);
    let late = now + Duration::from_millis(1300);
    for job in jobs {
        assert!(!job.is_stale(now) && job.is_stale(late));
        tunnels.handle_job(late, unix, job.skip());
    }
    assert!(tunnels.poll_action().is_none());
    assert_eq!((tunnels.transit_stats().dropped, tunnels.transit.jobs), (40, 0));
}

#[test]
fn jobs_are_bounded_while_they_are_under_way() {
    let mut net = Net::new(801, 1);
    let a = net.hash(0);
    let (now, unix) = (net.now, net.unix());
    let mut body = vec![0; 1 + 4 * 218];
    body[0] = 4;
    body[1..17].copy_from_slice(&a.as_bytes()[..16]);
    let tunnels = net.tunnels_mut(a);
    for n in 0..500u32 {
        let kind = MessageType::SHORT_TUNNEL_BUILD;
        let request = Message { kind, id: n, expires: unix, body: body.clone() };
        tunnels.handle_message(now, unix, Some(Hash::of(&n.to_be_bytes())), request);
    }
    let mut jobs = 0;
    while let Some(action) = tunnels.poll_action() {
        jobs += u32::from(matches!(action, TunnelAction::Job(_)));
    }
    assert_eq!(jobs, 200);
}

#[test]
fn failing_tunnels_are_not_picked_and_lose_their_leases() {
    let mut net = Net::new(900, 8);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.run_secs(10);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let suspect = *tunnels.outbound.keys().next().unwrap();
    tunnels.outbound.get_mut(&suspect).unwrap().life.failures = 1;
    assert!(!tunnels.is_good(now, suspect));
    for _ in 0..20 {
        assert_ne!(tunnels.pick_outbound(now, EXPLORATORY), Some(suspect));
    }
    let inbound = tunnels.pools[&EXPLORATORY].inbound[0];
    tunnels.inbound.get_mut(&inbound).unwrap().life.failures = MAX_FAILURES;
    tunnels.fail_inbound(Clock { now, unix }, inbound, &[]);
    let leases = tunnels.inbound_leases(now, unix, EXPLORATORY);
    assert_eq!(leases.len(), 1);
    // It still takes what is under way, for a minute.
    assert!(tunnels.inbound.contains_key(&inbound));
    net.drain(a);
    net.run_secs(61);
    assert!(!net.tunnels(a).inbound.contains_key(&inbound));
}

#[test]
fn a_tunnel_that_was_given_up_stays_so_when_a_late_test_comes_back() {
    let mut net = Net::new(902, 8);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.run_secs(10);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let inbound = tunnels.pools[&EXPLORATORY].inbound[0];
    tunnels.fail_inbound(Clock { now, unix }, inbound, &[]);
    let mut rng = Rng::new(&crate::rng::Seed::from_number(1));
    let life = &mut tunnels.inbound.get_mut(&inbound).unwrap().life;
    life.pass(now, Duration::from_millis(20), &mut rng);
    assert_eq!(life.health(), Health::Failed);
    net.drain(a);
    // Its next test is due before it is forgotten, and nobody starts it: the net asserts that no
    // deadline stays in the past.
    net.run_secs(61);
    assert!(!net.tunnels(a).inbound.contains_key(&inbound));
}

#[test]
fn a_pool_that_lost_both_directions_at_once_does_not_wait_for_replies_through_the_dead_one() {
    for seed in 0..4 {
        let mut net = Net::new(910 + seed, 12);
        let a = net.hash(0);
        net.add_pool(a, EXPLORATORY, shape(2, 2));
        net.run_secs(5);
        net.add_pool(a, CLIENT, shape(1, 1));
        net.run_secs(10);
        let tunnels = net.tunnels(a).tunnels(net.now);
        let hop = |direction| {
            let own = |t: &&TunnelInfo| t.pool == CLIENT && t.direction == direction;
            tunnels.iter().find(own).unwrap().hops[0]
        };
        let (inbound, outbound) = (hop(Direction::Inbound), hop(Direction::Outbound));
        net.dead.extend([inbound, outbound]);
        // The one is known to be gone; the other one cannot be tested without it.
        let (now, unix) = (net.now, net.unix());
        net.tunnels_mut(a).handle_unreachable(now, unix, outbound, true);
        net.drain(a);
        for seconds in 0.. {
            assert!(seconds <= 30, "seed {seed}: not healed");
            let good = |t: &TunnelInfo| t.health == Health::Tested && t.hops[0] != inbound;
            let tunnels = net.tunnels(a).tunnels(net.now);
            if tunnels.iter().filter(|t| t.pool == CLIENT && good(t)).count() >= 2 {
                break;
            }
            net.run_secs(1);
        }
    }
}

#[test]
fn load_spreads_over_tunnels_that_are_alike_and_spares_the_slow() {
    let mut net = Net::new(901, 8);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 4));
    net.run_secs(20);
    let now = net.now;
    let tunnels = net.tunnels_mut(a);
    let slow = *tunnels.outbound.keys().next().unwrap();
    tunnels.outbound.get_mut(&slow).unwrap().life.rtt = Some(Duration::from_secs(2));
    let mut count = BTreeMap::<OutboundId, u32>::new();
    for _ in 0..300 {
        *count.entry(tunnels.pick_outbound(now, EXPLORATORY).unwrap()).or_default() += 1;
    }
    assert!(!count.contains_key(&slow));
    assert!(count.len() == 3 && count.values().all(|n| (60..140).contains(n)), "{count:?}");
}

#[test]
fn requests_for_later_hops_do_not_come_wrapped() {
    let mut net = Net::new(802, 3);
    let (a, b) = (net.hash(0), net.hash(1));
    let key = net.key(a);
    let (now, unix) = (net.now, net.unix());
    let mut rng = Rng::new(&crate::rng::Seed::from_number(1));
    let hop = Hop { hash: a, key };
    let minutes = unix.as_secs() / 60;
    for (way, from, answered) in [
        (build::request::Way::Inbound { receive: 5 }, None, true),
        (build::request::Way::Outbound { reply_gateway: b, reply_tunnel: 5 }, Some(b), true),
        (build::request::Way::Outbound { reply_gateway: b, reply_tunnel: 5 }, None, false),
    ] {
        let (body, _) = build::request::ask(&b, &[hop], way, minutes, 1, &mut rng).unwrap();
        let kind = MessageType::SHORT_TUNNEL_BUILD;
        let tunnels = net.tunnels_mut(a);
        tunnels.handle_message(now, unix, from, Message { kind, id: 3, expires: unix, body });
        let Some(TunnelAction::Job(job)) = tunnels.poll_action() else { panic!() };
        tunnels.handle_job(now, unix, job.run());
        assert_eq!(tunnels.poll_action().is_some(), answered, "{way:?} {from:?}");
    }
    assert_eq!(net.tunnels(a).transit_stats().tunnels, 2);
    // And no request of another hour.
    let way = build::request::Way::Inbound { receive: 6 };
    for (minutes, answered) in [(minutes - 8, true), (minutes - 9, false), (minutes + 6, false)] {
        let (body, _) = build::request::ask(&b, &[hop], way, minutes, 1, &mut rng).unwrap();
        let kind = MessageType::SHORT_TUNNEL_BUILD;
        let tunnels = net.tunnels_mut(a);
        tunnels.handle_message(now, unix, None, Message { kind, id: 3, expires: unix, body });
        let Some(TunnelAction::Job(job)) = tunnels.poll_action() else { panic!() };
        tunnels.handle_job(now, unix, job.run());
        assert_eq!(tunnels.poll_action().is_some(), answered);
    }
}

#[test]
fn flipped_bits_and_cuts_cost_messages_but_never_damage_one() {
    let mut net = Net::new(1000, 8);
    let (a, b) = (net.hash(0), net.hash(1));
    net.corrupt_percent = 3;
    for router in [a, b] {
        net.add_pool(router, EXPLORATORY, shape(3, 2));
    }
    net.run_secs(30);
    let mut arrived = 0;
    for n in 0..300usize {
        let unix = net.unix();
        if net.stats(a, EXPLORATORY).outbound > 0 {
            let message = Message { id: n as u32, ..data(n * 10, unix) };
            net.send(a, EXPLORATORY, Delivery::Router(b), message);
        }
        net.run_until(net.now + Duration::from_millis(200));
        for (_, message) in net.take_received(b) {
            assert_eq!(message.body, data(message.id as usize * 10, unix).body);
            arrived += 1;
        }
    }
    assert!((100..300).contains(&arrived), "{arrived}");
}

/// Messages of every kind, random, or with ids that are in use, at any time.
#[test]
fn nothing_that_a_peer_sends_panics_or_grows_without_bound() {
    let mut net = Net::new(1001, 5);
    let a = net.hash(0);
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.run_secs(10);
    let mut rng = Rng::new(&crate::rng::Seed::from_number(5));
    for step in 0..30_000 {
        let unix = net.unix();
        let ids: Vec<u32> = {
            let t = net.tunnels(a);
            t.inbound.keys().chain(t.replies.keys()).copied().collect()
        };
        let kind = [11, 10, 18, 19, 21, 22, 23, 24, 25, 26][rng.index(10)];
        let len = [0, 5, 40, 873, 1028, 1745, 2113, 4225][rng.index(8)];
        let mut body = vec![0; len];
        rng.fill(&mut body);
        let known = ids.get(rng.index(ids.len() + 1)).copied();
        if let (Some(id), Some(head)) = (known, body.first_chunk_mut::<4>()) {
            *head = id.to_be_bytes();
        }
        if kind >= 21 && rng.below(2) == 0 && body.len() > 17 {
            body[0] = [4, 8][rng.index(2)];
            body[1..17].copy_from_slice(&a.as_bytes()[..16]);
        }
        let id = known.filter(|_| rng.below(2) == 0).unwrap_or(step);
        let from = net.hash(1 + rng.index(4));
        net.inject(from, a, Message { kind: MessageType(kind), id, expires: unix, body });
        if rng.below(50) == 0 {
            net.run_until(net.now + Duration::from_millis(rng.below(3000)));
        }
        net.take_received(a);
    }
    net.run_secs(30);
    let stats = net.stats(a, EXPLORATORY);
    assert_eq!((stats.inbound, stats.outbound), (2, 2), "{stats:?}");
    let tunnels = net.tunnels(a);
    assert!(tunnels.actions.is_empty() && tunnels.loopback.is_empty());
    assert!(tunnels.reassembly_bytes() == 0 && tunnels.transit.jobs == 0);
}

/// A network, a router with tunnels in it, and an outbound one whose endpoint is in no other.
fn net_with_lone_endpoint(seed: u64) -> (Net, Hash, OutboundId, Vec<Hash>) {
    for n in 0.. {
        let mut net = Net::new(seed + 1000 * n, 16);
        let a = net.hash(0);
        net.add_pool(a, EXPLORATORY, shape(2, 2));
        net.run_secs(20);
        let all = net.tunnels(a).tunnels(net.now);
        let lone =
            |t: &&own::Outbound| all.iter().filter(|o| o.hops.contains(&t.hops[1])).count() == 1;
        let outbound = &net.tunnels(a).outbound;
        if let Some((id, hops)) =
            outbound.iter().find(|(_, t)| lone(t)).map(|(id, t)| (*id, t.hops.clone()))
        {
            net.take_reports(a);
            return (net, a, id, hops);
        }
    }
    unreachable!()
}

/// How many of these inbound tunnels were given up.
fn given_up(net: &Net, router: Hash, ids: &[u32]) -> usize {
    let lost = |id: &&u32| net.tunnels(router).inbound.get(id).is_none_or(|t| t.life.given_up);
    ids.iter().filter(lost).count()
}

/// A second in which `expected` messages leave through a tunnel and some of them are confirmed.
fn traffic(net: &mut Net, router: Hash, id: OutboundId, expected: u32, confirmed: u32) {
    net.run_secs(1);
    let now = net.now;
    let tunnels = net.tunnels_mut(router);
    for _ in 0..expected {
        tunnels.expect(id);
    }
    for _ in 0..confirmed {
        tunnels.confirm(id, now);
    }
}

#[test]
fn a_tunnel_that_carries_what_is_confirmed_outlives_a_few_lost_tests() {
    // Nothing is confirmed; half, as where a hop drops the others; all.
    let lived = [(2, 0), (4, 2), (2, 2)].map(|(expected, confirmed)| {
        let (mut net, a, id, hops) = net_with_lone_endpoint(600);
        // As if its tests came too late: from here on nothing comes back.
        net.droppers.insert(hops[1], 100);
        let mut seconds = 0;
        while net.tunnels(a).outbound.contains_key(&id) {
            traffic(&mut net, a, id, expected, confirmed);
            seconds += 1;
        }
        seconds
    });
    assert!(lived[0] + 5 <= lived[1] && lived[1] + 5 <= lived[2], "{lived:?}");
}

#[test]
fn past_traffic_does_not_keep_a_dead_tunnel_nor_kill_others() {
    for seed in 0..8 {
        let (mut net, a, id, hops) = net_with_lone_endpoint(700 + seed);
        for _ in 0..20 {
            traffic(&mut net, a, id, 150, 150);
        }
        // The upload is over, and a hop of the tunnel goes.
        net.dead.insert(hops[1]);
        let inbound: Vec<u32> = net.tunnels(a).inbound.keys().copied().collect();
        let mut seconds = 0;
        while net.tunnels(a).outbound.contains_key(&id) {
            net.run_secs(1);
            seconds += 1;
        }
        assert!(seconds <= 30, "seed {seed}: {seconds} s");
        assert_eq!(given_up(&net, a, &inbound), 0, "seed {seed}");
    }
}

#[test]
fn an_endpoint_that_serves_only_one_remote_is_found_out_and_nobody_else_pays() {
    // Served well; enough for a sign of life.
    for (confirmed, seed) in (0..8).flat_map(|seed| [(3, seed), (1, seed)]) {
        let (mut net, a, id, hops) = net_with_lone_endpoint(800 + seed);
        let inbound: Vec<u32> = net.tunnels(a).inbound.keys().copied().collect();
        net.droppers.insert(hops[1], 100);
        let mut seconds = 0;
        while net.tunnels(a).outbound.contains_key(&id) {
            traffic(&mut net, a, id, confirmed, confirmed);
            seconds += 1;
        }
        assert!(seconds <= 60, "seed {seed}: {seconds} s");
        assert_eq!(given_up(&net, a, &inbound), 0, "seed {seed}");
        for (peer, outcome) in net.take_reports(a) {
            if matches!(outcome, Outcome::TestFailed { .. } | Outcome::TestLost { .. }) {
                assert!(hops.contains(&peer), "seed {seed}: {outcome:?}");
            }
        }
    }
}

#[test]
fn an_inbound_tunnel_that_dies_is_found_out_while_all_outbound_ones_are_busy() {
    let mut runs = 0;
    for seed in 0..8 {
        let mut net = Net::new(900 + seed, 10);
        let a = net.hash(0);
        net.add_pool(a, EXPLORATORY, shape(2, 2));
        net.run_secs(20);
        let busy: Vec<OutboundId> = net.tunnels(a).outbound.keys().copied().collect();
        let used =
            |net: &Net, hop: &Hash| net.tunnels(a).outbound.values().any(|t| t.hops.contains(hop));
        // One that is in no outbound tunnel.
        let Some((id, gone)) =
            net.tunnels(a).inbound.iter().find_map(|(id, t)| {
                t.hops.iter().find(|hop| !used(&net, hop)).map(|hop| (*id, *hop))
            })
        else {
            continue;
        };
        runs += 1;
        net.dead.insert(gone);
        let mut seconds = 0;
        while net.tunnels(a).inbound.get(&id).is_some_and(|t| !t.life.given_up) {
            for via in &busy {
                let now = net.now;
                for _ in 0..3 {
                    net.tunnels_mut(a).expect(*via);
                    net.tunnels_mut(a).confirm(*via, now);
                }
            }
            net.run_secs(1);
            seconds += 1;
        }
        assert!(seconds <= 35, "seed {seed}: {seconds} s");
        let kept = busy.iter().filter(|id| net.tunnels(a).outbound.contains_key(id)).count();
        assert_eq!(kept, 2, "seed {seed}");
    }
    assert!(runs > 0, "each inbound tunnel shares its hops with outbound ones");
}

#[test]
fn a_first_hop_that_we_could_not_reach_for_our_own_fault_is_not_blamed() {
    for blame in [true, false] {
        let (mut net, a, id, hops) = net_with_lone_endpoint(202);
        let (now, unix) = (net.now, net.unix());
        net.tunnels_mut(a).handle_unreachable(now, unix, hops[0], blame);
        assert!(!net.tunnels(a).outbound.contains_key(&id));
        net.drain(a);
        let reported = net.take_reports(a).contains(&(hops[0], Outcome::TestFailed { hops: 1 }));
        assert_eq!(reported, blame);
    }
}

#[test]
fn a_request_that_found_no_tunnel_is_nobodys_fault_and_another_one_follows() {
    let mut net = Net::new(601, 10);
    let a = net.hash(0);
    net.unsent = 3;
    net.add_pool(a, EXPLORATORY, shape(2, 2));
    net.run_secs(9);
    assert_eq!(net.unsent, 0);
    let stats = net.stats(a, EXPLORATORY);
    assert_eq!((stats.inbound, stats.outbound), (2, 2), "before any timeout: {stats:?}");
    assert_eq!((stats.timed_out, stats.no_path), (0, 3), "{stats:?}");
}

#[test]
fn a_lost_job_frees_its_place() {
    let mut net = Net::new(602, 1);
    let a = net.hash(0);
    let (now, unix) = (net.now, net.unix());
    let tunnels = net.tunnels_mut(a);
    let request = || {
        let mut body = vec![1; 1 + 4 * 218];
        body[0] = 4;
        body[1..17].copy_from_slice(&a.0[..16]);
        let kind = MessageType::SHORT_TUNNEL_BUILD;
        Message { kind, id: 1, expires: unix + Duration::from_secs(10), body }
    };
    for round in 0..3 {
        let mut jobs = 0;
        for n in 0..300u32 {
            let from = Hash::of(&n.to_be_bytes());
            assert_eq!(tunnels.handle_message(now, unix, Some(from), request()), None);
            while let Some(TunnelAction::Job(_)) = tunnels.poll_action() {
                jobs += 1;
            }
        }
        assert_eq!(jobs, 200, "round {round}: as many as there is room for");
        let dropped = tunnels.transit_stats().dropped;
        for _ in 0..jobs {
            tunnels.handle_job_failed(now, unix);
        }
        assert_eq!(tunnels.transit_stats().dropped, dropped + 200);
    }
}
