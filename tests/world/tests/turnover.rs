//! Half an hour: every tunnel, lease set and session turns over, and nobody reading notices.

use ramson_world::{Shape, SmallWorld};
use std::time::Duration;

#[test]
fn nothing_fails_while_everything_turns_over() {
    let mut small = SmallWorld::new(1, Shape::default());
    small.wait_ready(Duration::from_secs(60));
    let start = small.world.now();
    while small.world.now().saturating_since(start) < Duration::from_secs(30 * 60) {
        let at = small.world.now();
        let fetched = small.fetch(3000, Duration::from_secs(30));
        assert!(fetched.is_ok(), "at {at:?}: {fetched:?}");
        small.world.run_for(Duration::from_secs(20));
    }
    let report = small.world.router(small.reader).unwrap().report(small.world.now());
    for pool in &report.pools {
        for direction in [&pool.inbound, &pool.outbound] {
            assert!(direction.built >= 6, "{}: built {}", pool.name, direction.built);
            assert_eq!(direction.failed, 0, "{}", pool.name);
        }
    }
    assert!(report.buffered < 1 << 20, "{} bytes held", report.buffered);
}
