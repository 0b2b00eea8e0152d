//! Wall clocks that are set by hours while routers run.

use ramson_world::{NodeId, Shape, SmallWorld};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOURS: i64 = 7200;

fn ready(seed: u64) -> SmallWorld {
    let mut small = SmallWorld::new(seed, Shape::default());
    small.wait_ready(MINUTE);
    fetch(&mut small);
    small
}

fn fetch(small: &mut SmallWorld) {
    assert_eq!(small.fetch(20_000, MINUTE), Ok(()));
}

fn all(small: &SmallWorld) -> Vec<NodeId> {
    let mut all = small.others.clone();
    all.extend([small.reader, small.host]);
    all.extend(small.floodfills.iter().copied());
    all
}

#[test]
fn a_step_on_all_machines_is_over_within_a_minute_and_leaves_nothing_behind() {
    for step in [HOURS, -HOURS] {
        let mut small = ready(30);
        for id in all(&small) {
            small.world.step_clock(id, step);
        }
        let failed = small.fetch_until(1000, MINUTE);
        assert!(failed.is_ok(), "{step}: {failed:?}");
        // Long enough for every tunnel and lease set to be a new one, and for what was looked up
        // before to be looked up again.
        for _ in 0..25 {
            fetch(&mut small);
            small.world.run_for(MINUTE);
        }
    }
}

#[test]
fn one_machine_with_a_wrong_clock_is_back_soon_after_it_is_right_again() {
    for step in [HOURS, -HOURS] {
        for (n, server) in [false, true].into_iter().enumerate() {
            let mut small = ready(31 + n as u64);
            let wrong = if server { small.host } else { small.reader };
            small.world.step_clock(wrong, step);
            small.world.run_for(MINUTE * 5);
            small.world.step_clock(wrong, -step);
            let failed = small.fetch_until(1000, MINUTE * 2);
            assert!(failed.is_ok(), "{step}, server {server}: {failed:?}");
            for _ in 0..12 {
                fetch(&mut small);
                small.world.run_for(MINUTE);
            }
        }
    }
}
