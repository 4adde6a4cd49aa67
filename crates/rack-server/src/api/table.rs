//! Every route of the server, in the order of `rack-api.md` §3.

use std::collections::BTreeMap;

use rack_api::app::App;
use rack_api::build::Build;
use rack_api::formation::FormationEntry;
use rack_api::object::Object;
use rack_api::process::{Process, Run, RunDetached};
use rack_api::rack::{CreatedRack, RackListing};
use rack_api::release::Release;
use rack_api::resource::Resource;
use rack_api::service::Service;
use rack_api::system::System;

use super::route::Client::{Own, V2, V3, Y2017};
use super::route::{Client, Route, delete, get, head, post, put, socket};
use super::{
    app, attached, build, environment, file, formation, index, log, object, parameters, process,
    proxy, rack, release, resource, service, system,
};
use crate::rack::access::Role::Write;

const ALL: &[Client] = &[Y2017, V2, V3, Own];
const MODERN: &[Client] = &[V2, V3, Own];
/// The client of late 2017, and versions 2 and 3 when a rack reports a version of July
/// 2018 or before (`rack-api.md` §5).
const LEGACY: &[Client] = &[Y2017];
const NONE: &[Client] = &[];
const LOG_OPTIONS: &str = "Since:duration Follow:bool Prefix:bool Filter Tail:int Previous:bool Maxlogrequests:int Cursor";

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
    table.extend(legacy());
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
        get("/apps/{app}/runs/{pid}", process::run_record)
            .says("tells what is remembered of a one-off process; an addition of this server")
            .gives::<Run>()
            .used_by(&[Own]),
        delete("/apps/{app}/processes/{pid}", process::stop)
            .says("stops a process; a service gets another in its place")
            .used_by(ALL),
        get("/apps/{app}/processes/{pid}/files", file::download)
            .says("fetches a file or a directory of a process as a tar")
            .query("file*")
            .gives_bytes()
            .used_by(MODERN),
        post("/apps/{app}/processes/{pid}/files", file::upload)
            .says("unpacks a tar in a process")
            .query("tar-extra:list")
            .takes_bytes()
            .used_by(MODERN),
        delete("/apps/{app}/processes/{pid}/files", file::delete)
            .says("removes files of a process")
            .query("files*:list")
            .used_by(MODERN),
        socket("/apps/{app}/processes/{pid}/exec", process::exec)
            .says("runs a command in a process")
            .needs_or(Write, "process exec requires write access")
            .headers("Command Entrypoint:bool Tty:bool Height:int Width:int Disable-Stdin:bool")
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
            .headers(
                "Command Environment:map Height:int Width:int Memory:int Release Image Volumes:map \
                 Cpu:int Cpu-Limit:int Memory-Limit:int Gpu:int Gpu-Vendor Use-Service-Volume:bool \
                 Privileged:bool Node-Labels System-Critical:bool",
            )
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
        socket("/proxy/{host}/{port}", proxy::proxy)
            .says("connects to a port of something the rack runs")
            .needs_or(Write, "proxy requires write access")
            .used_by(ALL),
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

/// What only clients before July 2018 use, where it has no later form under the same path.
fn legacy() -> Vec<Route> {
    vec![
        delete("/apps/{app}/builds/{id}", build::delete)
            .says("removes a build with its images and releases, unless it is active")
            .gives::<Build>()
            .used_by(LEGACY),
        get("/apps/{app}/environment", environment::get)
            .says("describes the environment of the latest release")
            .gives::<BTreeMap<String, String>>()
            .used_by(LEGACY),
        post("/apps/{app}/environment", environment::set)
            .says(
                "makes a release with the environment in the body, named in the header Release-Id",
            )
            .takes_bytes()
            .gives::<BTreeMap<String, String>>()
            .used_by(LEGACY),
        delete("/apps/{app}/environment/{name}", environment::unset)
            .says("makes a release without a variable, named in the header Release-Id")
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
