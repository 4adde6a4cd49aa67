//! `convox run`: a command in a process of its own.

use std::time::Duration;

use clap::Args;
use rack_api::process::{RunOptions, status};
use rack_api::{Process, params};
use tokio::time::{Instant, sleep, timeout};

use super::exec::{Attached, Signals, attach, relay, terminal_size};
use super::release_id;
use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy::{self, Started};
use crate::racks::Rack;
use crate::ui::Ui;

/// Seconds an attached process lives at most, unless told otherwise.
const LIFETIME: i64 = 3600;
/// How long a process may take to run.
const START_LIMIT: Duration = Duration::from_secs(5 * 60);
/// How long the process's removal may take before the client leaves.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Shortest pause between looks at a process on our own server.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// Longest pause between looks, and the only one on real racks.
const LOOK: Duration = Duration::from_secs(1);

/// A command in a process of its own.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// service name
    service: String,
    /// command and its arguments
    #[arg(required = true, num_args = 1..)]
    command: Vec<String>,
    #[command(flatten)]
    app: AppArgs,
    /// release to run, or the id of its build; the active one if none is given
    #[arg(long, value_name = "release")]
    release: Option<String>,
    /// leave the command running and print its process id
    #[arg(short, long)]
    detach: bool,
    /// seconds the process lives at most
    #[arg(short, long, value_name = "timeout", value_parser = params::integer)]
    timeout: Option<i64>,
    /// start the command through the image's entrypoint
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    entrypoint: Option<String>,
    #[command(flatten)]
    needs: Needs,
}

/// What the process needs of its machine (version 3).
#[derive(Debug, Args)]
struct Needs {
    /// processor share wanted, in thousandths of a processor
    #[arg(long, value_name = "cpu", value_parser = params::integer)]
    cpu: Option<i64>,
    /// most of a processor, in thousandths
    #[arg(long, value_name = "cpu-limit", value_parser = params::integer)]
    cpu_limit: Option<i64>,
    /// graphics processors, on racks that have them
    #[arg(long, value_name = "gpu", value_parser = params::integer)]
    gpu: Option<i64>,
    /// make of the graphics processors
    #[arg(long, value_name = "gpu-vendor")]
    gpu_vendor: Option<String>,
    /// memory in MiB
    #[arg(long, value_name = "memory", value_parser = params::integer)]
    memory: Option<i64>,
    /// most memory in MiB
    #[arg(long, value_name = "memory-limit", value_parser = params::integer)]
    memory_limit: Option<i64>,
    /// labels of the nodes it may run on, on racks that have several
    #[arg(long, value_name = "node-labels")]
    node_labels: Option<String>,
    /// let others make room for it
    #[arg(long)]
    system_critical: bool,
    /// mount the volumes of the service
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    use_service_volume: Option<String>,
}

impl Needs {
    fn options(self) -> RunOptions {
        RunOptions {
            cpu: self.cpu,
            cpu_limit: self.cpu_limit,
            gpu: self.gpu,
            gpu_vendor: self.gpu_vendor,
            memory: self.memory,
            memory_limit: self.memory_limit,
            node_labels: self.node_labels,
            system_critical: self.system_critical.then_some(true),
            use_service_volume: self.use_service_volume.as_deref().map(params::boolean),
            ..RunOptions::default()
        }
    }
}

impl Run {
    /// Runs the command; attached, exits with its status.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let app = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let release = match self.release.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Some(release_id(&rack, &app, id).await?),
            None => None,
        };
        let (height, width) = terminal_size(&context.ui).unzip();
        let command = self.command.join(" ");
        let options = RunOptions {
            height,
            width,
            release,
            ..self.needs.options()
        };
        if self.detach {
            let progress = context.ui.start("Running detached process")?;
            let options = RunOptions {
                command: Some(command),
                ..options
            };
            let id = match legacy::start(&rack, &app, &self.service, &options).await? {
                Started::Process(process) => process.id,
                Started::TooOld => {
                    let run = rack
                        .client
                        .legacy_run_detached(&app, &self.service, &options);
                    run.await?
                }
            };
            progress.ok_with(&id)?;
            return Ok(Exit::SUCCESS);
        }
        let one_off = OneOff {
            service: self.service,
            command,
            options,
            lifetime: self.timeout,
            entrypoint: self.entrypoint.as_deref().is_none_or(params::boolean),
        };
        one_off.attached(context, &rack, &app).await
    }
}

/// A command in a process that lives as long as the command does.
pub(super) struct OneOff {
    /// Service whose image and environment it has.
    pub(super) service: String,
    /// The command.
    pub(super) command: String,
    /// Release, size of the terminal.
    pub(super) options: RunOptions,
    /// Seconds it lives at most.
    pub(super) lifetime: Option<i64>,
    /// Whether the command is started through the image's entrypoint.
    pub(super) entrypoint: bool,
}

impl OneOff {
    /// Runs the command with the local terminal attached; the outcome is its status.
    pub(super) async fn attached(self, context: &Context, rack: &Rack, app: &str) -> Outcome {
        let lifetime = self
            .lifetime
            .filter(|seconds| *seconds > 0)
            .unwrap_or(LIFETIME);
        // The process only waits; the command is attached to it.
        let options = RunOptions {
            command: Some(format!("sleep {lifetime}")),
            ..self.options
        };
        let mut signals = Signals::listen()?;
        let start = legacy::start(rack, app, &self.service, &options);
        tokio::pin!(start);
        let (started, signal) = tokio::select! {
            started = &mut start => (started?, None),
            signal = signals.next() => {
                context.ui.note("stopping: waiting for the rack to name the process, interrupt again to leave it behind");
                tokio::select! {
                    started = &mut start => (started?, Some(signal)),
                    signal = signals.next() => return Ok(Exit::signal(signal)),
                }
            }
        };
        let process = match (started, signal) {
            (Started::Process(process), _) => process,
            (Started::TooOld, Some(signal)) => return Ok(Exit::signal(signal)),
            (Started::TooOld, None) => {
                let options = RunOptions {
                    command: Some(self.command),
                    ..options.clone()
                };
                let run = old_racks(context, rack, app, &self.service, &options, lifetime);
                return tokio::select! {
                    ended = run => ended,
                    // The process goes with the stream.
                    signal = signals.next() => Ok(Exit::signal(signal)),
                };
            }
        };
        let outcome = if let Some(signal) = signal {
            Ok(Exit::signal(signal))
        } else {
            let attached = async {
                until_running(rack, app, &process).await?;
                attach(
                    &context.ui,
                    &rack.client,
                    app,
                    &process.id,
                    self.command,
                    self.entrypoint,
                )
                .await
            };
            tokio::select! {
                attached = attached => match attached {
                    Ok(Attached::Ended(status)) => Ok(Exit::remote(status)),
                    Ok(Attached::Lost(error)) => remembered(rack, app, &process.id, error, &context.ui).await,
                    Err(error) => Err(error),
                },
                signal = signals.next() => Ok(Exit::signal(signal)),
            }
        };
        stop(rack, app, &process.id, &context.ui).await;
        outcome
    }
}

/// Has an old rack run a command: process, stream and end are one call there.
async fn old_racks(
    context: &Context,
    rack: &Rack,
    app: &str,
    service: &str,
    options: &RunOptions,
    lifetime: i64,
) -> Outcome {
    let client = &rack.client;
    let socket = client.legacy_run_attached(app, service, options, lifetime);
    match relay(&context.ui, socket.await?).await? {
        Attached::Ended(status) => Ok(Exit::remote(status)),
        Attached::Lost(error) => Err(error),
    }
}

/// Waits until a process runs. Real racks must say so twice, a second apart.
async fn until_running(rack: &Rack, app: &str, process: &Process) -> Result<(), Error> {
    let ours = rack.client.is_twinrack();
    let (wanted, mut pause) = if ours { (1, FIRST_LOOK) } else { (2, LOOK) };
    if ours && process.status == status::RUNNING {
        return Ok(());
    }
    let deadline = Instant::now() + START_LIMIT;
    let (mut running, mut failed) = (0, 0);
    loop {
        match rack.client.process_get(app, &process.id).await {
            Ok(seen) => {
                failed = 0;
                running = if seen.status == status::RUNNING {
                    running + 1
                } else {
                    0
                };
                if seen.status == status::CRASHED {
                    return Err(Error::failed(format!(
                        "process crashed before the command could run: {}",
                        process.id
                    )));
                }
            }
            Err(error) => {
                running = 0;
                failed += 1;
                if failed >= wanted {
                    return Err(error.into());
                }
            }
        }
        if running >= wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::failed("timeout"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK);
    }
}

/// Asks a rack of ours how a command has ended whose stream broke. On other racks, and
/// when no answer comes, the failure stands: success is what was observed.
async fn remembered(rack: &Rack, app: &str, pid: &str, lost: Error, ui: &Ui) -> Outcome {
    if !rack.client.is_twinrack() {
        return Err(lost);
    }
    let (deadline, mut pause) = (Instant::now() + STOP_LIMIT, FIRST_LOOK);
    loop {
        let asked = timeout(STOP_LIMIT, rack.client.run_get(app, pid)).await;
        if let Ok(Ok(run)) = asked
            && let Some(status) = run.status
        {
            ui.note(format!(
                "the stream of the command broke ({lost}); the rack has recorded its end"
            ));
            return Ok(Exit::remote(status));
        }
        if Instant::now() > deadline {
            return Err(lost);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOOK);
    }
}

/// Removes the process. The outcome of the command stands whatever happens here,
/// so a failure is only noted.
async fn stop(rack: &Rack, app: &str, pid: &str, ui: &Ui) {
    let reason = match timeout(STOP_LIMIT, rack.client.process_stop(app, pid)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) if error.is_not_found() => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    ui.note(format!(
        "process {pid} may still be there, `convox ps stop {pid}` stops it: {reason}"
    ));
}
