//! The data folder: where it is, who may read it, and that one router alone uses it.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the lock file. The lock is the kernel's, so a killed router leaves none behind.
const LOCK: &str = "lock";
/// The permissions that the folder must have.
const MODE: u32 = 0o700;
/// Bytes of the lock file that are read to name its holder.
const PID_LEN: u64 = 32;

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// No folder was named, and the environment suggests none.
    #[error("no data folder: neither XDG_DATA_HOME nor HOME is set; use --data-dir DIR")]
    Unknown,
    /// It is not there.
    #[error("data folder {0}: there is none; a router that ran once makes it")]
    Missing(PathBuf),
    /// Something else has its name.
    #[error("data folder {0}: not a directory")]
    NotADirectory(PathBuf),
    /// Others could read our keys, or we could not.
    #[error(
        "data folder {path}: permissions are {mode:03o}, but it holds secret keys and must be 700; run: chmod 700 {path}"
    )]
    Permissions {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another router uses it.
    #[error("data folder {path}: in use by another router{}", holder.as_ref().map(|p| format!(" (process {p})")).unwrap_or_default())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Its process id, if it left one.
        holder: Option<u32>,
    },
    /// The operating system refused.
    #[error("data folder {path}: cannot {what}: {error}")]
    Io {
        /// The folder or a file in it.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Its words.
        error: io::Error,
    },
}

impl DataDirError {
    /// Whether the user has something to fix, rather than the machine.
    #[must_use]
    pub fn is_for_the_user(&self) -> bool {
        match self {
            Self::Unknown
            | Self::Missing(_)
            | Self::NotADirectory(_)
            | Self::Permissions { .. }
            | Self::Locked { .. } => true,
            Self::Io { error, .. } => crate::is_for_the_user(error),
        }
    }
}

/// A data folder that this process alone uses, until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if need be, checks it and locks it.
    ///
    /// # Errors
    ///
    /// See [`DataDirError`].
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let path = std::path::absolute(path)
            .map_err(|e| io_error(path, "find the current directory", e))?;
        if let Err(e) = std::fs::metadata(&path) {
            if e.kind() != io::ErrorKind::NotFound {
                return Err(cannot_read(&path, e));
            }
            DirBuilder::new()
                .recursive(true)
                .mode(MODE)
                .create(&path)
                .map_err(|e| io_error(&path, "create it", e))?;
        }
        check(&path)?;
        let lock = path.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(|e| io_error(&lock, "write", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&path);
                return Err(DataDirError::Locked { path, holder });
            }
            Err(TryLockError::Error(e)) => return Err(io_error(&lock, "lock", e)),
        }
        // Only a courtesy to whoever finds it locked.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { path, _lock: file })
    }

    /// The folder, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The default folder: `$XDG_DATA_HOME/ramson`, else `$HOME/.local/share/ramson`.
///
/// # Errors
///
/// [`DataDirError::Unknown`] when the environment has neither.
pub fn default_path(
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, DataDirError> {
    // The XDG specification has relative paths ignored.
    let absolute = |name| environment(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|base| base.join("ramson"))
        .ok_or(DataDirError::Unknown)
}

/// Checks a folder that is there: a directory, for its owner only.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(path: &Path) -> Result<(), DataDirError> {
    let meta = std::fs::metadata(path).map_err(|e| cannot_read(path, e))?;
    if !meta.is_dir() {
        return Err(DataDirError::NotADirectory(path.into()));
    }
    let mode = meta.mode() & 0o777;
    // Root could use a folder without owner permissions, but whoever took them meant something.
    if mode != MODE {
        return Err(DataDirError::Permissions { path: path.into(), mode });
    }
    std::fs::read_dir(path).map_err(|e| io_error(path, "read it", e))?;
    Ok(())
}

fn cannot_read(path: &Path, e: io::Error) -> DataDirError {
    if e.kind() == io::ErrorKind::NotFound {
        DataDirError::Missing(path.into())
    } else if e.kind() == io::ErrorKind::NotADirectory {
        DataDirError::NotADirectory(path.into())
    } else {
        io_error(path, "read it", e)
    }
}

fn io_error(path: &Path, what: &'static str, error: io::Error) -> DataDirError {
    DataDirError::Io { path: path.into(), what, error }
}

/// The process that uses, or used, a data folder.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path.join(LOCK)).ok()?.take(PID_LEN).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_default_follows_the_environment() {
        let with = |xdg: Option<&str>, home: Option<&str>| {
            default_path(|name| match name {
                "XDG_DATA_HOME" => xdg.map(Into::into),
                _ => home.map(Into::into),
            })
            .ok()
        };
        assert_eq!(with(Some("/x"), Some("/h")), Some("/x/ramson".into()));
        assert_eq!(with(Some("rel"), Some("/h")), Some("/h/.local/share/ramson".into()));
        assert_eq!(with(None, Some("/h")), Some("/h/.local/share/ramson".into()));
        assert_eq!(with(None, None), None);
    }

    #[test]
    fn a_new_folder_is_for_its_owner_only() {
        let tmp = TestDir::new("data-new");
        let dir = DataDir::open(&tmp.path().join("a/b")).unwrap();
        assert_eq!(std::fs::metadata(dir.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn loose_and_missing_permissions_are_refused() {
        let tmp = TestDir::new("data-loose");
        for mode in [0o750, 0o701, 0o755, 0o777, 0o000, 0o500] {
            std::fs::set_permissions(tmp.path(), Permissions::from_mode(mode)).unwrap();
            let e = DataDir::open(tmp.path()).unwrap_err();
            assert!(
                matches!(e, DataDirError::Permissions { mode: m, .. } if m == mode),
                "{mode:o}: {e}"
            );
            assert!(e.to_string().contains("chmod 700"), "{e}");
        }
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let tmp = TestDir::new("data-file");
        let file = tmp.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(DataDir::open(&file), Err(DataDirError::NotADirectory(_))));
        assert!(matches!(DataDir::open(&file.join("x")), Err(DataDirError::NotADirectory(_))));
    }

    #[test]
    fn a_second_router_is_kept_out_until_the_first_is_gone() {
        let tmp = TestDir::new("data-lock");
        let first = DataDir::open(tmp.path()).unwrap();
        let e = DataDir::open(tmp.path()).unwrap_err();
        assert!(e.to_string().contains(&format!("process {}", std::process::id())), "{e}");
        drop(first);
        DataDir::open(tmp.path()).unwrap();
    }
}
