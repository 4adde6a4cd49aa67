//! Who a caller is: for which racks, and what they may do.

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

/// Whom credentials let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Where.
    pub reach: Reach,
    /// What for.
    pub role: Role,
}
