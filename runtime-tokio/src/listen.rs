//! Listeners that the configuration asks for.

use crate::Error;
use crate::conn::Happened;
use crate::udp::Udp;
use ramson_core::config::Config;
use ramson_core::router::input::Listener;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Pause when descriptors run out: others must close first.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause between warnings about that.
const QUIET: Duration = Duration::from_secs(60);

/// Binds them, and fills in the port of NTCP2 where any will do.
pub(crate) async fn bind(config: &mut Config) -> Result<Vec<(Listener, TcpListener)>, Error> {
    let mut wanted = Vec::new();
    // Nobody can know the way to a router without address or port.
    let published = config.ntcp2.publish && config.ntcp2.host.is_some();
    if config.ntcp2.enabled && (published || config.ntcp2.port.is_some()) {
        let ip = config.ntcp2_bind();
        let port = config.ntcp2.port.unwrap_or(0);
        wanted.push((Listener::Ntcp2, SocketAddr::new(ip, port)));
    }
    if let Some(proxy) = &config.http_proxy {
        wanted.push((Listener::HttpProxy, proxy.listen));
    }
    for (index, client) in (0..=u16::MAX).zip(&config.clients) {
        wanted.push((Listener::Client(index), client.listen));
    }
    let mut bound = Vec::new();
    for (listener, address) in wanted {
        let fail = |error| Error::Bind { listener, address, error };
        let socket = TcpListener::bind(address).await.map_err(fail)?;
        if listener == Listener::Ntcp2 {
            config.ntcp2.port = Some(socket.local_addr().map_err(fail)?.port());
        }
        bound.push((listener, socket));
    }
    Ok(bound)
}

/// Binds the socket of SSU2, unless that is off, and fills in its port: the one that is configured, else that of
/// NTCP2, so that there is one to forward, else any.
pub(crate) fn bind_ssu2(config: &mut Config) -> Result<Option<Udp>, Error> {
    if !config.ssu2.enabled {
        config.ssu2.port = None;
        return Ok(None);
    }
    let ip = config.ssu2_bind();
    let listen = |port| {
        let address = SocketAddr::new(ip, port);
        let bound = Udp::bind(address).and_then(|udp| Ok((udp.local_addr()?.port(), udp)));
        bound.map_err(|error| Error::BindSsu2 { address, error })
    };
    let (port, udp) = match (config.ssu2.port, config.ntcp2.port) {
        (Some(port), _) => listen(port)?,
        (None, Some(wanted)) => listen(wanted).or_else(|e| {
            log::info!("{e}; choosing another port");
            listen(0)
        })?,
        (None, None) => listen(0)?,
    };
    config.ssu2.port = Some(port);
    Ok(Some(udp))
}

/// Accepts until nobody wants the streams any more.
pub(crate) async fn accept(
    listener: Listener,
    socket: TcpListener,
    happened: mpsc::Sender<Happened>,
) {
    let mut warnings = Warnings::default();
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                // RST, should it be dropped before the router knows it; see `conn::Writer`.
                let _dead = stream.set_zero_linger();
                if happened.send(Happened::Accepted { listener, stream, remote }).await.is_err() {
                    return;
                }
            }
            Err(e) => {
                if warnings.is_due(Instant::now()) {
                    log::warn!("cannot accept streams for the moment: {e}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// When to say again what goes on happening.
#[derive(Default)]
pub(crate) struct Warnings {
    last: Option<Instant>,
}

impl Warnings {
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= QUIET);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A router at an address of this machine.
    fn local() -> Config {
        let mut config = Config::default();
        (config.ntcp2.host, config.ntcp2.bind, config.ssu2.bind) =
            (Some(LOCAL), Some(LOCAL), Some(LOCAL));
        config
    }

    #[tokio::test]
    async fn ssu2_has_the_port_of_ntcp2_if_nobody_else_does() {
        let mut config = local();
        let _listeners = bind(&mut config).await.unwrap();
        let mut other = config.clone();
        let udp = bind_ssu2(&mut config).unwrap().unwrap();
        assert_eq!(config.ssu2.port, config.ntcp2.port);
        assert_eq!(udp.local_addr().unwrap(), (LOCAL, config.ssu2.port.unwrap()).into());

        let udp = bind_ssu2(&mut other).unwrap().unwrap();
        assert_ne!(other.ssu2.port, other.ntcp2.port, "that one is taken");
        assert_eq!(udp.local_addr().unwrap().port(), other.ssu2.port.unwrap());

        // That it was asked for is another matter.
        other.ssu2.port = config.ssu2.port;
        let e = bind_ssu2(&mut other).err().unwrap().to_string();
        let address = SocketAddr::new(LOCAL, config.ssu2.port.unwrap());
        let start = format!("cannot listen on {address} for ssu2.port: ");
        assert!(e.starts_with(&start), "{e}");
    }

    #[tokio::test]
    async fn what_is_off_has_no_socket() {
        let mut config = local();
        (config.ntcp2.enabled, config.ntcp2.port) = (false, Some(1));
        (config.ssu2.enabled, config.ssu2.port) = (false, Some(1));
        assert!(bind(&mut config).await.unwrap().is_empty());
        assert!(bind_ssu2(&mut config).unwrap().is_none());
        assert_eq!(config.ssu2.port, None, "the router knows by this that there is none");
    }

    #[tokio::test]
    async fn the_family_is_that_of_the_host_and_the_address_any() {
        for (own, ntcp2, want) in [
            (None, None, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            (None, Some(LOCAL), Ipv4Addr::UNSPECIFIED.into()),
            (Some(Ipv6Addr::LOCALHOST.into()), Some(LOCAL), Ipv6Addr::UNSPECIFIED.into()),
        ] {
            let mut config = Config::default();
            (config.ssu2.host, config.ntcp2.host) = (own, ntcp2);
            let udp = bind_ssu2(&mut config).unwrap().unwrap();
            assert_eq!(udp.local_addr().unwrap().ip(), want);
        }
    }

    #[test]
    fn a_lasting_shortage_is_told_once_a_minute() {
        let mut warnings = Warnings::default();
        let start = Instant::now();
        let told = (0..1800).filter(|n| warnings.is_due(start + PAUSE * *n)).count();
        assert_eq!(told, 3);
    }
}
