//! `convox.yml`, generation 2: text → typed, defaulted, validated.
//!
//! [`Manifest::load`] is the whole of it: interpolation, YAML, defaults, environment resolution
//! and validation, with errors that carry line and column. It follows v2 racks where they and v3
//! differ, accepts the keys of both, and says in a warning what has no effect or is read
//! differently elsewhere. No I/O, no clock; hostile text is refused in bounded time and memory.

mod balancer;
mod container;
mod environment;
mod error;
pub mod fuzz;
mod generation1;
mod interpolate;
mod keys;
mod load;
mod reader;
mod resolved;
mod resource;
mod schedule;
mod service;
mod syntax;
mod timer;
mod validate;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

pub use balancer::{Balancer, BalancerPort, BalancerProtocol};
pub use container::{
    Config, ConfigMount, EmptyDirectory, InitContainer, Lifecycle, PullPassword, PullSecret,
    Security, StartupCheck, StartupProbe,
};
pub use environment::Variable;
pub use error::{Error, Errors, Warning};
pub use load::Loaded;
pub use resolved::Resolved;
pub use resource::{Resource, ResourceLink, resource_variable_prefix};
pub use schedule::{InvalidSchedule, Schedule};
pub use service::{
    Build, Deployment, Health, Listener, ListenerProtocol, ListenerScheme, Liveness, Port, Scale,
    Service, Volume,
};
pub use timer::{Concurrency, Timer};

/// A loaded manifest. Services, resources, timers and balancers keep their order in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Services by name.
    pub services: IndexMap<String, Service>,
    /// Resources by name.
    pub resources: IndexMap<String, Resource>,
    /// Timers by name.
    pub timers: IndexMap<String, Timer>,
    /// Balancers by name.
    pub balancers: IndexMap<String, Balancer>,
    /// Configs that services mount as files.
    pub configs: Vec<Config>,
}

impl Manifest {
    /// Loads a manifest for a release: interpolation with `env`, parsing, defaults, required
    /// variables, validation.
    pub fn load(text: &str, env: &BTreeMap<String, String>) -> Result<Loaded, Errors> {
        load::load(text, env, load::Required::Checked)
    }

    /// Loads a manifest although required variables may be missing, as for a release that is not
    /// complete yet. Everything else is checked as in [`Manifest::load`].
    pub fn load_without_environment(
        text: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<Loaded, Errors> {
        load::load(text, env, load::Required::Ignored)
    }

    /// Why a `docker-compose.yml` does not run here, and the steps to move it, one by one.
    pub fn generation1_steps(text: &str) -> Errors {
        load::generation1_steps(text)
    }

    /// Names of the required variables that `env` lacks, over all services, sorted, each once.
    pub fn missing_environment(&self, env: &BTreeMap<String, String>) -> Vec<String> {
        let names: BTreeSet<_> = self
            .services
            .values()
            .flat_map(|service| environment::missing(&service.environment, env))
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }
}
