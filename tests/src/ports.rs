//! Ports for routers that start again and again.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that systems give to outgoing connections, so that a port which is free now is
/// free when its router starts again.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 18_000;
/// More ports than all tests of a process need.
const STRIDE: u64 = 601;

/// An address that nobody has, and nobody else of this process gets.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free(ip: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other processes of this kind begin far from here.
    let first = u64::from(std::process::id()) * STRIDE % u64::from(PORTS);
    let first = u16::try_from(first).unwrap();
    for _ in 0..PORTS {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let address = SocketAddr::new(ip, FIRST_PORT + (first + n) % PORTS);
        // Not by listening there: a process that another thread is making has a copy of such a socket
        // until it is another program, and the port would not be free for a moment.
        let there = TcpStream::connect(address);
        if there.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused) {
            return address;
        }
    }
    panic!("no port is free");
}
