//! Routers that are recorded and played, without a socket: whole networks are in `testnet`.

use super::file::{BLOCK_HEAD, FILE_HEAD, Framer, Items};
use super::item::{End, Item};
use super::report::{Ending, Report};
use super::*;
use crate::test_dir::TestDir;
use ramson_core::config::{Config, HttpProxy};
use ramson_core::keys::RouterKeys;
use ramson_core::rng::Rng;
use ramson_core::router::Router;
use ramson_core::router::input::{Datagram, Listener, Remote, SocketId, Stored};
use ramson_core::wire::hash::Hash;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SEED: [u8; 32] = [9; 32];
const NOW: Instant = Instant::from_micros(5_000_000_000);
const UNIX: UnixTime = UnixTime::from_secs(1_800_000_000);
const LIMIT: u64 = 8 << 20;
const BROWSER: ConnId = ConnId::accepted(0);
const ASKER: ConnId = ConnId::accepted(1);
const REQUEST: &[u8] = b"GET http://nobody.i2p/ HTTP/1.1\r\nHost: nobody.i2p\r\n\r\n";

fn config() -> Config {
    let mut config = Config::default();
    config.http_proxy = Some(HttpProxy::new(HttpProxy::DEFAULT_LISTEN));
    config.limits.sessions = 77;
    config
}

/// A little of everything.
fn stored() -> Stored {
    let mut stored = Stored::default();
    let keys = RouterKeys::generate(&mut Rng::new(&Seed::from_number(1)));
    stored.router_keys = Some(keys.encode().to_vec());
    stored.router_infos.push(Arc::from(&b"no RouterInfo"[..]));
    stored.profiles.insert(Hash([1; 32]), vec![1, 2, 3]);
    stored.hosts.push(b"# nobody\n".to_vec());
    stored.learned_hosts = Some(Vec::new());
    stored
}

fn begin(data: &Path, limit: u64) -> Recorded<Router> {
    let (config, stored) = (config(), stored());
    let start = Start::new(&config, &stored, &SEED, NOW, UNIX).unwrap();
    let recording = Recording::begin(data, limit, &start);
    let router = Router::new(Arc::new(config), stored, Seed::new(SEED), NOW, UNIX);
    recording.around(router, |router| *router.hash().as_bytes()).unwrap()
}

/// What the loop does after each input.
fn drain(router: &mut Recorded<Router>, now: Instant) {
    let mut buf = Vec::new();
    while router.poll_action().is_some() {}
    while router.poll_transmit(now, 1, &mut buf).is_some() {}
    while let Some(conn) = router.poll_writable() {
        while router.poll_conn(now, conn, 1000, &mut buf) > 0 {
            buf.clear();
        }
    }
    while router.poll_action().is_some() {}
    let at = router.poll_timeout();
    assert_eq!(router.poll_timeout(), at);
}

fn tell(router: &mut Recorded<Router>, now: Instant, conn: ConnId, input: ConnInput<'_>) {
    let _ = router.handle_conn(now, conn, input);
    drain(router, now);
}

/// Some minutes of a router that has no network, a visitor of its proxy, and somebody who asks it
/// how it is.
fn live(router: &mut Recorded<Router>) {
    drain(router, NOW);
    let accepted = |listener, remote| ConnInput::Accepted { remote, listener };
    let browser = Remote::Ip("127.0.0.1:5000".parse().unwrap());
    tell(router, NOW, BROWSER, accepted(Listener::HttpProxy, browser));
    tell(router, NOW, BROWSER, ConnInput::Bytes(&mut REQUEST.to_vec()));
    let mut now = NOW + Duration::from_millis(10);
    tell(router, now, ASKER, accepted(Listener::Control, Remote::Local));
    tell(router, now, ASKER, ConnInput::Bytes(&mut b"info\n".to_vec()));
    tell(router, now, ASKER, ConnInput::ReadClosed);
    tell(router, now, ConnId::from_u64(99), ConnInput::Connected);
    for segment in [None, Some(40)] {
        let remote = "[2001:db8::1]:9000".parse().unwrap();
        let payload = &mut [7; 100][..];
        router.handle_datagram(now, Datagram { socket: SocketId::IPV6, remote, payload, segment });
        drain(router, now);
    }
    router.handle_wall_clock(now, UNIX + Duration::from_hours(1));
    router.mix_entropy(Seed::from_number(4));
    drain(router, now);
    for _ in 0..20 {
        now = router.poll_timeout().unwrap().max(now + Duration::from_millis(1));
        router.handle_timeout(now);
        drain(router, now);
    }
    let reset = ramson_core::router::input::ConnError::Reset;
    tell(router, now, BROWSER, ConnInput::Failed(reset));
    router.handle_command(now, Command::Shutdown);
    drain(router, now);
    for _ in 0..5 {
        now = now + Duration::from_millis(500);
        router.handle_timeout(now);
        drain(router, now);
    }
}

/// The recording of such a life.
fn recorded(name: &str) -> (TestDir, PathBuf) {
    let tmp = TestDir::new(name);
    let mut router = begin(tmp.path(), LIMIT);
    live(&mut router);
    drop(router);
    let path = tmp.path().join("recordings/000001.recording");
    (tmp, path)
}

fn play_bytes(bytes: &[u8]) -> Result<Report, RecordingError> {
    play(bytes, None)
}

/// The items of each block.
fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    let mut rest = &bytes[FILE_HEAD..];
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        blocks.push(rest[BLOCK_HEAD..BLOCK_HEAD + len].to_vec());
        rest = &rest[BLOCK_HEAD + len..];
    }
    blocks
}

/// A file of such blocks, with checksums that are right.
fn framed(blocks: &[Vec<u8>]) -> Vec<u8> {
    let (mut framer, head) = Framer::start();
    let mut out = head.to_vec();
    for block in blocks {
        out.extend(framer.head(block).unwrap());
        out.extend(block);
    }
    out
}

/// The same recording as it would be if the thread had written each item by itself.
fn item_by_item(bytes: &[u8]) -> Vec<u8> {
    let mut split = blocks(bytes);
    split.truncate(1);
    let (mut items, _) = Items::open(bytes).unwrap();
    let mut last = 0;
    while let Some(item) = items.next().unwrap() {
        let mut block = Vec::new();
        item.encode(&mut block, &mut last).unwrap();
        split.push(block);
    }
    assert_eq!(split.concat(), blocks(bytes).concat());
    framed(&split)
}

#[test]
fn what_was_recorded_is_played_to_the_same_outputs() {
    let (_tmp, path) = recorded("record-same");
    let report = play(File::open(&path).unwrap(), None).unwrap();
    assert!(report.is_same(), "{}", report.to_text());
    assert!(matches!(report.ending, Ending::Recorded(End::Stopped)), "{report:?}");
    // The start, 7 on streams, 2 of datagrams, clock, entropy, stop, and time.
    assert_eq!(report.inputs, 1 + 7 + 2 + 3 + 25);
    assert!(report.compared > report.inputs + 100, "{report:?}");
    assert_eq!((report.same, report.started), (report.compared, Some(UNIX)));
    assert!(report.span > Duration::from_secs(1), "{report:?}");
    assert!(!report.other_build && report.panics.is_empty());
    let (text, json) = (report.to_text(), report.to_json());
    let n = report.compared;
    assert!(text.contains(&format!("same outputs: {n} of {n}\n")), "{text}");
    assert!(text.contains("2027-01-15 08:00:00 UTC by ramson "), "{text}");
    assert_eq!(json["same"], true);
    assert_eq!((&json["end"], &json["inputs"]), (&"stopped".into(), &report.inputs.into()));

    let until = play(File::open(&path).unwrap(), Some(3)).unwrap();
    assert_eq!(until.inputs, 3);
    assert!(until.is_same() && matches!(until.ending, Ending::Until), "{until:?}");
    let until = play(File::open(&path).unwrap(), Some(0)).unwrap();
    assert_eq!((until.inputs, until.compared), (0, 0));
}

#[test]
fn a_planted_difference_is_found_where_it_is() {
    let (_tmp, path) = recorded("record-planted");
    let mut blocks = blocks(&std::fs::read(path).unwrap());
    let place = |block: &Vec<u8>| block.windows(5).position(|bytes| bytes == b"info\n");
    let (at, block) = blocks.iter_mut().find_map(|b| place(b).map(|at| (at, b))).unwrap();
    // Who asks for something else is told that it is nothing.
    block[at] = b'x';
    let report = play_bytes(&framed(&blocks)).unwrap();
    let Ending::Different(difference) = &report.ending else { panic!("{report:?}") };
    assert_eq!(difference.input, 5);
    assert_eq!(difference.what, format!("stream {}: 5 bytes", ASKER.as_u64()));
    assert_eq!(difference.at, Duration::from_millis(10));
    assert!(difference.call.starts_with("poll_conn of stream 2"), "{difference:?}");
    assert_ne!(difference.recorded, difference.replayed);
    assert_eq!(report.same + 1, report.compared);
    assert!(!report.is_same());
    let text = report.to_text();
    assert!(text.contains("first other   input 5 at 0.010000 s: stream 2: 5 bytes\n"), "{text}");
    assert_eq!(report.to_json()["difference"]["input"], 5);
}

#[test]
fn other_keys_are_another_router() {
    let (_tmp, path) = recorded("record-keys");
    let mut blocks = blocks(&std::fs::read(path).unwrap());
    let keys = stored().router_keys.unwrap();
    let other = RouterKeys::generate(&mut Rng::new(&Seed::from_number(2))).encode();
    let place = |block: &Vec<u8>| block.windows(keys.len()).position(|bytes| bytes == keys);
    let (at, block) = blocks.iter_mut().find_map(|b| place(b).map(|at| (at, b))).unwrap();
    block[at..at + keys.len()].copy_from_slice(&other);
    let report = play_bytes(&framed(&blocks)).unwrap();
    let Ending::Different(difference) = &report.ending else { panic!("{report:?}") };
    assert_eq!((difference.input, difference.call.as_str()), (1, "start"));
}

#[test]
fn a_torn_recording_is_played_as_far_as_it_goes() {
    let (_tmp, path) = recorded("record-torn");
    let whole = item_by_item(&std::fs::read(path).unwrap());
    let all = play_bytes(&whole).unwrap().compared;
    let mut played = 0;
    // Every place near the end, and some before.
    let end = whole.len().saturating_sub(40);
    let cuts = (0..end).step_by(97).chain(end..whole.len());
    for len in cuts {
        match play_bytes(&whole[..len]) {
            Ok(report) => {
                assert!(report.is_same() && report.damage().is_none(), "{len}: {report:?}");
                assert!(matches!(report.ending, Ending::Killed(_)), "{len}: {report:?}");
                assert!((played..=all).contains(&report.compared), "{len}: {report:?}");
                played = report.compared;
            }
            Err(e) => {
                let early = matches!(e, RecordingError::Foreign | RecordingError::NoStart);
                assert!(early && played == 0, "{len}: {e}");
            }
        }
    }
    assert!(played > all - 10, "{played} of {all}");
}

#[test]
fn damage_is_an_error_with_its_place_and_what_comes_before_is_played() {
    let (_tmp, path) = recorded("record-damage");
    let whole = item_by_item(&std::fs::read(path).unwrap());
    for at in (0..whole.len()).step_by(61).chain(whole.len() - 30..whole.len()) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        match play_bytes(&flipped) {
            Ok(report) => {
                assert!(report.is_same(), "{at}: {report:?}");
                let damage = report.damage().unwrap().to_string();
                assert!(damage.starts_with("damaged at byte "), "{at}: {damage}");
                assert!(report.to_text().contains("all before that was played"), "{at}");
            }
            Err(RecordingError::Damaged { offset, .. }) => assert!(offset <= at as u64),
            Err(RecordingError::Foreign | RecordingError::Format(_)) => assert!(at < FILE_HEAD),
            Err(other) => panic!("{at}: {other}"),
        }
    }
}

#[test]
fn nonsense_with_right_checksums_is_played_or_refused() {
    let (_tmp, path) = recorded("record-nonsense");
    let blocks = blocks(&std::fs::read(path).unwrap());
    let mut rng = Rng::new(&Seed::from_number(7));
    let mut outcomes = [0; 3];
    for _ in 0..200 {
        let mut mutant = blocks.clone();
        for _ in 0..=rng.below(3) {
            // Not the first block, which says who recorded.
            let n = 1 + rng.index(mutant.len() - 1);
            let block = &mut mutant[n];
            let at = rng.index(block.len());
            match rng.below(4) {
                0 => block[at] = rng.below(256) as u8,
                1 => block[at] ^= 1 << rng.below(8),
                2 => drop(block.drain(at..(at + 9).min(block.len()))),
                _ => block.insert(at, rng.below(256) as u8),
            }
            if block.is_empty() {
                mutant.remove(n);
            }
        }
        match play_bytes(&framed(&mutant)) {
            Ok(report) if report.damage().is_none() => outcomes[0] += 1,
            Ok(_) => outcomes[1] += 1,
            Err(_) => outcomes[2] += 1,
        }
    }
    assert!(outcomes.iter().all(|n| *n > 0), "{outcomes:?}");
}

#[test]
fn a_recording_ends_whole_at_its_limit_and_the_router_goes_on() {
    let tmp = TestDir::new("record-limit");
    let limit = 64 << 10;
    let mut router = begin(tmp.path(), limit);
    let mut now = NOW;
    let mut told = 0;
    while router.recorder.as_ref().is_some_and(|r| r.call(Call::PollWritable)) {
        router.after(Outcome::Writable(None));
        now = now + Duration::from_millis(1);
        tell(&mut router, now, BROWSER, ConnInput::Bytes(&mut [7; 1000]));
        told += 1;
        assert!(told < 1000);
    }
    let files = |n: u32| tmp.path().join(format!("recordings/{n:06}.recording"));
    live(&mut router);
    drop(router);
    let len = std::fs::metadata(files(1)).unwrap().len();
    assert!((limit / 2 - 8192..=limit / 2).contains(&len), "{len}");
    let report = play(File::open(files(1)).unwrap(), None).unwrap();
    assert!(report.is_same() && report.inputs > 20, "{report:?}");
    assert!(matches!(report.ending, Ending::Recorded(End::Limit)), "{report:?}");
    assert_eq!(report.to_json()["end"], "limit");

    // The next start is recorded anew, and however long it is: the one before has its room.
    let mut router = begin(tmp.path(), limit);
    while router.recorder.as_ref().is_some_and(|r| r.call(Call::PollWritable)) {
        router.after(Outcome::Writable(None));
        tell(&mut router, NOW, BROWSER, ConnInput::Bytes(&mut [7; 1000]));
    }
    drop(router);
    assert!(files(1).exists());
    // The one before that has not; together they stay within the limit.
    let mut router = begin(tmp.path(), limit);
    tell(&mut router, NOW, BROWSER, ConnInput::Bytes(&mut [7; 10_000]));
    live(&mut router);
    drop(router);
    assert!(!files(1).exists() && files(2).exists());
    assert!(play(File::open(files(3)).unwrap(), None).unwrap().is_same());
    // A larger one keeps the older.
    drop(begin(tmp.path(), LIMIT));
    assert!(files(2).exists() && files(3).exists());
}

#[test]
fn a_limit_that_has_no_room_for_the_start_records_nothing() {
    let tmp = TestDir::new("record-no-room");
    let mut router = begin(tmp.path(), 4096);
    assert!(router.recorder.is_none());
    live(&mut router);
    assert!(!tmp.path().join("recordings").exists());
}

#[test]
fn a_folder_that_cannot_be_made_records_nothing() {
    let tmp = TestDir::new("record-no-folder");
    std::fs::write(tmp.path().join("recordings"), "a file").unwrap();
    let mut router = begin(tmp.path(), LIMIT);
    assert!(router.recorder.is_none());
    live(&mut router);
}

#[test]
fn a_configuration_that_no_file_can_say_is_not_recorded() {
    let (mut config, stored) = (config(), Stored::default());
    config.ntcp2.port = Some(0);
    assert!(Start::new(&config, &stored, &SEED, NOW, UNIX).is_none());
}

#[test]
fn a_start_that_fails_fails_again() {
    let tmp = TestDir::new("record-refused");
    let (config, mut stored) = (config(), stored());
    stored.router_keys = Some(b"damaged".to_vec());
    let start = Start::new(&config, &stored, &SEED, NOW, UNIX).unwrap();
    let recording = Recording::begin(tmp.path(), LIMIT, &start);
    let router = Router::new(Arc::new(config), stored, Seed::new(SEED), NOW, UNIX);
    assert!(recording.around(router, |router| *router.hash().as_bytes()).is_err());
    let file = File::open(tmp.path().join("recordings/000001.recording")).unwrap();
    let report = play(file, None).unwrap();
    assert!(report.is_same(), "{report:?}");
    assert_eq!((report.inputs, report.compared), (1, 1));
}

/// A machine that panics when time passes.
struct Fragile;

impl Machine for Fragile {
    fn handle_conn(&mut self, _: Instant, _: ConnId, _: ConnInput<'_>) -> Consumed {
        Consumed::default()
    }
    fn handle_completion(&mut self, _: Instant, _: EffectId, _: Completion) {}
    fn handle_command(&mut self, _: Instant, _: Command) {}
    fn handle_wall_clock(&mut self, _: Instant, _: UnixTime) {}
    fn handle_timeout(&mut self, _: Instant) {
        // Without the noise of panic!
        resume_unwind(Box::new("a bug"));
    }
    fn handle_datagram(&mut self, _: Instant, _: Datagram<'_>) {}
    fn mix_entropy(&mut self, _: Seed) {}
    fn poll_action(&mut self) -> Option<Action> {
        None
    }
    fn poll_transmit(&mut self, _: Instant, _: usize, _: &mut Vec<u8>) -> Option<Transmit> {
        None
    }
    fn poll_writable(&mut self) -> Option<ConnId> {
        None
    }
    fn poll_conn(&mut self, _: Instant, _: ConnId, _: usize, _: &mut Vec<u8>) -> usize {
        0
    }
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn a_panic_is_recorded_with_the_input_that_made_it_and_goes_on() {
    let tmp = TestDir::new("record-panic");
    let (config, stored) = (config(), Stored::default());
    let start = Start::new(&config, &stored, &SEED, NOW, UNIX).unwrap();
    let recording = Recording::begin(tmp.path(), LIMIT, &start);
    let mut machine = recording.around(Ok::<_, String>(Fragile), |_| [0; 32]).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| machine.handle_timeout(NOW))).is_err());
    assert_eq!(machine.poll_writable(), None);
    drop(machine);
    let bytes = std::fs::read(tmp.path().join("recordings/000001.recording")).unwrap();
    let (mut items, _) = Items::open(&bytes[..]).unwrap();
    let mut list = Vec::new();
    while let Some(item) = items.next().unwrap() {
        list.push(match item {
            Item::Call(call) => call.to_string(),
            Item::Outcome(outcome) => outcome.to_string(),
            item @ (Item::Program(_) | Item::Config { .. } | Item::Stored(_) | Item::End(_)) => {
                format!("{item:?}")
            }
        });
    }
    let want = ["timeout", "a panic", "poll_writable", "nothing", "End(Stopped)"];
    assert_eq!(list[list.len() - 5..], want);
}
