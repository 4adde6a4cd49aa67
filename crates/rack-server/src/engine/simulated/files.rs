//! Files of processes: what the image has, what volumes hold, what was written into
//! the process and what was removed from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::io::SyncIoBridge;

use super::super::{EngineError, PathKind, Phase, Reader, Result, outflow};
use super::process::short;
use super::tree::{self, Kind, Tree};
use super::{Shared, blocking, no_image};

/// Reads a path of a process.
pub(super) async fn read(shared: &Arc<Shared>, id: &str, path: &str) -> Result<Reader> {
    let (shared, id, path) = (Arc::clone(shared), id.to_owned(), path.to_owned());
    let (nodes, shared) = blocking(move || {
        let tree = seen(&shared, &id)?;
        let resolved = tree::resolve(&tree, &path);
        if !resolved.is_empty() && !tree.contains_key(&resolved) {
            return Err(EngineError::NotFound {
                kind: "path",
                name: path,
            });
        }
        let base = resolved.rsplit('/').next().unwrap_or_default();
        let nodes: Vec<(String, tree::Node)> = tree
            .iter()
            .filter_map(|(have, node)| Some((tree::below(have, &resolved)?, node)))
            .map(|(rest, node)| (tree::join(base, rest), node.clone()))
            .collect();
        Ok((nodes, shared))
    })
    .await?;
    Ok(outflow::reader(move |out| {
        let nodes = nodes.iter().map(|(name, node)| (name.clone(), node));
        tree::write_tar(out, nodes, &|digest| shared.blobs.open(digest))
    }))
}

/// Says what is at a path of a process.
pub(super) async fn kind(shared: &Arc<Shared>, id: &str, path: &str) -> Result<Option<PathKind>> {
    let (shared, id, path) = (Arc::clone(shared), id.to_owned(), path.to_owned());
    blocking(move || {
        let tree = seen(&shared, &id)?;
        let path = tree::clean(&path);
        // All but the last part is followed.
        let at = match path.rsplit_once('/') {
            Some((parent, name)) => tree::join(&tree::resolve(&tree, parent), name),
            None => path,
        };
        if at.is_empty() {
            return Ok(Some(PathKind::Directory));
        }
        Ok(tree.get(&at).map(|node| match node.kind {
            Kind::Directory => PathKind::Directory,
            Kind::File { .. } => PathKind::File,
            Kind::Symlink { .. } => PathKind::Link(format!("/{}", tree::resolve(&tree, &at))),
        }))
    })
    .await
}

/// Where a process is, and relative names begin.
fn working_directory(shared: &Shared, id: &str) -> Result<String> {
    let image = shared
        .processes
        .with(id, |process| process.spec.image.clone())?;
    let catalog = shared.catalog();
    let found = catalog.find(&image).ok_or_else(|| no_image(&image))?;
    Ok(found.file.config.working_dir.clone().unwrap_or_default())
}

/// Everything a process sees.
fn seen(shared: &Shared, id: &str) -> Result<Tree> {
    let (image, volumes, files, removed) = shared.processes.with(id, |process| {
        (
            process.spec.image.clone(),
            process.spec.volumes.clone(),
            process.files.clone(),
            process.removed.clone(),
        )
    })?;
    let catalog = shared.catalog();
    let found = catalog.find(&image).ok_or_else(|| no_image(&image))?;
    let mut tree = Tree::new();
    for diff_id in &found.file.rootfs.diff_ids {
        let applied = shared
            .blobs
            .open(diff_id)
            .and_then(|layer| tree::apply_layer(&mut tree, diff_id, layer));
        applied.map_err(|error| {
            EngineError::Failed(format!("cannot read image {}: {error}", found.id))
        })?;
    }
    for path in &removed {
        tree::remove(&mut tree, path);
    }
    for (volume, mount) in &volumes {
        let mount = tree::clean(mount);
        tree::remove(&mut tree, &mount);
        tree::insert(
            &mut tree,
            &mount,
            tree::Node {
                mode: 0o755,
                kind: Kind::Directory,
            },
        );
        for (path, node) in catalog
            .state()
            .volumes
            .get(volume)
            .map(|volume| &volume.files)
            .into_iter()
            .flatten()
        {
            tree::insert(&mut tree, &tree::join(&mount, path), node.clone());
        }
    }
    for (path, node) in files {
        tree::insert(&mut tree, &path, node);
    }
    Ok(tree)
}

/// The volume that holds a path, and the path inside it.
fn in_volume(volumes: &[(String, String)], path: &str) -> Option<(String, String)> {
    let mounts = volumes
        .iter()
        .map(|(volume, mount)| (volume, tree::clean(mount)));
    let (volume, mount) = mounts
        .filter(|(_, mount)| tree::below(path, mount).is_some())
        .max_by_key(|(_, mount)| mount.len())?;
    let rest = tree::below(path, &mount).unwrap_or_default();
    Some((volume.clone(), rest.to_owned()))
}

/// Writes a tar below a path of a process; all of it or nothing.
pub(super) async fn write(shared: &Arc<Shared>, id: &str, path: &str, tar: Reader) -> Result<()> {
    let bridge = SyncIoBridge::new(tar);
    let (shared, id, path) = (Arc::clone(shared), id.to_owned(), path.to_owned());
    blocking(move || {
        let unpacked = tree::unpack(&shared.blobs, bridge)
            .map_err(|error| EngineError::Failed(format!("cannot write files: {error}")))?;
        let view = seen(&shared, &id)?;
        let target = tree::resolve(&view, &path);
        if view
            .get(&target)
            .is_some_and(|node| node.kind != Kind::Directory)
        {
            return Err(EngineError::Failed(format!(
                "cannot write files: {path} is not a directory"
            )));
        }
        let mut catalog = shared.catalog();
        shared
            .blobs
            .keep(&unpacked.blob)
            .map_err(|error| EngineError::Failed(format!("cannot write files: {error}")))?;
        let volumes = shared
            .processes
            .with(&id, |process| process.spec.volumes.clone())?;
        let (mut own, mut of_volumes) = (Vec::new(), Vec::new());
        for (path, node) in unpacked.tree {
            let path = tree::join(&target, &path);
            // Links above it are followed, as the kernel would.
            let path = match path.rsplit_once('/') {
                Some((parent, name)) => tree::join(&tree::resolve(&view, parent), name),
                None => path,
            };
            let directory = |node: &tree::Node| node.kind == Kind::Directory;
            match view.get(&path) {
                Some(have) if directory(have) && !directory(&node) => {
                    return Err(EngineError::Refused(format!(
                        "cannot overwrite directory /{path} with a file"
                    )));
                }
                Some(have) if !directory(have) && directory(&node) => {
                    if view
                        .get(&tree::resolve(&view, &path))
                        .is_some_and(directory)
                    {
                        continue;
                    }
                    return Err(EngineError::Refused(format!(
                        "cannot overwrite file /{path} with a directory"
                    )));
                }
                _ => {}
            }
            match in_volume(&volumes, &path) {
                Some((volume, rest)) => of_volumes.push((volume, rest, node)),
                None => own.push((path, node)),
            }
        }
        if !of_volumes.is_empty() {
            catalog.change(|state| {
                for (volume, path, node) in of_volumes {
                    tree::insert(
                        &mut state.volumes.entry(volume).or_default().files,
                        &path,
                        node,
                    );
                }
                Ok(())
            })?;
        }
        shared.processes.with(&id, |process| {
            for (path, node) in own {
                tree::insert(&mut process.files, &path, node);
            }
        })
    })
    .await
}

/// Removes files of a running process.
pub(super) async fn remove(shared: &Arc<Shared>, id: &str, paths: &[String]) -> Result<()> {
    let (shared, id, paths) = (Arc::clone(shared), id.to_owned(), paths.to_vec());
    blocking(move || {
        let running = |process: &mut super::process::Process| {
            if process.phase() == Phase::Running {
                return Ok(process.spec.volumes.clone());
            }
            Err(EngineError::Failed(format!(
                "container {} is not running",
                short(&process.id)
            )))
        };
        let volumes = shared.processes.with(&id, running)??;
        let view = seen(&shared, &id)?;
        let directory = working_directory(&shared, &id)?;
        let mut gone = BTreeSet::new();
        for path in &paths {
            let path = if path.starts_with('/') {
                tree::clean(path)
            } else {
                tree::clean(&format!("{directory}/{path}"))
            };
            let path = match path.rsplit_once('/') {
                Some((parent, name)) => tree::join(&tree::resolve(&view, parent), name),
                None => path,
            };
            match view.get(&path) {
                None if path.is_empty() => {
                    return Err(EngineError::Refused("cannot remove directory /".into()));
                }
                None => {}
                Some(node) if node.kind == Kind::Directory => {
                    return Err(EngineError::Refused(format!(
                        "cannot remove directory /{path}"
                    )));
                }
                Some(_) => {
                    gone.insert(path);
                }
            }
        }
        let mut catalog = shared.catalog();
        let (mut own, mut of_volumes) = (Vec::new(), Vec::new());
        for path in gone {
            match in_volume(&volumes, &path) {
                Some(place) => of_volumes.push(place),
                None => own.push(path),
            }
        }
        if !of_volumes.is_empty() {
            catalog.change(|state| {
                for (volume, path) in of_volumes {
                    tree::remove(&mut state.volumes.entry(volume).or_default().files, &path);
                }
                Ok(())
            })?;
        }
        shared.processes.with(&id, |process| {
            for path in own {
                tree::remove(&mut process.files, &path);
                process.removed.insert(path);
            }
        })?;
        shared.tidy(&catalog);
        Ok(())
    })
    .await
}
