//! Address helpers.

use super::*;

fn helper_url(id: &Identity) -> String {
    format!("http://new.i2p:81/p?a=1&i2paddresshelper={}&b=2", id.to_base64())
}

/// The value of a hidden field of the page.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).expect("a field");
    rest.split_once('"').unwrap().0.replace("&amp;", "&")
}

fn encode(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

/// The form as a browser sends it.
fn submit(fields: &[(&str, String)]) -> String {
    let body: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={}", encode(v))).collect();
    let body = body.join("&");
    format!(
        "POST http://proxy.i2p/addresshelper HTTP/1.1\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
        body.len()
    )
}

fn fields(page: &str) -> Vec<(&'static str, String)> {
    ["name", "destination", "port", "path", "token"].map(|n| (n, field(page, n))).to_vec()
}

/// The page that asks, for a name that is not known.
fn ask(id: &Identity) -> String {
    let mut rig = proxy();
    rig.say(get(&helper_url(id)));
    assert_eq!(rig.names, [Request::FindName { name: "new.i2p".into() }]);
    assert!(rig.opened.is_empty(), "never applied by itself");
    rig.answers(NameAnswer::Unknown);
    assert_refused(&mut rig, 200)
}

#[test]
fn a_new_name_is_asked_about_and_added_by_its_form_only() {
    let id = identity(5);
    let page = ask(&id);
    assert!(page.contains(&id.b32_address()) && page.contains("new.i2p"));
    assert!(page.contains(&format!("http://{}:81/p?a=1&amp;b=2", id.b32_address())));

    let mut rig = proxy();
    rig.say(submit(&fields(&page)));
    let learn = Request::LearnName { name: "new.i2p".into(), destination: id.clone() };
    assert_eq!(rig.names, [learn]);
    rig.answers(NameAnswer::Known(id));
    let text = rig.heard();
    assert_eq!(status(&text), 303);
    assert!(text.contains("\r\nLocation: http://new.i2p:81/p?a=1&b=2\r\n"), "{text}");

    for answer in [NameAnswer::Unknown, NameAnswer::Known(identity(6))] {
        let mut rig = proxy();
        rig.say(submit(&fields(&page))).answers(answer);
        assert_refused(&mut rig, 503);
    }
}

#[test]
fn a_form_without_our_token_changes_nothing() {
    let (id, other) = (identity(5), identity(6));
    let good = fields(&ask(&id));
    let change = |at: usize, value: &str| {
        let mut fields = good.clone();
        fields[at].1 = value.to_string();
        fields
    };
    let cut = good[4].1.get(..31).unwrap().to_string();
    for fields in [
        change(0, "victim.i2p"),
        change(0, "NEW.i2p"),
        change(1, &other.to_base64()),
        change(1, "x"),
        change(2, "0"),
        change(2, "x"),
        change(3, "relative"),
        change(3, "/x\r\nSet-Cookie: a=b"),
        change(3, "/a b"),
        change(4, ""),
        change(4, &cut),
        change(4, &"0".repeat(32)),
        good[..4].to_vec(),
    ] {
        let mut rig = proxy();
        rig.say(submit(&fields));
        assert_refused(&mut rig, 403);
        assert!(rig.names.is_empty(), "{fields:?}");
    }
    // A token ages.
    for (age, fits) in [(3599, true), (7201, false)] {
        let mut rig = proxy();
        rig.now = rig.now + Duration::from_secs(age);
        rig.say(submit(&good));
        assert_eq!(!rig.names.is_empty(), fits, "{age} s");
    }
    // Not by GET, not to the proxy as if it were a site, not with a huge or odd body.
    for request in [
        "GET http://proxy.i2p/addresshelper?name=a.i2p HTTP/1.1\r\n\r\n".to_string(),
        submit(&good).replace("http://proxy.i2p/", "/"),
        "POST http://proxy.i2p/addresshelper HTTP/1.1\r\nContent-Length: 9000\r\n\r\n".to_string(),
        "POST http://proxy.i2p/addresshelper HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_string(),
        "POST http://proxy.i2p/addresshelper HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_string(),
        "POST http://proxy.i2p/addresshelper HTTP/1.1\r\nContent-Length: 3\r\n\r\n%%%".to_string(),
    ] {
        let mut rig = proxy();
        rig.say(&request);
        assert!(status(&rig.heard()) >= 400, "{request}");
        assert!(rig.names.is_empty(), "{request}");
    }
}

#[test]
fn a_known_name_keeps_its_destination() {
    let (id, other) = (identity(5), identity(6));
    // The same: the helper is taken out and the request goes on.
    let mut rig = proxy();
    rig.say(get(&helper_url(&id))).answers(NameAnswer::Known(id.clone()));
    assert_eq!(rig.opened, [(Slot(0), Target::Name("new.i2p".into()), 81)]);
    assert!(rig.sent(0).starts_with("GET /p?a=1&b=2 HTTP/1.1\r\nHost: new.i2p:81\r\n"));
    // Another: both are shown, nothing is sent.
    let mut rig = proxy();
    rig.say(get(&helper_url(&id))).answers(NameAnswer::Known(other.clone()));
    assert!(rig.opened.is_empty());
    let page = assert_refused(&mut rig, 409);
    assert!(page.contains(&id.b32_address()) && page.contains(&other.b32_address()));
    assert!(!page.contains("<form"));
}

#[test]
fn short_helpers_offer_the_address_and_bad_ones_are_refused() {
    let id = identity(5);
    let b32 = id.b32_address();
    let mut rig = proxy();
    rig.say(get(&format!("http://new.i2p/?i2paddresshelper={b32}"))).answers(NameAnswer::Unknown);
    let page = assert_refused(&mut rig, 200);
    assert!(
        page.contains(&format!("<a href=\"http://{b32}/\">")) && !page.contains("<form"),
        "{page}"
    );
    for (value, want) in [
        ("", 400),
        ("x", 400),
        ("%zz", 400),
        ("%ff", 400),
        ("short.b32.i2p", 400),
        (&format!("{}.b32.i2p", "a".repeat(56)), 501),
        (&format!("{b32}&i2paddresshelper={b32}"), 400),
    ] {
        let mut rig = proxy();
        rig.say(get(&format!("http://new.i2p/?i2paddresshelper={value}")));
        assert_refused(&mut rig, want);
        assert!(rig.names.is_empty() && rig.opened.is_empty(), "{value}");
    }
    // On an address it can only agree.
    let mut rig = proxy();
    rig.say(get(&format!("http://{b32}/?i2paddresshelper={}", id.to_base64())));
    assert!(rig.sent(0).starts_with("GET / HTTP/1.1\r\n"));
    let mut rig = proxy();
    rig.say(get(&format!("http://{b32}/?i2paddresshelper={}", identity(6).to_base64())));
    assert_refused(&mut rig, 400);
    // Escaped padding, as some links have it.
    let mut rig = proxy();
    rig.say(get(&format!(
        "http://new.i2p/?i2paddresshelper={}",
        id.to_base64().replace('=', "%3D")
    )));
    assert_eq!(rig.names.len(), 1);
}

#[test]
fn hostile_links_do_no_harm_on_the_page() {
    let id = identity(5);
    let mut rig = proxy();
    let path = "/\"><script>alert(1)</script>'&x=</form>";
    rig.say(get(&format!("http://new.i2p{path}?i2paddresshelper={}", id.to_base64())));
    rig.answers(NameAnswer::Unknown);
    let page = assert_refused(&mut rig, 200);
    assert!(!page.contains("<script") && page.matches("</form>").count() == 1, "{page}");
}

#[test]
fn a_silent_address_book_is_an_error_and_not_a_hang() {
    let mut rig = proxy();
    rig.say(get(&helper_url(&identity(5)))).passes(HEAD_TIMEOUT);
    assert_refused(&mut rig, 500);
}
