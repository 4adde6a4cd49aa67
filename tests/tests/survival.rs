//! Data of resources: they outlive promotes, restarts, servers and whole machines, and no other
//! rack reaches them.

use std::process::Command;

use end_to_end::{World, wait_until, write};

const MANIFEST: &str = "\
resources:
  database: {type: postgres}
  orders: {type: mariadb, options: {mem: 512}}
  cache: {type: redis}
services:
  web:
    build: .
    port: 3000
    health: {path: /health, interval: 1, timeout: 1}
    resources: [database, orders, cache]
    drain: 1
    termination: {grace: 1}
";

/// How a row is made and read in each resource; `@` stands for what is in it.
const ROWS: [(&str, &str, &str); 3] = [
    (
        "database",
        "CREATE TABLE IF NOT EXISTS kept (text text); INSERT INTO kept VALUES ('@');",
        "SELECT 'found ' || text FROM kept;",
    ),
    (
        "orders",
        "CREATE TABLE IF NOT EXISTS kept (text text); INSERT INTO kept VALUES ('@');",
        "SELECT concat('found ', text) FROM kept;",
    ),
    ("cache", "set kept 'found @'", "get kept"),
];

fn console(world: &World, rack: &str, resource: &str, line: &str) -> String {
    let script =
        format!("convox resources console {resource} -a myapp -r {rack} <<'END'\n{line}\nEND\n");
    world.script(world.path(), &script).stdout
}

/// Waits until both racks have their own rows, and only those.
fn all_there(world: &World, after: &str) {
    for rack in ["production", "staging"] {
        for (resource, _, read) in ROWS {
            let wanted = format!("found {rack} row");
            let mut said = String::new();
            wait_until(&format!("{resource} of {rack} has its row {after}"), || {
                said = console(world, rack, resource, read);
                said.contains(&wanted)
            });
            let own = said.matches(&wanted).count();
            let racks =
                said.matches("production row").count() + said.matches("staging row").count();
            assert_eq!((own, racks), (1, 1), "{rack} {after}: {said}");
        }
    }
}

fn docker(words: &[&str]) -> String {
    let done = Command::new("docker").args(words).output();
    let done = done.expect("docker runs");
    assert!(done.status.success(), "docker {words:?}: {done:?}");
    String::from_utf8(done.stdout).expect("text")
}

/// Ids of the running containers of a world, or of one of its racks and resources.
fn containers(world: &World, labels: &[&str]) -> Vec<String> {
    let server = end_to_end::server_id(&world.path().join("data")).expect("a server");
    let mut words = vec!["ps".to_owned(), "-q".to_owned(), "--no-trunc".to_owned()];
    let labels = labels.iter().map(|label| (*label).to_owned());
    for label in labels.chain([format!("twinrack.server={server}")]) {
        words.extend(["--filter".to_owned(), format!("label={label}")]);
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    docker(&words).lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs Docker"]
fn data_of_resources_outlive_everything_and_belong_to_one_rack() {
    let world = World::docker();
    let app = world.tiny();
    write(&app, "convox.yml", MANIFEST);
    for rack in ["production", "staging"] {
        world
            .convox_in(&app, &["deploy", "-a", "myapp", "-r", rack])
            .ok();
        for (resource, row, _) in ROWS {
            let row = row.replace('@', &format!("{rack} row"));
            console(&world, rack, resource, &row);
        }
    }
    all_there(&world, "at first");

    // The option for memory is the container's limit.
    let orders = containers(&world, &["twinrack.name=orders", "twinrack.rack=staging"]);
    let limit = docker(&["inspect", "-f", "{{.HostConfig.Memory}}", &orders[0]]);
    assert_eq!(limit.trim(), (512 << 20).to_string());

    // What a container of the one rack can reach, and what of the other rack it cannot.
    let web = containers(&world, &["twinrack.kind=service", "twinrack.rack=staging"]);
    let reaches = |host: &str, port: &str| {
        let words = ["exec", &web[0], "timeout", "5", "nc", "-w", "3", host, port];
        let done = Command::new("docker").args(words).output();
        done.expect("docker runs").status.success()
    };
    for (resource, port) in [("database", "5432"), ("orders", "3306"), ("cache", "6379")] {
        let name = format!("twinrack.name={resource}");
        let own = format!("{resource}.resource.myapp.staging");
        assert!(reaches(&own, port), "{own}");
        let others = format!("{resource}.resource.myapp.production");
        assert!(!reaches(&others, port), "{others}");
        let of_production = containers(&world, &[&name, "twinrack.rack=production"]);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "-f", format, &of_production[0]]);
        assert!(!reaches(address.trim(), port), "{resource} at {address}");
    }

    for rack in ["production", "staging"] {
        let set = ["env", "set", "A=1", "--promote", "-a", "myapp", "-r", rack];
        world.convox_in(&app, &set).ok();
        world
            .convox_in(&app, &["restart", "-a", "myapp", "-r", rack])
            .ok();
    }
    all_there(&world, "after promote and restart");

    world.kill_server();
    all_there(&world, "after the end of the server");

    // What is left of a machine that loses its power: nothing runs, nothing was asked to end.
    world.kill_server();
    let running = containers(&world, &[]);
    assert_eq!(running.len(), 8, "{running:?}");
    let kill: Vec<_> = ["kill"]
        .into_iter()
        .chain(running.iter().map(String::as_str))
        .collect();
    docker(&kill);
    assert!(containers(&world, &[]).is_empty());
    all_there(&world, "after a start of the machine");
}
