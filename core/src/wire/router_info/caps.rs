//! The capability letters of a RouterInfo.

use core::fmt;

/// Bandwidth shared, in KBps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bandwidth {
    /// Below 12.
    K,
    /// 12 to 48.
    L,
    /// 48 to 64.
    M,
    /// 64 to 128.
    N,
    /// 128 to 256.
    O,
    /// 256 to 2,000.
    P,
    /// Above 2,000.
    X,
}

impl Bandwidth {
    /// The class of a share in KBps.
    #[must_use]
    pub const fn of_share(kbps: u32) -> Self {
        match kbps {
            0..12 => Self::K,
            12..48 => Self::L,
            48..64 => Self::M,
            64..128 => Self::N,
            128..256 => Self::O,
            256..2000 => Self::P,
            _ => Self::X,
        }
    }

    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::K => 'K',
            Self::L => 'L',
            Self::M => 'M',
            Self::N => 'N',
            Self::O => 'O',
            Self::P => 'P',
            Self::X => 'X',
        }
    }
}

/// How loaded a router says it is (proposal 162).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Congestion {
    /// `D`: medium.
    Medium,
    /// `E`: high; counts for 15 minutes after publication, then as medium.
    High,
    /// `G`: rejects all tunnels.
    RejectsAll,
}

/// The capabilities of a router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// The highest bandwidth letter; old routers publish several.
    pub bandwidth: Option<Bandwidth>,
    /// `f`: keeps a part of the network database.
    pub floodfill: bool,
    /// `R`: takes connections.
    pub reachable: bool,
    /// `U`: cannot be connected to.
    pub unreachable: bool,
    /// `H`: does not want to be used.
    pub hidden: bool,
    /// `D`, `E` or `G`; the worst one.
    pub congestion: Option<Congestion>,
}

impl Caps {
    /// Reads the letters; unknown ones are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut caps = Self::default();
        for letter in text.bytes() {
            let bandwidth = match letter {
                b'K' => Some(Bandwidth::K),
                b'L' => Some(Bandwidth::L),
                b'M' => Some(Bandwidth::M),
                b'N' => Some(Bandwidth::N),
                b'O' => Some(Bandwidth::O),
                b'P' => Some(Bandwidth::P),
                b'X' => Some(Bandwidth::X),
                _ => None,
            };
            caps.bandwidth = caps.bandwidth.max(bandwidth);
            let congestion = match letter {
                b'D' => Some(Congestion::Medium),
                b'E' => Some(Congestion::High),
                b'G' => Some(Congestion::RejectsAll),
                _ => None,
            };
            caps.congestion = caps.congestion.max(congestion);
            caps.floodfill |= letter == b'f';
            caps.reachable |= letter == b'R';
            caps.unreachable |= letter == b'U';
            caps.hidden |= letter == b'H';
        }
        caps
    }
}

impl fmt::Display for Caps {
    /// One bandwidth letter, then `f`, `H`, `R` or `U`, the congestion letter last: the order that
    /// other routers write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        if let Some(bandwidth) = self.bandwidth {
            f.write_char(bandwidth.letter())?;
        }
        for (set, letter) in [
            (self.floodfill, 'f'),
            (self.hidden, 'H'),
            (self.reachable, 'R'),
            (self.unreachable, 'U'),
        ] {
            if set {
                f.write_char(letter)?;
            }
        }
        match self.congestion {
            Some(Congestion::Medium) => f.write_char('D'),
            Some(Congestion::High) => f.write_char('E'),
            Some(Congestion::RejectsAll) => f.write_char('G'),
            None => Ok(()),
        }
    }
}
