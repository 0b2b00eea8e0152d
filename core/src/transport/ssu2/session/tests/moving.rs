//! Peers whose address changes, and ways that take no long packets.

use super::super::*;
use super::net::*;

#[test]
fn a_peer_that_moves_keeps_its_session() {
    for seed in 0..20 {
        let link = Link { delay: ms(30), loss: 20, ..Link::default() };
        let mut net = Net::with_mtu(seed, link, 1_500);
        for id in 0..300 {
            net.send((id % 2) as usize, id, 1_028);
            if id == 100 {
                net.places[0] = place(1, 7_777);
            }
            if id == 200 {
                net.places[0] = place(9, 1);
            }
            net.run(ms(20));
        }
        net.run(ms(20_000));
        assert_eq!(net.sessions[1].remote(), place(9, 1), "seed {seed}");
        assert!(net.events[1].contains(&SessionEvent::Moved(place(9, 1))), "seed {seed}");
        assert_eq!(net.ended(0).or(net.ended(1)), None, "seed {seed}");
        let (to_bob, to_alice) = (net.got(1).len(), net.got(0).len());
        assert_eq!((to_bob, to_alice), (150, 150), "seed {seed}");
    }
}

/// Somebody on the way lets the peer's packets come from elsewhere: he is asked, and as he cannot answer
/// all goes where it went.
#[test]
fn packets_from_elsewhere_move_nobody_who_does_not_answer_from_there() {
    let mut net = Net::new(1, Link { delay: ms(30), ..Link::default() });
    net.run(ms(200));
    for id in 0..100 {
        net.send(1, 1_000 + id, 500);
        net.tap = Some(Default::default());
        net.links[1].cut = true;
        net.send(0, id, 500);
        net.links[1].cut = false;
        let stolen = net.tap.take().unwrap()[1].clone();
        for mut packet in stolen {
            let now = net.now;
            net.sessions[1].handle_packet(now, UNIX, place(66, 6), &mut packet);
            net.drain(1);
        }
        net.run(ms(100));
        assert_eq!(net.sessions[1].remote(), place(1, 1));
    }
    net.run(ms(5_000));
    assert_eq!((net.got(0).len(), net.got(1).len()), (100, 100));
}

#[test]
fn a_way_that_swallows_long_packets_is_found_out() {
    let link = Link { delay: ms(20), longest: Some(1_280 - 28), ..Link::default() };
    let mut net = Net::with_mtu(1, link, 1_500);
    net.run(ms(200));
    for id in 0..100 {
        net.send(0, id, if id % 10 == 0 { 5_000 } else { 1_028 });
        net.run(ms(50));
    }
    net.run(ms(20_000));
    assert_eq!(net.sessions[0].mtu, MIN_MTU);
    // What was cut for longer packets before is gone, one or two messages; the rest is not.
    let got = net.got(1).len();
    assert!(got >= 98, "{got} of 100");
    assert_eq!(net.ended(0).or(net.ended(1)), None);
    net.send(0, 1_000, 1_028);
    net.links[1].longest = None;
    for id in 1_001..1_008 {
        net.send(0, id, 10);
        net.run(ms(60_000));
    }
    assert_eq!(net.sessions[0].mtu, 1_500, "it is tried again");
}

/// Queues that overflow and short outages are no reason to take the path for a narrow one.
#[test]
fn loss_and_outages_do_not_narrow_the_path() {
    for queue in [20_000, 40_000, 100_000] {
        let link = Link { delay: ms(20), rate: Some(1_000_000), queue, ..Link::default() };
        let mut net = Net::with_mtu(1, link, 1_500);
        let mut id = 0;
        for round in 0..400 {
            while net.sessions[0].queued().0 < 20 {
                net.send(0, id, 5_000);
                id += 1;
            }
            net.links[1].cut = (100..120).contains(&round);
            net.run(ms(50));
        }
        net.run(ms(5_000));
        assert_eq!(net.sessions[0].mtu, 1_500, "{queue}");
        let dropped = net.sessions[0].stats().dropped as usize;
        let got = net.got(1).len();
        assert!(got + dropped >= id as usize && dropped <= 60, "{queue}: {got} of {id}, {dropped}");
    }
}
