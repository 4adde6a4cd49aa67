//! Text → [`Manifest`]: the order of the steps, and the top level of the language.
//!
//! Interpolation, YAML, decoding with defaults, required variables, validation. A step that finds
//! errors reports all of its own and ends the load; a later step would only echo them.

mod autoscale;
mod balancer;
mod container;
mod listener;
mod port;
mod resource;
mod scale;
mod service;
mod timer;

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::environment::{self, Variable};
use crate::error::{Error, Errors, Warning};
use crate::interpolate::Source;
use crate::keys;
use crate::reader::{MAX_REPORTS, Reader};
use crate::yaml::{self, Kind, Map, Node, Value};
use crate::{Manifest, generation1, validate};

/// A manifest and what was odd about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The manifest.
    pub manifest: Manifest,
    /// What it says without effect, or what racks read differently, in file order.
    pub warnings: Vec<Warning>,
}

/// Most global variables times services: every service gets a copy of each.
const MAX_DECLARATIONS: usize = 100_000;

/// Whether a release must have a value for every variable it needs. A pending release may not, and
/// then a value that is wrong only for want of a variable is no error either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Required {
    Checked,
    Ignored,
}

/// Loads a manifest.
pub(crate) fn load(
    text: &str,
    env: &BTreeMap<String, String>,
    required: Required,
) -> Result<Loaded, Errors> {
    let source = Source::interpolate(text, env)?;
    let root = yaml::parse(&source)?;
    let mut reader = Reader::new(&source, required);
    for (line, column, name) in source.odd_names().take(MAX_REPORTS) {
        reader.warn_at(line, column, odd_name(name));
    }

    let manifest = read(&mut reader, &root);
    fail(&mut reader)?;
    if required == Required::Checked {
        check_required(&manifest, &root, &source, env)?;
    }
    validate::validate(&manifest, &root, &mut reader);
    fail(&mut reader)?;

    let mut warnings = reader.warnings;
    warnings.sort_by_key(|warning| (warning.line, warning.column));
    warnings.dedup();
    Ok(Loaded { manifest, warnings })
}

/// Reports a manifest as one of generation 1, whatever shows it to be.
pub(crate) fn generation1_steps(text: &str) -> Errors {
    let read = || -> Result<Option<Errors>, Error> {
        let source = Source::as_is(text)?;
        let root = yaml::parse(&source)?;
        let mut reader = Reader::new(&source, Required::Checked);
        let empty = Map::default();
        generation1::report(&mut reader, &root, root.as_map().unwrap_or(&empty));
        Ok(Errors::from_list(reader.errors))
    };
    match read() {
        Ok(Some(errors)) => errors,
        Ok(None) => unreachable!("that it is of generation 1 is always reported"),
        Err(error) => error.into(),
    }
}

fn fail(reader: &mut Reader<'_>) -> Result<(), Errors> {
    match Errors::from_list(std::mem::take(&mut reader.errors)) {
        Some(errors) => Err(errors),
        None => Ok(()),
    }
}

fn odd_name(name: &str) -> String {
    let name: String = name
        .chars()
        .take(40)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if name.contains(":-") || name.contains('-') {
        format!("${{{name}}} has no default: there is no such syntax, the whole of it is the name")
    } else {
        format!("${{{name}}} is not the name of a variable, so it becomes empty text")
    }
}

/// Reads the top level.
fn read(reader: &mut Reader<'_>, root: &Node) -> Manifest {
    let map = match &root.kind {
        Kind::Map(map) => map,
        Kind::Null => {
            reader.warn(root, "the manifest is empty: there are no services");
            return Manifest::default();
        }
        Kind::Scalar(_) | Kind::List(_) => {
            reader.error_with_hint(
                root,
                format!("a manifest must be a map, not {}", root.describe()),
                "start it with services:",
            );
            return Manifest::default();
        }
    };
    if let Some(key) = generation1::evidence(map) {
        generation1::report(reader, key, map);
        return Manifest::default();
    }
    reader.check_keys(map, &keys::TOP);

    let shared = service::Shared {
        variables: variables(reader, map.get("environment"), "environment"),
        labels: container::labels(reader, map.get("labels"), &BTreeMap::new()),
        configs: container::configs(reader, map.get("configs")),
    };
    let mut services = IndexMap::new();
    let bodies = reader.named(map.get("services"), "services");
    if bodies
        .len()
        .saturating_mul(shared.variables.len() + shared.labels.len())
        > MAX_DECLARATIONS
    {
        reader.error(
            root,
            "the manifest declares too many variables for too many services",
        );
        return Manifest::default();
    }
    for (key, body) in bodies {
        let service = service::read(reader, key, body, &shared);
        services.insert(service.name.clone(), service);
    }
    let mut resources = IndexMap::new();
    for (key, body) in reader.named(map.get("resources"), "resources") {
        let resource = resource::read(reader, key, body);
        resources.insert(resource.name.clone(), resource);
    }
    let mut timers = IndexMap::new();
    for (key, body) in reader.named(map.get("timers"), "timers") {
        let timer = timer::read(reader, key, body);
        timers.insert(timer.name.clone(), timer);
    }
    let mut balancers = IndexMap::new();
    if let Some((key, node)) = map.entry("balancers") {
        for (key, body) in reader.named(Some(node), "balancers") {
            let balancer = balancer::read(reader, key, body);
            balancers.insert(balancer.name.clone(), balancer);
        }
        if !balancers.is_empty() {
            reader.no_effect(key, "the manifest", "balancers");
        }
    }
    if services.is_empty() {
        reader.warn(root, "the manifest has no services");
    }
    Manifest {
        services,
        resources,
        timers,
        balancers,
        configs: shared.configs,
    }
}

/// Reads a list of declared variables, flattened one level so that anchors may hold lists.
fn variables(reader: &mut Reader<'_>, node: Option<&Node>, what: &str) -> Vec<Variable> {
    let Some(node) = node else { return Vec::new() };
    let items = match &node.kind {
        Kind::Null => return Vec::new(),
        Kind::List(items) => items,
        Kind::Map(_) | Kind::Scalar(_) => {
            reader.error_with_hint(
                node,
                format!("{what} must be a list, not {}", node.describe()),
                "write each variable as - KEY or - KEY=default",
            );
            return Vec::new();
        }
    };
    let mut variables = Vec::new();
    for item in items {
        if let Kind::List(nested) = &item.kind {
            for item in nested {
                variables.extend(variable(reader, item, what));
            }
        } else {
            variables.extend(variable(reader, item, what));
        }
    }
    variables
}

/// Reads one declared variable. Racks silently drop whatever is not text, and so do we, but say so.
fn variable(reader: &mut Reader<'_>, item: &Node, what: &str) -> Option<Variable> {
    let Kind::Scalar(scalar) = &item.kind else {
        let message = match single_entry(item) {
            Some((key, value)) => format!(
                "an entry of {what} that is a map is ignored; write - {}={}",
                reader.quote(key),
                reader.quote(value)
            ),
            None => format!("an entry of {what} that is {} is ignored", item.describe()),
        };
        reader.warn(item, message);
        return None;
    };
    if scalar.value != Value::Text {
        let quoted = reader.quote(item);
        reader.warn(
            item,
            format!("{quoted} in {what} is ignored: only text declares a variable; quote it"),
        );
        return None;
    }
    let variable = Variable::parse(&scalar.text);
    let problem = match &variable {
        None => "is ignored: it has no name",
        Some(variable) if variable.name() != variable.name().trim() => {
            "has a space at the start or end of its name"
        }
        Some(_) => return variable,
    };
    let quoted = reader.quote(item);
    reader.warn(item, format!("{quoted} in {what} {problem}"));
    variable
}

fn single_entry(node: &Node) -> Option<(&Node, &Node)> {
    match node.as_map()?.0.as_slice() {
        [(key, value)] => Some((key, value)),
        _ => None,
    }
}

/// Refuses a release that lacks required variables. As on racks, the first service that lacks any
/// gives the list; the hint names all.
fn check_required(
    manifest: &Manifest,
    root: &Node,
    source: &Source<'_>,
    env: &BTreeMap<String, String>,
) -> Result<(), Errors> {
    let lacking: Vec<_> = manifest
        .services
        .values()
        .map(|service| (service, environment::missing(&service.environment, env)))
        .filter(|(_, missing)| !missing.is_empty())
        .collect();
    let Some((first, names)) = lacking.first() else {
        return Ok(());
    };
    let needs: Vec<_> = lacking
        .iter()
        .map(|(service, names)| {
            let mut names = names.clone();
            names.dedup();
            format!("service {} needs {}", service.name, names.join(", "))
        })
        .collect();
    let mut error = Error::required_environment(names);
    error.hint = Some(needs.join("; "));
    if let Some((key, _)) = root
        .as_map()
        .and_then(|map| map.get("services"))
        .and_then(Node::as_map)
        .and_then(|services| services.entry(&first.name))
    {
        (error.line, error.column) = source.position(key.range.start);
    }
    Err(error.into())
}

/// The body of a named entry; nothing written is an entry with all defaults.
fn body<'n>(reader: &mut Reader<'_>, key: &Node, body: &'n Node, what: &str) -> Option<&'n Map> {
    match &body.kind {
        Kind::Map(map) => Some(map),
        Kind::Null => None,
        Kind::Scalar(_) | Kind::List(_) => {
            let name = reader.quote(key);
            reader.error(
                body,
                format!("{what} {name} must be a map, not {}", body.describe()),
            );
            None
        }
    }
}

/// One network or a list of them; checked in `validate`.
fn networks(reader: &mut Reader<'_>, node: Option<&Node>, what: &str) -> Vec<String> {
    match node.map(|node| &node.kind) {
        Some(Kind::Scalar(_)) => reader
            .text(node, what)
            .into_iter()
            .flat_map(|text| {
                text.split(',')
                    .map(|part| part.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .collect(),
        _ => reader
            .texts(node, what)
            .into_iter()
            .map(|(_, text)| text.to_owned())
            .collect(),
    }
}
