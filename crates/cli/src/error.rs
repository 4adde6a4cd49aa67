//! Everything that can go wrong, as one line for people, with an optional hint.

use std::io;

use rack_api::client::ClientError;

use crate::context::variable;
use crate::exit::Exit;
use crate::output::without_place;
use crate::server::{ServerError, is_loopback};
use crate::settings::SettingsError;
use crate::source::SourceError;
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
    /// The local server can not be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The source can not be packaged.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The rack says no, or can not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// One of several hosts failed.
    #[error("{host}: {source}")]
    Host {
        /// The host.
        host: String,
        /// What failed there.
        source: Box<Self>,
    },
    /// A file or stream failed.
    #[error("{doing}: {source}")]
    Io {
        /// What could not be done, such as `can not read app.tgz`.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// An archive can not be read.
    #[error("{name}: {source}")]
    Archive {
        /// What the user calls it.
        name: String,
        /// Why.
        source: Box<artifact::ArtifactError>,
    },
    /// An error of a command whose status 1 is an answer.
    #[error(transparent)]
    Troubled(Box<Self>),
    /// The client was asked to leave.
    #[error("interrupted")]
    Interrupted(i32),
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

/// Where to look for what a rack does not find, in the words of racks of all generations.
fn listed(message: &str) -> Option<String> {
    const THINGS: [(&str, &str); 6] = [
        ("app", "apps"),
        ("build", "builds"),
        ("process", "ps"),
        ("release", "releases"),
        ("resource", "resources"),
        ("service", "services"),
    ];
    THINGS.iter().find_map(|(thing, command)| {
        let missing = message.starts_with(&format!("{thing} not found"))
            || message.starts_with(&format!("no such {thing}"));
        missing.then(|| format!("`convox {command}` lists what there is"))
    })
}

fn is_set(name: &str) -> bool {
    variable(name).is_some()
}

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

    /// Names the host that failed, unless the text does already.
    pub(crate) fn about(self, host: &str) -> Self {
        if self.to_string().contains(host) {
            self
        } else {
            Self::Host {
                host: host.to_owned(),
                source: Box::new(self),
            }
        }
    }

    /// For `map_err`: says which archive it is about.
    pub(crate) fn archive(name: String) -> impl FnOnce(artifact::ArtifactError) -> Self {
        move |source| Self::Archive {
            name,
            source: Box::new(source),
        }
    }

    /// The same error of a command whose status 1 is an answer.
    pub(crate) fn troubled(self) -> Self {
        Self::Troubled(Box::new(self))
    }

    /// For `map_err`: says what was being done when reading or writing failed.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing: doing.into(),
            source,
        }
    }

    /// For `map_err`: what is kept in the temporary directory while it is on its way could
    /// not be.
    pub(crate) fn keeping(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let directory = std::env::temp_dir();
            let source = without_place(source);
            let message = format!("can not keep {what} in {}: {source}", directory.display());
            let full = matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
            let hint = "make room there, or set TMPDIR to a directory with more";
            Self::Failed {
                message,
                hint: full.then(|| hint.to_owned()),
            }
        }
    }

    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage(error) => error.hint(),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Source(SourceError::NoDirectory(path))
                if path.to_string_lossy().contains("://") =>
            {
                Some("a source is a directory: `git clone` it first".to_owned())
            }
            Self::Host { source, .. } | Self::Troubled(source) => source.hint(),
            Self::Client(ClientError::Api {
                status: 401,
                message,
            }) if message.starts_with("you are unauthorized") => {
                Some("the credentials are good; what they are for does not include this".to_owned())
            }
            // What is stored is not looked at.
            Self::Client(ClientError::Api { status: 401, .. }) if is_set("RACK_URL") => Some(
                "RACK_URL names the rack and its credentials: correct it, or unset it to use what is stored"
                    .to_owned(),
            ),
            Self::Client(ClientError::Api { status: 401, .. }) if is_set("CONVOX_PASSWORD") => {
                Some("CONVOX_PASSWORD is not the password of this host".to_owned())
            }
            Self::Client(ClientError::Api { status: 401, .. }) => {
                Some("`convox login <host> -p <password>` stores a password".to_owned())
            }
            Self::Client(error @ ClientError::Unreachable { host, .. })
                if error.is_refused() && is_loopback(host) =>
            {
                Some("`convox install --stack-name <name>` starts a local server".to_owned())
            }
            // Racks answer with nothing to a route they do not have (`rack-api.md` §1.6).
            Self::Client(ClientError::Api {
                status: 404,
                message,
            }) if message == "response status 404" => Some(
                "the rack does not know this call: it may be too old for it, or too new".to_owned(),
            ),
            Self::Client(
                ClientError::Api { message, .. } | ClientError::Refused { message, .. },
            ) => listed(message),
            Self::Target(TargetError::NotFound(_)) => {
                Some("`convox racks` lists the racks".to_owned())
            }
            Self::Client(ClientError::Tls { .. }) => Some(
                "trust who has signed it on this machine (on Linux also SSL_CERT_FILE=<pem>); \
                 CONVOX_TLS_VERIFY=never trusts any certificate"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The exit status of the error.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OutputClosed => Exit::BROKEN_PIPE,
            Self::Interrupted(signal) => Exit::signal(*signal),
            Self::Client(ClientError::Refused { status, .. }) => Exit::remote(*status),
            Self::Troubled(error) => match error.exit() {
                Exit::FAILURE => Exit::TROUBLE,
                exit => exit,
            },
            _ => Exit::FAILURE,
        }
    }
}
