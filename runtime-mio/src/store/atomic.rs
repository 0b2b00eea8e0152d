//! Files that are old or new after a crash, never neither and never half.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// How the names of unfinished files begin. A start removes those that a crash left.
const TEMP: &str = ".tmp.";

/// Whether a file has to survive the loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// On the medium when the call returns.
    Synced,
    /// Whole or absent after a crash of this process, which is enough for what others can tell us
    /// again.
    Lazy,
}

/// Puts `bytes` into `dir/name`, readable by its owner only.
pub(super) fn replace(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let temp = dir.join(format!("{TEMP}{name}"));
    let result = write_new(&temp, bytes, durability)
        .and_then(|()| std::fs::rename(&temp, dir.join(name)))
        .and_then(|()| sync_dir(dir, durability));
    if result.is_err() {
        let _ = std::fs::remove_file(&temp);
    }
    result
}

/// Removes `dir/name`; fine when there is none.
pub(super) fn remove(dir: &Path, name: &str, durability: Durability) -> io::Result<()> {
    match std::fs::remove_file(dir.join(name)) {
        Ok(()) => sync_dir(dir, durability),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes `parent/name` for its owner only; fine when it is there.
pub(super) fn make_dir(parent: &Path, name: &str, durability: Durability) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(parent.join(name)) {
        Ok(()) => sync_dir(parent, durability),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether a file of this name is a leftover.
pub(super) fn is_leftover(name: &str) -> bool {
    name.starts_with(TEMP)
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    // A leftover could have other permissions, or be a link.
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    match durability {
        Durability::Synced => file.sync_all(),
        Durability::Lazy => Ok(()),
    }
}

fn sync_dir(dir: &Path, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Synced => File::open(dir)?.sync_all(),
        Durability::Lazy => Ok(()),
    }
}
