//! Answers as racks of version 2 in a cloud, of version 3 in a cluster, and very sparing
//! ones give them (`rack-api.md` §4): fields that ours have not, fields that are missing,
//! zero times, `null` for what is empty. Every listing and description can be read.

use crate::support::{Env, FakeRack, Reply, Request};

/// A rack of version 2.
fn second(request: &Request) -> Reply {
    Reply::Json(match request.line.as_str() {
        "GET /system" => {
            r#"{"count":3,"domain":"router.example","name":"prod","outputs":{"DomainInternal":"inside.example",
                "NLBHost":"nlb.example","NLBEIP0":"192.0.2.1","NLBEIP1":"192.0.2.2","NLBInternalHost":""},
                "parameters":{"Autoscale":"Yes","HttpProxy":"","Password":"hush"},"provider":"aws","rack-domain":"rack.example",
                "region":"eu-west-1","status":"converging","type":"t3.small","version":"20260418101514"}"#
        }
        "GET /apps" => {
            r#"[{"generation":"1","locked":false,"name":"legacy","release":"","status":"creating","parameters":{"a":"b"}},
                {"generation":"2","locked":true,"name":"myapp","release":"RABCDEFGHIJ","status":"rollback","parameters":null}]"#
        }
        "GET /apps/myapp" => {
            r#"{"generation":"2","locked":true,"name":"myapp","release":"RABCDEFGHIJ","status":"rollback",
                "parameters":{"LogBucket":"","Rack":"prod"},"outputs":{"x":"y"},"sleep":false}"#
        }
        "GET /apps/myapp/builds" => {
            r#"[{"id":"BBBBBBBBBBB","app":"myapp","description":"","entrypoint":"","git-sha":"","logs":"","manifest":"","process":"",
                 "release":"","reason":"","status":"created","wildcard-domain":false,"started":"1970-01-02T03:04:05.123456789Z","ended":"0001-01-01T00:00:00Z","tags":null},
                {"id":"BABCDEFGHIJ","app":"myapp","description":"first","release":"RABCDEFGHIJ","status":"complete",
                 "started":"1970-01-02T03:04:05+01:00","ended":"1970-01-02T02:05:20Z"}]"#
        }
        "GET /apps/myapp/builds/BABCDEFGHIJ" => {
            r#"{"id":"BABCDEFGHIJ","app":"myapp","description":"first","release":"RABCDEFGHIJ","status":"complete","tags":{},
                "manifest":"services: {}","logs":"object://myapp/build/BABCDEFGHIJ/logs","started":"0001-01-01T00:00:00Z","ended":"0001-01-01T00:00:00Z"}"#
        }
        "GET /apps/myapp/releases" | "GET /apps/myapp/releases?limit=1" => {
            r#"[{"id":"RABCDEFGHIJ","app":"myapp","build":"BABCDEFGHIJ","env":"","manifest":"","description":"env add:A","created":"1970-01-02T03:04:05Z"},
                {"id":"RBBBBBBBBBB","app":"myapp","build":"","created":"0001-01-01T00:00:00Z"}]"#
        }
        "GET /apps/myapp/releases/RABCDEFGHIJ" => {
            r#"{"id":"RABCDEFGHIJ","app":"myapp","build":"BABCDEFGHIJ","env":"A=1\nB=x=y","manifest":"services: {}","description":"env add:A","created":"1970-01-02T03:04:05Z"}"#
        }
        "GET /apps/myapp/processes"
        | "GET /system/processes?all=true"
        | "GET /system/processes" => {
            r#"[{"id":"0123456789ab","app":"myapp","command":"","cpu":0.25,"host":"10.0.1.1","image":"x/y:web.B","instance":"i-0","memory":0,
                 "name":"web","ports":["80:3000"],"release":"RABCDEFGHIJ","started":"1970-01-02T03:04:05.5Z","status":"running","task_definition":"arn:x"},
                {"id":"ba9876543210","app":"myapp","name":"web","ports":null,"started":"0001-01-01T00:00:00Z","status":"pending"}]"#
        }
        "GET /apps/myapp/processes/0123456789ab" => {
            r#"{"id":"0123456789ab","app":"myapp","command":"bin/web","instance":"i-0","name":"web","ports":null,"release":"RABCDEFGHIJ",
                "started":"1970-01-02T03:04:05Z","status":"running","task_definition":""}"#
        }
        "GET /apps/myapp/services" => {
            r#"[{"count":2,"cpu":256,"domain":"web.example","memory":512,"name":"web","nlb":null,
                 "ports":[{"balancer":80,"certificate":"","container":3000},{"balancer":443,"certificate":"acm-1","container":3000}]},
                {"count":0,"cpu":0,"domain":"","memory":0,"name":"worker","nlb":[{"container-port":1,"port":2,"protocol":"tcp","scheme":"public","certificate":""}],"ports":null}]"#
        }
        "GET /apps/myapp/resources" => {
            r#"[{"name":"database","parameters":{"Class":"x"},"status":"running","type":"postgres","url":"postgres://u:p@db.example:5432/app"},
                {"name":"queue","type":"sqs","url":"","apps":null}]"#
        }
        "GET /apps/myapp/resources/database" => {
            r#"{"name":"database","status":"running","type":"postgres","url":"postgres://u:p@db.example:5432/app"}"#
        }
        "GET /certificates" => {
            r#"[{"id":"acm-1","domain":"web.example","domains":null,"expiration":"1970-01-02T03:04:05Z"},
                {"id":"server","domain":"","expiration":"0001-01-01T00:00:00Z"}]"#
        }
        "GET /registries" => {
            r#"[{"server":"https://index.docker.io/v1/","username":"me","password":"hush"}]"#
        }
        "GET /instances" => {
            r#"[{"agent":true,"cpu":0.423,"id":"i-0","memory":0.5,"private-ip":"10.0.1.1","processes":3,"public-ip":"192.0.2.3","started":"1970-01-02T03:04:05Z","status":"active"},
                {"agent":false,"id":"i-1","status":"draining","started":"0001-01-01T00:00:00Z"}]"#
        }
        "GET /resources" => {
            r#"[{"name":"hook","type":"webhook","status":"updating","url":"","parameters":{"Url":"https://x"}}]"#
        }
        "GET /resources/hook" => {
            r#"{"name":"hook","type":"webhook","status":"updating","url":"","parameters":{"Url":"https://x","B":""},"apps":[{"name":"myapp","parameters":null}]}"#
        }
        "OPTIONS /resources" => {
            r#"[{"name":"webhook","parameters":[{"default":"","description":"where to","name":"Url"}]},{"name":"syslog","parameters":null}]"#
        }
        "GET /system/releases" => {
            r#"[{"id":"20260418101514","app":"","created":"1970-01-02T03:04:05Z"},{"id":"20260101000000","created":"0001-01-01T00:00:00Z"}]"#
        }
        // What it has not, it answers with nothing.
        _ => return Reply::Status(404, ""),
    })
}

/// A rack of version 3: what differs from the second.
fn third(request: &Request) -> Reply {
    Reply::Json(match request.line.as_str() {
        "GET /system" => {
            r#"{"count":2,"domain":"","name":"prod","outputs":null,"parameters":{"node_type":"x","cidr":""},"provider":"gcp","rack-domain":"api.prod.example",
                "region":"","router-internal":"router.inside.example","status":"running","type":"","version":"3.24.6"}"#
        }
        "GET /apps" => {
            r#"[{"budget":{"monthly-cap-usd":10},"generation":"3","locked":false,"name":"myapp","parameters":{},"release":"rabcdefghij","router":"router.example","status":"unknown"}]"#
        }
        "GET /apps/myapp" => {
            r#"{"generation":"3","locked":false,"name":"myapp","parameters":{"Secret":"****"},"release":"RABCDEFGHIJ","router":"router.example","status":"running"}"#
        }
        "GET /apps/myapp/builds" => {
            r#"[{"id":"BABCDEFGHIJ","repository":"","description":"d","release":"RABCDEFGHIJ","status":"failed","reason":"no room","git-sha":"abc","build-args":null,
                 "started":"1970-01-02T03:04:05Z","ended":"1970-01-02T03:04:05Z"}]"#
        }
        "GET /apps/myapp/processes"
        | "GET /system/processes?all=true"
        | "GET /system/processes" => {
            r#"[{"id":"web-5d8f6c7d9-abcde","app":"myapp","command":"","cpu":12.5,"gpu":0,"gpu-util":0.1,"host":"","image":"","instance":"node-1","memory":104.2,
                 "name":"web","ports":[],"release":"RABCDEFGHIJ","service":"web","started":"1970-01-02T03:04:05Z","status":"crashed"}]"#
        }
        "GET /apps/myapp/processes/0123456789ab" => {
            r#"{"id":"web-5d8f6c7d9-abcde","app":"myapp","name":"web","service":"web","status":"unhealthy","started":"1970-01-02T03:04:05Z","gpu":1,"gpu-power-w":10}"#
        }
        "GET /apps/myapp/services" => {
            r#"[{"agent":false,"autoscale":{"enabled":true,"cpu-threshold":70,"custom-triggers":null},"cold-start":false,"count":1,"cpu":250,"domain":"web.prod.example",
                 "gpu":0,"gpu-vendor":"","max":5,"memory":512,"min":1,"name":"web","nlb":[],"ports":[{"balancer":0,"certificate":"","container":3000}]}]"#
        }
        "GET /certificates" => {
            r#"[{"id":"cert-1","domain":"web.prod.example","domains":["web.prod.example"],"expiration":"1970-01-02T03:04:05Z","status":"Pending"}]"#
        }
        "GET /instances" => {
            r#"[{"agent":true,"cpu":485,"cpu-allocatable":1940,"cpu-capacity":2000,"gpu-allocatable":0,"gpu-capacity":0,"id":"node-1","memory":100,
                 "memory-allocatable":400,"memory-capacity":800,"private-ip":"10.0.0.1","processes":4,"public-ip":"","started":"1970-01-02T03:04:05Z","status":"running"}]"#
        }
        "GET /apps/myapp/configs" => r#"[{"name":"nginx","value":""},{"name":"empty"}]"#,
        "GET /apps/myapp/balancers" => {
            r#"[{"name":"main","endpoint":"192.0.2.9","service":"web","ports":[{"protocol":"TCP","source":443,"target":3000}]},{"name":"other","ports":null}]"#
        }
        // Removed in version 3.
        "GET /system/sync/whitelist/instances/ip" => return Reply::Status(404, ""),
        _ => return second(request),
    })
}

/// A rack that says nothing that it need not.
fn sparing(request: &Request) -> Reply {
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    let parts = path
        .split(['/', '?'])
        .filter(|part| !part.is_empty())
        .count();
    let one = matches!(path, "/system")
        || path.starts_with("/resources/")
        || (path.starts_with("/apps/") && parts % 2 == 0);
    Reply::Json(if one && !path.contains("limit") {
        "{}"
    } else {
        "null"
    })
}

/// Listings and descriptions.
const LINES: [&str; 28] = [
    "apps",
    "apps info",
    "apps params",
    "balancers",
    "builds",
    "builds info BABCDEFGHIJ",
    "certs",
    "configs",
    "env",
    "instances",
    "ps",
    "ps info 0123456789ab",
    "rack",
    "rack params",
    "rack ps --all",
    "rack releases",
    "rack resources",
    "rack resources info hook",
    "rack resources types",
    "rack scale",
    "registries",
    "releases",
    "releases info RABCDEFGHIJ",
    "resources",
    "resources info database",
    "scale",
    "services",
    "ssl",
];

/// Everything a rack is asked, with what is said of its answers.
fn session(handler: fn(&Request) -> Reply) -> String {
    let rack = FakeRack::foreign(handler);
    let env = Env::with(&rack);
    let mut session = String::new();
    for line in LINES {
        let run = env.convox(line);
        session.extend(["$ convox ", line, "\n", &run.stdout, &run.stderr]);
        let json = env.convox(&format!("{line} --json"));
        assert_eq!(
            (json.status, &json.stderr),
            (run.status, &run.stderr),
            "{line}"
        );
        if run.status == 0 {
            serde_json::from_str::<serde_json::Value>(&json.stdout)
                .unwrap_or_else(|error| panic!("{line}: {error}: {}", json.stdout));
        }
    }
    session
}

#[test]
fn a_rack_of_version_2() {
    insta::assert_snapshot!(session(second));
}

#[test]
fn a_rack_of_version_3() {
    insta::assert_snapshot!(session(third));
}

#[test]
fn a_rack_of_few_words() {
    insta::assert_snapshot!(session(sparing));
}
