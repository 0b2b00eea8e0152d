//! The document of [`Info`](super::Info) as text for people.

use serde_json::Value;
use std::fmt::Write as _;

/// Renders what is there; what a document does not have is left out.
// Writing to a String cannot fail, so results of `write!` are dropped.
pub(super) fn render(info: &Value) -> String {
    let mut out = String::new();
    let mut line = |key: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "{key:<12} {value}");
        }
    };
    let router = &info["router"];
    line("router", text(&router["hash"]));
    line("state", state(info));
    line("data folder", text(&info["data_dir"]));
    line("RouterInfo", text(&router["router_info_file"]));
    line("network", joined(router, &[("network", ""), ("caps", "as")]));
    for address in array(&router["addresses"]) {
        let place = text(&address["address"]);
        let place = if place.is_empty() { "not reachable from outside".into() } else { place };
        line("address", format!("{} {place}", text(&address["style"])));
    }
    let peers = &info["peers"];
    line(
        "peers",
        joined(
            peers,
            &[
                ("inbound", "in"),
                ("outbound", "out"),
                ("ssu2", "over SSU2"),
                ("pending", "pending"),
            ],
        ),
    );
    let netdb = &info["netdb"];
    let parts =
        [("routers", "routers"), ("floodfills", "floodfills"), ("lease_sets", "lease sets")];
    line("netdb", joined(netdb, &parts));
    let parts = [
        ("kept", "lease sets kept"),
        ("stored", "stored"),
        ("flooded", "passed on"),
        ("found", "lookups answered"),
        ("referred", "referred"),
    ];
    // Empty for who is none.
    line("floodfill", joined(&netdb["floodfill"], &parts));
    let transit = &info["transit"];
    let parts = [
        ("tunnels", "tunnels"),
        ("accepted", "accepted"),
        ("refused", "refused"),
        ("messages", "messages"),
    ];
    line("transit", joined(transit, &parts));
    line("traffic", sizes(info, &[("bytes_received", "received"), ("bytes_sent", "sent")]));
    line("names", text(&info["names"]));
    let memory = sizes(&info["process"], &[("resident_bytes", "resident")]);
    let buffers = sizes(info, &[("buffered_bytes", "in buffers")]);
    line(
        "memory",
        [memory, buffers].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", "),
    );

    let rows = array(&info["services"]).map(|s| {
        ["name", "kind", "listen", "target", "b32", "connections", "ready"].map(|key| text(&s[key]))
    });
    let header = ["NAME", "KIND", "LISTEN", "TARGET", "OWN ADDRESS", "CONNECTIONS", "READY"];
    table(&mut out, header, rows.collect());
    let rows = array(&info["pools"]).flat_map(|pool| {
        ["inbound", "outbound"].map(|direction| {
            let d = &pool[direction];
            [
                text(&pool["name"]),
                direction.into(),
                text(&d["active"]),
                text(&d["building"]),
                text(&d["built"]),
                text(&d["refused"]),
                text(&d["timed_out"]),
                text(&d["failed"]),
                per_cent(&d["success"]),
            ]
        })
    });
    let header = [
        "TUNNELS OF",
        "DIRECTION",
        "ACTIVE",
        "BUILDING",
        "BUILT",
        "REFUSED",
        "TIMED OUT",
        "FAILED",
        "SUCCESS",
    ];
    table(&mut out, header, rows.collect());
    out
}

fn state(info: &Value) -> String {
    if info["running"] != true {
        return "not running".into();
    }
    let mut state = String::from("running");
    if let Some(pid) = info.pointer("/process/pid").and_then(Value::as_u64) {
        let _ = write!(state, ", process {pid}");
    }
    if let Some(s) = info["uptime_s"].as_u64() {
        let _ = write!(state, ", up {}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    }
    let version = text(&info["program"]);
    if !version.is_empty() {
        let _ = write!(state, ", {version}");
    }
    state
}

/// `3 in, 4 out` of the keys that are there.
fn joined(object: &Value, parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().filter_map(|(key, label)| {
        let value = text(&object[*key]);
        (!value.is_empty()).then(|| match *label {
            "" => value,
            "as" => format!("as {value}"),
            label => format!("{value} {label}"),
        })
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// As [`joined`], of numbers of bytes.
fn sizes(object: &Value, parts: &[(&str, &str)]) -> String {
    let parts = parts.iter().filter_map(|(key, label)| {
        object[*key].as_u64().map(|bytes| format!("{} {label}", size(bytes)))
    });
    parts.collect::<Vec<_>>().join(", ")
}

pub(crate) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", tenths(1 << 10)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(1 << 20)),
        1_073_741_824.. => format!("{} GiB", tenths(1 << 30)),
    }
}

fn per_cent(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |ratio| format!("{:.0} %", ratio * 100.0))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A value without JSON's quotes; control characters cannot reach the terminal.
fn text(value: &Value) -> String {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        Value::String(s) => s
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(n) => n.to_string(),
    }
}

/// Aligned columns; those that are empty in every row are left out, and so is a table without
/// rows.
fn table<const N: usize>(out: &mut String, header: [&str; N], rows: Vec<[String; N]>) {
    if rows.is_empty() {
        return;
    }
    let rows: Vec<Vec<String>> =
        std::iter::once(header.map(String::from)).chain(rows).map(Vec::from).collect();
    let width = |i: usize| {
        let cells = || rows.iter().filter_map(move |row| row.get(i)).map(|c| c.chars().count());
        // The header alone is no content.
        if cells().skip(1).all(|n| n == 0) { None } else { cells().max() }
    };
    let widths: Vec<Option<usize>> = (0..N).map(width).collect();
    out.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            if let Some(width) = width {
                let _ = write!(line, "{cell:<width$}  ");
            }
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_running_router_fills_the_page() {
        let info = json!({
            "running": true, "program": "ramson 0.1.0", "uptime_s": 3723, "data_dir": "/d",
            "process": { "pid": 7, "resident_bytes": 20_500_000 },
            "router": {
                "hash": "HASH", "network": 2, "caps": "PR", "router_info_file": "/d/router.info",
                "addresses": [{ "style": "NTCP2", "address": "1.2.3.4:5" }],
            },
            "peers": { "inbound": 3, "outbound": 4, "pending": 0, "ssu2": 2 },
            "netdb": { "routers": 9, "floodfills": 4, "lease_sets": 1,
                "floodfill": { "kept": 7, "stored": 8, "refused": 2, "flooded": 6, "found": 5,
                    "referred": 4 } },
            "transit": { "tunnels": 1, "accepted": 2, "refused": 0, "messages": 5 },
            "bytes_received": 1023, "bytes_sent": 1536, "buffered_bytes": 1 << 30, "names": 2,
            "services": [
                { "name": "http_proxy", "kind": "http_proxy", "listen": "127.0.0.1:4444",
                  "target": null, "b32": "a.b32.i2p", "connections": 0, "ready": true },
                { "name": "irc", "kind": "client", "listen": "127.0.0.1:6667",
                  "target": "irc.i2p:6667", "b32": "c.b32.i2p", "connections": 1, "ready": true },
                { "name": "site", "kind": "http_server", "listen": null, "target": "127.0.0.1:80",
                  "b32": "b.b32.i2p", "connections": 12, "ready": false },
            ],
            "pools": [{
                "name": "exploratory",
                "inbound": { "active": 2, "building": 1, "built": 2, "refused": 1, "timed_out": 0,
                    "failed": 0, "success": 0.667 },
                "outbound": { "active": 2, "building": 0, "built": 2, "refused": 0,
                    "timed_out": 0, "failed": 0, "success": null },
            }],
        });
        let want = "\
router       HASH
state        running, process 7, up 1:02:03, ramson 0.1.0
data folder  /d
RouterInfo   /d/router.info
network      2, as PR
address      NTCP2 1.2.3.4:5
peers        3 in, 4 out, 2 over SSU2, 0 pending
netdb        9 routers, 4 floodfills, 1 lease sets
floodfill    7 lease sets kept, 8 stored, 6 passed on, 5 lookups answered, 4 referred
transit      1 tunnels, 2 accepted, 0 refused, 5 messages
traffic      1023 B received, 1.5 KiB sent
names        2
memory       19.5 MiB resident, 1.0 GiB in buffers

NAME        KIND         LISTEN          TARGET        OWN ADDRESS  CONNECTIONS  READY
http_proxy  http_proxy   127.0.0.1:4444                a.b32.i2p    0            yes
irc         client       127.0.0.1:6667  irc.i2p:6667  c.b32.i2p    1            yes
site        http_server                  127.0.0.1:80  b.b32.i2p    12           no

TUNNELS OF   DIRECTION  ACTIVE  BUILDING  BUILT  REFUSED  TIMED OUT  FAILED  SUCCESS
exploratory  inbound    2       1         2      1        0          0       67 %
exploratory  outbound   2       0         2      0        0          0
";
        assert_eq!(render(&info), want);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        assert_eq!(render(&json!({ "running": false })), "state        not running\n");
        assert_eq!(render(&json!([1])), "state        not running\n");
    }
}
