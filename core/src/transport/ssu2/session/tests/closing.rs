//! How sessions end.

use super::super::*;
use super::net::*;

#[test]
fn both_sides_learn_of_the_end_though_goodbyes_get_lost() {
    for seed in 0..40 {
        let loss = [0, 300][(seed % 2) as usize];
        let mut net = Net::new(seed, Link { delay: ms(30), loss, ..Link::default() });
        net.run(ms(2_000));
        let now = net.now;
        net.sessions[0].close(now, Reason::Shutdown);
        net.sessions[0].close(now, Reason::Idle);
        net.run(ms(5_000));
        assert_eq!(net.ended(0), Some(Ok(Reason::Shutdown)), "seed {seed}");
        assert!(net.sessions[0].is_closed(), "seed {seed}");
        if loss == 0 {
            assert_eq!(net.ended(1), Some(Err(SessionError::Terminated(Reason::Shutdown))));
            assert!(net.sessions[1].is_closed());
        }
        let after = net.sessions[0].queue(net.now, message(1, 1), Priority::Own);
        assert_eq!(after, Err(Full::Closed));
        net.run(ms(200_000));
        assert!(net.sessions[1].is_closed(), "seed {seed}");
        assert!(net.sessions.iter().all(|s| s.poll_timeout().is_none()), "seed {seed}");
    }
}

#[test]
fn a_silent_peer_is_given_up_in_time() {
    let mut net = Net::new(1, Link { delay: ms(30), ..Link::default() });
    net.run(ms(1_000));
    net.links[1].cut = true;
    net.send(0, 1, 100);
    net.run(ms(14_000));
    assert_eq!(net.ended(0), None);
    net.run(ms(10_000));
    assert_eq!(net.ended(0), Some(Err(SessionError::Silent)));
    // Four tries at first, then one every four seconds: nobody is flooded.
    assert!(net.sessions[0].stats().packets_out < 15);
}

#[test]
fn who_never_confirms_is_given_up_and_who_says_nothing_is_idle() {
    let mut net = Net::new(1, Link { delay: ms(30), cut: true, ..Link::default() });
    net.run(CONFIRM_TIMEOUT + ms(1));
    assert_eq!(net.ended(0), Some(Err(SessionError::Silent)));

    let mut net = Net::new(2, Link { delay: ms(30), ..Link::default() });
    net.run(IDLE_TIMEOUT - IDLE_JITTER - ms(1_000));
    assert_eq!((net.ended(0), net.ended(1)), (None, None));
    net.run(IDLE_JITTER * 2 + ms(5_000));
    assert!(net.ended(0).is_some() && net.ended(1).is_some());
    assert!(net.sessions.iter().all(Session::is_closed));
}

/// Our goodbye to a goodbye gets lost: it goes again when the peer's does.
#[test]
fn a_goodbye_is_answered_as_often_as_it_comes() {
    let mut net = Net::new(1, Link { delay: ms(30), ..Link::default() });
    net.run(ms(2_000));
    net.links[0].cut = true;
    let now = net.now;
    net.sessions[0].close(now, Reason::Shutdown);
    net.run(ms(100));
    net.links[0].cut = false;
    net.run(ms(1_000));
    assert!(net.sessions[0].is_closed());
}

/// Acknowledgements are not acknowledged: two idle sessions are silent.
#[test]
fn silence_is_silent() {
    let mut net = Net::new(1, Link { delay: ms(30), ..Link::default() });
    net.send(0, 1, 100);
    net.run(ms(5_000));
    let before = net.sessions.each_ref().map(|s| s.stats().packets_out);
    net.run(ms(60_000));
    assert_eq!(net.sessions.each_ref().map(|s| s.stats().packets_out), before);
}
