//! What is queued arrives, once and whole.

use super::net::*;
use crate::crypto::sign::SigningKey;
use crate::crypto::x25519::PublicKey;
use crate::rng::{Rng, Seed};
use crate::transport::queue::Priority;
use crate::transport::ssu2::session::SessionEvent;
use crate::wire::i2np::MAX_BODY_LEN;
use crate::wire::identity::Identity;
use crate::wire::mapping::Mapping;
use crate::wire::router_info::RouterInfo;
use alloc::vec::Vec;

#[test]
fn messages_of_all_sizes_arrive_once_over_a_bad_way() {
    for seed in 0..60 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let link = Link {
            delay: ms(rng.below(150)),
            loss: [0, 10, 50, 200][rng.index(4)],
            late: [0, 250][rng.index(2)],
            twice: [0, 100][rng.index(2)],
            lateness: ms(500),
            ..Link::default()
        };
        let mtu = [1280, 1500][rng.index(2)];
        let mut net = Net::with_mtu(seed, link, mtu);
        let mut sent = [Vec::new(), Vec::new()];
        for id in 0..120 {
            let side = rng.index(2);
            let len = match rng.below(10) {
                0 => rng.below(MAX_BODY_LEN as u64 + 1),
                1..4 => 1_100 + rng.below(400),
                _ => rng.below(1_200),
            };
            net.send(side, id, len as usize);
            sent[side].push(id);
            net.run(ms(rng.below(100)));
        }
        net.run(ms(30_000));
        for side in [0, 1] {
            let mut got = net.got(1 - side);
            got.sort_unstable();
            // What waited for two seconds behind the rest is dropped, by the queue that says so.
            let dropped: u64 = net.sessions.iter().map(|s| s.stats().dropped).sum();
            assert!(
                got.len() + dropped as usize >= sent[side].len(),
                "seed {seed}, {link:?}: {dropped}"
            );
            got.dedup();
            assert!(got.iter().all(|id| sent[side].contains(id)), "seed {seed}");
            assert_eq!(got.len(), net.got(1 - side).len(), "seed {seed}: twice");
            assert_eq!(net.ended(side), None, "seed {seed}, {link:?}");
        }
        net.run(ms(31_000));
        let parts = net.sessions.each_ref().map(|s| s.reassembly_bytes());
        assert_eq!(parts, [0, 0], "seed {seed}: parts are left");
    }
}

#[test]
fn a_clean_way_loses_and_repeats_nothing() {
    let mut net = Net::new(1, Link { delay: ms(20), ..Link::default() });
    for id in 0..2_000 {
        net.send((id % 2) as usize, id, 1_028);
        net.run(ms(2));
    }
    net.run(ms(2_000));
    for side in [0, 1] {
        assert_eq!(net.got(side).len(), 1_000);
        let stats = net.sessions[side].stats();
        let unwanted = (stats.lost, stats.repeated, stats.repeated_messages, stats.dropped);
        assert_eq!(unwanted, (0, 0, 0, 0));
        // One packet a message, and an acknowledgement now and then.
        assert!(stats.packets_out < 1_500, "{stats:?}");
    }
}

#[test]
fn the_first_packet_is_acknowledged_at_once_and_session_confirmed_goes_until_it_is() {
    let mut net = Net::new(1, Link { delay: ms(50), ..Link::default() });
    net.tap = Some(Default::default());
    net.run(ms(55));
    assert_eq!(net.tap.as_ref().unwrap().each_ref().map(Vec::len), [1, 0]);
    net.run(ms(3_000));
    assert_eq!(net.tap.as_ref().unwrap().each_ref().map(Vec::len), [1, 0]);

    // Now the acknowledgement is lost: what comes again is answered again.
    let mut net = Net::new(2, Link { delay: ms(50), ..Link::default() });
    net.links[0].cut = true;
    net.run(ms(500));
    net.links[0].cut = false;
    net.run(ms(3_000));
    let stats = net.sessions[1].stats();
    assert_eq!((stats.repeated, stats.forged), (1, 0), "{stats:?}");
    net.send(0, 1, 100);
    net.run(ms(200));
    assert_eq!(net.got(1), [1]);
}

#[test]
fn a_router_info_goes_first_and_a_long_one_as_a_message() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let signing = SigningKey::generate(&mut rng);
    let identity = Identity::new_router(PublicKey(rng.bytes()), &signing.public(), &mut rng);
    for (len, as_block) in [(60, true), (250, false)] {
        let mut options = Mapping::new();
        for n in 0..8 {
            let name = alloc::format!("option{n}");
            options.insert(&name, &"x".repeat(len)).unwrap();
        }
        let info = RouterInfo::build(&identity, UNIX, &[], &options, &signing);
        let mut net = Net::new(1, Link { delay: ms(5), ..Link::default() });
        for id in 0..5 {
            net.sessions[0].queue(net.now, message(id, 10), Priority::Own).unwrap();
        }
        let now = net.now;
        net.sessions[0].send_router_info(now, UNIX, &info, true);
        net.sessions[0].send_token(7, 9);
        net.run(ms(1_000));
        let first = net.events[1].iter().find(|e| !matches!(e, SessionEvent::NewToken { .. }));
        let first = first.unwrap();
        if as_block {
            assert_eq!(*first, SessionEvent::RouterInfo { info, flood: true });
        } else {
            assert!(matches!(first, SessionEvent::Message(m) if m.kind.0 == 1), "{first:?}");
        }
        assert!(net.events[1].contains(&SessionEvent::NewToken { token: 7, expires: 9 }));
    }
}
