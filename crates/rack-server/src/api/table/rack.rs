//! Routes of the server and of a rack itself.

use rack_api::capacity::Capacity;
use rack_api::certificate::Certificate;
use rack_api::fault::Fault;
use rack_api::instance::Instance;
use rack_api::metric::Metric;
use rack_api::process::Process;
use rack_api::rack::{CreatedRack, RackListing};
use rack_api::registry::Registry;
use rack_api::release::Release;
use rack_api::resource::{Resource, ResourceType};
use rack_api::system::{System, Token};

use super::{ALL, LOG_OPTIONS, METRIC_OPTIONS, MODERN, NONE};
use crate::api::route::Client::{Own, V2, V3, Y2017};
use crate::api::route::{Route, delete, get, options, post, put, socket};
use crate::api::{
    capacity, certificate, event, fault, instance, log, metric, rack, rack_resource, registry,
    system, token,
};
use crate::rack::access::Role::{Admin, Write};

pub(super) fn without_a_rack() -> Vec<Route> {
    vec![
        get("/check", system::check)
            .says("says that the server is there")
            .open()
            .gives_bytes()
            .used_by(NONE),
        get("/auth", system::auth)
            .says("checks credentials")
            .of_caller()
            .used_by(ALL),
        get("/racks", rack::list)
            .says("lists the racks the caller may use")
            .of_caller()
            .gives::<Vec<RackListing>>()
            .used_by(MODERN),
        post("/racks", rack::create)
            .says("makes a rack; an addition of this server")
            .of_server()
            .form("name* engine docker-host")
            .gives::<CreatedRack>()
            .tells_secrets()
            .used_by(&[Own]),
        delete("/racks/{name}", rack::delete)
            .says("removes a rack with everything of it; an addition of this server")
            .of_server()
            .used_by(&[Own]),
        get("/racks/{organization}/{name}", rack::get)
            .says("describes a rack to clients that ask a console")
            .of_caller()
            .gives::<RackListing>()
            .used_by(&[V3]),
        delete("/racks/{organization}/{name}", rack::delete_full)
            .says("removes a rack by its full name; an addition of this server")
            .of_server()
            .used_by(&[Own]),
    ]
}

pub(super) fn of_the_rack() -> Vec<Route> {
    vec![
        get("/system", system::get)
            .says("describes the rack")
            .gives::<System>()
            .used_by(ALL),
        put("/system", system::update)
            .large_form()
            .says("sets parameters of the rack")
            .form("count:int type version parameters:map force:bool")
            .used_by(ALL),
        get("/system/ca", system::authority)
            .says("gives the certificate of the server's own authority; an addition of this server")
            .gives_bytes()
            .used_by(&[Own]),
        get("/system/capacity", capacity::get)
            .says("says what the rack's machine has and what is promised on it")
            .gives::<Capacity>()
            .used_by(NONE),
        get("/system/metrics", metric::system)
            .says("lists measurements of the rack")
            .query(METRIC_OPTIONS)
            .gives::<Vec<Metric>>()
            .used_by(NONE),
        get(
            "/system/sync/whitelist/instances/ip",
            system::sync_whitelist,
        )
        .says("lets the rack's instances in, which always are")
        .used_by(&[V2]),
        socket("/system/logs", log::system)
            .says("follows the rack's own log")
            .headers(LOG_OPTIONS)
            .used_by(ALL),
        get("/system/processes", system::processes)
            .says("lists the rack's processes")
            .query("all:bool")
            .gives::<Vec<Process>>()
            .used_by(ALL),
        get("/system/releases", system::releases)
            .says("lists the versions the rack has had")
            .gives::<Vec<Release>>()
            .used_by(ALL),
        get("/system/faults", fault::list)
            .says(
                "lists the faults that are on, on the simulated engine; an addition of this server",
            )
            .gives::<Vec<Fault>>()
            .used_by(&[Own]),
        post("/system/faults", fault::set)
            .says("switches faults on by name, on the simulated engine; an addition of this server")
            .form("names*:list")
            .gives::<Vec<Fault>>()
            .used_by(&[Own]),
        delete("/system/faults", fault::clear_all)
            .says("switches every fault off; an addition of this server")
            .used_by(&[Own]),
        delete("/system/faults/{name}", fault::clear)
            .says("switches a fault off; an addition of this server")
            .used_by(&[Own]),
        post("/system/jwt/token", token::create)
            .says("makes a token for a role and a time; the answer holds it")
            .form("role* durationInHour*:int")
            .gives::<Token>()
            .tells_secrets()
            .used_by(MODERN),
        put("/system/jwt/rotate", token::rotate)
            .says("makes a new key, so that earlier tokens are no longer good")
            .needs_or(Admin, "admin role required")
            .used_by(MODERN),
    ]
}

pub(super) fn registries() -> Vec<Route> {
    vec![
        get("/registries", registry::list)
            .tells_secrets()
            .says("lists the registries the rack has logins for, passwords included")
            .gives::<Vec<Registry>>()
            .used_by(ALL),
        post("/registries", registry::add)
            .tells_secrets()
            .says("adds a login to a registry, which is asked first")
            .form("server* username* password*")
            .gives::<Registry>()
            .used_by(ALL),
        delete("/registries", registry::remove_named)
            .says("forgets the login to a registry, as clients of 2017 ask for it")
            .query("server*")
            .used_by(&[Y2017]),
        delete("/registries/{*server}", registry::remove)
            .says("forgets the login to a registry")
            .used_by(MODERN),
    ]
}

pub(super) fn instances() -> Vec<Route> {
    vec![
        get("/instances", instance::list)
            .says("lists the machines of the rack: this one")
            .gives::<Vec<Instance>>()
            .used_by(ALL),
        post("/instances/keyroll", instance::keyroll)
            .says("refuses to replace the keys of instances: there are none")
            .used_by(ALL),
        delete("/instances/{id}", instance::terminate)
            .says("refuses to end an instance: it is this machine")
            .used_by(ALL),
        socket("/instances/{id}/shell", instance::shell)
            .says("opens a shell in a process of its own on the machine")
            .needs_or(Write, "instance shell requires write access")
            .headers("Command Tty:bool Height:int Width:int Errors")
            .used_by(MODERN),
        socket("/instances/{id}/ssh", instance::ssh)
            .says("opens a shell, as clients of 2017 ask for it")
            .needs_or(Write, "instance shell requires write access")
            .headers("Command Terminal Tty:bool Height:int Width:int")
            .used_by(&[Y2017]),
    ]
}

pub(super) fn cloud_databases() -> Vec<Route> {
    vec![
        get("/rds/snapshots/{snapshot}", system::no_cloud_database)
            .says("says that there are no RDS snapshots")
            .used_by(&[V2]),
        delete("/rds/{resource}", system::no_cloud_database)
            .says("says that there are no RDS databases")
            .used_by(&[V2]),
        post(
            "/apps/{app}/resources/{resource}/deletion-protection-and-snapshot/{snapshot}",
            system::no_cloud_database,
        )
        .says("says that there are no RDS databases")
        .form("app")
        .used_by(&[V2]),
    ]
}

pub(super) fn certificates() -> Vec<Route> {
    vec![
        get("/certificates", certificate::list)
            .says("lists the rack's certificates, with `generated` only those it made itself")
            .query("generated:bool")
            .gives::<Vec<Certificate>>()
            .used_by(ALL),
        post("/certificates", certificate::create)
            .large_form()
            .says("stores a certificate with its key; the 2017 client says public and private")
            .form("pub key chain public private")
            .gives::<Certificate>()
            .used_by(ALL),
        post("/certificates/generate", certificate::generate)
            .says("makes a certificate for domains, signed by the local authority")
            .form("domains*:list issuer duration:duration")
            .gives::<Certificate>()
            .used_by(ALL),
        delete("/certificates/{id}", certificate::delete)
            .says("removes a certificate that no service names")
            .used_by(ALL),
        post("/certificates/{id}/renew", certificate::renew)
            .says("makes a generated certificate anew, or all those of the app whose name is given as id")
            .used_by(&[V3]),
        put("/apps/{app}/ssl/{service}/{port}", certificate::apply)
            .says("says how certificates are applied: by the domains of a service")
            .form("id")
            .used_by(MODERN),
    ]
}

pub(super) fn rack_resources() -> Vec<Route> {
    vec![
        post("/events", event::send)
            .large_form()
            .says("records an event and tells webhooks of it")
            .form("action* data:map error status")
            .used_by(NONE),
        get("/resources", rack_resource::list)
            .tells_secrets()
            .says("lists the resources of the rack, without their addresses")
            .gives::<Vec<Resource>>()
            .used_by(ALL),
        options("/resources", rack_resource::types)
            .says("lists the types of resources and their options")
            .gives::<Vec<ResourceType>>()
            .used_by(MODERN),
        post("/resources", rack_resource::create)
            .large_form()
            .tells_secrets()
            .says("makes a resource of the rack; the 2017 client says type, and options one by one")
            .form("kind name parameters:map type")
            .gives::<Resource>()
            .used_by(ALL),
        get("/resources/{name}", rack_resource::get)
            .tells_secrets()
            .says("describes a resource of the rack with its address")
            .gives::<Resource>()
            .used_by(ALL),
        put("/resources/{name}", rack_resource::update)
            .large_form()
            .tells_secrets()
            .says("changes options of a resource of the rack")
            .form("parameters:map")
            .gives::<Resource>()
            .used_by(ALL),
        delete("/resources/{name}", rack_resource::delete)
            .tells_secrets()
            .says("removes a resource of the rack with its data")
            .used_by(ALL),
        post("/resources/{name}/links", rack_resource::link)
            .tells_secrets()
            .says("gives an app the address of a resource of the rack, from its next promote on")
            .form("app*")
            .gives::<Resource>()
            .used_by(ALL),
        delete("/resources/{name}/links/{app}", rack_resource::unlink)
            .tells_secrets()
            .says("takes the address of a resource of the rack from an app")
            .gives::<Resource>()
            .used_by(ALL),
    ]
}
