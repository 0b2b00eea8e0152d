//! The address book: names of destinations, from `hosts.txt` files.

use super::target::Target;
use crate::wire::base32;
use crate::wire::hash::Hash;
use crate::wire::identity::Identity;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Most names; what comes later is refused and counted.
pub const MAX_NAMES: usize = 50_000;
/// Longest name, `.i2p` included.
pub const MAX_NAME: usize = 67;
/// Longest line of a file; a destination, a name and options fit many times.
pub const MAX_LINE: usize = 8 * 1024;
/// Most findings kept word for word in an [`Import`]; the rest is counted only.
pub const MAX_FINDINGS: usize = 100;

/// Names and their destinations.
#[derive(Debug, Default)]
pub struct AddressBook {
    names: BTreeMap<Box<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    destination: Identity,
    /// The user confirmed it here, rather than it coming from a file.
    learned: bool,
}

/// Why a name is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
#[non_exhaustive]
pub enum NameError {
    /// Does not end in `.i2p`, or has nothing before it.
    Suffix,
    /// Longer than [`MAX_NAME`].
    TooLong,
    /// A character other than a-z, 0-9, `.` and `-`.
    Character,
    /// A label that is empty or begins or ends with `-`.
    Label,
    /// Two hyphens in a row outside an `xn--` label.
    Hyphens,
    /// An address rather than a name, or kept for ourselves.
    Reserved,
}

impl NameError {
    /// In words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Suffix => "a name ends in .i2p and has something before it",
            Self::TooLong => "a name has at most 67 characters",
            Self::Character => "a name has only a-z, 0-9, dots and hyphens",
            Self::Label => "no part of a name is empty or begins or ends with a hyphen",
            Self::Hyphens => "two hyphens in a row are for names that begin with xn-- only",
            Self::Reserved => "this name is reserved",
        }
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Longer than [`MAX_LINE`].
    #[error("longer than 8192 bytes")]
    TooLong,
    /// Not ASCII.
    #[error("not ASCII text")]
    NotText,
    /// Not of the form `name=destination`.
    #[error("not of the form name.i2p=destination")]
    NoEquals,
    /// The name is not allowed.
    #[error("{0}")]
    Name(NameError),
    /// An address stands where a destination belongs.
    #[error("a .b32.i2p address is not accepted here, only a whole base64 destination")]
    Address,
    /// The destination is not base64 as I2P writes it.
    #[error("the destination is not base64")]
    NotBase64,
    /// The base64 is not the canonical form of one destination.
    #[error("the base64 is not that of one whole destination")]
    Destination,
    /// The book holds this name with another destination; the earlier one stays.
    #[error("another destination is known under this name, and stays")]
    Conflict,
    /// The book is full.
    #[error("the address book is full")]
    Full,
}

/// A line that was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Counted from 1.
    pub line: usize,
    /// The name, when it could be read.
    pub name: Option<Box<str>>,
    /// What is wrong.
    pub error: LineError,
}

/// What came of reading a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// Names that are new.
    pub added: usize,
    /// Names that were there, with the same destination.
    pub known: usize,
    /// Lines that were not used.
    pub skipped: usize,
    /// The first [`MAX_FINDINGS`] of them.
    pub findings: Vec<Finding>,
}

impl AddressBook {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { names: BTreeMap::new() }
    }

    /// How many names it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The destination under `name`, in lower case with `.i2p`.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<&Identity> {
        self.names.get(name).map(|entry| &entry.destination)
    }

    /// The hash of a target, and its destination where it is known.
    #[must_use]
    pub fn resolve(&self, target: &Target) -> Option<(Hash, Option<Identity>)> {
        match target {
            Target::Destination(identity) => Some((identity.hash(), Some(identity.clone()))),
            Target::Hash(hash) => Some((*hash, None)),
            Target::Name(name) => self.lookup(name).map(|id| (id.hash(), Some(id.clone()))),
        }
    }

    /// Reads a `hosts.txt` file. Bad lines are skipped and reported; an earlier entry wins over a
    /// later one, in this file and before it.
    pub fn import(&mut self, file: &[u8]) -> Import {
        self.read(file, false)
    }

    /// As [`import`](Self::import), for the file that [`learned_file`](Self::learned_file) made.
    pub fn import_learned(&mut self, file: &[u8]) -> Import {
        self.read(file, true)
    }

    /// Adds a name that the user confirmed. Never replaces: the earlier destination stays.
    pub fn learn(&mut self, name: &str, destination: Identity) -> Result<(), LineError> {
        check_name(name).map_err(LineError::Name)?;
        self.add(name, destination, true).map(|_| ())
    }

    /// The names that the user confirmed, as a `hosts.txt` file to keep.
    #[must_use]
    pub fn learned_file(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, entry) in self.names.iter().filter(|(_, e)| e.learned) {
            out.extend_from_slice(line(name, &entry.destination).as_bytes());
            out.push(b'\n');
        }
        out
    }

    fn read(&mut self, file: &[u8], learned: bool) -> Import {
        let mut import = Import::default();
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        for (index, line) in file.split(|&b| b == b'\n').enumerate() {
            let (name, result) = self.line(line, learned);
            match result {
                Ok(Some(true)) => import.added += 1,
                Ok(Some(false)) => import.known += 1,
                Ok(None) => {}
                Err(error) => {
                    import.skipped += 1;
                    if import.findings.len() < MAX_FINDINGS {
                        import.findings.push(Finding { line: index + 1, name, error });
                    }
                }
            }
        }
        import
    }

    /// `None` for a line that says nothing, else whether the name is new.
    fn line(
        &mut self,
        line: &[u8],
        learned: bool,
    ) -> (Option<Box<str>>, Result<Option<bool>, LineError>) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return (None, Ok(None));
        }
        if line.len() > MAX_LINE {
            return (None, Err(LineError::TooLong));
        }
        let Some(text) = core::str::from_utf8(line).ok().filter(|t| t.is_ascii()) else {
            return (None, Err(LineError::NotText));
        };
        let Some((name, rest)) = text.split_once('=') else {
            return (None, Err(LineError::NoEquals));
        };
        let name = name.trim_ascii().to_ascii_lowercase();
        if let Err(error) = check_name(&name) {
            return (None, Err(LineError::Name(error)));
        }
        // Behind `#!` stand the options of a subscription feed (specification `subscription`).
        let text = rest.split_once('#').map_or(rest, |(text, _)| text).trim_ascii();
        let result = match Identity::from_base64(text) {
            Ok(id) if id.to_base64() == text => self.add(&name, id, learned).map(Some),
            Ok(_) | Err(_) => Err(destination_error(text)),
        };
        (Some(name.into()), result)
    }

    /// Whether the name is new.
    fn add(&mut self, name: &str, destination: Identity, learned: bool) -> Result<bool, LineError> {
        match self.names.get(name) {
            Some(known) if known.destination == destination => Ok(false),
            Some(_) => Err(LineError::Conflict),
            None if self.names.len() >= MAX_NAMES => Err(LineError::Full),
            None => {
                self.names.insert(name.into(), Entry { destination, learned });
                Ok(true)
            }
        }
    }
}

/// The name under which the proxy answers itself; never looked up.
pub const PROXY_NAME: &str = "proxy.i2p";

/// The rules for names, which have to be in lower case.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let label = name.strip_suffix(".i2p").filter(|l| !l.is_empty()).ok_or(NameError::Suffix)?;
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    if name.ends_with(base32::SUFFIX) || label == "b32" || name == PROXY_NAME {
        return Err(NameError::Reserved);
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    if !label.bytes().all(allowed) {
        return Err(NameError::Character);
    }
    for part in label.split('.') {
        if part.is_empty() || part.starts_with('-') || part.ends_with('-') {
            return Err(NameError::Label);
        }
        if part.strip_prefix("xn--").unwrap_or(part).contains("--") {
            return Err(NameError::Hyphens);
        }
    }
    Ok(())
}

/// What is wrong with a text that is no destination.
fn destination_error(text: &str) -> LineError {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'~' | b'=');
    if text.to_ascii_lowercase().ends_with(base32::SUFFIX) {
        LineError::Address
    } else if text.is_empty() || !text.bytes().all(letter) {
        LineError::NotBase64
    } else {
        LineError::Destination
    }
}

/// A line as [`AddressBook::import`] reads it.
fn line(name: &str, destination: &Identity) -> String {
    let mut out = String::from(name);
    out.push('=');
    out.push_str(&destination.to_base64());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::identity;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn name_rules() {
        for name in ["a.i2p", "a-b.c.i2p", "0.i2p", "xn--fsq.i2p", "www.xn--fsq.i2p", "i2p.i2p"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let longest = format!("{}.i2p", "a".repeat(63));
        assert_eq!(check_name(&longest), Ok(()));
        let too_long = format!("{}.i2p", "a".repeat(64));
        for (name, want) in [
            ("", NameError::Suffix),
            (".i2p", NameError::Suffix),
            ("a", NameError::Suffix),
            ("a.com", NameError::Suffix),
            ("a.I2P", NameError::Suffix),
            (too_long.as_str(), NameError::TooLong),
            ("A.i2p", NameError::Character),
            ("a_b.i2p", NameError::Character),
            ("a b.i2p", NameError::Character),
            ("\u{e4}.i2p", NameError::Character),
            ("a/b.i2p", NameError::Character),
            ("-a.i2p", NameError::Label),
            ("a-.i2p", NameError::Label),
            ("a.-b.i2p", NameError::Label),
            ("a..b.i2p", NameError::Label),
            (".a.i2p", NameError::Label),
            ("a..i2p", NameError::Label),
            ("a--b.i2p", NameError::Hyphens),
            ("axn--b.i2p", NameError::Hyphens),
            ("b32.i2p", NameError::Reserved),
            ("a.b32.i2p", NameError::Reserved),
            ("proxy.i2p", NameError::Reserved),
        ] {
            assert_eq!(check_name(name), Err(want), "{name}");
        }
    }

    #[test]
    fn good_lines_are_read_and_bad_ones_reported_with_their_number() {
        let (a, b) = (identity(1), identity(2));
        let unpadded = a.to_base64().trim_end_matches('=').to_string();
        let file = [
            "\u{feff}# comment".to_string(),
            String::new(),
            line("a.i2p", &a),
            format!("  B.i2p = {}#!date=1#sig=x=  \r", b.to_base64()),
            "no equals sign".to_string(),
            format!("bad_name.i2p={}", a.to_base64()),
            "short.i2p=AAAA".to_string(),
            format!("unpadded.i2p={unpadded}"),
            line("a.i2p", &a),
            line("a.i2p", &b),
            "\u{e4}.i2p=AAAA".to_string(),
            "x".repeat(MAX_LINE + 1),
            "#!action=remove#name=a.i2p".to_string(),
            line("c.i2p", &b),
            format!("b32.example.i2p={}", a.b32_address()),
            "plus.i2p=AA+/AA==".to_string(),
            "empty.i2p=".to_string(),
        ]
        .join("\n");
        let mut book = AddressBook::new();
        let import = book.import(file.as_bytes());
        assert_eq!((import.added, import.known, import.skipped), (3, 1, 10));
        let found: Vec<(usize, LineError)> =
            import.findings.iter().map(|f| (f.line, f.error)).collect();
        assert_eq!(
            found,
            [
                (5, LineError::NoEquals),
                (6, LineError::Name(NameError::Character)),
                (7, LineError::Destination),
                (8, LineError::Destination),
                (10, LineError::Conflict),
                (11, LineError::NotText),
                (12, LineError::TooLong),
                (15, LineError::Address),
                (16, LineError::NotBase64),
                (17, LineError::NotBase64),
            ]
        );
        assert_eq!(import.findings[4].name.as_deref(), Some("a.i2p"));
        assert_eq!(book.lookup("a.i2p"), Some(&a), "the first one wins");
        assert_eq!(book.lookup("b.i2p"), Some(&b));
        assert_eq!(book.lookup("c.i2p"), Some(&b));
        assert_eq!(book.len(), 3);
        assert_eq!(book.import(file.as_bytes()).added, 0);
    }

    #[test]
    fn what_the_user_confirmed_is_kept_apart_and_survives() {
        let (a, b) = (identity(1), identity(2));
        let mut book = AddressBook::new();
        assert_eq!(book.import(line("a.i2p", &a).as_bytes()).added, 1);
        assert_eq!(book.learn("a.i2p", b.clone()), Err(LineError::Conflict));
        assert_eq!(book.learn("b.i2p", b.clone()), Ok(()));
        assert_eq!(book.learn("B.i2p", b.clone()), Err(LineError::Name(NameError::Character)));
        let file = book.learned_file();
        let mut again = AddressBook::new();
        assert_eq!(again.import_learned(&file).added, 1);
        assert_eq!(again.lookup("b.i2p"), Some(&b));
        assert_eq!(again.learned_file(), file);
        let name = Target::Name("b.i2p".into());
        assert_eq!(again.resolve(&name), Some((b.hash(), Some(b.clone()))));
        assert_eq!(again.resolve(&Target::Name("a.i2p".into())), None);
        assert_eq!(again.resolve(&Target::Hash(a.hash())), Some((a.hash(), None)));
    }

    #[test]
    fn findings_and_names_are_bounded() {
        let mut book = AddressBook::new();
        let import = book.import("bad\n".repeat(5000).as_bytes());
        assert_eq!((import.skipped, import.findings.len()), (5000, MAX_FINDINGS));
        let id = identity(1);
        for n in 0..MAX_NAMES {
            assert_eq!(book.add(&format!("n{n}.i2p"), id.clone(), false), Ok(true));
        }
        assert_eq!(book.add("one-more.i2p", id.clone(), false), Err(LineError::Full));
        assert_eq!(book.add("n1.i2p", id, false), Ok(false));
    }
}
