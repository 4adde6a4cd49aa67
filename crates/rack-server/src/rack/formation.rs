//! Formations: services in the shape of late 2017.

use rack_api::formation::FormationEntry;
use rack_api::service::Service;

use super::Rack;
use crate::operations::Result;

fn entry(service: Service) -> FormationEntry {
    FormationEntry {
        balancer: service.domain,
        name: service.name,
        count: service.count,
        memory: service.memory,
        cpu: service.cpu,
        ports: service.ports.iter().map(|port| port.balancer).collect(),
    }
}

impl Rack {
    /// Lists the services of an app. Under the rack's own name stands the rack's own
    /// process, with the whole engine at its disposal: `rack ps --stats` wants to know.
    pub async fn formation(&self, app: &str) -> Result<Vec<FormationEntry>> {
        if app != self.name() {
            let services = self.services(app).await?;
            return Ok(services.into_iter().map(entry).collect());
        }
        let engine = self.context.engine.info().await?;
        let as_number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(vec![FormationEntry {
            name: "rack".into(),
            count: 1,
            memory: as_number(engine.memory >> 20),
            cpu: as_number(engine.cpus.saturating_mul(1024)),
            ..FormationEntry::default()
        }])
    }
}
