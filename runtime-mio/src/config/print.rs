//! From [`Settings`] to a TOML text.

use super::Settings;
use ramson_core::config::{ServerKind, Tunnels};
use std::fmt::{Display, Write as _};

/// The whole configuration; see [`Settings::to_toml`].
pub(super) fn to_toml(settings: &Settings) -> String {
    let router = &settings.router;
    let mut out = Printer(String::new());

    out.section("[network]");
    out.value("id", router.network.id);
    out.value("allow_local", router.network.allow_local);

    out.section("[ntcp2]");
    out.optional("host", router.ntcp2.host.map(quoted), "the address to publish");
    out.optional("port", router.ntcp2.port, "chosen once and remembered");
    out.optional("bind", router.ntcp2.bind.map(quoted), "any address");
    out.value("publish", router.ntcp2.publish);

    out.section("[reseed]");
    let files: Vec<String> = settings.reseed.iter().map(|p| quoted(p.display())).collect();
    out.value("files", format_args!("[{}]", files.join(", ")));

    out.section("[limits]");
    out.value("bandwidth_in", router.limits.bandwidth_in);
    out.value("bandwidth_out", router.limits.bandwidth_out);
    out.value("share", router.limits.share);
    out.value("transit_tunnels", router.limits.transit_tunnels);

    out.section("[tunnels.exploratory]");
    out.length_and_quantity(router.exploratory);
    out.value("length_variance", router.exploratory.length_variance);
    out.section("[tunnels.client]");
    out.length_and_quantity(router.client);
    out.value("length_variance", router.client.length_variance);

    out.section("[http_proxy]");
    match &router.http_proxy {
        Some(proxy) => {
            out.value("listen", quoted(proxy.listen));
            out.length_and_quantity(proxy.tunnels);
        }
        None => out.value("listen", quoted("off")),
    }
    for server in &router.servers {
        out.section("[[server]]");
        out.value("name", quoted(&server.name));
        out.value("target", quoted(server.target));
        let kind = if server.kind == ServerKind::Http { "http" } else { "tcp" };
        out.value("kind", quoted(kind));
        out.value("keys", quoted(&server.keys));
        out.length_and_quantity(server.tunnels);
    }
    for client in &router.clients {
        out.section("[[client]]");
        out.value("name", quoted(&client.name));
        out.value("listen", quoted(client.listen));
        out.value("destination", quoted(&client.destination));
    }
    out.section("[log]");
    out.value("level", quoted(settings.log_level.as_str().to_ascii_lowercase()));
    out.0
}

struct Printer(String);

// Writing to a String cannot fail.
impl Printer {
    fn section(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}{header}");
    }

    fn value(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.0, "{key} = {value}");
    }

    /// An absent value becomes a comment that says what that means.
    fn optional(&mut self, key: &str, value: Option<impl Display>, absent: &str) {
        match value {
            Some(value) => self.value(key, value),
            None => {
                let _ = writeln!(self.0, "# {key}: {absent}");
            }
        }
    }

    fn length_and_quantity(&mut self, tunnels: Tunnels) {
        self.value("length", tunnels.length);
        self.value("quantity", tunnels.quantity);
    }
}

/// A TOML string.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}
