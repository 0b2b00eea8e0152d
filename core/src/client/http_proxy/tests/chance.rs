//! Conversations by chance, each from a seed: what must hold whatever is said.

use super::*;
use crate::client::http_server::HttpServer;

/// What clients say, well formed and not, in any order.
const CLIENT: &[&str] = &[
    "GET http://a.i2p/ HTTP/1.1\r\n",
    "GET http://b.i2p:81/x HTTP/1.1\r\nHost: a.i2p\r\n",
    "HEAD http://a.i2p/ HTTP/1.1\r\n",
    "POST http://a.i2p/ HTTP/1.1\r\n",
    "POST http://b.i2p/ HTTP/1.0\r\n",
    "GET http://evil.i2p/ HTTP/1.1\r\nHost: evil.i2p\r\n\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 40\r\n",
    "Content-Length: 5,5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked, x\r\n",
    "Expect: 100-continue\r\n",
    "Connection: close\r\n",
    "Connection: Content-Length, Transfer-Encoding, Host\r\n",
    "Host: evil.i2p\r\n",
    " folded\r\n",
    "X: y\r\n",
    "\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "5;x=y\r\n",
    "ffffffffffffffff\r\n",
    "GET / HTTP/1.1\r\nHost: evil.i2p\r\n\r\n",
];

/// Whole requests, some with a body that looks like another request.
const WHOLE: &[&str] = &[
    "GET http://a.i2p/ HTTP/1.1\r\n\r\n",
    "GET http://b.i2p:81/ HTTP/1.1\r\nHost: b.i2p\r\n\r\n",
    "HEAD http://a.i2p/ HTTP/1.1\r\nHost: a.i2p\r\n\r\n",
    "POST http://a.i2p/ HTTP/1.1\r\nHost: a.i2p\r\nContent-Length: 5\r\n\r\nhello",
    "POST http://b.i2p/ HTTP/1.1\r\nHost: a.i2p\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "POST http://a.i2p/ HTTP/1.1\r\nHost: a.i2p\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "PUT http://a.i2p/ HTTP/1.1\r\nHost: a.i2p\r\nTransfer-Encoding: chunked\r\n\r\n",
];

/// What sites say.
const SITE: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\n\r\n",
    "HTTP/1.1 103 Hints\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n",
    "\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
];

fn pick(rng: &mut Rng, from: &[&'static str]) -> &'static str {
    from[rng.below(from.len() as u64) as usize]
}

fn client(rng: &mut Rng) -> &'static str {
    let from = if rng.below(2) == 0 { WHOLE } else { CLIENT };
    pick(rng, from)
}

/// The hosts of the requests in `bytes`, read by a reader that shares nothing with ours. The last
/// one may be cut short.
fn hosts(bytes: &[u8]) -> Vec<String> {
    let mut hosts = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8(rest[..end].to_vec()).expect("text");
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let start: Vec<&str> = lines.next().unwrap().split(' ').collect();
        assert!(start.len() == 3 && start[2] == "HTTP/1.1" && !start[0].is_empty(), "{head}");
        let (mut host, mut length, mut chunked) = (None, None, false);
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header line");
            assert!(!name.contains([' ', '\t', '_']) && !value.contains(['\r', '\n']), "{line}");
            match name.to_ascii_lowercase().as_str() {
                "host" => assert!(host.replace(value.to_string()).is_none(), "two hosts"),
                "content-length" => {
                    assert!(length.replace(value.parse::<usize>().unwrap()).is_none())
                }
                "transfer-encoding" => {
                    assert!(value == "chunked" && !core::mem::replace(&mut chunked, true));
                }
                _ => {}
            }
        }
        assert!(length.is_none() || !chunked);
        hosts.push(host.expect("a host"));
        if let Some(length) = length {
            rest = rest.get(length..).unwrap_or_default();
        }
        while chunked {
            let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else { return hosts };
            let size = core::str::from_utf8(&rest[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).expect("a plain size");
            rest = &rest[end + 2..];
            let Some(after) = rest.get(size..).filter(|after| after.len() >= 2) else {
                return hosts;
            };
            assert_eq!(&after[..2], b"\r\n");
            rest = &after[2..];
            chunked = size > 0;
        }
    }
    hosts
}

#[test]
fn whatever_is_said_each_stream_gets_requests_for_its_own_site_only() {
    let mut requests = 0;
    for seed in 0..4000 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let mut rig = proxy();
        rig.cut = rng.between(1, 60) as usize;
        for _ in 0..rng.between(3, 25) {
            rig.say(client(&mut rng));
            let slot = rig.opened.len() as u32;
            if slot > 0 && rig.stream(slot - 1).closed.is_none() && rng.below(2) == 0 {
                rig.hears(slot - 1, pick(&mut rng, SITE));
            }
        }
        rig.hang_up();
        for (slot, target, port) in rig.opened.clone() {
            let want = crate::client::target::host_header(&target, port);
            for host in hosts(&rig.streams[&slot].sent) {
                assert_eq!(host, want, "seed {seed}");
                requests += 1;
            }
        }
    }
    assert!(requests > 1000, "{requests}");
}

#[test]
fn whatever_happens_nothing_panics_leaks_or_hangs() {
    for seed in 0..3000 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let mut rig = proxy();
        rig.cut = rng.between(1, 200) as usize;
        rig.room = rng.between(1, 5000) as usize;
        for _ in 0..rng.between(1, 40) {
            if rig.local_closed.is_some() {
                break;
            }
            let slot = rng.below(rig.opened.len().max(1) as u64) as u32;
            let alive = rig.streams.get(&Slot(slot)).is_some_and(|s| s.is_alive());
            match rng.below(16) {
                0..=4 => rig.say(client(&mut rng)),
                5 => rig.say("CONNECT a.i2p:443 HTTP/1.1\r\n\r\n"),
                6 => rig.say("GET http://a.i2p/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
                7 => rig.answers(NameAnswer::Unknown),
                8..=10 if alive => rig.hears(slot, pick(&mut rng, SITE)),
                11 if alive => rig.opens(slot),
                12 if alive => rig.remote_closes(slot),
                13 if alive && rng.below(3) == 0 => rig.fails(slot, Failure::Reset),
                14 => rig.passes(Duration::from_secs(rng.below(100))),
                15 if rng.below(5) == 0 => rig.hang_up(),
                _ => {
                    rig.local_reads = rng.below(4) != 0;
                    rig.streams_read = rng.below(4) != 0;
                    rig.drain();
                    &mut rig
                }
            };
        }
        if rig.local_closed.is_none() && rng.below(2) == 0 {
            rig.local_fails(LocalFailure::Reset);
        }
        // Left alone, it comes to an end by itself: a tunnel only with its two sides.
        rig.local_reads = true;
        rig.streams_read = true;
        rig.drain();
        rig.hang_up().passes(Duration::from_secs(20_000));
        assert!(rig.machine.is_done(), "seed {seed} goes on for ever");
    }
}

#[test]
fn whatever_visitors_say_each_request_names_them_once() {
    let mut requests = 0;
    for seed in 0..3000 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let machine = HttpServer::new(Instant::ZERO, &identity(7), "own.b32.i2p".into());
        let mut rig = Rig::with_stream(Connection::HttpServer(Box::new(machine)));
        rig.cut = rng.between(1, 60) as usize;
        for _ in 0..rng.between(3, 25) {
            if !rig.stream(0).is_alive() {
                break;
            }
            rig.hears(0, client(&mut rng));
            if rng.below(8) == 0 {
                rig.hears(0, "X-I2P-DestB32: evil\r\n");
            }
            if rig.connects == 1 && rig.local_closed.is_none() {
                rig.connected();
                if rng.below(2) == 0 {
                    rig.say(pick(&mut rng, SITE));
                }
            }
        }
        let heads = hosts(&rig.local).len();
        let text = rig.heard();
        let named =
            text.matches(&format!("X-I2P-DestB32: {}\r\n", identity(7).b32_address())).count();
        assert!(named == heads, "seed {seed}: {text}");
        requests += heads;
    }
    assert!(requests > 1000, "{requests}");
}
