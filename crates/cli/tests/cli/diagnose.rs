//! `convox deploy-debug`: reports on an app.

use crate::support::{Env, FakeRack, Reply, Request};

fn rack(request: &Request) -> Reply {
    match request.line.split('?').next().unwrap_or_default() {
        "GET /apps/myapp/diagnose" => Reply::Json(
            r#"{"namespace":"staging-myapp","rack":"staging","app":"myapp","timestamp":"2026-04-18T10:15:14Z",
                "overview":{"services":[
                    {"name":"web","desiredReplicas":2,"readyReplicas":1,"updatedReplicas":1,"status":"stalled","stallReason":"unhealthy"},
                    {"name":"worker","desiredReplicas":1,"readyReplicas":1,"status":"running","agent":true}],
                  "events":[{"timestamp":"1970-01-02T03:04:05Z","type":"Warning","reason":"Unhealthy","object":"web","message":"it does\u001bnot answer","hint":"check health.path"}]},
                "pods":[{"name":"0123456789ab","service":"web","phase":"Running","ready":"0/1","ageSeconds":90,"restarts":2,"classification":"unhealthy",
                    "stateDetail":"Unhealthy","hint":"check health.path in convox.yml, and raise health.grace if it starts slowly","logs":"one\ntwo\n",
                    "previousLogs":"before\n","events":[{"timestamp":"1970-01-02T03:04:05Z","type":"Warning","reason":"Exited","message":"with 1"}]}],
                "summary":{"total":3,"unhealthy":1,"notReady":0,"new":0,"healthy":2}}"#,
        ),
        "GET /apps/well/diagnose" => Reply::Json(
            r#"{"rack":"staging","app":"well","summary":{"total":2,"unhealthy":0,"notReady":0,"new":0,"healthy":2}}"#,
        ),
        _ => Reply::Status(404, "app not found\n"),
    }
}

#[test]
fn a_report_for_people_tells_all() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    let run = env.convox("deploy-debug --service web -n 5 --no-events");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0));
    // How long ago something was depends on the day of the test.
    let days = jiff::Timestamp::now().as_second() / 86_400 - 1;
    let text = run
        .stdout
        .replace(&format!("{days}d ago"), "<days> ago")
        .replace(&format!("{}d ago", days - 1), "<days> ago");
    assert_eq!(
        text,
        "
Deploy Diagnostics: myapp on staging
Namespace: staging-myapp
Time:      2026-04-18T10:15:14Z

--- Service Status ---
  ● web  1/2 processes ready  STALLED
      unhealthy
  ● worker (agent)  1/1 process ready  RUNNING

  Warning Events:
    [<days> ago] Unhealthy on web: it does not answer
             check health.path

--- Processes ---

  ● web  unhealthy
    process: 0123456789ab
    state: Running    ready: 0/1    age: 1m    restarts: 2
    detail:  Unhealthy
    hint:    check health.path in convox.yml, and raise health.grace if it starts slowly

    --- Current Logs (last 2 lines) ---
    one
    two

    --- Previous Container Logs ---
    before

    --- Events ---
    <days> ago  Warning  Exited               with 1

Summary: 3 total  1 unhealthy  2 healthy

Legend: ● unhealthy  ● not-ready  ● new  ● healthy

"
    );
    assert_eq!(
        rack.lines(),
        [
            "GET /apps/myapp/diagnose?age=300&all=false&events=false&lines=5&previous=true&services=web"
        ]
    );
}

#[test]
fn a_report_may_be_tables_or_json() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("deploy-debug -o summary").prints(
        "SERVICE  DESIRED  READY  STATUS\nweb      2        1      stalled *\nworker   1        1      running\n\n\
         PROCESS       SERVICE  STATUS     READY  RESTARTS  AGE  HINT\n\
         0123456789ab  web      Unhealthy  0/1    2         1m   check health.path in convox.yml, and raise health.grace i...\n",
    );
    env.convox("deploy-debug -a well --output summary")
        .prints("All 2 processes healthy.\n");
    for line in ["deploy-debug -o json", "deploy-debug --json"] {
        let run = env.convox(line);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(report["pods"][0]["classification"], "unhealthy");
    }
    env.convox("deploy-debug -a nope")
        .fails("ERROR: app not found\nhint: `convox apps` lists what there is\n");
    let wrong = env.convox("deploy-debug -o xml");
    assert_eq!(wrong.status, 1);
    assert!(wrong.stderr.contains("xml"), "{}", wrong.stderr);
}
