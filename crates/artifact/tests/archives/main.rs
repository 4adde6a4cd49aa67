//! The crate as its users see it: archives of every origin, and attacks on it.

mod deceptive;
mod hostile;
mod layouts;
mod mutated;
mod support;
