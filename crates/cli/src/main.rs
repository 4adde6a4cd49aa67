//! `convox`: the command line for local and real racks.
//!
//! Starts the runtime, reads the arguments, runs one command and turns its
//! outcome into an exit status. Everything else lives in the modules.

mod arguments;
mod commands;
mod container;
mod context;
mod error;
mod exit;
mod help;
mod legacy;
mod output;
mod parcel;
#[cfg(test)]
mod proven;
mod racks;
mod server;
mod settings;
mod settle;
mod source;
mod start;
mod target;
mod ui;
mod usage;
mod view;

use std::process::ExitCode;

use crate::context::Context;
use crate::ui::Ui;

fn main() -> ExitCode {
    let ui = Ui::from_terminal();
    let outcome = arguments::parse(std::env::args_os(), &ui).and_then(|parsed| {
        let arguments::Parsed::Command(command) = parsed else {
            return Ok(exit::Exit::SUCCESS);
        };
        // One thread serves a client; the blocking pool does the file work.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(error::Error::io("can not start"))?;
        let outcome = runtime.block_on(async {
            let context = Context::from_environment(ui.clone())?;
            command.run(&context).await
        });
        // A reader blocked on standard input must not hold the exit back.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            ui.error(&error);
            error.exit().into()
        }
    }
}
