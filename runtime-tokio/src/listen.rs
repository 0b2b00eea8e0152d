//! Listeners that the configuration asks for.

use crate::Error;
use crate::conn::Happened;
use ramson_core::config::Config;
use ramson_core::router::input::Listener;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    if published || config.ntcp2.port.is_some() {
        let ip = config.ntcp2.bind.unwrap_or(match config.ntcp2.host {
            Some(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            Some(IpAddr::V4(_)) | None => Ipv4Addr::UNSPECIFIED.into(),
        });
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
struct Warnings {
    last: Option<Instant>,
}

impl Warnings {
    fn is_due(&mut self, now: Instant) -> bool {
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

    #[test]
    fn a_lasting_shortage_is_told_once_a_minute() {
        let mut warnings = Warnings::default();
        let start = Instant::now();
        let told = (0..1800).filter(|n| warnings.is_due(start + PAUSE * *n)).count();
        assert_eq!(told, 3);
    }
}
