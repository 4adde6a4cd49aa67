//! `convox racks` and `convox switch`.

use clap::Args;
use serde::Serialize;

use crate::arguments::RackArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::target::TargetError;
use crate::ui::Table;
use crate::view::{FormArgs, ViewArgs};

/// All racks.
#[derive(Debug, Args)]
pub(crate) struct Racks {
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    rack: RackArgs,
}

/// A rack as scripts see it.
#[derive(Serialize)]
struct Row {
    name: String,
    status: String,
}

impl Racks {
    /// Lists the racks that are known.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let read = async || {
            let mut listing = context.known_racks().await?;
            // A host that is down hides its racks only, unless there are no others.
            if listing.racks.is_empty() && !listing.failures.is_empty() {
                return Err(listing.failures.remove(0));
            }
            for failure in listing.failures {
                context.ui.note(format!("warning: {failure}"));
            }
            let rows = listing.racks.into_iter().map(|known| Row {
                name: known.reach.name,
                status: known.status,
            });
            Ok(rows.collect::<Vec<_>>())
        };
        let show = |rows: Vec<Row>| {
            let mut table = Table::new(["NAME", "STATUS"]);
            for row in rows {
                table.row(vec![row.name, row.status]);
            }
            table
        };
        self.view.show(context, read, show).await
    }
}

/// The current rack.
#[derive(Debug, Args)]
pub(crate) struct Switch {
    /// rack to switch to
    #[arg(value_name = "rack")]
    name: Option<String>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    rack: RackArgs,
}

/// The rack that is current.
#[derive(Serialize)]
struct Current {
    name: String,
}

impl Switch {
    /// Makes a rack current, or says which is.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let Some(wanted) = self.name.filter(|name| !name.is_empty()) else {
            let current = context
                .rack_name(&self.rack)?
                .ok_or(TargetError::NoCurrentRack)?;
            // By its full name where that is known; a rack that is gone stays selected.
            let name = match context.find(&current).await {
                Ok(reach) => reach.name,
                Err(Error::Target(TargetError::NotFound(_)) | Error::Client(_)) => current,
                Err(error) => return Err(error),
            };
            let current = Current { name };
            self.form.print(&context.ui, &current, &current.name)?;
            return Ok(Exit::SUCCESS);
        };
        let reach = context.find(&wanted).await?;
        context.settings.set_current_rack(
            reach.host.as_deref(),
            &reach.name,
            reach.direct.as_deref(),
        )?;
        let text = format!("Switched to {}", reach.name);
        let current = Current { name: reach.name };
        self.form.print(&context.ui, &current, text)?;
        context.note_overrides();
        Ok(Exit::SUCCESS)
    }
}
