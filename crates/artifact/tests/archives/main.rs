//! The crate as its users see it: archives of every origin, and attacks on it.

mod advisories;
mod corpus;
mod deceptive;
mod docker;
mod documented;
mod golden;
mod hostile;
mod importers;
mod layouts;
mod mutated;
mod restructured;
mod support;
mod thin;
