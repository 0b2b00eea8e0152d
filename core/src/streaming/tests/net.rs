//! Two destinations and a bad line between them, in virtual time.

use super::super::*;
use crate::crypto::x25519;
use crate::rng::Seed;
use crate::time::UnixTime;
use crate::wire::streaming::Packet;

pub(super) const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One direction of the line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Time that a packet occupies the line.
    pub(super) gap: Duration,
    /// Packets that wait for the line; more are dropped. 0: no limit.
    pub(super) queue: u32,
    /// Chances in 1000.
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) late: u64,
    /// How late, at most.
    pub(super) lateness: Duration,
    /// Now and then the line stands still for so long: a router that has something else to do.
    pub(super) freeze: Duration,
}

/// A destination with an application that reads at once and writes what it was told to.
pub(super) struct Host {
    pub(super) streams: Streams,
    pub(super) identity: Identity,
    pub(super) key: Arc<SigningKey>,
    pub(super) events: Vec<StreamEvent>,
    pub(super) reads: bool,
    pub(super) received: BTreeMap<StreamId, Vec<u8>>,
    pub(super) sending: BTreeMap<StreamId, Sending>,
}

pub(super) struct Sending {
    data: Vec<u8>,
    at: usize,
    close: bool,
}

pub(super) fn destination(rng: &mut Rng) -> (Identity, Arc<SigningKey>) {
    let key = SigningKey::generate(rng);
    let identity = Identity::new_destination(x25519::PublicKey(rng.bytes()), &key.public(), rng);
    (identity, Arc::new(key))
}

impl Host {
    fn new(rng: &mut Rng, config: StreamingConfig) -> Self {
        let (identity, key) = destination(rng);
        let streams = Streams::new(identity.clone(), key.clone(), config, rng.fork("streams"));
        Self {
            streams,
            identity,
            key,
            events: Vec::new(),
            reads: true,
            received: BTreeMap::new(),
            sending: BTreeMap::new(),
        }
    }

    pub(super) fn hash(&self) -> Hash {
        self.identity.hash()
    }

    pub(super) fn send(&mut self, id: StreamId, data: Vec<u8>, close: bool) {
        self.sending.insert(id, Sending { data, at: 0, close });
    }

    /// The application.
    fn run(&mut self, now: Instant) {
        while let Some(event) = self.streams.poll_event() {
            self.events.push(event);
        }
        self.sending.retain(|id, sending| {
            let rest = &sending.data[sending.at..];
            if self.streams.writable(*id) > 0 && !rest.is_empty() {
                sending.at += self.streams.write(now, *id, rest);
            }
            if sending.at == sending.data.len() && sending.close {
                self.streams.close(now, *id);
            }
            sending.at < sending.data.len()
        });
        if self.reads {
            let ids: Vec<_> = self.streams.conns.keys().copied().collect();
            for id in ids {
                if self.streams.readable(id) > 0 {
                    let out = self.received.entry(id).or_default();
                    self.streams.read(now, id, usize::MAX, out);
                }
            }
        }
        while let Some(event) = self.streams.poll_event() {
            self.events.push(event);
        }
    }

    /// The streams that came in.
    pub(super) fn incoming(&self) -> Vec<StreamId> {
        let id = |event: &StreamEvent| {
            if let StreamEvent::Incoming { id, .. } = event { Some(*id) } else { None }
        };
        self.events.iter().filter_map(id).collect()
    }

    pub(super) fn closed(&self, id: StreamId) -> Option<Result<(), StreamError>> {
        let outcomes: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| {
                let StreamEvent::Closed(of, outcome) = event else { return None };
                (*of == id).then_some(*outcome)
            })
            .collect();
        assert!(outcomes.len() <= 1, "{id:?} closed twice");
        outcomes.first().copied()
    }

    pub(super) fn saw(&self, event: &StreamEvent) -> bool {
        self.events.contains(event)
    }
}

/// A packet on the line.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) to: usize,
    pub(super) packet: OutPacket,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) hosts: [Host; 2],
    pub(super) links: [Link; 2],
    pub(super) rng: Rng,
    pub(super) line: BTreeMap<(Instant, u64), Flight>,
    free_at: [Instant; 2],
    count: u64,
    /// Everything that was sent, before the line did anything to it.
    pub(super) log: Vec<(Instant, Flight)>,
    pub(super) logging: bool,
    /// Say which ratchet session packets came over.
    pub(super) bound: bool,
    /// What is sent on this stream is ignored by the peer.
    pub(super) ignored: Option<StreamId>,
}

impl Net {
    pub(super) fn new(seed: u64, link: Link) -> Self {
        Self::with(seed, link, StreamingConfig::default())
    }

    pub(super) fn with(seed: u64, link: Link, config: StreamingConfig) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let a = Host::new(&mut rng, config.clone());
        let mut b = Host::new(&mut rng, config);
        b.streams.listen(0);
        Self {
            now: Instant::ZERO + ms(1000),
            hosts: [a, b],
            links: [link; 2],
            rng,
            line: BTreeMap::new(),
            free_at: [Instant::ZERO; 2],
            count: 0,
            log: Vec::new(),
            logging: false,
            bound: true,
            ignored: None,
        }
    }

    /// `a` opens a stream to `b`.
    pub(super) fn connect(&mut self) -> StreamId {
        let remote = self.hosts[1].identity.clone();
        self.hosts[0].streams.connect(self.now, remote, 0, 80).unwrap()
    }

    /// The stream that `b` got.
    pub(super) fn accepted(&self) -> StreamId {
        *self.hosts[1].incoming().last().expect("no stream came in")
    }

    /// A stream with both ends up.
    pub(super) fn open(&mut self) -> (StreamId, StreamId) {
        let id = self.connect();
        self.until(|net| net.hosts[0].saw(&StreamEvent::Connected(id)));
        let other = self.accepted();
        self.settle();
        (id, other)
    }

    /// Everything that can be done now.
    pub(super) fn drain(&mut self) {
        for from in 0..2 {
            self.hosts[from].run(self.now);
            let mut bytes = Vec::new();
            while let Some(packet) = self.hosts[from].streams.poll_packet(self.now, &mut bytes) {
                let to = 1 - from;
                assert_eq!(packet.to, self.hosts[to].hash());
                Packet::decode(&bytes).expect("we make valid packets");
                let flight = Flight { to, packet, bytes: core::mem::take(&mut bytes) };
                self.put(from, flight);
                self.hosts[from].run(self.now);
            }
            assert!(bytes.is_empty());
        }
    }

    /// On the line with it.
    fn put(&mut self, from: usize, flight: Flight) {
        if self.logging {
            self.log.push((self.now, flight.clone()));
        }
        if self.ignored.is_some() && flight.packet.stream == self.ignored {
            return;
        }
        let link = self.links[from];
        let waiting = self.free_at[from].saturating_since(self.now);
        if link.queue > 0 && waiting > link.gap * link.queue {
            return;
        }
        self.free_at[from] = self.free_at[from].max(self.now) + link.gap;
        if link.freeze > Duration::ZERO && self.rng.below(100) == 0 {
            self.free_at[from] = self.free_at[from] + link.freeze;
        }
        let sent = self.free_at[from];
        if self.rng.below(1000) < link.loss {
            return;
        }
        let copies = if self.rng.below(1000) < link.duplicate { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.rng.below(1000) < link.late {
                Duration::from_micros(self.rng.below(link.lateness.as_micros() as u64))
            } else {
                Duration::ZERO
            };
            self.inject(sent + link.delay + late, flight.clone());
        }
    }

    pub(super) fn inject(&mut self, at: Instant, flight: Flight) {
        self.count += 1;
        self.line.insert((at, self.count), flight);
    }

    /// Lets time pass to whatever comes next; false when nothing does before `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        self.drain();
        let next = self.hosts.iter().filter_map(|host| host.streams.poll_timeout());
        let next = next.chain(self.line.first_key_value().map(|((at, _), _)| *at)).min();
        let Some(next) = next.filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.line.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let flight = entry.remove();
            self.deliver(&flight);
        }
        for host in &mut self.hosts {
            if host.streams.poll_timeout().is_some_and(|at| at <= self.now) {
                host.streams.handle_timeout(self.now);
                let later = host.streams.poll_timeout().is_none_or(|at| at > self.now);
                assert!(later, "a deadline that does not pass");
            }
        }
        true
    }

    pub(super) fn deliver(&mut self, flight: &Flight) {
        let session = self.bound.then(|| self.hosts[1 - flight.to].hash());
        let Flight { to, packet, bytes } = flight;
        let (from_port, to_port) = (packet.from_port, packet.to_port);
        let streams = &mut self.hosts[*to].streams;
        streams.handle_packet(self.now, UNIX, from_port, to_port, session, bytes);
    }

    /// Runs for some time.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.drain();
    }

    /// Runs until `done`, an hour at most; says how long it took.
    pub(super) fn until(&mut self, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        let end = start + Duration::from_secs(3600);
        self.drain();
        while !done(self) {
            assert!(self.step(end), "it never happened");
            self.drain();
        }
        self.now.saturating_since(start)
    }

    /// Runs until nothing is on the line for a while.
    pub(super) fn settle(&mut self) {
        self.run(ms(500));
    }

    /// Sends bytes over a stream until all have arrived; says how long it took.
    pub(super) fn transfer(
        &mut self,
        from: usize,
        id: StreamId,
        other: StreamId,
        len: usize,
    ) -> Duration {
        let data = pattern(len);
        let had = self.hosts[1 - from].received.get(&other).map_or(0, Vec::len);
        self.hosts[from].send(id, data.clone(), false);
        let took = self.until(|net| {
            net.hosts[1 - from].received.get(&other).is_some_and(|got| got.len() >= had + len)
        });
        assert!(self.hosts[1 - from].received[&other][had..] == data, "other bytes arrived");
        took
    }
}

/// Bytes that do not repeat soon.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len.div_ceil(4) as u32)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .take(len)
        .collect()
}
