//! Apps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rack_api::app::{App, status};

use super::Rack;
use super::release::updating;
use crate::operations::delete::Delete;
use crate::operations::{self, Failure, Result, access, event, supervise};
use crate::store::AppRow;

fn show(row: AppRow) -> App {
    App {
        generation: row.generation,
        locked: row.locked,
        name: row.name,
        release: row.release,
        // Only racks with several routers name one.
        router: String::new(),
        status: row.status,
        parameters: (!row.parameters.is_empty()).then_some(row.parameters),
    }
}

/// Checks that parameters can be shown and logged by their names.
pub(super) fn check_parameters(parameters: &BTreeMap<String, String>) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fits = |name: &str| (1..=128).contains(&name.len()) && name.chars().all(plain);
    if !parameters.keys().all(|name| fits(name)) {
        return Err(Failure::Invalid(
            "parameter names are at most 128 letters, digits, dots, hyphens and underscores".into(),
        ));
    }
    if parameters
        .values()
        .any(|value| value.contains(char::is_control))
    {
        return Err(Failure::Invalid(
            "parameter values cannot contain control characters".into(),
        ));
    }
    Ok(())
}

impl Rack {
    /// Lists apps by name.
    pub async fn apps(&self) -> Result<Vec<App>> {
        Ok(self
            .context
            .store
            .apps()
            .await?
            .into_iter()
            .map(show)
            .collect())
    }

    /// Looks an app up.
    pub async fn app(&self, name: &str) -> Result<App> {
        self.context.app(name).await.map(show)
    }

    /// Looks an app up once nothing is changing it any more, or when the time is over.
    pub async fn app_settled(&self, name: &str, limit: Duration) -> Result<App> {
        let mut changed = self.context.changed.subscribe();
        let deadline = tokio::time::sleep(limit);
        tokio::pin!(deadline);
        loop {
            changed.borrow_and_update();
            let app = self.app(name).await?;
            if app.status == status::RUNNING {
                return Ok(app);
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = &mut deadline => return Ok(app),
                () = self.context.shutdown.cancelled() => return Ok(app),
            }
        }
    }

    /// Creates an app.
    pub async fn create_app(&self, name: &str, generation: Option<&str>) -> Result<App> {
        check_name(name, &self.context.rack)?;
        match generation.unwrap_or_default() {
            "" | "2" | "3" => {}
            "1" => {
                return Err(Failure::Invalid(
                    "generation 1 apps are not supported: write a convox.yml and create a generation 2 app".into(),
                ));
            }
            _ => return Err(Failure::Invalid("unknown generation".into())),
        }
        if !self
            .context
            .store
            .create_app(name, "2", status::RUNNING, self.context.now())
            .await?
        {
            return Err(Failure::Conflict(format!("app already exists: {name}")));
        }
        match generation {
            Some(_) => self.context.newborn.add(name),
            None => self.context.newborn.remove(name),
        }
        self.context.rack_log(&format!("app {name} created"));
        event::tell_success(&self.context, "app:create", &[("name", name)]).await;
        self.app(name).await
    }

    /// Deletes an app with everything that is its own.
    pub async fn delete_app(&self, name: &str) -> Result<()> {
        self.context.ready().await?;
        let row = self.context.app(name).await?;
        if row.locked {
            return Err(Failure::Conflict(format!("app is locked: {name}")));
        }
        // Fails before anything is gone while the engine cannot be reached.
        self.context.engine.info().await?;
        let resources = self.context.store.linked_rack_resources(name).await?;
        if let Some(resource) = resources.first() {
            return Err(linked_to(&resource.name));
        }
        self.context.cancel_promotes(name);
        let _alone = self.context.lock_app(name).await;
        if let Some(resource) = self
            .context
            .store
            .begin_app_delete(name, status::DELETING)
            .await?
        {
            return Err(linked_to(&resource));
        }
        self.context.changed.send_modify(|count| *count += 1);
        let _builds = self.context.lock_builds(name).await;
        let delete = Delete {
            app: name.to_owned(),
        };
        operations::execute(&self.context, rack_api::id::hex(16), delete).await?;
        self.context.rack_log(&format!("app {name} deleted"));
        Ok(())
    }

    /// Locks or unlocks an app, and merges parameters into its own.
    pub async fn update_app(
        &self,
        name: &str,
        lock: Option<bool>,
        parameters: Option<BTreeMap<String, String>>,
    ) -> Result<()> {
        let row = self.context.app(name).await?;
        if row.status == status::DELETING {
            return Err(Failure::Forbidden(updating(&row.status)));
        }
        if let Some(locked) = lock {
            self.context.store.lock_app(name, locked).await?;
        }
        if let Some(changes) = parameters {
            check_parameters(&changes)?;
            self.context
                .store
                .merge_app_parameters(name, changes)
                .await?;
            let row = self.context.app(name).await?;
            access::set(&self.context, name, &row.parameters);
        }
        Ok(())
    }

    /// Cancels the promote under way; without one, the builds under way.
    pub async fn cancel_app(&self, name: &str) -> Result<()> {
        let row = self.context.app(name).await?;
        // One that is being rolled back has been cancelled, or does not need it.
        let promotes = row.status == status::UPDATING && self.context.cancel_promotes(name) > 0;
        if promotes || self.context.builds.cancel_app(name) > 0 {
            return Ok(());
        }
        Err(Failure::Forbidden(
            if row.status == status::UPDATING {
                "a scale cannot be cancelled: scale the service back"
            } else {
                "app is not updating"
            }
            .into(),
        ))
    }

    /// Brings an app's processes to what is wanted, in the background.
    pub(super) fn converge_later(&self, app: &str) {
        let (context, app) = (Arc::clone(&self.context), app.to_owned());
        let tasks = context.tasks.clone();
        tasks.spawn(async move {
            supervise::bring_up(&context, &app).await;
        });
    }
}

/// An app that resources of the rack are linked to stays (text of real racks).
fn linked_to(resource: &str) -> Failure {
    Failure::Conflict(format!("app is linked to {resource} resource"))
}

/// The rules of `rack-api.md` §1.7 and §1.8.
fn check_name(name: &str, rack: &str) -> Result<()> {
    let refuse = |text: &str| Err(Failure::Invalid(text.to_owned()));
    if name.is_empty() {
        return refuse("app name must not be empty");
    }
    if name == rack {
        return refuse("App name cannot be same as Rack name");
    }
    if name == "rack" || name == "system" {
        return refuse("app name is reserved");
    }
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return refuse("App name cannot contain Uppercase characters");
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    {
        return refuse(
            "App name can only contain lowercase letters, numbers, hyphens and underscores",
        );
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || name.ends_with(['-', '_'])
        || name.contains("__")
    {
        return refuse("App name must start with a letter and end with a letter or number");
    }
    if name.len() > 30 {
        return refuse("App name can have at most 30 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_follow_the_rules() {
        for name in ["myapp", "my-app", "my_app2"] {
            assert!(check_name(name, "staging").is_ok(), "{name}");
        }
        for name in [
            "", "staging", "rack", "system", "MyApp", "my.app", "../x", "-a", "a-", "a/b", "1a",
        ] {
            assert!(check_name(name, "staging").is_err(), "{name}");
        }
    }
}
