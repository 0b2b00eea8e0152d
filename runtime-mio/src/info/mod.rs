//! `ramson info`: what the router in a data folder is and does.
//!
//! A running router answers itself, over its control socket; of one that does not run the files
//! tell. Both give one document with the same keys.

mod table;

pub(crate) use table::size;

use crate::config::Settings;
use crate::control;
use crate::data_dir;
use crate::store::{ROUTER_KEYS, Store};
use ramson_core::client::tunnel::Destination;
use ramson_core::config::{Config, HttpProxy, ServerKind};
use ramson_core::keys::{DestinationKeys, KeysError, RouterKeys};
use ramson_core::router::input::Stored;
use ramson_core::wire::base64;
use ramson_core::wire::router_info::RouterInfo;
use serde_json::{Map, Value, json};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a router may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 16 << 20;
/// The version of the documents.
const VERSION: u64 = 1;
/// The largest RouterInfo, in bytes.
const MAX_ROUTER_INFO: u64 = 4096;

/// What is known of a router.
#[derive(Debug)]
pub struct Info(Value);

/// Why nothing can be said about a router.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfoError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] data_dir::DataDirError),
    /// The router runs but does not answer as it should.
    #[error("the running router does not answer: {0}")]
    Answer(io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Keys that cannot be read.
    #[error("{file}: {error}", file = file.display())]
    Keys {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong.
        error: KeysError,
    },
    /// No router ever ran there.
    #[error("data folder {}: no router has run here yet", .0.display())]
    NoRouter(std::path::PathBuf),
}

impl InfoError {
    /// Whether the user has something to fix, rather than the machine.
    #[must_use]
    pub fn is_for_the_user(&self) -> bool {
        match self {
            Self::DataDir(e) => e.is_for_the_user(),
            Self::Store(e) => e.is_for_the_user(),
            Self::Keys { .. } | Self::NoRouter(_) => true,
            Self::Answer(_) => false,
        }
    }
}

impl Info {
    /// Asks the router that runs in `folder`; `None` when none does.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, or the router does not answer.
    pub fn running(folder: &Path) -> Result<Option<Self>, InfoError> {
        let folder = std::path::absolute(folder).map_err(InfoError::Answer)?;
        data_dir::check(&folder)?;
        let socket = match control::connect(&folder) {
            Ok(socket) => socket,
            // Never started, ended well, or was killed.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(e) => return Err(InfoError::Answer(e)),
        };
        let mut info = ask(socket).map_err(InfoError::Answer)?;
        let pid = data_dir::holder(&folder);
        info.insert("running".into(), true.into());
        info.insert("process".into(), process(pid));
        complete(&mut info, &folder);
        Ok(Some(Self(info.into())))
    }

    /// Reads the files in `folder`; `settings` are those that a router would run with there.
    ///
    /// # Errors
    ///
    /// The folder or the keys cannot be used, or no router has run there.
    pub fn stored(folder: &Path, settings: &Settings) -> Result<Self, InfoError> {
        let folder = std::path::absolute(folder).map_err(InfoError::Answer)?;
        data_dir::check(&folder)?;
        let store = Store::new(&folder);
        let keys = store.load_keys()?;
        let bytes = keys.router_keys.as_deref().ok_or(InfoError::NoRouter(folder.clone()))?;
        let router = RouterKeys::decode(bytes)
            .map_err(|error| InfoError::Keys { file: store.keys().join(ROUTER_KEYS), error })?;
        let config = &settings.router;
        let mut info = Map::new();
        info.insert("version".into(), VERSION.into());
        info.insert("running".into(), false.into());
        let router_info = read_router_info(&store);
        let addresses: Vec<Value> =
            router_info.iter().flat_map(RouterInfo::addresses).map(address).collect();
        info.insert(
            "router".into(),
            json!({
                "hash": base64::encode(router.identity.hash().as_bytes()),
                "network": config.network.id,
                "caps": router_info.as_ref().map(|i| i.caps().to_string()),
                "addresses": addresses,
            }),
        );
        info.insert("services".into(), services(config, &keys, &store)?.into());
        complete(&mut info, &folder);
        Ok(Self(info.into()))
    }

    /// One document on one line, with a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{}\n", self.0)
    }

    /// For people.
    #[must_use]
    pub fn to_table(&self) -> String {
        table::render(&self.0)
    }
}

/// What the router that runs in `folder`, an absolute path, says itself.
pub(crate) fn ask_in(folder: &Path) -> io::Result<Value> {
    control::connect(folder).and_then(ask).map(Value::from)
}

/// One request, one line of JSON.
fn ask(mut socket: UnixStream) -> io::Result<Map<String, Value>> {
    let invalid = |text: String| io::Error::new(ErrorKind::InvalidData, text);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(b"info\n")?;
    socket.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let mut document: Map<String, Value> =
        serde_json::from_slice(&answer).map_err(|e| invalid(e.to_string()))?;
    match document.remove("error") {
        Some(error) => Err(invalid(error.to_string())),
        None => Ok(document),
    }
}

/// Adds what only the owner of the folder knows.
fn complete(info: &mut Map<String, Value>, folder: &Path) {
    let file = Store::new(folder).router_info();
    info.insert("data_dir".into(), folder.display().to_string().into());
    let router = info.entry("router").or_insert_with(|| Map::new().into());
    if let Value::Object(router) = router {
        let file = file.exists().then(|| file.display().to_string());
        router.insert("router_info_file".into(), file.into());
    }
}

/// What the system says of the running process; only where there is a `/proc`.
fn process(pid: Option<u32>) -> Value {
    let Some(pid) = pid else { return Value::Null };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key))?;
        let number = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
        number.parse::<u64>().ok()?.checked_mul(1024)
    };
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count);
    json!({
        "pid": pid,
        "resident_bytes": kib("VmRSS"),
        "peak_resident_bytes": kib("VmHWM"),
        "descriptors": descriptors,
    })
}

fn read_router_info(store: &Store) -> Option<RouterInfo> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(store.router_info()).ok()?;
    file.take(MAX_ROUTER_INFO + 1).read_to_end(&mut bytes).ok()?;
    RouterInfo::decode(&bytes).ok()
}

fn address(address: &ramson_core::wire::router_info::RouterAddress) -> Value {
    let option = |key| address.options.get(key);
    let place = option("host").zip(option("port")).map(|(host, port)| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    });
    json!({ "style": address.style.as_str(), "address": place })
}

/// The configured tunnels with the destinations that their keys make.
fn services(config: &Config, keys: &Stored, store: &Store) -> Result<Vec<Value>, InfoError> {
    let b32 = |name: &str| -> Result<Option<String>, InfoError> {
        let Some(bytes) = keys.destinations.get(name) else { return Ok(None) };
        let keys = DestinationKeys::decode(bytes)
            .map_err(|error| InfoError::Keys { file: store.keys().join(name), error })?;
        Ok(Some(keys.identity.b32_address()))
    };
    let mut services = Vec::new();
    if let Some(proxy) = &config.http_proxy {
        services.push(json!({
            "name": "http_proxy",
            "kind": "http_proxy",
            "listen": proxy.listen.to_string(),
            "target": null,
            "b32": b32(HttpProxy::KEYS)?,
        }));
    }
    for client in &config.clients {
        // As a running router says it.
        let to = Destination::parse(&client.destination).ok();
        services.push(json!({
            "name": client.name,
            "kind": "client",
            "listen": client.listen.to_string(),
            "target": to.map(|to| to.target.authority(to.port)),
            "b32": b32(&client.keys())?,
        }));
    }
    for server in &config.servers {
        services.push(json!({
            "name": server.name,
            "kind": if server.kind == ServerKind::Http { "http_server" } else { "server" },
            "listen": null,
            "target": server.target.to_string(),
            "b32": b32(&server.keys)?,
        }));
    }
    Ok(services)
}

#[cfg(test)]
mod tests;
