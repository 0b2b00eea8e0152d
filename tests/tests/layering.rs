//! Modules of the core depend in one direction: each may use what stands below it, never a sibling
//! or anything above.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down; modules of one row are siblings.
const LAYERS: &[&[&str]] = &[
    &["router"],
    &["client"],
    &["streaming", "datagram"],
    &["destination"],
    &["transport", "netdb", "tunnel", "garlic"],
    &["keys"],
    &["wire"],
    &["crypto", "config", "conn", "flow"],
    &["rng", "time", "audit"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The top-level modules that a source names with `crate::`.
fn uses(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
        let mut rest = line;
        while let Some(at) = rest.find("crate::") {
            let before = rest[..at].chars().next_back();
            rest = &rest[at + 7..];
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            if let Some(group) = rest.strip_prefix('{') {
                let group = group.split(';').next().unwrap_or("");
                for name in group.split(&[',', '{', '}'][..]) {
                    let name = name.trim().split("::").next().unwrap_or("");
                    if layer(name).is_some() {
                        found.push(name.to_owned());
                    }
                }
            } else {
                let name: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn no_module_uses_a_sibling_or_what_stands_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40, "the sources were found");
    let mut wrong = Vec::new();
    for path in files {
        let relative = path.strip_prefix(&root).unwrap().to_owned();
        let module = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} has no layer"));
        for used in uses(&fs::read_to_string(&path).unwrap()) {
            let Some(theirs) = layer(&used) else {
                wrong.push(format!("{}: unknown module {used}", relative.display()));
                continue;
            };
            if used != module && theirs <= own {
                wrong.push(format!("{}: {module} uses {used}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_itself_sees_edges() {
    assert_eq!(
        uses("use crate::wire::hash::Hash;\nlet x = crate::time::Instant::ZERO;"),
        ["wire", "time"]
    );
    assert_eq!(uses("use crate::{rng::Rng, time::{Instant, UnixTime}};"), ["rng", "time"]);
    assert!(uses("// use crate::router::Router;").is_empty());
}
