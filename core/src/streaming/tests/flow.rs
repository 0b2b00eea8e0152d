//! Windows, acks, choking and recovery, packet by packet.

use super::super::*;
use super::net::*;
use super::peer::*;
use crate::flow::congestion::{INITIAL_WINDOW, MAX_WINDOW};
use alloc::vec;

fn line() -> Link {
    Link { delay: ms(10), ..Link::default() }
}

/// A stream with a round trip of 20 ms that was measured, and the sequence number of ours that is
/// next.
fn warm(peer: &mut Peer) -> StreamId {
    let id = peer.open();
    for sequence in 1..=20 {
        peer.streams.write(peer.now, id, &[0; 100]);
        assert_eq!(peer.recv_one().sequence, sequence);
        peer.now = peer.now + ms(20);
        peer.send(&peer.packet(0, sequence, b""));
    }
    peer.events();
    id
}

#[test]
fn a_first_window_goes_out_and_then_waits() {
    let mut peer = Peer::new();
    let id = peer.open();
    let taken = peer.streams.write(peer.now, id, &pattern(1_000_000));
    assert_eq!(taken, 128 * 1024);
    let got = peer.recv();
    assert_eq!(got.len() as u32, INITIAL_WINDOW);
    assert!(got.iter().map(|got| got.sequence).eq(1..=10));
    assert!(got.iter().all(|got| got.payload.len() == 1812 && got.through == 0));
    // Two acknowledged let four go, as the window doubles.
    peer.now = peer.now + ms(20);
    peer.send(&peer.packet(0, 2, b""));
    assert_eq!(peer.recv().len(), 4);
}

#[test]
fn acks_come_for_every_second_packet_first_and_then_for_every_fourth() {
    let mut peer = Peer::new();
    let id = peer.open();
    let (mut acks, mut at) = (Vec::new(), Vec::new());
    for sequence in 1..=121 {
        peer.send(&peer.packet(sequence, 0, &[1; 10]));
        for got in peer.recv() {
            assert_eq!((got.kind, got.through), (PacketKind::Ack, sequence));
            acks.push(sequence);
            at.push(peer.now);
        }
    }
    let gaps: Vec<_> = acks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[..12].iter().all(|gap| *gap == 2), "{gaps:?}");
    assert!(gaps[20..].iter().all(|gap| *gap == 4), "{gaps:?}");
    // The rest is acknowledged some milliseconds later.

    let late = peer.wait(ms(30));
    assert_eq!(late.len(), 1);
    assert_eq!(late[0].1.through, 121);
    // And at once when that is asked for.
    peer.send(&Outgoing { delay: Some(0), ..peer.packet(122, 0, b"x") });
    assert_eq!(peer.recv_one().through, 122);
    assert_eq!(peer.streams.readable(id), 1211);
}

#[test]
fn gaps_and_duplicates_are_answered_at_once() {
    let mut peer = Peer::new();
    peer.open();
    peer.now = peer.now + ms(100);
    peer.send(&peer.packet(3, 0, b"c"));
    let got = peer.recv_one();
    assert_eq!((got.through, got.nacks), (3, vec![1, 2]));
    // Not for each one of a burst, though.
    peer.send(&peer.packet(5, 0, b"e"));
    assert_eq!(peer.recv(), []);
    let got = peer.wait(ms(2)).remove(0).1;
    assert_eq!((got.through, got.nacks), (5, vec![1, 2, 4]));
    peer.send(&peer.packet(1, 0, b"a"));
    peer.send(&peer.packet(2, 0, b"b"));
    let got = peer.recv_one();
    assert_eq!((got.through, got.nacks), (5, vec![4]));
    peer.send(&peer.packet(2, 0, b"b"));
    assert_eq!(peer.recv_one().nacks, [4]);
}

#[test]
fn acks_ride_on_data() {
    let mut peer = Peer::new();
    let id = peer.open();
    peer.send(&peer.packet(1, 0, b"question"));
    peer.streams.write(peer.now, id, b"answer");
    let got = peer.recv_one();
    assert_eq!((got.kind, got.through), (PacketKind::Data, 1));
    assert!(peer.wait(ms(200)).is_empty());
}

#[test]
fn only_what_is_missing_is_sent_again_and_soon() {
    let mut peer = Peer::new();
    let id = warm(&mut peer);
    peer.streams.write(peer.now, id, &pattern(10 * 1812));
    assert!(peer.recv().iter().map(|got| got.sequence).eq(21..=30));
    peer.now = peer.now + ms(20);
    // One overtaken packet is no loss yet.
    let nack = [22];
    peer.send(&Outgoing {
        nacks: crate::wire::streaming::Nacks::Missing(&nack),
        ..peer.packet(0, 24, b"")
    });
    assert_eq!(peer.recv(), []);
    peer.send(&Outgoing {
        nacks: crate::wire::streaming::Nacks::Missing(&nack),
        ..peer.packet(0, 25, b"")
    });
    let again = peer.recv_one();
    assert_eq!((again.sequence, again.kind), (22, PacketKind::DataAgain));
    assert_eq!(again.payload, pattern(10 * 1812)[1812..2 * 1812]);
    // NACKs that were sent before that arrived do not make it go a third time.
    peer.send(&Outgoing {
        nacks: crate::wire::streaming::Nacks::Missing(&nack),
        ..peer.packet(0, 30, b"")
    });
    assert_eq!(peer.recv(), []);
    peer.now = peer.now + ms(20);
    peer.send(&peer.packet(0, 30, b""));
    assert!(peer.wait(ms(1000)).is_empty());
    assert_eq!(peer.streams.info(id).unwrap().unacknowledged, 0);
}

#[test]
fn a_lost_retransmission_is_found_without_a_timeout() {
    let mut peer = Peer::new();
    let id = warm(&mut peer);
    let nack = [21];
    let missing = crate::wire::streaming::Nacks::Missing(&nack);
    peer.streams.write(peer.now, id, &pattern(10 * 1812));
    peer.recv();
    peer.now = peer.now + ms(20);
    peer.send(&Outgoing { nacks: missing, ..peer.packet(0, 30, b"") });
    assert_eq!(peer.recv_one().sequence, 21);
    // It is lost again; four that were sent after it arrive.
    peer.streams.write(peer.now, id, &pattern(4 * 1812));
    assert!(peer.recv().iter().map(|got| got.sequence).eq(31..=34));
    peer.now = peer.now + ms(20);
    peer.send(&Outgoing { nacks: missing, ..peer.packet(0, 34, b"") });
    assert_eq!(peer.recv_one().sequence, 21);
    assert!(peer.events().is_empty());
}

#[test]
fn silence_is_answered_with_one_probe_then_two_and_told() {
    let mut peer = Peer::new();
    let id = warm(&mut peer);
    peer.streams.write(peer.now, id, &pattern(10 * 1812));
    peer.recv();
    let start = peer.now;
    let probes = peer.wait(ms(6000));
    let at = |at: &Instant| at.saturating_since(start).as_millis();
    let seen: Vec<_> = probes.iter().map(|(t, got)| (at(t), got.sequence)).collect();
    let want = [(250, 21), (750, 21), (750, 22), (1750, 21), (1750, 22), (3750, 21), (3750, 22)];
    assert_eq!(seen, want);
    let remote = peer.identity.hash();
    let events = peer.events();
    let stalled = |timeouts| StreamEvent::Stalled { remote, timeouts };
    assert_eq!(events, [stalled(2), stalled(3), stalled(4)]);
    // The owner changes tunnels: asked again at once, and when that works the rest follows.
    peer.streams.handle_rerouted(peer.now, &remote);
    assert_eq!(peer.recv_one().sequence, 21);
    // Other tunnels are given a second, and the count goes on.
    let next = peer.wait(ms(1100));
    assert_eq!(next[0].1.sequence, 21);
    assert_eq!(peer.events(), [stalled(5)]);
    peer.streams.handle_rerouted(peer.now, &remote);
    assert_eq!(peer.recv_one().sequence, 21);
    peer.now = peer.now + ms(30);
    peer.send(&peer.packet(0, 21, b""));
    let mut rest = peer.recv();
    rest.extend(peer.wait(ms(50)).into_iter().map(|(_, got)| got));
    let mut rest: Vec<_> = rest.iter().map(|got| got.sequence).collect();
    rest.sort_unstable();
    assert_eq!(rest, (22..=30).collect::<Vec<_>>());
}

#[test]
fn a_choked_sender_stops_probes_and_goes_on() {
    let mut peer = Peer::new();
    let id = warm(&mut peer);
    peer.streams.write(peer.now, id, &pattern(100_000));
    let flight = peer.recv().len() as u32;
    assert!(flight >= INITIAL_WINDOW);
    peer.now = peer.now + ms(20);
    peer.send(&Outgoing { delay: Some(61_000), ..peer.packet(0, 20 + flight, b"") });
    assert_eq!(peer.recv(), []);
    let probes = peer.wait(ms(4000));
    assert!((2..6).contains(&probes.len()), "{probes:?}");
    assert!(probes.iter().all(|(_, got)| got.sequence == 21 + flight));
    // A plain ack of old things says nothing; the word to go on does.
    peer.send(&peer.packet(0, 20 + flight, b""));
    assert_eq!(peer.recv(), []);
    peer.send(&Outgoing { delay: Some(0), ..peer.packet(0, 21 + flight, b"") });
    assert!(peer.recv().iter().filter(|got| got.kind == PacketKind::Data).count() > 3);
}

/// i2pd says it once and never takes it back.
#[test]
fn an_acknowledged_probe_ends_a_choke() {
    let mut peer = Peer::new();
    let id = warm(&mut peer);
    peer.streams.write(peer.now, id, &pattern(100_000));
    let flight = peer.recv().len() as u32;
    peer.send(&Outgoing { delay: Some(65_535), ..peer.packet(0, 20 + flight, b"") });
    let probe = peer.wait(ms(600)).remove(0).1;
    peer.send(&peer.packet(0, probe.sequence, b""));
    assert!(peer.recv().len() > 3);
}

#[test]
fn a_slow_reader_chokes_the_sender_and_nothing_is_lost() {
    for seed in 0..5 {
        let link = Link { gap: Duration::from_micros(100), loss: seed * 10, ..line() };
        let mut net = Net::new(seed, link);
        let (id, other) = net.open();
        net.hosts[1].reads = false;
        net.hosts[0].send(id, pattern(3_000_000), true);
        net.run(Duration::from_secs(30));
        let held = net.hosts[1].streams.readable(other);
        let buffer = StreamingConfig::default().receive_buffer;
        // What was under way when we choked, or waited for a lost packet, still came.
        let most = if seed == 0 { 3 * buffer } else { (1 << 20) + 4096 };
        assert!((buffer..most).contains(&held), "{held}");
        let again = net.hosts[0].streams.stats().again_out;
        assert!(again < 100, "{again}");
        // Reads a little at a time, then all.
        let mut out = Vec::new();
        for _ in 0..20 {
            net.hosts[1].streams.read(net.now, other, 20_000, &mut out);
            net.run(ms(100));
        }
        net.hosts[1].received.insert(other, out);
        net.hosts[1].reads = true;
        let took = net.until(|net| net.hosts[1].saw(&StreamEvent::RemoteClosed(other)));
        assert!(took < ms(4000), "{took:?}");
        assert!(net.hosts[1].received[&other] == pattern(3_000_000));
    }
}

/// Old routers do not know what a choke is, and give a stream up when nothing is acknowledged.
#[test]
fn a_sender_that_ignores_chokes_is_fed_slowly() {
    let mut peer = Peer::new();
    let id = peer.open();
    let mut sequence = 1;
    let mut refused = None;
    while refused.is_none() {
        peer.send(&peer.packet(sequence, 0, &[3; 1812]));
        let acks = peer.recv();
        if peer.streams.conns[&id].receiver.in_order() < Some(sequence) {
            assert_eq!(acks.last().and_then(|got| got.delay), Some(60_001));
            refused = Some(sequence);
        }
        sequence += 1;
    }
    assert!(peer.streams.readable(id) <= 1 << 20);
    let stuck = refused.unwrap();
    peer.wait(ms(11_000));
    peer.send(&peer.packet(stuck, 0, &[3; 1812]));
    peer.recv();
    peer.send(&peer.packet(stuck, 0, &[3; 1812]));
    assert_eq!(peer.recv().last().unwrap().through, stuck);
    // The reader wakes up: the peer is told, more than once.
    let mut out = Vec::new();
    peer.streams.read(peer.now, id, usize::MAX, &mut out);
    let mut told = peer.recv();
    told.extend(peer.wait(ms(20_000)).into_iter().map(|(_, got)| got));
    assert_eq!(told.iter().filter(|got| got.delay == Some(0)).count(), 5);
    assert_eq!(out.len(), stuck as usize * 1812);
}

#[test]
fn memory_of_all_streams_has_a_cap() {
    let config = StreamingConfig { memory: 2_000_000, ..StreamingConfig::default() };
    let mut net = Net::with(1, line(), config);
    net.hosts[1].reads = false;
    let ids: Vec<_> = (0..30).map(|_| net.connect()).collect();
    for id in &ids {
        net.hosts[0].send(*id, pattern(300_000), true);
    }
    for _ in 0..200 {
        net.run(ms(50));
        for host in &net.hosts {
            let held: usize = host.streams.conns.values().map(|conn| conn.bytes()).sum();
            assert_eq!(host.streams.memory(), held);
            assert!(held <= 2_000_000 + 30 * 4096, "{held}");
        }
    }
    net.hosts[1].reads = true;
    net.until(|net| {
        net.hosts[1].received.values().filter(|got| got.len() == 300_000).count() == 30
    });
    for got in net.hosts[1].received.values() {
        assert!(*got == pattern(300_000));
    }
}

#[test]
fn never_more_is_under_way_than_a_hop_takes() {
    // A peer that acknowledges nothing but every hundredth packet cannot make us overdo it either.
    let mut peer = Peer::new();
    let id = warm(&mut peer);
    let mut last = 20;
    let mut most = 0;
    for _ in 0..2000 {
        let mut sent = Vec::new();
        for _ in 0..5 {
            peer.streams.write(peer.now, id, &[0; 200_000]);
            sent.extend(peer.recv());
            sent.extend(peer.wait(ms(4)).into_iter().map(|(_, got)| got));
        }
        most = most.max(peer.streams.info(id).unwrap().flying);
        if let Some(got) = sent.iter().map(|got| got.sequence).max() {
            last = last.max(got);
            peer.send(&peer.packet(0, last, b""));
        }
    }
    assert!(most > 100 && most <= MAX_WINDOW, "{most}");
}

/// We only acknowledge, and our acks do not get through: there is no timeout of ours to tell.
#[test]
fn a_peer_that_repeats_itself_does_not_hear_us() {
    let mut peer = Peer::new();
    peer.open();
    for sequence in 1..=3 {
        peer.send(&peer.packet(sequence, 0, b"x"));
    }
    peer.wait(ms(30));
    peer.send(&peer.packet(3, 0, b"x"));
    peer.send(&peer.packet(3, 0, b"x"));
    assert_eq!(peer.events().len(), 1, "only readable");
    peer.now = peer.now + ms(60);
    peer.send(&peer.packet(3, 0, b"x"));
    let remote = peer.identity.hash();
    assert_eq!(peer.events(), [StreamEvent::Stalled { remote, timeouts: 2 }]);
    assert_eq!(peer.recv().last().unwrap().through, 3);
    // Something new: it does.
    peer.send(&peer.packet(4, 0, b"x"));
    peer.now = peer.now + ms(2000);
    peer.send(&peer.packet(4, 0, b"x"));
    assert!(!peer.events().iter().any(|e| matches!(e, StreamEvent::Stalled { .. })));
}

#[test]
fn writable_is_told_to_who_writes_no_more_than_there_is_room_for() {
    let mut net = Net::new(1, line());
    let (id, _) = net.open();
    let room = net.hosts[0].streams.writable(id);
    assert_eq!(net.hosts[0].streams.write(net.now, id, &pattern(room)), room);
    assert_eq!(net.hosts[0].streams.writable(id), 0);
    net.until(|net| net.hosts[0].saw(&StreamEvent::Writable(id)));
}

#[test]
fn writable_is_told_after_a_short_write() {
    let mut net = Net::new(1, line());
    let (id, _) = net.open();
    let taken = net.hosts[0].streams.write(net.now, id, &pattern(1_000_000));
    assert!(taken < 1_000_000);
    assert_eq!(net.hosts[0].streams.writable(id), 0);
    net.until(|net| net.hosts[0].saw(&StreamEvent::Writable(id)));
    assert!(net.hosts[0].streams.writable(id) >= 60_000);
    net.settle();
    let told = |e: &&StreamEvent| **e == StreamEvent::Writable(id);
    assert_eq!(net.hosts[0].events.iter().filter(told).count(), 1);
}

#[test]
fn what_one_stream_learned_helps_the_next() {
    let mut net =
        Net::new(1, Link { gap: Duration::from_micros(450), ..Link { delay: ms(50), ..line() } });
    let (id, other) = net.open();
    let first = net.transfer(0, id, other, 200_000);
    let (id, other) = net.open();
    let second = net.transfer(0, id, other, 200_000);
    assert!(second * 3 < first * 2, "{first:?} {second:?}");
    // Not for ever.
    net.run(Duration::from_secs(400));
    let (id, other) = net.open();
    let third = net.transfer(0, id, other, 200_000);
    assert!(third * 10 > first * 9, "{first:?} {third:?}");
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let run = |seed| {
        let link = Link { loss: 50, late: 100, lateness: ms(30), ..line() };
        let mut net = Net::new(seed, link);
        net.logging = true;
        let (id, other) = net.open();
        net.transfer(0, id, other, 300_000);
        let log = net.log.iter();
        log.flat_map(|(at, f)| [at.as_micros(), Hash::of(&f.bytes).0[0].into()]).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// As other routers do when the answer to a SYN is overtaken by what follows it: they forget the
/// stream, and say nothing.
#[test]
fn a_stream_that_the_peer_dropped_does_not_hold_up_the_others_to_it() {
    for rtt in [10, 100, 400] {
        let link = Link { delay: ms(rtt / 2), gap: Duration::from_micros(450), ..Link::default() };
        let mut net = Net::new(40, link);
        let (warm, other) = net.open();
        net.transfer(0, warm, other, 1_000_000);
        let (dead, _) = net.open();
        net.ignored = Some(dead);
        net.hosts[0].send(dead, pattern(1_000_000), false);
        net.run(ms(20));
        let (alive, other) = net.open();
        let took = net.transfer(0, alive, other, 1_000_000);
        assert!(took < ms(2000 + 10 * rtt), "{rtt} ms: {took:?}");
    }
}
