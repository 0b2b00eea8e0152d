//! Programs with a router inside, over loopback.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use ramson_core::router::output::Event;
use ramson_core::streaming::StreamingConfig;
use ramson_tokio::testing::{Network, network, network_with, router};
use ramson_tokio::{ConnectError, Destination, Failure, IncomingLimits, ListenError, Stream};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("within a minute")
}

/// A future that was polled once, and was not ready, and is dropped.
async fn cancelled<T>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending(), "not that soon");
        Poll::Ready(())
    })
    .await;
}

fn address(of: &Destination, port: u16) -> String {
    format!("{}:{port}", of.identity().b32_address())
}

/// A stream from alice to bob, both ends.
async fn pair(net: &Network) -> (Stream, Stream) {
    let mut listener = net.bob.listen(7).await.unwrap();
    let to = address(&net.bob, 7);
    let (near, far) = tokio::join!(net.alice.connect(&to), listener.accept());
    (near.unwrap(), far.unwrap())
}

/// Bytes that belong to stream `n` and no other.
fn content(n: u64, len: usize) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = n.to_be_bytes().to_vec();
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_at_once_and_every_byte_is_right() {
    const STREAMS: usize = 1000;
    const BYTES: usize = 20_000;
    let net = network().await.unwrap();
    let limits = IncomingLimits { all: STREAMS, one_remote: STREAMS };
    let mut streaming = StreamingConfig::default();
    streaming.max_streams = 2 * STREAMS;
    let open = |router: &ramson_tokio::Router, name| {
        let builder = router.destination(name).tunnels(net.tunnels);
        builder.incoming(limits).streaming(streaming.clone()).open()
    };
    let near = soon(open(&net.router, "near")).await.unwrap();
    let far = soon(open(&net.other, "far")).await.unwrap();
    let mut listener = far.listen(0).await.unwrap();
    let to = address(&far, 7);

    let begun = Instant::now();
    let all = Arc::new(Barrier::new(2 * STREAMS));
    let mut tasks = JoinSet::new();
    for n in 0..STREAMS as u64 {
        let (near, to, all) = (near.clone(), to.clone(), all.clone());
        tasks.spawn(async move {
            let mut stream = near.connect(&to).await.unwrap();
            stream.write_all(&n.to_be_bytes()).await.unwrap();
            all.wait().await;
            let (mut read, mut write) = tokio::io::split(stream);
            let sent = content(n, BYTES);
            let mut heard = vec![0; BYTES];
            let (said, listened) =
                tokio::join!(write.write_all(&sent), read.read_exact(&mut heard));
            said.unwrap();
            listened.unwrap();
            // The other side says the same backwards.
            heard.reverse();
            assert!(heard == sent, "{n}");
            write.shutdown().await.unwrap();
            assert_eq!(read.read(&mut heard).await.unwrap(), 0, "{n}: and nothing else");
            read.unsplit(write).closed().await.unwrap();
        });
    }
    for _ in 0..STREAMS {
        let mut stream = timeout(2 * PATIENCE, listener.accept()).await.unwrap().unwrap();
        let all = all.clone();
        tasks.spawn(async move {
            let n = stream.read_u64().await.unwrap();
            all.wait().await;
            let mut heard = vec![0; BYTES];
            stream.read_exact(&mut heard).await.unwrap();
            assert!(heard == content(n, BYTES), "{n}");
            heard.reverse();
            stream.write_all(&heard).await.unwrap();
            assert_eq!(stream.read(&mut heard).await.unwrap(), 0, "{n}: and nothing else");
            stream.shutdown().await.unwrap();
        });
    }
    println!("{STREAMS} streams open after {:?}", begun.elapsed());
    while let Some(done) = timeout(3 * PATIENCE, tasks.join_next()).await.expect("no stream hangs")
    {
        done.unwrap();
    }
    let bytes = 2 * STREAMS * BYTES;
    println!("{bytes} bytes and all ends after {:?}", begun.elapsed());
    let report = net.other.report().await.unwrap();
    let service = report.services.iter().find(|s| s.name == "far").unwrap();
    assert_eq!(service.refused, 0);
}

#[tokio::test]
async fn a_dropped_future_loses_nothing() {
    let net = network().await.unwrap();
    let mut listener = net.bob.listen(7).await.unwrap();
    let to = address(&net.bob, 7);
    cancelled(listener.accept()).await;
    // A connect that nobody waits for leaves no stream behind.
    cancelled(net.alice.connect(&to)).await;
    let mut near = soon(net.alice.connect(&to)).await.unwrap();
    let mut far = soon(listener.accept()).await.unwrap();

    let mut byte = [0];
    cancelled(far.read(&mut byte)).await;
    let sent = content(1, 300_000);
    let write = async {
        let mut rest = sent.as_slice();
        while !rest.is_empty() {
            // Each write is given up as soon as it has to wait, and tried again.
            let written = timeout(Duration::from_millis(1), near.write(rest)).await;
            rest = &rest[written.map_or(0, Result::unwrap)..];
        }
        near.shutdown().await.unwrap();
    };
    let read = async {
        let mut heard = Vec::new();
        loop {
            let read = timeout(Duration::from_millis(1), far.read_buf(&mut heard)).await;
            if read.is_ok_and(|n| n.unwrap() == 0) {
                return heard;
            }
        }
    };
    let ((), heard) = soon(async { tokio::join!(write, read) }).await;
    assert!(heard == sent);

    cancelled(net.bob.receive()).await;
    net.alice.send(&to, b"one").await.unwrap();
    net.alice.send(&to, b"two").await.unwrap();
    let (one, two) = soon(async { tokio::join!(net.bob.receive(), net.bob.receive()) }).await;
    let mut got = [one.unwrap().payload, two.unwrap().payload];
    got.sort();
    assert_eq!(got, [b"one".to_vec(), b"two".to_vec()]);
    // Nobody holds the sender by the time it goes.
    let brief = net.router.destination("brief").tunnels(net.tunnels).open().await.unwrap();
    brief.send(&to, b"three").await.unwrap();
    drop(brief);
    assert_eq!(soon(net.bob.receive()).await.unwrap().payload, b"three");
    cancelled(net.alice.look_up(&net.bob.identity().b32_address())).await;
    let found = soon(net.alice.look_up(&net.bob.identity().b32_address())).await.unwrap();
    assert_eq!(&found, net.bob.identity());
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_reset_unless_it_was_finished() {
    let net = network().await.unwrap();
    let (mut near, mut far) = pair(&net).await;
    near.write_all(b"half of").await.unwrap();
    near.flush().await.unwrap();
    let mut heard = [0; 7];
    soon(far.read_exact(&mut heard)).await.unwrap();
    drop(near);
    let e = soon(far.read(&mut heard)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
    let inner = e.get_ref().unwrap().downcast_ref::<Failure>();
    assert_eq!(inner, Some(&Failure::Reset));
    assert_eq!(far.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(soon(far.closed()).await, Err(Failure::Reset));

    // What a finished one had still goes, however much, and even when the destination goes too.
    let own = net.router.destination("short").tunnels(net.tunnels).open().await.unwrap();
    let mut listener = net.bob.listen(8).await.unwrap();
    let mut near = soon(own.connect(&address(&net.bob, 8))).await.unwrap();
    let mut far = soon(listener.accept()).await.unwrap();
    let sent = content(2, 400_000);
    let send = async {
        near.write_all(&sent).await.unwrap();
        near.shutdown().await.unwrap();
        assert_eq!(near.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop((near, own));
    };
    let mut heard = Vec::new();
    let ((), read) = soon(async { tokio::join!(send, far.read_to_end(&mut heard)) }).await;
    read.unwrap();
    assert!(heard == sent);
    drop(far);
    // Then it is closed.
    for _ in 0..400 {
        let report = net.router.report().await.unwrap();
        if report.services.iter().all(|s| s.name != "short") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it lingers");
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_writer() {
    let net = network().await.unwrap();
    let (mut near, mut far) = pair(&net).await;
    let sent = content(3, 8 << 20);
    let mut written = 0;
    // All buffers on the way hold less than that.
    while let Ok(n) = timeout(Duration::from_secs(3), near.write(&sent[written..])).await {
        written += n.unwrap();
        assert!(written < 4 << 20, "no end of it");
    }
    assert!(written > 100_000, "{written}");
    let rest = async {
        near.write_all(&sent[written..]).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let begun = Instant::now();
    let both = async { tokio::join!(rest, far.read_to_end(&mut heard)) };
    let ((), read) = timeout(3 * PATIENCE, both).await.unwrap();
    read.unwrap();
    assert!(heard == sent);
    println!("{} bytes in {:?}", sent.len(), begun.elapsed());
}

#[tokio::test]
async fn a_closed_destination_ends_what_waits_on_it() {
    let net = network().await.unwrap();
    let (mut near, mut far) = pair(&net).await;
    let mut listener = net.bob.listen(7).await.unwrap();
    assert_eq!(net.bob.listen(7).await.err(), Some(ListenError::InUse));
    drop(listener);
    listener = net.bob.listen(7).await.unwrap();
    let bob = net.bob.clone();
    let nobody = format!("{}.b32.i2p", "a".repeat(52));
    let waits = async {
        tokio::join!(
            listener.accept(),
            bob.receive(),
            far.read_u8(),
            bob.look_up(&nobody),
            bob.connect(&nobody)
        )
    };
    let close = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        net.bob.clone().close();
    };
    let ((accepted, received, read, found, connected), ()) =
        soon(async { tokio::join!(waits, close) }).await;
    assert!(accepted.is_none());
    let closed = Some(ConnectError::Failed(Failure::ShuttingDown));
    assert_eq!((found.err(), connected.err()), (closed, closed));
    assert_eq!(received.err(), Some(Failure::ShuttingDown));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    let e = soon(near.read_u8()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionReset);
    assert_eq!(bob.listen(7).await.err(), Some(ListenError::Closed));
    let nobody = soon(bob.connect(&address(&net.alice, 1))).await.err();
    assert_eq!(nobody, Some(ConnectError::Failed(Failure::ShuttingDown)));
    assert_eq!(bob.ready().await, Err(Failure::ShuttingDown));
    let report = net.other.report().await.unwrap();
    assert!(report.services.is_empty() && report.pools.len() == 1);
}

#[tokio::test]
async fn searches_that_nobody_waits_for_any_more_take_no_place() {
    let net = network().await.unwrap();
    let mut streaming = StreamingConfig::default();
    streaming.max_streams = 3;
    let builder = net.router.destination("few").tunnels(net.tunnels).streaming(streaming);
    let few = builder.open().await.unwrap();
    few.ready().await.unwrap();
    let _listener = net.bob.listen(7).await.unwrap();
    for n in 0..5 {
        let nobody = format!("{}{}.b32.i2p", ["b", "c", "d", "e", "f"][n], "a".repeat(51));
        let search = few.look_up(&nobody);
        assert!(tokio::time::timeout(Duration::from_millis(20), search).await.is_err());
    }
    let _stream = soon(few.connect(&address(&net.bob, 7))).await.unwrap();
}

#[tokio::test]
async fn streams_that_were_reset_before_they_were_accepted_are_passed_over() {
    let net = network().await.unwrap();
    let mut listener = net.bob.listen(7).await.unwrap();
    for _ in 0..600 {
        // When all places are taken it is reset at once; and without a shutdown when it is dropped.
        if let Ok(mut stream) = soon(net.alice.connect(&address(&net.bob, 7))).await {
            let _was_reset = stream.write_all(b"I was here").await;
        }
    }
    let mut good = None;
    // Those before it fill the queue until somebody accepts.
    let accept = async {
        let mut stream = listener.accept().await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.map(|_| text)
    };
    let connect = async {
        loop {
            if let Ok(mut stream) = net.alice.connect(&address(&net.bob, 7)).await
                && stream.write_all(b"and I stay").await.is_ok()
                && stream.shutdown().await.is_ok()
            {
                good = Some(stream);
                return;
            }
        }
    };
    let (heard, ()) = soon(async { tokio::join!(accept, connect) }).await;
    assert_eq!(heard.unwrap(), b"and I stay");
    drop(good);
}

#[tokio::test]
async fn a_stop_resets_streams_too_that_were_finished_and_left() {
    let net = network().await.unwrap();
    let (near, mut far) = pair(&net).await;
    // More than arrives while nobody reads.
    let len = 525_000;
    let write = async move {
        let mut near = near;
        near.write_all(&vec![7; len]).await?;
        near.shutdown().await
    };
    soon(write).await.unwrap();
    net.router.shutdown().await;
    let mut all = Vec::new();
    let read = soon(far.read_to_end(&mut all)).await;
    assert!(all.len() < len, "{} bytes were there already", all.len());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_shutdown_ends_everything_within_two_seconds() {
    let net = network().await.unwrap();
    let (near, mut far) = pair(&net).await;
    let mut events = net.other.events();
    let begun = Instant::now();
    let (mut listener, bob) = (net.bob.listen(9).await.unwrap(), net.bob.clone());
    let nobody = format!("{}.b32.i2p", "a".repeat(52));
    let waits = async {
        tokio::join!(listener.accept(), bob.receive(), far.read_u8(), bob.connect(&nobody))
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        net.other.shutdown().await;
    };
    let ((accepted, received, read, connected), ()) =
        soon(async { tokio::join!(waits, stop) }).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(accepted.is_none() && received.is_err());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert_eq!(connected.err(), Some(ConnectError::Failed(Failure::ShuttingDown)));
    assert_eq!(events.recv().await.unwrap(), Event::Stopped);
    assert!(events.recv().await.is_err());
    assert!(net.other.report().await.is_none());
    assert!(net.bob.listen(1).await.is_err() && net.bob.send("a.i2p", b"x").await.is_err());
    assert!(net.other.destination("late").open().await.is_err());
    // The remote was told.
    let mut near = near;
    assert_eq!(soon(near.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_router_lives_as_long_as_somebody_uses_it() {
    let (router, _store) = router(&[]).await.unwrap();
    let stopped = router.clone();
    let destination = router.destination("one").open().await.unwrap();
    let mut listener = destination.listen(0).await.unwrap();
    drop((router, destination));
    assert!(stopped.report().await.is_some());
    let mut events = stopped.events();
    drop(stopped);
    // Only the listener is left.
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancelled(listener.accept()).await;
    while let Ok(event) = events.try_recv() {
        assert_ne!(event, Event::Stopped);
    }
    drop(listener);
    while soon(events.recv()).await.unwrap() != Event::Stopped {}
}

#[tokio::test]
async fn without_ntcp2_a_stream_goes_over_ssu2() {
    let net = soon(network_with(|config| config.ntcp2.enabled = false)).await.unwrap();
    for router in [&net.router, &net.other, &net.third] {
        let report = router.report().await.unwrap();
        let styles: Vec<_> = report.addresses.iter().map(|a| a.style.as_str()).collect();
        assert_eq!(styles, ["SSU2"]);
        assert!(report.peers.inbound + report.peers.outbound > 0);
    }
    let (mut near, mut far) = soon(pair(&net)).await;
    // More than one window, and more than one train.
    let sent = content(1, 300_000);
    let mut heard = vec![0; sent.len()];
    let both = async { tokio::join!(near.write_all(&sent), far.read_exact(&mut heard)) };
    let (said, listened) = soon(both).await;
    said.unwrap();
    listened.unwrap();
    assert!(heard == sent);

    let begun = Instant::now();
    for router in [&net.router, &net.other, &net.third] {
        soon(router.shutdown()).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
