//! One router of a scenario, under one runtime or another.

use super::end::{End, Socket};
use super::scenario::Serves;
use super::serve::{Report, serve};
use crate::program::{Running, wait_for};
use ramson_core::config::{Config, Tunnels};
use ramson_core::router::output::{Event, StoreKey};
use ramson_mio::config::{FILE_NAME, Settings};
use ramson_mio::store::{Store, reseed};
use ramson_tokio::{ConnectError, Destination, Failure, Host};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::future::pending;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinHandle, block_in_place};

/// A stop takes two seconds at most; this allows for a busy machine.
const STOP: Duration = Duration::from_secs(3);
/// How long is waited for one that takes longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which runtime a router has, and which way its programs take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bundled router, as a process, with its tunnels and its proxy.
    Mio,
    /// The library, with its destinations and streams.
    Tokio,
    /// The library again, as a router with tunnels and a proxy.
    Tunnels,
}

/// All that is the same about a router whatever its runtime is.
#[derive(Clone)]
pub(super) struct Plan {
    /// Its data folder.
    pub(super) data: PathBuf,
    /// Everything, with servers, clients and the proxy.
    pub(super) config: Config,
    /// A folder of RouterInfos.
    pub(super) reseed: Option<PathBuf>,
    /// The services that are at it.
    pub(super) services: Vec<(String, Serves, UnboundedSender<Report>)>,
    /// The client tunnels, by whom they lead to.
    pub(super) clients: BTreeMap<String, SocketAddr>,
}

/// One that runs.
pub(super) struct Node {
    kind: Kind,
    running: Under,
}

enum Under {
    Mio(Running),
    Tokio(Box<Library>),
}

struct Library {
    router: ramson_tokio::Router,
    task: JoinHandle<()>,
    /// What its programs open streams from.
    me: Option<Destination>,
    /// Kept open, also where nobody listens.
    _served: Vec<Destination>,
}

impl Kind {
    /// The one that shares a store with it and nothing else.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Mio => Self::Tokio,
            Self::Tokio | Self::Tunnels => Self::Mio,
        }
    }
}

impl Plan {
    pub(super) fn address(&self) -> SocketAddr {
        let ntcp2 = &self.config.ntcp2;
        SocketAddr::new(ntcp2.host.unwrap(), ntcp2.port.unwrap())
    }

    pub(super) fn serves(&self, service: &str) -> bool {
        self.services.iter().any(|(name, ..)| name == service)
    }

    /// Its data folder, for its owner only.
    fn make_folder(&self) {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.data).unwrap();
    }
}

impl Node {
    /// Starts it on what is in its data folder.
    pub(super) async fn start(kind: Kind, exe: &str, plan: &Plan) -> Result<Self, String> {
        let running = match kind {
            Kind::Mio => {
                plan.make_folder();
                let settings = Settings {
                    router: plan.config.clone(),
                    reseed: plan.reseed.iter().cloned().collect(),
                    log_level: log::LevelFilter::Warn,
                    ..Settings::default()
                };
                std::fs::write(plan.data.join(FILE_NAME), settings.to_toml()).unwrap();
                Under::Mio(block_in_place(|| start_process(exe, plan))?)
            }
            Kind::Tokio => Under::Tokio(Box::new(Library::start(plan, true).await?)),
            Kind::Tunnels => Under::Tokio(Box::new(Library::start(plan, false).await?)),
        };
        Ok(Self { kind, running })
    }

    /// Who it is: its hash, and the addresses of these services.
    pub(super) async fn identity(&self, plan: &Plan) -> BTreeMap<String, String> {
        let report = self.report().await.unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or("nobody").to_owned();
        let mut identity = BTreeMap::from([("router".into(), text(&report["router"]["hash"]))]);
        for (name, ..) in &plan.services {
            let service = services(&report).find(|s| s["name"] == name.as_str());
            identity.insert(name.clone(), service.map_or("none".into(), |s| text(&s["b32"])));
        }
        identity
    }

    /// Whether it has tunnels in both directions for all that it does.
    pub(super) async fn has_tunnels(&self) -> bool {
        self.active_tunnels(1).await
    }

    /// Whether it has as many as it wants.
    pub(super) async fn has_all_tunnels(&self) -> bool {
        self.active_tunnels(Tunnels::default().quantity.into()).await
    }

    async fn active_tunnels(&self, least: u64) -> bool {
        let Some(report) = self.report().await else { return false };
        let active = numbers(&report, "active");
        !active.is_empty()
            && active.iter().all(|n| *n >= least)
            && services(&report).all(|service| service["ready"] == true)
    }

    /// How many it gave up since it started.
    pub(super) async fn failed_tunnels(&self) -> u64 {
        numbers(&self.report().await.unwrap_or_default(), "failed").iter().sum()
    }

    async fn report(&self) -> Option<Value> {
        match &self.running {
            Under::Mio(running) => block_in_place(|| running.info()),
            Under::Tokio(library) => {
                let report = library.router.report().await?;
                Some(serde_json::from_str(&report.to_json()).unwrap())
            }
        }
    }

    /// A program opens a stream.
    pub(super) async fn open(&self, plan: &Plan, to: &str, address: &str) -> End {
        End::new(match &self.running {
            Under::Tokio(library) if library.me.is_some() => match library.connect(address).await {
                Ok(stream) => Socket::Library(stream),
                Err(why) => why.into(),
            },
            Under::Mio(_) | Under::Tokio(_) => match TcpStream::connect(plan.clients[to]).await {
                Ok(tcp) => Socket::Tcp(tcp),
                Err(e) => Socket::Failed(e.kind()),
            },
        })
    }

    /// Where its proxy is, when programs need one.
    pub(super) fn proxy(&self, plan: &Plan) -> Option<SocketAddr> {
        let proxy = plan.config.http_proxy.as_ref().map(|proxy| proxy.listen);
        proxy.filter(|_| self.kind != Kind::Tokio)
    }

    /// Looks a destination up as a program does with the library.
    pub(super) async fn look_up(&self, address: &str) -> Result<(), Failure> {
        let Under::Tokio(library) = &self.running else { return Err(Failure::Unsupported) };
        let me = library.me.as_ref().ok_or(Failure::Unsupported)?;
        failure(me.look_up(address).await).map(drop)
    }

    /// Ends it in good order; what came of that.
    pub(super) async fn stop(self) -> String {
        let begun = Instant::now();
        let problem = match self.running {
            Under::Mio(mut running) => {
                running.signal("-TERM");
                let (code, _) = block_in_place(|| running.end(PATIENCE));
                let log = running.log();
                let bugs = log.lines().filter(|line| line.contains(" ERROR ")).count();
                match (code, bugs) {
                    (Some(0), 0) => None,
                    (code, _) => Some(format!("code {code:?}: {log}")),
                }
            }
            Under::Tokio(mut library) => {
                let mut events = library.router.events();
                library.router.shutdown().await;
                let ended = (&mut library.task).await.err().map(|e| e.to_string());
                let mut last = None;
                while let Ok(event) = events.try_recv() {
                    last = Some(event);
                }
                ended.or((last != Some(Event::Stopped)).then(|| "it did not say so".into()))
            }
        };
        match problem {
            Some(problem) => problem,
            None if begun.elapsed() > STOP => format!("after {:?} only", begun.elapsed()),
            None => "stopped".into(),
        }
    }

    /// Ends it as a loss of power does.
    pub(super) async fn kill(self, plan: &Plan) {
        match self.running {
            Under::Mio(running) => block_in_place(|| running.kill()),
            Under::Tokio(mut library) => {
                library.task.abort();
                let _cancelled = (&mut library.task).await;
            }
        }
        // The tasks of a router that was dropped end in a moment.
        let begun = Instant::now();
        while TcpListener::bind(plan.address()).is_err() && begun.elapsed() < STOP {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Starts the bundled router and waits until it answers.
fn start_process(exe: &str, plan: &Plan) -> Result<Running, String> {
    let mut running = Running::spawn(exe, &plan.data);
    wait_for(PATIENCE, "an answer to `info`", || {
        (!running.is_running() || running.info().is_some()).then_some(())
    });
    if running.is_running() { Ok(running) } else { Err(running.log()) }
}

fn services(report: &Value) -> impl Iterator<Item = &Value> {
    report["services"].as_array().into_iter().flatten()
}

/// A number of each direction of each pool.
fn numbers(report: &Value, key: &str) -> Vec<u64> {
    let pools = report["pools"].as_array().into_iter().flatten();
    let directions = pools.flat_map(|pool| [&pool["inbound"], &pool["outbound"]]);
    directions.map(|direction| direction[key].as_u64().unwrap_or(0)).collect()
}

/// Addresses of scenarios are well-formed.
fn failure<T>(result: Result<T, ConnectError>) -> Result<T, Failure> {
    result.map_err(|e| match e {
        ConnectError::Failed(why) => why,
        other => panic!("{other}"),
    })
}

/// The store of the bundled router, for a program that has the library. It is not locked: a process
/// that is just being forked would have the lock too.
struct Files(Store);

impl Host for Files {
    fn persist(&mut self, key: StoreKey, value: Option<Arc<[u8]>>) {
        self.0.write(&key, value.as_deref()).unwrap();
    }

    fn notify(&mut self, _: Event) {}
}

impl Library {
    /// With its own streams, or as a router with tunnels.
    async fn start(plan: &Plan, own: bool) -> Result<Self, String> {
        plan.make_folder();
        let store = Store::new(&plan.data);
        let mut stored = store.load().map_err(|e| e.to_string())?;
        let keys = std::mem::take(&mut stored.destinations);
        let mut config = plan.config.clone();
        if own {
            config.servers.clear();
            config.clients.clear();
        } else {
            stored.destinations.clone_from(&keys);
        }
        if let Some(folder) = &plan.reseed {
            stored.reseed.extend(reseed::read_all([folder.as_path()]).router_infos);
        }
        let tunnels = config.client;
        let host = Files(store.clone());
        let runtime = ramson_tokio::Runtime::start(config, stored, host).await;
        let runtime = runtime.map_err(|e| e.to_string())?;
        let router = runtime.handle();
        let task = tokio::spawn(runtime.run(pending()));
        let mut library = Self { router, task, me: None, _served: Vec::new() };
        if own {
            for (name, serves, reports) in &plan.services {
                let key = StoreKey::DestinationKeys(format!("{name}.dat").into());
                let StoreKey::DestinationKeys(file) = &key else { unreachable!() };
                let destination = library.open(name, tunnels, keys.get(file)).await?;
                if !keys.contains_key(file) {
                    store.write(&key, Some(destination.keys())).map_err(|e| e.to_string())?;
                }
                if *serves != Serves::Refuse {
                    listen(&destination, *serves, reports.clone()).await?;
                }
                library._served.push(destination);
            }
            if plan.config.http_proxy.is_some() || !plan.clients.is_empty() {
                library.me = Some(library.open("me", tunnels, None).await?);
            }
        }
        Ok(library)
    }

    async fn open(
        &self,
        name: &str,
        tunnels: Tunnels,
        keys: Option<&Vec<u8>>,
    ) -> Result<Destination, String> {
        let builder = self.router.destination(name).tunnels(tunnels);
        let builder = match keys {
            Some(keys) => builder.keys(keys),
            None if name == "me" => builder.client_only(),
            None => builder,
        };
        builder.open().await.map_err(|e| e.to_string())
    }

    async fn connect(&self, address: &str) -> Result<ramson_tokio::Stream, Failure> {
        let me = self.me.as_ref().ok_or(Failure::Unsupported)?;
        failure(me.connect(address).await)
    }
}

/// Serves all streams to a destination, until it is closed.
async fn listen(
    destination: &Destination,
    serves: Serves,
    reports: UnboundedSender<Report>,
) -> Result<(), String> {
    let mut listener = destination.listen(0).await.map_err(|e| e.to_string())?;
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(serve(serves, End::new(Socket::Library(stream)), reports.clone()));
        }
    });
    Ok(())
}
