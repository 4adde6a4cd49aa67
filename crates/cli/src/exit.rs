//! The exit statuses of the client, documented for scripts.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | what was asked has happened; help was shown |
//! | 1 | anything failed, wrong usage included; `artifact diff`: the archives differ |
//! | 2 | `artifact diff`: anything failed, wrong usage included |
//! | 129, 130, 143 | `run`, `exec` and `artifact convert`: hung up, interrupted, terminated |
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
    /// `artifact diff`: the archives differ.
    pub(crate) const DIFFERENT: Self = Self(1);
    /// Anything failed where 1 is an answer.
    pub(crate) const TROUBLE: Self = Self(2);
    /// The reader of standard output went away: 128 and the number of SIGPIPE.
    pub(crate) const BROKEN_PIPE: Self = Self(141);

    /// The status of a remote process: its low byte, as any shell sees it, but
    /// never zero for what is not zero.
    pub(crate) fn remote(status: i64) -> Self {
        match status.to_le_bytes()[0] {
            0 if status != 0 => Self(u8::MAX),
            byte => Self(byte),
        }
    }

    /// Ended by a signal: 128 and its number.
    pub(crate) fn signal(number: i32) -> Self {
        Self::remote(128 + i64::from(number))
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_statuses_pass_and_never_become_success() {
        for (status, exit) in [
            (0, 0),
            (1, 1),
            (255, 255),
            (-1, 255),
            (256, 255),
            (257, 1),
            (i64::MIN, 255),
        ] {
            assert_eq!(Exit::remote(status), Exit(exit), "{status}");
        }
        assert_eq!(Exit::signal(2), Exit(130));
    }
}
