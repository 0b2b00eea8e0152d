use super::*;
use crate::test_dir::TestDir;
use ramson_core::crypto::sign::SigningKey;
use ramson_core::crypto::x25519::PrivateKey;
use ramson_core::rng::{Rng, Seed};
use ramson_core::time::UnixTime;
use ramson_core::wire::identity::Identity;
use ramson_core::wire::mapping::Mapping;
use ramson_core::wire::router_info::RouterInfo;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

fn router_info(seed: u64) -> RouterInfo {
    let mut rng = Rng::new(&Seed::from_number(seed));
    let signing = SigningKey::generate(&mut rng);
    let encryption = PrivateKey::generate(&mut rng);
    let identity = Identity::new_router(encryption.public(), &signing.public(), &mut rng);
    RouterInfo::build(&identity, UnixTime::from_secs(1), &[], &Mapping::new(), &signing)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn what_is_written_is_found_at_the_next_start() {
    let tmp = TestDir::new("store-round-trip");
    let store = Store::new(tmp.path());
    let info = router_info(1);
    let profile = Hash([0xfb; 32]);
    store.write(&StoreKey::RouterKeys, Some(b"router")).unwrap();
    store.write(&StoreKey::DestinationKeys("site".into()), Some(b"old")).unwrap();
    store.write(&StoreKey::DestinationKeys("site".into()), Some(b"site keys")).unwrap();
    store.write(&StoreKey::DestinationKeys("../ü".into()), Some(b"odd")).unwrap();
    store.write(&StoreKey::DestinationKeys("router.keys".into()), Some(b"not it")).unwrap();
    store.write(&StoreKey::AddressBook, Some(b"c.i2p=d")).unwrap();
    store.write(&StoreKey::NetDb(info.hash()), Some(info.as_bytes())).unwrap();
    store.write(&StoreKey::Profile(profile), Some(b"profile")).unwrap();
    store.write(&StoreKey::RouterInfo, Some(info.as_bytes())).unwrap();
    std::fs::write(tmp.path().join(HOSTS), "a.i2p=b").unwrap();

    let stored = store.load().unwrap();
    assert_eq!(stored.router_keys.as_deref(), Some(&b"router"[..]));
    let keys: Vec<_> = stored.destinations.iter().map(|(n, k)| (&**n, &k[..])).collect();
    let want = [("../ü", &b"odd"[..]), ("router.keys", b"not it"), ("site", b"site keys")];
    assert_eq!(keys, want);
    assert_eq!(stored.router_infos, [Arc::from(info.as_bytes())]);
    assert_eq!(stored.profiles.get(&profile).map(|p| &p[..]), Some(&b"profile"[..]));
    assert_eq!(stored.hosts, [b"a.i2p=b"]);
    assert_eq!(stored.learned_hosts.as_deref(), Some(&b"c.i2p=d"[..]));
    assert_eq!(std::fs::read(store.router_info()).unwrap(), info.as_bytes());

    store.write(&StoreKey::NetDb(info.hash()), None).unwrap();
    store.write(&StoreKey::NetDb(info.hash()), None).unwrap();
    assert!(store.load().unwrap().router_infos.is_empty());
}

#[test]
fn files_are_where_other_routers_have_them() {
    let tmp = TestDir::new("store-places");
    let store = Store::new(tmp.path());
    store.write(&StoreKey::NetDb(Hash([0xff; 32])), Some(b"x")).unwrap();
    let name = format!("routerInfo-{}8=.dat", "~".repeat(42));
    assert!(tmp.path().join("netDb/r~").join(name).exists());
}

#[test]
fn only_the_owner_can_read() {
    let tmp = TestDir::new("store-modes");
    let store = Store::new(tmp.path());
    store.write(&StoreKey::RouterKeys, Some(b"x")).unwrap();
    assert_eq!(mode(&tmp.path().join("keys")), 0o700);
    assert_eq!(mode(&tmp.path().join("keys/router.keys")), 0o600);
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let tmp = TestDir::new("store-loose");
    let store = Store::new(tmp.path());
    store.write(&StoreKey::RouterKeys, Some(b"x")).unwrap();
    let file = tmp.path().join("keys/router.keys");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let e = store.load().err().unwrap().to_string();
    assert!(e.contains("router.keys") && e.contains("640") && e.contains("chmod 600"), "{e}");
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

#[test]
fn a_crash_leaves_the_old_value_and_no_litter() {
    let tmp = TestDir::new("store-crash");
    let store = Store::new(tmp.path());
    let info = router_info(1);
    store.write(&StoreKey::RouterKeys, Some(b"old")).unwrap();
    store.write(&StoreKey::NetDb(info.hash()), Some(info.as_bytes())).unwrap();
    let (folder, name) = NETDB_FILES.path(&info.hash());
    // Killed between write and rename, in each folder.
    let litter = [
        tmp.path().join(".tmp.router.info"),
        tmp.path().join("keys/.tmp.router.keys"),
        tmp.path().join("keys/.tmp.site"),
        tmp.path().join("netDb").join(folder).join(format!(".tmp.{name}")),
    ];
    for file in &litter {
        std::fs::write(file, "half").unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let stored = store.load().unwrap();
    assert_eq!(stored.router_keys.as_deref(), Some(&b"old"[..]));
    assert!(stored.destinations.is_empty());
    assert_eq!(stored.router_infos.len(), 1);
    for file in &litter {
        assert!(!file.exists(), "{}", file.display());
    }
}

#[test]
fn a_leftover_does_not_lend_its_permissions() {
    let tmp = TestDir::new("store-leftover");
    let store = Store::new(tmp.path());
    std::fs::create_dir(tmp.path().join("keys")).unwrap();
    let temp = tmp.path().join("keys/.tmp.router.keys");
    std::fs::write(&temp, "half, and longer than the new one").unwrap();
    std::fs::set_permissions(&temp, std::fs::Permissions::from_mode(0o666)).unwrap();
    store.write(&StoreKey::RouterKeys, Some(b"new")).unwrap();
    let file = tmp.path().join("keys/router.keys");
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn a_write_that_fails_keeps_the_old_value() {
    let tmp = TestDir::new("store-fail");
    let store = Store::new(tmp.path());
    store.write(&StoreKey::RouterKeys, Some(b"old")).unwrap();
    // A folder in the place of the temporary file cannot be replaced by a file.
    let temp = tmp.path().join("keys/.tmp.router.keys");
    std::fs::create_dir(&temp).unwrap();
    let e = store.write(&StoreKey::RouterKeys, Some(b"new")).unwrap_err().to_string();
    assert!(e.contains("keys/router.keys: cannot write: "), "{e}");
    std::fs::remove_dir(&temp).unwrap();
    assert_eq!(store.load().unwrap().router_keys.as_deref(), Some(&b"old"[..]));
}

#[test]
fn damaged_router_infos_are_removed_and_the_others_kept() {
    let tmp = TestDir::new("store-damaged");
    let store = Store::new(tmp.path());
    let (good, bad) = (router_info(1), router_info(2));
    store.write(&StoreKey::NetDb(good.hash()), Some(good.as_bytes())).unwrap();
    let damages: [&[u8]; 4] =
        [b"", &bad.as_bytes()[..bad.as_bytes().len() - 1], good.as_bytes(), &[0; 5000]];
    for damage in damages {
        store.write(&StoreKey::NetDb(bad.hash()), Some(damage)).unwrap();
        assert_eq!(store.load().unwrap().router_infos, [Arc::from(good.as_bytes())]);
        let (folder, name) = NETDB_FILES.path(&bad.hash());
        assert!(!tmp.path().join("netDb").join(folder).join(name).exists());
    }
}

#[test]
fn the_writer_finishes_what_is_queued() {
    let tmp = TestDir::new("store-writer");
    let store = Store::new(tmp.path());
    let infos: Vec<RouterInfo> = (0..20).map(router_info).collect();
    let writer = Writer::start(store.clone()).unwrap();
    for info in &infos {
        writer.write(StoreKey::NetDb(info.hash()), Some(info.as_bytes().into()));
    }
    writer.write(StoreKey::NetDb(infos[0].hash()), None);
    drop(writer);
    assert_eq!(store.load().unwrap().router_infos.len(), 19);
}

#[test]
fn the_port_is_remembered() {
    let tmp = TestDir::new("store-port");
    let store = Store::new(tmp.path());
    assert_eq!(store.port(NTCP2_PORT), None);
    store.remember_port(NTCP2_PORT, 12345).unwrap();
    assert_eq!(store.port(NTCP2_PORT), Some(12345));
    assert_eq!(store.port(SSU2_PORT), None);
    std::fs::write(tmp.path().join(NTCP2_PORT), "nonsense").unwrap();
    assert_eq!(store.port(NTCP2_PORT), None);
}

#[test]
fn reseed_takes_files_folders_and_archives() {
    let tmp = TestDir::new("reseed");
    let infos: Vec<RouterInfo> = (0..4).map(router_info).collect();
    let at = |name: &str| tmp.path().join(name);
    std::fs::create_dir_all(at("netDb/rA/deep")).unwrap();
    std::fs::write(at("router.info"), infos[0].as_bytes()).unwrap();
    std::fs::write(at("netDb/routerInfo-a.dat"), infos[1].as_bytes()).unwrap();
    std::fs::write(at("netDb/rA/routerInfo-b.dat"), infos[2].as_bytes()).unwrap();
    std::fs::write(at("netDb/rA/deep/routerInfo-c.dat"), infos[3].as_bytes()).unwrap();
    std::fs::write(at("netDb/README"), "not one").unwrap();
    // As short as a zip with one empty entry can be.
    let zip = [
        &b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0a"[..],
        b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0a",
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0\x2f\0\0\0\x1f\0\0\0\0\0",
    ];
    std::fs::write(at("r.zip"), zip.concat()).unwrap();
    std::fs::write(at("cut.zip"), zip[0]).unwrap();
    std::fs::write(at("netDb/junk.dat"), "not one either").unwrap();
    std::fs::write(at("junk"), "nor this").unwrap();
    std::fs::write(at("x.su3"), b"I2Psu3...").unwrap();
    std::fs::write(at("big"), vec![1; 5000]).unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    let paths =
        ["router.info", "netDb", "r.zip", "cut.zip", "junk", "x.su3", "big", "empty", "missing"]
            .map(at);
    let reseed = reseed::read_all(paths.iter().map(PathBuf::as_path));
    let want: Vec<Arc<[u8]>> = [0, 2, 3, 1].map(|i: usize| infos[i].as_bytes().into()).into();
    assert_eq!(reseed.router_infos.len(), 4);
    for info in want {
        assert!(reseed.router_infos.contains(&info));
    }
    assert_eq!(reseed.archives.len(), 1);
    let problems: Vec<&str> =
        reseed.problems.iter().map(|p| p.rsplit_once('/').unwrap().1).collect();
    let want = [
        "junk.dat: neither a RouterInfo",
        "cut.zip: a damaged zip archive",
        "junk: neither a RouterInfo",
        "x.su3: SU3",
        "big: neither",
        "empty: no Router",
        "missing: No such",
    ];
    assert_eq!(problems.len(), want.len(), "{problems:?}");
    for (problem, start) in problems.iter().zip(want) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

#[test]
fn a_folder_of_junk_does_not_fill_the_log() {
    let tmp = TestDir::new("reseed-junk");
    for i in 0..30 {
        std::fs::write(tmp.path().join(format!("{i:02}.dat")), "junk").unwrap();
    }
    let reseed = reseed::read_all([tmp.path()]);
    assert_eq!(reseed.problems.len(), 11, "{:?}", reseed.problems);
    assert_eq!(reseed.problems.last().unwrap(), "and more");
    assert!(reseed.problems[9].contains("09.dat: neither"));
}

#[test]
fn names_of_files_are_harmless_and_reversible() {
    for name in ["site.dat", "..", ".hidden", "a/b", "a%2Fb", "ä\0", "x.y-z_1", "router.keys"] {
        let file = destination_file(name);
        assert!(!file.contains('/') && !file.starts_with('.') && file != ROUTER_KEYS, "{file}");
        assert_eq!(destination_name(&file).as_deref(), Some(name));
    }
    // Not of our making: another spelling of the same name would shadow it.
    assert_eq!(destination_name("%61"), None);
    assert_eq!(destination_name("a%2"), None);
    assert_eq!(destination_name("router.keys"), None);
}
