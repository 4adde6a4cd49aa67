//! Builds that travel: export, import and import again of a build with a large
//! image and of one with many small layers, beside what `docker save | gzip -1`
//! and `docker load` of what that has written need for the same images; and the most
//! memory that server and client had in it. What `docker load` needs for the same image
//! without compression, which no archive is, is shown too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use end_to_end::World;
use serde_json::json;

use super::{Row, docker, quiet, ratio};

/// What either program may have in memory.
const MEMORY_KIB: u64 = 64 * 1024;
/// Half of what is in it compresses like programs do, half not at all.
const LARGE: &str = "FROM debian:bookworm-slim\n\
    RUN mkdir /copies && for i in 1 2 3 4 5 6 7; do cp -a /usr /copies/$i; done \
    && head -c 536870912 /dev/urandom > /random\n";

/// A kind of build that travels.
struct Subject<'w> {
    world: &'w World,
    what: &'static str,
    app: &'static str,
    /// Rounds of which the middle one counts.
    rounds: usize,
    /// Name of its image for the floors.
    image: String,
    directory: PathBuf,
}

/// The highest memory of the programs, in KiB.
#[derive(Default)]
struct Peaks {
    client: u64,
    server: u64,
}

/// All rows.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    world.install(&["staging", "production"]);
    let many = (0..10).fold("FROM busybox:1.36\n".to_owned(), |recipe, number| {
        recipe + &format!("RUN head -c 200000 /dev/urandom > /file-{number}\n")
    });
    let mut rows = Vec::new();
    let mut peaks = Peaks::default();
    for (what, app, rounds, recipe) in [
        ("1 GiB image", "large", 3, LARGE.to_owned()),
        ("ten small layers", "layers", 7, many),
    ] {
        let subject = Subject::make(world, (what, app), rounds, &recipe);
        rows.extend(subject.rows(&mut peaks));
    }
    rows.push(memory("server: most memory in all of this", peaks.server));
    rows.push(memory("client: most memory in all of this", peaks.client));
    rows
}

fn memory(what: &str, kib: u64) -> Row {
    Row {
        what: what.to_owned(),
        measured: format!("{:.1} MiB", kib as f64 / 1024.0),
        floor: "-".into(),
        ratio: "-".into(),
        target: "≤ 64 MiB".into(),
        within: kib <= MEMORY_KIB,
    }
}

impl<'w> Subject<'w> {
    /// Makes an image and imports it into staging, in an archive as racks of version 2
    /// write it. The builder that is used keeps no layers, so that an image that is
    /// removed is gone.
    fn make(
        world: &'w World,
        (what, app): (&'static str, &'static str),
        rounds: usize,
        recipe: &str,
    ) -> Self {
        let directory = world.path().join(app);
        fs::create_dir(&directory).expect("a directory");
        let image = format!(
            "twinrack-bench-{}/{app}:web.BAAAAAAAAAA",
            std::process::id()
        );
        let context = directory.join("context");
        fs::create_dir(&context).expect("a directory");
        fs::write(context.join("Dockerfile"), recipe).expect("a recipe");
        let built = Command::new("docker")
            .args(["build", "--quiet", "--no-cache", "--tag", &image])
            .arg(&context)
            .env("DOCKER_BUILDKIT", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(built.is_ok_and(|status| status.success()), "docker build");
        let record = json!({
            "id": "BAAAAAAAAAA", "app": app, "status": "complete",
            "manifest": "services:\n  web:\n    build: .\n",
        });
        fs::write(directory.join("build.json"), record.to_string()).expect("a file");
        let subject = Self {
            world,
            what,
            app,
            rounds,
            image,
            directory,
        };
        subject.bash(&format!(
            "docker save -o {app}.BAAAAAAAAAA.tar {image} && tar --format=ustar -cf - build.json \
             {app}.BAAAAAAAAAA.tar | gzip -1 > first.tgz && mv {app}.BAAAAAAAAAA.tar floor.tar && \
             gzip -1 < floor.tar > load.tgz",
            image = subject.image
        ));
        subject.create("staging");
        subject.convox(&["builds", "import", "-f", "first.tgz"], "staging");
        subject
    }

    fn rows(&self, peaks: &mut Peaks) -> Vec<Row> {
        let build = self.newest("staging");
        let export = ["builds", "export", build.as_str(), "-f", "b.tgz"];
        let import = ["builds", "import", "-f", "b.tgz"];
        let mut rows = vec![self.export(&export)];
        rows.extend(self.export_on_one_processor(&export));

        self.delete("staging");
        docker(&["rmi", &self.image]);
        // A server that does nothing else from here on.
        self.world.kill_server();
        // One after the other in every round, so that all meet the same machine.
        let (mut firsts, mut seconds) = (vec![], vec![]);
        let (mut floors, mut plain) = (vec![], vec![]);
        for _ in 0..self.rounds {
            plain.push(time(|| self.bash("docker load -q -i floor.tar")));
            docker(&["rmi", &self.image]);
            floors.push(time(|| self.bash("docker load -q -i load.tgz")));
            docker(&["rmi", &self.image]);
            self.create("production");
            firsts.push(time(|| self.watched(&import, "production", peaks)));
            seconds.push(time(|| self.watched(&import, "production", peaks)));
            if floors.len() < self.rounds {
                self.delete("production");
            }
        }
        let build = self.newest("production");
        let export = ["builds", "export", build.as_str(), "-f", "c.tgz"];
        self.watched(&export, "production", peaks);
        peaks.server = peaks.server.max(peak_kib(&self.world.server_id()));
        self.delete("production");

        let [first, second] = [middle(firsts), middle(seconds)];
        let [floor, plain] = [middle(floors), middle(plain)];
        let what = |text: &str| format!("{text}, {}", self.what);
        rows.push(ratio(
            &what("import, against docker load"),
            first,
            floor,
            1.2,
        ));
        rows.push(Row {
            target: "-".into(),
            within: true,
            ..ratio(
                &what("the same, against docker load without compression"),
                first,
                plain,
                f64::INFINITY,
            )
        });
        rows.push(ratio(
            &what("import again, against the first"),
            second,
            first,
            0.2,
        ));
        rows
    }

    /// With all processors.
    fn export(&self, words: &[&str]) -> Row {
        let (mut ours, mut floors) = (vec![], vec![]);
        for _ in 0..self.rounds {
            ours.push(time(|| self.convox(words, "staging")));
            let floor = format!("docker save {} | gzip -1 > floor.tgz", self.image);
            floors.push(time(|| self.bash(&floor)));
        }
        let what = format!("export, against docker save | gzip -1, {}", self.what);
        ratio(&what, middle(ours), middle(floors), 1.0)
    }

    /// The server and the floor's gzip with one processor, where that can be asked for.
    fn export_on_one_processor(&self, words: &[&str]) -> Option<Row> {
        let pinned = Command::new("taskset").args(["-c", "0", "true"]).status();
        if !pinned.is_ok_and(|status| status.success()) {
            return None;
        }
        self.world.kill_server();
        let mut server = self.world.start_server_on_one_processor();
        while !self.world.answers() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let floor = format!(
            "docker save {} | taskset -c 0 gzip -1 > floor.tgz",
            self.image
        );
        let (mut ours, mut floors) = (vec![], vec![]);
        for _ in 0..self.rounds {
            ours.push(time(|| self.convox(words, "staging")));
            floors.push(time(|| self.bash(&floor)));
        }
        let (ours, floor) = (middle(ours), middle(floors));
        self.world.kill_server();
        server.wait().expect("it has ended");
        let what = format!("the same with one processor, {}", self.what);
        Some(ratio(&what, ours, floor, 1.0 / 0.9))
    }

    fn create(&self, rack: &str) {
        let words = ["apps", "create", self.app, "-r", rack];
        self.world.convox(&words).ok();
    }

    fn delete(&self, rack: &str) {
        let words = ["apps", "delete", self.app, "-r", rack];
        self.world.convox(&words).ok();
        self.world.wait_for_no_app(rack, self.app);
    }

    fn newest(&self, rack: &str) -> String {
        let builds = self.world.api(rack, &format!("/apps/{}/builds", self.app));
        builds[0]["id"].as_str().expect("a build").to_owned()
    }

    fn convox(&self, words: &[&str], rack: &str) {
        let words = [words, &["-a", self.app, "-r", rack]].concat();
        self.world.convox_in(&self.directory, &words).ok();
    }

    /// Runs the client and remembers the most memory it had.
    fn watched(&self, words: &[&str], rack: &str, peaks: &mut Peaks) {
        let words = [words, &["-a", self.app, "-r", rack]].concat();
        let child = self.world.spawn_convox(&self.directory, &words);
        peaks.client = peaks.client.max(most_kib(child));
    }

    fn bash(&self, text: &str) {
        let directory = self.directory.to_string_lossy();
        let text = format!("set -eo pipefail; cd '{directory}'; {text}");
        quiet("bash", &["-c", &text]);
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The most memory a program ever had, so far.
fn peak_kib(pid: &str) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status"));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

/// Waits for a program that must succeed; the most memory it had.
fn most_kib(mut child: Child) -> u64 {
    let pid = child.id().to_string();
    let mut most = 0;
    loop {
        most = most.max(peak_kib(&pid));
        if let Some(status) = child.try_wait().expect("our own child") {
            assert!(status.success(), "the client has failed");
            return most;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
