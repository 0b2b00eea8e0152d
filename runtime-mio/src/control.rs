//! The control socket in the data folder: who can enter the folder can ask the router.

use crate::event_loop::Acceptor;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Its name.
const NAME: &str = "control.sock";
/// Socket addresses hold paths up to 104 or 108 bytes, the closing zero included.
const MAX_PATH: usize = 100;

/// A path to the socket that fits into an address.
struct SocketPath {
    path: PathBuf,
    /// The folder, while `path` leads through its descriptor.
    _folder: Option<File>,
}

impl SocketPath {
    fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        if path.as_os_str().len() <= MAX_PATH {
            return Ok(Self { path, _folder: None });
        }
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
        Ok(Self { path, _folder: Some(folder) })
    }
}

/// Listens in `folder`, which is locked, so that a socket found there is a leftover.
pub(crate) fn listen(folder: &Path) -> io::Result<Acceptor> {
    Acceptor::unix(&SocketPath::new(folder)?.path)
}

/// Connects to the router that runs in `folder`.
pub(crate) fn connect(folder: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&SocketPath::new(folder)?.path)
}

/// Removes the socket after a clean end.
pub(crate) fn remove(folder: &Path) {
    // A start removes what is left.
    let _ = std::fs::remove_file(folder.join(NAME));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    #[test]
    fn any_folder_can_have_a_control_socket() {
        let tmp = TestDir::new("control-path");
        for folder in [tmp.path().join("short"), tmp.path().join("long".repeat(40))] {
            std::fs::create_dir(&folder).unwrap();
            let _listener = listen(&folder).unwrap();
            assert!(folder.join(NAME).exists());
            connect(&folder).unwrap();
            remove(&folder);
            assert!(connect(&folder).is_err());
        }
    }
}
