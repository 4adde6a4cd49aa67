//! `convox man`: the manual, made from the grammar of the commands themselves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::{Man as Page, generate_to};

use crate::arguments;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::{self, Exit};
use crate::help;

/// The manual.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// directory to write a page per command to; without one the first page is printed
    #[arg(value_name = "dir")]
    directory: Option<PathBuf>,
    /// print the reference of all commands, as docs/commands.md has it
    #[arg(long, hide = true)]
    markdown: bool,
}

impl Man {
    /// Prints or writes the manual.
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let grammar = arguments::described().after_help(exit::text(""));
        let ui = &context.ui;
        if self.markdown {
            ui.text(help::reference(&grammar))?;
        } else if let Some(directory) = self.directory {
            let progress = ui.start("Writing manual")?;
            write(grammar, &context.settings.working().join(&directory))
                .map_err(Error::io(format!("can not write {}", directory.display())))?;
            progress.ok()?;
        } else {
            let mut page = Vec::new();
            Page::new(grammar)
                .render(&mut page)
                .map_err(Error::io("can not make the page"))?;
            ui.bytes(&page)?;
        }
        Ok(Exit::SUCCESS)
    }
}

fn write(grammar: clap::Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    generate_to(grammar, directory)
}
