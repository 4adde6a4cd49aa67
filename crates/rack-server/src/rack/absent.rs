//! What racks in a cloud have and one machine has not: each is refused with one
//! sentence that says so and, where there is one, what to do instead.

use super::Rack;
use crate::operations::{Failure, Result};

/// Something a local rack has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Monthly budgets and what happens when they are used up.
    Budget,
    /// The price of what runs.
    Cost,
    /// Autoscaling, by hand or by triggers.
    Autoscaling,
    /// Nodes that come and go.
    Karpenter,
    /// Certificates by ACME.
    LetsEncrypt,
    /// Requests into the rack by header.
    HttpProxy,
}

impl Absent {
    /// Why there is none.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Budget => {
                "budgets are not available on a local rack: what runs on your own machine has no price"
            }
            Self::Cost => {
                "costs are not tracked on a local rack: what runs on your own machine has no price"
            }
            Self::Autoscaling => {
                "autoscaling is not available on a local rack: set the number of processes with scale"
            }
            Self::Karpenter => {
                "karpenter is not available on a local rack: its only node is this machine"
            }
            Self::LetsEncrypt => {
                "letsencrypt is not available on a local rack: certificates come from its own authority"
            }
            Self::HttpProxy => {
                "the http proxy is not available on a local rack: ask the service by its host name"
            }
        }
    }

    fn refuse(self) -> Failure {
        match self {
            // No route of a rack, so to speak.
            Self::HttpProxy => Failure::NotFound(self.reason().into()),
            _ => Failure::Invalid(self.reason().into()),
        }
    }
}

impl Rack {
    /// Refuses what the rack has not.
    pub fn absent(&self, what: Absent) -> Failure {
        what.refuse()
    }

    /// Refuses what no app of the rack has; an app that is missing is said first.
    pub async fn absent_of_app(&self, app: &str, what: Absent) -> Result<Failure> {
        self.context.app(app).await?;
        Ok(what.refuse())
    }

    /// Refuses what no service has; an app or service that is missing is said first.
    pub async fn absent_of_service(
        &self,
        app: &str,
        service: &str,
        what: Absent,
    ) -> Result<Failure> {
        self.known_service(app, service).await?;
        Ok(what.refuse())
    }
}
