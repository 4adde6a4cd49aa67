//! Images as tar streams: what `docker save` writes and `docker load` reads.
//!
//! Reading trusts nothing: every configuration and every layer is hashed, and
//! only when all of them are what they claim to be does any of them exist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use super::super::{EngineError, Result};
use super::blob::{BlobRead, Blobs, Pending, hex_part, is_hex_digest};
use super::image::StoredImage;
use super::tree::clean;

/// Configurations and indexes larger than this are no such thing.
const MAX_JSON: u64 = 8 << 20;

/// One image of an archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// Images ready to be written, every blob opened.
pub(super) struct Outgoing {
    members: Vec<Member>,
    blobs: Vec<(String, Box<dyn BlobRead>)>,
}

/// Opens everything an archive of these images needs, so that what can fail fails now.
pub(super) fn prepare(
    blobs: &Blobs,
    images: &[(Arc<StoredImage>, Vec<String>)],
) -> io::Result<Outgoing> {
    let mut outgoing = Outgoing {
        members: Vec::new(),
        blobs: Vec::new(),
    };
    let mut opened = BTreeSet::new();
    for (image, references) in images {
        let mut add = |digest: &str, path: &str| -> io::Result<()> {
            if opened.insert(path.to_owned()) {
                outgoing.blobs.push((path.to_owned(), blobs.open(digest)?));
            }
            Ok(())
        };
        let config = format!("{}.json", hex_part(&image.id));
        let mut layers = Vec::new();
        for diff_id in &image.file.rootfs.diff_ids {
            let path = format!("{}/layer.tar", hex_part(diff_id));
            add(diff_id, &path)?;
            layers.push(path);
        }
        add(&image.id, &config)?;
        let repo_tags = (!references.is_empty()).then(|| references.clone());
        outgoing.members.push(Member {
            config,
            repo_tags,
            layers,
        });
    }
    Ok(outgoing)
}

impl Outgoing {
    /// Writes the archive; the same images give the same bytes.
    pub(super) fn write(self, out: impl Write) -> io::Result<()> {
        let mut builder = Builder::new(out);
        for (path, mut blob) in self.blobs {
            let size = blob.seek(io::SeekFrom::End(0))?;
            blob.rewind()?;
            builder.append_data(&mut header(size), path, blob)?;
        }
        let index = serde_json::to_vec(&self.members)?;
        builder.append_data(
            &mut header(index.len() as u64),
            "manifest.json",
            index.as_slice(),
        )?;
        builder.into_inner()?.flush()
    }
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Images read and proven, not yet kept.
pub(super) struct Incoming {
    /// The images and their references.
    pub(super) images: Vec<(StoredImage, Vec<String>)>,
    /// Their configurations and layers.
    pub(super) blobs: Vec<Pending>,
}

/// Reads an archive and proves it.
pub(super) fn read(blobs: &Blobs, mut tar: impl Read) -> Result<Incoming> {
    let mut entries = Entries::read(blobs, &mut tar).map_err(|error| bad(&error))?;
    // What follows the end mark is padding; the sender must be able to finish.
    io::copy(&mut tar, &mut io::sink()).map_err(|error| bad(&error))?;
    let Some(index) = entries.json("manifest.json")? else {
        return Err(bad(&"manifest.json is missing"));
    };
    let members: Vec<Member> =
        serde_json::from_slice(&index).map_err(|error| bad(&format!("manifest.json: {error}")))?;
    if members.is_empty() {
        return Err(bad(&"manifest.json names no image"));
    }
    let mut incoming = Incoming {
        images: Vec::new(),
        blobs: Vec::new(),
    };
    for member in members {
        let raw = entries
            .json(&member.config)?
            .ok_or_else(|| bad(&format!("{} is missing", member.config)))?;
        let mut image = StoredImage::parse(&raw, 0)
            .map_err(|error| bad(&format!("{}: {error}", member.config)))?;
        let stem = member
            .config
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".json");
        if is_hex_digest(stem) && stem != hex_part(&image.id) {
            return Err(bad(&format!("{} has digest {}", member.config, image.id)));
        }
        let diff_ids = &image.file.rootfs.diff_ids;
        if diff_ids.len() != member.layers.len() {
            let (have, want) = (member.layers.len(), diff_ids.len());
            return Err(bad(&format!(
                "{} has {want} layers, manifest.json names {have}",
                member.config
            )));
        }
        for (path, diff_id) in member.layers.iter().zip(diff_ids) {
            image.size += entries.layer(blobs, path, diff_id)?;
        }
        for reference in member.repo_tags.iter().flatten() {
            if !super::image::is_reference(reference) {
                return Err(bad(&format!("{reference:?} is no image name")));
            }
        }
        incoming
            .blobs
            .push(blobs.write(&raw).map_err(|error| bad(&error))?);
        incoming
            .images
            .push((image, member.repo_tags.unwrap_or_default()));
    }
    incoming.blobs.extend(entries.proven.into_values());
    Ok(incoming)
}

/// Reads a layer's headers, as an engine does that unpacks it.
fn walk(layer: impl Read + io::Seek) -> io::Result<()> {
    for entry in Archive::new(layer).entries_with_seek()? {
        entry?;
    }
    Ok(())
}

/// Why an archive is none; always one line.
fn bad(reason: &dyn std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("cannot load images: {reason}"))
}

/// The entries of an archive, hashed as they came.
struct Entries {
    files: HashMap<String, Pending>,
    links: HashMap<String, String>,
    /// Layers by diff id.
    proven: BTreeMap<String, Pending>,
}

impl Entries {
    fn read(blobs: &Blobs, tar: &mut impl Read) -> io::Result<Self> {
        let mut entries = Self {
            files: HashMap::new(),
            links: HashMap::new(),
            proven: BTreeMap::new(),
        };
        let mut archive = Archive::new(tar);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let raw = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = clean(&raw);
            let kind = entry.header().entry_type();
            match kind {
                EntryType::Regular | EntryType::Continuous => {
                    let mut blob = blobs.create()?;
                    let copied = io::copy(&mut entry, &mut blob)?;
                    if copied != entry.size() {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            format!("{path} is cut short"),
                        ));
                    }
                    entries.files.insert(path, blob.finish()?);
                }
                // Repeated layers are links to the first one: `../<id>/layer.tar`, or from the root.
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = String::from_utf8_lossy(&target);
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let target = if kind == EntryType::Link {
                        clean(&target)
                    } else {
                        clean(&format!("{parent}/{target}"))
                    };
                    entries.links.insert(path, target);
                }
                _ => {}
            }
        }
        Ok(entries)
    }

    fn find(&self, path: &str) -> Option<&str> {
        let mut path = path;
        for _ in 0..8 {
            if let Some((name, _)) = self.files.get_key_value(path) {
                return Some(name);
            }
            path = self.links.get(path)?;
        }
        None
    }

    fn json(&mut self, path: &str) -> Result<Option<Bytes>> {
        let Some(name) = self.find(&clean(path)) else {
            return Ok(None);
        };
        let file = &self.files[name];
        if file.size() > MAX_JSON {
            return Err(bad(&format!("{path} has {} bytes", file.size())));
        }
        let mut bytes = Vec::new();
        file.open()
            .and_then(|mut blob| blob.read_to_end(&mut bytes))
            .map_err(|error| bad(&error))?;
        Ok(Some(bytes.into()))
    }

    /// Proves that a layer has a diff id, decompressing it if needed. Returns its size.
    fn layer(&mut self, blobs: &Blobs, path: &str, diff_id: &str) -> Result<u64> {
        if let Some(layer) = self.proven.get(diff_id) {
            return Ok(layer.size());
        }
        let missing = || bad(&format!("{path} is missing"));
        let Some(name) = self.find(&clean(path)).map(str::to_owned) else {
            // As a real engine: a layer that is there needs no bytes.
            let mut kept = blobs.open(diff_id).map_err(|_| missing())?;
            return kept.seek(io::SeekFrom::End(0)).map_err(|error| bad(&error));
        };
        let mut layer = self.files.remove(&name).ok_or_else(missing)?;
        let mut magic = Vec::new();
        let mut reader = layer.open().map_err(|error| bad(&error))?;
        reader
            .by_ref()
            .take(4)
            .read_to_end(&mut magic)
            .map_err(|error| bad(&error))?;
        if magic.starts_with(&[0x1f, 0x8b]) {
            reader.rewind().map_err(|error| bad(&error))?;
            let mut plain = blobs.create().map_err(|error| bad(&error))?;
            io::copy(&mut MultiGzDecoder::new(reader), &mut plain)
                .map_err(|error| bad(&format!("{path}: {error}")))?;
            layer = plain.finish().map_err(|error| bad(&error))?;
        } else if magic == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(bad(&format!(
                "{path} is compressed with zstd, which is not supported"
            )));
        }
        if layer.digest() != diff_id {
            return Err(bad(&format!(
                "{path} has digest {}, its image says {diff_id}",
                layer.digest()
            )));
        }
        let readable = layer.open().and_then(walk);
        readable.map_err(|error| {
            EngineError::Refused(format!("a layer is no tar archive: {path}: {error}"))
        })?;
        let size = layer.size();
        self.proven.insert(diff_id.to_owned(), layer);
        Ok(size)
    }
}
