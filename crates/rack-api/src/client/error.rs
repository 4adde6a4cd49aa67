//! What can go wrong between a client and a rack.

use std::error::Error as StdError;
use std::io;

/// A call that did not succeed. The text is one line and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The rack has answered with an error; the text is the rack's.
    #[error("{message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// The rack's text, or `response status N`.
        message: String,
    },
    /// No connection could be made: nothing was sent, so the call may be repeated.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// Kind of the failure: `ConnectionRefused` when nobody listens.
        kind: io::ErrorKind,
        /// Text of the innermost failure.
        reason: String,
    },
    /// The server could not prove who it is, or does not speak TLS.
    #[error("cannot trust {host}: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// Why, in words.
        reason: String,
    },
    /// The connection broke after something was sent: the call may or may not
    /// have had its effect.
    #[error("lost connection to {host}: {reason}")]
    Lost {
        /// Host and port.
        host: String,
        /// Text of the innermost failure.
        reason: String,
    },
    /// The answer is not one a rack gives.
    #[error("{host} does not answer like a rack: {reason}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was to be uploaded could not be read.
    #[error("cannot read the upload: {0}")]
    Upload(io::Error),
    /// The call itself makes no sense; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The rack has said why a command did not run, or broke off, and given it a status.
    #[error("{message}")]
    Refused {
        /// The rack's text.
        message: String,
        /// Never zero.
        status: i64,
    },
    /// A command's stream ended in good order, but without its exit status.
    #[error("exit status is missing: the rack ended the stream without one")]
    NoExitStatus,
}

impl ClientError {
    /// Whether the rack answered that something is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }

    /// Whether the rack answered that something has changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { status: 409, .. })
    }

    /// Whether the rack answered that something is for another server or engine.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Api { status: 421, .. })
    }

    /// Whether nobody listens at the endpoint; a local server may be started then.
    pub fn is_refused(&self) -> bool {
        matches!(
            self,
            Self::Unreachable {
                kind: io::ErrorKind::ConnectionRefused,
                ..
            }
        )
    }

    /// Whether the server went away, before or while it was asked.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_refused() || matches!(self, Self::Lost { .. })
    }

    /// Reads a failure of the HTTP layer.
    pub(crate) fn transport(host: &str, error: reqwest::Error) -> Self {
        // The URL may be long and says nothing the host does not.
        let error = error.without_url();
        let host = host.to_owned();
        let reason = innermost(&error);
        if let Some(error) = causes(&error).find_map(|cause| cause.downcast_ref()) {
            return Self::Tls {
                host,
                reason: distrust(error, &reason),
            };
        }
        if error.is_connect() {
            let kind = causes(&error)
                .filter_map(|cause| cause.downcast_ref::<io::Error>())
                .last()
                .map_or(io::ErrorKind::Other, io::Error::kind);
            let kind = if error.is_timeout() {
                io::ErrorKind::TimedOut
            } else {
                kind
            };
            return Self::Unreachable { host, kind, reason };
        }
        // A body that breaks off counts as undecodable there; it is a loss.
        if error.is_redirect() || error.is_builder() || error.is_upgrade() {
            return Self::Protocol { host, reason };
        }
        Self::Lost { host, reason }
    }

    /// Reads a failure of a socket.
    pub(crate) fn socket(host: &str, error: io::Error) -> Self {
        let host = host.to_owned();
        let reason = error.to_string();
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Protocol { host, reason },
            _ => Self::Lost { host, reason },
        }
    }
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An `io::Error` does not count what it wraps among its sources.
        match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

/// Why a server is not trusted, in words; the library has those of programmers.
fn distrust(error: &rustls::Error, innermost: &str) -> String {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => "nobody this machine trusts has signed its certificate".into(),
            Bad::Expired | Bad::ExpiredContext { .. } => "its certificate has expired".into(),
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet".into()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name".into()
            }
            Bad::Revoked => "its certificate was revoked".into(),
            Bad::BadSignature => "the signature of its certificate is wrong".into(),
            // Names of our own library's errors, such as that of a certificate that signs
            // itself, say nothing to people.
            _ => "its certificate is not one that this machine trusts".into(),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".into(),
        _ => innermost.to_owned(),
    }
}

/// The text of the first cause of all: the layers above it say only where it passed.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let text = causes(error).last().expect("the error itself").to_string();
    text.replace('\n', " ")
}
