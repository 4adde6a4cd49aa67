//! File trees of build contexts, image layers, volumes and processes: reading
//! them from tar streams and writing them back.
//!
//! Paths are relative to the root, without `.` and `..`. Everything above a node is there
//! too, and is a directory. Names in a tar are
//! hostile: one that leaves the root is refused, nothing is ever unpacked to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use super::blob::{BlobRead, Blobs, Pending};

/// Nodes by path.
pub(super) type Tree = BTreeMap<String, Node>;
/// Finds the bytes of a blob.
pub(super) type Open<'a> = dyn Fn(&str) -> io::Result<Box<dyn BlobRead>> + 'a;

/// One file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    /// Permission bits.
    pub(super) mode: u32,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// A directory.
    Directory,
    /// A file: a range of a blob.
    File {
        /// The blob.
        blob: String,
        /// Where it begins.
        offset: u64,
        /// Number of bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
}

impl Node {
    fn directory() -> Self {
        Self {
            mode: 0o755,
            kind: Kind::Directory,
        }
    }
}

/// A path below the root, `.` and `..` resolved by name; `..` stops at the root.
pub(super) fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// `child` below `parent`, either of them possibly the root.
pub(super) fn join(parent: &str, child: &str) -> String {
    match (parent, child) {
        ("", child) => child.to_owned(),
        (parent, "") => parent.to_owned(),
        (parent, child) => format!("{parent}/{child}"),
    }
}

/// The path below `parent`, when it is the same or below.
pub(super) fn below<'a>(path: &'a str, parent: &str) -> Option<&'a str> {
    if parent.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(parent)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

/// What came out of a tar stream.
pub(super) struct Unpacked {
    /// The nodes, parents included.
    pub(super) tree: Tree,
    /// One blob with the contents of all files.
    pub(super) blob: Pending,
}

/// Reads a whole tar stream, to its last byte.
pub(super) fn unpack(blobs: &Blobs, mut tar: impl Read) -> io::Result<Unpacked> {
    let mut blob = blobs.create()?;
    let mut offset = 0;
    let mut tree = Tree::new();
    {
        let mut archive = Archive::new(&mut tar);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry_path(&entry.path_bytes())?;
            let mode = entry.header().mode()? & 0o7777;
            let kind = match entry.header().entry_type() {
                EntryType::Directory => Kind::Directory,
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let size = io::copy(&mut entry, &mut blob)?;
                    if size != entry.size() {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            format!("{path} is cut short"),
                        ));
                    }
                    offset += size;
                    Kind::File {
                        blob: String::new(),
                        offset: offset - size,
                        size,
                    }
                }
                EntryType::Symlink => Kind::Symlink {
                    target: link_target(&entry)?,
                },
                EntryType::Link => {
                    let target = entry_path(link_target(&entry)?.as_bytes())?;
                    let node = tree.get(&target).ok_or_else(|| {
                        invalid(format!("{path} links to {target}, which is not there"))
                    })?;
                    Node::clone(node).kind
                }
                // Devices and pipes cannot be simulated; a global header names nothing.
                _ => continue,
            };
            insert(&mut tree, &path, Node { mode, kind });
        }
    }
    // The sender may still be writing the padding behind the end mark.
    io::copy(&mut tar, &mut io::sink())?;
    let blob = blob.finish()?;
    for node in tree.values_mut() {
        if let Kind::File { blob: name, .. } = &mut node.kind {
            blob.digest().clone_into(name);
        }
    }
    Ok(Unpacked { tree, blob })
}

/// Puts a node into a tree, with its parents; what was there goes.
pub(super) fn insert(tree: &mut Tree, path: &str, node: Node) {
    if path.is_empty() {
        return;
    }
    for (at, _) in path.rmatch_indices('/') {
        let parent = &path[..at];
        if tree
            .get(parent)
            .is_some_and(|node| node.kind == Kind::Directory)
        {
            // And so is what is above it.
            break;
        }
        tree.insert(parent.to_owned(), Node::directory());
    }
    if node.kind != Kind::Directory {
        remove(tree, path);
    }
    tree.insert(path.to_owned(), node);
}

/// Takes a node and all below it out of a tree.
pub(super) fn remove(tree: &mut Tree, path: &str) {
    if path.is_empty() {
        tree.clear();
        return;
    }
    tree.remove(path);
    let inside = format!("{path}/");
    let gone: Vec<String> = tree
        .range(inside.clone()..)
        .map(|(have, _)| have)
        .take_while(|have| have.starts_with(&inside))
        .cloned()
        .collect();
    for have in gone {
        tree.remove(&have);
    }
}

/// Lays the layer `digest` over a tree.
pub(super) fn apply_layer(
    tree: &mut Tree,
    digest: &str,
    layer: Box<dyn BlobRead>,
) -> io::Result<()> {
    let mut archive = Archive::new(layer);
    let mut added = BTreeSet::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry_path(&entry.path_bytes())?;
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            let leads = |have: &str| {
                let inside = format!("{have}/");
                let next = added.range(inside.clone()..).next();
                next.is_some_and(|path: &String| path.starts_with(&inside))
            };
            tree.retain(|have, _| {
                below(have, parent)
                    .is_none_or(|rest| rest.is_empty() || added.contains(have) || leads(have))
            });
            continue;
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            remove(tree, &join(parent, hidden));
            continue;
        }
        let kind = match entry.header().entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File {
                blob: digest.to_owned(),
                offset: entry.raw_file_position(),
                size: entry.size(),
            },
            EntryType::Symlink => Kind::Symlink {
                target: link_target(&entry)?,
            },
            EntryType::Link => match tree.get(&entry_path(link_target(&entry)?.as_bytes())?) {
                Some(node) => node.kind.clone(),
                None => continue,
            },
            _ => continue,
        };
        let node = Node {
            mode: entry.header().mode()? & 0o7777,
            kind,
        };
        insert(tree, &path, node);
        added.insert(path);
    }
    Ok(())
}

/// Follows links, by name and at most forty times, to the path they end at.
pub(super) fn resolve(tree: &Tree, path: &str) -> String {
    let mut path = clean(path);
    'again: for _ in 0..40 {
        let ends: Vec<usize> = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()])
            .collect();
        // What is above a node is a directory: only the lowest one there is can be a link.
        for end in ends.into_iter().rev() {
            let Some(node) = tree.get(&path[..end]) else {
                continue;
            };
            if let Kind::Symlink { target } = &node.kind {
                let parent = path[..end]
                    .rsplit_once('/')
                    .map_or("", |(parent, _)| parent);
                let rest = &path[end..];
                path = if target.starts_with('/') {
                    clean(&format!("{target}{rest}"))
                } else {
                    clean(&format!("{parent}/{target}{rest}"))
                };
                continue 'again;
            }
            return path;
        }
        break;
    }
    path
}

/// Writes nodes as a tar that depends on nothing but them.
pub(super) fn write_tar<'a>(
    out: impl Write,
    nodes: impl IntoIterator<Item = (String, &'a Node)>,
    open: &Open<'_>,
) -> io::Result<()> {
    let mut builder = Builder::new(out);
    let mut current: Option<(String, Box<dyn BlobRead>)> = None;
    for (name, node) in nodes {
        let mut header = Header::new_gnu();
        header.set_mode(node.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        match &node.kind {
            Kind::Directory => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(
                    &mut header,
                    format!("{}/", name.trim_end_matches('/')),
                    io::empty(),
                )?;
            }
            Kind::Symlink { target } => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, &name, target)?;
            }
            Kind::File { blob, offset, size } => {
                if current.as_ref().is_none_or(|(name, _)| name != blob) {
                    current = Some((blob.clone(), open(blob)?));
                }
                let (_, reader) = current.as_mut().expect("opened above");
                reader.seek(SeekFrom::Start(*offset))?;
                header.set_entry_type(EntryType::Regular);
                header.set_size(*size);
                builder.append_data(&mut header, &name, reader.take(*size))?;
            }
        }
    }
    builder.into_inner()?.flush()
}

/// Writes a tree as an image layer.
pub(super) fn write_layer(blobs: &Blobs, tree: &Tree, open: &Open<'_>) -> io::Result<Pending> {
    let mut blob = blobs.create()?;
    write_tar(
        &mut blob,
        tree.iter().map(|(path, node)| (path.clone(), node)),
        open,
    )?;
    blob.finish()
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<String> {
    let target = entry
        .link_name_bytes()
        .ok_or_else(|| invalid("a link without a target".to_owned()))?;
    Ok(String::from_utf8_lossy(&target).into_owned())
}

/// The path of a tar entry; leaving the root is an error.
fn entry_path(raw: &[u8]) -> io::Result<String> {
    let text = String::from_utf8_lossy(raw);
    if text.split('/').any(|part| part == "..") {
        return Err(invalid(format!("{text:?} leaves the archive")));
    }
    Ok(clean(&text))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str, blobs: &Blobs) -> Node {
        let pending = blobs.write(text.as_bytes()).expect("written");
        blobs.keep(&pending).expect("kept");
        let (blob, size) = (pending.digest().to_owned(), pending.size());
        Node {
            mode: 0o644,
            kind: Kind::File {
                blob,
                offset: 0,
                size,
            },
        }
    }

    #[test]
    fn a_tree_survives_a_layer() {
        let blobs = Blobs::in_memory();
        let mut tree = Tree::new();
        insert(&mut tree, "app/run", file("#!/bin/sh\n", &blobs));
        insert(
            &mut tree,
            "app/current",
            Node {
                mode: 0o777,
                kind: Kind::Symlink {
                    target: "run".to_owned(),
                },
            },
        );
        let layer = write_layer(&blobs, &tree, &|digest| blobs.open(digest)).expect("written");
        let again = write_layer(&blobs, &tree, &|digest| blobs.open(digest)).expect("written");
        assert_eq!(layer.digest(), again.digest());
        let mut read = Tree::new();
        apply_layer(&mut read, layer.digest(), layer.open().expect("opened")).expect("read");
        assert_eq!(
            read.keys().collect::<Vec<_>>(),
            ["app", "app/current", "app/run"]
        );
        assert_eq!(resolve(&read, "/app/current"), "app/run");
        let unpacked = unpack(&blobs, layer.open().expect("opened")).expect("unpacked");
        assert_eq!(
            unpacked.tree.keys().collect::<Vec<_>>(),
            read.keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn whiteouts_hide_what_is_below() {
        let blobs = Blobs::in_memory();
        let mut tree = Tree::new();
        for path in ["a/one", "a/two", "b/three"] {
            insert(&mut tree, path, file(path, &blobs));
        }
        let mut over = Tree::new();
        insert(&mut over, "a/.wh.one", file("", &blobs));
        insert(&mut over, "b/.wh..wh..opq", file("", &blobs));
        insert(&mut over, "b/four", file("4", &blobs));
        let layer = write_layer(&blobs, &over, &|digest| blobs.open(digest)).expect("written");
        apply_layer(&mut tree, layer.digest(), layer.open().expect("opened")).expect("applied");
        assert_eq!(
            tree.keys().collect::<Vec<_>>(),
            ["a", "a/two", "b", "b/four"]
        );
    }

    #[test]
    fn names_that_leave_the_root_are_refused() {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.as_gnu_mut().expect("gnu").name[..6].copy_from_slice(b"../out");
        header.set_cksum();
        builder.append(&header, io::empty()).expect("appended");
        let tar = builder.into_inner().expect("finished");
        let error = unpack(&Blobs::in_memory(), tar.as_slice())
            .err()
            .expect("refused");
        assert_eq!(error.to_string(), "\"../out\" leaves the archive");
    }

    #[test]
    fn link_loops_end() {
        let mut tree = Tree::new();
        insert(
            &mut tree,
            "a",
            Node {
                mode: 0o777,
                kind: Kind::Symlink {
                    target: "b".to_owned(),
                },
            },
        );
        insert(
            &mut tree,
            "b",
            Node {
                mode: 0o777,
                kind: Kind::Symlink {
                    target: "a".to_owned(),
                },
            },
        );
        assert!(["a", "b"].contains(&resolve(&tree, "a").as_str()));
    }

    #[test]
    fn deep_paths_cost_what_they_are_long() {
        let link = || Node {
            mode: 0o777,
            kind: Kind::Symlink {
                target: "/a".to_owned(),
            },
        };
        let mut tree = Tree::new();
        let deep = "d/".repeat(1500);
        for number in 0..2000 {
            insert(&mut tree, &format!("{deep}{number}"), link());
        }
        assert_eq!(tree.len(), 1500 + 2000);
        assert_eq!(resolve(&tree, &format!("{deep}7/x")), "a/x");
        assert_eq!(
            resolve(&tree, &format!("{deep}new/x")),
            format!("{deep}new/x")
        );
        remove(&mut tree, "d/d");
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["d"]);
    }

    /// Names that are often above each other.
    fn name() -> impl proptest::strategy::Strategy<Value = String> {
        "[ab.-]{1,2}(/[ab.-]{1,2}){0,3}".prop_map(|name| clean(&name))
    }

    proptest! {
        #[test]
        fn above_every_node_are_directories(
            changes in prop::collection::vec((name(), 0_u8..4), 0..30),
            asked in name(),
        ) {
            let mut tree = Tree::new();
            for (path, what) in changes {
                let kind = match what {
                    0 => Kind::Directory,
                    1 => Kind::Symlink { target: "a".to_owned() },
                    2 => Kind::File { blob: String::new(), offset: 0, size: 0 },
                    _ => {
                        remove(&mut tree, &path);
                        prop_assert!(tree.keys().all(|have| below(have, &path).is_none()));
                        continue;
                    }
                };
                insert(&mut tree, &path, Node { mode: 0, kind });
            }
            for path in tree.keys() {
                for (at, _) in path.match_indices('/') {
                    let parent = tree.get(&path[..at]).map(|node| &node.kind);
                    prop_assert_eq!(parent, Some(&Kind::Directory), "above {}", path);
                }
            }
            // Where links lead does not depend on the way it is found.
            let mut expected = clean(&asked);
            for _ in 0..40 {
                let ends = expected.match_indices('/').map(|(at, _)| at);
                let found = ends.chain([expected.len()]).find_map(|end| {
                    let Kind::Symlink { target } = &tree.get(&expected[..end])?.kind else {
                        return None;
                    };
                    let parent = expected[..end].rsplit_once('/').map_or("", |(parent, _)| parent);
                    Some(clean(&format!("{parent}/{target}{}", &expected[end..])))
                });
                match found {
                    Some(next) => expected = next,
                    None => break,
                }
            }
            prop_assert_eq!(resolve(&tree, &asked), expected);
        }
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean("/a/./b/../c/"), "a/c");
        assert_eq!(clean("../../x"), "x");
        assert_eq!(below("a/b", "a"), Some("b"));
        assert_eq!(below("ab", "a"), None);
    }
}
