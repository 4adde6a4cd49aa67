//! Containers: making, starting, ending, looking at them.
//!
//! The engine never restarts one by itself: the rack decides what runs. Logs are
//! kept as `json-file`, which every engine can read back, and rotated so that a
//! chatty process cannot fill the disk.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings,
    HostConfig, HostConfigLogConfig, Mount, MountType, NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::connect::label_filter;
use super::{Docker, error};
use crate::engine::{EngineError, Labels, Phase, ProcessSpec, ProcessState, Result};

/// Inspections made at the same time when listing.
const AT_ONCE: usize = 8;

const MEBIBYTE: i64 = 1024 * 1024;

impl Docker {
    pub(super) async fn process_create(&self, spec: &ProcessSpec) -> Result<String> {
        let client = self.session().await?.client;
        let options = CreateContainerOptionsBuilder::default()
            .name(&spec.name)
            .build();
        match client.create_container(Some(options), body(spec)).await {
            Ok(created) => Ok(created.id),
            // The one thing that can be missing when a container is made is its image.
            Err(error) => Err(self.failure("image", &spec.image, error)),
        }
    }

    pub(super) async fn process_start(&self, id: &str) -> Result<()> {
        self.ports().forget(id);
        let session = self.session().await?;
        match session
            .client
            .start_container(id, None::<StartContainerOptions>)
            .await
        {
            Ok(()) => Ok(()),
            Err(error)
                if error::status(&error) == Some(404)
                    && !error::mentions(&error, "No such container") =>
            {
                // Docker also says 404 when a network or the executable is missing.
                let bollard::errors::Error::DockerResponseServerError { message, .. } = error
                else {
                    unreachable!("only a refusal has a status")
                };
                Err(EngineError::Failed(start_failure(&message)))
            }
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code,
                message,
            }) if status_code != 404 => Err(EngineError::Failed(start_failure(&message))),
            Err(error) => Err(self.failure("process", id, error)),
        }
    }

    pub(super) async fn process_stop(&self, id: &str, grace: Duration) -> Result<()> {
        self.ports().forget(id);
        let session = self.session().await?;
        let done = if grace.is_zero() {
            let options = KillContainerOptionsBuilder::default()
                .signal("SIGKILL")
                .build();
            session
                .patient(grace)
                .kill_container(id, Some(options))
                .await
        } else {
            let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
            let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::default().t(seconds).build();
            session
                .patient(grace)
                .stop_container(id, Some(options))
                .await
        };
        match done {
            Ok(()) => Ok(()),
            // Gone, or ended: what was asked for.
            Err(error)
                if error::status(&error) == Some(404)
                    || error::mentions(&error, "is not running") =>
            {
                Ok(())
            }
            Err(error) => Err(self.failure("process", id, error)),
        }
    }

    pub(super) async fn process_remove(&self, id: &str) -> Result<()> {
        self.ports().forget(id);
        let session = self.session().await?;
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        match session
            .unhurried()
            .remove_container(id, Some(options))
            .await
        {
            Ok(()) => Ok(()),
            Err(error) if error::status(&error) == Some(404) => Ok(()),
            Err(error) if error::mentions(&error, "is already in progress") => {
                self.removal(id).await
            }
            Err(error) => Err(self.failure("process", id, error)),
        }
    }

    /// Waits for a removal somebody else has begun.
    async fn removal(&self, id: &str) -> Result<()> {
        let client = self.session().await?.unhurried();
        let options = WaitContainerOptionsBuilder::default()
            .condition("removed")
            .build();
        let mut waiting = client.wait_container(id, Some(options));
        match waiting.next().await {
            Some(Err(error))
                if is_status(&error).is_none() && error::status(&error) != Some(404) =>
            {
                Err(self.failure("process", id, error))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn process_find(&self, id: &str) -> Result<Option<ProcessState>> {
        if id.is_empty() {
            return Ok(None);
        }
        let client = self.session().await?.client;
        match client
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
        {
            // The engine also finds by name; only ids are asked for here.
            Ok(found) => Ok(Some(state(found)?).filter(|state| state.id.starts_with(id))),
            Err(error) if error::status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.failure("process", id, error)),
        }
    }

    pub(super) async fn process_list(&self, labels: &Labels) -> Result<Vec<ProcessState>> {
        let client = self.session().await?.client;
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&label_filter(labels))
            .build();
        let listed = client
            .list_containers(Some(options))
            .await
            .map_err(|error| self.failure("process", "list", error))?;
        // The list has neither exit codes nor times, so each is looked at.
        let ids = listed.into_iter().filter_map(|summary| summary.id);
        futures::stream::iter(ids.map(|id| async move { self.process_find(&id).await }))
            .buffered(AT_ONCE)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await
    }

    pub(super) async fn process_wait(&self, id: &str) -> Result<i64> {
        let client = self.session().await?.unhurried();
        let options = WaitContainerOptionsBuilder::default()
            .condition("not-running")
            .build();
        let mut waiting = client.wait_container(id, Some(options));
        match waiting.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(error)) => match is_status(&error) {
                Some(code) => Ok(code),
                None => Err(self.failure("process", id, error)),
            },
            None => Err(error::unreachable(
                "it stopped answering while a process was awaited",
            )),
        }
    }
}

/// bollard reports a status other than zero as an error; it is an answer all the same.
fn is_status(error: &bollard::errors::Error) -> Option<i64> {
    match error {
        bollard::errors::Error::DockerContainerWaitError { error, code } if error.is_empty() => {
            Some(*code)
        }
        _ => None,
    }
}

/// Finds the telling part of the runtime's report.
fn start_failure(message: &str) -> String {
    let line = error::one_line(message);
    let line = line.strip_suffix(": unknown").unwrap_or(&line);
    match line.find("exec: \"") {
        Some(at) => format!("cannot start the process: {}", &line[at..]),
        None => error::sentence(line),
    }
}

fn body(spec: &ProcessSpec) -> ContainerCreateBody {
    let ports: Vec<String> = spec
        .ports
        .iter()
        .map(|port| format!("{port}/tcp"))
        .collect();
    let loopback = || {
        Some(vec![PortBinding {
            host_ip: Some("127.0.0.1".into()),
            host_port: Some(String::new()),
        }])
    };
    let volumes = spec.volumes.iter().map(|(volume, path)| Mount {
        target: Some(path.clone()),
        source: Some(volume.clone()),
        typ: Some(MountType::VOLUME),
        ..Default::default()
    });
    let (in_memory, on_disk): (Vec<_>, Vec<_>) = spec
        .directories
        .iter()
        .partition(|directory| directory.memory);
    // Volumes without a name go with their process.
    let unnamed = on_disk.iter().map(|directory| Mount {
        target: Some(directory.path.clone()),
        typ: Some(MountType::VOLUME),
        ..Default::default()
    });
    let mounts = volumes.chain(unnamed);
    let tmpfs: HashMap<_, _> = in_memory
        .iter()
        .map(|directory| {
            let size = directory.size.map(|size| format!(",size={size}"));
            let options = format!("rw,mode=1777{}", size.unwrap_or_default());
            (directory.path.clone(), options)
        })
        .collect();
    let rules = [
        (spec.no_escalation, "no-new-privileges:true"),
        (spec.unconfined, "seccomp=unconfined"),
    ];
    let rules: Vec<_> = rules
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, rule)| rule.to_owned())
        .collect();
    let unless_empty = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let rotation = HashMap::from([
        ("max-size".into(), "10m".into()),
        ("max-file".into(), "5".into()),
    ]);
    let endpoint = EndpointSettings {
        aliases: Some(spec.aliases.clone()),
        ..Default::default()
    };
    let network = (!spec.network.is_empty()).then(|| spec.network.clone());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        env: Some(
            spec.environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        labels: Some(spec.labels.clone().into_iter().collect()),
        tty: Some(spec.tty),
        user: spec.user.clone(),
        exposed_ports: Some(ports.clone()),
        networking_config: network.clone().map(|name| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(name, endpoint)])),
        }),
        host_config: Some(HostConfig {
            network_mode: network,
            port_bindings: Some(ports.into_iter().map(|port| (port, loopback())).collect()),
            mounts: Some(mounts.collect()),
            memory: spec.memory_limit.map(|mib| mib.saturating_mul(MEBIBYTE)),
            // Swap would turn a hard limit into a slow one.
            memory_swap: spec.memory_limit.map(|mib| mib.saturating_mul(MEBIBYTE)),
            memory_reservation: spec
                .memory_reservation
                .map(|mib| mib.saturating_mul(MEBIBYTE)),
            cpu_shares: spec.cpu_shares,
            nano_cpus: spec
                .cpu_limit
                .map(|thousandths| thousandths.saturating_mul(1_000_000)),
            init: spec.init.then_some(true),
            privileged: spec.privileged.then_some(true),
            tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
            volumes_from: spec.volumes_of.clone().map(|process| vec![process]),
            readonly_rootfs: spec.read_only.then_some(true),
            cap_add: unless_empty(&spec.capabilities),
            cap_drop: unless_empty(&spec.without_capabilities),
            security_opt: unless_empty(&rules),
            shm_size: spec.shm.map(|mib| mib.saturating_mul(MEBIBYTE)),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".into()),
                config: Some(rotation),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn state(found: ContainerInspectResponse) -> Result<ProcessState> {
    let id = found
        .id
        .ok_or_else(|| EngineError::Failed("docker described a process without an id".into()))?;
    let now = found.state.unwrap_or_default();
    let phase = if now.status == Some(ContainerStateStatusEnum::CREATED) {
        Phase::Created
    } else if now.running.unwrap_or_default() {
        Phase::Running
    } else {
        Phase::Exited(now.exit_code.unwrap_or_default())
    };
    let endpoints: Vec<EndpointSettings> = found
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default()
        .into_values()
        .collect();
    Ok(ProcessState {
        id,
        name: found
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        image: found.image.unwrap_or_default(),
        labels: found
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default()
            .into_iter()
            .collect(),
        phase,
        started: now.started_at.as_deref().and_then(time),
        finished: now.finished_at.as_deref().and_then(time),
        out_of_memory: now.oom_killed.unwrap_or_default(),
        command: found
            .path
            .into_iter()
            .chain(found.args.into_iter().flatten())
            .collect(),
        aliases: endpoints
            .iter()
            .flat_map(|endpoint| endpoint.aliases.iter().flatten())
            .cloned()
            .collect(),
        addresses: endpoints
            .iter()
            .flat_map(|endpoint| [&endpoint.ip_address, &endpoint.global_ipv6_address])
            .filter_map(|address| address.as_deref()?.parse().ok())
            .collect(),
    })
}

/// A time the engine wrote; year 1 means never.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>()
        .ok()
        .filter(|time| *time > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_no_time() {
        assert_eq!(time("0001-01-01T00:00:00Z"), None);
        assert_eq!(
            time("2026-11-22T20:51:10.123456789Z").map(Timestamp::subsec_nanosecond),
            Some(123_456_789)
        );
    }

    #[test]
    fn a_missing_executable_is_named_without_the_runtime_talk() {
        let text = "OCI runtime create failed: container_linux.go:380: starting container process caused: \
                    exec: \"nope\": executable file not found in $PATH: unknown";
        assert_eq!(
            start_failure(text),
            "cannot start the process: exec: \"nope\": executable file not found in $PATH"
        );
        assert_eq!(start_failure("Network\nis gone"), "network is gone");
    }

    #[test]
    fn ports_are_published_on_loopback_only() {
        let spec = ProcessSpec {
            ports: vec![80],
            network: "n".into(),
            ..Default::default()
        };
        let host = body(&spec).host_config.expect("a host part");
        let ports = host.port_bindings.expect("bindings");
        let binding = ports["80/tcp"].as_ref().expect("published")[0].clone();
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert!(host.restart_policy.is_none());
    }
}
