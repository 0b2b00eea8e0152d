//! Being a floodfill.

use crate::config;
use crate::netdb::routing_key::RoutingKey;
use crate::netdb::testing::{Maker, NET_ID, UNIX, at, lease_set, lease_set_until};
use crate::netdb::*;
use crate::rng::{Rng, Seed};
use crate::time::UnixTime;
use crate::wire::i2np::{DatabaseLookup, StoreReply};
use crate::wire::router_info::Reach;
use alloc::vec::Vec;
use core::time::Duration;

const SESSION: Hash = Hash([77; 32]);
const GATEWAY: Hash = Hash([78; 32]);
/// Through somebody's tunnel that ends at this hop.
const HIDDEN: Origin = Origin::Hidden(Some(Hash([79; 32])));

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A floodfill that knows so many other floodfills, and as many ordinary routers.
fn floodfill(known: u64) -> NetDb {
    let config =
        NetDbConfig { local: Maker::new(0).hash(), net_id: NET_ID, reach: Reach::ntcp2(false) };
    let mut db = NetDb::new(at(0), config, Rng::new(&Seed::from_number(1)));
    for n in 0..known {
        db.restore(at(0), UNIX, Maker::floodfill(100 + n).build()).unwrap();
        db.restore(at(0), UNIX, Maker::new(200 + n).build()).unwrap();
    }
    db.set_role(at(0), config::Floodfill::On);
    while db.poll_action().is_some() {}
    db
}

fn store(entry: StoreEntry) -> DatabaseStore {
    DatabaseStore { reply: None, entry }
}

fn asking(entry: StoreEntry) -> DatabaseStore {
    let reply = Some(StoreReply { token: 9, tunnel: Some(4), gateway: GATEWAY });
    DatabaseStore { reply, entry }
}

/// As [`lease_set`], but signed by nobody.
fn forged(n: u64, unix: UnixTime) -> StoreEntry {
    let set = lease_set(n, unix);
    let mut bytes = set.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    StoreEntry::LeaseSet(LeaseSet::decode(set.store_type(), &bytes).unwrap())
}

fn set(n: u64) -> StoreEntry {
    StoreEntry::LeaseSet(lease_set(n, UNIX))
}

/// A confirmation: where it goes, and its token.
type Confirmation = (Hash, Option<u32>, u32);

/// What came of a store: confirmations, and whom it was passed on to.
fn came_of(db: &mut NetDb) -> (Vec<Confirmation>, Vec<Hash>) {
    let (mut confirmed, mut flooded) = (Vec::new(), Vec::new());
    while let Some(action) = db.poll_action() {
        if let NetDbAction::Confirm { to, tunnel, token } = action {
            confirmed.push((to, tunnel, token));
        } else if let NetDbAction::Flood { to, .. } = action {
            flooded.push(to);
        }
    }
    (confirmed, flooded)
}

fn ask(
    db: &mut NetDb,
    unix: UnixTime,
    from: Option<Hash>,
    key: Hash,
    kind: LookupType,
) -> Option<Answer> {
    let (reply_tunnel, to) = from.map_or((Some(4), GATEWAY), |from| (None, from));
    let (exclude, encryption) = (Vec::new(), ReplyEncryption::None);
    let lookup = DatabaseLookup { key, from: to, reply_tunnel, kind, exclude, encryption };
    db.handle_lookup(at(0), unix, from, lookup);
    let NetDbAction::Reply { answer, .. } = db.poll_action()? else { panic!("something else") };
    Some(answer)
}

fn peers(answer: Option<Answer>) -> Vec<Hash> {
    match answer {
        Some(Answer::SearchReply(reply)) => reply.peers,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_published_is_confirmed_passed_on_and_given_out() {
    let mut db = floodfill(20);
    let entry = set(1);
    let stored = db.handle_published(at(0), UNIX, HIDDEN, asking(entry.clone()));
    assert_eq!(stored, Ok(Stored::New));
    let (confirmed, flooded) = came_of(&mut db);
    assert_eq!(confirmed, [(GATEWAY, Some(4), 9)]);
    let target = RoutingKey::new(&entry.key(), UNIX);
    let mut near: Vec<Hash> = (0..20).map(|n| Maker::floodfill(100 + n).hash()).collect();
    near.sort_by_key(|hash| target.distance(hash));
    assert_eq!(flooded, near[..3], "to the nearest three");

    for from in [Some(SESSION), None] {
        for kind in [LookupType::LeaseSet, LookupType::Any] {
            let answer = ask(&mut db, UNIX, from, entry.key(), kind);
            assert_eq!(answer, Some(Answer::Store(store(entry.clone()))));
        }
    }
    // It knows the destination as a floodfill only: our own destinations and lookups do not.
    assert!(db.lease_set(Context::ROUTER, &entry.key(), UNIX).is_none());
    assert_eq!(db.counts().lease_sets, 0);
    let answer = ask(&mut db, UNIX + secs(600), None, entry.key(), LookupType::LeaseSet);
    assert_eq!(peers(answer).len(), 3, "over");
    let stats = db.floodfill_stats().unwrap();
    assert_eq!((stats.kept, stats.stored, stats.flooded), (1, 1, 3));
    assert_eq!((stats.found, stats.referred, stats.refused), (4, 1, 0));
    db.handle_timeout(at(601_000), UNIX + secs(601));
    assert_eq!(db.floodfill_stats().unwrap().kept, 0, "swept");
}

#[test]
fn what_came_from_a_floodfill_goes_no_further_and_nothing_goes_twice() {
    let mut db = floodfill(5);
    // A copy carries no token.
    db.handle_published(at(0), UNIX, Origin::Peer(SESSION), store(set(1))).unwrap();
    assert_eq!(came_of(&mut db), (Vec::new(), Vec::new()));
    // Whoever stores it again is told that it is here.
    assert_eq!(db.handle_published(at(0), UNIX, HIDDEN, asking(set(1))), Ok(Stored::Known));
    let (confirmed, flooded) = came_of(&mut db);
    assert_eq!((confirmed.len(), flooded.len()), (1, 0));
    // Not back to who sent it, nor to the router that it is about.
    let sender = Maker::floodfill(100).hash();
    let about = Maker::floodfill(101).published(UNIX + secs(60)).build();
    let entry = StoreEntry::RouterInfo(about.clone());
    db.handle_published(at(0), UNIX + secs(60), Origin::Peer(sender), asking(entry)).unwrap();
    let (_, flooded) = came_of(&mut db);
    assert_eq!(flooded.len(), 3);
    assert!(!flooded.contains(&sender) && !flooded.contains(&about.hash()));
    // A newer version goes out, but not for ever.
    let mut rounds = 0;
    for n in 1..10 {
        let unix = UNIX + secs(n);
        let entry = StoreEntry::LeaseSet(lease_set(1, unix));
        db.handle_published(at(n * 1000), unix, HIDDEN, asking(entry)).unwrap();
        rounds += usize::from(!came_of(&mut db).1.is_empty());
    }
    assert_eq!(rounds, 3);
}

#[test]
fn only_what_is_kept_is_confirmed() {
    let mut db = floodfill(5);
    let newer = StoreEntry::LeaseSet(lease_set(3, UNIX + secs(5)));
    db.handle_published(at(0), UNIX + secs(5), HIDDEN, store(newer)).unwrap();
    for (entry, want) in [
        (forged(4, UNIX), StoreError::BadSignature),
        (StoreEntry::LeaseSet(lease_set(5, UNIX - secs(601))), StoreError::Expired),
        (StoreEntry::LeaseSet(lease_set(5, UNIX + secs(1000))), StoreError::Future),
        (StoreEntry::RouterInfo(Maker::new(900).forged().build()), StoreError::BadSignature),
        (StoreEntry::RouterInfo(Maker::new(900).net_id(Some(2)).build()), StoreError::WrongNetwork),
    ] {
        for from in [HIDDEN, Origin::Peer(SESSION)] {
            let result = db.handle_published(at(0), UNIX, from, asking(entry.clone()));
            assert_eq!(result, Err(want));
            assert_eq!(came_of(&mut db), (Vec::new(), Vec::new()), "{want}");
        }
    }
    assert_eq!(db.floodfill_stats().unwrap().refused, 10);
    // An old version is superseded: the publisher has nothing to do, others have nothing to learn.
    assert_eq!(db.handle_published(at(0), UNIX, HIDDEN, asking(set(3))), Err(StoreError::Older));
    let (confirmed, flooded) = came_of(&mut db);
    assert_eq!((confirmed.len(), flooded.len()), (1, 0));
}

#[test]
fn nobody_is_dialled_on_a_strangers_request() {
    let mut db = floodfill(5);
    let direct = |gateway| {
        let reply = Some(StoreReply { token: 9, tunnel: None, gateway });
        DatabaseStore { reply, entry: set(1) }
    };
    let peer = Origin::Peer(SESSION);
    for (from, gateway, want) in [(HIDDEN, GATEWAY, 0), (peer, GATEWAY, 0), (peer, SESSION, 1)] {
        db.handle_published(at(0), UNIX, from, direct(gateway)).unwrap();
        assert_eq!(came_of(&mut db).0.len(), want);
    }
    let (key, kind, exclude) = (Hash([1; 32]), LookupType::LeaseSet, Vec::new());
    let encryption = ReplyEncryption::None;
    let lookup =
        DatabaseLookup { key, from: GATEWAY, reply_tunnel: None, kind, exclude, encryption };
    db.handle_lookup(at(0), UNIX, None, lookup);
    assert!(db.poll_action().is_none());
}

#[test]
fn explorers_hear_of_ordinary_routers_and_others_of_floodfills() {
    let mut db = floodfill(20);
    let key = Hash([1; 32]);
    let ordinary: Vec<Hash> = (0..20).map(|n| Maker::new(200 + n).hash()).collect();
    let named = peers(ask(&mut db, UNIX, None, key, LookupType::Exploration));
    assert!(named.len() == 12 && named.iter().all(|h| ordinary.contains(h)));
    let named = peers(ask(&mut db, UNIX, None, key, LookupType::LeaseSet));
    assert!(named.len() == 3 && named.iter().all(|h| !ordinary.contains(h)));
}

#[test]
fn just_before_midnight_it_also_goes_to_the_floodfills_of_tomorrow() {
    // `UNIX` is noon.
    let late = UNIX + secs(12 * 3600 - 300);
    let mut db = floodfill(30);
    let set = lease_set_until(1, late, late + secs(600));
    let entry = StoreEntry::LeaseSet(set.clone());
    db.handle_published(at(0), late, HIDDEN, asking(entry)).unwrap();
    let (_, flooded) = came_of(&mut db);
    assert_eq!(flooded.len(), 5);
    let tomorrow = RoutingKey::new(&set.key(), late + secs(300));
    let mut near: Vec<Hash> = (0..30).map(|n| Maker::floodfill(100 + n).hash()).collect();
    near.sort_by_key(|hash| tomorrow.distance(hash));
    near.retain(|hash| !flooded[..3].contains(hash));
    assert_eq!(flooded[3..], near[..2]);
}

#[test]
fn a_flood_of_lease_sets_of_one_peer_does_not_keep_out_others() {
    let mut db = floodfill(3);
    let flooder = Hash([50; 32]);
    let mut admitted = 0;
    // A hundred a second, under the limit of all together, and forged: that is the cheapest.
    for second in 0..20 {
        let unix = UNIX + secs(second);
        let entry = forged(1, unix);
        for n in 0..100 {
            let now = at(second * 1000 + n * 10);
            let result =
                db.handle_published(now, unix, Origin::Peer(flooder), store(entry.clone()));
            admitted += usize::from(result == Err(StoreError::BadSignature));
        }
    }
    assert_eq!(admitted, 1_200);
    let unix = UNIX + secs(20);
    let entry = StoreEntry::LeaseSet(lease_set(7, unix));
    assert!(db.handle_published(at(20_000), unix, Origin::Peer(SESSION), store(entry)).is_ok());
}

#[test]
fn a_flood_through_one_hop_does_not_keep_out_those_who_come_another_way() {
    let mut db = floodfill(3);
    let mut admitted = 0;
    for second in 0..20 {
        let unix = UNIX + secs(second);
        let entry = forged(1, unix);
        for n in 0..200 {
            let now = at(second * 1000 + n * 5);
            let result = db.handle_published(now, unix, HIDDEN, store(entry.clone()));
            admitted += usize::from(result == Err(StoreError::BadSignature));
        }
    }
    assert_eq!(admitted, 600);
    let unix = UNIX + secs(20);
    let entry = StoreEntry::LeaseSet(lease_set(7, unix));
    let other = Origin::Hidden(Some(Hash([80; 32])));
    assert!(db.handle_published(at(20_000), unix, other, store(entry)).is_ok());
}

#[test]
fn our_own_router_info_is_confirmed_by_every_router_and_told_to_nobody() {
    let own = StoreEntry::RouterInfo(Maker::new(0).build());
    for mode in [config::Floodfill::On, config::Floodfill::Off] {
        let mut db = floodfill(5);
        db.set_role(at(0), mode);
        for from in [HIDDEN, Origin::Peer(SESSION)] {
            let result = db.handle_published(at(0), UNIX, from, asking(own.clone()));
            assert_eq!(result, Err(StoreError::Own));
            assert_eq!(came_of(&mut db), (alloc::vec![(GATEWAY, Some(4), 9)], Vec::new()));
        }
    }
}

#[test]
fn our_own_router_info_over_a_session_is_the_answer_to_whether_it_is_there() {
    for mode in [config::Floodfill::On, config::Floodfill::Off] {
        let mut db = floodfill(5);
        db.set_role(at(0), mode);
        let info = Maker::new(0).build();
        let key = info.hash();
        db.publish_router(at(0), UNIX, info.clone()).unwrap();
        let mut stored = None;
        while let Some(action) = db.poll_action() {
            if let NetDbAction::Store { token, .. } = action {
                stored = Some(token);
            }
        }
        assert!(db.handle_delivery_status(at(100), UNIX, Context::ROUTER, stored.unwrap()));
        let (now, unix) = (at(30_000), UNIX + secs(30));
        db.handle_timeout(now, unix);
        let mut asked = None;
        while let Some(action) = db.poll_action() {
            if let NetDbAction::Query { lookup, floodfill, key: of, direct: true, .. } = action
                && of == key
            {
                asked = Some((lookup, floodfill.hash()));
            }
        }
        let (lookup, asked) = asked.unwrap();
        db.handle_query_direct(lookup, &asked);
        assert!(!db.is_verified(Context::ROUTER, &key));
        let entry = StoreEntry::RouterInfo(info);
        let result = db.handle_published(now, unix, Origin::Peer(asked), store(entry));
        assert_eq!(result, Err(StoreError::Own));
        assert!(db.is_verified(Context::ROUTER, &key));
    }
}

#[test]
fn confirmations_are_bounded_whatever_is_repeated() {
    let mut db = floodfill(3);
    let mut confirmed = 0;
    for n in 0..2_000_u64 {
        let hop = Origin::Hidden(Some(Hash::of(&n.to_be_bytes())));
        let _known = db.handle_published(at(0), UNIX, hop, asking(set(1)));
        confirmed += came_of(&mut db).0.len();
    }
    assert_eq!(confirmed, 400);
}

#[test]
fn a_copy_that_does_not_leave_goes_to_the_next_floodfill() {
    let mut db = floodfill(10);
    let entry = set(1);
    db.handle_published(at(0), UNIX, HIDDEN, asking(entry.clone())).unwrap();
    let target = RoutingKey::new(&entry.key(), UNIX);
    let mut near: Vec<Hash> = (0..10).map(|n| Maker::floodfill(100 + n).hash()).collect();
    near.sort_by_key(|hash| target.distance(hash));
    assert_eq!(came_of(&mut db).1, near[..3]);
    for (n, dead) in near.iter().take(7).enumerate() {
        db.handle_unreachable(at(1_000), UNIX, *dead);
        let next: Vec<Hash> = near.get(n + 3).copied().into_iter().collect();
        assert_eq!(came_of(&mut db).1, next);
        // Once is enough.
        db.handle_unreachable(at(1_000), UNIX, *dead);
        assert_eq!(came_of(&mut db).1, []);
    }
    // Much later it was something else that did not leave.
    db.handle_unreachable(at(60_000), UNIX, near[9]);
    assert_eq!(came_of(&mut db).1, []);
}

#[test]
fn who_shows_its_router_info_and_then_publishes_it_is_passed_on_once() {
    let mut db = floodfill(10);
    let info = Maker::new(900).build();
    let from = Origin::Peer(info.hash());
    db.handle_peer_info(at(0), UNIX, info.clone()).unwrap();
    for want in [3, 0] {
        let entry = StoreEntry::RouterInfo(info.clone());
        let result = db.handle_published(at(0), UNIX, from, asking(entry));
        assert_eq!(result, Ok(Stored::Known));
        let (confirmed, flooded) = came_of(&mut db);
        assert_eq!((confirmed.len(), flooded.len()), (1, want));
    }
}

#[test]
fn who_is_none_keeps_confirms_and_answers_nothing_of_the_kind() {
    let mut db = floodfill(5);
    db.handle_published(at(0), UNIX, HIDDEN, store(set(1))).unwrap();
    db.set_role(at(0), config::Floodfill::Off);
    assert_eq!(db.handle_published(at(0), UNIX, HIDDEN, asking(set(2))), Err(StoreError::Unwanted));
    let info = Maker::new(900).build();
    let entry = StoreEntry::RouterInfo(info.clone());
    let result = db.handle_published(at(0), UNIX, HIDDEN, asking(entry.clone()));
    assert_eq!(result, Err(StoreError::Unwanted));
    assert_eq!(
        db.handle_published(at(0), UNIX, Origin::Peer(SESSION), asking(entry)),
        Ok(Stored::New)
    );
    assert_eq!(came_of(&mut db), (Vec::new(), Vec::new()));
    assert!(ask(&mut db, UNIX, None, set(1).key(), LookupType::LeaseSet).is_none());
    assert!(ask(&mut db, UNIX, Some(SESSION), set(1).key(), LookupType::LeaseSet).is_none());
    assert!(ask(&mut db, UNIX, None, info.hash(), LookupType::RouterInfo).is_none());
    assert!(db.floodfill_stats().is_none());
}

#[test]
fn a_fit_router_enrols_itself_when_it_may() {
    let mut db = floodfill(5);
    db.set_role(at(0), config::Floodfill::Off);
    let bandwidth = crate::wire::router_info::Bandwidth::X;
    let fitness = Fitness { published: true, inbound: 10, bandwidth, peers: 500, transit: 500 };
    let hours = |db: &mut NetDb, n: u64| {
        let (mut assessed, mut renewed) = (0, 0);
        db.handle_timeout(at(n * 3_600_000), UNIX + secs(n * 3600));
        while let Some(action) = db.poll_action() {
            if let NetDbAction::Assess = action {
                assessed += 1;
                db.handle_fitness(at(n * 3_600_000), &fitness);
            }
            renewed += usize::from(matches!(action, NetDbAction::Renew));
        }
        (assessed, renewed)
    };
    assert_eq!(hours(&mut db, 1), (0, 0));
    db.set_role(at(0), config::Floodfill::Auto);
    assert_eq!(hours(&mut db, 2), (1, 0));
    assert!(!db.is_floodfill(), "it knows ten routers");
    for n in 0..400u64 {
        // By the clock of then.
        let info = Maker::new(1_000 + n).published(UNIX + secs(2 * 3600)).build();
        db.restore(at(7_200_000), UNIX + secs(2 * 3600), info).unwrap();
    }
    assert_eq!(hours(&mut db, 3), (1, 1));
    assert!(db.is_floodfill());
}
