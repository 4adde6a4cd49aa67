//! The source as it is on disk, and what has changed since it was looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use rack_api::ignore::Ignore;

use crate::source::{self, SourceError};

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    mode: u32,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            mode: metadata.mode(),
            inode: metadata.ino(),
        }
    }
}

/// Files and links by their paths below the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<String, Stamp>);

/// What has happened to files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Files that are new or different.
    pub(super) written: BTreeSet<String>,
    /// Files that are gone.
    pub(super) removed: BTreeSet<String>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }

    /// Adds what has happened after this.
    pub(super) fn extend(&mut self, later: &Self) {
        for file in &later.written {
            self.removed.remove(file);
            self.written.insert(file.clone());
        }
        for file in &later.removed {
            self.written.remove(file);
            self.removed.insert(file.clone());
        }
    }
}

impl Tree {
    /// Looks at a source: at what is not ignored, and at some files in any case.
    pub(super) fn read(
        root: &Path,
        ignore: &Ignore,
        always: &BTreeSet<String>,
    ) -> Result<Self, SourceError> {
        let mut files = BTreeMap::new();
        source::visit(root, ignore, |_, name, metadata| {
            if metadata.is_file() || metadata.is_symlink() {
                files.insert(name.to_owned(), Stamp::of(metadata));
            }
            Ok::<_, SourceError>(())
        })?;
        for name in always {
            // A directory has changed whenever something in it has come or gone.
            let found = fs::symlink_metadata(root.join(name));
            if let Some(metadata) = found.ok().filter(|metadata| !metadata.is_dir()) {
                files.insert(name.clone(), Stamp::of(&metadata));
            }
        }
        Ok(Self(files))
    }

    /// What has changed from this to a later state.
    pub(super) fn until(&self, later: &Self) -> Changes {
        let written = later
            .0
            .iter()
            .filter(|(name, stamp)| self.0.get(*name) != Some(stamp))
            .map(|(name, _)| name.clone());
        let removed = self
            .0
            .keys()
            .filter(|name| !later.0.contains_key(*name))
            .cloned();
        Changes {
            written: written.collect(),
            removed: removed.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn changes_are_what_differs_and_is_not_ignored() {
        let root = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let ignore = Ignore::parse("log");
        for name in ["a", "d/b", "d/c", "log/x"] {
            put(name, "1");
        }
        let always = set(&["log/x", "log/none", "", "d"]);
        let look = || Tree::read(root.path(), &ignore, &always).expect("read");
        let before = look();
        assert_eq!(before.until(&before), Changes::default());
        put("a", "12");
        put("d/new", "1");
        put("log/y", "1");
        fs::remove_file(root.path().join("d/c")).expect("removed");
        put("log/x", "12");
        let after = look();
        let changes = before.until(&after);
        assert_eq!(changes.written, set(&["a", "d/new", "log/x"]));
        assert_eq!(changes.removed, set(&["d/c"]));
    }

    #[test]
    fn the_last_thing_that_happens_to_a_file_counts() {
        let mut changes = Changes {
            written: set(&["a", "b"]),
            removed: set(&["c"]),
        };
        changes.extend(&Changes {
            written: set(&["c"]),
            removed: set(&["a"]),
        });
        assert_eq!(changes.written, set(&["b", "c"]));
        assert_eq!(changes.removed, set(&["a"]));
    }
}
