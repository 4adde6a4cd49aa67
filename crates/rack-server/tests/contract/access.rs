//! Requests to an app in its log.

use super::engines::{Engine, on_both_engines};
use super::world::until;

on_both_engines!(requests_are_in_the_log_of_their_app_unless_it_says_no);

async fn requests_are_in_the_log_of_their_app_unless_it_says_no(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let host = world.stranger().with("Host", "web.myapp.staging.localhost");
    let lines = async || -> Vec<String> {
        let log = rack.log("myapp").await;
        let told = log.lines().filter(|line| line.contains(" router/web/"));
        told.map(str::to_owned).collect()
    };
    let target = "/?token=secret-sentinel";
    let answer = host
        .send("GET", target, &[("X-Header", "header-sentinel")], b"")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        host.get("/missing%20%1b").await.status / 100,
        if engine.is_docker() { 4 } else { 2 }
    );
    until("two lines", async || lines().await.len() == 2).await;
    let told = lines().await;
    let processes = rack.get("/apps/myapp/processes").await.json();
    let id = processes[0]["id"].as_str().expect("an id");
    let bytes = answer.body.len();
    assert!(
        told[0].contains(&format!(" router/web/{id} GET / HTTP/1.1 200 {bytes} ")),
        "{told:?}"
    );
    assert!(told[0].ends_with(" 127.0.0.1"), "{told:?}");
    assert!(
        told[1].contains(" GET /missing%20%1b HTTP/1.1 "),
        "{told:?}"
    );
    let log = rack.log("myapp").await;
    assert!(!log.contains("sentinel"), "{log}");
    // Switched off, and on again.
    let set = async |value: &str| {
        let form = format!("parameters=AccessLog%3D{value}");
        rack.put("/apps/myapp", &form).await.ok();
    };
    set("No").await;
    assert_eq!(
        host.get("/unseen").await.status / 100,
        if engine.is_docker() { 4 } else { 2 }
    );
    set("Yes").await;
    host.get("/seen").await;
    until("the last line", async || {
        lines().await.iter().any(|line| line.contains("/seen"))
    })
    .await;
    let told = lines().await;
    assert!(
        !told.iter().any(|line| line.contains("/unseen")),
        "{told:?}"
    );
    assert_eq!(told.len(), 3);
}
