//! The command line of the `ramson` program, as a library so that tests can build it too.

use crate::config::{ConfigErrors, FILE_NAME, Settings};
use crate::data_dir::{self, DataDir, DataDirError};
use crate::info::{Info, InfoError};
use crate::record::{self, RecordingError};
use crate::runtime::refuse_stub;
use crate::sim::{self, SimError};
use crate::testnet::{self, TestnetError};
use crate::{Runtime, RuntimeError, logger};
use clap::{Args, Parser, Subcommand};
use log::{LevelFilter, error};
use ramson_core::crypto;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const LONG_ABOUT: &str = "\
An I2P router: browse, host and transfer anonymously.

Without a configuration it runs an HTTP proxy on 127.0.0.1:4444. To see what it does before it
joins anything: ramson testnet.";

const AFTER_HELP: &str = "\
Files in DIR (default $XDG_DATA_HOME/ramson, else ~/.local/share/ramson):
  ramson.toml   configuration, unless --config names another
  hosts.txt     names, one NAME.i2p=DESTINATION a line
  router.info   the RouterInfo of this router
  keys/         secret keys; keep a copy of them
  netDb/        RouterInfos of others
  profiles/     what this router measured of them
  hosts-learned.txt
                names that you took over from links
  recordings/   what this router was told, when that is recorded: with its keys and its traffic

Exit codes: 0 done, 1 the router or the machine failed, or a replay came out otherwise, 2
something for you to fix: wrong usage or configuration, a data folder or keys that cannot be
used, an address that is taken, a recording that cannot be played.";

const REPLAY: &str = "\
Play a recording of a router, and see whether it does the same again.

Recordings are made by `ramson run --record`, or with `enabled = true` in [record] of the
configuration: one file for each start, in the folder recordings/ of the data folder. They hold
the router's private keys and all its traffic: give one to nobody who should not have these.
Nothing is connected to, and nothing is written.

Exit codes: 0 the same outputs, 1 other outputs (the first is shown), 2 the file cannot be played,
or is damaged (what comes before the damage is played).";

/// The command line.
#[derive(Parser)]
#[command(name = "ramson", version, about = "An I2P router", long_about = LONG_ABOUT)]
#[command(after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Args)]
struct Common {
    /// Folder of keys, network database and configuration
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until SIGINT, SIGTERM or SIGHUP (the default); a second signal stops at once
    Run {
        /// Record what the router is told, with its keys and its traffic, for `ramson replay`
        #[arg(long)]
        record: bool,
    },
    /// Show the router's hash, addresses, tunnels and, when it runs, what it does
    Info {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Run a whole anonymous network in this process, to try it: no internet, nothing left behind
    #[command(long_about = testnet::ABOUT)]
    Testnet(testnet::Options),
    /// Simulate a network of any size in virtual time, with faults and attackers
    #[command(long_about = sim::ABOUT)]
    Sim(sim::Options),
    /// Play a recording of a router, and see whether it does the same again
    #[command(long_about = REPLAY)]
    Replay {
        /// The recording
        file: PathBuf,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        /// Play so many inputs and no more; the first is the start
        #[arg(long, value_name = "N")]
        until: Option<u64>,
        /// Show what the router logs, with the times of the recording; -v and -vv show the inputs too
        #[arg(long)]
        log: bool,
    },
    /// Check the configuration and print all of it, defaults included
    CheckConfig,
}

/// What to tell the user, and the exit code.
enum Failure {
    /// The machine or the router: 1.
    Run(String),
    /// Something for the user to fix, with the text ready to print: 2.
    Usage(String),
}

impl Failure {
    fn run(e: impl Display) -> Self {
        Self::Run(e.to_string())
    }

    fn new(e: impl Display, for_the_user: bool) -> Self {
        if for_the_user { Self::Usage(format!("ramson: {e}")) } else { Self::run(e) }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(e: ConfigErrors) -> Self {
        Self::Usage(e.to_string())
    }
}

impl From<DataDirError> for Failure {
    fn from(e: DataDirError) -> Self {
        Self::new(&e, e.is_for_the_user())
    }
}

impl From<InfoError> for Failure {
    fn from(e: InfoError) -> Self {
        Self::new(&e, e.is_for_the_user())
    }
}

impl From<RuntimeError> for Failure {
    fn from(e: RuntimeError) -> Self {
        Self::new(&e, e.is_for_the_user())
    }
}

impl From<SimError> for Failure {
    fn from(e: SimError) -> Self {
        Self::new(&e, e.is_for_the_user())
    }
}

impl From<TestnetError> for Failure {
    fn from(e: TestnetError) -> Self {
        Self::new(&e, e.is_for_the_user())
    }
}

/// Reads the arguments, does what they say, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { common, verb } = Cli::parse();
    let verb = verb.unwrap_or(Verb::Run { record: false });
    let result = may(&verb).and_then(|()| match verb {
        Verb::Run { record } => run(&common, record),
        Verb::Info { json } => info(&common, json),
        Verb::Testnet(options) => testnet(&common, &options),
        Verb::Sim(options) => simulate(&common, &options),
        Verb::Replay { file, json, until, log } => replay(&common, &file, json, until, log),
        Verb::CheckConfig => check_config(&common),
    });
    let (text, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Run(text)) => (format!("ramson: {text}"), 1),
        Err(Failure::Usage(text)) => (text, 2),
    };
    // When nobody reads it, the exit code still tells.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}

/// A build for simulations does nothing else, and makes no file before it says so.
fn may(verb: &Verb) -> Result<(), Failure> {
    let harmless = matches!(verb, Verb::Sim(_) | Verb::CheckConfig);
    Ok(refuse_stub(crypto::STUB && !harmless)?)
}

fn run(common: &Common, record: bool) -> Result<(), Failure> {
    // A named file is read first: with a wrong one nothing is made.
    let named = common.config.as_deref().map(Settings::load).transpose()?;
    let dir = DataDir::open(&data_dir_path(common)?)?;
    let mut settings = match named {
        Some(settings) => settings,
        None => settings_in(dir.path())?,
    };
    settings.record.enabled |= record;
    start_log(common, settings.log_level);
    let mut runtime = Runtime::start(settings, dir)?;
    runtime.handle_signals()?;
    Ok(runtime.run()?)
}

fn info(common: &Common, json: bool) -> Result<(), Failure> {
    start_log(common, LevelFilter::Warn);
    let dir = data_dir_path(common)?;
    let info = match Info::running(&dir)? {
        Some(info) => info,
        None => {
            let settings = match &common.config {
                Some(file) => Settings::load(file)?,
                None => settings_in(&dir)?,
            };
            Info::stored(&dir, &settings)?
        }
    };
    print(&if json { info.to_json() } else { info.to_table() })
}

fn testnet(common: &Common, options: &testnet::Options) -> Result<(), Failure> {
    if common.data_dir.is_some() || common.config.is_some() {
        let problem = "testnet makes routers of its own; leave --data-dir and --config out";
        return Err(Failure::new(problem, true));
    }
    start_log(common, LevelFilter::Warn);
    Ok(testnet::run(options)?)
}

fn simulate(common: &Common, options: &sim::Options) -> Result<(), Failure> {
    if common.data_dir.is_some() || common.config.is_some() {
        let problem = "sim makes routers of its own; leave --data-dir and --config out";
        return Err(Failure::new(problem, true));
    }
    // Logs of simulated routers have virtual time; the world keeps them itself.
    print(&sim::run(options)?)
}

fn replay(
    common: &Common,
    file: &Path,
    json: bool,
    until: Option<u64>,
    log: bool,
) -> Result<(), Failure> {
    if common.data_dir.is_some() || common.config.is_some() {
        let problem = "a recording has all that it needs; leave --data-dir and --config out";
        return Err(Failure::new(problem, true));
    }
    let shown = log || common.verbose > 0;
    start_log(common, if shown { LevelFilter::Info } else { LevelFilter::Off });
    let fail = |e: RecordingError| Failure::new(format!("{}: {e}", file.display()), true);
    let recording = File::open(file).map_err(|e| fail(e.into()))?;
    let report = record::play(BufReader::new(recording), until).map_err(fail)?;
    print(&if json { format!("{}\n", report.to_json()) } else { report.to_text() })?;
    match report.damage() {
        Some(e) => Err(Failure::new(format!("{}: {e}", file.display()), true)),
        None if report.is_same() => Ok(()),
        None => Err(Failure::run(format!("{}: other outputs than recorded", file.display()))),
    }
}

fn check_config(common: &Common) -> Result<(), Failure> {
    let settings = match &common.config {
        Some(file) => Settings::load(file)?,
        None => settings_in(&data_dir_path(common)?)?,
    };
    print(&settings.to_toml())
}

fn data_dir_path(common: &Common) -> Result<PathBuf, DataDirError> {
    match &common.data_dir {
        Some(dir) => Ok(dir.clone()),
        None => data_dir::default_path(|name| std::env::var_os(name)),
    }
}

/// The configuration of a data folder; the default when it has none.
fn settings_in(dir: &Path) -> Result<Settings, ConfigErrors> {
    let file = dir.join(FILE_NAME);
    match file.try_exists() {
        Ok(false) => Ok(Settings::default()),
        Ok(true) | Err(_) => Settings::load(&file),
    }
}

fn start_log(common: &Common, configured: LevelFilter) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => configured.min(LevelFilter::Warn),
        (false, 0) => configured,
        (false, 1) => configured.max(LevelFilter::Debug),
        (false, _) => LevelFilter::Trace,
    };
    // Fails only when there is a logger already.
    let _ = logger::init(level);
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        match panic.location() {
            Some(at) => error!("panic at {at}: {message}"),
            None => error!("panic: {message}"),
        }
    }));
}

/// Writes to standard output; a reader that had enough is no error.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::run(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}
