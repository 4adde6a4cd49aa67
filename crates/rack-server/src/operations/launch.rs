//! What surrounds the processes of a service (version 3, `convox-yml.md` §16): files put into
//! them before they start, a container that runs to its end before each, a command after their
//! start and one before their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use manifest::InitContainer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::{Failure, Result};
use super::fleet::Member;
use super::plan::{INIT, MountedFile, ServicePlan};
use super::{registry, supervise};
use crate::engine::{Directory, ErrorTail, ExecSpec, Labels, ProcessSpec, label};

/// How often an init container is started before its process has failed.
const ATTEMPTS: u32 = 3;
/// Pause before it is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// Opens the directories of a process that has been made and not started to whatever user it
/// runs as, and puts files into it.
pub(super) async fn furnish(
    context: &Context,
    id: &str,
    spec: &ProcessSpec,
    files: &[MountedFile],
    owner: &str,
) -> Result<()> {
    // The root of a process that cannot write there takes nothing, and its directories are in
    // memory.
    let on_disk = spec
        .directories
        .iter()
        .filter(|directory| !directory.memory && !spec.read_only);
    for directory in on_disk {
        let tar = open_directory(&directory.path).map_err(Failure::io("a directory"))?;
        context
            .engine
            .write_files(id, "/", Box::pin(io::Cursor::new(tar)))
            .await
            .map_err(|error| Failure::Failed(format!("{owner}: {}: {error}", directory.path)))?;
    }
    for file in files {
        let (base, name) = file.place();
        let tar = archive(&name, &file.bytes).map_err(Failure::io("a config"))?;
        context
            .engine
            .write_files(id, &base, Box::pin(io::Cursor::new(tar)))
            .await
            .map_err(|error| Failure::Failed(format!("{owner}: config {}: {error}", file.path)))?;
    }
    Ok(())
}

/// A directory that everybody may write into, as those of clusters are.
fn open_directory(path: &str) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o777);
    let mut builder = tar::Builder::new(Vec::new());
    let name = format!("{}/", path.trim_start_matches('/'));
    builder.append_data(&mut header, name, io::empty())?;
    builder.into_inner()
}

fn archive(name: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, bytes)?;
    builder.into_inner()
}

/// Runs the init container of a service, if it has one, to its end, for a process that has been
/// made and not started, whose directories and volumes it sees.
pub(super) async fn initialize(
    context: &Arc<Context>,
    app: &str,
    plan: &ServicePlan,
    release: &str,
    process: &str,
    cancel: &CancellationToken,
) -> Result<()> {
    let Some(init) = &plan.service.init_container else {
        return Ok(());
    };
    let service = &plan.service.name;
    let image = match &init.image {
        Some(reference) => {
            registry::pull(context, reference, &std::collections::BTreeMap::new())
                .await
                .map_err(|error| {
                    Failure::Failed(format!("{service}: image of the initContainer: {error}"))
                })?
                .id
        }
        None => plan.image.id.clone(),
    };
    let mut attempt = 1;
    loop {
        let deadline = Instant::now() + context.settings.promote_timeout;
        let spec = plan.init_process(context, app, release, init, &image, process);
        let ended = run(context, app, plan, &spec, cancel, deadline).await?;
        let reason = match ended {
            Some(0) => return Ok(()),
            Some(status) => format!("exited with status {status}"),
            None => "did not end in time".to_owned(),
        };
        if attempt == ATTEMPTS || ended.is_none() {
            return Err(Failure::Failed(format!(
                "{service}: the initContainer {reason}: see its lines in the log"
            )));
        }
        context.log(
            app,
            service,
            &format!("the initContainer {reason}; starting it again"),
        );
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

/// Runs one init container; its status, or nothing when it took too long. Nothing of it is
/// left however it ends.
async fn run(
    context: &Arc<Context>,
    app: &str,
    plan: &ServicePlan,
    spec: &ProcessSpec,
    cancel: &CancellationToken,
    deadline: Instant,
) -> Result<Option<i64>> {
    let service = &plan.service.name;
    let id = context.engine.create(spec).await?;
    let outcome = async {
        furnish(context, &id, spec, &plan.init_files, service).await?;
        context.engine.start(&id).await.map_err(|error| {
            Failure::Failed(format!(
                "{service}: the initContainer could not start: {error}"
            ))
        })?;
        let stream = format!("service/{service}/{}", &id[..id.len().min(12)]);
        let lines = supervise::Copied::begin(context, app, &stream, &id);
        let ended = tokio::select! {
            status = context.engine.wait(&id) => Ok(Some(status?)),
            () = tokio::time::sleep_until(deadline) => Ok(None),
            () = cancel.cancelled() => Err(Failure::Cancelled("the promote was cancelled".into())),
            () = context.shutdown.cancelled() => Err(Failure::Shutdown),
        };
        if !matches!(ended, Ok(Some(_))) {
            context.engine.stop(&id, Duration::ZERO).await?;
        }
        lines.whole(context, app, &stream).await;
        ended
    };
    let outcome = outcome.await;
    let removed = context.engine.remove(&id).await;
    let ended = outcome?;
    removed?;
    Ok(ended)
}

/// Runs what a service wants to be run inside a process that has just started.
pub(super) async fn started(
    context: &Arc<Context>,
    plan: &ServicePlan,
    member: &Member,
) -> Result<()> {
    let Some(command) = &plan.service.lifecycle.post_start else {
        return Ok(());
    };
    let timeout = context.settings.promote_timeout;
    hook(context, &member.id, command, timeout)
        .await
        .map_err(|reason| {
            Failure::Failed(format!(
                "{}: postStart of process {} {reason}",
                member.service,
                member.short_id()
            ))
        })
}

/// Runs what a service wants to be run inside a process before it is told to end; a process
/// that cannot is ended all the same.
pub(super) async fn stopping(context: &Arc<Context>, member: &Member) {
    let Some(command) = &member.pre_stop else {
        return;
    };
    if member.exited().is_some() {
        return;
    }
    if let Err(reason) = hook(context, &member.id, command, member.grace).await {
        let text = format!("preStop {reason}; stopping all the same");
        context.log(&member.app, &member.object(), &text);
    }
}

/// Runs a command in a process; why it failed, if it did.
async fn hook(
    context: &Context,
    id: &str,
    command: &str,
    timeout: Duration,
) -> std::result::Result<(), String> {
    let errors = ErrorTail::default();
    let spec = ExecSpec {
        command: ["sh", "-c", command].map(str::to_owned).to_vec(),
        errors: Some(errors.clone()),
        ..ExecSpec::default()
    };
    let run = async {
        let mut exec = context.engine.exec(id, spec).await?;
        tokio::io::copy(&mut exec.output, &mut tokio::io::sink()).await?;
        exec.status.await
    };
    match tokio::time::timeout(timeout, run).await {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(status)) => {
            let said = errors.text();
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            Err(match last {
                Some(line) => format!("exited with status {status}: {}", line.trim()),
                None => format!("exited with status {status}"),
            })
        }
        Ok(Err(error)) => Err(format!("could not run: {error}")),
        Err(_) => Err(format!("took longer than {} seconds", timeout.as_secs())),
    }
}

impl ServicePlan {
    /// What the engine is told to run before a process of this service.
    fn init_process(
        &self,
        context: &Context,
        app: &str,
        release: &str,
        init: &InitContainer,
        image: &str,
        process: &str,
    ) -> ProcessSpec {
        let mut spec = self.process(context, app, release, INIT);
        image.clone_into(&mut spec.image);
        spec.command.clone_from(&init.command);
        spec.environment
            .insert("INIT_CONTAINER".to_owned(), "true".to_owned());
        let kept = [
            label::SERVER,
            label::RACK_ID,
            label::RACK,
            label::APP,
            label::KIND,
            label::NAME,
            label::RELEASE,
        ];
        spec.labels = spec
            .labels
            .into_iter()
            .filter(|(name, _)| kept.contains(&name.as_str()))
            .collect::<Labels>();
        spec.aliases.clear();
        spec.ports.clear();
        let own = |id: &str| self.service.directories.iter().all(|other| other.id != id);
        let own = init
            .directories
            .iter()
            .filter(|directory| own(&directory.id));
        spec.directories = own
            .map(|directory| Directory {
                path: directory.path.clone(),
                memory: directory.memory,
                size: directory.size.filter(|_| directory.memory),
            })
            .collect();
        spec.volumes = init
            .volumes
            .iter()
            .map(|volume| {
                let name = context.volume(app, "volume", &volume.source);
                (name, volume.path.clone())
            })
            .collect();
        spec.volumes_of = Some(process.to_owned());
        // It fills what the process may only read.
        spec.read_only = false;
        spec
    }
}
