//! How fast, over which line.

use super::net::*;
use crate::transport::queue::Priority;
use std::println;
use std::string::String;
use std::{format, vec::Vec};

extern crate std;

/// A line of 2 MB/s that holds a fifth of a second's bytes, and what reached the other end: KB/s, and packets that
/// counted as lost, in per cent.
fn measure(seed: u64, mtu: u16, link: Link) -> (u64, u64) {
    let link = Link { rate: Some(2_000_000), queue: 400_000, ..link };
    let mut net = Net::with_mtu(seed, link, mtu);
    let (mut id, time) = (0, ms(10_000));
    let end = net.now + time;
    net.run(ms(0));
    while net.now < end {
        // As many as the queue takes: the sessions decide how fast.
        while net.sessions[0].queued().0 < 100 {
            let message = message(id, 1_028);
            net.sessions[0].queue(net.now, message, Priority::Transit).unwrap();
            id += 1;
        }
        net.drain(0);
        if !net.step(end) {
            break;
        }
    }
    let stats = net.sessions[0].stats();
    let got: u64 = net.got(1).len() as u64 * 1_028;
    (got / time.as_millis() as u64, stats.lost * 100 / stats.packets_out)
}

/// "Under 1 % loss at 100 ms of round trip at least four fifths of the link", and the neighbours of that.
#[test]
fn goodput_matrix() {
    println!("KB/s of a line of 2 MB/s (lost %)");
    for (trip, minimum) in [
        (10, [1_600, 1_600, 1_300, 300]),
        (100, [1_600, 1_600, 1_000, 60]),
        (300, [600, 600, 400, 25]),
    ] {
        let mut row: Vec<String> = Vec::new();
        for (loss, least) in [0, 10, 50, 200].into_iter().zip(minimum) {
            let link = Link { delay: ms(trip / 2), loss, ..Link::default() };
            let (speed, lost) = measure(1, 1_500, link);
            row.push(format!("{speed} ({lost})"));
            assert!(speed >= least, "{trip} ms, {loss} of 1000 lost: {speed} < {least}; {row:?}");
        }
        println!("{trip:>4} ms: {}", row.join("  "));
    }
}

#[test]
fn reordering_is_not_taken_for_loss() {
    for trip in [10, 100] {
        let link = Link { delay: ms(trip / 2), late: 250, lateness: ms(200), ..Link::default() };
        let (speed, lost) = measure(1, 1_500, link);
        println!("{trip} ms: {speed} KB/s, {lost} % taken for lost");
        assert!(lost <= 15, "{trip} ms: {lost} %");
    }
}
