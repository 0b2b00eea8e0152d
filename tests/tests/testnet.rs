//! `ramson testnet` as a process: what it says, what it leaves behind, and how it ends.

use ramson_tests::http::get_until;
use ramson_tests::testnet::Testnet;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_network_gets_ready_and_ends_when_its_time_is_over() {
    let mut testnet = Testnet::start(EXE, &["--for", "20s"]);
    assert_eq!(std::fs::metadata(&testnet.folder).unwrap().mode() & 0o777, 0o700);
    let ready = testnet.wait("ready");
    // One each way at least for every router, and for the proxy and the site.
    assert!(ready["tunnels"].as_u64().unwrap() >= 6 * 2 + 2 * 2, "{ready}");
    let status = testnet.wait("status");
    assert_eq!(status["ready"], 6, "{status}");
    assert_eq!(status["site_ready"], true, "{status}");
    let end = testnet.end();
    assert_eq!(end["ready"], true, "{end}");
    let seconds = end["seconds"].as_f64().unwrap();
    assert!((20.0..40.0).contains(&seconds), "{end}");
}

#[test]
fn the_example_site_is_seen_through_the_proxy() {
    let mut testnet = Testnet::start(EXE, &[]);
    testnet.wait("ready");
    let page = get_until(testnet.proxy, "http://example.i2p/", LONG);
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("It works."), "{text}");
    assert!(text.contains(".b32.i2p"), "the page knows who came: {text}");
    testnet.wait("open");
    let pid = testnet.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    testnet.end();
}

#[test]
fn a_second_signal_ends_it_at_once_and_leaves_nothing_either() {
    let mut testnet = Testnet::start_many(EXE, 40, &[]);
    testnet.wait("ready");
    testnet.signal();
    testnet.signal();
    testnet.end();
}

#[test]
fn downloads_are_measured_and_right() {
    let mut testnet = Testnet::start(EXE, &["--bench", "1 MiB"]);
    let bench = testnet.wait("bench");
    assert_eq!(bench["ok"], true, "{bench}");
    assert_eq!(bench["size_bytes"], 1 << 20);
    for key in ["cold_first_byte_ms", "cpu_seconds_per_mb"] {
        assert!(bench[key].as_f64().unwrap() > 0.0, "{bench}");
    }
    assert!(bench["goodput_bytes_per_second"]["median"].as_u64().unwrap() > 0, "{bench}");
    testnet.end();
}

#[test]
fn a_proxy_address_that_is_taken_is_told_and_nothing_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(EXE).args(["testnet", "--proxy", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with(&format!("ramson: cannot listen on {address}: ")), "{text}");
    assert!(text.contains("--proxy"), "{text}");
}
