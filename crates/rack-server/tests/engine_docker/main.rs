//! Every call of the engine trait against a real Docker engine.
//!
//! Ignored unless asked for, because they need an engine: `make test` runs them.
//! Each test works on objects with a random label and removes them, whether it
//! passes or fails.

mod images;
mod inside;
mod processes;
mod reach;
mod terminals;
mod world;
