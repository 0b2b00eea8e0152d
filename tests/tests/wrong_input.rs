//! Wrong input of every kind: a clear message, an exit code that tells, and nothing lost.
//!
//! 2 is something for the user to fix, 1 is the machine.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits for a process in real time"
)]

use ramson_core::keys::DestinationKeys;
use ramson_core::rng::{Rng, Seed};
use ramson_tests::http;
use ramson_tests::ports::free;
use ramson_tests::program::{Ended, Folder, Running, answer_to, output, wait_for, write_private};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const SITE: &str = "[[server]]\nname = \"site\"\ntarget = \"127.0.0.1:9\"\n";
const NO_PROXY: &str = "[http_proxy]\nlisten = \"off\"\n";

/// Every file below a folder with its bytes, apart from those that say that somebody was here.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() && path.file_name().unwrap() != "lock" {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A line of what was said begins with `start`.
fn says(ended: &Ended, start: &str) -> bool {
    ended.err.lines().any(|l| l.starts_with(start))
}

#[test]
fn a_wrong_value_of_each_section_names_file_line_key_and_what_is_allowed() {
    let folder = Folder::new("wrong-config");
    let table: &[(&str, usize, &str, &str)] = &[
        ("[network]\nid = 0", 2, "network.id", "from 1 to 255"),
        ("[network]\nallow_local = 1", 2, "network.allow_local", "true or false"),
        ("[network]\nname = \"x\"", 2, "network.name", "id, allow_local"),
        ("[ntcp2]\nhost = \"example.org\"", 2, "ntcp2.host", "an IPv4 or IPv6 address"),
        ("[ntcp2]\nhost = \"10.0.0.1\"", 2, "ntcp2.host", "a public address"),
        ("[ntcp2]\n\nport = 70000", 3, "ntcp2.port", "from 1 to 65535"),
        ("[ntcp2]\nbind = \"*\"", 2, "ntcp2.bind", "an IPv4 or IPv6 address"),
        ("[ntcp2]\nenabled = 1", 2, "ntcp2.enabled", "true or false"),
        ("[ssu2]\nenabled = \"yes\"", 2, "ssu2.enabled", "true or false"),
        ("[ssu2]\nhost = \"10.0.0.1\"", 2, "ssu2.host", "a public address"),
        ("[ssu2]\nport = 0", 2, "ssu2.port", "from 1 to 65535"),
        ("[ssu2]\nbind = \"*\"", 2, "ssu2.bind", "an IPv4 or IPv6 address"),
        ("[ssu2]\npublish = 1", 2, "ssu2.publish", "true or false"),
        ("[ssu2]\nmtu = 1279", 2, "ssu2.mtu", "a whole number from 1280 to 1500"),
        ("[ssu2]\nmtu = \"1500\"", 2, "ssu2.mtu", "a whole number from 1280 to 1500"),
        (
            "[ssu2]\nintroducer = true",
            2,
            "ssu2.introducer",
            "enabled, host, port, bind, publish, mtu",
        ),
        ("[reseed]\nfiles = \"netDb\"", 2, "reseed.files", "a list of texts"),
        ("[reseed]\nurls = []", 2, "reseed.urls", "files"),
        ("[limits]\nbandwidth_in = \"fast\"", 2, "limits.bandwidth_in", "512 KiB"),
        ("[limits]\nshare = 101", 2, "limits.share", "from 0 to 100"),
        ("[limits]\ntransit_tunnels = -1", 2, "limits.transit_tunnels", "from 0 to 50000"),
        ("[tunnels.client]\nlength = 8", 2, "tunnels.client.length", "from 0 to 7"),
        ("[tunnels.client]\nquantity = 0", 2, "tunnels.client.quantity", "from 1 to 16"),
        ("[tunnels.exploratory]\nlen = 3", 2, "tunnels.exploratory.len", "length, quantity"),
        ("[tunnels]\nserver = 1", 2, "tunnels.server", "exploratory, client"),
        ("[http_proxy]\nlisten = 4444", 2, "http_proxy.listen", "127.0.0.1:4444"),
        ("[http_proxy]\nlisten = \"localhost\"", 2, "http_proxy.listen", "127.0.0.1:4444"),
        ("[[server]]\nname = \"a\"", 1, "server.target", "an address with a port"),
        ("[[server]]\ntarget = \"127.0.0.1:80\"\nkeys = \"../x\"", 3, "server.keys", "a file name"),
        ("[[server]]\ntarget = \"127.0.0.1:80\"\nkeys = \"router.keys\"", 3, "server.keys", "not"),
        ("[[server]]\ntarget = \"127.0.0.1:80\"\nkind = \"udp\"", 3, "server.kind", "\"http\""),
        ("[server]\ntarget = \"127.0.0.1:80\"", 1, "server", "[[server]]"),
        ("[[client]]\ndestination = \"a.i2p\"", 1, "client.listen", "an address with a port"),
        (
            "[[client]]\nlisten = \"127.0.0.1:1\"\ndestination = \"a.com\"",
            3,
            "client.destination",
            ".i2p",
        ),
        (
            "[[client]]\nlisten = \"127.0.0.1:1\"\ndestination = \"example.b32.i2p:9418\"",
            3,
            "client.destination",
            ".b32.i2p",
        ),
        ("[log]\nlevel = \"loud\"", 2, "log.level", "\"trace\""),
        ("[nothing]\na = 1", 1, "nothing", "network, ntcp2, ssu2"),
    ];
    let data = folder.join("data");
    for (i, (text, line, key, allowed)) in table.iter().enumerate() {
        let config = folder.join(&format!("{i}.toml"));
        fs::write(&config, text).unwrap();
        let start = format!("{}:{line}: {key}: ", config.display());
        for verb in ["run", "check-config"] {
            let ended = output(EXE, &data, &[verb, "--config", config.to_str().unwrap()]);
            assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{text}: {ended:?}");
            let found = ended.err.lines().find(|l| l.starts_with(&start));
            let found = found.unwrap_or_else(|| panic!("{text}: {}", ended.err));
            assert!(found.contains("allowed: ") && found.contains(allowed), "{text}: {found}");
        }
    }
    assert!(!data.exists(), "nothing is made by a wrong configuration");
}

#[test]
fn a_configuration_that_is_not_a_text_is_2() {
    let folder = Folder::new("wrong-text");
    let data = folder.join("data");
    for (name, bytes) in [("binary", &b"\xff\xfe[log]"[..]), ("cut", b"[log\nlevel")] {
        let config = folder.join(name);
        fs::write(&config, bytes).unwrap();
        let ended = output(EXE, &data, &["--config", config.to_str().unwrap()]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(says(&ended, &format!("{}:", config.display())), "{ended:?}");
    }
    let ended = output(EXE, &data, &["--config", folder.path().to_str().unwrap()]);
    assert!(ended.code == Some(2) && ended.err.contains("cannot read"), "{ended:?}");
}

/// A data folder with the keys of a router and of a site.
fn with_keys(folder: &Folder) -> PathBuf {
    let data = folder.data("data", &format!("{NO_PROXY}{SITE}"));
    let (mut router, _) = Running::start(EXE, &data);
    router.signal("-TERM");
    router.end(Duration::from_secs(10));
    data
}

#[test]
fn damaged_keys_are_named_left_alone_and_never_replaced() {
    let folder = Folder::new("wrong-keys");
    let data = with_keys(&folder);
    let before = output(EXE, &data, &["info", "--json"]);
    assert_eq!(before.code, Some(0), "{before:?}");
    for name in ["router.keys", "site.dat"] {
        let file = data.join("keys").join(name);
        let good = fs::read(&file).unwrap();
        let mut damaged = vec![
            (Vec::new(), "empty".to_owned()),
            (vec![0; good.len()], "zeros".to_owned()),
            (vec![0x5a; 100_000], "something else".to_owned()),
            ([&good[..], b"\n"].concat(), "one byte more".to_owned()),
            ([&good[..good.len() - 60], &[0; 60]].concat(), "a torn write".to_owned()),
        ];
        for cut in [1, 8, 32, 391, good.len() - 32, good.len() - 1] {
            damaged.push((good[..cut].to_vec(), format!("cut at {cut}")));
        }
        for at in [0, 20, 60, 200, 300, 370, 384, 386, 388, 390, 400, 430, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            damaged.push((bytes, format!("byte {at} changed")));
        }
        for (bytes, how) in damaged {
            write_private(&file, &bytes);
            let all = files(&data);
            for args in [&["run"][..], &["info"], &["info", "--json"]] {
                let ended = output(EXE, &data, args);
                let case = format!("{name}, {how}, {args:?}: {ended:?}");
                assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{case}");
                assert!(says(&ended, &format!("ramson: {}: ", file.display())), "{case}");
            }
            assert!(files(&data) == all, "{name}, {how}: files changed");
        }
        write_private(&file, &good);
    }
    let after = output(EXE, &data, &["info", "--json"]);
    assert_eq!(after, before);
}

#[test]
fn keys_that_cannot_be_read_are_named_and_never_replaced() {
    let folder = Folder::new("wrong-keys-modes");
    let data = with_keys(&folder);
    for name in ["router.keys", "site.dat"] {
        let file = data.join("keys").join(name);
        let all = files(&data);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let ended = output(EXE, &data, &["run"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(says(&ended, &format!("ramson: {}: ", file.display())), "{ended:?}");
        assert!(ended.err.contains("chmod 600"), "{ended:?}");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(files(&data), all);
        // A folder in their place is not "no keys" either.
        let aside = folder.join("aside");
        fs::rename(&file, &aside).unwrap();
        fs::create_dir(&file).unwrap();
        let ended = output(EXE, &data, &["run"]);
        assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
        assert!(says(&ended, &format!("ramson: {}: ", file.display())), "{ended:?}");
        fs::remove_dir(&file).unwrap();
        fs::rename(&aside, &file).unwrap();
    }
}

#[test]
fn a_data_folder_that_is_none_is_2() {
    let folder = Folder::new("wrong-folder");
    let file = folder.join("file");
    fs::write(&file, "mine").unwrap();
    for (data, words) in
        [(file.clone(), "not a directory"), (file.join("below"), "not a directory")]
    {
        for verb in ["run", "info"] {
            let ended = output(EXE, &data, &[verb]);
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(
                says(&ended, &format!("ramson: data folder {}: ", data.display())),
                "{ended:?}"
            );
            assert!(ended.err.contains(words), "{ended:?}");
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let ended = output(EXE, &folder.join("none"), &["info"]);
    assert!(ended.code == Some(2) && !folder.join("none").exists(), "{ended:?}");
    for mode in [0o000, 0o100, 0o500, 0o750, 0o755, 0o777] {
        let data = folder.data("modes", NO_PROXY);
        fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
        for verb in ["run", "info"] {
            let ended = output(EXE, &data, &[verb]);
            assert_eq!(ended.code, Some(2), "{mode:o}: {ended:?}");
            assert!(ended.err.contains("chmod 700"), "{mode:o}: {ended:?}");
        }
        fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        assert_eq!(files(&data).len(), 1, "{mode:o}: nothing was made in it");
    }
}

#[test]
fn a_port_in_use_names_address_and_key_and_is_2() {
    let folder = Folder::new("wrong-port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port();
    for (i, (text, key)) in [
        (format!("{NO_PROXY}[ntcp2]\nbind = \"127.0.0.1\"\nport = {port}\n"), "ntcp2.port"),
        (format!("[http_proxy]\nlisten = \"{address}\"\n"), "http_proxy.listen"),
        (
            format!(
                "{NO_PROXY}[[client]]\nname = \"git\"\nlisten = \"{address}\"\ndestination = \"a.i2p\"\n"
            ),
            "client.listen of git",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let data = folder.data(&i.to_string(), &text);
        let ended = output(EXE, &data, &["run"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let start = format!("ramson: cannot listen on {address} for {key}: ");
        assert!(says(&ended, &start), "{ended:?}");
    }
    // One that is nobody's here.
    let text = format!("{NO_PROXY}[ntcp2]\nbind = \"192.0.2.1\"\nport = {port}\n");
    let ended = output(EXE, &folder.data("foreign", &text), &["run"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(says(&ended, &format!("ramson: cannot listen on 192.0.2.1:{port} ")), "{ended:?}");
}

#[test]
fn reseed_files_that_are_not_there_are_2_and_named() {
    let folder = Folder::new("wrong-reseed");
    let (missing, empty) = (folder.join("netDb"), folder.join("empty"));
    fs::create_dir(&empty).unwrap();
    let garbage = folder.join("garbage.zip");
    fs::write(&garbage, [0x5a; 10_000]).unwrap();
    for path in [&missing, &empty, &garbage] {
        let text = format!("{NO_PROXY}[reseed]\nfiles = [{:?}]\n", path.to_str().unwrap());
        let data = folder.data("data", &text);
        let ended = output(EXE, &data, &["run"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let start = format!("ramson: reseed.files: {}: ", path.display());
        assert!(says(&ended, &start) && ended.err.contains("allowed: "), "{ended:?}");
    }
}

fn listening(folder: &Folder, more: &str) -> (PathBuf, SocketAddr, SocketAddr) {
    let (ntcp2, proxy) = (free(Ipv4Addr::LOCALHOST.into()), free(Ipv4Addr::LOCALHOST.into()));
    let text = format!(
        "[network]\nid = 99\nallow_local = true\n[ntcp2]\nhost = \"127.0.0.1\"\nbind = \"127.0.0.1\"\nport = {}\n[http_proxy]\nlisten = \"{proxy}\"\n{more}",
        ntcp2.port()
    );
    (folder.data("data", &text), ntcp2, proxy)
}

#[test]
fn garbage_on_the_ntcp2_port_is_never_answered_and_changes_nothing() {
    const SEED: u64 = 99;
    println!("seed {SEED}");
    let mut rng = Rng::new(&Seed::from_number(SEED));
    let folder = Folder::new("wrong-garbage");
    let (data, ntcp2, _) = listening(&folder, SITE);
    let (mut router, first) = Running::start(EXE, &data);
    let quiet = router.log();

    // Those that say nothing, or not enough, and stay.
    let mut silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(ntcp2).unwrap()).collect();
    let mut half: Vec<TcpStream> = (0..100)
        .map(|i| {
            let mut socket = TcpStream::connect(ntcp2).unwrap();
            socket.write_all(&rng.bytes::<63>()[..i % 63 + 1]).unwrap();
            if i % 3 == 0 {
                socket.shutdown(Shutdown::Write).unwrap();
            }
            socket
        })
        .collect();
    // Those that say too much: sixteen at a time, since a probe is left to wonder for a while.
    let probes: Vec<Vec<u8>> = (0..400_usize)
        .map(|i| {
            let len = [64, 65, 200, 1000, 8000][i % 5] + i % 7;
            let mut bytes: Vec<u8> =
                (0..len.div_ceil(64)).flat_map(|_| rng.bytes::<64>()).collect();
            bytes.truncate(len);
            match i % 20 {
                0 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20),
                1 => vec![0; len],
                2 => vec![0xff; len],
                3 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(30),
                _ => bytes,
            }
        })
        .collect();
    std::thread::scope(|scope| {
        for part in probes.chunks(25) {
            scope.spawn(|| {
                for (i, probe) in part.iter().enumerate() {
                    let pieces: Vec<&[u8]> =
                        if i % 4 == 0 { probe.chunks(33).collect() } else { vec![probe] };
                    let answer = answer_to(ntcp2, &pieces, i % 2 == 0, Duration::from_millis(150));
                    assert!(answer.is_empty(), "{} bytes came back", answer.len());
                }
            });
        }
        let start = Instant::now();
        for _ in 0..10 {
            let info = router.info().expect("an answer while garbage comes");
            assert_eq!(info["router"]["hash"], first["router"]["hash"]);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
    for socket in silent.iter_mut().chain(&mut half) {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(!matches!(socket.read(&mut [0; 64]), Ok(1..)), "bytes came back");
    }
    drop((silent, half));
    wait_for(Duration::from_secs(5), "the strangers forgotten", || {
        let peers = &router.info()?["peers"];
        (peers["pending"] == 0 && peers["inbound"] == 0).then_some(())
    });
    assert!(router.is_running());
    let log = router.log();
    let news: Vec<&str> = log.lines().skip(quiet.lines().count()).collect();
    assert!(news.is_empty(), "strangers fill the log: {news:?}");
    let (rss, _) = ramson_tests::node::usage(router.pid());
    assert!(rss < 64 << 10, "{rss} KiB");
    router.signal("-TERM");
    assert_eq!(router.end(Duration::from_secs(5)).0, Some(0));
}

#[test]
fn bad_lines_of_hosts_txt_are_told_and_the_good_names_work() {
    let folder = Folder::new("wrong-hosts");
    let (data, _, proxy) = listening(&folder, "");
    let keys = DestinationKeys::generate(&mut Rng::new(&Seed::from_number(3)));
    let good = keys.identity.to_base64();
    let hosts = [
        "# names".to_owned(),
        format!("first.i2p={good}"),
        "no equals sign".to_owned(),
        format!("example.com={good}"),
        "bad.i2p=AAAA".to_owned(),
        String::new(),
        format!("-x.i2p={good}"),
        format!("cut.i2p={}", good.get(9..).unwrap()),
        "\u{1b}[2J\u{fc}=\0".to_owned(),
        format!("long.i2p={}", "A".repeat(10_000)),
        format!("last.i2p={good}\r"),
    ];
    let bytes = [hosts.join("\n").as_bytes(), b"\n\xff\xfe\xfd"].concat();
    fs::write(data.join("hosts.txt"), &bytes).unwrap();
    let (router, info) = Running::start(EXE, &data);
    assert_eq!(info["names"], 2);
    let log = router.log();
    for line in [3, 4, 5, 7, 8, 9, 10, 12] {
        let told = log
            .lines()
            .filter(|l| l.contains(" WARN ") && l.contains(&format!(" hosts.txt:{line}: ")));
        assert_eq!(told.count(), 1, "line {line} in\n{log}");
    }
    for line in [1, 2, 6, 11] {
        assert!(!log.contains(&format!(" hosts.txt:{line}: ")), "line {line} in\n{log}");
    }
    assert!(!log.contains('\u{1b}'));
    // An unknown name is refused at once; a known one is looked for.
    let patience = Duration::from_millis(700);
    let unknown = http::request(proxy, "GET", "http://bad.i2p/", &[], patience).unwrap();
    assert!(unknown.status >= 400);
    let page = String::from_utf8_lossy(&unknown.body).into_owned();
    assert!(page.contains("bad.i2p"), "{page}");
    for name in ["first.i2p", "last.i2p"] {
        match http::request(proxy, "GET", &format!("http://{name}/"), &[], patience) {
            // Nobody answers: there is no network.
            Err(_) => {}
            Ok(answer) => assert_ne!(answer.status, unknown.status, "{name}"),
        }
    }
    assert_eq!(fs::read(data.join("hosts.txt")).unwrap(), bytes, "the user's own file");
}

#[test]
fn a_second_router_in_a_folder_leaves_the_first_alone() {
    let folder = Folder::new("wrong-second");
    let (data, ..) = listening(&folder, SITE);
    let (mut router, info) = Running::start(EXE, &data);
    let all = files(&data.join("keys"));
    for _ in 0..3 {
        let ended = output(EXE, &data, &["run"]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let start = format!(
            "ramson: data folder {}: in use by another router (process {})",
            data.display(),
            router.pid()
        );
        assert!(says(&ended, &start), "{ended:?}");
    }
    assert!(router.is_running());
    let again = router.info().unwrap();
    assert_eq!(again["services"], info["services"]);
    assert_eq!(files(&data.join("keys")), all);
    let ended = output(EXE, &data, &["info", "--json"]);
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &told["running"]), (Some(0), &Value::Bool(true)));
}

#[test]
fn a_partial_line_on_the_control_socket_hangs_nobody() {
    let folder = Folder::new("wrong-control");
    let (data, ..) = listening(&folder, SITE);
    let (router, info) = Running::start(EXE, &data);
    let hash = info["router"]["hash"].as_str().unwrap();
    let socket = || UnixStream::connect(data.join("control.sock")).unwrap();
    let mut slow = socket();
    slow.write_all(b"inf").unwrap();
    let mut garbage = socket();
    let _ = garbage.write_all(&[b'x'; 100_000]);
    assert_eq!(router.info().unwrap()["router"]["hash"], *hash);
    slow.write_all(b"o\n").unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(hash), "{answer}");
}
