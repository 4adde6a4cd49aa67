//! The service processes a server looks after, and the routes that follow from them.
//!
//! The engine knows which containers exist and the database which of them are
//! wanted; the fleet holds what neither can: who is healthy, who takes requests,
//! who is on the way out. It is rebuilt from the engine's labels at start.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::{Failure, Result};
use crate::router::{Key, Lane, Rules, Target};

/// One service process.
pub struct Member {
    /// Full engine id.
    pub id: String,
    /// App.
    pub app: String,
    /// Service.
    pub service: String,
    /// Release it runs.
    pub release: String,
    /// Rollout that started it.
    pub rollout: String,
    /// Stands for everything it was started with but its release.
    pub fingerprint: String,
    /// Processor share asked for, 1024 for one processor.
    pub cpu: u64,
    /// Memory asked for in MiB.
    pub memory: u64,
    /// Time between terminate and kill.
    pub grace: Duration,
    /// Time open requests get before it is stopped.
    pub drain: Duration,
    /// Run inside it before it is told to end.
    pub pre_stop: Option<String>,
    /// Where requests go; none without a routable port.
    pub target: Option<Arc<Target>>,
    /// Where connections through doors go.
    pub lane: Arc<Lane>,
    /// Passes its health check, or has none.
    pub healthy: AtomicBool,
    /// Takes requests when healthy.
    pub routed: AtomicBool,
    /// Is being stopped by us; its end is no crash.
    pub retiring: AtomicBool,
    /// Exit status once it has ended.
    pub exit: watch::Sender<Option<i64>>,
    /// True once its log is stored to the end.
    pub collected: watch::Sender<bool>,
    /// Lines of its log that are stored so far.
    pub copied: AtomicU64,
    /// Ends the tasks that look after it.
    pub done: CancellationToken,
}

impl Member {
    /// Process id as the API shows it.
    pub fn short_id(&self) -> &str {
        &self.id[..self.id.len().min(12)]
    }

    /// Name in platform log lines.
    pub fn object(&self) -> String {
        format!("{}-{}", self.service, self.short_id())
    }

    /// Stream of its own log lines.
    pub fn stream(&self) -> String {
        format!("service/{}/{}", self.service, self.short_id())
    }

    /// Whether it has ended.
    pub fn exited(&self) -> Option<i64> {
        *self.exit.borrow()
    }
}

/// How a service is reached besides its own host name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    /// Custom domains.
    pub domains: Vec<String>,
    /// Id of the certificate the service names itself.
    pub certificate: Option<String>,
    /// What it says of how requests reach it.
    pub rules: Rules,
}

#[derive(Default)]
struct State {
    members: HashMap<String, Arc<Member>>,
    /// How the services that are routed are reached.
    routes: HashMap<(String, String), Routing>,
    /// Apps whose requests are not told.
    quiet: HashSet<String>,
    crashes: HashMap<(String, String), (u32, tokio::time::Instant)>,
    /// Services that are not started before this time, as they crash again and again.
    held_back: HashMap<(String, String), tokio::time::Instant>,
    /// Resources and one-off processes that have their tasks.
    watched: HashSet<String>,
    /// Resources known to accept connections.
    ready: HashSet<String>,
}

/// See the module.
#[derive(Default)]
pub struct Fleet {
    state: Mutex<State>,
    /// Told when something begins to run.
    began: Notify,
}

/// Crashes longer apart than this are unrelated.
const CRASH_MEMORY: Duration = Duration::from_secs(300);

impl Fleet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a process.
    pub fn add(&self, member: Arc<Member>) {
        self.state().members.insert(member.id.clone(), member);
        self.began.notify_waiters();
    }

    /// Resolves when anything runs.
    pub async fn something_runs(&self) {
        loop {
            let began = self.began.notified();
            tokio::pin!(began);
            began.as_mut().enable();
            {
                let state = self.state();
                if !state.members.is_empty() || !state.watched.is_empty() {
                    return;
                }
            }
            began.await;
        }
    }

    /// All processes of services, those on the way out included.
    pub fn all(&self) -> Vec<Arc<Member>> {
        self.state().members.values().cloned().collect()
    }

    /// Ids of the resources and one-off processes that are looked after.
    pub fn watched(&self) -> Vec<String> {
        self.state().watched.iter().cloned().collect()
    }

    /// Forgets a process.
    pub fn remove(&self, id: &str) {
        self.state().members.remove(id);
    }

    /// Looks a process up by full id.
    pub fn get(&self, id: &str) -> Option<Arc<Member>> {
        self.state().members.get(id).cloned()
    }

    /// Processes of a service that are not on the way out.
    pub fn of_service(&self, app: &str, service: &str) -> Vec<Arc<Member>> {
        self.of_app(app)
            .into_iter()
            .filter(|member| member.service == service)
            .collect()
    }

    /// All processes of an app, those on the way out included.
    pub fn all_of_app(&self, app: &str) -> Vec<Arc<Member>> {
        self.state()
            .members
            .values()
            .filter(|member| member.app == app)
            .cloned()
            .collect()
    }

    /// Processes of an app that are not on the way out, in a stable order.
    pub fn of_app(&self, app: &str) -> Vec<Arc<Member>> {
        let mut members: Vec<_> = self
            .state()
            .members
            .values()
            .filter(|member| member.app == app && !member.retiring.load(Ordering::SeqCst))
            .cloned()
            .collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        members
    }

    /// Claims the right to look after a process; false when somebody has it.
    pub fn watch(&self, id: &str) -> bool {
        let claimed = self.state().watched.insert(id.to_owned());
        self.began.notify_waiters();
        claimed
    }

    /// Gives the right up when the process has ended.
    pub fn unwatch(&self, id: &str) {
        let mut state = self.state();
        state.watched.remove(id);
        state.ready.remove(id);
    }

    /// Whether more may come into the log of a process, named by the first digits of its id.
    pub fn may_speak(&self, id: &str) -> bool {
        let state = self.state();
        let watched = state.watched.iter().any(|known| known.starts_with(id));
        let speaks = |(known, member): (&String, &Arc<Member>)| {
            known.starts_with(id) && !*member.collected.borrow()
        };
        watched || state.members.iter().any(speaks)
    }

    /// Remembers that a resource's process accepts connections.
    pub fn set_ready(&self, id: &str) {
        self.state().ready.insert(id.to_owned());
    }

    /// Whether a resource's process was seen to accept connections since it started.
    pub fn is_ready(&self, id: &str) -> bool {
        self.state().ready.contains(id)
    }

    /// Counts a crash of a service and says how often it has crashed of late.
    pub fn crashed(&self, app: &str, service: &str) -> u32 {
        let now = tokio::time::Instant::now();
        let mut state = self.state();
        let (count, last) = state
            .crashes
            .entry((app.to_owned(), service.to_owned()))
            .or_insert((0, now));
        *count = if now.duration_since(*last) > CRASH_MEMORY {
            1
        } else {
            *count + 1
        };
        *last = now;
        *count
    }

    /// How often a service has crashed of late.
    pub fn crashes(&self, app: &str, service: &str) -> u32 {
        let state = self.state();
        let known = state.crashes.get(&(app.to_owned(), service.to_owned()));
        let recent = known.filter(|(_, last)| last.elapsed() <= CRASH_MEMORY);
        recent.map_or(0, |(count, _)| *count)
    }

    /// Forgets the crashes of an app, whose release has changed.
    pub fn forget_crashes(&self, app: &str) {
        let mut state = self.state();
        state.crashes.retain(|(of, _), _| of != app);
        state.held_back.retain(|(of, _), _| of != app);
    }

    /// Keeps a service from being started before a time, or longer if that was said before.
    pub fn hold_back(&self, app: &str, service: &str, until: tokio::time::Instant) {
        let mut state = self.state();
        let key = (app.to_owned(), service.to_owned());
        let held = state.held_back.entry(key).or_insert(until);
        *held = until.max(*held);
    }

    /// Whether a service is to be left alone at this time.
    pub fn is_held_back(&self, app: &str, service: &str, now: tokio::time::Instant) -> bool {
        let state = self.state();
        let held = state.held_back.get(&(app.to_owned(), service.to_owned()));
        held.is_some_and(|until| now < *until)
    }

    /// Lets a whole app be started at once, for somebody has asked for it.
    pub fn hold_nothing_back(&self, app: &str) {
        self.state().held_back.retain(|(of, _), _| of != app);
    }

    /// Sets whether the requests to an app are told; takes effect with the next [`publish`].
    pub fn set_access(&self, app: &str, told: bool) {
        let mut state = self.state();
        if told {
            state.quiet.remove(app);
        } else {
            state.quiet.insert(app.to_owned());
        }
    }

    /// Sets how a service is reached, or that it is not routed; takes effect with the
    /// next [`publish`].
    pub fn set_route(&self, app: &str, service: &str, routing: Option<Routing>) {
        let key = (app.to_owned(), service.to_owned());
        match routing {
            Some(routing) => self.state().routes.insert(key, routing),
            None => self.state().routes.remove(&key),
        };
    }

    /// App and service of a route that names a certificate.
    pub fn certificate_user(&self, id: &str) -> Option<(String, String)> {
        let state = self.state();
        let mut users = state.routes.iter();
        users
            .find(|(_, routing)| routing.certificate.as_deref() == Some(id))
            .map(|(key, _)| key.clone())
    }

    /// Services of an app that have a route.
    pub fn routed_services(&self, app: &str) -> Vec<String> {
        self.state()
            .routes
            .keys()
            .filter(|(of, _)| of == app)
            .map(|(_, service)| service.clone())
            .collect()
    }
}

/// Routes a service to its routed and healthy processes, at once.
pub fn publish(context: &Context, app: &str, service: &str) -> Result<()> {
    let key = Key::new(&context.rack, app, service);
    let state = context.fleet.state();
    let open: Vec<_> = state
        .members
        .values()
        .filter(|member| member.app == app && member.service == service)
        .filter(|member| {
            member.routed.load(Ordering::SeqCst) && member.healthy.load(Ordering::SeqCst)
        })
        .collect();
    let lanes = open.iter().map(|member| Arc::clone(&member.lane)).collect();
    context.doors.publish(app, service, lanes);
    let Some(routing) = state.routes.get(&(app.to_owned(), service.to_owned())) else {
        drop(state);
        context.router.withdraw(&key);
        return Ok(());
    };
    let rules = Rules {
        access: !state.quiet.contains(app),
        ..routing.rules.clone()
    };
    let targets = open
        .iter()
        .filter_map(|member| member.target.clone())
        .collect();
    // Under the lock, so that of two changes the later one is also published later.
    context
        .router
        .certificates()
        .choose(&key, routing.certificate.as_deref());
    context
        .router
        .publish_with(key, routing.domains.clone(), targets, rules)
        .map(drop)
        .map_err(|conflict| Failure::Conflict(conflict.to_string()))
}

/// Takes the routes of services away that are not in the list.
pub fn withdraw_others(context: &Context, app: &str, services: &[String]) {
    for service in context.fleet.routed_services(app) {
        if !services.contains(&service) {
            context.fleet.set_route(app, &service, None);
            context
                .router
                .withdraw(&Key::new(&context.rack, app, service));
        }
    }
    if services.is_empty() {
        context.doors.forget_app(app);
        context.fleet.set_access(app, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_crashes_waits_its_own_time() {
        let fleet = Fleet::default();
        let now = tokio::time::Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        fleet.hold_back("a", "worker", after(8));
        // Another of its processes with a shorter pause changes nothing.
        fleet.hold_back("a", "worker", after(2));
        fleet.hold_back("b", "worker", after(60));
        assert!(fleet.is_held_back("a", "worker", after(7)));
        assert!(!fleet.is_held_back("a", "web", now));
        assert!(!fleet.is_held_back("a", "worker", after(8)));
        fleet.hold_nothing_back("a");
        assert!(!fleet.is_held_back("a", "worker", now));
        assert!(fleet.is_held_back("b", "worker", now));
    }
}
