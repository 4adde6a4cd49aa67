//! `convox artifact inspect` and `convox artifact verify`.

use std::collections::BTreeMap;
use std::path::Path;

use artifact::{Compression, Contents, Layout, Limits};
use manifest::Manifest;
use serde_json::{Value, json};

use super::{json, plain, read, required_environment};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::{Info, Table, size};

/// Shows what an archive contains.
pub(super) async fn inspect(
    context: &Context,
    file: &Path,
    as_json: bool,
    limits: &Limits,
) -> Outcome {
    let contents = read(&context.ui, file, limits).await?;
    if as_json {
        context.ui.text(json(&description(&contents)))?;
    } else {
        context.ui.info(&overview(&contents))?;
        context.ui.line("")?;
        context.ui.table(&layers(&contents))?;
    }
    Ok(Exit::SUCCESS)
}

/// Verifies an archive and says what was proved.
pub(super) async fn verify(
    context: &Context,
    file: &Path,
    as_json: bool,
    limits: &Limits,
) -> Outcome {
    let verified = match read(&context.ui, file, limits).await {
        Ok(contents) => complete(&contents, file).map(|()| contents),
        // Nothing was read: that says nothing about the archive.
        Err(error) if !matches!(error, Error::Archive { .. }) => return Err(error),
        Err(error) => Err(error),
    };
    let contents = match verified {
        Ok(contents) => contents,
        Err(error) => {
            if as_json {
                let answer = json!({ "verified": false, "error": error.to_string() });
                context.ui.text(json(&answer))?;
            }
            return Err(error);
        }
    };
    let checks = contents.checks();
    if as_json {
        let answer = json!({
            "verified": true,
            "digest": contents.digest,
            "size": contents.size,
            "checks": checks,
        });
        context.ui.text(json(&answer))?;
        return Ok(Exit::SUCCESS);
    }
    let mut info = Info::default();
    info.add(
        "archive",
        format!("{} {}", contents.digest, size(contents.size)),
    );
    for check in checks {
        let verdict = if check.verified {
            "verified"
        } else {
            "not verified"
        };
        info.add(check.what, format!("{verdict}: {}", check.detail));
    }
    context.ui.info(&info)?;
    Ok(Exit::SUCCESS)
}

/// What keeps every rack of ours from importing an archive whose bytes are all right.
fn complete(contents: &Contents, file: &Path) -> Result<(), Error> {
    let cannot = |reason: String| {
        let name = super::name(file);
        Err(Error::failed(format!(
            "{name}: {reason}, so it cannot be imported"
        )))
    };
    let Some(build) = &contents.build else {
        return cannot("the archive has no build.json".to_owned());
    };
    let loaded = Manifest::load_without_environment(&build.manifest, &BTreeMap::new());
    let manifest = match loaded {
        Ok(loaded) => loaded.manifest,
        Err(errors) => {
            let errors = errors.to_string();
            let first = errors.lines().next().unwrap_or_default();
            return cannot(format!(
                "the manifest in the archive is none: {}",
                plain(first.trim())
            ));
        }
    };
    if manifest.services.is_empty() {
        return cannot("the manifest in the archive declares no services".to_owned());
    }
    for service in manifest.services.keys() {
        if !contents.services.contains_key(service) {
            return cannot(format!(
                "the archive has no image for service {service} of its manifest"
            ));
        }
    }
    Ok(())
}

/// The word for a layout, and what it means.
pub(super) fn layout(layout: Layout) -> (&'static str, &'static str) {
    match layout {
        Layout::Classic => ("A", "one docker archive per service"),
        Layout::Combined => ("B", "one docker archive for all services"),
        Layout::Oci => ("C", "one OCI layout per service"),
    }
}

/// The index's version, `none` without an index.
fn format(contents: &Contents) -> String {
    match &contents.index {
        Some(index) => format!("{}.{}", index.format.major, index.format.minor),
        None => "none".to_owned(),
    }
}

fn overview(contents: &Contents) -> Info {
    let mut info = Info::default();
    if let Some(build) = &contents.build {
        info.add("Build", plain(&build.id))
            .add("App", plain(&build.app))
            .add_some("Release", plain(&build.release))
            .add_some("Status", plain(&build.status))
            .add_some("Description", plain(&build.description))
            .add_some("Git sha", plain(&build.git_sha))
            .add_some("Entrypoint", plain(&build.entrypoint))
            .add_some("Started", plain(&build.started))
            .add_some("Ended", plain(&build.ended));
    } else {
        info.add("Build", "not described: the archive has no build.json");
    }
    let (letter, words) = layout(contents.layout);
    info.add("Layout", format!("{letter}: {words}"))
        .add("Index", format(contents));
    if let Some(index) = &contents.index {
        let source = format!("{} {}", index.source.rack, index.source.engine);
        info.add_some("Source", plain(source.trim()));
        if let Some(origin) = &index.source.origin {
            let origin = [&origin.rack, &origin.app, &origin.build].map(String::as_str);
            info.add_some("Origin", plain(origin.join(" ").trim()));
        }
    }
    info.add_some(
        "Required env",
        plain(&required_environment(contents).join("\n")),
    )
    .add("Size", size(contents.size))
    .add("Digest", contents.digest.as_str());
    for (service, image) in &contents.services {
        info.add(format!("Image {service}"), image.config_digest.as_str());
        if !image.entrypoint.is_empty() {
            let entrypoint = serde_json::to_string(&image.entrypoint).unwrap_or_default();
            info.add(format!("Entrypoint {service}"), plain(&entrypoint));
        }
    }
    info
}

fn layers(contents: &Contents) -> Table {
    let mut table = Table::new(["SERVICE", "LAYER", "STORED", "SIZE", "DIGEST"]);
    for (service, layers) in &contents.layers {
        for (number, layer) in (1..).zip(layers) {
            let stored = match layer.compression {
                Compression::None => size(layer.stored),
                Compression::Gzip => format!("{} gzip", size(layer.stored)),
            };
            table.row(vec![
                service.clone(),
                number.to_string(),
                stored,
                size(layer.size),
                layer.diff_id.to_string(),
            ]);
        }
    }
    table
}

fn description(contents: &Contents) -> Value {
    let services: serde_json::Map<_, _> = contents
        .services
        .iter()
        .map(|(service, image)| {
            let described = json!({
                "config-digest": image.config_digest,
                "entrypoint": image.entrypoint,
                "layers": contents.layers.get(service),
            });
            (service.clone(), described)
        })
        .collect();
    json!({
        "digest": contents.digest,
        "size": contents.size,
        "layout": layout(contents.layout).0,
        "format": contents.index.as_ref().map(|index| index.format),
        "source": contents.index.as_ref().map(|index| &index.source),
        "build": contents.build,
        "required-environment": required_environment(contents),
        "services": services,
        "entries": contents.entries,
    })
}
