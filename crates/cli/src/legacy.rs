//! Racks of 2018 and before, which take other calls for some things (`rack-api.md` §5).
//!
//! Clients of version 2 ask a rack for its version before each of those calls. Here the call of
//! today is made; only a rack that is none of ours and does not know it is asked how old it
//! is, but for uploads, which cannot be sent again: there it is asked first. Versions of that
//! time are dates, compared as texts.

use rack_api::Service;
use rack_api::client::ClientError;
use rack_api::service::UpdateOptions;

use crate::error::Error;
use crate::racks::Rack;

/// Last version with formations, environments as a body and sources in forms.
const FORMATION: &str = "20180708231844";
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
