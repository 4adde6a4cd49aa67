//! What the engine keeps when the server ends: images, references, networks,
//! volumes. One small JSON file beside the blobs, replaced as a whole; a change
//! is on disk before it is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::{EngineError, Labels, Result};
use super::blob::Blobs;
use super::image::{self, StoredImage};
use super::tree::{Kind, Tree};

/// Format of the state file this code writes.
const VERSION: u32 = 1;
const FILE: &str = "state.json";

/// The durable state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Bytes of all layers by image id.
    pub(super) images: BTreeMap<String, u64>,
    /// Image ids by `repository:tag`.
    pub(super) references: BTreeMap<String, String>,
    /// Labels of networks by name.
    pub(super) networks: BTreeMap<String, Labels>,
    /// Volumes by name.
    pub(super) volumes: BTreeMap<String, Volume>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            images: BTreeMap::new(),
            references: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
        }
    }
}

/// A volume.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Volume {
    /// Labels as given.
    pub(super) labels: Labels,
    /// What was written into it.
    pub(super) files: Tree,
}

/// The state, its file and the images' configurations.
#[derive(Debug)]
pub(super) struct Catalog {
    state: State,
    images: BTreeMap<String, Arc<StoredImage>>,
    file: Option<PathBuf>,
}

impl Catalog {
    /// An empty catalog without a file.
    pub(super) fn in_memory() -> Self {
        Self {
            state: State::default(),
            images: BTreeMap::new(),
            file: None,
        }
    }

    /// Reads the catalog of a directory; an absent file is an empty catalog.
    pub(super) fn open(directory: &Path, blobs: &Blobs) -> Result<Self> {
        let file = directory.join(FILE);
        let damaged = |reason: String| {
            EngineError::Failed(format!(
                "state of the simulated engine in {} is damaged ({reason}): remove that directory to start afresh",
                directory.display()
            ))
        };
        let state: State = match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => {
                return Err(EngineError::Failed(format!(
                    "cannot read {}: {error}",
                    file.display()
                )));
            }
        };
        if state.version != VERSION {
            return Err(EngineError::Failed(format!(
                "{} has format {}, this server knows {VERSION}: use the server that wrote it",
                file.display(),
                state.version
            )));
        }
        let mut images = BTreeMap::new();
        for (id, size) in &state.images {
            let mut raw = Vec::new();
            blobs
                .open(id)
                .and_then(|mut blob| blob.read_to_end(&mut raw))
                .map_err(|error| damaged(error.to_string()))?;
            let image = StoredImage::parse(&Bytes::from(raw), *size)
                .map_err(|error| damaged(error.to_string()))?;
            if &image.id != id {
                return Err(damaged(format!("image {id} has other content")));
            }
            images.insert(id.clone(), Arc::new(image));
        }
        if let Some((reference, _)) = state
            .references
            .iter()
            .find(|(_, id)| !images.contains_key(*id))
        {
            return Err(damaged(format!("{reference} names no image")));
        }
        Ok(Self {
            state,
            images,
            file: Some(file),
        })
    }

    /// The state as it is.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Changes the state: on disk first, then here; on failure nothing has changed.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut next = self.state.clone();
        let answer = change(&mut next)?;
        if let Some(file) = &self.file {
            write(file, &next).map_err(|error| {
                EngineError::Failed(format!("cannot write {}: {error}", file.display()))
            })?;
        }
        self.images.retain(|id, _| next.images.contains_key(id));
        self.state = next;
        Ok(answer)
    }

    /// Adds images whose blobs are kept, with their references, in one step.
    pub(super) fn add(&mut self, images: Vec<(StoredImage, Vec<String>)>) -> Result<()> {
        self.change(|state| {
            for (image, references) in &images {
                state.images.insert(image.id.clone(), image.size);
                for reference in references {
                    state
                        .references
                        .insert(image::normalize(reference), image.id.clone());
                }
            }
            Ok(())
        })?;
        for (image, _) in images {
            self.images.insert(image.id.clone(), Arc::new(image));
        }
        Ok(())
    }

    /// Finds an image by reference, id or beginning of an id.
    pub(super) fn find(&self, reference: &str) -> Option<Arc<StoredImage>> {
        if let Some(id) = self.state.references.get(&image::normalize(reference)) {
            return self.images.get(id).cloned();
        }
        if !image::is_id_prefix(reference) {
            return None;
        }
        let prefix = format!("sha256:{}", super::blob::hex_part(reference));
        let mut found = self
            .images
            .range(prefix.clone()..)
            .take_while(|(id, _)| id.starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some((_, image)), None) => Some(Arc::clone(image)),
            _ => None,
        }
    }

    /// Digests of everything images and volumes consist of.
    pub(super) fn used_blobs(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for image in self.images.values() {
            used.insert(image.id.clone());
            used.extend(image.file.rootfs.diff_ids.iter().cloned());
        }
        for volume in self.state.volumes.values() {
            used.extend(blobs_of(&volume.files));
        }
        used
    }
}

/// The blobs a tree refers to.
pub(super) fn blobs_of(tree: &Tree) -> impl Iterator<Item = String> {
    tree.values().filter_map(|node| match &node.kind {
        Kind::File { blob, .. } => Some(blob.clone()),
        Kind::Directory | Kind::Symlink { .. } => None,
    })
}

fn write(file: &Path, state: &State) -> io::Result<()> {
    let directory = file
        .parent()
        .ok_or_else(|| io::Error::other("the state file has no directory"))?;
    let mut temporary = tempfile::NamedTempFile::with_prefix_in(".state-", directory)?;
    serde_json::to_writer_pretty(&mut temporary, state)?;
    temporary.flush()?;
    temporary.as_file().sync_all()?;
    temporary.persist(file)?;
    fs::File::open(directory)?.sync_all()
}
