//! The exit statuses of the client, documented for scripts.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | what was asked has happened; help was shown |
//! | 1 | anything failed, wrong usage included |
//! | 141 | the reader of standard output went away |
//! | any | `run` and `exec`: the status of the remote process |

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// What was asked has happened.
    pub(crate) const SUCCESS: Self = Self(0);
    /// Anything failed.
    pub(crate) const FAILURE: Self = Self(1);
    /// The reader of standard output went away: 128 and the number of SIGPIPE.
    pub(crate) const BROKEN_PIPE: Self = Self(141);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}
