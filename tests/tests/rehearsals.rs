//! `convox rack exec`: scripts with racks of their own, which are gone afterwards whatever
//! became of the script.

use std::fs;
use std::path::Path;
use std::process::Command;

use end_to_end::{World, script_turn, seed_script, wait_until, workflow_script, write};

/// The racks there are, by name.
fn racks(world: &World) -> Vec<String> {
    let listed = world.convox(&["racks"]).ok();
    let names = listed
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// The seed's own script, byte for byte where it is there, on racks that only it has.
fn the_workflow_has_racks_of_its_own(world: &World) {
    let app = world.example("tiny", "myapp");
    // A rack of the same name that the script must not touch.
    world.install(&["staging"]);
    world.convox(&["apps", "create", "myapp"]).ok();
    let script = seed_script().unwrap_or_else(workflow_script);
    // What runs where the script switched to last is looked at before it is gone.
    let script =
        format!("{script}\nconvox api get /system | grep '\"name\"'\nconvox ps | tail -n 1\n");
    write(&app, "deploy.sh", &script);
    let _turn = script_turn();
    let words = [
        "rack",
        "exec",
        "--racks",
        "staging,production",
        "--app",
        "myapp",
        "--",
        "bash",
        "./deploy.sh",
    ];
    let answer = world.convox_in(&app, &words);
    let said = answer.stderr.clone();
    let shown = answer.ok();
    assert!(said.contains("+ convox switch production"), "{said}");
    assert!(shown.contains("Switched to personal/staging\n"), "{shown}");
    assert!(shown.contains("\"name\": \"production-tmp-"), "{shown}");
    assert!(shown.contains("  web  "), "{shown}");
    assert_eq!(racks(world), ["personal/staging"]);
    assert_eq!(world.convox(&["switch"]).ok(), "personal/staging\n");
    let builds = world.api("staging", "/apps/myapp/builds");
    assert_eq!(builds.as_array().map(Vec::len), Some(0), "{builds}");
}

#[test]
fn the_workflow_has_racks_of_its_own_on_the_simulated_engine() {
    the_workflow_has_racks_of_its_own(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn the_workflow_has_racks_of_its_own_on_docker() {
    the_workflow_has_racks_of_its_own(&World::docker());
}

/// Runs a shell script with the racks `one` and `two`.
fn rehearse(world: &World, flags: &[&str], script: &str) -> end_to_end::Answer {
    let words = [
        &["rack", "exec", "--racks", "one,two"][..],
        flags,
        &["--", "sh", "-c", script],
    ];
    world.convox(&words.concat())
}

#[test]
fn the_status_is_the_scripts_and_nothing_leads_it_elsewhere() {
    let mut world = World::simulated();
    // Whatever the caller has chosen is not the script's.
    world.set("CONVOX_RACK", "personal/elsewhere");
    let answer = rehearse(
        &world,
        &["--app", "a,b"],
        "convox racks; convox switch; convox apps -r two; echo said >&2; exit 7",
    );
    assert_eq!(answer.status, 7);
    // Standard output is the script's alone.
    assert_eq!(
        answer.stdout,
        "NAME          STATUS\npersonal/one  running\npersonal/two  running\npersonal/one\nAPP  STATUS   RELEASE\na    running  \nb    running  \n"
    );
    assert!(answer.stderr.ends_with("said\n"), "{}", answer.stderr);
    world.unset("CONVOX_RACK");
    assert_eq!(racks(&world), Vec::<String>::new());
    // A signal that ends the script is told as a shell would.
    assert_eq!(rehearse(&world, &[], "kill -9 $$").status, 137);
    let missing = world.convox(&["rack", "exec", "--racks", "one", "--", "./nothing-here"]);
    assert_eq!(missing.status, 1);
    assert!(missing.error().starts_with("can not run ./nothing-here: "));
    assert_eq!(racks(&world), Vec::<String>::new());
}

#[test]
fn a_rack_that_cannot_be_made_leaves_no_other() {
    let world = World::simulated();
    world.install(&["mine"]);
    let answer = rehearse(&world, &["--engine", "steam"], "echo never");
    assert!(!answer.stdout.contains("never"));
    assert!(answer.error().contains("steam"));
    for (racks, error) in [
        ("one,one", "rack named twice: one"),
        ("One", "invalid rack name: One"),
        ("", "name a rack"),
    ] {
        let answer = world.convox(&["rack", "exec", "--racks", racks, "--", "true"]);
        assert!(answer.error().starts_with(error), "{racks}");
    }
    assert_eq!(racks(&world), ["personal/mine"]);
}

#[test]
fn racks_of_a_failed_script_are_kept_on_request() {
    let world = World::simulated();
    let answer = rehearse(&world, &["--keep"], "convox apps create left; exit 3");
    assert_eq!(answer.status, 3);
    let hint = answer
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("hint: `")?.split('`').next())
        .expect("a hint");
    assert!(
        answer.stderr.contains("kept: one, two\n"),
        "{}",
        answer.stderr
    );
    // The first hint is a way in: the settings know the racks by their short names.
    let look = hint.replace("ps -r one -a <app>", "apps -r one");
    let seen = world.script(world.path(), &look).ok();
    assert!(seen.contains("left  running"), "{seen}");
    let kept = racks(&world);
    assert_eq!(kept.len(), 2, "{kept:?}");
    for line in answer
        .stderr
        .lines()
        .filter(|line| line.contains("uninstall"))
    {
        let command = line.split('`').nth(1).expect("a command");
        world.script(world.path(), command).ok();
    }
    assert_eq!(racks(&world), Vec::<String>::new());
    let settings = look
        .split_once("CONVOX_CONFIG=")
        .and_then(|(_, rest)| rest.split(' ').next())
        .expect("a directory");
    assert!(Path::new(settings).join("racks/one").exists());
    fs::remove_dir_all(settings).expect("removed");
    // A script that succeeds keeps nothing.
    assert_eq!(rehearse(&world, &["--keep"], "true").status, 0);
    assert_eq!(racks(&world), Vec::<String>::new());
}

#[test]
fn a_script_installs_and_switches_as_it_would_without() {
    let world = World::simulated();
    let answer = rehearse(
        &world,
        &[],
        "set -e; convox install --stack-name one; convox rack install local two; \
         convox switch personal/one; convox switch two; convox apps create a -r personal/one; \
         convox uninstall one --force; convox racks; ! convox install --stack-name three",
    );
    assert_eq!(answer.status, 0, "{}", answer.stderr);
    assert_eq!(
        answer.stdout,
        "Installing rack... OK, personal/one\nSwitched to personal/one\n\
         Installing rack... OK, personal/two\nSwitched to personal/two\n\
         Switched to personal/one\nSwitched to personal/two\nCreating a... OK\n\
         Uninstalling personal/one... OK\nNAME          STATUS\npersonal/two  running\n"
    );
    assert!(
        answer
            .stderr
            .contains("ERROR: `convox rack exec` has made no rack three\n"),
        "{}",
        answer.stderr
    );
    assert_eq!(racks(&world), Vec::<String>::new());
}

#[test]
fn a_script_that_sees_to_its_end_itself_has_its_own_status() {
    let world = World::simulated();
    let ready = world.path().join("ready");
    let script = format!(
        "trap 'exit 3' INT; sleep 1000 & echo > {}; wait",
        ready.display()
    );
    let words = ["rack", "exec", "--racks", "one", "--", "sh", "-c", &script];
    let mut convox = world.spawn_convox(world.path(), &words);
    wait_until("the script runs", || ready.exists());
    let sent = Command::new("kill")
        .args(["-INT", &convox.id().to_string()])
        .status();
    assert!(sent.is_ok_and(|sent| sent.success()));
    assert_eq!(convox.wait().expect("ended").code(), Some(3));
    assert_eq!(racks(&world), Vec::<String>::new());
}

#[test]
fn a_signal_ends_the_script_and_removes_the_racks() {
    for (signal, status) in [("-TERM", 143), ("-INT", 130)] {
        let world = World::simulated();
        world.install(&["mine"]);
        let ready = world.path().join("ready");
        let script = format!(
            "sleep 1000 & echo $! > {ready}.new; mv {ready}.new {ready}; wait",
            ready = ready.display()
        );
        let words = [
            "rack", "exec", "--racks", "one,two", "--", "sh", "-c", &script,
        ];
        let mut convox = world.spawn_convox(world.path(), &words);
        wait_until("the script runs", || ready.exists());
        assert_eq!(racks(&world).len(), 3);
        let sent = Command::new("kill")
            .args([signal, &convox.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|sent| sent.success()));
        let ended = convox.wait().expect("ended");
        assert_eq!(ended.code(), Some(status), "{signal}");
        assert_eq!(racks(&world), ["personal/mine"], "{signal}");
        // What the script has started has ended with it.
        let pid = fs::read_to_string(&ready).expect("a process id");
        let process = format!("/proc/{}/cmdline", pid.trim());
        wait_until("the script's process is gone", || {
            !fs::read_to_string(&process).is_ok_and(|line| line.contains("sleep"))
        });
    }
}

#[test]
fn masked_variables_are_hidden_on_a_terminal_only() {
    let world = World::simulated();
    world.install(&["staging"]);
    world.convox(&["apps", "create", "myapp"]).ok();
    let release = world
        .convox(&[
            "env",
            "set",
            "SECRET=hush",
            "PLAIN=seen",
            "-a",
            "myapp",
            "--id",
        ])
        .ok();
    world
        .convox(&["env", "mask", "set", "SECRET", "-a", "myapp"])
        .ok();
    let mut terminal = world.terminal(30, 100);
    terminal.types("convox env -a myapp; echo 'the''end'\n");
    let shown = terminal.shows("theend");
    assert!(
        shown.contains("PLAIN=seen") && shown.contains("SECRET=****"),
        "{shown}"
    );
    assert!(!shown.contains("hush"), "{shown}");
    terminal.types("convox env -a myapp --reveal; echo 'an''end'\n");
    assert!(terminal.shows("anend").contains("SECRET=hush"));
    // The same of a release.
    terminal.types(&format!(
        "convox releases info {release} -a myapp; echo 'one''end'\n"
    ));
    let shown = terminal.shows("oneend");
    assert!(shown.contains("SECRET=****"), "{shown}");
    assert!(!shown.contains("SECRET=hush"), "{shown}");
    terminal.types(&format!(
        "convox releases info {release} -a myapp --reveal; echo 'two''end'\n"
    ));
    assert!(terminal.shows("twoend").contains("SECRET=hush"));
    assert!(
        world
            .convox(&["env", "-a", "myapp"])
            .ok()
            .contains("SECRET=hush")
    );
    world
        .convox(&["env", "mask", "unset", "SECRET", "-a", "myapp"])
        .ok();
    assert_eq!(world.convox(&["env", "mask", "-a", "myapp"]).ok(), "");
}

/// Two terminals' worth of work: a build, then an environment made from an older release.
#[test]
fn a_promote_that_leaves_the_newest_build_behind_says_so() {
    let world = World::simulated();
    let app = world.example("tiny", "myapp");
    world.install(&["staging"]);
    let run = |words: &[&str]| world.convox_in(&app, words);
    run(&["apps", "create"]).ok();
    let first = run(&["build", "--id"]).ok();
    let quiet = run(&["releases", "promote", &first]);
    assert_eq!(quiet.stderr, "");
    quiet.ok();
    let second = run(&["build", "--id"]).ok();
    let build = world.api("staging", &format!("/apps/myapp/releases/{second}"))["build"].clone();
    let build = build.as_str().expect("a build");
    let third = run(&["env", "set", "A=1", "--release", &first, "--id"]).ok();
    let warned = run(&["releases", "promote"]);
    let said = warned.stderr.clone();
    warned.ok();
    assert!(
        said.contains(&format!("the newest build is {build}\n")) && said.contains(&third),
        "{said}"
    );
    // What the hint says is what helps: nothing is left to be said afterwards.
    let hint = said
        .lines()
        .find_map(|line| line.strip_prefix("hint: `")?.split('`').next())
        .expect("a hint");
    let both = world.script(&app, hint);
    assert_eq!(both.stderr, "");
    both.ok();
    let (release, active) = world.active("staging");
    assert_eq!(active, build);
    let environment =
        world.api("staging", &format!("/apps/myapp/releases/{release}"))["env"].clone();
    assert_eq!(environment, "A=1");
    // The other way: the environment is newer than the release that is named.
    let fourth = run(&["build", "--id"]).ok();
    let fifth = run(&["env", "set", "B=2", "--id"]).ok();
    let warned = run(&["releases", "promote", &fourth]);
    let said = warned.stderr.clone();
    warned.ok();
    assert!(
        said.starts_with(&format!(
            "warning: {fifth} is newer than {fourth} and has another environment: B\n"
        )),
        "{said}"
    );
    // What a timer does can be had at once.
    let manifest = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    let timers = "timers:\n  nightly:\n    schedule: 0 3 * * ?\n    command: echo cleaned\n    service: web\n";
    write(&app, "convox.yml", &format!("{manifest}\n{timers}"));
    run(&["deploy"]).ok();
    assert!(
        run(&["timers"])
            .ok()
            .contains("nightly  0 3 * * ?  web      echo cleaned\n")
    );
    assert_eq!(run(&["timers", "run", "nightly"]).status, 0);
    // Going back is no oversight; the rack says how it is done.
    let back = run(&["releases", "promote", &first]);
    assert_eq!(
        back.stderr,
        "ERROR: can not promote an older release, try rollback\n"
    );
    assert_eq!(back.status, 1);
}
