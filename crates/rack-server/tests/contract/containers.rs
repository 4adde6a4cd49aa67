//! What version 3 says of containers, at work: configs that are files, directories, init
//! containers, hooks, rights, startup probes, labels (`convox-yml.md` §16).

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::Client;

on_both_engines!(
    configs_are_files_of_every_process,
    an_init_container_runs_before_each_process,
    hooks_run_after_the_start_and_before_the_end,
    a_startup_probe_comes_first,
);

const SERVICE: &str = "services:
  web:
    build: .
    command: sleep 100000
    termination:
      grace: 1
";

/// A manifest with the service and what is said of it besides.
fn manifest(top: &str, body: &str) -> String {
    let lines: Vec<_> = body.lines().map(|line| format!("    {line}\n")).collect();
    format!("{top}\n{SERVICE}{}", lines.concat())
}

/// Promotes a release of a manifest; the release.
async fn deploy(rack: &Client, manifest: &str) -> String {
    let release = rack
        .release("myapp", &[("convox.yml", manifest), PLAIN[1]])
        .await;
    let app = rack.promote("myapp", &release).await;
    assert_eq!(
        app["release"],
        json!(release),
        "{}",
        rack.log("myapp").await
    );
    release
}

/// Promotes a release that cannot work; why it did not.
async fn fails(rack: &Client, manifest: &str) -> String {
    let active = rack.get("/apps/myapp").await.json()["release"].clone();
    let release = rack
        .release("myapp", &[("convox.yml", manifest), PLAIN[1]])
        .await;
    rack.post(
        &format!("/apps/myapp/releases/{release}/promote"),
        "timeout=3",
    )
    .await
    .ok();
    assert_eq!(rack.settled("myapp").await["release"], active);
    let kept = format!("/apps/myapp/releases/{release}");
    text(&rack.get(&kept).await.json(), "reason")
}

/// A file of a process, as a tar has it.
async fn file(rack: &Client, path: &str) -> String {
    let answer = rack
        .get(&format!("/apps/myapp/processes/web/files?file={path}"))
        .await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let mut tar = tar::Archive::new(answer.body.as_slice());
    let mut entry = tar
        .entries()
        .expect("a tar")
        .next()
        .expect("an entry")
        .expect("whole");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut bytes).expect("a file");
    String::from_utf8(bytes).expect("text")
}

async fn configs_are_files_of_every_process(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let mounts = "configMounts:
- {id: written, dir: /etc/my app/, filename: app.yml}
- {id: kept, dir: /etc, filename: kept.txt}
labels: {team: web, empty: }";
    let top = "configs:\n- {id: written, value: \"a: 1\\nb: ü\\n\"}\n- {id: kept}\nlabels: {team: all, stage: test}";
    deploy(&rack, &manifest(top, mounts)).await;
    assert_eq!(file(&rack, "/etc/my%20app/app.yml").await, "a: 1\nb: ü\n");
    assert_eq!(file(&rack, "/etc/kept.txt").await, "", "nobody has set it");
    // `c2V0IGxhdGVy` is `set later`.
    rack.put("/apps/myapp/configs/kept", "value=c2V0IGxhdGVy")
        .await
        .ok();
    let next = text(&rack.set_env("myapp", "A=1").await, "id");
    rack.promote("myapp", &next).await;
    assert_eq!(file(&rack, "/etc/kept.txt").await, "set later");
    if engine.is_docker() {
        let one_off = rack
            .send(
                "POST",
                "/apps/myapp/services/web/processes",
                &[("Command", "sleep 1000")],
                b"",
            )
            .await;
        let id = text(&one_off.json(), "id");
        let (_, said) = rack.exec("myapp", &id, "cat /etc/kept.txt", b"").await;
        assert_eq!(said, b"set later");
    }
}

async fn an_init_container_runs_before_each_process(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let body = |command: &str| {
        manifest(
            "configs: [{id: c, value: of-the-config}]",
            &format!(
                "volumeOptions: [{{emptyDir: {{id: shared, mountPath: /shared}}}}]
initContainer:
  command: {command}
  configMounts: [{{id: c, dir: /etc, filename: c}}]
  volumeOptions: [{{emptyDir: {{id: shared, mountPath: /shared}}}}]"
            ),
        )
    };
    let good = "echo first $INIT_CONTAINER $SERVICE; cat /etc/c > /shared/made || true";
    deploy(&rack, &body(good)).await;
    let log = rack.log("myapp").await;
    assert!(log.contains("first true web"), "{log}");
    if engine.is_docker() {
        let (status, said) = rack
            .exec("myapp", "web", "cat /shared/made; touch /shared/more", b"")
            .await;
        assert_eq!((status, said), (0, b"of-the-config".to_vec()));
    }
    let processes = rack.get("/apps/myapp/processes").await.json();
    assert_eq!(processes.as_array().map(Vec::len), Some(1), "{processes}");

    let reason = fails(&rack, &body("echo nope; exit 3")).await;
    assert!(
        reason.contains("web: the initContainer exited with status 3: see its lines in the log"),
        "{reason}"
    );
    let log = rack.log("myapp").await;
    assert_eq!(log.matches(" nope\n").count(), 3, "{log}");
    let processes = rack.get("/apps/myapp/processes").await.json();
    assert_eq!(processes.as_array().map(Vec::len), Some(1), "{processes}");

    // One that does not end in time ends with its promote.
    let reason = fails(&rack, &body("sleep 1000")).await;
    assert!(
        reason.contains("web: the initContainer did not end in time"),
        "{reason}"
    );
}

async fn hooks_run_after_the_start_and_before_the_end(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let body = |hooks: &str| {
        manifest(
            "",
            &format!("volumes: ['kept:/kept']\nlifecycle: {{{hooks}}}"),
        )
    };
    let good = "postStart: 'echo started >> /kept/log', preStop: 'echo stopped >> /kept/log'";
    deploy(&rack, &body(good)).await;
    let next = deploy(&rack, &body(good)).await;
    if engine.is_docker() {
        // The first one has left when its successor is alone.
        super::world::until("the old process is gone", async || {
            let processes = rack.get("/apps/myapp/processes").await.json();
            let list = processes.as_array().expect("a list");
            list.len() == 1 && list[0]["release"] == json!(next)
        })
        .await;
        let (_, said) = rack.exec("myapp", "web", "sort /kept/log", b"").await;
        assert_eq!(
            String::from_utf8_lossy(&said),
            "started\nstarted\nstopped\n"
        );
    }
    let reason = fails(&rack, &body("postStart: exit 4")).await;
    assert!(reason.contains("postStart of process "), "{reason}");
    assert!(reason.contains(" exited with status 4"), "{reason}");

    // What cannot be done before the end keeps nobody from ending.
    deploy(&rack, &body("preStop: exit 5")).await;
    deploy(&rack, &body(good)).await;
    super::world::until("the log tells of it", async || {
        let log = rack.log("myapp").await;
        log.contains("preStop exited with status 5; stopping all the same")
    })
    .await;
}

async fn a_startup_probe_comes_first(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let body = |probe: &str| {
        manifest(
            "",
            &format!("port: 3000\nhealth: {{interval: 1, port: 3001}}\nstartupProbe: {{{probe}}}"),
        )
        .replace(
            "sleep 100000",
            "httpd -p 3001 -h /app; exec httpd -f -p 3002",
        )
    };
    deploy(
        &rack,
        &body("tcpSocketPort: 3002, interval: 1, failureThreshold: 20"),
    )
    .await;
    if engine.is_docker() {
        let probe = "tcpSocketPort: 3003, interval: 1, timeout: 1, failureThreshold: 2";
        let reason = fails(&rack, &body(probe)).await;
        assert!(
            reason.contains("failed its startup probe 2 times: port 3003: "),
            "{reason}"
        );
    }
}

/// Rights are the engine's to give: only a real one shows what they do.
#[tokio::test]
#[ignore = "needs Docker"]
async fn rights_are_what_the_manifest_says() {
    Engine::docker().run(rights).await;
}

async fn rights(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let body = "securityContext:
  runAsUser: 1000
  runAsGroup: 50
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
configMounts: [{id: c, dir: /etc/mine, filename: c}]
volumeOptions:
- emptyDir: {id: tmp, mountPath: /scratch, medium: Memory, sizeLimit: 1Mi}
- emptyDir: {id: disk, mountPath: /disk}";
    deploy(&rack, &manifest("configs: [{id: c, value: read me}]", body)).await;
    let ask = "id -u; id -g; grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status; cat /etc/mine/c; echo; \
               touch /nope 2>&1; touch /scratch/a /disk/a && echo made; \
               dd if=/dev/zero of=/scratch/b bs=1024 count=2000 2>&1 | tail -n 1";
    let (_, said) = rack.exec("myapp", "web", ask, b"").await;
    let said = String::from_utf8_lossy(&said);
    for expected in [
        "1000\n50\n",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "read me\n",
        "touch: /nope: Read-only file system",
        "made\n",
    ] {
        assert!(said.contains(expected), "{expected:?} not in {said}");
    }
    assert!(
        said.contains("No space left") || !said.contains("2000+0"),
        "{said}"
    );
    // A directory on disk is everybody's, where the root can be written.
    let body = "securityContext: {runAsUser: 1000, capabilities: {add: [NET_ADMIN]}}
volumeOptions: [{emptyDir: {id: disk, mountPath: /disk}}]";
    deploy(&rack, &manifest("", body)).await;
    let ask = "touch /disk/a && echo made; grep ^CapBnd /proc/self/status";
    let (_, said) = rack.exec("myapp", "web", ask, b"").await;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("made"), "{said}");
    assert!(
        !said.contains("CapBnd:\t00000000a80425fb"),
        "more than usual: {said}"
    );
}
