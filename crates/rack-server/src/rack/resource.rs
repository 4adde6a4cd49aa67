//! Resources of the active release.

use rack_api::resource::Resource;

use super::Rack;
use crate::operations::plan::Plan;
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
}
