//! Changes of the source, carried into running processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use bytes::Bytes;
use rack_api::client::{ClientError, ExecEvent, Upload};
use rack_api::process::{ExecOptions, status};

use super::dockerfile::Copies;
use super::tree::Changes;
use super::voice::{CONVOX, Voices};
use crate::error::Error;
use crate::racks::Rack;

/// Most names that are said one by one.
const MOST_NAMES: usize = 3;
/// Most bytes sent at once; what is larger goes in several pieces.
const PIECE: usize = 16 * 1024 * 1024;

/// A service whose processes are kept like the source.
pub(super) struct Synced {
    /// Name.
    pub(super) service: String,
    /// Directory of the build's context, below the root of the source; empty for that.
    pub(super) context: String,
    copies: Copies,
    /// What has happened since the build.
    since_build: Changes,
    /// Directory processes start in, once one was asked.
    start: Option<String>,
    /// Processes that are as the source is.
    current: BTreeSet<String>,
}

impl Synced {
    /// A service and what its Dockerfile copies.
    pub(super) fn new(service: &str, context: &str, copies: Copies) -> Self {
        Self {
            service: service.to_owned(),
            context: context.to_owned(),
            copies,
            since_build: Changes::default(),
            start: None,
            current: BTreeSet::new(),
        }
    }

    /// The changes that concern this service, by their names in its context.
    fn own(&self, changes: &Changes) -> Changes {
        let own = |files: &BTreeSet<String>| {
            let files = files.iter().filter_map(|file| self.in_context(file));
            files
                .filter(|file| !self.copies.places(file).is_empty())
                .map(str::to_owned)
                .collect()
        };
        Changes {
            written: own(&changes.written),
            removed: own(&changes.removed),
        }
    }

    fn in_context<'a>(&self, file: &'a str) -> Option<&'a str> {
        if self.context.is_empty() {
            return Some(file);
        }
        file.strip_prefix(&self.context)?.strip_prefix('/')
    }

    /// Carries changes to the processes that are there, and everything since the build
    /// to those that are new. What fails is said, and tried again with the next look.
    pub(super) async fn carry(
        &mut self,
        rack: &Rack,
        app: &str,
        root: &Path,
        changes: &Changes,
        voices: &Voices,
    ) -> Result<(), Error> {
        let own = self.own(changes);
        self.since_build.extend(&own);
        if self.since_build.is_empty() {
            return Ok(());
        }
        let processes = match rack
            .client
            .process_list(app, Some(&self.service), None)
            .await
        {
            Ok(processes) => processes,
            Err(error) => return voices.say(CONVOX, &format!("sync error: {error}")),
        };
        let running: BTreeSet<String> = processes
            .into_iter()
            .filter(|process| process.status == status::RUNNING)
            .map(|process| process.id)
            .collect();
        self.current.retain(|pid| running.contains(pid));
        if !own.is_empty() {
            self.say(&own, voices)?;
        }
        for pid in running {
            let known = self.current.contains(&pid);
            let wanted = if known { &own } else { &self.since_build };
            if wanted.is_empty() {
                continue;
            }
            let wanted = wanted.clone();
            match self.send(rack, app, &pid, root, &wanted).await {
                Ok(()) => {
                    self.current.insert(pid);
                }
                Err(error) => {
                    // Everything again with the next look.
                    self.current.remove(&pid);
                    if !gone(&error) {
                        voices.say(CONVOX, &format!("sync error: {error}"))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn say(&self, changes: &Changes, voices: &Voices) -> Result<(), Error> {
        let service = &self.service;
        let tell = |doing: &str, files: &BTreeSet<String>| {
            if files.len() > MOST_NAMES {
                let text = format!("{doing}: {} files on {service}", files.len());
                return voices.say(CONVOX, &text);
            }
            for file in files {
                voices.say(CONVOX, &format!("{doing}: {file} on {service}"))?;
            }
            Ok(())
        };
        tell("sync", &changes.written)?;
        tell("remove", &changes.removed)
    }

    async fn send(
        &mut self,
        rack: &Rack,
        app: &str,
        pid: &str,
        root: &Path,
        changes: &Changes,
    ) -> Result<(), Error> {
        let start = if let Some(start) = &self.start {
            start.clone()
        } else {
            let start = working_directory(rack, app, pid).await?;
            self.start.insert(start).clone()
        };
        let context = root.join(&self.context);
        let mut tar = Tar::default();
        for file in &changes.written {
            for place in self.copies.places(file) {
                tar.add(&context.join(file), &place.resolve(&start))?;
                if tar.length() > PIECE {
                    send_tar(rack, app, pid, std::mem::take(&mut tar)).await?;
                }
            }
        }
        if !tar.is_empty() {
            send_tar(rack, app, pid, tar).await?;
        }
        let removed: Vec<_> = changes
            .removed
            .iter()
            .flat_map(|file| self.copies.places(file))
            .map(|place| format!("/{}", place.resolve(&start)))
            .collect();
        // Lists travel joined by commas; a name with one goes by itself, which works as
        // long as no process has files of both of its parts.
        for files in removed.chunks(100) {
            rack.client.files_delete(app, pid, files).await?;
        }
        Ok(())
    }
}

/// Whether a process has left meanwhile.
fn gone(error: &Error) -> bool {
    matches!(error, Error::Client(error) if error.is_not_found())
}

async fn send_tar(rack: &Rack, app: &str, pid: &str, tar: Tar) -> Result<(), Error> {
    let body = Upload::from(Bytes::from(tar.finish()?));
    Ok(rack.client.files_upload(app, pid, body).await?)
}

/// Files on their way.
struct Tar {
    tar: tar::Builder<Vec<u8>>,
    count: usize,
}

impl Default for Tar {
    fn default() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
            count: 0,
        }
    }
}

impl Tar {
    fn length(&self) -> usize {
        self.tar.get_ref().len()
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a file; one that is gone again is left out, as the next look tells.
    fn add(&mut self, path: &Path, name: &str) -> Result<(), Error> {
        let doing = || format!("can not read {}", path.display());
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(doing())(error)),
        };
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&metadata, tar::HeaderMode::Complete);
        header.set_uid(0);
        header.set_gid(0);
        let added = if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(Error::io(doing()))?;
            self.tar.append_link(&mut header, name, target)
        } else {
            let content = match fs::read(path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Error::io(doing())(error)),
            };
            header.set_size(content.len() as u64);
            self.tar.append_data(&mut header, name, &content[..])
        };
        self.count += 1;
        added.map_err(Error::io(doing()))
    }

    fn finish(self) -> Result<Vec<u8>, Error> {
        let mut bytes = self
            .tar
            .into_inner()
            .map_err(Error::io("can not pack the changes"))?;
        bytes
            .flush()
            .map_err(Error::io("can not pack the changes"))?;
        Ok(bytes)
    }
}

/// The directory a process starts in: that of its image.
async fn working_directory(rack: &Rack, app: &str, pid: &str) -> Result<String, Error> {
    let options = ExecOptions {
        command: "pwd".to_owned(),
        entrypoint: false,
        tty: false,
        stdin: false,
        height: None,
        width: None,
    };
    let socket = rack.client.process_exec(app, pid, &options).await?;
    let (mut output, _input) = socket.split();
    let mut text = Vec::new();
    loop {
        match output.next().await {
            Ok(ExecEvent::Output(bytes)) => text.extend_from_slice(&bytes),
            Ok(ExecEvent::Exit(0)) => break,
            Ok(ExecEvent::Exit(status)) => {
                return Err(Error::failed(format!("pwd has failed with {status}")));
            }
            Err(error) => return Err(ClientError::into(error)),
        }
    }
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

/// The services whose files are kept, by what their Dockerfiles copy.
pub(super) fn synced(
    root: &Path,
    manifest: &manifest::Manifest,
    wanted: impl Fn(&str) -> bool,
    voices: &Voices,
) -> Result<Vec<Synced>, Error> {
    let mut all = Vec::new();
    let mut read: BTreeMap<String, Copies> = BTreeMap::new();
    for (name, service) in &manifest.services {
        if !wanted(name) || service.build.path.is_empty() {
            continue;
        }
        let context = service.build.path.trim_start_matches("./");
        let context = context.trim_matches('/').trim_start_matches('.');
        let file = Path::new(context).join(&service.build.dockerfile);
        let key = file.to_string_lossy().into_owned();
        let copies = if let Some(copies) = read.get(&key) {
            copies.clone()
        } else {
            let path = root.join(&file);
            let text = fs::read_to_string(&path)
                .map_err(Error::io(format!("can not read {}", path.display())))?;
            let copies = Copies::read(&text);
            if copies.lost_base {
                let text = format!(
                    "files that {key} copies before its WORKDIR are not kept in step: name the WORKDIR first"
                );
                voices.say(CONVOX, &text)?;
            }
            read.entry(key).or_insert(copies).clone()
        };
        all.push(Synced::new(name, context, copies));
    }
    Ok(all)
}
