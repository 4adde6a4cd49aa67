//! What belongs to the rack rather than to an app: certificates, registries, machines,
//! resources, parameters; and connections and files of processes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::support::{Env, FakeRack, Reply, Request};

fn rack(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /certificates" | "GET /certificates?generated=true" => Reply::Json(
            r#"[{"id":"cert-1","domain":"a.example","expiration":"1970-01-02T03:04:05Z","domains":["a.example"]}]"#,
        ),
        "POST /certificates" | "POST /certificates/generate" => {
            Reply::Json(r#"{"id":"cert-2","domain":"a.example"}"#)
        }
        "GET /apps/myapp" => Reply::Json(
            r#"{"name":"myapp","status":"running","release":"RABCDEFGHIJ","generation":"2","parameters":{"Rack":"x","A":"1"}}"#,
        ),
        "GET /apps/myapp/services" => Reply::Json(
            r#"[{"name":"web","ports":[{"balancer":443,"certificate":"cert-1","container":3000},{"balancer":80,"container":3000}]}]"#,
        ),
        "GET /registries" => {
            Reply::Json(r#"[{"server":"quay.io","username":"me","password":"registry-secret"}]"#)
        }
        "POST /registries" => Reply::Json(r#"{"server":"quay.io","username":"me"}"#),
        "GET /instances" => Reply::Json(
            r#"[{"id":"i-1","status":"running","started":"1970-01-02T03:04:05Z","processes":3,"cpu":0.423,"memory":0.5,"public-ip":"","private-ip":"127.0.0.1"}]"#,
        ),
        "POST /instances/keyroll" => Reply::Status(400, "there are no keys\n"),
        "GET /resources" => Reply::Json(r#"[{"name":"r-1","type":"redis","status":"running"}]"#),
        "POST /resources" | "GET /resources/r-1" => Reply::Json(
            r#"{"name":"r-1","type":"redis","status":"running","parameters":{"b":"2","a":"1"},"url":"redis://r.internal:6379/0","apps":[{"name":"one"},{"name":"two"}]}"#,
        ),
        "OPTIONS /resources" => Reply::Json(
            r#"[{"name":"redis","parameters":[{"name":"z","default":"1","description":"last"},{"name":"a","default":"","description":"first"}]}]"#,
        ),
        "GET /apps/myapp/resources/database" => {
            Reply::Json(r#"{"name":"database","type":"postgres","url":"postgres://u:p@h:5432/db"}"#)
        }
        "GET /apps/myapp/resources/database/data" => Reply::Bytes(b"dump\0\xff".to_vec()),
        "GET /apps/myapp/configs" => Reply::Json(r#"[{"name":"c"}]"#),
        "GET /apps/myapp/configs/c" => Reply::Json(r#"{"name":"c","value":"v"}"#),
        "GET /apps/myapp/balancers" => {
            Reply::Json(r#"[{"name":"b","service":"web","endpoint":"127.0.0.1"}]"#)
        }
        "GET /system" => Reply::Json(
            r#"{"name":"staging","status":"running","version":"3","count":1,"type":"local","rack-domain":"rack.example:5443","parameters":{"A":"1","Password":"hush"}}"#,
        ),
        "POST /system/jwt/token" => Reply::Json(r#"{"token":"aaa.bbb.ccc"}"#),
        "GET /system/releases" => Reply::Json(r#"[{"id":"20200101"}]"#),
        "DELETE /resources/r-2" => Reply::Json("{}"),
        line if line.starts_with("PUT ") || line.starts_with("DELETE /") => Reply::Json("{}"),
        "POST /resources/r-1/links" => Reply::Json("{}"),
        "GET /proxy/db.internal/5432" => Reply::Frames(vec!["hello".into()]),
        _ => Reply::Status(404, "not found\n"),
    }
}

#[test]
fn certificates_are_listed_made_and_removed() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    let list = "ID      DOMAIN     EXPIRES\ncert-1  a.example  a long while ago\n";
    env.convox("certs").prints(list);
    env.convox("certs --generated").prints(list);
    env.convox("certs generate a.example b.example")
        .prints("Generating certificate... OK, cert-2\n");
    let made = rack.request("POST /certificates/generate");
    assert_eq!(made.body, b"domains=a.example%2Cb.example");
    env.put("work/myapp/pub.pem", "PUB");
    env.put("work/myapp/key.pem", "KEY");
    let run = env.convox("certs import pub.pem key.pem --id");
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str(), run.status),
        ("cert-2", "Importing certificate... OK, cert-2\n", 0)
    );
    assert_eq!(rack.request("POST /certificates").body, b"key=KEY&pub=PUB");
    env.convox("certs import nope.pem key.pem")
        .fails("ERROR: can not read nope.pem: No such file or directory (os error 2)\n");
    env.convox("certs delete cert-1")
        .prints("Deleting certificate cert-1... OK\n");
    env.convox("ssl").prints(
        "ENDPOINT  CERTIFICATE  DOMAIN     EXPIRES\nweb:443   cert-1       a.example  a long while ago\n",
    );
    let run = env.convox("ssl update web:443 cert-1");
    assert!(
        run.stderr
            .starts_with("ERROR: command not valid for generation 2 applications\n"),
        "{run:?}"
    );
    env.convox("ssl update web cert-1")
        .fails("ERROR: endpoint must be process:port\n");
}

#[test]
fn registries_are_listed_without_their_passwords() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("registries")
        .prints("SERVER   USERNAME\nquay.io  me\n");
    let json = env.convox("registries --json");
    assert!(!json.stdout.contains("registry-secret"), "{json:?}");
    assert_eq!(json.status, 0);
    for line in [
        "registries add quay.io me s3",
        "registries add quay.io --username me --password s3 --email a@b",
    ] {
        env.convox(line).prints("Adding registry... OK\n");
    }
    let added: Vec<_> = rack
        .requests()
        .into_iter()
        .filter(|request| request.line == "POST /registries")
        .collect();
    for request in &added {
        assert_eq!(request.body, b"password=s3&server=quay.io&username=me");
    }
    assert_eq!(added.len(), 2);
    env.convox("registries add quay.io")
        .fails("ERROR: 3 args required\nhint: the password may also come as a line of standard input, or in PASSWORD\n");
    env.convox("registries remove quay.io/x")
        .prints("Removing registry... OK\n");
    rack.request("DELETE /registries/quay.io/x");
}

#[test]
fn machines_are_listed() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("instances").prints(
        "ID   STATUS   STARTED           PS  CPU     MEM     PUBLIC  PRIVATE\n\
         i-1  running  a long while ago  3   42.30%  50.00%          127.0.0.1\n",
    );
    env.convox("instances keyroll")
        .fails_after("Rolling instance key... ", "ERROR: there are no keys\n");
    env.convox("instances terminate i-1")
        .prints("Terminating instance... OK\n");
}

#[test]
fn resources_of_the_rack_are_managed_in_the_words_of_two_eras() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("rack resources")
        .prints("NAME  TYPE   STATUS\nr-1   redis  running\n");
    env.convox("rack resources types").prints("TYPE\nredis\n");
    env.convox("rack resources options redis")
        .prints("NAME  DEFAULT  DESCRIPTION\na              first\nz     1        last\n");
    env.convox("rack resources options nope")
        .fails("ERROR: no such resource type: nope\n");
    env.convox("rack resources info r-1").prints(
        "Name     r-1\nType     redis\nStatus   running\nOptions  a=1\n         b=2\n\
         URL      redis://r.internal:6379/0\nApps     one, two\n",
    );
    env.convox("rack resources url r-1")
        .prints("redis://r.internal:6379/0\n");
    for line in [
        "rack resources create redis a=1 --name r-1",
        "resources create redis --name=r-1 --a=1",
    ] {
        env.convox(line).prints("Creating resource... OK, r-1\n");
    }
    let made: Vec<_> = rack
        .requests()
        .into_iter()
        .filter(|request| request.line == "POST /resources")
        .map(|request| String::from_utf8(request.body).expect("text"))
        .collect();
    assert_eq!(made, ["kind=redis&name=r-1&parameters=a%3D1"; 2]);
    env.convox("rack resources create redis what")
        .fails("ERROR: Name=Value expected: what\n");
    env.convox("rack resources update r-1 a=2")
        .prints("Updating resource... OK\n");
    env.convox("rack resources link r-1 -a other")
        .prints("Linking to other... OK\n");
    env.convox("rack resources unlink r-1 -a other")
        .prints("Unlinking from other... OK\n");
    env.convox("rack resources delete r-2")
        .prints("Deleting resource... OK\n");
}

#[test]
fn data_of_resources_comes_and_goes() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("resources export database -f dump")
        .prints("Exporting data from database... OK\n");
    let kept = std::fs::read(env.path("work/myapp/dump")).expect("a file");
    assert_eq!(kept, b"dump\0\xff");
    env.convox("resources import database -f dump")
        .prints("Importing data to database... OK\n");
    let sent = rack.request("PUT /apps/myapp/resources/database/data");
    assert_eq!(sent.body, b"dump\0\xff");
    env.convox("resources import nope -f missing")
        .fails("ERROR: can not read missing: No such file or directory (os error 2)\n");
}

#[test]
fn the_rack_is_changed() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("rack params")
        .prints("A         1\nPassword  hush\n");
    env.convox("rack params set A=2 B=x=y")
        .prints("Updating parameters... OK\n");
    assert_eq!(
        rack.request("PUT /system").body,
        b"parameters=A%3D2%26B%3Dx%253Dy"
    );
    env.convox("rack params set A")
        .fails("ERROR: Key=Value expected: A\n");
    env.convox("rack scale")
        .prints("Autoscale  No\nCount      1\nStatus     running\nType       local\n");
    env.convox("rack wait").prints("Waiting for rack... \nOK\n");
    env.convox("rack access --role read --duration-in-hours 2")
        .prints("RACK_URL=https://jwt:aaa.bbb.ccc@rack.example:5443\n");
    env.convox("rack access --role read")
        .fails("ERROR: duration is required\n");
    env.convox("rack access").fails("ERROR: role is required\n");
    env.convox("rack access key rotate").prints("OK\n");
    rack.request("PUT /system/jwt/rotate");
}

#[test]
fn configs_and_balancers() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("configs").prints("CONFIG-ID\nc\n");
    env.convox("config get c").prints("v\n");
    env.convox("config set c --value x")
        .prints("Setting c... OK\n");
    assert_eq!(
        rack.request("PUT /apps/myapp/configs/c").body,
        b"value=eA%3D%3D"
    );
    env.convox("config set c")
        .fails("ERROR: specify --file or --value\n");
    env.convox("balancers")
        .prints("BALANCER  SERVICE  ENDPOINT\nb         web      127.0.0.1\n");
}

#[test]
fn a_local_port_leads_into_the_rack_until_interrupted() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    let mut child = env
        .command("proxy 0:db.internal:5432")
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    let port: u16 = line
        .strip_prefix("proxying localhost:")
        .and_then(|rest| rest.strip_suffix(" to db.internal:5432\n"))
        .and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("{line}"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.write_all(b"hi").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    assert_eq!(answer, "hello");
    rack.request("GET /proxy/db.internal/5432");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    env.convox("proxy nonsense")
        .fails("ERROR: invalid argument: nonsense\n");
}

#[test]
fn listings_are_json_for_programs() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    let value = |line: &str| -> serde_json::Value {
        let run = env.convox(line);
        assert_eq!((run.stderr.as_str(), run.status), ("", 0), "{line}");
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    assert_eq!(value("certs --json")[0]["id"], "cert-1");
    assert_eq!(value("instances --json")[0]["cpu"], 0.423);
    assert_eq!(value("rack --json")["version"], "3");
    assert_eq!(value("rack params --json")["A"], "1");
    assert_eq!(value("rack resources info r-1 --json")["type"], "redis");
    assert_eq!(value("rack resources options redis --json")[0]["name"], "a");
    assert_eq!(value("services --json")[0]["name"], "web");
    assert_eq!(value("apps info --json")["release"], "RABCDEFGHIJ");
    assert_eq!(value("ssl --json")[0]["endpoint"], "web:443");
}

#[test]
fn cloud_commands_say_why_not_here() {
    let env = Env::new();
    for line in [
        "budget show",
        "cloud machines",
        "cost --aggregate",
        "letsencrypt dns route53 list",
        "runtimes personal",
        "workflows run x --app y",
    ] {
        let run = env.convox(line);
        assert_eq!((run.stdout.as_str(), run.status), ("", 1), "{line}");
        let lines: Vec<_> = run.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{line}: {run:?}");
        assert!(lines[0].starts_with("ERROR: ") && lines[0].ends_with("does not deal with"));
        assert!(lines[1].starts_with("hint: "));
    }
}
