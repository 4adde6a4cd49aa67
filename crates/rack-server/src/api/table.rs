//! Every route of the server, in the order of `rack-api.md` §3.

use rack_api::app::App;
use rack_api::build::Build;
use rack_api::capacity::Capacity;
use rack_api::instance::Instance;
use rack_api::metric::{Metric, ServiceMetrics};
use rack_api::object::Object;
use rack_api::process::Process;
use rack_api::rack::{CreatedRack, RackListing};
use rack_api::registry::Registry;
use rack_api::release::Release;
use rack_api::resource::Resource;
use rack_api::service::Service;
use rack_api::system::System;

use super::route::Client::{Own, V2, V3, Y2017};
use super::route::{Client, Route, delete, get, head, post, put, socket};
use super::{
    app, build, capacity, instance, log, metric, object, process, rack, registry, release,
    resource, service, system,
};
use crate::rack::access::Role::Write;

const ALL: &[Client] = &[Y2017, V2, V3, Own];
const MODERN: &[Client] = &[V2, V3, Own];
const NONE: &[Client] = &[];
const METRIC_OPTIONS: &str = "start:time end:time period:int metrics:list";
const LOG_OPTIONS: &str = "Since:duration Follow:bool Prefix:bool Filter Tail:int";

/// Every route.
pub(super) fn table() -> Vec<Route> {
    let mut table = without_a_rack();
    table.extend(of_the_rack());
    table.extend(apps());
    table.extend(builds());
    table.extend(releases());
    table.extend(processes());
    table.extend(resources());
    table.extend(objects());
    table.extend(registries());
    table.extend(instances());
    table.extend(cloud_databases());
    table
}

fn without_a_rack() -> Vec<Route> {
    vec![
        get("/check", system::check)
            .says("says that the server is there")
            .open()
            .gives_bytes()
            .used_by(NONE),
        get("/auth", system::auth)
            .says("checks credentials")
            .used_by(ALL),
        get("/racks", rack::list)
            .says("lists the racks the caller may use")
            .gives::<Vec<RackListing>>()
            .used_by(MODERN),
        post("/racks", rack::create)
            .says("makes a rack; an addition of this server")
            .form("name* engine")
            .gives::<CreatedRack>()
            .used_by(&[Own]),
        delete("/racks/{name}", rack::delete)
            .says("removes a rack with everything of it; an addition of this server")
            .used_by(&[Own]),
        get("/racks/{organization}/{name}", rack::get)
            .says("describes a rack to clients that ask a console")
            .gives::<RackListing>()
            .used_by(&[V3]),
        delete("/racks/{organization}/{name}", rack::delete_full)
            .says("removes a rack by its full name; an addition of this server")
            .used_by(&[Own]),
    ]
}

fn of_the_rack() -> Vec<Route> {
    vec![
        get("/system", system::get)
            .says("describes the rack")
            .gives::<System>()
            .used_by(ALL),
        put("/system", system::update)
            .says("sets parameters of the rack")
            .form("count:int type version parameters:map force:bool")
            .used_by(ALL),
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
    ]
}

fn apps() -> Vec<Route> {
    vec![
        get("/apps", app::list)
            .says("lists apps by name")
            .gives::<Vec<App>>()
            .used_by(ALL),
        post("/apps", app::create)
            .says("makes an app")
            .form("name* generation timeout:int")
            .gives::<App>()
            .used_by(ALL),
        get("/apps/{app}", app::get)
            .says("describes an app; with `settled` it waits until nothing changes it any more")
            .query("settled:duration")
            .gives::<App>()
            .used_by(ALL),
        put("/apps/{app}", app::update)
            .says("locks or unlocks an app, or sets its parameters")
            .form("lock:bool parameters:map")
            .used_by(MODERN),
        delete("/apps/{app}", app::delete)
            .says("removes an app with everything of it")
            .used_by(ALL),
        post("/apps/{app}/cancel", app::cancel)
            .says("gives up the promote that is going on")
            .used_by(ALL),
        socket("/apps/{app}/logs", log::app)
            .says("follows the log of an app")
            .headers(LOG_OPTIONS)
            .used_by(ALL),
        get("/apps/{app}/metrics", metric::app)
            .says("lists measurements of an app")
            .query(METRIC_OPTIONS)
            .gives::<Vec<Metric>>()
            .used_by(NONE),
        get("/apps/{app}/metrics-by-service", metric::by_service)
            .says("lists measurements of the services of an app")
            .query(METRIC_OPTIONS)
            .query("services:list")
            .gives::<Vec<ServiceMetrics>>()
            .used_by(NONE),
        get("/apps/{app}/services/{service}/metrics", metric::service)
            .says("lists measurements of a service")
            .query(METRIC_OPTIONS)
            .gives::<Vec<Metric>>()
            .used_by(NONE),
        get("/apps/{app}/budget", app::budget)
            .says("says that there is no budget")
            .gives::<serde_json::Value>()
            .used_by(&[V3]),
    ]
}

fn builds() -> Vec<Route> {
    vec![
        get("/apps/{app}/builds", build::list)
            .says("lists builds, newest first")
            .query("limit:int")
            .gives::<Vec<Build>>()
            .used_by(ALL),
        post("/apps/{app}/builds", build::create)
            .says("begins a build of an uploaded source")
            .form("url* build-args:list description development:bool manifest no-cache:bool wildcard-domain:bool git-sha external:bool")
            .gives::<Build>()
            .used_by(ALL),
        post("/apps/{app}/builds/import", build::import)
            .says("imports a build archive; `force` takes one of another app")
            .query("force:bool")
            .takes_bytes()
            .gives::<Build>()
            .used_by(ALL),
        get("/apps/{app}/builds/{id}", build::get)
            .says("describes a build, or with `.tgz` after the id exports it")
            .gives::<Build>()
            .used_by(ALL),
        socket("/apps/{app}/builds/{id}/logs", log::build)
            .says("follows the log of a build from its beginning")
            .headers(LOG_OPTIONS)
            .used_by(ALL),
    ]
}

fn releases() -> Vec<Route> {
    vec![
        get("/apps/{app}/releases", release::list)
            .says("lists releases, newest first")
            .query("limit:int")
            .gives::<Vec<Release>>()
            .used_by(ALL),
        post("/apps/{app}/releases", release::create)
            .says("makes a release from the latest one")
            .form("build env description parent-release")
            .gives::<Release>()
            .used_by(MODERN),
        get("/apps/{app}/releases/{id}", release::get)
            .says("describes a release with its environment")
            .gives::<Release>()
            .used_by(ALL),
        post("/apps/{app}/releases/{id}/promote", release::promote)
            .says("makes a release the active one")
            .form("force:bool development:bool idle:bool min:int max:int timeout:int")
            .used_by(ALL),
    ]
}

fn processes() -> Vec<Route> {
    vec![
        get("/apps/{app}/processes", process::list)
            .says("lists processes")
            .query("service release")
            .gives::<Vec<Process>>()
            .used_by(ALL),
        get("/apps/{app}/processes/{pid}", process::get)
            .says("describes a process")
            .gives::<Process>()
            .used_by(ALL),
        delete("/apps/{app}/processes/{pid}", process::stop)
            .says("stops a process; a service gets another in its place")
            .used_by(ALL),
        socket("/apps/{app}/processes/{pid}/exec", process::exec)
            .says("runs a command in a process")
            .needs_or(Write, "process exec requires write access")
            .headers("Command Entrypoint:bool Tty:bool Height:int Width:int")
            .used_by(ALL),
        socket("/apps/{app}/processes/{pid}/logs", log::process)
            .says("follows the log of a process")
            .headers(LOG_OPTIONS)
            .used_by(NONE),
        get("/apps/{app}/services", service::list)
            .says("lists the services of the active release")
            .gives::<Vec<Service>>()
            .used_by(MODERN),
        put("/apps/{app}/services/{service}", service::update)
            .says("scales a service")
            .form("count:int cpu:int memory:int")
            .used_by(MODERN),
        socket("/apps/{app}/services/{service}/logs", log::service)
            .says("follows the log of a service")
            .headers(LOG_OPTIONS)
            .used_by(&[V3]),
        post("/apps/{app}/services/{service}/processes", process::run)
            .says("starts a one-off process of a service")
            .headers("Command Environment:map Height:int Width:int Memory:int Release")
            .gives::<Process>()
            .used_by(MODERN),
        post("/apps/{app}/services/{service}/restart", service::restart)
            .says("replaces the processes of a service one after the other")
            .used_by(MODERN),
    ]
}

fn resources() -> Vec<Route> {
    vec![
        get("/apps/{app}/resources", resource::list)
            .says("lists the resources of an app")
            .gives::<Vec<Resource>>()
            .used_by(MODERN),
        get("/apps/{app}/resources/{name}", resource::get)
            .says("describes a resource of an app")
            .gives::<Resource>()
            .used_by(MODERN),
    ]
}

fn objects() -> Vec<Route> {
    vec![
        get("/apps/{app}/objects", object::list)
            .says("lists the keys of objects below a prefix")
            .query("prefix")
            .gives::<Vec<String>>()
            .used_by(NONE),
        post("/apps/{app}/objects/", object::store_unnamed)
            .says("stores an object under a key of the rack's choice")
            .takes_bytes()
            .gives::<Object>()
            .used_by(MODERN),
        get("/apps/{app}/objects/{*key}", object::fetch)
            .says("fetches an object")
            .gives_bytes()
            .used_by(NONE),
        head("/apps/{app}/objects/{*key}", object::head)
            .says("says whether an object is there")
            .used_by(NONE),
        post("/apps/{app}/objects/{*key}", object::store)
            .says("stores an object")
            .takes_bytes()
            .gives::<Object>()
            .used_by(MODERN),
        delete("/apps/{app}/objects/{*key}", object::delete)
            .says("removes an object")
            .used_by(NONE),
    ]
}

fn registries() -> Vec<Route> {
    vec![
        get("/registries", registry::list)
            .says("lists the registries the rack has logins for, passwords included")
            .gives::<Vec<Registry>>()
            .used_by(ALL),
        post("/registries", registry::add)
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

fn instances() -> Vec<Route> {
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
            .says("opens a shell that sees the processes of the machine")
            .needs_or(Write, "instance shell requires write access")
            .headers("Command Tty:bool Height:int Width:int")
            .used_by(MODERN),
        socket("/instances/{id}/ssh", instance::ssh)
            .says("opens a shell, as clients of 2017 ask for it")
            .needs_or(Write, "instance shell requires write access")
            .headers("Command Terminal Tty:bool Height:int Width:int")
            .used_by(&[Y2017]),
    ]
}

fn cloud_databases() -> Vec<Route> {
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
