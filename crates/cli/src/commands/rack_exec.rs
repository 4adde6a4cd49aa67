//! `convox rack exec`: a command with racks of its own.
//!
//! The racks are made on the local server, under names nobody else has; the command has a
//! settings directory of its own in which each is known by the name that was asked for, so
//! `convox switch staging` in it finds the throw-away one and never a real one, and `convox
//! install` says that it is there. Whatever becomes of the command, the racks are removed, unless it failed and `--keep` was given.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use futures::FutureExt as _;
use rack_api::client::{Client, ClientError, Endpoint};
use rack_api::id;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::exec::Signals;
use super::install::{NAME_LIMIT, check_name, find_or_start, full_name};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::settings::Settings;
use crate::settle;

/// What marks a rack that is thrown away.
const MARK: &str = "-tmp-";
/// Letters after the mark.
const LETTERS: usize = 5;
/// How long the command may take to end once it was told to.
const GRACE: Duration = Duration::from_secs(10);
/// Variables that would lead the command to other racks.
const LEADING: [&str; 7] = [
    "CONVOX_HOST",
    "CONVOX_LOCAL",
    "CONVOX_PASSWORD",
    "CONVOX_RACK",
    "CONVOX_TOKEN",
    "RACK_SERVER_PASSWORD",
    "RACK_URL",
];

/// A command and the racks it has.
#[derive(Debug, Args)]
pub(super) struct RackExec {
    /// command and its arguments, after `--`
    #[arg(required = true, num_args = 1.., value_name = "command")]
    command: Vec<String>,
    /// names of the racks, with commas between them
    #[arg(long, value_name = "racks", value_delimiter = ',', required = true)]
    racks: Vec<String>,
    /// apps to create on each rack, with commas between them
    #[arg(short, long = "app", value_name = "app", value_delimiter = ',')]
    apps: Vec<String>,
    /// what builds images and runs processes: docker or simulated
    #[arg(long, value_name = "engine")]
    engine: Option<String>,
    /// leave the racks as they are if the command fails
    #[arg(long)]
    keep: bool,
}

/// A throw-away rack.
struct Made {
    /// What the command calls it.
    short: String,
    /// What it is called on the server.
    name: String,
}

impl RackExec {
    /// Makes the racks, runs the command, removes the racks; the outcome is the command's.
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let racks: Vec<_> = self
            .racks
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        for (index, name) in racks.iter().enumerate() {
            check_name(name)?;
            if racks[..index].contains(name) {
                return Err(Error::failed(format!("rack named twice: {name}")));
            }
        }
        if racks.is_empty() {
            return Err(Error::failed("name a rack: --racks staging,production"));
        }
        // Standard output is the command's.
        let context = &context.talking_to_stderr();
        let mut signals = Signals::listen()?;
        let server = context.local_server()?;
        let password = find_or_start(context, &server, false).await?;
        let endpoint =
            Endpoint::parse(&format!("http://{}", server.host))?.with_password(Some(password));
        let console = Client::new(endpoint.clone());
        let settings = tempfile::Builder::new()
            .prefix("convox-racks-")
            .tempdir()
            .map_err(Error::io("can not make a directory for settings"))?;

        let mut made = Vec::new();
        let mut prepared = Ok(());
        let files = Settings::of_directory(settings.path().to_owned());
        for short in &racks {
            // Not interrupted half way, so that what is made is known.
            prepared = self
                .prepare(short, &endpoint, &console, &files, &mut made)
                .await;
            if prepared.is_ok()
                && let Some(signal) = signals.next().now_or_never()
            {
                prepared = Err(Error::Interrupted(signal));
            }
            if prepared.is_err() {
                break;
            }
        }
        if let (Ok(()), Some(first)) = (&prepared, racks.first()) {
            prepared = files
                .set_current_rack(None, first, Some(first))
                .map_err(Error::from);
        }
        let outcome = match prepared {
            Ok(()) => self.execute(context, settings.path(), &mut signals).await,
            Err(error) => Err(error),
        };
        let failed = !matches!(outcome, Ok(Exit::SUCCESS));
        if failed && self.keep {
            keep(context, &made, settings.keep());
            return outcome;
        }
        let removed = remove(context, &console, &made).await;
        // The command's own failure tells more.
        if failed {
            outcome
        } else {
            removed.and(outcome)
        }
    }

    /// Makes a rack with its apps, and settings that know it.
    async fn prepare(
        &self,
        short: &str,
        endpoint: &Endpoint,
        console: &Client,
        settings: &Settings,
        made: &mut Vec<Made>,
    ) -> Result<(), Error> {
        let name = throw_away(short);
        let created = console
            .rack_create(&name, self.engine.as_deref(), None)
            .await;
        // Of a broken connection nobody knows what it has brought about.
        if !matches!(
            created,
            Err(ClientError::Api { .. } | ClientError::Unreachable { .. })
        ) {
            made.push(Made {
                short: short.to_owned(),
                name,
            });
        }
        let password = created?.password;
        // The password leads to the rack, whatever it is called here.
        let url = format!("http://convox:{password}@{}", endpoint.host());
        settings.set_direct_rack(short, &url)?;
        settings.set_stand_in(short, &full_name(short))?;
        let rack = Rack {
            local: true,
            client: Client::new(Endpoint::parse(&url)?),
        };
        for app in self.apps.iter().filter(|app| !app.is_empty()) {
            rack.client.app_create(app, None).await?;
            settle::quietly(&rack, app).await?;
        }
        Ok(())
    }

    /// Runs the command to its end; a signal is passed on and waited for.
    async fn execute(&self, context: &Context, settings: &Path, signals: &mut Signals) -> Outcome {
        let [program, arguments @ ..] = &self.command[..] else {
            return Err(Error::failed("at least 1 arg required"));
        };
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("CONVOX_CONFIG", settings)
            .stdin(Stdio::inherit());
        for name in LEADING {
            command.env_remove(name);
        }
        if let Some(path) = path_with_this() {
            command.env("PATH", path);
        }
        // A group of its own takes what the command has started along; on a terminal it
        // would be in the background, and Ctrl-C reaches all of them anyway.
        if !terminal {
            command.process_group(0);
        }
        let mut child = command
            .spawn()
            .map_err(Error::io(format!("can not run {program}")))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        tokio::select! {
            status = child.wait() => Ok(exit(status.map_err(Error::io("can not wait for the command"))?)),
            signal = signals.next() => {
                context.ui.note("stopping: waiting for the command to end, interrupt again to end it at once");
                // A command that sees to its end itself has a status of its own.
                let ended = end(&mut child, pid, signal, terminal, signals).await;
                Ok(ended.map_or(Exit::signal(signal), exit))
            }
        }
    }
}

/// Tells the command, and what it has started, to end, and sees to it. Gives its status if it
/// has ended by itself.
async fn end(
    child: &mut Child,
    pid: Option<Pid>,
    signal: i32,
    terminal: bool,
    signals: &mut Signals,
) -> Option<ExitStatus> {
    let send = |signal: Signal| {
        let Some(pid) = pid else { return };
        // It may have ended meanwhile.
        let _ = if terminal {
            kill_process(pid, signal)
        } else {
            kill_process_group(pid, signal)
        };
    };
    let passed = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
    // On a terminal its interrupt has reached the command as it has this program.
    if !(terminal && passed == Signal::INT) {
        send(passed);
    }
    let ended = tokio::select! {
        ended = timeout(GRACE, child.wait()) => ended.ok(),
        _ = signals.next() => None,
    };
    if ended.is_none() {
        send(Signal::KILL);
        // Nothing outlives that.
        let _ = child.wait().await;
    } else if !terminal {
        // What a shell runs in the background takes no notice of an interrupt.
        send(Signal::KILL);
    }
    ended?.ok()
}

/// The status of a command, as a shell tells it.
fn exit(status: ExitStatus) -> Exit {
    match (
        status.code(),
        std::os::unix::process::ExitStatusExt::signal(&status),
    ) {
        (Some(code), _) => Exit::remote(code.into()),
        (None, Some(signal)) => Exit::signal(signal),
        (None, None) => Exit::FAILURE,
    }
}

/// `staging-tmp-k3xq9`: says what it is for and that it may go.
fn throw_away(short: &str) -> String {
    let room = NAME_LIMIT - MARK.len() - LETTERS;
    let kept: String = short.chars().take(room).collect();
    format!("{kept}{MARK}{}", id::hex(LETTERS))
}

/// The command finds this very program as `convox`, wherever another may be.
fn path_with_this() -> Option<std::ffi::OsString> {
    let own = std::env::current_exe().ok()?;
    if own.file_stem()? != "convox" {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(own.parent()?.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(directories).ok()
}

/// Removes the racks, all that can be.
async fn remove(context: &Context, console: &Client, made: &[Made]) -> Result<(), Error> {
    let mut first = None;
    for Made { name, .. } in made {
        match console.rack_delete(name).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let error = Error::with_hint(
                    format!("rack {name} could not be removed: {error}"),
                    format!("`convox rack uninstall {name} --force` removes it"),
                );
                if first.is_some() {
                    context.ui.error(&error);
                } else {
                    first = Some(error);
                }
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// Says how to look at racks that were left, and how to remove them.
fn keep(context: &Context, made: &[Made], settings: PathBuf) {
    let ui = &context.ui;
    let names: Vec<_> = made.iter().map(|made| made.short.as_str()).collect();
    ui.note(format!("kept: {}", names.join(", ")));
    let settings = settings.display();
    if let Some(first) = names.first() {
        ui.note(format!(
            "hint: `CONVOX_CONFIG={settings} convox ps -r {first} -a <app>` looks into them"
        ));
    }
    for Made { name, .. } in made {
        ui.note(format!(
            "hint: `convox rack uninstall {name} --force` removes one"
        ));
    }
    ui.note(format!("hint: `rm -r {settings}` removes their settings"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throw_away_racks_have_names_of_their_own_that_fit() {
        let name = throw_away("staging");
        assert!(name.starts_with("staging-tmp-"), "{name}");
        assert_ne!(name, throw_away("staging"));
        let long = throw_away("abcdefghijklmnopqrstuvwxyz");
        assert_eq!(long.len(), NAME_LIMIT);
        for name in [name, long] {
            check_name(&name).expect("a rack can have it");
        }
    }
}
