//! Everything that can go wrong, as one line for people, with an optional hint.

use std::io;

use crate::exit::Exit;
use crate::settings::SettingsError;
use crate::target::TargetError;
use crate::usage::UsageError;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments are wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The settings can not be read or written.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No rack can be told from arguments, environment and settings.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A file or stream failed.
    #[error("{doing}: {source}")]
    Io {
        /// What could not be done, such as `can not read app.tgz`.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// The reader of standard output went away; nobody is left to be told.
    #[error("standard output closed")]
    OutputClosed,
    /// Anything else worth one sentence.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Error>;

impl Error {
    /// Fails with one sentence.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }

    /// Fails with one sentence and what to do about it.
    pub(crate) fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// For `map_err`: says what was being done when reading or writing failed.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing: doing.into(),
            source,
        }
    }

    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(error) => error.hint(),
            Self::Failed { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// The exit status of the error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OutputClosed => Exit::BROKEN_PIPE,
            _ => Exit::FAILURE,
        }
    }
}
