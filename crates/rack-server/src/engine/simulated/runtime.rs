//! What happens to processes over time: creating, running, executing, logging,
//! answering.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::super::{
    Connection, EngineError, Exec, ExecSpec, Labels, LogChunk, LogPlace, Phase, ProcessEvent,
    ProcessSpec, Result, label,
};
use super::catalog::Volume;
use super::database::{Database, Program};
use super::process::{LogWriter, NewProcess, Process, has_labels, is_resource, short};
use super::shell::{Shell, Unknown};
use super::{Shared, blocking, down, fault, grpc, image, no_image, port};

/// Bytes a pipe holds before its writer waits.
const PIPE: usize = 64 << 10;

/// Creates a process.
pub(super) async fn create(shared: &Arc<Shared>, mut spec: ProcessSpec) -> Result<String> {
    let shared = Arc::clone(shared);
    blocking(move || {
        // The catalog is held throughout: no image goes between being found and being used.
        let mut catalog = shared.catalog();
        let found = catalog
            .find(&spec.image)
            .ok_or_else(|| no_image(&spec.image))?;
        let builtin = ["", "bridge", "host", "none", "default"];
        if !builtin.contains(&spec.network.as_str())
            && !catalog.state().networks.contains_key(&spec.network)
        {
            return Err(EngineError::NotFound {
                kind: "network",
                name: spec.network,
            });
        }
        spec.image.clone_from(&found.id);
        let config = &found.file.config;
        let words = words(&spec, config);
        if words.is_empty() {
            return Err(EngineError::Failed(
                "no command specified, and the image has none".to_owned(),
            ));
        }
        let mut environment = config.environment();
        environment.extend(spec.environment.clone());
        let named = environment.get(fault::VARIABLE).map_or("", String::as_str);
        let faults = fault::parse_list(named)
            .map_err(|error| EngineError::Failed(format!("{}: {error}", fault::VARIABLE)))?;
        let ports: BTreeSet<u16> = spec.ports.iter().copied().chain(config.ports()).collect();
        let missing: Vec<String> = spec
            .volumes
            .iter()
            .map(|(volume, _)| volume)
            .filter(|volume| {
                !volume.starts_with('/') && !catalog.state().volumes.contains_key(*volume)
            })
            .cloned()
            .collect();
        if !missing.is_empty() {
            catalog.change(|state| {
                state.volumes.extend(
                    missing
                        .into_iter()
                        .map(|volume| (volume, Volume::default())),
                );
                Ok(())
            })?;
        }
        let directory = config.working_dir.clone().unwrap_or_default();
        shared.processes.create(NewProcess {
            spec,
            words,
            environment,
            directory,
            ports,
            faults,
        })
    })
    .await
}

/// The words a process runs, by the rules of a real engine.
fn words(spec: &ProcessSpec, config: &image::RunConfig) -> Vec<String> {
    let replaced = spec
        .entrypoint
        .as_ref()
        .is_some_and(|entrypoint| !entrypoint.is_empty());
    let entrypoint = spec.entrypoint.as_ref().or(config.entrypoint.as_ref());
    let command = match &spec.command {
        Some(command) if !command.is_empty() => Some(command),
        // An entrypoint of one's own does not know the image's command.
        _ if replaced => None,
        _ => config.cmd.as_ref(),
    };
    entrypoint
        .into_iter()
        .chain(command)
        .flatten()
        .cloned()
        .collect()
}

/// Starts a process; one that runs is left alone.
pub(super) fn start(shared: &Arc<Shared>, id: &str) -> Result<()> {
    let Some(started) = shared.processes.start(id, &shared.life)? else {
        return Ok(());
    };
    let (words, shell, faults) = shared.processes.with(&started.id, |process| {
        // Services and resources go on until they are stopped; tasks come to their end.
        let unknown = match process.spec.labels.get(label::KIND).map(String::as_str) {
            Some("run" | "init") => Unknown::Ends,
            _ => Unknown::Serves,
        };
        let shell = Shell::new(process.environment.clone(), &process.directory, unknown);
        let faults = shared
            .faults
            .of_process(&process.spec.labels, &process.faults);
        (process.words.clone(), shell, faults)
    })?;
    let mut writer = LogWriter::new(Arc::downgrade(shared), &started);
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        let run = async {
            if faults.crash_loop {
                writer.write_all(b"simulated fault crash-loop\n").await?;
                return Ok(1);
            }
            if faults.out_of_memory {
                writer.write_all(b"simulated fault out-of-memory\n").await?;
                return Ok(137);
            }
            shell
                .run(&words, &mut tokio::io::empty(), &mut writer)
                .await
        };
        let status = tokio::select! {
            biased;
            () = started.token.cancelled() => return,
            status = run => status,
        };
        let status = status.unwrap_or_else(|error: io::Error| {
            tracing::warn!(%error, "a simulated process failed to write its log");
            125
        });
        if let Some(shared) = shared.upgrade() {
            shared
                .processes
                .ended(&started, status, faults.out_of_memory);
        }
    });
    Ok(())
}

/// Waits until a process does not run.
pub(super) async fn wait(shared: &Arc<Shared>, id: &str) -> Result<i64> {
    let mut phase = shared.processes.with(id, |process| process.watch_phase())?;
    let mut engine_down = shared.faults.watch_down();
    tokio::select! {
        biased;
        // A process that is removed has ended before.
        _ = phase.wait_for(|phase| *phase != Phase::Running) => {}
        () = engine_down.down() => return Err(down()),
        () = shared.life.cancelled() => return Err(down()),
    }
    let phase = *phase.borrow();
    match phase {
        Phase::Exited(status) => Ok(status),
        // As a real engine says of what never started.
        Phase::Created | Phase::Running => Ok(0),
    }
}

/// Runs a command in a running process.
pub(super) fn exec(shared: &Arc<Shared>, id: &str, spec: ExecSpec) -> Result<Exec> {
    if spec.command.is_empty() {
        return Err(EngineError::Failed("no command to execute".to_owned()));
    }
    let size = spec
        .tty
        .then(|| watch::Sender::new(spec.size.unwrap_or_default()));
    let terminal = size.as_ref().map(watch::Sender::subscribe);
    let (shell, database, token, faults) = shared.processes.with(id, |process| {
        if process.phase() != Phase::Running {
            return Err(EngineError::Failed(format!(
                "container {} is not running",
                short(&process.id)
            )));
        }
        let mut environment = process.environment.clone();
        if spec.tty {
            environment
                .entry("TERM".to_owned())
                .or_insert_with(|| "xterm".to_owned());
        }
        environment.extend(spec.environment);
        let shell = Shell::new(environment, &process.directory, Unknown::Ends).on(terminal);
        let faults = shared
            .faults
            .of_process(&process.spec.labels, &process.faults);
        let database = Database::of(shared, process).zip(Program::of(&spec.command));
        Ok((shell, database, process.run.clone(), faults))
    })??;
    let (output, mut writer) = tokio::io::duplex(PIPE);
    let (input, mut reader): (
        std::pin::Pin<Box<dyn AsyncWrite + Send>>,
        Box<dyn AsyncRead + Send + Unpin>,
    ) = if spec.stdin {
        let (input, reader) = tokio::io::duplex(PIPE);
        (Box::pin(input), Box::new(reader))
    } else {
        (Box::pin(tokio::io::sink()), Box::new(tokio::io::empty()))
    };
    let (tell, status) = oneshot::channel();
    let closed = CancellationToken::new();
    let closing = closed.clone();
    tokio::spawn(async move {
        let run = async {
            match database {
                Some((database, program)) => {
                    let errors = spec.errors.as_ref();
                    database.run(program, reader, &mut writer, errors).await
                }
                None => shell.run(&spec.command, &mut *reader, &mut writer).await,
            }
        };
        let mut result = tokio::select! {
            biased;
            // The end of a process ends everything in it.
            () = token.cancelled() => Ok(137),
            // What a terminal that is closed does to a command.
            () = closed.cancelled() => Ok(129),
            result = run => match result {
                // Nobody reads any more: what a broken pipe does to a command.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(141),
                result => result,
            },
        };
        if let (Ok(_), Some(status)) = (&result, faults.run_exits) {
            result = Ok(status);
        }
        // The status first: who has read to the end may ask at once.
        drop(tell.send(result));
        drop(writer);
    });
    let status = async {
        match status.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(EngineError::Failed(
                "the command was lost with the engine".to_owned(),
            )),
        }
    };
    Ok(Exec {
        output: Box::pin(output),
        input,
        status: Box::pin(status),
        size,
        end: Box::pin(async move {
            closing.cancel();
            Ok(())
        }),
    })
}

struct Follow {
    log: Arc<super::log::ProcessLog>,
    lines: watch::Receiver<u64>,
    phase: watch::Receiver<Phase>,
    engine_down: fault::DownWatch,
    after: Option<LogPlace>,
    next: u64,
    goes_on: bool,
    over: bool,
}

impl Follow {
    /// The next lines, nothing at the end.
    async fn next(&mut self) -> Option<Vec<Result<LogChunk>>> {
        while !self.over {
            // First the phase, then the lines: what came before the end is never missed.
            let ended = matches!(*self.phase.borrow(), Phase::Exited(_));
            self.lines.mark_unchanged();
            let (lines, next) = self.log.lines(self.next, self.after);
            self.next = next;
            if !lines.is_empty() {
                return Some(lines.into_iter().map(Ok).collect());
            }
            if ended || !self.goes_on {
                return None;
            }
            tokio::select! {
                _ = self.lines.changed() => {}
                changed = self.phase.changed() => {
                    // Removed without ever having run.
                    self.over = changed.is_err() && !matches!(*self.phase.borrow(), Phase::Exited(_));
                }
                () = self.engine_down.down() => {
                    self.over = true;
                    return Some(vec![Err(down())]);
                }
            }
        }
        None
    }
}

/// Streams a log.
pub(super) fn logs(
    shared: &Arc<Shared>,
    id: &str,
    after: Option<LogPlace>,
    follow: bool,
) -> Result<BoxStream<'static, Result<LogChunk>>> {
    let (log, phase) = shared
        .processes
        .with(id, |process| (process.log(), process.watch_phase()))?;
    let lines = log.watch();
    let engine_down = shared.faults.watch_down();
    let follow = Follow {
        log,
        lines,
        phase,
        engine_down,
        after,
        next: 0,
        goes_on: follow,
        over: false,
    };
    let chunks = stream::unfold(follow, async |mut follow| {
        let chunks = follow.next().await?;
        Some((stream::iter(chunks), follow))
    });
    Ok(chunks.flatten().boxed())
}

/// Streams what happens to the processes with these labels.
pub(super) fn events(
    shared: &Arc<Shared>,
    labels: Labels,
) -> BoxStream<'static, Result<ProcessEvent>> {
    let state = (
        shared.processes.subscribe(),
        shared.faults.watch_down(),
        shared.life.clone(),
    );
    let all = stream::unfold(state, async |(mut events, mut engine_down, life)| {
        let event = tokio::select! {
            biased;
            event = events.recv() => match event {
                Ok(event) => Ok(event),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    Err(EngineError::Failed(format!("{lost} events were lost: the listener was too slow")))
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            },
            () = engine_down.down() => return None,
            () = life.cancelled() => return None,
        };
        Some((event, (events, engine_down, life)))
    });
    all.filter(move |event| {
        let wanted = event
            .as_ref()
            .map_or(true, |event| has_labels(&event.labels, &labels));
        std::future::ready(wanted)
    })
    .boxed()
}

/// Connects to a port of a running process.
pub(super) fn dial(shared: &Arc<Shared>, id: &str, number: u16) -> Result<Connection> {
    let refused = || {
        let text = format!("connection to port {number} of the simulated process refused");
        EngineError::Stream(io::Error::new(io::ErrorKind::ConnectionRefused, text))
    };
    let (identity, resource, grpc, token) = shared.processes.with(id, |process| {
        let faults = shared
            .faults
            .of_process(&process.spec.labels, &process.faults);
        let age = process
            .since
            .map_or(Duration::ZERO, |since| since.elapsed());
        if process.phase() != Phase::Running || age < faults.slow_start {
            return Err(refused());
        }
        let resource = is_resource(&process.spec.labels);
        if !resource && !process.ports.contains(&number) {
            return Err(refused());
        }
        let port = process.spec.labels.get(label::PORT);
        let grpc = port.is_some_and(|port| *port == format!("grpc:{number}"));
        Ok((
            identity(process, faults.never_healthy),
            resource,
            grpc,
            process.run.clone(),
        ))
    })??;
    // A resource that is never healthy never accepts.
    if resource && identity.unhealthy {
        return Err(refused());
    }
    let (near, far) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let serve = async {
            if resource {
                port::serve_resource(far, number).await;
            } else if grpc {
                grpc::serve(far, identity).await;
            } else {
                port::serve_http(far, identity).await;
            }
        };
        tokio::select! {
            () = serve => {}
            // Connections break when their process ends.
            () = token.cancelled() => {}
        }
    });
    Ok(Box::pin(near))
}

fn identity(process: &Process, unhealthy: bool) -> port::Identity {
    let facts = [
        ("service", label::NAME, "SERVICE"),
        ("app", label::APP, "APP"),
        ("rack", label::RACK, "RACK"),
        ("release", label::RELEASE, "RELEASE"),
        ("build", "", "BUILD"),
    ];
    let facts = facts.into_iter().filter_map(|(fact, label, variable)| {
        let value = process
            .spec
            .labels
            .get(label)
            .or_else(|| process.environment.get(variable))?;
        Some((fact, value.clone()))
    });
    let process_fact = ("process", short(&process.id).to_owned());
    port::Identity {
        facts: facts.chain([process_fact]).collect(),
        unhealthy,
    }
}
