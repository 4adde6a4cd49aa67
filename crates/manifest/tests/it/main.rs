//! Tests of the manifest language from outside.

mod balancers;
mod cases;
mod containers;
mod decoding;
mod defaults;
mod environment;
mod fixtures;
mod hostile;
mod listeners;
mod messages;
mod properties;
mod resolved;
mod support;
mod warnings;
