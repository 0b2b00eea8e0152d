//! A router can be killed at any moment: it always starts again, and is the same.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking, kills at moments of real time and tells its seed"
)]

use ramson_core::keys::RouterKeys;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::UnixTime;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, RouterInfo, Style};
use ramson_tests::ports::free;
use ramson_tests::program::{Folder, Running, output, wait_for, write_private};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
/// `RAMSON_TEST_SEED` chooses other moments.
const SEED: u64 = 20_261_123;

/// Two sites, a client and the proxy: four destinations.
fn config(reseed: Option<&Path>) -> String {
    let [ntcp2, proxy, client] = [
        free(Ipv4Addr::LOCALHOST.into()),
        free(Ipv4Addr::LOCALHOST.into()),
        free(Ipv4Addr::LOCALHOST.into()),
    ];
    let files = reseed.map(|p| format!("{:?}", p.to_str().unwrap())).unwrap_or_default();
    format!(
        r#"
[network]
id = 99
allow_local = true
[ntcp2]
host = "127.0.0.1"
bind = "127.0.0.1"
port = {}
[reseed]
files = [{files}]
[http_proxy]
listen = "{proxy}"
[[server]]
name = "site"
target = "127.0.0.1:9"
kind = "http"
[[server]]
name = "mail"
target = "127.0.0.1:9"
keys = "post.dat"
[[client]]
name = "git"
listen = "{client}"
destination = "example.i2p"
"#,
        ntcp2.port()
    )
}

fn seed() -> u64 {
    let seed = std::env::var("RAMSON_TEST_SEED").ok().and_then(|v| v.parse().ok());
    let seed = seed.unwrap_or(SEED);
    println!("RAMSON_TEST_SEED={seed}");
    seed
}

/// RouterInfos of routers that nobody will ever reach, so that the store has something to write.
fn strangers(folder: &Path, n: u16, rng: &mut Rng) {
    fs::create_dir(folder).unwrap();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for i in 0..n {
        let keys = RouterKeys::generate(rng);
        let mut options = Mapping::new();
        for (key, value) in [("caps", "OfR"), ("netId", "99"), ("router.version", "0.9.62")] {
            options.insert(key, value).unwrap();
        }
        let base64 = ramson_core::wire::base64::encode;
        let mut ntcp2 = Mapping::new();
        for (key, value) in [
            ("host", format!("127.{}.0.2", i + 1)),
            ("port", "9".into()),
            ("s", base64(&keys.ntcp2.public().0)),
            ("i", base64(&keys.ntcp2_iv)),
            ("v", "2".into()),
        ] {
            ntcp2.insert(key, &value).unwrap();
        }
        let address = RouterAddress { cost: 3, style: Style::Ntcp2, options: ntcp2 };
        let unix = UnixTime::from_secs(since.as_secs());
        let info = RouterInfo::build(&keys.identity, unix, &[address], &options, &keys.signing);
        fs::write(folder.join(format!("routerInfo-{i}.dat")), info.as_bytes()).unwrap();
    }
}

/// Everybody this router is: its own hash, and the address of each destination that has keys.
type Identity = BTreeMap<String, String>;

fn identity(info: &Value) -> Identity {
    let services = info["services"].as_array().unwrap().iter();
    let hash = info["router"]["hash"].as_str().unwrap();
    services
        .filter_map(|s| Some((s["name"].as_str().unwrap().into(), s["b32"].as_str()?.into())))
        .chain([("router".into(), hash.into())])
        .collect()
}

/// What `info --json` says of the stopped router in `data`; nothing before it had keys.
fn stored(data: &Path) -> Identity {
    let ended = output(EXE, data, &["info", "--json"]);
    if ended.code != Some(0) {
        assert!(ended.err.contains("no router has run here yet"), "{ended:?}");
        assert!(!data.join("keys/router.keys").exists(), "{ended:?}");
        return Identity::new();
    }
    identity(&serde_json::from_str(&ended.out).unwrap())
}

/// Nobody who was known is anybody else now.
fn assert_kept(known: &mut Identity, now: Identity, moment: &str) {
    for (name, was) in &*known {
        assert_eq!(now.get(name), Some(was), "{name}, {moment}");
    }
    known.extend(now);
}

/// Every file under `folder` is whole.
fn assert_whole(folder: &Path, hash: Option<&String>) -> usize {
    if let Ok(bytes) = fs::read(folder.join("router.info")) {
        let info = RouterInfo::decode(&bytes).unwrap();
        info.verify().unwrap();
        let own = ramson_core::wire::base64::encode(info.hash().as_bytes());
        assert_eq!(Some(&own), hash);
    }
    let mut files = 0;
    for dir in fs::read_dir(folder.join("netDb")).into_iter().flatten().flatten() {
        for file in fs::read_dir(dir.path()).unwrap().flatten() {
            if !file.file_name().to_str().unwrap().starts_with(".tmp.") {
                RouterInfo::decode(&fs::read(file.path()).unwrap()).unwrap();
                files += 1;
            }
        }
    }
    files
}

/// Starts the router and kills it after `moment`; or asks it to stop then, and kills it `later`,
/// while it saves what it knows.
fn kill_after(data: &Path, moment: Duration, later: Option<Duration>) {
    let begun = Instant::now();
    let mut router = Running::spawn(EXE, data);
    if let Some(rest) = moment.checked_sub(begun.elapsed()) {
        std::thread::sleep(rest);
    }
    assert!(router.is_running(), "it ended by itself within {moment:?}:\n{}", router.log());
    if let Some(later) = later {
        router.signal("-TERM");
        std::thread::sleep(later);
    }
    router.kill();
}

/// Milliseconds from 0 to `max`.
fn moment(rng: &mut Rng, max: u16) -> Duration {
    Duration::from_millis((u16::from_le_bytes(rng.bytes()) % (max + 1)).into())
}

#[test]
fn a_router_killed_a_hundred_times_is_the_same() {
    let mut rng = Rng::new(&Seed::from_number(seed()));
    let folder = Folder::new("kill-hundred");
    let netdb = folder.join("others");
    strangers(&netdb, 60, &mut rng);
    let data = folder.data("data", &config(Some(&netdb)));
    let mut known = Identity::new();
    for i in 0..100 {
        let at = moment(&mut rng, if i % 10 == 9 { 500 } else { 150 });
        let later = (i % 4 == 3).then(|| moment(&mut rng, 25));
        kill_after(&data, at, later);
        assert_kept(&mut known, stored(&data), &format!("kill {i} after {at:?} and {later:?}"));
        assert_whole(&data, known.get("router"));
    }
    let (mut router, info) = Running::start(EXE, &data);
    assert_kept(&mut known, identity(&info), "running again");
    assert_eq!(known.len(), 5, "{known:?}");
    router.signal("-TERM");
    router.end(Duration::from_secs(10));
    assert_kept(&mut known, stored(&data), "ended");
    assert_eq!(assert_whole(&data, known.get("router")), 60);
    assert!(!router.log().contains(" ERROR "));
}

#[test]
fn a_first_start_that_is_killed_leaves_nobody_or_somebody_for_good() {
    let mut rng = Rng::new(&Seed::from_number(seed() + 1));
    let folder = Folder::new("kill-first");
    let mut before_keys = 0;
    for i in 0..25 {
        let data = folder.data(&i.to_string(), &config(None));
        let mut known = Identity::new();
        for attempt in 0..3 {
            let moment = moment(&mut rng, 40);
            kill_after(&data, moment, None);
            let now = stored(&data);
            before_keys += usize::from(now.is_empty());
            assert_kept(&mut known, now, &format!("folder {i}, kill {attempt} after {moment:?}"));
        }
        if i % 5 == 0 {
            let (_router, info) = Running::start(EXE, &data);
            assert_kept(&mut known, identity(&info), &format!("folder {i}, running"));
            assert_eq!(known.len(), 5);
        }
    }
    println!("{before_keys} of 75 were killed before they had keys");
}

#[test]
fn what_a_crash_leaves_does_no_harm() {
    let folder = Folder::new("kill-leftovers");
    let data = folder.data("data", &config(None));
    let (router, info) = Running::start(EXE, &data);
    let known = identity(&info);
    router.kill();
    // A lock that names somebody who lives, a socket nobody listens on, files that were not done.
    fs::write(data.join("lock"), format!("{}\n", std::process::id())).unwrap();
    let _ = fs::remove_file(data.join("control.sock"));
    drop(UnixListener::bind(data.join("control.sock")).unwrap());
    let keys = fs::read(data.join("keys/router.keys")).unwrap();
    let torn = &keys[..keys.len() / 2];
    for (name, bytes) in [
        ("keys/.tmp.router.keys", torn),
        ("keys/.tmp.site.dat", &[]),
        (".tmp.router.info", b"torn"),
        (".tmp.ntcp2.port", b"6"),
        ("router.info", b""),
    ] {
        write_private(&data.join(name), bytes);
    }
    fs::create_dir_all(data.join("netDb/rA")).unwrap();
    write_private(&data.join("netDb/rA/.tmp.routerInfo-A.dat"), torn);
    assert_eq!(stored(&data), known);
    let (router, info) = Running::start(EXE, &data);
    assert_eq!(identity(&info), known);
    let left = |dir: &str| {
        let names = fs::read_dir(data.join(dir)).unwrap().flatten().map(|e| e.file_name());
        names.filter(|n| n.to_str().unwrap().starts_with(".tmp.")).count()
    };
    assert_eq!(left("keys") + left("netDb/rA"), 0);
    wait_for(Duration::from_secs(5), "a whole router.info", || {
        RouterInfo::decode(&fs::read(data.join("router.info")).ok()?).ok()
    });
    assert!(!router.log().contains(" ERROR "));
}

#[test]
fn sigterm_ends_it_in_two_seconds_with_its_state_saved() {
    let folder = Folder::new("kill-sigterm");
    let mut rng = Rng::new(&Seed::from_number(7));
    let netdb = folder.join("others");
    strangers(&netdb, 12, &mut rng);
    let data = folder.data("data", &config(Some(&netdb)));
    for signal in ["-TERM", "-INT"] {
        let (mut router, info) = Running::start(EXE, &data);
        let known = identity(&info);
        router.signal(signal);
        let (code, took) = router.end(Duration::from_secs(10));
        assert_eq!(code, Some(0), "{signal}");
        assert!(took < Duration::from_secs(2), "{signal}: {took:?}");
        assert!(!data.join("control.sock").exists());
        assert_eq!(stored(&data), known);
        assert_eq!(assert_whole(&data, known.get("router")), 12);
    }
    // What was saved is enough without the files it began with.
    fs::remove_dir_all(&netdb).unwrap();
    let (router, info) = Running::start(EXE, &data);
    assert_eq!(info["netdb"]["routers"], 12, "{}", router.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = Folder::new("kill-twice");
    let data = folder.data("data", &config(None));
    let (mut router, info) = Running::start(EXE, &data);
    router.signal("-TERM");
    std::thread::sleep(Duration::from_millis(30));
    router.signal("-TERM");
    let (code, took) = router.end(Duration::from_secs(10));
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_millis(400), "{took:?}");
    assert_eq!(stored(&data), identity(&info));
}
