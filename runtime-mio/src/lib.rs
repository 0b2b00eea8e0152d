//! The Ramson router on a `mio` event loop.
//!
//! One thread runs the router and all its sockets; others run CPU work and write to the disk. What
//! of I2P is decided is decided in `ramson-core`: here are sockets, clocks, files, signals and the
//! command line. Unix only: the data folder is protected by permissions, and the control socket is
//! a file in it.
//!
//! ```no_run
//! use ramson_mio::{Runtime, config::Settings, data_dir::DataDir};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::parse("http_proxy.listen = \"127.0.0.1:8118\"", "x.toml".as_ref())?;
//! let runtime = Runtime::start(settings, DataDir::open("/var/lib/me/ramson".as_ref())?)?;
//! let handle = runtime.handle();
//! // Another thread may call `handle.send(Command::Shutdown)`.
//! runtime.run()?;
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod clock;
pub mod config;
mod control;
pub mod data_dir;
mod event_loop;
pub mod info;
mod jobs;
pub mod logger;
mod machine;
mod record;
mod runtime;
mod sim;
pub mod store;
mod testnet;

#[cfg(test)]
mod test_dir;

pub use runtime::{Handle, Runtime, RuntimeError};

/// Whether what the operating system refused is for the user to fix: a file, a permission or an
/// address that the configuration or the command line names. The rest is the machine's trouble.
fn is_for_the_user(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidData
            | ErrorKind::AddrInUse
            | ErrorKind::AddrNotAvailable
    )
}
