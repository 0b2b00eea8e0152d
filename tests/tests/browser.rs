//! A browser sees the example site of `ramson testnet`, and what the proxy says of names that nobody
//! has. The pictures stay in `target/artifacts`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says when it does not run"
)]

use ramson_tests::program::{Folder, wait_for};
use ramson_tests::testnet::{LONG, Testnet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");
const WIDTH: usize = 900;
const HEIGHT: usize = 700;
/// Rows of a picture that show something, at the least: some lines of text.
const INKED: usize = 100;

#[test]
fn a_browser_shows_the_example_site_and_what_is_wrong_with_other_names() {
    let Some(browser) = browser() else { return };
    let mut testnet = Testnet::start(EXE, &[]);
    testnet.wait("open");
    let profile = Folder::new("browser");
    let view = View { browser, proxy: testnet.proxy, profile: profile.path().to_owned() };

    let page = view.text("http://example.i2p/");
    assert!(page.contains("It works.") && page.contains(".b32.i2p"), "{page}");
    view.picture("http://example.i2p/", "example-site.png");

    let page = view.text("http://nobody-has-this-name.i2p/");
    assert!(page.contains("nobody-has-this-name.i2p"), "{page}");
    assert!(!page.contains("ERR_"), "the proxy's page, not the browser's: {page}");
    view.picture("http://nobody-has-this-name.i2p/", "unknown-name.png");
    testnet.stop();
}

/// Debian's Chromium, or, where `CI` is not set, nothing and a word about it.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join("chromium")).find(|p| p.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "this test needs chromium");
        eprintln!("SKIPPED: the browser test needs chromium");
    }
    found
}

struct View {
    browser: PathBuf,
    proxy: SocketAddr,
    profile: PathBuf,
}

impl View {
    /// What is on the page once it is loaded.
    fn text(&self, url: &str) -> String {
        self.run(url, &["--dump-dom"])
    }

    /// Draws the page, and checks that there is something on it.
    fn picture(&self, url: &str, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("artifacts");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        let _ = std::fs::remove_file(&file);
        let (screenshot, size) =
            (format!("--screenshot={}", file.display()), format!("--window-size={WIDTH},{HEIGHT}"));
        self.run(url, &[&screenshot, &size, "--hide-scrollbars"]);
        let rows = inked_rows(&std::fs::read(&file).unwrap());
        assert!(rows >= INKED, "{}: {rows} rows of {HEIGHT} show something", file.display());
        eprintln!("{url} is drawn in {}", file.display());
    }

    /// Runs the browser, with a profile that is new and no network but the proxy.
    fn run(&self, url: &str, options: &[&str]) -> String {
        let out = self.profile.join("out");
        let _ = std::fs::remove_dir_all(self.profile.join("data"));
        let child = Command::new(&self.browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
            .args(["--disable-component-update", "--disable-dev-shm-usage"])
            .arg(format!("--proxy-server={}", self.proxy))
            .arg(format!("--user-data-dir={}", self.profile.join("data").display()))
            .args(options)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out).unwrap())
            .stderr(std::fs::File::create(self.profile.join("err")).unwrap())
            .spawn()
            .unwrap();
        let status = Running(child).wait();
        let said = std::fs::read_to_string(self.profile.join("err")).unwrap_or_default();
        assert_eq!(status, Some(0), "the browser says {said}");
        std::fs::read_to_string(&out).unwrap()
    }
}

/// A browser; killed when dropped.
struct Running(Child);

impl Running {
    fn wait(mut self) -> Option<i32> {
        wait_for(LONG, "the browser's end", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Rows of a PNG (ISO/IEC 15948) that are not of one colour.
fn inked_rows(png: &[u8]) -> usize {
    let rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").unwrap();
    let (mut at, mut compressed, mut bytes_per_pixel) = (0, Vec::new(), 0);
    while let Some(head) = rest.get(at..at + 8) {
        let len = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        let data = &rest[at + 8..at + 8 + len];
        match &head[4..] {
            b"IHDR" => {
                let number = |i: usize| u32::from_be_bytes(data[i..i + 4].try_into().unwrap());
                assert_eq!((number(0) as usize, number(4) as usize), (WIDTH, HEIGHT));
                // Eight bits a sample; three or four of them.
                assert_eq!(data[8], 8);
                bytes_per_pixel = match data[9] {
                    2 => 3,
                    6 => 4,
                    other => panic!("colour type {other}"),
                };
            }
            b"IDAT" => compressed.extend_from_slice(data),
            _ => {}
        }
        at += 12 + len;
    }
    let raw = miniz_oxide::inflate::decompress_to_vec_zlib(&compressed).unwrap();
    let stride = 1 + WIDTH * bytes_per_pixel;
    assert_eq!(raw.len(), HEIGHT * stride);
    let mut above = vec![0; stride - 1];
    let mut inked = 0;
    for row in raw.chunks(stride) {
        above = unfiltered(row[0], &row[1..], &above, bytes_per_pixel);
        let (first, others) = above.split_at(bytes_per_pixel);
        inked += usize::from(others.chunks(bytes_per_pixel).any(|pixel| pixel != first));
    }
    inked
}

/// Undoes the filter of a row (section 9).
fn unfiltered(filter: u8, row: &[u8], above: &[u8], bytes_per_pixel: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(row.len());
    for (i, byte) in row.iter().enumerate() {
        let back = i.checked_sub(bytes_per_pixel);
        let (a, b, c) = (back.map_or(0, |i| out[i]), above[i], back.map_or(0, |i| above[i]));
        let guess = match filter {
            0 => 0,
            1 => a,
            2 => b,
            3 => u8::midpoint(a, b),
            4 => {
                let p = i32::from(a) + i32::from(b) - i32::from(c);
                let distance = |of: u8| (p - i32::from(of)).abs();
                if distance(a) <= distance(b) && distance(a) <= distance(c) {
                    a
                } else if distance(b) <= distance(c) {
                    b
                } else {
                    c
                }
            }
            other => panic!("filter {other}"),
        };
        out.push(byte.wrapping_add(guess));
    }
    out
}
