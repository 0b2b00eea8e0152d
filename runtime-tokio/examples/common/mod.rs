//! What both examples need: a router of their own.

use ramson_core::config::Config;
use ramson_core::router::input::Stored;
use ramson_tokio::{Destination, Router};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// What may go wrong in an example.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// A router that knows the RouterInfos in `reseed`, files or zips of them, and a destination at it.
///
/// The router is a new one each time: it has nothing to hide that its destination does not say. One
/// that runs for long keeps what its `Host` is given.
pub(crate) async fn join(
    name: &str,
    keys: Option<&[u8]>,
    reseed: &[String],
) -> Result<(Router, Destination), Failed> {
    if reseed.is_empty() {
        return Err("give RouterInfo files to start from".into());
    }
    let mut stored = Stored::default();
    for file in reseed {
        stored.reseed.push(Arc::from(std::fs::read(Path::new(file))?));
    }
    let router = Router::builder().config(Config::default()).stored(stored).spawn().await?;
    let builder = router.destination(name);
    let builder = match keys {
        Some(keys) => builder.keys(keys),
        None => builder,
    };
    let destination = builder.open().await?;
    Ok((router, destination))
}
