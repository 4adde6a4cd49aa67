//! What stands in the way of an app: put together from what the engine runs, what is
//! known to be healthy, and what the app's log says.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use rack_api::app::status;
use rack_api::diagnose::{
    AppDiagnosticReport, Event, Options, Overview, Pod, ServiceStatus, Summary,
};
use rack_api::log;

use super::Rack;
use super::process::{ID_LENGTH, text};
use crate::engine::{Phase, ProcessState, label};
use crate::logs::Streams;
use crate::operations::plan::{Plan, RESOURCE, SERVICE};
use crate::operations::{Failure, Result};
use crate::store::AppRow;

/// How far back events are looked for.
const RECENT: Duration = Duration::from_secs(30 * 60);
/// Most platform lines that are read for events.
const MOST_EVENTS: usize = 1000;
/// Most log lines per process.
const MOST_LINES: usize = 5000;

/// One line of an app's log.
struct Line {
    time: Option<Timestamp>,
    /// `service/web/0123456789ab`, `system/docker/web-0123456789ab`.
    stream: String,
    message: String,
}

/// What a word in a message of the platform means.
struct Sign {
    /// Part of the message.
    words: &'static str,
    reason: &'static str,
    hint: &'static str,
}

/// The first that fits counts.
const SIGNS: &[Sign] = &[
    Sign {
        words: "out of memory",
        reason: "OutOfMemory",
        hint: "give the service more memory: scale.memory in convox.yml, or scale --memory",
    },
    Sign {
        words: "exited with status",
        reason: "Exited",
        hint: "its last log lines say why; a service must not end by itself",
    },
    Sign {
        words: "did not become healthy",
        reason: "Unhealthy",
        hint: "check port and health.path in convox.yml, and raise health.grace if it starts slowly",
    },
    Sign {
        words: "unhealthy",
        reason: "Unhealthy",
        hint: "its health check fails: check health.path in convox.yml",
    },
    Sign {
        words: "was rolled back",
        reason: "RolledBack",
        hint: "the release before it still serves; mend the reason and promote again",
    },
    Sign {
        words: "rolling back",
        reason: "RollingBack",
        hint: "",
    },
    Sign {
        words: "could not",
        reason: "Failed",
        hint: "",
    },
    Sign {
        words: "did not accept connections",
        reason: "ResourceNotReady",
        hint: "look at the resource's own log lines",
    },
    Sign {
        words: "trouble",
        reason: "Trouble",
        hint: "",
    },
];

fn event(line: &Line) -> Event {
    let sign = SIGNS.iter().find(|sign| line.message.contains(sign.words));
    let object = line.stream.splitn(3, '/').nth(2).unwrap_or_default();
    Event {
        timestamp: line.time,
        kind: if sign.is_some() { "Warning" } else { "Normal" }.to_owned(),
        reason: sign.map_or("Info", |sign| sign.reason).to_owned(),
        object: object.to_owned(),
        message: line.message.clone(),
        hint: sign.map_or("", |sign| sign.hint).to_owned(),
    }
}

/// How a process is: classification, one word of detail, what to do.
fn classify(
    state: &ProcessState,
    ready: bool,
    age: i64,
    new: i64,
) -> (&'static str, String, &'static str) {
    let (detail, hint) = match state.phase {
        Phase::Exited(_) if state.out_of_memory => ("OOMKilled".to_owned(), SIGNS[0].hint),
        Phase::Exited(0) => (
            "Terminated:Completed".to_owned(),
            "it ended without an error; a service must not end by itself",
        ),
        Phase::Exited(code) => (
            format!("Terminated:Error(exit={code})"),
            "it ended with an error: its log says which",
        ),
        Phase::Created => (
            "Created".to_owned(),
            "it was made and not started: the engine may be busy or out of resources",
        ),
        Phase::Running if !ready => ("NotHealthy".to_owned(), SIGNS[2].hint),
        Phase::Running => (String::new(), ""),
    };
    let classification = match state.phase {
        Phase::Running if !ready => "not-ready",
        Phase::Running if age <= new => "new",
        Phase::Running => "healthy",
        Phase::Created | Phase::Exited(_) => "unhealthy",
    };
    (classification, detail, hint)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Created => "Pending",
        Phase::Running => "Running",
        Phase::Exited(0) => "Succeeded",
        Phase::Exited(_) => "Failed",
    }
}

fn order(pod: &Pod) -> (usize, String) {
    let classes = ["unhealthy", "not-ready", "new", "healthy"];
    let class = classes
        .iter()
        .position(|class| *class == pod.classification);
    (class.unwrap_or(classes.len()), pod.name.clone())
}

fn short(state: &ProcessState) -> &str {
    &state.id[..state.id.len().min(ID_LENGTH)]
}

/// The last lines as text.
fn last(lines: &[Line], count: usize) -> String {
    let from = lines.len().saturating_sub(count);
    lines[from..]
        .iter()
        .flat_map(|line| [line.message.as_str(), "\n"])
        .collect()
}

impl Rack {
    /// Reports on an app.
    pub async fn diagnose(&self, app: &str, options: &Options) -> Result<AppDiagnosticReport> {
        let row = self.context.app(app).await?;
        for check in &options.checks {
            if !["overview", "init", "services"].contains(&check.as_str()) {
                return Err(Failure::Invalid(format!(
                    "unknown check: {check} (checks are overview, init, services)"
                )));
            }
        }
        let wanted = |check: &str| {
            options.checks.is_empty() || options.checks.iter().any(|name| name == check)
        };
        let mut report = AppDiagnosticReport {
            namespace: format!("{}-{app}", self.context.rack),
            rack: self.context.rack.clone(),
            app: app.to_owned(),
            timestamp: Some(self.context.now()),
            ..AppDiagnosticReport::default()
        };
        // Nothing here has init containers: the check is known and finds none.
        let mut events: Vec<Event> = self
            .log_lines(
                app,
                Streams::Prefix("system/".into()),
                MOST_EVENTS,
                Some(RECENT),
            )
            .await?
            .iter()
            .map(event)
            .collect();
        events.reverse();
        if wanted("overview") {
            report.overview = Some(self.overview(&row, options, &events).await?);
        }
        if wanted("services") {
            let (pods, summary) = self.pods(app, options, &events).await?;
            report.pods = pods;
            report.summary = Some(summary);
        }
        Ok(report)
    }

    async fn log_lines(
        &self,
        app: &str,
        streams: Streams,
        tail: usize,
        since: Option<Duration>,
    ) -> Result<Vec<Line>> {
        let options = log::Options {
            follow: false,
            prefix: true,
            since,
            tail: Some(tail),
            ..log::Options::default()
        };
        let chunks: Vec<bytes::Bytes> = self
            .context
            .logs
            .app(app)
            .read(&options, self.context.now(), streams)
            .try_collect()
            .await
            .map_err(Failure::io("the app's log"))?;
        let all = chunks.concat();
        let all = String::from_utf8_lossy(&all);
        let line = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            Some(Line {
                time: parts.next()?.parse().ok(),
                stream: parts.next()?.to_owned(),
                message: parts.next().unwrap_or_default().to_owned(),
            })
        };
        Ok(all.lines().filter_map(line).collect())
    }

    async fn overview(
        &self,
        row: &AppRow,
        options: &Options,
        events: &[Event],
    ) -> Result<Overview> {
        let mut services = Vec::new();
        let warnings = events.iter().filter(|event| event.kind == "Warning");
        let mut warnings: Vec<Event> = warnings.cloned().collect();
        // Before the first promote that succeeds, the one that is to succeed.
        let release = if row.release.is_empty() {
            self.context.store.latest_release(&row.name).await?
        } else {
            self.context.store.release(&row.name, &row.release).await?
        };
        let plan = match release.filter(|release| !release.build.is_empty()) {
            None => None,
            Some(release) => match Plan::load(&self.context, &row.name, &release.id).await {
                Ok(plan) => Some(plan),
                Err(Failure::Invalid(reason)) => {
                    warnings.insert(
                        0,
                        Event {
                            timestamp: Some(release.created),
                            kind: "Warning".to_owned(),
                            reason: "InvalidRelease".to_owned(),
                            object: format!("release/{}", release.id),
                            message: reason,
                            hint: "make a release that can be promoted: convox.yml, environment or build"
                                .to_owned(),
                        },
                    );
                    None
                }
                Err(failure) => return Err(failure),
            },
        };
        if let Some(plan) = plan {
            let rollouts = self.context.store.rollouts(&row.name).await?;
            for plan in &plan.services {
                let name = &plan.service.name;
                if !options.services.is_empty() && !options.services.contains(name) {
                    continue;
                }
                let members = self.context.fleet.of_service(&row.name, name);
                let ready = members
                    .iter()
                    .filter(|member| member.healthy.load(Ordering::SeqCst))
                    .count() as u64;
                let updated = members
                    .iter()
                    .filter(|member| rollouts.get(name) == Some(&member.rollout))
                    .count() as u64;
                let as_number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                let (word, stall_reason) = if plan.count == 0 {
                    ("scaled-down", String::new())
                } else if ready >= plan.count && row.status == status::RUNNING {
                    ("running", String::new())
                } else if row.status == status::RUNNING {
                    let reason = warnings
                        .iter()
                        .find(|event| event.object.starts_with(name) || event.object == "promote")
                        .map_or("too few processes are healthy", |event| &event.message);
                    ("stalled", reason.to_owned())
                } else {
                    ("deploying", String::new())
                };
                services.push(ServiceStatus {
                    name: name.clone(),
                    desired_replicas: as_number(plan.count),
                    ready_replicas: as_number(ready),
                    updated_replicas: as_number(updated),
                    status: word.to_owned(),
                    stall_reason,
                    agent: plan.service.agent,
                });
            }
        }
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Overview {
            services,
            events: warnings,
        })
    }

    async fn pods(
        &self,
        app: &str,
        options: &Options,
        events: &[Event],
    ) -> Result<(Vec<Pod>, Summary)> {
        let states = self
            .context
            .engine
            .processes(&self.context.app_labels(app))
            .await?;
        let alive: BTreeSet<&str> = states.iter().map(short).collect();
        let mut previous: HashMap<String, String> = HashMap::new();
        let lines = options.lines.min(MOST_LINES);
        let mut pods = Vec::new();
        let mut summary = Summary::default();
        for state in &states {
            let (kind, service) = (text(state, label::KIND), text(state, label::NAME));
            if !options.services.is_empty() && !options.services.iter().any(|name| name == service)
            {
                continue;
            }
            let ready = state.phase == Phase::Running
                && match kind {
                    SERVICE => self
                        .context
                        .fleet
                        .get(&state.id)
                        .is_some_and(|member| member.healthy.load(Ordering::SeqCst)),
                    RESOURCE => self.context.fleet.is_ready(&state.id),
                    _ => true,
                };
            let now = self.context.now();
            let age = state
                .started
                .map_or(0, |started| now.duration_since(started).as_secs().max(0));
            let (classification, state_detail, hint) = classify(state, ready, age, options.age);
            summary.total += 1;
            match classification {
                "unhealthy" => summary.unhealthy += 1,
                "not-ready" => summary.not_ready += 1,
                "new" => summary.new += 1,
                _ => summary.healthy += 1,
            }
            if classification == "healthy" && !options.all {
                continue;
            }
            let crashed = match kind {
                RESOURCE => format!("resource/{service}"),
                _ => service.to_owned(),
            };
            let mut pod = Pod {
                name: short(state).to_owned(),
                service: service.to_owned(),
                phase: phase(state.phase).to_owned(),
                ready: if ready { "1/1" } else { "0/1" }.to_owned(),
                age_seconds: age,
                restarts: i64::from(self.context.fleet.crashes(app, &crashed)),
                classification: classification.to_owned(),
                state_detail,
                hint: hint.to_owned(),
                ..Pod::default()
            };
            let own = Streams::Process(pod.name.clone());
            pod.logs = last(&self.log_lines(app, own, lines, None).await?, lines);
            if options.previous && kind == SERVICE {
                if !previous.contains_key(service) {
                    let text = self.previous_log(app, service, &alive, lines).await?;
                    previous.insert(service.to_owned(), text);
                }
                pod.previous_logs = previous.get(service).cloned().unwrap_or_default();
            }
            if options.events {
                let of_it = events.iter().filter(|event| {
                    event.object.ends_with(&pod.name)
                        || (kind == RESOURCE && event.object == service)
                });
                pod.events = of_it.cloned().collect();
            }
            pods.push(pod);
        }
        pods.sort_by_cached_key(order);
        Ok((pods, summary))
    }

    /// What the last process of a service that is gone has said.
    async fn previous_log(
        &self,
        app: &str,
        service: &str,
        alive: &BTreeSet<&str>,
        count: usize,
    ) -> Result<String> {
        let streams = Streams::Prefix(format!("service/{service}/"));
        let mut lines = self
            .log_lines(app, streams, MOST_LINES, Some(RECENT))
            .await?;
        let id = |line: &Line| {
            line.stream
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let Some(gone) = lines
            .iter()
            .rev()
            .map(id)
            .find(|id| !alive.contains(id.as_str()))
        else {
            return Ok(String::new());
        };
        lines.retain(|line| id(line) == gone);
        Ok(last(&lines, count))
    }
}
