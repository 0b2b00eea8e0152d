use super::*;
use crate::client::testing::{Rig, identity};
use crate::client::{Connection as Machine, Failure};
use alloc::boxed::Box;
use alloc::vec;

const SECOND: Duration = Duration::from_secs(1);

fn server() -> Rig {
    let machine = HttpServer::new(Instant::ZERO, &identity(7), "own.b32.i2p".into());
    Rig::with_stream(Machine::HttpServer(Box::new(machine)))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site.i2p\r\n\r\n")
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The lines that name the visitor.
fn visitor() -> String {
    let id = identity(7);
    format!(
        "X-I2P-DestHash: {}\r\nX-I2P-DestB64: {}\r\nX-I2P-DestB32: {}\r\n",
        base64::encode(id.hash().as_bytes()),
        id.to_base64(),
        id.b32_address(),
    )
}

/// A page with that status went to the visitor, and the stream is closed.
#[track_caller]
fn assert_refused(rig: &mut Rig, want: u16) -> String {
    let text = rig.sent(0);
    assert!(text.starts_with(&format!("HTTP/1.1 {want} ")), "wanted {want}: {text}");
    assert!(text.contains("\r\nConnection: close\r\n") && text.contains("no-store"));
    assert!(!text.contains("Ramson"), "says what runs here");
    assert_eq!(rig.stream(0).closed, Some(false));
    assert!(rig.machine.is_done());
    text
}

#[test]
fn what_visitors_say_about_themselves_is_replaced_by_what_is_known() {
    let mut rig = server();
    rig.hears(
        0,
        "GET /a?b HTTP/1.1\r\nHost: site.i2p\r\nX-I2P-DestHash: forged\r\nx-i2p-destb64: forged\r\n\
         X_I2P_DestB32: forged\r\nX-I2P_DestHash: forged\r\nX-Forwarded-For: 127.0.0.1\r\n\
         X_Real_IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nProxy: http://evil\r\nVia: x\r\n\
         Proxy-Authorization: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\nCookie: c\r\n\
         Accept: text/html\r\nUser-Agent: MYOB/6.66 (AN/ON)\r\n\r\n",
    );
    assert_eq!(rig.connects, 1);
    assert!(rig.local.is_empty(), "nothing before the local server is there");
    rig.connected();
    assert_eq!(
        rig.heard(),
        format!(
            "GET /a?b HTTP/1.1\r\nHost: site.i2p\r\nCookie: c\r\nAccept: text/html\r\n\
             User-Agent: MYOB/6.66 (AN/ON)\r\n{}\r\n",
            visitor()
        )
    );
}

#[test]
fn every_request_of_a_kept_stream_is_treated_the_same() {
    let mut rig = server();
    rig.hears(0, get("/1")).connected().say(ok("one"));
    rig.heard();
    rig.hears(0, "GET /2 HTTP/1.1\r\nHost: site.i2p\r\nX-I2P-DestHash: forged\r\n\r\n");
    assert_eq!(rig.heard(), format!("GET /2 HTTP/1.1\r\nHost: site.i2p\r\n{}\r\n", visitor()));
    rig.say(ok("two"));
    // A body that looks like a request is a body, and what follows it is a request.
    let inner = "GET /x HTTP/1.1\r\nHost: site.i2p\r\nX-I2P-DestHash: forged\r\n\r\n";
    let post = format!(
        "POST /3 HTTP/1.1\r\nHost: site.i2p\r\nContent-Length: {}\r\n\r\n{inner}",
        inner.len()
    );
    rig.hears(0, [post, inner.into()].concat());
    assert!(rig.heard().ends_with(inner));
    rig.say(ok("three"));
    assert!(!rig.heard().contains("forged"));
    rig.say(ok("four"));
    assert_eq!(rig.sent(0), [ok("one"), ok("two"), ok("three"), ok("four")].concat());
    assert_eq!(rig.connects, 1);
    rig.remote_closes(0);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
}

#[test]
fn requests_with_two_readings_never_reach_the_local_server() {
    let post = "POST / HTTP/1.1\r\nHost: site.i2p\r\n";
    for (request, want) in [
        (format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("{post}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"), 400),
        (format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n"), 400),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\n"), 501),
        (format!("{post}Transfer_Encoding: chunked\r\n\r\n"), 400),
        (format!("{post}Host: other.i2p\r\n\r\n"), 400),
        (format!("{post}X : y\r\n\r\n"), 400),
        (format!("{post}X: y\r\n z\r\n\r\n"), 400),
        (format!("{post}X: y\nZ: a\r\n\r\n"), 400),
        (format!("{post}Expect: x\r\n\r\n"), 417),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
        (format!("{post}{}\r\n", "A: b\r\n".repeat(60)), 431),
        (format!("{post}A: {}", "b".repeat(40_000)), 431),
    ] {
        let mut rig = server();
        rig.hears(0, &request);
        assert_refused(&mut rig, want);
        assert_eq!((rig.connects, rig.local_closed), (0, None), "{request}");
    }
    // A bad chunk: too late to keep the head back, but nothing of what follows gets through.
    let mut rig = server();
    rig.hears(0, format!("{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")).connected();
    rig.hears(0, format!("zz\r\n{}", get("/smuggled")));
    assert_refused(&mut rig, 400);
    assert!(rig.heard().ends_with("3\r\nabc\r\n"));
}

#[test]
fn targets_and_hosts_are_written_in_one_form() {
    for (line, host, want) in [
        ("/", "Host: SITE.i2p:80\r\n", "GET / HTTP/1.1\r\nHost: SITE.i2p:80\r\n"),
        ("http://other.i2p/x", "Host: site.i2p\r\n", "GET /x HTTP/1.1\r\nHost: other.i2p\r\n"),
        ("http://other.i2p?y", "Host: site.i2p\r\n", "GET /?y HTTP/1.1\r\nHost: other.i2p\r\n"),
    ] {
        let mut rig = server();
        rig.hears(0, format!("GET {line} HTTP/1.1\r\n{host}\r\n")).connected();
        assert!(rig.heard().starts_with(want));
    }
    let mut rig = server();
    rig.hears(0, "GET / HTTP/1.0\r\n\r\n").connected();
    let heard = rig.heard();
    assert!(heard.starts_with("GET / HTTP/1.1\r\nHost: own.b32.i2p\r\n"), "{heard}");
    assert!(heard.contains("Connection: close\r\n"));
    rig.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
    assert_eq!(rig.sent(0), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab");
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
}

#[test]
fn responses_do_not_tell_the_machine_apart() {
    let mut rig = server();
    rig.hears(0, get("/")).connected().say(
        "HTTP/1.1 200 OK\r\nServer: Apache/2.4 (Debian)\r\nDate: today\r\nX-Powered-By: PHP\r\n\
         Via: x\r\nAlt-Svc: h3=\"clear.example:443\"\r\nX-Runtime: 1\r\nKeep-Alive: 5\r\n\
         Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx",
    );
    assert_eq!(
        rig.sent(0),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx"
    );
}

#[test]
fn a_local_server_of_the_old_kind_ends_the_stream_with_its_answer() {
    let mut rig = server();
    rig.hears(0, get("/")).connected();
    rig.say("HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6\r\nContent-Length: 3\r\n\r\nabc").hang_up();
    assert_eq!(rig.sent(0), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // Without a length, the answer is complete when the server says so.
    let mut rig = server();
    rig.hears(0, get("/")).connected().say("HTTP/1.0 200 OK\r\n\r\nabc");
    assert_eq!(rig.stream(0).closed, None);
    rig.hang_up();
    assert_eq!(rig.stream(0).closed, Some(false));
    // And when it breaks, the visitor has to notice.
    let mut rig = server();
    rig.hears(0, get("/")).connected().say("HTTP/1.0 200 OK\r\n\r\nabc");
    rig.local_fails(LocalFailure::Reset);
    assert_eq!(rig.stream(0).closed, Some(true));
}

#[test]
fn a_site_that_does_not_run_gets_a_page() {
    for (failure, want) in [
        (LocalFailure::Refused, 503),
        (LocalFailure::TimedOut, 504),
        (LocalFailure::Reset, 503),
        (LocalFailure::Other, 503),
    ] {
        let mut rig = server();
        rig.hears(0, get("/")).local_fails(failure);
        assert_refused(&mut rig, want);
    }
    let mut rig = server();
    rig.hears(0, get("/")).passes(CONNECT_TIMEOUT);
    assert_refused(&mut rig, 504);
    assert_eq!(rig.local_closed, Some(false));
    let mut rig = server();
    rig.hears(0, get("/")).connected().passes(ANSWER_TIMEOUT);
    assert_refused(&mut rig, 504);
    for answer in ["", "garbage\r\n\r\n", "HTTP/1.1 200"] {
        let mut rig = server();
        rig.hears(0, get("/")).connected().say(answer).hang_up();
        assert_refused(&mut rig, 502);
    }
    let mut rig = server();
    rig.hears(0, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").local_fails(LocalFailure::Refused);
    assert!(assert_refused(&mut rig, 503).ends_with("\r\n\r\n"));
}

#[test]
fn slow_and_silent_visitors_are_closed() {
    let mut rig = server();
    rig.passes(HEAD_TIMEOUT);
    assert!(rig.sent(0).is_empty() && rig.machine.is_done());
    assert_eq!((rig.stream(0).closed, rig.connects), (Some(false), 0));
    let mut rig = server();
    rig.hears(0, "GET / HT").passes(HEAD_TIMEOUT - SECOND).hears(0, "TP").passes(SECOND);
    assert_refused(&mut rig, 408);
    let mut rig = server();
    rig.hears(0, get("/")).connected().say(ok("x")).passes(IDLE_TIMEOUT);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    let mut rig = server();
    rig.streams_read = false;
    rig.hears(0, "GET / HTTP/1.1\r\n\r\n").passes(FLUSH_TIMEOUT);
    assert_eq!(rig.stream(0).closed, Some(true));
}

#[test]
fn ends_are_passed_on() {
    // The visitor leaves in the middle of its request: the local server must not take it whole.
    let mut rig = server();
    rig.hears(0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").connected();
    rig.remote_closes(0);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
    // After its request: it gets its answer.
    let mut rig = server();
    rig.hears(0, get("/")).remote_closes(0).connected().say(ok("x"));
    assert_eq!(rig.sent(0), ok("x"));
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // Broken.
    let mut rig = server();
    rig.hears(0, get("/")).connected().fails(0, Failure::Reset);
    assert_eq!(rig.local_closed, Some(true));
    let mut rig = server();
    rig.hears(0, get("/")).fails(0, Failure::Reset);
    assert_eq!(rig.local_closed, Some(true), "while connecting");
    let mut rig = server();
    rig.fails(0, Failure::Reset);
    assert!(rig.machine.is_done() && rig.local_closed.is_none(), "there was no local side");
    // The local server closes a kept connection, or speaks unasked.
    let mut rig = server();
    rig.hears(0, get("/")).connected().say(ok("x")).hang_up();
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    let mut rig = server();
    rig.hears(0, get("/")).connected().say(ok("x")).say("HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(rig.sent(0), ok("x"));
    assert_eq!(rig.stream(0).closed, Some(false));
}

#[test]
fn expectations_and_upgrades_work_here_too() {
    let mut rig = server();
    rig.hears(0, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(rig.sent(0), "");
    rig.connected();
    assert_eq!(rig.sent(0), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(!rig.heard().contains("Expect"));
    rig.hears(0, "abc").say(ok("x"));
    assert!(rig.sent(0).ends_with(&ok("x")));

    let mut rig = server();
    rig.hears(0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    rig.connected();
    assert!(rig.heard().contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    rig.hears(0, "early")
        .say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframe");
    assert!(rig.sent(0).ends_with("\r\n\r\nframe"));
    assert_eq!(rig.heard(), "early");
    rig.hang_up();
    assert!(rig.stream(0).finished);
    rig.remote_closes(0);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // A visitor that had finished before: its end is passed on once there is a tunnel.
    let mut rig = server();
    rig.hears(0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    rig.remote_closes(0).connected();
    assert!(!rig.local_finished);
    rig.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    assert!(rig.local_finished && rig.local_closed.is_none());
    let mut rig = server();
    rig.hears(0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    rig.connected();
    assert!(!rig.heard().contains("pgrade"));
}

#[test]
fn big_bodies_and_small_buffers() {
    let body: Vec<u8> = (0..1_000_000u32).map(|i| (i / 7) as u8).collect();
    let mut rig = server();
    (rig.cut, rig.room) = (3000, 5000);
    rig.hears(0, format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    rig.connected().hears(0, &body);
    assert!(rig.local.ends_with(&body));
    rig.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())).say(&body);
    assert!(rig.stream(0).sent.ends_with(&body));
    // Nobody reads: the buffers stay small.
    let mut rig = server();
    rig.hears(0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n").connected();
    (rig.local_reads, rig.streams_read) = (false, false);
    rig.hears(0, vec![1; 500_000]).say("HTTP/1.1 200 OK\r\n\r\n").say(vec![2; 500_000]);
    let Machine::HttpServer(machine) = &rig.machine else { unreachable!() };
    assert!(machine.relay.to_server.len() <= BUFFER);
    assert!(machine.relay.to_client.len() < BUFFER + 200);
    (rig.local_reads, rig.streams_read) = (true, true);
    rig.drain();
    assert!(rig.local.len() > 500_000 && rig.stream(0).sent.len() > 500_000);
}

#[test]
fn cuts_change_nothing() {
    let conversation = [
        "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e\r\nhello\r\n0\r\n\r\n",
        &get("/2"),
        "HEAD /3 HTTP/1.1\r\nHost: a\r\nX-I2P-DestHash: x\r\n\r\n",
    ]
    .concat();
    let run = |cut: usize, room: usize| {
        let mut rig = server();
        (rig.cut, rig.room) = (cut, room);
        rig.hears(0, &conversation).connected();
        rig.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        rig.say("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
        rig.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n").hang_up();
        (rig.heard(), rig.sent(0), rig.local_closed, rig.stream(0).closed)
    };
    let want = run(usize::MAX, usize::MAX);
    assert_eq!((want.2, want.3), (Some(false), Some(false)));
    assert_eq!(want.0.matches("X-I2P-DestHash").count(), 3);
    for cut in 1..40 {
        assert_eq!(run(cut, usize::MAX), want, "cut {cut}");
        assert_eq!(run(cut, cut), want, "cut and room {cut}");
    }
}

#[test]
fn a_shutdown_closes_idle_streams_and_finishes_answers() {
    let mut idle = server();
    idle.hears(0, get("/1")).connected().say(ok("one"));
    idle.shuts_down();
    assert_eq!((idle.local_closed, idle.stream(0).closed), (Some(false), Some(false)));
    let mut busy = server();
    busy.hears(0, get("/1")).connected().shuts_down();
    assert_eq!(busy.stream(0).closed, None);
    busy.say(ok("one"));
    assert_eq!(busy.sent(0), ok("one"));
    assert_eq!((busy.local_closed, busy.stream(0).closed), (Some(false), Some(false)));
}
