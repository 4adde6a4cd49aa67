//! Resources of the rack: databases that several apps can be linked to, and webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use rack_api::resource::{Resource, ResourceParameter, ResourceType, status};
use rand::RngExt as _;

use super::Rack;
use crate::operations::rack_resource::{Provide, Remove};
use crate::operations::resource::{
    DATABASE, PASSWORD, ResourcePlan, USERNAME, VERSION, default_version, is_kind,
};
use crate::operations::webhook::{self, URL, WEBHOOK};
use crate::operations::{self, Failure, Result, event};
use crate::store::{Linked, Outcome, RackResourceRow};

/// Longest name.
const LONGEST_NAME: usize = 40;

/// An option of a type of resource.
struct Choice {
    name: &'static str,
    default: &'static str,
    description: &'static str,
    /// What it does here.
    effect: Effect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: it is about machines and clouds.
    None,
    /// Something, and only when the resource is made.
    AtFirst,
    /// Something, at any time.
    Always,
}

const fn choice(
    name: &'static str,
    default: &'static str,
    description: &'static str,
    effect: Effect,
) -> Choice {
    Choice {
        name,
        default,
        description,
        effect,
    }
}

/// Options real racks know, so that scripts written for them run; those about machines
/// and clouds do nothing here.
const POSTGRES: &[Choice] = &[
    choice(DATABASE, "app", "Name of the database", Effect::AtFirst),
    choice(VERSION, "", "Version of the software", Effect::Always),
    choice(
        PASSWORD,
        "(generated)",
        "Password of the user",
        Effect::AtFirst,
    ),
    choice(USERNAME, "postgres", "Name of the user", Effect::AtFirst),
    choice("AllocatedStorage", "", "Size of the disk", Effect::None),
    choice(
        "BackupRetentionPeriod",
        "",
        "Days that backups are kept",
        Effect::None,
    ),
    choice("Encrypted", "", "Encryption of the disk", Effect::None),
    choice("Family", "", "Family of parameters", Effect::None),
    choice("InstanceType", "", "Kind of machine", Effect::None),
    choice("MaxConnections", "", "Number of connections", Effect::None),
    choice("MultiAZ", "", "Copies in several places", Effect::None),
    choice("Private", "", "Kind of network", Effect::None),
];

const MYSQL: &[Choice] = &[
    choice(DATABASE, "app", "Name of the database", Effect::AtFirst),
    choice(VERSION, "", "Version of the software", Effect::Always),
    choice(
        PASSWORD,
        "(generated)",
        "Password of the user",
        Effect::AtFirst,
    ),
    choice(USERNAME, "app", "Name of the user", Effect::AtFirst),
    choice("AllocatedStorage", "", "Size of the disk", Effect::None),
    choice(
        "BackupRetentionPeriod",
        "",
        "Days that backups are kept",
        Effect::None,
    ),
    choice("Encrypted", "", "Encryption of the disk", Effect::None),
    choice("InstanceType", "", "Kind of machine", Effect::None),
    choice("MultiAZ", "", "Copies in several places", Effect::None),
    choice("Private", "", "Kind of network", Effect::None),
];

const RABBITMQ: &[Choice] = &[
    choice(DATABASE, "app", "Name of the virtual host", Effect::AtFirst),
    choice(VERSION, "", "Version of RabbitMQ", Effect::Always),
    choice(
        PASSWORD,
        "(generated)",
        "Password of the user",
        Effect::AtFirst,
    ),
    choice(USERNAME, "app", "Name of the user", Effect::AtFirst),
    choice("InstanceType", "", "Kind of machine", Effect::None),
    choice("Private", "", "Kind of network", Effect::None),
];

const MEMCACHED: &[Choice] = &[
    choice(VERSION, "", "Version of Memcached", Effect::Always),
    choice("InstanceType", "", "Kind of machine", Effect::None),
    choice("NumCacheNodes", "", "Number of copies", Effect::None),
    choice("Private", "", "Kind of network", Effect::None),
];

const REDIS: &[Choice] = &[
    choice(DATABASE, "0", "Number of the database", Effect::Always),
    choice(VERSION, "", "Version of the software", Effect::Always),
    choice("AutomaticFailoverEnabled", "", "Failover", Effect::None),
    choice(
        "Encrypted",
        "",
        "Encryption of disk and network",
        Effect::None,
    ),
    choice("InstanceType", "", "Kind of machine", Effect::None),
    choice("NumCacheClusters", "", "Number of copies", Effect::None),
    choice("Private", "", "Kind of network", Effect::None),
];

const HOOK: &[Choice] = &[choice(
    URL,
    "",
    "Address that events are posted to",
    Effect::Always,
)];

/// Types by name.
const TYPES: &[(&str, &[Choice])] = &[
    ("mariadb", MYSQL),
    ("memcached", MEMCACHED),
    ("mysql", MYSQL),
    ("postgis", POSTGRES),
    ("postgres", POSTGRES),
    ("rabbitmq", RABBITMQ),
    ("redis", REDIS),
    ("valkey", REDIS),
    (WEBHOOK, HOOK),
];

fn missing(name: &str) -> Failure {
    Failure::NotFound(format!("no such resource: {name}"))
}

fn choices(kind: &str) -> Result<&'static [Choice]> {
    TYPES
        .iter()
        .find(|(word, _)| *word == kind)
        .map(|(_, choices)| *choices)
        .ok_or_else(|| Failure::Invalid(format!("invalid resource type: {kind}")))
}

/// Names options as they are named here: clients of 2017 write `engine-version`.
fn normal(
    kind: &str,
    parameters: BTreeMap<String, String>,
) -> Result<BTreeMap<&'static str, String>> {
    let choices = choices(kind)?;
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let mut normal = BTreeMap::new();
    for (name, value) in parameters {
        let known = choices
            .iter()
            .find(|choice| plain(choice.name) == plain(&name));
        let Some(known) = known else {
            return Err(Failure::Invalid(format!(
                "unknown option {name} of resource type {kind}: see convox rack resources options {kind}"
            )));
        };
        check(kind, known, &value)?;
        normal.insert(known.name, value);
    }
    Ok(normal)
}

/// Whether an option can have a value.
fn check(kind: &str, choice: &Choice, value: &str) -> Result<()> {
    if value.is_empty() {
        return Ok(());
    }
    let refuse = |what: &str| Err(Failure::Invalid(format!("invalid {}: {what}", choice.name)));
    let word = |longest: usize| {
        value.len() <= longest
            && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match (kind, choice.name) {
        (_, URL) => webhook::check(value),
        (_, VERSION)
            if value.len() > 60
                || !value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
                || value.starts_with(['.', '-']) =>
        {
            refuse("use a version such as 15 or 15.4")
        }
        ("redis" | "valkey", DATABASE) if !value.parse::<u8>().is_ok_and(|number| number < 16) => {
            refuse("use a number from 0 to 15")
        }
        ("postgres" | "postgis" | "rabbitmq", DATABASE | USERNAME) if !word(63) => {
            refuse("use letters, digits and underscores, a letter first")
        }
        ("mysql" | "mariadb", USERNAME) if value.eq_ignore_ascii_case("root") => {
            refuse("root is the administrator, choose another name")
        }
        ("rabbitmq", USERNAME) if value == "guest" => {
            refuse("guest is let in from the broker's own host only, choose another name")
        }
        ("mysql" | "mariadb", DATABASE | USERNAME) if !word(32) => {
            refuse("use at most 32 letters, digits and underscores, a letter first")
        }
        // It becomes part of a url.
        (_, PASSWORD)
            if value.len() < 8
                || value.len() > 128
                || !value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) =>
        {
            refuse("use 8 to 128 letters, digits, hyphens, dots, underscores and tildes")
        }
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<()> {
    let valid = name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if valid {
        return Ok(());
    }
    Err(Failure::Invalid(format!(
        "invalid resource name: use at most {LONGEST_NAME} lowercase letters, digits and hyphens, a letter first"
    )))
}

/// A name for a resource that was given none (`rack-api.md` §4.9).
fn default_name(kind: &str) -> String {
    match kind {
        WEBHOOK => format!("webhook-{}", rack_api::id::hex(6)),
        _ => format!("{kind}-{}", rand::rng().random_range(1000..10_000)),
    }
}

impl Rack {
    /// Lists the types of resources with their options.
    pub fn rack_resource_types(&self) -> Vec<ResourceType> {
        let parameter = |kind: &str, choice: &Choice| {
            let default = match choice.name {
                VERSION => default_version(kind).unwrap_or_default(),
                _ => choice.default,
            };
            let description = match choice.effect {
                Effect::None => format!("{} (no effect on a local rack)", choice.description),
                Effect::AtFirst => format!("{} (cannot be changed later)", choice.description),
                Effect::Always => choice.description.to_owned(),
            };
            ResourceParameter {
                default: default.to_owned(),
                description,
                name: choice.name.to_owned(),
            }
        };
        let types = TYPES.iter().map(|(kind, choices)| ResourceType {
            name: (*kind).to_owned(),
            parameters: choices
                .iter()
                .map(|choice| parameter(kind, choice))
                .collect(),
        });
        types.collect()
    }

    async fn show_rack_resource(&self, row: RackResourceRow) -> Result<Resource> {
        let url = match row.kind.as_str() {
            WEBHOOK => row.parameters.get(URL).cloned().unwrap_or_default(),
            _ => ResourcePlan::of_rack(&self.context, &row)?.url,
        };
        let mut parameters = row.parameters;
        if let Some(password) = parameters.get_mut(PASSWORD) {
            "****".clone_into(password);
        }
        let mut apps = Vec::new();
        for app in &row.apps {
            apps.push(self.app(app).await?);
        }
        Ok(Resource {
            name: row.name,
            parameters,
            status: row.status,
            kind: row.kind,
            url,
            apps,
        })
    }

    /// Lists resources by name, without their addresses: those hold passwords.
    pub async fn rack_resources(&self) -> Result<Vec<Resource>> {
        let mut resources = Vec::new();
        for row in self.context.store.rack_resources().await? {
            let mut shown = self.show_rack_resource(row).await?;
            shown.url.clear();
            if shown.kind == WEBHOOK {
                shown.parameters.clear();
            }
            resources.push(shown);
        }
        Ok(resources)
    }

    async fn rack_resource_row(&self, name: &str) -> Result<RackResourceRow> {
        let row = self.context.store.rack_resource(name).await?;
        row.ok_or_else(|| missing(name))
    }

    /// Looks a resource up.
    pub async fn rack_resource(&self, name: &str) -> Result<Resource> {
        let row = self.rack_resource_row(name).await?;
        self.show_rack_resource(row).await
    }

    /// Makes a resource: it is `creating` when this returns, and `running` once it
    /// accepts connections.
    pub async fn create_rack_resource(
        &self,
        kind: &str,
        name: Option<&str>,
        parameters: BTreeMap<String, String>,
    ) -> Result<Resource> {
        let mut parameters: BTreeMap<String, String> = normal(kind, parameters)?
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let given = name.filter(|name| !name.is_empty());
        if let Some(name) = given {
            check_name(name)?;
        }
        let is_hook = kind == WEBHOOK;
        if is_hook && parameters.get(URL).is_none_or(String::is_empty) {
            return Err(Failure::Invalid(format!("{URL} is required")));
        }
        self.context.ready().await?;
        if !is_hook {
            // Nothing is promised while it cannot be kept.
            self.context.engine.info().await?;
        }
        parameters.retain(|_, value| !value.is_empty());
        let password = parameters
            .get(PASSWORD)
            .cloned()
            .unwrap_or_else(rack_api::id::password);
        let mut row = RackResourceRow {
            name: given.map_or_else(|| default_name(kind), str::to_owned),
            kind: kind.to_owned(),
            parameters,
            password,
            status: if is_hook {
                status::RUNNING
            } else {
                status::CREATING
            }
            .to_owned(),
            delivered: 0,
            apps: Vec::new(),
        };
        let now = self.context.now();
        while !self
            .context
            .store
            .create_rack_resource(row.clone(), now)
            .await?
        {
            if given.is_some() {
                return Err(Failure::Conflict(format!(
                    "resource named {} already exists",
                    row.name
                )));
            }
            row.name = default_name(kind);
        }
        if is_hook {
            let name = row.name.as_str();
            self.context.rack_log(&format!("resource {name} created"));
            let data = [("name", name), ("type", kind)];
            event::tell_success(&self.context, "resource:create", &data).await;
            webhook::serve(&self.context, name);
        } else {
            let operation = Provide {
                name: row.name.clone(),
                kind: kind.to_owned(),
                before: None,
                parameters: row.parameters.clone(),
            };
            self.provide(operation).await?;
        }
        self.rack_resource(&row.name).await
    }

    /// Records the operation and runs it in the background.
    async fn provide(&self, operation: Provide) -> Result<()> {
        let context = Arc::clone(&self.context);
        let id = rack_api::id::hex(16);
        operations::save(&context, &id, &operation, Outcome::Running, 0, "").await?;
        let tasks = context.tasks.clone();
        tasks.spawn(async move {
            // The failure is in the rack's log.
            if let Err(failure) = operations::execute(&context, id, operation).await {
                tracing::info!(%failure, "a resource could not be provided");
            }
        });
        Ok(())
    }

    /// Changes options of a resource; those not given stay.
    pub async fn update_rack_resource(
        &self,
        name: &str,
        parameters: BTreeMap<String, String>,
    ) -> Result<Resource> {
        self.context.ready().await?;
        let row = self.rack_resource_row(name).await?;
        let changes = normal(&row.kind, parameters)?;
        let known = choices(&row.kind)?;
        let mut after = row.parameters.clone();
        for (option, value) in changes {
            let fixed = known
                .iter()
                .any(|choice| choice.name == option && choice.effect == Effect::AtFirst);
            if fixed && after.get(option).map_or("", String::as_str) != value {
                return Err(Failure::Invalid(format!(
                    "{option} of resource {name} cannot be changed: create another resource"
                )));
            }
            if value.is_empty() {
                after.remove(option);
            } else {
                after.insert(option.to_owned(), value);
            }
        }
        if row.kind == WEBHOOK && !after.contains_key(URL) {
            return Err(Failure::Invalid(format!("{URL} is required")));
        }
        let changed = self
            .context
            .store
            .change_rack_resource_status(name, &[status::RUNNING], status::UPDATING)
            .await?;
        if !changed {
            return Err(self.busy(name).await?);
        }
        if row.kind == WEBHOOK {
            self.context
                .store
                .set_rack_resource(name, &after, status::RUNNING)
                .await?;
        } else {
            self.provide(Provide {
                name: name.to_owned(),
                kind: row.kind,
                before: Some(row.parameters),
                parameters: after,
            })
            .await?;
        }
        self.rack_resource(name).await
    }

    /// Why a resource cannot be changed now.
    async fn busy(&self, name: &str) -> Result<Failure> {
        let now = self.rack_resource_row(name).await?.status;
        Ok(Failure::Conflict(format!(
            "resource {name} is {now}: try again once it is running"
        )))
    }

    /// Removes a resource with its data. Fails while an app is linked to it.
    pub async fn delete_rack_resource(&self, name: &str) -> Result<()> {
        self.context.ready().await?;
        let row = self.rack_resource_row(name).await?;
        if row.kind != WEBHOOK {
            self.context.engine.info().await?;
        }
        let begun = self
            .context
            .store
            .begin_rack_resource_delete(
                name,
                &[status::RUNNING, status::DELETING],
                status::DELETING,
            )
            .await?;
        match begun {
            Ok(true) => {}
            Ok(false) => return Err(self.busy(name).await?),
            Err(app) => {
                return Err(Failure::Conflict(format!("resource is linked to {app}")));
            }
        }
        let remove = Remove {
            name: name.to_owned(),
            kind: row.kind,
        };
        operations::execute(&self.context, rack_api::id::hex(16), remove).await?;
        Ok(())
    }

    /// Fails for types that apps cannot be linked to (texts of real racks).
    fn linkable(row: &RackResourceRow, strategy: &str) -> Result<()> {
        if is_kind(&row.kind) {
            return Ok(());
        }
        Err(Failure::Invalid(format!(
            "resource type {} does not have {strategy} strategy",
            row.kind
        )))
    }

    /// Links an app to a resource: its processes find the address in their environment
    /// from the next promote on.
    pub async fn link_rack_resource(&self, name: &str, app: &str) -> Result<Resource> {
        let row = self.rack_resource_row(name).await?;
        self.context.app(app).await?;
        Self::linkable(&row, "a link")?;
        match self
            .context
            .store
            .link_rack_resource(name, app, status::RUNNING)
            .await?
        {
            Linked::Done => {}
            Linked::Already => {
                return Err(Failure::Conflict(format!(
                    "resource {name} is already linked to app {app}"
                )));
            }
            Linked::Unavailable => {
                let now = self.rack_resource_row(name).await?.status;
                return Err(Failure::Conflict(if now == status::RUNNING {
                    "app is being deleted".to_owned()
                } else {
                    format!("resource {name} is {now}: try again once it is running")
                }));
            }
        }
        self.rack_resource(name).await
    }

    /// Removes a link: processes started from then on do not find the address.
    pub async fn unlink_rack_resource(&self, name: &str, app: &str) -> Result<Resource> {
        self.context.app(app).await?;
        let row = self.rack_resource_row(name).await?;
        Self::linkable(&row, "an unlink")?;
        match self.context.store.unlink_rack_resource(name, app).await? {
            Linked::Done => self.rack_resource(name).await,
            _ => Err(Failure::Conflict(format!(
                "resource {name} is not linked to app {app}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{check_name, default_name, normal};

    #[test]
    fn names_are_host_name_parts() {
        for name in [
            "main",
            "main-db2",
            &default_name("postgres"),
            &default_name("webhook"),
        ] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "Main",
            "1db",
            "a_b",
            "a.b",
            "a/b",
            "a-",
            &"a".repeat(41),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn options_are_known_and_possible() {
        let one = |kind: &str, name: &str, value: &str| {
            normal(kind, BTreeMap::from([(name.to_owned(), value.to_owned())]))
        };
        for (kind, name, value, known) in [
            ("postgres", "EngineVersion", "15.4", "EngineVersion"),
            ("postgres", "engine-version", "15-alpine", "EngineVersion"),
            ("postgres", "Username", "app", "Username"),
            ("postgres", "InstanceType", "db.t3.micro", "InstanceType"),
            ("postgres", "Password", "long-enough_~.", "Password"),
            ("redis", "Database", "15", "Database"),
            ("mysql", "database", "app_1", "Database"),
            ("mariadb", "EngineVersion", "10.11", "EngineVersion"),
            ("memcached", "num-cache-nodes", "2", "NumCacheNodes"),
            ("webhook", "url", "http://localhost:1/x", "Url"),
        ] {
            let options = one(kind, name, value).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(
                options.into_iter().collect::<Vec<_>>(),
                [(known, value.to_owned())]
            );
        }
        for (kind, name, value) in [
            ("oracle", "Database", "app"),
            ("mysql", "Username", "root"),
            ("rabbitmq", "Username", "guest"),
            ("rabbitmq", "Database", "a/b"),
            ("valkey", "Database", "16"),
            ("mariadb", "Database", "a`b"),
            ("memcached", "Password", "long-enough"),
            ("postgres", "Nope", "1"),
            ("postgres", "EngineVersion", "15 && x"),
            ("postgres", "EngineVersion", "../x"),
            ("postgres", "Username", "a b"),
            ("postgres", "Password", "p@ss:word/"),
            ("postgres", "Password", "short"),
            ("redis", "Database", "16"),
            ("webhook", "Url", "ftp://x"),
        ] {
            assert!(one(kind, name, value).is_err(), "{kind} {name} {value}");
        }
    }
}
