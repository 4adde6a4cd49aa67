//! A timer: a command run at times.

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Its name: a lower-case letter, then lower-case letters, digits and dashes.
    pub name: String,
    /// Shell command.
    pub command: String,
    /// Cron expression as written, checked.
    pub schedule: String,
    /// Service whose image and environment it uses.
    pub service: String,
}
