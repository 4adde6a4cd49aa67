//! Routes of what one machine has not.

use super::NONE;
use crate::api::absent;
use crate::api::route::Client::V3;
use crate::api::route::{Route, any, delete, get, post, put};

/// What one machine has not.
pub(super) fn absent() -> Vec<Route> {
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
