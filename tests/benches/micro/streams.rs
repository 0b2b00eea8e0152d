//! Streaming over a pipe that loses nothing, in virtual time: what the processor does for it.

use crate::harness::Bench;
use crate::primitives::rng;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::streaming::{StreamEvent, StreamId, StreamingConfig, Streams};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::identity::Identity;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
/// Of the pipe, one way.
const DELAY: Duration = Duration::from_millis(10);
const TRANSFER: usize = 1 << 20;

/// A packet under way: when it arrives, at which end, ports, bytes.
type Flying = (Instant, usize, (u16, u16), Vec<u8>);

struct Pipe {
    ends: [Streams; 2],
    hashes: [Hash; 2],
    /// In the order of their arrival, since all take as long.
    flying: VecDeque<Flying>,
    now: Instant,
    from: StreamId,
    to: StreamId,
}

impl Pipe {
    fn connected() -> Self {
        let mut rng = rng();
        let mut end = || {
            let signing = Arc::new(SigningKey::generate(&mut rng));
            let encryption = PrivateKey::generate(&mut rng).public();
            let public = signing.public();
            let identity = Identity::new_destination(encryption, &public, &mut rng);
            let config = StreamingConfig::default();
            (Streams::new(identity.clone(), signing, config, rng.fork("streams")), identity)
        };
        let ((mut a, a_identity), (mut b, b_identity)) = (end(), end());
        b.listen(80);
        let now = Instant::from_micros(1);
        let hashes = [a_identity.hash(), b_identity.hash()];
        let from = a.connect(now, b_identity, 1, 80).unwrap();
        a.write(now, from, b"hello");
        let mut pipe = Self { ends: [a, b], hashes, flying: VecDeque::new(), now, from, to: from };
        for _ in 0..100 {
            pipe.step();
            while let Some(event) = pipe.ends[1].poll_event() {
                if let StreamEvent::Incoming { id, .. } = event {
                    pipe.to = id;
                }
            }
        }
        while pipe.ends[0].poll_event().is_some() {}
        let mut hello = Vec::new();
        assert_eq!(pipe.ends[1].read(pipe.now, pipe.to, 100, &mut hello), 5);
        pipe
    }

    /// Everything that may go goes; then the next thing happens.
    fn step(&mut self) {
        for n in 0..2 {
            let mut bytes = Vec::new();
            while let Some(out) = self.ends[n].poll_packet(self.now, &mut bytes) {
                let ports = (out.from_port, out.to_port);
                let packet = std::mem::take(&mut bytes);
                self.flying.push_back((self.now + DELAY, 1 - n, ports, packet));
            }
        }
        let timer = self.ends.iter().filter_map(Streams::poll_timeout).min();
        let arrival = self.flying.front().map(|f| f.0);
        let Some(next) = timer.into_iter().chain(arrival).min() else { return };
        self.now = self.now.max(next);
        for end in &mut self.ends {
            if end.poll_timeout().is_some_and(|at| at <= self.now) {
                end.handle_timeout(self.now);
            }
        }
        while self.flying.front().is_some_and(|f| f.0 <= self.now) {
            let Some((_, n, (from, to), bytes)) = self.flying.pop_front() else { break };
            let session = Some(self.hashes[1 - n]);
            self.ends[n].handle_packet(self.now, UNIX, from, to, session, &bytes);
        }
    }

    fn transfer(&mut self, data: &[u8]) {
        let (mut written, mut read, mut out) = (0, 0, Vec::new());
        while read < data.len() {
            written += self.ends[0].write(self.now, self.from, &data[written..]);
            self.step();
            out.clear();
            read += self.ends[1].read(self.now, self.to, usize::MAX, &mut out);
            for end in &mut self.ends {
                while end.poll_event().is_some() {}
            }
        }
    }
}

pub(crate) fn add(bench: &mut Bench) {
    bench.add("streaming 1 MiB over a pipe", TRANSFER, || {
        let mut pipe = Pipe::connected();
        let data = vec![0x5a; TRANSFER];
        move || pipe.transfer(&data)
    });
    bench.add("streaming connect and accept", 0, || Pipe::connected);
}
