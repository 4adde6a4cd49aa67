//! What a rack does, one file per noun. Transport-free: callers are the API's
//! handlers, and tests.

pub mod absent;
pub mod access;
pub mod app;
pub mod attached;
pub mod balancer;
pub mod build;
pub mod capacity;
pub mod certificate;
pub mod config;
pub mod console;
pub mod diagnose;
pub mod environment;
pub mod event;
pub mod exec;
pub mod fault;
pub mod file;
pub mod formation;
pub mod image_import;
pub mod index;
pub mod instance;
pub mod log;
pub mod metric;
pub mod object;
pub mod parameters;
pub mod password;
pub mod process;
pub mod proxy;
pub mod rack_resource;
pub mod refusal;
pub mod registry;
pub mod release;
pub mod resource;
pub mod run;
pub mod service;
pub mod system;
pub mod ticket;
pub mod token;

use std::sync::Arc;

use crate::engine::Engine;
use crate::operations::Context;

/// A named, isolated world of apps. Cheap to clone.
#[derive(Clone)]
pub struct Rack {
    pub(crate) context: Arc<Context>,
    keyring: Arc<token::Keyring>,
}

impl Rack {
    /// The rack around a context.
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            keyring: Arc::default(),
        }
    }

    /// What builds and runs for it.
    pub fn engine(&self) -> &dyn Engine {
        &*self.context.engine
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.context.rack
    }
}
