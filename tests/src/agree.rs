//! The same scenario under every runtime, over real sockets, told in words that know no runtime.
//!
//! A [`Scenario`] is a text. [`run`] makes its network of it, with each router under the runtime that
//! a [`Mix`] gives it, does the steps one after another, and returns the text again, with what came of
//! each step: two runtimes agree when both return the same.
//!
//! What programs do, they do in the way that a runtime has for them: through client tunnels, server
//! tunnels and the HTTP proxy, as bytes over TCP, or with the destinations and streams of the library.

mod end;
mod network;
mod node;
pub mod scenario;
mod serve;
mod steps;

pub use network::Mix;
pub use node::Kind;
pub use scenario::Scenario;

use std::time::Duration;
use tokio::time::timeout;

/// A network that is not done by then is ended.
const LIMIT: Duration = Duration::from_secs(150);

/// Does a scenario; `exe` is the bundled router. Whatever it started is ended when this returns,
/// however it does.
///
/// # Panics
///
/// When the network does not come to be at all, or there is no end of it.
#[must_use]
pub fn run(exe: &str, scenario: &Scenario, mix: &Mix) -> Vec<String> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let done = runtime.block_on(async { timeout(LIMIT, steps::run(exe, scenario, mix)).await });
    // Services wait for more; nobody waits for them.
    runtime.shutdown_timeout(Duration::from_secs(5));
    done.unwrap_or_else(|_| panic!("{} under {}: no end of it", scenario.name, mix.name))
}
