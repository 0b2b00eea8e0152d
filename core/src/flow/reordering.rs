//! How far packets of a path overtake each other.

use core::time::Duration;

/// The most that reordering may delay finding a loss.
const MAX_REORDERING: Duration = Duration::from_secs(1);
/// Less than this is none: the order is kept, and clocks are not better.
const LEAST_REORDERING: Duration = Duration::from_millis(2);
/// Acknowledged packets after which half of a path's reordering is forgotten.
const REORDERING_MEMORY: u32 = 1024;

/// What was seen of it. Tunnels and links do that, whatever stream it is, so that a new stream need not find
/// out at the price of packets sent twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reordering {
    patience: Duration,
    /// Packets acknowledged since it was last seen, or since the half of it was forgotten.
    acked: u32,
}

impl Reordering {
    /// A packet that was taken for lost was `late` by so much.
    pub(crate) fn seen(&mut self, late: Duration) {
        self.patience = self.patience.max(late * 3 / 2).min(MAX_REORDERING);
        self.acked = 0;
    }

    /// Packets were acknowledged.
    pub(crate) fn acked(&mut self, packets: u32) {
        self.acked += packets;
        if self.acked >= REORDERING_MEMORY {
            self.acked = 0;
            self.patience /= 2;
            if self.patience < LEAST_REORDERING {
                self.patience = Duration::ZERO;
            }
        }
    }

    /// How much longer to wait before a packet counts as lost; zero on a path that keeps the order.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reordering_is_remembered_for_a_while() {
        let ms = Duration::from_millis;
        let mut order = Reordering::default();
        order.seen(ms(100));
        order.seen(ms(10));
        assert_eq!(order.patience(), ms(150));
        order.acked(REORDERING_MEMORY - 1);
        order.seen(ms(40));
        order.acked(REORDERING_MEMORY - 1);
        assert_eq!(order.patience(), ms(150));
        order.acked(1);
        assert_eq!(order.patience(), ms(75));
        order.seen(ms(60_000));
        assert_eq!(order.patience(), MAX_REORDERING);
    }
}
