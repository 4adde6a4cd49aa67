//! What is made of a source: builds, releases, environments, archives.

use crate::transcript::Transcript;

/// Id of the newest build or release.
fn newest(transcript: &Transcript, noun: &str) -> String {
    let all = transcript
        .world
        .api("staging", &format!("/apps/myapp/{noun}"));
    all[0]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn builds() {
    let mut at = Transcript::begin();
    at.run("convox builds");
    at.run("convox build --id");
    at.run("convox build -d 'second build'");
    let build = newest(&at, "builds");
    at.run("convox builds");
    at.run("convox builds -l 1");
    at.run(&format!("convox builds info {build}"));
    at.run("convox builds info nope");
    at.run(&format!("convox builds logs {build}"));
    at.run("convox builds logs nope");
    at.run(&format!("convox builds export {build} -f build.tgz"));
    at.run(&format!(
        "convox builds export {build} > piped.tgz && cmp build.tgz piped.tgz"
    ));
    at.run("convox builds export nope -f nope.tgz || ls nope.tgz");
    at.run("convox builds import -f build.tgz");
    at.run("convox builds import build.tgz --id");
    at.run("convox builds import < convox.yml");
    at.run("convox builds import -f nope.tgz");
    at.run("convox apps create other");
    at.run("convox builds import build.tgz -a other");
    at.run("convox builds import build.tgz -a other --force");
    at.run("convox rack install local production && convox switch staging");
    at.run("convox apps create myapp -r production");
    at.run(&format!(
        "convox builds copy {build} --from staging --to production"
    ));
    at.run("convox builds copy nope --from staging --to production");
    at.run("convox builds -r production");
    at.run("convox builds create -d 'as in 2017'");
    at.run("mv Dockerfile Recipe; convox build; status=$?; mv Recipe Dockerfile; exit $status");
    at.run("convox build nope");
    at.run("convox build -a nope");
    at.is("builds");
}

#[test]
fn deploys() {
    let mut at = Transcript::begin();
    at.run("convox deploy");
    at.run("convox deploy --id");
    at.run("convox deploy -a nope");
    at.run("convox test");
    at.run("convox test --release nope");
    at.run("echo crash-loop > .twinrack-faults; convox deploy; status=$?; rm .twinrack-faults; exit $status");
    at.run("echo build-fails > .twinrack-faults; convox deploy; status=$?; rm .twinrack-faults; exit $status");
    at.run("convox releases");
    at.run("convox start nope");
    at.run("convox start -g 3");
    at.is("deploys");
}

#[test]
fn releases() {
    let mut at = Transcript::begin();
    at.run("convox releases");
    at.run("convox releases promote");
    at.run("convox deploy --id > /dev/null 2>&1");
    let first = newest(&at, "releases");
    at.run("convox env set A=1");
    at.run("convox releases promote");
    at.run("convox releases");
    at.run("convox releases -l 1");
    at.run(&format!("convox releases info {first}"));
    at.run("convox releases info nope");
    at.run(&format!("convox releases manifest {first}"));
    at.run(&format!("convox releases manifest {first} --json"));
    at.run("convox releases manifest nope");
    at.run("convox releases promote nope");
    at.run(&format!("convox releases promote {first}"));
    at.run(&format!("convox releases rollback {first}"));
    at.run(&format!("convox releases rollback {first} --id"));
    at.run("convox releases rollback nope");
    let second = newest(&at, "releases");
    at.run(&format!(
        "convox releases create-from --build-from {first} --env-from {second}"
    ));
    at.run(
        "convox releases create-from --use-active-release-build --use-active-release-env --promote",
    );
    at.run("convox releases create-from");
    at.run(&format!(
        "convox releases create-from --build-from nope --env-from {first}"
    ));
    at.is("releases");
}

#[test]
fn environments() {
    let mut at = Transcript::deployed();
    at.run("convox env");
    at.run("convox env set B=2 A=1 'C=x=y z'");
    at.run("convox env");
    let before = newest(&at, "releases");
    at.run("printf 'export Z=1\\n' | convox env set");
    at.run("convox env unset 'export Z'");
    at.run("convox env get C");
    at.run("convox env get C --json");
    at.run("convox env get NOPE");
    at.run("printf 'D=4\\nE=5\\n' | convox env set F=6 --id");
    at.run("convox env unset D E");
    at.run("convox env unset NOPE --promote");
    at.run("convox env set G=7 --replace");
    at.run("convox env set WORD");
    at.run(&format!("convox env diff {before}"));
    at.run(&format!("convox env diff {before} --reveal"));
    at.run(&format!("convox env diff {before} --json"));
    at.run(&format!("convox env diff {before} --reveal --json"));
    at.run("convox env diff");
    at.run("convox env diff nope");
    at.run(&format!("convox env --release {before}"));
    at.run("EDITOR='sed -i s/G=7/H=8/' convox env edit");
    at.run("EDITOR=false convox env edit");
    at.run("EDITOR='sed -i s/H=8/junk/' convox env edit");
    at.run("EDITOR='sed -i d' convox env edit --promote");
    at.run("convox env -a nope");
    at.is("environments");
}

#[test]
fn archives() {
    let mut at = Transcript::begin();
    at.run("convox build --id > /dev/null 2>&1");
    let build = newest(&at, "builds");
    at.run(&format!("convox builds export {build} -f build.tgz"));
    at.run("convox artifact verify build.tgz");
    at.run("convox artifact verify convox.yml");
    at.run("convox artifact convert build.tgz --to v2 -o v2.tgz");
    at.run("convox artifact convert build.tgz --to v9 -o v9.tgz");
    at.run("convox artifact diff build.tgz v2.tgz");
    at.run("convox artifact diff build.tgz nope.tgz");
    at.run("convox artifact inspect nope.tgz");
    at.run("convox artifact inspect v2.tgz");
    at.is("archives");
}
