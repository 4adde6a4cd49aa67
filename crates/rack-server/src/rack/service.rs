//! Services of the active release.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use manifest::{ListenerProtocol, ListenerScheme, Variable};
use rack_api::app::status;
use rack_api::service::{
    self, ManifestScale, ManifestService, NetworkPort, Service, ServicePort, UpdateOptions,
};

use super::Rack;
use super::absent::Absent;
use super::release::updating;
use crate::operations::plan::{Plan, ServicePlan};
use crate::operations::promote::{Promote, Rescale};
use crate::operations::{Failure, Result, door, supervise};
use crate::router::Key;
use crate::store::ScaleRow;

/// Most processes of one service; more would be a typing error on one machine.
const MOST: i64 = 100;

/// Most cpu units of a process: what engines take at most as a weight.
const MOST_CPU: i64 = 262_144;
/// Most memory of a process, in MiB.
const MOST_MEMORY: i64 = 4 << 20;

/// Checks the size of a process, in cpu units and MiB.
pub(super) fn check_size(cpu: Option<i64>, memory: Option<i64>) -> Result<()> {
    let fits = cpu.is_none_or(|cpu| (0..=MOST_CPU).contains(&cpu))
        && memory.is_none_or(|memory| (4..=MOST_MEMORY).contains(&memory));
    if fits {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "cpu must be between 0 and {MOST_CPU}, memory between 4 and {MOST_MEMORY} MiB"
    )))
}

impl Rack {
    pub(super) async fn active_plan(&self, app: &str) -> Result<Option<Plan>> {
        let row = self.context.app(app).await?;
        if row.release.is_empty() {
            return Ok(None);
        }
        Plan::load(&self.context, app, &row.release).await.map(Some)
    }

    /// Id of the rack's own certificate that the first domain of a service is shown.
    fn shown_certificate(&self, app: &str, service: &manifest::Service) -> String {
        let key = Key::new(&self.context.rack, app, &service.name);
        let certificates = self.context.router.certificates();
        let domain = service.domains.first();
        domain
            .and_then(|domain| certificates.best(&key, domain, self.context.now()))
            .map(|certificate| certificate.id.clone())
            .unwrap_or_default()
    }

    /// How the processes of a service are.
    fn service_status(&self, app: &str, plan: &ServicePlan) -> &'static str {
        let fleet = &self.context.fleet;
        let name = &plan.service.name;
        let members = fleet.of_service(app, name);
        let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let well = members
            .iter()
            .filter(|member| member.exited().is_none() && is(&member.routed) && is(&member.healthy))
            .count() as u64;
        if plan.count == 0 {
            service::status::STOPPED
        } else if well >= plan.count {
            service::status::RUNNING
        } else if fleet.crashes(app, name) > 0 {
            service::status::CRASHING
        } else if members
            .iter()
            .any(|member| is(&member.routed) && !is(&member.healthy))
        {
            service::status::UNHEALTHY
        } else {
            service::status::STARTING
        }
    }

    /// The port of this machine that a door of a service has, if it is open.
    fn door(&self, app: &str, service: &str, door: &str) -> Option<i64> {
        let address = self.context.doors.address(app, service, door)?;
        Some(i64::from(address.port()))
    }

    /// Ports of a service that have no host name, and where they are on this machine.
    fn doors(&self, app: &str, service: &manifest::Service) -> Vec<ServicePort> {
        let open = |port: u16| {
            let name = door::of_port(&service.name, port);
            Some(ServicePort {
                balancer: self.door(app, &service.name, &name)?,
                certificate: String::new(),
                container: i64::from(port),
            })
        };
        door::further_ports(service)
            .into_iter()
            .filter_map(open)
            .collect()
    }

    /// The `nlb` of a service, with the ports that it has on this machine.
    fn listeners(&self, app: &str, service: &manifest::Service) -> Vec<NetworkPort> {
        let show = |listener: &manifest::Listener| {
            let name = door::of_listener(&service.name, listener.port);
            Some(NetworkPort {
                container_port: i64::from(listener.container_port),
                port: self.door(app, &service.name, &name)?,
                protocol: match listener.protocol {
                    ListenerProtocol::Tcp => "tcp".to_owned(),
                    ListenerProtocol::Tls => "tls".to_owned(),
                },
                scheme: match listener.scheme {
                    ListenerScheme::Public => "public".to_owned(),
                    ListenerScheme::Internal => "internal".to_owned(),
                },
                cross_zone: listener.cross_zone,
                allow_cidr: listener.allow_cidr.clone(),
                preserve_client_ip: listener.preserve_client_ip,
            })
        };
        service.nlb.iter().filter_map(show).collect()
    }

    /// Lists services in manifest order; none before the first promote.
    pub async fn services(&self, app: &str) -> Result<Vec<Service>> {
        let Some(plan) = self.active_plan(app).await? else {
            return Ok(Vec::new());
        };
        let as_number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(plan
            .services
            .iter()
            .map(|plan| {
                let service = &plan.service;
                let routed = service
                    .port
                    .as_ref()
                    .filter(|_| service.reachable_from_outside());
                Service {
                    count: as_number(plan.count),
                    cpu: as_number(plan.cpu),
                    domain: routed
                        .map(|_| self.context.address(app, &service.name))
                        .unwrap_or_default(),
                    memory: as_number(plan.memory),
                    name: service.name.clone(),
                    status: self.service_status(app, plan).to_owned(),
                    nlb: self.listeners(app, service),
                    ports: routed
                        .into_iter()
                        .flat_map(|port| {
                            [80, 443].map(|balancer| ServicePort {
                                balancer,
                                certificate: match balancer {
                                    443 => self.shown_certificate(app, service),
                                    _ => String::new(),
                                },
                                container: i64::from(port.port),
                            })
                        })
                        .chain(self.doors(app, service))
                        .collect(),
                }
            })
            .collect())
    }

    /// A service as the manifest of the active release declares it.
    pub async fn manifest_service(&self, app: &str, name: &str) -> Result<ManifestService> {
        let plan = self
            .active_plan(app)
            .await?
            .ok_or_else(|| Failure::Invalid(format!("no release for app: {app}")))?;
        let service = &plan.service(name)?.service;
        let declared = |variable: &Variable| match variable {
            Variable::Required(name) => name.clone(),
            Variable::Default(name, default) => format!("{name}={default}"),
            Variable::All => "*".to_owned(),
        };
        let as_number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(ManifestService {
            name: service.name.clone(),
            environment: service.environment.iter().map(declared).collect(),
            scale: ManifestScale {
                min: as_number(service.scale.min),
                max: as_number(service.scale.max),
            },
        })
    }

    pub(super) async fn known_service(&self, app: &str, name: &str) -> Result<String> {
        let plan = self
            .active_plan(app)
            .await?
            .ok_or_else(|| Failure::Invalid(format!("no release for app: {app}")))?;
        plan.service(name)?;
        Ok(plan.release.id)
    }

    /// Sets the number or size of a service's processes. A new number takes effect
    /// at once, a new size by replacing the processes.
    pub async fn update_service(
        &self,
        app: &str,
        name: &str,
        options: UpdateOptions,
    ) -> Result<()> {
        self.context.ready().await?;
        let release = self.known_service(app, name).await?;
        if options.gpu.is_some_and(|gpu| gpu != 0) || options.gpu_vendor.is_some() {
            return Err(Failure::Invalid(
                "gpus are not available on a local rack: leave gpu out".into(),
            ));
        }
        if options.min.is_some() || options.max.is_some() {
            return Err(self.absent(Absent::Autoscaling));
        }
        if options
            .count
            .is_some_and(|count| !(0..=MOST).contains(&count))
        {
            return Err(Failure::Invalid(format!(
                "count must be between 0 and {MOST}"
            )));
        }
        check_size(options.cpu, options.memory)?;
        let scale = ScaleRow {
            count: options.count,
            cpu: options.cpu,
            memory: options.memory,
        };
        if options.cpu.is_some() || options.memory.is_some() {
            let scales = self.context.store.scales(app).await?;
            let rescale = Rescale {
                service: name.to_owned(),
                before: scales.get(name).copied().unwrap_or_default(),
                after: scale,
            };
            return self.roll(app, &release, name, Some(rescale)).await;
        }
        if options.count.is_none() {
            return Ok(());
        }
        if !self
            .context
            .store
            .change_app_status(app, status::RUNNING, status::UPDATING)
            .await?
        {
            return Err(Failure::Forbidden(updating(
                &self.context.app(app).await?.status,
            )));
        }
        self.context.store.set_scale(app, name, scale).await?;
        let (context, app) = (Arc::clone(&self.context), app.to_owned());
        let tasks = context.tasks.clone();
        tasks.spawn(async move {
            if let Err(error) = supervise::scale(&context, &app).await {
                context.log(&app, "rack", &format!("could not scale: {error}"));
            }
            if let Err(error) = context.set_app_settled(&app).await {
                tracing::error!(%error, "could not record the end of a scale");
            }
        });
        Ok(())
    }

    /// Replaces a service's processes by new ones of the same release, without a gap.
    pub async fn restart_service(&self, app: &str, name: &str) -> Result<()> {
        self.context.ready().await?;
        let release = self.known_service(app, name).await?;
        self.roll(app, &release, name, None).await
    }

    async fn roll(
        &self,
        app: &str,
        release: &str,
        service: &str,
        rescale: Option<Rescale>,
    ) -> Result<()> {
        let operation = Promote {
            services: Some(vec![service.to_owned()]),
            rescale,
            ..Promote::new(app, release)
        };
        // Restarts of several services follow each other without waiting.
        self.begin_promote(operation, true).await
    }
}
