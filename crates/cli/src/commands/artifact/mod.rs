//! `convox artifact`: what is in build archives, without any rack.
//!
//! Archives are verified whole before anything is said about them, and text from them is
//! never shown with control characters.

mod contents;
mod convert;
mod difference;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use artifact::{Contents, Format, Limits};
use clap::{Args, Subcommand};
use manifest::Manifest;

use super::archive;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::ui::{Bar, Ui};

/// Build archives in files.
#[derive(Debug, Args)]
pub(crate) struct Artifact {
    #[command(subcommand)]
    command: ArtifactCommand,
}

#[derive(Debug, Subcommand)]
enum ArtifactCommand {
    /// write an archive in another format
    Convert {
        /// archive to read; standard input for -
        file: PathBuf,
        /// format to write: default, v2 or v3
        #[arg(long, value_name = "format", default_value = "default")]
        to: Format,
        /// file to write; standard output for - or if none is given
        #[arg(short, long, value_name = "file")]
        output: Option<PathBuf>,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// compare what two archives contain; exits with 1 if it differs, 2 on trouble
    Diff {
        /// archive to compare; standard input for -
        from: PathBuf,
        /// archive to compare it with; standard input for -
        to: PathBuf,
        /// print json
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// show what an archive contains
    Inspect {
        /// archive to read; standard input for -
        file: PathBuf,
        /// print json
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// verify an archive and say what was proved
    Verify {
        /// archive to read; standard input for -
        file: PathBuf,
        /// print json
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
}

/// How much of an archive is accepted.
#[derive(Debug, Args)]
struct LimitArgs {
    /// limits such as uncompressed=512GiB,entries=100000
    #[arg(
        long,
        value_name = "limits",
        env = "CONVOX_ARCHIVE_LIMITS",
        default_value = ""
    )]
    limits: Limits,
}

impl Artifact {
    /// Does what the sub-command says.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.command {
            ArtifactCommand::Convert {
                file,
                to,
                output,
                limits,
            } => convert::run(context, &file, to, output.as_deref(), limits.limits).await,
            ArtifactCommand::Diff {
                from,
                to,
                json,
                limits,
            } => difference::run(context, &from, &to, json, &limits.limits)
                .await
                .map_err(Error::troubled),
            ArtifactCommand::Inspect { file, json, limits } => {
                contents::inspect(context, &file, json, &limits.limits).await
            }
            ArtifactCommand::Verify { file, json, limits } => {
                contents::verify(context, &file, json, &limits.limits).await
            }
        }
    }
}

/// What a user calls an archive.
fn name(file: &Path) -> String {
    if is_stdin(file) {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// An archive about to be read, and its length if that is known.
fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Error> {
    if !is_stdin(file) {
        let (opened, length) = archive::open(file)?;
        return Ok((Box::new(opened), length));
    }
    if io::stdin().is_terminal() {
        return Err(Error::failed(
            "pipe an archive into this command or name a file",
        ));
    }
    Ok((Box::new(io::stdin()), None))
}

/// Counts the bytes read on the bar.
struct Counted<R> {
    source: R,
    bar: Bar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bar.advance(count);
        Ok(count)
    }
}

/// Does file work beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|gone| Error::failed(gone.to_string()))?
}

/// Verifies an archive from its first byte to its last.
async fn read(ui: &Ui, file: &Path, limits: &Limits) -> Result<Contents, Error> {
    let (source, length) = open(file)?;
    let source = Counted {
        source,
        bar: ui.bar("verifying", length),
    };
    let (name, limits) = (name(file), limits.clone());
    blocking(move || artifact::verify(source, &limits).map_err(Error::archive(name))).await
}

/// An unnamed file that is gone when the program is.
fn scratch() -> Result<File, Error> {
    tempfile::tempfile().map_err(Error::io(format!(
        "can not make a temporary file in {}",
        std::env::temp_dir().display()
    )))
}

/// What the manifest in an archive says, if it can be read.
fn manifest_of(contents: &Contents) -> Option<Manifest> {
    let build = contents.build.as_ref()?;
    let loaded = Manifest::load_without_environment(&build.manifest, &BTreeMap::new()).ok()?;
    Some(loaded.manifest)
}

/// Names of the variables a target must set: from the index, else from the manifest.
fn required_environment(contents: &Contents) -> Vec<String> {
    match (&contents.index, manifest_of(contents)) {
        (Some(index), _) => index.required_environment.clone(),
        (None, Some(manifest)) => manifest.missing_environment(&BTreeMap::new()),
        (None, None) => Vec::new(),
    }
}

/// Text from an archive, harmless to terminals: whatever is not printed stands as an escape.
fn plain(text: &str) -> String {
    let harmless = |c: char| c == '\n' || c == '\t' || !(c.is_control() || is_directional(c));
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// Characters that make text look like another one.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A value as JSON on several lines.
fn json(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a value always serializes");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_archives_cannot_steer_a_terminal() {
        assert_eq!(
            plain("a\u{1b}[2Jb\r\u{9b}1m"),
            "a\\u{1b}[2Jb\\u{d}\\u{9b}1m"
        );
        assert_eq!(plain("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(plain("ä\tb\nc"), "ä\tb\nc");
    }
}
