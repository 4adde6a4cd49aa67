//! Changes of the source, carried into running processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use rack_api::client::{ClientError, ExecEvent};
use rack_api::process::{ExecOptions, status};

use super::below_root;
use super::dockerfile::Copies;
use super::tree::Changes;
use super::voice::{CONVOX, Voices};
use crate::error::Error;
use crate::parcel::{self, Parcel};
use crate::racks::Rack;

/// Most names that are said one by one.
const MOST_NAMES: usize = 3;
/// Most names in one request to remove files.
const AT_ONCE: usize = 100;
/// Lists travel joined by it, without any escape.
const COMMA: char = ',';

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
    /// What failed the last time, so that it is said once.
    failure: String,
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
            failure: String::new(),
        }
    }

    /// What is kept where, one line for each copy of the Dockerfile.
    pub(super) fn introduction(&self) -> Vec<String> {
        let service = &self.service;
        let lines = self.copies.pairs().into_iter().map(|(source, to)| {
            let source = match (self.context.as_str(), source) {
                ("", "") => ".".to_owned(),
                ("", path) | (path, "") => path.to_owned(),
                (context, source) => format!("{context}/{source}"),
            };
            let to = to.shown(self.start.as_deref());
            format!("starting sync from {source} to {to} on {service}")
        });
        lines.collect()
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
        let listed = rack.client.process_list(app, Some(&self.service), None);
        let processes = match listed.await {
            Ok(processes) => processes,
            // Known processes miss this change: they get everything with the next look.
            Err(error) => {
                self.current.clear();
                return self.fail(error.to_string(), voices);
            }
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
        let mut failure = String::new();
        for pid in running {
            let known = self.current.contains(&pid);
            let wanted = if known { &own } else { &self.since_build };
            if wanted.is_empty() {
                continue;
            }
            let wanted = wanted.clone();
            match self.send(rack, app, &pid, root, &wanted).await {
                Ok(refused) => {
                    self.current.insert(pid);
                    if !refused.is_empty() {
                        failure = refused;
                    }
                }
                Err(error) => {
                    // Everything again with the next look.
                    self.current.remove(&pid);
                    if !gone(&error) {
                        failure = error.to_string();
                    }
                }
            }
        }
        self.fail(failure, voices)
    }

    /// Says what has failed, unless that was said the last time; empty when nothing has.
    fn fail(&mut self, failure: String, voices: &Voices) -> Result<(), Error> {
        if failure != self.failure && !failure.is_empty() {
            voices.say(CONVOX, &format!("sync error: {failure}"))?;
        }
        self.failure = failure;
        Ok(())
    }

    fn say(&self, changes: &Changes, voices: &Voices) -> Result<(), Error> {
        let service = &self.service;
        // By the directory they are copied to, in the words of the original.
        let tell = |files: &BTreeSet<String>, [doing, to, of_many]: [&str; 3]| {
            let mut targets: BTreeMap<String, Vec<&String>> = BTreeMap::new();
            for file in files {
                let target = self.copies.target(file);
                let target = target.map(|place| place.shown(self.start.as_deref()));
                targets
                    .entry(target.unwrap_or_default())
                    .or_default()
                    .push(file);
            }
            for (target, files) in targets {
                if files.len() > MOST_NAMES {
                    let count = files.len();
                    let text = format!("{doing}: {count} files {to} {target} {of_many} {service}");
                    voices.say(CONVOX, &text)?;
                    continue;
                }
                for file in files {
                    let text = format!("{doing}: {file} {to} {target} on {service}");
                    voices.say(CONVOX, &text)?;
                }
            }
            Ok::<_, Error>(())
        };
        tell(&changes.written, ["sync", "to", "on"])?;
        tell(&changes.removed, ["remove", "from", "to"])?;
        for file in changes.removed.iter().filter(|file| file.contains(COMMA)) {
            let text = format!(
                "sync error: {file} stays on {service}: racks can not remove a name with a comma"
            );
            voices.say(CONVOX, &text)?;
        }
        Ok(())
    }

    /// Makes a process like the source; returns why it has refused a file, if it has.
    async fn send(
        &mut self,
        rack: &Rack,
        app: &str,
        pid: &str,
        root: &Path,
        changes: &Changes,
    ) -> Result<String, Error> {
        let start = if let Some(start) = &self.start {
            start.clone()
        } else {
            let start = working_directory(rack, app, pid).await?;
            self.start.insert(start).clone()
        };
        // What is gone goes first: it may stand where something new is a directory.
        let removed: Vec<_> = changes
            .removed
            .iter()
            .filter(|file| !file.contains(COMMA))
            .flat_map(|file| self.copies.places(file))
            .map(|place| format!("/{}", place.resolve(&start)))
            .collect();
        for files in removed.chunks(AT_ONCE) {
            rack.client.files_delete(app, pid, files).await?;
        }
        // What was a directory here is one there, and would stand where a file belongs.
        let was_directory = |file: &&String| {
            let inside = format!("{file}/");
            let mut later = changes.removed.range(inside.clone()..);
            later.next().is_some_and(|next| next.starts_with(&inside))
        };
        for file in changes.written.iter().filter(was_directory) {
            for place in self.copies.places(file) {
                let path = format!("/{}", place.resolve(&start));
                let path =
                    shlex::try_quote(&path).map_err(|error| Error::failed(error.to_string()))?;
                said(rack, app, pid, format!("rm -rf -- {path}")).await?;
            }
        }
        let whole = self
            .write(rack, app, pid, root, &start, &changes.written)
            .await;
        match whole {
            Err(Error::Client(error)) if !error.is_not_found() && changes.written.len() > 1 => {}
            whole => return whole.map(|()| String::new()),
        }
        // One that a process refuses must not keep the others from it.
        let mut failure = String::new();
        for file in &changes.written {
            let one = BTreeSet::from([file.clone()]);
            match self.write(rack, app, pid, root, &start, &one).await {
                Err(Error::Client(error)) if !error.is_not_found() => {
                    failure = format!("{file}: {error}");
                }
                written => written?,
            }
        }
        Ok(failure)
    }

    /// Sends files as they are now.
    async fn write(
        &self,
        rack: &Rack,
        app: &str,
        pid: &str,
        root: &Path,
        start: &str,
        files: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let context = root.join(&self.context);
        let mut parcel = Parcel::new()?;
        for file in files {
            let path = context.join(file);
            let found = match fs::symlink_metadata(&path) {
                Ok(found) => found,
                // Gone again, as the next look tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Error::io(format!("can not read {}", path.display()))(error));
                }
            };
            for place in self.copies.places(file) {
                parcel.add(&path, Path::new(&place.resolve(start)), &found)?;
            }
        }
        if !parcel.is_empty() {
            parcel::send(rack, app, pid, parcel.finish()?).await?;
        }
        Ok(())
    }
}

/// Whether a process has left meanwhile.
fn gone(error: &Error) -> bool {
    matches!(error, Error::Client(error) if error.is_not_found())
}

/// The directory a process starts in: that of its image.
async fn working_directory(rack: &Rack, app: &str, pid: &str) -> Result<String, Error> {
    said(rack, app, pid, "pwd".to_owned()).await
}

/// What a command in a process says, without the last line's end.
async fn said(rack: &Rack, app: &str, pid: &str, command: String) -> Result<String, Error> {
    let options = ExecOptions {
        command: command.clone(),
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
                return Err(Error::failed(format!("{command} has failed with {status}")));
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
    wanted: impl Fn(&String) -> bool,
    voices: &Voices,
) -> Result<Vec<Synced>, Error> {
    let mut all = Vec::new();
    let mut read: BTreeMap<String, Copies> = BTreeMap::new();
    for (name, service) in &manifest.services {
        if !wanted(name) || service.build.path.is_empty() {
            continue;
        }
        let context = &below_root(Path::new(&service.build.path));
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
