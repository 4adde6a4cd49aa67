//! Who a caller is: for which racks, and what they may do; and how much the server
//! takes from callers.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// What a caller may do (`rack-api.md` §1.3). Passwords give everything; tokens say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look: `r`.
    Read,
    /// Look and change: `rw`.
    Write,
    /// Everything, tokens for others too: `rwa`.
    Admin,
}

/// For which racks credentials are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// All, and for making and removing them.
    Server,
    /// One.
    Rack(String),
}

/// What the server takes from callers.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of one uploaded object, archive or file.
    pub largest_upload: u64,
    /// How long the answer to wrong credentials takes at most, after many of them.
    pub slowest_refusal: Duration,
    /// Such answers held back at a time.
    pub refusals_waiting: usize,
    /// Names clients reach the server by, besides those of this machine.
    pub hosts: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            largest_upload: 64 << 30,
            slowest_refusal: Duration::from_secs(2),
            refusals_waiting: 256,
            hosts: Vec::new(),
        }
    }
}

/// Whom credentials let in.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where.
    pub reach: Reach,
    /// What for.
    pub role: Role,
    /// What ends it before its time, where something can.
    pub until: Option<CancellationToken>,
}
