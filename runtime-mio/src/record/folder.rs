//! The recordings of a data folder: one file for each start of the router, numbered, and the oldest
//! removed when a newer one needs its room.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The folder in the data folder.
pub(super) const FOLDER: &str = "recordings";
const SUFFIX: &str = ".recording";

/// Recordings of earlier starts, the oldest first, with their lengths.
#[derive(Debug, Default)]
pub(super) struct Older {
    files: VecDeque<(PathBuf, u64)>,
    total: u64,
}

impl Older {
    /// Removes the oldest until those that are left have no more than `room` bytes.
    pub(super) fn shrink(&mut self, room: u64) -> io::Result<()> {
        while self.total > room
            && let Some((path, len)) = self.files.front()
        {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => {}
            }
            self.total -= len;
            self.files.pop_front();
        }
        Ok(())
    }
}

/// Makes the next file, and the folder if need be, for their owner only; what other recordings
/// there are.
pub(super) fn create(data: &Path) -> io::Result<(File, PathBuf, Older)> {
    let folder = data.join(FOLDER);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(number);
        // Of the link, if it is one: what it leads to is not ours to count.
        if let (Some(number), Ok(meta)) = (number, entry.metadata()) {
            found.push((number, entry.path(), meta.len()));
        }
    }
    found.sort();
    let next = found.last().map_or(1, |(number, ..)| number.saturating_add(1));
    let path = folder.join(format!("{next:06}{SUFFIX}"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let files: VecDeque<_> = found.into_iter().map(|(_, path, len)| (path, len)).collect();
    let total = files.iter().map(|(_, len)| len).sum();
    Ok((file, path, Older { files, total }))
}

/// The number of a recording, from a name of exactly our form: other files are left alone.
fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = digits.parse().ok()?;
    (format!("{number:06}") == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::os::unix::fs::MetadataExt;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn folder_and_file_are_for_their_owner_only() {
        let tmp = TestDir::new("record-mode");
        let (_, path, _) = create(tmp.path()).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn each_start_has_the_next_number_and_the_oldest_go_first() {
        let tmp = TestDir::new("record-ring");
        let folder = tmp.path().join(FOLDER);
        for n in 1..=4 {
            let (_, path, older) = create(tmp.path()).unwrap();
            assert_eq!(older.files.len(), n - 1);
            std::fs::write(path, vec![0; 100 * n]).unwrap();
        }
        for name in ["notes.txt", "7.recording", "0000001.recording", "x.recording"] {
            std::fs::write(folder.join(name), "x").unwrap();
        }
        let (_, path, mut older) = create(tmp.path()).unwrap();
        assert!(path.ends_with("000005.recording"));
        assert_eq!(older.total, 1000);
        older.shrink(1000).unwrap();
        older.shrink(999).unwrap();
        assert_eq!(older.total, 900);
        older.shrink(450).unwrap();
        let left: Vec<_> = names(&folder).into_iter().filter(|n| number(n).is_some()).collect();
        assert_eq!(left, ["000004.recording", "000005.recording"]);
        older.shrink(0).unwrap();
        older.shrink(0).unwrap();
        assert_eq!(names(&folder).len(), 5);
    }
}
