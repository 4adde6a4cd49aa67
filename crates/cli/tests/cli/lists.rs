//! Tables and info blocks that scripts parse, and simple actions.

use crate::support::{Env, FakeRack, Reply, Request};

fn one_app(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps" => Reply::Json(
            r#"[{"name":"myapp","status":"running","release":"RABCDEFGHIJ"},{"name":"new","status":"creating"}]"#,
        ),
        "GET /apps/myapp" => Reply::Json(
            r#"{"name":"myapp","status":"running","release":"RABCDEFGHIJ","generation":"2","locked":false,"parameters":{"B":"2","A":"1"}}"#,
        ),
        "GET /apps/myapp/releases" | "GET /apps/myapp/releases?limit=1" => Reply::Json(
            r#"[{"id":"RIABCDEFGHJ","build":"BJABCDEFGHI","created":"1970-01-02T03:04:05Z","description":"build 1a2b3c4d5e fix login"},
                {"id":"RABCDEFGHIJ","build":"BABCDEFGHIJ","description":""}]"#,
        ),
        "GET /apps/myapp/releases/RIABCDEFGHJ" => Reply::Json(
            r#"{"id":"RIABCDEFGHJ","build":"BJABCDEFGHI","created":"1970-01-02T03:04:05.678Z","description":"first","env":"BAZ=quux\nFOO=bar"}"#,
        ),
        "GET /apps/myapp/builds" => Reply::Json(
            r#"[{"id":"BKABCDEFGHI","status":"running"},
                {"id":"BLABCDEFGHI","status":"failed","started":"1970-01-02T03:04:05Z","ended":"1970-01-02T03:06:05Z","description":"two\nlines"}]"#,
        ),
        "GET /apps/myapp/builds/BJABCDEFGHI" => Reply::Json(
            r#"{"id":"BJABCDEFGHI","status":"complete","release":"RIABCDEFGHJ","description":"d","manifest":"services: {}\n",
                "images":{"web":"sha256:aa","worker":"sha256:bb"},"provenance":{"rack":"personal/staging","app":"myapp","build":"BXXXXXXXXXX"}}"#,
        ),
        "GET /apps/myapp/releases/RTRAVELLEDX" => Reply::Json(
            r#"{"id":"RTRAVELLEDX","build":"BTRAVELLEDX","created":"1970-01-02T03:04:05.678Z","description":"d",
                "images":{"web":"sha256:aa"},"provenance":{"rack":"personal/staging","app":"myapp","build":"BXXXXXXXXXX",
                "origin":{"rack":"personal/first","app":"myapp","build":"BYYYYYYYYYY"},"archive":"sha256:cc",
                "imported":"1970-01-02T03:04:05.678Z"}}"#,
        ),
        "GET /apps/myapp/services" => Reply::Json(
            r#"[{"name":"web","domain":"web.myapp.staging.localhost","ports":[{"balancer":443,"container":3000},{"balancer":80,"container":0}],"count":2,"cpu":256,"memory":512},
                {"name":"api","count":1,"cpu":0,"memory":128}]"#,
        ),
        "GET /apps/myapp/processes" => {
            Reply::Json(r#"[{"id":"1","name":"web"},{"id":"2","name":"web"}]"#)
        }
        "GET /apps/myapp/resources" => Reply::Json(
            r#"[{"name":"database","type":"postgres","url":"postgres://u:p@h:5432/db"}]"#,
        ),
        "GET /apps/myapp/resources/database" => {
            Reply::Json(r#"{"name":"database","type":"postgres"}"#)
        }
        "GET /system" => Reply::Json(
            r#"{"name":"staging","provider":"local","status":"running","version":"30000000000000","domain":"staging.localhost","parameters":{"Password":"hush"}}"#,
        ),
        "GET /system/releases" => Reply::Json(r#"[{"id":"20200101"}]"#),
        _ => Reply::Status(404, "app not found: other\n"),
    }
}

#[test]
fn a_release_says_where_its_build_came_from() {
    let rack = FakeRack::start(one_app);
    Env::with(&rack).convox("releases info RTRAVELLEDX").prints(
        "Id           RTRAVELLEDX\n\
             Build        BTRAVELLEDX\n\
             Created      1970-01-02T03:04:05Z\n\
             Description  d\n\
             Env          \n\
             Source       personal/staging myapp BXXXXXXXXXX\n\
             Origin       personal/first myapp BYYYYYYYYYY\n\
             Archive      sha256:cc\n\
             Imported     1970-01-02T03:04:05Z\n\
             Images       web sha256:aa\n",
    );
}

#[test]
fn tables_are_what_scripts_cut() {
    let rack = FakeRack::start(one_app);
    let env = Env::with(&rack);
    env.convox("apps")
        .prints("APP    STATUS    RELEASE\nmyapp  running   RABCDEFGHIJ\nnew    creating  \n");
    let row = |cells: [&str; 6]| {
        let [id, status, release, started, elapsed, description] = cells;
        format!("{id:11}  {status:7}  {release:7}  {started:16}  {elapsed:7}  {description}\n")
    };
    let builds = [
        row([
            "ID",
            "STATUS",
            "RELEASE",
            "STARTED",
            "ELAPSED",
            "DESCRIPTION",
        ]),
        row(["BKABCDEFGHI", "running", "", "", "", ""]),
        row([
            "BLABCDEFGHI",
            "failed",
            "",
            "a long while ago",
            "2m0s",
            "two lines",
        ]),
    ];
    env.convox("builds").prints(&builds.concat());
    env.convox("releases").prints(
        "ID           STATUS  BUILD        CREATED           DESCRIPTION\n\
         RIABCDEFGHJ          BJABCDEFGHI  a long while ago  build 1a2b3c4d5e fix login\n\
         RABCDEFGHIJ  active  BABCDEFGHIJ                    \n",
    );
}

#[test]
fn lists_of_services_and_sizes() {
    let rack = FakeRack::start(one_app);
    let env = Env::with(&rack);
    env.convox("services").prints(
        "SERVICE  DOMAIN                       PORTS\n\
         web      web.myapp.staging.localhost  443:3000 80\n\
         api                                   \n",
    );
    env.convox("scale").prints(
        "SERVICE  DESIRED  RUNNING  CPU  MEMORY\n\
         api      1        0        0    128\n\
         web      2        2        256  512\n",
    );
    env.convox("scale web").prints(
        "SERVICE  DESIRED  RUNNING  CPU  MEMORY\n\
         web      2        2        256  512\n",
    );
    env.convox("scale nope")
        .fails("ERROR: service not found: nope\n");
    env.convox("scale --count 1")
        .fails("ERROR: service name required\n");
}

#[test]
fn resources_and_their_urls() {
    let rack = FakeRack::start(one_app);
    let env = Env::with(&rack);
    env.convox("resources")
        .prints("NAME      TYPE      URL\ndatabase  postgres  postgres://u:p@h:5432/db\n");
    env.convox("resources info database")
        .prints("Name  database\nType  postgres\n");
    env.convox("resources url database")
        .fails("ERROR: no url for resource: database\n");
}

#[test]
fn info_blocks() {
    let rack = FakeRack::start(one_app);
    let env = Env::with(&rack);
    env.convox("apps info").prints(
        "Name        myapp\nStatus      running\nGeneration  2\nLocked      false\nRelease     RABCDEFGHIJ\n",
    );
    env.convox("apps params").prints("A  1\nB  2\n");
    env.convox("releases info BJABCDEFGHI").prints(
        "Id           RIABCDEFGHJ\nBuild        BJABCDEFGHI\nCreated      1970-01-02T03:04:05Z\n\
         Description  first\nEnv          BAZ=quux\n             FOO=bar\n",
    );
    env.convox("builds info RIABCDEFGHJ").prints(
        "Id           BJABCDEFGHI\nStatus       complete\nRelease      RIABCDEFGHJ\n\
         Description  d\nStarted      \nElapsed      \n\
         Source       personal/staging myapp BXXXXXXXXXX\n\
         Images       web sha256:aa\n             worker sha256:bb\n",
    );
    env.convox("releases manifest RIABCDEFGHJ")
        .prints("services: {}\n");
    env.convox("rack").prints(
        "Name      staging\nProvider  local\nRouter    staging.localhost\n\
         Status    running\nVersion   30000000000000\n",
    );
    env.convox("rack params").prints("Password  hush\n");
    env.convox("rack releases")
        .prints("VERSION   UPDATED\n20200101  \n");
    env.convox("version").prints(&format!(
        "client: {}\nserver: 30000000000000 ({})\n",
        env!("CARGO_PKG_VERSION"),
        rack.host
    ));
}

#[test]
fn the_app_is_told_by_flag_setting_or_directory() {
    let rack = FakeRack::start(one_app);
    let env = Env::with(&rack);
    env.convox("-a other apps info")
        .fails("ERROR: app not found: other\nhint: `convox apps` lists what there is\n");
    env.convox("apps info other")
        .fails("ERROR: app not found: other\nhint: `convox apps` lists what there is\n");
    env.put("work/myapp/.convox/app", "other\n");
    env.convox("apps info")
        .fails("ERROR: app not found: other\nhint: `convox apps` lists what there is\n");
    assert_eq!(env.convox("apps info -a myapp").status, 0);
    assert_eq!(
        rack.request("GET /apps/myapp")
            .headers
            .get("authorization")
            .map(String::as_str),
        Some("Basic Y29udm94OnNlY3JldA==")
    );
}

#[test]
fn environment_is_lines_and_at_least_one() {
    let rack = FakeRack::start(one_app);
    let env = Env::with(&rack);
    env.convox("env").prints("BAZ=quux\nFOO=bar\n");
    env.convox("env get FOO").prints("bar\n");
    env.convox("env get NOPE")
        .fails("ERROR: env not found: NOPE\n");
    let empty = FakeRack::start(|_| Reply::Json("[]"));
    Env::with(&empty).convox("env").prints("\n");
}

#[test]
fn raw_answers_are_indented_and_sorted() {
    let rack = FakeRack::start(|_| Reply::Json(r#"{"b":"<&>","a":[]}"#));
    let env = Env::with(&rack);
    let text = "{\n  \"a\": [],\n  \"b\": \"\\u003c\\u0026\\u003e\"\n}\n";
    env.convox("api get /apps").prints(text);
    env.convox("api get apps?x=1").prints(text);
    assert_eq!(rack.lines(), ["GET /apps", "GET /apps?x=1"]);
}

#[test]
fn actions_send_what_they_say() {
    let rack = FakeRack::start(|request| match request.line.as_str() {
        "POST /apps" => Reply::Json(r#"{"name":"new","status":"creating"}"#),
        "GET /apps/new?settled=30s" => Reply::Json(r#"{"name":"new","status":"running"}"#),
        "DELETE /apps/new" => Reply::Status(409, "app is locked: new\n"),
        "GET /apps/myapp/services" => {
            Reply::Json(r#"[{"name":"web","count":2},{"name":"api","count":1}]"#)
        }
        "GET /apps/myapp/processes?service=web" => Reply::Json(
            r#"[{"id":"1","name":"web","status":"running"},{"id":"2","name":"web","status":"running"}]"#,
        ),
        "GET /apps/myapp?settled=30s" => {
            Reply::Json(r#"{"name":"myapp","status":"running","release":"RAAAAAAAAAA"}"#)
        }
        "GET /apps/myapp/releases/RAAAAAAAAAA" => Reply::Json(r#"{"id":"RAAAAAAAAAA"}"#),
        _ => Reply::Status(200, "ok\n"),
    });
    let env = Env::with(&rack);
    env.convox("apps create new").prints("Creating new... OK\n");
    assert_eq!(rack.request("POST /apps").body, b"name=new");
    env.convox("apps lock new").prints("Locking new... OK\n");
    assert_eq!(rack.request("PUT /apps/new").body, b"lock=true");
    let refused = env.convox("apps delete new");
    assert_eq!(
        (
            refused.stdout.as_str(),
            refused.stderr.as_str(),
            refused.status
        ),
        ("Deleting new... ", "ERROR: app is locked: new\n", 1)
    );
    env.convox("scale web --count=2 --memory 512")
        .prints("Scaling web... OK\n");
    assert_eq!(
        rack.request("PUT /apps/myapp/services/web").body,
        b"count=2&memory=512"
    );
    env.convox("restart")
        .prints("Restarting api... OK\nRestarting web... OK\n");
    // More than run: the count that was asked for is not there.
    let short = FakeRack::start(|request| match request.line.as_str() {
        "GET /apps/myapp/services" => Reply::Json(r#"[{"name":"web","count":2}]"#),
        "GET /apps/myapp/processes?service=web" => {
            Reply::Json(r#"[{"id":"1","name":"web","status":"running"}]"#)
        }
        "GET /apps/myapp?settled=30s" => Reply::Json(r#"{"name":"myapp","status":"running"}"#),
        _ => Reply::Status(200, "ok\n"),
    });
    let env = Env::with(&short);
    env.convox("scale web --count=2").fails_after(
        "Scaling web... ",
        "ERROR: 1 of 2 processes of web are running: see `convox logs`\n",
    );
    env.convox("apps params set broken")
        .fails("ERROR: Key=Value expected: broken\n");
}
