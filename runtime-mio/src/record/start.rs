//! How a router starts, as items and back.

use super::item::{Call, Item, Program, StoredItem};
use super::{VERSION, config_format};
use crate::config::{ConfigErrors, Settings};
use ramson_core::config::Config;
use ramson_core::router::input::Stored;
use ramson_core::time::{Instant, UnixTime};
use ramson_core::wire::hash::Hash;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Bytes of everything stored that a replay takes into memory: several times what the store and the
/// files for reseeding can have.
const MAX_STORED: usize = 512 << 20;
/// What an item has in memory besides its bytes.
const EACH: usize = 64;
/// What a configuration is called in messages; there are none, for it was printed by ourselves.
const CONFIG_FILE: &str = "/recorded.toml";

/// What a router is made of.
pub(crate) struct Start<'a> {
    toml: String,
    sessions: u32,
    stored: &'a Stored,
    seed: &'a [u8; 32],
    now: Instant,
    unix: UnixTime,
}

impl<'a> Start<'a> {
    /// `None`: the configuration was made by a program, and no file can say the same.
    pub(crate) fn new(
        config: &Config,
        stored: &'a Stored,
        seed: &'a [u8; 32],
        now: Instant,
        unix: UnixTime,
    ) -> Option<Self> {
        let settings = Settings { router: config.clone(), ..Settings::default() };
        let toml = settings.to_toml();
        let sessions = config.limits.sessions;
        let same = read_config(&toml, sessions).is_ok_and(|read| read == *config);
        same.then_some(Self { toml, sessions, stored, seed, now, unix })
    }

    /// Each item of it, the call last.
    pub(super) fn each<E>(&self, mut f: impl FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
        f(Item::Program(Program { version: VERSION, config: config_format(), build: build() }))?;
        f(Item::Config { toml: &self.toml, sessions: self.sessions })?;
        let stored = self.stored;
        let own = stored.router_keys.iter().map(|keys| StoredItem::RouterKeys(keys));
        let destinations =
            stored.destinations.iter().map(|(name, keys)| StoredItem::Destination(name, keys));
        let router_infos = stored.router_infos.iter().map(|info| StoredItem::RouterInfo(info));
        let reseed = stored.reseed.iter().map(|file| StoredItem::Reseed(file));
        let profiles = stored
            .profiles
            .iter()
            .map(|(hash, profile)| StoredItem::Profile(*hash.as_bytes(), profile));
        let hosts = stored.hosts.iter().map(|file| StoredItem::Hosts(file));
        let learned = stored.learned_hosts.iter().map(|file| StoredItem::LearnedHosts(file));
        let all = own.chain(destinations).chain(router_infos).chain(reseed);
        for item in all.chain(profiles).chain(hosts).chain(learned) {
            f(Item::Stored(item))?;
        }
        f(Item::Call(Call::Start { seed: self.seed, now: self.now, unix: self.unix }))
    }
}

/// A configuration as it was recorded.
pub(super) fn read_config(toml: &str, sessions: u32) -> Result<Config, ConfigErrors> {
    let mut config = Settings::parse(toml, Path::new(CONFIG_FILE))?.router;
    config.limits.sessions = sessions;
    Ok(config)
}

/// What was stored, put together again.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) stored: Stored,
    bytes: usize,
}

impl Restored {
    /// `false` when it is more than anybody has.
    pub(super) fn add(&mut self, item: StoredItem<'_>) -> bool {
        let stored = &mut self.stored;
        let len = match item {
            StoredItem::RouterKeys(bytes) => stored.router_keys.insert(bytes.into()).len(),
            StoredItem::Destination(name, bytes) => {
                stored.destinations.insert(name.into(), bytes.into());
                name.len() + bytes.len()
            }
            StoredItem::RouterInfo(bytes) => {
                stored.router_infos.push(Arc::from(bytes));
                bytes.len()
            }
            StoredItem::Reseed(bytes) => {
                stored.reseed.push(Arc::from(bytes));
                bytes.len()
            }
            StoredItem::Profile(hash, bytes) => {
                stored.profiles.insert(Hash(hash), bytes.into());
                hash.len() + bytes.len()
            }
            StoredItem::Hosts(bytes) => {
                stored.hosts.push(bytes.into());
                bytes.len()
            }
            StoredItem::LearnedHosts(bytes) => stored.learned_hosts.insert(bytes.into()).len(),
        };
        self.bytes = self.bytes.saturating_add(len + EACH);
        self.bytes <= MAX_STORED
    }
}

/// A checksum of the running program, 0 when it cannot be read: tells builds of one version apart.
pub(super) fn build() -> u64 {
    let sum = || -> std::io::Result<u64> {
        let mut file = File::open(std::env::current_exe()?)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut buf = vec![0; 64 << 10];
        let mut len = 0_u64;
        loop {
            let n = file.read(&mut buf)?;
            if n == 0 {
                return Ok(len << 32 | u64::from(hasher.finalize()));
            }
            hasher.update(buf.get(..n).unwrap_or_default());
            len += n as u64;
        }
    };
    sum().unwrap_or(0)
}
