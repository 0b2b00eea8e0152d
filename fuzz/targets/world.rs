//! Whole routers in a small world, and faults in the order of the input.

use super::input::Input;
use ramson_world::{NodeId, Shape, SmallWorld, Weather};
use std::time::Duration;

/// Operations of one input: a world is dear.
const MAX_OPS: usize = 12;
/// No machine starts sooner. Lease sets have seconds: a second one within the same is not newer.
const BOOT: Duration = Duration::from_secs(2);
/// After all faults are over, a page comes within this time.
const HEALS_WITHIN: Duration = Duration::from_secs(240);

/// Routers that crash, stand still, are cut off, have wrong clocks and bad lines, and pages that are
/// asked for meanwhile. Whatever the order: no promise to a runtime is broken, what comes is what was
/// sent, and when all is right again the site answers.
pub fn world_ops(data: &[u8]) {
    let mut input = Input::new(data);
    // Lease sets are lost with a floodfill until they are published again: there are others.
    let shape = Shape { routers: 5, floodfills: 3, length: 1, quantity: 1 };
    let mut small = SmallWorld::new(u64::from(input.u8()), shape);
    small.wait_ready(Duration::from_secs(120));
    let all: Vec<NodeId> = (0..shape.routers + shape.floodfills).map(NodeId).collect();
    let mut ahead = vec![0; all.len()];
    for _ in 0..MAX_OPS {
        if input.is_empty() {
            break;
        }
        let (op, with) = (input.u8(), input.u8());
        let id = all[usize::from(with) % all.len()];
        let amount = u64::from(with / 8);
        let world = &mut small.world;
        match op % 12 {
            0 => world.run_for(Duration::from_secs(amount)),
            1 if world.router(id).is_some() => world.crash(id),
            2 if world.router(id).is_some() => world.lose_power(id),
            3 if world.router(id).is_none() => {
                world.run_for(BOOT);
                world.start(id);
            }
            4 => world.freeze(id, Duration::from_secs(amount)),
            5 => world.set_side(id, 1),
            6 => world.set_link(id, false),
            7 => {
                let step = (amount as i64 - 16) * 300;
                ahead[id.0] += step;
                world.step_clock(id, step);
            }
            8 => {
                let (loss, corrupt) = (f64::from(with % 32) / 100.0, f64::from(with / 32) / 1000.0);
                world.set_weather_of(id, Weather { loss, corrupt, burst: 2.0, ..Weather::FAIR });
            }
            9 => world.set_firewalled(id, true),
            10 => {
                // It may well fail; a wrong answer may not come.
                let size = 1 << (with % 16);
                if world.router(small.reader).is_some() {
                    let _ = small.fetch(size, Duration::from_secs(20));
                }
            }
            11 => {
                for id in &all {
                    small.world.set_side(*id, 0);
                    small.world.set_link(*id, true);
                }
            }
            _ => {}
        }
    }
    small.world.run_for(BOOT);
    for id in &all {
        let world = &mut small.world;
        world.set_side(*id, 0);
        world.set_link(*id, true);
        world.set_weather_of(*id, Weather::FAIR);
        world.set_firewalled(*id, false);
        if world.router(*id).is_none() {
            world.start(*id);
        }
        world.step_clock(*id, -ahead[id.0]);
    }
    let healed = small.fetch_until(1000, HEALS_WITHIN);
    assert!(healed.is_ok(), "{healed:?}");
}
