//! What a command works with: output, settings, and the rack it is for.

use crate::arguments::{AppArgs, RackArgs};
use crate::error::Error;
use crate::settings::Settings;
use crate::target::{self, TargetError};
use crate::ui::Ui;

/// What every command is given.
pub(crate) struct Context {
    /// Where output goes.
    pub(crate) ui: Ui,
    /// The settings files.
    pub(crate) settings: Settings,
    /// Whether a local server that has stopped is started.
    wakes: bool,
}

impl Context {
    /// Finds the settings of the process's environment.
    pub(crate) fn from_environment(ui: Ui) -> Result<Self, Error> {
        let working =
            std::env::current_dir().map_err(Error::io("can not tell the working directory"))?;
        let settings = Settings::locate(|name| std::env::var_os(name), working)?;
        Ok(Self {
            ui,
            settings,
            wakes: true,
        })
    }

    /// The same, that leaves a server that has stopped as it is.
    pub(crate) fn without_waking(&self) -> Self {
        Self {
            ui: self.ui.clone(),
            settings: self.settings.clone(),
            wakes: false,
        }
    }

    /// The same, with all talk on standard error.
    pub(crate) fn talking_to_stderr(&self) -> Self {
        Self {
            ui: self.ui.talking_to_stderr(),
            settings: self.settings.clone(),
            wakes: self.wakes,
        }
    }

    /// Whether a local server that has stopped is started.
    pub(crate) fn wakes(&self) -> bool {
        self.wakes
    }

    /// The app a command is for: the flag, `.convox/app`, the directory's name.
    pub(crate) fn app(&self, arguments: &AppArgs) -> Result<String, Error> {
        if let Some(app) = arguments.app.clone().filter(|app| !app.is_empty()) {
            return Ok(app);
        }
        if let Some(app) = self.settings.working_directory("app")? {
            return Ok(app);
        }
        let directory = self
            .settings
            .working()
            .file_name()
            .and_then(|name| name.to_str());
        let app = directory
            .map(target::app_of_directory)
            .filter(|app| !app.is_empty());
        Ok(app.ok_or(TargetError::NoApp)?)
    }

    /// The rack name that flag, `CONVOX_RACK`, `.convox/rack` or settings give.
    pub(crate) fn rack_name(&self, arguments: &RackArgs) -> Result<Option<String>, Error> {
        let given = arguments
            .rack
            .clone()
            .or_else(|| variable("CONVOX_RACK"))
            .filter(|name| !name.is_empty());
        if given.is_some() {
            return Ok(given);
        }
        if let Some(name) = self.settings.working_directory("rack")? {
            return Ok(Some(name));
        }
        Ok(self.settings.current_rack()?)
    }

    /// Says which variables keep the current rack from having an effect.
    pub(crate) fn note_overrides(&self) {
        for name in ["RACK_URL", "CONVOX_RACK"]
            .into_iter()
            .filter(|name| variable(name).is_some())
        {
            self.ui.note(format!(
                "note: {name} is set and wins over the current rack"
            ));
        }
    }
}

/// A variable of the environment; empty counts as unset.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
