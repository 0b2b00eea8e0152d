//! Build requests of others: from the message to the answer.

use super::build::answer::{
    BadRequest, BuildJob, BuildJobDone, Layout, MAX_WAIT, Opened, find_own,
};
use super::participant::Participant;
use super::{Clock, Priority, TunnelAction, Tunnels};
use crate::wire::hash::Hash;
use crate::wire::i2np::{Message, MessageType, TunnelGateway};
use crate::wire::tunnel::{ACCEPT, Role};
use alloc::vec::Vec;

/// How far request times may be off, in minutes, as Java has it: the bound of replays.
const MAX_OLD_MINUTES: u32 = 8;
const MAX_EARLY_MINUTES: u32 = 5;

impl Tunnels {
    /// A build message that is not one of ours: counted and looked through here, decrypted in a
    /// job.
    pub(crate) fn handle_request(
        &mut self,
        clock: Clock,
        from: Option<Hash>,
        mut message: Message,
    ) {
        let Some(layout) = Layout::of(message.kind) else { return };
        if !self.transit.admit_request(clock.now, from) {
            self.transit.stats.dropped += 1;
            return;
        }
        match find_own(layout, &self.local, &mut message.body) {
            Ok(slot) => {
                self.transit.jobs += 1;
                self.actions.push_back(TunnelAction::Job(BuildJob {
                    key: self.key.clone(),
                    public: self.public,
                    from,
                    received: clock.now,
                    layout,
                    slot,
                    body: message.body,
                }));
            }
            Err(error) => {
                self.transit.stats.dropped += 1;
                log::debug!("build request dropped: {error}");
            }
        }
    }

    pub(crate) fn answer_request(&mut self, clock: Clock, done: BuildJobDone) {
        self.transit.jobs = self.transit.jobs.saturating_sub(1);
        let result = if clock.now.saturating_since(done.received) > MAX_WAIT {
            Err(BadRequest::Late)
        } else {
            done.opened.and_then(|opened| {
                self.check_request(clock, done.from, &opened)?;
                self.answer(clock, done.from, opened)
            })
        };
        if let Err(error) = result {
            self.transit.stats.dropped += 1;
            log::debug!("build request dropped: {error}");
        }
    }

    /// What is dropped without an answer, as Java and i2pd do.
    fn check_request(
        &self,
        clock: Clock,
        from: Option<Hash>,
        opened: &Opened,
    ) -> Result<(), BadRequest> {
        let request = &opened.request;
        if request.role != Role::Endpoint && request.next == self.local {
            return Err(BadRequest::NextIsUs);
        }
        if request.role != Role::Gateway && from.is_none() {
            return Err(BadRequest::Wrapped);
        }
        if request.role == Role::Participant && from == Some(request.next) {
            return Err(BadRequest::NextIsPrevious);
        }
        let minutes = clock.minutes();
        if minutes.saturating_sub(request.minutes) > MAX_OLD_MINUTES
            || request.minutes.saturating_sub(minutes) > MAX_EARLY_MINUTES
        {
            return Err(BadRequest::Time);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        clock: Clock,
        from: Option<Hash>,
        opened: Opened,
    ) -> Result<(), BadRequest> {
        let request = opened.request;
        let id = request.receive_tunnel;
        let taken =
            self.inbound.contains_key(&id) || self.builds.values().any(|b| b.will_receive(id));
        let code = self.transit.decide(clock.now, from, &request, taken, &mut self.rng);
        let answered = opened.answer(code, clock.expires())?;
        if code == ACCEPT {
            let (next, next_tunnel) = (request.next, request.next_tunnel);
            let participant =
                Participant::new(clock.now, next, next_tunnel, request.role, answered.layer);
            self.transit.insert(clock.now, from, id, participant);
        } else {
            self.transit.stats.rejected += 1;
        }
        if request.role != Role::Endpoint {
            self.send_to(request.next, answered.message, Priority::Control);
            return Ok(());
        }
        // The gateway of the reply tunnel is not to see what it passes on, except when it is
        // ourselves.
        let message = match answered.garlic {
            Some(once) if request.next != self.local => {
                let id = self.rng.u32();
                once.seal(answered.message, id, clock.expires(), &mut self.rng)?
            }
            Some(_) | None => answered.message,
        };
        let mut body = Vec::with_capacity(message.body.len() + 22);
        TunnelGateway::encode(request.next_tunnel, &message, &mut body)?;
        self.send_new(clock, request.next, MessageType::TUNNEL_GATEWAY, body, Priority::Control);
        Ok(())
    }
}
