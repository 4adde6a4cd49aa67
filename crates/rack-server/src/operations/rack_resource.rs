//! Making, changing and removing resources of the rack, and keeping them running.
//!
//! [`Provide`]: `process` → `record`; what fails is undone: a new resource is removed
//! again, a changed one gets its old options back. [`Remove`]: `process` → `record`; one
//! that was begun is finished, by a later server if need be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rack_api::resource::status;
use serde::{Deserialize, Serialize};

use super::context::Context;
use super::error::{Failure, Result};
use super::resource::{self, Owner, ResourcePlan};
use super::webhook::WEBHOOK;
use super::{Operation, event};
use crate::store::RackResourceRow;

/// Longest pause before a resource that does not come up is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A resource is made, or given other options.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provide {
    /// Name.
    pub name: String,
    /// Type word.
    pub kind: String,
    /// Options it had; none for a new one.
    pub before: Option<BTreeMap<String, String>>,
    /// Options it is to have.
    pub parameters: BTreeMap<String, String>,
}

async fn row(context: &Context, name: &str) -> Result<RackResourceRow> {
    let found = context.store.rack_resource(name).await?;
    found.ok_or_else(|| Failure::NotFound(format!("no such resource: {name}")))
}

/// Runs a resource with these options, and waits until it accepts connections.
async fn run(
    context: &Arc<Context>,
    name: &str,
    parameters: BTreeMap<String, String>,
) -> Result<()> {
    let row = RackResourceRow {
        parameters,
        ..row(context, name).await?
    };
    let plan = ResourcePlan::of_rack(context, &row)?;
    resource::ensure(context, "", &[plan]).await
}

/// Removes the process of a resource and its data.
async fn clear(context: &Arc<Context>, name: &str) -> Result<()> {
    let labels = Owner::Rack.process_labels(context, name);
    Ok(context.engine.remove_labelled(&labels).await?)
}

#[async_trait]
impl Operation for Provide {
    const KIND: &'static str = "provide";
    const STEPS: &'static [&'static str] = &["process", "record"];
    const RESUMES: bool = true;

    fn app(&self) -> &'static str {
        ""
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match step {
            "process" => run(context, &self.name, self.parameters.clone()).await,
            _ => Ok(context
                .store
                .set_rack_resource(&self.name, &self.parameters, status::RUNNING)
                .await?),
        }
    }

    async fn undo(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        match (step, &self.before) {
            ("process", None) => clear(context, &self.name).await,
            ("process", Some(before)) => run(context, &self.name, before.clone()).await,
            (_, Some(before)) => Ok(context
                .store
                .set_rack_resource(&self.name, before, status::UPDATING)
                .await?),
            // Not promised any more: nobody brings up what is about to be removed.
            (_, None) => Ok(context
                .store
                .set_rack_resource(&self.name, &self.parameters, status::CREATING)
                .await?),
        }
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        let name = &self.name;
        let new = self.before.is_none();
        match (failure, &self.before) {
            (None, _) => {
                let done = if new { "created" } else { "updated" };
                context.rack_log(&format!("resource {name} {done}"));
            }
            (Some(failure), None) => {
                context.store.delete_rack_resource(name).await?;
                context.rack_log(&format!("resource {name} could not be created: {failure}"));
            }
            (Some(failure), Some(before)) => {
                context
                    .store
                    .set_rack_resource(name, before, status::RUNNING)
                    .await?;
                context.rack_log(&format!(
                    "resource {name} could not be updated and is as it was: {failure}"
                ));
            }
        }
        if new {
            let data = [("name", name.as_str()), ("type", self.kind.as_str())];
            event::tell(context, "resource:create", &data, failure).await;
        }
        Ok(())
    }
}

/// A resource is removed, with its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remove {
    /// Name.
    pub name: String,
    /// Type word.
    pub kind: String,
}

#[async_trait]
impl Operation for Remove {
    const KIND: &'static str = "remove";
    const STEPS: &'static [&'static str] = &["process", "record"];
    const RESUMES: bool = true;

    fn app(&self) -> &'static str {
        ""
    }

    async fn step(&mut self, context: &Arc<Context>, step: &'static str) -> Result<()> {
        if step == "process" {
            return clear(context, &self.name).await;
        }
        context.store.delete_rack_resource(&self.name).await?;
        context.hooks.end(&self.name);
        Ok(())
    }

    async fn undo(&mut self, _context: &Arc<Context>, _step: &'static str) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self, context: &Arc<Context>, failure: Option<&Failure>) -> Result<()> {
        let name = &self.name;
        match failure {
            None => context.rack_log(&format!("resource {name} deleted")),
            // It stays `deleting`; asking again takes it up where it stopped.
            Some(failure) => {
                context.rack_log(&format!("resource {name} could not be deleted: {failure}"));
            }
        }
        let data = [("name", name.as_str()), ("type", self.kind.as_str())];
        event::tell(context, "resource:delete", &data, failure).await;
        Ok(())
    }
}

/// Runs a resource that should run, and tries again, later and later, for as long as
/// that fails.
pub fn bring_up<'a>(context: &'a Arc<Context>, name: &'a str) -> BoxFuture<'a, ()> {
    // Boxed, for a process that ends calls for this, and this starts processes.
    Box::pin(async move {
        let mut said = String::new();
        let mut pause = Duration::from_secs(1);
        loop {
            let failure = match try_bring_up(context, name).await {
                Ok(()) => break,
                Err(Failure::Shutdown) => return,
                Err(failure) => failure.to_string(),
            };
            if failure != said {
                let text = format!("could not be brought up, trying on: {failure}");
                Owner::Rack.log(context, name, &text);
                said = failure;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = context.shutdown.cancelled() => return,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if !said.is_empty() {
            Owner::Rack.log(context, name, "up again");
        }
    })
}

async fn try_bring_up(context: &Arc<Context>, name: &str) -> Result<()> {
    let Some(row) = context.store.rack_resource(name).await? else {
        return Ok(());
    };
    // Others are in the hands of an operation.
    if row.status != status::RUNNING || row.kind == WEBHOOK || context.shutdown.is_cancelled() {
        return Ok(());
    }
    let plan = ResourcePlan::of_rack(context, &row)?;
    resource::ensure(context, "", &[plan]).await
}

/// Brings up what a former server has left. `open` names resources whose operations
/// are taken up; others were never promised to anybody, or are as they were.
pub async fn recover(context: &Arc<Context>, open: &[String]) -> Result<()> {
    for row in context.store.rack_resources().await? {
        if open.contains(&row.name) {
            continue;
        }
        if row.status == status::CREATING {
            clear(context, &row.name).await?;
            context.store.delete_rack_resource(&row.name).await?;
            continue;
        }
        if row.status == status::UPDATING {
            context
                .store
                .set_rack_resource(&row.name, &row.parameters, status::RUNNING)
                .await?;
        }
        if row.kind != WEBHOOK {
            let (context, name) = (Arc::clone(context), row.name);
            let tasks = context.tasks.clone();
            tasks.spawn(async move { bring_up(&context, &name).await });
        }
    }
    Ok(())
}
