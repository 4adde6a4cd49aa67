//! `convox man`: the manual, made from the grammar of the commands themselves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command as Grammar};
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, roman};

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
        let grammar = arguments::described();
        let ui = &context.ui;
        if self.markdown {
            ui.text(help::reference(&grammar))?;
        } else if let Some(directory) = self.directory {
            let progress = ui.start("Writing manual")?;
            write(grammar, &context.settings.working().join(&directory))
                .map_err(Error::io(format!("can not write {}", directory.display())))?;
            progress.ok()?;
        } else {
            let page = page(&grammar, &[]).map_err(Error::io("can not make the page"))?;
            ui.bytes(&page)?;
        }
        Ok(Exit::SUCCESS)
    }
}

/// Writes the page of a command and those of all below it.
fn write(mut grammar: Grammar, directory: &Path) -> io::Result<()> {
    fn each(command: &Grammar, words: &[&str], directory: &Path) -> io::Result<()> {
        let name = format!("{}.1", title(words));
        fs::write(directory.join(name), page(command, words)?)?;
        let below = command
            .get_subcommands()
            .filter(|command| !command.is_hide_set());
        for command in below {
            each(command, &[words, &[command.get_name()]].concat(), directory)?;
        }
        Ok(())
    }
    // So that each knows how it is called in full.
    grammar.build();
    fs::create_dir_all(directory)?;
    each(&grammar, &[], directory)
}

/// `convox-apps-info`.
fn title(words: &[&str]) -> String {
    [&["convox"], words].concat().join("-")
}

/// The page of one command.
fn page(command: &Grammar, words: &[&str]) -> io::Result<Vec<u8>> {
    let version = concat!("convox ", env!("CARGO_PKG_VERSION"));
    let page = Page::new(command.clone())
        .title(title(words).to_uppercase())
        .source(version)
        .manual("Convox commands");
    let mut bytes = Vec::new();
    page.render_title(&mut bytes)?;
    page.render_name_section(&mut bytes)?;
    page.render_synopsis_section(&mut bytes)?;
    page.render_description_section(&mut bytes)?;
    if command.get_arguments().any(|flag| !flag.is_hide_set()) {
        page.render_options_section(&mut bytes)?;
    }
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        page.render_subcommands_section(&mut bytes)?;
    }
    let mut end = Roff::new();
    end.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in exit::statuses(&words.join(" ")) {
        end.control("TP", []);
        end.text([bold(status)]);
        end.text([roman(meaning)]);
    }
    end.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in help::VARIABLES {
        end.control("TP", []);
        end.text([bold(*name)]);
        end.text([roman(*meaning)]);
    }
    end.to_writer(&mut bytes)?;
    Ok(bytes)
}
