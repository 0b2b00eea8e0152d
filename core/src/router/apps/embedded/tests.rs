use super::*;
use crate::client::address_book::AddressBook;
use crate::config::{Config, Server};
use crate::rng::Seed;
use crate::router::apps::{accept, key_names};
use crate::streaming::{StreamingConfig, Streams};
use crate::time::UnixTime;
use alloc::collections::BTreeMap;
use core::net::SocketAddr;
use core::time::Duration;

const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);

fn keys(n: u64) -> DestinationKeys {
    DestinationKeys::generate(&mut Rng::new(&Seed::from_number(n)))
}

/// One configured site, and one destination of the embedder that listens.
fn apps(incoming: Option<IncomingLimits>) -> (Apps, DestinationId) {
    let mut config = Config::default();
    config.servers.push(Server::new("site", SocketAddr::from(([127, 0, 0, 1], 80))));
    let names: BTreeMap<_, _> =
        key_names(&config).into_iter().map(|name| (name, keys(1))).collect();
    let mut rng = Rng::new(&Seed::from_number(9));
    let mut apps = Apps::new(&config, names, AddressBook::new(), Instant::ZERO, &mut rng).unwrap();
    let mut new = NewDestination::new("own");
    new.incoming = incoming;
    let id = DestinationId(apps.open_embedded(Instant::ZERO, new, keys(2), &mut rng));
    apps.listen(id, 0, true);
    (apps, id)
}

/// Streams that a remote opens, with some bytes each.
fn knock(apps: &mut Apps, id: DestinationId, remote: u64, count: u64) {
    let keys = keys(remote);
    let to = apps.apps[&id.0].destination.identity().clone();
    let later = Instant::ZERO + Duration::from_secs(1);
    for n in 0..count {
        // A machine of its own each, for one would pace them.
        let rng = Rng::new(&Seed::from_number(remote * 1000 + n));
        let (identity, signing) = (keys.identity.clone(), keys.signing.clone());
        let mut streams = Streams::new(identity, signing, StreamingConfig::default(), rng);
        let stream = streams.connect(Instant::ZERO, to.clone(), 0, 5).unwrap();
        streams.write(Instant::ZERO, stream, b"hello");
        let mut bytes = Vec::new();
        while streams.poll_packet(later, &mut bytes).is_some() {
            let app = apps.apps.get_mut(&id.0).unwrap();
            let from = Some(keys.identity.hash());
            app.streams.handle_packet(later, UNIX, 0, 5, from, &bytes);
            bytes.clear();
            apps.settle(later, UNIX);
        }
    }
}

fn events(apps: &mut Apps) -> Vec<AppEvent> {
    core::iter::from_fn(|| apps.poll_app_event()).collect()
}

#[test]
fn an_own_destination_has_an_equal_share_unless_it_asks_for_another() {
    let (mut apps, id) = apps(None);
    let share = accept::share(512, 2);
    for remote in 10..20 {
        knock(&mut apps, id, remote, 100);
    }
    assert_eq!(apps.connections(id.0), share);
    let (mut apps, id) = self::apps(Some(IncomingLimits { all: 30, one_remote: 20 }));
    knock(&mut apps, id, 10, 40);
    assert_eq!(apps.connections(id.0), 20);
    knock(&mut apps, id, 11, 40);
    assert_eq!((apps.connections(id.0), apps.apps[&id.0].refusals.total), (30, 50));
    let sharing = apps.apps.values().filter(|app| app.takes_share()).count();
    assert_eq!(sharing, 1, "the site has all of the others");
}

#[test]
fn who_does_not_listen_to_events_makes_no_queue_grow() {
    let (mut apps, id) = apps(None);
    knock(&mut apps, id, 10, 30);
    let now = Instant::ZERO + Duration::from_secs(2);
    for _ in 0..100 {
        let streams: Vec<_> = apps.embedded.keys().copied().collect();
        for stream in streams {
            apps.read(now, stream, 1, &mut Vec::new());
            apps.write(now, stream, b"x");
        }
    }
    assert_eq!(apps.news.len(), 30);
    let told = events(&mut apps);
    let incoming = told.iter().filter(|e| matches!(e, AppEvent::Incoming { .. })).count();
    assert_eq!(incoming, 30);
    assert!(apps.news.is_empty());
}

#[test]
fn what_is_open_is_limited_and_counts_until_its_end_was_told() {
    let (mut apps, id) = apps(None);
    let to = Target::Destination(keys(100).identity);
    let now = Instant::ZERO;
    let max = StreamingConfig::default().max_streams;
    let stream = Waiting::Stream(Ports::to(1));
    let first = apps.want(now, id, &to, stream);
    for _ in 1..max {
        apps.want(now, id, &to, stream);
    }
    assert_eq!(events(&mut apps), []);
    let refused = apps.want(now, id, &to, stream);
    let told = AppEvent::Closed(StreamHandle(refused), Err(Failure::TooMany));
    assert_eq!(events(&mut apps), [told]);
    apps.drop_embedded(now, first, false);
    apps.want(now, id, &to, stream);
    assert_eq!(events(&mut apps), []);
    // The stop tells all of them.
    apps.shut_down(now);
    apps.break_off(now);
    let ends = events(&mut apps);
    let over = |e: &&AppEvent| matches!(e, AppEvent::Closed(_, Err(Failure::ShuttingDown)));
    assert_eq!(ends.iter().filter(over).count(), max);
    assert!(apps.embedded.is_empty());
}

#[test]
fn handles_of_what_is_gone_do_nothing() {
    let (mut apps, id) = apps(None);
    knock(&mut apps, id, 10, 1);
    let now = Instant::ZERO + Duration::from_secs(2);
    let [AppEvent::Incoming { stream, .. }, ..] = events(&mut apps)[..] else { panic!() };
    apps.abandon(now, id);
    apps.remove_embedded(id);
    let mut out = Vec::new();
    assert_eq!((apps.read(now, stream.0, 10, &mut out), apps.write(now, stream.0, b"x")), (0, 0));
    apps.finish(now, stream.0);
    apps.drop_embedded(now, stream.0, true);
    assert!(apps.receive_datagram(id).is_none() && apps.identity(id).is_none());
    assert_eq!(events(&mut apps), []);
    let site = DestinationId(0);
    assert!(apps.identity(site).is_none() && apps.keys(site).is_none(), "not the embedder's");
}
