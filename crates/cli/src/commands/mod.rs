//! The commands, one file per family.
//!
//! A family is a `clap` type with a `run` method; it is registered by a variant
//! of [`Command`] and an arm of [`Command::run`].

mod api;
mod app;
mod archive;
mod artifact;
mod build;
mod copy;
mod deploy;
mod environment;
mod exec;
mod install;
mod login;
mod logs;
mod process;
mod promote;
mod rack;
mod racks;
mod release;
mod resource;
mod run;
mod scale;
mod service;
mod uninstall;
mod version;

use clap::Subcommand;
pub(crate) use exec::Signals;
use rack_api::id;

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
    /// create a build
    Build(build::Build),
    /// list builds
    Builds(build::Builds),
    /// create and promote a build
    Deploy(deploy::Deploy),
    /// list env vars
    Env(environment::Env),
    /// execute a command in a running process
    Exec(exec::Exec),
    /// install a local rack
    Install(install::Install),
    /// authenticate with a rack
    Login(login::Login),
    /// get logs for an app
    Logs(logs::Logs),
    /// list app processes
    Ps(process::Ps),
    /// get information about the rack
    Rack(rack::RackCommand),
    /// list available racks
    Racks(racks::Racks),
    /// list releases for an app
    Releases(release::Releases),
    /// list resources
    Resources(resource::Resources),
    /// restart an app
    Restart(service::Restart),
    /// execute a command in a new process
    Run(run::Run),
    /// scale a service
    Scale(scale::Scale),
    /// list services for an app
    Services(service::Services),
    /// switch current rack
    Switch(racks::Switch),
    /// uninstall a local rack
    Uninstall(uninstall::Uninstall),
    /// display version
    Version(version::Version),
}

impl Command {
    /// Does what was asked for.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self {
            Self::Api(command) => command.run(context).await,
            Self::Apps(command) => command.run(context).await,
            Self::Artifact(command) => command.run(context).await,
            Self::Build(command) => command.run(context).await,
            Self::Builds(command) => command.run(context).await,
            Self::Deploy(command) => command.run(context).await,
            Self::Env(command) => command.run(context).await,
            Self::Exec(command) => command.run(context).await,
            Self::Install(command) => command.run(context).await,
            Self::Login(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Ps(command) => command.run(context).await,
            Self::Rack(command) => command.run(context).await,
            Self::Racks(command) => command.run(context).await,
            Self::Releases(command) => command.run(context).await,
            Self::Resources(command) => command.run(context).await,
            Self::Restart(command) => command.run(context).await,
            Self::Run(command) => command.run(context).await,
            Self::Scale(command) => command.run(context).await,
            Self::Services(command) => command.run(context).await,
            Self::Switch(command) => command.run(context).await,
            Self::Uninstall(command) => command.run(context).await,
            Self::Version(command) => command.run(context).await,
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
