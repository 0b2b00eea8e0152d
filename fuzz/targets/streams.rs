//! Streams between two destinations with a bad network between them.

use super::input::Input;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::streaming::{StreamEvent, StreamId, StreamingConfig, Streams};
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::identity::Identity;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A destination, its streams, and what each has said and heard.
struct End {
    streams: Streams,
    identity: Identity,
    /// Streams alive, with the bytes written and read so far, and their tag: the other end reads
    /// what was written under the same tag.
    live: BTreeMap<StreamId, Progress>,
    /// Packets on their way to the other end.
    wire: Vec<(u16, u16, Vec<u8>)>,
}

#[derive(Default)]
struct Progress {
    written: usize,
    read: usize,
}

/// Byte `n` of every stream, so that it does not matter which one it is.
const fn pattern(n: usize) -> u8 {
    (n as u8).wrapping_mul(31) ^ (n >> 8) as u8
}

fn keys() -> &'static [(Identity, Arc<SigningKey>); 2] {
    static KEYS: OnceLock<[(Identity, Arc<SigningKey>); 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [1, 2].map(|n| {
            let mut rng = Rng::new(&Seed::from_number(n));
            let signing = SigningKey::generate(&mut rng);
            let encryption = PrivateKey::generate(&mut rng).public();
            let public = signing.public();
            (Identity::new_destination(encryption, &public, &mut rng), Arc::new(signing))
        })
    })
}

impl End {
    fn new(n: usize) -> Self {
        let (identity, signing) = &keys()[n];
        let mut config = StreamingConfig::default();
        config.memory = 1 << 20;
        config.max_streams = 16;
        let rng = Rng::new(&Seed::from_number(100 + n as u64));
        let mut streams = Streams::new(identity.clone(), signing.clone(), config, rng);
        streams.listen(80);
        let identity = identity.clone();
        Self { streams, identity, live: BTreeMap::new(), wire: Vec::new() }
    }

    fn nth(&self, n: u8) -> Option<StreamId> {
        let len = std::num::NonZero::new(self.live.len())?;
        self.live.keys().nth(usize::from(n) % len).copied()
    }

    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.streams.poll_event() {
            match event {
                StreamEvent::Incoming { id, .. } => {
                    assert!(self.live.insert(id, Progress::default()).is_none(), "an id twice");
                }
                StreamEvent::Closed(id, _) => {
                    assert!(self.live.remove(&id).is_some(), "closed twice");
                }
                StreamEvent::Connected(id)
                | StreamEvent::Readable(id)
                | StreamEvent::Writable(id)
                | StreamEvent::RemoteClosed(id) => assert!(self.live.contains_key(&id), "dead"),
                StreamEvent::Stalled { .. } | StreamEvent::Pong { .. } | _ => {}
            }
        }
        for _ in 0..200 {
            let mut bytes = Vec::new();
            let Some(out) = self.streams.poll_packet(now, &mut bytes) else { break };
            self.wire.push((out.from_port, out.to_port, bytes));
        }
        self.wire.truncate(1000);
        assert!(self.streams.len() <= 16 + 1 && self.streams.memory() <= 2 << 20);
    }
}

/// The first byte's low bit: packets may be damaged too, as no session lets them be; then nothing
/// is promised about the data. Otherwise what is read is what was written, in order, whatever was
/// lost, repeated or late.
pub fn streaming_ops(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    let mut ends = [End::new(0), End::new(1)];
    let mut now = Instant::from_micros(1_000_000);
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let who = usize::from(op >> 7);
        let unix = UNIX + now.saturating_since(Instant::ZERO);
        let other = ends[1 - who].identity.clone();
        let session = (op & 0x40 == 0).then(|| other.hash());
        match op & 0x0f {
            0 => {
                let end = &mut ends[who];
                if let Ok(id) = end.streams.connect(now, other, 1, 80 + u16::from(op >> 6 & 1)) {
                    end.live.insert(id, Progress::default());
                }
            }
            1 | 2 => {
                let len = usize::from(input.u16()) % 20_000;
                let end = &mut ends[who];
                let Some(id) = end.nth(op >> 4) else { continue };
                let written = end.live[&id].written;
                let bytes: Vec<u8> = (written..written + len).map(pattern).collect();
                let taken = end.streams.write(now, id, &bytes);
                assert!(taken <= len);
                if let Some(progress) = end.live.get_mut(&id) {
                    progress.written += taken;
                }
            }
            3 | 4 => {
                let max = usize::from(input.u16());
                let end = &mut ends[who];
                let Some(id) = end.nth(op >> 4) else { continue };
                let mut out = Vec::new();
                let n = end.streams.read(now, id, max, &mut out);
                assert!(n == out.len() && n <= max);
                if let Some(progress) = end.live.get_mut(&id) {
                    let expected = (progress.read..progress.read + n).map(pattern);
                    assert!(
                        mode & 1 != 0 || out.iter().copied().eq(expected),
                        "not what was written"
                    );
                    progress.read += n;
                }
            }
            5..=8 => {
                // Some packets, from any place, possibly again.
                let (at, count) = (usize::from(input.u8()), 1 + usize::from(op >> 4 & 3) * 8);
                for _ in 0..count {
                    let queue = &mut ends[who].wire;
                    if queue.is_empty() {
                        break;
                    }
                    let at = at % queue.len();
                    let (from, to, bytes) = queue[at].clone();
                    if op & 0x0f != 8 {
                        queue.remove(at);
                    }
                    let session = session.map(|_| ends[who].identity.hash());
                    ends[1 - who].streams.handle_packet(now, unix, from, to, session, &bytes);
                }
            }
            9 => {
                let (at, bit) = (usize::from(input.u8()), usize::from(input.u16()));
                let queue = &ends[who].wire;
                if queue.is_empty() || mode & 1 == 0 {
                    continue;
                }
                let (from, to, mut bytes) = queue[at % queue.len()].clone();
                let bits = bytes.len() * 8;
                bytes[bit % bits / 8] ^= 1 << (bit % 8);
                let session = session.map(|_| ends[who].identity.hash());
                ends[1 - who].streams.handle_packet(now, unix, from, to, session, &bytes);
            }
            10 => {
                // Made by a stranger.
                let len = usize::from(input.u8());
                let bytes = input.bytes(len);
                if mode & 1 != 0 {
                    ends[who].streams.handle_packet(now, unix, 1, 80, session, bytes);
                }
            }
            11 => {
                let end = &mut ends[who];
                let Some(id) = end.nth(op >> 4) else { continue };
                match op >> 4 & 3 {
                    0 | 1 => end.streams.close(now, id),
                    2 => {
                        end.streams.release(now, id);
                        end.live.remove(&id);
                    }
                    _ => {
                        end.streams.reset(now, id);
                        end.live.remove(&id);
                    }
                }
            }
            12 => ends[who].wire.clear(),
            13 => {
                let remote = other.hash();
                match op >> 4 & 3 {
                    0 => ends[who].streams.hold(now, &remote, true),
                    1 => ends[who].streams.hold(now, &remote, false),
                    2 => ends[who].streams.handle_rerouted(now, &remote),
                    _ => ends[who].streams.handle_unreachable(now, &remote),
                }
            }
            _ => now = now + Duration::from_millis(u64::from(input.u16()) / 2),
        }
        for end in &mut ends {
            while end.streams.poll_timeout().is_some_and(|at| at <= now) {
                end.streams.handle_timeout(now);
            }
            end.drain(now);
        }
    }
}
