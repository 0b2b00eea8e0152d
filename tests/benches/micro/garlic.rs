//! The ratchet, and garlic for routers.

use crate::harness::Bench;
use crate::primitives::rng;
use crate::transport::UNIX;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::garlic::ecies::{Remote, SendOptions, Sessions};
use ramson_core::garlic::router::{self, Opener};
use ramson_core::time::Instant;
use ramson_core::wire::garlic::{Clove, Delivery};
use ramson_core::wire::hash::Hash;
use ramson_core::wire::i2np::{Message, MessageType};
use std::sync::Arc;
use std::time::Duration;

struct Pair {
    a: Sessions,
    b: Sessions,
    to_a: Remote,
    to_b: Remote,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let mut rng = rng();
        let (a, b) = (PrivateKey::generate(&mut rng), PrivateKey::generate(&mut rng));
        let to_a = Remote { destination: Hash([1; 32]), key: a.public() };
        let to_b = Remote { destination: Hash([2; 32]), key: b.public() };
        Self {
            a: Sessions::new(Arc::new(a), rng.fork("a")),
            b: Sessions::new(Arc::new(b), rng.fork("b")),
            to_a,
            to_b,
            now: Instant::from_micros(1),
        }
    }

    fn established() -> Self {
        let mut pair = Self::new();
        for _ in 0..4 {
            pair.there(64);
            pair.back();
            pair.now = pair.now + Duration::from_secs(2);
        }
        pair
    }

    /// A sends, B opens.
    fn there(&mut self, len: usize) {
        let mut body = self.encrypt(len);
        self.open(&mut body);
    }

    fn encrypt(&mut self, len: usize) -> Vec<u8> {
        let (now, options) = (self.now, SendOptions { expects_reply: false, ..Default::default() });
        let (body, _) = self.a.encrypt(now, UNIX, &self.to_b, &[clove(len)], options).unwrap();
        body
    }

    fn open(&mut self, body: &mut [u8]) {
        let received = self.b.handle(self.now, UNIX, body).unwrap();
        if received.remote_key.is_some()
            && let Some(session) = received.session
        {
            self.b.bind(self.now, session, self.to_a.destination);
        }
    }

    fn back(&mut self) {
        let options = SendOptions::default();
        let (mut body, _) =
            self.b.encrypt(self.now, UNIX, &self.to_a, &[clove(64)], options).unwrap();
        self.a.handle(self.now, UNIX, &mut body).unwrap();
        self.chores();
    }

    /// Events, answers, keys for the ratchet.
    fn chores(&mut self) {
        let Self { a, b, now, .. } = self;
        chores(a, b, *now);
        chores(b, a, *now);
    }
}

fn chores(from: &mut Sessions, to: &mut Sessions, now: Instant) {
    if from.poll_timeout().is_some_and(|at| at <= now) {
        from.handle_timeout(now);
    }
    while from.poll_event().is_some() {}
    while let Some(mut outgoing) = from.poll_outgoing(now) {
        to.handle(now, UNIX, &mut outgoing.body).unwrap();
    }
}

fn clove(len: usize) -> Clove {
    let expires = UNIX + Duration::from_secs(60);
    let message = Message { kind: MessageType::DATA, id: 7, expires, body: vec![0x5a; len] };
    Clove { delivery: Delivery::Local, message }
}

pub(crate) fn add(bench: &mut Bench) {
    for (len, name) in
        [(1024, "ratchet encrypt and decrypt 1 KiB"), (1800, "ratchet encrypt and decrypt 1.8 KiB")]
    {
        bench.add(name, len, || {
            let mut pair = Pair::established();
            let mut n = 0u32;
            move || {
                pair.there(len);
                n += 1;
                if n.is_multiple_of(32) {
                    pair.now = pair.now + Duration::from_millis(10);
                    pair.chores();
                }
            }
        });
    }
    bench.add("ratchet new session and reply, both sides", 0, || {
        || {
            let mut pair = Pair::new();
            pair.there(64);
            pair.back();
        }
    });
    bench.add("garlic to a router, seal and open 1 KiB", 1024, || {
        let mut rng = rng();
        let key = Arc::new(PrivateKey::generate(&mut rng));
        let (public, opener) = (key.public(), Opener::new(key));
        move || {
            let mut body = router::seal(UNIX, &public, &[clove(1024)], &mut rng).unwrap();
            opener.open(UNIX, &mut body).unwrap().len()
        }
    });
}
