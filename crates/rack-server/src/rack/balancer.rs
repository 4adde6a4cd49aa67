//! Balancers of the active release.

use rack_api::balancer::{Balancer, BalancerPort};

use super::Rack;
use crate::operations::{Result, door};

impl Rack {
    /// Lists the balancers the active release declares, in manifest order. The endpoint is
    /// where the doors of their TCP ports are on this machine, in the order of the ports.
    pub async fn balancers(&self, app: &str) -> Result<Vec<Balancer>> {
        let Some(plan) = self.active_plan(app).await? else {
            return Ok(Vec::new());
        };
        let endpoint = |balancer: &manifest::Balancer| {
            let ports = balancer.ports.iter();
            let addresses = ports.filter_map(|port| {
                let name = door::of_balancer(&balancer.name, port.source);
                let doors = &self.context.doors;
                doors.address(app, &balancer.service, &name)
            });
            let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
            addresses.join(",")
        };
        let show = |balancer: manifest::Balancer| Balancer {
            endpoint: endpoint(&balancer),
            name: balancer.name,
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
