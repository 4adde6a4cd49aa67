//! What the machine has, and what is promised to services on it.

use rack_api::capacity::Capacity;

use super::Rack;
use crate::operations::Result;
use crate::operations::plan::Plan;

/// Units of one processor.
const CPU: u64 = 1024;
const MEBIBYTE: u64 = 1 << 20;

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Rack {
    /// Capacity of the rack: one machine, and the processes of services on it.
    pub async fn capacity(&self) -> Result<Capacity> {
        let context = &self.context;
        let machine = context.engine.info().await?;
        let cpu = number(machine.cpus.saturating_mul(CPU));
        let memory = number(machine.memory / MEBIBYTE);
        let mut capacity = Capacity {
            cluster_cpu: cpu,
            cluster_memory: memory,
            instance_cpu: cpu,
            instance_memory: memory,
            ..Capacity::default()
        };
        for app in context.store.apps().await? {
            if app.release.is_empty() {
                continue;
            }
            let plan = Plan::load(context, &app.name, &app.release).await?;
            for service in &plan.services {
                let running = context.fleet.of_service(&app.name, &service.service.name);
                let count = number(running.len() as u64);
                capacity.process_count += count;
                let cpu = count.saturating_mul(number(service.cpu));
                let memory = count.saturating_mul(number(service.memory));
                capacity.process_cpu = capacity.process_cpu.saturating_add(cpu);
                capacity.process_memory = capacity.process_memory.saturating_add(memory);
                if service.service.port.is_some() {
                    capacity.process_width = capacity.process_width.max(count);
                }
            }
        }
        Ok(capacity)
    }
}
