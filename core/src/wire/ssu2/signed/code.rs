//! What becomes of relay requests and peer tests.

/// The code of a relay response or a peer test.
///
/// Bob refuses with 1 to 63, Charlie with 64 to 127; who does with more is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    /// Accepted, or not decided yet.
    pub const ACCEPT: Self = Self(0);
    /// Bob refuses and does not say why.
    pub const BOB_UNSPECIFIED: Self = Self(1);
    /// Bob, in a relay: Charlie is banned.
    pub const BOB_BANNED: Self = Self(2);
    /// Bob, in a peer test: he knows nobody for it.
    pub const BOB_NO_CHARLIE: Self = Self(2);
    /// Bob: too many.
    pub const BOB_LIMIT: Self = Self(3);
    /// Bob: Alice's signature does not verify.
    pub const BOB_SIGNATURE: Self = Self(4);
    /// Bob, in a relay: he does not know the tag.
    pub const BOB_TAG: Self = Self(5);
    /// Bob, in a peer test: no such address.
    pub const BOB_ADDRESS: Self = Self(5);
    /// Bob, in a relay: he does not have Alice's RouterInfo.
    pub const BOB_ALICE_UNKNOWN: Self = Self(6);
    /// Charlie refuses and does not say why.
    pub const CHARLIE_UNSPECIFIED: Self = Self(64);
    /// Charlie: no such address.
    pub const CHARLIE_ADDRESS: Self = Self(65);
    /// Charlie: too many.
    pub const CHARLIE_LIMIT: Self = Self(66);
    /// Charlie: Alice's signature does not verify.
    pub const CHARLIE_SIGNATURE: Self = Self(67);
    /// Charlie: Alice is connected already.
    pub const CHARLIE_CONNECTED: Self = Self(68);
    /// Charlie: Alice is banned.
    pub const CHARLIE_BANNED: Self = Self(69);
    /// Charlie: he does not have Alice's RouterInfo.
    pub const CHARLIE_ALICE_UNKNOWN: Self = Self(70);

    /// True when Bob refused, who then is the author of what is signed in a relay response.
    #[must_use]
    pub const fn refused_by_bob(self) -> bool {
        1 <= self.0 && self.0 < 64
    }
}
