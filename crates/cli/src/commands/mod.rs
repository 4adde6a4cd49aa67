//! The commands, one file per family.
//!
//! A family is a `clap` type with a `run` method; it is registered by a variant
//! of [`Command`] and an arm of [`Command::run`].

mod absent;
mod api;
mod app;
mod app_archive;
mod archive;
mod artifact;
mod balancer;
mod build;
mod certificate;
mod completion;
mod config;
mod copy;
mod cp;
mod deploy;
mod diagnose;
mod doctor;
mod environment;
mod exec;
mod fault;
mod image;
mod install;
mod instance;
mod login;
mod logs;
mod man;
mod manifest;
mod mask;
mod parameter_group;
mod process;
mod promote;
mod proxy;
mod rack;
mod rack_ca;
mod rack_exec;
mod rack_resource;
mod racks;
mod registry;
mod release;
mod resource;
mod run;
mod scale;
mod secret;
mod service;
mod start;
mod test;
mod timer;
mod uninstall;
mod update;
mod version;

use ::manifest::Manifest;
use clap::Subcommand;
pub(crate) use exec::Signals;
use rack_api::{Environment, id};

use self::absent::Reason;
pub(crate) use self::logs::Log;
pub(crate) use self::promote::rolled_back;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::racks::Rack;

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// query the rack api directly
    Api(api::Api),
    /// list apps
    Apps(app::Apps),
    /// look into build archives
    Artifact(artifact::Artifact),
    /// list balancers for an app
    Balancers(balancer::Balancers),
    /// limit the price of an app
    #[command(hide = true)]
    Budget(absent::Absent),
    /// create a build
    Build(build::Build),
    /// list builds
    Builds(build::Builds),
    /// list certificates
    Certs(certificate::Certs),
    /// manage cloud machines
    #[command(hide = true)]
    Cloud(absent::Absent),
    /// tell a shell what may come next
    #[command(hide = true)]
    Complete(completion::Complete),
    /// print the completion script of a shell
    Completion(completion::Completion),
    /// get or set a config of an app
    Config(config::Config),
    /// list configs for an app
    Configs(config::Configs),
    /// tell the price of an app
    #[command(hide = true)]
    Cost(absent::Absent),
    /// copy files
    Cp(cp::Copy),
    /// decrypt data using key
    Decrypt(secret::Secret),
    /// create and promote a build
    Deploy(deploy::Deploy),
    /// diagnose deploy failures and processes that are not ready
    #[command(name = "deploy-debug")]
    DeployDebug(diagnose::DeployDebug),
    /// check this machine, the settings and the local server
    Doctor(doctor::Doctor),
    /// encrypt data using key
    Encrypt(secret::Secret),
    /// list env vars
    Env(environment::Env),
    /// execute a command in a running process
    Exec(exec::Exec),
    /// in 2017: write files for apps of generation 1
    #[command(hide = true)]
    Init(absent::Absent),
    /// install a local rack
    Install(install::Install),
    /// list instances
    Instances(instance::Instances),
    /// get certificates of a public authority
    #[command(hide = true)]
    Letsencrypt(absent::Absent),
    /// authenticate with a rack
    Login(login::Login),
    /// get logs for an app
    Logs(logs::Logs),
    /// write the manual as man pages
    Man(man::Man),
    /// look into manifests
    Manifest(manifest::Manifest),
    /// proxy a connection inside the rack
    Proxy(proxy::Proxy),
    /// list app processes
    Ps(process::Ps),
    /// get information about the rack
    Rack(rack::RackCommand),
    /// list available racks
    Racks(racks::Racks),
    /// list private registries
    Registries(registry::Registries),
    /// list releases for an app
    Releases(release::Releases),
    /// list resources
    Resources(resource::Resources),
    /// restart an app
    Restart(service::Restart),
    /// in early 2018: the router of local racks
    #[command(hide = true)]
    Router(absent::Absent),
    /// execute a command in a new process
    Run(run::Run),
    /// list cloud accounts of a console
    #[command(hide = true)]
    Runtimes(absent::Absent),
    /// scale a service
    Scale(scale::Scale),
    /// list services for an app
    Services(service::Services),
    /// list certificates of an app's ports
    Ssl(certificate::Ssl),
    /// start an application for local development
    Start(start::Start),
    /// switch current rack
    Switch(racks::Switch),
    /// run tests
    Test(test::Test),
    /// list timers of an app
    Timers(timer::Timers),
    /// uninstall a local rack
    Uninstall(uninstall::Uninstall),
    /// update the client
    Update(update::Update),
    /// display version
    Version(version::Version),
    /// run workflows of a console
    #[command(hide = true)]
    Workflows(absent::Absent),
}

impl Command {
    /// Does what was asked for.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Api(command) => command.run(context).await,
            Self::Apps(command) => command.run(context).await,
            Self::Artifact(command) => command.run(context).await,
            Self::Balancers(command) => command.run(context).await,
            Self::Budget(command) => command.run(Reason::Budget),
            Self::Build(command) => command.run(context).await,
            Self::Builds(command) => command.run(context).await,
            Self::Certs(command) => command.run(context).await,
            Self::Cloud(command) => command.run(Reason::Cloud),
            Self::Complete(command) => Ok(command.run(context).await),
            Self::Completion(command) => command.run(context),
            Self::Config(command) => command.run(context).await,
            Self::Configs(command) => command.run(context).await,
            Self::Cost(command) => command.run(Reason::Cost),
            Self::Cp(command) => command.run(context).await,
            Self::Decrypt(command) => command.decrypt(context),
            Self::Deploy(command) => command.run(context).await,
            Self::DeployDebug(command) => command.run(context).await,
            Self::Doctor(command) => command.run(context).await,
            Self::Encrypt(command) => command.encrypt(context),
            Self::Env(command) => command.run(context).await,
            Self::Exec(command) => command.run(context).await,
            Self::Init(command) => command.run(Reason::Init),
            Self::Install(command) => command.run(context).await,
            Self::Instances(command) => command.run(context).await,
            Self::Letsencrypt(command) => command.run(Reason::LetsEncrypt),
            Self::Login(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Man(command) => command.run(context),
            Self::Manifest(command) => command.run(context).await,
            Self::Proxy(command) => command.run(context).await,
            Self::Ps(command) => command.run(context).await,
            Self::Rack(command) => command.run(context).await,
            Self::Racks(command) => command.run(context).await,
            Self::Registries(command) => command.run(context).await,
            Self::Releases(command) => command.run(context).await,
            Self::Resources(command) => command.run(context).await,
            Self::Restart(command) => command.run(context).await,
            Self::Router(command) => command.run(Reason::RackStart),
            Self::Run(command) => command.run(context).await,
            Self::Runtimes(command) => command.run(Reason::Runtimes),
            Self::Scale(command) => command.run(context).await,
            Self::Services(command) => command.run(context).await,
            Self::Ssl(command) => command.run(context).await,
            Self::Start(command) => command.run(context).await,
            Self::Switch(command) => command.run(context).await,
            Self::Test(command) => command.run(context).await,
            Self::Timers(command) => command.run(context).await,
            Self::Uninstall(command) => command.run(context).await,
            Self::Update(command) => command.run(context),
            Self::Version(command) => command.run(context).await,
            Self::Workflows(command) => command.run(Reason::Workflows),
        }
    }
}

/// The release meant by a release id, or by the id of its build.
pub(crate) async fn release_id(rack: &Rack, app: &str, id: &str) -> Result<String, Error> {
    if !id::is_build(id) {
        return Ok(id.to_owned());
    }
    let build = rack.client.build_get(app, id).await?;
    if build.release.is_empty() {
        return Err(Error::failed(format!(
            "build has no release: {id} is {}",
            build.status
        )));
    }
    Ok(build.release)
}

/// The build meant by a build id, or by the id of one of its releases.
pub(crate) async fn build_id(rack: &Rack, app: &str, id: &str) -> Result<String, Error> {
    if !id::is_release(id) {
        return Ok(id.to_owned());
    }
    let release = rack.client.release_get(app, id).await?;
    if release.build.is_empty() {
        return Err(Error::failed(format!("no build for release: {id}")));
    }
    Ok(release.build)
}

/// The manifest of a release, with its environment.
pub(crate) async fn manifest_of(rack: &Rack, app: &str, release: &str) -> Result<Manifest, Error> {
    let found = rack.client.release_get(app, release).await?;
    let mut text = found.manifest;
    if text.is_empty() && !found.build.is_empty() {
        text = rack.client.build_get(app, &found.build).await?.manifest;
    }
    let environment = Environment::parse(&found.env).to_map();
    let loaded = Manifest::load_without_environment(&text, &environment)
        .map_err(|errors| Error::failed(format!("the manifest of {release}: {errors}")))?;
    Ok(loaded.manifest)
}
