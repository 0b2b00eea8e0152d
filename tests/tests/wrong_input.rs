//! What users and strangers get wrong: a clear message, an exit code that tells, nothing lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ramson_core::rng::{Rng, Seed};
use ramson_tests::i2pd::wait;
use ramson_tests::node::{self, Node};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXE: &str = env!("CARGO_BIN_EXE_ramson-under-test");

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn config(ntcp2: SocketAddr, proxy: SocketAddr) -> String {
    format!(
        "[network]\nid = 99\nallow_local = true\n[ntcp2]\nhost = \"127.0.0.1\"\nport = {}\n\
         bind = \"127.0.0.1\"\n[http_proxy]\nlisten = \"{proxy}\"\n\
         [[server]]\nname = \"site\"\ntarget = \"127.0.0.1:9\"\nkeys = \"site.dat\"\n",
        ntcp2.port()
    )
}

fn folder(name: &str) -> PathBuf {
    let data = std::env::temp_dir().join(format!("ramson-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&data);
    data
}

fn hash(data: &Path) -> Option<String> {
    Node::info(EXE, data).get("router")?.get("hash")?.as_str().map(str::to_owned)
}

fn started(data: &Path) -> String {
    wait("the router", Duration::from_secs(20), || {
        Node::info(EXE, data).get("running")?.as_bool().filter(|r| *r)?;
        hash(data)
    })
}

#[test]
fn a_damaged_key_file_is_an_error_and_never_a_new_identity() {
    let data = folder("damaged");
    let mut node = Node::start(EXE, &data, &config(free_address(), free_address()));
    started(&data);
    node.kill();
    for file in ["router.keys", "site.dat"] {
        let path = data.join("keys").join(file);
        let good = fs::read(&path).unwrap();
        let mut last = good.clone();
        *last.last_mut().unwrap() ^= 1;
        for bad in [Vec::new(), good.iter().take(100).copied().collect(), last] {
            fs::write(&path, &bad).unwrap();
            let out = node::command(EXE, &data).arg("run").output().unwrap();
            let text = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success(), "{file}");
            assert!(text.contains(file), "names {file}: {text}");
            assert_eq!(fs::read(&path).unwrap(), bad, "{file} is left as it was");
        }
        fs::write(&path, &good).unwrap();
    }
    drop(Node::restart(EXE, &data));
    let _ = fs::remove_dir_all(&data);
}

#[test]
fn garbage_on_the_ntcp2_port_is_never_answered_and_harms_nothing() {
    let data = folder("garbage");
    let ntcp2 = free_address();
    let node = Node::start(EXE, &data, &config(ntcp2, free_address()));
    let before = started(&data);
    let mut rng = Rng::new(&Seed::from_number(3));
    let mut idle = Vec::new();
    for i in 0..200 {
        let mut stream = TcpStream::connect(ntcp2).unwrap();
        let mut garbage = vec![0; rng.below(2000) as usize];
        rng.fill(&mut garbage);
        // The router may have reset the stream already.
        let _ = stream.write_all(&garbage);
        if i % 2 == 0 {
            idle.push(stream);
        }
    }
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut answer = [0; 64];
        // Silence, the end, or a reset; never a byte.
        assert!(!matches!(stream.read(&mut answer), Ok(n) if n > 0));
    }
    assert_eq!(started(&data), before);
    drop(node);
    let _ = fs::remove_dir_all(&data);
}

#[test]
fn bad_lines_of_hosts_txt_are_named_and_the_others_are_used() {
    let data = folder("hosts");
    // The identity of any destination will do: our own, from a first start.
    let mut node = Node::start(EXE, &data, &config(free_address(), free_address()));
    started(&data);
    node.kill();
    let keys = fs::read(data.join("keys/site.dat")).unwrap();
    let destination = data_encoding::BASE64.encode(keys.get(..391).unwrap());
    let destination = destination.replace('+', "-").replace('/', "~");
    let text =
        format!("# names\ngood.i2p={destination}\nno equals sign\nBad_.i2p={destination}\n\u{0}\n");
    fs::write(data.join("hosts.txt"), text).unwrap();
    let node = Node::restart(EXE, &data);
    started(&data);
    let log = fs::read_to_string(data.join("log.txt")).unwrap();
    assert!(log.contains("line 3") && log.contains("line 4"), "{log}");
    assert_eq!(Node::info(EXE, &data).get("names").and_then(|n| n.as_u64()), Some(1));
    drop(node);
    let _ = fs::remove_dir_all(&data);
}

#[test]
fn a_partial_line_on_the_control_socket_hangs_nobody() {
    let data = folder("partial");
    let node = Node::start(EXE, &data, &config(free_address(), free_address()));
    let before = started(&data);
    let mut slow = std::os::unix::net::UnixStream::connect(data.join("control.sock")).unwrap();
    slow.write_all(b"inf").unwrap();
    assert_eq!(started(&data), before);
    slow.write_all(b"o\n").unwrap();
    let mut answer = String::new();
    slow.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&before), "{answer}");
    drop(node);
    let _ = fs::remove_dir_all(&data);
}
