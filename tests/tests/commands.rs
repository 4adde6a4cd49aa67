//! What the client does beside the way from staging to production, with the real programs
//! on both engines. Commands share an app that was built once; what they print to the
//! letter is in `goldens`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{Follower, World, labelled, server_id, wait_until, write};
use serde_json::Value;

const MANIFEST: &str = "\
environment:
  - GREETING=hello
resources:
  cache:
    type: redis
  database:
    type: postgres
    options:
      version: \"15\"
services:
  web:
    build: .
    port: 3000
    health:
      path: /health
      interval: 1
      timeout: 1
    drain: 1
    termination:
      grace: 1
    test: echo testing && exit 3
    resources:
      - cache
      - database
";

/// The manifest of an app that shows a certificate; no two apps have one domain.
fn with_a_domain() -> String {
    MANIFEST.replace("port: 3000", "port: 3000\n    domain: shop.example")
}

/// An app that runs on rack `staging`, and its source as the working directory.
struct Shop {
    world: World,
    app: PathBuf,
    docker: bool,
}

impl Shop {
    fn open(world: World, docker: bool, manifest: &str) -> Self {
        world.install(&["staging"]);
        let app = world.example("tiny", "myapp");
        write(&app, "convox.yml", manifest);
        // No other test builds the same image.
        write(&app, "bin/own", &world.path().display().to_string());
        let shop = Self { world, app, docker };
        shop.ok(&["apps", "create"]);
        shop.ok(&["deploy"]);
        shop
    }

    /// Standard output of a command that must succeed.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.world.convox_in(&self.app, words).ok()
    }

    /// The reason of a command that must fail with status 1.
    #[track_caller]
    fn fails(&self, words: &[&str]) -> String {
        let answer = self.world.convox_in(&self.app, words);
        assert_eq!(answer.status, 1, "{answer:?}");
        answer.error()
    }

    /// Standard output of a line of bash that must succeed.
    #[track_caller]
    fn bash(&self, line: &str) -> String {
        let line = format!("set -o pipefail; {line}");
        self.world.script(&self.app, &line).ok()
    }

    fn api(&self, path: &str) -> Value {
        self.world.api("staging", path)
    }

    /// Ids of the processes of the app that run, in order.
    fn running(&self) -> Vec<String> {
        let processes = self.api("/apps/myapp/processes");
        let processes = processes.as_array().expect("a list");
        let running = processes
            .iter()
            .filter(|process| process["status"] == "running");
        let mut ids: Vec<_> = running.map(|process| text(&process["id"])).collect();
        ids.sort();
        ids
    }

    fn active(&self, app: &str) -> String {
        text(&self.api(&format!("/apps/{app}"))["release"])
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn interrupt(follower: &Follower) {
    let pid = follower.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.expect("kill").success());
}

/// Everything below a directory: mode, and content or target.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let seen = if metadata.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            (0, target.to_string_lossy().into_owned().into_bytes())
        } else if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
            (metadata.mode(), Vec::new())
        } else {
            (metadata.mode(), fs::read(&path).expect("a file"))
        };
        let name = path.strip_prefix(root).expect("below the root");
        found.insert(name.to_owned(), seen);
    }
    found
}

/// `cp`: files and directories with any name, up, down and across.
fn files(shop: &Shop) {
    let odd = shop.world.path().join("it's \"odd\" ü");
    fs::create_dir_all(odd.join("deep/-er")).expect("directories");
    fs::create_dir(odd.join("nothing in it")).expect("a directory");
    for name in [
        "-n",
        " blank ",
        "a:b",
        "new\nline",
        "%41",
        ".hidden",
        "*?[x]",
        "back\\slash",
    ] {
        fs::write(odd.join("deep/-er").join(name), name).expect("a file");
    }
    // Longer than any buffer on the way, and than a header can name.
    let long = "n".repeat(200);
    fs::write(odd.join(&long), vec![7; 3_000_000]).expect("a file");
    fs::set_permissions(odd.join(&long), fs::Permissions::from_mode(0o751)).expect("a mode");
    symlink("deep/-er/a:b", odd.join("link")).expect("a link");
    symlink("/nowhere at all", odd.join("dangling")).expect("a link");
    let wanted = tree(&odd);
    let local = odd.display().to_string();

    shop.ok(&["scale", "web", "--count", "2"]);
    let [one, other] = &shop.running()[..] else {
        panic!("two processes run");
    };
    // As another name, below directories that are not there yet.
    shop.ok(&["cp", &local, &format!("{one}:/srv/a new/place")]);
    // From process to process; below a slash it keeps its name.
    shop.ok(&[
        "cp",
        &format!("{one}:/srv/a new/place"),
        &format!("{other}:/tmp/"),
    ]);
    let back = shop.world.path().join("back");
    shop.ok(&[
        "cp",
        &format!("{other}:/tmp/place"),
        &back.display().to_string(),
    ]);
    assert_eq!(tree(&back), wanted);
    // One file, into a directory that is there.
    let file = odd.join("deep/-er/a:b").display().to_string();
    shop.ok(&["cp", &file, &format!("{one}:/srv/a new")]);
    shop.ok(&[
        "cp",
        &format!("{one}:/srv/a new/a:b"),
        &back.display().to_string(),
    ]);
    assert_eq!(fs::read_to_string(back.join("a:b")).expect("a file"), "a:b");
    // A second time it is replaced.
    fs::write(odd.join("deep/-er/a:b"), "anew").expect("a file");
    shop.ok(&["cp", &file, &format!("{one}:/srv/a new/a:b")]);
    shop.ok(&[
        "cp",
        &format!("{one}:/srv/a new/a:b"),
        &back.display().to_string(),
    ]);
    assert_eq!(
        fs::read_to_string(back.join("a:b")).expect("a file"),
        "anew"
    );

    let missing = shop.world.path().join("missing");
    let target = missing.display().to_string();
    let reason = shop.fails(&["cp", &format!("{one}:/not/there"), &target]);
    assert!(reason.contains("/not/there"), "{reason}");
    assert!(!missing.exists(), "nothing half made");
    shop.fails(&["cp", &target, &format!("{one}:/tmp")]);
    shop.fails(&["cp", &format!("{one}:tmp"), &target]);
    shop.fails(&["cp", "nobody:/tmp", &target]);
    shop.ok(&["scale", "web", "--count", "1"]);
}

/// `test`: what a service names as its test decides, and nothing of it stays.
fn tests(shop: &Shop) {
    let apps = shop.ok(&["apps"]);
    let answer = shop.world.convox_in(&shop.app, &["test"]);
    assert_eq!(answer.status, 1, "{answer:?}");
    let shown = "Running echo testing && exit 3 on web\ntesting\n";
    assert!(answer.stdout.ends_with(shown), "{}", answer.stdout);
    assert_eq!(answer.stderr, "ERROR: exit 3\n");
    assert_eq!(
        shop.ok(&["apps"]),
        apps,
        "no app and no release stays behind"
    );
    wait_until("the process of the test is gone", || {
        let processes = shop.api("/apps/myapp/processes");
        processes.as_array().map(Vec::len) == Some(1)
    });
    let release = shop.active("myapp");
    assert_eq!(shop.fails(&["test", "--release", &release]), "exit 3");
}

/// `env edit`, `env diff`, `env set --replace`, `releases create-from`.
fn environment(shop: &Shop) {
    let first = shop.active("myapp");
    shop.ok(&["env", "set", "ONE=1", "TWO=2 and = more"]);
    let editor = shop.world.path().join("editor");
    // The file is private, and holds what there is.
    let script = "#!/bin/sh\nset -e\ntest \"$(stat -c %a \"$1\")\" = 600\ngrep -qx 'TWO=2 and = more' \"$1\"\n\
                  echo \"$1\" > \"$0.edited\"\nsed -i -e s/ONE=1/ONE=one/ -e /TWO/d \"$1\"\necho THREE=3 >> \"$1\"\n";
    fs::write(&editor, script).expect("a script");
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).expect("a mode");
    let edited = shop.bash(&format!("EDITOR={} convox env edit", editor.display()));
    assert!(
        edited.starts_with("Setting ONE, THREE... OK\nRelease: R"),
        "{edited}"
    );
    assert_eq!(shop.ok(&["env"]), "ONE=one\nTHREE=3\n");
    let left = fs::read_to_string(editor.with_extension("edited")).expect("its name");
    assert!(
        !Path::new(left.trim()).exists(),
        "secrets do not lie around"
    );
    assert_eq!(shop.ok(&["env", "diff", &first]), "+ ONE\n+ THREE\n");
    assert_eq!(
        shop.ok(&["env", "diff", &first, "--reveal"]),
        "+ ONE=one\n+ THREE=3\n"
    );

    let second = shop.bash("echo GREETING=moin | convox env set ONE=1 --replace --id");
    assert_eq!(shop.ok(&["env"]), "GREETING=moin\nONE=1\n");
    assert_eq!(shop.ok(&["env", "diff", &second]), "");

    // The build of the one, the environment of the other.
    let made = [
        "releases",
        "create-from",
        "--build-from",
        &first,
        "--env-from",
        &second,
    ];
    let made = shop.ok(&[&made[..], &["--promote", "--id"]].concat());
    assert_eq!(shop.active("myapp"), made);
    let release = |id: &str| shop.api(&format!("/apps/myapp/releases/{id}"));
    assert_eq!(release(&made)["build"], release(&first)["build"]);
    assert_eq!(release(&made)["env"], "GREETING=moin\nONE=1");
    if shop.docker {
        // A process gets what the manifest names, and nothing else.
        assert_eq!(shop.ok(&["run", "web", "echo $GREETING$ONE"]), "moin\n");
    }
}

/// What resources of the app give and take.
fn resources(shop: &Shop) {
    let listed = shop.ok(&["resources"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let url = shop.ok(&["resources", "url", "database"]);
    assert!(url.starts_with("postgres://"), "{url}");
    let info = shop.ok(&["resources", "info", "database"]);
    assert!(info.ends_with(&format!("URL   {url}")), "{info}");

    let ask = |question: &str| {
        let line = format!("echo '{question}' | convox resources console database");
        shop.bash(&line)
    };
    let pong = shop.bash("echo PING | convox resources console cache");
    assert!(
        pong.contains(if shop.docker { "PONG" } else { "PING" }),
        "{pong}"
    );
    if shop.docker {
        ask("create table kept (x int); insert into kept values (42);");
    }
    shop.ok(&["resources", "export", "database", "-f", "dump"]);
    if shop.docker {
        let dump = fs::read_to_string(shop.app.join("dump")).expect("a dump");
        assert!(dump.contains("kept"), "{dump}");
        ask("drop table kept;");
    }
    shop.ok(&["resources", "import", "database", "-f", "dump"]);
    if shop.docker {
        assert!(ask("select x from kept;").contains("42"), "it is back");
    }
    shop.fails(&["resources", "import", "database", "-f", "Dockerfile"]);
    shop.fails(&["resources", "export", "nope", "-f", "none"]);
    assert!(!shop.app.join("none").exists(), "nothing half made");
    let refused = shop
        .world
        .convox_in(&shop.app, &["resources", "console", "nope"]);
    assert_eq!(refused.stdout, "");
    assert_eq!(refused.error(), "no such resource: nope");

    leads_to_redis(shop, &["resources", "proxy", "cache", "-p", "0"]);
    leads_to_redis(shop, &["proxy", "0:cache.resource.myapp.staging:6379"]);
}

/// A local port, chosen by the system, leads to a redis until interrupted.
fn leads_to_redis(shop: &Shop, words: &[&str]) {
    let mut proxy = shop.world.follow_in(&shop.app, words);
    proxy.until("proxying localhost:");
    let port = proxy.until(" to ");
    let port: u16 = port.trim_end_matches(" to ").parse().expect("a port");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    proxy.until(&format!("connect: {port}\n"));
    stream.write_all(b"PING\r\n").expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+PONG");
    interrupt(&proxy);
    assert_eq!(proxy.status(), Some(130));
}

/// `apps lock|unlock|wait|export|import`.
fn apps(shop: &Shop) {
    shop.ok(&["apps", "lock"]);
    assert_eq!(
        shop.fails(&["apps", "delete", "myapp"]),
        "app is locked: myapp"
    );
    shop.ok(&["apps", "unlock"]);
    assert!(shop.ok(&["apps", "wait"]).ends_with("OK\n"));

    shop.ok(&["apps", "params", "set", "Speed=fast", "Colour=red"]);
    shop.ok(&["apps", "export", "-f", "app.tgz"]);
    // Another name on this rack, the same one on another.
    shop.ok(&["rack", "install", "local", "second"]);
    shop.ok(&["switch", "staging"]);
    for (name, rack) in [("other", "staging"), ("myapp", "second")] {
        shop.ok(&["apps", "import", name, "-f", "app.tgz", "-r", rack]);
        for words in [&["env"][..], &["apps", "params"]] {
            let there = [words, &["-a", name, "-r", rack]].concat();
            assert_eq!(shop.ok(&there), shop.ok(words));
        }
        let active = text(&shop.world.api(rack, &format!("/apps/{name}"))["release"]);
        let build = |rack: &str, app: &str, release: &str| {
            let path = format!("/apps/{app}/releases/{release}");
            text(&shop.world.api(rack, &path)["build"])
        };
        let here = build("staging", "myapp", &shop.active("myapp"));
        let there = build(rack, name, &active);
        assert_eq!(
            shop.world.digests(rack, name, &there),
            shop.world.digests("staging", "myapp", &here)
        );
        if shop.docker {
            let line = format!(
                "echo 'select x from kept;' | convox resources console database -a {name} -r {rack}"
            );
            assert!(shop.bash(&line).contains("42"), "its data came along");
        }
        // An app that is there is not touched, nor is it said how to remove it.
        let again = ["apps", "import", name, "-f", "app.tgz", "-r", rack];
        let again = shop.world.convox_in(&shop.app, &again);
        let reason = format!("ERROR: app already exists: {name}\n");
        assert_eq!((again.status, again.stderr), (1, reason));
        shop.ok(&["apps", "delete", name, "--wait", "-r", rack]);
    }
    shop.ok(&["rack", "uninstall", "second", "--force"]);
}

/// `apps cancel`: a promote under way ends, and the next one takes what was active.
fn cancel(shop: &Shop) {
    let before = shop.active("myapp");
    write(
        &shop.app,
        "convox.yml",
        &MANIFEST.replace("/health", "/nothing"),
    );
    write(&shop.app, ".twinrack-faults", "never-healthy\n");
    let release = shop.ok(&["build", "--id"]);
    let mut promote = shop
        .world
        .spawn_convox(&shop.app, &["releases", "promote", &release]);
    wait_until("the promote is under way", || {
        shop.api("/apps/myapp")["status"] == "updating"
    });
    let said = shop.ok(&["apps", "cancel"]);
    assert!(
        said.starts_with("Cancelling deployment of myapp...\n"),
        "{said}"
    );
    assert!(said.ends_with("OK\n"), "{said}");
    assert_eq!(promote.wait().expect("ended").code(), Some(1));
    assert_eq!(shop.active("myapp"), before);
    let newest = shop.api("/apps/myapp/releases")[0].clone();
    assert_ne!(newest["id"], release.as_str());
    let build = |id: &str| shop.api(&format!("/apps/myapp/releases/{id}"))["build"].clone();
    assert_eq!(newest["build"], build(&before));
    assert_eq!(shop.fails(&["apps", "cancel"]), "app is not updating");
}

/// Certificates, configs, registries, the machine.
fn belongings(shop: &Shop) {
    let made = shop.ok(&["certs", "generate", "shop.example", "--id"]);
    assert!(shop.ok(&["certs"]).contains(&made));
    let endpoint = format!("web:443   {made}  shop.example  1 year from now\n");
    assert!(shop.ok(&["ssl"]).ends_with(&endpoint));
    let pair = rcgen::generate_simple_self_signed(["pay.example".to_owned()]).expect("a pair");
    write(&shop.app, "pub.pem", &pair.cert.pem());
    write(&shop.app, "key.pem", &pair.signing_key.serialize_pem());
    let imported = shop.ok(&["certs", "import", "pub.pem", "key.pem", "--id"]);
    assert!(shop.ok(&["certs"]).contains(&imported));
    let wrong = shop.fails(&["certs", "import", "key.pem", "key.pem"]);
    assert!(!wrong.contains("PRIVATE"), "{wrong}");
    for id in [&made, &imported] {
        shop.ok(&["certs", "delete", id]);
    }
    assert_eq!(shop.ok(&["certs"]).lines().count(), 1);

    write(&shop.app, "config.txt", "two\nlines\n");
    let before = shop.running();
    shop.ok(&[
        "config",
        "set",
        "greeting.txt",
        "-f",
        "config.txt",
        "--restart",
    ]);
    assert_eq!(
        shop.ok(&["config", "get", "greeting.txt"]),
        "two\nlines\n\n"
    );
    assert_ne!(shop.running(), before, "its processes are new");

    let registry = if shop.docker {
        "127.0.0.1:9"
    } else {
        "registry.invalid"
    };
    let reason = shop.fails(&["registries", "add", registry, "me", "hush-hush"]);
    assert!(
        reason.contains(registry) && !reason.contains("hush"),
        "{reason}"
    );
    assert_eq!(shop.ok(&["registries"]).lines().count(), 1);
    shop.fails(&["registries", "remove", registry]);

    let instances = shop.api("/instances");
    let id = text(&instances[0]["id"]);
    assert!(shop.ok(&["instances"]).contains(&id));
    assert_eq!(shop.ok(&["instances", "ssh", &id, "echo", "hi"]), "hi\n");
    let answer = shop
        .world
        .convox_in(&shop.app, &["instances", "ssh", &id, "exit 3"]);
    assert_eq!(answer.status, 3, "{answer:?}");
    shop.fails(&["instances", "terminate", &id]);
}

/// `rack` and what is below it.
fn rack(shop: &Shop) {
    let url = |role: &str| {
        let words = ["rack", "access", "--role", role, "--duration-in-hours", "1"];
        let line = shop.ok(&words);
        line.trim()
            .strip_prefix("RACK_URL=")
            .expect("a variable")
            .to_owned()
    };
    let (reads, writes) = (url("read"), url("write"));
    let with = |url: &str, command: &str| {
        let line = format!("RACK_URL='{url}' convox {command}");
        shop.world.script(&shop.app, &line)
    };
    assert_eq!(with(&reads, "apps").ok(), shop.ok(&["apps"]));
    assert_eq!(
        with(&reads, "apps lock").status,
        1,
        "a reader changes nothing"
    );
    with(&writes, "apps lock").ok();
    with(&writes, "apps unlock").ok();
    shop.ok(&["rack", "access", "key", "rotate"]);
    assert_eq!(with(&writes, "apps").status, 1, "old tokens are dead");
    for refused in [with(&writes, "apps"), with(&reads, "apps")] {
        assert!(
            !refused.error().contains("eyJ"),
            "tokens are no part of errors"
        );
    }

    shop.ok(&["rack", "params", "set", "Speed=fast"]);
    assert_eq!(shop.ok(&["rack", "params"]), "Speed  fast\n");
    shop.ok(&["rack", "scale", "--count", "1"]);
    shop.fails(&["rack", "scale", "--count", "2"]);
    shop.ok(&["rack", "update"]);
    shop.fails(&["rack", "update", "20200101000000"]);
    shop.ok(&["rack", "wait"]);
    shop.fails(&["rack", "sync"]);
    shop.ok(&["rack", "sync", "whitelist", "instances", "ip"]);
    let processes = shop.ok(&["rack", "ps", "-a"]);
    assert!(processes.contains(&shop.running()[0]), "{processes}");

    shop.ok(&["rack", "resources", "create", "redis", "--name", "shared"]);
    let url = shop.ok(&["rack", "resources", "url", "shared"]);
    assert!(url.starts_with("redis://"), "{url}");
    shop.ok(&["rack", "resources", "link", "shared"]);
    let info = shop.ok(&["rack", "resources", "info", "shared"]);
    assert!(
        info.ends_with(&format!("URL      {url}Apps     myapp\n")),
        "{info}"
    );
    let reason = shop.fails(&["rack", "resources", "delete", "shared"]);
    assert_eq!(reason, "resource is linked to myapp");
    leads_to_redis(shop, &["rack", "resources", "proxy", "shared", "-p", "0"]);
    shop.ok(&["rack", "resources", "unlink", "shared"]);
    shop.ok(&["rack", "resources", "delete", "shared"]);
    assert_eq!(shop.ok(&["rack", "resources"]).lines().count(), 1);
}

/// `--json` and `--watch`.
fn views(shop: &Shop) {
    let process = shop.running().remove(0);
    let release = shop.active("myapp");
    let build = text(&shop.api(&format!("/apps/myapp/releases/{release}"))["build"]);
    let lines = [
        "apps",
        "apps info",
        "apps params",
        "balancers",
        "builds",
        "certs",
        "configs",
        "env",
        "instances",
        "ps",
        "rack",
        "rack params",
        "rack ps",
        "rack releases",
        "rack resources",
        "rack resources options redis",
        "rack resources types",
        "rack scale",
        "racks",
        "registries",
        "releases",
        "resources",
        "resources info cache",
        "scale",
        "services",
        "ssl",
    ];
    let of_one = [
        format!("builds info {build}"),
        format!("releases info {release}"),
        format!("ps info {process}"),
    ];
    for line in lines
        .iter()
        .copied()
        .chain(of_one.iter().map(String::as_str))
    {
        let words: Vec<_> = line.split(' ').chain(["--json"]).collect();
        let json = shop.ok(&words);
        let value: Value = serde_json::from_str(&json).expect(line);
        assert!(value.is_array() || value.is_object(), "{line}: {json}");
    }
    let mut watch = shop.world.follow_in(&shop.app, &["ps", "--watch", "1"]);
    for _ in 0..2 {
        watch.until("Every 1s:\n\n");
        watch.until(&process);
    }
    interrupt(&watch);
    assert_eq!(watch.status(), Some(0));
}

fn an_app(shop: &Shop) {
    files(shop);
    tests(shop);
    environment(shop);
    resources(shop);
    apps(shop);
    cancel(shop);
}

fn a_rack(shop: &Shop) {
    belongings(shop);
    rack(shop);
    views(shop);
}

#[test]
fn commands_about_an_app_simulated() {
    an_app(&Shop::open(World::simulated(), false, MANIFEST));
}

#[test]
#[ignore = "needs Docker"]
fn commands_about_an_app_on_docker() {
    an_app(&Shop::open(World::docker(), true, MANIFEST));
}

#[test]
fn commands_about_a_rack_simulated() {
    a_rack(&Shop::open(World::simulated(), false, &with_a_domain()));
}

#[test]
#[ignore = "needs Docker"]
fn commands_about_a_rack_on_docker() {
    let shop = Shop::open(World::docker(), true, &with_a_domain());
    a_rack(&shop);
    shop.ok(&["rack", "uninstall", "staging", "--force"]);
    let server = server_id(&shop.world.path().join("data")).expect("a server");
    assert_eq!(labelled(&server), Vec::<String>::new());
}

/// Programs that write down what they are asked to do; `sudo` does it.
fn recorders(world: &World, failing: bool) -> PathBuf {
    let place = world.path().join("programs");
    fs::create_dir_all(&place).expect("made");
    let record = place.join("record");
    let end = i32::from(failing);
    for (name, script) in [
        ("sudo", "exec \"$@\"".to_owned()),
        ("install", format!("cat \"$4\" >'{}'", record.display())),
        ("rm", format!("echo \"rm $*\" >>'{}'", record.display())),
        (
            "update-ca-certificates",
            format!("echo \"updated $*\" >>'{}'; exit {end}", record.display()),
        ),
    ] {
        let program = place.join(name);
        write(&place, name, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    }
    place
}

#[test]
fn an_authority_is_trusted_with_the_machines_own_programs() {
    let mut world = World::simulated();
    world.install(&["staging"]);
    let pem = world.convox(&["rack", "ca"]).ok();
    assert_eq!(
        pem,
        fs::read_to_string(world.path().join("data/ca.pem")).expect("the authority")
    );
    let place = recorders(&world, false);
    let path = std::env::var("PATH").expect("a path");
    world.set("PATH", &format!("{}:{path}", place.display()));
    let record = || fs::read_to_string(place.join("record")).expect("a record");
    let trusted = world.convox(&["rack", "ca", "--trust"]);
    assert_eq!(trusted.status, 0, "{}", trusted.stderr);
    assert!(trusted.stdout.contains(" is trusted"), "{}", trusted.stdout);
    // Commands are said before they run.
    let said = &trusted.stderr;
    assert!(said.contains("install -D -m 0644 "), "{said}");
    assert!(said.contains("/update-ca-certificates"), "{said}");
    assert_eq!(record(), format!("{pem}updated \n"));
    let untrusted = world.convox(&["rack", "ca", "--untrust"]);
    assert_eq!(untrusted.status, 0, "{}", untrusted.stderr);
    assert!(record().contains("rm -f /usr/local/share/ca-certificates/twinrack-"));
    assert!(record().ends_with("updated --fresh\n"), "{}", record());
    recorders(&world, true);
    let failed = world.convox(&["rack", "ca", "--trust"]);
    assert_eq!(failed.status, 1, "{}", failed.stdout);
    assert!(
        failed.stderr.contains("failed: exit status: 1"),
        "{}",
        failed.stderr
    );
}

#[test]
fn a_server_listens_on_further_ports_when_it_is_told_so() {
    let world = World::simulated();
    let further = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = further.local_addr().expect("bound").port();
    // Somebody else has it: no server, and the next one does not want it.
    let words = [
        "rack",
        "install",
        "local",
        "staging",
        "--engine",
        "simulated",
        "--https",
    ];
    let with = |port: u16| [&words[..], &[&port.to_string()]].concat().join(" ");
    let install = |port: u16| world.script(world.path(), &format!("convox {}", with(port)));
    let taken = install(port);
    assert_ne!(taken.status, 0, "{}", taken.stdout);
    assert!(taken.stderr.contains("already in use"), "{}", taken.stderr);
    drop(further);
    install(port).ok();
    for wanted in [world.port(), port] {
        let stream = TcpStream::connect(("127.0.0.1", wanted));
        assert!(stream.is_ok(), "nothing listens on {wanted}");
    }
    // A server that is started again listens there again.
    assert!(world.kill_server());
    world.convox(&["apps"]).ok();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    // One that runs cannot have more.
    let refused = world.script(
        world.path(),
        "convox rack install local production --engine simulated --http 1",
    );
    assert_ne!(refused.status, 0);
    assert!(
        refused.stderr.contains("runs already"),
        "{}",
        refused.stderr
    );
}
