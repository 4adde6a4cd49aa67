//! Racks of 2018 and before, which take other calls for some things (`rack-api.md` §5).
//!
//! Clients of version 2 ask a rack for its version before each of those calls. Here the call of
//! today is made; only a rack that is none of ours and does not know it is asked how old it
//! is, but for uploads, which cannot be sent again, and for calls that such a rack knows under
//! the same name and takes for something else: there it is asked first. Versions of that time
//! are dates, compared as texts.

use std::collections::BTreeMap;

use rack_api::client::{ClientError, ExecSocket};
use rack_api::instance::ShellOptions;
use rack_api::process::RunOptions;
use rack_api::service::UpdateOptions;
use rack_api::system::System;
use rack_api::{Certificate, Resource, Service, id, system};

use crate::error::Error;
use crate::racks::Rack;

/// Last version with formations, environments as a body and sources in forms.
const FORMATION: &str = "20180708231844";
/// Last version without resources of apps.
const NO_RESOURCES: &str = "20190111211123";
/// Last version that takes archives in forms.
const FORM_IMPORT: &str = "20180416200237";

/// How a rack takes sources and archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uploads {
    /// As a body, or as an object.
    Plain,
    /// Sources as a form's file, archives as an object.
    Object,
    /// Both as a form's file.
    Form,
}

impl Uploads {
    fn of(version: &str) -> Self {
        // A rack that does not tell is taken for one of today.
        if version.is_empty() || version > FORMATION {
            Self::Plain
        } else if version > FORM_IMPORT {
            Self::Object
        } else {
            Self::Form
        }
    }

    /// Asks the rack; racks of ours, which say so in every answer, are of today, as is one
    /// that does not tell.
    async fn asked(rack: &Rack) -> Self {
        if rack.client.is_twinrack() {
            return Self::Plain;
        }
        match rack.client.system_get().await {
            Ok(system) if !rack.client.is_twinrack() => Self::of(&system.version),
            _ => Self::Plain,
        }
    }

    /// How the rack takes what can not be sent again. One on this machine is of today.
    pub(crate) async fn before(rack: &Rack) -> Self {
        if rack.local {
            Self::Plain
        } else {
            Self::asked(rack).await
        }
    }

    /// How the rack takes what was to become an object and can be sent again.
    pub(crate) async fn after<T>(rack: &Rack, stored: &Result<T, ClientError>) -> Self {
        match stored {
            Err(error) if !is_no_route(error) => Self::Plain,
            _ => Self::asked(rack).await,
        }
    }
}

/// Whether a rack of this version takes the calls of 2018.
pub(crate) fn is_old(version: &str) -> bool {
    Uploads::of(version) != Uploads::Plain
}

/// What an old rack says of itself; nothing of a rack of today.
async fn old(rack: &Rack) -> Option<System> {
    if rack.client.is_twinrack() {
        return None;
    }
    let system = rack.client.system_get().await.ok()?;
    let old = !rack.client.is_twinrack() && is_old(&system.version);
    old.then_some(system)
}

/// Whether a rack may have answered so because it knows no such call.
fn is_no_route(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Api {
            status: 404 | 405,
            ..
        }
    )
}

/// Whether a call failed because the rack is too old to know it.
async fn is_unknown(rack: &Rack, error: &ClientError) -> bool {
    is_no_route(error) && Uploads::asked(rack).await != Uploads::Plain
}

/// Lists services.
pub(crate) async fn services(rack: &Rack, app: &str) -> Result<Vec<Service>, Error> {
    match rack.client.service_list(app).await {
        Err(error) if is_unknown(rack, &error).await => {
            Ok(rack.client.legacy_service_list(app).await?)
        }
        services => Ok(services?),
    }
}

/// Changes the size of a service.
pub(crate) async fn resize(
    rack: &Rack,
    app: &str,
    service: &str,
    options: &UpdateOptions,
) -> Result<(), Error> {
    match rack.client.service_update(app, service, options).await {
        Err(error) if is_unknown(rack, &error).await => Ok(rack
            .client
            .legacy_service_update(app, service, options)
            .await?),
        resized => Ok(resized?),
    }
}

/// Makes a release with an environment where the call of today is not known; gives its id.
pub(crate) async fn environment(
    rack: &Rack,
    app: &str,
    environment: &str,
    error: ClientError,
) -> Result<String, Error> {
    if is_unknown(rack, &error).await {
        Ok(rack.client.legacy_environment_set(app, environment).await?)
    } else {
        Err(error.into())
    }
}

/// Reads the parameters of an app, which old racks do not tell with the app.
pub(crate) async fn parameters(rack: &Rack, app: &str) -> Result<BTreeMap<String, String>, Error> {
    match rack.client.app_get(app).await?.parameters {
        None if old(rack).await.is_some() => Ok(rack.client.legacy_parameters(app).await?),
        parameters => Ok(parameters.unwrap_or_default()),
    }
}

/// Sets parameters of an app.
pub(crate) async fn set_parameters(
    rack: &Rack,
    app: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<(), Error> {
    match rack.client.app_parameters(app, parameters).await {
        Err(error) if is_unknown(rack, &error).await => {
            Ok(rack.client.legacy_parameters_set(app, parameters).await?)
        }
        set => Ok(set?),
    }
}

/// Sets parameters of the rack, which for old racks is an app. They would take them for
/// something else.
pub(crate) async fn set_rack_parameters(
    rack: &Rack,
    options: &system::UpdateOptions,
) -> Result<(), Error> {
    let client = &rack.client;
    match old(rack).await {
        Some(system) => Ok(client
            .legacy_parameters_set(&system.name, &options.parameters)
            .await?),
        None => Ok(client.system_update(options).await?),
    }
}

/// Stores a certificate.
pub(crate) async fn import_certificate(
    rack: &Rack,
    certificate: &str,
    key: &str,
    chain: Option<&str>,
) -> Result<Certificate, ClientError> {
    let client = &rack.client;
    match old(rack).await {
        Some(_) => {
            let made = client.legacy_certificate_create(certificate, key, chain);
            made.await
        }
        None => client.certificate_create(certificate, key, chain).await,
    }
}

/// Makes a resource of the rack; old racks want to be told its name.
pub(crate) async fn create_resource(
    rack: &Rack,
    kind: &str,
    name: Option<&str>,
    options: &BTreeMap<String, String>,
) -> Result<Resource, ClientError> {
    let client = &rack.client;
    if old(rack).await.is_none() {
        return client.rack_resource_create(kind, name, options).await;
    }
    let name = name.map_or_else(|| format!("{kind}-{}", id::hex(4)), str::to_owned);
    let made = client.legacy_rack_resource_create(kind, &name, options);
    made.await
}

/// Changes options of a resource of the rack.
pub(crate) async fn update_resource(
    rack: &Rack,
    name: &str,
    options: &BTreeMap<String, String>,
) -> Result<Resource, ClientError> {
    let client = &rack.client;
    match old(rack).await {
        Some(_) => client.legacy_rack_resource_update(name, options).await,
        None => client.rack_resource_update(name, options).await,
    }
}

/// Says of a call about resources of an app that failed that the rack is too old for it.
pub(crate) async fn without_resources(rack: &Rack, error: ClientError) -> Error {
    if is_no_route(&error) && !rack.client.is_twinrack() {
        let version = rack.client.system_get().await.map(|system| system.version);
        if version.is_ok_and(|version| !version.is_empty() && *version <= *NO_RESOURCES) {
            return Error::failed("command unavailable, please upgrade this rack");
        }
    }
    error.into()
}

/// Opens a shell on a machine.
pub(crate) async fn shell(
    rack: &Rack,
    id: &str,
    options: &ShellOptions,
) -> Result<ExecSocket, Error> {
    match rack.client.instance_shell(id, options).await {
        Err(error) if is_unknown(rack, &error).await => {
            Ok(rack.client.legacy_instance_shell(id, options).await?)
        }
        opened => Ok(opened?),
    }
}

/// How a rack runs a command in a process of its own.
pub(crate) enum Started {
    /// The process is there; a command can be attached to it.
    Process(Box<rack_api::Process>),
    /// The rack is old: nothing has happened.
    TooOld,
}

/// Starts a process, if the rack is one of today.
pub(crate) async fn start(
    rack: &Rack,
    app: &str,
    service: &str,
    options: &RunOptions,
) -> Result<Started, Error> {
    match rack.client.process_run(app, service, options).await {
        Err(error) if is_unknown(rack, &error).await => Ok(Started::TooOld),
        started => Ok(Started::Process(Box::new(started?))),
    }
}

/// Removes a login to a registry.
pub(crate) async fn remove_registry(rack: &Rack, server: &str) -> Result<(), Error> {
    match rack.client.registry_remove(server).await {
        Err(error) if is_unknown(rack, &error).await => {
            Ok(rack.client.legacy_registry_remove(server).await?)
        }
        removed => Ok(removed?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_how_uploads_travel() {
        for (version, uploads) in [
            ("20160909000000", Uploads::Form),
            ("20180416200237", Uploads::Form),
            ("20180416200238", Uploads::Object),
            ("20180708231844", Uploads::Object),
            ("20180708231845", Uploads::Plain),
            ("3.24.6", Uploads::Plain),
            ("dev", Uploads::Plain),
            ("", Uploads::Plain),
        ] {
            assert_eq!(Uploads::of(version), uploads, "{version}");
        }
    }
}
