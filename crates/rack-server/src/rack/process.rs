//! Processes: services' own and one-offs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rack_api::process::{Process, status};

use super::Rack;
use crate::engine::{Phase, ProcessState, label};
use crate::operations::plan::{RESOURCE, RUN, SERVICE};
use crate::operations::{Failure, Result, run, supervise};

const MEBIBYTE: f64 = (1 << 20) as f64;
/// Digits of a process id.
pub(super) const ID_LENGTH: usize = 12;

pub(super) fn text<'a>(state: &'a ProcessState, name: &str) -> &'a str {
    state
        .labels
        .get(name)
        .map(String::as_str)
        .unwrap_or_default()
}

impl Rack {
    pub(super) fn show_process(&self, state: &ProcessState) -> Process {
        let member = self.context.fleet.get(&state.id);
        let word = match (&state.phase, &member) {
            (Phase::Created, _) => status::PENDING,
            // One that is being replaced ends as it should.
            (_, Some(member)) if member.retiring.load(Ordering::SeqCst) => status::STOPPING,
            // A one-off that has done its work.
            (Phase::Exited(0), None) if text(state, label::KIND) == RUN => status::COMPLETE,
            (Phase::Exited(_), _) => status::CRASHED,
            (Phase::Running, Some(member)) if member.healthy.load(Ordering::SeqCst) => {
                status::RUNNING
            }
            (Phase::Running, Some(member)) if member.routed.load(Ordering::SeqCst) => {
                status::UNHEALTHY
            }
            (Phase::Running, Some(_)) => status::STARTING,
            (Phase::Running, None) => status::RUNNING,
        };
        let command = match text(state, label::COMMAND) {
            "" => state.command.join(" "),
            command => command.to_owned(),
        };
        let measure = self.context.measured.get(&state.id).unwrap_or_default();
        let asked = text(state, label::MEMORY).parse().unwrap_or(0_u32);
        let memory = if asked > 0 {
            measure.memory as f64 / (f64::from(asked) * MEBIBYTE)
        } else {
            measure.of_all
        };
        let port = text(state, label::PORT)
            .split_once(':')
            .map(|(_, port)| port.to_owned());
        Process {
            id: state.id[..state.id.len().min(ID_LENGTH)].to_owned(),
            app: text(state, label::APP).to_owned(),
            command,
            cpu: measure.cpu,
            host: String::new(),
            image: state.image.clone(),
            instance: self.context.engine.kind().to_owned(),
            memory,
            name: text(state, label::NAME).to_owned(),
            ports: if text(state, label::KIND) == SERVICE {
                port.into_iter().collect()
            } else {
                Vec::new()
            },
            release: text(state, label::RELEASE).to_owned(),
            started: state.started,
            status: word.to_owned(),
        }
    }

    async fn states(&self, app: &str) -> Result<Vec<ProcessState>> {
        let states = self
            .context
            .engine
            .processes(&self.context.app_labels(app))
            .await?;
        Ok(states
            .into_iter()
            .filter(|state| match text(state, label::KIND) {
                SERVICE => true,
                // A one-off that has ended is about to be removed.
                RUN => state.phase == Phase::Running || state.phase == Phase::Created,
                _ => false,
            })
            .collect())
    }

    /// Lists an app's processes, sorted by name and id.
    pub async fn processes(
        &self,
        app: &str,
        service: Option<&str>,
        release: Option<&str>,
    ) -> Result<Vec<Process>> {
        self.context.app(app).await?;
        let mut processes: Vec<_> = self
            .states(app)
            .await?
            .iter()
            .map(|state| self.show_process(state))
            .filter(|process| service.is_none_or(|service| process.name == service))
            .filter(|process| release.is_none_or(|release| process.release == release))
            .collect();
        processes.sort_by_key(|process| format!("{}-{}", process.name, process.id));
        Ok(processes)
    }

    pub(super) async fn state(&self, app: &str, id: &str) -> Result<ProcessState> {
        self.context.app(app).await?;
        let missing = || Failure::NotFound(format!("process not found: {id}"));
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let mut found = self
            .states(app)
            .await?
            .into_iter()
            .filter(|state| state.id.starts_with(id));
        match (found.next(), found.next()) {
            (Some(state), None) => Ok(state),
            (Some(_), Some(_)) => Err(Failure::Invalid(format!("process id {id} is ambiguous"))),
            _ => Err(missing()),
        }
    }

    /// Looks up what is named by an id, a unique prefix of it, or the name of a service,
    /// which stands for any running process of it.
    pub(super) async fn target(&self, app: &str, target: &str) -> Result<ProcessState> {
        let missing = match self.state(app, target).await {
            Ok(state) => return Ok(state),
            Err(missing) => missing,
        };
        let of_service = |state: &ProcessState| {
            text(state, label::KIND) == SERVICE
                && text(state, label::NAME) == target
                && state.phase == Phase::Running
        };
        let mut states = self.states(app).await?;
        states.retain(of_service);
        // A healthy one that stays, if there is a choice.
        let serves = |state: &ProcessState| {
            self.context.fleet.get(&state.id).is_some_and(|member| {
                member.healthy.load(Ordering::SeqCst) && !member.retiring.load(Ordering::SeqCst)
            })
        };
        let at = states.iter().position(serves).unwrap_or(0);
        states.into_iter().nth(at).ok_or(missing)
    }

    /// Looks a process up by id or unique prefix of it.
    pub async fn process(&self, app: &str, id: &str) -> Result<Process> {
        let state = self.state(app, id).await?;
        Ok(self.show_process(&state))
    }

    /// Stops a process: a one-off is removed, one of a service is replaced.
    pub async fn stop_process(&self, app: &str, id: &str) -> Result<()> {
        self.context.ready().await?;
        let state = self.state(app, id).await?;
        let grace = Duration::from_secs(text(&state, label::GRACE).parse().unwrap_or(30));
        if text(&state, label::KIND) == RUN {
            return run::stop(&self.context, app, &state.id, grace).await;
        }
        match self.context.fleet.get(&state.id) {
            Some(member) => {
                supervise::retire(&self.context, &member).await?;
                self.converge_later(app);
                Ok(())
            }
            None => Ok(self.context.engine.remove(&state.id).await?),
        }
    }

    /// Name of the log stream of a process, running or not.
    pub async fn process_stream(&self, app: &str, id: &str) -> Result<String> {
        self.context.app(app).await?;
        if let Ok(state) = self.state(app, id).await {
            return Ok(state.id[..state.id.len().min(ID_LENGTH)].to_owned());
        }
        match self.context.store.run(app, id).await? {
            Some(run) => Ok(run.id),
            None => Err(Failure::NotFound(format!("process not found: {id}"))),
        }
    }

    /// All processes of the rack, resources included, as `rack ps --all` shows them.
    pub async fn all_processes(&self) -> Result<Vec<Process>> {
        let states = self
            .context
            .engine
            .processes(&self.context.labels())
            .await?;
        let mut processes: Vec<_> = states
            .iter()
            .filter(|state| text(state, label::KIND) != RUN || state.phase == Phase::Running)
            .map(|state| self.show_process(state))
            .collect();
        processes.sort_by_key(|process| format!("{}-{}-{}", process.app, process.name, process.id));
        Ok(processes)
    }

    /// The running process of a resource.
    pub(super) async fn resource_running(&self, app: &str, name: &str) -> Result<bool> {
        let mut labels = self.context.app_labels(app);
        labels.insert(label::KIND.into(), RESOURCE.into());
        labels.insert(label::NAME.into(), name.to_owned());
        let states = self.context.engine.processes(&labels).await?;
        Ok(states.iter().any(|state| state.phase == Phase::Running))
    }
}
