//! Resources of the active release.

use rack_api::resource::Resource;

use super::Rack;
use tokio::io::AsyncRead;

use crate::engine::Exec;
use crate::operations::plan::Plan;
use crate::operations::resource::{Dump, ResourcePlan};
use crate::operations::{Failure, Result};

impl Rack {
    /// Lists resources by name; none before the first promote.
    pub async fn resources(&self, app: &str) -> Result<Vec<Resource>> {
        let row = self.context.app(app).await?;
        if row.release.is_empty() {
            return Ok(Vec::new());
        }
        let plan = Plan::load(&self.context, app, &row.release).await?;
        let mut resources = Vec::new();
        for planned in plan.resources {
            let running = planned.external || self.resource_running(app, &planned.name).await?;
            resources.push(Resource {
                name: planned.name,
                parameters: planned.options,
                status: if running { "running" } else { "pending" }.to_owned(),
                kind: planned.kind,
                url: planned.url,
                apps: Vec::new(),
            });
        }
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(resources)
    }

    /// Looks a resource up.
    pub async fn resource(&self, app: &str, name: &str) -> Result<Resource> {
        self.resources(app)
            .await?
            .into_iter()
            .find(|resource| resource.name == name)
            .ok_or_else(|| Failure::NotFound(format!("no such resource: {name}")))
    }

    /// The plan of a resource of the active release.
    async fn planned_resource(&self, app: &str, name: &str) -> Result<ResourcePlan> {
        self.context.ready().await?;
        let plan = self.active_plan(app).await?;
        plan.into_iter()
            .flat_map(|plan| plan.resources)
            .find(|resource| resource.name == name)
            .ok_or_else(|| Failure::NotFound(format!("no such resource: {name}")))
    }

    /// Begins a dump of what a resource holds.
    pub async fn dump_resource(&self, app: &str, name: &str) -> Result<Dump> {
        let resource = self.planned_resource(app, name).await?;
        resource.dump(&self.context, app).await
    }

    /// Restores a dump into a resource, whole or not at all.
    pub async fn restore_resource(
        &self,
        app: &str,
        name: &str,
        dump: impl AsyncRead + Send + Unpin,
    ) -> Result<()> {
        let resource = self.planned_resource(app, name).await?;
        resource.restore(&self.context, app, dump).await
    }

    /// Begins an interactive session with a resource.
    pub async fn resource_console(
        &self,
        app: &str,
        name: &str,
        size: Option<(u16, u16)>,
    ) -> Result<Exec> {
        let resource = self.planned_resource(app, name).await?;
        resource.console(&self.context, app, size).await
    }
}
