//! What is in the store when the router starts.

use super::{
    HOSTS, LEARNED_HOSTS, NETDB, NETDB_FILES, PROFILE_FILES, PROFILES, ROUTER_KEYS, Store,
    StoreError, atomic, destination_name,
};
use log::{debug, warn};
use ramson_core::router::input::Stored;
use ramson_core::wire::router_info::RouterInfo;
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The largest key file, in bytes; ours are far smaller.
const MAX_KEYS: u64 = 64 << 10;
/// The largest RouterInfo, in bytes: the cap of the core.
const MAX_ROUTER_INFO: u64 = 4096;
/// The largest profile, in bytes.
const MAX_PROFILE: u64 = 4096;
/// The largest address book, in bytes.
const MAX_HOSTS: u64 = 16 << 20;
/// As many RouterInfos as the core keeps; more are leftovers of a larger past.
const MAX_ROUTER_INFOS: usize = 8000;

/// Files that were skipped. Their names are hashes of routers: not for an ordinary log.
#[derive(Default)]
struct Unreadable {
    files: usize,
    last: Option<io::Error>,
}

impl Unreadable {
    fn add(&mut self, path: &Path, error: io::Error) {
        debug!("{}: cannot read, skipped: {error}", path.display());
        self.files += 1;
        self.last = Some(error);
    }

    fn tell(self, folder: &str) {
        if let Some(error) = self.last {
            warn!("{folder}: {} files cannot be read, skipped: {error}", self.files);
        }
    }
}

impl Store {
    /// Reads everything, removes what a crash left unfinished and what is damaged and can be had
    /// again. Keys are handed over as they are: whether they are damaged the core says.
    ///
    /// # Errors
    ///
    /// Keys that cannot be read, or that others could read.
    pub fn load(&self) -> Result<Stored, StoreError> {
        self.sweep(&self.root);
        self.sweep(&self.keys());
        let mut stored = self.load_keys()?;
        self.load_router_infos(&mut stored);
        self.load_profiles(&mut stored);
        stored.hosts.extend(self.read_hosts(HOSTS));
        stored.learned_hosts = self.read_hosts(LEARNED_HOSTS);
        Ok(stored)
    }

    fn read_hosts(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.root.join(name);
        match read(&path, MAX_HOSTS) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) => warn!("{}: larger than {MAX_HOSTS} bytes, not used", path.display()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => warn!("{}: cannot read, not used: {e}", path.display()),
        }
        None
    }

    /// Reads the keys and changes nothing, so that it can be done beside a running router.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_keys(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        let folder = self.keys();
        let fail = |path: &Path, what, error| self.error(path.into(), what, error);
        let entries = match std::fs::read_dir(&folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(stored),
            entries => entries.map_err(|e| fail(&folder, "read the folder", e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| fail(&folder, "read the folder", e))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| !atomic::is_leftover(n)) else { continue };
            // Copies of keys may lie in folders; a folder in place of the router's keys is not "none".
            if name != ROUTER_KEYS && entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            let path = entry.path();
            let bytes = || read_keys(&path).map_err(|e| fail(&path, "read keys", e));
            if name == ROUTER_KEYS {
                stored.router_keys = Some(bytes()?);
            } else if let Some(destination) = destination_name(name) {
                stored.destinations.insert(destination.into(), bytes()?);
            }
        }
        Ok(stored)
    }

    fn load_router_infos(&self, stored: &mut Stored) {
        let mut removed = 0_usize;
        let mut unreadable = Unreadable::default();
        self.each_file(NETDB, |entry, name| {
            let Some(hash) = NETDB_FILES.hash(name) else { return };
            let path = entry.path();
            let good = match read(&path, MAX_ROUTER_INFO) {
                Ok(Some(bytes)) => RouterInfo::decode(&bytes)
                    .is_ok_and(|info| info.hash() == hash)
                    .then_some(bytes),
                Ok(None) => None,
                Err(e) => {
                    unreadable.add(&path, e);
                    return;
                }
            };
            match good.filter(|_| stored.router_infos.len() < MAX_ROUTER_INFOS) {
                Some(bytes) => stored.router_infos.push(Arc::from(bytes)),
                None => {
                    debug!("{}: damaged or too many, removed", path.display());
                    removed += usize::from(std::fs::remove_file(&path).is_ok());
                }
            }
        });
        unreadable.tell(NETDB);
        if removed > 0 {
            warn!("removed {removed} damaged or surplus files of the network database");
        }
    }

    fn load_profiles(&self, stored: &mut Stored) {
        let mut unreadable = Unreadable::default();
        self.each_file(PROFILES, |entry, name| {
            let Some(hash) = PROFILE_FILES.hash(name) else { return };
            let full = stored.profiles.len() >= MAX_ROUTER_INFOS;
            match read(&entry.path(), MAX_PROFILE) {
                Ok(Some(bytes)) if !full => {
                    stored.profiles.insert(hash, bytes);
                }
                Ok(_) => {
                    let _ = std::fs::remove_file(entry.path());
                }
                Err(e) => unreadable.add(&entry.path(), e),
            }
        });
        unreadable.tell(PROFILES);
    }

    /// Calls `f` for each file in the folders of `top`, in the order of their names, so that two
    /// starts see the same.
    fn each_file(&self, top: &str, mut f: impl FnMut(&DirEntry, &str)) {
        for folder in sorted(&self.root.join(top)) {
            self.sweep(&folder.path());
            for entry in sorted(&folder.path()) {
                if let Some(name) = entry.file_name().to_str() {
                    f(&entry, name);
                }
            }
        }
    }

    /// Removes what a crash left unfinished in `folder`.
    fn sweep(&self, folder: &Path) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(atomic::is_leftover) {
                debug!("{}: left by a crash, removed", entry.path().display());
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The entries of a folder by name; none when it cannot be read.
pub(super) fn sorted(folder: &Path) -> Vec<DirEntry> {
    let mut entries: Vec<DirEntry> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    entries.sort_by_key(DirEntry::file_name);
    entries
}

/// A whole file, or `None` when it is longer than `max`.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let mut bytes =
        Vec::with_capacity(usize::try_from(file.metadata()?.len().min(max)).unwrap_or_default());
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

fn read_keys(path: &Path) -> io::Result<Vec<u8>> {
    let mode = std::fs::metadata(path)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let problem = format!(
            "permissions are {mode:03o}, others could read them; run: chmod 600 {}",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    let too_long =
        || io::Error::new(io::ErrorKind::InvalidData, format!("longer than {MAX_KEYS} bytes"));
    read(path, MAX_KEYS)?.ok_or_else(too_long)
}
