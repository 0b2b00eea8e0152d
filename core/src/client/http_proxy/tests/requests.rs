//! Judging, cleaning and routing of single requests.

use super::*;

#[test]
fn a_request_is_routed_by_its_target_and_host_is_written_anew() {
    let id = identity(3);
    let b32 = id.b32_address();
    let b64 = id.to_base64();
    let name = Target::Name("site.i2p".into());
    for (url, target, port, line, host) in [
        ("http://site.i2p/a?b=c", name.clone(), 80, "/a?b=c", "site.i2p"),
        ("http://site.i2p", name.clone(), 80, "/", "site.i2p"),
        ("http://site.i2p?x", name.clone(), 80, "/?x", "site.i2p"),
        ("HTTP://SITE.i2p:80/", name.clone(), 80, "/", "site.i2p"),
        ("http://site.i2p:8080/", name.clone(), 8080, "/", "site.i2p:8080"),
        ("http://site.i2p.alt/x", name.clone(), 80, "/x", "site.i2p"),
        ("http://site.i2p//y", name.clone(), 80, "//y", "site.i2p"),
        ("http://site.i2p/\u{e4}", name, 80, "/%C3%A4", "site.i2p"),
        (&format!("http://{b32}/"), Target::Hash(id.hash()), 80, "/", &b32),
        (&format!("http://{b64}/"), Target::Destination(id.clone()), 80, "/", &b32),
        (
            &format!("http://{b64}.i2p:81/"),
            Target::Destination(id.clone()),
            81,
            "/",
            &format!("{b32}:81"),
        ),
    ] {
        let mut rig = proxy();
        rig.say(get(url));
        assert_eq!(rig.opened, [(Slot(0), target, port)], "{url}");
        let sent = rig.sent(0);
        assert!(sent.starts_with(&format!("GET {line} HTTP/1.1\r\nHost: {host}\r\n")), "{sent}");
        assert_eq!(sent.matches("Host:").count(), 1);
        assert!(!sent.contains("wrong.example"));
    }
    let mut rig = proxy();
    rig.say("OPTIONS http://site.i2p HTTP/1.1\r\n\r\n");
    assert!(rig.sent(0).starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn identifying_headers_go_and_the_rest_stays() {
    let gone = [
        "User-Agent: Mozilla/5.0 (X11)",
        "Accept: text/html",
        "Accept-Language: de",
        "Accept-Charset: x",
        "Via: 1.1 me",
        "From: me@example.com",
        "Forwarded: for=1.2.3.4",
        "DNT: 1",
        "Sec-GPC: 1",
        "Sec-CH-UA-Platform: Linux",
        "X-Forwarded-For: 1.2.3.4",
        "X_Forwarded_For: 1.2.3.4",
        "X-Real-IP: 1.2.3.4",
        "X-I2P-DestHash: a",
        "x_i2p_destb64: b",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: 300",
        "TE: trailers",
        "Trailer: X",
        "Upgrade: h2c",
        "HTTP2-Settings: x",
        "Priority: u=0",
        "Referer: http://other.i2p/secret",
        "X-Requested-With: org.example.app",
        "Authorization: NTLM abc",
        "X-Hop: 1",
        "Connection: X-Hop, keep-alive, Upgrade, HTTP2-Settings",
    ];
    let stays = [
        "Accept-Encoding: gzip",
        "Cookie: a=b; c=d",
        "X-Csrf-Token: t",
        "If-None-Match: \"x\"",
        "Range: bytes=0-1",
        "Content-Type: text/plain",
        "Authorization: Basic abc",
        "X-Requested-With: XMLHttpRequest",
    ];
    let lines: Vec<&str> = gone.iter().chain(&stays).copied().collect();
    let mut rig = proxy();
    rig.say(format!("GET http://site.i2p/ HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n")));
    let sent = rig.sent(0);
    let mut want = vec!["Host: site.i2p", "User-Agent: MYOB/6.66 (AN/ON)"];
    want.extend(stays);
    assert_eq!(headers(&sent), want);
}

#[test]
fn referer_and_origin_show_the_same_site_only() {
    for (given, want) in [
        ("Referer: http://site.i2p/x?y", Some("Referer: http://site.i2p/x?y")),
        ("Referer: http://SITE.i2p.alt:80/x", Some("Referer: http://site.i2p/x")),
        ("Referer: http://site.i2p:81/x", None),
        ("Referer: https://site.i2p/x", None),
        ("Referer: http://site.i2p.evil.i2p/x", None),
        ("Referer: http://site.i2p@evil.i2p/x", None),
        ("Referer: http://site.i2p/?i2paddresshelper=abc", None),
        ("Referer: /relative", None),
        ("Referer: https://example.com/", None),
        ("Origin: http://site.i2p", Some("Origin: http://site.i2p")),
        ("Origin: http://other.i2p", Some("Origin: null")),
        ("Origin: https://example.com", Some("Origin: null")),
        ("Origin: null", Some("Origin: null")),
    ] {
        let mut rig = proxy();
        rig.say(format!("GET http://site.i2p/ HTTP/1.1\r\n{given}\r\n\r\n"));
        let sent = rig.sent(0);
        assert_eq!(headers(&sent).get(2).copied(), want, "{given}");
    }
}

#[test]
fn nothing_outside_i2p_is_ever_contacted() {
    for host in [
        "example.com",
        "localhost",
        "localhost.",
        "LOCALHOST:80",
        "127.0.0.1",
        "127.1:7657",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]:80",
        "192.168.1.1",
        "169.254.169.254",
        "10.0.0.1",
        "example.i2p.com",
        "\u{2460}27.0.0.1",
    ] {
        for request in [
            get(&format!("http://{host}/")),
            get(&format!("http://{host}")),
            format!(
                "CONNECT {host}{} HTTP/1.1\r\n\r\n",
                if host.contains(":80") { "" } else { ":443" }
            ),
        ] {
            let mut rig = proxy();
            rig.say(&request);
            let text = rig.heard();
            assert!(matches!(status(&text), 400 | 403), "{request}: {text}");
            assert!(rig.opened.is_empty() && rig.names.is_empty(), "{request}");
        }
    }
    let mut rig = proxy();
    rig.say(get("http://example.com/<script>"));
    assert!(assert_refused(&mut rig, 403).contains("example.com"));
}

#[test]
fn addresses_that_cannot_work_are_explained() {
    let blinded = format!("http://{}.b32.i2p/", "a".repeat(56));
    for (url, want) in [
        (blinded.as_str(), 501),
        ("http://short.b32.i2p/", 400),
        ("http://a_b.i2p/", 400),
        ("http://user:pw@site.i2p/", 400),
        ("http://site.i2p:0/", 400),
        ("http://site.i2p:99999/", 400),
        ("http://site.i2p:/", 400),
        ("http:///", 400),
        ("https://site.i2p/", 400),
        ("ftp://site.i2p/", 400),
        ("site.i2p/", 400),
        ("site.i2p:80", 400),
        ("//site.i2p/", 400),
        ("/path", 400),
        ("*", 400),
        ("http://proxy.i2p/nothing", 404),
        ("http://proxy.i2p:81/", 400),
    ] {
        let mut rig = proxy();
        rig.say(get(url));
        assert_refused(&mut rig, want);
        assert!(rig.opened.is_empty(), "{url}");
    }
}

#[test]
fn a_request_to_the_proxy_itself_gets_the_status_page() {
    for url in ["/", "http://proxy.i2p/", "http://PROXY.i2p:80"] {
        let mut rig = proxy();
        rig.say(get(url));
        let text = assert_refused(&mut rig, 200);
        assert!(text.contains("hosts.txt"), "{text}");
    }
    let mut rig = proxy();
    rig.say("HEAD / HTTP/1.1\r\nHost: 127.0.0.1:4444\r\n\r\n");
    let text = assert_refused(&mut rig, 200);
    assert!(text.ends_with("\r\n\r\n"), "HEAD has no body");
}

/// Requests that two readers could take differently: a page, and not a byte to anybody.
#[test]
fn smuggling_attempts_reach_nobody() {
    let post = "POST http://site.i2p/ HTTP/1.1\r\n";
    let smuggled = "GET http://victim.i2p/ HTTP/1.1\r\n\r\n";
    for (headers, want) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", 400),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: 4\r\nContent-Length: 4\r\n", 400),
        ("Content-Length: 4, 4\r\n", 400),
        ("Content-Length: +4\r\n", 400),
        ("Content-Length: 4 \u{b}\r\n", 400),
        ("Content-Length: 0x4\r\n", 400),
        ("Content-Length : 4\r\n", 400),
        ("Content-Length\t: 4\r\n", 400),
        ("Content_Length: 4\r\n", 400),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: x, chunked\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 501),
        ("Transfer-Encoding:\u{b}chunked\r\n", 400),
        ("Transfer_Encoding: chunked\r\n", 400),
        (" Transfer-Encoding: chunked\r\n", 400),
        ("X: y\r\n Transfer-Encoding: chunked\r\n", 400),
        ("X: y\r\n\tfolded\r\n", 400),
        ("X: y\rTransfer-Encoding: chunked\r\n", 400),
        ("X: y\nTransfer-Encoding: chunked\r\n", 400),
        ("X: a\0b\r\n", 400),
        ("Host: site.i2p\r\nHost: other.i2p\r\n", 400),
        ("Expect: 100-continue, x\r\n", 417),
        ("Expect: something\r\n", 417),
        (": empty\r\n", 400),
        ("no colon\r\n", 400),
    ] {
        let mut rig = proxy();
        rig.say(format!("{post}{headers}\r\n0\r\n\r\n{smuggled}"));
        assert_refused(&mut rig, want);
        assert!(rig.opened.is_empty(), "{headers:?} opened {:?}", rig.opened);
    }
    for (text, want) in [
        ("GET http://site.i2p/ HTTP/1.1\n\n", 400),
        ("GET http://site.i2p/ HTTP/1.1\r\n\n", 400),
        ("GET  http://site.i2p/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://site.i2p/ HTTP/1.1 \r\n\r\n", 400),
        ("GET http://site.i2p/ a HTTP/1.1\r\n\r\n", 505),
        ("GET http://site.i2p/#x HTTP/1.1\r\n\r\n", 400),
        ("get http://site.i2p/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://site.i2p/ HTTP/2.0\r\n\r\n", 505),
        ("GET http://site.i2p/\r\n\r\n", 400),
        ("POST http://site.i2p/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("CONNECT site.i2p:80 HTTP/1.1\r\nContent-Length: 3\r\n\r\n", 400),
        ("CONNECT site.i2p:80 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("CONNECT site.i2p HTTP/1.1\r\n\r\n", 400),
        ("CONNECT http://site.i2p/ HTTP/1.1\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let mut rig = proxy();
        rig.say(text);
        let page = rig.heard();
        assert!(status(&page) == want || (want == 400 && status(&page) == 403), "{text:?}: {page}");
        assert!(rig.opened.is_empty(), "{text:?}");
    }
}

#[test]
fn head_limits_are_answered_as_such() {
    let mut rig = proxy();
    rig.say(format!("GET http://site.i2p/ HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(61)));
    assert_refused(&mut rig, 431);
    let mut rig = proxy();
    rig.say(format!("GET http://site.i2p/ HTTP/1.1\r\nA: {}\r\n", "b".repeat(40_000)));
    assert_refused(&mut rig, 431);
    let mut rig = proxy();
    rig.say(format!("GET http://site.i2p/{}", "b".repeat(40_000)));
    assert_refused(&mut rig, 431);
}

#[test]
fn every_failure_to_connect_has_its_page() {
    for (failure, want) in [
        (Failure::UnknownName, 502),
        (Failure::LeaseSetNotFound, 504),
        (Failure::LeaseSetExpired, 504),
        (Failure::Unsupported, 502),
        (Failure::NoTunnels, 503),
        (Failure::NoRouters, 503),
        (Failure::TimedOut, 504),
        (Failure::Refused, 502),
        (Failure::Reset, 502),
        (Failure::TooMany, 503),
        (Failure::ShuttingDown, 503),
    ] {
        let mut rig = proxy();
        rig.say(get("http://site.i2p/")).fails(0, failure);
        let text = assert_refused(&mut rig, want);
        assert!(text.contains("<code>site.i2p</code>"), "{failure}: {text}");
        let jumps = text.contains(".b32.i2p/jump/site.i2p\"");
        assert_eq!(jumps, failure == Failure::UnknownName);
        let mut rig = proxy();
        rig.say("CONNECT site.i2p:443 HTTP/1.1\r\n\r\n").fails(0, failure);
        assert_refused(&mut rig, want);
        let mut rig = proxy();
        rig.say("HEAD http://site.i2p/ HTTP/1.1\r\n\r\n").fails(0, failure);
        assert!(assert_refused(&mut rig, want).ends_with("\r\n\r\n"));
    }
}
