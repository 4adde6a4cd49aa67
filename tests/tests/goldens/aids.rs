//! What helps with apps and with the client itself: timers, reports, secrets, completion,
//! manual, racks for one command.

use std::fs;

use end_to_end::write;

use crate::transcript::Transcript;

#[test]
fn helpers() {
    let mut at = Transcript::begin();
    let manifest = fs::read_to_string(at.directory().join("convox.yml")).expect("a manifest");
    // Never due while the test runs, but on the first second of a year.
    let timers = "timers:\n  yearly:\n    schedule: 0 0 1 1 ?\n    command: bin/clean all\n    service: web\n";
    write(at.directory(), "convox.yml", &format!("{manifest}{timers}"));
    at.run("convox deploy --id > /dev/null 2>&1");
    at.run("convox timers");
    at.run("convox timers run yearly");
    at.run("convox timers run nope");
    at.run("convox deploy-debug -o summary | sed -n 2p");
    at.run("convox deploy-debug -a nope");
    at.run("convox services update web --count 1 --memory 256");
    at.run("convox services update nope --count 1");
    at.run("convox env mask set GREETING");
    at.run("convox env mask");
    at.run("convox env mask --json");
    at.run("convox env mask unset GREETING");
    at.run("convox doctor | grep -w engine");
    at.run("convox rack exec --racks one -- convox racks");
    at.run("convox rack exec --racks one,two -- sh -c 'exit 3'");
    at.run("convox rack exec --racks one,two -- sh -c 'convox install --stack-name two && convox switch && convox install --stack-name three'");
    at.run("convox rack exec --racks one,two -- sh -c 'convox rack uninstall one --force; convox racks'");
    at.run("convox racks");
    at.run("convox completion fish > convox.fish && test -s convox.fish");
    at.run("convox completion sh");
    at.run("convox completion nope");
    at.run("convox complete zsh -- switch");
    at.run("convox man manual && grep '^.TH\\|^.SH' manual/convox-exec.1");
    at.run("convox man manual && ls manual | grep -x 'convox-apps-create.1\\|convox.1'");
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    at.run(&format!(
        "sealed=$(convox encrypt --key {key} --data hello); convox decrypt --key {key} --data \"$sealed\""
    ));
    at.run(&format!("convox decrypt --key {key} --data junk"));
    at.run("convox encrypt --key short --data hello");
    at.run("convox encrypt");
    at.is("helpers");
}

#[test]
fn manifests() {
    let mut at = Transcript::begin();
    at.run("convox manifest check");
    at.run("convox manifest check --json | grep -A 3 '\"resources\"'");
    at.run("convox manifest check < convox.yml - | tail -n 1");
    write(at.directory(), "wrong.yml", WRONG);
    at.run("convox manifest check wrong.yml");
    at.run("convox manifest check wrong.yml --json");
    write(at.directory(), "needs.yml", NEEDS);
    at.run("convox manifest check needs.yml | grep -A 1 image:");
    at.run("echo TAG=7 > vars; convox manifest check needs.yml --env-file vars");
    at.run("echo KEY=k >> vars; convox manifest check needs.yml --env-file vars | grep image:");
    at.run("convox manifest check needs.yml -a myapp");
    at.run("convox env set KEY=k TAG=9 > /dev/null");
    at.run("convox manifest check needs.yml -a myapp | grep image:");
    at.run("convox manifest check needs.yml -a myapp --env-file vars | grep image:");
    at.run("convox manifest check -a nope");
    at.run("convox manifest check nope.yml");
    at.run("convox manifest check --env-file nope");
    let compose =
        "web:\n  build: .\n  ports:\n    - 80:3000\n  links: [db]\ndb:\n  image: convox/postgres\n";
    write(at.directory(), "docker-compose.yml", compose);
    at.run("convox manifest check docker-compose.yml");
    at.run("mv convox.yml kept.yml; convox manifest check");
    at.run("convox build");
    at.run("convox start");
    at.is("manifests");
}

/// A manifest with something wrong and something odd.
const WRONG: &str = "\
services:
  web:
    prot: 3000
    port: x
    resources:
      - database
";

/// A manifest that wants variables.
const NEEDS: &str = "\
services:
  web:
    image: registry.example/web:${TAG}
    environment:
      - KEY
";

#[test]
fn further_forms() {
    let mut at = Transcript::deployed();
    at.run("convox builds import-image registry.example.com/web:1");
    at.run("convox builds import-image registry.invalid/web:1");
    let builds = at.world.api("staging", "/apps/myapp/builds");
    let newest = builds[0]["id"].as_str().expect("an id").to_owned();
    at.run(&format!("convox builds delete {newest}"));
    at.run("convox builds delete nope");
    at.run("convox services create redis --name old");
    at.run("convox services link old");
    at.run("convox services unlink old");
    at.run("convox services delete old");
    at.run("convox services delete old");
    at.run("convox apps create other");
    at.run("convox api delete /apps/other");
    at.run("convox api delete /apps/nope");
    at.is("further-forms");
}
