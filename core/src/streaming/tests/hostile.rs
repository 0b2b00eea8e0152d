//! Forgeries, floods and replays.

use super::super::listener::SYN_BACKLOG;
use super::super::*;
use super::net::*;
use super::peer::*;
use crate::rng::Seed;
use crate::wire::streaming::{Nacks, Packet};
use alloc::vec;

fn line() -> Link {
    Link { delay: ms(10), ..Link::default() }
}

#[test]
fn forged_resets_and_closes_change_nothing() {
    let mut rng = Rng::new(&Seed::from_number(5));
    let (stranger, key) = destination(&mut rng);
    let mut peer = Peer::new();
    let id = peer.open();
    for flag in [Flags::RESET, Flags::CLOSE] {
        let good = Outgoing { flags: flag, ..peer.packet(1, 0, b"") };
        // Unsigned, signed by somebody else, signed by somebody else who says so.
        let from = Some(&stranger);
        for forged in [
            good,
            Outgoing { sign: Some(&key), ..good },
            Outgoing { sign: Some(&key), from, ..good },
        ] {
            peer.send(&forged);
            assert_eq!((peer.recv(), peer.events()), (vec![], vec![]));
        }
        // Ours, for another stream, or with a bit changed.
        let real = peer.key.clone();
        let other = Outgoing { sign: Some(&real), receive_stream: 78, ..good };
        peer.send(&other);
        let mut changed = encode(&Outgoing { sign: Some(&real), ..good });
        changed[12] ^= 1;
        peer.send_bytes(&changed);
        peer.recv();
        assert!(peer.events().is_empty());
    }
    let real = peer.key.clone();
    peer.send(&Outgoing { flags: Flags::RESET, sign: Some(&real), ..peer.packet(0, 0, b"") });
    assert_eq!(peer.events(), [StreamEvent::Closed(id, Err(StreamError::Reset))]);
    assert!(peer.streams.is_empty());
}

/// Over the remote's own session a packet needs no signature, and over another's none helps.
#[test]
fn a_bound_session_vouches_for_its_packets() {
    let mut peer = Peer::new();
    let id = peer.open();
    let reset = encode(&Outgoing { flags: Flags::RESET, ..peer.packet(0, 0, b"") });
    let data = encode(&peer.packet(1, 0, b"x"));
    let stranger = Some(Hash::of(b"stranger"));
    for bytes in [&reset, &data] {
        peer.streams.handle_packet(peer.now, UNIX, 5, 80, stranger, bytes);
        assert_eq!((peer.recv(), peer.events()), (vec![], vec![]));
    }
    peer.bound = true;
    peer.send_bytes(&reset);
    assert_eq!(peer.events(), [StreamEvent::Closed(id, Err(StreamError::Reset))]);
    // A SYN whose sender is another than the session's.
    let recipient = peer.local.hash();
    let syn = encode(&peer.syn(&recipient, b""));
    peer.streams.handle_packet(peer.now, UNIX, 5, 80, stranger, &syn);
    assert!(peer.streams.is_empty());
}

#[test]
fn acks_of_what_was_not_sent_change_nothing() {
    let mut peer = Peer::new();
    let id = peer.open();
    peer.streams.write(peer.now, id, &pattern(100_000));
    peer.recv();
    let before = peer.streams.info(id);
    for through in [11, 12, 1000, u32::MAX] {
        peer.send(&peer.packet(0, through, b""));
        assert_eq!(peer.recv(), []);
        assert_eq!(peer.streams.info(id), before);
    }
    peer.now = peer.now + ms(20);
    // NACKs of nonsense, unsorted and twice: everything else is acknowledged.
    let nacks = [9, 3, 3, 0, u32::MAX, 50, 9];
    peer.send(&Outgoing { nacks: Nacks::Missing(&nacks), ..peer.packet(0, 10, b"") });
    let again: Vec<_> = peer.recv().iter().map(|got| got.sequence).collect();
    assert!(again.contains(&3), "{again:?}");
    let left = peer.streams.info(id).unwrap().unacknowledged;
    assert_eq!(left, 100_000 - 2 * 1812);
}

/// One packet of somebody who knows both names of a stream, but is neither of its ends: what it says, who
/// signed it, whose session it came over.
struct Forgery<'a> {
    rng: &'a mut Rng,
    stranger: &'a Identity,
    key: &'a SigningKey,
}

impl Forgery<'_> {
    fn make(&mut self, send_stream: u32, receive_stream: u32) -> (Option<Hash>, Vec<u8>) {
        let rng = &mut *self.rng;
        let nacks: Vec<u32> = (0..rng.index(256))
            .map(|_| if rng.below(2) == 0 { rng.below(300) as u32 } else { rng.u32() })
            .collect();
        let over_another = rng.below(3) == 0;
        let mut packet = Outgoing {
            send_stream,
            receive_stream,
            sequence: rng.below(200) as u32,
            // Nobody sent so many.
            ack_through: 100_000 + rng.below(4_000_000_000) as u32,
            nacks: Nacks::Missing(&nacks),
            ..Outgoing::default()
        };
        match rng.below(4) {
            // An ack, and nothing else.
            0 => packet.sequence = 0,
            // What a session of another destination brings is nothing to this stream.
            1 if over_another => {
                packet.ack_through = rng.below(200) as u32;
                packet.payload = [b"not what was written", &[]];
            }
            n => {
                packet.flags = if n == 2 { Flags::CLOSE } else { Flags::RESET };
                packet.sign = (rng.below(3) > 0).then_some(self.key);
                packet.from = packet.sign.and((rng.below(2) == 0).then_some(self.stranger));
            }
        }
        let mut bytes = encode(&packet);
        if packet.sign.is_some() && rng.below(4) == 0 {
            let at = bytes.len() - 1 - rng.index(64);
            bytes[at] ^= 1 << rng.below(8);
        }
        (over_another.then(|| self.stranger.hash()), bytes)
    }
}

/// Between any two packets of a stream some that are not: all that was written arrives all the same, in both
/// directions, and the stream ends when its ends say so.
#[test]
fn forgeries_into_a_live_stream_change_no_byte_of_it() {
    for seed in 0..12 {
        let link = Link { loss: seed % 3 * 20, ..line() };
        let mut net = Net::new(4000 + seed, link);
        let (id, other) = net.open();
        let mut rng = Rng::new(&Seed::from_number(seed));
        let (stranger, key) = destination(&mut rng);
        for (host, id) in [(0, id), (1, other)] {
            net.hosts[host].send(id, pattern(200_000), false);
        }
        let mut forgery = Forgery { rng: &mut rng, stranger: &stranger, key: &key };
        let whole = |net: &Net| {
            [(0, id), (1, other)].iter().all(|(host, id)| {
                net.hosts[*host].received.get(id).is_some_and(|got| got.len() >= 200_000)
            })
        };
        let (mut forged, mut steps) = (0, 0);
        while !whole(&net) {
            steps += 1;
            assert!(
                net.step(net.now + ms(60_000)) && steps < 20_000,
                "seed {seed}: it stands still"
            );
            net.drain();
            for (host, to, from) in [(0, id, other), (1, other, id)] {
                let (session, bytes) = forgery.make(to.as_u32(), from.as_u32());
                net.hosts[host].streams.handle_packet(net.now, UNIX, 5, 80, session, &bytes);
                forged += 1;
            }
        }
        assert!(forged > 200, "seed {seed}: {forged}");
        for (host, id) in [(0, id), (1, other)] {
            assert!(net.hosts[host].received[&id] == pattern(200_000), "seed {seed}: other bytes");
            assert_eq!(net.hosts[host].closed(id), None, "seed {seed}");
            let remote_closed = net.hosts[host].saw(&StreamEvent::RemoteClosed(id));
            assert!(!remote_closed, "seed {seed}: a forged CLOSE");
            net.hosts[host].streams.close(net.now, id);
        }
        net.run(Duration::from_secs(20));
        for (host, id) in [(0, id), (1, other)] {
            assert_eq!(net.hosts[host].closed(id), Some(Ok(())), "seed {seed}");
        }
    }
}

#[test]
fn a_flood_from_one_destination_leaves_room_for_others() {
    let mut peer = Peer::new();
    let recipient = peer.local.hash();
    let mut rng = Rng::new(&Seed::from_number(6));
    let (honest, key) = destination(&mut rng);
    let mut accepted = 0;
    for n in 0..100 {
        // A flood of 1,000 a second for ten seconds, in steps of 100 ms.
        for k in 0..100 {
            peer.name = 1000 + n * 100 + k;
            let syn = encode(&peer.syn(&recipient, b""));
            peer.send_bytes(&syn);
        }
        let syn = Outgoing {
            receive_stream: n + 1,
            from: Some(&honest),
            sign: Some(&key),
            ..peer.syn(&recipient, b"")
        };
        let syn = encode(&syn);
        peer.streams.handle_packet(peer.now, UNIX, 5, 80, None, &syn);
        let id = peer.streams.names.get(&(n + 1, honest.hash())).copied();
        let mut sink = Vec::new();
        peer.streams.handle_timeout(peer.now);
        while peer.streams.poll_packet(peer.now, &mut sink).is_some() {}
        peer.now = peer.now + ms(100);
        peer.streams.handle_timeout(peer.now);
        while peer.streams.poll_packet(peer.now, &mut sink).is_some() {}
        // The honest one answers after 100 ms.
        if let Some(id) = id {
            let ack =
                Outgoing { send_stream: id.as_u32(), receive_stream: n + 1, ..Outgoing::default() };
            peer.streams.handle_packet(peer.now, UNIX, 5, 80, None, &encode(&ack));
            accepted += u32::from(peer.streams.conns.get(&id).is_some_and(|conn| conn.proven));
        }
        assert!(peer.streams.len() <= SYN_BACKLOG + accepted as usize);
        peer.events();
    }
    assert_eq!(accepted, 100);
    // And what nobody answers is gone after a while.
    peer.now = peer.now + Duration::from_secs(31);
    peer.streams.handle_timeout(peer.now);
    assert_eq!(peer.streams.len(), 100);
}

#[test]
fn unknown_streams_are_refused_now_and_then() {
    let mut peer = Peer::new();
    peer.theirs = 4711;
    // Nobody knows who sent it.
    peer.send(&peer.packet(1, 0, b"x"));
    assert_eq!(peer.recv(), []);
    peer.bound = true;
    peer.send(&peer.packet(0, 0, b""));
    assert_eq!(peer.recv(), [], "an ack needs no answer");
    let mut refusals = 0;
    for _ in 0..1000 {
        peer.send(&peer.packet(1, 0, b"x"));
        for got in peer.recv() {
            assert!(got.has(Flags::RESET) && got.has(Flags::SIGNATURE));
            refusals += 1;
        }
    }
    assert_eq!(refusals, 32);
    peer.now = peer.now + ms(1000);
    peer.send(&peer.packet(1, 0, b"x"));
    assert_eq!(peer.recv().len(), 1);
}

/// A restarted router: the other side learns that its streams are gone.
#[test]
fn streams_from_before_a_restart_end_soon() {
    let mut net = Net::new(1, line());
    let (id, _) = net.open();
    let mut rng = Rng::new(&Seed::from_number(77));
    let host = &mut net.hosts[1];
    let config = StreamingConfig::default();
    host.streams = Streams::new(host.identity.clone(), host.key.clone(), config, rng.fork("new"));
    net.hosts[0].send(id, b"still there?".to_vec(), false);
    net.run(ms(100));
    assert_eq!(net.hosts[0].closed(id), Some(Err(StreamError::Reset)));
}

/// Every packet of a conversation once more, at the end and in the middle.
#[test]
fn replayed_packets_change_nothing() {
    let mut net = Net::new(2, line());
    net.logging = true;
    let (id, other) = net.open();
    net.transfer(0, id, other, 30_000);
    net.transfer(1, other, id, 30_000);
    let replay = |net: &mut Net| {
        for (_, flight) in net.log.clone() {
            net.deliver(&flight);
            net.drain();
        }
        net.settle();
    };
    replay(&mut net);
    assert_eq!(net.hosts[1].incoming(), [other]);
    assert_eq!(net.hosts[0].received[&id], pattern(30_000));
    assert_eq!(net.hosts[1].received[&other], pattern(30_000));
    net.transfer(0, id, other, 10_000);
    net.hosts[0].streams.close(net.now, id);
    net.hosts[1].streams.close(net.now, other);
    net.settle();
    assert!(net.hosts.iter().all(|host| host.streams.is_empty()));
    replay(&mut net);
    assert!(net.hosts.iter().all(|host| host.streams.is_empty()));
    assert_eq!(net.hosts[1].incoming(), [other]);
}

/// Any bytes at all, and real packets with any bytes changed, into live streams.
#[test]
fn garbage_is_counted_and_changes_nothing_it_should_not() {
    let mut net = Net::new(3, line());
    net.bound = false;
    net.logging = true;
    let (id, other) = net.open();
    net.transfer(0, id, other, 5000);
    let samples: Vec<_> = net.log.iter().map(|(_, flight)| flight.clone()).collect();
    let mut rng = Rng::new(&Seed::from_number(9));
    for round in 0..20_000 {
        let mut flight = samples[rng.index(samples.len())].clone();
        if round % 4 == 0 {
            let len = rng.index(80);
            flight.bytes = (0..len).map(|_| rng.u32() as u8).collect();
        } else {
            for _ in 0..=rng.index(3) {
                let at = rng.index(flight.bytes.len().min(60));
                flight.bytes[at] = rng.u32() as u8;
            }
            let cut = rng.index(flight.bytes.len() * 4);
            flight.bytes.truncate(cut.max(1));
        }
        net.deliver(&flight);
        if round % 100 == 0 {
            net.run(ms(10));
        }
    }
    net.log.clear();
    net.settle();
    for host in &net.hosts {
        assert!(host.streams.len() < 300 && host.streams.stats().ignored_in > 0);
    }
    // Other streams work as before.
    let (id, other) = net.open();
    net.transfer(0, id, other, 100_000);
}

/// A session that lies about its ratchet is the owner's affair; a huge packet is ours.
#[test]
fn packets_that_are_too_long_are_not_looked_at() {
    let mut peer = Peer::new();
    let id = peer.open();
    let large = vec![0; 40_000];
    peer.send(&peer.packet(1, 0, &large));
    assert_eq!(peer.streams.readable(id), 0);
    let fits = vec![0; 30_000];
    peer.send(&peer.packet(1, 0, &fits));
    assert_eq!(peer.streams.readable(id), 30_000);
}

#[test]
fn an_expired_transient_key_opens_no_stream() {
    use crate::wire::codec::Put;
    use crate::wire::offline::OfflineSignature;
    for (age, opens) in [(1, false), (-1, true)] {
        let mut peer = Peer::new();
        let transient = SigningKey::from_seed([3; 32]);
        let expires = UNIX.as_secs().saturating_add_signed(-age);
        let mut offline = OfflineSignature {
            expires: crate::time::UnixTime::from_secs(expires.into()),
            key: transient.public(),
            signature: Vec::new(),
        };
        let mut signed = Vec::new();
        offline.encode(&mut signed);
        offline.signature = peer.key.sign(&signed).to_vec();
        let mut options = peer.identity.as_bytes().to_vec();
        offline.encode(&mut options);
        options.put(&[0; 64]);
        let mut syn = vec![0; 18];
        syn[7] = 77;
        syn.put_u16(0x001 | 0x008 | 0x020 | 0x400 | 0x800);
        syn.put_u16(options.len() as u16);
        syn.put(&options);
        let at = syn.len() - 64;
        let signature = transient.sign(&syn);
        syn[at..].copy_from_slice(&signature);
        assert!(Packet::decode(&syn).is_ok());
        peer.send_bytes(&syn);
        assert_eq!(peer.streams.len(), usize::from(opens));
        // Its key is remembered for the packets that do not name it.
        if opens {
            peer.wait(ms(20));
            let id = StreamId(peer.theirs);
            peer.events();
            peer.send(&Outgoing {
                flags: Flags::RESET,
                sign: Some(&peer.key.clone()),
                ..peer.packet(1, 0, b"")
            });
            assert_eq!(peer.streams.len(), 1);
            peer.send(&Outgoing {
                flags: Flags::RESET,
                sign: Some(&transient),
                ..peer.packet(1, 0, b"")
            });
            assert_eq!(peer.events(), [StreamEvent::Closed(id, Err(StreamError::Reset))]);
        }
    }
}
