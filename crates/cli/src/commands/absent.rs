//! Commands that only mean something with a cloud account or a hosted console: each
//! exists, and says in one sentence why not here.

use clap::{ArgAction, Args};

use crate::error::{Error, Outcome};

/// Whatever arguments such a command is given.
#[derive(Debug, Args)]
pub(crate) struct Absent {
    /// arguments
    #[arg(num_args = 0.., allow_hyphen_values = true, action = ArgAction::Append)]
    arguments: Vec<String>,
}

/// Why a command does nothing here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reason {
    /// Money.
    Budget,
    /// Machines rented by the app.
    Cloud,
    /// Prices.
    Cost,
    /// Files for apps of generation 1.
    Init,
    /// Nodes of a cluster in a cloud.
    Karpenter,
    /// Access to a cluster.
    Kubeconfig,
    /// A public certificate authority.
    LetsEncrypt,
    /// Racks that Terraform made.
    Move,
    /// Databases of a cloud.
    Rds,
    /// A rack of early 2018 and its router, in containers of their own.
    RackStart,
    /// A hosted console that runs racks in cloud accounts.
    Runtimes,
    /// Scaling by what is used.
    Triggers,
    /// A hosted console that acts on changes of a repository.
    Workflows,
}

impl Absent {
    /// Fails with the reason.
    pub(crate) fn run(self, reason: Reason) -> Outcome {
        let _ = self.arguments;
        let (what, instead) = match reason {
            Reason::Budget => (
                "budgets limit the price of cloud machines, which this client does not deal with",
                "`convox scale` changes how much an app uses",
            ),
            Reason::Cloud => (
                "cloud machines are rented from a hosted console, which this client does not deal with",
                "`convox install --stack-name <name>` makes a rack on this machine",
            ),
            Reason::Cost => (
                "prices are told by a cloud, which this client does not deal with",
                "`convox ps` and `convox instances` show what is used",
            ),
            Reason::Init => (
                "`init` wrote a manifest of generation 1, which racks build no more",
                "write a convox.yml: `services: {web: {build: ., port: 3000}}` is a whole one",
            ),
            Reason::Karpenter => (
                "karpenter makes nodes of clusters in a cloud, and a local rack is one machine",
                "`convox instances` shows the machine",
            ),
            Reason::Kubeconfig => (
                "a local rack is no Kubernetes cluster, and clusters of clouds are not dealt with",
                "`convox exec`, `convox proxy` and `convox logs` reach what runs in it",
            ),
            Reason::LetsEncrypt => (
                "certificates of a public authority need a public address, which this client does not deal with",
                "`convox certs generate <domain>` makes one that the rack signs itself",
            ),
            Reason::Move => (
                "racks that Terraform made move to and from a hosted console, which this client does not deal with",
                "`convox apps export` and `convox apps import` move apps between racks",
            ),
            Reason::Rds => (
                "this is a repair of databases in a cloud account, which this client does not deal with",
                "`convox resources` lists the databases of an app",
            ),
            Reason::RackStart => (
                "a local rack has no containers of its own to be started",
                "`convox install --stack-name <name>` makes one, and it is started when it is needed",
            ),
            Reason::Triggers => (
                "scaling by load is a console's and a cluster's business, which this client does not deal with",
                "`convox scale <service> --count <number>` sets the number of processes",
            ),
            Reason::Runtimes => (
                "runtimes are cloud accounts of a hosted console, which this client does not deal with",
                "`convox racks` lists racks",
            ),
            Reason::Workflows => (
                "workflows are run by a hosted console, which this client does not deal with",
                "a script with `convox deploy` does the same",
            ),
        };
        Err(Error::with_hint(what, instead))
    }
}
