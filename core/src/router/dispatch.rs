//! Where each I2NP message goes, by what it is and by how it came (specification `i2np`).

use super::Router;
use super::lookups::{Added, Pending};
use crate::netdb::profile::Outcome;
use crate::netdb::{Context, Origin};
use crate::time::{Instant, UnixTime};
use crate::transport::peers::{NotDialled, PeerEvent};
use crate::transport::queue::Priority;
use crate::tunnel::PoolId;
use crate::wire::garlic::{Clove, Delivery};
use crate::wire::hash::Hash;
use crate::wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, Message, MessageType,
    StoreEntry,
};
use core::time::Duration;

/// A message this long past its expiration is dropped, ...
const MAX_LATE: Duration = Duration::from_secs(60);
/// ... and so is one whose expiration is further ahead than this.
const MAX_EARLY: Duration = Duration::from_secs(180);

/// How a message came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// From a peer's session.
    Peer(Hash),
    /// In garlic for the router, from whoever it was; this peer passed it on.
    Garlic(Option<Hash>),
    /// For us as the router that somebody's tunnel ends at, or from ourselves, through a tunnel
    /// without hops.
    Own,
    /// Out of an inbound tunnel of this pool. Anybody who knows its gateway may have sent it.
    Tunnel(PoolId),
    /// Encrypted with what this pool gave along with a question.
    Reply(PoolId),
}

impl Router {
    pub(super) fn handle_peer_event(&mut self, now: Instant, event: PeerEvent) {
        let unix = self.clock.unix(now);
        match event {
            PeerEvent::Up { peer, info, dialled } => {
                if let Some(info) = info
                    && let Err(e) = self.netdb.handle_peer_info(now, unix, info)
                {
                    log::debug!("RouterInfo of {peer:?}: {e}");
                }
                if dialled {
                    self.netdb.report(now, unix, peer, Outcome::Connected);
                }
                self.send_pending(now, peer);
            }
            PeerEvent::Down { peer } => {
                log::debug!("session with {peer:?} is over");
                self.tunnels.handle_disconnected(now, unix, peer);
            }
            PeerEvent::Unreachable { peer, blame } => {
                if blame {
                    self.netdb.report(now, unix, peer, Outcome::ConnectFailed);
                }
                self.tunnels.handle_unreachable(now, unix, peer, blame);
                self.netdb.handle_unreachable(now, unix, peer);
                self.pending.remove(&peer);
            }
            PeerEvent::Skewed { peer, seconds } => {
                log::debug!(
                    "the clock of peer {peer:?} differs by {seconds} s: no session; if many do, \
                     this machine's clock is wrong"
                );
            }
            PeerEvent::Message { from, message } => {
                if let Some(message) = self.conducted(message, |c, m| c.receive(now, &from, m)) {
                    self.handle_message(now, unix, Via::Peer(from), message);
                }
            }
            PeerEvent::RouterInfo { from, info } => {
                let result = if from == info.hash() {
                    self.netdb.handle_peer_info(now, unix, info)
                } else {
                    let store = DatabaseStore { reply: None, entry: StoreEntry::RouterInfo(info) };
                    self.netdb.handle_store(now, unix, Context::ROUTER, Some(from), store)
                };
                if let Err(e) = result {
                    log::debug!("RouterInfo from {from:?}: {e}");
                }
            }
        }
    }

    /// A message came out of one of our inbound tunnels.
    /// (`pool` None: for the router, as if it had come directly.)
    pub(super) fn handle_received(&mut self, now: Instant, pool: Option<PoolId>, message: Message) {
        let unix = self.clock.unix(now);
        self.handle_message(now, unix, pool.map_or(Via::Own, Via::Tunnel), message);
    }

    /// Delivers a message to a router: over its session, or after finding and dialling it. False
    /// when it is lost already; when dialling fails later, [`PeerEvent::Unreachable`] says so.
    pub(super) fn send_to(
        &mut self,
        now: Instant,
        to: Hash,
        message: Message,
        priority: Priority,
    ) -> bool {
        if to == self.hash() {
            let unix = self.clock.unix(now);
            self.handle_message(now, unix, Via::Own, message);
            return true;
        }
        if self.stopping.is_goodbye() {
            // Goodbye was said; nobody is dialled again.
            return false;
        }
        let Some(message) = self.conducted(message, |c, m| c.send(now, &to, m)) else {
            return true;
        };
        let Err(message) = self.peers.send(now, &to, message, priority) else { return true };
        let info = self.netdb.router(&to).cloned();
        if let Some(info) = info {
            let unix = self.clock.unix(now);
            match self.peers.dial(now, unix, &info) {
                Ok(()) => return self.peers.send(now, &to, message, priority).is_ok(),
                // That a dial failed was reported then; here it is only not repeated. Our own
                // tunnels that begin there are of no use; those of others are their business.
                Err(NotDialled::FailedLately | NotDialled::NoAddress) => {
                    if priority != Priority::Transit {
                        let unix = self.clock.unix(now);
                        self.tunnels.handle_unreachable(now, unix, to, false);
                    }
                }
                Err(NotDialled::NoRoom) => log::debug!("no room for a session with {to:?}"),
            }
            return false;
        }
        match Pending::add(&mut self.pending, now, to, message, priority) {
            Added::First => self.look_up_router(now, to),
            Added::Another => {}
            Added::NoRoom => return false,
        }
        true
    }

    pub(super) fn handle_message(
        &mut self,
        now: Instant,
        unix: UnixTime,
        via: Via,
        message: Message,
    ) {
        let kind = message.kind;
        // Cells live by their tunnel; their senders set the expiration as they like.
        if kind != MessageType::TUNNEL_DATA
            && (message.expires + MAX_LATE < unix || message.expires > unix + MAX_EARLY)
        {
            log::debug!("message of type {} with a bad expiration dropped", kind.0);
            return;
        }
        match kind {
            MessageType::TUNNEL_DATA
            | MessageType::TUNNEL_GATEWAY
            | MessageType::TUNNEL_BUILD
            | MessageType::TUNNEL_BUILD_REPLY
            | MessageType::VARIABLE_TUNNEL_BUILD
            | MessageType::VARIABLE_TUNNEL_BUILD_REPLY
            | MessageType::SHORT_TUNNEL_BUILD
            | MessageType::OUTBOUND_TUNNEL_BUILD_REPLY => match via {
                Via::Peer(_) | Via::Garlic(_) | Via::Own => {
                    let _taken = self.tunnels.handle_message(now, unix, peer(via), message);
                }
                Via::Tunnel(_) | Via::Reply(_) => {
                    log::debug!("type {} out of a tunnel dropped", kind.0);
                }
            },
            MessageType::GARLIC => self.handle_garlic(now, unix, via, message),
            MessageType::DELIVERY_STATUS => self.handle_delivery_status(now, unix, via, &message),
            MessageType::DATABASE_STORE => self.handle_store(now, unix, via, &message.body),
            // All our questions through tunnels ask for an encrypted answer. What comes otherwise and
            // names nobody was made by somebody who wants us to believe that a floodfill had spoken.
            MessageType::DATABASE_SEARCH_REPLY if !is_answer(via) => {
                log::debug!("search reply that nobody asked for dropped");
            }
            MessageType::DATABASE_SEARCH_REPLY => {
                match DatabaseSearchReply::decode(&message.body) {
                    Ok(reply) => {
                        let (ctx, from) = (context(via), peer(via));
                        self.netdb.handle_search_reply(now, unix, ctx, from, &reply);
                    }
                    Err(e) => log::debug!("search reply dropped: {e}"),
                }
            }
            MessageType::DATABASE_LOOKUP => match (via, DatabaseLookup::decode(&message.body)) {
                (Via::Peer(_) | Via::Garlic(_) | Via::Own, Ok(lookup)) => {
                    self.netdb.handle_lookup(now, unix, peer(via), lookup);
                }
                // Who knows our tunnels must not learn whose they are.
                (Via::Tunnel(_) | Via::Reply(_), Ok(_)) => {}
                (_, Err(e)) => log::debug!("lookup dropped: {e}"),
            },
            _ => log::debug!("message of type {} dropped", kind.0),
        }
    }

    fn handle_garlic(&mut self, now: Instant, unix: UnixTime, via: Via, mut message: Message) {
        let pool = match via {
            Via::Tunnel(pool) | Via::Reply(pool) => pool,
            Via::Peer(_) | Via::Garlic(_) | Via::Own => PoolId::EXPLORATORY,
        };
        if matches!(via, Via::Garlic(_) | Via::Reply(_)) {
            log::debug!("garlic inside garlic dropped");
            return;
        }
        let body = &mut message.body;
        if let Some(tags) = self.reply_tags.get_mut(&pool.0)
            && let Some(opened) = tags.open(now, body)
        {
            match opened {
                Ok(cloves) => self.handle_cloves(now, unix, Via::Reply(pool), cloves),
                Err(e) => log::debug!("reply dropped: {e}"),
            }
            return;
        }
        if pool != PoolId::EXPLORATORY {
            self.apps.handle_garlic(now, unix, pool, body);
            return;
        }
        // What is for the router comes from the end of somebody's tunnel, never out of ours: whoever
        // got an answer that way would know whose tunnel it is.
        if let Via::Tunnel(_) = via {
            log::debug!("garlic that nobody asked for came out of a tunnel: dropped");
            return;
        }
        match self.garlic.open(unix, body) {
            Ok(cloves) => self.handle_cloves(now, unix, Via::Garlic(peer(via)), cloves),
            Err(e) => log::debug!("garlic message dropped: {e}"),
        }
    }

    /// What was in garlic for the router, or in an answer to what a pool asked.
    fn handle_cloves(
        &mut self,
        now: Instant,
        unix: UnixTime,
        via: Via,
        cloves: alloc::vec::Vec<Clove>,
    ) {
        for Clove { delivery, message } in cloves {
            match delivery {
                Delivery::Local => {
                    // An answer holds no garlic of its own.
                    if message.kind != MessageType::GARLIC
                        && let Some(message) = self.conducted(message, |c, m| c.unwrap(now, m))
                    {
                        self.handle_message(now, unix, via, message);
                    }
                }
                Delivery::Tunnel { .. } | Delivery::Router(_) | Delivery::Destination(_) => {
                    log::debug!("clove that is not for the router dropped");
                }
            }
        }
    }

    /// A DeliveryStatus ends a tunnel test or confirms a store; its id tells which.
    fn handle_delivery_status(
        &mut self,
        now: Instant,
        unix: UnixTime,
        via: Via,
        message: &Message,
    ) {
        let Ok(status) = DeliveryStatus::decode(&message.body) else {
            log::debug!("delivery status dropped");
            return;
        };
        if !self.netdb.handle_delivery_status(now, unix, context(via), status.id) {
            log::debug!("delivery status for nothing of ours");
        }
    }

    /// A message for the router came to one of our destinations: the answer to something of ours.
    pub(super) fn handle_end_to_end(&mut self, now: Instant, pool: PoolId, message: &Message) {
        let unix = self.clock.unix(now);
        match message.kind {
            MessageType::DELIVERY_STATUS => {
                self.handle_delivery_status(now, unix, Via::Tunnel(pool), message);
            }
            kind => log::debug!("end-to-end message of type {} dropped", kind.0),
        }
    }

    fn handle_store(&mut self, now: Instant, unix: UnixTime, via: Via, body: &[u8]) {
        let store = match DatabaseStore::decode(body) {
            Ok(store) => store,
            Err(e) => {
                log::debug!("store dropped: {e}");
                return;
            }
        };
        let origin = match via {
            Via::Peer(peer) => Some(Origin::Peer(peer)),
            Via::Garlic(hop) => Some(Origin::Hidden(hop)),
            Via::Own => Some(Origin::Hidden(None)),
            Via::Reply(_) => None,
            Via::Tunnel(_) => {
                log::debug!("store out of a tunnel dropped");
                return;
            }
        };
        let result = match origin {
            Some(origin) => self.netdb.handle_published(now, unix, origin, store),
            None => self.netdb.handle_store(now, unix, context(via), None, store),
        };
        if let Err(e) = result {
            log::debug!("store refused: {e}");
        }
    }
}

/// Whether a netdb message that came so can be the answer to a question of ours.
const fn is_answer(via: Via) -> bool {
    match via {
        Via::Peer(_) | Via::Reply(_) => true,
        Via::Garlic(_) | Via::Own | Via::Tunnel(_) => false,
    }
}

/// The peer that sent it over its session.
const fn peer(via: Via) -> Option<Hash> {
    match via {
        Via::Peer(from) => Some(from),
        Via::Garlic(_) | Via::Own | Via::Tunnel(_) | Via::Reply(_) => None,
    }
}

/// Whose question an answer belongs to: that of the pool it came through.
const fn context(via: Via) -> Context {
    match via {
        Via::Tunnel(pool) | Via::Reply(pool) => Context(pool.0),
        Via::Peer(_) | Via::Garlic(_) | Via::Own => Context::ROUTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Floodfill};
    use crate::crypto::Key32;
    use crate::garlic;
    use crate::rng::{Rng, Seed};
    use crate::router::input::Stored;
    use crate::wire::i2np::{LookupType, ReplyEncryption};
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    const UNIX: UnixTime = UnixTime::from_secs(1_750_000_000);

    fn floodfill() -> Router {
        let mut config = Config::default();
        config.network.allow_local = true;
        config.ntcp2.host = Some([127, 0, 0, 1].into());
        config.ntcp2.port = Some(1234);
        config.netdb.floodfill = Floodfill::On;
        let seed = Seed::from_number(1);
        Router::new(Arc::new(config), Stored::default(), seed, Instant::ZERO, UNIX).unwrap()
    }

    /// A lookup in garlic for `router`, as its clients send it through their tunnels.
    fn question(router: &Router, rng: &mut Rng) -> Message {
        let lookup = DatabaseLookup {
            key: Hash([1; 32]),
            from: Hash([2; 32]),
            reply_tunnel: Some(7),
            kind: LookupType::LeaseSet,
            exclude: Vec::new(),
            encryption: ReplyEncryption::Ecies { key: Key32::new([3; 32]), tag: [4; 8] },
        };
        let mut body = Vec::new();
        lookup.encode(&mut body);
        let expires = UNIX + Duration::from_secs(10);
        let message = Message { kind: MessageType::DATABASE_LOOKUP, id: 5, expires, body };
        let key = router.info.identity().x25519_key().unwrap();
        let clove = Clove { delivery: Delivery::Local, message };
        let body = garlic::router::seal(UNIX, &key, &[clove], rng).unwrap();
        Message { kind: MessageType::GARLIC, id: 6, expires, body }
    }

    #[test]
    fn a_floodfill_answers_the_ends_of_others_tunnels_and_nobody_through_its_own() {
        let (mut router, mut rng) = (floodfill(), Rng::new(&Seed::from_number(2)));
        let answered = |router: &Router| router.netdb.floodfill_stats().unwrap().referred;
        let now = Instant::ZERO;
        let probe = question(&router, &mut rng);
        router.handle_received(now, Some(PoolId::EXPLORATORY), probe);
        assert_eq!(answered(&router), 0);
        let honest = question(&router, &mut rng);
        router.handle_message(now, UNIX, Via::Peer(Hash([9; 32])), honest);
        assert_eq!(answered(&router), 1);
        let at_our_end = question(&router, &mut rng);
        router.handle_received(now, None, at_our_end);
        assert_eq!(answered(&router), 2);
    }
}
