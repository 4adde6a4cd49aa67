//! Arguments, help, and errors before any rack is asked.

use std::process::Stdio;

use crate::support::{Env, FakeRack, Reply};

#[test]
fn usage_errors_have_the_words_of_the_original() {
    let env = Env::new();
    for (line, error) in [
        ("apps --foo", "unknown flag: --foo"),
        ("apps -l", "unknown flag: -l"),
        ("releases info R -xw", "unknown flag: -xw"),
        ("builds -l", "flag needs an argument: 'l' in -l"),
        ("builds --limit", "flag needs an argument: --limit"),
        ("builds -wl", "flag needs an argument: 'l' in -wl"),
        (
            "builds -l x",
            "invalid argument \"x\" for \"-l, --limit\" flag: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "scale web --count x",
            "invalid argument \"x\" for \"--count\" flag: strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "rack logs --since 5",
            "invalid argument \"5\" for \"--since\" flag: time: missing unit in duration \"5\"",
        ),
        ("apps --=x", "bad flag syntax: --=x"),
        (
            "deploy-debug -o xml",
            "invalid argument \"xml\" for \"-o, --output\" flag: use one of terminal, summary, json",
        ),
        (
            "completion nope",
            "invalid argument \"nope\": use one of bash, fish, zsh",
        ),
        ("racks x", "0 args required"),
        ("apps delete", "1 arg required"),
        ("apps delete a b", "1 arg required"),
        ("releases promote a b", "no more than 1 arg expected"),
        ("env unset", "at least 1 arg required"),
        ("env get", "1 arg required"),
    ] {
        env.convox(line).fails(&format!("ERROR: {error}\n"));
    }
}

#[test]
fn unknown_commands_fail_and_are_corrected() {
    let env = Env::new();
    env.convox("relases")
        .fails("ERROR: unknown command: relases\nhint: did you mean `convox releases`?\n");
    env.convox("apps creat x")
        .fails("ERROR: unknown command: apps creat\nhint: did you mean `convox apps create`?\n");
    assert!(
        env.convox("aps")
            .stderr
            .ends_with("did you mean `convox apps`?\n")
    );
    env.convox("frobnicate")
        .fails("ERROR: unknown command: frobnicate\nhint: `convox help` lists the commands\n");
}

#[test]
fn help_is_data_and_succeeds() {
    let env = Env::new();
    let all = env.convox("help");
    assert_eq!((all.status, all.stderr.as_str()), (0, ""));
    assert_eq!(env.convox(""), all);
    assert_eq!(env.convox("--help"), all);
    assert!(
        all.stdout
            .lines()
            .any(|line| line.starts_with("convox releases promote  ")),
        "{}",
        all.stdout
    );
    assert!(
        !all.stdout.contains("builds create"),
        "hidden commands stay hidden"
    );
    env.convox("apps create -h").prints(
        "USAGE\n  convox apps create [app]\n\n\
         DESCRIPTION\n  create an app\n\n\
         OPTIONS\n  \
         --app app                -a app\n  \
         --generation generation  -g generation\n  \
         --rack rack              -r rack\n  \
         --timeout timeout        \n  \
         --wait                   -w\n",
    );
}

#[test]
fn the_version_needs_no_rack() {
    let env = Env::new();
    let version = env!("CARGO_PKG_VERSION");
    env.convox("-v").prints(&format!("{version}\n"));
    env.convox("--version").prints(&format!("{version}\n"));
    env.convox("version")
        .prints(&format!("client: {version}\nserver: none\n"));
}

#[test]
fn without_racks_it_says_how_to_get_one() {
    let env = Env::new();
    env.convox("apps").fails(
        "ERROR: no racks found, try `convox install --stack-name <name>` or `convox login <host>`\n",
    );
    env.convox("racks").prints("NAME  STATUS\n");
}

#[test]
fn a_rack_that_can_not_be_reached_is_named() {
    let mut env = Env::new();
    let host = env.server_host();
    env.set("RACK_URL", &format!("http://convox:secret@{host}"));
    let run = env.convox("apps");
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert!(
        run.stderr
            .starts_with(&format!("ERROR: cannot reach {host}: ")),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    env.set("RACK_URL", "nonsense:secret");
    assert!(!env.convox("apps").stderr.contains("secret"));
}

#[test]
fn a_closed_output_ends_quietly() {
    let rack = FakeRack::start(|_| Reply::Json(r#"[{"name":"a","status":"running"}]"#));
    let env = Env::with(&rack);
    // Closed before the program starts: what it writes can not reach a buffer.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = env
        .command("apps")
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("ended");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
