//! Making a release the active one.
//!
//! `resources` → `rollout` → `activate` → `retire`. Up to `activate` everything
//! is undone on failure and the old release keeps serving; from then on the new
//! one is the truth and a restarted server finishes the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures::future;
use rack_api::app::status;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::door;
use super::error::{Failure, Result};
use super::plan::{Plan, ServicePlan};
use super::rollout::{self, Rollout};
use super::{Operation, event, fleet, health, resource, supervise};
use crate::engine::label;
use crate::router::Key;
use crate::store::ScaleRow;

/// Another size of a service, which goes with the promote that gives it to processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rescale {
    /// Service.
    pub service: String,
    /// What was set before.
    pub before: ScaleRow,
    /// What is to be set.
    pub after: ScaleRow,
}

/// A promote, or the restart of some services of the active release.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Promote {
    /// App.
    pub app: String,
    /// Release to activate.
    pub release: String,
    /// Id of the rollout, carried by the processes it starts.
    pub rollout: String,
    /// Only these services; all when absent.
    pub services: Option<Vec<String>>,
    /// Overrides the manifest's minimum percentage.
    pub minimum: Option<u64>,
    /// Overrides the manifest's maximum percentage.
    pub maximum: Option<u64>,
    /// Seconds a process may take to become healthy.
    pub timeout: Option<u64>,
    /// Size its service gets with it.
    #[serde(default)]
    pub rescale: Option<Rescale>,
    /// Leaves alone what would run just as it does.
    #[serde(default)]
    pub only_changed: bool,
    /// What is left alone, decided before anything changes.
    #[serde(default)]
    pub(crate) kept: Kept,
}

/// Services whose processes go on with the next release.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    services: Vec<String>,
    /// None is replaced, so nothing but the release itself tells of the promote.
    all: bool,
}

/// Everything that can be checked while nothing has changed: manifest, required
/// environment, images, resource types, host names.
pub async fn validate(context: &Context, app: &str, release: &str) -> Result<Plan> {
    let plan = Plan::load(context, app, release).await?;
    plan.check_images(context).await?;
    for service in &plan.services {
        if let Some(routing) = rollout::routing(service) {
            let key = Key::new(&context.rack, app, &service.service.name);
            context
                .router
                .check(&key, &routing.domains)
                .map_err(|claimed| Failure::Conflict(claimed.to_string()))?;
        }
    }
    Ok(plan)
}

impl Promote {
    /// A promote of a release under a fresh rollout.
    pub fn new(app: &str, release: &str) -> Self {
        Self {
            app: app.to_owned(),
            release: release.to_owned(),
            rollout: rack_api::id::hex(12),
            services: None,
            minimum: None,
            maximum: None,
            timeout: None,
            rescale: None,
            only_changed: false,
            kept: Kept::default(),
        }
    }

    fn wants(&self, service: &str) -> bool {
        let named = self
            .services
            .as_ref()
            .is_none_or(|services| services.iter().any(|name| name == service));
        named && !self.keeps(service)
    }

    fn keeps(&self, service: &str) -> bool {
        self.kept.services.iter().any(|name| name == service)
    }

    /// Finds the services that would run just as they do.
    async fn find_kept(&self, context: &Context, plan: &Plan) -> Result<Kept> {
        let rollouts = context.store.rollouts(&self.app).await?;
        let unchanged = |service: &&ServicePlan| {
            let name = &service.service.name;
            let fingerprint = service.fingerprint(context, &self.app);
            let members = context.fleet.of_service(&self.app, name);
            members.len() as u64 == service.count
                && members.iter().all(|member| {
                    rollouts.get(name) == Some(&member.rollout)
                        && member.exited().is_none()
                        && member.routed.load(Ordering::SeqCst)
                        && member.healthy.load(Ordering::SeqCst)
                        && member.fingerprint == fingerprint
                })
        };
        let services: Vec<_> = plan
            .services
            .iter()
            .filter(unchanged)
            .map(|service| service.service.name.clone())
            .collect();
        Ok(Kept {
            all: services.len() == plan.services.len(),
            services,
        })
    }

    /// Reaches what goes on as the new release says.
    fn publish_kept(&self, context: &Context, plan: &Plan) -> Result<()> {
        for service in &plan.services {
            let name = &service.service.name;
            if self.keeps(name) {
                let routing = rollout::routing(service);
                context.fleet.set_route(&self.app, name, routing);
                fleet::publish(context, &self.app, name)?;
            }
        }
        Ok(())
    }

    fn rollout<'a>(
        &'a self,
        context: &'a Arc<Context>,
        cancel: &'a CancellationToken,
    ) -> Rollout<'a> {
        Rollout {
            context,
            app: &self.app,
            release: &self.release,
            id: &self.rollout,
            minimum: self.minimum,
            maximum: self.maximum,
            timeout: self
                .timeout
                .map_or(context.settings.promote_timeout, Duration::from_secs),
            cancel,
        }
    }

    fn token(&self, context: &Context) -> CancellationToken {
        context.promote_token(&self.app, &self.rollout)
    }

    /// Whether the release was activated by this promote.
    async fn activated(&self, context: &Context) -> Result<bool> {
        if self.kept.all {
            return Ok(context.app(&self.app).await?.release == self.release);
        }
        let rollouts = context.store.rollouts(&self.app).await?;
        Ok(rollouts.values().any(|rollout| *rollout == self.rollout))
    }

    /// Makes up for what a failure after the activation has left out.
    async fn go_forward(&self, context: &Arc<Context>) -> Result<()> {
        let plan = self.plan(context).await?;
        for member in context.fleet.of_app(&self.app) {
            let service = plan
                .services
                .iter()
                .find(|service| service.service.name == member.service);
            if let Some(service) = service.filter(|_| member.rollout == self.rollout) {
                supervise::settle(context, member, service);
            }
        }
        supervise::converge_locked(context, &self.app).await
    }

    async fn plan(&self, context: &Context) -> Result<Plan> {
        Plan::load(context, &self.app, &self.release).await
    }
}

#[async_trait]
impl Operation for Promote {
    const KIND: &'static str = "promote";
    const STEPS: &'static [&'static str] = &["resources", "rollout", "activate", "retire"];
    const RESUMES: bool = true;

    fn app(&self) -> &str {
        &self.app
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        let cancel = self.token(context);
        let plan = self.plan(context).await?;
        if step == "resources" && self.only_changed {
            self.kept = self.find_kept(context, &plan).await?;
        }
        let rollout = self.rollout(context, &cancel);
        let wanted = || {
            plan.services
                .iter()
                .filter(|service| self.wants(&service.service.name))
        };
        match step {
            "resources" => {
                context.set_app_status(&self.app, status::UPDATING).await?;
                if let Some(rescale) = &self.rescale {
                    context
                        .store
                        .set_scale(&self.app, &rescale.service, rescale.after)
                        .await?;
                }
                if cancel.is_cancelled() {
                    return Err(Failure::Cancelled("the promote was cancelled".into()));
                }
                for warning in &plan.warnings {
                    context.log(&self.app, "manifest", warning);
                }
                for service in wanted() {
                    if let Some(id) = &service.service.certificate
                        && context.store.certificate(id).await?.is_none()
                    {
                        let name = &service.service.name;
                        let text = format!(
                            "service {name} names certificate {id}, which this rack does not have: the best of the others is used"
                        );
                        context.log(&self.app, "manifest", &text);
                    }
                }
                resource::ensure(context, &self.app, &plan.linked).await?;
                resource::ensure(context, &self.app, &plan.resources).await
            }
            "rollout" => {
                context.log(
                    &self.app,
                    "promote",
                    &format!("promoting release {}", self.release),
                );
                if !self.kept.services.is_empty() {
                    let kept = self.kept.services.join(", ");
                    let text = format!("unchanged, left as they run: {kept}");
                    context.log(&self.app, "promote", &text);
                }
                // All services are waited for even when one fails: undoing must not
                // race with processes that are still being started.
                let results =
                    future::join_all(wanted().map(|service| rollout.service(service))).await;
                results.into_iter().collect::<Result<Vec<()>>>().map(drop)
            }
            "activate" => {
                for service in wanted() {
                    // Some may have ended while no server looked after them.
                    if rollout.lacks(service) {
                        rollout.service(service).await?;
                    }
                }
                for member in context
                    .fleet
                    .of_app(&self.app)
                    .iter()
                    .filter(|member| member.rollout == self.rollout)
                {
                    if let Some(status) = member.exited() {
                        return Err(Failure::Failed(format!(
                            "{}: process {} exited with status {status} before the release was activated",
                            member.service,
                            member.short_id()
                        )));
                    }
                }
                let services: Vec<_> = wanted()
                    .map(|service| service.service.name.clone())
                    .collect();
                let others = self.services.is_none().then_some(&*self.kept.services);
                context
                    .store
                    .activate(&self.app, &self.release, &self.rollout, &services, others)
                    .await?;
                self.publish_kept(context, &plan)?;
                for service in wanted() {
                    rollout.switch(service)?;
                }
                door::open(context, &self.app, &plan).await
            }
            _ => {
                // A server that took the operation up here has routed nothing yet.
                self.publish_kept(context, &plan)?;
                for service in wanted() {
                    rollout.switch(service)?;
                }
                let names: Vec<_> = plan
                    .services
                    .iter()
                    .map(|service| service.service.name.clone())
                    .collect();
                let mut old = Vec::new();
                for member in context.fleet.of_app(&self.app) {
                    let service = plan
                        .services
                        .iter()
                        .find(|service| service.service.name == member.service);
                    match service {
                        Some(service) if member.rollout == self.rollout => {
                            let (context, member) = (Arc::clone(context), Arc::clone(&member));
                            let checks = health::Checks::of(&service.service);
                            let tasks = context.tasks.clone();
                            tasks.spawn(
                                async move { health::watch(&context, &member, &checks).await },
                            );
                        }
                        Some(_) if !self.wants(&member.service) => {}
                        _ => old.push(member),
                    }
                }
                supervise::retire_later(context, old);
                fleet::withdraw_others(context, &self.app, &names);
                if self.services.is_none() {
                    resource::retire_others(context, &self.app, &plan.resources).await?;
                }
                Ok(())
            }
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        let activated = self.activated(context).await?;
        if !activated {
            // Whoever waits for the app learns from this that the release will not be.
            context.set_app_status(&self.app, status::ROLLBACK).await?;
            if let Some(rescale) = &self.rescale {
                context
                    .store
                    .restore_scale(&self.app, &rescale.service, rescale.after, rescale.before)
                    .await?;
            }
        }
        if step == "resources" && !activated {
            // Their data stay; the processes are again those that the active release wants.
            return supervise::converge_locked(context, &self.app).await;
        }
        if step != "rollout" {
            // What follows the rollout is undone with it, or not at all.
            return Ok(());
        }
        if activated {
            // The release is the truth already, and the old set may be gone.
            return self.go_forward(context).await;
        }
        context.log(&self.app, "promote", "rolling back");
        for member in context.fleet.all_of_app(&self.app) {
            if member.rollout == self.rollout {
                supervise::drop_now(context, &member).await?;
            }
        }
        // Containers that were created but never got into the fleet.
        let mut labels = context.app_labels(&self.app);
        labels.insert(label::ROLLOUT.into(), self.rollout.clone());
        for process in context.engine.processes(&labels).await? {
            context.engine.remove(&process.id).await?;
        }
        // Old processes may have made room for new ones.
        supervise::converge_locked(context, &self.app).await
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        context.promote_ended(&self.app, &self.rollout);
        let activated = self.activated(context).await?;
        if let Some(failure) = failure.filter(|_| activated) {
            context.log(
                &self.app,
                "promote",
                &format!("trouble after the release was activated: {failure}"),
            );
        }
        match failure.filter(|_| !activated) {
            None => {
                context.fleet.forget_crashes(&self.app);
                context.log(
                    &self.app,
                    "promote",
                    &format!("release {} is active", self.release),
                );
            }
            Some(failure) => {
                let reason = failure.to_string();
                context
                    .store
                    .set_release_reason(&self.release, &reason)
                    .await?;
                context.log(
                    &self.app,
                    "promote",
                    &format!("release {} was rolled back: {reason}", self.release),
                );
            }
        }
        if self.services.is_none() {
            let data = [("app", self.app.as_str()), ("id", self.release.as_str())];
            let failure = failure.filter(|_| !activated);
            event::tell(context, "release:promote", &data, failure).await;
        }
        context.set_app_settled(&self.app).await
    }
}
