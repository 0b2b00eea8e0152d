//! The tunnels' wishes: paths, messages, and what was measured of peers.

use super::Router;
use super::job::Job;
use super::output::Action;
use crate::config::{self, Config};
use crate::netdb::{Context, profile};
use crate::time::{Instant, UnixTime};
use crate::transport::queue;
use crate::tunnel::select::{self, Candidate, Group, PathRequest};
use crate::tunnel::{
    BuildId, Direction, Hop, Outcome, PoolConfig, PoolId, Priority, TransitLimits, TunnelAction,
};
use crate::wire::hash::Hash;
use crate::wire::router_info::Bandwidth;
use crate::wire::tunnel::Delivery as TunnelDelivery;
use alloc::vec::Vec;
use core::time::Duration;

/// Candidates that one choice of a path looks at: all in small networks, a sample in large ones.
const CANDIDATES: usize = 300;
/// In test networks a handful of routers sends all the requests.
const LOCAL_REQUESTS_PER_HOP: u32 = 10_000;
/// How much less a loaded or untried router is chosen.
const CONGESTED_DIVISOR: u32 = 8;
const COOLING_DIVISOR: u32 = 64;
/// While our tunnels break in numbers, those count as lively that we heard so lately.
const LIVELY: Duration = Duration::from_secs(15);

/// A pool's shape as configured.
pub(super) const fn pool(shape: &config::Tunnels) -> PoolConfig {
    PoolConfig {
        inbound_length: shape.length,
        outbound_length: shape.length,
        variance: shape.length_variance,
        inbound_quantity: shape.quantity,
        outbound_quantity: shape.quantity,
    }
}

/// What we carry for others, as configured.
pub(super) fn transit_limits(config: &Config) -> TransitLimits {
    let limits = &config.limits;
    let rate = limits.bandwidth_in.min(limits.bandwidth_out);
    let share = rate / 100 * u64::from(limits.share.min(100));
    let mut transit = TransitLimits {
        tunnels: limits.transit_tunnels,
        bytes_per_second: Some(share),
        accept: limits.transit_tunnels > 0 && share > 0,
        ..TransitLimits::default()
    };
    if config.network.allow_local {
        transit.requests_per_hop = LOCAL_REQUESTS_PER_HOP;
    }
    transit
}

impl Router {
    pub(super) fn handle_tunnel_action(&mut self, now: Instant, action: TunnelAction) {
        let unix = self.clock.unix(now);
        match action {
            TunnelAction::NeedPath { build, pool, direction, length, avoid } => {
                self.choose_path(now, unix, build, pool, direction, length, &avoid);
            }
            TunnelAction::Send { to, message, priority } => {
                let priority = match priority {
                    Priority::Control => queue::Priority::Control,
                    Priority::Own => queue::Priority::Own,
                    Priority::Transit => queue::Priority::Transit,
                };
                let _sent = self.send_to(now, to, message, priority);
            }
            TunnelAction::SendWrapped { build, to, key, via, message } => {
                let delivery = TunnelDelivery::Router(to);
                let sent = self.wrap(now, &key, message).is_some_and(|message| {
                    self.tunnels.send(now, unix, via, delivery, message).is_ok()
                });
                if !sent {
                    self.tunnels.handle_unsent(now, unix, build);
                }
            }
            TunnelAction::Received { pool, message } => self.handle_received(now, pool, message),
            TunnelAction::PoolChanged(pool) => {
                if !matches!(pool, PoolId::EXPLORATORY | PoolId::SCOUTS) {
                    let leases = self.tunnels.inbound_leases(now, unix, pool);
                    let outbound = self.tunnels.ranked_outbound(now, pool);
                    if !leases.is_empty() && !outbound.is_empty() {
                        self.netdb.handle_tunnels(now, unix, Context(pool.0));
                    }
                    self.apps.handle_tunnels(now, unix, pool, leases, outbound);
                }
            }
            TunnelAction::Report { peer, outcome } => self.report_peer(now, unix, peer, outcome),
            TunnelAction::Job(job) => {
                let id = self.jobs.start();
                self.actions.push_back(Action::Run { id, job: Job::build(job) });
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one action")]
    fn choose_path(
        &mut self,
        now: Instant,
        unix: UnixTime,
        build: BuildId,
        pool: PoolId,
        direction: Direction,
        length: usize,
        avoid: &[Hash],
    ) {
        let hops = if length == 0 {
            Some(Vec::new())
        } else {
            let candidates = self.candidates(now, unix, pool);
            let request = PathRequest {
                direction,
                length,
                local: self.hash(),
                local_v4: true,
                local_v6: false,
                local_published: super::publish::is_published(&self.config),
                same_group: self.config.network.allow_local,
                avoid,
            };
            select::select(&request, &candidates, &mut self.rng)
        };
        let hops: Vec<Hop> = hops.unwrap_or_default();
        if hops.is_empty() && length > 0 {
            log::debug!("no path of {length} hops for pool {}", pool.0);
        }
        self.tunnels.handle_path(now, unix, build, &hops);
    }

    /// The routers that may be hops of a pool, with how much we want them.
    fn candidates(&mut self, now: Instant, unix: UnixTime, pool: PoolId) -> Vec<Candidate> {
        let (counts, all_tunnels) = self.tunnels.hop_counts();
        let (peers, tunnels) = (&self.peers, &self.tunnels);
        let trouble = tunnels.in_trouble_for(now).map(|time| time.min(LIVELY));
        let lively = |hash: &Hash| {
            trouble.is_some_and(|time| {
                peers.heard_within(now, hash, time) || tunnels.alive_within(now, hash, time)
            })
        };
        self.netdb
            .draw_candidates(now, unix, CANDIDATES, &tunnels.carriers(now))
            .into_iter()
            .map(|c| {
                let mut weight = c.standing.weight.saturating_mul(match c.bandwidth {
                    Bandwidth::K | Bandwidth::L | Bandwidth::M => 1,
                    Bandwidth::N => 2,
                    Bandwidth::O => 4,
                    Bandwidth::P => 6,
                    Bandwidth::X => 8,
                });
                if c.congested {
                    weight /= CONGESTED_DIVISOR;
                }
                if c.standing.cooling {
                    weight /= COOLING_DIVISOR;
                }
                let uses = counts.get(&c.hash).copied().unwrap_or(0);
                let share = (uses * 1000).checked_div(all_tunnels).unwrap_or(0);
                let v4 = c.host.is_ipv4();
                let mut candidate = Candidate {
                    hash: c.hash,
                    key: c.key,
                    groups: alloc::vec![Group::of(c.host.ip())],
                    v4,
                    v6: !v4,
                    published_v4: v4 && c.gateway,
                    published_v6: !v4 && c.gateway,
                    connected: peers.is_connected(&c.hash),
                    weight: weight.max(1),
                    share: u16::try_from(share).unwrap_or(u16::MAX),
                };
                tunnels.favour(now, pool, lively(&candidate.hash), &mut candidate);
                candidate
            })
            .collect()
    }

    fn report_peer(&mut self, now: Instant, unix: UnixTime, peer: Hash, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Accepted { latency } => profile::Outcome::BuildAccepted { latency },
            Outcome::Rejected { .. } => profile::Outcome::BuildRejected,
            Outcome::BuildTimedOut { hops } => profile::Outcome::BuildTimedOut { hops },
            Outcome::TestPassed { latency } => profile::Outcome::TestPassed { latency },
            Outcome::TestLost { .. } | Outcome::TestFailed { .. } if self.peers.is_offline(now) => {
                return;
            }
            Outcome::TestLost { hops } | Outcome::TestFailed { hops } => {
                profile::Outcome::TestFailed { hops }
            }
        };
        self.netdb.report(now, unix, peer, outcome);
    }
}
