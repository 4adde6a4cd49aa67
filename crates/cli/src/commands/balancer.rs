//! `convox balancers`.

use clap::Args;
use rack_api::Balancer;

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::Outcome;
use crate::ui::Table;
use crate::view::ViewArgs;

/// Balancers of an app.
#[derive(Debug, Args)]
pub(crate) struct Balancers {
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    app: AppArgs,
}

impl Balancers {
    /// Lists balancers.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let list = async || Ok(rack.client.balancer_list(&name).await?);
        let show = |balancers: Vec<Balancer>| {
            let mut table = Table::new(["BALANCER", "SERVICE", "ENDPOINT"]);
            for balancer in balancers {
                table.row(vec![balancer.name, balancer.service, balancer.endpoint]);
            }
            table
        };
        self.view.show(context, list, show).await
    }
}
