//! Ending streams, in every state.

use super::super::*;
use super::net::*;
use super::peer::*;

fn line() -> Link {
    Link { delay: ms(10), ..Link::default() }
}

#[test]
fn both_sides_close_and_both_are_told() {
    let mut net = Net::new(1, line());
    let (id, other) = net.open();
    net.hosts[0].send(id, b"bye".to_vec(), true);
    net.run(ms(200));
    assert!(net.hosts[1].saw(&StreamEvent::RemoteClosed(other)));
    assert_eq!(net.hosts[0].closed(id), None);
    // Half closed: the other direction still works.
    net.transfer(1, other, id, 50_000);
    net.hosts[1].streams.close(net.now, other);
    net.run(ms(500));
    assert_eq!(net.hosts[0].closed(id), Some(Ok(())));
    assert_eq!(net.hosts[1].closed(other), Some(Ok(())));
    for host in &net.hosts {
        assert!(host.streams.is_empty() && host.streams.memory() == 0);
        assert_eq!(host.streams.stats().again_out, 0);
        assert_eq!(host.streams.poll_timeout(), None);
    }
}

#[test]
fn close_waits_for_the_data_before_it_on_any_line() {
    for seed in 0..20 {
        let link = Link { loss: 100, duplicate: 100, late: 200, lateness: ms(60), ..line() };
        let mut net = Net::new(seed, link);
        let id = net.connect();
        net.hosts[0].send(id, pattern(100_000), true);
        net.until(|net| !net.hosts[1].incoming().is_empty());
        let other = net.accepted();
        net.hosts[1].send(other, pattern(70_000), true);
        net.until(|net| net.hosts.iter().all(|host| host.streams.is_empty()));
        assert_eq!(net.hosts[0].closed(id), Some(Ok(())), "{seed}");
        assert_eq!(net.hosts[1].closed(other), Some(Ok(())), "{seed}");
        assert!(net.hosts[1].received[&other] == pattern(100_000), "{seed}");
        assert!(net.hosts[0].received[&id] == pattern(70_000), "{seed}");
    }
}

#[test]
fn a_short_answer_is_one_packet() {
    let mut peer = Peer::new();
    let recipient = peer.local.hash();
    let syn = encode(&peer.syn(&recipient, b"GET /"));
    peer.send_bytes(&syn);
    let id = *peer.streams.conns.keys().next().unwrap();
    peer.streams.write(peer.now, id, b"200 OK");
    peer.streams.close(peer.now, id);
    let answer = peer.recv_one();
    assert!(answer.has(Flags::SYNCHRONIZE) && answer.has(Flags::CLOSE));
    assert_eq!(answer.payload, b"200 OK");
    let close =
        Outgoing { flags: Flags::CLOSE, sign: Some(&peer.key.clone()), ..peer.packet(1, 0, b"") };
    peer.send(&close);
    let mut out = Vec::new();
    peer.streams.read(peer.now, id, 100, &mut out);
    assert_eq!(out, b"GET /");
    assert!(peer.events().contains(&StreamEvent::Closed(id, Ok(()))));
    // Their CLOSE is acknowledged although the stream is gone, and so is a second one.
    assert_eq!(peer.recv_one().through, 1);
    peer.send(&close);
    assert_eq!(peer.recv_one().through, 1);
}

/// i2pd forgets a stream when it has answered a CLOSE, and acknowledges nothing after.
#[test]
fn a_peer_that_is_gone_after_its_close_is_no_failure() {
    let mut peer = Peer::new();
    let id = peer.open();
    let close =
        Outgoing { flags: Flags::CLOSE, sign: Some(&peer.key.clone()), ..peer.packet(1, 0, b"") };
    peer.send(&close);
    peer.recv();
    peer.streams.close(peer.now, id);
    assert!(peer.recv_one().has(Flags::CLOSE));
    let start = peer.now;
    while !peer.streams.is_empty() {
        peer.wait(ms(50));
        assert!(peer.now.saturating_since(start) < ms(5000));
    }
    let events = peer.events();
    assert!(events.contains(&StreamEvent::Closed(id, Ok(()))), "{events:?}");
    assert!(!events.iter().any(|e| matches!(e, StreamEvent::Stalled { .. })));
}

/// The same, with data that it will never take: that is a failure, and known soon.
#[test]
fn data_after_the_peer_is_gone_is_a_failure() {
    let mut peer = Peer::new();
    let id = peer.open();
    peer.streams.write(peer.now, id, &pattern(20_000));
    peer.recv();
    let close =
        Outgoing { flags: Flags::CLOSE, sign: Some(&peer.key.clone()), ..peer.packet(1, 1, b"") };
    peer.send(&close);
    peer.recv();
    peer.wait(ms(15_000));
    assert!(peer.events().contains(&StreamEvent::Closed(id, Err(StreamError::Reset))));
}

#[test]
fn the_end_is_told_after_the_last_byte_is_read() {
    let mut net = Net::new(2, line());
    net.hosts[1].reads = false;
    let (id, other) = net.open();
    net.hosts[0].send(id, pattern(5000), true);
    net.run(ms(100));
    net.hosts[1].streams.close(net.now, other);
    net.run(ms(500));
    assert_eq!(net.hosts[0].closed(id), Some(Ok(())));
    assert_eq!(net.hosts[1].closed(other), None);
    let mut out = Vec::new();
    assert_eq!(net.hosts[1].streams.read(net.now, other, 4999, &mut out), 4999);
    net.drain();
    assert_eq!(net.hosts[1].closed(other), None);
    assert_eq!(net.hosts[1].streams.read(net.now, other, 4999, &mut out), 1);
    net.drain();
    assert_eq!(net.hosts[1].closed(other), Some(Ok(())));
    assert_eq!(out, pattern(5000));
}

/// A reset that overtakes the reader does not take from it what had arrived.
#[test]
fn what_came_before_a_reset_can_still_be_read() {
    let mut net = Net::new(3, line());
    net.hosts[1].reads = false;
    let (id, other) = net.open();
    net.hosts[0].send(id, pattern(5000), false);
    net.run(ms(100));
    net.hosts[0].streams.reset(net.now, id);
    net.run(ms(100));
    assert!(net.hosts[0].streams.is_empty());
    assert_eq!(net.hosts[1].closed(other), None);
    assert_eq!(net.hosts[1].streams.write(net.now, other, b"x"), 0);
    net.hosts[1].reads = true;
    net.run(ms(1));
    assert_eq!(net.hosts[1].received[&other], pattern(5000));
    assert_eq!(net.hosts[1].closed(other), Some(Err(StreamError::Reset)));
}

#[test]
fn reset_in_every_state_ends_the_stream_on_both_sides() {
    // Before the SYN is out, before it arrives, before its answer, with data under way, half closed.
    for state in 0..6 {
        let mut net = Net::new(4, line());
        let id = net.connect();
        match state {
            0 => {}
            1 => net.run(ms(5)),
            2 => net.run(ms(15)),
            _ => {
                net.run(ms(200));
            }
        }
        if state == 4 {
            net.hosts[0].send(id, pattern(1_000_000), false);
            net.run(ms(35));
        }
        if state == 5 {
            net.hosts[0].streams.close(net.now, id);
            net.run(ms(100));
        }
        net.hosts[0].streams.reset(net.now, id);
        net.run(Duration::from_secs(40));
        assert!(net.hosts[0].streams.is_empty(), "{state}");
        assert!(net.hosts[1].streams.is_empty(), "{state}");
        assert_eq!(net.hosts[0].closed(id), None, "{state}");
        if state > 0 {
            let other = net.accepted();
            assert_eq!(net.hosts[1].closed(other), Some(Err(StreamError::Reset)), "{state}");
        }
        for host in &net.hosts {
            assert_eq!((host.streams.memory(), host.streams.poll_timeout()), (0, None));
        }
    }
}

/// A server whose target refuses: the peer must see it in its sequence, after an answer.
#[test]
fn a_reset_of_an_incoming_stream_comes_after_its_syn() {
    let mut peer = Peer::new();
    let recipient = peer.local.hash();
    let syn = encode(&peer.syn(&recipient, b"GET /"));
    peer.send_bytes(&syn);
    let id = *peer.streams.conns.keys().next().unwrap();
    assert!(matches!(peer.events()[..], [StreamEvent::Incoming { .. }, ..]));
    peer.streams.reset(peer.now, id);
    let got = peer.recv();
    assert_eq!([got[0].kind, got[1].kind], [PacketKind::Syn, PacketKind::Reset]);
    assert!(got[1].has(Flags::RESET) && got[1].has(Flags::SIGNATURE));
    assert_eq!(got[1].sequence, 1);
    assert!(peer.streams.is_empty() && peer.events().is_empty());
    // Whoever goes on after that is told again.
    peer.send(&peer.packet(1, 0, b"more"));
    assert!(peer.recv_one().has(Flags::RESET));
}

#[test]
fn release_lets_the_rest_go_and_takes_no_more() {
    let mut net = Net::new(5, line());
    let (id, other) = net.open();
    net.hosts[0].send(id, pattern(100_000), false);
    net.hosts[1].send(other, pattern(50_000_000), false);
    net.run(ms(60));
    assert!(net.hosts[0].sending.is_empty());
    net.hosts[0].streams.release(net.now, id);
    net.until(|net| net.hosts[1].received.get(&other).is_some_and(|got| got.len() == 100_000));
    net.until(|net| net.hosts[1].saw(&StreamEvent::RemoteClosed(other)));
    // A peer that goes on is told in the end that nobody listens.
    let took = net.until(|net| net.hosts[1].closed(other).is_some());
    assert_eq!(net.hosts[1].closed(other), Some(Err(StreamError::Reset)));
    assert!(took < ms(5000), "{took:?}");
    assert!(net.hosts[0].streams.is_empty());
    assert_eq!(net.hosts[0].closed(id), None);
}

#[test]
fn release_of_a_quiet_stream_ends_it() {
    for (server_closes, limit) in [(true, ms(1000)), (false, ms(32_000))] {
        let mut net = Net::new(6, line());
        let (id, other) = net.open();
        net.hosts[0].streams.release(net.now, id);
        net.run(ms(100));
        if server_closes {
            net.hosts[1].streams.close(net.now, other);
        }
        let took = net.until(|net| net.hosts.iter().all(|host| host.streams.is_empty()));
        assert!(took <= limit, "{took:?}");
    }
    // One that never connected is gone when its time is over.
    let mut net = Net::new(7, Link { loss: 1000, ..line() });
    let id = net.connect();
    net.run(ms(10));
    net.hosts[0].streams.release(net.now, id);
    net.until(|net| net.hosts[0].streams.is_empty());
    assert_eq!(net.hosts[0].closed(id), None);
}

#[test]
fn a_peer_that_vanishes_is_noticed() {
    let mut net = Net::new(8, line());
    let (id, other) = net.open();
    for link in &mut net.links {
        link.loss = 1000;
    }
    // With data under way soon, without after some silence.
    net.hosts[0].send(id, b"anybody there?".to_vec(), false);
    let start = net.now;
    net.until(|net| net.hosts[0].closed(id).is_some());
    let took = net.now.saturating_since(start);
    assert_eq!(net.hosts[0].closed(id), Some(Err(StreamError::Lost)));
    assert!((ms(110_000)..ms(150_000)).contains(&took), "{took:?}");
    net.until(|net| net.hosts[1].closed(other).is_some());
    let took = net.now.saturating_since(start);
    assert_eq!(net.hosts[1].closed(other), Some(Err(StreamError::Lost)));
    assert!((ms(200_000)..ms(250_000)).contains(&took), "{took:?}");
    let remote = net.hosts[1].hash();
    let stalls =
        |e: &&StreamEvent| matches!(e, StreamEvent::Stalled { remote: r, .. } if *r == remote);
    assert!(net.hosts[0].events.iter().filter(stalls).count() > 5);
}

#[test]
fn a_quiet_stream_lives_on() {
    let mut net = Net::new(9, line());
    let (id, other) = net.open();
    net.logging = true;
    net.run(Duration::from_secs(3600));
    assert_eq!((net.hosts[0].closed(id), net.hosts[1].closed(other)), (None, None));
    // One probe and its ack in 90 seconds, from either side.
    assert!((40..=170).contains(&net.log.len()), "{}", net.log.len());
    net.transfer(0, id, other, 10_000);
    net.transfer(1, other, id, 10_000);
}

#[test]
fn a_half_closed_stream_whose_peer_is_silent_ends() {
    let mut peer = Peer::new();
    let id = peer.open();
    peer.streams.close(peer.now, id);
    assert!(peer.recv_one().has(Flags::CLOSE));
    peer.send(&peer.packet(0, 1, b""));
    peer.wait(Duration::from_secs(170));
    assert_eq!(peer.streams.len(), 1);
    peer.wait(Duration::from_secs(20));
    assert_eq!(peer.events(), [StreamEvent::Closed(id, Err(StreamError::Lost))]);
}
