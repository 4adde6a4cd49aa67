//! Writes archives from what the engine saved.
//!
//! Two passes over the output of `docker save`: the first, in passing while it is
//! spooled, proves every image and computes every size, so whatever can fail does
//! before the first byte is written; the second copies, hashing again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Seek, SeekFrom, Write};
use std::str::FromStr;

use crate::digest::{Digest, HashingWriter};
use crate::error::{ArtifactError, shown};
use crate::gzip::GzipWriter;
use crate::images::{
    DOCKER_MANIFEST, Descriptor, DockerImage, Image, OCI_INDEX, OCI_LAYOUT, OciIndex, OciManifest,
    check_word,
};
use crate::layers::{Content, ImageTar};
use crate::limits::{Limits, Meter};
use crate::load::{config_name, copy, layer_name};
use crate::packer::{LONGEST_NAME, Packer, packed_size};
use crate::record::{
    BUILD_ENTRY, BuildRecord, FORMAT_MAJOR, FORMAT_MINOR, FileEntry, FormatVersion, INDEX_ENTRY,
    Index, ServiceImage, Source,
};

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Which kind of archive to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Layout B with a closing index; v2 racks import it too.
    #[default]
    Default,
    /// Layout B exactly as v2 racks write it.
    V2,
    /// Layout C, for v3 racks.
    V3,
}

impl Format {
    /// The names of all formats, for help texts.
    pub const NAMES: [&'static str; 3] = ["default", "v2", "v3"];

    /// The format's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::V2 => "v2",
            Self::V3 => "v3",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        [Self::Default, Self::V2, Self::V3]
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| ArtifactError::UnknownFormat {
                name: shown(text.as_bytes()),
            })
    }
}

/// What has been written.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The digest of the whole archive.
    pub digest: Digest,
    /// The size of the whole archive.
    pub size: u64,
    /// The image of each service.
    pub services: BTreeMap<String, ServiceImage>,
    /// The closing index, if the format has one.
    pub index: Option<Index>,
}

/// An archive that is proved to be writable, before its first byte.
#[derive(Debug)]
pub struct Prepared {
    build: BuildRecord,
    build_json: Vec<u8>,
    tars: Vec<PlannedTar>,
    services: BTreeMap<String, ServiceImage>,
    /// The index but for its entries, if the format has one.
    index: Option<Index>,
}

/// One image tar to write.
#[derive(Debug)]
struct PlannedTar {
    name: String,
    files: Vec<PlannedFile>,
}

impl PlannedTar {
    fn size(&self) -> u64 {
        packed_size(self.files.iter().map(|file| file.bytes.size()))
    }
}

#[derive(Debug)]
struct PlannedFile {
    name: String,
    bytes: Bytes,
}

/// Where a file's bytes come from.
#[derive(Debug)]
enum Bytes {
    Made(Vec<u8>),
    Saved {
        offset: u64,
        size: u64,
        digest: Digest,
    },
}

impl Bytes {
    fn size(&self) -> u64 {
        match self {
            Self::Made(bytes) => bytes.len() as u64,
            Self::Saved { size, .. } => *size,
        }
    }
}

/// Writes an archive in the default format.
///
/// `images` maps each service to its image's tag in `save`, the spooled output
/// of `docker save`. Nothing is written unless everything in it is proved; a
/// failure after that can only come from `out`, or from `save` changing.
pub fn write(
    build: &BuildRecord,
    required_environment: &[String],
    source: &Source,
    images: &BTreeMap<String, String>,
    save: &mut (impl Read + Seek),
    out: impl Write,
    level: u32,
) -> Result<Summary, ArtifactError> {
    let format = Format::Default;
    prepare(format, build, required_environment, source, images, save)?.write(save, out, level)
}

/// Everything about the output of `docker save` but its layers' bytes.
#[derive(Debug)]
pub struct Saved(ImageTar);

impl Saved {
    /// Reads the output of `docker save` once, to its very end.
    pub fn scan(save: impl Read, limits: &Limits) -> Result<Self, ArtifactError> {
        let meter = Meter::new(limits);
        ImageTar::scan(save, "the engine's output", &meter, None).map(Self)
    }
}

/// Proves all images in `save` and plans the archive, without writing anything.
pub fn prepare(
    format: Format,
    build: &BuildRecord,
    required_environment: &[String],
    source: &Source,
    images: &BTreeMap<String, String>,
    save: &mut (impl Read + Seek),
) -> Result<Prepared, ArtifactError> {
    save.seek(SeekFrom::Start(0)).map_err(ArtifactError::Read)?;
    let saved = Saved::scan(save, &Limits::default())?;
    plan(format, build, required_environment, source, images, &saved)
}

/// Proves all images in what was saved and plans the archive, without writing anything.
///
/// `images` maps each service to its image's tag there.
pub fn plan(
    format: Format,
    build: &BuildRecord,
    required_environment: &[String],
    source: &Source,
    images: &BTreeMap<String, String>,
    Saved(saved): &Saved,
) -> Result<Prepared, ArtifactError> {
    check_word(&build.app, "it is not the name of an app")?;
    check_word(&build.id, "it is not the id of a build")?;
    for service in images.keys() {
        check_word(service, "it is not the name of a service")?;
    }
    check_environment(required_environment)?;
    if images.is_empty() {
        return Err(ArtifactError::Unexportable {
            reason: format!("{} has no images", build.id),
        });
    }

    let proved = saved.docker_images()?;
    let mut chosen: BTreeMap<&str, &Image> = BTreeMap::new();
    for (service, tag) in images {
        let image = proved.iter().find(|image| names(image, tag));
        let image = image.ok_or_else(|| ArtifactError::ImageNotSaved {
            service: service.clone(),
            tag: tag.clone(),
        })?;
        chosen.insert(service, image);
    }

    let tars = if format == Format::V3 {
        chosen
            .iter()
            .map(|(service, image)| oci_tar(service, &build.id, saved, image))
            .collect::<Result<_, _>>()?
    } else {
        vec![combined_tar(build, saved, &chosen, images)?]
    };
    for tar in &tars {
        if tar.name.len() > LONGEST_NAME {
            return Err(ArtifactError::Unexportable {
                reason: format!("the name {} is too long", tar.name),
            });
        }
    }
    let services: BTreeMap<_, _> = chosen
        .iter()
        .map(|(service, image)| ((*service).to_owned(), image.service.clone()))
        .collect();
    let index = (format == Format::Default).then(|| Index {
        format: FormatVersion {
            major: FORMAT_MAJOR,
            minor: FORMAT_MINOR,
        },
        build: build.id.clone(),
        app: build.app.clone(),
        git_sha: build.git_sha.clone(),
        entrypoint: build.entrypoint.clone(),
        source: source.clone(),
        required_environment: required_environment.to_vec(),
        services: services.clone(),
        withheld: BTreeSet::new(),
        entries: Vec::new(),
    });
    Ok(Prepared {
        build: build.clone(),
        build_json: build.to_json(),
        tars,
        services,
        index,
    })
}

impl Prepared {
    /// The build that is exported.
    pub fn build(&self) -> &BuildRecord {
        &self.build
    }

    /// The image of each service.
    pub fn services(&self) -> &BTreeMap<String, ServiceImage> {
        &self.services
    }

    /// Leaves layers out that the receiver has said to have; the index names them. Only
    /// [`verify_thin`](crate::verify_thin()) reads what is written then. Formats without
    /// an index leave nothing out.
    #[must_use]
    pub fn withholding(mut self, layers: &BTreeSet<Digest>) -> Self {
        let Some(index) = &mut self.index else {
            return self;
        };
        let names: BTreeMap<String, &Digest> = layers
            .iter()
            .map(|layer| (layer_name(layer), layer))
            .collect();
        for tar in &mut self.tars {
            tar.files.retain(|file| match names.get(&file.name) {
                Some(layer) => {
                    index.withheld.insert((*layer).clone());
                    false
                }
                None => true,
            });
        }
        self
    }

    /// Writes the archive; `save` must be what it was prepared from. `level` is
    /// that of gzip, 0 to 9.
    pub fn write(
        &self,
        save: &mut (impl Read + Seek),
        out: impl Write,
        level: u32,
    ) -> Result<Summary, ArtifactError> {
        let gzip =
            GzipWriter::new(HashingWriter::aside(out), level).map_err(ArtifactError::Write)?;
        let mut archive = Packer::new(gzip);
        let mut entries = vec![add(&mut archive, BUILD_ENTRY, &self.build_json)?];
        for tar in &self.tars {
            entries.push(write_tar(tar, &mut archive, save)?);
        }
        let index = self.index.clone().map(|index| Index { entries, ..index });
        if let Some(index) = &index {
            add(&mut archive, INDEX_ENTRY, &index.to_json())?;
        }
        let mut out = archive
            .finish()
            .and_then(GzipWriter::finish)
            .map_err(ArtifactError::Write)?;
        out.flush().map_err(ArtifactError::Write)?;
        let (digest, size) = out.finish();
        Ok(Summary {
            digest,
            size,
            services: self.services.clone(),
            index,
        })
    }
}

/// Adds a small file to the archive.
fn add(
    archive: &mut Packer<impl Write>,
    name: &str,
    bytes: &[u8],
) -> Result<FileEntry, ArtifactError> {
    archive
        .begin(name, bytes.len() as u64)
        .and_then(|()| archive.write_all(bytes))
        .map_err(ArtifactError::Write)?;
    Ok(FileEntry {
        name: name.to_owned(),
        size: bytes.len() as u64,
        digest: Digest::of(bytes),
        files: Vec::new(),
    })
}

/// Adds an image tar to the archive, copying from the spool.
fn write_tar(
    plan: &PlannedTar,
    archive: &mut Packer<impl Write>,
    save: &mut (impl Read + Seek),
) -> Result<FileEntry, ArtifactError> {
    archive
        .begin(&plan.name, plan.size())
        .map_err(ArtifactError::Write)?;
    let mut tar = Packer::new(HashingWriter::aside(archive));
    let mut files = Vec::with_capacity(plan.files.len());
    for file in &plan.files {
        match &file.bytes {
            Bytes::Made(bytes) => files.push(add(&mut tar, &file.name, bytes)?),
            Bytes::Saved {
                offset,
                size,
                digest,
            } => {
                tar.begin(&file.name, *size).map_err(ArtifactError::Write)?;
                save.seek(SeekFrom::Start(*offset))
                    .map_err(ArtifactError::Read)?;
                let place = format!("the engine's output ({})", file.name);
                copy(&mut save.by_ref().take(*size), &mut tar, digest, place)?;
                files.push(FileEntry {
                    name: file.name.clone(),
                    size: *size,
                    digest: digest.clone(),
                    files: Vec::new(),
                });
            }
        }
    }
    let (digest, size) = tar.finish().map_err(ArtifactError::Write)?.finish();
    debug_assert_eq!(size, plan.size(), "the header states the exact size");
    Ok(FileEntry {
        name: plan.name.clone(),
        size,
        digest,
        files,
    })
}

/// Plans the docker archive of all services: what `docker load` needs, each
/// layer once, the manifest last because v2 racks cut the stream after it.
fn combined_tar(
    build: &BuildRecord,
    saved: &ImageTar,
    chosen: &BTreeMap<&str, &Image>,
    tags: &BTreeMap<String, String>,
) -> Result<PlannedTar, ArtifactError> {
    let mut listed: Vec<DockerImage> = Vec::new();
    let mut configs = Files::default();
    let mut layers = Files::default();
    for (service, image) in chosen {
        let config = config_name(&image.service.config_digest);
        let tag = exported_tag(&tags[*service], service, &build.id);
        if let Some(known) = listed.iter_mut().find(|known| known.config == config) {
            known.repo_tags.get_or_insert_default().push(tag);
            continue;
        }
        configs.add(config.clone(), saved, &image.config)?;
        let diff_ids = &image.service.diff_ids;
        for (path, diff_id) in image.layers.iter().zip(diff_ids) {
            layers.add(layer_name(diff_id), saved, path)?;
        }
        listed.push(DockerImage {
            config,
            repo_tags: Some(vec![tag]),
            layers: diff_ids.iter().map(layer_name).collect(),
        });
    }
    let mut files = configs.files;
    files.append(&mut layers.files);
    files.push(PlannedFile {
        name: DOCKER_MANIFEST.to_owned(),
        bytes: Bytes::Made(serde_json::to_vec(&listed).expect("texts always serialize")),
    });
    Ok(PlannedTar {
        name: format!("{}.{}.tar", build.app, build.id),
        files,
    })
}

/// Plans the OCI layout of one service.
fn oci_tar(
    service: &str,
    build: &str,
    saved: &ImageTar,
    image: &Image,
) -> Result<PlannedTar, ArtifactError> {
    let mut blobs = Files::default();
    let config = blobs.add_blob(saved, &image.config, OCI_CONFIG)?;
    let layers = image
        .layers
        .iter()
        .map(|path| {
            let (_, file) = saved.file_at(path)?;
            let media_type = match file.content {
                Content::Gzip { .. } => OCI_LAYER_GZIP,
                _ => OCI_LAYER,
            };
            blobs.add_blob(saved, path, media_type)
        })
        .collect::<Result<_, _>>()?;
    let manifest = OciManifest {
        schema_version: 2,
        media_type: OCI_MANIFEST.to_owned(),
        config,
        layers,
    };
    let manifest = serde_json::to_vec(&manifest).expect("texts always serialize");
    let digest = Digest::of(&manifest);
    let index = OciIndex {
        schema_version: 2,
        manifests: vec![Descriptor::new(
            OCI_MANIFEST,
            digest.clone(),
            manifest.len() as u64,
        )],
    };
    let index = serde_json::to_vec(&index).expect("texts always serialize");
    let mut files = blobs.files;
    for (name, bytes) in [
        (format!("blobs/sha256/{}", digest.hex()), manifest),
        (OCI_INDEX.to_owned(), index),
        (
            OCI_LAYOUT.to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
    ] {
        files.push(PlannedFile {
            name,
            bytes: Bytes::Made(bytes),
        });
    }
    Ok(PlannedTar {
        name: format!("{service}.{build}.tar"),
        files,
    })
}

/// Files taken from the spool, each name once.
#[derive(Default)]
struct Files {
    files: Vec<PlannedFile>,
    names: std::collections::BTreeSet<String>,
}

impl Files {
    fn add(&mut self, name: String, saved: &ImageTar, path: &str) -> Result<(), ArtifactError> {
        let (_, file) = saved.file_at(path)?;
        if self.names.insert(name.clone()) {
            self.files.push(PlannedFile {
                name,
                bytes: Bytes::Saved {
                    offset: file.offset,
                    size: file.size,
                    digest: file.digest.clone(),
                },
            });
        }
        Ok(())
    }

    fn add_blob(
        &mut self,
        saved: &ImageTar,
        path: &str,
        media_type: &str,
    ) -> Result<Descriptor, ArtifactError> {
        let (_, file) = saved.file_at(path)?;
        let (digest, size) = (file.digest.clone(), file.size);
        self.add(format!("blobs/sha256/{}", digest.hex()), saved, path)?;
        Ok(Descriptor::new(media_type, digest, size))
    }
}

/// Engines write a tag as it was given, podman and newer ones in its long form.
fn names(image: &Image, tag: &str) -> bool {
    const DEFAULT_REGISTRIES: [&str; 4] = ["", "localhost/", "docker.io/", "docker.io/library/"];
    image.tags.iter().any(|name| {
        DEFAULT_REGISTRIES
            .iter()
            .any(|registry| name.strip_prefix(registry) == Some(tag))
    })
}

/// The name an image has in the archive: importers take the service from between
/// the first and the second colon, so a registry's port must go.
fn exported_tag(tag: &str, service: &str, build: &str) -> String {
    let slash = tag.rfind('/').map_or(0, |slash| slash + 1);
    let colon = tag[slash..].rfind(':').map(|colon| slash + colon);
    let repository = &tag[..colon.unwrap_or(tag.len())];
    let repository = match repository.split_once('/') {
        Some((registry, path)) => {
            let host = registry.split(':').next().expect("a text has a first part");
            format!("{host}/{path}")
        }
        None => repository.to_owned(),
    };
    format!("{repository}:{service}.{build}")
}

/// Only names may travel; a value would be a secret.
fn check_environment(names: &[String]) -> Result<(), ArtifactError> {
    for name in names {
        if name.is_empty() || name.contains('=') || name.chars().any(char::is_control) {
            // The text is not repeated: it may hold a secret value.
            return Err(ArtifactError::Unexportable {
                reason: "a required environment variable is not given by its name alone".to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_tags_have_exactly_one_colon() {
        for (tag, exported) in [
            ("app:web.B1", "app:web.B2"),
            ("twin/staging/app:web.B1", "twin/staging/app:web.B2"),
            ("localhost:5000/a/b:web.B1", "localhost/a/b:web.B2"),
            ("localhost:5000/b", "localhost/b:web.B2"),
        ] {
            assert_eq!(exported_tag(tag, "web", "B2"), exported);
        }
    }

    #[test]
    fn values_never_travel() {
        let error = check_environment(&["KEY=secret".to_owned()]).expect_err("a value");
        assert!(!error.to_string().contains("secret"));
        check_environment(&["KEY".to_owned()]).expect("a name");
    }
}
