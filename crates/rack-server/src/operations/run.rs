//! One-off processes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::error::{Failure, Result};
use super::plan::{Plan, RUN};
use super::{launch, resource, supervise};
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
    /// Memory reservation in MiB; the service's when absent.
    pub memory: Option<i64>,
    /// Memory limit in MiB.
    pub memory_limit: Option<i64>,
    /// Processor share in thousandths of a processor; the service's when absent.
    pub cpu: Option<i64>,
    /// Processor limit in thousandths of a processor.
    pub cpu_limit: Option<i64>,
    /// Image in place of the service's.
    pub image: Option<String>,
    /// Volume names of the app to mount paths, besides the service's.
    pub volumes: BTreeMap<String, String>,
    /// Leave the service's own volumes out.
    pub without_volumes: bool,
    /// Run with all privileges, or with none; as the service when absent.
    pub privileged: Option<bool>,
    /// Timer that it is run for.
    pub timer: Option<String>,
    /// What was asked for and has no effect here.
    pub ignored: Vec<&'static str>,
}

/// The command clients send to keep a process alive for an exec: `sleep SECONDS`.
pub fn is_placeholder(command: &str) -> bool {
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
    resource::ensure(context, app, &plan.linked).await?;
    resource::ensure(context, app, &plan.resources).await?;
    service.prepare(context, app).await?;
    let mut spec = service.process(context, app, &request.release, RUN);
    // Published ports belong to the service's own processes.
    spec.ports.clear();
    spec.environment.extend(request.environment);
    let positive = |value: Option<i64>| value.filter(|value| *value > 0);
    spec.memory_limit = positive(request.memory_limit).or(spec.memory_limit);
    spec.memory_reservation = positive(request.memory).or(spec.memory_reservation);
    if let (Some(limit), Some(reservation)) = (spec.memory_limit, spec.memory_reservation) {
        // Engines refuse a limit below what is reserved.
        spec.memory_reservation = Some(reservation.min(limit));
    }
    spec.cpu_limit = positive(request.cpu_limit).or(spec.cpu_limit);
    if let Some(thousandths) = positive(request.cpu) {
        spec.cpu_shares = Some(thousandths.saturating_mul(1024) / 1000);
    }
    for (name, asked) in [
        (label::CPU, spec.cpu_shares),
        (label::MEMORY, spec.memory_reservation),
    ] {
        if let Some(asked) = asked {
            spec.labels.insert(name.into(), asked.to_string());
        }
    }
    spec.privileged = request.privileged.unwrap_or(spec.privileged);
    if request.without_volumes {
        spec.volumes.clear();
    }
    for (name, path) in &request.volumes {
        let volume = context.volume(app, "volume", name);
        context
            .engine
            .ensure_volume(&volume, &context.app_labels(app))
            .await?;
        spec.volumes.retain(|(_, taken)| taken != path);
        spec.volumes.push((volume, path.clone()));
    }
    if let Some(image) = &request.image {
        let found = context.engine.pull(image, None).await;
        spec.image = found
            .map_err(|error| Failure::Invalid(format!("image {image}: {error}")))?
            .id;
    }
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
    if let Some(timer) = &request.timer {
        spec.labels.insert(label::TIMER.into(), timer.clone());
    }
    let stream = supervise::run_stream(&spec.labels);
    let id = context.engine.create(&spec).await?;
    if let Err(failure) =
        launch::furnish(context, &id, &spec, &service.files, &request.service).await
    {
        context.engine.remove(&id).await?;
        return Err(failure);
    }
    let run = RunRow {
        id: id[..id.len().min(12)].to_owned(),
        app: app.to_owned(),
        service: request.service.clone(),
        release: request.release,
        command: request.command.unwrap_or_default(),
        attached: String::new(),
        started: context.now(),
        ended: None,
        status: None,
    };
    let started = async {
        context.store.create_run(run).await?;
        Ok(context.engine.start(&id).await?)
    };
    if let Err(error) = started.await {
        context.engine.remove(&id).await?;
        return Err(match error {
            Failure::Engine(error) if spec.privileged => {
                tracing::warn!(%error, "a privileged process could not start");
                Failure::Invalid(
                    "the engine can not run privileged processes, as it is confined itself: leave privileged out".into(),
                )
            }
            Failure::Engine(error) => {
                Failure::Failed(format!("{}: could not start: {error}", request.service))
            }
            other => other,
        });
    }
    supervise::look_after_run(context, app, &stream, &id);
    if !request.ignored.is_empty() {
        context.log(
            app,
            &format!("{}-{}", request.service, &id[..id.len().min(12)]),
            &format!(
                "this rack takes no notice of {} of a process",
                request.ignored.join(", ")
            ),
        );
    }
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
