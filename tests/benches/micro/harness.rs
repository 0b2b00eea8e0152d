//! Warm-up, interleaved rounds, medians.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds, of which the median counts.
const ROUNDS: usize = 11;
/// What one case runs for in a round.
const ROUND: Duration = Duration::from_millis(20);

/// The cases to run.
pub(crate) struct Bench {
    filters: Vec<String>,
    measure: bool,
    cases: Vec<Case>,
}

struct Case {
    name: &'static str,
    /// That one operation carries; 0 if that means nothing.
    bytes: usize,
    /// Runs so many operations and says how long they took.
    run: Box<dyn FnMut(usize) -> Duration>,
}

impl Bench {
    pub(crate) fn from_args() -> Self {
        let (flags, filters): (Vec<_>, Vec<_>) =
            std::env::args().skip(1).partition(|a| a.starts_with('-'));
        Self { filters, measure: flags.iter().any(|f| f == "--bench"), cases: Vec::new() }
    }

    /// `make` prepares the case and gives the operation; it is not called for cases that the
    /// filters leave out.
    pub(crate) fn add<F, R>(&mut self, name: &'static str, bytes: usize, make: impl FnOnce() -> F)
    where
        F: FnMut() -> R + 'static,
    {
        self.add_timed(name, bytes, || {
            let mut op = make();
            move |n| {
                let start = Instant::now();
                for _ in 0..n {
                    black_box(op());
                }
                start.elapsed()
            }
        });
    }

    /// As [`Self::add`], with inputs that are made, by the first half of what `make` gives, outside
    /// of the time.
    pub(crate) fn add_batched<S, T, R>(
        &mut self,
        name: &'static str,
        bytes: usize,
        make: impl FnOnce() -> (S, fn(&mut S, usize) -> Vec<T>, fn(&mut S, T) -> R),
    ) where
        S: 'static,
        T: 'static,
        R: 'static,
    {
        self.add_timed(name, bytes, || {
            let (mut state, prepare, op) = make();
            move |n| {
                let inputs = prepare(&mut state, n);
                assert_eq!(inputs.len(), n);
                let start = Instant::now();
                for input in inputs {
                    black_box(op(&mut state, input));
                }
                start.elapsed()
            }
        });
    }

    fn add_timed<F>(&mut self, name: &'static str, bytes: usize, make: impl FnOnce() -> F)
    where
        F: FnMut(usize) -> Duration + 'static,
    {
        if self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f.as_str())) {
            self.cases.push(Case { name, bytes, run: Box::new(make()) });
        }
    }

    pub(crate) fn run(mut self) {
        if !self.measure {
            for case in &mut self.cases {
                (case.run)(1);
            }
            return;
        }
        let counts: Vec<usize> = self.cases.iter_mut().map(Case::calibrate).collect();
        let mut times = vec![Vec::new(); self.cases.len()];
        for _ in 0..ROUNDS {
            for ((case, times), n) in self.cases.iter_mut().zip(&mut times).zip(&counts) {
                times.push((case.run)(*n).as_nanos() as f64 / *n as f64);
            }
        }
        println!("{:44} {:>12} {:>12} {:>10}", "", "ns/op", "op/s", "MB/s");
        for (case, times) in self.cases.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let ns = times[times.len() / 2];
            let rate = case.bytes as f64 * 1e3 / ns;
            let rate = if case.bytes == 0 { String::new() } else { format!("{rate:.1}") };
            println!("{:44} {ns:>12.0} {:>12.0} {rate:>10}", case.name, 1e9 / ns);
        }
    }
}

impl Case {
    /// Warms up, and finds out how many operations make a round.
    fn calibrate(&mut self) -> usize {
        let mut n = 1;
        loop {
            let took = (self.run)(n);
            if took >= ROUND / 4 || n >= 1 << 22 {
                let per_op = took.as_secs_f64() / n as f64;
                return ((ROUND.as_secs_f64() / per_op) as usize).clamp(1, 1 << 22);
            }
            n *= 2;
        }
    }
}
