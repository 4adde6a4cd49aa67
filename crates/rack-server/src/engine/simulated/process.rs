//! Processes: their states, logs and files, and the rules for changing them.
//! Everything here is quick and synchronous, under one lock held by the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncWrite;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::{
    EngineError, Labels, Phase, ProcessEvent, ProcessEventKind, ProcessSpec, ProcessState, Result,
    Usage, label,
};
use super::fault::Fault;
use super::log::ProcessLog;
use super::tree::Tree;
use super::{Clock, Shared};

/// Memory every simulated process uses.
const BASE_MEMORY: u64 = 8 << 20;

/// A process.
#[derive(Debug)]
pub(super) struct Process {
    /// Full id.
    pub(super) id: String,
    /// What it was made of.
    pub(super) spec: ProcessSpec,
    /// Words it runs.
    pub(super) words: Vec<String>,
    /// Its variables, the image's included.
    pub(super) environment: BTreeMap<String, String>,
    /// Where it starts.
    pub(super) directory: String,
    /// Ports it answers on.
    pub(super) ports: BTreeSet<u16>,
    /// Faults named in its variables.
    pub(super) faults: BTreeSet<Fault>,
    /// What was written into it.
    pub(super) files: Tree,
    /// What was removed from it, of its image.
    pub(super) removed: BTreeSet<String>,
    /// When it started, for delays.
    pub(super) since: Option<Instant>,
    /// Cancelled when the present run ends.
    pub(super) run: CancellationToken,
    runs: u64,
    order: u64,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    out_of_memory: bool,
    phase: watch::Sender<Phase>,
    log: Arc<ProcessLog>,
}

impl Process {
    /// Where it is in its life.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Tells of changes of the phase.
    pub(super) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// What it has said.
    pub(super) fn log(&self) -> Arc<ProcessLog> {
        Arc::clone(&self.log)
    }

    /// What it would use: a hundredth of a processor, a millisecond for every line it
    /// has said, and memory that depends on what it runs.
    pub(super) fn usage(&self) -> Option<Usage> {
        let since = self.since.filter(|_| self.phase() == Phase::Running)?;
        let lines = *self.log.watch().borrow();
        let words: usize = self.words.iter().map(String::len).sum();
        Some(Usage {
            cpu: since.elapsed() / 100 + Duration::from_millis(1 + lines),
            memory: BASE_MEMORY + (words as u64 % 64) * (64 << 10),
        })
    }

    /// Its address while it runs: one of its own, made of its turn.
    fn address(&self) -> Option<IpAddr> {
        let [.., a, b, c] = self.order.to_be_bytes();
        (self.phase() == Phase::Running).then(|| Ipv4Addr::new(10, a, b, c).into())
    }

    /// The state callers see.
    pub(super) fn state(&self) -> ProcessState {
        ProcessState {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            image: self.spec.image.clone(),
            labels: self.spec.labels.clone(),
            phase: self.phase(),
            started: self.started,
            finished: self.finished,
            out_of_memory: self.out_of_memory,
            command: self.words.clone(),
            aliases: self.spec.aliases.clone(),
            addresses: self.address().into_iter().collect(),
        }
    }
}

/// All processes of an engine.
#[derive(Debug)]
pub(super) struct Processes {
    all: Mutex<Table>,
    events: broadcast::Sender<ProcessEvent>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Table {
    by_id: BTreeMap<String, Process>,
    created: u64,
}

/// What a new process needs beside its specification.
pub(super) struct NewProcess {
    /// The specification.
    pub(super) spec: ProcessSpec,
    /// Words it runs.
    pub(super) words: Vec<String>,
    /// Its variables.
    pub(super) environment: BTreeMap<String, String>,
    /// Where it starts.
    pub(super) directory: String,
    /// Ports it answers on.
    pub(super) ports: BTreeSet<u16>,
    /// Faults named in its variables.
    pub(super) faults: BTreeSet<Fault>,
}

/// A process that has just started.
pub(super) struct Started {
    /// Full id.
    pub(super) id: String,
    /// Which run this is.
    pub(super) run: u64,
    /// Cancelled when the run ends.
    pub(super) token: CancellationToken,
}

impl Processes {
    /// No processes yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            all: Mutex::default(),
            events: broadcast::Sender::new(4096),
            clock,
        }
    }

    /// Follows what happens.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<ProcessEvent> {
        self.events.subscribe()
    }

    /// Creates a process.
    pub(super) fn create(&self, new: NewProcess) -> Result<String> {
        let mut table = self.lock();
        let name = &new.spec.name;
        if !name.is_empty()
            && let Some(other) = table.by_id.values().find(|other| &other.spec.name == name)
        {
            return Err(EngineError::Failed(format!(
                "the container name {name:?} is already in use by container {}",
                short(&other.id)
            )));
        }
        let id = super::blob::hex(&rand::random::<[u8; 32]>());
        table.created += 1;
        let process = Process {
            id: id.clone(),
            spec: new.spec,
            words: new.words,
            environment: new.environment,
            directory: new.directory,
            ports: new.ports,
            faults: new.faults,
            files: Tree::new(),
            removed: BTreeSet::new(),
            since: None,
            run: CancellationToken::new(),
            runs: 0,
            order: table.created,
            started: None,
            finished: None,
            out_of_memory: false,
            phase: watch::Sender::new(Phase::Created),
            log: Arc::default(),
        };
        table.by_id.insert(id.clone(), process);
        Ok(id)
    }

    /// Marks a process as running; nothing when it runs already.
    pub(super) fn start(&self, id: &str, parent: &CancellationToken) -> Result<Option<Started>> {
        self.with(id, |process| {
            if process.phase() == Phase::Running {
                return Ok(None);
            }
            process.runs += 1;
            process.run = parent.child_token();
            process.since = Some(Instant::now());
            process.started = Some(self.clock.now());
            process.finished = None;
            process.out_of_memory = false;
            process.phase.send_replace(Phase::Running);
            self.tell(process, ProcessEventKind::Start);
            Ok(Some(Started {
                id: process.id.clone(),
                run: process.runs,
                token: process.run.clone(),
            }))
        })?
    }

    /// Ends a running process from outside; one that has ended or is gone is what was asked for.
    pub(super) fn stop(&self, id: &str, status: i64) -> Result<()> {
        match self.with(id, |process| self.exit(process, status)) {
            Err(EngineError::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// Ends a run that came to its end; a later run is left alone.
    pub(super) fn ended(&self, started: &Started, status: i64, out_of_memory: bool) {
        if let Some(process) = self.lock().by_id.get_mut(&started.id)
            && process.runs == started.run
        {
            process.out_of_memory = out_of_memory;
            self.exit(process, status);
        }
    }

    fn exit(&self, process: &mut Process, status: i64) {
        if process.phase() != Phase::Running {
            return;
        }
        let now = self.clock.now();
        process.log.flush(now);
        process.finished = Some(now);
        process.phase.send_replace(Phase::Exited(status));
        process.run.cancel();
        self.tell(process, ProcessEventKind::Die);
    }

    /// Removes a process, killing it first. Returns it unless it was not there.
    pub(super) fn remove(&self, id: &str) -> Result<Option<Process>> {
        let mut table = self.lock();
        let Some(id) = table.find(id)? else {
            return Ok(None);
        };
        let mut process = table
            .by_id
            .remove(&id)
            .expect("the table has just found it");
        self.exit(&mut process, 137);
        self.tell(&process, ProcessEventKind::Remove);
        Ok(Some(process))
    }

    /// Looks at or changes a process.
    pub(super) fn with<T>(&self, id: &str, change: impl FnOnce(&mut Process) -> T) -> Result<T> {
        let mut table = self.lock();
        let id = table.find(id)?.ok_or_else(|| not_found(id))?;
        Ok(change(
            table
                .by_id
                .get_mut(&id)
                .expect("the table has just found it"),
        ))
    }

    /// States of the processes with these labels, oldest first.
    pub(super) fn list(&self, labels: &Labels) -> Vec<ProcessState> {
        let table = self.lock();
        let mut found: Vec<&Process> = table
            .by_id
            .values()
            .filter(|p| has_labels(&p.spec.labels, labels))
            .collect();
        found.sort_by_key(|process| process.order);
        found.into_iter().map(Process::state).collect()
    }

    /// Asks whether any process satisfies a condition; answers with its id.
    pub(super) fn any(&self, condition: impl Fn(&Process) -> bool) -> Option<String> {
        self.lock()
            .by_id
            .values()
            .find(|process| condition(process))
            .map(|process| process.id.clone())
    }

    /// Visits every process.
    pub(super) fn each(&self, mut visit: impl FnMut(&Process)) {
        self.lock().by_id.values().for_each(&mut visit);
    }

    fn tell(&self, process: &Process, kind: ProcessEventKind) {
        let event = ProcessEvent {
            id: process.id.clone(),
            kind,
            labels: process.spec.labels.clone(),
        };
        // Nobody listening is no error.
        drop(self.events.send(event));
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Finds a full id by itself or by its unique beginning.
    fn find(&self, id: &str) -> Result<Option<String>> {
        if id.is_empty() {
            return Ok(None);
        }
        if self.by_id.contains_key(id) {
            return Ok(Some(id.to_owned()));
        }
        let mut found = self
            .by_id
            .range(id.to_owned()..)
            .take_while(|(full, _)| full.starts_with(id));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(EngineError::Failed(format!(
                "several containers have ids that begin with {id}"
            ))),
            (Some((full, _)), None) => Ok(Some(full.clone())),
            (None, _) => Ok(None),
        }
    }
}

/// Whether `have` contains all of `wanted`.
pub(super) fn has_labels(have: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(name, value)| have.get(name) == Some(value))
}

/// Whether labels are those of a resource, of an app or of the rack.
pub(super) fn is_resource(labels: &Labels) -> bool {
    labels
        .get(label::KIND)
        .is_some_and(|kind| matches!(kind.as_str(), "resource" | "rack-resource"))
}

/// The error for a process nobody knows.
pub(super) fn not_found(id: &str) -> EngineError {
    EngineError::NotFound {
        kind: "process",
        name: id.to_owned(),
    }
}

/// The first twelve digits of an id.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Writes into the log of one run of a process.
pub(super) struct LogWriter {
    shared: Weak<Shared>,
    id: String,
    run: u64,
}

impl LogWriter {
    /// Writes for a run.
    pub(super) fn new(shared: Weak<Shared>, started: &Started) -> Self {
        Self {
            shared,
            id: started.id.clone(),
            run: started.run,
        }
    }
}

impl AsyncWrite for LogWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(shared) = self.shared.upgrade() {
            let processes = &shared.processes;
            if let Some(process) = processes.lock().by_id.get_mut(&self.id)
                && process.runs == self.run
                && process.phase() == Phase::Running
            {
                process.log.push(processes.clock.now(), bytes);
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
