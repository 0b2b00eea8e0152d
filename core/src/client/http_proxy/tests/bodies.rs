//! Bodies, framing, keep-alive.

use super::*;

#[test]
fn a_kept_connection_routes_each_request_on_its_own() {
    let mut rig = proxy();
    rig.say(get("http://a.i2p/1")).opens(0).hears(0, ok("one"));
    assert_eq!(rig.heard(), ok("one"));
    // The same target: the same stream.
    rig.say(get("http://a.i2p/2"));
    assert_eq!(rig.opened.len(), 1);
    assert!(rig.sent(0).contains("GET /2 HTTP/1.1\r\n"));
    rig.hears(0, ok("two"));
    assert_eq!(rig.heard(), ok("two"));
    // Another port or host: another stream, and the old one is closed.
    rig.say(get("http://a.i2p:81/3"));
    assert_eq!(rig.stream(0).closed, Some(false));
    rig.opens(1).hears(1, ok("three"));
    assert_eq!(rig.heard(), ok("three"));
    rig.say(get("http://b.i2p/4")).opens(2).hears(2, ok("four"));
    assert_eq!(rig.stream(1).closed, Some(false));
    assert_eq!(rig.heard(), ok("four"));
    assert!(!rig.sent(2).contains("/3"));
    let targets: Vec<String> =
        rig.opened.iter().map(|(_, t, p)| format!("{}:{p}", t.host())).collect();
    assert_eq!(targets, ["a.i2p:80", "a.i2p:81", "b.i2p:80"]);
    // A bad request on a kept connection ends it.
    rig.say(get("http://example.com/"));
    assert_refused(&mut rig, 403);
    assert_eq!(rig.stream(2).closed, Some(false));
}

#[test]
fn pipelined_requests_wait_for_the_answers_before_them() {
    let mut rig = proxy();
    let post = "POST http://b.i2p/2 HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";
    rig.say([get("http://a.i2p/1"), post.into(), get("http://a.i2p/3")].concat());
    assert_eq!(rig.opened.len(), 1);
    rig.opens(0).hears(0, ok("1"));
    assert_eq!(rig.opened.len(), 2);
    assert!(rig.sent(1).ends_with("\r\n\r\nbody"));
    rig.opens(1).hears(1, ok("2"));
    assert_eq!(rig.opened.len(), 3);
    rig.opens(2).hears(2, ok("3"));
    assert_eq!(rig.heard(), [ok("1"), ok("2"), ok("3")].concat());
    rig.hang_up();
    assert_eq!(rig.local_closed, Some(false));
}

#[test]
fn streams_are_not_used_again_when_framing_or_the_site_says_no() {
    for (answer, close) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabEXTRA", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", true),
    ] {
        let mut rig = proxy();
        rig.say(get("http://a.i2p/1")).opens(0).hears(0, answer);
        if close {
            rig.remote_closes(0);
        }
        let heard = rig.heard();
        assert!(heard.contains("ab") && !heard.contains("EXTRA"), "{heard}");
        assert!(!heard.contains("Connection: close"), "the client's connection can stay: {heard}");
        assert!(rig.stream(0).closed.is_some(), "{answer}");
        rig.say(get("http://a.i2p/2"));
        assert_eq!(rig.opened.len(), 2, "{answer}");
        assert!(!rig.sent(0).contains("/2"));
    }
}

#[test]
fn a_kept_stream_that_was_closed_meanwhile_costs_a_retry_and_nothing_else() {
    for failed in [true, false] {
        let mut rig = proxy();
        rig.say(get("http://a.i2p/1")).opens(0).hears(0, ok("one"));
        rig.say(get("http://a.i2p/2"));
        assert_eq!(rig.opened.len(), 1);
        if failed {
            rig.fails(0, Failure::Reset);
        } else {
            rig.remote_closes(0);
        }
        assert_eq!(rig.opened.len(), 2);
        assert!(rig.sent(1).starts_with("GET /2 HTTP/1.1\r\n"));
        rig.opens(1).hears(1, ok("two"));
        assert_eq!(rig.heard(), [ok("one"), ok("two")].concat());
        // Once only.
        rig.say(get("http://a.i2p/3"));
        rig.fails(1, Failure::Reset).fails(2, Failure::Reset);
        assert_refused(&mut rig, 502);
        assert_eq!(rig.opened.len(), 3);
    }
    // What might have been done already is not repeated.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/1")).opens(0).hears(0, ok("one"));
    rig.heard();
    rig.say("POST http://a.i2p/2 HTTP/1.1\r\nContent-Length: 0\r\n\r\n").fails(0, Failure::Reset);
    assert_refused(&mut rig, 502);
    assert_eq!(rig.opened.len(), 1);
    // Nor what was answered in part.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/1")).opens(0).hears(0, ok("one"));
    rig.heard();
    rig.say(get("http://a.i2p/2")).hears(0, "HTTP/1.1 2").fails(0, Failure::Reset);
    assert_refused(&mut rig, 502);
    assert_eq!(rig.opened.len(), 1);
}

#[test]
fn responses_without_a_body_end_at_their_head() {
    for (request, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut rig = proxy();
        rig.say(format!("{request} http://a.i2p/ HTTP/1.1\r\n\r\n")).opens(0).hears(0, answer);
        let heard = rig.heard();
        let status_line = answer.split("\r\n").next().unwrap();
        assert!(heard.starts_with(status_line) && heard.ends_with("\r\n\r\n"), "{heard}");
        assert_eq!(heard.contains("Content-Length: 1000"), answer.contains("1000"));
        rig.say(get("http://a.i2p/2"));
        assert_eq!(rig.opened.len(), 1, "kept after {answer}");
        rig.hears(0, ok("two"));
        assert_eq!(rig.heard(), ok("two"));
    }
}

#[test]
fn interim_responses_pass_and_do_not_end_the_exchange() {
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0);
    rig.hears(0, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    assert_eq!(rig.heard(), "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    rig.hears(0, ok("x"));
    assert_eq!(rig.heard(), ok("x"));
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).hears(0, "HTTP/1.1 103 X\r\n\r\n".repeat(17));
    let heard = rig.heard();
    assert!(heard.contains("HTTP/1.1 502 "), "{heard}");
}

#[test]
fn response_heads_are_cleaned() {
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).hears(
        0,
        "HTTP/1.1 200 Very OK\r\nServer: x\r\nDate: y\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
         Keep-Alive: 5\r\nProxy-Authenticate: Basic\r\nAlt-Svc: h3\r\nSet-Cookie: a=b\r\n\
         Set-Cookie: c=d\r\nX-Folded: a\r\n  b\r\nUpgrade: h2c\r\nTrailer: z\r\nContent-Length: 1\r\n\
         \r\nx",
    );
    assert_eq!(
        rig.heard(),
        "HTTP/1.1 200 Very OK\r\nServer: x\r\nDate: y\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\
         X-Folded: a    b\r\nContent-Length: 1\r\n\r\nx"
    );
}

#[test]
fn answers_that_are_no_http_get_a_page() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 99 X\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "<html>",
        "",
    ] {
        let mut rig = proxy();
        rig.say(get("http://a.i2p/")).opens(0).hears(0, answer).remote_closes(0);
        assert_refused(&mut rig, 502);
        assert_eq!(rig.stream(0).closed, Some(true), "{answer:?}");
    }
    let mut rig = proxy();
    rig.say(get("http://a.i2p/"))
        .opens(0)
        .hears(0, format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(40_000)));
    assert_refused(&mut rig, 502);
}

#[test]
fn a_response_without_framing_ends_with_its_stream() {
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).hears(0, "HTTP/1.1 200 OK\r\n\r\nabc").hears(0, "def");
    assert_eq!(rig.heard(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcdef");
    assert_eq!(rig.local_closed, None);
    rig.remote_closes(0);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
}

#[test]
fn a_response_cut_short_does_not_look_complete() {
    for (answer, abort) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nabc", true),
    ] {
        let mut rig = proxy();
        rig.say(get("http://a.i2p/")).opens(0).hears(0, answer).fails(0, Failure::Reset);
        let heard = rig.heard();
        assert!(heard.contains("abc") && !heard.ends_with("\r\n0\r\n\r\n"), "{heard}");
        assert_eq!(rig.local_closed, Some(abort), "{answer}");
    }
    // A chunk that breaks the grammar is no end either.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0);
    rig.hears(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n");
    assert!(rig.heard().ends_with("3\r\nabc\r\n"));
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(true)));
}

#[test]
fn an_old_client_gets_plain_bytes() {
    let mut rig = proxy();
    rig.say("GET http://a.i2p/ HTTP/1.0\r\n\r\n").opens(0);
    assert!(rig.sent(0).contains("Connection: close\r\n"));
    rig.hears(
        0,
        "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    );
    rig.hears(0, "2;x\r\nde\r\n0\r\n\r\n");
    assert_eq!(rig.heard(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde");
    assert_eq!(rig.local_closed, Some(false));
}

#[test]
fn chunks_are_framed_anew_both_ways() {
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00A;x=y\r\n0123456789\r\n");
    rig.opens(0).say("1\r\nx\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n");
    let sent = rig.sent(0);
    assert!(
        sent.ends_with("Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n"),
        "{sent}"
    );
    rig.hears(
        0,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3  \r\nabc\r\n0\r\nA: b\r\n\r\n",
    );
    assert!(rig.heard().ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    rig.say(get("http://a.i2p/2"));
    assert_eq!(rig.opened.len(), 1, "kept");
}

#[test]
fn a_bad_chunk_resets_the_stream_and_is_told() {
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .opens(0);
    rig.say("zz\r\nGET http://victim.i2p/ HTTP/1.1\r\n\r\n");
    assert_refused(&mut rig, 400);
    assert_eq!((rig.stream(0).closed, rig.opened.len()), (Some(true), 1));
}

#[test]
fn an_expectation_is_met_once_there_is_a_stream() {
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(rig.heard(), "");
    assert!(!rig.sent(0).contains("Expect"));
    rig.opens(0);
    assert_eq!(rig.heard(), "HTTP/1.1 100 Continue\r\n\r\n");
    rig.say("abc").hears(0, ok("x"));
    assert_eq!(rig.heard(), ok("x"));
    // At once on a stream that is there already.
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(rig.heard(), "HTTP/1.1 100 Continue\r\n\r\n");
    rig.say("abc").hears(0, ok("y"));
    assert_eq!(rig.heard(), ok("y"));
    // Not for a site that cannot be reached.
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    rig.fails(0, Failure::TimedOut);
    assert_refused(&mut rig, 504);
}

#[test]
fn big_bodies_stream_through_small_buffers_both_ways() {
    let body: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    for (cut, room) in [(usize::MAX, usize::MAX), (1500, 4000), (70_000, 1 << 20)] {
        let mut rig = proxy();
        (rig.cut, rig.room) = (cut, room);
        rig.say(format!("POST http://a.i2p/ HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()));
        rig.opens(0).say(&body);
        let sent = core::mem::take(&mut rig.stream(0).sent);
        assert!(sent.ends_with(&body) && sent.len() < body.len() + 200);
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        rig.hears(0, &answer);
        assert!(rig.local == answer, "the answer came through unchanged");
    }
}

#[test]
fn buffers_stay_bounded_while_nobody_reads() {
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n").opens(0);
    (rig.local_reads, rig.streams_read) = (false, false);
    rig.say(vec![1; 1_000_000]).hears(0, "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
    rig.hears(0, vec![2; 1_000_000]);
    let Connection::HttpProxy(machine) = &rig.machine else { unreachable!() };
    assert_eq!(machine.relay.to_server.len(), BUFFER);
    assert_eq!(machine.relay.to_client.free(), 0);
    assert!(machine.relay.to_client.len() < BUFFER + 200);
    (rig.local_reads, rig.streams_read) = (true, true);
    rig.drain();
    assert!(rig.local.len() > 1_000_000 && rig.stream(0).sent.len() > 1_000_000);
}

/// The whole conversation gives the same bytes and the same end however it is cut.
#[test]
fn cuts_change_nothing() {
    let conversation = [
        "POST http://a.i2p/1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;e\r\nhello\r\n0\r\n\r\n",
        &get("http://a.i2p/2"),
        "HEAD http://b.i2p/3 HTTP/1.1\r\nReferer: http://b.i2p/\r\n\r\n",
        "POST http://a.i2p/4 HTTP/1.1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    ]
    .concat();
    let answers = [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: x\r\n\r\n",
        "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.0 200 OK\n\nuntil the end",
    ];
    let run = |cut: usize, room: usize| {
        let mut rig = proxy();
        (rig.cut, rig.room) = (cut, room);
        rig.say(&conversation).opens(0);
        rig.hears(0, answers[0]).hears(0, answers[1]);
        rig.opens(1).hears(1, answers[2]);
        rig.opens(2).hears(2, answers[3]).remote_closes(2);
        let sent: Vec<String> = (0..3).map(|slot| rig.sent(slot)).collect();
        (rig.heard(), sent, rig.opened, rig.local_closed)
    };
    let want = run(usize::MAX, usize::MAX);
    assert_eq!(want.3, Some(false));
    assert!(want.0.ends_with("until the end"));
    for cut in 1..40 {
        assert_eq!(run(cut, usize::MAX), want, "cut {cut}");
        assert_eq!(run(cut, cut), want, "cut and room {cut}");
    }
}
