use super::*;
use crate::client::Slot;
use crate::config::{Client, HttpProxy, Server};
use crate::rng::Seed;
use crate::router::input::{ConnInput, Listener, Remote};
use crate::streaming::Streams;
use crate::wire::lease_set::{Contents, LeaseSet2};
use crate::wire::mapping::Mapping;
use alloc::vec;
use core::net::SocketAddr;
use core::time::Duration;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn keys(n: u64) -> DestinationKeys {
    DestinationKeys::generate(&mut Rng::new(&Seed::from_number(n)))
}

/// A proxy, a client tunnel to destination 100, and four sites.
fn apps() -> Apps {
    let local = SocketAddr::from(([127, 0, 0, 1], 80));
    let mut config = Config { http_proxy: Some(HttpProxy::new(local)), ..Config::default() };
    let to = keys(100).identity.b32_address();
    config.clients.push(Client::new("client", local, &to));
    config.servers.push(Server::new("one", local));
    config.servers.push(Server::new("two", local));
    config.servers.push(Server::new("three", local));
    config.servers.push(Server::new("four", local));
    let names = key_names(&config).into_iter().zip(1..).map(|(name, n)| (name, keys(n)));
    let mut rng = Rng::new(&Seed::from_number(9));
    Apps::new(&config, names.collect(), AddressBook::new(), Instant::ZERO, &mut rng).unwrap()
}

const PROXY: usize = 0;
const CLIENT: usize = 1;
const ONE: usize = 2;
const TWO: usize = 3;

fn accept(apps: &mut Apps, now: Instant, n: u64, listener: Listener) -> ConnId {
    let conn = ConnId::accepted(n);
    let _ = apps.handle_conn(now, conn, ConnInput::Accepted { remote: Remote::Local, listener });
    apps.settle(now, UNIX);
    conn
}

/// Gives an application tunnels.
fn tunnels(apps: &mut Apps, now: Instant, app: usize) {
    let lease =
        Lease { gateway: keys(50).identity.hash(), tunnel: 7, expires: UNIX + 600 * SECOND };
    apps.handle_tunnels(now, UNIX, pool_of(app), vec![lease], vec![OutboundId::for_tests(1)]);
    apps.settle(now, UNIX);
}

fn lease_set(n: u64, key_type: u16, key_len: usize) -> LeaseSet {
    let keys = keys(n);
    let lease = Lease { gateway: keys.identity.hash(), tunnel: 7, expires: UNIX + 600 * SECOND };
    let key = vec![9; key_len];
    let contents = Contents {
        published: UNIX,
        expires: UNIX + 600 * SECOND,
        keys: &[(key_type, &key)],
        leases: &[lease],
        options: &Mapping::new(),
        unpublished: false,
    };
    LeaseSet2::build(&keys.identity, &contents, &keys.signing).unwrap()
}

/// Lookups that the applications ask for.
fn lookups(apps: &mut Apps) -> usize {
    let mut n = 0;
    while let Some(action) = apps.poll_action() {
        n += usize::from(matches!(action, AppAction::Lookup { .. }));
    }
    n
}

/// What the local side gets.
fn heard(apps: &mut Apps, now: Instant, conn: ConnId) -> String {
    let mut out = Vec::new();
    while apps.poll_conn(now, conn, 4096, &mut out) > 0 {}
    String::from_utf8(out).unwrap()
}

/// A browser that asks the proxy for destination 100.
fn ask(apps: &mut Apps, now: Instant, n: u64) -> ConnId {
    let conn = accept(apps, now, n, Listener::HttpProxy);
    let host = keys(100).identity.b32_address();
    let mut request = alloc::format!("GET http://{host}/ HTTP/1.1\r\n\r\n").into_bytes();
    let _ = apps.handle_conn(now, conn, ConnInput::Bytes(&mut request));
    apps.settle(now, UNIX);
    conn
}

/// Streams that `remote` opens to a site.
fn knock(apps: &mut Apps, now: Instant, remote: u64, app: usize, count: usize) {
    let keys = keys(remote);
    let to = apps.apps[&app].destination.identity().clone();
    let from = keys.identity.hash();
    let later = now + SECOND;
    for n in 0..count as u64 {
        // A machine of its own each, for one would pace them.
        let rng = Rng::new(&Seed::from_number(remote * 1000 + n));
        let (identity, signing) = (keys.identity.clone(), keys.signing.clone());
        let mut streams = Streams::new(identity, signing, StreamingConfig::default(), rng);
        streams.connect(now, to.clone(), 0, 0).unwrap();
        streams.handle_timeout(later);
        let mut bytes = Vec::new();
        while streams.poll_packet(later, &mut bytes).is_some() {
            let app = apps.apps.get_mut(&app).unwrap();
            app.streams.handle_packet(later, UNIX, 0, 0, Some(from), &bytes);
            bytes.clear();
            apps.settle(later, UNIX);
        }
    }
}

#[test]
fn a_flood_of_streams_is_not_felt_at_another_site_nor_by_local_programs() {
    let mut apps = apps();
    let now = Instant::ZERO;
    let share = accept::share(512, 4);
    // One visitor gets a part, all together the share of that site.
    knock(&mut apps, now, 200, ONE, 100);
    assert_eq!(apps.connections(ONE), share / 4);
    for remote in 201..240 {
        knock(&mut apps, now, remote, ONE, 40);
    }
    assert_eq!(apps.connections(ONE), share);
    assert!(apps.apps[&ONE].refusals.total > 0);
    // Who comes with one or two has a place all the same, and takes it from who has most.
    let of = |apps: &Apps, remote: u64| {
        let hash = keys(remote).identity.hash();
        apps.conns.values().filter(|l| l.app == ONE && l.remote == Some(hash)).count()
    };
    for remote in 300..310 {
        knock(&mut apps, now, remote, ONE, 2);
        assert_eq!((of(&apps, remote), apps.connections(ONE)), (2, share));
    }
    // When all have little, nobody gives way.
    for remote in 310..500 {
        knock(&mut apps, now, remote, ONE, 1);
    }
    assert_eq!(apps.connections(ONE), share);
    assert!((300..310).all(|remote| of(&apps, remote) <= 2));
    knock(&mut apps, now, 200, TWO, 3);
    assert_eq!((apps.connections(TWO), apps.apps[&TWO].refusals.total), (3, 0));
    for n in 0..100 {
        accept(&mut apps, now, n, Listener::HttpProxy);
    }
    assert_eq!(apps.connections(PROXY), 100);
}

#[test]
fn a_flood_of_local_connections_is_not_felt_elsewhere() {
    let mut apps = apps();
    let now = Instant::ZERO;
    for n in 0..400 {
        accept(&mut apps, now, n, Listener::HttpProxy);
    }
    assert_eq!(apps.connections(PROXY), 256);
    assert_eq!(apps.apps[&PROXY].refusals.total, 144);
    let aborts = |action| matches!(action, AppAction::Effect(Action::Close { abort: true, .. }));
    let mut closed = 0;
    while let Some(action) = apps.poll_action() {
        closed += usize::from(aborts(action));
    }
    assert_eq!(closed, 144);
    accept(&mut apps, now, 1000, Listener::Client(0));
    knock(&mut apps, now, 200, ONE, 3);
    assert_eq!((apps.connections(CLIENT), apps.connections(ONE)), (1, 3));
}

#[test]
fn an_end_of_sending_before_the_stream_is_there_is_passed_on() {
    for text in ["", "hello"] {
        let mut apps = apps();
        let now = Instant::ZERO;
        let conn = accept(&mut apps, now, 1, Listener::Client(0));
        let mut bytes = text.as_bytes().to_vec();
        let _ = apps.handle_conn(now, conn, ConnInput::Bytes(&mut bytes));
        let _ = apps.handle_conn(now, conn, ConnInput::ReadClosed);
        tunnels(&mut apps, now, CLIENT);
        assert_eq!(lookups(&mut apps), 1);
        apps.handle_lease_set(now, UNIX, CLIENT, lease_set(100, 4, 32));
        apps.settle(now, UNIX);
        let id = apps.conns[&conn].streams[&Slot(0)].id.expect("a stream");
        let streams = &apps.apps[&CLIENT].streams;
        assert_eq!(streams.info(id).unwrap().unacknowledged, text.len());
        assert_eq!(streams.writable(id), 0, "our direction has ended");
    }
}

#[test]
fn a_destination_that_is_not_found_is_looked_for_again() {
    let mut apps = apps();
    let mut now = Instant::ZERO;
    let conn = accept(&mut apps, now, 1, Listener::Client(0));
    tunnels(&mut apps, now, CLIENT);
    let key = keys(100).identity.hash();
    let fail = |apps: &mut Apps, now| {
        apps.handle_lookup_failed(now, UNIX, CLIENT, key, Unresolved::NotFound);
        apps.settle(now, UNIX);
    };
    assert_eq!(lookups(&mut apps), 1);
    for pause in [search::SHORT_PAUSE, search::SEARCH_PAUSE, search::SEARCH_PAUSE] {
        fail(&mut apps, now);
        assert!(lookups(&mut apps) == 0 && apps.conns.contains_key(&conn));
        now = now + pause;
        apps.handle_timeout(now, UNIX);
        apps.settle(now, UNIX);
        assert_eq!(lookups(&mut apps), 1);
    }
    // Published at last.
    apps.handle_lease_set(now, UNIX, CLIENT, lease_set(100, 4, 32));
    apps.settle(now, UNIX);
    assert!(apps.conns[&conn].streams[&Slot(0)].id.is_some());
}

#[test]
fn a_search_for_nobody_ends_with_a_page_after_some_tries() {
    let mut apps = apps();
    let mut now = Instant::ZERO;
    tunnels(&mut apps, now, PROXY);
    let conn = ask(&mut apps, now, 1);
    let to = keys(100).identity.hash();
    let mut tries = 0;
    while lookups(&mut apps) > 0 {
        tries += 1;
        apps.handle_lookup_failed(now, UNIX, PROXY, to, Unresolved::NotFound);
        apps.settle(now, UNIX);
        now = now + search::SEARCH_PAUSE;
        apps.handle_timeout(now, UNIX);
        apps.settle(now, UNIX);
    }
    assert_eq!(tries, 5);
    assert!(heard(&mut apps, now, conn).starts_with("HTTP/1.1 504 "));
}

#[test]
fn requests_wait_for_our_first_tunnels_and_not_for_ever() {
    let mut waiting = apps();
    let conn = ask(&mut waiting, Instant::ZERO, 1);
    let late = Instant::ZERO + search::TUNNEL_PATIENCE;
    let soon = Instant::ZERO + search::TUNNEL_PATIENCE - SECOND;
    waiting.handle_timeout(soon, UNIX);
    assert_eq!((heard(&mut waiting, soon, conn).as_str(), lookups(&mut waiting)), ("", 0));
    tunnels(&mut waiting, soon, PROXY);
    assert_eq!(lookups(&mut waiting), 1);
    waiting.handle_timeout(late, UNIX);
    assert_eq!(heard(&mut waiting, late, conn), "", "the search goes on");

    let mut given_up = apps();
    let conn = ask(&mut given_up, Instant::ZERO, 1);
    assert!(given_up.poll_timeout().0.is_some_and(|at| at <= late));
    given_up.handle_timeout(late, UNIX);
    let page = heard(&mut given_up, late, conn);
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("No tunnels yet"), "{page}");
}

#[test]
fn with_no_router_known_requests_fail_at_once_and_the_page_says_what_is_missing() {
    let mut apps = apps();
    let now = Instant::ZERO;
    apps.set_alone(true);
    let conn = ask(&mut apps, now, 1);
    let page = heard(&mut apps, now, conn);
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("RouterInfo files"), "{page}");
    apps.set_alone(false);
    let conn = ask(&mut apps, now, 2);
    assert_eq!(heard(&mut apps, now, conn), "", "there is hope");
}

#[test]
fn a_router_that_knows_nobody_says_so_to_the_first_request() {
    let local = SocketAddr::from(([127, 0, 0, 1], 80));
    let config = Config { http_proxy: Some(HttpProxy::new(local)), ..Config::default() };
    let now = Instant::ZERO;
    let stored = crate::router::input::Stored::default();
    let seed = Seed::from_number(1);
    let mut router = crate::router::Router::new(Arc::new(config), stored, seed, now, UNIX).unwrap();
    let conn = ConnId::accepted(1);
    let listener = Listener::HttpProxy;
    let accepted = ConnInput::Accepted { remote: Remote::Local, listener };
    let _ = router.handle_conn(now, conn, accepted);
    let host = keys(100).identity.b32_address();
    let mut request = alloc::format!("GET http://{host}/ HTTP/1.1\r\n\r\n").into_bytes();
    let _ = router.handle_conn(now, conn, ConnInput::Bytes(&mut request));
    let mut out = Vec::new();
    while router.poll_conn(now, conn, 4096, &mut out) > 0 {}
    let page = String::from_utf8(out).unwrap();
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("RouterInfo files"), "{page}");
}

#[test]
fn a_destination_without_a_key_that_we_can_use_has_a_page_of_its_own() {
    let mut apps = apps();
    let now = Instant::ZERO;
    tunnels(&mut apps, now, PROXY);
    let conn = ask(&mut apps, now, 1);
    apps.handle_lease_set(now, UNIX, PROXY, lease_set(100, 0, 256));
    apps.settle(now, UNIX);
    let page = heard(&mut apps, now, conn);
    assert!(page.starts_with("HTTP/1.1 502 ") && page.contains("Encryption not supported"));
}

#[test]
fn a_shutdown_ends_what_is_idle_says_why_to_who_waits_and_takes_nothing_new() {
    let mut apps = apps();
    let now = Instant::ZERO;
    let idle = accept(&mut apps, now, 1, Listener::HttpProxy);
    let waits = ask(&mut apps, now, 2);
    assert!(!apps.is_quiet());
    apps.shut_down(now);
    assert!(!apps.conns.contains_key(&idle));
    let page = heard(&mut apps, now, waits);
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("Router stopping"), "{page}");
    accept(&mut apps, now, 3, Listener::HttpProxy);
    knock(&mut apps, now, 200, ONE, 1);
    assert!(apps.conns.is_empty());
}

#[test]
fn a_tunnel_runs_on_while_we_stop_and_is_then_reset_on_both_sides() {
    let mut apps = apps();
    let now = Instant::ZERO;
    let conn = accept(&mut apps, now, 1, Listener::Client(0));
    tunnels(&mut apps, now, CLIENT);
    apps.handle_lease_set(now, UNIX, CLIENT, lease_set(100, 4, 32));
    apps.settle(now, UNIX);
    while apps.poll_action().is_some() {}
    let id = apps.conns[&conn].streams[&Slot(0)].id.expect("a stream");
    apps.shut_down(now);
    apps.settle(now, UNIX);
    assert!(apps.apps[&CLIENT].streams.writable(id) > 0, "our direction is open");
    let ends = |apps: &mut Apps| {
        let mut ends = Vec::new();
        while let Some(action) = apps.poll_action() {
            if let AppAction::Effect(Action::ShutdownWrite(_)) = action {
                ends.push(false);
            } else if let AppAction::Effect(Action::Close { abort, .. }) = action {
                ends.push(abort);
            }
        }
        ends
    };
    assert_eq!(ends(&mut apps), []);
    apps.break_off(now);
    assert_eq!(ends(&mut apps), [true]);
    assert!(apps.apps[&CLIENT].streams.info(id).is_none() && apps.conns.is_empty());
}

#[test]
fn our_services_are_named_when_their_keys_are_stored_and_not_before() {
    let mut config = Config::default();
    config.servers.push(Server::new("one", SocketAddr::from(([127, 0, 0, 1], 80))));
    let now = Instant::ZERO;
    let seed = Seed::from_number(1);
    let stored = crate::router::input::Stored::default();
    let mut router = crate::router::Router::new(Arc::new(config), stored, seed, now, UNIX).unwrap();
    assert!(!router.introduced);
    // Somebody who does not do what is asked first.
    router.handle_timeout(now);
    assert!(!router.introduced);
    while router.poll_action().is_some() {}
    router.handle_timeout(now + SECOND);
    assert!(router.introduced);
}
