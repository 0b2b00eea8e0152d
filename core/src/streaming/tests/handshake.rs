//! Opening streams.

use super::super::*;
use super::net::*;
use super::peer::*;
use crate::wire::streaming::{Flags, Nacks, Outgoing, Packet};
use alloc::vec;

fn line() -> Link {
    Link { delay: ms(10), ..Link::default() }
}

#[test]
fn data_goes_with_the_syn_both_ways() {
    let mut net = Net::new(1, line());
    net.logging = true;
    let id = net.connect();
    net.hosts[0].send(id, b"GET /".to_vec(), false);
    net.run(ms(15));
    let other = net.accepted();
    assert_eq!(net.hosts[1].received[&other], b"GET /");
    net.hosts[1].send(other, b"200 OK".to_vec(), true);
    net.until(|net| net.hosts[0].received.contains_key(&id));
    assert_eq!(net.hosts[0].received[&id], b"200 OK");
    assert!(net.hosts[0].saw(&StreamEvent::Connected(id)));
    assert!(net.hosts[0].saw(&StreamEvent::RemoteClosed(id)));
    let kinds: Vec<_> = net.log.iter().map(|(_, f)| (f.to, f.packet.kind)).collect();
    let first = [(1, PacketKind::Syn), (0, PacketKind::Syn), (1, PacketKind::Ack)];
    assert_eq!(kinds[..3], first);
    // The ports are those of the streams, both ways.
    for (_, flight) in &net.log {
        let ports = if flight.to == 1 { (0, 80) } else { (80, 0) };
        assert_eq!((flight.packet.from_port, flight.packet.to_port), ports);
    }
}

/// The fields of both SYNs, as the specification and other routers want them.
#[test]
fn the_first_syn_names_its_recipient_and_the_reply_acknowledges_it() {
    let mut net = Net::new(2, line());
    net.logging = true;
    net.open();
    let syn = Packet::decode(&net.log[0].1.bytes).unwrap();
    assert_eq!(syn.flags.0, 0x001 | 0x008 | 0x020 | 0x080 | 0x400);
    assert_eq!((syn.send_stream, syn.sequence, syn.ack_through), (0, 0, 0));
    assert_eq!(syn.recipient(), Some(net.hosts[1].hash()));
    assert_eq!(syn.options(None).unwrap().max_size, Some(1812));
    assert!(net.log[0].1.packet.first);
    let reply = Packet::decode(&net.log[1].1.bytes).unwrap();
    assert_eq!(reply.flags.0, 0x001 | 0x008 | 0x020 | 0x080);
    assert_eq!(reply.send_stream, syn.receive_stream);
    assert_eq!((reply.sequence, reply.ack_through, reply.nacks().count()), (0, 0, 0));
    assert!(!net.log[1].1.packet.first);
}

#[test]
fn a_syn_is_sent_again_soon_and_then_less_often() {
    let mut net = Net::new(3, Link { loss: 1000, ..line() });
    net.logging = true;
    let start = net.now;
    let id = net.connect();
    net.hosts[0].send(id, b"hello".to_vec(), false);
    net.until(|net| net.hosts[0].closed(id).is_some());
    assert_eq!(net.hosts[0].closed(id), Some(Err(StreamError::ConnectTimedOut)));
    assert_eq!(net.now.saturating_since(start), Duration::from_secs(90));
    let times: Vec<_> =
        net.log.iter().map(|(at, _)| at.saturating_since(start).as_millis()).collect();
    let mut want = alloc::vec![0, 1500, 4500];
    want.extend((10_500..90_000).step_by(8000));
    assert_eq!(times, want);
    assert!(net.log.iter().all(|(_, f)| f.packet.first && f.bytes.ends_with(b"hello")));
    assert!(net.hosts[0].streams.is_empty());
    let remote = net.hosts[1].hash();
    assert!(net.hosts[0].saw(&StreamEvent::Stalled { remote, timeouts: 1 }));
}

#[test]
fn connecting_survives_loss_of_any_of_its_packets() {
    for lost in 0..4 {
        let mut net = Net::new(4, line());
        let id = net.connect();
        net.hosts[0].send(id, b"question".to_vec(), false);
        let (mut count, end) = (0, net.now + Duration::from_secs(20));
        let mut answered = false;
        while net.step(end) {
            // The next packet on the line, when there is one.
            if net.line.len() == 1 && count <= lost {
                if count == lost {
                    net.line.clear();
                }
                count += 1;
            }
            if !answered && !net.hosts[1].incoming().is_empty() {
                answered = true;
                let other = net.accepted();
                net.hosts[1].send(other, b"answer".to_vec(), false);
            }
        }
        let other = net.accepted();
        assert_eq!(net.hosts[1].incoming().len(), 1, "{lost}");
        assert_eq!(net.hosts[1].received[&other], b"question", "{lost}");
        assert_eq!(net.hosts[0].received[&id], b"answer", "{lost}");
    }
}

/// Their second packet overtakes the answer to our SYN.
#[test]
fn data_before_the_answer_is_kept_and_the_answer_asked_for() {
    let mut peer = Peer::new();
    let remote = peer.identity.clone();
    let id = peer.streams.connect(peer.now, remote, 80, 5).unwrap();
    let syn = peer.recv_one();
    assert!(syn.has(Flags::SYNCHRONIZE));
    peer.send(&peer.packet(1, 0, b"world"));
    let got = peer.recv_one();
    assert_eq!((got.kind, got.through, got.nacks), (PacketKind::Ack, 1, [0].into()));
    assert_eq!(peer.streams.readable(id), 0);
    peer.answer(b"hello ");
    assert_eq!(peer.events(), [StreamEvent::Connected(id), StreamEvent::Readable(id)]);
    let mut out = Vec::new();
    peer.streams.read(peer.now, id, 100, &mut out);
    assert_eq!(out, b"hello world");
}

/// They forgot the stream, and took our SYN, which came once more, for a new one.
#[test]
fn what_came_before_the_answer_from_another_stream_is_not_mixed_with_it() {
    let mut peer = Peer::new();
    let remote = peer.identity.clone();
    let id = peer.streams.connect(peer.now, remote, 80, 5).unwrap();
    peer.recv_one();
    peer.name = 78;
    peer.send(&peer.packet(1, 0, b"other"));
    peer.name = 77;
    peer.answer(b"hello ");
    peer.name = 78;
    peer.send(&peer.packet(2, 0, b"other"));
    peer.name = 77;
    let mut out = Vec::new();
    peer.streams.read(peer.now, id, 100, &mut out);
    assert_eq!(out, b"hello ");
    peer.send(&peer.packet(1, 0, b"world"));
    peer.streams.read(peer.now, id, 100, &mut out);
    assert_eq!(out, b"hello world");
}

/// Packets without our name for the stream, before the SYN and after it.
#[test]
fn data_before_the_syn_waits_for_it() {
    let mut peer = Peer::new();
    peer.send(&peer.packet(2, 0, b"c"));
    peer.send(&peer.packet(1, 0, b"b"));
    assert_eq!((peer.recv(), peer.events()), (vec![], vec![]));
    let recipient = peer.local.hash();
    let syn = encode(&peer.syn(&recipient, b"a"));
    peer.send_bytes(&syn);
    peer.send(&peer.packet(3, 0, b"d"));
    let [StreamEvent::Incoming { id, remote, local_port: 80, remote_port: 5 }, ..] =
        &peer.events()[..]
    else {
        panic!()
    };
    assert_eq!(*remote, peer.identity);
    let mut out = Vec::new();
    peer.streams.read(peer.now, *id, 100, &mut out);
    assert_eq!(out, b"abcd");
    let answer = peer.wait(ms(20)).remove(0).1;
    assert_eq!((answer.kind, answer.through), (PacketKind::Syn, 3));
}

#[test]
fn data_without_a_syn_is_forgotten_after_ten_seconds() {
    let mut peer = Peer::new();
    peer.send(&peer.packet(1, 0, b"b"));
    peer.now = peer.now + ms(10_000);
    let recipient = peer.local.hash();
    let syn = encode(&peer.syn(&recipient, b"a"));
    peer.send_bytes(&syn);
    let id = peer.streams.conns.keys().next().copied().unwrap();
    assert_eq!(peer.streams.readable(id), 1);
}

#[test]
fn a_repeated_syn_is_one_stream_and_is_answered_again() {
    let mut peer = Peer::new();
    let recipient = peer.local.hash();
    let syn = encode(&peer.syn(&recipient, b"a"));
    peer.send_bytes(&syn);
    assert_eq!(peer.wait(ms(20)).len(), 1);
    peer.events();
    peer.now = peer.now + ms(1600);
    peer.send_bytes(&syn);
    let again = peer.recv();
    assert_eq!(again[0].kind, PacketKind::SynAgain);
    assert_eq!((peer.events(), peer.streams.len()), (vec![], 1));
    // One that is late by hours, of a stream that is over, opens none either.
    peer.send(&Outgoing {
        flags: Flags::CLOSE,
        sign: Some(&peer.key.clone()),
        ..peer.packet(1, 0, b"")
    });
    let id = StreamId(peer.theirs);
    let mut out = Vec::new();
    peer.streams.read(peer.now, id, 10, &mut out);
    peer.streams.close(peer.now, id);
    peer.wait(ms(5000));
    assert_eq!(peer.streams.len(), 0);
    peer.events();
    peer.send_bytes(&syn);
    assert_eq!((peer.events(), peer.streams.len()), (vec![], 0));
}

#[test]
fn no_data_follows_a_syn_before_its_answer() {
    // Each packet without a session would be a new session, of which a peer takes one at a time.
    let mut net = Net::new(5, Link { loss: 1000, ..line() });
    let id = net.connect();
    net.hosts[0].send(id, pattern(10_000), false);
    net.run(ms(1000));
    assert_eq!(net.hosts[0].streams.stats().packets_out, 1);
    assert_eq!(net.hosts[0].streams.info(id).unwrap().unacknowledged, 10_000);
}

#[test]
fn nobody_listens_is_a_refusal() {
    let mut net = Net::new(6, line());
    net.hosts[1].streams.unlisten(0);
    net.hosts[1].streams.listen(81);
    let id = net.connect();
    net.until(|net| net.hosts[0].closed(id).is_some());
    assert_eq!(net.hosts[0].closed(id), Some(Err(StreamError::Refused)));
    assert!(net.hosts[1].streams.is_empty() && net.hosts[1].incoming().is_empty());
}

/// The small peer's limit holds, and ours.
#[test]
fn packets_are_as_large_as_both_sides_take() {
    for (theirs, want) in
        [(Some(1812), 1812), (Some(600), 600), (Some(9000), 1812), (None, 1730), (Some(3), 512)]
    {
        let mut peer = Peer::new();
        let recipient = peer.local.hash();
        let syn = encode(&Outgoing { max_size: theirs, ..peer.syn(&recipient, b"") });
        peer.send_bytes(&syn);
        let id = *peer.streams.conns.keys().next().unwrap();
        peer.streams.write(peer.now, id, &pattern(5000));
        let sizes: Vec<_> =
            peer.recv().iter().map(|got| (got.sequence, got.payload.len())).collect();
        assert_eq!(sizes[0].1, want);
        assert!(sizes.iter().all(|(_, size)| *size <= want));
        // The first goes twice.
        let distinct: BTreeMap<_, _> = sizes.into_iter().collect();
        assert_eq!(distinct.values().sum::<usize>(), 5000);
    }
}

#[test]
fn holding_a_destination_keeps_packets_back_and_not_the_time_limit() {
    let mut net = Net::new(7, line());
    let remote = net.hosts[1].hash();
    net.hosts[0].streams.hold(net.now, &remote, true);
    let id = net.connect();
    net.hosts[0].send(id, b"x".to_vec(), false);
    net.run(ms(5000));
    assert_eq!(net.hosts[0].streams.stats().packets_out, 0);
    net.hosts[0].streams.hold(net.now, &remote, false);
    net.run(ms(50));
    assert!(net.hosts[0].saw(&StreamEvent::Connected(id)));

    net.hosts[0].streams.hold(net.now, &remote, true);
    let late = net.connect();
    net.run(Duration::from_secs(91));
    assert_eq!(net.hosts[0].closed(late), Some(Err(StreamError::ConnectTimedOut)));
    let none = net.connect();
    net.hosts[0].streams.handle_unreachable(net.now, &remote);
    net.drain();
    assert_eq!(net.hosts[0].closed(none), Some(Err(StreamError::Unreachable)));
    assert_eq!(net.hosts[0].closed(id), None);
}

#[test]
fn there_are_only_so_many_streams() {
    let config = StreamingConfig { max_streams: 3, ..StreamingConfig::default() };
    let mut net = Net::with(8, line(), config);
    for _ in 0..3 {
        net.connect();
    }
    let remote = net.hosts[1].identity.clone();
    let refused = net.hosts[0].streams.connect(net.now, remote, 0, 80);
    assert_eq!(refused, Err(ConnectError::TooManyStreams));
    net.run(ms(100));
    assert_eq!(net.hosts[1].streams.len(), 3);
}

#[test]
fn pings_come_back() {
    let mut net = Net::new(9, line());
    let remote = net.hosts[1].hash();
    net.hosts[0].streams.ping(net.now, remote, 0, 80);
    net.run(ms(100));
    assert!(net.hosts[0].saw(&StreamEvent::Pong { remote, rtt: ms(20) }));
    // By hand: what comes back is at most 32 bytes, and only if the ping is signed.
    let mut peer = Peer::new();
    let ping = Outgoing {
        send_stream: 9,
        flags: Flags::ECHO,
        from: Some(&peer.identity),
        sign: Some(&peer.key),
        payload: [&[7; 40], &[]],
        ..Outgoing::default()
    };
    let (signed, unsigned) = (encode(&ping), encode(&Outgoing { sign: None, ..ping }));
    peer.send_bytes(&unsigned);
    assert_eq!(peer.recv(), []);
    peer.send_bytes(&signed);
    let pong = peer.recv_one();
    assert_eq!((pong.flags, pong.payload), (Flags::ECHO, [7; 32].to_vec()));
}

#[test]
fn a_syn_for_somebody_else_is_dropped() {
    let mut peer = Peer::new();
    let other = Hash::of(b"somebody else");
    let replayed = encode(&peer.syn(&other, b"a"));
    peer.send_bytes(&replayed);
    assert_eq!((peer.wait(ms(100)), peer.streams.len()), (vec![], 0));
    // Old routers name nobody.
    let recipient = peer.local.hash();
    let old = encode(&Outgoing { nacks: Nacks::Missing(&[]), ..peer.syn(&recipient, b"a") });
    peer.send_bytes(&old);
    assert_eq!(peer.streams.len(), 1);
}

#[test]
fn a_bare_ack_does_not_stand_for_the_reply_to_a_syn() {
    let mut peer = Peer::new();
    let remote = peer.identity.clone();
    let id = peer.streams.connect(peer.now, remote, 80, 5).unwrap();
    peer.streams.write(peer.now, id, b"GET /");
    assert!(peer.recv_one().has(Flags::SYNCHRONIZE));
    // The peer had the SYN, says so when it comes again, and its reply gets lost.
    peer.send(&peer.packet(0, 0, b""));
    let again = peer.wait(Duration::from_secs(10));
    assert!(again.iter().any(|(_, got)| got.has(Flags::SYNCHRONIZE)), "{again:?}");
    let reply = Outgoing {
        flags: Flags::SYNCHRONIZE,
        from: Some(&peer.identity.clone()),
        max_size: Some(1812),
        sign: Some(&peer.key.clone()),
        ..peer.packet(0, 0, b"")
    };
    peer.send(&reply);
    assert!(peer.events().contains(&StreamEvent::Connected(id)));
}

/// Some peers give up a stream whose first packet is overtaken by two others, so that it must not
/// hang on one packet of ours whether a page arrives.
#[test]
fn the_answer_to_a_syn_goes_twice_when_more_follows_it() {
    for (len, want) in [(100, 1), (1_900, 2), (50_000, 2)] {
        let mut net = Net::new(41, Link { delay: ms(20), ..Link::default() });
        net.logging = true;
        let id = net.connect();
        net.until(|net| !net.hosts[1].incoming().is_empty());
        let other = net.accepted();
        net.hosts[1].send(other, pattern(len), false);
        net.until(|net| net.hosts[0].received.get(&id).is_some_and(|got| got.len() == len));
        net.settle();
        let sent: Vec<_> = net.log.iter().filter(|(_, f)| f.to == 0).collect();
        let answers =
            |(i, (at, f)): (usize, &&(Instant, Flight))| f.packet.kind.is_syn().then_some((i, *at));
        let answers: Vec<(usize, Instant)> = sent.iter().enumerate().filter_map(answers).collect();
        assert_eq!(answers.len(), want, "{len} bytes");
        let ((first, at), (last, again)) = (answers[0], *answers.last().unwrap());
        assert!(last - first <= 2, "two that follow are too many");
        assert!(again.saturating_since(at) < ms(20), "before an answer can come");
        assert!(net.hosts[0].received[&id] == pattern(len));
    }
}
