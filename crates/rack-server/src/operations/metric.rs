//! Measuring what runs: one task per rack, which sleeps while nothing does.
//!
//! | name | of | unit |
//! |---|---|---|
//! | `cluster:cpu:utilization`, `cluster:mem:utilization` | rack | percent of what the engine has |
//! | `cluster:cpu:reservation`, `cluster:mem:reservation` | rack | percent of what the engine has that processes of services have asked for; more than 100 where more is promised than there is |
//! | `instances:standard:cpu`, `instances:standard:mem` | rack | the same: the engine is the one instance |
//! | `process:running` | rack | processes, one-offs and resources included |
//! | `process:healthy`, `process:unhealthy` | app, service | processes of services |
//! | `service:cpu:utilization`, `service:mem:utilization` | app, service | percent of what the engine has |
//! | `service:requests` and the same with `:5xx` | app, service | requests since the last measurement |
//! | `service:response:time` | app, service | seconds until an answer began |
//!
//! Names are those of version 2 where it has one (`rack-api.md` §4.8).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;

use super::context::Context;
use super::error::Result;
use super::fleet::Member;
use super::history::{Reading, Scope};
use crate::engine::{EngineInfo, Usage};
use crate::router::{Key, Traffic};

/// Processor time of everything on the rack.
pub const CLUSTER_CPU: &str = "cluster:cpu:utilization";
/// Memory of everything on the rack.
pub const CLUSTER_MEMORY: &str = "cluster:mem:utilization";
/// Units of one processor.
const CPU: f64 = 1024.0;
const MEBIBYTE: f64 = (1 << 20) as f64;
/// Processes asked at the same time.
const AT_ONCE: usize = 8;

/// Measures for as long as the rack is open.
pub fn begin(context: &Arc<Context>) {
    let context = Arc::clone(context);
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let mut meter = Meter::default();
        loop {
            tokio::select! {
                () = context.fleet.something_runs() => {}
                () = context.shutdown.cancelled() => return,
            }
            let measured = tokio::select! {
                measured = meter.measure(&context) => measured,
                // An engine that is slow to answer does not hold up a server that stops.
                () = context.shutdown.cancelled() => return,
            };
            if let Err(error) = measured {
                tracing::debug!(%error, rack = context.rack, "could not measure what runs");
            }
            tokio::select! {
                () = tokio::time::sleep(context.settings.measure_every) => {}
                () = context.shutdown.cancelled() => return,
            }
        }
    });
}

/// What each process used when it was measured last, by its full id. A process that
/// has just begun is not in it.
#[derive(Default)]
pub struct Measured(Mutex<HashMap<String, Measure>>);

/// What a process used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measure {
    /// Percent of one processor, so up to 100 for each.
    pub cpu: f64,
    /// Bytes of memory.
    pub memory: u64,
    /// The same as a fraction of all memory the engine has.
    pub of_all: f64,
}

impl Measured {
    /// What a process used, if it has been measured.
    pub fn get(&self, id: &str) -> Option<Measure> {
        let measured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        measured.get(id).copied()
    }

    fn set(&self, measured: HashMap<String, Measure>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = measured;
    }
}

/// Remembers of each process what it had used when it was asked last.
#[derive(Default)]
struct Meter {
    machine: Option<EngineInfo>,
    before: HashMap<String, (Timestamp, Usage)>,
}

/// Shares of the machine in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Load {
    cpu: f64,
    memory: f64,
}

/// What is found of a service, or of all services of an app.
#[derive(Debug, Default)]
struct Found {
    load: Load,
    healthy: u32,
    unhealthy: u32,
    traffic: Traffic,
    routed: bool,
}

impl Meter {
    async fn measure(&mut self, context: &Context) -> Result<()> {
        let machine = match &self.machine {
            Some(machine) => machine.clone(),
            None => self.machine.insert(context.engine.info().await?).clone(),
        };
        let members = context.fleet.all();
        let mut ids: Vec<String> = members.iter().map(|member| member.id.clone()).collect();
        ids.extend(context.fleet.watched());
        let asked = futures::stream::iter(ids.into_iter().map(|id| async move {
            let usage = context.engine.usage(&id).await;
            (id, usage)
        }));
        let asked: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        let now = context.now();
        let mut loads = HashMap::new();
        let mut seen = HashMap::new();
        let mut measured = HashMap::new();
        for (id, usage) in asked {
            let Some(usage) = usage? else { continue };
            let before = self.before.get(&id);
            let load = load(&machine, before, now, usage);
            let measure = Measure {
                cpu: load.cpu * machine.cpus as f64,
                memory: usage.memory,
                of_all: load.memory / 100.0,
            };
            measured.insert(id.clone(), measure);
            loads.insert(id.clone(), load);
            seen.insert(id, (now, usage));
        }
        self.before = seen;
        context.measured.set(measured);
        context.history.record(now.as_second(), || {
            // Not those that were deleted while they were asked.
            let there = |member: &Arc<Member>| context.fleet.get(&member.id).is_some();
            let members = members.into_iter().filter(there).collect();
            readings(context, &machine, members, &loads)
        });
        Ok(())
    }
}

/// Share of the machine. The processor's is that of the time since the process was
/// asked before: it counts from the second time on.
fn load(
    machine: &EngineInfo,
    before: Option<&(Timestamp, Usage)>,
    now: Timestamp,
    usage: Usage,
) -> Load {
    let (passed, used) = before.map_or((0.0, Duration::ZERO), |(time, before)| {
        // One that was restarted meanwhile has begun at zero.
        let used = usage.cpu.checked_sub(before.cpu).unwrap_or(usage.cpu);
        (now.duration_since(*time).as_secs_f64(), used)
    });
    let share = |part: f64, whole: f64| {
        if whole > 0.0 {
            (part / whole * 100.0).clamp(0.0, 100.0)
        } else {
            0.0
        }
    };
    Load {
        cpu: share(used.as_secs_f64(), passed * machine.cpus as f64),
        memory: share(usage.memory as f64, machine.memory as f64),
    }
}

/// Share of the machine that is asked for: processor units and MiB.
fn reserved(machine: &EngineInfo, asked: impl Iterator<Item = (u64, u64)>) -> Load {
    let (cpu, memory) = asked.fold((0.0, 0.0), |(cpu, memory), (more, mebibytes)| {
        (cpu + more as f64, memory + mebibytes as f64 * MEBIBYTE)
    });
    let share = |part: f64, whole: f64| {
        if whole > 0.0 {
            part / whole * 100.0
        } else {
            0.0
        }
    };
    Load {
        cpu: share(cpu, machine.cpus as f64 * CPU),
        memory: share(memory, machine.memory as f64),
    }
}

fn readings(
    context: &Context,
    machine: &EngineInfo,
    members: Vec<Arc<Member>>,
    loads: &HashMap<String, Load>,
) -> Vec<(Scope, &'static str, Reading)> {
    let mut rack = Load::default();
    for load in loads.values() {
        rack.cpu += load.cpu;
        rack.memory += load.memory;
    }
    let asked = reserved(
        machine,
        members.iter().map(|member| (member.cpu, member.memory)),
    );
    let mut all = Vec::new();
    for (name, value) in [
        ("cluster:cpu:reservation", asked.cpu),
        ("cluster:mem:reservation", asked.memory),
        (CLUSTER_CPU, rack.cpu.min(100.0)),
        (CLUSTER_MEMORY, rack.memory.min(100.0)),
        ("instances:standard:cpu", rack.cpu.min(100.0)),
        ("instances:standard:mem", rack.memory.min(100.0)),
        ("process:running", loads.len() as f64),
    ] {
        all.push((Scope::Rack, name, Reading::Value(value)));
    }
    let mut found: BTreeMap<Scope, Found> = BTreeMap::new();
    for member in &members {
        let healthy = member.healthy.load(Ordering::SeqCst);
        let load = loads.get(&member.id).copied().unwrap_or_default();
        let service = Scope::Service(member.app.clone(), member.service.clone());
        for scope in [service, Scope::App(member.app.clone())] {
            let found = found.entry(scope).or_default();
            found.load.cpu += load.cpu;
            found.load.memory += load.memory;
            if healthy {
                found.healthy += 1;
            } else {
                found.unhealthy += 1;
            }
        }
    }
    let services: Vec<(String, String)> = found
        .keys()
        .filter_map(|scope| match scope {
            Scope::Service(app, service) => Some((app.clone(), service.clone())),
            _ => None,
        })
        .collect();
    for (app, service) in services {
        let key = Key::new(&context.rack, &app, &service);
        let Some(traffic) = context.router.take_traffic(&key) else {
            continue;
        };
        for scope in [Scope::App(app.clone()), Scope::Service(app, service)] {
            let found = found.entry(scope).or_default();
            found.traffic.merge(&traffic);
            found.routed = true;
        }
    }
    for (scope, found) in found {
        all.extend(of_services(&found).map(|(name, reading)| (scope.clone(), name, reading)));
    }
    all
}

fn of_services(found: &Found) -> impl Iterator<Item = (&'static str, Reading)> + use<> {
    let mut readings = vec![
        ("process:healthy", Reading::Value(f64::from(found.healthy))),
        (
            "process:unhealthy",
            Reading::Value(f64::from(found.unhealthy)),
        ),
        ("service:cpu:utilization", Reading::Value(found.load.cpu)),
        ("service:mem:utilization", Reading::Value(found.load.memory)),
    ];
    if found.routed {
        let times = &found.traffic.times;
        readings.push(("service:requests", Reading::Value(times.count as f64)));
        readings.push((
            "service:requests:5xx",
            Reading::Value(found.traffic.failed as f64),
        ));
        if times.count > 0 {
            readings.push(("service:response:time", Reading::Summary(times.clone())));
        }
    }
    readings.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> EngineInfo {
        EngineInfo {
            kind: "test",
            version: String::new(),
            cpus: 2,
            memory: 1000,
            architecture: String::new(),
            reuses_layers: false,
        }
    }

    fn usage(cpu: u64, memory: u64) -> Usage {
        Usage {
            cpu: Duration::from_secs(cpu),
            memory,
        }
    }

    #[test]
    fn loads_are_shares_of_the_machine_since_the_last_time() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let close = |load: Load, cpu: f64, memory: f64| {
            assert!(
                (load.cpu - cpu).abs() < 1e-9 && (load.memory - memory).abs() < 1e-9,
                "{load:?}"
            );
        };
        let first = load(&machine(), None, at(110), usage(5, 100));
        close(first, 0.0, 10.0);
        // 10 s of two processors' 2 × 10 s.
        let before = (at(110), usage(5, 100));
        close(
            load(&machine(), Some(&before), at(120), usage(15, 500)),
            50.0,
            50.0,
        );
        // Restarted meanwhile: counted from zero.
        close(
            load(&machine(), Some(&before), at(120), usage(2, 0)),
            10.0,
            0.0,
        );
        // What is asked for is a share too, and may be more than there is.
        let asked = [(512, 0), (512, 100)].into_iter();
        let small = EngineInfo {
            memory: 400 << 20,
            ..machine()
        };
        close(reserved(&small, asked), 50.0, 25.0);
        close(reserved(&small, [(4096, 800)].into_iter()), 200.0, 200.0);
        // No time has passed, or the machine is not known.
        close(
            load(&machine(), Some(&before), at(110), usage(5, 0)),
            0.0,
            0.0,
        );
        let unknown = EngineInfo {
            cpus: 0,
            memory: 0,
            ..machine()
        };
        close(
            load(&unknown, Some(&before), at(120), usage(15, 100)),
            0.0,
            0.0,
        );
    }
}
