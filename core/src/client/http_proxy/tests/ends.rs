//! CONNECT, upgrades, closes and timeouts.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn connect_makes_a_tunnel_with_half_closes() {
    let mut rig = proxy();
    rig.say("CONNECT site.i2p:443 HTTP/1.1\r\nHost: site.i2p:443\r\n\r\nearly");
    assert_eq!(rig.opened, [(Slot(0), Target::Name("site.i2p".into()), 443)]);
    assert_eq!(rig.sent(0), "", "nothing before the client was told");
    rig.opens(0);
    assert_eq!(rig.heard(), "HTTP/1.1 200 Connection established\r\n\r\n");
    assert_eq!(rig.sent(0), "early");
    rig.say("GET http://other.i2p/ HTTP/1.1\r\n\r\n").hears(0, "\0\u{1}raw");
    assert_eq!(rig.heard(), "\0\u{1}raw");
    assert!(rig.sent(0).ends_with("HTTP/1.1\r\n\r\n"), "bytes as they are");
    rig.passes(Duration::from_secs(86_400));
    rig.hang_up();
    assert!(rig.stream(0).finished && rig.local_closed.is_none());
    rig.hears(0, "more").remote_closes(0);
    assert_eq!(rig.heard(), "more");
    assert_eq!((rig.stream(0).closed, rig.local_closed), (Some(false), Some(false)));
}

#[test]
fn a_tunnel_ends_from_the_other_side_too() {
    let mut rig = proxy();
    rig.say("CONNECT site.i2p:443 HTTP/1.1\r\n\r\n").hears(0, "hi").remote_closes(0);
    assert!(rig.heard().ends_with("\r\n\r\nhi"));
    assert!(rig.local_finished && rig.local_closed.is_none());
    rig.say("bye").hang_up();
    assert_eq!(rig.sent(0), "bye");
    assert_eq!(rig.local_closed, Some(false));

    let mut rig = proxy();
    rig.say("CONNECT site.i2p:443 HTTP/1.1\r\n\r\n").opens(0);
    rig.local_reads = false;
    rig.hears(0, "last words").fails(0, Failure::Reset);
    rig.local_reads = true;
    rig.drain();
    assert!(rig.heard().ends_with("last words"));
    assert_eq!(rig.local_closed, Some(true));

    let mut rig = proxy();
    rig.say("CONNECT site.i2p:443 HTTP/1.1\r\n\r\n").opens(0).local_fails(LocalFailure::Reset);
    assert_eq!(rig.stream(0).closed, Some(true));
    // Half-closed and silent: not for ever.
    let mut rig = proxy();
    rig.say("CONNECT site.i2p:443 HTTP/1.1\r\n\r\n").opens(0).hang_up();
    rig.passes(STALL_TIMEOUT - SECOND).hears(0, "x").passes(STALL_TIMEOUT - SECOND);
    assert_eq!(rig.local_closed, None);
    rig.passes(SECOND);
    assert_eq!((rig.stream(0).closed, rig.local_closed), (Some(true), Some(true)));
}

#[test]
fn websockets_pass_and_other_upgrades_do_not() {
    let upgrade = |protocol: &str| {
        format!(
            "GET http://a.i2p/ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\
             Sec-WebSocket-Key: k\r\n\r\n"
        )
    };
    let mut rig = proxy();
    rig.say(upgrade("WebSocket")).opens(0);
    let sent = rig.sent(0);
    assert!(sent.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{sent}");
    assert!(sent.contains("Sec-WebSocket-Key: k\r\n"));
    // Not before the site agreed.
    rig.say("early");
    assert_eq!(rig.sent(0), sent);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";
    rig.hears(0, format!("{switch}frame"));
    let heard = rig.heard();
    assert!(heard.starts_with("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\n"));
    assert!(
        heard.contains("Upgrade: websocket\r\n") && heard.ends_with("\r\n\r\nframe"),
        "{heard}"
    );
    assert_eq!(rig.sent(0), format!("{sent}early"));
    rig.remote_closes(0).hang_up();
    assert_eq!(rig.local_closed, Some(false));
    // The site may also say no.
    let mut rig = proxy();
    rig.say(upgrade("websocket")).opens(0).hears(0, ok("no"));
    assert_eq!(rig.heard(), ok("no"));
    for other in ["h2c", "TLS/1.0", "websocket, h2c"] {
        let mut rig = proxy();
        rig.say(upgrade(other)).opens(0);
        assert!(!rig.sent(0).contains("pgrade"), "{other}");
        rig.hears(0, switch);
        assert_refused(&mut rig, 502);
    }
    let mut rig = proxy();
    rig.say(upgrade("websocket")).opens(0).hears(0, switch.replace("websocket", "h2c"));
    assert_refused(&mut rig, 502);
}

#[test]
fn a_slow_head_is_answered_and_closed() {
    let mut rig = proxy();
    rig.passes(SECOND * 30).say("GET http://a.i2p/ HT").passes(SECOND * 10).say("TP/1.1\r\n");
    rig.passes(SECOND * 4);
    assert_eq!(rig.heard(), "");
    rig.passes(SECOND);
    assert_refused(&mut rig, 408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let mut rig = proxy();
    rig.passes(IDLE_TIMEOUT - SECOND);
    assert_eq!(rig.local_closed, None);
    rig.passes(SECOND);
    assert_eq!((rig.local_closed, rig.heard()), (Some(false), String::new()));
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).hears(0, ok("x")).passes(IDLE_TIMEOUT);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
}

#[test]
fn sites_that_never_come_or_never_answer_are_given_up() {
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).passes(CONNECT_TIMEOUT);
    assert_eq!(rig.stream(0).closed, Some(true));
    assert_refused(&mut rig, 504);
    let mut rig = proxy();
    rig.say("CONNECT a.i2p:1 HTTP/1.1\r\n\r\n").passes(CONNECT_TIMEOUT);
    assert_eq!(rig.stream(0).closed, Some(true));
    assert_refused(&mut rig, 504);
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).passes(ANSWER_TIMEOUT);
    assert_eq!(rig.stream(0).closed, Some(true));
    assert_refused(&mut rig, 504);
    // A client that stops in the middle of its request is told so.
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").opens(0);
    rig.passes(ANSWER_TIMEOUT - SECOND).say("d").passes(ANSWER_TIMEOUT - SECOND);
    assert_eq!(rig.heard(), "");
    rig.passes(SECOND);
    assert_refused(&mut rig, 408);
    // In the middle of an answer there is no page, and no end that looks good.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0);
    rig.hears(0, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").passes(STALL_TIMEOUT);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let mut rig = proxy();
    rig.local_reads = false;
    rig.say(get("http://example.com/")).passes(FLUSH_TIMEOUT);
    assert_eq!(rig.local_closed, Some(true));
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0);
    rig.local_reads = false;
    rig.hears(0, "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n").hears(0, vec![0; 900_000]);
    rig.passes(STALL_TIMEOUT);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
}

#[test]
fn a_client_still_sending_gets_to_read_its_page() {
    let mut rig = proxy();
    rig.say("POST http://example.com/ HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n");
    rig.say(vec![0; 1_000_000]);
    assert_eq!(status(&rig.heard()), 403);
    assert!(rig.local_finished && rig.local_closed.is_none(), "lingers");
    rig.say(vec![0; 1_000_000]).passes(LINGER_TIMEOUT);
    assert_eq!(rig.local_closed, Some(false));
}

#[test]
fn clients_that_leave_take_their_streams_along() {
    // In the middle of the head: nobody was bothered yet.
    let mut rig = proxy();
    rig.say("GET http://a.i2p/ HT").hang_up();
    assert_eq!(status(&rig.heard()), 400);
    assert_eq!((rig.local_closed, rig.opened.len()), (Some(false), 0));
    // In the middle of the body: the site must not take it for complete.
    let mut rig = proxy();
    rig.say("POST http://a.i2p/ HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").opens(0).hang_up();
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
    // After the request: it may still want the answer.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).hang_up().opens(0).hears(0, ok("answer"));
    assert_eq!(rig.heard(), ok("answer"));
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // Between requests.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).hears(0, ok("answer")).hang_up();
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // Broken.
    let mut rig = proxy();
    rig.say(get("http://a.i2p/")).opens(0).local_fails(LocalFailure::Reset);
    assert_eq!(rig.stream(0).closed, Some(true));
    // While CONNECT waits.
    let mut rig = proxy();
    rig.say("CONNECT a.i2p:1 HTTP/1.1\r\n\r\n").hang_up();
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
}

#[test]
fn an_early_answer_lets_the_request_finish_or_ends_with_the_stream() {
    let post = "POST http://a.i2p/ HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc";
    // The site goes on reading.
    let mut rig = proxy();
    rig.say(post).opens(0).hears(0, ok("got it"));
    let heard = rig.heard();
    assert!(heard.contains("Connection: close\r\n") && heard.ends_with("got it"), "{heard}");
    rig.say("defghi");
    assert!(rig.sent(0).ends_with("abcdefghi"));
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // The site has heard enough.
    let mut rig = proxy();
    rig.say(post)
        .opens(0)
        .hears(0, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .remote_closes(0);
    assert_eq!(status(&rig.heard()), 413);
    assert_eq!((rig.local_finished, rig.stream(0).closed), (true, Some(true)));
    rig.say("defghi").hang_up();
    assert_eq!(rig.local_closed, Some(false));
    // Or broke off after it.
    let mut rig = proxy();
    rig.say(post).opens(0).hears(0, ok("x")).fails(0, Failure::Reset);
    assert!(rig.heard().ends_with('x') && rig.local_finished);
}

#[test]
fn a_site_that_speaks_unasked_is_not_used_again() {
    let mut rig = proxy();
    rig.say(get("http://a.i2p/1")).opens(0).hears(0, ok("one"));
    rig.hears(0, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
    assert_eq!(rig.stream(0).closed, Some(true));
    rig.say(get("http://a.i2p/2")).opens(1).hears(1, ok("two"));
    assert_eq!(rig.heard(), [ok("one"), ok("two")].concat());
}

#[test]
fn a_shutdown_closes_idle_connections_finishes_answers_and_explains_itself() {
    let mut idle = proxy();
    idle.say(get("http://a.i2p/1")).opens(0).hears(0, ok("one"));
    idle.shuts_down();
    assert_eq!((idle.local_closed, idle.stream(0).closed), (Some(false), Some(false)));
    let mut busy = proxy();
    busy.say(get("http://a.i2p/1")).opens(0);
    busy.hears(0, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    busy.shuts_down();
    assert_eq!(busy.local_closed, None);
    busy.hears(0, "more");
    assert!(busy.heard().ends_with("halfmore"));
    assert_eq!(busy.local_closed, Some(false));
    let mut waits = proxy();
    waits.say(get("http://a.i2p/1")).shuts_down();
    assert_eq!(status(&waits.heard()), 503);
    assert_eq!((waits.local_closed, waits.stream(0).closed), (Some(false), Some(true)));
    // Said by the owner when there is no more time.
    let mut late = proxy();
    late.say(get("http://a.i2p/1")).opens(0).shuts_down();
    late.fails(0, Failure::ShuttingDown);
    assert_eq!((status(&late.heard()), late.local_closed), (503, Some(false)));
    let mut tunnel = proxy();
    tunnel.say("CONNECT a.i2p:443 HTTP/1.1\r\n\r\n").opens(0).hears(0, "x").shuts_down();
    assert!(tunnel.local_closed.is_none() && tunnel.stream(0).closed.is_none());
    tunnel.hears(0, "y").fails(0, Failure::ShuttingDown);
    assert!(tunnel.heard().ends_with("\r\n\r\nxy") && !tunnel.local_finished);
    assert_eq!(tunnel.local_closed, Some(true));
}
