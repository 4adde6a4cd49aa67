//! Routes that only clients before July 2018 use.

use std::collections::BTreeMap;

use rack_api::build::Build;
use rack_api::certificate::SecurePort;
use rack_api::formation::FormationEntry;
use rack_api::process::RunDetached;
use rack_api::resource::LegacyResource;

use super::LEGACY;
use crate::api::route::{Route, delete, get, post, put, socket};
use crate::api::{
    attached, build, certificate, environment, formation, index, parameters, rack_resource,
};
use crate::rack::access::Role::Write;

/// What only clients before July 2018 use, where it has no later form under the same path.
pub(super) fn legacy() -> Vec<Route> {
    vec![
        get("/services", rack_resource::list_services)
            .says("lists the resources of the rack")
            .gives::<Vec<LegacyResource>>()
            .tells_secrets()
            .used_by(LEGACY),
        post("/services", rack_resource::create_service)
            .says("makes a resource of the rack; its options are fields of their own")
            .form("type* name")
            .gives::<LegacyResource>()
            .tells_secrets()
            .used_by(LEGACY),
        get("/services/{name}", rack_resource::get_service)
            .says("describes a resource of the rack")
            .gives::<LegacyResource>()
            .tells_secrets()
            .used_by(LEGACY),
        put("/services/{name}", rack_resource::update_service)
            .says("gives a resource of the rack other options, each a field of its own")
            .gives::<LegacyResource>()
            .tells_secrets()
            .used_by(LEGACY),
        delete("/services/{name}", rack_resource::delete_service)
            .says("removes a resource of the rack with its data")
            .gives::<LegacyResource>()
            .tells_secrets()
            .used_by(LEGACY),
        get("/apps/{app}/ssl", certificate::secure_ports)
            .says("lists the secure ports of services")
            .gives::<Vec<SecurePort>>()
            .used_by(LEGACY),
        delete("/apps/{app}/builds/{id}", build::delete)
            .says("removes a build with its images and releases, unless it is active")
            .gives::<Build>()
            .used_by(LEGACY),
        get("/apps/{app}/environment", environment::get)
            .says("describes the environment of the latest release")
            .tells_secrets()
            .gives::<BTreeMap<String, String>>()
            .used_by(LEGACY),
        post("/apps/{app}/environment", environment::set)
            .says(
                "makes a release with the environment in the body, named in the header Release-Id",
            )
            .takes_bytes()
            .large_form()
            .tells_secrets()
            .gives::<BTreeMap<String, String>>()
            .used_by(LEGACY),
        delete("/apps/{app}/environment/{name}", environment::unset)
            .says("makes a release without a variable, named in the header Release-Id")
            .tells_secrets()
            .gives::<BTreeMap<String, String>>()
            .used_by(LEGACY),
        get("/apps/{app}/formation", formation::list)
            .says("lists the services of the active release")
            .gives::<Vec<FormationEntry>>()
            .used_by(LEGACY),
        post("/apps/{app}/formation/{service}", formation::update)
            .says("scales a service")
            .form("count:int cpu:int memory:int")
            .used_by(LEGACY),
        post("/index/diff", index::diff)
            .says("says which files of an incremental build are new")
            .form("index*")
            .large_form()
            .gives::<Vec<String>>()
            .used_by(LEGACY),
        post("/index/update", index::update)
            .says("takes new files of an incremental build, the part `update` of a multipart body")
            .takes_bytes()
            .used_by(LEGACY),
        get("/apps/{app}/parameters", parameters::list)
            .says("describes the parameters of an app or, by its name, of the rack")
            .gives::<BTreeMap<String, String>>()
            .used_by(LEGACY),
        post("/apps/{app}/parameters", parameters::set)
            .large_form()
            .says("sets parameters, each a form field of its own")
            .used_by(LEGACY),
        socket(
            "/apps/{app}/processes/{service}/run",
            attached::run_attached,
        )
        .says("runs a command in a process of its own")
        .needs_or(Write, "process exec requires write access")
        .headers("Command* Release Height:int Width:int Timeout:int")
        .used_by(LEGACY),
        post(
            "/apps/{app}/processes/{service}/run",
            attached::run_detached,
        )
        .says("starts a one-off process of a service")
        .form("command release")
        .gives::<RunDetached>()
        .used_by(LEGACY),
    ]
}
