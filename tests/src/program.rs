//! The program as a process, for tests of what it leaves behind and what it says.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder of one test, for its owner only, removed afterwards.
pub struct Folder(PathBuf);

/// What a program that ended left.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A running router. Killed when dropped.
pub struct Running {
    child: Child,
    data: PathBuf,
    log: PathBuf,
}

impl Folder {
    /// `name` must be unique among the tests of this package.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ramson-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A data folder in it with this configuration.
    #[must_use]
    pub fn data(&self, name: &str, config: &str) -> PathBuf {
        let data = self.join(name);
        DirBuilder::new().mode(0o700).recursive(true).create(&data).unwrap();
        std::fs::write(data.join("ramson.toml"), config).unwrap();
        data
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::set_permissions(&self.0, Permissions::from_mode(0o700));
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program in a data folder to its end.
#[must_use]
pub fn output(exe: &str, data: &Path, args: &[&str]) -> Ended {
    let Output { status, stdout, stderr } =
        crate::node::command(exe, data).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// Writes a file for its owner only, as keys must be.
pub fn write_private(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Waits until `f` gives something, at most `limit`.
pub fn wait_for<T>(limit: Duration, what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Running {
    /// Starts `run` and does not wait for anything. What it logs is added to `log.txt` beside the
    /// data folder.
    #[must_use]
    pub fn spawn(exe: &str, data: &Path) -> Self {
        let log = data.with_extension("log.txt");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = crate::node::command(exe, data)
            .arg("run")
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, data: data.into(), log }
    }

    /// Starts `run` and waits until it answers `info`, with what it answered.
    #[must_use]
    pub fn start(exe: &str, data: &Path) -> (Self, serde_json::Value) {
        let mut running = Self::spawn(exe, data);
        let info = wait_for(Duration::from_secs(20), "an answer to `info`", || {
            assert!(running.is_running(), "it ended at once:\n{}", running.log());
            running.info()
        });
        (running, info)
    }

    /// What the router says over its control socket, if it listens there already.
    #[must_use]
    pub fn info(&self) -> Option<serde_json::Value> {
        let mut socket = UnixStream::connect(self.data.join("control.sock")).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.write_all(b"info\n").ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).ok()?;
        serde_json::from_slice(&answer).ok()
    }

    /// All that it and those before it in the same folder logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, such as `-TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// SIGKILL, and wait.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; the exit code, and how long it took.
    pub fn end(&mut self, limit: Duration) -> (Option<i32>, Duration) {
        let start = Instant::now();
        let code = wait_for(limit, "its end", || self.child.try_wait().unwrap()).code();
        (code, start.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the router ---\n{}", self.log());
        }
    }
}

/// Sends `bytes` in `pieces` to `to`, ends the stream if told so, and reads all that comes back
/// until the other side ends or `patience` is over.
#[must_use]
pub fn answer_to(to: SocketAddr, pieces: &[&[u8]], end: bool, patience: Duration) -> Vec<u8> {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    for piece in pieces {
        // The other side may have had enough.
        if socket.write_all(piece).is_err() {
            break;
        }
    }
    if end {
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    answer
}
