//! Why an operation, or any other work of a rack, failed.
//!
//! The text of every variant but [`Failure::Internal`] is one line, fit for
//! users and free of secrets; internal ones are logged and never sent.

use crate::engine::EngineError;
use crate::store::StoreError;

/// Result of a rack's work.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why something failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// What was given cannot be accepted.
    #[error("{0}")]
    Invalid(String),
    /// What was given is understood and cannot be worked with.
    #[error("{0}")]
    Unprocessable(String),
    /// The state of things does not allow it now.
    #[error("{0}")]
    Conflict(String),
    /// Not allowed at this moment or for this caller.
    #[error("{0}")]
    Forbidden(String),
    /// The credentials are missing or wrong.
    #[error("invalid authentication")]
    Unauthorized,
    /// A token is no good.
    #[error("invalid authentication: {0}")]
    Token(String),
    /// The credentials are good, but not for this.
    #[error("you are unauthorized to access this")]
    Unallowed,
    /// It is for another server, or another engine of this one.
    #[error("{0}")]
    Elsewhere(String),
    /// More was sent than is taken.
    #[error("{0}")]
    TooLarge(String),
    /// Cancelled by a user.
    #[error("{0}")]
    Cancelled(String),
    /// A step did not succeed, for a reason that lies with the app.
    #[error("{0}")]
    Failed(String),
    /// A server died meanwhile.
    #[error("{0}")]
    Interrupted(String),
    /// This server is stopping; a later one goes on.
    #[error("the server is stopping")]
    Shutdown,
    /// The engine could not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The disk or a stream failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Our own fault.
    #[error("internal error")]
    Internal(String),
}

impl Failure {
    /// An internal failure with its context for the log.
    pub fn internal(context: impl Into<String>) -> Self {
        Self::Internal(context.into())
    }

    /// An input/output failure with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same of a file in a directory, which is named when there is no room left in it.
    pub fn spool(what: &str, directory: &std::path::Path) -> impl Fn(std::io::Error) -> Self {
        move |source| {
            let full = matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            );
            let what = if full {
                format!(
                    "{what} does not fit into {}, make room there",
                    directory.display()
                )
            } else {
                what.to_owned()
            };
            Self::Io { what, source }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.to_string())
    }
}
