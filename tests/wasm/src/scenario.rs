//! Ten routers; a service at one of them, a visitor at another, six hops between the two.

use crate::apps::{App, Service, Visitor};
use ramson_core::config::Tunnels;
use ramson_world::{NodeId, Shape, SmallWorld, World};
use std::time::Duration;

/// A network with two programs in it.
pub struct Scenario {
    world: World,
    seed: u64,
    routers: usize,
    service: Program,
    /// Where the service is.
    address: String,
    visitor: Program,
}

/// An application and the router that is part of it.
struct Program {
    node: NodeId,
    app: App,
}

impl Scenario {
    /// Everything that happens there depends on `seed`.
    ///
    /// # Panics
    /// When the service cannot be opened.
    #[must_use]
    #[expect(clippy::expect_used, reason = "there is nothing that it could fail for")]
    pub fn new(seed: u64) -> Self {
        let shape = Shape::default();
        let SmallWorld { mut world, others, .. } = SmallWorld::new(seed, shape);
        let mut others = others.into_iter();
        let mut node = || others.next().expect("the world has routers for us");
        let (near, far) = (node(), node());
        let opened = world.embedder(far, |router, now| Service::open(router, now, tunnels()));
        let (service, address) = opened.expect("the service opens");
        Self {
            world,
            seed,
            routers: shape.routers + shape.floodfills,
            service: Program { node: far, app: App::Service(service) },
            address,
            visitor: Program { node: near, app: App::Bystander },
        }
    }

    /// Lets virtual time pass, at most `limit`; says whether the visitor is done.
    pub fn run(&mut self, limit: Duration) -> bool {
        let end = self.world.now() + limit;
        loop {
            self.service.tell(&mut self.world);
            self.visitor.tell(&mut self.world);
            match &self.visitor.app {
                App::Visitor(visitor) if visitor.ended.is_some() => return true,
                App::Visitor(_) => {}
                App::Service(_) | App::Bystander if self.service.app.is_there() => {
                    self.visit();
                    continue;
                }
                App::Service(_) | App::Bystander => {}
            }
            let (far, near) = (self.service.node, self.visitor.node);
            let left = end.saturating_since(self.world.now());
            let told = |world: &World, node| !world.told(node).is_empty();
            if !self.world.run_until(left, |world| told(world, far) || told(world, near)) {
                return false;
            }
        }
    }

    #[expect(clippy::expect_used, reason = "there is nothing that it could fail for")]
    fn visit(&mut self) {
        let service = self.address.parse().expect("the service has an address");
        let opened = self.world.embedder(self.visitor.node, |router, now| {
            Visitor::open(router, now, &service, tunnels())
        });
        self.visitor.app = App::Visitor(opened.expect("the visitor's destination opens"));
    }

    /// What happened so far, as JSON.
    #[must_use]
    pub fn report(&self) -> String {
        let (fetched, problem) = match &self.visitor.app {
            App::Visitor(visitor) => (visitor.got.len(), visitor.check().err()),
            App::Service(_) | App::Bystander => (0, Some("the service is not ready".into())),
        };
        let ok = problem.is_none();
        serde_json::json!({
            "seed": self.seed,
            "routers": self.routers,
            "virtual_ms": self.world.now().as_micros() / 1000,
            "events": self.world.events(),
            "fetched_bytes": fetched,
            "fetched_ok": ok,
            "problem": problem,
            "digest": self.world.digest(),
        })
        .to_string()
    }
}

impl Program {
    /// Tells the application what its router has to say.
    fn tell(&mut self, world: &mut World) {
        while let Some(event) = world.take_told(self.node) {
            world.embedder(self.node, |router, now| self.app.handle(router, now, event));
        }
    }
}

/// Three hops each way.
fn tunnels() -> Tunnels {
    Tunnels::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Virtual time until the visitor is done, and the report.
    fn run(seed: u64, step: Duration) -> String {
        let mut scenario = Scenario::new(seed);
        assert!(scenario.report().contains("\"fetched_ok\":false"));
        let end = Duration::from_secs(300).as_micros() / step.as_micros();
        assert!((0..end).any(|_| scenario.run(step)), "{}", scenario.report());
        scenario.report()
    }

    #[test]
    fn the_visitor_is_answered_and_a_seed_tells_all_however_often_one_looks() {
        let report = run(1, Duration::from_secs(300));
        assert!(report.contains("\"fetched_ok\":true"), "{report}");
        assert_eq!(run(1, Duration::from_millis(50)), report);
        assert_ne!(run(2, Duration::from_secs(1)), report);
    }
}
