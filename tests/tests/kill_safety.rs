//! SIGKILL at any moment loses no key: the router starts again as who it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ramson_core::rng::{Rng, Seed};
use ramson_tests::i2pd::wait;
use ramson_tests::node::Node;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const KILLS: usize = 100;
const SEED: u64 = 14;

/// A port that nobody uses now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn config() -> String {
    format!(
        "[network]\nid = 99\nallow_local = true\n[ntcp2]\nhost = \"127.0.0.1\"\nport = {}\n\
         bind = \"127.0.0.1\"\n[http_proxy]\nlisten = \"127.0.0.1:{}\"\n\
         [[server]]\nname = \"site\"\ntarget = \"127.0.0.1:9\"\nkeys = \"site.dat\"\n\
         [[client]]\nname = \"c\"\nlisten = \"127.0.0.1:{}\"\ndestination = \"x.i2p\"\n",
        free_port(),
        free_port(),
        free_port()
    )
}

/// The router's hash and the addresses of all its destinations, as far as they are there.
fn identities(data: &Path) -> (Option<String>, Vec<Option<String>>) {
    let info = Node::info(EXE, data);
    let text = |v: &serde_json::Value| v.as_str().map(str::to_owned);
    let router = info.get("router").and_then(|r| r.get("hash")).and_then(text);
    let services = info.get("services").and_then(|s| s.as_array()).cloned().unwrap_or_default();
    let mut all: Vec<_> = services.iter().map(|s| s.get("b32").and_then(text)).collect();
    all.sort();
    (router, all)
}

#[test]
fn a_hundred_kills_change_no_identity_and_it_always_starts() {
    let data = std::env::temp_dir().join(format!("ramson-kills-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data);
    let mut rng = Rng::new(&Seed::from_number(SEED));
    let mut node = Node::start(EXE, &data, &config());
    let first = wait("all identities", Duration::from_secs(20), || {
        let found = identities(&data);
        (found.0.is_some() && found.1.len() == 3 && found.1.iter().all(Option::is_some))
            .then_some(found)
    });
    for kill in 0..KILLS {
        // Mostly while it starts, sometimes while it runs.
        let most = if kill % 10 == 0 { 400_000 } else { 60_000 };
        std::thread::park_timeout(Duration::from_micros(rng.below(most)));
        node.kill();
        assert_eq!(identities(&data), first, "after kill {kill} of seed {SEED}");
        node = Node::restart(EXE, &data);
    }
    let running = wait("the router after the last kill", Duration::from_secs(20), || {
        (Node::info(EXE, &data).get("running")?.as_bool()?).then(|| identities(&data))
    });
    assert_eq!(running, first);
    assert!(node.is_running());
    drop(node);
    let _ = std::fs::remove_dir_all(&data);
}

#[test]
fn keys_are_never_half_made_whenever_the_first_start_is_killed() {
    let mut rng = Rng::new(&Seed::from_number(SEED + 1));
    let data = std::env::temp_dir().join(format!("ramson-first-{}", std::process::id()));
    for _ in 0..25 {
        let _ = std::fs::remove_dir_all(&data);
        let mut node = Node::start(EXE, &data, &config());
        std::thread::park_timeout(Duration::from_micros(rng.below(30_000)));
        node.kill();
        let before = identities(&data);
        node = Node::restart(EXE, &data);
        let after = wait("all identities", Duration::from_secs(20), || {
            let found = identities(&data);
            (found.0.is_some() && found.1.len() == 3 && found.1.iter().all(Option::is_some))
                .then_some(found)
        });
        // Whatever was there after the kill is still there.
        assert!(before.0.is_none() || before.0 == after.0);
        for old in before.1.into_iter().flatten() {
            assert!(after.1.contains(&Some(old)));
        }
        drop(node);
    }
    let _ = std::fs::remove_dir_all(&data);
}
