use super::*;
use crate::crypto::Key32;
use crate::netdb::profile::Outcome;
use crate::netdb::testing::{Maker, NET_ID, UNIX, at, lease_set};
use crate::rng::{Rng, Seed};
use crate::wire::router_info::{Reach, RouterInfo};

const SESSION: Hash = Hash([0x11; 32]);

fn netdb() -> NetDb {
    let config =
        NetDbConfig { local: Maker::new(0).hash(), net_id: NET_ID, reach: Reach::ntcp2(false) };
    NetDb::new(at(0), config, Rng::new(&Seed::from_number(1)))
}

fn store(info: &RouterInfo) -> DatabaseStore {
    DatabaseStore { reply: None, entry: StoreEntry::RouterInfo(info.clone()) }
}

fn unsent(rng: &mut Rng) -> Unsent {
    if rng.below(2) == 0 { Unsent::NoTunnel } else { Unsent::Unreachable }
}

fn store_set(n: u64) -> DatabaseStore {
    DatabaseStore { reply: None, entry: lease(n, UNIX) }
}

#[test]
fn unasked_router_infos_are_taken_in_slowly_those_of_their_senders_always() {
    let mut db = netdb();
    let mut taken = 0;
    for n in 1..300 {
        let info = Maker::new(n).build();
        let result = db.handle_store(at(0), UNIX, Context::ROUTER, Some(SESSION), store(&info));
        taken += usize::from(result == Ok(Stored::New));
        assert!(matches!(result, Ok(_) | Err(StoreError::Throttled)));
    }
    assert_eq!(taken, 100);
    for n in 300..320 {
        let info = Maker::new(n).build();
        let from = Some(info.hash());
        let result = db.handle_store(at(0), UNIX, Context::ROUTER, from, store(&info));
        assert_eq!(result, Ok(Stored::New));
    }
    assert_eq!((db.counts().verified, db.counts().unverified), (20, 100));
    let info = Maker::new(400).build();
    let later = db.handle_store(at(1000), UNIX, Context::ROUTER, None, store(&info));
    assert_eq!(later, Ok(Stored::New));
}

#[test]
fn forged_entries_are_refused_wherever_they_come_from() {
    let mut db = netdb();
    db.add_context(CLIENT).unwrap();
    let forged = Maker::new(1).forged().build();
    let from = Some(forged.hash());
    let refused = Err(StoreError::BadSignature);
    assert_eq!(db.handle_store(at(0), UNIX, Context::ROUTER, from, store(&forged)), refused);
    assert_eq!(db.handle_peer_info(at(0), UNIX, forged.clone()), refused);
    assert_eq!(db.restore(at(0), UNIX, forged), refused);
    let set = lease_set(1, UNIX);
    let mut bytes = set.as_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let set = LeaseSet::decode(set.store_type(), &bytes).unwrap();
    let forged = DatabaseStore { reply: None, entry: StoreEntry::LeaseSet(set) };
    assert_eq!(db.handle_store(at(0), UNIX, CLIENT, None, forged), refused);
    assert_eq!(db.counts(), Counts::default());
}

#[test]
fn the_expensive_check_can_run_elsewhere() {
    let mut db = netdb();
    let old = Maker::new(1).build();
    let new = Maker::new(1).published(UNIX + Duration::from_secs(1)).build();
    let admit = |db: &mut NetDb, info| {
        db.admit(at(0), UNIX, Context::ROUTER, Some(SESSION), store(info)).unwrap().unwrap()
    };
    let (first, second) = (admit(&mut db, &old), admit(&mut db, &new));
    // Jobs may end in any order.
    assert_eq!(db.handle_checked(at(0), UNIX, second.verify()), Ok(Stored::New));
    assert_eq!(db.handle_checked(at(0), UNIX, first.verify()), Err(StoreError::Older));
    assert_eq!(db.router(&new.hash()), Some(&new));
    let again = db.admit(at(0), UNIX, Context::ROUTER, Some(SESSION), store(&new));
    assert!(matches!(again, Ok(None)), "known: nothing to verify");
}

#[test]
fn a_router_of_one_destination_is_not_replaced_by_an_older_version_either() {
    let mut db = netdb();
    let floodfill = Maker::floodfill(2).build();
    assert_eq!(db.handle_peer_info(at(0), UNIX, floodfill), Ok(Stored::New));
    let old = Maker::new(1).build();
    let new = Maker::new(1).published(UNIX + Duration::from_secs(1)).build();
    db.lookup(at(0), UNIX, CLIENT, new.hash(), LookupKind::RouterInfo);
    // Two answers are checked at the same time.
    let admit =
        |db: &mut NetDb, info| db.admit(at(0), UNIX, CLIENT, None, store(info)).unwrap().unwrap();
    let (first, second) = (admit(&mut db, &old), admit(&mut db, &new));
    assert_eq!(db.handle_checked(at(0), UNIX, second.verify()), Ok(Stored::New));
    assert_eq!(db.handle_checked(at(0), UNIX, first.verify()), Err(StoreError::Older));
    assert_eq!(db.contexts[&CLIENT].router(&new.hash()), Some(&new));
}

#[test]
fn destinations_share_nothing() {
    let mut db = netdb();
    for ctx in [CLIENT, Context(2)] {
        db.add_context(ctx).unwrap();
    }
    let key = lease_set(1, UNIX).key();
    assert_eq!(db.handle_store(at(0), UNIX, CLIENT, None, store_set(1)), Ok(Stored::New));
    assert!(db.lease_set(CLIENT, &key, UNIX).is_some());
    for other in [Context::ROUTER, Context(2), Context(3)] {
        assert!(db.lease_set(other, &key, UNIX).is_none());
    }
    // The router itself takes no lease sets that it did not ask for, nor do unknown destinations.
    let refused = Err(StoreError::Unwanted);
    assert_eq!(db.handle_store(at(0), UNIX, Context::ROUTER, None, store_set(1)), refused);
    assert_eq!(db.handle_store(at(0), UNIX, Context(3), None, store_set(1)), refused);
    // A router that is named to one destination is no router that we know.
    let info = Maker::new(5).build();
    assert_eq!(db.handle_store(at(0), UNIX, CLIENT, None, store(&info)), refused);
    assert!(db.restore(at(0), UNIX, Maker::floodfill(6).build()).is_ok());
    let _ = db.lookup(at(0), UNIX, CLIENT, info.hash(), LookupKind::RouterInfo);
    assert!(matches!(db.poll_action(), Some(NetDbAction::Query { ctx: CLIENT, .. })));
    assert_eq!(db.handle_store(at(0), UNIX, Context(2), None, store(&info)), refused);
    assert_eq!(db.handle_store(at(0), UNIX, CLIENT, None, store(&info)), Ok(Stored::New));
    assert!(matches!(db.poll_action(), Some(NetDbAction::Found { ctx: CLIENT, .. })));
    assert!(db.router(&info.hash()).is_none());
    assert!(db.candidates(at(0), UNIX).all(|c| c.hash != info.hash()));
    // So nobody who asks us directly can find out that we were the one who was told.
    db.handle_lookup(at(0), UNIX, Some(SESSION), lookup(info.hash()));
    let Some(NetDbAction::Reply { answer, .. }) = db.poll_action() else { panic!() };
    assert!(matches!(answer, Answer::SearchReply(_)));
    // Nor does a newer version of a known router, given to one destination, show elsewhere.
    let known = Maker::new(7).build();
    db.restore(at(0), UNIX, known.clone()).unwrap();
    let marked = Maker::new(7).published(UNIX + Duration::from_secs(5)).build();
    let _ = db.lookup(at(0), UNIX, CLIENT, known.hash(), LookupKind::RouterInfo);
    assert_eq!(db.handle_store(at(0), UNIX, CLIENT, None, store(&marked)), Ok(Stored::New));
    assert_eq!(db.router(&known.hash()), Some(&known));
}

#[test]
fn contexts_are_bounded() {
    let mut db = netdb();
    for n in 1..MAX_CONTEXTS as u32 {
        assert_eq!(db.add_context(Context(n)), Ok(()));
    }
    assert_eq!(db.add_context(Context(9999)), Err(StoreError::Full));
    assert_eq!(db.add_context(Context(1)), Ok(()));
    let id = db.lookup(at(0), UNIX, Context(9999), Hash([1; 32]), LookupKind::LeaseSet);
    let Some(NetDbAction::NotFound { lookup, reason, .. }) = db.poll_action() else { panic!() };
    assert_eq!((lookup, reason), (id, LookupFailure::Busy));
    let set = lease_set(1, UNIX);
    assert_eq!(db.publish_lease_set(at(0), UNIX, Context(9999), set), Err(PublishError::Full));
    db.remove_context(Context(5));
    assert_eq!(db.add_context(Context(9999)), Ok(()));
}

fn lookup(key: Hash) -> DatabaseLookup {
    DatabaseLookup {
        key,
        from: SESSION,
        reply_tunnel: None,
        kind: LookupType::RouterInfo,
        exclude: Vec::new(),
        encryption: ReplyEncryption::None,
    }
}

#[test]
fn lookups_for_router_infos_are_answered() {
    let mut db = netdb();
    let known = Maker::new(5).build();
    db.restore(at(0), UNIX, known.clone()).unwrap();
    for n in 10..20 {
        db.restore(at(0), UNIX, Maker::floodfill(n).build()).unwrap();
    }
    let ask = |db: &mut NetDb, lookup| {
        db.handle_lookup(at(0), UNIX, Some(SESSION), lookup);
        db.poll_action().map(|action| {
            let NetDbAction::Reply { to, tunnel, encryption, answer } = action else { panic!() };
            (to, tunnel, matches!(encryption, ReplyEncryption::None), answer)
        })
    };
    let own = Maker::new(0).build();
    db.publish_router(at(0), UNIX, own.clone()).unwrap();
    while db.poll_action().is_some() {}
    for info in [&known, &own] {
        let (to, tunnel, _, answer) = ask(&mut db, lookup(info.hash())).unwrap();
        assert_eq!((to, tunnel), (SESSION, None));
        assert_eq!(answer, Answer::Store(store(info)));
    }
    let missing = Hash([7; 32]);
    let (.., answer) = ask(&mut db, lookup(missing)).unwrap();
    let Answer::SearchReply(reply) = answer else { panic!() };
    assert_eq!((reply.key, reply.from, reply.peers.len()), (missing, own.hash(), 3));
    let without = DatabaseLookup { exclude: reply.peers.clone(), ..lookup(missing) };
    let (.., answer) = ask(&mut db, without).unwrap();
    let Answer::SearchReply(other) = answer else { panic!() };
    assert!(other.peers.len() == 3 && other.peers.iter().all(|p| !reply.peers.contains(p)));
    // Through a tunnel, encrypted.
    let key = || Key32::new([1; 32]);
    let gateway = Hash([0x22; 32]);
    let encryption = ReplyEncryption::Ecies { key: key(), tag: [2; 8] };
    let tunnel =
        DatabaseLookup { from: gateway, reply_tunnel: Some(9), encryption, ..lookup(known.hash()) };
    let (to, tunnel, plain, _) = ask(&mut db, tunnel).unwrap();
    assert_eq!((to, tunnel, plain), (gateway, Some(9), false));
    // Encryption without a tunnel is not defined: others answer plainly.
    let encryption = ReplyEncryption::Ecies { key: key(), tag: [2; 8] };
    let (.., plain, _) = ask(&mut db, DatabaseLookup { encryption, ..lookup(missing) }).unwrap();
    assert!(plain);
    // We connect to nobody because somebody else says so.
    assert!(ask(&mut db, DatabaseLookup { from: gateway, ..lookup(missing) }).is_none());
    let elgamal = ReplyEncryption::ElGamal { key: key(), tags: alloc::vec![[0; 32]] };
    let old = DatabaseLookup { reply_tunnel: Some(1), encryption: elgamal, ..lookup(missing) };
    assert!(ask(&mut db, old).is_none());
    // What only a floodfill answers.
    for kind in [LookupType::Any, LookupType::LeaseSet, LookupType::Exploration] {
        assert!(ask(&mut db, DatabaseLookup { kind, ..lookup(known.hash()) }).is_none());
    }
    assert!(ask(&mut db, lookup(Hash::ZERO)).is_none());
    let answered = (0..50).filter(|_| ask(&mut db, lookup(missing)).is_some()).count();
    assert_eq!(answered, 14 - 6, "throttled");
}

#[test]
fn reports_change_who_is_a_candidate() {
    let mut db = netdb();
    for n in 1..11 {
        let info = Maker::new(n).build();
        db.handle_store(at(0), UNIX, Context::ROUTER, None, store(&info)).unwrap();
    }
    db.handle_store(at(0), UNIX, Context::ROUTER, None, store(&Maker::new(11).caps("K").build()))
        .unwrap();
    assert_eq!(db.candidates(at(0), UNIX).count(), 10);
    let (good, gone) = (Maker::new(3).hash(), Maker::new(4).hash());
    let latency = Duration::from_millis(100);
    db.report(at(0), UNIX, good, Outcome::BuildAccepted { latency });
    for _ in 0..4 {
        db.report(at(0), UNIX, gone, Outcome::ConnectFailed);
    }
    let candidates: Vec<_> = db.candidates(at(0), UNIX).collect();
    assert_eq!(candidates.len(), 9);
    assert_eq!(candidates[0].hash, good, "verified first");
    assert!(candidates[0].verified && candidates[0].standing.proven);
    assert!(candidates.iter().all(|c| c.hash != gone));
    let best = candidates.iter().max_by_key(|c| c.standing.weight).unwrap();
    assert_eq!(best.hash, good);
    let drawn = db.draw_candidates(at(0), UNIX, 5, &[]);
    assert_eq!(drawn.len(), 5);
    let mut hashes: Vec<Hash> = drawn.iter().map(|c| c.hash).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 5);
    // Where all fit in, nobody is left out by chance.
    let all: Vec<Hash> = db.candidates(at(0), UNIX).map(|c| c.hash).collect();
    for n in [20, 100] {
        let drawn = db.draw_candidates(at(0), UNIX, n, &[good]);
        assert!(drawn.iter().map(|c| c.hash).eq(all.iter().copied()), "of {n}");
    }
}

#[test]
fn what_is_worth_keeping_is_written_in_small_portions_and_all_of_it_at_the_end() {
    let mut world = World::new(1, 0);
    let node = world.add_node(1, 0);
    let (now, unix) = (world.now, world.unix());
    for n in 1..101 {
        let info = Maker::new(n).build();
        world.nodes[node].netdb.handle_peer_info(now, unix, info.clone()).unwrap();
        world.nodes[node].netdb.report(now, unix, info.hash(), Outcome::Connected);
    }
    world.run(31_000);
    assert_eq!(world.nodes[node].written.len(), 16);
    assert_eq!(world.nodes[node].profiles.len(), 16);
    let (now, unix) = (world.now, world.unix());
    world.nodes[node].netdb.save(now, unix);
    world.drain(node);
    assert_eq!(world.nodes[node].written.len(), 100);
    assert_eq!(world.nodes[node].profiles.len(), 100);
    // Another run starts from it.
    let mut db = netdb();
    for info in &world.nodes[node].written {
        assert_eq!(db.restore(at(0), unix, info.clone()), Ok(Stored::New));
    }
    for (router, bytes) in &world.nodes[node].profiles {
        db.restore_profile(at(0), unix, *router, bytes).unwrap();
    }
    assert_eq!((db.counts().verified, db.counts().profiles), (100, 100));
    db.save(at(0), unix);
    assert!(db.poll_action().is_none(), "nothing of it needs to be written again");
}

#[test]
fn routers_from_files_are_checked_and_counted() {
    let mut db = netdb();
    let old = UNIX - OLDEST_ACCEPTED - Duration::from_secs(1);
    let files = [
        Maker::floodfill(1),
        Maker::new(2),
        Maker::new(3).forged(),
        Maker::new(4).net_id(Some(2)),
        Maker::new(5).published(old),
        Maker::new(6).host(None),
        Maker::new(7).host(Some("192.168.1.1")),
    ];
    let mut report = reseed::Report::default();
    assert!(db.needs_reseed());
    for file in &files {
        report.add(&db.reseed(at(0), UNIX, file.build().as_bytes()).unwrap());
    }
    report.add(&db.reseed(at(0), UNIX, b"PKsomething else").unwrap());
    report.add(&db.reseed(at(0), UNIX, Maker::new(2).build().as_bytes()).unwrap());
    use reseed::Refusal;
    assert_eq!(report.used, 3, "a copy counts");
    let refused: Vec<_> = report.refused.iter().map(|(r, n)| (*r, *n)).collect();
    assert_eq!(
        refused,
        [
            (Refusal::Malformed, 1),
            (Refusal::Unusable, 2),
            (Refusal::Store(StoreError::WrongNetwork), 1),
            (Refusal::Store(StoreError::TooOld), 1),
            (Refusal::Store(StoreError::BadSignature), 1),
        ]
    );
    assert_eq!(alloc::format!("{report}").matches("refused").count(), 5);
    assert_eq!((db.counts().verified, db.counts().floodfills), (2, 1));
}

/// A zip of stored entries.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let le16 = |v: usize| (v as u16).to_le_bytes();
    let le32 = |v: usize| (v as u32).to_le_bytes();
    for (name, data) in files {
        let offset = out.len();
        let crc = crc32fast::hash(data) as usize;
        let mut fields = Vec::new();
        fields.extend([20, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        fields.extend(le32(crc));
        fields.extend(le32(data.len()));
        fields.extend(le32(data.len()));
        fields.extend(le16(name.len()));
        fields.extend([0, 0]);
        out.extend(b"PK\x03\x04");
        out.extend(&fields);
        out.extend(name.as_bytes());
        out.extend(*data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(le32(offset));
        directory.extend(name.as_bytes());
    }
    let start = out.len();
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(le16(files.len()));
    out.extend(le16(files.len()));
    out.extend(le32(directory.len()));
    out.extend(le32(start));
    out.extend([0, 0]);
    out
}

#[test]
fn routers_from_a_zip_are_checked_and_counted() {
    let infos: Vec<RouterInfo> = (1..6).map(|n| Maker::floodfill(n).build()).collect();
    let forged = Maker::new(9).forged().build();
    let mut files: Vec<(&str, &[u8])> =
        infos.iter().map(|i| ("routerInfo-x.dat", i.as_bytes())).collect();
    files.push(("readme.txt", b"hello"));
    files.push(("folder/routerInfo-y.dat", forged.as_bytes()));
    files.push(("routerInfo-z.dat", &[0; 5000]));
    let bytes = zip(&files);
    let mut db = netdb();
    let report = db.reseed(at(0), UNIX, &bytes).unwrap();
    assert_eq!((report.used, report.skipped), (5, 1));
    assert_eq!(report.refused.values().sum::<usize>(), 2);
    assert!(!db.needs_reseed());
    for cut in (4..bytes.len()).step_by(97) {
        assert!(netdb().reseed(at(0), UNIX, &bytes[..cut]).is_err());
    }
}

#[test]
fn a_flood_of_everything_stays_within_the_caps() {
    let mut db = netdb();
    let mut rng = Rng::new(&Seed::from_number(3));
    db.add_context(CLIENT).unwrap();
    // One RouterInfo of many names would not verify, so the tiers are filled in their own tests.
    for n in 0..400u64 {
        let now = at(n * 10);
        db.handle_lookup(now, UNIX, Some(Hash(rng.bytes())), lookup(Hash(rng.bytes())));
        let reply = DatabaseSearchReply {
            key: Hash(rng.bytes()),
            peers: (0..255).map(|_| Hash(rng.bytes())).collect(),
            from: Hash(rng.bytes()),
        };
        db.handle_search_reply(now, UNIX, CLIENT, None, &reply);
        assert!(!db.handle_delivery_status(now, UNIX, CLIENT, rng.u32()));
        db.report(now, UNIX, Hash(rng.bytes()), Outcome::ConnectFailed);
        db.handle_timeout(now, UNIX);
        assert!(db.actions.len() <= MAX_ACTIONS + 64);
    }
    assert!(db.wanted.is_empty() && db.lookups.is_empty());
}

#[test]
fn random_operations_keep_every_promise() {
    for seed in 0..4 {
        let mut db = netdb();
        let mut rng = Rng::new(&Seed::from_number(seed));
        for n in 1..61 {
            db.restore(at(0), UNIX, Maker::floodfill(n).build()).unwrap();
        }
        let infos: Vec<RouterInfo> = (100..140).map(|n| Maker::floodfill(n).build()).collect();
        let sets: Vec<LeaseSet> = (0..30).map(|n| lease_set(n, UNIX)).collect();
        let (mut now, mut unix) = (at(0), UNIX);
        let (mut open, mut queries, mut tokens) = (BTreeSet::new(), Vec::new(), Vec::new());
        for _ in 0..1500 {
            let ctx = Context(rng.below(4) as u32);
            let info = infos[rng.index(infos.len())].clone();
            let set = sets[rng.index(sets.len())].clone();
            match rng.below(12) {
                0 => {
                    open.insert((ctx, db.lookup(now, unix, ctx, set.key(), LookupKind::LeaseSet)));
                }
                1 => {
                    let kind = LookupKind::RouterInfo;
                    open.insert((ctx, db.lookup(now, unix, ctx, info.hash(), kind)));
                }
                2 => {
                    let _ = db.publish_lease_set(now, unix, ctx, set);
                }
                3 => {
                    let entry = StoreEntry::LeaseSet(set);
                    let store = DatabaseStore { reply: None, entry };
                    let _ = db.handle_store(now, unix, ctx, None, store);
                }
                4 => {
                    let _ = db.handle_store(now, unix, ctx, Some(SESSION), store(&info));
                }
                5..=7 if !queries.is_empty() => {
                    let (ctx, lookup, from, key): (_, LookupId, Hash, Hash) =
                        queries.swap_remove(rng.index(queries.len()));
                    let peers = infos.iter().map(RouterInfo::hash).filter(|_| rng.below(3) == 0);
                    let reply = DatabaseSearchReply { key, peers: peers.collect(), from };
                    if rng.below(4) == 0 {
                        db.handle_query_unsent(now, unix, lookup, &from, unsent(&mut rng));
                    } else {
                        db.handle_search_reply(now, unix, ctx, None, &reply);
                    }
                }
                8 if !tokens.is_empty() => {
                    let (ctx, token) = tokens.swap_remove(rng.index(tokens.len()));
                    if rng.below(4) == 0 {
                        db.handle_store_unsent(now, unix, token, unsent(&mut rng));
                    } else {
                        db.handle_delivery_status(now, unix, ctx, token);
                    }
                }
                9 if rng.below(50) == 0 => {
                    db.remove_context(ctx);
                    if ctx != Context::ROUTER {
                        open.retain(|(c, _)| *c != ctx);
                    }
                }
                10 => db.explore(now, unix),
                _ => {
                    let step = Duration::from_millis(rng.below(4000));
                    (now, unix) = (now + step, unix + step);
                    db.handle_timeout(now, unix);
                }
            }
            while let Some(action) = db.poll_action() {
                match action {
                    NetDbAction::Query { ctx, lookup, floodfill, key, .. } => {
                        queries.push((ctx, lookup, floodfill.hash(), key));
                    }
                    NetDbAction::Store { ctx, token, .. } => tokens.push((ctx, token)),
                    NetDbAction::Found { ctx, lookup, .. }
                    | NetDbAction::NotFound { ctx, lookup, .. } => {
                        assert!(open.remove(&(ctx, lookup)), "ends once, and only what began");
                    }
                    NetDbAction::Reply { .. }
                    | NetDbAction::Renew
                    | NetDbAction::Persist(_)
                    | NetDbAction::Forget(_)
                    | NetDbAction::PersistProfile { .. }
                    | NetDbAction::ForgetProfile(_)
                    | NetDbAction::Confirm { .. }
                    | NetDbAction::Flood { .. }
                    | NetDbAction::Assess => {}
                }
            }
            assert!(db.counts().lookups <= MAX_LOOKUPS && db.by_key.len() == db.counts().lookups);
            assert!(db.wanted.len() <= 128);
            let waited: usize = db.publications.values().map(|p| p.tokens().count()).sum();
            assert_eq!(db.tokens.len(), waited);
            let counted: usize = db.contexts.values().map(|c| c.lookups).sum();
            assert!(counted >= open.len());
        }
        // Left alone, every lookup ends.
        for _ in 0..40 {
            now = now + Duration::from_secs(1);
            db.handle_timeout(now, unix);
            while let Some(action) = db.poll_action() {
                if let NetDbAction::Found { ctx, lookup, .. }
                | NetDbAction::NotFound { ctx, lookup, .. } = action
                {
                    assert!(open.remove(&(ctx, lookup)));
                }
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }
}

#[test]
fn what_was_taken_while_the_clock_was_wrong_keeps_out_nothing_true() {
    let mut db = netdb();
    let ctx = Context(1);
    db.add_context(ctx).unwrap();
    let wrong = UNIX + Duration::from_secs(7200);
    let (peer, key) = (Maker::new(1).hash(), lease_set(1, UNIX).key());
    let info = |unix| Maker::new(1).published(unix).build();
    assert_eq!(db.handle_peer_info(at(0), wrong, info(wrong)), Ok(Stored::New));
    let store = |set| DatabaseStore { reply: None, entry: StoreEntry::LeaseSet(set) };
    assert_eq!(
        db.handle_store(at(0), wrong, ctx, None, store(lease_set(1, wrong))),
        Ok(Stored::New)
    );
    // The clock is right again.
    assert!(db.lease_set(ctx, &key, UNIX).is_none());
    let set = lease_set(1, UNIX);
    assert_eq!(db.handle_store(at(1), UNIX, ctx, None, store(set.clone())), Ok(Stored::New));
    assert_eq!(db.lease_set(ctx, &key, UNIX), Some(&set));
    assert!(db.handle_peer_info(at(1), UNIX, info(UNIX)).is_ok());
    assert_eq!(db.router(&peer).unwrap().published(), UNIX);
}
