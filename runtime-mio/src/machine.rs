//! The router as the loop drives it: exactly the facade, so that the loop's own tests can put a
//! simpler machine in its place.

use ramson_core::rng::Seed;
use ramson_core::router::Router;
use ramson_core::router::input::{
    Command, Completion, ConnId, ConnInput, Consumed, Datagram, EffectId,
};
use ramson_core::router::output::{Action, Transmit};
use ramson_core::time::{Instant, UnixTime};

/// See the methods of the same names of [`Router`].
pub(crate) trait Machine {
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>);
    fn handle_conn(&mut self, now: Instant, conn: ConnId, input: ConnInput<'_>) -> Consumed;
    fn handle_completion(&mut self, now: Instant, id: EffectId, completion: Completion);
    fn handle_command(&mut self, now: Instant, command: Command);
    fn handle_wall_clock(&mut self, now: Instant, unix: UnixTime);
    fn handle_timeout(&mut self, now: Instant);
    fn mix_entropy(&mut self, seed: Seed);
    fn poll_action(&mut self) -> Option<Action>;
    fn poll_transmit(&mut self, now: Instant, max: usize, buf: &mut Vec<u8>) -> Option<Transmit>;
    fn poll_writable(&mut self) -> Option<ConnId>;
    fn poll_conn(&mut self, now: Instant, conn: ConnId, room: usize, buf: &mut Vec<u8>) -> usize;
    fn poll_timeout(&self) -> Option<Instant>;
}

impl Machine for Router {
    fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        self.handle_datagram(now, datagram);
    }

    fn handle_conn(&mut self, now: Instant, conn: ConnId, input: ConnInput<'_>) -> Consumed {
        self.handle_conn(now, conn, input)
    }

    fn handle_completion(&mut self, now: Instant, id: EffectId, completion: Completion) {
        self.handle_completion(now, id, completion);
    }

    fn handle_command(&mut self, now: Instant, command: Command) {
        self.handle_command(now, command);
    }

    fn handle_wall_clock(&mut self, now: Instant, unix: UnixTime) {
        self.handle_wall_clock(now, unix);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }

    fn mix_entropy(&mut self, seed: Seed) {
        self.mix_entropy(seed);
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.poll_action()
    }

    fn poll_transmit(&mut self, now: Instant, max: usize, buf: &mut Vec<u8>) -> Option<Transmit> {
        self.poll_transmit(now, max, buf)
    }

    fn poll_writable(&mut self) -> Option<ConnId> {
        self.poll_writable()
    }

    fn poll_conn(&mut self, now: Instant, conn: ConnId, room: usize, buf: &mut Vec<u8>) -> usize {
        self.poll_conn(now, conn, room, buf)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout().map(|(at, _)| at)
    }
}
