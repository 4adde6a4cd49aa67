//! Turns a verified archive of any layout into one tar for `docker load`.
//!
//! The archive is read a second time; every byte passed on is hashed again, so
//! what the engine loads is what was verified, even if the file changed in
//! between. Names in the output are ours: digests, nothing from the archive.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use crate::digest::{Digest, HashingReader};
use crate::error::ArtifactError;
use crate::images::{DOCKER_MANIFEST, DockerImage, Image};
use crate::layers::{BUFFER, ImageTar, fill};
use crate::limits::{Limits, Meter, Received};
use crate::packer::Packer;
use crate::tarball::{Kind, TarReader};
use crate::verify::{Contents, open};

/// A file to pass on, under which name, and what it must be.
#[derive(Clone, Debug)]
struct Blob {
    name: String,
    digest: Digest,
    size: u64,
}

/// One image to load.
#[derive(Clone, Debug)]
struct PlannedImage {
    config: Digest,
    layers: Vec<Digest>,
    services: Vec<String>,
}

/// Which files of an archive make up its images, each of them once.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadPlan {
    images: Vec<PlannedImage>,
    /// By entry of the archive, then by path within it.
    blobs: BTreeMap<String, BTreeMap<String, Blob>>,
    /// Names given out, and the name each file was passed on under at the first
    /// reading, if it was.
    named: BTreeMap<String, Option<String>>,
}

pub(crate) fn config_name(digest: &Digest) -> String {
    format!("{}.json", digest.hex())
}

pub(crate) fn layer_name(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

impl LoadPlan {
    /// Adds a service's image, found in `entry`.
    pub(crate) fn add(
        &mut self,
        service: &str,
        entry: &str,
        tar: &ImageTar,
        image: &Image,
    ) -> Result<(), ArtifactError> {
        let config = &image.service.config_digest;
        if let Some(known) = self.images.iter_mut().find(|known| known.config == *config) {
            known.services.push(service.to_owned());
            return Ok(());
        }
        self.blob(entry, tar, &image.config, config_name(config))?;
        for (path, diff_id) in image.layers.iter().zip(&image.service.diff_ids) {
            if tar.withholds(path, diff_id) {
                continue;
            }
            self.blob(entry, tar, path, layer_name(diff_id))?;
        }
        self.images.push(PlannedImage {
            config: config.clone(),
            layers: image.service.diff_ids.clone(),
            services: vec![service.to_owned()],
        });
        Ok(())
    }

    fn blob(
        &mut self,
        entry: &str,
        tar: &ImageTar,
        path: &str,
        name: String,
    ) -> Result<(), ArtifactError> {
        let (path, file) = tar.file_at(path)?;
        if self.named.contains_key(&name) {
            return Ok(());
        }
        self.named.insert(name.clone(), file.relayed.clone());
        let blob = Blob {
            name,
            digest: file.digest.clone(),
            size: file.size,
        };
        self.blobs
            .entry(entry.to_owned())
            .or_default()
            .insert(path.to_owned(), blob);
        Ok(())
    }

    /// The manifest of a tar in which each file has the name `name` gives for its own.
    fn manifest(&self, name: &dyn Fn(String) -> String, tag: &dyn Fn(&str) -> String) -> Vec<u8> {
        let images: Vec<DockerImage> = self
            .images
            .iter()
            .map(|image| DockerImage {
                config: name(config_name(&image.config)),
                repo_tags: Some(image.services.iter().map(|service| tag(service)).collect()),
                layers: image
                    .layers
                    .iter()
                    .map(|layer| name(layer_name(layer)))
                    .collect(),
            })
            .collect();
        serde_json::to_vec(&images).expect("texts always serialize")
    }

    /// The manifest of what was passed on at the first reading.
    pub(crate) fn relayed_manifest(&self, tag: &dyn Fn(&str) -> String) -> Vec<u8> {
        let relayed = |name: String| {
            let relayed = self.named.get(&name).and_then(Clone::clone);
            relayed.expect("every file of an image was passed on")
        };
        self.manifest(&relayed, tag)
    }
}

/// Writes one tar that `docker load` of every generation takes.
///
/// `reader` gives the archive that [`verify`](crate::verify()) described in
/// `contents`. Each layer is written once; images are named by `tag`, called
/// with the service's name, and never by what the archive calls them. After an
/// error the output lacks its end and its manifest, and must be thrown away.
pub fn write_docker_load(
    reader: impl Read,
    contents: &Contents,
    tag: &dyn Fn(&str) -> String,
    out: impl Write,
    limits: &Limits,
) -> Result<(), ArtifactError> {
    let meter = Meter::new(limits);
    let mut received = HashingReader::aside(Received::new(reader, &meter));
    let mut archive = open(&mut received, &meter);
    let mut packer = Packer::new(out);
    let mut pending = contents.plan.blobs.clone();
    while let Some(entry) = archive.next_entry()? {
        let Some(mut blobs) = pending.remove(&entry.name) else {
            continue;
        };
        let mut tar = TarReader::new(&mut archive, entry.name.as_str(), &meter);
        while let Some(file) = tar.next_entry()? {
            let Some(blob) = blobs.remove(&file.name) else {
                continue;
            };
            let place = format!("{}/{}", entry.name, file.name);
            if file.kind != Kind::File || file.size != blob.size {
                return Err(ArtifactError::Changed { place });
            }
            packer
                .begin(&blob.name, blob.size)
                .map_err(ArtifactError::Write)?;
            copy(&mut tar, &mut packer, &blob.digest, place)?;
        }
        if !blobs.is_empty() {
            return Err(ArtifactError::Changed { place: entry.name });
        }
    }
    drop(archive);
    let (digest, _) = received.finish();
    if digest != contents.digest || !pending.is_empty() {
        return Err(ArtifactError::Changed {
            place: "the archive".to_owned(),
        });
    }
    finish(packer, &contents.plan.manifest(&|name| name, tag)).map(drop)
}

/// Ends a tar for `docker load` with what says how to put its files together.
pub(crate) fn finish<W: Write>(mut tar: Packer<W>, manifest: &[u8]) -> Result<W, ArtifactError> {
    tar.begin(DOCKER_MANIFEST, manifest.len() as u64)
        .and_then(|()| tar.write_all(manifest))
        .and_then(|()| {
            let mut out = tar.finish()?;
            out.flush()?;
            Ok(out)
        })
        .map_err(ArtifactError::Write)
}

/// Copies the rest of `source`, which must have this digest.
pub(crate) fn copy(
    source: &mut impl Read,
    out: &mut impl Write,
    expected: &Digest,
    place: String,
) -> Result<u64, ArtifactError> {
    let mut hashing = HashingReader::aside(source);
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = fill(&mut hashing, &mut buffer)?;
        if count == 0 {
            break;
        }
        out.write_all(&buffer[..count])
            .map_err(ArtifactError::Write)?;
    }
    let (digest, size) = hashing.finish();
    if digest != *expected {
        return Err(ArtifactError::Changed { place });
    }
    Ok(size)
}
