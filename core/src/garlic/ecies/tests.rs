//! Whole sessions against each other, in virtual time, over a network that misbehaves.

mod outage;

use super::*;
use crate::garlic::tests::clove;
use crate::garlic::{OpenError, SealError};
use crate::rng::Seed;
use crate::time::UnixTime;
use alloc::collections::BTreeMap;
use alloc::vec;

const UNIX: UnixTime = UnixTime::from_secs(1_700_000_000);

/// A destination with its sessions, which binds whoever speaks to it.
struct Node {
    sessions: Sessions,
    remote: Remote,
    /// Texts received, in order.
    texts: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
    events: Vec<Event>,
    refused: Vec<OpenError>,
    steps: u32,
}

impl Node {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let key = Arc::new(PrivateKey::generate(&mut rng));
        let destination = Hash::of(&seed.to_be_bytes());
        let remote = Remote { destination, key: key.public() };
        let mut sessions = Sessions::new(key, rng);
        sessions.next_key_at = 25;
        Self {
            sessions,
            remote,
            texts: vec![],
            kinds: vec![],
            events: vec![],
            refused: vec![],
            steps: 0,
        }
    }

    fn handle(&mut self, now: Instant, mut body: Vec<u8>, from: &Remote) {
        let unix = UNIX + now.saturating_since(Instant::ZERO);
        match self.sessions.handle(now, unix, &mut body) {
            Ok(received) => {
                if received.kind == Kind::NewSession {
                    assert_eq!(received.remote_key, Some(from.key));
                    assert!(self.sessions.bind(now, received.session.unwrap(), from.destination));
                } else if received.kind != Kind::OneTime {
                    assert_eq!(received.destination, Some(from.destination));
                }
                self.kinds.push(received.kind);
                self.texts.extend(received.cloves.into_iter().map(|clove| clove.message.body));
            }
            Err(error) => self.refused.push(error),
        }
        self.after();
    }

    fn send(&mut self, now: Instant, to: &Remote, text: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let unix = UNIX + now.saturating_since(Instant::ZERO);
        let readiness = self.sessions.readiness(now, to);
        let sent = self.sessions.encrypt(now, unix, to, &[clove(text)], SendOptions::default());
        match (&sent, readiness) {
            (Ok((_, info)), Readiness::Ready { kind, .. }) => assert_eq!(info.kind, kind),
            (Ok((_, info)), Readiness::Full(_)) => assert_eq!(info.kind, Kind::Existing),
            (Err(EncryptError::Wait(at)), Readiness::Wait(until)) => assert_eq!(*at, until),
            (sent, readiness) => panic!("{readiness:?}, but {sent:?}"),
        }
        self.after();
        sent.map(|(body, _)| body)
    }

    fn after(&mut self) {
        self.events.extend(core::iter::from_fn(|| self.sessions.poll_event()));
        self.steps += 1;
        if self.steps.is_multiple_of(32) && self.sessions.len() < 100 {
            self.sessions.check();
        }
    }
}

impl Sessions {
    /// The tables agree with the sessions, and the caps hold.
    fn check(&self) {
        let mut tags = 0;
        for (id, session) in &self.sessions {
            let mut count = |set: &tagset::ReceiveSet| {
                set.for_each_tag(|tag, index| {
                    tags += 1;
                    let expected = self.tags.get(tag).unwrap();
                    assert_eq!((expected.session, expected.index), (*id, index));
                });
            };
            match &session.phase {
                Phase::Opening(initiator) => count(&initiator.replies),
                Phase::Answering(answering) => {
                    answering.candidates.iter().for_each(|sets| count(&sets.receive));
                }
                Phase::Established(established) => {
                    established.receiving.sets().for_each(&mut count);
                    established.late.iter().for_each(|late| count(&late.replies));
                }
            }
            let armed = session.armed.unwrap();
            assert!(self.timers.contains(&(armed, *id)) && armed <= session.deadline());
            assert_eq!(self.answering.contains(id), session.is_answering());
            assert_eq!(self.unbound.contains(id), session.destination.is_none());
            if let Some(destination) = session.destination {
                let remote = Remote { destination, key: session.remote };
                assert!(self.remotes[&remote].sessions.contains(id));
            }
        }
        assert_eq!(tags, self.tags.len());
        assert_eq!(self.timers.len(), self.sessions.len());
        let named: usize = self.remotes.values().map(|state| state.sessions.len()).sum();
        assert_eq!(named + self.unbound.len(), self.sessions.len());
        assert!(self.remotes.values().all(|state| !state.sessions.is_empty()));
        assert!(self.len() <= MAX_SESSIONS && self.unbound.len() <= MAX_UNBOUND);
        assert!(self.tag_count() <= MAX_TAGS);
    }
}

/// How the network treats each message.
#[derive(Clone, Copy)]
struct Link {
    loss: u64,
    duplicate: u64,
    /// Milliseconds, at least and at most.
    delay: (u64, u64),
}

const GOOD: Link = Link { loss: 0, duplicate: 0, delay: (50, 50) };

/// Two nodes and the messages between them.
struct Net {
    now: Instant,
    nodes: [Node; 2],
    rng: Rng,
    link: Link,
    /// Nothing gets through to these nodes.
    cut: [bool; 2],
    /// By time and a running number: for which node, what.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
    /// Everything ever sent to each node.
    tape: [Vec<Vec<u8>>; 2],
}

impl Net {
    fn new(seed: u64, link: Link) -> Self {
        Self {
            now: Instant::ZERO,
            nodes: [Node::new(seed), Node::new(seed + 1_000_000)],
            rng: Rng::new(&Seed::from_number(seed + 2_000_000)),
            link,
            cut: [false; 2],
            wire: BTreeMap::new(),
            count: 0,
            tape: [vec![], vec![]],
        }
    }

    /// Encrypts `text` from node `from` to the other one and puts it on the wire.
    fn send(&mut self, from: usize, text: &[u8]) -> Result<(), EncryptError> {
        let to = self.nodes[1 - from].remote;
        let body = self.nodes[from].send(self.now, &to, text)?;
        self.put(1 - from, body);
        Ok(())
    }

    fn put(&mut self, to: usize, body: Vec<u8>) {
        self.tape[to].push(body.clone());
        if self.cut[to] || self.rng.below(100) < self.link.loss {
            return;
        }
        let copies = 1 + u64::from(self.rng.below(100) < self.link.duplicate);
        for _ in 0..copies {
            let (least, most) = self.link.delay;
            let delay = Duration::from_millis(self.rng.between(least, most));
            self.wire.insert((self.now + delay, self.count), (to, body.clone()));
            self.count += 1;
        }
    }

    /// Lets time pass: deliveries and timers in their order.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for n in 0..2 {
                while let Some(out) = self.nodes[n].sessions.poll_outgoing(self.now) {
                    assert_eq!(out.remote, self.nodes[1 - n].remote);
                    self.nodes[n].after();
                    self.put(1 - n, out.body);
                }
            }
            let delivery = self.wire.first_key_value().map(|((at, _), _)| *at);
            let timers = self.nodes.iter().map(|node| node.sessions.poll_timeout());
            let next = timers.fold(delivery, earliest);
            let Some(next) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if delivery == Some(next) {
                let (_, (to, body)) = self.wire.pop_first().unwrap();
                let from = self.nodes[1 - to].remote;
                self.nodes[to].handle(self.now, body, &from);
            }
            for node in &mut self.nodes {
                if node.sessions.poll_timeout().is_some_and(|at| at <= self.now) {
                    node.sessions.handle_timeout(self.now);
                    node.after();
                }
            }
        }
        self.now = end;
    }

    fn ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    /// A session that both sides have used.
    fn established(seed: u64, link: Link) -> Self {
        let mut net = Self::new(seed, GOOD);
        net.send(0, b"hello").unwrap();
        net.ms(100);
        net.send(1, b"welcome").unwrap();
        net.ms(100);
        net.send(0, b"thanks").unwrap();
        net.ms(100);
        net.link = link;
        for node in &mut net.nodes {
            node.texts.clear();
            node.kinds.clear();
            node.events.clear();
        }
        net
    }

    fn readiness(&self, from: usize) -> Readiness {
        self.nodes[from].sessions.readiness(self.now, &self.nodes[1 - from].remote)
    }

    fn kind(&self, from: usize) -> Option<Kind> {
        match self.readiness(from) {
            Readiness::Ready { kind, .. } => Some(kind),
            Readiness::Full(_) => Some(Kind::Existing),
            Readiness::Wait(_) => None,
        }
    }
}

fn established(event: &Event) -> bool {
    matches!(event, Event::Established { .. })
}

#[test]
fn a_session_is_opened_answered_and_used() {
    let mut net = Net::new(1, GOOD);
    net.send(0, b"hello").unwrap();
    net.ms(60);
    assert_eq!(net.kind(1), Some(Kind::Reply));
    net.send(1, b"welcome").unwrap();
    net.ms(60);
    assert!(net.nodes[0].events.iter().any(established));
    assert_eq!(net.kind(0), Some(Kind::Existing));
    net.send(0, b"thanks").unwrap();
    net.ms(60);
    assert!(net.nodes[1].events.iter().any(established));
    net.send(1, b"bye").unwrap();
    net.ms(60);
    assert_eq!(net.nodes[1].texts, [&b"hello"[..], b"thanks"]);
    assert_eq!(net.nodes[0].texts, [&b"welcome"[..], b"bye"]);
    assert_eq!(net.nodes[1].kinds, [Kind::NewSession, Kind::Existing]);
    assert_eq!(net.nodes[0].kinds, [Kind::Reply, Kind::Existing]);
    assert!(net.nodes[0].refused.is_empty() && net.nodes[1].refused.is_empty());
}

#[test]
fn sizes_up_to_the_largest_message_fit_and_larger_ones_are_refused() {
    let mut net = Net::established(2, GOOD);
    let largest = crate::wire::i2np::MAX_BODY_LEN - 512 - clove(b"").block_len();
    for size in [0, 1, 1812, 30_000, largest] {
        net.send(0, &vec![7; size]).unwrap();
        net.ms(60);
        assert_eq!(net.nodes[1].texts.pop().unwrap().len(), size);
    }
    let to = net.nodes[1].remote;
    let cloves = [clove(&vec![7; largest + 1])];
    let sent = net.nodes[0].sessions.encrypt(net.now, UNIX, &to, &cloves, SendOptions::default());
    assert!(matches!(sent, Err(EncryptError::Seal(SealError::TooLarge(_)))));
}

#[test]
fn one_time_messages_arrive_and_leave_no_state() {
    let mut net = Net::new(3, GOOD);
    let to = net.nodes[1].remote;
    let options = SendOptions { bind: false, ..SendOptions::default() };
    let sessions = &mut net.nodes[0].sessions;
    let (body, info) =
        sessions.encrypt(Instant::ZERO, UNIX, &to, &[clove(b"once")], options).unwrap();
    assert_eq!((info.kind, info.session), (Kind::OneTime, None));
    net.put(1, body);
    net.ms(60);
    assert_eq!(net.nodes[1].texts, [b"once"]);
    assert!(net.nodes.iter().all(|node| node.sessions.is_empty()));
}

#[test]
fn thousands_of_messages_cross_many_ratchet_steps_in_order_on_a_good_link() {
    let mut net = Net::established(4, GOOD);
    for n in 0..2000_u32 {
        net.send(0, &n.to_be_bytes()).unwrap();
        net.send(1, &n.to_be_bytes()).unwrap();
        net.ms(7);
    }
    net.ms(5000);
    let want: Vec<_> = (0..2000_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    for node in &net.nodes {
        assert_eq!(node.texts, want);
        assert!(node.kinds.iter().all(|kind| *kind == Kind::Existing));
        assert!(node.refused.is_empty());
        let set = node.sessions.sessions.values().find_map(|session| match &session.phase {
            Phase::Established(established) => Some(established.sending.set.id()),
            Phase::Opening(_) | Phase::Answering(_) => None,
        });
        assert!(set.unwrap() > 30, "{set:?}");
    }
}

#[test]
fn loss_reordering_and_duplicates_cost_only_what_was_lost() {
    for (seed, loss, duplicate, most) in
        [(10, 0, 0, 400), (11, 5, 10, 300), (12, 20, 10, 500), (13, 40, 30, 200)]
    {
        let link = Link { loss, duplicate, delay: (20, most) };
        let mut net = Net::established(seed, link);
        for node in &mut net.nodes {
            node.sessions.next_key_at = 150;
        }
        for n in 0..2500_u32 {
            net.send(0, &n.to_be_bytes()).unwrap();
            if n % 3 == 0 {
                net.send(1, &n.to_be_bytes()).unwrap();
            }
            net.ms(5);
        }
        net.ms(5000);
        for (node, sent) in [(1, 2500), (0, 834)] {
            let node = &net.nodes[node];
            let mut texts = node.texts.clone();
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), node.texts.len(), "a duplicate got through");
            let expected = sent * (100 - loss as usize) / 100;
            assert!(texts.len() * 100 >= expected * 96, "{} of {expected}", texts.len());
            assert!(node.kinds.iter().all(|kind| *kind == Kind::Existing), "{loss}");
            assert!(
                node.refused.iter().all(|error| *error == OpenError::Replayed),
                "{seed} {:?}",
                node.refused
            );
        }
    }
}

#[test]
fn a_thousand_lost_in_a_row_cost_one_new_session_and_a_round_trip() {
    let mut net = Net::established(20, GOOD);
    for n in 0..100_u32 {
        net.send(0, &n.to_be_bytes()).unwrap();
        net.send(1, b"ack").unwrap();
        net.ms(5);
    }
    net.link.loss = 100;
    for n in 0..1000_u32 {
        net.send(0, &n.to_be_bytes()).unwrap();
        net.ms(10);
    }
    net.link.loss = 0;
    net.ms(1);
    net.nodes[1].texts.clear();
    // The next one that goes as a new session gets through, and the answer to it.
    let mut waited = 0;
    while net.nodes[1].texts.is_empty() {
        net.send(0, b"again").unwrap();
        net.ms(100);
        waited += 100;
    }
    assert!(waited <= 16_000, "{waited}");
    assert_eq!(net.nodes[1].kinds.last(), Some(&Kind::NewSession));
    net.send(1, b"yes").unwrap();
    net.ms(60);
    assert_eq!(net.nodes[0].texts.last().unwrap(), b"yes");
    assert_eq!(net.kind(0), Some(Kind::Existing));
    net.send(0, b"onwards").unwrap();
    net.ms(60);
    assert_eq!(net.nodes[1].texts.last().unwrap(), b"onwards");
    assert_eq!(net.nodes[1].kinds.last(), Some(&Kind::Existing));
}

#[test]
fn a_peer_that_forgot_everything_is_reached_again() {
    for forgetful in [0, 1] {
        let mut net = Net::established(21, GOOD);
        let mut fresh = Node::new(if forgetful == 0 { 21 } else { 1_000_021 });
        fresh.sessions.rng = Rng::new(&Seed::from_number(99));
        assert_eq!(fresh.remote, net.nodes[forgetful].remote);
        net.nodes[forgetful] = fresh;
        let other = 1 - forgetful;
        for _ in 0..60 {
            net.send(other, b"are you there?").unwrap();
            net.ms(100);
        }
        assert!(!net.nodes[forgetful].texts.is_empty());
        net.send(forgetful, b"yes").unwrap();
        net.ms(100);
        assert_eq!(net.nodes[other].texts, [b"yes"]);
        net.send(other, b"good").unwrap();
        net.ms(100);
        assert_eq!(net.nodes[forgetful].kinds.last(), Some(&Kind::Existing));
    }
}

#[test]
fn the_owner_can_ask_for_a_new_session_at_once() {
    let mut net = Net::established(22, GOOD);
    net.ms(2000);
    assert_eq!(net.kind(0), Some(Kind::Existing));
    let to = net.nodes[1].remote;
    net.nodes[0].sessions.suspect(&to);
    assert_eq!(net.kind(0), Some(Kind::NewSession));
    // Between two new sessions the old one stays in use.
    net.send(0, b"new").unwrap();
    assert_eq!(net.kind(0), Some(Kind::Existing));
    net.send(0, b"old").unwrap();
    net.ms(60);
    assert_eq!(net.nodes[1].texts.len(), 2);
}

#[test]
fn lost_new_sessions_and_lost_replies_are_overcome() {
    for lost_replies in [false, true] {
        let mut net = Net::new(30, GOOD);
        let mut opened = Vec::new();
        for second in 0..20 {
            // The first three messages of the direction in question are lost.
            net.link.loss = if !lost_replies && opened.len() < 3 { 100 } else { 0 };
            let at = net.now;
            match net.send(0, b"hello") {
                Ok(()) => opened.push(at.as_micros() / 1_000_000),
                Err(EncryptError::Wait(until)) => assert!(until > net.now),
                Err(error) => panic!("{error}"),
            }
            net.ms(100);
            net.link.loss = if lost_replies && opened.len() < 4 { 100 } else { 0 };
            if net.kind(1) == Some(Kind::Reply) {
                net.send(1, b"welcome").unwrap();
            }
            net.ms(100);
            if !net.nodes[0].texts.is_empty() {
                break;
            }
            assert!(second < 15);
            net.ms(800);
        }
        assert_eq!(opened, [0, 1, 2, 4]);
        assert_eq!(net.kind(0), Some(Kind::Existing));
    }
}

#[test]
fn new_sessions_to_one_peer_slow_down() {
    let mut net = Net::new(31, Link { loss: 100, ..GOOD });
    let mut opened = Vec::new();
    for tenth in 0..600_u64 {
        if net.send(0, b"hello").is_ok() {
            opened.push(tenth);
        }
        net.ms(100);
    }
    assert_eq!(opened, [0, 10, 20, 40, 80, 160, 310, 460]);
    assert_eq!(net.nodes[0].sessions.len(), 8);
}

#[test]
fn any_of_several_new_sessions_can_be_answered() {
    for answered in 0..4 {
        let mut net = Net::new(32, GOOD);
        let to = net.nodes[1].remote;
        let mut bodies = Vec::new();
        while bodies.len() < 4 {
            bodies.extend(net.nodes[0].send(net.now, &to, b"hello"));
            net.ms(1000);
        }
        net.put(1, bodies[answered].clone());
        net.ms(60);
        net.send(1, b"welcome").unwrap();
        net.ms(60);
        assert_eq!(net.nodes[0].texts, [b"welcome"]);
        net.send(0, b"thanks").unwrap();
        net.ms(60);
        assert_eq!(net.nodes[1].kinds, [Kind::NewSession, Kind::Existing]);
    }
}

#[test]
fn many_replies_to_one_new_session_all_arrive_and_any_of_them_is_enough() {
    for first in [0, 5, 11] {
        let mut net = Net::new(33, GOOD);
        net.send(0, b"hello").unwrap();
        net.ms(60);
        let to = net.nodes[0].remote;
        let mut replies = Vec::new();
        for n in 0..12_u8 {
            let room = u32::from(12 - n);
            assert_eq!(net.readiness(1), Readiness::Ready { kind: Kind::Reply, room });
            replies.push(net.nodes[1].send(net.now, &to, &[n]).unwrap());
        }
        // The peer reads no more replies. If it does not use one of these, it is gone.
        assert_eq!(net.readiness(1), Readiness::Wait(net.now + Duration::from_secs(5)));
        net.put(0, replies[first].clone());
        net.ms(60);
        net.send(0, b"thanks").unwrap();
        net.ms(60);
        assert_eq!(net.nodes[1].texts.last().unwrap(), b"thanks");
        assert_eq!(net.kind(1), Some(Kind::Existing));
        net.send(1, b"existing").unwrap();
        net.ms(60);
        for reply in replies.iter().rev() {
            net.put(0, reply.clone());
        }
        net.ms(60);
        let mut texts = net.nodes[0].texts.clone();
        texts.sort();
        assert_eq!(texts.len(), 13, "each once");
        assert_eq!(net.nodes[0].refused, [OpenError::Replayed]);
        net.send(0, b"still fine").unwrap();
        net.ms(60);
        assert_eq!(net.nodes[1].texts.last().unwrap(), b"still fine");
    }
}

#[test]
fn both_sides_opening_at_once_end_up_with_existing_sessions() {
    for seed in 40..50 {
        let mut net = Net::new(seed, Link { loss: 0, duplicate: 0, delay: (20, 200) });
        net.send(0, b"from a").unwrap();
        net.send(1, b"from b").unwrap();
        net.ms(200);
        for n in 0..40_u8 {
            net.send(0, &[n]).unwrap();
            net.send(1, &[n]).unwrap();
            net.ms(100);
        }
        net.ms(3000);
        for n in 0..2 {
            assert_eq!(net.nodes[n].texts.len(), 41);
            assert!(net.nodes[n].refused.is_empty());
            assert_eq!(net.kind(n), Some(Kind::Existing));
            let kinds = &net.nodes[n].kinds;
            assert_eq!(kinds.iter().filter(|kind| **kind == Kind::NewSession).count(), 1);
            assert!(kinds[10..].iter().all(|kind| *kind == Kind::Existing));
        }
    }
}

// i2pd does this: each of its streams keeps the session whose reply came on it.
#[test]
fn two_sessions_that_a_peer_uses_at_once_both_work() {
    let mut net = Net::new(50, GOOD);
    let [a, b] = [0, 1].map(|n| net.nodes[n].remote);
    let mut alices = [Node::new(50), Node::new(50)];
    alices[1].sessions.rng = Rng::new(&Seed::from_number(51));
    for (n, alice) in alices.iter_mut().enumerate() {
        let body = alice.send(net.now, &b, &[n as u8]).unwrap();
        net.nodes[1].handle(net.now, body, &a);
        let reply = net.nodes[1].send(net.now, &a, b"welcome").unwrap();
        alice.handle(net.now, reply, &b);
        assert_eq!(alice.texts, [b"welcome"]);
    }
    for round in 0..100_u8 {
        for alice in &mut alices {
            let body = alice.send(net.now, &b, &[round]).unwrap();
            net.now = net.now + Duration::from_millis(1);
            net.nodes[1].handle(net.now, body, &a);
            // The answer goes where the peer was heard last.
            let answer = net.nodes[1].send(net.now, &a, &[round]).unwrap();
            alice.handle(net.now, answer, &b);
            assert_eq!(alice.texts.last().unwrap(), &[round]);
        }
    }
    assert!(net.nodes[1].kinds[2..].iter().all(|kind| *kind == Kind::Existing));
}

#[test]
fn needs_are_answered_without_data_and_idle_peers_come_to_rest() {
    let mut net = Net::new(60, GOOD);
    net.send(0, b"hello").unwrap();
    net.ms(60_000);
    // An empty reply, an empty existing session message in return, and silence.
    assert_eq!(net.nodes[1].kinds, [Kind::NewSession, Kind::Existing]);
    assert_eq!(net.nodes[0].kinds, [Kind::Reply]);
    // One-way traffic gets its Acks and its next keys.
    for n in 0..200_u8 {
        net.send(0, &[n]).unwrap();
        net.ms(100);
    }
    net.ms(5000);
    assert_eq!(net.nodes[1].texts.len(), 201);
    assert!(net.nodes[0].events.iter().any(|event| matches!(event, Event::Acked(_))));
    assert!(net.nodes[1].kinds[1..].iter().all(|kind| *kind == Kind::Existing));
    let before = net.tape.each_ref().map(Vec::len);
    net.ms(200_000);
    assert_eq!(net.tape.each_ref().map(Vec::len), before, "somebody keeps talking");
}

#[test]
fn acks_name_the_message_that_asked() {
    let mut net = Net::established(61, GOOD);
    let to = net.nodes[1].remote;
    let options = SendOptions { ack: true, ..SendOptions::default() };
    let sessions = &mut net.nodes[0].sessions;
    let (body, info) = sessions.encrypt(net.now, UNIX, &to, &[clove(b"x")], options).unwrap();
    net.put(1, body);
    net.ms(60);
    net.send(1, b"answer").unwrap();
    net.ms(60);
    assert!(net.nodes[0].events.contains(&Event::Acked(info.ack.unwrap())));
}

#[test]
fn replays_are_refused_and_change_nothing() {
    let mut net = Net::new(70, GOOD);
    net.send(0, b"hello").unwrap();
    net.ms(60);
    net.send(1, b"welcome").unwrap();
    net.ms(60);
    for n in 0..60_u8 {
        net.send(0, &[n]).unwrap();
        net.send(1, &[n]).unwrap();
        net.ms(60);
    }
    let tape = net.tape.clone();
    for (n, bodies) in tape.iter().enumerate() {
        let from = net.nodes[1 - n].remote;
        let before = (net.nodes[n].texts.len(), net.nodes[n].sessions.tag_count());
        for body in bodies {
            net.nodes[n].handle(net.now, body.clone(), &from);
        }
        let after = (net.nodes[n].texts.len(), net.nodes[n].sessions.tag_count());
        assert_eq!(before, after);
        assert_eq!(net.nodes[n].refused.len(), bodies.len());
        assert!(net.nodes[n].refused.iter().all(|error| *error == OpenError::Replayed));
    }
    // The other encoding of the same ephemeral key is no way around it.
    let mut body = tape[1][0].clone();
    body[4 + 31] ^= 0xc0;
    let from = net.nodes[0].remote;
    net.nodes[1].handle(net.now, body, &from);
    assert_eq!(net.nodes[1].refused.last(), Some(&OpenError::Replayed));
}

#[test]
fn cuts_and_flips_of_every_kind_of_message_change_nothing() {
    let mut net = Net::new(71, GOOD);
    for step in 0..4 {
        let from = step % 2;
        let to = 1 - from;
        let remote = net.nodes[to].remote;
        let sender = net.nodes[from].remote;
        let body = net.nodes[from].send(net.now, &remote, b"text").unwrap();
        let before = (net.nodes[to].sessions.len(), net.nodes[to].sessions.tag_count());
        for cut in 0..body.len() {
            let mut bad = body[..cut].to_vec();
            net.nodes[to].handle(net.now, bad.clone(), &sender);
            if let Some(length) = cut.checked_sub(4) {
                bad[..4].copy_from_slice(&(length as u32).to_be_bytes());
                net.nodes[to].handle(net.now, bad, &sender);
            }
            net.now = net.now + Duration::from_millis(5);
        }
        for bit in (0..body.len() * 8).step_by(3) {
            // The top two bits of an encoded key are random and ignored.
            let key_end = [35, 43][usize::from(step == 1)];
            if step < 2 && bit / 8 == key_end && bit % 8 >= 6 {
                continue;
            }
            let mut bad = body.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            net.nodes[to].handle(net.now, bad, &sender);
            net.now = net.now + Duration::from_millis(5);
        }
        let mut longer = body.clone();
        longer.push(0);
        net.nodes[to].handle(net.now, longer, &sender);
        let after = (net.nodes[to].sessions.len(), net.nodes[to].sessions.tag_count());
        assert_eq!(before, after);
        assert!(net.nodes[to].texts.len() == step / 2);
        net.nodes[to].handle(net.now, body, &sender);
        assert_eq!(net.nodes[to].texts.len(), step / 2 + 1, "step {step}");
    }
    let kinds = net.nodes.each_ref().map(|node| node.kinds.clone());
    assert_eq!(kinds[1], [Kind::NewSession, Kind::Existing]);
    assert_eq!(kinds[0], [Kind::Reply, Kind::Existing]);
}

#[test]
fn old_undated_and_future_new_sessions_are_refused() {
    let mut net = Net::new(72, GOOD);
    let to = net.nodes[1].remote;
    for (offset, accepted) in [(301_000, false), (299_000, true)] {
        let sessions = &mut net.nodes[0].sessions;
        let sent = sessions.encrypt(net.now, UNIX, &to, &[], SendOptions::default());
        let mut body = sent.unwrap().0;
        let unix = UNIX + Duration::from_millis(offset);
        assert_eq!(net.nodes[1].sessions.handle(net.now, unix, &mut body).is_ok(), accepted);
        net.ms(2000);
    }
    let sessions = &mut net.nodes[0].sessions;
    let sent = sessions.encrypt(net.now, UNIX, &to, &[], SendOptions::default());
    let unix = UNIX - Duration::from_secs(121);
    let got = net.nodes[1].sessions.handle(net.now, unix, &mut sent.unwrap().0);
    assert_eq!(got, Err(OpenError::BadDate));

    let mut rng = Rng::new(&Seed::from_number(1));
    let pair = crate::crypto::elligator2::KeyPair::generate(&mut rng).unwrap();
    let mut body = crate::garlic::new_body(200);
    handshake::seal_one_time(&to.key, &pair, &mut body, |out| {
        crate::garlic::put_cloves(&[clove(b"undated")], out).unwrap();
    })
    .unwrap();
    crate::garlic::finish_body(&mut body).unwrap();
    let got = net.nodes[1].sessions.handle(net.now, UNIX, &mut body);
    assert_eq!(got, Err(OpenError::NoDate));
}

#[test]
fn idle_sessions_end_and_take_their_tags_along() {
    let mut net = Net::established(80, GOOD);
    net.ms(7 * 60_000);
    assert_eq!(net.kind(0), Some(Kind::Existing));
    net.send(0, b"just in time").unwrap();
    net.ms(60);
    assert_eq!(net.nodes[1].texts, [b"just in time"]);
    net.ms(8 * 60_000 + 2000);
    assert_eq!(net.kind(0), Some(Kind::NewSession), "the peer may have forgotten the tags");
    net.ms(3 * 60_000);
    for node in &net.nodes {
        assert!(node.sessions.is_empty());
        assert_eq!(node.sessions.tag_count(), 0);
        assert_eq!(node.sessions.poll_timeout(), None);
    }
}

#[test]
fn unanswered_and_unbound_sessions_expire() {
    let mut net = Net::new(81, GOOD);
    let to = net.nodes[1].remote;
    let mut body = net.nodes[0].send(net.now, &to, b"hello").unwrap();
    let received = net.nodes[1].sessions.handle(net.now, UNIX, &mut body).unwrap();
    assert_eq!(received.destination, None);
    net.nodes[1].sessions.check();
    // Nobody binds it, so nothing is ever said.
    net.ms(29_000);
    assert_eq!(net.nodes[1].sessions.len(), 1);
    net.ms(1000);
    assert!(net.nodes[1].sessions.is_empty());
    assert!(!net.nodes[1].sessions.bind(net.now, received.session.unwrap(), to.destination));
    net.ms(150_000);
    assert!(net.nodes[0].sessions.is_empty());
    assert!(net.tape[0].is_empty());
}

#[test]
fn a_session_is_bound_once() {
    let mut net = Net::new(82, GOOD);
    let to = net.nodes[1].remote;
    let mut body = net.nodes[0].send(net.now, &to, b"hello").unwrap();
    let sessions = &mut net.nodes[1].sessions;
    let id = sessions.handle(net.now, UNIX, &mut body).unwrap().session.unwrap();
    assert!(sessions.bind(net.now, id, Hash([1; 32])));
    assert!(sessions.bind(net.now, id, Hash([1; 32])));
    assert!(!sessions.bind(net.now, id, Hash([2; 32])));
    sessions.check();
    // Another destination that lists the same key has no part in the session.
    let key = net.nodes[0].remote.key;
    let ready = |hash: Hash| sessions.readiness(net.now, &Remote { destination: hash, key });
    assert_eq!(ready(Hash([1; 32])), Readiness::Ready { kind: Kind::Reply, room: 12 });
    assert_eq!(ready(Hash([2; 32])), Readiness::Ready { kind: Kind::NewSession, room: 1 });
}

// 1,000 valid new sessions a second, each answered, each from another peer; honest peers take a
// second to use the answer.
#[test]
fn a_flood_of_new_sessions_is_bounded_and_honest_ones_still_get_through() {
    let mut bob = Node::new(90);
    let to = bob.remote;
    let mut friends: VecDeque<(Instant, Node)> = VecDeque::new();
    let (mut honest, mut tried) = (0, 0);
    for ms in 0..1500_u64 {
        let now = Instant::from_micros(ms * 1000);
        let mut peer = Node::new(10_000 + ms);
        let from = peer.remote;
        let body = peer.send(now, &to, b"").unwrap();
        bob.handle(now, body, &from);
        let reply = bob.send(now, &from, b"").unwrap();
        if ms % 100 == 0 {
            peer.handle(now, reply, &to);
            friends.push_back((now + Duration::from_secs(1), peer));
        }
        while friends.front().is_some_and(|(at, _)| *at <= now) {
            let (_, mut friend) = friends.pop_front().unwrap();
            let from = friend.remote;
            let body = friend.send(now, &to, b"").unwrap();
            bob.handle(now, body, &from);
            tried += 1;
            honest += usize::from(bob.kinds.last() == Some(&Kind::Existing));
        }
    }
    assert!(bob.refused.is_empty(), "1,000 a second are within the ration");
    assert_eq!((honest, tried), (5, 5));
    assert!(bob.sessions.len() <= MAX_ANSWERING + tried);
    bob.sessions.check();
}

#[test]
fn more_new_sessions_than_the_ration_are_dropped_before_any_work() {
    let mut rng = Rng::new(&Seed::from_number(91));
    let mut bob = Node::new(91);
    let mut count = |from: u64, to: u64, n: usize| {
        (0..n)
            .filter(|i| {
                let us = from + (to - from) * (*i as u64) / n as u64;
                let mut body = vec![0, 0, 0, 200];
                body.extend(rng.bytes::<200>());
                let now = Instant::from_micros(us);
                bob.sessions.handle(now, UNIX, &mut body) == Err(OpenError::Undecryptable)
            })
            .count()
    };
    assert_eq!(count(0, 1, 1000), 400, "the burst");
    assert_eq!(count(1_000_000, 1_500_000, 4000), 400 + 999, "the rate");
}

#[test]
fn unbound_sessions_are_capped() {
    let mut bob = Node::new(92);
    for n in 0..MAX_UNBOUND as u64 + 50 {
        let mut peer = Node::new(50_000 + n);
        let now = Instant::from_micros(n * 1000);
        let mut body = peer.send(now, &bob.remote, b"").unwrap();
        bob.sessions.handle(now, UNIX + Duration::from_secs(1), &mut body).unwrap();
    }
    bob.sessions.check();
    assert_eq!(bob.sessions.len(), MAX_UNBOUND);
}

#[test]
fn one_peer_cannot_hold_more_than_its_share() {
    let mut net = Net::new(93, GOOD);
    let bob = net.nodes[1].remote;
    for n in 0..50 {
        let mut peer = Node::new(93);
        peer.sessions.rng = Rng::new(&Seed::from_number(60_000 + n));
        let from = peer.remote;
        let body = peer.send(net.now, &bob, b"hello").unwrap();
        net.nodes[1].handle(net.now, body, &from);
        let reply = net.nodes[1].send(net.now, &from, b"answer").unwrap();
        peer.handle(net.now, reply, &bob);
        if n % 2 == 0 {
            let body = peer.send(net.now, &bob, b"thanks").unwrap();
            net.nodes[1].handle(net.now, body, &from);
        }
        net.now = net.now + Duration::from_secs(1);
        assert!(net.nodes[1].sessions.len() <= 2 * MAX_SESSIONS_PER_REMOTE);
    }
    assert_eq!(net.nodes[1].sessions.len(), 2 * MAX_SESSIONS_PER_REMOTE - 1);
}

#[test]
fn tags_are_capped_and_the_sessions_in_use_survive() {
    let talk = |bob: &mut Node, peer: &mut Node, now: Instant, messages: u32| {
        let (a, b) = (peer.remote, bob.remote);
        for _ in 0..messages {
            let unix = UNIX + now.saturating_since(Instant::ZERO);
            let options = SendOptions { expects_reply: false, ..SendOptions::default() };
            let mut body = peer.sessions.encrypt(now, unix, &b, &[], options).unwrap().0;
            let received = bob.sessions.handle(now, unix, &mut body).unwrap();
            if received.kind == Kind::NewSession {
                bob.sessions.bind(now, received.session.unwrap(), a.destination);
                let mut reply = bob.sessions.encrypt(now, unix, &a, &[], options).unwrap().0;
                peer.sessions.handle(now, unix, &mut reply).unwrap();
            }
        }
    };
    let mut bob = Node::new(94);
    let mut friend = Node::new(95);
    let mut now = Instant::ZERO;
    talk(&mut bob, &mut friend, now, 3);
    // Windows of 160 tags each to begin with, and shorter ones when half of the memory is used.
    for n in 0..900 {
        now = now + Duration::from_millis(100);
        let mut peer = Node::new(70_000 + n);
        talk(&mut bob, &mut peer, now, 3);
        let id = *bob.sessions.sessions.keys().last().unwrap();
        let session = bob.sessions.sessions.get_mut(&id).unwrap();
        let Phase::Established(established) = &mut session.phase else { panic!() };
        let set = established.receiving.set(0).unwrap();
        for _ in 0..2 {
            // As if hundreds of messages had come.
            let mut last = None;
            set.for_each_tag(|tag, index| last = Some((*tag, index)));
            let (tag, index) = last.unwrap();
            set.mark_received(index);
            bob.sessions.tags.remove(&tag, id);
            set.extend(Look::Far, |tag, index| {
                let place = table::Place::Set(0);
                bob.sessions.tags.insert(&tag, table::Expected { session: id, place, index });
            });
        }
        talk(&mut bob, &mut friend, now, 1);
        assert!(bob.sessions.tag_count() <= MAX_TAGS);
    }
    bob.sessions.check();
    assert!(bob.sessions.tag_count() > MAX_TAGS * 9 / 10, "{}", bob.sessions.tag_count());
    assert!(bob.sessions.len() < 901, "{}", bob.sessions.len());
    let readiness = bob.sessions.readiness(now, &friend.remote);
    assert!(matches!(readiness, Readiness::Ready { kind: Kind::Existing, .. }));
}

#[test]
fn a_terminated_session_is_gone() {
    let mut net = Net::established(96, GOOD);
    let id = *net.nodes[0].sessions.sessions.keys().next().unwrap();
    let session = net.nodes[0].sessions.sessions.get_mut(&id).unwrap();
    let Phase::Established(established) = &mut session.phase else { panic!() };
    let mut body = crate::garlic::new_body(100);
    established.sending.set.seal(&mut body, |out| {
        crate::wire::garlic::Block::Termination { reason: 0, data: b"" }.encode(out).unwrap();
    });
    crate::garlic::finish_body(&mut body).unwrap();
    net.put(1, body);
    net.ms(60);
    assert!(net.nodes[1].sessions.is_empty());
    assert_eq!(net.nodes[1].sessions.tag_count(), 0);
}

#[test]
fn options_and_unknown_blocks_are_tolerated() {
    use crate::wire::garlic::Block;
    let mut net = Net::established(97, GOOD);
    let id = *net.nodes[0].sessions.sessions.keys().next().unwrap();
    let session = net.nodes[0].sessions.sessions.get_mut(&id).unwrap();
    let Phase::Established(established) = &mut session.phase else { panic!() };
    let mut body = crate::garlic::new_body(100);
    established.sending.set.seal(&mut body, |out| {
        for block in [
            Block::Options(&[0; 21]),
            Block::PreviousNumber(7),
            Block::Unknown { kind: 99, data: b"?" },
            Block::DateTime(UnixTime::from_secs(1)),
            Block::Clove(clove(b"text")),
            Block::Padding(3),
        ] {
            block.encode(out).unwrap();
        }
    });
    crate::garlic::finish_body(&mut body).unwrap();
    net.put(1, body);
    net.ms(60);
    assert_eq!(net.nodes[1].texts, [b"text"]);
}

#[test]
fn a_malformed_payload_is_an_error_and_the_session_goes_on() {
    let mut net = Net::established(98, GOOD);
    let id = *net.nodes[0].sessions.sessions.keys().next().unwrap();
    let session = net.nodes[0].sessions.sessions.get_mut(&id).unwrap();
    let Phase::Established(established) = &mut session.phase else { panic!() };
    let mut body = crate::garlic::new_body(100);
    established.sending.set.seal(&mut body, |out| out.extend_from_slice(&[11, 0, 9, 1]));
    crate::garlic::finish_body(&mut body).unwrap();
    net.put(1, body);
    net.ms(60);
    assert!(matches!(net.nodes[1].refused[..], [OpenError::Malformed(_)]));
    net.send(0, b"sorry").unwrap();
    net.ms(60);
    assert_eq!(net.nodes[1].texts, [b"sorry"]);
}

#[test]
fn a_set_that_is_used_up_gives_way_to_a_new_session() {
    let mut net = Net::established(99, GOOD);
    // Next keys are never prepared.
    for node in &mut net.nodes {
        node.sessions.next_key_at = u32::MAX;
    }
    net.ms(2000);
    let to = net.nodes[1].remote;
    for _ in 0..tagset::MAX_MESSAGES {
        let sent = net.nodes[0].sessions.encrypt(net.now, UNIX, &to, &[], SendOptions::default());
        if sent.unwrap().1.kind == Kind::NewSession {
            return;
        }
    }
    panic!("the set never ends");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let tape = |seed| {
        let mut net = Net::new(seed, Link { loss: 10, duplicate: 10, delay: (10, 300) });
        for n in 0..300_u32 {
            let _ = net.send(0, &n.to_be_bytes());
            let _ = net.send(1, &n.to_be_bytes());
            net.ms(20);
        }
        net.tape
    };
    assert!(tape(5) == tape(5));
    assert!(tape(5) != tape(6));
}

#[test]
fn sessions_live_through_anything_a_bad_network_does() {
    for seed in 200..203 {
        let mut net = Net::new(seed, GOOD);
        let mut rng = Rng::new(&Seed::from_number(seed));
        for _ in 0..60 {
            net.link = Link {
                loss: [0, 0, 5, 30, 100][rng.index(5)],
                duplicate: rng.below(30),
                delay: (10, 10 + rng.below(800)),
            };
            for _ in 0..rng.below(120) {
                let _ = net.send(rng.index(2), b"x");
                net.ms(rng.below(40));
            }
            net.ms([0, 500, 5000, 100_000, 700_000][rng.index(5)]);
        }
        net.link = GOOD;
        // Whatever happened, within a minute all is well.
        for _ in 0..600 {
            let _ = net.send(0, b"x");
            let _ = net.send(1, b"x");
            net.ms(100);
        }
        for n in 0..2 {
            assert_eq!(net.kind(n), Some(Kind::Existing), "seed {seed}");
            net.nodes[n].texts.clear();
        }
        for n in 0..50 {
            net.send(n % 2, b"x").unwrap();
            net.ms(60);
        }
        assert_eq!(net.nodes.each_ref().map(|node| node.texts.len()), [25, 25], "seed {seed}");
    }
}
