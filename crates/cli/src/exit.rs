//! The exit statuses of the client, documented for scripts: [`STATUSES`] is what `--help`, the
//! manual and the reference of commands say of them.

use std::fmt::Write as _;
use std::process::ExitCode;

/// What statuses mean: the command they are of, none for all commands; the status; its meaning.
const STATUSES: &[(&str, &str, &str)] = &[
    ("", "0", "what was asked has happened; help was shown"),
    ("", "1", "anything failed, wrong usage included"),
    ("", "141", "the reader of standard output went away"),
    (
        "artifact convert",
        "129, 130, 143",
        "hung up, interrupted, terminated",
    ),
    ("artifact diff", "1", "the archives differ"),
    (
        "artifact diff",
        "2",
        "anything failed, wrong usage included",
    ),
    ("doctor", "1", "something is broken"),
    ("exec", "any", "the status of the command; 1 if none came"),
    ("exec", "129, 130, 143", "hung up, interrupted, terminated"),
    (
        "instances ssh",
        "any",
        "the status of the command; 1 if none came",
    ),
    (
        "rack exec",
        "any",
        "the status of the command; 128 and the number of the signal that ended it",
    ),
    (
        "rack exec",
        "129, 130, 143",
        "hung up, interrupted, terminated before the command began, or it would not end",
    ),
    ("run", "any", "the status of the command; 1 if none came"),
    ("run", "129, 130, 143", "hung up, interrupted, terminated"),
    (
        "timers run",
        "any",
        "the status of the command; 1 if none came",
    ),
];

/// The section on statuses in the help of a command, `""` for all of them; empty where
/// there is nothing to say beside what holds for every command.
pub(crate) fn text(command: &str) -> String {
    let mut rows = Vec::new();
    for (of, status, meaning) in STATUSES {
        if command.is_empty() && !of.is_empty() {
            rows.push((*status, format!("{of}: {meaning}")));
        } else if *of == command {
            rows.push((*status, (*meaning).to_owned()));
        }
    }
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str("EXIT STATUS\n");
    }
    for (status, meaning) in rows {
        writeln!(text, "  {status:<13}  {meaning}").expect("a text takes everything");
    }
    text
}

/// What statuses of a command mean, those that all commands have first.
pub(crate) fn statuses(command: &str) -> Vec<(&'static str, &'static str)> {
    let of = |wanted: &str| -> Vec<(&'static str, &'static str)> {
        let own = STATUSES.iter().filter(|(of, ..)| *of == wanted);
        own.map(|(_, status, meaning)| (*status, *meaning))
            .collect()
    };
    let mut all = of("");
    if !command.is_empty() {
        let own = of(command);
        // What a command says of a status is not what others mean by it.
        all.retain(|(status, _)| own.iter().all(|(said, _)| said != status));
        all.extend(own);
    }
    all
}

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
    fn statuses_are_told_by_command() {
        assert_eq!(
            text("artifact diff"),
            "EXIT STATUS\n  1              the archives differ\n  \
             2              anything failed, wrong usage included\n"
        );
        assert_eq!(text("apps"), "");
        let of = |command: &str| -> Vec<_> {
            let statuses = statuses(command).into_iter();
            statuses.map(|(status, _)| status).collect()
        };
        assert_eq!(of("apps"), ["0", "1", "141"]);
        assert_eq!(of("artifact diff"), ["0", "141", "1", "2"]);
        let all = text("");
        assert!(all.contains("  141            the reader of standard output went away\n"));
        assert!(all.contains("  any            run: the status of the command"));
    }

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
