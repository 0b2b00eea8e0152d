//! Anything that owners may do, in any order, over a bad line: bytes are a prefix of what was
//! written, nothing leaks, and everything ends when everybody has let go.

use super::super::*;
use super::net::*;

/// One end of a stream as its owner sees it.
#[derive(Default)]
struct End {
    written: usize,
    read: Vec<u8>,
    closed: bool,
    gone: bool,
    remote_closed: bool,
}

struct World {
    net: Net,
    ends: [BTreeMap<StreamId, End>; 2],
    rng: Rng,
}

impl World {
    fn new(seed: u64) -> Self {
        let link = Link {
            delay: ms(5 + seed % 60),
            gap: Duration::from_micros(200),
            queue: 200,
            loss: seed % 5 * 20,
            duplicate: 20,
            late: 50,
            lateness: ms(100),
            ..Link::default()
        };
        let config = StreamingConfig { memory: 3_000_000, ..StreamingConfig::default() };
        let mut net = Net::with(seed, link, config);
        net.hosts.iter_mut().for_each(|host| host.reads = false);
        let rng = net.rng.fork("operations");
        Self { net, ends: Default::default(), rng }
    }

    fn events(&mut self) {
        for host in 0..2 {
            for event in core::mem::take(&mut self.net.hosts[host].events) {
                match event {
                    StreamEvent::Incoming { id, .. } => {
                        self.ends[host].insert(id, End::default());
                    }
                    StreamEvent::Closed(id, _) => {
                        let end = self.ends[host].get_mut(&id).unwrap();
                        assert!(!end.gone, "an event after the end");
                        assert_eq!(self.net.hosts[host].streams.readable(id), 0);
                        end.gone = true;
                    }
                    StreamEvent::RemoteClosed(id) => {
                        let end = self.ends[host].get_mut(&id).unwrap();
                        assert!(!end.gone && !end.remote_closed);
                        end.remote_closed = true;
                    }
                    StreamEvent::Connected(id)
                    | StreamEvent::Readable(id)
                    | StreamEvent::Writable(id) => {
                        assert!(!self.ends[host][&id].gone, "an event after the end");
                    }
                    StreamEvent::Stalled { remote, .. } => {
                        if self.rng.below(3) == 0 {
                            self.net.hosts[host].streams.handle_rerouted(self.net.now, &remote);
                        }
                    }
                    StreamEvent::Pong { .. } => {}
                }
            }
        }
    }

    fn operate(&mut self) {
        let now = self.net.now;
        let host = self.rng.index(2);
        let live: Vec<_> =
            self.ends[host].iter().filter(|(_, end)| !end.gone).map(|(id, _)| *id).collect();
        let operation = self.rng.below(100);
        if operation < 8 && host == 0 && live.len() < 30 {
            let id = self.net.connect();
            self.ends[0].insert(id, End::default());
            return;
        }
        if operation < 10 {
            let remote = self.net.hosts[1 - host].hash();
            let held = self.rng.below(4) == 0;
            self.net.hosts[host].streams.hold(now, &remote, held);
            return;
        }
        if live.is_empty() {
            return;
        }
        let id = live[self.rng.index(live.len())];
        let streams = &mut self.net.hosts[host].streams;
        let end = self.ends[host].get_mut(&id).unwrap();
        match operation {
            10..50 if !end.closed => {
                let len = self.rng.index(50_000);
                let data = pattern(end.written + len);
                end.written += streams.write(now, id, &data[end.written..]);
            }
            50..90 => {
                streams.read(now, id, self.rng.index(100_000), &mut end.read);
            }
            90..94 => {
                streams.close(now, id);
                end.closed = true;
            }
            94 => {
                streams.reset(now, id);
                end.gone = true;
            }
            95 => {
                streams.release(now, id);
                end.gone = true;
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        for host in &self.net.hosts {
            let held: usize = host.streams.conns.values().map(|conn| conn.bytes()).sum();
            assert_eq!(host.streams.memory(), held);
            for path in host.streams.paths.iter().map(|(_, path)| path) {
                assert!(path.congestion.flying() <= 300);
            }
        }
        for (host, ends) in self.ends.iter().enumerate() {
            for (id, end) in ends {
                assert!(end.read == pattern(end.read.len()), "{host} {id:?}: other bytes");
            }
        }
    }

    fn steps(&mut self, operations: u32) {
        for _ in 0..operations {
            self.events();
            self.operate();
            self.events();
            let end = self.net.now + ms(self.rng.below(30));
            while self.net.step(end) {
                self.events();
            }
        }
    }
}

#[test]
fn any_operations_in_any_order_keep_the_promises() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        for round in 0..4 {
            if round == 2 {
                // Nothing gets through for a while.
                let links = world.net.links;
                world.net.links.iter_mut().for_each(|link| link.loss = 1000);
                world.steps(30);
                world.net.links = links;
            }
            world.steps(150);
            world.check();
        }
        // Everybody lets go, twice, for SYNs were still under way: all must end, and nothing be left.
        for _ in 0..2 {
            for host in 0..2 {
                let remote = world.net.hosts[1 - host].hash();
                let streams = &mut world.net.hosts[host].streams;
                streams.hold(world.net.now, &remote, false);
                let ids: Vec<_> = streams.conns.keys().copied().collect();
                ids.iter().for_each(|id| streams.release(world.net.now, *id));
            }
            let end = world.net.now + Duration::from_secs(150);
            while world.net.step(end) {}
        }
        for host in &world.net.hosts {
            let streams = &host.streams;
            assert!(streams.is_empty(), "seed {seed}: {} left", streams.len());
            assert_eq!((streams.memory(), streams.poll_timeout()), (0, None), "seed {seed}");
            assert!(streams.ready.is_empty());
            for path in streams.paths.iter().map(|(_, path)| path) {
                assert_eq!((path.streams, path.congestion.flying()), (0, 0), "seed {seed}");
                assert!(path.waiting.is_empty());
            }
        }
    }
}
