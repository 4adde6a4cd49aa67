//! `convox doctor`: is this machine fit, and if not, what helps.
//!
//! Nothing is changed and nothing is started. Every finding has one line, and what is not well
//! has a second one that says what to do.

mod engine;
mod local;
mod machine;
mod ports;
mod versions;

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::error::Outcome;
use crate::exit::Exit;
use crate::ui::{Colour, Ui, shown};

/// A check of the machine.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// print JSON
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Works, but not for long or not for everything.
    Warning,
    /// Does not work.
    Broken,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    state: State,
    /// How it is.
    #[serde(rename = "finding")]
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            state: State::Ok,
            found: found.into(),
            fix: None,
        }
    }

    fn new(
        check: &'static str,
        state: State,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state,
            found: found.into(),
            fix: Some(fix.into()),
        }
    }

    fn print(&self, ui: &Ui) -> Result<(), crate::error::Error> {
        let (word, colour) = match self.state {
            State::Ok => ("ok", Colour::Ok),
            State::Note => ("note", Colour::Start),
            State::Warning => ("warning", Colour::Pending),
            State::Broken => ("broken", Colour::Bad),
        };
        let blanks = " ".repeat("warning".len() - word.len());
        let plain = |text: &str| shown(text, ui.stdout_is_terminal());
        ui.line(format!(
            "{}{blanks}  {:<8}  {}",
            ui.paint(colour, word),
            self.check,
            plain(&self.found)
        ))?;
        match &self.fix {
            Some(fix) => ui.line(format!("{:19}fix: {}", "", plain(fix))),
            None => Ok(()),
        }
    }
}

impl Doctor {
    /// Looks at everything; fails if something is broken.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let asleep = context.without_waking();
        let server = context.local_server();
        let mut findings = local::settings(context);
        findings.extend(local::variables());
        let engine = engine::look(context).await;
        findings.push(engine.finding);
        findings.extend(engine.images);
        match server {
            Ok(server) => {
                findings.extend(local::server(&asleep, &server).await);
                findings.extend(ports::look(&server).await);
                findings.push(local::authority(&server.data));
                findings.push(machine::disk(&server.data));
                findings.push(machine::names(&server.host));
            }
            Err(error) => findings.push(Finding::new(
                "server",
                State::Broken,
                error.to_string(),
                "mend the variable or file that is named",
            )),
        }
        findings.extend(versions::look(&asleep, engine.api.as_deref()).await);
        findings.extend(local::racks(&asleep).await);
        let broken = findings
            .iter()
            .any(|finding| finding.state == State::Broken);
        if self.json {
            context.ui.json(&findings)?;
        } else {
            for finding in &findings {
                finding.print(&context.ui)?;
            }
        }
        Ok(if broken { Exit::FAILURE } else { Exit::SUCCESS })
    }
}
