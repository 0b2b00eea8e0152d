//! Tunnels: building, carrying, testing and replacing them, and taking part in those of others.
//!
//! [`Tunnels`] is the machine; [`select`] the pure choice of hops. Nothing here knows transports,
//! the netdb or garlic sessions: messages for routers leave as [`TunnelAction::Send`], messages
//! that arrived leave as [`TunnelAction::Received`].

pub(crate) mod build;
mod builds;
mod data;
mod endpoint;
mod fragment;
mod gateway;
mod info;
mod layer;
mod manage;
mod once;
mod own;
mod participant;
mod pool;
mod replay;
mod requests;
mod scout;
pub mod select;
mod signs;
mod test;
mod transit;
mod trouble;
mod verdict;

pub use build::answer::{BadRequest, BuildJob, BuildJobDone, MAX_WAIT};
pub use info::TunnelInfo;
pub use own::Health;
pub use pool::{PoolConfig, PoolStats, SideStats};
pub use transit::{MAX_JOBS, TransitLimits, TransitStats};

use crate::audit::Audit;
use crate::config::Timing;
use crate::crypto::x25519::{PrivateKey, PublicKey};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// How long the messages that we make are valid: what i2pd gives its own, and a little.
const MESSAGE_LIFETIME: Duration = Duration::from_secs(10);
/// The wall clock was set when it is this far from where it should be.
const MAX_DRIFT: Duration = Duration::from_secs(2);
/// Actions that wait to be polled. Each call adds a bounded number; when they are not drained,
/// cells are dropped from here on.
const MAX_ACTIONS: usize = 16_384;
/// Blocks of 64 bytes that the filters against repeated cells may have: 16 MiB, at least ten minutes of
/// 2,000 cells a second, ...
const TRANSIT_REPLAY: usize = 1 << 18;
/// ... and 2 MiB. Behind our own tunnels the ratchet knows what it had before.
const OWN_REPLAY: usize = 1 << 15;

/// Which way the messages of one of our tunnels go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To us.
    Inbound,
    /// From us.
    Outbound,
}

/// A pool of tunnels with one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u32);

impl PoolId {
    /// The router's own pool, through which the tunnels of all others can be built too.
    pub const EXPLORATORY: Self = Self(0);
    /// Tunnels of one hop that carry tests only, while ours break in numbers.
    pub const SCOUTS: Self = Self(u32::MAX);
}

/// A build, from the question for a path to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(u64);

/// One of our outbound tunnels. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundId(u64);

#[cfg(test)]
impl OutboundId {
    /// For the tests of those who only pass it on.
    pub(crate) const fn for_tests(n: u64) -> Self {
        Self(n)
    }
}

/// A router chosen for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who.
    pub hash: Hash,
    /// The encryption key of its identity.
    pub key: PublicKey,
}

/// How urgent a message is, for the queue of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Tunnel builds and tests.
    Control,
    /// Our own traffic.
    Own,
    /// The traffic of others.
    Transit,
}

/// What we learned about a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It takes part in a tunnel of ours.
    Accepted {
        /// From the request to the reply, over all hops and the way back.
        latency: Duration,
    },
    /// It refused.
    Rejected {
        /// The code; everybody uses 30.
        code: u8,
    },
    /// It was in a build that nobody answered.
    BuildTimedOut {
        /// Routers that may be the reason.
        hops: u8,
    },
    /// It was in a test that came back.
    TestPassed {
        /// Round trip through both tunnels.
        latency: Duration,
    },
    /// It was in a test, with others, that did not come back.
    TestLost {
        /// Routers that may be the reason.
        hops: u8,
    },
    /// It is in a tunnel that was given up.
    TestFailed {
        /// Routers that may be the reason.
        hops: u8,
    },
}

/// What is to be done.
#[derive(Debug)]
#[non_exhaustive]
pub enum TunnelAction {
    /// Choose hops, with [`select::select`], and call [`Tunnels::handle_path`].
    NeedPath {
        /// To be named in the answer.
        build: BuildId,
        /// For whom.
        pool: PoolId,
        /// Which way.
        direction: Direction,
        /// Hops, exactly.
        length: usize,
        /// Routers that lately were part of a failure of this pool.
        avoid: Vec<Hash>,
    },
    /// Send to a router, never to ourselves.
    Send {
        /// Whom.
        to: Hash,
        /// What.
        message: Message,
        /// How urgently.
        priority: Priority,
    },
    /// Wrap into garlic for the router `to` (Noise_N with `key`), then [`Tunnels::send`] it
    /// through `via` with `Delivery::Router(to)`. If that cannot be done, call
    /// [`Tunnels::handle_unsent`].
    SendWrapped {
        /// What it is for.
        build: BuildId,
        /// Whom.
        to: Hash,
        /// Its encryption key.
        key: PublicKey,
        /// The tunnel.
        via: OutboundId,
        /// What to wrap.
        message: Message,
    },
    /// A message for the owner of a pool; `None`: for the router itself, as if it had come
    /// directly.
    Received {
        /// Whose tunnel it came through.
        pool: Option<PoolId>,
        /// The message.
        message: Message,
    },
    /// The tunnels of a pool are others now: look at its leases.
    PoolChanged(PoolId),
    /// What we learned about a router.
    Report {
        /// Which.
        peer: Hash,
        /// What.
        outcome: Outcome,
    },
    /// Run it, here or on another thread, and call [`Tunnels::handle_job`].
    Job(BuildJob),
}

/// What does not change, or rarely.
#[derive(Clone, Debug)]
pub struct TunnelConfig {
    /// This router.
    pub local: Hash,
    /// What we carry for others.
    pub transit: TransitLimits,
    /// When builds and tests are given up.
    pub timing: Timing,
}

/// Why a message was not sent. Gives it back, so that it can go through another tunnel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such tunnel any more.
    #[error("the tunnel is gone")]
    NoTunnel(Message),
    /// It needs more than 64 fragments.
    #[error("the message is too large for a tunnel")]
    TooLarge(Message),
}

/// The time of a call.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    pub(crate) unix: UnixTime,
}

impl Clock {
    fn expires(self) -> UnixTime {
        self.unix + MESSAGE_LIFETIME
    }

    fn minutes(self) -> u32 {
        self.unix.as_secs() / 60
    }
}

/// All tunnels of a router.
///
/// After each `handle_*` or verb drain [`Self::poll_action`] until it says `None`, then arm a
/// timer for [`Self::poll_timeout`]. Messages sent before a drain share cells, and cells handed in
/// before a drain are relayed together: hand over what belongs together first, then drain.
pub struct Tunnels {
    local: Hash,
    timing: Timing,
    key: Arc<PrivateKey>,
    public: PublicKey,
    rng: Rng,
    pools: BTreeMap<PoolId, pool::Pool>,
    /// By the id under which we receive.
    inbound: BTreeMap<u32, own::Inbound>,
    outbound: BTreeMap<OutboundId, own::Outbound>,
    builds: BTreeMap<BuildId, builds::Build>,
    /// Builds by the id of the reply that they wait for.
    replies: BTreeMap<u32, BuildId>,
    /// Outbound builds by the tag of a wrapped reply.
    reply_tags: BTreeMap<[u8; 8], BuildId>,
    tests: BTreeMap<[u8; 8], test::Test>,
    transit: transit::Transit,
    /// Cells of others' tunnels, and of our own: what we fetch does not push out what others send.
    replay: replay::ReplayFilter,
    own_replay: replay::ReplayFilter,
    budget: fragment::Budget,
    next_id: u64,
    /// How long builds take, lately.
    build_latency: Option<Duration>,
    /// When routers last did their part in a build or a test.
    alive: signs::Signs,
    /// When routers last were in a tunnel whose test came back.
    carried: signs::Signs,
    trouble: trouble::Trouble,
    /// Pools to announce.
    changed: BTreeSet<PoolId>,
    /// Gateways with an open cell.
    open: Vec<data::OpenGateway>,
    /// Messages that we sent to ourselves.
    loopback: VecDeque<Message>,
    actions: VecDeque<TunnelAction>,
    deadline: Option<Instant>,
    /// Cells of others' tunnels that wait for a drain, to be handled together.
    relay: Vec<data::Relayed>,
    /// Kept between calls to spare allocations.
    cells: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    /// Both clocks at the latest call.
    seen: (Instant, UnixTime),
}

impl Tunnels {
    /// Without pools; `key` is the key of this router's identity.
    #[must_use]
    pub fn new(config: TunnelConfig, key: Arc<PrivateKey>, mut rng: Rng) -> Self {
        Self {
            local: config.local,
            timing: config.timing,
            public: key.public(),
            key,
            pools: BTreeMap::new(),
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            builds: BTreeMap::new(),
            replies: BTreeMap::new(),
            reply_tags: BTreeMap::new(),
            tests: BTreeMap::new(),
            transit: transit::Transit::new(config.transit),
            replay: replay::ReplayFilter::new(&mut rng, TRANSIT_REPLAY),
            own_replay: replay::ReplayFilter::new(&mut rng, OWN_REPLAY),
            rng,
            budget: fragment::Budget::default(),
            next_id: 0,
            build_latency: None,
            alive: signs::Signs::default(),
            carried: signs::Signs::default(),
            trouble: trouble::Trouble::default(),
            changed: BTreeSet::new(),
            open: Vec::new(),
            loopback: VecDeque::new(),
            actions: VecDeque::new(),
            deadline: None,
            relay: Vec::new(),
            cells: Vec::new(),
            scratch: Vec::new(),
            seen: (Instant::ZERO, UnixTime::default()),
        }
    }

    /// A message that came directly from the router `from`, or, without one, out of garlic for
    /// this router: only who is asked to be an inbound gateway is asked that way. Gives back what
    /// is not for tunnels.
    ///
    /// Build replies and tests are only taken from the tunnel through which they are expected:
    /// here they are no longer known to have come that way.
    pub fn handle_message(
        &mut self,
        now: Instant,
        unix: UnixTime,
        from: Option<Hash>,
        message: Message,
    ) -> Option<Message> {
        let clock = self.clock(now, unix);
        let rest = self.handle_direct(clock, from, message);
        self.drain_loopback(clock);
        rest
    }

    fn handle_direct(
        &mut self,
        clock: Clock,
        from: Option<Hash>,
        message: Message,
    ) -> Option<Message> {
        match message.kind {
            MessageType::TUNNEL_DATA => self.handle_cell(clock, message),
            MessageType::TUNNEL_GATEWAY => self.handle_gateway(clock, &message.body),
            MessageType::SHORT_TUNNEL_BUILD if self.replies.contains_key(&message.id) => {
                self.handle_inbound_reply(clock, message);
            }
            MessageType::SHORT_TUNNEL_BUILD
            | MessageType::VARIABLE_TUNNEL_BUILD
            | MessageType::TUNNEL_BUILD => self.handle_request(clock, from, message),
            MessageType::OUTBOUND_TUNNEL_BUILD_REPLY
            | MessageType::VARIABLE_TUNNEL_BUILD_REPLY
            | MessageType::TUNNEL_BUILD_REPLY => {
                log::debug!("build reply outside a tunnel dropped");
            }
            _ => return Some(message),
        }
        None
    }

    /// A [`BuildJob`] is done.
    pub fn handle_job(&mut self, now: Instant, unix: UnixTime, done: BuildJobDone) {
        let clock = self.clock(now, unix);
        self.answer_request(clock, done);
        self.drain_loopback(clock);
        self.update_deadline(now);
    }

    /// A [`BuildJob`] was lost: its request stays unanswered, and its place is free.
    pub fn handle_job_failed(&mut self, now: Instant, unix: UnixTime) {
        self.clock(now, unix);
        self.transit.jobs = self.transit.jobs.saturating_sub(1);
        self.transit.stats.dropped += 1;
    }

    /// Time passed: the deadline of [`Self::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant, unix: UnixTime) {
        let clock = self.clock(now, unix);
        self.expire_builds(clock);
        self.expire_tests(clock);
        self.expire_own(clock);
        self.transit.handle_timeout(now, &mut self.budget);
        self.tend_scouts(clock);
        let pools: Vec<PoolId> = self.pools.keys().copied().collect();
        for pool in pools {
            self.maintain(clock, pool);
            self.start_tests(clock, pool);
        }
        self.drain_loopback(clock);
        self.update_deadline(now);
    }

    /// What is held after a drain, and what may be.
    pub(crate) fn audit(&self, audit: &mut Audit<'_>) {
        let most = |direction| self.pools.values().map(|p| p.most(direction)).sum::<usize>();
        for pool in self.pools.values() {
            pool.audit(audit);
        }
        audit.see("tunnels: outbound", self.outbound.len(), most(Direction::Outbound));
        let inbound = most(Direction::Inbound) * own::INBOUND_GENERATIONS;
        audit.see("tunnels: inbound, given up ones among them", self.inbound.len(), inbound);
        audit.see("tunnels: builds", self.builds.len(), self.pools.len() * pool::MAX_BUILDS);
        audit.see("tunnels: replies waited for", self.replies.len(), self.builds.len());
        audit.see("tunnels: tags of replies", self.reply_tags.len(), self.builds.len());
        audit.see("tunnels: tests", self.tests.len(), test::MAX_TESTS);
        audit.see("tunnels: routers alive", self.alive.len(), signs::MAX);
        audit.see("tunnels: routers that carried", self.carried.len(), signs::MAX);
        let unfinished = self.budget.used();
        audit.see("tunnels: bytes of unfinished messages", unfinished, fragment::MAX_BYTES_IN_ALL);
        audit.drained("tunnels: changed pools", self.changed.len());
        audit.drained("tunnels: open gateways", self.open.len());
        audit.drained("tunnels: messages to ourselves", self.loopback.len());
        audit.drained("tunnels: cells to relay", self.relay.len());
        audit.drained("tunnels: actions", self.actions.len());
        for tunnel in self.inbound.values() {
            tunnel.endpoint.audit(audit);
        }
        self.transit.audit(audit);
        self.replay.audit(audit);
        self.own_replay.audit(audit);
    }

    /// What to do next. Cells that are not full are closed, and others' relayed, when nothing else is
    /// left.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<TunnelAction> {
        while self.actions.is_empty() && self.flush() {}
        self.actions.pop_front().or_else(|| self.changed.pop_first().map(TunnelAction::PoolChanged))
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes note of the time. When the wall clock was set, the ends of our leases move with it:
    /// tunnels live by the monotonic clock.
    fn clock(&mut self, now: Instant, unix: UnixTime) -> Clock {
        let elapsed = now.saturating_since(self.seen.0);
        let expected = self.seen.1 + elapsed;
        if unix.saturating_since(expected) > MAX_DRIFT
            || expected.saturating_since(unix) > MAX_DRIFT
        {
            let lives = self.inbound.values_mut().map(|t| &mut t.life);
            for life in lives.chain(self.outbound.values_mut().map(|t| &mut t.life)) {
                life.ends = unix + life.ends.saturating_since(expected);
            }
            self.changed.extend(self.pools.keys());
        }
        self.seen = (now, unix);
        Clock { now, unix }
    }

    const fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn report(&mut self, peer: Hash, outcome: Outcome) {
        self.actions.push_back(TunnelAction::Report { peer, outcome });
    }
}

const fn assert_send<T: Send + 'static>() {}
const _: () = {
    assert_send::<Tunnels>();
    assert_send::<BuildJob>();
    assert_send::<BuildJobDone>();
};

#[cfg(test)]
mod tests;
