//! The network, its clock, and what happens to whom.

mod chance;
mod check;
mod disk;
mod ends;
mod http;
pub(crate) mod journal;
mod link;
mod nat;
mod node;
mod pipe;
mod raw;
mod tap;
mod udp;
mod weather;

pub(crate) use chance::one_of;
pub use http::Answer;
pub use nat::{Dependence, Nat, NatKind};
pub use raw::{Raw, RawId};
pub use tap::{TapId, Tapped};
pub use udp::{Datagrams, NatId, Udp, UdpId};
pub use weather::Weather;

use chance::Chance;
use ends::Ends;
use link::Link;
use node::Node;
use pipe::{End, EndId};
use ramson_core::client::control::FloodfillReport;
use ramson_core::config::Config;
use ramson_core::keys::RouterKeys;
use ramson_core::rng::Seed;
use ramson_core::router::conduct::Conduct;
use ramson_core::router::embed::AppEvent;
use ramson_core::router::input::{Command, Completion, ConnId, ConnInput, EffectId, Listener};
use ramson_core::router::job::Done;
use ramson_core::router::output::{Action, Event, StoreKey};
use ramson_core::router::{Router, StartError};
use ramson_core::time::{Instant, UnixTime};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use udp::{NatBox, Packet, Place, Received};
use weather::Stalled;

/// A node of the world, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A browser with one connection to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrowserId(usize);

/// Makes the conduct of a router, for each start anew.
pub type MakeConduct = Box<dyn FnMut() -> Box<dyn Conduct>>;

/// Wall time when virtual time is zero.
pub const EPOCH: UnixTime = UnixTime::from_secs(1_800_000_000);

/// As a runtime: how often routers are told the wall clock.
const WALL_CLOCK: Duration = Duration::from_secs(60);
/// What one input may make a router say before it is asked again.
const MAX_OUTPUTS: usize = 100_000;

/// The network.
pub struct World {
    seed: u64,
    now: Instant,
    heap: BinaryHeap<Scheduled>,
    scheduled: u64,
    nodes: Vec<Node>,
    addresses: BTreeMap<SocketAddr, NodeId>,
    weather: Weather,
    loses_wakes: bool,
    /// Milliseconds that wall clocks are ahead of [`EPOCH`].
    ahead: i64,
    ends: Ends,
    /// Connections between routers that were asked for.
    dialled: u64,
    on_disks: disk::Shared,
    names: check::Names,
    /// Paths that were looked at.
    paths: u64,
    /// Nodes that share a /16.
    neighbours: usize,
    browsers: Vec<Browser>,
    /// Browsers that have an answer, or an end, since somebody asked.
    news: VecDeque<BrowserId>,
    raws: Vec<Raw>,
    nats: Vec<NatBox>,
    /// Who gets datagrams for an address.
    places: BTreeMap<IpAddr, Place>,
    /// The ways that datagrams went.
    links: BTreeMap<(Place, Place), Link>,
    udps: Vec<Udp>,
    taps: Vec<tap::Tap>,
    datagrams: Datagrams,
    /// Lent to routers for what they send.
    outgoing: Vec<u8>,
    chance: Chance,
    trace: Sha256,
    events: u64,
}

struct Browser {
    end: EndId,
    got: Vec<u8>,
    answers: VecDeque<Answer>,
    ended: bool,
}

/// Something that will happen.
enum Happening {
    Wake(NodeId),
    WallClock {
        node: NodeId,
        incarnation: u64,
    },
    JobDone {
        node: NodeId,
        incarnation: u64,
        id: EffectId,
        done: Box<Done>,
    },
    Syn {
        from: EndId,
        to: NodeId,
        tries: u32,
    },
    Connected(EndId),
    Refused(EndId),
    Bytes {
        from: EndId,
        to: EndId,
        bytes: Vec<u8>,
    },
    Fin(EndId),
    Reset(EndId),
    Readable(EndId),
    Writable(EndId),
    /// A link that was down is tried again.
    Retry(EndId),
    Trickle(EndId),
    /// A process that stands still may go on.
    Thaw(NodeId),
    Packet(Box<Packet>),
    Received(Box<Received>),
}

struct Scheduled {
    at: Instant,
    number: u64,
    what: Happening,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        journal::install();
        Self {
            seed,
            now: Instant::ZERO,
            heap: BinaryHeap::new(),
            scheduled: 0,
            nodes: Vec::new(),
            addresses: BTreeMap::new(),
            weather: Weather::FAIR,
            loses_wakes: false,
            ahead: 0,
            ends: Ends::default(),
            dialled: 0,
            on_disks: disk::Shared::default(),
            names: check::Names::new(),
            paths: 0,
            neighbours: 1,
            browsers: Vec::new(),
            news: VecDeque::new(),
            raws: Vec::new(),
            nats: Vec::new(),
            places: BTreeMap::new(),
            links: BTreeMap::new(),
            udps: Vec::new(),
            taps: Vec::new(),
            datagrams: Datagrams::default(),
            outgoing: Vec::new(),
            chance: Chance::new(&Seed::from_number(seed)),
            trace: Sha256::new(),
            events: 0,
        }
    }

    /// Lets the wall clocks of routers that are added from now on show so many seconds after midnight UTC
    /// when virtual time is zero.
    pub const fn set_time_of_day(&mut self, seconds: u64) {
        let midnight = EPOCH.as_millis() / 86_400_000 * 86_400_000;
        self.ahead = (midnight + seconds * 1000) as i64 - EPOCH.as_millis() as i64;
    }

    /// Plants a bug, to see whether tests find it: timers that are due while a process stands still
    /// never come.
    pub const fn lose_wakes(&mut self) {
        self.loses_wakes = true;
    }

    /// Puts so many of the nodes that are added from now on into a /16 together; else each has one of its
    /// own.
    pub const fn set_neighbours(&mut self, nodes: usize) {
        self.neighbours = if nodes == 0 { 1 } else { nodes };
    }

    /// The address that the next node will have.
    #[must_use]
    pub fn next_address(&self) -> IpAddr {
        let (n, host) = (self.nodes.len() / self.neighbours, self.nodes.len() % self.neighbours);
        let [high, low] = ((host + 1) as u16).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(11 + (n / 200) as u8, 10 + (n % 200) as u8, high, low))
    }

    /// Adds a router at [`Self::next_address`] and starts it.
    pub fn add_router(&mut self, config: Config) -> NodeId {
        let id = self.add_machine(config);
        self.start(id);
        id
    }

    /// Adds a machine at [`Self::next_address`], on which no router was started yet.
    pub fn add_machine(&mut self, config: Config) -> NodeId {
        let port = config.ntcp2.port.unwrap_or(12_345);
        let id = NodeId(self.nodes.len());
        let address = SocketAddr::new(self.next_address(), port);
        let seeds = self.chance.seeds.fork("node");
        let address_v6 = self.next_address_v6();
        let mut node = Node::new(Arc::new(config), address, address_v6, seeds);
        node.ahead = self.ahead;
        self.nodes.push(node);
        self.addresses.insert(address, id);
        self.places.insert(address.ip(), Place::Node(id));
        self.places.insert(address_v6, Place::Node(id));
        id
    }

    /// As [`Self::add_router`], with keys of its own and RouterInfos that it knows.
    pub fn add_router_as(
        &mut self,
        config: Config,
        keys: &RouterKeys,
        known: Vec<Arc<[u8]>>,
    ) -> NodeId {
        let id = self.add_machine(config);
        let now = self.now;
        let node = &mut self.nodes[id.0];
        node.disk.put(now, StoreKey::RouterKeys, Some(Arc::from(&keys.encode()[..])));
        node.known = known;
        self.start(id);
        id
    }

    /// Gives every node the RouterInfos of `of`, by starting it again.
    pub fn introduce(&mut self, of: &[NodeId]) {
        let infos: Vec<Arc<[u8]>> = of
            .iter()
            .map(|id| Arc::from(self.stored(*id, &StoreKey::RouterInfo).unwrap()))
            .collect();
        for i in 0..self.nodes.len() {
            self.nodes[i].known.clone_from(&infos);
            self.crash(NodeId(i));
            self.start(NodeId(i));
        }
    }

    /// The process of a node dies. Its kernel tells the peers; writes that were not urgent are
    /// lost.
    pub fn crash(&mut self, id: NodeId) {
        self.stop(id, true);
        let now = self.now;
        self.nodes[id.0].disk.crash(now);
    }

    /// As [`Self::crash`], but the whole machine is gone: nobody is told, connects are not even
    /// refused.
    pub fn lose_power(&mut self, id: NodeId) {
        self.nodes[id.0].dark = true;
        self.stop(id, false);
        let now = self.now;
        self.nodes[id.0].disk.crash(now);
    }

    fn stop(&mut self, id: NodeId, tell: bool) {
        self.nodes[id.0].router = None;
        self.nodes[id.0].armed = None;
        self.cut_all(id, tell);
        // One that stood still is gone too; its kernel answers whoever waits.
        if let Some(frozen) = self.nodes[id.0].frozen.take() {
            for what in frozen.kept {
                self.handle(what);
            }
        }
    }

    /// Lets the machine of a node die in the middle of a write: at a step of those to come, 0 for the next
    /// one. Of what is written then the disk has the old value or the new one, or, but for what is
    /// synced before it gets its name, a part of it with any tail. With a disk that `lies` about
    /// syncing, all may be torn.
    pub fn cut_power_at(&mut self, id: NodeId, step: u64, lies: bool) {
        let seed = Seed::new(self.chance.seeds.fork("cut").bytes());
        self.nodes[id.0].disk.cut_at(step, &seed, lies);
    }

    /// Steps of all writes of a node so far: creating, writing, syncing, renaming.
    #[must_use]
    pub fn write_steps(&self, id: NodeId) -> u64 {
        self.nodes[id.0].disk.steps()
    }

    /// Starts a node from its disk.
    ///
    /// # Panics
    /// When it runs, or refuses to start.
    pub fn start(&mut self, id: NodeId) {
        self.try_start(id).expect("the router starts");
    }

    /// Starts a node from its disk, if the router does not refuse.
    ///
    /// # Panics
    /// When it runs.
    pub fn try_start(&mut self, id: NodeId) -> Result<(), StartError> {
        let now = self.now;
        self.enter(id);
        let node = &mut self.nodes[id.0];
        assert!(node.router.is_none(), "it runs");
        let unix = node.unix(now);
        let seed = Seed::new(node.seeds.bytes());
        let mut stored = node.disk.stored();
        stored.router_infos.extend(node.known.iter().cloned());
        let router = Router::new(node.config.clone(), stored, seed, now, unix);
        let mut router = Box::new(router?);
        if let Some(conduct) = &mut node.conduct {
            router.set_conduct(conduct());
        }
        self.names.insert(router.hash(), id);
        node.built = 0;
        node.told_clock = Some((now, unix));
        node.router = Some(router);
        node.dark = false;
        node.incarnation += 1;
        let incarnation = node.incarnation;
        self.push(now + WALL_CLOCK, Happening::WallClock { node: id, incarnation });
        self.drain(id);
        Ok(())
    }

    /// Asks a router to stop; [`Event::Stopped`] follows.
    pub fn shut_down(&mut self, id: NodeId) {
        let now = self.now;
        self.enter(id);
        if let Some(router) = &mut self.nodes[id.0].router {
            router.handle_command(now, Command::Shutdown);
        }
        self.drain(id);
    }

    /// Sets the wall clock of a node forward, or back.
    pub fn step_clock(&mut self, id: NodeId, seconds: i64) {
        self.nodes[id.0].ahead += seconds * 1000;
        // One that stands still sees it when it goes on.
        if self.nodes[id.0].frozen.is_none() {
            self.tell_wall_clock(id);
        }
    }

    /// As a runtime does when the wall clock was set.
    fn tell_wall_clock(&mut self, id: NodeId) {
        let now = self.now;
        self.enter(id);
        self.nodes[id.0].handle_wall_clock(now);
        self.drain(id);
    }

    /// Lets the wall clock of a node gain so many microseconds in a second, or lose them. Its router
    /// hears of it as it does from a runtime: once a minute.
    pub fn set_drift(&mut self, id: NodeId, micros: i64) {
        // What it gained so far stays.
        let node = &mut self.nodes[id.0];
        let seconds = (self.now.as_micros() / 1_000_000) as i64;
        node.ahead += (node.drift - micros) * seconds / 1000;
        node.drift = micros;
    }

    /// Virtual time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Things that happened so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Connections that routers opened to each other, or tried to.
    #[must_use]
    pub const fn dialled(&self) -> u64 {
        self.dialled
    }

    /// A digest of everything that arrived anywhere, and when: two runs of one seed have the same.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::content::hex(&self.trace.clone().finalize())
    }

    /// All nodes there are.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The wall clock of a node.
    #[must_use]
    pub fn unix(&self, id: NodeId) -> UnixTime {
        self.nodes[id.0].unix(self.now)
    }

    /// How far the time that a router goes by is from its machine's; `None` when it is down.
    #[must_use]
    pub fn clock_error(&self, id: NodeId) -> Option<Duration> {
        let off = self.router(id)?.unix(self.now).as_millis().abs_diff(self.unix(id).as_millis());
        Some(Duration::from_millis(off))
    }

    /// Virtual time since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now.saturating_since(Instant::ZERO)
    }

    /// The address of a node.
    #[must_use]
    pub fn address(&self, id: NodeId) -> IpAddr {
        self.nodes[id.0].address.ip()
    }

    /// Paths of tunnels that were found to keep the rules: those of all tunnels of a router, each time that
    /// it has a new one.
    #[must_use]
    pub const fn checked_paths(&self) -> u64 {
        self.paths
    }

    /// How often a node was started.
    #[must_use]
    pub fn incarnation(&self, id: NodeId) -> u64 {
        self.nodes[id.0].incarnation
    }

    /// Lets the router of a node behave otherwise than it should, from now on, and however often it is
    /// started again.
    pub fn set_conduct(&mut self, id: NodeId, mut conduct: MakeConduct) {
        let node = &mut self.nodes[id.0];
        if let Some(router) = &mut node.router {
            router.set_conduct(conduct());
        }
        node.conduct = Some(conduct);
    }

    /// Whether the router of a node has a conduct.
    #[must_use]
    pub fn has_conduct(&self, id: NodeId) -> bool {
        self.nodes[id.0].conduct.is_some()
    }

    /// Gives a node these RouterInfos with its next start.
    pub fn set_known(&mut self, id: NodeId, known: Vec<Arc<[u8]>>) {
        self.nodes[id.0].known = known;
    }

    /// What a router told its embedder.
    #[must_use]
    pub fn happened(&self, id: NodeId) -> &[Event] {
        &self.nodes[id.0].happened
    }

    /// How often a node was woken by its own timer.
    #[must_use]
    pub fn wakes(&self, id: NodeId) -> u64 {
        self.nodes[id.0].wakes()
    }

    /// A router that runs, for its getters.
    #[must_use]
    pub fn router(&self, id: NodeId) -> Option<&Router> {
        self.nodes[id.0].router.as_deref()
    }

    /// Calls a verb of a router that runs, as the program does that it is embedded in.
    ///
    /// # Panics
    /// When it does not run.
    pub fn embedder<R>(&mut self, id: NodeId, f: impl FnOnce(&mut Router, Instant) -> R) -> R {
        let now = self.now;
        self.enter(id);
        let result = f(self.nodes[id.0].router.as_deref_mut().expect("it runs"), now);
        self.drain(id);
        result
    }

    /// What a router told the program that it is embedded in, and that was not taken.
    #[must_use]
    pub fn told(&self, id: NodeId) -> &VecDeque<AppEvent> {
        &self.nodes[id.0].told
    }

    /// Takes the oldest of it.
    pub fn take_told(&mut self, id: NodeId) -> Option<AppEvent> {
        self.nodes[id.0].told.pop_front()
    }

    /// What a floodfill that runs did.
    #[must_use]
    pub fn floodfill(&self, id: NodeId) -> Option<FloodfillReport> {
        self.router(id)?.report(self.now).netdb.floodfill
    }

    /// What a node persisted.
    #[must_use]
    pub fn stored(&self, id: NodeId, key: &StoreKey) -> Option<&[u8]> {
        self.nodes[id.0].disk.get(key)
    }

    /// Runs for `d` of virtual time.
    pub fn run_for(&mut self, d: Duration) {
        self.run_until(d, |_| false);
    }

    /// Runs until `done`, at most for `limit` of virtual time; says whether it came true.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        if done(self) {
            return true;
        }
        while self.step(end) {
            if done(self) {
                return true;
            }
        }
        self.now = end;
        // Nobody asked for it.
        self.news.clear();
        false
    }

    /// Runs until a browser has an answer or its connection ended, at most until `end`. Each is named
    /// once for each of these.
    pub fn run_until_news(&mut self, end: Instant) -> Option<BrowserId> {
        loop {
            if let Some(browser) = self.news.pop_front() {
                return Some(browser);
            }
            if !self.step(end) {
                self.now = self.now.max(end);
                return None;
            }
        }
    }

    /// Lets the next thing happen, if it does until `end`.
    fn step(&mut self, end: Instant) -> bool {
        let Some(next) = self.heap.peek().filter(|s| s.at <= end) else { return false };
        assert!(next.at >= self.now, "time runs backwards");
        let Some(Scheduled { at, what, .. }) = self.heap.pop() else { return false };
        self.now = at;
        self.events += 1;
        self.handle(what);
        true
    }

    /// A browser connects to the HTTP proxy of a router.
    pub fn open_browser(&mut self, node: NodeId) -> BrowserId {
        let id = BrowserId(self.browsers.len());
        let end = EndId(self.ends.made() + 1);
        self.browsers.push(Browser {
            end,
            got: Vec::new(),
            answers: VecDeque::new(),
            ended: false,
        });
        let dialled = self.dial_local(node, id, Listener::HttpProxy);
        assert_eq!(dialled, end);
        id
    }

    /// Asks for a page, on a connection that is kept.
    pub fn ask(&mut self, browser: BrowserId, url: &str) {
        let host = url.trim_start_matches("http://").split('/').next().unwrap_or("");
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.send(browser, request.as_bytes());
    }

    /// Sends any bytes.
    pub fn send(&mut self, browser: BrowserId, bytes: &[u8]) {
        let end = self.browsers[browser.0].end;
        self.send_local(end, bytes);
    }

    /// The oldest answer that came and was not taken, once it is whole.
    pub fn take_answer(&mut self, browser: BrowserId) -> Option<Answer> {
        self.browsers[browser.0].answers.pop_front()
    }

    /// Whole answers that came and were not taken.
    #[must_use]
    pub fn answers(&self, browser: BrowserId) -> usize {
        self.browsers[browser.0].answers.len()
    }

    /// Bytes that came of the answer that is not whole yet.
    #[must_use]
    pub fn received(&self, browser: BrowserId) -> usize {
        self.browsers[browser.0].got.len()
    }

    /// True once the proxy closed the connection.
    #[must_use]
    pub fn is_ended(&self, browser: BrowserId) -> bool {
        self.browsers[browser.0].ended
    }

    /// What came of the body of an answer that is not whole yet.
    #[must_use]
    pub fn part_of_body(&self, browser: BrowserId) -> Option<Vec<u8>> {
        http::part(&self.browsers[browser.0].got)
    }

    /// Drops what a browser got; nobody asks for it any more.
    pub fn forget_browser(&mut self, browser: BrowserId) {
        let browser = &mut self.browsers[browser.0];
        (browser.got, browser.answers) = (Vec::new(), VecDeque::new());
    }

    /// Closes a browser's connection.
    pub fn close_browser(&mut self, browser: BrowserId) {
        let end = self.browsers[browser.0].end;
        self.leave(end);
    }

    /// The next answer of a browser; an error says what came instead.
    pub fn wait_answer(&mut self, browser: BrowserId, limit: Duration) -> Result<Answer, String> {
        self.run_until(limit, |w| w.answers(browser) > 0 || w.is_ended(browser));
        let got = self.received(browser);
        self.take_answer(browser).ok_or_else(|| {
            let how = if self.is_ended(browser) { "closed" } else { "still waits" };
            format!("no answer: {how} after {got} bytes")
        })
    }

    /// Fetches one page on a connection of its own.
    pub fn fetch(&mut self, node: NodeId, url: &str, limit: Duration) -> Result<Answer, String> {
        let browser = self.open_browser(node);
        self.ask(browser, url);
        let answer = self.wait_answer(browser, limit);
        self.close_browser(browser);
        answer
    }

    /// The node that is told of it, if one is.
    fn told_node(&self, what: &Happening) -> Option<NodeId> {
        match what {
            Happening::Wake(node)
            | Happening::WallClock { node, .. }
            | Happening::JobDone { node, .. }
            | Happening::Syn { to: node, .. } => Some(*node),
            Happening::Connected(end)
            | Happening::Refused(end)
            | Happening::Bytes { to: end, .. }
            | Happening::Fin(end)
            | Happening::Reset(end)
            | Happening::Readable(end)
            | Happening::Writable(end)
            | Happening::Retry(end) => {
                self.ends.get(end).filter(|end| end.is_machines()).map(End::node)
            }
            Happening::Received(received) => Some(received.node),
            // Whose it is turns out when it is there.
            Happening::Trickle(_) | Happening::Thaw(_) | Happening::Packet(_) => None,
        }
    }

    fn handle(&mut self, what: Happening) {
        if let Some(node) = self.told_node(&what) {
            let lost = self.loses_wakes && matches!(what, Happening::Wake(_));
            if let Some(frozen) = &mut self.nodes[node.0].frozen {
                if !lost {
                    frozen.kept.push_back(what);
                }
                return;
            }
        }
        match what {
            Happening::Wake(id) => self.wake(id),
            Happening::WallClock { node, incarnation } => {
                if self.nodes[node.0].incarnation == incarnation {
                    let now = self.now;
                    self.enter(node);
                    self.nodes[node.0].handle_wall_clock(now);
                    self.drain(node);
                    self.push(now + WALL_CLOCK, Happening::WallClock { node, incarnation });
                }
            }
            Happening::JobDone { node, incarnation, id, done } => {
                self.enter(node);
                let n = &mut self.nodes[node.0];
                if n.incarnation == incarnation
                    && let Some(router) = &mut n.router
                {
                    router.handle_completion(self.now, id, Completion::Job(*done));
                    self.drain(node);
                }
            }
            Happening::Syn { from, to, tries } => self.handle_syn(from, to, tries),
            Happening::Connected(end) => self.handle_connected(end),
            Happening::Refused(end) => self.handle_refused(end),
            Happening::Bytes { from, to, bytes } => self.handle_arrival(from, to, bytes),
            Happening::Fin(end) => {
                if self.stall(end, Stalled::Fin).is_some() {
                    self.handle_fin(end);
                }
            }
            Happening::Retry(end) => self.handle_retry(end),
            Happening::Trickle(end) => self.handle_trickle(end),
            Happening::Thaw(node) => self.handle_thaw(node),
            Happening::Reset(end) => self.handle_reset(end),
            Happening::Readable(end) => self.handle_readable(end),
            Happening::Writable(end) => self.handle_writable(end),
            Happening::Packet(packet) => self.handle_packet(*packet),
            Happening::Received(received) => self.handle_received(*received),
        }
    }

    fn wake(&mut self, id: NodeId) {
        let now = self.now;
        self.enter(id);
        let node = &mut self.nodes[id.0];
        if node.armed.is_none_or(|t| t > now) {
            return;
        }
        node.armed = None;
        if node.poll_timeout().is_some_and(|(at, _)| at <= now) {
            node.note_wake(now);
            node.handle_timeout(now);
        }
        self.drain(id);
        // Else a runtime would call again and again.
        if let Some((at, why)) = self.nodes[id.0].poll_timeout() {
            assert!(at > now, "{why:?} is due at {at:?} still, and it is {now:?}");
        }
    }

    /// Something happened on a stream of a machine.
    fn input(&mut self, node: NodeId, conn: ConnId, input: ConnInput<'_>) {
        self.enter(node);
        let _ = self.nodes[node.0].handle_conn(self.now, conn, input);
        self.drain(node);
    }

    /// Does everything a machine asks for, then arms its timer.
    fn drain(&mut self, id: NodeId) {
        self.enter(id);
        let mut outputs = 0;
        loop {
            let before = outputs;
            while let Some(action) = self.nodes[id.0].poll_action() {
                outputs += 1;
                self.act(id, action);
                if self.nodes[id.0].disk.is_cut() {
                    return self.lose_power(id);
                }
            }
            while self.transmit_datagrams(id) {
                outputs += 1;
                assert!(outputs < MAX_OUTPUTS, "a router has datagrams to send for ever");
            }
            while let Some(conn) = self.nodes[id.0].poll_writable() {
                outputs += 1;
                self.writable(id, conn);
                assert!(outputs < MAX_OUTPUTS, "a router has something to say for ever");
            }
            let told = self.nodes[id.0].poll_app_events();
            if outputs == before && !told {
                break;
            }
        }
        let now = self.now;
        let node = &mut self.nodes[id.0];
        if let Some((at, _)) = node.poll_timeout() {
            let at = at.max(now);
            if node.armed.is_none_or(|t| at < t) {
                node.armed = Some(at);
                self.push(at, Happening::Wake(id));
            }
        }
        self.check(id);
    }

    fn act(&mut self, id: NodeId, action: Action) {
        let now = self.now;
        match action {
            Action::Connect { conn, remote, .. } => self.dial(id, conn, remote),
            Action::Resume(conn) => self.resume(id, conn),
            Action::ShutdownWrite(conn) => self.shut_down_write(id, conn),
            Action::Close { conn, abort } => self.close(id, conn, abort),
            Action::Persist { key, value } => {
                let value = self.on_disks.one_copy(&key, value);
                self.nodes[id.0].disk.put(now, key, value);
            }
            Action::Run { id: effect, job } => {
                let at = now + self.chance.job();
                let incarnation = self.nodes[id.0].incarnation;
                let done = Box::new(job.run());
                self.push(at, Happening::JobDone { node: id, incarnation, id: effect, done });
            }
            Action::Notify(event) => {
                if event == Event::Stopped {
                    self.nodes[id.0].disk.sync();
                }
                self.nodes[id.0].happened.push(event);
            }
            other => panic!("the world does not know {other:?}"),
        }
    }

    fn push(&mut self, at: Instant, what: Happening) {
        self.scheduled += 1;
        self.heap.push(Scheduled { at, number: self.scheduled, what });
    }

    fn trace(&mut self, to: EndId, bytes: &[u8]) {
        self.trace.update(self.now.as_micros().to_be_bytes());
        self.trace.update(to.0.to_be_bytes());
        self.trace.update((bytes.len() as u64).to_be_bytes());
        self.trace.update(bytes);
    }

    fn enter(&self, id: NodeId) {
        journal::set(self.now, Some(id.0));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let micros = self.now.as_micros();
            eprintln!("world of seed {} at {micros} us, event {}", self.seed, self.events);
        }
    }
}

impl Browser {
    /// True when there is an answer now.
    fn handle(&mut self, bytes: &[u8]) -> bool {
        self.got.extend_from_slice(bytes);
        self.parse();
        !self.answers.is_empty()
    }

    fn end(&mut self, reset: bool) {
        if reset {
            log::debug!("the browser's connection was reset");
        }
        self.ended = true;
        self.parse();
    }

    fn parse(&mut self) {
        while let Some((answer, used)) = http::answer(&self.got, self.ended) {
            self.got.drain(..used);
            self.answers.push_back(answer);
        }
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest: what a heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}
