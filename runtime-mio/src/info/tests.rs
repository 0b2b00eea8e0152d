use super::*;
use crate::test_dir::TestDir;
use ramson_core::config::{Client, Server};
use ramson_core::crypto::sign::SigningKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::router::output::StoreKey;
use ramson_core::time::UnixTime;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::{RouterAddress, Style};
use std::os::unix::net::UnixListener;

fn rng() -> Rng {
    Rng::new(&Seed::from_number(1))
}

#[test]
fn a_stored_router_is_known_by_its_files() {
    let tmp = TestDir::new("info-stored");
    let store = Store::new(tmp.path());
    let mut rng = rng();
    let router = RouterKeys::generate(&mut rng);
    let site = DestinationKeys::generate(&mut rng);
    let mut options = Mapping::new();
    options.insert("host", "2001:db8::1").unwrap();
    options.insert("port", "12345").unwrap();
    let addresses = [RouterAddress { cost: 3, style: Style::Ntcp2, options }];
    let signing: &SigningKey = &router.signing;
    let info = RouterInfo::build(
        &router.identity,
        UnixTime::from_secs(1),
        &addresses,
        &Mapping::new(),
        signing,
    );
    store.write(&StoreKey::RouterKeys, Some(&router.encode())).unwrap();
    store.write(&StoreKey::DestinationKeys("site.dat".into()), Some(&site.encode())).unwrap();
    store.write(&StoreKey::RouterInfo, Some(info.as_bytes())).unwrap();
    let mut settings = Settings::default();
    settings.router.servers.push(Server::new("site", "127.0.0.1:80".parse().unwrap()));
    let listen = "127.0.0.1:6668".parse().unwrap();
    settings.router.clients.push(Client::new("irc", listen, "irc.I2P:6667"));

    assert!(Info::running(tmp.path()).unwrap().is_none());
    let info = Info::stored(tmp.path(), &settings).unwrap();
    let json: Value = serde_json::from_str(&info.to_json()).unwrap();
    let hash = base64::encode(router.identity.hash().as_bytes());
    assert_eq!(json["running"], false);
    assert_eq!(json["router"]["hash"], hash);
    assert_eq!(json["router"]["router_info_file"], store.router_info().to_str().unwrap());
    assert_eq!(json["router"]["addresses"][0]["address"], "[2001:db8::1]:12345");
    let services = json["services"].as_array().unwrap();
    let names: Vec<&Value> = services.iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["http_proxy", "irc", "site"]);
    assert_eq!(services[0]["listen"], "127.0.0.1:4444");
    assert_eq!(services[1]["target"], "irc.i2p:6667");
    // It never ran with this client tunnel.
    assert_eq!(services[1]["b32"], Value::Null);
    assert_eq!(services[2]["b32"], site.identity.b32_address());
    assert!(info.to_table().contains(&hash));
}

#[test]
fn nothing_is_made_up() {
    let tmp = TestDir::new("info-none");
    let settings = Settings::default();
    let e = Info::stored(tmp.path(), &settings).unwrap_err();
    assert!(matches!(e, InfoError::NoRouter(_)), "{e}");
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
    let missing = tmp.path().join("missing");
    assert!(matches!(Info::running(&missing), Err(InfoError::DataDir(_))));
    assert!(!missing.exists());
    let store = Store::new(tmp.path());
    let mut keys = RouterKeys::generate(&mut rng()).encode().to_vec();
    keys[20] ^= 1;
    store.write(&StoreKey::RouterKeys, Some(&keys)).unwrap();
    let e = Info::stored(tmp.path(), &settings).unwrap_err().to_string();
    assert!(e.contains("keys/router.keys: damaged"), "{e}");
}

#[test]
fn a_running_router_answers_itself() {
    let tmp = TestDir::new("info-running");
    let _lock = data_dir::DataDir::open(tmp.path()).unwrap();
    let listener = UnixListener::bind(tmp.path().join("control.sock")).unwrap();
    let router = std::thread::spawn(move || {
        for answer in ["{\"version\":1,\"router\":{\"hash\":\"H\"}}\n", "{\"error\":\"no\"}\n", "{"]
        {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = String::new();
            socket.read_to_string(&mut request).unwrap();
            assert_eq!(request, "info\n");
            socket.write_all(answer.as_bytes()).unwrap();
        }
    });
    let info = Info::running(tmp.path()).unwrap().unwrap();
    let json: Value = serde_json::from_str(&info.to_json()).unwrap();
    assert_eq!(json["running"], true);
    assert_eq!(json["process"]["pid"], std::process::id());
    assert_eq!(json["router"], json!({ "hash": "H", "router_info_file": null }));
    for want in ["no", "EOF"] {
        let e = Info::running(tmp.path()).unwrap_err().to_string();
        assert!(e.starts_with("the running router does not answer: ") && e.contains(want), "{e}");
    }
    router.join().unwrap();
}
