//! Whole routers in virtual time: tunnels, pages, crashes, restarts, clocks.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use ramson_core::router::output::{Event, StoreKey};
use ramson_world::content::content;
use ramson_world::{NodeId, Shape, SmallWorld, World};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ready(seed: u64, shape: Shape) -> SmallWorld {
    let mut small = SmallWorld::new(seed, shape);
    small.wait_ready(MINUTE);
    small
}

/// Fetches once and must succeed.
fn fetch(small: &mut SmallWorld, n: usize) {
    small.fetch(n, MINUTE).unwrap_or_else(|e| panic!("{n} bytes: {e}"));
}

#[test]
fn every_router_builds_its_exploratory_and_client_tunnels() {
    let mut small = SmallWorld::new(1, Shape::default());
    let mut routers = small.others.clone();
    routers.extend([small.reader, small.host]);
    let complete = |world: &World, id: NodeId| {
        let report = world.router(id).unwrap().report(world.now());
        report.pools.iter().all(|p| p.inbound.active >= 2 && p.outbound.active >= 2)
    };
    let all = small.world.run_until(secs(30), |w| routers.iter().all(|id| complete(w, *id)));
    assert!(all, "within 30 s");
    let pools = |id| small.world.router(id).unwrap().report(small.world.now()).pools.len();
    assert_eq!((pools(small.reader), pools(small.host), pools(small.others[0])), (2, 2, 1));
    // They stay so, and each carries tunnels of others.
    small.world.run_for(MINUTE);
    for id in routers {
        assert!(complete(&small.world, id), "{id:?}");
        let report = small.world.router(id).unwrap().report(small.world.now());
        assert!(report.transit.tunnels > 0 && report.transit.messages > 0, "{id:?}");
        let failed: u64 = report.pools.iter().map(|p| p.inbound.failed).sum();
        assert_eq!(failed, 0, "nothing fails where nothing is wrong: {id:?}");
    }
}

#[test]
fn a_page_arrives_byte_for_byte_through_two_and_three_hops() {
    for (seed, length) in [(2, 2), (3, 3)] {
        let mut small = ready(seed, Shape { length, ..Shape::default() });
        for n in [0, 1, 1000, 300_000] {
            fetch(&mut small, n);
        }
        let reports = small.floodfills.iter().map(|id| small.world.floodfill(*id).unwrap());
        let (found, refused) = reports.fold((0, 0), |(f, r), x| (f + x.found, r + x.refused));
        assert!(found > 0, "it was looked up");
        assert_eq!(refused, 0);
    }
}

#[test]
fn a_kept_connection_carries_two_requests() {
    let mut small = ready(4, Shape::default());
    let site = small.site();
    let browser = small.world.open_browser(small.reader);
    for n in [500, 20_000] {
        small.world.ask(browser, &format!("http://{site}/{n}"));
        let answer = small.world.wait_answer(browser, MINUTE).unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, n));
        assert!(answer.body == content(n));
        assert!(!small.world.is_ended(browser));
    }
    small.world.close_browser(browser);
    small.world.run_for(secs(5));
}

#[test]
fn several_browsers_at_once_get_what_each_asked_for() {
    let mut small = ready(5, Shape::default());
    let site = small.site();
    let sizes = [10, 5000, 70_000, 333, 12_000, 40_000];
    let browsers: Vec<_> = sizes.map(|_| small.world.open_browser(small.reader)).into();
    for (browser, n) in browsers.iter().zip(sizes) {
        small.world.ask(*browser, &format!("http://{site}/{n}"));
    }
    for (browser, n) in browsers.iter().zip(sizes) {
        let answer = small.world.wait_answer(*browser, MINUTE).unwrap();
        assert!(answer.status == 200 && answer.body == content(n), "{n}");
    }
}

#[test]
fn a_page_of_nobody_is_an_error_page_and_not_a_silence() {
    let mut small = ready(6, Shape::default());
    let url = format!("http://{}.b32.i2p/", "a".repeat(52));
    let answer = small.world.fetch(small.reader, &url, MINUTE).unwrap();
    assert!((500..600).contains(&answer.status), "{}", answer.head);
    fetch(&mut small, 100);
}

#[test]
fn fetches_succeed_again_within_a_minute_when_a_hop_crashes_or_loses_its_power() {
    for (seed, power) in [(8, false), (31, false), (8, true), (36, true)] {
        let mut small = ready(seed, Shape::default());
        fetch(&mut small, 1000);
        let victim = small.others[0];
        if power {
            small.world.lose_power(victim);
        } else {
            small.world.crash(victim);
        }
        let before = small.world.now();
        let failed = small.fetch_until(1000, MINUTE);
        let took = small.world.now().saturating_since(before);
        assert!(failed.is_ok(), "seed {seed}, power {power}: {failed:?}");
        assert!(took <= MINUTE, "seed {seed}, power {power}: {took:?}");
        // And from then on without a hitch.
        small.world.run_for(secs(20));
        for _ in 0..3 {
            fetch(&mut small, 1000);
            small.world.run_for(secs(5));
        }
        small.world.start(victim);
        small.world.run_for(secs(30));
        fetch(&mut small, 1000);
    }
}

#[test]
fn a_download_survives_the_crash_of_a_hop() {
    for seed in [10, 11, 12] {
        let mut small = ready(seed, Shape::default());
        fetch(&mut small, 10);
        let url = format!("http://{}/600000", small.site());
        let browser = small.world.open_browser(small.reader);
        small.world.ask(browser, &url);
        let some = small.world.run_until(MINUTE, |w| w.received(browser) > 50_000);
        assert!(some, "seed {seed}: it is under way");
        assert_eq!(small.world.answers(browser), 0, "seed {seed}: it is not over");
        small.world.crash(small.others[1]);
        let answer = small.world.wait_answer(browser, MINUTE * 2);
        let answer = answer.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(answer.body == content(600_000), "seed {seed}");
    }
}

#[test]
fn a_restart_keeps_identity_and_destination() {
    let mut small = ready(13, Shape::default());
    fetch(&mut small, 100);
    for orderly in [true, false] {
        let (hash, site) = (small.world.router(small.host).unwrap().hash(), small.site());
        if orderly {
            small.world.shut_down(small.host);
            small.world.run_for(secs(2));
            assert_eq!(small.world.happened(small.host).last(), Some(&Event::Stopped));
        }
        small.world.crash(small.host);
        small.world.run_for(secs(3));
        small.world.start(small.host);
        assert_eq!(small.world.router(small.host).unwrap().hash(), hash);
        assert_eq!(small.site(), site);
        let failed = small.fetch_until(5000, MINUTE * 2);
        assert!(failed.is_ok(), "orderly {orderly}: {failed:?}");
    }
}

#[test]
fn the_reader_restarts_and_reads_on() {
    let mut small = ready(14, Shape::default());
    fetch(&mut small, 100);
    small.world.crash(small.reader);
    small.world.run_for(secs(1));
    small.world.start(small.reader);
    let failed = small.fetch_until(5000, MINUTE);
    assert!(failed.is_ok(), "{failed:?}");
}

#[test]
fn a_shutdown_says_goodbye_and_then_that_it_stopped() {
    let mut small = ready(15, Shape::default());
    let id = small.others[0];
    small.world.run_for(secs(5));
    let peers = |w: &World| {
        let report = w.router(id).unwrap().report(w.now());
        report.peers.inbound + report.peers.outbound
    };
    assert!(peers(&small.world) > 0);
    small.world.shut_down(id);
    let stopped = small.world.run_until(secs(2), |w| w.happened(id).contains(&Event::Stopped));
    assert!(stopped);
    assert_eq!(peers(&small.world), 0);
    assert!(small.world.stored(id, &StoreKey::RouterKeys).is_some());
    small.world.run_for(MINUTE);
    let count = small.world.happened(id).iter().filter(|e| **e == Event::Stopped).count();
    assert_eq!(count, 1, "it says so once");
}

#[test]
fn a_step_of_the_wall_clock_moves_no_timer() {
    // Half a minute is within what peers tolerate: everything goes on as if nothing had been.
    for step in [-30, 30] {
        let mut small = ready(16, Shape::default());
        fetch(&mut small, 1000);
        small.world.step_clock(small.reader, step);
        for _ in 0..5 {
            fetch(&mut small, 1000);
            small.world.run_for(secs(10));
        }
    }
    // An hour, on all machines at once, as after a resume: tunnels and sessions go on.
    for step in [3600, -3600] {
        let mut small = ready(17, Shape::default());
        fetch(&mut small, 1000);
        let mut all = small.others.clone();
        all.extend([small.reader, small.host]);
        all.extend(small.floodfills.iter().copied());
        let active = |small: &SmallWorld| {
            let report = small.world.router(small.reader).unwrap().report(small.world.now());
            report.pools.iter().map(|p| p.inbound.built + p.outbound.built).sum::<u64>()
        };
        let built = active(&small);
        for id in all {
            small.world.step_clock(id, step);
        }
        let failed = small.fetch_until(1000, MINUTE);
        assert!(failed.is_ok(), "{step}: {failed:?}");
        for _ in 0..5 {
            fetch(&mut small, 1000);
            small.world.run_for(secs(10));
        }
        assert_eq!(active(&small), built, "{step}: no tunnel was given up for it");
    }
}

#[test]
fn a_browser_that_asks_before_there_are_tunnels_gets_its_page() {
    for seed in [61, 62, 63] {
        let mut small = SmallWorld::new(seed, Shape::default());
        let site = small.site();
        let start = small.world.now();
        let url = format!("http://{site}/2000");
        let answer = small.world.fetch(small.reader, &url, MINUTE).unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 2000), "seed {seed}: {}", answer.head);
        let took = small.world.now().saturating_since(start);
        assert!(took < secs(40), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_shutdown_ends_streams_first_then_sessions_and_says_so_once() {
    for seed in [64, 65] {
        let mut small = ready(seed, Shape::default());
        fetch(&mut small, 1000);
        let url = format!("http://{}/50000000", small.site());
        let browser = small.world.open_browser(small.reader);
        small.world.ask(browser, &url);
        let reader = small.reader;
        assert!(small.world.run_until(MINUTE, |w| w.received(browser) > 20_000));
        let host = small.host;
        let streams = |w: &World| {
            let report = w.router(host).unwrap().report(w.now());
            report.services.iter().map(|s| s.connections).sum::<u64>()
        };
        assert_eq!(streams(&small.world), 1);
        small.world.shut_down(reader);
        // A late comer is refused.
        let late = small.world.open_browser(reader);
        let stopped =
            |w: &World| w.happened(reader).iter().filter(|e| **e == Event::Stopped).count();
        assert!(small.world.run_until(secs(5), |w| stopped(w) > 0), "seed {seed}");
        assert!(small.world.is_ended(browser) && small.world.is_ended(late));
        assert_eq!(small.world.answers(browser), 0, "half an answer is none");
        // The site heard of the end: it does not wait until it takes the reader for lost.
        assert!(small.world.run_until(secs(2), |w| streams(w) == 0), "seed {seed}");
        small.world.run_for(70 * MINUTE);
        assert_eq!(stopped(&small.world), 1);
    }
}

#[test]
fn an_idle_router_stops_at_once() {
    let mut small = ready(66, Shape::default());
    fetch(&mut small, 1000);
    small.world.run_for(5 * MINUTE);
    let reader = small.reader;
    small.world.shut_down(reader);
    let stopped = |w: &World| w.happened(reader).contains(&Event::Stopped);
    assert!(small.world.run_until(secs(1), stopped));
}

#[test]
fn a_router_with_nothing_to_do_sleeps() {
    let mut small = ready(67, Shape::default());
    small.world.run_for(2 * MINUTE);
    let nodes = [small.reader, small.host, small.others[0]];
    let before = nodes.map(|id| small.world.wakes(id));
    small.world.run_for(5 * MINUTE);
    for (id, before) in nodes.into_iter().zip(before) {
        let a_second = (small.world.wakes(id) - before) as f64 / 300.0;
        assert!(a_second < 20.0, "{id:?}: {a_second} wakes a second");
    }
}
