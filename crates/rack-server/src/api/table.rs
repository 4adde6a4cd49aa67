//! Every route of the server, in the order of `rack-api.md` §3.

use std::collections::BTreeMap;

use rack_api::app::App;
use rack_api::balancer::Balancer;
use rack_api::build::{Build, Ticket};
use rack_api::capacity::Capacity;
use rack_api::certificate::{Certificate, SecurePort};
use rack_api::config::AppConfig;
use rack_api::diagnose::AppDiagnosticReport;
use rack_api::formation::FormationEntry;
use rack_api::instance::Instance;
use rack_api::metric::{Metric, ServiceMetrics};
use rack_api::object::Object;
use rack_api::process::{Process, Run, RunDetached};
use rack_api::rack::{CreatedRack, RackListing};
use rack_api::registry::Registry;
use rack_api::release::Release;
use rack_api::resource::{LegacyResource, Resource, ResourceType};
use rack_api::service::{ManifestService, Service};
use rack_api::system::{System, Token};

use super::route::Client::{Own, V2, V3, Y2017};
use super::route::{Client, Route, any, delete, get, head, options, post, put, socket};
use super::{
    absent, app, attached, balancer, build, capacity, certificate, config, diagnose, environment,
    event, file, formation, image_import, index, instance, log, metric, object, parameters,
    process, proxy, rack, rack_resource, registry, release, resource, service, system, token,
};
use crate::rack::access::Role::{Admin, Write};

const ALL: &[Client] = &[Y2017, V2, V3, Own];
const MODERN: &[Client] = &[V2, V3, Own];
/// The client of late 2017, and versions 2 and 3 when a rack reports a version of July
/// 2018 or before (`rack-api.md` §5).
const LEGACY: &[Client] = &[Y2017];
const NONE: &[Client] = &[];
const METRIC_OPTIONS: &str = "start:time end:time period:int metrics:list";
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
    table.extend(registries());
    table.extend(instances());
    table.extend(cloud_databases());
    table.extend(configs());
    table.extend(absent());
    table.extend(legacy());
    table.extend(certificates());
    table.extend(rack_resources());
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
            .form("name* engine")
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

fn of_the_rack() -> Vec<Route> {
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

fn releases() -> Vec<Route> {
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

fn resources() -> Vec<Route> {
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
            .headers("Height:int Width:int")
            .used_by(&[V3]),
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

fn registries() -> Vec<Route> {
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
            .says("opens a shell in a process of its own on the machine")
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

fn configs() -> Vec<Route> {
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

/// What one machine has not.
fn absent() -> Vec<Route> {
    let mut table = vec![
        get("/apps/{app}/budget", absent::no_budget)
            .says("says that there is no budget")
            .gives::<serde_json::Value>()
            .used_by(&[V3]),
        post("/apps/{app}/budget", absent::budget)
            .says("refuses to set a budget")
            .form("monthly-cap-usd alert-threshold-percent:int at-cap-action pricing-adjustment ack_by")
            .used_by(&[V3]),
        delete("/apps/{app}/budget", absent::budget)
            .says("refuses to clear a budget")
            .form("ack_by")
            .used_by(&[V3]),
        post("/apps/{app}/budget/reset", absent::budget)
            .says("refuses to reset a budget")
            .form("ack_by force_clear_cooldown reset_period")
            .used_by(&[V3]),
        get("/apps/{app}/budget/shutdown-state", absent::no_shutdown)
            .says("says that no budget has shut anything down")
            .gives::<serde_json::Value>()
            .used_by(&[V3]),
        post("/apps/{app}/budget/simulate-shutdown", absent::budget)
            .says("refuses to rehearse the end of a budget")
            .used_by(&[V3]),
        post("/apps/{app}/budget/dismiss-recovery", absent::budget)
            .says("refuses to dismiss the recovery from the end of a budget")
            .form("ack_by")
            .used_by(&[V3]),
        get("/apps/{app}/cost", absent::cost)
            .says("refuses to tell a price")
            .used_by(&[V3]),
        post(
            "/apps/{app}/services/{service}/scale-override",
            absent::autoscaling,
        )
        .says("refuses to override an autoscaler")
        .form("active*:bool ack_by")
        .used_by(NONE),
        post(
            "/apps/{app}/services/{service}/triggers/enable",
            absent::autoscaling,
        )
        .says("refuses triggers of an autoscaler")
        .form("opts* ack_by")
        .used_by(&[V3]),
        post(
            "/apps/{app}/services/{service}/triggers/disable",
            absent::autoscaling,
        )
        .says("refuses triggers of an autoscaler")
        .form("ack_by")
        .used_by(&[V3]),
        post(
            "/apps/{app}/services/{service}/triggers/threshold",
            absent::autoscaling,
        )
        .says("refuses triggers of an autoscaler")
        .form("type threshold ack_by")
        .used_by(&[V3]),
        post("/system/karpenter/cleanup", absent::karpenter)
            .says("refuses to clean nodes up")
            .used_by(&[V3]),
        get("/letsencrypt/config", absent::letsencrypt)
            .says("refuses to show how ACME is configured")
            .used_by(&[V3]),
        put("/letsencrypt/config", absent::letsencrypt)
            .says("refuses to configure ACME")
            .takes_json()
            .used_by(&[V3]),
    ];
    for path in ["/v2", "/v2/", "/v2/{*path}"] {
        table.extend(any(path, absent::registry).map(|route| {
            route
                .says("refuses pushed images, in the words of registries")
                .open()
                .refuses_as_registry()
                .used_by(&[V3])
        }));
    }
    for path in ["/custom/http/proxy/", "/custom/http/proxy/{*path}"] {
        table.extend(any(path, absent::http_proxy).map(|route| {
            route
                .says("refuses to pass a request on")
                .headers("X-Host X-Port")
                .used_by(NONE)
        }));
    }
    table
}

/// What only clients before July 2018 use, where it has no later form under the same path.
fn legacy() -> Vec<Route> {
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
fn certificates() -> Vec<Route> {
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

fn rack_resources() -> Vec<Route> {
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
