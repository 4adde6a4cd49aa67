//! `convox manifest`: what a `convox.yml` says, without any rack.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use ::manifest::{Errors, Loaded, Manifest as Loader};
use clap::{Args, Subcommand};
use rack_api::Environment;
use serde::Serialize;

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;

/// The manifest's usual name.
const USUAL: &str = "convox.yml";
/// The name of a manifest of generation 1.
const GENERATION_1: &str = "docker-compose.yml";

/// Manifests.
#[derive(Debug, Args)]
pub(crate) struct Manifest {
    #[command(subcommand)]
    command: ManifestCommand,
}

#[derive(Debug, Subcommand)]
enum ManifestCommand {
    /// print a manifest with every default filled in, or all that is wrong with it
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    /// manifest to check, convox.yml if none is given; standard input for -
    #[arg(value_name = "file")]
    file: Option<String>,
    /// file with variables of the release, one KEY=VALUE a line
    #[arg(long, value_name = "file")]
    env_file: Option<String>,
    /// print JSON: the manifest, errors and warnings
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    app: AppArgs,
}

/// What was found, for programs.
#[derive(Serialize)]
struct Report {
    file: String,
    manifest: Option<::manifest::Resolved>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// One thing that was found; line and column are 0 for the file as a whole.
#[derive(Serialize)]
struct Finding {
    line: usize,
    column: usize,
    message: String,
    hint: Option<String>,
}

impl Manifest {
    /// Does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let ManifestCommand::Check(check) = self.command;
        check.run(context).await
    }
}

impl Check {
    async fn run(self, context: &Context) -> Outcome {
        let given = self.variables(context).await?;
        let (file, text) = self.text(context)?;
        let base = Path::new(&file).file_name();
        let found = if base.is_some_and(|name| name == GENERATION_1) {
            Err(Loader::generation1_steps(&text))
        } else {
            load(&text, given.as_ref())
        };
        let (manifest, errors, warnings) = match found {
            Ok((loaded, missing)) => {
                let said = loaded.warnings.iter().map(|warning| Finding {
                    line: warning.line,
                    column: warning.column,
                    message: warning.message.clone(),
                    hint: None,
                });
                let warnings = said.chain(missing).collect();
                (Some(loaded.manifest.resolved()), Vec::new(), warnings)
            }
            Err(errors) => {
                let errors = errors.iter().map(|error| Finding {
                    line: error.line,
                    column: error.column,
                    message: error.message.clone(),
                    hint: error.hint.clone(),
                });
                (None, errors.collect(), Vec::new())
            }
        };
        let report = Report {
            file,
            manifest,
            errors,
            warnings,
        };
        let exit = if report.errors.is_empty() {
            Exit::SUCCESS
        } else {
            Exit::FAILURE
        };
        if self.json {
            context.ui.json(&report)?;
            return Ok(exit);
        }
        for warning in &report.warnings {
            let line = warning.line(&report.file);
            context.ui.note(format!("WARNING: {line}"));
        }
        for error in &report.errors {
            let line = error.line(&report.file);
            context.ui.error(&match &error.hint {
                Some(hint) => Error::with_hint(line, hint),
                None => Error::failed(line),
            });
        }
        if let Some(manifest) = &report.manifest {
            context.ui.text(manifest.to_string())?;
        }
        Ok(exit)
    }

    /// The variables it is checked with: those of the app's latest release, over them those of
    /// the file; none if neither is given.
    async fn variables(
        &self,
        context: &Context,
    ) -> Result<Option<BTreeMap<String, String>>, Error> {
        let mut variables = None;
        if self.app.app.is_some() {
            let name = context.app(&self.app)?;
            let rack = context.rack(&self.app.rack).await?;
            let latest = rack.client.release_list(&name, Some(1)).await?;
            let environment = match latest.first() {
                Some(release) => rack.client.release_get(&name, &release.id).await?.env,
                None => String::new(),
            };
            variables = Some(Environment::parse(&environment).to_map());
        }
        if let Some(file) = &self.env_file {
            let text = std::fs::read_to_string(context.settings.working().join(file))
                .map_err(Error::io(format!("can not read {file}")))?;
            let of_file = Environment::parse(&text).to_map();
            variables.get_or_insert_default().extend(of_file);
        }
        Ok(variables)
    }

    /// Name and text of the manifest. Where there is only one of generation 1 it is that one.
    fn text(&self, context: &Context) -> Result<(String, String), Error> {
        if self.file.as_deref() == Some("-") {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(Error::io("can not read standard input"))?;
            return Ok((USUAL.to_owned(), text));
        }
        let working = context.settings.working();
        let file = match &self.file {
            Some(file) => file.as_str(),
            None if !working.join(USUAL).exists() && working.join(GENERATION_1).exists() => {
                GENERATION_1
            }
            None => USUAL,
        };
        let text = std::fs::read_to_string(working.join(file))
            .map_err(Error::io(format!("can not read {file}")))?;
        Ok((file.to_owned(), text))
    }
}

/// Loads it as a deploy would. Without variables those that are required cannot be judged: they
/// are named.
fn load(
    text: &str,
    variables: Option<&BTreeMap<String, String>>,
) -> Result<(Loaded, Option<Finding>), Errors> {
    if let Some(variables) = variables {
        return Loader::load(text, variables).map(|loaded| (loaded, None));
    }
    let none = BTreeMap::new();
    let loaded = Loader::load_without_environment(text, &none)?;
    let missing = loaded.manifest.missing_environment(&none);
    let finding = (!missing.is_empty()).then(|| Finding {
        line: 0,
        column: 0,
        message: format!(
            "a release must set {}: check with --env-file or --app whether it does",
            missing.join(", ")
        ),
        hint: None,
    });
    Ok((loaded, finding))
}

impl Finding {
    fn line(&self, file: &str) -> String {
        if self.message.starts_with("required env: ") {
            self.message.clone()
        } else if self.line == 0 {
            format!("{file}: {}", self.message)
        } else {
            format!("{file}:{}:{}: {}", self.line, self.column, self.message)
        }
    }
}

/// What helps with an app of generation 1.
pub(super) fn generation_1() -> Error {
    Error::with_hint(
        "gen1 is no longer supported",
        format!("`convox manifest check {GENERATION_1}` names the steps to move"),
    )
}

/// Whether a directory has a manifest of generation 1 and none of generation 2.
pub(super) fn is_generation_1(directory: &Path, manifest: &str) -> bool {
    manifest == USUAL && !directory.join(manifest).exists() && directory.join(GENERATION_1).exists()
}
