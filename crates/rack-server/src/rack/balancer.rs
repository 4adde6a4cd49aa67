//! Balancers of the active release.

use rack_api::balancer::{Balancer, BalancerPort};

use super::Rack;
use crate::operations::Result;

impl Rack {
    /// Lists the balancers the active release declares, in manifest order. Nothing
    /// listens on their ports here, so they have no endpoint.
    pub async fn balancers(&self, app: &str) -> Result<Vec<Balancer>> {
        let Some(plan) = self.active_plan(app).await? else {
            return Ok(Vec::new());
        };
        let show = |balancer: manifest::Balancer| Balancer {
            name: balancer.name,
            endpoint: String::new(),
            ports: balancer
                .ports
                .into_iter()
                .map(|port| BalancerPort {
                    protocol: port.protocol.word().to_owned(),
                    source: i64::from(port.source),
                    target: i64::from(port.target),
                })
                .collect(),
            service: balancer.service,
        };
        Ok(plan.manifest.balancers.into_values().map(show).collect())
    }
}
