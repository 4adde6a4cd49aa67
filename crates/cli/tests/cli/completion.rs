//! What a shell is told at TAB, by the program itself and through real bash.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Env, FakeRack, Reply, Request, finish};

fn rack(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps" => Reply::Json(
            r#"[{"name":"myapp","status":"running"},{"name":"mail","status":"updating"},{"name":"bad name"}]"#,
        ),
        "GET /apps/myapp/releases?limit=20" => Reply::Json(
            r#"[{"id":"RABCDEFGHIJ","description":"first: \u001b[1mone"},{"id":"RBBBBBBBBBB"}]"#,
        ),
        "GET /apps/mail/releases?limit=20" => Reply::Json(r#"[{"id":"RMAILAAAAAA"}]"#),
        "GET /apps/myapp/services" => Reply::Json(r#"[{"name":"web"},{"name":"worker"}]"#),
        "GET /apps/myapp/processes" => Reply::Json(r#"[{"id":"0123","name":"web"}]"#),
        "GET /apps/myapp/releases?limit=1" => Reply::Json(r#"[{"id":"RABCDEFGHIJ"}]"#),
        "GET /apps/myapp/releases/RABCDEFGHIJ" => {
            Reply::Json(r#"{"id":"R","env":"FOO=bar\nFIZZ=1"}"#)
        }
        "GET /apps/myapp/builds?limit=20" => {
            Reply::Json(r#"[{"id":"BABCDEFGHIJ","status":"complete","description":"fix"}]"#)
        }
        "GET /apps/myapp/resources" => Reply::Json(r#"[{"name":"database","type":"postgres"}]"#),
        _ => Reply::Status(404, "not part of this test\n"),
    }
}

/// What may come next, as bash is told.
fn offered(env: &Env, words: &[&str]) -> String {
    let run = env.convox_words(&[&["complete", "bash", "--"], words].concat());
    assert_eq!((run.stderr.as_str(), run.status), ("", 0), "{words:?}");
    run.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn commands_and_flags_come_from_the_grammar() {
    let env = Env::new();
    assert_eq!(offered(&env, &["rel"]), "releases");
    assert_eq!(
        offered(&env, &["releases", ""]),
        "create-from info manifest promote rollback"
    );
    assert_eq!(offered(&env, &["-a", "x", "releases", "pro"]), "promote");
    assert_eq!(offered(&env, &["releases", "promote", "--f"]), "--force");
    assert_eq!(offered(&env, &["-"]), "--help --app --rack --wait");
    assert_eq!(offered(&env, &["-a", "x", "--r"]), "--rack");
    assert_eq!(offered(&env, &["completion", ""]), "bash fish zsh");
    assert_eq!(offered(&env, &["deploy-debug", "--output", "s"]), "summary");
    assert!(!offered(&env, &[""]).contains("budget"));
    // Behind `--` there are no flags.
    assert_eq!(offered(&env, &["exec", "--", "-"]), "");
}

#[test]
fn names_come_from_the_rack_that_the_line_is_for() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    for (words, names) in [
        (&["apps", "info", "m"][..], "myapp mail"),
        (&["releases", "promote", ""], "RABCDEFGHIJ RBBBBBBBBBB"),
        (&["releases", "promote", "-a", "mail", ""], "RMAILAAAAAA"),
        (&["-amail", "releases", "promote", ""], "RMAILAAAAAA"),
        (&["run", "w"], "web worker"),
        (&["run", "--release", "RA"], "RABCDEFGHIJ"),
        (&["run", "--release=RB"], "--release=RBBBBBBBBBB"),
        (&["run", "--release", "=", "RB"], "RBBBBBBBBBB"),
        (&["logs", "-s", "wo"], "worker"),
        (&["exec", ""], "0123"),
        (&["ps", "stop", ""], "0123"),
        (&["env", "get", "F"], "FIZZ FOO"),
        (&["env", "unset", "FOO", "FI"], "FIZZ"),
        (&["builds", "export", ""], "BABCDEFGHIJ"),
        (&["resources", "url", ""], "database"),
        (&["env", "-a", "ma"], "mail"),
        // Before the words, too.
        (&["-a", ""], "myapp mail"),
        (&["--app", "ma"], "mail"),
        (&["--app=my"], "--app=myapp"),
        (&["apps", "info", "-a", "my"], "myapp"),
        (&["-a", "mail", "env", "get", "--", ""], ""),
        // Nothing is known of what comes here.
        (&["apps", "create", ""], ""),
        (&["run", "web", ""], ""),
        (&["nope", ""], ""),
    ] {
        assert_eq!(offered(&env, words), names, "{words:?}");
    }
}

#[test]
fn shells_that_show_descriptions_get_them() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    env.convox("complete zsh -- releases info RA")
        .prints("RABCDEFGHIJ:first:  [1mone\n");
    env.convox("complete fish -- releases info RA")
        .prints("RABCDEFGHIJ\tfirst:  [1mone\n");
    env.convox("complete zsh -- switch")
        .prints("switch:switch current rack\n");
}

#[test]
fn a_rack_that_fails_or_is_slow_is_passed_over() {
    let mut env = Env::new();
    env.set("RACK_URL", "http://convox:secret@127.0.0.1:1");
    assert_eq!(offered(&env, &["apps", "info", ""]), "");
    // Accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = silent.local_addr().expect("an address");
    env.set("RACK_URL", &format!("http://convox:secret@{host}"));
    let begun = Instant::now();
    assert_eq!(offered(&env, &["apps", "info", ""]), "");
    // Far more than the second it takes: only for ever is wrong.
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_server_that_has_stopped_is_not_started() {
    let env = Env::new();
    let host = env.server_host();
    env.put(
        "home/.config/convox/servers",
        format!(r#"{{"{host}": "{}"}}"#, env.path("data").display()),
    );
    env.put(
        "home/.config/convox/racks/staging",
        format!("https://convox:secret@{host}"),
    );
    env.put("home/.config/convox/rack", "staging");
    assert_eq!(offered(&env, &["apps", "info", ""]), "");
    assert!(!env.path("data").exists());
    assert_eq!(offered(&env, &["switch", "st"]), "staging");
}

#[test]
fn real_bash_completes() {
    let rack = FakeRack::start(rack);
    let env = Env::with(&rack);
    let like = env.command("");
    let program = like.get_program().to_owned();
    let directory = std::path::Path::new(&program)
        .parent()
        .expect("a directory");
    let path = format!(
        "{}:{}",
        directory.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let complete = |words: &str| {
        let script = format!(
            "source <(convox completion bash)\n\
             COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _convox\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n\
             complete -p convox"
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script])
            .env_clear()
            .envs(
                like.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("PATH", &path)
            .current_dir(like.get_current_dir().expect("a directory"))
            .stdin(Stdio::null());
        let run = finish(&mut bash);
        assert_eq!((run.stderr.as_str(), run.status), ("", 0));
        let (found, registered) = run.stdout.rsplit_once("complete ").expect("registered");
        assert_eq!(registered, "-o default -F _convox convox\n");
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(complete("convox releases pro"), "promote");
    assert_eq!(
        complete("convox releases promote ''"),
        "RABCDEFGHIJ RBBBBBBBBBB"
    );
    assert_eq!(complete("convox run web --release RA"), "RABCDEFGHIJ");
}

#[test]
fn scripts_of_other_shells_ask_the_same_program() {
    let env = Env::new();
    for shell in ["bash", "fish", "zsh"] {
        let script = env.convox(&format!("completion {shell}"));
        assert_eq!((script.stderr.as_str(), script.status), ("", 0));
        assert!(
            script
                .stdout
                .contains(&format!("convox complete {shell} -- ")),
            "{}",
            script.stdout
        );
    }
    assert_eq!(env.convox("completion tcsh").status, 1);
}
