//! Downloads through the network, measured and checked.

use super::content::Checker;
use super::status::{memory, seconds};
use super::{Notice, fetch};
use crate::clock;
use crate::info::size;
use log::debug;
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Bytes of a download that is measured for its first byte.
const SMALL: u64 = 1000;
/// Such downloads, after the first.
const SMALL_RUNS: usize = 11;
/// Downloads that are measured for their speed.
const RUNS: usize = 5;
/// How long the site may take to answer at all, and the pause between two attempts.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(500);
/// The stack of the thread that fetches.
const STACK: usize = 256 << 10;

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bench {
    routers: u64,
    size: u64,
    /// From the very first request to the first byte of an answer, and how many requests it took.
    cold: Option<Duration>,
    attempts: u64,
    /// To the first byte of later answers.
    warm: Vec<Duration>,
    /// Bytes per second of each download.
    goodput: Vec<u64>,
    /// CPU time of the process during those downloads.
    cpu: Duration,
    resident: u64,
    peak_resident: u64,
    problems: Vec<String>,
}

/// Runs `work` on a thread and tells what it gives.
pub(super) fn spawn(
    notices: Sender<Notice>,
    work: impl FnOnce(&Sender<Notice>) -> Notice + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        let notice = work(&notices);
        // Nobody listens after a stop.
        let _ = notices.send(notice);
    };
    let builder = std::thread::Builder::new().name("ramson-fetch".into()).stack_size(STACK);
    builder.spawn(work).map(drop)
}

/// Opens the site until it answers; how long the answer's first byte took.
pub(super) fn visit(proxy: SocketAddr) -> Duration {
    loop {
        match fetch::get(proxy, "/", |_| {}) {
            Ok(answer) if answer.status == 200 => return answer.first_byte,
            Ok(answer) => debug!("the site does not answer yet: status {}", answer.status),
            Err(e) => debug!("the site does not answer yet: {e}"),
        }
        std::thread::park_timeout(PAUSE);
    }
}

impl Bench {
    /// Measures downloads of `bytes` bytes in a network of `routers` that is ready.
    pub(super) fn run(
        proxy: SocketAddr,
        bytes: u64,
        routers: u64,
        progress: impl Fn(String),
    ) -> Self {
        let mut bench = Self { routers, size: bytes, ..Self::default() };
        progress("waiting for the first answer".into());
        bench.first_answer(proxy);
        if bench.cold.is_some() {
            progress(format!("{SMALL_RUNS} small downloads"));
            for _ in 0..SMALL_RUNS {
                let answer = bench.download(proxy, SMALL);
                bench.warm.extend(answer.map(|answer| answer.first_byte));
            }
            let before = clock::cpu();
            for n in 1..=RUNS {
                progress(format!("download {n} of {RUNS}, {} each", size(bytes)));
                let answer = bench.download(proxy, bytes);
                bench.goodput.extend(answer.map(|answer| rate(bytes, answer.total)));
            }
            bench.cpu = clock::cpu().saturating_sub(before);
        }
        (bench.resident, bench.peak_resident) = memory();
        bench
    }

    /// Whether every download was right.
    pub(super) fn is_right(&self) -> bool {
        self.problems.is_empty() && self.goodput.len() == RUNS
    }

    pub(super) fn to_json(&self) -> Value {
        let millis = |d: Duration| (d.as_secs_f64() * 1e5).round() / 100.0;
        let known = |n: u64| (n > 0).then_some(n);
        let warm = spread(&self.warm).map(|[min, median, max]| {
            json!({ "median": millis(median), "min": millis(min), "max": millis(max),
                "count": self.warm.len() })
        });
        let goodput = spread(&self.goodput).map(|[min, median, max]| {
            json!({ "median": median, "min": min, "max": max, "runs": self.goodput })
        });
        json!({
            "event": "bench",
            "ok": self.is_right(),
            "size_bytes": self.size,
            "routers": self.routers,
            "hops": super::HOPS,
            "cold_first_byte_ms": self.cold.map(millis),
            "cold_attempts": self.attempts,
            "warm_first_byte_ms": warm,
            "goodput_bytes_per_second": goodput,
            "cpu_seconds": seconds(self.cpu),
            "cpu_seconds_per_mb": self.cpu_per_mb(),
            "resident_bytes": known(self.resident),
            "peak_resident_bytes": known(self.peak_resident),
            "resident_bytes_per_router": known(self.resident_each()),
            "problems": self.problems,
        })
    }

    /// For people.
    pub(super) fn to_text(&self) -> String {
        let mut lines = Vec::new();
        let mut line = |key: &str, value: String| lines.push(format!("{key:<11} {value}\n"));
        let millis = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1000.0);
        if let Some(cold) = self.cold {
            let again = match self.attempts {
                0 | 1 => String::new(),
                n => format!(", with {n} requests"),
            };
            line("first byte", format!("{} cold{again}", millis(cold)));
        }
        if let Some([min, median, max]) = spread(&self.warm) {
            let (min, median, max) = (millis(min), millis(median), millis(max));
            let n = self.warm.len();
            line("", format!("{median} warm, median of {n} ({min} to {max})"));
        }
        if let Some([min, median, max]) = spread(&self.goodput) {
            let (min, median, max) = (size(min), size(median), size(max));
            let n = self.goodput.len();
            line("goodput", format!("{median}/s, median of {n} ({min}/s to {max}/s)"));
            line("", format!("downloads of {} over 3 + 3 hops", size(self.size)));
        }
        if let Some(cpu) = self.cpu_per_mb() {
            line("processor", format!("{cpu:.4} s for each MB, in all {} routers", self.routers));
        }
        if self.resident > 0 {
            let (all, each) = (size(self.resident), size(self.resident_each()));
            line("memory", format!("{all} resident, {each} a router"));
        }
        for problem in &self.problems {
            line("WRONG", problem.clone());
        }
        if self.is_right() {
            line("content", "every byte was right".into());
        }
        lines.concat()
    }

    /// Tries until there is a right answer.
    fn first_answer(&mut self, proxy: SocketAddr) {
        let start = clock::now();
        loop {
            let before = clock::now().saturating_since(start);
            self.attempts += 1;
            match download(proxy, SMALL) {
                Ok(answer) => {
                    self.cold = Some(before + answer.first_byte);
                    return;
                }
                Err(problem) if before > PATIENCE => {
                    self.problems.push(format!("no answer from the site: {problem}"));
                    return;
                }
                Err(problem) => debug!("no answer yet: {problem}"),
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn download(&mut self, proxy: SocketAddr, size: u64) -> Option<fetch::Answer> {
        download(proxy, size).map_err(|problem| self.problems.push(problem)).ok()
    }

    fn cpu_per_mb(&self) -> Option<f64> {
        let bytes = self.size * self.goodput.len() as u64;
        (bytes > 0).then(|| (self.cpu.as_secs_f64() * 1e12 / bytes as f64).round() / 1e6)
    }

    fn resident_each(&self) -> u64 {
        self.resident.checked_div(self.routers).unwrap_or(0)
    }
}

/// Fetches and checks `size` bytes.
fn download(proxy: SocketAddr, size: u64) -> Result<fetch::Answer, String> {
    let mut checker = Checker::new();
    let answer = fetch::get(proxy, &format!("/{size}.bin"), |piece| checker.take(piece))
        .map_err(|e| format!("download of {size} bytes: {e}"))?;
    if answer.status != 200 {
        return Err(format!("download of {size} bytes: status {}", answer.status));
    }
    if !checker.is_right(size) {
        return Err(format!("download of {size} bytes: not what the site sent"));
    }
    Ok(answer)
}

/// Least, median, most.
fn spread<T: Copy + Ord>(values: &[T]) -> Option<[T; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    Some([*sorted.first()?, *sorted.get(sorted.len() / 2)?, *sorted.last()?])
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let micros = u128::max(time.as_micros(), 1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Bench {
        let ms = Duration::from_millis;
        Bench {
            routers: 12,
            size: 10 << 20,
            cold: Some(Duration::from_micros(345_678)),
            attempts: 2,
            warm: vec![ms(30), ms(10), ms(20)],
            goodput: vec![5 << 20, 3 << 20, 4 << 20, 1 << 20, 2 << 20],
            cpu: ms(5243),
            resident: 120 << 20,
            peak_resident: 130 << 20,
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_result_reads_well() {
        let want = "\
first byte  345.7 ms cold, with 2 requests
            20.0 ms warm, median of 3 (10.0 ms to 30.0 ms)
goodput     3.0 MiB/s, median of 5 (1.0 MiB/s to 5.0 MiB/s)
            downloads of 10.0 MiB over 3 + 3 hops
processor   0.1000 s for each MB, in all 12 routers
memory      120.0 MiB resident, 10.0 MiB a router
content     every byte was right
";
        assert_eq!(measured().to_text(), want);
    }

    #[test]
    fn scripts_get_the_same_in_plain_units() {
        let want = json!({
            "event": "bench", "ok": true, "size_bytes": 10 << 20, "routers": 12, "hops": 3,
            "cold_first_byte_ms": 345.68, "cold_attempts": 2,
            "warm_first_byte_ms": { "median": 20.0, "min": 10.0, "max": 30.0, "count": 3 },
            "goodput_bytes_per_second": {
                "median": 3 << 20, "min": 1 << 20, "max": 5 << 20,
                "runs": [5 << 20, 3 << 20, 4 << 20, 1 << 20, 2 << 20],
            },
            "cpu_seconds": 5.243, "cpu_seconds_per_mb": 0.100002,
            "resident_bytes": 120 << 20, "peak_resident_bytes": 130 << 20,
            "resident_bytes_per_router": 10 << 20, "problems": [],
        });
        assert_eq!(measured().to_json(), want);
    }

    #[test]
    fn what_is_wrong_or_missing_is_told() {
        let mut bench = measured();
        bench.goodput.pop();
        assert!(!bench.is_right());
        bench.problems.push("download of 9 bytes: status 504".into());
        assert!(bench.to_text().ends_with("WRONG       download of 9 bytes: status 504\n"));
        let nothing = Bench::default();
        assert_eq!(nothing.to_text(), "");
        assert_eq!(nothing.to_json()["goodput_bytes_per_second"], Value::Null);
        assert!(!nothing.is_right());
    }

    #[test]
    fn a_download_is_checked_from_end_to_end() {
        // The site takes the whole address of a proxy's request for an unknown path.
        let site = super::super::site::serve(1).unwrap();
        assert!(download(site, 5).unwrap_err().ends_with("status 404"));
    }
}
