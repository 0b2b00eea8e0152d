use super::*;
use crate::netdb::routing_key::until_midnight;
use crate::netdb::testing::lease_set;

fn publish(world: &mut World, node: usize, n: u64) -> StoreEntry {
    let (now, unix) = (world.now, world.unix());
    let set = lease_set(n, unix);
    world.nodes[node].netdb.publish_lease_set(now, unix, CLIENT, set.clone()).unwrap();
    world.drain(node);
    StoreEntry::LeaseSet(set)
}

fn holders(world: &World, entry: &StoreEntry) -> usize {
    world.floodfills.values().filter(|f| f.entries.get(&entry.key()) == Some(entry)).count()
}

#[test]
fn a_lease_set_is_stored_at_the_nearest_confirmed_and_verified_elsewhere() {
    let mut world = World::new(1, 40);
    let node = world.add_node(1, 40);
    let entry = publish(&mut world, node, 1);
    let key = entry.key();
    let near = world.nearest(&key, world.unix());
    assert!(!world.nodes[node].netdb.is_published(CLIENT, &key));
    world.run(1000);
    assert!(world.nodes[node].netdb.is_published(CLIENT, &key));
    assert!(!world.nodes[node].netdb.is_published(Context(2), &key));
    world.run(15_000);
    assert!(world.nodes[node].netdb.is_verified(CLIENT, &key));
    let stamp = world.nodes[node].stores[0].2;
    assert_eq!(world.nodes[node].stores, [(CLIENT, near[0], stamp)]);
    assert!(holders(&world, &entry) >= 3);
    let asked = &world.floodfills[&near[1]].queries;
    assert_eq!(asked.as_slice(), [(CLIENT, key, LookupType::LeaseSet)], "the second nearest");
    assert!(world.floodfills[&near[0]].queries.is_empty(), "not the one it was stored at");
}

#[test]
fn floodfills_that_drop_what_they_confirm_are_found_out() {
    for seed in 0..10 {
        let mut world = World::new(seed, 40);
        let node = world.add_node(seed, 40);
        let key = lease_set(seed, world.unix()).key();
        for hash in world.nearest(&key, world.unix()).into_iter().take(2) {
            world.floodfills.get_mut(&hash).unwrap().nature = Nature::Drops;
        }
        let entry = publish(&mut world, node, seed);
        world.run(60_000);
        assert!(world.nodes[node].netdb.is_verified(CLIENT, &key), "{seed}");
        assert!(holders(&world, &entry) >= 2);
        assert!(world.nodes[node].stores.len() <= 4);
    }
}

#[test]
fn silent_floodfills_are_followed_by_the_next_one() {
    let mut world = World::new(1, 40);
    let node = world.add_node(1, 40);
    let key = lease_set(1, world.unix()).key();
    for hash in world.nearest(&key, world.unix()).into_iter().take(3) {
        world.floodfills.get_mut(&hash).unwrap().nature = Nature::Silent;
    }
    publish(&mut world, node, 1);
    world.run(12_000);
    assert!(world.nodes[node].netdb.is_published(CLIENT, &key));
    assert_eq!(world.nodes[node].stores.len(), 4);
}

#[test]
fn old_data_at_another_floodfill_is_noticed_and_replaced() {
    let mut world = World::new(1, 40);
    let node = world.add_node(1, 40);
    let unix = world.unix();
    let key = lease_set(1, unix).key();
    let near = world.nearest(&key, unix);
    let old = lease(1, unix - Duration::from_secs(200));
    // The nearest confirms and drops, so nobody hears of the new one; the next ones have the old.
    world.floodfills.get_mut(&near[0]).unwrap().nature = Nature::Drops;
    for hash in near.iter().skip(1).take(4) {
        world.floodfills.get_mut(hash).unwrap().keep(old.clone());
    }
    // And one of them never lets go of it.
    world.floodfills.get_mut(&near[1]).unwrap().nature = Nature::Stale;
    let entry = publish(&mut world, node, 1);
    world.run(40_000);
    assert!(world.nodes[node].netdb.is_verified(CLIENT, &key));
    assert!(holders(&world, &entry) >= 2);
}

#[test]
fn what_gets_lost_later_is_stored_again() {
    let mut world = World::new(1, 40);
    let node = world.add_node(1, 40);
    let entry = publish(&mut world, node, 1);
    world.run(20_000);
    for floodfill in world.floodfills.values_mut() {
        floodfill.entries.clear();
    }
    world.run(200_000);
    assert!(holders(&world, &entry) >= 3, "found missing after two minutes");
}

#[test]
fn it_ends_with_the_lease_set_or_when_it_is_withdrawn() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    let entry = publish(&mut world, node, 1);
    let other = publish(&mut world, node, 2);
    world.nodes[node].netdb.withdraw(CLIENT, other.key());
    world.run(620_000);
    world.nodes[node].queries = 0;
    let stores = world.nodes[node].stores.len();
    assert!(!world.nodes[node].netdb.is_published(CLIENT, &entry.key()));
    world.run(600_000);
    assert_eq!(world.nodes[node].stores.len(), stores);
    assert!(world.nodes[node].netdb.tokens.is_empty());
    assert!(world.nodes[node].netdb.publications.is_empty());
}

#[test]
fn newer_versions_replace_and_older_ones_are_refused() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    publish(&mut world, node, 1);
    let (now, unix) = (world.now, world.unix());
    let netdb = &mut world.nodes[node].netdb;
    let mut again = |set| netdb.publish_lease_set(now, unix, CLIENT, set);
    assert_eq!(again(lease_set(1, unix)), Err(PublishError::NotNewer));
    let expired = lease_set(2, unix - Duration::from_secs(600));
    assert_eq!(again(expired), Err(PublishError::Expired));
    world.run(5000);
    let newer = publish(&mut world, node, 1);
    world.run(10_000);
    assert_eq!(holders(&world, &newer), 0, "20 s between versions");
    world.run(10_000);
    assert!(holders(&world, &newer) >= 3);
}

#[test]
fn a_clock_that_was_put_back_does_not_silence_us() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    publish(&mut world, node, 1);
    world.run(30_000);
    world.epoch = world.epoch - Duration::from_secs(3600);
    let corrected = publish(&mut world, node, 1);
    world.run(1000);
    assert!(world.nodes[node].netdb.is_published(CLIENT, &corrected.key()));
}

#[test]
fn confirmations_count_in_their_own_context_only() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    let (now, unix) = (world.now, world.unix());
    let netdb = &mut world.nodes[node].netdb;
    let set = lease_set(1, unix);
    netdb.publish_lease_set(now, unix, CLIENT, set.clone()).unwrap();
    let Some(NetDbAction::Store { token, .. }) = netdb.poll_action() else { panic!() };
    assert!(!netdb.handle_delivery_status(now, unix, Context::ROUTER, token));
    assert!(!netdb.handle_delivery_status(now, unix, Context(2), token));
    assert!(!netdb.handle_delivery_status(now, unix, CLIENT, token ^ 1));
    assert!(!netdb.is_published(CLIENT, &set.key()));
    assert!(netdb.handle_delivery_status(now, unix, CLIENT, token));
    assert!(!netdb.handle_delivery_status(now, unix, CLIENT, token));
    assert!(netdb.is_published(CLIENT, &set.key()));
}

#[test]
fn a_store_that_cannot_be_sent_goes_elsewhere() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    let (now, unix) = (world.now, world.unix());
    let netdb = &mut world.nodes[node].netdb;
    netdb.publish_lease_set(now, unix, CLIENT, lease_set(1, unix)).unwrap();
    let mut tried = Vec::new();
    while let Some(NetDbAction::Store { token, floodfill, .. }) = netdb.poll_action() {
        tried.push(floodfill.hash());
        netdb.handle_store_unsent(now, unix, token, Unsent::Unreachable);
    }
    assert_eq!(tried.len(), 7, "one round");
    tried.sort();
    tried.dedup();
    assert_eq!(tried.len(), 7);
    assert!(netdb.poll_timeout().unwrap() <= now + Duration::from_secs(10));
}

#[test]
fn our_router_info_is_published_directly_and_renewed() {
    let mut world = World::new(1, 40);
    let node = world.add_node(7, 40);
    let info = world.own_info(7);
    let (now, unix) = (world.now, world.unix());
    world.nodes[node].netdb.publish_router(now, unix, info.clone()).unwrap();
    world.run(40_000);
    let entry = StoreEntry::RouterInfo(info.clone());
    assert!(world.nodes[node].netdb.is_verified(Context::ROUTER, &info.hash()));
    assert!(holders(&world, &entry) >= 3);
    assert_eq!(world.nodes[node].direct_queries, 1);
    assert!(world.nodes[node].netdb.router(&info.hash()).is_none(), "not among the others");
    world.run(35 * 60_000);
    assert_eq!(world.nodes[node].renewals, 0);
    world.run(6 * 60_000);
    assert!(world.nodes[node].renewals >= 1, "and reminded until it is done");
    let newer = world.own_info(7);
    let (now, unix) = (world.now, world.unix());
    world.nodes[node].netdb.publish_router(now, unix, newer.clone()).unwrap();
    let renewals = world.nodes[node].renewals;
    world.run(20 * 60_000);
    assert_eq!(world.nodes[node].renewals, renewals);
    assert!(holders(&world, &StoreEntry::RouterInfo(newer)) >= 3);
}

#[test]
fn a_dropped_or_forged_router_info_is_noticed() {
    for forged in [false, true] {
        let mut world = World::new(1, 40);
        let node = world.add_node(7, 40);
        let info = world.own_info(7);
        let near = world.nearest(&info.hash(), world.unix());
        world.floodfills.get_mut(&near[0]).unwrap().nature = Nature::Drops;
        if forged {
            let unix = world.unix() + Duration::from_secs(60);
            let forged = testing::Maker::new(900_007).published(unix).forged().build();
            world.floodfills.get_mut(&near[1]).unwrap().nature =
                Nature::Says(StoreEntry::RouterInfo(forged));
        }
        let (now, unix) = (world.now, world.unix());
        world.nodes[node].netdb.publish_router(now, unix, info.clone()).unwrap();
        world.run(120_000);
        assert!(world.nodes[node].stores.len() >= 2, "stored again");
        assert!(holders(&world, &StoreEntry::RouterInfo(info)) >= 2);
    }
}

#[test]
fn with_one_floodfill_known_there_is_nobody_to_verify_with() {
    let mut world = World::new(1, 1);
    let node = world.add_node(1, 1);
    let entry = publish(&mut world, node, 1);
    world.run(20_000);
    assert!(world.nodes[node].netdb.is_verified(CLIENT, &entry.key()));
    assert_eq!(world.nodes[node].stores.len(), 1);
}

#[test]
fn publishing_waits_for_floodfills() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 0);
    let entry = publish(&mut world, node, 1);
    world.run(30_000);
    assert!(world.nodes[node].stores.is_empty());
    let (now, unix) = (world.now, world.unix());
    for floodfill in world.floodfills.values() {
        let _ = world.nodes[node].netdb.restore(now, unix, floodfill.info.clone());
    }
    world.run(10_000);
    assert!(holders(&world, &entry) >= 3);
}

#[test]
fn lookups_succeed_through_midnight() {
    let (mut right, mut all) = (0, 0);
    for seed in 0..4 {
        let mut world = World::new(seed, 80);
        let midnight = testing::UNIX + until_midnight(testing::UNIX);
        world.epoch = midnight - Duration::from_secs(900);
        let publisher = world.add_node(1, 80);
        let looker = world.add_node(2, 80);
        // Published every eight minutes, as its tunnels are replaced; looked for every 20 s.
        for step in 0..90u64 {
            if step % 24 == 0 {
                publish(&mut world, publisher, seed);
                world.run(3000);
            }
            let key = lease_set(seed, world.unix()).key();
            // Each time a destination that knows nothing yet.
            let ctx = Context(100 + step as u32);
            all += 1;
            right += u32::from(world.find_lease_set(looker, ctx, key).is_ok());
            world.nodes[looker].netdb.remove_context(ctx);
            world.run(20_000);
        }
        assert!(world.unix() > midnight + Duration::from_secs(600));
    }
    assert_eq!(right, all);
}

#[test]
fn contexts_go_with_everything_that_is_theirs() {
    let mut world = World::new(1, 20);
    let node = world.add_node(1, 20);
    let entry = publish(&mut world, node, 1);
    let id = world.lookup(node, CLIENT, Hash([5; 32]), LookupKind::LeaseSet);
    world.nodes[node].netdb.remove_context(CLIENT);
    world.run(60_000);
    let node = &world.nodes[node];
    assert!(!node.found.contains_key(&id) && !node.not_found.contains_key(&id));
    assert!(!node.netdb.is_published(CLIENT, &entry.key()));
    assert!(node.netdb.tokens.is_empty() && node.netdb.by_key.is_empty());
}
