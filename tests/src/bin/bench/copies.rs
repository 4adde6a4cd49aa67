//! Copies of builds between racks of one engine: at once, whatever their size.

use std::fs;
use std::time::Duration;

use end_to_end::World;

use super::{Row, median, milliseconds};

/// Most that a copy may take.
const TARGET: Duration = Duration::from_secs(1);

/// Builds of one large layer and of many small ones.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    world.install(&["staging", "production"]);
    let small = (0..10).fold(String::new(), |text, layer| {
        text + &format!("RUN head -c 65536 /dev/urandom >/layer{layer}\n")
    });
    let large = "RUN head -c 1073741824 /dev/urandom >/large\n".to_owned();
    [
        ("of 1 GiB", large, "large"),
        ("of ten small layers", small, "small"),
    ]
    .map(|(what, steps, name)| {
        let app = world.example("tiny", name);
        let dockerfile = format!("FROM busybox:1.36\n{steps}CMD [\"true\"]\n");
        fs::write(app.join("Dockerfile"), dockerfile).expect("a file");
        for rack in ["staging", "production"] {
            world.convox(&["apps", "create", name, "-r", rack]).ok();
        }
        let build = world
            .convox_in(&app, &["build", "--id", "-r", "staging"])
            .ok();
        let copy = [
            "builds",
            "copy",
            &build,
            "--from",
            "staging",
            "--to",
            "production",
        ];
        let measured = median(5, || drop(world.convox_in(&app, &copy).ok()));
        Row {
            what: format!("builds copy {what} between racks of one engine"),
            measured: milliseconds(measured),
            floor: String::new(),
            ratio: String::new(),
            target: format!("<= {} s", TARGET.as_secs()),
            within: measured <= TARGET,
        }
    })
    .into()
}
