//! Environments, releases and what makes one the active one.

use serde_json::{Value, json};

use super::builds::SLOW;
use super::engines::{Engine, on_both_engines};
use super::flow::{DOCKERFILE, MANIFEST, PLAIN, at_rest, text};
use super::world::{Client, World, until};

on_both_engines!(
    environments_build_on_the_latest_release,
    builds_inherit_the_environment_and_releases_the_build,
    a_promote_replaces_what_runs,
    what_cannot_be_promoted_is_refused_at_once,
    required_environment_is_asked_for_before_anything_changes,
);

/// A release that never becomes healthy.
const SICK: &[(&str, &str)] = &[PLAIN[0], PLAIN[1], (".twinrack-faults", "never-healthy\n")];

fn descriptions(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|release| text(release, "description"))
        .collect()
}

/// Releases that the processes of an app run, without repetition.
pub(crate) async fn running(rack: &Client, app: &str) -> Vec<String> {
    let list = rack.get(&format!("/apps/{app}/processes")).await.json();
    let mut found: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| text(process, "release"))
        .collect();
    found.sort();
    found.dedup();
    found
}

async fn environments_build_on_the_latest_release(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let first = rack
        .set_env("myapp", "B=2\nA=x=y \nno pair\n=empty\n")
        .await;
    assert_eq!(first["env"], "A=x=y \nB=2");
    assert_eq!(
        (&first["build"], &first["manifest"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(first["description"], "env add:A add:B");
    let second = rack.set_env("myapp", "A=x=y \nB=3\nC=ünï").await;
    assert_eq!(second["description"], "env add:C change:B");
    let third = rack.set_env("myapp", "C=ünï").await;
    assert_eq!(third["description"], "env remove:A remove:B");
    let named = rack
        .post("/apps/myapp/releases", "description=mine&env=")
        .await
        .json();
    assert_eq!(
        (&named["description"], &named["env"]),
        (&json!("mine"), &json!(""))
    );
    // Without an environment the latest one stays.
    let form = format!("parent-release={}", text(&second, "id"));
    let of_parent = rack.post("/apps/myapp/releases", &form).await.json();
    assert_eq!(of_parent["env"], "A=x=y \nB=3\nC=ünï");

    let list = rack.get("/apps/myapp/releases").await.json();
    assert_eq!(list.as_array().map(Vec::len), Some(5));
    assert_eq!(list[0]["id"], of_parent["id"], "newest first");
    assert!(
        list.as_array()
            .expect("a list")
            .iter()
            .all(|release| release["env"] == ""),
        "secrets stay out of lists"
    );
    assert_eq!(
        rack.get("/apps/myapp/releases?limit=1")
            .await
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    let one = rack
        .get(&format!("/apps/myapp/releases/{}", text(&second, "id")))
        .await
        .json();
    assert_eq!(one["env"], "A=x=y \nB=3\nC=ünï");
    let created: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|release| text(release, "created"))
        .collect();
    let mut sorted = created.clone();
    sorted.sort();
    sorted.dedup();
    sorted.reverse();
    assert_eq!(created, sorted, "every moment is used once");

    rack.get("/apps/myapp/releases/RAAAAAAAAAA")
        .await
        .fails(404, "release not found: RAAAAAAAAAA");
    rack.post("/apps/myapp/releases", "build=BAAAAAAAAAA")
        .await
        .fails(404, "build not found: BAAAAAAAAAA");
    rack.post("/apps/myapp/releases", "parent-release=RAAAAAAAAAA")
        .await
        .fails(404, "release not found: RAAAAAAAAAA");
}

async fn builds_inherit_the_environment_and_releases_the_build(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.set_env("myapp", "A=1").await;
    let (build, _) = rack.build("myapp", PLAIN).await;
    let release = rack
        .get(&format!("/apps/myapp/releases/{}", text(&build, "release")))
        .await
        .json();
    assert_eq!(
        (&release["env"], &release["manifest"]),
        (&json!("A=1"), &json!(MANIFEST))
    );
    let next = rack.set_env("myapp", "A=2").await;
    assert_eq!(
        (&next["build"], &next["manifest"]),
        (&build["id"], &json!(MANIFEST))
    );
    let list = rack.get("/apps/myapp/releases").await.json();
    assert_eq!(descriptions(&list), ["env change:A", "", "env add:A"]);
}

async fn a_promote_replaces_what_runs(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let first = rack.deploy("myapp").await;
    assert_eq!(running(&rack, "myapp").await, std::slice::from_ref(&first));
    let second = text(&rack.set_env("myapp", "GREETING=bye").await, "id");
    let app = rack.promote("myapp", &second.to_lowercase()).await;
    assert_eq!(app["release"], json!(second));
    until("the old process to go", async || {
        running(&rack, "myapp").await == [second.clone()]
    })
    .await;
    let log = rack.log("myapp").await;
    let system: Vec<_> = log
        .lines()
        .filter(|line| {
            line.split(' ')
                .nth(1)
                .is_some_and(|stream| stream.starts_with("system/"))
        })
        .collect();
    assert!(
        system.iter().all(|line| line.split(' ').count() >= 3),
        "{log}"
    );
    for said in [
        "promoting release",
        "started for release",
        "healthy",
        "is active",
    ] {
        assert!(
            system.iter().any(|line| line.contains(said)),
            "{said}: {log}"
        );
    }
    // A build's id promotes its release; the active one may be promoted again.
    let (build, _) = rack.build("myapp", PLAIN).await;
    let app = rack.promote("myapp", &text(&build, "id")).await;
    assert_eq!(app["release"], build["release"]);
    let app = rack.promote("myapp", &text(&build, "release")).await;
    assert_eq!(app["release"], build["release"]);
}

async fn what_cannot_be_promoted_is_refused_at_once(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let promote = async |release: &str, form: &str| {
        rack.post(&format!("/apps/myapp/releases/{release}/promote"), form)
            .await
    };
    promote("RAAAAAAAAAA", "")
        .await
        .fails(404, "release not found: RAAAAAAAAAA");
    let empty = text(&rack.set_env("myapp", "A=1").await, "id");
    promote(&empty, "")
        .await
        .fails(400, "can not promote a release with an empty manifest");
    let first = rack.release("myapp", PLAIN).await;
    let second = rack.release("myapp", PLAIN).await;
    promote(&first, "timeout=soon")
        .await
        .fails(400, "strconv.Atoi: parsing \"soon\": invalid syntax");
    rack.promote("myapp", &second).await;
    promote(&first, "")
        .await
        .fails(400, "can not promote an older release, try rollback");
    promote(&first, "force=true")
        .await
        .fails(400, "can not promote an older release, try rollback");
    promote(&empty, "")
        .await
        .fails(400, "can not promote a release with an empty manifest");
    assert_eq!(
        rack.get("/apps/myapp").await.json()["release"],
        json!(second)
    );
    // Rollback: a new release of the old build.
    let build = text(
        &rack
            .get(&format!("/apps/myapp/releases/{first}"))
            .await
            .json(),
        "build",
    );
    let back = rack
        .post("/apps/myapp/releases", &format!("build={build}&env="))
        .await
        .json();
    assert_eq!(
        rack.promote("myapp", &text(&back, "id")).await["release"],
        back["id"]
    );
}

#[tokio::test]
async fn a_release_that_never_gets_healthy_is_rolled_back() {
    let (_world, rack) = World::with_rack().await;
    let first = rack.deploy("myapp").await;
    let before = at_rest(rack.get("/apps/myapp/processes").await.json());
    for (fault, reason) in [
        (
            "never-healthy",
            "did not become healthy within 2 seconds: GET / answered 503",
        ),
        ("crash-loop", "exited with status 1"),
    ] {
        let files = [PLAIN[0], PLAIN[1], (".twinrack-faults", fault)];
        let release = rack.release("myapp", &files).await;
        rack.post(
            &format!("/apps/myapp/releases/{release}/promote"),
            "timeout=1",
        )
        .await
        .ok();
        let app = rack.settled("myapp").await;
        assert_eq!(app["release"], json!(first), "{fault}");
        assert_eq!(
            at_rest(rack.get("/apps/myapp/processes").await.json()),
            before,
            "the old one kept serving"
        );
        let kept = rack
            .get(&format!("/apps/myapp/releases/{release}"))
            .await
            .json();
        assert!(text(&kept, "reason").contains(reason), "{kept}");
        let log = rack.log("myapp").await;
        assert!(
            log.contains(&format!("release {release} was rolled back: web: process ")),
            "{log}"
        );
        assert!(log.contains("rolling back"), "{log}");
    }
    assert!(
        rack.log("myapp")
            .await
            .contains("  | simulated fault crash-loop"),
        "the last lines of the failed process"
    );
    let good = rack.release("myapp", PLAIN).await;
    assert_eq!(rack.promote("myapp", &good).await["release"], json!(good));
}

#[tokio::test]
async fn promotes_of_one_app_take_turns() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let sick = rack.release("myapp", SICK).await;
    let good = rack.release("myapp", PLAIN).await;
    rack.post(&format!("/apps/myapp/releases/{sick}/promote"), "")
        .await
        .ok();
    assert_eq!(rack.get("/apps/myapp").await.json()["status"], "updating");
    let promote = format!("/apps/myapp/releases/{good}/promote");
    rack.post(&promote, "")
        .await
        .fails(403, "app is currently updating");
    rack.post(&promote, "force=false")
        .await
        .fails(403, "app is currently updating");
    rack.post(&promote, "force=true").await.ok();
    // The answer to a wait is the end of the last of them.
    let app = rack.settled("myapp").await;
    assert_eq!(app["release"], json!(good));
    let log = rack.log("myapp").await;
    let end = log
        .find(&format!("release {sick} was rolled back"))
        .expect("the first one's end");
    let begin = log
        .find(&format!("promoting release {good}"))
        .expect("the second one's begin");
    assert!(end < begin, "{log}");
    // A finished promote takes two checks of health, so this one cannot be over yet.
    assert_eq!(running(&rack, "myapp").await, [good]);
}

#[tokio::test]
async fn cancel_brings_the_old_release_back() {
    let (_world, rack) = World::with_rack().await;
    let first = rack.deploy("myapp").await;
    let files = [PLAIN[0], PLAIN[1], (".twinrack-faults", "slow-start-60000")];
    let slow = rack.release("myapp", &files).await;
    let promote = format!("/apps/myapp/releases/{slow}/promote");
    rack.post(&promote, "timeout=60").await.ok();
    rack.post(&promote, "timeout=60&force=true").await.ok();
    rack.post("/apps/myapp/cancel", "").await.ok();
    let app = rack.settled("myapp").await;
    assert_eq!(app["release"], json!(first));
    assert!(
        rack.log("myapp")
            .await
            .contains("the promote was cancelled")
    );
    until("only the old one to run", async || {
        running(&rack, "myapp").await == [first.clone()]
    })
    .await;
    // Cancelling has no effect on what comes later.
    let good = rack.release("myapp", PLAIN).await;
    assert_eq!(rack.promote("myapp", &good).await["release"], json!(good));
}

#[tokio::test]
async fn cancelling_a_scale_does_not_hit_the_next_promote() {
    let (_world, rack) = World::with_rack().await;
    rack.deploy("myapp").await;
    rack.put("/apps/myapp/services/web", "count=3").await.ok();
    rack.post("/apps/myapp/cancel", "")
        .await
        .fails(403, "a scale cannot be cancelled: scale the service back");
    rack.settled("myapp").await;
    let good = rack.release("myapp", PLAIN).await;
    assert_eq!(rack.promote("myapp", &good).await["release"], json!(good));
}

#[tokio::test]
async fn a_wait_ends_when_the_app_has_settled() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let sick = rack.release("myapp", SICK).await;
    rack.post(
        &format!("/apps/myapp/releases/{sick}/promote"),
        "timeout=60",
    )
    .await
    .ok();
    let early = rack.get("/apps/myapp?settled=50ms").await.json();
    assert_eq!(early["status"], "updating", "the time was over first");
    let waiting = {
        let rack = rack.clone();
        tokio::spawn(async move { rack.get("/apps/myapp?settled=30s").await.json() })
    };
    rack.post("/apps/myapp/cancel", "").await.ok();
    let app = waiting.await.expect("an answer");
    assert_eq!(
        (&app["status"], &app["release"]),
        (&json!("running"), &json!(""))
    );
    // A wait for an app that goes away ends with that.
    rack.post(
        &format!("/apps/myapp/releases/{sick}/promote"),
        "timeout=60",
    )
    .await
    .ok();
    let waiting = {
        let rack = rack.clone();
        tokio::spawn(async move { rack.get("/apps/myapp?settled=30s").await })
    };
    rack.delete("/apps/myapp").await.ok();
    let answer = waiting.await.expect("an answer");
    assert!(
        answer.status == 404 || answer.json()["status"] == "running",
        "{answer:?}"
    );
}

async fn required_environment_is_asked_for_before_anything_changes(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let first = rack.deploy("myapp").await;
    let manifest = MANIFEST.replace("  - GREETING=hello\n", "  - SECRET_KEY\n");
    rack.set_env("myapp", "SECRET_KEY=here").await;
    let release = rack
        .release(
            "myapp",
            &[("convox.yml", &manifest), ("Dockerfile", DOCKERFILE)],
        )
        .await;
    let without = text(&rack.set_env("myapp", "").await, "id");
    let answer = rack
        .post(&format!("/apps/myapp/releases/{without}/promote"), "")
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("SECRET_KEY") && answer.text().lines().count() == 1,
        "{}",
        answer.text()
    );
    let app = rack.get("/apps/myapp").await.json();
    assert_eq!(
        (&app["status"], &app["release"]),
        (&json!("running"), &json!(first))
    );
    assert_eq!(
        rack.promote("myapp", &release).await["release"],
        json!(release)
    );
}

#[tokio::test]
async fn builds_go_on_while_a_promote_is_under_way() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let sick = rack.release("myapp", SICK).await;
    rack.post(&format!("/apps/myapp/releases/{sick}/promote"), "")
        .await
        .ok();
    let (build, log) = rack.build("myapp", PLAIN).await;
    assert_eq!(build["status"], "complete", "{log}");
    let slow = text(&rack.start_build("myapp", SLOW).await, "id");
    rack.post("/apps/myapp/cancel", "").await.ok();
    rack.settled("myapp").await;
    // The promote was what the cancel was for.
    assert_eq!(
        rack.get(&format!("/apps/myapp/builds/{slow}")).await.json()["status"],
        "running"
    );
    rack.post("/apps/myapp/cancel", "").await.ok();
    let log = rack
        .stream(&format!("/apps/myapp/builds/{slow}/logs"), &[])
        .await
        .text();
    assert!(log.ends_with("ERROR: the build was cancelled\n"), "{log}");
}
