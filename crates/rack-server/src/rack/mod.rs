//! What a rack does, one file per noun. Transport-free: callers are the API's
//! handlers, and tests.

pub mod access;
pub mod app;
pub mod attached;
pub mod build;
pub mod console;
pub mod environment;
pub mod exec;
pub mod file;
pub mod formation;
pub mod index;
pub mod log;
pub mod object;
pub mod parameters;
pub mod password;
pub mod process;
pub mod proxy;
pub mod release;
pub mod resource;
pub mod run;
pub mod service;
pub mod system;

use std::sync::Arc;

use crate::operations::Context;

/// A named, isolated world of apps. Cheap to clone.
#[derive(Clone)]
pub struct Rack {
    pub(crate) context: Arc<Context>,
}

impl Rack {
    /// The rack around a context.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.context.rack
    }
}
