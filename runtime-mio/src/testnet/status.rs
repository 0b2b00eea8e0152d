//! How the network is: the sum of what its routers report.

use super::Notice;
use super::plan::{AUTHOR, READER};
use crate::clock;
use crate::info::ask_in;
use ramson_core::time::Instant;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How often the routers are asked: before all are ready, to know when, and afterwards.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(1);
/// The stack of the thread that asks.
const STACK: usize = 256 << 10;

/// Numbers of all routers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Since the start.
    pub(super) elapsed: Duration,
    pub(super) routers: u64,
    /// Those that have tunnels in both directions for everything they do.
    pub(super) ready: u64,
    /// Tunnels of the routers' own.
    pub(super) tunnels: u64,
    pub(super) building: u64,
    /// Parts that routers take in tunnels of others.
    pub(super) transit: u64,
    /// Sessions between two routers.
    pub(super) sessions: u64,
    pub(super) lease_sets: u64,
    /// Bytes that crossed the network so far; what one router sends another receives.
    pub(super) bytes: u64,
    /// Of those, in the last second.
    pub(super) bytes_per_second: u64,
    pub(super) site_ready: bool,
    pub(super) proxy_connections: u64,
    /// Resident memory of the process; 0 where that is unknown.
    pub(super) resident: u64,
    pub(super) peak_resident: u64,
    /// CPU time of the process.
    pub(super) cpu: Duration,
}

impl Status {
    /// Whether every router has its tunnels.
    pub(super) fn is_ready(&self) -> bool {
        self.routers > 0 && self.ready == self.routers
    }

    /// Resident memory by routers.
    pub(super) fn resident_each(&self) -> u64 {
        self.resident.checked_div(self.routers).unwrap_or(0)
    }

    pub(super) fn to_json(self) -> Value {
        let known = |n: u64| (n > 0).then_some(n);
        json!({
            "event": "status",
            "seconds": seconds(self.elapsed),
            "routers": self.routers,
            "ready": self.ready,
            "tunnels": self.tunnels,
            "building": self.building,
            "transit": self.transit,
            "sessions": self.sessions,
            "lease_sets": self.lease_sets,
            "bytes": self.bytes,
            "bytes_per_second": self.bytes_per_second,
            "site_ready": self.site_ready,
            "proxy_connections": self.proxy_connections,
            "resident_bytes": known(self.resident),
            "peak_resident_bytes": known(self.peak_resident),
            "cpu_seconds": seconds(self.cpu),
        })
    }

    /// Adds router `i`.
    fn add(&mut self, i: usize, report: &Value) {
        let number =
            |value: &Value, at: &str| value.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        let list = |key: &str| report[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut ready = !list("pools").is_empty();
        for pool in list("pools") {
            for direction in ["/inbound/active", "/outbound/active"] {
                let active = number(pool, direction);
                self.tunnels += active;
                ready &= active > 0;
            }
            // The report has the sum of both directions in each.
            self.building += number(pool, "/inbound/building");
        }
        for service in list("services") {
            let is_ready = service["ready"] == true;
            ready &= is_ready;
            if i == READER {
                self.proxy_connections += number(service, "/connections");
            }
            if i == AUTHOR {
                self.site_ready = is_ready;
            }
        }
        self.ready += u64::from(ready);
        self.transit += number(report, "/transit/tunnels");
        // Each has two ends, one of which is outbound.
        self.sessions += number(report, "/peers/outbound");
        self.lease_sets = self.lease_sets.max(number(report, "/netdb/lease_sets"));
        self.bytes += number(report, "/bytes_sent");
    }
}

/// Asks all routers again and again and tells, until nobody listens.
pub(super) fn watch(
    start: Instant,
    folders: Vec<PathBuf>,
    notices: Sender<Notice>,
) -> std::io::Result<()> {
    let work = move || {
        let mut last = Status::default();
        loop {
            let status = ask(start, &folders, &last);
            let pause = if status.is_ready() { LATER } else { SOON };
            if notices.send(Notice::Status(status)).is_err() {
                return;
            }
            last = status;
            std::thread::park_timeout(pause);
        }
    };
    std::thread::Builder::new().name("ramson-status".into()).stack_size(STACK).spawn(work).map(drop)
}

fn ask(start: Instant, folders: &[PathBuf], last: &Status) -> Status {
    let mut status = Status { routers: folders.len() as u64, ..Status::default() };
    for (i, folder) in folders.iter().enumerate() {
        // One that does not answer does not count.
        if let Ok(report) = ask_in(folder) {
            status.add(i, &report);
        }
    }
    status.elapsed = clock::now().saturating_since(start);
    let millis = u64::try_from((status.elapsed - last.elapsed.min(status.elapsed)).as_millis());
    let bytes = status.bytes.saturating_sub(last.bytes);
    status.bytes_per_second =
        bytes.saturating_mul(1000).checked_div(millis.unwrap_or(0)).unwrap_or(0);
    (status.resident, status.peak_resident) = memory();
    status.cpu = clock::cpu();
    status
}

/// Resident and peak resident memory in bytes; only where there is a `/proc`.
pub(super) fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    (kib("VmRSS:").unwrap_or(0) << 10, kib("VmHWM:").unwrap_or(0) << 10)
}

/// Seconds with milliseconds.
pub(super) fn seconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(inbound: u64, ready: bool) -> Value {
        json!({
            "pools": [
                { "inbound": { "active": 2, "building": 1 }, "outbound": { "active": 2, "building": 1 } },
                { "inbound": { "active": inbound }, "outbound": { "active": 1 } },
            ],
            "services": [{ "ready": ready, "connections": 3 }],
            "peers": { "inbound": 4, "outbound": 5 },
            "transit": { "tunnels": 6 },
            "netdb": { "lease_sets": 1 },
            "bytes_sent": 1000,
        })
    }

    #[test]
    fn a_router_is_ready_with_tunnels_both_ways_in_every_pool_and_its_services() {
        let ready = |report: &Value| {
            let mut status = Status { routers: 1, ..Status::default() };
            status.add(5, report);
            status.is_ready()
        };
        assert!(ready(&report(1, true)));
        assert!(!ready(&report(0, true)));
        assert!(!ready(&report(1, false)));
        assert!(!ready(&Value::Null));
        assert!(!Status::default().is_ready());
    }

    #[test]
    fn numbers_of_all_are_added() {
        let mut status = Status { routers: 2, ..Status::default() };
        status.add(READER, &report(1, true));
        status.add(AUTHOR, &report(1, true));
        status.elapsed = Duration::from_micros(1_234_567);
        status.resident = 20 << 20;
        let want = json!({
            "event": "status", "seconds": 1.235, "routers": 2, "ready": 2, "tunnels": 12,
            "building": 2, "transit": 12, "sessions": 10, "lease_sets": 1, "bytes": 2000,
            "bytes_per_second": 0, "site_ready": true, "proxy_connections": 3,
            "resident_bytes": 20 << 20, "peak_resident_bytes": null, "cpu_seconds": 0.0,
        });
        assert_eq!(status.to_json(), want);
        assert_eq!(status.resident_each(), 10 << 20);
    }

    #[test]
    fn this_process_has_memory() {
        if cfg!(target_os = "linux") {
            let (resident, peak) = memory();
            assert!(resident > 0 && peak >= resident);
        }
    }
}
