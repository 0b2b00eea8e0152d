//! Who is not known yet: tokens, requests, and their limits.

use super::conn::{Conn, Resend, Stage};
use super::{
    Endpoint, GREETING_TIMEOUT, MAX_ANSWERS, MAX_GREETING, MAX_GREETING_PER_PREFIX, REQUEST,
};
use crate::time::{Instant, UnixTime};
use crate::transport::prefix;
use crate::transport::ssu2::handshake::responder::Request;
use crate::transport::ssu2::handshake::retry;
use crate::wire::ssu2::{ConnectionId, Header, LongHeader, LongKind, Reason, protect};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use log::{debug, trace};

impl Endpoint {
    /// A packet for nobody: somebody may want to talk to us.
    pub(super) fn handle_stranger(
        &mut self,
        now: Instant,
        unix: UnixTime,
        id: ConnectionId,
        from: SocketAddr,
        packet: &mut [u8],
    ) {
        let len = packet.len();
        let header = match protect::unprotect(packet, id, self.local.intro()) {
            Ok(Header::Long(header)) if header.is_ours(self.local.net_id()) => header,
            Ok(_) | Err(_) => {
                self.stats.strays += 1;
                return;
            }
        };
        let asked = retry::Asked { header, len, from };
        match header.kind {
            LongKind::TokenRequest => {
                match retry::token_request(&self.local, unix, &header, packet) {
                    Ok(_) => self.answer(now, unix, &asked, None),
                    Err(error) => match error.reason() {
                        Some(reason) => self.answer(now, unix, &asked, Some(reason)),
                        None => self.stats.strays += 1,
                    },
                }
            }
            LongKind::SessionRequest => self.handle_request(now, unix, &header, &asked, packet),
            LongKind::SessionCreated
            | LongKind::Retry
            | LongKind::PeerTest
            | LongKind::HolePunch => self.stats.strays += 1,
        }
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        unix: UnixTime,
        header: &LongHeader,
        asked: &retry::Asked,
        packet: &mut [u8],
    ) {
        // No key exchange before it is shown that the peer receives at its address.
        let token = match self.tokens.check(now, asked.from, header.token) {
            Ok(token) => token,
            Err(error) => {
                trace!("ssu2: {error}");
                return self.answer(now, unix, asked, None);
            }
        };
        if self.may_greet.available(now) < REQUEST {
            self.stats.withheld += 1;
            return;
        }
        self.may_greet.take(REQUEST);
        let (local, tokens) = (self.local.clone(), &mut self.tokens);
        let request = match Request::open(local, tokens, token, header, packet, unix) {
            Ok(request) => request,
            Err(error) => {
                if let Some(reason) = error.reason() {
                    self.answer(now, unix, asked, Some(reason));
                }
                return;
            }
        };
        match request.create(now, unix, None, &mut self.rng) {
            Ok(state) => {
                let id = state.ids().ours();
                self.remove(id);
                self.make_room(asked.from.ip());
                let stage = Stage::Greeting(Box::new(state));
                let resend = Resend::new(now, GREETING_TIMEOUT);
                self.conns.insert(id, Conn::new(asked.from, None, stage, resend));
                self.after(now, id);
            }
            Err(error) => debug!("ssu2: no SessionCreated: {error}"),
        }
    }

    /// Sends a Retry, unless too many went lately.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        unix: UnixTime,
        asked: &retry::Asked,
        no: Option<Reason>,
    ) {
        if self.answers.len() >= MAX_ANSWERS || self.may_answer.available(now) == 0 {
            self.stats.withheld += 1;
            return;
        }
        let answer = match no {
            Some(reason) => retry::Answer::Refused(reason),
            None => retry::Answer::Token(self.tokens.for_retry(now, asked.from, &mut self.rng)),
        };
        let mut packet = Vec::new();
        match retry::retry(&self.local, asked, answer, unix, &mut self.rng, &mut packet) {
            Ok(()) => {
                self.may_answer.take(packet.len());
                self.stats.retries += 1;
                self.answers.push_back((asked.from, packet));
            }
            Err(_) => self.stats.strays += 1,
        }
    }

    /// Makes room for a handshake with somebody at `ip`.
    pub(super) fn make_room(&mut self, ip: IpAddr) {
        let greeting = |c: &Conn| matches!(c.stage, Stage::Greeting(_));
        let mut counts = BTreeMap::<u128, usize>::new();
        for conn in self.conns.values().filter(|c| greeting(c)) {
            *counts.entry(prefix(conn.remote.ip())).or_default() += 1;
        }
        let own = prefix(ip);
        let all: usize = counts.values().sum();
        let near = counts.get(&own).copied().unwrap_or(0);
        let crowded = if self.public && near >= MAX_GREETING_PER_PREFIX {
            Some(own)
        } else if all >= MAX_GREETING {
            counts.iter().max_by_key(|(_, count)| **count).map(|(crowded, _)| *crowded)
        } else {
            None
        };
        let Some(crowded) = crowded else { return };
        let oldest = self
            .conns
            .iter()
            .filter(|(_, c)| greeting(c) && prefix(c.remote.ip()) == crowded)
            .min_by_key(|(_, c)| c.resend.until());
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.stats.crowded_out += 1;
            self.remove(id);
        }
    }
}
