//! `convox rack` and what is below it.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use rack_api::params::integer;
use rack_api::system::{System, UpdateOptions};
use rack_api::{Process, Release};
use serde::Serialize;

use super::absent::{Absent, Reason};
use super::fault::Faults;
use super::install::RackInstall;
use super::parameter_group::Group;
use super::rack_ca::RackCa;
use super::rack_exec::RackExec;
use super::rack_resource::RackResources;
use super::uninstall::Uninstall;
use crate::arguments::{LogArgs, RackArgs, pairs};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::settle;
use crate::ui::{Info, Table, ago};
use crate::view::{FormArgs, ViewArgs};

/// The rack itself.
#[derive(Debug, Args)]
pub(crate) struct RackCommand {
    #[command(subcommand)]
    command: Option<RackSubcommand>,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum RackSubcommand {
    /// get rack access credential
    Access(Access),
    /// print the certificate of the rack's own authority, or trust it
    Ca(RackCa),
    /// run a command with racks of its own
    Exec(RackExec),
    /// list what a rack on the simulated engine gets wrong on purpose
    Faults(Faults),
    /// install a local rack
    Install(RackInstall),
    /// clean up nodes of a cluster
    #[command(hide = true)]
    Karpenter(Absent),
    /// write access to a cluster
    #[command(hide = true)]
    Kubeconfig(Absent),
    /// get logs for the rack
    Logs {
        #[command(flatten)]
        log: LogArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// move a rack between consoles
    #[command(hide = true)]
    Mv(Absent),
    /// display rack parameters
    Params(Params),
    /// list rack processes
    Ps {
        /// with the processes of apps
        #[arg(short, long)]
        all: bool,
        /// taken and ignored: in 2017 with what processes use
        #[arg(long, hide = true)]
        stats: bool,
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// list rack version history
    Releases {
        /// taken and ignored: in 2017 with unpublished versions
        #[arg(long, hide = true)]
        unpublished: bool,
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// list resources of the rack
    Resources(RackResources),
    /// attach a cloud account of a console
    #[command(hide = true)]
    Runtime(Absent),
    /// list cloud accounts of a console
    #[command(hide = true)]
    Runtimes(Absent),
    /// scale the rack
    Scale {
        /// number of instances
        #[arg(short, long, value_name = "count", value_parser = integer)]
        count: Option<i64>,
        /// instance type
        #[arg(short = 't', long = "type", value_name = "type")]
        kind: Option<String>,
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// start a rack of early 2018
    #[command(hide = true)]
    Start(Absent),
    /// synchronize the rack with what it runs on
    Sync(Sync),
    /// uninstall a local rack
    Uninstall(Uninstall),
    /// update the rack
    Update {
        /// version; the running one if none is given
        version: Option<String>,
        /// taken and ignored: the rack decides which versions there are
        #[arg(long, hide = true)]
        force: bool,
        #[command(flatten)]
        rack: RackArgs,
    },
    /// wait for rack to finish updating
    Wait {
        #[command(flatten)]
        rack: RackArgs,
    },
}

#[derive(Debug, Args)]
struct Params {
    #[command(subcommand)]
    command: Option<ParamsCommand>,
    /// only parameters of a group, or of one whose name begins so; a wrong name lists all
    #[arg(short, long, value_name = "group")]
    group: Option<String>,
    /// show secrets
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum ParamsCommand {
    /// set rack parameters
    Set {
        /// parameters
        #[arg(required = true, value_name = "Key=Value")]
        parameters: Vec<String>,
        /// taken and ignored: the rack decides which parameters there are
        #[arg(short, long, hide = true)]
        force: bool,
        #[command(flatten)]
        rack: RackArgs,
    },
}

#[derive(Debug, Args)]
struct Access {
    #[command(subcommand)]
    command: Option<AccessCommand>,
    /// access role: read, write or admin
    #[arg(long, value_name = "role")]
    role: Option<String>,
    /// hours the access lasts
    #[arg(long, value_name = "hours", value_parser = integer)]
    duration_in_hours: Option<i64>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    rack: RackArgs,
}

/// What gives access to a rack.
#[derive(Serialize)]
struct Credential {
    url: String,
    role: String,
}

#[derive(Debug, Subcommand)]
enum AccessCommand {
    /// the key that access credentials are signed with
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// rotate the key: earlier credentials are no longer good
    Rotate {
        #[command(flatten)]
        rack: RackArgs,
    },
}

#[derive(Debug, Args)]
struct Sync {
    #[command(subcommand)]
    command: Option<SyncCommand>,
    #[arg(short, long, hide = true, value_name = "name")]
    name: Option<String>,
    #[command(flatten)]
    rack: RackArgs,
}

#[derive(Debug, Subcommand)]
enum SyncCommand {
    /// let the addresses of instances in
    Whitelist {
        #[command(subcommand)]
        command: WhitelistCommand,
    },
}

#[derive(Debug, Subcommand)]
enum WhitelistCommand {
    /// let the addresses of instances in
    Instances {
        #[command(subcommand)]
        command: InstancesCommand,
    },
}

#[derive(Debug, Subcommand)]
enum InstancesCommand {
    /// let the addresses of instances in
    Ip {
        #[command(flatten)]
        rack: RackArgs,
    },
}

impl RackCommand {
    /// Shows the rack, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => info(context, &self.view, &self.rack).await,
            Some(RackSubcommand::Access(access)) => access.run(context).await,
            Some(RackSubcommand::Ca(authority)) => authority.run(context).await,
            Some(RackSubcommand::Exec(exec)) => exec.run(context).await,
            Some(RackSubcommand::Faults(faults)) => faults.run(context).await,
            Some(RackSubcommand::Install(install)) => install.run(context).await,
            Some(RackSubcommand::Karpenter(absent)) => absent.run(Reason::Karpenter),
            Some(RackSubcommand::Kubeconfig(absent)) => absent.run(Reason::Kubeconfig),
            Some(RackSubcommand::Logs { log, rack }) => logs(context, &log, &rack).await,
            Some(RackSubcommand::Mv(absent)) => absent.run(Reason::Move),
            Some(RackSubcommand::Params(params)) => params.run(context).await,
            Some(RackSubcommand::Ps {
                all, view, rack, ..
            }) => processes(context, all, &view, &rack).await,
            Some(RackSubcommand::Releases { view, rack, .. }) => {
                releases(context, &view, &rack).await
            }
            Some(RackSubcommand::Resources(resources)) => resources.run(context).await,
            Some(RackSubcommand::Runtime(absent) | RackSubcommand::Runtimes(absent)) => {
                absent.run(Reason::Runtimes)
            }
            Some(RackSubcommand::Scale {
                count: None,
                kind: None,
                view,
                rack,
            }) => size(context, &view, &rack).await,
            Some(RackSubcommand::Scale {
                count, kind, rack, ..
            }) => scale(context, count, kind, &rack).await,
            Some(RackSubcommand::Start(absent)) => absent.run(Reason::RackStart),
            Some(RackSubcommand::Sync(sync)) => sync.run(context).await,
            Some(RackSubcommand::Uninstall(uninstall)) => uninstall.run(context).await,
            Some(RackSubcommand::Update { version, rack, .. }) => {
                update(context, version, &rack).await
            }
            Some(RackSubcommand::Wait { rack }) => wait(context, &rack).await,
        }
    }
}

async fn info(context: &Context, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || Ok(rack.client.system_get().await?);
    let show = |system: System| {
        let output = |name: &str| {
            let value = system.outputs.get(name);
            value.cloned().filter(|value| !value.is_empty())
        };
        let router = match output("DomainInternal") {
            Some(internal) => format!("{} (external)\n{internal} (internal)", system.domain),
            None => system.domain.clone(),
        };
        let addresses = ["NLBEIP0", "NLBEIP1", "NLBEIP2"].iter();
        let addresses: Vec<_> = addresses.filter_map(|name| output(name)).collect();
        let balancer = match output("NLBHost") {
            Some(host) if addresses.is_empty() => host,
            Some(host) => format!("{host} ({})", addresses.join(", ")),
            None => String::new(),
        };
        let inner_balancer = output("NLBInternalHost").unwrap_or_default();
        let mut info = Info::default();
        info.add("Name", system.name)
            .add("Provider", system.provider)
            .add_some("Region", system.region)
            .add_some("Router", router)
            .add_some("RouterInternal", system.router_internal)
            .add_some("NLB", balancer)
            .add_some("NLB Internal", inner_balancer)
            .add("Status", system.status)
            .add("Version", system.version);
        info
    };
    view.show(context, read, show).await
}

async fn logs(context: &Context, log: &LogArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let mut stream = rack.client.system_logs(&log.options()).await?;
    while let Some(bytes) = stream.next().await? {
        context.ui.bytes(&bytes)?;
    }
    Ok(Exit::SUCCESS)
}

impl Params {
    async fn run(self, context: &Context) -> Outcome {
        if let Some(ParamsCommand::Set {
            parameters, rack, ..
        }) = self.command
        {
            return set_parameters(context, &parameters, &rack).await;
        }
        let group = self.group.as_deref().map(Group::find).transpose()?;
        let rack = context.rack(&self.rack).await?;
        // Scripts that store them want the values.
        let mask = context.ui.stdout_is_terminal() && !self.reveal;
        let read = async || {
            let mut parameters = rack.client.system_get().await?.parameters;
            if let Some(group) = group {
                parameters.retain(|name, _| group.has(name));
                if parameters.is_empty() {
                    context.ui.note(format!(
                        "NOTICE: no params in group '{}' for this rack",
                        group.name
                    ));
                }
            }
            for (name, value) in &mut parameters {
                if mask && matches!(name.as_str(), "Password" | "HttpProxy") && !value.is_empty() {
                    "**********".clone_into(value);
                }
            }
            Ok(parameters)
        };
        let show = |parameters: BTreeMap<String, String>| {
            let mut info = Info::default();
            for (name, value) in parameters {
                info.add(name, value);
            }
            info
        };
        self.view.show(context, read, show).await
    }
}

async fn set_parameters(context: &Context, words: &[String], rack: &RackArgs) -> Outcome {
    let options = UpdateOptions {
        parameters: pairs(words, "Key=Value expected")?,
        ..UpdateOptions::default()
    };
    let given = |name: &str| options.parameters.contains_key(name);
    if given("ScheduleRackScaleDown") != given("ScheduleRackScaleUp") {
        return Err(Error::failed(
            "both ScheduleRackScaleDown and ScheduleRackScaleUp are required",
        ));
    }
    let wait = rack.waits();
    let rack = context.rack(rack).await?;
    let progress = context.ui.start("Updating parameters")?;
    legacy::set_rack_parameters(&rack, &options).await?;
    if wait || rack.client.is_twinrack() {
        settle::system(&rack).await?;
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn processes(context: &Context, all: bool, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || Ok(rack.client.system_processes(all).await?);
    let show = |processes: Vec<Process>| {
        let now = Timestamp::now();
        let mut table = Table::new([
            "ID", "APP", "SERVICE", "STATUS", "RELEASE", "STARTED", "COMMAND",
        ]);
        for process in processes {
            let started = ago(process.started, now);
            table.row(vec![
                process.id,
                process.app,
                process.name,
                process.status,
                process.release,
                started,
                process.command,
            ]);
        }
        table
    };
    view.show(context, read, show).await
}

async fn releases(context: &Context, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || Ok(rack.client.system_releases().await?);
    let show = |releases: Vec<Release>| {
        let now = Timestamp::now();
        let mut table = Table::new(["VERSION", "UPDATED"]);
        for release in releases {
            table.row(vec![release.id, ago(release.created, now)]);
        }
        table
    };
    view.show(context, read, show).await
}

/// How large a rack is.
#[derive(Serialize)]
struct Size {
    autoscale: String,
    count: i64,
    status: String,
    #[serde(rename = "type")]
    kind: String,
}

async fn size(context: &Context, view: &ViewArgs, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let read = async || {
        let mut system = rack.client.system_get().await?;
        let autoscale = system.parameters.remove("Autoscale");
        Ok(Size {
            autoscale: autoscale.unwrap_or_else(|| "No".to_owned()),
            count: system.count,
            status: system.status,
            kind: system.kind,
        })
    };
    let show = |size: Size| {
        let mut info = Info::default();
        info.add("Autoscale", size.autoscale)
            .add("Count", size.count.to_string())
            .add("Status", size.status)
            .add("Type", size.kind);
        info
    };
    view.show(context, read, show).await
}

async fn scale(
    context: &Context,
    count: Option<i64>,
    kind: Option<String>,
    rack: &RackArgs,
) -> Outcome {
    let wait = rack.waits();
    let rack = context.rack(rack).await?;
    let progress = context.ui.start("Scaling rack")?;
    let options = UpdateOptions {
        count,
        kind,
        ..UpdateOptions::default()
    };
    rack.client.system_update(&options).await?;
    if wait {
        settle::system(&rack).await?;
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn update(context: &Context, version: Option<String>, rack: &RackArgs) -> Outcome {
    let wait = rack.waits();
    let rack = context.rack(rack).await?;
    let version = match version {
        Some(version) => version,
        None if rack.local => rack.client.system_get().await?.version,
        // Which versions there are is told by a place in the cloud.
        None => return Err(Error::failed("name the version to update to")),
    };
    let progress = context.ui.start(format!("Updating to {version}"))?;
    let options = UpdateOptions {
        version: Some(version),
        ..UpdateOptions::default()
    };
    rack.client.system_update(&options).await?;
    if wait {
        settle::system(&rack).await?;
    }
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

async fn wait(context: &Context, rack: &RackArgs) -> Outcome {
    let rack = context.rack(rack).await?;
    let mut progress = context.ui.start("Waiting for rack")?;
    progress.break_line()?;
    settle::system(&rack).await?;
    progress.ok()?;
    Ok(Exit::SUCCESS)
}

impl Access {
    async fn run(self, context: &Context) -> Outcome {
        if let Some(AccessCommand::Key {
            command: KeyCommand::Rotate { rack },
        }) = self.command
        {
            let rack = context.rack(&rack).await?;
            rack.client.token_rotate().await?;
            context.ui.line("OK")?;
            return Ok(Exit::SUCCESS);
        }
        let role = self.role.filter(|role| !role.is_empty());
        let role = role.ok_or_else(|| Error::failed("role is required"))?;
        let hours = self.duration_in_hours;
        let hours = hours.ok_or_else(|| Error::failed("duration is required"))?;
        let rack = context.rack(&self.rack).await?;
        let system = rack.client.system_get().await?;
        let token = rack.client.token_create(&role, hours).await?.token;
        let domain = system.rack_domain;
        let access = Credential {
            url: format!("https://jwt:{token}@{domain}"),
            role,
        };
        let line = format!("RACK_URL={}", access.url);
        self.form.print(&context.ui, &access, line)?;
        Ok(Exit::SUCCESS)
    }
}

impl Sync {
    async fn run(self, context: &Context) -> Outcome {
        if let Some(SyncCommand::Whitelist {
            command:
                WhitelistCommand::Instances {
                    command: InstancesCommand::Ip { rack },
                },
        }) = self.command
        {
            let rack = context.rack(&rack).await?;
            rack.client.instances_let_in().await?;
            context.ui.line("OK")?;
            return Ok(Exit::SUCCESS);
        }
        Err(Error::failed(
            "the address of a rack is known to a console and its cloud only: local racks need no sync",
        ))
    }
}
