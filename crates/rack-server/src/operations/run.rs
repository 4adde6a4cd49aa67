//! One-off processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::error::{Failure, Result};
use super::plan::{Plan, RUN};
use super::{resource, supervise};
use crate::engine::label;
use crate::store::RunRow;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Service whose image and environment are used.
    pub service: String,
    /// Release; the caller has resolved it.
    pub release: String,
    /// Shell command; the service's own when absent.
    pub command: Option<String>,
    /// What to show in place of the command, when that is a placeholder.
    pub shown: Option<String>,
    /// Variables that win over the release's.
    pub environment: BTreeMap<String, String>,
    /// Memory limit in MiB.
    pub memory: Option<i64>,
}

/// The command clients send to keep a process alive for an exec: `sleep SECONDS`.
fn is_placeholder(command: &str) -> bool {
    command.strip_prefix("sleep ").is_some_and(|seconds| {
        !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Starts a one-off process. Returns its full engine id.
pub async fn start(context: &Arc<Context>, app: &str, request: Request) -> Result<String> {
    let plan = Plan::load(context, app, &request.release).await?;
    let service = plan.service(&request.service)?;
    if context.engine.image(&service.image.id).await?.is_none() {
        plan.check_images(context).await?;
    }
    resource::ensure(context, app, &plan.resources).await?;
    service.prepare(context, app).await?;
    let mut spec = service.process(context, app, &request.release, RUN);
    // Published ports belong to the service's own processes.
    spec.ports.clear();
    spec.environment.extend(request.environment);
    spec.memory_limit = request.memory.filter(|memory| *memory > 0);
    if let Some(command) = &request.command {
        if is_placeholder(command) {
            // It must start whatever the image's entrypoint makes of it.
            spec.entrypoint = Some(Vec::new());
            spec.command = Some(command.split(' ').map(str::to_owned).collect());
        } else {
            spec.command = Some(vec!["sh".into(), "-c".into(), command.clone()]);
        }
        let shown = request.shown.as_ref().unwrap_or(command);
        spec.labels.insert(label::COMMAND.into(), shown.clone());
    }
    let id = context.engine.create(&spec).await?;
    let run = RunRow {
        id: id[..id.len().min(12)].to_owned(),
        app: app.to_owned(),
        service: request.service.clone(),
        release: request.release,
        command: request.command.unwrap_or_default(),
        started: context.now(),
        status: None,
    };
    let started = async {
        context.store.create_run(run).await?;
        Ok(context.engine.start(&id).await?)
    };
    if let Err(error) = started.await {
        context.engine.remove(&id).await?;
        return Err(match error {
            Failure::Engine(error) => {
                Failure::Failed(format!("{}: could not start: {error}", request.service))
            }
            other => other,
        });
    }
    supervise::look_after_run(context, app, &request.service, &id);
    Ok(id)
}

/// Stops a one-off process and removes it; a placeholder is not worth waiting for.
pub async fn stop(context: &Arc<Context>, app: &str, id: &str, grace: Duration) -> Result<()> {
    let short = &id[..id.len().min(12)];
    let placeholder = context
        .store
        .run(app, short)
        .await?
        .is_some_and(|run| is_placeholder(&run.command));
    context
        .engine
        .stop(id, if placeholder { Duration::ZERO } else { grace })
        .await?;
    context
        .store
        .end_run(short, if placeholder { 137 } else { 143 }, context.now())
        .await?;
    context.engine.remove(id).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_placeholder;

    #[test]
    fn only_a_plain_sleep_is_a_placeholder() {
        assert!(is_placeholder("sleep 3600"));
        for command in [
            "sleep",
            "sleep ",
            "sleep 1; rake",
            "sleep 1h",
            "echo sleep 1",
        ] {
            assert!(!is_placeholder(command), "{command}");
        }
    }
}
