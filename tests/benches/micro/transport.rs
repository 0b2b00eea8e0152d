//! NTCP2 sessions: two of them in one process, bytes handed over by copying.

use crate::harness::Bench;
use crate::primitives::rng;
use ramson_core::keys::RouterKeys;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::transport::ntcp2::{Local, Remote, ReplayCache, Session, SessionEvent};
use ramson_core::transport::queue::Priority;
use ramson_core::wire::base64;
use ramson_core::wire::i2np::{Message, MessageType};
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Style};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const NOW: Instant = Instant::from_micros(1);

struct Router {
    local: Arc<Local>,
    info: RouterInfo,
}

impl Router {
    fn new(rng: &mut Rng) -> Self {
        let RouterKeys { identity, signing, ntcp2, ntcp2_iv, .. } = RouterKeys::generate(rng);
        let local = Arc::new(Local::new(identity.hash(), ntcp2, ntcp2_iv, 2));
        let mut options = Mapping::new();
        let (s, i) = (base64::encode(&local.static_public().0), base64::encode(local.iv()));
        for (key, value) in
            [("s", &*s), ("i", &*i), ("v", "2"), ("host", "10.0.0.1"), ("port", "9")]
        {
            options.insert(key, value).unwrap();
        }
        let address = RouterAddress { cost: 3, style: Style::Ntcp2, options };
        let mut options = Mapping::new();
        options.insert("caps", "PR").unwrap();
        options.insert("netId", "2").unwrap();
        let info = RouterInfo::build(&identity, UNIX, &[address], &options, &signing);
        Self { local, info }
    }

    fn remote(&self) -> Remote {
        Remote {
            hash: *self.local.hash(),
            static_key: *self.local.static_public(),
            iv: *self.local.iv(),
        }
    }
}

struct Pair {
    a: Session,
    b: Session,
    buf: Vec<u8>,
    replay: ReplayCache,
}

impl Pair {
    fn connect(a: &Router, b: &Router, rng: &mut Rng) -> Self {
        let (info, remote) = (a.info.clone(), b.remote());
        Self {
            a: Session::connect(NOW, a.local.clone(), info, remote, rng.fork("a")),
            b: Session::accept(NOW, b.local.clone(), rng.fork("b")),
            buf: Vec::new(),
            replay: ReplayCache::new(),
        }
    }

    fn established() -> Self {
        let mut rng = rng();
        let (a, b) = (Router::new(&mut rng), Router::new(&mut rng));
        let mut pair = Self::connect(&a, &b, &mut rng);
        pair.handshake();
        pair
    }

    fn handshake(&mut self) {
        for _ in 0..3 {
            self.forward();
            self.buf.clear();
            self.b.poll_write(NOW, UNIX, 1 << 16, &mut self.buf);
            self.a.handle_bytes(NOW, UNIX, &mut self.replay, &mut self.buf).unwrap();
        }
        while self.a.poll_event().is_some() {}
        assert!(self.a.is_established() && self.b.is_established());
    }

    /// What `a` says reaches `b`; counts the messages.
    fn forward(&mut self) -> usize {
        self.seal();
        self.b.handle_bytes(NOW, UNIX, &mut self.replay, &mut self.buf).unwrap();
        let mut messages = 0;
        while let Some(event) = self.b.poll_event() {
            messages += usize::from(matches!(event, SessionEvent::Message(_)));
        }
        messages
    }

    fn seal(&mut self) {
        self.buf.clear();
        self.a.poll_write(NOW, UNIX, 1 << 17, &mut self.buf);
    }

    fn queue(&mut self, messages: usize) {
        for _ in 0..messages {
            self.a.queue(NOW, cell(), Priority::Transit).unwrap();
        }
    }
}

fn cell() -> Message {
    let expires = UNIX + Duration::from_secs(60);
    Message { kind: MessageType::TUNNEL_DATA, id: 7, expires, body: vec![0x5a; 1028] }
}

pub(crate) fn add(bench: &mut Bench) {
    for (count, bytes, names) in [
        (1, 1028, ["ntcp2 seal 1 cell a frame", "ntcp2 seal and open 1 cell a frame"]),
        (15, 15 * 1028, ["ntcp2 seal 16 KiB frame", "ntcp2 seal and open 16 KiB frame"]),
    ] {
        bench.add(names[0], bytes, || {
            let mut pair = Pair::established();
            move || {
                pair.queue(count);
                pair.seal();
            }
        });
        bench.add(names[1], bytes, || {
            let mut pair = Pair::established();
            move || {
                pair.queue(count);
                assert_eq!(pair.forward(), count);
            }
        });
    }
    bench.add("ntcp2 handshake, both sides", 0, || {
        let mut rng = rng();
        let (a, b) = (Router::new(&mut rng), Router::new(&mut rng));
        move || Pair::connect(&a, &b, &mut rng).handshake()
    });
    bench.add("ntcp2 garbage as message 1", 0, || {
        let (b, mut replay, mut rng) = (Router::new(&mut rng()), ReplayCache::new(), rng());
        move || {
            let mut session =
                Session::accept(NOW, b.local.clone(), Rng::new(&Seed::from_number(1)));
            let mut garbage = [0; 64];
            rng.fill(&mut garbage);
            session.handle_bytes(NOW, UNIX, &mut replay, &mut garbage).is_ok()
        }
    });
    bench.add("router info decode", 0, || {
        let info = Router::new(&mut rng()).info;
        move || RouterInfo::decode(info.as_bytes()).is_ok()
    });
    bench.add("router info decode and verify", 0, || {
        let info = Router::new(&mut rng()).info;
        move || RouterInfo::decode(info.as_bytes()).unwrap().verify().is_ok()
    });
}
