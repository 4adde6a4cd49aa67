//! Routes of apps and of what belongs to one.

use rack_api::app::App;
use rack_api::balancer::Balancer;
use rack_api::build::{Build, Ticket};
use rack_api::config::AppConfig;
use rack_api::diagnose::AppDiagnosticReport;
use rack_api::metric::{Metric, ServiceMetrics};
use rack_api::object::Object;
use rack_api::process::{Process, Run};
use rack_api::release::Release;
use rack_api::resource::Resource;
use rack_api::service::{ManifestService, Service};

use super::{ALL, LOG_OPTIONS, METRIC_OPTIONS, MODERN, NONE};
use crate::api::route::Client::{Own, V3};
use crate::api::route::{Route, delete, get, head, post, put, socket};
use crate::api::{
    app, balancer, build, config, diagnose, file, image_import, log, metric, object, process,
    proxy, release, resource, service,
};
use crate::rack::access::Role::Write;

pub(super) fn apps() -> Vec<Route> {
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
            .large_form()
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
    ]
}

pub(super) fn builds() -> Vec<Route> {
    vec![
        get("/apps/{app}/builds", build::list)
            .says("lists builds, newest first")
            .query("limit:int")
            .gives::<Vec<Build>>()
            .used_by(ALL),
        post("/apps/{app}/builds", build::create)
            .says("begins a build of an uploaded source")
            .form("url* build-args:list description development:bool manifest no-cache:bool wildcard-domain:bool git-sha external:bool")
            .uploads()
            .gives::<Build>()
            .used_by(ALL),
        post("/apps/{app}/builds/import", build::import)
            .says("imports a build archive; `force` takes one of another app, `thin` one without layers that the rack has")
            .query("force:bool thin:bool")
            .takes_bytes()
            .gives::<Build>()
            .used_by(ALL),
        get("/apps/{app}/builds/{id}/ticket", build::ticket)
            .says("gives leave to copy a build to another rack; an addition of this server")
            .gives::<Ticket>()
            .tells_secrets()
            .used_by(&[Own]),
        get("/apps/{app}/layers", build::layers)
            .says("lists the layers of images the rack has, which need not be sent to the app; an addition of this server")
            .gives::<Vec<Vec<String>>>()
            .used_by(&[Own]),
        post("/apps/{app}/builds/copy", build::copy)
            .says("copies the build that a ticket is for; `force` takes one of another app; an addition of this server")
            .form("ticket* force:bool")
            .gives::<Build>()
            .used_by(&[Own]),
        get("/apps/{app}/builds/{id}", build::get)
            .says("describes a build")
            .gives::<Build>()
            .used_by(ALL),
        get("/apps/{app}/builds/{id}.tgz", build::get)
            .says("exports a build, in a `format` of default, v2 or v3, `without` layers that are named")
            .query("format without:list")
            .gives_bytes()
            .answered_by("/apps/{app}/builds/{id}")
            .used_by(ALL),
        put("/apps/{app}/builds/{id}", build::update)
            .large_form()
            .says("changes what a client may say of a build without a source")
            .form("manifest release status entrypoint logs started:time ended:time")
            .gives::<Build>()
            .used_by(&[V3]),
        post("/apps/{app}/builds/{id}/image", image_import::import)
            .says("fetches the images of a build without a source, in the background")
            .form("image* src-creds-user src-creds-pass")
            .empty(202)
            .used_by(&[V3]),
        socket("/apps/{app}/builds/{id}/logs", log::build)
            .says("follows the log of a build from its beginning")
            .headers(LOG_OPTIONS)
            .used_by(ALL),
    ]
}

pub(super) fn releases() -> Vec<Route> {
    vec![
        get("/apps/{app}/releases", release::list)
            .says("lists releases, newest first")
            .query("limit:int")
            .gives::<Vec<Release>>()
            .used_by(ALL),
        post("/apps/{app}/releases", release::create)
            .says("makes a release from the latest one; with `latest`, an addition of this server, only while that one is the latest")
            .form("build env description parent-release latest")
            .tells_secrets()
            .large_form()
            .gives::<Release>()
            .used_by(MODERN),
        get("/apps/{app}/releases/{id}", release::get)
            .says("describes a release with its environment")
            .tells_secrets()
            .gives::<Release>()
            .used_by(ALL),
        post("/apps/{app}/releases/{id}/promote", release::promote)
            .says("makes a release the active one")
            .form("changed:bool force:bool development:bool idle:bool min:int max:int timeout:int")
            .used_by(ALL),
    ]
}

pub(super) fn processes() -> Vec<Route> {
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
            .tells_secrets()
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
            .headers(
                "Command Entrypoint:bool Tty:bool Height:int Width:int Disable-Stdin:bool Errors",
            )
            .used_by(ALL),
        socket("/apps/{app}/processes/{pid}/logs", log::process)
            .says("follows the log of a process")
            .headers(LOG_OPTIONS)
            .used_by(NONE),
        get("/apps/{app}/services", service::list)
            .says("lists the services of the active release")
            .gives::<Vec<Service>>()
            .used_by(MODERN),
        get("/apps/{app}/manifest/services/{service}", service::manifest)
            .says("describes a service as the manifest declares it")
            .gives::<ManifestService>()
            .used_by(NONE),
        get("/apps/{app}/diagnose", diagnose::get)
            .says("reports what stands in the way of an app")
            .query("checks:list services:list age:int all:bool lines:int events:bool previous:bool")
            .gives::<AppDiagnosticReport>()
            .used_by(&[V3]),
        get("/apps/{app}/balancers", balancer::list)
            .says("lists the balancers of the active release")
            .gives::<Vec<Balancer>>()
            .used_by(&[V3]),
        put("/apps/{app}/services/{service}", service::update)
            .says("scales a service")
            .form("count:int cpu:int memory:int gpu:int gpu-vendor min:int max:int")
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

pub(super) fn resources() -> Vec<Route> {
    vec![
        get("/apps/{app}/resources", resource::list)
            .says("lists the resources of an app with their URLs")
            .tells_secrets()
            .gives::<Vec<Resource>>()
            .used_by(MODERN),
        get("/apps/{app}/resources/{name}", resource::get)
            .says("describes a resource of an app with its URL")
            .tells_secrets()
            .gives::<Resource>()
            .used_by(MODERN),
        get("/apps/{app}/resources/{name}/data", resource::dump)
            .tells_secrets()
            .says("dumps what a resource holds")
            .gives_bytes()
            .used_by(&[V3]),
        put("/apps/{app}/resources/{name}/data", resource::restore)
            .says("restores a dump into a resource, whole or not at all")
            .takes_bytes()
            .used_by(&[V3]),
        socket("/apps/{app}/resources/{name}/console", resource::console)
            .says("opens an interactive session with a resource")
            .needs_or(Write, "resource console requires write access")
            .headers("Height:int Width:int Errors")
            .used_by(&[V3]),
        socket("/proxy/{host}/{port}", proxy::proxy)
            .says("connects to a port of something the rack runs")
            .needs_or(Write, "proxy requires write access")
            .used_by(ALL),
    ]
}

pub(super) fn objects() -> Vec<Route> {
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
            .says("fetches an object, or a part of it")
            .headers("Range If-Range")
            .tells_secrets()
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

pub(super) fn configs() -> Vec<Route> {
    vec![
        get("/apps/{app}/configs", config::list)
            .tells_secrets()
            .says("lists the configs of an app")
            .gives::<Vec<AppConfig>>()
            .used_by(&[V3]),
        get("/apps/{app}/configs/{name}", config::get)
            .tells_secrets()
            .says("describes a config of an app")
            .gives::<AppConfig>()
            .used_by(&[V3]),
        put("/apps/{app}/configs/{name}", config::set)
            .large_form()
            .says("sets a config of an app to a value in base64")
            .form("value*")
            .used_by(&[V3]),
    ]
}
