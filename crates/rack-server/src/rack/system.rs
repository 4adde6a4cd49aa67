//! The rack itself.

use std::collections::BTreeMap;

use rack_api::process::{Process, status};
use rack_api::release::Release;
use rack_api::system::System;

use super::Rack;
use crate::operations::Result;

/// Version reported to clients. They compare it as text: this opens every gate
/// of every generation (`rack-api.md` §5).
pub const VERSION: &str = "3.24.6-local";

impl Rack {
    /// Describes the rack.
    pub fn system(&self) -> System {
        let context = &self.context;
        System {
            count: 1,
            domain: format!("{}.localhost", context.rack),
            name: context.rack.clone(),
            outputs: BTreeMap::new(),
            parameters: BTreeMap::new(),
            provider: "local".into(),
            rack_domain: format!("127.0.0.1:{}", context.settings.port),
            region: String::new(),
            status: "running".into(),
            kind: context.engine.kind().into(),
            version: VERSION.into(),
        }
    }

    /// Lists the rack's own process, or with `all` those of its apps too.
    pub async fn system_processes(&self, all: bool) -> Result<Vec<Process>> {
        let mut processes = vec![Process {
            id: self.context.server[..12].to_owned(),
            app: "system".into(),
            command: "rack-server".into(),
            instance: self.context.engine.kind().into(),
            name: "rack".into(),
            release: VERSION.into(),
            started: Some(self.context.started),
            status: status::RUNNING.into(),
            ..Process::default()
        }];
        if all {
            processes.extend(self.all_processes().await?);
        }
        Ok(processes)
    }

    /// Lists the versions the rack has had: this one.
    pub fn system_releases(&self) -> Vec<Release> {
        vec![Release {
            id: VERSION.into(),
            created: Some(self.context.started),
            ..Release::default()
        }]
    }
}
