//! What links do to what they carry, and which of them are up.

use super::chance::one_of;
use super::nat::Nat;
use super::pipe::EndId;
use super::{Happening, NodeId, World};
use ramson_core::rng::Rng;
use ramson_core::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of a TCP segment.
const SEGMENT: usize = 1440;
/// The least time after which TCP sends a segment again that nobody acknowledged, and the most.
const MIN_RETRY: Duration = Duration::from_millis(200);
const MAX_RETRY: Duration = Duration::from_secs(60);
/// What a connection has under way when it loses its first segment.
const WINDOW_AT_FIRST_LOSS: usize = 100 * SEGMENT;
/// How often a kernel asks for a connection.
const MAX_SYNS: u32 = 5;

/// How links treat what they carry. All links of the network have the same, and a node may have its own
/// besides. Shares are from 0 to 1.
///
/// Datagrams meet all of it as it is. For TCP what is lost or overtaken comes late, and holds up what
/// follows; duplicates, damage that a checksum finds and packets that are too large are never seen there.
/// `corrupt`, bits that no checksum misses, reaches both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Share of segments and datagrams that are lost.
    pub loss: f64,
    /// How many are lost in a row, on average; 1 or more. With 1 each datagram has a lot of its own.
    pub burst: f64,
    /// Share of segments and datagrams that others overtake ...
    pub late: f64,
    /// ... and by how much they are late at most.
    pub late_by: Duration,
    /// Share of segments and datagrams that arrive with a bit flipped that no checksum misses.
    pub corrupt: f64,
    /// Share of datagrams with wrong bits that the checksum of UDP finds: nobody sees them. What it does not
    /// find is `corrupt`.
    pub damage: f64,
    /// Share of datagrams that arrive twice.
    pub duplicate: f64,
    /// Bytes of the largest packet with its headers: a larger one vanishes, and nobody is told. Ethernet's
    /// when `None`.
    pub mtu: Option<u16>,
    /// Bytes a second that a node can send.
    pub rate: Option<u64>,
    /// One way, on top of what a link takes anyway.
    pub delay: Duration,
}

impl Weather {
    /// Nothing is lost, late or damaged, and there is room for everything.
    pub const FAIR: Self = Self {
        loss: 0.0,
        burst: 1.0,
        late: 0.0,
        late_by: Duration::ZERO,
        corrupt: 0.0,
        damage: 0.0,
        duplicate: 0.0,
        mtu: None,
        rate: None,
        delay: Duration::ZERO,
    };

    /// Both at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let either = |a: f64, b: f64| a + b - a * b;
        Self {
            loss: either(self.loss, other.loss),
            burst: self.burst.max(other.burst),
            late: either(self.late, other.late),
            late_by: self.late_by.max(other.late_by),
            corrupt: either(self.corrupt, other.corrupt),
            damage: either(self.damage, other.damage),
            duplicate: either(self.duplicate, other.duplicate),
            mtu: self.mtu.into_iter().chain(other.mtu).min(),
            rate: self.rate.into_iter().chain(other.rate).min(),
            delay: self.delay + other.delay,
        }
    }
}

impl Default for Weather {
    fn default() -> Self {
        Self::FAIR
    }
}

/// What a sender's TCP knows of its way: the segments that are being lost, and what it lets itself have
/// under way.
pub(super) struct Congestion {
    bursts: Bursts,
    reduced: Instant,
    window: usize,
    threshold: usize,
}

impl Default for Congestion {
    fn default() -> Self {
        Self {
            bursts: Bursts::default(),
            reduced: Instant::ZERO,
            window: usize::MAX,
            threshold: usize::MAX,
        }
    }
}

impl Congestion {
    /// Bytes that may be under way. Where nothing was ever lost, the receiver's window is the only limit.
    pub(super) const fn window(&self) -> usize {
        self.window
    }

    pub(super) const fn acknowledged(&mut self, bytes: usize) {
        if self.window == usize::MAX {
            return;
        }
        self.window +=
            if self.window < self.threshold { bytes } else { SEGMENT * bytes / self.window };
    }

    /// Once in a round trip, however many are lost in it.
    fn lost(&mut self, now: Instant, round_trip: Duration) {
        if now.saturating_since(self.reduced) < round_trip && self.window != usize::MAX {
            return;
        }
        self.reduced = now;
        if self.window == usize::MAX {
            self.window = WINDOW_AT_FIRST_LOSS;
        }
        self.window = (self.window / 10 * 7).max(2 * SEGMENT);
        self.threshold = self.window;
    }
}

/// Whether what passes now is being lost (Gilbert's model).
#[derive(Default)]
pub(super) struct Bursts(bool);

impl Bursts {
    /// Whether the next one is lost.
    pub(super) fn loses(&mut self, rng: &mut Rng, weather: &Weather) -> bool {
        let burst = weather.burst.max(1.0);
        self.0 = if self.0 {
            !one_of(rng, 1.0 / burst)
        } else {
            // So that the share of what is lost is `loss`, whatever the length of a burst.
            one_of(rng, weather.loss / (burst * (1.0 - weather.loss)).max(f64::MIN_POSITIVE))
        };
        self.0
    }
}

/// A process that stands still: until when, and what its kernel keeps for it.
#[derive(Default)]
pub(super) struct Frozen {
    until: Instant,
    pub(super) kept: VecDeque<Happening>,
    /// Bytes of datagrams among it.
    pub(super) datagrams: usize,
}

/// What waits at a link that is down.
pub(super) enum Stalled {
    Bytes { from: EndId, bytes: Vec<u8> },
    Fin,
}

/// The queue of one end, and when its peer's kernel tries again.
#[derive(Default)]
pub(super) struct Stall {
    queue: VecDeque<Stalled>,
    retry: Duration,
}

impl World {
    /// Sets the weather of all links.
    pub const fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Sets the weather of all links of one node, on top of that of the network.
    pub fn set_weather_of(&mut self, id: NodeId, weather: Weather) {
        self.nodes[id.0].weather = weather;
    }

    /// Nodes reach each other when they have the same number here; all have 0 at first.
    pub fn set_side(&mut self, id: NodeId, side: u32) {
        self.nodes[id.0].side = side;
    }

    /// Takes a node's link down, or up again. Nobody is told: what is under way waits.
    pub fn set_link(&mut self, id: NodeId, up: bool) {
        self.nodes[id.0].link = up;
    }

    /// Nobody reaches the node unless it called first: of datagrams, the answers of those it wrote to pass.
    pub fn set_firewalled(&mut self, id: NodeId, firewalled: bool) {
        let node = &mut self.nodes[id.0];
        if node.firewalled != firewalled {
            node.firewalled = firewalled;
            node.firewall = firewalled.then(|| Nat::firewall(self.chance.nats.fork("firewall")));
        }
    }

    /// The process of a node stands still for `d`; its kernel keeps what comes. Its clocks run on.
    pub fn freeze(&mut self, id: NodeId, d: Duration) {
        let until = self.now + d;
        let frozen = self.nodes[id.0].frozen.get_or_insert_default();
        frozen.until = frozen.until.max(until);
        self.push(until, Happening::Thaw(id));
    }

    /// It goes on with what came meanwhile, in the order in which it came.
    pub(super) fn handle_thaw(&mut self, id: NodeId) {
        let now = self.now;
        if let Some(frozen) = self.nodes[id.0].frozen.take_if(|f| f.until <= now) {
            for what in frozen.kept {
                self.handle(what);
            }
            // A runtime compares its clocks in every turn.
            self.tell_wall_clock(id);
        }
    }

    /// Whether packets from one node reach the other.
    pub(super) fn passes(&self, a: NodeId, b: NodeId) -> bool {
        let (from, to) = (&self.nodes[a.0], &self.nodes[b.0]);
        a == b || (from.side == to.side && from.link && to.link)
    }

    /// Whether what its other end sends reaches an end.
    pub(super) fn is_reached(&self, id: EndId) -> bool {
        let Some(end) = self.ends.get(&id) else { return true };
        let far = end.far().and_then(|far| self.ends.home(&far));
        far.is_none_or(|far| self.passes(far, end.node()))
    }

    /// How much later than usual a piece arrives, or is damaged. The end is that of its sender.
    pub(super) fn storm(&mut self, from: EndId, node: NodeId, piece: &mut [u8]) -> Duration {
        let weather = self.weather.and(self.nodes[node.0].weather);
        let far = self.ends[&from].far().and_then(|far| self.ends.home(&far));
        // What the receiver can send is not a matter of this way.
        let weather = far.map_or(weather, |far| {
            weather.and(Weather { rate: None, ..self.nodes[far.0].weather })
        });
        if weather == Weather::FAIR {
            return Duration::ZERO;
        }
        let now = self.now;
        let mut late = weather.delay;
        if let Some(rate) = weather.rate {
            let node = &mut self.nodes[node.0];
            let micros = (piece.len() as u64).saturating_mul(1_000_000) / rate.max(1);
            node.uplink_free = node.uplink_free.max(now) + Duration::from_micros(micros);
            late += node.uplink_free.saturating_since(now);
        }
        let end = self.ends.get_mut(&from).unwrap();
        let round_trip = end.latency() * 2 + weather.delay * 2;
        let busy = end.is_busy(now);
        let rng = &mut self.chance.weather;
        let mut held = Duration::ZERO;
        let mut segments = piece.chunks_mut(SEGMENT).peekable();
        while let Some(segment) = segments.next() {
            let mut wait = Duration::ZERO;
            // What follows makes the peer say at once that something is missing; the last segment is
            // sent again after two round trips without a word.
            let mut retry =
                if segments.peek().is_some() || busy { round_trip } else { round_trip * 2 };
            if end.congestion.bursts.loses(rng, &weather) {
                end.congestion.lost(now, round_trip);
                wait += retry;
                // The burst is over by the time it is sent again.
                while one_of(rng, weather.loss) {
                    retry = (retry * 2).clamp(MIN_RETRY, MAX_RETRY);
                    wait += retry;
                }
            }
            if one_of(rng, weather.late) {
                wait += Duration::from_micros(rng.below(weather.late_by.as_micros() as u64 + 1));
            }
            if one_of(rng, weather.corrupt) {
                let at = rng.below(segment.len() as u64) as usize;
                segment[at] ^= 1 << rng.below(8);
            }
            held = held.max(wait);
        }
        late + held
    }

    /// Lets it wait if the link is down, or if something waits already.
    pub(super) fn stall(&mut self, to: EndId, what: Stalled) -> Option<Stalled> {
        let open = self.is_reached(to);
        let at = self.now + MIN_RETRY;
        let Some(end) = self.ends.get_mut(&to) else { return Some(what) };
        let first = end.stall.queue.is_empty();
        if open && first {
            return Some(what);
        }
        end.stall.queue.push_back(what);
        if first {
            end.stall.retry = MIN_RETRY;
            self.push(at, Happening::Retry(to));
        }
        None
    }

    /// The kernel tries again to send what waits.
    pub(super) fn handle_retry(&mut self, to: EndId) {
        let open = self.is_reached(to);
        let Some(end) = self.ends.get_mut(&to) else { return };
        if !open {
            end.stall.retry = (end.stall.retry * 2).min(MAX_RETRY);
            let at = self.now + end.stall.retry;
            self.push(at, Happening::Retry(to));
            return;
        }
        for what in std::mem::take(&mut end.stall.queue) {
            match what {
                Stalled::Bytes { from, bytes } => self.handle_bytes(from, to, bytes),
                Stalled::Fin => self.handle_fin(to),
            }
        }
    }

    /// A SYN that met a link that is down; the kernel sends another.
    pub(super) fn lost_syn(&mut self, from: EndId, to: NodeId, tries: u32) {
        if tries < MAX_SYNS {
            let at = self.now + Duration::from_secs(1 << tries);
            self.push(at, Happening::Syn { from, to, tries: tries + 1 });
        }
    }
}
