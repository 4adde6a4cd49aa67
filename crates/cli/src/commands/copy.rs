//! `convox builds copy`: a build goes from one rack to another, and no file is written.
//!
//! Racks of one server and engine copy by reference: the source gives a ticket, the
//! target takes it. Everywhere else the archive is piped from the one to the other, so
//! that nothing is held but the bytes in flight: between racks of ours without the
//! layers that the target has, to a real rack in the format of its generation.

use std::collections::BTreeSet;

use artifact::Format;
use futures::StreamExt as _;
use rack_api::Build;
use rack_api::build::{Ticket, status};
use rack_api::client::{ClientError, Upload};

use super::{archive, build_id};
use crate::arguments::{AppArgs, RackArgs};
use crate::context::{Context, variable};
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::racks::Rack;
use crate::ui::Ui;

/// Where a build goes. The end that is not named is the rack the command is for.
#[derive(Debug, clap::Args)]
pub(super) struct Route {
    /// rack that has the build; the current one if only --to is given
    #[arg(long, value_name = "rack")]
    from: Option<String>,
    /// rack that is to have it; the current one if only --from is given
    #[arg(long, value_name = "rack")]
    to: Option<String>,
    /// app on the other rack, if it is called otherwise there
    #[arg(long, value_name = "app")]
    to_app: Option<String>,
}

impl Route {
    /// Both ends; `own` is the rack the command is for.
    fn ends(&self, own: &RackArgs) -> Result<(RackArgs, RackArgs), Error> {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        match (given(&self.from), given(&self.to)) {
            (Some(from), Some(to)) => Ok((RackArgs::named(from), RackArgs::named(to))),
            (Some(from), None) => Ok((RackArgs::named(from), own.clone())),
            (None, Some(to)) => Ok((own.clone(), RackArgs::named(to))),
            (None, None) => Err(Error::with_hint(
                "a copy is between two racks, and none is named",
                "name the rack that is to have the build: --to <rack>, or the one that has it: --from <rack>",
            )),
        }
    }
}

/// Which archives a rack writes and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    /// A rack of ours: writes and takes all.
    Ours,
    /// A real rack of version 2, which takes no archive of version 3.
    Second,
    /// A real rack of version 3, which takes no archive of version 2.
    Third,
}

impl Generation {
    /// Asks a rack, unless it has said already that it is one of ours. Racks of version 2
    /// call themselves by the time they were released, those of version 3 by three
    /// numbers (`rack-api.md` §5).
    async fn of(rack: &Rack) -> Result<Self, Error> {
        if rack.client.is_twinrack() {
            return Ok(Self::Ours);
        }
        let version = rack.client.system_get().await?.version;
        Ok(Self::of_version(&version))
    }

    fn of_version(version: &str) -> Self {
        let mut numbers = version.trim_start_matches('v').split('.');
        let major = numbers.next().and_then(|number| number.parse::<u32>().ok());
        match major {
            Some(major) if (3..1000).contains(&major) && numbers.next().is_some() => Self::Third,
            _ => Self::Second,
        }
    }

    fn format(self) -> Format {
        match self {
            Self::Ours => Format::Default,
            Self::Second => Format::V2,
            Self::Third => Format::V3,
        }
    }
}

/// Copies a build and names its release on the other rack.
pub(super) async fn copy(
    context: &Context,
    app: &AppArgs,
    build: &str,
    route: &Route,
    only_id: bool,
) -> Outcome {
    let (from, to) = route.ends(&app.rack)?;
    if only_id && crate::output::is_closed() {
        return Err(Error::failed(
            "standard output is closed: there is nowhere to write the id",
        ));
    }
    let name = context.app(app)?;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let to_app = given(&route.to_app).unwrap_or_else(|| name.clone());
    let source = context.rack(&from).await?;
    let target = context.rack(&to).await?;
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
    let format = agreed(&source, &target).await?;

    let progress = ui.start("Copying build")?;
    let journey = Journey {
        source: &source,
        target: &target,
        app: &name,
        build: &found.id,
        to_app: &to_app,
        foreign: to_app != name,
        format,
        ui: &ui,
    };
    let (copied, had) = journey.make().await?;
    let there = to.rack.as_deref();
    if copied.id.is_empty() {
        return Err(Error::failed(format!(
            "{} took the build and does not say which build it made of it",
            there.unwrap_or("the rack")
        )));
    }
    progress.ok_with(&copied.release)?;
    if had > 0 {
        let (layers, them) = match had {
            1 => ("layer was", "it"),
            _ => ("layers were", "them"),
        };
        context.ui.note(format!(
            "note: {had} {layers} not sent, as {} had {them}",
            there.unwrap_or("the rack")
        ));
    }
    archive::tell(context, &copied, &to_app, there);
    if only_id {
        ui.data(copied.release.as_bytes())?;
    }
    Ok(Exit::SUCCESS)
}

/// The format to ask the source for, if it knows formats and the target is not ours.
async fn agreed(source: &Rack, target: &Rack) -> Result<Option<Format>, Error> {
    let to = Generation::of(target).await?;
    if to == Generation::Ours {
        return Ok(None);
    }
    let format = to.format();
    match Generation::of(source).await? {
        Generation::Ours => Ok(Some(format)),
        from if from == to => Ok(None),
        _ => Err(Error::with_hint(
            "a rack of version 2 does not take archives of version 3, nor the reverse",
            format!(
                "`convox builds export`, `convox artifact convert <file> --to {format} -o <other>`, \
                 then `convox builds import`"
            ),
        )),
    }
}

/// One build on its way.
struct Journey<'a> {
    source: &'a Rack,
    target: &'a Rack,
    app: &'a str,
    build: &'a str,
    to_app: &'a str,
    foreign: bool,
    /// What the source is asked for.
    format: Option<Format>,
    ui: &'a Ui,
}

impl Journey<'_> {
    /// Goes the shortest way there is. Returns the build, and how many layers stayed.
    async fn make(&self) -> Result<(Build, usize), Error> {
        let Some(ticket) = self.ticket().await? else {
            return Ok((self.pipe(&[]).await?, 0));
        };
        let target = &self.target.client;
        match target.build_copy(self.to_app, &ticket, self.foreign).await {
            Ok(build) => return Ok((build, 0)),
            Err(error) if error.is_elsewhere() || is_unknown(&error) => {}
            Err(error) => return Err(error.into()),
        }
        let had = match target.app_layers(self.to_app).await {
            Ok(chains) => in_common(&ticket, &chains),
            Err(error) if is_unknown(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        match self.pipe(&had).await {
            // They went away meanwhile.
            Err(Error::Client(error)) if error.is_conflict() && !had.is_empty() => {
                Ok((self.pipe(&[]).await?, 0))
            }
            sent => Ok((sent?, had.len())),
        }
    }

    /// Leave of the source, which only racks of ours give and take.
    async fn ticket(&self) -> Result<Option<Ticket>, Error> {
        if !(self.source.client.is_twinrack() && self.target.client.is_twinrack()) {
            return Ok(None);
        }
        match self.source.client.build_ticket(self.app, self.build).await {
            Ok(ticket) => Ok(Some(ticket)),
            Err(error) if is_unknown(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the archive on as it comes. One that breaks off never becomes a build: the
    /// upload breaks off with it.
    async fn pipe(&self, without: &[String]) -> Result<Build, Error> {
        let (source, target) = (&self.source.client, &self.target.client);
        // The rack checks all it can before the first byte.
        let archive = if without.is_empty() {
            let format = self.format.map(Format::name);
            source.build_export(self.app, self.build, format).await?
        } else {
            source
                .build_export_thin(self.app, self.build, without)
                .await?
        };
        let length = archive.length();
        let archive = archive::told(archive, self.ui);
        let bar = self.ui.bar("copying", length);
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
        let (app, foreign) = (self.to_app, self.foreign);
        let sent = match (without.is_empty(), foreign) {
            (false, _) => target.build_import_thin(app, upload, foreign).await,
            (true, true) => target.build_import_foreign(app, upload).await,
            (true, false) => target.build_import(app, upload).await,
        };
        sent.map_err(blame)
    }
}

/// Whether a server does not know the call, being older than it. That app and build are
/// there was asked before.
fn is_unknown(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Api {
            status: 404 | 405 | 501,
            ..
        }
    )
}

/// Layers of a build that need not be sent to who has images of these layers: of each
/// image those at its bottom, and none that another image needs higher up.
fn in_common(build: &Ticket, had: &[Vec<String>]) -> Vec<String> {
    let (mut common, mut needed) = (BTreeSet::new(), BTreeSet::new());
    for image in build.layers.values() {
        let shared = |other: &Vec<String>| {
            let pairs = other.iter().zip(image);
            pairs.take_while(|(one, other)| one == other).count()
        };
        let bottom = had.iter().map(shared).max().unwrap_or(0);
        common.extend(&image[..bottom]);
        needed.extend(&image[bottom..]);
    }
    common
        .difference(&needed)
        .map(|layer| (*layer).clone())
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_on_common_ground_stays() {
        let layers = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let build = |images: &[&str]| Ticket {
            layers: images
                .iter()
                .map(|image| ((*image).to_owned(), layers(image)))
                .collect(),
            ..Ticket::default()
        };
        for (images, had, stays) in [
            (&["abc"][..], &["abd", "a"][..], "ab"),
            (&["abc"], &["xbc"], ""),
            (&["abc"], &[], ""),
            (&["abc", "ab"], &["abc"], "abc"),
            // `a` again, but on another ground.
            (&["abc", "xa"], &["abq"], "b"),
        ] {
            let had: Vec<_> = had.iter().map(|image| layers(image)).collect();
            let stays = layers(stays);
            assert_eq!(in_common(&build(images), &had), stays, "{images:?}");
        }
    }

    #[test]
    fn racks_are_told_by_their_version() {
        for (version, generation) in [
            ("20180708231844", Generation::Second),
            ("20260418101514", Generation::Second),
            ("3.24.6", Generation::Third),
            ("v3.18.0-rc1", Generation::Third),
            ("4.0.1", Generation::Third),
            ("dev", Generation::Second),
            ("", Generation::Second),
            ("20180708231844.1", Generation::Second),
        ] {
            assert_eq!(Generation::of_version(version), generation, "{version}");
        }
    }
}
