//! One run of a scenario.

use super::adversary::{self, Adversary, PlugIns};
use super::outcome::{Met, Outcome};
use super::scenario::{Effect, Fault, FaultKind, Group, Nats, Network, Scenario, TimeOfDay};
use super::series::{Fetch, Sample, Series};
use crate::content::content;
use crate::network;
use crate::world::{BrowserId, NatKind, NodeId, Weather, World, one_of};
use ramson_core::config::{Config, Floodfill};
use ramson_core::rng::{Rng, Seed};
use ramson_core::router::output::StoreKey;
use ramson_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a reader waits after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Samples of a run.
const SAMPLES: u32 = 90;
/// The least time between two.
const MIN_SAMPLE: Duration = Duration::from_secs(5);

/// A reader, its site, and what it does.
struct Pair {
    reader: NodeId,
    host: NodeId,
    url: String,
    page: Option<Running>,
    stream: Option<Running>,
    streams: bool,
    /// When the site is asked next.
    next: u64,
}

/// Something that was asked for.
struct Running {
    browser: BrowserId,
    from: Duration,
    size: usize,
    /// How often each end was started by then.
    starts: (u64, u64),
}

/// What the runner does when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Start(NodeId),
    Fault(usize),
    FaultOn(usize, NodeId),
    Heal(usize, NodeId),
    Begin(usize),
    Act(usize),
    Page(usize, u64),
    Stream(usize),
    GiveUp(BrowserId),
    Sample,
}

/// A scenario under way.
pub(super) struct Run<'a> {
    scenario: &'a Scenario,
    seed: u64,
    world: World,
    all: Vec<NodeId>,
    groups: BTreeMap<Group, Vec<NodeId>>,
    pairs: Vec<Pair>,
    browsers: BTreeMap<BrowserId, (usize, bool)>,
    due: BTreeSet<(Duration, u64, Due)>,
    planned: u64,
    lots: Rng,
    adversaries: Vec<Box<dyn Adversary>>,
    dishonest: BTreeSet<NodeId>,
    /// Nobody reaches them, whatever goes wrong.
    hidden: BTreeSet<NodeId>,
    /// How many faults of one effect hold a node.
    holds: BTreeMap<(Effect, NodeId), u32>,
    /// How many nodes are behind each kind of box.
    boxed: Vec<usize>,
    /// How many nodes each fault met.
    struck: Vec<usize>,
    /// How many each adversary has.
    turned: Vec<usize>,
    series: Series,
    progress: &'a mut dyn FnMut(&Sample) -> u64,
}

impl<'a> Run<'a> {
    /// Makes the routers and gives them each other's RouterInfos; none runs yet. `progress` is called
    /// with each sample, and says how much memory this process has.
    pub(super) fn new(
        scenario: &'a Scenario,
        seed: u64,
        plug_ins: PlugIns<'_>,
        progress: &'a mut dyn FnMut(&Sample) -> u64,
    ) -> Result<Self, String> {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let mut lots = rng.fork("lots");
        let mut adversaries = Vec::new();
        for plan in &scenario.adversaries {
            let seed = Seed::new(rng.fork("adversary").bytes());
            let adversary = match plug_ins.iter_mut().find(|(name, _)| *name == plan.kind) {
                Some((_, make)) => make(plan, &seed),
                None => adversary::by_name(plan, &seed)?,
            };
            adversaries.push(adversary);
        }
        let mut doors = rng.fork("nats");
        let mut world = World::new(seed);
        if scenario.planted_bug {
            world.lose_wakes();
        }
        let net = &scenario.network;
        if let Some(TimeOfDay(seconds)) = net.clock {
            world.set_time_of_day(seconds);
        }
        world.set_weather(Weather::from(scenario.links));
        world.set_neighbours(scenario.network.neighbours);
        let part = |share: f64| (net.routers as f64 * share).round() as usize;
        let (floodfills, sites) = (part(net.floodfills).max(1), part(net.sites).max(1));
        let readers = net.readers.map_or(sites, |share| part(share).max(1));
        let tunnels = network::tunnels(net.length, net.quantity);
        let mut groups: BTreeMap<Group, Vec<NodeId>> = BTreeMap::new();
        let (mut all, mut infos) = (Vec::new(), Vec::new());
        let mut hidden_nodes = BTreeSet::new();
        let mut boxed = vec![0; scenario.nats.len()];
        for n in 0..net.routers {
            let mut config = network::router(&world, tunnels);
            config.timing = net.timing();
            let group = match n {
                n if n < floodfills => {
                    config.netdb.floodfill = Floodfill::On;
                    Group::Floodfills
                }
                n if n < floodfills + sites => {
                    network::add_site(&mut config, tunnels);
                    Group::Sites
                }
                n if n < floodfills + sites + readers => {
                    network::add_proxy(&mut config, tunnels);
                    Group::Readers
                }
                _ => Group::Others,
            };
            let hidden = matches!(group, Group::Readers | Group::Others)
                && one_of(&mut lots, net.firewalled);
            let may_hide = matches!(group, Group::Readers | Group::Others) && !hidden;
            let nat = if may_hide { draw_nat(&mut doors, &scenario.nats) } else { None };
            set_transports(&mut config, net, hidden || nat.is_some());
            let id = world.add_router(config);
            world.set_firewalled(id, hidden);
            if let Some(n) = nat {
                world.add_nat(id, NatKind::from(scenario.nats[n]));
                boxed[n] += 1;
            }
            if hidden {
                hidden_nodes.insert(id);
            }
            groups.entry(group).or_default().push(id);
            all.push(id);
            // It has its keys now. It starts when all have.
            infos.push(world.stored(id, &StoreKey::RouterInfo).map(Arc::from));
            world.crash(id);
        }
        let mut run = Self {
            scenario,
            seed,
            world,
            all,
            groups,
            pairs: Vec::new(),
            browsers: BTreeMap::new(),
            due: BTreeSet::new(),
            planned: 0,
            lots,
            adversaries,
            dishonest: BTreeSet::new(),
            hidden: hidden_nodes,
            holds: BTreeMap::new(),
            boxed,
            struck: vec![0; scenario.faults.len()],
            turned: vec![0; scenario.adversaries.len()],
            series: Series::default(),
            progress,
        };
        run.introduce(&infos);
        run.pair();
        run.plan();
        Ok(run)
    }

    /// Everybody has an excerpt of the network, floodfills among it, as from a reseed.
    fn introduce(&mut self, infos: &[Option<Arc<[u8]>>]) {
        let floodfills = self.group(Group::Floodfills).len();
        for id in self.all.clone() {
            let mut known = BTreeSet::new();
            // One in four is a floodfill: a reseed has them too, and without any nobody is found.
            for (within, how_many) in [
                (floodfills, self.scenario.network.known.div_ceil(4)),
                (self.all.len(), usize::MAX),
            ] {
                let wanted = known.len().saturating_add(how_many);
                for _ in 0..self.scenario.network.known * 4 {
                    if known.len() >= wanted.min(self.scenario.network.known) {
                        break;
                    }
                    known.insert(self.lots.below(within as u64) as usize);
                }
            }
            let known: Vec<Arc<[u8]>> = known
                .into_iter()
                .filter(|n| self.all[*n] != id)
                .filter_map(|n| infos[n].clone())
                .collect();
            self.world.set_known(id, known);
        }
    }

    fn pair(&mut self) {
        let (hosts, readers) = (self.group(Group::Sites), self.group(Group::Readers));
        let streams = (readers.len() as f64 * self.scenario.traffic.streams).round() as usize;
        for (n, reader) in readers.into_iter().enumerate() {
            let host = hosts[n % hosts.len()];
            self.pairs.push(Pair {
                reader,
                host,
                url: network::site_url(&self.world, host),
                page: None,
                stream: None,
                streams: n < streams,
                next: 0,
            });
        }
    }

    fn plan(&mut self) {
        let start = self.scenario.network.start.0;
        for (n, id) in self.all.clone().into_iter().enumerate() {
            // Not within the second in which its keys were made: what it publishes then would not be
            // newer than what the others were given.
            let at = Duration::from_secs(2) + start * n as u32 / self.all.len() as u32;
            self.push(at, Due::Start(id));
        }
        let traffic = &self.scenario.traffic;
        for n in 0..self.pairs.len() {
            let phase = traffic.every.0 * n as u32 / self.pairs.len() as u32;
            self.push(traffic.from.0 + phase, Due::Page(n, 0));
            if self.pairs[n].streams {
                self.push(traffic.from.0 + phase, Due::Stream(n));
            }
        }
        for n in 0..self.scenario.faults.len() {
            self.push(self.scenario.faults[n].at.0, Due::Fault(n));
        }
        for n in 0..self.scenario.adversaries.len() {
            // After the start of those that it has.
            let at = self.scenario.adversaries[n].at.0.max(Duration::from_secs(2) + start);
            self.push(at, Due::Begin(n));
        }
        self.push(self.step(), Due::Sample);
    }

    fn step(&self) -> Duration {
        (self.scenario.duration.0 / SAMPLES).max(MIN_SAMPLE)
    }

    fn push(&mut self, at: Duration, due: Due) {
        self.planned += 1;
        self.due.insert((at, self.planned, due));
    }

    /// Runs it to its end.
    pub(super) fn run(mut self) -> Outcome {
        let end = self.scenario.duration.0;
        while let Some((at, _, due)) = self.due.first().copied().filter(|(at, ..)| *at <= end) {
            if let Some(browser) = self.world.run_until_news(Instant::ZERO + at) {
                // Of one that is done, its connection ends too: nothing follows from that.
                self.ended(browser);
                continue;
            }
            self.due.pop_first();
            self.act(due);
        }
        self.world.run_for(end.saturating_sub(self.world.elapsed()));
        self.sample();
        let lived: Vec<bool> = self.pairs.iter().map(|p| self.is_up(p)).collect();
        let tried = self.adversaries.iter().map(|a| a.repelled()).collect();
        let (boxed, struck, turned) = (self.boxed, self.struck, self.turned);
        let met = Met { lived, boxed, struck, turned, tried };
        Outcome::new(self.scenario, self.seed, &self.world, self.series, &met)
    }

    fn is_up(&self, pair: &Pair) -> bool {
        let honest = |id: &NodeId| !self.dishonest.contains(id);
        let up = |id: &NodeId| self.world.router(*id).is_some() && honest(id);
        up(&pair.reader) && up(&pair.host)
    }

    fn act(&mut self, due: Due) {
        let now = self.world.elapsed();
        match due {
            Due::Start(id) => {
                let down = self.holds.get(&(Effect::Power, id)).is_some_and(|held| *held > 0);
                if self.world.router(id).is_none() && !down {
                    self.world.start(id);
                }
            }
            Due::Fault(n) => self.strike(n),
            Due::FaultOn(n, id) => self.strike_one(n, id),
            Due::Heal(n, id) => self.heal(n, id),
            Due::Begin(n) => {
                let plan = &self.scenario.adversaries[n];
                let nodes = self.draw(plan.of, plan.share, plan.count);
                self.dishonest.extend(&nodes);
                self.turned[n] = nodes.len();
                self.adversaries[n].begin(&mut self.world, &nodes);
                if !nodes.is_empty() {
                    self.push(now, Due::Act(n));
                }
            }
            Due::Act(n) => {
                if let Some(again) = self.adversaries[n].act(&mut self.world) {
                    // Never at this instant again.
                    self.push(now + again.max(Duration::from_millis(1)), Due::Act(n));
                }
            }
            Due::Page(n, next) => {
                if self.pairs[n].next == next && self.pairs[n].page.is_none() {
                    self.ask(n);
                }
            }
            Due::Stream(n) => self.download(n),
            Due::GiveUp(browser) => self.ended(browser),
            Due::Sample => {
                self.sample();
                // The last one is at the end: one just before it would leave it nothing to measure.
                if now + self.step() * 3 / 2 <= self.scenario.duration.0 {
                    self.push(now + self.step(), Due::Sample);
                }
            }
        }
    }

    fn sample(&mut self) {
        let honest: Vec<NodeId> =
            self.all.iter().filter(|id| !self.dishonest.contains(id)).copied().collect();
        let mut sample = self.series.sample(&self.world, &honest);
        sample.resident = (self.progress)(&sample);
        self.series.samples.push(sample);
    }

    fn ask(&mut self, n: usize) {
        let (now, size) = (self.world.elapsed(), self.scenario.traffic.size);
        if !self.is_up(&self.pairs[n]) {
            self.ask_later(n, AGAIN);
            return;
        }
        let url = format!("{}/{size}", self.pairs[n].url);
        let running = self.request(n, &url, size, false);
        self.push(now + self.scenario.traffic.patience.0, Due::GiveUp(running.browser));
        self.pairs[n].page = Some(running);
    }

    fn ask_later(&mut self, n: usize, after: Duration) {
        self.pairs[n].next += 1;
        let due = Due::Page(n, self.pairs[n].next);
        self.push(self.world.elapsed() + after, due);
    }

    fn download(&mut self, n: usize) {
        let traffic = &self.scenario.traffic;
        if !self.is_up(&self.pairs[n]) {
            self.push(self.world.elapsed() + AGAIN, Due::Stream(n));
            return;
        }
        let (size, seconds) = (traffic.stream_size, traffic.stream_for.0.as_secs());
        let url = format!("{}/{size}/{seconds}", self.pairs[n].url);
        let running = self.request(n, &url, size, true);
        let patience = traffic.stream_for.0 + traffic.patience.0;
        self.push(running.from + patience, Due::GiveUp(running.browser));
        self.pairs[n].stream = Some(running);
    }

    fn request(&mut self, n: usize, url: &str, size: usize, slow: bool) -> Running {
        let from = self.world.elapsed();
        let (reader, host) = (self.pairs[n].reader, self.pairs[n].host);
        let starts = (self.world.incarnation(reader), self.world.incarnation(host));
        let browser = self.world.open_browser(reader);
        self.browsers.insert(browser, (n, slow));
        self.world.ask(browser, url);
        Running { browser, from, size, starts }
    }

    /// An answer is whole, or will not be. Once for each that was asked for.
    fn ended(&mut self, browser: BrowserId) {
        let Some((n, slow)) = self.browsers.remove(&browser) else { return };
        let pair = &mut self.pairs[n];
        let running = if slow { pair.stream.take() } else { pair.page.take() };
        let Some(Running { from, size, starts, .. }) = running else { return };
        let answer = self.world.take_answer(browser);
        let part = self.world.part_of_body(browser);
        self.world.close_browser(browser);
        self.world.forget_browser(browser);
        let pair = &self.pairs[n];
        let ends = (self.world.incarnation(pair.reader), self.world.incarnation(pair.host));
        let ok = answer.as_ref().is_some_and(|a| a.status == 200);
        if let Some(answer) = answer.as_ref().filter(|a| a.status == 200) {
            // Whatever happens to the network: what comes is what was sent.
            assert!(answer.body == content(size), "{} wrong bytes for {size}", answer.body.len());
        }
        if let Some(part) = &part {
            assert!(content(size).starts_with(part), "{} bytes, and some are wrong", part.len());
        }
        let fetch = Fetch {
            pair: n,
            from,
            to: self.world.elapsed(),
            ok,
            bytes: answer.map_or(part.map_or(0, |p| p.len()), |a| a.body.len()),
            slow,
            ends_lived: ends == starts && self.is_up(pair),
        };
        self.series.fetches.push(fetch);
        match (slow, ok) {
            (true, true) => self.push(self.world.elapsed(), Due::Stream(n)),
            (true, false) => self.push(self.world.elapsed() + AGAIN, Due::Stream(n)),
            (false, true) => self.ask_later(n, self.scenario.traffic.every.0),
            (false, false) => self.ask_later(n, AGAIN),
        }
    }

    /// Those of a group, by order of number.
    fn group(&self, group: Group) -> Vec<NodeId> {
        match group {
            Group::All => self.all.clone(),
            some => self.groups.get(&some).cloned().unwrap_or_default(),
        }
    }

    /// Some of a group, by lot.
    fn draw(&mut self, group: Group, share: Option<f64>, count: Option<usize>) -> Vec<NodeId> {
        let mut left = self.group(group);
        left.retain(|id| !self.dishonest.contains(id));
        self.draw_of(left, share, count)
    }

    /// Some of these, by lot.
    fn draw_of(
        &mut self,
        mut left: Vec<NodeId>,
        share: Option<f64>,
        count: Option<usize>,
    ) -> Vec<NodeId> {
        let some = share.map_or(0, |share| match (left.len() as f64 * share).round() as usize {
            // A small share of few is one, not nobody.
            0 if share > 0.0 => 1,
            some => some,
        });
        let some = count.unwrap_or(some).min(left.len());
        (0..some).map(|_| left.swap_remove(self.lots.below(left.len() as u64) as usize)).collect()
    }

    fn strike(&mut self, n: usize) {
        let fault = &self.scenario.faults[n];
        let now = self.world.elapsed();
        let mut meant = self.group(fault.of);
        meant.retain(|id| !self.dishonest.contains(id));
        if fault.kind == FaultKind::NatRebind {
            meant.retain(|id| self.world.nat_of(*id).is_some());
        }
        let nodes = self.draw_of(meant, fault.share, fault.count);
        let within = fault.within.0.as_micros() as u64;
        for id in nodes {
            let after = Duration::from_micros(self.lots.below(within + 1));
            if within == 0 {
                self.strike_one(n, id);
            } else {
                self.push(now + after, Due::FaultOn(n, id));
            }
        }
        // Whoever reads asks at once: how long it takes is what is to be known.
        for n in 0..self.pairs.len() {
            if self.pairs[n].page.is_none() && now >= self.scenario.traffic.from.0 {
                self.ask_later(n, Duration::from_millis(1));
            }
        }
    }

    fn strike_one(&mut self, n: usize, id: NodeId) {
        let fault: &Fault = &self.scenario.faults[n];
        let world = &mut self.world;
        *self.holds.entry((fault.kind.effect(), id)).or_default() += 1;
        self.struck[n] += 1;
        match fault.kind {
            // It is down already; and stays down until both are over.
            FaultKind::Crash | FaultKind::PowerLoss if world.router(id).is_none() => {}
            FaultKind::Crash => world.crash(id),
            FaultKind::PowerLoss => world.lose_power(id),
            FaultKind::Freeze => {
                world.freeze(id, fault.lasts.map_or(self.scenario.duration.0, |l| l.0));
            }
            FaultKind::Partition => world.set_side(id, n as u32 + 1),
            FaultKind::LinkDown => world.set_link(id, false),
            FaultKind::Clock => world.step_clock(id, fault.seconds),
            FaultKind::Drift => world.set_drift(id, fault.micros),
            FaultKind::Weather => world.set_weather_of(id, Weather::from(fault.links)),
            FaultKind::Firewall => world.set_firewalled(id, true),
            FaultKind::NatRebind => {
                if let Some(nat) = world.nat_of(id) {
                    world.rebind_nat(nat, fault.renumber);
                }
            }
        }
        if let Some(lasts) = fault.lasts {
            self.push(self.world.elapsed() + lasts.0, Due::Heal(n, id));
        }
    }

    fn heal(&mut self, n: usize, id: NodeId) {
        let fault: &Fault = &self.scenario.faults[n];
        let world = &mut self.world;
        if let Some(held) = self.holds.get_mut(&(fault.kind.effect(), id)) {
            *held -= 1;
            // Steps of a clock add up; of all else another one holds still.
            if *held > 0 && fault.kind != FaultKind::Clock {
                return;
            }
        }
        match fault.kind {
            FaultKind::Crash | FaultKind::PowerLoss => {
                if world.router(id).is_none() {
                    world.start(id);
                }
            }
            FaultKind::Freeze | FaultKind::NatRebind => {}
            FaultKind::Partition => world.set_side(id, 0),
            FaultKind::LinkDown => world.set_link(id, true),
            FaultKind::Clock => world.step_clock(id, -fault.seconds),
            FaultKind::Drift => world.set_drift(id, 0),
            FaultKind::Weather => world.set_weather_of(id, Weather::FAIR),
            FaultKind::Firewall => world.set_firewalled(id, self.hidden.contains(&id)),
        }
    }
}

/// The kind of box in front of a router, if there is one.
fn draw_nat(rng: &mut Rng, nats: &[Nats]) -> Option<usize> {
    let mut left = 1.0;
    for (n, nats) in nats.iter().enumerate() {
        if one_of(rng, nats.share / left) {
            return Some(n);
        }
        left -= nats.share;
    }
    None
}

/// What a router speaks, and whether it tells others where. One that is hidden does not know itself.
fn set_transports(config: &mut Config, network: &Network, hidden: bool) {
    let host = config.ntcp2.host.filter(|_| !hidden);
    (config.ntcp2.host, config.ntcp2.publish, config.ntcp2.enabled) =
        (host, !hidden, network.ntcp2);
    (config.ssu2.host, config.ssu2.publish, config.ssu2.enabled) = (host, !hidden, network.ssu2);
    config.ssu2.port = config.ntcp2.port.filter(|_| network.ssu2);
}
