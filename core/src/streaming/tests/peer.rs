//! A peer that is played by hand, packet by packet, against the real thing.

use super::super::*;
use super::net::*;
use crate::rng::Seed;
use crate::wire::streaming::{Nacks, Packet};

/// A packet that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) sequence: u32,
    pub(super) through: u32,
    pub(super) nacks: Vec<u32>,
    pub(super) flags: Flags,
    pub(super) delay: Option<u16>,
    pub(super) payload: Vec<u8>,
    pub(super) kind: PacketKind,
}

impl Got {
    pub(super) fn has(&self, flag: Flags) -> bool {
        self.flags.has(flag)
    }
}

/// The peer, and the streams it plays with.
pub(super) struct Peer {
    pub(super) now: Instant,
    pub(super) streams: Streams,
    pub(super) local: Identity,
    pub(super) identity: Identity,
    pub(super) key: Arc<SigningKey>,
    /// Our name for the stream, and theirs.
    pub(super) name: u32,
    pub(super) theirs: u32,
    /// Say that packets come over the peer's session.
    pub(super) bound: bool,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self::with(StreamingConfig::default())
    }

    pub(super) fn with(config: StreamingConfig) -> Self {
        let mut rng = Rng::new(&Seed::from_number(99));
        let (local, key) = destination(&mut rng);
        let mut streams = Streams::new(local.clone(), key, config, rng.fork("streams"));
        streams.listen(0);
        let (identity, key) = destination(&mut rng);
        let now = Instant::ZERO + ms(1000);
        Self { now, streams, local, identity, key, name: 77, theirs: 0, bound: false }
    }

    /// The SYN of a stream that the peer opens.
    pub(super) fn syn<'a>(&'a self, recipient: &'a Hash, payload: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            receive_stream: self.name,
            nacks: Nacks::Recipient(recipient),
            flags: Flags::SYNCHRONIZE.with(Flags::NO_ACK),
            from: Some(&self.identity),
            max_size: Some(1812),
            sign: Some(&self.key),
            payload: [payload, &[]],
            ..Outgoing::default()
        }
    }

    /// A packet of an open stream.
    pub(super) fn packet<'a>(
        &self,
        sequence: u32,
        through: u32,
        payload: &'a [u8],
    ) -> Outgoing<'a> {
        Outgoing {
            send_stream: self.theirs,
            receive_stream: self.name,
            sequence,
            ack_through: through,
            payload: [payload, &[]],
            ..Outgoing::default()
        }
    }

    /// Answers a SYN.
    pub(super) fn answer(&mut self, payload: &[u8]) {
        let answer = encode(&Outgoing {
            flags: Flags::SYNCHRONIZE,
            from: Some(&self.identity),
            sign: Some(&self.key),
            ..self.packet(0, 0, payload)
        });
        self.send_bytes(&answer);
    }

    pub(super) fn send(&mut self, packet: &Outgoing<'_>) {
        let bytes = encode(packet);
        self.send_bytes(&bytes);
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        let session = self.bound.then(|| self.identity.hash());
        self.streams.handle_packet(self.now, UNIX, 5, 80, session, bytes);
    }

    /// Everything that comes back now.
    pub(super) fn recv(&mut self) -> Vec<Got> {
        let mut all = Vec::new();
        let mut bytes = Vec::new();
        while let Some(out) = self.streams.poll_packet(self.now, &mut bytes) {
            assert_eq!(out.to, self.identity.hash());
            let packet = Packet::decode(&bytes).unwrap();
            let options = packet.options(Some(&self.local)).unwrap();
            if packet.flags.has(Flags::SIGNATURE) {
                let key = self.local.signing_key();
                packet.verify(&options, key, None, UNIX).expect("our signature verifies");
            }
            if packet.is_syn() {
                self.theirs = packet.receive_stream;
            }
            all.push(Got {
                sequence: packet.sequence,
                through: packet.ack_through,
                nacks: if packet.is_syn() { Vec::new() } else { packet.nacks().collect() },
                flags: packet.flags,
                delay: options.delay,
                payload: packet.payload.to_vec(),
                kind: out.kind,
            });
            bytes.clear();
        }
        all
    }

    /// The one packet that comes back now.
    pub(super) fn recv_one(&mut self) -> Got {
        let mut all = self.recv();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Lets time pass, deadline by deadline; says what came back and when.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<(Instant, Got)> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.streams.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.streams.handle_timeout(self.now);
            all.extend(self.recv().into_iter().map(|got| (self.now, got)));
        }
        self.now = end;
        all
    }

    pub(super) fn events(&mut self) -> Vec<StreamEvent> {
        core::iter::from_fn(|| self.streams.poll_event()).collect()
    }

    /// Opens a stream to them and acknowledges their answer.
    pub(super) fn open(&mut self) -> StreamId {
        let recipient = self.local.hash();
        let syn = encode(&self.syn(&recipient, b""));
        self.send_bytes(&syn);
        assert_eq!(self.recv(), []);
        let answer = self.wait(ms(20));
        assert_eq!(answer.len(), 1);
        self.send(&self.packet(0, 0, b""));
        self.events();
        StreamId(self.theirs)
    }
}

pub(super) fn encode(packet: &Outgoing<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    bytes
}
