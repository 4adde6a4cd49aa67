//! Attached runs as before July 2018: one request starts a process and runs a command
//! in it (`rack-api.md` §5).

use std::time::Duration;

use rack_api::process::{ExecOptions, RunOptions};

use super::Rack;
use super::exec::Session;
use crate::engine::Exec;
use crate::operations::{Failure, Result, run};

impl Rack {
    /// Starts a one-off process that lives no longer than `lifetime`, and executes a
    /// command in it, behind the image's entrypoint and with a terminal. The caller lets
    /// the process go with [`Session::close`].
    pub async fn run_attached(
        &self,
        app: &str,
        service: &str,
        options: &RunOptions,
        lifetime: Duration,
    ) -> Result<(Session, Exec)> {
        self.context.ready().await?;
        let row = self.context.app(app).await?;
        let command = options.command.as_deref().unwrap_or_default().trim();
        if command.is_empty() {
            return Err(Failure::Invalid("a command is required".into()));
        }
        let release = match options.release.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => self.release_row(app, id).await?.id,
            None if row.release.is_empty() => {
                return Err(Failure::Invalid(format!("no release for app: {app}")));
            }
            None => row.release,
        };
        let request = run::Request {
            service: service.to_owned(),
            release,
            command: Some(format!("sleep {}", lifetime.as_secs())),
            shown: Some(command.to_owned()),
            ..run::Request::default()
        };
        let id = run::start(&self.context, app, request).await?;
        let exec = ExecOptions {
            command: command.to_owned(),
            entrypoint: true,
            tty: true,
            stdin: true,
            height: options.height,
            width: options.width,
        };
        match self.exec(app, &id, &exec).await {
            Ok(started) => Ok(started),
            Err(error) => {
                run::stop(&self.context, app, &id, Duration::ZERO).await?;
                Err(error)
            }
        }
    }
}
