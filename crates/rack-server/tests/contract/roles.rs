//! Every route with every kind of credentials: what the table says is what happens.

use std::fmt::Write as _;

use rack_server::api::{self, Answer, Route, Whose};
use rack_server::rack::access::Role;
use rusqlite::types::Value;

use super::tokens::{presenting, token};
use super::world::{Client, FORM, Stream, World, files_below};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Wrong,
    OtherRack,
    Read,
    Write,
    Admin,
    Rack,
    Server,
}

use Who::{Admin, Nobody, OtherRack, Rack, Read, Server, Write, Wrong};

const EVERYONE: [Who; 8] = [Nobody, Wrong, OtherRack, Read, Write, Admin, Rack, Server];

/// Status and text of the refusal that the table announces, if any.
fn refusal(route: &Route, who: Who) -> Option<(u16, &'static str)> {
    const UNKNOWN: (u16, &str) = (401, "invalid authentication");
    if route.whose == Whose::Anyone {
        return None;
    }
    let role = match who {
        Nobody | Wrong => return Some(UNKNOWN),
        Read => Role::Read,
        Write => Role::Write,
        OtherRack | Admin | Rack | Server => Role::Admin,
    };
    let needed = route.needs.expect("routes that are somebody's need a role");
    if role < needed {
        return Some(match route.refusal {
            Some(text) => (403, text),
            None => (401, "you are unauthorized to access this"),
        });
    }
    match (route.whose, who) {
        (Whose::Rack, OtherRack) => Some(UNKNOWN),
        (Whose::Server, Server) => None,
        (Whose::Server, _) => Some((
            403,
            "the server password is needed to make and remove racks",
        )),
        _ => None,
    }
}

/// A path with its variables replaced.
pub(crate) fn fill(path: &str, value: impl Fn(&str, &str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a variable ends");
        filled.push_str(before);
        let value = value(&filled, name.trim_start_matches('*'));
        filled.push_str(&value);
        rest = after;
    }
    filled + rest
}

/// Everything a rack keeps: rows, files, what the engine has.
fn state(world: &World) -> String {
    let mut state = String::new();
    for rack in ["staging", "production"] {
        let directory = world.rack_directory(rack);
        let database = rusqlite::Connection::open(directory.join("rack.db")).expect("a database");
        let mut tables = database
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            .expect("a query");
        let tables: Vec<String> = tables
            .query_map([], |row| row.get(0))
            .expect("tables")
            .collect::<Result<_, _>>()
            .expect("tables");
        for table in tables {
            let mut query = database
                .prepare(&format!("SELECT * FROM {table}"))
                .expect("a query");
            let width = query.column_count();
            let mut rows = query.query([]).expect("rows");
            while let Some(row) = rows.next().expect("a row") {
                let row: Vec<Value> = (0..width)
                    .map(|column| row.get(column).expect("a value"))
                    .collect();
                writeln!(state, "{rack} {table} {row:?}").expect("memory");
            }
        }
        for file in files_below(&directory.join("objects")) {
            writeln!(state, "{rack} {file}").expect("memory");
        }
    }
    state + &world.engine_state().to_string()
}

struct Scene {
    world: World,
    rack: Client,
    other: Client,
    build: String,
    release: String,
    process: String,
}

impl Scene {
    async fn new() -> Self {
        let world = World::empty().await;
        let rack = world.rack("staging").await;
        let other = world.rack("production").await;
        let release = rack.deploy("myapp").await;
        let field = |value: &serde_json::Value, name: &str| {
            value[name].as_str().expect("a text").to_owned()
        };
        let builds = rack.get("/apps/myapp/builds").await.json();
        let processes = rack.get("/apps/myapp/processes").await.json();
        rack.upload("/apps/myapp/objects/an/object", b"content")
            .await
            .json();
        token(&rack, "read").await;
        Self {
            build: field(&builds[0], "id"),
            process: field(&processes[0], "id"),
            release,
            world,
            rack,
            other,
        }
    }

    async fn client(&self, who: Who) -> Client {
        let of_role = async |role| presenting(&self.world, "jwt", &token(&self.rack, role).await);
        let client = match who {
            Nobody => self.world.stranger(),
            Wrong => self.world.with_password("wrong"),
            OtherRack => self.other.clone(),
            Read => of_role("read").await,
            Write => of_role("write").await,
            Admin => of_role("admin").await,
            Rack => self.rack.clone(),
            Server => self.world.server(),
        };
        client.with("Rack", "staging")
    }

    /// Names of what is there, so that a request that slips through does harm.
    fn present(&self, path: &str) -> String {
        fill(path, |before, name| {
            match (before.rsplit('/').nth(1).unwrap_or_default(), name) {
                (_, "app") => "myapp",
                (_, "service") => "web",
                (_, "pid") => &self.process,
                ("builds", "id") => &self.build,
                ("releases", "id") => &self.release,
                (_, "key") => "an/object",
                (_, "organization") => "personal",
                (_, "port") => "3000",
                (_, "host") => "web.myapp",
                _ => "staging",
            }
            .to_owned()
        })
    }

    async fn ask(&self, route: &Route, target: &str, client: &Client, form: &str) -> Outcome {
        if matches!(route.answer, Answer::Socket) {
            let headers = [("Follow", "false"), ("Command", "true")];
            let socket = client.socket(target, &headers).await;
            // A refused one may have been closed already.
            let _ = socket.writer.end().await;
            return Outcome::Stream(socket.rest().await);
        }
        let headers = [("Content-Type", FORM), ("Command", "true")];
        let answer = client
            .send(route.method.as_str(), target, &headers, form.as_bytes())
            .await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Outcome::Answer(answer.status, text)
    }
}

enum Outcome {
    Answer(u16, String),
    Stream(Stream),
}

#[tokio::test]
async fn whoever_may_not_is_refused_and_nothing_changes() {
    let scene = Scene::new().await;
    let before = state(&scene.world);
    let form = "name=mine&url=object://myapp/an/object&env=A=1&count=2&lock=true&app=myapp\
        &version=1&parameters=A%3D1&action=x&kind=webhook&server=x&username=x&password=x\
        &role=admin&durationInHour=1&domains=a.example&value=YQ%3D%3D&image=busybox";
    let mut refused = 0;
    for route in api::table() {
        let target = scene.present(route.path);
        for who in EVERYONE {
            let Some((status, text)) = refusal(&route, who) else {
                continue;
            };
            refused += 1;
            let client = scene.client(who).await;
            let what = format!("{} {target} by {who:?}", route.method);
            match scene.ask(&route, &target, &client, form).await {
                Outcome::Answer(found, _) if route.method == "HEAD" => {
                    assert_eq!(found, status, "{what}");
                }
                Outcome::Answer(found, said) => {
                    assert_eq!((found, said.trim_end()), (status, text), "{what}");
                }
                Outcome::Stream(stream) => {
                    assert!(stream.ended, "{what}");
                    let mut frames = stream.frames.iter();
                    let first = frames.next().expect("a refusal");
                    assert_eq!(first, format!("ERROR: {text}\n").as_bytes(), "{what}");
                    let rest: Vec<_> = frames.collect();
                    // Commands end with a status, so that scripts see the failure.
                    let is_command =
                        route.path.ends_with("/exec") || route.path.ends_with("/shell");
                    if is_command || !rest.is_empty() {
                        let marker = rack_api::exit_status::encode(1);
                        assert_eq!(rest, [marker.as_bytes()], "{what}");
                    }
                }
            }
        }
        assert_eq!(
            state(&scene.world),
            before,
            "{} {target} was refused and changed something",
            route.method
        );
    }
    assert!(refused > 100, "{refused}");
}

#[tokio::test]
async fn whoever_may_is_let_through() {
    let scene = Scene::new().await;
    for route in api::table() {
        // Nothing of these names exists, so that nothing is in the way of the next one.
        let target = fill(route.path, |_, name| {
            match name {
                "port" => "1",
                "organization" => "personal",
                _ => "nowhere",
            }
            .to_owned()
        });
        for who in EVERYONE {
            if refusal(&route, who).is_some() {
                continue;
            }
            let client = scene.client(who).await;
            let what = format!("{} {target} by {who:?}", route.method);
            let is_refusal = |text: &str| {
                let text = text.trim_start_matches("ERROR: ").trim_end();
                text.starts_with("invalid authentication")
                    || text.starts_with("you are unauthorized")
                    || text.starts_with("the server password is needed")
                    || Some(text) == route.refusal
            };
            match scene.ask(&route, &target, &client, "").await {
                Outcome::Answer(status, text) => {
                    assert!(!is_refusal(&text), "{what}: {text}");
                    assert!(status != 401 && status < 500, "{what}: {status} {text}");
                }
                Outcome::Stream(stream) => {
                    let first = stream.frames.first();
                    let first = first.map(|frame| String::from_utf8_lossy(frame).into_owned());
                    assert!(!is_refusal(&first.unwrap_or_default()), "{what}");
                }
            }
        }
    }
}

#[test]
fn the_table_is_consistent() {
    for route in api::table() {
        let name = format!("{} {}", route.method, route.path);
        assert_eq!(
            route.needs.is_none(),
            route.whose == Whose::Anyone,
            "{name}: open to everyone, or somebody's"
        );
        // Registry clients are refused in their own words before they log in.
        if route.path != "/check" && !route.path.starts_with("/v2") {
            assert_ne!(route.whose, Whose::Anyone, "{name} is open");
        }
        let reads = route.method == "GET" || route.method == "HEAD" || route.method == "OPTIONS";
        if !reads && route.needs.is_some() {
            assert!(route.needs >= Some(Role::Write), "{name} changes something");
        }
        let command = ["/exec", "/shell", "/console", "/run"]
            .iter()
            .any(|end| route.path.ends_with(end));
        if matches!(route.answer, Answer::Socket) && (command || route.path.starts_with("/proxy/"))
        {
            assert_eq!(route.needs, Some(Role::Write), "{name}");
            assert!(route.refusal.is_some(), "{name} has its own words");
        }
        assert!(!route.summary.is_empty(), "{name} says what it does");
    }
}
