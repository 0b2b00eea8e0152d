//! One build after another: asking the hops of a path, and what came of it.

use super::build::reply::codes;
use super::build::request::{Asked, BadPath, Way, ask};
use super::own::{Inbound, Life, Outbound};
use super::pool::Doubt;
use super::{
    BuildId, Clock, Direction, Hop, OutboundId, Outcome, PoolId, Priority, TunnelAction, Tunnels,
};
use crate::crypto::Key32;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType};
use crate::wire::tunnel::{ACCEPT, Delivery};
use alloc::vec::Vec;
use core::time::Duration;

/// A build.
pub(crate) struct Build {
    pub(crate) pool: PoolId,
    pub(crate) direction: Direction,
    pub(crate) length: usize,
    /// When it is given up.
    pub(crate) deadline: Instant,
    /// When to look whether another build should start beside it.
    pub(crate) hedge_at: Option<Instant>,
    pub(crate) sent: Option<Sent>,
}

impl Build {
    /// Counts as under way: no other one started in its place.
    pub(crate) const fn counts(&self) -> bool {
        self.hedge_at.is_some()
    }

    /// True when the tunnel will receive under `id`.
    pub(crate) fn will_receive(&self, id: u32) -> bool {
        self.sent.as_ref().is_some_and(|s| s.receive == id)
    }
}

/// The request of a build that is on its way.
pub(crate) struct Sent {
    asked: Asked,
    at: Instant,
    unix: UnixTime,
    /// The id of the reply.
    reply: u32,
    /// The pool whose tunnel the reply comes through; `None`: directly, from the last hop.
    through: Option<PoolId>,
    /// The first router that gets the request from us, when it gets it directly.
    pub(crate) direct_to: Option<Hash>,
    /// The id under which an inbound tunnel will receive.
    receive: u32,
    /// The tunnel of ours that it depends on.
    helper: Helper,
}

/// The tunnel of ours that a build depends on, besides its own hops.
#[derive(Clone, Copy)]
enum Helper {
    /// None: the request goes directly.
    None,
    /// The reply comes through this one.
    Inbound(u32),
    /// The request goes through this one.
    Outbound(OutboundId),
}

/// Why a build failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A hop refused.
    Rejected,
    /// Nobody answered.
    TimedOut,
    /// There was nothing to ask, or no way to.
    NoPath,
    /// The first router could not be reached.
    Unreachable,
}

impl Tunnels {
    /// The answer to [`TunnelAction::NeedPath`]: hops in the direction of the messages. No hops:
    /// there is no path.
    pub fn handle_path(&mut self, now: Instant, unix: UnixTime, id: BuildId, hops: &[Hop]) {
        let clock = self.clock(now, unix);
        let Some(build) = self.builds.get(&id).filter(|b| b.sent.is_none()) else { return };
        let (pool, direction) = (build.pool, build.direction);
        let repeated = hops.iter().enumerate().any(|(i, a)| {
            a.hash == self.local || hops.iter().skip(i + 1).any(|b| a.hash == b.hash)
        });
        if hops.len() != build.length || repeated {
            self.build_failed(clock, id, Failure::NoPath);
        } else {
            let asked = match direction {
                Direction::Inbound => self.ask_inbound(clock, id, pool, hops),
                Direction::Outbound => self.ask_outbound(clock, id, pool, hops),
            };
            if let Err(error) = asked {
                log::debug!("no build over the path given: {error}");
                self.build_failed(clock, id, Failure::NoPath);
            }
        }
        self.drain_loopback(clock);
        self.update_deadline(clock.now);
    }

    /// The request of [`TunnelAction::SendWrapped`] could not be sent. Nobody is to blame; another
    /// build follows.
    pub fn handle_unsent(&mut self, now: Instant, unix: UnixTime, id: BuildId) {
        let clock = self.clock(now, unix);
        self.build_failed(clock, id, Failure::NoPath);
        self.drain_loopback(clock);
        self.update_deadline(now);
    }

    fn ask_outbound(
        &mut self,
        clock: Clock,
        id: BuildId,
        pool: PoolId,
        hops: &[Hop],
    ) -> Result<(), BadPath> {
        let (first, last) = hops.first().zip(hops.last()).ok_or(BadPath::Length(0))?;
        let reply_id = self.reply_tunnel(clock, pool, last.hash).ok_or(BadPath::NoWay)?;
        let reply_tunnel = self.inbound.get(&reply_id).ok_or(BadPath::NoWay)?;
        let through = Some(reply_tunnel.pool);
        let way = Way::Outbound {
            reply_gateway: reply_tunnel.gateway(self.local),
            reply_tunnel: reply_tunnel.gateway_tunnel,
        };
        let reply = self.free_reply_id();
        let (body, asked) = ask(&self.local, hops, way, clock.minutes(), reply, &mut self.rng)?;
        if let Some(once) = asked.hops.last().and_then(|h| h.keys.garlic.as_ref()) {
            self.reply_tags.insert(once.tag, id);
        }
        let direct_to = Some(first.hash);
        self.note_sent(
            clock,
            id,
            Sent {
                asked,
                at: clock.now,
                unix: clock.unix,
                reply,
                through,
                direct_to,
                receive: 0,
                helper: Helper::Inbound(reply_id),
            },
        );
        let kind = MessageType::SHORT_TUNNEL_BUILD;
        self.send_new(clock, first.hash, kind, body, Priority::Control);
        Ok(())
    }

    fn ask_inbound(
        &mut self,
        clock: Clock,
        id: BuildId,
        pool: PoolId,
        hops: &[Hop],
    ) -> Result<(), BadPath> {
        let first = *hops.first().ok_or(BadPath::Length(0))?;
        let via = self.request_tunnel(clock.now, pool, first.hash);
        if via.is_none() && !self.may_bootstrap(pool) {
            return Err(BadPath::NoWay);
        }
        let receive = self.free_tunnel_id();
        let reply = self.free_reply_id();
        let (minutes, way) = (clock.minutes(), Way::Inbound { receive });
        let (body, asked) = ask(&self.local, hops, way, minutes, reply, &mut self.rng)?;
        let hopless = |t: &Outbound| t.hops.is_empty();
        let via = via.filter(|via| !self.outbound.get(via).is_none_or(hopless));
        let direct_to = if via.is_none() { Some(first.hash) } else { None };
        self.note_sent(
            clock,
            id,
            Sent {
                asked,
                at: clock.now,
                unix: clock.unix,
                reply,
                through: None,
                direct_to,
                receive,
                helper: via.map_or(Helper::None, Helper::Outbound),
            },
        );
        let kind = MessageType::SHORT_TUNNEL_BUILD;
        let message = Message { kind, id: self.rng.u32(), expires: clock.expires(), body };
        match via {
            None => self.send_to(first.hash, message, Priority::Control),
            Some(via) => {
                let endpoint = self.outbound.get(&via).and_then(|t| t.hops.last().copied());
                if endpoint == Some(first.hash) {
                    // Nobody to hide it from: the endpoint is the gateway.
                    let delivery = Delivery::Router(first.hash);
                    let _ = self.send_alone(clock, via, delivery, &message);
                } else {
                    let (to, key) = (first.hash, first.key);
                    let action = TunnelAction::SendWrapped { build: id, to, key, via, message };
                    self.actions.push_back(action);
                }
            }
        }
        Ok(())
    }

    fn note_sent(&mut self, clock: Clock, id: BuildId, sent: Sent) {
        self.replies.insert(sent.reply, id);
        // Where builds are answered quickly, as hops answer or not at all, they are given up sooner.
        let (least, most) = self.timing.build_timeout;
        let timeout = self
            .build_latency
            .map_or(most, |latency| (latency * 5 + Duration::from_secs(1)).min(most).max(least));
        if let Some(build) = self.builds.get_mut(&id) {
            build.hedge_at = Some(clock.now + self.timing.hedge_after);
            build.deadline = clock.now + timeout;
            build.sent = Some(sent);
        }
    }

    /// A tunnel for the reply of an outbound build: of the same pool, else an exploratory one. One
    /// whose gateway is not the new endpoint, if there is one: i2pd 2.45 leaves a reply that it
    /// delivers to itself lying in its gateway until another message comes.
    fn reply_tunnel(&mut self, clock: Clock, pool: PoolId, endpoint: Hash) -> Option<u32> {
        if pool == PoolId::SCOUTS {
            return Some(self.hidden_inbound(clock, pool));
        }
        let mut ranked = self.ranked_inbound(clock.now, pool);
        if pool != PoolId::EXPLORATORY {
            ranked.extend(self.ranked_inbound(clock.now, PoolId::EXPLORATORY));
        }
        let local = self.local;
        let key =
            |id: &u32| self.inbound.get(id).map(|t| (t.life.doubted, t.gateway(local) == endpoint));
        let best = ranked.into_iter().min_by_key(key);
        match best.and_then(|id| self.inbound.get(&id)) {
            Some(tunnel) if !tunnel.life.doubted => best,
            Some(_) | None if self.may_bootstrap(pool) => Some(self.hidden_inbound(clock, pool)),
            Some(_) | None => best,
        }
    }

    /// A tunnel for the request of an inbound build.
    fn request_tunnel(&mut self, now: Instant, pool: PoolId, gateway: Hash) -> Option<OutboundId> {
        if pool == PoolId::SCOUTS {
            return None;
        }
        let mut ranked = self.ranked_outbound(now, pool);
        if pool != PoolId::EXPLORATORY {
            ranked.extend(self.ranked_outbound(now, PoolId::EXPLORATORY));
        }
        let key = |id: &OutboundId| {
            self.outbound.get(id).map(|t| (t.life.doubted, t.hops.last() == Some(&gateway)))
        };
        let best = ranked.into_iter().min_by_key(key)?;
        let doubted = self.outbound.get(&best).is_none_or(|t| t.life.doubted);
        (!doubted || !self.may_bootstrap(pool)).then_some(best)
    }

    /// Whether a pool may build without another tunnel: the exploratory one, scouts, and any where
    /// there is no exploratory one.
    pub(crate) fn may_bootstrap(&self, pool: PoolId) -> bool {
        matches!(pool, PoolId::EXPLORATORY | PoolId::SCOUTS)
            || !self.pools.contains_key(&PoolId::EXPLORATORY)
    }

    /// A return path without hops, for replies to the first builds of a pool.
    fn hidden_inbound(&mut self, clock: Clock, pool: PoolId) -> u32 {
        let usable = |t: &Inbound| t.hidden && t.pool == pool && t.life.is_usable(clock.now);
        if let Some((id, _)) = self.inbound.iter().find(|(_, t)| usable(t)) {
            return *id;
        }
        let id = self.free_tunnel_id();
        let way = Direction::Inbound;
        let life = Life::new(clock.now, clock.unix, way, &self.timing, &mut self.rng);
        let mut tunnel = Inbound::new(pool, life, &[], id);
        tunnel.hidden = true;
        self.inbound.insert(id, tunnel);
        id
    }

    fn free_tunnel_id(&mut self) -> u32 {
        loop {
            let id = self.rng.nonzero_u32();
            if !self.inbound.contains_key(&id) && !self.transit.contains(id) {
                return id;
            }
        }
    }

    fn free_reply_id(&mut self) -> u32 {
        loop {
            let id = self.rng.nonzero_u32();
            if !self.replies.contains_key(&id) {
                return id;
            }
        }
    }

    /// The key of the wrapped reply with this tag, if it is expected through this pool.
    pub(crate) fn reply_build(&self, pool: PoolId, tag: [u8; 8]) -> Option<Key32> {
        let build = self.builds.get(self.reply_tags.get(&tag)?)?;
        let sent = build.sent.as_ref().filter(|s| s.through == Some(pool))?;
        Some(sent.asked.hops.last()?.keys.garlic.as_ref()?.key.duplicate())
    }

    /// A reply that came through one of our tunnels.
    pub(crate) fn handle_outbound_reply(&mut self, clock: Clock, pool: PoolId, message: Message) {
        if message.kind == MessageType::OUTBOUND_TUNNEL_BUILD_REPLY
            && let Some(id) = self.replies.get(&message.id).copied()
            // Through another tunnel it would tell its sender that both are ours.
            && self
                .builds
                .get(&id)
                .and_then(|b| b.sent.as_ref())
                .is_some_and(|s| s.through == Some(pool))
        {
            self.handle_reply(clock, id, message.body);
        }
    }

    /// A build message that comes back to us from the last hop of an inbound tunnel.
    pub(crate) fn handle_inbound_reply(&mut self, clock: Clock, message: Message) {
        if let Some(id) = self.replies.get(&message.id).copied()
            && self.builds.get(&id).is_some_and(|b| b.direction == Direction::Inbound)
        {
            self.handle_reply(clock, id, message.body);
        }
    }

    fn handle_reply(&mut self, clock: Clock, id: BuildId, mut body: Vec<u8>) {
        let Some(sent) = self.builds.get(&id).and_then(|b| b.sent.as_ref()) else { return };
        let codes = match codes(&sent.asked, &mut body) {
            Ok(codes) => codes,
            Err(error) => {
                // Perhaps forged: the real one may still come.
                log::debug!("build reply: {error}");
                return;
            }
        };
        let (latency, helper) = (clock.now.saturating_since(sent.at), sent.helper);
        if let Some(life) = self.helper_life(helper) {
            life.doubted = false;
        }
        let Some(sent) = self.builds.get(&id).and_then(|b| b.sent.as_ref()) else { return };
        self.build_latency =
            Some(self.build_latency.map_or(latency, |old| (old * 3 + latency) / 4));
        let outcomes: Vec<(Hash, u8)> =
            sent.asked.hops.iter().map(|h| h.hash).zip(codes.iter().copied()).collect();
        self.seen_alive(clock.now, Doubt::Build, outcomes.iter().map(|(peer, _)| *peer));
        for (peer, code) in &outcomes {
            self.report(
                *peer,
                match *code {
                    ACCEPT => Outcome::Accepted { latency },
                    code => Outcome::Rejected { code },
                },
            );
        }
        if outcomes.iter().all(|(_, code)| *code == ACCEPT) {
            self.establish(clock, id);
        } else {
            if let Some(pool) = self.builds.get(&id).map(|b| b.pool)
                && let Some(pool) = self.pools.get_mut(&pool)
            {
                let refused = outcomes.iter().filter(|(_, code)| *code != ACCEPT);
                pool.avoid(clock.now, Doubt::Build, refused.map(|(peer, _)| *peer));
            }
            self.build_failed(clock, id, Failure::Rejected);
        }
        self.update_deadline(clock.now);
    }

    /// Every hop accepted: there is a tunnel.
    pub(crate) fn establish(&mut self, clock: Clock, id: BuildId) {
        let Some(build) = self.take_build(id) else { return };
        let (asked, at, unix, receive) = match build.sent {
            Some(s) => (s.asked.hops, s.at, s.unix, s.receive),
            None => (Vec::new(), clock.now, clock.unix, self.free_tunnel_id()),
        };
        let outbound_id = OutboundId(self.take_id());
        let Some(pool) = self.pools.get_mut(&build.pool) else { return };
        let side = pool.side_mut(build.direction);
        side.succeed();
        side.stats.built += 1;
        let life = Life::new(at, unix, build.direction, &self.timing, &mut self.rng);
        match build.direction {
            Direction::Inbound => {
                pool.inbound.push(receive);
                let tunnel = Inbound::new(build.pool, life, &asked, receive);
                self.inbound.insert(receive, tunnel);
            }
            Direction::Outbound => {
                pool.outbound.push(outbound_id);
                self.outbound.insert(outbound_id, Outbound::new(build.pool, life, &asked));
            }
        }
        log::debug!("{:?} tunnel of {} hops built", build.direction, build.length);
        self.changed.insert(build.pool);
        // Others may have waited for exactly this.
        if build.pool == PoolId::EXPLORATORY {
            let waiting: Vec<PoolId> = self.pools.keys().copied().collect();
            for pool in waiting {
                if let Some(p) = self.pools.get_mut(&pool)
                    && (p.inbound.is_empty() || p.outbound.is_empty())
                {
                    p.side_mut(Direction::Inbound).hurry();
                    p.side_mut(Direction::Outbound).hurry();
                }
                self.maintain(clock, pool);
            }
        } else {
            self.maintain(clock, build.pool);
        }
        self.start_tests(clock, build.pool);
    }

    pub(crate) fn build_failed(&mut self, clock: Clock, id: BuildId, failure: Failure) {
        let Some(build) = self.take_build(id) else { return };
        log::debug!("{:?} build: {failure:?}", build.direction);
        if failure == Failure::TimedOut
            && let Some(sent) = &build.sent
        {
            let hops = u8::try_from(sent.asked.hops.len()).unwrap_or(u8::MAX);
            for hop in &sent.asked.hops {
                self.report(hop.hash, Outcome::BuildTimedOut { hops });
            }
        }
        if failure == Failure::TimedOut
            && let Some(life) = build.sent.as_ref().and_then(|s| self.helper_life(s.helper))
        {
            life.doubted = true;
            life.next_test = clock.now;
        }
        let Some(pool) = self.pools.get_mut(&build.pool) else { return };
        let stats = &mut pool.side_mut(build.direction).stats;
        match failure {
            Failure::Rejected => stats.rejected += 1,
            Failure::TimedOut | Failure::Unreachable => stats.timed_out += 1,
            Failure::NoPath => stats.no_path += 1,
        }
        match (failure, &build.sent) {
            (Failure::TimedOut, Some(sent)) => {
                // Who was heard of since is not the silent one.
                let silent = |peer: &Hash| self.alive.last(peer).is_none_or(|at| at < sent.at);
                let hops = sent.asked.hops.iter().map(|h| h.hash);
                pool.avoid(clock.now, Doubt::Build, hops.filter(silent));
            }
            (Failure::Unreachable, Some(sent)) => {
                pool.avoid(clock.now, Doubt::Build, sent.direct_to)
            }
            (Failure::Rejected | Failure::NoPath, _) | (_, None) => {}
        }
        // A lone silent hop says nothing about the next path; its hedge is under way already.
        if failure != Failure::TimedOut || build.counts() {
            pool.side_mut(build.direction).fail(clock.now, &mut self.rng);
        }
        self.maintain(clock, build.pool);
    }

    fn helper_life(&mut self, helper: Helper) -> Option<&mut Life> {
        match helper {
            Helper::None => None,
            Helper::Inbound(id) => self.inbound.get_mut(&id).map(|t| &mut t.life),
            Helper::Outbound(id) => self.outbound.get_mut(&id).map(|t| &mut t.life),
        }
    }

    /// Forgets a build.
    pub(crate) fn take_build(&mut self, id: BuildId) -> Option<Build> {
        let build = self.builds.remove(&id)?;
        if let Some(sent) = &build.sent {
            self.replies.remove(&sent.reply);
            if let Some(once) = sent.asked.hops.last().and_then(|h| h.keys.garlic.as_ref()) {
                self.reply_tags.remove(&once.tag);
            }
        }
        Some(build)
    }
}
