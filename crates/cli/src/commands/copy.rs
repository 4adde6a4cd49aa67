//! `convox builds copy`: a build goes from one rack to another, and no file is written.
//!
//! Racks of one server and engine copy by reference: the source gives a ticket, the
//! target takes it. Everywhere else the archive is piped from the one to the other, so
//! that nothing is held but the bytes in flight.

use futures::StreamExt as _;
use rack_api::Build;
use rack_api::build::status;
use rack_api::client::{ClientError, Upload};

use super::{archive, build_id};
use crate::arguments::{AppArgs, RackArgs};
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::ui::Ui;

/// Where a build goes.
#[derive(Debug, clap::Args)]
pub(super) struct Route {
    /// rack that has the build; the current one if none is given
    #[arg(long, value_name = "rack")]
    from: Option<String>,
    /// rack that is to have it
    #[arg(long, value_name = "rack")]
    to: Option<String>,
    /// app on the other rack, if it is called otherwise there
    #[arg(long, value_name = "app")]
    to_app: Option<String>,
}

/// Copies a build and names its release on the other rack.
pub(super) async fn copy(
    context: &Context,
    app: &AppArgs,
    build: &str,
    route: &Route,
    only_id: bool,
) -> Outcome {
    let name = context.app(app)?;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let to_app = given(&route.to_app).unwrap_or_else(|| name.clone());
    let Some(to) = given(&route.to) else {
        return Err(Error::failed(
            "name the rack that is to have the build: --to <rack>",
        ));
    };
    let from = match given(&route.from) {
        Some(from) => RackArgs::named(from),
        None => app.rack.clone(),
    };
    let source = context.rack(&from).await?;
    let target = context.rack(&RackArgs::named(to.clone())).await?;
    let ui = context.ui.for_id(only_id);

    // Whatever can be refused is refused before anything moves.
    let id = build_id(&source, &name, build).await?;
    let found = source.client.build_get(&name, &id).await?;
    if found.status != status::COMPLETE {
        return Err(Error::failed(format!(
            "build {} is {}: only complete builds can be copied",
            found.id, found.status
        )));
    }
    target.client.app_get(&to_app).await?;
    for rack in [&source, &target] {
        if variable("RACK_URL").is_some() && !rack.client.is_twinrack() {
            return Err(Error::with_hint(
                "RACK_URL names one rack, a copy is between two",
                "unset RACK_URL, and name both as `convox racks` lists them",
            ));
        }
    }

    let progress = ui.start("Copying build")?;
    let foreign = to_app != name;
    let copied = match by_reference(&source, &target, &name, &found.id, &to_app, foreign).await? {
        Some(build) => build,
        None => through_a_pipe(&source, &target, &name, &found.id, &to_app, foreign, &ui).await?,
    };
    if copied.id.is_empty() {
        return Err(Error::failed(format!(
            "{to} took the build and does not say which build it made of it"
        )));
    }
    progress.ok_with(&copied.release)?;
    archive::tell(context, &copied, &to_app, Some(&to));
    if only_id {
        ui.data(copied.release.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// Lets the target take the build from its own engine; nothing, where it can not.
async fn by_reference(
    source: &Rack,
    target: &Rack,
    app: &str,
    build: &str,
    to_app: &str,
    foreign: bool,
) -> Result<Option<Build>, Error> {
    if !(source.client.is_twinrack() && target.client.is_twinrack()) {
        return Ok(None);
    }
    let ticket = match source.client.build_ticket(app, build).await {
        Ok(ticket) => ticket,
        // An older server: the build is there.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match target.client.build_copy(to_app, &ticket, foreign).await {
        Ok(build) => Ok(Some(build)),
        Err(error) if error.is_elsewhere() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends the archive on as it comes. One that breaks off never becomes a build: the
/// upload breaks off with it.
async fn through_a_pipe(
    source: &Rack,
    target: &Rack,
    app: &str,
    build: &str,
    to_app: &str,
    foreign: bool,
    ui: &Ui,
) -> Result<Build, Error> {
    // The rack checks all it can before the first byte.
    let archive = source.client.build_export(app, build, None).await?;
    let length = archive.length();
    let bar = ui.bar("copying", length);
    let count = bar.counter();
    let pieces = archive.map(move |piece| {
        piece
            .inspect(|bytes| count(bytes.len()))
            .map_err(std::io::Error::other)
    });
    let mut upload = Upload::from_stream(pieces);
    if let Some(length) = length {
        upload = upload.with_length(length);
    }
    let sent = if foreign {
        target.client.build_import_foreign(to_app, upload).await
    } else {
        target.client.build_import(to_app, upload).await
    };
    sent.map_err(blame)
}

/// What the source said, where it was the source that failed.
fn blame(error: ClientError) -> Error {
    match error {
        ClientError::Upload(error) => match error.downcast::<ClientError>() {
            Ok(source) => source.into(),
            Err(error) => ClientError::Upload(error).into(),
        },
        error => error.into(),
    }
}
