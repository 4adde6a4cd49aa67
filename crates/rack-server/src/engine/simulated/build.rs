//! Builds: a Dockerfile and its context become an image whose id depends on
//! nothing but them and the build arguments.
//!
//! `COPY` and `ADD` make layers with the real files; `RUN` is played by the
//! small shell and makes a layer that records what it depended on. Base images
//! nobody has are stood in for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use super::super::{BuildSpec, Credentials, EngineError, Image, LogSink, Reader, Result, registry};
use super::blob::{BlobRead, Blobs, Pending, digest_of};
use super::copy;
use super::dockerfile::{self, Dockerfile, Instruction, Keyword, Stage};
use super::fault::{self, FaultKind};
use super::image::{self, ConfigFile, History, StoredImage};
use super::progress::{Cancellable, Progress};
use super::shell::{Shell, Unknown};
use super::stages::{find_target, needed_stages};
use super::syntax;
use super::tree::{self, Kind, Tree, Unpacked};
use super::{Shared, blocking};

/// Dockerfiles larger than this are no such thing.
const MAX_DOCKERFILE: u64 = 4 << 20;

/// Builds an image.
pub(super) async fn build(
    shared: &Arc<Shared>,
    spec: BuildSpec,
    log: LogSink,
    cancel: CancellationToken,
) -> Result<Image> {
    let context = read_context(shared, spec.context, &cancel).await?;
    let text = context_file(&context, &spec.dockerfile, MAX_DOCKERFILE)?.ok_or_else(|| {
        EngineError::Failed(format!(
            "failed to solve: failed to read dockerfile: open {}: no such file or directory",
            spec.dockerfile
        ))
    })?;
    let file = dockerfile::parse(&String::from_utf8_lossy(&text)).map_err(unsolved)?;
    let carried = match context_file(&context, fault::CONTEXT_FILE, MAX_DOCKERFILE)? {
        Some(text) => fault_names(fault::CONTEXT_FILE, &String::from_utf8_lossy(&text))?,
        None => String::new(),
    };
    let build = Build {
        shared: Arc::clone(shared),
        context,
        pending: BTreeMap::new(),
        arguments: spec.args,
        logins: spec.registries,
        consumed: BTreeSet::new(),
        no_cache: spec.no_cache,
        stages: Vec::new(),
        carried,
    };
    let mut progress = Progress::new(log, cancel);
    build
        .run(&file, spec.target.as_deref(), &mut progress)
        .await
}

/// The error of a build, as BuildKit's clients phrase it.
pub(super) fn unsolved(reason: impl std::fmt::Display) -> EngineError {
    EngineError::Failed(format!("failed to solve: {reason}"))
}

async fn read_context(
    shared: &Arc<Shared>,
    reader: Reader,
    cancel: &CancellationToken,
) -> Result<Arc<Unpacked>> {
    let reader = SyncIoBridge::new(Cancellable::new(reader, cancel));
    let (shared, cancel) = (Arc::clone(shared), cancel.clone());
    blocking(move || match tree::unpack(&shared.blobs, reader) {
        Ok(unpacked) => Ok(Arc::new(unpacked)),
        Err(_) if cancel.is_cancelled() => Err(EngineError::Cancelled),
        Err(error) => Err(EngineError::Failed(format!(
            "cannot read the build context: {error}"
        ))),
    })
    .await
}

fn context_file(context: &Unpacked, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(node) = context.tree.get(&tree::resolve(&context.tree, path)) else {
        return Ok(None);
    };
    let Kind::File { offset, size, .. } = node.kind else {
        return Ok(None);
    };
    if size > limit {
        return Err(unsolved(format!(
            "{path} has {size} bytes, more than the {limit} it may have"
        )));
    }
    let mut bytes = Vec::new();
    let read = context.blob.open().and_then(|mut blob| {
        blob.seek(SeekFrom::Start(offset))?;
        blob.take(size).read_to_end(&mut bytes)
    });
    read.map_err(unsolved)?;
    Ok(Some(bytes))
}

/// Checks a list of faults and brings it on one line.
fn fault_names(place: &str, text: &str) -> Result<String> {
    let faults = fault::parse_list(text)
        .map_err(|error| EngineError::Failed(format!("{place}: {error}")))?;
    Ok(faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(","))
}

/// A stage that has been built.
struct Built {
    name: Option<String>,
    file: ConfigFile,
    size: u64,
    /// `ARG`s declared so far, with their values.
    arguments: BTreeMap<String, String>,
}

struct Build {
    shared: Arc<Shared>,
    context: Arc<Unpacked>,
    /// Layers made by this build, by digest.
    pending: BTreeMap<String, Arc<Pending>>,
    arguments: BTreeMap<String, String>,
    logins: BTreeMap<String, Credentials>,
    consumed: BTreeSet<String>,
    no_cache: bool,
    /// Stages by index; those nobody needs stay empty.
    stages: Vec<Option<Built>>,
    /// Faults the context names.
    carried: String,
}

impl Build {
    async fn run(
        mut self,
        file: &Dockerfile,
        target: Option<&str>,
        progress: &mut Progress,
    ) -> Result<Image> {
        let mut globals = BTreeMap::new();
        for instruction in &file.arguments {
            self.declare(instruction, &mut globals, &BTreeMap::new())?;
        }
        let target = find_target(file, target)?;
        let needed = needed_stages(file, target, &globals)?;
        let many = needed.iter().filter(|needed| **needed).count() > 1;
        for (index, stage) in file.stages.iter().enumerate() {
            if !needed[index] {
                self.stages.push(None);
                continue;
            }
            let label = match (&stage.name, many) {
                (_, false) => String::new(),
                (Some(name), true) => format!("{name} "),
                (None, true) => format!("stage-{index} "),
            };
            let built = self.stage(stage, &label, &globals, progress).await?;
            self.stages.push(Some(built));
        }
        let ignored: Vec<&str> = self
            .arguments
            .keys()
            .filter(|name| !self.consumed.contains(*name))
            .map(String::as_str)
            .collect();
        if !ignored.is_empty() {
            let names = ignored.join(" ");
            progress
                .say(&format!(
                    "[Warning] One or more build-args [{names}] were not consumed"
                ))
                .await?;
        }
        let built = self.stages[target]
            .take()
            .expect("the target is needed, so it was built");
        self.export(built, progress).await
    }

    async fn stage(
        &mut self,
        stage: &Stage,
        label: &str,
        globals: &BTreeMap<String, String>,
        progress: &mut Progress,
    ) -> Result<Built> {
        let total = 1 + stage
            .instructions
            .iter()
            .filter(|instruction| instruction.keyword.is_step())
            .count();
        let base = expand(&stage.base, &|name| globals.get(name).cloned())?;
        progress
            .begin(&format!("[{label}1/{total}] FROM {base}"))
            .await?;
        let mut built = match self.base(stage, &base) {
            Ok(built) => built,
            Err(error) => return Err(progress.fail(error).await),
        };
        progress.done().await?;
        let mut number = 1;
        for instruction in &stage.instructions {
            if instruction.keyword.is_step() {
                number += 1;
                progress
                    .begin(&format!("[{label}{number}/{total}] {}", instruction.text()))
                    .await?;
            }
            let outcome = match instruction.keyword {
                Keyword::Add | Keyword::Copy => self.copy(instruction, &mut built).await,
                Keyword::Run => self.play(instruction, &mut built, progress).await,
                _ => self
                    .configure(instruction, &mut built, globals)
                    .map(|()| false),
            };
            match outcome {
                Ok(true) => progress.line("CACHED").await?,
                Ok(false) if instruction.keyword.is_step() => progress.done().await?,
                Ok(false) => {}
                Err(EngineError::Cancelled) => return Err(EngineError::Cancelled),
                Err(error) if instruction.keyword.is_step() => {
                    return Err(progress.fail(error).await);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(built)
    }

    /// What a stage starts from.
    fn base(&mut self, stage: &Stage, base: &str) -> Result<Built> {
        let (file, size) = if base == "scratch" {
            (ConfigFile::scratch(), 0)
        } else if let Some(earlier) = self.earlier(base) {
            (earlier.file.clone(), earlier.size)
        } else {
            self.image(base)?
        };
        Ok(Built {
            name: stage.name.clone(),
            file,
            size,
            arguments: BTreeMap::new(),
        })
    }

    fn earlier(&self, name: &str) -> Option<&Built> {
        let name = name.to_lowercase();
        self.stages
            .iter()
            .flatten()
            .find(|built| built.name.as_ref() == Some(&name))
    }

    /// An image that is here, or its stand-in.
    fn image(&mut self, reference: &str) -> Result<(ConfigFile, u64)> {
        if !image::is_reference(reference) && !image::is_id_prefix(reference) {
            return Err(unsolved(format!(
                "failed to parse stage name {reference:?}: invalid reference format"
            )));
        }
        if let Some(image) = self.shared.catalog().find(reference) {
            return Ok((image.file.clone(), image.size));
        }
        if self.shared.faults.has(FaultKind::PullFails) {
            return Err(unsolved(format!(
                "{reference}: failed to resolve source metadata: {}",
                super::PULL_FAILS
            )));
        }
        let login = self.logins.get(&registry::of_image(reference));
        if !self.shared.registries.gives(reference, login)? {
            return Err(unsolved(format!(
                "{reference}: failed to resolve source metadata: {}",
                super::PULL_DENIED
            )));
        }
        let (file, layer) = image::stand_in(&self.shared.blobs, reference).map_err(unsolved)?;
        let size = layer.size();
        self.pending
            .insert(layer.digest().to_owned(), Arc::new(layer));
        Ok((file, size))
    }

    /// Takes an `ARG` into a scope.
    fn declare(
        &mut self,
        instruction: &Instruction,
        scope: &mut BTreeMap<String, String>,
        globals: &BTreeMap<String, String>,
    ) -> Result<()> {
        for word in syntax::words(&instruction.rest).map_err(|error| at(instruction, error))? {
            let lookup = |name: &str| scope.get(name).cloned();
            let (name, default) = match word.assignment() {
                Some((name, value)) => (name, Some(value.text(&lookup))),
                None => (word.text(&lookup), None),
            };
            if self.arguments.contains_key(&name) {
                self.consumed.insert(name.clone());
            }
            let given = self.arguments.get(&name).cloned();
            if let Some(value) = given.or(default).or_else(|| globals.get(&name).cloned()) {
                scope.insert(name, value);
            }
        }
        Ok(())
    }

    /// An instruction that only changes the configuration.
    fn configure(
        &mut self,
        instruction: &Instruction,
        built: &mut Built,
        globals: &BTreeMap<String, String>,
    ) -> Result<()> {
        let lookup = built.lookup();
        let value = || expand(&instruction.rest, &lookup).map_err(|error| at(instruction, error));
        match instruction.keyword {
            Keyword::Arg => {
                let mut scope = std::mem::take(&mut built.arguments);
                let declared = self.declare(instruction, &mut scope, globals);
                built.arguments = scope;
                return declared;
            }
            Keyword::Env | Keyword::Label => {
                for (name, value) in pairs(instruction, &lookup)? {
                    if instruction.keyword == Keyword::Env {
                        built.file.config.set_env(&name, &value);
                    } else {
                        built
                            .file
                            .config
                            .labels
                            .get_or_insert_default()
                            .insert(name, value);
                    }
                }
            }
            Keyword::Expose => {
                for word in value()?.split_whitespace() {
                    let (port, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
                    let (first, last) = port.split_once('-').unwrap_or((port, port));
                    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
                        return Err(at(instruction, format!("invalid containerPort: {word}")));
                    };
                    (first..=last).for_each(|port| built.file.config.expose(port, protocol));
                }
            }
            Keyword::Workdir => {
                let value = value()?;
                built.file.config.working_dir =
                    Some(format!("/{}", tree::clean(&built.absolute(&value))));
            }
            Keyword::User => built.file.config.user = Some(value()?),
            Keyword::Cmd => built.file.config.cmd = Some(instruction.program()),
            Keyword::Entrypoint => {
                built.file.config.entrypoint = Some(instruction.program());
                // As a real builder: a new entrypoint does not know the base image's command.
                built.file.config.cmd = None;
            }
            Keyword::Add | Keyword::Copy | Keyword::From | Keyword::Run | Keyword::Other(_) => {}
        }
        built
            .file
            .history
            .push(History::of(&instruction.text(), true));
        Ok(())
    }

    /// Plays a `RUN`. Returns whether it was done before.
    async fn play(
        &mut self,
        instruction: &Instruction,
        built: &mut Built,
        progress: &mut Progress,
    ) -> Result<bool> {
        let mut environment = built.arguments.clone();
        environment.extend(built.file.config.environment());
        let words = match instruction.documents.first() {
            Some(document) => vec![
                "/bin/sh".to_owned(),
                "-ec".to_owned(),
                document.body.clone(),
            ],
            None => instruction.program(),
        };
        let key = serde_json::json!({
            "after": digest_of(&built.file.to_bytes()),
            "run": words,
            "arguments": built.arguments,
        });
        let text = format!(
            "{}\n{}\n",
            instruction.text(),
            digest_of(key.to_string().as_bytes())
        );
        let layer = image::marker_layer(&self.shared.blobs, &text).map_err(unsolved)?;
        let cached = !self.no_cache && self.shared.blobs.contains(layer.digest());
        if !cached {
            let directory = built.file.config.working_dir.clone().unwrap_or_default();
            let mut output = Vec::new();
            let shell = Shell::new(environment, &directory, Unknown::Ends);
            let mut nothing = tokio::io::empty();
            let status = tokio::select! {
                biased;
                () = progress.cancel().cancelled() => return Err(EngineError::Cancelled),
                status = shell.run(&words, &mut nothing, &mut output) => status.map_err(unsolved)?,
            };
            for line in String::from_utf8_lossy(&output).lines() {
                progress.line(&format!("0.000 {line}")).await?;
            }
            if status != 0 {
                let words = words.join(" ");
                return Err(unsolved(format!(
                    "process \"{}\" did not complete successfully: exit code: {status}",
                    words.trim_end()
                )));
            }
        }
        self.add_layer(instruction, built, layer);
        Ok(cached)
    }

    /// Makes the layer of a `COPY` or `ADD`. Returns whether it was made before.
    async fn copy(&mut self, instruction: &Instruction, built: &mut Built) -> Result<bool> {
        let lookup = built.lookup();
        let words = match instruction.json() {
            Some(words) => words
                .iter()
                .map(|word| expand(word, &lookup))
                .collect::<Result<Vec<_>>>()?,
            None => syntax::words(&instruction.rest)
                .map_err(|error| at(instruction, error))?
                .iter()
                .map(|word| word.text(&lookup))
                .collect(),
        };
        let from = instruction
            .flag("from")
            .map(|from| expand(from, &lookup))
            .transpose()?;
        let source = match &from {
            None => None,
            Some(from) => Some(self.source(from)?),
        };
        let below = built.file.rootfs.diff_ids.clone();
        let job =
            copy::Job {
                documents: instruction.documents.clone(),
                remote: instruction.keyword == Keyword::Add,
                directory: built.file.config.working_dir.clone().unwrap_or_default(),
                mode: match instruction.flag("chmod") {
                    Some(mode) => Some(u32::from_str_radix(mode, 8).map_err(|_| {
                        at(instruction, format!("invalid chmod parameter: {mode:?}"))
                    })?),
                    None => None,
                },
                words,
            };
        let (shared, context, pending) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.context),
            self.pending.clone(),
        );
        let layer = blocking(move || {
            let open = |digest: &str| open(&shared.blobs, &pending, digest);
            let beneath = fold(&below, &open).map_err(unsolved)?;
            match source {
                None => {
                    let open_context = |digest: &str| {
                        if digest == context.blob.digest() {
                            context.blob.open()
                        } else {
                            open(digest)
                        }
                    };
                    job.run(&shared.blobs, &context.tree, &beneath, false, &open_context)
                }
                Some(layers) => {
                    let tree = fold(&layers, &open).map_err(unsolved)?;
                    job.run(&shared.blobs, &tree, &beneath, true, &open)
                }
            }
            .map_err(unsolved)
        })
        .await?;
        let cached = !self.no_cache && self.shared.blobs.contains(layer.digest());
        self.add_layer(instruction, built, layer);
        Ok(cached)
    }

    /// The layers `--from` names: a stage by name or number, or an image.
    fn source(&mut self, from: &str) -> Result<Vec<String>> {
        let numbered = from
            .parse::<usize>()
            .ok()
            .and_then(|index| self.stages.get(index)?.as_ref());
        if let Some(built) = self.earlier(from).or(numbered) {
            return Ok(built.file.rootfs.diff_ids.clone());
        }
        Ok(self.image(from)?.0.rootfs.diff_ids)
    }

    fn add_layer(&mut self, instruction: &Instruction, built: &mut Built, layer: Pending) {
        built.file.rootfs.diff_ids.push(layer.digest().to_owned());
        built
            .file
            .history
            .push(History::of(&instruction.text(), false));
        built.size += layer.size();
        self.pending
            .insert(layer.digest().to_owned(), Arc::new(layer));
    }

    /// Makes the image exist.
    async fn export(self, mut built: Built, progress: &mut Progress) -> Result<Image> {
        progress.begin("exporting to image").await?;
        let own = built.file.config.environment();
        let named = self
            .arguments
            .get(fault::VARIABLE)
            .cloned()
            .unwrap_or_default();
        let in_image = own.get(fault::VARIABLE).cloned().unwrap_or_default();
        let all = fault_names(
            fault::VARIABLE,
            &format!("{named} {in_image} {}", self.carried),
        )?;
        if self.shared.faults.has(FaultKind::BuildFails)
            || all.split(',').any(|name| name == "build-fails")
        {
            return Err(progress.fail(unsolved("simulated fault build-fails")).await);
        }
        if self.shared.faults.lose_image() {
            let lost = EngineError::NotFound {
                kind: "image",
                name: "the one just built".to_owned(),
            };
            return Err(progress.fail(lost).await);
        }
        if !self.carried.is_empty() && in_image.is_empty() {
            built.file.config.set_env(fault::VARIABLE, &self.carried);
        }
        built.file.stamp();
        if progress.cancel().is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let raw = Bytes::from(built.file.to_bytes());
        let image = StoredImage::parse(&raw, built.size).map_err(unsolved)?;
        let view = image.view();
        let (shared, pending) = (self.shared, self.pending);
        blocking(move || {
            let config = shared.blobs.write(&raw).map_err(unsolved)?;
            let mut catalog = shared.catalog();
            for diff_id in &image.file.rootfs.diff_ids {
                match pending.get(diff_id) {
                    Some(layer) => shared.blobs.keep(layer).map_err(unsolved)?,
                    None if shared.blobs.contains(diff_id) => {}
                    None => return Err(unsolved("the base image was removed during the build")),
                }
            }
            shared.blobs.keep(&config).map_err(unsolved)?;
            catalog.add(vec![(image, Vec::new())])
        })
        .await?;
        progress
            .line(&format!("writing image {} done", view.id))
            .await?;
        progress.done().await?;
        Ok(view)
    }
}

impl Built {
    /// Finds variables: `ENV` beats `ARG`.
    fn lookup(&self) -> impl Fn(&str) -> Option<String> + Send + use<> {
        let mut variables = self.arguments.clone();
        variables.extend(self.file.config.environment());
        move |name| variables.get(name).cloned()
    }

    fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        format!(
            "{}/{path}",
            self.file.config.working_dir.as_deref().unwrap_or_default()
        )
    }
}

fn open(
    blobs: &Blobs,
    pending: &BTreeMap<String, Arc<Pending>>,
    digest: &str,
) -> io::Result<Box<dyn BlobRead>> {
    match pending.get(digest) {
        Some(layer) => layer.open(),
        None => blobs.open(digest),
    }
}

/// Lays layers over one another.
fn fold(layers: &[String], open: &tree::Open<'_>) -> io::Result<Tree> {
    let mut folded = Tree::new();
    for digest in layers {
        tree::apply_layer(&mut folded, digest, open(digest)?)?;
    }
    Ok(folded)
}

fn at(instruction: &Instruction, reason: impl std::fmt::Display) -> EngineError {
    unsolved(format!(
        "dockerfile line {}: {}: {reason}",
        instruction.line,
        instruction.keyword.name()
    ))
}

/// Puts variables into a text.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    Ok(syntax::template(text).map_err(unsolved)?.text(lookup))
}

/// `NAME=value` words, or the old form with one name and a rest.
fn pairs(
    instruction: &Instruction,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>> {
    let words = syntax::words(&instruction.rest).map_err(|error| at(instruction, error))?;
    let texts: Vec<String> = words.iter().map(|word| word.text(lookup)).collect();
    if texts[0].contains('=') {
        return texts
            .iter()
            .map(|text| {
                let (name, value) = text.split_once('=').ok_or_else(|| {
                    at(
                        instruction,
                        format!("can't find = in {text:?}. Must be of the form: name=value"),
                    )
                })?;
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect();
    }
    match instruction.rest.split_once(char::is_whitespace) {
        Some((name, value)) => Ok(vec![(name.to_owned(), expand(value.trim(), lookup)?)]),
        None => Err(at(instruction, "must have two arguments")),
    }
}
