//! Runs a test inside network and process namespaces of its own: nothing it starts can reach
//! another machine, and nothing survives it, not even after a SIGKILL.

use crate::needs::{missing_programs, skipped};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

const MARKER: &str = "RAMSON_TEST_MARKER";
/// Names, in its environment, the test that a process inside of its namespaces is to run.
pub const INSIDE: &str = "RAMSON_TEST_NAMESPACE";

/// Runs `body` in fresh namespaces that have only `lo`, with `addresses` on it.
///
/// The first call starts this test binary again for the test `name` alone; that second process
/// runs `body`. Where something is missing it says what, and fails if `CI` is set: the test is
/// never skipped there.
pub fn run(name: &str, needs: &[&str], addresses: &[Ipv4Addr], body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|v| v == name) {
        body();
        // Tells the first process that this test, and not none, was run.
        std::fs::write(std::env::var(MARKER).unwrap(), name).unwrap();
        return;
    }
    if skipped(name, &missing(needs)) {
        return;
    }
    let mut script = String::from("ip link set lo up");
    for a in addresses {
        script.push_str(&format!(" && ip addr add {a}/32 dev lo"));
    }
    script.push_str(" && exec \"$0\" \"$@\"");
    let exe = std::env::current_exe().unwrap();
    let marker = std::env::temp_dir().join(format!("ramson-ran-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&marker);
    let status = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c"])
        .arg(script)
        .arg(exe)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, name)
        .env(MARKER, &marker)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed inside its namespace: {status}");
    assert!(marker.exists(), "no test is named {name}");
    let _ = std::fs::remove_file(&marker);
}

fn missing(needs: &[&str]) -> Vec<String> {
    let mut missing = missing_programs(&[&["unshare", "ip"], needs].concat());
    if !is_root() {
        missing.push("root (for network namespaces)".into());
    }
    missing
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|s| {
        s.lines().any(|l| l.starts_with("Uid:") && l.split_whitespace().nth(2) == Some("0"))
    })
}
