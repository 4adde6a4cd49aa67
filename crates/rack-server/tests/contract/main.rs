//! The Rack API as clients meet it: a server in this process on a port of its own,
//! requests written byte by byte, either engine beneath.

mod acceptance;
mod apps;
mod archives;
mod auth;
mod builds;
mod coverage;
mod crash;
mod documents;
mod engines;
mod files;
mod flow;
mod frames;
mod hostile;
mod legacy;
mod logs;
mod processes;
mod proxy;
mod releases;
mod runs;
mod secrets;
mod sequences;
mod sequences_2017;
mod sequences_v2;
mod sequences_v3;
mod streams;
mod sweep;
mod transport;
mod wire;
mod world;
