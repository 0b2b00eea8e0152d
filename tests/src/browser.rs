//! A real browser without a window.

use crate::png::Picture;
use crate::program::{Folder, wait_for};
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program, as Debian names it.
pub const PROGRAM: &str = "chromium";
/// The size of the window, in pixels.
pub const WINDOW: (usize, usize) = (1000, 700);

/// Longer than any page takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a user sees of a page.
pub struct View {
    /// The document after it was loaded, as HTML.
    pub dom: String,
    /// The window.
    pub picture: Picture,
}

/// Opens `url` through the proxy with a new profile, and keeps a picture in `screenshot`.
///
/// # Panics
/// When the browser does not end by itself in time, or makes no picture.
#[must_use]
pub fn view(url: &str, proxy: SocketAddr, screenshot: &Path) -> View {
    let name = screenshot.file_stem().unwrap().to_str().unwrap();
    let folder = Folder::new(&format!("browser-{name}"));
    let _ = std::fs::remove_file(screenshot);
    let [dom, log] = ["dom", "log"].map(|name| folder.join(name));
    let (width, height) = WINDOW;
    let child = Command::new(PROGRAM)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-breakpad", "--disable-dev-shm-usage", "--hide-scrollbars"])
        // No name is to be asked of DNS; the proxy is given by its address.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--proxy-server={proxy}"))
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--screenshot={}", screenshot.display()))
        .args(["--dump-dom", url])
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(File::create(&dom).unwrap())
        .stderr(File::create(&log).unwrap())
        // With a group of its own, all its processes can be ended together.
        .process_group(0)
        .spawn()
        .unwrap();
    let mut group = Group(child);
    let ended = wait_for(PATIENCE, url, || group.0.try_wait().unwrap());
    drop(group);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(ended.success(), "{ended}: {said}");
    let file = std::fs::read(screenshot).unwrap_or_else(|e| panic!("no picture: {e}: {said}"));
    let picture = Picture::decode(&file).unwrap();
    View { dom: std::fs::read_to_string(&dom).unwrap(), picture }
}

/// A process and those that it started. Killed when dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        // Most often nobody is left.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}
