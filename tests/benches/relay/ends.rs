//! Who sends cells into the router in the middle, and who gets them from it.

use crate::middle::Middle;
use ramson_core::config::Timing;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::keys::RouterKeys;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::transport::ntcp2::{Local, Remote, ReplayCache, Session, SessionEvent};
use ramson_core::transport::queue::Priority;
use ramson_core::tunnel::{
    Hop, OutboundId, PoolConfig, PoolId, TransitLimits, TunnelAction, TunnelConfig, Tunnels,
};
use ramson_core::wire::base64;
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Style};
use ramson_core::wire::tunnel::Delivery;
use ramson_tests::i2pd;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the sink listens.
pub(crate) const SINK_ADDRESS: Ipv4Addr = Ipv4Addr::new(11, 200, 0, 1);
/// Bytes that a read or write moves at most.
const CHUNK: usize = 64 * 1024;
/// Cells that are sent together when no rate is set.
const BATCH: usize = 48;
/// Fills one cell, with what delivery and fragments take.
const PAYLOAD: usize = 900;
const PER_POOL: u8 = 16;

/// How a sender frames cells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    /// As i2pd does.
    Single,
    /// As many as a frame holds.
    Full,
}

#[derive(Clone, Copy)]
struct Clock(std::time::Instant);

impl Clock {
    fn now(self) -> Instant {
        Instant::from_micros(1_000_000 + self.0.elapsed().as_micros() as u64)
    }

    fn unix() -> UnixTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixTime::from_secs(0) + since
    }
}

struct Identified {
    local: Arc<Local>,
    info: RouterInfo,
    key: Arc<PrivateKey>,
    rng: Rng,
}

impl Identified {
    fn new(number: u64, listens: Option<SocketAddr>) -> Self {
        let mut rng = Rng::new(&Seed::from_number(number));
        let RouterKeys { identity, signing, encryption: key, ntcp2, ntcp2_iv, .. } =
            RouterKeys::generate(&mut rng);
        let local = Local::new(identity.hash(), ntcp2, ntcp2_iv, i2pd::NET_ID);
        let mut options = Mapping::new();
        options.insert("s", &base64::encode(&local.static_public().0)).unwrap();
        options.insert("v", "2").unwrap();
        if let Some(address) = listens {
            options.insert("i", &base64::encode(local.iv())).unwrap();
            options.insert("host", &address.ip().to_string()).unwrap();
            options.insert("port", &address.port().to_string()).unwrap();
        } else {
            options.insert("caps", "4").unwrap();
        }
        let address = RouterAddress { cost: 3, style: Style::Ntcp2, options };
        let mut options = Mapping::new();
        let caps = if listens.is_some() { "XR" } else { "XU" };
        let net_id = i2pd::NET_ID.to_string();
        for (name, value) in [("caps", caps), ("netId", &net_id), ("router.version", "0.9.66")] {
            options.insert(name, value).unwrap();
        }
        let info = RouterInfo::build(&identity, Clock::unix(), &[address], &options, &signing);
        Self { local: Arc::new(local), info, key, rng }
    }

    fn tunnels(&mut self) -> Tunnels {
        let transit = TransitLimits {
            tunnels: 50_000,
            bytes_per_second: None,
            requests_per_hop: u32::MAX,
            accept: true,
        };
        let config = TunnelConfig { local: self.info.hash(), transit, timing: Timing::default() };
        Tunnels::new(config, self.key.clone(), self.rng.fork("tunnels"))
    }
}

struct Shared {
    received: AtomicU64,
    /// Cells are counted, and not looked into.
    counting: AtomicBool,
}

/// The sink, and what a source needs to know of it.
pub(crate) struct Ends {
    clock: Clock,
    sink: RouterInfo,
    sink_hop: Hop,
    shared: Arc<Shared>,
    replies: Receiver<Message>,
}

impl Ends {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind((SINK_ADDRESS, 0)).unwrap();
        let clock = Clock(std::time::Instant::now());
        let mut router = Identified::new(1, Some(listener.local_addr().unwrap()));
        let (sink, key) = (router.info.clone(), router.key.public());
        let shared =
            Arc::new(Shared { received: AtomicU64::new(0), counting: AtomicBool::new(false) });
        let (to_source, replies) = channel();
        let state = shared.clone();
        std::thread::spawn(move || {
            let tunnels = router.tunnels();
            let mut sink = Sink { clock, router, tunnels, shared: state, to_source };
            // The first is the probe of a test, if there is one; each ends by itself.
            for stream in listener.incoming().flatten() {
                sink.serve(stream);
            }
        });
        let sink_hop = Hop { hash: sink.hash(), key };
        Self { clock, sink, sink_hop, shared, replies }
    }

    pub(crate) const fn sink(&self) -> &RouterInfo {
        &self.sink
    }

    pub(crate) fn connect(&self, middle: &Middle) -> Source<'_> {
        Source::connect(self, middle)
    }

    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// What was received once nothing comes any more.
    pub(crate) fn settled(&self) -> u64 {
        let mut before = self.received();
        loop {
            std::thread::sleep(Duration::from_millis(30));
            let now = self.received();
            if now == before {
                return now;
            }
            before = now;
        }
    }
}

struct Sink {
    clock: Clock,
    router: Identified,
    tunnels: Tunnels,
    shared: Arc<Shared>,
    to_source: Sender<Message>,
}

impl Sink {
    fn serve(&mut self, mut stream: TcpStream) {
        let rng = self.router.rng.fork("session");
        let mut session = Session::accept(self.clock.now(), self.router.local.clone(), rng);
        let mut replay = ReplayCache::new();
        let mut buf = vec![0; 4 * CHUNK];
        let mut out = Vec::new();
        loop {
            let n = match stream.read(&mut buf) {
                Ok(n) if n > 0 => n,
                _ => return,
            };
            let now = self.clock.now();
            if session.handle_bytes(now, Clock::unix(), &mut replay, &mut buf[..n]).is_err() {
                return;
            }
            let mut cells = 0;
            while let Some(event) = session.poll_event() {
                match event {
                    SessionEvent::Message(m)
                        if m.kind == MessageType::TUNNEL_DATA
                            && self.shared.counting.load(Ordering::Relaxed) =>
                    {
                        cells += 1;
                    }
                    SessionEvent::Message(m) => self.receive(session.peer(), m),
                    SessionEvent::Established { .. }
                    | SessionEvent::RouterInfo { .. }
                    | SessionEvent::Skew(_)
                    | SessionEvent::Closed(_) => {}
                }
            }
            self.shared.received.fetch_add(cells, Ordering::Relaxed);
            out.clear();
            if session.poll_write(now, Clock::unix(), CHUNK, &mut out) > 0
                && stream.write_all(&out).is_err()
            {
                return;
            }
        }
    }

    fn receive(&mut self, from: Option<Hash>, message: Message) {
        let (now, unix) = (self.clock.now(), Clock::unix());
        self.tunnels.handle_message(now, unix, from, message);
        while let Some(action) = self.tunnels.poll_action() {
            match action {
                TunnelAction::Job(job) => self.tunnels.handle_job(now, unix, job.run()),
                // Everything is for the source: its inbound tunnels have no hops.
                TunnelAction::Send { message, .. } => {
                    let _ended = self.to_source.send(message);
                }
                _ => {}
            }
        }
    }
}

/// Creates tunnels through the middle to the sink, and fills them.
pub(crate) struct Source<'a> {
    ends: &'a Ends,
    stream: TcpStream,
    session: Session,
    tunnels: Tunnels,
    middle: Hop,
    pools: u32,
    vias: Vec<OutboundId>,
    out: Vec<u8>,
}

impl<'a> Source<'a> {
    fn connect(ends: &'a Ends, middle: &Middle) -> Self {
        let mut router = Identified::new(2, None);
        let hop = Hop {
            hash: middle.info.hash(),
            key: middle.info.identity().x25519_key().expect("a router of today"),
        };
        let address = middle.info.ntcp2_addresses().next().expect("listens");
        let remote = Remote {
            hash: hop.hash,
            static_key: address.static_key,
            iv: address.iv.expect("published"),
        };
        // No look before: i2pd takes one stream at a time from an address.
        let mut stream = i2pd::wait("listener", Duration::from_secs(30), || {
            TcpStream::connect(middle.address).ok()
        });
        stream.set_nodelay(true).unwrap();
        let mut session = Session::connect(
            ends.clock.now(),
            router.local.clone(),
            router.info.clone(),
            remote,
            router.rng.fork("session"),
        );
        let (mut replay, mut out, mut buf) = (ReplayCache::new(), Vec::new(), vec![0; CHUNK]);
        while !session.is_established() {
            let now = ends.clock.now();
            out.clear();
            session.poll_write(now, Clock::unix(), CHUNK, &mut out);
            stream.write_all(&out).unwrap();
            if session.is_established() {
                break;
            }
            let n = stream.read(&mut buf).unwrap();
            assert!(n > 0, "the router refuses the session");
            session.handle_bytes(now, Clock::unix(), &mut replay, &mut buf[..n]).unwrap();
        }
        let tunnels = router.tunnels();
        let mut source = Self {
            ends,
            stream,
            session,
            tunnels,
            middle: hop,
            pools: 0,
            vias: Vec::new(),
            out: Vec::new(),
        };
        source.write();
        source
    }

    /// Builds tunnels until there are `count` in all; says how many are new.
    pub(crate) fn build(&mut self, count: usize) -> usize {
        self.ends.shared.counting.store(false, Ordering::Relaxed);
        let before = self.vias.len();
        let deadline = self.ends.clock.now() + Duration::from_secs(120);
        while self.vias.len() < count {
            let (now, unix) = (self.ends.clock.now(), Clock::unix());
            assert!(now < deadline, "{} of {count} tunnels", self.vias.len());
            let missing = count - self.vias.len();
            // One pool after the other, so that none of the many has to be looked at again.
            let id = PoolId(self.pools);
            let outbound = missing.min(PER_POOL.into()) as u8;
            let shape = PoolConfig {
                inbound_length: 0,
                outbound_length: 2,
                variance: 0,
                inbound_quantity: 1,
                outbound_quantity: outbound,
            };
            self.tunnels.add_pool(now, unix, id, shape);
            self.fill_pool(id, outbound.into());
            self.pools += 1;
        }
        self.ends.shared.counting.store(true, Ordering::Relaxed);
        self.vias.len() - before
    }

    fn fill_pool(&mut self, id: PoolId, want: usize) {
        for _ in 0..5_000 {
            let (now, unix) = (self.ends.clock.now(), Clock::unix());
            self.tunnels.handle_timeout(now, unix);
            self.drain();
            while let Ok(message) = self.ends.replies.recv_timeout(Duration::from_micros(300)) {
                self.tunnels.handle_message(now, unix, None, message);
                self.drain();
            }
            let ready = self.tunnels.ranked_outbound(self.ends.clock.now(), id);
            if ready.len() >= want {
                self.vias.extend(ready);
                return;
            }
        }
        panic!(
            "pool {id:?} is not filled: {:?}",
            self.tunnels.pool_stats(self.ends.clock.now(), id)
        );
    }

    fn drain(&mut self) {
        let (now, unix) = (self.ends.clock.now(), Clock::unix());
        while let Some(action) = self.tunnels.poll_action() {
            match action {
                TunnelAction::NeedPath { build, length, .. } => {
                    let hops = [self.middle, self.ends.sink_hop];
                    self.tunnels.handle_path(now, unix, build, &hops[..length]);
                }
                TunnelAction::Send { message, .. } => {
                    self.session.queue(now, message, Priority::Control).unwrap();
                }
                _ => {}
            }
        }
        self.write();
    }

    fn write(&mut self) {
        while self.session.wants_write() {
            self.out.clear();
            self.session.poll_write(self.ends.clock.now(), Clock::unix(), CHUNK, &mut self.out);
            self.stream.write_all(&self.out).unwrap();
        }
    }

    /// Sends cells through all tunnels in turn for a while; says how many.
    pub(crate) fn pump(&mut self, time: Duration, rate: Option<u64>, frames: Frames) -> u64 {
        let start = std::time::Instant::now();
        let (mut sent, mut turn) = (0_u64, 0_usize);
        let data = vec![0x5a; PAYLOAD];
        while start.elapsed() < time {
            let due = rate.map_or(BATCH as u64, |rate| {
                let all = start.elapsed().as_micros() as u64 * rate / 1_000_000 / 1028;
                all.saturating_sub(sent).min(BATCH as u64)
            });
            if due == 0 {
                std::thread::sleep(Duration::from_micros(500));
                continue;
            }
            let (now, unix) = (self.ends.clock.now(), Clock::unix());
            self.out.clear();
            for _ in 0..due {
                let via = self.vias[turn % self.vias.len()];
                turn += 1;
                let expires = unix + Duration::from_secs(10);
                let message = Message {
                    kind: MessageType::DATA,
                    id: turn as u32,
                    expires,
                    body: data.clone(),
                };
                let delivery = Delivery::Router(self.middle.hash);
                self.tunnels.send(now, unix, via, delivery, message).unwrap();
                while let Some(action) = self.tunnels.poll_action() {
                    if let TunnelAction::Send { message, .. } = action {
                        sent += 1;
                        self.session.queue(now, message, Priority::Own).unwrap();
                    }
                }
                if frames == Frames::Single {
                    self.session.poll_write(now, unix, CHUNK, &mut self.out);
                }
            }
            while self.session.wants_write() {
                self.session.poll_write(now, unix, CHUNK, &mut self.out);
            }
            self.stream.write_all(&self.out).unwrap();
        }
        sent
    }
}
