//! Attached runs as before July 2018: one request starts a process and runs a command
//! in it (`rack-api.md` §5).

use std::time::Duration;

use rack_api::process::{ExecOptions, RunOptions};

use super::Rack;
use super::exec::Session;
use super::process::ID_LENGTH;
use crate::engine::Exec;
use crate::operations::{Failure, Result, run};

impl Rack {
    /// Starts a one-off process that lives no longer than `lifetime`, and executes a
    /// command in it, behind the image's entrypoint and with a terminal. The process
    /// goes when the caller leaves the session.
    pub async fn run_attached(
        &self,
        app: &str,
        service: &str,
        options: &RunOptions,
        lifetime: Duration,
    ) -> Result<(Session, Exec)> {
        let command = options.command.as_deref().unwrap_or_default().trim();
        if command.is_empty() {
            return Err(Failure::Invalid("a command is required".into()));
        }
        let placeholder = RunOptions {
            command: Some(format!("sleep {}", lifetime.as_secs())),
            ..options.clone()
        };
        let id = self
            .start_run(app, service, &placeholder, Some(command))
            .await?;
        let exec = ExecOptions {
            command: command.to_owned(),
            entrypoint: true,
            tty: true,
            stdin: true,
            height: options.height,
            width: options.width,
        };
        let started = self.exec(app, &id[..id.len().min(ID_LENGTH)], &exec).await;
        if started.is_err() {
            run::stop(&self.context, app, &id, Duration::ZERO).await?;
        }
        started
    }
}
