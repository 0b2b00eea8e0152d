//! RouterInfos that the user gives for the first start: files, folders of them, zip archives.

use super::load::{read, sorted};
use ramson_core::wire::router_info::RouterInfo;
use ramson_core::wire::zip;
use std::fs::Metadata;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The largest zip archive, in bytes: a thousand RouterInfos are less than 2 MiB.
const MAX_ARCHIVE: u64 = 8 << 20;
/// The largest RouterInfo, in bytes.
const MAX_ROUTER_INFO: u64 = 4096;
/// How many RouterInfos are taken.
const MAX_ROUTER_INFOS: usize = 8000;
/// How many archives are taken.
const MAX_ARCHIVES: usize = 16;
/// Folders in folders that are looked into: a netDb has `rX` folders.
const MAX_DEPTH: usize = 2;
/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";
/// How an SU3 file begins.
const SU3: &[u8] = b"I2Psu3";

/// Problems that are told one by one.
const MAX_PROBLEMS: usize = 10;

/// What was found, whole files; the core checks each RouterInfo before it uses it.
#[derive(Debug, Default)]
pub struct Reseed {
    /// RouterInfos.
    pub router_infos: Vec<Arc<[u8]>>,
    /// Zip archives, unopened.
    pub archives: Vec<Arc<[u8]>>,
    /// What could not be used, one line each, the first few.
    pub problems: Vec<String>,
}

/// Reads the configured files and folders.
#[must_use]
pub fn read_all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Reseed {
    let mut reseed = Reseed::default();
    for path in paths {
        let (before, told) = (reseed.found(), reseed.problems.len());
        match std::fs::metadata(path).and_then(|meta| reseed.any(path, &meta)) {
            Ok(()) if reseed.found() == before && reseed.problems.len() == told => {
                reseed.problem(path, "no RouterInfo files in it");
            }
            Ok(()) => {}
            Err(e) => reseed.problem(path, e),
        }
    }
    reseed
}

impl Reseed {
    fn found(&self) -> usize {
        self.router_infos.len() + self.archives.len()
    }

    fn problem(&mut self, path: &Path, problem: impl std::fmt::Display) {
        match self.problems.len() {
            ..MAX_PROBLEMS => self.problems.push(format!("{}: {problem}", path.display())),
            MAX_PROBLEMS => self.problems.push("and more".into()),
            _ => {}
        }
    }

    fn any(&mut self, path: &Path, meta: &Metadata) -> io::Result<()> {
        if meta.is_dir() {
            std::fs::read_dir(path)?;
            self.folder(path, MAX_DEPTH);
            return Ok(());
        }
        let bytes = read(path, MAX_ARCHIVE)?
            .ok_or_else(|| io::Error::other(format!("longer than {MAX_ARCHIVE} bytes")))?;
        if bytes.starts_with(SU3) {
            return Err(io::Error::other("SU3 files are not understood yet; unpack it first"));
        }
        if bytes.starts_with(ZIP) {
            if self.archives.len() >= MAX_ARCHIVES {
                return Err(io::Error::other("too many archives, not used"));
            }
            zip::Archive::new(&bytes)
                .map_err(|e| io::Error::other(format!("a damaged zip archive: {e}")))?;
            self.archives.push(Arc::from(bytes));
        } else if bytes.len() as u64 > MAX_ROUTER_INFO || RouterInfo::decode(&bytes).is_err() {
            return Err(io::Error::other("neither a RouterInfo nor a zip archive"));
        } else if self.router_infos.len() < MAX_ROUTER_INFOS {
            self.router_infos.push(Arc::from(bytes));
        }
        Ok(())
    }

    /// Takes the files in a folder that look right by their names: others may lie beside them.
    fn folder(&mut self, path: &Path, depth: usize) {
        for entry in sorted(path) {
            let path = entry.path();
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            if meta.is_dir() {
                if let Some(depth) = depth.checked_sub(1) {
                    self.folder(&path, depth);
                }
            } else if path.extension().is_some_and(|e| e == "dat" || e == "info" || e == "zip")
                && let Err(e) = self.any(&path, &meta)
            {
                self.problem(&path, e);
            }
        }
    }
}
