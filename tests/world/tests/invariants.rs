//! What must be true all the time, in a small network in which much goes wrong. The collections, the paths
//! and the timers are looked at in every world, see `World`.

use ramson_world::sim::{run, swarm};
use ramson_world::{NodeId, Shape, SmallWorld, shadow};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn no_nonce_and_no_tag_is_used_twice() {
    shadow::watch();
    let mut small = SmallWorld::new(40, Shape { routers: 10, ..Shape::default() });
    small.wait_ready(MINUTE);
    for round in 0..6 {
        assert!(small.fetch_until(30_000, MINUTE).is_ok());
        let (hop, host) = (small.others[round], small.host);
        // Sessions, ratchets and tunnels begin anew, at this end and at the other.
        small.world.crash(hop);
        small.world.run_for(Duration::from_secs(20));
        small.world.start(hop);
        if round == 3 {
            small.world.crash(host);
            small.world.start(host);
        }
    }
    let (nonces, tags) = shadow::stop();
    assert!(nonces > 10_000 && tags > 100, "{nonces} nonces, {tags} tags");
}

#[test]
fn nor_in_bad_weather() {
    shadow::watch();
    let mut plan = swarm::plan(3);
    plan.network.routers = 14;
    let _outcome = run(&plan, 3, &mut |_| 0).unwrap();
    let (nonces, tags) = shadow::stop();
    assert!(nonces > 10_000 && tags > 100, "{nonces} nonces, {tags} tags");
}

#[test]
fn every_path_in_a_network_of_shared_subnets_was_looked_at() {
    let mut small = SmallWorld::with_neighbours(41, Shape { routers: 12, ..Shape::default() }, 2);
    small.wait_ready(MINUTE);
    small.world.run_for(3 * MINUTE);
    let addresses: Vec<_> = small.world.nodes().map(|id: NodeId| small.world.address(id)).collect();
    assert_eq!(addresses[0].to_string(), "11.10.0.1");
    assert_eq!(addresses[1].to_string(), "11.10.0.2");
    assert_eq!(addresses[2].to_string(), "11.11.0.1");
    assert!(small.world.checked_paths() > 150, "{}", small.world.checked_paths());
}
