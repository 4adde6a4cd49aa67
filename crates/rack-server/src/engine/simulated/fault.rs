//! Faults of the simulated engine, switched on by name: what goes wrong, for
//! which service, and how a name is read.
//!
//! Faults come from four places and all count: the engine's own list, that of the
//! rack, the variable [`VARIABLE`] of a process (set on the app, or with `ENV` in its
//! Dockerfile) or of a build's arguments, and the file [`CONTEXT_FILE`] at the
//! root of a build context, which the built image carries on.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::super::{Labels, label};
use super::process::is_resource;

/// Variable that names faults, separated by blanks or commas.
pub const VARIABLE: &str = "TWINRACK_FAULTS";
/// File in a build context that names faults, separated by blanks, commas or lines; `#` starts a comment.
pub const CONTEXT_FILE: &str = ".twinrack-faults";
/// Milliseconds of `slow-start` without a number.
const USUAL_DELAY: u64 = 5_000;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// Every build fails at its last step.
    BuildFails,
    /// The images of the next builds, so many, are removed before the builds are over.
    ImageLost(u8),
    /// Processes answer 503.
    NeverHealthy,
    /// Processes exit 1 right after their start.
    CrashLoop,
    /// Processes are killed for want of memory right after their start.
    OutOfMemory,
    /// Processes refuse connections for so many milliseconds after their start.
    SlowStart(u64),
    /// Every exec ends with this status.
    RunExits(u8),
    /// The engine does not answer.
    EngineDown,
    /// Loading images fails as if the archive were damaged.
    ImportCorrupt,
    /// Images that are not present cannot be fetched.
    PullFails,
}

impl FaultKind {
    /// What goes wrong, for people.
    pub fn effect(self) -> String {
        match self {
            Self::BuildFails => "builds fail at their last step".into(),
            Self::ImageLost(builds) => {
                format!(
                    "the images of the next {builds} builds are gone before the builds are over"
                )
            }
            Self::NeverHealthy => "processes answer 503".into(),
            Self::CrashLoop => "processes exit 1 right after their start".into(),
            Self::OutOfMemory => "processes are killed for want of memory at their start".into(),
            Self::SlowStart(delay) => {
                format!("processes take no connections for {delay} ms after their start")
            }
            Self::RunExits(status) => format!("commands in processes exit {status}"),
            Self::EngineDown => "the engine does not answer".into(),
            Self::ImportCorrupt => "images that are loaded seem to be damaged".into(),
            Self::PullFails => "images that are not there cannot be pulled".into(),
        }
    }

    /// Whether the fault concerns single processes and so may be limited to a service.
    fn concerns_processes(self) -> bool {
        matches!(
            self,
            Self::NeverHealthy
                | Self::CrashLoop
                | Self::OutOfMemory
                | Self::SlowStart(_)
                | Self::RunExits(_)
        )
    }
}

/// One fault: what goes wrong, and for whom. Faults that name no service spare resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Value of the name label it is limited to.
    pub service: Option<String>,
}

/// A name that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown fault {0:?}: use build-fails, image-lost-N, never-healthy, crash-loop, out-of-memory, slow-start, slow-start-MS, run-exits-N, \
     engine-down, import-corrupt or pull-fails; those of processes may end in @SERVICE"
)]
pub struct UnknownFault(pub String);

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let unknown = || UnknownFault(text.to_owned());
        let (name, service) = match text.split_once('@') {
            Some((_, "")) => return Err(unknown()),
            Some((name, service)) => (name, Some(service.to_owned())),
            None => (text, None),
        };
        let kind = match name {
            "build-fails" => FaultKind::BuildFails,
            "never-healthy" => FaultKind::NeverHealthy,
            "crash-loop" => FaultKind::CrashLoop,
            "out-of-memory" => FaultKind::OutOfMemory,
            "slow-start" => FaultKind::SlowStart(USUAL_DELAY),
            "engine-down" => FaultKind::EngineDown,
            "import-corrupt" => FaultKind::ImportCorrupt,
            "pull-fails" => FaultKind::PullFails,
            _ => {
                if let Some(delay) = name.strip_prefix("slow-start-") {
                    FaultKind::SlowStart(delay.parse().map_err(|_| unknown())?)
                } else if let Some(builds) = name.strip_prefix("image-lost-") {
                    FaultKind::ImageLost(builds.parse().map_err(|_| unknown())?)
                } else if let Some(status) = name.strip_prefix("run-exits-") {
                    FaultKind::RunExits(status.parse().map_err(|_| unknown())?)
                } else {
                    return Err(unknown());
                }
            }
        };
        if service.is_some() && !kind.concerns_processes() {
            return Err(unknown());
        }
        Ok(Self { kind, service })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FaultKind::BuildFails => f.write_str("build-fails")?,
            FaultKind::ImageLost(builds) => write!(f, "image-lost-{builds}")?,
            FaultKind::NeverHealthy => f.write_str("never-healthy")?,
            FaultKind::CrashLoop => f.write_str("crash-loop")?,
            FaultKind::OutOfMemory => f.write_str("out-of-memory")?,
            FaultKind::SlowStart(delay) => write!(f, "slow-start-{delay}")?,
            FaultKind::RunExits(status) => write!(f, "run-exits-{status}")?,
            FaultKind::EngineDown => f.write_str("engine-down")?,
            FaultKind::ImportCorrupt => f.write_str("import-corrupt")?,
            FaultKind::PullFails => f.write_str("pull-fails")?,
        }
        match &self.service {
            Some(service) => write!(f, "@{service}"),
            None => Ok(()),
        }
    }
}

/// Reads a list of names separated by blanks, commas or lines; `#` starts a comment.
pub(super) fn parse_list(text: &str) -> Result<BTreeSet<Fault>, UnknownFault> {
    text.lines()
        .map(|line| line.split_once('#').map_or(line, |(before, _)| before))
        .flat_map(|line| line.split([',', ' ', '\t']))
        .filter(|name| !name.is_empty())
        .map(str::parse)
        .collect()
}

/// The faults that are switched on; clones share them.
#[derive(Debug, Clone)]
pub struct Faults {
    set: Arc<Mutex<BTreeSet<Fault>>>,
    down: watch::Sender<bool>,
    /// Those of the whole engine, when these are those of a rack.
    above: Option<Box<Self>>,
}

/// Tells when the engine goes away.
#[derive(Debug)]
pub(super) struct DownWatch {
    own: watch::Receiver<bool>,
    above: Option<Box<Self>>,
}

impl DownWatch {
    /// Waits until the engine is away.
    pub(super) async fn down(&mut self) {
        let Some(above) = &mut self.above else {
            // The sender is as old as the engine.
            let _ = self.own.wait_for(|down| *down).await;
            return;
        };
        tokio::select! {
            _ = self.own.wait_for(|down| *down) => {}
            () = Box::pin(above.down()) => {}
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            set: Arc::default(),
            down: watch::Sender::new(false),
            above: None,
        }
    }
}

impl Faults {
    /// Faults of a rack, which come on top of these.
    pub(super) fn of_rack(&self) -> Self {
        Self {
            above: Some(Box::new(self.clone())),
            ..Self::default()
        }
    }

    /// Switches a fault on.
    pub fn set(&self, name: &str) -> Result<(), UnknownFault> {
        let fault = name.parse()?;
        self.change(|set| {
            set.insert(fault);
        });
        Ok(())
    }

    /// Switches a fault off, if it is on. A name without `@` or number clears exactly that name.
    pub fn clear(&self, name: &str) -> Result<(), UnknownFault> {
        let fault = name.parse()?;
        self.change(|set| {
            set.remove(&fault);
        });
        Ok(())
    }

    /// Has exactly these faults on, or changes nothing when a name is unknown.
    pub fn replace(&self, names: &str) -> Result<(), UnknownFault> {
        let faults = parse_list(names)?;
        self.change(|set| *set = faults);
        Ok(())
    }

    /// The faults that are on here, sorted.
    pub fn on(&self) -> Vec<Fault> {
        self.lock().iter().cloned().collect()
    }

    /// Names of the faults that are on here, sorted.
    pub fn list(&self) -> Vec<String> {
        self.lock().iter().map(ToString::to_string).collect()
    }

    /// Switches every fault of a list on, or none when a name is unknown.
    pub fn set_list(&self, names: &str) -> Result<(), UnknownFault> {
        let faults = parse_list(names)?;
        self.change(|set| set.extend(faults));
        Ok(())
    }

    /// Whether a fault without a service is on.
    pub(super) fn has(&self, kind: FaultKind) -> bool {
        let fault = Fault {
            kind,
            service: None,
        };
        self.lock().contains(&fault) || self.above.as_ref().is_some_and(|above| above.has(kind))
    }

    /// Whether the image of a build that ends now is removed; that counts.
    pub(super) fn lose_image(&self) -> bool {
        let mut lost = false;
        self.change(|set| {
            let found = set.iter().find_map(|fault| match fault.kind {
                FaultKind::ImageLost(builds) => Some((fault.clone(), builds)),
                _ => None,
            });
            let Some((fault, builds)) = found else {
                return;
            };
            set.remove(&fault);
            lost = builds > 0;
            if builds > 1 {
                let kind = FaultKind::ImageLost(builds - 1);
                set.insert(Fault { kind, ..fault });
            }
        });
        lost || self.above.as_ref().is_some_and(|above| above.lose_image())
    }

    /// Tells when the engine goes away.
    pub(super) fn watch_down(&self) -> DownWatch {
        DownWatch {
            own: self.down.subscribe(),
            above: self
                .above
                .as_ref()
                .map(|above| Box::new(above.watch_down())),
        }
    }

    /// What goes wrong for a process with these labels and own faults.
    pub(super) fn of_process(&self, labels: &Labels, own: &BTreeSet<Fault>) -> ProcessFaults {
        let name = labels.get(label::NAME);
        // Whoever rehearses the fall of services still needs their databases.
        let spared = is_resource(labels);
        let mut found = match &self.above {
            Some(above) => above.of_process(labels, &BTreeSet::new()),
            None => ProcessFaults::default(),
        };
        let set = self.lock();
        for fault in set.iter().chain(own) {
            if fault
                .service
                .as_ref()
                .map_or(spared, |service| Some(service) != name)
            {
                continue;
            }
            match fault.kind {
                FaultKind::NeverHealthy => found.never_healthy = true,
                FaultKind::CrashLoop => found.crash_loop = true,
                FaultKind::OutOfMemory => found.out_of_memory = true,
                FaultKind::SlowStart(delay) => {
                    found.slow_start = found.slow_start.max(Duration::from_millis(delay));
                }
                FaultKind::RunExits(status) => found.run_exits = Some(i64::from(status)),
                FaultKind::BuildFails
                | FaultKind::ImageLost(_)
                | FaultKind::EngineDown
                | FaultKind::ImportCorrupt
                | FaultKind::PullFails => {}
            }
        }
        found
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<Fault>)) {
        let mut set = self.lock();
        change(&mut set);
        // Told under the lock, so that watchers see changes in the order they were made.
        let down = set.contains(&Fault {
            kind: FaultKind::EngineDown,
            service: None,
        });
        self.down
            .send_if_modified(|was| std::mem::replace(was, down) != down);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Fault>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What goes wrong for one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ProcessFaults {
    /// Answers 503.
    pub(super) never_healthy: bool,
    /// Exits 1 at once.
    pub(super) crash_loop: bool,
    /// Is killed at once, for want of memory.
    pub(super) out_of_memory: bool,
    /// Refuses connections so long.
    pub(super) slow_start: Duration,
    /// Status of every exec.
    pub(super) run_exits: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        for name in [
            "build-fails",
            "never-healthy@web",
            "crash-loop",
            "out-of-memory@worker",
            "slow-start-250@worker",
            "run-exits-3",
            "engine-down",
            "import-corrupt",
            "pull-fails",
            "image-lost-3",
        ] {
            assert_eq!(name.parse::<Fault>().expect(name).to_string(), name);
        }
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for name in [
            "",
            "sunny",
            "slow-start-",
            "run-exits-256",
            "run-exits-x",
            "never-healthy@",
            "engine-down@web",
            "image-lost-x",
        ] {
            assert_eq!(name.parse::<Fault>(), Err(UnknownFault(name.to_owned())));
        }
        let faults = Faults::default();
        faults
            .set_list("crash-loop, sunny")
            .expect_err("an unknown name");
        assert_eq!(faults.list(), Vec::<String>::new());
    }

    #[test]
    fn lists_have_blanks_commas_lines_and_comments() {
        let found = parse_list("crash-loop, never-healthy@web # later\n\n# all\nbuild-fails")
            .expect("known names");
        let names: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["build-fails", "never-healthy@web", "crash-loop"]);
    }

    #[test]
    fn a_fault_with_a_service_hits_only_that_service() {
        let faults = Faults::default();
        faults.set("never-healthy@web").expect("known");
        let own = parse_list("slow-start-20 crash-loop@worker").expect("known");
        let of = |name: &str| {
            faults.of_process(
                &Labels::from([(label::NAME.to_owned(), name.to_owned())]),
                &own,
            )
        };
        assert!(of("web").never_healthy && !of("worker").never_healthy);
        assert!(of("worker").crash_loop && !of("web").crash_loop);
        assert_eq!(of("web").slow_start, Duration::from_millis(20));
        faults.clear("never-healthy@web").expect("known");
        assert!(!of("web").never_healthy);
    }

    #[test]
    fn faults_of_a_rack_are_its_own_and_those_of_the_engine_are_everyones() {
        let engine = Faults::default();
        let (staging, production) = (engine.of_rack(), engine.of_rack());
        staging.set("build-fails").expect("known");
        staging.set("never-healthy@web").expect("known");
        let web = Labels::from([(label::NAME.to_owned(), "web".to_owned())]);
        let healthy = |faults: &Faults| !faults.of_process(&web, &BTreeSet::new()).never_healthy;
        assert!(staging.has(FaultKind::BuildFails) && !production.has(FaultKind::BuildFails));
        assert!(!healthy(&staging) && healthy(&production));
        engine.set("never-healthy").expect("known");
        engine.set("image-lost-1").expect("known");
        assert!(!healthy(&production));
        assert_eq!(production.list(), Vec::<String>::new());
        assert!(production.lose_image() && !staging.lose_image());
    }

    #[tokio::test]
    async fn an_engine_that_is_down_is_down_for_every_rack() {
        let engine = Faults::default();
        let (staging, production) = (engine.of_rack(), engine.of_rack());
        let mut there = production.watch_down();
        staging.set("engine-down").expect("known");
        staging.watch_down().down().await;
        let waiting = there.down();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        engine.set("engine-down").expect("known");
        waiting.await;
    }

    #[test]
    fn so_many_images_are_lost_and_no_more() {
        let faults = Faults::default();
        faults.set("image-lost-2").expect("known");
        let lost: Vec<_> = (0..4).map(|_| faults.lose_image()).collect();
        assert_eq!(lost, [true, true, false, false]);
        assert_eq!(faults.list(), Vec::<String>::new());
    }
}
