//! Settings, the local server, its authority, and the racks that are known.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rack_api::client::{Client, ClientError};

use super::{Finding, State};
use crate::context::{Context, variable};
use crate::error::Error;
use crate::server::{Answer, Server, is_loopback};

/// Variables that win over what `convox switch` and `convox login` have stored.
const OVERRIDES: [&str; 4] = ["CONVOX_HOST", "CONVOX_PASSWORD", "CONVOX_RACK", "RACK_URL"];

/// Whether every settings file can be read, and by its owner only.
pub(super) fn settings(context: &Context) -> Vec<Finding> {
    const CHECK: &str = "settings";
    let settings = &context.settings;
    let mut found = Vec::new();
    let read = [
        settings.hosts().map(drop),
        settings.servers().map(drop),
        settings.direct_racks().map(drop),
        settings.current_rack().map(drop),
        settings.password("").map(drop),
    ];
    let mut seen = Vec::new();
    for error in read.into_iter().filter_map(Result::err) {
        let text = error.to_string();
        if !seen.contains(&text) {
            let fix = "correct the file, or remove it and log in or install again";
            found.push(Finding::new(CHECK, State::Broken, text.clone(), fix));
            seen.push(text);
        }
    }
    for file in settings.secret_files() {
        let open = fs::metadata(&file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0);
        if open {
            let file = file.display();
            found.push(Finding::new(
                CHECK,
                State::Warning,
                format!("others can read the passwords in {file}"),
                format!("chmod 600 {file}"),
            ));
        }
    }
    if found.is_empty() {
        let directory = settings.directory().display();
        found.push(Finding::ok(CHECK, format!("{directory}")));
    }
    found
}

/// Which variables decide in place of the settings.
pub(super) fn variables() -> Option<Finding> {
    let set: Vec<_> = OVERRIDES
        .into_iter()
        .filter(|name| variable(name).is_some())
        .collect();
    (!set.is_empty()).then(|| {
        let verb = if set.len() == 1 { "is" } else { "are" };
        Finding::new(
            "settings",
            State::Note,
            format!("{} {verb} set and wins over the settings", set.join(", ")),
            format!("unset {}", set.join(" ")),
        )
    })
}

/// Whether the local server answers, takes our password and is of our version.
pub(super) async fn server(context: &Context, server: &Server) -> Vec<Finding> {
    const CHECK: &str = "server";
    let host = &server.host;
    let answer = match server.check().await {
        Ok(answer) => answer,
        Err(error) => {
            let fix = "set RACK_SERVER_LISTEN to a free address of this machine";
            return vec![Finding::new(CHECK, State::Broken, error.to_string(), fix)];
        }
    };
    let known = context
        .settings
        .servers()
        .is_ok_and(|servers| servers.contains_key(host));
    match answer {
        Answer::Other => vec![Finding::new(
            CHECK,
            State::Broken,
            format!("{host} is taken by another program"),
            "stop that program, or set RACK_SERVER_LISTEN to a free address",
        )],
        Answer::Nothing if known => vec![Finding::new(
            CHECK,
            State::Note,
            format!("none runs on {host}"),
            "the next command that needs it starts it",
        )],
        Answer::Nothing => vec![Finding::new(
            CHECK,
            State::Note,
            format!("none runs on {host}, and none was installed"),
            "`convox install --stack-name <name>` makes a rack and starts it",
        )],
        Answer::Server => {
            let asked = async {
                let client = Client::new(context.console(host)?);
                client.auth().await?;
                Ok::<_, Error>(client.server_version())
            };
            match asked.await {
                Ok(version) => vec![version_of(host, version)],
                Err(Error::Client(ClientError::Api { status: 401, .. })) => vec![Finding::new(
                    CHECK,
                    State::Broken,
                    format!("the server on {host} does not take the stored password"),
                    format!("`convox login {host} -p <password>` stores another"),
                )],
                Err(error) => vec![Finding::new(
                    CHECK,
                    State::Broken,
                    error.to_string(),
                    format!("see {}", server.data.join("server.log").display()),
                )],
            }
        }
    }
}

fn version_of(host: &str, version: Option<String>) -> Finding {
    const CHECK: &str = "server";
    let own = env!("CARGO_PKG_VERSION");
    match version {
        Some(version) if version == own => Finding::ok(CHECK, format!("{host}, version {version}")),
        Some(version) => Finding::new(
            CHECK,
            State::Warning,
            format!("{host} has version {version}, this client {own}"),
            "install both from one build, end the server and run any command: it starts the new one",
        ),
        None => Finding::new(
            CHECK,
            State::Note,
            format!("{host} is a rack, but none of this project's"),
            "set RACK_SERVER_LISTEN to a free address for racks of this machine",
        ),
    }
}

/// Whether the authority that signs the certificates of local apps is there.
pub(super) fn authority(data: &Path) -> Finding {
    const CHECK: &str = "ca";
    let file = data.join("ca.pem");
    let shown = file.display();
    match fs::read_to_string(&file) {
        Ok(text) if is_certificate(&text) => {
            let key = data.join("ca-key.pem");
            let mode = fs::metadata(&key).map(|found| found.permissions().mode() & 0o077);
            match mode {
                Ok(0) => Finding::ok(
                    CHECK,
                    format!("{shown}: programs that trust it trust local apps"),
                ),
                Ok(_) => Finding::new(
                    CHECK,
                    State::Warning,
                    format!("others can read {}", key.display()),
                    format!("chmod 600 {}", key.display()),
                ),
                Err(error) => Finding::new(
                    CHECK,
                    State::Broken,
                    format!("{}: {error}", key.display()),
                    format!("remove {shown}: the next https request makes both anew"),
                ),
            }
        }
        Ok(_) => Finding::new(
            CHECK,
            State::Broken,
            format!("{shown} is no certificate"),
            "remove it and ca-key.pem: the next https request makes both anew",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Finding::new(
            CHECK,
            State::Note,
            format!("{shown} is not there yet"),
            "the first https request to a local app makes it",
        ),
        Err(error) => Finding::new(
            CHECK,
            State::Broken,
            format!("{shown}: {error}"),
            "let your user read the server's data directory",
        ),
    }
}

/// Whether a text holds a certificate in PEM.
fn is_certificate(text: &str) -> bool {
    let body = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
        .map(|(body, _)| body.split_whitespace().collect::<String>());
    // DER of a certificate is a sequence.
    body.and_then(|body| BASE64_STANDARD.decode(body).ok())
        .is_some_and(|bytes| bytes.first() == Some(&0x30))
}

/// Whether the racks that are known can be reached.
pub(super) async fn racks(context: &Context) -> Vec<Finding> {
    const CHECK: &str = "racks";
    let listing = match context.known_racks().await {
        Ok(listing) => listing,
        Err(error) => {
            let fix = error
                .hint()
                .unwrap_or_else(|| "correct the settings that are named".to_owned());
            return vec![Finding::new(CHECK, State::Broken, error.to_string(), fix)];
        }
    };
    let mut found = Vec::new();
    let stopped = listing.failures.iter().any(is_stopped);
    for failure in listing.failures {
        // A local server that has stopped was told already.
        if is_stopped(&failure) {
            continue;
        }
        let fix = failure
            .hint()
            .unwrap_or_else(|| "check the network, or log in again".to_owned());
        found.push(Finding::new(
            CHECK,
            State::Warning,
            failure.to_string(),
            fix,
        ));
    }
    for known in &listing.racks {
        let name = &known.reach.name;
        match known.status.as_str() {
            "running" => {}
            "unknown" if stopped && known.reach.host.as_deref().is_some_and(is_loopback) => {
                found.push(Finding::new(
                    CHECK,
                    State::Note,
                    format!("{name} sleeps, its server does not run"),
                    "the next command for it starts the server",
                ));
            }
            "unknown" => found.push(Finding::new(
                CHECK,
                State::Warning,
                format!("{name} does not answer"),
                format!("`convox rack -r {name}` says why; `convox racks` lists the others"),
            )),
            other => found.push(Finding::new(
                CHECK,
                State::Note,
                format!("{name} is {other}"),
                format!("`convox rack wait -r {name}` waits until it runs"),
            )),
        }
        if name.contains("-tmp-") {
            let short = name.rsplit('/').next().unwrap_or(name);
            found.push(Finding::new(
                CHECK,
                State::Note,
                format!("{name} is of a `convox rack exec`, which may have left it behind"),
                format!("`convox rack uninstall {short} --force` removes it"),
            ));
        }
    }
    if found.is_empty() {
        let names: Vec<_> = listing
            .racks
            .into_iter()
            .map(|known| known.reach.name)
            .collect();
        found.push(if names.is_empty() {
            Finding::new(
                CHECK,
                State::Note,
                "none is known",
                "`convox install --stack-name <name>` makes one, `convox login <host>` finds others",
            )
        } else {
            Finding::ok(CHECK, names.join(", "))
        });
    }
    found
}

/// Whether nothing listens on an address of this machine.
fn is_stopped(error: &Error) -> bool {
    match error {
        Error::Client(error @ ClientError::Unreachable { host, .. }) => {
            error.is_refused() && is_loopback(host)
        }
        Error::Host { source, .. } => is_stopped(source),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_from_other_texts() {
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        assert!(is_certificate(&pem("MIIB\nAAAA")));
        for text in ["", "hello", &pem("?"), &pem(""), &pem("AAAA")] {
            assert!(!is_certificate(text), "{text}");
        }
    }

    #[test]
    fn another_version_is_told_with_what_to_do() {
        let finding = version_of("h", Some("0.0.1".to_owned()));
        assert_eq!(finding.state, State::Warning);
        assert!(
            finding
                .found
                .starts_with("h has version 0.0.1, this client ")
        );
        assert!(finding.fix.is_some());
        let own = version_of("h", Some(env!("CARGO_PKG_VERSION").to_owned()));
        assert_eq!(own.state, State::Ok);
    }
}
