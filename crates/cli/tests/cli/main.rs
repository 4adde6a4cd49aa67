//! The built `convox` against a rack that says what the test tells it to.

mod artifact;
mod builds;
mod copies;
mod generations;
mod lists;
mod local;
mod nouns;
mod promote;
mod support;
mod usage;
