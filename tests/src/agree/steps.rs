//! What happens, step by step, in words that know no runtime.

use super::end::{End, Ended, Heard, word};
use super::network::{Mix, Network};
use super::scenario::{Action, Scenario};
use crate::http::{Answer, request};
use ramson_tokio::Failure;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

/// How long a step may take.
const STEP: Duration = Duration::from_secs(60);
/// How long one attempt may take to show that a stream works.
const ATTEMPT: Duration = Duration::from_secs(12);
/// What is said in one.
const ATTEMPT_SIZE: usize = 2000;

/// What the pages of the proxy are called, and what the library says instead.
const PAGES: [(&str, Failure); 4] = [
    ("Name not in the address book", Failure::UnknownName),
    ("Site not found in the network", Failure::LeaseSetNotFound),
    ("Connection refused", Failure::Refused),
    ("Connection broken", Failure::Reset),
];

struct Scene {
    network: Network,
    streams: BTreeMap<String, (usize, End)>,
}

/// Does all steps; what came of each.
pub(super) async fn run(exe: &str, scenario: &Scenario, mix: &Mix) -> Vec<String> {
    let network = Network::start(exe, scenario, mix).await;
    let mut scene = Scene { network, streams: BTreeMap::new() };
    let mut told = Vec::new();
    for step in &scenario.steps {
        let begun = Instant::now();
        let outcome = timeout(STEP, scene.step(&step.action)).await;
        let outcome = outcome.unwrap_or("no end of it".into());
        told.push(step.told(&outcome));
        let started = matches!(step.action, Action::Start { .. });
        if outcome != step.expected && (started || begun.elapsed() > ATTEMPT) {
            // What needs it would not come either, one step after the other.
            break;
        }
    }
    drop(scene.streams);
    told.extend(scene.network.end().await);
    told
}

impl Scene {
    async fn step(&mut self, action: &Action) -> String {
        match action {
            Action::Open { stream, from, to } => {
                let end = self.open(*from, to).await;
                self.streams.insert(stream.clone(), (*from, end));
                "open".into()
            }
            Action::Send { stream, size } => {
                let (from, end) = self.stream(stream);
                let said = end.say(*size).await;
                self.done(from, said, "sent")
            }
            Action::Receive { stream, size } => {
                let (from, end) = self.stream(stream);
                let ended = end.hear(*size).await;
                let heard = end.heard.clone();
                heard.told_end(ended, self.network.is_down(from))
            }
            Action::Finish { stream } => {
                let (from, end) = self.stream(stream);
                let finished = end.finish().await;
                self.done(from, finished, "finished")
            }
            Action::Rest { stream } => {
                let (from, mut end) = self.streams.remove(stream).unwrap();
                let ended = end.hear(usize::MAX).await;
                if ended == Ended::End {
                    // It may have been finished before.
                    let _again = end.finish().await;
                }
                end.heard.told_end(ended, self.network.is_down(from))
            }
            Action::Reset { stream } => {
                self.streams.remove(stream).unwrap().1.reset();
                "done".into()
            }
            Action::Heard { service } => {
                let reports = self.network.reports.get_mut(service).unwrap();
                let (heard, ended) = reports.recv().await.unwrap();
                let at = self.network.plans.iter().position(|plan| plan.serves(service));
                heard.told_end(ended, self.network.is_down(at.unwrap()))
            }
            Action::Fetch { from, to } => self.fetch(*from, to).await,
            Action::Find { from, to } => self.find(*from, to).await,
            Action::Learn { router, host, service } => {
                let proxy = self.network.plans[*router].config.http_proxy.as_ref().unwrap().listen;
                let link = self.network.destination(service);
                match learn(proxy, host, &link).await {
                    Ok(status) => status,
                    Err(e) => word(e.kind(), false),
                }
            }
            Action::Many { streams, from, to, size } => self.many(*streams, *from, to, *size).await,
            Action::Works { from, to } => self.works(*from, to).await,
            Action::Tunnels { router } => yes(self.network.wait_for_tunnels(*router, STEP).await),
            Action::Rebuilt { router } => {
                yes(self.network.wait_for_new_tunnels(*router, STEP).await)
            }
            Action::Stop { router } => self.network.stop(*router).await,
            Action::Kill { router } => {
                self.network.kill(*router).await;
                "killed".into()
            }
            Action::Damaged { router } => self.network.start_damaged(*router).await,
            Action::Start { router, elsewhere } => {
                self.network.start_again(*router, *elsewhere).await
            }
        }
    }

    fn stream(&mut self, name: &str) -> (usize, &mut End) {
        let (from, end) = self.streams.get_mut(name).unwrap();
        (*from, end)
    }

    fn done(&self, from: usize, result: io::Result<()>, word_for_it: &str) -> String {
        match result {
            Ok(()) => word_for_it.into(),
            Err(e) => word(e.kind(), self.network.is_down(from)),
        }
    }

    async fn open(&self, from: usize, to: &str) -> End {
        let address = self.network.address(to);
        self.network.node(from).open(&self.network.plans[from], to, &address).await
    }

    fn proxy(&self, from: usize) -> Option<SocketAddr> {
        self.network.node(from).proxy(&self.network.plans[from])
    }

    async fn fetch(&self, from: usize, to: &str) -> String {
        let address = self.network.address(to);
        if let Some(proxy) = self.proxy(from) {
            return match page(proxy, address).await {
                Ok(answer) if answer.status == 200 => told_page(&answer.body),
                Ok(answer) => told_failure(&answer),
                Err(e) => word(e.kind(), false),
            };
        }
        let mut end = self.open(from, to).await;
        match get(&mut end, &address).await {
            Ok(body) => told_page(&body),
            Err(e) => word(e.kind(), false),
        }
    }

    async fn find(&self, from: usize, to: &str) -> String {
        let address = self.network.address(to);
        match self.proxy(from) {
            Some(proxy) => match page(proxy, address).await {
                Ok(answer) if answer.status == 200 => "found".into(),
                Ok(answer) => told_failure(&answer),
                Err(e) => word(e.kind(), false),
            },
            None => match self.network.node(from).look_up(&address).await {
                Ok(()) => "found".into(),
                Err(why) => why.to_string(),
            },
        }
    }

    /// All are open before one of them ends.
    async fn many(&self, streams: usize, from: usize, to: &str, size: usize) -> String {
        let all = Arc::new(Barrier::new(streams));
        let mut tasks = JoinSet::new();
        let address = self.network.address(to);
        let (node, plan) = (self.network.node(from), &self.network.plans[from]);
        let opened = opened(streams, || node.open(plan, to, &address)).await;
        for mut end in opened {
            let all = all.clone();
            tasks.spawn(async move {
                let half = size.div_ceil(2);
                let half_way = match end.say(half).await {
                    Ok(()) => end.hear(half).await,
                    Err(e) => Ended::Broken(e.kind()),
                };
                all.wait().await;
                if half_way != Ended::Enough {
                    return end.heard.told_end(half_way, false);
                }
                let rest = async {
                    end.say(size - half).await?;
                    end.finish().await
                };
                match rest.await {
                    Ok(()) => {
                        let ended = end.hear(usize::MAX).await;
                        end.heard.told_end(ended, false)
                    }
                    Err(e) => word(e.kind(), false),
                }
            });
        }
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        while let Some(outcome) = tasks.join_next().await {
            *told.entry(outcome.unwrap()).or_default() += 1;
        }
        let told: Vec<String> = told.iter().map(|(what, n)| format!("{n} times {what}")).collect();
        told.join("; ")
    }

    async fn works(&self, from: usize, to: &str) -> String {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < STEP - ATTEMPT {
            match timeout(ATTEMPT, self.attempt(from, to)).await {
                Ok(Ok(())) => return "works".into(),
                Ok(Err(e)) => last = e,
                Err(_) => last = "no answer".into(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        last
    }

    async fn attempt(&self, from: usize, to: &str) -> Result<(), String> {
        let mut end = self.open(from, to).await;
        let said = async {
            end.say(ATTEMPT_SIZE).await?;
            end.finish().await
        };
        said.await.map_err(|e| word(e.kind(), false))?;
        let ended = end.hear(usize::MAX).await;
        let told = end.heard.told_end(ended, false);
        if ended == Ended::End && told.starts_with(&format!("{ATTEMPT_SIZE} bytes ")) {
            return Ok(());
        }
        Err(told)
    }
}

fn yes(it_is: bool) -> String {
    if it_is { "yes" } else { "no" }.into()
}

/// Opens streams at the same time.
async fn opened<F: Future<Output = End>>(n: usize, open: impl Fn() -> F) -> Vec<End> {
    let mut opening: Vec<_> = (0..n).map(|_| Box::pin(open())).collect();
    let mut opened = Vec::new();
    std::future::poll_fn(|cx| {
        opening.retain_mut(|open| match open.as_mut().poll(cx) {
            std::task::Poll::Ready(end) => {
                opened.push(end);
                false
            }
            std::task::Poll::Pending => true,
        });
        if opening.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    opened
}

/// A page through a proxy.
async fn page(proxy: SocketAddr, host: String) -> io::Result<Answer> {
    let url = if host.contains('/') { format!("http://{host}") } else { format!("http://{host}/") };
    spawn_blocking(move || request(proxy, "GET", &url, &[], STEP)).await.unwrap()
}

/// Follows a link with an address helper, and confirms that the name is to be kept.
async fn learn(proxy: SocketAddr, host: &str, destination: &str) -> io::Result<String> {
    let asked = page(proxy, format!("{host}/?i2paddresshelper={destination}")).await?;
    let text = String::from_utf8_lossy(&asked.body).into_owned();
    let mut form = String::new();
    for field in ["name", "destination", "port", "path", "token"] {
        let value = text.split_once(&format!("name=\"{field}\" value=\""));
        let value = value.and_then(|(_, rest)| rest.split_once('"'));
        let (value, _) = value.ok_or(io::ErrorKind::InvalidData)?;
        form.push_str(&format!("{field}={}&", value.replace('/', "%2F")));
    }
    let action = text.split_once("action=\"").and_then(|(_, rest)| rest.split_once('"'));
    let url = action.ok_or(io::ErrorKind::InvalidData)?.0.to_owned();
    let form = form.trim_end_matches('&').to_owned();
    let post = move || request(proxy, "POST", &url, form.as_bytes(), STEP);
    let answer = spawn_blocking(post).await.unwrap()?;
    Ok(match answer.status {
        303 => "learned".into(),
        other => format!("status {other}"),
    })
}

/// A page through a stream.
async fn get(end: &mut End, host: &str) -> io::Result<Vec<u8>> {
    let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    end.say_bytes(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while end.hear_bytes(&mut answer).await? > 0 {}
    end.finish().await?;
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(answer.split_off(at + 4))
}

fn told_page(body: &[u8]) -> String {
    let mut heard = Heard::new();
    heard.take(body);
    if heard.is_right() { heard.told() } else { "wrong bytes".into() }
}

/// What a page of the proxy says, in the words of the library.
fn told_failure(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let page = PAGES.iter().find(|(title, _)| text.contains(title));
    page.map_or(format!("status {}", answer.status), |(_, failure)| failure.to_string())
}
