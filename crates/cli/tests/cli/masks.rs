//! `convox env mask`, and environments of releases that are named.

use crate::support::{Env, FakeRack, Reply, Request};

fn rack(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps/myapp/configs/cli-env-mask" => {
            Reply::Json(r#"{"name":"cli-env-mask","value":"TOKEN, KEY"}"#)
        }
        "GET /apps/new/configs/cli-env-mask" => {
            Reply::Status(404, "app config not found: cli-env-mask\n")
        }
        "PUT /apps/myapp/configs/cli-env-mask" | "PUT /apps/new/configs/cli-env-mask" => {
            Reply::Json("{}")
        }
        "PUT /apps/old/configs/cli-env-mask" | "GET /apps/old/configs/cli-env-mask" => {
            Reply::Status(404, "")
        }
        "GET /apps/myapp/releases?limit=1" => Reply::Json(r#"[{"id":"RNEWAAAAAAA"}]"#),
        "GET /apps/myapp/releases/RNEWAAAAAAA" => {
            Reply::Json(r#"{"id":"RNEWAAAAAAA","build":"B","env":"A=1\nTOKEN=secret"}"#)
        }
        "GET /apps/myapp/releases/ROLDAAAAAAA" => {
            Reply::Json(r#"{"id":"ROLDAAAAAAA","build":"B","env":"A=0"}"#)
        }
        "POST /apps/myapp/releases" => Reply::Json(r#"{"id":"RMADEAAAAAA"}"#),
        _ => Reply::Status(404, "app not found\n"),
    }
}

#[test]
fn names_to_hide_are_kept_where_version_3_keeps_them() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("env mask").prints("KEY\nTOKEN\n");
    env.convox("env mask -a new").prints("");
    env.convox("env mask -a nope")
        .fails("ERROR: app not found\nhint: `convox apps` lists what there is\n");
    env.convox("env mask set B A B")
        .prints("Setting masked env keys A, B... OK\n");
    env.convox("env mask set X -a new")
        .prints("Setting masked env keys X... OK\n");
    env.convox("env mask unset KEY NOPE")
        .prints("Unsetting masked env keys KEY, NOPE... OK\n");
    let set: Vec<_> = rack
        .requests()
        .into_iter()
        .filter(|request| request.line.starts_with("PUT"))
        .map(|request| String::from_utf8(request.body).expect("text"))
        .collect();
    // A,B,KEY,TOKEN; X; TOKEN: all in base64.
    assert_eq!(
        set,
        [
            "value=QSxCLEtFWSxUT0tFTg%3D%3D",
            "value=WA%3D%3D",
            "value=VE9LRU4%3D"
        ]
    );
}

#[test]
fn names_that_cannot_be_hidden_are_refused() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("env mask set A=1")
        .fails("ERROR: use `convox env set KEY=VALUE` to set env values. `convox env mask set` takes key names only\n");
    let wrong = env.convox_words(&["env", "mask", "set", "A\u{1b}[1m"]);
    assert!(
        wrong.stderr.starts_with("ERROR: invalid env key name: ")
            && !wrong.stderr.contains('\u{1b}'),
        "{wrong:?}"
    );
    assert_eq!(rack.lines(), Vec::<String>::new());
    env.convox("env mask set A -a old").fails_after(
        "Setting masked env keys A... ",
        "ERROR: this rack is too old to remember which variables are hidden\nhint: `convox env | sed 's/=.*//'` shows names only\n",
    );
}

#[test]
fn what_is_piped_is_never_hidden() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("env").prints("A=1\nTOKEN=secret\n");
    env.convox("env --reveal").prints("A=1\nTOKEN=secret\n");
    assert!(!rack.lines().iter().any(|line| line.contains("configs")));
}

#[test]
fn an_environment_may_start_from_another_release() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("env get A --release ROLDAAAAAAA").prints("0\n");
    env.convox("env set B=2 --release ROLDAAAAAAA")
        .prints("Setting B... OK\nRelease: RMADEAAAAAA\n");
    assert_eq!(
        rack.request("POST /apps/myapp/releases").body,
        b"env=A%3D0%0AB%3D2&parent-release=ROLDAAAAAAA"
    );
    env.convox("env set C=3 --replace --release ROLDAAAAAAA")
        .prints("Setting C... OK\nRelease: RMADEAAAAAA\n");
    let made: Vec<_> = rack
        .requests()
        .into_iter()
        .filter(|request| request.line == "POST /apps/myapp/releases")
        .map(|request| String::from_utf8(request.body).expect("text"))
        .collect();
    assert_eq!(made[1], "env=C%3D3&parent-release=ROLDAAAAAAA");
}
