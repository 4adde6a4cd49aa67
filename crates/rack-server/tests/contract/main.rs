//! The Rack API as clients meet it: a server in this process on a port of its own,
//! requests written byte by byte, either engine beneath.

mod acceptance;
mod apps;
mod archives;
mod auth;
mod builds;
mod configs;
mod coverage;
mod crash;
mod diagnose;
mod documents;
mod engines;
mod flow;
mod frames;
mod hostile;
mod image_import;
mod logs;
mod processes;
mod releases;
mod resources_data;
mod secrets;
mod sweep;
mod transport;
mod v3;
mod world;
