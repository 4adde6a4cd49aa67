//! Commands and forms that only one generation of clients has.

use crate::support::{Env, FakeRack, Reply, Request};

const DIGEST: &str = r#"{"name":"myapp","status":"running","release":"RABCDEFGHIJ"}"#;

fn rack(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps/myapp" | "GET /apps/myapp?settled=30s" => Reply::Json(DIGEST),
        "GET /apps/myapp/services" => Reply::Json(
            r#"[{"name":"web","count":2,"nlb":[{"port":443,"container-port":3000,"protocol":"tls","scheme":"internal","cross-zone":true}]}]"#,
        ),
        "GET /apps/myapp/processes?service=web" => {
            Reply::Json(r#"[{"name":"web","status":"running"},{"name":"web","status":"running"}]"#)
        }
        "GET /apps/myapp/logs" => Reply::Frames(Vec::new()),
        "GET /system" => Reply::Json(
            r#"{"name":"r","provider":"aws","status":"running","version":"20260418101514","outputs":{"NLBHost":"nlb.example","NLBEIP0":"1.2.3.4","NLBEIP2":"1.2.3.5","NLBInternalHost":"int.example"},
                "parameters":{"Autoscale":"Yes","HttpProxy":"","InstanceCount":"3","VPCCIDR":"10.0.0.0/16"}}"#,
        ),
        "GET /apps/myapp/releases/RABCDEFGHIJ" => Reply::Json(
            r#"{"id":"RABCDEFGHIJ","build":"BABCDEFGHIJ","env":"A=1","manifest":"services:\n  web:\n    image: x\ntimers:\n  nightly:\n    schedule: 0 3 * * ?\n    command: bin/clean all\n    service: web\n"}"#,
        ),
        "DELETE /apps/myapp/builds/BABCDEFGHIJ" | "DELETE /apps/gone" => Reply::Json("{}"),
        "PUT /apps/myapp/services/web" => Reply::Status(200, "ok\n"),
        "POST /apps/myapp/services/web/processes" => {
            Reply::Json(r#"{"id":"p","status":"running"}"#)
        }
        _ => Reply::Status(404, "not part of this test\n"),
    }
}

#[test]
fn the_size_of_a_service_is_changed_in_the_words_of_version_3() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("services update web --count 2 --cpu 256")
        .prints("Updating web... \nOK\n");
    let asked = rack.request("PUT /apps/myapp/services/web");
    assert_eq!(asked.body, b"count=2&cpu=256");
    for (line, error) in [
        (
            "scale web --count 1 --min 1",
            "--min/--max and --count are mutually exclusive",
        ),
        ("scale web --min -1", "--min must be >= 0"),
        ("services update web --max 0", "--max must be >= 1"),
        ("scale web --min 3 --max 2", "--max must be >= --min"),
        ("scale --count 1", "service name required"),
    ] {
        env.convox(line).fails(&format!("ERROR: {error}\n"));
    }
    // A rack that takes no notice of ranges would be believed.
    env.convox("scale web --min 1 --max 2").fails_after(
        "Scaling web... ",
        "ERROR: --min / --max range scale requires rack version 3.24.6 or later; rack reports \"20260418101514\"\n",
    );
    assert_eq!(
        rack.lines()
            .iter()
            .filter(|line| line.starts_with("PUT"))
            .count(),
        1
    );
}

#[test]
fn ranges_reach_racks_that_know_them() {
    let rack = FakeRack::start(|request| match request.line.as_str() {
        "GET /system" => Reply::Json(r#"{"version":"3.24.6"}"#),
        _ => rack(request),
    });
    Env::with(&rack)
        .convox("scale web --min 1 --max 2 --gpu 1 --gpu-vendor nvidia")
        .prints("Scaling web... OK\n");
    let asked = rack.request("PUT /apps/myapp/services/web");
    assert_eq!(asked.body, b"gpu=1&gpu-vendor=nvidia&max=2&min=1");
}

#[test]
fn network_balancers_are_shown_where_there_are_some() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("services").prints(
        "SERVICE  DOMAIN  PORTS  NLB PORTS\nweb                     443:3000/tls(internal)[cz=true]\n",
    );
    env.convox("rack").prints(
        "Name          r\nProvider      aws\nNLB           nlb.example (1.2.3.4, 1.2.3.5)\n\
         NLB Internal  int.example\nStatus        running\nVersion       20260418101514\n",
    );
}

#[test]
fn parameters_of_a_rack_are_shown_by_group() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("rack params -g sca")
        .prints("Autoscale      Yes\nInstanceCount  3\n");
    env.convox("rack params --group network")
        .prints("HttpProxy  \nVPCCIDR    10.0.0.0/16\n");
    let none = env.convox("rack params -g gpu");
    assert_eq!(
        (none.stdout.as_str(), none.stderr.as_str(), none.status),
        ("", "NOTICE: no params in group 'gpu' for this rack\n", 0)
    );
    let wrong = env.convox("rack params -g n");
    assert_eq!((wrong.stdout.as_str(), wrong.status), ("", 1));
    assert!(
        wrong
            .stderr
            .starts_with("ERROR: group 'n' matches multiple groups: network nlb nodes\n  available groups:\n    api        "),
        "{}",
        wrong.stderr
    );
}

#[test]
fn builds_and_paths_are_deleted() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("builds delete RABCDEFGHIJ")
        .prints("Deleting build BABCDEFGHIJ... OK\n");
    rack.request("DELETE /apps/myapp/builds/BABCDEFGHIJ");
    env.convox("api delete apps/gone").prints("");
    rack.request("DELETE /apps/gone");
    env.convox("api delete /apps/other")
        .fails("ERROR: not part of this test\n");
}

#[test]
fn timers_are_those_of_the_active_release() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("timers").prints(
        "TIMER    SCHEDULE   SERVICE  COMMAND\nnightly  0 3 * * ?  web      bin/clean all\n",
    );
    env.convox("timers run weekly").fails(
        "ERROR: timer not found: weekly\nhint: `convox timers` lists those of the active release\n",
    );
    let json = env.convox("timers --json");
    assert!(
        json.stdout.contains(r#""command": "bin/clean all""#),
        "{}",
        json.stdout
    );
    let empty = FakeRack::start(|_| Reply::Json(r#"{"name":"myapp","status":"running"}"#));
    Env::with(&empty)
        .convox("timers")
        .prints("TIMER  SCHEDULE  SERVICE  COMMAND\n");
}

#[test]
fn a_run_may_say_what_it_needs() {
    let rack = FakeRack::start(rack);
    Env::with(&rack)
        .convox("run web true -d --cpu 500 --memory-limit 64 --node-labels a=b --system-critical --use-service-volume=false")
        .prints("Running detached process... OK, p\n");
    let asked = rack.request("POST /apps/myapp/services/web/processes");
    for (name, value) in [
        ("cpu", "500"),
        ("memory-limit", "64"),
        ("node-labels", "a=b"),
        ("system-critical", "true"),
        ("use-service-volume", "false"),
    ] {
        assert_eq!(
            asked.headers.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
}

#[test]
fn logs_may_be_the_last_lines_or_those_of_before() {
    let rack = FakeRack::start(|_| Reply::Frames(vec!["line\n".into()]));
    Env::with(&rack)
        .convox("logs --no-follow --tail 5 --allow-previous --max-log-requests 3")
        .prints("line\n");
    let asked = rack
        .requests()
        .into_iter()
        .find(|request| request.line.contains("/logs"))
        .expect("asked");
    assert_eq!(asked.headers.get("tail").map(String::as_str), Some("5"));
    assert_eq!(
        asked.headers.get("previous").map(String::as_str),
        Some("true")
    );
}

#[test]
fn resources_of_the_rack_in_the_words_of_2016() {
    let rack = FakeRack::start(|request| match request.line.as_str() {
        "POST /resources" | "GET /resources/r-1" => {
            Reply::Json(r#"{"name":"r-1","type":"redis","status":"running"}"#)
        }
        "POST /resources/r-1/links"
        | "DELETE /resources/r-2"
        | "DELETE /resources/r-1/links/myapp" => Reply::Json("{}"),
        _ => Reply::Status(404, "not part of this test\n"),
    });
    let env = Env::with(&rack);
    env.convox("services create redis --name=r-1 --size=1")
        .prints("Creating resource... OK, r-1\n");
    assert_eq!(
        rack.request("POST /resources").body,
        b"kind=redis&name=r-1&parameters=size%3D1"
    );
    env.convox("services link r-1")
        .prints("Linking to myapp... OK\n");
    env.convox("services unlink r-1")
        .prints("Unlinking from myapp... OK\n");
    env.convox("services delete r-2")
        .prints("Deleting resource... OK\n");
}

#[test]
fn text_is_encrypted_and_decrypted_without_a_rack() {
    let env = Env::new();
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let sealed = env.convox_words(&["encrypt", "--key", key, "--data", "hello world"]);
    assert_eq!((sealed.stderr.as_str(), sealed.status), ("", 0));
    assert!(!sealed.stdout.contains("hello"));
    let sealed = sealed.stdout.trim_end();
    env.convox_words(&["decrypt", "--key", key, "--data", sealed])
        .prints("hello world\n");
    env.convox("encrypt --key x")
        .fails("ERROR: key and data must be non empty\n");
    env.convox("encrypt --key AAEC --data x").fails(
        "ERROR: the key has 3 bytes, 32 are needed\nhint: `openssl rand -base64 32` makes one\n",
    );
    env.convox_words(&["decrypt", "--key", key, "--data", "e30="])
        .fails("ERROR: the data is nothing that was encrypted\nhint: give what `convox encrypt` has printed\n");
}

#[test]
fn what_means_nothing_here_says_why() {
    let env = Env::new();
    for line in [
        "init .",
        "rack karpenter cleanup",
        "rack kubeconfig -r x",
        "rack mv staging me/staging",
        "rack runtimes",
        "rack runtime attach x",
        "rack start --router x",
        "resources db delete x",
        "resources fix cf x --snapshot y",
        "router --domain x",
        "services triggers enable web --cpu 50",
        "services triggers threshold-set web --type cpu",
    ] {
        let run = env.convox(line);
        assert_eq!((run.stdout.as_str(), run.status), ("", 1), "{line}");
        let lines: Vec<_> = run.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{line}: {run:?}");
        assert!(lines[0].starts_with("ERROR: "), "{line}");
        assert!(lines[1].starts_with("hint: "), "{line}");
    }
    let all = env.convox("help").stdout;
    assert!(
        !all.contains("karpenter") && !all.contains("triggers"),
        "{all}"
    );
}

/// A rack that fills builds; each has a manifest first.
fn relay(status: &'static str) -> FakeRack {
    FakeRack::start(move |request| match request.line.as_str() {
        "POST /apps/myapp/builds" => Reply::Json(r#"{"id":"BNEWAAAAAAA","status":"created"}"#),
        "PUT /apps/myapp/builds/BNEWAAAAAAA" => {
            Reply::Json(r#"{"id":"BNEWAAAAAAA","status":"created"}"#)
        }
        "POST /apps/myapp/builds/BNEWAAAAAAA/image" => {
            if request.body.windows(7).any(|word| word == b"refused") {
                Reply::Status(422, "no such registry\n")
            } else {
                Reply::Status(202, "")
            }
        }
        "GET /apps/myapp/builds/BNEWAAAAAAA" => Reply::Json(status),
        "POST /apps/myapp/releases" => Reply::Json(r#"{"id":"RNEWAAAAAAA"}"#),
        "DELETE /apps/myapp/builds/BNEWAAAAAAA" => Reply::Json("{}"),
        _ => Reply::Status(404, "not part of this test\n"),
    })
}

#[test]
fn an_image_becomes_a_build_and_a_release() {
    let rack = relay(r#"{"id":"BNEWAAAAAAA","status":"complete"}"#);
    let mut env = Env::with(&rack);
    env.put("work/myapp/convox.yml", "services: {web: {image: x}}\n");
    env.set("REGISTRY_PASSWORD", "hush");
    let run = env.convox(
        "builds import-image registry.example/web:1 --src-creds-user me --src-creds-pass-env REGISTRY_PASSWORD --id",
    );
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str(), run.status),
        (
            "RNEWAAAAAAA",
            "Creating build... OK, BNEWAAAAAAA\nRelaying image registry.example/web:1... OK\n\
             Waiting for import to complete... OK\nCreating release... OK, RNEWAAAAAAA\n\
             Build:   BNEWAAAAAAA\nRelease: RNEWAAAAAAA\n",
            0
        )
    );
    assert_eq!(
        rack.request("POST /apps/myapp/builds").body,
        b"external=true"
    );
    let told: Vec<_> = rack
        .requests()
        .into_iter()
        .filter(|request| request.line == "PUT /apps/myapp/builds/BNEWAAAAAAA")
        .map(|request| String::from_utf8(request.body).expect("text"))
        .collect();
    assert_eq!(
        told,
        [
            "manifest=services%3A+%7Bweb%3A+%7Bimage%3A+x%7D%7D%0A",
            "release=RNEWAAAAAAA"
        ]
    );
    assert_eq!(
        rack.request("POST /apps/myapp/builds/BNEWAAAAAAA/image")
            .body,
        b"image=registry.example%2Fweb%3A1&src-creds-pass=hush&src-creds-user=me"
    );
}

#[test]
fn an_image_that_does_not_come_leaves_no_empty_build() {
    let rack = relay(r#"{"id":"BNEWAAAAAAA","status":"failed","reason":"manifest unknown"}"#);
    let env = Env::with(&rack);
    env.convox("builds import-image x")
        .fails("ERROR: can not read convox.yml: No such file or directory (os error 2)\n");
    env.put("work/myapp/other.yml", "services: {web: {image: x}}\n");
    env.convox("builds import-image refused -m other.yml")
        .fails_after(
            "Creating build... OK, BNEWAAAAAAA\nRelaying image refused... ",
            "ERROR: no such registry\n",
        );
    rack.request("DELETE /apps/myapp/builds/BNEWAAAAAAA");
    env.convox("builds import-image x -m other.yml").fails_after(
        "Creating build... OK, BNEWAAAAAAA\nRelaying image x... OK\nWaiting for import to complete... ",
        "ERROR: import failed: manifest unknown\n",
    );
    env.convox("builds import-image x -m other.yml --src-creds-user me")
        .fails("ERROR: a password is missing beside --src-creds-user\nhint: --src-creds-pass-stdin reads it from standard input\n");
    let both = env.convox_reading(
        "builds import-image x -m other.yml --src-creds-user me --src-creds-pass-stdin --src-creds-pass hush",
        b"hush\n",
    );
    assert!(
        both.stderr.starts_with("ERROR: at most one of ") && !both.stderr.contains("hush"),
        "{both:?}"
    );
}
