//! Commands that clients run in processes.

use std::sync::PoisonError;
use std::time::Duration;

use rack_api::process::ExecOptions;

use super::Rack;
use super::process::ID_LENGTH;
use crate::engine::{EngineError, Exec, ExecSpec, ProcessState, label};
use crate::operations::plan::RUN;
use crate::operations::{Failure, Result, run};

/// Where images keep their shell.
const SHELLS: &[&str] = &["/bin/sh", "/usr/bin/sh", "/busybox/sh"];
/// How long a command whose client has gone may take to be known to have ended. Most
/// have not.
const LAST_WORD: Duration = Duration::from_millis(250);

/// A command that runs in a process for a client.
pub struct Session {
    rack: Rack,
    app: String,
    /// The one-off process that lives for this command only, by its full id.
    run: Option<String>,
}

impl Rack {
    /// Executes a command in a process, named by id or by its service.
    pub async fn exec(
        &self,
        app: &str,
        target: &str,
        options: &ExecOptions,
    ) -> Result<(Session, Exec)> {
        let state = self.target(app, target).await?;
        let command = options.command.trim();
        if command.is_empty() {
            return Err(Failure::Invalid("a command is required".into()));
        }
        let mut words = Vec::new();
        if options.entrypoint {
            let image = self.context.engine.image(&state.image).await?;
            words.extend(image.map(|image| image.entrypoint).unwrap_or_default());
        }
        let shell = self.has_shell(&state).await?;
        if shell {
            words.extend(["sh", "-c", command].map(str::to_owned));
        } else {
            let split = shlex::split(command).ok_or_else(|| {
                Failure::Invalid("the image has no sh, and the command has an open quote".into())
            })?;
            words.extend(split);
        }
        let spec = ExecSpec {
            command: words,
            tty: options.tty,
            size: options.height.zip(options.width),
            stdin: options.stdin,
            shell,
            ..ExecSpec::default()
        };
        let run = self.claim(app, &state, command).await?;
        let session = Session {
            rack: self.clone(),
            app: app.to_owned(),
            run,
        };
        match self.context.engine.exec(&state.id, spec).await {
            Ok(exec) => Ok((session, exec)),
            Err(error) => {
                session.ended(1).await;
                Err(error.into())
            }
        }
    }

    /// Makes a command what a one-off process lives for, if that only waits for one.
    async fn claim(
        &self,
        app: &str,
        state: &ProcessState,
        command: &str,
    ) -> Result<Option<String>> {
        if state.labels.get(label::KIND).is_none_or(|kind| kind != RUN) {
            return Ok(None);
        }
        let short = &state.id[..state.id.len().min(ID_LENGTH)];
        let store = &self.context.store;
        let waits = store
            .run(app, short)
            .await?
            .is_some_and(|run| run::is_placeholder(&run.command));
        let claimed = waits && store.attach_run(short, command).await?;
        Ok(claimed.then(|| state.id.clone()))
    }

    /// Whether there is an `sh` in a process; asked once for each image.
    async fn has_shell(&self, state: &ProcessState) -> Result<bool> {
        let known = || {
            let shells = self.context.shells.lock();
            shells.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(has) = known().get(&state.image) {
            return Ok(*has);
        }
        let mut has = false;
        for path in SHELLS {
            has = has
                || self
                    .context
                    .engine
                    .path_kind(&state.id, path)
                    .await?
                    .is_some();
        }
        known().insert(state.image.clone(), has);
        Ok(has)
    }
}

impl Session {
    /// The command has ended. What is recorded here survives the stream.
    pub async fn ended(&self, status: i64) {
        let Some(id) = &self.run else { return };
        let context = &self.rack.context;
        let short = &id[..id.len().min(ID_LENGTH)];
        if let Err(error) = context.store.end_run(short, status, context.now()).await {
            tracing::error!(%error, "could not record the end of a command");
        }
    }

    /// The client has gone away: its command goes too, and with it a one-off process that
    /// lives for it.
    pub async fn abandoned(
        &self,
        status: impl Future<Output = crate::engine::Result<i64>>,
        end: impl Future<Output = crate::engine::Result<()>>,
    ) {
        if self.run.is_none() {
            match end.await {
                // The process has ended, and everything in it.
                Ok(()) | Err(EngineError::NotFound { .. }) => {}
                Err(error) => tracing::info!(%error, "could not end an abandoned command"),
            }
            return;
        }
        // It may have ended before, and only the news of it was lost.
        if let Ok(Ok(status)) = tokio::time::timeout(LAST_WORD, status).await {
            self.ended(status).await;
        }
        self.leave().await;
    }

    /// Lets the one-off process go that lived for the command only.
    pub async fn leave(&self) {
        let Some(id) = &self.run else { return };
        let stopped = run::stop(&self.rack.context, &self.app, id, Duration::ZERO).await;
        if let Err(error) = stopped {
            tracing::warn!(%error, "could not stop an abandoned process");
        }
    }
}
