//! Where most tests begin: two racks with the tiny app.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{World, workflow_script};

/// Held while a script runs that writes the one file all of them write.
#[must_use = "dropped, the turn is over"]
pub struct ScriptTurn {
    _in_this_process: MutexGuard<'static, ()>,
    _on_this_machine: fs::File,
}

/// Waits for the turn to run a workflow script: the seed's writes one fixed file.
pub fn script_turn() -> ScriptTurn {
    static TURN: Mutex<()> = Mutex::new(());
    let in_this_process = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::env::temp_dir().join("twinrack-test-script.lock");
    let file = fs::File::create(path).expect("a lock file");
    file.lock().expect("the lock");
    ScriptTurn {
        _in_this_process: in_this_process,
        _on_this_machine: file,
    }
}

/// Writes a file of an app.
pub fn write(app: &Path, name: &str, text: &str) {
    fs::write(app.join(name), text).expect("a file");
}

impl World {
    /// Makes two racks with the tiny app. Returns its directory.
    pub fn tiny(&self) -> PathBuf {
        let app = self.example("tiny", "myapp");
        self.install(&["staging", "production"]);
        for rack in ["staging", "production"] {
            self.convox_in(&app, &["apps", "create", "myapp", "-r", rack])
                .ok();
        }
        app
    }

    /// As [`World::tiny`], with one release active on both racks.
    pub fn tiny_deployed(&self) -> PathBuf {
        let app = self.tiny();
        let _turn = script_turn();
        self.script(&app, &workflow_script()).ok();
        app
    }

    /// Ids of the active release of `myapp` and of its build.
    pub fn active(&self, rack: &str) -> (String, String) {
        self.active_of("myapp", rack)
    }

    /// The same of an app.
    pub fn active_of(&self, name: &str, rack: &str) -> (String, String) {
        let app = self.api(rack, &format!("/apps/{name}"));
        let release = app["release"].as_str().expect("a release").to_owned();
        let path = format!("/apps/{name}/releases/{release}");
        let build = self.api(rack, &path)["build"].clone();
        (release, build.as_str().expect("a build").to_owned())
    }

    /// Fails unless production runs the very images of staging, from another build.
    pub fn assert_same_bits(&self) {
        let (staging_release, staging_build) = self.active("staging");
        let (production_release, production_build) = self.active("production");
        assert_ne!(staging_release, production_release);
        assert_ne!(staging_build, production_build);
        assert_eq!(
            self.digests("staging", "myapp", &staging_build),
            self.digests("production", "myapp", &production_build)
        );
        let path = format!("/apps/myapp/builds/{production_build}");
        let provenance = self.api("production", &path)["provenance"].clone();
        assert_eq!(provenance["build"], staging_build);
        assert_eq!(provenance["rack"], "personal/staging");
    }
}
