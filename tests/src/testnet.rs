//! `ramson testnet` as a process.

use crate::program::wait_for;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

/// A network that runs. Killed when dropped.
pub struct Testnet {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// Where its HTTP proxy listens.
    pub proxy: SocketAddr,
    /// Where its routers keep their data.
    pub folder: PathBuf,
}

impl Testnet {
    /// Starts one of six routers with the program `exe`, with these options besides.
    #[must_use]
    pub fn start(exe: &str, options: &[&str]) -> Self {
        Self::start_many(exe, 6, options)
    }

    /// The same, of so many routers.
    #[must_use]
    pub fn start_many(exe: &str, routers: usize, options: &[&str]) -> Self {
        let mut child = Command::new(exe)
            .args(["testnet", "--routers", &routers.to_string()])
            .args(["--proxy", "127.0.0.1:0", "--json"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let start: Value = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
        assert_eq!(start["event"], "start");
        assert_eq!(start["routers"], routers);
        let text = |key: &str| start[key].as_str().unwrap();
        let (proxy, folder) = (text("proxy").parse().unwrap(), text("folder").into());
        Self { child, said, proxy, folder }
    }

    /// Reads on until there is such an event.
    pub fn wait(&mut self, event: &str) -> Value {
        loop {
            let line = self.said.next().unwrap().unwrap();
            let document: Value = serde_json::from_str(&line).unwrap();
            if document["event"] == event {
                return document;
            }
        }
    }

    /// The number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop, as a user does.
    pub fn signal(&self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its good end; what it said last.
    pub fn end(&mut self) -> Value {
        let end = self.wait("end");
        let code = wait_for(LONG, "its end", || self.child.try_wait().unwrap()).code();
        assert_eq!(code, Some(0), "{end}");
        assert_eq!(end["ok"], true, "{end}");
        assert!(!self.folder.exists(), "{} is left behind", self.folder.display());
        end
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}
