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
    /// What is done when it fires while it still runs.
    pub concurrency: Concurrency,
    /// Processes that are started each time; each finds its number in `TIMER_INDEX` if there
    /// are several.
    pub parallel: u64,
}

/// What is done when a timer fires while it still runs (version 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// Another one is started beside it.
    #[default]
    Allow,
    /// It is left alone.
    Forbid,
    /// It is stopped first.
    Replace,
}

impl Concurrency {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Forbid => "forbid",
            Self::Replace => "replace",
        }
    }
}
