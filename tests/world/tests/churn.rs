//! A router is lost every three minutes, and another one comes back: almost nobody notices.

use ramson_world::{NodeId, Shape, SmallWorld};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(180);

#[test]
fn ninety_nine_of_a_hundred_fetches_succeed_while_routers_come_and_go() {
    let shape = Shape { routers: 12, floodfills: 3, quantity: 3, ..Shape::default() };
    let mut small = SmallWorld::new(1, shape);
    small.wait_ready(Duration::from_secs(60));
    let (mut fetched, mut failed) = (0, Vec::new());
    let mut gone: Option<NodeId> = None;
    for round in 0..10 {
        if let Some(id) = gone {
            small.world.start(id);
        }
        let victim = small.others[(round * 3) % small.others.len()];
        if round % 2 == 0 {
            small.world.crash(victim);
        } else {
            small.world.lose_power(victim);
        }
        gone = Some(victim);
        let start = small.world.now();
        while small.world.now().saturating_since(start) < EVERY {
            match small.fetch(1000, Duration::from_secs(60)) {
                Ok(()) => fetched += 1,
                Err(e) => failed.push((round, small.world.now(), e)),
            }
            small.world.run_for(Duration::from_secs(5));
        }
    }
    assert!(fetched > 250, "{fetched}");
    assert!(failed.len() * 100 <= fetched, "{fetched} fetched; {failed:?}");
}
