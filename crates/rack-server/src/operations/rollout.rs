//! Replacing the processes of one service: surge, wait for health, route, drain,
//! stop, within the manifest's minimum and maximum.
//!
//! Where the maximum allows a whole second set (the default), the new set is
//! started beside the old one and takes requests only when the release is
//! activated; otherwise processes are replaced a few at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::error::{Failure, Result};
use super::fleet::{self, Member, Routing};
use super::plan::{SERVICE, ServicePlan};
use super::{health, launch, supervise};
use crate::engine::{EngineError, label};
use crate::router::Rules;

/// Log lines of a failed process that are repeated with the reason.
const LAST_LINES: usize = 5;

/// What all services of one rollout have in common.
pub struct Rollout<'a> {
    /// The rack.
    pub context: &'a Arc<Context>,
    /// App.
    pub app: &'a str,
    /// Release to run.
    pub release: &'a str,
    /// Id of the rollout.
    pub id: &'a str,
    /// Overrides the manifest's minimum percentage.
    pub minimum: Option<u64>,
    /// Overrides the manifest's maximum percentage.
    pub maximum: Option<u64>,
    /// How long a process may take to become healthy.
    pub timeout: Duration,
    /// Ends the rollout from outside.
    pub cancel: &'a CancellationToken,
}

/// How many processes may be started beside the old ones, and how many healthy
/// ones must stay. Pure, so that it can be tested on its own.
pub(crate) fn bounds(count: u64, minimum: u64, maximum: u64) -> (u64, u64) {
    // At least as many as wanted; a maximum below 100 would never end.
    let most = (count * maximum / 100).max(count);
    let least = (count * minimum).div_ceil(100).min(count);
    (most, least)
}

/// How a service is reached that is routed; none for one that is not.
pub fn routing(plan: &ServicePlan) -> Option<Routing> {
    let service = &plan.service;
    let routed = service.port.is_some() && service.reachable_from_outside();
    routed.then(|| Routing {
        domains: service.domains.clone(),
        certificate: service.certificate.clone(),
        rules: Rules {
            timeout: Duration::from_secs(service.timeout),
            sticky: service.sticky,
            redirect: service.redirect,
            // Checked when the manifest was read.
            allow: service
                .whitelist
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
            // Set when it is published: it is the app's to say.
            access: false,
        },
    })
}

/// Starts one process and takes it into the fleet.
pub async fn start(
    context: &Arc<Context>,
    app: &str,
    plan: &ServicePlan,
    release: &str,
    rollout: &str,
    cancel: &CancellationToken,
) -> Result<Arc<Member>> {
    plan.prepare(context, app).await?;
    let mut spec = plan.process(context, app, release, SERVICE);
    spec.labels.insert(label::ROLLOUT.into(), rollout.into());
    let fingerprint = plan.fingerprint(context, app);
    spec.labels.insert(label::FINGERPRINT.into(), fingerprint);
    let id = match context.engine.create(&spec).await {
        Err(EngineError::NotFound { kind: "image", .. }) => return Err(plan.image_is_gone()),
        created => created?,
    };
    let begun = async {
        launch::furnish(context, &id, &spec, &plan.files, &plan.service.name).await?;
        launch::initialize(context, app, plan, release, &id, cancel).await?;
        context.engine.start(&id).await.map_err(|error| {
            Failure::Failed(format!("{}: could not start: {error}", plan.service.name))
        })
    };
    if let Err(failure) = begun.await {
        context.engine.remove(&id).await?;
        return Err(failure);
    }
    let member = supervise::adopt(context, &id, &spec.labels);
    context.log(
        app,
        &member.object(),
        &format!("started for release {release}"),
    );
    if let Err(failure) = launch::started(context, plan, &member).await {
        supervise::drop_now(context, &member).await?;
        return Err(failure);
    }
    Ok(member)
}

impl Rollout<'_> {
    /// Brings a service to the new release, up to but not including the stop of
    /// the old set.
    pub async fn service(&self, plan: &ServicePlan) -> Result<()> {
        let name = &plan.service.name;
        let deployment = &plan.service.deployment;
        let (most, least) = bounds(
            plan.count,
            self.minimum.unwrap_or(deployment.minimum),
            self.maximum.unwrap_or(deployment.maximum),
        );
        let mut new: Vec<Arc<Member>> = self
            .members(name)
            .into_iter()
            .filter(|member| member.rollout == self.id)
            .collect();
        // A server that died may have left some of the new set behind.
        self.become_healthy(plan, &new).await?;
        while (new.len() as u64) < plan.count {
            let old: Vec<_> = self
                .members(name)
                .into_iter()
                .filter(|member| member.rollout != self.id)
                .collect();
            let missing = plan.count - new.len() as u64;
            let room = most.saturating_sub((old.len() + new.len()) as u64);
            let in_place = room < missing;
            if room == 0 {
                let healthy = (old.len() + new.len()) as u64;
                // Progress comes first: with no room at all one has to go.
                let surplus = healthy.saturating_sub(least).max(1).min(missing);
                for member in new.iter().filter(|_| in_place) {
                    supervise::route(self.context, member);
                }
                let gone = old
                    .iter()
                    .take(surplus as usize)
                    .map(|member| supervise::retire(self.context, member));
                future::try_join_all(gone).await?;
                continue;
            }
            let batch = future::try_join_all((0..room.min(missing)).map(|_| {
                start(
                    self.context,
                    self.app,
                    plan,
                    self.release,
                    self.id,
                    self.cancel,
                )
            }))
            .await?;
            self.become_healthy(plan, &batch).await?;
            new.extend(batch);
        }
        Ok(())
    }

    /// Whether fewer processes were started than the service wants.
    pub fn lacks(&self, plan: &ServicePlan) -> bool {
        let members = self.members(&plan.service.name);
        let new = members.iter().filter(|member| member.rollout == self.id);
        (new.count() as u64) < plan.count
    }

    fn members(&self, service: &str) -> Vec<Arc<Member>> {
        self.context.fleet.of_service(self.app, service)
    }

    async fn become_healthy(&self, plan: &ServicePlan, members: &[Arc<Member>]) -> Result<()> {
        let checks = &health::Checks::of(&plan.service);
        let waits = members.iter().map(|member| async move {
            let healthy = health::wait(self.context, member, checks, self.timeout);
            let result = tokio::select! {
                result = healthy => result,
                () = self.cancel.cancelled() => Err(Failure::Cancelled("the promote was cancelled".into())),
            };
            match result {
                Ok(()) => {
                    self.context.log(self.app, &member.object(), "healthy");
                    Ok(())
                }
                Err(failure) => Err(self.explain(member, failure).await),
            }
        });
        future::try_join_all(waits).await.map(drop)
    }

    /// Repeats the last lines of a process that failed, so that the reason stands
    /// where the failure is read.
    async fn explain(&self, member: &Member, failure: Failure) -> Failure {
        if !matches!(failure, Failure::Failed(_)) {
            return failure;
        }
        // The log may lag a little behind the end of its process.
        let mut collected = member.collected.subscribe();
        if member.exited().is_some() {
            let _ = tokio::time::timeout(Duration::from_secs(1), async {
                collected.wait_for(|done| *done).await.is_ok()
            })
            .await;
        }
        self.context
            .log(self.app, &member.object(), &failure.to_string());
        match self
            .context
            .logs
            .app(self.app)
            .last_lines(&member.stream(), LAST_LINES)
            .await
        {
            Ok(lines) => {
                for line in lines {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    self.context
                        .log(self.app, &member.object(), &format!("  | {line}"));
                }
            }
            Err(error) => tracing::error!(%error, "could not read back a log"),
        }
        failure
    }

    /// Lets the new set take all requests and the old set none, service by service.
    pub fn switch(&self, plan: &ServicePlan) -> Result<Vec<Arc<Member>>> {
        let name = &plan.service.name;
        self.context.fleet.set_route(self.app, name, routing(plan));
        let (new, old): (Vec<_>, Vec<_>) = self
            .members(name)
            .into_iter()
            .partition(|member| member.rollout == self.id);
        for member in &new {
            member
                .routed
                .store(true, std::sync::atomic::Ordering::SeqCst);
        }
        for member in &old {
            member
                .routed
                .store(false, std::sync::atomic::Ordering::SeqCst);
        }
        fleet::publish(self.context, self.app, name)?;
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use super::bounds;
    use proptest::prelude::*;

    #[test]
    fn the_defaults_allow_a_second_set() {
        assert_eq!(bounds(1, 50, 200), (2, 1));
        assert_eq!(bounds(4, 50, 200), (8, 2));
        assert_eq!(bounds(3, 50, 150), (4, 2));
    }

    #[test]
    fn singletons_stop_first() {
        assert_eq!(bounds(1, 0, 100), (1, 0));
    }

    proptest! {
        #[test]
        fn bounds_are_possible(count in 0..1000_u64, minimum in 0..100_u64, maximum in 0..400_u64) {
            let (most, least) = bounds(count, minimum, maximum);
            prop_assert!(most >= count);
            prop_assert!(least <= count);
        }
    }
}
