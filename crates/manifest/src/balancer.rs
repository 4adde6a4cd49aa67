//! A balancer: ports of the rack's own that lead to one service (version 3).

/// A balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// Its name: a lower-case letter, then lower-case letters, digits and dashes.
    pub name: String,
    /// Service whose processes get the connections.
    pub service: String,
    /// Ports, at least one.
    pub ports: Vec<BalancerPort>,
    /// Networks that may connect; empty for all.
    pub whitelist: Vec<String>,
}

/// A port of a [`Balancer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerPort {
    /// Port clients connect to.
    pub source: u16,
    /// Port of the process.
    pub target: u16,
    /// What it carries.
    pub protocol: BalancerProtocol,
}

/// What a [`BalancerPort`] carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalancerProtocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl BalancerProtocol {
    /// Its usual name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}
