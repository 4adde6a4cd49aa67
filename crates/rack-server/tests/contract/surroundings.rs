//! What a process finds around it: its command, its entrypoint, its first process, what it may
//! do, how it is told to stop, how much it may finish first (`convox-yml.md` §7,
//! `builds-releases-runtime.md` §3.4–§3.6).

use super::flow::text;
use super::world::{Client, until};

const MANIFEST: &str = "services:
  absent:
    build: .
    termination:
      grace: 5
  text:
    build: .
    command: one 'two words' $KIND
    environment: [KIND=three]
    termination:
      grace: 5
  list:
    build: .
    command: [one, two words, $KIND]
    environment: [KIND=three]
    termination:
      grace: 5
  started:
    build: .
    init: true
    termination:
      grace: 5
";
/// What comes on top for one that may do anything.
const MIGHTY: &str = "  mighty:
    build: .
    privileged: true
    termination:
      grace: 5
";
/// Says what it was started with, and how it was told to end.
const DOCKERFILE: &str = "FROM busybox:1.36
COPY . .
RUN chmod +x /entry
STOPSIGNAL SIGINT
ENTRYPOINT [\"/entry\"]
CMD [\"from\", \"the image\"]
";
const ENTRY: &str = "#!/bin/sh
for word; do echo \"word: $word\"; done
trap 'echo told to end by INT; exit 0' INT
trap 'echo told to end by TERM; exit 0' TERM
while true; do sleep 0.1; done
";

/// Id of the one process of a service.
async fn process(rack: &Client, service: &str) -> String {
    let path = format!("/apps/myapp/processes?service={service}");
    let list = rack.get(&path).await.json();
    text(&list[0], "id")
}

/// What the processes of a service have said, one line after the other.
fn said(log: &str, service: &str) -> Vec<String> {
    let stream = format!(" service/{service}/");
    log.lines()
        .filter(|line| line.contains(&stream))
        .map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned())
        .collect()
}

mod docker {
    use super::super::engines::Engine;
    use super::*;

    #[tokio::test]
    #[ignore = "needs Docker"]
    async fn commands_entrypoints_and_signals_are_those_of_manifest_and_image() {
        Engine::docker()
            .run(async |engine: Engine| {
                let (_world, rack) = engine.with_rack().await;
                rack.create("myapp").await;
                let files = [
                    ("convox.yml", MANIFEST),
                    ("Dockerfile", DOCKERFILE),
                    ("entry", ENTRY),
                ];
                let release = rack.release("myapp", &files).await;
                let app = rack.promote("myapp", &release).await;
                let log = rack.log("myapp").await;
                assert_eq!(text(&app, "release"), release, "{log}");
                let words = |words: &[&str]| -> Vec<String> {
                    words.iter().map(|word| format!("word: {word}")).collect()
                };
                // The image's entrypoint stays in any case; a text goes through a shell.
                assert_eq!(said(&log, "absent"), words(&["from", "the image"]));
                let shell = words(&["sh", "-c", "one 'two words' $KIND"]);
                assert_eq!(said(&log, "text"), shell);
                let list = words(&["one", "two words", "$KIND"]);
                assert_eq!(said(&log, "list"), list);

                let first = async |service: &str| {
                    let id = process(&rack, service).await;
                    let (status, name) = rack.exec("myapp", &id, "cat /proc/1/comm", b"").await;
                    assert_eq!(status, 0);
                    String::from_utf8(name).expect("text").trim().to_owned()
                };
                assert_eq!(first("started").await, "docker-init");
                assert_ne!(first("absent").await, "docker-init");
                let id = process(&rack, "absent").await;
                rack.delete(&format!("/apps/myapp/processes/{id}"))
                    .await
                    .ok();
                until("its last words", async || {
                    let log = rack.log("myapp").await;
                    said(&log, "absent").contains(&"told to end by INT".to_owned())
                })
                .await;
                let manifest = format!("{MANIFEST}{MIGHTY}");
                let files = [("convox.yml", &*manifest), files[1], files[2]];
                let release = rack.release("myapp", &files).await;
                let app = rack.promote("myapp", &release).await;
                if app["release"] != release.as_str() {
                    // Engines that may not do anything themselves are asked all the same.
                    let kept = rack.get(&format!("/apps/myapp/releases/{release}")).await;
                    let reason = text(&kept.json(), "reason");
                    assert!(reason.starts_with("mighty: could not start: "), "{reason}");
                    assert!(reason.contains("unable to apply caps"), "{reason}");
                    return;
                }
                let rights = async |service: &str| {
                    let id = process(&rack, service).await;
                    let command = "grep CapEff /proc/1/status";
                    let (_, line) = rack.exec("myapp", &id, command, b"").await;
                    let line = String::from_utf8(line).expect("text");
                    let rights = line.split_whitespace().nth(1).expect("a number");
                    u64::from_str_radix(rights, 16)
                        .expect("a number")
                        .count_ones()
                };
                assert!(rights("mighty").await > rights("absent").await);
            })
            .await;
    }

    /// Answers after three seconds what it is asked, and has a minute to do so.
    const SLOW: &str = "services:
  web:
    build: .
    port: 3000
    command: httpd -f -p 3000 -h /www
    health: {path: /ready, interval: 1}
    drain: 30
    termination:
      grace: 1
";
    const SLOW_DOCKERFILE: &str = "FROM busybox:1.36
COPY . .
RUN mkdir -p /www/cgi-bin && mv /slow /www/cgi-bin/slow && chmod +x /www/cgi-bin/slow && echo ok >/www/ready
CMD [\"true\"]
";
    const SLOW_SCRIPT: &str = "#!/bin/sh
echo begun >/proc/1/fd/1
sleep 3
printf 'Content-Type: text/plain\\r\\n\\r\\nslow but whole\\n'
";

    #[tokio::test]
    #[ignore = "needs Docker"]
    async fn a_request_under_way_is_answered_before_its_process_goes() {
        Engine::docker()
            .run(async |engine: Engine| {
                let (world, rack) = engine.with_rack().await;
                rack.create("myapp").await;
                let files = [
                    ("convox.yml", SLOW),
                    ("Dockerfile", SLOW_DOCKERFILE),
                    ("slow", SLOW_SCRIPT),
                ];
                let release = rack.release("myapp", &files).await;
                rack.promote("myapp", &release).await;
                let host = world.stranger().with("Host", "web.myapp.staging.localhost");
                let asking = tokio::spawn(async move { host.get("/cgi-bin/slow").await });
                until("the request to be under way", async || {
                    rack.log("myapp").await.contains("begun")
                })
                .await;
                let before = process(&rack, "web").await;
                rack.promote("myapp", &release).await;
                let answer = asking.await.expect("an answer");
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (200, "slow but whole\n")
                );
                until("the old process to go", async || {
                    let list = rack.get("/apps/myapp/processes").await.json();
                    let ids: Vec<_> = list.as_array().expect("a list").iter().collect();
                    ids.len() == 1 && ids[0]["id"] != before.as_str()
                })
                .await;
            })
            .await;
    }
}
