//! The worked example of `docs/simulator.md`: a scenario, and an adversary of one's own.

use ramson_core::router::conduct::Conduct;
use ramson_core::time::Instant;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_world::sim::adversary::Adversary;
use ramson_world::sim::{Scenario, run, run_with};
use ramson_world::{NodeId, World};
use std::collections::BTreeMap;

const STORM: &str = include_str!("../examples/storm.toml");

struct Miser;

struct Counting(BTreeMap<Hash, u32>);

impl Conduct for Counting {
    fn receive(&mut self, _: Instant, from: &Hash, message: Message) -> Option<Message> {
        if message.kind != MessageType::TUNNEL_DATA {
            return Some(message);
        }
        let cells = self.0.entry(*from).or_default();
        *cells += 1;
        (*cells <= 20).then_some(message)
    }
}

impl Adversary for Miser {
    fn begin(&mut self, world: &mut World, nodes: &[NodeId]) {
        for id in nodes {
            world.set_conduct(*id, Box::new(|| Box::new(Counting(BTreeMap::new()))));
        }
    }
}

#[test]
fn a_miser_is_avoided_like_one_who_drops() {
    let text = STORM.replace("kind = \"drop\"", "kind = \"miser\"");
    let scenario = Scenario::parse(&text).unwrap();
    let outcome =
        run_with(&scenario, 1, &mut [("miser", |_, _| Box::new(Miser))], &mut |_| 0).unwrap();
    assert!(outcome.is_met(), "{:?}", outcome.checked);
}

#[test]
fn the_example_of_the_manual_is_what_it_says() {
    let manual = include_str!("../../../docs/simulator.md");
    assert!(manual.contains(STORM), "storm.toml and the manual differ");
    let outcome = run(&Scenario::parse(STORM).unwrap(), 1, &mut |_| 0).unwrap();
    assert!(outcome.is_met(), "{:?}", outcome.checked);
}
