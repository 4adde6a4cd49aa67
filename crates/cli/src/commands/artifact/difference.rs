//! `convox artifact diff`: what differs between what two archives contain.
//!
//! How the contents are packed — layout, index, source, sizes — is told, but makes no
//! difference: an archive equals its conversions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use artifact::{Contents, Layer, Limits};
use serde_json::{Value, json};
use similar::TextDiff;

use super::contents::layout;
use super::{is_stdin, json, name, plain, read, required_environment};
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::size;

/// Longest search for the shortest difference of two manifests.
const PATIENCE: Duration = Duration::from_secs(2);

/// Compares two archives.
pub(super) async fn run(
    context: &Context,
    from: &Path,
    to: &Path,
    as_json: bool,
    limits: &Limits,
) -> Outcome {
    if is_stdin(from) && is_stdin(to) {
        return Err(Error::failed(
            "only one of the two archives can be standard input",
        ));
    }
    let one = read(&context.ui, from, limits).await?;
    let other = read(&context.ui, to, limits).await?;
    let difference = Difference::between(&one, &other);
    if as_json {
        context
            .ui
            .text(json(&difference.to_json(packing(&one), packing(&other))))?;
    } else {
        let (before, after) = (packed(&one), packed(&other));
        if before != after {
            context
                .ui
                .note(format!("note: packed differently: {before}; {after}"));
        }
        if !difference.is_empty() {
            let names = [name(from), name(to)];
            context.ui.text(difference.to_text(&names))?;
        }
    }
    Ok(if difference.is_empty() {
        Exit::SUCCESS
    } else {
        Exit::DIFFERENT
    })
}

/// A field with two values.
struct Field {
    name: String,
    from: String,
    to: String,
}

/// A service whose images are not the same.
struct Service {
    name: String,
    /// The digests of the images' configurations.
    from: Option<String>,
    to: Option<String>,
    common: usize,
    removed: Vec<Layer>,
    added: Vec<Layer>,
}

/// Everything that differs between two archives.
struct Difference {
    fields: Vec<Field>,
    /// A unified diff.
    manifest: Option<String>,
    services: Vec<Service>,
}

impl Difference {
    fn between(one: &Contents, other: &Contents) -> Self {
        let (before, after) = (build(one), build(other));
        let mut fields: Vec<_> = before
            .iter()
            .filter(|(name, _)| *name != "manifest")
            .filter_map(|(name, from)| {
                let to = after.get(name).map_or("", String::as_str);
                (from != to).then(|| Field {
                    name: name.clone(),
                    from: from.clone(),
                    to: to.to_owned(),
                })
            })
            .collect();
        let (from, to) = (required_environment(one), required_environment(other));
        if from != to {
            fields.push(Field {
                name: "required-environment".to_owned(),
                from: from.join(","),
                to: to.join(","),
            });
        }
        let manifest =
            |build: &BTreeMap<String, String>| build.get("manifest").cloned().unwrap_or_default();
        Self {
            fields,
            manifest: text_difference(&manifest(&before), &manifest(&after)),
            services: services(one, other),
        }
    }

    fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.manifest.is_none() && self.services.is_empty()
    }

    fn to_text(&self, [from, to]: &[String; 2]) -> String {
        let mut lines = vec![format!("--- {from}"), format!("+++ {to}")];
        let mut pair = |title: &str, from: Option<&str>, to: Option<&str>| {
            lines.push(plain(title));
            lines.extend(from.map(|text| format!("-{}", plain(text))));
            lines.extend(to.map(|text| format!("+{}", plain(text))));
        };
        for field in &self.fields {
            let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
            pair(&field.name, given(&field.from), given(&field.to));
        }
        for service in &self.services {
            let title = format!("image {}", service.name);
            pair(&title, service.from.as_deref(), service.to.as_deref());
            if service.from.is_none() || service.to.is_none() {
                continue;
            }
            let title = format!("layers {}, {} in common", service.name, service.common);
            pair(&title, None, None);
            for layer in &service.removed {
                pair_layer(&mut pair, '-', layer);
            }
            for layer in &service.added {
                pair_layer(&mut pair, '+', layer);
            }
        }
        if let Some(manifest) = &self.manifest {
            lines.push("manifest".to_owned());
            lines.push(plain(manifest.trim_end_matches('\n')));
        }
        lines.join("\n") + "\n"
    }

    fn to_json(&self, from: Value, to: Value) -> Value {
        let fields = self
            .fields
            .iter()
            .map(|field| json!({ "field": field.name, "from": field.from, "to": field.to }));
        let services = self.services.iter().map(|service| {
            json!({
                "service": service.name,
                "from": service.from,
                "to": service.to,
                "layers": {
                    "common": service.common,
                    "removed": service.removed,
                    "added": service.added,
                },
            })
        });
        json!({
            "equal": self.is_empty(),
            "fields": fields.collect::<Vec<_>>(),
            "manifest": self.manifest,
            "services": services.collect::<Vec<_>>(),
            "packing": { "from": from, "to": to },
        })
    }
}

fn pair_layer(pair: &mut impl FnMut(&str, Option<&str>, Option<&str>), sign: char, layer: &Layer) {
    pair(
        &format!("{sign}{} {}", layer.diff_id, size(layer.size)),
        None,
        None,
    );
}

/// The fields of a build by name.
fn build(contents: &Contents) -> BTreeMap<String, String> {
    let build = contents.build.clone().unwrap_or_default();
    let Ok(Value::Object(fields)) = serde_json::to_value(build) else {
        unreachable!("a build is an object of texts")
    };
    fields
        .into_iter()
        .map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn text_difference(from: &str, to: &str) -> Option<String> {
    if from == to {
        return None;
    }
    let difference = TextDiff::configure().timeout(PATIENCE).diff_lines(from, to);
    Some(difference.unified_diff().context_radius(3).to_string())
}

fn services(one: &Contents, other: &Contents) -> Vec<Service> {
    let names: BTreeSet<_> = one.services.keys().chain(other.services.keys()).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let digest = |contents: &Contents| {
                let image = contents.services.get(name)?;
                Some(image.config_digest.to_string())
            };
            let (from, to) = (digest(one), digest(other));
            if from == to {
                return None;
            }
            let layers =
                |contents: &Contents| contents.layers.get(name).cloned().unwrap_or_default();
            let (mut removed, mut added) = (layers(one), layers(other));
            // A layer stands on all below it: what is equal only above is not shared.
            let pairs = removed.iter().zip(&added);
            let common = pairs
                .take_while(|(one, other)| one.diff_id == other.diff_id)
                .count();
            removed.drain(..common);
            added.drain(..common);
            Some(Service {
                name: name.clone(),
                from,
                to,
                common,
                removed,
                added,
            })
        })
        .collect()
}

/// How an archive is packed, in a few words.
fn packed(contents: &Contents) -> String {
    let index = if contents.index.is_some() {
        "with index"
    } else {
        "without index"
    };
    format!("layout {} {index}", layout(contents.layout).0)
}

fn packing(contents: &Contents) -> Value {
    json!({
        "digest": contents.digest,
        "size": contents.size,
        "layout": layout(contents.layout).0,
        "format": contents.index.as_ref().map(|index| index.format),
        "source": contents.index.as_ref().map(|index| &index.source),
    })
}
