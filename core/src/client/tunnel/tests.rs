use super::{Destination, LOCAL_TIMEOUT, STALL_TIMEOUT, STREAM_TIMEOUT, Tunnel};
use crate::client::testing::{Rig, identity};
use crate::client::{BUFFER, Connection, Failure, LocalFailure, Slot, Target};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn client() -> Rig {
    let to = Destination::parse("irc.example.i2p:6667").unwrap();
    let mut rig = Rig::new(Connection::Tunnel(Box::new(Tunnel::client(Instant::ZERO, to))));
    rig.drain();
    rig
}

fn server() -> Rig {
    Rig::with_stream(Connection::Tunnel(Box::new(Tunnel::server(Instant::ZERO))))
}

#[test]
fn destinations_of_every_form_are_read() {
    let id = identity(1);
    let name = Target::Name("a.i2p".into());
    for (text, target, port) in [
        ("a.i2p".into(), name.clone(), 0),
        ("a.i2p:6667".into(), name, 6667),
        (id.b32_address(), Target::Hash(id.hash()), 0),
        (format!("{}:25", id.b32_address()), Target::Hash(id.hash()), 25),
        (id.to_base64(), Target::Destination(id.clone()), 0),
        (format!("{}:25", id.to_base64()), Target::Destination(id.clone()), 25),
    ] {
        assert_eq!(Destination::parse(&text), Ok(Destination { target, port }), "{text}");
    }
    for text in ["", "example.com:80", "127.0.0.1", "a.i2p:0", "a.i2p:x", "http://a.i2p/"] {
        assert!(Destination::parse(text).is_err(), "{text}");
    }
}

#[test]
fn early_data_travels_with_the_first_packet() {
    let mut rig = client();
    assert_eq!(rig.opened, [(Slot(0), Target::Name("irc.example.i2p".into()), 6667)]);
    rig.say("NICK x\r\n");
    assert_eq!(rig.sent(0), "NICK x\r\n");
    rig.opens(0).hears(0, "hello").say("more");
    assert_eq!((rig.heard().as_str(), rig.sent(0).as_str()), ("hello", "NICK x\r\nmore"));
}

#[test]
fn each_direction_closes_on_its_own() {
    for client_first in [true, false] {
        let mut rig = client();
        rig.opens(0);
        if client_first {
            rig.say("last").hang_up();
            assert!(rig.stream(0).finished && rig.local_closed.is_none());
            rig.hears(0, "answer").remote_closes(0);
        } else {
            rig.hears(0, "answer").remote_closes(0);
            assert!(rig.local_finished && rig.local_closed.is_none());
            rig.say("last").hang_up();
        }
        assert_eq!((rig.heard().as_str(), rig.sent(0).as_str()), ("answer", "last"));
        assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));

        let mut rig = server();
        rig.connected();
        if client_first {
            rig.hears(0, "last").remote_closes(0);
            assert!(rig.local_finished && rig.local_closed.is_none());
            rig.say("answer").hang_up();
        } else {
            rig.say("answer").hang_up();
            assert!(rig.stream(0).finished && rig.local_closed.is_none());
            rig.hears(0, "last").remote_closes(0);
        }
        assert_eq!((rig.heard().as_str(), rig.sent(0).as_str()), ("last", "answer"));
        assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    }
}

#[test]
fn a_close_waits_for_the_bytes_before_it() {
    let mut rig = client();
    rig.opens(0).streams_read = false;
    rig.say(vec![1; 10_000]).hang_up();
    assert!(!rig.stream(0).finished);
    rig.streams_read = true;
    rig.drain();
    assert!(rig.stream(0).finished && rig.stream(0).sent.len() == 10_000);
    // Even before the stream is open.
    let mut rig = client();
    rig.say("all I have").hang_up();
    assert!(rig.stream(0).finished && rig.local_closed.is_none());
    rig.opens(0).hears(0, "answer").remote_closes(0);
    assert_eq!(rig.heard(), "answer");
}

#[test]
fn a_server_connects_first_and_keeps_what_comes_meanwhile() {
    let mut rig = server();
    assert_eq!(rig.connects, 1);
    rig.hears(0, "early").remote_closes(0);
    assert!(rig.local.is_empty() && !rig.local_finished);
    rig.connected();
    assert_eq!(rig.heard(), "early");
    assert!(rig.local_finished);
    rig.say("answer").hang_up();
    assert_eq!((rig.sent(0).as_str(), rig.local_closed), ("answer", Some(false)));
}

#[test]
fn failures_break_the_other_side() {
    let mut rig = client();
    rig.say("x").fails(0, Failure::LeaseSetNotFound);
    assert_eq!(rig.local_closed, Some(true));
    let mut rig = client();
    rig.opens(0).local_fails(LocalFailure::Reset);
    assert_eq!(rig.stream(0).closed, Some(true));
    // What arrived before the break is delivered first.
    let mut rig = client();
    rig.opens(0).local_reads = false;
    rig.hears(0, "last words").fails(0, Failure::Reset);
    assert_eq!(rig.local_closed, None);
    rig.local_reads = true;
    rig.drain();
    assert_eq!((rig.heard().as_str(), rig.local_closed), ("last words", Some(true)));
    let mut rig = client();
    rig.opens(0).local_reads = false;
    rig.hears(0, "x").fails(0, Failure::Reset).local_fails(LocalFailure::Reset);

    for failure in [LocalFailure::Refused, LocalFailure::TimedOut] {
        let mut rig = server();
        rig.hears(0, "x").local_fails(failure);
        assert_eq!(rig.stream(0).closed, Some(true));
    }
    let mut rig = server();
    rig.hears(0, "x").fails(0, Failure::Reset);
    assert_eq!(rig.local_closed, Some(true), "while connecting");
    let mut rig = server();
    rig.connected().fails(0, Failure::Reset);
    assert_eq!(rig.local_closed, Some(true));
}

#[test]
fn deadlines() {
    let mut rig = client();
    rig.passes(STREAM_TIMEOUT - SECOND);
    assert_eq!(rig.local_closed, None);
    rig.passes(SECOND);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
    let mut rig = server();
    rig.passes(LOCAL_TIMEOUT);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
    // Open tunnels may be silent for ever, half-closed ones may not.
    let mut rig = client();
    rig.opens(0).passes(Duration::from_secs(1_000_000));
    assert_eq!(rig.local_closed, None);
    rig.hang_up().passes(STALL_TIMEOUT - SECOND).hears(0, "x");
    rig.passes(STALL_TIMEOUT - SECOND);
    assert_eq!(rig.local_closed, None);
    rig.passes(SECOND);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
    let mut rig = server();
    rig.connected().passes(Duration::from_secs(1_000_000)).remote_closes(0);
    assert_eq!(rig.local_closed, None);
    rig.passes(STALL_TIMEOUT);
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
}

#[test]
fn bytes_arrive_whole_through_small_rooms_and_buffers_stay_bounded() {
    let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i / 11) as u8).collect();
    for mut rig in [client(), server()] {
        rig.connected();
        if !rig.opened.is_empty() {
            rig.opens(0);
        }
        (rig.cut, rig.room) = (7000, 3000);
        rig.say(&bytes).hears(0, &bytes);
        assert!(rig.local == bytes && rig.stream(0).sent == bytes);
        (rig.local_reads, rig.streams_read) = (false, false);
        rig.cut = usize::MAX;
        rig.say(&bytes).hears(0, &bytes);
        let held = rig.machine.stream_room(Slot(0));
        assert_eq!(held, 0, "no more than {BUFFER} bytes");
        (rig.local_reads, rig.streams_read) = (true, true);
        rig.drain();
        assert_eq!((rig.local.len(), rig.stream(0).sent.len()), (2_000_000, 2_000_000));
    }
}

#[test]
fn a_shutdown_lets_a_tunnel_end_by_itself_and_ends_none_in_good_order() {
    let mut rig = client();
    rig.opens(0).hears(0, "half of ").shuts_down();
    assert!(!rig.local_finished && !rig.stream(0).finished);
    rig.say("go on").hears(0, "a file").remote_closes(0).hang_up();
    assert_eq!((rig.heard().as_str(), rig.sent(0).as_str()), ("half of a file", "go on"));
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(false), Some(false)));
    // Broken off by the owner.
    for mut rig in [client(), server()] {
        rig.connected().hears(0, "half of ").shuts_down().fails(0, Failure::ShuttingDown);
        assert_eq!((rig.local_closed, rig.local_finished), (Some(true), false));
    }
    let mut rig = server();
    rig.shuts_down();
    assert_eq!((rig.local_closed, rig.stream(0).closed), (Some(true), Some(true)));
}
