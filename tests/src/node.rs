//! A Ramson router as a process, for tests that need a real one.

use crate::i2pd::wait;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A running router. Ended when dropped.
pub struct Node {
    /// Its data folder.
    pub data: PathBuf,
    child: Child,
}

/// The command line of the router under test; `exe` is `env!("CARGO_BIN_EXE_ramson-under-test")`.
#[must_use]
pub fn command(exe: &str, data: &Path) -> Command {
    let mut command = Command::new(exe);
    command.arg("--data-dir").arg(data).stdin(Stdio::null());
    command
}

impl Node {
    /// Starts `run` with the given configuration text.
    #[must_use]
    pub fn start(exe: &str, data: &Path, config: &str) -> Self {
        fs::create_dir_all(data).unwrap();
        set_private(data);
        fs::write(data.join("ramson.toml"), config).unwrap();
        Self::restart(exe, data)
    }

    /// Starts `run` in a folder that has its configuration.
    #[must_use]
    pub fn restart(exe: &str, data: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(data.join("log.txt")).unwrap();
        let child =
            command(exe, data).arg("run").stderr(log).stdout(Stdio::null()).spawn().unwrap();
        Self { data: data.to_owned(), child }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and wait.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|s| s.is_none())
    }

    /// What `ramson info --json` says; null when it says nothing.
    #[must_use]
    pub fn info(exe: &str, data: &Path) -> serde_json::Value {
        serde_json::from_slice(&info(exe, data).stdout).unwrap_or_default()
    }

    /// The address of the service `site` of the router with this data folder.
    ///
    /// # Panics
    ///
    /// When it does not tell within `limit`.
    #[must_use]
    pub fn site(exe: &str, data: &Path, limit: Duration) -> String {
        wait("our site's name in `info`", limit, || {
            let info = Self::info(exe, data);
            let services = info["services"].as_array()?;
            let site = services.iter().find(|s| s["name"] == "site")?;
            site["b32"].as_str().map(str::to_owned)
        })
    }

    /// Resident memory in KiB and CPU seconds used so far.
    #[must_use]
    pub fn usage(&self) -> (u64, f64) {
        usage(self.pid())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let mut log = String::new();
            if let Ok(mut f) = fs::File::open(self.data.join("log.txt")) {
                let _ = f.read_to_string(&mut log);
            }
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("--- last lines of the router's log ---");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

fn info(exe: &str, data: &Path) -> Output {
    command(exe, data).args(["info", "--json"]).output().unwrap()
}

/// Resident memory in KiB and CPU seconds of a process.
#[must_use]
pub fn usage(pid: u32) -> (u64, f64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let rss = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .and_then(|v| v.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    // Nanoseconds on a CPU, a thread each: the times of `stat` are counted in ticks of 10 ms, which
    // says little of a process that sleeps much.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos: f64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .sum();
    (rss, nanos / 1e9)
}

#[cfg(unix)]
fn set_private(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
}
