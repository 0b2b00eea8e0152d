use super::*;
use ramson_core::config::{Client, Server, ServerKind, Tunnels};
use std::net::SocketAddr;

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse(text, Path::new("/etc/ramson.toml"))
        .map_err(|e| e.to_string().replace("/etc/ramson.toml", "F"))
}

/// Everything at once.
const FULL: &str = r#"
[network]
id = 99
allow_local = true

[ntcp2]
enabled = false
host = "127.0.0.1"
port = 12345
bind = "127.0.0.2"
publish = false

[ssu2]
enabled = false
host = "127.0.0.3"
port = 12346
bind = "127.0.0.4"
publish = false
mtu = 1280

[netdb]
floodfill = "on"

[reseed]
files = ["lab/netDb", "/abs/reseed.zip"]

[limits]
bandwidth_in = "4 MiB"
bandwidth_out = 2_000_000
share = "50 %"
transit_tunnels = 0

[tunnels]
exploratory = { length = 2, length_variance = 1, quantity = 3 }
client.length = 1

[http_proxy]
listen = "localhost:8118"
quantity = 5

[[server]]
name = "site"
target = "127.0.0.1:8080"
kind = "http"
keys = "old-site"
length = 2
quantity = 4

[[server]]
target = "[::1]:22"

[[client]]
name = "irc"
listen = "127.0.0.1:6668"
destination = "irc.example.i2p:6667"

[[client]]
name = "git"
listen = "127.0.0.1:9418"
destination = "git.example.i2p"
length = 3
quantity = 1

[record]
enabled = true
limit = "1.5 GiB"

[log]
level = "debug"
"#;

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse(""), Ok(Settings::default()));
    let settings = Settings::default();
    assert_eq!(settings.router.network.id, 2);
    assert_eq!(settings.router.http_proxy.unwrap().listen.to_string(), "127.0.0.1:4444");
}

#[test]
fn every_key_reaches_its_place() {
    let s = parse(FULL).unwrap();
    let r = &s.router;
    assert_eq!((r.network.id, r.network.allow_local), (99, true));
    assert_eq!(r.ntcp2.host, Some([127, 0, 0, 1].into()));
    assert_eq!(r.ntcp2.bind, Some([127, 0, 0, 2].into()));
    assert_eq!((r.ntcp2.port, r.ntcp2.publish), (Some(12345), false));
    assert_eq!(r.ssu2.host, Some([127, 0, 0, 3].into()));
    assert_eq!(r.ssu2.bind, Some([127, 0, 0, 4].into()));
    assert_eq!((r.ssu2.port, r.ssu2.publish, r.ssu2.mtu), (Some(12346), false, 1280));
    assert_eq!((r.ntcp2.enabled, r.ssu2.enabled), (false, false));
    assert_eq!(s.reseed, [PathBuf::from("/etc/lab/netDb"), PathBuf::from("/abs/reseed.zip")]);
    assert_eq!((r.limits.bandwidth_in, r.limits.bandwidth_out), (4 << 20, 2_000_000));
    assert_eq!((r.limits.share, r.limits.transit_tunnels), (50, 0));
    let tunnels = |length, length_variance, quantity| {
        let mut t = Tunnels::default();
        (t.length, t.length_variance, t.quantity) = (length, length_variance, quantity);
        t
    };
    assert_eq!((r.exploratory, r.client), (tunnels(2, 1, 3), tunnels(1, 0, 2)));
    let proxy = r.http_proxy.as_ref().unwrap();
    assert_eq!(proxy.listen, SocketAddr::from(([127, 0, 0, 1], 8118)));
    assert_eq!(proxy.tunnels, tunnels(1, 0, 5));
    let mut site = Server::new("site", "127.0.0.1:8080".parse().unwrap());
    (site.kind, site.keys, site.tunnels) = (ServerKind::Http, "old-site".into(), tunnels(2, 0, 4));
    let mut ssh = Server::new("--1-22", "[::1]:22".parse().unwrap());
    ssh.tunnels = tunnels(1, 0, 2);
    assert_eq!(r.servers, [site, ssh]);
    let mut irc = Client::new("irc", "127.0.0.1:6668".parse().unwrap(), "irc.example.i2p:6667");
    irc.tunnels = tunnels(1, 0, 2);
    let mut git = Client::new("git", "127.0.0.1:9418".parse().unwrap(), "git.example.i2p");
    git.tunnels = tunnels(3, 0, 1);
    assert_eq!(r.clients, [irc, git]);
    assert_eq!((s.record.enabled, s.record.limit), (true, 3 << 29));
    assert_eq!(s.log_level, LevelFilter::Debug);
}

#[test]
fn what_is_printed_reads_back_as_itself() {
    for text in [
        "",
        FULL,
        "[http_proxy]\nlisten = \"off\"",
        "[reseed]\nfiles = ['with \"quotes\" and \\ and é']",
        "[ntcp2]\nhost = \"2001:db8::1\"",
        "[ssu2]\nhost = \"2001:db8::1\"\nbind = \"::\"\nmtu = 1400",
    ] {
        let settings = parse(text).unwrap();
        let printed = settings.to_toml();
        assert_eq!(parse(&printed).as_ref(), Ok(&settings), "{printed}");
        assert_eq!(parse(&printed).unwrap().to_toml(), printed);
    }
}

#[test]
fn the_examples_in_what_is_printed_are_valid() {
    let printed = Settings::default().to_toml();
    for word in ["# bytes per second", "# per cent", "\"off\" for no proxy"] {
        assert!(printed.contains(word), "{word}: {printed}");
    }
    let line = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => format!("{example}\n"),
        _ => format!("{line}\n"),
    };
    let router = parse(&printed.lines().map(line).collect::<String>()).unwrap().router;
    assert_eq!((router.servers.len(), router.clients.len()), (1, 1));
    assert_eq!(router.servers[0].kind, ServerKind::Http);
    assert_eq!((router.ntcp2.host.is_some(), router.ntcp2.port), (true, Some(14567)));
    // What is there already needs no example.
    let printed = parse(FULL).unwrap().to_toml();
    assert!(!printed.contains("#[["), "{printed}");
}

#[test]
fn no_proxy_can_be_asked_for() {
    assert_eq!(parse("http_proxy.listen = \"off\"").unwrap().router.http_proxy, None);
}

#[test]
fn what_is_wrong_names_file_line_key_and_what_is_allowed() {
    for (text, want) in [
        // Unknown keys, at every depth.
        (
            "x = 1",
            "F:1: x: unknown key; allowed: network, ntcp2, ssu2, netdb, reseed, limits, tunnels, http_proxy, server, client, record, log",
        ),
        (
            "\n[ntcp2]\nprot = 1",
            "F:3: ntcp2.prot: unknown key; allowed: enabled, host, port, bind, publish",
        ),
        (
            "[ssu2]\nintroducers = true",
            "F:2: ssu2.introducers: unknown key; allowed: enabled, host, port, bind, publish, mtu",
        ),
        (
            "[netdb]\nfloodfill = true",
            "F:2: netdb.floodfill: found a boolean; allowed: \"auto\", \"on\" or \"off\"",
        ),
        (
            "[netdb]\nfloodfill = \"yes\"",
            "F:2: netdb.floodfill: \"yes\": not allowed; allowed: \"auto\", \"on\" or \"off\"",
        ),
        (
            "[tunnels.client]\nlengths = 1",
            "F:2: tunnels.client.lengths: unknown key; allowed: length, quantity, length_variance",
        ),
        ("[tunnels.transit]", "F:1: tunnels.transit: unknown key; allowed: exploratory, client"),
        (
            "[[server]]\ntarget = \"1.2.3.4:5\"\nport = 1",
            "F:3: server.port: unknown key; allowed: name, target, kind, keys, length, quantity",
        ),
        (
            "[[client]]\nlisten = \"1.2.3.4:5\"\ndestination = \"x.i2p\"\nlength = 8",
            "F:4: client.length: 8: not allowed; allowed: a whole number from 0 to 7",
        ),
        (
            "[[client]]\nlisten = \"1.2.3.4:5\"\ndestination = \"x.i2p\"\nkeys = \"a\"",
            "F:4: client.keys: unknown key; allowed: name, listen, destination, length, quantity",
        ),
        // Wrong types.
        ("ntcp2 = 3", "F:1: ntcp2: found an integer; allowed: a section [ntcp2]"),
        (
            "[server]\nname = \"a\"",
            "F:1: server: found a table; allowed: sections [[server]], in double brackets, one for each",
        ),
        (
            "client = [1]",
            "F:1: client: found an integer; allowed: sections [[client]], in double brackets, one for each",
        ),
        (
            "[ntcp2]\nport = \"80\"",
            "F:2: ntcp2.port: found a string; allowed: a whole number from 1 to 65535",
        ),
        (
            "[network]\nallow_local = 1",
            "F:2: network.allow_local: found an integer; allowed: true or false",
        ),
        (
            "[reseed]\nfiles = \"x\"",
            "F:2: reseed.files: found a string; allowed: a list of texts, such as [\"a\", \"b\"]",
        ),
        (
            "[reseed]\nfiles = [\"x\", 3]",
            "F:2: reseed.files: [\"x\", 3]: not allowed; allowed: a list of texts, such as [\"a\", \"b\"]",
        ),
        // Values out of range.
        (
            "[network]\nid = 0",
            "F:2: network.id: 0: not allowed; allowed: a whole number from 1 to 255",
        ),
        (
            "[network]\nid = 256",
            "F:2: network.id: 256: not allowed; allowed: a whole number from 1 to 255",
        ),
        (
            "[ntcp2]\nport = -1",
            "F:2: ntcp2.port: -1: not allowed; allowed: a whole number from 1 to 65535",
        ),
        (
            "[ntcp2]\nport = 0x1_0000",
            "F:2: ntcp2.port: 0x1_0000: not allowed; allowed: a whole number from 1 to 65535",
        ),
        (
            "[ntcp2]\nhost = \"example.org\"",
            "F:2: ntcp2.host: \"example.org\": not allowed; allowed: an IPv4 or IPv6 address, such as \"203.0.113.5\"",
        ),
        (
            "[ntcp2]\nhost = \"0.0.0.0\"",
            "F:2: ntcp2.host: 0.0.0.0 is nobody's address; allowed: this machine's",
        ),
        (
            "[ntcp2]\nhost = \"192.168.1.2\"",
            "F:2: ntcp2.host: 192.168.1.2 cannot be reached from the internet; allowed: a public address, or any with network.allow_local = true",
        ),
        ("[ntcp2]\nbind = \"224.0.0.1\"", "F:2: ntcp2.bind: allowed: an address of this machine"),
        ("[ssu2]\nenabled = \"no\"", "F:2: ssu2.enabled: found a string; allowed: true or false"),
        (
            "[ssu2]\nhost = \"::\"",
            "F:2: ssu2.host: :: is nobody's address; allowed: this machine's",
        ),
        (
            "[ssu2]\nport = 0",
            "F:2: ssu2.port: 0: not allowed; allowed: a whole number from 1 to 65535",
        ),
        ("[ssu2]\nbind = \"ff02::1\"", "F:2: ssu2.bind: allowed: an address of this machine"),
        (
            "[ssu2]\nmtu = 1279",
            "F:2: ssu2.mtu: 1279: not allowed; allowed: a whole number from 1280 to 1500",
        ),
        (
            "[ssu2]\nmtu = 9000",
            "F:2: ssu2.mtu: 9000: not allowed; allowed: a whole number from 1280 to 1500",
        ),
        (
            "[limits]\nshare = 101",
            "F:2: limits.share: 101: not allowed; allowed: per cent from 0 to 100",
        ),
        (
            "[limits]\nbandwidth_in = \"fast\"",
            "F:2: limits.bandwidth_in: \"fast\": not allowed; allowed: bytes per second from 1024 to 10737418240, or a text such as \"512 KiB\" or \"1.5 MB\"",
        ),
        (
            "[limits]\nbandwidth_out = 0",
            "F:2: limits.bandwidth_out: 0: not allowed; allowed: bytes per second from 1024 to 10737418240, or a text such as \"512 KiB\" or \"1.5 MB\"",
        ),
        (
            "[limits]\ntransit_tunnels = 50001",
            "F:2: limits.transit_tunnels: 50001: not allowed; allowed: a whole number from 0 to 50000",
        ),
        (
            "[tunnels.client]\nlength = 8",
            "F:2: tunnels.client.length: 8: not allowed; allowed: a whole number from 0 to 7",
        ),
        (
            "[tunnels.client]\nlength = 7\nlength_variance = 1",
            "F:1: tunnels.client.length: length and length_variance together; allowed: up to 7",
        ),
        (
            "[tunnels.exploratory]\nquantity = 0",
            "F:2: tunnels.exploratory.quantity: 0: not allowed; allowed: a whole number from 1 to 16",
        ),
        (
            "[http_proxy]\nlisten = \"4444\"",
            "F:2: http_proxy.listen: \"4444\": not allowed; allowed: an address with a port, such as \"127.0.0.1:4444\", or \"off\" for no proxy",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "F:2: log.level: \"loud\": not allowed; allowed: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        ),
        ("[record]\nenable = true", "F:2: record.enable: unknown key; allowed: enabled, limit"),
        (
            "[record]\nlimit = \"1 KiB\"",
            "F:2: record.limit: \"1 KiB\": not allowed; allowed: bytes from 1048576 to 1099511627776, or a text such as \"256 MiB\" or \"1.5 GB\"",
        ),
        (
            "[record]\nlimit = true",
            "F:2: record.limit: found a boolean; allowed: bytes from 1048576 to 1099511627776, or a text such as \"256 MiB\" or \"1.5 GB\"",
        ),
        // Tunnels.
        (
            "[[server]]\nname = \"a\"",
            "F:1: server.target: missing; allowed: an address with a port, such as \"127.0.0.1:4444\"",
        ),
        (
            "[[server]]\nname = \"../a\"\ntarget = \"1.2.3.4:5\"",
            "F:2: server.name: \"../a\": not allowed; allowed: 1 to 64 letters, digits, '-', '_' and '.', not beginning with '.'",
        ),
        (
            "[[server]]\ntarget = \"1.2.3.4:5\"\nkind = \"udp\"",
            "F:3: server.kind: \"udp\": not allowed; allowed: \"tcp\" or \"http\"",
        ),
        (
            "[[server]]\nname = \"a\"\ntarget = \"1.2.3.4:5\"\n[[client]]\nname = \"a\"\nlisten = \"1.2.3.4:5\"\ndestination = \"x.i2p\"",
            "F:2: server.name: \"a\" is the name of another tunnel already; allowed: a new name",
        ),
        (
            "[[server]]\nname = \"a\"\ntarget = \"1.2.3.4:5\"\n[[server]]\nname = \"b\"\ntarget = \"1.2.3.4:5\"\nkeys = \"a.dat\"",
            "F:7: server.keys: \"a.dat\" has the keys of server \"a\" already; allowed: a name of its own",
        ),
        (
            "[[client]]\nlisten = \"127.0.0.1:4444\"\ndestination = \"x.i2p\"",
            "F:2: client.listen: 127.0.0.1:4444 is taken by http_proxy already; allowed: a port of its own",
        ),
        (
            "[[client]]\nlisten = \"127.0.0.1:0\"\ndestination = \"x.i2p\"",
            "F:2: client.listen: \"127.0.0.1:0\": not allowed; allowed: an address with a port, such as \"127.0.0.1:4444\"",
        ),
        (
            "[[client]]\nlisten = \"127.0.0.1:1\"\ndestination = \"example.org\"",
            "F:3: client.destination: \"example.org\": not an I2P address; allowed: a name such as \"example.i2p\", a whole \".b32.i2p\" address or a base64 destination, with a \":port\" if need be",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err(), want, "{text}");
    }
}

#[test]
fn what_is_not_toml_is_one_line_too() {
    for (text, line) in
        [("[ntcp2\nport = 1", 1), ("a = 1\nb =", 2), ("[log]\n[log]", 2), ("é\u{0}", 1)]
    {
        let e = parse(text).unwrap_err();
        let first = e.lines().next().unwrap();
        assert!(first.starts_with(&format!("F:{line}: ")), "{text:?}: {e}");
        assert!(first.len() > 10, "{e}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_lines() {
    let e = parse("[network]\nid = 0\nfoo = 1\n[log]\nlevel = 3").unwrap_err();
    let lines: Vec<&str> = e.lines().map(|l| l.split_once(": ").unwrap().0).collect();
    assert_eq!(lines, ["F:2", "F:3", "F:5"]);
}

#[test]
fn destinations_are_names_or_base64() {
    let with =
        |d: &str| parse(&format!("[[client]]\nlisten = \"1.2.3.4:5\"\ndestination = \"{d}\""));
    let base64 = "A".repeat(516);
    let b32 = format!("{}.b32.i2p", "a".repeat(52));
    for good in ["a.i2p", "a-b.c.i2p:80", &base64, &format!("{base64}:7"), &b32] {
        assert!(with(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", "the host is missing"),
        (".i2p", "before it"),
        ("i2p", "not an I2P address"),
        ("a.i2p:", "the port is not a number"),
        ("a.i2p:65536", "the port is not a number"),
        ("a b.i2p", "only a-z, 0-9"),
        ("AAAA", "not an I2P address"),
        ("a.i2p/", "not an I2P address"),
        // What looks like an address and is none is not left for the start to find.
        ("example.b32.i2p:9418", "52 characters"),
        (&format!("{}.b32.i2p", "a".repeat(56)), "encrypted lease sets"),
        ("proxy.i2p", "reserved"),
    ] {
        let e = with(bad).unwrap_err();
        assert!(e.starts_with("F:3: client.destination: \"") && e.contains(why), "{bad}: {e}");
        assert!(e.contains("; allowed: "), "{e}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let e = Settings::load(Path::new("/nonexistent/ramson.toml")).unwrap_err().to_string();
    assert!(e.starts_with("/nonexistent/ramson.toml: cannot read the configuration: "), "{e}");
}

/// The tables of the README that show a configuration.
#[test]
fn what_the_readme_shows_is_valid() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(line) => blocks.last_mut().unwrap().push_str(&format!("{line}\n")),
            None if line.is_empty() => blocks.last_mut().unwrap().push('\n'),
            None => blocks.push(String::new()),
        }
    }
    let tables: Vec<_> = blocks.iter().filter(|b| b.trim_start().starts_with('[')).collect();
    assert!(tables.len() >= 3, "{tables:?}");
    for table in tables {
        parse(table).unwrap();
    }
}
