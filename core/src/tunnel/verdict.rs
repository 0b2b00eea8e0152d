//! Who answers for a lost test: the outbound tunnel, the inbound one, both, or nobody yet.

/// Losses in a row that a tunnel is spared for what speaks for it or against the other one.
pub(crate) const MAX_SPARED: u8 = 3;

/// What says that a tunnel works although a test was lost, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Nothing,
    /// Somebody confirmed a message that left after the test. Others may be dropped.
    Confirmed,
    /// Nearly all messages are confirmed lately, so that the test seems to be late, not lost.
    Proof,
    /// Another test came back since, or the tunnel brought something.
    Works,
}

/// What is known of one of the two tunnels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    pub(crate) sign: Sign,
    /// What earlier tests say against it.
    pub(crate) doubt: u8,
    /// Losses in a row that it was spared.
    pub(crate) spared: u8,
}

impl Evidence {
    /// Of a tunnel that is gone: that will have been the reason.
    pub(crate) const GONE: Self = Self { sign: Sign::Nothing, doubt: u8::MAX, spared: MAX_SPARED };
}

/// What the loss means for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing, but that it is tested again.
    Spared,
    /// It counts among the latest, and blames nobody.
    Noted,
    /// The tunnel and its hops may be the reason.
    Blamed,
}

/// What a lost test means for the outbound and for the inbound tunnel.
///
/// What is confirmed speaks for the outbound tunnel, but never against the inbound one at once: an
/// endpoint that lets only some messages through could else have other tunnels given up.
pub(crate) fn verdict(outbound: Evidence, inbound: Evidence) -> (Loss, Loss) {
    let of_outbound = match outbound.sign {
        Sign::Works | Sign::Confirmed => Loss::Noted,
        Sign::Proof if outbound.spared < MAX_SPARED => Loss::Spared,
        Sign::Proof => Loss::Noted,
        Sign::Nothing if inbound.sign == Sign::Works || outbound.doubt >= inbound.doubt => {
            Loss::Blamed
        }
        Sign::Nothing => Loss::Spared,
    };
    let of_inbound = match (inbound.sign, outbound.sign) {
        (_, Sign::Proof | Sign::Confirmed) if inbound.spared < MAX_SPARED => Loss::Spared,
        (Sign::Nothing, Sign::Nothing) if inbound.doubt < outbound.doubt => Loss::Spared,
        (Sign::Nothing, _) => Loss::Blamed,
        _ => Loss::Noted,
    };
    (of_outbound, of_inbound)
}

#[cfg(test)]
mod tests {
    use super::Loss::{Blamed, Noted, Spared};
    use super::Sign::{Confirmed, Nothing, Proof, Works};
    use super::*;

    #[test]
    fn each_evidence_has_its_verdict() {
        for ((o_sign, o_doubt, o_spared), (i_sign, i_doubt, i_spared), wanted) in [
            // Nothing is known: both, or the one that was doubted more before.
            ((Nothing, 0, 0), (Nothing, 0, 0), (Blamed, Blamed)),
            ((Nothing, 1, 0), (Nothing, 0, 0), (Blamed, Spared)),
            ((Nothing, 0, 0), (Nothing, 1, 0), (Spared, Blamed)),
            ((Nothing, 1, 0), (Nothing, 1, 0), (Blamed, Blamed)),
            // One works: it was the other one, whatever was before.
            ((Nothing, 0, 0), (Works, 1, 0), (Blamed, Noted)),
            ((Works, 1, 0), (Nothing, 0, 0), (Noted, Blamed)),
            // Both do: by chance.
            ((Works, 0, 0), (Works, 0, 0), (Noted, Noted)),
            // A busy tunnel is spared, and so is the other one, ...
            ((Proof, 0, 0), (Nothing, 0, 0), (Spared, Spared)),
            ((Proof, 1, 2), (Works, 0, 2), (Spared, Spared)),
            // ... but not for ever, ...
            ((Proof, 1, 3), (Nothing, 0, 0), (Noted, Spared)),
            ((Proof, 1, 3), (Works, 0, 0), (Noted, Spared)),
            // ... not even where all outbound tunnels are busy and the inbound one is dead.
            ((Proof, 0, 0), (Nothing, 1, 3), (Spared, Blamed)),
            ((Proof, 0, 0), (Works, 1, 3), (Spared, Noted)),
            // A few confirmations spare nobody but the other one.
            ((Confirmed, 0, 0), (Nothing, 0, 0), (Noted, Spared)),
            ((Confirmed, 0, 0), (Nothing, 1, 3), (Noted, Blamed)),
        ] {
            let outbound = Evidence { sign: o_sign, doubt: o_doubt, spared: o_spared };
            let inbound = Evidence { sign: i_sign, doubt: i_doubt, spared: i_spared };
            assert_eq!(verdict(outbound, inbound), wanted, "{outbound:?} {inbound:?}");
        }
    }
}
