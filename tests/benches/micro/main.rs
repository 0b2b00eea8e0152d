//! What single operations cost: `cargo bench -p ramson-tests --bench micro [filter..]`.
//!
//! All cases run in turns, round after round, so that a disturbance hits all of them alike; the
//! median of the rounds counts. Without `--bench`, as `cargo test --benches` has it, each case
//! runs once.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench measures time, prints it, and fails by panicking"
)]

mod garlic;
mod harness;
mod netdb;
mod primitives;
mod streams;
mod transport;
mod tunnels;

fn main() {
    let mut bench = harness::Bench::from_args();
    primitives::add(&mut bench);
    transport::add(&mut bench);
    tunnels::add(&mut bench);
    garlic::add(&mut bench);
    streams::add(&mut bench);
    netdb::add(&mut bench);
    bench.run();
}
