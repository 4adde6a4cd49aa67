//! The Rack API as clients meet it: a server in this process on a port of its own,
//! requests written byte by byte, either engine beneath.

mod apps;
mod archives;
mod auth;
mod builds;
mod certificates;
mod configs;
mod coverage;
mod crash;
mod diagnose;
mod engines;
mod flow;
mod hostile;
mod image_import;
mod instances;
mod legacy;
mod limits;
mod logs;
mod metrics;
mod processes;
mod registries;
mod releases;
mod resources_data;
mod roles;
mod secrets;
mod sequences;
mod sequences_2017;
mod sequences_v2;
mod sequences_v3;
mod sweep;
mod system;
mod tokens;
mod transport;
mod v3;
mod wire;
mod world;
