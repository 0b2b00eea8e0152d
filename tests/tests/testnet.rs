//! `ramson testnet` as a process: what it says, what it leaves behind, and how it ends.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use ramson_tests::http::get_until;
use ramson_tests::program::wait_for;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const LONG: Duration = Duration::from_secs(60);

/// A network that runs. Killed when dropped.
struct Testnet {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    proxy: SocketAddr,
    folder: PathBuf,
}

impl Testnet {
    /// Starts one of six routers, with these options besides.
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(EXE)
            .args(["testnet", "--routers", "6", "--proxy", "127.0.0.1:0", "--json"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let start: Value = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
        assert_eq!(start["event"], "start");
        assert_eq!(start["routers"], 6);
        let text = |key: &str| start[key].as_str().unwrap();
        let (proxy, folder) = (text("proxy").parse().unwrap(), text("folder").into());
        Self { child, said, proxy, folder }
    }

    /// Reads on until there is such an event.
    fn wait(&mut self, event: &str) -> Value {
        loop {
            let line = self.said.next().unwrap().unwrap();
            let document: Value = serde_json::from_str(&line).unwrap();
            if document["event"] == event {
                return document;
            }
        }
    }

    /// Waits for its good end; what it said last.
    fn end(&mut self) -> Value {
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

#[test]
fn a_network_gets_ready_and_ends_when_its_time_is_over() {
    let mut testnet = Testnet::start(&["--for", "20s"]);
    assert_eq!(std::fs::metadata(&testnet.folder).unwrap().mode() & 0o777, 0o700);
    let ready = testnet.wait("ready");
    // One each way at least for every router, and for the proxy and the site.
    assert!(ready["tunnels"].as_u64().unwrap() >= 6 * 2 + 2 * 2, "{ready}");
    let status = testnet.wait("status");
    assert_eq!(status["ready"], 6, "{status}");
    assert_eq!(status["site_ready"], true, "{status}");
    let end = testnet.end();
    assert_eq!(end["ready"], true, "{end}");
    let seconds = end["seconds"].as_f64().unwrap();
    assert!((20.0..40.0).contains(&seconds), "{end}");
}

#[test]
fn the_example_site_is_seen_through_the_proxy() {
    let mut testnet = Testnet::start(&[]);
    testnet.wait("ready");
    let page = get_until(testnet.proxy, "http://example.i2p/", LONG);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("It works."), "{text}");
    assert!(text.contains(".b32.i2p"), "the page knows who came: {text}");
    testnet.wait("open");
    let pid = testnet.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    testnet.end();
}

#[test]
fn downloads_are_measured_and_right() {
    let mut testnet = Testnet::start(&["--bench", "1 MiB"]);
    let bench = testnet.wait("bench");
    assert_eq!(bench["ok"], true, "{bench}");
    assert_eq!(bench["size_bytes"], 1 << 20);
    for key in ["cold_first_byte_ms", "cpu_seconds_per_mb"] {
        assert!(bench[key].as_f64().unwrap() > 0.0, "{bench}");
    }
    assert!(bench["goodput_bytes_per_second"]["median"].as_u64().unwrap() > 0, "{bench}");
    testnet.end();
}

#[test]
fn a_proxy_address_that_is_taken_is_told_and_nothing_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(EXE).args(["testnet", "--proxy", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with(&format!("ramson: cannot listen on {address}: ")), "{text}");
    assert!(text.contains("--proxy"), "{text}");
}
