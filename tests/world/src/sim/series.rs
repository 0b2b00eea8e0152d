//! What was measured, over virtual time.

use crate::world::{NodeId, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// One page that was asked for, or one slow download.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetch {
    /// Which of the pairs of a reader and a site.
    pub pair: usize,
    /// When it was asked for.
    pub from: Duration,
    /// When the answer was whole, or was given up.
    pub to: Duration,
    /// The answer came, and was right.
    pub ok: bool,
    /// Bytes that came.
    pub bytes: usize,
    /// A slow download.
    pub slow: bool,
    /// Both ends were up all the time.
    pub ends_lived: bool,
}

/// Sums over all routers that run, since their start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) built: u64,
    /// Builds that some hop refused.
    pub(super) refused: u64,
    /// Builds that nobody answered.
    pub(super) timed_out: u64,
    /// Builds for which there were no hops, or no way to ask them: nobody was.
    pub(super) no_path: u64,
    pub(super) failed_tunnels: u64,
    pub(super) found: u64,
    pub(super) not_found: u64,
    pub(super) tunnels: u64,
    pub(super) builds: u64,
    pub(super) netdb: u64,
    pub(super) other: u64,
    pub(super) wire: u64,
    /// Packets of streams, but for mere acks, and those of them that had gone before.
    pub(super) packets: u64,
    pub(super) again: u64,
}

/// How things stand at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// Routers that run.
    pub up: usize,
    /// Sessions of all of them.
    pub sessions: u64,
    /// RouterInfos that one knows, on average.
    pub known: f64,
    /// Tunnels of others that one takes part in, on average.
    pub transit: f64,
    /// Bytes in the buffers of all of them.
    pub buffered: u64,
    /// How far the time that a router goes by is from its machine's, at most.
    pub clock_error: Duration,
    /// Since the sample before.
    pub(super) totals: Totals,
    /// Resident memory of this process, in bytes, where that is known.
    pub resident: u64,
}

/// All of it.
#[derive(Default)]
pub(super) struct Series {
    pub(super) fetches: Vec<Fetch>,
    pub(super) samples: Vec<Sample>,
    /// The counters of each router when it was sampled last: it loses them when it starts again.
    last: BTreeMap<NodeId, (u64, Totals)>,
}

impl Totals {
    /// Builds that came to nothing.
    pub(super) const fn not_built(&self) -> u64 {
        self.refused + self.timed_out + self.no_path
    }

    const fn since(self, before: Self) -> Self {
        Self {
            built: self.built.saturating_sub(before.built),
            refused: self.refused.saturating_sub(before.refused),
            timed_out: self.timed_out.saturating_sub(before.timed_out),
            no_path: self.no_path.saturating_sub(before.no_path),
            failed_tunnels: self.failed_tunnels.saturating_sub(before.failed_tunnels),
            found: self.found.saturating_sub(before.found),
            not_found: self.not_found.saturating_sub(before.not_found),
            tunnels: self.tunnels.saturating_sub(before.tunnels),
            builds: self.builds.saturating_sub(before.builds),
            netdb: self.netdb.saturating_sub(before.netdb),
            other: self.other.saturating_sub(before.other),
            wire: self.wire.saturating_sub(before.wire),
            packets: self.packets.saturating_sub(before.packets),
            again: self.again.saturating_sub(before.again),
        }
    }

    const fn add(&mut self, more: Self) {
        self.built += more.built;
        self.refused += more.refused;
        self.timed_out += more.timed_out;
        self.no_path += more.no_path;
        self.failed_tunnels += more.failed_tunnels;
        self.found += more.found;
        self.not_found += more.not_found;
        self.tunnels += more.tunnels;
        self.builds += more.builds;
        self.netdb += more.netdb;
        self.other += more.other;
        self.wire += more.wire;
        self.packets += more.packets;
        self.again += more.again;
    }
}

impl Series {
    /// Asks all routers how they are. Those that are not honest are not counted.
    pub(super) fn sample(&mut self, world: &World, honest: &[NodeId]) -> Sample {
        let now = world.now();
        let mut sample = Sample { at: world.elapsed(), ..Sample::default() };
        for id in honest {
            let Some(router) = world.router(*id) else { continue };
            let report = router.report(now);
            sample.up += 1;
            sample.clock_error = sample.clock_error.max(world.clock_error(*id).unwrap_or_default());
            sample.sessions += report.peers.inbound + report.peers.outbound;
            sample.known += report.netdb.routers as f64;
            sample.transit += report.transit.tunnels as f64;
            sample.buffered += report.buffered;
            let mut totals = Totals {
                found: report.netdb.found,
                not_found: report.netdb.failed,
                tunnels: report.messages.tunnels,
                builds: report.messages.builds,
                netdb: report.messages.netdb,
                other: report.messages.other,
                wire: report.bytes_sent,
                packets: report.services.iter().map(|s| s.packets).sum(),
                again: report.services.iter().map(|s| s.packets_again).sum(),
                ..Totals::default()
            };
            for direction in report.pools.iter().flat_map(|p| [&p.inbound, &p.outbound]) {
                totals.built += direction.built;
                totals.refused += direction.refused;
                totals.timed_out += direction.timed_out;
                totals.no_path += direction.no_path;
                totals.failed_tunnels += direction.failed;
            }
            let started = world.incarnation(*id);
            let before = self.last.insert(*id, (started, totals));
            let before = before.filter(|(when, _)| *when == started).map(|(_, t)| t);
            sample.totals.add(totals.since(before.unwrap_or_default()));
        }
        let up = sample.up.max(1) as f64;
        sample.known /= up;
        sample.transit /= up;
        sample
    }

    /// Sums of what happened after `from` and until `to`.
    pub(super) fn totals(&self, from: Duration, to: Duration) -> Totals {
        let mut sum = Totals::default();
        for sample in self.samples.iter().filter(|s| s.at > from && s.at <= to) {
            sum.add(sample.totals);
        }
        sum
    }

    /// Columns for plots, one entry a sample.
    pub(super) fn columns(&self) -> Value {
        let of = |f: &dyn Fn(&Sample) -> Value| -> Value {
            Value::Array(self.samples.iter().map(f).collect())
        };
        let mut begin = Duration::ZERO;
        let spans: Vec<(Duration, Duration)> =
            self.samples.iter().map(|s| (std::mem::replace(&mut begin, s.at), s.at)).collect();
        let pages = |f: &dyn Fn(&[Fetch]) -> Value| -> Value {
            let column = spans.iter().map(|(from, to)| {
                let within = |x: &&Fetch| !x.slow && x.to > *from && x.to <= *to;
                let some: Vec<Fetch> = self.fetches.iter().filter(within).copied().collect();
                f(&some)
            });
            Value::Array(column.collect())
        };
        let ratio = |good: u64, bad: u64| match good + bad {
            0 => Value::Null,
            all => json!(round(good as f64 / all as f64)),
        };
        let rate = |bytes: u64, n: usize| {
            let (from, to) = spans[n];
            json!(round(bytes as f64 / (to - from).as_secs_f64().max(0.001)))
        };
        let rates = |f: &dyn Fn(&Totals) -> u64| -> Value {
            let column = self.samples.iter().enumerate().map(|(n, s)| rate(f(&s.totals), n));
            Value::Array(column.collect())
        };
        json!({
            "t_s": of(&|s| json!(round(s.at.as_secs_f64()))),
            "routers_up": of(&|s| json!(s.up)),
            "sessions": of(&|s| json!(s.sessions)),
            "known_routers": of(&|s| json!(round(s.known))),
            "transit_tunnels": of(&|s| json!(round(s.transit))),
            "build_success": of(&|s| ratio(s.totals.built, s.totals.not_built())),
            "builds_refused": of(&|s| json!(s.totals.refused)),
            "builds_timed_out": of(&|s| json!(s.totals.timed_out)),
            "builds_no_path": of(&|s| json!(s.totals.no_path)),
            "tunnels_failed": of(&|s| json!(s.totals.failed_tunnels)),
            "lookup_success": of(&|s| ratio(s.totals.found, s.totals.not_found)),
            "packets_again": of(&|s| ratio(s.totals.again, s.totals.packets - s.totals.again)),
            "pages_ok": pages(&|p| json!(p.iter().filter(|x| x.ok).count())),
            "pages_failed": pages(&|p| json!(p.iter().filter(|x| !x.ok).count())),
            "latency_p50_ms": pages(&|p| percentile(p, 50)),
            "latency_p90_ms": pages(&|p| percentile(p, 90)),
            "latency_p99_ms": pages(&|p| percentile(p, 99)),
            "goodput_bytes_per_s": Value::Array(
                spans.iter().enumerate().map(|(n, (from, to))| {
                    let within = |x: &&Fetch| x.to > *from && x.to <= *to;
                    rate(self.fetches.iter().filter(within).map(|x| x.bytes as u64).sum(), n)
                }).collect()
            ),
            "tunnel_bytes_per_s": rates(&|t| t.tunnels),
            "build_bytes_per_s": rates(&|t| t.builds),
            "netdb_bytes_per_s": rates(&|t| t.netdb),
            "other_bytes_per_s": rates(&|t| t.other),
            "wire_bytes_per_s": rates(&|t| t.wire),
            "buffered_bytes": of(&|s| json!(s.buffered)),
        })
    }
}

/// Three digits behind the point are enough for people, and for comparing.
pub(super) fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// In milliseconds, of those that came.
pub(super) fn percentile(fetches: &[Fetch], percent: usize) -> Value {
    let mut times: Vec<u64> =
        fetches.iter().filter(|f| f.ok).map(|f| (f.to - f.from).as_millis() as u64).collect();
    times.sort_unstable();
    let last = times.len().checked_sub(1);
    last.map_or(Value::Null, |last| json!(times[(times.len() * percent / 100).min(last)]))
}
