//! Reads an archive once, from the first byte to the last, and says what is in
//! it only if all of it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};

use crate::digest::{Digest, HashingReader};
use crate::error::{ArtifactError, escaped, shown};
use crate::gunzip::Gunzip;
use crate::images::{Image, Layer, Platform, service_name, service_of_tag};
use crate::layers::{BUFFER, ImageTar, Outlet, drain};
use crate::limits::{Limits, Meter, Received, Unpacked};
use crate::load::LoadPlan;
use crate::record::{
    BUILD_ENTRY, BuildRecord, FORMAT_MAJOR, FileEntry, INDEX_ENTRY, Index, ServiceImage,
};
use crate::tarball::{Entry, Kind, TarReader};

const ARCHIVE: &str = "the archive";
pub(crate) const IMAGE_SUFFIX: &str = ".tar";

/// How an archive arranges its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One docker archive per service (layout A, 2016–17).
    Classic,
    /// One docker archive for all services (layout B, v2 racks and ours).
    Combined,
    /// One OCI image layout per service (layout C, v3 racks).
    Oci,
}

/// What a verified archive contains.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The build, unless the archive lacks its description, as very old ones may.
    pub build: Option<BuildRecord>,
    /// How the images are arranged.
    pub layout: Layout,
    /// The image of each service.
    pub services: BTreeMap<String, ServiceImage>,
    /// The layers of each service's image, lowest first.
    pub layers: BTreeMap<String, Vec<Layer>>,
    /// What the image of each service is made for.
    pub platforms: BTreeMap<String, Platform>,
    /// Services whose image is not called by its digest in the archive, so that nothing
    /// states what its configuration should be.
    pub unnamed_configurations: BTreeSet<String>,
    /// The closing index, if the archive has one.
    pub index: Option<Index>,
    /// All files of the archive, the index itself excepted.
    pub entries: Vec<FileEntry>,
    /// Layers that were left out ([`verify_thin`]).
    pub withheld: BTreeSet<Digest>,
    /// The digest of the archive as it was received.
    pub digest: Digest,
    /// The size of the archive as it was received.
    pub size: u64,
    pub(crate) plan: LoadPlan,
}

/// Reads the whole archive and verifies everything that can be verified.
///
/// That is always: compression checksums, tar structure, image configurations
/// and layers against their digests, nothing after the end. If the archive has
/// an index, every entry must be listed there and equal.
pub fn verify(reader: impl Read, limits: &Limits) -> Result<Contents, ArtifactError> {
    survey(reader, limits, None, false)
}

/// The same for an archive from which layers may be missing: those that the index says
/// were left out, and no others. It is for the caller to see that they are where the
/// images go.
pub fn verify_thin(reader: impl Read, limits: &Limits) -> Result<Contents, ArtifactError> {
    survey(reader, limits, None, true)
}

/// Reads to the end for the digest alone, within the limit for an archive.
pub fn fingerprint(reader: impl Read, limits: &Limits) -> Result<Digest, ArtifactError> {
    let meter = Meter::new(limits);
    let mut received = HashingReader::aside(Received::new(reader, &meter));
    drain(&mut received, &mut vec![0; 2 * BUFFER])?;
    Ok(received.finish().0)
}

/// Verifies an archive while an outlet sees the files of its image tars.
pub(crate) fn survey(
    reader: impl Read,
    limits: &Limits,
    mut outlet: Option<&mut dyn Outlet>,
    thin: bool,
) -> Result<Contents, ArtifactError> {
    let meter = Meter::new(limits);
    let mut received = HashingReader::aside(Received::new(reader, &meter));
    let mut survey = Survey {
        thin,
        ..Survey::default()
    };
    let mut archive = open(&mut received, &meter);
    while let Some(entry) = archive.next_entry()? {
        // Not `as_deref_mut`: it would borrow the outlet for all turns at once.
        let outlet = outlet
            .as_mut()
            .map(|outlet| &mut **outlet as &mut dyn Outlet);
        if let Err(error) = survey.entry(&entry, &mut archive, &meter, outlet) {
            return Err(newer_version(&mut archive, &meter).unwrap_or(error));
        }
    }
    drop(archive);
    let (digest, size) = received.finish();
    survey.finish(digest, size)
}

/// Whether an archive that cannot be read is of a later generation: its index stands at
/// the end and says so in a place that no generation changes.
fn newer_version<R: Read>(
    archive: &mut ArchiveReader<'_, R>,
    meter: &Meter,
) -> Option<ArtifactError> {
    loop {
        let entry = archive.next_entry().ok()??;
        if entry.name == INDEX_ENTRY && entry.kind == Kind::File {
            let text = text(archive, entry.size, meter).ok()?;
            let error = Index::from_json(&text).err()?;
            return matches!(error, ArtifactError::UnsupportedVersion { .. }).then_some(error);
        }
    }
}

/// The tar inside an archive's compression, with everything counted.
pub(crate) type ArchiveReader<'m, R> = TarReader<'m, Unpacked<'m, Gunzip<BufReader<R>>>>;

pub(crate) fn open<R: Read>(received: R, meter: &Meter) -> ArchiveReader<'_, R> {
    let received = BufReader::with_capacity(2 * BUFFER, received);
    let unpacked = Unpacked::archive(Gunzip::new(received, ARCHIVE), meter);
    TarReader::new(unpacked, ARCHIVE, meter)
}

/// Collects what the entries say, one by one.
#[derive(Default)]
struct Survey {
    build: Option<BuildRecord>,
    index: Option<Index>,
    entries: Vec<FileEntry>,
    services: BTreeMap<String, ServiceImage>,
    layers: BTreeMap<String, Vec<Layer>>,
    platforms: BTreeMap<String, Platform>,
    unnamed: BTreeSet<String>,
    plan: LoadPlan,
    /// Whether layers may be missing, and those that are.
    thin: bool,
    withheld: BTreeSet<Digest>,
    /// Names of the image tars.
    docker: Vec<String>,
    oci: usize,
    /// The first directory, which an archive with an index cannot list.
    directory: Option<String>,
}

impl Survey {
    fn entry(
        &mut self,
        entry: &Entry,
        source: &mut impl Read,
        meter: &Meter,
        outlet: Option<&mut dyn Outlet>,
    ) -> Result<(), ArtifactError> {
        let name = entry.name.as_str();
        if self.index.is_some() {
            return Err(mismatch(format!("{} follows it", shown(name.as_bytes()))));
        }
        match entry.kind {
            Kind::File => {}
            Kind::Directory => {
                self.directory.get_or_insert_with(|| entry.name.clone());
                return Ok(());
            }
            Kind::Link(_) => {
                return Err(ArtifactError::Forbidden {
                    name: shown(name.as_bytes()),
                    kind: "link",
                });
            }
        }
        if name == INDEX_ENTRY {
            self.index = Some(Index::from_json(&text(source, entry.size, meter)?)?);
            return Ok(());
        }
        let mut hashing = HashingReader::aside(source);
        let mut files = Vec::new();
        if name == BUILD_ENTRY {
            let json = text(&mut hashing, entry.size, meter)?;
            self.build = Some(BuildRecord::from_json(&json)?);
        } else if name.ends_with(IMAGE_SUFFIX) {
            let mut tar = ImageTar::scan(&mut hashing, name, meter, outlet)?;
            tar.thin = self.thin;
            self.images(name, &tar)?;
            files = tar.listing();
        } else {
            // Racks skip what they do not know, and so do we; its bytes count all the same.
            drain(&mut hashing, &mut vec![0; BUFFER])?;
        }
        let (digest, size) = hashing.finish();
        self.entries.push(FileEntry {
            name: entry.name.clone(),
            size,
            digest,
            files,
        });
        Ok(())
    }

    fn images(&mut self, name: &str, tar: &ImageTar) -> Result<(), ArtifactError> {
        if tar.is_docker() {
            self.docker.push(name.to_owned());
            for image in tar.docker_images()? {
                if image.tags.is_empty() {
                    return Err(ArtifactError::Untagged { place: name.into() });
                }
                for tag in &image.tags {
                    self.service(service_of_tag(tag)?, name, tar, &image)?;
                }
            }
        } else {
            self.oci += 1;
            let image = tar.oci_image()?;
            let file = name.rsplit('/').next().expect("a path has a last part");
            self.service(service_name(file)?, name, tar, &image)?;
        }
        Ok(())
    }

    fn service(
        &mut self,
        service: String,
        entry: &str,
        tar: &ImageTar,
        image: &Image,
    ) -> Result<(), ArtifactError> {
        match self.services.get(&service) {
            Some(known) if *known == image.service => return Ok(()),
            Some(_) => return Err(ArtifactError::AmbiguousService { service }),
            None => {}
        }
        self.plan.add(&service, entry, tar, image)?;
        self.layers.insert(service.clone(), tar.layers_of(image)?);
        self.platforms
            .insert(service.clone(), image.platform.clone());
        if !image.named {
            self.unnamed.insert(service.clone());
        }
        for (path, diff_id) in image.layers.iter().zip(&image.service.diff_ids) {
            if tar.withholds(path, diff_id) {
                self.withheld.insert(diff_id.clone());
            }
        }
        self.services.insert(service, image.service.clone());
        Ok(())
    }

    fn finish(self, digest: Digest, size: u64) -> Result<Contents, ArtifactError> {
        if let Some(index) = &self.index {
            self.check_index(index)?;
        }
        let announced = self.index.as_ref().map(|index| index.withheld.clone());
        if announced.unwrap_or_default() != self.withheld {
            return Err(mismatch(
                "other layers are missing than were left out".to_owned(),
            ));
        }
        if self.services.is_empty() {
            return Err(ArtifactError::NoImages);
        }
        Ok(Contents {
            layout: self.layout(),
            build: self.build,
            services: self.services,
            layers: self.layers,
            platforms: self.platforms,
            unnamed_configurations: self.unnamed,
            index: self.index,
            entries: self.entries,
            withheld: self.withheld,
            digest,
            size,
            plan: self.plan,
        })
    }

    fn layout(&self) -> Layout {
        let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        match &self.docker[..] {
            _ if self.oci > 0 => Layout::Oci,
            // One tar may be either: it is called by the app, or by its only service.
            [only] => {
                let app = self.build.as_ref().map(|build| build.app.as_str());
                let by_service = self.services.len() == 1
                    && self.services.contains_key(&first(only))
                    && app != Some(first(only).as_str());
                if by_service {
                    Layout::Classic
                } else {
                    Layout::Combined
                }
            }
            _ => Layout::Classic,
        }
    }

    fn check_index(&self, index: &Index) -> Result<(), ArtifactError> {
        if let Some(name) = &self.directory {
            return Err(mismatch(format!("directory {name:?} is not listed")));
        }
        compare(&index.entries, &self.entries, "")?;
        if index.services != self.services {
            let differs =
                |service: &&String| index.services.get(*service) != self.services.get(*service);
            let service = index
                .services
                .keys()
                .chain(self.services.keys())
                .find(differs);
            let service = escaped(service.map(String::as_str).unwrap_or_default(), 64);
            return Err(mismatch(format!("the image of service {service} differs")));
        }
        let build = self.build.as_ref();
        let build = build.ok_or_else(|| mismatch(format!("{BUILD_ENTRY} is missing")))?;
        for (what, stated, found) in [
            ("build", &index.build, &build.id),
            ("app", &index.app, &build.app),
            ("git sha", &index.git_sha, &build.git_sha),
            ("entrypoint", &index.entrypoint, &build.entrypoint),
        ] {
            if stated != found {
                let (found, stated) = (shown(found.as_bytes()), shown(stated.as_bytes()));
                return Err(mismatch(format!("{what} {found}, listed is {stated}")));
            }
        }
        debug_assert!(index.format.major <= FORMAT_MAJOR, "checked when parsed");
        Ok(())
    }
}

/// Compares what an index lists with what was found, name by name.
fn compare(listed: &[FileEntry], found: &[FileEntry], prefix: &str) -> Result<(), ArtifactError> {
    let mut expected: BTreeMap<&str, &FileEntry> = BTreeMap::new();
    for entry in listed {
        if expected.insert(&entry.name, entry).is_some() {
            let name = shown(entry.name.as_bytes());
            return Err(mismatch(format!("{prefix}{name} is listed twice")));
        }
    }
    for entry in found {
        let name = format!("{prefix}{}", entry.name);
        let Some(expected) = expected.remove(entry.name.as_str()) else {
            return Err(mismatch(format!("{name} is not listed")));
        };
        compare(&expected.files, &entry.files, &format!("{name}/"))?;
        if expected.size != entry.size {
            let (listed, size) = (expected.size, entry.size);
            return Err(mismatch(format!(
                "{name} has {size} bytes, listed are {listed}"
            )));
        }
        if expected.digest != entry.digest {
            return Err(mismatch(format!("the digest of {name} differs")));
        }
    }
    if let Some(name) = expected.keys().next() {
        let name = shown(name.as_bytes());
        return Err(mismatch(format!("{prefix}{name} is listed but missing")));
    }
    Ok(())
}

fn mismatch(reason: String) -> ArtifactError {
    ArtifactError::IndexMismatch { reason }
}

/// Reads a JSON document of our own, whose size is limited.
pub(crate) fn text(
    source: &mut impl Read,
    size: u64,
    meter: &Meter,
) -> Result<Vec<u8>, ArtifactError> {
    meter.count_json(size)?;
    let mut text = Vec::new();
    source
        .read_to_end(&mut text)
        .map_err(ArtifactError::from_read)?;
    meter.check_values(&text)?;
    Ok(text)
}
