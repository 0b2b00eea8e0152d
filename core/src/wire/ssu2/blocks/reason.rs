//! Why sessions end (specification `ssu2`, Termination).

/// Why a session ends, or why there will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// 0: normal close, or unspecified.
    Normal,
    /// 1: a Termination was received.
    TerminationReceived,
    /// 2: nothing was sent or received for too long.
    Idle,
    /// 3: the router shuts down.
    Shutdown,
    /// 4: a packet of the data phase did not authenticate.
    DataTag,
    /// 5: options that do not fit together.
    Options,
    /// 6: a signature type that is not supported.
    SignatureType,
    /// 7: the clocks differ too much.
    ClockSkew,
    /// 8: padding outside what was agreed.
    Padding,
    /// 9: packets cut wrongly.
    Framing,
    /// 10: blocks that cannot be read.
    Payload,
    /// 11: SessionRequest was wrong.
    SessionRequest,
    /// 12: SessionCreated was wrong.
    SessionCreated,
    /// 13: SessionConfirmed was wrong.
    SessionConfirmed,
    /// 14: something did not come in time.
    Timeout,
    /// 15: the RouterInfo's signature does not verify.
    Signature,
    /// 16: the static key is missing from the RouterInfo or another one.
    StaticKey,
    /// 17: banned.
    Banned,
    /// 18: a token that is not good.
    Token,
    /// 19: too many connections.
    Limits,
    /// 20: another version of the protocol.
    Version,
    /// 21: another network.
    NetId,
    /// 22: a newer session of the same router took its place.
    Replaced,
    /// A code that the specification does not name.
    Other(u8),
}

impl Reason {
    /// Those with a name, in the order of their codes.
    const NAMED: [Self; 23] = [
        Self::Normal,
        Self::TerminationReceived,
        Self::Idle,
        Self::Shutdown,
        Self::DataTag,
        Self::Options,
        Self::SignatureType,
        Self::ClockSkew,
        Self::Padding,
        Self::Framing,
        Self::Payload,
        Self::SessionRequest,
        Self::SessionCreated,
        Self::SessionConfirmed,
        Self::Timeout,
        Self::Signature,
        Self::StaticKey,
        Self::Banned,
        Self::Token,
        Self::Limits,
        Self::Version,
        Self::NetId,
        Self::Replaced,
    ];

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::TerminationReceived => 1,
            Self::Idle => 2,
            Self::Shutdown => 3,
            Self::DataTag => 4,
            Self::Options => 5,
            Self::SignatureType => 6,
            Self::ClockSkew => 7,
            Self::Padding => 8,
            Self::Framing => 9,
            Self::Payload => 10,
            Self::SessionRequest => 11,
            Self::SessionCreated => 12,
            Self::SessionConfirmed => 13,
            Self::Timeout => 14,
            Self::Signature => 15,
            Self::StaticKey => 16,
            Self::Banned => 17,
            Self::Token => 18,
            Self::Limits => 19,
            Self::Version => 20,
            Self::NetId => 21,
            Self::Replaced => 22,
            Self::Other(code) => code,
        }
    }

    /// From the code on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        Self::NAMED.get(usize::from(code)).copied().unwrap_or(Self::Other(code))
    }
}
