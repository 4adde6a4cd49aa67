//! Builds that are copied between racks of a server: by reference, with leave.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::engines::{Engine, on_both_engines};
use super::flow::{MANIFEST, PLAIN, text};
use super::world::{Answer, Client, World, until};

on_both_engines!(
    a_copy_is_the_same_bits_and_a_build_of_its_own,
    an_image_that_was_pruned_is_not_copied,
    a_copy_keeps_the_last_hop_and_the_first,
    what_leaves_is_what_was_built_wherever_its_name_leads,
    layers_that_the_app_has_need_not_be_sent,
    layers_that_go_while_the_archive_comes_are_missed,
);

/// Leave to copy a build.
pub(crate) async fn ticket(rack: &Client, app: &str, build: &str) -> String {
    let answer = rack
        .get(&format!("/apps/{app}/builds/{build}/ticket"))
        .await
        .json();
    text(&answer, "ticket")
}

/// Copies a build from one rack to another.
async fn copy(from: &Client, to: &Client, app: &str, build: &Value) -> Value {
    let ticket = ticket(from, app, &text(build, "id")).await;
    to.post(
        &format!("/apps/{app}/builds/copy"),
        &format!("ticket={ticket}"),
    )
    .await
    .json()
}

async fn built(rack: &Client, app: &str) -> Value {
    rack.create(app).await;
    let (build, log) = rack.build(app, PLAIN).await;
    assert_eq!(build["status"], "complete", "{log}");
    build
}

/// The app has come by nothing.
async fn has_nothing(world: &World, rack: &Client, name: &str, app: &str) {
    let builds = rack.get(&format!("/apps/{app}/builds")).await.json();
    assert_eq!(builds, json!([]));
    let releases = rack.get(&format!("/apps/{app}/releases")).await.json();
    assert_eq!(releases, json!([]));
    assert_eq!(world.tags(name, app).await, Vec::<String>::new());
    let objects = world.rack_directory(name).join("objects");
    assert_eq!(super::world::files_below(&objects), Vec::<String>::new());
}

async fn a_copy_is_the_same_bits_and_a_build_of_its_own(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let build = built(&staging, "myapp").await;
    production.create("myapp").await;
    let copied = copy(&staging, &production, "myapp", &build).await;
    assert_eq!(copied["status"], "complete");
    assert_eq!(copied["images"], build["images"]);
    assert_eq!(copied["manifest"], build["manifest"]);
    assert_eq!(copied["entrypoint"], build["entrypoint"]);
    assert_ne!(copied["id"], build["id"]);
    assert_ne!(copied["release"], build["release"]);
    let from = &copied["provenance"];
    assert_eq!(
        from,
        &json!({
            "app": "myapp", "build": build["id"], "rack": "personal/staging",
            "imported": copied["ended"], "images-present": true,
        })
    );
    let log = production
        .stream(
            &format!("/apps/myapp/builds/{}/logs", text(&copied, "id")),
            &[],
        )
        .await
        .text();
    let digest = text(&build["images"], "web");
    let expected = format!(
        "Copied build {} of app myapp from personal/staging\nVerified web: {digest}\n",
        text(&build, "id")
    );
    assert_eq!(log, expected);
    assert_eq!(world.tags("production", "myapp").await.len(), 1);

    // The one does not need the other any more.
    staging.delete("/apps/myapp").await.ok();
    assert_eq!(world.tags("staging", "myapp").await.len(), 0);
    let release = text(&copied, "release");
    let app = production.promote("myapp", &release).await;
    assert_eq!(app["release"], json!(release));
    let shown = production
        .get(&format!("/apps/myapp/releases/{release}"))
        .await
        .json();
    assert_eq!(
        (&shown["provenance"], &shown["images"]),
        (from, &build["images"])
    );
}

async fn an_image_that_was_pruned_is_not_copied(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let build = built(&staging, "myapp").await;
    production.create("myapp").await;
    let tag = world.tags("staging", "myapp").await.remove(0);
    let data = world.stop().await;
    engine.prune(data.path(), &tag).await;
    let world = engine.open(data, "").await;
    let at = |client: &Client| Client {
        address: world.address,
        ..client.clone()
    };
    let (staging, production) = (at(&staging), at(&production));
    let ticket = ticket(&staging, "myapp", &text(&build, "id")).await;
    production
        .post("/apps/myapp/builds/copy", &format!("ticket={ticket}"))
        .await
        .fails(
            500,
            "cannot copy: the engine no longer has the image of service web: build it again",
        );
    has_nothing(&world, &production, "production", "myapp").await;
}

async fn what_leaves_is_what_was_built_wherever_its_name_leads(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    production.create("myapp").await;
    let other = built(&staging, "other").await;
    staging.create("myapp").await;
    let files = [PLAIN[0], PLAIN[1], ("different.txt", "yes")];
    let (build, log) = staging.build("myapp", &files).await;
    assert_eq!(build["status"], "complete", "{log}");
    assert_ne!(build["images"], other["images"]);
    let name = world.tags("staging", "myapp").await.remove(0);
    let elsewhere = world.tags("staging", "other").await.remove(0);
    // Another name keeps the image, as that of another rack's copy would.
    let copied = copy(&staging, &production, "myapp", &build).await;
    let data = world.stop().await;
    engine.retag(data.path(), &elsewhere, &name).await;
    let world = engine.open(data, "").await;
    let at = |client: &Client| Client {
        address: world.address,
        ..client.clone()
    };
    let (staging, production) = (at(&staging), at(&production));
    let again = copy(&staging, &production, "myapp", &build).await;
    assert_eq!(again["images"], copied["images"]);
    let target = format!("/apps/myapp/builds/{}.tgz", text(&build, "id"));
    let archive = staging.get(&target).await.body;
    let limits = artifact::Limits::default();
    let contents = artifact::verify(archive.as_slice(), &limits).expect("an archive");
    let digest = contents.services["web"].config_digest.as_str();
    assert_eq!(json!(digest), build["images"]["web"]);
}

async fn a_copy_keeps_the_last_hop_and_the_first(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let late = world.rack("late").await;
    let build = built(&staging, "myapp").await;
    production.create("myapp").await;
    late.create("myapp").await;
    let second = copy(&staging, &production, "myapp", &build).await;
    let third = copy(&production, &late, "myapp", &second).await;
    let first = json!({ "rack": "personal/staging", "app": "myapp", "build": build["id"] });
    let hop = |build: &Value| {
        let from = &build["provenance"];
        json!({ "rack": from["rack"], "app": from["app"], "build": from["build"] })
    };
    assert_eq!(second["provenance"].get("origin"), None);
    assert_eq!(
        hop(&third),
        json!({ "rack": "personal/production", "app": "myapp", "build": second["id"] })
    );
    assert_eq!(third["provenance"]["origin"], first);
    // An archive carries it on.
    let archive = late
        .get(&format!("/apps/myapp/builds/{}.tgz", text(&third, "id")))
        .await
        .body;
    let mut known = Value::Null;
    for round in 0..2 {
        let imported = production
            .upload("/apps/myapp/builds/import", &archive)
            .await
            .json();
        assert_eq!(
            hop(&imported),
            json!({ "rack": "personal/late", "app": "myapp", "build": third["id"] })
        );
        let from = &imported["provenance"];
        assert_eq!(from["origin"], first);
        assert!(text(from, "archive").starts_with("sha256:"), "{from}");
        // The engine had the images all the time; the archive comes again the second time.
        assert_eq!(from["images-present"], true);
        let before = from.get("imported-before").unwrap_or(&Value::Null);
        assert_eq!(before, &known, "round {round}");
        known = imported["id"].clone();
    }
}

/// What is said when layers that were left out of an archive are not there.
const VANISHED: &str = "cannot import: the rack has not the layers that were left out of service web; \
                        send the whole archive";

/// Layers of all images of a build that a rack's images have too.
fn in_common(ticket: &Value, had: &Value) -> Vec<String> {
    let layers = ticket["layers"]["web"].as_array().expect("layers");
    let had = had.as_array().expect("a list").iter();
    let shared = had.map(|other| {
        let pairs = other.as_array().expect("layers").iter().zip(layers);
        pairs.take_while(|(one, other)| one == other).count()
    });
    let names = layers[..shared.max().unwrap_or(0)].iter();
    names
        .map(|layer| layer.as_str().expect("a digest").to_owned())
        .collect()
}

/// An app whose rack has an image with some of the layers of its next build.
struct InCommon {
    /// What it has become on the other rack.
    imported: Value,
    /// The next build.
    next: Value,
    /// Layers of that which the other rack has.
    layers: Vec<String>,
}

impl InCommon {
    async fn new(staging: &Client, production: &Client) -> Self {
        let build = built(staging, "myapp").await;
        let whole = archive(staging, &build, "").await;
        let import = "/apps/myapp/builds/import";
        let imported = production.upload(import, &whole).await.json();
        let files = [PLAIN[0], PLAIN[1], ("more", "of it")];
        let (next, log) = staging.build("myapp", &files).await;
        assert_eq!(next["status"], "complete", "{log}");
        let path = format!("/apps/myapp/builds/{}/ticket", text(&next, "id"));
        let ticket = staging.get(&path).await.json();
        let had = production.get("/apps/myapp/layers").await.json();
        let layers = in_common(&ticket, &had);
        let all = ticket["layers"]["web"].as_array().expect("layers").len();
        assert!(
            !layers.is_empty() && layers.len() < all,
            "{layers:?} of {all}"
        );
        Self {
            imported,
            next,
            layers,
        }
    }

    /// Has the next build exported without those layers.
    fn without(&self) -> String {
        format!("?without={}", self.layers.join(","))
    }
}

/// The archive of a build.
async fn archive(rack: &Client, build: &Value, query: &str) -> Vec<u8> {
    exported(rack, build, query).await.body
}

async fn exported(rack: &Client, build: &Value, query: &str) -> Answer {
    let id = text(build, "id");
    rack.get(&format!("/apps/myapp/builds/{id}.tgz{query}"))
        .await
}

async fn layers_that_the_app_has_need_not_be_sent(engine: Engine) {
    let (near, staging) = engine.with_rack().await;
    let far = engine.empty().await;
    let production = far.rack("production").await;
    let late = far.rack("late").await;
    for (rack, app) in [
        (&production, "myapp"),
        (&production, "other"),
        (&late, "myapp"),
    ] {
        rack.create(app).await;
        let had = rack.get(&format!("/apps/{app}/layers")).await;
        assert_eq!(had.json(), json!([]));
    }
    let nobody = production.get("/apps/nobody/layers").await;
    nobody.fails(404, "app not found: nobody");
    let shared = InCommon::new(&staging, &production).await;
    let (next, without) = (&shared.next, shared.without());
    let export = async |query: &str| exported(&staging, next, query).await;
    let thin = export(&without).await.body;
    let whole = export("").await.body;
    assert!(thin.len() < whole.len(), "{} < {}", thin.len(), whole.len());

    // What is not a digest is refused, what is not in the build left alone.
    export("?without=x").await.fails(
        400,
        "\"x\" is not a digest: expected sha256: and 64 lower-case hexadecimal digits",
    );
    export(&format!("{without}&format=v2")).await.fails(
        400,
        "layers can be left out of the default format only, not of v2",
    );
    let strange = format!("?without=sha256:{}", "0".repeat(64));
    assert_eq!(export(&strange).await.body, whole);

    // What is neither yes nor no is not guessed.
    let maybe = "/apps/myapp/builds/import?thin=maybe";
    production
        .upload(maybe, b"")
        .await
        .fails(400, "thin must be true or false, not \"maybe\"");

    // It is no archive for those who were not asked, nor for a rack without the layers,
    // whatever else is on its engine.
    let refused = production.upload("/apps/myapp/builds/import", &thin).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    late.upload("/apps/myapp/builds/import?thin=true", &thin)
        .await
        .fails(409, VANISHED);
    assert_eq!(far.tags("late", "myapp").await, Vec::<String>::new());
    assert_eq!(far.tags("production", "myapp").await.len(), 1);
    for rack in ["production", "late"] {
        let scratch = far.rack_directory(rack).join("tmp");
        assert_eq!(super::world::files_below(&scratch), Vec::<String>::new());
    }
    // Cut anywhere, it is nothing.
    for sixteenth in 0..16 {
        let cut = &thin[..thin.len() * sixteenth / 16];
        let answer = production
            .upload("/apps/myapp/builds/import?thin=true", cut)
            .await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }

    // The engine, which may be the same, has the image no more: it is loaded, without
    // the layers that are there by the other build.
    staging.delete("/apps/myapp").await.ok();
    let digest = text(&next["images"], "web");
    until("the image to be gone", async || {
        !far.has_image(&digest).await
    })
    .await;
    let imported = production
        .upload("/apps/myapp/builds/import?thin=true", &thin)
        .await
        .json();
    assert_eq!(imported["images"], next["images"]);
    assert_eq!(imported["provenance"].get("images-present"), None);
    assert_eq!(imported["provenance"]["build"], next["id"]);
    let release = text(&imported, "release");
    let app = production.promote("myapp", &release).await;
    assert_eq!(app["release"], json!(release));
    // Another app of the rack can have them too.
    let foreign = production
        .upload("/apps/other/builds/import?force=true&thin=true", &thin)
        .await
        .json();
    assert_eq!(foreign["images"], next["images"]);
    // A whole one is as good.
    let again = production
        .upload("/apps/myapp/builds/import?thin=true", &whole)
        .await
        .json();
    assert_eq!(again["images"], next["images"]);
    drop(near);
}

async fn layers_that_go_while_the_archive_comes_are_missed(engine: Engine) {
    let (_near, staging) = engine.with_rack().await;
    let far = engine.empty().await;
    let production = far.rack("production").await;
    production.create("myapp").await;
    let shared = InCommon::new(&staging, &production).await;
    let (before, next) = (&shared.imported, &shared.next);
    let thin = archive(&staging, next, &shared.without()).await;
    let (first, rest) = thin.split_at(thin.len() / 2);

    let stream = tokio::net::TcpStream::connect(production.address).await;
    let mut stream = stream.expect("a connection");
    let head = format!(
        "POST /apps/myapp/builds/import?thin=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        production.headers[0].1,
        thin.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(first).await.expect("sent");
    let scratch = far.rack_directory("production").join("tmp");
    until("the archive to be received", async || {
        !super::world::files_below(&scratch).is_empty()
    })
    .await;
    let gone = format!("/apps/myapp/builds/{}", text(before, "id"));
    production.delete(&gone).await.json();
    stream.write_all(rest).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(answer.contains(VANISHED), "{answer}");
    has_nothing(&far, &production, "production", "myapp").await;
    assert_eq!(super::world::files_below(&scratch), Vec::<String>::new());

    // Which is why the client sends everything then.
    let whole = archive(&staging, next, "").await;
    let imported = production
        .upload("/apps/myapp/builds/import", &whole)
        .await
        .json();
    assert_eq!(imported["images"], next["images"]);
}

#[tokio::test]
async fn leave_is_for_one_build_of_one_rack() {
    let (world, staging) = World::with_rack().await;
    let production = world.rack("production").await;
    let build = built(&staging, "myapp").await;
    let id = text(&build, "id");
    production.create("myapp").await;
    let path = format!("/apps/myapp/builds/{id}/ticket");
    // Not with the password of another rack, nor for a build of another one.
    production
        .with("Rack", "staging")
        .get(&path)
        .await
        .fails(401, "invalid authentication");
    production
        .get(&path)
        .await
        .fails(404, &format!("build not found: {id}"));
    let ticket = ticket(&staging, "myapp", &id).await;
    // The ticket is no key to the target.
    let target = "/apps/myapp/builds/copy";
    let form = format!("ticket={ticket}");
    staging
        .with("Rack", "production")
        .post(target, &form)
        .await
        .fails(401, "invalid authentication");
    has_nothing(&world, &production, "production", "myapp").await;
    production
        .post(target, "")
        .await
        .fails(400, "ticket is required");
    let unknown = "cannot copy: the ticket is not of this server, or of before it was started";
    for bad in ["x", "x.y", &ticket[1..], &ticket[..ticket.len() - 4]] {
        production
            .post(target, &format!("ticket={bad}"))
            .await
            .fails(421, unknown);
    }
    let elsewhere = World::empty().await;
    let far = elsewhere.rack("production").await;
    far.create("myapp").await;
    far.post(target, &form).await.fails(421, unknown);
    has_nothing(&elsewhere, &far, "production", "myapp").await;
    has_nothing(&world, &production, "production", "myapp").await;

    // Not even a rack of the same name has what the ticket was for.
    world.server().delete("/racks/staging").await.ok();
    let again = world.rack("staging").await;
    built(&again, "myapp").await;
    production
        .post(target, &form)
        .await
        .fails(404, "cannot copy: rack staging is gone");
    has_nothing(&world, &production, "production", "myapp").await;
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused() {
    let (world, staging) = World::with_rack().await;
    let production = world.rack("production").await;
    let build = built(&staging, "myapp").await;
    let id = text(&build, "id");
    let ticket = ticket(&staging, "myapp", &id).await;
    let form = format!("ticket={ticket}");
    production
        .post("/apps/myapp/builds/copy", &form)
        .await
        .fails(404, "app not found: myapp");
    staging.post("/apps/myapp/builds/copy", &form).await.fails(
        400,
        &format!("cannot copy: build {id} is of app myapp of this rack already"),
    );
    production.create("other").await;
    production
        .post("/apps/other/builds/copy", &form)
        .await
        .fails(
            400,
            "cannot copy: it is a build of app myapp, not of other; to copy it nevertheless use --force, \
             or first `convox apps params set ImportFrom=myapp -a other`",
        );
    has_nothing(&world, &production, "production", "other").await;
    // Unless it is said twice, also on the same rack.
    staging.create("other").await;
    for rack in [&production, &staging] {
        let copied = rack
            .post("/apps/other/builds/copy", &format!("{form}&force=true"))
            .await
            .json();
        assert_eq!(
            (&copied["app"], &copied["images"]),
            (&json!("other"), &build["images"])
        );
        assert_eq!(copied["provenance"]["app"], "myapp");
    }

    let failing = [
        ("convox.yml", MANIFEST),
        ("Dockerfile", "FROM busybox:1.36\nRUN false\n"),
    ];
    let (failed, _) = staging.build("myapp", &failing).await;
    let failed = text(&failed, "id");
    let ticket = super::copies::ticket(&staging, "myapp", &failed).await;
    production
        .post(
            "/apps/other/builds/copy",
            &format!("ticket={ticket}&force=true"),
        )
        .await
        .fails(
            409,
            &format!("cannot copy: build {failed} is failed, only complete builds can be copied"),
        );
}

#[tokio::test]
async fn a_copy_tells_what_environment_is_missing() {
    let (world, staging) = World::with_rack().await;
    let production = world.rack("production").await;
    let manifest = MANIFEST.replace(
        "  - GREETING=hello\n",
        "  - GREETING=hello\n  - ZEBRA\n  - SECRET_KEY\n",
    );
    staging.create("myapp").await;
    staging.set_env("myapp", "SECRET_KEY=s\nZEBRA=z").await;
    let files = [("convox.yml", manifest.as_str()), PLAIN[1]];
    let (build, log) = staging.build("myapp", &files).await;
    assert_eq!(build["status"], "complete", "{log}");
    production.create("myapp").await;
    production.set_env("myapp", "ZEBRA=z").await;
    let copied = copy(&staging, &production, "myapp", &build).await;
    assert_eq!(copied["missing-environment"], json!(["SECRET_KEY"]));
    assert!(!copied.to_string().contains("SECRET_KEY=s"));
    let promote = format!("/apps/myapp/releases/{}/promote", text(&copied, "release"));
    let promoted = production.post(&promote, "").await;
    assert_eq!(promoted.status, 400);
    assert!(
        promoted.text().contains("SECRET_KEY"),
        "{}",
        promoted.text()
    );
}

/// Two engines of one server hold different images.
#[tokio::test]
#[ignore = "needs Docker"]
async fn nothing_is_copied_between_engines() {
    Engine::docker().run(between_engines).await;
}

async fn between_engines(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let made = world
        .server()
        .post("/racks", "name=production&engine=simulated")
        .await
        .json();
    let production = world.with_password(&text(&made, "password"));
    let build = built(&staging, "myapp").await;
    production.create("myapp").await;
    let id = text(&build, "id");
    let ticket = ticket(&staging, "myapp", &id).await;
    production
        .post("/apps/myapp/builds/copy", &format!("ticket={ticket}"))
        .await
        .fails(
            421,
            "cannot copy: rack staging is on another engine; export the build and import it",
        );
    let archive = staging.get(&format!("/apps/myapp/builds/{id}.tgz")).await;
    let imported = production
        .upload("/apps/myapp/builds/import", &archive.body)
        .await
        .json();
    assert_eq!(imported["images"], build["images"]);
    assert_eq!(imported["provenance"].get("images-present"), None);
}

/// Deleted in every moment of a copy, an app is gone wholly.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_never_lands_in_a_deleted_app() {
    let (world, rack) = World::with_rack().await;
    let build = built(&rack, "myapp").await;
    let id = text(&build, "id");
    for round in 0..8 {
        rack.create("target").await;
        let copying = {
            let (rack, ticket) = (rack.clone(), ticket(&rack, "myapp", &id).await);
            tokio::spawn(async move {
                let form = format!("ticket={ticket}&force=true");
                rack.post("/apps/target/builds/copy", &form).await
            })
        };
        // Another moment each time.
        for _ in 0..round * 4 {
            tokio::task::yield_now().await;
        }
        rack.delete("/apps/target").await.ok();
        let answer = copying.await.expect("an answer");
        assert!([200, 403, 404, 409].contains(&answer.status), "{answer:?}");
        assert_eq!(
            world.tags("staging", "target").await,
            Vec::<String>::new(),
            "{}",
            answer.text()
        );
        rack.create("target").await;
        assert_eq!(rack.get("/apps/target/builds").await.json(), json!([]));
        rack.delete("/apps/target").await.ok();
    }
}
