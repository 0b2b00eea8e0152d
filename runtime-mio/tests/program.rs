//! The program as its users meet it: exit codes, messages, signals.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A folder for one test, removed afterwards.
struct TestDir(PathBuf);

impl TestDir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ramson-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ramson(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ramson"));
    command.args(args).stdin(Stdio::null()).env_remove("XDG_DATA_HOME").env_remove("HOME");
    command
}

fn output(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = ramson(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running router that is killed when the test ends.
struct Running(Child);

impl Running {
    /// Starts one and waits until its control socket is there.
    fn start(data: &Path, config: &Path) -> Self {
        Self::wait_for(ramson(&["--data-dir", str(data), "--config", str(config)]), data)
    }

    fn wait_for(mut command: Command, data: &Path) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let socket = data.join("control.sock");
        for _ in 0..2000 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return Self(child);
            }
            if let Some(status) = child.try_wait().unwrap() {
                let mut text = String::new();
                child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
                panic!("ended with {status}: {text}");
            }
            wait();
        }
        let _ = child.kill();
        panic!("no control socket");
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The exit code and the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().code(), text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, in small steps")]
fn wait() {
    std::thread::sleep(Duration::from_millis(10));
}

const NO_PROXY: &str = "[http_proxy]\nlisten = \"off\"\n";

#[test]
fn wrong_usage_is_2() {
    for args in [
        &["--nonsense"][..],
        &["dance"],
        &["run", "extra"],
        &["-v", "-q"],
        &["run", "--json"],
        &["--config"],
    ] {
        let (code, out, err) = output(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.starts_with("error: "), "{err}");
    }
}

#[test]
fn help_and_version_are_0() {
    let (code, out, _) = output(&["--help"]);
    assert_eq!(code, 0);
    for word in ["run", "info", "replay", "check-config", "--data-dir", "--config", "Exit codes"] {
        assert!(out.contains(word), "{out}");
    }
    let (code, out, _) = output(&["--version"]);
    assert_eq!((code, out.as_str()), (0, concat!("ramson ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn wrong_configuration_is_2_and_makes_nothing() {
    let tmp = TestDir::new("config");
    let config = tmp.file("x.toml", "[ntcp2]\nprot = 1\n");
    let data = tmp.data();
    for verb in ["run", "check-config"] {
        let (code, out, err) = output(&[verb, "--data-dir", str(&data), "--config", str(&config)]);
        let want = format!(
            "{}:2: ntcp2.prot: unknown key; allowed: enabled, host, port, bind, publish\n",
            config.display()
        );
        assert_eq!((code, out.as_str(), err), (2, "", want));
    }
    assert!(!data.exists());
}

#[test]
fn check_config_prints_what_it_reads() {
    let tmp = TestDir::new("check");
    let config = tmp
        .file("x.toml", "limits.share = 10\n[[server]]\nname = \"a\"\ntarget = \"localhost:80\"\n");
    let (code, printed, err) = output(&["check-config", "--config", str(&config)]);
    assert_eq!((code, err.as_str()), (0, ""));
    let again = tmp.file("y.toml", &printed);
    assert_eq!(output(&["check-config", "--config", str(&again)]), (0, printed, String::new()));
}

#[test]
fn the_folders_own_configuration_is_used() {
    let tmp = TestDir::new("own-config");
    tmp.file("ramson.toml", "[log]\nlevel = \"loud\"\n");
    let (code, _, err) = output(&["--data-dir", str(&tmp.0)]);
    assert!(code == 2 && err.contains("ramson.toml:2: log.level: "), "{code}: {err}");
}

#[test]
fn a_folder_that_others_can_read_is_2() {
    let tmp = TestDir::new("loose");
    std::fs::set_permissions(&tmp.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, _, err) = output(&["--data-dir", str(&tmp.0)]);
    assert!(code == 2 && err.contains("permissions are 755"), "{code}: {err}");
}

#[test]
fn no_folder_at_all_is_2() {
    let (code, _, err) = output(&["info"]);
    assert!(code == 2 && err.contains("--data-dir"), "{code}: {err}");
}

#[test]
fn a_port_in_use_is_2() {
    let tmp = TestDir::new("port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let config = tmp.file("x.toml", &format!("[http_proxy]\nlisten = \"{addr}\"\n"));
    let (code, _, err) = output(&["--data-dir", str(&tmp.data()), "--config", str(&config), "-q"]);
    let want = format!("ramson: cannot listen on {addr} for http_proxy.listen: ");
    assert!(code == 2 && err.lines().any(|l| l.starts_with(&want)), "{code}: {err}");
}

#[test]
fn two_routers_cannot_share_a_folder_and_a_killed_one_leaves_it_free() {
    let tmp = TestDir::new("lock");
    let config = tmp.file("x.toml", NO_PROXY);
    let first = Running::start(&tmp.data(), &config);
    let (code, _, err) = output(&["--data-dir", str(&tmp.data()), "--config", str(&config)]);
    let want = format!("in use by another router (process {})", first.0.id());
    assert!(code == 2 && err.contains(&want), "{code}: {err}");
    first.signal("-KILL");
    assert_eq!(first.end().0, None);
    drop(Running::start(&tmp.data(), &config));
}

#[test]
fn a_second_signal_stops_at_once() {
    let tmp = TestDir::new("signals");
    let config = tmp.file("x.toml", NO_PROXY);
    let router = Running::start(&tmp.data(), &config);
    router.signal("-TERM");
    wait();
    router.signal("-INT");
    let (code, log) = router.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().last().unwrap().ends_with("stopped"), "{log}");
    assert!(!tmp.data().join("control.sock").exists());
}

#[test]
fn a_terminal_that_goes_is_a_goodbye_too() {
    let tmp = TestDir::new("hangup");
    let config = tmp.file("x.toml", NO_PROXY);
    let router = Running::start(&tmp.data(), &config);
    router.signal("-HUP");
    let (code, log) = router.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("said goodbye"), "{log}");
}

#[test]
fn nohup_keeps_the_router_running_when_the_terminal_goes() {
    let tmp = TestDir::new("nohup");
    let config = tmp.file("x.toml", NO_PROXY);
    let mut shell = Command::new("sh");
    let exe = env!("CARGO_BIN_EXE_ramson");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh", exe]);
    shell.args(["--data-dir", str(&tmp.data()), "--config", str(&config)]).stdin(Stdio::null());
    let router = Running::wait_for(shell, &tmp.data());
    router.signal("-HUP");
    router.signal("-TERM");
    let (code, log) = router.end();
    assert_eq!(code, Some(0), "{log}");
    // One stop, in good order: the hangup was none.
    assert!(log.contains("said goodbye") && !log.contains("stopping at once"), "{log}");
}

#[test]
fn a_folder_that_cannot_be_made_is_2() {
    for data in ["/dev/null/data", "/proc/nobody/data"] {
        let (code, _, err) = output(&["--data-dir", data]);
        assert!(code == 2 && err.contains(&format!("data folder {data}: ")), "{code}: {err}");
    }
}

#[test]
fn a_bare_start_warns_once_that_no_network_is_known() {
    let tmp = TestDir::new("bare");
    let config = tmp.file("x.toml", NO_PROXY);
    let router = Running::start(&tmp.data(), &config);
    router.signal("-TERM");
    let (_, log) = router.end();
    let warnings: Vec<&str> = log.lines().filter(|l| l.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].ends_with("give RouterInfo files to start from"), "{log}");
}

#[test]
fn a_proxy_for_everybody_is_warned_of() {
    let tmp = TestDir::new("open");
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let listen = format!("0.0.0.0:{port}");
    let config = tmp.file("x.toml", &format!("[http_proxy]\nlisten = \"{listen}\"\n"));
    let router = Running::start(&tmp.data(), &config);
    router.signal("-TERM");
    let (_, log) = router.end();
    let want = format!("http_proxy.listen: anybody who can reach {listen} can use it");
    assert!(log.lines().any(|l| l.contains(" WARN ") && l.ends_with(&want)), "{log}");
}

/// A router that runs with `--record`, and the recording of its first start.
fn record(tmp: &TestDir) -> (Running, PathBuf) {
    let config = tmp.file("x.toml", NO_PROXY);
    let data = tmp.data();
    let args = ["--data-dir", str(&data), "--config", str(&config), "run", "--record"];
    let router = Running::wait_for(ramson(&args), &data);
    (router, data.join("recordings/000001.recording"))
}

#[test]
fn a_recorded_router_is_played_to_the_same_outputs() {
    let tmp = TestDir::new("record");
    let (router, file) = record(&tmp);
    output(&["info", "--data-dir", str(&tmp.data())]);
    router.signal("-TERM");
    let (code, log) = router.end();
    assert_eq!(code, Some(0), "{log}");
    let warning = format!("recording to {}: with the private keys", file.display());
    assert!(log.lines().any(|l| l.contains(" WARN ") && l.contains(&warning)), "{log}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    let (code, out, err) = output(&["replay", str(&file)]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("same outputs: ") && out.contains("the router stopped"), "{out}");
    let (code, out, err) = output(&["replay", str(&file), "--json", "--until", "2"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("\"inputs\":2,") && out.contains("\"same\":true"), "{out}");
    // The router says the same again, at the times of then.
    let (code, _, replayed) = output(&["replay", str(&file), "--log"]);
    assert_eq!(code, 0);
    let of_the_core = |log: &str| -> Vec<String> {
        let lines = log.lines().filter(|l| l.contains(" ramson_core::"));
        lines.map(|l| l.split_once("Z ").unwrap().1.to_owned()).collect()
    };
    assert!(!of_the_core(&log).is_empty(), "{log}");
    assert_eq!(of_the_core(&replayed), of_the_core(&log));
    let (_, _, more) = output(&["replay", str(&file), "-v"]);
    assert!(more.contains("input 1 at 0.000000 s: start"), "{more}");
}

#[test]
fn the_recording_of_a_killed_router_is_played_too() {
    let tmp = TestDir::new("record-killed");
    let (router, file) = record(&tmp);
    output(&["info", "--data-dir", str(&tmp.data())]);
    router.signal("-KILL");
    assert_eq!(router.end().0, None);
    let (code, out, err) = output(&["replay", str(&file)]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("was killed"), "{out}");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let (code, out, _) = output(&["replay", str(&file)]);
    assert!(code == 0 && out.contains("torn at byte "), "{code}: {out}");
}

#[test]
fn what_cannot_be_played_is_2() {
    let tmp = TestDir::new("replay");
    let (router, file) = record(&tmp);
    router.signal("-TERM");
    router.end();
    let bytes = std::fs::read(&file).unwrap();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        output(&["replay", str(&file)])
    };
    let name = file.display();
    for (at, want) in [
        (0, "not a recording of ramson\n".to_owned()),
        (8, "a recording in format 0; this program plays format 1\n".to_owned()),
        (12, "damaged at byte 12: ".to_owned()),
        (bytes.len() - 1, "damaged at byte ".to_owned()),
    ] {
        let (code, _, err) = changed(at);
        let want = format!("ramson: {name}: {want}");
        assert!(code == 2 && err.starts_with(&want), "{at}: {code}: {err}");
    }
    // What comes before the damage is played.
    let (_, out, _) = changed(bytes.len() - 1);
    assert!(out.contains("same outputs: "), "{out}");
    for (args, want) in [
        (&["replay", "/nonexistent"][..], "ramson: /nonexistent: cannot read: "),
        (&["replay", "/dev/null"], "ramson: /dev/null: not a recording of ramson\n"),
        (&["replay", str(&tmp.0)], "cannot read: "),
        (&["replay"], "error: "),
        (&["replay", "/dev/null", "--data-dir", "/tmp"], "leave --data-dir and --config out"),
    ] {
        let (code, out, err) = output(args);
        assert!(code == 2 && out.is_empty() && err.contains(want), "{args:?}: {code}: {err}");
    }
}
