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
    /// A public certificate authority.
    LetsEncrypt,
    /// A hosted console that runs racks in cloud accounts.
    Runtimes,
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
            Reason::LetsEncrypt => (
                "certificates of a public authority need a public address, which this client does not deal with",
                "`convox certs generate <domain>` makes one that the rack signs itself",
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
