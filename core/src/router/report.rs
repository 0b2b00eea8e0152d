//! The state of the router as plain numbers.

use super::apps::Kind;
use super::{Router, publish};
use crate::client::control::{
    AddressReport, DirectionReport, FloodfillReport, InfoReport, MessagesReport, NetDbReport,
    PeersReport, PoolReport, ServiceReport, TransitReport,
};
use crate::config::{self, ServerKind};
use crate::time::Instant;
use crate::tunnel::{Direction, PoolId, TunnelInfo};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

impl Router {
    /// What `ramson info` shows.
    #[must_use]
    pub fn report(&self, now: Instant) -> InfoReport {
        let (counts, outcomes) = (self.netdb.counts(), self.netdb.outcomes());
        let transit = self.tunnels.transit_stats();
        let peers = self.peers.counts();
        let traffic = self.peers.traffic();
        let addresses = self
            .info
            .addresses()
            .iter()
            .map(|a| AddressReport { style: a.style.as_str().to_string(), host: a.host() });
        InfoReport {
            program: String::from(concat!("ramson ", env!("CARGO_PKG_VERSION"))),
            uptime: now.saturating_since(self.started),
            hash: self.hash(),
            network: self.config.network.id,
            caps: publish::caps(&self.config, self.netdb.is_floodfill()),
            router_info_file: None,
            addresses: addresses.collect(),
            peers: PeersReport {
                inbound: peers.inbound as u64,
                outbound: peers.outbound as u64,
                pending: peers.pending as u64,
                ssu2: peers.ssu2 as u64,
            },
            netdb: NetDbReport {
                routers: (counts.verified + counts.unverified) as u64,
                floodfills: counts.floodfills as u64,
                lease_sets: counts.lease_sets as u64,
                found: outcomes.found,
                failed: outcomes.failed,
                floodfill: self.netdb.floodfill_stats().map(|f| FloodfillReport {
                    kept: f.kept as u64,
                    stored: f.stored,
                    refused: f.refused,
                    flooded: f.flooded,
                    found: f.found,
                    referred: f.referred,
                }),
            },
            pools: self.pool_reports(now),
            transit: TransitReport {
                tunnels: transit.tunnels as u64,
                accepted: transit.accepted,
                refused: transit.rejected,
                messages: transit.cells,
                bytes: transit.bytes,
            },
            bytes_received: traffic.received,
            bytes_sent: traffic.sent,
            messages: MessagesReport {
                tunnels: traffic.messages.tunnels,
                builds: traffic.messages.builds,
                netdb: traffic.messages.netdb,
                other: traffic.messages.other,
            },
            buffered: self.buffered() as u64,
            names: self.apps.names() as u64,
            services: self.service_reports(),
        }
    }

    /// All tunnels of ours that are in use.
    #[must_use]
    pub fn tunnels(&self, now: Instant) -> Vec<TunnelInfo> {
        self.tunnels.tunnels(now)
    }

    /// How many tunnels were built so far, for all pools that there are.
    #[must_use]
    pub fn tunnels_built(&self) -> u64 {
        self.tunnels.built()
    }

    /// What was asked for of a pool's tunnels; `None` when there is no such pool.
    #[must_use]
    pub fn pool_shape(&self, pool: PoolId) -> Option<config::Tunnels> {
        if pool == PoolId::EXPLORATORY {
            return Some(self.config.exploratory);
        }
        self.apps.pools().into_iter().find(|(of, _)| *of == pool).map(|(_, shape)| shape)
    }

    /// Bytes that we account for: buffers that peers and clients can fill.
    fn buffered(&self) -> usize {
        self.tunnels.reassembly_bytes() + self.apps.all().map(|(_, a)| a.memory()).sum::<usize>()
    }

    fn pool_reports(&self, now: Instant) -> Vec<PoolReport> {
        let names = self.apps.all();
        let own = core::iter::once((PoolId::EXPLORATORY, "exploratory"));
        own.chain(names.map(|(i, a)| (super::apps::pool_of(i), &*a.name)))
            .filter_map(|(pool, name)| {
                let report = |direction| {
                    let stats = self.tunnels.side_stats(now, pool, direction)?;
                    Some(DirectionReport {
                        active: stats.active as u64,
                        building: stats.building as u64,
                        built: stats.built,
                        refused: stats.rejected,
                        timed_out: stats.timed_out,
                        no_path: stats.no_path,
                        failed: stats.failed,
                    })
                };
                Some(PoolReport {
                    name: name.to_string(),
                    inbound: report(Direction::Inbound)?,
                    outbound: report(Direction::Outbound)?,
                })
            })
            .collect()
    }

    fn service_reports(&self) -> Vec<ServiceReport> {
        let report = |(i, app): (usize, &super::apps::App)| {
            let (kind, listen, target) = match &app.kind {
                Kind::HttpProxy { listen } => ("http_proxy", Some(*listen), None),
                Kind::Client { listen, to } => {
                    ("client", Some(*listen), Some(to.target.authority(to.port)))
                }
                Kind::Server { target, kind: ServerKind::Tcp } => {
                    ("server", None, Some(target.to_string()))
                }
                Kind::Server { target, kind: ServerKind::Http } => {
                    ("http_server", None, Some(target.to_string()))
                }
                Kind::Embedded(_) => ("embedded", None, None),
            };
            let stats = app.stream_stats();
            ServiceReport {
                name: app.name.to_string(),
                kind: kind.to_string(),
                listen,
                target,
                b32: Some(app.destination.identity().b32_address()),
                connections: self.apps.connections(i) as u64,
                refused: app.refusals.total,
                packets: stats.packets_out.saturating_sub(stats.acks_out),
                packets_again: stats.again_out,
                ready: app.destination.is_ready(),
            }
        };
        self.apps.all().map(report).collect()
    }
}
