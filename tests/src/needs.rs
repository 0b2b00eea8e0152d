//! What a test needs of the machine. Where that is missing a test is skipped, and says so; with `CI`
//! set it fails instead, so that nothing is skipped there for ever.

use std::io::Write;
use std::path::Path;

/// Those of `programs` that are not on the path, in words.
#[must_use]
pub fn missing_programs(programs: &[&str]) -> Vec<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let here = |program: &str| path.split(':').any(|dir| Path::new(dir).join(program).is_file());
    programs.iter().filter(|p| !here(p)).map(|p| format!("the program `{p}`")).collect()
}

/// Whether the test `name` cannot run, because something is missing.
///
/// # Panics
/// When that is so, and `CI` is set.
#[must_use]
pub fn skipped(name: &str, missing: &[String]) -> bool {
    if missing.is_empty() {
        return false;
    }
    let text = format!("{name} needs {}", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "{text}");
    say(&format!("SKIPPED: {text}"));
    true
}

/// Says something that the test runner does not capture: nobody should take a test that was skipped
/// for one that passed.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
