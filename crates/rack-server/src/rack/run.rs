//! One-off processes: started, and remembered after their end.

use rack_api::process::{Process, Run, RunOptions};

use super::Rack;
use super::process::ID_LENGTH;
use super::service::check_size;
use crate::operations::{Failure, Result, run};

/// Options that mean nothing on one machine, by the words users know them by.
fn without_effect(options: &RunOptions) -> Vec<&'static str> {
    let asked = [
        ("gpu", options.gpu.is_some_and(|count| count > 0)),
        ("gpu vendor", options.gpu_vendor.is_some()),
        ("node labels", options.node_labels.is_some()),
        ("system critical", options.system_critical == Some(true)),
    ];
    asked
        .into_iter()
        .filter_map(|(word, asked)| asked.then_some(word))
        .collect()
}

/// Checks that volumes are names and are mounted somewhere.
fn check_volumes(options: &RunOptions) -> Result<()> {
    for (name, path) in &options.volumes {
        let named = !name.is_empty() && !name.contains('\0');
        if !named || !path.starts_with('/') || path.trim_matches('/').is_empty() {
            return Err(Failure::Invalid(format!(
                "invalid volume {name}:{path}: name it and mount it at an absolute path"
            )));
        }
    }
    Ok(())
}

impl Rack {
    /// Starts a one-off process. Returns its full engine id.
    pub(super) async fn start_run(
        &self,
        app: &str,
        service: &str,
        options: &RunOptions,
        shown: Option<&str>,
    ) -> Result<String> {
        self.context.ready().await?;
        let row = self.context.app(app).await?;
        check_volumes(options)?;
        // Clients say 0 where they mean the service's own.
        let positive = |value: Option<i64>| value.filter(|value| *value != 0);
        for (cpu, memory) in [
            (options.cpu, options.memory),
            (options.cpu_limit, options.memory_limit),
        ] {
            check_size(positive(cpu), positive(memory))?;
        }
        if options
            .environment
            .iter()
            .any(|(name, value)| (name.clone() + value).contains('\0'))
        {
            return Err(Failure::Invalid("environment cannot contain NUL".into()));
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
            command: options
                .command
                .as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
            shown: shown.map(str::to_owned),
            environment: options.environment.clone(),
            memory: options.memory,
            // Version 2 knows but one number, the limit.
            memory_limit: options.memory_limit.or(options.memory),
            cpu: options.cpu,
            cpu_limit: options.cpu_limit,
            image: options
                .image
                .as_deref()
                .map(str::trim)
                .filter(|image| !image.is_empty())
                .map(str::to_owned),
            volumes: options.volumes.clone(),
            without_volumes: options.use_service_volume == Some(false),
            privileged: options.privileged,
            timer: None,
            ignored: without_effect(options),
        };
        run::start(&self.context, app, request).await
    }

    /// Starts a one-off process.
    pub async fn run(&self, app: &str, service: &str, options: &RunOptions) -> Result<Process> {
        let id = self.start_run(app, service, options, None).await?;
        match self.context.engine.process(&id).await? {
            Some(state) => Ok(self.show_process(&state)),
            // It was so quick that it is gone already.
            None => Ok(Process {
                id: id[..id.len().min(ID_LENGTH)].to_owned(),
                app: app.to_owned(),
                ..Process::default()
            }),
        }
    }

    /// What is remembered of a one-off process.
    pub async fn run_record(&self, app: &str, id: &str) -> Result<Run> {
        self.context.app(app).await?;
        let row = self.context.store.run(app, id).await?;
        let row = row.ok_or_else(|| Failure::NotFound(format!("process not found: {id}")))?;
        Ok(Run {
            id: row.id,
            app: row.app,
            service: row.service,
            release: row.release,
            command: if row.attached.is_empty() {
                row.command
            } else {
                row.attached
            },
            started: Some(row.started),
            ended: row.ended,
            status: row.status,
        })
    }
}
