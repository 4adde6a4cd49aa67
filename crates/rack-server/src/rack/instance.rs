//! The one instance of a rack: the machine its engine runs on.

use std::time::Duration;

use rack_api::instance::{Instance, ShellOptions};

use super::Rack;
use crate::engine::{Exec, ExecSpec, Phase, ProcessSpec, label};
use crate::operations::history::Scope;
use crate::operations::metric::{CLUSTER_CPU, CLUSTER_MEMORY};
use crate::operations::{Failure, Result};

/// Label value of the processes shells run in; what a dead server left of them is
/// removed by the next one.
const SHELL: &str = "shell";
/// Images that have a shell, smallest first; tried before those of the rack's builds.
const IMAGES: [&str; 4] = [
    "busybox:1.36",
    "busybox:latest",
    "alpine:latest",
    "debian:bookworm-slim",
];
/// Longest a shell lives whose server has died.
const LONGEST: &str = "86400";
/// Measurements older than this say nothing of now.
const STALE: i64 = 60;

/// A shell in a process of its own.
pub struct Shell {
    /// The shell.
    pub exec: Exec,
    /// Id of the process, for [`Rack::end_shell`].
    pub process: String,
}

impl Rack {
    /// Lists the instances: one, named after the engine, as processes name it.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        let context = &self.context;
        context.engine.info().await?;
        let processes = context.engine.processes(&context.labels()).await?;
        let running = processes
            .iter()
            .filter(|process| process.phase == Phase::Running)
            .count();
        let now = context.now().as_second();
        let share = |name| match context.history.latest(&Scope::Rack, name) {
            Some((at, percent)) if running > 0 && now - at < STALE => percent / 100.0,
            _ => 0.0,
        };
        Ok(vec![Instance {
            cpu_allocatable: None,
            memory_allocatable: None,
            agent: true,
            cpu: share(CLUSTER_CPU),
            id: context.engine.kind().into(),
            memory: share(CLUSTER_MEMORY),
            private_ip: "127.0.0.1".into(),
            processes: running as i64,
            public_ip: "127.0.0.1".into(),
            started: Some(context.started),
            status: "running".into(),
        }])
    }

    fn check_instance(&self, id: &str) -> Result<()> {
        if id == self.context.engine.kind() {
            return Ok(());
        }
        Err(Failure::NotFound(format!("instance not found: {id}")))
    }

    /// Refuses to end an instance.
    pub fn terminate_instance(&self, id: &str) -> Result<()> {
        self.check_instance(id)?;
        Err(Failure::Invalid(
            "instances cannot be terminated on a local rack: its only one is this machine".into(),
        ))
    }

    /// Refuses to replace the keys of instances: an `ok` would say that it was done.
    pub fn roll_instance_keys(&self) -> Result<()> {
        Err(Failure::Invalid(
            "instance keys cannot be rolled on a local rack: its only instance is this machine, which has none"
                .into(),
        ))
    }

    /// Opens a shell on an instance: in a process of its own, from which nothing of the
    /// machine or of other racks can be seen. It lives until [`Self::end_shell`].
    pub async fn open_shell(&self, id: &str, options: &ShellOptions) -> Result<Shell> {
        self.check_instance(id)?;
        let context = &self.context;
        context.ready().await?;
        let image = self.shell_image().await?;
        let mut labels = context.labels();
        labels.insert(label::KIND.into(), SHELL.into());
        labels.insert(label::NAME.into(), SHELL.into());
        let spec = ProcessSpec {
            name: context.container("instance", SHELL, id),
            image,
            entrypoint: Some(Vec::new()),
            command: Some(vec!["sleep".into(), LONGEST.into()]),
            labels,
            init: true,
            ..ProcessSpec::default()
        };
        let process = context.engine.create(&spec).await?;
        let opened = async {
            context.engine.start(&process).await?;
            let command = options
                .command
                .as_deref()
                .map(str::trim)
                .filter(|command| !command.is_empty());
            let spec = ExecSpec {
                command: match command {
                    Some(command) => vec!["sh".into(), "-c".into(), command.to_owned()],
                    None => vec!["sh".into()],
                },
                tty: options.tty,
                size: options.height.zip(options.width),
                stdin: true,
                shell: true,
                ..ExecSpec::default()
            };
            context.engine.exec(&process, spec).await
        };
        match opened.await {
            Ok(exec) => Ok(Shell { exec, process }),
            Err(error) => {
                self.end_shell(&process).await;
                Err(error.into())
            }
        }
    }

    /// Ends a shell and everything in it.
    pub async fn end_shell(&self, process: &str) {
        let engine = &self.context.engine;
        let ended = async {
            engine.stop(process, Duration::ZERO).await?;
            engine.remove(process).await
        };
        if let Err(error) = ended.await {
            tracing::warn!(%error, "could not remove the process of a shell");
        }
    }

    /// An image with a shell that is here already.
    async fn shell_image(&self) -> Result<String> {
        let context = &self.context;
        for reference in IMAGES {
            if let Some(image) = context.engine.image(reference).await? {
                return Ok(image.id);
            }
        }
        for app in context.store.apps().await? {
            if let Some(release) = context.store.latest_release(&app.name).await? {
                for image in context.store.images(&release.build).await?.into_values() {
                    if context.engine.image(&image.id).await?.is_some() {
                        return Ok(image.id);
                    }
                }
            }
        }
        Err(Failure::Invalid(format!(
            "no image with a shell is here: pull {} or build an app, then try again",
            IMAGES[0]
        )))
    }
}
