//! Routers that do not keep to the rules, for simulated networks with attackers in them.
//!
//! A router with a [`Conduct`] is a whole router: it has sessions, is known, takes part in tunnels.
//! What its conduct does with the messages of others, and with its own, is what an attacker would do in
//! its place.

use super::Router;
use super::dispatch::Via;
use crate::time::Instant;
use crate::transport::queue::Priority;
use crate::wire::hash::Hash;
use crate::wire::i2np::Message;
use alloc::boxed::Box;

/// What a router does with what its peers send, before it handles it, and with what it sends.
pub trait Conduct: Send {
    /// A message came over the session with `from`. It is handled as the answer says: as it is, changed,
    /// or not at all.
    fn receive(&mut self, now: Instant, from: &Hash, message: Message) -> Option<Message>;

    /// A message was in garlic for the router: a floodfill is asked, and told, in that way.
    fn unwrap(&mut self, now: Instant, message: Message) -> Option<Message> {
        let _ = now;
        Some(message)
    }

    /// A message leaves for `to`.
    fn send(&mut self, now: Instant, to: &Hash, message: Message) -> Option<Message> {
        let _ = (now, to);
        Some(message)
    }
}

impl Router {
    /// From now on messages of peers go through `conduct` first. No runtime calls this.
    pub fn set_conduct(&mut self, conduct: Box<dyn Conduct>) {
        self.conduct = Some(conduct);
    }

    /// Handles a message as if it came over the session with `from`, past the conduct: one that was kept
    /// back, or comes once more.
    pub fn deliver(&mut self, now: Instant, from: Hash, message: Message) {
        let unix = self.clock.unix(now);
        self.handle_message(now, unix, Via::Peer(from), message);
        self.settle(now);
    }

    /// Sends any message to a router, as [`Conduct`]s may. False when it is lost already.
    pub fn send_message(&mut self, now: Instant, to: Hash, message: Message) -> bool {
        let sent = self.send_to(now, to, message, Priority::Transit);
        self.settle(now);
        sent
    }

    /// What the conduct makes of a message, if there is one, by the method of it that `of` calls.
    pub(super) fn conducted(
        &mut self,
        message: Message,
        of: impl FnOnce(&mut dyn Conduct, Message) -> Option<Message>,
    ) -> Option<Message> {
        match &mut self.conduct {
            Some(conduct) => of(conduct.as_mut(), message),
            None => Some(message),
        }
    }
}
