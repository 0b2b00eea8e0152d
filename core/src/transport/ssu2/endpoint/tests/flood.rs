//! Strangers in numbers.

use super::super::*;
use super::net::*;

/// Row F22 of the reliability budget: requests from addresses that are not the sender's leave nothing behind, and
/// draw hardly more bytes than they bring.
#[test]
fn forged_sources_leave_no_state_and_draw_few_bytes() {
    let mut net = Net::new(1, 2, Link { delay: ms(10), ..Link::default() });
    let to = net.hosts[1].at;
    // A TokenRequest, and a SessionRequest whose token is wrong, that have not been there yet.
    net.link.loss = 1_000;
    net.seen();
    let id = net.connect(0, 1);
    let now = net.now;
    net.hosts[0].endpoint.close(now, id, Reason::Normal);
    net.hosts[0].endpoint.received.insert(now, UNIX, to, UNIX.as_secs() + 60, 12_345);
    let id = net.connect(0, 1);
    net.hosts[0].endpoint.close(now, id, Reason::Normal);
    let requests: Vec<Vec<u8>> = net.seen().into_iter().map(|(.., packet)| packet).collect();
    assert_eq!(requests.len(), 2);
    net.link.loss = 0;
    net.connect(0, 1);
    net.run(ms(500));
    net.seen();
    let (held, mut brought) = (net.hosts[1].endpoint.len(), 0);
    for n in 0..20_000_u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let from = SocketAddr::from(([99, b, c, d], 1 + n as u16 % 50_000));
        let packet = requests[(n % 2) as usize].clone();
        brought += packet.len();
        net.deliver(from, to, packet);
        if n % 200 == 0 {
            net.run(ms(1));
        }
    }
    let drawn: usize = net.seen().iter().filter(|(at, ..)| *at == to).map(|(.., p)| p.len()).sum();
    assert!(drawn * 2 <= brought * 3, "{drawn} for {brought}");
    let stats = net.hosts[1].endpoint.stats();
    assert!(stats.retries < 3_000 && stats.withheld > 15_000, "{stats:?}");
    assert_eq!(net.hosts[1].endpoint.len(), held);
    assert_eq!(net.hosts[1].established().len(), 1);
}

#[test]
fn handshakes_of_one_place_do_not_keep_others_out() {
    let mut net = Net::new(2, 2, Link { delay: ms(10), ..Link::default() });
    // Routers at one address that never finish.
    for n in 0..50 {
        let mut flooder = Host::new(100 + n, 1, 0);
        flooder.at = SocketAddr::from(([66, 6, 6, 6], 1_000 + n as u16));
        net.hosts.push(flooder);
        let last = net.hosts.len() - 1;
        net.connect(last, 1);
        // Token and SessionCreated come, SessionConfirmed does not leave.
        net.run(ms(35));
        net.hosts.truncate(2);
    }
    let greeting = net.hosts[1].endpoint.len();
    assert!(greeting <= MAX_GREETING_PER_PREFIX, "{greeting}");
    net.connect(0, 1);
    net.run(ms(200));
    assert_eq!(net.hosts[1].established().len(), 1);
    net.run(GREETING_TIMEOUT);
    assert_eq!(net.hosts[1].endpoint.len(), 1, "those who never came back are forgotten");
}

#[test]
fn a_request_that_is_repeated_is_answered_a_few_times() {
    let mut net = Net::new(2, 2, Link { delay: ms(10), ..Link::default() });
    let (from, to) = (net.hosts[0].at, net.hosts[1].at);
    net.seen();
    net.connect(0, 1);
    // SessionCreated is on its way, nobody takes it.
    net.run(ms(35));
    let request = net.seen().into_iter().rfind(|(_, at, _)| *at == to).unwrap().2;
    net.hosts[0].at = SocketAddr::from(([10, 0, 0, 200], 1));
    for _ in 0..500 {
        net.deliver(from, to, request.clone());
        net.run(ms(10));
    }
    let answers = net.seen().iter().filter(|(at, ..)| *at == to).count();
    assert!((4..=12).contains(&answers), "{answers}");
}

#[test]
fn routers_that_are_sent_away_do_not_pile_up() {
    let mut net = Net::new(2, 2, Link { delay: ms(1), ..Link::default() });
    for n in 0..400_u32 {
        let mut liar = Host::new(100 + u64::from(n), 1, 0);
        liar.at = SocketAddr::from(([66, 6, (n / 200) as u8, n as u8], 1_000));
        net.hosts.truncate(2);
        net.hosts.push(liar);
        net.connect(2, 1);
        // The audit after each step looks at the bound.
        net.run(ms(6));
    }
    net.run(GREETING_TIMEOUT);
    assert!(net.hosts[1].endpoint.is_empty() && net.hosts[1].events.is_empty());
}

/// Whatever arrives, nothing breaks, and what is true goes on.
#[test]
fn noise_and_what_was_recorded_change_nothing() {
    for seed in 0..10 {
        let mut net = Net::new(seed, 3, Link { delay: ms(10), ..Link::default() });
        net.seen();
        let id = net.connect(0, 1);
        let mut recorded = Vec::new();
        for n in 0..100 {
            net.run(ms(20));
            if n == 30 {
                net.connect(2, 1);
            }
            if n > 20 {
                net.send(0, id, n, 900);
            }
            recorded.extend(net.seen());
            for _ in 0..20 {
                let k = net.rng.index(recorded.len());
                let (from, to, mut packet) = recorded[k].clone();
                match net.rng.below(6) {
                    0 => packet.truncate(net.rng.index(packet.len() + 1)),
                    1 => net.rng.fill(&mut packet),
                    2 | 3 => {
                        let at = net.rng.index(packet.len());
                        packet[at] ^= 1 << net.rng.below(8);
                    }
                    _ => {}
                }
                let elsewhere = SocketAddr::from(([77, 7, 7, 7], 7));
                let from = if net.rng.below(2) == 0 { from } else { elsewhere };
                net.deliver(from, to, packet);
            }
        }
        net.run(ms(3_000));
        let mut got = net.hosts[1].got();
        got.sort_unstable();
        assert_eq!(got, (21..100).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(net.hosts[1].established().len(), 2, "seed {seed}");
        let ended = |(_, e): &(_, EndpointEvent)| {
            matches!(e, EndpointEvent::Session(SessionEvent::Closed(_)) | EndpointEvent::Failed(_))
        };
        assert!(!net.hosts.iter().any(|h| h.events.iter().any(ended)), "seed {seed}");
    }
}
