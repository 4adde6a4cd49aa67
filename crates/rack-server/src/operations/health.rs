//! Health of a process: the wait for it to become healthy, and the watch kept after.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use manifest::{Health, Liveness, Port, Service, StartupCheck, StartupProbe};
use tokio::time::Instant;

use super::context::Context;
use super::error::{Failure, Result};
use super::fleet::{self, Member};
use crate::router::{Router, Scheme, Target};

/// Good answers in a row that make a process healthy, bad ones that make it unhealthy.
const IN_A_ROW: u32 = 2;
/// Pause between checks until a process is healthy; its interval applies afterwards.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// How long a wait goes on before the log says what it waits for.
const SILENCE: Duration = Duration::from_secs(5);

/// The checks of a service's processes.
#[derive(Debug, Clone)]
pub struct Checks {
    /// Decides whether a process gets requests.
    pub health: Health,
    /// Decides whether it goes on running.
    liveness: Option<Liveness>,
    /// Must pass once before the others begin.
    startup: Option<StartupProbe>,
}

impl Checks {
    /// Those of a service.
    pub fn of(service: &Service) -> Self {
        Self {
            health: service.health.clone(),
            liveness: service.liveness.clone(),
            // As on racks it is for those that are routed.
            startup: service.startup.clone().filter(|_| service.port.is_some()),
        }
    }
}

/// Waits until a process is healthy. Fails when it ends first or the deadline passes.
pub async fn wait(
    context: &Arc<Context>,
    member: &Member,
    checks: &Checks,
    timeout: Duration,
) -> Result<()> {
    let mut exit = member.exit.subscribe();
    tokio::select! {
        status = async { exit.wait_for(Option::is_some).await.map(|status| *status) } => {
            let status = status.ok().flatten().unwrap_or(-1);
            Err(Failure::Failed(format!(
                "{}: process {} exited with status {status} before it became healthy",
                member.service,
                member.short_id(),
            )))
        }
        () = context.shutdown.cancelled() => Err(Failure::Shutdown),
        found = starts_up(context, member, checks, timeout) => match found {
            Ok(()) => {
                member.healthy.store(true, Ordering::SeqCst);
                Ok(())
            }
            Err(found) => Err(Failure::Failed(format!(
                "{}: process {} {found}",
                member.service,
                member.short_id(),
            ))),
        },
    }
}

/// The startup probe, then the health check; what was found when either has failed.
async fn starts_up(
    context: &Context,
    member: &Member,
    checks: &Checks,
    timeout: Duration,
) -> std::result::Result<(), String> {
    if let Some(probe) = &checks.startup {
        passes(context, member, probe).await?;
    }
    let allowed = timeout + Duration::from_secs(checks.health.grace);
    let deadline = Instant::now() + allowed;
    match become_healthy(context, member, &checks.health, deadline).await {
        None => Ok(()),
        Some(last) => Err(format!(
            "did not become healthy within {} seconds: {last}",
            allowed.as_secs()
        )),
    }
}

async fn passes(
    context: &Context,
    member: &Member,
    probe: &StartupProbe,
) -> std::result::Result<(), String> {
    let timeout = Duration::from_secs(probe.timeout);
    let mut bad = 0;
    tokio::time::sleep(Duration::from_secs(probe.grace)).await;
    loop {
        let found = match (&probe.check, &member.target) {
            (StartupCheck::Port(port), _) => {
                let target = target_of(context, member, *port, Scheme::Other);
                ask(&target, false, "", timeout).await
            }
            (StartupCheck::Path(path), Some(target)) => ask(target, false, path, timeout).await,
            (StartupCheck::Path(_), None) => Ok(()),
        };
        let Err(reason) = found else {
            return Ok(());
        };
        bad += 1;
        if bad >= probe.failures {
            return Err(format!("failed its startup probe {bad} times: {reason}"));
        }
        tokio::time::sleep(Duration::from_secs(probe.interval)).await;
    }
}

/// The port that a check asks: one of its own, or the routable one.
fn asked(context: &Context, member: &Member, port: Option<&Port>) -> Option<Arc<Target>> {
    match port {
        None => member.target.clone(),
        Some(port) => {
            let scheme = Scheme::of(&port.scheme);
            Some(target_of(context, member, port.port, scheme))
        }
    }
}

fn target_of(context: &Context, member: &Member, port: u16, scheme: Scheme) -> Arc<Target> {
    Target::new(Arc::clone(&context.engine), &member.id, port, scheme)
}

/// Returns nothing when healthy, the last finding when the deadline has passed.
async fn become_healthy(
    context: &Context,
    member: &Member,
    health: &Health,
    deadline: Instant,
) -> Option<String> {
    let routed = member.target.as_ref().filter(|_| !health.disable);
    let Some(target) = routed.and_then(|_| asked(context, member, health.port.as_ref())) else {
        tokio::time::sleep(context.settings.steady).await;
        return None;
    };
    let mut good = 0;
    let mut pause = FIRST_PAUSE;
    let mut silent_since = Instant::now();
    loop {
        let found = check(&target, health).await;
        match found {
            Ok(()) => {
                good += 1;
                if good == IN_A_ROW {
                    return None;
                }
                pause = FIRST_PAUSE;
            }
            Err(reason) => {
                good = 0;
                let now = Instant::now();
                if now >= deadline {
                    return Some(reason);
                }
                if now.duration_since(silent_since) >= SILENCE {
                    silent_since = now;
                    let text = format!("waiting to become healthy: {reason}");
                    context.log(&member.app, &member.object(), &text);
                }
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn check(target: &Arc<Target>, health: &Health) -> std::result::Result<(), String> {
    let timeout = Duration::from_secs(health.timeout.max(1));
    ask(target, health.grpc, &health.path, timeout).await
}

/// One question: 200–399 and 401 are good (`builds-releases-runtime.md` §3.3).
async fn ask(
    target: &Arc<Target>,
    grpc: bool,
    path: &str,
    timeout: Duration,
) -> std::result::Result<(), String> {
    let asked = match target.scheme() {
        Scheme::Http | Scheme::Https => None,
        Scheme::Grpc | Scheme::SecureGrpc if grpc => {
            Some(Router::probe_grpc(target, timeout).await)
        }
        // It speaks something else: that it listens is all that can be asked of it.
        _ => Some(Router::probe_connect(target, timeout).await),
    };
    if let Some(answer) = asked {
        let port = target.port();
        return answer.map_err(|error| format!("port {port}: {error}"));
    }
    match Router::probe(target, path, timeout).await {
        Ok(status) if (200..400).contains(&status.as_u16()) || status.as_u16() == 401 => Ok(()),
        Ok(status) => Err(format!("GET {path} answered {}", status.as_u16())),
        Err(error) => Err(format!("GET {path}: {error}")),
    }
}

/// Watches a process for the rest of its life: takes it out of the route when it
/// fails its health check, and back in when it passes again; has it restarted when it
/// fails its liveness check.
pub async fn watch(context: &Arc<Context>, member: &Arc<Member>, checks: &Checks) {
    futures::join!(
        watch_health(context, member, &checks.health),
        watch_liveness(context, member, checks),
    );
}

async fn watch_liveness(context: &Arc<Context>, member: &Arc<Member>, checks: &Checks) {
    let Some(liveness) = &checks.liveness else {
        return;
    };
    let Some(target) = asked(context, member, liveness.port.as_ref()) else {
        return;
    };
    let grpc = checks.health.grpc;
    let timeout = Duration::from_secs(liveness.timeout);
    let mut pause = Duration::from_secs(liveness.grace);
    let mut bad = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = member.done.cancelled() => return,
            () = context.shutdown.cancelled() => return,
        }
        pause = Duration::from_secs(liveness.interval);
        let Err(reason) = ask(&target, grpc, &liveness.path, timeout).await else {
            bad = 0;
            continue;
        };
        bad += 1;
        if bad < liveness.failures {
            continue;
        }
        if member.retiring.load(Ordering::SeqCst) || member.exited().is_some() {
            return;
        }
        let text = format!("failed its liveness check {bad} times, stopping it: {reason}");
        context.log(&member.app, &member.object(), &text);
        // Its end is noticed like any other, and another one is started.
        if let Err(error) = context.engine.stop(&member.id, member.grace).await {
            tracing::error!(%error, "could not stop a process that failed its liveness check");
            bad = 0;
            continue;
        }
        return;
    }
}

async fn watch_health(context: &Arc<Context>, member: &Arc<Member>, health: &Health) {
    let routed = member.target.as_ref().filter(|_| !health.disable);
    let Some(target) = routed.and_then(|_| asked(context, member, health.port.as_ref())) else {
        return;
    };
    let interval = Duration::from_secs(health.interval.max(1));
    let (mut good, mut bad) = (0, 0);
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = member.done.cancelled() => return,
            () = context.shutdown.cancelled() => return,
        }
        let was = member.healthy.load(Ordering::SeqCst);
        match check(&target, health).await {
            Ok(()) => (good, bad) = (good + 1, 0),
            Err(reason) => {
                (good, bad) = (0, bad + 1);
                if was && bad == IN_A_ROW && !member.retiring.load(Ordering::SeqCst) {
                    context.log(
                        &member.app,
                        &member.object(),
                        &format!("unhealthy, taken out of the route: {reason}"),
                    );
                }
            }
        }
        let is = if was {
            bad < IN_A_ROW
        } else {
            good >= IN_A_ROW
        };
        if is != was && !member.retiring.load(Ordering::SeqCst) {
            member.healthy.store(is, Ordering::SeqCst);
            if is {
                context.log(&member.app, &member.object(), "healthy again");
            }
            if let Err(error) = fleet::publish(context, &member.app, &member.service) {
                tracing::error!(%error, "could not publish a route");
            }
        }
    }
}
