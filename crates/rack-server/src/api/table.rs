//! Every route of the server, in the order of `rack-api.md` §3.

mod absent;
mod app;
mod legacy;
mod rack;

use super::route::Client::{Own, V2, V3, Y2017};
use super::route::{Client, Route};

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
    let mut table = rack::without_a_rack();
    table.extend(rack::of_the_rack());
    table.extend(app::apps());
    table.extend(app::builds());
    table.extend(app::releases());
    table.extend(app::processes());
    table.extend(app::resources());
    table.extend(app::objects());
    table.extend(rack::registries());
    table.extend(rack::instances());
    table.extend(rack::cloud_databases());
    table.extend(app::configs());
    table.extend(absent::absent());
    table.extend(legacy::legacy());
    table.extend(rack::certificates());
    table.extend(rack::rack_resources());
    table
}
