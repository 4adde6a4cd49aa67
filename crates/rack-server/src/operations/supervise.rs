//! Looking after what runs: logs are collected, ends are noticed, what should run
//! and does not is started again.
//!
//! Every process of a rack has two tasks: one copies its log into the app's
//! durable log, one waits for its end. Both survive an engine that goes away and
//! comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::access;
use super::context::Context;
use super::door;
use super::error::{Failure, Result};
use super::fleet::{self, Member};
use super::plan::{Plan, RACK_RESOURCE, SERVICE, ServicePlan};
use super::resource::{self, Owner};
use super::rollout;
use super::{health, launch};
use crate::engine::{EngineError, Labels, LogPlace, Phase, ProcessState, label};
use crate::logs::Log;
use crate::router::{Lane, Scheme, Target};

/// Pause before an engine that does not answer is asked again.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a crashing service is started again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// How long a process that crashed waits for its log before another is started.
const LOG_LAG: Duration = Duration::from_secs(2);
/// How long a log that is copied may stand still before its end is given up.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Copies a process's log into a durable one until the process has ended, and counts
/// the lines as they come.
async fn collect(context: &Context, log: &Log, stream: &str, id: &str, copied: &AtomicU64) {
    let stored = log.last_place(stream).await.unwrap_or_else(|error| {
        tracing::error!(%error, stream, "could not read back a log");
        None
    });
    let mut after = stored.map(|(time, nth)| LogPlace { time, nth });
    loop {
        // Asked first: a process seen ended now has its whole log in the engine.
        let running = match context.engine.process(id).await {
            Ok(Some(state)) => state.phase == Phase::Running,
            Ok(None) => return,
            Err(_) => true,
        };
        if let Ok(mut chunks) = context.engine.logs(id, after, running).await {
            loop {
                // A follower of a process that goes on must not hold up a server that stops.
                let next = tokio::select! {
                    next = chunks.next() => next,
                    () = context.shutdown.cancelled() => return,
                };
                let Some(Ok(chunk)) = next else { break };
                if chunk.gap {
                    let notice = format!(
                        "lines of {stream} are missing here: there were more than the engine \
                         keeps, and they came faster than they could be read"
                    );
                    log.append(chunk.place.time, "system/log/lost", notice.as_bytes());
                }
                after = Some(chunk.place);
                log.append(chunk.place.time, stream, &chunk.line);
                copied.fetch_add(1, Ordering::Relaxed);
            }
            if !running {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(if running { 50 } else { 1000 })) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// Waits for a process to end, however often the engine goes away meanwhile.
/// Returns nothing when the server stops first.
async fn wait_end(context: &Context, id: &str) -> Option<i64> {
    loop {
        let ended = tokio::select! {
            ended = context.engine.wait(id) => ended,
            () = context.shutdown.cancelled() => return None,
        };
        match ended {
            Ok(status) => return Some(status),
            Err(EngineError::NotFound { .. }) => return Some(-1),
            Err(_) => tokio::select! {
                () = tokio::time::sleep(ENGINE_PAUSE) => {}
                () = context.shutdown.cancelled() => return None,
            },
        }
    }
}

/// Takes a running service process into the fleet and looks after it.
pub fn adopt(context: &Arc<Context>, id: &str, labels: &Labels) -> Arc<Member> {
    let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let port = text(label::PORT);
    let target = port.split_once(':').and_then(|(scheme, port)| {
        Some(Target::new(
            Arc::clone(&context.engine),
            id,
            port.parse().ok()?,
            Scheme::of(scheme),
        ))
    });
    let member = Arc::new(Member {
        id: id.to_owned(),
        app: text(label::APP),
        service: text(label::NAME),
        release: text(label::RELEASE),
        rollout: text(label::ROLLOUT),
        fingerprint: text(label::FINGERPRINT),
        // Servers before these labels asked for as much without saying so.
        cpu: text(label::CPU).parse().unwrap_or_default(),
        memory: text(label::MEMORY).parse().unwrap_or_default(),
        grace: Duration::from_secs(text(label::GRACE).parse().unwrap_or(30)),
        drain: Duration::from_secs(text(label::DRAIN).parse().unwrap_or(30)),
        pre_stop: labels.get(label::PRE_STOP).cloned(),
        target,
        lane: Lane::new(Arc::clone(&context.engine), id),
        healthy: AtomicBool::new(false),
        routed: AtomicBool::new(false),
        retiring: AtomicBool::new(false),
        exit: watch::channel(None).0,
        collected: watch::channel(false).0,
        copied: AtomicU64::new(0),
        done: CancellationToken::new(),
    });
    context.fleet.add(Arc::clone(&member));
    let (at, of) = (Arc::clone(context), Arc::clone(&member));
    context.tasks.spawn(async move {
        let log = at.logs.app(&of.app);
        collect(&at, &log, &of.stream(), &of.id, &of.copied).await;
        of.collected.send_replace(true);
    });
    let (at, of) = (Arc::clone(context), Arc::clone(&member));
    context.tasks.spawn(async move {
        if let Some(status) = wait_end(&at, &of.id).await {
            of.exit.send_replace(Some(status));
            if let Err(error) = ended(&at, &of, status).await {
                tracing::error!(%error, process = of.short_id(), "could not replace a process");
            }
        }
    });
    member
}

/// Waits until a process's log is stored to its end. The engine's copy goes with the
/// process, so it is waited for as long as it is being read.
async fn collected(context: &Context, member: &Member) {
    let mut collected = member.collected.subscribe();
    let whole = async {
        // The sender lives as long as the member does.
        let _ = collected.wait_for(|done| *done).await;
    };
    if !patiently(whole, &member.copied).await {
        lost_end(context, &member.app, &member.stream());
    }
}

/// Waits for a log to be copied to its end; false when it stands still.
async fn patiently(whole: impl Future<Output = ()>, copied: &AtomicU64) -> bool {
    let mut seen = copied.load(Ordering::Relaxed);
    tokio::pin!(whole);
    loop {
        if tokio::time::timeout(STANDSTILL, &mut whole).await.is_ok() {
            return true;
        }
        let now = copied.load(Ordering::Relaxed);
        if std::mem::replace(&mut seen, now) == now {
            return false;
        }
    }
}

fn lost_end(context: &Context, app: &str, stream: &str) {
    let notice = format!("the end of {stream} is missing here: the engine does not give it");
    context
        .logs
        .app(app)
        .append(context.now(), "system/log/lost", notice.as_bytes());
}

/// A process has ended: if nobody wanted that, it is replaced, later and later.
async fn ended(context: &Arc<Context>, member: &Arc<Member>, status: i64) -> Result<()> {
    member.healthy.store(false, Ordering::SeqCst);
    fleet::publish(context, &member.app, &member.service)?;
    // What it has said last stands before what is said of its end, if it comes soon.
    let mut whole = member.collected.subscribe();
    let _ = tokio::time::timeout(LOG_LAG, whole.wait_for(|done| *done)).await;
    if member.retiring.load(Ordering::SeqCst) {
        return Ok(());
    }
    let rollouts = context.store.rollouts(&member.app).await?;
    if rollouts.get(&member.service) != Some(&member.rollout) {
        // A rollout under way sees the end itself.
        return Ok(());
    }
    let why = match context.engine.process(&member.id).await {
        Ok(Some(state)) if state.out_of_memory => {
            format!("exited with status {status} (out of memory)")
        }
        Ok(None) => "was removed behind the rack's back".to_owned(),
        _ => format!("exited with status {status}"),
    };
    let crashes = context.fleet.crashed(&member.app, &member.service);
    let pause = Duration::from_secs(1 << (crashes - 1).min(6)).min(LONGEST_BACKOFF);
    context.log(
        &member.app,
        &member.object(),
        &format!("process {why}; starting another in {} s", pause.as_secs()),
    );
    // Whatever else makes the app converge meanwhile must not shorten it.
    let until = tokio::time::Instant::now() + pause;
    context.fleet.hold_back(&member.app, &member.service, until);
    tokio::select! {
        () = tokio::time::sleep_until(until) => {}
        () = context.shutdown.cancelled() => return Ok(()),
    }
    bring_up(context, &member.app).await;
    Ok(())
}

/// Stops a process without dropping a request: out of the route, drained,
/// terminated, its log stored, removed.
pub async fn retire(context: &Arc<Context>, member: &Arc<Member>) -> Result<()> {
    member.retiring.store(true, Ordering::SeqCst);
    member.routed.store(false, Ordering::SeqCst);
    fleet::publish(context, &member.app, &member.service)?;
    let drained = async {
        if let Some(target) = &member.target {
            target.drained().await;
        }
        member.lane.drained().await;
    };
    if member.exited().is_none() && tokio::time::timeout(member.drain, drained).await.is_err() {
        context.log(
            &member.app,
            &member.object(),
            "open requests outlasted the drain time and are cut",
        );
    }
    if member.exited().is_none() {
        context.log(&member.app, &member.object(), "stopping");
    }
    launch::stopping(context, member).await;
    discard(context, member).await
}

/// Stops and removes a process, its log stored to the end. An engine that is away
/// is waited for: nobody else would remember the process.
async fn discard(context: &Arc<Context>, member: &Arc<Member>) -> Result<()> {
    member.retiring.store(true, Ordering::SeqCst);
    loop {
        match end(context, member).await {
            Err(EngineError::Unreachable { .. }) => {}
            outcome => {
                outcome?;
                break;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ENGINE_PAUSE) => {}
            () = context.shutdown.cancelled() => return Err(Failure::Shutdown),
        }
    }
    member.done.cancel();
    context.fleet.remove(&member.id);
    Ok(())
}

async fn end(context: &Context, member: &Member) -> std::result::Result<(), EngineError> {
    match context.engine.stop(&member.id, member.grace).await {
        Ok(()) | Err(EngineError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    collected(context, member).await;
    context.engine.remove(&member.id).await
}

/// Removes a process at once, as when a rollout is undone.
pub async fn drop_now(context: &Arc<Context>, member: &Arc<Member>) -> Result<()> {
    member.routed.store(false, Ordering::SeqCst);
    fleet::publish(context, &member.app, &member.service)?;
    discard(context, member).await
}

/// Makes an app run what its active release says: starts what is missing, retires
/// what is too much. New processes become healthy on their own time.
pub fn converge<'a>(context: &'a Arc<Context>, app: &'a str) -> BoxFuture<'a, Result<()>> {
    // Boxed, for a process that ends calls for this, and this starts processes.
    Box::pin(async move {
        let _alone = context.lock_app(app).await;
        converge_locked(context, app).await
    })
}

/// Converges, and tries again, later and later, for as long as that fails. The
/// reason is written to the app's log when it changes.
pub async fn bring_up(context: &Arc<Context>, app: &str) {
    let mut said = String::new();
    let mut pause = Duration::from_secs(1);
    while let Err(failure) = converge(context, app).await {
        let reason = failure.to_string();
        if matches!(failure, Failure::Shutdown) {
            return;
        }
        if reason != said {
            context.log(
                app,
                "rack",
                &format!("could not bring the app up, trying on: {reason}"),
            );
            said = reason;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_BACKOFF);
    }
    if !said.is_empty() {
        context.log(app, "rack", "the app is up");
    }
}

/// Converges and waits until every process is healthy, within the usual time.
pub async fn scale(context: &Arc<Context>, app: &str) -> Result<()> {
    context.fleet.hold_nothing_back(app);
    converge(context, app).await?;
    let row = context.app(app).await?;
    let plan = Plan::load(context, app, &row.release).await?;
    let deadline = tokio::time::Instant::now() + context.settings.promote_timeout;
    let settled = || {
        plan.services.iter().all(|service| {
            let members = context.fleet.of_service(app, &service.service.name);
            members.len() as u64 == service.count
                && members
                    .iter()
                    .all(|member| member.routed.load(Ordering::SeqCst))
        })
    };
    while !settled() && tokio::time::Instant::now() < deadline {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
            () = context.shutdown.cancelled() => return Ok(()),
        }
    }
    Ok(())
}

/// As [`converge`], for callers that hold the app's lock.
pub async fn converge_locked(context: &Arc<Context>, app: &str) -> Result<()> {
    let Some(row) = context.store.app(app).await? else {
        return Ok(());
    };
    if row.release.is_empty()
        || row.status == rack_api::app::status::DELETING
        || context.shutdown.is_cancelled()
    {
        return Ok(());
    }
    let plan = Plan::load(context, app, &row.release).await?;
    resource::ensure(context, app, &plan.resources).await?;
    let rollouts = context.store.rollouts(app).await?;
    for service in &plan.services {
        let name = &service.service.name;
        let Some(rollout) = rollouts.get(name) else {
            // Not rolled out with the active release: the next promote does it.
            continue;
        };
        context
            .fleet
            .set_route(app, name, rollout::routing(service));
        let (mut current, others): (Vec<_>, Vec<_>) = context
            .fleet
            .of_service(app, name)
            .into_iter()
            .partition(|member| member.rollout == *rollout && member.exited().is_none());
        for member in others {
            in_background(context, retire_task(context, &member));
        }
        while current.len() as u64 > service.count {
            let member = current.pop().expect("more than the count");
            in_background(context, retire_task(context, &member));
        }
        let held_back = context
            .fleet
            .is_held_back(app, name, tokio::time::Instant::now());
        let missing = if held_back {
            0
        } else {
            service.count - current.len() as u64
        };
        // Nobody cancels what has to run.
        let never = CancellationToken::new();
        for _ in 0..missing {
            let member =
                rollout::start(context, app, service, &plan.release.id, rollout, &never).await?;
            settle(context, member, service);
        }
        fleet::publish(context, app, name)?;
    }
    let services: Vec<_> = plan
        .services
        .iter()
        .map(|service| service.service.name.clone())
        .collect();
    fleet::withdraw_others(context, app, &services);
    door::open(context, app, &plan).await
}

fn retire_task(
    context: &Arc<Context>,
    member: &Arc<Member>,
) -> impl Future<Output = Result<()>> + use<> {
    // Marked at once, so that nobody counts it any more.
    member.retiring.store(true, Ordering::SeqCst);
    let (context, member) = (Arc::clone(context), Arc::clone(member));
    async move { retire(&context, &member).await }
}

/// Retires processes in the background; a server that stops meanwhile finds them
/// by their labels again.
pub fn retire_later(context: &Arc<Context>, members: Vec<Arc<Member>>) {
    for member in members {
        in_background(context, retire_task(context, &member));
    }
}

fn in_background(context: &Arc<Context>, work: impl Future<Output = Result<()>> + Send + 'static) {
    context.tasks.spawn(async move {
        if let Err(error) = work.await {
            tracing::error!(%error, "background work failed");
        }
    });
}

/// Waits in the background until a process is healthy, routes it, and watches it
/// from then on. One that does not become healthy is replaced.
pub fn settle(context: &Arc<Context>, member: Arc<Member>, service: &ServicePlan) {
    let context = Arc::clone(context);
    let checks = health::Checks::of(&service.service);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let timeout = context.settings.promote_timeout;
        match health::wait(&context, &member, &checks, timeout).await {
            Ok(()) => {
                route(&context, &member);
                health::watch(&context, &member, &checks).await;
            }
            Err(_) if member.exited().is_some() => {} // `ended` has seen it
            Err(Failure::Shutdown) => {}
            Err(failure) => {
                context.log(
                    &member.app,
                    &member.object(),
                    &format!("{failure}; replacing it"),
                );
                if let Err(error) = context.engine.stop(&member.id, member.grace).await {
                    tracing::error!(%error, "could not stop an unhealthy process");
                }
            }
        }
    });
}

/// Lets requests reach a healthy process.
pub fn route(context: &Context, member: &Member) {
    if member.retiring.load(Ordering::SeqCst) {
        return;
    }
    member.routed.store(true, Ordering::SeqCst);
    if let Err(error) = fleet::publish(context, &member.app, &member.service) {
        context.log(&member.app, &member.object(), &error.to_string());
    }
}

/// Looks after a resource's process: its log, and its end, after which it is
/// started again. Does nothing for one already looked after.
pub fn look_after_resource(context: &Arc<Context>, owner: Owner<'_>, name: &str, id: &str) {
    if !context.fleet.watch(id) {
        return;
    }
    let app = match owner {
        Owner::App(app) => Some(app.to_owned()),
        Owner::Rack => None,
    };
    let (name, id) = (name.to_owned(), id.to_owned());
    let stream = format!("resource/{name}/{}", &id[..id.len().min(12)]);
    let log = match &app {
        Some(app) => context.logs.app(app),
        None => context.logs.rack(),
    };
    let (at, from) = (Arc::clone(context), id.clone());
    context
        .tasks
        .spawn(async move { collect(&at, &log, &stream, &from, &AtomicU64::new(0)).await });
    let at = Arc::clone(context);
    context.tasks.spawn(async move {
        let status = wait_end(&at, &id).await;
        at.fleet.unwatch(&id);
        let Some(status) = status else { return };
        let crashed = matches!(
            at.engine.process(&id).await,
            Ok(Some(ProcessState {
                phase: Phase::Exited(_),
                ..
            }))
        );
        if !crashed {
            // Replaced, deleted with its app, or removed behind our back: what should run
            // is known to those who bring it up.
            match &app {
                Some(app) => bring_up(&at, app).await,
                None => super::rack_resource::bring_up(&at, &name).await,
            }
            return;
        }
        let owner = app.as_deref().map_or(Owner::Rack, Owner::App);
        let crashes = at.fleet.crashed(
            app.as_deref().unwrap_or_default(),
            &format!("resource/{name}"),
        );
        let pause = Duration::from_secs(1 << (crashes - 1).min(6)).min(LONGEST_BACKOFF);
        owner.log(
            &at,
            &name,
            &format!(
                "resource exited with status {status}; starting it again in {} s",
                pause.as_secs()
            ),
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = at.shutdown.cancelled() => return,
        }
        match &app {
            Some(app) => bring_up(&at, app).await,
            None => super::rack_resource::bring_up(&at, &name).await,
        }
    });
}

/// Where the lines of a one-off process go, but for its id (`rack-api.md` §2).
pub fn run_stream(labels: &Labels) -> String {
    let text = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    match text(label::TIMER) {
        "" => format!("service/{}", text(label::NAME)),
        timer => format!("timer/{timer}"),
    }
}

/// The log of a process on its way into that of its app.
pub struct Copied {
    copied: Arc<AtomicU64>,
    collector: tokio::task::JoinHandle<()>,
}

impl Copied {
    /// Begins to copy.
    pub fn begin(context: &Arc<Context>, app: &str, stream: &str, id: &str) -> Self {
        let copied = Arc::new(AtomicU64::new(0));
        let (at, stream, id) = (Arc::clone(context), stream.to_owned(), id.to_owned());
        let (log, count) = (context.logs.app(app), Arc::clone(&copied));
        let collector = tokio::spawn(async move { collect(&at, &log, &stream, &id, &count).await });
        Self { copied, collector }
    }

    /// Waits for the end of the log of a process that has ended.
    pub async fn whole(self, context: &Context, app: &str, stream: &str) {
        // A collector that panicked has read what it will.
        let whole = async { drop(self.collector.await) };
        if !patiently(whole, &self.copied).await {
            lost_end(context, app, stream);
        }
    }
}

/// Looks after a one-off process: its log, its exit status, its removal.
pub fn look_after_run(context: &Arc<Context>, app: &str, stream: &str, id: &str) {
    if !context.fleet.watch(id) {
        return;
    }
    let stream = format!("{stream}/{}", &id[..id.len().min(12)]);
    let (context, app, id) = (Arc::clone(context), app.to_owned(), id.to_owned());
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let lines = Copied::begin(&context, &app, &stream, &id);
        let Some(status) = wait_end(&context, &id).await else {
            return;
        };
        lines.whole(&context, &app, &stream).await;
        if let Err(error) = context
            .store
            .end_own_run(&id[..id.len().min(12)], status, context.now())
            .await
        {
            tracing::error!(%error, "could not record the end of a process");
        }
        if let Err(error) = context.engine.remove(&id).await {
            tracing::warn!(%error, "could not remove a process that has ended");
        }
        context.fleet.unwatch(&id);
    });
}

/// Takes over what a former server of this data directory left running: current
/// processes are looked after again, all others of ours are removed.
pub async fn take_over(context: &Arc<Context>, promoting: &[String]) -> Result<()> {
    let mut current: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let states = context.engine.processes(&context.labels()).await?;
    let short = |state: &ProcessState| state.id[..state.id.len().min(12)].to_owned();
    let alive = states.iter().map(short).collect();
    context.store.end_lost_runs(alive, context.now()).await?;
    for state in states {
        let text = |name: &str| {
            state
                .labels
                .get(name)
                .map(String::as_str)
                .unwrap_or_default()
        };
        let (app, name) = (text(label::APP), text(label::NAME));
        let exists = context.store.app(app).await?.is_some();
        match text(label::KIND) {
            RACK_RESOURCE => {
                // What is not recorded belongs to an operation that is undone or to none.
                if context.store.rack_resource(name).await?.is_none() {
                    context.engine.remove(&state.id).await?;
                } else if state.phase == Phase::Running {
                    look_after_resource(context, Owner::Rack, name, &state.id);
                }
            }
            _ if !exists => context.engine.remove(&state.id).await?,
            SERVICE => {
                if !current.contains_key(app) {
                    current.insert(app.to_owned(), context.store.rollouts(app).await?);
                }
                let wanted = current[app]
                    .get(name)
                    .is_some_and(|rollout| rollout == text(label::ROLLOUT));
                let underway = promoting
                    .iter()
                    .any(|rollout| rollout == text(label::ROLLOUT));
                if (wanted || underway) && state.phase == Phase::Running {
                    adopt(context, &state.id, &state.labels);
                } else {
                    context.engine.remove(&state.id).await?;
                }
            }
            // Those of a rollout that is taken up again are started again.
            super::plan::INIT => context.engine.remove(&state.id).await?,
            super::plan::RUN => match state.phase {
                Phase::Created => context.engine.remove(&state.id).await?,
                _ => look_after_run(context, app, &run_stream(&state.labels), &state.id),
            },
            super::plan::RESOURCE if state.phase == Phase::Running => {
                look_after_resource(context, Owner::App(app), name, &state.id);
            }
            _ => {}
        }
    }
    for app in context.store.apps().await? {
        if app.release.is_empty() {
            continue;
        }
        context
            .fleet
            .set_access(&app.name, access::wanted(&app.parameters));
        let Ok(plan) = Plan::load(context, &app.name, &app.release).await else {
            continue;
        };
        for service in &plan.services {
            context
                .fleet
                .set_route(&app.name, &service.service.name, rollout::routing(service));
            for member in context.fleet.of_service(&app.name, &service.service.name) {
                if !promoting.contains(&member.rollout) {
                    // It was healthy when it was activated, and requests are waiting.
                    member.healthy.store(true, Ordering::SeqCst);
                    route(context, &member);
                    settle(context, member, service);
                }
            }
        }
        door::open(context, &app.name, &plan).await?;
    }
    Ok(())
}
