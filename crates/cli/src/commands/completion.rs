//! `convox completion SHELL`, the script that a shell loads, and the hidden
//! `convox complete`, which the script asks at every TAB.
//!
//! Commands and flags are told by the grammar; names of apps, releases, services and the
//! like by the rack that the line is for, within a second and without starting a server.
//! Whatever fails, a shell is told nothing: its user did not ask for errors.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Arg, Args, Command as Grammar, ValueEnum};

use crate::arguments::{AppArgs, Line, RackArgs, grammar};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::shown;

/// How long a rack may take to tell its names.
const LIMIT: Duration = Duration::from_secs(1);
/// How many releases or builds are offered.
const NEWEST: u32 = 20;

/// A shell that can ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Fish,
    Zsh,
}

/// The script for a shell.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// shell: bash, fish or zsh
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// Prints the script.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        context.ui.text(match self.shell {
            Shell::Bash => include_str!("completion/convox.bash"),
            Shell::Fish => include_str!("completion/convox.fish"),
            Shell::Zsh => include_str!("completion/convox.zsh"),
        })?;
        Ok(Exit::SUCCESS)
    }
}

/// A line that somebody is typing.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    #[arg(value_enum)]
    shell: Shell,
    /// the words behind the program's name, the unfinished one last
    #[arg(num_args = 0.., allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A word that may come next, and what it is.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    word: String,
    about: String,
}

impl Candidate {
    fn new(word: impl Into<String>, about: impl Into<String>) -> Self {
        Self {
            word: word.into(),
            about: about.into(),
        }
    }
}

impl Complete {
    /// Prints what may come next, one to a line.
    pub(crate) async fn run(self, context: &Context) -> Exit {
        let mut text = String::new();
        for Candidate { word, about } in candidates(context, self.words).await {
            // What a rack says must not command the terminal or the shell.
            if word.contains(char::is_whitespace) || shown(&word, true) != word {
                continue;
            }
            let about = shown(&about, true);
            match self.shell {
                Shell::Bash => text.push_str(&word),
                Shell::Fish => text.extend([word.as_str(), "\t", about.as_str()]),
                // A colon ends the word.
                Shell::Zsh => text.extend([&word.replace(':', "\\:"), ":", &about]),
            }
            text.push('\n');
        }
        // A shell that has gone away needs no answer.
        let _ = context.ui.text(text);
        Exit::SUCCESS
    }
}

/// What the line is, as far as it is typed.
#[derive(Default)]
struct Typed {
    /// A flag whose value comes next.
    flag: Option<String>,
    app: Option<String>,
    rack: Option<String>,
    /// Arguments that are no flags.
    arguments: usize,
    /// Whether `--` was typed.
    ended: bool,
}

impl Typed {
    fn read(line: &Line, command: &Grammar, grammar: &Grammar) -> Self {
        let mut typed = Self::default();
        for token in &line.rest {
            let Some(token) = token.to_str() else {
                typed.arguments += 1;
                continue;
            };
            if let Some(flag) = typed.flag.take() {
                typed.take(&flag, token);
            } else if typed.ended || token == "-" || !token.starts_with('-') {
                typed.arguments += 1;
            } else if token == "--" {
                typed.ended = true;
            } else if let Some(long) = token.strip_prefix("--") {
                match long.split_once('=') {
                    Some((name, value)) => typed.take(name, value),
                    None if takes_value(flag_of(command, grammar, |flag| {
                        flag.get_long() == Some(long)
                    })) =>
                    {
                        typed.flag = Some(long.to_owned());
                    }
                    None => {}
                }
            } else {
                typed.cluster(&token[1..], command, grammar);
            }
        }
        typed
    }

    /// Short flags in one token; the first that has a value has the rest of it.
    fn cluster(&mut self, letters: &str, command: &Grammar, grammar: &Grammar) {
        for (index, letter) in letters.char_indices() {
            let flag = flag_of(command, grammar, |flag| flag.get_short() == Some(letter));
            if !takes_value(flag) {
                continue;
            }
            let name = flag.and_then(Arg::get_long).unwrap_or_default().to_owned();
            match letters[index + letter.len_utf8()..].trim_start_matches('=') {
                "" => self.flag = Some(name),
                value => self.take(&name, value),
            }
            return;
        }
    }

    fn take(&mut self, flag: &str, value: &str) {
        match flag {
            "app" => self.app = Some(value.to_owned()),
            "rack" => self.rack = Some(value.to_owned()),
            _ => {}
        }
    }

    fn app_arguments(&self) -> AppArgs {
        AppArgs {
            app: self.app.clone(),
            rack: self.rack.clone().map(RackArgs::named).unwrap_or_default(),
        }
    }
}

/// A command that has the flags which may stand before the words of any command.
const ANY: &str = "ps";
/// Those flags.
const BEFORE: [&str; 3] = ["app", "rack", "wait"];

/// The flags a line may have here.
fn flags_of<'a>(command: &'a Grammar, grammar: &'a Grammar) -> impl Iterator<Item = &'a Arg> {
    let open = grammar.find_subcommand(ANY);
    let before = open
        .filter(|_| command.has_subcommands())
        .into_iter()
        .flat_map(Grammar::get_arguments)
        .filter(move |flag| {
            let own = || {
                command
                    .get_arguments()
                    .any(|own| own.get_long() == flag.get_long())
            };
            flag.get_long().is_some_and(|long| BEFORE.contains(&long)) && !own()
        });
    command.get_arguments().chain(before)
}

fn flag_of<'a>(
    command: &'a Grammar,
    grammar: &'a Grammar,
    wanted: impl Fn(&Arg) -> bool,
) -> Option<&'a Arg> {
    flags_of(command, grammar).find(|flag| wanted(flag))
}

fn flag_named<'a>(command: &'a Grammar, grammar: &'a Grammar, long: &str) -> Option<&'a Arg> {
    flag_of(command, grammar, |flag| flag.get_long() == Some(long))
}

/// Whether the next token is the flag's value: `--wait` has one only as `--wait=true`.
fn takes_value(flag: Option<&Arg>) -> bool {
    flag.is_some_and(|flag| flag.get_action().takes_values() && !flag.is_require_equals_set())
}

async fn candidates(context: &Context, mut words: Vec<String>) -> Vec<Candidate> {
    let current = words.pop().unwrap_or_default();
    // bash takes `--app=x` apart at the sign.
    let current = if current == "=" {
        String::new()
    } else {
        current
    };
    words.retain(|word| word != "=");
    let grammar = grammar();
    let program = std::iter::once(OsString::from("convox"));
    let line = Line::read(
        program
            .chain(words.into_iter().map(OsString::from))
            .collect(),
        &grammar,
    );
    let command = line.command(&grammar);
    let typed = Typed::read(&line, command, &grammar);
    let (lead, prefix, mut found) = if let Some(flag) = &typed.flag {
        let values = values(
            context,
            command,
            &line,
            flag_named(command, &grammar, flag),
            &typed,
        )
        .await;
        ("", current.as_str(), values)
    } else if let Some((name, value)) = current
        .strip_prefix("--")
        .filter(|_| !typed.ended)
        .and_then(|flag| flag.split_once('='))
    {
        let values = values(
            context,
            command,
            &line,
            flag_named(command, &grammar, name),
            &typed,
        )
        .await;
        (&current[..name.len() + 3], value, values)
    } else if current.starts_with('-') && !typed.ended {
        ("", current.as_str(), flags(command, &grammar))
    } else {
        let mut found = Vec::new();
        if typed.arguments == 0 {
            found.extend(
                command
                    .get_subcommands()
                    .filter(|command| !command.is_hide_set())
                    .map(|command| Candidate::new(command.get_name(), about(command.get_about()))),
            );
        }
        let argument = command.get_positionals().nth(typed.arguments).or_else(|| {
            let many = |argument: &&Arg| {
                argument
                    .get_num_args()
                    .is_some_and(|range| range.max_values() > 1)
            };
            command.get_positionals().last().filter(many)
        });
        found.extend(values(context, command, &line, argument, &typed).await);
        ("", current.as_str(), found)
    };
    found.retain(|candidate| candidate.word.starts_with(prefix));
    for candidate in &mut found {
        candidate.word.insert_str(0, lead);
    }
    found
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

/// The flags of a command, in the words that say most.
fn flags(command: &Grammar, grammar: &Grammar) -> Vec<Candidate> {
    flags_of(command, grammar)
        .filter(|flag| !flag.is_hide_set())
        .filter_map(|flag| {
            let long = flag.get_long()?;
            Some(Candidate::new(format!("--{long}"), about(flag.get_help())))
        })
        .collect()
}

/// What an argument or the value of a flag may be.
async fn values(
    context: &Context,
    command: &Grammar,
    line: &Line,
    argument: Option<&Arg>,
    typed: &Typed,
) -> Vec<Candidate> {
    let Some(argument) = argument else {
        return Vec::new();
    };
    let possible = argument.get_possible_values();
    if !possible.is_empty() && takes_value(Some(argument)) {
        let candidate =
            |value: &PossibleValue| Candidate::new(value.get_name(), about(value.get_help()));
        return possible.iter().map(candidate).collect();
    }
    let words: Vec<_> = line.words.iter().map(String::as_str).collect();
    let Some(kind) = Kind::of(&words, command, argument) else {
        return Vec::new();
    };
    let asked = kind.names(context, typed);
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(Ok(names)) => names,
        // No rack, no answer, no leave: nothing to offer.
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// What a rack has names of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    App,
    Build,
    Certificate,
    Config,
    Instance,
    Process,
    Rack,
    RackResource,
    Registry,
    Release,
    Resource,
    Service,
    Timer,
    Variable,
}

impl Kind {
    /// What an argument of a command names; nothing for one that names something new.
    fn of(words: &[&str], command: &Grammar, argument: &Arg) -> Option<Self> {
        let name = argument
            .get_value_names()
            .and_then(|names| names.first())
            .map(|name| name.to_lowercase())
            .unwrap_or_default();
        let positional = command
            .get_positionals()
            .any(|positional| positional.get_id() == argument.get_id());
        Some(match (words, name.as_str()) {
            (["apps", "create" | "import"], "app") if positional => return None,
            (["rack", "exec"], _) => return None,
            (_, "app") => Self::App,
            (_, "build") => Self::Build,
            (["certs", ..], "id") => Self::Certificate,
            (["config", ..], "name") => Self::Config,
            (["instances", ..], "id") => Self::Instance,
            (_, "pid" | "process") => Self::Process,
            (_, "rack") | (["uninstall"] | ["rack", "uninstall"], "name") => Self::Rack,
            (["rack", "resources", "create"], _) => return None,
            (["rack", "resources", ..], "resource" | "name") => Self::RackResource,
            (["registries", "remove"], "server") => Self::Registry,
            (_, "release") => Self::Release,
            (["resources", ..], "resource") => Self::Resource,
            (_, "service") => Self::Service,
            (_, "timer") => Self::Timer,
            (["env", ..], "var" | "key") => Self::Variable,
            _ => return None,
        })
    }

    /// Asks for the names.
    async fn names(self, context: &Context, typed: &Typed) -> Result<Vec<Candidate>, Error> {
        // To press a key must not start a server.
        let context = &context.without_waking();
        let arguments = typed.app_arguments();
        if self == Self::Rack {
            let racks = context.known_racks().await?.racks;
            let full = racks
                .into_iter()
                .map(|known| (known.reach.name, known.status));
            return Ok(full
                .map(|(name, status)| {
                    let short = name.rsplit('/').next().unwrap_or(&name).to_owned();
                    Candidate::new(short, format!("{name}, {status}"))
                })
                .collect());
        }
        let rack = context.rack(&arguments.rack).await?;
        let client = &rack.client;
        let plain = |name: String| Candidate::new(name, "");
        Ok(match self {
            Self::App => {
                let apps = client.app_list().await?.into_iter();
                apps.map(|app| Candidate::new(app.name, app.status))
                    .collect()
            }
            Self::Certificate => {
                let certificates = client.certificate_list(false).await?.into_iter();
                certificates
                    .map(|certificate| Candidate::new(certificate.id, certificate.domain))
                    .collect()
            }
            Self::Instance => {
                let instances = client.instance_list().await?.into_iter();
                instances
                    .map(|instance| Candidate::new(instance.id, instance.status))
                    .collect()
            }
            Self::RackResource => {
                let resources = client.rack_resource_list().await?.into_iter();
                resources
                    .map(|resource| Candidate::new(resource.name, resource.kind))
                    .collect()
            }
            Self::Registry => {
                let registries = client.registry_list().await?.into_iter();
                registries
                    .map(|registry| Candidate::new(registry.server, registry.username))
                    .collect()
            }
            Self::Rack => Vec::new(),
            of_app => {
                let app = context.app(&arguments)?;
                match of_app {
                    Self::Build => {
                        let builds = client.build_list(&app, Some(NEWEST)).await?.into_iter();
                        builds
                            .map(|build| {
                                let about = format!("{} {}", build.status, build.description);
                                Candidate::new(build.id, about.trim_end())
                            })
                            .collect()
                    }
                    Self::Release => {
                        let releases = client.release_list(&app, Some(NEWEST)).await?.into_iter();
                        releases
                            .map(|release| Candidate::new(release.id, release.description))
                            .collect()
                    }
                    Self::Service => {
                        let services = client.service_list(&app).await?.into_iter();
                        services.map(|service| plain(service.name)).collect()
                    }
                    Self::Process => {
                        let processes = client.process_list(&app, None, None).await?.into_iter();
                        processes
                            .map(|process| Candidate::new(process.id, process.name))
                            .collect()
                    }
                    Self::Resource => {
                        let resources = client.resource_list(&app).await?.into_iter();
                        resources
                            .map(|resource| Candidate::new(resource.name, resource.kind))
                            .collect()
                    }
                    Self::Config => {
                        let configs = client.config_list(&app).await?.into_iter();
                        configs.map(|config| plain(config.name)).collect()
                    }
                    Self::Timer => super::timer::names(&rack, &app)
                        .await?
                        .into_iter()
                        .map(plain)
                        .collect(),
                    _ => super::environment::names(&rack, &app)
                        .await?
                        .into_iter()
                        .map(plain)
                        .collect(),
                }
            }
        })
    }
}
