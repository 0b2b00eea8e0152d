//! The routers of a scenario, and how they come to know each other.

use super::end::{End, Socket};
use super::node::{Kind, Node, Plan};
use super::scenario::{Action, Scenario, Serves, Service};
use super::serve::{Report, serve};
use crate::ports::free;
use crate::program::{Folder, write_private};
use ramson_core::config::{Client, Config, Floodfill, HttpProxy, Server, ServerKind};
use ramson_core::keys::DestinationKeys;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// Not the public network, which has 2.
const NETWORK_ID: u8 = 99;
/// Bytes per second: the machine is the limit.
const BANDWIDTH: u64 = 1 << 30;
/// How long all routers may take to have their first tunnels.
const READY: Duration = Duration::from_secs(60);
/// A little more.
const SECOND: Duration = Duration::from_millis(1100);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Which runtime each router has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// How it is called in messages.
    pub name: &'static str,
    /// The kinds of the routers, in turn.
    pub kinds: &'static [Kind],
}

/// Who a router is, and its services are.
type Identity = BTreeMap<String, String>;

/// A network that runs.
pub(super) struct Network {
    // Ended first, so that nobody writes into a folder that is removed.
    nodes: Vec<Option<Node>>,
    kinds: Vec<Kind>,
    pub(super) plans: Vec<Plan>,
    known: Vec<Identity>,
    /// Tunnels that each router had given up at the last kill.
    failed: Vec<u64>,
    pub(super) reports: BTreeMap<String, UnboundedReceiver<Report>>,
    exe: String,
    folder: Folder,
}

impl Network {
    /// Starts all and waits for their tunnels.
    pub(super) async fn start(exe: &str, scenario: &Scenario, mix: &Mix) -> Self {
        let name: String = format!("agree-{}-{}", scenario.name, mix.name)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let folder = Folder::new(&name);
        let kinds: Vec<Kind> = mix.kinds.iter().cycle().take(scenario.routers).copied().collect();
        let (plans, reports) = plans(scenario, folder.path()).await;
        let nodes = (0..scenario.routers).map(|_| None).collect();
        let exe = exe.to_owned();
        let (known, failed) = (Vec::new(), vec![0; scenario.routers]);
        let mut network = Self { nodes, kinds, plans, known, failed, reports, exe, folder };
        network.meet(scenario).await;
        network
    }

    /// The first start makes keys and RouterInfos, with the second one all know all.
    async fn meet(&mut self, scenario: &Scenario) {
        self.start_all().await;
        let first = self.folder.join("first");
        std::fs::create_dir(&first).unwrap();
        let mut stops = JoinSet::new();
        for (node, plan) in self.nodes.iter_mut().zip(&self.plans) {
            let node = node.take().unwrap();
            self.known.push(node.identity(plan).await);
            stops.spawn(node.stop());
        }
        for stopped in stops.join_all().await {
            assert_eq!(stopped, "stopped", "the first start");
        }
        let mut hosts = String::new();
        for (i, plan) in self.plans.iter().enumerate() {
            let info = first.join(format!("routerInfo-{i}.dat"));
            std::fs::copy(plan.data.join("router.info"), info).unwrap();
            for (name, ..) in &plan.services {
                hosts.push_str(&format!("{name}.i2p={}\n", destination(&plan.data, name)));
            }
        }
        for router in 0..self.plans.len() {
            std::fs::write(self.plans[router].data.join("hosts.txt"), &hosts).unwrap();
            self.plans[router].reseed = Some(first.clone());
            self.open_ways(scenario, router);
        }
        self.start_all().await;
        for router in 0..self.plans.len() {
            let identity = self.node(router).identity(&self.plans[router]).await;
            assert_eq!(identity, self.known[router], "router {router} is somebody else");
            assert!(self.wait_for_tunnels(router, READY).await, "router {router} has no tunnels");
        }
    }

    /// The client tunnels and the proxy that the programs at a router need.
    fn open_ways(&mut self, scenario: &Scenario, router: usize) {
        let targets: BTreeSet<&str> =
            scenario.steps.iter().filter_map(|step| leads(&step.action, router)).collect();
        for (n, to) in targets.into_iter().enumerate() {
            let (listen, address) = (free(LOCALHOST), self.address(to));
            let plan = &mut self.plans[router];
            let mut client = Client::new(&format!("to-{n}"), listen, &address);
            client.tunnels = plan.config.client;
            plan.config.clients.push(client);
            plan.clients.insert(to.into(), listen);
        }
        if scenario.steps.iter().any(|step| fetches(&step.action) == Some(router)) {
            let plan = &mut self.plans[router];
            let mut proxy = HttpProxy::new(free(LOCALHOST));
            proxy.tunnels = plan.config.client;
            plan.config.http_proxy = Some(proxy);
        }
    }

    async fn start_all(&mut self) {
        let mut starts = JoinSet::new();
        for (i, (kind, plan)) in self.kinds.iter().zip(&self.plans).enumerate() {
            let (kind, exe, plan) = (*kind, self.exe.clone(), plan.clone());
            starts.spawn(async move { (i, Node::start(kind, &exe, &plan).await) });
        }
        for (i, node) in starts.join_all().await {
            self.nodes[i] = Some(node.unwrap_or_else(|e| panic!("router {i}: {e}")));
        }
    }

    /// A router that runs.
    pub(super) fn node(&self, router: usize) -> &Node {
        self.nodes[router].as_ref().unwrap()
    }

    pub(super) fn is_down(&self, router: usize) -> bool {
        self.nodes[router].is_none()
    }

    /// How programs call a service or a host.
    pub(super) fn address(&self, to: &str) -> String {
        let service = self.known.iter().find_map(|identity| identity.get(to));
        service.cloned().unwrap_or(to.into())
    }

    /// The destination of a service, in base64.
    pub(super) fn destination(&self, service: &str) -> String {
        let at = self.plans.iter().find(|plan| plan.serves(service)).unwrap();
        destination(&at.data, service)
    }

    pub(super) async fn wait_for_tunnels(&self, router: usize, limit: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.node(router).has_tunnels().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    pub(super) async fn stop(&mut self, router: usize) -> String {
        self.nodes[router].take().unwrap().stop().await
    }

    pub(super) async fn kill(&mut self, router: usize) {
        for (node, failed) in self.nodes.iter().zip(&mut self.failed) {
            if let Some(node) = node {
                *failed = node.failed_tunnels().await;
            }
        }
        self.nodes[router].take().unwrap().kill(&self.plans[router]).await;
    }

    /// Waits until a router has given tunnels up since the last kill, and has as many as ever.
    pub(super) async fn wait_for_new_tunnels(&self, router: usize, limit: Duration) -> bool {
        let begun = Instant::now();
        let node = self.node(router);
        while begun.elapsed() < limit {
            if node.failed_tunnels().await > self.failed[router] && node.has_all_tunnels().await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    /// Starts a router again, and sees whether it is who it was.
    pub(super) async fn start_again(&mut self, router: usize, elsewhere: bool) -> String {
        // Lease sets are told apart by their second.
        tokio::time::sleep(SECOND).await;
        if elsewhere {
            self.kinds[router] = self.kinds[router].other();
        }
        let plan = &self.plans[router];
        let node = match Node::start(self.kinds[router], &self.exe, plan).await {
            Ok(node) => node,
            Err(e) => return e,
        };
        let identity = node.identity(plan).await;
        self.nodes[router] = Some(node);
        let known = &self.known[router];
        let other = |name: &&String| known.get(*name) != identity.get(*name);
        match known.keys().find(other) {
            Some(name) => format!("{name} is somebody else"),
            None => "same".into(),
        }
    }

    /// Tries to start a router with half of its keys, and puts them back.
    pub(super) async fn start_damaged(&mut self, router: usize) -> String {
        let plan = &self.plans[router];
        let file = plan.data.join("keys/router.keys");
        let keys = std::fs::read(&file).unwrap();
        let half = &keys[..keys.len() / 2];
        write_private(&file, half);
        let started = Node::start(self.kinds[router], &self.exe, plan).await;
        let left = std::fs::read(&file).unwrap() == half;
        write_private(&file, &keys);
        match started {
            Ok(node) => format!("started, and {}", node.stop().await),
            Err(e) if !e.contains("the checksum does not fit") => e,
            Err(_) if !left => "refused, but the keys are others now".into(),
            Err(_) => "refused".into(),
        }
    }

    /// Ends all that run; what went wrong with that.
    pub(super) async fn end(mut self) -> Vec<String> {
        let mut stops = JoinSet::new();
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            stops.spawn(node.stop());
        }
        stops.join_all().await.into_iter().filter(|stopped| stopped != "stopped").collect()
    }
}

/// A router each, and what their services will say.
async fn plans(
    scenario: &Scenario,
    folder: &Path,
) -> (Vec<Plan>, BTreeMap<String, UnboundedReceiver<Report>>) {
    let mut plans: Vec<Plan> = (0..scenario.routers)
        .map(|router| Plan {
            data: folder.join(format!("router-{router}")),
            config: config(scenario, router),
            reseed: None,
            services: Vec::new(),
            clients: BTreeMap::new(),
        })
        .collect();
    let mut reports = BTreeMap::new();
    for Service { name, router, serves } in &scenario.services {
        let (report, heard) = unbounded_channel();
        reports.insert(name.clone(), heard);
        let plan = &mut plans[*router];
        let mut server = Server::new(name, target(*serves, report.clone()).await);
        server.tunnels = plan.config.client;
        if matches!(serves, Serves::Http(_)) {
            server.kind = ServerKind::Http;
        }
        plan.config.servers.push(server);
        plan.services.push((name.clone(), *serves, report));
    }
    (plans, reports)
}

/// A destination by its stored keys, in base64.
fn destination(data: &Path, service: &str) -> String {
    let keys = std::fs::read(data.join(format!("keys/{service}.dat"))).unwrap();
    DestinationKeys::decode(&keys).unwrap().identity.to_base64()
}

/// The program behind a server tunnel.
async fn target(serves: Serves, reports: UnboundedSender<Report>) -> SocketAddr {
    if serves == Serves::Refuse {
        return free(LOCALHOST);
    }
    let listener = TcpListener::bind((LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(serve(serves, End::new(Socket::Tcp(tcp)), reports.clone()));
        }
    });
    address
}

fn config(scenario: &Scenario, router: usize) -> Config {
    let ip = IpAddr::V4(Ipv4Addr::new(127, 1 + u8::try_from(router).unwrap(), 0, 1));
    let mut config = Config::default();
    config.network.id = NETWORK_ID;
    config.network.allow_local = true;
    config.ntcp2.host = Some(ip);
    config.ntcp2.bind = Some(ip);
    config.ntcp2.port = Some(free(ip).port());
    let floodfill = router >= scenario.routers - scenario.floodfills;
    config.netdb.floodfill = if floodfill { Floodfill::On } else { Floodfill::Off };
    config.limits.bandwidth_in = BANDWIDTH;
    config.limits.bandwidth_out = BANDWIDTH;
    config.limits.share = 100;
    if router < scenario.leaves {
        config.limits.transit_tunnels = 0;
    }
    config.exploratory.length = scenario.hops;
    config.client.length = scenario.hops;
    config
}

/// To whom a program at a router needs a client tunnel for a step.
fn leads(action: &Action, router: usize) -> Option<&str> {
    match action {
        Action::Open { from, to, .. }
        | Action::Many { from, to, .. }
        | Action::Works { from, to } => (*from == router).then_some(to),
        _ => None,
    }
}

/// The router that needs a proxy for a step.
const fn fetches(action: &Action) -> Option<usize> {
    match action {
        Action::Fetch { from, .. } | Action::Find { from, .. } => Some(*from),
        Action::Learn { router, .. } => Some(*router),
        _ => None,
    }
}
