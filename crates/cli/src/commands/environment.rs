//! `convox env` and what is below it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use clap::{Args, Subcommand};
use rack_api::Environment;
use rack_api::release::CreateOptions;
use serde::Serialize;

use super::mask::{self, Mask};
use super::{promote, release_id};
use crate::arguments::{AppArgs, RackArgs};
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::legacy;
use crate::racks::Rack;
use crate::view::{FormArgs, Shown, ViewArgs};

/// How often an edit is made again because others were quicker.
const MOST_TRIES: u32 = 100;
/// How long standard input may stay silent when there are arguments too.
const SILENCE: Duration = Duration::from_millis(500);

/// Environment of an app.
#[derive(Debug, Args)]
pub(crate) struct Env {
    #[command(subcommand)]
    command: Option<EnvCommand>,
    /// release whose variables are shown, or the id of its build; the latest one if none is given
    #[arg(long, value_name = "release")]
    release: Option<String>,
    /// show what `env mask` hides on a terminal
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    /// show what differs between two releases, or between two racks
    Diff {
        /// releases, or ids of their builds: one is compared with the latest
        #[arg(value_name = "release", num_args = 0..=2)]
        releases: Vec<String>,
        /// rack to compare with
        #[arg(long, value_name = "rack")]
        to: Option<String>,
        /// show values, not only names
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        view: ViewArgs,
        #[command(flatten)]
        app: AppArgs,
    },
    /// edit env vars in an editor
    Edit {
        /// promote the release
        #[arg(short, long)]
        promote: bool,
        #[command(flatten)]
        base: BaseArgs,
        #[command(flatten)]
        app: AppArgs,
    },
    /// get an env var
    Get {
        /// name of the variable
        var: String,
        #[command(flatten)]
        form: FormArgs,
        #[command(flatten)]
        base: BaseArgs,
        #[command(flatten)]
        app: AppArgs,
    },
    /// list env vars whose values are hidden on terminals
    Mask(Mask),
    /// set env var(s)
    Set {
        /// variables; further ones are read from standard input
        #[arg(value_name = "key=value")]
        pairs: Vec<String>,
        /// replace all variables with these
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// unset env var(s)
    Unset {
        /// names of the variables
        #[arg(required = true, value_name = "key")]
        keys: Vec<String>,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// Where variables are read from.
#[derive(Debug, Args)]
struct BaseArgs {
    /// release to start from, or the id of its build; the latest one if none is given
    #[arg(long, value_name = "release")]
    release: Option<String>,
}

impl BaseArgs {
    fn is_given(&self) -> bool {
        self.release().is_some()
    }

    fn release(&self) -> Option<&str> {
        self.release.as_deref().filter(|id| !id.is_empty())
    }
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// promote the release
    #[arg(short, long)]
    promote: bool,
    #[command(flatten)]
    base: BaseArgs,
    /// print only the id of the release
    #[arg(long)]
    id: bool,
    #[command(flatten)]
    app: AppArgs,
}

impl Env {
    /// Lists variables, or does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            None => {
                let name = context.app(&self.app)?;
                let rack = context.rack(&self.app.rack).await?;
                // Scripts that store them want the values.
                let hide = context.ui.stdout_is_terminal() && !self.reveal;
                let read = async || {
                    let found = of_release(&rack, &name, self.release.as_deref()).await?;
                    let mut environment = found.environment;
                    if hide {
                        mask::hide(&rack, &name, &mut environment).await?;
                    }
                    Ok(environment.to_map())
                };
                // An empty line when there are none, for scripts that filter.
                let show = |variables: BTreeMap<String, String>| {
                    let mut environment = Environment::default();
                    for (name, value) in variables {
                        environment.set(name, value);
                    }
                    Shown::Line(environment.to_string())
                };
                self.view.show(context, read, show).await
            }
            Some(EnvCommand::Diff {
                releases,
                to,
                reveal,
                view,
                app,
            }) => diff(context, &releases, to, reveal, &view, &app).await,
            Some(EnvCommand::Edit { promote, base, app }) => {
                let change = ChangeArgs {
                    promote,
                    base,
                    id: false,
                    app,
                };
                edit(context, &change).await
            }
            Some(EnvCommand::Get {
                var,
                form,
                base,
                app,
            }) => get(context, &var, &form, &base, &app).await,
            Some(EnvCommand::Mask(mask)) => mask.run(context).await,
            Some(EnvCommand::Set {
                pairs,
                replace,
                change,
            }) => set(context, &pairs, replace, &change).await,
            Some(EnvCommand::Unset { keys, change }) => unset(context, keys, &change).await,
        }
    }
}

/// The latest release, promoted or not, as far as an environment is concerned.
#[derive(Default)]
struct Latest {
    /// Empty when there is none.
    id: String,
    environment: Environment,
    /// Whether it was asked for by name, and need not be the latest one.
    named: bool,
}

/// Reads the latest release.
async fn latest(rack: &Rack, app: &str) -> Result<Latest, Error> {
    match rack.client.release_list(app, Some(1)).await?.first() {
        None => Ok(Latest::default()),
        // Lists may leave the environment out.
        Some(release) => Ok(Latest {
            id: release.id.clone(),
            environment: Environment::parse(&rack.client.release_get(app, &release.id).await?.env),
            named: false,
        }),
    }
}

/// Reads a release that is named, or the latest one.
async fn of_release(rack: &Rack, app: &str, release: Option<&str>) -> Result<Latest, Error> {
    let Some(id) = release.filter(|id| !id.is_empty()) else {
        return latest(rack, app).await;
    };
    let id = release_id(rack, app, id).await?;
    let release = rack.client.release_get(app, &id).await?;
    Ok(Latest {
        id,
        environment: Environment::parse(&release.env),
        named: true,
    })
}

/// Names of the variables of the latest release.
pub(super) async fn names(rack: &Rack, app: &str) -> Result<Vec<String>, Error> {
    let variables = latest(rack, app).await?.environment.to_map();
    Ok(variables.into_keys().collect())
}

/// Shows what it takes to get from one environment to another; succeeds whether or not
/// there is anything.
async fn diff(
    context: &Context,
    releases: &[String],
    to: Option<String>,
    reveal: bool,
    view: &ViewArgs,
    app: &AppArgs,
) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    if to.is_none() && releases.is_empty() {
        return Err(Error::with_hint(
            "name a release to compare with, or a rack",
            "`convox env diff <release>` or `convox env diff --to <rack>`",
        ));
    }
    let other = match to {
        Some(to) => Some(context.rack(&RackArgs::named(to)).await?),
        None => None,
    };
    let [old, new] = [0, 1].map(|place| releases.get(place).map(String::as_str));
    let read = async || {
        let old = of_release(&rack, &name, old).await?.environment;
        let other = other.as_ref().unwrap_or(&rack);
        let new = of_release(other, &name, new).await?.environment;
        Ok(differences(&old.to_map(), &new.to_map(), reveal))
    };
    let show =
        |found: Vec<Difference>| Shown::Lines(found.iter().flat_map(Difference::lines).collect());
    view.show(context, read, show).await
}

/// A variable that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    name: String,
    change: Kind,
    /// Values are there only when they are to be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// What it takes to get to the other environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Added,
    Changed,
    Removed,
}

impl Difference {
    fn lines(&self) -> Vec<String> {
        let line = |sign: &str, value: &Option<String>| match value {
            Some(value) => format!("{sign} {}={value}", self.name),
            None => format!("{sign} {}", self.name),
        };
        match self.change {
            Kind::Added => vec![line("+", &self.after)],
            Kind::Removed => vec![line("-", &self.before)],
            Kind::Changed if self.before.is_none() => vec![line("~", &None)],
            Kind::Changed => vec![line("-", &self.before), line("+", &self.after)],
        }
    }
}

fn differences(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    reveal: bool,
) -> Vec<Difference> {
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter_map(|name| {
        let (before, after) = (old.get(name), new.get(name));
        let change = match (before, after) {
            (None, Some(_)) => Kind::Added,
            (Some(_), None) => Kind::Removed,
            (before, after) if before != after => Kind::Changed,
            _ => return None,
        };
        let value = |value: Option<&String>| value.filter(|_| reveal).cloned();
        Some(Difference {
            name: name.clone(),
            change,
            before: value(before),
            after: value(after),
        })
    });
    differing.collect()
}

/// Lets the user's editor change all variables at once.
async fn edit(context: &Context, change: &ChangeArgs) -> Outcome {
    let name = context.app(&change.app)?;
    let rack = context.rack(&change.app.rack).await?;
    let before = of_release(&rack, &name, change.base.release()).await?;
    let doing = "can not edit the environment";
    // Private, and gone when this ends.
    let mut file = tempfile::Builder::new()
        .suffix(&format!(".{name}.env"))
        .tempfile()
        .map_err(Error::io(doing))?;
    let mut text = before.environment.to_string();
    if !text.is_empty() && !text.ends_with('\n') {
        // What an editor appends begins a line of its own.
        text.push('\n');
    }
    file.write_all(text.as_bytes()).map_err(Error::io(doing))?;
    let editor = variable("EDITOR").unwrap_or_else(|| "vi".to_owned());
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .status()
        .map_err(Error::io(doing))?;
    if !status.success() {
        return Err(Error::failed(format!(
            "the editor has failed ({status}): nothing was changed"
        )));
    }
    // Editors may put another file in its place.
    let text = std::fs::read_to_string(file.path()).map_err(Error::io(doing))?;
    if let Some(line) = text
        .lines()
        .find(|line| !line.trim().is_empty() && !line.contains('='))
    {
        let word = line.split_whitespace().next().unwrap_or_default();
        return Err(Error::failed(format!(
            "a line that begins with {word} is not KEY=VALUE: nothing was changed"
        )));
    }
    let after = Environment::parse(&text);
    let keys = after.to_map().into_keys().collect();
    let whole = |environment: &mut Environment| *environment = after.clone();
    // The whole is what was seen in the editor, whatever was set meanwhile.
    let base = before.named.then_some(before);
    release(context, &rack, &name, "Setting", keys, base, whole, change).await
}

async fn get(
    context: &Context,
    var: &str,
    form: &FormArgs,
    base: &BaseArgs,
    app: &AppArgs,
) -> Outcome {
    let name = context.app(app)?;
    let rack = context.rack(&app.rack).await?;
    let environment = of_release(&rack, &name, base.release()).await?.environment;
    let value = environment
        .get(var)
        .ok_or_else(|| Error::failed(format!("env not found: {var}")))?;
    form.print(&context.ui, &BTreeMap::from([(var, value)]), value)?;
    Ok(Exit::SUCCESS)
}

async fn set(context: &Context, pairs: &[String], replace: bool, change: &ChangeArgs) -> Outcome {
    let name = context.app(&change.app)?;
    let rack = context.rack(&change.app.rack).await?;
    for pair in pairs {
        if pair.contains('\n') {
            let key = pair.split('=').next().unwrap_or_default();
            return Err(Error::failed(format!(
                "the value of {key} has more than one line, which environments cannot hold: encode it, in base64 for example"
            )));
        }
        if !pair.contains('=') {
            context.ui.note(format!("ignored: {pair} is not KEY=VALUE"));
        }
    }
    let input = read_input(pairs.is_empty())?;
    let changes: Vec<_> = pairs
        .iter()
        .map(String::as_str)
        .chain(input.lines())
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| !key.is_empty())
        .collect();
    for (key, _) in &changes {
        // They are set nevertheless, as the original does.
        if key.contains(char::is_whitespace) {
            let name = key.split_whitespace().last().unwrap_or_default();
            context.ui.note(format!(
                "warning: the name {key:?} has a blank in it, which no shell can read: {name} alone may be meant"
            ));
        }
    }
    let keys = changes.iter().map(|(key, _)| (*key).to_owned()).collect();
    let edit = |environment: &mut Environment| {
        for (key, value) in &changes {
            environment.set(*key, *value);
        }
    };
    let base = if replace {
        match change.base.release() {
            None => None,
            Some(id) => Some(Latest {
                id: release_id(&rack, &name, id).await?,
                named: true,
                ..Latest::default()
            }),
        }
    } else {
        Some(of_release(&rack, &name, change.base.release()).await?)
    };
    release(context, &rack, &name, "Setting", keys, base, edit, change).await
}

async fn unset(context: &Context, keys: Vec<String>, change: &ChangeArgs) -> Outcome {
    let name = context.app(&change.app)?;
    let rack = context.rack(&change.app.rack).await?;
    let gone = keys.clone();
    let edit = |environment: &mut Environment| {
        for key in &gone {
            environment.unset(key);
        }
    };
    let base = Some(of_release(&rack, &name, change.base.release()).await?);
    release(context, &rack, &name, "Unsetting", keys, base, edit, change).await
}

/// Makes a release with the environment of `base`, or none, edited; promotes it where
/// that is wanted.
#[expect(
    clippy::too_many_arguments,
    reason = "set and unset differ in all that is said and done"
)]
async fn release(
    context: &Context,
    rack: &Rack,
    app: &str,
    doing: &str,
    mut keys: Vec<String>,
    mut base: Option<Latest>,
    edit: impl Fn(&mut Environment),
    change: &ChangeArgs,
) -> Outcome {
    keys.sort();
    keys.dedup();
    let ui = context.ui.for_id(change.id);
    let progress = ui.start(format!("{doing} {}", keys.join(", ")))?;
    let mut tries = 0;
    let release = loop {
        let mut options = CreateOptions::default();
        let mut environment = Environment::default();
        if let Some(base) = base {
            environment = base.environment;
            if base.named {
                options.parent_release = Some(base.id);
            } else if rack.client.is_twinrack() {
                // Real racks take no such condition.
                options.latest = Some(base.id);
            }
        }
        edit(&mut environment);
        options.env = Some(environment.to_string());
        match rack.client.release_create(app, &options).await {
            // Somebody else was quicker: the edit is made again on what is there now.
            Err(error) if error.is_conflict() && tries < MOST_TRIES => tries += 1,
            Err(error) => {
                let text = environment.to_string();
                let id = legacy::environment(rack, app, &text, error).await?;
                break rack.client.release_get(app, &id).await?;
            }
            Ok(made) => break made,
        }
        base = Some(self::latest(rack, app).await?);
    };
    progress.ok()?;
    ui.line(format!("Release: {}", release.id))?;
    if change.promote {
        if !change.base.is_given() {
            promote::note_newer_build(rack, app, &release, &ui).await;
        }
        promote::wait_until_ready(rack, app, &ui).await?;
        promote::promote(rack, app, &release.id, promote::How::default(), &ui).await?;
    }
    if change.id {
        ui.data(release.id.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// Reads standard input unless it is a terminal. With `only` it is all there is
/// and read to its end; else an open but silent pipe, as some build systems
/// leave it, is not waited for.
fn read_input(only: bool) -> Result<String, Error> {
    if io::stdin().is_terminal() {
        return Ok(String::new());
    }
    let (sender, pieces) = mpsc::channel();
    // Left behind if nothing comes; it ends with the program.
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let piece = io::stdin()
                .lock()
                .read(&mut buffer)
                .map(|count| buffer[..count].to_vec());
            let end = piece.as_ref().map_or(true, Vec::is_empty);
            if sender.send(piece).is_err() || end {
                return;
            }
        }
    });
    let mut input = Vec::new();
    let mut wait = if only { None } else { Some(SILENCE) };
    loop {
        let piece = match wait.take() {
            Some(limit) => match pieces.recv_timeout(limit) {
                Err(mpsc::RecvTimeoutError::Timeout) => return Ok(String::new()),
                piece => piece.ok(),
            },
            None => pieces.recv().ok(),
        };
        match piece {
            Some(Ok(piece)) if !piece.is_empty() => input.extend(piece),
            Some(Err(error)) => return Err(Error::io("can not read standard input")(error)),
            _ => break,
        }
    }
    String::from_utf8(input).map_err(|_| Error::failed("standard input is not text"))
}
