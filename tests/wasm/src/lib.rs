//! A simulated network in WebAssembly, which Node.js drives: see `run.mjs`.
//!
//! The routers are those that run everywhere; what is around them, from the links to the clock, is the
//! world of the tests. The module imports nothing. It could not ask for the time, for entropy or for a
//! socket if it wanted to: time is what the script says, and entropy a number that it gives.
#![expect(unsafe_code, reason = "exports need names that are not mangled")]

// The applications of the examples, as they are.
#[path = "../../../core/examples/common/apps.rs"]
mod apps;
mod scenario;

pub use scenario::Scenario;

use std::cell::RefCell;
use std::time::Duration;

thread_local! {
    // One network at a time: an instance of the module is cheap.
    static SCENARIO: RefCell<Option<Scenario>> = const { RefCell::new(None) };
    /// For the script to read.
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes a network that depends on `seed` alone.
#[unsafe(no_mangle)]
pub extern "C" fn world_start(seed: u64) {
    // A panic is a trap for the script, which then reads why.
    std::panic::set_hook(Box::new(|info| say(info.to_string())));
    SCENARIO.set(Some(Scenario::new(seed)));
}

/// Lets `ms` of virtual time pass, or less when all is done then. Says whether it is.
#[unsafe(no_mangle)]
pub extern "C" fn world_run(ms: u32) -> bool {
    SCENARIO.with_borrow_mut(|scenario| {
        scenario.as_mut().is_none_or(|s| s.run(Duration::from_millis(ms.into())))
    })
}

/// Writes down what happened, as JSON, to be read at [`world_text`].
#[unsafe(no_mangle)]
pub extern "C" fn world_report() {
    SCENARIO
        .with_borrow(|scenario| say(scenario.as_ref().map_or_else(String::new, Scenario::report)));
}

/// Where the text is: a report, or what a panic said.
#[unsafe(no_mangle)]
pub extern "C" fn world_text() -> *const u8 {
    TEXT.with_borrow(|text| text.as_ptr())
}

/// How long it is, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn world_text_len() -> usize {
    TEXT.with_borrow(String::len)
}

fn say(text: String) {
    TEXT.set(text);
}
