//! `ramson sim`: networks in virtual time, from the command line.

mod options;

pub(crate) use options::{ABOUT, Options};

use options::Verb;
use ramson_world::sim::{self, Outcome, Sample, Scenario, Span, swarm};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The scenario that is another one for each seed.
const SWARM: &str = "swarm";

/// What keeps it from a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimError {
    #[error("{0}")]
    Scenario(String),
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("{0}: {1}")]
    Document(String, String),
    #[error("a router broke a promise: {panic}\nto see it again: {again}")]
    Broken { panic: String, again: String },
    #[error("not met: {0}")]
    Missed(String),
    #[error("cannot run another process: {0}")]
    Process(std::io::Error),
}

impl SimError {
    /// Whether it is for the user to fix.
    pub(crate) fn is_for_the_user(&self) -> bool {
        match self {
            Self::Scenario(_) | Self::Document(..) => true,
            Self::File(_, e) => crate::is_for_the_user(e),
            Self::Broken { .. } | Self::Missed(_) | Self::Process(_) => false,
        }
    }
}

/// Does what the command line says, and gives what is to be printed.
pub(crate) fn run(options: &Options) -> Result<String, SimError> {
    if let Some(Verb::Merge { files, json }) = &options.verb {
        let mut documents = Vec::new();
        for file in files {
            documents.push(read(file)?);
        }
        let merged = sim::merge(&documents)
            .map_err(|e| SimError::Document("these runs cannot be joined".to_owned(), e))?;
        return judge(&merged, *json, Vec::new());
    }
    if options.list {
        return Ok(list());
    }
    let mut scenario = load(&options.scenario, options.seed)?;
    scenario.network.routers = options.routers.unwrap_or(scenario.network.routers);
    scenario.duration = options.duration.unwrap_or(scenario.duration);
    scenario.check().map_err(SimError::Scenario)?;
    if let Some((first, last)) = options.seeds {
        return sweep(options, first, last);
    }
    let (outcome, machine) = simulate(options, &scenario)?;
    let mut document = outcome.json.clone();
    if let Some(map) = document.as_object_mut() {
        map.insert("scenario".to_owned(), json!(options.scenario));
        map.insert("machine".to_owned(), machine);
    }
    if let Some(dir) = &options.report {
        let failed = |e| SimError::File(dir.display().to_string(), e);
        std::fs::create_dir_all(dir).map_err(failed)?;
        std::fs::write(dir.join("report.json"), line(&document)).map_err(failed)?;
        std::fs::write(dir.join("report.html"), sim::html(&document)).map_err(failed)?;
    }
    let text = if options.json { line(&document) } else { sim::table(&document) };
    if outcome.is_met() {
        return Ok(text);
    }
    print(&text);
    if options.scenario == SWARM {
        minimise(options, scenario);
    }
    let missed: Vec<&str> =
        outcome.checked.iter().filter(|c| !c.met).map(|c| c.what.as_str()).collect();
    Err(SimError::Missed(missed.join("; ")))
}

/// A run, and what it took.
fn simulate(options: &Options, scenario: &Scenario) -> Result<(Outcome, Value), SimError> {
    let begin = (clock(ClockId::Monotonic), clock(ClockId::ProcessCPUTime));
    let mut bar = Bar::new(scenario.duration, begin.0);
    let result = catch_unwind(AssertUnwindSafe(|| {
        sim::run(scenario, options.seed, &mut |sample| {
            bar.show(sample);
            resident()
        })
    }));
    bar.clear();
    let outcome = match result {
        Ok(outcome) => outcome.map_err(SimError::Scenario)?,
        Err(panic) => {
            if options.scenario == SWARM {
                minimise(options, scenario.clone());
            }
            let panic = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "no message".to_owned());
            return Err(SimError::Broken { panic, again: again(options, scenario) });
        }
    };
    let wall = clock(ClockId::Monotonic) - begin.0;
    let cpu = clock(ClockId::ProcessCPUTime) - begin.1;
    let minutes = scenario.duration.0.as_secs_f64() / 60.0 * scenario.network.routers as f64;
    let three = |x: f64| (x * 1000.0).round() / 1000.0;
    let machine = json!({
        "wall_s": three(wall),
        "cpu_s": three(cpu),
        "cpu_ms_per_router_minute": three(cpu * 1000.0 / minutes.max(0.001)),
        "resident_mib": outcome.resident >> 20,
    });
    Ok((outcome, machine))
}

/// Says which of the faults it takes.
fn minimise(options: &Options, scenario: Scenario) {
    let mut breaks = |less: &Scenario| {
        let run = || sim::run(less, options.seed, &mut |_| 0);
        // A router that breaks a promise breaks the run too.
        !matches!(catch_unwind(AssertUnwindSafe(run)), Ok(Ok(outcome)) if outcome.is_met())
    };
    let _ = writeln!(std::io::stderr(), "it has {}", swarm::describe(&scenario));
    let least = swarm::minimise(scenario, &mut breaks);
    let _ = writeln!(std::io::stderr(), "it takes {}", swarm::describe(&least));
}

fn again(options: &Options, scenario: &Scenario) -> String {
    format!(
        "ramson sim --scenario {} --routers {} --duration {}ms --seed {}",
        options.scenario,
        scenario.network.routers,
        scenario.duration.0.as_millis(),
        options.seed
    )
}

/// One process a seed: worlds share nothing, and a broken one takes no other with it.
fn sweep(options: &Options, first: u64, last: u64) -> Result<String, SimError> {
    let exe = std::env::current_exe().map_err(SimError::Process)?;
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut seeds = first..=last;
    let mut running: Vec<(u64, Child)> = Vec::new();
    let mut documents = Vec::new();
    let mut broken = Vec::new();
    loop {
        while running.len() < at_once
            && let Some(seed) = seeds.next()
        {
            let mut command = Command::new(&exe);
            command.args(["sim", "--json", "--scenario", &options.scenario, "--seed"]);
            command.arg(seed.to_string());
            if let Some(n) = options.routers {
                command.args(["--routers", &n.to_string()]);
            }
            if let Some(span) = options.duration {
                command.arg("--duration").arg(format!("{}ms", span.0.as_millis()));
            }
            if let Some(dir) = &options.report {
                command.arg("--report").arg(dir.join(format!("seed-{seed}")));
            }
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            running.push((seed, child.spawn().map_err(SimError::Process)?));
        }
        if running.is_empty() {
            break;
        }
        let (seed, child) = running.remove(0);
        let output = child.wait_with_output().map_err(SimError::Process)?;
        // A run that missed something has a document too.
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(document) => documents.push(document),
            Err(_) => {
                let why = String::from_utf8_lossy(&output.stderr);
                // The last words are about how to see it again; before them stands what it was.
                let why: Vec<&str> = why.lines().filter(|l| !l.trim().is_empty()).collect();
                let why = why.get(why.len().saturating_sub(6)..).unwrap_or_default();
                broken.push(format!("seed {seed}:\n  {}", why.join("\n  ")));
            }
        }
    }
    match sim::merge(&documents) {
        Ok(merged) => judge(&merged, options.json, broken),
        Err(e) => {
            broken.push(e);
            Err(SimError::Missed(broken.join("\n")))
        }
    }
}

/// The text for joined runs; an error when one of them missed something, or `broken` has any.
fn judge(merged: &Value, json: bool, mut broken: Vec<String>) -> Result<String, SimError> {
    let text = if json { line(merged) } else { sim::merged_table(merged) };
    broken.extend(missed(merged));
    if broken.is_empty() {
        return Ok(text);
    }
    print(&text);
    Err(SimError::Missed(broken.join("\n")))
}

/// What some of the joined runs missed, and which of them.
fn missed(merged: &Value) -> Vec<String> {
    let expects = merged.get("expect").and_then(Value::as_array);
    let missed = expects.into_iter().flatten().filter_map(|expect| {
        let seeds = expect.get("missed_by_seeds").filter(|s| **s != json!([]))?;
        let what = expect.get("what").and_then(Value::as_str).unwrap_or("");
        Some(format!("{what}, seeds {seeds}"))
    });
    missed.collect()
}

fn load(name: &str, seed: u64) -> Result<Scenario, SimError> {
    if name == SWARM {
        return Ok(swarm::plan(seed));
    }
    if let Some(scenario) = sim::by_name(name) {
        return scenario.map_err(|e| SimError::Document(name.to_owned(), e));
    }
    let path = Path::new(name);
    match std::fs::read_to_string(path) {
        Ok(text) => Scenario::parse(&text).map_err(|e| SimError::Document(name.to_owned(), e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.extension().is_none() => {
            let known: Vec<&str> = sim::SCENARIOS.iter().map(|(name, _)| *name).collect();
            let problem =
                format!("no scenario {name:?}, and no such file; there are {}", known.join(", "));
            Err(SimError::Scenario(problem))
        }
        Err(e) => Err(SimError::File(name.to_owned(), e)),
    }
}

fn read(file: &Path) -> Result<Value, SimError> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| SimError::File(name.clone(), e))?;
    serde_json::from_str(&text).map_err(|e| SimError::Document(name, e.to_string()))
}

fn list() -> String {
    let mut text = String::new();
    for (name, _) in sim::SCENARIOS {
        let about = match sim::by_name(name) {
            Some(Ok(scenario)) => scenario.about,
            Some(Err(e)) => e,
            None => String::new(),
        };
        let _ = writeln!(text, "{name:<20} {about}");
    }
    let _ =
        writeln!(text, "{SWARM:<20} A small network and a few faults, other ones for each seed");
    text.push_str("\nadversaries that a scenario can name:\n");
    for (name, about) in sim::adversary::KINDS {
        let _ = writeln!(text, "{name:<20} {about}");
    }
    text
}

fn line(document: &Value) -> String {
    format!("{document}\n")
}

fn print(text: &str) {
    // A reader that had enough is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Seconds.
fn clock(id: ClockId) -> f64 {
    let time = clock_gettime(id);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Bytes, where the system tells.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// How far it is, on a terminal.
struct Bar {
    end: Span,
    begin: f64,
    shown: bool,
}

impl Bar {
    fn new(end: Span, begin: f64) -> Self {
        Self { end, begin, shown: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, sample: &Sample) {
        if !self.shown {
            return;
        }
        let (at, end) = (sample.at.as_secs_f64(), self.end.0.as_secs_f64().max(0.001));
        let full = (at / end * 30.0).min(30.0) as usize;
        let took = clock(ClockId::Monotonic) - self.begin;
        let left = took / at.max(0.001) * (end - at).max(0.0);
        let _ = write!(
            std::io::stderr(),
            "\r\x1b[K[{}{}] {}:{:02} of virtual time, {} routers up, {took:.0} s, {left:.0} s to go",
            "#".repeat(full),
            ".".repeat(30 - full),
            sample.at.as_secs() / 60,
            sample.at.as_secs() % 60,
            sample.up,
        );
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests;
