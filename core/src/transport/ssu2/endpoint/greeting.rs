//! Handshakes under way, and sessions that come of them.

use super::conn::Stage;
use super::{Endpoint, EndpointEvent};
use crate::time::{Instant, UnixTime};
use crate::transport::Peer;
use crate::transport::ssu2::handshake::initiator::{self, Answered};
use crate::transport::ssu2::handshake::responder::{self, Confirmed};
use crate::transport::ssu2::handshake::{Established, HandshakeError, Outcome, retry};
use crate::transport::ssu2::session::{Opening, Role, Session};
use crate::transport::ssu2::source_matches;
use crate::wire::ssu2::{ConnectionId, Header, LongKind, Reason, protect};
use alloc::boxed::Box;
use core::net::SocketAddr;
use log::trace;

/// What a packet did to a handshake.
enum Step {
    /// There is another packet to send.
    Again(Stage),
    /// More is to come.
    More(Stage),
    Failed(HandshakeError),
    Dialled(Box<initiator::Done>),
    Greeted(Box<responder::Done>),
}

impl Endpoint {
    /// A packet for a session that we know. True when it is of one that is up.
    pub(super) fn handle_known(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: ConnectionId,
        from: SocketAddr,
        packet: &mut [u8],
    ) -> bool {
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if let Stage::Up(session) = &mut conn.stage {
            let heard = session.heard();
            session.handle_packet(now, unix, from, packet);
            let heard = session.is_open() && session.heard() > heard;
            self.after(now, id);
            return heard;
        }
        self.handle_greeting(now, unix, id, from, packet);
        false
    }

    /// A packet for a handshake that we know.
    fn handle_greeting(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: ConnectionId,
        from: SocketAddr,
        packet: &mut [u8],
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if from != conn.remote {
            // Nobody moves in the middle of a handshake.
            self.stats.strays += 1;
            return;
        }
        // A SessionConfirmed under the wrong key looks like any packet now and then, but not like one that has the
        // ids, the network and the version.
        if let Stage::Greeting(state) = &conn.stage
            && let Ok(Header::Long(header)) = protect::peek(packet, id, self.local.intro())
            && header.kind == LongKind::SessionRequest
            && header.is_ours(self.local.net_id())
            && header.source == state.ids().theirs()
        {
            let _plain = protect::unprotect(packet, id, self.local.intro());
            if state.is_answer_to(packet) {
                // Our answer was lost, or is on its way.
                conn.resend.repeat(now);
                return self.after(now, id);
            }
            // With another token, it begins anew.
            let asked = retry::Asked { header, len: packet.len(), from };
            return self.handle_request(now, unix, &header, &asked, packet);
        }
        let rng = &mut self.rng;
        let stage = core::mem::replace(&mut conn.stage, Stage::Over);
        let step = match stage {
            Stage::Asking(state) => match state.handle(now, unix, packet, rng) {
                Outcome::Ignored(state, error) => Err((Stage::Asking(Box::new(state)), error)),
                Outcome::Next(next) => Ok(Step::Again(Stage::Requesting(Box::new(next)))),
                Outcome::Failed(error) => Ok(Step::Failed(error)),
            },
            Stage::Requesting(state) => match state.handle(now, unix, packet, rng) {
                Outcome::Ignored(state, error) => Err((Stage::Requesting(Box::new(state)), error)),
                Outcome::Next(Answered::Retried(next)) => {
                    Ok(Step::Again(Stage::Requesting(Box::new(next))))
                }
                Outcome::Next(Answered::Established(done)) => Ok(Step::Dialled(Box::new(done))),
                Outcome::Failed(error) => Ok(Step::Failed(error)),
            },
            Stage::Greeting(state) => match state.handle(now, unix, packet) {
                Outcome::Ignored(state, error) => Err((Stage::Greeting(Box::new(state)), error)),
                Outcome::Next(Confirmed::Incomplete(state)) => {
                    Ok(Step::More(Stage::Greeting(Box::new(state))))
                }
                Outcome::Next(Confirmed::Established(done)) => Ok(Step::Greeted(Box::new(done))),
                Outcome::Failed(error) => Ok(Step::Failed(error)),
            },
            stage @ (Stage::Up(_) | Stage::Over) => Err((stage, HandshakeError::Unexpected)),
        };
        match step {
            Ok(Step::Again(stage)) => {
                conn.stage = stage;
                conn.resend.restart(now);
            }
            Ok(Step::More(stage)) => conn.stage = stage,
            Ok(Step::Failed(error)) => self.fail(id, EndpointEvent::Failed(error)),
            Ok(Step::Dialled(done)) => self.dialled(now, unix, id, *done),
            Ok(Step::Greeted(done)) => self.greeted(now, unix, id, *done),
            Err((stage, error)) => {
                conn.stage = stage;
                trace!("ssu2: packet of a handshake ignored: {error}");
            }
        }
        self.after(now, id);
    }

    /// A handshake of ours is done.
    pub(super) fn dialled(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: ConnectionId,
        done: initiator::Done,
    ) {
        let initiator::Done { established, confirmed } = done;
        let Some(hash) = self.conns.get(&id).and_then(|conn| conn.peer) else { return };
        if let Some((expires, token)) = established.told.new_token {
            self.received.insert(now, unix, established.remote, expires, token);
        }
        let (skew, address) = (established.skew, established.told.address);
        self.open(now, id, established, Role::Initiator(confirmed));
        let event = EndpointEvent::Established { peer: Peer::Outbound(hash), skew, address };
        self.events.push_back((id, event));
    }

    /// Somebody proved who they are.
    pub(super) fn greeted(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: ConnectionId,
        done: responder::Done,
    ) {
        let responder::Done { established, info, flood, blocks, confirmed_key } = done;
        let (skew, remote) = (established.skew, established.remote);
        let address = established.told.address;
        let wrong = self.public && !source_matches(&info, remote.ip());
        self.open(now, id, established, Role::Responder(confirmed_key));
        let (token, left) = self.tokens.for_later(now, remote, &mut self.rng);
        let Some(Stage::Up(session)) = self.conns.get_mut(&id).map(|c| &mut c.stage) else {
            return;
        };
        if wrong {
            session.refuse(now, Reason::Banned);
            return self.limit_parting(id);
        }
        session.send_token(token.get(), (unix + left).as_secs());
        let peer = Peer::Inbound { info, flood };
        self.events.push_back((id, EndpointEvent::Established { peer, skew, address }));
        session.handle_confirmed(now, unix, &blocks);
    }

    pub(super) fn open(
        &mut self,
        now: Instant,
        id: ConnectionId,
        established: Established,
        role: Role,
    ) {
        let Established { ids, keys, intro, remote, mtu, rtt, .. } = established;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (ours, theirs, mtu) = (ids.ours(), ids.theirs(), mtu.min(self.mtu));
        let opening = Opening { ours, theirs, keys, intro, remote, mtu, rtt, role };
        let mut session = Session::new(now, opening, self.rng.fork("session"));
        session.adopt(now, core::mem::take(&mut conn.queue));
        conn.stage = Stage::Up(Box::new(session));
        self.forget_dial(id, remote);
    }

    /// A handshake came to nothing. Whoever began it with us is known to nobody.
    pub(super) fn fail(&mut self, id: ConnectionId, event: EndpointEvent) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        self.stats.failed += 1;
        if conn.peer.is_some() {
            self.events.push_back((id, event));
        }
        conn.stage = Stage::Over;
    }
}
