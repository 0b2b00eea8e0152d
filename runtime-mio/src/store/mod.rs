//! The store: plain files in the data folder.
//!
//! ```text
//! keys/router.keys                         the router's keys
//! keys/NAME                                keys of a destination
//! router.info                              our RouterInfo, for other programs
//! netDb/rX/routerInfo-BASE64.dat           RouterInfos of peers
//! profiles/pX/profile-BASE64.dat           what we know of peers
//! hosts.txt                                address book, the user's own
//! hosts-learned.txt                        names that the user took over from links
//! ntcp2.port, ssu2.port                    the ports chosen at the first start
//! recordings/NNNNNN.recording              what the router was told; not written here
//! ```

mod atomic;
mod load;
pub mod reseed;
mod writer;

pub(crate) use writer::Writer;

use atomic::Durability;
use ramson_core::router::output::StoreKey;
use ramson_core::wire::base64;
use ramson_core::wire::hash::Hash;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

const KEYS: &str = "keys";
const NETDB: &str = "netDb";
const PROFILES: &str = "profiles";
/// The file of the router's keys, which no destination can have.
pub(crate) const ROUTER_KEYS: &str = "router.keys";
const ROUTER_INFO: &str = "router.info";
const HOSTS: &str = "hosts.txt";
const LEARNED_HOSTS: &str = "hosts-learned.txt";
/// The files of the ports that were chosen.
pub(crate) const NTCP2_PORT: &str = "ntcp2.port";
pub(crate) const SSU2_PORT: &str = "ssu2.port";

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot {what}: {error}", path = path.display())]
pub struct StoreError {
    path: PathBuf,
    what: &'static str,
    error: io::Error,
}

impl StoreError {
    /// As [`Display`](std::fmt::Display), without the name of the file: that may be somebody's hash,
    /// which has no place in an ordinary log.
    #[must_use]
    pub fn discreet(&self) -> String {
        let folder = self.path.parent().unwrap_or(&self.path);
        format!("{}: cannot {} a file: {}", folder.display(), self.what, self.error)
    }

    /// Whether it is the file that its owner has to fix, not the disk.
    #[must_use]
    pub fn is_for_the_user(&self) -> bool {
        crate::is_for_the_user(&self.error)
    }
}

/// The files of one data folder, which somebody has locked.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in the folder `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Writes or, with `None`, removes one value. Keys are on the medium when this returns; others
    /// are whole or absent after a crash.
    ///
    /// # Errors
    ///
    /// The file and the operating system's words; the old value is there still.
    pub fn write(&self, key: &StoreKey, value: Option<&[u8]>) -> Result<(), StoreError> {
        let place = self.place(key);
        let durability = place.durability;
        let mut parent = self.root.clone();
        for folder in place.folders {
            atomic::make_dir(&parent, &folder, durability)
                .map_err(|error| self.error(parent.join(&folder), "create", error))?;
            parent.push(folder);
        }
        let (what, done) = match value {
            Some(bytes) => ("write", atomic::replace(&parent, &place.name, bytes, durability)),
            None => ("remove", atomic::remove(&parent, &place.name, durability)),
        };
        done.map_err(|error| self.error(parent.join(&place.name), what, error))
    }

    /// Where a value is, or would be.
    #[must_use]
    pub fn file(&self, key: &StoreKey) -> PathBuf {
        let place = self.place(key);
        let mut file = self.root.clone();
        file.extend(place.folders);
        file.push(place.name);
        file
    }

    /// Where our RouterInfo is.
    #[must_use]
    pub fn router_info(&self) -> PathBuf {
        self.root.join(ROUTER_INFO)
    }

    /// Where keys are.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.root.join(KEYS)
    }

    /// The port that [`Self::remember_port`] kept, if any.
    #[must_use]
    pub(crate) fn port(&self, file: &str) -> Option<u16> {
        let text = std::fs::read_to_string(self.root.join(file)).ok()?;
        text.trim().parse().ok().filter(|port| *port != 0)
    }

    /// Keeps the port that was chosen for a transport, since a router that moves is hard to reach.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub(crate) fn remember_port(&self, file: &str, port: u16) -> Result<(), StoreError> {
        atomic::replace(&self.root, file, format!("{port}\n").as_bytes(), Durability::Lazy)
            .map_err(|error| self.error(self.root.join(file), "write", error))
    }

    fn place(&self, key: &StoreKey) -> Place {
        let place =
            |folders: Vec<String>, name: String, durability| Place { folders, name, durability };
        match key {
            StoreKey::RouterKeys => {
                place(vec![KEYS.into()], ROUTER_KEYS.into(), Durability::Synced)
            }
            StoreKey::DestinationKeys(name) => {
                place(vec![KEYS.into()], destination_file(name), Durability::Synced)
            }
            StoreKey::AddressBook => place(Vec::new(), LEARNED_HOSTS.into(), Durability::Synced),
            StoreKey::RouterInfo => place(Vec::new(), ROUTER_INFO.into(), Durability::Lazy),
            StoreKey::NetDb(hash) => {
                let (folder, name) = NETDB_FILES.path(hash);
                place(vec![NETDB.into(), folder], name, Durability::Lazy)
            }
            StoreKey::Profile(hash) => {
                let (folder, name) = PROFILE_FILES.path(hash);
                place(vec![PROFILES.into(), folder], name, Durability::Lazy)
            }
            other => {
                // A key that this runtime does not know yet still must not be lost.
                let name = format!("{other:?}");
                place(vec!["other".into()], escape(&name), Durability::Synced)
            }
        }
    }

    fn error(&self, path: PathBuf, what: &'static str, error: io::Error) -> StoreError {
        StoreError { path, what, error }
    }
}

/// Where a value is, under the root.
struct Place {
    folders: Vec<String>,
    name: String,
    durability: Durability,
}

/// Files named after a hash, in folders named after its first digit.
#[derive(Clone, Copy)]
struct HashFiles {
    folder: char,
    prefix: &'static str,
}

const NETDB_FILES: HashFiles = HashFiles { folder: 'r', prefix: "routerInfo-" };
const PROFILE_FILES: HashFiles = HashFiles { folder: 'p', prefix: "profile-" };
const SUFFIX: &str = ".dat";

impl HashFiles {
    fn path(self, hash: &Hash) -> (String, String) {
        let text = base64::encode(hash.as_bytes());
        let first = text.chars().next().unwrap_or('A');
        (format!("{}{first}", self.folder), format!("{}{text}{SUFFIX}", self.prefix))
    }

    /// The hash in a file name of exactly the form that [`Self::path`] gives.
    fn hash(self, name: &str) -> Option<Hash> {
        let text = name.strip_prefix(self.prefix)?.strip_suffix(SUFFIX)?;
        let hash = Hash(base64::decode_array(text)?);
        (self.path(&hash).1 == name).then_some(hash)
    }
}

/// The file of a destination's keys.
fn destination_file(name: &str) -> String {
    if name == ROUTER_KEYS { escape_all(name) } else { escape(name) }
}

/// The destination of a key file.
fn destination_name(file: &str) -> Option<String> {
    let name = unescape(file)?;
    (destination_file(&name) == file).then_some(name)
}

/// A file name for any text: what is not plainly harmless becomes `%XX`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && i > 0) {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Another file name for the same text.
fn escape_all(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            out.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests;
