//! How fast, over which line.

use super::super::*;
use super::net::*;
use crate::flow::congestion::MAX_WINDOW;
use std::format;
use std::println;

extern crate std;

const MEGABYTE: usize = 1_000_000;
const LOSSES: [u64; 4] = [0, 10, 50, 200];
const TRIPS: [u64; 5] = [10, 25, 100, 300, 1000];
/// KB/s that must be reached, by round trip and loss: about three fifths of what was measured.
const MINIMUM: [[u64; 4]; 5] = [
    [2300, 2200, 2000, 300],
    [2000, 1900, 1800, 300],
    [1200, 850, 800, 110],
    [400, 330, 250, 40],
    [120, 95, 80, 12],
];

struct Run {
    /// KB/s.
    goodput: u64,
    /// Sent again, in per cent of what was needed.
    again: u64,
    acks: u64,
}

/// A line of 4 MB/s that holds 300 packets.
fn line(rtt: Duration) -> Link {
    Link { delay: rtt / 2, gap: Duration::from_micros(450), queue: 300, ..Link::default() }
}

fn measure(seed: u64, len: usize, link: Link) -> Run {
    let mut net = Net::new(seed, link);
    let id = net.connect();
    net.hosts[0].send(id, pattern(len), false);
    let took = net.until(|net| net.hosts[1].received.values().any(|got| got.len() >= len));
    let other = net.accepted();
    assert!(net.hosts[1].received[&other] == pattern(len), "other bytes arrived");
    let needed = len as u64 / 1812;
    Run {
        goodput: len as u64 / took.as_millis() as u64,
        again: net.hosts[0].streams.stats().again_out * 100 / needed,
        acks: net.hosts[1].streams.stats().acks_out * 100 / needed,
    }
}

#[test]
fn goodput_matrix() {
    println!("goodput in KB/s (sent again %, acks %), 2 MB, 4 MB/s line, 300 packets of queue");
    println!("{:>8} {:>20} {:>20} {:>20} {:>20}", "RTT ms", "0 %", "1 %", "5 %", "20 %");
    for (trip, minimums) in TRIPS.into_iter().zip(MINIMUM) {
        let mut row = format!("{trip:>8}");
        for (loss, minimum) in LOSSES.into_iter().zip(minimums) {
            let run = measure(trip, 2 * MEGABYTE, Link { loss, ..line(ms(trip)) });
            row += &format!(" {:>10} ({:>2}, {:>2})", run.goodput, run.again, run.acks);
            assert!(run.goodput >= minimum, "{trip} ms, {loss}: {} < {minimum}", run.goodput);
            let unneeded = run.again.saturating_sub(loss / 10 * 5 / 4);
            assert!(unneeded <= 5, "{trip} ms, {loss}: {} % sent again", run.again);
        }
        println!("{row}");
    }
}

/// Reliability budget F1: five per cent lost cost at most two fifths of the goodput.
#[test]
fn light_loss_costs_little() {
    for trip in [25, 100, 300] {
        let clean = measure(1, 10 * MEGABYTE, line(ms(trip)));
        let lossy = measure(1, 10 * MEGABYTE, Link { loss: 50, ..line(ms(trip)) });
        println!("{trip} ms: {} KB/s, with 5 % lost {} KB/s", clean.goodput, lossy.goodput);
        assert!(lossy.goodput * 10 >= clean.goodput * 6);
    }
}

/// Reliability budget F2.
#[test]
fn reordering_is_not_taken_for_loss() {
    for trip in [10, 25, 100, 1000] {
        let link = Link { late: 250, lateness: ms(500), duplicate: 100, ..line(ms(trip)) };
        let run = measure(2, 10 * MEGABYTE, link);
        println!("{trip} ms: {} KB/s, {} % sent again", run.goodput, run.again);
        assert!(run.again <= 15);
    }
}

/// The same for pages, of which each is a stream: the first ones find out for all.
#[test]
fn reordering_is_found_out_once() {
    for trip in [10, 100] {
        let link = Link { late: 250, lateness: ms(500), ..line(ms(trip)) };
        let mut net = Net::new(2, link);
        let mut again = 0;
        for page in 0..40 {
            let (id, other) = net.open();
            net.transfer(0, id, other, MEGABYTE / 10);
            if page == 9 {
                again = net.hosts[0].streams.stats().again_out;
            }
        }
        let again = (net.hosts[0].streams.stats().again_out - again) * 1812 / 30_000;
        println!("{trip} ms: {again} % sent again");
        assert!(again <= 10, "{trip} ms: {again} % sent again");
    }
}

#[test]
fn two_hundred_megabytes_arrive_without_one_packet_sent_twice() {
    let run = measure(3, 200 * MEGABYTE, line(ms(20)));
    println!("{} KB/s, acks {} %", run.goodput, run.acks);
    assert!(run.goodput > 3500);
    assert_eq!(run.again, 0);
    assert!(run.acks < 35);
}

/// Twenty streams share one window: the queue that they build is that of one.
#[test]
fn many_streams_to_one_destination_share_the_way_fairly() {
    let mut net = Net::new(4, line(ms(20)));
    let ids: Vec<_> = (0..20).map(|_| net.connect()).collect();
    for id in &ids {
        net.hosts[0].send(*id, pattern(MEGABYTE), true);
    }
    let all = |net: &Net| {
        let got = net.hosts[1].received.values();
        got.filter(|got| got.len() == MEGABYTE).count() == ids.len()
    };
    let start = net.now;
    let (mut flying, mut rtt) = (0, Duration::ZERO);
    while !all(&net) {
        assert!(net.step(start + Duration::from_secs(60)));
        if let Some(info) = net.hosts[0].streams.info(ids[0]) {
            flying = flying.max(info.flying);
            rtt = rtt.max(info.rtt.unwrap_or_default());
        }
        if net.now.saturating_since(start) > ms(4000) {
            let least = net.hosts[1].received.values().map(Vec::len).min().unwrap();
            assert!(least > MEGABYTE / 2, "one stream starves: {least}");
        }
    }
    let took = net.now.saturating_since(start);
    println!("20 x 1 MB in {took:?}, flying up to {flying}, round trip up to {rtt:?}");
    assert!(took < ms(6500));
    assert!(flying <= MAX_WINDOW && rtt < ms(100));
    for got in net.hosts[1].received.values() {
        assert!(*got == pattern(MEGABYTE));
    }
    assert_eq!(net.hosts[0].streams.stats().again_out, 0);
}

/// Both directions at once: acks ride on data.
#[test]
fn both_directions_at_once_are_as_fast() {
    let mut net = Net::new(5, line(ms(25)));
    let (id, other) = net.open();
    net.hosts[0].send(id, pattern(4 * MEGABYTE), false);
    net.hosts[1].send(other, pattern(4 * MEGABYTE), false);
    let took = net.until(|net| {
        let got = |host: usize, id| net.hosts[host].received.get(&id).map_or(0, Vec::len);
        got(0, id) == 4 * MEGABYTE && got(1, other) == 4 * MEGABYTE
    });
    println!("2 x 4 MB in {took:?}");
    assert!(took < ms(2000));
    assert!(net.hosts[0].received[&id] == pattern(4 * MEGABYTE));
    assert!(net.hosts[1].received[&other] == pattern(4 * MEGABYTE));
}

/// A queue of a few packets: the window has to live with what fits.
#[test]
fn a_line_that_drops_what_it_cannot_queue_is_still_filled() {
    for (queue, again) in [(20, 20), (40, 12), (80, 3)] {
        let run = measure(6, 10 * MEGABYTE, Link { queue, ..line(ms(50)) });
        println!("{queue} packets: {} KB/s, {} % sent again", run.goodput, run.again);
        assert!(run.goodput > 2500 && run.again <= again);
    }
}

/// The way gets longer in the middle: no retransmission storm, no collapse.
#[test]
fn a_change_of_the_round_trip_is_survived() {
    let mut net = Net::new(7, line(ms(10)));
    let (id, other) = net.open();
    net.transfer(0, id, other, 2 * MEGABYTE);
    for link in &mut net.links {
        link.delay = ms(200);
    }
    let before = net.hosts[0].streams.stats().again_out;
    let took = net.transfer(0, id, other, 4 * MEGABYTE);
    let again = net.hosts[0].streams.stats().again_out - before;
    println!("4 MB after the change in {took:?}, {again} packets sent again");
    assert!(took < ms(9000) && again < 100);
}

/// Routers on a busy machine stop and go; each stop takes its share of the line's 4 MB/s and no more.
#[test]
fn a_line_that_stops_and_goes_is_used() {
    for (freeze, minimum, again) in [(5, 3000, 0), (20, 2000, 1), (80, 900, 10)] {
        let run = measure(8, 10 * MEGABYTE, Link { freeze: ms(freeze), ..line(ms(10)) });
        let most = 1812 * 1000 / (450 + freeze * 10);
        println!(
            "stops of {freeze} ms: {} of {most} KB/s, {} % sent again",
            run.goodput, run.again
        );
        assert!(run.goodput >= minimum && run.again <= again);
    }
}
