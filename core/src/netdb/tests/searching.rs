use super::*;
use crate::netdb::routing_key::{RoutingKey, until_midnight};
use crate::netdb::testing::{Maker, lease_set_until};

#[test]
fn a_lease_set_is_found_from_few_known_floodfills() {
    for seed in 0..20 {
        let mut world = World::new(seed, 100);
        let node = world.add_node(seed, 8);
        let entry = lease(seed, world.unix());
        world.place(&entry);
        assert_eq!(world.find_lease_set(node, CLIENT, entry.key()), Ok(entry.clone()), "{seed}");
        assert!(world.nodes[node].queries <= 20);
        // What was heard on the way stays with the destination that asked.
        assert_eq!(world.nodes[node].netdb.counts().floodfills, 8);
    }
}

#[test]
fn a_router_info_is_found_and_kept() {
    let mut world = World::new(1, 50);
    let node = world.add_node(1, 50);
    let info = Maker::new(777).build();
    world.place(&StoreEntry::RouterInfo(info.clone()));
    let id = world.lookup(node, Context::ROUTER, info.hash(), LookupKind::RouterInfo);
    assert_eq!(world.finish(node, id), Ok(StoreEntry::RouterInfo(info.clone())));
    assert_eq!(world.nodes[node].netdb.router(&info.hash()), Some(&info));
    assert_eq!(world.nodes[node].queries, 1, "the nearest floodfill has it");
}

#[test]
fn lookups_survive_loss_and_dead_floodfills() {
    let mut failed = 0;
    for seed in 0..60 {
        let mut world = World::new(seed, 40);
        let node = world.add_node(seed, 40);
        world.loss = 20;
        let entry = lease(seed, world.unix());
        world.place(&entry);
        // A third of the floodfills is dead, not the holders.
        let near = world.nearest(&entry.key(), world.unix());
        for hash in near.into_iter().skip(3).step_by(3) {
            world.floodfills.get_mut(&hash).unwrap().nature = Nature::Silent;
        }
        failed += u32::from(world.find_lease_set(node, CLIENT, entry.key()).is_err());
    }
    assert!(failed <= 1, "{failed} of 60 failed");
}

#[test]
fn a_missing_entry_is_reported_soon_and_remembered_after_four_times() {
    let mut world = World::new(1, 30);
    let node = world.add_node(1, 30);
    let key = Hash([9; 32]);
    for _ in 0..4 {
        let start = world.now;
        assert_eq!(world.find_lease_set(node, CLIENT, key), Err(LookupFailure::NotStored));
        assert!(world.now.saturating_since(start) < Duration::from_secs(6));
    }
    let asked = world.nodes[node].queries;
    assert_eq!(world.find_lease_set(node, CLIENT, key), Err(LookupFailure::Cached));
    assert_eq!(world.nodes[node].queries, asked);
    // Another destination has its own experience.
    assert_eq!(world.find_lease_set(node, Context(2), key), Err(LookupFailure::NotStored));
    world.run(20_000);
    assert_eq!(world.find_lease_set(node, CLIENT, key), Err(LookupFailure::NotStored));
}

#[test]
fn without_floodfills_or_answers_the_failure_says_so() {
    let mut world = World::new(1, 5);
    let node = world.add_node(1, 0);
    let key = Hash([9; 32]);
    assert_eq!(world.find_lease_set(node, CLIENT, key), Err(LookupFailure::NoFloodfill));
    let mut world = World::new(1, 5);
    let node = world.add_node(1, 5);
    for floodfill in world.floodfills.values_mut() {
        floodfill.nature = Nature::Silent;
    }
    let start = world.now;
    assert_eq!(world.find_lease_set(node, CLIENT, key), Err(LookupFailure::TimedOut));
    assert!(world.now.saturating_since(start) <= Duration::from_secs(18));
    // Silence says nothing about the key.
    assert_eq!(world.find_lease_set(node, CLIENT, key), Err(LookupFailure::TimedOut));
}

#[test]
fn the_same_lookup_runs_once_and_can_be_cancelled() {
    let mut world = World::new(1, 30);
    let node = world.add_node(1, 30);
    let entry = lease(1, world.unix());
    world.place(&entry);
    let first = world.lookup(node, CLIENT, entry.key(), LookupKind::LeaseSet);
    assert_eq!(world.lookup(node, CLIENT, entry.key(), LookupKind::LeaseSet), first);
    let other = world.lookup(node, Context(2), entry.key(), LookupKind::LeaseSet);
    assert_ne!(other, first);
    world.nodes[node].netdb.cancel_lookup(other);
    assert_eq!(world.finish(node, first), Ok(entry));
    world.run(20_000);
    assert!(world.nodes[node].found.is_empty() && world.nodes[node].not_found.is_empty());
}

#[test]
fn lookups_are_limited_per_context_and_in_all() {
    let mut world = World::new(1, 10);
    let node = world.add_node(1, 10);
    let mut busy = 0;
    for ctx in 1..8 {
        for n in 0..80u8 {
            let key = Hash::of(&[n, ctx]);
            world.lookup(node, Context(ctx.into()), key, LookupKind::LeaseSet);
            assert!(world.nodes[node].netdb.counts().lookups <= MAX_LOOKUPS);
        }
        busy = world.nodes[node].not_found.values().filter(|w| **w == LookupFailure::Busy).count();
        if ctx == 1 {
            assert_eq!(busy, 16, "64 each");
        }
    }
    assert_eq!(busy, 7 * 80 - MAX_LOOKUPS);
    world.run(30_000);
    assert_eq!(world.nodes[node].netdb.counts().lookups, 0);
    assert_eq!(world.nodes[node].not_found.len(), 7 * 80);
}

#[test]
fn liars_near_the_key_cost_time_but_not_the_answer() {
    let mut right = 0;
    for seed in 0..30 {
        let mut world = World::new(seed, 60);
        let node = world.add_node(seed, 60);
        let entry = lease(seed, world.unix());
        let near = world.nearest(&entry.key(), world.unix());
        // The nearest one names routers that do not exist, and others that are farther away.
        let invented = (0..16u8).map(|i| Hash::of(&[i, seed as u8]));
        let names = invented.chain(near.iter().rev().take(8).copied()).collect();
        world.floodfills.get_mut(&near[0]).unwrap().nature = Nature::Names(names);
        world.place(&entry);
        right += u32::from(world.find_lease_set(node, CLIENT, entry.key()) == Ok(entry));
        assert!(world.nodes[node].queries <= 20, "{}", world.nodes[node].queries);
    }
    assert_eq!(right, 30);
}

/// A floodfill whose hash is within `share` of the keyspace of a key.
fn mine(key: &Hash, unix: UnixTime, share: u64, from: &mut u64) -> RouterInfo {
    let target = RoutingKey::new(key, unix);
    loop {
        *from += 1;
        let maker = Maker::floodfill(*from);
        if target.distance(&maker.hash()).share() < share {
            return maker.build();
        }
    }
}

#[test]
fn twenty_floodfills_gathered_around_a_key_do_not_hide_it() {
    let (mut right, rounds) = (0, 6);
    for seed in 0..rounds {
        let mut world = World::new(seed, 150);
        let unix = world.unix();
        let entry = lease(seed, unix);
        let key = entry.key();
        let mut from = 1_000_000 * (seed + 1);
        let sybils: Vec<RouterInfo> =
            (0..20).map(|_| mine(&key, unix, u64::MAX / 150, &mut from)).collect();
        let names: Vec<Hash> = sybils.iter().map(RouterInfo::hash).collect();
        for sybil in sybils {
            world.add_floodfill(sybil, Nature::Names(names.clone()));
        }
        let publisher = world.add_node(1, 170);
        let node = world.add_node(2, 170);
        let StoreEntry::LeaseSet(set) = entry.clone() else { panic!() };
        let now = world.now;
        world.nodes[publisher].netdb.publish_lease_set(now, unix, CLIENT, set).unwrap();
        world.run(3000);
        right += u32::from(world.find_lease_set(node, CLIENT, key) == Ok(entry));
    }
    assert_eq!(u64::from(right), rounds);
}

#[test]
fn a_forged_or_damaged_answer_is_passed_over() {
    let mut world = World::new(1, 30);
    let node = world.add_node(1, 30);
    let info = Maker::new(777).build();
    let near = world.nearest(&info.hash(), world.unix());
    let later = world.unix() + Duration::from_secs(1);
    let forged = StoreEntry::RouterInfo(Maker::new(777).published(later).forged().build());
    world.place(&StoreEntry::RouterInfo(info.clone()));
    world.floodfills.get_mut(&near[0]).unwrap().nature = Nature::Says(forged);
    let id = world.lookup(node, Context::ROUTER, info.hash(), LookupKind::RouterInfo);
    assert_eq!(world.finish(node, id), Ok(StoreEntry::RouterInfo(info)));
    let netdb = &world.nodes[node].netdb;
    let now = world.now;
    let answers = |h| netdb.profile(h).map_or(800, |p| p.answers(now));
    assert!(answers(&near[0]) < 800, "and remembered");
}

#[test]
fn a_floodfill_with_an_old_lease_set_does_not_end_the_search_for_a_newer_one() {
    let mut world = World::new(1, 30);
    let node = world.add_node(1, 30);
    let unix = world.unix();
    let old = lease(1, unix - Duration::from_secs(300));
    let new = lease(1, unix);
    let near = world.nearest(&old.key(), unix);
    world.place(&new);
    world.floodfills.get_mut(&near[0]).unwrap().nature = Nature::Says(old.clone());
    // Nothing known: the first answer will do, nobody can know better.
    assert_eq!(world.find_lease_set(node, CLIENT, old.key()), Ok(old.clone()));
    // Known, but it does not work any more: a newer one is looked for.
    assert_eq!(world.find_lease_set(node, CLIENT, old.key()), Ok(new.clone()));
    let set = world.nodes[node].netdb.lease_set(CLIENT, &new.key(), world.unix()).cloned();
    assert_eq!(set.map(StoreEntry::LeaseSet), Some(new.clone()));
    // There is none: the known one is still the answer, after more than one floodfill was asked.
    world.nodes[node].queries = 0;
    assert_eq!(world.find_lease_set(node, CLIENT, old.key()), Ok(new));
    assert!(world.nodes[node].queries >= 2);
}

#[test]
fn what_arrives_late_still_counts() {
    let mut world = World::new(1, 3);
    world.delay = (3000, 3200);
    let node = world.add_node(1, 3);
    let entry = lease(1, world.unix());
    world.place(&entry);
    assert_eq!(world.find_lease_set(node, CLIENT, entry.key()), Ok(entry));
    assert!(world.now.saturating_since(Instant::ZERO) < Duration::from_secs(7));
}

#[test]
fn replies_in_the_name_of_others_are_ignored() {
    let mut world = World::new(1, 1);
    world.delay = (1000, 1000);
    let node = world.add_node(1, 1);
    let entry = lease(1, world.unix());
    world.place(&entry);
    let id = world.lookup(node, CLIENT, entry.key(), LookupKind::LeaseSet);
    let (now, unix, key) = (world.now, world.unix(), entry.key());
    let asked = *world.floodfills.keys().next().unwrap();
    let netdb = &mut world.nodes[node].netdb;
    let reply = |from| DatabaseSearchReply { key, peers: Vec::new(), from };
    netdb.handle_search_reply(now, unix, CLIENT, None, &reply(Hash([1; 32])));
    netdb.handle_search_reply(now, unix, Context(2), None, &reply(asked));
    netdb.handle_search_reply(now, unix, CLIENT, Some(Hash([1; 32])), &reply(asked));
    assert_eq!(world.finish(node, id), Ok(entry));
}

#[test]
fn queries_that_cannot_be_sent_do_not_wait() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    let (now, unix) = (world.now, world.unix());
    let netdb = &mut world.nodes[node].netdb;
    let id = netdb.lookup(now, unix, CLIENT, Hash([1; 32]), LookupKind::LeaseSet);
    let mut unsent = 0;
    let end = loop {
        match netdb.poll_action() {
            Some(NetDbAction::Query { lookup, floodfill, .. }) => {
                unsent += 1;
                let to = floodfill.hash();
                netdb.handle_query_unsent(now, unix, lookup, &to, Unsent::Unreachable);
            }
            Some(NetDbAction::NotFound { lookup, reason, .. }) => break (lookup, reason),
            _ => panic!(),
        }
    };
    assert_eq!(end, (id, LookupFailure::TimedOut));
    assert!(unsent <= 12);
}

#[test]
fn what_was_to_go_directly_does_not_wait_for_who_cannot_be_reached() {
    let mut world = World::new(1, 2);
    let node = world.add_node(1, 2);
    let (now, unix) = (world.now, world.unix());
    let netdb = &mut world.nodes[node].netdb;
    let asked = |netdb: &mut NetDb| match netdb.poll_action() {
        Some(NetDbAction::Query { floodfill, direct, .. }) => {
            assert!(!direct);
            Some(floodfill.hash())
        }
        _ => None,
    };
    let key = Hash([1; 32]);
    let id = netdb.lookup(now, unix, Context::ROUTER, key, LookupKind::RouterInfo);
    let first = asked(netdb).unwrap();
    // What goes through tunnels is on its way, whatever we can reach ourselves.
    netdb.handle_unreachable(now, unix, first);
    assert_eq!(asked(netdb), None);
    netdb.handle_query_direct(id, &first);
    netdb.handle_unreachable(now, unix, first);
    let second = asked(netdb).expect("the other one, at once");
    assert_ne!(first, second);
    // Not until the first round of exploration.
    world.run(4900);
    let known = |hash| world.nodes[node].netdb.profile(&hash);
    assert!(known(second).is_some(), "it did not answer");
    assert!(known(first).is_none(), "it was never asked");
}

#[test]
fn soon_after_midnight_the_floodfills_of_the_day_before_are_asked_too() {
    let mut right = 0;
    for seed in 0..20 {
        let mut world = World::new(seed, 80);
        let node = world.add_node(seed, 80);
        let before = UnixTime::from_millis(
            (testing::UNIX + until_midnight(testing::UNIX)).as_millis() - 60_000,
        );
        world.epoch = before;
        let entry =
            StoreEntry::LeaseSet(lease_set_until(seed, before, before + Duration::from_secs(600)));
        world.place(&entry);
        // Two minutes later the key has turned, and nobody has moved the entry.
        world.now = world.now + Duration::from_secs(120);
        right += u32::from(world.find_lease_set(node, CLIENT, entry.key()) == Ok(entry));
    }
    assert_eq!(right, 20);
}

#[test]
fn exploration_learns_of_routers_fetches_them_and_slows_down() {
    let mut world = World::new(1, 30);
    let node = world.add_node(1, 3);
    let new: Vec<RouterInfo> = (5000..5040).map(|n| Maker::new(n).build()).collect();
    let names: Vec<Hash> = new.iter().map(RouterInfo::hash).collect();
    let known: Vec<Hash> = world.floodfills.keys().take(3).copied().collect();
    for (i, hash) in known.iter().enumerate() {
        let floodfill = world.floodfills.get_mut(hash).unwrap();
        for info in &new {
            floodfill.entries.insert(info.hash(), StoreEntry::RouterInfo(info.clone()));
        }
        // Its own entries are answered, everything else with names.
        let named = names.iter().skip(i * 13).take(14).copied().collect();
        floodfill.nature = Nature::Names(named);
    }
    // `Names` answers every query with names, so let the floodfills know their RouterInfos.
    for info in &new {
        world.add_floodfill(info.clone(), Nature::Silent);
    }
    world.run(120_000);
    let learned = world.nodes[node].netdb.counts();
    assert!(learned.unverified >= 40, "{learned:?}");
    let before = world.nodes[node].queries;
    world.run(600_000);
    assert!(world.nodes[node].queries - before <= 40, "{}", world.nodes[node].queries - before);
}

#[test]
fn two_runs_of_one_seed_are_the_same() {
    let run = || {
        let mut world = World::new(5, 60);
        world.loss = 10;
        let node = world.add_node(5, 20);
        for n in 0..10 {
            let entry = lease(n, world.unix());
            world.place(&entry);
            world.lookup(node, Context(n as u32 % 3), entry.key(), LookupKind::LeaseSet);
            let (now, unix) = (world.now, world.unix());
            let set = testing::lease_set(100 + n, unix);
            let _ = world.nodes[node].netdb.publish_lease_set(now, unix, CLIENT, set);
            world.run(2000);
        }
        world.run(120_000);
        world.trace
    };
    let first = run();
    assert!(first.len() > 50);
    assert_eq!(first, run());
}

#[test]
fn strangers_cannot_answer_in_place_of_those_that_were_asked() {
    let mut world = World::new(1, 1);
    world.delay = (1000, 1000);
    let node = world.add_node(1, 1);
    let unix = world.unix();
    let info = Maker::new(777).build();
    let later = unix + Duration::from_secs(1);
    let forged = Maker::new(777).published(later).forged().build();
    world.place(&StoreEntry::RouterInfo(info.clone()));
    let id = world.lookup(node, Context::ROUTER, info.hash(), LookupKind::RouterInfo);
    let now = world.now;
    let asked = *world.floodfills.keys().next().unwrap();
    let netdb = &mut world.nodes[node].netdb;
    let entry = StoreEntry::RouterInfo(forged);
    let store = DatabaseStore { reply: None, entry };
    let stranger = Some(Hash([1; 32]));
    assert!(netdb.handle_store(now, unix, Context::ROUTER, stranger, store).is_err());
    assert_eq!(world.finish(node, id), Ok(StoreEntry::RouterInfo(info)));
    let answers = world.nodes[node].netdb.profile(&asked).map(|p| p.answers(world.now));
    assert!(answers.is_some_and(|a| a >= 800), "{answers:?}: blamed for what a stranger said");
}
